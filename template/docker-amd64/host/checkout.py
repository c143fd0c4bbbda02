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
from .ask import capture, read_json, read_text
from .failures import failed
from .files import read_file
from .project import StopError
from .turn import open_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .project import Project

ANSWERS = ".copier-answers.yml"  # where Copier looks unless it is told another
MARKS = (b"<<<<<<< ", b">>>>>>> ")  # of a conflict, at the start of a line
# Beside what takes an update back: the commit before it, and its files with conflicts.
BEGUN = "begun.json"
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


def cannot_read(said: str) -> UpdateError | None:
    """Why git does not read a repository that is there; None if there is none."""
    if "not a git repository" in said or not said.strip():
        return None
    return UpdateError(f"git does not read this repository ({said.strip().splitlines()[0]}).")


def find_project(described: Project) -> Checkout:
    """The project in git. Raises UpdateError where no update can start from it."""
    docker, root, answers_file = described.folder, described.root, described.answers_file
    try:
        answers = read_file(root / answers_file).decode("utf-8", "replace")
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
        raise (
            no_repository(place.stderr)
            or cannot_read(place.stderr)
            or failed("not-in-git", described)
        )
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
    # Of the index alone: to compare files, git would start filters, such as that of Git LFS.
    rows = capture("git", "ls-files", "--unmerged", "-z", cwd=root).stdout.split("\0")
    return sorted({row.partition("\t")[2] for row in rows if row})


def listed(names: Sequence[str], most: int = 3) -> str:
    """A few names in a row."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def commit_command(project: Checkout, message: str = "Update Hearth") -> str:
    """The command that commits everything."""
    where = f"git -C {shlex.quote(str(project.root))}"
    return f"{where} add --all && {where} commit -m {shlex.quote(message)}"


def go_on(project: Checkout) -> int:
    """After conflicts were solved: see that none is left, and tell git; the exit status.

    An editor may have told git already. Raises StopError.
    """
    if is_interrupted(project):
        raise failed("update-interrupted", remedy=project.undo)
    begun = read_json(read_text(project.state / BEGUN))
    known = begun.get("head") == project.head
    names = sorted({*conflicts(project.root), *(begun["conflicts"] if known else ())})
    if not (names or known):
        raise UpdateError("There are no conflicts here: nothing is left of an update.")
    files = [name for name in names if (project.root / name).is_file()]
    marked = [
        name
        for name in files
        if any(one.startswith(MARKS) for one in (project.root / name).read_bytes().splitlines())
    ]
    if marked:
        raise UpdateError(
            f"{listed(marked)} still {'has' if len(marked) == 1 else 'have'} lines between "
            "<<<<<<< and >>>>>>>: choose, and delete the marks."
        )
    solved = sorted({*files, *conflicts(project.root)})  # not what was deleted, and git knows it
    done = capture("git", "add", "--all", "--", *solved, cwd=project.root) if solved else None
    if done and done.returncode:
        raise UpdateError(f"git could not take {listed(solved)} ({done.stderr.strip()}).")
    script = project.docker / "template.sh"
    subprocess.run([str(script), "env"], cwd=str(project.root), check=False)
    print(f"Solved: {listed(names) or 'nothing had to be'}.\nNext: {commit_command(project)}")
    return 0


# ------------------------------------------------------------------------- one update at a time


def take_lock(project: Checkout) -> int | None:
    """Keep other updates of this project out while this process and those that it starts live.

    Returns the descriptor of the lock, which the kernel gives back however they end; None where
    there are no locks. Raises UpdateError where an update runs.
    """
    file = project.state.with_name(f"{project.state.name}.lock")
    try:
        import fcntl  # noqa: PLC0415  Windows has none

        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_lock(file)
        os.set_inheritable(descriptor, True)
    except (ImportError, OSError):  # the update itself says that git's folder cannot be written
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UpdateError("An update of this project runs already.") from None
    except OSError:  # a file system without locks
        return None
    return descriptor


def is_running(project: Checkout) -> bool:
    """Whether an update of this project runs now, in another process."""
    try:
        descriptor = take_lock(project)
    except UpdateError:
        return True
    if descriptor is not None:
        os.close(descriptor)
    return False


def is_interrupted(project: Checkout) -> bool:
    """Whether an update has not come to its end; one that runs has not, either."""
    return (project.state / "running").exists()


def undo(project: Checkout) -> int:
    """Take the last update back; the exit status. Raises UpdateError if there is none."""
    program = project.state / "undo"
    if not program.is_file():
        raise UpdateError(
            "There is no update that could be taken back here.", "git log --oneline -3"
        )
    return subprocess.run(["sh", str(program)], check=False).returncode
