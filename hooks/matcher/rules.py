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
from typing import TYPE_CHECKING

from hooks.compat.table import load, numbers
from hooks.matcher.choices import nvcc_reason, nvcc_refuses, spoken
from hooks.matcher.hosts import (
    CONSUMER_BRANDS,
    Target,
    at_least,
    branch_of,
    driver_cuda,
    targets,
)
from hooks.matcher.stacks import Decided, resolve
from hooks.matcher.verdicts import Finding, Judgement, Layer, Verdict

if TYPE_CHECKING:
    from hooks.compat.table import NgcRelease, StartCheck, Table
    from hooks.matcher.choices import Choice
    from hooks.matcher.hosts import Gpu, Host
    from hooks.matcher.stacks import Stack

DATA_CENTER_BRANDS = frozenset({"tesla", "nvidia"})


class Coverage(Enum):
    """Whether a compiled list has code for a GPU."""

    CUBIN = "binary code"
    PTX = "PTX"
    FAMILY = "family target"
    NONE = "none"


def coverage(entries: tuple[Target, ...], cc: str, table: Table) -> Coverage:
    """Whether one of the compiled targets runs on a GPU of compute capability `cc`."""
    device = numbers(cc)
    found = Coverage.NONE
    for entry in entries:
        written = f"{entry.cc[0]}.{entry.cc[1]}"
        name = table.renamed.get(written, written)
        built = numbers(name)
        portable = not {name, cc} & table.jetson_cc
        reaches = built[0] == device[0] and built <= device and portable
        if built == device or (reaches and not entry.suffix):
            return Coverage.CUBIN
        if entry.ptx and not entry.suffix and built <= device:
            found = Coverage.PTX
        elif reaches and entry.suffix == "f" and found is Coverage.NONE:
            found = Coverage.FAMILY
    return found


