"""What the doctor finds in the override files that give GPUs to containers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Iterator

from .ask import read_text
from .doctor_env import needs_env
from .findings import ERROR, WARNING, Finding
from .gpu_facts import gpu_facts
from .gpu_start import GPU_FILES
from .gpus import override_texts
from .mends import fill_env

if TYPE_CHECKING:
    from .findings import Check, Subject


@needs_env
def override_files(subject: Subject) -> Iterator[Finding]:
    """Whether COMPOSE_FILE names one override file for GPUs, as GPU_IDS wants it."""
    project, settings = subject.project, subject.project.settings
    named = [name for name in GPU_FILES if name in settings.files()]
    mend = partial(fill_env, subject, "COMPOSE_FILE")
    if len(named) > 1:
        files = " and ".join(named)
        yield Finding(
            "gpu-files-both", ERROR, f"{len(named)} in COMPOSE_FILE", {"files": files}, mend
        )
    gpu_ids, services = settings.get("GPU_IDS"), project.services["code"]
    wanted = override_texts(gpu_ids, gpu_facts(subject.facts), services=services)
    stale = [name for name in named if read_text(project.folder / name) != wanted[name]]
    if stale and subject.facts.engine.reachable and gpu_facts(subject.facts).gpus:
        known = {"files": " and ".join(stale)}
        evidence = f"GPU_IDS={settings.get('GPU_IDS')}"
        yield Finding("gpu-files-older", WARNING, evidence, known, partial(fill_env, subject))


CHECKS: tuple[Check, ...] = (override_files,)
