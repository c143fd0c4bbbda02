"""What the matcher judges: hosts, their GPUs, and lists of compute capabilities.

Everything that a user can mistype is read here, and refused with `BadInputError`: one sentence that
says what is wrong and what to write instead.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..compat.table import Table, load, numbers
from .names import brand, find, is_virtual, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
CCA_FORM = "write auto, or compute capabilities separated by blanks, such as 7.5 8.6+PTX"
BRANDS = ("tesla", "nvidia", "quadro", "quadrortx", "nvidiartx", "geforce", "titan")
CONSUMER_BRANDS = frozenset({"geforce", "geforcertx", "titan", "titanrtx"})

_DRIVER = re.compile(r"[0-9]{3,4}(\.[0-9]+){0,3}")
_CC = re.compile(r"[0-9]{1,2}\.[0-9]")
_TARGET = re.compile(r"([0-9]{1,2}\.[0-9])([af]?)(\+PTX)?")


class BadInputError(ValueError):
    """Input that cannot be judged; its text is one sentence for the user who gave it."""


class Target(NamedTuple):
    """One entry of a list of compute capabilities: 8.6, 8.6+PTX, 9.0a, 12.0f."""

    cc: tuple[int, ...]
    suffix: str
    ptx: bool

    def __str__(self) -> str:
        """Spell it as TORCH_CUDA_ARCH_LIST does."""
        return f"{self.cc[0]}.{self.cc[1]}{self.suffix}{'+PTX' if self.ptx else ''}"


class Gpu(NamedTuple):
    """A GPU; `cc` is its compute capability or None, `kind` a kind of the product table or "".

    `could_be` names the products that an ambiguous name fits; `cc` is None then.
    """

    name: str
    cc: str | None
    kind: str = ""
    brands: frozenset[str] = frozenset()
    host: str | None = None
    could_be: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How a sentence calls it: name and compute capability, as far as known."""
        if self.name and self.cc:
            return f"{self.name} ({self.cc})"
        return self.name or f"a GPU of compute capability {self.cc}"


class Host(NamedTuple):
    """A machine. Make one with `host()` or `from_probe()`, which check what they are given."""

    driver: str | None
    gpus: tuple[Gpu, ...]
    arch: str = "x86_64"
    cuda: str | None = None
    access: str = ""
    toolkit: str = ""
    module: str = ""
    driver_type: str = ""
    secure_boot: bool | None = None


def parse_driver(text: str) -> str:
    """Check a driver version such as "550.54.15"; a branch alone stands for its newest release.

    Raises:
        BadInputError: it does not look like one.
    """
    version = text.strip().removeprefix("R")
    if not _DRIVER.fullmatch(version):
        raise BadInputError(
            f"driver {text!r} is not a driver version: write what nvidia-smi shows as"
            " 'Driver Version' (from 610 on 'KMD Version'), such as 550.54.15"
        )
    return version


def parse_cc(text: str) -> str:
    """Check a compute capability such as "8.9".

    Raises:
        BadInputError: it does not look like one.
    """
    if not _CC.fullmatch(text.strip()):
        raise BadInputError(f"{text!r} is not a compute capability: write one such as 8.9")
    return text.strip()


@lru_cache(maxsize=256)
def targets(entries: tuple[str, ...]) -> tuple[Target, ...]:
    """Read a compiled list of the tables, such as ("8.6", "12.0+PTX")."""
    return tuple(_target(entry) for entry in entries)


def _target(entry: str) -> Target:
    match = _TARGET.fullmatch(entry)
    if not match:
        raise BadInputError(f"cca has {entry!r}, which is not a compute capability: {CCA_FORM}")
    return Target(numbers(match[1]), match[2], bool(match[3]))


def parse_cca(text: str) -> tuple[Target, ...]:
    """Read the answer `cca`: () for auto, else its compute capabilities, sorted, each once.

    Separators are blanks and semicolons, as in TORCH_CUDA_ARCH_LIST; a comma is refused because
    PyTorch refuses it.

    Raises:
        BadInputError: empty, a comma, a range, a compute capability no table knows, or other text.
    """
    if text.strip().lower() == "auto":
        return ()
    entries = re.split(r"[ ;]+", text.strip(" ;"))
    if not entries[0]:
        raise BadInputError(f"cca is empty: {CCA_FORM}")
    if "," in text:
        fixed = " ".join(re.split(r"[ ,;]+", text.strip(" ,;")))
        raise BadInputError(
            f"cca has a comma: separate compute capabilities by blanks, as in '{fixed}'"
        )
    parsed = sorted({_target(entry) for entry in entries})
    known = known_ccs()
    for target in parsed:
        cc = f"{target.cc[0]}.{target.cc[1]}"
        if cc not in known:
            raise BadInputError(
                f"cca has {cc}, a compute capability no CUDA compiler in the table knows:"
                f" choose from {', '.join(known)}"
            )
    return tuple(parsed)


@lru_cache(maxsize=1)
def known_ccs() -> tuple[str, ...]:
    """Every compute capability that some nvcc of the table can target, sorted."""
    found = {cc for line in load().lines.values() for cc in line.targets or ()}
    return tuple(sorted(found, key=numbers))


