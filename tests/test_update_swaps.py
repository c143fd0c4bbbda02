"""A file where there was a folder, the reverse, and a repository in the way: done, or refused."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hooks.update.changes import Plan, Project, plan_of
from hooks.update.renderings import File
from hooks.update.snapshot import apply, check_possible, take
from host.checkout import Checkout, UpdateError
from tests.conftest import InGit
from tests.support.git import git

ProjectOf = Callable[[dict[str, bytes]], Checkout]
TEXT = b"".join(b"line %d\n" % number for number in range(9))
OTHER = b"another\n"


@pytest.fixture
def project_of(tmp_path: Path, in_git: InGit) -> ProjectOf:
    """A function that makes a project in git, which has some files."""

    def made(base: dict[str, bytes]) -> Checkout:
        root = tmp_path / "a project"
        (root / "docker-amd64").mkdir(parents=True)
        for name, data in base.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        in_git(root)
        head = git(root, "rev-parse", "HEAD").strip()
        return Checkout(root, root / "docker-amd64", "", "", "", root / ".git", head)

    return made


def plan_for(project: Checkout, base: dict[str, bytes], theirs: dict[str, bytes]) -> Plan:
    """What an update changes there. Raises UpdateError."""
    old, new = ({name: File(data) for name, data in x.items()} for x in (base, theirs))
    tracked = git(project.root, "ls-files").splitlines()
    plan = plan_of(Project(project.root, tracked), old, new, lambda _: False)
    check_possible(project, plan)
    return plan


def files(root: Path) -> dict[str, bytes]:
    """The files of a project."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {str(path): (root / path).read_bytes() for path in found if path.parts[0] != ".git"}


@pytest.mark.parametrize(
    ("base", "theirs"),
    [({"a": TEXT}, {"a/b": OTHER}), ({"x/a/b": TEXT, "x/a/c/d": TEXT}, {"x/a": OTHER})],
    ids=["a folder for a file", "a file for a folder"],
)
def test_a_file_and_a_folder_change_places_and_back(
    tmp_path: Path, project_of: ProjectOf, base: dict[str, bytes], theirs: dict[str, bytes]
) -> None:
    project = project_of(base)
    plan = plan_for(project, base, theirs)
    take(project, plan.touched, tmp_path / "scratch")
    (project.state / "running").unlink()
    apply(project, plan)
    assert files(project.root) == theirs
    subprocess.run(["sh", str(project.state / "undo")], check=True)
    assert files(project.root) == base
    assert git(project.root, "status", "--porcelain") == ""
    git(project.root, "stash", "apply", "--quiet")
    assert files(project.root) == theirs


@pytest.mark.parametrize(
    ("base", "theirs", "mine", "sentence"),
    [
        ({"a": TEXT}, "a/b", "a", "a is a file here, and a folder"),
        ({"a/b": TEXT}, "a", "a/b", "a is a folder here, and a file"),
        ({"a/b": TEXT}, "a", "a/own", "a is a folder here, and a file"),
        ({"b": TEXT}, "a/b/c", "a/.git", "a is a repository of its own"),
    ],
)
def test_what_is_the_users_stays_where_the_template_has_something_else(
    project_of: ProjectOf,
    base: dict[str, bytes],
    theirs: str,
    mine: str,
    sentence: str,
) -> None:
    project = project_of(base)
    (project.root / mine).parent.mkdir(exist_ok=True)
    (project.root / mine).write_bytes(b"mine\n")
    with pytest.raises(UpdateError, match=sentence):
        plan_for(project, base, {theirs: OTHER})
