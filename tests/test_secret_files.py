"""Tokens reach the programs in containers, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.guard import visible
from host.project import SECRETS_FILE, Project, StopError
from host.secret_files import FILES, LOGINS, give_secrets
from tests.support.program import PACKAGE, PROJECT

TOKEN = "hf_s3cret"


class Machine:
    """A project, and a home with a private folder of secrets beside it."""

    def __init__(self, folder: Path) -> None:
        """Make both."""
        self.docker = folder / "work $HOME" / "docker-amd64"
        self.secrets = folder / "home $x" / "secrets"
        self.docker.mkdir(parents=True)
        self.secrets.mkdir(parents=True, mode=0o700)

    def secret(self, name: str, folder: Path | None = None) -> Path:
        """A file with the token, which only its owner can read."""
        file = (folder or self.secrets) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{TOKEN}\n")
        file.chmod(0o600)
        return file

    def give(self, **keys: str | Path) -> dict[str, Any]:
        """What Compose reads in the override file when .env has these keys; {} without one."""
        lines = [f"{key}='{value}'\n" for key, value in keys.items()]
        (self.docker / ".env").write_text("COMPOSE_FILE=compose.yaml\n" + "".join(lines))
        give_secrets(Project(self.docker, PROJECT))
        file = self.docker / SECRETS_FILE
        named = SECRETS_FILE in (self.docker / ".env").read_text()
        assert named == file.exists()
        return yaml.safe_load(file.read_text()) if file.exists() else {}

    def refused(self, **keys: str | Path) -> StopError:
        """Why these keys are refused."""
        with pytest.raises(StopError) as caught:
            self.give(**keys)
        return caught.value


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.delenv("COMPOSE_FILE", raising=False)
    return Machine(tmp_path)


def test_files_of_the_folder_and_single_files_are_secrets_of_both_services(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.secret("WANDB_API_KEY")
    machine.secret(".hidden")
    machine.secret("inside", machine.secrets / "folder")
    other = machine.secret("token", machine.secrets.parent)
    found = machine.give(SECRETS_DIR=machine.secrets, HF_TOKEN_FILE=other)
    for service in ("runtime", "dev"):
        assert found["services"][service]["secrets"] == ["WANDB_API_KEY", "HF_TOKEN"]
    # Compose reads two dollar signs as one.
    assert found["secrets"]["HF_TOKEN"]["file"] == str(other).replace("$", "$$")
    assert TOKEN not in (machine.docker / SECRETS_FILE).read_text()
    assert SECRETS_FILE not in visible(machine.docker)
    assert capsys.readouterr().err == ""


def test_a_replaced_file_replaces_the_container_and_no_key_ends_it(machine: Machine) -> None:
    machine.secret("HF_TOKEN")
    before = machine.give(SECRETS_DIR=machine.secrets)
    assert machine.give(SECRETS_DIR=machine.secrets) == before
    os.utime(machine.secret("HF_TOKEN"), (1, 1))
    after = machine.give(SECRETS_DIR=machine.secrets)
    assert after["services"]["dev"]["labels"] != before["services"]["dev"]["labels"]
    assert machine.give() == {}


@pytest.mark.parametrize("place", ["docker-amd64/HF", "src/HF", "data/HF"])
def test_a_secret_where_containers_or_git_find_it_moves_out_by_the_remedy(
    machine: Machine, place: str, tmp_path: Path
) -> None:
    file = machine.secret(place, machine.docker.parent)
    stop = machine.refused(HF_TOKEN_FILE=file)
    assert stop.name == "secret-in-project"
    move, _, setting = stop.command.partition(" && ")
    subprocess.run(["bash", "-c", move], env={**os.environ, "HOME": str(tmp_path)}, check=True)
    moved = tmp_path / ".demo-HF_TOKEN"
    assert setting.endswith("env --set HF_TOKEN_FILE=~/.demo-HF_TOKEN")
    assert machine.give(HF_TOKEN_FILE=moved)["secrets"]["HF_TOKEN"] == {"file": str(moved)}


@pytest.mark.parametrize("key", LOGINS)
@pytest.mark.parametrize(
    "place", [".netrc", "docker-amd64/pip-login", "docker-amd64/dependencies/.netrc", "data/netrc"]
)
def test_logins_where_containers_or_git_find_them_move_out_by_the_remedy(
    machine: Machine, place: str, key: str, tmp_path: Path
) -> None:
    (machine.docker / ".dockerignore").write_text("*\n**/.netrc\n**/netrc\n")
    stop = machine.refused(**{key: machine.secret(place, machine.docker.parent)})
    assert stop.name == "secret-in-project"
    move, _, setting = stop.command.partition(" && ")
    subprocess.run(["bash", "-c", move], env={**os.environ, "HOME": str(tmp_path)}, check=True)
    name = f".demo-{key[:-5]}"
    assert setting.endswith(f"env --set {key}=~/{name}")
    assert bool(machine.give(**{key: tmp_path / name})) == (key == "NETRC_FILE")


def test_logins_of_a_usual_name_may_lie_in_docker_amd64_and_links_lead_out(
    machine: Machine,
) -> None:
    (machine.docker / ".dockerignore").write_text("*\n**/.netrc\n**/netrc\n")
    machine.secret("netrc", machine.docker)
    assert machine.give(NETRC_FILE="./netrc")
    (machine.docker / ".netrc").symlink_to(machine.secret("mine"))
    assert machine.give(NETRC_FILE="./.netrc")
    assert machine.give(NETRC_FILE="./missing") == {}


def test_the_dev_container_has_the_passwords_of_indexes_by_a_path(machine: Machine) -> None:
    netrc = machine.secret("netrc", machine.secrets.parent)
    found = machine.give(NETRC_FILE=netrc)
    assert found["services"].keys() == {"dev"}
    assert found["services"]["dev"]["secrets"] == ["netrc"]
    machine.secret("HF_TOKEN")
    found = machine.give(NETRC_FILE=netrc, SECRETS_DIR=machine.secrets)
    assert found["services"]["dev"]["secrets"] == ["HF_TOKEN", "netrc"]
    assert found["services"]["dev"]["environment"] == {"NETRC": "/run/secrets/netrc"}
    assert found["services"]["runtime"]["secrets"] == ["HF_TOKEN"]
    os.utime(netrc, (1, 1))
    after = machine.give(NETRC_FILE=netrc, SECRETS_DIR=machine.secrets)
    assert after["services"]["dev"]["labels"] != found["services"]["dev"]["labels"]


def test_a_folder_in_the_project_moves_out_whole_and_a_link_into_it_is_replaced(
    machine: Machine, tmp_path: Path
) -> None:
    inside = machine.docker.parent / "private"
    machine.secret("A_KEY", inside)
    stop = machine.refused(SECRETS_DIR=inside)
    command = stop.command.partition(" && ")[0]
    subprocess.run(["bash", "-c", command], env={**os.environ, "HOME": str(tmp_path)}, check=True)
    assert (tmp_path / ".demo-secrets/A_KEY").read_text() == f"{TOKEN}\n"

    (machine.secrets / "B_KEY").symlink_to(machine.secret("b", machine.docker.parent))
    stop = machine.refused(SECRETS_DIR=machine.secrets)
    subprocess.run(["bash", "-c", stop.command], check=True)
    assert list(machine.give(SECRETS_DIR=machine.secrets)["secrets"]) == ["B_KEY"]


@pytest.mark.parametrize("name", ["my key", "ca", "HF_TOKEN~", "clé", "-x", "$(touch x)"])
def test_a_name_that_no_secret_can_have_is_changed_by_the_remedy(
    machine: Machine, name: str
) -> None:
    machine.secret(name)
    stop = machine.refused(SECRETS_DIR=machine.secrets)
    assert stop.name == "secret-name"
    subprocess.run(["bash", "-c", stop.command], check=True)
    assert len(machine.give(SECRETS_DIR=machine.secrets)["secrets"]) == 1


def test_what_is_not_there_is_named(machine: Machine, tmp_path: Path) -> None:
    stop = machine.refused(SECRETS_DIR=tmp_path / "no such & more")
    assert (stop.name, "No such file" in stop.sentence) == ("secrets-folder", True)
    subprocess.run(["bash", "-c", stop.command], check=True)
    for folder in (Path.home(), tmp_path):
        stop = machine.refused(SECRETS_DIR=folder)
        assert stop.command.startswith("mkdir -p -m 700 ~/.secrets && ")
    stop = machine.refused(WANDB_API_KEY_FILE=tmp_path / "key")
    assert stop.name == "secret-missing"
    assert "WANDB_API_KEY_FILE in .env" in stop.sentence


def test_a_link_to_nothing_is_removed_by_the_command_that_is_named(machine: Machine) -> None:
    link = machine.secrets / "GONE"
    link.symlink_to("nowhere")
    stop = machine.refused(SECRETS_DIR=machine.secrets)
    assert stop.name == "secret-missing"
    subprocess.run(["bash", "-c", stop.command], check=True)
    machine.give(SECRETS_DIR=machine.secrets)


def test_a_secret_that_its_owner_may_not_read_is_opened_for_them(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = machine.secrets / "PIN"
    file.touch(0)
    monkeypatch.setattr("os.access", lambda *_: False)  # as for a user who is not root
    stop = machine.refused(SECRETS_DIR=machine.secrets)
    subprocess.run(["bash", "-c", stop.command], check=True)
    assert file.stat().st_mode & 0o777 == 0o400


def test_a_file_that_everybody_can_read_is_named_with_what_ends_that(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    file = machine.secret("HF_TOKEN")
    file.chmod(0o644)
    machine.give(SECRETS_DIR=machine.secrets)  # nobody else can enter the folder
    assert capsys.readouterr().err == ""
    machine.secrets.chmod(0o755)
    machine.give(SECRETS_DIR=machine.secrets)
    (command,) = re.findall(r"Run: (chmod .*)", capsys.readouterr().err)
    subprocess.run(["bash", "-c", command], check=True)
    machine.give(SECRETS_DIR=machine.secrets)
    assert capsys.readouterr().err == ""


def test_the_example_names_every_key() -> None:
    text = (PACKAGE.parent / ".env.example.jinja").read_text()
    named = re.findall(r"(?m)^# (\w+_FILE|SECRETS_DIR)=", text)
    assert {"SECRETS_DIR", *FILES} == set(named) - {"NETRC_FILE", "CONDA_AUTH_FILE"}
