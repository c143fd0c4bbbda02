"""What the program knows of its project: project.json, rendered from the answers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .env_file import ProbeError, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRIPT = "./docker-amd64/template.sh"
# Override files that COMPOSE_FILE names where they are used: what `pin` writes, and certificates.
PINS_FILE = "compose.pins.yaml"
CA_FILE = "compose.ca.yaml"


def me() -> str:
    """This project's script, as the user called it."""
    return os.environ.get("TEMPLATE_SH") or SCRIPT


def called_from() -> Path:
    """The folder of the user's shell: template.sh has left it for docker-amd64."""
    return Path(os.environ.get("CALLED_FROM") or ".")


class StopError(ProbeError):
    """Why a verb cannot go on: one sentence, the command that helps, and the exit status."""

    def __init__(self, sentence: str, command: str = "", *, name: str = "", status: int = 1):
        """Take the sentence and the command; `name` is the failure's id in failures.py."""
        shown = f" (failure: {name})" if name and name != "usage" else ""
        super().__init__(f"\n{sentence}{shown}" + (f"\n  Run: {command}" if command else ""))
        self.name, self.sentence, self.command, self.status = name, sentence, command, status


class Distribution(NamedTuple):
    """The Linux of the images: its name, its last day of security updates, whose answer it is."""

    name: str
    maintained_until: str  # YYYY-MM-DD
    answer: str


class Project:
    """A generated project.

    Attributes:
        folder: docker-amd64.
        name: of the project and its images.
        service: simple, train, devel, ngc or hub.
        package_manager: pip or conda.
        accelerator: cuda or cpu.
        torch: the version of PyTorch, "" for none.
        torch_family: the versions of PyTorch, torchvision and torchaudio that the answers decide.
        base_has_torch: whether the base image brings Python and PyTorch.
        compiles_torch: whether PyTorch is compiled.
        package: the Python package of a new project, "" in existing code.
        answers_file: relative to the project's root.
        extras: what else was chosen; with ci, `ci_host` is github or gitlab.
        base_images: the images of the Dockerfile by the build argument that replaces them.
        distribution: None where the base image's own is not known.
        builds: the services of compose.yaml that are built.
    """

    def __init__(self, folder: Path, data: Mapping[str, Any]):
        """Take docker-amd64 and the content of project.json."""
        self.folder = folder
        self.name: str = data["name"]
        self.service: str = data["service"]
        self.package_manager: str = data["package_manager"]
        self.accelerator: str = data["accelerator"]
        self.torch: str = data["torch"]
        self.torch_family: dict[str, str] = data["torch_family"]
        self.base_has_torch: bool = data["base_has_torch"]
        self.compiles_torch: bool = data["compiles_torch"]
        self.package: str = data["package"]
        self.answers_file: str = data["answers_file"]
        self.extras: tuple[str, ...] = tuple(data["extras"])
        self.ci_host: str = data.get("ci_host", "")
        self.base_images: dict[str, str] = data["base_images"]
        found = data.get("distribution")
        self.distribution: Distribution | None = Distribution(**found) if found else None
        self.builds: tuple[str, ...] = tuple(data["builds"])
        self._settings: Settings | None = None
        self.bases_are_pinned = False  # by this call of template.sh

    @property
    def root(self) -> Path:
        """The folder around docker-amd64."""
        return self.folder.parent

    @property
    def settings(self) -> Settings:
        """The values of .env and of the shell, as Compose reads them."""
        if self._settings is None:
            self._settings = Settings(self.folder)
        return self._settings

    def forget_settings(self) -> None:
        """Read .env again at the next use: it was changed."""
        self._settings = None

    def image(self, target: str) -> str:
        """The name of an image of this project, such as demo-jane-1a2b3c:simple-dev."""
        return f"{self.settings.get('COMPOSE_PROJECT_NAME')}:{self.service}-{target}"


def read_project(folder: Path) -> Project:
    """The project of docker-amd64.

    Raises:
        ProbeError: project.json is missing or has conflicts.
    """
    file = folder / "host" / "project.json"
    try:
        return Project(folder, json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, KeyError) as error:
        raise StopError(
            f"{file} cannot be read ({error or type(error).__name__}): it is rendered by the "
            "template, and git has it.",
            f"git checkout HEAD -- {file}",
        ) from error
