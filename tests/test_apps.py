"""Apps of the dev container: what apps.ini may say, their ports, how they start and end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host import apps, apps_file
from host.apps_file import choose_ports, publish_apps, read_apps
from host.look import Case, port
from host.ports import COUNT, FIRST, account_here
from host.project import APPS_FILE, Project, StopError
from tests.conftest import ROOT, Generate
from tests.support.program import PROJECT

PROGRAM = ROOT / "template/docker-amd64/image/app.py"
TWO = "[lab]\ncommand = a\n  --b\nport = 8888\ntoken = T\n[board]\ncommand = c\nport = 6006\n"


class Engine:
    """An engine that has a dev container with ports, and containers of others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bindings: dict[str, list[dict[str, str]]] = {}
        self.running = False
        self.others = ""
        found = ["4711"]
        monkeypatch.setattr(apps_file, "containers", lambda *_, **__: found)
        monkeypatch.setattr(apps_file, "container", lambda _: "4711" if self.running else "")
        monkeypatch.setattr(apps_file, "ask_engine", self.capture)

    def capture(self, *words: str) -> subprocess.CompletedProcess[str]:
        said = {"inspect": json.dumps(self.bindings), "ps": self.others}[words[0]]
        return subprocess.CompletedProcess(words, 0, said, "")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(monkeypatch)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with two apps."""
    folder = tmp_path / "my work" / "docker-amd64"
    folder.mkdir(parents=True)
    (folder / "compose.yaml").write_text("services: {}\n")
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME=demo\nCOMPOSE_FILE=compose.yaml\n")
    (folder / "apps.ini").write_text(TWO)
    return Project(folder, PROJECT)


def ports(project: Project) -> dict[str, int]:
    """The ports that the apps get."""
    chosen = choose_ports(project, read_apps(project), "127.0.0.1")
    return {name: int(port) for name, port in chosen.items()}


# ------------------------------------------------------------------------------------ apps.ini


def test_an_app_is_a_section_with_a_command_and_a_port(project: Project) -> None:
    lab, board = read_apps(project).values()
    assert (lab.name, lab.command, lab.port, lab.token) == ("lab", "a --b", 8888, "T")
    assert (board.health, board.page) == ("", "/")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("command = a", "no section headers"),
        ("[a b]\ncommand = a\nport = 1", '"a b" cannot be a name'),
        ("[a]\nport = 1", '[a] has command ""'),
        ("[a]\ncommand = a", '[a] has port ""'),
        ("[a]\ncommand = a\nport = 65536", "from 1 to 65535"),
        ("[a]\ncommand = a\nport = 1\nhealth = up", "a path such as /health"),
        ("[a]\ncommand = a\nport = 1\ntoken = $(id)", "the name of a variable"),
        ("[a]\ncommand = a\nport = 1\nports = 2", "[a] has ports, but an app has command, port"),
        (
            "[a]\ncommand = a\nport = 1\n[b]\ncommand = b\nport = 1",
            "[b] has the port 1, as has [a]",
        ),
        ("[a]\ncommand = a\n[a]\nport = 1", "already exists"),
    ],
)
def test_what_is_wrong_in_it_is_named(project: Project, text: str, said: str) -> None:
    (project.folder / "apps.ini").write_text(text)
    with pytest.raises(StopError) as caught:
        read_apps(project)
    assert caught.value.name == "apps-file"
    assert said in caught.value.sentence
    assert "apps.ini" in caught.value.command


@pytest.mark.parametrize("extra", ["jupyter", "tensorboard"])
@pytest.mark.parametrize("manager", ["pip", "conda"])
def test_a_choice_brings_the_section_the_package_and_the_verb(
    generate: Generate, tmp_path: Path, extra: str, manager: str
) -> None:
    docker = generate(tmp_path / "project", extras=[extra], package_manager=manager)
    docker /= "docker-amd64"
    assert [*read_apps(Project(docker, PROJECT))] == [extra]
    name = "pyproject.toml" if manager == "pip" else "environment-dev.yml"
    listed = (docker / "dependencies" / name).read_text()
    assert ("jupyterlab" in listed, "tensorboard" in listed) == (
        extra == "jupyter",
        extra == "tensorboard",
    )
    there = {path.stem for path in (docker / "host").glob("*.py")} & {"jupyter", "tensorboard"}
    assert there == {extra}


def test_the_example_in_it_is_an_app(generate: Generate, tmp_path: Path) -> None:
    file = generate(tmp_path / "project", extras=["jupyter"]) / "docker-amd64/apps.ini"
    text = file.read_text()
    example = text[text.index("# [") :].replace("# ", "")
    file.write_text(example[: example.index("\n\n")])
    assert [*read_apps(Project(file.parent, PROJECT))] == ["streamlit"]


# ------------------------------------------------------------------------------------ the ports


def test_ports_are_the_folders_own_and_free(project: Project, engine: Engine) -> None:
    first = ports(project)
    assert len({*first.values()}) == 2
    assert all(FIRST <= one < FIRST + COUNT for one in first.values())
    assert ports(project) == first
    with socket.create_server(("127.0.0.1", first["lab"])):
        other = ports(project)
    assert other["lab"] not in first.values()
    assert other["board"] == first["board"]
    engine.others = f"127.0.0.1:{first['lab']}->80/tcp, [::]:{first['board']}-40000->81-90/tcp"
    assert not {*ports(project).values()} & {*first.values()}
    (project.folder / ".env").write_text(f"SSH_PORT={first['lab']}\n")
    project.forget_settings()
    engine.others = ""
    assert ports(project)["lab"] not in first.values()


def test_the_containers_own_port_is_kept_also_where_it_listens(
    project: Project, engine: Engine
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        used = next(one for one in range(FIRST, FIRST + COUNT) if one != ports(project)["lab"])
        engine.bindings = {"8888/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(used)}]}
        assert ports(project)["lab"] == used  # it is stopped, and nobody else has the port
        del mine
    with socket.create_server(("127.0.0.1", used)):
        assert ports(project)["lab"] != used
        engine.running = True
        assert ports(project)["lab"] == used


def test_compose_reads_the_ports_as_long_as_there_are_apps(
    project: Project, engine: Engine
) -> None:
    del engine
    chosen = ports(project)
    publish_apps(project)
    text = (project.folder / APPS_FILE).read_text()
    row = {"host_ip": "127.0.0.1", "published": str(chosen["lab"]), "target": 8888}
    assert f"- {json.dumps(row)} # lab\n" in text
    assert project.settings.files() == ["compose.yaml", APPS_FILE]
    before = (project.folder / APPS_FILE).stat().st_mtime_ns
    publish_apps(project)
    assert (project.folder / APPS_FILE).stat().st_mtime_ns == before
    (project.folder / "apps.ini").unlink()
    publish_apps(project)
    assert not (project.folder / APPS_FILE).exists()
    assert project.settings.files() == ["compose.yaml"]


def test_another_address_is_that_of_env(project: Project, engine: Engine) -> None:
    del engine
    (project.folder / ".env").write_text("COMPOSE_FILE=compose.yaml\nAPPS_ADDRESS=[::1]\n")
    publish_apps(project)
    assert '"host_ip": "::1"' in (project.folder / APPS_FILE).read_text()


def test_a_port_that_was_taken_meanwhile_is_chosen_again(project: Project, engine: Engine) -> None:
    del engine
    publish_apps(project)
    taken = ports(project)["lab"]
    text = f"Bind for 127.0.0.1:{taken} failed: port is already allocated"
    seen = port(Case(project, text, {"folder": "docker-amd64"}))
    assert seen is not None
    assert str(taken) in seen["cause"]
    assert seen["remedy"].endswith(" up")


# ------------------------------------------------------------------------------------- the verb


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the program in a running dev container answers, which has port 8888 at 20001."""
    answer: dict[str, Any] = {"state": "ready", "token": "s3cret"}
    monkeypatch.setattr(apps, "need_container", lambda _: None)
    monkeypatch.setattr(apps, "container", lambda _: "4711")
    monkeypatch.setattr(
        apps, "published", lambda _, port: ("::1", "20001") if port > 8000 else None
    )
    monkeypatch.setattr(apps, "in_container", lambda *_: answer)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    return answer


