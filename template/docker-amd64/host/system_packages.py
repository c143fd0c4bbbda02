"""The packages of Debian and Ubuntu: add --apt, and what Python packages need from there.

image/system_packages.json says what they need. It is named for each package that is new in a lock,
and for an error of a build or a program; image/missing_library.py does the latter in containers.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, NamedTuple

from .ask import read_text
from .compose import show, show_text
from .files import write_file
from .project import USAGE, StopError, me

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence

    from .look import Case, Seen
    from .project import Project

TABLE = Path(__file__).resolve().parents[1] / "image" / "system_packages.json"
RUNTIME, DEV, BUILD = LISTS = ("apt-runtime.txt", "apt-dev.txt", "apt-build.txt")
LOCKS = ("uv.lock", "pip.lock", "pip-dev.lock")  # conda's own packages bring what they need
# The name and version of a package in uv.lock, and in a lock of the form of a requirements file.
LOCKED = re.compile(
    r'(?m)^(?:name = "([^"]+)"(?:\nversion = "([^"]+)")?$'
    r"|([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])? ?(?:==([\w.!+-]+)|@ ))"
)
# What Debian's policy allows (5.6.1), and behind it what apt takes: an architecture, a version.
APT_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?([=/][\w.+:~-]+)?")


class Needs(NamedTuple):
    """Packages of the distribution by the list that they belong to."""

    runtime: list[str]
    build: list[str]

    def command(self) -> str:
        """The command that adds them."""
        lists = (("--apt", self.runtime), ("--apt --build", self.build))
        return " && ".join(f"{me()} add {how} {' '.join(names)}" for how, names in lists if names)


def read_table() -> dict[str, Any]:
    """The table of what Python packages need."""
    table: dict[str, Any] = json.loads(TABLE.read_text("utf-8"))
    return table


def listed(project: Project) -> set[str]:
    """What dependencies/apt-*.txt list."""
    texts = (read_text(project.folder / "dependencies" / name) for name in LISTS)
    lines = (line.partition("#")[0] for text in texts for line in text.splitlines())
    return {re.split("[:=/]", word)[0] for line in lines for word in line.split()}


def needs_of(entry: dict[str, Any], table: dict[str, Any], have: set[str]) -> Needs:
    """What an entry of the table needs and the lists do not have."""
    runtime = dict.fromkeys(table["packages"][one] for one in entry["needs"])
    build = entry.get("build", ())
    return Needs(
        [name for name in runtime if name not in have], [name for name in build if name not in have]
    )


def entry_for(table: dict[str, Any], name: str, version: str) -> dict[str, Any] | None:
    """The entry of the table for a release of a package; "" is the newest."""
    wheels: dict[str, dict[str, Any]] = table["wheels"]
    for key, entry in wheels.items():
        base, _, below = key.partition("<")
        if base == name and below and version and release(version) < release(below):
            return entry
    return wheels.get(name)


def release(version: str) -> list[int]:
    """The numbers at the start of a version."""
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


# ------------------------------------------------------------------------- what a lock brings


def locked(project: Project) -> dict[str, str]:
    """The packages that the locks have from PyPI, name to version."""
    texts = (read_text(project.folder / "dependencies" / name) for name in LOCKS)
    return {
        re.sub(r"[-_.]+", "-", one or other).lower(): version or other_version
        for text in texts
        for one, version, other, other_version in LOCKED.findall(text)
    }


@contextmanager
def needs_named(project: Project) -> Iterator[None]:
    """Say what the packages that are new in the locks need from the distribution."""
    before = locked(project)
    yield
    now = locked(project)
    lines = needs_lines(project, {name: now[name] for name in now if name not in before}, now)
    if lines:
        show_text("\n".join(lines))


def needs_lines(project: Project, new: Mapping[str, str], beside: Iterable[str] = ()) -> list[str]:
    """What packages need that no list has, and the command that adds it; [] if there is nothing.

    Args:
        project: the project.
        new: the packages, name to version.
        beside: all that the locks have.
    """
    table, have = read_table(), listed(project)
    entries = ((name, entry_for(table, name, version)) for name, version in sorted(new.items()))
    found: dict[str, Needs] = {
        name: needs_of(entry, table, have)
        for name, entry in entries
        if entry and entry.get("unless", "") not in beside
    }
    found = {name: needs for name, needs in found.items() if any(needs)}
    if not found:
        return []
    lines = ["dependencies/apt-*.txt lack packages of the distribution that these need:"]
    for name, needs in found.items():
        compiling = f"to compile it {' '.join(needs.build)}" if needs.build else ""
        lines.append(f"  {name}: {', '.join(filter(None, (' '.join(needs.runtime), compiling)))}")
    every = Needs(
        list(dict.fromkeys(one for needs in found.values() for one in needs.runtime)),
        list(dict.fromkeys(one for needs in found.values() for one in needs.build)),
    )
    return [*lines, f"To add them, run: {every.command()}"]


# ------------------------------------------------------------------------------------ add --apt


def add_options(parser: argparse.ArgumentParser) -> None:
    """That the names are those of the distribution's packages, and the list for them."""
    parser.add_argument(
        "--apt",
        action="store_true",
        help="packages of the distribution, into apt-runtime.txt, or with --dev into apt-dev.txt",
    )
    parser.add_argument(
        "--build",
        action="store_true",
        help="with --apt: what only compiles packages, into apt-build.txt",
    )


