"""A reader of the TOML that site.toml needs: Python has one in its library since 3.11 only.

It reads tables, arrays of tables, dotted keys, texts of one line, whole numbers, true and false,
arrays, inline tables and comments, as https://toml.io/en/v1.0.0 has them. All else that TOML has
(texts of several lines, fractions, dates, numbers in other systems) is refused with its line.
"""

from __future__ import annotations

import re
import sys
from typing import Any, NamedTuple, Tuple

KeyPath = Tuple[str, ...]
MOST_DEPTH = 16  # of arrays and inline tables in each other
MOST_DIGITS = 18
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
BLANKS = re.compile(r"[ \t]*")
# Between the values of an array: blanks, line ends and comments.
SKIPPED = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
LINE_END = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
BARE = re.compile(r"[A-Za-z0-9_-]+")
BASIC = re.compile(r'"((?:[^"\\\n]|\\[^\n])*)"')
LITERAL = re.compile(r"'([^'\n]*)'")
INTEGER = re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9])*)(?![\w.:+-])")
WORD = re.compile(r"[^\s,\]}#=]*")
ESCAPE = re.compile(r"\\(?:([btnfr\"\\])|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
SURROGATES = range(0xD800, 0xE000)  # no characters: halves of one in UTF-16
ESCAPES = dict(zip('btnfr"\\', '\b\t\n\f\r"\\'))
# How a table came to be, which decides who may add to it.
HEADER, ABOVE, INLINE = "header", "above", "inline"


class TomlError(ValueError):
    """What cannot be read: the line, and why, as the end of a sentence about it."""

    def __init__(self, line: int, why: str):
        """Take both."""
        super().__init__(f"line {line} {why}")
        self.line, self.why = line, why


class Document(NamedTuple):
    """What a file says.

    Attributes:
        values: its tables and keys, as dict, list, str, int and bool.
        lines: of each table and key by its path; of an array of tables, the last ones count.
    """

    values: dict[str, Any]
    lines: dict[KeyPath, int]


class _Reader:
    """A file while it is read."""

    def __init__(self, text: str):
        """Take the text."""
        self.text = text
        self.at = 0
        self.root: dict[str, Any] = {}
        self.lines: dict[KeyPath, int] = {}
        self.section: KeyPath = ()
        self.sections = 0
        # By the id of a table or a list, which live as long as the root.
        self.kinds: dict[int, str] = {}

    def error(self, why: str) -> TomlError:
        """What is wrong in the line that is being read."""
        return TomlError(self.text.count("\n", 0, self.at) + 1, why)

    def take(self, pattern: re.Pattern[str]) -> str | None:
        """The text here, if it fits; what is read next is behind it."""
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found.group()

    def sees(self, mark: str) -> bool:
        """Whether a mark is next; if so, what is read next is behind it."""
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def document(self) -> Document:
        """All of it."""
        table = self.root
        while self.at < len(self.text):
            self.take(BLANKS)
            if self.text[self.at : self.at + 1] not in ("", "\n", "#"):
                if self.sees("[["):
                    table = self.header("]]")
                elif self.sees("["):
                    table = self.header("]")
                else:
                    self.pair(table, self.section, f"{self.sections}")
            at = self.at
            if self.take(LINE_END) is None:
                self.at = at
                raise self.error("has text behind its value. Begin a new line, or put # before it.")
        return Document(self.root, self.lines)

    # ------------------------------------------------------------------------------------- keys

    def key(self) -> str:
        """One part of a key."""
        bare = self.take(BARE)
        if bare is not None:
            return bare
        if self.text[self.at : self.at + 1] in ('"', "'"):
            return self.string()
        raise self.error("is not KEY = VALUE. Correct it, or put # before it.")

    def keys(self) -> KeyPath:
        """A key with its dots."""
        found = [self.key()]
        self.take(BLANKS)
        while self.sees("."):
            self.take(BLANKS)
            found.append(self.key())
            self.take(BLANKS)
        return tuple(found)

    def header(self, end: str) -> dict[str, Any]:
        """The table of a header, `[` or `[[` of which is read."""
        self.take(BLANKS)
        path = self.keys()
        if not self.sees(end):
            raise self.error(f"begins a table that it does not end with {end}.")
        name = ".".join(path)
        table = self.root
        for part in path[:-1]:
            table = self.child(table, part, ABOVE, name)
        last = table.get(path[-1])
        if end == "]]":
            new: dict[str, Any] = {}
            if last is None:
                last = table[path[-1]] = []
                self.kinds[id(last)] = HEADER
            if not isinstance(last, list) or self.kinds.get(id(last)) != HEADER:
                raise self.error(f"has [[{name}]], but {name} is something else above.")
            last.append(new)
        elif last is None or self.kinds.get(id(last)) == ABOVE:
            new = last or table.setdefault(path[-1], {})
        else:
            raise self.error(f"has {name} a second time.")
        self.kinds[id(new)] = HEADER
        self.section, self.sections = path, self.sections + 1
        self.lines[path] = self.error("").line
        return new

    def child(self, table: dict[str, Any], part: str, kind: str, name: str) -> dict[str, Any]:
        """A table in a table, made if it is not there. `kind`: how it is made."""
        found = table.get(part)
        if found is None:
            found = table[part] = {}
            self.kinds[id(found)] = kind
        if isinstance(found, list) and self.kinds.get(id(found)) == HEADER and kind == ABOVE:
            found = found[-1]
        own = self.kinds.get(id(found))
        if not isinstance(found, dict) or own == INLINE or kind not in (ABOVE, own):
            raise self.error(f"adds to {name}, but {part} has its value already.")
        return found

    def pair(self, table: dict[str, Any], above: KeyPath, section: str) -> None:
        """A key and its value, put into a table; `section` tells one header's keys from others."""
        line = self.error("").line
        path = self.keys()
        name = ".".join(path)
        if not self.sees("="):
            raise self.error("is not KEY = VALUE. Correct it, or put # before it.")
        for part in path[:-1]:
            table = self.child(table, part, section, name)
        if path[-1] in table:
            raise self.error(f"has {name} a second time.")
        self.take(BLANKS)
        table[path[-1]] = self.value(0)
        self.lines[above + path] = line

    # ----------------------------------------------------------------------------------- values

    def value(self, depth: int) -> Any:
        """A value."""
        if depth > MOST_DEPTH:
            raise self.error(f"has more than {MOST_DEPTH} brackets in each other.")
        first = self.text[self.at : self.at + 1]
        if first in ('"', "'"):
            return self.string()
        if first == "[":
            return self.array(depth)
        if first == "{":
            return self.inline_table(depth)
        number = self.take(INTEGER)
        if number is not None:
            if len(number.lstrip("+-")) > MOST_DIGITS:
                raise self.error(f"has a number of more than {MOST_DIGITS} digits.")
            return int(number)
        word = self.take(WORD)
        if word in ("true", "false"):
            return word == "true"
        if not word:
            raise self.error("has no value behind the =.")
        raise self.error(
            f"has the value {word[:40]}: write a text in quotes, a whole number, true or false."
        )

    def string(self) -> str:
        """A text in quotes."""
        if self.text.startswith(('"""', "'''"), self.at):
            raise self.error("begins a text of several lines. Write it in one line.")
        literal = self.take(LITERAL)
        if literal is not None:
            return literal[1:-1]
        basic = self.take(BASIC)
        if basic is None:
            raise self.error("opens a quote that it does not close.")
        return ESCAPE.sub(self.character, basic[1:-1])

    def character(self, match: re.Match[str]) -> str:
        """What an escape stands for."""
        letter, short, long, other = match.groups()
        if letter:
            return ESCAPES[letter]
        number = -1 if other else int(short or long, 16)
        if number < 0 or number > sys.maxunicode or number in SURROGATES:
            raise self.error(
                f"has {match.group()} in a text. For a backslash write two, or use single quotes."
            )
        return chr(number)

    def array(self, depth: int) -> list[Any]:
        """An array."""
        self.at += 1
        start, found = self.at, []
        self.take(SKIPPED)
        while not self.sees("]"):
            found.append(self.value(depth + 1))
            self.take(SKIPPED)
            if self.sees(","):
                self.take(SKIPPED)
            elif not self.text.startswith("]", self.at):
                if self.at >= len(self.text):
                    self.at = start
                    raise self.error("begins a list that no ] ends.")
                raise self.error("needs a comma or ] between the values of a list.")
        return found

    def inline_table(self, depth: int) -> dict[str, Any]:
        """A table in braces."""
        self.at += 1
        made: dict[str, Any] = {}
        line, lines = self.error("").line, self.lines
        self.lines, self.sections = {}, self.sections + 1  # its keys have no lines of their own
        section = f"{self.sections}"
        self.take(BLANKS)
        while not self.sees("}"):
            self.pair_inside(made, section, depth)
            self.take(BLANKS)
            if self.sees(","):
                self.take(BLANKS)
                if not self.text.startswith("}", self.at):
                    continue
            elif self.sees("}"):
                break
            raise TomlError(line, "has braces that need a comma between values, and } at the end.")
        self.lines = lines
        self.close(made)
        return made

    def pair_inside(self, table: dict[str, Any], section: str, depth: int) -> None:
        """A key and its value in braces."""
        path = self.keys()
        name = ".".join(path)
        if not self.sees("="):
            raise self.error("needs KEY = VALUE in its braces.")
        for part in path[:-1]:
            table = self.child(table, part, section, name)
        if path[-1] in table:
            raise self.error(f"has {name} a second time.")
        self.take(BLANKS)
        table[path[-1]] = self.value(depth + 1)

    def close(self, table: dict[str, Any]) -> None:
        """Let nothing be added to a table in braces, nor to those in it."""
        self.kinds[id(table)] = INLINE
        for one in table.values():
            if isinstance(one, dict):
                self.close(one)


def read_toml(text: str) -> Document:
    """The tables of a text. Raises TomlError for what is wrong, or not read here."""
    text = text.replace("\r\n", "\n")
    control = CONTROL.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise TomlError(line, f"has the control character {ascii(control.group())[1:-1]}.")
    return _Reader(text).document()
