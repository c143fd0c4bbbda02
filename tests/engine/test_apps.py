"""Notebooks, TensorBoard and an app of one's own, as a browser on this machine meets them."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests import pictures
from tests.engine.conftest import MakeProject
from tests.support.process import run
from tests.support.project import Project

WRITE_SCALAR = """
import os, time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
writer = EventFileWriter(os.environ["OUTPUTS_DIR"] + "/run-1")
value = Summary.Value(tag="loss", simple_value=0.25)
writer.add_event(Event(step=7, wall_time=time.time(), summary=Summary(value=[value])))
writer.close()
"""
# A kernel that is busy with its start, and for three seconds has no turn at the processor.
SLOW = """
import os, signal, subprocess, time
time.sleep(1)
subprocess.Popen(["sh", "-c", f"sleep 3; kill -CONT {os.getpid()}"])
os.kill(os.getpid(), signal.SIGSTOP)
"""
OWN = """
[own]
command = cd /outputs && exec python -m http.server 9000
port = 9000
[inner]
command = python -m http.server --bind 127.0.0.1 9001
port = 9001
"""


def get(url: str, data: bytes | None = None) -> Any:
    """What an address answers: its JSON, or the status of a refusal."""
    try:
        with urllib.request.urlopen(url, data, timeout=120) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code


def soon(url: str) -> Any:
    """What an address answers as soon as that is not empty; TensorBoard reads every 5 seconds."""
    deadline = time.monotonic() + 240
    while not (found := get(url)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def rows(project: Project) -> dict[str, list[str]]:
    """The apps as `apps` lists them: status and address."""
    lines = project.ok("apps").splitlines()[1:]
    return {name: rest for name, *rest in map(str.split, lines)}


@pytest.fixture(scope="module")
def served(project: MakeProject, torch_version: str) -> Project:
    """A project with PyTorch and both apps, whose dev container runs."""
    extras = ["jupyter", "tensorboard"]
    new = project("my apps", extras=extras, torch_version=torch_version)
    packages = new.docker / "dependencies/pyproject.toml"
    packages.write_text(packages.read_text().replace('"pytest",', '"pytest", "matplotlib",'))
    new.build("dev")
    new.ok("up")
    return new


@pytest.fixture(scope="module")
def lab(served: Project) -> tuple[str, str]:
    """The address of JupyterLab and its token, as its start prints them."""
    address, _, token = served.ok("jupyter").strip().partition("/lab?token=")
    return address, token


def test_a_notebook_has_the_environment_and_the_python_of_exec(
    served: Project, lab: tuple[str, str]
) -> None:
    address, token = lab
    startup = "~/.ipython/profile_default/startup"
    write = f'mkdir -p {startup} && printf %s "$1" >{startup}/slow.py'
    served.ok("exec", "sh", "-c", write, "", SLOW)
    found = json.loads(served.sh("doors", "--json").stdout)
    served.ok("exec", "sh", "-c", f"rm {startup}/slow.py")
    assert (found["closed"], found["differences"]) == ({}, [])
    assert found["rooms"].keys() == {"exec", "bash", "bash -l", "notebook", "app"}
    room = found["rooms"]["notebook"]
    assert (room["python"], room["folder"]) == ("/opt/venv/bin/python", "/workspace")
    assert get(f"{address}/api/kernels?token={token}") == []
    saved = json.dumps({"type": "file", "format": "text", "content": "mine"}).encode()
    asked = urllib.request.Request(  # noqa: S310
        f"{address}/api/contents/note.txt?token={token}", saved, method="PUT"
    )
    with urllib.request.urlopen(asked, timeout=60):  # noqa: S310
        assert (served.folder / "note.txt").stat().st_uid == served.owner.uid


def test_only_who_has_the_token_is_let_in_and_only_its_owner_has_it(
    served: Project, lab: tuple[str, str]
) -> None:
    address, token = lab
    assert len(token) >= 32
    assert get(f"{address}/api/status") == 403
    assert get(f"{address}/api/status?token={token}")["started"]
    assert served.ok("jupyter") == f"{address}/lab?token={token}\n"  # and no second one
    container = served.compose("ps", "--quiet", "dev").strip()
    assert "/bin/jupyter" in run("docker", "top", container).stdout
    for look in ("top", "inspect", "logs"):
        done = run("docker", look, container)
        assert token not in done.stdout + done.stderr
    assert token not in served.ok("apps", "logs", "jupyter") + served.ok("apps")
    mode = served.ok("exec", "stat", "-c", "%a", "/home/user/.apps/jupyter/token")
    assert mode == "600\n"
    assert rows(served)["jupyter"][:2] == ["runs", f"{address}/"]
    assert address.startswith("http://127.0.0.1:")


def test_tensorboard_shows_what_a_program_wrote_into_the_outputs(served: Project) -> None:
    address = served.ok("tensorboard").strip()
    served.ok("exec", "python", "-c", WRITE_SCALAR)
    assert "loss" in soon(f"{address}data/plugin/scalars/tags")["run-1"]
    points = get(f"{address}data/plugin/scalars/scalars?run=run-1&tag=loss")
    assert [point[1:] for point in points] == [[7, 0.25]]
    served.ok("apps", "stop", "tensorboard")
    assert rows(served)["tensorboard"][0] == "stopped"
    assert "TensorBoard 2" in served.ok("apps", "logs", "tensorboard")


def test_a_browser_shows_what_a_notebook_plots_a_terminal_and_what_tensorboard_reads(
    served: Project, tmp_path: Path
) -> None:
    pictures.take_apps(served, tmp_path, drawn=200)  # the scene of docs/pictures
    wanted = {one.file for one in pictures.TABLE if one.scene == "inside"}
    assert {file.name for file in tmp_path.iterdir()} == wanted
    served.ok("apps", "stop", "tensorboard")


def test_an_app_of_ones_own_gets_a_port_and_the_others_keep_theirs(
    served: Project, lab: tuple[str, str]
) -> None:
    file = served.docker / "apps.ini"
    file.write_text(f"{file.read_text()}{OWN}")
    refused = served.sh("apps", "start", "own")
    assert "app-not-published" in refused.stderr
    served.ok("up")
    assert rows(served)["jupyter"] == ["stopped", f"{lab[0]}/", "~/.apps/jupyter/log"]
    served.write("outputs/page.json", "[1]")
    assert get(f"{served.ok('apps', 'start', 'own').strip()}page.json") == [1]
    served.ok("apps", "stop", "own")
    assert "app-loopback" in served.sh("apps", "start", "inner").stderr
    container = served.compose("ps", "--quiet", "dev").strip()
    assert "http.server" not in run("docker", "top", container).stdout


def test_a_new_container_has_the_token_and_another_port_if_that_is_taken(
    served: Project, lab: tuple[str, str]
) -> None:
    address, token = lab
    served.ok("down")
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        served.ok("up")
        assert rows(served)["jupyter"][0] == "stopped"
        other, _, kept = served.ok("jupyter").strip().partition("/lab?token=")
    assert kept == token
    assert other != address
    get(f"{other}/api/kernels?token={token}", b"{}")
    served.ok("apps", "stop", "jupyter")
    container = served.compose("ps", "--quiet", "dev").strip()
    left = run("docker", "top", container).stdout
    assert "jupyter" not in left
    assert "ipykernel" not in left
