"""The rules: does this choice work on this host, and which layer decides?

A choice passes the layers in the order in which a user meets them. What is wrong with the choice
itself comes first, on any machine: the image's tag, the solver, Python, what nvcc can target. Then
each GPU of the host goes through: is it still driven by this driver; can nvcc target it (where
something is compiled for it); does the driver run this CUDA; does the image start; is there code
for the GPU. The first layer that fails decides; if none fails, the first that is not known does.

Three rules carry most of the weight (sources in `hooks/compat/`):

- A program of CUDA M.x runs on every driver from the minimum of family M on (minor-version
  compatibility), but a driver compiles PTX only up to the CUDA it brings itself.
- A newer major needs the cuda-compat libraries, which images of nvidia/cuda and NGC carry, and a
  data-center GPU; GeForce is refused (error 804).
- Binary code for compute capability X.y runs on X.z with z >= y. Not so for `a` targets, and not
  between Jetson modules and other GPUs.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from ..compat.rows import numbers
from ..compat.table import load
from .choices import nvcc_reason, nvcc_refuses, spoken
from .hosts import (
    Target,
    at_least,
    branch_of,
    driver_cuda,
    targets,
)
from .jit import jit_notes
from .libcuda import architecture_of, runs_cuda, stands_in, starts
from .names import is_of_another_maker
from .stacks import OTHER_PROCESSOR, PROJECT_ARCH, Decided, resolve
from .verdicts import Finding, Judgement, Layer, Verdict

if TYPE_CHECKING:
    from ..compat.rows import NgcRelease
    from ..compat.table import Table
    from .choices import Choice
    from .hosts import Gpu, Host
    from .stacks import Stack


class Coverage(Enum):
    """Whether a compiled list has code for a GPU."""

    CUBIN = "binary code"
    PTX = "PTX"
    FAMILY = "family target"
    NONE = "none"


def coverage(entries: tuple[Target, ...], cc: str, table: Table) -> Coverage:
    """Whether one of the compiled targets runs on a GPU of compute capability `cc`."""
    return _coverage_of(entries, cc, tuple(table.renamed.items()), table.jetson_cc)


@lru_cache(maxsize=4096)  # a list of what works asks the same again for each release
def _coverage_of(
    entries: tuple[Target, ...],
    cc: str,
    renamed: tuple[tuple[str, str], ...],
    jetson: frozenset[str],
) -> Coverage:
    device = numbers(cc)
    found = Coverage.NONE
    for entry in entries:
        written = f"{entry.cc[0]}.{entry.cc[1]}"
        name = dict(renamed).get(written, written)
        built = numbers(name)
        portable = not {name, cc} & jetson
        reaches = built[0] == device[0] and built <= device and portable
        if built == device or (reaches and not entry.suffix):
            return Coverage.CUBIN
        if entry.ptx and not entry.suffix and built <= device:
            found = Coverage.PTX
        elif reaches and entry.suffix == "f" and found is Coverage.NONE:
            found = Coverage.FAMILY
    return found


def _platform(machine: Host, stack: Stack) -> Finding | None:
    """Is the image made for processors like the host's?"""
    if stack.platforms is not None and machine.arch in stack.platforms:
        return None
    here = f"this machine is {machine.arch}"
    if stack.platforms is None:
        if machine.arch == PROJECT_ARCH:
            return None
        why = f"it is not known whether the image of {stack.name} is made for {machine.arch}"
        return Finding(Verdict.UNKNOWN, Layer.PLATFORM, why)
    if stack.project:
        return Finding(Verdict.FAILS, Layer.PLATFORM, f"{OTHER_PROCESSOR}, and {here}")
    made = f"its image is made for {spoken(list(stack.platforms))} machines only, and {here}"
    return Finding(Verdict.FAILS, Layer.PLATFORM, f"{stack.name} does not run here: {made}")


def _secure_boot(machine: Host) -> Finding | None:
    if not machine.secure_boot:
        return None
    why = "Secure Boot refuses the driver's kernel module, which nobody has signed for this machine"
    return Finding(Verdict.FAILS, Layer.DRIVER, why)


