"""What this program writes is plain text, whatever others have put into it.

Names of devices, files and packages and the words of other programs come from elsewhere. With a
control character in them a terminal would do things; with a bidirectional mark it would show
something else than is there. https://trojansource.codes
"""

from __future__ import annotations

import io
import re
import shlex
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 80  # characters of a terminal's line
# All control characters but tab and line end; marks that change the direction of text.
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

BROKEN = re.compile(r"[\t\n]")  # what a text of several lines or columns has, and a name has not


def plain(text: str) -> str:
    """A text in which such characters are escapes, as Python writes them."""
    return UNSEEN.sub(lambda one: ascii(one[0])[1:-1], text)


def one_line(text: str) -> str:
    """A text of somebody else, which cannot look like further lines of this program."""
    return BROKEN.sub(lambda one: ascii(one[0])[1:-1], text)


def say(text: str) -> None:
    """Print a line of what a verb was asked for, whoever wrote parts of it."""
    print(one_line(text))


def quoted(text: str) -> str:
    """A text as a word of a command in one line, for bash and zsh if it has control characters."""
    if not BROKEN.search(text) and not UNSEEN.search(text):
        return shlex.quote(text)
    word = text.replace("\\", r"\\").replace("'", r"\'")
    return f"$'{plain(one_line(word))}'"


def wrapped(text: str) -> list[str]:
    """A text in lines that fit a terminal."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text with their cells under each other; a row is a line, whoever wrote it."""
    rows = [[*map(one_line, row)] for row in rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


class PlainStream(io.TextIOWrapper):
    """A stream that writes plain text."""

    def write(self, text: str) -> int:
        """Write a text; return how many characters that is."""
        return super().write(plain(text))


def write_plainly() -> None:
    """Make stdout and stderr plain. A path in another encoding is no reason to stop, either."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            options = {"encoding": stream.encoding, "errors": "backslashreplace"}
            buffering, through = stream.line_buffering, stream.write_through
            made = PlainStream(
                stream.detach(), **options, line_buffering=buffering, write_through=through
            )
            setattr(sys, name, made)
