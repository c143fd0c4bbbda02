"""The matcher as a command: `hearth match` where it is installed, `python -m hooks.match` here.

    hearth match 5090 --driver 570
    hearth match                                    this machine
    hearth match 4090 --driver 550.54.15 --torch 2.15.0 --why
    hearth match a100 --driver 550 --image nvidia/cuda:12.4.1-devel-ubuntu22.04 --torch 2.9.1

Exit status: 0 works, 1 fails, 2 the input was refused (one sentence), 3 unknown.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..compat.table import load
from . import files, inspect_image
from .choices import SERVICES, Choice, choice, distro_name, from_image, spoken
from .hosts import ACCESS, BRANDS, BadInputError, Gpu, Host, from_probe, gpu, host
from .names import find, is_virtual
from .overview import USUAL_DISTRO, nothing, overview
from .remedies import environment, for_jetson, installs, remedies, updates
from .rules import judge
from .search import advice, gpus_of, image_of, moved, newest_title, working
from .stacks import OTHER_PROCESSOR, PROJECT_ARCH
from .this_machine import place, this_machine
from .verdicts import EXIT, Layer, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from .overview import Row
    from .search import Advice, Change, Option
    from .this_machine import Place
    from .verdicts import Judgement

WAYS = {"cdi": "CDI", "runtime": "NVIDIA's runtime", "hook": "its hook"}
REFUSED = 2
INTERRUPTED = 130
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
_COUNT = re.compile(r"\s*([0-9]{1,3})\s*[xX]\s*")  # 8x before a name
OF_A_GPU = tuple(layer for layer in Layer if layer not in OF_THE_CHOICE)

# What answers in place of a choice: modules with options(parser) and run(options), which returns
# the exit status, or None where none of its options was given.
PARTS: tuple[ModuleType, ...] = (files, inspect_image)


class _Parser(argparse.ArgumentParser):
    """One that refuses in one sentence, without the list of all options."""

    def error(self, message: str) -> NoReturn:
        raise BadInputError(f"{message}; --help lists the options")


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        allow_abbrev=False,
        description="Say whether a choice works on a host, which layer decides, and what works."
        " Without a choice: the newest that works. Without a host: this machine.",
        epilog="Exit status: 0 works, 1 fails, 2 the input was refused, 3 unknown.",
    )
    machine = parser.add_argument_group("host")
    machine.add_argument("gpus", nargs="*", metavar="GPU", help="such as 5090 or 'a100 80gb'")
    machine.add_argument("--driver", help="driver version, such as 570 or 550.54.15")
    machine.add_argument("--gpu", action="append", default=[], help="as nvidia-smi -L names it")
    machine.add_argument("--cc", action="append", default=[], help="compute capability of a GPU")
    machine.add_argument("--brand", help="of GPUs given by --cc: tesla, nvidia, geforce, ...")
    machine.add_argument("--arch", help="x86_64 (default) or aarch64")
    machine.add_argument(
        "--access", choices=ACCESS, help="how containers get GPUs; hook is docker run --gpus"
    )
    machine.add_argument("--toolkit", help="version of NVIDIA Container Toolkit, such as 1.18.1")
    machine.add_argument("--probe", metavar="FILE", help="JSON of the host probe, - for stdin")
    wanted = parser.add_argument_group("choice")
    wanted.add_argument("--service", help="simple, train, devel, ngc, hub")
    wanted.add_argument("--torch", help="PyTorch version, such as 2.14.1 or 2.14.1+cu126")
    wanted.add_argument(
        "--variant", "--cuda", dest="cuda", help="cu132, 13.2, or 13 for its newest that works"
    )
    wanted.add_argument("--wheel-cuda", help="of PyTorch in an image of another CUDA")
    wanted.add_argument("--python", help="Python version")
    wanted.add_argument("--cca", default="auto", help="compute capabilities to compile for")
    wanted.add_argument("--package-manager", help="pip or conda")
    wanted.add_argument("--build", help="PyTorch from wheel or source")
    wanted.add_argument("--distro", help="of an nvidia/cuda image, such as ubuntu24.04")
    wanted.add_argument("--flavour", help="of an image: base, runtime, devel")
    wanted.add_argument("--ngc", help="release of nvcr.io/nvidia/pytorch, such as 25.10")
    wanted.add_argument("--image", help="an image with its tag; --torch is installed into it")
    wanted.add_argument("--cpu", action="store_true", help="no GPU is wanted")
    answer = parser.add_argument_group("answer")
    answer.add_argument("--list", action="store_true", help="list what works, best first")
    answer.add_argument("--why", action="store_true", help="every layer of every GPU, in order")
    answer.add_argument("--json", action="store_true", help="one JSON document")
    for part in PARTS:
        part.options(parser)
    return parser


def _facts(file: str) -> object:
    """The JSON of the host probe, from a file or, for "-", from standard input."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        return json.loads(text)
    except OSError as error:
        raise BadInputError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also bytes that are no UTF-8, and no text
        raise BadInputError(f"{file} is not the JSON of the host probe") from error


