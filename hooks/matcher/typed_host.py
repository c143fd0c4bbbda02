"""The host as it is typed: names of GPUs as people write them, a description, or this machine."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from .hosts import BRANDS, BadInputError, Gpu, Host, from_probe, gpu, host
from .json_file import read_json
from .names import find, is_of_another_maker, is_virtual
from .this_machine import this_machine

if TYPE_CHECKING:
    import argparse

_COUNT = re.compile(r"\s*([0-9]{1,3})\s*[xX]\s*")  # 8x before a name


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
        return from_probe(read_json(options.probe, "the JSON of the host probe"))
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
        found = [_gpu_of(name, cc, options.brand, ask=ask) for name, cc in pairs]
    else:
        typed = split_words(options.gpus)
        for name in options.gpu:
            count, rest = _count_of(name)
            typed += [rest] * count
        found = [_gpu_of(name, None, None, ask=ask) for name in typed]
    return host(options.driver, found, options.arch)


def _gpu_of(name: str, cc: str | None, brand: str | None, *, ask: bool) -> Gpu:
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


def split_words(words: list[str]) -> list[str]:
    """Names of GPUs as `_joined` reads them, each as often as the number before it says."""
    if len(words) > 1 and words[0].isdecimal() and words[1] in {"x", "X"}:
        words = [f"{words[0]}x", *words[2:]]
    at = next((at for at in range(1, len(words)) if _begins_count(words, at)), len(words))
    if not words:
        return []
    count, first = _count_of(words[0])
    names = _joined([word for word in (first, *words[1:at]) if word])
    return [*names[:1] * count, *names[1:], *split_words(words[at:])]


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


def why_unknown(name: str) -> str:
    """Why a name was not found, and what to name in its place."""
    if "mig" in re.findall(r"[a-z]+", name.lower()):
        return "is a part of a GPU: name that too, as in `a100 80gb MIG 1g.10gb`"
    if is_of_another_maker(name):
        return (
            "is not an NVIDIA GPU: these tables are for CUDA only, give --cpu for PyTorch without"
        )
    return (
        "is not a GPU in the table: name it as nvidia-smi -L does, or\ngive its compute"
        " capability, such as --cc 8.9"
    )
