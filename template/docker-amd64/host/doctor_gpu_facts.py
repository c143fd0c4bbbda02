"""What only the doctor asks of the GPUs of a machine and of what hands them to containers."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from .ask import LOOK_LIMIT, command, gather, read_json, read_text
from .gpu_facts import gpu_facts
from .gpus import PODMAN_DIRS, Spec, read_specs
from .nvidia import (
    KERNEL_DRIVER,
    WSL_LIBRARIES,
    container_toolkit,
    kernel_module,
    secure_boot,
)

if TYPE_CHECKING:
    from .facts import Facts

GPU_DETAILS_LIMIT = 3.0  # seconds for all of it
VENDOR = "0x10de"  # NVIDIA in the tables of PCI
SWITCH, DISPLAYS = "0x0680", ("0x0300", "0x0302")  # classes of PCI: bridge; VGA, 3D controller
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib")


@dataclass(frozen=True)
class PciGpu:
    """A GPU as PCI knows it: its device id, such as "2684", and the kernel's driver for it."""

    device: str
    driver: str = ""


@dataclass(frozen=True)
class GpuDetails:
    """What only the doctor asks of GPUs. What is not known is None or empty.

    Attributes:
        pci: the GPUs, also those that no driver knows.
        switches: how many NVSwitches PCI knows.
        kernel_driver: the version of the driver in the kernel, "" where none is loaded.
        module: open or proprietary, the flavour of its kernel modules.
        module_installed: whether this kernel has such a module, loaded or not.
        library_drivers: versions of libcuda in the system's folders, not of WSL's own.
        secure_boot: whether the firmware refuses modules that nobody has signed.
        uvm: whether nvidia_uvm is there, which every program with CUDA needs.
        fabric_manager: its version, "none" where it is not installed.
        fabric_manager_runs: whether it runs.
        fabric_states: what the GPUs say of their fabric, such as Completed or In Progress.
        toolkit: the version of NVIDIA Container Toolkit, "none" without it.
        runtime_configured: whether the file of the Docker daemon names NVIDIA's runtime.
        char_links: whether /dev/char has links to the GPUs, by which systemd knows them.
        cdi_files: what CDI files there are for the GPUs.
        dxg: whether WSL has the device of the GPUs of Windows.
        wsl_library: whether Windows has given WSL its driver's library.
    """

    pci: tuple[PciGpu, ...] | None = None
    switches: int | None = None
    kernel_driver: str = ""
    module: str = ""
    module_installed: bool | None = None
    library_drivers: tuple[str, ...] = ()
    secure_boot: bool | None = None
    uvm: bool | None = None
    fabric_manager: str = ""
    fabric_manager_runs: bool | None = None
    fabric_states: tuple[str, ...] = ()
    toolkit: str = ""
    runtime_configured: bool | None = None
    char_links: bool | None = None
    cdi_files: tuple[Spec, ...] | None = None
    dxg: bool | None = None
    wsl_library: bool | None = None


def gpu_details(facts: Facts) -> GpuDetails:
    """Ask this machine. Never raises; what gives no answer in time is not known."""
    sources: dict[str, Callable[[], dict[str, Any]]] = {
        "pci": on_the_bus,
        "driver": of_the_driver,
        "toolkit": lambda: of_the_toolkit(gpu_facts(facts).toolkit),
        "cdi": lambda: {"cdi_files": cdi_files(facts)},
        "fabric": of_the_fabric,
    }
    if gpu_facts(facts).gpus:
        sources["states"] = lambda: {"fabric_states": fabric_states()}
    answers = gather(sources, GPU_DETAILS_LIMIT)
    return GpuDetails(**{key: value for one in answers.values() for key, value in one.items()})


