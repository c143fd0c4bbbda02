"""Stands in for the driver's libraries in a container, as ctypes would load them, and its files.

A driver fails in one way, or in none; names of functions and numbers are those of nvml.h and
cuda.h. The device files are in a folder of the test.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

MIB = 1 << 20


class Function:
    """A function of a library; `restype` can be set, as ctypes has it."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.restype: Any = ctypes.c_int

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)


def _put(pointer: Any, value: int) -> int:
    pointer._obj.value = value
    return 0


class Driver:
    """libnvidia-ml.so.1 and libcuda.so.1 of a machine with two GPUs.

    Attributes:
        init: what nvmlInit returns.
        gpu: what the handle of the second GPU returns.
        memory: what its memory returns.
        free: MiB of it that are free.
        count: GPUs that NVML counts.
        cuda: what cuInit returns.
        hangs: whether NVML never answers.
    """

    def __init__(self, **fails: Any) -> None:
        self.init = self.gpu = self.memory = self.cuda = 0
        self.free, self.count, self.hangs = 20000, 2, False
        vars(self).update(fails)
        self.loaded: list[str] = []

    def load(self, name: str) -> Any:
        """A library by its name."""
        self.loaded.append(name)
        return self

    def __getattr__(self, name: str) -> Any:
        made = Function(getattr(type(self), f"_{name}").__get__(self))
        setattr(self, name, made)
        return made

    def _nvmlInit_v2(self) -> int:  # noqa: N802
        if self.hangs:
            time.sleep(600)
        return self.init

    def _nvmlDeviceGetCount_v2(self, pointer: Any) -> int:  # noqa: N802
        return _put(pointer, self.count)

    def _nvmlDeviceGetHandleByIndex_v2(self, index: int, pointer: Any) -> int:  # noqa: N802
        return (self.gpu if index else 0) or _put(pointer, index + 1)

    def _nvmlDeviceGetMemoryInfo(self, device: Any, pointer: Any) -> int:  # noqa: N802
        if device.value == 1:
            pointer._obj[:] = [24564 * MIB, 20000 * MIB, 4564 * MIB]
            return 0
        pointer._obj[:] = [24564 * MIB, self.free * MIB, (24564 - self.free) * MIB]
        return self.memory

    def _nvmlErrorString(self, status: int) -> bytes:  # noqa: N802
        words = {15: b"GPU is lost", 999: b"Unknown Error"}
        return words.get(status, b"error %d" % status)

    def _cuInit(self, _: int) -> int:  # noqa: N802
        return self.cuda

    def _cuDeviceGetCount(self, pointer: Any) -> int:  # noqa: N802
        return _put(pointer, 2)


def make_files(folder: Path, *, uvm: bool = True) -> Path:
    """Device files of two GPUs, as a container has them; they can be opened."""
    folder.mkdir(exist_ok=True)
    names = ["nvidiactl", "nvidia0", "nvidia1", "nvidia-caps", *(["nvidia-uvm"] if uvm else [])]
    for name in names:
        (folder / name).touch()
    return folder
