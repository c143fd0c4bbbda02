"""`airflow rerun`: a run is repeated from its manifest, by an api-server of a few lines."""

from __future__ import annotations

import json
import re
import shlex
import threading
from argparse import Namespace
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from host import airflow_results, registry
from host.exchange import code_digest
from host.project import Project, StopError
from tests.support.git import git
from tests.support.program import PROJECT

DIGESTS = {text: sha256(text.encode()).hexdigest() for text in ("1", "2")}


class Airflow:
    """What the api-server knows, and what it was asked to do."""

    def __init__(self, data: Path):
        self.data = data
        self.paused = False
        self.broken: list[int] = []  # the statuses of answers to the wish to pause
        self.states = ["queued", "running", "success"]
        self.outputs = {"a": "1", "b": "1"}
        self.done: list[str] = []
        self.tokens = 0

    def answer(self, path: str, content: Any, token: str) -> tuple[int, Any]:
        """The status and the answer to a request."""
        if path == "/auth/token":
            self.tokens += 1
            known = content == {"username": "jane", "password": "secret"}
            return (201 if known else 401), {"access_token": f"token {self.tokens}"}
        if token != "Bearer token 2":  # the first one is too old
            return 401, {"detail": "Invalid token"}
        return self.about_dags(path, content)

    def about_dags(self, path: str, content: Any) -> tuple[int, Any]:
        """The status and the answer to a request about the one DAG."""
        dag = "/api/v2/dags/a%2Fb"
        if path == dag and content:
            if content["is_paused"] and self.broken:
                return self.broken.pop(0), {}
            self.paused = content["is_paused"]
            self.done.append(f"paused {self.paused}")
        if path == dag:
            file = "workspaces-code/dags/train.py"
            return 200, {"dag_id": "a/b", "is_paused": self.paused, "relative_fileloc": file}
        if path == f"{dag}/dagRuns":
            if content["conf"].get("epochs") == "many":
                return 400, {"detail": "epochs is not\na number."}
            self.done.append(f"run {content['conf']}")
            publish(self.data / "generated/reruns" / content["dag_run_id"], self.outputs)
            return 200, {"state": "queued"}
        if path.startswith(f"{dag}/dagRuns/rerun__"):
            return 200, {"state": self.states.pop(0)}
        return 404, {"detail": "The Dag was not found"}


