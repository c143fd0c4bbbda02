"""Data is read-only in new projects, writable in older ones, and never the whole disk or home."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from host.facts import Facts
from host.fill import fill, report
from host.guard import data_mount
from host.project import Project, StopError, bad_values
from host.work import make_folders, make_place
from tests.support.program import PROJECT

EXAMPLE = "LOCAL_CODE_DIR=..\nLOCAL_DATA_DIR=../data\nDATA_READ_ONLY=true\n"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docker-amd64 of a project with a folder for data, in a home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "work" / "docker-amd64"
    folder.mkdir(parents=True)
    (folder.parent / "data").mkdir()
    (folder / ".env.example").write_text(f"{EXAMPLE}COMPOSE_FILE=compose.yaml\n")
    return folder


def project(docker: Path, *lines: str) -> Project:
    """The project with these lines in .env besides the example's."""
    (docker / ".env").write_text("\n".join([EXAMPLE, *lines]))
    return Project(docker, PROJECT)


def setting(docker: Path) -> list[str]:
    """What .env says of the key."""
    return [one for one in (docker / ".env").read_text().splitlines() if one.startswith("DATA_R")]


def test_data_is_read_only_in_a_new_project_and_stays_writable_in_an_older_one(
    docker: Path,
) -> None:
    facts = Facts()
    assert "may write to your data" not in "\n".join(report(fill(docker, facts=facts)))
    assert setting(docker) == ["DATA_READ_ONLY=true"]
    (docker / ".env").write_text("LOCAL_DATA_DIR=/srv/data\n")
    older = "\n".join(report(fill(docker, facts=facts)))
    assert "env --set DATA_READ_ONLY=true" in older
    assert setting(docker) == ["DATA_READ_ONLY=false"]
    assert "DATA_READ_ONLY" not in "\n".join(report(fill(docker, facts=facts)))
    fill(docker, ["DATA_READ_ONLY"], facts=facts)
    assert setting(docker) == ["DATA_READ_ONLY=true"]


def in_code(docker: Path, *lines: str) -> list[dict[str, Any]]:
    """What protects data in the code folder."""
    return data_mount(project(docker, *lines), docker.parent, "/workspace")


def test_data_in_the_code_folder_is_read_only_there_too(docker: Path, tmp_path: Path) -> None:
    (own,) = in_code(docker)
    assert (own["target"], own["read_only"]) == ("/workspace/data", True)
    assert in_code(docker, "DATA_READ_ONLY=false") == []
    (docker.parent / "data").rmdir()
    assert in_code(docker) == []
    big = tmp_path / "big disk"
    big.mkdir()
    (docker.parent / "data").symlink_to(big)
    assert in_code(docker) == []  # in containers, the link leads nowhere
    (docker.parent / "inside").mkdir()
    line = "LOCAL_DATA_DIR=../inside"
    (docker.parent / "link").symlink_to("inside")
    for one in (line, "LOCAL_DATA_DIR=../link"):
        assert in_code(docker, one)[0]["target"] == "/workspace/inside"
    # docker-amd64 is protected by itself.
    for one in ("LOCAL_DATA_DIR=./data", "LOCAL_DATA_DIR=.", "LOCAL_DATA_DIR=.."):
        assert in_code(docker, one) == []


@pytest.mark.parametrize("key", ["LOCAL_CODE_DIR", "LOCAL_DATA_DIR", "LOCAL_OUTPUTS_DIR"])
@pytest.mark.parametrize("value", ["/", "~", "~/", "${HOME}", "../..", "/../", "'../../home link'"])
def test_the_whole_disk_and_the_whole_home_are_refused(
    docker: Path, tmp_path: Path, key: str, value: str
) -> None:
    (tmp_path / "home link").symlink_to(tmp_path)
    (stop,) = bad_values(project(docker, f"{key}={value}").settings)
    assert stop.name == "folder-too-wide"
    assert key in stop.sentence
    assert not bad_values(project(docker, f"{key}=~/data").settings)


def test_a_value_that_is_neither_true_nor_false_is_named(docker: Path) -> None:
    (stop,) = bad_values(project(docker, "DATA_READ_ONLY=ja").settings)
    assert "DATA_READ_ONLY" in stop.sentence


def test_what_is_mounted_below_data_has_its_place_there(docker: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").touch()
    data = docker.parent / "data"
    make_place(project(docker), "/data/sets/imagenet", tmp_path)
    make_place(project(docker), "/data/lists/list.txt", tmp_path / "list.txt")
    assert (data / "sets/imagenet").is_dir()
    assert (data / "lists/list.txt").is_file()
    make_place(project(docker), "/scratch", tmp_path)
    make_place(project(docker, "DATA_READ_ONLY=false"), "/data/other", tmp_path)  # the engine does
    assert {one.name for one in data.iterdir()} == {"sets", "lists"}


@pytest.mark.parametrize("key", ["LOCAL_DATA_DIR", "LOCAL_OUTPUTS_DIR", "SHARED_CACHE_DIR"])
@pytest.mark.parametrize("value", [".", "..", "'../link'"])
def test_no_folder_has_docker_amd64_in_it_but_that_of_the_code(
    docker: Path, key: str, value: str
) -> None:
    (docker.parent / "link").symlink_to(".")
    (stop,) = bad_values(project(docker, f"{key}={value}").settings)
    assert stop.name == "folder-around"


@pytest.mark.parametrize("target", [".", "docker-amd64", "/etc", "nothing", "data"])
def test_a_link_that_a_container_can_make_mounts_nothing(docker: Path, target: str) -> None:
    made = project(docker, "LOCAL_CODE_DIR=..\nLOCAL_OUTPUTS_DIR=../out/puts")
    (docker / "compose.yaml").touch()
    (docker.parent / "out").symlink_to(target)
    with pytest.raises(StopError) as stopped:
        make_folders(made)
    assert stopped.value.name == "folder-linked"
    real = os.path.realpath(docker.parent / "out/puts")
    assert f"env --set LOCAL_OUTPUTS_DIR={real} && " in stopped.value.command


def test_a_link_outside_of_the_code_is_the_users_own(docker: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir()
    (tmp_path / "link").symlink_to(big)
    (docker / "compose.yaml").touch()
    make_folders(
        project(docker, "LOCAL_CODE_DIR=..\nLOCAL_OUTPUTS_DIR=../../link/run\nUSRID=0\nGRPID=0")
    )
    assert (big / "run").is_dir()
