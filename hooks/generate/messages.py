"""Splits a page, Markdown with statements of Jinja, into what is translated and what stays.

A message is a heading, a paragraph, an item of a list, a cell of a table, or a comment behind a
command. Commands, blank lines and statements of Jinja are no messages, nor is what has no word
beside code.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from jinja2 import Environment, TemplateSyntaxError, nodes

JINJA = Environment(autoescape=True)  # it only parses
STATEMENT = re.compile(r"\s*(\{%.*%\}|\{#.*#\}|<!--.*-->)\s*")  # a comment of Markdown, too
HEADING = re.compile(r"(#+ )(.*)")
COMMENT = re.compile(r"( {4}.*?\s# )(.*)")
ITEM = re.compile(r"([-*] |\d+\. )(.*)")
# A whole expression of Jinja, an escaped character, or anything else, of which a bar ends a cell.
CELL = re.compile(r"\{\{.*?\}\}|\\.|[^|]")
RULE = re.compile(r"[-:| ]+")  # below the head of a table
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
TARGET = re.compile(r"\]\(([^)]*)\)")
ADDRESS = re.compile(r"(?a:https?://[\w./%~#?=&:+-]*[\w/])")
NUMBER = re.compile(r"\d+(?:\.\d+)*")
LETTER = re.compile(r"[^\W\d_]")
# What Markdown would read as something else than words, at the start of a line.
NOT_WORDS = re.compile(r"[#|>]|[-*+] |\d+[.)] |```|~~~")
UNBROKEN = re.compile(rf"\{{\{{.*?\}}\}}|{CODE.pattern}|\[[^]]*\]\([^)]*\)")
WIDTH = 120
PARAGRAPH, ITEM_OF_LIST, CELL_OF_TABLE = "paragraph", "item of a list", "cell of a table"


class Piece(NamedTuple):
    """A part of a page: its text as it is, and the message in it, "" if there is none."""

    text: str
    message: str = ""
    kind: str = ""


class Content(NamedTuple):
    """What a translation may change of a message, and what not."""

    words: str
    """What a reader sees, with every text that an expression may print."""
    expressions: Counter[str]
    """The expressions of Jinja, without the texts that they print."""


def _printed(node: nodes.Node) -> Iterator[nodes.Const]:
    """The texts that an expression may print, not those that it compares."""
    if isinstance(node, nodes.Const):
        yield node
    elif isinstance(node, nodes.CondExpr):
        yield from _printed(node.expr1)
        if node.expr2:
            yield from _printed(node.expr2)
    elif isinstance(node, nodes.Concat):
        for part in node.nodes:
            yield from _printed(part)


def content(message: str) -> Content:
    """Take a message apart.

    Raises:
        ValueError: it has a statement of Jinja, or an expression that cannot be read.
    """
    try:
        body = JINJA.parse(message).body
    except TemplateSyntaxError as error:
        raise ValueError(f"Jinja cannot read it: {error.message}") from error
    words: list[str] = []
    expressions: Counter[str] = Counter()
    for output in body:
        if not isinstance(output, nodes.Output):
            raise ValueError("it has a statement of Jinja")  # noqa: TRY004  of the text, not a type
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                words.append(node.data)
                continue
            for text in _printed(node):
                words.append(f" {text.value} ")
                text.value = ""
            expressions[repr(node)] += 1
    return Content("".join(words), expressions)


def bare(words: str) -> str:
    """What is left of words without code, and without what links lead to."""
    return ADDRESS.sub("", TARGET.sub("]", CODE.sub("", words)))


def _piece(text: str, kind: str) -> Piece:
    message = re.sub(r"\s*\n\s*", " ", text).strip()
    found = LETTER.search(bare(content(message).words))
    return Piece(text, message if found else "", kind if found else "")


def _row(line: str) -> Iterator[Piece]:
    """The cells of a row of a table, and what is between them."""
    at = 0
    for cell in re.finditer(rf"(?:{CELL.pattern})+", line):
        inner = cell.group().strip()
        start = cell.start() + cell.group().find(inner)
        yield Piece(line[at:start])
        yield _piece(inner, CELL_OF_TABLE)
        at = start + len(inner)
    yield Piece(line[at:])


def _line(line: str) -> Iterator[Piece] | None:
    """The pieces of a line that is not part of a paragraph; None for one that is."""
    if not line.strip() or STATEMENT.fullmatch(line) or RULE.fullmatch(line):
        return iter([Piece(line)])
    if line.startswith("|"):
        return _row(line)
    if line.startswith("    "):
        found = COMMENT.fullmatch(line)
        kind = "comment behind a command"
        return iter([Piece(found[1]), _piece(found[2], kind)] if found else [Piece(line)])
    heading = HEADING.fullmatch(line)
    return iter([Piece(heading[1]), _piece(heading[2], "heading")]) if heading else None


def pieces(page: str) -> Iterator[Piece]:
    """Split a page; the texts of all pieces together are the page.

    Raises:
        ValueError: a paragraph has a statement of Jinja, or an expression that cannot be read.
    """
    paragraph: list[str] = []

    def ended() -> Iterator[Piece]:
        if paragraph:
            text = "\n".join(paragraph)
            item = ITEM.match(text)
            mark = item[1] if item else ""
            yield Piece(mark)
            yield _piece(text[len(mark) :], ITEM_OF_LIST if item else PARAGRAPH)
            yield Piece("\n")
            paragraph.clear()

    for line in page.splitlines():
        text = "\n".join(paragraph)
        # An expression may go on in the next lines, which look like anything.
        found = None if text.count("{{") > text.count("}}") else _line(line)
        if found is not None or ITEM.match(line):
            yield from ended()
        if found is None:
            paragraph.append(line)
            continue
        yield from found
        yield Piece("\n")
    yield from ended()


def _changed(message: str, translation: str) -> Iterator[str]:
    """What a reader types or follows, where a translation has not the same."""
    for pattern, what in ((CODE, "code"), (TARGET, "a link"), (ADDRESS, "an address")):
        was, now = (
            Counter(re.sub(r"\s+", " ", found.group()) for found in pattern.finditer(text))
            for text in (message, translation)
        )
        if was != now:
            yield f"{what} is lost or changed: {', '.join([*(was - now), *(now - was)])}"


def faults(message: str, translation: str, kind: str) -> Iterator[str]:
    """Why a translation cannot stand for a message, a clause for each reason."""
    try:
        old, new = content(message), content(translation)
    except ValueError as error:
        yield str(error)
        return
    if old.expressions != new.expressions:
        yield "an expression of Jinja is lost or changed; only the texts that it prints may be"
    yield from _changed(message, translation)
    if message.count("**") != translation.count("**"):
        yield "bold words are lost or added"
    lost = Counter(NUMBER.findall(bare(old.words))) - Counter(NUMBER.findall(bare(new.words)))
    if lost:
        yield f"a number is lost: {', '.join(lost)}"
    if "\n" in translation or translation != translation.strip():
        yield "it has a line end, or a blank around it"
    if kind == CELL_OF_TABLE:
        if not re.fullmatch(rf"(?:{CELL.pattern})+", translation):
            yield r"a bar would end the cell: write \|"
    elif NOT_WORDS.match(translation):
        yield "Markdown reads its start as something else than words"


def wrapped(translation: str, kind: str) -> str:
    """A paragraph or an item in lines, unless that would change what Markdown or Jinja reads."""
    kept = UNBROKEN.sub(lambda found: found.group().replace(" ", "\0"), translation)
    lines = textwrap.wrap(kept, WIDTH, break_long_words=False, break_on_hyphens=False)
    if any(NOT_WORDS.match(line) for line in lines):
        return translation
    indent = "  " if kind == ITEM_OF_LIST else ""
    return f"\n{indent}".join(lines).replace("\0", " ")
