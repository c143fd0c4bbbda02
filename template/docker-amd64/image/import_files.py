#!/usr/bin/env python3
"""Says what an import of dependency files makes of dependencies/pyproject.toml. It writes nothing.

    import_files.py --project JSON [--first] [FILE...]

`intake` reads and judges every line; a line that uv cannot have is left out with uv's reason, and
the others are taken. Prints JSON: the three lists, and under `files` the texts that the host writes
into dependencies/ if the user agrees. With --first, files are found and not read if pyproject.toml
has packages already. Runs in the container of the service tools.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

# Where the image has the libraries; those of a base image may be older.
sys.path.insert(1, "/opt/tools")

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement
from tomlkit.exceptions import TOMLKitError

from intake import reader, record
from intake.discovery import discover
from intake.found import CONSTRAINT, FIND_LINKS, INDEX, PIP, Wanted, left_out, settled
from intake.names import pip_name
from intake.text import FileError, exit_status, say, without_secret
from project_backend import IMPORTED
from uv_project import reason_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tomlkit.items import Array

    from intake.found import Intake, ListFile
    from intake.record import Change, Record

CODE, DEPENDENCIES = Path("/workspace"), Path("/opt/dependencies")
PYPROJECT, LOCK = "pyproject.toml", "uv.lock"
DECLARED = "project/pyproject.toml"  # what the project itself requires
# Locks of other tools, whose versions are preferred in the first uv.lock.
LOCKS = ("uv.lock", "poetry.lock", "pdm.lock")
MAIN_LIST, DEV_LIST = f"{PIP}:main", f"{PIP}:dev"
OVERRIDE = "override"  # only the project's own metadata has it
BUILT = (MAIN_LIST, DEV_LIST)
# What a setup.py imports and declares nowhere, by the name of the module:
# https://docs.astral.sh/uv/concepts/projects/config/#augmenting-build-dependencies
BUILD_MODULES = {**IMPORTED, "torch": "torch"}


class Line(NamedTuple):
    """A line to add to one of the lists: `pip:main`, `constraint` ..."""

    where: str
    text: str


# --- the file -------------------------------------------------------------------------------------


PLACES = {
    MAIN_LIST: ("project", "dependencies"),
    DEV_LIST: ("dependency-groups", "dev"),
    CONSTRAINT: ("tool", "uv", "constraint-dependencies"),
    FIND_LINKS: ("tool", "uv", "find-links"),
    OVERRIDE: ("tool", "uv", "override-dependencies"),
}


def table(document: Any, *names: str) -> Any:
    """A table of a document, made where there is none."""
    for name in names:
        if name not in document:
            document[name] = tomlkit.table()
        document = document[name]
    return document


def list_named(document: Any, where: str) -> Array:
    """The list that lines of a kind belong to, made where there is none."""
    *names, name = PLACES[where]
    parent = table(document, *names)
    if name not in parent:
        parent[name] = tomlkit.array()
    found: Array = parent[name]
    return found


def put(items: Array, where: str, line: str) -> None:
    """Add a line to a list; what the list has under its name is replaced."""
    name, at = record.name_in(where, line), None
    for index in reversed(range(len(items))):
        if isinstance(items[index], str) and record.name_in(where, items[index]) == name:
            if at is not None:
                del items[at]
            at = index
    if at is None:
        items.append(line)
        items.multiline(multiline=True)
    elif items[at] != line:
        items[at] = line


def drop(document: Any, where: str, line: str) -> None:
    """Remove a line from its list, where that has it as it was written."""
    *names, name = PLACES[where]
    parent = document
    for one in names:
        parent = parent.get(one, {})
    items = parent.get(name, ())
    if line in items:
        items.remove(line)
        if not items and where not in BUILT:
            del parent[name]
    builds = document.get("tool", {}).get("uv", {}).get("extra-build-dependencies", {})
    needs = builds.get(pip_name(line), ())
    ours = [needs == [one] for one in BUILD_MODULES.values()]
    of_torch = len(needs) == 1 and str(needs[0]).startswith("torch==")
    if where.startswith(PIP) and (any(ours) or of_torch):
        del builds[pip_name(line)]


def put_index(document: Any, address: str) -> None:
    """Add the address of an index."""
    uv = table(document, "tool", "uv")
    if "index" not in uv:
        uv["index"] = tomlkit.aot()
    if all(one.get("url") != address for one in uv["index"]):
        one = tomlkit.table()
        one["url"] = address
        one.add(tomlkit.nl())
        uv["index"].append(one)


def drop_index(document: Any, address: str) -> None:
    """Remove an index that has no name: packages are pinned to one by its name."""
    uv = document.get("tool", {}).get("uv", {})
    indexes = uv.get("index", [])
    for index in reversed(range(len(indexes))):
        if dict(indexes[index]) == {"url": address}:
            del indexes[index]
    if "index" in uv and not indexes:
        del uv["index"]


def edited(
    text: str,
    add: Sequence[Line],
    remove: Sequence[Line],
    builds: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The text of pyproject.toml with lines added and removed.

    Args:
        text: the file.
        add: what to add, or to replace by the names of packages.
        remove: what to remove.
        builds: what packages import while they are built, by their names.

    Raises:
        FileError: it cannot be read.
    """
    for where in (CONSTRAINT, FIND_LINKS, OVERRIDE):
        key = PLACES[where][-1]
        if any(line.where == where for line in add) and not re.search(rf"(?m)^{key}\b", text):
            # Not after the comments of the next table, where tomlkit would write it.
            text = re.sub(r"(?m)^\[tool\.uv\]\n", rf"\g<0>{key} = []\n", text, count=1)
    try:
        document = tomlkit.parse(text)
        for line in remove:
            if line.where == INDEX:
                drop_index(document, line.text)
            else:
                drop(document, line.where, line.text)
        for line in add:
            if line.where == INDEX:
                put_index(document, line.text)
            else:
                put(list_named(document, line.where), line.where, line.text)
        for name, needs in sorted((builds or {}).items()):
            table(document, "tool", "uv", "extra-build-dependencies").setdefault(name, needs)
        return tomlkit.dumps(document)
    except TOMLKitError as error:
        raise FileError(f"dependencies/{PYPROJECT} cannot be read: {error}.") from None


