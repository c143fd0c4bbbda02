"""Airflow of a project: its secrets and its port, how it starts, and what is said if not."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from host import airflow
from host.airflow_secrets import make_secrets, user_and_password
from host.compose import SilentError
from host.failures import explain
from host.gpu_facts import GpuFacts
from host.gpus import override_texts
from host.guard import cover_text, guard_text
from host.ports import COUNT, FIRST, is_free
from host.project import USAGE, Project, StopError
from tests.conftest import Generate
from tests.support.process import run
from tests.support.program import AIRFLOW, PROJECT

ENV = "COMPOSE_PROJECT_NAME=demo\nCOMPOSE_FILE=compose.yaml\nUSR=jane\nLOCAL_CODE_DIR=..\n"
FILES = {"api-secret", "database-password", "fernet-key", "jwt-secret", "passwords.json"}
Say = Callable[..., None]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose Airflow has never run."""
    for key in ("AIRFLOW_PORT", "COMPOSE_FILE", "COMPOSE_PROJECT_NAME"):
        monkeypatch.delenv(key, raising=False)
    folder = tmp_path / "my work" / "docker-amd64"
    folder.mkdir(parents=True)
    (folder / "compose.yaml").write_text("services: {}\n")
    (folder / ".env").write_text(ENV)
    return Project(folder, PROJECT)


def port_of(project: Project) -> str:
    """AIRFLOW_PORT, as the next call reads it."""
    return Project(project.folder, PROJECT).settings.get("AIRFLOW_PORT")


# ------------------------------------------------------------------------------------ secrets


def test_secrets_are_made_once_and_only_the_user_reads_them(project: Project) -> None:
    umask = os.umask(0)
    try:
        make_secrets(project)
    finally:
        os.umask(umask)
    folder = project.folder / ".airflow"
    first = {one.name: one.read_text() for one in folder.iterdir()}
    assert first.keys() == FILES
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {one.stat().st_mode & 0o777 for one in folder.iterdir()} == {0o600}
    assert len(base64.urlsafe_b64decode(first["fernet-key"])) == 32
    assert len(set(first.values())) == len(FILES)
    user, password = user_and_password(project)
    assert user == "jane"
    assert len(password) > 16
    # What somebody has opened is closed again; no value ever changes.
    (folder / "jwt-secret").chmod(0o644)
    folder.chmod(0o755)
    make_secrets(project)
    assert {one.name: one.read_text() for one in folder.iterdir()} == first
    assert (folder / "jwt-secret").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_missing_secret_is_made_beside_the_others(project: Project) -> None:
    make_secrets(project)
    folder = project.folder / ".airflow"
    before = (folder / "fernet-key").read_text()
    (folder / "api-secret").unlink()
    make_secrets(project)
    assert (folder / "api-secret").read_text()
    assert (folder / "fernet-key").read_text() == before


@pytest.mark.parametrize("name", [".airflow", ".airflow/jwt-secret", ".airflow/passwords.json"])
def test_no_secret_is_written_through_a_link(project: Project, name: str) -> None:
    elsewhere = project.root / "elsewhere"
    place = project.folder / name
    if name == ".airflow":
        elsewhere.mkdir(mode=0o755)
    else:
        place.parent.mkdir()
        elsewhere.write_text("mine")
        elsewhere.chmod(0o644)
    place.symlink_to(elsewhere)
    before = elsewhere.stat()
    with pytest.raises(StopError) as caught:
        make_secrets(project)
    assert caught.value.name == "airflow-secrets"
    after = elsewhere.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


# --------------------------------------------------------------------------------------- port


