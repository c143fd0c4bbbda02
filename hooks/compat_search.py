"""The reverse questions: what works on this host, and what is the nearest change that works?"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from hooks.compat_choice import Choice, spoken
from hooks.compat_host import branch_of
from hooks.compat_rules import judge, judge_choice
from hooks.compat_table import load, numbers
from hooks.compat_verdict import Layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hooks.compat_host import Host
    from hooks.compat_table import Table, TorchRelease
    from hooks.compat_verdict import Judgement

# Answers of the template, by the field of a choice that they set.
ANSWERS = {
    "torch": "torch_version",
    "cuda": "cuda_version",
    "python": "python_version",
    "ngc_release": "ngc_release",
}
UPDATE = "copier update --trust --defaults --vcs-ref :current:"


class Option(NamedTuple):
    """A choice that works, with its judgement."""

    choice: Choice
    judgement: Judgement

    @property
    def label(self) -> str:
        """How a list shows it."""
        return f"{describe(self.choice)} ({self.judgement.verdict.value})"


class Change(NamedTuple):
    """The nearest change that works: other answers, another driver, or both.

    `judge(host, choice)` of a change is always one of the `works` verdicts.
    """

    host: Host
    choice: Choice
    judgement: Judgement
    text: str
    command: str


class Advice(NamedTuple):
    """What the hook and the doctor tell a person.

    `verdict` is one of the five words; `line` says it for people, `why` is one sentence,
    `command` (may be empty) changes the answers to those of `nearest`, `options` are the choices
    that work on this host, best first; both only where the present choice does not work.
    `judgement` is what it rests on, None where there was no host to judge.
    """

    verdict: str
    layer: str | None
    line: str
    why: str
    command: str = ""
    nearest: Change | None = None
    options: tuple[Option, ...] = ()
    judgement: Judgement | None = None


def describe(choice: Choice) -> str:
    """Name a choice in a few words."""
    if choice.service == "ngc":
        return f"NGC {choice.ngc_release}"
    parts = [f"PyTorch {choice.torch}"] if choice.torch else []
    if choice.accelerator == "cpu":
        parts.append("CPU")
    elif choice.cuda:
        parts.append(f"CUDA {choice.cuda}")
    if choice.python:
        parts.append(f"Python {choice.python}")
    return ", ".join(parts) or "no PyTorch"


def command(old: Choice, new: Choice) -> str:
    """The command that changes the answers of a generated project from one choice to another."""
    data = [
        f"--data {answer}={shlex.quote(str(getattr(new, field)))}"
        for field, answer in ANSWERS.items()
        if getattr(new, field) not in {None, getattr(old, field)}
    ]
    return " ".join([UPDATE, *data]) if data else ""


def _python_for(release: TorchRelease, python: str | None) -> str | None:
    """The wanted Python where the release has it, else the nearest it has."""
    if python is None or python in release.python:
        return python
    plain = [version for version in release.python if not version.endswith("t")]
    wanted = numbers(python.rstrip("t"))
    return min(plain, key=lambda version: (abs(numbers(version)[1] - wanted[1]), version))


def _candidates(choice: Choice, table: Table) -> Iterator[Choice]:
    """Choices that a project of the same service can change to."""
    if choice.service == "ngc":
        for release in table.ngc:
            yield choice._replace(ngc_release=release, python=None)
    elif choice.service == "devel" and choice.torch is None:
        for cuda in table.lines:
            yield choice._replace(cuda=cuda, tag=None)
    else:
        yield from _torch_candidates(choice, table)


def _torch_candidates(choice: Choice, table: Table) -> Iterator[Choice]:
    for release in table.torch.values():
        if not release.offered and release.version != choice.torch:
            continue
        lines = release.published
        if choice.package_manager == "conda":
            lines = table.conda.get(release.version, [])
        elif choice.pytorch_build == "source":
            lines = list(table.lines)
        python = _python_for(release, choice.python)
        for cuda in lines:
            yield choice._replace(torch=release.version, cuda=cuda, python=python, tag=None)


def _key(option: Option, wanted: Choice, table: Table) -> tuple[object, ...]:
    """Newest PyTorch first, then better verdict, fewer changes, PyPI's CUDA, newer CUDA."""
    choice = option.choice
    release = table.torch.get(choice.torch or "")
    newest = numbers(choice.ngc_release or choice.torch or choice.cuda or "0")
    return (
        tuple(-number for number in newest),
        option.judgement.verdict.rank,
        sum(getattr(choice, field) != getattr(wanted, field) for field in ANSWERS),
        release is None or choice.cuda != release.pypi_cuda,
        tuple(-number for number in numbers(choice.cuda or "0")),
    )


