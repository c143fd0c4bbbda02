"""What can be known of a machine: the engine, the users, and the rest."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Person:
    """A user, and the group that new files get."""

    uid: int
    gid: int
    name: str
    group: str


@dataclass(frozen=True)
class Engine:
    """The container engine that this user's command reaches: docker, or podman.

    `kind` is docker, docker-rootless, docker-desktop, podman or none; `compose` is plugin (`docker
    compose`), standalone (`docker-compose` 2 or later), v1 or none. `problem` is
    one sentence, empty when all is well, `fix` the command that helps, and `failure` the id of both
    in the table of failures. `local` means
    that its files are those of this machine.
    `disk_free_mib` is known when `root_dir` is a folder of this machine. `memory_mib` is what
    containers can have: under Docker Desktop less than the host has. `architecture` is that of the
    machine it runs on, in the engine's own words; `default_runtime` is what starts containers
    that ask for no other, and empty where it is not known.
    """

    kind: str = "none"
    reachable: bool = False
    version: str = ""
    rootless: bool = False
    maps_ids: bool = False  # it is not rootless, and yet id 0 in containers is the user at work
    compose: str = "none"
    compose_version: str = ""
    root_dir: str = ""
    disk_free_mib: int | None = None
    memory_mib: int | None = None
    problem: str = ""
    fix: str = ""
    failure: str = ""
    local: bool = True
    architecture: str = ""
    runtimes: tuple[str, ...] = ()
    default_runtime: str = ""
    cdi_dirs: tuple[str, ...] = ()  # where it looks for CDI files
    cdi_devices: tuple[str, ...] | None = None  # what CDI gives it; None: it does not say
    warnings: tuple[str, ...] = ()

    @property
    def is_rootless_podman(self) -> bool:
        """Whether it is Podman without root: id 0 inside is the user outside, as with Docker."""
        return self.kind == "podman" and self.rootless


def engine_line(found: Engine) -> str:
    """The engine in one line."""
    names = {
        "docker": "Docker Engine",
        "docker-rootless": "rootless Docker",
        "docker-desktop": "Docker Desktop",
        "podman": "Podman",
    }
    parts = [f"{names.get(found.kind, 'none')} {found.version}".strip()]
    parts += [f"Compose {found.compose_version}"] if found.compose != "none" else []
    line = ", ".join(parts)
    if not found.problem:
        return line
    return f"{line}: {found.problem}" + (f" (failure: {found.failure})" if found.failure else "")


@dataclass(frozen=True)
class Facts:
    """Everything the probe found. What is not known has its default; an owner, if not the user."""

    user: Person | None = None
    project_owner: Person | None = None
    data_owner: Person | None = None
    timezone: str = "Etc/UTC"
    memory_mib: int | None = None
    cores: int = 1
    architecture: str = ""  # as the kernel says it, such as x86_64 or aarch64
    wsl: int = 0  # 1 or 2 inside the Windows Subsystem for Linux
    selinux: bool = False  # enforcing
    ca_bundle: str = ""
    engine: Engine = field(default_factory=Engine)

    def as_dict(self) -> dict[str, Any]:
        """The facts as plain dictionaries, lists, strings and numbers, ready for JSON."""
        return asdict(self)

    @property
    def host_user(self) -> Person | None:
        """The user at work on the host: the caller, or for root the project folder's owner."""
        root = self.user is not None and self.user.uid == 0
        return (self.project_owner if root else None) or self.user

    @property
    def container_user(self) -> Person | None:
        """The user inside containers whose new files belong to the user at work on the host.

        Where the engine maps ids, id 0 inside is the user outside. A root at work for somebody else
        (`sudo`, a root shell) must leave no files of root behind: there, it is the owner of the
        project folder.
        """
        found = self.engine
        if found.kind == "docker-rootless" or found.maps_ids or found.is_rootless_podman:
            return Person(0, 0, "root", "root")
        return self.host_user
