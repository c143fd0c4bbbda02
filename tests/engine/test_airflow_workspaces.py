"""DAGs of workspaces: each has a worker with its own packages, and the example runs to its end."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.engine.conftest import MakeProject
from tests.support import airflow_page
from tests.support.airflow import NAME, Airflow, until
from tests.support.browser import browsing
from tests.support.index import PackageIndex
from tests.support.process import run
from tests.support.project import Project

DAG = """\
from airflow.sdk import dag
from workflows.tasks import task


@task
def about(names: list[str]) -> dict:
    import importlib.metadata as metadata
    import os
    import sys

    import here  # of the code of the workspace

    found = [one.metadata["Name"].lower() for one in metadata.distributions()]
    secrets = [one for one in os.environ if one.startswith("AIRFLOW__")]
    return {"prefix": sys.prefix, "has": sorted(set(names) & set(found)), "here": here.WHERE,
            "cwd": os.getcwd(), "secrets": secrets, "user": os.getuid()}


@dag(schedule=None)
def of_NAME():
    about(["near-lake", "apache-airflow", "pytest"])


of_NAME()
"""
TWICE = "from airflow.sdk import DAG\nwith DAG('of_lake'):\n    pass\n"
# A task that fails until a file is there.
MENDED = """\
from airflow.sdk import dag
from workflows.tasks import task


@task
def work() -> str:
    from pathlib import Path

    return Path("/data/generated/word.txt").read_text()


@dag(schedule=None)
def mended():
    work()


mended()
"""
TASKS = ["clean", "transform", "train", "evaluate", "plot", "share"]  # of the example


@pytest.fixture(scope="module")
def shared(project: MakeProject, index: PackageIndex) -> Iterator[tuple[Project, Airflow, str]]:
    """A project with the example and two other workspaces, of which one does not build."""
    index.add("near-lake", "1.0")
    new = project(NAME, light=True, extras=["airflow"])
    new.write("dags/mended.py", MENDED)
    new.write("workspaces/lake/requirements.txt", "near-lake\n")
    new.write("workspaces/broken/requirements.txt", "there-is-no-such-package\n")
    for name in ("lake", "broken"):
        new.write(f"workspaces/{name}/dags/{name}.py", DAG.replace("NAME", name))
        new.write(f"workspaces/{name}/here.py", f"WHERE = {name!r}\n")
    for name in ("workspaces", "dags"):
        run("chown", "-R", f"{new.owner.uid}:{new.owner.gid}", str(new.folder / name))
    try:
        result = new.sh("airflow", "up")
        said = result.stdout + result.stderr
        assert result.returncode == 0, said
        yield new, Airflow(new), said
    finally:
        new.sh("airflow", "down")
        for name in ("example", "lake", "broken"):
            new.sh("clean", "--all", "--yes", "-W", name)


@pytest.fixture(scope="module")
def example(shared: tuple[Project, Airflow, str]) -> dict[str, Any]:
    """The tasks of a run of the example, which has ended."""
    return shared[1].run("example", epochs=200)


@pytest.fixture(scope="module")
def page(shared: tuple[Project, Airflow, str]) -> Iterator[Page]:
    """The page of Airflow in a browser whose user has logged in, not at the first try."""
    project, airflow, _ = shared
    with browsing(1280, 720) as opened:
        airflow_page.log_in(opened, airflow.url, project, password="another")
        opened.get_by_text("Invalid credentials").wait_for()
        airflow_page.log_in(opened, airflow.url, project)
        airflow_page.is_inside(opened, airflow.url)
        yield opened


def test_tasks_have_the_packages_and_the_code_of_their_workspace(
    shared: tuple[Project, Airflow, str],
) -> None:
    project, airflow, _ = shared
    found = airflow.run("of_lake")
    assert airflow.result(found, "about") == {
        "prefix": "/opt/venv",
        "has": ["near-lake", "pytest"],  # its own, and one of the project's dev image
        "here": "lake",
        "cwd": "/workspace",
        "secrets": [],
        "user": project.owner.uid,
    }
    assert found["about -1"]["queue"] == "lake"


def test_a_workspace_that_does_not_build_is_named_and_stops_no_other(
    shared: tuple[Project, Airflow, str],
) -> None:
    project, airflow, said = shared
    assert "(failure: workspace-packages)" in said
    assert "The workspace broken has no new worker" in said
    label = f"label=hearth.airflow={project.engine_name}"
    names = run("docker", "ps", "--filter", label, "--format", '{{.Label "hearth.workspace"}}')
    assert set(names.stdout.split()) == {"example", "lake"}
    assert "of_broken" in airflow.dags()


def test_an_id_that_is_taken_is_an_import_error(shared: tuple[Project, Airflow, str]) -> None:
    project, airflow, _ = shared
    airflow.run("of_lake")
    file = project.write("workspaces/example/dags/twice.py", TWICE)
    ((name, text),) = until(airflow.errors).items()
    assert name == "example/twice.py"
    assert "The file lake/lake.py already has a DAG with the id of_lake" in text
    file.unlink()
    assert "about -1" in airflow.run("of_lake")


def test_the_example_runs_from_a_file_to_results_with_a_plot(
    shared: tuple[Project, Airflow, str], example: dict[str, Any]
) -> None:
    project, airflow, _ = shared
    assert {f"transform {n}" for n in range(3)} <= {*example}
    scores = airflow.result(example, "evaluate")
    assert scores["error"] < scores["spread"] / 2
    results = project.folder / "data/uploadable/example"
    assert {"model.csv", "predictions.csv", "predictions.svg", "scores.json"} <= {
        one.name for one in results.iterdir()
    }
    assert (results / "predictions.svg").read_text().count("<circle") == scores["rows"]
    assert (results / "scores.json").stat().st_uid == project.owner.uid
    # The page of Airflow shows the plot, but only to users who are logged in.
    plot = f"{airflow.url}/data/generated/example/predictions.svg"
    request = urllib.request.Request(plot, headers=airflow.headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
        assert b"<svg" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(plot, timeout=30)  # noqa: S310


def test_a_browser_shows_the_graph_the_grid_and_the_plot_of_the_example(
    shared: tuple[Project, Airflow, str], example: dict[str, Any], page: Page
) -> None:
    _, airflow, _ = shared
    airflow_page.visit(page, f"{airflow.url}/dags/example")
    boxes = airflow_page.show_graph(page)
    assert [text.split()[0] for text in boxes.all_inner_texts()] == TASKS
    airflow_page.show_grid(page)
    run_id = example["path"].rpartition("/")[2]
    for task in TASKS:
        square = page.get_by_test_id(f"grid-{run_id}-{task}")
        square.get_by_test_id("task-state-badge").wait_for()
    airflow_page.visit(page, f"{airflow.url}/data/generated/example/predictions.svg")
    assert page.locator("circle").count() == airflow.result(example, "evaluate")["rows"]


def test_a_run_started_in_a_browser_fails_says_why_and_succeeds_when_it_is_cleared(
    shared: tuple[Project, Airflow, str], page: Page
) -> None:
    project, airflow, _ = shared
    airflow_page.trigger(page, airflow.url, "mended")
    airflow_page.open_task(page, "work")
    airflow_page.wait_for_state(page, "Failed")
    page.get_by_text("No such file or directory: '/data/generated/word.txt'").first.wait_for()
    project.write("data/generated/word.txt", "enough said")
    airflow_page.clear_task(page)
    airflow_page.wait_for_state(page, "Success")
    page.get_by_test_id("log-attempt-select-button-2").wait_for()
