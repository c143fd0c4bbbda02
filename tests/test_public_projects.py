"""The table of public projects: `make public` makes it, docs/developing.md shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests import public_projects
from tests.conftest import ROOT
from tests.public_projects import STEPS, Result, counted, source_of, table

ROWS = yaml.safe_load(public_projects.TABLE.read_text())


def test_each_project_is_known_by_a_commit_and_shown_in_the_docs() -> None:
    docs = (ROOT / "docs/developing.md").read_text()
    shown = re.findall(r"(?m)^\| ([\w.-]+/[\w.-]+) \| `([0-9a-f]{7})` \| (.*?) \|", docs)
    assert shown == [(row["project"], row["commit"][:7], row["habit"]) for row in ROWS]
    assert len({row["habit"] for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert re.fullmatch("[0-9a-f]{40}", row["commit"]), row
        assert row["imports"], row


def test_the_table_says_how_far_a_project_came() -> None:
    said = "Taken (2):\n  a\nLeft out (12):\n  b\nNo Changed (3):\n"
    counts = {"metadata": 4, **counted(said)}
    row = Result("x/y", "0123456789", "setup.py", [*STEPS[:3]], counts)
    last = table([row]).splitlines()[-1]
    assert last == "| x/y | `0123456` | setup.py | 4 | 2 |  | 12 | yes | yes | no |"


@pytest.mark.parametrize(("inside", "place"), [("repo/.git", "repo/.git"), ("repo", "repo")])
def test_a_mirror_has_the_repository_or_its_work_tree(
    tmp_path: Path, inside: str, place: str
) -> None:
    (tmp_path / "x+y" / inside).mkdir(parents=True)
    assert source_of("x/y", str(tmp_path)) == str(tmp_path / "x+y" / place)
    assert source_of("x/y", "") == "https://github.com/x/y"