def publish(folder: Path, outputs: dict[str, str], **more: Any) -> Path:
    """Results as a DAG publishes them, of which only the manifest is looked at."""
    place = folder / "m"
    place.mkdir(parents=True)
    listed = [{"path": name, "sha256": DIGESTS[text]} for name, text in outputs.items()]
    known = {
        "results": 1,
        "name": "m",
        "code": {"commit": "none", "changed": False, "files": code_digest(place)},
        "image": "sha256:1",
        "dag": "a/b",
        "parameters": {"epochs": 3},
        "inputs": [],
        "outputs": listed,
    }
    (place / "results.json").write_text(json.dumps({**known, **more}))
    return place


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a workspace that the DAG is in, and results of others."""
    monkeypatch.setenv("CALLED_FROM", str(tmp_path))
    monkeypatch.setattr(airflow_results, "image_id", lambda _: "sha256:1")
    monkeypatch.setattr(airflow_results, "STEP", 0.01)
    monkeypatch.setattr(airflow_results, "PATIENCE", 0.1)
    folder = tmp_path / "docker-amd64"
    (folder / ".airflow").mkdir(parents=True)
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME=demo\n")
    (folder / ".airflow/passwords.json").write_text('{"jane": "secret"}')
    (tmp_path / "workspaces/workspaces-code").mkdir(parents=True)
    return Project(folder, PROJECT)


@pytest.fixture
def airflow(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Airflow]:
    """An Airflow that runs."""
    known = Airflow(project.root / "data")

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            content = json.loads(self.rfile.read(size)) if size else None
            token = self.headers.get("Authorization", "")
            status, answer = known.answer(self.path.split("?")[0], content, token)
            if answer.get("state") == "crash":
                return  # without a word
            status = 503 if answer.get("state") == "no database" else status
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = reply  # noqa: N815  the names of the base class

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    address = ("127.0.0.1", str(server.server_port))
    monkeypatch.setattr(airflow_results, "container_of", lambda *_: "c0ffee")
    monkeypatch.setattr(airflow_results, "published", lambda *_: address)
    yield known
    server.shutdown()
    server.server_close()


def rerun(project: Project, name: str | Path) -> int:
    return airflow_results.rerun(project, Namespace(words=[str(name)]))


def test_equal_results_of_the_same_code_are_said_to_be_so(
    project: Project, airflow: Airflow, capsys: pytest.CaptureFixture[str]
) -> None:
    place = publish(project.root / "data/downloaded", {"a": "1", "b": "1"})
    before = (place / "results.json").read_bytes()
    assert rerun(project, "data/downloaded/m") == 0
    found = capsys.readouterr()
    assert found.out.split() == ["equal", "a", "equal", "b"]
    assert "Warning" not in found.err
    assert airflow.done == ["run {'epochs': 3}"]
    assert (place / "results.json").read_bytes() == before


def test_each_output_that_is_not_equal_is_named(
    project: Project, airflow: Airflow, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(project.root / "data/downloaded", {"a": "1", "b": "1"})
    airflow.outputs = {"b": "2", "c": "1"}
    assert rerun(project, "data/downloaded/m/results.json") == 1
    assert capsys.readouterr().out.split() == ["missing", "a", "different", "b", "new", "c"]


def test_what_was_different_then_is_said_before_the_run(
    project: Project, airflow: Airflow, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.root / "data/downloaded").mkdir(parents=True)
    (project.root / "data/downloaded/x.csv").write_text("2")
    inputs = [{"path": name, "sha256": DIGESTS["1"]} for name in ("x.csv", "y.csv")]
    code = {"commit": "c0ffee", "changed": True, "files": "0"}
    publish(project.root / "r", {"a": "1", "b": "1"}, inputs=inputs, code=code, image="sha256:2")
    assert rerun(project, "r/m") == 0
    said = capsys.readouterr().err
    for words in (
        "commit was c0ffee, and is none here",
        "Python files differ",
        "image was sha256:2, and is sha256:1",
        "x.csv is another file",
        "y.csv is missing",
        "not all in a commit",
    ):
        assert words in said.partition("Running")[0]
    assert airflow.done


def test_another_image_of_the_same_packages_is_said_so(project: Project) -> None:
    lock = project.folder / "dependencies/uv.lock"
    lock.parent.mkdir()
    lock.write_text("numpy")
    known = airflow_results.worker_of(project, "workspaces-code")
    code = {"commit": "none", "changed": False, "files": known["files"]}
    manifest = {"code": code, "image": "sha256:2", "inputs": []}

    def said(**more: Any) -> list[str]:
        return [*airflow_results.differences(project, {**manifest, **more}, "workspaces-code")]

    assert said(packages=known["packages"]) == ["The image is another one, with the same packages."]
    was = ["The image was sha256:2, and is sha256:1 here."]
    assert said() == was  # of an older version
    (project.root / "workspaces/workspaces-code/requirements.lock").write_text("torch")
    assert said(packages=known["packages"]) == was
    lock.unlink()
    assert airflow_results.packages_of(project, "project") == ""
    assert said(packages="") == was


def test_the_published_image_of_then_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a local image and the published one that it is built on, the first layers are the same."""
    digest = f"sha256:{'a' * 64}"
    pinned = f"registry.example/team/demo@{digest}"
    images = [
        {"names": [], "layers": ["1", "2", "user"]},
        {"names": [f"demo@{digest}"], "layers": ["1", "2", "user"]},  # as containerd names it
        {"names": [f"registry.example/team/base@{digest}"], "layers": ["1"]},
        {"names": [pinned], "layers": ["1", "2"]},
        {"names": [f"registry.example/team/other@{digest}"], "layers": ["1", "3"]},
    ]

    def ask(*words: str) -> SimpleNamespace:
        if words[:2] == ("image", "ls"):
            return SimpleNamespace(stdout="one\ntwo\n")
        assert words[-3:] == ("sha256:1", "one", "two")
        return SimpleNamespace(stdout="\n".join(map(json.dumps, images)))

    monkeypatch.setattr(registry, "ask_engine", ask)
    known = airflow_results.worker_of(project, "workspaces-code")
    assert known["published"] == pinned
    code = {"commit": "none", "changed": False, "files": known["files"]}
    manifest = {"code": code, "image": "sha256:2", "inputs": []}

    def said(published: object) -> list[str]:
        again = {**manifest, "published": published}
        return [*airflow_results.differences(project, again, "workspaces-code")]

    assert said(pinned) == []  # the same but for its user
    assert said(f"{pinned[:-1]}b")[1] == f"The image of then: docker pull {pinned[:-1]}b"
    for nothing in ("", "$(touch hacked)", f"--all@{digest}", 7):
        assert len(said(nothing)) == 1
    images[3]["names"] = []
    images[2]["names"] = []
    assert airflow_results.worker_of(project, "workspaces-code")["published"] == ""


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("https://example.org/lab/faces.git", True),
        ("git@example.org:lab/faces.git", True),
        ("ext::sh -c 'touch hacked'", False),
        ("--upload-pack=touch hacked", False),
        ("https://example.org/$(touch hacked)", False),
        ("https://example.org/\x1b[2J", False),
        (7, False),
    ],
)
def test_the_code_of_then_is_two_commands_if_git_can_have_its_address(
    project: Project, source: Any, shown: bool
) -> None:
    code = {"commit": "c0ffee" + "0" * 34, "changed": False, "files": "0", "source": source}
    manifest = {"code": code, "image": "sha256:1", "inputs": []}
    found = [*airflow_results.differences(project, manifest, "workspaces-code")]
    lines = [one for one in found if "git clone" in one]
    assert bool(lines) == shown
    for line in lines:
        words = shlex.split(line.partition(": ")[2])
        assert words[:4] == ["git", "clone", "--", source]
        assert words[-2:] == ["checkout", code["commit"]]


