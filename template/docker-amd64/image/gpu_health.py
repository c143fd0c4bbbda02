"""Whether the GPUs of this container still work, and if not, why: its health check.

It asks NVML, then the CUDA driver as every CUDA program does first (cuInit, cuDeviceGetCount). It
makes no CUDA context, although only that would compute: a context takes some 500 MB of each GPU,
fails where a training has filled the memory, and is refused in exclusive mode.

The exit status is 0 or 1, and with --status the number of the cause in CAUSES. A driver that does
not answer is one more cause, so a child asks.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

# The causes with their numbers. 75 is taken, those from 124 to 143 mean signals and timeout(1).
CAUSES = {
    "gpu-access-lost": 81,
    "gpu-driver-changed": 82,
    "gpu-uvm-missing": 83,
    "gpu-fell-off": 84,
    "gpu-silent": 85,
    "gpu-memory-taken": 86,
    "gpu-compat-refused": 87,
}
LIMIT = 20.0  # seconds for an answer
CONTEXT_MIB = 512  # what a program needs of a GPU before its first tensor
DEVICES = Path("/dev")
PROC = Path("/proc")
# What a broken library ends with. Others, such as SIGKILL, are sent by somebody.
CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}
NVML_CAUSES = {  # by nvmlReturn_t in nvml.h
    9: "gpu-driver-changed",  # the driver is not loaded
    15: "gpu-fell-off",  # the GPU is lost
    16: "gpu-fell-off",  # it has to be reset
    18: "gpu-driver-changed",  # the library and the driver in the kernel differ
    999: "gpu-access-lost",  # unknown error
}
# CUresult in cuda.h
CUDA_NO_DEVICE, CUDA_DRIVER_MISMATCH, CUDA_COMPAT_REFUSED = 100, 803, 804


class Illness(NamedTuple):
    """What is wrong: a cause of CAUSES, and what shows it."""

    cause: str
    evidence: str


def library(name: str) -> Any:
    """A library of the driver; None where there is none. WSL has them in a folder of its own."""
    for path in (name, f"/usr/lib/wsl/lib/{name}"):
        with suppress(OSError):
            return ctypes.CDLL(path)
    return None


def gpu_files() -> list[Path]:
    """The device files of the GPUs of this container: /dev/nvidia0 and so on."""
    return sorted(one for one in DEVICES.glob("nvidia[0-9]*") if one.name[6:].isdigit())


def has_gpus() -> bool:
    """Whether this container was given GPUs; /dev/dxg are those of WSL."""
    return bool(gpu_files()) or (DEVICES / "dxg").exists()


def open_error(file: Path) -> int:
    """The errno with which a device file cannot be opened; 0 if it can."""
    try:
        os.close(os.open(str(file), os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def of_files() -> Illness | None:
    """What the device files tell without the driver."""
    for file in [DEVICES / "nvidiactl", *gpu_files()]:
        error = open_error(file)
        # The engine's rules for devices are gone, as after `systemctl daemon-reload`. A file that
        # its mode closes is EACCES.
        if error == errno.EPERM:
            return Illness("gpu-access-lost", f"{file}: {os.strerror(error)}")
    return None


def of_nvml(nvml: Any) -> Illness | None:
    """What NVML tells of the driver and each GPU."""
    number = ctypes.c_uint()
    status = nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(number))
    if status or not number.value:
        evidence = f"NVML: {nvml_words(nvml, status) if status else 'no GPU'}"
        return Illness(NVML_CAUSES.get(status, "gpu-access-lost"), evidence)
    every = (of_gpu(nvml, index) for index in range(number.value))
    return next((found for found in every if found), None)


def of_gpu(nvml: Any, index: int) -> Illness | None:
    """What NVML tells of one GPU. Other errors count for nothing: it may be another container's."""
    device, memory = (
        ctypes.c_void_p(),
        (ctypes.c_ulonglong * 3)(),
    )  # nvmlMemory_t: total, free, used
    status = nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
    status = status or nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory))
    if status in NVML_CAUSES:
        return Illness(NVML_CAUSES[status], f"GPU {index}: {nvml_words(nvml, status)}")
    free = memory[1] >> 20
    if not status and memory[0] and free < CONTEXT_MIB and not computes_here():
        return Illness("gpu-memory-taken", f"GPU {index}: {free} MiB are free")
    return None


