"""What an update does to each file is decided from three versions of it, before any is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hooks.update.changes import Plan, Project, plan_of
from hooks.update.renamed import older_names, renamed_from_older, renamed_to
from hooks.update.renderings import File
from host.checkout import UpdateError
from tests.conftest import InGit
from tests.support.git import git

ANSWERS = ".copier-answers.yml"
TEXT = b"".join(b"line %d\n" % number for number in range(9))


def planned(
    folder: Path,
    ours: dict[str, bytes],
    base: dict[str, bytes],
    theirs: dict[str, bytes],
    keep: str = "",
) -> Plan:
    """The plan for a project whose files git all has; `keep` names one that is the user's alone."""
    for name, data in ours.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    old, new = ({name: File(data) for name, data in x.items()} for x in (base, theirs))
    return plan_of(Project(folder, ours), old, new, lambda name: name == keep)


@pytest.mark.parametrize("name", [".gitlab-ci.yml", ".github/renovate.json"])
def test_a_file_of_the_users_alone_that_the_template_removes_is_kept_if_it_was_edited(
    tmp_path: Path, name: str
) -> None:
    plan = planned(tmp_path, {name: b"mine\n"}, {name: TEXT}, {}, keep=name)
    assert (plan.deletes, plan.kept) == ([], [name])
    plan = planned(tmp_path, {name: TEXT}, {name: TEXT}, {}, keep=name)
    assert (plan.deletes, plan.kept) == ([name], [])


def test_the_templates_version_beside_a_file_of_the_users_replaces_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.new").write_bytes(b"mine\n")
    (tmp_path / "a").write_bytes(b"mine\n")
    plan = plan_of(Project(tmp_path, []), {}, {"a": File(TEXT)}, lambda _: False)
    assert plan.beside == {"a": "a.new2"}
    assert plan.writes == {"a.new2": File(TEXT)}


def test_a_file_that_was_binary_is_not_merged_as_text(tmp_path: Path) -> None:
    plan = planned(tmp_path, {"a": b"mine\n"}, {"a": b"\0"}, {"a": b"theirs\n"})
    assert [one.name for one in plan.conflicts] == ["a"]
    assert not plan.writes


def test_the_templates_changes_follow_a_file_that_the_user_has_renamed(tmp_path: Path) -> None:
    for name in ("mine", "untracked"):
        (tmp_path / name).write_bytes(b"own\n" + TEXT)
    theirs = TEXT + b"new\n"
    base, now = {"a": File(TEXT), "b": File(b"b")}, {"a": File(theirs), "b": File(b"b")}
    for new, kept in (("mine", True), ("untracked", False), ("b", False), ("", False)):
        project = Project(tmp_path, ["mine", "b"], {"a": new}.__getitem__)
        (tmp_path / "b").write_bytes(b"b")
        plan = plan_of(project, base, now, lambda _: False)
        assert plan.writes == ({"mine": File(b"own\n" + theirs)} if kept else {})
        assert plan.followed == ({"a": "mine"} if kept else {})
        # The same where the template has renamed it, too.
        plan = plan_of(project, base, {"c": File(theirs), "b": File(b"b")}, lambda _: False)
        assert plan.writes == ({"mine": File(b"own\n" + theirs)} if kept else {})
        assert not plan.deletes


def test_a_file_that_the_user_deleted_does_not_come_back_under_a_new_name(tmp_path: Path) -> None:
    plan = planned(tmp_path, {}, {"a": TEXT}, {"b": TEXT + b"new\n"})
    assert plan == Plan(others={"a", "b"})
    # What only looks like it, but was made of a file that is there, is written.
    near = TEXT.replace(b"3", b"three")
    plan = planned(tmp_path, {"x": near}, {"a": TEXT, "x": near}, {"y": near})
    assert (plan.writes, plan.deletes) == ({"y": File(near)}, ["x"])
    plan = planned(tmp_path, {}, {"empty": b""}, {"new": b""})
    assert plan.writes == {"new": File(b"")}


def test_git_tells_where_a_renamed_file_is(tmp_path: Path, in_git: InGit) -> None:
    project = tmp_path / "a repository/project"
    project.mkdir(parents=True)
    (project / "a").write_bytes(TEXT)
    (project / "b").write_bytes(TEXT.replace(b"line", b"row"))
    in_git(project.parent)
    git(project, "config", "diff.renames", "false")
    git(project, "mv", "a", "first")
    (project / "b").unlink()
    in_git(project.parent)
    assert renamed_to(project, "a", ANSWERS) == "first"
    (project / "sub").mkdir()
    git(project, "mv", "first", "sub/s\u00e9cond")
    with (project / "sub/s\u00e9cond").open("a") as file:
        file.write("mine\n")
    in_git(project.parent)
    assert renamed_to(project, "a", ANSWERS) == "sub/s\u00e9cond"
    assert renamed_to(project, "b", ANSWERS) == ""
    assert renamed_to(project, "never", ANSWERS) == ""


@pytest.mark.parametrize("first", ["copy", "delete"])
def test_git_tells_where_a_file_is_that_was_renamed_in_two_commits(
    tmp_path: Path, in_git: InGit, first: str
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / ANSWERS).write_text("_commit: v1.0.0\n")
    old, new = project / "a", project / "b"
    old.write_bytes(TEXT)
    in_git(project)
    steps: list[Callable[[], object]] = [
        lambda: new.write_bytes(TEXT + b"mine\n"),
        old.unlink,
    ]
    for step in steps if first == "copy" else steps[::-1]:
        step()
        in_git(project)
    assert renamed_to(project, "a", ANSWERS) == "b"
    # Later updates change neither what was, nor what is called so.
    (project / ANSWERS).write_text("_commit: v2.0.0\n")
    git(project, "mv", "b", "c")
    in_git(project)
    assert renamed_to(project, "a", ANSWERS) == "c"


def test_git_tells_where_a_file_is_that_the_template_renamed_after_the_user(
    tmp_path: Path, in_git: InGit
) -> None:
    project, template = tmp_path / "project", tmp_path / "hearth"
    for folder, name in ((project, "a"), (template, "template/a.jinja")):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(TEXT)
        in_git(folder)
    git(project, "mv", "a", "own")
    in_git(project)
    for old, new in (("a.jinja", "b.jinja"), ("b.jinja", "c")):
        git(template, "mv", f"template/{old}", f"template/{new}")
        in_git(template)
    git(template, "tag", "v2.0.0")
    now = (template, "v2.0.0")
    assert older_names(*now, "c") == ["b", "a"]
    assert older_names(template, "v3.0.0", "c") == []
    assert renamed_from_older(project, "c", ANSWERS, now) == "own"
    # Whoever deletes the newer one does not want it.
    (project / "c").write_bytes(TEXT)
    in_git(project)
    (project / "c").unlink()
    in_git(project)
    assert renamed_from_older(project, "c", ANSWERS, now) == ""


def test_a_file_that_differs_by_its_case_only_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/Readme").write_text("mine")
    project = Project(tmp_path, ["a/Readme"])
    project.check_case("a/Readme")
    # As a disk tells that takes both names for one file.
    for names in (["b", "README"], ["b"]):
        monkeypatch.setattr("hooks.update.changes.os.listdir", lambda _, names=names: names)
        if len(names) == 1:  # it writes letters in another way
            project.check_case("a/Readme")
            continue
        with pytest.raises(UpdateError, match=r"a/README and a/Readme of the template are one"):
            project.check_case("a/Readme")
