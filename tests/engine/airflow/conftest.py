"""The projects with Airflow, which all tests of this folder share: to start one takes a minute."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.engine.conftest import MakeProject, give
from tests.support.airflow import Airflow
from tests.support.airflow_dags import OF_PROJECT, OF_WORKSPACES, PACKAGES, TRAIN
from tests.support.index import PackageIndex
from tests.support.project import Person, Project

HERE = Path(__file__).parent
# Of all projects, so that the layers of their images are made once.
NAME = "flows"
# What is stopped after the last test of this folder, and not at the very end: an Airflow that only
# waits takes a third of a processor, by its checks.
RUNNING = ExitStack()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop what the tests of this folder share, if the next test is none of them."""
    if HERE in item.path.parents and not (nextitem and HERE in nextitem.path.parents):
        RUNNING.close()


class Flows(NamedTuple):
    """A project whose Airflow runs, the owner of its page, and what the first start has said."""

    project: Project
    airflow: Airflow
    said: str


def new_project(
    project: MakeProject, files: dict[str, str], owner: Person | None = None
) -> Project:
    """A project with Airflow, and with files of its owner; nothing is built."""
    new = project(NAME, light=True, extras=["airflow"], shared=True, owner=owner)
    new.folder.parent.chmod(0o755)  # as most homes are
    lists = new.docker / "dependencies/pyproject.toml"
    lists.write_text(lists.read_text().replace("dependencies = [", 'dependencies = ["numpy",', 1))
    for path, text in files.items():
        new.write(path, text)
    give(new.folder, new.owner)
    return new


@pytest.fixture(scope="session")
def flows(project: MakeProject, index: PackageIndex) -> Flows:
    """A project with the example and two other workspaces, of which one does not build."""
    index.add("near-lake", "1.0")
    new = new_project(project, OF_PROJECT | OF_WORKSPACES)
    for name in ("example", *PACKAGES):
        RUNNING.callback(new.sh, "clean", "--all", "--yes", "-W", name)
    RUNNING.callback(new.sh, "airflow", "down")
    result = new.sh("airflow", "up")
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    return Flows(new, Airflow(new), said)


@pytest.fixture(scope="session")
def second(project: MakeProject, jane: Person, open_folder: Path) -> Project:
    """A project of another user, by the same name, which has one of the DAGs; nothing is built."""
    home = open_folder / "home of john"
    home.mkdir()
    john = jane
    if os.getuid() == 0:
        john = Person(jane.uid + 1, jane.gid + 1, "john", home)
        give(home, john)
    files = {path: text for path, text in OF_PROJECT.items() if text == TRAIN or "data" in path}
    new = new_project(project, files, john)
    shutil.rmtree(new.folder / "workspaces/example")
    return new


@pytest.fixture(scope="session")
def own(project: MakeProject) -> Project:
    """A second project of the first one's user, by the same name; nothing is built."""
    files = {path: text for path, text in OF_PROJECT.items() if text == TRAIN}
    new = new_project(project, files | {"data/downloaded/numbers.dat": "4,6"})
    shutil.rmtree(new.folder / "workspaces/example")
    return new
