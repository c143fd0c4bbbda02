# Debian's login shells forget the image's PATH; this brings it back.
# shellcheck shell=sh
PATH=$HOME/.project/bin:/opt/venv/bin:$PATH
# Of tuning.env and the limit of CPUs, what is not set yet: programs that are not Python read it here.
eval "$(/opt/venv/bin/python -IS /opt/venv/lib/python3*/site-packages/container_tuning.py)"
