"""What the matcher judges: hosts, their GPUs, and lists of compute capabilities.

Everything that a user can mistype is read here, and refused with `BadInputError`: one sentence that
says what is wrong and what to write instead.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..compat.rows import numbers
from ..compat.table import Table, load
from .names import brand, find, is_virtual, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
CCA_FORM = "write auto, or compute capabilities separated by blanks, such as 7.5 8.6+PTX"
BRANDS = (  # as NVML numbers them (nvmlBrandType_t) and the start checks of images spell them
    *("tesla", "nvidia", "quadro", "quadrortx", "nvidiartx", "geforce", "titan"),
    *("geforcertx", "titanrtx", "nvs", "grid", "vapps", "vpc", "vcs", "vws", "cloudgaming"),
)
CONSUMER_BRANDS = frozenset({"geforce", "geforcertx", "titan", "titanrtx"})
ACCESS = ("cdi", "runtime", "hook")
MODULES = ("open", "proprietary")
DRIVER_TYPES = ("datacenter", "geforce", "vgpu", "wsl")

_TOOLKIT = re.compile(r"[0-9]{1,8}\.[0-9]{1,8}(\.[0-9]{1,8})?([-+~.][0-9a-z.]+)?")
_DRIVER = re.compile(r"[0-9]{3,4}(\.[0-9]{1,8}){0,3}")
_CC = re.compile(r"[0-9]{1,2}\.[0-9]")
_TARGET = re.compile(r"([0-9]{1,2}\.[0-9])([af]?)(\+PTX)?")

MOST_GPUS = 1000  # of a host, MIG slices and all
LONGEST_NAME = 200  # of a GPU; NVML's longest has 96 characters


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

    `product` is its name in that table, "" where it has none. `could_be` names the products that
    an ambiguous name fits; `cc` is None then.
    """

    name: str
    cc: str | None
    kind: str = ""
    brands: frozenset[str] = frozenset()
    host: str | None = None
    could_be: tuple[str, ...] = ()
    product: str = ""

    @property
    def label(self) -> str:
        """How a sentence calls it: name and compute capability, as far as known."""
        if self.name and self.cc:
            return f"{self.name} ({self.cc})"
        return self.name or f"a GPU of compute capability {self.cc}"


class Host(NamedTuple):
    """A machine. Make one with `host()` or `from_probe()`, which check what they are given.

    Attributes:
        driver: version of the driver in the kernel, None = not known.
        gpus: at least one.
        arch: of the machine that runs containers, x86_64 or aarch64.
        cuda: newest CUDA that the driver reports, None = not known.
        access: how containers get GPUs, "" = not known: cdi, by a CDI file; hook, as `docker run
            --gpus` does, by nvidia-container-runtime-hook; runtime, by NVIDIA's runtime as the
            engine's default. A CDI file does not look at what an image requires of the host, the
            hook does; the runtime did before NVIDIA Container Toolkit 1.18 made CDI its default.
        toolkit: version of NVIDIA Container Toolkit, "none" = not installed, "" = not known.
        module: open or proprietary, the flavour of NVIDIA's kernel modules, "" = not known.
        driver_type: datacenter, geforce, vgpu (a virtual GPU, with the driver of a guest), wsl
            (the driver of Windows), "" = another, several, or not known.
        secure_boot: whether Secure Boot stops the driver's kernel modules, None = not known. It
            stops those that nobody has signed, so it is not enough that it is on.
    """

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


