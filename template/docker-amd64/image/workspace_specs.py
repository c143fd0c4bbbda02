"""Finds packages of conda for a workspace, beside those of the project.

The solver gets the environment files of the project with what the workspace lists, and each package
of the project's conda.lock as a pin. So these keep their versions and builds, or nothing fits. What
the solver adds is the conda.lock of the workspace: a list with hashes that needs no solver.

workspace_requirements.py calls it. Runs in the tools container, in dependencies/.
"""

from __future__ import annotations

import contextlib
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

import conda_absent
from conda_env import check_build
from conda_file import Environment
from conda_lock import (
    AGAIN,
    CONDA_LOCK,
    PARTS,
    PLATFORM,
    CondaError,
    Lock,
    Locked,
    channels_of,
    load_lock,
    locked,
    needed_by,
    read,
    virtual_packages,
)
from conda_pip import pip_names
from conda_solve import AbsentError, UnsolvableError, solve
from intake.found import CHANNEL, CONDA, specifiers
from intake.names import PYPI_NAMES, SPEC, name_of, pip_name, pip_version
from intake.text import FileError, without_secret
from project_declared import MetadataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from intake.found import Intake

HEAD = f"""\
# What ./template.sh build found for this workspace beside the project's {CONDA_LOCK}, for
# micromamba. Remove this file to take newer versions.
# platform: {PLATFORM}
@EXPLICIT
"""
WITH_BUILD = re.compile(r"\s*(==?[^=<>!~,|\s]+)=(\S+)\s*")  # =VERSION=BUILD of a spec
FILES = "the environment files"  # as the solver's sentences have it


def lock_beside(intake: Intake, code: Path, called: str) -> tuple[str, list[str]]:
    """The text of a workspace's conda.lock, and the lines that are for uv after all.

    Args:
        intake: what its lists say.
        code: its folder.
        called: what messages call it.

    Raises:
        MetadataError: it cannot be had beside the project's packages; why, in one sentence.
    """
    try:
        return solved(intake.lines(CONDA), intake.lines(CHANNEL, None), code)
    except (CondaError, FileError) as error:
        raise MetadataError(f"conda for {called}: {error}") from None


def solved(specs: Iterable[str], channels: list[str], code: Path) -> tuple[str, list[str]]:
    """The same, of lines and channels. Raises CondaError and FileError."""
    folder = Path.cwd()
    files, lock = read(folder), load_lock(folder / CONDA_LOCK)
    if lock is None:
        raise CondaError(f"The project has no {CONDA_LOCK} yet. {AGAIN}")
    secret = next((one for one in channels if without_secret(one) != one), None)
    if secret is not None:
        raise CondaError(
            f"The channel {without_secret(secret)} has a token or password, which belongs into the "
            "file of CONDA_AUTH_FILE or NETRC_FILE in .env."
        )
    of_pypi = pip_names(folder)
    have = {package.name: package for package in lock.packages}
    for_uv = [requirement(spec) for spec in specs if pypi_name(name_of(spec)) in of_pypi]
    own = [spec for spec in specs if pypi_name(name_of(spec)) not in of_pypi]
    refuse_others(own, have)
    if not own:
        return HEAD, for_uv
    asked = {**files, "the workspace": Environment(channels, [], own, [])}
    by_name = {record["name"]: record for record in records_of(asked, lock, code)}
    order = needed_by(by_name, by_name)
    found = [locked(by_name[name], channels_of(asked)) for name in order]
    refuse_others((f"{one.name}={one.version}={one.build}" for one in found), have)
    added = [one for one in found if one.name not in have]
    refuse_doubles(added, by_name, of_pypi)
    parts: dict[str, list[Locked]] = {part: [] for part in PARTS}
    check_build(Lock("", virtual_packages(), {**parts, PARTS[0]: added}), asked)
    return HEAD + "".join(f"{one.line}\n" for one in added), for_uv


def pypi_name(conda: str) -> str:
    """What PyPI calls a package of conda's."""
    return pip_name(PYPI_NAMES.get(conda, conda))


def requirement(spec: str) -> str:
    """A spec of conda's as uv has it."""
    match = SPEC.fullmatch(spec.strip())
    version = pip_version(match[3] or "") if match else ""
    return f"{pypi_name(name_of(spec))}{version or ''}"


def is_other(version: str, asked: str) -> bool:
    """Whether a version is none of those that a spec asks for; False where only conda can say."""
    limit = specifiers(pip_version(asked) or "")
    if not limit or asked.lstrip("=") == version:
        return False
    try:
        return not limit.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def refuse_others(specs: Iterable[str], have: Mapping[str, Locked]) -> None:
    """Refuse what asks for another version or build of a package that the project has.

    Raises:
        CondaError: one does.
    """
    for spec in specs:
        match, there = SPEC.fullmatch(spec.strip()), have.get(name_of(spec))
        if match is None or there is None:
            continue
        exact = WITH_BUILD.fullmatch(match[3] or "")
        version = (exact[1] if exact else match[3] or "").strip()
        other_build = exact is not None and not fnmatch(there.build, exact[2])
        if other_build or is_other(there.version, version):
            raise CondaError(
                f"It needs {spec}, but the project has {there.name} {there.version}, and packages "
                "of the project keep their versions. Change the line, or the project's version "
                f"by: ./template.sh add '{spec}'"
            )


def refuse_doubles(
    added: Iterable[Locked], records: Mapping[str, dict[str, Any]], of_pypi: set[str]
) -> None:
    """Refuse packages that would replace files of the same package from PyPI.

    Raises:
        CondaError: there is one.
    """
    for one in added:
        if pypi_name(one.name) in of_pypi:
            users = [
                name
                for name, record in records.items()
                if one.name in {name_of(line) for line in record.get("depends") or []}
            ]
            raise CondaError(
                f"{' and '.join(sorted(users)) or 'It'} needs {one.name} of conda, which the "
                "project has from PyPI. Let the project have conda's by: "
                f"./template.sh add {one.name}"
            )


def records_of(asked: dict[str, Environment], lock: Lock, code: Path) -> list[dict[str, Any]]:
    """What micromamba finds with the project's packages, and those of an earlier lock if they fit.

    Raises:
        CondaError: there is no solution.
    """
    pins = [f"{one.name}=={one.version}={one.build}" for one in lock.packages]
    names, old = {one.name for one in lock.packages}, None
    with contextlib.suppress(CondaError, FileError):  # it may be another program's
        old = load_lock(code / CONDA_LOCK)
    earlier = [one for one in old.packages if one.name not in names] if old else []
    kept = [f"{one.name}=={one.version}={one.build}" for one in earlier]
    if kept:
        with contextlib.suppress(UnsolvableError):
            return solve(asked, [*pins, *kept])
    try:
        return solve(asked, pins)
    except AbsentError as error:
        absent = conda_absent.look_up(error.specs, channels_of(asked))
        reasons = [f"{one.name} cannot be had, {one.reason()}." for one in absent]
        raise CondaError(" ".join(reasons) or str(error)) from None
    except UnsolvableError as error:
        words = set(re.findall(r"[\w.-]+", str(error)))
        there = [f"{one.name} {one.version}" for one in lock.packages if one.name in words]
        has = f" The project has {', '.join(there)}, and keeps that." if there else ""
        said = str(error).replace(FILES, "beside the project's, which keep their versions")
        raise CondaError(f"{said}{has}") from None
