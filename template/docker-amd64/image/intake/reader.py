"""Reads files of all kinds as one list: each package once, with the limits that it has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from . import conda_files, pip_files, pipfile, pixi
from .found import (
    CHANGED,
    CONDA,
    CONSTRAINT,
    DEV,
    LEFT_OUT,
    MAIN,
    PIP,
    TAKEN,
    Entry,
    Intake,
    ListFile,
    Place,
    Verdict,
    Wanted,
    fits,
    left_out,
    pinned,
)
from .names import SPEC, name_of, pip_name, pip_version
from .pip_files import Reading
from .requirement import contradict, holds_here, merged, parts
from .text import FileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

READERS: dict[str, Callable[[Reading, str], None]] = {
    "requirements": pip_files.read_file,
    "environment": conda_files.read_file,
    "pixi": pixi.read_file,
    "pipfile": pipfile.read_file,
}


def read(root: Path, files: Iterable[ListFile], wanted: Wanted) -> Intake:
    """Read files below a folder; each line of each ends in one of three lists.

    A file that cannot be read is one line that is left out: it stops itself, not the rest. Files
    that are not to be taken are lines with their reasons.

    Args:
        root: the folder; nothing outside of it is read.
        files: what to read, in the order in which a package is looked for.
        wanted: the answers of the project.
    """
    reading, broken = Reading(root, wanted), {}
    listed = [file for file in files if file.taken or file.reason]  # metadata is no list
    for file in listed:
        reading.group = file.group
        if file.taken and (file.path, False) not in reading.seen:
            before, seen = len(reading.entries), set(reading.seen)
            try:
                READERS[file.kind](reading, file.path)
            except FileError as error:
                broken[file.path] = str(error).rstrip(".")
                del reading.entries[before:]
                reading.seen = {*seen, (file.path, False)}  # what it names may be read by itself
                reading.add(Place(file.path, 0), file.path, left_out(broken[file.path]))
    for file in listed:
        if not file.taken and (file.path, False) not in reading.seen:
            reading.group = file.group
            reading.add(Place(file.path, 0), file.path, Verdict(LEFT_OUT, file.reason))
    return Intake(once(limited(reading.entries, wanted), wanted), broken)


def name_in(entry: Entry) -> str:
    """The package of an entry, by PyPI's spelling of its name."""
    verdict = entry.verdict
    if verdict.kind == CONDA:
        return pip_name(name_of(verdict.becomes))
    return pip_name(verdict.becomes) if verdict.kind in {PIP, CONSTRAINT} else ""


def limited(entries: list[Entry], wanted: Wanted) -> list[Entry]:
    """The entries with the limits of constraint files in the lines that they are about.

    What limits a package that no line names is kept for pip, whose lock can hold it.
    """
    limits = [entry for entry in entries if entry.verdict.kind == CONSTRAINT]
    asked = {name_in(entry) for entry in entries if entry.verdict.kind == PIP}
    found = []
    for entry in entries:
        if entry.verdict.kind == PIP:
            found.append(with_limits(entry, limits))
        elif entry.verdict.kind != CONSTRAINT:
            found.append(entry)
        elif name_in(entry) in asked:
            found.append(replace(entry, verdict=Verdict(TAKEN)))
        elif wanted.manager == "pip":
            found.append(entry)
        else:
            why = left_out("as it limits a package that no line asks for")
            found.append(replace(entry, verdict=why))
    return found


def with_limits(entry: Entry, limits: Iterable[Entry]) -> Entry:
    """A requirement with the limits for its name."""
    for limit in limits:
        if name_in(limit) != name_in(entry):
            continue
        line = merged(entry.verdict.becomes, limit.verdict.becomes.partition(" ;")[0])
        if line and line != entry.verdict.becomes:
            reason = entry.verdict.reason or "taken with the limit of a constraints file"
            verdict = replace(entry.verdict, outcome=CHANGED, reason=reason, becomes=line)
            entry = replace(entry, verdict=verdict)
    return entry


def once(entries: list[Entry], wanted: Wanted) -> list[Entry]:
    """The entries with one line for each package: the first that holds, with what others add."""
    found: list[Entry] = []
    first: dict[str, int] = {}
    for entry in entries:
        name = name_in(entry) if entry.verdict.kind in {PIP, CONDA} else ""
        found.append(entry)
        if not name or first.setdefault(name, len(found) - 1) == len(found) - 1:
            continue
        at = first[name]
        found[at], found[-1] = together(found[at], entry, wanted.python)
        if not found[at].verdict.becomes:
            first[name] = len(found) - 1
    return found


def together(one: Entry, other: Entry, python: str) -> tuple[Entry, Entry]:
    """Two entries for one package: the first may get more, the second is settled or left out."""
    here, there = one.verdict, other.verdict
    if here.becomes == there.becomes:
        return one, emptied(other)
    where = left_out(f"as {one.place} asks for {here.becomes}")
    if CONDA in {here.kind, there.kind}:
        same = agree(here.becomes, there.becomes) or agree(there.becomes, here.becomes)
        return one, emptied(other) if same else replace(other, verdict=where)
    not_here = left_out("as another line for it holds with this Python")
    if not holds_here(here.becomes, python):
        return replace(one, verdict=not_here), other
    if not holds_here(there.becomes, python):
        return one, replace(other, verdict=not_here)
    line = merged(here.becomes, there.becomes)
    if line is None or contradict(here.becomes, there.becomes):
        return one, replace(other, verdict=where)
    if line != here.becomes and (one.group, other.group) != (MAIN, DEV):
        reason = here.reason or "taken with what other lines for it ask for"
        both = replace(here, outcome=CHANGED, reason=reason, becomes=line)
        one = replace(one, verdict=both)
    return one, emptied(other)


def agree(spec: str, line: str) -> bool:
    """Whether a requirement asks for nothing that a spec of conda's does not."""
    match, asked = SPEC.fullmatch(spec.strip()), parts(line)
    if match is None or asked is None:
        return False
    version, pin = pip_version(match[3] or ""), pinned(asked.version)
    return not asked.version or version == asked.version or bool(pin and fits(pin, version or ""))


def emptied(entry: Entry) -> Entry:
    """An entry whose package another line has."""
    return replace(entry, verdict=Verdict(TAKEN))
