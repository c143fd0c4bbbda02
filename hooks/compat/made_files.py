"""Writes files that are made from others, or says which of them are stale."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_or_check(module: str, texts: Mapping[Path, str], arguments: list[str]) -> int:
    """Write what is not as it must be, or with --check name it; the exit status.

    Args:
        module: what makes the files, as `python -m` takes it.
        texts: the text that each file must have.
        arguments: those of the command line.
    """
    stale = [
        file
        for file, text in texts.items()
        if not file.exists() or file.read_text(encoding="utf-8") != text
    ]
    if "--check" in arguments:
        for file in texts:
            print(f"{file.name} is {f'stale: python -m {module}' if file in stale else 'fresh'}")
        return 1 if stale else 0
    for file in stale:
        file.write_text(texts[file], encoding="utf-8")
    return 0
