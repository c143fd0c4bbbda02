"""What containers see of docker-amd64: nothing that they can change, and neither .env nor secrets.

This machine runs what is in that folder, and the code folder, which containers may write to, has it
in it. So an override file mounts an empty folder over it, and into that, read-only, each file and
folder but .env and the secrets that .dockerignore keeps from every build. An empty file over .env
would not do: a mount ends when what it covers is replaced, as .env is whenever a value changes.
Editors run what .devcontainer/ names, so containers cannot change that folder either.

Data that is read-only and lies in the code folder is read-only there too.
"""

from __future__ import annotations

import json
import os
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable

from .abilities import abilities
from .ask import read_text
from .compose import keep_file, keep_or_say, show
from .engine_words import engine_program
from .project import DATA_KEY, GUARD_FILE, START_FILES, code_folder, me
from .selinux import open_mounts

if TYPE_CHECKING:
    from .project import Project

KEY = "CONTAINERS_SEE"  # protected, or all
# With the secrets of .dockerignore. No container needs files of this host that come and go.
HIDDEN = (".env*", ".airflow", ".ssh_known_hosts", *START_FILES)
SHOWN = (".env.example",)
TOOLS = ("tools", "pip-tools")  # services with the code, in which uv may run a package's setup.py
READ_ONLY = "/project"  # where some services have the code, which they only read
EMPTY = "size=64k,mode=0555,notmpcopyup"  # of a tmpfs, where an engine fills it otherwise
HEAD = """\
# What containers cannot change in the code folder: docker-amd64, of which they see what is listed,
# unless .env has CONTAINERS_SEE=all; and data, unless it has DATA_READ_ONLY=false.
# template.sh writes this file before containers start.
"""


def visible(folder: Path) -> list[str]:
    """The names of the files and folders in docker-amd64 that containers may read."""
    lines = read_text(folder / ".dockerignore").splitlines()
    secrets = [line[3:] for line in lines if line.startswith("**/")]
    found = []
    for entry in os.scandir(str(folder)):
        hidden = entry.name not in SHOWN and any(
            fnmatch(entry.name, one) for one in (*HIDDEN, *secrets)
        )
        kept = entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)
        if kept and not hidden:
            found.append(entry.name)
    return sorted(found)


def bind(path: Path, place: str, *, read_only: bool) -> dict[str, Any]:
    """The volume, as Compose writes it, of a file or a folder."""
    known = {"type": "bind", "source": str(path), "target": place}
    return {**known, "read_only": read_only, "bind": {"create_host_path": False}}


def mounts(folder: Path, source: Path, target: str, *beside: str) -> list[dict[str, Any]]:
    """The volumes, as Compose writes them, that protect docker-amd64 in a mounted folder.

    Args:
        folder: docker-amd64.
        source: the folder of this machine that containers mount.
        target: where they mount it.
        beside: names of folders beside docker-amd64 to protect, if they exist.
    """
    folder, source = folder.resolve(), source.resolve()
    if source not in folder.parents:
        return []
    *above, own = folder.relative_to(source).parts

    # A mounted folder cannot be renamed, by which another one could take its place.
    between = [
        bind(source.joinpath(*above[:at]), "/".join((target, *above[:at])), read_only=False)
        for at in range(1, len(above) + 1)
    ]
    place = "/".join((target, *above, own))
    cover = {"type": "tmpfs", "target": place, "tmpfs": {"size": "64k", "mode": 0o555}}
    shown = [bind(folder / name, f"{place}/{name}", read_only=True) for name in visible(folder)]
    of_root = "/".join((target, *above))
    others = [
        bind(folder.parent / name, f"{of_root}/{name}", read_only=True)
        for name in beside
        if (folder.parent / name).is_dir()
    ]
    return [*between, cover, *shown, *others]


def beside(project: Project) -> tuple[str, ...]:
    """The folders beside docker-amd64 whose files this machine runs, too."""
    return (".devcontainer",) if "devcontainer" in project.extras else ()


