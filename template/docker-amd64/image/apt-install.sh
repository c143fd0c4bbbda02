#!/bin/bash
# Installs the Debian or Ubuntu packages of the given lists, from APT_MIRROR if that is set. In a list, "#" starts a
# comment.
set -euo pipefail
umask 0022 # what packages of the distribution bring is for root alone to change

if [[ -n ${APT_MIRROR:-} ]]; then
    find /etc/apt/sources.list* -type f -exec sed -i -E \
        "s#https?://[^/ ]+/(debian|debian-security|ubuntu)(/| |$)#${APT_MIRROR%/}/\1\2#" {} +
fi

mapfile -t packages < <(sed -e 's/\r$//' -e 's/#.*//' -- "$@" | tr -s '[:blank:]' '\n' | sed '/^$/d')
# update_env_file finds packages that were installed by hand later by comparing with this list.
# Without the lists of archives, which take seconds to read and do not matter here.
record() {
    mkdir -p /opt/container
    apt-mark -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= showmanual >/opt/container/apt-manual.txt
}

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

# The lists of packages are a cache that builds share. They are asked for again after an hour, and when a package cannot
# be had by them. An update removes the lists of other archives, and so what says that those are new.
lists=/var/lib/apt/lists
sources=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } | sha256sum)
new=$lists/updated-${sources:0:16}
update() {
    rm -f "$lists"/updated-*
    apt-get "${options[@]}" update -qq || exit
    touch "$new"
}
install() { apt-get "${options[@]}" install -qq -y --no-install-recommends "${packages[@]}"; }

export DEBIAN_FRONTEND=noninteractive
if [[ -z $(find "$new" -mmin -60 2>/dev/null) ]]; then update; fi
install || {
    update
    install
} || {
    printf '\nCould not install the packages of %s: is each name one of this distribution?\n' "${*##*/}" >&2
    exit 1
}
record
