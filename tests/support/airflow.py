"""Airflow of a generated project, as its owner talks to it."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.support.project import Project

WAIT = 600  # seconds on a busy machine; a worker that was lost is noticed after half a minute


def until(answer: Callable[[], Any]) -> Any:
    """What a question answers, as soon as it is something; the page may be away meanwhile."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            found = answer()
        except (OSError, ValueError) as error:  # also urllib's errors
            found, why = None, repr(error)
        else:
            why = repr(found)
        if found:
            return found
        assert time.monotonic() < deadline, why
        time.sleep(1)


class Airflow:
    """The api-server of a project, as its owner."""

    def __init__(self, project: Project):
        """Log in with the password that the project has made."""
        (port,) = project.compose("port", "airflow-api-server", "8080").split(":")[1:]
        self.url = f"http://127.0.0.1:{port.strip()}"
        self.headers = {"Content-Type": "application/json"}
        users = json.loads((project.docker / ".airflow/passwords.json").read_text())
        ((name, password),) = users.items()
        token = self.ask("/auth/token", {"username": name, "password": password})
        self.headers["Authorization"] = f"Bearer {token['access_token']}"

    def ask(self, path: str, data: Any = None) -> Any:
        """The answer to a request, a POST with data."""
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.url + path, body, self.headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=WAIT) as answer:  # noqa: S310
            return json.load(answer)

    def dags(self) -> set[str]:
        """The DAGs that have been found."""
        return {one["dag_id"] for one in self.ask("/api/v2/dags")["dags"]}

    def errors(self) -> dict[str, str]:
        """Import errors by the path of the file."""
        found = self.ask("/api/v2/importErrors")["import_errors"]
        return {one["filename"]: one["stack_trace"] for one in found}

    def run(self, dag: str, **conf: Any) -> dict[str, Any]:
        """The tasks of a run, by their names and numbers, after its end."""
        self.wait_for_dag(dag)
        start = {"logical_date": None, "conf": conf}
        return self.ended(dag, self.ask(f"/api/v2/dags/{dag}/dagRuns", start)["dag_run_id"])

    def wait_for_dag(self, dag: str) -> None:
        """Wait until a DAG has been found."""
        deadline = time.monotonic() + WAIT
        while dag not in self.dags():
            assert time.monotonic() < deadline, self.errors()
            time.sleep(1)

    def ended(self, dag: str, run_id: str) -> dict[str, Any]:
        """The tasks of a run that somebody has started, after its end, as `run` returns them."""
        deadline = time.monotonic() + WAIT
        path = f"/api/v2/dags/{dag}/dagRuns/{run_id}"
        while (state := self.ask(path)["state"]) in ("queued", "running"):
            assert time.monotonic() < deadline, self.ask(f"{path}/taskInstances")
            time.sleep(1)
        tasks = self.ask(f"{path}/taskInstances")["task_instances"]
        found = {f"{one['task_id']} {one['map_index']}": one for one in tasks}
        if state != "success":
            logs = [self.log(path, one) for one in tasks if one["state"] == "failed"]
            pytest.fail(f"{state}: {[*found]}\n" + "\n".join(logs))
        return {**found, "path": path}

    def log(self, path: str, one: dict[str, Any]) -> str:
        """The log of a task."""
        where = f"{path}/taskInstances/{one['task_id']}/logs/{one['try_number']}?map_index="
        return json.dumps(self.ask(where + str(one["map_index"])), indent=1)[-6000:]

    def result(self, found: dict[str, Any], task: str) -> Any:
        """What a task returned."""
        path = f"{found['path']}/taskInstances/{task}/xcomEntries/return_value"
        value = self.ask(path)["value"]
        # A text is as it is, and everything else is JSON.
        with suppress(TypeError, ValueError):
            value = json.loads(value)
        return value
