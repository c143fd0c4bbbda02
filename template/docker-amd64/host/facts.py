"""What can be known of a machine: the engine, the GPUs, the person at work, and the rest."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
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
    """The container engine that this user's `docker` (or `podman`) command reaches.

    `kind` is docker, docker-rootless, docker-desktop, podman or none; `compose` is plugin (`docker
    compose`), standalone (`docker-compose` 2 or later), v1, podman-compose or none. `problem` is
    one sentence, empty when all is well, `fix` the command that helps, and `failure` the id of both
    in the table of failures. `local` means
    that its files are those of this machine.
    `disk_free_mib` is known when `root_dir` is a folder of this machine. `memory_mib` is what
    containers can have: under Docker Desktop less than the host has.
    """

    kind: str = "none"
    reachable: bool = False
    version: str = ""
    rootless: bool = False
    compose: str = "none"
    compose_version: str = ""
    root_dir: str = ""
    disk_free_mib: int | None = None
    memory_mib: int | None = None
    problem: str = ""
    fix: str = ""
    failure: str = ""
    local: bool = True
    runtimes: tuple[str, ...] = ()
    cdi_dirs: tuple[str, ...] = ()  # where it looks for CDI files
    cdi_devices: tuple[str, ...] | None = None  # GPUs that CDI gives it; None: it does not say
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mig:
    """One MIG instance: a slice of a GPU that is used like a GPU of its own."""

    name: str
    uuid: str
    memory_mib: int | None = None


@dataclass(frozen=True)
class Gpu:
    """One physical NVIDIA GPU; `compute_capability` looks like "8.9", `index` is nvidia-smi's."""

    name: str
    uuid: str
    compute_capability: str | None = None
    memory_mib: int | None = None
    mig_enabled: bool = False
    mig: tuple[Mig, ...] = ()
    index: int | None = None


@dataclass(frozen=True)
class Access:
    """How the engine can hand GPUs to containers.

    `ways` are cdi and nvidia, those that work here, the better one first; `cdi_names` is what CDI
    calls the GPUs. `note` says why there is no way, or what hinders the better one, with no full
    stop, and `fix` is the command that helps, if there is one.
    """

    ways: tuple[str, ...] = ()
    cdi_names: tuple[str, ...] = ()
    note: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Graphics:
    """What the NVIDIA driver says.

    `gpu_status` is found, none (surely no GPU) or unknown (a driver that gives no answer);
    `driver` looks like "550.54.15", `cuda` is the newest CUDA that it runs, like "12.4";
    `gpu_source` is nvml, nvidia-smi or none; `gpu_note` says in one sentence why there is no GPU.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    gpu_status: str = "none"
    gpu_source: str = "none"
    gpu_note: str = ""


@dataclass(frozen=True)
class Facts(Graphics):
    """Everything the probe found. What is not known has its default; an owner, if not the user."""

    user: Person | None = None
    project_owner: Person | None = None
    data_owner: Person | None = None
    timezone: str = "Etc/UTC"
    memory_mib: int | None = None
    cores: int = 1
    wsl: int = 0  # 1 or 2 inside the Windows Subsystem for Linux
    selinux: bool = False  # enforcing
    ca_bundle: str = ""
    engine: Engine = field(default_factory=Engine)
    access: Access = field(default_factory=Access)

    def as_dict(self) -> dict[str, Any]:
        """The facts as plain dictionaries, lists, strings and numbers, ready for JSON."""
        return asdict(self)

    @property
    def gpu_ids(self) -> tuple[str, ...]:
        """What a container can be given: a GPU's UUID, or its MIG instances' where MIG is on."""
        ids: list[str] = []
        for gpu in self.gpus:
            ids += [part.uuid for part in gpu.mig] if gpu.mig_enabled else [gpu.uuid]
        return tuple(ids)

    @property
    def compute_capabilities(self) -> tuple[str, ...]:
        """Those of the GPUs, each once, lowest first, such as ("7.0", "8.9")."""
        known = {gpu.compute_capability for gpu in self.gpus if gpu.compute_capability}
        return tuple(sorted(known, key=lambda text: [int(part) for part in text.split(".")]))


def chosen_gpus(facts: Facts, gpu_ids: str) -> Facts:
    """The facts with only the GPUs that GPU_IDS names; with all of them where it names none.

    A GPU is named by its UUID or index, or by those of one of its MIG instances.
    """
    wanted = set(gpu_ids.replace(" ", "").split(","))
    kept: list[Gpu] = []
    for at, gpu in enumerate(facts.gpus):
        index = at if gpu.index is None else gpu.index
        parts = [one for slot, part in enumerate(gpu.mig) for one in (part.uuid, f"{index}:{slot}")]
        if wanted & {gpu.uuid, str(index), *parts}:
            kept.append(gpu)
    return replace(facts, gpus=tuple(kept)) if kept else facts
