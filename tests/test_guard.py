"""Containers cannot change what this machine runs, nor read its secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from host.guard import guard, guard_text, mounts
from host.project import GUARD_FILE, Project
from tests.support.program import PROJECT


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """docker-amd64 of a project with all that must not be seen."""
    folder = tmp_path / "work $HOME" / "docker-amd64"
    (folder / "host").mkdir(parents=True)
    for name in ("Dockerfile", "template.sh", ".env.example"):
        (folder / name).touch()
    for name in (".env", ".env.bak", ".netrc", "netrc", "authentication.json", "ca.pem", "a.key"):
        (folder / name).touch()
    (folder / "link").symlink_to(".env")
    secrets = "*\n!image\n**/.netrc\n**/netrc\n**/authentication.json\n**/*.pem\n**/*.key\n"
    (folder / ".dockerignore").write_text(secrets)
    return folder


def targets(volumes: list[dict[str, Any]], kind: str) -> list[str]:
    """Where volumes of a type are mounted."""
    return [one["target"] for one in volumes if one["type"] == kind]


def test_what_is_shown_is_read_only_and_no_secret(docker: Path) -> None:
    found = mounts(docker, docker.parent, "/workspace")
    assert targets(found, "tmpfs") == ["/workspace/docker-amd64"]
    shown = [Path(target).name for target in targets(found, "bind")]
    assert shown == [".dockerignore", ".env.example", "Dockerfile", "host", "template.sh"]
    assert all(one["read_only"] for one in found if one["type"] == "bind")


def test_a_folder_between_cannot_be_renamed(docker: Path) -> None:
    found = mounts(docker, docker.parents[1], "/workspace")
    assert targets(found, "bind")[0] == "/workspace/work $HOME"
    assert found[0]["read_only"] is False
    assert targets(found, "tmpfs") == ["/workspace/work $HOME/docker-amd64"]


def test_code_without_docker_amd64_in_it_needs_no_guard(docker: Path) -> None:
    assert mounts(docker, docker / "host", "/workspace") == []


@pytest.mark.parametrize("builds", [["tools"], ["tools", "pip-tools"]])
def test_every_service_with_the_code_is_guarded(docker: Path, builds: list[str]) -> None:
    (docker / ".env").write_text("LOCAL_CODE_DIR=..\n")
    services = yaml.safe_load(guard_text(Project(docker, {**PROJECT, "builds": builds})))[
        "services"
    ]
    code = {"runtime", "dev", "airflow-worker", *builds}
    covered = {
        name
        for name, one in services.items()
        if "/workspace/docker-amd64" in targets(one["volumes"], "tmpfs")
    }
    assert covered == code


def test_the_override_file_follows_the_folder_and_a_key_ends_it(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMPOSE_FILE", raising=False)
    env = "COMPOSE_FILE=compose.yaml:mine.yaml\nCOMPOSE_PATH_SEPARATOR=:\nLOCAL_CODE_DIR=..\n"
    (docker / ".env").write_text(env)
    guard(Project(docker, PROJECT))
    named = f"COMPOSE_FILE=compose.yaml:{GUARD_FILE}:mine.yaml\n"
    assert named in (docker / ".env").read_text()
    volumes = yaml.safe_load((docker / GUARD_FILE).read_text())["services"]["dev"]["volumes"]
    # Compose reads two dollar signs as one.
    assert f"{docker.resolve()}/host".replace("$", "$$") in [one.get("source") for one in volumes]

    (docker / "new.txt").touch()
    guard(Project(docker, PROJECT))
    assert "/workspace/docker-amd64/new.txt" in (docker / GUARD_FILE).read_text()

    text = (docker / ".env").read_text()
    (docker / ".env").write_text(f"{text}CONTAINERS_SEE=all\n")
    guard(Project(docker, PROJECT))
    assert not (docker / GUARD_FILE).exists()
    assert "COMPOSE_FILE=compose.yaml:mine.yaml\n" in (docker / ".env").read_text()