def _of_another_maker(gpu: Gpu, stack: Stack) -> Finding | None:
    """CUDA runs on NVIDIA's GPUs only."""
    if stack.cuda is None or gpu.cc is not None or not is_of_another_maker(gpu.name):
        return None
    why = f"{gpu.label} is not an NVIDIA GPU: no driver for it runs CUDA, and {stack.name} needs it"
    return Finding(Verdict.FAILS, Layer.DRIVER, why, gpu.label)


def _still_driven(machine: Host, gpu: Gpu, table: Table) -> Finding | None:
    """A driver newer than the last branch for a GPU."""
    branch = branch_of(table, machine.driver) if machine.driver else None
    row = architecture_of(gpu, table)
    if branch is None or row is None or row.last_branch is None or gpu.kind == "jetson":
        return None
    if branch <= row.last_branch:
        return None
    return Finding(
        Verdict.FAILS,
        Layer.GPU_NO_LONGER_DRIVEN,
        f"driver {machine.driver} no longer drives {gpu.label}: branch {row.last_branch} is the"
        f" last for {row.name}",
        gpu.label,
    )


def _module(machine: Host, gpu: Gpu, table: Table) -> Finding | None:
    """The driver has two flavours of kernel modules; some GPUs are driven by one only."""
    row = architecture_of(gpu, table)
    needs = row.modules if row else None
    if gpu.host and needs == "either":  # Grace Hopper: sources.yml, kernel-modules
        needs = "open"
    if not machine.module or needs not in {"open", "proprietary"} or needs == machine.module:
        return None
    return Finding(
        Verdict.FAILS,
        Layer.DRIVER,
        f"the driver's {machine.module} kernel modules do not drive {gpu.label}: it needs the"
        f" {needs} ones",
        gpu.label,
    )


def _first_toolkit(cc: str, table: Table) -> str | None:
    """The first CUDA line whose code runs on a GPU; None where it is older than the table.

    Binary code of 10.0 runs on 10.3, so CUDA 12.8 is the first for both.
    """
    known = [line for line in table.lines.values() if line.targets]
    for line in known:
        if coverage(targets(tuple(line.targets or ())), cc, table) is Coverage.CUBIN:
            return None if line is known[0] else line.line
    return None


def _already_driven(machine: Host, gpu: Gpu, stack: Stack, table: Table) -> Finding | None:
    """A driver older than the first for a GPU; where that is not known, than its first CUDA."""
    if machine.driver is None or gpu.kind == "jetson":
        return None
    row = architecture_of(gpu, table)
    own = table.product_drivers.get(gpu.product)
    needs = own or (row.first_driver if row else None)
    if row and needs and not at_least(machine.driver, needs):
        return Finding(
            Verdict.FAILS,
            Layer.DRIVER,
            f"driver {machine.driver} does not drive {gpu.label} yet: {needs} is the first for"
            f" {'it' if own else row.name}",
            gpu.label,
        )
    if stack.cuda is None:
        return None
    if gpu.cc not in table.known_cc:
        why = f"it is not known whether driver {machine.driver} drives {gpu.label}"
        # Where code is needed, the missing code is the better reason.
        return None if stack.has_code else Finding(Verdict.UNKNOWN, Layer.DRIVER, why, gpu.label)
    first = _first_toolkit(gpu.cc or "", table)
    if first is None or driver_cuda(table, machine) >= numbers(first):
        return None
    return Finding(
        Verdict.UNKNOWN,
        Layer.DRIVER,
        f"it is not known whether driver {machine.driver} drives {gpu.label}: CUDA {first} is the"
        " first with code for it, and this driver brings an older one",
        gpu.label,
    )


def _nvcc(gpu: Gpu, stack: Stack, table: Table) -> Finding | None:
    if stack.nvcc is None or gpu.cc is None:
        return None
    spelt = [gpu.cc, *(old for old, new in table.renamed.items() if new == gpu.cc)]
    reasons = [nvcc_reason(stack.nvcc, Target(numbers(cc), "", ptx=False)) for cc in spelt]
    if not all(reasons):
        return None
    if stack.nvcc.targets is None:
        return Finding(Verdict.UNKNOWN, Layer.NVCC_TARGET, reasons[0], gpu.label)
    why = nvcc_refuses(stack.nvcc, gpu.label)
    return Finding(Verdict.FAILS, Layer.NVCC_TARGET, why, gpu.label)


