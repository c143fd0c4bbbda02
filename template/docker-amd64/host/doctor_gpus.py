"""What the doctor finds in facts about GPUs, their driver, and what hands them to containers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .abilities import abilities, dotted, numbers
from .doctor_gpu_facts import GpuDetails
from .doctor_host import OF_DOCKER, architecture_of
from .findings import ERROR, WARNING, Finding
from .gpu_facts import gpu_facts
from .gpus import is_outdated, is_unreadable
from .project import me

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .doctor_gpu_facts import PciGpu
    from .findings import Check, Subject
    from .gpu_facts import GpuFacts

# The first PCI device id of each generation; the lists are in the driver's supported-gpus.json.
GENERATIONS = (
    (0x0FC0, "Kepler"),
    (0x1040, ""),  # Fermi, here and from 0x1200 on
    (0x1180, "Kepler"),
    (0x1200, ""),
    (0x1280, "Kepler"),
    (0x1340, "Maxwell"),
    (0x15F0, "Pascal"),
    (0x1600, "Maxwell"),
    (0x1B00, "Pascal"),
    (0x1D80, "Volta"),
    (0x1E00, "Turing"),
    (0x2080, "Ampere"),
    (0x2180, "Turing"),
    (0x2200, "Ampere"),
    (0x2300, "Hopper"),
    (0x2400, "Ampere"),
    (0x2600, "Ada"),
    (0x2900, "Blackwell"),
)
# Older than Turing: proprietary kernel modules only; from Blackwell on: open ones only. See
# https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/kernel-modules.html
OF_FLAVOUR = ("flavour", "package", "ubuntu", "stream")  # words of the row, for either kind
PROPRIETARY_ONLY, OPEN_ONLY = ("Kepler", "Maxwell", "Pascal", "Volta"), ("Blackwell",)
# What a branch of the driver needs of NVIDIA Container Toolkit:
# https://github.com/NVIDIA/gpu-operator/issues/1015, NVIDIA/nvidia-container-toolkit/issues/195
LEAST_TOOLKIT = ((550, (1, 14, 6)), (525, (1, 12, 0)))
# From this version on it adds devices so that systemd knows them.
KNOWS_SYSTEMD = (1, 18)
# From this version on, Compose hands over CDI devices: github.com/docker/compose/pull/12184
LEAST_COMPOSE_CDI = (2, 30)
# In the names of GPUs that refuse the libcuda of a newer driver, or may.
NO_DATA_CENTER = re.compile(r"GeForce|TITAN|Quadro|RTX|NVS")
GUEST_DRIVERS = ("vfio-pci", "pci-stub", "xen-pciback")  # the GPU is for a virtual machine


def of_gpus(subject: Subject) -> tuple[GpuFacts, GpuDetails]:
    """The facts of a subject about GPUs."""
    found = subject.hardware
    return gpu_facts(subject.facts), found if isinstance(found, GpuDetails) else GpuDetails()


def generation(gpu: PciGpu) -> str:
    """The generation of a GPU by its PCI device id, "" if it is older or not known."""
    number = int(gpu.device or "0", 16)
    return next((name for first, name in reversed(GENERATIONS) if number >= first), "")


def branch(driver: str | None) -> int:
    """The branch of a driver: 580 of 580.95.05; 0 if it is not known."""
    return (*numbers(driver or ""), 0)[0]


# -------------------------------------------------------------------------------------- the driver


def driver_in_the_kernel(subject: Subject) -> Iterator[Finding]:
    """Whether the kernel drives the GPUs that PCI knows."""
    facts, more = of_gpus(subject)
    idle = [one for one in more.pci or () if not one.driver.startswith("nvidia")]
    idle = [one for one in idle if one.driver not in GUEST_DRIVERS and generation(one)]
    if not idle or facts.wsl:
        return
    seen = ", ".join(f"10de:{one.device} ({generation(one)})" for one in idle)
    if idle[0].driver:
        seen += f" driven by {idle[0].driver}"
    if more.kernel_driver:
        yield from not_driven(subject, idle[0], f"driver {more.kernel_driver}, {seen} without it")
    elif not more.module_installed:
        yield Finding("gpu-driver-missing", ERROR, seen)
    elif more.secure_boot:
        yield Finding("gpu-driver-unsigned", ERROR, f"Secure Boot is on; {seen} without a driver")
    else:
        yield Finding("gpu-driver-not-loaded", ERROR, f"{seen} without a driver")


def not_driven(subject: Subject, gpu: PciGpu, seen: str) -> Iterator[Finding]:
    """Why a driver that is loaded does not drive a GPU."""
    _, more = of_gpus(subject)
    name, runs = generation(gpu), branch(more.kernel_driver)
    last = int(subject.project.gpus.get("last_branches", {}).get(name, 0))
    known = {"generation": name, "branch": str(runs), "driver": more.kernel_driver}
    if last and runs > last:
        yield Finding("gpu-no-longer-driven", ERROR, seen, {**known, "branch": str(last)})
    elif name in OPEN_ONLY and more.module == "proprietary":
        names = ("open", "nvidia-open", f"nvidia-driver-{runs}-open", f"{runs}-open")
        yield Finding("gpu-module-flavour", ERROR, seen, {**known, **dict(zip(OF_FLAVOUR, names))})
    elif name in PROPRIETARY_ONLY and more.module == "open":
        names = ("proprietary", "cuda-drivers", f"nvidia-driver-{runs}", f"{runs}-dkms")
        yield Finding("gpu-module-flavour", ERROR, seen, {**known, **dict(zip(OF_FLAVOUR, names))})
    else:
        yield Finding("gpu-fell-off", ERROR, seen)


def driver_and_library(subject: Subject) -> Iterator[Finding]:
    """Whether driver and library are of one version, and answer."""
    facts, more = of_gpus(subject)
    own = more.library_drivers
    if more.kernel_driver and own and more.kernel_driver not in own:
        seen = f"kernel {more.kernel_driver}, library {', '.join(own)}"
        known = {"kernel": more.kernel_driver, "library": own[0]}
        yield Finding("gpu-driver-mismatch", ERROR, seen, known)
    elif facts.gpu_status == "unknown" and facts.gpu_note and more.kernel_driver:
        yield Finding("gpu-driver-silent", ERROR, facts.gpu_note, {"reason": facts.gpu_note})


def gpus_that_answer(subject: Subject) -> Iterator[Finding]:
    """Whether the driver still knows all GPUs that it drives."""
    facts, more = of_gpus(subject)
    driven = [one for one in more.pci or () if one.driver == "nvidia"]
    if facts.gpu_status == "found" and 0 < len(facts.gpus) < len(driven):
        seen = f"{len(driven)} GPUs by PCI, {len(facts.gpus)} answer"
        yield Finding("gpu-fell-off", ERROR, seen)


def driver_for_the_choice(subject: Subject) -> Iterator[Finding]:
    """Whether the driver is new enough for the project's CUDA."""
    facts, more = of_gpus(subject)
    least, cuda = subject.project.gpus.get("min_driver", ""), subject.project.cuda
    driver = facts.driver or more.kernel_driver
    if not (least and cuda and driver) or numbers(driver) >= numbers(least):
        return
    if architecture_of(subject):  # no driver helps there, and a Jetson's is of its own kind
        return
    seen = f"driver {driver}, CUDA {cuda} needs {least} or newer"
    # Images that keep the libcuda of the base image may run it all the same on data-center GPUs.
    compat = subject.project.settings.get("CUDA_COMPAT")
    consumer = [gpu for gpu in facts.gpus if "GeForce" in gpu.name or "TITAN" in gpu.name]
    level = WARNING if compat == "keep" and not consumer else ERROR
    known = {"version": cuda}
    newest = [one for one in subject.project.offered.get("cuda_version", ()) if fits(facts, one)]
    if newest and subject.project.service not in ("ngc", "hub"):
        known["remedy"] = f"{me()} update --data cuda_version={newest[0]}"
    elif "ubuntu" in subject.details.hosts:
        known["remedy"] = f"sudo apt-get install nvidia-driver-{branch(least)}"
    names = [gpu.name for gpu in facts.gpus]
    if compat == "remove" and names and not any(map(NO_DATA_CENTER.search, names)):
        known["remedy"] = f"{me()} env --set CUDA_COMPAT=keep && {me()} build"
    yield Finding("gpu-driver-too-old", level, seen, known)


