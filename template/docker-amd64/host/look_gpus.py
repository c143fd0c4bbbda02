"""What this machine adds to a failure about GPUs; see look.py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .ask import command
from .compose import container
from .engine_words import ask_engine
from .gpu_env import without_gpus
from .look import LIMIT
from .probe import probe
from .project import me

if TYPE_CHECKING:
    from .look import Case, Seen
    from .project import Project


def access(case: Case) -> Seen:
    """Why containers get no GPU on this machine, and what helps, as the probe sees it."""
    found = gpu_cause(case.project)
    if not found:
        return {}
    seen = {"cause": f"The containers cannot get a GPU: {found[0]}."}
    return {**seen, "remedy": found[1]} if found[1] else seen


def required(case: Case) -> Seen:
    """The same for a container that has stopped because it got none."""
    reason, remedy = gpu_cause(case.project) or ("the container sees none", "")
    return {"reason": reason, "remedy": remedy}


def unhealthy(case: Case) -> Seen:
    """To start the dev container again, if it is the one that has lost its GPUs."""
    found = container(case.project)
    words = ("ps", "--quiet", "--filter", "health=unhealthy", "--filter", f"id={found}")
    if not found or not ask_engine(*words).stdout.strip():
        return {}
    return {"remedy": f"{me()} stop && {me()} start"}


def gpu_cause(project: Project) -> tuple[str, str] | None:
    """Why containers get no GPU on this machine, and what helps; None if they do."""
    settings = project.settings
    keys = ("COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "CPU_OR_GPU", "GPU_IDS")
    return without_gpus(probe(project.folder), {key: settings.in_file(key) for key in keys})


def driver(case: Case) -> Seen:
    """The CUDA that the driver runs, as an answer."""
    said = command(["nvidia-smi"], LIMIT).out
    runs = re.search(r"CUDA Version: (\d+\.\d+)", said)
    if not runs or case.project.service in ("ngc", "hub"):
        return {}
    return {"remedy": f"{me()} update --data cuda_version={runs.group(1)}"}
