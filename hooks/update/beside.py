"""Names for a file that is put beside another, which nobody else has."""

from __future__ import annotations

import os
from pathlib import Path


def unused(path: Path, ending: str) -> Path:
    """The first of PATH.ending, PATH.ending2 ... that is not there."""
    number = 1
    while True:
        name = path.with_name(f"{path.name}.{ending}{number if number > 1 else ''}")
        if not os.path.lexists(name):
            return name
        number += 1
