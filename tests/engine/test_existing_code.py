"""Code that was there before Hearth: it is mounted, and none of its files is touched."""

from __future__ import annotations

import re

import pytest

from tests.engine.conftest import MakeProject
from tests.support.index import PackageIndex

OWN_FILES = {
    "Dockerfile": "FROM scratch\n",
    ".env": "COMPOSE_PROJECT_NAME=theirs\nUSRID=0\n",
    "compose.yaml": "services: {web: {image: theirs}}\n",
    ".gitignore": "*.log\n",
    "train.py": "import early_bird; print('trained with', early_bird.__version__)\n",
}
REQUIREMENTS = (
    "# what the paper needs\r\n"
    "\r\n"
    "early-bird==1.0  # pinned\r\n"
    "late-owl>=1; python_version >= '3.9'\r\n"
    "old-crow==1.0; python_version < '3'\r\n"
    "night-jar==1.0 \\\r\n"
    "    --hash=sha256:0123456789abcdef\r\n"
    "-r more.txt\r\n"
    "-e .\r\n"
    "./wheels/local.whl\r\n"
    "dodo @ git+https://127.0.0.1:9/dodo\r\n"
    "torch==2.0.1\r\n"
    "nvidia-cublas-cu12==12.1\r\n"
)


@pytest.fixture(scope="module", autouse=True)
def birds(index: PackageIndex) -> None:
    for name in ("early-bird", "late-owl", "night-jar", "snowy-egret"):
        index.add(name)


def test_a_project_with_its_own_docker_files_works_and_none_of_its_files_changes(
    project: MakeProject,
) -> None:
    files = OWN_FILES | {"requirements.txt": "early-bird==1.0\n", "more.txt": "left-alone\n"}
    new = project("thesis", existing=files)
    new.build()
    new.ok("up")
    said = new.sh("run", "python", "train.py")
    assert said.stdout == "trained with 1.0\n"
    assert said.stderr.count("is not a Python project") == 1
    assert new.ok("exec", "python", "train.py") == "trained with 1.0\n"

    assert {name: (new.folder / name).read_bytes().decode() for name in files} == files
    assert {path.name for path in new.folder.iterdir()} - files.keys() == {
        *(".copier-answers.yml", "data", "docker-amd64", "outputs")
    }


def test_requirements_are_imported_and_what_cannot_be_is_named(
    project: MakeProject, torch_version: str
) -> None:
    existing = {"requirements.txt": REQUIREMENTS, "setup.py": ""}
    new = project("paper", existing=existing, torch_version=torch_version, jit=False)
    result = new.sh("lock")
    assert result.returncode == 0, result.stderr
    file = new.docker / "dependencies/uv.lock"
    lock = file.read_text()
    for name in ("early-bird", "late-owl", "night-jar"):
        assert f'name = "{name}"' in lock
    assert f'version = "{torch_version}+cpu"' in lock
    notes = result.stderr.partition("Imported the packages of requirements.txt")[2]
    for line in (
        *("-r more.txt", "-e .", "./wheels/local.whl", "torch==2.0.1", "nvidia-cublas-cu12"),
        "dodo @ git+https://127.0.0.1:9/dodo",
    ):
        assert re.search(rf"(?m)^  .*{re.escape(line)}.*: left out, ", notes), line
    assert (new.folder / "requirements.txt").read_bytes().decode() == REQUIREMENTS

    new.write("requirements.txt", REQUIREMENTS.replace("night-jar==1.0", "snowy-egret"))
    result = new.sh("import")
    assert "failure: import-not-confirmed" in result.stderr
    assert file.read_text() == lock
    result = new.sh("import", "-y", "requirements.txt")
    assert result.returncode == 0, result.stderr
    assert '-    "night-jar==1.0",\n' in result.stdout
    assert 'name = "snowy-egret"' in file.read_text()
    assert 'name = "night-jar"' not in file.read_text()
    new.write("requirements.txt", "early-bird\n")
    assert "requirements.txt has changed since it was imported" in new.sh("lock").stderr


def test_the_code_may_lie_in_the_folder_above(project: MakeProject) -> None:
    code = {"../train.py": "print('from above')\n", "../src/below.py": "print('from below')\n"}
    new = project("containers", existing=code, project_kind="existing", code_dir="..")
    new.build("runtime")
    above = new.folder.parent
    assert new.ok("run", "python", "train.py") == "from above\n"
    assert new.ok("run", "python", "src/below.py") == "from below\n"
    new.ok("run", "touch", "/workspace/written", "/outputs/written")
    assert (above / "written").stat().st_uid == new.owner.uid
    assert (new.folder / "outputs/written").exists()
    assert (above / "train.py").read_text() == code["../train.py"]


def test_a_package_of_ones_own_is_installed_where_it_lies(project: MakeProject) -> None:
    existing = {
        "setup.py": "from setuptools import setup\nsetup(name='old', py_modules=['oldstyle'])\n",
        "oldstyle.py": "print('old style, still running')\n",
    }
    new = project("oldstyle", existing=existing)
    new.build("runtime")
    result = new.sh("run", "-w", "/", "python", "-m", "oldstyle")
    assert result.stdout == "old style, still running\n", result.stderr
    assert not list(new.folder.glob("*.egg-info"))
    assert not (new.folder / "build").exists()
