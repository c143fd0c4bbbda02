"""DAGs of workspaces: where their tasks run, whose name counts, and the example."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from hooks.update.changes import Project as Files
from hooks.update.changes import plan_of
from hooks.update.renderings import File
from host import airflow_workers, exchange
from host.project import Project, StopError
from tests.conftest import ROOT, Generate
from tests.support.program import PROJECT

AIRFLOW = ROOT / "template/docker-amd64/airflow"


class ViolationError(Exception):
    """Airflow's AirflowClusterPolicyViolation."""


class Serialization:
    """Airflow's DagSerialization, for a DAG that has what it becomes."""

    @staticmethod
    def serialize_dag(dag: Any) -> Any:
        if isinstance(dag.content, Exception):
            raise dag.content
        return dag.content


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Give a module of the image, whose Airflow this environment has not."""
    for name, value in (
        ("exceptions.AirflowClusterPolicyViolation", ViolationError),
        ("plugins_manager.AirflowPlugin", object),
        ("serialization.serialized_objects.DagSerialization", Serialization),
    ):
        module, _, what = name.rpartition(".")
        made = types.ModuleType(f"airflow.{module}")
        setattr(made, what, value)
        monkeypatch.setitem(sys.modules, f"airflow.{module}", made)
    monkeypatch.setitem(sys.modules, "airflow", types.ModuleType("airflow"))

    def give(path: str) -> Any:
        spec = spec_from_file_location(Path(path).stem, AIRFLOW / path)
        assert spec
        assert spec.loader
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return give


@pytest.fixture
def policies(load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of policies, with a folder of DAGs of its own."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    module = load("airflow_local_settings.py")
    for name in ("project", "first", "files/first"):
        (tmp_path / "dags" / name).mkdir(parents=True)
    return module


def dag(policies: Any, path: str, dag_id: str = "clean") -> Any:
    """A DAG of a file that is there, with one task."""
    file = policies.DAGS / path
    file.touch()
    new = types.SimpleNamespace(dag_id=dag_id, fileloc=str(file), content={})
    new.task = types.SimpleNamespace(dag=new, queue="default")
    return new


@pytest.mark.parametrize(
    ("path", "queue"),
    [
        ("project/a.py", "project"),
        ("first/below/a.py", "first"),
        ("files/first/a.py", "first"),
        ("alone.py", "default"),
    ],
)
def test_a_task_runs_where_its_file_belongs(
    policies: Any, tmp_path: Path, path: str, queue: str
) -> None:
    (tmp_path / "dags" / path).parent.mkdir(exist_ok=True)
    task = dag(policies, path).task
    policies.task_policy(task)
    assert task.queue == queue


def test_long_parameters_are_in_a_file(
    policies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux starts no program with a variable of more than 128 KiB."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    context = {"params": {"a": "é" * 100_000}, "dag": dag(policies, "project/a.py")}
    found = policies.get_airflow_context_vars(context)
    assert found == {"params_file": found["params_file"], "environment": "project"}
    assert subprocess.run(["true"], env=found, check=True)
    assert json.loads(Path(found["params_file"]).read_text()) == context["params"]
    os.utime(found["params_file"], (1, 1))
    other = policies.get_airflow_context_vars({**context, "params": {"b": "x" * 200_000}})
    assert [str(one) for one in (tmp_path / "parameters").iterdir()] == [other["params_file"]]
    short = policies.get_airflow_context_vars({**context, "params": {"b": 1}})
    assert short == {"params": '{"b": 1}', "environment": "project"}


def test_a_name_belongs_to_the_file_that_had_it_first(policies: Any) -> None:
    first, second = dag(policies, "first/a.py"), dag(policies, "project/b.py")
    for _ in range(2):
        policies.dag_policy(first)
        with pytest.raises(ViolationError, match=r"^The file first/a\.py already has .* clean: "):
            policies.dag_policy(second)
    policies.dag_policy(dag(policies, "project/b.py", "another"))


@pytest.mark.parametrize("text", ["tr '\0' x", os.fsdecode(b"M\xe4dchen.csv")])
@pytest.mark.parametrize("where", ["a task", "a key", "the id", "another folder"])
def test_a_dag_that_the_database_cannot_store_is_refused(
    policies: Any, text: str, where: str
) -> None:
    new = dag(policies, "project/a.py", text if where == "the id" else "clean")
    task = {"bash_command": text, "retries": 1, "pool": None}
    if where == "a key":
        task = {"params": {text: True}}
    new.content = {"dag_id": new.dag_id, "tasks": [task, task]}
    if where == "another folder":
        new.fileloc = "/elsewhere/a.py"
    with pytest.raises(ViolationError) as raised:
        policies.dag_policy(new)
    assert ascii(text) in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_dag_that_airflow_itself_refuses_or_can_store_is_not(policies: Any) -> None:
    new = dag(policies, "project/a.py")
    for content in (ValueError("of Airflow"), {"dag_id": "clean", "text": r"tr '\0' ä ☃ 🐘"}):
        new.content = content
        policies.dag_policy(new)


@pytest.mark.parametrize("how", ["deleted", "edited"])
def test_a_name_is_free_when_its_file_has_it_no_more(policies: Any, how: str) -> None:
    first, second = dag(policies, "first/a.py"), dag(policies, "project/b.py")
    policies.dag_policy(first)
    file = Path(first.fileloc)
    if how == "deleted":
        file.unlink()
    else:  # long ago: it was read again since, and did not take the name
        now = file.stat().st_mtime
        os.utime(file, (now + 1, now + 1))
        with pytest.raises(ViolationError):
            policies.dag_policy(second)
        os.utime(file, (now - 1000, now - 1000))
    policies.dag_policy(second)
    if how == "edited":
        with pytest.raises(ViolationError, match=r"project/b\.py"):
            policies.dag_policy(first)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with workspaces of several kinds."""
    for key in ("COMPOSE_PROJECT_NAME", "COMPOSE_FILE"):
        monkeypatch.setenv(key, "")
        monkeypatch.delenv(key)
    docker = tmp_path / "docker-amd64"
    docker.mkdir()
    (docker / ".env").write_text("COMPOSE_PROJECT_NAME=demo-jane\nCOMPOSE_FILE=compose.yaml\n")
    for name in ("b/dags", "a/loaders", "no/src", "project/dags", "of jane/dags"):
        (tmp_path / "workspaces" / name).mkdir(parents=True)
    (tmp_path / "workspaces/note").touch()
    (tmp_path / "workspaces/linked").symlink_to(tmp_path / "workspaces/b")
    return Project(docker, PROJECT)


