#!/bin/sh
# Takes back an update of Hearth. What it had made of the files, and what was done to them since, is
# not lost: it becomes an entry of `git stash list`.
set -eu
# The variables that name another repository, such as GIT_DIR in a hook of git; settings remain.
# shellcheck disable=SC2046 # several words
unset $(git rev-parse --local-env-vars | grep -v GIT_CONFIG) GIT_GLOB_PATHSPECS GIT_NOGLOB_PATHSPECS GIT_ICASE_PATHSPECS
cd @ROOT@
state=@STATE@
docker=@DOCKER@
export GIT_LITERAL_PATHSPECS=1 GIT_OPTIONAL_LOCKS=0 LC_ALL=C
export GIT_AUTHOR_NAME=Hearth GIT_AUTHOR_EMAIL=hearth@localhost
export GIT_COMMITTER_NAME=Hearth GIT_COMMITTER_EMAIL=hearth@localhost
# No program that the repository's settings name is run, and they change no file.
quiet='-c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.safecrlf=false -c commit.gpgSign=false -c color.ui=false'
# shellcheck disable=SC2086 # several words
quiet_git() { git $quiet "$@"; }
# The mode of a file; a name may have several lines.
# shellcheck disable=SC2012 # of a file with a known name; stat has other options everywhere
mode() { ls -ld "$1" | head -n 1 | cut -c1-10; }
# Whether a file is what its copy is, with its mode; of a link, what it leads to.
same() {
    cmp -s "$1" "$2" && { [ -L "$2" ] || [ "$(mode "$1")" = "$(mode "$2")" ]; }
}
# A word as the shell reads it.
quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }
# Whether a path was a file or a link before the update.
had() { [ -L "$state/before/$1" ] || [ -f "$state/before/$1" ]; }
# Whether a folder has only what the update has put there.
is_made() { ! find "$1" ! -type d | grep -qvxF -f "$state/paths"; }
# The files that are here, with their bytes, for an index.
as_they_are() {
    prefix=$(git rev-parse --show-prefix)
    while IFS= read -r name; do
        printf '0 %s\t%s%s\0' "$(echo @HEAD@ | tr '0-9a-f' 0)" "$prefix" "$name"
        if [ -L "$name" ]; then
            printf '120000 %s\t%s%s\0' "$(readlink "$name" | tr -d '\n' | quiet_git hash-object -w --stdin)" "$prefix" "$name"
        elif [ -f "$name" ]; then
            if [ -x "$name" ]; then bits=100755; else bits=100644; fi
            printf '%s %s\t%s%s\0' "$bits" "$(quiet_git hash-object -w --no-filters -- "$name")" "$prefix" "$name"
        fi
    done <"$state/paths"
}
stop() {
    echo "$1" >&2
    exit 1
}

# Of an update that was killed, a part may still be at work, or take a moment to end.
is_update() {
    ps -ww -p "$1" -o args= 2>/dev/null | grep -v '<defunct>' | grep -q -e copier -e hooks/update -e hooks.update
}
for pid in $(cat "$state/running" 2>/dev/null || true); do
    for _ in 1 2 3; do
        if is_update "$pid"; then sleep 1; fi
    done
    if is_update "$pid"; then
        stop "The update still works on this project: wait for it, or end it with 'kill $pid'."
    fi
done
if [ "$(git rev-parse HEAD)" != @HEAD@ ]; then
    stop "There are newer commits: 'git revert' takes back the one with the update."
fi
# The lock of a git that works; the update's own, if it was killed then, is known by its inode.
lock=$(git rev-parse --git-path index.lock)
for _ in 1 2 3; do
    if [ -e "$lock" ]; then sleep 1; fi
done
if [ -e "$lock" ]; then
    # shellcheck disable=SC2012 # of a file with a known name; stat has other options everywhere
    inode=$(ls -i "$lock" | awk '{ print $1 }')
    if [ "$inode" != "$(cat "$state/index-inode" 2>/dev/null)" ]; then
        stop "Another git command works in this repository. If none does, one was killed: rm "@LOCK@
    fi
    rm -f "$lock"
fi
# All that cannot be taken back is found before anything is.
while IFS= read -r name; do
    folder=$(dirname "$name")
    # In place of a folder there may be a file of the update.
    while [ ! -e "$folder" ] || { [ -f "$folder" ] && [ -d "$state/before/$folder" ]; }; do
        folder=$(dirname "$folder")
    done
    if [ ! -d "$folder" ] || [ ! -w "$folder" ]; then
        stop "Nothing was taken back: you cannot write in $folder."
    fi
    if [ -d "$name" ] && [ ! -L "$name" ] && ! is_made "$name"; then
        stop "Nothing was taken back: $name is a folder now."
    fi
done <"$state/paths"

