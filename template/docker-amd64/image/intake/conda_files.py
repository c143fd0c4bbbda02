"""Environment files of conda, and what `conda env export` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from . import conda_specs
from .found import Place, Verdict, left_out, settled, unreadable
from .pip_files import Reading, read_line
from .text import FileError, load
from .yaml_nodes import child, compose, items_of, keys_of, pip_part

if TYPE_CHECKING:
    from collections.abc import Iterable

KNOWN_KEYS = {"name", "channels", "dependencies"}


def read_file(reading: Reading, name: str) -> None:
    """Read an environment file; files that its pip part names are read too.

    Raises:
        FileError: it is no YAML, or no environment file.
    """
    reading.seen.add((name, False))
    root = compose(load(reading.root / name, name), name)
    pair = child(root, "dependencies")
    if root is None or pair is None:
        raise FileError(f"{name} is no environment file: it has no `dependencies:` with a list.")
    for channel in items_of(child(root, "channels"), name):
        place, text = text_of(name, channel)
        reading.add(place, text, conda_specs.channel_verdict(text, reading.wanted))
    for item in items_of(pair, name):
        read_item(reading, name, item)
    for key, value in root.value:
        title = getattr(key, "value", "")
        if title not in KNOWN_KEYS:
            place = Place(name, key.start_mark.line + 1)
            reading.add(place, str(title), other_key(str(title), keys_of(value)))


def text_of(name: str, node: yaml.Node) -> tuple[Place, str]:
    """Place and text of an item, "" of one that has none."""
    text = node.value if isinstance(node, yaml.ScalarNode) else ""
    return Place(name, node.start_mark.line + 1), " ".join(text.split())


def read_item(reading: Reading, name: str, item: yaml.Node) -> None:
    """Note what becomes of an item of `dependencies:`, which may be the pip part."""
    part = pip_part(item)
    if part:
        for node in items_of(part, name):
            place, text = text_of(name, node)
            if text:
                read_line(reading, place, text)
            else:
                reading.add(place, "-", unreadable("a name is expected there"))
    elif isinstance(item, yaml.ScalarNode):
        place, text = text_of(name, item)
        reading.add(place, text, conda_specs.judge(text, reading.wanted))
    else:
        place = Place(name, item.start_mark.line + 1)
        keys = ", ".join(keys_of(item)) or "a list"
        reading.add(place, keys, unreadable("it is neither a package nor a pip part"))


def other_key(title: str, names: Iterable[str]) -> Verdict:
    """What becomes of a part of the file that lists no packages."""
    if title == "prefix":
        return left_out("it is a folder of one machine")
    if title == "variables":
        listed = ", ".join(names)
        where = "dependencies/pre-run.sh or name them in compose.override.yaml"
        return left_out(f"export them in {where}: {listed}")
    if title == "platforms":
        return settled()
    return left_out("as environment files have no such part")
