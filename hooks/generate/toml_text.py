"""Edits of the lists in a TOML file, which leave its comments and its order.

Numbers and dates are texts here: nothing in dependency files depends on them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from hooks.matcher.files import toml_values
from hooks.matcher.files.toml_values import Document, Item, line_of
from hooks.matcher.hosts import BadInputError
from intake.names import pip_name
from intake.text import FileError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


class Line(NamedTuple):
    """A text of a list, the number of its line in the file, and the comments on it.

    `behind` is on the same line, `above` has lines of their own; both begin with `#`.
    """

    text: str
    number: int = 0
    behind: str = ""
    above: tuple[str, ...] = ()
    of_conda: bool = False


def read(text: str, where: str) -> Document:
    """What a TOML file says; `where` is what messages call it.

    Raises:
        FileError: it is no TOML.
    """
    try:
        return toml_values.read(text, where)
    except BadInputError as error:
        raise FileError(f"{error}.") from None


def table_at(values: Any, *path: str) -> dict[str, Any]:
    """A table of a document, {} where there is none."""
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else {}


def lines_at(text: str, found: Document, path: tuple[str, ...]) -> list[Line]:
    """The strings of a list with the comments on them."""
    items, lines = found.lists.get(path, []), []
    for index, item in enumerate(items):
        if not isinstance(item.value, str):
            continue
        first = items[index - 1].end if index else text.rfind("[", 0, item.start)
        last = items[index + 1].start if index + 1 < len(items) else found.ends[path]
        end = text.find("\n", item.end)
        near = [one for one in found.comments if first <= one.start < last]
        behind = [one.text for one in near if item.end <= one.start < end]
        above = [one.text for one in near if one.alone and one.start < item.start]
        number = line_of(text, item.start)
        lines.append(Line(item.value, number, "".join(behind), tuple(above)))
    return lines


def edit_list(
    text: str,
    path: tuple[str, ...],
    lines: Iterable[Line],
    without: Collection[str] = (),
    where: str = "pyproject.toml",
) -> str:
    """A TOML text with further strings in one of its lists, which is the value of a key.

    A line for a name that is there replaces that; one with a comment moves to the end of the list.

    Args:
        text: the file.
        path: of the list.
        lines: what to add.
        without: names of packages to remove.
        where: what messages call the file.

    Raises:
        FileError: it is no TOML, or has no such list.
    """
    found = read(text, where)
    if path not in found.lists:
        raise FileError(f"{where} has no list {'.'.join(path)}.")
    new = {pip_name(line.text) or line.text: line for line in lines}
    end = found.ends[path]
    added = []
    # From behind, so that the places before stay right.
    for item in reversed(found.lists[path]):
        name = pip_name(item.value) or item.value if isinstance(item.value, str) else ""
        line = new.get(name)
        if name in without or (line and (line.behind or line.above)):
            before = len(text)
            text = _without(text, item)
        elif line:
            before = len(text)
            text = text[: item.start] + quoted(line.text) + text[item.end :]
            del new[name]
        else:
            continue
        end += len(text) - before
    for line in new.values():
        added += [f"    {comment}\n" for comment in line.above]
        added.append(f"    {quoted(line.text)},{f'  {line.behind}' if line.behind else ''}\n")
    return _with_lines(text, end, path, added, where) if added else text


def quoted(text: str) -> str:
    """A string as TOML has it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _without(text: str, item: Item) -> str:
    """A text without an item of a list, and without its line if it was alone there."""
    comma = re.compile(r"[ \t]*,").match(text, item.end)
    start, end = item.start, comma.end() if comma else item.end
    begin = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end)
    alone = not text[begin:start].strip() and line_end >= 0 and not text[end:line_end].strip()
    if alone:
        return text[:begin] + text[line_end + 1 :]
    return text[:start] + text[end:].lstrip(" ")


def _with_lines(text: str, end: int, path: tuple[str, ...], added: list[str], where: str) -> str:
    """A text with lines at the end of a list, which ends at a place."""
    items = read(text, where).lists[path]
    if items and not re.match(r"\s*,", text[items[-1].end :]):
        text = text[: items[-1].end] + "," + text[items[-1].end :]
        end += 1
    return f"{text[: end - 1].rstrip()}\n{''.join(added)}]{text[end:]}"
