"""Makes dependencies/project/ from what the project itself declares.

dependencies/project/pyproject.toml is a copy of what it requires, so that the lock has it and no
build needs the code. files.json beside it has the digests of what it was made from.
Runs in the container of the service tools, which has the code at /workspace, read-only.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement

from intake.text import has_secret, say, without_secret
from project_declared import Declared, MetadataError, names_in, read_toml
from project_metadata import (
    BUILDS,
    CONSTRAINTS,
    FIND_LINKS,
    LIMITS,
    STATED,
    Reader,
    main_file,
    named_indexes,
    uv_indexes,
    uv_sources,
)
from uv_project import project_tables, uv_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from packaging.specifiers import SpecifierSet

    # What becomes of requirements, and sentences about them; the file is what the sentences name.
    Settle = Callable[[list[str], str], tuple[list[str], list[str]]]

CODE, DEPENDENCIES = Path("/workspace"), Path("/opt/dependencies")
FILE, RECORD = "project/pyproject.toml", "project/files.json"
HEAD = """\
# What the project itself requires (pyproject.toml, setup.cfg, setup.py), for locks, so that no
# build needs the code. ./template.sh lock, add and build write this file: edit those, not this.
"""
MOST_CHANGES = 8  # in one line


def text_of(found: Declared) -> str:
    """The content of dependencies/project/pyproject.toml."""
    tables = project_tables(unique(found.requires), unique(found.dev))
    uv = uv_tables(found.sources, found.indexes, {**found.limits, **found.tables})
    return f"{HEAD}{tables}\n{uv}"


def unique(lines: Iterable[str]) -> list[str]:
    """The lines once each, sorted by name: the order of the project's files says nothing."""
    return sorted(set(lines), key=lambda line: (re.split(r"[^\w.-]", line.lower())[0], line))


def take_sources(found: Declared, toml: Mapping[str, Any]) -> None:
    """Take the sources that another pyproject.toml has for the same packages: they count more.

    PyTorch's family has its index there, and a team may have written a mirror.
    """
    own = uv_sources(toml)
    names = names_in([*found.requires, *found.dev])
    found.sources.update({name: own[name] for name in names & own.keys()})
    found.sources = {name: one for name, one in found.sources.items() if name in names}
    indexes = {index.get("name"): index for index in (*found.indexes, *uv_indexes(toml))}
    wanted = named_indexes(found.sources)
    found.indexes = [
        *(
            index
            for index in found.indexes
            if is_for_all(index) and index.get("name") not in wanted
        ),
        *(indexes[name] for name in sorted(wanted & indexes.keys())),
    ]


def is_for_all(index: Mapping[str, Any]) -> bool:
    """Whether an index is asked for every package, not only for those that name it."""
    return not index.get("explicit")


