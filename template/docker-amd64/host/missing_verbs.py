"""What is said of a verb that a project lacks: the words of other tools, and an answer's verbs."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Iterator, Sequence

from .ask import read_text
from .look import edit
from .project import USAGE, StopError, code_folder, me, read_project

if TYPE_CHECKING:
    from pathlib import Path

    from .project import Project

LIKENESS = 0.65  # of difflib, from which a verb may be what was meant
REMOVE = ("remove", "uninstall", "rm")
# What docker and package managers call it.
OTHERS = {
    "attach": "shell",
    "bash": "shell",
    "compile": "lock",
    "connect": "shell",
    "enter": "shell",
    "install": "add",
    "kill": "stop",
    "lab": "jupyter",
    "list": "ls",
    "notebook": "jupyter",
    "prune": "clean",
    "ps": "ls",
    "pytest": "exec pytest",
    "python": "exec python",
    "restart": "up",
    "status": "ls",
    "sync": "build",
    "test": "exec pytest",
    "upgrade": "lock --upgrade",
    "version": "update --check",
    "--version": "update --check",
}
# The verbs whose names are not the extra that brings them.
BY_EXTRA = {"pack": "data", "import-results": "data"}
OF_CLUSTERS = {"sif": "slurm", "sqsh": "slurm", "submit": "slurm", "jobs": "slurm"}
OF_CLUSTERS["cancel"] = "slurm"
EXTRAS = ("airflow", "ci", "devcontainer", "jupyter", "ssh", "tensorboard")


def missing(folder: Path, words: Sequence[str], here: Sequence[str], *, known: bool) -> StopError:
    """Why there is no verb of the first word, and the command that helps.

    Args:
        folder: docker-amd64.
        words: of the command line.
        here: the verbs of this project.
        known: whether other projects have it.
    """
    name = words[0]
    if known:
        command = f"{me()} {answer_of(folder, name) or 'help'}"
        said = f'This project has no verb "{name}": its answers do not need it.'
        return StopError(said, command, name=USAGE)
    if name in REMOVE:
        return removal(read_project(folder), name, [word for word in words[1:] if word[:1] != "-"])
    other = OTHERS.get(name, "")
    if other and other.split()[0] not in here:
        other = answer_of(folder, other)
    near = [other] if other else get_close_matches(name, here, n=1, cutoff=LIKENESS)
    meant = f' Did you mean "{near[0]}"?' if near else ""
    rest = [word for word in words[1:] if re.fullmatch(r"[\w.+-]+", word)] if other == "add" else []
    command = " ".join([me(), near[0] if near else "help", *rest])
    return StopError(f'There is no verb "{name}".{meant}', command, name=USAGE)


def answer_of(folder: Path, verb: str) -> str:
    """The update that brings a verb; "" where no single answer does."""
    extra, project = BY_EXTRA.get(verb, verb), read_project(folder)
    if extra in EXTRAS or verb in BY_EXTRA:
        return f"update --data 'extras=[{', '.join([*project.extras, extra])}]'"
    if verb in OF_CLUSTERS and not project.clusters:
        return f"update --data 'clusters=[{OF_CLUSTERS[verb]}]'"
    return ""


def removal(project: Project, verb: str, packages: Sequence[str]) -> StopError:
    """How a package is removed: its line is, in a file that is opened there."""
    files = [*files_with_packages(project)]
    said = f'There is no verb "{verb}": delete the line of a package, and build.'
    for package in packages:
        for file in files:
            line = line_of(file, package)
            if line:
                shown = file.relative_to(project.root) if project.root in file.parents else file
                said = f"{package} is in line {line} of {shown}: delete it there, and build."
                command = f"{edit(str(file), line)} && {me()} build"
                return StopError(said, command, name=USAGE)
    if packages:
        said = f"The dependency files do not list {packages[0]}, so there is nothing to remove."
    return StopError(said, edit(str(files[-1])), name=USAGE)


def files_with_packages(project: Project) -> Iterator[Path]:
    """The files in which `add` lists packages, the one for all images last."""
    from .images import packages_of  # noqa: PLC0415  only this answer needs it

    packages = packages_of(project)
    own = code_folder(project) / packages.OWN_LIST
    if own.is_file():
        yield own
    yield from sorted((project.folder / "dependencies").glob(packages.LISTS))


def line_of(file: Path, package: str) -> int:
    """The line of a file that lists a package; 0 if none does."""
    name = re.split(r"[\[=<>!~ ]", package)[0]
    spelling = r"[-_.]+".join(map(re.escape, re.split(r"[-_.]+", name)))
    entry = re.compile(rf"""(?i)(?:["']|^\s*-\s+["']?){spelling}(?![\w.-]*\w)""")
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if entry.search(line) and not line.lstrip().startswith("#"):
            return number
    return 0
