"""The options of `hearth match`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from . import files, inspect_image
from .hosts import ACCESS, BadInputError

if TYPE_CHECKING:
    from types import ModuleType

# What answers in place of a choice: modules with options(parser) and run(options), which returns
# the exit status, or None where none of its options was given.
PARTS: tuple[ModuleType, ...] = (files, inspect_image)


class Parser(argparse.ArgumentParser):
    """One that refuses in one sentence, without the list of all options."""

    def error(self, message: str) -> NoReturn:
        """Refuse what was typed. Raises BadInputError."""
        raise BadInputError(f"{message}; --help lists the options")


def parser_of(program: str) -> argparse.ArgumentParser:
    """The parser of the command, which calls itself `program`."""
    parser = Parser(
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
