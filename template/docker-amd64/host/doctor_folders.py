"""What the doctor finds in folders and files: owners, modes, file systems, and what is missing."""

from __future__ import annotations

import os
import re
import stat
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Iterator, NamedTuple

from .ask import read_text
from .doctor_env import finding_of, needs_env
from .files import user_id
from .findings import ERROR, WARNING, Finding
from .look import SMALL, Case, closed_folders
from .mends import close_to_others, hide, make_missing
from .project import DATA_KEY, StopError, code_folder, me
from .secret_files import is_open
from .work import FOLDERS, mounted_folders, refuse_link

if TYPE_CHECKING:
    from .findings import Check, Subject
    from .project import Project

MOUNTS = Path("/proc/self/mounts")
# Where containers have what these keys name.
KEYS = {"/data": "LOCAL_DATA_DIR", "/outputs": "LOCAL_OUTPUTS_DIR"}
NETWORK = re.compile("nfs4?|lustre|beegfs|gpfs|ceph")  # whose servers may map root to nobody
SLOW = re.compile(r"cifs|smb3|drvfs|vboxsf|fuse\.(sshfs|vmhgfs-fuse|grpcfuse)|prl_fs")
SLOW_IN_WSL = re.compile("9p|v9fs")  # a disk of Windows such as /mnt/c
SYNCED = re.compile("OneDrive.*|Dropbox.*|Google ?Drive|iCloud ?Drive|Mobile Documents|Nextcloud")
ROOM = 2 << 30  # bytes that a disk should have: an image's layer, a checkpoint
ACL = "system.posix_acl_access"
MOST = 3  # names in an evidence


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
    """What containers mount of this machine; nothing where `env_values` says why it is unknown."""
    try:
        found = mounted_folders(project)
    except StopError:
        return []
    named = {KEYS.get(key, key): path for key, path in found.items()}
    data_only = project.settings.get(DATA_KEY) == "true"
    read_only = {"LOCAL_DATA_DIR": data_only, "LOCAL_CHANNELS_DIR": True}
    return [
        Mount(key, path, read_only.get(key, False) if key in FOLDERS else None)
        for key, path in named.items()
        if key in FOLDERS or key.startswith("/")  # `up` makes those that are in another one
    ]


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
    if status.st_uid == 0:
        return Finding("folder-of-root", ERROR, seen, known)
    user = subject.facts.host_user
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
    files += [
        one for name in ("dependencies", "host", "image") for one in (folder / name).glob("*")
    ]
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
    names = [str(one.relative_to(folder.parent)) for one in files[:MOST]]
    return ", ".join(names) + (f" and {len(files) - MOST} more" if len(files) > MOST else "")


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
    keys = (key for key in settings.file if key.endswith("_FILE") and key != "COMPOSE_FILE")
    yield from filter(None, map(settings.path, keys))
    folder = settings.path("SECRETS_DIR")
    if folder and folder.is_dir():
        yield from folder.iterdir()


CHECKS: tuple[Check, ...] = (
    folders,
    owners_of_folders,
    file_systems,
    room_on_disk,
    files_of_docker,
    modes_of_secrets,
)