class Engine:
    """An engine in which Airflow has, or has not, a published port; ports of others are taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.own: tuple[str, str] | None = None
        self.taken: set[int] = set()
        monkeypatch.setattr(airflow, "container_of", lambda *_: "4711" if self.own else "")
        monkeypatch.setattr(airflow, "published", lambda *_: self.own)
        monkeypatch.setattr(airflow, "engine_ports", lambda: self.taken)
        monkeypatch.setattr(airflow, "is_free", self.is_free)
        self.listening: set[int] = set()

    def is_free(self, port: int) -> bool:
        return port not in self.listening


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(monkeypatch)


def test_the_first_start_takes_the_usual_port_and_keeps_it(
    project: Project, engine: Engine
) -> None:
    airflow.choose_port(project)
    assert port_of(project) == "8080"
    engine.own = ("127.0.0.1", "8080")
    engine.listening = engine.taken = {8080}  # its own
    airflow.choose_port(project)
    assert port_of(project) == "8080"


@pytest.mark.parametrize("who", ["listening", "taken"])
def test_a_port_of_others_is_left_to_them(
    project: Project, engine: Engine, who: str, capsys: pytest.CaptureFixture[str]
) -> None:
    setattr(engine, who, {8080})
    airflow.choose_port(project)
    port = int(port_of(project))
    assert FIRST <= port < FIRST + COUNT
    assert f"port {port}" in capsys.readouterr().err
    airflow.choose_port(project)
    assert port_of(project) == str(port)  # also when 8080 is free again


def test_a_number_that_is_no_port_is_replaced(project: Project, engine: Engine) -> None:
    (project.folder / ".env").write_text(f"{ENV}AIRFLOW_PORT=99999\n")
    airflow.choose_port(project)
    assert not engine.listening
    assert FIRST <= int(port_of(project)) < FIRST + COUNT


def test_another_port_in_env_replaces_that_of_the_running_page(
    project: Project, engine: Engine
) -> None:
    (project.folder / ".env").write_text(f"{ENV}AIRFLOW_PORT=9000\n")
    engine.own = ("127.0.0.1", "8080")
    airflow.choose_port(project)
    assert port_of(project) == "9000"


def test_a_port_of_the_shell_is_the_users_own(
    project: Project, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_PORT", "9100")
    engine.listening = {9100}
    airflow.choose_port(project)
    assert (project.folder / ".env").read_text() == ENV


def test_a_port_that_somebody_has_now_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])


# -------------------------------------------------------------------------------------- start


class Compose:
    """Compose, which says what a test lets it: calls of `up` are kept, and may fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ups: list[list[str]] = []
        self.looked = 0
        self.services: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.fails = False
        self.image = "of the container"
        monkeypatch.setattr(airflow, "call", self.call)
        monkeypatch.setattr(airflow, "capture", self.capture)
        monkeypatch.setattr(airflow, "container_of", lambda *_: "4711" if self.image else "")
        monkeypatch.setattr(airflow, "image_id", lambda _: "of the build")
        monkeypatch.setattr(airflow, "before_migration", self.look)
        self.told: list[tuple[Any, ...]] = []
        monkeypatch.setattr(airflow, "tell_worker", lambda *words: self.told.append(words[1:]))

    def look(self, _: Project) -> None:
        self.looked += 1

    def call(self, _: Project, words: list[str], **__: Any) -> str:
        self.ups.append(words)
        if self.fails:
            raise SilentError(1, of_machine=True)
        return ""

    def capture(self, *words: str, **_: Any) -> subprocess.CompletedProcess[str]:
        said = ""
        if "inspect" in words:
            said = self.image
        elif "ps" in words:
            rows = ({"Service": name, **row} for name, row in self.services.items())
            said = "\n".join(map(json.dumps, rows))
        elif "logs" in words:
            said = self.logs.get(words[-1], "")
        return subprocess.CompletedProcess(words, 0, said, "")


@pytest.fixture
def compose(monkeypatch: pytest.MonkeyPatch) -> Compose:
    return Compose(monkeypatch)


def test_the_tables_are_migrated_unless_this_image_works_with_them_already(
    project: Project, compose: Compose
) -> None:
    airflow.start_services(project)
    compose.image = "of the build"
    airflow.start_services(project)
    compose.image = ""
    airflow.start_services(project)
    other, same, none = ([one for one in words if one in AIRFLOW] for words in compose.ups)
    assert [*AIRFLOW] == other == none
    assert same == [name for name in AIRFLOW if name != "airflow-init"]
    assert not [words for words in compose.ups if "dev" in words or "--wait" in words]
    # Compose waits for the database, the tables and the page, and not without end.
    assert all("--wait-timeout" in words for words in compose.ups)
    assert compose.looked == 2  # at the database, before its tables are changed
    # The worker of the project is replaced then, and its image is another one.
    assert compose.told == [("project", None)]


