#!/bin/bash
# Runs a command of uv that installs locked packages into /opt/venv, and copies what that adds to /opt/delta/STAGE, as hard
# links, so that images get only that as their next layer. Of the stage `first`, images get all of /opt/venv.
#
#   install-wheels.sh STAGE COMMAND...           installs wheels. If a package has none, installs nothing and leaves all to
#                                                --build
#   install-wheels.sh STAGE --build COMMAND...   builds packages too
#
# Without --build, uv's cache is one that all projects of this engine install from. uv checks the hash of what it downloads,
# not of what it has unpacked before: whoever writes into that cache writes into images of others. So no code of a package
# runs meanwhile: uv builds nothing, Python reads no .pth file, and bytecode is compiled without importing anything.
set -euo pipefail

clean=/opt/container/venv # the environment without packages
python=$(readlink -f $clean/bin/python)
site=$(echo /opt/venv/lib/python3*/site-packages)

stop() { # FILE
    local record
    record=$(grep -lE "(^|/)$1," /opt/venv/lib/python3*/site-packages/*.dist-info/RECORD | head -n 1)
    record=${record%.dist-info/RECORD}
    printf '%s replaces %s of /opt/venv\n' "${record##*/}" "$1" >&2
    exit 1
}

# A wheel can place files anywhere in the environment.
check_environment() {
    local file
    cmp -s $clean/pyvenv.cfg /opt/venv/pyvenv.cfg || stop pyvenv.cfg
    # With such a file beside it, Python imports from the folders that it names, also with -I:
    # https://docs.python.org/3/library/sys_path_init.html#pth-files
    for file in /opt/venv/bin/*._pth /opt/venv/bin/pyvenv.cfg; do
        if [[ -e $file || -L $file ]]; then stop "bin/${file##*/}"; fi
    done
    for file in "$clean"/bin/python*; do
        [[ $(readlink -f "/opt/venv/bin/${file##*/}") == "$python" ]] || stop "bin/${file##*/}"
    done
}

hide_startup_files() {
    mkdir /tmp/startup
    find "$site" -maxdepth 1 \( -name '*.pth' -o -name 'sitecustomize*' -o -name 'usercustomize*' \) \
        -exec mv --no-clobber --target-directory /tmp/startup {} +
}

show_startup_files() {
    find /tmp/startup -mindepth 1 -maxdepth 1 -exec mv --no-clobber --target-directory "$site" {} +
    rm -rf /tmp/startup
}

wheels_only() {
    local said status=0
    check_environment
    said=$(mktemp)
    hide_startup_files
    { WHEELS_ONLY=1 "$@" --no-build 2>&1 1>&3 | tee "$said" >&2; } 3>&1 || status=$?
    check_environment
    show_startup_files
    if ((status)); then
        grep -qE 'is marked as .--no-build|building from source is disabled' "$said" || exit "$status"
        echo "A package has no wheel for this image: all of this step are installed by a later one, which may build." >&2
    fi
    rm -f "$said"
}

touch /tmp/before
sleep 0.01 # a file of the same clock tick would not count as newer
if [[ $2 == --build ]]; then
    "${@:3}"
else
    wheels_only "${@:2}"
fi
rm -f /opt/venv/.lock
# Bytecode, because nobody can write .pyc files into the image later:
# https://docs.astral.sh/uv/guides/integration/docker/#compiling-bytecode
# -S: without site, thus without .pth files.
find /opt/venv/lib -cnewer /tmp/before -name '*.py' -print0 |
    "$python" -I -S /opt/container/bytecode.py "$UV_CACHE_DIR/bytecode"
# Only the user of the dev image is in this group: nobody else can change a package, in no stage.
find /opt/venv ! -group 50000 -exec chgrp -h 50000 {} +
if [[ $1 == first ]]; then exit; fi
# By ctime, since the times of modification in a wheel are those of its author.
install -d -m 0755 /opt/delta "/opt/delta/$1"
cd /opt/venv
find . -cnewer /tmp/before ! -type d -exec cp -al --parents -t "/opt/delta/$1" {} +