def _named(name: str, cc: str | None, brand: str | None, *, ask: bool) -> Gpu:
    """A GPU by its name, in full; one that fits several is asked for, or refused with these."""
    found = gpu(name, cc, brand)
    could_be = found.could_be
    if not could_be:
        product = find(name).product if name and not is_virtual(name) else None
        return found._replace(name=product.name) if product else found
    if not ask:
        raise BadInputError(
            f"{name!r} can be {' or '.join(could_be)}: name one of them, or give --cc"
        )
    print(f"{name} can be:", *(f"  {at}: {full}" for at, full in enumerate(could_be, 1)), sep="\n")
    answer = input(f"Which one, 1 to {len(could_be)}? ").strip()
    if not answer.isdecimal() or not 1 <= int(answer) <= len(could_be):
        raise BadInputError(f"{answer!r} is none of 1 to {len(could_be)}")
    return gpu(could_be[int(answer) - 1])


def machine_of(options: argparse.Namespace) -> Host | None:
    """The host that the options describe, else this machine. Raises BadInputError."""
    found = _machine(options)
    if found is None:
        return None
    return host(
        found.driver,
        found.gpus,
        found.arch,
        found.cuda,
        access=options.access or found.access,
        toolkit=options.toolkit or found.toolkit,
        module=found.module,
        driver_type=found.driver_type,
        secure_boot=found.secure_boot,
    )


def _machine(options: argparse.Namespace) -> Host | None:
    if options.probe:
        return from_probe(_facts(options.probe))
    names: list[str] = [*options.gpus, *options.gpu]
    ccs: list[str] = options.cc
    if names and ccs and len(names) != len(ccs):
        raise BadInputError(
            f"--cc is given {len(ccs)} times for {len(names)} GPUs: give it once for each, in the"
            " same order, or not at all"
        )
    if not names and not ccs:
        if options.cpu:
            return None
        if options.driver is None:
            return this_machine()
        raise BadInputError("--driver needs a GPU: name it, as in `hearth match 5090 --driver 570`")
    ask = not options.json and all(
        stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)
    )
    if ccs:
        pairs = zip(names or [""] * len(ccs), ccs, strict=True)
        found = [_named(name, cc, options.brand, ask=ask) for name, cc in pairs]
    else:
        typed = _counted(options.gpus)
        for name in options.gpu:
            count, rest = _count_of(name)
            typed += [rest] * count
        found = [_named(name, None, None, ask=ask) for name in typed]
    return host(options.driver, found, options.arch)


def _is_known(name: str) -> bool:
    found = gpu(name)
    return found.cc is not None or bool(found.could_be)


def _continues(word: str) -> bool:
    """Whether a word can stand behind the name of a GPU: no brand does."""
    return word.lower() not in {*BRANDS, "rtx", "gtx"}


