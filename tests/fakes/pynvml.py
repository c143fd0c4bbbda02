"""Stands in for pynvml (nvidia-ml-py): with this folder on PYTHONPATH, FAKE_NVML names a machine.

Only what the probe calls is here. Names, UUID forms, return types and error values are those of
nvidia-ml-py; the memory sizes are rounded.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

NOT_SUPPORTED, NOT_FOUND, NOT_LOADED, LIBRARY_NOT_FOUND, GPU_IS_LOST, MISMATCH = 3, 6, 9, 12, 15, 18


class NVMLError(Exception):
    """As in pynvml: the number is in `value`."""

    def __init__(self, value: int) -> None:
        super().__init__(f"fake NVML error {value}")
        self.value = value


@dataclass
class Memory:
    total: int
    used: int = 0


@dataclass
class Utilization:
    gpu: int


@dataclass
class Device:
    name: str
    uuid: str
    capability: tuple[int, int]
    mib: int
    mig: int | None = None  # None: a GPU without MIG
    parts: list[Device] = field(default_factory=list)
    lost: bool = False
    virtual: bool = False

    @property
    def brand(self) -> int:
        """As nvmlBrandType_t: GeForce, Tesla or NVIDIA."""
        return 5 if "GeForce" in self.name else 2 if "Tesla" in self.name else 14


@dataclass
class Machine:
    driver: str
    cuda: int
    devices: list[Device]


def _uuid(number: int, kind: str = "GPU") -> str:
    return f"{kind}-{number:08x}-1111-2222-3333-444444444444"


def _h200(number: int) -> Device:
    return Device("NVIDIA H200", _uuid(number), (9, 0), 143771, mig=0)


def _mig(number: int) -> Device:
    name = "NVIDIA H100 80GB HBM3"
    parts = [
        Device(f"{name} MIG {size}", _uuid(number * 16 + slot, "MIG"), (9, 0), mib)
        for slot, (size, mib) in enumerate([("1g.10gb", 9984), ("3g.40gb", 40448)])
    ]
    return Device(name, _uuid(number), (9, 0), 81559, mig=1, parts=parts)


RTX_4090 = Device("NVIDIA GeForce RTX 4090", _uuid(1), (8, 9), 24564)
V100 = Device("Tesla V100-SXM2-32GB", _uuid(2), (7, 0), 32768)
LOST = Device("NVIDIA GeForce RTX 4090", _uuid(3), (8, 9), 24564, lost=True)

MACHINES = {
    "rtx4090": Machine("550.54.15", 12040, [RTX_4090]),
    "v100": Machine("535.183.01", 12020, [V100]),
    "mixed": Machine("550.54.15", 12040, [RTX_4090, V100]),
    "h200x8": Machine("580.95.05", 13000, [_h200(16 + number) for number in range(8)]),
    "mig": Machine("570.86.15", 12080, [_mig(5)]),
    "mig-empty": Machine("570.86.15", 12080, [Device("NVIDIA A100", _uuid(6), (8, 0), 40960, 1)]),
    "lost": Machine("550.54.15", 12040, [LOST, V100]),
    "noisy": Machine("550.54.15", 12040, [RTX_4090]),
    "vgpu": Machine(
        "570.86.15", 12080, [Device("NVIDIA L40S-24Q", _uuid(7), (8, 9), 24576, virtual=True)]
    ),
    "no-gpu": Machine("550.54.15", 12040, []),
}
ERRORS = {"no-driver": LIBRARY_NOT_FOUND, "mismatch": MISMATCH, "not-loaded": NOT_LOADED}

_scenario = os.environ.get("FAKE_NVML", "no-driver")


def _fail(value: int) -> NoReturn:
    raise NVMLError(value)


def nvmlInit() -> None:  # noqa: N802
    if _scenario == "hang":
        time.sleep(60)
    if _scenario == "crash":
        os.abort()
    if _scenario == "noisy":
        print("a library that talks", flush=True)
    if _scenario not in MACHINES:
        _fail(ERRORS[_scenario])


def nvmlSystemGetDriverVersion() -> str:  # noqa: N802
    return MACHINES[_scenario].driver


def nvmlSystemGetCudaDriverVersion() -> int:  # noqa: N802
    return MACHINES[_scenario].cuda


def nvmlDeviceGetCount() -> int:  # noqa: N802
    return len(MACHINES[_scenario].devices)


def nvmlDeviceGetHandleByIndex(index: int) -> Device:  # noqa: N802
    device = MACHINES[_scenario].devices[index]
    return _fail(GPU_IS_LOST) if device.lost else device


def nvmlDeviceGetName(device: Device) -> str:  # noqa: N802
    return device.name


def nvmlDeviceGetUUID(device: Device) -> str:  # noqa: N802
    return device.uuid


def nvmlDeviceGetCudaComputeCapability(device: Device) -> tuple[int, int]:  # noqa: N802
    return device.capability


def nvmlDeviceGetBrand(device: Device) -> int:  # noqa: N802
    return device.brand


def nvmlDeviceGetVirtualizationMode(device: Device) -> int:  # noqa: N802
    return 2 if device.virtual else 0


def nvmlDeviceGetMemoryInfo(device: Device) -> Memory:  # noqa: N802
    return Memory(device.mib << 20, used=_busy(device)[1] << 20)


def _busy(device: Device) -> tuple[int, int]:
    """How many processes a GPU has, and their MiB: lines `UUID NUMBER MIB` in FAKE_BUSY, a file."""
    busy = os.environ.get("FAKE_BUSY", "")
    lines = Path(busy).read_text().splitlines() if busy else []
    return next(
        ((int(n), int(mib)) for uuid, n, mib in map(str.split, lines) if uuid == device.uuid),
        (0, 0),
    )


def nvmlDeviceGetComputeRunningProcesses(device: Device) -> list[object]:  # noqa: N802
    return [object()] * _busy(device)[0]


def nvmlDeviceGetUtilizationRates(device: Device) -> Utilization:  # noqa: N802
    if device.uuid.startswith("MIG"):
        _fail(NOT_SUPPORTED)
    return Utilization(90 if _busy(device)[0] else 0)


def nvmlDeviceGetMigMode(device: Device) -> list[int]:  # noqa: N802
    return [device.mig, device.mig] if device.mig is not None else _fail(NOT_SUPPORTED)


def nvmlDeviceGetMaxMigDeviceCount(device: Device) -> int:  # noqa: N802
    return 7 if device.mig is not None else 0


def nvmlDeviceGetMigDeviceHandleByIndex(device: Device, index: int) -> Device:  # noqa: N802
    return device.parts[index] if index < len(device.parts) else _fail(NOT_FOUND)
