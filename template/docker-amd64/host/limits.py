"""Limits of .env that this machine cannot keep: said before a container starts without them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Mapping

from .ask import read_json, read_text
from .compose import show
from .engine_words import ask_engine
from .env_file import read_env
from .failures import failed

if TYPE_CHECKING:
    from .project import Project

# The limits of .env, and what says in the engine's answer that it can keep them.
KEPT_BY = {"CPUS": "CpuCfsQuota", "MEMORY": "MemoryLimit", "PIDS_LIMIT": "PidsLimit"}
UNITS = "bkmgtp"  # each 1024 times the one before
LEAST = 6 * 1024**2  # bytes; with less the engine refuses the container


def size(text: str) -> float:
    """The bytes that a size of Compose means, such as 1.5gb; 0 for an empty one."""
    number = re.sub(r"[^\d.]", "", text)
    unit = re.sub(r"[\d. ]", "", text.lower())[:1] or "b"
    return float(number or 0) * 1024.0 ** UNITS.index(unit)


def own_process_limit(project: Project) -> int:
    """PIDS_LIMIT of .env where it limits and is not that of every project, else 0."""
    value = project.settings.get("PIDS_LIMIT")
    example = read_env(read_text(project.folder / ".env.example")).get("PIDS_LIMIT")
    return 0 if value == example else max(int(value or 0), 0)


def of_podman(host: Mapping[str, Any]) -> dict[str, Any]:
    """What Podman says of its machine, in the words of Docker."""
    controllers = host.get("cgroupControllers") or []
    return {
        "NCPU": host.get("cpus"),
        "CpuCfsQuota": "cpu" in controllers,
        "MemoryLimit": "memory" in controllers,
        "PidsLimit": "pids" in controllers,
        "MemTotal": host.get("memTotal", 0),
    }


def check_limits(project: Project) -> None:
    """Say which limits do not apply here.

    Raises:
        StopError: the engine refuses a container with them.
    """
    settings = project.settings
    cpus, memory = float(settings.get("CPUS") or 0), size(settings.get("MEMORY"))
    if 0 < memory < LEAST:
        raise failed("memory-too-small", project)
    asked = {"CPUS": cpus, "MEMORY": memory, "PIDS_LIMIT": own_process_limit(project)}
    if not any(asked.values()):
        return
    machine = read_json(ask_engine("info", "--format", "{{json .}}").stdout)
    if "host" in machine:
        machine = of_podman(machine["host"])
    if not machine.get("NCPU"):  # it does not answer, which the start itself will explain
        return
    if cpus > machine["NCPU"]:
        raise failed("cpus-too-many", project, cpus=str(machine["NCPU"]))
    without = machine.get("CgroupDriver") == "none"
    lost = [key for key in KEPT_BY if asked[key] and (without or not machine.get(KEPT_BY[key]))]
    if lost:
        do = "do" if len(lost) > 1 else "does"
        show(
            f"{' and '.join(lost)} of .env {do} not apply: this engine has no control groups for "
            "that. See https://docs.docker.com/engine/security/rootless/tips/#limiting-resources"
        )
    elif memory > machine.get("MemTotal", memory):
        has = machine["MemTotal"] / 1024**3
        show(f"MEMORY of .env limits nothing: this machine has {has:.0f}gb.")
