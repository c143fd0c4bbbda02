"""`hearth match --requirements FILE`: reads the file, judges it, and says what to write in it."""

from __future__ import annotations

import json
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...compat.table import load
from .. import packages
from ..hosts import BadInputError
from ..remedies import WHEELS, drivers, image_name
from ..search import Advice, advice
from ..stacks import Decided
from ..stacks import resolve as stack_of
from ..this_machine import place
from ..typed_host import machine_of
from ..verdicts import EXIT, Layer, Verdict
from .parse import parse
from .resolve import resolve
from .resolved import Resolved
from .text import MOST_BYTES, EmptyFileError, decoded

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ..choices import Choice
    from ..hosts import Host


def read_file(path: Path, name: str) -> str:
    """The text of a file.

    Raises:
        BadInputError: it cannot be read, or is not a text; one sentence.
    """
    try:
        # A FIFO or a device would be waited for, or never end.
        content = path.open("rb").read(MOST_BYTES + 1) if path.is_file() else None
        missing = content is None and not path.exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is not one of a file"
        raise BadInputError(f"{name} cannot be read: {reason}") from None
    if content is None:
        reason = "there is no such file" if missing else "it is not a plain file"
        if path.is_dir():
            reason = "it is a folder; name a file in it, such as requirements.txt"
        raise BadInputError(f"{name} cannot be read: {reason}")
    return decoded(content, name)


class Told(NamedTuple):
    """What is said about a project: `judged` is None where it came to nothing to judge."""

    found: Resolved
    verdict: str
    layer: str | None
    judged: Advice | None
    why: str
    remedies: tuple[str, ...]
    notes: tuple[str, ...] = ()


def judge_file(file: str, machine: Host | None) -> Told:
    """Judge a project on a host.

    Args:
        file: its path.
        machine: None where no GPU was seen.

    Raises:
        BadInputError: the file is not understood; one sentence.
    """
    path = Path(file)
    text = read_file(path, path.name or file)

    def open_file(name: str) -> str:
        try:
            return read_file(path.parent / name, name)
        except EmptyFileError:
            return ""

    try:
        found = resolve(parse(path.name, text, open_file), machine)
    except RecursionError:
        raise BadInputError(f"{path.name} is nested too deeply") from None
    return _told(found, machine, path.name)


def _told(found: Resolved, machine: Host | None, name: str) -> Told:
    if found.impossible:
        return Told(found, "fails", Layer.SOLVER.value, None, found.impossible, ())
    if found.choice is None:
        return Told(found, "unknown", None, None, found.unknown, ())
    told = advice(machine, found.choice)
    return Told(
        found,
        told.verdict,
        told.layer,
        told,
        told.why,
        tuple(_remedies(found, told, machine, name)),
        _of_packages(found, machine),
    )


def _of_packages(found: Resolved, machine: Host | None) -> tuple[str, ...]:
    """What is wrong with packages that bring CUDA kernels of their own, such as flash-attn."""
    if found.choice is None or machine is None:
        return ()
    try:
        stack = stack_of(found.choice, load(), machine.arch)
    except Decided:
        return ()
    said: list[str] = [
        finding.why
        for gpu in machine.gpus
        for finding in packages.package_notes(
            gpu,
            dict(found.packages),
            stack,
            load(),
            choice=found.choice,
            arch=machine.arch,
            machine=machine,
        )
    ]
    return tuple(dict.fromkeys(said))


def _remedies(found: Resolved, told: Advice, machine: Host | None, name: str) -> Iterator[str]:
    """What to write in the file instead, and which driver to install, where that has to change."""
    change, old = told.nearest, found.choice
    if change is None or old is None or machine is None:
        return
    if change.host.driver and change.host.driver != machine.driver:
        yield from drivers(machine, int(change.host.driver.split(".")[0]), place())
    new = change.choice
    image = image_name(new)
    if image and image != image_name(old):
        yield f"Write in {name}: FROM {image}"
    wheel, had = (one.torch and (one.torch, one.wheel_cuda or one.cuda) for one in (new, old))
    if not wheel or wheel == had or new.service in {"hub", "ngc"}:
        return
    cuda = new.wheel_cuda or new.cuda
    if new.torch and new.package_manager != "conda":
        for one in packages.replaced(dict(found.packages), new.torch, cuda):
            told_of = f"{one.name}=={one.version} requires PyTorch {one.requires}"
            yield (
                f"Change it too: {told_of}; for {new.torch} it is {one.name}=={one.new}"
                if one.new
                else f"Change it too: {told_of}, and no version for {new.torch} is known"
            )
    if new.package_manager == "conda":
        yield f"Write in {name}: pytorch={new.torch} and cuda-version={cuda}"
    elif cuda is None:
        yield f"Write in {name}: torch=={new.torch}"
    else:
        yield _wheel_line(found, new, name)


