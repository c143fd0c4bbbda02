"""Files of the project, read and written in one way: each is what it seems to be.

What is written is replaced in one step, has its mode whatever the umask, and belongs to the user at
work. A link is followed to a regular file of the same user; a named pipe, a folder, a device or the
file of another user is refused, and nothing is changed. Modes and owners are changed by descriptor:
a program in a container may put a link in place of what was made a moment ago.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Iterator

if TYPE_CHECKING:
    from pathlib import Path

    from .env_file import ProbeError

PUBLIC, PRIVATE = 0o644, 0o600  # modes; git keeps no other one of files that are no programs
CONTAINERS_WRITE = "dependencies"  # the folder of docker-amd64 that `freeze` in dev changes
# Windows has neither of the first two, and only it has the third.
NO_WAIT = getattr(os, "O_NONBLOCK", 0)
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | NO_WAIT
AS_IT_IS = getattr(os, "O_BINARY", 0)
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (lambda _: True, "a device"),
)


def refusal(path: Path, why: str) -> ProbeError:
    """The failure of a file that is not what it should be; the table of failures knows the text."""
    from .env_file import ProbeError  # noqa: PLC0415  it needs this module

    return ProbeError(f"Cannot use {path}: {why}.")


def not_written(path: Path, error: OSError) -> ProbeError:
    """The failure of a file that cannot be written."""
    from .env_file import ProbeError  # noqa: PLC0415  it needs this module

    return ProbeError(f"Cannot write {path}: {error.strerror or error}.")


def user_id() -> int:
    """The id of the user at work; Windows has none, where no file is another user's."""
    return os.geteuid() if hasattr(os, "geteuid") else -1


def status_of(path: Path) -> os.stat_result | None:
    """The status of a regular file, behind links; None where nothing is.

    Raises:
        ProbeError: something else is there.
        OSError: it cannot be looked at.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise refusal(path, "it is a link to nothing, not a regular file") from None
        return None
    refuse_other_kinds(path, status.st_mode)
    return status


def refuse_other_kinds(path: Path, mode: int) -> None:
    """Raises ProbeError where a file with this mode is no regular one."""
    if not stat.S_ISREG(mode):
        kind = next(name for is_kind, name in KINDS if is_kind(mode))
        link = "a link to " if path.is_symlink() else ""
        raise refusal(path, f"it is {link}{kind}, not a regular file")


def content(path: Path) -> bytes:
    """What is in a regular file, also if something else has just taken its place.

    Raises:
        ProbeError: it is no regular file any more.
        OSError: it cannot be read.
    """
    # A named pipe would keep this waiting for somebody who writes.
    handle = os.open(str(path), os.O_RDONLY | NO_WAIT | AS_IT_IS)
    with os.fdopen(handle, "rb") as file:
        refuse_other_kinds(path, os.fstat(handle).st_mode)
        return file.read()


def read_file(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        ProbeError: something else is there, or root has left it in the user's folder.
        OSError: there is none, or it cannot be read.
    """
    status = status_of(path)
    try:
        return content(path)
    except PermissionError:
        if status and status.st_uid == 0 and path.parent.stat().st_uid == user_id():
            raise refusal(path, "it belongs to root, in your folder") from None
        raise


def owner_of_new(path: Path, status: os.stat_result | None) -> tuple[int, int] | None:
    """Whom root gives a file: the user of the file, else of the folder, else of the one above.

    None where the user at work is not root, or all of it is root's.
    """
    if user_id() != 0:
        return None
    above = [] if status else [path.parent.parent]  # root may have made the folder just now
    known = [status] if status else []
    known += [folder.stat() for folder in (path.parent, *above)]
    return next(((one.st_uid, one.st_gid) for one in known if one.st_uid != 0), None)


