"""The tables of docs/compare.md: whole rows, words that are explained, a source for each tool."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs/compare.md").read_text()
WORDS = {"yes", "partly", "no", "?", "pip"}
# The name in the tables, where that of the sources is another one.
NAMES = {"EPFL": "EPFL's template"}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def section(title: str) -> str:
    (text,) = re.findall(rf"(?ms)^## {title}\n(.*?)(?=^## |\Z)", PAGE)
    return str(text)


TABLES = re.findall(r"(?m)(?:^\|.*\n)+", section("Point by point"))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: cells(table.split("\n")[2])[0])
def test_each_tool_has_a_word_for_each_point(table: str) -> None:
    head, _, *rows = table.splitlines()
    assert cells(head) == cells(TABLES[0].splitlines()[0])
    for row in rows:
        point, *words = cells(row)
        assert len(words) == len(cells(head)) - 1, point
        assert {*words} <= WORDS, point


def test_each_tool_has_a_version_that_was_read() -> None:
    read = {cells(line)[0] for line in section("Sources").splitlines() if line.startswith("| ")}
    tools = cells(TABLES[0].splitlines()[0])[2:]
    assert {NAMES.get(tool, tool) for tool in tools} == read - {"tool"}
