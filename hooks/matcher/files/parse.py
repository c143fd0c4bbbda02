"""Which reader a file gets: by its name, else by how it begins."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from ..hosts import BadInputError
from . import conda, dockerfile, projects, requirements
from .found import Project

if TYPE_CHECKING:
    from .found import Open

_DOCKERFILE = re.compile(r"(?i)(.*[._-])?(docker|container)file([._-].*)?")
_REFUSED = {
    "setup.py": "is a program, which is not run: give requirements.txt or a lock",
    "pixi.lock": "is a lock of pixi, which is not read: give pixi's environment as a file of conda",
    "pixi.toml": "is a project of pixi, which is not read: `pixi workspace export"
    " conda-environment` writes it as a file of conda",
    "conda-lock.yml": "is a lock of conda-lock, which is not read: give the environment file",
    "Pipfile.lock": "is a lock of Pipenv, which is not read: give the Pipfile",
}


def parse(name: str, text: str, open_file: Open) -> Project:
    """Read a dependency file and those that it includes.

    Args:
        name: of the file; other names are relative to it.
        text: what is in it.
        open_file: gives the text of a file by its name, or raises BadInputError.

    Raises:
        BadInputError: it is not understood; one sentence.
    """
    base = posixpath.basename(name)
    if base in _REFUSED:
        raise BadInputError(f"{name} {_REFUSED[base]}")
    project = Project()
    if _DOCKERFILE.fullmatch(base):
        dockerfile.read(project, text, name, open_file)
    elif base.endswith((".yml", ".yaml")):
        conda.read(project, text, name, open_file)
    elif base.endswith(".lock") or re.fullmatch(r"pylock(\..+)?\.toml", base):
        projects.read_lock(project, text, name)
    elif base.endswith(".toml"):
        projects.read_pyproject(project, text, name, open_file)
    elif base == "Pipfile":
        projects.read_pipfile(project, text, name)
    elif base.endswith(".cfg"):
        projects.read_setup_cfg(project, text, name)
    elif dockerfile.is_dockerfile(text):
        dockerfile.read(project, text, name, open_file)
    else:
        requirements.read(project, text, name, open_file)
    return project
