"""Leaves out what the project itself requires from an address that cannot be had.

A git repository that is gone, or a wheel that was deleted, stops itself and not the lock.
files.json has what is left out: `read` and `add` leave it out again, `lock` tries it again, and
`add` tries what is new.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomlkit

from import_files import PYPROJECT, Lock
from intake.text import say
from project_declared import names_in, read_toml
from project_metadata import uv_sources
from project_requirements import FILE, RECORD
from uv_project import ADDRESSES, addresses, unreachable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

KEY = "unreachable"  # of files.json


def name_in(line: str) -> str:
    """The normalised name of a requirement's package, "" where it has none."""
    return "".join(names_in([line]))


def lists_of(document: Any) -> Iterator[Any]:
    """The lists of requirements in a pyproject.toml."""
    project = document.get("project", {})
    yield project.get("dependencies", [])
    yield from project.get("optional-dependencies", {}).values()


def from_addresses(dependencies: Path) -> dict[str, str]:
    """The packages that the project has from addresses: name to address.

    Raises:
        MetadataError: dependencies/project/pyproject.toml cannot be read.
    """
    toml = read_toml(dependencies / FILE)
    return addresses((one for lines in lists_of(toml) for one in lines), uv_sources(toml))


def without(text: str, names: Collection[str]) -> str:
    """The text of dependencies/project/pyproject.toml without some packages and their sources."""
    document = tomlkit.parse(text)
    for lines in lists_of(document):
        for line in [one for one in lines if name_in(one) in names]:
            lines.remove(line)
    sources = document.get("tool", {}).get("uv", {}).get("sources", {})
    for name in [one for one in sources if name_in(one) in names]:
        del sources[name]
    return tomlkit.dumps(document)


def recorded(dependencies: Path) -> dict[str, str]:
    """What an earlier lock left out: name to address."""
    try:
        known = json.loads((dependencies / RECORD).read_text(encoding="utf-8")).get(KEY, {})
    except (OSError, ValueError, AttributeError):
        return {}
    return known if isinstance(known, dict) else {}


def record(dependencies: Path, names: dict[str, str]) -> None:
    """Write down what is left out, and leave it out. Raises OSError."""
    file = dependencies / RECORD
    known = json.loads(file.read_text(encoding="utf-8"))
    text = json.dumps({**known, KEY: names}, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8")
    file = dependencies / FILE
    file.write_text(without(file.read_text(encoding="utf-8"), names), encoding="utf-8")


def leave_out_again(dependencies: Path, before: dict[str, str]) -> None:
    """Leave out what an earlier lock left out, where it still has that address.

    Args:
        dependencies: the folder dependencies/.
        before: what was left out, name to address.

    Raises:
        MetadataError: dependencies/project/pyproject.toml cannot be read.
    """
    now = from_addresses(dependencies)
    names = {name: url for name, url in before.items() if now.get(name) == url}
    if names:
        record(dependencies, names)


def not_locked(dependencies: Path) -> dict[str, str]:
    """The packages from addresses that the lock has from none: name to address.

    Raises:
        MetadataError: a file cannot be read.
    """
    locked = {
        one["name"]
        for one in read_toml(dependencies / "uv.lock").get("package", [])
        if one.get("source", {}).keys() & set(ADDRESSES)
    }
    return {name: url for name, url in from_addresses(dependencies).items() if name not in locked}


def has_new(dependencies: Path, before: dict[str, str]) -> bool:
    """Whether there is an address that no lock has tried yet; `before` is what was left out.

    Raises:
        MetadataError: a file cannot be read.
    """
    return any(before.get(name) != url for name, url in not_locked(dependencies).items())


def leave_out(dependencies: Path, where: str) -> None:
    """Leave out what cannot be had, and say so.

    A package that the lock has from an address stays: a network that fails robs no lock. What
    contradicts other packages stays too, and the lock that follows says why.

    Args:
        dependencies: the folder dependencies/.
        where: the file that requires the packages.

    Raises:
        MetadataError: a file cannot be read.
    """
    found = not_locked(dependencies)
    if not found:
        return
    whole = (dependencies / FILE).read_text(encoding="utf-8")
    root = (dependencies / PYPROJECT).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as temporary:
        lock = Lock(dependencies, Path(temporary))

        def said(names: Collection[str]) -> str:
            (lock.folder / FILE).write_text(without(whole, names), encoding="utf-8")
            return lock.said if lock.fails(root) else ""

        missing = unreachable(found.keys(), said)
    if missing:
        record(dependencies, {name: found[name] for name in missing})
    for name, why in missing.items():
        say(f"{where}: {name} is left out, as {found[name]} cannot be had: {why}.")
