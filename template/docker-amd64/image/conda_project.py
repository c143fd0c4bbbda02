#!/usr/bin/env python3
"""Makes dependencies/project/ from what the project itself declares, for the locks of conda.

    conda_project.py --project JSON     write dependencies/project/, say what changed

conda_env.py locks what it lists. Runs with the distribution's Python in the container of the
service tools, which has the code at /workspace, read-only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# Those of the distribution may be older.
sys.path.insert(1, "/opt/tools")

import project_requirements
from intake import requirement as rules
from intake.found import CONDA, MAIN, PIP, Entry, Place, Wanted, grouped
from intake.text import exit_status, say
from project_declared import MetadataError, requirement
from project_metadata import FIND_LINKS
from project_requirements import CODE, DEPENDENCIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def settled(lines: Iterable[str], where: str, wanted: Wanted) -> tuple[list[str], list[str]]:
    """What becomes of requirements by the rules of an import, and sentences about them.

    Markers are decided here: conda's locks are for one platform and one Python. What conda installs
    in its place has PyPI's name still, which conda_env.py knows.
    """
    kept, entries = [], []
    for line in lines:
        parsed = requirement(line)
        if parsed and parsed.marker:
            if not rules.holds(parsed.marker, wanted.python):
                continue
            parsed.marker = None
            line = str(parsed)  # noqa: PLW2901
        # Its own indexes may have a version with a local part.
        verdict = rules.judge(line, wanted, given=True)
        entries.append(Entry(Place(where, 0), line, verdict, MAIN))
        if verdict.kind == PIP:
            kept.append(verdict.becomes)
        elif verdict.kind == CONDA and parsed:
            kept.append(parsed.name)
    return kept, [f"{where}: {note}" for note in grouped(entries)]


def read_project(options: argparse.Namespace) -> None:
    """Write what the project requires into its lists, and say what was left out.

    Raises:
        MetadataError: the project does not tell what it needs, or names a password.
    """
    wanted = Wanted.of_project(json.loads(options.project))
    found = project_requirements.read(
        options.code,
        options.dependencies,
        lambda lines, where: settled(lines, where, wanted),
        add=f"{options.template_sh} add",
        python=wanted.python,
        torch=wanted.torch,
    )
    for key in ({FIND_LINKS} & found.limits.keys()) | found.tables.keys():
        say(f"pyproject.toml: {key} of [tool.uv] is not taken with conda.")
    for note in found.notes:
        say(note)


def main(arguments: Sequence[str]) -> int:
    """Do what the text of the module says."""
    parser = argparse.ArgumentParser(prog="conda_project.py")
    parser.add_argument("--project", required=True, help="JSON: what project.json says")
    parser.add_argument("--template-sh", default="./docker-amd64/template.sh")
    parser.add_argument("--code", type=Path, default=CODE)
    parser.add_argument("--dependencies", type=Path, default=DEPENDENCIES)
    options = parser.parse_args(arguments)
    # uv runs build backends here, and the environment of conda is in other images.
    os.environ.pop("UV_PYTHON", None)
    return exit_status(lambda: read_project(options), MetadataError)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