def test_up_ends_when_all_services_are_healthy_and_makes_no_tables_again(
    project: Project, compose: Compose
) -> None:
    airflow.wait_for_services(project)
    (words,) = compose.ups
    assert [one for one in words if one in AIRFLOW] == [
        name for name in AIRFLOW if name != "airflow-init"
    ]
    assert {"--wait", "--no-deps", "--wait-timeout"} <= {*words}


def test_the_worker_of_the_project_is_told_before_workspaces_are_built(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []
    for name in ("build", "before_start", "choose_port", "tell_address"):
        monkeypatch.setattr(airflow, name, lambda *_, **__: None)
    monkeypatch.setattr(airflow, "start_services", lambda _: done.append("services"))
    monkeypatch.setattr(airflow, "start_workers", lambda _: done.append("workers"))
    monkeypatch.setattr(airflow, "wait_for_services", lambda _: done.append("all"))
    monkeypatch.setattr(airflow, "container_of", lambda *_: "page")
    monkeypatch.setattr(airflow, "worker_of", lambda *_: {"image": "new"})
    monkeypatch.setattr(airflow, "tell_worker", lambda *words: done.append(words))
    monkeypatch.delitem(airflow.ACTIONS, airflow.SUBMITTER)
    assert airflow.do_airflow(project, options("up")) == 0
    assert done == ["services", ("page", "project", {"image": "new"}), "workers", "all"]


HEALTHY = {"State": "running", "Health": "healthy", "ExitCode": 0}
ENDED = {"State": "exited", "Health": "", "ExitCode": 0}
SICK = {"State": "running", "Health": "unhealthy", "ExitCode": 0}
FAILED = {"State": "exited", "Health": "", "ExitCode": 1}
OTHER_POSTGRES = (
    "DETAIL:  The data directory was initialized by PostgreSQL version 15, which is not "
    "compatible with this version 17.7 (Debian 17.7-3.pgdg12+1)."
)


INIT_FAILED = "airflow-init", FAILED
UNKNOWN = "alembic.util.exc.CommandError: Can't locate revision identified by 'f00'"
PASSWORD = 'FATAL:  password authentication failed for user "airflow"'


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (
            ("airflow-api-server", SICK, "Traceback"),
            ("airflow-unhealthy", "logs airflow-api-server"),
        ),
        (("airflow-database", FAILED, "No space left on device"), ("disk-full", "")),
        (("airflow-database", FAILED, OTHER_POSTGRES), ("airflow-postgres-other", "=postgres:15 ")),
        ((*INIT_FAILED, UNKNOWN), ("airflow-database-newer", "airflow up")),
        ((*INIT_FAILED, PASSWORD), ("airflow-password-other", "airflow reset")),
    ],
)
def test_the_first_service_that_does_not_work_says_why(
    project: Project,
    compose: Compose,
    case: tuple[str, dict[str, Any], str],
    said: tuple[str, str],
) -> None:
    service, row, text = case
    at = AIRFLOW.index(service)
    states = [HEALTHY if name != "airflow-init" else ENDED for name in AIRFLOW[:at]]
    compose.services = {**dict(zip(AIRFLOW, states, strict=False)), service: row}
    compose.services |= dict.fromkeys(AIRFLOW[at + 1 :], FAILED)
    compose.logs, compose.fails = {service: text}, True
    with pytest.raises(StopError) as caught:
        airflow.start_services(project)
    assert caught.value.name == said[0]
    assert said[1] in caught.value.command


# ------------------------------------------------------------------------------- status, logs


def options(action: str, *words: str) -> Namespace:
    """What the command line was."""
    return Namespace(action=action, words=[*words], follow=False, tail=None)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The import errors that Airflow's page has; no workspace has a worker."""
    errors: list[dict[str, str]] = []

    def ask_page(_: Project, path: str, **__: Any) -> dict[str, Any]:
        if path == "/auth/token":
            return {"access_token": "t"}
        place, words = path.split("?")
        assert place == "/api/v2/importErrors"
        limit, offset = (int(one.partition("=")[2]) for one in words.split("&"))
        some = errors[offset : offset + min(limit, 100)]  # Airflow gives no more
        return {"import_errors": some, "total_entries": len(errors)}

    monkeypatch.setattr(airflow, "ask_page", ask_page)
    monkeypatch.setattr(airflow, "workers", lambda _: [])
    return errors


