"""What an update does to each file is decided from three versions of it, before any is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from hooks.update.changes import Plan, Project, plan_of
from hooks.update.renderings import File

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
