"""The words of the matcher: verdicts, layers, and what is said about a host and a choice."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Verdict(str, Enum):
    """What the matcher says; the order of the members is from best to worst."""

    WORKS = "works"
    WORKS_MINOR_COMPAT = "works_minor_compat"
    WORKS_FORWARD_COMPAT = "works_forward_compat"
    UNKNOWN = "unknown"
    FAILS = "fails"

    @property
    def works(self) -> bool:
        """Whether programs run."""
        return self.value.startswith("works")

    @property
    def rank(self) -> int:
        """0 for the best verdict."""
        return list(Verdict).index(self)


# Exit statuses of the command; 0 for what works.
EXIT = {Verdict.FAILS: 1, Verdict.UNKNOWN: 3}


class Layer(str, Enum):
    """Where it is decided; the order of the members is that in which a user meets them."""

    IMAGE_TAG = "image tag"
    SOLVER = "solver"
    PYTHON = "Python"
    PLATFORM = "platform"
    GPU_NO_LONGER_DRIVEN = "GPU no longer driven"
    NVCC_TARGET = "nvcc target"
    DRIVER = "driver"
    IMAGE_START_CHECK = "image start check"
    KERNEL_IMAGE = "kernel image"
    JIT = "JIT compiler"


# What each layer asks, for the documentation.
ASKS = {
    Layer.IMAGE_TAG: "is there such an image?",
    Layer.SOLVER: "is there such a wheel or build?",
    Layer.PYTHON: "are there wheels for this Python?",
    Layer.PLATFORM: "is the image made for this processor?",
    Layer.GPU_NO_LONGER_DRIVEN: "does this driver still drive the GPU?",
    Layer.NVCC_TARGET: "can this nvcc compile for the GPU?",
    Layer.DRIVER: "does the driver drive the GPU, and does the libcuda in use run this CUDA?",
    Layer.IMAGE_START_CHECK: "does the image start on this driver (`NVIDIA_REQUIRE_CUDA`)?",
    Layer.KERNEL_IMAGE: "is there code for the GPU, and can the driver use it?",
    Layer.JIT: "can `torch.compile` compile here?",
}


class Finding(NamedTuple):
    """What one layer says, about one GPU or (gpu is "") about the choice itself."""

    verdict: Verdict
    layer: Layer
    why: str
    gpu: str = ""


class Judgement(NamedTuple):
    """The verdict for a host and a choice.

    `layer` is None where nothing had to be decided (`works`). `gpu` names the GPU that decides, if
    one does. `findings` holds every layer of every GPU, in the order in which they were asked.
    `notes` says what else the user meets; none of them changes the verdict.
    """

    verdict: Verdict
    layer: Layer | None
    why: str
    gpu: str
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...] = ()
