"""airflow submitter: what tasks of Airflow ask for is given to clusters, until Ctrl-C.

It calls what `submit`, `jobs`, `logs` and `cancel` call. Tasks write requests into .airflow/jobs.
Any program in their container can write there, so nothing in that folder is trusted: only the job
of a request's own name is touched.

A job has the name of its request, and the folder of a job is made before it is handed over. So what
was submitted is known after any end of this program, and no request is submitted twice.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Iterator, NamedTuple

from .airflow_jobs_folder import Shared, alone, make_jobs_folder
from .airflow_requests import checked, is_key, options_of
from .ask import kill_group, read_json
from .clusters.jobs import (
    ENDED,
    UNKNOWN,
    do_cancel,
    has_ended,
    jobs_folder,
    read_record,
    states,
)
from .clusters.request import cluster_of
from .clusters.submit import ENDING, do_submit, handling
from .compose import end_by_signal, show
from .env_file import ProbeError
from .project import StopError, me

if TYPE_CHECKING:
    from .clusters.job import Record
    from .project import Project

SERVING = "serving"
REQUEST, CANCEL, STATE, LOG = ".request.json", ".cancel", ".state.json", ".log"
PAUSE = 2.0  # seconds between two looks at the folder
SIGN = 30.0  # seconds between two signs of life, of which a task misses some before it says so
LOOK = 10.0  # seconds between two questions to the schedulers
LOOKS = 3  # at which a scheduler does not know a job: a new one may not be listed yet
LEASE = 600.0  # seconds after the last sign that somebody waits for a job
KEPT = 30 * 86400.0  # seconds that files are kept which no task has removed
HEAD, TAIL = 1 << 20, 1 << 16  # bytes of a job's output that its task shows
PATIENCE = 60.0  # seconds for the output of a job
MOST = 100  # jobs at a time
SUCCESS = ("complete", "succeeded")  # how a scheduler's words for it begin
STATUS = re.compile(r"\bstatus (\d{1,3})\b")


# ---------------------------------------------------------------------------------------- the jobs


class Submitter:
    """What is done again and again."""

    def __init__(self, project: Project, shared: Shared) -> None:
        """Start; what happened before is in the folders of jobs."""
        self.project, self.shared = project, shared
        self.looked = -LOOK
        self.cancelled: set[str] = set()
        self.harmed: set[str] = set()
        self.missed: Counter[str] = Counter()

    def step(self) -> None:
        """Look at all requests once, and now and then at the jobs."""
        with self.unharmed(SERVING):
            self.shared.write(SERVING, b"")
        names = self.shared.names()
        keys = [name[: -len(REQUEST)] for name in names if name.endswith(REQUEST)]
        live: dict[str, Record] = {}
        for key in filter(is_key, keys):
            with self.unharmed(key):
                record = None
                if not self.state(key).get("ended"):
                    record = self.job(key, room=len(live) < MOST)
                if record:
                    live[key] = record
                    self.end_if_wanted(key, record)
        if time.monotonic() - self.looked >= LOOK or not live.keys() <= self.missed.keys():
            self.look(live)
            self.looked = time.monotonic()
            self.clean(names, live)

    @contextmanager
    def unharmed(self, name: str) -> Iterator[None]:
        """Go on with the other requests if one cannot be read or answered; say so once."""
        try:
            yield
        except OSError as error:
            if name not in self.harmed:
                show(f"{name}: {sentence(error)}")
            self.harmed.add(name)

    def state(self, key: str) -> dict[str, Any]:
        """What was written about a request."""
        try:
            return read_json(self.shared.read(f"{key}{STATE}").decode())
        except (OSError, UnicodeDecodeError):
            return {}

    def tell(self, key: str, state: str, **more: Any) -> None:
        """Write what has become of a request, if it is new."""
        said = {"job": key, "state": state, **more}
        if said != self.state(key):
            self.shared.write(f"{key}{STATE}", json.dumps(said, indent=1).encode())
            show(f"{key}: {said.get('message') or state}")

    def end(self, key: str, outcome: str, message: str, **more: Any) -> None:
        """Write that no more happens to a request."""
        state = more.pop("state", outcome)
        self.tell(key, state, ended=True, outcome=outcome, message=message, **more)

    def job(self, key: str, *, room: bool) -> Record | None:
        """The job of a request, which is submitted if it was not yet; None if there is none."""
        try:
            request = checked(self.shared.read(f"{key}{REQUEST}"))
            cluster = cluster_of(self.project, request.get("on"))
        except FileNotFoundError:  # its task was ended just now
            return None
        except (OSError, StopError) as error:
            self.end(key, "refused", f"The request was refused. {sentence(error)}")
            return None
        folder = jobs_folder(self.project, cluster) / key
        record = read_record(folder)
        if record:
            return record
        age = self.shared.age(f"{key}{REQUEST}")
        if os.path.lexists(str(folder)):
            self.end(
                key,
                "unknown",
                f"It is not known whether {cluster} has the job {key}: the submitter was killed "
                "while it handed the job over. Look into the queue, then clear the task.",
            )
        elif self.shared.age(f"{key}{CANCEL}") is not None:
            self.end(key, "cancelled", f"The job {key} was cancelled before it was submitted.")
        elif age is None or age > LEASE:
            self.end(key, "refused", "No task waits for this request any more.")
        elif not room:
            self.tell(key, f"waits, because {MOST} jobs are not done yet")
        else:
            return self.submit(key, request, cluster)
        return None

    def submit(self, key: str, request: dict[str, Any], cluster: str) -> Record | None:
        """Hand a job over; None, with the reason for its task, if that fails."""
        self.tell(key, f"is being submitted to {cluster}")
        self.project.forget_settings()  # site.toml and .env may have changed
        try:
            do_submit(self.project, options_of(request, key, cluster))
        except (ProbeError, OSError, ValueError) as error:
            self.end(key, "refused", f"The job {key} was not submitted. {sentence(error)}")
            return None
        record = read_record(jobs_folder(self.project, cluster) / key)
        if record:
            self.tell(key, "was submitted", cluster=cluster, id=record.id)
        return record

    def end_if_wanted(self, key: str, record: Record) -> None:
        """Cancel a job if its task wants that."""
        if key in self.cancelled or self.shared.age(f"{key}{CANCEL}") is None:
            return
        try:
            do_cancel(self.project, Namespace(job=record.name, on=record.cluster))
        except (ProbeError, OSError) as error:
            show(f"{key} cannot be cancelled, and will be tried again. {sentence(error)}")
            return
        self.cancelled.add(key)

    def look(self, live: dict[str, Record]) -> None:
        """Ask the schedulers, and write what the jobs do and have printed."""
        found, _ = states(self.project, tuple(live.values()))
        for key, record in live.items():
            words = found[record.folder]
            self.missed[key] = self.missed[key] + 1 if words == ENDED else 0
            if words == UNKNOWN or 0 < self.missed[key] < LOOKS:
                continue
            with self.unharmed(key):
                self.report(key, record, words)

    def report(self, key: str, record: Record, words: str) -> None:
        """Write what a job has printed, and its state."""
        ended = has_ended(words)
        if ended or words.lower().startswith("running"):
            self.take_output(key, record, ended=ended)
        more: dict[str, Any] = {"cluster": record.cluster, "id": record.id}
        if not ended:
            self.tell(key, words, **more)
            return
        outcome = outcome_of(words, cancelled=key in self.cancelled)
        more.update(state=words, status=status_of(words, outcome))
        self.end(key, outcome, message_of(record, words, outcome), **more)

    def take_output(self, key: str, record: Record, *, ended: bool) -> None:
        """Write what a job has printed."""
        try:
            before = self.shared.read(f"{key}{LOG}", 4 * (HEAD + TAIL))
        except OSError:
            before = b""
        if len(before) >= HEAD and not ended:
            return
        more = f"{me()} logs {key}"
        now = grown(before, output_of(self.project, record), more, ended=ended)
        if now != before:
            self.shared.write(f"{key}{LOG}", now)

    def clean(self, names: list[str], live: dict[str, Record]) -> None:
        """Remove what no task has removed for a long time, but not what a job needs."""
        for name in names:
            if name.partition(".")[0] not in live and (self.shared.age(name) or 0) > KEPT:
                self.shared.remove(name)


def sentence(error: Exception) -> str:
    """An error in one line, with the command that helps."""
    return " ".join(str(error).split()) or type(error).__name__


def outcome_of(words: str, *, cancelled: bool) -> str:
    """What a scheduler's last words about a job mean."""
    if words.lower().startswith(SUCCESS):
        return "succeeded"
    if cancelled or words.lower().startswith(("cancel", "deleted", "stopped")):
        return "cancelled"
    return "unknown" if words == ENDED else "failed"


