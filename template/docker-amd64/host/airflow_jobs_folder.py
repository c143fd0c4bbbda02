"""The folder in which tasks of Airflow ask for jobs, .airflow/jobs.

Any program in their containers can write there, so no link in it is followed.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Iterator

from .failures import failed
from .files import give_away, make_folder

if TYPE_CHECKING:
    from pathlib import Path

    from .project import Project

FOLDERS = (".airflow", "jobs")  # of docker-amd64; compose.yaml names them
LOCK = "submitter.lock"
LARGEST = 1 << 18  # bytes of a request or a state


class Shared:
    """The folder that containers write to, by its descriptor: no link in it leads anywhere."""

    def __init__(self, project: Project) -> None:
        """Make it where it is missing, and open it. Raises StopError."""
        self.project = project
        path = folder_of(project)
        try:
            make_folder(path)
            for one in (path.parent, path):
                if one.is_symlink():
                    raise NotADirectoryError(20, f"{one} is a link")
                one.chmod(0o700)
            give_away(path)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self.handle = os.open(str(path), flags)
        except OSError as error:
            reason = error.strerror or str(error)
            raise failed("airflow-jobs-folder", project, path=str(path), reason=reason) from error

    def names(self) -> list[str]:
        """What is in it."""
        return sorted(os.listdir(self.handle))  # noqa: PTH208  Path has no descriptor

    def read(self, name: str, most: int = LARGEST) -> bytes:
        """The content of a regular file that is not larger than `most` bytes. Raises OSError."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=self.handle), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > most:
                raise OSError(22, "it is too large, or not a regular file")
            return file.read(most)

    def age(self, name: str) -> float | None:
        """Seconds since a file was written or touched; None if there is none."""
        try:
            status = os.stat(name, dir_fd=self.handle, follow_symlinks=False)
        except OSError:
            return None
        return time.time() - status.st_mtime

    def write(self, name: str, data: bytes) -> None:
        """Write a file in one step; what has its name is replaced. Raises OSError."""
        temporary = f".{name}.{os.urandom(4).hex()}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=self.handle), "wb") as file:
                file.write(data)
                owner = os.fstat(self.handle)
                if os.geteuid() == 0:  # the containers run as the user whose folder this is
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.rename(temporary, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        except OSError:
            self.remove(temporary)
            raise

    def remove(self, name: str) -> None:
        """Remove a file or a link, if it is there."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self.handle)


def folder_of(project: Project) -> Path:
    """Where requests are."""
    return project.folder.joinpath(*FOLDERS)


def make_jobs_folder(project: Project) -> None:
    """Make the folder that compose.yaml names, before a container starts. Raises StopError."""
    os.close(Shared(project).handle)


@contextmanager
def alone(project: Project) -> Iterator[None]:
    """Keep a second submitter from the same project, and `reset` from both. Raises StopError."""
    import fcntl  # noqa: PLC0415  Windows has none

    file = folder_of(project).parent / LOCK
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(str(file), flags, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise failed("airflow-submitter-runs", project) from None
        yield
    finally:
        os.close(handle)
