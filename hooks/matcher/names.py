"""The names of GPUs: which product a name stands for, and which brands its GPU reports.

A name is read as a set of words: `4060ti`, `RTX 4060 Ti` and `NVIDIA GeForce RTX 4060 Ti` have the
same ones, but for the words that people leave out. A name fits every product that has all its
words. Words of memory size, form and cooling may be there or not; any other word that no product
has leaves the name unknown, since a new product differs from an old one by a word: an RTX 5090 Ti
is not an RTX 5090.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..compat.rows import Product, numbers
from ..compat.table import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# NVML reports a virtual GPU by what it is licensed for; which of these it is, a name does not say.
VGPU_BRANDS = frozenset({"grid", "nvidia", "vapps", "vcs", "vpc", "vws"})

_SEPARATORS = re.compile(r"[\s_/,()\[\]-]+")
# nvidia-smi -L writes GPU 0: NAME (UUID: GPU-…), lspci writes CHIP [NAME] (rev a1).
_LINE = re.compile(r"gpu [0-9]+: (?P<smi>.+?)( \(uuid: .*)?|.*\[(?P<lspci>.+)\].*")
_TRADE_MARKS = re.compile(r"\((r|tm)\)|[®™]")
_NOT_IN_A_WORD = re.compile(r"[^a-z0-9]+")
# The two patterns below are for names that `_folded` has folded.
_MIG = re.compile(r" mig [0-9].*$")
_VGPU_PROFILE = re.compile(r"( [0-9])? ([0-9]{1,2}|[12][0-9]{2})[abcq](4|me)?$")

_VENDOR = frozenset({"nvidia", "grid"})
_NOISE = frozenset({"corporation", "gpu", "graphics", "nvgpu", "nvidia"})
_JOINED = re.compile(
    r"(?P<brand>geforce|quadro|tesla|titan|gtx(?=[0-9])|rtx(?=[0-9a])|gt(?=[0-9]))(?P<rest>.+)"
)
_ENDING = r"ti|super|laptop|pro|pcie|sxm[0-9]?|nvl"
_ENDED = re.compile(rf"(?P<model>[a-z]*[0-9]+)(?P<endings>(?:{_ENDING})+)")
_DRAGON = re.compile(r"([2-9]0[5-9]0)d")  # the driver writes RTX 4090 D, but RTX 6000D

# What a product's name and a typed one may have or not: it makes no other product.
_MEMORY = re.compile(r"[0-9]+gb?|[0-9]+gib|hbm[0-9]?[a-z]?|gddr[0-9]\w*")
_SIZE = re.compile(r"[1-9][0-9]?|1[024][0-9]|19[0-9]|288")  # as in A100 80
_FORM = re.compile(
    r"pcie|sxm[0-9]*|nvl[0-9]*|nvlink|with|max|maxq|q|design|edition|founders|fe|desktop|hgx|dgx"
    r"|grace|superchip|liquid|cooled|passive|shared|lhr|lite|hash|rate|x[0-9]{1,2}|[0-9]{1,2}x"
)
# What only a product's name may have, so that the words of a typed name are all of its words.
_LEFT_OUT = frozenset({"geforce", "tesla", "generation", "blackwell"})
_SHORT_MODEL = re.compile(r"[aklmpt][0-9][a-z]?")
_LONG_MODEL = re.compile(r"[a-z]{1,3}[0-9]{2,4}[a-z]{0,3}")
_MODEL_AND_LETTERS = re.compile(r"([a-z]*[0-9]+)[a-z]*")
_NUMBER = re.compile(r"[0-9]{3,4}[a-z]{0,2}")
_CHIP_IN_BRACKETS = re.compile(r" \(G[KM][0-9]{3}\)$")
_FAMILIES = frozenset({"cmp", "titan", "orin", "thor", "xavier", "spark", "nano"})
_JETSON_OF_ONE_MODULE = frozenset({"agx", "nano"})  # "nano" alone may be an Orin Nano

# AMD's GPUs are also called by their number, or by the target of their compiler.
_OTHER_MAKERS = frozenset({"amd", "radeon", "rx", "instinct", "intel", "arc", "gaudi", "apple"})
_OTHER_MODELS = re.compile(r"\b(mi ?[0-9]{2,3}[a-z]?|gfx[0-9a-f]{3,4})\b")


class Found(NamedTuple):
    """What a name stands for: one product, or the products that it fits, or nothing."""

    product: Product | None = None
    could_be: tuple[str, ...] = ()


class _Entry(NamedTuple):
    """A name of a product, as words."""

    product: Product
    words: frozenset[str]  # all that the name has
    needed: frozenset[str]  # those that a name must have to be this one and no other
    alias: bool


class _Index(NamedTuple):
    """All names; of a word, bit n of its number says whether entry n may have it."""

    entries: list[_Entry]
    having: dict[str, int]
    telling: dict[str, int]  # the same for words that are enough to think of its product
    whole: dict[frozenset[str], int]  # the same for all words of an entry
    jetsons: dict[tuple[str, ...], Product]
    models: frozenset[str]  # models of boards that can be shared as virtual GPUs: v100, 6000


def _folded(name: str) -> str:
    """Fold a name: case, vendor, MIG suffix, and what separates words.

    Kubernetes labels have a hyphen for every blank, as in NVIDIA-A100-SXM4-80GB-MIG-1g.10gb.
    """
    text = " ".join(name.lower().split())
    line = _LINE.fullmatch(text)
    text = (line["smi"] or line["lspci"]) if line else text
    words = _SEPARATORS.split(_TRADE_MARKS.sub(" ", text).strip())
    while words[0] in _VENDOR and len(words) > 1:
        words.pop(0)
    return _MIG.sub("", " ".join(words).strip())


def plain(name: str) -> str:
    """A folded name without the profile of a virtual GPU, such as 32C."""
    return _VGPU_PROFILE.sub("", _folded(name))


def is_virtual(name: str) -> bool:
    """Whether a name ends with the profile of a virtual GPU, such as 8Q."""
    return _VGPU_PROFILE.search(_folded(name)) is not None


def _split(word: str) -> Iterator[str]:
    """Take apart what people write in one: rtx4060ti, titanx, a100pcie."""
    joined = _JOINED.fullmatch(word)
    if joined:
        yield joined["brand"]
        word = joined["rest"]
    ended = _ENDED.fullmatch(word)
    dragon = _DRAGON.fullmatch(word)
    if ended:
        yield ended["model"]
        yield from re.findall(_ENDING, ended["endings"])
    elif dragon:
        yield from (dragon[1], "d")
    else:
        yield word


def _words(folded: str) -> list[str]:
    """The words of a folded name, in their order."""
    found: list[str] = []
    for part in folded.split():
        for word in filter(None, _NOT_IN_A_WORD.split(part)):
            if word in {"gb", "g", "gib"} and found and found[-1].isdigit():
                found[-1] += "gb"
            elif word.isdigit() and found and found[-1] == "mx":
                found[-1] += word
            elif word not in _NOISE:
                found.extend(_split(word))
    return found


def _optional(word: str) -> bool:
    return bool(_MEMORY.fullmatch(word) or _FORM.fullmatch(word))


def _needed(words: list[str], product: Product) -> frozenset[str]:
    """The words that a name must have to be this product's and no other one's."""
    needed = {word for word in words if word not in _LEFT_OUT and not _optional(word)}
    if any(re.fullmatch(r"a[0-9]{3,4}", word) for word in needed):
        needed.discard("rtx")  # people and programs write A6000 for RTX A6000
    if product.kind == "jetson" and not needed <= {"jetson"} | _JETSON_OF_ONE_MODULE:
        needed.discard("jetson")
    return frozenset(needed)


def _tells(word: str, entry: _Entry) -> bool:
    """Whether a word of an entry is enough to think of its product: a model, or a family."""
    if _optional(word):
        return False
    if _NUMBER.fullmatch(word):
        return bool(entry.words & {"geforce", "gtx", "rtx", "quadro", "titan", "nvs"})
    model = _SHORT_MODEL.fullmatch(word) or _LONG_MODEL.fullmatch(word)
    return bool(model) or word in _FAMILIES


def _may_have(entry: _Entry) -> Iterable[str]:
    """The words that a name of this entry's product may have."""
    yield from entry.words
    yield from entry.product.arch.lower().split()
    if entry.product.kind == "datacenter":
        yield "tesla"
    elif "geforce" not in entry.words and entry.product.kind in {"workstation", "laptop"}:
        yield "quadro"


