"""Jobs: the containers of `run`; those of `run -d` are kept for their output.

The container of a job NAME is <COMPOSE_PROJECT_NAME>-NAME, so that two users of an engine may each
have a job of that name.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, NamedTuple

from .compose import check_engine, show, show_text
from .engine_words import ask_engine
from .failures import failed
from .place import LABEL
from .plain import columns
from .project import USAGE, StopError, me

if TYPE_CHECKING:
    from .project import Project

FIELDS = ("ID", "Names", "State", "Status", "Command")
ENTRYPOINT = re.compile(r"^((python -IS )?/opt/\S+ )+")  # what is in front of the command
NOTHING_CHANGED = "Nothing was changed."


class Job(NamedTuple):
    """The container of one command.

    Attributes:
        id: of the container.
        name: as the user says it.
        state: the engine's word, such as running or exited.
        status: the same with a time, such as: Exited (0) 2 minutes ago.
        command: what it runs.
    """

    id: str
    name: str
    state: str
    status: str
    command: str

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ("exited", "dead", "created")


def jobs(project: Project) -> list[Job]:
    """The jobs of the project, the oldest first."""
    name = project.settings.get("COMPOSE_PROJECT_NAME")
    of_compose = LABEL.rpartition(".")[0]
    labels = (f"{LABEL}={name}", f"{of_compose}.oneoff=True", f"{of_compose}.service=runtime")
    filters = [word for label in labels for word in ("--filter", f"label={label}")]
    form = "\t".join(f"{{{{.{field}}}}}" for field in FIELDS)
    asked = ask_engine("ps", "--all", "--no-trunc", *filters, "--format", form)
    if asked.returncode:
        check_engine(project)
    found: list[Job] = []
    for line in reversed(asked.stdout.splitlines()):
        number, names, state, status, command = line.split("\t", len(FIELDS) - 1)
        short = names[len(name) + 1 :] if names.startswith(f"{name}-") else names
        found.append(Job(number, short, state, status, ENTRYPOINT.sub("", command.strip('"'))))
    return found


def find_job(project: Project, name: str) -> Job:
    """The job of a name. Raises StopError if there is none."""
    every = jobs(project)
    for job in every:
        if job.name == name:
            return job
    names = ", ".join(job.name for job in every)
    cause = f"There is no job {name}. " + (
        f"There are: {names}." if names else "No job runs or is kept."
    )
    raise failed("job-missing", project, cause=cause)


def new_name(project: Project, wanted: str) -> str:
    """The name of a new job: the wanted one, or the next of job-1, job-2, ...

    A finished job of that name is removed.

    Raises:
        StopError: it cannot be a name, or a job of that name runs.
    """
    every = jobs(project)
    if not wanted:
        numbers = (re.fullmatch(r"job-(\d+)", job.name) for job in every)
        return f"job-{max((int(found.group(1)) for found in numbers if found), default=0) + 1}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", wanted) or wanted == "dev":
        raise StopError(
            f'A job cannot have the name "{wanted}": use letters, digits and _ . -, but not dev.',
            f"{me()} run --help",
            name=USAGE,
        )
    for job in every:
        if job.name == wanted and job.runs:
            raise failed("job-runs", project, job=wanted)
        if job.name == wanted:
            ask_engine("rm", job.id)
            show(f"Removed the finished job {wanted} and its output.")
    return wanted


def table(every: list[Job]) -> list[str]:
    """The jobs in lines under a heading; nothing without a job."""
    rows = [(one.name, one.status, one.command) for one in every]
    return columns([("JOB", "STATUS", "COMMAND"), *rows]) if rows else []


def remove_jobs(project: Project, verb: str, *, yes: bool) -> bool:
    """Stop and remove all jobs for `verb`, after a question if some run; False if it is denied.

    `compose down` leaves the containers of `compose run` as soon as there are others.

    Raises:
        StopError: there is no terminal to ask on, and no -y.
    """
    every = jobs(project)
    running = [job for job in every if job.runs]
    finished = [job.name for job in every if not job.runs]
    if running:
        show_text("\n".join(["Still running:", *(f"  {line}" for line in table(running))]))
        if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise failed("jobs-running", project, verb=verb)
        from .update import yes as ask  # noqa: PLC0415  only this question needs it

        if not yes and not ask("Stop and remove them?", default=False):
            show(NOTHING_CHANGED)
            return False
    if finished:
        show(f"Removing finished jobs and their output: {', '.join(finished)}")
    if running:
        ask_engine("stop", *(job.id for job in running))
    if every:
        ask_engine("rm", "--force", *(job.id for job in every))
    return True
