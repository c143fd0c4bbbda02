"""Taking an update back, also one that was killed half-way.

The program that does it lies in git's own folder, and is plain shell and git: an update that is
killed may have left half of this package.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from .accelerator import OVERRIDE_FILES
from .ask import capture
from .checkout import UpdateError

if TYPE_CHECKING:
    from .checkout import Checkout

HOST_FILES = (".env", *OVERRIDE_FILES.values())  # written for this host; git ignores them


def running(project: Checkout) -> int:
    """1 if an update of this project runs, -1 if one was killed, 0 otherwise."""
    try:
        words = (project.state / "running").read_text().split()
    except OSError:
        return 0
    return 1 if any(map(is_alive, map(int, words))) else -1


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number, and not only what is left of one."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there, and another user's
    return not capture("ps", "-o", "state=", "-p", str(pid)).stdout.startswith("Z")


UNDO = r"""#!/bin/sh
# Takes back the update of @ROOT@ from @VERSION@. What the update had made of the
# files is not lost: it becomes an entry of `git stash list`.
set -eu
cd @ROOT@
# Of an update that was killed, Copier may still be at work, or take a moment to end.
is_copier() { ps -ww -p "$1" -o args= 2>/dev/null | grep -v '<defunct>' | grep -q copier; }
for pid in $(cat @STATE@/running 2>/dev/null || true); do
    for second in 1 2 3; do
        if is_copier "$pid"; then sleep 1; fi
    done
    if is_copier "$pid"; then
        echo "Copier still works on this project: wait for it, or end it with 'kill $pid'." >&2
        exit 1
    fi
done
if [ "$(git rev-parse HEAD)" != @HEAD@ ]; then
    echo "There are newer commits: 'git revert' takes back the one with the update." >&2
    exit 1
fi
# A git that was killed leaves its lock.
lock=$(git rev-parse --git-path index.lock)
for second in 1 2 3; do
    if [ -e "$lock" ]; then sleep 1; fi
done
rm -f "$lock"
git add --all -- .
if ! git diff --cached --quiet HEAD -- .; then
    git stash push --quiet --message "An update of Hearth that was taken back" -- .
    echo "The update is taken back. What it had made: git stash show --include-untracked -p"
else
    echo "Nothing had changed; the project is as it was."
fi
# What was written into .env since the update; git has never seen it.
if [ -e @DOCKER@/.env ] && ! cmp -s @STATE@/.env @DOCKER@/.env &&
    ! cmp -s @STATE@/updated.env @DOCKER@/.env; then
    cp -p @DOCKER@/.env @DOCKER@/.env.undone
    chmod 600 @DOCKER@/.env.undone
    echo "The .env that you had with it is .env.undone now."
fi
for file in @FILES@; do
    if [ -L @DOCKER@/"$file" ] && [ -e @STATE@/"$file" ]; then
        cat @STATE@/"$file" >@DOCKER@/"$file"
    elif [ -e @STATE@/"$file" ]; then
        cp -p @STATE@/"$file" @DOCKER@/"$file.old.tmp"
        mv @DOCKER@/"$file.old.tmp" @DOCKER@/"$file"
    else
        rm -f @DOCKER@/"$file"
    fi
done
rm -rf @SCRATCH@ @STATE@
"""


def prepare_undo(project: Checkout, scratch: Path) -> None:
    """Keep what git does not see, and write the program that takes the update back.

    `scratch` is the update's temporary folder, which it leaves behind if it is killed.
    """
    state = project.state
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True, mode=0o700)  # .env may hold secrets
    for name in HOST_FILES:
        if (project.docker / name).exists():
            shutil.copy2(project.docker / name, state / name)
    text = UNDO
    for mark, value in {
        "ROOT": shlex.quote(str(project.root)),
        "DOCKER": shlex.quote(str(project.docker)),
        "STATE": shlex.quote(str(state)),
        "SCRATCH": shlex.quote(str(scratch)),
        "VERSION": project.version,
        "HEAD": project.head,
        "FILES": " ".join(HOST_FILES),
    }.items():
        text = text.replace(f"@{mark}@", value)
    (state / "undo").write_text(text, "utf-8", "surrogateescape")
    # The processes of the update: this one, and the Copier that it will start.
    (state / "running").write_text(str(os.getpid()))


def keep_updated_env(project: Checkout) -> None:
    """Keep the .env that the update has made: to take back is not to lose what came later."""
    if (project.docker / ".env").exists():
        shutil.copy2(project.docker / ".env", project.state / "updated.env")


def host_files_changed(project: Checkout) -> bool:
    """Whether a file that git does not see is another than before the update."""

    def content(path: Path) -> bytes | None:
        return path.read_bytes() if path.exists() else None

    return any(content(project.docker / n) != content(project.state / n) for n in HOST_FILES)


def undo(project: Checkout) -> int:
    """Take the last update back; the exit status. Raises UpdateError if there is none."""
    program = project.state / "undo"
    if not program.is_file():
        raise UpdateError(
            "There is no update that could be taken back here.", "git log --oneline -3"
        )
    return subprocess.run(["sh", str(program)], check=False).returncode


def interrupted() -> str:
    """What to say of an update that somebody killed."""
    return "The last update was interrupted. Take it back first; then it can start again."
