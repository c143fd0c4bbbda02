"""What the doctor finds in the folders that containers mount: missing ones, owners, disks."""

from __future__ import annotations

import os
import re
import stat
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Iterator, NamedTuple

from .ask import command, read_json, read_text
from .doctor_env import finding_of, needs_env
from .engine_words import compose
from .findings import ERROR, WARNING, Finding
from .look import Case, closed_folders
from .mends import make_missing
from .project import DATA_KEY, StopError, code_folder, me
from .work import FOLDERS, KNOWN_FILES, refuse_link

if TYPE_CHECKING:
    from .findings import Check, Subject
    from .project import Project

MOUNTS = Path("/proc/self/mounts")
LIMIT = 2.0  # seconds for a question to Compose
NETWORK = re.compile("nfs4?|lustre|beegfs|gpfs|ceph")  # whose servers may map root to nobody
SLOW = re.compile(r"cifs|smb3|drvfs|vboxsf|fuse\.(sshfs|vmhgfs-fuse|grpcfuse)|prl_fs")
SLOW_IN_WSL = re.compile("9p|v9fs")  # a disk of Windows such as /mnt/c
SYNCED = re.compile("OneDrive.*|Dropbox.*|Google ?Drive|iCloud ?Drive|Mobile Documents|Nextcloud")
ACL = "system.posix_acl_access"


class Mount(NamedTuple):
    """A folder of this machine that containers mount.

    Attributes:
        key: the one of .env that names it, else where containers have it.
        path: of this machine.
        read_only: whether containers may not write there; None if that is not known.
    """

    key: str
    path: Path
    read_only: bool | None


def mounted(project: Project) -> list[Mount]:
    """What containers mount of this machine, the user's own mounts too if Compose tells them."""
    settings = project.settings
    read_only = {"LOCAL_DATA_DIR": settings.get(DATA_KEY) == "true", "LOCAL_CHANNELS_DIR": True}
    paths = ((key, settings.path(key)) for key in FOLDERS)
    found = [Mount(key, path, read_only.get(key, False)) for key, path in paths if path]
    known = {one.path for one in found}
    for service in services_of_user(project).values():
        for one in service.get("volumes") or ():
            # `config` prints a dollar sign as two, so that its output can be read again.
            path = Path(str(one.get("source")).replace("$$", "$"))
            if one.get("type") == "bind" and path not in known:
                known.add(path)
                found.append(Mount(str(one.get("target")), path, None))
    return found


def services_of_user(project: Project) -> dict[str, Any]:
    """The services as Compose reads them where .env names a file of the user's own; else none."""
    files = project.settings.files()
    if set(files) <= set(KNOWN_FILES):
        return {}
    words = compose("--project-directory", str(project.folder), "--profile", "*")
    for name in files:
        words += ["--file", str(project.folder / name)]
    said = command([*words, "config", "--format", "json"], LIMIT)
    services = read_json(said.out).get("services")
    return services if isinstance(services, dict) else {}


# --------------------------------------------------------------------------------------- ids


def ids_outside(subject: Subject) -> tuple[int, int] | None:
    """The ids that the user of the containers has on this machine; None if that is not known."""
    engine, settings = subject.facts.engine, subject.project.settings
    inside = settings.get("USRID"), settings.get("GRPID")
    if engine.kind == "docker-desktop" or not engine.local or not all(map(str.isdigit, inside)):
        return None
    user = subject.facts.user
    if engine.rootless:
        return (user.uid, user.gid) if user and inside[0] == "0" else None
    return int(inside[0]), int(inside[1])


def may(path: Path, ids: tuple[int, int], wanted: int) -> bool:
    """Whether ids may use a folder by its mode, as `wanted` has the bits of one digit of it.

    True where an access control list decides, which is not read here.
    """
    status = path.stat()
    try:
        has_list = ACL in os.listxattr(str(path))
    except (AttributeError, OSError):
        has_list = False
    if has_list or ids[0] == 0:
        return True
    shift = 6 if status.st_uid == ids[0] else 3 if status.st_gid == ids[1] else 0
    return stat.S_IMODE(status.st_mode) >> shift & wanted == wanted


