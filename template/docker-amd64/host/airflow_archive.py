"""The archive of `airflow backup`: a tar file of a manifest, the Fernet key and a database dump.

It is written in one pass, however large the dump is: the manifest has a fixed place at the start,
which is filled at the end. A reader trusts nothing: exactly these files, in this order and of these
sizes, with the checksums of the manifest. So no link, name or size in it can do anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Iterable, Iterator, NamedTuple

from .ask import read_json

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1  # a reader refuses archives of a higher one
MANIFEST, KEY, DUMP = "manifest.json", "fernet-key", "airflow.dump"
BLOCK = 512  # bytes; tar's
MANIFEST_SIZE = 8 * BLOCK  # bytes; what is not needed is blanks
LARGEST_MANIFEST = 1 << 16  # bytes, of other versions of this program
LARGEST_KEY = 4096  # bytes; several keys are separated by commas
CHUNK = 1 << 20  # bytes
FERNET_KEYS = re.compile(r"[\w-]{43}=(,[\w-]{43}=)*", re.ASCII)
DIGEST = re.compile("[0-9a-f]{64}")
TIME = "%Y-%m-%dT%H:%M:%SZ"
# What a manifest has, as the pattern of its text.
FIELDS = {
    "airflow": r"[\w.+-]{0,40}",
    "made": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "postgres": r"\d{1,3}",
    "project": r"[\w.-]{0,200}",
}
REVISION = re.compile(r"\w{1,40}", re.ASCII)

FOREIGN = "it was not made by airflow backup"
TRUNCATED = "it is truncated"
DAMAGED = "it was damaged or changed: its checksums differ"


class ArchiveError(Exception):
    """An archive cannot be used; the text says why."""


class NewerFormatError(ArchiveError):
    """A newer version of the program has made it."""


class Manifest(NamedTuple):
    """What an archive says of itself.

    Attributes:
        airflow: the version of Airflow whose tables the dump has, "" where that is not known.
        made: when, in UTC.
        postgres: the major version of PostgreSQL, a number.
        project: the name of the project's containers.
        revisions: the database schema's, those of Airflow and of its providers.
    """

    airflow: str
    made: str
    postgres: str
    project: str
    revisions: tuple[str, ...]


def header(name: str, size: int) -> bytes:
    """The block of tar before a file. GNU's format needs one block for sizes above 8 GiB, too."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(time.time())
    return info.tobuf(tarfile.GNU_FORMAT)


def described(content: bytes) -> dict[str, Any]:
    """What the manifest says of a small file."""
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write_archive(file: BinaryIO, about: Manifest, key: bytes, dump: Iterable[bytes]) -> None:
    """Write an archive into an empty file.

    Raises:
        OSError: the file cannot be written.
    """
    file.seek(BLOCK + MANIFEST_SIZE)
    file.write(header(KEY, len(key)) + key + bytes(-len(key) % BLOCK))
    start, size, digest = file.tell(), 0, hashlib.sha256()
    file.seek(start + BLOCK)
    for chunk in dump:
        file.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    file.write(bytes(-size % BLOCK + 2 * BLOCK))
    file.seek(start)
    file.write(header(DUMP, size))
    files = {KEY: described(key), DUMP: {"size": size, "sha256": digest.hexdigest()}}
    text = json.dumps({"format": FORMAT, **about._asdict(), "files": files}, indent=1) + "\n"
    file.seek(0)
    file.write(header(MANIFEST, MANIFEST_SIZE) + text.encode().ljust(MANIFEST_SIZE))
    file.flush()
    os.fsync(file.fileno())


class Archive:
    """An archive that was read to its end and is whole.

    Attributes:
        about: its manifest.
        key: the Fernet key.
    """

    def __init__(self, file: BinaryIO, about: Manifest, key: str) -> None:
        """Take a file that is at the start of the dump's content, and both of what is before."""
        self._file, self._start = file, file.tell()
        self.about, self.key = about, key
        self.size = 0  # of the dump, in bytes

    def dump(self) -> Iterator[bytes]:
        """The dump of the database."""
        self._file.seek(self._start)
        left = self.size
        while left:
            chunk = self._file.read(min(left, CHUNK))
            if not chunk:  # it became shorter meanwhile
                return
            left -= len(chunk)
            yield chunk