def _count_of(text: str) -> tuple[int, str]:
    """How many GPUs a name stands for, and the name: (8, "H100") for 8xH100 or 8 x H100."""
    found = _COUNT.match(text)
    return (int(found[1]), text[found.end() :]) if found else (1, text)


def _counted(words: list[str]) -> list[str]:
    """Names of GPUs as `_joined` reads them, each as often as the number before it says."""
    if len(words) > 1 and words[0].isdecimal() and words[1] in {"x", "X"}:
        words = [f"{words[0]}x", *words[2:]]
    at = next((at for at in range(1, len(words)) if _begins_count(words, at)), len(words))
    if not words:
        return []
    count, first = _count_of(words[0])
    names = _joined([word for word in (first, *words[1:at]) if word])
    return [*names[:1] * count, *names[1:], *_counted(words[at:])]


def _begins_count(words: list[str], at: int) -> bool:
    spaced = words[at].isdecimal() and words[at + 1 : at + 2] in (["x"], ["X"])
    return spaced or bool(_COUNT.match(words[at]))


def _joined(words: list[str]) -> list[str]:
    """Names of GPUs that a shell has split at their blanks: RTX 5090 a100 80gb are two.

    A word that names a GPU begins a name, with the words before it that name none; other words
    belong to the name before them if it is still a GPU's. If words are left over, all are one name,
    which is not known then.
    """
    names: list[str] = []
    before: list[str] = []
    for word in words:
        if _is_known(" ".join([*before, word])):
            names.append(" ".join([*before, word]))
            before = []
        elif _continues(word) and names and not before and _is_known(f"{names[-1]} {word}"):
            names[-1] += f" {word}"
        else:
            before.append(word)
    return [" ".join(words)] if before else names


def _major(text: str | None) -> str | None:
    """The major of "13" or "cu13", None for a CUDA line."""
    number = (text or "").strip().lower().removeprefix("cu")
    return number if number in load().families else None


def _chosen(options: argparse.Namespace, cuda: str | None) -> Choice:
    """The choice as it was typed.

    A service is one of Hearth's, whose images are built so that they run; without one, and outside
    a project, an image is what its maker made and a wheel is for the machine's own processor. So
    are the rows of the table.
    """
    made = _typed(options, cuda)
    if options.in_project:
        return made._replace(compat="auto", project=True)
    if options.service and (options.list or not _is_open(options)):
        return made
    return made._replace(compat="image", project=False)


def _typed(options: argparse.Namespace, cuda: str | None) -> Choice:
    service = options.service or ("ngc" if options.ngc else "simple")
    if options.image:
        try:
            return from_image(
                options.image,
                service if service in {"train", "devel"} else None,
                options.cca,
                torch=options.torch,
                wheel_cuda=options.wheel_cuda or cuda,
                python=options.python,
            )
        except BadInputError as error:
            if options.torch or cuda or options.wheel_cuda:
                raise
            raise BadInputError(f"{error}; add --inspect to judge a local image") from error
    return choice(
        service=service,
        accelerator="cpu" if options.cpu else "cuda",
        torch=options.torch,
        cuda=cuda,
        python=options.python,
        cca=options.cca,
        package_manager=options.package_manager or "pip",
        pytorch_build=options.build or "wheel",
        distro=options.distro,
        flavour=options.flavour,
        ngc_release=options.ngc,
        wheel_cuda=options.wheel_cuda,
    )


def _wanted(options: argparse.Namespace, machine: Host | None) -> tuple[Choice, str]:
    """The choice, and what to say of it: which line was taken for a CUDA major."""
    major = _major(options.cuda)
    if major is None:
        return _chosen(options, options.cuda), ""
    table = load()
    lines = [line for line in reversed(table.lines) if line.partition(".")[0] == major]
    found = [_chosen(options, line) for line in lines]
    release = table.torch.get(found[0].torch or "")
    if release and found[0].package_manager == "pip" and found[0].pytorch_build == "wheel":
        built = [made for made in found if (made.wheel_cuda or made.cuda) in release.published]
        found = built or found
    works = [made for made in found if machine and judge(machine, made).verdict.works]
    taken = (works or found)[0]
    how = "the newest that works here" if works else "its newest"
    return taken, f"CUDA {major} is taken as {taken.wheel_cuda or taken.cuda}, {how}."