def test_a_paused_dag_is_paused_again(project: Project, airflow: Airflow) -> None:
    publish(project.root / "r", {"a": "1", "b": "1"})
    airflow.paused = True
    assert rerun(project, "r/m") == 0
    assert airflow.done == ["paused False", "run {'epochs': 3}", "paused True"]


def test_an_api_server_that_starts_again_is_waited_for(
    project: Project, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_results, "PATIENCE", 60.0)
    publish(project.root / "r", {"a": "1", "b": "1"})
    airflow.states = ["running", "crash", "crash", "no database", "success"]
    airflow.paused, airflow.broken = True, [503, 500]
    assert rerun(project, "r/m") == 0
    assert airflow.paused


@pytest.mark.parametrize("status", [503, 403])
@pytest.mark.parametrize("end", ["success", "failed"])
def test_a_dag_that_cannot_be_paused_again_is_named_and_its_run_counts(
    project: Project,
    airflow: Airflow,
    capsys: pytest.CaptureFixture[str],
    status: int,
    end: str,
) -> None:
    publish(project.root / "r", {"a": "1", "b": "1"})
    airflow.states = [end]
    airflow.paused, airflow.broken = True, [status] * 99
    if end == "success":
        assert rerun(project, "r/m") == 0
    else:
        with pytest.raises(StopError) as stopped:
            rerun(project, "r/m")
        assert stopped.value.name == "rerun-failed"
    said = capsys.readouterr().err
    assert re.search(r"a/b is still not paused.*http://127\.0\.0\.1:\d+/dags/a%2Fb\n", said)


@pytest.mark.parametrize(
    ("change", "failure", "words"),
    [
        ({"dag": "../x"}, "rerun-refused", "no such DAG"),
        ({"parameters": {"epochs": "many"}}, "rerun-refused", "epochs is not a number"),
        ({"states": ["queued", "failed"]}, "rerun-failed", "rerun__"),
        ({"states": ["queued", *["crash"] * 99]}, "airflow-no-answer", "Airflow"),
        ({"states": ["queued", *["no database"] * 99]}, "airflow-no-answer", "503"),
        ({"name": ".."}, "manifest-refused", "name"),
        ({"results": 2}, "manifest-refused", "another version"),
    ],
)
def test_a_run_that_cannot_be_repeated_has_an_exit_status_of_its_own(
    project: Project, airflow: Airflow, change: dict[str, Any], failure: str, words: str
) -> None:
    airflow.states = change.pop("states", airflow.states)
    publish(project.root / "r", {"a": "1", "b": "1"}, **change)
    with pytest.raises(StopError, match=words) as stopped:
        rerun(project, "r/m")
    assert (stopped.value.name, stopped.value.status) == (failure, 2)


def test_without_airflow_or_a_manifest_nothing_is_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(project.root / "r", {"a": "1"})
    monkeypatch.setattr(airflow_results, "container_of", lambda *_: "")
    for name, failure in (("r/m", "airflow-not-running"), ("missing", "manifest-refused")):
        with pytest.raises(StopError) as stopped:
            rerun(project, name)
        assert stopped.value.name == failure


def test_a_worker_knows_its_commit_and_whether_its_code_has_more(project: Project) -> None:
    known = airflow_results.worker_of(project, "workspaces-code")
    assert (known["commit"], known["changed"]) == ("", "true")
    folder = project.root / "workspaces/workspaces-code"
    (folder / "train.py").write_text("1")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "x")
    known = airflow_results.worker_of(project, "workspaces-code")
    assert known["commit"] == git(folder, "rev-parse", "HEAD").strip()
    assert known["changed"] == "false"
    assert known["source"] == ""
    git(folder, "remote", "add", "origin", "https://jane:secret@example.org/faces.git")
    told = airflow_results.worker_of(project, "workspaces-code")
    assert told["source"] == "https://example.org/faces.git"
    (folder / "train.py").write_text("2")
    after = airflow_results.worker_of(project, "workspaces-code")
    assert after["changed"] == "true"
    assert after["files"] != known["files"]


def test_a_worker_is_told_without_being_started_anew(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def capture(*words: str, **more: Any) -> Any:
        calls.append((words, more))
        return SimpleNamespace(stdout="", returncode=0)

    monkeypatch.setattr(airflow_results, "capture", capture)
    airflow_results.tell_worker("c0ffee", "lake", airflow_results.worker_of(project, "lake"))
    words, more = calls[-1]
    assert words[1:4] == ("exec", "--interactive", "c0ffee")
    assert words[-1] == "workflows.workers"
    assert json.loads(more["text"])["lake"]["image"] == "sha256:1"
