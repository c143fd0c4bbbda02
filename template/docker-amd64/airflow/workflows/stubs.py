"""The folder that Airflow searches for DAGs: links to dags/, and a stub for each dropped file.

    project          a link to dags/ of the project
    NAME             a link to dags/ of the workspace NAME
    files/ENV/*.py   a stub for each file NAME.LOADER in data/downloaded, for loaders/LOADER.py

Only the standard library: Airflow is not needed to find out what shall be there.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
import unicodedata
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT, FILES = "project", "files"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")  # of workspaces, as in host/workspaces.py
SETTLED = 5.0  # seconds without a change, after which a file counts as complete
AHEAD = 60.0  # seconds; a file from further in the future is not one that is being written now
MOST_FILES = 5000  # that become DAGs
MOST_ENTRIES = 20000  # of one dags/: Airflow looks at each of them every few seconds
REFUSED = "refused.py"  # no stub of a file has this name


@dataclass(frozen=True)
class Places:
    """Where a container has the folders."""

    bundle: Path = Path("/airflow/dags")
    project: Path = Path("/project")
    workspaces: Path = Path("/workspaces")
    data: Path = Path("/data")

    def environments(self) -> dict[str, Path]:
        """The code folder of each environment, by its name; those of reserved names too."""
        found = {}
        with suppress(OSError):
            for entry in sorted(self.workspaces.iterdir()):
                if NAME.fullmatch(entry.name) and entry.is_dir():
                    found[entry.name] = entry
        return found


class UnreadableError(Exception):
    """The data cannot be read now."""


def refresh(
    places: Places, search: Callable[[Path], object] | None = None, now: float | None = None
) -> None:
    """Bring the folder up to date. Several containers may do it at once.

    Args:
        places: where the folders are.
        search: what Airflow does with each folder of DAGs. If it raises, the folder is not linked.
        now: seconds since 1970.

    Raises:
        OSError: the folder cannot be written, such as on a full disk.
    """
    places.bundle.mkdir(parents=True, exist_ok=True)
    with locked(places.bundle):
        links: dict[str, Path] = {}
        stubs: dict[str, str | None] = {}
        loaders: dict[str, list[tuple[str, Path]]] = {}
        seen: set[str] = set()
        project = [(PROJECT, places.project)]
        for name, folder in [*project, *places.environments().items()]:
            dags = folder / "dags"
            if name in (PROJECT, FILES) and folder != places.project:
                if dags.is_dir() or (folder / "loaders").is_dir():
                    why = f"Airflow does not read a workspace of the name {name}. Rename it."
                    stubs[f"{name}/{REFUSED}"] = refusal(why)
                continue
            if dags.is_dir():
                why = trouble(dags, seen, places.bundle, search)
                if why:
                    stubs[f"{name}/{REFUSED}"] = refusal(why)
                else:
                    links[name] = dags
            for loader in loaders_in(folder / "loaders"):
                loaders.setdefault(loader.stem, []).append((name, loader))
        put_links(places.bundle, links)
        try:
            if loaders:
                stubs.update(stubs_of(places, loaders, time.time() if now is None else now))
        except UnreadableError:
            return  # as on a disk that is away: no file of it was deleted
        put_stubs(places.bundle / FILES, stubs)


@contextmanager
def locked(bundle: Path) -> Iterator[None]:
    """Let one process at a time change the folder; a killed one leaves no lock behind."""
    with (bundle.parent / ".dags-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def trouble(
    dags: Path, seen: set[str], bundle: Path, search: Callable[[Path], object] | None
) -> str:
    """Say why Airflow cannot search a folder, "" if it can. Adds its folders to those seen.

    A search that fails ends Airflow's search of all folders: each of these reasons would do that.
    """
    top, found, entries = os.path.realpath(bundle), {os.path.realpath(dags)}, 0
    for root, names, files in os.walk(dags, followlinks=True):
        entries += len(names) + len(files)
        if entries > MOST_ENTRIES:
            return f"{dags} has more than {MOST_ENTRIES} files. Keep data outside of it."
        for name in [*names, *files]:
            if not is_text(name):
                return f"{root} has a file whose name is not UTF-8: {name!a}."
        for name in names:
            real = os.path.realpath(f"{root}/{name}")
            if real in found or real in seen or f"{real}/".startswith(f"{top}/"):
                return f"{root}/{name} leads to {real}, which is searched already. Remove the link."
            found.add(real)
    if found & seen:
        return f"{dags} leads to {os.path.realpath(dags)}, which is searched already."
    try:
        if search:
            search(dags)
    except Exception as error:  # noqa: BLE001  whatever a folder of users does to it
        return f"Airflow cannot search {dags}: {type(error).__name__}: {error}"
    seen |= found
    return ""


def is_text(name: str) -> bool:
    """Whether a file's name can be stored in a database."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def loaders_in(folder: Path) -> list[Path]:
    """The files LOADER.py of a folder."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [
        one
        for one in entries
        if one.suffix == ".py" and one.name[0] not in "._" and is_text(one.name) and one.is_file()
    ]


def names_in(folder: Path, loaders: dict[str, Any]) -> list[str]:
    """The names of files with one of these loaders. Raises UnreadableError."""
    try:
        return sorted(one for one in os.listdir(folder) if loader_of(one) in loaders)  # noqa: PTH208
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UnreadableError(str(error)) from error


def stubs_of(
    places: Places, loaders: dict[str, list[tuple[str, Path]]], now: float
) -> dict[str, str | None]:
    """The text of the stub of each dropped file, by its path; None leaves one as it is.

    One folder is listed and only files with a loader are looked at, so 100,000 others cost 0.1 s.

    Raises:
        UnreadableError: the folder is there, and cannot be read.
    """
    stubs: dict[str, str | None] = {}
    folder, top = places.data / "downloaded", os.path.realpath(places.data)
    marks = {one: mark(one.stat()) for each in loaders.values() for _, one in each}
    names = names_in(folder, loaders)
    if len(names) > MOST_FILES:
        why = f"More than {MOST_FILES} files in {folder} have a loader. The others have no DAG."
        stubs[f"{PROJECT}/{REFUSED}"] = refusal(why)
    for name in names[:MOST_FILES]:
        path = folder / name
        if path.is_symlink() and not os.path.realpath(path).startswith(f"{top}/"):
            continue  # what a link outside of the data names is not data
        try:
            facts = path.stat()
        except OSError:
            continue  # deleted meanwhile, or a link to nothing
        if not path.is_file():
            continue
        complete = not -AHEAD < now - facts.st_mtime < SETTLED
        for environment, loader in loaders[loader_of(name)]:
            stub = f"{environment}/{dag_id(environment, name)}.py"
            if not is_text(name):
                stubs[stub] = refusal(f"The name of {str(path)!a} is not UTF-8. Rename the file.")
            elif complete:
                stubs[stub] = text_of(path, loader, environment, mark(facts), marks[loader])
            elif (places.bundle / FILES / stub).exists():
                stubs[stub] = None
    return stubs


def loader_of(name: str) -> str:
    """LOADER of a file NAME.LOADER, else "". Programs that copy write to hidden files."""
    stem, _, loader = name.rpartition(".")
    return "" if not stem or name.startswith(".") else loader


def dag_id(environment: str, name: str) -> str:
    """The DAG of a file: what ASCII has of its name, and a mark that no other file has."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:80]
    own = sha256(os.fsencode(f"{environment}/{name}")).hexdigest()[:10]
    return f"{plain}-{own}"


