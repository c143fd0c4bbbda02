"""The processor that docker-amd64 is for, and what is said where there is another one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .failures import failed

if TYPE_CHECKING:
    from .facts import Engine, Facts
    from .project import StopError

ARCHITECTURES = ("x86_64", "amd64")  # the same processor, as kernel and engines call it


def other_processor(engine: Engine, machine: str, platform: str) -> str:
    """The processor that the images are not for; "" if they are for it, or nothing is known.

    Args:
        engine: what runs the containers; if it does not say where, they run on `machine`.
        machine: the processor of this machine.
        platform: DOCKER_DEFAULT_PLATFORM, by which a user lets the engine emulate another one.
    """
    here = engine.architecture or machine
    return "" if platform or here in ARCHITECTURES else here


def can_emulate(engine: Engine, system: str) -> bool:
    """Whether an engine on a kernel of that name, such as Darwin, emulates other processors."""
    return engine.kind == "docker-desktop" or system == "Darwin"


def wrong_processor(facts: Facts) -> StopError | None:
    """Why the images do not run on this machine as it is; None if they do."""
    platform = os.environ.get("DOCKER_DEFAULT_PLATFORM", "")
    here = other_processor(facts.engine, facts.architecture, platform)
    if not here:
        return None
    if can_emulate(facts.engine, os.uname().sysname if hasattr(os, "uname") else ""):
        return failed("architecture-emulated", architecture=here)
    return failed("other-architecture", architecture=here)
