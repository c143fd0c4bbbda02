"""A task of Airflow submits a job: its request, the submitter on the host, and what comes back.

The scheduler is a stand-in, and so are the classes of Airflow from which the operator is made.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from workflows import cluster_requests as requests

from host import airflow_submit
from host.airflow_jobs_folder import FOLDERS, LARGEST, Shared, folder_of, make_jobs_folder
from host.airflow_requests import is_key
from host.airflow_submit import HEAD, TAIL, Output, Submitter, grown
from host.clusters.jobs import jobs_folder, records
from host.project import Project, StopError
from tests.conftest import Generate
from tests.support.cluster import CODE, IMAGE, Cluster, project_with
from tests.support.program import put_program

KEY = "airflow-train-0123456789"
LIMIT = 180  # seconds, on a machine that does much else
COMMAND = ["python", "a b.py", "$(touch hacked)", "'\"`id`\"'", "ü\n"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = project_with(tmp_path, "slurm")
    (made.folder / "deploy").mkdir()
    (made.folder / "deploy/site.toml").write_text("")
    return made


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster; a job is always on it, and has printed what `printed` says."""
    for name, has in (
        ("image", {"image_of_job": lambda *_: IMAGE}),
        ("code", {"code_of_job": lambda *_, **__: CODE}),
    ):
        module = ModuleType(f"host.clusters.{name}")
        vars(module).update(has)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(airflow_submit, "LOOK", 0.0)
    printed(monkeypatch, "print('first line')")
    return Cluster("slurm", monkeypatch, tmp_path)


def printed(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """What `logs` prints of any job."""
    words = [sys.executable, "-c", program]
    monkeypatch.setattr(airflow_submit, "logs_command", lambda _: words)


@pytest.fixture
def folder(project: Project) -> Path:
    """The folder that the tasks have as /airflow-jobs."""
    make_jobs_folder(project)
    return folder_of(project)


Served = tuple[Project, Cluster, Path]


@pytest.fixture
def served(project: Project, cluster: Cluster, folder: Path) -> Served:
    """All three."""
    return project, cluster, folder


def submitter(project: Project) -> Submitter:
    """A submitter that has just been started."""
    return Submitter(project, Shared(project))


def ask(folder: Path, key: str = KEY, task: str = "dag run train", **options: Any) -> None:
    """What the operator does."""
    request = requests.request_of(options.pop("command", COMMAND), task, on="slurm", **options)
    requests.ask(folder, key, request)


def state_of(folder: Path, key: str = KEY) -> dict[str, Any]:
    """What was told about a job."""
    return requests.read(folder / f"{key}.state.json")


# ----------------------------------------------------------------------------- from end to end


def test_a_job_hands_back_its_lines_and_its_result(
    project: Project, cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(folder, gpus=0, cpus=2, time="2h", environment={"A": "x=$y 'z'"})
    host, watch = submitter(project), requests.Watch(folder, KEY)
    assert watch.look() == ([f"{KEY}: waits for the submitter"], None)
    cluster.states = {KEY: "RUNNING"}
    host.step()
    (record,) = records(project)
    assert (record.name, record.id, list(record.command)) == (KEY, "4711", COMMAND)
    assert watch.look() == ([f"{KEY}: RUNNING", "first line"], None)
    printed(monkeypatch, "print('first line\\nsecond line')")
    host.step()
    assert watch.look() == (["second line"], None)
    printed(monkeypatch, "print('first line\\nsecond line\\nend', end='')")
    cluster.states = {KEY: "COMPLETED"}
    host.step()
    lines, state = watch.look()
    assert lines == [f"{KEY}: COMPLETED", "end"]
    assert state
    assert requests.result_of(KEY, state) == {
        "cluster": "slurm",
        "job": KEY,
        "id": "4711",
        "state": "COMPLETED",
        "status": 0,
    }
    requests.forget(folder, KEY)
    host.step()
    assert [one.name for one in folder.iterdir()] == ["serving"]
    assert len(cluster.calls) == 1


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("FAILED (status 3)", 3, "has failed: FAILED (status 3)."),
        ("Failed (BackoffLimitExceeded), exit status 1", 1, "has failed: Failed (Backoff"),
        ("TIMEOUT", None, "has failed: TIMEOUT."),
        ("CANCELLED", None, "was cancelled: CANCELLED."),
    ],
)
def test_a_job_that_does_not_succeed_fails_its_task(
    served: Served, words: str, status: int | None, said: str
) -> None:
    project, cluster, folder = served
    ask(folder)
    cluster.states = {KEY: words}
    submitter(project).step()
    state = state_of(folder)
    assert (state["ended"], state["status"]) == (True, status)
    with pytest.raises(RuntimeError) as caught:
        requests.result_of(KEY, state)
    assert str(caught.value).startswith(f"The job {KEY} (4711 of slurm) {said}")
    assert "first line" in "".join(requests.Watch(folder, KEY).look()[0])


