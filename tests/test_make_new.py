"""`make new`, as somebody types it in a fresh clone whose folder has a blank in its name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pexpect
import pytest
import yaml

from hooks.generate.new_project import check_names, read_data
from tests.support.git import git
from tests.support.process import run

PROGRAMS = f"BIN={Path(sys.executable).parent}"


@pytest.fixture
def clone(template: Path, tmp_path: Path) -> Path:
    """A clone of the repository whose setup is done already, by the environment of these tests."""
    clone = tmp_path / "my clone"
    git(tmp_path, "clone", "--quiet", str(template), str(clone))
    (clone / ".venv").mkdir()
    (clone / ".venv" / "pyvenv.cfg").touch()
    (clone / ".venv" / "installed-generate").touch()
    return clone


def test_folders_and_answers_may_have_blanks_and_dollar_signs(clone: Path) -> None:
    target = clone.parent / "my new $(id) project"
    data = "DATA=service=train torch_version=2.13.0 target_gpus='RTX 4090, H100'"
    result = run("make", PROGRAMS, "new", f"DIR={target}", data, cwd=clone, input="")
    assert result.returncode == 0, result.stderr
    assert (target / "docker-amd64" / ".env").is_file()
    kept = yaml.safe_load((target / ".copier-answers.yml").read_text())
    assert (kept["service"], kept["accelerator"]) == ("train", "cuda")
    assert (kept["torch_version"], kept["target_gpus"]) == ("2.13.0", "RTX 4090, H100")
    assert "create" not in result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) <= 12
    assert lines[-1].endswith(" && ./docker-amd64/template.sh build dev")
    taken = next(line for line in lines if line.startswith("Answers taken by default"))
    assert "accelerator=cuda, package_manager=pip, cuda_version=" in taken
    assert "service=" not in taken
    assert "torch_version=" not in taken


REFUSED = {
    "no folder": ({"DIR": ""}, "Say where the project goes: make new DIR=../myproj"),
    "no answer": ({"DATA": "/mnt/data"}, "DATA has '/mnt/data', which is not NAME=VALUE"),
    "a quote": ({"DATA": "service='train"}, "DATA has a quote that is not closed."),
    "no question": ({"DATA": "servise=train"}, "servise is not a question. Did you mean service?"),
    "a computed value": ({"DATA": "given=yes"}, "given is computed from other answers. Give those"),
    "not asked": ({"DATA": "service=ngc jit=no"}, "jit is asked only if service in ('simple', 't"),
    "no choice": ({"DATA": "service=big"}, "Invalid choice for 'service': 'big' is not in ["),
    "no list": ({"DATA": "extras=ci"}, "takes a list in brackets, such as 'extras=[ci, data]'"),
    "a bad name": ({"DATA": "project_name='My Proj'"}, "Use lower-case letters and digits"),
    "no version": ({"REF": "v0.0.0"}, "v0.0.0"),
}


@pytest.mark.parametrize(("given", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_one_sentence_and_writes_nothing(
    clone: Path, given: dict[str, str], words: str
) -> None:
    target = clone.parent / "project"
    values = [f"{name}={value}" for name, value in ({"DIR": str(target)} | given).items()]
    result = run("make", PROGRAMS, "new", *values, cwd=clone, input="")
    assert result.returncode == 2
    told = [line for line in result.stderr.splitlines() if not line.startswith(("make", "Gen"))]
    assert len(told) == 1, result.stderr
    assert words in told[0]
    assert not target.exists()


@pytest.mark.parametrize(
    ("file", "content", "folder", "words"),
    [
        ("environment.yml", "a: [", "project", "is not YAML: while parsing"),
        ("file", "", "project/file", "/project/file cannot be written: Not a directory: "),
    ],
)
def test_a_folder_in_which_copier_fails_gets_one_sentence_too(
    clone: Path, file: str, content: str, folder: str, words: str
) -> None:
    (clone.parent / "project").mkdir()
    (clone.parent / "project" / file).write_text(content)
    result = run("make", PROGRAMS, "new", f"DIR={clone.parent / folder}", cwd=clone, input="")
    assert result.returncode == 2
    told = [line for line in result.stderr.splitlines() if not line.startswith(("make", "Gen"))]
    assert len(told) == 1, result.stderr
    assert words in told[0]


def test_a_project_that_is_there_is_not_written_over_unasked(clone: Path) -> None:
    target = clone.parent / "project"
    (target / "docker-amd64").mkdir(parents=True)
    compose = target / "docker-amd64/compose.yaml"
    compose.write_text("mine")
    result = run("make", PROGRAMS, "new", f"DIR={target}", cwd=clone, input="")
    assert result.returncode == 2
    assert "has files that would be written over" in result.stderr
    assert "Traceback" not in result.stderr
    assert compose.read_text() == "mine"


def test_a_person_at_a_terminal_is_asked_what_data_does_not_answer(clone: Path) -> None:
    child = pexpect.spawn(
        "make",
        [PROGRAMS, "new", "DIR=../my project", "DATA=service=simple accelerator=cpu"],
        cwd=str(clone),
        env={
            **os.environ,
            "TERM": "xterm",
            "NO_COLOR": "1",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "PWD": str(clone),
        },
        encoding="utf-8",
        dimensions=(60, 250),
        timeout=240,
    )
    questions = ("my-project", "existing: my code", "my_project", "conda: conda-forge's")
    last = (
        "none: I bring my own",
        "3.9",
        "Debian 12",
        "Keep C and C++",
        "zsh: suggests",
        "ci: checks",
        "skypilot: clouds",
        "中文",
    )
    for question in (*questions, *last):
        child.expect_exact(question)
        child.send("\r")
    child.expect(pexpect.EOF)
    child.close()
    shown = child.before or ""
    assert child.exitstatus == 0, shown
    assert "Next: cd '../my project' && ./docker-amd64/template.sh build dev" in shown
    assert "taken by default" not in shown
    assert "create" not in shown.replace(".env: created", "").replace("Created ", "")


def test_an_unknown_name_is_refused_for_a_version_that_would_ignore_it() -> None:
    with pytest.raises(ValueError, match=r"servise, .* not a question: did you mean service\?"):
        check_names(["jit", "servise"], ["service", "jit"])


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("", {}),
        ("  a=1\tb_c='x \"y\" z'\n", {"a": "1", "b_c": 'x "y" z'}),
        ("a= b=c=d", {"a": "", "b": "c=d"}),
        ("extras=[ci] a='#1'", {"extras": "[ci]", "a": "#1"}),
    ],
)
def test_data_is_read_as_a_shell_reads_words(text: str, answers: dict[str, str]) -> None:
    assert read_data(text) == answers
