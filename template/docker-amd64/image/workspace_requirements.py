#!/usr/bin/env python3
"""Says what the code of a workspace requires that its build cannot read by itself. Writes nothing.

    workspace_requirements.py --project JSON [--listed] [--names NAMES] [--called NAME]

setup.py, setup.cfg, Poetry and dynamic dependencies are read as those of a project are. Where
nothing else lists packages, the main requirements file by another name, Pipfile, pixi.toml or the
environment file is read, as `import` does. uv installs all of it, beside the project's packages.
NAMES, with commas, are extras and groups of the metadata that are required too. NAME is what
messages call the workspace.

Where the package manager of the project has environment files, those of a workspace are read with
the requirements beside them, and workspace_specs.py finds what is not for uv.

Prints JSON: `text`, a pyproject.toml for uv, "" where nothing could be read; `files`, the digests
of what it depends on, {} where something failed; `taken`, the files whose requirements it has;
`specs`, the lock of what is not for uv, if there is any.
Runs in the container of the service tools, which has the workspace at /workspace, read-only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Where the image has the libraries; those of the distribution or a base image may be older.
sys.path.insert(1, "/opt/tools")

from intake import discovery, reader
from intake import requirement as rules
from intake.found import (
    CONSTRAINT,
    FIND_LINKS,
    INDEX,
    MAIN,
    PIP,
    Entry,
    ListFile,
    Place,
    Wanted,
    grouped,
    shortened,
)
from intake.text import exit_status, say
from project_backend import build_requirements
from project_declared import (
    FILES,
    Declared,
    MetadataError,
    index_of,
    names_in,
    normalised,
    requirement,
)
from project_metadata import CONSTRAINTS, Reader, kind_of, main_file
from project_metadata import FIND_LINKS as PAGES
from project_requirements import (
    CODE,
    addresses_of,
    digests,
    refuse_passwords,
    take_sources,
    unique,
)
from uv_project import project_tables, uv_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from intake.found import Intake


ENVIRONMENTS = ("environment", "pixi")  # kinds of lists that have packages of both managers


def settled(lines: Iterable[str], where: str, wanted: Wanted) -> tuple[list[str], list[str]]:
    """What becomes of requirements by the rules of an import, and sentences about them."""
    kept, entries = [], []
    for line in lines:
        parsed = requirement(line)
        if parsed and parsed.marker and not rules.holds(parsed.marker, wanted.python):
            continue
        # Its own indexes may have a version with a local part.
        verdict = rules.judge(line, wanted, given=True)
        entries.append(Entry(Place(where, 0), line, verdict, MAIN))
        if verdict.kind == PIP:
            kept.append(verdict.becomes)
    return kept, [f"{where}: {note}" for note in grouped(entries)]


def of_metadata(code: Path, wanted: Wanted, names: Sequence[str]) -> Declared:
    """What setup.py, setup.cfg or pyproject.toml require, with these extras and groups."""
    found, where = Reader(code, wanted.torch, wanted.python, names).read(), main_file(code)
    missing = sorted(normalised(names) - found.offered)
    found.requires, notes = settled(found.requires, where, wanted)
    found.limits[CONSTRAINTS], more = settled(found.limits.get(CONSTRAINTS, []), where, wanted)
    found.dev = []
    take_sources(found, {})
    found.notes = [*notes, *more, *found.notes]
    if missing:
        found.notes.append(f"{where} has no extras or groups of these names: {', '.join(missing)}.")
    if names and found.untaken:
        others = ", ".join(dict.fromkeys(found.untaken))
        found.notes.append(f"Groups and extras of {where} that are not installed: {others}.")
    return found


def of_lists(intake: Intake, files: Iterable[ListFile]) -> tuple[Declared, list[str]]:
    """What lists say that were read, and the paths of those that were taken."""
    found = Declared(
        requires=intake.lines(PIP),
        indexes=[index_of(url) for url in intake.lines(INDEX)],
        limits={CONSTRAINTS: intake.lines(CONSTRAINT), PAGES: intake.lines(FIND_LINKS)},
        notes=intake.notes(),
    )
    if intake.apt:
        found.notes.append(
            f"To have them in this workspace only, write into its apt.txt: {' '.join(intake.apt)}"
        )
    paths = {one.path for one in files} | {entry.place.file for entry in intake.entries}
    return found, sorted(paths - intake.broken.keys())


def lists_to_read(code: Path, answers: Wanted) -> tuple[list[ListFile], bool]:
    """The lists of the main kind, and whether some are the project's package manager's own."""
    files = [
        one
        for one in discovery.discover(code, manager=answers.manager)
        if one.taken and one.group == MAIN
    ]
    own = answers.manager != PIP and any(one.kind in ENVIRONMENTS for one in files)
    return files, own


def requirements(
    code: Path, answers: Wanted, names: Sequence[str] = (), *, listed: bool, called: str = ""
) -> dict[str, Any]:
    """What the program prints, with sentences for the user on stderr.

    Args:
        code: the folder of the workspace.
        answers: those of the project.
        names: extras and groups of its metadata that are required too.
        listed: whether the build reads a list already.
        called: what messages call the workspace.

    Raises:
        MetadataError: an address has a password, or packages do not fit those of the project.
    """
    wanted, specs = replace(answers, manager=PIP), {}
    found, taken, where = of_metadata(code, wanted, names), [], []
    if not found.failures and kind_of(code):
        taken = [name for name in FILES if (code / name).is_file()]
    if found.requires:
        where = [main_file(code)]
    # What builds the code itself is no list of its packages.
    for_builds = build_requirements(Reader(code).toml_of(code))
    files, own = lists_to_read(code, answers)
    if own or (not listed and not names_in(found.requires) - names_in(for_builds)):
        intake = reader.read(code, files, answers if own else wanted)
        lists, where = of_lists(intake, files)
        if own:
            import workspace_specs  # noqa: PLC0415  only projects have it whose answer it is

            specs["specs"], for_uv = workspace_specs.lock_beside(intake, code, called)
            lists.requires += for_uv
        lists.add(found)
        found, taken = lists, [*taken, *where]
    refuse_passwords([*found.requires, *addresses_of(found)], "The workspace")
    for note in dict.fromkeys([*found.failures, *found.notes]):
        say(note)
    requires = unique(found.requires)
    if requires and where:
        say(f"Read from {' and '.join(where)}: {shortened(requires)}.")
    uv = uv_tables(found.sources, found.indexes, {**found.limits, **found.tables})
    text = f"{project_tables(requires)}\n{uv}" if requires or not found.failures else ""
    return {
        "text": text,
        # What failed is to be tried again.
        "files": {} if found.failures else digests(code, {*found.files, *taken}),
        "taken": taken,
        **specs,
    }


def main(arguments: Sequence[str]) -> int:
    """Do what the text of the module says."""
    parser = argparse.ArgumentParser(prog="workspace_requirements.py")
    parser.add_argument("--project", required=True, help="JSON: what project.json says")
    parser.add_argument("--listed", action="store_true", help="the build reads a list already")
    parser.add_argument("--names", default="", help="extras and groups, with commas")
    parser.add_argument("--called", default="", help="what messages call the workspace")
    parser.add_argument("--code", type=Path, default=CODE)
    options = parser.parse_args(arguments)
    # uv runs build backends here, by the Python that runs this.
    os.environ.pop("UV_PYTHON", None)
    answers = Wanted.of_project(json.loads(options.project))
    python = answers.python or ".".join(map(str, sys.version_info[:2]))
    answers = replace(answers, python=python)
    names = [*filter(None, options.names.split(","))]
    asked = {"listed": options.listed, "called": options.called}
    return exit_status(
        lambda: print(json.dumps(requirements(options.code, answers, names, **asked))),
        MetadataError,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
