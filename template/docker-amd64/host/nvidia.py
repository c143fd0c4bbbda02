"""The GPUs, from NVML or `nvidia-smi`: neither a hang nor a crash of the driver stops the probe."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ask import LOOK_LIMIT, Output, command, gather, kill_group, read_json, read_text
from .gpu_facts import Gpu, Graphics, Mig
from .project import me

if TYPE_CHECKING:
    from collections.abc import Callable

# ruff: noqa: PLC0415  what only some calls need is imported there: the probe has to be quick

GPU_LIMIT = 3.0  # seconds for everything that asks the NVIDIA driver
KERNEL_DRIVER = Path("/proc/driver/nvidia/version")
WSL_LIBRARIES = Path("/usr/lib/wsl/lib")
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# nvmlReturn_t in nvml.h
NO_PERMISSION, TOO_SMALL, NOT_LOADED, NO_LIBRARY, MISMATCH = 4, 7, 9, 12, 18
# nvmlBrandType_t from 0 on, in the words of the images' start checks, and one value of
# nvmlGpuVirtualizationMode_t.
BRANDS = (
    *("", "quadro", "tesla", "nvs", "grid", "geforce", "titan", "vapps", "vpc", "vcs", "vws"),
    *("cloudgaming", "quadrortx", "nvidiartx", "nvidia", "geforcertx", "titanrtx"),
)
GUEST = 2
BLOCKED = "blocked"  # NOT_LOADED where Secure Boot is on


class NvmlError(Exception):
    """A call to NVML that failed; `value` is its nvmlReturn_t, as in the exceptions of pynvml."""

    def __init__(self, value: int) -> None:
        """`value` is what a function of NVML returned."""
        super().__init__(f"NVML error {value}")
        self.value = value


class Nvml:
    """The functions of NVML that are needed, under pynvml's names, from the driver's C library."""

    FUNCTIONS = {  # noqa: RUF012  name in pynvml: name in nvml.h, what it gives back
        "nvmlInit": ("nvmlInit_v2", "nothing"),
        "nvmlSystemGetDriverVersion": ("nvmlSystemGetDriverVersion", "text"),
        "nvmlSystemGetCudaDriverVersion": ("nvmlSystemGetCudaDriverVersion_v2", "number"),
        "nvmlDeviceGetCount": ("nvmlDeviceGetCount_v2", "number"),
        "nvmlDeviceGetHandleByIndex": ("nvmlDeviceGetHandleByIndex_v2", "handle"),
        "nvmlDeviceGetName": ("nvmlDeviceGetName", "text"),
        "nvmlDeviceGetUUID": ("nvmlDeviceGetUUID", "text"),
        "nvmlDeviceGetCudaComputeCapability": ("nvmlDeviceGetCudaComputeCapability", "pair"),
        "nvmlDeviceGetMemoryInfo": ("nvmlDeviceGetMemoryInfo", "memory"),
        "nvmlDeviceGetMigMode": ("nvmlDeviceGetMigMode", "pair"),
        "nvmlDeviceGetMaxMigDeviceCount": ("nvmlDeviceGetMaxMigDeviceCount", "number"),
        "nvmlDeviceGetMigDeviceHandleByIndex": ("nvmlDeviceGetMigDeviceHandleByIndex", "handle"),
        "nvmlDeviceGetUtilizationRates": ("nvmlDeviceGetUtilizationRates", "rates"),
        "nvmlDeviceGetComputeRunningProcesses": ("nvmlDeviceGetComputeRunningProcesses", "list"),
        "nvmlDeviceGetBrand": ("nvmlDeviceGetBrand", "number"),
        "nvmlDeviceGetVirtualizationMode": ("nvmlDeviceGetVirtualizationMode", "number"),
    }

    def __init__(self, library: Any) -> None:
        """`library` is libnvidia-ml, loaded with ctypes."""
        self._library = library

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The function of that name; it raises NvmlError."""
        import ctypes as c
        from types import SimpleNamespace

        symbol, kind = self.FUNCTIONS[name]
        function = getattr(self._library, symbol)

        def call(*args: Any) -> Any:
            results: dict[str, list[Any]] = {
                "nothing": [],
                "text": [c.create_string_buffer(96)],
                "number": [c.c_uint()],
                "pair": [c.c_uint(), c.c_uint()],
                "handle": [c.c_void_p()],
                "memory": [(c.c_ulonglong * 3)()],  # nvmlMemory_t: total, free, used
                "rates": [(c.c_uint * 2)()],  # nvmlUtilization_t: percent of GPU, of memory
                "list": [c.c_uint()],
            }
            out = results[kind]
            more: dict[str, list[Any]] = {"text": [96], "list": [None]}
            status = function(*args, *map(c.byref, out), *more.get(kind, []))
            if kind == "list" and status == TOO_SMALL:  # for no room, NVML gives the number
                return [None] * out[0].value
            if status != 0:
                raise NvmlError(status)
            if kind == "memory":
                return SimpleNamespace(total=out[0][0], used=out[0][2])
            if kind == "rates":
                return list(out[0])
            if kind == "list":
                return []
            values = out if kind == "handle" else [one.value for one in out]
            return values[0] if len(values) == 1 else values

        return call


