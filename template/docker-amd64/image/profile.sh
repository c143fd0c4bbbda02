# Debian's login shells forget the image's PATH; this brings it back.
# shellcheck shell=sh
PATH=$HOME/.project/bin:/opt/venv/bin:$PATH