def _is_open(options: argparse.Namespace) -> bool:
    """Whether no choice was given, or a service alone: the question is what works."""
    said = (options.torch, options.cuda, options.wheel_cuda, options.image, options.ngc)
    return not any(said) and not options.cpu and options.build is None


def _fill_from_answers(
    options: argparse.Namespace, answers: dict[str, str], *, is_open: bool
) -> None:
    """Inside a project, what was not typed is as in its answers: a choice is a change of them.

    The question what works keeps to the project's service, Python and distribution.
    """
    options.row = ""
    options.project_torch = answers.get("torch_version", "none") != "none"
    of_an_image = bool(options.image or options.ngc)
    if answers.get("service") not in SERVICES or of_an_image:
        return
    named = bool(options.torch or options.cuda or options.cpu)
    if answers["service"] == "ngc" and named:  # its image has its own PyTorch
        return
    options.service = options.service or answers["service"]
    options.row = options.service
    if options.service in {"ngc", "hub"}:
        return
    manager = answers.get("package_manager")
    options.package_manager = options.package_manager or manager
    if options.service == "simple" and options.package_manager == "conda":
        options.row = "conda"
    options.python = options.python or answers.get("python_version")
    options.distro = options.distro or answers.get("linux_distro")
    if is_open:
        return
    options.torch = options.torch or answers.get("torch_version")
    if options.service == answers["service"] == "train":
        options.build = options.build or answers.get("pytorch_build")


def _change_json(change: Change | None) -> dict[str, Any] | None:
    if change is None:
        return None
    return {
        "text": change.text,
        "verdict": change.judgement.verdict.value,
        "driver": change.host.driver,
        "service": change.choice.service,
        "torch": change.choice.torch,
        "cuda": change.choice.cuda,
        "wheel_cuda": change.choice.wheel_cuda,
        "python": change.choice.python,
        "ngc_release": change.choice.ngc_release,
        "cca": change.choice.cca,
        "distro": change.choice.distro,
        "image": image_of(change.choice) or None,
        "command": change.command,
    }


def _finding_json(judgement: Judgement) -> list[dict[str, str]]:
    return [
        {"gpu": f.gpu, "layer": f.layer.value, "verdict": f.verdict.value, "why": f.why}
        for f in (*judgement.findings, *judgement.notes)
    ]


def _as_json(told: Advice, lines: list[str], note: str) -> dict[str, Any]:
    """The machine-readable answer; keys are stable."""
    judgement = told.judgement
    return {
        "verdict": told.verdict,
        "layer": told.layer,
        "why": judgement.why if judgement else told.line,
        "gpu": judgement.gpu if judgement else "",
        "findings": _finding_json(judgement) if judgement else [],
        "nearest": _change_json(told.nearest),
        "newest": _change_json(_newest(told)),
        "driver": _change_json(told.driver),
        "remedies": lines,
        "notes": list(told.notes),
        "note": note,
    }


def _newest(told: Advice) -> Change | None:
    """The newest that works, where it is another change than the nearest."""
    return told.newest if told.newest != told.nearest else None


def _option_json(option: Option) -> dict[str, Any]:
    fields = ("service", "torch", "cuda", "python", "ngc_release")
    return {
        **{field: getattr(option.choice, field) for field in fields},
        "verdict": option.judgement.verdict.value,
    }


def _row_json(row: Row) -> dict[str, Any]:
    found = row.choice
    fields = ("torch", "cuda", "python", "ngc_release")
    return {
        "name": row.name,
        "service": "simple" if row.name == "conda" else row.name,
        "package_manager": "conda" if row.name == "conda" else "pip",
        **{field: getattr(found, field) if found else None for field in fields},
        "verdict": row.judgement.verdict.value,
        "layer": row.judgement.layer.value if row.judgement.layer else None,
        "why": row.judgement.why,
        "remedies": [str(remedy) for remedy in installs(found)] if found else [],
    }