@lru_cache(maxsize=1)
def _index() -> _Index:
    index = _Index([], {}, {}, {}, {}, frozenset())
    models: set[str] = set()
    for product in load().products.values():
        own = _CHIP_IN_BRACKETS.sub("", product.name)
        names = {own: own != product.name, product.name: False}
        names.update(dict.fromkeys(product.aliases, True))
        for name, alias in names.items():
            words = _words(plain(name))
            needed = _needed(words, product)
            entry = _Entry(product, frozenset(words), needed, alias)
            bit = 1 << len(index.entries)
            index.entries.append(entry)
            index.whole[entry.words] = index.whole.get(entry.words, 0) | bit
            for word in _may_have(entry):
                index.having[word] = index.having.get(word, 0) | bit
            for word in entry.words:
                if _tells(word, entry):
                    index.telling[word] = index.telling.get(word, 0) | bit
            if product.kind == "jetson":
                index.jetsons[tuple(words)] = product
                index.jetsons[tuple(word for word in words if word in needed)] = product
            elif product.kind in {"datacenter", "workstation"}:
                models.update(word for word in words if _tells(word, entry))
    return index._replace(models=frozenset(models))


def _of_virtual(words: list[str], index: _Index) -> list[str]:
    """The words of a virtual GPU's name as those of its board.

    Letters after the model stand for memory and form: V100D, H100XM, RTX6000P. RTX6000 and RTX8000
    without Ada or PRO are the Quadro RTX, as NVIDIA's vGPU types have it.
    """
    found = []
    for word in words:
        model = _MODEL_AND_LETTERS.fullmatch(word)
        short = model[1] if model else word
        found.append(short if word not in index.having and short in index.models else word)
    found = [word for word in found if word not in {"dc", "se"}]
    quadro = "rtx" in found and not {"ada", "pro"} & {*found}
    return [*found, "quadro"] if quadro and {"6000", "8000"} & {*found} else found


