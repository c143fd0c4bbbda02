"""What editors ask for: an answer for each way that a project has, which works when pasted."""

from __future__ import annotations

import json
import subprocess
from argparse import Namespace
from pathlib import Path

import pytest

from host import editor
from host.failures import failed
from host.project import EDITOR_FILE, Project
from tests.support.program import PROJECT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose dev container runs."""
    folder = tmp_path / "my work" / "docker-amd64"
    folder.mkdir(parents=True)
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME=demo-jane-1\n")
    done = subprocess.CompletedProcess(("docker",), 0, "/demo-jane-1-dev-1\n", "")
    monkeypatch.setattr(editor, "ask_engine", lambda *_: done)
    monkeypatch.setattr(editor, "call", lambda *_, **__: "services: {}\n")
    monkeypatch.setattr(editor, "container", lambda _: "4711")
    monkeypatch.setattr(editor, "need_container", lambda _: None)
    monkeypatch.setattr(editor, "git_override", lambda _: "")
    return Project(folder, PROJECT)


def said(project: Project, capsys: pytest.CaptureFixture[str]) -> str:
    """What `template.sh editor` prints."""
    editor.do_editor(project, Namespace())
    return capsys.readouterr().out


def test_a_project_names_the_ways_that_it_has(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = said(project, capsys)
    assert f"{project.folder / EDITOR_FILE}\n" in text
    assert (project.folder / EDITOR_FILE).is_file()
    assert "ssh" not in text.lower()
    assert "devcontainer.json" not in text
    project.extras = ("devcontainer", "ssh")
    monkeypatch.setattr("host.ssh.entry", lambda _: "Host demo\n")
    text = said(project, capsys)
    assert "    host             demo-jane-1, with the entry below" in text
    assert text.endswith("\nHost demo\n")
    assert f"{project.root}/.devcontainer/devcontainer.json\n" in text


def test_the_address_names_the_container(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = (one for one in said(project, capsys).splitlines() if "vscode-remote" in one)
    scheme, _, rest = line.split()[-1].partition("+")
    known, _, folder = rest.partition("/")
    assert scheme == "vscode-remote://attached-container"
    assert json.loads(bytes.fromhex(known)) == {"containerName": "/demo-jane-1-dev-1"}
    assert folder == "workspace"


def test_what_is_missing_for_ssh_hides_no_other_way(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_keys(_: Project) -> str:
        raise failed("ssh-no-keys", project)

    monkeypatch.setattr("host.ssh.entry", no_keys)
    project.extras = ("ssh",)
    text = said(project, capsys)
    assert "(failure: ssh-no-keys)" in text
    assert "demo-jane-1-dev-1" in text
