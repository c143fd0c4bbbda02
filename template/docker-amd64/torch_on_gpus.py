"""What verify.py and bench.py ask about NVIDIA GPUs; a project for the CPU has no such file.

Standard library only, Python 3.8 or newer, PyTorch 2.0 or newer.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from pathlib import Path
from typing import Any

Row = tuple[str, str, str]  # a check's name, its status (ok, fails, skipped), and a sentence

ROOT = "/"
DRIVER_FILE = "/proc/driver/nvidia/version"
MAPS_FILE = "/proc/self/maps"
# Of an image whose base image's folder cuda-compat was removed (CUDA_COMPAT in .env).
REMOVED_FILE = "/etc/dpkg/dpkg.cfg.d/no-cuda-compat"
COMPAT_FOLDERS = "usr/local/cuda*/compat/**/libcuda.so.*"
# cudaErrorCompatNotSupportedOnDevice, its words and its name.
COMPAT_REFUSED = 804
REFUSED = re.compile("forward compatibility was attempted|CompatNotSupported")
# Oldest driver of each CUDA family (minor-version compatibility); a test holds it to the table.
FAMILIES = {11: "450.80.02", 12: "525.60.13", 13: "580"}
# Jetson modules share no binary code with other GPUs of their major version.
JETSON = {(3, 2), (5, 3), (6, 2), (7, 2), (8, 7), (10, 1), (11, 0)}


# --- for verify.py


def numbers(version: str) -> tuple[int, ...]:
    """The integers of a version, so that versions compare rightly."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def compiled_list(torch: Any) -> list[str]:
    """What PyTorch is compiled for, such as ["sm_80", "compute_120"]; works without a GPU."""
    try:
        found = list(torch.cuda.get_arch_list())
    except Exception:  # noqa: BLE001  (some releases ask the driver first)
        found = []
    if not found:
        flags = getattr(getattr(torch, "_C", None), "_cuda_getArchFlags", None)
        found = (flags() or "").split() if flags else []
    return found


def capability(arch: str) -> tuple[int, int]:
    """(8, 6) for "sm_86", (12, 0) for "compute_120" and "sm_120a"."""
    digits = re.sub(r"\D", "", arch)
    return int(digits[:-1]), int(digits[-1])


def covers(compiled: list[str], wanted: tuple[int, int]) -> bool:
    """Whether code of the list runs on a GPU: the rules of docs/compatibility.md."""
    for arch in compiled:
        built = capability(arch)
        special = arch[-1:] in ("a", "f")
        if built == wanted:
            return True
        if special or built > wanted:
            continue
        if arch.startswith("compute_"):
            return True
        if built[0] == wanted[0] and not {built, wanted} & JETSON:
            return True
    return False


def host_driver(path: str = DRIVER_FILE) -> str:
    """The version of the kernel's driver, or "" where there is none."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    match = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d{3,4}\.\d+(?:\.\d+)*)", text)
    return match.group(1) if match else ""


def loaded_libcuda(path: str = MAPS_FILE) -> tuple[str, int]:
    """The file of the libcuda that programs get here, "" for none, and what its cuInit returns."""
    status = 0
    with contextlib.suppress(OSError, AttributeError):  # there is none, or one of a test
        status = int(ctypes.CDLL("libcuda.so.1").cuInit(0))
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", status
    match = re.search(r"(/\S*/libcuda\.so[.0-9]*)$", text, re.MULTILINE)
    return (match.group(1) if match else ""), status


def version_of(library: str) -> str:
    """The driver that a libcuda is of, "" if its name does not say, as libcuda.so.1.1 of WSL."""
    match = re.search(r"\.so\.(\d{3,4}\.\d+(?:\.\d+)*)$", library)
    return match.group(1) if match else ""


def set_compat(value: str) -> str:
    """The command that builds the images anew without the folder cuda-compat, or with it."""
    script = "./docker-amd64/template.sh"
    return f"{script} env --set CUDA_COMPAT={value} && {script} build"


def check_libcuda(library: str, driver: str, *, refused: bool = False) -> Row:
    """Who supplies libcuda: the host's driver, or the image by forward compatibility.

    `refused` says that the GPUs do not accept it (error 804).
    """
    version = version_of(library)
    # By name, since toolkits before 1.17.4 mount it beside the driver's.
    ours = Path(library).name in [one.name for one in Path(ROOT).glob(COMPAT_FOLDERS)]
    whose = f"the image's cuda-compat libcuda {version}" if ours else library
    if not library:
        return ("libcuda", "skipped", "no libcuda is seen in this container")
    if refused:
        what = "only GPUs of data centers accept a libcuda newer than their driver (error 804)"
        helps = f"Run: {set_compat('remove')}" if ours else "Remove the package that brings it"
        return ("libcuda", "fails", f"{whose} on driver {driver or 'of WSL'}: {what}. {helps}")
    if not version or not driver:
        return ("libcuda", "ok", library)
    if version == driver:
        return ("libcuda", "ok", f"the driver's own libcuda {version}")
    return ("libcuda", "ok", f"{whose} on driver {driver} (forward compatibility)")


def check_code(torch: Any, cca: str) -> Row:
    """PyTorch has code for each compute capability of TORCH_CUDA_ARCH_LIST."""
    wanted = re.findall(r"(\d{1,2})\.(\d)", cca)
    if getattr(getattr(torch, "version", None), "cuda", None) is None:
        return ("code for the GPUs", "skipped", "PyTorch has no CUDA")
    if not wanted:
        return ("code for the GPUs", "skipped", "CCA in .env names no compute capability")
    compiled = compiled_list(torch)
    if not compiled:
        return ("code for the GPUs", "fails", "PyTorch does not say what it is compiled for")
    missing = [
        f"{major}.{minor}"
        for major, minor in wanted
        if not covers(compiled, (int(major), int(minor)))
    ]
    listed = " ".join(compiled)
    if missing:
        says = f"no code for {', '.join(missing)}: PyTorch is compiled for {listed}"
        return ("code for the GPUs", "fails", says)
    return ("code for the GPUs", "ok", f"{cca}: covered by {listed}")


def check_driver(torch: Any, driver: str, libcuda: str = "") -> Row:
    """The host's driver, or a `libcuda` of a newer one, is new enough for the CUDA of PyTorch."""
    cuda = getattr(getattr(torch, "version", None), "cuda", None)
    if not driver:
        return ("driver", "skipped", "no NVIDIA driver is seen in this container")
    if cuda is None:
        return ("driver", "skipped", "PyTorch has no CUDA")
    needs = FAMILIES.get(numbers(cuda)[0])
    if needs is None:
        says = f"{driver}; the driver that CUDA {cuda} needs is not known"
        return ("driver", "skipped", says)
    if numbers(driver) < numbers(needs):
        if libcuda and numbers(libcuda) >= numbers(needs):
            return ("driver", "ok", f"{driver} runs CUDA {cuda} by the libcuda of {libcuda}")
        says = f"{driver} is too old: CUDA {cuda} needs {needs} or newer"
        if Path(REMOVED_FILE).exists():
            says += f". For GPUs of data centers, run: {set_compat('keep')}"
        return ("driver", "fails", says)
    return ("driver", "ok", f"{driver} runs CUDA {cuda}")


