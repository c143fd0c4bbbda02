"""Workflows of the project whose Airflow the tests share: its files, path to text."""

from __future__ import annotations

# Tasks in the environment of the project, one that fails at first, and two that take a while.
MINE = """\
from datetime import timedelta

from airflow.sdk import dag
from workflows.tasks import task


@dag(schedule=None)
def here():
    @task
    def about():
        import importlib.metadata as metadata
        import sys

        import numpy

        has = {one.metadata["Name"].lower() for one in metadata.distributions()}
        return {"prefix": sys.prefix, "numpy": numpy.__file__, "airflow": "apache-airflow" in has}

    about()


@dag(schedule=None)
def tried():
    @task(retries=2, retry_delay=timedelta(seconds=1))
    def second(run_id=None):
        from pathlib import Path

        mark = Path("/data/generated", run_id.replace(":", "_"))
        if not mark.exists():
            mark.touch()
            raise RuntimeError("not yet")
        return mark.name

    second()


@dag(schedule=None)
def long():
    @task(retries=3, retry_delay=timedelta(seconds=1))
    def first(seconds: int):
        import time

        time.sleep(seconds)
        return "first"

    @task(retries=3, retry_delay=timedelta(seconds=1))
    def last(word: str):
        return f"{word} and last"

    last(first(15))


here()
tried()
long()
"""
BROKEN = "import airflow, there_is_no_such_dag\n"
# A DAG that PostgreSQL cannot store. Airflow shows no DAG of a file that has an error.
NUL = r"""\
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("with_nul", schedule=None):
    BashOperator(task_id="words", bash_command="tr '\0' x")
"""
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
# It runs once without being triggered.
GREETING = """\
from airflow.sdk import Variable, dag, task


@dag(schedule="@once")
def greeting():
    @task
    def greet():
        Variable.set("greeting", "grüße")

    greet()


greeting()
"""
# Results of both environments.
TRAIN = """\
from airflow.sdk import dag, task as plain
from workflows.tasks import task


@task
def fit(params=None) -> str:
    from pathlib import Path

    from workflows.results import publish

    numbers = Path("/data/downloaded/numbers.dat").read_text().split(",")
    folder = Path("/data/generated/model")
    folder.mkdir(exist_ok=True)
    (folder / "sum.txt").write_text(str(params["factor"] * sum(map(int, numbers))))
    (folder / "same.txt").write_text("same")
    return publish("model", "model", inputs="numbers.dat")


@plain
def report() -> str:
    from workflows.results import publish

    return publish("report", "model/same.txt")


@dag(schedule=None, params={"factor": 2})
def train():
    fit() >> report()


train()
"""
# What waits for a file, a variable and another DAG.
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
# Of a workspace, whose code and packages its task finds.
OF_WORKSPACE = """\
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

OF_PROJECT = {
    "dags/mine.py": MINE,
    "dags/broken.py": BROKEN,
    "dags/nul.py": NUL,
    "dags/mended.py": MENDED,
    "dags/greeting.py": GREETING,
    "dags/train.py": TRAIN,
    "dags/waits.py": WAITS,
    "loaders/table.py": LOADER,
    "loaders/bad.py": RAISES,
    "data/downloaded/numbers.dat": "1,2,3",
}
# Packages of workspaces. That of `broken` is in no index.
PACKAGES = {"lake": "near-lake", "broken": "there-is-no-such-package"}
OF_WORKSPACES = {
    f"workspaces/{name}/{path}": text
    for name, package in PACKAGES.items()
    for path, text in {
        "requirements.txt": f"{package}\n",
        f"dags/{name}.py": OF_WORKSPACE.replace("NAME", name),
        "here.py": f"WHERE = {name!r}\n",
    }.items()
}
