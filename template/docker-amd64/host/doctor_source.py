"""What the doctor finds for projects that compile PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .findings import WARNING, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .findings import Check, Subject

EACH_MIB = 4096  # of memory for each compiler, as image/torch-build.sh reckons


def compilers(subject: Subject) -> Iterator[Finding]:
    """Whether memory is enough for so many compilers at once."""
    memory = subject.facts.engine.memory_mib or subject.facts.memory_mib
    jobs = "" if subject.replayed else subject.project.settings.get("MAX_JOBS")
    wanted = int(jobs) if jobs.isdigit() else 1
    if not memory or wanted * EACH_MIB <= memory:
        return
    possible = max(memory // EACH_MIB, 1)
    seen = f"{wanted} at once (MAX_JOBS), {memory / 1024:.0f} GiB of memory"
    yield Finding("source-memory", WARNING, seen, {"jobs": str(possible)})


CHECKS: tuple[Check, ...] = (compilers,)
