"""Reads conda's environment files and edits them line by line: comments and order stay as they are.

`parse` says what a file means; `put`, `remove`, `add_channel` and `add_all` change single lines of
it. What other files list is read by `intake`.

Python 3.10 or newer with PyYAML: Copier's, and the one of the build stages.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import yaml

from intake.family import ANSWERS, WITH_TORCH
from intake.names import is_python, name_of, pip_name
from intake.text import FileError, without_secret
from intake.yaml_nodes import Pair, child, compose, items_of, pip_part, texts_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAIN, CUDA, DEV = "environment.yml", "environment-cuda.yml", "environment-dev.yml"
FORGE, NO_DEFAULTS = "conda-forge", "nodefaults"
CHANNEL = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)*|(?:https?|file)://[^\s\"'#]+")
MARKER = re.compile(r"^[ \t]*#[ \t]*Yours\b.*$", re.MULTILINE)


class Environment(NamedTuple):
    """What an environment file lists; `owned` are the template's specs, `conda` the user's own."""

    channels: list[str]
    owned: list[str]
    conda: list[str]
    pip: list[str]


# --- reading --------------------------------------------------------------------------------------


def load(path: Path) -> str:
    """The text of a file with its line ends as they are.

    Raises:
        FileError: it cannot be read, or is no text.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise FileError(f"{path.name} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise FileError(f"{path.name} is no text in UTF-8.") from None


def save(path: Path, text: str) -> None:
    """Write a file whole or not at all; it keeps its mode."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_bytes(text.encode("utf-8"))
        if path.exists():
            new.chmod(path.stat().st_mode & 0o7777)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise FileError(f"{path.name} cannot be written: {error.strerror}.") from None


def parse(text: str, where: str = MAIN) -> Environment:
    """What an environment file says; `where` is what messages call it.

    Raises:
        FileError: it is no YAML, or no environment file.
    """
    root = compose(text, where)
    pair = child(root, "dependencies")
    items = items_of(pair, where)
    parts = [part for item in items if (part := pip_part(item))]
    specs = [item for item in items if pip_part(item) is None]
    marker = MARKER.search(text, pair[0].end_mark.index) if pair else None
    owned = [item for item in specs if marker and item.start_mark.index < marker.start()]
    return Environment(
        channels=texts_of(items_of(child(root, "channels"), where), where),
        owned=texts_of(owned, where),
        conda=texts_of(specs[len(owned) :], where),
        pip=[line for part in parts for line in texts_of(items_of(part, where), where)],
    )


def lines_of(text: str, name: str, where: str = MAIN) -> list[tuple[int, str]]:
    """The lines for a package of conda's, with their numbers from 1; the template's count too.

    Raises:
        FileError: it is no YAML, or no environment file.
    """
    items = items_of(child(compose(text, where), "dependencies"), where)
    return [
        (item.start_mark.line + 1, item.value)
        for item in items
        if isinstance(item, yaml.ScalarNode) and name_of(item.value) == name_of(name)
    ]


# --- editing --------------------------------------------------------------------------------------


class _Lines:
    """A file's text, cut at line ends, by the places that nodes have in it."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        self.newline = "\r\n" if "\r\n" in text else "\n"
        root = compose(text, where)
        if any(
            isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)
        ):
            raise FileError(f"{where} has YAML aliases (*name), which can only be edited by hand.")
        if root is not None and root.flow_style:
            raise self.by_hand(root)
        self.root = root

    def by_hand(self, node: yaml.Node) -> FileError:
        """The refusal to edit what is not one item a line."""
        line = node.start_mark.line + 1
        return FileError(f"{self.where}, line {line}: write the list with one `- name` a line.")

    def items(self, key: str) -> list[yaml.Node]:
        """The items of a list of the file."""
        return self.block(child(self.root, key))

    def block(self, pair: Pair | None) -> list[yaml.Node]:
        """The items of a list that stand on lines of their own."""
        items = items_of(pair, self.where)
        if pair and isinstance(pair[1], yaml.SequenceNode) and items and pair[1].flow_style:
            raise self.by_hand(pair[1])
        for item in items:
            self.indent(item)
        return items

    def indent(self, item: yaml.Node) -> str:
        """What stands before an item's dash."""
        start = self.text.rfind("\n", 0, item.start_mark.index) + 1
        before = re.fullmatch(r"( *)- +", self.text[start : item.start_mark.index])
        if before is None:
            raise self.by_hand(item)
        return before[1]

    def line_end(self, index: int) -> int:
        """Where the line ends in which the index is."""
        end = self.text.find("\n", index)
        return len(self.text) if end < 0 else end + 1

    def end(self, node: yaml.Node) -> int:
        """Where the last line of an item ends; a block's own mark is behind comments."""
        while isinstance(node, (yaml.MappingNode, yaml.SequenceNode)) and node.value:
            last = node.value[-1]
            node = last[1] if isinstance(last, tuple) else last
        return self.line_end(max(node.start_mark.index, node.end_mark.index - 1))

    def insert(self, index: int, *lines: str) -> str:
        """The text with further lines at the start of a line, or at the end."""
        before = self.text[:index]
        if before and not before.endswith("\n"):
            before += self.newline
        return before + "".join(line + self.newline for line in lines) + self.text[index:]

    def cut(self, start: yaml.Node, end: yaml.Node) -> str:
        """The text without the lines of an item."""
        begin = self.text.rfind("\n", 0, start.start_mark.index) + 1
        return self.text[:begin] + self.text[self.end(end) :]

    def swap(self, node: yaml.Node, text: str) -> str:
        """The text with another scalar in this place."""
        return self.text[: node.start_mark.index] + text + self.text[node.end_mark.index :]


