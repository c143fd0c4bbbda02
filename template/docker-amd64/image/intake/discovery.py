"""Finds the files of a project that list its dependencies, and says which are taken."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import yaml

from .found import DEV, MAIN, ListFile
from .lists import (
    ENVIRONMENT,
    MANIFESTS,
    METADATA,
    OF_REQUIREMENTS,
    OTHER_WORDS,
    PIXI,
    PLAIN_ENVIRONMENTS,
    PLATFORM_WORDS,
    is_requirements,
    keys_of,
    words_of,
)
from .text import FileError, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEPTH = 3  # folders below the code folder in which files are named
MOST_ENTRIES = 2000  # of one folder: more is data
SKIPPED = {
    *(
        "node_modules",
        "site-packages",
        "__pycache__",
        "build",
        "dist",
        "docker-amd64",
        "workspaces",
        "venv",
    ),
    *("data", "datasets", "outputs", "output", "checkpoints", "weights", "wandb", "logs", "runs"),
    *("third_party", "third-party", "thirdparty", "external", "externals", "vendor", "submodules"),
}
LOCKS = {
    name: f"not read: Hearth makes a lock of its own from {source}, so versions may differ"
    for name, source in {
        "uv.lock": "pyproject.toml",
        "poetry.lock": "pyproject.toml",
        "pdm.lock": "pyproject.toml",
        "pylock.toml": "pyproject.toml",
        "conda-lock.yml": "the environment file",
        "Pipfile.lock": "Pipfile",
        "pixi.lock": "pixi.toml",
    }.items()
}
MAIN_WORDS = {
    "base",
    "main",
    "common",
    "runtime",
    "run",
    "prod",
    "production",
    "core",
    "default",
    "install",
}
DEV_WORDS = {"dev", "devel", "develop", "development", "test", "tests", "testing"}
BELOW = (
    "not taken: the requirements of a project below the code folder are not read. A uv workspace "
    "in the code folder has them read, or: template.sh update --data code_dir=..."
)
BY_HAND = "not taken: {why}. template.sh import {path} takes it"
# The first kind that lists something is taken, for conda and for pip.
ORDER = {
    "conda": ("environment", "pixi", "requirements", "pipfile"),
    "pip": ("requirements", "pipfile", "pixi", "environment"),
}


def discover(root: Path, code_dir: str = ".", manager: str = "pip") -> list[ListFile]:
    """The files that list dependencies, those that are taken first.

    Args:
        root: the folder that paths are relative to.
        code_dir: the folder of the code, seen from there.
        manager: pip or conda, which decides what is taken where several kinds are there.
    """
    base = "" if code_dir in {"", "."} else f"{code_dir.strip('/')}/"
    found = [file for path in paths_below(root, base) if (file := kind_of(root, path, base))]
    lists = [file for file in found if file.kind in ORDER[manager]]
    rest = own_or_below([file for file in found if file.kind not in ORDER[manager]])
    ordered = sorted(lists, key=lambda file: (ORDER[manager].index(file.kind), rank(file, base)))
    chosen = chosen_kinds(chosen_variants(ordered, base), manager)
    return [*(f for f in chosen if f.taken), *(f for f in chosen if not f.taken), *rest]


def paths_below(root: Path, base: str) -> Iterator[str]:
    """Files of the code folder, then those of the folders in it, with slashes."""
    folders = [(base, 0)]
    while folders:
        folder, depth = folders.pop(0)
        try:
            with os.scandir(root / folder) as scan:
                entries = list(itertools.islice(scan, MOST_ENTRIES))
        except OSError:
            continue
        for entry in sorted(entries, key=lambda one: one.name.lower()):
            if entry.is_dir(follow_symlinks=False):
                if depth < DEPTH and is_looked_into(entry):
                    folders.append((f"{folder}{entry.name}/", depth + 1))
            elif entry.is_file():
                yield f"{folder}{entry.name}"


def is_looked_into(entry: os.DirEntry[str]) -> bool:
    """Whether a folder may have lists: no data, no environment, no program of somebody else."""
    if entry.name.startswith(".") or entry.name.lower() in SKIPPED:
        return False
    return not any(
        os.path.exists(os.path.join(entry.path, mark))  # noqa: PTH110, PTH118  thousands of folders
        for mark in ("pyvenv.cfg", "conda-meta")
    )


def kind_of(root: Path, path: str, base: str) -> ListFile | None:
    """What a file lists, None where it lists no dependencies."""
    below = path.removeprefix(base)
    folder, _, name = below.rpartition("/")
    if name in LOCKS or name.endswith(".conda-lock.yml"):
        reason = LOCKS.get(name, LOCKS["conda-lock.yml"])
        return ListFile(path, "lock", taken=False, reason=reason) if not folder else None
    if name in METADATA:
        return metadata_file(root, path, folder)
    kind = MANIFESTS.get(name, "")
    if is_requirements(folder, name):
        kind = "requirements"
    elif is_environment(root / path, folder, name):
        kind = "environment"
    return ListFile(path, kind, group_of(below)) if kind else None


def metadata_file(root: Path, path: str, folder: str) -> ListFile | None:
    """The project's own metadata, or pixi's manifest in it."""
    try:
        text = load(root / path, path)
    except FileError:
        return None
    name = path.rpartition("/")[2]
    if PIXI.search(text) and name[0] == "p":
        return ListFile(path, "pixi")
    if not re.search(METADATA[name], text):
        return None
    return ListFile(path, "metadata", taken=False, reason=BELOW if folder else "")


def own_or_below(files: list[ListFile]) -> list[ListFile]:
    """The files that are no lists, without metadata below the code folder that nobody misses.

    Metadata of the code folder says itself which projects below it needs. Without any, one file of
    each project below is named.
    """
    is_own = any(file.kind == "metadata" and not file.reason for file in files)
    found, folders = [], set()
    for file in files:
        if file.reason == BELOW:
            folder = file.path.rpartition("/")[0]
            if is_own or folder in folders:
                continue
            folders.add(folder)
        found.append(file)
    return found


def is_environment(path: Path, folder: str, name: str) -> bool:
    """Whether a file is an environment file: by its name, or where it has channels too."""
    if name.lower() in PLAIN_ENVIRONMENTS:
        return True
    by_name = ENVIRONMENT.fullmatch(name) is not None
    looked_into = not folder or re.fullmatch(r"(?i)(conda|env|install|setup|req)\w*", folder)
    if not by_name and not (looked_into and re.search(r"(?i)\.ya?ml$", name)):
        return False
    return has_dependencies(path, "dependencies" if by_name else "channels")


def has_dependencies(path: Path, key: str) -> bool:
    """Whether a file of YAML has a list of dependencies, and a second key with a list."""
    try:
        text = load(path)
    except FileError:
        return False
    if not {"dependencies", key} <= keys_of(text):
        return False
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return True  # the reader says what is wrong with it
    return isinstance(value, dict) and isinstance(value.get("dependencies"), list)


def group_of(path: str) -> str:
    """Whether a file is for development only, by its name."""
    return DEV if words_of(path.rpartition("/")[2]) & DEV_WORDS else MAIN


def rank(file: ListFile, base: str) -> tuple[int, int, str]:
    """What comes first among files of one kind: the folder above, the plain name, then others."""
    path = file.path.removeprefix(base)
    return (path.count("/"), 0 if is_plain(path) else 1, path.lower())


def is_plain(path: str) -> bool:
    """Whether a file is named as the one main list."""
    name = path.rpartition("/")[2].lower()
    in_folder = "/" in path
    stem = name.partition(".")[0]
    plain = {"requirements", "environment", "env", "conda", "pixi", "pyproject", "pipfile"}
    return stem in plain or (bool(words_of(name) & MAIN_WORDS) and (in_folder or stem not in plain))


def chosen_variants(files: list[ListFile], base: str) -> list[ListFile]:
    """Of several files of one kind, those that are taken: the main one, and those for development.

    Without a plain name, one file alone is taken; of several, nobody knows which.
    """
    chosen = []
    for kind in dict.fromkeys(file.kind for file in files):
        paths = {file.path for file in files}
        of_kind = [named_otherwise(file, base, paths) for file in files if file.kind == kind]
        free = [f for f in of_kind if f.taken and f.group == MAIN]
        plain = [f for f in free if is_plain(f.path.removeprefix(base))]
        takes = plain[:1] or (free if len(free) == 1 else [])
        for file in of_kind:
            if file.taken and file.group == MAIN and file not in takes:
                why = f"{takes[0].path} is the list" if takes else "there are several"
                chosen.append(by_hand(file, why))
            else:
                chosen.append(file)
    return chosen


def named_otherwise(file: ListFile, base: str, paths: set[str]) -> ListFile:
    """A file that its name or folder keeps from being taken; `paths` are all files."""
    path = file.path.removeprefix(base)
    folder, _, name = path.rpartition("/")
    words = words_of(name)
    made = f"{file.path.removesuffix('.in')}.txt"
    if made != f"{file.path}.txt" and made in paths:
        return by_hand(file, f"{made} is made from it")
    if folder and not (file.kind == "requirements" and OF_REQUIREMENTS.fullmatch(folder)):
        return by_hand(file, "it is in a folder of its own")
    if words & PLATFORM_WORDS:
        return by_hand(file, "it is for another platform")
    if words & OTHER_WORDS:
        return by_hand(file, "its name says that programs do not need it")
    return file


def chosen_kinds(files: list[ListFile], manager: str) -> list[ListFile]:
    """Of several kinds, those that are taken: the first; for conda, requirements files beside it.

    What pip installs in an environment of conda's is often in a file of its own. For pip, an
    environment file would list the same once more, under other names.
    """
    taken = [kind for kind in ORDER[manager] if any(f.kind == kind and f.taken for f in files)]
    first = taken[:1]
    if manager == "conda" and first in (["environment"], ["pixi"]):
        first.append("requirements")
    lists = [f.path for f in files if f.kind in first[:1] and f.taken]
    return [
        by_hand(file, f"{lists[0]} is the list") if file.taken and file.kind not in first else file
        for file in files
    ]


def by_hand(file: ListFile, why: str) -> ListFile:
    """A file that is named only."""
    return replace(file, taken=False, reason=BY_HAND.format(why=why, path=file.path))


def named(root: Path, path: str) -> ListFile:
    """A file that somebody names: its kind by its name, else by what it has."""
    file = kind_of(root, path, "")
    if file and file.kind == "metadata":
        return replace(file, reason="not taken: it is the project's own metadata, not a list")
    if file and file.kind in ORDER["pip"]:
        return file
    ending = path.rpartition(".")[2].lower()
    kind = {"yml": "environment", "yaml": "environment", "toml": "pixi"}.get(ending, "requirements")
    return ListFile(path, kind, group_of(path))