# ------------------------------------------------------------------------------------- checks


@needs_env
def folders(subject: Subject) -> Iterator[Finding]:
    """Whether the folders that containers mount are there, and are no links of a container."""
    project = subject.project
    for key, path, _ in mounted(project):
        try:
            refuse_link(project, code_folder(project), path, key)
        except StopError as stop:
            yield finding_of(stop, ERROR, f"{path} is a link")
            continue
        if path.exists():
            continue
        known = {"path": str(path)}
        if key == "LOCAL_CODE_DIR":
            yield Finding("code-folder-missing", ERROR, f"{path} does not exist", known)
            continue
        mend = partial(make_missing, project, path)
        yield Finding("mount-missing", WARNING, f"{path} does not exist", known, mend)


@needs_env
def owners_of_folders(subject: Subject) -> Iterator[Finding]:
    """Whether the user of the containers may read and write the folders of .env."""
    ids = ids_outside(subject)
    if ids is None:
        return
    for key, path, read_only in mounted(subject.project):
        if key in FOLDERS and path.is_dir() and read_only is not None:
            bits, act = (0o5, "read") if read_only else (0o7, "write to")
            if not may(path, ids, bits):
                yield refused(subject, path, ids, act)


def refused(subject: Subject, path: Path, ids: tuple[int, int], act: str) -> Finding:
    """The finding of a folder that the user of the containers may not use."""
    status = path.stat()
    mode = f"{stat.S_IMODE(status.st_mode):o}"
    known = {"path": str(path), "act": act, "ids": f"{ids[0]}:{ids[1]}"}
    seen = f"{path}: owner {status.st_uid}:{status.st_gid}, mode {mode}; containers use {ids[0]}"
    user = subject.facts.host_user
    if status.st_uid == 0:
        if user and user.uid != ids[0]:  # such as root: what is theirs stays closed
            known["remedy"] = f"sudo chown {ids[0]} {quote(str(path))}"
        return Finding("folder-of-root", ERROR, seen, known)
    if status.st_uid == ids[0]:
        known["remedy"] = f"chmod u+rwx {quote(str(path))}"
    elif user and status.st_uid == user.uid:
        known["remedy"] = f"{me()} env --refresh USRID GRPID USR GRP && {me()} build"
    return Finding("folder-not-usable", ERROR, seen, known)


@needs_env
def file_systems(subject: Subject) -> Iterator[Finding]:
    """Folders where root may be nobody, that are slow, or that another program synchronises."""
    engine = subject.facts.engine
    folders = {one.path for one in mounted(subject.project) if one.key in FOLDERS}
    for path in sorted({subject.project.root, *folders}):
        kind = file_system(path)
        known = {"path": str(path), "kind": kind}
        if NETWORK.fullmatch(kind) and engine.local and not engine.rootless:
            closed = closed_folders(Case(subject.project, "", known))
            if closed:
                cause = (
                    f"{path} is on a network file system and closed to others. Where its server "
                    "maps root to nobody (root_squash), the engine may not look into it."
                )
                evidence = f"{kind} file system, no x for others"
                told = {**known, **closed, "cause": cause}
                yield Finding("folder-refused-to-engine", WARNING, evidence, told)
        if SLOW.fullmatch(kind) or (subject.facts.wsl and SLOW_IN_WSL.fullmatch(kind)):
            yield Finding("folder-slow", WARNING, f"{path}: {kind} file system", known)
        service = next(filter(None, map(SYNCED.fullmatch, path.parts)), None)
        if service:
            known["service"] = service[0]
            yield Finding("folder-synced", WARNING, str(path), known)


def file_system(path: Path) -> str:
    """The kind of file system that a folder is on, as the kernel names it; "" if not known."""
    real = os.path.realpath(str(path))
    best, kind = "", ""
    for line in read_text(MOUNTS).splitlines():
        place, one = [*line.split(" "), "", "", ""][1:3]
        place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place)
        if (real == place or real.startswith(f"{place.rstrip('/')}/")) and len(place) >= len(best):
            best, kind = place, one
    return kind


CHECKS: tuple[Check, ...] = (folders, owners_of_folders, file_systems)