def data_mount(project: Project, source: Path, target: str) -> list[dict[str, Any]]:
    """The volume that protects data in a mounted folder, which is writable itself."""
    path = project.settings.path("LOCAL_DATA_DIR")
    if not path or project.settings.get(DATA_KEY) != "true":
        return []
    data, source, own = path.resolve(), source.resolve(), project.folder.resolve()
    related = own == data or own in data.parents or data in own.parents
    if source not in data.parents or related or not data.is_dir():
        return []
    return [bind(data, "/".join((target, *data.relative_to(source).parts)), read_only=True)]


def protected(project: Project, source: Path, target: str) -> list[dict[str, Any]]:
    """The volumes that protect what is in a folder of code, where containers have that."""
    is_open = project.settings.get(KEY) == "all"
    if target == READ_ONLY:  # nothing there needs a file of docker-amd64
        volumes = [] if is_open else mounts(project.folder, source, target)
        return [one for one in volumes if one["type"] == "tmpfs"]
    volumes = [] if is_open else mounts(project.folder, source, target, *beside(project))
    return [*volumes, *data_mount(project, source, target)]


def cover_text(project: Project, source: Path, service: str) -> str:
    """A Compose file that hides docker-amd64 from a service with the code at /project; or ""."""
    volumes = protected(project, source, READ_ONLY)
    return f"x-cover: &cover\n{body(volumes)}\nservices:\n  {service}: *cover\n" if volumes else ""


def guard_text(project: Project) -> str:
    """The text of the override file, "" where there is nothing to protect."""
    wanted: dict[str, list[dict[str, Any]]] = {}
    tools = [one for one in project.builds if one in TOOLS]
    places = {"/workspace": [*project.services["code"], *tools]}
    places[READ_ONLY] = project.services.get("project", [])
    for target, services in places.items():
        for name in services:
            wanted.setdefault(name, []).extend(protected(project, code_folder(project), target))
    bodies: dict[str, list[str]] = {}
    for name, volumes in wanted.items():
        if volumes:
            bodies.setdefault(body(volumes), []).append(name)
    anchors = rows = ""
    for number, (text, names) in enumerate(bodies.items()):
        anchor = f"guard{number or ''}"
        anchors += f"x-{anchor}: &{anchor}\n{text}\n"
        rows += "".join(f"  {name}: *{anchor}\n" for name in names)
    return f"{HEAD}{anchors}services:\n{rows}" if bodies else ""


def body(volumes: list[dict[str, Any]]) -> str:
    """The YAML of volumes in a service."""
    covers: list[str] = []
    if abilities(engine_program()).fills_tmpfs:
        covers = [f"{one['target']}:{EMPTY}" for one in volumes if one["type"] == "tmpfs"]
        volumes = [one for one in volumes if one["type"] != "tmpfs"]
    lines = f"  volumes:\n{listed(volumes)}" if volumes else ""
    return lines + (f"  tmpfs:\n{listed(covers)}" if covers else "")


def listed(values: Iterable[Any]) -> str:
    """Lines of YAML, with dollar signs as Compose reads them."""
    rows = (json.dumps(one, ensure_ascii=False).replace("$", "$$") for one in values)
    return "".join(f"    - {row}\n" for row in rows)


def remove_guard(project: Project) -> None:
    """Remove the override file: without template.sh, nothing brings it in line with the folder."""
    keep_file(project, GUARD_FILE, "")


def guard(project: Project) -> None:
    """Bring the override file in line with docker-amd64, and let COMPOSE_FILE name it."""
    open_mounts(project)
    former = (project.folder / GUARD_FILE).exists()
    text = guard_text(project)
    otherwise = "Containers see docker-amd64 as they did before"
    kept = keep_or_say(project, GUARD_FILE, text, otherwise)
    if kept and text and not former and project.settings.get(KEY) != "all":
        show(
            "Containers see docker-amd64 read-only, without .env and secret files. "
            f"To change that, run: {me()} env --set {KEY}=all"
        )
