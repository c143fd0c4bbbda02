"""DAGs of dropped files, and DAGs that wait for a file, a variable or another DAG."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import MakeProject, give
from tests.support.airflow import NAME, Airflow, until, without_example
from tests.support.project import Project

LOADER = """\
from airflow.sdk import DAG, task


def workflow(path):
    with DAG("table", schedule="@once") as dag:

        @task
        def lines():
            with open(path) as file:
                return file.read().split()

        lines()
    return dag
"""
RAISES = "def workflow(path):\n    raise ValueError('no header')\n"
WAITS = """\
from airflow.sdk import DAG, task
from workflows.events import dag_finished, file_changed, payloads, variable_changed

for name, event in {
    "on_file": file_changed("*.txt"),
    "on_variable": variable_changed("rate"),
    "on_dag": dag_finished("first"),
    "on_failure": dag_finished("second", "failed"),
}.items():
    with DAG(name, schedule=[event]):

        @task
        def told(triggering_asset_events=None):
            return payloads(triggering_asset_events)

        told()

for name in ("first", "second"):
    with DAG(name, schedule=None):

        @task
        def end(name):
            assert name == "first"

        end(name)
"""
NAMES = ("a b.csv", "Ünï 'x' $y.csv", "plain.csv")


def drop(project: Project, name: str, text: str) -> Path:
    """Put a file into data/downloaded at once, as `mv` does."""
    path = project.folder / "data/downloaded" / name
    new = path.with_name(f".{name}.new")
    new.write_text(text)
    os.chown(new, project.owner.uid, project.owner.gid)
    os.utime(new, (1e9, 1e9))
    return new.rename(path)


def shown(airflow: Airflow) -> dict[str, str]:
    """The ids of DAGs by the name that the page shows."""
    found = airflow.ask("/api/v2/dags?limit=100")["dags"]
    return {one["dag_display_name"]: one["dag_id"] for one in found}


def results(airflow: Airflow, dag: str, task: str) -> list[Any]:
    """What a task returned in each run that succeeded."""
    runs = airflow.ask(f"/api/v2/dags/{dag}/dagRuns?order_by=start_date")["dag_runs"]
    paths = [
        f"/api/v2/dags/{dag}/dagRuns/{one['dag_run_id'].replace('+', '%2B')}"
        for one in runs
        if one["state"] == "success"
    ]
    return [airflow.result({"path": one}, task) for one in paths]


@pytest.fixture(scope="module")
def shared(project: MakeProject) -> Iterator[tuple[Project, Airflow]]:
    """A project with two loaders and DAGs that wait; its Airflow runs."""
    new = without_example(project(NAME, light=True, extras=["airflow"]))
    new.write("loaders/csv.py", LOADER)
    new.write("loaders/bad.py", RAISES)
    new.write("dags/waits.py", WAITS)
    give(new.folder, new.owner)
    new.ok("airflow", "up")
    yield new, Airflow(new)
    new.ok("airflow", "down")


def test_a_dropped_file_becomes_a_dag_that_runs_and_ends_with_the_file(
    shared: tuple[Project, Airflow],
) -> None:
    project, airflow = shared
    files = {name: drop(project, name, f"{name[0]} 1\n") for name in NAMES}
    drop(project, "x y.bad", "")
    drop(project, "of no loader.png", "")
    ids = until(lambda: (found := shown(airflow)).keys() >= set(NAMES) and found)
    for name in NAMES:
        (lines,) = until(partial(results, airflow, ids[name], "lines"))
        assert lines == [name[0], "1"]
    (error,) = until(airflow.errors).values()
    assert error.rstrip().endswith("loaders/bad.py raised for x y.bad: ValueError: no header")
    for path in files.values():
        path.unlink()
    until(lambda: not shown(airflow).keys() & set(NAMES))


def test_a_file_a_variable_and_a_dag_start_what_waits_for_them_also_after_a_crash(
    shared: tuple[Project, Airflow],
) -> None:
    project, airflow = shared
    until(lambda: {"on_file", "on_variable", "on_dag"} <= set(shown(airflow)))
    # A watcher knows what there was before: its memory is there once it has looked.
    memory = ("exec", "airflow-triggerer", "sh", "-c", "ls /airflow/events | grep -c json || true")
    until(lambda: project.compose(*memory).strip() == "2")
    drop(project, "é 1.txt", "1\n")
    airflow.ask("/api/v2/variables", {"key": "rate", "value": "5"})
    first = airflow.run("first")
    assert first
    with pytest.raises(pytest.fail.Exception):
        airflow.run("second")
    (file,) = until(lambda: results(airflow, "on_file", "told"))
    assert [(one["path"], one["size"]) for one in file] == [("/data/downloaded/é 1.txt", 2)]
    ((variable,),) = until(lambda: results(airflow, "on_variable", "told"))
    assert variable["variable"] == "rate"
    assert variable["hash"]
    ((dag,),) = until(lambda: results(airflow, "on_dag", "told"))
    assert (dag["dag"], dag["state"]) == ("first", "success")
    assert first["path"].endswith(f"/{dag['run']}")
    ((failed,),) = until(lambda: results(airflow, "on_failure", "told"))
    assert (failed["dag"], failed["state"]) == ("second", "failed")

    project.compose("kill", "--signal", "KILL", "airflow-triggerer")
    drop(project, "2.txt", "1\n")
    project.compose("--profile", "airflow", "start", "airflow-triggerer")
    until(lambda: len(results(airflow, "on_file", "told")) > 1)
    paths = [one["path"] for each in results(airflow, "on_file", "told") for one in each]
    assert paths == ["/data/downloaded/é 1.txt", "/data/downloaded/2.txt"]
    assert len(results(airflow, "on_variable", "told")) == 1
