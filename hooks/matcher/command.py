"""The matcher as a command: `hearth match` where it is installed, `python -m hooks.match` here.

    hearth match 5090 --driver 570
    hearth match                                    this machine
    hearth match 4090 --driver 550.54.15 --torch 2.15.0 --why
    hearth match a100 --driver 550 --image nvidia/cuda:12.4.1-devel-ubuntu22.04 --torch 2.9.1

Exit status: 0 works, 1 fails, 2 the input was refused (one sentence), 3 unknown.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING

from ..compat.table import load
from .answers_json import advice_json
from .command_line import PARTS, parser_of
from .hosts import ACCESS, BadInputError
from .overview_report import check_driver, print_list, print_rows
from .paste import print_remedies, remedy_lines
from .rules import judge
from .search import advice
from .this_machine import place
from .typed_choice import asks_what_works, fill_from_answers, wanted_choice
from .typed_host import machine_of
from .verdicts import EXIT, Layer, Verdict

if TYPE_CHECKING:
    import argparse

    from .choices import Choice
    from .hosts import Host
    from .search import Advice
    from .verdicts import Judgement

WAYS = {"cdi": "CDI", "runtime": "NVIDIA's runtime", "hook": "its hook"}
REFUSED = 2
INTERRUPTED = 130
MOST_CHARACTERS = 400  # of a sentence that refuses
USAGE = """\
Hearth's matcher: which CUDA, PyTorch, Python, image and driver work with which GPU.

  hearth match 5090 --driver 570      the newest that works, of every kind
  hearth match                        the same for this machine
  hearth match 4090 --driver 550 --torch 2.15.0
  hearth match --requirements FILE    an existing project, by its requirements, lock or Dockerfile
  hearth match --image NAME --inspect what a local image will do here
  hearth match --help                 all options
  hearth --version                    this version, and the day of its tables
