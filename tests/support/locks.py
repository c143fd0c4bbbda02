"""The requirement locks: which there are, and whether they have what pyproject.toml asks for."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# dependencies/pyproject.toml of a new project, without packages and what answers decide.
DEPENDENCIES = """\
[project]
name = "demo-dependencies"
requires-python = ">=3.10"
version = "0"
dependencies = []

[dependency-groups]
project = ["project-requirements"]
project-dev = ["project-requirements[dev]"]

[tool.uv]
package = false

[tool.uv.sources]
project-requirements = { path = "project" }
"""
# Group of pyproject.toml to the file that `make lock` writes for it.
LOCKS = {
    "generate": "requirements.txt",
    "dev": "requirements-dev.txt",
    "torch-build": "template/docker-amd64/image/torch-build.txt",
    "tools": "template/docker-amd64/image/tools.txt",
    "torch-build-mkl": "template/docker-amd64/image/torch-build-mkl.txt",
}


def pyproject(root: Path) -> dict[str, Any]:
    """The content of the repository's pyproject.toml."""
    content: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())
    return content


def direct_requirements(root: Path, group: str) -> list[Requirement]:
    """What a group asks for, with the groups that it includes."""
    found: list[Requirement] = []
    for entry in pyproject(root)["dependency-groups"][group]:
        if isinstance(entry, dict):
            found += direct_requirements(root, entry["include-group"])
        else:
            found.append(Requirement(entry))
    return found


def locked_versions(root: Path, lock: str) -> dict[str, set[str]]:
    """Package to its versions in a lock; several where they differ between Pythons."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([\w.-]+)==([^ ;\\]+)", (root / lock).read_text()):
        versions.setdefault(canonicalize_name(name), set()).add(version)
    return versions


def unlocked(root: Path, group: str) -> list[str]:
    """What a group asks for and its lock lacks, or has in a version that does not fit."""
    versions = locked_versions(root, LOCKS[group])
    return [
        str(requirement)
        for requirement in direct_requirements(root, group)
        for locked in [versions.get(canonicalize_name(requirement.name), set())]
        if not locked or not all(requirement.specifier.contains(version) for version in locked)
    ]
