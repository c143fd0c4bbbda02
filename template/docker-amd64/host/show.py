"""The facts for reading: as a table, and in single lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .accelerator import accelerator

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


def table(facts: Facts) -> str:
    """All facts as a table of two columns."""

    def shown(user: Person | None) -> str:
        return f"{user.uid}:{user.gid} ({user.name}:{user.group})" if user else ""

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
        *accelerator().rows(facts),
    ]
    return "\n".join(f"{name:14} {value}" for name, value in rows if value)
