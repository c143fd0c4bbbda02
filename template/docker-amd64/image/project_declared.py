"""What pyproject.toml declares in [project] and in its groups, and what Poetry reads there."""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# What may say that a folder is a project.
FILES = ("pyproject.toml", "setup.cfg", "setup.py")
# Extras and groups of these names are for those who work on the project.
DEV = ("dev", "develop", "development", "test", "tests", "testing")


class MetadataError(Exception):
    """Why a project does not tell what it needs."""


@dataclass
class Declared:
    """What a project declares.

    Attributes:
        requires: requirements in the form of PEP 508, what the project needs to run.
        dev: what those need who work on it.
        sources: [tool.uv.sources] of these by normalised name.
        indexes: as [[tool.uv.index]]: those that sources name, and those for all packages.
        limits: lists of [tool.uv] that decide versions, by their keys in LIMITS.
        tables: BUILDS and STATED of [tool.uv].
        files: what was read, relative to the root.
        untaken: names of extras and groups that were not taken.
        offered: names of all its extras and groups, normalised.
        notes: sentences about what was left out.
        failures: why something could not be read.
    """

    requires: list[str] = field(default_factory=list)
    dev: list[str] = field(default_factory=list)
    sources: dict[str, Any] = field(default_factory=dict)
    indexes: list[dict[str, Any]] = field(default_factory=list)
    limits: dict[str, list[str]] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    untaken: list[str] = field(default_factory=list)
    offered: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Declared) -> None:
        """Take over what another project declares, but for its development."""
        self.requires += other.requires
        self.sources = {**other.sources, **self.sources}
        self.indexes += [index for index in other.indexes if index not in self.indexes]
        self.files += [name for name in other.files if name not in self.files]
        self.notes += other.notes
        self.failures += other.failures


def parse_toml(text: str) -> dict[str, Any]:
    """The content of a TOML text. Raises ValueError."""
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    content: dict[str, Any] = import_module(name).loads(text)
    return content


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file, {} where there is none.

    Raises:
        MetadataError: it cannot be read.
    """
    try:
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise MetadataError(f"{path.name} cannot be read: {error}") from error


def own_name(toml: Mapping[str, Any]) -> str:
    """The normalised name of the project, "" where it has none."""
    return str(canonicalize_name(str(toml.get("project", {}).get("name", ""))))


def requirement(line: str) -> Requirement | None:
    """A parsed requirement, None where it is none."""
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def names_in(lines: Iterable[str]) -> set[str]:
    """The normalised names of requirements."""
    return {str(canonicalize_name(one.name)) for one in map(requirement, lines) if one}


def group_lines(groups: Mapping[str, Any], name: str, above: tuple[str, ...] = ()) -> list[str]:
    """The requirements of a dependency group with those that it includes (PEP 735)."""
    by_name = {str(canonicalize_name(one)): lines for one, lines in groups.items()}
    name = str(canonicalize_name(name))
    found: list[str] = []
    for entry in by_name.get(name, ()) if name not in above else ():
        if isinstance(entry, str):
            found.append(entry)
        elif isinstance(entry, dict) and "include-group" in entry:
            found += group_lines(groups, str(entry["include-group"]), (*above, name))
    return found


def normalised(names: Iterable[str]) -> set[str]:
    """The names of extras, groups or packages as they are compared."""
    return {str(canonicalize_name(name)) for name in names}


def with_extras(
    lines: Iterable[str], name: str, optional: Mapping[str, list[str]], above: tuple[str, ...] = ()
) -> list[str]:
    """The lines, where the project's own extras (`all = ["x[a,b]"]`) are replaced by theirs."""
    found: list[str] = []
    for line in lines:
        parsed = requirement(line)
        if parsed and str(canonicalize_name(parsed.name)) == name:
            for extra in sorted(normalised(parsed.extras) - {*above}):
                more = optional.get(extra, [])
                found += with_extras(more, name, optional, (*above, extra))
        else:
            found.append(line)
    return found


