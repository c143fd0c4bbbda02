"""The program of a project on Python 3.8: what it asks for, and a real 3.8 where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import host
from host.passwords import RULE
from host.workspace_lists import RULES
from tests.conftest import ROOT, Generate

PACKAGE = Path(host.__file__).parent
# What an update runs before it knows of a newer Python.
UPDATE = [ROOT / "hooks/update" / f"{name}.py" for name in ("__main__", "copiers", "versions")]
VERMIN = Path(sys.executable).with_name("vermin")
# Where pyenv and uv keep those that are not on PATH.
KEPT = (".pyenv/versions/3.8.*/bin", ".local/share/uv/python/cpython-3.8.*/bin")


def needed(*paths: Path) -> subprocess.CompletedProcess[str]:
    """Whether Python 3.8 has all that these files use of the language and its library."""
    command: list[str | Path] = [VERMIN, "--no-tips", "--violations", "--target=3.8-", *paths]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_python_3_8_has_all_that_the_program_of_a_project_uses() -> None:
    found = needed(PACKAGE, RULE, RULES, *UPDATE)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    "line", ["import tomllib", "'a'.removeprefix('b')", "from functools import cache"]
)
def test_what_3_8_does_not_have_is_found(tmp_path: Path, line: str) -> None:
    newer = tmp_path / "newer.py"
    newer.write_text(f"{line}\n")
    assert needed(newer).returncode == 1


def candidates() -> Iterator[Path]:
    if on_path := shutil.which("python3.8"):
        yield Path(on_path)
    for pattern in KEPT:
        yield from sorted(path / "python3.8" for path in Path.home().glob(pattern))


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python 3.8 that starts; a shim of pyenv may not."""
    for path in candidates():
        is_other = "import sys; sys.exit(sys.version_info[:2] != (3, 8))"
        if subprocess.run([path, "-c", is_other], capture_output=True, check=False).returncode == 0:
            return path
    pytest.skip("no Python 3.8 on PATH, of pyenv or of uv")


def test_every_module_is_imported_by_a_real_one(python: Path) -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path.stem[0] != "_"]
    paths = [path.relative_to(PACKAGE.parent).with_suffix("") for path in files]
    modules = [".".join(path.parts) for path in paths]
    imports = "\n".join(f"import {name}" for name in sorted(modules))
    done = subprocess.run(
        [python, "-B", "-W", "error", "-c", imports],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_project_gets_its_env_by_a_real_one(
    python: Path, generate: Generate, tmp_path: Path
) -> None:
    project, programs = generate(tmp_path / "project"), tmp_path / "bin"
    programs.mkdir()
    log = tmp_path / "log"
    (programs / "python3").write_text(f'#!/bin/sh\necho 3.8 >>"{log}"\nexec "{python}" "$@"\n')
    (programs / "python3").chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    for words in (["env"], ["env", "--show"], ["help"]):
        done = subprocess.run(
            [project / "docker-amd64/template.sh", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert "\nUSRID=" in (project / "docker-amd64/.env").read_text()
    assert log.exists()
