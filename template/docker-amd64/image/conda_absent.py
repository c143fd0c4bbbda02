"""What cannot be had of conda's channels: where the files ask for it, what is like it, what then.

conda_env.py calls it when micromamba finds no package, no version or no solution. It runs in the
tools container, beside micromamba.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import conda_file
from conda_file import CUDA, DEV, MAIN, NO_DEFAULTS
from conda_intake import LOOSENED, without_version
from intake import record
from intake.found import CONDA
from intake.found import DEV as FOR_DEV
from intake.found import MAIN as FOR_ALL
from intake.names import MISNAMED, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

ADDING = "CONDA_ADDING"  # the variable with the lines that `add` is adding
LETTERS = 2  # that a name is looked for by: the first ones are seldom misspelt
LIKENESS = 0.75  # of difflib, from which a name may be what was meant
FILES = {f"{CONDA}:{FOR_ALL}": MAIN, f"{CONDA}:{FOR_DEV}": DEV}  # by the lists of an import


class Absent(NamedTuple):
    """What no channel has.

    Attributes:
        name: of the package.
        channels: those that were asked, as a sentence names them.
        newest: its newest version, if there are others than the one that is asked for.
        near: the nearest name, "" if none is near.
    """

    name: str
    channels: str
    newest: str = ""
    near: str = ""

    def reason(self) -> str:
        """Why a line is left out, as a clause."""
        if self.newest:
            return f"as the channels ({self.channels}) have other versions, up to {self.newest}"
        lack = f"as no channel has it ({self.channels})"
        if self.near:
            return f"{lack}; the nearest name is {self.near}"
        return f"{lack}; if PyPI has it, run: ./template.sh add --pip {self.name}"

    def sentence(self, folder: Path) -> str:
        """Why nothing can be locked, with the line that asks for it."""
        place, line = place_of(folder, self.name)
        # The file is restored if what `add` has put there cannot be had.
        if self.name in map(name_of, os.environ.get(ADDING, "").split("\n")):
            place = ""
        if self.newest:
            said = f"There is no version in the channels ({self.channels}) that fits {line}"
            return f"{said}{place}; the newest is {self.newest}."
        near = f"; the nearest name is {self.near}" if self.near else ""
        return f"There is no package {self.name} in the channels ({self.channels}){place}{near}."


def look_up(specs: Iterable[str], channels: Sequence[str]) -> list[Absent]:
    """What is known of lines that nothing fits, each name once."""
    asked = [name for name in channels if name != NO_DEFAULTS]
    words = ", ".join(asked)
    found = []
    for name in dict.fromkeys(filter(None, map(name_of, specs))):
        known = like(name, asked)
        near = difflib.get_close_matches(name, known, n=1, cutoff=LIKENESS)
        near = [MISNAMED[name]] if name in MISNAMED else near
        found.append(Absent(name, words, known.get(name, ""), near[0] if near else ""))
    return found


def like(name: str, channels: Iterable[str]) -> dict[str, str]:
    """The packages whose names begin like this one, with their newest versions; {} if unknown."""
    command = ["micromamba", "search", "--json", "--override-channels"]
    for channel in channels:
        command += ["--channel", channel]
    try:
        done = subprocess.run(
            [*command, f"{name[:LETTERS]}*"], capture_output=True, text=True, check=False
        )
        packages = json.loads(done.stdout[done.stdout.index("{") :])["result"]["pkgs"]
        found = [(str(package["name"]), str(package["version"])) for package in packages]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(sorted(found, key=lambda pair: numbers(pair[1])))


def numbers(version: str) -> list[int]:
    """A version as numbers, which can be compared."""
    return [int(number) for number in re.findall(r"\d+", version)]


def place_of(folder: Path, name: str) -> tuple[str, str]:
    """Where the environment files ask for a package, as a sentence ends, and the line.

    What no file asks for has no place, and its name is the line.
    """
    for file in (MAIN, CUDA, DEV):
        if (folder / file).exists():
            for number, line in conda_file.lines_of(conda_file.load(folder / file), name, file):
                return f": {file}, line {number}", line
    return "", name


def leave_out(folder: Path, absent: Iterable[Absent]) -> list[str]:
    """Take what an import took out of the environment files again; a sentence for each line.

    A line that the user has written is never removed.

    Args:
        folder: dependencies/.
        absent: what no channel has.

    Raises:
        FileError: an environment file cannot be edited.
    """
    known = record.load_record(folder)
    by_name = {one.name: one for one in absent}
    said: list[str] = []
    for source, lists in known.lines.items():
        for key, file in FILES.items():
            lines = [line for line in lists.get(key, ()) if name_of(line) in by_name]
            for line in lines:
                if not removed(folder / file, line):
                    continue
                lists[key].remove(line)
                said.append(f"{source}: {line}: left out, {by_name[name_of(line)].reason()}.")
    if said:
        conda_file.save(folder / record.FILE, known.text())
    return said


def removed(path: Path, line: str) -> bool:
    """Whether a line could be removed from an environment file: the user may have edited it."""
    text = conda_file.load(path) if path.exists() else ""
    if line not in conda_file.parse(text, path.name).conda:
        return False
    conda_file.save(path, conda_file.remove(text, name_of(line), where=path.name))
    return True


# A package in a sentence of the solver: NAME-VERSION-BUILD.
PACKAGE = re.compile(r"(?<![\w.-])([a-zA-Z0-9_][\w.-]*)-[^-\s]+-[^-\s,;]+")


def named_in(problems: Iterable[str]) -> set[str]:
    """The packages that the solver's sentences are about."""
    return {name.lower() for problem in problems for name in PACKAGE.findall(problem)}


# What one of them asks for, without a version and a build of its own.
REQUIRED = re.compile(r"\b(?:requires|needs|provides(?: requested)?) ([a-zA-Z0-9_][\w.-]*)")


def in_conflict(folder: Path, problems: Sequence[str]) -> str:
    """The lines that the solver's sentences are about, with their places; "" for fewer than two."""
    names = named_in(problems)
    names |= {name.lower() for problem in problems for name in REQUIRED.findall(problem)}
    lines = []
    for name in sorted(names):
        place, line = place_of(folder, name)
        if place:
            lines.append(f"{line} ({place.removeprefix(': ')})")
    if len(lines) < 2:  # noqa: PLR2004
        return ""
    return f"These lines do not go together: {', '.join(lines)}. Change one of them."


def loosen(folder: Path, problems: Iterable[str]) -> list[str]:
    """Take the versions from lines of an import that do not go together; a sentence for each.

    Args:
        folder: dependencies/.
        problems: the solver's sentences.

    Raises:
        FileError: an environment file cannot be edited.
    """
    names = named_in(problems)
    said: list[str] = []
    for source, lists in record.load_record(folder).lines.items():
        for key, file in FILES.items():
            for line in lists.get(key, ()):
                bare = without_version(line)
                if bare == line or name_of(line) not in names or not removed(folder / file, line):
                    continue
                text = conda_file.put(conda_file.load(folder / file), bare, where=file)
                conda_file.save(folder / file, text)
                said.append(f"{source}: {line}: {LOOSENED}.")
    return said