@lru_cache(maxsize=512)
def gpu(name: str = "", cc: str | None = None, brand_name: str | None = None) -> Gpu:
    """Look a GPU up by the name that NVML or nvidia-smi reports, by compute capability, or both.

    Names are read by `names.find`: case, separators, and the words that people leave out do not
    matter. A compute capability that the host reports wins over the table. A name that fits
    products that differ stays unknown, and `could_be` names them.

    Raises:
        BadInputError: neither given, a name with control characters, a malformed compute
            capability, or an unknown brand.
    """
    if not " ".join(name.split()).isprintable():
        raise BadInputError(f"{name!r} is not a GPU's name: give it as nvidia-smi -L does")
    if not name.strip() and not cc:
        raise BadInputError(
            "no GPU given: name it as nvidia-smi -L does, or give its compute capability"
        )
    if brand_name is not None and brand_name not in BRANDS:
        raise BadInputError(f"{brand_name!r} is not a brand: choose from {', '.join(BRANDS)}")
    table = load()
    product, could_be = find(name)
    found = parse_cc(cc) if cc else (product.cc if product else None)
    found = table.renamed.get(found, found) if found else None
    named = product.name if product and not is_virtual(name) else name
    brands = brand(named, product.kind if product else "")
    if product:
        kind = product.kind
    elif found in table.jetson_cc:
        kind = "jetson"
    else:
        kind = "datacenter" if plain(name).startswith("tesla ") or brand_name == "tesla" else ""
    return Gpu(
        name=" ".join(name.split()),
        cc=found,
        kind=kind,
        brands=frozenset({brand_name}) if brand_name else brands,
        host=product.host if product else ("aarch64" if kind == "jetson" else None),
        could_be=() if cc else could_be,
    )


def host(
    driver: str | None,
    gpus: Sequence[Gpu | str],
    arch: str | None = None,
    cuda: str | None = None,
) -> Host:
    """Describe a machine.

    Args:
        driver: version such as "550.54.15", or None where it is not known.
        gpus: at least one, as `Gpu` or by name.
        arch: x86_64 or aarch64 (amd64 and arm64 are taken too); None = that of the GPUs' product.
        cuda: newest CUDA the driver supports, as nvidia-smi shows it on the host; only looked at
            where the table does not know the driver.

    Raises:
        BadInputError: malformed version, unknown architecture, or no GPU.
    """
    if not gpus:
        raise BadInputError(
            "the list of GPUs is empty: name at least one GPU, or choose accelerator cpu"
        )
    resolved = tuple(gpu(item) if isinstance(item, str) else item for item in gpus)
    own = next((item.host for item in resolved if item.host), None)
    if arch is not None and arch.lower() not in ARCHITECTURES:
        raise BadInputError(f"{arch!r} is not a known architecture: choose x86_64 or aarch64")
    if cuda is not None and not re.fullmatch(r"[0-9]+\.[0-9]+", cuda.strip()):
        raise BadInputError(f"{cuda!r} is not a CUDA version: write one such as 12.8")
    return Host(
        driver=parse_driver(driver) if driver else None,
        gpus=resolved,
        arch=ARCHITECTURES[arch.lower()] if arch else (own or "x86_64"),
        cuda=cuda.strip() if cuda else None,
    )


def _fact(facts: Mapping[str, Any], key: str) -> str | None:
    """A text of the probe, or None; a version may have been written as a number."""
    value = facts.get(key)
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
        value = str(value) if isinstance(value, float) or key == "driver" else f"{value}.0"
    if value is not None and not isinstance(value, str):
        raise BadInputError(f"the probe's facts have {value!r} as {key}: it must be a text")
    return value or None


def from_probe(facts: object) -> Host | None:
    """Read the facts of the host probe: driver, cuda, gpus with name and compute_capability.

    The probe does not say the architecture; it is that of the GPUs' product, else x86_64.

    Returns:
        None where the probe saw no GPU.

    Raises:
        BadInputError: the facts are not of this form, or contain something that is not a version.
    """
    if not isinstance(facts, dict):
        raise BadInputError(
            "the probe's facts are not a JSON object: give what `template.sh env --json` prints"
        )
    gpus = facts.get("gpus") or []
    if not isinstance(gpus, (list, tuple)) or not all(isinstance(item, dict) for item in gpus):
        raise BadInputError("in the probe's facts, gpus is not a list of objects")
    found = [gpu(_fact(item, "name") or "", _fact(item, "compute_capability")) for item in gpus]
    if not found:
        return None
    return host(_fact(facts, "driver"), found, cuda=_fact(facts, "cuda"))


def branch_of(table: Table, driver: str) -> int | None:
    """The driver branch a version belongs to: the newest one that is not above its first number."""
    number = numbers(driver)[0]
    return max((branch for branch in table.branches if branch <= number), default=None)


def driver_cuda(table: Table, machine: Host) -> tuple[int, ...]:
    """Newest CUDA that the host's driver supports by itself; (0, 0) if older than all rows.

    A driver between two branches of the table supports at least what the older one does; there, and
    on Jetson, whose drivers are numbered apart, a CUDA version that the host reports counts too.
    """
    if machine.driver is None:
        raise ValueError("the driver is not known")
    branch = branch_of(table, machine.driver)
    by_table = numbers(table.branches[branch] or "0.0") if branch else (0, 0)
    exact = branch == numbers(machine.driver)[0]
    if machine.cuda and (not exact or any(item.kind == "jetson" for item in machine.gpus)):
        return max(by_table, numbers(machine.cuda))
    return by_table


def at_least(driver: str, minimum: str) -> bool:
    """Whether a driver is `minimum` or newer; a branch alone stands for its newest release."""
    have, need = numbers(driver), numbers(minimum)
    return have[0] >= need[0] if len(have) == 1 else have >= need


def cca_of(machine: Host) -> str:
    """What `cca: auto` means on a host: its compute capabilities, sorted, each once."""
    found = {item.cc for item in machine.gpus if item.cc}
    return " ".join(sorted(found, key=numbers))
