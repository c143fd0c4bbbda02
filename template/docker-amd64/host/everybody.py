"""Whose containers run on this engine, which GPUs they have, and whose images fill its disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable

from .ask import read_json
from .compose import check_engine
from .engine_words import ask_engine, engine_command
from .place import LABEL
from .plain import columns
from .probe import person

if TYPE_CHECKING:
    from .project import Project

OTHERS = "(others)"
FOLDER = f"{LABEL}.working_dir"
DEVICE = re.compile(r"^(?:/dev/nvidia|nvidia\.com/gpu=)(\d[\d:]*|all|(?:GPU|MIG)-.*)$")
# Values with which NVIDIA's runtime gives a container no GPU:
# https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
NO_GPU = ("", "void", "none")
UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def gpus(host: dict[str, Any], environment: Iterable[str] = ()) -> str:
    """The GPUs that a container was given: all, a number, or their ids; "" for none.

    It asks for them, or has their devices, as with Podman, or NVIDIA's runtime reads a variable.
    """
    found = asked_for(host.get("DeviceRequests") or ())
    if not found:
        paths = (str(one.get("PathOnHost")) for one in host.get("Devices") or ())
        found = [number[1] for number in map(DEVICE.search, paths) if number]
    if not found and host.get("Runtime") == "nvidia":
        values = dict(line.partition("=")[::2] for line in environment)
        visible = values.get("NVIDIA_VISIBLE_DEVICES", "")
        found = [] if visible in NO_GPU else [one.rpartition("=")[2] for one in visible.split(",")]
    return ",".join(found)


def asked_for(requests: Iterable[dict[str, Any]]) -> list[str]:
    """The GPUs that a container was started with a request for."""
    found: list[str] = []
    for one in requests:
        ids = [text.rpartition("=")[2] for text in one.get("DeviceIDs") or ()]
        wanted = [word for words in one.get("Capabilities") or () for word in words]
        if ids:
            found += ids
        elif "gpu" in wanted:
            found.append("all" if one.get("Count", 0) < 0 else str(one.get("Count")))
    return found


def user_of(labels: dict[str, str]) -> str:
    """Who owns the folder that a container or volume was made from; "" if nobody knows."""
    try:
        status = Path(labels.get(FOLDER, "")).stat() if labels.get(FOLDER) else None
    except OSError:
        return ""
    return person(status.st_uid, status.st_gid, str(status.st_uid)).name if status else ""


def size(text: str) -> float:
    """The bytes of a size as the engine prints it, such as 1.353GB."""
    number = re.match(r"[\d.]+", text)
    return float(number[0]) * UNITS.get(text[number.end() :].strip(), 1) if number else 0


def shown(count: float) -> str:
    """A size in GB."""
    if not count:
        return ""
    return f"{count / 10**9:.1f} GB" if count >= 10**8 else "< 0.1 GB"


def limit(host: dict[str, Any]) -> str:
    """The share of the machine that a container may use."""
    cpus, memory = host.get("NanoCpus") or 0, host.get("Memory") or 0
    parts = [f"{cpus / 10**9:g} CPUs"] if cpus else []
    return ", ".join([*parts, *([f"{memory / 1024**3:g}gb"] if memory else [])])


def containers(project: Project) -> list[dict[str, Any]]:
    """All containers of the engine, as it describes them. Raises StopError."""
    asked = ask_engine("ps", "--all", "--quiet", "--no-trunc")
    if asked.returncode:
        check_engine(project)
    ids = asked.stdout.split()
    # One that ends meanwhile is missing in the answer.
    found: list[dict[str, Any]] = (
        json.loads(ask_engine("inspect", *ids).stdout or "[]") if ids else []
    )
    return found


def disk(used: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """The bytes of images and volumes by the project that has them.

    Images of a project share layers, which count once for it, even if another project has them too.
    """
    images: dict[str, list[dict[str, Any]]] = {}
    for one in used.get("Images") or ():
        name = one["Repository"]
        images.setdefault(OTHERS if name == "<none>" else name, []).append(one)
    volumes: dict[str, float] = {}
    for one in used.get("Volumes") or ():
        named = re.search(rf"(?:^|,){re.escape(LABEL)}=([^,]*)", one.get("Labels") or "")
        name = named[1] if named else OTHERS
        volumes[name] = volumes.get(name, 0) + size(one["Size"])
    found = {}
    for name in {*images, *volumes}:
        here = images.get(name, [])
        shared = max((size(one["SharedSize"]) for one in here), default=0)
        unique = sum(size(one["UniqueSize"]) for one in here)
        found[name] = unique + shared, volumes.get(name, 0)
    return found


def listing(project: Project) -> str:
    """Running containers, and below them the projects with what they store."""
    every = containers(project)
    rows = [["CONTAINER", "USER", "GPUS", "LIMIT", "SINCE"]]
    users: dict[str, str] = {}
    for one in every:
        labels, state = one["Config"].get("Labels") or {}, one["State"]
        user = user_of(labels)
        users[labels.get(LABEL, "")] = user
        if state.get("Running"):
            host, name = one["HostConfig"], one["Name"].lstrip("/")
            given = gpus(host, one["Config"].get("Env") or ())
            since = state.get("StartedAt", "")[:16].replace("T", " ")
            rows.append([name, user, given, limit(host), since])
    asked = ask_engine("system", "df", "-v", "--format", "{{json .}}")
    used = read_json(asked.stdout)
    stored = disk(used)
    parts = columns(rows) if len(rows) > 1 else ["No container runs."]
    if stored:
        places = sorted(stored.items(), key=lambda item: -sum(item[1]))
        sizes = [[name, users.get(name, ""), *map(shown, found)] for name, found in places]
        parts += ["", *columns([["DISK", "USER", "IMAGES", "VOLUMES"], *sizes])]
    cache = sum(size(one.get("Size", "")) for one in used.get("BuildCache") or ())
    if asked.returncode:  # Podman does not know both options at once
        command = " ".join(engine_command("system", "df", "-v"))
        parts += ["", f"What each project stores is not known here. All images: {command}"]
    parts += [f"Build cache: {shown(cache)}."] if shown(cache) else []
    return "\n".join(parts)
