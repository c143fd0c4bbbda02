"""What Compose says on stderr after template.sh has become it: handed on, and explained."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.program import PACKAGE, PROJECT, put_program

PROGRAM = """\
import json, os, sys
from pathlib import Path
from functools import partial
from host.gpu_start import start_refused
from host.project import Project
from host.stderr_watch import watch_stderr
watch_stderr(partial(start_refused, Project(Path(sys.argv[1]), json.loads(sys.argv[2]))))
os.execv("/bin/sh", ["sh", "-c", sys.argv[3]])
"""
FULL = "Error response from daemon: all predefined address pools have been fully subnetted"
NO_GPU = 'could not select device driver "nvidia" with capabilities: [[gpu]]'


def start(folder: Path, script: str) -> subprocess.Popen[bytes]:
    """A process that has become a script in the place of Compose; no engine is on its PATH."""
    return subprocess.Popen(
        [sys.executable, "-B", "-c", PROGRAM, str(folder), json.dumps(PROJECT), script],
        env={**os.environ, "PATH": "/nowhere", "PYTHONPATH": str(PACKAGE.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    ("said", "files", "name"),
    [
        (FULL, "", "address-pools"),
        (f"failed to create network x_default: {FULL}", "", "address-pools"),
        (f"Error response from daemon: {NO_GPU}", ":compose.nvidia.yaml", "gpu-runtime-missing"),
        (f"RuntimeError: {FULL}", "", ""),  # of a program in the container
        ("OSError: [Errno 28] No space left on device", "", ""),
        ("", "", ""),
    ],
)
def test_why_the_engine_starts_nothing_is_the_last_thing_said(
    tmp_path: Path, said: str, files: str, name: str
) -> None:
    (tmp_path / ".env").write_text(f"COMPOSE_FILE=compose.yaml{files}\n")
    process = start(tmp_path, f"printf %s '{said}\n' >&2; exit 7")
    _, shown = process.communicate(timeout=240)
    assert process.returncode == 7
    first, _, rest = shown.decode().partition("\n")
    assert first == said
    assert (f"(failure: {name})" in rest) == bool(name)
    assert bool(rest) == bool(name)


STOPPED = "Error response from daemon: container 39edad9df449 is not running"
# A docker command whose dev container ends between the question whether it runs and the command.
LATE = f"""#!/bin/sh
case $* in
    "ps "*) echo 39edad9df449 ;;
    "compose exec dev bash") echo "{STOPPED}" >&2; exit 1 ;;
    "compose exec "*) echo "$* says it"; echo own >&2; exit 7 ;;
esac
"""


@pytest.mark.parametrize(
    ("words", "status", "name"),
    [
        (("shell",), 1, "container-not-running"),
        (("exec", "make"), 7, ""),
    ],
    ids=["refused", "works"],
)
def test_a_command_in_the_dev_container_that_is_refused_is_explained(
    tmp_path: Path, words: tuple[str, ...], status: int, name: str
) -> None:
    folder = put_program(tmp_path / "docker-amd64")
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME=demo\nUSRID=0\nGRPID=0\n")
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(LATE)
    docker.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-B", "-m", "host", *words],
        cwd=folder,
        env={"PATH": f"{docker.parent}:/usr/bin:/bin", "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert (f"(failure: {name})" in done.stderr) == bool(name), done.stderr
    assert (STOPPED in done.stderr) == bool(name)
    assert ("dev make says it" in done.stdout, "own\n" in done.stderr) == (not name, not name)


def test_a_progress_bar_is_shown_before_its_line_ends(tmp_path: Path) -> None:
    (tmp_path / ".env").touch()
    process = start(tmp_path, "printf '50 %%\\r' >&2; exec /bin/sleep 60")
    try:
        assert process.stderr
        assert select.select([process.stderr], [], [], 30)[0]
        assert os.read(process.stderr.fileno(), 100) == b"50 %\r"
    finally:
        process.kill()
        process.wait()