def test_each_workspace_with_workflows_has_a_worker(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that does not build stops no other, and is named with what to run."""
    calls: list[tuple[str, str, str]] = []
    removed: list[str] = []
    told: list[tuple[str, str, dict[str, str] | None]] = []

    def build(project: Project, name: str, *, quiet: bool) -> None:
        assert quiet
        os.environ["COMPOSE_PROJECT_NAME"] = f"demo-jane-{name}"
        project.forget_settings()
        if name == "a":
            raise StopError("No solution found.")

    def call(project: Project, words: list[str], *, stdin: str, env: dict[str, str]) -> str:
        assert "/project/docker-amd64" in stdin  # which it does not see
        assert env["COMPOSE_FILE"].endswith(":-")
        calls.append((words[-1], os.environ["AIRFLOW_OF"], os.environ["AIRFLOW_QUEUE"]))
        assert told == [("page", "b", None)]  # before the worker of the former image ends
        assert project.settings.files()[-1] == airflow_workers.OVERRIDE_FILE
        return ""

    monkeypatch.setattr(airflow_workers, "build_workspace", build)
    monkeypatch.setattr(airflow_workers, "refresh_images", lambda *_: None)
    monkeypatch.setattr(airflow_workers, "call", call)
    monkeypatch.setattr(airflow_workers, "container_of", lambda *_: "page")
    monkeypatch.setattr(airflow_workers, "tell_worker", lambda *words: told.append(words))
    monkeypatch.setattr(airflow_workers, "worker_of", lambda _, name: {"image": f"of {name}"})
    monkeypatch.setattr(airflow_workers, "workers", lambda _: [("1", "b"), ("2", "gone")])
    monkeypatch.setattr(airflow_workers, "stop", removed.extend)
    states = iter(["Up 1 second (health: starting)", *["Up 2 hours (healthy)"] * 3])
    monkeypatch.setattr(airflow_workers, "health_of", lambda _: next(states))
    monkeypatch.setattr(airflow_workers, "STEP", 0)
    before = {**os.environ}
    assert airflow_workers.start_workers(project) == ["a"]
    assert calls == [("airflow-worker", "demo-jane", "b")]
    assert removed == ["2"]
    # The other one still has the image that it had.
    assert told == [("page", "b", None), ("page", "b", {"image": "of b"})]
    assert {**os.environ} == before
    assert project.settings.get("COMPOSE_PROJECT_NAME") == "demo-jane"
    said = capsys.readouterr().err
    assert "No solution found." in said
    assert "build -W a && " in said
    for name in ("linked", "of jane", "project"):
        assert f"workspaces/{name} " in said
    # All of them answer before `up` ends.
    assert [*states] == []
    assert "does not answer" not in said


def test_a_worker_that_does_not_start_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(airflow_workers, "workspaces_with_workflows", lambda _: [])
    monkeypatch.setattr(airflow_workers, "workers", lambda _: [("0123456789abcdef", "lake")])
    monkeypatch.setattr(airflow_workers, "stop", lambda _: None)
    monkeypatch.setattr(airflow_workers, "health_of", lambda _: "Restarting (1) 2 seconds ago")
    monkeypatch.setattr(airflow_workers, "START_LIMIT", 0)
    airflow_workers.start_workers(project)
    said = capsys.readouterr().err
    assert "The worker of the workspace lake does not answer yet." in said
    assert said.rstrip().endswith("run: docker logs 0123456789ab")


@pytest.mark.parametrize("torch", ["none", "2.13.0"])
def test_the_example_is_python_and_uses_torch_where_it_is(
    generate: Generate, tmp_path: Path, torch: str
) -> None:
    generate(tmp_path / "new", accelerator="cpu", torch_version=torch, extras=["airflow"])
    folder = tmp_path / "new/workspaces/example"
    imported = set()
    for file in folder.rglob("*.py"):
        tree = ast.parse(file.read_text())
        if file.name == "model.py":
            of = [one for one in ast.walk(tree) if isinstance(one, ast.Import)]
            imported = {alias.name for one in of for alias in one.names}
    assert imported == {"numpy", "torch"} - ({"torch"} if torch == "none" else set())
    assert (folder / "dags/example.py").is_file()
    assert "!/workspaces/example/" in (tmp_path / "new/.gitignore").read_text()


def test_an_update_leaves_the_example_to_its_owner(tmp_path: Path) -> None:
    """What was edited has no conflict, and what was deleted does not return."""
    name, other = "workspaces/example/energy.py", "workspaces/example/new.py"
    (tmp_path / "workspaces/example").mkdir(parents=True)
    (tmp_path / name).write_text("mine\n")
    old, new = {name: File(b"old\n")}, {name: File(b"new\n"), other: File(b"")}

    def plan(base: dict[str, File], theirs: dict[str, File]) -> Any:
        return plan_of(Files(tmp_path, [name]), base, theirs, lambda _: False)

    assert plan(old, new).touched == []
    assert plan(old, {}).kept == [name]
    (tmp_path / name).unlink()
    assert plan(old, new).touched == []
    assert plan({}, new).touched == [name, other]


def test_the_page_shows_what_tasks_wrote_and_nothing_else(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    for name in ("generated/a <b>", "uploadable", "downloaded"):
        (tmp_path / name).mkdir(parents=True)
    generated = tmp_path / "generated"
    (tmp_path / "downloaded/secret").touch()
    (generated / "out").symlink_to(tmp_path / "downloaded")
    (generated / "a <b>/plot.svg").touch()
    os.mkfifo(generated / "pipe")
    data = load("workflows/plugins/data_page.py")
    for path in (
        "downloaded",
        "generated/../downloaded/secret",
        "generated/out/secret",
        "..",
        "generated/pipe",
        "generated/nothing",
        "generated/\0",
        "/etc/passwd",
    ):
        assert data.find(path) is None, path
    assert data.find("generated/a <b>/plot.svg") == generated / "a <b>/plot.svg"
    found = data.page("generated/a <b>", generated / "a <b>")
    assert '<img src="/data/generated/a%20%3Cb%3E/plot.svg" alt="">' in found
    assert '<a href="/data/generated">..</a>' in found
    assert "<b>" not in found
    assert data.page("", tmp_path).count("<a ") == 2


def test_a_worker_starts_again_after_a_crash_and_beside_others(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start, left = load("start.py"), tmp_path / "worker.pid"
    left.write_text("7\n")
    monkeypatch.setattr(start, "PID", str(left))
    worker = ["edge", "worker", "--queues", "lake"]
    started = [start.arguments_of(worker) for _ in range(2)]
    assert [one[:-1] for one in started] == [[*worker, "--pid", str(left), "--edge-hostname"]] * 2
    assert started[0][-1] != started[1][-1]
    assert not left.exists()
    assert start.arguments_of(["scheduler"]) == ["scheduler"]


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the image that keeps what is known of workers, with a file of its own."""
    monkeypatch.setitem(sys.modules, "workflows.exchange", exchange)  # as in the image
    module = import_module("workflows.workers")
    monkeypatch.setattr(module, "WORKERS", tmp_path / "workers.json")
    return module


def test_what_is_known_of_a_worker_is_replaced_or_forgotten_alone(
    workers: Any, tmp_path: Path
) -> None:
    file = workers.WORKERS
    workers.change({"project": {"image": "1"}, "lake": {"image": "1"}})
    workers.change({"lake": None, "sea": None})
    assert json.loads(file.read_text()) == {"project": {"image": "1"}}
    for broken in ("{", "[1]", "7"):
        file.write_text(broken)
        workers.change({"lake": {"image": "2"}})
        assert json.loads(file.read_text()) == {"lake": {"image": "2"}}
    assert [*tmp_path.iterdir()] == [file]
