"""The matrix of `make smoke`, and what its table says; rows are built in tests/engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import smoke
from tests.conftest import ROOT
from tests.smoke import FAILED, NOT_BUILT, PASSED, Machine, Result
from tests.support.index import PackageIndex
from tests.support.pairs import Choices, items, pairs, uncovered
from tests.support.process import run
from tests.support.questionnaire import Answers, Questionnaire, Row
from tests.support.timing import commit


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Questionnaire:
    return smoke.questionnaire(tmp_path_factory.mktemp("smoke"))


@pytest.fixture(scope="module")
def choices(questions: Questionnaire) -> Choices:
    return smoke.choices(questions)


@pytest.fixture(scope="module")
def matrix(choices: Choices) -> list[Row]:
    return smoke.matrix(choices)


# --- the sampler ---------------------------------------------------------------------------------

SMALL = """\
drink: {type: str, choices: [tea, coffee, water]}
# Whoever drinks tea is asked, and the default of who is not asked decides too.
milk: {type: bool, default: true, when: "{{ drink == 'tea' }}"}
warm: {type: str, default: "{{ 'no' if drink == 'water' else 'yes' }}", when: false}
cup:
  type: str
  choices: |
    glass: {value: glass, validator: "{{ 'too hot' if warm == 'yes' }}"}
    mug: mug
    bowl: {value: bowl, validator: "{{ 'spills' if not milk }}"}
size: {type: int, choices: [1, 2], when: "{{ cup == 'mug' }}"}
sugar: {type: bool, default: false}
outside: {type: bool, default: false}
"""


@pytest.fixture
def small(tmp_path: Path) -> Questionnaire:
    (tmp_path / "template").mkdir()
    (tmp_path / "template/copier.yml").write_text(SMALL)
    commit(tmp_path / "template")
    return Questionnaire(tmp_path / "template", tmp_path / "project")


def by_trying(questions: Questionnaire) -> list[Answers]:
    """Every valid row, each question asked anew of Copier with nothing remembered."""
    rows: list[tuple[Answers, Answers]] = [({}, {})]
    for name in questions.details:
        longer = []
        for answers, known in rows:
            question = questions.question(name, known)
            if question.get_when():
                values = questions.values(name, known)
                longer += [(answers | {name: x}, known | {name: x}) for x in values]
            else:
                longer.append((answers, known | {name: question.get_default()}))
        rows = longer
    return [answers for answers, _ in rows]


def test_the_pairs_that_can_be_are_those_that_trying_everything_finds(small: Questionnaire) -> None:
    everything = by_trying(small)
    choices = Choices(small, {})
    assert len(everything) > 40
    assert choices.items() == {item for row in everything for item in items(row)}
    assert choices.pairs() == {pair for row in everything for pair in pairs(row)}


def test_a_way_has_what_is_wanted_or_there_is_none(small: Questionnaire) -> None:
    everything = by_trying(small)
    choices = Choices(small, {})
    for wanted in combinations(sorted(choices.items()), 3):
        possible = any(set(wanted) <= items(row) for row in everything)
        found = choices.way(dict(wanted)) if len(dict(wanted)) == len(wanted) else {}
        assert bool(found) == possible, wanted
        assert not found or (set(wanted) <= items(found) and found in everything)


def test_a_matrix_has_every_pair_in_fewer_rows_than_there_are(small: Questionnaire) -> None:
    choices = Choices(small, {})
    rows = choices.matrix()
    assert uncovered(choices, rows) == set()
    assert len(rows) < len(by_trying(small)) / 3


# --- the matrix ----------------------------------------------------------------------------------


def test_every_answer_and_every_possible_pair_of_answers_is_in_the_matrix(
    questions: Questionnaire, choices: Choices, matrix: list[Row]
) -> None:
    assert uncovered(choices, matrix) == set()
    offered = {item for answers, _ in matrix for item in items(answers)}
    assert offered == choices.items()
    assert {name for name, _ in offered} == set(questions.names())
    # No sample is smaller than the pairs of two questions, of which a row has one.
    names = [frozenset(name for name, _ in pair) for pair in choices.pairs()]
    assert len(matrix) < 2 * max(names.count(pair) for pair in set(names))


def test_each_row_is_a_valid_set_of_answers(questions: Questionnaire, matrix: list[Row]) -> None:
    for answers, known in matrix:
        so_far: Answers = {}
        for name in questions.details:
            if name in answers:
                question = questions.question(name, so_far)
                assert question.get_when(), (name, answers)
                if question.choices:
                    assert answers[name] in questions.values(name, so_far), (name, answers)
                else:
                    question.validate_answer(answers[name])
            if name in known:
                so_far[name] = known[name]


def test_the_matrix_is_the_same_in_every_run_and_can_be_read(matrix: list[Row]) -> None:
    environment = os.environ | {"PYTHONHASHSEED": "17"}
    listed = run(sys.executable, "-m", "tests.smoke", "--list", cwd=ROOT, env=environment)
    assert listed.stdout.splitlines() == [
        f"{number}: {smoke.described(answers)}" for number, (answers, _) in enumerate(matrix, 1)
    ]


def test_every_row_is_in_a_part_of_the_workflow() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    job = workflow["jobs"]["smoke"]
    parts = job["strategy"]["matrix"]["part"]
    assert parts == [*range(1, len(parts) + 1)]
    (command,) = (step["run"] for step in job["steps"] if "make smoke" in step.get("run", ""))
    assert f"--shard ${{{{ matrix.part }}}}/{len(parts)} " in command
    assert job["name"].endswith(f"of {len(parts)}")
    assert job["env"] == {"HEARTH_SMOKE": "required"}


# --- what cannot be built here -------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine without registries, whose index has PyTorch 2.13.0 for the CPU."""
    monkeypatch.setattr(smoke, "image_problem", lambda *_: "")
    monkeypatch.setattr(PackageIndex, "torch_version", "2.13.0")
    return Machine(PackageIndex(tmp_path, None, None))