def open_nvml() -> Any:
    """NVML, started: the module pynvml where it is installed, else the driver's own library.

    Raises NvmlError, or pynvml's own exception, both with an attribute `value`.
    """
    try:
        from importlib import import_module

        pynvml = import_module("pynvml")
        pynvml.nvmlInit()
    except ImportError:
        pass
    except Exception as error:
        if getattr(error, "value", None) != NO_LIBRARY:
            raise
    else:
        return pynvml
    import ctypes

    for name in ("libnvidia-ml.so.1", str(WSL_LIBRARIES / "libnvidia-ml.so.1")):
        try:
            nvml = Nvml(ctypes.CDLL(name))
        except OSError:
            continue
        nvml.nvmlInit()
        return nvml
    raise NvmlError(NO_LIBRARY)


def asker(nvml: Any) -> Callable[..., Any]:
    """A function that calls one of NVML's, and gives None where that fails."""

    def maybe(name: str, *args: Any) -> Any:
        try:
            answer = getattr(nvml, name)(*args)
        except Exception:  # noqa: BLE001 pynvml has an exception class for each error code
            return None
        return answer.decode(errors="replace") if isinstance(answer, bytes) else answer

    return maybe


def read_loads(nvml: Any) -> dict[str, Any]:
    """What keeps each GPU and MIG instance busy, by UUID, as in `load.Load`.

    Returns:
        {"loads": {UUID: [MiB in use, MiB in all, percent or None, number of processes]}}.
        One that does not tell its memory and processes is left out.
    """
    maybe = asker(nvml)
    loads: dict[str, list[int | None]] = {}
    for index in range(nvml.nvmlDeviceGetCount()):
        device = maybe("nvmlDeviceGetHandleByIndex", index)
        if device is None:
            continue
        slots = range(maybe("nvmlDeviceGetMaxMigDeviceCount", device) or 0)
        parts = [maybe("nvmlDeviceGetMigDeviceHandleByIndex", device, slot) for slot in slots]
        for one in [device, *(part for part in parts if part is not None)]:
            uuid = maybe("nvmlDeviceGetUUID", one)
            memory = maybe("nvmlDeviceGetMemoryInfo", one)
            processes = maybe("nvmlDeviceGetComputeRunningProcesses", one)
            if not uuid or memory is None or processes is None:
                continue
            rates = maybe("nvmlDeviceGetUtilizationRates", one)  # a MIG instance has none
            percent = getattr(rates, "gpu", None) if not isinstance(rates, list) else rates[0]
            loads[uuid] = [memory.used >> 20, memory.total >> 20, percent, len(processes)]
    return {"loads": loads}


def read_facts(nvml: Any) -> dict[str, Any]:
    """The fields of Graphics."""
    return asdict(read_nvml(nvml))


