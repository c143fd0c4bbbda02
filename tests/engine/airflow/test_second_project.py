"""What one project hands to another: its results, and a backup of all that its Airflow knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from host.airflow_results import Client, wait_for
from host.project import read_project
from tests.engine.airflow.conftest import Flows
from tests.support.airflow import Airflow, until
from tests.support.process import run
from tests.support.project import Project

RUNS = "SELECT run_id, state FROM dag_run ORDER BY id"
COMPOSE = ("docker", "compose", "--profile", "airflow")


class Pair(NamedTuple):
    """A project whose Airflow has run DAGs, its backup and results, and a fresh project.

    Attributes:
        runs: rows of the first project's database when the backup was made.
    """

    first: Project
    backup: Path
    results: Path
    runs: list[str]
    second: Project


def inside(project: Project, service: str, *words: str) -> str:
    """What a command in a running service prints."""
    command = (*COMPOSE, "exec", "-T", service, *words)
    said = project.owner.run(*command, cwd=project.docker)
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


def rows(project: Project, sql: str) -> list[str]:
    """What the database answers."""
    words = ("psql", "--username=airflow", "--no-align", "--tuples-only", f"--command={sql}")
    return inside(project, "airflow-database", *words).splitlines()


def of_project(project: Project, *words: str) -> set[str]:
    """What the engine lists of a project."""
    label = f"--filter=label=com.docker.compose.project={project.engine_name}"
    return {*run("docker", *words, label).stdout.split()}


def services(project: Project) -> set[str]:
    return of_project(project, "ps", "--format", '{{.Label "com.docker.compose.service"}}')


def volumes(project: Project) -> set[str]:
    found = of_project(project, "volume", "ls", "--format", "{{.Name}}")
    return {one for one in found if "airflow" in one}


def manifest_of(project: Project, name: str) -> dict[str, Any]:
    file = project.folder / f"data/uploadable/{name}/results.json"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def has_dag(client: Client) -> bool:
    try:
        return bool(client.ask("/dags/train"))
    except HTTPError:
        return False


@pytest.fixture(scope="module")
def pair(flows: Flows, second: Project) -> Pair:
    """The first project runs a DAG with another parameter than its default."""
    first = flows.project
    client = Client(read_project(first.docker))
    until(lambda: has_dag(client))
    wanted = {"logical_date": None, "conf": {"factor": 3}}
    name = client.ask("/dags/train/dagRuns", wanted)["dag_run_id"]
    assert wait_for(client, f"/dags/train/dagRuns/{quote(name)}") == "success"
    # Only what has ended is the same in both projects.
    until(lambda: all(one.endswith(("|success", "|failed")) for one in rows(first, RUNS)))
    backup = first.folder.parent / "airflow.tar"
    assert first.ok("airflow", "backup", str(backup)) == f"{backup}\n"
    results = Path(first.ok("pack", "model").strip())
    return Pair(first, backup, results, rows(first, RUNS), second)


def test_tasks_of_both_environments_publish_what_they_were_made_with(pair: Pair) -> None:
    model, report = manifest_of(pair.first, "model"), manifest_of(pair.first, "report")
    assert [one["path"] for one in model["outputs"]] == ["same.txt", "sum.txt"]
    assert [one["path"] for one in model["inputs"]] == ["numbers.dat"]
    assert [one["path"] for one in report["outputs"]] == ["same.txt"]
    image = run("docker", "image", "inspect", "-f", "{{.Id}}", pair.first.image("runtime"))
    for one in (model, report):
        assert one["dag"] == "train"
        assert one["parameters"] == {"factor": 3}
        assert one["image"] == image.stdout.strip()
        assert one["code"]["commit"] == "none"
    place = pair.first.folder / "data/uploadable/model"
    assert (place / "sum.txt").read_text() == "18"
    assert place.stat().st_uid == pair.first.owner.uid


def test_a_backup_of_a_running_airflow_is_restored_into_a_fresh_project_beside_it(
    pair: Pair,
) -> None:
    second = pair.second
    assert pair.backup.stat().st_mode & 0o777 == 0o600
    second.ok("airflow", "restore", str(pair.backup))
    assert not services(second)
    second.ok("airflow", "up")
    assert services(second) == services(pair.first)
    # It is encrypted in the database.
    assert Airflow(second).ask("/api/v2/variables/greeting")["value"] == "grüße"
    assert rows(second, RUNS) == pair.runs


def test_another_project_imports_results_and_repeats_the_run(pair: Pair) -> None:
    second = pair.second
    second.ok("import-results", str(pair.results))
    manifest = second.folder / "data/downloaded/model/results.json"
    before = manifest.read_bytes()
    until(lambda: has_dag(Client(read_project(second.docker))))
    equal = second.sh("airflow", "rerun", str(manifest))
    assert (equal.returncode, equal.stdout.split()) == (
        0,
        ["equal", "same.txt", "equal", "sum.txt"],
    ), equal.stderr
    second.write("data/downloaded/numbers.dat", "1,2,4")
    changed = second.sh("airflow", "rerun", str(manifest.parent))
    assert "numbers.dat is another file" in changed.stderr
    assert (changed.returncode, changed.stdout.split()) == (
        1,
        ["equal", "same.txt", "different", "sum.txt"],
    ), changed.stderr
    assert manifest.read_bytes() == before
    assert not list(Path(second.folder / "data/uploadable").iterdir())


def test_a_truncated_archive_is_refused_and_nothing_is_lost(pair: Pair) -> None:
    second = pair.second
    short = pair.backup.with_name("short.tar")
    short.write_bytes(pair.backup.read_bytes()[:-1000])
    before = services(second), rows(second, RUNS)
    said = second.sh("airflow", "restore", "--yes", str(short))
    assert said.returncode == 1
    assert "(failure: airflow-archive-unusable)" in said.stderr
    assert (services(second), rows(second, RUNS)) == before
    assert not (second.docker / ".airflow/backups").exists()


def test_a_restore_keeps_the_former_database_and_reset_keeps_backups_and_data(pair: Pair) -> None:
    first, second = pair.first, pair.second
    rows(second, "DELETE FROM variable")
    second.ok("airflow", "down")
    assert second.sh("airflow", "restore", str(pair.backup)).returncode == 1
    second.ok("airflow", "restore", "--yes", str(pair.backup))
    (saved,) = (second.docker / ".airflow/backups").iterdir()
    second.write("data/generated/result.txt", "42\n")
    second.ok("airflow", "reset", "--yes")
    assert saved.is_file()
    assert [*(second.docker / ".airflow").iterdir()] == [saved.parent]
    assert (second.folder / "data/generated/result.txt").is_file()
    assert volumes(second) == set()
    assert len(volumes(first)) == 2
    assert rows(first, RUNS)[: len(pair.runs)] == pair.runs


def test_only_clean_all_removes_what_airflow_knows(pair: Pair) -> None:
    second = pair.second
    second.ok("airflow", "restore", str(pair.backup))
    database = volumes(second)
    assert database
    second.ok("clean", "--yes")
    assert volumes(second) == database
    assert run("docker", "image", "inspect", "postgres:17.7-bookworm").returncode == 0
    second.ok("clean", "--all", "--yes")
    assert volumes(second) == set()
