"""The words that call the container engine and Compose: Docker's, or Podman's if .env says so.

Docker's Compose works with Podman, too, by the socket that Podman answers as Docker does.
"""

from __future__ import annotations

import os
import re
import shutil
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ask import LOOK_LIMIT, capture, command, read_json, read_text
from .env_file import Settings

if TYPE_CHECKING:
    import subprocess

FOLDER = Path(__file__).resolve().parents[1]
ENGINE_KEY = "CONTAINER_ENGINE"  # of .env; an older .env has none, and means Docker
DOCKER, PODMAN = "docker", "podman"
STANDALONE = "docker-compose"


def engine_program() -> str:
    """The engine's program, docker or podman, as the shell or .env names it. It asks no engine.

    Raises:
        ProbeError: .env cannot be read.
    """
    return PODMAN if Settings(FOLDER).get(ENGINE_KEY) == PODMAN else DOCKER


# What engines are asked in their own words: the folder with all that they store, and the processor.
# A local Podman has no server in its version.
QUESTIONS = {
    DOCKER: {
        "folder": ("info", "--format", "{{.DockerRootDir}}"),
        "processor": ("version", "--format", "{{.Server.Arch}}"),
    },
    PODMAN: {
        "folder": ("info", "--format", "{{.Store.GraphRoot}}"),
        "processor": ("info", "--format", "{{.Host.Arch}}"),
    },
}


def question(about: str) -> list[str]:
    """The words of the command that asks the engine about its folder or its processor."""
    program = engine_program()
    return [program, *QUESTIONS[program][about]]


def engine_command(*words: str) -> list[str]:
    """The words of a command of the engine."""
    return [engine_program(), *words]


def ask_engine(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the engine to its end and keep what it says, as `ask.capture` does."""
    return capture(*engine_command(*words))


def compose(*words: str) -> list[str]:
    """The words of a Compose command."""
    plugin = compose_plugin()
    if engine_program() == PODMAN:
        return [plugin or STANDALONE, *words]
    if not plugin and has_only_standalone(os.environ.get("PATH", "")):
        return [STANDALONE, *words]
    return [DOCKER, "compose", *words]


@lru_cache(maxsize=None)
def has_only_standalone(_path: str) -> bool:
    """Whether Compose 2 is a command of its own, and Docker's command, asked itself, has none."""
    version = standalone_version()
    if not version or is_version_1(version):
        return False
    return command([DOCKER, "compose", "version"], LOOK_LIMIT).status != 0


def standalone_version() -> str:
    """The version of Compose as a command of its own, "" if there is none."""
    if not shutil.which(STANDALONE):
        return ""
    version = re.search(r"\d+\.\d+[^\s,]*", command([STANDALONE, "version"], LOOK_LIMIT).out)
    return version.group() if version else ""


def is_version_1(version: str) -> bool:
    """Whether a version is of the Compose that cannot read this project."""
    return version.startswith("1.")


def compose_plugin() -> str:
    """The program of Compose where Docker's command has it as a plugin, "" if there is none."""
    own = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    more: Any = read_json(read_text(own / "config.json")).get("cliPluginsExtraDirs")
    libraries = ("local/lib", "local/libexec", "lib", "libexec")
    usual = [own, *(Path("/usr", one, "docker") for one in libraries)]
    named = [Path(str(one)) for one in more] if isinstance(more, list) else []
    for folder in (*named, *(one / "cli-plugins" for one in usual)):
        program = folder / STANDALONE
        if os.access(str(program), os.X_OK):
            return str(program)
    return ""


def podman_socket() -> Path:
    """Where Podman of this user answers as Docker does."""
    user = os.getuid()
    own = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{user}"
    return Path(own if user else "/run", "podman", "podman.sock")


def podman_address() -> str:
    """Where Compose finds Podman: at its socket, if DOCKER_HOST does not name it already."""
    named = os.environ.get("DOCKER_HOST", "")
    return named if PODMAN in named else f"unix://{podman_socket()}"


def has_podman_socket() -> bool:
    """Whether there is a socket where Compose finds Podman; it may also be on another machine."""
    scheme, _, path = podman_address().partition("://")
    return scheme != "unix" or Path(path).is_socket()


def lead_compose() -> None:
    """Let Compose find Podman, where that is the engine."""
    if engine_program() == PODMAN:
        os.environ["DOCKER_HOST"] = podman_address()