def _wheel_line(found: Resolved, new: Choice, name: str) -> str:
    cuda = new.wheel_cuda or new.cuda
    variant = f"cu{(cuda or '').replace('.', '')}"
    index, base = f"{WHEELS}/{variant}", posixpath.basename(name)
    family = [f"torch=={new.torch}", *_beside(found, new)]
    kernels = [
        f"{one.name}=={one.new}"
        for one in packages.replaced(dict(found.packages), new.torch or "", cuda)
        if one.new
    ]
    pair = " ".join([*family, *kernels])
    local_pair = " ".join([*(f"{one}+{variant}" for one in family), *kernels])
    if base == "uv.lock" or (base.endswith(".toml") and not _is_poetry(found)):
        return f"Run: uv add {pair} --index pytorch-{variant}={index}"
    if base == "poetry.lock" or base.endswith(".toml"):
        return (
            f"Run: poetry source add --priority explicit pytorch-{variant} {index} &&"
            f" poetry add --source pytorch-{variant} {local_pair}"
        )
    if found.asked and found.asked.conda:
        return (
            f"Install it with pip, in the pip section of {name}: --extra-index-url {index} and"
            f" {local_pair}"
        )
    by_tool = {
        # setup.cfg cannot name an index.
        "setup.cfg": f"Write in {name}: {pair}; then run: pip install {pair} --index-url {index}",
        "Pipfile": f"Run: pipenv install {local_pair} --index {index}",
        "pdm.lock": f'Write in pyproject.toml: [[tool.pdm.source]] with name = "pytorch-{variant}"'
        f' and url = "{index}"; then run: pdm add {local_pair}',
    }
    if "file" in base.lower() and base != "Pipfile":
        return f"Write in {name}: RUN pip install {pair} --index-url {index}"
    plain = f"Write in {name}: --extra-index-url {index} and {local_pair}"
    return by_tool.get(base, plain)


def _is_poetry(found: Resolved) -> bool:
    return found.takes.startswith("poetry")


def _beside(found: Resolved, new: Choice) -> list[str]:
    """What has to change with PyTorch: torchvision and torchaudio, where the files have them."""
    release = load().torch.get(new.torch or "")
    if release is None:
        return []
    versions = {"torchvision": release.torchvision, "torchaudio": release.torchaudio}
    return [f"{name}=={versions[name]}" for name in found.beside]


def _as_json(told: Told, file: str) -> dict[str, Any]:
    """The machine-readable answer; keys are stable."""
    found = told.found
    decides = found.choice
    judgement = told.judged.judgement if told.judged else None
    change = told.judged.nearest if told.judged else None
    return {
        "file": file,
        "line": found.where or None,
        "takes": found.takes or None,
        "notes": [*found.notes, *told.notes],
        "torch": decides.torch if decides else None,
        "cuda": (decides.wheel_cuda or decides.cuda) if decides else None,
        "python": decides.python if decides else None,
        "accelerator": decides.accelerator if decides else None,
        "image": image_name(decides) or None if decides and decides.tag else None,
        "verdict": told.verdict,
        "layer": told.layer,
        "why": judgement.why if judgement else told.why,
        "gpu": judgement.gpu if judgement else "",
        "nearest": change.text if change else None,
        "remedies": list(told.remedies),
    }


def _sentence(text: str) -> str:
    """A note as a sentence; one that begins with a file's name is left as it is."""
    first = text.partition(" ")[0]
    start = text[:1].upper() if first.isalpha() else text[:1]
    return f"{start}{text[1:].rstrip('.')}."


def _said(told: Told) -> list[str]:
    """The lines for people."""
    found = told.found
    head = f"{found.where}: {found.takes}." if found.takes else ""
    if told.judged is None:
        where = f"{found.where}: " if found.where and found.where not in told.why else ""
        lines = [head, f"{told.verdict}: {where}{told.why}."]
    else:
        # What the matcher says beside the verdict, such as of torch.compile.
        lines = [head, told.judged.line, told.why, *told.judged.notes]
    return [
        *filter(None, lines),
        *(_sentence(note) for note in found.notes),
        *(f"{note}." for note in told.notes),
        *told.remedies,
    ]


def report(options: argparse.Namespace) -> int:
    """Judge the file that the options name, and print what is found.

    Returns:
        The exit status.

    Raises:
        BadInputError: the file or the host is not understood.
    """
    told = judge_file(options.requirements, machine_of(options))
    if options.json:
        print(json.dumps(_as_json(told, options.requirements), indent=2))
    else:
        print(*_said(told), sep="\n")
    return EXIT.get(Verdict(told.verdict), 0)
