"""The lines to paste under an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..compat.table import load
from .candidates import moved
from .overview import USUAL_DISTRO
from .remedies import environment, for_jetson, installs, remedies, updates
from .rules import judge
from .search import newest_change, newest_title
from .verdicts import Verdict

if TYPE_CHECKING:
    from .choices import Choice
    from .hosts import Host
    from .search import Advice
    from .this_machine import Place


def lines_to_paste(found: Choice, machine: Host | None, where: Place) -> list[str]:
    """The lines that install a choice that works, or change the project around to it."""
    if where.project:
        return list(updates(found, where))
    return [*_image_of_cuda(found, machine), *environment(found), *installs(found)]


def _image_of_cuda(found: Choice, machine: Host | None) -> list[str]:
    """For a CUDA without PyTorch: the image of nvidia/cuda, if it works there."""
    if found.service != "simple" or found.torch or found.cuda is None or machine is None:
        return []
    made = newest_of(found._replace(service="devel", compat="image", project=False))
    image = moved(made._replace(cuda=found.cuda), load())
    return [*installs(image)] if judge(machine, image).verdict.works else []


def newest_of(like: Choice) -> Choice:
    """The newest choice of a service, whether it works or not."""
    table = load()
    if like.service == "ngc":
        return like._replace(ngc_release=list(table.ngc)[-1])
    if like.service == "devel":
        lines = [line.line for line in table.lines.values() if line.image]
        return like._replace(cuda=lines[-1], distro=like.distro or USUAL_DISTRO)
    return like._replace(torch=list(table.torch)[-1])


def remedy_lines(told: Advice, machine: Host | None, wanted: Choice, where: Place) -> list[str]:
    """What to paste: for a choice that works how to install it, else what makes it work."""
    if Verdict(told.verdict).works:
        return lines_to_paste(wanted, machine, where)
    if machine is None:
        return []
    lines_found: list[str] = []
    title = newest_title(wanted, told.nearest, newest_change(told))
    changes = (("", told.nearest), (title, newest_change(told)), ("or", told.driver))
    for title, change in changes:
        if change is not None:
            lines = [str(remedy) for remedy in remedies(machine, wanted, change, where)]
            if title and lines:
                lines_found.append(f"# {title}: {change.text}")
            lines_found += lines
    return lines_found or [str(remedy) for remedy in for_jetson(machine)]


def print_remedies(lines: list[str]) -> None:
    """Print lines to paste, indented, below an empty line."""
    if lines:
        print()
    for line in lines:
        print(f"  {line}")