def _ngc_own(gpu_cc: str, release: NgcRelease, arch: str, table: Table) -> Coverage | None:
    """What is known of an NGC release by itself: what NVIDIA supports, then the list in it."""
    if release.min_cc and numbers(gpu_cc) < numbers(release.min_cc):
        return Coverage.NONE
    if release.refused_cc and numbers(gpu_cc) <= numbers(release.refused_cc):
        return Coverage.NONE
    if arch in release.arch:
        return coverage(targets(tuple(release.arch[arch])), gpu_cc, table)
    native = coverage(_nvcc_targets(release.line, table), gpu_cc, table) is Coverage.CUBIN
    return Coverage.CUBIN if release.min_cc and native else None


def _ngc_coverage(gpu_cc: str, release: NgcRelease, arch: str, table: Table) -> Coverage | None:
    """Whether an NGC release has code for a GPU; if it does not say, its neighbours are asked."""
    own = _ngc_own(gpu_cc, release, arch, table)
    if own is not None:
        return own
    wanted = numbers(release.release)
    said = {
        numbers(other.release): found
        for other in table.ngc.values()
        for found in [_ngc_own(gpu_cc, other, arch, table)]
        if found is not None
    }
    before = [found for month, found in said.items() if month < wanted][-1:]
    after = [found for month, found in said.items() if month > wanted][:1]
    found = {*before, *after}
    native = coverage(_nvcc_targets(release.line, table), gpu_cc, table) is Coverage.CUBIN
    if not before or not after:  # one neighbour says nothing of a release
        return None
    if found == {Coverage.NONE}:
        return Coverage.NONE
    return Coverage.CUBIN if Coverage.NONE not in found and native else None


def _nvcc_targets(cuda: str | None, table: Table) -> tuple[Target, ...]:
    line = table.lines.get(cuda or "")
    return targets(tuple((line.targets if line else None) or ()))


def _coverage(machine: Host, gpu_cc: str, stack: Stack, table: Table) -> Coverage | None:
    """Whether there is code for a GPU; None = not known."""
    possible = _nvcc_targets(stack.cuda, table)
    if stack.compiled is None and possible and numbers(gpu_cc) < possible[0].cc:
        return Coverage.NONE  # nothing that this CUDA compiles runs on an older GPU
    if stack.ngc:
        return _ngc_coverage(gpu_cc, stack.ngc, machine.arch, table)
    return None if stack.compiled is None else coverage(targets(stack.compiled), gpu_cc, table)


def only_ptx(gpu: Gpu, stack: Stack, mode: Finding | None) -> tuple[Verdict, str]:
    """There is only PTX for the GPU: can the driver compile it?

    Args:
        gpu: of known compute capability.
        stack: what has the PTX, and of which CUDA line it is.
        mode: what `runs_cuda` says of them.
    """
    only = f"{stack.name} has only PTX for {gpu.label}"
    if mode is None or mode.verdict is Verdict.WORKS_FORWARD_COMPAT:
        return Verdict.WORKS, only
    if mode.verdict is Verdict.UNKNOWN:
        return Verdict.UNKNOWN, f"{only}, and whether the driver can compile it is not known"
    return Verdict.FAILS, (
        f"{only}, and a driver compiles PTX only up to the CUDA it brings itself: this needs one"
        f" that brings CUDA {stack.cuda}"
    )


def _unknown_cc(gpu: Gpu, table: Table) -> str:
    """Why it is not known what runs on a GPU at all; empty if the tables know its kind."""
    if gpu.cc is None:
        return f"the compute capability of {gpu.name} is not in the table; give it, such as 8.9"
    if gpu.cc not in table.known_cc:
        return f"compute capability {gpu.cc} is not in the table, so what runs on it is not known"
    return ""


