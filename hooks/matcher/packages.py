"""Packages that bring CUDA kernels of their own: does one fit a PyTorch and a GPU?

flash-attn and xformers, as far as their projects publish what they target; the facts are in
`hooks/compat/jit.yml`. Nothing here changes the verdict on a choice. What is not known is not said.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ..compat.rows import numbers
from ..compat.table import load
from .choices import Choice, spoken
from .hosts import targets
from .libcuda import runs_cuda
from .rules import Coverage, coverage, only_ptx
from .verdicts import Finding, Layer, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..compat.rows import KernelGpus, KernelWheels
    from ..compat.table import Table
    from .hosts import Gpu, Host
    from .stacks import Stack

_NO_CHOICE = Choice()


def normal(name: str) -> str:
    """The normalized name of a package: flash-attn for flash_attn and Flash.Attn (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip().lower())


def _gpus_of(package: str, version: str | None, table: Table) -> KernelGpus | None:
    """What is known of a package's GPUs; of its newest major where no version is given."""
    rows = [row for row in table.jit.gpus if row.package == package]
    major = version.split(".", maxsplit=1)[0] if version else None
    fitting = [row for row in rows if major is None or row.major in {None, major}]
    return fitting[-1] if fitting else None


def _refuses(gpu: Gpu, row: KernelGpus) -> Finding | None:
    """Does a package refuse a GPU, or is it not documented for it?"""
    cc = numbers(gpu.cc or "0")
    name = f"{row.package} {row.major}" if row.major else row.package
    if row.min_cc and cc < numbers(row.min_cc):
        why = f"{name} refuses {gpu.label}: it needs compute capability {row.min_cc} or newer"
        return Finding(Verdict.FAILS, Layer.KERNEL_IMAGE, why, gpu.label)
    documented = [numbers(listed) for listed in row.documented or ()]
    if documented and not any(cc[0] == known[0] and cc >= known for known in documented):
        why = (
            f"it is not known whether {name} runs on {gpu.label}: it is documented for"
            f" {spoken(row.documented or [])} only"
        )
        return Finding(Verdict.UNKNOWN, Layer.KERNEL_IMAGE, why, gpu.label)
    return None


class _Wanted(NamedTuple):
    """What a wheel must fit; `machine` is None where the driver is not known."""

    torch: str | None
    python: str | None
    arch: str
    table: Table
    machine: Host | None = None


