#!/bin/bash
# Runs pre-install.sh or post-install.sh of dependencies/, or of a workspace, which are optional and yours:
#
#   install-hook.sh pre-install
#   install-hook.sh post-install         in the image of a workspace
#   install-hook.sh post-install STAGE   copies what it adds to /opt/venv to /opt/delta/STAGE, as hard links, so that images
#                                        get only that as their next layer
#   install-hook.sh packages             the same for workspace-packages.sh, with the lists of a workspace; another name
#                                        than those of hooks is that of a script in the same way
#
# A hook runs as a user without privileges, unless the comment at its start has the line "# as: root". This user may write
# to /opt/venv, and in pre-install.sh, before packages are there, to /opt/local.
set -euo pipefail
name=$1 stage=${2:-}
script=/mnt/$name/$name.sh
hook=yes
if [[ $name != *-install ]]; then hook='' script=${0%/*}/workspace-$name.sh; fi
# This is the first step of a build, also without a script.
if [[ $name == pre-install ]] && ((EUID)); then
    printf '\nThe base image has the user %s, and a build needs root.\n' "$(id -un 2>/dev/null || id -u)" >&2
    exit 1
fi
if [[ -n $stage ]]; then install -d -m 0755 /opt/delta "/opt/delta/$stage"; fi
[[ -f $script ]] || exit 0

shown=${HOOKS_OF:-dependencies}
if [[ -n $hook ]]; then shown+=/$name.sh; fi
fail() {
    printf '\n%s %s\n' "$shown" "$1" >&2
    exit 1
}

user=$(sed -nE '/^(#|[[:space:]]*$)/!q; s/^# *as: *([^[:space:]]*).*/\1/p' "$script")
[[ -z $user || $user == root ]] || fail "says \"# as: $user\": there is only \"# as: root\""

# The caches are of this project only, because whatever a hook runs may write into them.
cache=/var/cache/hooks
export HOME=/tmp/hook XDG_CACHE_HOME=$cache UV_CACHE_DIR=$cache/uv DEBIAN_FRONTEND=noninteractive \
    PYTHONDONTWRITEBYTECODE=1 PATH=/opt/venv/bin:$PATH
mkdir "$HOME"
if [[ -s /run/secrets/ca ]]; then
    # OpenSSL and uv, requests and pip, curl, git, apt: each has a setting of its own.
    export SSL_CERT_FILE=/run/secrets/ca REQUESTS_CA_BUNDLE=/run/secrets/ca CURL_CA_BUNDLE=/run/secrets/ca \
        GIT_SSL_CAINFO=/run/secrets/ca APT_CONFIG=$HOME/apt.conf
    echo 'Acquire::https::CAInfo "/run/secrets/ca";' >"$APT_CONFIG"
fi
if [[ -s /run/secrets/netrc ]]; then
    export NETRC=/run/secrets/netrc
    ln -s $NETRC "$HOME/.netrc"
fi
# For http, curl reads only the lower-case name.
if [[ -n ${HTTP_PROXY:-} ]]; then export http_proxy=$HTTP_PROXY; fi

files() { find /opt/venv ! -type d ! -path '*/__pycache__/*' ! -name .lock | LC_ALL=C sort; }

if [[ $name == pre-install ]]; then
    mkdir -p /opt/local
    bash "${0%/*}/apt-install.sh" /dev/null # only takes APT_MIRROR
else
    umask 0002 # /opt/venv has to be writable for its group
    files >/tmp/files
    touch /tmp/before
    sleep 0.01 # a file of the same clock tick would not count as newer
fi

echo "$shown: runs as ${user:-a user without privileges}."
command=(bash -eo pipefail "$script")
if [[ -z $user ]]; then
    command=(setpriv --regid=50000 --reuid=50000 --clear-groups --no-new-privs "${command[@]}")
    export USER=hook LOGNAME=hook
    chown -R 50000 "$HOME" "$cache"
    if [[ $name == pre-install ]]; then chown -R 50000 /opt/local; fi
fi
cd "/mnt/$name"
status=0
"${command[@]}" || status=$?
if ((status)); then
    [[ $user == root || -z $hook ]] || echo 'To run it as root, write the line "# as: root" at its start.' >&2
    fail "ended with status $status"
fi
cd /
rm -rf "$HOME"

if [[ $name == pre-install ]]; then
    chown -hR 0:0 /opt/local
    rmdir --ignore-fail-on-non-empty /opt/local
    exit
fi
# A later layer cannot remove what an earlier one has, and what is locked has to be what is there.
removed=$(files | LC_ALL=C comm -23 /tmp/files -)
[[ -z $removed ]] || fail "removed ${removed%%$'\n'*}: it may add and change files, but packages are those of the lock"
if [[ -n $stage ]]; then
    outside=$(find / -xdev \( -path /opt/venv -o -path /opt/delta -o -path /tmp -o -path /var \) -prune \
        -o -cnewer /tmp/before ! -type d -print -quit)
    if [[ -n $outside ]]; then
        echo "What it wrote outside of /opt/venv, such as $outside, is not in the images: pre-install.sh can do that."
    fi
fi
rm -f /opt/venv/.lock /tmp/files
cd /opt/venv
find . ! -group 50000 -exec chgrp -h 50000 {} +
find . -cnewer /tmp/before ! -type l ! -perm -g=w,o=r -exec chmod g+w,a+rX {} +
# -S: without site, thus without .pth files. Some packages have files that are not Python 3: they are no error.
find lib -cnewer /tmp/before -name '*.py' -print | bin/python -I -S -m compileall -qq -i - || true
if [[ -n $stage ]]; then
    find . -cnewer /tmp/before ! -type d -exec cp -al --parents -t "/opt/delta/$stage" {} +
else
    find . -cnewer /tmp/before -exec chown -h 0:50000 {} +
    rm /tmp/before
fi
