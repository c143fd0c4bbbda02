"""What .env says about GPUs: cpu or gpu, and the overlay of COMPOSE_FILE."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .gpus import OVERLAYS, WAYS, overlays, unknown_ids, way_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from .facts import Facts

PINS_OVERLAY = "compose.pins.yaml"  # what `template.sh pin` writes: named where it is there
CA_OVERLAY = "compose.ca.yaml"
REFRESH = "./template.sh env --refresh"


def split_files(current: Mapping[str, str]) -> tuple[list[str], str]:
    """The files of COMPOSE_FILE, and what separates them."""
    separator = current.get("COMPOSE_PATH_SEPARATOR") or ":"
    return [name for name in current.get("COMPOSE_FILE", "").split(separator) if name], separator


def with_overlay(files: Sequence[str], base: Sequence[str], way: str) -> list[str]:
    """Compose files with the overlay of one way to GPUs and no other, behind the template's own."""
    others = [name for name in files if way_of([name]) == "none"]
    before = (*base, PINS_OVERLAY, CA_OVERLAY)
    at = max((others.index(one) + 1 for one in before if one in others), default=0)
    return [*others[:at], *([OVERLAYS[way]] if way in OVERLAYS else []), *others[at:]]


@dataclass(frozen=True)
class Gpus:
    """What .env shall say about GPUs: CPU_OR_GPU, and the way whose overlay COMPOSE_FILE names.

    `wrote` is to be remembered: what a machine decided, so that the user's own choice is told from
    it the next time.
    """

    mode: str
    way: str
    wrote: Mapping[str, str]


def gpu_or_cpu(facts: Facts) -> str:
    """CPU_OR_GPU as this machine suggests it; nothing where driver or engine give no answer."""
    if facts.gpu_status == "unknown" or (facts.gpus and not facts.engine.reachable):
        return ""
    return "gpu" if facts.access.ways else "cpu"


def decide_gpus(
    facts: Facts,
    settings: Mapping[str, str],
    wrote: Mapping[str, str],
    refresh: Collection[str] = (),
) -> Gpus:
    """CPU_OR_GPU and the way to GPUs: the machine's, until the user says something else in .env.

    `settings` are the keys of .env, `wrote` what a machine last decided there. Who writes
    CPU_OR_GPU decides whether there is an overlay; who changes the overlay in COMPOSE_FILE, which.
    """
    machine, ways = gpu_or_cpu(facts), facts.access.ways
    mode, way = settings.get("CPU_OR_GPU"), way_of(split_files(settings)[0])
    new_files = "COMPOSE_FILE" not in settings or "COMPOSE_FILE" in refresh
    own_mode = mode is not None and "CPU_OR_GPU" not in refresh and mode != wrote.get("CPU_OR_GPU")
    own_way = not new_files and way != wrote.get("COMPOSE_FILE", "none")
    if not own_mode:
        mode = machine or mode or "cpu"
    if not machine:  # nothing is known now: all stays as it is
        best = "none" if "COMPOSE_FILE" in refresh else way
    elif mode != "gpu":
        best = "none"
    else:
        best = way if way in ways and not new_files else next(iter(ways), "none")
    # A user who changed COMPOSE_FILE meant it, unless CPU_OR_GPU now says the opposite.
    kept = own_way and (way != "none") == (mode == "gpu")
    kept = kept or (own_way and not (own_mode and "CPU_OR_GPU" in wrote))
    remember = dict(wrote)
    if not own_mode:
        remember["CPU_OR_GPU"] = str(mode)
    if not kept:
        remember["COMPOSE_FILE"] = best
    return Gpus(str(mode), way if kept else best, remember)


def followed_gpus(gpus: Gpus, before: Mapping[str, str]) -> dict[str, str]:
    """The keys that .env has with another value than `gpus`; of COMPOSE_FILE only the overlay."""
    followed: dict[str, str] = {}
    if before.get("CPU_OR_GPU", gpus.mode) != gpus.mode:
        followed["CPU_OR_GPU"] = gpus.mode
    files, separator = split_files(before)
    if "COMPOSE_FILE" in before and way_of(files) != gpus.way:
        followed["COMPOSE_FILE"] = separator.join(with_overlay(files, ["compose.yaml"], gpus.way))
    return followed


def write_overlays(
    folder: Path, settings: Mapping[str, str], facts: Facts, who: tuple[int, int] | None
) -> list[str]:
    """Write both overlays for GPU_IDS, the shell's before that of .env; what there is to say of it.

    Both, so that a person who prefers the other one only has to name it in COMPOSE_FILE. `who` is
    the user and group id they are given by a caller who is root.
    """
    gpu_ids = os.environ.get("GPU_IDS", settings.get("GPU_IDS", ""))
    notes = [
        f"GPU_IDS names {one}, which this machine does not have: ./template.sh gpus lists them."
        for one in (unknown_ids(gpu_ids, facts.gpus) if facts.gpus else [])
    ]
    for name, text in overlays(gpu_ids, facts).items():
        path = folder / name
        try:
            if not path.is_file() or path.read_bytes() != text.encode():
                path.write_text(text)
                if who:
                    os.chown(path, *who)
        except OSError as error:
            notes.append(f"Cannot write {path}: {error.strerror}.")
    return notes


def gpu_notes(facts: Facts, settings: Mapping[str, str], *, news: bool) -> list[str]:
    """How the containers get GPUs, where that is news; else why they get none that is there."""
    cause = without_gpus(facts, settings)
    way = way_of(split_files(settings)[0])
    if not cause:
        return [f"The containers get GPUs by {WAYS[way]} ({OVERLAYS[way]})."] if news else []
    if not facts.gpus or "CPU_OR_GPU" in cause[0]:  # said elsewhere, or the user's will
        return []
    return [f"The containers get no GPU: {cause[0]}. To mend it: {cause[1]}"]


def without_gpus(facts: Facts, settings: Mapping[str, str]) -> tuple[str, str] | None:
    """Why containers get no GPU as .env is, with no full stop, and what helps; None if they do."""
    way = way_of(split_files(settings)[0])
    access, overlay = facts.access, OVERLAYS.get(way, "")
    if way in access.ways:
        return None
    if not access.ways:
        useless = bool(overlay) and not facts.gpus
        return access.note, f"{REFRESH} COMPOSE_FILE CPU_OR_GPU" if useless else access.fix
    if overlay:
        why = f"{overlay} does not fit: this engine hands GPUs over by {WAYS[access.ways[0]]}"
        return why, f"{REFRESH} COMPOSE_FILE"
    if settings.get("CPU_OR_GPU") != "gpu":
        return "CPU_OR_GPU in .env says cpu", f"{REFRESH} CPU_OR_GPU"
    return "COMPOSE_FILE in .env names no overlay", f"{REFRESH} COMPOSE_FILE"
