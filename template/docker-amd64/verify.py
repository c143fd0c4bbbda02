#!/usr/bin/env python3
"""Checks inside the container what the answers of the project promise.

    python verify.py            a table
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

BASE_FILE = "/opt/base/packages.json"
PASSED, FAILED, SKIPPED = "ok", "fails", "skipped"


class Check(NamedTuple):
    """One line of the report: status is ok, fails or skipped, `says` one sentence."""

    name: str
    status: str
    says: str


def import_torch() -> tuple[Any, str]:
    """PyTorch and "", or None and the reason why it does not import."""
    try:
        import torch  # noqa: PLC0415  (its absence is one of the findings)
    except Exception as error:  # noqa: BLE001  (a broken library raises OSError, or anything)
        return None, f"{type(error).__name__}: {error}"
    return torch, ""


def base_torch(path: str = BASE_FILE) -> str | None:
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
    if wanted and wanted != "none" and found.split(".")[:2] != wanted.split(".")[:2]:
        return Check("CUDA build", FAILED, f"CUDA {wanted} was asked, it is {found}")
    return Check("CUDA build", PASSED, f"CUDA {found}")


def gpu_checks(torch: Any, capabilities: str) -> list[Check]:
    """The checks about GPUs, in an image that was made for them."""
    try:
        import torch_on_gpus  # noqa: PLC0415  (a project for the CPU has no such file)
    except ImportError:
        return []
    driver = torch_on_gpus.host_driver()
    return [Check(*row) for row in torch_on_gpus.checks(torch, capabilities, driver)]


def verify(environ: dict[str, str], base: str | None = None) -> list[Check]:
    """All checks, in the order in which one wants to read them.

    Args:
        environ: the variables that the text of the module names.
        base: what `base_torch` gives.
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
    return [*checks, *gpu_checks(torch, environ.get("TORCH_CUDA_ARCH_LIST", "").strip())]


def main(arguments: list[str]) -> int:
    """Print the report; the exit status is in the text of the module."""
    if [argument for argument in arguments if argument != "--json"]:
        print("verify: the only option is --json", file=sys.stderr)
        return 2
    checks = verify(dict(os.environ), base_torch())
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
