"""Requirements files as pip reads them: encodings, continued lines, options, nested files.

https://pip.pypa.io/en/stable/reference/requirements-file-format/
"""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from . import conda_specs
from .found import (
    CHANGED,
    CONSTRAINT,
    FIND_LINKS,
    INDEX,
    MAIN,
    PIP,
    TAKEN,
    Entry,
    Place,
    Verdict,
    Wanted,
    left_out,
    settled,
    unreadable,
)
from .lists import INCLUDE, logical_lines, unquoted
from .requirement import NETRC, fits_torch, judge, path_verdict
from .text import FileError, load, without_secret

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Where a requirement ends and its options begin.
OPTIONS = re.compile(r"\s(?=--?[a-zA-Z])")
ADDRESS = re.compile(
    r"(-i|--index-url|--pypi-url|--extra-index-url|-f|--find-links)(?:\s*=\s*|\s+|(?<=-[if])(?=\S))(\S+)"
)
EDITABLE = re.compile(r"(?:-e|--editable)[\s=]*")
# `conda list --export` and hands that know conda: name=1.0, name=1.0=build
CONDA_LINE = re.compile(r"[A-Za-z0-9_][\w.-]*=[^=\s][^\s=]*(?:=[^\s=]+)?")
# A row of the table that `pip list` prints, or with a build that of `conda list`.
ROW = re.compile(r"([A-Za-z0-9_][\w.-]*)\s+(\d\S*)(?:\s+(\S+))?(?:\s+\S+)?")
EXPLICIT = re.compile(
    r"https?://\S+/(?P<platform>linux-64|noarch|linux-\w+|osx-\w+|win-\w+)/"
    r"(?P<name>[^/]+)-(?P<version>[^/-]+)-(?P<build>[^/-]+)\.(?:conda|tar\.bz2)(?:#\S*)?"
)
PYPI = re.compile(r"https?://(www\.)?pypi\.(org|python\.org)(/simple|/pypi)?/?")
OF_PYTORCH = re.compile(r"https?://download(-r2)?\.pytorch\.org/")
# Pages of wheels for one PyTorch: https://data.pyg.org/whl/torch-2.6.0+cu124.html
FOR_TORCH = re.compile(
    r"torch[-_/]?v?(\d+\.\d+(?:\.\d+)?)(?:[+/-](cu\d+|cpu))?|/(cu\d{2,3}|cpu|rocm[\d.]+)(?=/|$)"
)
PER_LINE = {
    "--hash": "taken without its hashes, as the lock has its own",
    "--config-settings": "taken without its options for the build, which uv reads from [tool.uv]",
    "--config-setting": "taken without its options for the build, which uv reads from [tool.uv]",
    "--global-option": "taken without its options for the build, which uv reads from [tool.uv]",
    "--index": "taken without an index of its own, as a lock asks the same ones for all packages",
    "--install-option": "taken without its options for the build, which uv reads from [tool.uv]",
}
OPTION_OF_PIP = "as it is an option of pip"
WHY_OPTION = {
    "--no-index": "as the index is a setting of each machine (UV_DEFAULT_INDEX in .env)",
    "--trusted-host": "as certificates are always checked (CA_BUNDLE in .env names further ones)",
    "--pre": "as a pre-release is taken only where a line asks for one",
    "--require-hashes": "as the lock always has hashes",
}


@dataclass
class Reading:
    """What reading a tree of requirements files has come to.

    Attributes:
        root: files outside of it are not read.
        wanted: the answers.
        group: of the lines that are read now.
        entries: what was found.
        seen: the files that were read, with what they were read as.
    """

    root: Path
    wanted: Wanted
    group: str = MAIN
    entries: list[Entry] = field(default_factory=list)
    seen: set[tuple[str, bool]] = field(default_factory=set)

    def add(self, place: Place, text: str, verdict: Verdict) -> None:
        """Note what becomes of a line."""
        self.entries.append(Entry(place, shown(text), verdict, self.group))

    @property
    def has_index(self) -> bool:
        """Whether pages beside PyPI are taken."""
        return any(entry.verdict.kind in {INDEX, FIND_LINKS} for entry in self.entries)


