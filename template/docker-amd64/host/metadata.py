"""What a lock was made from: the project's own metadata and the dependency files, by content."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from .ask import read_json, read_text
from .env_file import ProbeError
from .files import content, write_file
from .project import code_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .project import Project

# What may say that the code is a Python project, where nothing is recorded yet.
METADATA = ("pyproject.toml", "setup.cfg", "setup.py")
COPY = "project/pyproject.toml"  # of what it requires, in dependencies/
# In dependencies/ and in git: the digests of the locks, and of what they were made from. A clone
# gives all files one time, and a lock may be an older one with a newer time.
RECORD = "locked.json"


def metadata_files(project: Project) -> dict[str, str]:
    """The project's own files that dependencies/project/ was made from, with their digests."""
    try:
        record = project.folder / "dependencies" / "project" / "files.json"
        known: dict[str, str] = json.loads(record.read_text("utf-8"))["sha256"]
    except (OSError, ValueError, KeyError):
        known = {}
    return known or dict.fromkeys(METADATA, "")


def changed_metadata(project: Project) -> list[str]:
    """The project's own files that are not what dependencies/project/ was made from."""
    return differing(code_folder(project), metadata_files(project))


def differing(folder: Path, known: Mapping[str, str]) -> list[str]:
    """Those of some files in a folder that do not have the SHA-256 which is known of them.

    "" is known of a file that was not there.
    """

    def now(name: str) -> str:
        try:
            return hashlib.sha256(content(folder / name)).hexdigest()
        except (OSError, ProbeError):
            return ""

    return [name for name, sha256 in known.items() if now(name) != sha256]


def digest(file: Path) -> str:
    """The SHA-256 of a file's content, with the line ends of git."""
    return hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def lock_digests(project: Project, patterns: Iterable[str]) -> dict[str, str]:
    """The digests of the locks and of the files that patterns name in dependencies/."""
    folder = project.folder / "dependencies"
    files = (file for one in (*patterns, "*.lock") for file in sorted(folder.glob(one)))
    return {file.relative_to(folder).as_posix(): digest(file) for file in files if file.is_file()}


def record_lock(project: Project, patterns: Iterable[str]) -> None:
    """Record that the locks have been made from what these files say now. Raises ProbeError."""
    text = json.dumps({"sha256": lock_digests(project, patterns)}, indent=1) + "\n"
    write_file(project.folder / "dependencies" / RECORD, text)


def is_lock_current(project: Project, lock: str, patterns: Iterable[str]) -> bool:
    """Whether a lock is there and was made from what these files say now.

    Without a record, as older versions and uv itself leave it, the times tell.
    """
    folder = project.folder / "dependencies"
    made = folder / lock
    if not made.exists() or project.trusts_lock:
        return made.exists()
    patterns = list(patterns)
    if (folder / RECORD).exists():
        known = read_json(read_text(folder / RECORD)).get("sha256")
        return known == lock_digests(project, patterns)
    files = [file for one in patterns for file in folder.glob(one)]
    return all(one.stat().st_mtime <= made.stat().st_mtime for one in files)
