"""The README's lines for a laptop without Docker are typed as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Generate
from tests.support.index import upstream_index

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def project(generate: Generate, tmp_path: Path) -> Path:
    return generate(
        tmp_path / "my-project", torch_version="none", python_version=HERE, project_kind="new"
    )


def lines_of(project: Path) -> list[str]:
    """The commands of the section, in their order."""
    text = (project / "docker-amd64/README.md").read_text()
    section = text.partition("## Without Docker\n")[2].partition("\n## ")[0]
    return re.findall(r"(?m)^    (\S.*)$", section)


def typed(project: Path, line: str, **more: str) -> str:
    """What a line prints in the project's folder, for somebody who has uv."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    env |= {"PATH": programs, "UV_DEFAULT_INDEX": upstream_index(), "UV_NO_PROGRESS": "1"}
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=project,
        env=env | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_locked_packages_by_uv_and_by_pip(project: Path, tmp_path: Path) -> None:
    sync, own, export, pip = lines_of(project)[:4]
    typed(project, "uv lock --quiet --project docker-amd64/dependencies")
    typed(project, sync)
    typed(project, own)
    assert "1 passed" in typed(project, ".venv/bin/python -m pytest -q")
    typed(project, export)
    assert "--hash=sha256:" in (project / "requirements.lock.txt").read_text()
    venv = tmp_path / "of-pip"
    typed(project, f"{sys.executable} -m venv {venv}")
    programs = f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
    typed(project, pip, PATH=programs)
    assert "pytest" in typed(project, f"{venv / 'bin/python'} -m pip list")


def test_the_newest_packages_by_uv(project: Path) -> None:
    create, install, own = lines_of(project)[4:]
    typed(project, create, UV_PYTHON_DOWNLOADS="never")
    typed(project, install)
    typed(project, own)
    assert "my_project" in typed(project, ".venv/bin/python -c 'import my_project as m; print(m)'")
