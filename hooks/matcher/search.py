"""The reverse questions: what works on this host, and what is the nearest change that works?"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ..compat.rows import numbers
from ..compat.table import load
from .candidates import candidates, image_of, repairs
from .choices import Choice, spoken
from .hosts import branch_of
from .rules import judge, judge_choice
from .verdicts import Layer

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..compat.table import Table
    from .hosts import Host
    from .verdicts import Judgement

# Answers of the template, by the field of a choice that they set.
ANSWERS = {
    "service": "service",
    "torch": "torch_version",
    "cuda": "cuda_version",
    "python": "python_version",
    "ngc_release": "ngc_release",
    "cca": "cca",
    "distro": "linux_distro",
}
# Services that a project can change to while it keeps PyTorch, CUDA and its packages: train brings
# cuda-compat, which older drivers of data centers need; simple asks for no image but Ubuntu's.
OTHER_SERVICES = {"simple": "train", "train": "simple", "hub": "simple"}
MOST_GPUS = 5  # kinds, in a sentence
UPDATE = "./docker-amd64/template.sh update"


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
    """What the hook and `template.sh` report about a choice.

    `verdict` is one of the five words; `line` says it for people, `why` is one sentence,
    `command` (may be empty) changes the answers to those of `nearest`, `newest` is the newest
    choice that works on this host where that is another one, `driver` a newer driver with which the
    choice works as it is, `options` are the choices that work on this host, best first; all only
    where the present choice does not work. `judgement` is what it rests on, None where there was no
    host to judge.
    """

    verdict: str
    layer: str | None
    line: str
    why: str
    command: str = ""
    nearest: Change | None = None
    options: tuple[Option, ...] = ()
    judgement: Judgement | None = None
    newest: Change | None = None
    driver: Change | None = None

    @property
    def cause(self) -> str:
        """Why it is so, without what to change: one sentence."""
        return f"{self.judgement.why}." if self.judgement else self.why

    @property
    def choice_to_make(self) -> Choice | None:
        """The choice of the nearest change, or None."""
        return self.nearest.choice if self.nearest else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What else the user meets, a sentence each; it changes nothing of the verdict."""
        return tuple(f"{note.why}." for note in self.judgement.notes) if self.judgement else ()


def describe(choice: Choice) -> str:
    """Name a choice in a few words."""
    if choice.service == "ngc":
        return f"NGC {choice.ngc_release}"
    parts = [f"PyTorch {choice.torch}"] if choice.torch else []
    if choice.accelerator == "cpu":
        parts.append("CPU")
    elif choice.wheel_cuda:
        parts.append(f"CUDA {choice.wheel_cuda} in an image of CUDA {choice.cuda}")
    elif choice.cuda:
        parts.append(f"CUDA {choice.cuda}")
    if choice.python:
        parts.append(f"Python {choice.python}")
    return ", ".join(parts) or "no PyTorch"


def answers_of(choice: Choice) -> dict[str, str]:
    """The answers that a choice sets, as the questions spell them."""
    answers = {name: value for field, name in ANSWERS.items() if (value := getattr(choice, field))}
    if "linux_distro" in answers:  # image tags say ubuntu24.04, the answer is ubuntu-24.04
        answers["linux_distro"] = re.sub(r"(?<=[a-z])(?=[0-9])", "-", answers["linux_distro"])
    return answers


def command(old: Choice, new: Choice) -> str:
    """The command that changes the answers of a generated project from one choice to another."""
    before = answers_of(old)
    changed = {name: value for name, value in answers_of(new).items() if before.get(name) != value}
    data = [f"--data {name}={shlex.quote(value)}" for name, value in changed.items()]
    return " ".join([UPDATE, *data]) if data else ""


def _key(option: Option, wanted: Choice, table: Table) -> tuple[object, ...]:
    """The wanted Python, then newest PyTorch, better verdict, fewer changes, PyPI's, newer CUDA.

    A wheel that only one source names comes after the others of its release.
    """
    choice = option.choice
    release = table.torch.get(choice.torch or "")
    newest = numbers(choice.ngc_release or choice.torch or choice.cuda or "0")
    return (
        choice.python != wanted.python,
        tuple(-number for number in newest),
        option.judgement.verdict.rank,
        _is_reported(choice, table),
        sum(getattr(choice, field) != getattr(wanted, field) for field in ANSWERS),
        release is None or choice.cuda != release.pypi_cuda,
        tuple(-number for number in numbers(choice.cuda or "0")),
    )


def _is_reported(choice: Choice, table: Table) -> bool:
    release = table.torch.get(choice.torch or "")
    variant = release.by_cuda(choice.cuda or "") if release else None
    return variant is not None and variant.reported


