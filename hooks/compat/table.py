"""The compatibility table: loads it for the matcher, and packs it.

People edit the YAML files in `hooks/compat/`. The matcher reads `hooks/compat/table.json`, the same
rows without sources and notes: parsing 100 kB of YAML takes a quarter of a second where PyYAML has
no C loader, the JSON file one or two milliseconds, and it needs nothing but the standard library.

    python -m hooks.compat.table            write table.json
    python -m hooks.compat.table --check    say whether it is fresh (exit status 1 if not)
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).resolve().parent
PACKED = FOLDER / "table.json"
NAMES = ("cuda", "torch", "gpus", "drivers", "ngc", "conda", "toolkit", "jit")
ONLY_FOR_PEOPLE = ("source", "date", "note", "notes", "first_merged", "confidence", "chips")


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


class Table(NamedTuple):
    """All tables, typed. Mappings keep the order of the YAML files: oldest first.

    `read` maps a table's name to the day (ISO 8601) on which it was last compared with its sources.
    """

    read: dict[str, str]

    families: dict[str, str]
    renamed: dict[str, str]
    never_released: frozenset[str]
    lines: dict[str, CudaLine]
    start_checks: dict[str, StartCheck]
    start_override: str
    torch: dict[str, TorchRelease]
    hub_platforms: list[str] | None  # of pytorch/pytorch images; None: not known
    cudnn: Cudnn
    products: dict[str, Product]
    known_cc: frozenset[str]  # of a product, or a target of some nvcc
    jetson_cc: frozenset[str]  # no binary code is shared with other GPUs
    branches: dict[int, str | None]
    end_of_life: dict[int, str | None]  # month of a branch, such as "2028-06"; None: not known
    production: list[int]
    recommended: list[int]
    architectures: list[Architecture]
    product_drivers: dict[str, str]  # products whose first driver is newer than the architecture's
    ngc: dict[str, NgcRelease]
    conda: dict[str, list[str]]
    conda_complete: frozenset[str]  # releases whose list of builds is whole
    conda_oldest: dict[str, str]  # by release: there is no build of an older CUDA line
    conda_arch: dict[str, dict[str, list[str] | None]]
    supplies: list[Supplies]  # oldest first
    jit: Jit


def _torch(row: dict[str, Any]) -> TorchRelease:
    variants = {
        v["variant"]: Variant(
            name=v["variant"],
            cuda=v["cuda"],
            published=v["status"] in {"published", "reported"},
            reported=v["status"] == "reported",
            cudnn=v["cudnn"],
            arch={"x86_64": v["x86_64"], "aarch64": v["aarch64"]},
        )
        for v in row["variants"]
    }
    rest = {key: value for key, value in row.items() if key not in {"torch", "variants"}}
    return TorchRelease(version=row["torch"], variants=variants, **rest)


def _line(row: dict[str, Any]) -> CudaLine:
    nvcc = row["nvcc"] or {"targets": None, "special": []}
    return CudaLine(
        line=row["line"],
        patches=row["patches"],
        toolkit_driver=row["toolkit_driver"],
        targets=nvcc["targets"],
        special=nvcc["special"],
        image=CudaImage(**row["image"]) if row["image"] else None,
    )


def _start_checks(data: dict[str, Any]) -> dict[str, StartCheck]:
    groups = {name: frozenset(brands) for name, brands in data["brand_groups"].items()}
    return {
        row["line"]: StartCheck(
            complete=row["complete"],
            alternatives=[
                (groups[a["brands"]], frozenset(a["branches"])) for a in row["alternatives"]
            ],
        )
        for row in data["lines"]
    }


def _products(data: dict[str, Any]) -> dict[str, Product]:
    """Rows with one product first, then the groups of products that share all but their name."""
    products = {
        row["name"]: Product(
            row["name"],
            row["cc"],
            row["kind"],
            row.get("host"),
            row.get("aliases", ()),
            row["arch"],
        )
        for row in data["gpus"]
    }
    for group in data["groups"]:
        cc, kind, arch = group["cc"], group["kind"], group["arch"]
        for name in group["names"]:
            products[name] = Product(name, cc, kind, None, (), arch)
    return products


def _architecture(row: dict[str, Any]) -> Architecture:
    last = row["last_branch"]
    return Architecture(
        name=row["arch"],
        cc=row["cc"],
        first_driver=row["first_driver"],
        first_toolkit=row["first_toolkit"],
        last_branch=None if last is None else int(last),
        last_toolkit=row["last_toolkit"],
        modules=row["modules"],
    )


def _kinds(drivers: dict[str, Any], *kinds: str) -> list[int]:
    """Driver branches of one of `kinds` that NVIDIA still supported when the table was read."""
    month = drivers["read"][:7]
    return [
        int(row["branch"])
        for row in drivers["branches"]
        if row.get("kind") in kinds and (row["eol"] is None or row["eol"] >= month)
    ]


def _jit(data: dict[str, Any]) -> Jit:
    return Jit(
        torch_compile=[TorchCompile(**row) for row in data["torch_compile"]],
        triton={
            row["triton"]: Triton(
                version=row["triton"],
                platforms=row["platforms"],
                accelerated=row["accelerated"],
                float16_products=row["float16_products"],
                ptxas=[
                    Ptxas(tool["from"], tool["version"], tool["variable"], tool["newest"])
                    for tool in row["ptxas"]
                ],
            )
            for row in data["triton"]
        },
        documented=data["triton_documented"]["min_cc"],
        gpus=[KernelGpus(**row) for row in data["gpus"]],
        wheels=[KernelWheels(**row) for row in data["wheels"]],
    )


def build(data: dict[str, Any]) -> Table:
    """Type the packed tables.

    Args:
        data: what `pack` returns, or table.json.
    """
    cuda, drivers = data["cuda"], data["drivers"]
    lines = {row["line"]: _line(row) for row in cuda["lines"]}
    return Table(
        read={name: tables["read"] for name, tables in data.items()},
        families={row["major"]: row["min_driver"] for row in cuda["families"]},
        renamed={row["old"]: row["new"] for row in cuda["renamed"]},
        never_released=frozenset(row["line"] for row in cuda["never_released"]),
        lines=lines,
        start_checks=_start_checks(cuda["start_check"]),
        start_override=cuda["start_check"]["override"],
        torch={row["torch"]: _torch(row) for row in data["torch"]["releases"]},
        hub_platforms=data["torch"]["hub"]["platforms"],
        cudnn=Cudnn(**data["torch"]["cudnn"]),
        products=_products(data["gpus"]),
        known_cc=frozenset(row["cc"] for row in data["gpus"]["gpus"]).union(
            *(line.targets or () for line in lines.values())
        ),
        jetson_cc=frozenset(row["cc"] for row in data["gpus"]["gpus"] if row["kind"] == "jetson"),
        branches={int(row["branch"]): row["cuda"] for row in drivers["branches"]},
        end_of_life={int(row["branch"]): row["eol"] for row in drivers["branches"]},
        production=_kinds(drivers, "Production"),
        recommended=_kinds(drivers, "LTS", "Production"),
        architectures=[_architecture(row) for row in drivers["architectures"]],
        product_drivers={row["name"]: row["first_driver"] for row in drivers["products"]},
        ngc={
            row["release"]: NgcRelease(
                **{key: row[key] for key in NgcRelease._fields if key in row}
            )
            for row in data["ngc"]["releases"]
        },
        conda={row["torch"]: row["cuda"] for row in data["conda"]["releases"]},
        conda_complete=frozenset(
            row["torch"] for row in data["conda"]["releases"] if row["complete"]
        ),
        conda_oldest={
            row["torch"]: row["oldest"] for row in data["conda"]["releases"] if "oldest" in row
        },
        conda_arch={
            row["line"]: {"x86_64": row["x86_64"], "aarch64": row["aarch64"]}
            for row in data["conda"]["arch"]
        },
        supplies=[Supplies(**row) for row in data["toolkit"]["supplies"]],
        jit=_jit(data["jit"]),
    )


@lru_cache(maxsize=1)
def load() -> Table:
    """Read table.json; the same object on every call."""
    return build(json.loads(PACKED.read_text(encoding="utf-8")))


def read_yaml(name: str, folder: Path = FOLDER) -> Any:
    """Parse one of the YAML tables, with PyYAML's C loader where there is one."""
    import yaml  # noqa: PLC0415  (only people who edit the tables need it)

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((folder / f"{name}.yml").read_text(encoding="utf-8"), Loader=loader)  # noqa: S506


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _strip(v) for k, v in value.items() if k not in ONLY_FOR_PEOPLE}
    return [_strip(item) for item in value] if isinstance(value, list) else value


def pack(folder: Path = FOLDER) -> dict[str, Any]:
    """Read the YAML tables and leave out what only people read."""
    return {name: _strip(read_yaml(name, folder)) for name in NAMES}


def packed_text(folder: Path = FOLDER) -> str:
    """The text that table.json must have: one row a line, so that a diff shows the rows."""
    parts = []
    for name, tables in pack(folder).items():
        keys = []
        for key, rows in tables.items():
            if isinstance(rows, list):
                body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
                keys.append(f"{json.dumps(key)}:[\n{body}]")
            else:
                keys.append(f"{json.dumps(key)}:{json.dumps(rows, separators=(',', ':'))}")
        parts.append(f"{json.dumps(name)}:{{\n" + ",\n".join(keys) + "}")
    return "{" + ",\n".join(parts) + "}\n"


def main(arguments: list[str]) -> int:
    """Write table.json, or with --check compare it with the YAML tables."""
    from .made_files import write_or_check  # noqa: PLC0415  (who loads the table writes no file)

    return write_or_check("hooks.compat.table", {PACKED: packed_text()}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
