"""The pictures of terminals: commands that really run, on machines that are described."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from copier import run_copy

from tests.fakes.machine import environment
from tests.support.process import run
from tests.support.project import Project
from tests.support.terminal import Step, Terminal

ROOT = Path(__file__).parents[2]
DOWN, ENTER, CLEAR = "\x1b[B", "\r", "\x15"
# The address of the README; Git takes the clone at hand in its place.
ADDRESS = "https://github.com/org/hearth.git"
HOST = "broken/driver-of-2023.json"


def questions(template: Path, folder: Path) -> Terminal:
    """The questions, up to the one that greys what the chosen PyTorch has no wheel for."""
    terminal = Terminal()
    empty = folder / "empty"
    empty.mkdir()
    terminal.run(
        "uvx --with nvidia-ml-py copier copy --trust gh:org/hearth vision",
        [sys.executable, "-m", "copier", "copy", "--trust", "gh:org/hearth", "vision"],
        cwd=empty,
        env=_copier_environment(template, folder),
        steps=[
            Step("Name of the project?", CLEAR + "vision" + ENTER),
            Step("existing: my code", ENTER),
            Step("Name of the Python package", ENTER),
            # Not the default, for which it depends on the machine what the next question proposes.
            Step("hub: PyTorch's own image", DOWN + ENTER),
            Step("cpu: no GPU", ENTER),
            Step("conda: conda-forge's", ENTER),
            Step("none: I bring my own framework", ENTER),
            Step("source: ", ENTER),
        ],
        until="Which CUDA",
    )
    return terminal


def match(template: Path, folder: Path) -> Terminal:
    """What works with a GPU and a driver, without a project."""
    del template
    terminal = Terminal()
    terminal.run(
        "hearth match 5090 --driver 570",
        [sys.executable, "-m", "hooks.match", "5090", "--driver", "570"],
        cwd=folder,
        env=_plain_environment() | {"PYTHONPATH": str(ROOT)},
    )
    return terminal


def doctor(template: Path, folder: Path) -> Terminal:
    """What the doctor finds on another machine, from the file that describes it."""
    project = _project(template, folder)
    shutil.copy(ROOT / "tests/fakes/hosts" / HOST, project / "server.json")
    terminal = Terminal()
    terminal.run(
        "./docker-amd64/template.sh doctor --host server.json",
        ["./docker-amd64/template.sh", "doctor", "--host", "server.json"],
        cwd=project,
        env=_plain_environment(),
        status=2,
    )
    return terminal


def gpus(template: Path, folder: Path) -> Terminal:
    """The GPUs of a machine, with their load, and those of .env."""
    project = _project(template, folder)
    machine = environment(folder / "bin", smi="mixed", engine="nvidia")
    machine["PATH"] += f":{os.environ['PATH']}"
    filled = run("./docker-amd64/template.sh", "env", cwd=project, env=machine)
    if filled.returncode:
        raise RuntimeError(filled.stdout + filled.stderr)
    terminal = Terminal()
    terminal.run(
        "./docker-amd64/template.sh gpus",
        ["./docker-amd64/template.sh", "gpus"],
        cwd=project,
        env=machine,
    )
    return terminal


def build(made: Project) -> Terminal:
    """A first build of dev, as its user sees it."""
    terminal = Terminal(columns=100)
    command = ["./docker-amd64/template.sh", "build", "dev"]
    terminal.run(
        " ".join(command),
        [*made.owner.prefix(), *command],
        cwd=made.folder,
        env=made.owner.environment(),
        timeout=1800,
    )
    return terminal


def _plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "NO_COLOR"}


def _copier_environment(template: Path, folder: Path) -> Mapping[str, str]:
    """An environment without personal settings, in which the address of the README is a clone."""
    settings = folder / "settings.yml"
    settings.write_text("{}\n")
    return _plain_environment() | {
        "COPIER_SETTINGS_PATH": str(settings),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{template}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
    }


def _project(template: Path, folder: Path) -> Path:
    """A project for GPUs, of default answers; scenes of one folder share it."""
    project = folder / "vision"
    if project.exists():
        return project
    run_copy(
        str(template),
        project,
        data={"accelerator": "cuda"},
        vcs_ref="HEAD",
        defaults=True,
        quiet=True,
        skip_tasks=True,
    )
    return project


# Those that need no engine.
SCENES = {"questions": questions, "match": match, "doctor": doctor, "gpus": gpus}