def read_nvml(nvml: Any) -> Graphics:
    """What NVML (pynvml or `Nvml`) says; what a GPU does not support is unknown."""
    maybe = asker(nvml)

    def read(device: Any) -> dict[str, Any]:
        memory = maybe("nvmlDeviceGetMemoryInfo", device)
        return {
            "name": maybe("nvmlDeviceGetName", device) or "unknown",
            "uuid": maybe("nvmlDeviceGetUUID", device) or "",
            "memory_mib": memory.total >> 20 if memory else None,
        }

    gpus: list[Gpu] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        device = maybe("nvmlDeviceGetHandleByIndex", index)
        if device is None:  # a GPU that fell off the bus must not hide the others
            continue
        capability = maybe("nvmlDeviceGetCudaComputeCapability", device)
        mig_enabled = bool((maybe("nvmlDeviceGetMigMode", device) or [0])[0])
        brand = maybe("nvmlDeviceGetBrand", device) or 0
        slots = range(maybe("nvmlDeviceGetMaxMigDeviceCount", device) or 0 if mig_enabled else 0)
        parts = [maybe("nvmlDeviceGetMigDeviceHandleByIndex", device, slot) for slot in slots]
        gpu = Gpu(
            **read(device),
            compute_capability="{}.{}".format(*capability) if capability else None,
            mig_enabled=mig_enabled,
            mig=tuple(Mig(**read(part)) for part in parts if part is not None),
            index=index,
            brand=BRANDS[brand] if brand < len(BRANDS) else "",
            virtual=maybe("nvmlDeviceGetVirtualizationMode", device) == GUEST,
        )
        gpus.append(gpu)
    cuda = maybe("nvmlSystemGetCudaDriverVersion")  # 12040 is CUDA 12.4
    return Graphics(
        gpus=tuple(gpus),
        driver=maybe("nvmlSystemGetDriverVersion"),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
        gpu_status="found" if gpus else "none",
        gpu_source="nvml",
        gpu_note="" if gpus else "the NVIDIA driver reports no GPU",
    )


DESCRIPTORS = 256  # more than this program ever has open


class NvmlChild:
    """NVML, asked in a forked process: a hang or a crash in the driver's library ends there.

    A fork, because a new interpreter would cost more than all the rest of the probe.
    """

    def __init__(self, read: Callable[[Any], dict[str, Any]] = read_facts) -> None:
        """Start the child. Raises AttributeError or OSError where there is no fork."""
        self._pipe, write = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(write)
            return
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):  # who reads our output must not have to wait for this child
                os.dup2(null, stream)
            # Nor who waits for a lock: one that hangs in the driver may outlive this process.
            os.closerange(3, write)
            os.closerange(write + 1, DESCRIPTORS)
            try:
                answer = read(open_nvml())
            except Exception as error:  # noqa: BLE001
                answer = {"error": getattr(error, "value", str(error))}
            with os.fdopen(write, "w") as pipe:
                json.dump(answer, pipe)
        finally:
            os._exit(0)

    def answer(self, limit: float) -> dict[str, Any]:
        """What `read` said, or `error`, or nothing after a crash.

        Raises TimeoutError after `limit` seconds.
        """
        import select

        deadline, data = time.monotonic() + limit, b""
        try:
            while True:
                left = max(deadline - time.monotonic(), 0)
                if not select.select([self._pipe], [], [], left)[0]:
                    kill_group(self._pid)
                    raise TimeoutError
                chunk = os.read(self._pipe, 65536)
                if not chunk:
                    os.waitpid(self._pid, 0)
                    return read_json(data.decode())
                data += chunk
        finally:
            os.close(self._pipe)


def has_driver() -> bool:
    """Whether a driver is loaded, that of Windows in WSL too."""
    return KERNEL_DRIVER.exists() or WSL_LIBRARIES.exists()


def kernel_module(root: Path = Path("/")) -> str:
    """Open or proprietary, the flavour of the kernel modules; "" where none is loaded."""
    said = read_text(root / str(KERNEL_DRIVER)[1:])
    if "NVRM version" not in said:
        return ""
    return "open" if "Open Kernel Module" in said else "proprietary"


def secure_boot(root: Path = Path("/")) -> bool | None:
    """Whether Secure Boot is on: the last byte of the firmware's variable; None: not known."""
    try:
        return (root / SECURE_BOOT).read_bytes()[-1:] == b"\1"
    except OSError:
        return None


def container_toolkit() -> str:
    """The version of NVIDIA Container Toolkit, "none" without it, "" if it does not say."""
    if not shutil.which("nvidia-ctk"):
        return "none"
    version = re.search(
        r"version (\d+\.[\d.]+)", command(["nvidia-ctk", "--version"], LOOK_LIMIT).out
    )
    return version.group(1) if version else ""


