"""What publish writes down about workers: `template.sh airflow up` tells it, in a file.

The file is in the home of Airflow, because with another variable a worker would be started anew,
and its tasks would end. While a worker is replaced, nothing is known of it: its former image and
commit would be wrong.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .exchange import WORKERS_FILE

WORKERS = Path("/airflow") / WORKERS_FILE


def change(changes: Mapping[str, Any]) -> None:
    """Replace what is known of environments; None forgets one. Raises OSError."""
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError):
        known.update(json.loads(WORKERS.read_text("utf-8")))
    known = {name: about for name, about in {**known, **changes}.items() if about is not None}
    handle, temporary = tempfile.mkstemp(dir=WORKERS.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(known, file)
    Path(temporary).replace(WORKERS)


if __name__ == "__main__":
    change(json.load(sys.stdin))