def shown(text: str) -> str:
    """A line as messages show it: on one line, without passwords."""
    bare = without_secret(" ".join(text.split()))
    return "".join(c if c.isprintable() else "?" for c in bare)


def read_file(reading: Reading, name: str, *, limit: bool = False) -> None:
    """Read a requirements file, or one of constraints, and the files that it names.

    Args:
        reading: where entries are added.
        name: the file seen from the root, with slashes.
        limit: whether its lines only limit versions.

    Raises:
        FileError: it cannot be read.
    """
    reading.seen.add((name, limit))
    text = load(reading.root / name, name)
    lines = list(logical_lines(text))
    # What a line asks of an index holds for the whole file, wherever it stands.
    for number, line in sorted(lines, key=lambda numbered: not ADDRESS.match(numbered[1])):
        read_line(reading, Place(name, number), line, limit=limit)


def read_line(reading: Reading, place: Place, line: str, *, limit: bool = False) -> None:
    """Note what becomes of one line, which may name another file."""
    if include := INCLUDE.fullmatch(line):
        is_limit = limit or include[1] in {"-c", "--constraint"}
        read_included(reading, place, line, unquoted(include[2]), limit=is_limit)
    elif EDITABLE.match(line):
        reading.add(place, line, editable_verdict(reading, EDITABLE.sub("", line, count=1)))
    elif line.startswith("-"):
        reading.add(place, line, option_verdict(line, reading.wanted))
    else:
        verdict = requirement_verdict(line, reading)
        if limit and verdict.kind == PIP:
            verdict = replace(verdict, kind=CONSTRAINT)
        reading.add(place, line, verdict)


def read_included(reading: Reading, place: Place, line: str, target: str, *, limit: bool) -> None:
    """Read a file that another one names, relative to that; where it cannot be read, say why."""
    if "://" in target:
        reading.add(place, line, left_out("as only files of the project are read"))
        return
    folder = posixpath.dirname(place.file)
    name = posixpath.normpath(posixpath.join(folder, target.replace("\\", "/")))
    path = reading.root / name
    inside = path.resolve().is_relative_to(reading.root.resolve())
    if target.startswith(("/", "~")) or not inside or name.startswith("../"):
        reading.add(place, line, left_out("as only files of the project are read"))
    elif not path.is_file():
        reading.add(place, line, left_out("as there is no such file"))
    elif (name, limit) in reading.seen:
        reading.add(place, line, settled())
    else:
        reading.add(place, line, settled())
        at = len(reading.entries) - 1
        try:
            read_file(reading, name, limit=limit)
        except FileError as error:
            verdict = left_out(str(error).rstrip("."))
            reading.entries[at] = replace(reading.entries[at], verdict=verdict)


def editable_verdict(reading: Reading, target: str) -> Verdict:
    """The verdict on `-e TARGET`."""
    bare = unquoted(OPTIONS.split(target)[0])
    if local := path_verdict(bare, reading.wanted.manager):
        return local
    if "://" not in bare and not re.match(r"git\+|\S+ @ ", bare):
        return path_verdict(f"./{bare}", reading.wanted.manager) or unreadable(
            "it is no requirement"
        )
    verdict = requirement_verdict(bare, reading)
    if verdict.outcome == TAKEN and verdict.becomes:
        return replace(verdict, outcome=CHANGED, reason="taken, but not as editable")
    return verdict


