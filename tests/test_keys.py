"""docs/keys.md has every key of .env, and the pages name no other."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from hooks.generate import make_keys
from hooks.generate.make_keys import EXAMPLE, Row, examples, known_keys, rows_of
from host.failure_rows import table
from tests.conftest import ROOT
from tests.support.configurator import some_answers
from website.python.answers import given
from website.python.questions import Questionnaire

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# How sentences name a key of .env, also those of a failure's cause.
NAMED = re.compile(
    r"\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)(?:=[^\s`]*)?`? (?:in|of) `?(?:docker-amd64/)?\.env\b(?!\.)"
)
# The causes of failures have capitals where the table has a word that gets known.
NOT_TOLD = {word.upper() for row in table() for word in re.findall(r"\{(\w+)\}", row.cause)}
ON_PAGE = re.compile(r"(?m)^\| `([A-Z][A-Z0-9_]*)` \| .* \| (.*?) ?\|$")


def test_the_page_has_each_key_once() -> None:
    listed = [key for key, _ in ON_PAGE.findall(make_keys.DOCS.read_text("utf-8"))]
    assert len(listed) == len({*listed})
    assert {*listed} == known_keys() == {row.key for rows in examples().values() for row in rows}


def test_a_key_has_its_value_and_the_comment_above_it() -> None:
    text = "# About all.\n\n# Of two,\n# in two lines.\nA=\n# B=x\n# Of one.\nC=1\n"
    assert [*rows_of(text)] == [
        Row("A", "", True, "A", "Of two, in two lines."),
        Row("B", "x", False, "A", "Of two, in two lines."),
        Row("C", "1", True, "C", "Of one."),
    ]


def test_every_project_has_the_keys_without_a_condition_and_no_unknown_one() -> None:
    always = {key for key, when in ON_PAGE.findall(make_keys.DOCS.read_text("utf-8")) if not when}
    questions = Questionnaire(computed=make_keys.values_read())
    randomly = random.Random(f"keys {os.environ['HEARTH_SEED']}")
    for _ in range(30):
        answers = some_answers(randomly)
        _, known = questions.answer(given(answers))
        keys = {row.key for row in rows_of(questions.render(EXAMPLE, known))}
        assert always <= keys <= known_keys(), answers


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_key_that_a_page_names_exists(page: Path) -> None:
    assert {*NAMED.findall(page.read_text("utf-8"))} <= known_keys() | NOT_TOLD


def test_the_pages_name_keys_as_the_test_above_expects() -> None:
    assert NAMED.findall("`CA_BUNDLE` in `.env`, CPUS of .env; A=1 in docker-amd64/.env") == [
        *("CA_BUNDLE", "CPUS", "A"),
    ]
    assert sum(len(NAMED.findall(page.read_text("utf-8"))) for page in PAGES) > 20
