"""Makes the table of questions in docs/choose.md from copier.yml and question_words.yml.

python -m hooks.generate.make_questions            write it
python -m hooks.generate.make_questions --check    say whether it is fresh (exit status 1 if not)

The questions, their order and the choices of those that take several are copier.yml's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from hooks.compat.made_files import write_or_check
from hooks.generate.make_computed import questions

ROOT = Path(__file__).resolve().parents[2]
MODULE = "hooks.generate.make_questions"
WORDS = Path(__file__).with_name("question_words.yml")
DOCS = ROOT / "docs" / "choose.md"
HEAD = "| question | asked | default | decides |\n|---|---|---|---|\n"


class WordsError(Exception):
    """The words are not those of the questions; the message names what is missing or too much."""


def _same(what: str, wanted: set[str], found: set[str]) -> None:
    """Raise WordsError where two sets of names differ."""
    for name in sorted(wanted ^ found):
        problem = "has no words in" if name in wanted else "is not in copier.yml, but in"
        raise WordsError(f"{what} {name} {problem} {WORDS.name}.")


def decides(name: str, words: Any, choices: list[str]) -> str:
    """What a question decides: a text, or one with the words of each choice."""
    what = f"The choice of {name}"
    if isinstance(words, str):
        _same(what, set(choices), {one for one in choices if f"`{one}`" in words})
        return words
    _same(what, set(choices), set(words))
    return "; ".join(f"`{choice}`: {words[choice]}" for choice in choices)


def choices_of(question: dict[str, Any]) -> list[str]:
    """What can be chosen; a choice that is not always offered has a table with its value."""
    given = question["choices"].values()
    return [one["value"] if isinstance(one, dict) else one for one in given]


def rows(asked: dict[str, dict[str, Any]], words: dict[str, dict[str, Any]]) -> list[str]:
    """The rows of the table. A row with several names is at the place of its first question."""
    by_first = {names.split(", ")[0]: names for names in words}
    _same("The question", set(asked), {one for names in words for one in names.split(", ")})
    lines = []
    for name, question in asked.items():
        if name not in by_first:
            continue
        row = words[by_first[name]]
        # Of one that takes a single choice, the page says what it is about.
        values = choices_of(question) if question.get("multiselect") else []
        cells = [
            ", ".join(f"`{one}`" for one in by_first[name].split(", ")),
            *(row["asked"], row["default"], decides(name, row["decides"], values)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def text() -> str:
    """The text that docs/choose.md must have.

    Raises:
        WordsError: a question or a choice has no words, or words have none.
    """
    asked = {name: row for name, row in questions().items() if row.get("when") is not False}
    before, head, rest = DOCS.read_text(encoding="utf-8").partition(HEAD)
    made = rows(asked, yaml.safe_load(WORDS.read_text(encoding="utf-8")))
    return f"{before}{head}{chr(10).join(made)}\n\n{rest.partition(chr(10) * 2)[2]}"


def main(arguments: list[str]) -> int:
    """Write the table, or with --check compare it with the questions."""
    try:
        made = text()
    except WordsError as error:
        print(error, file=sys.stderr)
        return 1
    return write_or_check(MODULE, {DOCS: made}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
