"""The facts for people: as a table, and in single lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .gpus import WAYS

if TYPE_CHECKING:
    from .facts import Engine, Facts, Person


def engine_line(found: Engine) -> str:
    """The engine in one line."""
    names = {
        "docker": "Docker Engine",
        "docker-rootless": "rootless Docker",
        "docker-desktop": "Docker Desktop",
        "podman": "Podman",
    }
    compose = "podman-compose" if found.compose == "podman-compose" else "Compose"
    parts = [f"{names.get(found.kind, 'none')} {found.version}".strip()]
    parts += [f"{compose} {found.compose_version}"] if found.compose != "none" else []
    line = ", ".join(parts)
    if not found.problem:
        return line
    return f"{line}: {found.problem}" + (f" (failure: {found.failure})" if found.failure else "")


def gpu_lines(facts: Facts) -> list[str]:
    """A line for each GPU and MIG instance, or one that says why there is none."""
    lines: list[str] = []
    for gpu in facts.gpus:
        details = [f"compute capability {gpu.compute_capability or 'unknown'}"]
        details += [f"{gpu.memory_mib / 1024:.0f} GiB"] if gpu.memory_mib else []
        lines.append(f"{gpu.name} ({', '.join([*details, gpu.uuid])})")
        lines += [f"  {part.name} ({part.uuid})" for part in gpu.mig]
        if gpu.mig_enabled and not gpu.mig:
            lines.append("  MIG is on but has no instance: nothing can run on this GPU")
    return lines or [f"none: {facts.gpu_note}" if facts.gpu_note else "none"]


def access_lines(facts: Facts) -> list[str]:
    """How containers can get the GPUs, and what stands in the way; nothing without a GPU."""
    access = facts.access
    if not facts.gpus:
        return []
    ways = " or ".join(WAYS[way] for way in access.ways)
    lines = [f"get GPUs by {ways}"] if ways else []
    return [*lines, *([f"{access.note}: {access.fix}"] if access.note else [])]


def table(facts: Facts) -> str:
    """All facts as a table of two columns."""

    def shown(who: Person | None) -> str:
        return f"{who.uid}:{who.gid} ({who.name}:{who.group})" if who else ""

    def gibibytes(size: int | None) -> str:
        return f"{size / 1024:.1f} GiB" if size is not None else "unknown"

    found, free = facts.engine, facts.engine.disk_free_mib
    rows = [
        ("user", shown(facts.user)),
        ("project owner", shown(facts.project_owner)),
        ("data owner", shown(facts.data_owner)),
        ("engine", engine_line(found)),
        ("run", found.fix),
        ("free disk", f"{gibibytes(free)} in {found.root_dir}" if free is not None else ""),
        ("memory", gibibytes(facts.memory_mib)),
        ("cores", str(facts.cores)),
        ("time zone", facts.timezone),
        ("WSL", str(facts.wsl) if facts.wsl else ""),
        ("SELinux", "enforcing" if facts.selinux else ""),
        ("certificates", facts.ca_bundle),
        ("driver", f"{facts.driver} (CUDA {facts.cuda or 'unknown'})" if facts.driver else ""),
        *(("GPU", line) for line in gpu_lines(facts)),
        *(("containers", line) for line in access_lines(facts)),
    ]
    return "\n".join(f"{name:14} {value}" for name, value in rows if value)
