"""Limits of .env that this machine cannot keep: said before a container starts without them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .ask import read_json
from .compose import show
from .engine_words import ask_engine
from .failures import failed

if TYPE_CHECKING:
    from .project import Project

KEYS = ("CPUS", "MEMORY")
UNITS = "bkmgtp"  # each 1024 times the one before
LEAST = 6 * 1024**2  # bytes; with less the engine refuses the container


def size(text: str) -> float:
    """The bytes that a size of Compose means, such as 1.5gb; 0 for an empty one."""
    number = re.sub(r"[^\d.]", "", text)
    unit = re.sub(r"[\d. ]", "", text.lower())[:1] or "b"
    return float(number or 0) * 1024.0 ** UNITS.index(unit)


def check_limits(project: Project) -> None:
    """Say which limits do not apply here.

    Raises:
        StopError: the engine refuses a container with them.
    """
    settings = project.settings
    cpus, memory = float(settings.get("CPUS") or 0), size(settings.get("MEMORY"))
    if 0 < memory < LEAST:
        raise failed("memory-too-small", project)
    if not (cpus or memory):
        return
    asked = ask_engine("info", "--format", "{{json .}}")
    machine = read_json(asked.stdout)
    if not machine.get("NCPU"):  # it does not answer, which the start itself will explain
        return
    if cpus > machine["NCPU"]:
        raise failed("cpus-too-many", project, cpus=str(machine["NCPU"]))
    can = {"CPUS": machine.get("CpuCfsQuota"), "MEMORY": machine.get("MemoryLimit")}
    without = machine.get("CgroupDriver") == "none"
    lost = [key for key in KEYS if settings.get(key) and (without or not can[key])]
    if lost:
        show(
            f"{' and '.join(lost)} of .env does not apply: this engine has no control groups for "
            "it. See https://docs.docker.com/engine/security/rootless/tips/#limiting-resources"
        )
    elif memory > machine.get("MemTotal", memory):
        has = machine["MemTotal"] / 1024**3
        show(f"MEMORY of .env limits nothing: this machine has {has:.0f}gb.")
