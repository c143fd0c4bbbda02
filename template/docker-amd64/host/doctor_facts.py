"""What only the doctor asks of a machine, so that up and env stay quick."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from .ask import command, gather, read_json
from .engine import ENGINE_LIMIT, GO_JSON
from .failures import hosts

if TYPE_CHECKING:
    from .facts import Engine

DETAILS_LIMIT = 3.5  # seconds for all of it


@dataclass(frozen=True)
class Details:
    """What is not known is None or empty.

    `hosts` are the words of remedies for the machine: mac, wsl, no-systemd, docker-ce, and the id
    of the distribution. `system` is the kernel's name. `buildx` is its version, "none" without it.
    """

    hosts: tuple[str, ...] = ()
    system: str = ""
    buildx: str = ""
    engine_architecture: str = ""


def details(engine: Engine) -> Details:
    """Ask this machine. Never raises; what gives no answer in time is not known."""
    sources: dict[str, Callable[[], dict[str, Any]]] = {
        "machine": lambda: {"hosts": tuple(hosts()), "system": os.uname().sysname},
    }
    if engine.reachable and shutil.which("docker"):
        sources["engine"] = of_docker
    answers = gather(sources, DETAILS_LIMIT)
    return Details(**{key: value for one in answers.values() for key, value in one.items()})


def of_docker() -> dict[str, Any]:
    """What `docker info` says that a start does not need."""
    info = read_json(command(["docker", "info", "--format", GO_JSON], ENGINE_LIMIT).out)
    plugins = (info.get("ClientInfo") or {}).get("Plugins")
    found = {one.get("Name"): one for one in plugins or [] if not one.get("Err")}
    buildx = str(found.get("buildx", {}).get("Version") or "none") if plugins is not None else ""
    return {
        "buildx": buildx.lstrip("v"),
        "engine_architecture": str(info.get("Architecture") or ""),
    }
