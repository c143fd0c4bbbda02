"""Results that others can use and repeat: publish.

A task calls it in either environment: it needs the standard library and its neighbour, and learns
of its run from variables of Airflow, and of its code from a file of `template.sh airflow up`.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .exchange import (
    FOLDERS,
    MANIFEST,
    MOUNTS,
    NAME,
    RERUN,
    RERUNS,
    RESERVED,
    VERSION,
    WORKERS_FILE,
    absolute_paths,
    clash,
    code_digest,
    files_in,
    problem_of,
    sha256_of,
)

DATA, CODE = Path("/data"), Path("/workspace")
WORKERS = Path("/airflow") / WORKERS_FILE
# Folders of Airflow's containers beside those that all containers have.
PLACES = (*MOUNTS, "/workspaces", "/project", "/airflow")
SHOWN = 20
EXCHANGE, HERE = 2, -100  # RENAME_EXCHANGE of renameat2(2), and AT_FDCWD: the current folder
Paths = Iterable[str | Path]
Listed = list[dict[str, Any]]


class NotPublishedError(ValueError):
    """Why something cannot be published. Nothing was changed."""


def publish(name: str, files: Paths | str | Path, *, inputs: Paths | str | Path = ()) -> str:
    """Copy files to /data/uploadable/NAME, with a manifest of what they were made with.

    What the same DAG published under this name before is replaced in one step.

    Args:
        name: of the new folder: letters, digits, blanks and . _ + = -.
        files: files and folders of /data/generated, relative to it or absolute. A file gets its own
            name in the new folder. A folder stands for all that is in it.
        inputs: files and folders of /data/downloaded that the results were made from.

    Returns:
        The new folder. The results of `template.sh airflow rerun` are in /data/generated.

    Raises:
        NotPublishedError: a file is missing or of no use to others, or the name is another's.
        OSError: a file cannot be read or written.
    """
    if not NAME.fullmatch(name):
        raise NotPublishedError(f'"{name}" cannot be the name of results: use letters and digits.')
    chosen = dict(sources(files, FOLDERS[1]))
    used = [entry(path, key) for key, path in sources(inputs, FOLDERS[0])]
    if not chosen:
        raise NotPublishedError(f"{name} would have no file.")
    parent = place_of_results()
    parent.mkdir(parents=True, exist_ok=True)
    with alone(parent):
        for left in parent.glob(f".{name}.*.tmp"):
            shutil.rmtree(left, ignore_errors=True)  # of a publish that was killed
        refuse_others(parent / name)
        new = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".tmp", dir=parent))
        try:
            outputs = [copy(path, new, key) for key, path in sorted(chosen.items())]
            refuse_problems(new)
            text = json.dumps(manifest(name, used, outputs), indent=1, ensure_ascii=False)
            (new / MANIFEST).write_text(f"{text}\n", "utf-8")
            new.chmod(0o755)
            put(new, parent / name)
        finally:
            shutil.rmtree(new, ignore_errors=True)  # it is the replaced one, if there was one
    return str(parent / name)


def sources(paths: Paths | str | Path, kind: str) -> Iterator[tuple[str, Path]]:
    """The files that are meant, each with its name among the others.

    Raises:
        NotPublishedError: one is missing, not in the folder of its kind, or has another's name.
    """
    top = (DATA / kind).resolve()
    known: dict[str, Path] = {}
    names: dict[str, str] = {}
    for given in [paths] if isinstance(paths, (str, Path)) else paths:
        path = Path(os.path.normpath(top / given))
        # Inputs keep their place in the folder, by which they are found again.
        base = top if kind == FOLDERS[0] else path if path.is_dir() else path.parent
        for one in files_in(path) if path.is_dir() else [path]:
            if one.is_dir() and not one.is_symlink():
                continue  # an empty folder is no file
            real = one.resolve()
            if top not in real.parents:
                raise NotPublishedError(f"{one} is not in {top}.")
            if not real.is_file():
                raise NotPublishedError(f"{one} is not a file.")
            key = one.relative_to(base).as_posix()
            # Others may have a file system that does not tell A from a. Inputs are not handed on.
            refused = kind != FOLDERS[0] and (clash(key, names) or key in RESERVED)
            if known.setdefault(key, real) != real or refused:
                raise NotPublishedError(f"{one} cannot be {key}: another file has this name.")
            yield key, real


def entry(path: Path, key: str) -> dict[str, Any]:
    """What the manifest says of a file."""
    return {"path": key, "sha256": sha256_of(path), "size": path.stat().st_size}


def copy(path: Path, folder: Path, key: str) -> dict[str, Any]:
    """Copy a file into the new folder; what the manifest says of it."""
    target, digest = folder / key, hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as source, target.open("xb") as out:
        for part in iter(lambda: source.read(1024**2), b""):
            digest.update(part)
            out.write(part)
    return {"path": key, "sha256": digest.hexdigest(), "size": target.stat().st_size}


def refuse_problems(folder: Path) -> None:
    """Raise NotPublishedError if others could not use a file; pack has the same rules."""
    foreign, found = absolute_paths(PLACES), []
    for path in files_in(folder):
        reason = problem_of(path, folder, foreign)
        found += [f"{path.relative_to(folder)}: {reason}"] if reason else []
    if found:
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        text = "\n".join([*found[:SHOWN], *more])
        raise NotPublishedError(f"These files are of no use to others:\n{text}")


def run_id() -> str:
    """The id of the run of this task, "" outside of Airflow."""
    return os.environ.get("AIRFLOW_CTX_DAG_RUN_ID", "")


def place_of_results() -> Path:
    """The folder of the folder of results."""
    if re.fullmatch(rf"{RERUN}[\w-]+", run_id()):
        return DATA / FOLDERS[1] / RERUNS / run_id()
    return DATA / FOLDERS[2]


def worker() -> dict[str, str]:
    """What `template.sh airflow up` has found out about the code and image of this environment."""
    name = os.environ.get("AIRFLOW_CTX_ENVIRONMENT", "")
    with suppress(OSError, ValueError, KeyError):
        found: dict[str, str] = json.loads(WORKERS.read_text("utf-8"))[name]
        return found
    return {}


def parameters() -> Any:
    """The parameters of this run: a variable has them, or names a file if they are long."""
    file = os.environ.get("AIRFLOW_CTX_PARAMS_FILE")
    return json.loads(
        Path(file).read_text("utf-8") if file else os.environ.get("AIRFLOW_CTX_PARAMS", "{}")
    )


def manifest(name: str, inputs: Listed, outputs: Listed) -> dict[str, Any]:
    """What somebody needs to know, and to have, to make the same results."""
    known, now = worker(), code_digest(CODE)
    return {
        "results": VERSION,
        "name": name,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "code": {
            "commit": known.get("commit") or "none",
            "source": known.get("source", ""),
            # Then, or since then.
            "changed": known.get("changed") != "false" or known.get("files") != now,
            "files": now,
        },
        "image": known.get("image") or "unknown",
        # NAME@sha256:... in a registry, of the same image without its user.
        "published": known.get("published", ""),
        "packages": known.get("packages", ""),
        "dag": os.environ.get("AIRFLOW_CTX_DAG_ID", ""),
        "run": run_id(),
        "parameters": parameters(),
        "inputs": sorted(inputs, key=lambda one: one["path"]),
        "outputs": outputs,
    }


def refuse_others(folder: Path) -> None:
    """Raise NotPublishedError if a folder has something else than results of this DAG."""
    if not os.path.lexists(folder):
        return
    try:
        found = {} if folder.is_symlink() else json.loads((folder / MANIFEST).read_text("utf-8"))
        dag = found["dag"]
    except (OSError, ValueError, KeyError, TypeError):
        raise NotPublishedError(f"{folder} exists, and no DAG has published it.") from None
    if dag != os.environ.get("AIRFLOW_CTX_DAG_ID", ""):
        raise NotPublishedError(f"The DAG {dag} has published {folder}: choose another name.")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one task at a time publish into a folder, where its file system has locks."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def put(new: Path, place: Path) -> None:
    """Give a folder its name. The one that has it gets the other's, in the same moment."""
    if not place.exists():
        new.rename(place)
        return
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename and not rename(HERE, os.fsencode(new), HERE, os.fsencode(place), EXCHANGE):
        return
    # Not every file system can exchange two names.
    aside = new.with_name(f".{place.name}.replaced.tmp")
    place.rename(aside)
    new.rename(place)
    aside.rename(new)
