"""What others have packed, put where programs only read: import-results.

An archive is of somebody else. Nothing of it has its name before each of its files has been read,
and is what its checksums say.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Dict, Iterator

from .compose import show_text, tidy_end
from .exchange import (
    FOLDERS,
    MANIFEST,
    NAME,
    SUMS,
    clash,
    problem_of_name,
    read_manifest,
    sums_of,
)
from .failures import failed, folder_not_made
from .files import change_mode, folder_below, give_away, make_folder
from .project import called_from, code_folder
from .work import refuse_link

if TYPE_CHECKING:
    import argparse

    from .project import Project

LARGEST_LIST = 64 * 1024**2  # bytes of the checksums, or of a manifest; some 500,000 files
LINE = re.compile(r"([0-9a-f]{64})  (.+)")
Sums = Dict[str, str]


class BadArchiveError(Exception):
    """Why an archive is refused, as the end of a sentence."""


def import_results_options(parser: argparse.ArgumentParser) -> None:
    """Which archive, and under which name."""
    parser.add_argument("file", metavar="ARCHIVE", help="what pack has written")
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="in downloaded/ of the data folder; its own without"
    )


def member_name(info: tarfile.TarInfo, known: dict[str, str]) -> tuple[str, str]:
    """The folder of an archive that an entry is in, and its path there, "" for that folder itself.

    Raises:
        BadArchiveError: the entry, or its name, is one that nobody needs.
    """
    name = info.name
    problem = problem_of_name(name)
    if problem:
        raise BadArchiveError(problem)
    if info.issym() or info.islnk():
        raise BadArchiveError(f"{name} is a link")
    ordinary = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not info.issparse()
    if not (ordinary or info.isdir()) or info.size < 0:
        raise BadArchiveError(f"{name} is neither an ordinary file nor a folder")
    other = clash(name, known)
    if other:
        raise BadArchiveError(f"{other} and {name} are the same name on some machines")
    top, _, path = name.partition("/")
    return top, path


def unpack(archive: tarfile.TarFile, folder: Path) -> tuple[str, Sums]:
    """Unpack an archive into an empty folder; the name of its one folder, and its checksums.

    Raises:
        BadArchiveError: something in it is not as pack writes it.
        OSError: a file cannot be written.
    """
    tops: set[str] = set()
    known: dict[str, str] = {}
    sums: Sums = {}
    # By descriptors: a program in a container may put a link in place of a folder at any time.
    handle = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for info in archive:
            top, path = member_name(info, known)
            tops.add(top)
            if len(tops) > 1:
                raise BadArchiveError(f"it has several folders: {', '.join(sorted(tops))}")
            if info.isdir():
                os.close(folder_below(handle, path))
            elif path in sums or not path:
                raise BadArchiveError(f"it has {info.name} twice, or outside of a folder")
            else:
                sums[path] = unpack_file(archive, info, handle, path)
    finally:
        os.close(handle)
    if not tops:
        raise BadArchiveError("it is empty")
    return tops.pop(), sums


def unpack_file(archive: tarfile.TarFile, info: tarfile.TarInfo, top: int, path: str) -> str:
    """Unpack a file to a path below an open folder; its checksum."""
    digest, size = hashlib.sha256(), 0
    source = archive.extractfile(info)
    parent, _, name = path.rpartition("/")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        folder = folder_below(top, parent)
        try:
            out = os.fdopen(os.open(name, flags, 0o666, dir_fd=folder), "wb")
        finally:
            os.close(folder)
        with out:
            for part in iter(lambda: source.read(1024**2) if source else b"", b""):
                digest.update(part)
                size += out.write(part)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadArchiveError(f"{info.name} is a file and a folder, or is there twice") from error
    if size != info.size:
        raise BadArchiveError(f"{info.name} ends too early")
    return digest.hexdigest()


def text_of(folder: Path, name: str) -> str:
    """A list in the unpacked folder. Raises BadArchiveError if it is not one."""
    file = folder / name
    if not file.is_file() or file.stat().st_size > LARGEST_LIST:
        raise BadArchiveError(f"it has no {name}, or a very large one")
    try:
        return file.read_text("utf-8")
    except ValueError as error:
        raise BadArchiveError(f"{name} is not UTF-8") from error


def check(folder: Path, found: Sums) -> None:
    """Compare the files with what the archive says of them.

    Raises:
        BadArchiveError: a checksum is missing, or is another one.
    """
    said: Sums = {}
    for line in filter(None, text_of(folder, SUMS).split("\n")):
        match = LINE.fullmatch(line)
        if not match or match[2] in said:
            raise BadArchiveError(f"{SUMS} has a line that is not a checksum, or is there twice")
        said[match[2]] = match[1]
    compare(said, {name: one for name, one in found.items() if name != SUMS}, SUMS)
    if (folder / MANIFEST).exists():
        try:
            outputs = sums_of(read_manifest(text_of(folder, MANIFEST)), "outputs")
        except ValueError as error:
            raise BadArchiveError(f"{MANIFEST} cannot be used: {error}") from error
        compare(outputs, {name: found[name] for name in outputs if name in found}, MANIFEST)


def compare(said: Sums, found: Sums, where: str) -> None:
    """Raise BadArchiveError unless the files are those of a list."""
    for name in sorted({*said, *found}):
        if name not in found:
            raise BadArchiveError(f"{name} is missing, which {where} lists")
        if name not in said:
            raise BadArchiveError(f"{where} does not list {name}")
        if said[name] != found[name]:
            raise BadArchiveError(f"{name} was changed: its checksum in {where} is another one")


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder, which is deleted unless it was renamed."""
    made = Path(tempfile.mkdtemp(prefix=".import-", dir=str(parent)))
    try:
        yield made
    finally:
        shutil.rmtree(str(made), ignore_errors=True)


