"""The comparison with an older release takes turns, and makes both environments cold alike."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import bench_release
from tests.bench_release import Pair, Step, compared, forget_environment
from tests.conftest import Generate
from tests.support.project import Person, Project


def pair(folder: Path) -> Pair:
    person = Person(1, 1, "nobody", folder)
    old, new = (Project(folder / name, person) for name in ("old", "new"))
    return Pair("pip", old, new, print)


def test_both_take_turns_and_the_first_one_changes(tmp_path: Path) -> None:
    log: list[tuple[str, str]] = []
    step = Step(
        "step",
        lambda _, one, number: log.append(("prepare", f"{one.folder.name}{number}")),
        lambda one, number: log.append(("act", f"{one.folder.name}{number}")),
    )
    found = compared(pair(tmp_path), step, 2)
    assert [words[1] for words in log[::2]] == ["old0", "new0", "new1", "old1"]
    assert [words[0] for words in log] == ["prepare", "act"] * 4
    assert [len(times) for times in found.values()] == [2, 2, 1]


@pytest.mark.parametrize("manager", ["pip", "conda"])
def test_a_cold_environment_changes_one_line_below_all_stages_with_packages(
    tmp_path: Path, generate: Generate, manager: str
) -> None:
    both = pair(tmp_path)
    generate(both.new.folder, accelerator="cpu", torch_version="none", package_manager=manager)
    file = both.new.docker / "Dockerfile"
    before = file.read_text().splitlines()
    for _ in range(2):
        forget_environment(both, both.new, 0)
        after = file.read_text().splitlines()
        (added,) = [line for line in after if line.startswith("ENV BENCH_RUN=")]
        after.remove(added)
        assert after == before
    builder, _, rest = file.read_text().partition(added)
    assert re.search(r"\nFROM (os|python) AS builder\n", builder)
    assert "/opt/venv/bin/python" in builder
    assert "FROM builder AS lock" in rest


def test_a_version_that_was_never_released_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"0\.0\.1"):
        bench_release.checked_out("0.0.1", tmp_path / "clone")
