"""The driver and its library: does the host run this CUDA, and whose libcuda does it load?

A program of CUDA M.x runs on every driver from the minimum of family M on (minor-version
compatibility). An image may bring a libcuda of its own, that of the driver its CUDA came with
(cuda-compat). NVIDIA Container Toolkit puts it before the driver's where it is of a newer branch,
whatever the brand of the GPU: on data-center GPUs that is forward compatibility, GeForce and TITAN
refuse it with error 804. NGC's images ask the GPU first, so there it harms nobody.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..compat.rows import numbers
from .hosts import CONSUMER_BRANDS, at_least, driver_cuda
from .verdicts import Finding, Layer, Verdict

if TYPE_CHECKING:
    from ..compat.rows import Architecture, StartCheck, Supplies
    from ..compat.table import Table
    from .hosts import Gpu, Host
    from .stacks import Stack

DATA_CENTER_BRANDS = frozenset({"tesla", "nvidia"})
IMAGE, DRIVER = "image", "driver"


def architecture_of(gpu: Gpu, table: Table) -> Architecture | None:
    """The table's row for a GPU."""
    return next((row for row in table.architectures if gpu.cc in row.cc), None)


def _toolkit(machine: Host, table: Table) -> Supplies:
    """The row for the toolkit of a machine; the newest where it does not say what it has."""
    version = re.match(r"[0-9]+(\.[0-9]+)+", machine.toolkit)
    rows = table.supplies
    if version:
        rows = [row for row in rows if numbers(row.since) <= numbers(version[0])] or rows[:1]
    return rows[-1]


def supplier(machine: Host, table: Table) -> str:
    """Who supplies libcuda, "image" or "driver", where an image's own is of a newer branch.

    `docker run --gpus` is meant where the machine does not say how containers get GPUs. Under WSL
    the file of CDI never names the image's libraries.
    """
    way = machine.access or "hook"
    if way == "cdi" and machine.driver_type == "wsl":
        return DRIVER
    return str(getattr(_toolkit(machine, table), way))


def _forward(machine: Host, gpu: Gpu) -> bool:
    """Whether NVIDIA offers forward compatibility for a GPU: data center, and GB10.

    Of the driver of a virtual GPU's guest, NVIDIA's notes on it say nothing.
    """
    return gpu.kind in {"datacenter", "system"} and machine.driver_type != "vgpu"


def _compat_drives(cuda: str, gpu: Gpu, table: Table) -> bool:
    """Whether the cuda-compat libraries, those of the branch that brings a line, drive a GPU."""
    own = next((branch for branch, brings in table.branches.items() if brings == cuda), 0)
    row = architecture_of(gpu, table)
    return row is None or row.last_branch is None or own <= row.last_branch


def _compat_runs_on(stack: Stack, driver: str, table: Table) -> bool | None:
    """Whether the cuda-compat libraries of a stack support a driver; None = not known.

    NVIDIA lists the branches in the notes of some NGC releases, and in the start check of the image
    of each CUDA line.
    """
    if stack.ngc and stack.ngc.data_center_drivers:
        branch = numbers(driver)[0]
        listed = stack.ngc.data_center_drivers
        return any(numbers(old)[0] == branch and at_least(driver, old) for old in listed)
    check = table.start_checks.get(stack.image)
    if check is None:
        return None
    if check.accepts(DATA_CENTER_BRANDS, str(numbers(driver)[0])):
        return True
    return False if check.complete else None


def is_checked(machine: Host, stack: Stack, table: Table) -> bool:
    """Whether something holds the image to its NVIDIA_REQUIRE_CUDA before it starts."""
    way = machine.access or "hook"
    return bool(stack.start_check) and way in _toolkit(machine, table).checks