def mark(facts: os.stat_result) -> str:
    """What is another one after each change of a file."""
    return f"{facts.st_size} {facts.st_mtime_ns}"


def text_of(path: Path, loader: Path, environment: str, *marks: str) -> str:
    """The text of a stub. A mark that changes lets Airflow read it again."""
    arguments = ", ".join(ascii(str(one)) for one in (path, loader, environment))
    return (
        "# Made by workflows.stubs; changes are lost. Airflow reads the DAG of a file here.\n"
        "from workflows.files import dag_of\n\n"
        f"dag = dag_of({arguments})\n# {', '.join(marks)}\n"
    )


def refusal(why: str) -> str:
    """The text of a stub whose import error says why DAGs are missing.

    Airflow reads a file only if it has both words, "airflow" and "dag", in any case:
    https://airflow.apache.org/docs/apache-airflow/stable/configurations-ref.html#dag-discovery-safe-mode
    """
    head = "# Made by workflows.stubs, to show in Airflow why DAGs are missing."
    return f"{head}\nraise RuntimeError({why!a})\n"


def put_links(bundle: Path, links: dict[str, Path]) -> None:
    """Have these links in the folder, and no others."""
    for entry in list(bundle.iterdir()):
        if entry.name not in (*links, FILES) and (entry.is_symlink() or entry.is_file()):
            entry.unlink()
    for name, target in links.items():
        link = bundle / name
        if link.is_symlink() and link.readlink() == target:
            continue
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        new = bundle / f".{name}.new"
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        new.replace(link)


def put_stubs(folder: Path, stubs: dict[str, str | None]) -> None:
    """Have these stubs in the folder, and no others. Airflow never reads half of one."""
    wanted: dict[Path, dict[str, str | None]] = {}
    for stub, text in stubs.items():
        wanted.setdefault(folder / Path(stub).parent, {})[Path(stub).name] = text
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    folder.mkdir(exist_ok=True)
    for entry in list(folder.iterdir()):
        if entry not in wanted:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for below, texts in wanted.items():
        below.mkdir(exist_ok=True)
        for entry in list(below.iterdir()):
            if entry.name not in texts and not entry.is_dir():
                entry.unlink()
        for name, text in texts.items():
            if text is not None:
                put_text(below / name, text)


def put_text(path: Path, text: str) -> None:
    """Write a file unless it is as it shall be: its time is what Airflow compares."""
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text("utf-8") == text:
            return
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, "utf-8")
    new.replace(path)
