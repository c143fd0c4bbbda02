"""GPUs as the accelerator of a project: the facts about them, and what .env says of them."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .accelerator import OVERRIDE_FILES, Accelerator, Known, Suggestion, compose_files
from .files import write_file
from .gpu_facts import GpuFacts, Graphics, chosen_gpus, gpu_facts
from .gpus import (
    ACCESS_NAMES,
    access,
    access_kind,
    access_lines,
    gpu_lines,
    override_texts,
    unknown_ids,
)
from .nvidia import (
    NvmlChild,
    container_toolkit,
    graphics,
    has_driver,
    kernel_module,
    secure_boot,
)
from .project import code_services, me

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from .facts import Facts

DECIDED = ("CPU_OR_GPU", "COMPOSE_FILE")  # what is recorded of these keys


class NvidiaGpus(Accelerator):
    """NVIDIA GPUs; the facts are `GpuFacts`."""

    chosen_keys = ("GPU_IDS",)
    files = tuple(OVERRIDE_FILES.values())

    def sources(self) -> dict[str, Callable[[], Any]]:
        """What the driver is asked, in a child process."""
        child: NvmlChild | None
        try:
            child = NvmlChild()
        except (AttributeError, OSError):  # Windows has no fork; its driver comes with nvidia-smi
            child = None
        return {
            "graphics": lambda: graphics(child),
            "module": kernel_module,
            # Both cost time, so each is asked only where it can decide something.
            "toolkit": lambda: container_toolkit() if has_driver() else "",
            "secure_boot": lambda: None if has_driver() else secure_boot(),
        }

    def facts(self, answers: Mapping[str, Any]) -> GpuFacts:
        """The facts, and which GPU access the engine has."""
        others = dict(answers)
        failed = Graphics(gpu_status="unknown", gpu_note="the driver's answer is odd")
        found = GpuFacts(**vars(others.pop("graphics", failed)), **others)
        # An engine of another machine, also of a virtual one, has a toolkit of its own.
        toolkit = found.toolkit if found.engine.local else ""
        return replace(found, access=access(found.engine, found), toolkit=toolkit)

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        """The driver, the GPUs, and how containers get them."""
        found = gpu_facts(facts)
        driver = f"{found.driver} (CUDA {found.cuda or 'unknown'})" if found.driver else ""
        return [
            ("driver", driver),
            *(("GPU", line) for line in gpu_lines(found)),
            *(("containers", line) for line in access_lines(found)),
        ]

    def record(self, facts: Facts) -> dict[str, str]:
        """The GPUs without their ids, which no result depends on, and the driver."""
        found = gpu_facts(facts)
        gpus = (f"{gpu.name} ({gpu.compute_capability or 'unknown'})" for gpu in found.gpus)
        return {
            "GPUs": ", ".join(gpus) or "none",
            "driver": found.driver or "none",
            "CUDA of the driver": found.cuda or "none",
        }

    def suggestion(self, facts: Facts, known: Known) -> Suggestion:
        """The GPU keys, and the override file.

        GPU_IDS and CPU_OR_GPU are left out when driver or engine give no answer: the example's safe
        default, or the user's value, is kept. CCA is that of the GPUs in GPU_IDS.
        """
        found = gpu_facts(facts)
        used = chosen_gpus(found, known.settings.get("GPU_IDS", ""))
        values: dict[str, str] = {}
        notes: list[str] = []
        if found.gpu_status != "unknown":
            values["GPU_IDS"] = ",".join(found.gpu_ids)
        if cpu_or_gpu(found):
            values["CPU_OR_GPU"] = cpu_or_gpu(found)
        # "auto", and behind it what that means where no GPU is seen
        auto, _, without_gpu = known.example.get("CCA", "").partition(" ")
        if auto == "auto":
            values["CCA"] = " ".join(used.compute_capabilities) or without_gpu
            if "CCA" not in known.settings and not used.compute_capabilities:
                every = "all architectures of this CUDA build"
                notes.append(f"CCA: no GPU found; compiling for {every}, {without_gpu}.")
        mode, kind, remember = decide(found, known.before, known.decided, known.refresh)
        changed = known.before.get("CPU_OR_GPU", mode) != mode
        return Suggestion(
            values=values,
            followed={"CPU_OR_GPU": mode} if changed else {},
            override=OVERRIDE_FILES.get(kind, ""),
            decided=remember,
            notes=tuple(notes),
        )

    def write_overrides(
        self, folder: Path, settings: Mapping[str, str], facts: Facts, owner: tuple[int, int] | None
    ) -> list[str]:
        """Write both override files for GPU_IDS, the shell's before that of .env.

        Both, so that a user who prefers the other one only has to name it in COMPOSE_FILE. A
        caller who is root gives them to `owner`, a user and a group id.
        """
        found = gpu_facts(facts)
        gpu_ids = os.environ.get("GPU_IDS", settings.get("GPU_IDS", ""))
        notes = [
            f"GPU_IDS names {one}, which this machine does not have: {me()} gpus lists them."
            for one in (unknown_ids(gpu_ids, found.gpus) if found.gpus else [])
        ]
        named = re.split(r"[,\s]+", gpu_ids)
        notes += [
            f"GPU_IDS names {one} more than once; containers get it once."
            for one in dict.fromkeys(named)
            if one and named.count(one) > 1
        ]
        if found.wsl and len(chosen_gpus(found, gpu_ids).gpus) < len(found.gpus):
            notes.append("GPU_IDS does not choose in WSL: containers there have all GPUs.")
        texts = override_texts(gpu_ids, found, services=code_services(folder))
        for name, text in texts.items():
            write_file(folder / name, text, owner=owner)
        return notes

    def notes(self, facts: Facts, settings: Mapping[str, str], *, changed: bool) -> list[str]:
        """How containers get GPUs, if that `changed`; else why they get none of those there are."""
        cause = without_gpus(facts, settings)
        kind = access_kind(compose_files(settings)[0])
        if not cause:
            how = f"The containers get GPUs by {ACCESS_NAMES[kind]} ({OVERRIDE_FILES[kind]})."
            return [how] if changed else []
        if not gpu_facts(facts).gpus or "CPU_OR_GPU" in cause[0]:  # reported, or the user's will
            return []
        return [f"The containers get no GPU: {cause[0]}. To mend it: {cause[1]}"]

    def missing(self, facts: Facts, settings: Mapping[str, str]) -> tuple[str, str] | None:
        """See `without_gpus`."""
        return without_gpus(facts, settings)


def cpu_or_gpu(facts: GpuFacts) -> str:
    """CPU_OR_GPU as this machine suggests it; nothing where driver or engine give no answer."""
    if facts.gpu_status == "unknown" or (facts.gpus and not facts.engine.reachable):
        return ""
    return "gpu" if facts.access.kinds else "cpu"


def decide(
    facts: GpuFacts,
    settings: Mapping[str, str],
    decided: Mapping[str, str],
    refresh: Collection[str],
) -> tuple[str, str, dict[str, str]]:
    """CPU_OR_GPU, the kind of GPU access, and what is to be recorded of both.

    They are the machine's until the user writes something else into .env: `settings` are the keys
    of .env, `decided` what a machine last decided there. Who writes CPU_OR_GPU decides whether
    there is an override file; who changes the override file in COMPOSE_FILE, which.
    """
    remember = {key: decided[key] for key in DECIDED if key in decided}
    machine, kinds = cpu_or_gpu(facts), facts.access.kinds
    mode, kind = settings.get("CPU_OR_GPU"), access_kind(compose_files(settings)[0])
    new_files = "COMPOSE_FILE" not in settings or "COMPOSE_FILE" in refresh
    own_mode = (
        mode is not None and "CPU_OR_GPU" not in refresh and mode != remember.get("CPU_OR_GPU")
    )
    own_kind = not new_files and kind != remember.get("COMPOSE_FILE", "none")
    if not own_mode:
        mode = machine or mode or "cpu"
    if not machine:  # nothing is known now: all is kept as it is
        best = "none" if "COMPOSE_FILE" in refresh else kind
    elif mode != "gpu":
        best = "none"
    else:
        best = kind if kind in kinds and not new_files else next(iter(kinds), "none")
    # A user who changed COMPOSE_FILE meant it, unless CPU_OR_GPU now says the opposite.
    kept = own_kind and (kind != "none") == (mode == "gpu")
    kept = kept or (own_kind and not (own_mode and "CPU_OR_GPU" in remember))
    if not own_mode:
        remember["CPU_OR_GPU"] = str(mode)
    if not kept:
        remember["COMPOSE_FILE"] = best
    return str(mode), kind if kept else best, remember


def without_gpus(facts: Facts, settings: Mapping[str, str]) -> tuple[str, str] | None:
    """Why containers get no GPU as .env is, with no full stop, and what helps; None if they do."""
    found = gpu_facts(facts)
    kind = access_kind(compose_files(settings)[0])
    override = OVERRIDE_FILES.get(kind, "")
    if kind in found.access.kinds:
        return None
    if not found.access.kinds:
        useless = bool(override) and not found.gpus
        refresh = f"{me()} env --refresh COMPOSE_FILE CPU_OR_GPU"
        return found.access.note, refresh if useless else found.access.fix
    if override:
        name = ACCESS_NAMES[found.access.kinds[0]]
        why = f"{override} does not fit: this engine hands GPUs over by {name}"
        return why, f"{me()} env --refresh COMPOSE_FILE"
    if settings.get("CPU_OR_GPU") != "gpu":
        return "CPU_OR_GPU in .env says cpu", f"{me()} env --refresh CPU_OR_GPU"
    return (
        "COMPOSE_FILE in .env names no override file for GPUs",
        f"{me()} env --refresh COMPOSE_FILE",
    )
