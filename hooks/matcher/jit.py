"""What compiles while a program runs: torch.compile, with Triton and its ptxas, or with g++.

Nothing here changes the verdict on a choice, because PyTorch runs without torch.compile (eager
mode). The facts are in `hooks/compat/jit.yml`. What is not known is not said.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..compat.rows import numbers
from .verdicts import Finding, Layer, Verdict

if TYPE_CHECKING:
    from ..compat.rows import CudaLine, TorchCompile, Triton
    from ..compat.table import Table
    from .choices import Choice
    from .hosts import Gpu
    from .stacks import Stack

EAGER = "PyTorch without torch.compile is not affected"
# Services whose runtime image has a compiler only where the answer jit is yes.
ASK_FOR_JIT = frozenset({"simple", "train", "hub"})
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


def _torch(stack: Stack, choice: Choice) -> str | None:
    """The PyTorch of a choice; an NGC image has one between two releases, such as 2.9.0a0."""
    named = stack.ngc.torch if stack.ngc else choice.torch
    found = _VERSION.match(named or "")
    return found[0] if found else None


def accepts(torch: str, table: Table) -> TorchCompile | None:
    """What torch.compile of a PyTorch release accepts; None = not known."""
    wanted = numbers(torch)
    for row in table.jit.torch_compile:
        if numbers(row.first) <= wanted <= numbers(row.last):
            return row
    return None


def triton_of(torch: str, table: Table) -> Triton | None:
    """The Triton that PyTorch's wheel on PyPI requires; None = not known."""
    release = table.torch.get(torch)
    return table.jit.triton.get(str(release.pypi["triton"])) if release else None


def _python(torch: str, row: TorchCompile, choice: Choice) -> str:
    """Why torch.compile refuses the Python of a choice; empty if it does not."""
    python = choice.python
    if python is None:
        return ""
    if numbers(python.rstrip("t")) > numbers(row.python):
        return (
            f"torch.compile of PyTorch {torch} refuses Python {python}: {row.python} is the newest"
            f" that it supports; {EAGER}"
        )
    if python.endswith("t") and row.free_threaded is False:
        return (
            f"torch.compile of PyTorch {torch} refuses Python {python}, which has no GIL; {EAGER}"
        )
    return ""


def _compiler(choice: Choice) -> str:
    """Why the runtime image cannot compile; empty if it can, or if that is not known.

    Without one PyTorch says `No working C++ compiler found`, Triton `Failed to find C compiler`.
    """
    if choice.jit is not False or choice.service not in ASK_FOR_JIT:
        return ""
    needs = "C++ compiler" if choice.accelerator == "cpu" else "C compiler for Triton"
    return (
        f"the answer jit is no, so the runtime image has no {needs}: torch.compile fails there, and"
        " works in the dev container"
    )


def _target(gpu_cc: str, triton: Triton) -> str:
    """What Triton compiles for on a GPU, as ptxas spells it: sm_89, sm_121a."""
    special = triton.accelerated and numbers(gpu_cc) >= numbers(triton.accelerated)
    return f"sm_{gpu_cc.replace('.', '')}{'a' if special else ''}"


def _knows(line: CudaLine | None, gpu_cc: str, target: str) -> bool | None:
    """Whether the compilers of a CUDA line have a target; None = not known."""
    if line is None or line.targets is None:
        return None
    return f"{gpu_cc}a" in line.special if target.endswith("a") else gpu_cc in line.targets


def can_compile(gpu_cc: str, triton: Triton, table: Table) -> bool | None:
    """Whether the ptxas in a Triton wheel compiles for a GPU; None = not known."""
    line = table.lines.get(triton.compiler(gpu_cc).line)
    return _knows(line, gpu_cc, _target(gpu_cc, triton))


def _first_that_can(gpu_cc: str, torch: str, table: Table) -> str | None:
    """The oldest PyTorch release after `torch` whose Triton compiles for a GPU."""
    for version in table.torch:
        triton = triton_of(version, table)
        newer = numbers(version) > numbers(torch)
        if newer and triton and can_compile(gpu_cc, triton, table):
            return version
    return None


