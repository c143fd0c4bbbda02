"""Tasks that run on a cluster: the same jobs that `template.sh submit` makes.

    from workflows.cluster import submit

    train = submit(["python", "train.py"], on="slurm", gpus=1, time="2h", task_id="train")

No container has a client of a cluster or a key. `template.sh airflow submitter`, which you run on
the host, takes the requests. While a job waits and runs, its task is deferred: the triggerer looks
at a file, so the task takes no place of a worker. It would be the same with a rescheduled sensor,
but nothing would end the job of a task that is cleared or marked between two of its starts.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from . import cluster_requests as requests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from airflow.sdk import Context

INTERVAL = 3.0  # seconds between two looks
# Seconds of a wait. A task fails if it goes on before Airflow's scheduler has heard that it waits:
# https://github.com/apache/airflow/issues/72716
SHORTEST = 20.0
OPTIONS = (
    *("on", "gpus", "cpus", "memory", "nodes", "tasks", "time", "requeue", "environment"),
    *("verify", "dirty"),
)


class JobEnded(BaseTrigger):
    """Waits for the end of a job, and prints what it says into the log of its task."""

    def __init__(self, key: str) -> None:
        """Take the name of the job."""
        super().__init__()
        self.key = key

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Name the class and its arguments, as Airflow stores them."""
        return f"{type(self).__module__}.{type(self).__name__}", {"key": self.key}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the job has ended."""
        watch = requests.Watch(requests.FOLDER, self.key)
        earliest = time.monotonic() + SHORTEST
        while True:
            lines, state = await asyncio.to_thread(watch.look)
            for line in lines:
                self.log.info("%s", line)
            if state:
                await asyncio.sleep(max(earliest - time.monotonic(), 0))
                yield TriggerEvent({"key": self.key, "state": state})
                return
            await asyncio.sleep(INTERVAL)

    async def on_kill(self) -> None:
        """End the job of a task that a user has cleared or marked."""
        await asyncio.to_thread(requests.cancel, requests.FOLDER, self.key)


class ClusterJob(BaseOperator):
    """Gives a command to a cluster, and waits for its end. `submit` makes it."""

    template_fields = ("command", "environment")

    def __init__(self, command: str | Sequence[str], **arguments: Any) -> None:
        """Take the command, the options of the job, and the arguments that all tasks have."""
        options = {name: arguments.pop(name, None) for name in OPTIONS}
        super().__init__(**arguments)
        self.command = command
        self.environment: Mapping[str, str] | None = options.pop("environment")
        self.options = options
        self.key = ""

    def name_of_job(self, context: Context) -> str:
        """The name of the job of this attempt."""
        task = context["ti"]
        return requests.key_of(self.task_id, f"{task.id} {task.try_number}")

    def execute(self, context: Context) -> None:
        """Write the request, and wait without a process. Raises RuntimeError."""
        task = context["ti"]
        self.key = self.name_of_job(context)
        of_task = " ".join([task.dag_id, task.run_id, task.task_id, str(task.map_index)])
        environment = {key: str(value) for key, value in (self.environment or {}).items()}
        request = requests.request_of(
            self.command, of_task, environment=environment, **self.options
        )
        requests.ask(requests.FOLDER, self.key, request)
        self.defer(trigger=JobEnded(self.key), method_name="finish", timeout=self.execution_timeout)

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Go on after the wait; where this fails, such as after a time limit, the job is ended."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except BaseException:
            requests.cancel(requests.FOLDER, self.name_of_job(context))
            raise

    def finish(self, _context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Hand on what the job has become. Raises RuntimeError if it did not succeed."""
        key, state = event["key"], event["state"]
        if state.get("ended"):
            requests.forget(requests.FOLDER, key)
        return requests.result_of(key, state)

    def on_kill(self) -> None:
        """End the job of a task that is killed."""
        if self.key:
            requests.cancel(requests.FOLDER, self.key)


def submit(command: str | Sequence[str], *, task_id: str, **arguments: Any) -> ClusterJob:
    """A task that runs a command as a job of a cluster, and fails if the job does.

    Its result is a dictionary, of which train.output["id"] is one value: cluster, job (as
    `template.sh jobs` lists it), id (the scheduler's), state (in the scheduler's words) and status
    (the exit status, None if that is not known).

    Args:
        command: its words, or a text that is split into words; {{ ds }} and the like are replaced.
        task_id: the name of the task.
        arguments: `on` names the cluster, where the project has several. The options of
            `template.sh submit` gpus, cpus, memory, nodes, tasks, time, requeue, verify and dirty;
            environment, a dictionary of variables; and all that a task of Airflow takes, such as
            retries or execution_timeout, which includes the time in the queue.
    """
    return ClusterJob(command=command, task_id=task_id, multiple_outputs=True, **arguments)