# What somebody has saved since, by the hashes of what the update had found and made.
while IFS= read -r line; do
    name=${line#* }
    if [ -f "$name" ] && [ ! -L "$name" ]; then printf '%s\n' "$name"; fi
done <"$state/known" | sort -u >"$state/here"
# With paths from stdin, git starts from the top of its folder, wherever it is called.
prefix=$(git rev-parse --show-prefix)
: >"$state/now"
if (
    cd "$(git rev-parse --show-toplevel)" || exit
    while IFS= read -r name; do printf '%s\n' "./$prefix${name#./}"; done <"$state/here" |
        quiet_git hash-object --no-filters --stdin-paths
) >"$state/hashes"; then
    paste -d ' ' "$state/hashes" "$state/here" >"$state/now"
fi
since=$({ grep -vxF -f "$state/known" "$state/now" || true; } | while IFS= read -r line; do
    printf '  git show %s\n' "$(quoted "stash:$prefix${line#* ./}")"
done)

# What is here now is kept.
rm -f "$state/index"
GIT_INDEX_FILE=$state/index quiet_git read-tree HEAD
if ! tr '\n' '\0' <"$state/paths" | GIT_INDEX_FILE=$state/index quiet_git update-index --add --remove --replace -z --stdin 2>/dev/null; then
    # A filter, such as that of Git LFS, is not on this machine: then what is here is kept without it.
    as_they_are | GIT_INDEX_FILE=$state/index quiet_git update-index --add --replace -z --index-info
fi
tree=$(GIT_INDEX_FILE=$state/index quiet_git write-tree)
said="Nothing had changed; the project is as it was."
if [ "$tree" != "$(git rev-parse 'HEAD^{tree}')" ]; then
    message="An update of Hearth that was taken back"
    index=$(quiet_git commit-tree -p HEAD -m "$message" 'HEAD^{tree}' </dev/null)
    kept=$(quiet_git commit-tree -p HEAD -p "$index" -m "$message" "$tree" </dev/null)
    quiet_git stash store --quiet --message "$message" "$kept"
    said="The update is taken back. What it had made: git stash show -p"
fi
if ! quiet_git diff --cached --quiet HEAD -- .; then
    # shellcheck disable=SC2086 # several words
    tr '\n' '\0' <"$state/paths" | xargs -0 git $quiet reset --quiet HEAD --
fi

# Each file is what it was to the byte, with its mode. What was being written when an update was killed goes.
any='[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f].tmp'
while IFS= read -r name; do
    # shellcheck disable=SC2086 # a pattern
    rm -f "$name".$any
    if ! had "$name" && { [ -f "$name" ] || [ -L "$name" ]; }; then
        rm -f "$name"
        rmdir -p "$(dirname "$name")" 2>/dev/null || true
    fi
done <"$state/paths"
while IFS= read -r name; do
    if had "$name"; then
        mkdir -p "$(dirname "$name")"
        rm -f "$name.undo.tmp" # cp would follow a link
        cp -pP "$state/before/$name" "$name.undo.tmp"
        mv -f "$name.undo.tmp" "$name"
    fi
done <"$state/paths"
# What was written into .env since the update; git has never seen it.
if [ -e "$docker/.env" ] && ! cmp -s "$state/.env" "$docker/.env" && ! cmp -s "$state/updated.env" "$docker/.env"; then
    rm -f "$docker/.env.undone"
    cp -p "$docker/.env" "$docker/.env.undone"
    chmod 600 "$docker/.env.undone"
    echo "The .env that you had with it is .env.undone now."
fi
set -- @FILES@
for file; do
    # shellcheck disable=SC2086 # a pattern
    rm -f "$docker/$file".$any
    if [ -L "$docker/$file" ] && [ -e "$state/$file" ]; then
        cat "$state/$file" >"$docker/$file"
    elif [ -e "$state/$file" ]; then
        rm -f "$docker/$file.old.tmp"
        cp -p "$state/$file" "$docker/$file.old.tmp"
        mv -f "$docker/$file.old.tmp" "$docker/$file"
    else
        rm -f "$docker/$file"
    fi
done

# It is said when it is so.
while IFS= read -r name; do
    copy=$state/before/$name
    if [ -L "$copy" ]; then
        [ "$(readlink "$copy")" = "$(readlink "$name")" ] || stop "$name is not as it was. Its copy: $copy"
    elif [ -f "$copy" ]; then
        same "$copy" "$name" || stop "$name is not as it was. Its copy: $copy"
    elif [ -L "$name" ] || { [ -e "$name" ] && [ ! -d "$name" ]; }; then
        stop "$name is still there: the update had made it."
    fi
done <"$state/paths"
for file; do
    copy=$state/$file
    if [ -e "$copy" ]; then
        same "$copy" "$docker/$file" || stop "$docker/$file is not as it was. Its copy: $copy"
    elif [ -e "$docker/$file" ] || [ -L "$docker/$file" ]; then
        stop "$docker/$file is still there: the update had made it."
    fi
done
echo "$said"
if [ -n "$since" ]; then
    printf 'What was saved after the update is kept there, too:\n%s\n' "$since"
fi
rm -rf @SCRATCH@ "$state"
