"""What this machine adds to a failure about GPUs; see look.py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .abilities import numbers
from .ask import command, read_text
from .compose import container
from .engine_words import ask_engine
from .env_file import read_env
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


def compat(case: Case) -> Seen:
    """What helps where the base image has no folder cuda-compat: a package brings that libcuda."""
    if "CUDA_COMPAT" in read_env(read_text(case.project.folder / ".env.example")):
        return {}
    return {
        "cause": "A package of yours brings a libcuda newer than the driver's own, which only GPUs "
        "of data centers accept (error 804). Remove it, then build.",
        "remedy": f"{me()} run sh -c 'find / -name \"libcuda.so.*\" 2>/dev/null'",
    }


def driver(case: Case) -> Seen:
    """The CUDA that the driver runs, as an answer; or an image for every driver of its family."""
    project, said = case.project, command(["nvidia-smi"], LIMIT).out
    least = project.gpus.get("min_driver", "")
    found = re.search(r"(?:Driver|KMD) Version: (\d[\d.]+)", said)
    enough = found and least and numbers(found.group(1)) >= numbers(least)
    if enough and project.settings.get("CUDA_COMPAT") == "keep":
        # Without the folder cuda-compat, the image does not ask for a driver with its own CUDA.
        return {"remedy": f"{me()} env --set CUDA_COMPAT=remove && {me()} build"}
    runs = re.search(r"CUDA Version: (\d+\.\d+)", said)
    if not runs or project.service in ("ngc", "hub"):
        return {}
    return {"remedy": f"{me()} update --data cuda_version={runs.group(1)}"}