# --- what cannot be had ---------------------------------------------------------------------------


class Lock:
    """Tries whether uv can lock a pyproject.toml, in a copy of dependencies/."""

    def __init__(self, dependencies: Path, folder: Path):
        """Make the copy."""
        self.folder = folder / "dependencies"
        shutil.copytree(dependencies, self.folder)
        self.said = ""

    def fails(self, text: str) -> str:
        """Why a text cannot be locked, "" where it can."""
        (self.folder / PYPROJECT).write_text(text, encoding="utf-8")
        done = subprocess.run(
            ["uv", "lock"], cwd=self.folder, check=False, capture_output=True, text=True
        )
        self.said = done.stderr
        return (reason_in(done.stderr) or "uv cannot lock it") if done.returncode else ""


def build_needs(said: str) -> tuple[str, list[str]] | None:
    """The package whose setup.py imports what it does not ask for, and what has that."""
    package = re.search(r"Failed to (?:download and )?build `([\w.-]+)", said)
    module = re.search(r"ModuleNotFoundError: No module named '(\w+)", said)
    if package is None or module is None or module[1] not in BUILD_MODULES:
        return None
    return pip_name(package[1]), [BUILD_MODULES[module[1]]]


def pin_at_fault(said: str, lines: Sequence[Line]) -> Line | None:
    """The line whose pin uv could not build: whatever the others ask for, it cannot be had."""
    built = re.search(r"Failed to (?:download and )?build `([\w.-]+==[^`]+)`", said)
    texts = {line.text.replace(" ", "").lower(): line for line in lines}
    return texts.get(built[1].lower()) if built else None


def source_at_fault(said: str, lines: Sequence[Line]) -> Line | None:
    """The index or page that uv could not read: with it, no package at all can be had."""
    asked = re.findall(r"(?:Failed to fetch: |for url \()`?([^\s`)]+)", said)
    for line in lines:
        base = without_secret(line.text).rstrip("/")
        if line.where in (INDEX, FIND_LINKS) and any(
            f"{without_secret(one)}/".startswith(f"{base}/") for one in asked
        ):
            return line
    return None


