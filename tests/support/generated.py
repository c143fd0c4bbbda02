"""The files of the repository that are made from the tables, and what they have to be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hooks.compat import make_choices, make_docs, table

# The module that makes a file (python -m MODULE writes it), the file, and the text it must have.
GENERATED: dict[str, tuple[Path, Callable[[], str]]] = {
    "hooks.compat.table": (table.PACKED, table.packed_text),
    "hooks.compat.make_choices": (
        make_choices.FILE,
        lambda: make_choices.choices_text(table.load()),
    ),
    "hooks.compat.make_docs": (make_docs.FILE, lambda: make_docs.text(table.load())),
}


def is_fresh(module: str) -> bool:
    """Whether a file of `GENERATED` is what its module makes of the tables as they are now."""
    file, text = GENERATED[module]
    return file.exists() and file.read_text(encoding="utf-8") == text()
