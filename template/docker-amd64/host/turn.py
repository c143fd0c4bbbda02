"""Verbs that read, change and write the project's files take turns, also those of other processes.

The kernel ends a turn with its process, however that dies. On a network file system the turn counts
for all machines where that file system has flock, as NFS does since Linux 2.6.12.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .files import refusal
from .plain import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = ".env.turn"  # beside .env; git ignores both
OURS = "TEMPLATE_SH_TURN"  # tells programs that a verb starts that they are part of its turn
READABLE = 0o644  # a mode
PATIENCE = 1.0  # seconds of waiting before it is said
# What file systems without locks answer: some of NFS, FUSE and clusters.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
_said: set[str] = set()  # what this process has said already


@contextmanager
def turn(folder: Path, verb: str) -> Iterator[None]:
    """Wait until no other verb changes the files of a project, and keep others from it.

    A verb that is done by another one is part of its turn. Where no file can be written, or this is
    Windows, there are no turns: the verb itself says what it cannot write.

    Args:
        folder: docker-amd64.
        verb: the name that others are told.

    Raises:
        ProbeError: the file is a link, a folder or something else that no turn has made.
        OSError: the lock of another verb cannot be waited for.
    """
    here, file = str(folder), folder / FILE
    descriptor = None if os.environ.get(OURS) == here else take(file)
    if descriptor is None:
        yield
        return
    try:
        with suppress(OSError):  # a full disk; it only tells others who has the turn
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{verb}, process {os.getpid()}".encode(), 0)
        os.environ[OURS] = here
        yield
    finally:
        os.environ.pop(OURS, None)
        with suppress(OSError):
            file.unlink()
        os.close(descriptor)


def in_turn() -> bool:
    """Whether this process, or the one that started it, has a turn."""
    return OURS in os.environ


def take(file: Path) -> int | None:
    """The file with its lock, which is the turn; None where it cannot be had.

    Who had it before has removed the file: a lock on that one is worth nothing. NFS calls a file
    stale that another machine has removed.

    Raises:
        ProbeError: no turn has made what is there.
        OSError: the file cannot be looked at, or the lock of another verb not be waited for.
    """
    while True:
        descriptor = open_file(file)
        if descriptor is None:
            return None
        taken = False
        try:
            wait(descriptor)
            taken = os.path.samestat(os.fstat(descriptor), file.stat())
            if taken:
                return descriptor
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise OSError(error.errno, error.strerror, str(file)) from error
        finally:
            if not taken:
                os.close(descriptor)


def open_file(file: Path) -> int | None:
    """Open or make it, for the folder's owner; None where that cannot be done.

    Raises:
        ProbeError: no turn has made what is there. To go on without a turn would lose changes.
    """
    try:
        import fcntl  # noqa: F401, PLC0415  Windows has none

        descriptor = open_lock(file)
    except (ImportError, OSError):
        if file.is_symlink():
            raise refusal(file, "it is a link, not a regular file") from None
        if file.is_dir():
            raise refusal(file, "it is a folder, not a regular file") from None
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise refusal(file, "it is a pipe, a device or a second name, not a regular file")
    if status.st_uid == os.geteuid():  # others of a shared folder wait, whatever this umask is
        with suppress(OSError):
            os.fchmod(descriptor, READABLE)
    if os.geteuid() == 0:  # root at work for a user leaves nothing that this one cannot open
        owner = file.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def open_lock(file: Path) -> int:
    """Open or make a file for a lock. Raises OSError."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(str(file), os.O_RDWR | os.O_CREAT | flags, READABLE)
    except PermissionError:  # of another user of this folder; to lock it, to read it is enough
        return os.open(str(file), os.O_RDONLY | flags)


def say_once(error: OSError) -> None:
    """Say that the file system has no locks, so that two commands at once may lose a change."""
    sentence = (
        f"The file system of this project has no locks ({error.strerror}), so commands do not wait "
        "for each other. Run one at a time."
    )
    if sentence not in _said:
        _said.add(sentence)
        print(sentence, file=sys.stderr, flush=True)


def wait(descriptor: int) -> None:
    """Take the lock; after a second, say who has it. Without locks, say that.

    Raises:
        OSError: the lock cannot be waited for.
    """
    import fcntl  # noqa: PLC0415  Windows has none

    patient_until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < patient_until:
                time.sleep(0.05)
                continue
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            say_once(error)
            return
        else:
            return
        who = os.pread(descriptor, 100, 0).decode("utf-8", "replace")
        print(
            one_line(f"Waiting for another command of this project: {who}."),
            file=sys.stderr,
            flush=True,
        )
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
