"""No wheel changes the Python that installs wheels into a cache that projects share."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "template/docker-amd64/image/install-wheels.sh"
INFO = "lib/python3.{minor}/site-packages/by_data-1.0.dist-info/RECORD"


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    """The folder /opt of the stage builder, in a place that a test can write."""
    for folder in (tmp_path / "venv", tmp_path / "container/venv"):
        venv.create(folder, symlinks=True, with_pip=False)
    text = SCRIPT.read_text().replace("/opt/", f"{tmp_path}/").replace("/tmp/", f"{tmp_path}/tmp-")
    (tmp_path / "container/install-wheels.sh").write_text(text)
    config = (tmp_path / "venv/pyvenv.cfg").read_text()
    (tmp_path / "container/venv/pyvenv.cfg").write_text(config)
    bytecode = SCRIPT.with_name("bytecode.py").read_text()
    (tmp_path / "container/bytecode.py").write_text(bytecode)
    return tmp_path


def install(opt: Path, *files: str) -> subprocess.CompletedProcess[str]:
    """Let the script run a command that installs a wheel with these files."""
    record = INFO.format(minor=sys.version_info.minor)
    lines = "".join(f"../../../{name},,\\n" for name in files)
    command = f"cd {opt}/venv; mkdir -p {Path(record).parent}; printf '{lines}' >{record}; "
    command += "; ".join(f"rm -f {name}; echo {opt} >{name}" for name in files)
    words = ("bash", opt / "container/install-wheels.sh", "first", "bash", "-c", command)
    env = {"PATH": "/usr/bin:/bin", "UV_CACHE_DIR": str(opt / "cache")}
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "name", ["pyvenv.cfg", "bin/pyvenv.cfg", "bin/python", "bin/python._pth", "bin/other._pth"]
)
def test_a_wheel_that_replaces_the_environments_python_is_refused(opt: Path, name: str) -> None:
    done = install(opt, name)
    assert (done.returncode, done.stderr) == (1, f"by_data-1.0 replaces {name} of {opt}/venv\n")


def test_a_wheel_with_programs_and_data_is_installed(opt: Path) -> None:
    done = install(opt, "bin/program", "data.txt", "lib/names._pth")
    assert (done.returncode, done.stderr) == (0, "")
