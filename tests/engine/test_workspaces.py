"""Other people's code beside the project: its own packages, containers and home."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.engine.conftest import MakeProject
from tests.support.index import PackageIndex
from tests.support.process import run
from tests.support.project import Project

VERSION = "import importlib.metadata as m; print(m.version('{}'))"
PYPROJECT = """\
[project]
name = "of-jane"
version = "1.0"
dependencies = ["near-lake"]

[project.scripts]
of-jane = "of_jane:main"
"""
POST_INSTALL = "python -c 'import near_lake' && echo made >/opt/venv/made\n"


@pytest.fixture(scope="module")
def shared(project: MakeProject, index: PackageIndex) -> Iterator[Project]:
    """A project with the code of two others, one of whom brings packages, built and running."""
    index.add("near-lake", "1.0")
    index.add("far-lake", "1.0")
    new = project("with workspaces", light=True)
    new.write("workspaces/Jane.1/pyproject.toml", PYPROJECT)
    new.write("workspaces/Jane.1/of_jane.py", "def main(): print('hello of jane')\n")
    new.write("workspaces/Jane.1/requirements.txt", "-e .\n-r tools/far.txt  # as a clone has it\n")
    new.write("workspaces/Jane.1/tools/far.txt", "far-lake\n")
    new.write("workspaces/Jane.1/apt.txt", "tree\n")
    new.write("workspaces/Jane.1/post-install.sh", POST_INSTALL)
    new.write("workspaces/Jane.1/pre-run.sh", "export GREETING=good\n")
    new.write("workspaces/plain/alone.py", "print('no list at all')\n")
    for path in (new.folder / "workspaces").rglob("*"):
        run("chown", f"{new.owner.uid}:{new.owner.gid}", str(path))
    run("chown", f"{new.owner.uid}:{new.owner.gid}", str(new.folder / "workspaces"))
    for name in ("Jane.1", "plain"):
        new.ok("build", "-W", name)
    yield new
    for name in ("Jane.1", "plain"):
        new.ok("clean", "--all", "--yes", "-W", name)


def test_a_workspace_has_its_packages_beside_those_of_the_project(shared: Project) -> None:
    shared.ok("up", "-W", "Jane.1")
    for name, version in (("near-lake", "1.0"), ("far-lake", "1.0"), ("pytest", "")):
        code = VERSION.format(name)
        assert shared.ok("exec", "-W", "Jane.1", "python", "-c", code).startswith(version)
    assert shared.ok("exec", "-W", "Jane.1", "of-jane") == "hello of jane\n"
    told = shared.ok("exec", "-W", "Jane.1", "sh", "-c", "pwd; cat /opt/venv/made; tree --version")
    assert told.startswith("/workspace\nmade\ntree ")
    assert shared.ok("run", "-W", "Jane.1", "sh", "-c", "echo $GREETING; ls *.*") == (
        "good\napt.txt\nof_jane.py\npost-install.sh\npre-run.sh\npyproject.toml\n"
        "requirements.lock\nrequirements.txt\n"
    )
    made = "stat -c '%u %g' /opt/venv/made /opt/venv/lib/python3*/site-packages/near_lake*"
    assert set(shared.ok("exec", "-W", "Jane.1", "sh", "-c", made).splitlines()) == {"0 50000"}


def test_it_runs_beside_the_project_and_the_others(shared: Project) -> None:
    shared.ok("up", "-W", "Jane.1")
    shared.ok("up")
    assert shared.ok("run", "-W", "plain", "python", "-m", "alone") == "no list at all\n"
    assert shared.sh("exec", "python", "-c", "import near_lake").returncode == 1
    assert shared.sh("exec", "-W", "plain", "true").returncode == 1
    shared.ok("exec", "sh", "-c", "echo mine >~/note")
    assert shared.sh("exec", "-W", "Jane.1", "cat", "/home/user/note").returncode == 1
    shared.ok("down", "-W", "Jane.1")
    assert shared.ok("exec", "cat", "/home/user/note") == "mine\n"
    # .env is the project's, so plain Compose is too.
    text = (shared.docker / ".env").read_text()
    assert "compose.workspace.yaml" not in text
    assert "compose.guard.yaml" in text


def test_its_lock_keeps_versions_until_it_is_removed(shared: Project, index: PackageIndex) -> None:
    lock = shared.folder / "workspaces/Jane.1/requirements.lock"
    assert (lock.stat().st_uid, lock.stat().st_gid) == (shared.owner.uid, shared.owner.gid)
    assert re.search(r"(?m)^near-lake==1\.0 \\\n +--hash=sha256:", lock.read_text())
    assert "pytest" not in lock.read_text()
    index.add("near-lake", "2.0")
    index.add("calm-hill")
    shared.write("workspaces/Jane.1/requirements.txt", "-e .\nfar-lake\ncalm-hill\n")
    shared.ok("build", "-W", "Jane.1")
    assert "calm-hill==1.0" in lock.read_text()
    code = ("run", "-W", "Jane.1", "python", "-c", VERSION.format("near-lake"))
    assert shared.ok(*code) == "1.0\n"
    lock.unlink()
    shared.ok("build", "-W", "Jane.1")
    assert shared.ok(*code) == "2.0\n"


def test_what_its_setup_py_requires_is_installed(shared: Project, index: PackageIndex) -> None:
    index.add("calm-hill")
    text = "from setuptools import setup\nsetup(install_requires=['calm-hill'])\n"
    file = shared.write("workspaces/plain/setup.py", text)
    try:
        built = shared.sh("build", "-W", "plain")
        assert built.returncode == 0, built.stderr[-3000:]
        assert "Read from setup.py: calm-hill" in built.stderr
        assert "Not read in" not in built.stderr
        code = VERSION.format("calm-hill")
        assert shared.ok("run", "-W", "plain", "python", "-c", code) == "1.0\n"
        # The lock has what was read.
        again = shared.sh("build", "-W", "plain")
        assert again.returncode == 0
        assert "Read from" not in again.stderr
    finally:
        file.unlink()
        (shared.folder / "workspaces/plain/requirements.lock").unlink(missing_ok=True)


def test_the_versions_of_the_project_are_not_replaced(shared: Project) -> None:
    file = shared.write("workspaces/plain/requirements.txt", "pluggy==1.0.0\n")
    try:
        result = shared.sh("build", "-W", "plain")
    finally:
        file.unlink()
    assert result.returncode == 1
    assert "No solution found when resolving" in result.stderr, result.stderr[-3000:]
    assert "you require pluggy==1.0.0" in result.stderr
    assert "(failure: workspace-packages)" in result.stderr


@pytest.mark.parametrize(
    ("name", "id_", "said"),
    [
        ("nobody", "workspace-missing", "There are: Jane.1, plain."),
        ("../src", "workspace-name", '"../src" cannot name a workspace'),
    ],
)
def test_another_name_is_refused_in_a_sentence(
    shared: Project, name: str, id_: str, said: str
) -> None:
    for verb in (("build",), ("up",), ("run", "true")):
        result = shared.sh(verb[0], "-W", name, *verb[1:])
        assert result.returncode == 1
        assert said in result.stderr
        assert f"(failure: {id_})" in result.stderr