def parse_cca(text: str, table: Table | None = None) -> tuple[Target, ...]:
    """Read the answer `cca`: () for auto, else its compute capabilities, sorted, each once.

    Separators are blanks and semicolons, as in TORCH_CUDA_ARCH_LIST; a comma is refused because
    PyTorch refuses it.

    Args:
        text: the answer.
        table: another table than the one checked in.

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
    table = table or load()
    known = _known_ccs(table)
    old = {cc for row in table.architectures for cc in row.cc}  # some, no compiler here targets
    for target in parsed:
        cc = f"{target.cc[0]}.{target.cc[1]}"
        if cc not in known and cc not in old:
            raise BadInputError(
                f"cca has {cc}, a compute capability no CUDA compiler in the table knows:"
                f" choose from {', '.join(known)}"
            )
    return tuple(parsed)


def _known_ccs(table: Table) -> list[str]:
    """Every compute capability that some nvcc of the table can target, sorted."""
    found = {cc for line in table.lines.values() for cc in line.targets or ()}
    return sorted(found, key=numbers)


@lru_cache(maxsize=512)
def gpu(name: str = "", cc: str | None = None, brand_name: str | None = None) -> Gpu:
    """Look a GPU up by the name that NVML or nvidia-smi reports, by compute capability, or both.

    Names are read by `names.find`: case, separators, and the words that people leave out do not
    matter. A compute capability that the host reports wins over the table. A name that fits
    products that differ stays unknown, and `could_be` names them.

    Raises:
        BadInputError: neither given, a name that is too long or has control characters, a malformed
            compute capability, or an unknown brand.
    """
    if len(name) > LONGEST_NAME or not " ".join(name.split()).isprintable():
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
        product=product.name if product else "",
    )


def driver_type_of(gpus: Sequence[Gpu]) -> str:
    """The driver that GPUs have by what they are: datacenter, geforce or vgpu; "" if not one."""
    if any(is_virtual(item.name) for item in gpus):
        return "vgpu"
    if all(item.kind == "datacenter" for item in gpus):
        return "datacenter"
    consumer = all(item.brands and item.brands <= CONSUMER_BRANDS for item in gpus)
    return "geforce" if consumer else ""


def _one_of(what: str, value: str, words: tuple[str, ...]) -> str:
    if value and value not in words:
        raise BadInputError(f"{value!r} is not {what}: choose from {', '.join(words)}")
    return value


def host(
    driver: str | None,
    gpus: Sequence[Gpu | str],
    arch: str | None = None,
    cuda: str | None = None,
    *,
    access: str = "",
    toolkit: str = "",
    module: str = "",
    driver_type: str = "",
    secure_boot: bool | None = None,
) -> Host:
    """Describe a machine.

    Args:
        driver: version such as "550.54.15", or None where it is not known.
        gpus: at least one, as `Gpu` or by name.
        arch: x86_64 or aarch64 (amd64 and arm64 are taken too); None = that of the GPUs' product.
        cuda: newest CUDA the driver supports, as nvidia-smi shows it on the host; only looked at
            where the table does not know the driver.
        access: cdi, runtime or hook; "" = not known.
        toolkit: version of NVIDIA Container Toolkit such as "1.18.1", none, or "" = not known.
        module: open or proprietary; "" = not known.
        driver_type: datacenter, geforce, vgpu or wsl; "" = that of the GPUs.
        secure_boot: whether it stops the driver's kernel modules; None = not known.

    Raises:
        BadInputError: malformed version, unknown word or architecture, or no GPU.
    """
    if not gpus:
        raise BadInputError("the list of GPUs is empty: name at least one GPU, or choose the CPU")
    if len(gpus) > MOST_GPUS:
        raise BadInputError(
            f"{len(gpus)} GPUs are more than a machine has: name {MOST_GPUS} at most"
        )
    resolved = tuple(gpu(item) if isinstance(item, str) else item for item in gpus)
    own = next((item.host for item in resolved if item.host), None)
    if arch is not None and arch.lower() not in ARCHITECTURES:
        raise BadInputError(f"{arch!r} is not a known architecture: choose x86_64 or aarch64")
    if cuda is not None and not re.fullmatch(r"[0-9]{1,8}\.[0-9]{1,8}", cuda.strip()):
        raise BadInputError(f"{cuda!r} is not a CUDA version: write one such as 12.8")
    if toolkit not in ("", "none") and not _TOOLKIT.fullmatch(toolkit):
        raise BadInputError(
            f"{toolkit!r} is not a version of NVIDIA Container Toolkit: write what"
            " nvidia-ctk --version says, such as 1.18.1"
        )
    return Host(
        driver=parse_driver(driver) if driver else None,
        gpus=resolved,
        arch=ARCHITECTURES[arch.lower()] if arch else (own or "x86_64"),
        cuda=cuda.strip() if cuda else None,
        access=_one_of("a kind of GPU access", access, ACCESS),
        toolkit=toolkit,
        module=_one_of("a flavour of kernel modules", module, MODULES),
        driver_type=_one_of("a type of driver", driver_type, DRIVER_TYPES)
        or driver_type_of(resolved),
        secure_boot=secure_boot,
    )


def _fact(facts: Mapping[str, Any], key: str) -> str | None:
    """A text of the probe, or None; a version may have been written as a number."""
    value = facts.get(key)
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
        value = str(value) if isinstance(value, float) or key == "driver" else f"{value}.0"
    if value is not None and not isinstance(value, str):
        raise BadInputError(f"the probe's facts have {value!r} as {key}: it must be a text")
    return value or None


def _word(facts: Mapping[str, Any], key: str, words: tuple[str, ...]) -> str:
    """A word of the probe; "" where it is missing, or one that only newer versions know."""
    value = facts.get(key)
    if value is not None and not isinstance(value, str):
        raise BadInputError(f"the probe's facts have {value!r} as {key}: it must be a text")
    return value if value in words else ""


def _flag(facts: Mapping[str, Any], key: str) -> bool | None:
    """A yes or no of the probe, None where it is missing."""
    value = facts.get(key)
    if value is not None and not isinstance(value, bool):
        raise BadInputError(f"the probe's facts have {value!r} as {key}: it must be true or false")
    return value


def _part(facts: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object inside the probe's facts, an empty one where it is missing."""
    value = facts.get(key)
    if value is not None and not isinstance(value, dict):
        raise BadInputError(f"in the probe's facts, {key} is not an object")
    return value or {}


