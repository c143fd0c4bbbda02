"""A newer .env.example: .env follows it where nobody has changed anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host import env_file, env_renewal, fill
from host.env_file import GONE, RECORD, Merge, merge, read_env
from host.gpu_facts import GpuFacts as Facts
from tests.support.git import git

OLD = """\
# What this machine needs.

# Who you are.
USRID=1000
GRPID=1000

# Shared memory.
SHM_SIZE=1gb

# The time zone, and how many processes.
TZ=Etc/UTC
LIMIT=64

# Other sources.
# IMAGE=debian:12
# MIRROR=https://mirror.example
"""
VALUES = {"USRID": "4321", "SHM_SIZE": "16gb", "TZ": "Europe/Berlin"}
FIRST = merge(OLD, None, VALUES).text


def renewed(new: str, mine: str = FIRST, old: str = OLD) -> Merge:
    """The .env after an update from one example to another, of which the machine decides VALUES."""
    values = {key: value for key, value in VALUES.items() if key in read_env(new)}
    merged = merge(new, mine, values, former=old, former_values=VALUES)
    again = merge(new, merged.text, values)
    assert (again.text, again.gone, again.removed) == (merged.text, (), ())
    return merged


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith(RECORD)]


@pytest.mark.parametrize(
    "changes",
    [
        [("# Shared memory.", "# Shared memory, for a DataLoader.\n# Half of the memory.")],
        [("# Shared memory.\n", "")],
        [("# What this machine needs.\n\n", "")],
        [("GRPID=1000\n", "GRPID=1000\n# A name.\nNAME=me\n")],
        [("\n# Shared memory.\nSHM_SIZE=1gb\n", "")],
        [("TZ=Etc/UTC\n", "")],
        [
            ("LIMIT=64\n", ""),
            ("TZ=Etc/UTC\n", ""),
            ("# The time zone, and how many processes.\n\n", ""),
        ],
        [("# MIRROR=https://mirror.example\n", "")],
        [("debian:12", "debian:13")],
        [("# IMAGE=debian:12", "IMAGE=debian:12")],
        [
            ("\n# Shared memory.\nSHM_SIZE=1gb\n", ""),
            ("GRPID", "# Shared memory.\nSHM_SIZE=1gb\nGRPID"),
        ],
        [("TZ=Etc/UTC\n", ""), ("# Who you are.\n", "# Who and where you are.\nTZ=Etc/UTC\n")],
    ],
)
def test_an_env_that_nobody_changed_is_as_if_it_was_made_today(
    changes: list[tuple[str, str]],
) -> None:
    new = OLD
    for old, now in changes:
        assert old in new
        new = new.replace(old, now)
    values = {key: value for key, value in VALUES.items() if key in read_env(new)}
    assert renewed(new).text == merge(new, None, values).text


def test_what_was_removed_and_what_is_new_are_named() -> None:
    merged = renewed(OLD.replace("LIMIT=64\n", "").replace("TZ=", "NEW=1\nTZ="))
    assert (merged.removed, merged.added, merged.gone) == (("LIMIT",), ("NEW",), ())


@pytest.mark.parametrize(
    "line",
    [
        "SHM_SIZE=99gb",
        "export SHM_SIZE=16gb",
        "SHM_SIZE=16gb # measured",
        "SHM_SIZE=16gb\nSHM_SIZE=16gb",
    ],
)
def test_a_key_that_somebody_changed_stays_with_its_comment_and_is_named(line: str) -> None:
    merged = renewed(
        OLD.replace("\n# Shared memory.\nSHM_SIZE=1gb\n", ""), FIRST.replace("SHM_SIZE=16gb", line)
    )
    assert (merged.removed, merged.gone) == ((), ("SHM_SIZE",))
    assert "# Shared memory.\n" in merged.text
    assert merged.text.count(GONE) == line.count("\n") + 1
    assert set(line.splitlines()) <= set(lines(merged.text))


def test_a_key_under_a_comment_of_the_users_stays() -> None:
    mine = FIRST.replace("# Shared memory.", "# Shared memory: not more, it is a small machine.")
    merged = renewed(OLD.replace("\n# Shared memory.\nSHM_SIZE=1gb\n", ""), mine)
    assert (merged.removed, merged.gone) == ((), ("SHM_SIZE",))
    assert "# Shared memory: not more, it is a small machine.\n" in merged.text


def test_a_key_that_another_line_expands_stays() -> None:
    mine = FIRST.replace("LIMIT=64", "LIMIT=64\nMINE=${LIMIT}")
    merged = renewed(OLD.replace("LIMIT=64\n", ""), mine)
    assert (merged.removed, merged.gone) == ((), ("LIMIT",))
    assert "LIMIT=64\nMINE=${LIMIT}\n" in merged.text


def test_an_optional_key_in_use_stays_with_its_value() -> None:
    mine = FIRST.replace("# IMAGE=debian:12", "IMAGE=debian:12")
    assert "\nIMAGE=debian:12\n" in renewed(OLD.replace("debian:12", "debian:13"), mine).text
    gone = renewed(OLD.replace("# IMAGE=debian:12\n", ""), mine)
    assert (gone.removed, gone.gone) == ((), ("IMAGE",))


def test_a_fresh_comment_comes_to_a_value_of_the_users_and_not_over_a_comment_of_theirs() -> None:
    new = OLD.replace("# Shared memory.", "# News.").replace("# Other sources.", "# Mirrors.")
    mine = FIRST.replace("SHM_SIZE=16gb", "SHM_SIZE=${SIZE:-9gb} # why")
    mine = mine.replace("# Other sources.", "# Other sources. Ask Ada.")
    text = renewed(new, mine).text
    assert "\n# News.\nSHM_SIZE=${SIZE:-9gb} # why\n" in text
    assert "# Shared memory." not in text
    assert "\n# Other sources. Ask Ada.\n" in text
    assert "# Mirrors." not in text


def test_a_note_beside_a_comment_of_the_template_does_not_keep_that_from_changing() -> None:
    mine = FIRST.replace("# Shared memory.", "# A note.\nMINE=1\n\n# Shared memory.")
    text = renewed(OLD.replace("# Shared memory.", "# News."), mine).text
    assert "# A note.\nMINE=1\n\n# News.\nSHM_SIZE=16gb\n" in text


def test_a_key_that_moves_takes_its_value_along_unless_lines_depend_on_its_place() -> None:
    new = OLD.replace("LIMIT=64\n", "").replace("USRID=", "LIMIT=64\nUSRID=")
    moved = renewed(new, FIRST.replace("LIMIT=64", "export LIMIT='9' # why")).text
    assert "export LIMIT='9' # why\nUSRID=4321\n" in moved
    tied = renewed(new, FIRST.replace("LIMIT=64", "MINE=7\nLIMIT=${MINE}")).text
    assert "MINE=7\nLIMIT=${MINE}\n" in tied
    assert tied.count("LIMIT=") == 1


# ------------------------------------------------------------------------------- any file

KEYS = ("A", "B", "C", "D", "E", "F")
EXAMPLE_LINES = st.lists(
    st.sampled_from(
        ["", "# one", "# two", "# three", *(f"{key}=1" for key in KEYS), "# A=1", "# F=2"]
    ),
    max_size=12,
    unique_by=lambda line: line.strip("# ").partition("=")[0] or object(),
)
LINES = (
    *(
        "",
        "# mine",
        "# one",
        "MINE=1",
        "MINE=${A}",
        "export A=9",
        "# A=1",
        "B=9 # why",
        "B=1 # why",
    ),
    *("# B=5", "C='x\ny'", "D=1", "E=${D}", "F=3", GONE),
)
# Where a line is put in, which one, and whether it replaces another one.
EDITS = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from(LINES), st.booleans()),
    max_size=5,
)


def written(text: str) -> dict[str, str]:
    return {one.key: one.value for one in env_file.parse_env(text) if one.key and one.active}


@settings(max_examples=150)
@given(EXAMPLE_LINES, EXAMPLE_LINES, EDITS)
def test_no_update_loses_what_is_the_users(
    old_lines: list[str], new_lines: list[str], edits: list[tuple[int, str, bool]]
) -> None:
    old, new = ("".join(f"{line}\n" for line in one) for one in (old_lines, new_lines))
    mine = merge(old, None, {"A": "4"}).text.splitlines()
    for at, line, instead in edits:  # over the record, too
        mine[at : at + instead] = [line]
    before = "".join(f"{line}\n" for line in mine)
    values = {"A": "4"} if "A=1" in new_lines else {}
    merged = merge(new, before, values, former=old, former_values={"A": "4"})

    assert merge(new, merged.text, values).text == merged.text
    assert set(written(new)) <= set(written(merged.text))
    kept, after = written(before), written(merged.text)
    changed = {one.key for one in merged.taken}
    for key, value in kept.items():
        if key in merged.removed:
            assert key not in written(new)
            assert value in (written(old)[key], "4" if key == "A" else "1")
        elif key not in changed:
            assert after[key] == value, key
    assert sorted(merged.removed) == sorted(key for key in kept if key not in after)
    template = {*old_lines, "A=4"}
    left = merged.text.splitlines()
    for line in before.splitlines():
        if line and line not in template and not line.startswith((RECORD, GONE)):
            assert line in left or line.partition("=")[0] in changed, line


# --------------------------------------------------------------- the example in git


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "project/docker-amd64"
    path.mkdir(parents=True)
    (path / ".env.example").write_text(OLD)
    git(path.parent, "init", "--quiet")
    return path


def write_example(folder: Path, text: str) -> None:
    (folder / ".env.example").write_text(text)


NEW = OLD.replace("# Shared memory.", "# News.").replace("LIMIT=64\n", "")


def commit(folder: Path) -> None:
    git(folder, "add", ".env.example")
    git(folder, "commit", "--quiet", "--message", "all")


def test_who_pulls_an_update_gets_the_same_env_as_who_made_it(folder: Path) -> None:
    commit(folder)
    fill.fill(folder, facts=Facts())
    write_example(folder, NEW)
    commit(folder)
    filled = fill.fill(folder, facts=Facts())
    assert ".env: removed LIMIT, which nothing reads any more." in fill.report(filled)
    text = (folder / ".env").read_text()
    (folder / ".env").unlink()
    fill.fill(folder, facts=Facts())
    assert text == (folder / ".env").read_text()


def test_without_the_former_example_nothing_leaves(folder: Path) -> None:
    fill.fill(folder, facts=Facts())
    write_example(folder, NEW)
    commit(folder)
    assert fill.fill(folder, facts=Facts()).merged.gone == ("LIMIT",)
    assert "# Shared memory.\n" in (folder / ".env").read_text()


@pytest.mark.parametrize(
    ("committed", "removed"),
    [(OLD, ("LIMIT",)), (NEW, ()), ("", ()), (f"<<<<<<< HEAD\n{OLD}", ())],
)
def test_the_committed_example_counts_where_an_older_env_names_none(
    folder: Path, committed: str, removed: tuple[str, ...]
) -> None:
    write_example(folder, NEW)
    record = f"{RECORD}USRID SHM_SIZE TZ LIMIT:64"
    (folder / ".env").write_text("\n".join([*lines(FIRST), record, ""]))
    filled = fill.fill(folder, facts=Facts(timezone="Europe/Berlin"), committed=committed)
    assert filled.merged.removed == removed


def test_an_example_that_is_not_the_recorded_one_is_not_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill.fill(folder, facts=Facts())
    write_example(folder, NEW)
    forged = subprocess.CompletedProcess([], 0, f"{OLD}MINE=1\n", "")
    monkeypatch.setattr(env_renewal, "capture", lambda *_, **__: forged)
    assert fill.fill(folder, facts=Facts()).merged.removed == ()