def digests(code: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each file by its name; "" for one that is not there."""
    return {
        name: hashlib.sha256(file.read_bytes()).hexdigest()
        if (file := code / name).is_file()
        else ""
        for name in sorted(names)
    }


def changes(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """What an edit of the project's own files means: `einops>=0.8 (new)`."""
    old, new = (
        {re.split(r"[^\w.-]", one)[0].lower(): one for one in unique(x)} for x in (before, after)
    )
    return [
        *(f"{new[name]} (new)" for name in new if name not in old),
        *(
            f"{new[name]} (was {old[name]})"
            for name in new
            if name in old and new[name] != old[name]
        ),
        *(f"{old[name]} (removed)" for name in old if name not in new),
    ]


def read(
    code: Path,
    dependencies: Path,
    settle: Settle,
    *,
    add: str,
    python: str,
    torch: str = "",
    decided: Iterable[str] = (),
    counts_more: Mapping[str, Any] | None = None,
) -> Declared:
    """Write dependencies/project/ from the code, and say what changed.

    What was left out, and why, is in the notes of what it returns.

    Args:
        code: the folder of the code.
        dependencies: the folder dependencies/.
        settle: what becomes of the requirements in this project.
        add: the command that adds a package to dependencies/.
        python: that of the images, such as 3.12.4.
        torch: the version of PyTorch, "" for none.
        decided: names whose sources an answer decides.
        counts_more: a pyproject.toml whose sources replace those of the project.

    Raises:
        MetadataError: an address has a password.
    """
    found = Reader(code, torch, python).read()
    where = main_file(code)
    refuse_passwords([*found.requires, *found.dev], where)
    found.requires, notes = settle(found.requires, where)
    found.dev, more = settle(found.dev, where)
    for name in decided:
        found.sources.pop(name, None)
    for key, lines in found.limits.items():
        found.limits[key] = [line for line in lines if not names_in([line]) & set(decided)]
    # What overrides others is meant to contradict them.
    found.limits[CONSTRAINTS], of_limits = settle(found.limits.get(CONSTRAINTS, []), where)
    take_sources(found, counts_more or {})
    refuse_passwords(addresses_of(found), where)
    file = dependencies / FILE
    old = project_table(file)
    if found.failures:
        kept = (
            f"What it required before is kept. What is missing in dependencies/{FILE}: {add} NAME"
        )
        notes = [*found.failures, kept, *notes]
        keep_old(found, old, file)
    file.parent.mkdir(exist_ok=True)
    text = text_of(found)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")
    record = digests(code, found.files) if not found.failures else {}
    write_record(dependencies / RECORD, record)
    new = project_table(file)
    difference = changes(old.requires, new.requires) + [
        f"dev: {one}" for one in changes(old.dev, new.dev)
    ]
    if difference:
        rest = len(difference) - MOST_CHANGES
        more_than = f" and {rest} more" if rest > 0 else ""
        say(f"Read from {where}: {', '.join(difference[:MOST_CHANGES])}{more_than}.")
    found.notes = [*dict.fromkeys([*notes, *more, *of_limits, *found.notes])]
    if found.untaken:
        names = ", ".join(dict.fromkeys(found.untaken))
        found.notes.append(f"Groups and extras of {where} that are not installed: {names}.")
    wanted = project_python(code)
    if wanted and not fits_python(wanted, python):
        found.notes.append(f"{where} wants Python {wanted}; the images have {python}.")
    return found


def addresses_of(found: Declared) -> list[str]:
    """The addresses of indexes and of sources."""
    urls = [index.get("url", "") for index in found.indexes]
    entries = [
        entry
        for one in found.sources.values()
        for entry in (one if isinstance(one, list) else [one])
        if isinstance(entry, dict)
    ]
    urls += [entry.get(key, "") for entry in entries for key in ("git", "url")]
    return [*map(str, urls), *found.limits.get(FIND_LINKS, ())]


def refuse_passwords(texts: Iterable[str], where: str) -> None:
    """Raises MetadataError where an address or a requirement has a password or token."""
    for text in texts:
        if has_secret(text, tokens=False):
            raise MetadataError(
                f"{where} has a password in {without_secret(text)}, which would be in git and in "
                "the lock. Write the address without it; the password belongs into the file that "
                "NETRC_FILE in .env names."
            )


def limits_in(file: Path) -> dict[str, list[str]]:
    """The lists that decide versions which dependencies/project/ has, by their keys in LIMITS."""
    try:
        uv = read_toml(file).get("tool", {}).get("uv", {})
    except MetadataError:
        return {}
    return {key: uv[key] for key in LIMITS if key in uv}


def tables_in(file: Path) -> dict[str, Any]:
    """The tables on builds that dependencies/project/ has."""
    try:
        uv = read_toml(file).get("tool", {}).get("uv", {})
    except MetadataError:
        return {}
    return {key: uv[key] for key in (BUILDS, STATED) if key in uv}


def keep_old(found: Declared, old: Declared, file: Path) -> None:
    """Add what an earlier run has read and this one could not read."""
    for new, before in ((found.requires, old.requires), (found.dev, old.dev)):
        names = names_in(new)
        new += [line for line in before if not names_in([line]) <= names]
    try:
        toml = read_toml(file)
    except MetadataError:
        return
    found.sources = {**uv_sources(toml), **found.sources}
    known = {(index.get("name"), index.get("url")) for index in found.indexes}
    found.indexes += [
        index for index in uv_indexes(toml) if (index.get("name"), index.get("url")) not in known
    ]


def fits_python(wanted: SpecifierSet, python: str) -> bool:
    """Whether a Python is allowed; one of two numbers, such as 3.12, is any of its releases."""
    whole = python if python.count(".") > 1 else f"{python}.99"
    return wanted.contains(python, prereleases=True) or wanted.contains(whole, prereleases=True)


def project_python(code: Path) -> SpecifierSet | None:
    """The Pythons that [project] allows, None where it does not say."""
    try:
        line = read_toml(code / "pyproject.toml").get("project", {}).get("requires-python", "")
        return Requirement(f"python{line}").specifier if line else None
    except (MetadataError, InvalidRequirement):
        return None


def write_record(file: Path, record: dict[str, str]) -> None:
    """Write files.json, which the host compares with the files."""
    text = json.dumps({"sha256": record}, indent=2, ensure_ascii=False) + "\n"
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")


def project_table(file: Path) -> Declared:
    """The lists of a pyproject.toml that this program wrote; empty ones where it cannot be read."""
    try:
        project = read_toml(file).get("project", {})
    except MetadataError:
        return Declared()
    return Declared(
        requires=project.get("dependencies", []),
        dev=project.get("optional-dependencies", {}).get("dev", []),
    )


def for_all(file: Path) -> list[str]:
    """The addresses of the indexes for all packages that dependencies/project/ has."""
    try:
        return [index["url"] for index in uv_indexes(read_toml(file)) if is_for_all(index)]
    except MetadataError:
        return []
