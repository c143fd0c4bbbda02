#!/bin/bash
# Installs locked packages into /opt/venv: a part of conda.lock (NAME.txt, written by `conda_env.py split`), the pip part
# of an environment file (pip.lock, pip-dev.lock), or both. Every file is checked against its hash. Copies what that adds
# to /opt/delta/STAGE, as hard links, so that images get only that as their next layer. Of the stage `first`, images get all
# of /opt/venv.
#
#   install.sh STAGE NAME.txt|NAME.lock...
#   install.sh download                      fetches and unpacks all parts, and runs nothing of them
set -euo pipefail

has_packages() { grep -q '^http\|^file' "$1"; }

download() {
    local part
    # BuildKit gives the cache to this stage read-only while an installation of another build has it.
    if [[ ! -w /var/cache/conda ]]; then
        echo 'Another build is reading the cache of packages: this one downloads what it installs by itself.'
        return
    fi
    for part in /opt/parts/*.txt; do
        if has_packages "$part"; then micromamba create --yes --download-only --prefix /tmp/downloads --file "$part"; fi
    done
    rm -rf /tmp/downloads
}

conda_part() {
    local verb=create site
    has_packages "$1" || return 0
    if [[ -d /opt/venv/conda-meta ]]; then verb=install; fi
    micromamba $verb --yes --prefix /opt/venv --file "$1"
    # Nothing says when, neither the history nor, by the times of its sources, bytecode: what has the same packages is the same
    # layer, and apt's packages above it stay in the cache.
    sed -i 's/^==> .* <==$/==> 1980-01-01 00:00:00 <==/' /opt/venv/conda-meta/history
    if [[ $verb == create ]]; then
        site=$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        cp /opt/container/container_tuning.py /opt/container/missing_library.py /opt/container/project.pth "$site"
        touch --date='1980-01-01 UTC' "$site"/{container_tuning,missing_library}.py
    fi
}

pip_part() {
    local verb=(pip-lock)
    if [[ -f $1 ]]; then verb=(check "$1"); fi
    /usr/bin/python3 /opt/container/conda_env.py "${verb[@]}"
    [[ -f $1 ]] || return 0
    # By default uv looks for a package only in the first index that has it. The hashes make it safe to search all:
    # https://docs.astral.sh/uv/concepts/indexes/#searching-across-multiple-indexes
    touch /tmp/before-pip
    sleep 0.01
    uv pip install --no-deps --verify-hashes --index-strategy unsafe-best-match --requirement "$1"
    # uv would compile all of site-packages anew, and each file of it would be a part of this layer.
    find /opt/venv/lib -cnewer /tmp/before-pip -name '*.py' -print0 |
        /opt/venv/bin/python -I -S /opt/container/bytecode.py "$UV_CACHE_DIR/bytecode"
}

if [[ $1 == download ]]; then
    download
    exit
fi
# The second is read-only. What is missing there, because the engine dropped it after the stage downloads, is fetched again.
export CONDA_PKGS_DIRS=/tmp/conda,/var/cache/conda
touch /tmp/before
sleep 0.01 # a file of the same clock tick would not count as newer
for list in "${@:2}"; do
    case $list in
        *.txt) conda_part "/opt/parts/$list" ;;
        *.lock) pip_part "$list" ;;
    esac
done
rm -rf /tmp/conda
# Packages bring their own modes. Everybody has to read them, and the group, which only the user of the dev image is in,
# may write.
find /opt/venv ! -group 50000 -exec chgrp -h 50000 {} +
find /opt/venv ! -type l ! -perm -g=w,o=r -exec chmod g+w,a+rX {} +
if [[ $1 == first ]]; then exit; fi
install -d -m 0755 /opt/delta "/opt/delta/$1"
cd /opt/venv
# By ctime, since the times of modification in a package are those of its author.
find . -cnewer /tmp/before ! -type d ! -name .lock -exec cp -al --parents -t "/opt/delta/$1" {} +
