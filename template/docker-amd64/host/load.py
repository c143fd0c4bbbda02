"""The GPUs as users who share them look at them: memory, load, and whose programs run there."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .ask import command, gather
from .env_file import Settings
from .gpu_env import without_gpus
from .gpu_facts import gpu_facts
from .gpus import known_ids, split_ids
from .leases import leases, waiters
from .nvidia import GPU_LIMIT, WSL_LIBRARIES, NvmlChild, read_loads
from .plain import columns
from .probe import owner, probe

if TYPE_CHECKING:
    import argparse

    from .facts import Facts
    from .project import Project

PROC = Path("/proc")
NUMBER = re.compile(r"\d+")
IDLE_PERCENT = 5  # of time in which something ran
FIELDS = ("uuid", "memory.used", "memory.total", "utilization.gpu")  # of nvidia-smi
# What the driver itself and a desktop take, in MiB or as a share. Inside of WSL no driver lists
# processes, so that only memory tells of them.
IDLE_MIB, IDLE_SHARE = 2048, 0.05


class Load(NamedTuple):
    """What keeps a GPU or a MIG instance busy; None is not known.

    Attributes:
        used_mib: memory in use.
        total_mib: memory in all.
        percent: of the last second in which something ran.
        processes: how many compute there.
    """

    used_mib: int
    total_mib: int
    percent: int | None
    processes: int

    @property
    def idle(self) -> bool:
        """Whether nobody computes there. Between two steps of a training the memory still tells."""
        used = self.used_mib > max(IDLE_MIB, IDLE_SHARE * self.total_mib)
        return not (self.processes or used or (self.percent or 0) > IDLE_PERCENT)


def query(program: str, what: str) -> list[list[str]]:
    """The rows of an `nvidia-smi` query; none where it fails or takes too long."""
    answer = command([program, what, "--format=csv,noheader,nounits"], GPU_LIMIT)
    rows = answer.out.splitlines() if answer.status == 0 else []
    return [[cell.strip() for cell in row.split(",")] for row in rows if "," in row]


def smi() -> str | None:
    """The program nvidia-smi."""
    return shutil.which("nvidia-smi") or shutil.which(str(WSL_LIBRARIES / "nvidia-smi"))


def current_loads() -> dict[str, Load]:
    """The load of GPUs and MIG instances by UUID; those of which the driver says nothing lack."""
    answer: dict[str, Any] = {}
    # Windows has no fork; a driver that hangs is a TimeoutError.
    with suppress(AttributeError, OSError):
        answer = NvmlChild(read_loads).answer(GPU_LIMIT)
    if answer.get("loads"):  # a pynvml that is newer than the driver gives none
        return {uuid: Load(*load) for uuid, load in answer["loads"].items()}
    program = smi()
    rows = query(program, f"--query-gpu={','.join(FIELDS)}") if program else []
    apps = query(program, "--query-compute-apps=gpu_uuid,pid") if program and rows else []
    busy = [row[0] for row in apps]
    found = {}
    for uuid, used, total, percent in (row for row in rows if len(row) == len(FIELDS)):
        if NUMBER.fullmatch(used) and NUMBER.fullmatch(total):
            share = int(percent) if NUMBER.fullmatch(percent) else None
            found[uuid] = Load(int(used), int(total), share, busy.count(uuid))
    return found


def process_owner(pid: str, proc: Path = PROC) -> str:
    """The owner of a process, or its number where /proc does not tell."""
    found = owner(proc / pid, os.environ)
    return found.name if found else f"process {pid}"


def share(used: str, total: str) -> str:
    """Memory in use of all, in GiB; nothing where the driver does not say."""
    if not (NUMBER.fullmatch(used) and NUMBER.fullmatch(total)):
        return ""
    return f"{int(used) / 1024:.1f} of {int(total) / 1024:.0f} GiB"


def listing(folder: Path, facts: Facts) -> str:
    """A line for each GPU and MIG instance; `*` marks those that the containers get."""
    program = smi()
    settings = Settings(folder)
    found = gpu_facts(facts)
    if not found.gpus:
        return f"No GPU: {found.gpu_note or 'none was found'}."
    answers = {}
    if program:
        queries = {
            "gpus": lambda: query(program, f"--query-gpu={','.join(FIELDS)}"),
            "apps": lambda: query(program, "--query-compute-apps=gpu_uuid,pid"),
        }
        answers = gather(queries, GPU_LIMIT)
    loads = {row[0]: row[1:] for row in answers.get("gpus", []) if len(row) == len(FIELDS)}
    in_use: dict[str, list[str]] = {}
    for uuid, pid, *_ in answers.get("apps", []):
        in_use.setdefault(uuid, []).append(process_owner(pid))
    known, wanted = known_ids(found.gpus), split_ids(settings.get("GPU_IDS"))

    def mark(uuid: str) -> str:
        return "*" if not wanted or set(wanted) & {*known.get(uuid, []), uuid} else ""

    def users(uuid: str) -> str:
        return ", ".join(sorted(set(in_use.get(uuid, []))))

    leased = {gpu: one.who for one in leases() for gpu in one.gpus}
    rows = [["", "GPU", "NAME", "MEMORY", "LOAD", "IN USE BY", "UUID"]]
    for at, gpu in enumerate(found.gpus):
        index = str(at if gpu.index is None else gpu.index)
        used, total, load = loads.get(gpu.uuid, ["", "", ""])
        busy = f"{load} %" if NUMBER.fullmatch(load) else ""
        marked = "" if gpu.mig_enabled else mark(gpu.uuid)
        rows.append([marked, index, gpu.name, share(used, total), busy, users(gpu.uuid), gpu.uuid])
        for slot, part in enumerate(gpu.mig):
            size = f"{part.memory_mib / 1024:.0f} GiB" if part.memory_mib else ""
            name = part.name.replace(f"{gpu.name} ", "")
            here = [mark(part.uuid), f"{index}:{slot}", name, size, "", users(part.uuid), part.uuid]
            rows.append(here)
    text = columns(rows)
    names = {row[-1]: row[1] for row in rows}
    text += [f"GPU {names[gpu]}: leased by {who}" for gpu, who in leased.items() if gpu in names]
    waiting = waiters()
    text += [f"Waiting: {', then '.join(waiting)}"] if waiting else []
    if "CPU_OR_GPU" in settings.file:
        text.append("* what the containers get: GPU_IDS in .env, or all where that is empty")
        cause = without_gpus(facts, settings.file)
        text += [f"But they get none now: {cause[0]}.", f"  Run: {cause[1]}"] if cause else []
    return "\n".join(text)


def do_gpus(project: Project, _: argparse.Namespace) -> None:
    """List the GPUs of this machine."""
    print(listing(project.folder, probe(project.folder)))
