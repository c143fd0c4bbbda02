#!/bin/bash
# Runs micromamba under the names `conda` and `mamba`; the image has neither of them.
set -euo pipefail

case ${1:-} in
    activate | deactivate | init)
        echo "${0##*/} $1 is not needed here: the environment in $CONDA_PREFIX is always on PATH." >&2
        ;;
    *) exec micromamba "$@" ;;
esac
