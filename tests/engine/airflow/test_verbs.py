"""Airflow of a project: it starts, outlives crashes, and runs tasks where it should."""

from __future__ import annotations

import json
import time
import urllib.error
from typing import Any

import pytest

from tests.engine.airflow.conftest import Flows
from tests.support.airflow import Airflow, until
from tests.support.image_rights import check
from tests.support.process import run
from tests.support.project import Project

SERVICES = ("airflow-api-server", "airflow-database", "airflow-scheduler")


def containers(project: Project) -> dict[str, dict[str, Any]]:
    """What the engine knows of Airflow's containers, by service, and by workspace for workers."""
    found = {}
    for label in ("com.docker.compose.project", "hearth.airflow"):
        chosen = f"label={label}={project.engine_name}"
        ids = run("docker", "ps", "--all", "--quiet", "--filter", chosen).stdout.split()
        for one in json.loads(run("docker", "inspect", *ids).stdout):
            labels = one["Config"]["Labels"]
            name = labels.get("hearth.workspace") or labels["com.docker.compose.service"]
            found[name] = one
    return found


def test_a_second_up_changes_nothing(flows: Flows) -> None:
    project = flows.project
    before = containers(project)
    address = project.ok("airflow", "up").strip()
    after = containers(project)
    assert {"airflow-scheduler", "example", "lake"} <= {*before}
    assert {n: (c["Id"], c["State"]["StartedAt"]) for n, c in before.items()} == {
        n: (c["Id"], c["State"]["StartedAt"]) for n, c in after.items()
    }
    assert project.ok("airflow", "status")
    assert address.rstrip("/") == flows.airflow.url


def test_the_image_gives_nothing_away_but_the_folder_of_its_volume(flows: Flows) -> None:
    project = flows.project
    image = containers(project)["airflow-scheduler"]["Config"]["Image"]
    check(image, project.image("runtime"), mounted={"/airflow"})


def test_only_this_machine_reaches_it_and_only_by_its_password(flows: Flows) -> None:
    project = flows.project
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


def test_a_task_runs_in_the_environment_of_the_project(flows: Flows) -> None:
    project, airflow, _ = flows
    about = airflow.result(airflow.run("here"), "about")
    assert about["prefix"] == "/opt/venv"
    assert about["numpy"].startswith("/opt/venv/")
    assert not about["airflow"]
    # The file that cannot be read has stopped none of this, and is named.
    errors = until(lambda: (found := airflow.errors()).get("project/broken.py") and found)
    assert "there_is_no_such_dag" in errors["project/broken.py"]
    until(lambda: "project/broken.py" in project.sh("airflow", "status").stdout)


def test_a_task_that_fails_is_tried_again(flows: Flows) -> None:
    project, airflow, _ = flows
    found = airflow.run("tried")
    assert found["second -1"]["try_number"] == 2
    marks = [*(project.folder / "data/generated").iterdir()]
    assert {one.stat().st_uid for one in marks} == {project.owner.uid}


def test_services_that_are_killed_in_the_middle_of_a_run_come_back_and_lose_nothing(
    flows: Flows,
) -> None:
    project, airflow, _ = flows
    airflow.wait_for_dag("long")
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


def test_the_state_outlives_the_containers_and_nothing_is_roots(flows: Flows) -> None:
    project, airflow, _ = flows
    airflow.ask("/api/v2/variables", {"key": "kept", "value": "0.1"})
    runs = airflow.ask("/api/v2/dags/~/dagRuns")["total_entries"]
    project.ok("down", "--yes")
    assert project.sh("airflow", "status").returncode == 1
    start = time.monotonic()
    address = project.ok("airflow", "up").strip()
    print(f"airflow up: {time.monotonic() - start:.1f} s")
    again = Airflow(project)
    assert again.url == airflow.url == address.rstrip("/")
    assert again.ask("/api/v2/variables/kept")["value"] == "0.1"
    assert again.ask("/api/v2/dags/~/dagRuns")["total_entries"] == runs
    owners = {one.lstat().st_uid for one in project.folder.rglob("*")}
    assert owners == {project.owner.uid}
