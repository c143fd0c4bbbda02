"""What `up` hands to Compose so that git works in the container."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from host import git
from host.project import Project, read_project
from tests.support.program import put_program


def run(folder: Path, *words: str) -> None:
    allowed = ("-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *allowed, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a project in it, and a user of git; below a folder that Compose expands."""
    config = tmp_path / "gitconfig"
    config.write_text('[user]\nname = "Jane $Doe"\nemail = jane@example.com\n')
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    folder = tmp_path / "a $repo"
    (folder / "docker-amd64").mkdir(parents=True)
    (folder / "part").mkdir()
    (folder / "part/code.py").touch()
    put_program(folder / "docker-amd64")
    run(folder, "init", "--quiet")
    run(folder, "add", "--all")
    run(folder, "commit", "--quiet", "--message", "all")
    return folder


def override(root: Path, code: str = "..") -> tuple[dict[str, str], list[str]]:
    """The variables of dev, and what is mounted at its own path."""
    (root / "docker-amd64/.env").write_text(f"LOCAL_CODE_DIR={code}\n")
    project: Project = read_project(root / "docker-amd64")
    dev = json.loads(git.override(project).replace("$$", "$"))["services"]["dev"]
    volumes = dev.get("volumes", [])
    covered = [one["target"] for one in volumes if one["type"] == "tmpfs"]
    mounts = [one for one in volumes if one["type"] == "bind" and "read_only" not in one]
    assert all(one["source"] == one["target"] for one in mounts)
    # Nor at this path can a program change what this machine runs.
    docker = (root / "docker-amd64").resolve()
    inside = [one for one in mounts if Path(one["target"]) in docker.parents]
    assert covered == [str(docker)] * len(inside)
    return dev["environment"], [one["source"] for one in mounts]


def test_commits_have_the_name_of_the_user(repository: Path) -> None:
    variables, mounts = override(repository)
    assert variables == {
        "GIT_AUTHOR_NAME": "Jane $Doe",
        "GIT_COMMITTER_NAME": "Jane $Doe",
        "GIT_AUTHOR_EMAIL": "jane@example.com",
        "GIT_COMMITTER_EMAIL": "jane@example.com",
    }
    assert mounts == []


def test_without_a_name_and_a_repository_nothing_is_added(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    (repository / ".git").rename(repository / "no-git")
    assert git.override(read_project(repository / "docker-amd64")) == ""


def test_a_worktree_gets_the_repository_that_it_names(repository: Path) -> None:
    tree = repository.parent / "tree"
    run(repository, "worktree", "add", "--quiet", str(tree))
    variables, mounts = override(tree)
    assert variables["CODE_OUTSIDE"] == str(tree)
    assert mounts == [str(tree), str(repository / ".git")]


def test_a_submodule_gets_its_part_of_the_repository_above(repository: Path) -> None:
    above = repository.parent / "above"
    above.mkdir()
    run(above, "init", "--quiet")
    run(above, "submodule", "--quiet", "add", str(repository), "libs/sub")
    variables, mounts = override(above / "libs/sub")
    assert variables["CODE_OUTSIDE"] == str(above / "libs/sub")
    assert mounts == [str(above / "libs/sub"), str(above / ".git/modules/libs/sub")]


@pytest.mark.parametrize("inside", [True, False])
def test_a_repository_that_a_container_has_made_up_mounts_no_other_folder(
    repository: Path, *, inside: bool
) -> None:
    secret = repository.parent / "secret"
    secret.mkdir()
    named = repository / ".g" if inside else secret
    (repository / ".git").rename(named / "x" if not inside else named)
    (repository / ".git").write_text(f"gitdir: {named if inside else named / 'x'}\n")
    with (named / "config" if inside else named / "x/config").open("a") as config:
        config.write(f"[core]\n\tworktree = {secret}\n")
    assert override(repository)[1] == []


def test_a_home_that_is_a_repository_is_not_mounted(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(repository))
    assert override(repository, "../part")[1] == []
    assert "everything that is yours" in capsys.readouterr().err


def test_code_below_the_root_gets_the_whole_repository(repository: Path) -> None:
    variables, mounts = override(repository, "../part")
    assert variables["CODE_OUTSIDE"] == str(repository / "part")
    assert mounts == [str(repository)]


def test_where_the_container_has_a_folder_of_its_own_git_is_left_outside(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(git, "TAKEN", (str(repository.parent),))
    variables, mounts = override(repository, "../part")
    assert (mounts, "CODE_OUTSIDE" in variables) == ([], False)
    assert str(repository) in capsys.readouterr().err
