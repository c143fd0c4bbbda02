"""Which container engine a project calls: the one that .env names, which its machine has chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from host import engine, engine_words, fill
from host.facts import Engine, Facts
from tests.fakes.machine import HERE, environment

EXAMPLE = "COMPOSE_FILE=compose.yaml\nCOMPOSE_PROJECT_NAME=demo\nCONTAINER_ENGINE=docker\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker-amd64, which the program is in."""
    made = tmp_path / "docker-amd64"
    made.mkdir()
    (made / ".env.example").write_text(EXAMPLE)
    monkeypatch.setattr(engine_words, "FOLDER", made)
    return made


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Let PATH have only these programs."""
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize("text", ["", "USRID=1\n", "CONTAINER_ENGINE=docker\n"])
def test_an_env_without_the_key_means_docker(folder: Path, text: str) -> None:
    (folder / ".env").write_text(text)
    assert engine_words.engine_command("ps") == ["docker", "ps"]


def test_env_and_the_shell_name_the_engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("CONTAINER_ENGINE=podman\n")
    assert engine_words.engine_command("ps") == ["podman", "ps"]
    monkeypatch.setenv("CONTAINER_ENGINE", "docker")
    assert engine_words.engine_command("ps") == ["docker", "ps"]


def answering(name: str) -> str:
    """A program that answers as an engine of tests/fakes/bin/docker does."""
    return f'FAKE_ENGINE={name} exec /bin/sh {HERE / "bin/docker"} "$@"'


DOWN, WORKS, ROOTFUL = "exit 1", answering("podman"), answering("rootful")


@pytest.mark.parametrize(
    ("docker", "podman", "choice"),
    [
        (ROOTFUL, WORKS, ("", "docker")),
        (DOWN, WORKS, ("", "podman")),
        (DOWN, DOWN, ("", "docker")),
        ("", WORKS, ("", "podman")),
        ("", "", ("", "none")),
        (ROOTFUL, WORKS, ("podman", "podman")),
        (DOWN, WORKS, ("docker", "docker")),
        ("", WORKS, ("docker", "none")),
        (ROOTFUL, "", ("podman", "none")),
        (WORKS, "", ("", "podman")),  # Podman under the name docker
    ],
)
def test_docker_where_it_answers_else_podman_unless_one_was_chosen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    docker: str,
    podman: str,
    choice: tuple[str, str],
) -> None:
    both = {name: text for name, text in (("docker", docker), ("podman", podman)) if text}
    programs(tmp_path / "bin", monkeypatch, **both)
    chosen, kind = choice
    assert engine.engine(chosen).kind == kind


def test_an_engine_that_env_names_and_that_is_not_here_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch, docker=ROOTFUL)
    assert engine.engine("podman").failure == "podman-missing"


@pytest.mark.parametrize(
    ("kind", "written"), [("podman", "podman"), ("docker-rootless", "docker"), ("none", "docker")]
)
def test_a_new_env_has_the_engine_of_its_machine_and_keeps_it(
    folder: Path, kind: str, written: str
) -> None:
    fill.fill(folder, facts=Facts(engine=Engine(kind=kind)))
    assert f"CONTAINER_ENGINE={written}\n" in (folder / ".env").read_text()
    fill.fill(folder, facts=Facts(engine=Engine(kind="docker", reachable=True)))
    assert f"CONTAINER_ENGINE={written}\n" in (folder / ".env").read_text()
    fill.fill(folder, ["CONTAINER_ENGINE"], facts=Facts(engine=Engine(kind="docker")))
    assert "CONTAINER_ENGINE=docker\n" in (folder / ".env").read_text()


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("standalone", ["docker-compose"]),
        ("compose-v1", ["docker", "compose"]),
        ("no-compose", ["docker", "compose"]),
    ],
)
def test_the_verbs_call_the_compose_that_the_probe_has_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, words: list[str]
) -> None:
    for name, value in environment(tmp_path / "bin", engine=engine).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(engine_words, "compose_plugin", lambda: "")
    monkeypatch.setattr(engine_words, "FOLDER", tmp_path)
    assert engine_words.compose("ps") == [*words, "ps"]


def test_a_plugin_is_found_where_the_settings_of_docker_name_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    program = tmp_path / "opt/docker-compose"
    program.parent.mkdir()
    program.touch(mode=0o755)
    (tmp_path / "config.json").write_text(
        json.dumps({"cliPluginsExtraDirs": [str(tmp_path / "opt")]})
    )
    assert engine_words.compose_plugin() == str(program)
    (tmp_path / "config.json").write_text('{"cliPluginsExtraDirs": 5}')
    assert engine_words.compose_plugin() != str(program)