def _scalar(text: str) -> str:
    """A text as YAML has it in a list: quoted only where it would mean something else bare."""
    try:
        if yaml.safe_load(f"- {text} # x") == [text]:
            return text
    except yaml.YAMLError:
        pass
    return "'" + text.replace("'", "''") + "'"


def check_spec(spec: str, *, pip: bool) -> str:
    """The one spelling of a line that a user wants in a file: blanks around and in it are single.

    Raises:
        FileError: it names no package, an answer decides its version, or it holds a password.
    """
    line = " ".join(spec.split())
    if without_secret(line) != line:
        raise FileError(
            f"{without_secret(line)}: a password in it would be in git and in the images; "
            "it goes into the file that NETRC_FILE in .env names."
        )
    name = pip_name(line) if pip else name_of(line)
    if not name or not line.isprintable() or (not pip and "#" in line):
        kind = "pip requirement" if pip else "conda package"
        raise FileError(f"{line[:80]!r} names no {kind}.")
    if pip and name in WITH_TORCH:
        raise FileError(f"{name} must match conda's PyTorch: ./template.sh add {name}")
    if name in ANSWERS:
        raise FileError(
            f"The version of {name} is an answer: template.sh update --data {ANSWERS[name]}=..."
        )
    return line


def put(text: str, spec: str, *, pip: bool = False, where: str = MAIN) -> str:
    """Add a line under "Yours", or to the pip part; what is there under its name is replaced.

    Raises:
        FileError: the line is refused, or the file has a shape that cannot be edited.
    """
    line = check_spec(spec, pip=pip)
    name = pip_name(line) if pip else name_of(line)
    # Several lines may name it: the first is replaced, the others go.
    lines = _Lines(text, where)
    while len(found := _named(lines, name, pip=pip)) > 1:
        lines = _Lines(lines.cut(found[-1], found[-1]), where)
    text = lines.text
    if found:
        return lines.swap(found[0], _scalar(line))
    pair = child(lines.root, "dependencies")
    if pair is None:
        text = lines.insert(len(text), "dependencies:")
        return put(text, line, pip=pip, where=where)
    items = lines.block(pair)
    part = next((part for item in items if (part := pip_part(item))), None)
    if pip and part:
        there = lines.block(part)
        indent = lines.indent(there[-1]) if there else lines.indent(_owner(items, part)) + "    "
        return lines.insert(
            lines.end(there[-1] if there else part[0]), f"{indent}- {_scalar(line)}"
        )
    specs = [item for item in items if pip_part(item) is None]
    indent = lines.indent(items[0]) if items else "  "
    index = lines.end(specs[-1] if specs else pair[0])
    marker = MARKER.search(text, pair[0].end_mark.index)
    if marker:
        index = max(index, lines.line_end(marker.end()))
    new = (
        [f"{indent}- pip:", f"{indent}    - {_scalar(line)}"]
        if pip
        else [f"{indent}- {_scalar(line)}"]
    )
    return lines.insert(index, *new)


