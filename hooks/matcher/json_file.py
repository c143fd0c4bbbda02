"""A JSON document that somebody names: a file, a pipe of the shell, or standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .hosts import BadInputError

MOST_CHARACTERS = 20_000_000


def read_json(file: str, what: str) -> object:
    """The JSON of a file, of a pipe such as `<(command)`, or, for "-", of standard input.

    Args:
        file: its path.
        what: the document that is wanted, for a sentence: "the JSON of the host probe".

    Raises:
        BadInputError: it cannot be read, is too long, or is not JSON.
    """
    try:
        text = _text(file)
    except UnicodeDecodeError:
        raise BadInputError(f"{file} is not {what}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is not one of a file"
        raise BadInputError(f"{file} cannot be read: {reason}") from None
    if text is None:
        raise BadInputError(f"{file} cannot be read: it is a named pipe, not a file")
    if len(text) > MOST_CHARACTERS:
        raise BadInputError(f"{file} is too long for {what}")
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        raise BadInputError(f"{file} is not {what}") from None
    return document


def _text(file: str) -> str | None:
    """The text, of which more than the limit is not read; None for a pipe of the file system."""
    if file == "-":
        return sys.stdin.read(MOST_CHARACTERS + 1)
    path = Path(file)
    # Nobody may ever write into a named pipe. That of a shell has no path of its own.
    if path.is_fifo() and path.resolve().exists():
        return None
    with path.open(encoding="utf-8-sig") as opened:
        return opened.read(MOST_CHARACTERS + 1)
