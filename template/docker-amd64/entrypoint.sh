#!/bin/bash
# Starts every container: looks for GPUs, gives any UID a home and a name, installs the mounted project in editable mode,
# and runs pre-run.sh. Then it becomes the command, which so receives the signals and sets the exit status.
set -euo pipefail

say() { printf '[entrypoint] %s\n' "$*" >&2; }

# A UID that the image does not know (docker run --user 12345:0) has no name, and its home is /.
make_home() {
    USER=$(id -un 2>/dev/null) || USER=user$(id -u)
    if [[ ! -w ${HOME:-/} || ${HOME:-/} == / ]]; then
        HOME=${TMPDIR:-/tmp}/home-$(id -u)
        mkdir -m 0700 "$HOME" 2>/dev/null || true
        # In /tmp, anybody may have made a folder of that name before.
        [[ -O $HOME && -w $HOME ]] || HOME=$(mktemp -d) || {
            say "user $(id -u) has no writable folder. Mount one, or add --tmpfs /tmp"
            HOME=/
        }
        PATH=$HOME/.project/bin:$PATH
        # PyTorch's default is named after a user that /etc/passwd does not have.
        export TORCHINDUCTOR_CACHE_DIR=$HOME/.cache/torchinductor
    fi
    export HOME USER LOGNAME=$USER PATH
}

# An image for GPUs reports that it got none, and stops with REQUIRE_GPU=1. It also reports that GPU_IDS was edited but
# the container got the GPUs of before, which happens with `docker compose` without ./template.sh.
check_gpu() {
    if [[ -z ${NVIDIA_DRIVER_CAPABILITIES:-} ]]; then return; fi
    if [[ -n ${GPUS_GIVEN+set} && $GPUS_GIVEN != "${GPU_IDS:-}" ]]; then
        say "GPU_IDS is \"${GPU_IDS:-}\" now, but this container got \"$GPUS_GIVEN\" (empty means all). Run: ./template.sh up"
    fi
    # /dev/dxg is the GPU of WSL.
    if compgen -G '/dev/nvidia[0-9]*' >/dev/null || [[ -e /dev/dxg ]]; then return; fi
    if [[ ${REQUIRE_GPU:-0} == 1 ]]; then
        say "no GPU in this container, and REQUIRE_GPU=1. To see why, run: ./template.sh gpus"
        exit 1
    fi
    say "no GPU in this container: it computes on the CPU. To see why, run: ./template.sh gpus"
}

check_secrets() {
    local file
    for file in /run/secrets/*; do
        if [[ -e $file && ! -r $file ]]; then
            say "user $(id -u) may not read the secret ${file##*/}: its file belongs to somebody else on this machine"
        fi
    done
}

# A digest of what decides how the project is installed. An editable install does not depend on the code.
project_stamp() {
    {
        readlink -f /opt/venv/bin/python
        compgen -G 'src/*' >/dev/null && echo src
        cat pyproject.toml setup.py setup.cfg 2>/dev/null || true
    } | sha256sum
}

install_project() {
    local code=/workspace prefix=$HOME/.project stamp
    cd "$code" 2>/dev/null || return 0
    if [[ -z $(ls -A) ]]; then
        say "$code is empty: no code folder is mounted. LOCAL_CODE_DIR in .env names it"
        return
    fi
    if [[ ! -f setup.py ]] && ! grep -Eqs '^\[(project|build-system|tool\.poetry)\]' pyproject.toml; then
        say "the code folder is not a Python project (no pyproject.toml with [project], no setup.py): not installed," \
            "Python finds its modules in $code$([[ ! -d src ]] || echo ' and src/')"
    fi
    if ! mkdir -p "$prefix" 2>/dev/null || [[ ! -w $prefix ]]; then
        export PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$code/src:$code
        return
    fi
    exec 9>"$prefix/lock"
    flock 9 # two containers of one home may start at once
    stamp=$(project_stamp)
    if [[ $(cat "$prefix/stamp" 2>/dev/null) != "$stamp" ]]; then
        rm -f "$prefix/stamp"
        # -I: no module of the code folder stands for one of Python's.
        if python -I /opt/container/install_project.py "$code" "$prefix" 9>&-; then
            printf '%s\n' "$stamp" >"$prefix/stamp"
        fi
    fi
    exec 9>&-
}

run_pre_run() {
    local script=$1
    [[ -f $script ]] || return 0
    trap 'say "pre-run.sh failed with status $?; the command is not started"; exit 1' EXIT
    set +u # the script may use unset variables, but a failing line ends it
    # shellcheck source=/dev/null
    source "$script"
    set -eu
    trap - EXIT
}

ready=/tmp/.container-ready # ./template.sh up waits for this file
rm -f "$ready" 2>/dev/null || true
here=$PWD
check_gpu
make_home
check_secrets
# Settings of tuning.env, the limit of CPUs and secrets that are not set yet. Every Python applies them itself
# (project.pth); this is for other programs.
eval "$(python -IS /opt/venv/lib/python3*/site-packages/container_tuning.py)"
install_project
cd "$here"
run_pre_run /opt/container/pre-run.sh
run_pre_run /opt/container/workspace/pre-run.sh
{ : >"$ready"; } 2>/dev/null || true
exec "$@"
