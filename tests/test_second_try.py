"""The second try of `.ci/run`: it tells chance from a fault, and lets no fault through."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.process import run

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci/second_try.py"
ENGINE, FAST = "tests/engine/test_{}.py::test_one[x]", "tests/test_fast.py::test_one"
BY_CHANCE = """
from pathlib import Path
import pytest

@pytest.fixture(scope="module")
def built():
    marker = Path(__file__).with_suffix(".seen")
    seen, _ = marker.exists(), marker.touch()
    assert seen, "the network is away for a moment"

def test_one(built): pass
def test_two(built): pass
"""


@pytest.fixture(scope="module")
def second_try() -> ModuleType:
    spec = importlib.util.spec_from_file_location("second_try", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("ended", "failed"),
    [
        pytest.param(None, [ENGINE.format("a")], id="pytest was killed"),
        pytest.param(3, [ENGINE.format("a")], id="pytest broke"),
        pytest.param(2, [ENGINE.format("a")], id="somebody stopped it"),
        pytest.param(0, [], id="linters failed"),
        pytest.param(1, [], id="nobody knows what failed"),
        pytest.param(1, [FAST], id="a test without the engine"),
        pytest.param(1, [ENGINE.format("a"), FAST], id="one of both kinds"),
        pytest.param(1, [ENGINE.format(name) for name in "abcd"], id="the engine is broken"),
    ],
)
def test_what_tells_nothing_is_not_tried_again(
    second_try: ModuleType, ended: int | None, failed: list[str]
) -> None:
    assert second_try.files_to_try(ended, failed) == []


def test_a_few_files_of_engine_tests_are_tried_again(second_try: ModuleType) -> None:
    failed = [ENGINE.format(name) for name in "abca"]
    assert second_try.files_to_try(1, failed) == [f"tests/engine/test_{name}.py" for name in "abc"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose one file of engine tests fails when it runs for the first time."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / "tests/engine").mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / ".ci")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    conftest = (ROOT / "tests/conftest.py").read_text()
    hook = conftest[conftest.index("def pytest_sessionfinish") :].partition("\n\n\n")[0]
    (tmp_path / "conftest.py").write_text(f"import pytest\n\n\n{hook}\n")
    (tmp_path / "tests/engine/test_chance.py").write_text(BY_CHANCE)
    return tmp_path


def test_what_passes_the_second_time_is_named_and_stops_nothing(repository: Path) -> None:
    first = run(sys.executable, "-m", "pytest", "-q", cwd=repository)
    assert first.returncode == 1
    again = run(sys.executable, ".ci/second_try.py", cwd=repository)
    assert again.returncode == 0, again.stdout + again.stderr
    names = ["tests/engine/test_chance.py::test_one", "tests/engine/test_chance.py::test_two"]
    assert again.stdout.rstrip().splitlines()[-2:] == [f"  {name}" for name in names]


def test_what_fails_the_second_time_stops_all(repository: Path) -> None:
    (repository / "tests/engine/test_chance.py").write_text("def test_one(): assert False\n")
    assert run(sys.executable, "-m", "pytest", "-q", cwd=repository).returncode == 1
    assert run(sys.executable, ".ci/second_try.py", cwd=repository).returncode == 1
    kept = repository / ".pytest_cache/v/cache/lastfailed"
    assert list(json.loads(kept.read_text())) == ["tests/engine/test_chance.py::test_one"]
