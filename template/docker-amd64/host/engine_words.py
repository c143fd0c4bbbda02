"""The words that call the container engine and Compose: Docker's, or Podman's if .env says so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .ask import capture
from .env_file import Settings

if TYPE_CHECKING:
    import subprocess

FOLDER = Path(__file__).resolve().parents[1]
ENGINE_KEY = "CONTAINER_ENGINE"  # of .env; an older .env has none, and means Docker
DOCKER, PODMAN = "docker", "podman"


def engine_program() -> str:
    """The engine's program, docker or podman, as the shell or .env names it. It asks no engine.

    Raises:
        ProbeError: .env cannot be read.
    """
    return PODMAN if Settings(FOLDER).get(ENGINE_KEY) == PODMAN else DOCKER


def engine_command(*words: str) -> list[str]:
    """The words of a command of the engine."""
    return [engine_program(), *words]


def ask_engine(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the engine to its end and keep what it says, as `ask.capture` does."""
    return capture(*engine_command(*words))


def compose(*words: str) -> list[str]:
    """The words of a Compose command."""
    return [DOCKER, "compose", *words]
