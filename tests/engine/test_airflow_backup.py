"""Backups of Airflow on a real engine: into a fresh project beside the first one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.engine.conftest import MakeProject
from tests.support.airflow import NAME, until, without_example
from tests.support.process import run
from tests.support.project import Project

# It runs once without being triggered.
DAG = """\
from airflow.sdk import Variable, dag, task


@dag(schedule="@once")
def greeting():
    @task
    def greet():
        Variable.set("greeting", "grüße")

    greet()


greeting()
"""
RUNS = "SELECT run_id, state FROM dag_run"
COMPOSE = ("docker", "compose", "--profile", "airflow")
START = ("/opt/airflow/bin/python", "/opt/container/airflow/start.py")


class Pair(NamedTuple):
    """A project whose Airflow runs and has run a DAG, its backup, and a fresh project."""

    first: Project
    archive: Path
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


def greeting(project: Project) -> str:
    """The variable, which is encrypted in the database, as Airflow reads it."""
    return inside(project, "airflow-scheduler", *START, "variables", "get", "greeting").strip()


def of_project(project: Project, *words: str) -> set[str]:
    """What the engine lists of a project."""
    label = f"--filter=label=com.docker.compose.project={project.engine_name}"
    return {*run("docker", *words, label).stdout.split()}


def services(project: Project) -> set[str]:
    return of_project(project, "ps", "--format", '{{.Label "com.docker.compose.service"}}')


@pytest.fixture(scope="module")
def pair(project: MakeProject) -> Pair:
    make = partial(project, NAME, light=True, extras=["airflow"])
    first, second = without_example(make()), without_example(make())
    first.write("dags/greeting.py", DAG)
    first.ok("airflow", "up")
    until(lambda: any(row.endswith("|success") for row in rows(first, RUNS)))
    archive = first.folder.parent / "airflow.tar"
    assert first.ok("airflow", "backup", str(archive)) == f"{archive}\n"
    return Pair(first, archive, second)


def test_a_backup_of_a_running_airflow_is_restored_into_a_fresh_project_beside_it(
    pair: Pair,
) -> None:
    first, archive, second = pair
    assert archive.stat().st_mode & 0o777 == 0o600
    second.ok("airflow", "restore", str(archive))
    assert not services(second)
    second.ok("airflow", "up")
    assert services(second) == services(first)
    assert greeting(second) == "grüße"
    assert rows(second, RUNS) == rows(first, RUNS)


def test_a_truncated_archive_is_refused_and_nothing_is_lost(pair: Pair) -> None:
    _, archive, second = pair
    short = archive.with_name("short.tar")
    short.write_bytes(archive.read_bytes()[:-1000])
    before = services(second), rows(second, RUNS)
    said = second.sh("airflow", "restore", "--yes", str(short))
    assert said.returncode == 1
    assert "(failure: airflow-archive-unusable)" in said.stderr
    assert (services(second), rows(second, RUNS)) == before
    assert not (second.docker / ".airflow/backups").exists()


def test_a_restore_keeps_the_former_database_and_reset_keeps_backups_and_data(pair: Pair) -> None:
    first, archive, second = pair
    rows(second, "DELETE FROM variable")
    second.ok("airflow", "down")
    assert second.sh("airflow", "restore", str(archive)).returncode == 1
    second.ok("airflow", "restore", "--yes", str(archive))
    (saved,) = (second.docker / ".airflow/backups").iterdir()
    second.write("data/generated/result.txt", "42\n")
    volumes = of_project(second, "volume", "ls", "--quiet")
    second.ok("airflow", "reset", "--yes")
    assert saved.is_file()
    assert [*(second.docker / ".airflow").iterdir()] == [saved.parent]
    assert (second.folder / "data/generated/result.txt").is_file()
    left = of_project(second, "volume", "ls", "--quiet")
    assert {one for one in volumes if "airflow" not in one} == left
    assert rows(first, RUNS)