def _remedy(gpu_cc: str, torch: str, triton: Triton, table: Table) -> str:
    """What to do where the ptxas of Triton has no target for a GPU."""
    found = []
    version = _first_that_can(gpu_cc, torch, table)
    if version:
        found.append(f"choose PyTorch {version} or newer")
    tool, target = triton.compiler(gpu_cc), _target(gpu_cc, triton)
    lines = [
        line.line
        for line in table.lines.values()
        if _knows(line, gpu_cc, target)
        and (tool.newest is None or numbers(line.line)[0] <= int(tool.newest))
    ]
    if tool.variable and lines:
        up_to = f" to {lines[-1]}" if len(lines) > 1 else ""
        which = f"{lines[0]}{up_to if tool.newest else ' or newer'}"
        found.append(f"set {tool.variable} to a ptxas of CUDA {which}")
    return ", or ".join(found) or EAGER


def _products(gpu: Gpu, torch: str, triton: Triton, table: Table) -> Finding | None:
    """Does Triton compile products of float16 matrices for a GPU?"""

    def can(other: Triton | None) -> bool | None:
        if other is None or other.float16_products is None:
            return None
        return numbers(gpu.cc or "") >= numbers(other.float16_products)

    if can(triton) is not False:
        return None
    newer = (
        version
        for version in table.torch
        if numbers(version) > numbers(torch) and can(triton_of(version, table))
    )
    version = next(newer, None)
    why = (
        f"Triton {triton.version} compiles no product of float16 matrices (tl.dot) for {gpu.label}:"
        " kernels with one fail, others compile"
        + (f"; PyTorch {version} brings one that does" if version else "")
    )
    return Finding(Verdict.UNKNOWN, Layer.JIT, why, gpu.label)


def _ptxas(gpu: Gpu, torch: str, triton: Triton, arch: str, table: Table) -> Finding | None:
    """Can the ptxas in PyTorch's Triton wheel compile for a GPU?"""
    cc = gpu.cc or ""
    if arch not in triton.platforms:
        why = (
            f"it is not known whether torch.compile works on {gpu.label}: PyPI has no Triton"
            f" {triton.version} for {arch}"
        )
        return Finding(Verdict.UNKNOWN, Layer.JIT, why, gpu.label)
    if can_compile(cc, triton, table) is not False:
        return None
    why = (
        f"torch.compile fails on {gpu.label}: ptxas {triton.compiler(cc).version} of Triton"
        f" {triton.version} has no target {_target(cc, triton)};"
        f" {_remedy(cc, torch, triton, table)}"
    )
    return Finding(Verdict.FAILS, Layer.JIT, why, gpu.label)


def _too_old(gpu: Gpu, triton: Triton | None, row: TorchCompile) -> Finding | None:
    """Does torch.compile refuse a GPU?"""
    if numbers(gpu.cc or "") >= numbers(row.min_cc):
        return None
    name = f"Triton {triton.version}" if triton else "it"
    why = f"torch.compile refuses {gpu.label}: {name} needs {row.min_cc} or newer; {EAGER}"
    return Finding(Verdict.FAILS, Layer.JIT, why, gpu.label)


def jit_notes(
    gpu: Gpu | None, stack: Stack, choice: Choice, table: Table, arch: str = "x86_64"
) -> list[Finding]:
    """What torch.compile does not do with a choice, on one GPU; empty where nothing is known.

    Args:
        gpu: of the host; None where there is none, or none is wanted.
        stack: what `resolve()` made of the choice.
        choice: from `choices.choice()` or `from_image()`.
        table: the tables.
        arch: x86_64 or aarch64.
    """
    torch = _torch(stack, choice)
    row = accepts(torch, table) if torch else None
    if torch is None or row is None:
        return []
    reason = _python(torch, row, choice)
    if reason:
        return [Finding(Verdict.FAILS, Layer.JIT, reason)]
    if gpu and gpu.cc and stack.cuda:
        # NGC and conda-forge bring a Triton and a ptxas of their own.
        from_pypi = choice.service != "ngc" and choice.package_manager == "pip"
        triton = triton_of(torch, table) if from_pypi else None
        found = _too_old(gpu, triton, row)
        if found is None and triton:
            found = _ptxas(gpu, torch, triton, arch, table)
            found = found or _products(gpu, torch, triton, table)
        if found:
            return [found]
    reason = _compiler(choice)
    return [Finding(Verdict.FAILS, Layer.JIT, reason)] if reason else []