def test_a_job_that_its_scheduler_forgets_has_an_unknown_end(
    project: Project, cluster: Cluster, folder: Path
) -> None:
    ask(folder)
    host = submitter(project)
    for _ in range(airflow_submit.LOOKS - 1):  # a new job may not be listed yet
        host.step()
        assert not state_of(folder).get("ended")
    host.step()
    assert state_of(folder)["outcome"] == "unknown"
    assert len(cluster.calls) == 1


def test_a_refused_job_has_the_reason_and_the_next_one_is_submitted(
    project: Project, cluster: Cluster, folder: Path
) -> None:
    ask(folder, gpus=1)  # the project has none
    other = KEY.replace("train", "other")
    ask(folder, other, task="other")
    submitter(project).step()
    assert "--gpus is for projects with accelerator=cuda" in state_of(folder)["message"]
    assert [one.name for one in records(project)] == [other]
    cluster.answer(None)
    third = KEY.replace("train", "third")
    ask(folder, third, task="third")
    submitter(project).step()
    assert "The stand-in has refused the job." in state_of(folder, third)["message"]
    assert not (jobs_folder(project, "slurm") / third).exists()


# ----------------------------------------------------------------------------------- the operator


class DeferredError(Exception):
    """Airflow's TaskDeferred: what a task waits for."""


class BaseOperator:
    """Airflow's, as far as the operator needs it."""

    def __init__(self, *, task_id: str, execution_timeout: Any = None, **more: Any) -> None:
        self.task_id, self.execution_timeout, self.more = task_id, execution_timeout, more

    def defer(self, **what: Any) -> None:
        raise DeferredError(what)

    def resume_execution(self, name: str, arguments: dict[str, Any] | None, context: Any) -> Any:
        return getattr(self, name)(context, **(arguments or {}))


class BaseTrigger:
    """Airflow's, likewise."""

    log = logging.getLogger("airflow")


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Any:
    """The module workflows.cluster, whose tasks have the folder."""
    modules: dict[str, dict[str, Any]] = {
        "airflow": {},
        "airflow.triggers": {},
        "airflow.sdk": {"BaseOperator": BaseOperator},
        "airflow.triggers.base": {"BaseTrigger": BaseTrigger, "TriggerEvent": dict},
    }
    for name, has in modules.items():
        module = ModuleType(name)
        vars(module).update(has)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "workflows.cluster", raising=False)
    found: Any = import_module("workflows.cluster")
    monkeypatch.setattr(requests, "FOLDER", folder)
    monkeypatch.setattr(found, "INTERVAL", 0.01)
    monkeypatch.setattr(found, "SHORTEST", 0.0)
    yield found
    sys.modules.pop("workflows.cluster", None)


def context_of(number: int = 1) -> dict[str, Any]:
    """What Airflow tells an attempt at a task."""
    named = {"dag_id": "training", "run_id": "run 1", "task_id": "train", "map_index": -1}
    return {"ti": SimpleNamespace(id="0199", try_number=number, **named)}


def deferred(task: Any, context: dict[str, Any]) -> dict[str, Any]:
    """What a task waits for, once it has asked for its job."""
    with pytest.raises(DeferredError) as raised:
        task.execute(context)
    found: dict[str, Any] = raised.value.args[0]
    return found


def awaited(operators: Any, trigger: Any) -> dict[str, Any]:
    """The event of a trigger that was stored and made again, as the triggerer does."""
    path, arguments = trigger.serialize()
    assert path == "workflows.cluster.JobEnded"
    again = operators.JobEnded(**arguments)

    async def first() -> dict[str, Any]:
        return await asyncio.wait_for(anext(again.run()), 30)

    return asyncio.run(first())


