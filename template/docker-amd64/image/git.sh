#!/bin/sh
# git for code whose repository is not in /workspace itself: a worktree, a submodule, a folder below the root. `up` mounts
# the repository at its path outside, where its files name each other; there the code is CODE_OUTSIDE.
case ${CODE_OUTSIDE:+$PWD/} in
    /workspace/*) cd "$CODE_OUTSIDE${PWD#/workspace}" || exit ;;
esac
exec /usr/bin/git "$@"
