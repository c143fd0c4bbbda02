"""How uv builds packages from source, in dependencies/pyproject.toml: which PyTorch it builds with.

A package that is compiled against another PyTorch than it runs with does not find its symbols. uv
would take the newest for a build: https://docs.astral.sh/uv/concepts/projects/config/#build-isolation
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import tomlkit
from packaging.utils import canonicalize_name
from tomlkit.exceptions import TOMLKitError

from intake import requirement as rules
from intake.text import FileError
from project_declared import requirement
from project_metadata import BUILDS, STATED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from intake.found import Wanted


def with_version(need: Any, versions: Mapping[str, str]) -> Any:
    """A requirement of a build, in the version of PyTorch's family that the images have."""
    parsed = requirement(need) if isinstance(need, str) else None
    name = str(canonicalize_name(parsed.name)) if parsed and not parsed.url else ""
    if not parsed or name not in versions:
        return need
    parsed.specifier = type(parsed.specifier)(f"=={versions[name]}")
    return str(parsed)


def compiled_names(toml: Mapping[str, Any], wanted: Wanted) -> set[str]:
    """The packages in the lists of a pyproject.toml that are compiled against PyTorch."""
    project = toml.get("project", {})
    lists = [
        project.get("dependencies", ()),
        *project.get("optional-dependencies", {}).values(),
        *toml.get("dependency-groups", {}).values(),
    ]
    return named_compiled((line for lines in lists for line in lines), wanted)


def named_compiled(lines: Iterable[Any], wanted: Wanted) -> set[str]:
    """The packages in some lines that are compiled against PyTorch."""
    parsed = (requirement(line) for line in lines if isinstance(line, str))
    return {
        str(canonicalize_name(one.name))
        for one in parsed
        if one and wanted.torch and rules.judge(str(one), wanted, given=True).compiled
    }


def with_builds(
    text: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    versions: Mapping[str, str],
) -> str:
    """The text of dependencies/pyproject.toml with what the project says of builds.

    Args:
        text: the file.
        before: the tables of [tool.uv] that an earlier run wrote, by their keys.
        after: those of now. What the file has for the same package counts more.
        versions: those of PyTorch's family, which builds get.

    Raises:
        FileError: the file cannot be read.
    """
    try:
        document = tomlkit.parse(text)
        uv = document.setdefault("tool", tomlkit.table()).setdefault("uv", tomlkit.table())
        change_builds(uv, before.get(BUILDS, {}), after.get(BUILDS, {}), versions)
        change_stated(uv, before.get(STATED, []), after.get(STATED, []))
        return tomlkit.dumps(document)
    except TOMLKitError as error:
        raise FileError(f"dependencies/pyproject.toml cannot be read: {error}.") from None


def change_builds(
    uv: Any, before: Mapping[str, Any], after: Mapping[str, Any], versions: Mapping[str, str]
) -> None:
    """Change the table of what builds need beside what a package asks for."""
    if BUILDS not in uv and after:
        uv[BUILDS] = tomlkit.table()
    builds = uv.get(BUILDS, {})
    for name, needs in before.items():
        if after.get(name) != needs and unversioned(builds.get(name, ())) == unversioned(needs):
            builds.pop(name, None)
    for name, needs in sorted(after.items()):
        builds.setdefault(name, needs)
    for needs in builds.values():
        for at, need in enumerate(needs):
            if with_version(need, versions) != need:
                needs[at] = with_version(need, versions)
    if before and BUILDS in uv and not builds:
        del uv[BUILDS]


def unversioned(needs: Iterable[Any]) -> list[Any]:
    """What builds need, but for the versions of PyTorch's family, which an update changes."""
    return [
        re.sub(r"[^\w-].*", "", need)
        if isinstance(need, str) and need.startswith("torch")
        else need
        for need in needs
    ]


def change_stated(uv: Any, before: Iterable[Any], after: Iterable[Any]) -> None:
    """Change the list of metadata that is stated, so that uv need not build to learn it."""
    has = [one.unwrap() for one in uv.get(STATED, [])]
    gone = [one for one in before if one not in after]
    for index in reversed(range(len(has))):
        if has[index] in gone:
            del uv[STATED][index]
    for one in after:
        if one not in has:
            if STATED not in uv:
                uv[STATED] = tomlkit.aot()
            entry = tomlkit.table()
            entry.update(one)
            entry.add(tomlkit.nl())
            uv[STATED].append(entry)
    if gone and STATED in uv and not uv[STATED]:
        del uv[STATED]