def start(project: Project, name: str) -> None:
    apps.do_apps(project, Namespace(action="start", app=name))


def test_a_start_prints_the_address_and_by_ssh_the_tunnel(
    project: Project,
    container: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del container
    file = project.folder / "apps.ini"
    file.write_text(TWO.replace("token = T", "token = T\npage = /lab?token={token}"))
    start(project, "lab")
    here = capsys.readouterr()
    assert here.out == "http://[::1]:20001/lab?token=s3cret\n"
    assert "s3cret" not in here.err
    assert "ssh" not in here.err
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 50000 10.0.0.9 22")
    monkeypatch.setenv("USER", "jane")
    start(project, "lab")
    there = capsys.readouterr()
    assert "ssh -N -L 20001:[::1]:20001 jane@10.0.0.9" in there.err
    assert there.out == "http://127.0.0.1:20001/lab?token=s3cret\n"


def test_a_start_starts_the_dev_container_too(
    project: Project,
    container: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del container
    runs: list[str] = []

    def call_verb(name: str, *, project: Project) -> int:
        runs.append(f"{name} {project.name}")
        return 0

    monkeypatch.setattr("host.command.call_verb", call_verb)
    start(project, "lab")
    assert runs == []
    monkeypatch.setattr(apps, "container", lambda _: "4711" if runs else "")
    with pytest.raises(StopError):
        start(project, "missing")
    assert runs == []
    start(project, "lab")
    assert runs == ["up demo"]
    assert capsys.readouterr().out.count("http://[::1]:20001/") == 2


def test_a_user_without_a_name_gets_a_tunnel_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 50000 10.0.0.9 22")
    for key in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987654)
    assert account_here() == "10.0.0.9"


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ({"state": "port-taken", "who": "python (process 7)"}, "app-port-taken"),
        ({"state": "loopback", "status": None, "log": []}, "app-loopback"),
        ({"state": "silent", "status": None, "log": []}, "app-silent"),
        ({"state": "ended", "status": 127, "log": []}, "app-not-installed"),
        ({"state": "ended", "status": 3, "log": ["boom"]}, "app-ended"),
    ],
)
def test_why_an_app_does_not_answer_is_said(
    project: Project,
    container: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    answer: dict[str, Any],
    name: str,
) -> None:
    container.update(answer)
    with pytest.raises(StopError) as caught:
        start(project, "lab")
    assert caught.value.name == name
    assert ("boom" in capsys.readouterr().err) == (name == "app-ended")