def status_of(words: str, outcome: str) -> int | None:
    """The exit status of a job; None if its scheduler does not say it."""
    found = STATUS.search(words)
    return int(found.group(1)) if found else 0 if outcome == "succeeded" else None


def message_of(record: Record, words: str, outcome: str) -> str:
    """A sentence about the end of a job."""
    name = f"The job {record.name} ({record.id} of {record.cluster})"
    if outcome == "unknown":
        return f"{name} is no longer known there, so nobody knows whether it succeeded."
    verb = {"succeeded": "has succeeded", "cancelled": "was cancelled"}.get(outcome, "has failed")
    return f"{name} {verb}: {words}."


# ------------------------------------------------------------------------------------- their output


class Output(NamedTuple):
    """The start and the end of what a program printed, and how many bytes it was."""

    head: bytes
    tail: bytes
    size: int


def logs_command(record: Record) -> list[str]:
    """The call of `logs` for a job: it has its own stdout, and can be ended."""
    return [sys.executable, "-B", "-m", "host", "logs", "--on", record.cluster, record.name]


def output_of(project: Project, record: Record) -> Output:
    """What a job has printed until now, as far as its scheduler says it in time."""
    head, tail, size = bytearray(), b"", 0
    process = subprocess.Popen(
        logs_command(record),
        cwd=str(project.folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE
    try:
        while (
            process.stdout
            and select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]
        ):
            data = os.read(process.stdout.fileno(), TAIL)
            if not data:
                break
            size += len(data)
            head += data[: HEAD - len(head)]
            tail = (tail + data)[-TAIL:]
    finally:
        kill_group(process.pid)
        process.wait()
        if process.stdout:
            process.stdout.close()
    return Output(bytes(head), tail, size)


def grown(before: bytes, now: Output, more: str, *, ended: bool) -> bytes:
    """The output of a job as its task has it: only ever longer, so that each line is shown once."""
    text = now.head
    if ended and now.size > HEAD:
        rest = min(now.size - HEAD, TAIL)
        left = now.size - HEAD - rest
        note = f"\n... {left} bytes are left out; {more} has all of it ...\n" if left else ""
        text += note.encode() + now.tail[-rest:]
    if text.startswith(before):
        return text
    if not ended:
        return before
    return before + b"\n(All of the output, which is not what it was before:)\n" + text


# ----------------------------------------------------------------------------------------- the verb


@contextmanager
def serving(shared: Shared) -> Iterator[None]:
    """Show tasks that somebody serves them, also while a step waits for a cluster or a registry."""
    ended = threading.Event()

    def show_life() -> None:
        while not ended.wait(SIGN):
            with suppress(OSError):  # a step says it
                shared.write(SERVING, b"")

    thread = threading.Thread(target=show_life, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        shared.remove(SERVING)


def serve(project: Project) -> int:
    """Give requests to clusters until Ctrl-C; jobs go on without it. Raises StopError."""
    make_jobs_folder(project)
    with alone(project), handling(end_by_signal, *ENDING):
        shared = Shared(project)  # only now can nobody remove it
        submitter = Submitter(project, shared)
        where = ", ".join(project.clusters)
        show(f"Tasks of Airflow can submit jobs to {where} while this runs. Ctrl-C ends it.")
        try:
            with serving(shared):
                while True:
                    submitter.step()
                    time.sleep(PAUSE)
        except KeyboardInterrupt:
            show(f"Nobody submits jobs of Airflow now. Run: {me()} airflow submitter")
            return 130
