"""TOML as values, and the lines on which its keys are."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from .text import FileError

HEADER = re.compile(r"\s*\[\[?\s*([^\[\]#]+?)\s*\]\]?")
KEY = re.compile(r"\s*([\w-]+|\"[^\"]*\"|'[^']*')\s*[.=]")


def values_of(text: str, where: str) -> dict[str, Any]:
    """The content of a TOML file; `where` is what messages call it.

    Raises:
        FileError: it is no TOML, or this Python cannot read any.
    """
    for module in ("tomllib", "tomli"):
        try:
            loads = import_module(module).loads
        except ImportError:
            continue
        try:
            found: dict[str, Any] = loads(text)
        except (ValueError, RecursionError) as error:
            raise FileError(f"{where} is no TOML: {error}.") from None
        return found
    raise FileError(f"{where} cannot be read by Python 3.10 without tomli.")


def key_lines(text: str) -> dict[tuple[str, str], int]:
    """The line of each key by its table and name; the table itself is ("name", "")."""
    found: dict[tuple[str, str], int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := HEADER.match(line):
            names = re.findall(r"[\w-]+|\"[^\"]*\"|'[^']*'", header[1])
            table = ".".join(name.strip("\"'") for name in names)
            found.setdefault((table, ""), number)
        elif key := KEY.match(line):
            found.setdefault((table, key[1].strip("\"'")), number)
    return found


def line_of(lines: dict[tuple[str, str], int], table: str, key: str) -> int:
    """The line of a key, or of what it is in; 0 where neither is found."""
    if (table, key) in lines:
        return lines[table, key]
    outer, _, last = table.rpartition(".")
    return lines.get((table, ""), line_of(lines, outer, last) if table else 0)


def table_of(values: Any, *path: str) -> dict[str, Any]:
    """A table in a table, {} where there is none."""
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else {}


def texts_in(values: Any) -> list[str]:
    """The texts of a list, or one text."""
    listed = values if isinstance(values, list) else [values]
    return [value for value in listed if isinstance(value, str)]