def fits(facts: GpuFacts, cuda: str) -> bool:
    """Whether the driver brings a CUDA."""
    return bool(facts.cuda) and numbers(facts.cuda or "") >= numbers(cuda)


def code_for_the_gpus(subject: Subject) -> Iterator[Finding]:
    """Whether PyTorch's wheel has code for the GPUs, or without one, whether CUDA compiles it."""
    facts, _ = of_gpus(subject)
    project = subject.project
    wheel: Sequence[str] = project.gpus.get("wheel_code") or ()
    targets: Sequence[str] = project.gpus.get("targets") or ()
    for gpu in (one for one in facts.gpus if one.compute_capability and (wheel or targets)):
        own = numbers(gpu.compute_capability or "")
        if wheel:
            has_code = any(runs_on(one, own) for one in wheel)
            by = f"PyTorch {project.torch} for CUDA {project.cuda} has code for {' '.join(wheel)}"
        else:
            has_code = numbers(targets[0]) <= own and own[0] <= numbers(targets[1])[0]
            by = f"CUDA {project.cuda} compiles for {' to '.join(targets)}"
        if not has_code:
            seen = f"{gpu.name} has compute capability {gpu.compute_capability}, {by}"
            known = {"version": project.cuda, "gpu": gpu.name}
            if own < numbers((wheel or targets)[0]):
                yield Finding("gpu-too-old", ERROR, seen, known)
            else:
                yield Finding("gpu-too-new", ERROR, seen, known)


