"""Takes what the code of a project lists into the environment files of conda.

`intake` reads and judges; this module writes what it takes. Python 3.10 or newer with PyYAML and
packaging: Copier's, and the one of the build stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import conda_file
from conda_file import DEV, MAIN
from intake import discovery, found, reader, record
from intake.names import SPEC, name_of, pip_name
from intake.record import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from intake.found import Intake, ListFile, Wanted


class Taken(NamedTuple):
    """What was done.

    Attributes:
        files: those whose lines were taken.
        notes: what had to change, and what was left out.
        broken: sentences on files that cannot be read.
    """

    files: list[str]
    notes: list[str]
    broken: list[str]


def take(folder: Path, root: Path, files: Sequence[ListFile], wanted: Wanted) -> Taken | None:
    """Take files into dependencies/environment.yml, and lines for development into the other.

    Args:
        folder: dependencies/.
        root: the folder that the files' paths are relative to.
        files: of `discovery`.
        wanted: the answers.

    Returns:
        None if environment.yml has lines of the user's already: nothing is read then.

    Raises:
        FileError: one of the environment files cannot be edited.
    """
    text = conda_file.load(folder / MAIN)
    has = conda_file.parse(text)
    if has.conda or has.pip:
        return None
    taken = reader.read(root, files, wanted)
    after = {MAIN: with_lines(text, taken, found.MAIN, MAIN)}
    if taken.lines(found.CONDA, found.DEV) or taken.lines(found.PIP, found.DEV):
        before = conda_file.load(folder / DEV) if (folder / DEV).exists() else ""
        after[DEV] = with_lines(before, taken, found.DEV, DEV)
    for name, new in after.items():
        conda_file.save(folder / name, new)
    kept = record.after(record.Record(), root, taken, files)
    conda_file.save(folder / record.FILE, kept.text())
    listed = dict.fromkeys(entry.place.file for entry in taken.entries if entry.place.line)
    broken = [f"{why}." for file in files if (why := taken.broken.get(file.path))]
    names = [file.path for file in files if file.taken and file.path in listed]
    notes = [note for note in taken.notes() if not any(why in note for why in broken)]
    return Taken(names, notes, broken)


# Why no channel has a package, by its name; and the packages whose versions do not fit.
Misfits = tuple[Mapping[str, str], Set[str]]
LOOSENED = "taken without its version, which does not fit the other packages"


def plan(
    folder: Path,
    root: Path,
    asked: Sequence[str],
    wanted: Wanted,
    *,
    misfits: Callable[[Mapping[str, str]], Misfits] = lambda _: ({}, set()),
) -> dict[str, object]:
    """What an import of files would do to the environment files, as the host shows and writes it.

    A line that cannot be had stops itself, not the rest: it is left out, or loses its version.

    Args:
        folder: dependencies/.
        root: the folder that the files' paths are relative to.
        asked: the files; without any, those found and those imported before.
        wanted: the answers.
        misfits: what cannot be had with the new texts of the environment files.

    Raises:
        FileError: one of the environment files cannot be edited.
    """
    before = record.load_record(folder)
    files = record.files_to_read(root, wanted.manager, asked, before)
    taken = reader.read(root, files, wanted)
    while True:
        changes = record.changes(before, taken, files)
        texts = new_texts(folder, changes)
        asks = any(change.put for key, change in changes.items() if key.startswith(found.CONDA))
        fewer = without(taken, misfits(texts)) if asks and texts else taken
        if fewer == taken:
            return record.plan(taken, record.after(before, root, taken, files), texts)
        taken = fewer


def new_texts(folder: Path, changes: Mapping[str, Change]) -> dict[str, str]:
    """The environment files that an import changes, as they are after it."""
    texts = {}
    for name, group in ((MAIN, found.MAIN), (DEV, found.DEV)):
        old = conda_file.load(folder / name) if (folder / name).exists() else ""
        new = merged(old, changes, group, name)
        if new != old:
            texts[name] = new
    return texts


def without(taken: Intake, misfits: Misfits) -> Intake:
    """What was read, where lines are left out or have no version, as they cannot be had."""
    missing, misfit = misfits
    entries = []
    for entry in taken.entries:
        line = entry.verdict.becomes if entry.verdict.kind == found.CONDA else ""
        bare = without_version(line)
        if name_of(line) in missing:
            verdict = found.left_out(missing[name_of(line)])
        elif name_of(line) in misfit and bare != line:
            verdict = found.Verdict(found.CHANGED, LOOSENED, bare, found.CONDA)
        else:
            verdict = entry.verdict
        entries.append(replace(entry, verdict=verdict))
    return replace(taken, entries=entries)


def without_version(line: str) -> str:
    """A spec of conda's with its channel and its name only."""
    match = SPEC.fullmatch(line.strip())
    if match is None:
        return line
    return f"{match[1]}::{match[2]}" if match[1] else match[2]


def merged(text: str, changes: Mapping[str, Change], group: str, where: str) -> str:
    """An environment file with what an import changes in it."""
    nothing = Change([], [])
    conda = changes.get(f"{found.CONDA}:{group}", nothing)
    pip = changes.get(f"{found.PIP}:{group}", nothing)
    here = conda_file.parse(text, where) if text else None
    for line in conda.drop if here else ():
        if here and line in here.conda:
            text = conda_file.remove(text, name_of(line), where=where)
    for line in pip.drop if here else ():
        if here and line in here.pip:
            text = conda_file.remove(text, pip_name(line), pip=True, where=where)
    known = {name_of(spec) for spec in here.conda} if here and where == DEV else set()
    lines = [line for line in pip.put if pip_name(line) not in known]
    channels = changes.get(found.CHANNEL, nothing).put if where == MAIN else []
    if not (conda.put or lines or channels):
        return text
    return conda_file.add_all(text, conda=conda.put, pip=lines, channels=channels, where=where)


def with_lines(text: str, taken: Intake, group: str, where: str) -> str:
    """An environment file with what was taken for it; a tool that it has is not listed twice."""
    pip = taken.lines(found.PIP, group)
    conda = taken.lines(found.CONDA, group)
    if where == DEV:
        here = conda_file.parse(text, where) if text else None
        known = {name_of(spec) for spec in here.conda} if here else set()
        pip = [line for line in pip if pip_name(line) not in known]
    channels = taken.lines(found.CHANNEL, None) if where == MAIN else []
    return conda_file.add_all(text, conda=conda, pip=pip, channels=channels, where=where)


def lists_of(root: Path, code_dir: str = ".") -> list[ListFile]:
    """The files of the code that list packages, as a project with conda takes them."""
    return discovery.discover(root, code_dir, "conda")
