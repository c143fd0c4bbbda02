"""What can be known of the GPUs of a machine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .facts import Facts


@dataclass(frozen=True)
class Mig:
    """One MIG instance: a slice of a GPU that is used like a GPU of its own."""

    name: str
    uuid: str
    memory_mib: int | None = None


@dataclass(frozen=True)
class Gpu:
    """One physical NVIDIA GPU; `compute_capability` looks like "8.9", `index` is nvidia-smi's.

    `brand` is NVML's, such as geforce or tesla; `virtual` says that a hypervisor shares the GPU, so
    that its driver is one for guests (vGPU).
    """

    name: str
    uuid: str
    compute_capability: str | None = None
    memory_mib: int | None = None
    mig_enabled: bool = False
    mig: tuple[Mig, ...] = ()
    index: int | None = None
    brand: str = ""
    virtual: bool = False


@dataclass(frozen=True)
class Access:
    """GPU access: how containers get GPUs from the engine.

    `kinds` are cdi and nvidia, those that work here, the better one first; `cdi_names` is what CDI
    calls the GPUs. `note` says why there is none, or what hinders the better one, with no full
    stop, and `fix` is the command that helps, if there is one. `mechanism` is how the better one
    works, see `gpus.mechanism`.
    """

    kinds: tuple[str, ...] = ()
    cdi_names: tuple[str, ...] = ()
    note: str = ""
    fix: str = ""
    mechanism: str = ""


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
class GpuFacts(Graphics, Facts):
    """Everything the probe found, in a project for GPUs.

    `toolkit` is the version of NVIDIA Container Toolkit, "none" without it, and `module` the
    flavour of the driver's kernel modules, open or proprietary; both are empty where they are not
    known, or no driver is loaded. `secure_boot` is asked only where none is.
    """

    access: Access = field(default_factory=Access)
    toolkit: str = ""
    module: str = ""
    secure_boot: bool | None = None

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


def gpu_facts(facts: Facts) -> GpuFacts:
    """The facts, with none about GPUs if there are none in them."""
    return facts if isinstance(facts, GpuFacts) else GpuFacts(**vars(facts))


def chosen_gpus(facts: GpuFacts, gpu_ids: str) -> GpuFacts:
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
