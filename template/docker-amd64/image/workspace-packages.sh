#!/bin/bash
# Installs what a workspace lists, beside the packages of the project, which keep their versions. What that adds, with its
# hashes, is /opt/venv/workspace.lock: ./template.sh copies it to the workspace, and the next build installs that, unless the
# lists or the packages of the project have changed. Then its versions are kept if they fit.
set -euo pipefail

lists=()
for file in requirements.txt pyproject.toml; do
    if [[ -f $file ]]; then lists+=("$file"); fi
done
((${#lists[@]})) || exit 0
mapfile -t files < <(find . -type f ! -path ./requirements.lock | LC_ALL=C sort -r)

# The code of the workspace itself is mounted, and installed when a container starts.
work=$(mktemp -d)
for file in "${files[@]}"; do
    mkdir -p "$work/lists/${file%/*}"
    sed -E '/^(-e|--editable)?[[:space:]]*\.(\[.*\])?[[:space:]]*$/d' "$file" >"$work/lists/$file"
done
options=()
for file in "${lists[@]}"; do options+=(--requirement "$file"); done
installed() { uv pip freeze | LC_ALL=C sort; }

installed >"$work/before"
uv pip list --quiet --format freeze >"$work/constraints.txt"
digest=$(cat "${files[@]}" "$work/constraints.txt" | sha256sum)
digest="# for ${digest%% *}"
cat >"$work/head" <<'END'
# What ./template.sh build installed for this workspace. Remove this file to take newer versions.
END
echo "$digest" >>"$work/head"
# What ./template.sh has read elsewhere. It takes it from the lock while the files are the same.
if [[ -f pyproject.toml ]] && head -n 1 pyproject.toml | grep -q '^# read {'; then
    echo "# What other files of it require:" >>"$work/head"
    sed 's/^/#| /' pyproject.toml >>"$work/head"
fi

install() { (cd "$work/lists" && uv pip install --constraint ../constraints.txt "${options[@]}" "$@"); }

if [[ -f requirements.lock ]] && grep -qFx "$digest" requirements.lock; then
    cp requirements.lock "$work/new"
    uv pip install --no-deps --verify-hashes --requirement requirements.lock
else
    { grep -oE '^[A-Za-z0-9][^ ;]*==[^ ;]+' requirements.lock 2>/dev/null || true; } >"$work/kept.txt"
    if [[ ! -s $work/kept.txt ]] || ! install --quiet --constraint ../kept.txt 2>/dev/null; then install; fi
    # A base image with its own PyTorch has stand-ins of its packages, which nobody has to install.
    { cat /opt/base/names.txt 2>/dev/null || true; } >"$work/names"
    installed | LC_ALL=C comm -13 "$work/before" - |
        awk -F '==' 'FILENAME != "-" {base[$1]; next} !($1 in base)' "$work/names" - >"$work/added.in"
    cp "$work/head" "$work/new"
    uv pip compile --quiet --no-deps --generate-hashes --no-header --no-annotate "$work/added.in" >>"$work/new"
fi
cp "$work/new" /opt/venv/workspace.lock
