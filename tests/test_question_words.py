"""The table of questions in docs/choose.md has each question and each choice of several."""

from __future__ import annotations

from typing import Any

import pytest

from hooks.generate.make_questions import HEAD, WordsError, rows, text

ASKED: dict[str, dict[str, Any]] = {
    "first": {},
    "second": {},
    "third": {"multiselect": True, "choices": {"a: one": "a", "b: two": "b"}},
}
ROW = {"asked": "always", "default": "none", "decides": "all"}
THIRD = {**ROW, "decides": {"b": "two", "a": "one"}}


def test_a_row_can_be_of_several_questions_and_choices_are_in_their_order() -> None:
    assert rows(ASKED, {"third": THIRD, "first, second": ROW}) == [
        "| `first`, `second` | always | none | all |",
        "| `third` | always | none | `a`: one; `b`: two |",
    ]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"first": ROW, "third": THIRD}, "The question second has no words"),
        ({"first, second, old": ROW, "third": THIRD}, "The question old is not in copier.yml"),
        ({"first, second": ROW, "third": {**ROW, "decides": {"a": "one"}}}, "choice of third b"),
        ({"first, second": ROW, "third": {**ROW, "decides": "`a` or b"}}, "choice of third b"),
    ],
)
def test_words_that_are_not_those_of_the_questions_are_refused(
    words: dict[str, Any], named: str
) -> None:
    with pytest.raises(WordsError, match=named):
        rows(ASKED, words)


def test_what_is_around_the_table_is_kept() -> None:
    before, _, after = text().partition(HEAD)
    assert before.startswith("# Choose\n")
    assert "\n## Does it work on these GPUs?\n" in after
