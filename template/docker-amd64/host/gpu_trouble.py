"""What the health check of GPUs has found in the containers of this project, in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .compose import show_text
from .engine_words import ask_engine
from .failures import explain
from .place import KEY as NAME_KEY
from .place import LABEL

if TYPE_CHECKING:
    from .project import Project

LOST = range(81, 86)  # exit statuses of image/gpu_watchdog.py


def show_trouble(project: Project, *, job: str = "") -> None:
    """Show why containers are unhealthy or were ended, with the command that helps.

    Args:
        project: the project.
        job: the id of a container; "" for all running ones of the project.
    """
    label = f"label={LABEL}={project.settings.get(NAME_KEY)}"
    words = ["--filter", "health=unhealthy", "--filter", label, "--no-trunc"]
    words += ["--filter", f"id={job}"] if job else []
    for number in ask_engine("ps", "--quiet", *words).stdout.split():
        said = last_words(number)
        stop = explain(project, said)
        if stop:
            show_text(str(stop))
    if job:
        status = ask_engine("inspect", "--format", "{{.State.ExitCode}}", job).stdout.strip()
        if status.isdigit() and int(status) in LOST:
            show_text(str(explain(project, "", status=int(status))))


def last_words(container: str) -> str:
    """What the health check of a container said last; "" if it said nothing."""
    form = "{{json .State.Health}}"
    said = ask_engine("inspect", "--format", form, container).stdout
    try:
        log = json.loads(said)["Log"]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(log[-1].get("Output", "")) if log else ""
