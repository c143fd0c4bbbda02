"""This machine, for the command: its GPUs and driver, its distribution, the project around it.

Everything is only read. Inside a Hearth project the project's own probe is asked, which sees more
than the few lines here; elsewhere `nvidia-smi`, and what the driver says under /proc.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from .hosts import ARCHITECTURES, BadInputError, Gpu, Host, from_probe, gpu, host

LIMIT = 20.0  # seconds; a driver that hangs would hang the command
ANSWERS = ".copier-answers.yml"
PROGRAM = Path("docker-amd64", "template.sh")
NOTHING = (
    "no NVIDIA GPU with a driver was found on this machine: name both, as in"
    " `hearth match 5090 --driver 570`"
)
HANGS = "it does not answer for"
_VERSION = re.compile(r"\b([0-9]{3,4}(?:\.[0-9]+){1,2})\b")


class Place(NamedTuple):
    """Where the command was started: what decides which remedies can be pasted.

    `project` is the way to a project's template.sh, "" outside one, and `answers` are its answers.
    `distribution` and `version` are ID and VERSION_ID of /etc/os-release, `like` its ID_LIKE.
    """

    project: str = ""
    answers: tuple[tuple[str, str], ...] = ()
    distribution: str = ""
    version: str = ""
    like: tuple[str, ...] = ()
    wsl: bool = False


def project_around(folder: Path) -> Path | None:
    """The Hearth project that a folder is in, or None."""
    for parent in (folder, *folder.parents):
        if (parent / ANSWERS).is_file() and (parent / PROGRAM).is_file():
            return parent
    return None


def answers_of(text: str) -> tuple[tuple[str, str], ...]:
    """The answers that are a plain value, from a .copier-answers.yml; PyYAML may not be there."""
    pairs = (line.partition(": ") for line in text.splitlines() if re.match(r"[a-z]\w*: ", line))
    return tuple((name, value.strip().strip("'\"")) for name, _, value in pairs)


def _text(file: Path) -> str:
    """The text of a file, "" where it cannot be read."""
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def os_release(text: str) -> dict[str, str]:
    """The keys of an /etc/os-release."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def _is_wsl(root: Path) -> bool:
    marks = (root / "proc/sys/fs/binfmt_misc/WSLInterop", root / "dev/dxg")
    return any(mark.exists() for mark in marks)


def place(folder: Path | None = None, root: Path = Path("/")) -> Place:
    """Where the command was started; what cannot be read stays empty.

    Args:
        folder: the working directory if not given.
        root: of the file system, for tests.
    """
    folder = folder or Path.cwd()
    found = project_around(folder)
    way = os.path.relpath(found / PROGRAM, folder) if found else ""
    keys = os_release(_text(root / "etc/os-release"))
    return Place(
        project=way if way.startswith("..") or not way else f"./{way}",
        answers=answers_of(_text(found / ANSWERS)) if found else (),
        distribution=keys.get("ID", ""),
        version=keys.get("VERSION_ID", ""),
        like=tuple(keys.get("ID_LIKE", "").split()),
        wsl=_is_wsl(root),
    )


def _output(*words: str, folder: Path | None = None) -> tuple[str, str]:
    """Standard output of a program, "" where it failed, and the last line that it said."""
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"{HANGS} {LIMIT:.0f} seconds: the driver may hang; restart the machine"
    except OSError as error:
        return "", str(error)
    said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return (done.stdout if done.returncode == 0 else ""), (said[0] if said else "")


def _by_project(folder: Path) -> Host | None:
    """What the probe of the project around a folder finds."""
    project = project_around(folder)
    if project is None:
        return None
    text, _ = _output("sh", str(PROGRAM), "env", "--json", folder=project)
    try:
        return from_probe(json.loads(text))
    except (ValueError, BadInputError):  # a probe of another version; the next way may do
        return None


def _rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]


def _by_nvidia_smi(root: Path) -> tuple[Host | None, str]:
    """What nvidia-smi says, or its error. Drivers before 510 do not know compute_cap."""
    program = shutil.which("nvidia-smi") or shutil.which("/usr/lib/wsl/lib/nvidia-smi")
    if program is None:
        return None, ""
    error = ""
    for fields in ("driver_version,name,compute_cap", "driver_version,name"):
        text, error = _output(program, f"--query-gpu={fields}", "--format=csv,noheader")
        rows = [row for row in _rows(text) if len(row) == len(fields.split(","))]
        if rows:
            gpus = [gpu(row[1], row[2] if row[2:] and "." in row[2] else None) for row in rows]
            return _host(rows[0][0], gpus, root), ""
        if error.startswith(HANGS):
            break
    return None, error


def _by_proc(root: Path) -> Host | None:
    """What the kernel module says under /proc; it names GPUs, without compute capability."""
    folder = root / "proc/driver/nvidia"
    try:
        version = _VERSION.search((folder / "version").read_text("utf-8", "replace"))
        texts = [file.read_text("utf-8", "replace") for file in folder.glob("gpus/*/information")]
    except OSError:
        return None
    models = [
        line.partition(":")[2].strip()
        for text in texts
        for line in text.splitlines()
        if line.startswith("Model:")
    ]
    gpus = [gpu(name) for name in models]
    return _host(version[1], gpus, root) if version and gpus else None


def _host(driver: str, gpus: list[Gpu], root: Path) -> Host:
    """A machine with what the system says of it: its processor, kernel modules, toolkit, WSL."""
    arch = platform.machine().lower()
    found = host(driver, gpus, arch if arch in ARCHITECTURES else None)
    version = _text(root / "proc/driver/nvidia/version")
    if version:
        module = "open" if "Open Kernel Module" in version else "proprietary"
        found = found._replace(module=module)
    toolkit = re.search(r"version ([0-9]+(?:\.[0-9]+)+)", _output("nvidia-ctk", "--version")[0])
    if toolkit:  # how containers get GPUs is the engine's affair: a CDI file alone decides nothing
        found = found._replace(toolkit=toolkit[1])
    return found._replace(driver_type="wsl") if _is_wsl(root) else found


def this_machine(folder: Path | None = None, root: Path = Path("/")) -> Host:
    """The machine that the command runs on.

    Args:
        folder: the working directory if not given.
        root: of the file system, for tests.

    Raises:
        BadInputError: no NVIDIA GPU with a driver was found.
    """
    found = _by_project(folder or Path.cwd())
    if found:
        return found
    found, error = _by_nvidia_smi(root)
    found = found or _by_proc(root)
    if found:
        return found
    if not error:
        raise BadInputError(NOTHING)
    raise BadInputError(
        f"nvidia-smi found no GPU ({error.rstrip('.')}): name GPU and driver, as in"
        " `hearth match 5090 --driver 570`, or mend the driver"
    )
