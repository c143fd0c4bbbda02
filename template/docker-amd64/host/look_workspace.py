"""What this machine adds to a failure of a workspace's packages; see look.py."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from .ask import read_text
from .look import edit
from .project import StopError, me
from .workspace_lists import OF_SETUP, PROJECT, lists_of, unread_lists
from .workspaces import FOLDER, find

if TYPE_CHECKING:
    from pathlib import Path

    from .look import Case, Seen
    from .project import Project

# What BuildKit and uv put before a line of the sentence that says why nothing fits.
BEFORE = re.compile(r"(?m)^(?:#\d+ )?(?:\d+\.\d+ )?\W*")
ASKED = re.compile(r"(?<![\w.-])([A-Za-z0-9][\w.-]*)(?:\[[\w,.-]+\])?([<>=!~]=?[\w.+*!,<>=~]*)")


class Pin(NamedTuple):
    """What a workspace asks for, and what the project has: `lock` is seen from the project."""

    name: str
    asked: str
    version: str
    lock: str


def packages(case: Case) -> Seen:
    """The line of the workspace and the lock of the project that do not go together."""
    text = " ".join(BEFORE.sub("", case.text).split())
    start = text.rfind("Because ")
    asked: dict[str, list[str]] = {}
    for name, limit in ASKED.findall(text[start:]) if start >= 0 else ():
        limits = asked.setdefault(re.sub(r"[-_.]+", "-", name).lower(), [])
        limits.append(limit.rstrip(",."))
    for name, limits in asked.items():
        version, lock = locked(case.project, name)
        others = [limit for limit in limits if limit != f"=={version}"]
        if version and others and len(others) < len(limits):
            users = re.findall(
                rf"([\w.-]+)(?:==[^\s,]+)? depends on {re.escape(name)}[<>=!~]", text
            )
            return words(case, Pin(name, others[0], version, lock), users)
    return {}


def locked(project: Project, name: str) -> tuple[str, str]:
    """The version of a package in a lock of the project, and the lock; "" where none has it."""
    from .images import packages_of  # noqa: PLC0415  it imports workspaces

    spelled = r"[-_.]+".join(map(re.escape, name.split("-")))
    for lock in sorted((project.folder / "dependencies").glob("*.lock")):
        for pattern in packages_of(project).IN_LOCKS:
            found = re.search(pattern.replace("{}", spelled), read_text(lock))
            if found:
                return found[1], lock.name
    return "", ""


def words(case: Case, pin: Pin, users: list[str] | None = None) -> Seen:
    """The sentence on a pin, and the command that opens the line which asks for another version.

    `users` are packages that require it: if no list names it, one of them is listed.
    """
    try:
        folder = find(case.project, case.known["workspace"])
    except StopError:
        return {}
    shown, by = f"{FOLDER}/{case.known['workspace']}", ""
    remedy = f"ls {shlex.quote(str(folder))}"
    for name in (pin.name, *(users or ())):
        place = place_of(folder, name)
        if place:
            file, line = place
            by = "" if name == pin.name else f" for {name}"
            shown, remedy = f"{shown}/{file}:{line}", edit(str(folder / file), line)
            break
    has = f"{case.project.folder.name}/dependencies/{pin.lock} has {pin.name} {pin.version}"
    cause = f"{shown} needs {pin.name}{pin.asked}{by}, but {has}, which workspaces keep. Change "
    cause += "the line, or the project's version: "
    if pin.name in case.project.torch_family:
        return {"cause": f"{cause}{me()} update --data torch_version=VERSION", "remedy": remedy}
    add = shlex.join(["add", f"{pin.name}{pin.asked}"])
    return {"cause": f"{cause}{me()} {add} && {me()} build", "remedy": remedy}


def place_of(folder: Path, name: str) -> tuple[str, int] | None:
    """The file of a workspace and its line that name a package."""
    spelled = r"[-_.]+".join(map(re.escape, re.split(r"[-_.]+", name)))
    entry = re.compile(rf"(?i)(?<![\w.-]){spelled}(?![\w.-]*\w)")
    for file in dict.fromkeys([*lists_of(folder), *unread_lists(folder), PROJECT, *OF_SETUP]):
        for number, line in enumerate(read_text(folder / file).splitlines(), 1):
            if entry.search(line) and not re.match(r"\s*(?:#|name\s*=)", line):
                return file, number
    return None
