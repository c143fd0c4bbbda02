"""Verbs that read, change and write the project's files take turns, also those of other processes.

The kernel ends a turn with its process, however that dies. On a network file system the turn counts
for all machines where that file system has flock, as NFS does since Linux 2.6.12.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = ".env.turn"  # beside .env; git ignores both
OURS = "TEMPLATE_SH_TURN"  # tells programs that a verb starts that they are part of its turn
PATIENCE = 1.0  # seconds of waiting before it is said


@contextmanager
def turn(folder: Path, verb: str) -> Iterator[None]:
    """Wait until no other verb changes the files of a project, and keep others from it.

    A verb that is done by another one is part of its turn. Where no file can be written, or this is
    Windows, there are no turns: the verb itself says what it cannot write.

    Args:
        folder: docker-amd64.
        verb: the name that others are told.
    """
    here = str(folder)
    descriptor = None if os.environ.get(OURS) == here else open_file(folder)
    if descriptor is None:
        yield
        return
    try:
        wait(descriptor)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{verb}, process {os.getpid()}".encode(), 0)
        os.environ[OURS] = here
        yield
    finally:
        os.environ.pop(OURS, None)
        os.close(descriptor)


def open_file(folder: Path) -> int | None:
    """The file whose lock is the turn, of the folder's owner; None where it cannot be had."""
    try:
        import fcntl  # noqa: F401, PLC0415  Windows has none

        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(str(folder / FILE), flags, 0o644)
    except (ImportError, OSError):
        return None
    if os.geteuid() == 0:  # root at work for a user leaves nothing that this one cannot open
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def wait(descriptor: int) -> None:
    """Take the lock; after a second, say who has it."""
    import fcntl  # noqa: PLC0415  Windows has none

    patient_until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < patient_until:
                time.sleep(0.05)
                continue
        except OSError:  # a file system without locks
            return
        else:
            return
        who = os.pread(descriptor, 100, 0).decode("utf-8", "replace")
        print(f"Waiting for another command of this project: {who}.", file=sys.stderr, flush=True)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
