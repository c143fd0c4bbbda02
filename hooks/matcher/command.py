"""The matcher as a command.

    python -m hooks.match --driver 550.54.15 --gpu "NVIDIA GeForce RTX 4090" \
        --torch 2.15.0 --variant cu132 --python 3.12
    python -m hooks.match --driver 580.95.05 --gpu "Tesla V100-SXM2-16GB" --list

Exit status: 0 works, 1 fails, 2 the input was refused (one sentence), 3 unknown.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooks.matcher.choices import Choice, choice, from_image
from hooks.matcher.hosts import BadInputError, Host, from_probe, gpu, host
from hooks.matcher.search import advice, image_of, working
from hooks.matcher.verdicts import Verdict

if TYPE_CHECKING:
    from hooks.matcher.search import Advice, Option

EXIT = {Verdict.FAILS: 1, Verdict.UNKNOWN: 3}
REFUSED = 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hooks.match",
        description="Say whether a choice works on a host, which layer decides, and what works.",
    )
    machine = parser.add_argument_group("host")
    machine.add_argument("--driver", help="driver version, such as 550.54.15")
    machine.add_argument("--gpu", action="append", default=[], help="as nvidia-smi -L names it")
    machine.add_argument("--cc", action="append", default=[], help="compute capability of a GPU")
    machine.add_argument("--brand", help="of GPUs given by --cc: tesla, nvidia, geforce, ...")
    machine.add_argument("--arch", help="x86_64 (default) or aarch64")
    machine.add_argument("--probe", metavar="FILE", help="JSON of the host probe, - for stdin")
    wanted = parser.add_argument_group("choice")
    wanted.add_argument("--service", default="simple", help="simple, train, devel, ngc, hub")
    wanted.add_argument("--torch", help="PyTorch version")
    wanted.add_argument("--variant", "--cuda", dest="cuda", help="cu132 or 13.2; default: PyPI's")
    wanted.add_argument("--python", help="Python version")
    wanted.add_argument("--cca", default="auto", help="compute capabilities to compile for")
    wanted.add_argument("--package-manager", default="pip", help="pip or conda")
    wanted.add_argument("--build", default="wheel", help="PyTorch from wheel or source")
    wanted.add_argument("--distro", help="of an nvidia/cuda image, such as ubuntu24.04")
    wanted.add_argument("--flavour", help="of an image: base, runtime, devel")
    wanted.add_argument("--ngc", help="release of nvcr.io/nvidia/pytorch, such as 25.10")
    wanted.add_argument("--image", help="an image with its tag, in place of the options above")
    wanted.add_argument("--cpu", action="store_true", help="no GPU is wanted")
    parser.add_argument("--list", action="store_true", help="list what works, best first")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser


def _facts(file: str) -> object:
    """The JSON of the host probe, from a file or, for "-", from standard input."""
    try:
        return json.loads(sys.stdin.read() if file == "-" else Path(file).read_text("utf-8"))
    except OSError as error:
        raise BadInputError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also bytes that are no UTF-8
        raise BadInputError(f"{file} is not the JSON of the host probe") from error


def _machine(options: argparse.Namespace) -> Host | None:
    if options.probe:
        return from_probe(_facts(options.probe))
    named = [gpu(name) for name in options.gpu]
    if options.cc and len(options.cc) == len(options.gpu):
        pairs = zip(options.gpu, options.cc, strict=True)
        named = [gpu(name, cc, options.brand) for name, cc in pairs]
    else:
        named += [gpu("", cc, options.brand) for cc in options.cc]
    if options.cpu and not named:
        return None
    return host(options.driver, named, options.arch)


def _wanted(options: argparse.Namespace) -> Choice:
    if options.image:
        service = options.service if options.service in {"train", "devel"} else None
        return from_image(options.image, service, options.cca)
    return choice(
        service="ngc" if options.ngc else options.service,
        accelerator="cpu" if options.cpu else "cuda",
        torch=options.torch,
        cuda=options.cuda,
        python=options.python,
        cca=options.cca,
        package_manager=options.package_manager,
        pytorch_build=options.build,
        distro=options.distro,
        flavour=options.flavour,
        ngc_release=options.ngc,
    )


def _as_json(told: Advice) -> dict[str, Any]:
    """The machine-readable answer; keys are stable."""
    change, judgement = told.nearest, told.judgement
    return {
        "verdict": told.verdict,
        "layer": told.layer,
        "why": judgement.why if judgement else told.line,
        "gpu": judgement.gpu if judgement else "",
        "nearest": None
        if change is None
        else {
            "text": change.text,
            "verdict": change.judgement.verdict.value,
            "driver": change.host.driver,
            "torch": change.choice.torch,
            "cuda": change.choice.cuda,
            "python": change.choice.python,
            "ngc_release": change.choice.ngc_release,
            "cca": change.choice.cca,
            "distro": change.choice.distro,
            "image": image_of(change.choice) or None,
            "command": change.command,
        },
    }


def _option_json(option: Option) -> dict[str, Any]:
    fields = ("service", "torch", "cuda", "python", "ngc_release")
    return {
        **{field: getattr(option.choice, field) for field in fields},
        "verdict": option.judgement.verdict.value,
    }


def _print_list(machine: Host, wanted: Choice, *, as_json: bool) -> int:
    if machine.driver is None and wanted.accelerator == "cuda":
        raise BadInputError("to list what works the driver is needed: give it with --driver")
    options = working(machine, wanted)
    if as_json:
        print(json.dumps([_option_json(option) for option in options], indent=2))
    else:
        print("\n".join(option.label for option in options) or "Nothing in the table works here.")
    return 0 if options else EXIT[Verdict.FAILS]


def _run(options: argparse.Namespace) -> int:
    machine, wanted = _machine(options), _wanted(options)
    if options.list and machine is not None:
        return _print_list(machine, wanted, as_json=options.json)
    told = advice(machine, wanted)
    if options.json:
        print(json.dumps(_as_json(told), indent=2))
    else:
        print(*filter(None, [told.line, told.why, told.command]), sep="\n")
    return EXIT.get(Verdict(told.verdict), 0)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; see the module's text for its exit status."""
    try:
        return _run(_parser().parse_args(arguments))
    except BadInputError as error:
        print(f"hooks.match: {error}", file=sys.stderr)
        return REFUSED
