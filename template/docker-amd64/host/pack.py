"""A folder of data that others can use as it is, in one archive with its checksums: pack.

What others get must not depend on this machine. A link that leads out of the folder, a file that is
none, or an absolute path in a text is named before anything is written.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import tarfile
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, BinaryIO, Iterator, NamedTuple

from .compose import show
from .failures import failed
from .files import new_file
from .project import USAGE, StopError, called_from, code_folder, me
from .record import NAME, changes, document
from .work import refuse_link

if TYPE_CHECKING:
    import argparse

    from .project import Project

# In the data folder. Programs only read the first, use the second as they like, and put into the
# third what is for others.
FOLDERS = ("downloaded", "generated", "uploadable")
SUMS = "SHA256SUMS"
OURS = (SUMS, NAME)  # what pack adds to a folder's files
LARGEST_TEXT = 1024**2  # bytes; a larger file is data, in which nobody writes paths
SHOWN = 20
CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")  # sha256sum writes such names in another way


class Problem(NamedTuple):
    """Why a file is of no use to others."""

    path: str
    reason: str


def pack_options(parser: argparse.ArgumentParser) -> None:
    """What, where to, and whether only to look."""
    parser.add_argument("name", metavar="NAME", help="a folder in uploadable/ of the data folder")
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="the archive; NAME.tar in the outputs without"
    )
    parser.add_argument("--check", action="store_true", help="only say what others could not use")


def source(project: Project, name: str) -> Path:
    """The folder that is packed. Raises StopError if there is none of that name, or a link."""
    data = project.settings.path("LOCAL_DATA_DIR") or project.root / "data"
    parent = data / FOLDERS[-1]
    found = sorted(one.name for one in parent.glob("[!.]*") if one.is_dir())
    if name not in found:
        known = f"It has {', '.join(found)}." if found else "It has no folder."
        raise StopError(
            f'{parent} has no folder "{name}". {known}',
            f"{me()} pack {quote(found[0]) if found else '--help'}",
            name=USAGE,
        )
    # A program in a container can make links there, to whatever its user can read outside.
    refuse_link(project, code_folder(project), data, "LOCAL_DATA_DIR")
    refuse_link(project, data, parent / name)
    return (parent / name).resolve()


def files_in(folder: Path) -> Iterator[Path]:
    """All files, links and empty folders in a folder, in one order everywhere. Raises OSError."""

    def stop(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(str(folder), onerror=stop):
        folders.sort()
        links = [name for name in folders if Path(place, name).is_symlink()]
        yield from (Path(place, name) for name in sorted([*files, *links]))
        if not files and not folders and place != str(folder):
            yield Path(place)


def paths_of_this_machine(project: Project) -> re.Pattern[bytes]:
    """Absolute paths that are another folder, or none, on another machine."""
    home = Path.home()
    places = ["/workspace", "/data", "/outputs", "/home/user", str(project.root)]
    keys = ("LOCAL_CODE_DIR", "LOCAL_DATA_DIR", "LOCAL_OUTPUTS_DIR", "SHARED_CACHE_DIR")
    places += [os.path.normpath(str(path)) for path in map(project.settings.path, keys) if path]
    places += [str(home)] if home != Path("/") else []
    text = "|".join(map(re.escape, places))
    end = r"""(?=[/\s'"<>)\]},;]|$)(?:/[\w./-]*)?"""
    return re.compile(f"(?<![\\w./~:-])(?:{text}){end}".encode())


def problem_of_link(path: Path, folder: Path) -> str:
    """Why others could not use a link, "" if they can."""
    target = os.readlink(str(path))
    if Path(target).is_absolute() or folder not in (path.parent / target).resolve().parents:
        return f"it is a link that leads out of the folder: {target}"
    return "" if path.exists() else f"it is a link to nothing: {target}"


def problem_of(path: Path, folder: Path, foreign: re.Pattern[bytes]) -> str:
    """Why others could not use one file, "" if they can. Raises OSError if it cannot be read."""
    status = path.lstat()
    if CONTROL.search(path.relative_to(folder).as_posix()):
        return "its name has a control character or a backslash"
    if stat.S_ISLNK(status.st_mode):
        return problem_of_link(path, folder)
    if stat.S_ISDIR(status.st_mode):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return "it is neither a file nor a folder nor a link"
    content = path.read_bytes() if status.st_size <= LARGEST_TEXT else b""
    found = None if b"\0" in content else foreign.search(content)
    if not found:
        return ""
    line = content.count(b"\n", 0, found.start()) + 1
    return f"line {line} has a path of this machine: {found[0].decode('utf-8', 'replace')}"


def problems(project: Project, folder: Path) -> list[Problem]:
    """What others could not use, by its path in the folder."""
    foreign = paths_of_this_machine(project)
    found = [Problem(name, "pack writes a file of this name") for name in OURS]
    found = [one for one in found if (folder / one.path).exists()]
    try:
        for path in files_in(folder):
            name = path.relative_to(folder).as_posix()
            try:
                reason = problem_of(path, folder, foreign)
            except OSError as error:
                reason = f"it cannot be read: {error.strerror or error}"
            found += [Problem(name, reason)] if reason else []
    except OSError as error:
        name = Path(error.filename or folder).relative_to(folder).as_posix()
        found.append(Problem(name, f"it cannot be read: {error.strerror or error}"))
    return found


class HashingReader:
    """A file whose digest is known when it has been read."""

    def __init__(self, file: BinaryIO) -> None:
        """Nothing is read yet."""
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Some bytes of the file."""
        found = self._file.read(size)
        self.digest.update(found)
        return found


def for_everybody(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """An entry that does not name its owner, and that whoever unpacks it can read."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
    return info


def write_archive(file: BinaryIO, folder: Path, top: str, more: dict[str, bytes]) -> int:
    """Write a folder under a name, with its checksums and more files; the number of its files.

    Raises:
        OSError: a file cannot be read, or became shorter meanwhile.
    """
    sums, count = [], 0
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in files_in(folder):
            name = path.relative_to(folder).as_posix()
            info = for_everybody(archive.gettarinfo(str(path), f"{top}/{name}"))
            count += 1
            if not info.isreg():
                archive.addfile(info)
                continue
            # Each is whole in the archive, also a file that has two names here. It may have become
            # a link meanwhile.
            with os.fdopen(os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW), "rb") as content:
                reader = HashingReader(content)
                info.size = os.fstat(content.fileno()).st_size
                archive.addfile(info, reader)
            sums.append(f"{reader.digest.hexdigest()}  {name}\n")
        for name, text in more.items():
            sums.append(f"{hashlib.sha256(text).hexdigest()}  {name}\n")
        for name, text in {**more, SUMS: "".join(sums).encode()}.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(text)
            archive.addfile(for_everybody(info), io.BytesIO(text))
    return count


def do_pack(project: Project, options: argparse.Namespace) -> int:
    """Check a folder, and write its archive; 1 if others could not use it. Raises StopError."""
    folder = source(project, options.name)
    found = problems(project, folder)
    for path, reason in found[:SHOWN]:
        show(f"{path}: {reason}")
    if found:
        first = f" The first {SHOWN} are listed." if len(found) > SHOWN else ""
        show(f"{len(found)} files of {folder} are of no use to others.{first} Nothing was written.")
        return 1
    if options.check:
        show(f"{folder} depends on nothing outside of it.")
        return 0
    outputs = project.settings.path("LOCAL_OUTPUTS_DIR") or project.root / "outputs"
    refuse_link(project, code_folder(project), outputs, "LOCAL_OUTPUTS_DIR")
    file = called_from() / options.file if options.file else outputs / f"{options.name}.tar"
    # Without the changes themselves, which may be of no concern to others.
    record = json.dumps(document(project, changes(project)), indent=1, ensure_ascii=False) + "\n"
    known = {"path": str(file), "folder_name": quote(options.name)}
    try:
        with new_file(file) as out:
            count = write_archive(out, folder, options.name, {NAME: record.encode()})
    except FileExistsError as error:
        raise failed("archive-exists", project, **known) from error
    except OSError as error:
        reason = error.strerror or str(error)
        parent = quote(str(next(one for one in file.parents if one.exists())))
        raise failed(
            "archive-not-written", project, reason=reason, parent=parent, **known
        ) from error
    show(f"Packed {count} files. To check them after unpacking, run there: sha256sum -c {SUMS}")
    print(file)
    return 0
