"""Conflicts in lists of packages: what a person would not call one is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooks.update.merge import join_tables, merge_by_lines, merge_names


def merged(base: str, ours: str, theirs: str) -> str | None:
    """What becomes of two changes of a list; None where a person has to choose."""
    text, conflicts = merge_by_lines(base, ours, theirs)
    return None if conflicts else text


BASE = 'a = 1\ndependencies = []\ndev = ["ruff"]\n'


def test_neighbouring_lines_do_not_disturb_each_other() -> None:
    ours = BASE.replace("[]", '["einops"]')
    theirs = BASE.replace("a = 1\n", 'a = 1\nversion = "0"\n').replace("ruff", "ruff>=1")
    assert merged(BASE, ours, theirs) == (
        'a = 1\nversion = "0"\ndependencies = ["einops"]\ndev = ["ruff>=1"]\n'
    )


def test_what_both_add_at_one_place_is_all_there() -> None:
    base = 'dev = [\n    "ruff",\n]\n'
    ours, theirs = (base.replace("]", f'    "{name}",\n]') for name in ("mypy", "pytest"))
    assert merged(base, ours, theirs) == ('dev = [\n    "ruff",\n    "pytest",\n    "mypy",\n]\n')
    assert merged(base, ours, ours) == ours


@pytest.mark.parametrize("theirs", ["a = 3\n", ""])
def test_two_changes_of_one_line_are_left_to_the_person(theirs: str) -> None:
    assert merged(BASE, BASE.replace("a = 1\n", "a = 2\n"), BASE.replace("a = 1\n", theirs)) is None


def test_a_list_of_names_keeps_what_was_added_and_what_was_removed() -> None:
    base = "# Needed.\nca-certificates\ntzdata\n\n# A compiler.\ngcc\n"
    ours = "# Needed.\nca-certificates\ntzdata\nlibgl1\n# for cv2\n\n# A compiler.\n"
    theirs = "# It calls:\ngcc\nlibc6-dev\n# Yours:\nca-certificates\ntzdata\n"
    assert merge_names(base, ours, theirs) == (
        "# It calls:\nlibc6-dev\n# Yours:\nca-certificates\ntzdata\nlibgl1\n# for cv2\n"
    )


def test_a_list_that_the_user_has_emptied_gets_new_names_only() -> None:
    base = "# To compile.\ngcc\n\n# More.\ngit\n"
    theirs = "# Compilers.\ngcc\n\n# More:\ngit\ncmake\n"
    assert merge_names(base, "", base.replace("# More.", "# More:")) == ""
    assert merge_names(base, "", theirs) == "cmake\n"
    assert merge_names(base, "git\n", theirs) == "git\ncmake\n"


def test_a_table_that_both_sides_have_added_is_one() -> None:
    header = "[tool.uv.sources]"
    once = f"[a]\nb = 1\n\n{header}\nc = 1\n"
    assert join_tables(once) == once
    twice = f"{once}\n{header}\nd = 1\n\n[e]\nf = 1\n"
    assert join_tables(twice) == f"[a]\nb = 1\n\n{header}\nc = 1\nd = 1\n\n[e]\nf = 1\n"
    assert join_tables(f"{once}{header}\n# mine\nd = 1") == f"{once}# mine\nd = 1\n"


LINES = st.lists(st.sampled_from("abcdef"), max_size=8).map(lambda x: "".join(f"{y}\n" for y in x))


@given(LINES, LINES)
def test_who_changed_nothing_gets_the_others_version(base: str, new: str) -> None:
    assert merged(base, base, new) == new
    assert merged(base, new, base) == new
    assert merged(base, new, new) == new


@given(LINES, LINES, LINES)
def test_no_line_that_a_person_added_is_lost(base: str, ours: str, theirs: str) -> None:
    added = set(ours.splitlines()) - set(base.splitlines())
    text = merged(base, ours, theirs)
    assert text is None or added <= set(text.splitlines())
    assert added <= set(merge_names(base, ours, theirs).splitlines())
