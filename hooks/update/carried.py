"""The lists of packages that a change of the package manager replaces.

packages.py moves their lines. They are in docker-amd64/dependencies. To import this costs nothing,
unlike packages.py.
"""

from __future__ import annotations

DEPENDENCIES = "docker-amd64/dependencies"
OLD = "old"  # the ending of a list that git does not have, if not all of its lines have moved
LISTS = ("pyproject.toml", "environment.yml", "environment-cuda.yml", "environment-dev.yml")
PIP_LOCKS = ("uv.lock", "project/files.json", "imported.json")
CONDA_LOCKS = ("conda.lock", "pip.lock", "pip-dev.lock", "imported.json")
CARRIED = frozenset(f"{DEPENDENCIES}/{name}" for name in (*LISTS, *PIP_LOCKS, *CONDA_LOCKS))