def _steps(value: str | None, wanted: str | None, known: Collection[str]) -> tuple[int, bool]:
    """How many of the known versions two are apart, and whether `value` is the older one."""
    if value is None or wanted is None:
        return 0, False
    order = sorted({*known, value, wanted}, key=numbers)
    return abs(order.index(value) - order.index(wanted)), numbers(value) < numbers(wanted)


def _distance(option: Option, wanted: Choice, table: Table) -> tuple[object, ...]:
    """How far a choice is from the wanted one: PyTorch stays, then the service, then CUDA.

    A step in CUDA leaves the major alone where it can. Of choices as near, the better verdict and
    the one that changes fewer other answers come first.
    """
    choice, lines = option.choice, table.lines
    release = table.torch.get(wanted.torch or "")
    cuda = wanted.cuda or (release.pypi_cuda if release else None) or choice.cuda or "0"
    mine = choice.cuda or cuda
    wheels = choice.wheel_cuda or mine, wanted.wheel_cuda or cuda
    offered = [one.version for one in table.torch.values() if one.offered]
    return (
        _steps(choice.torch, wanted.torch, offered),
        _steps(choice.ngc_release, wanted.ngc_release, table.ngc),
        choice.service != wanted.service,
        _is_reported(choice, table),
        numbers(mine)[0] != numbers(cuda)[0],
        _steps(mine, cuda, lines),
        _steps(*wheels, lines),
        option.judgement.verdict.rank,
        sum(getattr(choice, field) != getattr(wanted, field) for field in ANSWERS),
    )


def one_of_each(machine: Host) -> Host:
    """The same host with one GPU of each kind: the rules ask no more than these of a GPU."""
    kinds = {(item.cc or item.name, item.kind, item.brands): item for item in machine.gpus}
    return machine._replace(gpus=tuple(kinds.values()))


def _works(machine: Host, choice: Choice, table: Table) -> bool:
    """Whether a choice works on each GPU; the first for which it does not ends the question."""
    return all(
        judge(machine._replace(gpus=(item,)), choice, table).verdict.works for item in machine.gpus
    )


def working(machine: Host, like: Choice, table: Table | None = None) -> tuple[Option, ...]:
    """List the choices that work on a host, best first.

    Args:
        machine: the host, whose GPUs must all work.
        like: the choice whose service, Python, package manager and compute capabilities are kept.
        table: another table than the one checked in, for tests.
    """
    table = table or load()
    each = one_of_each(machine)
    found = [choice for choice in candidates(like, table) if _works(each, choice, table)]
    options = [Option(choice, judge(machine, choice, table)) for choice in found]
    good = [option for option in options if option.judgement.verdict.works]
    return tuple(sorted(good, key=lambda option: _key(option, like, table)))