def make_folder(path: Path, owner: tuple[int, int] | None = None) -> list[Path]:
    """Make a folder and its missing parents, and return them.

    Root gives them to `owner`, else to the user whose folder they are in. Raises OSError.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()][::-1]
    if missing:
        owner = owner or owner_of_new(missing[0], None)
    for one in missing:
        one.mkdir()
        if owner:
            give(one, owner)
    return missing


def folder_below(handle: int, path: str) -> int:
    """Open a folder below an open one, made where it is missing; it is closed by who asks.

    A link on the way leads nowhere, also one that appears meanwhile.

    Raises:
        NotADirectoryError: a part of the path is a link, or something else than a folder.
        OSError: it cannot be made or opened.
    """
    found = os.dup(handle)
    for part in filter(None, path.split("/")):
        above = found
        try:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=above)
            found = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
        finally:
            os.close(above)
    return found


def give(folder: Path, owner: tuple[int, int]) -> None:
    """Give a folder that root has made to a user.

    Raises:
        OSError: it is a link now, or not a folder.
    """
    handle = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(handle, *owner)
    finally:
        os.close(handle)


@contextmanager
def new_file(path: Path, mode: int = PUBLIC) -> Iterator[BinaryIO]:
    """A file to write, which has its name when it is whole, and never replaces another.

    Raises:
        FileExistsError: something of that name is there.
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    handle = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            owner = owner_of_new(path, None)
            if owner:
                os.fchown(handle, *owner)
        try:
            os.link(str(temporary), str(path))
        except FileExistsError:
            raise
        except OSError:  # not every file system has a second name for a file
            if os.path.lexists(str(path)):
                raise FileExistsError(str(path)) from None
            temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def give_away(path: Path) -> None:
    """Give a file or folder that root has made, and all in it, to the user whose folder has it."""
    owner = owner_of_new(path, None)
    if not owner:
        return
    os.chown(str(path), *owner, follow_symlinks=False)
    for _, folders, names, handle in os.fwalk(str(path)):
        for name in (*folders, *names):
            os.chown(name, *owner, dir_fd=handle, follow_symlinks=False)


def write_file(
    path: Path,
    content: bytes | str,
    mode: int | None = PUBLIC,
    owner: tuple[int, int] | None = None,
) -> bool:
    """Write a file in one step; False if it had this content already.

    Args:
        path: the file, or a link to it, which stays one.
        content: a text is written as UTF-8.
        mode: its mode; None keeps that of the file that is there.
        owner: whom root gives it, if not whom `owner_of_new` finds.

    Raises:
        ProbeError: it cannot be written, or what is there is no regular file of this user.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    try:
        status = status_of(path)
        if path.is_symlink() and CONTAINERS_WRITE in path.parts[-3:-1]:
            raise refusal(path, "it is a link, and a program in a container can make links there")
        real = path.resolve()  # what it is now, should it be another link later
        owner = owner or owner_of_new(path, status)
        if mode is None:
            mode = stat.S_IMODE(status.st_mode) if status else PUBLIC
        if status and is_done(real, data, status, owner):
            if stat.S_IMODE(status.st_mode) != mode and user_id() in (0, status.st_uid):
                change_mode(real, mode)
            return False
        replace_file(real, data, mode, owner, status)
    except OSError as error:
        raise not_written(path, error) from error
    return True


def set_mode(handle: int, path: Path, mode: int) -> None:
    """Change the mode of an open file; Windows does it by path, before Python 3.13."""
    if hasattr(os, "fchmod"):
        os.fchmod(handle, mode)
    else:
        path.chmod(mode)


def change_mode(path: Path, mode: int) -> None:
    """Change the mode of a file or folder, but of nothing behind a link. Raises OSError."""
    handle = os.open(str(path), os.O_RDONLY | NO_LINK)
    try:
        set_mode(handle, path, mode)
    finally:
        os.close(handle)


def is_done(path: Path, data: bytes, status: os.stat_result, owner: tuple[int, int] | None) -> bool:
    """Whether a file has this content and this owner."""
    if owner and status.st_uid != owner[0]:
        return False
    return status.st_size == len(data) and content(path) == data


def refuse_another_users(
    path: Path, status: os.stat_result | None, new: int, owner: tuple[int, int] | None
) -> None:
    """Raises ProbeError where what is there belongs to another user.

    `new` is the user of a new file beside it: some file systems, such as those that a virtual
    machine shares with its host, give all files to one user.
    """
    if status and status.st_uid not in (user_id(), new, *(owner or ())[:1]):
        who = "root" if status.st_uid == 0 else f"user {status.st_uid}"
        where = ", in your folder" if path.parent.stat().st_uid == user_id() else ""
        raise refusal(path, f"it belongs to {who}{where}")


def replace_file(
    path: Path,
    data: bytes,
    mode: int,
    owner: tuple[int, int] | None,
    status: os.stat_result | None,
) -> None:
    """Write a file beside `path`, then rename it: no moment without a whole file.

    Raises:
        ProbeError: what is there belongs to another user.
        OSError: it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.urandom(4).hex()}.tmp")
    handle = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        with os.fdopen(handle, "wb") as file:
            refuse_another_users(path, status, os.fstat(handle).st_uid, owner)
            file.write(data)
            file.flush()
            os.fsync(handle)
            set_mode(handle, temporary, mode)
            if owner:
                os.fchown(handle, *owner)
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