def row(matrix: list[Row], **answers: Any) -> Row:
    return next(row for row in matrix if answers.items() <= row[0].items())


def test_what_a_machine_without_registries_lacks_is_named(
    matrix: list[Row], alone: Machine
) -> None:
    wheel = {"service": "simple", "package_manager": "pip", "python_version": "3.11"}
    here = row(matrix, torch_version="2.13.0", accelerator="cpu", **wheel)
    assert alone.why_not(here) == ""
    other = row(matrix, python_version="3.12")
    assert alone.why_not(other) == "there is no Python 3.12 here, only 3.11"
    cuda = ({**here[0], "accelerator": "cuda"}, here[1])
    assert alone.why_not(cuda) == "there is no CUDA build of PyTorch here"
    older = ({**here[0], "torch_version": "2.6.0"}, here[1])
    assert alone.why_not(older) == "there is no PyTorch 2.6.0 here, only 2.13.0"
    compiled = row(matrix, pytorch_build="source", python_version="3.11")
    assert alone.why_not(compiled) == ""


def test_nothing_is_lacking_where_there_is_a_network(
    matrix: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke, "image_problem", lambda *_: "")
    assert {Machine().why_not(row) for row in matrix} == {""}


@pytest.mark.parametrize(("required", "status"), [("", NOT_BUILT), ("required", FAILED)])
def test_what_cannot_be_built_fails_only_where_nothing_may_be_left_out(
    matrix: list[Row],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    required: str,
    status: str,
) -> None:
    monkeypatch.setattr(smoke, "images_here", set)
    monkeypatch.setattr(smoke, "image_problem", lambda name, _: f"there is no image {name}")
    monkeypatch.setenv("HEARTH_SMOKE", required)
    result = smoke.attempt(7, matrix[0], tmp_path, Machine(), prune=False)
    assert (result.number, result.status) == (7, status)
    assert result.says == f"there is no image {matrix[0][1]['base_image']}"


