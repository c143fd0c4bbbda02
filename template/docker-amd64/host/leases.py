"""Leases: who of all users of this machine has which GPUs, and who waits for some.

A lease is a file in a folder that everybody can write to, such as /run/lock. It counts while some
process has the lock (flock) on it that its maker took, so the kernel ends it with the last such
process, however that dies. A ticket of the queue is the same.

Nobody trusts a file of somebody else: each user makes, changes and removes only their own (the
folder is sticky), the owner is the file's, and the order in the queue is that of times which only
the kernel sets. A file that nobody has locked, or that is not of this form, counts for nothing.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterable, NamedTuple

from .ask import read_json
from .engine_words import ask_engine, engine_command
from .failures import failed
from .gpus import split_ids
from .probe import person

if TYPE_CHECKING:
    from typing import Collection

LEASE, TICKET = "gpu-lease-", "gpu-ticket-"  # how the names of files begin
UNSEEN = "gpu-new-"  # while a file is being made
# All users have to look at the same one: the first to which everybody can write. The first of these
# is emptied at each start of the machine; Fedora and RHEL let only root write to it.
PLACES = ("/run/lock", "/tmp")  # noqa: S108  that others write there, too, is what this is about
PLACE_KEY = "GPU_LEASE_DIR"  # of the environment, where an administrator wants another one
LABEL = "docker-amd64.gpu-lease"  # of a container: the UUIDs that it has
SIZE_LIMIT = 65536  # bytes of a file of somebody else that are read


class Entry(NamedTuple):
    """A lease or a ticket that counts.

    Attributes:
        order: the earlier one is the smaller one.
        gpus: the UUIDs of GPUs and MIG instances.
        uid: whose it is.
        since: seconds since the epoch.
        what: it is for, in the words of its owner.
    """

    order: tuple[int, str]
    gpus: tuple[str, ...]
    uid: int
    since: float
    what: str


class Other(NamedTuple):
    """Somebody who has GPUs: their UUIDs, and who it is in words."""

    gpus: tuple[str, ...]
    who: str


class Held:
    """A lease or a ticket of this process.

    Attributes:
        descriptor: of the file with the lock. Whoever inherits it keeps the lease.
        order: as in Entry.
        gpus: as in Entry.
    """

    def __init__(self, file: Path, descriptor: int, gpus: Collection[str]):
        """Take the file, opened and locked."""
        self._file, self.descriptor, self.gpus = file, descriptor, tuple(gpus)
        self.order = (os.fstat(descriptor).st_ctime_ns, file.name)

    def drop(self) -> None:
        """End it."""
        with suppress(OSError):
            self._file.unlink()
        with suppress(OSError):
            os.close(self.descriptor)

    def end_with(self, container: str) -> None:
        """Let it end with a container in the background, which this process may do before."""
        nothing = subprocess.DEVNULL
        subprocess.Popen(
            engine_command("wait", container),
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            pass_fds=(self.descriptor,),
            start_new_session=True,  # the end of this terminal is not that of the container
        )

    def hand_on(self) -> None:
        """Let the program that this process becomes have it."""
        os.set_inheritable(self.descriptor, True)


def place() -> Path:
    """The folder of leases and tickets.

    Raises:
        StopError: there is none that is safe.
    """
    named = os.environ.get(PLACE_KEY)
    for folder in (named,) if named else PLACES:
        if is_safe(folder, for_all=not named):
            return Path(folder)
    raise failed("gpu-leases-nowhere", folders=named or " and ".join(PLACES))


def is_safe(folder: str, *, for_all: bool) -> bool:
    """Whether a user can make files in a folder that no other user can remove or replace.

    `for_all` asks whether every user can. An administrator may have named one for a few.
    """
    try:
        status = Path(folder).stat()
    except OSError:
        return False
    closed = not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ours = status.st_uid in (0, os.getuid())  # the owner of a sticky folder can remove all of it
    sticky = bool(status.st_mode & stat.S_ISVTX)
    fits = sticky and status.st_mode & stat.S_IWOTH if for_all else sticky or closed
    return bool(ours and fits and os.access(folder, os.W_OK | os.X_OK))


def is_locked(descriptor: int) -> bool:
    """Whether another process has the lock on a file. Asking disturbs nobody who asks too."""
    import fcntl  # noqa: PLC0415  Windows has none

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def read_entry(file: Path) -> Entry | None:
    """What a file says, if it counts; None for one that is dead, odd or not to be read."""
    try:
        # Not through a link, and a named pipe must not let this process wait.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(str(file), flags)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        if not is_locked(descriptor):
            if status.st_uid == os.getuid():
                with suppress(OSError):
                    file.unlink()
            return None
        said = read_json(os.read(descriptor, SIZE_LIMIT).decode("utf-8", "replace"))
    except (OSError, RecursionError):  # such as a thousand brackets
        return None
    finally:
        os.close(descriptor)
    gpus = said.get("gpus")
    if not isinstance(gpus, list) or not all(isinstance(one, str) for one in gpus):
        return None
    order = (status.st_ctime_ns, file.name)
    what = " ".join(str(said.get("what", "")).split())[:200]  # one line, whatever is in it
    return Entry(order, tuple(gpus), status.st_uid, status.st_ctime, what)


def entries(kind: str) -> list[Entry]:
    """All leases or all tickets that count, the oldest first; the user's dead ones are removed."""
    files = (file for file in place().iterdir() if file.name.startswith(kind))
    found = map(read_entry, files)
    return sorted(one for one in found if one)