def _code(
    machine: Host, gpu: Gpu, stack: Stack, mode: Finding | None, table: Table
) -> tuple[Verdict, str]:
    """Is there code for a GPU of known compute capability, and can this driver use it?"""
    cc = gpu.cc or ""
    found = _coverage(machine, cc, stack, table)
    if found is None:
        return Verdict.UNKNOWN, stack.unknown_code
    if found is Coverage.NONE:
        only = f", only for {spoken(list(stack.compiled))}" if stack.compiled else ""
        least = stack.ngc.min_cc if stack.ngc else None
        refused = stack.ngc.refused_cc if stack.ngc else None
        if least and numbers(cc) < numbers(least):
            only = f", only for {least} and newer as NVIDIA's notes say"
        elif refused and numbers(cc) <= numbers(refused):
            only = ", and refuses it when it starts"
        return Verdict.FAILS, (
            f"{stack.name} has no code for {gpu.label}{only}: no kernel image is available for"
            " execution on the device"
        )
    if found is Coverage.FAMILY:
        why = f"it is not known whether the family targets of {stack.name} run on {gpu.label}"
        return Verdict.UNKNOWN, why
    return only_ptx(gpu, stack, mode) if found is Coverage.PTX else (Verdict.WORKS, "")


def _kernel(
    machine: Host, gpu: Gpu, stack: Stack, mode: Finding | None, table: Table
) -> Finding | None:
    """Is there code for the GPU, and can this driver use it?"""
    if stack.cuda is None or not stack.has_code:
        return None
    verdict, why = Verdict.UNKNOWN, _unknown_cc(gpu, table)
    if not why:
        if stack.nvcc is not None:  # compiled for this very GPU
            return None
        verdict, why = _code(machine, gpu, stack, mode, table)
    if verdict is Verdict.WORKS:
        return None
    return Finding(verdict, Layer.KERNEL_IMAGE, why, gpu.label)


def _cudnn(gpu: Gpu, stack: Stack, table: Table) -> Finding | None:
    """Does the wheel's cuDNN support the GPU that the wheel has code for? The rest runs without."""
    since, least = table.cudnn
    if stack.cudnn is None or gpu.cc is None or numbers(stack.cudnn) < numbers(since):
        return None
    if numbers(gpu.cc) >= numbers(least):
        return None
    why = (
        f"cuDNN {stack.cudnn} of {stack.name} is for {least} and newer: it is not known whether"
        f" convolutions run on {gpu.label}"
    )
    return Finding(Verdict.UNKNOWN, Layer.KERNEL_IMAGE, why, gpu.label)


def _gpu_findings(machine: Host, gpu: Gpu, stack: Stack, table: Table) -> list[Finding]:
    """What every layer says of a GPU, in the order in which a user meets them."""
    mode = runs_cuda(machine, gpu, stack, table)
    found = [
        _of_another_maker(gpu, stack),
        _still_driven(machine, gpu, table),
        _module(machine, gpu, table),
        _already_driven(machine, gpu, stack, table),
        _nvcc(gpu, stack, table),
        mode,
        starts(machine, gpu, stack, table),
        stands_in(machine, gpu, stack, table),
        _kernel(machine, gpu, stack, mode, table),
    ]
    return [finding for finding in found if finding is not None]


def _decides(findings: list[Finding]) -> Finding | None:
    """The finding that decides: the first that fails, else the first unknown, else the worst."""
    for verdict in (Verdict.FAILS, Verdict.UNKNOWN):
        for finding in findings:
            if finding.verdict is verdict:
                return finding
    return max(findings, key=lambda finding: finding.verdict.rank, default=None)


def _all_well(machine: Host, stack: Stack) -> str:
    if stack.cuda is None:
        return f"{stack.name} asks only for a driver that drives the GPU"
    if not stack.has_code:
        return f"driver {machine.driver} runs CUDA {stack.cuda} itself"
    names = spoken(list(dict.fromkeys(gpu.label for gpu in machine.gpus)))
    what = "is compiled for" if stack.nvcc else "has code for"
    return f"driver {machine.driver} runs CUDA {stack.cuda} itself, and {stack.name} {what} {names}"


