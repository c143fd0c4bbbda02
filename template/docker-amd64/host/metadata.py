"""The project's own metadata, and whether the lock has what it says now."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from .project import code_folder

if TYPE_CHECKING:
    from .project import Project

# What may say that the code is a Python project, where nothing is recorded yet.
METADATA = ("pyproject.toml", "setup.cfg", "setup.py")
COPY = "project/pyproject.toml"  # of what it requires, in dependencies/


def changed_metadata(project: Project) -> list[str]:
    """The project's own files that are not what dependencies/project/ was made from."""
    code = code_folder(project)
    try:
        record = project.folder / "dependencies" / "project" / "files.json"
        known: dict[str, str] = json.loads(record.read_text("utf-8"))["sha256"]
    except (OSError, ValueError, KeyError):
        known = {}
    found = []
    for name, digest in (known or dict.fromkeys(METADATA, "")).items():
        try:
            now = hashlib.sha256((code / name).read_bytes()).hexdigest()
        except OSError:
            now = ""
        if now != digest:
            found.append(name)
    return found
