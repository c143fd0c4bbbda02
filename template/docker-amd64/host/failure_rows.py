"""The table of failures: reads its rows from known_failures/, and recognises them in a text.

known_failures/all.txt says what a row is. It asks nothing of this machine: failures.py does, and
words what helps here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Dict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER = Path(__file__).parent / "known_failures"
EDIT = '"${EDITOR:-vi}" {folder}/'  # a file of docker-amd64 in the user's editor
# When a row counts: while a verb pushes or pulls an image; where somebody asks about a text.
REGISTRY, ASKED = "an image is pushed or pulled", "somebody asks about a text"


class Failure:
    """A row of the table; known_failures/all.txt says what its fields are.

    Attributes:
        name: the id.
        only: the kind of project that can meet it, "all" for all: the name of the row's file.
        says: what programs say.
        cause: sentences.
        run: commands by engine and host, "" for all others.
        look: the function that looks at this machine, as module.function; "" for none.
        when: "" if it can be known always.
        status: an exit status that means it.
        before: the row that is asked after this one.
    """

    def __init__(self, name: str, only: str):
        """Start a row, which has nothing yet."""
        self.name, self.only = name, only
        self.says: list[str] = []
        self.run: dict[str, str] = {}
        self.cause = self.look = self.when = self.status = self.before = ""


def read_rows(file: Path) -> list[Failure]:
    """The rows of a file."""
    rows: list[Failure] = []
    common: dict[str, str] = {}
    for line in file.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("= "):
            name, _, command = line.partition("  ")
            name = f"{{{name}}}"
            common[name] = f"{common[name]} && {command}" if name in common else command
            continue
        if not line.startswith(" "):
            rows.append(Failure(line, file.stem))
            continue
        field, _, value = (part.strip() for part in line.strip().partition("  "))
        word, _, kind = field.partition(" ")
        if word == "says":
            rows[-1].says.append(value)
        elif word == "cause":
            rows[-1].cause = f"{rows[-1].cause} {value}".strip()
        elif word in ("run", "edit"):
            command = common.get(value, value) if word == "run" else EDIT + value
            before = rows[-1].run.get(kind)
            rows[-1].run[kind] = f"{before} && {command}" if before else command
        else:
            setattr(rows[-1], word, value)
    return rows


@lru_cache(maxsize=None)
def table() -> tuple[Failure, ...]:
    """The rows that this project can meet, in the order in which they are asked."""
    files = sorted(FOLDER.glob("*.txt"), key=lambda file: (file.stem != "all", file.name))
    rows: list[Failure] = []
    for row in (row for file in files for row in read_rows(file)):
        names = [one.name for one in rows]
        rows.insert(names.index(row.before) if row.before in names else len(rows), row)
    return tuple(rows)


# ------------------------------------------------------------------------------- recognising one

Known = Dict[str, str]
PARTS = r"(\.\.\.|\{\w+\})"  # what is not itself in a text of the table
CLOSING = "`')]\""
# Words that may have blanks in them.
WORDS = {"{said}": ".+", "{advice}": ".+", "{path}": "[^\n`'\"]+"}


def pattern(text: str) -> str:
    """The regular expression of a text of the table."""
    parts = re.split(PARTS, text)
    made = r"\b" if re.match(r"\w", text) else ""  # not the end of another word
    for at, part in enumerate(parts):
        if at % 2 == 0:
            made += re.escape(part)
        elif part == "...":
            made += ".*?"
        else:
            until = parts[at + 1][:1]
            word = f"[^\n{re.escape(until)}]+" if until and until in CLOSING else r"[^\s`'\",]+"
            made += f"(?P<{part[1:-1]}>{WORDS.get(part, word)})"
    return made


def words_of(failure: Failure, text: str) -> Known | None:
    """What a text says of a failure; None if it is not about it. What is said last counts."""
    known: Known = {}
    for one in failure.says:
        every = list(re.finditer(pattern(one), text, re.IGNORECASE))
        if every:
            found = every[-1]
            line = text[text.rfind("\n", 0, found.start()) + 1 :].partition("\n")[0]
            known.setdefault("line", re.sub(r"^#\d+ [\d.]+ |^[\d.]+ ", "", line).strip())
            for name, value in found.groupdict().items():
                known.setdefault(name, value.strip())
    return known or None


def matches(
    text: str, *, registry: bool = False, asked: bool = False, status: int = 0
) -> Iterator[tuple[Failure, Known]]:
    """The rows that a text or an exit status may be about, the likeliest first."""
    for failure in table():
        now = {"": True, REGISTRY: registry, ASKED: asked}[failure.when]
        known = words_of(failure, text) if now else None
        if known is None and status and str(status) == failure.status:
            known = {"line": ""}
        if known is not None:
            yield failure, known


def row(name: str) -> Failure:
    """The row of an id."""
    return next(failure for failure in table() if failure.name == name)


def fill_in(text: str, known: Mapping[str, str]) -> str:
    """A text of the table with what is known in it; a word that is not known in capitals."""
    return re.sub(r"(?<!\$)\{(\w+)\}", lambda word: known.get(word[1], word[1].upper()), text)
