#!/bin/bash
# Wraps uv for a base image with its own PyTorch: the index in /opt/base has each package of the base image in one version,
# the one that is there. uv resolves with them, and never installs them. If something needs another version, a sentence
# after uv's output names it.
set -uo pipefail
export XDG_CONFIG_DIRS=/opt/base # its uv/uv.toml names the index; `uv add` would write UV_INDEX into pyproject.toml

base() { python3 -sB /opt/base/base_packages.py "$@"; }

options=()
case ${1:-} in
    lock | add | remove)
        names=$(base stale) || exit
        if [[ " $* " == *' --check '* && -n $names ]]; then
            echo "uv.lock has packages of another base image: ${names//$'\n'/, }" >&2
            exit 1
        fi
        for name in $names; do options+=("--upgrade-package=$name"); done
        ;;
    sync)
        names=$(</opt/base/names.txt) || exit
        for name in $names; do options+=("--no-install-package=$name"); done
        ;;
esac

said=$(mktemp)
trap 'rm -f "$said"' EXIT
status=0
{ /opt/container/uv "${@:1:1}" "${options[@]}" "${@:2}" 2>&1 1>&3 | tee "$said" >&2; } 3>&1 || status=$?
# Both read packages of the environment, of which no code may run while wheels are installed (install-wheels.sh).
if [[ -n ${WHEELS_ONLY:-} ]]; then
    exit "$status"
elif ((status)); then
    base why <"$said"
elif [[ ${1:-} == sync ]]; then
    base check || status=$?
fi
exit "$status"
