"""Bytes of a dependency file as text: any encoding that pip reads, and no binary file."""

from __future__ import annotations

import codecs
import contextlib
import re

from ..hosts import BadInputError

LONGEST_LINE = 200_000  # characters; locks that are written by programs have the longest ones
MOST_DIGITS = 1000  # of a number; a digest has 128
MOST_BYTES = 8_000_000  # the longest locks of public projects have a third of this
# The order of pip's own reader: UTF-32 begins like UTF-16.
# https://github.com/pypa/pip/blob/main/src/pip/_internal/req/req_file.py
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


class EmptyFileError(BadInputError):
    """A file without a word: pip takes it where another file includes it."""


def _by_encoding(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    # PowerShell's UTF-16 without a mark: every other byte is 0. It would pass for UTF-8.
    if content[1::2].count(0) > len(content) // 4:
        return content.decode("utf-16-le", "replace")
    named = [match for line in content.split(b"\n")[:2] if (match := _CODING.match(line))]
    for encoding in [*(match[1].decode("ascii") for match in named), "utf-8"]:
        with contextlib.suppress(LookupError, UnicodeDecodeError):
            return content.decode(encoding)
    return content.decode("latin-1")


def decoded(content: bytes, name: str) -> str:
    """The text of a file.

    Args:
        content: its bytes.
        name: what messages call it.

    Raises:
        BadInputError: it is empty, too long, no text, or has what no list of packages has.
    """
    if len(content) > MOST_BYTES:
        raise BadInputError(f"{name} is too long for a list of packages")
    text = _by_encoding(content)
    if re.search(r"[\x00-\x08\x0e-\x1a\x7f]", text):
        raise BadInputError(f"{name} is not a text file")
    if any(len(line) > LONGEST_LINE for line in text.splitlines()):
        raise BadInputError(f"{name} has a line of more than {LONGEST_LINE} characters")
    if re.search(rf"[0-9]{{{MOST_DIGITS}}}", text):
        raise BadInputError(f"{name} has a number of {MOST_DIGITS} digits or more")
    if not text.strip():
        raise EmptyFileError(f"{name} is empty")
    return text