def check_gpu(torch: Any, driver: str) -> Row:
    """PyTorch computes on every GPU that it sees."""
    try:
        # Under WSL there is a GPU but no driver file.
        if not driver and not torch.cuda.is_available():
            return ("GPU", "skipped", "no NVIDIA driver is seen in this container")
        count = torch.cuda.device_count()
        for index in range(count):
            square = torch.ones(2, 2, device=f"cuda:{index}")
            float((square @ square).sum())
    except Exception as error:  # noqa: BLE001  (CUDA reports through RuntimeError and its kin)
        message = str(error).strip() or repr(error)
        return ("GPU", "fails", message.splitlines()[0])
    if not count:
        return ("GPU", "fails", "there is a driver, but PyTorch sees no GPU")
    return ("GPU", "ok", f"{count} seen, each multiplied a matrix")


def checks(torch: Any, capabilities: str, driver: str) -> list[Row]:
    """All checks about GPUs; `capabilities` are those that PyTorch needs code for."""
    gpu = check_gpu(torch, driver)
    library, status = loaded_libcuda() if driver or gpu[1] != "skipped" else ("", 0)
    refused = status == COMPAT_REFUSED or (gpu[1] == "fails" and bool(REFUSED.search(gpu[2])))
    return [
        check_code(torch, capabilities),
        check_driver(torch, driver, version_of(library)),
        check_libcuda(library, driver, refused=refused),
        gpu,
    ]


# --- for bench.py


def known(ask: Any) -> Any:
    """What a question to PyTorch gives, or None: not every release and device knows each."""
    try:
        return ask()
    except Exception:  # noqa: BLE001
        return None


class Gpu:
    """The first GPU that PyTorch sees, as bench.py measures it."""

    name = "cuda"
    sizes = {  # noqa: RUF012
        "transformer block": {"batch": 8, "tokens": 1024, "width": 1024, "heads": 16},
        "convolution": {"batch": 64, "pixels": 56, "channels": 256, "layers": 4},
        "matrix product": {"n": 8192},
    }
    tuning = (
        "CUDA_(MODULE|DEVICE_ORDER|LAUNCH|CACHE)|NVIDIA_(TF32|PYTORCH_VERSION|VISIBLE)"
        "|CUBLAS|CUDNN|NCCL_"
    )

    def __init__(self, torch: Any) -> None:
        """Measure with this PyTorch."""
        self.torch = torch

    def wait(self) -> None:
        """Return when the work is done."""
        self.torch.cuda.synchronize()

    def free_memory(self) -> None:
        """Give back what PyTorch keeps for later."""
        with contextlib.suppress(Exception):
            self.torch.cuda.empty_cache()

    def has_bfloat16(self) -> bool:
        """Whether the GPU computes in it and does not only imitate it."""
        return bool(self.torch.cuda.get_device_capability(0) >= (8, 0))

    def facts(self) -> dict[str, Any]:
        """What may explain why two results differ."""
        torch = self.torch
        gpus = []
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            gpus.append(
                {
                    "name": found.name,
                    "compute_capability": f"{found.major}.{found.minor}",
                    "memory_gib": round(found.total_memory / 2**30, 1),
                }
            )
        return {
            "cuda": known(lambda: torch.version.cuda),
            "cudnn": known(torch.backends.cudnn.version),
            "cudnn_tf32": known(lambda: bool(torch.backends.cudnn.allow_tf32)),
            "driver": host_driver() or None,
            "gpus": gpus,
        }

    def title(self) -> str:
        """What is measured, for the head of the table."""
        return str(self.torch.cuda.get_device_properties(0).name)


def gpus(torch: Any) -> list[Gpu]:
    """The first GPU that PyTorch sees, or nothing."""
    return [Gpu(torch)] if torch.cuda.is_available() else []
