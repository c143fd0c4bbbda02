"""What is said of a verb that a project lacks: the words of other tools, and an answer's verbs."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Sequence

from .project import USAGE, StopError, me, read_project

if TYPE_CHECKING:
    from pathlib import Path

LIKENESS = 0.65  # of difflib, from which a verb may be what was meant
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
    "rm": "remove",
    "status": "ls",
    "sync": "build",
    "test": "exec pytest",
    "uninstall": "remove",
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
    other = OTHERS.get(name, "")
    if other and other.split()[0] not in here:
        other = answer_of(folder, other)
    near = [other] if other else get_close_matches(name, here, n=1, cutoff=LIKENESS)
    meant = f' Did you mean "{near[0]}"?' if near else ""
    packages = words[1:] if other in ("add", "remove") else ()
    rest = [word for word in packages if re.fullmatch(r"\w[\w.+-]*", word)]
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