def _access_of(facts: Mapping[str, Any]) -> str:
    """How containers get GPUs; descriptions of before 0.11 have the kind only."""
    part = _part(facts, "access")
    kinds = part.get("kinds") or ()
    if not isinstance(kinds, (list, tuple)):
        raise BadInputError("in the probe's facts, kinds of access is not a list")
    return _word(part, "mechanism", ACCESS) or ("cdi" if [*kinds[:1]] == ["cdi"] else "")


def _arch_of(facts: Mapping[str, Any]) -> str | None:
    """The architecture of the machine that runs containers: the engine's, else this one's."""
    return (
        _fact(_part(facts, "engine"), "architecture")
        or _fact(_part(facts, "details"), "engine_architecture")
        or _fact(facts, "architecture")
    )


def _probed_gpu(facts: Mapping[str, Any]) -> Gpu:
    named = _word(facts, "brand", BRANDS) or None
    return gpu(_fact(facts, "name") or "", _fact(facts, "compute_capability"), named)


def _driver_type(facts: Mapping[str, Any], gpus: Sequence[Mapping[str, Any]]) -> str:
    """What the GPUs' names do not say of the driver: that it is of Windows, or of a guest."""
    wsl = facts.get("wsl", 0)
    if isinstance(wsl, bool) or not isinstance(wsl, int):
        raise BadInputError(f"the probe's facts have {wsl!r} as wsl: it must be 0, 1 or 2")
    if wsl:
        return "wsl"
    return "vgpu" if any(_flag(item, "virtual") for item in gpus) else ""


def _stopped(facts: Mapping[str, Any], hardware: Mapping[str, Any], *, runs: bool) -> bool | None:
    """Whether Secure Boot, if it is on, stops the driver: not one that runs."""
    on = _flag(facts, "secure_boot")
    on = _flag(hardware, "secure_boot") if on is None else on
    return False if runs else on


def from_probe(facts: object) -> Host | None:
    """Read the facts of the host probe, or the description that `template.sh env --json` writes.

    What an older description lacks is not known. The keys are `driver, cuda, gpus` with `name,
    compute_capability, brand, virtual`; `access.mechanism`; `engine.architecture`, else
    `details.engine_architecture`, else `architecture`; `wsl`; and `toolkit, module, secure_boot`,
    which older descriptions have in `hardware`.

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
    if not gpus:
        return None
    hardware = _part(facts, "hardware")
    driver = _fact(facts, "driver")
    return host(
        driver,
        [_probed_gpu(item) for item in gpus],
        _arch_of(facts),
        cuda=_fact(facts, "cuda"),
        access=_access_of(facts),
        toolkit=_fact(facts, "toolkit") or _fact(hardware, "toolkit") or "",
        module=_word(facts, "module", MODULES) or _word(hardware, "module", MODULES),
        driver_type=_driver_type(facts, gpus),
        secure_boot=_stopped(facts, hardware, runs=driver is not None),
    )


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