def on_the_bus(root: Path = Path("/")) -> dict[str, Any]:
    """The GPUs and switches that PCI knows; of virtual machines of WSL, none."""
    gpus: list[PciGpu] = []
    switches = 0
    for device in sorted((root / "sys/bus/pci/devices").iterdir()):
        if read_text(device / "vendor").strip() != VENDOR:
            continue
        kind = read_text(device / "class").strip()[:6]
        switches += kind == SWITCH
        if kind in DISPLAYS:
            driver = device / "driver"
            name = driver.resolve().name if driver.exists() else ""
            gpus.append(PciGpu(read_text(device / "device").strip()[2:], name))
    return {"pci": tuple(gpus), "switches": switches}


def of_the_driver(root: Path = Path("/")) -> dict[str, Any]:
    """The driver: in the kernel, in its library, and whether it may be loaded."""
    said = read_text(root / str(KERNEL_DRIVER)[1:])
    found = re.search(r"NVRM version:.*?\s(\d+\.[\d.]+)", said)
    modules = root / "lib/modules" / os.uname().release
    loaded = re.findall(r"(?m)^(nvidia\w*) ", read_text(root / "proc/modules"))
    return {
        "kernel_driver": found.group(1) if found else "",
        "module": kernel_module(root),
        "module_installed": bool(found) or any(modules.rglob("nvidia.ko*")),
        "library_drivers": library_drivers(root),
        "secure_boot": secure_boot(root),
        "uvm": "nvidia_uvm" in loaded or (root / "dev/nvidia-uvm").exists(),
        "char_links": any(
            "nvidia" in os.readlink(str(link)) for link in (root / "dev/char").glob("195:*")
        ),
        "dxg": (root / "dev/dxg").exists(),
        "wsl_library": (root / str(WSL_LIBRARIES)[1:] / "libcuda.so.1").exists(),
    }


def library_drivers(root: Path) -> tuple[str, ...]:
    """The drivers whose libcuda is in the system's folders."""
    files = (file for folder in LIBRARIES for file in (root / folder).glob("libcuda.so.*.*"))
    found = (re.fullmatch(r"libcuda\.so\.(\d+\.[\d.]+)", file.name) for file in files)
    return tuple(dict.fromkeys(one.group(1) for one in found if one))


def of_the_toolkit(known: str, root: Path = Path("/")) -> dict[str, Any]:
    """NVIDIA Container Toolkit, as the probe knows it, and whether daemon.json has its runtime."""
    runtimes = read_json(read_text(root / "etc/docker/daemon.json")).get("runtimes")
    configured = isinstance(runtimes, dict) and "nvidia" in runtimes
    return {"toolkit": known or container_toolkit(), "runtime_configured": configured}


def cdi_files(facts: Facts) -> tuple[Spec, ...] | None:
    """The CDI files that the engine looks at; None if they are another machine's."""
    engine = facts.engine
    if not engine.local:
        return None
    return tuple(read_specs(engine.cdi_dirs or PODMAN_DIRS))


def of_the_fabric(root: Path = Path("/")) -> dict[str, Any]:
    """The fabric manager, which NVSwitches need."""
    if not shutil.which("nv-fabricmanager"):
        return {"fabric_manager": "none", "fabric_manager_runs": False}
    said = command(["nv-fabricmanager", "--version"], LOOK_LIMIT)
    version = re.search(r"(\d+\.\d+[\d.]*)", said.out + said.err)
    names = (read_text(one) for one in (root / "proc").glob("[0-9]*/comm"))
    runs = any(name.startswith("nv-fabricmanage") for name in names)  # the kernel keeps 15 letters
    return {"fabric_manager": version.group(1) if version else "", "fabric_manager_runs": runs}


def fabric_states() -> tuple[str, ...]:
    """What each GPU says of its fabric; nothing where it has none."""
    said = command(["nvidia-smi", "-q"], LOOK_LIMIT).out
    states = re.findall(r"(?m)^ +Fabric\n +State +: (.+)$", said)
    return tuple(state.strip() for state in states if state.strip() != "N/A")
