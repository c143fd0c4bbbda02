"""What others can use as it is: the rules for files that are handed on, and for their names.

pack and import-results follow them on the host, and workflows/results.py in containers, so this
module imports nothing else of the program.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import Any, Iterable, Iterator

# In the data folder. Programs only read the first, use the second as they like, and put into the
# third what is for others.
FOLDERS = ("downloaded", "generated", "uploadable")
MANIFEST = "results.json"  # in a folder of results: what they were made with
SUMS = "SHA256SUMS"  # what pack adds, with the record of pack
RESERVED = (MANIFEST, SUMS, "environment.json")
VERSION = 1  # of the manifest
WORKERS_FILE = "workers.json"  # in the home of Airflow: code and image of each environment
# The start of the id of a run that repeats another. Its results are kept apart, in the second
# folder of data, so that they can be compared with the published ones.
RERUN = "rerun__"
RERUNS = "reruns"
MOUNTS = ("/workspace", "/data", "/outputs", "/home/user")  # folders of this project's containers
LARGEST_TEXT = 1024**2  # bytes; a larger file is data, in which nobody writes paths
NAME = re.compile(r"\w(?:[\w .+=-]{0,98}[\w+=-])?")  # of a folder of results
# sha256sum writes such names in another way, and not each file system has names that are not UTF-8.
CONTROL = re.compile("[\x00-\x1f\x7f\\\\\ud800-\udfff]")
SHOWABLE = re.compile("[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,300}")  # on a terminal, in a line
DEEPEST = 100  # folders around a file
NO_CODE = ("data", "outputs", "workspaces", "docker-amd64")  # at the top of a folder of code


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


def absolute_paths(places: Iterable[str]) -> re.Pattern[bytes]:
    """A pattern of paths in these folders, which are others, or none, on another machine."""
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
        return "its name has a control character or a backslash, or is not UTF-8"
    if stat.S_ISLNK(status.st_mode):
        return problem_of_link(path, folder)
    if stat.S_ISDIR(status.st_mode):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return "it is neither a file nor a folder nor a link"
    # The parameters of a manifest may name folders that each container has.
    return "" if path == folder / MANIFEST else problem_of_text(path, foreign)


def problem_of_text(path: Path, foreign: re.Pattern[bytes]) -> str:
    """Which path of this machine a text has, "" for none and for other files."""
    content = path.read_bytes() if path.stat().st_size <= LARGEST_TEXT else b""
    found = None if b"\0" in content else foreign.search(content)
    if not found:
        return ""
    line = content.count(b"\n", 0, found.start()) + 1
    return f"line {line} has a path of this machine: {found[0].decode('utf-8', 'replace')}"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file. Raises OSError if it cannot be read."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        for part in iter(lambda: file.read(1024**2), b""):
            found.update(part)
    return found.hexdigest()


def code_digest(folder: Path) -> str:
    """One SHA-256 of all Python files of a folder of code, with their names.

    It finds out whether code was edited since a worker has started. What is hidden, and the folders
    of data, outputs and workspaces, are not code.
    """
    total = hashlib.sha256()
    for place, folders, files in os.walk(str(folder)):
        left_out = NO_CODE if place == str(folder) else ()
        folders[:] = sorted(one for one in folders if not one.startswith((".", "__py")))
        folders[:] = [one for one in folders if one not in left_out]
        for name in sorted(files):
            path = Path(place, name)
            if name.endswith(".py") and path.is_file() and not path.is_symlink():
                line = f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n"
                total.update(os.fsencode(line))
    return total.hexdigest()


def problem_of_name(name: str) -> str:
    """Why a name in a folder of others is refused, "" if it is an ordinary one."""
    if CONTROL.search(name):
        return "a name has a control character or a backslash, or is not UTF-8"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return f"the name {name} leads out of its folder"
    return f"the name {name[:60]}... is in too many folders" if name.count("/") > DEEPEST else ""


def clash(name: str, known: dict[str, str]) -> str:
    """Which name before is another one here, and the same on a machine that folds case; "" if none.

    `known` collects the names, and those of the folders that they are in.
    """
    parts = name.split("/")
    for at in range(1, len(parts) + 1):
        part = "/".join(parts[:at])
        other = known.setdefault(unicodedata.normalize("NFC", part).casefold(), part)
        if other != part:
            return other
    return ""


def read_manifest(text: str | bytes) -> dict[str, Any]:
    """The manifest of results, in which each path is an ordinary one.

    Raises:
        ValueError: it is not one, with the reason.
    """
    try:
        found: dict[str, Any] = json.loads(text)
        if found["results"] != VERSION:
            raise ValueError(f"it is of another version, and only {VERSION} is known")
        for kind in ("inputs", "outputs"):
            for path, digest in sums_of(found, kind).items():
                if problem_of_name(path) or not re.fullmatch("[0-9a-f]{64}", digest):
                    raise ValueError(f"{kind} has a path or a checksum that cannot be")
        texts = (found["dag"], found["image"], found["code"]["commit"], found["code"]["files"])
        named = NAME.fullmatch(found["name"]) and all(map(SHOWABLE.fullmatch, texts))
        if not named or not isinstance(found["parameters"], dict):
            raise ValueError("its DAG, name, image, commit or parameters cannot be")
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is not a manifest of results ({error})") from error
    return found


def sums_of(manifest: dict[str, Any], kind: str) -> dict[str, str]:
    """The checksums of a manifest, for inputs or outputs, by their paths."""
    return {one["path"]: one["sha256"] for one in manifest[kind]}