def _order(version: str) -> tuple[int, ...]:
    """What orders versions such as 2.8.3 and 2.8.3.post1."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", version))


def _wheels_of(package: str, version: str | None, wanted: _Wanted) -> KernelWheels | None:
    """The wheels of a version; without one, of the version that pip takes for this PyTorch."""
    rows = [row for row in wanted.table.jit.wheels if row.package == package]
    if version:
        return next((row for row in rows if row.version == version), None)
    torch = wanted.torch
    fitting = [row for row in rows if torch and not row.compiles and row.fits(torch)]
    return fitting[-1] if fitting else None


def _not_listed(package: str, version: str | None, stack: Stack, wanted: _Wanted) -> Finding | None:
    """Of a version that is newer than the table, or of none: has the newest that is known a wheel?

    pip takes the newest version, and compiles it where it has no wheel.
    """
    rows = [row for row in wanted.table.jit.wheels if row.package == package and row.compiles]
    if not rows or (version and _order(version) <= _order(rows[-1].version)):
        return None
    misfit = _misfit(rows[-1], wanted, stack)
    if misfit is None:
        return None
    named = f"{package} {version}" if version else package
    why = (
        f"no wheel of {named} for {misfit[0]} is known (those of {rows[-1].version} are for"
        f" {misfit[1]}): without one pip compiles it, which needs nvcc and much time"
    )
    return Finding(Verdict.UNKNOWN, Layer.SOLVER, why)


def _misfit(row: KernelWheels, wanted: _Wanted, stack: Stack) -> tuple[str, str] | None:
    """What there is no wheel for, and what the wheels are for; None where one fits."""
    torch, python, arch = wanted.torch, wanted.python, wanted.arch
    if torch and not row.fits(torch):
        return f"PyTorch {torch}", f"PyTorch {spoken(row.torch)}"
    if stack.cuda and stack.cuda.split(".", maxsplit=1)[0] not in row.cuda:
        return f"CUDA {stack.cuda}", f"CUDA {spoken(row.cuda)}"
    if python and row.python is not None and python not in row.python:
        return f"Python {python}", f"Python {spoken(row.python)}"
    return None if arch in row.platforms else (arch, spoken(row.platforms))


def _solved(row: KernelWheels, misfit: tuple[str, str]) -> Finding:
    """What pip does where a package has no wheel for a choice."""
    wanted, listed = misfit
    name = f"{row.package} {row.version}"
    if row.compiles:
        why = (
            f"{name} has no wheel for {wanted}, only for {listed}: pip compiles it, which needs"
            " nvcc and much time"
        )
        return Finding(Verdict.UNKNOWN, Layer.SOLVER, why)
    if wanted.startswith("PyTorch"):
        return Finding(Verdict.FAILS, Layer.SOLVER, f"{name} requires {listed}, not {wanted}")
    why = f"it is not known whether {name} works with {wanted}: PyPI's wheel is for {listed}"
    return Finding(Verdict.UNKNOWN, Layer.SOLVER, why)


def _no_code(gpu: Gpu, row: KernelWheels, stack: Stack, wanted: _Wanted) -> Finding | None:
    """Has the wheel of a package no code for a GPU, or none that its driver takes?"""
    name = f"{row.package} {row.version}"
    if row.broken_from and numbers(gpu.cc or "0") >= numbers(row.broken_from):
        why = (
            f"attention in half precision fails with {name} on {gpu.label}: it takes kernels for"
            " 9.0a there (no kernel image is available for execution on the device)"
        )
        return Finding(Verdict.FAILS, Layer.KERNEL_IMAGE, why, gpu.label)
    found = coverage(targets(tuple(row.targets)), gpu.cc or "", wanted.table)
    if found is Coverage.NONE:
        why = (
            f"{name} has no code for {gpu.label}, only for {spoken(row.targets)}:"
            " its kernels do not run there"
        )
        return Finding(Verdict.FAILS, Layer.KERNEL_IMAGE, why, gpu.label)
    if found is not Coverage.PTX or wanted.machine is None:
        return None
    # The wheel is taken to be of the same CUDA as PyTorch's.
    made = stack._replace(name=name)
    mode = runs_cuda(wanted.machine, gpu, made, wanted.table)
    verdict, why = only_ptx(gpu, made, mode)
    if verdict is Verdict.WORKS:
        return None
    return Finding(Verdict.UNKNOWN, Layer.KERNEL_IMAGE, why, gpu.label)


def _wheel(gpu: Gpu | None, row: KernelWheels, stack: Stack, wanted: _Wanted) -> Finding | None:
    """Does a wheel of the package fit the choice, and has it code for the GPU?"""
    misfit = _misfit(row, wanted, stack)
    if misfit:
        return _solved(row, misfit)
    return _no_code(gpu, row, stack, wanted) if gpu else None


class Replaced(NamedTuple):
    """A pinned package that requires another PyTorch, and its version for the new one."""

    name: str
    version: str
    requires: str
    new: str | None  # None = no version is known


def replaced(packages: Mapping[str, str | None], torch: str, cuda: str | None) -> list[Replaced]:
    """The pinned packages that pip refuses beside a PyTorch release, such as xformers.

    Args:
        packages: name and exact version, None where no version is given.
        torch: the release that is to be installed.
        cuda: the CUDA line of its wheel; None = not named.
    """
    found = []
    for name, version in packages.items():
        rows = [
            row for row in load().jit.wheels if row.package == normal(name) and not row.compiles
        ]
        own = next((row for row in rows if row.version == version), None)
        if own is None or own.fits(torch):
            continue
        major = cuda.split(".", maxsplit=1)[0] if cuda else None
        new = [row for row in rows if row.fits(torch) and (major is None or major in row.cuda)]
        newest = new[-1].version if new else None
        found.append(Replaced(own.package, own.version, spoken(own.torch), newest))
    return found


def package_notes(
    gpu: Gpu | None,
    packages: Mapping[str, str | None],
    stack: Stack,
    table: Table,
    *,
    choice: Choice = _NO_CHOICE,
    arch: str = "x86_64",
    machine: Host | None = None,
) -> list[Finding]:
    """What is wrong with the packages of a project that bring CUDA kernels of their own.

    Args:
        gpu: of the host; None where there is none.
        packages: name and exact version, None where no version is given. Others are passed over.
        stack: what `resolve()` made of the choice.
        table: the tables.
        choice: from `choices.choice()` or `from_image()`; its PyTorch and Python are asked.
        arch: x86_64 or aarch64.
        machine: whose driver compiles the PTX of a wheel; without it, PTX counts as code.
    """
    wanted = _Wanted(choice.torch, choice.python, arch, table, machine)
    known = gpu if gpu and gpu.cc else None
    found = []
    for name, version in packages.items():
        row = _gpus_of(normal(name), version, table)
        wheels = _wheels_of(normal(name), version, wanted)
        refused = _refuses(known, row) if known and row else None
        if refused is None and wheels:
            refused = _wheel(known, wheels, stack, wanted)
        elif refused is None:
            refused = _not_listed(normal(name), version, stack, wanted)
        if refused:
            found.append(refused)
    return found
