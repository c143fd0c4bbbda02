"""Conflicts in lists of packages: what a person would not call one is none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooks.update.merge import join_tables, kind_of, merge, merge_by_lines, merge_names, reads


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


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "expected"),
    [
        ("e\nf\n", "e\nf", "e\nf\n!new\n", "e\nf\n!new"),
        ("e\nf", "e\nf\nmine", "e\nf\n!new\n", "e\nf\n!new\nmine\n"),
        ("e\nf", "e\nf\nmine\n", "e\nf\n!new", "e\nf\n!new\nmine\n"),
    ],
)
@pytest.mark.parametrize("name", [".gitignore", "docker-amd64/.dockerignore", "README.md"])
def test_a_last_line_that_does_not_end_joins_no_other(
    name: str, base: str, ours: str, theirs: str, expected: str
) -> None:
    assert merge(name, base, ours, theirs) == (expected, False)


@pytest.mark.parametrize("name", ["entrypoint.sh", "README.md"])
def test_each_line_of_the_users_ends_as_it_did(name: str) -> None:
    base = "a\nb\nc\nd\ne\nf\n"
    theirs = f"{base}new\n"
    one = base.replace("b\n", "b\r\n")
    assert merge(name, base, one, theirs) == (f"{one}new\n", False)
    every = base.replace("\n", "\r\n")
    assert merge(name, base, every, theirs) == (f"{every}new\r\n", False)
    assert merge(name, base, every[:-2], theirs)[1] == (name == "entrypoint.sh")


ROWS = "".join(f"  k{number}: {number}\n" for number in range(9))
SERVICE = f"services:\n{ROWS}"
PROJECT = '[project]\nname = "x"\n' + "".join(f"k{number} = 1\n" for number in range(9))
ROWS_OF_KEYS = "".join(f"k{number}=1\n" for number in range(9))
TABLE = "\n[tool.uv]\npackage = {}\n"


@pytest.mark.parametrize(
    ("name", "base", "ours", "theirs"),
    [
        (
            "compose.yaml",
            SERVICE,
            SERVICE.replace("  k0", "  mem_limit: 8g\n  k0"),
            f"{SERVICE}  mem_limit: 16g\n",
        ),
        (
            "pyproject.toml",
            PROJECT,
            PROJECT.replace("k0", 'version = "1"\nk0'),
            f'{PROJECT}version = "2"\n',
        ),
        (
            "pyproject.toml",
            f"[a]\nb = 1\n\n{PROJECT}",
            f"{TABLE.format('true')}[a]\nb = 1\n\n{PROJECT}",
            f"[a]\nb = 1\n\n{PROJECT}{TABLE.format('false')}",
        ),
        (
            "docker-amd64/apps.ini",
            f"[a]\n{ROWS_OF_KEYS}",
            f"[jupyter]\nport = 1\n[a]\n{ROWS_OF_KEYS}",
            f"[a]\n{ROWS_OF_KEYS}[jupyter]\nport = 2\n",
        ),
        (
            "docker-amd64/tuning.env",
            ROWS_OF_KEYS,
            f"MALLOC=1\n{ROWS_OF_KEYS}",
            f"{ROWS_OF_KEYS}MALLOC=2\n",
        ),
    ],
)
def test_a_key_that_both_add_to_one_table_is_left_to_the_person(
    name: str, base: str, ours: str, theirs: str
) -> None:
    more = theirs.replace("k4", "k4b")  # what disturbs nothing is merged
    text, conflicts = merge(name, base, ours, more)
    assert conflicts
    marked = re.split(r"(?m)^(?:<<<<<<<|=======|>>>>>>>).*\n", text)
    assert len(marked) == 4
    assert "k4b" in marked[0]
    chosen = f"{marked[0]}{marked[1]}{marked[3]}"
    assert chosen == ours.replace("k4", "k4b")
    assert reads(kind_of(name), chosen)


def test_a_section_that_both_add_is_one() -> None:
    base = f"[a]\n{ROWS_OF_KEYS}"
    ours, theirs = f"[b]\nport = 1\n{base}", f"{base}[b]\npage = /\n"
    assert merge("apps.ini", base, ours, theirs) == (f"[b]\nport = 1\npage = /\n\n{base}", False)


def test_what_git_cannot_merge_is_the_users_and_a_conflict() -> None:
    assert merge("entrypoint.sh", "a\0\n", "b\n", "c\n") == ("b\n", True)


def test_tables_are_not_joined_across_the_marks_of_a_conflict() -> None:
    text = "<<<<<<< before updating\n[a]\nb = 1\n=======\n[a]\nb = 2\n>>>>>>> after updating\n"
    assert join_tables(text) == text


LINES = st.builds(
    lambda lines, end: "\n".join(lines) + end * bool(lines),
    st.lists(st.sampled_from("abcdef"), max_size=8),
    st.sampled_from(["\n", ""]),
)


@given(LINES, LINES)
def test_who_changed_nothing_gets_the_others_version(base: str, new: str) -> None:
    assert merged(base, base, new) == new
    assert merged(base, new, base) == new
    assert merged(base, new, new) == new


@given(LINES, LINES, LINES)
def test_no_line_that_a_person_added_is_lost(base: str, ours: str, theirs: str) -> None:
    added = set(ours.splitlines()) - set(base.splitlines())
    text = merged(base, ours, theirs)
    if text is not None:
        assert added <= set(text.splitlines()) <= {*base.split(), *ours.split(), *theirs.split()}
    assert added <= set(merge_names(base, ours, theirs).splitlines())
