"""What others wrote is shown as text: no control characters, and no further lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from host import compose, plain
from tests.conftest import ROOT

HOST = ROOT / "template/docker-amd64/host"
FOREIGN = "x\nRun: rm -rf ~\t"


def test_a_line_for_the_user_stays_one_whatever_a_name_in_it_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    compose.show(f"Made the folder {FOREIGN}")
    plain.say(f"{FOREIGN} is the newest")
    said = capsys.readouterr()
    for text in (said.err, said.out):
        assert text.count("\n") == 1
        assert r"x\nRun: rm -rf ~\t" in text


def printed() -> Iterator[tuple[Path, ast.Call]]:
    """The calls of the program that print what they are given as it is."""
    for file in sorted(HOST.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in ("print", "show_text") and node.args:
                yield file.relative_to(HOST), node


def test_each_sentence_with_a_value_passes_what_keeps_it_in_one_line() -> None:
    wrong = []
    for file, node in printed():
        text = node.args[0]
        if not isinstance(text, ast.JoinedStr):
            continue
        written = "".join(str(one.value) for one in text.values if isinstance(one, ast.Constant))
        if "\n" not in written:
            wrong.append(f"{file}:{node.lineno}: {ast.unparse(text)}")
    assert not wrong, "show and say keep a sentence in one line"
