"""What Airflow of a project costs: its start, its memory, and 1,000 dropped files."""

from __future__ import annotations

import os
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.airflow import Airflow, until
from tests.support.process import run
from tests.support.project import Project

FILES = 1000
REST = 60  # seconds until all that a start does has been done
PASSES = 10  # of a second scheduler, which works beside the first
LOADER = """\
from airflow.sdk import DAG
from workflows.tasks import task

@task
def count(path: str) -> int:
    return len(open(path).readlines())

def workflow(path: str) -> DAG:
    with DAG("rows", schedule=None) as dag:
        count(path)
    return dag
"""
UNITS = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}


def took(action: Any) -> float:
    """The seconds of a call."""
    start = time.monotonic()
    action()
    return time.monotonic() - start


def memory(project: Project) -> dict[str, float]:
    """What each container of Airflow uses, in MiB, by name."""
    names = []
    for label in ("com.docker.compose.project", "hearth.airflow"):
        chosen = f"--filter=label={label}={project.engine_name}"
        names += run("docker", "ps", "--quiet", chosen).stdout.split()
    form = "{{.Name}} {{.MemUsage}}"
    lines = run("docker", "stats", "--no-stream", "--format", form, *names).stdout.splitlines()
    found = {}
    for line in lines:
        name, size, unit = re.findall(r"^(\S+) ([\d.]+)(\w+)", line)[0]
        found[name] = float(size) * UNITS[unit]
    return found


def drop(project: Project, count: int) -> None:
    """Put a loader and files into a project, as if they had been there for a minute."""
    loader = project.folder / "loaders/rows.py"
    loader.parent.mkdir(exist_ok=True)
    loader.write_text(LOADER)
    files = [loader.parent, loader]
    for number in range(count):
        file = project.folder / f"data/downloaded/file {number}.rows"
        file.write_text(f"{number}\n")
        os.utime(file, (1e9, 1e9))
        files.append(file)
    for file in files:
        os.chown(file, project.owner.uid, project.owner.gid)


def has_dags(airflow: Airflow, count: int) -> bool:
    """Whether there are this many DAGs of dropped files."""
    found = airflow.ask("/api/v2/dags?limit=1&tags=rows")
    return int(found["total_entries"]) >= count


def passes(project: Project) -> list[float]:
    """The seconds of passes of a scheduler over all that is there."""
    command = ("docker", "compose", "--profile", "airflow", "exec", "-T")
    level = ("--env", "AIRFLOW__LOGGING__LOGGING_LEVEL=DEBUG")
    program = ("/opt/airflow/bin/python", "/opt/container/airflow/start.py", "scheduler")
    words = (*level, "airflow-scheduler", *program, "--num-runs", str(PASSES))
    said = project.owner.run(*command, *words, cwd=project.docker)
    times = re.findall(r"Ran scheduling loop in ([\d.]+) ms", said.stdout + said.stderr)
    assert times, (said.stdout + said.stderr)[-2000:]
    return [float(one) / 1000 for one in times]


def measure(project: Project, runs: int) -> dict[str, list[float]]:
    """The measurements of a project whose Airflow has never run.

    Args:
        project: with `extras: airflow`; nothing needs to be built.
        runs: how often it is started.
    """
    project.ok("airflow", "up")  # builds
    first, again = [], []
    for _ in range(runs):
        project.ok("airflow", "reset", "--yes")
        first.append(took(partial(project.ok, "airflow", "up")))
        project.ok("airflow", "down")
        again.append(took(partial(project.ok, "airflow", "up")))
    time.sleep(REST)
    idle = memory(project)
    airflow = Airflow(project)
    drop(project, FILES)
    files = took(lambda: until(lambda: has_dags(airflow, FILES)))
    scheduling = passes(project)
    with_files = memory(project)
    for file in Path(project.folder / "data/downloaded").glob("*.rows"):
        file.unlink()
    return {
        "airflow up, for the first time (s)": first,
        "airflow up after airflow down (s)": again,
        "  memory of all its containers, idle (MiB)": [sum(idle.values())],
        f"  until {FILES} dropped files are DAGs (s)": [files],
        "  a scheduling pass over them (s)": scheduling,
        "  memory with them (MiB)": [sum(with_files.values())],
    }
