#!/usr/bin/env python3
"""Checks inside the container what the answers of the project promise.

    python verify.py            a table for people
    python verify.py --json     one JSON document

It reads what was asked from the environment: CHOSEN_ACCELERATOR (cuda or cpu), CHOSEN_TORCH,
CHOSEN_CUDA and TORCH_CUDA_ARCH_LIST (CCA of .env). An empty or missing variable asks nothing.
In an image whose base brings PyTorch, /opt/base/packages.json says what the base has.
Exit status: 0 if every check passes, 1 if one fails, 2 for a wrong option. Standard library only,
Python 3.8 or newer; PyTorch is imported if it is there.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

DRIVER_FILE = "/proc/driver/nvidia/version"
BASE_FILE = "/opt/base/packages.json"
# Oldest driver of each CUDA family (minor-version compatibility); a test holds it to the table.
FAMILIES = {11: "450.80.02", 12: "525.60.13", 13: "580"}
# Jetson modules share no binary code with other GPUs of their major version.
JETSON = {(3, 2), (5, 3), (6, 2), (7, 2), (8, 7), (10, 1), (11, 0)}

PASSED, FAILED, SKIPPED = "ok", "fails", "skipped"


class Check(NamedTuple):
    """One line of the report: status is ok, fails or skipped, `says` one sentence."""

    name: str
    status: str
    says: str


def numbers(version: str) -> tuple[int, ...]:
    """The integers of a version, so that versions compare rightly."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def import_torch() -> tuple[Any, str]:
    """PyTorch and "", or None and the reason why it does not import."""
    try:
        import torch  # noqa: PLC0415  (its absence is one of the findings)
    except Exception as error:  # noqa: BLE001  (a broken library raises OSError, or anything)
        return None, f"{type(error).__name__}: {error}"
    return torch, ""


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


def of_base(path: str = BASE_FILE) -> str | None:
    """The version of PyTorch that the base image brings, "" where it may be replaced, or None."""
    if not Path(path).exists():
        return None
    packages = json.loads(Path(path).read_text(encoding="utf-8"))["packages"]
    return str(packages["torch"]["version"]) if "torch" in packages else ""


def check_base(torch: Any, version: str) -> Check:
    """PyTorch is the base image's own: neither another release nor a second copy."""
    name = "PyTorch of the base"
    found, file = str(torch.__version__), str(torch.__file__)
    if not version:
        return Check(name, SKIPPED, f"{found}; base-override.txt lets it be replaced")
    # The module says nv26.08, the metadata of its wheel nv26.8.
    if re.sub(r"\.0+(?=\d)", ".", found) != re.sub(r"\.0+(?=\d)", ".", version):
        return Check(name, FAILED, f"{found} is imported, the base image has {version}")
    if Path(sys.prefix) in Path(file).parents:
        return Check(name, FAILED, f"it is a copy in {sys.prefix}, not the base image's own")
    return Check(name, PASSED, f"{found} in {Path(file).parent}")


def check_version(torch: Any, wanted: str) -> Check:
    """PyTorch is the release that was asked for."""
    found = str(getattr(torch, "__version__", ""))
    public = found.split("+", maxsplit=1)[0]
    if not wanted or wanted == "none":
        return Check("PyTorch version", SKIPPED, f"{found}; no version was asked for")
    if public != wanted:
        return Check("PyTorch version", FAILED, f"{found} is installed, {wanted} was asked")
    return Check("PyTorch version", PASSED, found)


def check_build(torch: Any, accelerator: str, wanted: str) -> Check:
    """PyTorch is a CUDA build where CUDA was asked, and none where CPU was asked."""
    found = getattr(getattr(torch, "version", None), "cuda", None)
    if accelerator == "cpu":
        if found is None:
            return Check("CUDA build", PASSED, "CPU is what was asked: PyTorch has no CUDA")
        return Check("CUDA build", FAILED, f"CPU was asked, but PyTorch brings CUDA {found}")
    if accelerator != "cuda":
        return Check("CUDA build", SKIPPED, f"CUDA {found}; nothing was asked for")
    if found is None:
        return Check("CUDA build", FAILED, "CUDA was asked, but PyTorch is a CPU build")
    if wanted and wanted != "none" and numbers(found)[:2] != numbers(wanted)[:2]:
        return Check("CUDA build", FAILED, f"CUDA {wanted} was asked, it is {found}")
    return Check("CUDA build", PASSED, f"CUDA {found}")


