"""A project of notebooks alone is told what they import, and the command that adds it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from host import conda_packages, pip_packages
from host.conda_packages import SPELLED
from host.notebook_imports import packages_in, requirements_in
from host.project import read_project
from tests.conftest import Generate
from tests.support.program import put_program

ANSWERS = {"accelerator": "cpu", "torch_version": "2.13.0", "python_version": "3.11"}


def write(file: Path, *cells: str, kind: str = "code") -> None:
    rows = [{"cell_type": kind, "source": text.splitlines(keepends=True)} for text in cells]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"cells": rows}))


@pytest.mark.parametrize(
    ("cell", "packages"),
    [
        ("import numpy as np, scipy.linalg  # both", {"numpy", "scipy"}),
        ("from sklearn.svm import SVC\nimport os, json", {"scikit-learn"}),
        ("if True:\n    import cv2", {"opencv-python-headless"}),
        ("%pip install -q -r list.txt 'einops>=0.8' ./here # x", {"einops>=0.8"}),
        ("!pip3 install Scikit_Learn==1.5 && ls\nimport sklearn", {"Scikit_Learn==1.5"}),
        ("!python -m pip install git+https://x.example/y", set()),
        ("from google.colab import drive\nfrom IPython import display", set()),
        ("import helpers\nfrom pkg import x\nfrom . import y", set()),
        ("imports = 3\nfrom_x = 4\nprint('import z')", set()),
    ],
)
def test_packages_of_a_cell(tmp_path: Path, cell: str, packages: set[str]) -> None:
    (tmp_path / "helpers.py").touch()
    (tmp_path / "src/pkg").mkdir(parents=True)
    file = tmp_path / "work/a.ipynb"
    write(file, cell)
    assert packages_in(file, tmp_path) == packages
    write(file, cell, kind="markdown")
    assert packages_in(file, tmp_path) == set()


def test_words_that_no_shell_can_read_are_no_requirements() -> None:
    assert list(requirements_in("'numpy")) == []


@pytest.mark.parametrize("manager", ["pip", "conda"])
def test_the_copy_into_notebooks_alone_names_the_command(
    generate: Generate, tmp_path: Path, capfd: pytest.CaptureFixture[str], manager: str
) -> None:
    folder = tmp_path / "lectures"
    write(folder / "one.ipynb", "import torch\nimport cv2\n%pip install 'pandas<3'")
    write(folder / "more/two.ipynb", "import pandas, matplotlib.pyplot as plt")
    (folder / "broken.ipynb").write_text("{")
    generate(folder, hook=True, package_manager=manager, **ANSWERS)
    opencv = "opencv-python-headless"
    opencv = SPELLED[opencv] if manager == "conda" else opencv
    said = capfd.readouterr().out
    assert f"template.sh add matplotlib {opencv} 'pandas<3'\n" in said


def test_a_list_beside_the_notebooks_is_the_list(
    generate: Generate, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "lectures"
    write(folder / "one.ipynb", "import pandas")
    (folder / "requirements.txt").write_text("pandas\n")
    generate(folder, hook=True, **ANSWERS)
    assert "notebooks import" not in capfd.readouterr().out


@pytest.mark.parametrize("module", [pip_packages, conda_packages])
def test_the_first_lock_and_add_name_what_no_file_lists_but_for_what_is_added(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
) -> None:
    manager = "pip" if module is pip_packages else "conda"
    folder = put_program(tmp_path / "docker-amd64")
    answers = folder / "host/project.json"
    known = json.loads(answers.read_text()) | {"package_manager": manager, "package": ""}
    answers.write_text(json.dumps(known))
    (folder / "dependencies").mkdir()
    (folder / "dependencies/environment.yml").write_text("dependencies:\n  - python=3.11.*\n")
    write(tmp_path / "one.ipynb", "import cv2, pandas, scipy")
    project = read_project(folder)

    def said(*adding: str) -> str:
        if module is pip_packages:
            monkeypatch.setattr(module, "plan_import", lambda *_: {"read": [], "files": {}})
            pip_packages.import_once(project, adding)
        else:
            monkeypatch.setattr(module, "conda_env", lambda *_: "")
            conda_packages.take_lists(project, adding)
        return capsys.readouterr().err

    opencv = "opencv-python-headless"
    opencv = SPELLED[opencv] if module is conda_packages else opencv
    assert f"template.sh add {opencv} pandas scipy\n" in said()
    assert "template.sh add scipy\n" in said(opencv, "Pandas<3")
    assert said(opencv, "pandas", "scipy") == ""
