"""Before an update: give a recorded answer the new name of its question.

    python -B <template>/hooks/update/rename_answer.py ANSWERS_FILE OLD NEW

A migration of copier.yml calls it; docs/developing.md shows one. Without it Copier would ask the
question anew and take its default. It exits 0 whatever happens: a hook fails no update.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def renamed(text: str, old: str, new: str) -> str:
    """The text of an answers file with one answer under its new name, if that is not there yet."""
    if re.search(rf"(?m)^{re.escape(new)}:", text):
        return text
    return re.sub(rf"(?m)^{re.escape(old)}:", f"{new}:", text)


def main(file: str, old: str, new: str) -> int:
    """The command line; returns 0 whatever happens."""
    try:
        path = Path(file)
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        path.write_bytes(renamed(text, old, new).encode("utf-8", "surrogateescape"))
    except OSError as error:
        print(f"The answer {old} was not renamed to {new}: {error}.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