def runs_on(code: str, own: tuple[int, ...]) -> bool:
    """Whether code such as 8.6 or 12.0+PTX runs on GPUs of a compute capability.

    Binary code runs on later ones of its generation, PTX on all later ones:
    https://docs.nvidia.com/cuda/cuda-c-programming-guide/#binary-compatibility
    """
    least = numbers(code)
    return least <= own and (code.endswith("+PTX") or least[0] == own[0])


def memory_of_cuda(subject: Subject) -> Iterator[Finding]:
    """Whether the module of unified memory is there."""
    facts, more = of_gpus(subject)
    if facts.gpus and more.uvm is False and not facts.wsl:
        known = {"remedy": "sudo nvidia-modprobe -c 0 -u"}
        yield Finding("gpu-uvm-missing", ERROR, "no /dev/nvidia-uvm, no module nvidia_uvm", known)


FABRIC_GUIDE = "https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide"


def fabric(subject: Subject) -> Iterator[Finding]:
    """Whether the fabric manager of machines with NVSwitches runs, in the driver's version."""
    facts, more = of_gpus(subject)
    if not (more.switches or more.fabric_states) or not facts.gpus:
        return
    driver = facts.driver or more.kernel_driver
    states = ", ".join(dict.fromkeys(more.fabric_states)) or "unknown"
    seen = f"driver {driver}, fabric manager {more.fabric_manager or 'unknown'}, fabric {states}"
    install = f"sudo apt-get install nvidia-fabricmanager-{branch(driver)}"
    if "fedora" in subject.details.hosts:  # two names, by the driver's age
        install = f"sudo dnf install 'nvidia-fabric*manager-{driver}*'"
    elif "debian" not in subject.details.hosts:
        install = f"python3 -m webbrowser {FABRIC_GUIDE}"
    start = "sudo systemctl enable --now nvidia-fabricmanager"
    known = {"driver": driver, "version": more.fabric_manager}
    if more.fabric_manager == "none":
        if {*more.fabric_states} != {"Completed"}:  # in a virtual machine, the host has it
            remedy = f"{install} && {start}"
            yield Finding("gpu-fabric-missing", ERROR, seen, {"remedy": remedy})
    elif more.fabric_manager and more.fabric_manager != driver:
        remedy = f"{install} && sudo systemctl restart nvidia-fabricmanager"
        yield Finding("gpu-fabric-version", ERROR, seen, {**known, "remedy": remedy})
    elif more.fabric_manager_runs is False or "In Progress" in more.fabric_states:
        yield Finding("gpu-fabric-missing", ERROR, seen)


def partitions(subject: Subject) -> Iterator[Finding]:
    """Whether GPUs that are to be shared by MIG have instances."""
    facts, _ = of_gpus(subject)
    empty = [one.name for one in facts.gpus if one.mig_enabled and not one.mig]
    if empty:
        level = WARNING if len(empty) < len(facts.gpus) else ERROR
        yield Finding("gpu-mig-empty", level, f"MIG is on and empty: {', '.join(empty)}")


# ----------------------------------------------------------------------------- what hands them over


def access_to_gpus(subject: Subject) -> Iterator[Finding]:
    """Whether the engine can hand over the GPUs, and if not, why."""
    facts, more = of_gpus(subject)
    engine = facts.engine
    if not facts.gpu_ids or not engine.reachable or facts.access.kinds:
        return
    # A file must not choose the command.
    known = {"remedy": facts.access.fix} if facts.access.fix and not subject.replayed else {}
    seen = f"{len(facts.gpus)} GPUs, {engine.kind} {engine.version}"
    if engine.kind == "docker-desktop":
        yield Finding("gpu-desktop", ERROR, seen)
    elif more.toolkit == "none":
        yield Finding("gpu-toolkit-missing", ERROR, f"{seen}, no nvidia-ctk", known)
    elif any(cdi_files(subject)):
        return  # the CDI files are the cause
    elif engine.kind == "podman" or engine.rootless:
        yield Finding("gpu-cdi-missing", ERROR, f"{seen}, no CDI file that names the GPUs", known)
    elif more.runtime_configured:
        yield Finding("gpu-engine-not-restarted", ERROR, f"{seen}; daemon.json names the runtime")
    else:
        yield Finding("gpu-runtime-missing", ERROR, f"{seen}, toolkit {more.toolkit}", known)


