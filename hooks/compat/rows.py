"""The rows of the compatibility tables, typed; and versions as numbers that compare rightly.

`table.py` makes them from table.json.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


@lru_cache(maxsize=4096)
def numbers(version: str) -> tuple[int, ...]:
    """Turn a dotted version such as "12.8" or "550.54.15" into integers that compare rightly.

    Raises:
        ValueError: a part is no number.
    """
    return tuple(int(part) for part in version.split("."))


class Variant(NamedTuple):
    """One CUDA build of a PyTorch wheel.

    `arch` maps a host architecture to its compiled list: [] = there is no wheel for it, None = not
    known.
    """

    name: str
    cuda: str
    published: bool
    reported: bool  # published, but only one source says so
    cudnn: str | None
    arch: dict[str, list[str] | None]

    def has_wheel(self, arch: str) -> bool | None:
        """Whether there is a wheel for a host architecture; None = not known."""
        listed = self.arch.get(arch)
        if listed is not None:
            return bool(listed)
        # The release lists are those of x86_64, so what they name is there.
        return True if arch == "x86_64" and self.published else None


class Cudnn(NamedTuple):
    """The oldest compute capability that cuDNN supports from a version on."""

    since: str
    min_cc: str


class TorchRelease(NamedTuple):
    """A PyTorch release on PyPI and the PyTorch wheel indexes.

    `complete`: its variants are all there are. `pypi` says what plain PyPI carries: `variant` for
    x86_64, `aarch64` a variant, "cpu", or None = not known.
    """

    version: str
    released: str | None
    offered: bool
    torchvision: str | None  # None = not known; an offered release has both
    torchaudio: str | None
    python: list[str]
    python_experimental: list[str]
    complete: bool
    pypi: dict[str, str | None]
    variants: dict[str, Variant]
    hub_tags: list[str]

    def by_cuda(self, line: str) -> Variant | None:
        """The wheel variant of a CUDA line such as "12.8", if this release has one."""
        return next((v for v in self.variants.values() if v.cuda == line), None)

    def has_wheel(self, line: str, arch: str) -> bool | None:
        """Whether there is a wheel of a CUDA line for a host architecture; None = not known."""
        variant = self.by_cuda(line)
        if variant is None:
            return False if self.complete else None
        return variant.has_wheel(arch)

    @property
    def published(self) -> list[str]:
        """CUDA lines with a published wheel, oldest first."""
        return sorted((v.cuda for v in self.variants.values() if v.published), key=numbers)

    @property
    def pypi_cuda(self) -> str:
        """CUDA line of the wheel that plain PyPI carries for x86_64."""
        return self.variants[str(self.pypi["variant"])].cuda

    def pypi_on(self, arch: str) -> str | None:
        """CUDA line of the wheel that plain PyPI carries, or "cpu"; None = not known."""
        name = self.pypi["variant"] if arch == "x86_64" else self.pypi[arch]
        variant = self.variants.get(name or "")
        return variant.cuda if variant else name


class CudaImage(NamedTuple):
    """The nvidia/cuda images of a CUDA line: newest patch with cuDNN, and how tags name it.

    `platforms`: the host architectures they are made for; None = not known. `offered`: whether a
    project is made of them; those of old lines are only judged.
    """

    patch: str
    cudnn_major: str
    cudnn_word: str
    complete: bool
    distros: list[str]
    platforms: list[str] | None
    offered: bool = True


class CudaLine(NamedTuple):
    """A CUDA toolkit line such as 12.8; `targets` is None where its compiler is not known."""

    line: str
    patches: list[str]
    toolkit_driver: dict[str, str | None]
    targets: list[str] | None
    special: list[str]
    image: CudaImage | None

    @property
    def offered(self) -> bool:
        """Whether a project can be made of its nvidia/cuda images."""
        return bool(self.image and self.image.offered)


class StartCheck(NamedTuple):
    """Who may start an nvidia/cuda image although the driver brings an older CUDA."""

    complete: bool
    alternatives: list[tuple[frozenset[str], frozenset[str]]]  # brands, driver branches

    def brands(self) -> frozenset[str]:
        """Every brand that any alternative names."""
        return frozenset().union(*(brands for brands, _ in self.alternatives))

    def accepts(self, brands: frozenset[str], branch: str) -> bool:
        """Whether a GPU that reports one of `brands` on driver `branch` is an exception."""
        return any(brands & named and branch in branches for named, branches in self.alternatives)


class Architecture(NamedTuple):
    """A GPU architecture, from the first driver and toolkit that know it to the last.

    An architecture may have several rows, with other compute capabilities. `first_driver` and
    `first_toolkit` are None where they are not known, `last_branch` and `last_toolkit` where the
    newest still has it. `modules` says which of NVIDIA's kernel modules drives it: "proprietary",
    "open", "either", or None = not known.
    """

    name: str
    cc: list[str]
    first_driver: str | None
    first_toolkit: str | None
    last_branch: int | None
    last_toolkit: str | None
    modules: str | None


class Product(NamedTuple):
    """A GPU by the name that NVML reports; `host` is set where the product brings its own CPU."""

    name: str
    cc: str
    kind: str
    host: str | None
    aliases: Sequence[str]
    arch: str


class NgcRelease(NamedTuple):
    """An nvcr.io/nvidia/pytorch release; None = not known."""

    release: str
    torch: str | None
    cuda: str | None
    python: str | None
    ubuntu: str | None
    arch: dict[str, list[str]]
    min_cc: str | None = None
    refused_cc: str | None = None
    min_driver: str | None = None
    data_center_drivers: Sequence[str] = ()
    platforms: Sequence[str] | None = None

    @property
    def line(self) -> str | None:
        """CUDA line of the image, "12.8" for "12.8.0.038"."""
        return None if self.cuda is None else ".".join(self.cuda.split(".")[:2])


class CondaArch(NamedTuple):
    """The compiled lists of conda-forge's builds of a CUDA line, by host architecture.

    They are those of PyTorch `since` and newer, of each one where it is None, up to the next row of
    the line. A list is None where it is not known.
    """

    line: str
    since: str | None
    arch: dict[str, list[str] | None]


class Supplies(NamedTuple):
    """Who supplies libcuda, image or driver, from a release of NVIDIA Container Toolkit on.

    One field for each way in which a container gets its GPUs; `checks` names those that hold an
    image to its NVIDIA_REQUIRE_CUDA.
    """

    since: str
    runtime: str
    hook: str
    cdi: str
    checks: list[str]


class TorchCompile(NamedTuple):
    """What torch.compile accepts, in the PyTorch releases from `first` to `last`.

    `python` is the newest Python. `free_threaded`: whether a Python without GIL is accepted; None =
    not known. GPUs older than compute capability `min_cc` are refused.
    """

    first: str
    last: str
    python: str
    free_threaded: bool | None
    min_cc: str


class Ptxas(NamedTuple):
    """A compiler in a Triton wheel, for GPUs from compute capability `start` on (None: all).

    `variable` is the environment variable that names another one, of a CUDA major up to `newest`
    (None: each one that was there then). Where it is None, no other one helps.
    """

    start: str | None
    version: str
    variable: str | None
    newest: str | None

    @property
    def line(self) -> str:
        """Its CUDA line, "12.8" for "12.8.93"."""
        return self.version.rpartition(".")[0]


class Triton(NamedTuple):
    """A Triton release on PyPI.

    From compute capability `accelerated` on it compiles for targets such as sm_121a, and products
    of float16 matrices from `float16_products` on; None = not known.
    """

    version: str
    platforms: list[str]
    accelerated: str | None
    float16_products: str | None
    ptxas: list[Ptxas]

    def compiler(self, cc: str) -> Ptxas:
        """The compiler that it takes for a GPU of a compute capability."""
        return [tool for tool in self.ptxas if numbers(tool.start or "0") <= numbers(cc)][-1]


class KernelGpus(NamedTuple):
    """The GPUs of a package with kernels of its own; None = not known.

    It refuses what is older than `min_cc`. `documented` lists compute capabilities, each one for
    all of its major from there on. `major`: of the package's version; None = each one.
    """

    package: str
    major: str | None
    min_cc: str | None
    documented: list[str] | None


class KernelWheels(NamedTuple):
    """The wheels of a package with kernels of its own.

    `torch` has releases (2.8.0), series (2.8) or ">=2.10"; `python` is None where each one fits;
    `cuda` has majors. `compiles`: where no wheel fits, pip compiles the package; else it refuses.
    From compute capability `broken_from` on it takes kernels that do not run there.
    """

    package: str
    version: str
    torch: list[str]
    python: list[str] | None
    cuda: list[str]
    platforms: list[str]
    targets: list[str]
    compiles: bool
    broken_from: str | None = None

    def fits(self, torch: str) -> bool:
        """Whether there is a wheel for a PyTorch release."""
        return any(
            numbers(torch) >= numbers(listed[2:])
            if listed.startswith(">=")
            else f"{torch}.".startswith(f"{listed}.")
            for listed in self.torch
        )


class Jit(NamedTuple):
    """What is compiled while a program runs, and packages with kernels of their own.

    Triton documents GPUs from compute capability `documented` on.
    """

    torch_compile: list[TorchCompile]
    triton: dict[str, Triton]
    documented: str
    gpus: list[KernelGpus]
    wheels: list[KernelWheels]
