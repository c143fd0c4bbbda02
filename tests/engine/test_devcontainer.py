"""The dev container as editors start it, by the CLI that they use, and as template.sh does."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from host.doors import PROGRAM, differences
from tests.engine.conftest import MakeProject, give, known_person
from tests.support.editor import devcontainer, editor_problem, inside, opened
from tests.support.engine import need
from tests.support.index import PackageIndex
from tests.support.process import run
from tests.support.project import Person, Project

IDS = """
import json, os, pathlib, demo
made = [pathlib.Path(one) for one in ("/workspace/made", pathlib.Path.home() / ".vscode-server")]
made[0].touch()
made[1].mkdir(exist_ok=True)
status = pathlib.Path("/proc/1/status").read_text().splitlines()
first = [line.split()[1:4] for line in status if line.startswith(("Uid:", "Gid:"))]
print(json.dumps({
    "exec": [*os.getresuid(), *os.getresgid()],
    "first process": [int(number) for numbers in first for number in numbers],
    "owners": [[one.stat().st_uid, one.stat().st_gid] for one in made],
    "package": demo.__file__,
    "seen": os.listdir("/workspace/docker-amd64"),
    "read-only": not os.access("/workspace/.devcontainer", os.W_OK),
}))
"""


@pytest.fixture(scope="module")
def person(open_folder: Path, index: PackageIndex) -> Person:
    """Somebody who works with an editor."""
    need(editor_problem())
    return known_person(open_folder / "editor-home", 1, *index.env().items())


def as_cloned(project: Project) -> Project:
    """The project without what git ignores, as somebody has it who has just cloned it."""
    names = ("guard", "editor", "cdi", "nvidia")
    for path in (*project.docker.glob(".env.*"), project.docker / ".env"):
        if path.name != ".env.example":
            path.unlink()
    for name in names:
        (project.docker / f"compose.{name}.yaml").unlink(missing_ok=True)
    return project


@pytest.fixture(scope="module")
def made(project: MakeProject, person: Person) -> Project:
    """A project for GPUs that only an editor has touched so far, on a machine without any."""
    new = project(
        "in an editor",
        owner=person,
        light=True,
        accelerator="cuda",
        extras=["devcontainer"],
        project_name="demo",
        package_name="demo",
    )
    return as_cloned(new)


def container(project: Project) -> str:
    """The id of the dev container that template.sh enters."""
    return project.compose("ps", "--all", "--quiet", "--no-trunc", "dev").strip()


def expect_ids(project: Project) -> None:
    """Everything in the container is the user's who opened it."""
    room: dict[str, Any] = json.loads(inside(project, "python", "-c", IDS))
    uid, gid = project.owner.uid, project.owner.gid
    assert room["exec"] == room["first process"] == [uid] * 3 + [gid] * 3
    assert room["owners"] == [[uid, gid]] * 2
    assert room["package"] == "/workspace/src/demo/__init__.py"
    assert not {".env", "compose.editor.yaml"} & {*room["seen"]}
    assert room["read-only"]


def test_a_fresh_clone_opens_and_all_in_it_belongs_to_the_user(made: Project) -> None:
    first = opened(made)
    assert first == container(made)
    expect_ids(made)
    assert made.ok("exec", "id", "-u") == f"{made.owner.uid}\n"
    file = made.docker / "compose.editor.yaml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "no GPU in this container" in made.compose("logs", "dev")


def test_template_sh_and_editors_have_the_same_container(made: Project) -> None:
    by_editor = opened(made)
    made.ok("up")
    assert container(made) == by_editor

    # Below those that template.sh hands out, and above those of known programs.
    port = 12000 + made.owner.uid % 8000
    made.ok("over")
    override = (
        f'services: {{dev: {{ports: ["127.0.0.1:{port}:8888"], environment: {{X: "a$$b"}}}}}}\n'
    )
    made.write("docker-amd64/compose.override.yaml", override)
    made.ok("up")  # in place of the editor's, which finds this one
    assert inside(made, "printenv", "X") == "a$b\n"
    assert opened(made) == container(made) != by_editor
    assert run("docker", "port", container(made)).stdout == f"8888/tcp -> 127.0.0.1:{port}\n"

    made.ok("down")
    made.ok("up")
    by_template = container(made)
    made.ok("stop")
    assert opened(made) == by_template
    assert inside(made, "printenv", "X") == "a$b\n"
    image = run("docker", "inspect", "--format", "{{.Config.Image}}", by_template).stdout
    assert image == f"{made.image('dev')}\n"


