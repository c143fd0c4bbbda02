"""What the doctor finds in the project's files: owners, modes, and the room on their disk."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Iterator

from .ask import read_text
from .checkout import listed
from .doctor_env import needs_env
from .files import user_id
from .fill import OURS, read_defaults
from .findings import ERROR, WARNING, Finding
from .look import SMALL
from .mends import close_to_others, hide
from .secret_files import is_open

if TYPE_CHECKING:
    from pathlib import Path

    from .findings import Check, Subject
    from .project import Project

ROOM = 2 << 30  # bytes that a disk should have: for a checkpoint, for an image's layer


def room_on_disk(subject: Subject) -> Iterator[Finding]:
    """Whether the disk of the project has room for more files."""
    root = subject.project.root
    disk = os.statvfs(str(root))
    free = disk.f_bavail * disk.f_frsize
    evidence = f"{free / (1 << 30):.1f} GiB left at {root}"
    full_table = disk.f_files and not disk.f_favail  # some file systems make inodes as they need
    if full_table:
        evidence = f"no inode left at {root}"
    if free < ROOM or full_table:
        level = ERROR if free < SMALL or full_table else WARNING
        yield Finding("disk-low", level, evidence, {"path": str(root)})


def files_of_docker(subject: Subject) -> Iterator[Finding]:
    """Whether docker-amd64 is the user's alone: nothing is root's, others cannot change it."""
    folder = subject.project.folder
    files = [folder, *folder.glob("*"), *folder.glob(".env*")]
    files += [one for name in OURS for one in (folder / name).glob("*")]
    status = [(one, one.lstat()) for one in files]
    owner = folder.stat().st_uid
    of_root = [one for one, found in status if owner != 0 == found.st_uid]
    if of_root:
        yield Finding("file-of-root", WARNING, named(of_root, folder), {"path": str(of_root[0])})
    opened = [
        one
        for one, found in status
        if found.st_mode & stat.S_IWOTH and not stat.S_ISLNK(found.st_mode)
    ]
    if opened:
        mend = partial(close_to_others, subject.project)
        yield Finding("folder-open", WARNING, named(opened, folder), mend=mend)
    if not os.access(str(folder), os.W_OK):
        yield Finding("project-read-only", WARNING, f"{folder} cannot be written")


def named(files: list[Path], folder: Path) -> str:
    """Some files of docker-amd64."""
    return listed([str(one.relative_to(folder.parent)) for one in files])


@needs_env
def modes_of_secrets(subject: Subject) -> Iterator[Finding]:
    """Files with passwords that others can read."""
    project = subject.project
    for path in sorted({project.folder / ".env", *secrets_of(project)}):
        if path.is_file() and is_open(path):
            status = path.stat()
            evidence = f"{path}: mode {stat.S_IMODE(status.st_mode):o}"
            mend = partial(hide, path) if status.st_uid == user_id() else None
            yield Finding("secret-open", WARNING, evidence, {"path": str(path)}, mend)


def secrets_of(project: Project) -> Iterator[Path]:
    """The files that .env names and that may hold passwords."""
    settings = project.settings
    # A key of the user's own may name any other file.
    ours = read_defaults(read_text(project.folder / ".env.example"))
    keys = (key for key in ours if key.endswith("_FILE") and key != "COMPOSE_FILE")
    yield from filter(None, map(settings.path, keys))
    folder = settings.path("SECRETS_DIR")
    if folder and folder.is_dir():
        yield from folder.iterdir()


CHECKS: tuple[Check, ...] = (room_on_disk, files_of_docker, modes_of_secrets)