def newest_branch(machine: Host, table: Table | None = None) -> int:
    """The newest driver branch that drives every GPU of a host, such as 580 for a V100."""
    table = table or load()
    limits = [
        old.last_branch
        for old in table.architectures
        for gpu in machine.gpus
        if gpu.cc in old.cc and gpu.kind != "jetson" and old.last_branch is not None
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

    First come changes that keep PyTorch, CUDA and the driver: the right image tag, another
    distribution, `cca: auto`. Then, on the same driver, what keeps PyTorch: another CUDA, then
    another service. Then the nearest PyTorch. Last comes another driver branch, which few people
    may install, with the choice as it is if that works there.
    """
    table = table or load()
    return _nearest(machine, choice, working(machine, choice, table), table)


def _in_other_service(machine: Host, choice: Choice, table: Table) -> list[Option]:
    """The same PyTorch in the other service that its packages can go to."""
    service = OTHER_SERVICES.get(choice.service)
    if (
        service is None
        or not choice.project
        or choice.pytorch_build == "source"
        or not choice.torch
    ):
        return []
    if choice.accelerator == "cpu" or choice.package_manager == "conda":
        return []
    there = choice._replace(
        service=service,
        flavour="devel",
        distro=None,
        pytorch_build="wheel",
        tag=None,
        wheel_cuda=None,
    )
    each = one_of_each(machine)
    found = [one for one in candidates(there, table) if one.torch == choice.torch]
    return [Option(one, judge(machine, one, table)) for one in found if _works(each, one, table)]


def _best(
    machine: Host, choice: Choice, options: tuple[Option, ...], table: Table
) -> Option | None:
    """The nearest choice that works on a host, of its repairs and of the options that work."""
    for repaired in repairs(choice, table):
        judgement = judge(machine, repaired, table)
        if judgement.verdict.works:
            return Option(repaired, judgement)
    near = [*options, *_in_other_service(machine, choice, table)]
    if not near and choice.cca != "auto":
        near = [*working(machine, choice._replace(cca="auto"), table)]
    return min(near, key=lambda option: _distance(option, choice, table), default=None)


def _said(old: Choice, new: Choice) -> str:
    """Name the choice to make, with what else changes beside its versions."""
    if image_of(new):
        wheel = f" with PyTorch {new.torch}, CUDA {new.wheel_cuda or new.cuda}"
        said = f"the image {image_of(new)}" + (wheel if new.torch and new.distro else "")
    else:
        said = describe(new) + (f" on {new.distro}" if new.distro not in {None, old.distro} else "")
        said += f" in the service {new.service}" if new.service != old.service else ""
    return said + (f" with cca {new.cca}" if new.cca != old.cca else "")


def _nearest(
    machine: Host, choice: Choice, options: tuple[Option, ...], table: Table
) -> Change | None:
    best = _best(machine, choice, options, table)
    if best:
        return _changed(machine, choice, best)
    hosts = _with_other_drivers(machine, table)
    newer = _newer_driver(hosts, choice, table)
    if newer:
        return newer
    for other in hosts:
        best = _best(other, choice, working(other, choice, table), table)
        if best:
            said = _said(choice, best.choice)
            text = f"install a driver of branch {other.driver} and choose {said}"
            return Change(other, best.choice, best.judgement, text, command(choice, best.choice))
    return None


def _changed(machine: Host, old: Choice, best: Option) -> Change:
    """Other answers on the same machine."""
    text = f"choose {_said(old, best.choice)}"
    return Change(machine, best.choice, best.judgement, text, command(old, best.choice))


def _with_other_drivers(machine: Host, table: Table) -> list[Host]:
    """The same machine with each driver branch that is worth trying."""
    if machine.driver is None:
        return []
    # The CUDA that the host reports belongs to the driver it has now.
    drivers = _other_drivers(machine, table)
    return [machine._replace(driver=driver, cuda=None) for driver in drivers]


def _newer_driver(hosts: list[Host], choice: Choice, table: Table) -> Change | None:
    """The first of some drivers with which a choice works as it is."""
    for other in hosts:
        same = judge(other, choice, table)
        if same.verdict.works:
            return Change(other, choice, same, f"install a driver of branch {other.driver}", "")
    return None


def newest_change(told: Advice) -> Change | None:
    """The newest that works, where it is another change than the nearest."""
    return told.newest if told.newest != told.nearest else None


def newest_title(wanted: Choice, near: Change | None, newest: Change | None) -> str:
    """What the newest that works is called where only it keeps the wanted Python."""
    pythons = [change.choice.python if change else None for change in (near, newest)]
    kept = pythons[0] != wanted.python == pythons[1]
    return "the newest that works" + (f" with Python {wanted.python}" if kept else "")


def gpus_of(machine: Host) -> str:
    """The GPUs of a host for a sentence; of many kinds only the first are named."""
    counts = Counter(gpu.label for gpu in machine.gpus)
    names = [f"{count} x {name}" if count > 1 else name for name, count in counts.items()]
    if len(names) > MOST_GPUS:
        names[MOST_GPUS - 1 :] = [f"{len(names) - MOST_GPUS + 1} other kinds of GPU"]
    return spoken(names)


def advice(machine: Host | None, choice: Choice, table: Table | None = None) -> Advice:
    """What to report about a choice on a host.

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
    where = f" on {gpus_of(machine)}" if machine and choice.accelerator == "cuda" else ""
    line = f"{describe(choice)}{where}: {verdict}"
    why = f"{judgement.why}."
    if judgement.verdict.works:
        return Advice(verdict, layer, line, why, judgement=judgement)
    options = working(machine, choice, table) if machine else ()
    change = _nearest(machine, choice, options, table) if machine else None
    newest = driver = None
    if machine and change and change.host == machine:
        if options and options[0].choice != change.choice:
            newest = _changed(machine, choice, options[0])
        if judgement.layer is Layer.DRIVER:
            driver = _newer_driver(_with_other_drivers(machine, table), choice, table)
    if change:
        why += f" Nearest change that works: {change.text}."
    if newest:
        title = newest_title(choice, change, newest)
        why += f" {title[0].upper()}{title[1:]}: {describe(newest.choice)}."
    if driver:
        why += f" With a driver of branch {driver.host.driver} it works as it is."
    return Advice(
        verdict=verdict,
        layer=layer,
        line=f"{line} ({layer})",
        why=why,
        command=change.command if change else "",
        nearest=change,
        options=options,
        judgement=judgement,
        newest=newest,
        driver=driver,
    )