def cdi_files(subject: Subject) -> Iterator[Finding]:
    """Whether the CDI files are for this driver, and for this engine to read."""
    facts, more = of_gpus(subject)
    level = WARNING if facts.access.kinds else ERROR
    if not facts.gpus:
        return
    for spec in more.cdi_files or ():
        seen = f"{spec.path}, CDI {spec.version}, engine {facts.engine.version}"
        known = {"path": spec.path, "version": spec.version}
        if is_outdated(spec, facts.driver):
            seen = f"{spec.path} is for driver {spec.drivers[0]}, {facts.driver} runs"
            yield Finding("gpu-files-changed", level, seen)
        elif facts.engine.reachable and is_unreadable(spec, facts.engine):
            yield Finding("gpu-cdi-unreadable", level, seen, known)


def compose_and_cdi(subject: Subject) -> Iterator[Finding]:
    """Whether Compose can ask for GPUs by CDI where the engine hands them over by nothing else."""
    facts, _ = of_gpus(subject)
    engine, found = facts.engine, numbers(facts.engine.compose_version)
    by_cdi = facts.access.kinds[:1] == ("cdi",) and engine.compose in OF_DOCKER
    asks = abilities(engine.kind, engine.version).cdi_devices  # else by `driver: cdi`, as 2.26 can
    if by_cdi and asks and found and found < LEAST_COMPOSE_CDI:
        known = {"version": engine.compose_version, "needed": dotted(LEAST_COMPOSE_CDI)}
        yield Finding("compose-old", ERROR, f"Compose {engine.compose_version}, CDI", known)


def toolkit(subject: Subject) -> Iterator[Finding]:
    """Whether NVIDIA Container Toolkit is new enough for the driver."""
    facts, more = of_gpus(subject)
    runs, version = branch(facts.driver), numbers(more.toolkit)
    needed = next((least for first, least in LEAST_TOOLKIT if runs >= first), ())
    if version and version < needed:
        seen = f"toolkit {more.toolkit}, driver {facts.driver}"
        known = {"version": more.toolkit, "needed": dotted(needed), "branch": str(runs)}
        yield Finding("gpu-toolkit-old", WARNING, seen, known)


def lost_at_reload(subject: Subject) -> Iterator[Finding]:
    """Whether running containers will lose the GPUs when systemd reads its units again."""
    facts, more = of_gpus(subject)
    by_hook = facts.access.kinds[:1] == ("nvidia",)
    old = bool(more.toolkit) and numbers(more.toolkit) < KNOWS_SYSTEMD
    if by_hook and old and subject.details.cgroup_driver == "systemd" and more.char_links is False:
        seen = f"control groups by systemd, toolkit {more.toolkit}, no links in /dev/char"
        yield Finding("gpu-lost-at-reload", WARNING, seen)


def gpus_of_windows(subject: Subject) -> Iterator[Finding]:
    """Whether WSL has the GPUs of Windows, and no driver of its own."""
    facts, more = of_gpus(subject)
    if not facts.wsl:
        return
    if more.library_drivers:
        seen = f"libcuda of driver {more.library_drivers[0]} in Linux"
        yield Finding("gpu-driver-in-wsl", ERROR, seen)
    if more.wsl_library and more.dxg is False:
        yield Finding("gpu-wsl-adapter", ERROR, "no /dev/dxg")


def demanded(subject: Subject) -> Iterator[Finding]:
    """Whether there is a GPU where .env demands one."""
    facts, _ = of_gpus(subject)
    if subject.replayed or subject.project.settings.get("REQUIRE_GPU") != "1":
        return
    if not facts.access.kinds:
        reason = facts.access.note or "no GPU was found"
        known = {"reason": reason, **({"remedy": facts.access.fix} if facts.access.fix else {})}
        yield Finding("gpu-required", ERROR, "REQUIRE_GPU=1", known)


CHECKS: tuple[Check, ...] = (
    driver_in_the_kernel,
    driver_and_library,
    gpus_that_answer,
    driver_for_the_choice,
    code_for_the_gpus,
    memory_of_cuda,
    fabric,
    partitions,
    access_to_gpus,
    cdi_files,
    compose_and_cdi,
    toolkit,
    lost_at_reload,
    gpus_of_windows,
    demanded,
)
