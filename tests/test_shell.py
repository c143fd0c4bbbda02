"""`template.sh shell` and `exec`: what they run, and what they say of one that is not there."""

from __future__ import annotations

import subprocess
from argparse import Namespace
from pathlib import Path

import pytest

from host import programs, work
from host.project import Project, StopError
from tests.conftest import Generate
from tests.support.entrypoint import entrypoint
from tests.support.program import PROJECT


@pytest.fixture(params=["bash", "zsh"])
def project(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A project with either shell, whose container runs."""
    monkeypatch.setattr(work, "need_container", lambda _: None)
    monkeypatch.setattr(work, "container", lambda _: "4711")
    has(monkeypatch, "bash", "zsh")
    return Project(tmp_path, {**PROJECT, "shell": request.param})


def has(monkeypatch: pytest.MonkeyPatch, *shells: str) -> None:
    """Which shells the container has."""

    def capture(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(words, int(words[-1] not in shells), "", "")

    monkeypatch.setattr(work, "ask_engine", capture)


def opened(project: Project, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """What `template.sh shell WORDS` runs in the container."""
    became: list[str] = []
    monkeypatch.setattr(work, "become", lambda _, call: became.extend(call))
    work.do_shell(project, Namespace(command=list(words)))
    return became[became.index("dev") + 1 :]


def test_the_chosen_shell_opens_or_the_one_that_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened(project, monkeypatch) == [project.shell]
    assert opened(project, monkeypatch, "-lc", "x y") == [project.shell, "-lc", "x y"]
    assert opened(project, monkeypatch, "zsh", "-f") == ["zsh", "-f"]
    has(monkeypatch, "bash")
    assert opened(project, monkeypatch, "bash") == ["bash"]


def test_a_shell_that_is_not_there_is_had_by_an_answer_or_a_build(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, "bash")
    with pytest.raises(StopError) as caught:
        opened(project, monkeypatch, "zsh")
    assert caught.value.name == "shell-missing"
    assert ("update --data shell=zsh" in caught.value.command) == (project.shell == "bash")
    assert caught.value.command.endswith("template.sh up")


def test_terminals_of_notebooks_and_editors_open_the_chosen_shell(
    generate: Generate, tmp_path: Path
) -> None:
    extras = ["devcontainer", "jupyter"]
    folder = generate(tmp_path / "new", accelerator="cpu", extras=extras, shell="zsh")  # noqa: S604
    assert "SHELL=/bin/zsh jupyter lab" in (folder / "docker-amd64/apps.ini").read_text()
    editor = (folder / ".devcontainer/devcontainer.json").read_text()
    assert '"terminal.integrated.defaultProfile.linux": "zsh"' in editor


# The head of an ELF file; 183 is aarch64: https://gabi.xinuos.com/elf/a-emachine.html
FOR_ARM = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0" + bytes([183, 0]) + bytes(44)


@pytest.mark.parametrize(
    ("program", "failure", "status"),
    [
        ("ls", "", 0),
        ("/bin/sh", "", 0),
        ("nosuch", "program-missing", 127),
        ("cd", "program-missing", 127),  # a shell has it, the engine does not
        ("./nosuch", "program-missing", 127),
        ("./note.txt", "program-not-executable", 126),
        ("/etc", "program-not-executable", 126),
        ("./script", "script-without-interpreter", 126),
        ("./arm", "program-of-another-processor", 126),
    ],
)
def test_what_the_engine_cannot_execute_is_said_before_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, failure: str, status: int
) -> None:
    (tmp_path / "note.txt").write_text("")
    (tmp_path / "script").write_text("echo works\n")
    (tmp_path / "arm").write_bytes(FOR_ARM)
    for name in ("script", "arm"):
        (tmp_path / name).chmod(0o755)

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        command = words[words.index("sh") :]  # as if this machine were the container
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    monkeypatch.setattr(programs, "ask_engine", ask)
    monkeypatch.setattr(programs, "runs_others", lambda: False)
    project = Project(tmp_path, {**PROJECT, "shell": "bash"})
    if not failure:
        assert programs.refuse_program(project, "4711", program, root=False) == status
        return
    with pytest.raises(StopError) as caught:
        programs.refuse_program(project, "4711", program, root=True)
    assert (caught.value.name, caught.value.status) == (failure, status)


def test_a_container_names_the_processor_of_a_program_that_it_cannot_start(tmp_path: Path) -> None:
    text = entrypoint()
    say = next(line for line in text.splitlines() if line.startswith("say()"))
    end = text[text.index("set +e\n") :]

    def start(*words: str) -> subprocess.CompletedProcess[str]:
        script = f"set -euo pipefail\n{say}\n{end}"
        command = ["bash", "-c", script, "entrypoint.sh", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    (tmp_path / "arm").write_bytes(FOR_ARM)
    (tmp_path / "arm").chmod(0o755)
    refused = start("./arm")
    assert refused.returncode == 126
    assert "./arm is compiled for another kind of processor" in refused.stderr
    fine = start("sh", "-c", "exit 7")
    assert (fine.returncode, fine.stderr) == (7, "")
    assert start().returncode == 0
