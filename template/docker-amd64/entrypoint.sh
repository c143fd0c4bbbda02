#!/bin/bash
# What every container starts with: a look for the GPU, a home and a name for any user id, the mounted project installed
# in editable mode, pre-run.sh, and then the command takes this process's place, so that signals and exit status are its
# own.
set -euo pipefail

say() { printf '[entrypoint] %s\n' "$*" >&2; }

# An id that the image does not know (docker run --user 12345:0) has no name, and / for a home.
make_home() {
    USER=$(id -un 2>/dev/null) || USER=user$(id -u)
    if [[ ! -w ${HOME:-/} || ${HOME:-/} == / ]]; then
        HOME=${TMPDIR:-/tmp}/home-$(id -u)
        mkdir -m 0700 "$HOME" 2>/dev/null || true
        # Somebody else's folder of that name is not to be trusted.
        [[ -O $HOME && -w $HOME ]] || HOME=$(mktemp -d) || {
            say "no folder to write to for user $(id -u): mount one, or add --tmpfs /tmp"
            HOME=/
        }
        PATH=$HOME/.project/bin:$PATH
        export TORCHINDUCTOR_CACHE_DIR=$HOME/.cache/torchinductor
    fi
    export HOME USER LOGNAME=$USER PATH
}

# An image for GPUs says so where it has none, and stops there if it must have one. Where GPU_IDS was edited and
# `docker compose` was called without ./template.sh, the GPUs are still those of before.
check_gpu() {
    if [[ -z ${NVIDIA_DRIVER_CAPABILITIES:-} ]]; then return; fi
    if [[ -n ${GPUS_GIVEN+set} && $GPUS_GIVEN != "${GPU_IDS:-}" ]]; then
        say "GPU_IDS is \"${GPU_IDS:-}\" now, but this container got \"$GPUS_GIVEN\" (nothing means all): ./template.sh up mends it"
    fi
    if compgen -G '/dev/nvidia[0-9]*' >/dev/null || [[ -e /dev/dxg ]]; then return; fi
    if [[ ${REQUIRE_GPU:-0} == 1 ]]; then
        say "no GPU in this container, and REQUIRE_GPU=1: it stops here (./template.sh gpus says why there is none)"
        exit 1
    fi
    say "no GPU in this container: it runs on the CPU (./template.sh gpus says why)"
}

# The files that decide how a project is installed; an editable install need not be repeated when only code changes.
project_stamp() {
    { readlink -f /opt/venv/bin/python && cat pyproject.toml setup.py setup.cfg 2>/dev/null || true; } | sha256sum
}

install_project() {
    local code=/workspace prefix=$HOME/.project stamp isolation=() log
    cd "$code" 2>/dev/null || return 0
    if [[ -z $(ls -A) ]]; then
        say "$code is empty: no code folder is mounted (LOCAL_CODE_DIR in .env names it)"
        return
    fi
    if [[ ! -f setup.py ]] && ! grep -Eqs '^\[(project|build-system|tool\.poetry)\]' pyproject.toml; then
        say "the code folder is no Python project (no pyproject.toml with [project], no setup.py): nothing to install"
        return
    fi
    mkdir -p "$prefix" 2>/dev/null && [[ -w $prefix ]] || return 0
    exec 9>"$prefix/lock"
    flock 9 # two containers of one home may start at once
    stamp=$(project_stamp)
    if [[ $(cat "$prefix/stamp" 2>/dev/null) != "$stamp" ]]; then
        say "installing the project in editable mode"
        # setuptools writes *.egg-info beside the code; it is told to use the prefix, so that the code stays as it is.
        mkdir -p "$prefix/egg-info"
        printf '[egg_info]\negg_base = %s\n[build]\nbuild_base = %s\n' "$prefix/egg-info" "$prefix/build" >"$prefix/setup.cfg"
        # pip removes no older version from a prefix: two versions of the project would lie side by side.
        rm -rf "${prefix:?}/bin" "${prefix:?}/lib"
        log=$prefix/install.log
        # The build backend of most projects is in the environment: then nothing is downloaded.
        if [[ ! -f pyproject.toml ]] || ! grep -q '^build-backend' pyproject.toml ||
            grep -q '^build-backend *= *.setuptools' pyproject.toml; then
            isolation=(--no-build-isolation)
        fi
        if [[ -n ${UV_DEFAULT_INDEX:-} ]]; then export PIP_INDEX_URL=$UV_DEFAULT_INDEX; fi
        if DIST_EXTRA_CONFIG=$prefix/setup.cfg python -m pip install --disable-pip-version-check --no-deps \
            "${isolation[@]}" --prefix "$prefix" --editable "$code" >"$log" 2>&1 9>&-; then
            printf '%s\n' "$stamp" >"$prefix/stamp"
        else
            tail -n 5 "$log" >&2
            say "the project could not be installed (all of pip's words: $log); the container starts without it"
        fi
    fi
    exec 9>&-
}

run_pre_run() {
    local script=/opt/container/pre-run.sh
    [[ -f $script ]] || return 0
    trap 'say "pre-run.sh failed with status $?; the command is not started"; exit 1' EXIT
    set +u # the script need not know of this one's strictness, but a line that fails ends it
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
# Of tuning.env and the limit of CPUs, what nobody has set; every Python does the same for itself at its start.
eval "$(python -IS /opt/venv/lib/python3*/site-packages/container_tuning.py)"
install_project
cd "$here"
run_pre_run
{ : >"$ready"; } 2>/dev/null || true
exec "$@"
