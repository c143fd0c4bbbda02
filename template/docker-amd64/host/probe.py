"""All facts together.

No source of facts can break or delay another: each runs by itself with a time limit, and what fails
is simply not known. It changes nothing and asks no network.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ask import LOOK_LIMIT, gather, read_text
from .engine import ENGINE_LIMIT, engine
from .env_file import Settings
from .facts import Engine, Facts, Graphics, Person
from .gpus import access
from .machine import ca_bundle, caller, cores, memory_mib, owner, time_zone, wsl
from .nvidia import NvmlChild, graphics

if TYPE_CHECKING:
    from collections.abc import Callable


def probe(folder: Path | None = None) -> Facts:
    """Look at this machine, for the project whose .env is in `folder` (default: around this one).

    Never raises; a fact that could not be had has the default that `Facts` gives it.
    """
    folder = (folder or Path(__file__).parents[1]).resolve()
    environ = dict(os.environ)
    try:
        child: NvmlChild | None = NvmlChild()  # before any thread: those do not survive a fork
    except (AttributeError, OSError):  # Windows has no fork; its driver comes with nvidia-smi
        child = None

    def project_owner() -> Person | None:
        # A root that just made the folder inside somebody's project is not that project's owner.
        owners = [owner(path, environ) for path in (folder.parent, folder)]
        return next((one for one in owners if one and one.uid != 0), owners[0])

    def data_owner() -> Person | None:
        data = Settings(folder, environ).path("LOCAL_DATA_DIR")
        return owner(data, environ) if data else None

    sources: dict[str, Callable[[], Any]] = {
        "engine": engine,
        "graphics": lambda: graphics(child),
        "user": lambda: caller(environ),
        "project_owner": project_owner,
        "data_owner": data_owner,
        "timezone": lambda: time_zone(environ),
        "memory_mib": memory_mib,
        "cores": cores,
        "wsl": wsl,
        "selinux": lambda: read_text(Path("/sys/fs/selinux/enforce")).strip() == "1",
        "ca_bundle": lambda: ca_bundle(environ),
    }
    found = gather(sources, ENGINE_LIMIT + LOOK_LIMIT)
    for key in ("project_owner", "data_owner"):
        if found.get(key) and found.get("user") and found[key].uid == found["user"].uid:
            found[key] = None
    found.setdefault("engine", Engine(problem="the engine's answer is odd", fix="docker info"))
    failed = Graphics(gpu_status="unknown", gpu_note="the driver's answer is odd")
    facts = Facts(**{**vars(found.pop("graphics", failed)), **found})
    return replace(facts, access=access(facts.engine, facts))