def add_to_list(project: Project, options: argparse.Namespace) -> bool:
    """Add names to a list of apt; False where the names are those of Python packages.

    Raises:
        StopError: an option or a name does not go with it.
        ProbeError: the list cannot be written.
    """
    help_of = f"{me()} add --help"
    others = [name for name in ("image", "pip") if getattr(options, name, False)]
    if options.build and (options.dev or not options.apt):
        with_it = "goes with --apt" if not options.apt else "does not go with --dev"
        raise StopError(f"add: --build {with_it}.", help_of, name=USAGE)
    if not all(name.strip() for name in options.name):
        raise StopError('add: "" is not the name of a package.', help_of, name=USAGE)
    if not options.apt:
        return False
    if others:
        raise StopError(f"add: --apt does not go with --{others[0]}.", help_of, name=USAGE)
    check_names(options.name)
    name = BUILD if options.build else DEV if options.dev else RUNTIME
    file = project.folder / "dependencies" / name
    text = file.read_text("utf-8") if file.is_file() else ""
    have = {word for line in text.splitlines() for word in line.partition("#")[0].split()}
    new = [one for one in dict.fromkeys(options.name) if one not in have]
    if new:
        before = text if not text or text.endswith("\n") else f"{text}\n"
        write_file(file, before + "".join(f"{one}\n" for one in new))
    said = f"Added to dependencies/{name}" if new else f"dependencies/{name} has them already"
    show(f"{said}. Run: {me()} build")
    return True


def check_names(names: Sequence[str]) -> None:
    """Raises StopError for what is not the name of a package of Debian."""
    packages = read_table()["packages"]
    for name in names:
        if name in packages and name != packages[name]:
            cause = f"{name} is in the package {packages[name]}."
            raise StopError(cause, f"{me()} add --apt {packages[name]}", name=USAGE)
        if not APT_NAME.fullmatch(name):
            cause = f'"{name}" is not the name of a package of Debian or Ubuntu.'
            raise StopError(cause, f"{me()} add --help", name=USAGE)


# ------------------------------------------------------------------------------ after a failure


def missing_library(case: Case) -> Seen:
    """Who needs the library and what brings it; None if the table does not know it."""
    table, library = read_table(), case.known.get("library", "")
    if library not in table["packages"]:
        return None
    names = locked(case.project)
    found = {
        name: needs_of(entry, table, set())
        for name, version in names.items()
        for entry in [entry_for(table, name, version)]
        if entry and library in entry["needs"]
    }
    unknown = ("This program", Needs([table["packages"][library]], []))
    who, needs = next(iter(found.items()), unknown)
    remedy = f"{Needs(needs.runtime, []).command()} && {me()} build"
    return {"package": who, "packages": " ".join(needs.runtime), "remedy": remedy}


def build_needs(case: Case) -> Seen:
    """What compiles a package that could not be built, if the table knows it."""
    spelled, *rest = re.split("[=@ ]+", case.known.get("package", ""))
    name = re.sub(r"[-_.]+", "-", spelled).lower()
    table = read_table()
    entry = entry_for(table, name, rest[0] if rest else "") or {}
    needs = needs_of(entry, table, listed(case.project)) if entry.get("build") else Needs([], [])
    if not needs.build:
        return {}
    cause = f"PyPI has no wheel of {name} for Linux, and compiling it needs {needs.build[0]}."
    return {"cause": cause, "remedy": needs.command()}
