#!/bin/bash
# Installs the Debian or Ubuntu packages of the given lists, from APT_MIRROR if that is set. In a list, "#" starts a
# comment.
set -euo pipefail

if [[ -n ${APT_MIRROR:-} ]]; then
    find /etc/apt/sources.list* -type f -exec sed -i -E \
        "s#https?://[^/ ]+/(debian|debian-security|ubuntu)(/| |$)#${APT_MIRROR%/}/\1\2#" {} +
fi

mapfile -t packages < <(sed -e 's/\r$//' -e 's/#.*//' -- "$@" | tr -s '[:blank:]' '\n' | sed '/^$/d')
# update_env_file finds packages that were installed by hand later by comparing with this list.
record() { mkdir -p /opt/container && apt-mark showmanual >/opt/container/apt-manual.txt; }

if ((${#packages[@]} == 0)); then
    record
    exit 0
fi

options=(-o APT::Keep-Downloaded-Packages=true)
if [[ -s /run/secrets/ca ]]; then options+=(-o Acquire::https::CAInfo=/run/secrets/ca); fi

# The base image's docker-clean deletes downloaded packages after each install, which defeats the cache mount:
# https://docs.docker.com/reference/dockerfile/#example-cache-apt-packages
clean=/etc/apt/apt.conf.d/docker-clean
if [[ -f $clean ]]; then
    mv "$clean" /tmp/docker-clean
    trap 'mv /tmp/docker-clean "$clean"' EXIT
fi

export DEBIAN_FRONTEND=noninteractive
apt-get "${options[@]}" update -qq
apt-get "${options[@]}" install -qq -y --no-install-recommends "${packages[@]}" || {
    printf '\nCould not install the packages of %s: is each name one of this distribution?\n' "${*##*/}" >&2
    exit 1
}
record
