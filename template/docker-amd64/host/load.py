"""The GPUs as users who share them look at them: memory, load, and whose programs run there."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .ask import command, gather
from .env_file import Settings
from .gpu_env import without_gpus
from .gpu_facts import gpu_facts
from .gpus import known_ids, split_ids
from .nvidia import GPU_LIMIT, WSL_LIBRARIES
from .plain import columns
from .probe import owner, probe

if TYPE_CHECKING:
    import argparse

    from .facts import Facts
    from .project import Project

PROC = Path("/proc")
NUMBER = re.compile(r"\d+")


def query(program: str, what: str) -> list[list[str]]:
    """The rows of an `nvidia-smi` query; none where it fails or takes too long."""
    answer = command([program, what, "--format=csv,noheader,nounits"], GPU_LIMIT)
    rows = answer.out.splitlines() if answer.status == 0 else []
    return [[cell.strip() for cell in row.split(",")] for row in rows if "," in row]


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
    program = shutil.which("nvidia-smi") or shutil.which(str(WSL_LIBRARIES / "nvidia-smi"))
    settings = Settings(folder)
    found = gpu_facts(facts)
    if not found.gpus:
        return f"No GPU: {found.gpu_note or 'none was found'}."
    fields = ("uuid", "memory.used", "memory.total", "utilization.gpu")
    answers = {}
    if program:
        queries = {
            "gpus": lambda: query(program, f"--query-gpu={','.join(fields)}"),
            "apps": lambda: query(program, "--query-compute-apps=gpu_uuid,pid"),
        }
        answers = gather(queries, GPU_LIMIT)
    loads = {row[0]: row[1:] for row in answers.get("gpus", []) if len(row) == len(fields)}
    in_use: dict[str, list[str]] = {}
    for uuid, pid, *_ in answers.get("apps", []):
        in_use.setdefault(uuid, []).append(process_owner(pid))
    known, wanted = known_ids(found.gpus), split_ids(settings.get("GPU_IDS"))

    def mark(uuid: str) -> str:
        return "*" if not wanted or set(wanted) & {*known.get(uuid, []), uuid} else ""

    def users(uuid: str) -> str:
        return ", ".join(sorted(set(in_use.get(uuid, []))))

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
    if "CPU_OR_GPU" in settings.file:
        text.append("* what the containers get: GPU_IDS in .env, or all where that is empty")
        cause = without_gpus(facts, settings.file)
        text += [f"But they get none now: {cause[0]}.", f"  Run: {cause[1]}"] if cause else []
    return "\n".join(text)


def do_gpus(project: Project, _: argparse.Namespace) -> None:
    """List the GPUs of this machine."""
    print(listing(project.folder, probe(project.folder)))