def those_that_can_be_had(
    lines: Sequence[Line],
    fails: Callable[[Sequence[Line]], str],
    at_fault: Callable[[Sequence[Line]], Line | None] = lambda _: None,
) -> tuple[list[Line], dict[Line, str]]:
    """The lines that can be locked together, the first ones first, and why the others cannot.

    Halves what fails until the line at fault is alone: few tries where few lines are at fault.

    Args:
        lines: all of them.
        fails: why some cannot be locked, "" where they can.
        at_fault: the line that the last failure names, None where it names none for sure.
    """
    kept: list[Line] = []
    refused: dict[Line, str] = {}

    def settle(some: Sequence[Line]) -> None:
        why = fails([*kept, *some])
        while why and len(some) > 1 and (one := at_fault(some)):
            refused[one] = why
            some = [line for line in some if line != one]
            why = fails([*kept, *some])
        if not why:
            kept.extend(some)
        elif len(some) == 1:
            refused[some[0]] = why
        else:
            settle(some[: len(some) // 2])
            settle(some[len(some) // 2 :])

    if lines:
        settle(lines)
    return kept, refused


def without(intake: Intake, refused: Mapping[Line, str]) -> Intake:
    """What was read, where the lines that cannot be had are left out."""
    entries = []
    for entry in intake.entries:
        line = Line(record.list_of(entry), entry.verdict.becomes)
        if entry.verdict.becomes and line in refused:
            why = left_out(f"as it cannot be had: {refused[line]}")
            entry = replace(entry, verdict=why)  # noqa: PLW2901  the same line, judged anew
        entries.append(entry)
    return replace(intake, entries=entries)


# --- what the project declares --------------------------------------------------------------------


def declared_lines(dependencies: Path) -> dict[str, list[str]]:
    """What the project's own metadata requires, by the lists that the same lines would go into."""
    try:
        project = tomlkit.parse((dependencies / DECLARED).read_text("utf-8")).get("project", {})
    except (OSError, TOMLKitError):
        return {}
    main = list(project.get("dependencies", ()))
    return {
        MAIN_LIST: main,
        DEV_LIST: main + project.get("optional-dependencies", {}).get("dev", []),
    }


def asks_no_more(line: str, own: str) -> bool:
    """Whether a requirement is one of the project's, or any version of the same package."""
    try:
        one, other = Requirement(line), Requirement(own)
    except InvalidRequirement:
        return False
    bare = not (one.extras or one.specifier or one.url or one.marker or other.marker)
    return one == other or (bare and pip_name(line) == pip_name(own))


def without_declared(
    intake: Intake, declared: Mapping[str, Sequence[str]]
) -> tuple[Intake, set[str]]:
    """What was read, without the lines that the metadata has, and the files that add nothing then.

    A setup.py often reads requirements.txt: its lines are in the lock by that way, and an edit of
    them is noticed.
    """
    entries, met, adds = [], set(), set()
    for entry in intake.entries:
        own = declared.get(record.list_of(entry), ())
        if any(asks_no_more(entry.verdict.becomes, line) for line in own):
            met.add(entry.place.file)
            entry = replace(entry, verdict=settled())  # noqa: PLW2901  the same line, judged anew
        elif entry.verdict.becomes:
            adds.add(entry.place.file)
        entries.append(entry)
    empty = met - adds if adds else {entry.place.file for entry in entries if met}
    return replace(intake, entries=entries), empty


# --- the import -----------------------------------------------------------------------------------

ORDER = (INDEX, FIND_LINKS, CONSTRAINT, MAIN_LIST, DEV_LIST)


def in_order(found: Mapping[str, Change], what: str) -> list[Line]:
    """The lines to `put` or to `drop`, those first that decide where others come from."""
    return [
        Line(where, text)
        for where in ORDER
        if where in found
        for text in getattr(found[where], what)
    ]


def read_lists(
    code: Path,
    dependencies: Path,
    asked: Sequence[str],
    wanted: Wanted,
    before: Record,
    *,
    first: bool,
) -> tuple[list[ListFile], Intake]:
    """The files of an import, and what becomes of their lines beside what the project declares."""
    files = record.files_to_read(code, wanted.manager, asked, before)
    if first:  # the lock that follows says what it does with the versions of another one
        files = [file for file in files if file.path not in LOCKS]
    intake = reader.read(code, files, wanted)
    if asked:
        return files, intake
    intake, empty = without_declared(intake, declared_lines(dependencies))
    if first:
        files = [file for file in files if file.path not in empty]
        entries = [entry for entry in intake.entries if entry.place.file not in empty]
        intake = replace(intake, entries=entries)
    return files, intake


def plan(
    code: Path, dependencies: Path, asked: Sequence[str], wanted: Wanted, *, first: bool = False
) -> dict[str, object]:
    """What an import would do; the first one of a project passes over files that add nothing.

    Raises:
        FileError: pyproject.toml cannot be read.
        SystemExit: uv cannot lock what is there already; it has said why.
    """
    before = record.load_record(dependencies)
    files, intake = read_lists(code, dependencies, asked, wanted, before, first=first)
    old = (dependencies / PYPROJECT).read_text(encoding="utf-8")
    found = record.changes(before, intake, files)
    add, remove = in_order(found, "put"), in_order(found, "drop")
    compiled = {pip_name(line) for line in intake.compiled}
    builds: dict[str, list[str]] = {}
    torch = f"torch=={wanted.torch}" if wanted.torch else "torch"

    def text_with(lines: Sequence[Line]) -> str:
        named = {pip_name(line.text) for line in lines if line.where in BUILT}
        with_torch = {name: [torch] for name in named & compiled}
        return edited(old, lines, remove, {**with_torch, **builds})

    def fails(lines: Sequence[Line]) -> str:
        why = lock.fails(text_with(lines))
        needs = build_needs(lock.said) if why else None
        if needs is None or needs[0] in builds:
            return why
        builds[needs[0]] = [torch if one == "torch" else one for one in needs[1]]
        say(f"{needs[0]} is built with {needs[1][0]}, which it imports and does not ask for.")
        return fails(lines)

    new_lock = {}
    if text_with(add) != old:
        with tempfile.TemporaryDirectory() as temporary:
            lock = Lock(dependencies, Path(temporary))
            if fails(add):
                if lock.fails(text_with([])):
                    sys.stderr.write(lock.said)
                    raise SystemExit(1)
                say("Not every line can be had: looking for those that cannot.")
                add, refused = those_that_can_be_had(
                    *(add, fails),
                    lambda lines: (
                        source_at_fault(lock.said, lines) or pin_at_fault(lock.said, lines)
                    ),
                )
                intake = without(intake, refused)
                for line in refused:
                    builds.pop(pip_name(line.text), None)
                lock.fails(text_with(add))  # the last try may have been one that fails
            # A first lock begins with the versions of the project's own, if it has one.
            if (dependencies / LOCK).exists() or not any((code / one).is_file() for one in LOCKS):
                new_lock = {LOCK: (lock.folder / LOCK).read_text(encoding="utf-8")}
    kept = record.after(before, code, intake, files)
    return record.plan(intake, kept, {PYPROJECT: text_with(add), **new_lock})


def lists_packages(dependencies: Path) -> bool:
    """Whether pyproject.toml lists packages of the user's."""
    text = (dependencies / PYPROJECT).read_text(encoding="utf-8")
    try:
        return bool(tomlkit.parse(text)["project"]["dependencies"])
    except (TOMLKitError, KeyError, TypeError):
        return True  # uv says what is wrong


def read_files(options: argparse.Namespace) -> dict[str, Any]:
    """What the files of the command line, or those of the code, bring into the project's lists.

    Raises:
        FileError: a file cannot be read, or has a password.
    """
    wanted = Wanted.of_project(options.project)
    if options.first and lists_packages(options.dependencies):
        found = discover(options.code, ".", wanted.manager)
        return {"read": [], "found": [file.path for file in found if file.taken]}
    return plan(options.code, options.dependencies, options.file, wanted, first=options.first)


def main(arguments: Sequence[str]) -> int:
    """Do what the text of the module says."""
    parser = argparse.ArgumentParser(prog="import_files.py")
    parser.add_argument("--project", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--code", type=Path, default=CODE)
    parser.add_argument("--dependencies", type=Path, default=DEPENDENCIES)
    parser.add_argument("--first", action="store_true")
    parser.add_argument("file", nargs="*")
    options = parser.parse_args(arguments)
    return exit_status(lambda: print(json.dumps(read_files(options))), FileError)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