def requirement_verdict(line: str, reading: Reading) -> Verdict:
    """The verdict on a requirement with its options."""
    bare, *options = OPTIONS.split(line)
    bare = unquoted(bare)
    if explicit := EXPLICIT.fullmatch(bare):
        return explicit_verdict(explicit, reading.wanted)
    if row := ROW.fullmatch(bare):
        bare = f"{row[1]}={row[2]}={row[3]}" if row[3] else f"{row[1]}=={row[2]}"
    if CONDA_LINE.fullmatch(bare):
        return conda_specs.judge(bare, reading.wanted)
    verdict = judge(bare, reading.wanted, given=reading.has_index)
    if verdict.outcome != TAKEN or not options:
        return verdict
    names = [re.split(r"[\s=]", option)[0] for option in options]
    reasons = {PER_LINE.get(name, f"taken without {name}, an option of pip") for name in names}
    reason = min(reasons, key=lambda text: "hashes" in text)
    return replace(verdict, outcome=CHANGED, reason=reason)


def explicit_verdict(match: re.Match[str], wanted: Wanted) -> Verdict:
    """The verdict on an address of `conda list --explicit`."""
    platform = match["platform"]
    if platform not in {"linux-64", "noarch"}:
        return left_out("as it is for another platform")
    return conda_specs.judge(f"{match['name']}={match['version']}={match['build']}", wanted)


# --- options --------------------------------------------------------------------------------------


def option_verdict(line: str, wanted: Wanted) -> Verdict:
    """The verdict on a line that is an option."""
    try:
        words = shlex.split(line)
    except ValueError:
        return unreadable("a quotation mark is missing")
    if address := ADDRESS.fullmatch(" ".join(words)):
        extra = address[1] not in {"-i", "--index-url", "--pypi-url"}
        links = address[1] in {"-f", "--find-links"}
        return index_verdict(address[2], wanted, kind=FIND_LINKS if links else INDEX, extra=extra)
    name = re.split(r"[\s=]", words[0])[0]
    if name in {"--no-binary", "--only-binary"} and wanted.manager == "pip":
        return left_out("as it is uv's no-binary-package and no-build-package in [tool.uv]")
    return left_out(WHY_OPTION.get(name, OPTION_OF_PIP))


def index_verdict(
    address: str, wanted: Wanted, kind: str = INDEX, *, extra: bool = True
) -> Verdict:
    """The verdict on the address of an index, or of a page of links."""
    bare = without_secret(address)
    if "${" in bare:
        bare = re.sub(r"//[^/@]*@", "//", bare)
    if verdict := known_index(bare, wanted):
        return verdict
    if "://" not in bare:
        return left_out("as it is a path of one machine")
    if "${" in bare:
        return left_out("as its address has an environment variable, which a lock cannot have")
    if wanted.manager == "conda" or not extra:
        return left_out(
            "as the index is a setting of each machine: UV_DEFAULT_INDEX in .env, and its password "
            "in the file of NETRC_FILE"
        )
    if bare != address:
        return Verdict(CHANGED, f"taken without its password, {NETRC}", bare, kind)
    return Verdict(TAKEN, "", bare, kind)


def known_index(address: str, wanted: Wanted) -> Verdict | None:
    """The verdict on PyPI and on the pages of PyTorch."""
    if PYPI.fullmatch(address):
        return settled()
    if not wanted.torch:
        return None
    if OF_PYTORCH.match(address):
        return left_out("as the answers decide the index of PyTorch")
    told = FOR_TORCH.search(address)
    version, build = (told[1], told[2] or told[3]) if told else (None, None)
    here = f"cu{wanted.cuda.replace('.', '')}" if wanted.accelerator == "cuda" else "cpu"
    if (version and not fits_torch(version, wanted.torch)) or (build and build != here):
        return left_out(f"as its wheels are for another PyTorch than {wanted.torch} ({here})")
    return None


def read_lines(lines: Iterable[str], root: Path, wanted: Wanted, name: str = "") -> list[Entry]:
    """What becomes of lines that are in no requirements file, each of which is one requirement."""
    reading = Reading(root, wanted)
    for number, line in enumerate(lines, 1):
        read_line(reading, Place(name, number), line.strip())
    return reading.entries
