"""Which lists have a package that `project_lock.py remove` takes out, and why it may not go."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from project_declared import MetadataError, parse_toml, read_toml, requirement
from project_metadata import main_file
from project_requirements import FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

# Groups of dependencies/pyproject.toml that follow the answers.
OF_TEMPLATE = ("container", "project", "project-dev", "torch")


def names_in(lines: object) -> list[str]:
    """The names of a list of requirements, as PyPI spells them."""
    texts = [one for one in lines if isinstance(one, str)] if isinstance(lines, list) else []
    found = [requirement(line) for line in texts]
    return [str(canonicalize_name(one.name)) for one in found if one]


def lists_in(
    toml: Mapping[str, Any], without: Iterable[str] = ()
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """The lists of requirements of a pyproject.toml: uv's options for one, and its names."""
    project = toml.get("project", {})
    yield (), names_in(project.get("dependencies"))
    for extra, lines in project.get("optional-dependencies", {}).items():
        yield ("--optional", extra), names_in(lines)
    for group, lines in toml.get("dependency-groups", {}).items():
        if group not in without:
            yield ("--group", group), names_in(lines)
    yield ("--dev",), names_in(toml.get("tool", {}).get("uv", {}).get("dev-dependencies"))


def removals(
    toml: Mapping[str, Any], names: Iterable[str], without: Iterable[str] = ()
) -> dict[tuple[str, ...], list[str]]:
    """What to remove from which list, by uv's options for it."""
    wanted = set(names)
    found = {how: sorted(wanted.intersection(listed)) for how, listed in lists_in(toml, without)}
    return {how: those for how, those in found.items() if those}


def needed_by(lock: Path, name: str) -> list[str]:
    """The packages of a uv.lock that need a package, without the groups of dependencies/."""
    try:
        packages = parse_toml(lock.read_text(encoding="utf-8")).get("package", [])
    except (OSError, MetadataError):
        return []
    return sorted(
        one["name"]
        for one in packages
        if not {"virtual", "editable", "directory"} & one.get("source", {}).keys()
        and any(needed["name"] == name for needed in one.get("dependencies", ()))
    )


def why_not(code: Path, dependencies: Path, name: str, template_sh: str) -> str:
    """Why a package that no list has cannot be removed: a sentence, with what helps."""
    images, copy = read_toml(dependencies / "pyproject.toml"), read_toml(dependencies / FILE)
    groups = images.get("dependency-groups", {})
    for group in OF_TEMPLATE:
        if name in names_in(groups.get(group)):
            said = f"{name} is in the group {group} of dependencies/pyproject.toml, the template's"
            return f"{said}: {template_sh} update changes it after your answers."
    if any(name in names for _, names in lists_in(copy)):
        file = main_file(code)
        said = f"{file} says that this project requires {name}"
        return f"{said}. Delete it there, and run: {template_sh} build"
    users = needed_by(dependencies / "uv.lock", name)
    if users:
        verb = "needs" if len(users) == 1 else "need"
        return f"No list has {name}: it is in the lock because {', '.join(users)} {verb} it."
    every = [read_toml(code / "pyproject.toml"), images]
    listed = {one for toml in every for _, names in lists_in(toml, OF_TEMPLATE) for one in names}
    near = get_close_matches(name, sorted(listed), n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    return f"No list of this project has {name}.{meant}"
