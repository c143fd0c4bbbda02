"""What one project hands to another user's, and that two projects have nothing in common."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from host.airflow_results import Client, wait_for
from host.airflow_secrets import MADE
from host.project import read_project
from tests.engine.airflow.conftest import Flows
from tests.support.airflow import Airflow, until
from tests.support.process import run
from tests.support.project import Project

RUNS = "SELECT run_id, state FROM dag_run ORDER BY id"
RUNS_OF_TRAIN = "SELECT run_id, state FROM dag_run WHERE dag_id = 'train' ORDER BY id"
# Of the Airflow before, whose tables are others.
OLDER, OLDER_TABLES = "3.2.0", "1d6611b6ab7c"
TABLES = "SELECT version_num FROM alembic_version"
LABEL = "com.docker.compose.project"
COMPOSE = ("docker", "compose", "--profile", "airflow")


class Pair(NamedTuple):
    """A project whose Airflow has run DAGs, its backup and results, and another user's project.

    Attributes:
        backup: as the first project has made it.
        given: the same, as the other user has it.
        results: as the other user has them.
        runs: rows of the first project's database when the backup was made.
    """

    first: Project
    backup: Path
    given: Path
    results: Path
    runs: list[str]
    second: Project


def inside(project: Project, service: str, *words: str) -> str:
    """What a command in a running service prints."""
    command = (*COMPOSE, "exec", "-T", service, *words)
    said = project.owner.run(*command, cwd=project.docker)
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


def hand_over(file: Path, project: Project) -> Path:
    """A copy of a file that only the owner of a project can read."""
    copy = Path(shutil.copy(file, project.folder.parent))
    copy.chmod(0o600)
    os.chown(copy, project.owner.uid, project.owner.gid)
    return copy


def rows(project: Project, sql: str) -> list[str]:
    """What the database answers."""
    words = ("psql", "--username=airflow", "--no-align", "--tuples-only", f"--command={sql}")
    return inside(project, "airflow-database", *words).splitlines()


def downgrade(project: Project) -> None:
    """Bring the tables back to those of an older Airflow, as it would have left them."""
    up = ("up", "--detach", "--no-build", "--wait", "airflow-database")
    words = ("db", "downgrade", "--yes", "--to-version", OLDER)
    run_once = ("run", "--rm", "--no-deps", "-T", "airflow-init", *words)
    for command in (up, run_once):
        said = project.owner.run(*COMPOSE, *command, cwd=project.docker)
        assert said.returncode == 0, said.stdout + said.stderr


def of_project(project: Project, *words: str) -> set[str]:
    """What the engine lists of a project."""
    label = f"--filter=label={LABEL}={project.engine_name}"
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
    results = hand_over(Path(first.ok("pack", "model").strip()), second)
    return Pair(first, backup, hand_over(backup, second), results, rows(first, RUNS), second)


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
    second.ok("airflow", "restore", str(pair.given))
    assert not services(second)
    downgrade(second)
    assert rows(second, TABLES) == [OLDER_TABLES]
    said = second.sh("airflow", "up")
    assert said.returncode == 0, said.stderr
    assert f"changes the tables of {OLDER}. The backup before it: " in said.stderr
    assert rows(second, TABLES) == rows(pair.first, TABLES) != [OLDER_TABLES]
    assert services(second) == services(pair.first)
    # It is encrypted in the database.
    assert Airflow(second).ask("/api/v2/variables/greeting")["value"] == "grüße"
    assert rows(second, RUNS) == pair.runs


def check_apart(first: Project, second: Project) -> None:
    """Check that two projects whose Airflow runs have neither data nor a login in common."""
    # The end of the name is the folder's, so two projects of one user are apart, too.
    ends = {one.engine_name.rpartition("-")[2] for one in (first, second)}
    assert len(ends) > 1
    for kind in ("volume", "network"):
        lists = [of_project(one, kind, "ls", "--format", "{{.Name}}") for one in (first, second)]
        assert all(lists)
        assert not lists[0] & lists[1]
    pages = [Airflow(first), Airflow(second)]
    assert pages[0].url != pages[1].url
    for one, page in ((first, pages[1]), (second, pages[0])):
        users = json.loads((one.docker / ".airflow/passwords.json").read_text())
        ((name, password),) = users.items()
        with pytest.raises(HTTPError, match="401"):
            page.ask("/auth/token", {"username": name, "password": password})


def test_two_users_have_nothing_in_common(pair: Pair) -> None:
    first, second = pair.first, pair.second
    check_apart(first, second)
    for one, other in ((first, second), (second, first)):
        secret = [file for file in (one.docker / ".airflow").iterdir() if file.is_file()]
        assert len(secret) > len(MADE)
        if one.owner != other.owner:
            assert other.owner.run("ls", secret[0].parent, cwd=other.folder).returncode
            for file in secret:
                assert other.owner.run("cat", file, cwd=other.folder).returncode
        numbers = run("docker", "ps", "--quiet", f"--filter=label={LABEL}={one.engine_name}")
        for number in numbers.stdout.split():
            user = run("docker", "inspect", "-f", "{{.Config.User}}", number).stdout
            assert user.strip().split(":")[0] == str(one.owner.uid)


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
    made = [*(second.folder / "data").rglob("*")]
    assert {one.stat().st_uid for one in made} == {second.owner.uid}


def test_a_truncated_archive_is_refused_and_nothing_is_lost(pair: Pair) -> None:
    second = pair.second
    short = pair.given.with_name("short.tar")
    short.write_bytes(pair.backup.read_bytes()[:-1000])
    before = services(second), rows(second, RUNS)
    said = second.sh("airflow", "restore", "--yes", str(short))
    assert said.returncode == 1
    assert "(failure: airflow-archive-unusable)" in said.stderr
    assert (services(second), rows(second, RUNS)) == before
    assert not [*(second.docker / ".airflow/backups").glob("before-restore-*")]


def test_a_restore_undoes_an_upgrade_and_keeps_the_former_database_and_reset_backups_and_data(
    pair: Pair,
) -> None:
    first, second = pair.first, pair.second
    rows(second, "DELETE FROM variable")
    second.ok("airflow", "down")
    (upgraded,) = (second.docker / ".airflow/backups").iterdir()
    assert second.sh("airflow", "restore", str(upgraded)).returncode == 1
    second.ok("airflow", "restore", "--yes", str(upgraded))
    (saved,) = (second.docker / ".airflow/backups").glob("before-restore-*")
    up = ("up", "--detach", "--no-build", "--wait", "airflow-database")
    assert second.owner.run(*COMPOSE, *up, cwd=second.docker).returncode == 0
    assert rows(second, TABLES) == [OLDER_TABLES]
    assert rows(second, RUNS) == pair.runs
    second.write("data/generated/result.txt", "42\n")
    second.ok("airflow", "reset", "--yes")
    assert saved.is_file()
    assert [*(second.docker / ".airflow").iterdir()] == [saved.parent]
    assert upgraded.is_file()
    assert (second.folder / "data/generated/result.txt").is_file()
    assert volumes(second) == set()
    assert len(volumes(first)) == 2
    assert rows(first, RUNS)[: len(pair.runs)] == pair.runs


def test_two_projects_of_one_user_run_side_by_side_and_only_clean_all_removes_what_one_knows(
    flows: Flows, own: Project
) -> None:
    first = flows.project
    assert first.owner == own.owner
    own.ok("airflow", "up")
    check_apart(first, own)
    for name in MADE:
        secrets = {(one.docker / ".airflow" / name).read_text() for one in (first, own)}
        assert len(secrets) > 1, name
    # The DAG of this name, and what it reads and writes, is of its own project.
    before = rows(first, RUNS_OF_TRAIN)
    airflow = Airflow(own)
    airflow.run("train")
    assert airflow.dags() == {"train"}
    assert (own.folder / "data/uploadable/model/sum.txt").read_text() == "20"
    assert rows(first, RUNS_OF_TRAIN) == before
    database = volumes(own)
    own.ok("clean", "--yes")
    assert volumes(own) == database
    assert not services(own)
    assert run("docker", "image", "inspect", "postgres:17.7-bookworm").returncode == 0
    own.ok("clean", "--all", "--yes")
    assert volumes(own) == set()
    assert volumes(first)
    assert {"airflow-scheduler", "airflow-database"} <= services(first)
