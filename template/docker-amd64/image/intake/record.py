"""What an import took from which file, so that a later one changes only what changed there.

dependencies/imported.json has the digest of each file that was read, the lines that came from it,
and the files that were asked for. The program on the host compares the digests before a build.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from .discovery import discover, named
from .found import CHANNEL, CONDA, PIP, ListFile
from .names import name_of, pip_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .found import Entry, Intake

FILE = "imported.json"
Lines = dict[str, list[str]]  # by the list that they belong to, as `list_of` names it


class Change(NamedTuple):
    """What one list of a dependency file gets and loses."""

    put: list[str]
    drop: list[str]


@dataclass
class Record:
    """The content of imported.json.

    Attributes:
        asked: the files that were imported, without those that they name.
        digests: SHA-256 by file.
        lines: what was taken by file.
    """

    asked: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    lines: dict[str, Lines] = field(default_factory=dict)

    def text(self) -> str:
        """The record as a file."""
        files = {
            name: {"sha256": digest, "lines": self.lines.get(name, {})}
            for name, digest in sorted(self.digests.items())
        }
        data = {"asked": self.asked, "files": files}
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"

    def all_lines(self, names: Iterable[str]) -> Lines:
        """What was taken from some files."""
        found: Lines = {}
        for name in names:
            for key, lines in self.lines.get(name, {}).items():
                found.setdefault(key, []).extend(lines)
        return found


def load_record(folder: Path) -> Record:
    """The record in dependencies/, empty where there is none."""
    try:
        data = json.loads((folder / FILE).read_text(encoding="utf-8"))
        files = data["files"]
        return Record(
            asked=list(data["asked"]),
            digests={name: str(one["sha256"]) for name, one in files.items()},
            lines={name: dict(one["lines"]) for name, one in files.items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Record()


def list_of(entry: Entry) -> str:
    """The list that the line of an entry belongs to: `pip:main`, `constraint` ..."""
    verdict = entry.verdict
    return f"{verdict.kind}:{entry.group}" if verdict.kind in {PIP, CONDA} else verdict.kind


def name_in(key: str, line: str) -> str:
    """By what a line of a list is known: the name of its package, or the line."""
    kind = key.partition(":")[0]
    if kind == CONDA:
        return name_of(line)
    return (pip_name(line) if kind in {PIP, "constraint"} else "") or line


def lines_of(entries: Iterable[Entry]) -> Lines:
    """What entries add, by list."""
    found: Lines = {}
    for entry in entries:
        line = entry.verdict.becomes
        if line and line not in found.setdefault(list_of(entry), []):
            found[list_of(entry)].append(line)
    return found


def files_to_read(root: Path, manager: str, asked: Iterable[str], before: Record) -> list[ListFile]:
    """The files that are named; without any, those found and those imported before."""
    files = [named(root, name) for name in asked]
    if files:
        return files
    found = discover(root, ".", manager)
    taken = {file.path for file in found if file.taken}
    again = [named(root, name) for name in before.asked if name not in taken]
    names = {file.path for file in again}
    return [
        *(file for file in found if file.taken),
        *again,
        *(file for file in found if not file.taken and file.path not in names),
    ]


def changes(before: Record, intake: Intake, files: Iterable[ListFile]) -> dict[str, Change]:
    """What an import changes, by list.

    A line that the source has as it had it at the last import is left as the user has it now. A
    line that the source has no more is to be dropped, unless the user has edited it.
    """
    names = {file.path for file in files if file.taken}
    names |= {entry.place.file for entry in intake.entries if entry.place.line}
    old, new = before.all_lines(names), lines_of(intake.entries)
    found = {}
    for key in sorted({*old, *new}):
        had = {name_in(key, line): line for line in old.get(key, [])}
        has = {name_in(key, line): line for line in new.get(key, [])}
        put = [line for name, line in has.items() if had.get(name) != line]
        drop = [line for name, line in had.items() if name not in has]
        if key == CHANNEL:  # a package may still come from it
            drop = []
        found[key] = Change(put, drop)
    return found


def after(before: Record, root: Path, intake: Intake, files: Iterable[ListFile]) -> Record:
    """The record once what was read is written."""
    asked = [file.path for file in files if file.taken]
    read = {entry.place.file for entry in intake.entries if entry.place.line}
    by_file: dict[str, list[Entry]] = {name: [] for name in (*asked, *sorted(read))}
    for entry in intake.entries:
        if entry.place.file in by_file:
            by_file[entry.place.file].append(entry)
    return Record(
        asked=list(dict.fromkeys([*before.asked, *asked])),
        digests={**before.digests, **{name: digest(root / name) for name in by_file}},
        lines={**before.lines, **{name: lines_of(some) for name, some in by_file.items()}},
    )


def digest(path: Path) -> str:
    """The SHA-256 of a file, "" where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def plan(intake: Intake, record: Record, files: Mapping[str, str]) -> dict[str, object]:
    """What the host shows and writes: the three lists, and the new texts of dependencies/."""
    return {
        **intake.as_dict(),
        "read": sorted({e.place.file for e in intake.entries if e.place.line}),
        "broken": {name: f"{why}." for name, why in intake.broken.items()},
        "files": {**files, FILE: record.text()},
    }