def _check_listed(machine: Host, wanted: Choice) -> None:
    if machine.driver is None and wanted.accelerator == "cuda":
        raise BadInputError("to list what works the driver is needed: give it with --driver")


def _print_list(machine: Host, wanted: Choice, *, as_json: bool) -> int:
    """All choices of one service that work."""
    options = working(machine, wanted)
    if as_json:
        print(json.dumps([_option_json(option) for option in options], indent=2))
    elif options:
        print("\n".join(option.label for option in options))
    if options:
        return 0
    judgement = nothing(machine, wanted)
    if as_json:
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


def _print_rows(machine: Host, like: Choice, where: Place, options: argparse.Namespace) -> int:
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
        print(json.dumps([_row_json(row) for row in rows], indent=2))
        return status
    strangers = [item.name for item in machine.gpus if item.cc is None]
    if strangers and not good:
        print(f"{spoken(strangers)} {_stranger(strangers[0])}.")
        return status
    _print_table(machine, rows)
    for reason in _row_reasons(rows, like, every=options.why):
        print(f"\n{reason}.")
    if machine.arch != PROJECT_ARCH and good:
        print(f"\nThese are wheels and images by themselves: {OTHER_PROCESSOR}.")
    lines = (
        _for_row(_own(good, options), where) if good else _for_nothing(machine, rows, like, where)
    )
    _print_remedies([*lines, *(() if rows[0].choice else for_jetson(machine))])
    return status


def _stranger(name: str) -> str:
    """Why a name was not found, and what to name in its place."""
    words = set(re.findall(r"[a-z]+", name.lower()))
    other_maker = words & {"amd", "radeon", "rx", "instinct", "intel", "arc", "gaudi", "apple"}
    if "mig" in words:
        return "is a part of a GPU: name that too, as in `a100 80gb MIG 1g.10gb`"
    # AMD's are also called by their number, or by the target of their compiler.
    if other_maker or re.search(r"\b(mi ?[0-9]{2,3}[a-z]?|gfx[0-9a-f]{3,4})\b", name.lower()):
        return (
            "is not an NVIDIA GPU: these tables are for CUDA only, give --cpu for PyTorch without"
        )
    return (
        "is not a GPU in the table: name it as nvidia-smi -L does, or\ngive its compute"
        " capability, such as --cc 8.9"
    )


def _own(good: list[Row], options: argparse.Namespace) -> Row | None:
    """The row of the project's service if it works, else the first one."""
    own = next((row for row in good if row.name == options.row), good[0])
    # The row of devel has no PyTorch, which a project with PyTorch shall not lose.
    return None if own.name == "devel" and options.project_torch else own


def _to_paste(found: Choice, machine: Host | None, where: Place) -> list[str]:
    """The lines that install a choice that works, or change the project around to it."""
    if where.project:
        return list(updates(found, where))
    return [*_image_of_cuda(found, machine), *environment(found), *installs(found)]


def _image_of_cuda(found: Choice, machine: Host | None) -> list[str]:
    """For a CUDA without PyTorch: the image of nvidia/cuda, if it works there."""
    if found.service != "simple" or found.torch or found.cuda is None or machine is None:
        return []
    made = _newest_of(found._replace(service="devel", compat="image", project=False))
    image = moved(made._replace(cuda=found.cuda), load())
    return [*installs(image)] if judge(machine, image).verdict.works else []


def _for_row(row: Row | None, where: Place) -> list[str]:
    """How to install the choice of a row, or to change a project to it."""
    if row is None or row.choice is None:
        return []
    return _to_paste(row.choice, None, where)


def _for_nothing(machine: Host, rows: tuple[Row, ...], like: Choice, where: Place) -> list[str]:
    """The nearest change of the first service, which is another driver."""
    newest = _newest_of(like)
    told = advice(machine, newest)
    if told.nearest is None or any(row.choice for row in rows):
        return []
    head = f"# {told.nearest.text}"
    return [head, *remedies(machine, newest, told.nearest, where)]


