#!/bin/bash
# Installs locked packages into /opt/venv: a part of conda.lock (NAME.txt, written by `conda_env.py split`), the pip part
# of an environment file (pip.lock, pip-dev.lock), or both. Every file is checked against its hash. What is new comes in a
# copy under /opt/delta too, so that the image takes it as a layer of its own and the layers below stay as they are.
set -euo pipefail

conda_part() {
    local verb=create
    grep -q '^http\|^file' "$1" || return 0
    if [[ -d /opt/venv/conda-meta ]]; then verb=install; fi
    micromamba $verb --yes --prefix /opt/venv --file "$1"
    if [[ $verb == create ]]; then
        cp /opt/container/container_tuning.py /opt/container/project.pth \
            "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    fi
}

pip_part() {
    local verb=(pip-lock)
    if [[ -f $1 ]]; then verb=(check "$1"); fi
    /usr/bin/python3 /opt/container/conda_env.py "${verb[@]}"
    [[ -f $1 ]] || return 0
    uv pip install --no-deps --verify-hashes --requirement "$1"
}

rm -rf /opt/delta
mkdir -p /opt/delta/opt/venv
touch /tmp/before
sleep 0.01 # a file of the same clock tick as the mark would not count as newer
for list in "$@"; do
    case $list in
        *.txt) conda_part "/opt/parts/$list" ;;
        *.lock) pip_part "$list" ;;
    esac
done
# Everybody may read what packages hold, and the group may write, which nobody but the user of the dev image is in.
find /opt/venv ! -type l ! -perm -g=w,o=r -exec chmod g+w,a+rX {} +
cd /
find opt/venv -cnewer /tmp/before ! -type d ! -name .lock -exec cp -al --parents -t /opt/delta {} +