@pytest.mark.parametrize("words", ["COMPLETED", "FAILED (status 3)"])
def test_the_operator_waits_for_its_job_and_ends_as_the_job_does(
    served: Served, operators: Any, caplog: pytest.LogCaptureFixture, words: str
) -> None:
    project, cluster, folder = served
    task = operators.submit(
        COMMAND, task_id="train", on="slurm", cpus=2, environment={"A": 1}, retries=2
    )
    assert task.more == {"multiple_outputs": True, "retries": 2}  # what Airflow itself takes
    waits = deferred(task, context_of())
    (asked,) = folder.glob("*.request.json")
    assert requests.read(asked) == {
        "task": "training run 1 train -1",
        "command": COMMAND,
        "on": "slurm",
        "cpus": 2,
        "environment": {"A": "1"},
    }
    (folder / "serving").touch()
    cluster.states = {task.key: words}
    submitter(project).step()
    with caplog.at_level(logging.INFO, "airflow"):
        event = awaited(operators, waits["trigger"])
    assert [f"{task.key}: {words}", "first line"] == caplog.messages
    if words == "COMPLETED":
        result = task.resume_execution(waits["method_name"], {"event": event}, context_of())
        assert (result["job"], result["id"], result["status"]) == (task.key, "4711", 0)
    else:
        with pytest.raises(RuntimeError, match=r"has failed: FAILED \(status 3\)"):
            task.resume_execution(waits["method_name"], {"event": event}, context_of())
    assert not [*folder.glob("airflow-*")]


def time_is_up(_context: Any) -> None:
    """What Airflow goes on with after a time limit."""
    raise TimeoutError


@pytest.mark.parametrize("how", ["kill", "clear", "timeout", "retry"])
def test_the_operator_cancels_the_job_that_nobody_waits_for(
    folder: Path, operators: Any, how: str
) -> None:
    task = operators.submit("true", task_id="train", on="slurm")
    waits = deferred(task, context_of())
    first = task.key
    if how == "kill":
        task.on_kill()
    elif how == "clear":
        asyncio.run(waits["trigger"].on_kill())
    elif how == "timeout":  # Airflow then names a method that raises
        task.raises = time_is_up
        with pytest.raises(TimeoutError):
            task.resume_execution("raises", None, context_of())
    else:
        deferred(task, context_of(2))
        assert task.key != first
    assert [one.name for one in folder.glob("*.cancel")] == [f"{first}.cancel"]


# ------------------------------------------------------------------------------ hostile requests


def raw(text: str | bytes) -> Callable[[Path], None]:
    """A request of this content."""
    data = text.encode() if isinstance(text, str) else text

    def write(file: Path) -> None:
        file.write_bytes(data)

    return write


def field(**fields: Any) -> Callable[[Path], None]:
    """A request with these fields beside its command."""
    return raw(json.dumps({"command": ["true"], **fields}))