def _owner(items: list[yaml.Node], part: Pair) -> yaml.Node:
    """The item that a pip part is."""
    return next(item for item in items if pip_part(item) == part)


def _named(lines: _Lines, name: str, *, pip: bool) -> list[yaml.Node]:
    """The user's own items of that name; the template's lines stay out of it."""
    pair = child(lines.root, "dependencies")
    items = lines.block(pair)
    if pip:
        parts = [part for item in items if (part := pip_part(item))]
        return [
            node
            for part in parts
            for node in lines.block(part)
            if isinstance(node, yaml.ScalarNode) and pip_name(node.value) == name
        ]
    marker = MARKER.search(lines.text, pair[0].end_mark.index) if pair else None
    return [
        node
        for node in items
        if isinstance(node, yaml.ScalarNode)
        and name_of(node.value) == name
        and not (marker and node.start_mark.index < marker.start())
    ]


def remove(text: str, name: str, *, pip: bool = False, where: str = MAIN) -> str:
    """The text without the user's lines of that name; the pip part goes with its last line.

    Raises:
        FileError: the file has a shape that cannot be edited.
    """
    wanted = pip_name(name) if pip else name_of(name)
    while True:
        lines = _Lines(text, where)
        found = _named(lines, wanted, pip=pip)
        if not found:
            return text
        # A pip part with this line only goes as a whole.
        items = lines.items("dependencies")
        lone = [item for item in items if (part := pip_part(item)) and part[1].value == found[:1]]
        text = lines.cut((lone or found)[0], found[0])


def add_channel(text: str, channel: str, *, first: bool = False, where: str = MAIN) -> str:
    """Add a channel, asked before conda-forge (`first`) or after it; one that is there stays.

    Raises:
        FileError: it is no channel or holds a password, or the file's shape cannot be edited.
    """
    if not CHANNEL.fullmatch(channel) or without_secret(channel) != channel:
        raise FileError(f"{without_secret(channel)[:80]!r} is no name or address of a channel.")
    lines = _Lines(text, where)
    items = lines.items("channels")
    if channel in texts_of(items, where):
        return text
    if not items:
        raise FileError(f"{where} has no channels; write them as a list, {FORGE} among them.")
    asked = [item for item in items if item.value != NO_DEFAULTS] or items
    forge = next((item for item in asked if item.value == FORGE), asked[0])
    index = lines.text.rfind("\n", 0, forge.start_mark.index) + 1 if first else lines.end(asked[-1])
    return lines.insert(index, f"{lines.indent(forge)}- {_scalar(channel)}")


def add_all(
    text: str,
    *,
    conda: Iterable[str] = (),
    pip: Iterable[str] = (),
    channels: Iterable[str] = (),
    where: str = MAIN,
) -> str:
    """The text with further lines and channels, which keep their order around conda-forge.

    Raises:
        FileError: a line is refused, or the file has a shape that cannot be edited.
    """
    asked = [name for name in channels if name != NO_DEFAULTS]
    at = asked.index(FORGE) if FORGE in asked else 0
    for channel in asked[:at]:
        text = add_channel(text, channel, first=True, where=where)
    for channel in asked[at:]:
        text = add_channel(text, channel, where=where)
    for spec in conda:
        text = put(text, spec, where=where)
    for line in pip:
        text = put(text, line, pip=True, where=where)
    return text


# --- the lock -------------------------------------------------------------------------------------


def packages_in(lock: str) -> dict[str, bool]:
    """The packages in the text of a conda.lock: whether each is Python's, as its build says."""
    found = re.findall(
        r"(?m)^\S+/([^/\s]+)-[^-/\s]+-([^-/\s]+)\.(?:conda|tar\.bz2)(?:#\S*)?\s*$", lock
    )
    return {name: is_python(build) for name, build in found}