"""

# The layers that ask about the choice itself; the others ask about each GPU.
OF_THE_CHOICE = (Layer.IMAGE_TAG, Layer.SOLVER, Layer.PYTHON, Layer.PLATFORM)
OF_A_GPU = tuple(layer for layer in Layer if layer not in OF_THE_CHOICE)


def print_layers(machine: Host | None, judgement: Judgement) -> None:
    """Every layer of every GPU, in the order in which it is asked; the deciding one is marked."""
    said = list(dict.fromkeys([*judgement.findings, *judgement.notes]))
    groups: dict[str, tuple[Layer, ...]] = {"the choice itself": OF_THE_CHOICE}
    for item in machine.gpus if machine else ():
        groups[item.label] = OF_A_GPU
    width = max(len(layer.value) for layer in Layer)
    for label, layers in groups.items():
        about = [found for found in said if (found.gpu or "the choice itself") == label]
        asked = [*layers, *(found.layer for found in about if found.layer not in layers)]
        print(f"\n{label}")
        for layer in asked:
            answers = [found for found in about if found.layer is layer]
            for found in answers:
                mark = "*" if found.why == judgement.why else " "
                text = f"{found.verdict.value}: {found.why}"
                print(f"{mark} {layer.value:{width}}  {text}")
            if not answers:
                print(f"  {layer.value:{width}}  nothing against it")


def advice_on(arguments: list[str]) -> Advice:
    """What the command would say of a choice on a host, for the docs.

    Args:
        arguments: its words, with a host and a choice.

    Raises:
        BadInputError: something is malformed.
    """
    options = parser_of("hearth match").parse_args(arguments)
    options.in_project = False
    machine = machine_of(options)
    return advice(machine, wanted_choice(options, machine)[0])


def _access_note(machine: Host | None, wanted: Choice, told: Advice) -> list[str]:
    """With which way of GPU access an image would work after all, where the way is not known."""
    if machine is None or machine.access or told.verdict != Verdict.FAILS.value:
        return []
    versions = [machine.toolkit] if machine.toolkit else [row.since for row in load().supplies]
    for toolkit in reversed(versions):
        for way in ACCESS:
            verdict = judge(machine._replace(access=way, toolkit=toolkit), wanted).verdict
            if verdict.works:
                newest = "" if machine.toolkit else " and the newest NVIDIA Container Toolkit"
                text = (
                    f"This assumes `docker run --gpus`{newest}; with {WAYS[way]} and toolkit"
                    f" {toolkit} it is {verdict.value}: give --access and --toolkit."
                )
                return [text]
    return []


def _run(options: argparse.Namespace) -> int:
    for part in PARTS:
        status: int | None = part.run(options)
        if status is not None:
            return status
    where = place()
    options.in_project = bool(where.project)
    is_open = asks_what_works(options)
    lists = options.list and options.service is not None
    by_conda = options.service == "simple" and options.package_manager == "conda"
    options.only = "conda" if by_conda else options.service
    fill_from_answers(options, dict(where.answers), is_open=is_open)
    machine = machine_of(options)
    wanted, note = wanted_choice(options, machine)
    if machine is not None and (options.list or is_open):
        check_driver(machine, wanted)
        if is_open and not lists:
            return print_rows(machine, wanted, where, options)
        if options.torch is None and wanted.service in {"simple", "train", "hub"}:
            wanted = wanted._replace(torch=list(load().torch)[-1])  # its list is of PyTorch's
        return print_list(machine, wanted, as_json=options.json)
    told = advice(machine, wanted)
    access = _access_note(machine, wanted, told)
    lines = remedy_lines(told, machine, wanted, where)
    if options.json:
        print(json.dumps(advice_json(told, lines, " ".join([note, *access]).strip()), indent=2))
        return EXIT.get(Verdict(told.verdict), 0)
    if machine is None and options.probe:  # there is no GPU to ask about
        print(f"{options.probe}: no NVIDIA GPU was found that a driver runs.")
        print("Name GPU and driver, as in `hearth match 5090 --driver 570`.")
        return EXIT.get(Verdict(told.verdict), 0)
    print(*filter(None, [note, told.line, told.why, *told.notes, *access]), sep="\n")
    if options.why and told.judgement:
        print_layers(machine, told.judgement)
    print_remedies([*lines])
    return EXIT.get(Verdict(told.verdict), 0)


def _shortened(sentence: str) -> str:
    """A sentence without the middle of what somebody pasted, which may be a whole file."""
    if len(sentence) <= MOST_CHARACTERS:
        return sentence
    half = MOST_CHARACTERS // 2
    return f"{sentence[:half]} ... {sentence[-half:]}"


def main(arguments: list[str] | None = None, program: str = "hooks.match") -> int:
    """Run the command; see the module's text for its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that LANG=C cannot write
    if sys.stdout is None:  # closed by the caller, who wants the exit status
        sys.stdout = io.StringIO()
    try:
        status = _run(parser_of(program).parse_args(arguments))
        sys.stdout.flush()
    except BadInputError as error:
        print(f"{program}: {_shortened(str(error))}", file=sys.stderr)
        return REFUSED
    except (KeyboardInterrupt, EOFError):
        print(file=sys.stderr)  # the prompt after it begins a line
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has read enough; nor may Python's last flush complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, say: an exit status of 1 would say that it fails
        print(f"{program}: the answer cannot be written: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED
    return status


def _version() -> str:
    """The version that is installed; a clone is none."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  (takes time)

    try:
        return version("hearth-template")
    except PackageNotFoundError:
        return "in a clone"


def hearth(arguments: list[str] | None = None) -> int:
    """The installed command: `hearth match …`; other words are not commands yet."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["match"]:
        return main(words[1:], "hearth match")
    asks_for_help = not words or words[0] in {"-h", "--help", "help"}
    if asks_for_help:
        print(USAGE, end="")
        return 0
    if words[0] in {"-V", "--version", "version"}:
        print(f"hearth {_version()}, tables of {max(load().read.values())}")
        return 0
    print(f"hearth: {words[0]!r} is not a command: there is `hearth match`", file=sys.stderr)
    return REFUSED
