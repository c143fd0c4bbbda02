# shellcheck shell=bash
# What the prompts of bash and zsh show behind the project's name: the branch of git, and whether there is a GPU. They read
# it from a variable, because a shell runs a branch named $(command) that is part of the prompt's own text.

# An image for GPUs sets NVIDIA_DRIVER_CAPABILITIES. /dev/dxg is the GPU of WSL.
prompt_gpu=
if [ -n "${NVIDIA_DRIVER_CAPABILITIES:-}" ]; then
    prompt_gpu='no GPU'
    for prompt_device in /dev/nvidia[0-9]* /dev/dxg; do
        if [ -e "$prompt_device" ]; then prompt_gpu=GPU; fi
    done
    unset prompt_device
fi

prompt_facts() {
    local branch
    branch=$(git symbolic-ref --quiet --short HEAD 2>/dev/null || git rev-parse --short HEAD 2>/dev/null)
    PROMPT_FACTS=$branch${branch:+${prompt_gpu:+, }}$prompt_gpu
    PROMPT_FACTS=${PROMPT_FACTS:+ ($PROMPT_FACTS)}
}
