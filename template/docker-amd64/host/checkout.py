"""A generated project in git, as the verbs that change it as a whole see it: update and eject."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .ask import capture
from .project import StopError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .project import Project

ANSWERS = ".copier-answers.yml"  # where Copier looks unless it is told another


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
    if place.returncode and "dubious ownership" in place.stderr:
        raise UpdateError(
            "The repository belongs to another user, whom git does not trust.",
            f"git config --global --add safe.directory {shlex.quote(str(root))}",
        )
    in_root = f"git -C {shlex.quote(str(root))}"
    start = f'{in_root} init && {in_root} add --all && {in_root} commit -m "As it was generated"'
    if place.returncode:
        raise UpdateError("The project is not in git, which keeps your work in an update.", start)
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
