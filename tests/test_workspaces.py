"""Which folder a name of a workspace means, and what its containers are apart in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import project_backend
import project_declared
import workspace_requirements
from host.project import Project, StopError
from host.workspace_lists import (
    COPIED,
    LOCK,
    as_read,
    has_list,
    lists_of,
    names_asked,
    needs_reading,
    put_lists,
    read_before,
    unread_lists,
)
from host.workspaces import build_workspace, engine_name, enter, find, tell_unread
from tests.support.program import PROJECT

KEYS = ("COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "LOCAL_CODE_DIR")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with two workspaces, and folders that are none."""
    for key in KEYS:
        monkeypatch.setenv(key, "")  # what `enter` sets is taken back after the test
        monkeypatch.delenv(key)
    docker = tmp_path / "docker-amd64"
    docker.mkdir()
    files = "compose.yaml:compose.cdi.yaml:compose.guard.yaml"
    (docker / ".env").write_text(f"COMPOSE_PROJECT_NAME=demo-jane-1a2b3c\nCOMPOSE_FILE={files}\n")
    for name in ("first", "Second.2", ".git", "of jane"):
        (tmp_path / "workspaces" / name).mkdir(parents=True)
    (tmp_path / "workspaces/note").touch()
    return Project(docker, PROJECT)


def refusal(project: Project, name: str) -> StopError:
    """Why there is no such workspace."""
    with pytest.raises(StopError) as stop:
        find(project, name)
    return stop.value


def test_a_name_that_is_not_there_is_answered_by_those_that_are(project: Project) -> None:
    stop = refusal(project, "third")
    assert stop.name == "workspace-missing"
    assert stop.sentence == "There is no folder workspaces/third. There are: Second.2, first."


@pytest.mark.parametrize("name", ["", ".", "..", "../x", ".git", "of jane", "a\nb", "$(id)", "ä"])
def test_what_cannot_be_a_name_names_nothing(project: Project, name: str) -> None:
    assert refusal(project, name).name == "workspace-name"


def test_a_link_leads_to_a_clone_but_not_around_the_project(project: Project) -> None:
    folder = project.root / "workspaces"
    elsewhere = project.root / "elsewhere"
    elsewhere.mkdir()
    (folder / "linked").symlink_to(elsewhere)
    (folder / "around").symlink_to(project.root.parent)
    assert find(project, "linked") == elsewhere
    assert refusal(project, "around").name == "workspace-around"
    (folder / "inside").symlink_to(project.folder)
    assert refusal(project, "inside").name == "workspace-around"


@pytest.mark.parametrize("name", ["requirements-dev.txt", "pyproject.toml", "requirements.lock"])
def test_a_password_in_its_lists_is_refused_before_anything_is_built(
    project: Project, name: str
) -> None:
    file = project.root / "workspaces/first" / name
    file.write_text('a = "b"\n# https://jane:s3cret@index.example/simple\n')
    with pytest.raises(StopError) as stop:
        build_workspace(project, "first")
    assert stop.value.name == "password-in-file"
    assert f"Line 2 of first/{name}" in str(stop.value)
    assert "s3cret" not in str(stop.value)


def test_two_workspaces_never_share_a_name_in_the_engine() -> None:
    names = ["first", "First", "a.b", "a-b", "a_b", "A.b"]
    made = [engine_name("demo", name) for name in names]
    assert made[0] == "demo-first"
    assert len(set(made)) == len(names)
    assert all(name == name.lower() and "." not in name for name in made)


def test_it_has_its_own_code_containers_and_home_and_env_is_left_alone(project: Project) -> None:
    before = (project.folder / ".env").read_text()
    enter(project, "first", "exec")
    assert project.settings.get("COMPOSE_PROJECT_NAME") == "demo-jane-1a2b3c-first"
    assert project.settings.path("LOCAL_CODE_DIR") == project.root / "workspaces/first"
    # GPUs stay; what guards docker-amd64 is for another code folder.
    files = project.settings.files()
    assert files == ["compose.yaml", "compose.cdi.yaml", "compose.workspace.yaml"]
    assert project.which == " -W first"
    assert (project.folder / ".env").read_text() == before


# -------------------------------------------------------------------------------- what is built