def working(machine: Host, like: Choice, table: Table | None = None) -> tuple[Option, ...]:
    """List the choices that work on a host, best first.

    Args:
        machine: the host, whose GPUs must all work.
        like: the choice whose service, Python, package manager and compute capabilities are kept.
        table: another table than the one checked in, for tests.
    """
    table = table or load()
    options = [Option(found, judge(machine, found, table)) for found in _candidates(like, table)]
    good = [option for option in options if option.judgement.verdict.works]
    return tuple(sorted(good, key=lambda option: _key(option, like, table)))


def newest_branch(machine: Host, table: Table | None = None) -> int:
    """The newest driver branch that drives every GPU of a host, such as 580 for a V100."""
    table = table or load()
    limits = [
        old.last_branch
        for old in table.architectures
        for gpu in machine.gpus
        if gpu.cc in old.cc and gpu.kind != "jetson"
    ]
    return min(limits, default=max(table.branches))


def _other_drivers(machine: Host, table: Table) -> list[str]:
    """Driver branches to try, each in its newest release, among those that drive all GPUs.

    The present branch comes first, then newer ones that NVIDIA supports for long (LTS, Production),
    then other newer ones.
    """
    last = newest_branch(machine, table)
    present = branch_of(table, machine.driver or "0") or 0
    if present > last:
        return [str(last)]
    newer = [branch for branch in table.branches if present <= branch <= last]
    rank = dict.fromkeys(table.recommended, 1) | {present: 0}
    return [str(b) for b in sorted(newer, key=lambda branch: (rank.get(branch, 2), branch))]


def nearest(machine: Host, choice: Choice, table: Table | None = None) -> Change | None:
    """The nearest change that works, or None where nothing in the table does.

    It keeps the GPUs and the driver if it can, and then takes the newest PyTorch. If nothing works
    on this driver it names another driver branch, with the choice as it is if that works there.
    """
    table = table or load()
    return _nearest(machine, choice, working(machine, choice, table), table)


def _nearest(
    machine: Host, choice: Choice, options: tuple[Option, ...], table: Table
) -> Change | None:
    if options:
        best = options[0]
        text = f"choose {describe(best.choice)}"
        return Change(machine, best.choice, best.judgement, text, command(choice, best.choice))
    if machine.driver is None:
        return None
    # The CUDA that the host reports belongs to the driver it has now.
    hosts = [
        machine._replace(driver=driver, cuda=None) for driver in _other_drivers(machine, table)
    ]
    for other in hosts:
        same = judge(other, choice, table)
        if same.verdict.works:
            return Change(other, choice, same, f"install a driver of branch {other.driver}", "")
    for other in hosts:
        options = working(other, choice, table)
        if options:
            best = options[0]
            text = f"install a driver of branch {other.driver} and choose {describe(best.choice)}"
            return Change(other, best.choice, best.judgement, text, command(choice, best.choice))
    return None


def _gpus(machine: Host) -> str:
    counts: dict[str, int] = {}
    for gpu in machine.gpus:
        counts[gpu.label] = counts.get(gpu.label, 0) + 1
    return spoken([f"{count} x {name}" if count > 1 else name for name, count in counts.items()])


def advice(machine: Host | None, choice: Choice, table: Table | None = None) -> Advice:
    """What to tell a person about a host and a choice.

    Args:
        machine: the host; None where no GPU was seen.
        choice: the answers of the project.
        table: another table than the one checked in, for tests.
    """
    table = table or load()
    judgement = judge(machine, choice, table) if machine else judge_choice(choice, table=table)
    if judgement is None:
        line = f"{describe(choice)} cannot be checked here: no NVIDIA GPU was found."
        return Advice("unknown", None, line, "")
    verdict = judgement.verdict.value
    layer = judgement.layer.value if judgement.layer else None
    where = f" on {_gpus(machine)}" if machine and choice.accelerator == "cuda" else ""
    line = f"{describe(choice)}{where}: {verdict}"
    why = f"{judgement.why}."
    if judgement.verdict.works:
        return Advice(verdict, layer, line, why, judgement=judgement)
    options = working(machine, choice, table) if machine else ()
    change = _nearest(machine, choice, options, table) if machine else None
    if change:
        why += f" Nearest change that works: {change.text}."
    if judgement.layer is Layer.IMAGE_START_CHECK:
        why += f" The check can be switched off with {table.start_override}."
    return Advice(
        verdict=verdict,
        layer=layer,
        line=f"{line} ({layer})",
        why=why,
        command=change.command if change else "",
        nearest=change,
        options=options,
        judgement=judgement,
    )