def _jetson(words: list[str], index: _Index) -> Product | None:
    """The module that a name begins with: all boards of a Jetson family have the family's chip."""
    for length in range(len(words), 0, -1):
        product = index.jetsons.get(tuple(words[:length]))
        if product:
            return product
    return None


def _fits(words: list[str], index: _Index) -> list[_Entry]:
    """The entries that have every word, apart from those of memory and form."""
    fits, thought_of = 0, index.whole.get(frozenset(words), 0)
    asked = [word for word in words if not _optional(word)]
    asked.sort(key=lambda word: bool(_SIZE.fullmatch(word)))
    for at, word in enumerate(asked):
        thought_of |= index.telling.get(word, 0)
        having = index.having.get(word, 0)
        if at and not fits & having and _SIZE.fullmatch(word):
            continue  # a memory size without its unit
        fits = fits & having if at else having
    fits &= thought_of
    return [entry for at, entry in enumerate(index.entries) if fits >> at & 1]


def _far(entry: _Entry, words: frozenset[str]) -> tuple[int, int, bool, str]:
    """How far an entry is from a name: words of the name that it lacks, then those it has more."""
    return (len(words - entry.words), len(entry.words - words), entry.alias, entry.product.name)


def _class(product: Product) -> tuple[tuple[int, ...], bool]:
    """What the rules ask of a product: products of one class need not be told apart."""
    return (numbers(product.cc), product.kind == "datacenter")


@lru_cache(maxsize=1024)
def find(name: str) -> Found:
    """Find the product that a name stands for, however it is written.

    Products of one compute capability that are all for data centers, or all not, count as one. Of
    products that differ, those whose words are all in the name come before those that have more.

    Returns:
        the product, or one product of each kind that an ambiguous name fits, or neither.
    """
    index = _index()
    in_order = _words(plain(name))
    if is_virtual(name):
        in_order = _of_virtual(in_order, index)
    words = frozenset(in_order)
    fits = _fits(in_order, index)
    exact = [entry for entry in fits if entry.needed <= words]
    nearest: dict[tuple[tuple[int, ...], bool], Product] = {}
    for entry in sorted(exact or fits, key=lambda entry: _far(entry, words)):
        nearest.setdefault(_class(entry.product), entry.product)
    if len(nearest) == 1:
        return Found(next(iter(nearest.values())))
    if nearest:
        return Found(could_be=tuple(nearest[key].name for key in sorted(nearest)))
    return Found(_jetson(in_order, index))


def is_of_another_maker(name: str) -> bool:
    """Whether a name that is not found is that of a GPU by AMD, Intel or Apple."""
    folded = name.lower()
    words = set(re.findall(r"[a-z]+", folded))
    other = words & _OTHER_MAKERS or _OTHER_MODELS.search(folded)
    return bool(other) and "nvidia" not in words


def brand(name: str, kind: str) -> frozenset[str]:
    """Brands that NVML may report for a GPU; empty where that is not known.

    Args:
        name: of the product; the GPU's own where it is virtual, or not in the table.
        kind: of the product table, "" for a GPU that is not in it.
    """
    folded = plain(name)
    rules: tuple[tuple[bool, Iterable[str]], ...] = (
        (is_virtual(name), VGPU_BRANDS),
        (name.lower().startswith("grid"), {"grid"}),
        (folded.startswith(("matrox", "dgx")), set()),
        (folded.startswith("geforce"), {"geforce", "geforcertx"}),
        ("titan" in folded, {"titan", "titanrtx"}),
        (folded.startswith("tesla"), {"tesla"}),
        (kind == "datacenter", {"tesla", "nvidia"}),
        (folded.startswith("quadro rtx"), {"quadrortx"}),
        (folded.startswith("quadro"), {"quadro"}),
        (folded.startswith("nvs"), {"nvs"}),
        (
            kind in {"workstation", "laptop"} or (kind != "" and folded.startswith("rtx")),
            {"nvidiartx", "nvidia"},
        ),
    )
    return next((frozenset(brands) for fits, brands in rules if fits), frozenset())
