"""What a project's own metadata asks for, in a project with conda: image/conda_project.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import conda_project
from project_declared import parse_toml

PROJECT = {
    "package_manager": "conda",
    "python": "3.11",
    "torch": "2.13.0",
    "cuda": "12.9",
    "accelerator": "cuda",
    "offered": {"torch_version": ["2.13.0"]},
}
OWN = """\
[project]
name = "x"
version = "0"
requires-python = ">=3.12"
dependencies = [
    "einops>=0.8", "torch==2.1.0", "torchvision==0.16", "triton", "Flash_Attn>=2",
    "tomli; python_version < '3.12'", "never; python_version < '3.11'", "kept",
]
[dependency-groups]
dev = ["mypy", "torch"]
[tool.uv.sources]
kept = { git = "https://github.com/a/b", rev = "1" }
torch = { index = "t" }
[[tool.uv.index]]
name = "t"
url = "https://t.example"
explicit = true
"""


def test_requirements_follow_the_rules_of_an_import(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dependencies = tmp_path / "dependencies"
    dependencies.mkdir()
    (tmp_path / "pyproject.toml").write_text(OWN)
    places = [f"--code={tmp_path}", f"--dependencies={dependencies}", "--template-sh=./t.sh"]
    assert conda_project.main([f"--project={json.dumps(PROJECT)}", *places]) == 0
    toml = parse_toml((dependencies / "project/pyproject.toml").read_text())
    lines = ["einops>=0.8", "Flash_Attn", "kept", "tomli", "torchvision"]
    assert toml["project"]["dependencies"] == lines
    assert toml["project"]["optional-dependencies"]["dev"] == ["mypy"]
    assert toml["tool"]["uv"]["sources"] == {"kept": {"git": "https://github.com/a/b", "rev": "1"}}
    assert "index" not in toml["tool"]["uv"]
    said = capsys.readouterr().err
    assert "pyproject.toml: torch==2.1.0: left out, an answer decides it" in said
    assert "pyproject.toml wants Python >=3.12; the images have 3.11." in said
    record = json.loads((dependencies / "project/files.json").read_text())["sha256"]
    assert set(record) == {"pyproject.toml", "setup.cfg", "setup.py"}


def test_what_no_line_requires_is_left_to_nobody(tmp_path: Path) -> None:
    dependencies = tmp_path / "dependencies"
    dependencies.mkdir()
    places = [f"--code={tmp_path}", f"--dependencies={dependencies}"]
    assert conda_project.main([f"--project={json.dumps(PROJECT)}", *places]) == 0
    toml = parse_toml((dependencies / "project/pyproject.toml").read_text())
    assert toml["project"]["dependencies"] == []
