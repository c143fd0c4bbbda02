"""Airflow of a project: it starts, outlives crashes, and runs tasks where it should."""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.conftest import MakeProject, give
from tests.support.airflow import NAME, Airflow, until, without_example
from tests.support.process import run
from tests.support.project import Project

DAGS = """\
from datetime import timedelta

from airflow.sdk import dag
from workflows.tasks import task


@dag(schedule=None)
def here():
    @task
    def about():
        import importlib.metadata as metadata
        import sys

        import numpy

        has = {one.metadata["Name"].lower() for one in metadata.distributions()}
        return {"prefix": sys.prefix, "numpy": numpy.__file__, "airflow": "apache-airflow" in has}

    about()


@dag(schedule=None)
def tried():
    @task(retries=2, retry_delay=timedelta(seconds=1))
    def second(run_id=None):
        from pathlib import Path

        mark = Path("/data/generated", run_id.replace(":", "_"))
        if not mark.exists():
            mark.touch()
            raise RuntimeError("not yet")
        return mark.name

    second()


@dag(schedule=None)
def long():
    @task(retries=3, retry_delay=timedelta(seconds=1))
    def first(seconds: int):
        import time

        time.sleep(seconds)
        return "first"

    @task(retries=3, retry_delay=timedelta(seconds=1))
    def last(word: str):
        return f"{word} and last"

    last(first(15))


here()
tried()
long()
"""
SERVICES = ("airflow-api-server", "airflow-database", "airflow-scheduler")


@pytest.fixture(scope="module")
def started(project: MakeProject) -> Iterator[tuple[Project, float]]:
    """A project whose Airflow runs, and the seconds that it took after the images were built."""
    new = without_example(project(NAME, light=True, extras=["airflow"]))
    lists = new.docker / "dependencies/pyproject.toml"
    lists.write_text(lists.read_text().replace("dependencies = [", 'dependencies = ["numpy",', 1))
    new.write("dags/mine.py", DAGS)
    new.write("dags/broken.py", "import airflow, there_is_no_such_dag\n")
    give(new.folder, new.owner)
    new.ok("airflow", "up")
    new.ok("airflow", "down")
    start = time.monotonic()
    new.ok("airflow", "up")
    yield new, time.monotonic() - start
    new.ok("airflow", "down")


def containers(project: Project) -> dict[str, dict[str, Any]]:
    """What the engine knows of Airflow's containers, by service."""
    label = f"label=com.docker.compose.project={project.engine_name}"
    ids = run("docker", "ps", "--all", "--quiet", "--filter", label).stdout.split()
    found = json.loads(run("docker", "inspect", *ids).stdout)
    return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}


def test_a_second_up_changes_nothing(started: tuple[Project, float]) -> None:
    project, seconds = started
    before = containers(project)
    start = time.monotonic()
    address = project.ok("airflow", "up").strip()
    print(f"up: {seconds:.1f} s, again: {time.monotonic() - start:.1f} s")
    after = containers(project)
    assert {n: (c["Id"], c["State"]["StartedAt"]) for n, c in before.items()} == {
        n: (c["Id"], c["State"]["StartedAt"]) for n, c in after.items()
    }
    assert project.ok("airflow", "status")
    assert address.rstrip("/") == Airflow(project).url