def _too_old(machine: Host, gpu: Gpu, stack: Stack, table: Table) -> Finding:
    """The driver is older than the family's minimum: do the image's cuda-compat libraries help?"""
    cuda, driver = stack.cuda or "", machine.driver or ""
    level = driver_cuda(table, machine)
    brings = f"brings CUDA {level[0]}.{level[1]}" if any(level) else "is older than CUDA 10"
    why = (
        f"driver {driver} {brings}, and CUDA {cuda} needs driver {table.families[_major(cuda)]} or"
        " newer"
    )
    verdict = Verdict.FAILS
    runs = _compat_runs_on(stack, driver, table)
    older, cuda = numbers(stack.image)[0] < numbers(cuda)[0], stack.image
    if stack.has_compat is False or older:
        pass
    elif gpu.brands & CONSUMER_BRANDS:
        why += "; forward compatibility is not for GeForce and TITAN (error 804)"
    elif not _forward(machine, gpu):
        verdict = Verdict.UNKNOWN
        why += (
            "; forward compatibility is for data-center GPUs and some others, and it is not known"
            f" whether {gpu.label} is one"
        )
    elif not _compat_drives(cuda, gpu, table):
        why += f"; the cuda-compat {cuda} libraries no longer drive {gpu.label}"
    elif stack.has_compat is None:
        verdict = Verdict.UNKNOWN
        why += f"; it is not known whether the image of {stack.name} has libraries that run it"
    elif not stack.prefers_forward and supplier(machine, table) == DRIVER:
        why += (
            f"; the image's cuda-compat {cuda} libraries would run it, but {_way(machine)} does not"
            " load them"
        )
    elif runs or is_checked(machine, stack, table):  # else the start check refuses the branch
        verdict = Verdict.WORKS_FORWARD_COMPAT
        why += (
            f"; on {gpu.label} the image's own cuda-compat {cuda} libraries run it (forward"
            " compatibility)"
        )
    elif runs is None:
        verdict = Verdict.UNKNOWN
        why += f"; it is not known whether cuda-compat {cuda} helps on this branch"
    else:
        why += f"; cuda-compat {cuda} does not support this branch either"
    return Finding(verdict, Layer.DRIVER, why, gpu.label)


def _way(machine: Host) -> str:
    """What hands the GPUs to a container, for a sentence."""
    if machine.access == "cdi":
        return "the machine's CDI file"
    return f"NVIDIA Container Toolkit {machine.toolkit}"


def _major(cuda: str) -> str:
    return cuda.split(".", maxsplit=1)[0]


def _loads_compat(machine: Host, gpu: Gpu, stack: Stack, table: Table) -> bool:
    """Whether forward compatibility takes the place of minor-version compatibility."""
    cuda, driver = stack.image, machine.driver or ""
    if driver_cuda(table, machine) >= numbers(cuda):  # those of the image are not newer
        return False
    if not stack.has_compat or not _forward(machine, gpu) or not _compat_drives(cuda, gpu, table):
        return False
    runs = _compat_runs_on(stack, driver, table)
    if stack.prefers_forward:
        return runs is not False
    return runs is True and supplier(machine, table) == IMAGE


def runs_cuda(machine: Host, gpu: Gpu, stack: Stack, table: Table) -> Finding | None:
    """Does the driver run this CUDA: by itself (None), by compatibility, or not at all?"""
    cuda, driver = stack.cuda, machine.driver
    if cuda is None:
        return None
    minimum = table.families.get(_major(cuda))
    if minimum is None or driver is None:
        why = (
            f"the driver is not known; CUDA {cuda} needs {minimum} or newer"
            if minimum
            else f"it is not known which driver CUDA {cuda} needs"
        )
        return Finding(Verdict.UNKNOWN, Layer.DRIVER, why, gpu.label)
    brings = driver_cuda(table, machine)
    if brings >= numbers(cuda):
        return None
    if not at_least(driver, minimum):
        return _too_old(machine, gpu, stack, table)
    if gpu.kind == "jetson":
        why = (
            f"driver {driver} brings CUDA {brings[0]}.{brings[1]}, and it is not known whether it"
            f" runs CUDA {cuda}: Jetson has cuda-compat packages of its own"
        )
        return Finding(Verdict.UNKNOWN, Layer.DRIVER, why, gpu.label)
    verdict = Verdict.WORKS_MINOR_COMPAT
    how = f"CUDA {cuda} runs on {minimum} or newer by minor-version compatibility"
    stated = stack.ngc.min_driver if stack.ngc else None
    if _loads_compat(machine, gpu, stack, table):
        verdict = Verdict.WORKS_FORWARD_COMPAT
        how = f"the image loads its own cuda-compat {stack.image} libraries (forward compatibility)"
    elif stated and not at_least(driver, stated):
        how += f", though the notes of the release ask for {stated}"
    return Finding(
        verdict,
        Layer.DRIVER,
        f"driver {driver} brings CUDA {brings[0]}.{brings[1]}; {how}",
        gpu.label,
    )


