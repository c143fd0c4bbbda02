"""The files of the repository that are made from the tables, and what they have to be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hooks import compat_choices, compat_docs, compat_table

# The module that makes a file (python -m MODULE writes it), the file, and the text it must have.
GENERATED: dict[str, tuple[Path, Callable[[], str]]] = {
    "hooks.compat_table": (compat_table.PACKED, compat_table.packed_text),
    "hooks.compat_choices": (
        compat_choices.FILE,
        lambda: compat_choices.choices_text(compat_table.load()),
    ),
    "hooks.compat_docs": (compat_docs.FILE, lambda: compat_docs.text(compat_table.load())),
}


def is_fresh(module: str) -> bool:
    """Whether a file of `GENERATED` is what its module makes of the tables as they are now."""
    file, text = GENERATED[module]
    return file.exists() and file.read_text(encoding="utf-8") == text()