def _still_driven(machine: Host, gpu: Gpu, table: Table) -> Finding | None:
    branch = branch_of(table, machine.driver) if machine.driver else None
    old = next((a for a in table.architectures if gpu.cc in a.cc), None)
    if branch is None or old is None or gpu.kind == "jetson" or branch <= old.last_branch:
        return None
    return Finding(
        Verdict.FAILS,
        Layer.GPU_NO_LONGER_DRIVEN,
        f"driver {machine.driver} no longer drives {gpu.label}: branch {old.last_branch} is the"
        f" last for {old.name}",
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
    """A driver older than the first CUDA for a GPU: no source says that it drives it."""
    if machine.driver is None or stack.cuda is None or gpu.kind == "jetson":
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


def _major(cuda: str) -> str:
    return cuda.split(".", maxsplit=1)[0]


def _compat_drives(cuda: str, gpu: Gpu, table: Table) -> bool:
    """Whether the cuda-compat libraries, those of the branch that brings a line, drive a GPU."""
    own = next((branch for branch, brings in table.branches.items() if brings == cuda), 0)
    return not any(gpu.cc in old.cc and own > old.last_branch for old in table.architectures)


def _compat_runs_on(stack: Stack, driver: str, table: Table) -> bool | None:
    """Whether the cuda-compat libraries of a stack support a driver; None = not known.

    NVIDIA lists the branches in the notes of some NGC releases, and in the start check of the image
    of each CUDA line.
    """
    if stack.ngc and stack.ngc.data_center_drivers:
        branch = numbers(driver)[0]
        listed = stack.ngc.data_center_drivers
        return any(numbers(old)[0] == branch and at_least(driver, old) for old in listed)
    check = table.start_checks.get(stack.cuda or "")
    if check is None:
        return None
    if check.accepts(DATA_CENTER_BRANDS, str(numbers(driver)[0])):
        return True
    return False if check.complete else None


def _too_old(machine: Host, gpu: Gpu, stack: Stack, table: Table) -> Finding:
    """The driver is older than the family's minimum: do the image's cuda-compat libraries help?"""
    cuda, driver = stack.cuda or "", machine.driver or ""
    level = driver_cuda(table, machine)
    brings = f"brings CUDA {level[0]}.{level[1]}" if any(level) else "is older than CUDA 10"
    why = (
        f"driver {driver} {brings}, and CUDA {cuda} needs driver {table.families[_major(cuda)]} or"
        " newer"
    )
    verdict = Verdict.FAILS
    runs = _compat_runs_on(stack, driver, table)
    if not stack.has_compat:
        pass
    elif gpu.brands & CONSUMER_BRANDS:
        why += "; forward compatibility is not for GeForce and TITAN (error 804)"
    elif gpu.kind != "datacenter":
        verdict = Verdict.UNKNOWN
        why += (
            "; forward compatibility is for data-center GPUs and some others, and it is not known"
            f" whether {gpu.label} is one"
        )
    elif not _compat_drives(cuda, gpu, table):
        why += f"; the cuda-compat {cuda} libraries no longer drive {gpu.label}"
    elif runs or stack.start_check:  # a branch that is not supported ends in the start check
        verdict = Verdict.WORKS_FORWARD_COMPAT
        why += (
            f"; on {gpu.label} the image's own cuda-compat {cuda} libraries run it (forward"
            " compatibility)"
        )
    elif runs is None:
        verdict = Verdict.UNKNOWN
        why += f"; it is not known whether cuda-compat {cuda} helps on this branch"
    else:
        why += f"; cuda-compat {cuda} does not support this branch either"
    return Finding(verdict, Layer.DRIVER, why, gpu.label)


def _driver(machine: Host, gpu: Gpu, stack: Stack, table: Table) -> Finding | None:
    """Does the driver run this CUDA: by itself (None), by compatibility, or not at all?"""
    cuda, driver = stack.cuda, machine.driver
    if cuda is None:
        return None
    minimum = table.families.get(_major(cuda))
    if minimum is None or driver is None:
        why = (
            f"the driver is not known; CUDA {cuda} needs {minimum} or newer"
            if minimum
            else f"it is not known which driver CUDA {cuda} needs"
        )
        return Finding(Verdict.UNKNOWN, Layer.DRIVER, why, gpu.label)
    brings = driver_cuda(table, machine)
    if brings >= numbers(cuda):
        return None
    if not at_least(driver, minimum):
        return _too_old(machine, gpu, stack, table)
    verdict = Verdict.WORKS_MINOR_COMPAT
    how = f"CUDA {cuda} runs on {minimum} or newer by minor-version compatibility"
    preferred = stack.prefers_forward and gpu.kind == "datacenter"
    preferred = preferred and _compat_drives(cuda, gpu, table)
    stated = stack.ngc.min_driver if stack.ngc else None
    if preferred and _compat_runs_on(stack, driver, table) is not False:
        verdict = Verdict.WORKS_FORWARD_COMPAT
        how = f"the image loads its own cuda-compat {cuda} libraries (forward compatibility)"
    elif stated and not at_least(driver, stated):
        how += f", though the notes of the release ask for {stated}"
    return Finding(
        verdict,
        Layer.DRIVER,
        f"driver {driver} brings CUDA {brings[0]}.{brings[1]}; {how}",
        gpu.label,
    )


def _passes(check: StartCheck | None, gpu: Gpu, branch: str) -> bool | None:
    """Whether a GPU on an older driver branch is an exception of a start check; None = not known.

    It is not known where the brands that NVML may report for the GPU get different answers.
    """
    if check is None:
        return None
    brands = gpu.brands or check.brands()
    passing = {brand for brand in brands if check.accepts(frozenset({brand}), branch)}
    if passing:
        return True if gpu.brands and passing == brands else None
    # Of a value that was cut, it is known that brands it does not name are not excepted.
    return False if check.complete or (gpu.brands and not brands & check.brands()) else None


def _start_check(machine: Host, gpu: Gpu, stack: Stack, table: Table) -> Finding | None:
    cuda = stack.cuda
    if not stack.start_check or cuda is None or machine.driver is None:
        return None
    if driver_cuda(table, machine) >= numbers(cuda):
        return None
    starts = _passes(table.start_checks.get(cuda), gpu, str(numbers(machine.driver)[0]))
    if starts:
        return None
    image = f"the {stack.start_check} image of CUDA {cuda}"
    on = f"on driver {machine.driver} with {gpu.label}"
    if starts is False and stack.start_check == "nvidia/cuda" and gpu.kind != "jetson":
        why = f"{image} does not start {on} (unsatisfied condition: cuda>={cuda})"
        return Finding(Verdict.FAILS, Layer.IMAGE_START_CHECK, why, gpu.label)
    return Finding(
        Verdict.UNKNOWN,
        Layer.IMAGE_START_CHECK,
        f"it is not known whether {image} starts {on}",
        gpu.label,
    )


def _ngc_own(gpu_cc: str, release: NgcRelease, arch: str, table: Table) -> Coverage | None:
    """What is known of an NGC release by itself: what NVIDIA supports, then the list in it."""
    if release.min_cc and numbers(gpu_cc) < numbers(release.min_cc):
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
    if found == {Coverage.NONE}:
        return Coverage.NONE
    return Coverage.CUBIN if found and Coverage.NONE not in found and native else None


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


def _ptx(gpu: Gpu, stack: Stack, mode: Finding | None) -> tuple[Verdict, str]:
    """There is only PTX for the GPU: can the driver compile it?"""
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
        if least and numbers(cc) < numbers(least):
            only = f", only for {least} and newer as NVIDIA's notes say"
        return Verdict.FAILS, (
            f"{stack.name} has no code for {gpu.label}{only}: no kernel image is available for"
            " execution on the device"
        )
    if found is Coverage.FAMILY:
        why = f"it is not known whether the family targets of {stack.name} run on {gpu.label}"
        return Verdict.UNKNOWN, why
    return _ptx(gpu, stack, mode) if found is Coverage.PTX else (Verdict.WORKS, "")


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


def _gpu_findings(machine: Host, gpu: Gpu, stack: Stack, table: Table) -> list[Finding]:
    mode = _driver(machine, gpu, stack, table)
    found = [
        _still_driven(machine, gpu, table),
        _already_driven(machine, gpu, stack, table),
        _nvcc(gpu, stack, table),
        mode,
        _start_check(machine, gpu, stack, table),
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
        return f"{stack.name} asks nothing of the GPU"
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
    try:
        stack = resolve(choice, table or load(), arch)
    except Decided as decided:
        found = decided.finding
        return Judgement(found.verdict, found.layer, found.why, "", (found,))
    if choice.accelerator == "cpu":
        why = f"CPU is what was asked ({stack.name}), no GPU is needed"
        return Judgement(Verdict.WORKS, None, why, "", ())
    return None


def judge(machine: Host, choice: Choice, table: Table | None = None) -> Judgement:
    """Judge a choice on a host, every GPU by itself; the worst one decides and is named.

    Args:
        machine: from `hosts.host()` or `from_probe()`.
        choice: from `choices.choice()` or `from_image()`.
        table: another table than the one checked in, for tests.
    """
    table = table or load()
    alone = judge_choice(choice, machine.arch, table)
    if alone is not None:
        return alone
    stack = resolve(choice, table, machine.arch)
    findings = [f for gpu in machine.gpus for f in _gpu_findings(machine, gpu, stack, table)]
    decides = _decides(findings)
    if decides is None:
        return Judgement(Verdict.WORKS, None, _all_well(machine, stack), "", ())
    return Judgement(decides.verdict, decides.layer, decides.why, decides.gpu, tuple(findings))
