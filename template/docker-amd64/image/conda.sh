#!/bin/bash
# `conda` and `mamba`, for the hands that know them: micromamba does what they do.
set -euo pipefail

case ${1:-} in
    activate | deactivate | init)
        echo "${0##*/} $1 is not needed here: the environment in $CONDA_PREFIX is on PATH, whatever door you came in by." >&2
        ;;
    *) exec micromamba "$@" ;;
esac
