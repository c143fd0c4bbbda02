#!/bin/bash
# Starts the commands of ./template.sh lock and add in the tools container.
set -euo pipefail

# `uv add` would write UV_DEFAULT_INDEX, which is this machine's, into pyproject.toml; what a file says it only reads.
if [[ -n ${UV_DEFAULT_INDEX:-} ]]; then
    mkdir -p ~/.config/uv
    printf '[[index]]\nurl = "%s"\ndefault = true\n' "$UV_DEFAULT_INDEX" >~/.config/uv/uv.toml
    unset UV_DEFAULT_INDEX
fi
exec "$@"
