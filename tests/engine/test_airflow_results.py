"""Results of a DAG of one project, handed to another, where the run is repeated and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from host.airflow_results import Client, wait_for
from host.project import read_project
from tests.engine.conftest import MakeProject
from tests.support.airflow import NAME, until, without_example
from tests.support.process import run
from tests.support.project import Project

DAG = """\
from airflow.sdk import dag, task as plain
from workflows.tasks import task


@task
def fit(params=None) -> str:
    from pathlib import Path

    from workflows.results import publish

    numbers = Path("/data/downloaded/numbers.csv").read_text().split(",")
    folder = Path("/data/generated/model")
    folder.mkdir(exist_ok=True)
    (folder / "sum.txt").write_text(str(params["factor"] * sum(map(int, numbers))))
    (folder / "same.txt").write_text("same")
    return publish("model", "model", inputs="numbers.csv")


@plain
def report() -> str:
    from workflows.results import publish

    return publish("report", "model/same.txt")


@dag(schedule=None, params={"factor": 2})
def train():
    fit() >> report()


train()
"""


def has_dag(client: Client) -> bool:
    try:
        return bool(client.ask("/dags/train"))
    except HTTPError:
        return False


def new_project(project: MakeProject) -> Project:
    made = without_example(project(NAME, light=True, extras=["airflow"]))
    made.write("dags/train.py", DAG)
    made.write("data/downloaded/numbers.csv", "1,2,3")
    for folder in ("dags", "data", "data/downloaded"):
        run("chown", f"{made.owner.uid}:{made.owner.gid}", made.folder / folder)
    return made


@pytest.fixture(scope="module")
def published(project: MakeProject) -> Project:
    """A project whose DAG has run once, with another parameter than its default."""
    made = new_project(project)
    made.ok("airflow", "up")
    client = Client(read_project(made.docker))
    until(lambda: has_dag(client))
    wanted = {"logical_date": None, "conf": {"factor": 3}}
    first = client.ask("/dags/train/dagRuns", wanted)["dag_run_id"]
    assert wait_for(client, f"/dags/train/dagRuns/{quote(first)}") == "success"
    made.ok("airflow", "down")
    return made


def manifest_of(project: Project, name: str) -> dict[str, Any]:
    file = project.folder / f"data/uploadable/{name}/results.json"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_tasks_of_both_environments_publish_what_they_were_made_with(published: Project) -> None:
    model, report = manifest_of(published, "model"), manifest_of(published, "report")
    assert [one["path"] for one in model["outputs"]] == ["same.txt", "sum.txt"]
    assert [one["path"] for one in model["inputs"]] == ["numbers.csv"]
    assert [one["path"] for one in report["outputs"]] == ["same.txt"]
    image = run("docker", "image", "inspect", "-f", "{{.Id}}", published.image("runtime"))
    for one in (model, report):
        assert one["dag"] == "train"
        assert one["parameters"] == {"factor": 3}
        assert one["image"] == image.stdout.strip()
        assert one["code"]["commit"] == "none"
    place = published.folder / "data/uploadable/model"
    assert (place / "sum.txt").read_text() == "18"
    assert place.stat().st_uid == published.owner.uid


def test_another_project_imports_them_and_repeats_the_run(
    published: Project, project: MakeProject
) -> None:
    archive = published.ok("pack", "model").strip()
    other = new_project(project)
    other.ok("import-results", archive)
    manifest = other.folder / "data/downloaded/model/results.json"
    before = manifest.read_bytes()
    other.ok("airflow", "up")
    until(lambda: has_dag(Client(read_project(other.docker))))
    equal = other.sh("airflow", "rerun", str(manifest))
    assert (equal.returncode, equal.stdout.split()) == (
        0,
        ["equal", "same.txt", "equal", "sum.txt"],
    ), equal.stderr
    other.write("data/downloaded/numbers.csv", "1,2,4")
    changed = other.sh("airflow", "rerun", str(manifest.parent))
    assert "numbers.csv is another file" in changed.stderr
    assert (changed.returncode, changed.stdout.split()) == (
        1,
        ["equal", "same.txt", "different", "sum.txt"],
    ), changed.stderr
    assert manifest.read_bytes() == before
    assert not list(Path(other.folder / "data/uploadable").iterdir())
    other.ok("airflow", "down")