def put(kind: str, gpus: Collection[str], what: str) -> Held:
    """Make a lease or a ticket. It is locked before anybody can see it.

    Raises:
        OSError: the file cannot be written.
    """
    import fcntl  # noqa: PLC0415

    folder = place()
    descriptor, name = tempfile.mkstemp(prefix=UNSEEN, dir=str(folder))
    try:
        os.write(descriptor, json.dumps({"gpus": [*gpus], "what": what}).encode())
        os.fchmod(descriptor, 0o644)  # whoever can read it can see that it is locked
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        file = folder / (kind + Path(name).name[len(UNSEEN) :])
        Path(name).rename(file)
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            Path(name).unlink()
        raise
    return Held(file, descriptor, gpus)


def overlapping(found: Iterable[Entry], gpus: Collection[str]) -> list[Entry]:
    """Those entries that are about some of these GPUs."""
    return [one for one in found if set(one.gpus) & set(gpus)]


def claim(gpus: Collection[str], what: str, *, ignore: Callable[[Entry], bool]) -> Held | None:
    """Lease these GPUs; None if somebody else has one of them, or is about to.

    The lease is visible before others are looked at. So of two that claim one GPU at the same
    moment, at least one sees the other, and no GPU is ever leased twice.
    """
    lease = put(LEASE, gpus, what)
    others = (one for one in entries(LEASE) if one.order != lease.order and not ignore(one))
    if overlapping(others, gpus):
        lease.drop()
        return None
    return lease


# ------------------------------------------------------------------------------- who has them now


def leased_by_containers(besides: str = "") -> list[Other]:
    """The GPUs of running containers of this engine that have the label, but for one container."""
    form = f'{{{{.ID}}}}\t{{{{.Label "{LABEL}"}}}}\t{{{{.Names}}}}'
    words = ("ps", "--no-trunc", "--filter", f"label={LABEL}", "--format", form)
    rows = (line.split("\t") for line in ask_engine(*words).stdout.splitlines())
    return [Other(tuple(split_ids(row[1])), row[2]) for row in rows if row[0] != besides]


def leases(besides: str = "") -> list[Other]:
    """All leases that count; those of files first, because they say whose they are."""
    found = [Other(one.gpus, sentence(one)) for one in entries(LEASE)]
    known = {gpu for one in found for gpu in one.gpus}
    return [*found, *(one for one in leased_by_containers(besides) if not set(one.gpus) <= known)]


def sentence(entry: Entry) -> str:
    """Who has GPUs or waits for them, since when, and for what."""
    name = person(entry.uid, 0, str(entry.uid)).name
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.since))
    return f"{name} since {since} ({entry.what})"


def waiters() -> list[str]:
    """Who waits for GPUs, the first one first."""
    return [sentence(one) for one in entries(TICKET)]
