"""Requests for jobs on clusters: files that a task and `template.sh airflow submitter` share.

A task of the name KEY writes KEY.request.json, and KEY.cancel to end its job. The submitter, on the
host, writes KEY.state.json and KEY.log, and touches the file `serving` while it runs.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path("/airflow-jobs")
SERVING = "serving"
REQUEST, CANCEL, STATE, LOG = ".request.json", ".cancel", ".state.json", ".log"
PATIENCE = 60.0  # seconds for a submitter to take a request
SILENCE = 300.0  # seconds without a sign of life: it may wait for a registry as long
RENEWAL = 60.0  # seconds between two signs that somebody waits for a job
LONGEST = 20  # characters of a task's name in that of its job
START = "On the machine of Airflow, run: ./docker-amd64/template.sh airflow submitter"
NOT_HERE = (
    "This worker cannot submit jobs: only DAGs in dags/ of the project can, because a job runs the "
    "project's code."
)
NOBODY = f"Nobody gives requests to the clusters. {START}"


def key_of(task_id: str, attempt: str) -> str:
    """The name of a job: the same for the same attempt at a task, and for no other."""
    name = re.sub(r"[^a-z0-9]+", "-", task_id.lower()).strip("-")[:LONGEST].strip("-") or "task"
    return f"airflow-{name}-{sha256(attempt.encode()).hexdigest()[:10]}"


def request_of(command: str | Sequence[str], task: str, **options: Any) -> dict[str, Any]:
    """What a job needs. A text is split into words as a shell would; no shell runs it.

    Args:
        command: its words, or one text.
        task: what tells the task from others, for all of its attempts.
        options: those of `workflows.cluster.submit`; None is left out.
    """
    words = shlex.split(command) if isinstance(command, str) else [str(one) for one in command]
    given = {name: value for name, value in options.items() if value not in (None, "", {})}
    return {"task": task, "command": words, **given}


def ask(folder: Path, key: str, request: dict[str, Any]) -> None:
    """Write a request in one step, and end the jobs of earlier attempts at the same task.

    Raises:
        RuntimeError: this worker has no folder for requests.
        OSError: it cannot be written.
    """
    if not folder.is_dir():
        raise RuntimeError(NOT_HERE)
    for file in folder.glob(f"airflow-*{REQUEST}"):
        other = file.name[: -len(REQUEST)]
        if other != key and read(file).get("task") == request["task"]:
            cancel(folder, other)
    temporary = folder / f".{key}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(request))
    temporary.replace(folder / f"{key}{REQUEST}")


def cancel(folder: Path, key: str) -> None:
    """Ask for the end of a job, unless it has ended and was forgotten."""
    if (folder / f"{key}{REQUEST}").exists():
        (folder / f"{key}{CANCEL}").touch()


def forget(folder: Path, key: str) -> None:
    """Remove the files of a job that has ended."""
    for end in (REQUEST, CANCEL, LOG, STATE):
        with suppress(OSError):
            (folder / f"{key}{end}").unlink()


def read(file: Path) -> dict[str, Any]:
    """The object in a file; an empty one if it is not there or has something else."""
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


class Watch:
    """Looks at a job again and again, and tells what is new.

    Attributes:
        offset: how much of the output was told, in bytes.
    """

    def __init__(self, folder: Path, key: str, offset: int = 0) -> None:
        """Start to wait for a job."""
        self.folder, self.key, self.offset = folder, key, offset
        self.said = ""
        self.started = time.monotonic()
        self.renewed = 0.0
        self.alone = False

    def look(self) -> tuple[list[str], dict[str, Any] | None]:
        """New lines about the job, and its last state if it has ended, or if nobody serves it."""
        self.renew()
        state = read(self.folder / f"{self.key}{STATE}")
        served = self.is_served()
        lines = []
        if not state and not served and time.monotonic() - self.started > PATIENCE:
            return [], {"outcome": "unserved", "message": NOBODY}
        if state and not state.get("ended") and not served and not self.alone:
            lines.append(f"Nobody looks after this job; it goes on. {START}")
        self.alone = not served
        words = str(state.get("state") or "waits for the submitter")
        if words != self.said:
            lines.append(f"{self.key}: {words}")
            self.said = words
        ended = bool(state.get("ended"))
        return lines + self.output(whole=ended), state if ended else None

    def renew(self) -> None:
        """Show that somebody waits for this job."""
        if time.monotonic() - self.renewed > RENEWAL or not self.renewed:
            with suppress(OSError):
                os.utime(self.folder / f"{self.key}{REQUEST}")
            self.renewed = time.monotonic()

    def is_served(self) -> bool:
        """Whether a submitter has shown that it runs."""
        try:
            return time.time() - (self.folder / SERVING).stat().st_mtime < SILENCE
        except OSError:
            return False

    def output(self, *, whole: bool) -> list[str]:
        """New lines of what the job has printed; the last one only if it is whole."""
        try:
            with (self.folder / f"{self.key}{LOG}").open("rb") as file:
                file.seek(self.offset)
                new = file.read()
        except OSError:
            return []
        if not whole:
            new = new[: new.rfind(b"\n") + 1]
        self.offset += len(new)
        return new.decode(errors="replace").splitlines()


def result_of(key: str, state: dict[str, Any]) -> dict[str, Any]:
    """What a task hands on about its job. Raises RuntimeError if the job did not succeed."""
    if state.get("outcome") != "succeeded":
        raise RuntimeError(str(state.get("message") or f"The job {key} has failed."))
    return {name: state.get(name) for name in ("cluster", "job", "id", "state", "status")}