def _newest_of(like: Choice) -> Choice:
    """The newest choice of a service, whether it works or not."""
    table = load()
    if like.service == "ngc":
        return like._replace(ngc_release=list(table.ngc)[-1])
    if like.service == "devel":
        lines = [line.line for line in table.lines.values() if line.image]
        return like._replace(cuda=lines[-1], distro=like.distro or USUAL_DISTRO)
    return like._replace(torch=list(table.torch)[-1])


def _print_remedies(lines: list[str]) -> None:
    if lines:
        print()
    for line in lines:
        print(f"  {line}")


def _print_layers(machine: Host | None, judgement: Judgement) -> None:
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


def _remedy_lines(told: Advice, machine: Host | None, wanted: Choice, where: Place) -> list[str]:
    """What to paste: for a choice that works how to install it, else what makes it work."""
    if Verdict(told.verdict).works:
        return _to_paste(wanted, machine, where)
    if machine is None:
        return []
    lines_found: list[str] = []
    title = newest_title(wanted, told.nearest, _newest(told))
    changes = (("", told.nearest), (title, _newest(told)), ("or", told.driver))
    for title, change in changes:
        if change is not None:
            lines = [str(remedy) for remedy in remedies(machine, wanted, change, where)]
            if title and lines:
                lines_found.append(f"# {title}: {change.text}")
            lines_found += lines
    return lines_found or [str(remedy) for remedy in for_jetson(machine)]


def advice_on(arguments: list[str]) -> Advice:
    """What the command would say of a choice on a host, for the docs.

    Args:
        arguments: its words, with a host and a choice.

    Raises:
        BadInputError: something is malformed.
    """
    options = _parser("hearth match").parse_args(arguments)
    options.in_project = False
    machine = machine_of(options)
    return advice(machine, _wanted(options, machine)[0])


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
    is_open = _is_open(options)
    lists = options.list and options.service is not None
    by_conda = options.service == "simple" and options.package_manager == "conda"
    options.only = "conda" if by_conda else options.service
    _fill_from_answers(options, dict(where.answers), is_open=is_open)
    machine = machine_of(options)
    wanted, note = _wanted(options, machine)
    if machine is not None and (options.list or is_open):
        _check_listed(machine, wanted)
        if is_open and not lists:
            return _print_rows(machine, wanted, where, options)
        if options.torch is None and wanted.service in {"simple", "train", "hub"}:
            wanted = wanted._replace(torch=list(load().torch)[-1])  # its list is of PyTorch's
        return _print_list(machine, wanted, as_json=options.json)
    told = advice(machine, wanted)
    access = _access_note(machine, wanted, told)
    lines = _remedy_lines(told, machine, wanted, where)
    if options.json:
        print(json.dumps(_as_json(told, lines, " ".join([note, *access]).strip()), indent=2))
        return EXIT.get(Verdict(told.verdict), 0)
    if machine is None and options.probe:  # there is no GPU to ask about
        print(f"{options.probe}: no NVIDIA GPU was found that a driver runs.")
        print("Name GPU and driver, as in `hearth match 5090 --driver 570`.")
        return EXIT.get(Verdict(told.verdict), 0)
    print(*filter(None, [note, told.line, told.why, *told.notes, *access]), sep="\n")
    if options.why and told.judgement:
        _print_layers(machine, told.judgement)
    _print_remedies([*lines])
    return EXIT.get(Verdict(told.verdict), 0)


def main(arguments: list[str] | None = None, program: str = "hooks.match") -> int:
    """Run the command; see the module's text for its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that LANG=C cannot write
    if sys.stdout is None:  # closed by the caller, who wants the exit status
        sys.stdout = io.StringIO()
    try:
        status = _run(_parser(program).parse_args(arguments))
        sys.stdout.flush()
    except BadInputError as error:
        print(f"{program}: {error}", file=sys.stderr)
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