def stands_in(machine: Host, gpu: Gpu, stack: Stack, table: Table) -> Finding | None:
    """Does the image's libcuda do harm where the driver's own would run this CUDA?"""
    cuda, driver = stack.cuda, machine.driver
    if stack.has_compat is False or stack.prefers_forward or cuda is None or driver is None:
        return None
    minimum = table.families.get(_major(cuda))
    if minimum is None or not at_least(driver, minimum):
        return None
    cuda = stack.image
    if driver_cuda(table, machine) >= numbers(cuda) or supplier(machine, table) == DRIVER:
        return None
    place = f"the image's cuda-compat {cuda} libraries take the place of the driver's {driver}"
    if stack.has_compat is None:
        place = (
            f"if the image has cuda-compat {cuda} libraries, they take the place of the driver's"
        )
    verdict = Verdict.UNKNOWN
    if gpu.brands & CONSUMER_BRANDS:
        verdict = Verdict.FAILS
        why = (
            f"{place}, and they refuse {gpu.label}: error 804, forward compatibility was attempted"
            " on non supported HW"
        )
    elif not _forward(machine, gpu):
        why = (
            f"{place}; they are for data-center GPUs and some others, and it is not known whether"
            f" {gpu.label} is one"
        )
    elif not _compat_drives(cuda, gpu, table):
        verdict = Verdict.FAILS
        why = f"{place}, and they no longer drive {gpu.label}"
    elif _compat_runs_on(stack, driver, table):
        return None
    else:
        why = f"{place}, and it is not known whether they run on this branch"
    if stack.has_compat is None:
        verdict = Verdict.UNKNOWN
    return Finding(verdict, Layer.DRIVER, why, gpu.label)


def _passes(check: StartCheck | None, gpu: Gpu, branch: str) -> bool | None:
    """Whether a GPU on an older driver branch is an exception of a start check; None = not known.

    It is not known where the brands that NVML may report for the GPU get different answers.
    """
    if check is None:
        return None
    brands = gpu.brands or check.brands()
    passing = {brand for brand in brands if check.accepts(frozenset({brand}), branch)}
    if passing:
        return True if gpu.brands and passing == brands else None
    # Of a value that was cut, it is known that brands it does not name are not excepted.
    return False if check.complete or (gpu.brands and not brands & check.brands()) else None


def _family(machine: Host, gpu: Gpu, cuda: str, table: Table) -> Finding | None:
    """Is the driver of the CUDA family that an image built without cuda-compat asks for?"""
    family = f"{_major(cuda)}.0"
    if driver_cuda(table, machine) >= numbers(family):
        return None
    why = (
        f"the image is built on CUDA {cuda} and asks for a driver that brings CUDA {family}; on"
        f" driver {machine.driver} it does not start (unsatisfied condition: cuda>={family})"
    )
    return Finding(Verdict.FAILS, Layer.IMAGE_START_CHECK, why, gpu.label)


def starts(machine: Host, gpu: Gpu, stack: Stack, table: Table) -> Finding | None:
    """Does the image start: NVIDIA_REQUIRE_CUDA, where something evaluates it?"""
    cuda = stack.image
    if not is_checked(machine, stack, table) or not cuda or machine.driver is None:
        return None
    if driver_cuda(table, machine) >= numbers(cuda):
        return None
    if stack.start_check == "family":
        return _family(machine, gpu, cuda, table)
    passes = _passes(table.start_checks.get(cuda), gpu, str(numbers(machine.driver)[0]))
    if passes:
        return None
    image = f"the {stack.start_check} image of CUDA {cuda}"
    on = f"on driver {machine.driver} with {gpu.label}"
    if passes is False and stack.start_check == "nvidia/cuda" and gpu.kind != "jetson":
        why = f"{image} does not start {on} (unsatisfied condition: cuda>={cuda})"
        return Finding(Verdict.FAILS, Layer.IMAGE_START_CHECK, why, gpu.label)
    return Finding(
        Verdict.UNKNOWN,
        Layer.IMAGE_START_CHECK,
        f"it is not known whether {image} starts {on}",
        gpu.label,
    )