def test_status_lists_every_service_and_files_that_cannot_be_read(
    project: Project,
    compose: Compose,
    page: list[dict[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    compose.services = {name: {**HEALTHY, "Status": "Up"} for name in AIRFLOW}
    compose.services["airflow-init"] = {**ENDED, "Status": "Exited (0)"}
    page.append({"filename": "project/bad.py", "stack_trace": "Traceback\nNameError: x\n"})
    assert airflow.do_airflow(project, options("status")) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in AIRFLOW)
    assert "project/bad.py: NameError: x" in shown
    for broken in (SICK, FAILED):
        compose.services["airflow-scheduler"] = broken
        assert airflow.do_airflow(project, options("status")) == 1
    del compose.services["airflow-scheduler"]
    assert airflow.do_airflow(project, options("status")) == 1
    compose.services = {}
    assert airflow.do_airflow(project, options("status")) == 1


def test_status_outlives_a_prune_of_what_has_ended(
    project: Project, compose: Compose, page: list[dict[str, str]]
) -> None:
    assert not page
    compose.services = {name: HEALTHY for name in AIRFLOW if name != "airflow-init"}
    assert airflow.do_airflow(project, options("status")) == 0
    compose.services["airflow-init"] = FAILED
    assert airflow.do_airflow(project, options("status")) == 1


@pytest.mark.parametrize("many", [0, 120, 301])
def test_status_lists_some_hundred_import_errors_and_counts_the_others(
    project: Project,
    compose: Compose,
    page: list[dict[str, str]],
    capsys: pytest.CaptureFixture[str],
    many: int,
) -> None:
    compose.services = dict.fromkeys(AIRFLOW, HEALTHY)
    page += [{"filename": f"{n}.py", "stack_trace": "NameError: x"} for n in range(many)]
    airflow.do_airflow(project, options("status"))
    shown = capsys.readouterr().out
    assert shown.count("Import error: ") == min(many, airflow.MOST_ERRORS)
    assert ("And 1 more " in shown) == (many == 301)
    assert shown.count("And ") == (many == 301)


def test_status_says_that_it_cannot_know_import_errors(
    project: Project,
    compose: Compose,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    compose.services = dict.fromkeys(AIRFLOW, HEALTHY)
    monkeypatch.setattr(airflow, "workers", lambda _: [])
    airflow.do_airflow(project, options("status"))  # nothing has the port of the page
    assert "are not listed" in capsys.readouterr().err


def test_the_command_for_the_password_works_where_the_user_stands(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_secrets(project)
    link = project.root / "link.sh"
    link.symlink_to(project.folder / "template.sh")
    for folder in (project.root, project.folder / ".airflow", Path("/")):
        for script in (str(project.folder / "template.sh"), str(link), "./link.sh"):
            monkeypatch.setenv("TEMPLATE_SH", script)
            monkeypatch.setenv("CALLED_FROM", str(folder))
            airflow.tell_address(project)
            command = capsys.readouterr().err.splitlines()[0].partition("run: ")[2]
            said = run("sh", "-c", command, cwd=folder).stdout
            assert said == (project.folder / ".airflow/passwords.json").read_text()


def test_logs_are_of_the_services_and_workspaces_that_are_named(
    project: Project, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow, "workers", lambda _: [])
    with pytest.raises(StopError) as caught:
        airflow.do_airflow(project, options("logs"))
    assert caught.value.name == "airflow-not-running"
    compose.services = dict.fromkeys(AIRFLOW, HEALTHY)
    airflow.do_airflow(project, options("logs", "scheduler", "airflow-worker"))
    assert compose.ups[-1][-2:] == ["airflow-scheduler", "airflow-worker"]
    monkeypatch.setattr(airflow, "workers", lambda _: [("4712", "faces"), ("4713", "lake")])
    before = len(compose.ups)
    asked = options("logs", "lake")
    asked.tail = "3"
    airflow.do_airflow(project, asked)
    (words,) = compose.ups[before:]
    assert words[-4:] == ["logs", "--tail", "3", "4713"]
    for action, word in (("logs", "dev"), ("up", "now")):
        with pytest.raises(StopError) as caught:
            airflow.do_airflow(project, options(action, word))
        assert caught.value.name == USAGE


# ----------------------------------------------------------------- what its containers are given


def test_no_container_sees_the_secrets_in_the_code_folder(project: Project) -> None:
    make_secrets(project)
    services = yaml.safe_load(guard_text(project))["services"]
    assert services.keys() == {"runtime", "dev", "tools", *AIRFLOW} - {"airflow-database"}
    for name, service in services.items():
        places = [one["target"] for one in service["volumes"]]
        assert not [one for one in places if ".airflow" in one]
        covers = {one["target"] for one in service["volumes"] if one["type"] == "tmpfs"}
        code = {"/workspace/docker-amd64"} if name in ("runtime", "dev", "tools") else set()
        code |= {"/project/docker-amd64"} if name in AIRFLOW else set()
        code |= {"/workspace/docker-amd64"} if name == "airflow-worker" else set()
        assert covers == code, name
    # The worker of a workspace has the project's code too; another code folder has no secrets.
    (cover,) = yaml.safe_load(cover_text(project, project.root, "airflow-worker"))[
        "services"
    ].values()
    assert [one["target"] for one in cover["volumes"]] == ["/project/docker-amd64"]
    assert cover_text(project, project.folder / "host", "airflow-worker") == ""


def test_the_worker_has_the_gpus_and_no_other_service_of_airflow() -> None:
    for text in override_texts("0", GpuFacts(), "", ("runtime", "dev", AIRFLOW[-1])).values():
        assert yaml.safe_load(text)["services"].keys() == {"runtime", "dev", "airflow-worker"}


def test_project_json_knows_the_services_of_compose_yaml(
    generate: Generate, tmp_path: Path
) -> None:
    docker = generate(tmp_path / "project", accelerator="cpu", extras=["airflow"]) / "docker-amd64"
    services = yaml.safe_load((docker / "compose.yaml").read_text())["services"]
    known = json.loads((docker / "host/project.json").read_text())
    own = {name: row for name, row in services.items() if row.get("profiles") == ["airflow"]}
    assert known["services"]["airflow"] == [*own] == [*AIRFLOW]

    def places(row: dict[str, Any]) -> list[str]:
        return [one["target"] for one in row.get("volumes", ()) if isinstance(one, dict)]

    assert known["services"]["project"] == [
        n for n in services if "/project" in places(services[n])
    ]
    code = [name for name in services if "/workspace" in places(services[name])]
    assert known["services"]["code"] == [name for name in code if "tools" not in name]
    # Nobody but this machine reaches them, and none is root's.
    ports = [port for row in own.values() for port in row.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert {*known["builds"]} == {name for name, row in services.items() if "build" in row}
    assert known["extras"] == ["airflow", "data"]


def test_a_project_without_airflow_has_no_file_of_it(generate: Generate, tmp_path: Path) -> None:
    folder = generate(tmp_path / "project", accelerator="cpu", extras=["data"])
    files = [one for one in folder.rglob("*") if one.is_file()]
    assert not [one for one in files if "airflow" in one.name or "workspaces/" in str(one)]
    of_host = [one for one in files if "host" in one.parts]
    others = [one for one in files if one not in of_host and "airflow" in one.read_text().lower()]
    assert others == []


def test_an_image_of_postgres_that_cannot_be_had_is_named_by_its_key(project: Project) -> None:
    project.base_images = {"BASE_IMAGE": "ubuntu:24.04", "POSTGRES_IMAGE": "postgres:17.7-bookworm"}
    text = (
        "failed to solve: postgres:17.7-bookworm: failed to resolve source metadata for "
        "docker.io/library/postgres:17.7-bookworm: failed to do request: Head "
        '"https://registry-1.docker.io/v2/library/postgres/manifests/17.7-bookworm": dial tcp: '
        "lookup registry-1.docker.io on 10.0.0.53:53: no such host"
    )
    stop = explain(project, text)
    assert stop
    assert stop.name == "base-image-blocked"
    assert " POSTGRES_IMAGE=" in stop.command