def test_only_this_machine_reaches_it_and_only_by_its_password(
    started: tuple[Project, float],
) -> None:
    project, _ = started
    found = containers(project)
    bound = [
        one["HostIp"]
        for container in found.values()
        for ports in container["NetworkSettings"]["Ports"].values()
        for one in ports or ()
    ]
    assert bound == ["127.0.0.1"]
    airflow = Airflow(project)
    assert airflow.ask("/api/v2/version")["version"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        airflow.ask("/auth/token", {"username": "jane", "password": "guessed"})
    airflow.headers.pop("Authorization")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        airflow.ask("/api/v2/dags")
    # Neither a list of variables nor a log shows a secret; the worker does not have them all.
    files = {one.name: one for one in (project.docker / ".airflow").iterdir()}
    texts = {name: one.read_text().strip() for name, one in files.items() if one.is_file()}
    texts["passwords.json"] = next(iter(json.loads(texts["passwords.json"]).values()))
    names = ("api-secret", "database-password", "fernet-key", "jwt-secret", "passwords.json")
    said = json.dumps(found) + project.ok("airflow", "logs")
    assert [name for name in names if texts[name] in said] == []
    worker = project.compose("exec", "-T", "airflow-worker", "ls", "/run/secrets").split()
    assert worker == ["airflow-jwt-secret"]
    for folder in ("/workspace", "/project"):
        look = ("exec", "-T", "airflow-worker", "ls", "-A", f"{folder}/docker-amd64")
        assert not {".airflow", ".env"} & set(project.compose(*look).split())


def test_a_task_runs_in_the_environment_of_the_project(started: tuple[Project, float]) -> None:
    project, _ = started
    airflow = Airflow(project)
    about = airflow.result(airflow.run("here"), "about")
    assert about["prefix"] == "/opt/venv"
    assert about["numpy"].startswith("/opt/venv/")
    assert not about["airflow"]
    # The file that cannot be read has stopped none of this, and is named.
    errors = until(airflow.errors)
    assert [*errors] == ["project/broken.py"]
    assert "there_is_no_such_dag" in errors["project/broken.py"]
    assert "project/broken.py" in project.ok("airflow", "status")


def test_a_task_that_fails_is_tried_again(started: tuple[Project, float]) -> None:
    project, _ = started
    found = Airflow(project).run("tried")
    assert found["second -1"]["try_number"] == 2
    marks = [*(project.folder / "data/generated").iterdir()]
    assert {one.stat().st_uid for one in marks} == {project.owner.uid}


def test_services_that_are_killed_in_the_middle_of_a_run_come_back_and_lose_nothing(
    started: tuple[Project, float],
) -> None:
    project, _ = started
    airflow = Airflow(project)
    name = airflow.ask("/api/v2/dags/long/dagRuns", {"logical_date": None})["dag_run_id"]
    path = f"/api/v2/dags/long/dagRuns/{name}"

    def states() -> list[str]:
        rows = airflow.ask(f"{path}/taskInstances")["task_instances"]
        return [one["state"] for one in rows]

    until(lambda: "running" in states())
    before = {name: containers(project)[name]["State"] for name in SERVICES}
    # Not `docker kill`: the engine would take that for the user's wish.
    pids = [str(state["Pid"]) for state in before.values()]
    project.owner.run("kill", "-KILL", *pids, cwd=project.folder)
    until(lambda: airflow.ask(path)["state"] == "success")
    assert states() == ["success", "success"]
    assert airflow.result({"path": path}, "last") == "first and last"
    for name, state in before.items():
        assert containers(project)[name]["State"]["StartedAt"] > state["StartedAt"]
    until(lambda: project.sh("airflow", "status").returncode == 0)


def test_the_state_outlives_the_containers_and_nothing_is_roots(
    started: tuple[Project, float],
) -> None:
    project, _ = started
    airflow = Airflow(project)
    airflow.ask("/api/v2/variables", {"key": "rate", "value": "0.1"})
    runs = airflow.ask("/api/v2/dags/~/dagRuns")["total_entries"]
    project.ok("down", "--yes")
    assert project.sh("airflow", "status").returncode == 1
    address = project.ok("airflow", "up").strip()
    again = Airflow(project)
    assert again.url == airflow.url == address.rstrip("/")
    assert again.ask("/api/v2/variables/rate")["value"] == "0.1"
    assert again.ask("/api/v2/dags/~/dagRuns")["total_entries"] == runs
    owners = {one.lstat().st_uid for one in project.folder.rglob("*")}
    assert owners == {project.owner.uid}


def test_only_clean_all_removes_what_airflow_knows(started: tuple[Project, float]) -> None:
    project, _ = started

    def volumes() -> set[str]:
        label = f"label=com.docker.compose.project={project.engine_name}"
        listed = run("docker", "volume", "ls", "--filter", label, "--format", "{{.Name}}")
        return {one for one in listed.stdout.split() if "airflow" in one}

    project.ok("clean", "--yes")
    assert len(volumes()) == 2
    assert run("docker", "image", "inspect", "postgres:17.7-bookworm").returncode == 0
    project.ok("clean", "--all", "--yes")
    assert volumes() == set()
