"""A file where there was a folder, the reverse, and a repository in the way: done, or refused."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from hooks.update.changes import ChangedError, Plan, Project, plan_of
from hooks.update.renderings import File
from hooks.update.snapshot import (
    apply,
    check_possible,
    leave,
    note_made,
    overtaken,
    take,
)
from host.checkout import Checkout, UpdateError, find_project
from host.update import need_clean, need_own_state
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


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize(
    ("base", "theirs"),
    [
        ({"a": TEXT, "b": TEXT}, {"a/b": OTHER, "a/c": OTHER, "b": OTHER}),
        ({"x/a/b": TEXT, "x/a/c/d": TEXT, "b": TEXT}, {"x/a": OTHER, "b": OTHER, "c": OTHER}),
    ],
    ids=["a folder for a file", "a file for a folder"],
)
def test_a_swap_that_is_killed_before_any_write_can_be_taken_back(
    tmp_path: Path,
    project_of: ProjectOf,
    base: dict[str, bytes],
    theirs: dict[str, bytes],
    at: int,
) -> None:
    project = project_of(base)
    plan = plan_for(project, base, theirs)
    take(project, plan.touched, tmp_path / "scratch")
    (project.state / "running").write_text("999999999")  # of a process that is no more
    writes = [*plan.writes]

    def be_killed(names: Iterable[str]) -> None:
        if writes[at] in names:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(project, plan, be_killed)
    assert files(project.root) not in (base, theirs)
    subprocess.run(["sh", str(project.state / "undo")], check=True)
    assert files(project.root) == base
    assert git(project.root, "status", "--porcelain") == ""


def test_what_an_editor_saves_while_an_update_is_at_work_is_not_replaced(
    project_of: ProjectOf,
) -> None:
    project = project_of({"a": TEXT, "b": TEXT})
    here = Project(project.root, ["a", "b"])
    theirs = {"a": File(OTHER), "b": File(OTHER)}
    plan = plan_of(here, {name: File(TEXT) for name in "ab"}, theirs, lambda _: False)
    here.check_unchanged(plan.touched)
    (project.root / "b").write_bytes(b"just saved\n")
    take(project, plan.touched, project.root / "scratch")
    (project.state / "running").unlink()
    with pytest.raises(ChangedError, match="b changed while the update was at work") as found:
        apply(project, plan, here.check_unchanged)
    assert files(project.root) == {"a": OTHER, "b": b"just saved\n"}
    leave(project, found.value.names)
    subprocess.run(["sh", str(project.state / "undo")], check=True)
    assert files(project.root) == {"a": TEXT, "b": b"just saved\n"}


@pytest.mark.parametrize("below", ["", "a folder"])
def test_an_undo_names_what_was_saved_since_with_the_command_that_shows_it(
    project_of: ProjectOf, capfd: pytest.CaptureFixture[str], below: str
) -> None:
    names = ["a", "it's 1", "kept"]
    project = project_of({f"{below}/{name}".lstrip("/"): TEXT for name in names})
    root = project.root / below
    project = project._replace(root=root, docker=root / "docker-amd64")
    base, theirs = dict.fromkeys(names, TEXT), dict.fromkeys(names, OTHER)
    plan = plan_for(project, base, theirs)
    known = [(name, content) for name in names for content in (TEXT, OTHER)]
    take(project, plan.touched, project.root / "scratch", (), known)
    apply(project, plan)
    assert overtaken(project, plan) == []
    (project.root / "it's 1").write_bytes(b"saved at once\n")
    assert overtaken(project, plan) == ["it's 1"]
    assert (project.state / "made/it's 1").read_bytes() == OTHER
    note_made(project, ["it's 1"])
    (project.root / "a").write_bytes(b"saved later\n")
    (project.state / "running").unlink()
    subprocess.run(["sh", str(project.state / "undo")], check=True)
    said = capfd.readouterr().out
    shown = [line for line in said.splitlines() if line.startswith("  git show")]
    contents = [
        subprocess.run(["sh", "-c", line], cwd=project.root, capture_output=True, check=True).stdout
        for line in shown
    ]
    assert contents == [b"saved later\n", b"saved at once\n"]
    assert files(project.root) == base


def test_a_file_of_ones_own_under_the_new_name_is_no_place_for_the_templates(
    project_of: ProjectOf,
) -> None:
    project = project_of({"own": TEXT, "new": b"mine\n"})  # it was old, and is new in the template
    here = Project(project.root, ["own", "new"], lambda name: "own" if name == "old" else "")
    now = TEXT + OTHER
    plan = plan_of(here, {"old": File(TEXT)}, {"new": File(now)}, lambda _: False)
    assert (plan.writes, plan.deletes, plan.conflicts) == ({"own": File(now)}, [], [])
    assert plan.followed == {"old": "own"}


def test_an_update_of_another_user_is_named_with_its_owner(
    tmp_path: Path, project_of: ProjectOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_of({"a": TEXT})
    need_own_state(project)  # there was none
    take(project, ["a"], tmp_path / "scratch")
    need_own_state(project)
    # Root may read everything.
    monkeypatch.setattr("os.access", lambda path, _: path != str(project.state))
    with pytest.raises(UpdateError, match=rf"another user \({os.geteuid()}\)") as refused:
        need_own_state(project)
    assert refused.value.command.endswith(f" {shlex.quote(str(project.state.parent))}")


def test_what_git_says_of_a_repository_that_it_does_not_read_is_passed_on(
    project_of: ProjectOf,
) -> None:
    project = project_of({".copier-answers.yml": b"_commit: v1\n"})
    described = SimpleNamespace(
        folder=project.docker, root=project.root, answers_file=".copier-answers.yml"
    )
    git(project.root, "config", "core.repositoryFormatVersion", "99")
    with pytest.raises(UpdateError, match=r"git does not read this repository .*99"):
        find_project(described)  # type: ignore[arg-type]


@pytest.mark.parametrize("variable", ["GLOB", "NOGLOB", "ICASE"])
def test_no_variable_that_reads_paths_as_patterns_keeps_an_update_from_being_taken_back(
    tmp_path: Path, project_of: ProjectOf, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    project = project_of({"a": TEXT})
    plan = plan_for(project, {"a": TEXT}, {"a": OTHER})
    take(project, plan.touched, tmp_path / "scratch")
    (project.state / "running").unlink()
    apply(project, plan)
    git(project.root, "add", "--all")  # it is in the index, too
    monkeypatch.setenv(f"GIT_{variable}_PATHSPECS", "1")
    subprocess.run(["sh", str(project.state / "undo")], check=True)
    monkeypatch.delenv(f"GIT_{variable}_PATHSPECS")
    assert files(project.root) == {"a": TEXT}
    assert git(project.root, "status", "--porcelain") == ""


def test_without_a_filter_that_git_needs_an_update_is_taken_back_all_the_same(
    tmp_path: Path, project_of: ProjectOf
) -> None:
    was = {".gitattributes": b"a filter=big\n", "a": TEXT}
    project = project_of(was)
    plan = plan_for(project, was, {**was, "a": OTHER, "c/d": OTHER})
    take(project, plan.touched, tmp_path / "scratch")
    (project.state / "running").unlink()
    apply(project, plan)
    for key, value in {"clean": "no-such-program", "required": "true"}.items():
        git(project.root, "config", f"filter.big.{key}", value)
    subprocess.run(["sh", str(project.state / "undo")], check=True)
    assert files(project.root) == was
    kept = {name: git(project.root, "show", f"stash@{{0}}:{name}") for name in ("a", "c/d")}
    assert kept == {"a": OTHER.decode(), "c/d": OTHER.decode()}
    with pytest.raises(UpdateError, match="cannot compare the files"):
        need_clean(project)
    git(project.root, "config", "--unset", "filter.big.required")
    assert git(project.root, "status", "--porcelain") == ""


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


@pytest.mark.parametrize(
    ("commands", "word"),
    [
        (["merge --quiet --no-commit --no-ff other"], "merge"),
        (["cherry-pick --no-commit other", "update-ref CHERRY_PICK_HEAD other"], "cherry-pick"),
        (["-c sequence.editor=true rebase --quiet --interactive --exec false HEAD~1"], "rebase"),
    ],
    ids=["merge", "cherry-pick", "rebase"],
)
def test_what_git_has_not_finished_is_finished_before_an_update(
    project_of: ProjectOf, in_git: InGit, commands: list[str], word: str
) -> None:
    project = project_of({"a": TEXT})
    git(project.root, "config", "user.name", "x")
    git(project.root, "config", "user.email", "x")
    git(project.root, "checkout", "--quiet", "-b", "other")
    git(project.root, "commit", "--quiet", "--allow-empty", "--message", "nothing")
    git(project.root, "checkout", "--quiet", "-")
    (project.root / "a").write_bytes(OTHER)
    in_git(project.root)
    need_clean(project)
    for command in commands:
        done = ["git", *command.split()]
        subprocess.run(done, cwd=project.root, capture_output=True, check=False)
    assert git(project.root, "status", "--porcelain") == ""
    with pytest.raises(UpdateError, match=f"A {word} of git is not finished"):
        need_clean(project)
