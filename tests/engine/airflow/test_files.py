"""DAGs of dropped files, and DAGs that wait for a file, a variable or another DAG."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.engine.airflow.conftest import Flows
from tests.support.airflow import Airflow, until
from tests.support.project import Project

NAMES = ("a b.table", "Ünï 'x' $y.table", "plain.table")


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


def has_error(airflow: Airflow, words: str) -> bool:
    """Whether an import error has these words."""
    return any(words in one for one in airflow.errors().values())


def results(airflow: Airflow, dag: str, task: str) -> list[Any]:
    """What a task returned in each run that succeeded."""
    runs = airflow.ask(f"/api/v2/dags/{dag}/dagRuns?order_by=start_date")["dag_runs"]
    paths = [
        f"/api/v2/dags/{dag}/dagRuns/{one['dag_run_id'].replace('+', '%2B')}"
        for one in runs
        if one["state"] == "success"
    ]
    return [airflow.result({"path": one}, task) for one in paths]


def test_a_dropped_file_becomes_a_dag_that_runs_and_ends_with_the_file(flows: Flows) -> None:
    project, airflow, _ = flows
    files = {name: drop(project, name, f"{name[0]} 1\n") for name in NAMES}
    drop(project, "x y.bad", "")
    drop(project, "of no loader.png", "")
    drop(project, os.fsdecode(b"M\xe4dchen.table"), "")
    ids = until(lambda: (found := shown(airflow)).keys() >= set(NAMES) and found)
    for name in NAMES:
        (lines,) = until(partial(results, airflow, ids[name], "lines"))
        assert lines == [name[0], "1"]
    (error,) = until(lambda: [one for one in airflow.errors().values() if "loaders/bad.py" in one])
    assert error.rstrip().endswith("loaders/bad.py raised for x y.bad: ValueError: no header")
    for words in ("M\\udce4dchen.table' is not UTF-8", "The DAG 'with_nul' has the text"):
        until(partial(has_error, airflow, words))
    for path in files.values():
        path.unlink()
    until(lambda: not shown(airflow).keys() & set(NAMES))


def test_the_example_describes_the_columns_of_a_dropped_table(flows: Flows) -> None:
    project, _, _ = flows
    made = project.folder / "data/generated/example/rows 1.csv.json"
    drop(project, "rows 1.csv", "a,b\n1,2\n3,4\n")
    wanted = {"a": [1, 2, 3], "b": [2, 3, 4]}
    until(lambda: json.loads(made.read_text()) == wanted)


def test_a_file_a_variable_and_a_dag_start_what_waits_for_them_also_after_a_crash(
    flows: Flows,
) -> None:
    project, airflow, _ = flows
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
