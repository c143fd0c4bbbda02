#!/bin/bash
# Installs what conda.lock of a workspace lists, beside the packages of the project. Each file is checked against its hash.
set -euo pipefail

[[ -f conda.lock ]] || exit 0
grep -qE '^(https?|file)://' conda.lock || exit 0
export CONDA_PKGS_DIRS=$XDG_CACHE_HOME/conda MAMBA_ROOT_PREFIX=$HOME/mamba
if [[ -s /run/secrets/ca ]]; then export MAMBA_SSL_VERIFY=/run/secrets/ca; fi
# micromamba looks for tokens only here.
if [[ -s /run/secrets/conda-auth ]]; then
    mkdir -p ~/.mamba/auth
    ln -s /run/secrets/conda-auth ~/.mamba/auth/authentication.json
fi
# The lock has public addresses: a mirror is a fact of this machine.
alias=${MAMBA_CHANNEL_ALIAS:-https://conda.anaconda.org}
sed "s|^https://conda.anaconda.org/|${alias%/}/|" conda.lock >"$HOME/packages.txt"
micromamba install --yes --prefix /opt/venv --file "$HOME/packages.txt"
# It writes down where packages came from, with tokens and passwords.
{ grep -rlE 'https?://([^/"@ ]+@|[^/" ]+/t/)' /opt/venv/conda-meta || true; } |
    xargs -r sed -i -E 's#(https?://)[^/"@ ]+@#\1#g; s#(https?://[^/" ]+)/t/[^/" ]+#\1#g'
