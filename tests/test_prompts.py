"""A person at a terminal: the questions as they are really seen and answered."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pexpect
import pytest
import yaml

from tests.conftest import Generate, InGit

UP, ENTER, CLEAR = "\x1b[A", "\r", "\x15"


class Start(Protocol):
    """See the fixture `start`."""

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> pexpect.spawn[str]: ...


@pytest.fixture
def start(template: Path, tmp_path: Path) -> Iterator[Start]:
    """A function that starts `copier ARGUMENTS` in a terminal of 60 lines and 250 columns."""
    del template
    running: list[pexpect.spawn[str]] = []

    def spawn(*arguments: str | Path, cwd: Path | None = None) -> pexpect.spawn[str]:
        # pexpect answers no question for the cursor's position: let none be asked.
        settings = {"TERM": "xterm", "NO_COLOR": "1", "PROMPT_TOOLKIT_NO_CPR": "1"}
        folder = str(cwd or tmp_path)
        child = pexpect.spawn(
            sys.executable,
            ["-m", "copier", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, **settings, "PWD": folder},
            encoding="utf-8",
            dimensions=(60, 250),
            timeout=120,
        )
        running.append(child)
        return child

    yield spawn
    for child in running:
        child.close(force=True)


def seen(child: pexpect.spawn[str], text: str) -> str:
    """Wait for a text; all that was written up to it, without the terminal's codes."""
    child.expect_exact(text)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", (child.before or "") + text)


def status(child: pexpect.spawn[str]) -> int | None:
    """Wait for the end, and give the exit status."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


def answers(project: Path) -> dict[str, Any]:
    """The answers that a project remembers."""
    kept: dict[str, Any] = yaml.safe_load((project / ".copier-answers.yml").read_text())
    return {name: value for name, value in kept.items() if not name.startswith("_")}


def accept(child: pexpect.spawn[str], *questions: str) -> None:
    """Press Enter at each of these questions, when its last line is drawn."""
    for question in questions:
        seen(child, question)
        child.send(ENTER)


PROJECT = "Name of the project?"
PACKAGE = "Name of the Python package"
SERVICE = "hub: PyTorch's own image"
MANAGER = "conda: conda-forge's"
LAST_CHOICES = (
    "none: I bring my own framework",
    "3.9",
    "Debian 12",
    "Keep C and C++ compilers in the runtime image",
    "zsh: suggests and colours",
    "ci: checks, builds",
    "skypilot: clouds",
    "中文",
)


def test_a_person_who_only_presses_enter_gets_a_project_of_defaults(
    start: Start, template: Path, tmp_path: Path, generate: Generate
) -> None:
    child = start("copy", "--trust", template, tmp_path / "My Project!")
    accept(
        child,
        "my-project",
        "existing: my code",
        "my_project",
        SERVICE,
        "cpu: no GPU",
        MANAGER,
        *LAST_CHOICES,
    )
    shown = seen(child, "Next: cd 'My Project!' && ./docker-amd64/template.sh build dev")
    assert "To put the project into git: git -C 'My Project!' init && " in shown
    assert "taken by default" not in shown  # all were seen
    assert status(child) == 0
    by_default = generate(tmp_path / "other/My Project!")
    assert answers(tmp_path / "My Project!") == answers(by_default)
    assert (tmp_path / "My Project!/docker-amd64/.env").is_file()


def test_a_bad_name_is_explained_at_once_and_can_be_corrected(
    start: Start, template: Path, tmp_path: Path
) -> None:
    child = start("copy", "--skip-tasks", template, tmp_path / "project")
    seen(child, PROJECT)
    child.send(CLEAR + "My Project" + ENTER)
    seen(child, "image name")
    child.send(CLEAR + "my-project" + ENTER)
    accept(child, "existing: my code")
    seen(child, PACKAGE)
    child.send(CLEAR + "json" + ENTER)
    seen(child, "a library that your package would hide: choose another name.")
    child.send(CLEAR + "json_tools" + ENTER)
    accept(child, SERVICE, "cpu: no GPU", MANAGER, *LAST_CHOICES)
    assert status(child) == 0
    kept = answers(tmp_path / "project")
    assert (kept["project_name"], kept["package_name"]) == ("my-project", "json_tools")


def test_cuda_versions_that_cannot_work_are_shown_with_the_reason_and_cannot_be_chosen(
    start: Start, template: Path, tmp_path: Path
) -> None:
    compat = yaml.safe_load((template / "hooks/compat/choices.json").read_text())
    choices = compat["torch"][compat["defaults"]["torch_version"]]["cuda"]
    greyed = {version: reason for version, reason in choices.items() if reason}
    child = start("copy", "--skip-tasks", template, tmp_path / "project")
    accept(child, "project", "existing: my code", PACKAGE, SERVICE)
    seen(child, "cpu: no GPU")
    child.send(UP + ENTER)
    accept(child, MANAGER, "none: I bring my own framework")
    screen = seen(child, f"({list(greyed.values())[-1]})")
    for version, reason in greyed.items():
        label = compat["cuda"][version]["label"]
        assert f"- {label} ({reason})" in screen
    # However often one goes up: every stop is a version that works.
    child.send(UP * len(choices) + ENTER)
    accept(child, "Which GPUs will it run on", "Compute capabilities", *LAST_CHOICES[1:])
    assert status(child) == 0
    assert not choices[answers(tmp_path / "project")["cuda_version"]]


@pytest.mark.parametrize("question", [0, 2])
def test_ctrl_c_leaves_nothing_behind(
    start: Start, template: Path, tmp_path: Path, question: int
) -> None:
    child = start("copy", "--trust", template, tmp_path / "project")
    accept(child, *("project", "existing: my code")[:question])
    seen(child, (PROJECT, "", PACKAGE)[question])
    child.sendintr()
    assert status(child) == 1
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("option", ["--trust", "--skip-tasks"])
def test_who_saw_no_question_is_told_the_answers_that_were_not_given(
    start: Start, template: Path, tmp_path: Path, option: str
) -> None:
    given = ("--defaults", "--data", "service=simple", "--data", "accelerator=cpu")
    child = start("copy", option, *given, template, tmp_path / "My Project!")
    verb = "build dev" if option == "--trust" else "env"
    shown = seen(child, f"&& ./docker-amd64/template.sh {verb}")
    assert status(child) == 0
    taken = "Answers taken by default (all are in .copier-answers.yml): project_kind=new, package_"
    assert taken in shown
    (line,) = [line for line in shown.splitlines() if line.startswith(taken)]
    assert "service=" not in line
    assert shown.splitlines()[-1].startswith("Next: cd '")


def test_an_update_says_nothing_of_defaults(
    tmp_path: Path, generate: Generate, in_git: InGit, start: Start
) -> None:
    project = generate(tmp_path / "project", hook=True)
    in_git(project)
    child = start("update", "--trust", "--defaults", "--vcs-ref", "HEAD", cwd=project)
    child.expect(pexpect.EOF)
    shown = child.before or ""
    assert "Engine: " in shown
    assert "by default" not in shown
    assert "begin with git" not in shown