def judge_choice(
    choice: Choice, arch: str = "x86_64", table: Table | None = None
) -> Judgement | None:
    """Judge what can be judged without a host; None where a host is needed.

    Args:
        choice: from `choices.choice()` or `from_image()`.
        arch: x86_64 or aarch64.
        table: another table than the one checked in, for tests.
    """
    table = table or load()
    try:
        stack = resolve(choice, table, arch)
    except Decided as decided:
        found = decided.finding
        return Judgement(found.verdict, found.layer, found.why, "", (found,))
    if choice.accelerator == "cpu":
        why = f"CPU is what was asked ({stack.name}), no GPU is needed"
        notes = tuple(jit_notes(None, stack, choice, table, arch))
        return Judgement(Verdict.WORKS, None, why, "", (), notes)
    if stack.doubts:
        doubt = stack.doubts[0]
        return Judgement(doubt.verdict, doubt.layer, doubt.why, "", stack.doubts)
    return None


def _judged(machine: Host, stack: Stack, table: Table) -> Judgement:
    """The judgement of a stack, every GPU by itself; the worst one decides."""
    found = [*stack.doubts]
    found += [finding for finding in (_platform(machine, stack), _secure_boot(machine)) if finding]
    found += [f for gpu in machine.gpus for f in _gpu_findings(machine, gpu, stack, table)]
    decides = _decides(found)
    if decides is None:
        return Judgement(Verdict.WORKS, None, _all_well(machine, stack), "", ())
    return Judgement(decides.verdict, decides.layer, decides.why, decides.gpu, tuple(found))


def _with_or_without(machine: Host, stack: Stack, table: Table) -> tuple[str, Judgement]:
    """What becomes of the folder of cuda-compat ("keep", "remove") in an image that Hearth builds.

    It stays where it gives forward compatibility, and where nothing else may work. Without it, one
    image runs on every driver of its CUDA family. NGC's images decide it whenever they start.
    """
    kept = _judged(machine, stack, table)
    if stack.prefers_forward:
        return "keep", kept
    without = _judged(machine, stack.without_compat(), table)
    forward = kept.verdict is Verdict.WORKS_FORWARD_COMPAT
    if forward or kept.verdict.rank < without.verdict.rank:
        return "keep", kept
    return "remove", without


def _notes(machine: Host, stack: Stack, choice: Choice, table: Table) -> tuple[Finding, ...]:
    """What else the user meets on a host, each sentence once."""
    found = [note for gpu in machine.gpus if (note := _cudnn(gpu, stack, table))]
    found += [n for g in machine.gpus for n in jit_notes(g, stack, choice, table, machine.arch)]
    return tuple(dict.fromkeys(found))


def judge(machine: Host, choice: Choice, table: Table | None = None) -> Judgement:
    """Judge a choice on a host, every GPU by itself; the worst one decides and is named.

    Args:
        machine: from `hosts.host()` or `from_probe()`.
        choice: from `choices.choice()` or `from_image()`.
        table: another table than the one checked in, for tests.
    """
    table = table or load()
    alone = judge_choice(choice, machine.arch, table)
    if alone is not None and alone.verdict is not Verdict.UNKNOWN:
        return alone
    try:
        stack = resolve(choice, table, machine.arch)
    except Decided as decided:
        found = decided.finding
        return Judgement(found.verdict, found.layer, found.why, "", (found,))
    if choice.compat == "auto" and stack.has_compat is not False:
        judgement = _with_or_without(machine, stack, table)[1]
    else:
        judgement = _judged(machine, stack, table)
    if judgement.verdict is Verdict.FAILS:
        return judgement
    return judgement._replace(notes=_notes(machine, stack, choice, table))


def compat_folder(machine: Host | None, choice: Choice, table: Table | None = None) -> str:
    """What is to become of the folder of cuda-compat in an image that Hearth builds.

    Args:
        machine: the host, or None where no GPU is known.
        choice: the answers of the project.
        table: another table than the one checked in, for tests.

    Returns:
        "keep" or "remove"; where the machine or its driver is not known "remove", except for NGC's
        images, which need no decision.
    """
    table = table or load()
    if choice.service == "ngc":
        return "keep"
    try:
        stack = resolve(choice, table, PROJECT_ARCH)
    except Decided:
        return "remove"
    known = machine is not None and machine.driver is not None
    return _with_or_without(machine, stack, table)[0] if machine and known else "remove"
