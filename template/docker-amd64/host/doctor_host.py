"""What the doctor finds in facts about a machine and its container engine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .findings import ERROR, Finding
from .images import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .findings import Check, Subject

# What projects need; README.md and the project's manual say the same.
ENGINE = {"docker": (23, 0), "docker-rootless": (23, 0), "docker-desktop": (23, 0)}
COMPOSE = (2, 24)


def numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version; none of them if it is not known."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def dotted(version: tuple[int, ...]) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))


def container_engine(subject: Subject) -> Iterator[Finding]:
    """Whether an engine and Compose answer."""
    engine = subject.facts.engine
    if not engine.problem:
        return
    known = {"cause": engine.problem, "remedy": engine.fix}
    seen = f"{engine.kind} {engine.version}".strip()
    if engine.failure:
        yield Finding(engine.failure, ERROR, f"engine: {seen}", known)
    else:
        yield Finding("engine-error", ERROR, f"engine: {seen}", known)


def versions(subject: Subject) -> Iterator[Finding]:
    """Whether the engine and Compose are new enough."""
    engine = subject.facts.engine
    least = ENGINE.get(engine.kind)
    if least and engine.version and numbers(engine.version) < least:
        known = {"version": engine.version, "needed": dotted(least)}
        yield Finding("engine-too-old", ERROR, f"engine {engine.version}", known)
    if engine.compose in ("plugin", "standalone") and numbers(engine.compose_version) < COMPOSE:
        known = {"version": engine.compose_version, "needed": dotted(COMPOSE)}
        yield Finding("compose-old", ERROR, f"Compose {engine.compose_version}", known)


def architecture(subject: Subject) -> Iterator[Finding]:
    """Whether the engine's processor is one that the images are for."""
    here = subject.details.engine_architecture or subject.facts.architecture
    if here and here not in ARCHITECTURES and subject.details.system != "Darwin":
        yield Finding("other-architecture", ERROR, here, {"architecture": here})


CHECKS: tuple[Check, ...] = (container_engine, versions, architecture)
