"""Files of real projects, small: what a project that has them gets, and what is said of it.

Each file of cases/ is a project that an earlier Hearth failed on, or one with a habit of its own:

    answers     beside those of `USUAL`
    files       what the repository has, path to text; `encoding` is theirs
    env         lines of .env
    expect      answers: those that follow the files
                said, unsaid: parts of what the copy and the first lock say, and do not say
                pip, conda: the user's lines in dependencies/, all of them
                project, dev: what dependencies/project/ has of the project's own metadata
                sources: where it takes these from
                limits: lists of [tool.uv] in dependencies/ that decide versions
                built_with_torch: packages whose build imports PyTorch

With HEARTH_CASES=uv, uv resolves each case from the real index instead of taking every line. A case
whose Python this machine lacks is skipped then.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import conda_file
import import_files
import project_lock
from host import pip_packages
from host.project import Project, StopError, code_folder, read_project
from project_metadata import LIMITS
from tests.conftest import ROOT, Generate
from tests.support.process import run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CASES = {file.stem: file for file in sorted((ROOT / "tests/cases").glob("*.yml"))}
REAL_UV = os.environ.get("HEARTH_CASES") == "uv"
USUAL = {"accelerator": "cpu", "torch_version": "none", "python_version": "3.11"}
PROGRAMS: dict[str, Callable[[list[str]], int]] = {
    "project_lock.py": project_lock.main,
    "import_files.py": import_files.main,
}


@pytest.fixture
def _no_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of the container run here, and uv finds a version for every line."""

    def tools(project: Project, *words: str, capture: bool = False) -> str:
        places = [f"--code={code_folder(project)}"]
        places.append(f"--dependencies={project.folder / 'dependencies'}")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            status = PROGRAMS[Path(words[2]).name]([*places, *words[3:]])
        if status:
            raise StopError("it failed")
        return printed.getvalue() if capture else ""

    def every_line(lock: import_files.Lock, text: str) -> str:
        (lock.folder / import_files.PYPROJECT).write_text(text)
        (lock.folder / import_files.LOCK).touch()
        return ""

    monkeypatch.setattr(pip_packages, "tools", tools)
    if REAL_UV:
        beside = Path(sys.executable).parent
        monkeypatch.setenv("PATH", f"{beside}{os.pathsep}{os.environ['PATH']}")
    else:
        monkeypatch.setattr(import_files.Lock, "fails", every_line)
        monkeypatch.setattr(project_lock, "uv", lambda *_: None)


@pytest.mark.usefixtures("_no_containers")
@pytest.mark.parametrize("name", CASES)
def test_a_project_with_these_files_gets_its_packages(
    generate: Generate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
) -> None:
    case = yaml.safe_load(CASES[name].read_text())
    folder, expect = tmp_path / "paper", case["expect"]
    files = {
        path: text.encode(case.get("encoding", "utf-8")) for path, text in case["files"].items()
    }
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    generate(folder, hook=True, **case.get("answers", USUAL))
    monkeypatch.setenv("HOME", str(folder))
    with (folder / "docker-amd64/.env").open("a") as env:
        env.writelines(f"{key}={value}\n" for key, value in case.get("env", {}).items())

    project = read_project(folder / "docker-amd64")
    if REAL_UV and not has_python(project):
        pytest.skip("uv has no such Python here")
    found = after_first_lock(project)
    said = "".join(capfd.readouterr())
    assert [text for text in expect.get("said", ()) if text not in said] == [], said
    assert [text for text in expect.get("unsaid", ()) if text in said] == [], said
    answers = yaml.safe_load((folder / ".copier-answers.yml").read_text())
    found["answers"] = {key: answers[key] for key in expect.get("answers", ())}
    wanted = {key: value for key, value in expect.items() if key not in {"said", "unsaid"}}
    assert {key: value for key, value in found.items() if value} == wanted
    assert {path: (folder / path).read_bytes() for path in files} == files


def has_python(project: Project) -> bool:
    """Whether this machine has the Python of a project's images."""
    find = ("uv", "python", "find", "--no-python-downloads", str(project.answers["python"]))
    return run(*find).returncode == 0


def after_first_lock(project: Project) -> dict[str, Any]:
    """What dependencies/ has of the user's, with what the first lock takes."""
    folder = project.folder / "dependencies"
    environment = folder / "environment.yml"
    if environment.exists():
        lists = conda_file.parse(environment.read_text())
        return {"conda": lists.conda, "pip": lists.pip}
    pip_packages.lock(project)
    pyproject = tomllib.loads((folder / "pyproject.toml").read_text())
    declared = tomllib.loads((folder / "project/pyproject.toml").read_text())
    uv = pyproject["tool"]["uv"]
    return {
        "pip": pyproject["project"]["dependencies"],
        "project": declared["project"]["dependencies"],
        "dev": declared["project"]["optional-dependencies"]["dev"],
        "sources": declared["tool"]["uv"].get("sources"),
        "limits": {key: uv[key] for key in LIMITS if key in uv},
        "built_with_torch": list(uv.get("extra-build-dependencies", ())),
    }