@pytest.mark.parametrize(
    ("name", "failure"), [("board", "app-not-published"), ("other", "app-missing")]
)
def test_what_an_app_lacks_is_named(
    project: Project, container: dict[str, Any], name: str, failure: str
) -> None:
    del container
    with pytest.raises(StopError) as caught:
        start(project, name)
    assert caught.value.name == failure


# -------------------------------------------------------------------- the program in the container


class Inside:
    """The program that the container is sent, with a home of its own and real processes."""

    def __init__(self, home: Path) -> None:
        self.home, self.name = home, f"test-{uuid.uuid4().hex}"
        with socket.create_server(("", 0)) as one:
            self.port = one.getsockname()[1]

    @property
    def folder(self) -> Path:
        return self.home / ".apps" / self.name

    def do(self, verb: str, **known: Any) -> dict[str, Any]:
        given = {"name": self.name, "port": self.port, "health": "", "token": "", "limit": 20}
        call = [sys.executable, "-IS", "-", verb, json.dumps({**given, **known})]
        done = subprocess.run(
            call,
            input=PROGRAM.read_text(),
            env={**os.environ, "HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=True,
            timeout=240,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def serve(self, **known: Any) -> dict[str, Any]:
        server = f"{sys.executable} -m http.server {self.port}"
        return self.do("start", command=f'echo "$T"; sleep 100 & {server}', **known)

    def runs(self) -> bool:
        return bool(self.do("look", names=[self.name])[self.name])


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Inside]:
    made = Inside(tmp_path)
    yield made
    made.do("stop")
    Path(f"/tmp/.app-{made.name}").unlink(missing_ok=True)


def test_an_app_runs_once_and_ends_with_all_that_it_started(inside: Inside) -> None:
    assert not inside.runs()
    assert inside.serve(health="/")["state"] == "ready"
    state = Path(f"/tmp/.app-{inside.name}").read_text()
    assert inside.serve(health="/")["state"] == "ready"
    assert Path(f"/tmp/.app-{inside.name}").read_text() == state
    assert inside.runs()
    assert inside.do("stop") == {"state": "stopped"}
    with pytest.raises(ProcessLookupError):
        os.killpg(int(state.split()[0]), 0)
    assert not inside.runs()
    assert inside.do("stop") == {"state": "none"}
    # After a new start of the container, another process may have the number.
    Path(f"/tmp/.app-{inside.name}").write_text(f"{os.getpid()} 4711")
    assert not inside.runs()


def test_a_token_is_a_private_file_that_outlives_a_start(inside: Inside) -> None:
    first = inside.serve(token="T")["token"]
    assert len(first) >= 32
    assert (inside.folder / "token").stat().st_mode & 0o777 == 0o600
    assert inside.folder.stat().st_mode & 0o777 == 0o700
    assert (inside.folder / "log").read_text().splitlines()[0] == f"{inside.folder}/token"
    inside.do("stop")
    assert inside.serve(token="T")["token"] == first
    assert f"{inside.folder}/token" in (inside.folder / "log.1").read_text()


def test_what_is_wrong_with_an_app_is_found_out(inside: Inside) -> None:
    ended = inside.do("start", command="echo boom >&2; exit 3")
    assert ended == {"state": "ended", "status": 3, "log": ["boom"]}
    assert inside.do("start", command="no-such-program")["status"] == 127
    assert inside.serve(health="/missing", limit=2)["state"] == "silent"
    assert inside.runs()
    inside.do("stop")
    with socket.create_server(("", inside.port)):
        taken = inside.do("start", command="true")
    assert taken["state"] == "port-taken"
    assert f"(process {os.getpid()})" in taken["who"]


def test_no_app_has_the_port_of_the_ssh_server(project: Project) -> None:
    project.extras = ("ssh",)
    (project.folder / apps_file.LIST).write_text("\ufeff[a]\ncommand = a\nport = 2222\n", "utf-8")
    with pytest.raises(StopError, match="as has the ssh server"):
        apps_file.read_apps(project)