def check_code(torch: Any, cca: str) -> Check:
    """PyTorch has code for each compute capability of TORCH_CUDA_ARCH_LIST."""
    wanted = re.findall(r"(\d{1,2})\.(\d)", cca)
    if getattr(getattr(torch, "version", None), "cuda", None) is None:
        return Check("code for the GPUs", SKIPPED, "PyTorch has no CUDA")
    if not wanted:
        return Check("code for the GPUs", SKIPPED, "CCA in .env names no compute capability")
    compiled = compiled_list(torch)
    if not compiled:
        return Check("code for the GPUs", FAILED, "PyTorch does not say what it is compiled for")
    missing = [
        f"{major}.{minor}"
        for major, minor in wanted
        if not covers(compiled, (int(major), int(minor)))
    ]
    listed = " ".join(compiled)
    if missing:
        says = f"no code for {', '.join(missing)}: PyTorch is compiled for {listed}"
        return Check("code for the GPUs", FAILED, says)
    return Check("code for the GPUs", PASSED, f"{cca}: covered by {listed}")


def check_driver(torch: Any, driver: str) -> Check:
    """The host's driver is new enough for the CUDA of PyTorch."""
    cuda = getattr(getattr(torch, "version", None), "cuda", None)
    if not driver:
        return Check("driver", SKIPPED, "no NVIDIA driver is seen in this container")
    if cuda is None:
        return Check("driver", SKIPPED, "PyTorch has no CUDA")
    needs = FAMILIES.get(numbers(cuda)[0])
    if needs is None:
        says = f"{driver}; the driver that CUDA {cuda} needs is not known"
        return Check("driver", SKIPPED, says)
    if numbers(driver) < numbers(needs):
        says = f"{driver} is too old: CUDA {cuda} needs {needs} or newer"
        return Check("driver", FAILED, says)
    return Check("driver", PASSED, f"{driver} runs CUDA {cuda}")


def check_gpu(torch: Any, driver: str) -> Check:
    """PyTorch computes on every GPU that it sees."""
    try:
        # Under WSL there is a GPU but no driver file.
        if not driver and not torch.cuda.is_available():
            return Check("GPU", SKIPPED, "no NVIDIA driver is seen in this container")
        count = torch.cuda.device_count()
        for index in range(count):
            square = torch.ones(2, 2, device=f"cuda:{index}")
            float((square @ square).sum())
    except Exception as error:  # noqa: BLE001  (CUDA reports through RuntimeError and its kin)
        said = str(error).strip() or repr(error)
        return Check("GPU", FAILED, said.splitlines()[0])
    if not count:
        return Check("GPU", FAILED, "there is a driver, but PyTorch sees no GPU")
    return Check("GPU", PASSED, f"{count} seen, each multiplied a matrix")


def verify(environ: dict[str, str], driver: str, base: str | None = None) -> list[Check]:
    """All checks, in the order in which a person wants to read them.

    Args:
        environ: the variables that the text of the module names.
        driver: version of the host's driver, "" where there is none.
        base: what `of_base` says.
    """
    accelerator = environ.get("CHOSEN_ACCELERATOR", "").strip()
    wanted = environ.get("CHOSEN_TORCH", "").strip()
    torch, problem = import_torch()
    if torch is None:
        if wanted in ("", "none") and base is None:
            return [Check("PyTorch", SKIPPED, "none was asked for")]
        return [Check("PyTorch", FAILED, f"it does not import: {problem}")]
    checks = [
        Check("PyTorch", PASSED, "imports"),
        check_version(torch, wanted) if base is None else check_base(torch, base),
        check_build(torch, accelerator, environ.get("CHOSEN_CUDA", "").strip()),
    ]
    if accelerator == "cpu":
        return checks
    return [
        *checks,
        check_code(torch, environ.get("TORCH_CUDA_ARCH_LIST", "").strip()),
        check_driver(torch, driver),
        check_gpu(torch, driver),
    ]


def main(arguments: list[str]) -> int:
    """Print the report; the exit status is in the text of the module."""
    if [argument for argument in arguments if argument != "--json"]:
        print("verify: the only option is --json", file=sys.stderr)
        return 2
    checks = verify(dict(os.environ), host_driver(), of_base())
    good = all(check.status != FAILED for check in checks)
    if "--json" in arguments:
        report = {"ok": good, "checks": [check._asdict() for check in checks]}
        print(json.dumps(report, indent=2))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{check.name:{width}}  {check.status:7}  {check.says}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