def enter(file: BinaryIO, name: str, most: int) -> int:
    """Read the header of the next file; its size in bytes. Raises ArchiveError."""
    block = file.read(BLOCK)
    if len(block) < BLOCK:
        raise ArchiveError(TRUNCATED)
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise ArchiveError(FOREIGN) from error
    if (info.name, info.type) != (name, tarfile.REGTYPE) or not 0 <= info.size <= most:
        raise ArchiveError(FOREIGN)
    return info.size


def content(file: BinaryIO, size: int) -> bytes:
    """The content of a small file, and what is left of its last block. Raises ArchiveError."""
    found = file.read(size + -size % BLOCK)
    if len(found) < size + -size % BLOCK:
        raise ArchiveError(TRUNCATED)
    return found[:size]


def manifest(data: dict[str, Any]) -> Manifest:
    """The manifest, if it can be used. Raises ArchiveError."""
    version = data.get("format")
    if type(version) is not int or version < 1:
        raise ArchiveError(FOREIGN)
    if version > FORMAT:
        raise NewerFormatError
    texts = {name: data.get(name) for name in FIELDS}
    revisions = data.get("revisions")
    if not isinstance(revisions, list) or not all(
        isinstance(text, str) and re.fullmatch(FIELDS[name], text, re.ASCII)
        for name, text in texts.items()
    ):
        raise ArchiveError(FOREIGN)
    if not all(isinstance(one, str) and REVISION.fullmatch(one) for one in revisions):
        raise ArchiveError(FOREIGN)
    return Manifest(**texts, revisions=tuple(revisions))  # type: ignore[arg-type]


def expected(data: dict[str, Any], name: str) -> tuple[int, str]:
    """Size and checksum of a file, as the manifest has them. Raises ArchiveError."""
    files = data.get("files")
    found = files.get(name) if isinstance(files, dict) else None
    if not isinstance(found, dict):
        raise ArchiveError(FOREIGN)
    size, digest = found.get("size"), found.get("sha256")
    if type(size) is not int or not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ArchiveError(FOREIGN)
    return size, digest


def check(file: BinaryIO) -> Archive:
    """Read an archive to its end. Raises ArchiveError."""
    whole = os.fstat(file.fileno()).st_size
    size = enter(file, MANIFEST, LARGEST_MANIFEST)
    data = read_json(content(file, size).decode("utf-8", "replace"))
    about = manifest(data)
    key = content(file, enter(file, KEY, LARGEST_KEY))
    if (len(key), hashlib.sha256(key).hexdigest()) != expected(data, KEY):
        raise ArchiveError(DAMAGED)
    text = key.decode("utf-8", "replace").strip()
    if not FERNET_KEYS.fullmatch(text):
        raise ArchiveError(FOREIGN)
    size, digest = expected(data, DUMP)
    if enter(file, DUMP, size) != size:
        raise ArchiveError(DAMAGED)
    archive = Archive(file, about, text)
    end = file.tell() + size + -size % BLOCK + 2 * BLOCK
    if end != whole:
        raise ArchiveError(TRUNCATED if end > whole else FOREIGN)
    archive.size, found = size, hashlib.sha256()
    for chunk in archive.dump():
        found.update(chunk)
    if found.hexdigest() != digest:
        raise ArchiveError(DAMAGED)
    return archive


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """An archive, which is read to its end first.

    Raises:
        ArchiveError: it cannot be used.
        OSError: it cannot be read.
    """
    if not path.is_file():  # a named pipe would wait for ever
        raise ArchiveError("it is not a file" if path.exists() else "it does not exist")
    with path.open("rb") as file:
        yield check(file)