def static(
    toml: Mapping[str, Any], extras: Iterable[str] = (), named_groups: Iterable[str] = ()
) -> Declared:
    """What [project] and the groups beside it say, with some of its extras and groups."""
    project, uv = toml.get("project", {}), toml.get("tool", {}).get("uv", {})
    optional = {
        str(canonicalize_name(extra)): lines
        for extra, lines in project.get("optional-dependencies", {}).items()
    }
    groups = dict(toml.get("dependency-groups", {}))
    # From before PEP 735.
    for name, lines in toml.get("tool", {}).get("pdm", {}).get("dev-dependencies", {}).items():
        groups.setdefault(name, lines)
    name = own_name(toml)
    extras, named_groups = normalised(extras), normalised(named_groups)
    wanted = [line for extra in sorted(extras) for line in optional.get(extra, [])]
    wanted += [line for one in sorted(named_groups) for line in group_lines(groups, one)]
    dev = [line for one in groups if one in DEV for line in group_lines(groups, one)]
    dev += uv.get("dev-dependencies", [])
    dev += [line for extra in optional if extra in DEV for line in optional[extra]]
    others = {one for one in groups if not normalised([one]) & {*DEV, *named_groups}}
    others |= optional.keys() - {*DEV, *extras}
    return Declared(
        requires=with_extras([*project.get("dependencies", []), *wanted], name, optional),
        dev=with_extras(dev, name, optional),
        untaken=sorted(others),
        offered=normalised([*groups, *optional]),
    )


def from_poetry(folder: Path, names: Iterable[str] = ()) -> Declared:
    """What [tool.poetry] says, with extras and groups of these names.

    Raises:
        MetadataError: poetry-core cannot read it.
    """
    factory = import_module("poetry.core.factory").Factory()
    # It says that the folder of a path dependency is not there, and what is deprecated.
    logging.disable(logging.CRITICAL)
    try:
        poetry = factory.create_poetry(folder, with_groups=True)
    except Exception as error:
        raise MetadataError(f"Poetry cannot read pyproject.toml: {error}") from error
    finally:
        logging.disable(logging.NOTSET)
    names = normalised(names)
    found, package = Declared(), poetry.package
    named = {source["name"]: source for source in poetry.local_config.get("source", [])}
    of_extras = {
        str(canonicalize_name(one.name))
        for extra, several in package.extras.items()
        if normalised([extra]) & names
        for one in several
    }
    for group in package.dependency_group_names(include_optional=True):
        is_wanted = group == "main" or bool(normalised([group]) & names)
        if not is_wanted and group not in DEV:
            found.untaken.append(group)
            continue
        for one in package.dependency_group(group).dependencies:
            if one.is_optional() and str(canonicalize_name(one.name)) not in of_extras:
                continue
            line = poetry_line(one)
            (found.requires if is_wanted else found.dev).append(line)
            source = named.get(one.source_name or "")
            if source and source.get("url"):
                found.sources[str(canonicalize_name(one.name))] = {"index": source["name"]}
    found.untaken += sorted(one for one in package.extras if not normalised([one]) & names)
    groups = {*package.dependency_group_names(include_optional=True)} - {"main"}
    found.offered = normalised([*groups, *package.extras])
    for source in named.values():
        if source.get("url"):  # PyPI has none
            explicit = source.get("priority") == "explicit"
            found.indexes.append(index_of(source["url"], source["name"], explicit=explicit))
    return found


def poetry_line(one: Any) -> str:
    """A dependency of Poetry as a requirement, without the extra that asks for it."""
    return str(Requirement(one.to_pep_508(with_extras=False)))


def index_of(url: str, name: str = "", *, explicit: bool = False) -> dict[str, Any]:
    """An index as uv has it; one with an environment variable as its password has none."""
    address = re.sub(r"//[^/@]*\$\{[^/@]*@", "//", url)
    named = {"name": name} if name else {}
    return {**named, "url": address, **({"explicit": True} if explicit else {})}
