"""The lists of packages in a workspace: which of them a build reads, and which it does not.

How lists are called and name each other is known to image/intake/lists.py.
"""

from __future__ import annotations

import posixpath
import re
import runpy
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .ask import read_text
from .files import make_folder, write_file
from .passwords import rule as texts

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = Path(__file__).resolve().parents[1] / "image" / "intake" / "lists.py"
REQUIREMENTS, PROJECT, LOCK = "requirements.txt", "pyproject.toml", "requirements.lock"
# [project] in pyproject.toml, and what says that its dependencies are only known to a build.
TABLE = re.compile(r"(?m)^\[project\]")
DYNAMIC = re.compile(r"""(?m)^dynamic\s*=\s*\[[^\]]*["']dependencies["']""")
OF_SETUP = ("setup.py", "setup.cfg")


@lru_cache(maxsize=None)
def rules() -> Any:
    """The module that knows lists by their names."""
    return SimpleNamespace(**runpy.run_path(str(RULES)))


def read_list(folder: Path, name: str) -> bytes | None:
    """The content of a list of a workspace; None for what is not a file in it, or is too long.

    A link of a container may lead to a file that it cannot read itself.
    """
    top = folder.resolve()
    file = Path(posixpath.join(str(top), name)).resolve()
    if top not in file.parents or not file.is_file():
        return None
    return file.read_bytes() if file.stat().st_size <= texts().MOST_BYTES else None


def included(name: str, content: bytes) -> Iterator[str]:
    """The files that a requirements file names, seen from the workspace."""
    for _, line in rules().logical_lines(texts().decoded(content)):
        found = rules().INCLUDE.fullmatch(line)
        if found:
            target = rules().unquoted(found[2])
            yield posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def lists_of(folder: Path) -> dict[str, bytes]:
    """The lists that a build of the workspace in a folder reads, by their paths in it."""
    found: dict[str, bytes] = {}
    waiting = [REQUIREMENTS]
    while waiting:
        name = waiting.pop()
        content = None if name in found or name.startswith("/") else read_list(folder, name)
        if content is not None:
            found[name] = content
            waiting += included(name, content)
    project = read_list(folder, PROJECT) or b""
    text = texts().decoded(project)
    if TABLE.search(text) and not DYNAMIC.search(text):
        found[PROJECT] = project
    return found


def put_lists(folder: Path, target: Path) -> bool:
    """Copy the lists and the lock of the workspace in a folder; whether it needs a lock first."""
    lists, lock = lists_of(folder), read_list(folder, LOCK)
    for name, content in [*lists.items(), *([(LOCK, lock)] if lock is not None else [])]:
        make_folder((target / name).parent)
        write_file(target / name, content)
    return bool(lists) and lock is None


def unread_lists(folder: Path) -> list[str]:
    """The paths of the lists that a build of the workspace in a folder does not read."""
    read = lists_of(folder)
    return [
        name for name in named_files(folder) if name not in read and is_list(folder, name, read)
    ]


def named_files(folder: Path) -> Iterator[str]:
    """The files at the top of a workspace, and those in its folders of requirements."""
    for entry in sorted(folder.iterdir()):
        if entry.is_file():
            yield entry.name
        elif entry.is_dir() and rules().OF_REQUIREMENTS.fullmatch(entry.name):
            yield from (f"{entry.name}/{one.name}" for one in sorted(entry.iterdir()))


def is_list(folder: Path, path: str, read: dict[str, bytes]) -> bool:
    """Whether a file lists packages that programs need, which those that are read may not name."""
    known, (above, _, name) = rules(), path.rpartition("/")
    text = (
        read_text(folder / path) if name.endswith((".toml", ".py", ".cfg", ".yml", ".yaml")) else ""
    )
    if known.is_requirements(above, name):
        for_others = known.words_of(name) & (known.OTHER_WORDS | known.PLATFORM_WORDS)
        made = (folder / f"{path[:-3]}.txt").is_file() if name.endswith(".in") else False
        return not (for_others or made)
    if above:
        return False
    if name in OF_SETUP:
        declares = re.search(known.METADATA[name], text) and "install_requires" in text
        return bool(declares) and PROJECT not in read
    if name == PROJECT:
        return bool(re.search(known.METADATA[name], text) or known.PIXI.search(text))
    if known.ENVIRONMENT.fullmatch(name):
        return name.lower() in known.PLAIN_ENVIRONMENTS or "dependencies" in known.keys_of(text)
    return name in known.MANIFESTS