def test_the_terminal_of_an_editor_is_one_more_door_into_the_same_room(made: Project) -> None:
    opened(made)
    made.ok("exec", "sh", "-c", "echo 'export OF_LOGIN=a:$HOME' >~/.bash_profile")
    answer = json.loads(made.sh("doors", "--json").stdout)
    theirs = json.loads(inside(made, "python", "-c", PROGRAM.read_text()))
    made.ok("exec", "sh", "-c", "rm ~/.bash_profile")
    assert answer["closed"] == {}
    ours = answer["rooms"]["dev container"]
    found = answer["differences"]
    assert {way for _, way, value in found if value == "a:/home/user"} == {
        "bash -l",
        "dev container",
    }
    assert {name for name, _, _ in found} == {"$OF_LOGIN"}
    assert differences({"doors": ours, "CLI": theirs}, {"HOSTNAME", "SHLVL", "_"}) == []


def test_pycharm_has_the_same_by_compose(made: Project) -> None:
    (file,) = re.findall(r"(?m)^ +configuration +(.*)$", made.ok("editor"))
    python = ("/opt/venv/bin/python", "-c", "import demo, os; print(demo.__file__, os.getuid())")
    found = f"/workspace/src/demo/__init__.py {made.owner.uid}\n"
    run_once = ("run", "--rm", "-T", "--no-deps", "--entrypoint", "")
    for way in (("exec", "-T"), run_once):
        done = made.owner.run(
            "docker", "compose", "--file", file, *way, "dev", *python, cwd=made.folder
        )
        assert done.stdout == found, done.stderr


def test_a_rebuild_has_new_packages_and_features_and_the_same_user(
    made: Project, index: PackageIndex
) -> None:
    index.add("hearth-editor-news", "1.0")
    list_ = made.docker / "dependencies/pyproject.toml"
    made.write(
        str(list_.relative_to(made.folder)),
        list_.read_text().replace("dependencies = []", 'dependencies = ["hearth-editor-news"]'),
    )
    feature = '{"id": "hello", "version": "1.0.0", "name": "hello"}\n'
    made.write(".devcontainer/hello/devcontainer-feature.json", feature)
    made.write(".devcontainer/hello/install.sh", "id -u >/etc/hello\n")
    settings = made.folder / ".devcontainer/devcontainer.json"
    with_feature = settings.read_text().replace(
        '  "service"', '  "features": { "./hello": {} },\n  "service"', 1
    )
    give(made.folder / ".devcontainer", made.owner)
    made.write(".devcontainer/devcontainer.json", with_feature)
    before = container(made)
    assert opened(made, "--remove-existing-container") == container(made) != before
    assert inside(made, "cat", "/etc/hello") == "0\n"
    inside(made, "python", "-c", "import hearth_editor_news")
    expect_ids(made)
    made.ok("up")
    assert made.ok("exec", "cat", "/etc/hello") == "0\n"


def test_a_clone_of_somebody_else_has_their_ids_and_a_container_of_its_own(
    made: Project, open_folder: Path
) -> None:
    other = known_person(open_folder / "other-home", 2, *made.owner.more)
    folder = open_folder / "clones" / "in an editor"
    shutil.copytree(made.folder, folder, symlinks=True)
    give(folder.parent, other)
    clone = as_cloned(Project(folder, other))
    (clone.docker / "compose.override.yaml").unlink(missing_ok=True)
    try:
        assert opened(clone) == container(clone) != container(made)
        expect_ids(clone)
    finally:
        clone.sh("clean", "--all", "--yes")


def test_an_editor_shows_why_nothing_can_be_started(made: Project) -> None:
    env = made.docker / ".env"
    before = env.read_text()
    made.ok("down")
    made.set_env(LOCAL_CODE_DIR="../moved")
    done = devcontainer(made, "up")
    made.write("docker-amd64/.env", before)
    assert done.returncode == 1
    assert re.search(r"failure: code-folder-missing", done.stderr)
