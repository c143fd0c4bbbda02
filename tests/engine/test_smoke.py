"""`make smoke` on the real engine: a row is built, written down, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests import smoke
from tests.conftest import ROOT
from tests.support.process import run

# Without PyTorch and without a compiler of CUDA: the cheapest there is.
CHEAP = {"service": "simple", "package_manager": "pip", "torch_version": "none"}


def test_the_program_builds_a_row_and_writes_its_sizes_and_seconds(tmp_path: Path) -> None:
    rows = smoke.matrix(smoke.choices(smoke.questionnaire(tmp_path)))
    number, answers = next(
        (number, answers)
        for number, (answers, _) in enumerate(rows, 1)
        if CHEAP.items() <= answers.items() and answers["python_version"] == "3.11"
    )
    before = smoke.images_here()
    output = tmp_path / "output"
    command = ("-m", "tests.smoke", "--rows", str(number), "--output", output)
    environment = os.environ | {"HEARTH_SMOKE": "required"}
    result = run(sys.executable, *command, cwd=ROOT, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    (row,) = json.loads((output / "smoke.json").read_text())["rows"]
    assert (row["number"], row["status"], row["answers"]) == (number, smoke.PASSED, answers)
    assert 20e6 < row["bytes"]["runtime"] < row["bytes"]["dev"]
    assert row["seconds"].keys() == {"runtime", "dev"}
    table = (output / "smoke.md").read_text()
    assert f"Of the {len(rows)} rows of the matrix, 1 passed, 0 failed, 0 could not" in table
    assert f"| {smoke.described(answers)} |" in table
    assert smoke.images_here() <= before | {row[1]["base_image"] for row in rows}
