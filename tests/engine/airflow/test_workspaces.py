"""DAGs of workspaces: each has a worker with its own packages, and the example runs to its end."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Page

from tests import pictures
from tests.engine.airflow.conftest import Flows
from tests.support import airflow_page
from tests.support.airflow import WAIT, until
from tests.support.browser import browsing
from tests.support.process import run

TWICE = "from airflow.sdk import DAG\nwith DAG('of_lake'):\n    pass\n"
TASKS = ["clean", "transform", "train", "evaluate", "plot", "share"]  # of the example


@pytest.fixture(scope="module")
def example(flows: Flows, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The tasks of a run of the example, which has ended; the scene of docs/pictures starts it."""
    project, airflow, _ = flows
    folder = tmp_path_factory.mktemp("workflows")
    airflow.wait_for_dag("example")
    address = pictures.take_run(project, airflow.url, folder, drawn=200)
    wanted = {one.file for one in pictures.TABLE if one.scene == "workflows"}
    assert {file.name for file in folder.iterdir()} == wanted
    return airflow.ended("example", unquote(urlsplit(address).path.rpartition("/")[2]))


@pytest.fixture(scope="module")
def page(flows: Flows) -> Iterator[Page]:
    """The page of Airflow in a browser whose user has logged in, not at the first try."""
    project, airflow, _ = flows
    with browsing(1280, 720) as opened:
        airflow_page.log_in(opened, airflow.url, project, password="another")
        opened.get_by_text("Invalid credentials").wait_for()
        airflow_page.log_in(opened, airflow.url, project)
        airflow_page.is_inside(opened, airflow.url)
        yield opened


def test_tasks_have_the_packages_and_the_code_of_their_workspace(
    flows: Flows,
) -> None:
    project, airflow, _ = flows
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
    flows: Flows,
) -> None:
    project, airflow, said = flows
    assert "(failure: workspace-packages)" in said
    assert "The workspace broken has no new worker" in said
    label = f"label=hearth.airflow={project.engine_name}"
    names = run("docker", "ps", "--filter", label, "--format", '{{.Label "hearth.workspace"}}')
    assert set(names.stdout.split()) == {"example", "lake"}
    assert "of_broken" in airflow.dags()


def test_an_id_that_is_taken_is_an_import_error(flows: Flows) -> None:
    project, airflow, _ = flows
    airflow.run("of_lake")
    file = project.write("workspaces/example/dags/twice.py", TWICE)
    text = until(lambda: airflow.errors().get("example/twice.py"))
    assert "The file lake/lake.py already has a DAG with the id of_lake" in text
    file.unlink()
    assert "about -1" in airflow.run("of_lake")


def test_the_example_runs_from_a_file_to_results_with_a_plot(
    flows: Flows, example: dict[str, Any]
) -> None:
    project, airflow, _ = flows
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
    with urllib.request.urlopen(request, timeout=WAIT) as answer:  # noqa: S310
        assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
        assert b"<svg" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(plot, timeout=WAIT)  # noqa: S310


def test_a_browser_shows_the_graph_the_grid_and_the_plot_of_the_example(
    flows: Flows, example: dict[str, Any], page: Page
) -> None:
    _, airflow, _ = flows
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
    flows: Flows, page: Page
) -> None:
    project, airflow, _ = flows
    airflow_page.trigger(page, airflow.url, "mended")
    airflow_page.open_task(page, "work")
    airflow_page.wait_for_state(page, "Failed")
    page.get_by_text("No such file or directory: '/data/generated/word.txt'").first.wait_for()
    project.write("data/generated/word.txt", "enough said")
    airflow_page.clear_task(page)
    airflow_page.wait_for_state(page, "Success")
    page.get_by_test_id("log-attempt-select-button-2").wait_for()
