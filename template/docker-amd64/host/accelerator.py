"""What a project's accelerator adds to the facts and to .env: nothing, in a project for the CPU.

A project for GPUs has gpu_env.py as well, and its accelerator is `NvidiaGpus` in there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .facts import Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

# ruff: noqa: ARG002  the parameters are those of `NvidiaGpus`

KEYS = ("CPU_OR_GPU", "GPU_IDS", "CCA")  # a project with an accelerator has some of them in .env
# The override file for each kind of GPU access, the better one first. Every project knows them:
# an update can change the accelerator, and `update --undo` restores what the host had before.
OVERRIDE_FILES = {"cdi": "compose.cdi.yaml", "nvidia": "compose.nvidia.yaml"}
# How the path of an override file begins that is made for one call of template.sh alone.
OF_THIS_CALL = "/proc/"


@dataclass(frozen=True)
class Suggestion:
    """What an accelerator suggests for .env.

    `values` are those of its keys; of them, `followed` are taken over without a refresh.
    COMPOSE_FILE is to name the file `override`; "" is none, and None leaves it as it is.
    `decided` is recorded: a later value that differs from it is the user's own choice.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    followed: Mapping[str, str] = field(default_factory=dict)
    override: str | None = None
    decided: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What .env and its example say, for a suggestion.

    `example` has the keys of .env.example, `before` those of .env, `settings` the same with what
    was just chosen, `decided` the values recorded last time; `refresh` names keys to decide again.
    """

    example: Mapping[str, str]
    settings: Mapping[str, str]
    before: Mapping[str, str]
    decided: Mapping[str, str] = field(default_factory=dict)
    refresh: Collection[str] = ()


class Accelerator:
    """No accelerator: the project computes on the CPU."""

    chosen_keys: tuple[str, ...] = ()  # of .env, which other values depend on
    files: tuple[str, ...] = ()  # that `write_overrides` makes

    def sources(self) -> dict[str, Callable[[], Any]]:
        """More questions to this machine. Call it before any thread starts."""
        return {}

    def facts(self, answers: Mapping[str, Any]) -> Facts:
        """The facts, from the answers to all questions."""
        return Facts(**answers)

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        """More rows for the table of facts: a name and a value each."""
        return []

    def record(self, facts: Facts) -> dict[str, str]:
        """What a result depends on, for its record."""
        return {}

    def suggestion(self, facts: Facts, known: Known) -> Suggestion:
        """What .env is to say."""
        return Suggestion()

    def write_overrides(
        self, folder: Path, settings: Mapping[str, str], facts: Facts, owner: tuple[int, int] | None
    ) -> list[str]:
        """Write the override files beside .env, for the owner `owner`; return what went wrong."""
        return []

    def notes(self, facts: Facts, settings: Mapping[str, str], *, changed: bool) -> list[str]:
        """What containers get; if nothing `changed`, only why they get nothing."""
        return []

    def missing(self, facts: Facts, settings: Mapping[str, str]) -> tuple[str, str] | None:
        """Why containers cannot use the accelerator, and what helps; None if they can."""
        return None


def accelerator(example: Collection[str] = KEYS) -> Accelerator:
    """The accelerator of a project whose .env.example has these keys."""
    if not set(KEYS) & set(example):
        return Accelerator()
    try:
        from .gpu_env import NvidiaGpus  # noqa: PLC0415  not every project has this file
    except ModuleNotFoundError:
        return Accelerator()
    return NvidiaGpus()


def compose_files(settings: Mapping[str, str]) -> tuple[list[str], str]:
    """The files of COMPOSE_FILE, and what separates them."""
    separator = settings.get("COMPOSE_PATH_SEPARATOR") or ":"
    return [name for name in settings.get("COMPOSE_FILE", "").split(separator) if name], separator


def override_in(files: Iterable[str]) -> str:
    """The first override file of an accelerator among these Compose files, or an empty string."""
    names = (Path(file).name for file in files)
    return next((name for name in names if name in OVERRIDE_FILES.values()), "")