def same(folder: Path, other: Path) -> bool:
    """Whether a folder that is there already has the checksums of a new one."""
    file = other / SUMS
    return file.is_file() and file.read_bytes() == (folder / SUMS).read_bytes()


def open_archive(path: Path) -> BinaryIO:
    """The archive. Raises BadArchiveError for a pipe or a folder, OSError if it cannot be read."""
    if path.exists() and not path.is_file():
        raise BadArchiveError("it is not a file")
    return path.open("rb")


def import_file(project: Project, file: BinaryIO, parent: Path, options: argparse.Namespace) -> str:
    """Unpack, check, and give the folder its name; what to say.

    Raises:
        StopError: another folder has the name.
        BadArchiveError: the archive is not as pack writes it.
        OSError: something cannot be read or written.
    """
    with tidy_end(), scratch(parent) as folder:
        try:
            # Without compression, an archive cannot become larger than it is.
            with tarfile.open(fileobj=file, mode="r:") as archive:
                top, sums = unpack(archive, folder)
        except (tarfile.TarError, EOFError, RecursionError, ValueError) as error:
            raise BadArchiveError(f"it is not an archive of pack ({error})") from error
        check(folder, sums)
        name = options.name or top
        if not NAME.fullmatch(name):
            reason = "use letters and digits, in NAME after the archive"
            raise BadArchiveError(f'its folder has the name "{name}": {reason}')
        target = parent / name
        if os.path.lexists(str(target)):
            if not target.is_symlink() and same(folder, target):
                return f"{target} has these files already."
            known = {"path": str(target), "archive": options.file}
            raise failed("results-exist", project, **known, other=f"{name}-2")
        change_mode(folder, 0o755)
        folder.rename(target)
    give_away(target)
    return f"Imported {len(sums)} files. Containers have them at /data/{FOLDERS[0]}/{name}."


def do_import_results(project: Project, options: argparse.Namespace) -> None:
    """Import an archive, and print its folder. Raises StopError."""
    data = project.settings.path("LOCAL_DATA_DIR") or project.root / "data"
    parent = data / FOLDERS[0]
    refuse_link(project, code_folder(project), data, "LOCAL_DATA_DIR")
    refuse_link(project, data, parent)
    path = called_from() / options.file
    known = {"path": str(path), "archive": str(path)}
    if options.name and not NAME.fullmatch(options.name):
        reason = f'"{options.name}" cannot be the name of its folder: use letters and digits'
        raise failed("archive-refused", project, reason=reason, **known)
    try:
        make_folder(parent)
    except OSError as error:
        raise folder_not_made(project, parent, error) from error
    try:
        with open_archive(path) as file:
            said = import_file(project, file, parent, options)
    except BadArchiveError as error:
        raise failed("archive-refused", project, reason=str(error), **known) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise failed("archive-refused", project, reason=reason, **known) from error
    show_text(said)
