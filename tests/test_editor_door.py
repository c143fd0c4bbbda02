"""What an editor's program gets in the dev container, worked out as the Dev Containers CLI does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from host import editor_door as door
from host.devcontainer import CONFIG, labels_of
from host.doors import enter_by_editor
from host.project import EDITOR_FILE, Project
from tests.support.program import PROJECT

COMMENTED = f"""\
// Comments, and a comma too many.
{{
  "dockerComposeFile": ["../docker-amd64/{EDITOR_FILE}"], // the file
  "workspaceFolder": "/workspace", /* "workspaceFolder": "/", */
  "remoteEnv": {{ "ADDRESS": "https://here//, ]", "GONE": null, }},
}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a dev container for editors."""
    folder = tmp_path / "my work" / "docker-amd64"
    folder.mkdir(parents=True)
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME=demo-jane-1\n")
    (folder.parent / ".devcontainer").mkdir()
    (folder.parent / CONFIG).write_text(COMMENTED)
    return Project(folder, {**PROJECT, "extras": ["devcontainer"]})


class Engine:
    """Answers as an engine with one dev container does, and keeps what it was asked."""

    def __init__(self, labels: dict[str, str], shell: str = "") -> None:
        """Take the labels of the container, and the variables that its user's shell prints."""
        self.labels, self.shell, self.text = labels, shell, ""
        self.calls: list[tuple[str, ...]] = [("",)]

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What is asked without a text."""
        said = ""
        if words[0] == "ps":
            wanted = [one.partition("label=")[2] for one in words if "label=" in one]
            if set(wanted) <= {f"{name}={value}" for name, value in self.labels.items()}:
                said = "4711\n"
        elif words[0] == "inspect":
            env = ["PATH=/opt/bin:/bin", "HOME=/root"]
            said = json.dumps({"Env": env, "Labels": self.labels, "User": "1000:1000"})
        elif words[-1].startswith("getent"):
            said = "jane:x:1000:1000::/home/user:/bin/zsh\n"
        return subprocess.CompletedProcess(words, 0, said, "")

    def asked(
        self, words: tuple[str, ...], _: float, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """What reads a text: the shell, and then the program."""
        self.calls.append(words)
        self.text = text or self.text
        mark = door.MARK
        said = '{"user": "jane"}\n' if text else f"Welcome\n{mark}{self.shell}{mark}"
        return subprocess.CompletedProcess(words, 0, said, "")


def entered(
    project: Project, monkeypatch: pytest.MonkeyPatch, engine: Engine, dev: str = "4711"
) -> tuple[str, str]:
    """What `enter_as_editor` returns with this engine, whose dev container has an id."""
    monkeypatch.setattr(door, "ask_engine", engine.ask)
    monkeypatch.setattr(door, "asked", engine.asked)
    monkeypatch.setattr(door, "container", lambda _: dev)
    return door.enter_as_editor(project, ["python", "-V"])


def test_a_program_gets_user_folder_and_variables_of_shell_and_settings(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    more: list[dict[str, Any]] = [{"remoteUser": "jo", "remoteEnv": {"A": "1"}}, {"id": "x"}]
    labels = {**labels_of(project), "devcontainer.metadata": json.dumps(more)}
    engine = Engine(labels, "PATH=/bin:/own\0B=two\nlines\0PWD=/\0")
    assert entered(project, monkeypatch, engine)[0] == '{"user": "jane"}\n'
    of_shell, of_program = engine.calls[1:]
    assert of_shell[:5] == ("exec", "--interactive", "--user", "jo", "4711")
    assert of_shell[5:7] == ("/bin/zsh", "-lic")
    assert of_program[4:6] == ("--workdir", "/workspace")
    words, variables = json.loads(engine.text)
    assert words == ["python", "-V"]
    assert variables == {
        "PATH": "/opt/bin:/bin:/own",
        "B": "two\nlines",
        "A": "1",
        "ADDRESS": "https://here//, ]",
        "GONE": None,
    }


def test_what_leads_elsewhere_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Engine(labels_of(project))
    assert entered(project, monkeypatch, Engine({}))[1] == door.NOT_FOUND
    assert entered(project, monkeypatch, ours, dev="4712")[1] == door.ANOTHER + "4711"
    (project.root / CONFIG).write_text('{"image": "mine"}')
    assert entered(project, monkeypatch, ours)[1] == door.NOT_NAMED
    for broken in ("{", "[1]", '"'):
        (project.root / CONFIG).write_text(broken)
        assert "is not JSON" in entered(project, monkeypatch, ours)[1]
    (project.root / CONFIG).unlink()
    assert enter_by_editor(project) == (None, entered(project, monkeypatch, ours)[1])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${localWorkspaceFolderBasename}:${containerWorkspaceFolder}", "my work:/workspace"),
        ("${containerWorkspaceFolderBasename}", "workspace"),
        ("/x:${containerEnv:PATH}", "/x:/bin"),
        ("${localEnv:HEARTH_NONE:other}${localEnv:HEARTH_NONE}", "other"),
        ("$HOME ${devcontainerId}", "$HOME ${devcontainerId}"),
    ],
)
def test_variables_in_settings_are_filled_in(project: Project, text: str, value: str) -> None:
    assert door.filled(text, project, "/workspace", {"PATH": "/bin"}) == value


def test_no_shell_is_asked_where_the_settings_say_none(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {**labels_of(project), "devcontainer.metadata": '{"userEnvProbe": "none"}'}
    engine = Engine(labels, "B=2\0")
    entered(project, monkeypatch, engine)
    assert len(engine.calls) == 2
    assert "B" not in json.loads(engine.text)[1]


def test_the_path_of_a_shell_has_the_containers_folders_in_their_order() -> None:
    assert door.joined_paths("/a:/c", "/a:/b:/sbin:/c", is_root=False) == "/a:/b:/c"
    assert door.joined_paths("/a:/c", "/b:/sbin", is_root=True) == "/b:/sbin:/a:/c"
