"""`make smoke` on the real engine: a row is built, written down, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest

from tests import smoke
from tests.support.engine import is_stand_in
from tests.support.index import PackageIndex

# Without PyTorch and without a compiler of CUDA: the cheapest there is, and what other tests build.
CHEAP = {
    "service": "simple",
    "package_manager": "pip",
    "torch_version": "none",
    "python_version": "3.11",
    "linux_distro": "debian-12",
}


def test_the_program_builds_a_row_and_writes_its_sizes_and_seconds(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = smoke.matrix(smoke.choices(smoke.questionnaire(tmp_path)))
    number, answers = next(
        (number, answers)
        for number, (answers, _) in enumerate(rows, 1)
        if CHEAP.items() <= answers.items()
    )
    if is_stand_in("debian:bookworm-slim"):
        # With an index of its own it would build anew what the other tests have built.
        machine = smoke.Machine(index)
        monkeypatch.setattr(smoke, "this_machine", lambda *_, **__: contextlib.nullcontext(machine))
    monkeypatch.setenv("HEARTH_SMOKE", "required")
    monkeypatch.setattr(
        sys, "argv", ["smoke", "--rows", str(number), "--output", str(tmp_path / "output")]
    )
    before = smoke.images_here()
    assert smoke.main() == 0
    (row,) = json.loads((tmp_path / "output/smoke.json").read_text())["rows"]
    assert (row["number"], row["status"], row["answers"]) == (number, smoke.PASSED, answers)
    assert 20e6 < row["bytes"]["runtime"] < row["bytes"]["dev"]
    assert row["seconds"].keys() == {"runtime", "dev"}
    table = (tmp_path / "output/smoke.md").read_text()
    assert f"Of the {len(rows)} rows of the matrix, 1 passed, 0 failed, 0 could not" in table
    assert f"| {smoke.described(answers)} |" in table
    made = smoke.images_here() - before
    assert not [name for name in made if name.startswith(answers["project_name"])]
