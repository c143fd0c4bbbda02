"""The answers to what works: the table of all services, and the list of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .answers_json import option_json, row_json
from .choices import Choice, distro_name, spoken
from .hosts import BadInputError
from .overview import nothing, overview
from .paste import lines_to_paste, newest_of, print_remedies
from .remedies import for_jetson, remedies
from .search import advice, gpus_of, working
from .stacks import OTHER_PROCESSOR, PROJECT_ARCH
from .typed_host import why_unknown
from .verdicts import EXIT, Verdict

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from .hosts import Host
    from .overview import Row
    from .this_machine import Place


def check_driver(machine: Host, wanted: Choice) -> None:
    """What works can be listed only for a known driver. Raises BadInputError."""
    if machine.driver is None and wanted.accelerator == "cuda":
        raise BadInputError("to list what works the driver is needed: give it with --driver")


def print_list(machine: Host, wanted: Choice, *, as_json: bool) -> int:
    """All choices of one service that work."""
    options = working(machine, wanted)
    if as_json:
        print(json.dumps([option_json(option) for option in options], indent=2))
    elif options:
        print("\n".join(option.label for option in options))
    if options:
        return 0
    judgement = nothing(machine, wanted)
    if as_json:
        return EXIT[judgement.verdict]
    if wanted.project and judgement.why.startswith(OTHER_PROCESSOR):
        print(f"No project of Hearth works here: {judgement.why}.")
        print(
            "Outside a project, and without --service, wheels and images are judged by themselves."
        )
        return EXIT[judgement.verdict]
    known = judgement.verdict is Verdict.FAILS
    print("Nothing in the table works here." if known else "It is not known what works here.")
    print(f"{judgement.why}.")
    return EXIT[judgement.verdict]


def _host_line(machine: Host) -> str:
    arch = "" if machine.arch == "x86_64" else f", {machine.arch}"
    return f"{gpus_of(machine)}, driver {machine.driver}{arch}"


def _print_table(machine: Host, rows: tuple[Row, ...]) -> None:
    print(f"{_host_line(machine)}\n")
    cells = [("service", "newest that works", "verdict")]
    for row in rows:
        first, *more = row.lines
        cells.append((row.name, first, row.judgement.verdict.value))
        cells += [("", line, "") for line in more]
    widths = [max(len(row[at]) for row in cells) for at in range(3)]
    for line in cells:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join(padded).rstrip())


def _row_reasons(rows: tuple[Row, ...], like: Choice, *, every: bool) -> Iterator[str]:
    """Why rows are empty, and which do not keep what was typed."""
    missing: dict[str, list[str]] = {}
    for row in rows:
        if row.choice is None or every:
            missing.setdefault(row.judgement.why, []).append(row.name)
    for why, names in missing.items():
        yield f"{', '.join(names)}: {why}"
    found = {row.name: row.choice for row in rows if row.choice}
    other = [name for name, made in found.items() if made.python not in {None, like.python}]
    if other:
        yield f"{', '.join(other)}: nothing works with Python {like.python}, so another is named"
    other = [name for name, made in found.items() if made.distro not in {None, like.distro}]
    if other and like.distro:
        yield f"{', '.join(other)}: no image of {like.distro} works, so another is named"


def print_rows(machine: Host, like: Choice, where: Place, options: argparse.Namespace) -> int:
    """The newest that works, of every service."""
    if options.distro:  # of the rows in an image, whatever the service of `like`
        like = like._replace(distro=distro_name(options.distro))
    rows = overview(machine, like)
    if options.only:
        rows = tuple(row for row in rows if row.name == options.only)
    good = [row for row in rows if row.choice]
    worst = Verdict.FAILS
    if any(row.judgement.verdict is Verdict.UNKNOWN for row in rows):
        worst = Verdict.UNKNOWN
    status = 0 if good else EXIT[worst]
    if options.json:
        print(json.dumps([row_json(row) for row in rows], indent=2))
        return status
    strangers = [item.name for item in machine.gpus if item.cc is None]
    if strangers and not good:
        print(f"{spoken(strangers)} {why_unknown(strangers[0])}.")
        return status
    _print_table(machine, rows)
    for reason in _row_reasons(rows, like, every=options.why):
        print(f"\n{reason}.")
    if machine.arch != PROJECT_ARCH and good:
        print(f"\nThese are wheels and images by themselves: {OTHER_PROCESSOR}.")
    lines = (
        _for_row(_own(good, options), where) if good else _for_nothing(machine, rows, like, where)
    )
    print_remedies([*lines, *(() if rows[0].choice else for_jetson(machine))])
    return status


def _own(good: list[Row], options: argparse.Namespace) -> Row | None:
    """The row of the project's service if it works, else the first one."""
    own = next((row for row in good if row.name == options.row), good[0])
    # The row of devel has no PyTorch, which a project with PyTorch shall not lose.
    return None if own.name == "devel" and options.project_torch else own


def _for_row(row: Row | None, where: Place) -> list[str]:
    """How to install the choice of a row, or to change a project to it."""
    if row is None or row.choice is None:
        return []
    return lines_to_paste(row.choice, None, where)


def _for_nothing(machine: Host, rows: tuple[Row, ...], like: Choice, where: Place) -> list[str]:
    """The nearest change of the first service, which is another driver."""
    newest = newest_of(like)
    told = advice(machine, newest)
    if told.nearest is None or any(row.choice for row in rows):
        return []
    head = f"# {told.nearest.text}"
    return [head, *remedies(machine, newest, told.nearest, where)]
