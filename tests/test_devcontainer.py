"""The dev container of editors: what it is made from, and that all doors lead to the same one."""

from __future__ import annotations

import json
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from hooks.generate import after_render
from host import devcontainer, editor
from host.guard import guard_text, mounts
from host.project import EDITOR_FILE, Project, StopError
from host.work import start_dev
from tests.conftest import Generate
from tests.support.program import PROJECT

CONFIG = """\
name: demo-jane-1
services:
  dev:
    image: demo-jane-1:simple-dev
networks:
  default: {}
x-build:
  args:
    USRID: "1000"
x-container:
  init: true
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a dev container for editors."""
    folder = tmp_path / "my $work" / "docker-amd64"
    folder.mkdir(parents=True)
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME=demo-jane-1\nLOCAL_CODE_DIR=..\n")
    (tmp_path / "my $work" / ".devcontainer").mkdir()
    return Project(folder, {**PROJECT, "accelerator": "cpu", "extras": ["devcontainer"]})


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, Any]]]:
    """The commands that are shown to the user, without the engine."""
    calls: list[tuple[list[str], dict[str, Any]]] = []

    def call(_: Project, words: list[str], **more: Any) -> str:
        calls.append((words, more))
        return CONFIG

    monkeypatch.setattr(editor, "call", call)
    monkeypatch.setattr("host.work.call", call)
    monkeypatch.setattr("host.work.git_override", lambda _: "")
    monkeypatch.setattr(editor, "git_override", lambda _: "")
    return calls


def made_from(monkeypatch: pytest.MonkeyPatch, *files: Path) -> None:
    """Let the container that is there have been made from these Compose files."""
    said = ",".join(map(str, files)) + "\n"
    done = subprocess.CompletedProcess(("docker",), 0, said, "")
    monkeypatch.setattr(devcontainer, "ask_engine", lambda *_: done)


def test_the_file_of_editors_is_for_its_user_only_and_without_anchors(
    project: Project, called: list[Any]
) -> None:
    editor.write_editor_file(project, "")
    file = project.folder / EDITOR_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == editor.HEAD + CONFIG.partition("x-build")[0]
    assert called[0][0] == ["docker", "compose", "config"]


def test_containers_see_no_file_of_editors_and_cannot_change_what_editors_run(
    project: Project,
) -> None:
    (project.folder / EDITOR_FILE).touch()
    (project.folder / "template.sh").touch()
    text = guard_text(project)
    assert EDITOR_FILE not in text
    found = mounts(project.folder, project.root, "/workspace", ".devcontainer", "missing")
    assert [one["target"] for one in found][-1] == "/workspace/.devcontainer"
    assert found[-1]["read_only"] is True
    assert "/workspace/.devcontainer" in text
    project.extras = ()
    assert "/workspace/.devcontainer" not in guard_text(project)


def test_up_makes_a_container_that_editors_find(
    project: Project, called: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made_from(monkeypatch, project.folder / "compose.yaml", project.folder / "-")
    start_dev(project)
    ((words, more),) = called
    assert words[2:4] == ["up", "--detach"]
    assert more["env"]["COMPOSE_FILE"].endswith(":-")
    labels = json.loads(more["stdin"])["services"]["dev"]["labels"]
    # Compose reads two dollar signs as one.
    root = str(project.root).replace("$", "$$")
    assert labels["devcontainer.local_folder"] == root
    assert labels["devcontainer.config_file"] == f"{root}/.devcontainer/devcontainer.json"


def test_up_leaves_the_container_of_an_editor_as_the_editor_made_it(
    project: Project, called: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = tmp_path / "an, editor's.yml"
    theirs.touch()
    made_from(monkeypatch, project.folder / EDITOR_FILE, theirs)
    start_dev(project)
    (config, _), (up, _) = called
    assert config[-1] == "config"  # so that `up` sees what has changed since
    files = ["--file", str(project.folder / EDITOR_FILE), "--file", str(theirs)]
    assert up == ["docker", "compose", *files, "up", "--detach", "--no-build", "dev"]


def test_up_says_that_it_replaces_a_container_whose_editor_is_gone(
    project: Project,
    called: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_from(monkeypatch, project.folder / EDITOR_FILE, Path("/tmp/removed.yml"))
    start_dev(project)
    assert "--file" not in called[0][0]
    assert "reload its window" in capsys.readouterr().err


def test_another_name_in_the_codes_own_env_is_refused(project: Project) -> None:
    (project.root / ".env").write_text("TOKEN=1\nCOMPOSE_PROJECT_NAME=other\n")
    with pytest.raises(StopError) as caught:
        devcontainer.check_name(project)
    assert caught.value.name == "devcontainer-other-name"
    (project.root / ".env").write_text("COMPOSE_PROJECT_NAME=demo-jane-1\n")
    devcontainer.check_name(project)
    (project.root / ".env").unlink()
    (project.root / ".env").mkdir()  # an environment of Python, as some name it
    devcontainer.check_name(project)


@pytest.mark.parametrize("built", ["", "sha256:1"])
def test_an_editor_opens_offline_what_is_built(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    built: str,
) -> None:
    def no_network(_: Project) -> None:
        raise StopError("The index does not answer.")

    monkeypatch.setattr(devcontainer, "image_id", lambda _: built)
    monkeypatch.setattr(devcontainer, "check_engine", lambda _: None)
    monkeypatch.setattr(devcontainer, "before_build", no_network)
    if built:
        devcontainer.prepare_image(project)
        assert "The index does not answer." in capsys.readouterr().err
    else:
        with pytest.raises(StopError):
            devcontainer.prepare_image(project)


def test_all_is_checked_before_an_editor_starts_anything(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    names = ("keep_apart", "check_name", "prepare_image", "before_start", "write_editor_file")
    monkeypatch.setattr(devcontainer, "git_override", lambda _: "")
    for name in names:
        monkeypatch.setattr(devcontainer, name, lambda *_, name=name: steps.append(name))
    devcontainer.do_devcontainer(project, Namespace())
    assert steps == list(names)


def test_a_dev_container_of_the_code_is_kept_and_that_is_said(
    generate: Generate, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "code" / ".devcontainer" / "devcontainer.json"
    own.parent.mkdir(parents=True)
    own.write_text('{"image": "mine"}\n')
    folder = generate(
        tmp_path / "code", hook=True, project_kind="existing", extras=["devcontainer"]
    )
    assert own.read_text() == '{"image": "mine"}\n'
    assert "Your .devcontainer is kept" in capfd.readouterr().out
    own.unlink()
    assert after_render.editor_lines(folder) == []
