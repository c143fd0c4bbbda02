"""A folder of data that others can use as it is, in one archive with its checksums: pack.

What others get must not depend on this machine. A link that leads out of the folder, a file that is
none, or an absolute path in a text is named before anything is written.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, BinaryIO, Iterator, NamedTuple

from .compose import show
from .exchange import (
    FOLDERS,
    MANIFEST,
    MOUNTS,
    SUMS,
    absolute_paths,
    clash,
    files_in,
    problem_of,
    read_manifest,
    sha256_of,
    sums_of,
)
from .failures import failed
from .files import new_file
from .project import USAGE, StopError, called_from, code_folder, me
from .record import NAME, changes, document
from .work import refuse_link

if TYPE_CHECKING:
    import argparse
    import re

    from .project import Project

OURS = (SUMS, NAME)  # what pack adds to a folder's files
SHOWN = 20


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


def paths_of_this_machine(project: Project) -> re.Pattern[bytes]:
    """Absolute paths that are another folder, or none, on another machine."""
    home = Path.home()
    places = [*MOUNTS, str(project.root)]
    keys = ("LOCAL_CODE_DIR", "LOCAL_DATA_DIR", "LOCAL_OUTPUTS_DIR", "SHARED_CACHE_DIR")
    places += [os.path.normpath(str(path)) for path in map(project.settings.path, keys) if path]
    places += [str(home)] if home != Path("/") else []
    return absolute_paths(places)


def problems(project: Project, folder: Path) -> list[Problem]:
    """What others could not use, by its path in the folder."""
    foreign = paths_of_this_machine(project)
    names: dict[str, str] = {}
    found = [Problem(name, "pack writes a file of this name") for name in OURS]
    found = [one for one in found if (folder / one.path).exists()]
    try:
        for path in files_in(folder):
            name = path.relative_to(folder).as_posix()
            try:
                reason = problem_of(path, folder, foreign)
                other = clash(name, names)
                reason = reason or (other and f"{other} is the same name on some machines")
            except OSError as error:
                reason = f"it cannot be read: {error.strerror or error}"
            found += [Problem(name, reason)] if reason else []
        found += [] if found else problems_of_results(folder)
    except OSError as error:
        name = Path(error.filename or folder).relative_to(folder).as_posix()
        found.append(Problem(name, f"it cannot be read: {error.strerror or error}"))
    return found


def problems_of_results(folder: Path) -> Iterator[Problem]:
    """What the manifest of results says, and is not so. Raises OSError if a file cannot be read."""
    file = folder / MANIFEST
    if not file.is_file():
        return
    try:
        outputs = sums_of(read_manifest(file.read_bytes()), "outputs")
    except ValueError as error:
        yield Problem(MANIFEST, str(error))
        return
    names = {path.relative_to(folder).as_posix(): path for path in files_in(folder)}
    for name in sorted({*outputs, *names} - {MANIFEST}):
        if name not in outputs:
            yield Problem(name, f"{MANIFEST} does not list it")
        elif name not in names or sha256_of(names[name]) != outputs[name]:
            yield Problem(name, "it was changed since it was published")


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
            archive.inodes = {}  # type: ignore[attr-defined]  # each is whole, also one of two names
            info = for_everybody(archive.gettarinfo(str(path), f"{top}/{name}"))
            count += 1
            if not info.isreg():
                archive.addfile(info)
                continue
            # It may have become a link meanwhile.
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
        show(f"Of no use to others in {folder}: {len(found)}.{first} Nothing was written.")
        return 1
    if options.check:
        show(f"{folder} depends on nothing outside of it.")
        return 0
    outputs = project.settings.path("LOCAL_OUTPUTS_DIR") or project.root / "outputs"
    refuse_link(project, code_folder(project), outputs, "LOCAL_OUTPUTS_DIR")
    file = called_from() / options.file if options.file else outputs / f"{options.name}.tar"
    # Without the changes themselves, which may be of no concern to others.
    record = json.dumps(document(project, changes(project)), indent=1, ensure_ascii=False) + "\n"
    known = {"path": str(file), "folder_name": options.name}
    try:
        with new_file(file) as out:
            count = write_archive(out, folder, options.name, {NAME: record.encode()})
    except FileExistsError as error:
        raise failed("archive-exists", project, **known) from error
    except OSError as error:
        reason = error.strerror or str(error)
        parent = str(next(one for one in file.parents if one.exists()))
        raise failed(
            "archive-not-written", project, reason=reason, parent=parent, **known
        ) from error
    links = sum(path.is_symlink() for path in files_in(folder))
    if links:
        show(f"Links in it: {links}. tar unpacks them; import-results refuses them.")
    show(f"Packed {count} files. To check them after unpacking, run there: sha256sum -c {SUMS}")
    print(file)
    return 0
