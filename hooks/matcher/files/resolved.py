"""What a project's files come to, and what pip's and conda's part of the answer share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..choices import Choice, choice
from .versions import exact, fits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...compat.rows import TorchRelease
    from ...compat.table import Table
    from ..hosts import Host
    from .found import Asked, Project

FAMILY = ("torch", "torchvision", "torchaudio")


class Resolved(NamedTuple):
    """What a project comes to.

    Attributes:
        choice: what to judge, in the image that it is built on; None where nothing can be.
        where: the line that decides.
        takes: a sentence that says what is taken, and why.
        impossible: why nothing can be installed, "" where something can.
        unknown: why it cannot be judged, "" where it can.
        notes: further sentences.
        asked: the requirement that decides.
        beside: torchvision and torchaudio, where they are asked for.
        packages: every package by its name, with its version where it is pinned.
    """

    choice: Choice | None
    where: str
    takes: str
    impossible: str = ""
    unknown: str = ""
    notes: tuple[str, ...] = ()
    asked: Asked | None = None
    beside: tuple[str, ...] = ()
    packages: tuple[tuple[str, str | None], ...] = ()


class Pythons(NamedTuple):
    """The Pythons that a project allows; `one` is set where it is a single one."""

    allowed: tuple[str, ...]
    one: str | None
    marker: str


class Here(NamedTuple):
    """What decides on a host: the project, the lines whose markers hold, its Pythons."""

    project: Project
    asked: Sequence[Asked]
    pythons: Pythons
    machine: Host | None
    table: Table

    @property
    def arch(self) -> str:
        """Of the machine."""
        return self.machine.arch if self.machine else "x86_64"

    @property
    def taker(self) -> str:
        """Who resolves the files."""
        return {"uv": "uv", "poetry": "poetry"}.get(self.project.kind, "pip")


def runs(release: TorchRelease, pythons: Pythons) -> bool:
    """Whether a release has wheels for one of the Pythons that a project allows."""
    return any(python in release.python for python in pythons.allowed)


def variant_cuda(variant: str) -> str:
    """The CUDA line of a variant: "12.1" for cu121."""
    return f"{variant[2:-1]}.{variant[-1]}"


def fitting(release: TorchRelease, limit: Asked) -> bool:
    """Whether a release of PyTorch fits a line about it, torchvision or torchaudio."""
    version = {"torchvision": release.torchvision, "torchaudio": release.torchaudio}.get(
        limit.name, release.version
    )
    if version is None or (limit.name == "torchaudio" and not exact(limit.spec)):
        return True
    return fits(limit.spec, version, conda=limit.conda)


def built_as(release: TorchRelease, variant: str | None, arch: str) -> str:
    """How a sentence names a build of a release."""
    if variant == "cpu":
        return "for the CPU"
    if variant is None:
        cuda = release.pypi_on(arch)
        if cuda == "cpu":
            return f"from PyPI, which has it for {arch} without CUDA"
        return f"from PyPI (CUDA {cuda})" if cuda else "from PyPI"
    return f"with CUDA {variant_cuda(variant)}"


def wheel(version: str, variant: str | None, pythons: Pythons) -> Choice:
    """The wheel of a release to judge: None as the variant is PyPI's."""
    return choice(
        accelerator="cpu" if variant == "cpu" else "cuda",
        torch=version,
        cuda=variant if variant and variant != "cpu" else None,
        python=pythons.one,
        project=False,
    )