def link(file: Path) -> None:
    """A link to a file of the host."""
    secret = file.parents[2] / "secret"
    secret.write_text(json.dumps({"command": ["true"]}))
    file.symlink_to(secret)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "link": link,
    "folder": lambda file: file.mkdir(),
    "pipe": os.mkfifo,
    "huge": raw(b'{"command": ["' + b"x" * LARGEST + b'"]}'),
    "deep": raw("[" * 100_000),
    "empty": raw(""),
    "bytes": raw(b"\xff\xfe"),
    "list": raw('["true"]'),
    "no command": raw('{"task": "x"}'),
    "text as command": field(command="true; touch hacked"),
    "no words": field(command=[]),
    "an option": field(command=["--wrap=touch hacked"]),
    "after --": field(command=["--", "true"]),
    "a number": field(command=["sleep", 3]),
    "NUL": field(command=["a\0b"]),
    "a terminal's words": field(command=["echo", "\x1b]52;c;aGFja2Vk\x07"]),
    "half a character": raw('{"command": ["\\ud800"]}'),
    "unknown field": field(image="evil/image"),
    "code of elsewhere": field(code="/etc"),
    "flag as number": field(gpus=True),
    "negative": field(nodes=-1),
    "text as number": field(cpus="1 --exclusive"),
    "time": field(time="1h --uid=0"),
    "variable": field(environment={"A B": "x"}),
    "variable of the host": field(environment={"HOME": None}),
    "two variables": field(environment={"A=B": "x"}),
    "cluster": field(on="../../etc"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_request_is_refused_and_submits_nothing(
    project: Project, cluster: Cluster, folder: Path, kind: str
) -> None:
    HOSTILE[kind](folder / f"{KEY}.request.json")
    host = submitter(project)
    for _ in range(2):
        host.step()
    state = state_of(folder)
    assert (state["ended"], state["outcome"]) == (True, "refused")
    assert "\n" not in state["message"]
    assert (cluster.calls, records(project)) == ([], ())


@pytest.mark.parametrize(
    "name",
    ["slurm-1", "airflow-train-0123456789x", "airflow-..-0123456789", "airflow--0123456789\n"],
)
def test_a_request_has_no_other_name_than_that_of_a_task(
    project: Project, cluster: Cluster, folder: Path, name: str
) -> None:
    ask(folder, name)
    (folder / f"{name}.cancel").touch()
    submitter(project).step()
    left = {one.name for one in folder.iterdir()}
    assert left == {f"{name}.cancel", f"{name}.request.json", "serving"}
    assert (cluster.calls, cluster.cancelled) == ([], [])


def test_answers_follow_no_link_and_stop_at_nothing(
    project: Project, cluster: Cluster, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = project.folder / ".env"
    before = victim.read_text()
    for name in ("serving", f"{KEY}.state.json", f"{KEY}.log"):
        (folder / name).symlink_to(victim)
    other = KEY.replace("train", "other")
    (folder / f"{other}.state.json").mkdir()
    ask(folder)
    ask(folder, other, task="other")
    cluster.states = {KEY: "RUNNING"}
    host = submitter(project)
    host.step()
    host.step()
    assert victim.read_text() == before
    assert state_of(folder)["state"] == "RUNNING"
    assert [one.name for one in records(project)] == [KEY]
    assert capsys.readouterr().err.count(f"{other}: ") == 1


@pytest.mark.parametrize("part", [".airflow", ".airflow/jobs"])
def test_the_folder_itself_is_no_link(project: Project, tmp_path: Path, part: str) -> None:
    path = project.folder / part
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(StopError) as caught:
        Shared(project)
    assert caught.value.name == "airflow-jobs-folder"


def test_the_folder_is_in_two_containers_of_projects_with_both(
    generate: Generate, tmp_path: Path
) -> None:
    for extras, clusters in (["airflow"], ["slurm"]), (["airflow"], []), ([], ["slurm"]):
        answers: dict[str, Any] = {"extras": extras, "clusters": clusters, "accelerator": "cpu"}
        made = generate(tmp_path / "-".join([*extras, *clusters]), **answers)
        both = bool(extras and clusters)
        services = yaml.safe_load((made / "docker-amd64/compose.yaml").read_text())["services"]
        mounts = [
            (name, one["source"])
            for name, service in services.items()
            for one in service.get("volumes", ())
            if isinstance(one, dict) and one["target"] == str(requests.FOLDER)
        ]
        source = "./" + "/".join(FOLDERS)
        names = ("airflow-triggerer", "airflow-worker") if both else ()
        assert mounts == [(name, source) for name in names]
        words = re.compile("airflow[_-](jobs|submit)|submitter|cluster_requests")
        manual = made / "docker-amd64/README.md"
        files = [one for one in made.rglob("*") if one.is_file() and one != manual]
        found = {one.name for one in files if words.search(one.read_text(errors="replace"))}
        assert found - {"airflow.py"} == ({*WITH_BOTH} if both else set())


WITH_BOTH = (
    *("airflow_jobs_folder.py", "airflow_requests.py"),
    *("airflow-submit.txt", "airflow_submit.py", "cluster.py", "cluster_requests.py"),
    *("compose.airflow-workspace.yaml", "compose.yaml"),
)


# ------------------------------------------------------------------------------------- start again


def test_a_new_submitter_goes_on_and_submits_nothing_twice(
    project: Project, cluster: Cluster, folder: Path
) -> None:
    ask(folder)
    cluster.states = {KEY: "RUNNING"}
    submitter(project).step()
    (folder / f"{KEY}.state.json").unlink()  # also if a program in the container removes it
    submitter(project).step()
    assert state_of(folder)["state"] == "RUNNING"
    assert requests.Watch(folder, KEY).look()[0][1:] == ["first line"]
    assert len(cluster.calls) == 1


def test_what_was_cut_off_in_the_hand_over_is_not_submitted_again(
    project: Project, cluster: Cluster, folder: Path
) -> None:
    ask(folder)
    (jobs_folder(project, "slurm") / KEY).mkdir(parents=True)  # no job.json: it was killed there
    submitter(project).step()
    assert state_of(folder)["outcome"] == "unknown"
    assert cluster.calls == []


def test_a_request_that_nobody_waits_for_is_not_submitted(
    project: Project, cluster: Cluster, folder: Path
) -> None:
    ask(folder)
    old = time.time() - airflow_submit.LEASE - 1
    os.utime(folder / f"{KEY}.request.json", (old, old))
    submitter(project).step()
    assert state_of(folder)["outcome"] == "refused"
    assert cluster.calls == []


def test_only_so_many_jobs_are_on_clusters_at_a_time(
    project: Project, cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_submit, "MOST", 1)
    later = KEY.replace("train", "wait")
    ask(folder)
    ask(folder, later, task="later")
    cluster.states = {KEY: "RUNNING"}
    host = submitter(project)
    host.step()
    assert len(cluster.calls) == 1
    assert state_of(folder, later)["state"].startswith("waits")
    cluster.states = {KEY: "COMPLETED", later: "RUNNING"}
    host.step()
    host.step()
    assert len(cluster.calls) == 2


def test_a_submitter_shows_that_it_runs_while_a_step_takes_long(
    project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = folder / airflow_submit.SERVING
    monkeypatch.setattr(airflow_submit, "SIGN", 0.01)
    steps = []

    def step(_: Submitter) -> None:
        steps.append(1)
        for _again in range(2):
            sign.unlink(missing_ok=True)
            wait_for(sign.exists)
        raise KeyboardInterrupt

    monkeypatch.setattr(Submitter, "step", step)
    assert airflow_submit.serve(project) == 130
    assert steps
    assert not sign.exists()


# ------------------------------------------------------------------------------------------ cancel


def test_a_killed_task_cancels_its_job_once(
    project: Project, cluster: Cluster, folder: Path
) -> None:
    ask(folder)
    cluster.states = {KEY: "RUNNING"}
    host = submitter(project)
    host.step()
    requests.cancel(folder, KEY)
    host.step()
    host.step()
    assert cluster.cancelled == [KEY]
    cluster.states = {}  # Kubernetes deletes the job
    for _ in range(airflow_submit.LOOKS):
        host.step()
    assert state_of(folder)["outcome"] == "cancelled"


def test_a_job_that_was_not_submitted_yet_is_not_after_its_cancellation(
    project: Project, cluster: Cluster, folder: Path
) -> None:
    ask(folder)
    requests.cancel(folder, KEY)
    submitter(project).step()
    assert state_of(folder)["outcome"] == "cancelled"
    assert cluster.calls == []


def test_a_new_attempt_cancels_the_job_of_the_one_before(folder: Path) -> None:
    first, second = (requests.key_of("Träin it!", attempt) for attempt in ("a 1", "a 2"))
    assert is_key(first)
    assert first != second
    ask(folder, first)
    ask(folder, KEY, task="dag run of something else")
    ask(folder, second)
    assert [one.name for one in folder.glob("*.cancel")] == [f"{first}.cancel"]
    requests.forget(folder, first)
    requests.cancel(folder, first)  # what has ended leaves nothing behind
    assert not [*folder.glob(f"{first}*")]


# ------------------------------------------------------------------------------- nobody is there


def test_a_task_fails_if_nobody_takes_its_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(folder)
    watch = requests.Watch(folder, KEY)
    assert watch.look()[1] is None
    monkeypatch.setattr(requests, "PATIENCE", 0.0)
    (folder / "serving").touch()
    assert watch.look()[1] is None  # it may be at another request
    old = time.time() - requests.SILENCE - 1
    os.utime(folder / "serving", (old, old))
    _, state = watch.look()
    assert state
    with pytest.raises(RuntimeError, match=r"template\.sh airflow submitter"):
        requests.result_of(KEY, state)


def test_a_worker_of_a_workspace_submits_nothing(tmp_path: Path) -> None:
    for path in (Path("/dev/null"), tmp_path / "missing"):
        with pytest.raises(RuntimeError, match="only DAGs in dags/ of the project"):
            ask(path)


# -------------------------------------------------------------------------------------- the output


def test_the_output_only_grows_and_its_middle_is_left_out() -> None:
    def output(data: bytes) -> Output:
        return Output(data[:HEAD], data[-TAIL:], len(data))

    assert grown(b"a", output(b"ab"), "", ended=False) == b"ab"
    assert grown(b"ab", output(b"x"), "", ended=False) == b"ab"  # lines of several pods
    assert grown(b"ab", output(b"x"), "", ended=True).endswith(b"\nx")
    long = b"h" * HEAD + b"m" * 1000 + b"t" * TAIL
    head = grown(b"", output(long), "", ended=False)
    assert head == b"h" * HEAD
    whole = grown(head, output(long), "logs train", ended=True)
    assert whole == head + b"\n... 1000 bytes are left out; logs train has all of it ...\n" + (
        b"t" * TAIL
    )
    little = b"h" * HEAD + b"xyz"
    assert grown(head, output(little), "", ended=True) == little


@pytest.mark.usefixtures("cluster")
def test_logs_that_do_not_end_hold_nothing_up(
    project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch, cluster: Cluster
) -> None:
    monkeypatch.setattr(airflow_submit, "PATIENCE", 1.0)
    printed(monkeypatch, "import time; print('begin', flush=True); time.sleep(600)")
    ask(folder)
    cluster.states = {KEY: "RUNNING"}
    began = time.monotonic()
    submitter(project).step()
    assert time.monotonic() - began < 150
    assert (folder / f"{KEY}.log").read_text() == "begin\n"


# -------------------------------------------------------------------------- the verb, with Slurm


SQUEUE = '#!/bin/sh\ncat "$0.answer"\n'
SBATCH = '#!/bin/sh\necho "$*" >>"$0.calls"\necho 17\n'


def test_the_verb_serves_until_ctrl_c_and_one_is_enough(tmp_path: Path) -> None:
    """With the real module of Slurm, and programs in place of its clients."""
    docker = put_program(tmp_path / "project/docker-amd64")
    (docker / ".env").write_text("COMPOSE_PROJECT_NAME=demo\nUSR=me\n")
    (docker / "deploy").mkdir()
    (docker / "deploy/site.toml").write_text("")
    job = docker / "deploy/slurm/jobs" / KEY
    job.mkdir(parents=True)
    names = ("cluster", "name", "id", "submitted", "commit", "dirty", "image", "answers", "door")
    known = {**dict.fromkeys(names, "x"), "id": "17", "command": ["true"], "nodes": 1, "gpus": 0}
    (job / "job.json").write_text(json.dumps(known))
    (job / "17.out").write_text("from the node\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"squeue": SQUEUE, "sbatch": SBATCH}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "squeue.answer").write_text("17|RUNNING|0|None|\n")
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    words = [sys.executable, "-B", "-m", "host", "airflow", "submitter"]
    options: dict[str, Any] = {"cwd": docker, "env": {**os.environ, "PATH": path}, "text": True}
    with subprocess.Popen(words, stderr=subprocess.PIPE, **options) as process:
        folder = docker / ".airflow/jobs"
        try:
            wait_for((folder / "serving").exists)
            for other in ([*words[:-1], "reset", "-y"], words):
                second = subprocess.run(
                    other, capture_output=True, check=False, timeout=LIMIT, **options
                )
                assert second.returncode == 1
                assert "(failure: airflow-submitter-runs)" in second.stderr
            assert folder.is_dir()
            ask(folder)
            wait_for(lambda: state_of(folder).get("state") == "RUNNING")
            assert requests.Watch(folder, KEY).look()[0][1:] == ["from the node"]
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not (folder / "serving").exists()
    assert not (programs / "sbatch.calls").exists()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
