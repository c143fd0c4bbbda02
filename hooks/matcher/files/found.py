"""What a dependency file asks for: requirements, indexes, images, each with its line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    # The text of a file by its path from the first one. Raises BadInputError.
    Open = Callable[[str], str]

_INDEX = re.compile(r"(?:/|^)(cu[0-9]{3}|cpu|rocm[0-9.]*|xpu)(?:/|$)")


# The index https://download.pytorch.org/whl itself, which has the builds of all.
ALL = "all"
# An address that is none of a wheel with its version in its name.
ADDRESS = "address"


class Line(NamedTuple):
    """A line of a file; `number` is 0 where the file has none for it."""

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        """How a sentence names it."""
        where = f"{self.file}, line {self.number}" if self.number else self.file
        return f"{where} (`{shown(self.text)}`)"


def shown(text: str) -> str:
    """A line as a message shows it: printable, short, and without a password."""
    text = re.sub(r"(\w+://)[^/\s@]+@", r"\1", " ".join(text.split()))
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004  (one line of a screen)


class Asked(NamedTuple):
    """One requirement.

    Attributes:
        name: normalised, such as torch.
        spec: its range of versions, "" for any.
        line: where it is.
        marker: what it depends on, "" for nothing.
        variant: what its own index or address names: cu121, cpu, nightly/cu128; None = that of all.
        conda: whether conda resolves it, not pip.
        build: conda's build string, or the channel before `::`.
        channel: of conda, "" for those of the file.
    """

    name: str
    spec: str
    line: Line
    marker: str = ""
    variant: str | None = None
    conda: bool = False
    build: str = ""
    channel: str = ""


@dataclass
class Project:
    """What a file and those that it includes ask for.

    Attributes:
        kind: pip, conda, uv, poetry, lock or docker: who resolves it.
        asked: the requirements, in their order.
        limits: constraints, which ask for nothing by themselves.
        index: the variant whose index replaces PyPI, such as cu118, None for PyPI itself.
        extra: variants whose indexes are asked beside it.
        links: whether a page of PyTorch's wheels for every CUDA is asked too.
        env_index: the same as index, of the environment of a Dockerfile's stage.
        env_extra: the same as extra.
        channels: of conda.
        python: a version or a range, "" where the files do not say.
        image: what is built on, None where no Dockerfile says it.
        image_line: where that is.
        notes: sentences about what was left out.
    """

    kind: str = "pip"
    asked: list[Asked] = field(default_factory=list)
    limits: list[Asked] = field(default_factory=list)
    index: str | None = None
    extra: list[str] = field(default_factory=list)
    links: bool = False
    env_index: str | None = None
    env_extra: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    python: str = ""
    image: str | None = None
    image_line: Line | None = None
    notes: list[str] = field(default_factory=list)

    def named(self, name: str) -> list[Asked]:
        """The requirements of a name."""
        return [one for one in self.asked if one.name == name]


def index_name(url: str) -> str | None:
    """What an index of PyTorch is for: cu121, cpu, rocm6.2, nightly/cu128; None for another."""
    if "pytorch.org" not in url and not _INDEX.search(url):
        return None
    match = _INDEX.search(url.partition("?")[0].rstrip("/"))
    if match is None:
        return ALL if re.search(r"pytorch\.org/whl/?$", url) else None
    return f"nightly/{match[1]}" if "/nightly/" in url else match[1]


def pip_name(name: str) -> str:
    """A name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
