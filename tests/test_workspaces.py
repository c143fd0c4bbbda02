"""Which folder a name of a workspace means, and what its containers are apart in."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.project import Project, StopError
from host.workspaces import engine_name, enter, find
from tests.support.program import PROJECT

KEYS = ("COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "LOCAL_CODE_DIR")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with two workspaces, and folders that are none."""
    for key in KEYS:
        monkeypatch.setenv(key, "")  # what `enter` sets is taken back after the test
        monkeypatch.delenv(key)
    docker = tmp_path / "docker-amd64"
    docker.mkdir()
    files = "compose.yaml:compose.cdi.yaml:compose.guard.yaml"
    (docker / ".env").write_text(f"COMPOSE_PROJECT_NAME=demo-jane-1a2b3c\nCOMPOSE_FILE={files}\n")
    for name in ("first", "Second.2", ".git", "of jane"):
        (tmp_path / "workspaces" / name).mkdir(parents=True)
    (tmp_path / "workspaces/note").touch()
    return Project(docker, PROJECT)


def refusal(project: Project, name: str) -> StopError:
    """Why there is no such workspace."""
    with pytest.raises(StopError) as stop:
        find(project, name)
    return stop.value


def test_a_name_that_is_not_there_is_answered_by_those_that_are(project: Project) -> None:
    stop = refusal(project, "third")
    assert stop.name == "workspace-missing"
    assert stop.sentence == "There is no folder workspaces/third. There are: Second.2, first."


@pytest.mark.parametrize("name", ["", ".", "..", "../x", ".git", "of jane", "a\nb", "$(id)", "ä"])
def test_what_cannot_be_a_name_names_nothing(project: Project, name: str) -> None:
    assert refusal(project, name).name == "workspace-name"


def test_a_link_leads_to_a_clone_but_not_around_the_project(project: Project) -> None:
    folder = project.root / "workspaces"
    elsewhere = project.root / "elsewhere"
    elsewhere.mkdir()
    (folder / "linked").symlink_to(elsewhere)
    (folder / "around").symlink_to(project.root.parent)
    assert find(project, "linked") == elsewhere
    assert refusal(project, "around").name == "workspace-around"
    (folder / "inside").symlink_to(project.folder)
    assert refusal(project, "inside").name == "workspace-around"


def test_two_workspaces_never_share_a_name_in_the_engine() -> None:
    names = ["first", "First", "a.b", "a-b", "a_b", "A.b"]
    made = [engine_name("demo", name) for name in names]
    assert made[0] == "demo-first"
    assert len(set(made)) == len(names)
    assert all(name == name.lower() and "." not in name for name in made)


def test_it_has_its_own_code_containers_and_home_and_env_is_left_alone(project: Project) -> None:
    before = (project.folder / ".env").read_text()
    enter(project, "first", "exec")
    assert project.settings.get("COMPOSE_PROJECT_NAME") == "demo-jane-1a2b3c-first"
    assert project.settings.path("LOCAL_CODE_DIR") == project.root / "workspaces/first"
    # GPUs stay; what guards docker-amd64 is for another code folder.
    files = project.settings.files()
    assert files == ["compose.yaml", "compose.cdi.yaml", "compose.workspace.yaml"]
    assert project.which == " -W first"
    assert (project.folder / ".env").read_text() == before