def test_a_row_whose_build_fails_says_which_step_and_why(
    matrix: list[Row],
    template: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The project is a real one, on a machine that has all programs but docker."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for place in os.defpath.split(os.pathsep):
            for program in Path(place).glob("*"):
                link = Path(folder, program.name)
                if program.name != "docker" and not link.is_symlink():
                    link.symlink_to(program)
        monkeypatch.setattr(smoke, "images_here", set)
        monkeypatch.setattr(smoke, "image_problem", lambda *_: "")
        monkeypatch.setenv("PATH", folder)
        result = smoke.attempt(3, matrix[2], template, Machine(), prune=False)
    assert result.status == FAILED
    assert result.says.startswith("config --quiet: Docker is not installed on this machine")
    assert "Docker is not installed" in capfd.readouterr().err
    assert not result.bytes


# --- the table -----------------------------------------------------------------------------------

FACTS = {
    "commit": "abc1234",
    "date": "2026-11-25",
    "engine": "28.5.2",
    "machine": "2 cores, Linux x86_64",
    "stand-ins": True,
}
RESULTS = [
    Result(3, {"service": "hub"}, FAILED, "verify: a | in words"),
    Result(
        1,
        {"project_name": "a-name", "service": "simple", "jit": True},
        PASSED,
        "",
        {"runtime": 31.4, "dev": 9.6},
        {"runtime": 1_234_567_890, "dev": 2_000_000_000},
    ),
    Result(4, {"service": "ngc"}, NOT_BUILT, "there is no image x here"),
    Result(2, {"service": "ngc"}, NOT_BUILT, "there is no image x here"),
]


def test_the_table_tells_built_failed_and_not_built_apart() -> None:
    assert smoke.table(FACTS, RESULTS, 9) == (
        "# Smoke build\n\n"
        "Commit abc1234, 2026-11-25, Docker 28.5.2, 2 cores, Linux x86_64.\n"
        "Of the 9 rows of the matrix, 1 passed, 1 failed, 2 could not be built here.\n"
        "Base images are small stand-ins: sizes and times are no measure of real ones.\n\n"
        "## Failed\n\n| row | why | answers |\n|---:|---|---|\n"
        "| 3 | verify: a \\| in words | service=hub |\n\n"
        "## Built and verified\n\n"
        "| row | runtime MB | dev MB | build runtime s | then dev s | answers | remark |\n"
        "|---:|---:|---:|---:|---:|---|---|\n"
        "| 1 | 1,235 | 2,000 | 31 | 10 | service=simple, jit=true |  |\n\n"
        "## Not built here\n\n| why | rows |\n|---|---|\n"
        "| there is no image x here | 2, 4 |\n"
    )


def joined(folder: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "tests.smoke", "--join", folder, "--output", folder / "all")
    return run(*command, cwd=ROOT)


def test_the_parts_of_several_machines_are_one_table_again(tmp_path: Path) -> None:
    passed, *left = RESULTS[1:]
    smoke.write(tmp_path / "a", FACTS, [passed], 3)
    smoke.write(tmp_path / "b", FACTS, left[1:], 3)
    result = joined(tmp_path)
    assert result.returncode == 1
    lost = "| 3 | it is in no part: the machine that had it came to an early end |  |"
    assert lost in (tmp_path / "all/smoke.md").read_text()
    smoke.write(tmp_path / "c", FACTS, [Result(3, {"service": "hub"}, PASSED)], 3)
    shutil.rmtree(tmp_path / "all")
    assert joined(tmp_path).returncode == 0
    whole = json.loads((tmp_path / "all/smoke.json").read_text())
    assert sorted(one["number"] for one in whole["rows"]) == [1, 2, 3]
    assert "1 could not be built here." in (tmp_path / "all/smoke.md").read_text()


WRONG = {
    "--rows 300": "There is no row 300: the matrix has 0.",
    "--rows 1,x": "1,x is no list of rows such as 3,17",
    "--shard 3/2": "3/2 is no part such as 2/16",
    "--join /nonexistent": "There is no smoke.json in /nonexistent: run make smoke first.",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_argument_gets_one_sentence(
    arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(smoke, "choices", lambda _: None)
    monkeypatch.setattr(smoke, "matrix", lambda _: [])
    monkeypatch.setattr(sys, "argv", ["smoke", *arguments.split()])
    with pytest.raises(SystemExit) as stopped:
        smoke.main()
    last = (capsys.readouterr().err or str(stopped.value)).splitlines()[-1]
    assert last.endswith(WRONG[arguments])
