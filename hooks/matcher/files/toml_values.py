"""A TOML file as values that know their places.

Python 3.10 has no reader of TOML. Numbers and dates are texts here: nothing in dependency files
depends on them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..hosts import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PART = r"[A-Za-z0-9_-]+|\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*'"
KEY = re.compile(rf"(?:{PART})(?:[ \t]*\.[ \t]*(?:{PART}))*")
STRING = re.compile(
    r'"""(?P<long>(?:\\.|[^\\])*?"{0,2})"""(?!")'
    r"|'''(?P<raw_long>.*?'{0,2})'''(?!')"
    r'|"(?P<short>(?:\\.|[^"\\\n])*)"'
    r"|'(?P<raw>[^'\n]*)'",
    re.DOTALL,
)
BARE = re.compile(r"true|false|[+-]?(?:inf|nan)|[+-]?\d[\w.:+-]*(?: \d\d:[\d.:Z+-]+)?")
DEEPEST = 50  # levels of brackets


class Item(NamedTuple):
    """A value of a list, and where it is in the text."""

    value: Any
    start: int
    end: int


class Comment(NamedTuple):
    """A comment, where it is, and whether nothing is before it on its line."""

    text: str
    start: int
    alone: bool


class Document(NamedTuple):
    """What a TOML file says.

    Attributes:
        values: its tables.
        lists: the items of each list that is the value of a key, by the path of that.
        ends: where each of these lists ends, behind its bracket.
        comments: all comments.
    """

    values: dict[str, Any]
    lists: dict[tuple[str, ...], list[Item]]
    ends: dict[tuple[str, ...], int]
    comments: list[Comment]


class _Reader:
    """Reads a text from its start to its end."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where, self.at = text, where, 0
        self.comments: list[Comment] = []
        self.items: list[Item] = []

    def error(self) -> BadInputError:
        """That the text is no TOML at this place."""
        return BadInputError(f"{self.where} is no TOML in line {line_of(self.text, self.at)}")

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """What matches here; the reader is behind it then."""
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()
        return match

    def skip(self, *, lines: bool) -> None:
        """Pass over blanks and a comment; over any number of lines of them with `lines`."""
        while self.at < len(self.text):
            if self.text[self.at] in " \t\r" or (lines and self.text[self.at] == "\n"):
                self.at += 1
            elif self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                before = self.text[self.text.rfind("\n", 0, self.at) + 1 : self.at]
                text = self.text[self.at : end].rstrip()
                self.comments.append(Comment(text, self.at, not before.strip()))
                self.at = end
            else:
                return

    def key(self) -> tuple[str, ...]:
        """The parts of a dotted key. Raises BadInputError."""
        match = self.take(KEY)
        if match is None:
            raise self.error()
        parts = re.findall(PART, match[0])
        return tuple(self.unquoted(part) if part[0] in "\"'" else part for part in parts)

    def unquoted(self, text: str) -> str:
        """The text of a string. Raises BadInputError."""
        match = STRING.fullmatch(text)
        if match is None:
            raise self.error()
        kind = str(match.lastgroup)
        inner = match[kind]
        if kind.endswith("long"):
            inner = re.sub(r"\A\r?\n", "", inner)
        if kind.startswith("raw"):
            return inner
        inner = re.sub(r"\\[ \t]*\r?\n\s*", "", inner)
        inner = re.sub(r"\\U([0-9a-fA-F]{8})", self.wide, inner)
        inner = re.sub(r'(\\.)|"', lambda quote: quote[1] or '\\"', inner)
        try:
            return str(json.loads(f'"{inner}"', strict=False))
        except ValueError:
            raise self.error() from None

    def wide(self, match: re.Match[str]) -> str:
        """A character by its number, which JSON has no notation for. Raises BadInputError."""
        try:
            return json.dumps(chr(int(match[1], 16)))[1:-1]
        except (ValueError, OverflowError):
            raise self.error() from None

    def value(self, depth: int = 0) -> Any:
        """The value here. Raises BadInputError."""
        if depth > DEEPEST:
            raise self.error()
        if match := self.take(STRING):
            return self.unquoted(match[0])
        first = self.text[self.at : self.at + 1]
        if first == "[":
            return self.list(depth)
        if first == "{":
            return self.table(depth)
        bare = self.take(BARE)
        if bare is None:
            raise self.error()
        return {"true": True, "false": False}.get(bare[0], bare[0])

    def list(self, depth: int) -> list[Any]:
        """The values between brackets. Raises BadInputError."""
        items: list[Item] = []
        self.at += 1
        while True:
            self.skip(lines=True)
            if self.text.startswith("]", self.at):
                break
            start = self.at
            value = self.value(depth + 1)
            items.append(Item(value, start, self.at))
            self.skip(lines=True)
            if self.text.startswith(",", self.at):
                self.at += 1
            elif not self.text.startswith("]", self.at):
                raise self.error()
        self.at += 1
        self.items = items  # the outermost list is the last that ends
        return [item.value for item in items]

    def table(self, depth: int) -> dict[str, Any]:
        """The keys and values between braces. Raises BadInputError."""
        found: dict[str, Any] = {}
        self.at += 1
        while True:
            self.skip(lines=True)
            if self.text.startswith("}", self.at):
                self.at += 1
                return found
            path = self.key()
            self.equals()
            self.enter(found, path, self.value(depth + 1))
            self.skip(lines=True)
            if self.text.startswith(",", self.at):
                self.at += 1
            elif not self.text.startswith("}", self.at):
                raise self.error()

    def equals(self) -> None:
        """Pass over the sign between a key and its value. Raises BadInputError."""
        if self.take(re.compile(r"[ \t]*=[ \t]*")) is None:
            raise self.error()

    def enter(self, where: dict[str, Any], path: Sequence[str], value: Any) -> None:
        """Put a value at a place that has none yet. Raises BadInputError."""
        parent = self.inner(where, path[:-1])
        if path[-1] in parent:
            raise self.error()
        parent[path[-1]] = value

    def inner(self, where: dict[str, Any], path: Iterable[str]) -> dict[str, Any]:
        """The table at a place, made where there is none. Raises BadInputError."""
        for name in path:
            found = where.setdefault(name, {})
            where = found[-1] if isinstance(found, list) and found else found
            if not isinstance(where, dict):
                raise self.error()
        return where

    def header(self, values: dict[str, Any]) -> tuple[str, ...]:
        """The table that begins here. Raises BadInputError."""
        double = self.text.startswith("[[", self.at)
        self.at += 2 if double else 1
        self.skip(lines=False)
        path = self.key()
        self.skip(lines=False)
        if not self.text.startswith("]]" if double else "]", self.at):
            raise self.error()
        self.at += 2 if double else 1
        if double:
            parent = self.inner(values, path[:-1])
            tables = parent.setdefault(path[-1], [])
            if not isinstance(tables, list):
                raise self.error()
            tables.append({})
        else:
            self.inner(values, path)
        return path


def read(text: str, where: str) -> Document:
    """What a TOML file says; `where` is what messages call it.

    Raises:
        BadInputError: it is no TOML.
    """
    reader = _Reader(text, where)
    found = Document({}, {}, {}, reader.comments)
    table: tuple[str, ...] = ()
    reader.at = len(text) - len(text.removeprefix("\ufeff"))
    while True:
        reader.skip(lines=True)
        if reader.at == len(text):
            return found
        if text[reader.at] == "[":
            table = reader.header(found.values)
        else:
            path = reader.key()
            reader.equals()
            value = reader.value()
            if isinstance(value, list):
                whole = (*table, *path)
                found.lists[whole], found.ends[whole] = reader.items, reader.at
            reader.enter(reader.inner(found.values, table), path, value)
        reader.skip(lines=False)
        if reader.at < len(text) and text[reader.at] != "\n":
            raise reader.error()


def line_of(text: str, index: int) -> int:
    """The number of the line that a place is in."""
    return text.count("\n", 0, index) + 1
