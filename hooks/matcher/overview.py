"""The newest choice of each service that works on a host: the answer to "what can I use here?"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..compat.rows import numbers
from ..compat.table import Table, load
from .candidates import candidates, moved
from .choices import Choice
from .remedies import image_name
from .rules import judge
from .search import describe, one_of_each, working
from .verdicts import Judgement, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .hosts import Host

# The rows: what a row is called, and what it changes of the choice that the user began with.
ROWS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("simple", {"service": "simple", "package_manager": "pip"}),
    ("conda", {"service": "simple", "package_manager": "conda"}),
    ("train", {"service": "train", "package_manager": "pip"}),
    ("devel", {"service": "devel", "package_manager": "pip", "torch": None, "python": None}),
    ("ngc", {"service": "ngc", "package_manager": "pip", "torch": None, "python": None}),
    ("hub", {"service": "hub", "package_manager": "pip", "python": None, "flavour": "runtime"}),
)
USUAL_DISTRO = "ubuntu24.04"


class Row(NamedTuple):
    """One service: the newest choice that works, or why there is none.

    `choice` is None where nothing works; `judgement` is then that of the newest choice whose
    verdict is not known, else of the newest one.
    """

    name: str
    choice: Choice | None
    judgement: Judgement

    @property
    def lines(self) -> tuple[str, ...]:
        """What a table shows of the choice: the image of a wheel has a line of its own."""
        if self.choice:
            image = image_name(self.choice)
            if self.choice.service in {"ngc", "hub", "devel"} and image:
                return (image,)
            wheel = self.choice._replace(cuda=self.choice.wheel_cuda or self.choice.cuda)
            named = describe(wheel._replace(wheel_cuda=None))
            return (named, f"in {image}") if image else (named,)
        if self.judgement.verdict is Verdict.UNKNOWN:
            return ("not known",)
        return ("nothing works",)


def _likes(like: Choice, table: Table) -> Iterator[tuple[str, Choice]]:
    newest = list(table.torch)[-1]
    for name, changes in ROWS:
        wanted = like._replace(torch=newest, cuda=None, ngc_release=None, tag=None, wheel_cuda=None)
        wanted = wanted._replace(**changes)
        on_image = wanted.service in {"train", "devel"}
        yield name, wanted._replace(distro=(wanted.distro or USUAL_DISTRO) if on_image else None)


def overview(machine: Host, like: Choice, table: Table | None = None) -> tuple[Row, ...]:
    """The newest that works of each service.

    Args:
        machine: the host; GPUs of one kind are asked once.
        like: whose Python, distribution and compute capabilities are kept.
        table: another table than the one checked in, for tests.
    """
    table = table or load()
    machine = one_of_each(machine)
    rows: dict[str, Row] = {}
    for name, wanted in _likes(like, table):
        row = _row(machine, name, wanted, table, like.distro)
        if name == "train" and not wanted.project:
            row = _wheel_in_an_image(machine, rows["simple"], wanted, table, like.distro) or row
        rows[name] = row
    return tuple(rows.values())


def nothing(machine: Host, wanted: Choice, table: Table | None = None) -> Judgement:
    """Why no choice of a service works: what all of them fail by, or what is not known.

    Args:
        machine: a host for which `search.working` is empty.
        wanted: the choice whose service, Python and package manager are kept.
        table: another table than the one checked in, for tests.
    """
    table = table or load()
    # Where the driver does not drive the GPU, it does not matter which images there are.
    alone = judge(machine, Choice(cca=wanted.cca, project=wanted.project), table)
    if alone.verdict is Verdict.FAILS:
        return alone
    found = [judge(machine, choice, table) for choice in candidates(wanted, table)][::-1]
    unknown = [said for said in found if said.verdict is Verdict.UNKNOWN]
    unknown.sort(key=lambda said: said.gpu == "")  # what is not known of the GPU says more
    return (unknown or found)[0]


def _wheel_in_an_image(
    machine: Host, simple: Row, like: Choice, table: Table, distro: str | None
) -> Row | None:
    """The newest wheel that works, in an image of nvidia/cuda that works; None for none.

    Without a project nothing says that both are of one CUDA. An image of the wanted distribution is
    the best, then one of the wheel's own CUDA, then the newest of its major: PyTorch refuses to
    compile extensions with another one.
    """
    if simple.choice is None:
        return None
    wheel = simple.choice.cuda or table.torch[simple.choice.torch or ""].pypi_cuda

    def nearness(cuda: str) -> tuple[bool, bool, tuple[int, ...]]:
        return cuda == wheel, numbers(cuda)[0] == numbers(wheel)[0], numbers(cuda)

    works: list[Row] = []
    for cuda in sorted(table.lines, key=nearness, reverse=True):
        made = like._replace(torch=simple.choice.torch, python=simple.choice.python, cuda=cuda)
        made = moved(made._replace(wheel_cuda=wheel if wheel != cuda else None), table)
        judgement = judge(machine, made, table)
        if judgement.verdict.works:
            works.append(Row("train", made, judgement))
            if distro in {None, made.distro}:
                return works[-1]
    return works[0] if works else None


def _row(machine: Host, name: str, wanted: Choice, table: Table, distro: str | None) -> Row:
    """The newest that works; `distro` binds where it was asked for."""
    options = working(machine, wanted, table)
    if options:
        kept = [one for one in options if distro in {None, one.choice.distro}]
        best = (kept or options)[0]
        return Row(name, best.choice, best.judgement)
    return Row(name, None, nothing(machine, wanted, table))