def nvml_words(nvml: Any, status: int) -> str:
    """An error of NVML in its own words."""
    nvml.nvmlErrorString.restype = ctypes.c_char_p
    words = nvml.nvmlErrorString(status)
    return words.decode(errors="replace") if isinstance(words, bytes) else f"error {status}"


def computes_here() -> bool:
    """Whether a process of this container has a GPU open, so that its memory may be its own.

    NVML does not tell: it knows the processes by numbers of the machine.
    """
    for folder in PROC.glob("[0-9]*/fd"):
        if folder.parent.name == str(os.getpid()):
            continue
        with suppress(OSError):  # it has ended, or is another user's
            if any(target(one).startswith("/dev/nvidia") for one in folder.iterdir()):
                return True
    return False


def target(link: Path) -> str:
    """Where a symbolic link leads; Path.readlink is newer than Python 3.8."""
    return os.readlink(str(link))  # noqa: PTH115


def of_cuda(cuda: Any) -> Illness | None:
    """What the first calls of every CUDA program give; NVML has found nothing."""
    number = ctypes.c_int()
    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(number))
    if status == CUDA_DRIVER_MISMATCH:
        return Illness("gpu-driver-changed", "cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH")
    if status == CUDA_COMPAT_REFUSED:
        evidence = "cuInit: CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE"
        return Illness("gpu-compat-refused", evidence)
    hidden = status == CUDA_NO_DEVICE and os.environ.get("CUDA_VISIBLE_DEVICES") is not None
    if not status or hidden:
        return None
    uvm = DEVICES / "nvidia-uvm"
    error = open_error(uvm)
    if error == errno.EPERM:
        return Illness("gpu-access-lost", f"{uvm}: {os.strerror(error)}")
    if error and gpu_files():
        return Illness("gpu-uvm-missing", f"cuInit: error {status}; {uvm}: {os.strerror(error)}")
    return Illness("gpu-access-lost", f"cuInit: error {status}")


def look(load: Callable[[str], Any] = library) -> Illness | None:
    """What is wrong with the GPUs of this container; None if nothing is, or it has none."""
    if not has_gpus():
        return None
    found = of_files() if gpu_files() else None
    for name, ask in (("libnvidia-ml.so.1", of_nvml), ("libcuda.so.1", of_cuda)):
        asked = None if found else load(name)
        found = found or (ask(asked) if asked else None)
    return found


def look_within(limit: float, ask: Callable[[], Illness | None] = look) -> Illness | None:
    """The same by a child, because a driver that has lost a GPU may never answer."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            found = ask()
            os.write(writer, "\n".join(found).encode() if found else b"-")
        finally:
            os._exit(0)
    os.close(writer)
    try:
        late = not select.select([reader], [], [], limit)[0]
        said = "" if late else os.read(reader, 4096).decode(errors="replace")
    finally:
        os.close(reader)
    if late:
        os.kill(child, signal.SIGKILL)  # not awaited: inside of the driver it may not end
        return Illness("gpu-silent", f"the driver did not answer within {limit:g} s")
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in CRASHES:
        name = signal.Signals(os.WTERMSIG(status)).name
        return Illness("gpu-silent", f"the library of the driver crashed ({name})")
    cause, _, evidence = said.partition("\n")
    return Illness(cause, evidence) if evidence else None


def main(words: list[str]) -> int:
    """Print what is wrong in one line; the exit status."""
    found = look_within(LIMIT)
    if not found:
        return 0
    print(f"gpu-health: {found.cause} ({found.evidence})", flush=True)
    return CAUSES[found.cause] if "--status" in words else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
