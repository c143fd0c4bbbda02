"""Airflow's workers of workspaces: a container for each workspace that has workflows.

A worker runs in the Compose project of its workspace, as -W NAME does, so it has that code and home
at the places where the project's worker has the project's. It takes the tasks of the queue NAME.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Iterator

from .airflow_results import PAGE, tell_worker, worker_of
from .compose import call, container_of, show, show_text, with_stdin
from .engine_words import ask_engine, compose, engine_command
from .guard import cover_text
from .images import refresh_images
from .project import StopError, code_folder, me
from .work import NO_ORPHANS
from .workspaces import FOLDER, NAME, build_workspace

if TYPE_CHECKING:
    from .project import Project

OVERRIDE_FILE = "compose.airflow-workspace.yaml"
SERVICE = "airflow-worker"
HAVE_WORKFLOWS = ("dags", "loaders")  # folders of a workspace
TAKEN = ("project", "files")  # the project's queue, and the folder of what dropped files make
LABEL, LABEL_NAME = "hearth.airflow", "hearth.workspace"  # of the containers
HEALTHY = "(healthy)"  # in the status of such a container
SHORT = 12  # digits of a container's number that people type
START_LIMIT, STEP = 120.0, 1.0  # seconds until all are healthy, and between two questions


def start_workers(project: Project) -> list[str]:
    """Build and start a worker for each workspace with workflows; the names of those without one.

    A workspace that fails stops no other, and one that starts slowly is named.
    """
    names = workspaces_with_workflows(project)
    running = workers(project)
    stop([number for number, name in running if name not in names])
    page = container_of(project, PAGE)
    failing = [name for name in names if not start_worker(project, name, page)]
    for number, name in not_healthy(project):
        log = " ".join(engine_command("logs", number[:SHORT]))
        show(f"The worker of the workspace {name} does not answer yet. For its log, run: {log}")
    return failing


def not_healthy(project: Project) -> list[tuple[str, str]]:
    """The workers that do not work after some time; usually none, as soon as all of them do."""
    deadline = time.monotonic() + START_LIMIT
    while True:
        found = [one for one in workers(project) if HEALTHY not in health_of(one[0])]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(STEP)


def health_of(number: str) -> str:
    """What the engine says of a container, such as: Up 5 minutes (healthy)."""
    words = ("ps", "--all", "--filter", f"id={number}", "--format", "{{.Status}}")
    return ask_engine(*words).stdout.strip()


def start_worker(project: Project, name: str, page: str) -> bool:
    """Build and start the worker of a workspace; say why it has none, and return False.

    `page` is the container of the api-server, which is told about the worker.
    """
    try:
        with workspace_worker(project, name):
            refresh_images(project, {"airflow-init": "airflow"})
            up = ("up", "--detach", "--no-build", "--no-deps", SERVICE)
            # compose.guard.yaml is about the code folder of the project.
            cover = cover_text(project, Path(os.environ["AIRFLOW_CODE"]), SERVICE)
            env = {**NO_ORPHANS, **(with_stdin(project) if cover else {})}
            tell_worker(page, name, None)
            call(project, compose("--progress", "quiet", *up), stdin=cover or None, env=env)
        tell_worker(page, name, worker_of(project, name))
    except StopError as error:
        show_text(str(error).strip())
        show(
            f"The workspace {name} has no new worker: its tasks wait until its image is built. "
            f"Run: {me()} build -W {quote(name)} && {me()} airflow up"
        )
        return False
    return True


def stop_workers(project: Project) -> None:
    """Stop the workers of all workspaces; tasks that run have the time that containers get."""
    stop([number for number, _ in workers(project)])


def workspaces_with_workflows(project: Project) -> list[str]:
    """The names of the workspaces that need a worker; says which cannot have one."""
    found = []
    every = project.root / FOLDER
    for folder in sorted(every.iterdir()) if every.is_dir() else ():
        if not any((folder / name).is_dir() for name in HAVE_WORKFLOWS):
            continue
        if folder.is_symlink():
            show(f"{FOLDER}/{folder.name} is a link: Airflow finds workflows in folders only.")
        elif folder.name in TAKEN or not NAME.fullmatch(folder.name):
            show(
                f"{FOLDER}/{folder.name} has no worker: rename it, as Airflow cannot use the name."
            )
        else:
            found.append(folder.name)
    return found


def workers(project: Project) -> list[tuple[str, str]]:
    """The containers of the workers, with the names of their workspaces."""
    label = f"{LABEL}={project.settings.get('COMPOSE_PROJECT_NAME')}"
    form = f'{{{{.ID}}}} {{{{.Label "{LABEL_NAME}"}}}}'
    words = ("ps", "--all", "--no-trunc", f"--filter=label={label}", "--format", form)
    lines = (line.partition(" ") for line in ask_engine(*words).stdout.splitlines())
    return [(number, name) for number, _, name in lines]


def stop(containers: list[str]) -> None:
    """Stop and remove containers."""
    if containers:
        ask_engine("stop", *containers)
        ask_engine("rm", "--force", *containers)


@contextmanager
def workspace_worker(project: Project, name: str) -> Iterator[None]:
    """Build the image of a workspace, and let all that follows be about the worker on it.

    Raises:
        StopError: the image cannot be built.
    """
    before = {**os.environ}
    of_project, code = project.settings.get("COMPOSE_PROJECT_NAME"), code_folder(project)
    try:
        build_workspace(project, name, quiet=True)
        separator = project.settings.get("COMPOSE_PATH_SEPARATOR") or ":"
        files = [*project.settings.files(), OVERRIDE_FILE]
        os.environ["COMPOSE_FILE"] = separator.join(files)
        os.environ["AIRFLOW_OF"] = of_project
        os.environ["AIRFLOW_CODE"] = str(code)
        os.environ["AIRFLOW_QUEUE"] = name
        project.forget_settings()
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        project.workspace = ""
        project.forget_settings()
