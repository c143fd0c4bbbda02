#!/bin/sh
# One verb for each thing you do with this project's containers: ./template.sh help lists them.
# This is only the door: it finds Python and becomes the program in host/, which calls `docker compose` in this folder.
set -eu

# Through a symbolic link, the folder is that of the file behind it.
file=$0
while [ -h "$file" ]; do
    target=$(readlink "$file")
    case $target in
        /*) file=$target ;;
        *) file=$(dirname "$file")/$target ;;
    esac
done
CALLED_FROM=$PWD
case $0 in */*) TEMPLATE_SH=$0 ;; *) TEMPLATE_SH=./$0 ;; esac
export CALLED_FROM TEMPLATE_SH
case $file in */*) ;; *) file=./$file ;; esac
CDPATH='' cd -- "${file%/*}/"

# PYTHONSAFEPATH would keep Python from finding host/ here, and PYTHONHOME may be another Python's.
unset PYTHONSAFEPATH PYTHONHOME PYTHONINSPECT
# Containers write into the project: this machine runs no json.py of theirs by PYTHONPATH, and no docker by PATH.
here=$PWD
cd -P ..
root=$PWD
outside() { # LIST: sets kept to its folders that are not in the project
    kept=''
    set -f
    IFS=:
    for folder in $1; do
        case $folder in /*) ;; *) continue ;; esac
        cd -P -- "$folder" 2>/dev/null || continue
        case $PWD/ in "$root"/*) ;; *) kept=$kept:$folder ;; esac
    done
    unset IFS
    set +f
    kept=${kept#:}
}
if [ -n "${PYTHONPATH-}" ]; then
    outside "$PYTHONPATH"
    export PYTHONPATH="$kept"
fi
all=$PATH
outside "$PATH"
cd -- "$here"
# All of PATH, where no other Python is on this machine.
for PATH in "$kept" "$all"; do
    for python in python3 python python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8; do
        own=$("$python" -ISc 'import sys; print(sys.executable if sys.version_info >= (3, 8) else "")' 2>/dev/null) || continue
        if [ -n "$own" ]; then
            # By its own path: a shim, such as pyenv's, looks for it anew each time, for a third of a second. Another
            # wrapper may set what Python needs to start.
            if [ "$(command -v "$python")" != "$own" ] && ! "$own" -ISc '' >/dev/null 2>&1; then own=$python; fi
            exec "$own" -B -m host "$@" # -B: nothing is written beside these files
        fi
    done
done

install='sudo apt-get install python3'
if command -v dnf >/dev/null 2>&1; then install='sudo dnf install python3.11'; fi # python3 of RHEL 8 is 3.6
if [ "$(uname 2>/dev/null)" = Darwin ]; then install='xcode-select --install'; fi
# Compose mounts these and makes none, so that the engine makes none as root.
# shellcheck disable=SC2016 # the dollar sign is one of the file
folders=$(sed -n 's/^ *source: \(${LOCAL_[A-Z_]*:-\)\{0,1\}\(\.[a-z./]*\)}\{0,1\}\([a-z/]*\)$/\2\3/p' compose.yaml | sort -u | tr '\n' ' ')
cat >&2 <<TEXT

template.sh needs Python 3.8 or newer, and there is none on this machine.
  Run: $install

Until then, plain Docker Compose does the same, in $PWD:
  sed "s/='auto */='/" .env.example >.env   # then set USRID=$(id -u) and GRPID=$(id -g) in it
  mkdir -p $folders
  docker compose build dev
  docker compose up --detach dev
  docker compose exec dev bash
TEXT
exit 1
