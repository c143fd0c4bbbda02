"""The schedulers of this project, by their names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .job import Scheduler


def scheduler(name: str) -> Scheduler:
    """The scheduler of a name, one of the project's clusters."""
    found: Scheduler = import_module(f".{name}", __package__).SCHEDULER
    return found
