"""conda's environment files, read with the part of YAML that they are written in.

Lists in blocks and on one line, quoted texts, comments and one level of mappings. Anchors, tags,
tabs, texts over several lines and templates are refused: no guess is made about them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ..hosts import BadInputError
from . import conda_specs, requirements
from .found import Line

if TYPE_CHECKING:
    from .found import Open, Project

_KEY = re.compile(r"(?P<key>[A-Za-z_][\w.-]*|'[^']*'|\"[^\"]*\")\s*:(?:\s+(?P<rest>.*))?")


class _Row(NamedTuple):
    """A line of YAML that says something."""

    number: int
    indent: int
    text: str


def _without_comment(text: str) -> str:
    """A line without its comment; a # within quotes is none."""
    quote = ""
    for index, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and (index == 0 or text[index - 1] in " [,:-"):
            quote = character
        elif character == "#" and (index == 0 or text[index - 1] in " \t"):
            return text[:index].rstrip()
    return text.rstrip()


def _rows(text: str, name: str) -> list[_Row]:
    found: list[_Row] = []
    for number, whole in enumerate(text.splitlines(), 1):
        line = _without_comment(whole)
        bare = line.strip()
        if not bare or (bare == "---" and not found):
            continue
        if bare in {"---", "..."}:
            break
        indent = len(line) - len(line.lstrip())
        if "\t" in line[:indent]:
            raise BadInputError(f"{name}, line {number} is indented with a tab, which YAML refuses")
        found.append(_Row(number, indent, bare))
    return found


def _plain(text: str, name: str, number: int) -> str:
    """A text without its quotes.

    Raises:
        BadInputError: it is YAML that is not read here.
    """
    text = text.strip()
    if len(text) > 1 and text[0] in "'\"":
        if text[-1] != text[0]:
            raise BadInputError(f"{name}, line {number}: a quotation mark is missing")
        return text[1:-1].strip()
    if text[:1] in set("&*!|>@`%{"):
        what = {"&": "an anchor", "*": "an alias", "!": "a tag"}.get(text[0], f"a {text[0]!r}")
        if text != "*":
            raise BadInputError(
                f"{name}, line {number} has {what} of YAML, which is not read here: write it out"
            )
    return text


def _flow(text: str, name: str, number: int) -> list[str]:
    """The texts of a list on one line."""
    inner = text.strip()[1:-1].strip()
    if not text.strip().endswith("]") or re.search(r"[\[{]", re.sub(r"\w\[[^\]]*\]", "", inner)):
        raise BadInputError(
            f"{name}, line {number} has a list that is not read here: write one `- name` a line"
        )
    parts = re.findall(r"\s*('[^']*'|\"[^\"]*\"|(?:\[[^\]]*\]|[^,\[\]])+)\s*(?:,|$)", inner)
    return [_plain(part, name, number) for part in parts if part.strip()]


class _Reader:
    """Reads the rows of a file into its keys."""

    def __init__(self, text: str, name: str) -> None:
        self.rows, self.name, self.at = _rows(text, name), name, 0
        self.lists: dict[str, list[Line]] = {}
        self.pip: list[Line] = []

    def refuse(self, row: _Row) -> BadInputError:
        return BadInputError(f"{self.name}, line {row.number} is not read here: {row.text[:60]!r}")

    def read(self) -> None:
        while self.at < len(self.rows):
            row = self.rows[self.at]
            match = _KEY.fullmatch(row.text)
            if match is None or row.indent:
                raise self.refuse(row)
            key, rest = match["key"].strip("'\""), (match["rest"] or "").strip()
            self.at += 1
            if key in {"dependencies", "channels"}:
                self.lists[key] = self.items(row, rest)
            else:
                _plain(rest, self.name, row.number)
                self.skip(row.indent)

    def skip(self, indent: int) -> None:
        """Pass over what belongs to a key that is not needed."""
        while self.at < len(self.rows) and (
            self.rows[self.at].indent > indent or self.rows[self.at].text.startswith("- ")
        ):
            self.at += 1

    def items(self, key: _Row, rest: str) -> list[Line]:
        """The items of a list that belongs to a key."""
        if rest.startswith("["):
            return [Line(self.name, key.number, one) for one in _flow(rest, self.name, key.number)]
        if rest not in {"", "~", "null"}:
            _plain(rest, self.name, key.number)
            raise BadInputError(f"{self.name}, line {key.number} has no list of `- name` lines")
        found: list[Line] = []
        indent: int | None = None
        while self.at < len(self.rows):
            row = self.rows[self.at]
            if row.indent < key.indent or not row.text.startswith("-"):
                if row.indent > key.indent:
                    raise self.refuse(row)
                break
            if indent is None:
                indent = row.indent
            if row.indent != indent:
                if row.indent < indent:
                    break
                raise self.refuse(row)
            self.at += 1
            self.item(row, found)
        return found

    def item(self, row: _Row, found: list[Line]) -> None:
        text = row.text[1:].strip()
        match = _KEY.fullmatch(text)
        if match and "::" not in text:
            inner = _Row(row.number, row.indent + 1, match["key"])
            lines = self.items(inner, match["rest"] or "")
            if match["key"].strip("'\"") == "pip":
                self.pip += lines
            return
        found.append(Line(self.name, row.number, _plain(text, self.name, row.number)))


def read(project: Project, text: str, name: str, open_file: Open) -> None:
    """Add what an environment file asks for.

    Raises:
        BadInputError: it is none, or has YAML that is not read here.
    """
    if re.search(r"\{\{|\{%", text):
        raise BadInputError(f"{name} is a template: give the file that is made from it")
    reader = _Reader(text, name)
    reader.read()
    if "dependencies" not in reader.lists:
        raise BadInputError(
            f"{name} is not an environment file of conda: it has no `dependencies:`"
        )
    project.kind = "conda"
    project.channels += [line.text for line in reader.lists.get("channels", [])]
    for line in reader.lists["dependencies"]:
        conda_specs.add(project, line)
    for line in reader.pip:
        requirements.add(project, line, open_file, path=(name,))
