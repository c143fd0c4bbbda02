"""YAML as nodes that know their lines: what an environment file says, in its own spelling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from .text import FileError

if TYPE_CHECKING:
    from collections.abc import Iterable

Pair = tuple[yaml.Node, yaml.Node]


def compose(text: str, where: str) -> yaml.MappingNode | None:
    """The file's mapping as nodes that know their places; None where the file says nothing.

    Raises:
        FileError: it is no YAML, or no mapping.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = str(error.problem or error.context)
        if "'\\t'" in problem:
            problem = "a tab is there, and YAML is indented with blanks"
        raise FileError(f"{where} is no YAML{line}: {problem}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FileError(f"{where} is no YAML: {str(error).splitlines()[0]}.") from None
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
        return None
    if not isinstance(root, yaml.MappingNode):
        raise FileError(f"{where} is no environment file: it has no `dependencies:` with a list.")
    return root


def child(mapping: yaml.MappingNode | None, key: str) -> Pair | None:
    """Key and value of a mapping."""
    pairs = mapping.value if mapping else []
    return next((pair for pair in pairs if getattr(pair[0], "value", None) == key), None)


def items_of(pair: Pair | None, where: str) -> list[yaml.Node]:
    """The items of a list, [] where it is left out or empty.

    Raises:
        FileError: it is no list.
    """
    if pair is None or (
        isinstance(pair[1], yaml.ScalarNode) and pair[1].value in ("", "~", "null")
    ):
        return []
    if not isinstance(pair[1], yaml.SequenceNode):
        line = pair[0].start_mark.line + 1
        raise FileError(f"{where}, line {line}: `{pair[0].value}:` is no list of `- name` lines.")
    return list(pair[1].value)


def texts_of(items: Iterable[yaml.Node], where: str) -> list[str]:
    """The texts of scalar items, as they stand there: 3.10 is no number here.

    Raises:
        FileError: one is empty, or no scalar.
    """
    found = []
    for item in items:
        if not isinstance(item, yaml.ScalarNode) or not item.value.strip():
            raise FileError(f"{where}, line {item.start_mark.line + 1}: a name is expected there.")
        found.append(" ".join(item.value.split()))
    return found


def pip_part(item: yaml.Node) -> Pair | None:
    """Key and value of the item that is the pip part."""
    return child(item, "pip") if isinstance(item, yaml.MappingNode) else None


def keys_of(node: yaml.Node) -> list[str]:
    """The names in a mapping."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return [key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)]
