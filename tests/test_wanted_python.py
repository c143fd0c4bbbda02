"""What a copy says if a file of the project asks for another Python."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hooks.generate import wanted_python

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="there is no tomllib")

PROJECT = '[project]\nname = "x"\nrequires-python = "{}"\n'
POETRY = '[tool.poetry.dependencies]\npython = "{}"\n'


@pytest.mark.parametrize(
    ("name", "text", "advised"),
    [
        ("pyproject.toml", PROJECT.format(">=3.9"), None),
        ("pyproject.toml", PROJECT.format(">=3.9,<3.12"), "3.11"),
        ("pyproject.toml", PROJECT.format("==3.11.*"), "3.11"),
        ("pyproject.toml", PROJECT.format(">=3.12.4"), None),
        ("pyproject.toml", PROJECT.format(">=3.13"), "3.14"),
        ("pyproject.toml", PROJECT.format("<3.9"), ""),
        ("pyproject.toml", PROJECT.format("nonsense"), None),
        ("pyproject.toml", "[project", None),
        ("pyproject.toml", POETRY.format("^3.10"), None),
        ("pyproject.toml", POETRY.format("~3.11"), "3.11"),
        ("pyproject.toml", POETRY.format(">=3.9,<3.11 || 3.11"), None),
        ("pyproject.toml", POETRY.format("3.11"), "3.11"),
        ("setup.cfg", "[options]\npython_requires = <3.12\n", "3.11"),
        ("Pipfile", '[requires]\npython_version = "3.13"\n', "3.13"),
        ("Pipfile", "[packages]\n", None),
        (".python-version", "3.13.1\n", "3.13"),
        (".python-version", "# ours\ncpython-3.8\n", ""),
        (".python-version", "pypy3.9-7\n", None),
        ("environment.yml", "dependencies: [python=3.8.19=h955ad1f_0, einops]", ""),
        ("conda.yaml", "dependencies: ['conda-forge::python >=3.9,<3.12']", "3.11"),
        ("environment.yml", "dependencies: [python>=3.9, python-dateutil=3.10]", None),
        ("environment.yml", "dependencies: [", None),
        ("pixi.toml", '[dependencies]\npython = "3.11.*"\n', "3.11"),
    ],
)
def test_the_advised_python_is_one_that_the_template_offers(
    tmp_path: Path, name: str, text: str, advised: str | None
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / name).write_text(text)
    (tmp_path / "docker-amd64/host").mkdir(parents=True)
    offered = {"offered": {"python_version": ["3.14", "3.13", "3.12", "3.11"]}}
    (tmp_path / "docker-amd64/host/project.json").write_text(json.dumps(offered))
    lines = wanted_python.lines(tmp_path, "code", "3.12", "update --data")
    if advised is None:
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith(f"{name} asks for Python ")
        assert ("update --data" in line) == bool(advised)
        assert line.endswith(f"python_version={advised}" if advised else "for this PyTorch.")
    assert wanted_python.lines(tmp_path, "code", "", "update --data") == []
