"""Whether the ids in .env let the containers' user write, known before a container starts.

Which user of this machine an id in a container is depends on the engine. The engine is not asked,
which would take a quarter of a second: its address tells its kind.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .engine_words import ENGINE_KEY, PODMAN
from .failures import engine_address, engine_kind, failed
from .project import code_folder, me

if TYPE_CHECKING:
    from .project import Project, StopError

KEYS = ("USRID", "GRPID")
WRITE = 0o3  # of a folder: make files, and enter it
UNIX = "unix://"


class Ids(NamedTuple):
    """A user and a group."""

    uid: int
    gid: int

    def __str__(self) -> str:
        """As `docker run --user` has them."""
        return f"{self.uid}:{self.gid}"


NOBODY = Ids(-1, -1)  # subordinate ids, to which nothing outside of containers belongs
IN_ROOTLESS = Ids(0, 0)  # the user who runs a rootless engine


def ids_on_this_machine(ids: Ids, kind: str, address: str) -> Ids | None:
    """Who a container's user is outside; None where the engine does not decide by ids.

    Docker Desktop and engines on other machines do not, and Podman is set up to fit.
    """
    try:
        socket = Path(address[len(UNIX) :]).stat() if address.startswith(UNIX) else None
    except OSError:
        socket = None
    if kind == "docker-rootless":
        engine = Ids(socket.st_uid, socket.st_gid) if socket else Ids(os.getuid(), os.getgid())
        return Ids(
            engine.uid if ids.uid == 0 else NOBODY.uid, engine.gid if ids.gid == 0 else NOBODY.gid
        )
    return ids if kind == "docker" and socket else None


def may_write(ids: Ids, folder: Path) -> bool:
    """Whether a user may make files in a folder, as far as its mode says so.

    A folder with an access control list is taken for one where they may.
    """
    if ids.uid == 0:
        return True
    status = folder.stat()
    shift = 6 if status.st_uid == ids.uid else 3 if status.st_gid == ids.gid else 0
    if (status.st_mode >> shift) & WRITE == WRITE:
        return True
    return hasattr(os, "listxattr") and "system.posix_acl_access" in os.listxattr(str(folder))


def fitting_ids(kind: str, folder: Path) -> Ids:
    """The ids with which containers write to a folder as its user does."""
    if kind == "docker-rootless":
        return IN_ROOTLESS
    status = folder.stat()
    if os.getuid() == 0:  # root works for the owner of the folder
        return Ids(status.st_uid, status.st_gid)
    own = Ids(os.getuid(), os.getgid())
    return own if may_write(own, folder) else Ids(own.uid, status.st_gid)


def check_ids(project: Project) -> None:
    """Compare the ids in .env with the folders that containers write to.

    Raises:
        StopError: the user of the containers cannot write where the user at work can.
    """
    values = [project.settings.get(key) for key in KEYS]
    if project.settings.get(ENGINE_KEY) == PODMAN or not all(map(str.isdigit, values)):
        return
    kind, ids = engine_kind(""), Ids(*map(int, values))
    outside = ids_on_this_machine(ids, kind, engine_address())
    if outside is None:
        return
    outputs = project.settings.path("LOCAL_OUTPUTS_DIR")
    for folder in filter(None, (code_folder(project), outputs, project.folder / "dependencies")):
        if os.access(str(folder), os.W_OK | os.X_OK) and not may_write(outside, folder):
            raise wrong_ids(project, folder, ids, fitting_ids(kind, folder))


def wrong_ids(project: Project, folder: Path, ids: Ids, right: Ids) -> StopError:
    """What to say of ids with which containers could not write to a folder."""
    of_shell = [key for key in KEYS if key in project.settings.environ]
    change = f"{me()} env --refresh USRID GRPID USR GRP"
    if of_shell:
        change = f"unset {' '.join(of_shell)}"
    elif right.gid not in (0, os.getgid()) and os.getuid():  # a group that shares the folder
        change = f"{me()} env --set USRID={right.uid} GRPID={right.gid}"
    return failed(
        "ids-wrong",
        project,
        path=str(folder),
        ids=str(ids),
        right=str(right),
        remedy=f"{change} && {me()} build",
    )