def graphics(child: NvmlChild | None, limit: float = GPU_LIMIT) -> Graphics:
    """The GPUs, from NVML or else `nvidia-smi`, within `limit` seconds in all."""
    deadline = time.monotonic() + limit
    kernel = re.search(r"NVRM version:.*?\s(\d+\.[\d.]+)", read_text(KERNEL_DRIVER))
    driver = kernel.group(1) if kernel else None

    def unknown(note: str) -> Graphics:
        return Graphics(driver=driver, gpu_status="unknown", gpu_note=note)

    differ = (
        f"the NVIDIA driver in the kernel{f' ({driver})' if driver else ''} and its library "
        "differ, as after an update: reboot this machine"
    )
    notes: dict[Any, str] = {
        MISMATCH: differ,
        NO_PERMISSION: "you have no permission on the devices /dev/nvidia*",
        NOT_LOADED: "the NVIDIA driver is installed but not loaded: try `sudo modprobe nvidia`",
        BLOCKED: "the NVIDIA driver is installed but not loaded, and Secure Boot is on, which "
        f"refuses unsigned modules: run `{me()} doctor`",
    }
    try:
        answer = child.answer(limit) if child else {}
        if "gpus" in answer:
            gpus = [
                Gpu(**dict(gpu, mig=tuple(Mig(**m) for m in gpu["mig"]))) for gpu in answer["gpus"]
            ]
            return Graphics(**dict(answer, gpus=tuple(gpus)))
        error = answer.get("error")
        if error in notes:
            return unknown(notes[BLOCKED if error == NOT_LOADED and secure_boot() else error])
        found = nvidia_smi(deadline)
    except TimeoutError:
        late = f"the NVIDIA driver did not answer within {limit:g} s"
        return unknown(f"{late}: look at `sudo dmesg`, then reboot")
    return unknown(differ) if "library version mismatch" in found.gpu_note else found


def nvidia_smi(deadline: float) -> Graphics:
    """What the command `nvidia-smi` says; its own error text is the note. Raises TimeoutError."""
    program = shutil.which("nvidia-smi") or shutil.which(str(WSL_LIBRARIES / "nvidia-smi"))
    if not program:
        note = "no NVIDIA driver found (neither libnvidia-ml.so.1 nor nvidia-smi)"
        return Graphics(gpu_note=note)
    fields = ["uuid", "name", "memory.total", "driver_version", "mig.mode.current", "compute_cap"]

    def ask(*args: str) -> Output:
        return command([program, *args], deadline - time.monotonic())

    def query() -> Output:
        return ask(f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")

    answers = gather({"rows": query, "banner": ask, "list": lambda: ask("-L")}, limit=GPU_LIMIT)
    late = Output(None, timed_out=True)
    rows, banner, listing = (answers.get(name, late) for name in ("rows", "banner", "list"))
    if "not a valid field" in rows.out + rows.err:
        fields = fields[:4]  # drivers before 510 know no compute_cap, before 450 no MIG
        rows = query()
    if rows.timed_out or banner.timed_out:
        raise TimeoutError
    if rows.status != 0:
        first = (f"{rows.out}\n{rows.err}".strip().splitlines() or ["no answer"])[0]
        return Graphics(gpu_status="unknown", gpu_note=f"nvidia-smi failed: {first.strip()[:200]}")
    gpus: list[Gpu] = []
    driver = None
    for line in rows.out.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(fields) or not cells[0].startswith("GPU-"):
            continue
        uuid, name, memory, driver, mig, capability = (*cells, "", "")[:6]
        block = re.search(rf"UUID: {re.escape(uuid)}\)((?:\n[ \t]+MIG .*)*)", listing.out)
        parts = re.findall(r"(MIG \S+).*?UUID: (MIG-[^)]+)", block.group(1) if block else "")
        gpu = Gpu(
            name=name,
            uuid=uuid,
            compute_capability=capability if re.fullmatch(r"\d+\.\d+", capability) else None,
            memory_mib=int(memory) if memory.isdigit() else None,
            mig_enabled=bool(parts) or mig == "Enabled",
            mig=tuple(Mig(f"{name} {part}", part_uuid) for part, part_uuid in parts),
            index=len(gpus),
        )
        gpus.append(gpu)
    # From driver 610 on the banner says "CUDA UMD Version".
    cuda = re.search(r"CUDA (?:UMD )?Version:\s*(\d+\.\d+)", banner.out)
    return Graphics(
        gpus=tuple(gpus),
        driver=driver,
        cuda=cuda.group(1) if cuda else None,
        gpu_status="found" if gpus else "none",
        gpu_source="nvidia-smi",
        gpu_note="" if gpus else "nvidia-smi reports no GPU",
    )
