"""A generated project in git: what update and eject start from, and what takes an update back.

The program that takes it back is plain shell and git, and in git's own folder: an update that is
killed may have left half of this package.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .accelerator import OVERRIDE_FILES
from .ask import capture
from .failures import failed
from .project import StopError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .project import Project

ANSWERS = ".copier-answers.yml"  # where Copier looks unless it is told another
HOST_FILES = (".env", *OVERRIDE_FILES.values())  # written for this host; git ignores them


class UpdateError(StopError):
    """Why there is no update."""


class Checkout(NamedTuple):
    """A generated project: its folder and docker-amd64, the answers, and git's own folder."""

    root: Path
    docker: Path
    answers_file: str
    template: str
    version: str
    git: Path
    head: str

    @property
    def state(self) -> Path:
        """Where an update leaves what takes it back; each project of a repository has its own."""
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]
        return self.git / "hearth-update" / name

    @property
    def undo(self) -> str:
        """The command that takes the last update back, whatever is left of this folder."""
        return f"sh {shlex.quote(str(self.state / 'undo'))}"


def recorded(text: str, name: str) -> str:
    """What an answers file records under a name, of those that Copier itself writes there."""
    found = re.search(rf"(?m)^{name}: *(.*?) *$", text)
    return found.group(1).strip("'\"") if found else ""


def no_repository(said: str) -> StopError | None:
    """Why git reads no repository, if it has one: it belongs to another user.

    `said` is what git writes to stderr, in English. Whether its owner is trusted is for the user to
    say: git would run what the settings of that repository name.
    """
    found = re.search(r"dubious ownership in repository at '(.*)'", said)
    if not found:
        return None
    # Git asks for the folder where it works in it, and for git's own folder where it is cloned.
    path = re.sub(r"(?<=.)/\.git$", "", found[1])
    store = f"{path}/.git" if os.path.isdir(f"{path}/.git") else path  # noqa: PTH112
    return failed("repository-of-another-user", path=path, store=store)


def find_project(described: Project) -> Checkout:
    """The project in git. Raises UpdateError where no update can start from it."""
    docker, root, answers_file = described.folder, described.root, described.answers_file
    try:
        answers = (root / answers_file).read_text("utf-8", "replace")
    except OSError as error:
        why = f"There is no {answers_file}, from which an update would start"
        raise UpdateError(
            f"{why}: the project has left its template, or git has the file."
        ) from error
    if not shutil.which("git"):
        raise UpdateError("An update needs git, which is not on this machine.")
    place = capture("git", "rev-parse", "--absolute-git-dir", cwd=root)
    in_root = f"git -C {shlex.quote(str(root))}"
    start = f'{in_root} init && {in_root} add --all && {in_root} commit -m "As it was generated"'
    if place.returncode:
        raise no_repository(place.stderr) or failed("not-in-git", described)
    head = capture("git", "rev-parse", "--quiet", "--verify", "HEAD", cwd=root)
    if head.returncode:
        raise UpdateError(
            "Nothing is committed yet: an update compares with the last commit.", start
        )
    return Checkout(
        root,
        docker,
        answers_file,
        recorded(answers, "_src_path"),
        recorded(answers, "_commit"),
        Path(place.stdout.rstrip("\n")),
        head.stdout.strip(),
    )


def conflicts(root: Path) -> list[str]:
    """The files of a project that git calls unmerged, relative to its folder."""
    names = capture("git", "diff", "--name-only", "--relative", "--diff-filter=U", "-z", cwd=root)
    return sorted(set(filter(None, names.stdout.split("\0"))))


def listed(names: Sequence[str], most: int = 3) -> str:
    """A few names in a row."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def commit_command(project: Checkout, message: str = "Update Hearth") -> str:
    """The command that commits everything."""
    where = f"git -C {shlex.quote(str(project.root))}"
    return f"{where} add --all && {where} commit -m {shlex.quote(message)}"


# ------------------------------------------------------------------------- taking an update back


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
# Takes back an update. What it had made of the files is not lost: it becomes an entry of
# `git stash list`.
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
    values = {
        "ROOT": shlex.quote(str(project.root)),
        "DOCKER": shlex.quote(str(project.docker)),
        "STATE": shlex.quote(str(state)),
        "SCRATCH": shlex.quote(str(scratch)),
        "HEAD": shlex.quote(project.head),
        "FILES": " ".join(HOST_FILES),
    }
    # In one step: a folder may have such a mark in its name.
    text = re.sub("@([A-Z]+)@", lambda mark: values[mark[1]], UNDO)
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
