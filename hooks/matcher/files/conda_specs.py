"""Packages as conda writes them: name, version, build and channel in one text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..hosts import BadInputError
from .found import Asked, pip_name

if TYPE_CHECKING:
    from .found import Line, Project

_SPEC = re.compile(
    r"(?:(?P<channel>[^\s:\[\]=<>]+)::)?(?P<name>[A-Za-z0-9_][\w.-]*)"
    r"(?P<rest>[\s=<>!~\[].*)?"
)
_INSIDE = re.compile(r"(\w+)\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^,\]]+))")
# Names of conda for what pip calls otherwise; the CPU and GPU packages only choose a build.
_NAMES = {"pytorch": "torch", "pytorch-gpu": "torch", "pytorch-cpu": "torch"}


def _parts(rest: str) -> tuple[str, str, str]:
    """Version, build and channel of what follows a package's name."""
    inside: dict[str, str] = {}
    if bracket := re.search(r"\[(.*)\]\s*$", rest):
        for match in _INSIDE.finditer(bracket[1]):
            inside[match[1]] = (match[2] or match[3] or match[4] or "").strip()
        rest = rest[: bracket.start()]
    rest = rest.strip()
    build = ""
    if spaced := re.fullmatch(r"([^\s=<>!~][^\s]*|[<>=!~]+\s*\S+)\s+([^\s<>=!~,|]\S*)", rest):
        rest, build = spaced[1], spaced[2]
    elif pinned := re.fullmatch(r"(={1,2}[^=<>!~,|]+)=([^=]+)", rest):
        rest, build = pinned[1], pinned[2]
    return (
        inside.get("version", rest.strip()),
        inside.get("build", build.strip()),
        inside.get("channel", ""),
    )


def add(project: Project, line: Line) -> None:
    """Add a package that conda resolves.

    Raises:
        BadInputError: it is no requirement of conda.
    """
    if "://" in line.text:
        project.notes.append(f"{line} is not read, as it is an address")
        return
    match = _SPEC.fullmatch(line.text)
    if match is None:
        raise BadInputError(f"{line} is not a package of conda")
    name = pip_name(match["name"])
    version, build, channel = _parts(match["rest"] or "")
    if name == "python":
        project.python = version
        return
    if name == "pytorch-cpu":
        build = build or "cpu*"
    if name == "pytorch-gpu":
        build = build or "cuda*"
    project.asked.append(
        Asked(
            _NAMES.get(name, name),
            version,
            line,
            conda=True,
            build=build,
            channel=match["channel"] or channel,
        )
    )