def write(folder: Path, files: dict[str, str]) -> Path:
    """A workspace with files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_build_gets_the_lists_that_lists_name_at_the_same_places(tmp_path: Path) -> None:
    files = {
        "requirements.txt": "-r requirements/base.txt  # all\n--constraint=limits.txt\neinops\n",
        "requirements/base.txt": "-r more.txt\n-r ../requirements.txt\n-r https://a.example/b.txt\n",
        "requirements/more.txt": "numpy\n-r missing.txt\n",
        "limits.txt": "numpy<3\n",
    }
    folder = write(tmp_path / "jane", {**files, "notes.txt": "-r a\n", "src/a.py": ""})
    assert put_lists(folder, tmp_path / "context")
    made = tmp_path / "context"
    paths = [path for path in made.rglob("*") if path.is_file()]
    assert {str(path.relative_to(made)): path.read_text() for path in paths} == files
    (folder / "requirements.lock").write_text("numpy==2.0\n")
    assert not put_lists(folder, made)
    assert (made / "requirements.lock").is_file()


def test_no_list_leads_out_of_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("4711\n")
    text = f"-r ../secret.txt\n-r {tmp_path}/secret.txt\n-r link.txt\n-r {tmp_path}/jane/own.txt\n"
    folder = write(tmp_path / "jane", {"requirements.txt": text, "own.txt": "einops\n"})
    (folder / "link.txt").symlink_to("../secret.txt")
    assert lists_of(folder).keys() == {"requirements.txt"}


PROJECT_TABLE = '[project]\nname = "a"\n'
POETRY = '[tool.poetry.dependencies]\npython = "^3.10"\n'
SETUP = "from setuptools import setup\nsetup(install_requires=['einops'])\n"


@pytest.mark.parametrize(
    ("files", "unread"),
    [
        ({"setup.py": SETUP}, ["setup.py"]),
        ({"setup.cfg": "[options]\ninstall_requires =\n  einops\n"}, ["setup.cfg"]),
        ({"setup.py": SETUP, "pyproject.toml": PROJECT_TABLE}, []),
        ({"setup.py": "from setuptools import setup\nsetup()\n"}, []),
        ({"pyproject.toml": POETRY}, ["pyproject.toml"]),
        ({"pyproject.toml": f"{PROJECT_TABLE}dynamic = ['dependencies']\n"}, ["pyproject.toml"]),
        ({"pyproject.toml": f'{PROJECT_TABLE}dynamic = ["version"]\n'}, []),
        ({"pyproject.toml": '[tool.pixi.dependencies]\na = "*"\n'}, ["pyproject.toml"]),
        ({"pyproject.toml": "[tool.ruff]\n", "setup.cfg": "[flake8]\n"}, []),
        ({"Pipfile": "", "pixi.toml": ""}, ["Pipfile", "pixi.toml"]),
        ({"environment.yml": "", "env-gpu.yml": "dependencies:\n- a\n"}, None),
        ({"config-env.yaml": "lr: 1\n", "docs/requirements.txt": "sphinx\n"}, []),
        ({"requirements.txt": "-r requirements/a.txt\n", "requirements/a.txt": ""}, []),
        ({"requirements/a.txt": "", "requirements-dev.txt": ""}, None),
        ({"requirements.in": "a\n", "requirements.txt": "a==1\n"}, []),
        ({"requirements-docs.txt": "sphinx\n", "LICENSE.txt": "", "train.py": ""}, []),
    ],
)
def test_what_a_build_does_not_read_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str],
    unread: list[str] | None,
) -> None:
    folder = write(tmp_path, files)
    assert sorted(unread_lists(folder)) == sorted(files if unread is None else unread)
    tell_unread(folder, "jane")
    assert ("workspaces/jane" in capsys.readouterr().err) == (unread != [])


# ------------------------------------------------------------- what only a container can read

ANSWERS = {
    "package_manager": "pip",
    "python": "3.12",
    "torch": "2.13.0",
    "offered": {"torch_version": ["2.13.0"]},
}
ENVIRONMENT = """\
channels: [conda-forge]
dependencies: [python=3.10, pytorch=1.7, numpy=1.26, ffmpeg, {pip: [einops]}]
"""
WITH_POETRY = """\
[tool.poetry]
name = "x"
version = "0"
description = ""
authors = []
[tool.poetry.dependencies]
python = "^3.10"
einops = "^0.8"
torch = ">=2"
"""


def plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """What the program of the service tools prints of a workspace, and what it tells the user."""
    words = [f"--project={json.dumps(ANSWERS)}", f"--code={folder}"]
    words += [f"--names={','.join(names_asked(folder))}"]
    assert workspace_requirements.main([*words, *(["--listed"] if has_list(folder) else [])]) == 0
    said = capsys.readouterr()
    found: dict[str, Any] = json.loads(said.out)
    return found, said.err


@pytest.mark.parametrize(
    ("files", "requires", "taken"),
    [
        ({"pyproject.toml": WITH_POETRY}, ["einops<0.9,>=0.8"], ["pyproject.toml"]),
        # What metadata requires is the list; an environment file says the same once more.
        (
            {"pyproject.toml": WITH_POETRY, "environment.yml": ENVIRONMENT},
            ["einops<0.9,>=0.8"],
            ["pyproject.toml"],
        ),
        ({"environment.yml": ENVIRONMENT}, ["einops", "numpy==1.26.*"], ["environment.yml"]),
        (
            {"pyproject.toml": PROJECT_TABLE, "Pipfile": '[packages]\nrequests = "*"\n'},
            ["requests"],
            ["pyproject.toml", "Pipfile"],
        ),
    ],
)
def test_what_a_clone_declares_elsewhere_is_a_list_for_uv(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str],
    requires: list[str],
    taken: list[str],
) -> None:
    folder = write(tmp_path / "jane", files)
    assert needs_reading(folder)
    found, _ = plan(folder, capsys)
    made = project_declared.parse_toml(found["text"])["project"]["dependencies"]
    assert (made, found["taken"]) == (requires, taken)


WITH_EXTRAS = """\
[project]
name = "x"
dependencies = ["einops"]
[project.optional-dependencies]
Train_It = ["lightning"]
dev = ["pytest"]
docs = ["sphinx"]
all = ["x[train-it]"]
[dependency-groups]
plots = ["matplotlib", {include-group = "more"}]
more = ["pandas"]
"""
POETRY_EXTRAS = """\
lightning = {version = "^2.4", optional = true}
[tool.poetry.extras]
Train_It = ["lightning"]
[tool.poetry.group.plots.dependencies]
matplotlib = "^3.10"
"""


@pytest.mark.parametrize(
    ("files", "requires", "said"),
    [
        (
            {"pyproject.toml": WITH_EXTRAS, "groups.txt": "train-it # mine\nPlots\n"},
            ["einops", "lightning", "matplotlib", "pandas"],
            "not installed: all, docs, more.",
        ),
        (
            {"pyproject.toml": WITH_EXTRAS, "requirements.txt": "-e .[all,dev]\ntqdm\n"},
            ["einops", "lightning", "pytest"],
            "",
        ),
        (
            {"pyproject.toml": WITH_POETRY + POETRY_EXTRAS, "groups.txt": "train_it\nplots\n"},
            ["einops<0.9,>=0.8", "lightning<3.0,>=2.4", "matplotlib<4.0,>=3.10"],
            "",
        ),
        (
            {"pyproject.toml": WITH_EXTRAS, "groups.txt": "a class name\nplot\n"},
            ["einops"],
            "no extras or groups of these names: plot.",
        ),
    ],
)
def test_extras_and_groups_are_installed_where_a_workspace_asks_for_them(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str],
    requires: list[str],
    said: str,
) -> None:
    folder = write(tmp_path / "jane", files)
    assert needs_reading(folder)
    found, text = plan(folder, capsys)
    assert project_declared.parse_toml(found["text"])["project"]["dependencies"] == requires
    assert said in text
    read = as_read(folder, found, ANSWERS)
    lines = [f"{COPIED}{line}" for line in read.text.splitlines()]
    write(folder, {LOCK: "\n".join(lines)})
    assert read_before(folder, ANSWERS) == read
    write(folder, {"groups.txt": "docs\n"})
    assert read_before(folder, ANSWERS) is None


def test_a_list_of_names_without_metadata_is_no_list_of_groups(tmp_path: Path) -> None:
    assert names_asked(write(tmp_path, {"groups.txt": "control\ntreated\n"})) == []
    files = {"setup.py": SETUP, "requirements.txt": "--editable=./[a, b]\n.\n-e ../x[c]\n"}
    assert names_asked(write(tmp_path / "jane", files)) == ["a", "b"]


def test_what_cannot_be_taken_is_named_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, said = plan(write(tmp_path, {"environment.yml": ENVIRONMENT}), capsys)
    lines = {line.partition(":")[0]: line for line in said.splitlines()}
    assert "torch_version is 2.13.0, and 1.7 is not offered" in lines["pytorch=1.7"]
    assert "it is no Python package" in lines["ffmpeg"]


def test_a_setup_py_is_asked_and_one_that_fails_is_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path, {"setup.py": SETUP})
    lines = ["einops", "torch", "tqdm; extra == 'Train_It'"]
    monkeypatch.setattr(project_backend, "built_metadata", lambda *_: lines)
    found, _ = plan(folder, capsys)
    assert '"einops"' in found["text"]
    assert "tqdm" not in found["text"]
    assert '"tqdm"' in plan(write(folder, {"groups.txt": "train-it"}), capsys)[0]["text"]
    assert "torch" not in found["text"]

    def fails(*_: object) -> list[str]:
        raise project_declared.MetadataError("boom")

    monkeypatch.setattr(project_backend, "built_metadata", fails)
    found, said = plan(write(folder, {"setup.py": "setup(install_requires=read())\n"}), capsys)
    assert found == {"text": "", "files": {}, "taken": []}
    assert "setup.py does not tell what it needs: boom" in said


def test_lists_that_a_build_can_read_start_no_container(tmp_path: Path) -> None:
    lists = {"requirements.txt": "einops\n", "environment.yml": ENVIRONMENT}
    assert not needs_reading(write(tmp_path / "a", lists))
    table = f"{PROJECT_TABLE}dependencies = ['a']\n"
    assert not needs_reading(write(tmp_path / "b", {"pyproject.toml": table, "Pipfile": ""}))
    assert not needs_reading(write(tmp_path / "c", {"train.py": ""}))


def test_environment_files_are_read_beside_requirements_where_conda_installs(
    tmp_path: Path,
) -> None:
    lists = {"requirements.txt": "-r more.txt\n", "more.txt": "a\n", "env.yml": ENVIRONMENT}
    folder = write(tmp_path / "jane", lists)
    assert needs_reading(folder, environments=True)
    assert not needs_reading(write(tmp_path / "b", {"requirements.txt": "a"}), environments=True)
    taken = ["env.yml", "requirements.txt", "more.txt"]
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in taken}
    said = {"text": "[project]\n", "files": files, "taken": taken, "specs": "@EXPLICIT\n"}
    read = as_read(folder, said, ANSWERS)
    # uv gets each requirement once, as it was read.
    put_lists(folder, tmp_path / "context", read)
    assert [one.name for one in (tmp_path / "context").iterdir()] == ["pyproject.toml"]
    lines = [f"{COPIED}{line}" for line in read.text.splitlines()]
    write(folder, {LOCK: "\n".join(lines), "conda.lock": read.specs})
    assert read_before(folder, ANSWERS, "conda.lock") == read
    # Deleted, it is made anew.
    (folder / "conda.lock").unlink()
    assert read_before(folder, ANSWERS, "conda.lock") is None


def test_the_lock_has_what_was_read_until_a_file_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "jane", {"environment.yml": ENVIRONMENT})
    read = as_read(folder, plan(folder, capsys)[0], ANSWERS)
    assert put_lists(folder, tmp_path / "context", read)
    assert (tmp_path / "context/pyproject.toml").read_text() == read.text
    # As image/workspace-packages.sh writes it.
    lines = [f"{COPIED}{line}" for line in read.text.splitlines()]
    write(folder, {LOCK: "\n".join(["# for 4711", *lines, "einops==1.0"])})
    assert read_before(folder, ANSWERS) == read
    assert read_before(folder, {**ANSWERS, "torch": "2.14.0"}) is None
    write(folder, {"setup.py": SETUP})
    assert read_before(folder, ANSWERS) is None
    (folder / "setup.py").unlink()
    write(folder, {"environment.yml": f"{ENVIRONMENT}#\n"})
    assert read_before(folder, ANSWERS) is None


def test_what_is_read_is_taken_without_passwords(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "dependencies: [{pip: ['--extra-index-url https://a:s3cret@i.example', x]}]\n"
    found, said = plan(write(tmp_path, {"environment.yml": text}), capsys)
    assert 'url = "https://i.example"' in found["text"]
    assert "taken without its password" in said
    assert "s3cret" not in str(found) + said
