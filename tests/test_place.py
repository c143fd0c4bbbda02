"""A copied folder is another project, a moved one is the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from host import place
from host.ask import in_background
from host.compose import keep_apart_and_ask
from host.env_file import read_env
from host.fill import fill
from host.project import read_project
from tests.support.program import put_program, run_program

EXAMPLE = "USRID=1000\nCOMPOSE_PROJECT_NAME=demo\nCOMPOSE_FILE=compose.yaml\n"


def name_of(folder: Path) -> str:
    return read_env((folder / ".env").read_text())["COMPOSE_PROJECT_NAME"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A filled docker-amd64 in the project `first`."""
    made = tmp_path / "first" / "docker-amd64"
    made.mkdir(parents=True)
    put_program(made)
    (made / ".env.example").write_text(EXAMPLE)
    (made / "compose.yaml").write_text("")
    fill(made)
    return made


def copy(folder: Path, name: str) -> Path:
    target = folder.parents[1] / name
    shutil.copytree(folder.parent, target)
    return target / "docker-amd64"


def engine(tmp_path: Path, folders: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine in which containers of every name belong to these folders."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    docker = tmp_path / "bin/docker"
    docker.write_text(f"#!/bin/sh\nprintf '%s\\n' '{folders}'\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")


def test_a_copied_folder_gets_a_name_of_its_own_with_any_verb(folder: Path) -> None:
    other = copy(folder, "second")
    before = (folder / ".env").read_text()
    done = run_program("over", folder=other)
    assert str(folder.parent) in done.stderr
    assert name_of(other) in done.stderr
    assert name_of(other) != name_of(folder)
    assert (folder / ".env").read_text() == before
    # It is said once, and filling keeps the name.
    assert name_of(other) not in run_program("over", folder=other).stderr
    kept = name_of(other)
    fill(other)
    assert name_of(other) == kept


def test_a_copy_of_a_name_written_by_hand_does_not_keep_it(folder: Path) -> None:
    (folder / ".env").write_text(
        (folder / ".env").read_text().replace(f"={name_of(folder)}\n", "=mine\n")
    )
    other = copy(folder, "second")
    assert place.check_place(folder) == ""
    assert place.check_place(other)
    assert (name_of(folder), name_of(other).startswith("demo-")) == ("mine", True)


def test_env_says_it_too(folder: Path) -> None:
    other = copy(folder, "second")
    notes = fill(other).notes
    assert [name_of(other) in note for note in notes if str(folder.parent) in note] == [True]


def test_a_moved_folder_keeps_its_name(folder: Path) -> None:
    name = name_of(folder)
    moved = folder.parents[1] / "moved"
    folder.parent.rename(moved)
    assert "moved from" in place.check_place(moved / "docker-amd64")
    assert name_of(moved / "docker-amd64") == name
    assert place.check_place(moved / "docker-amd64") == ""
    assert fill(moved / "docker-amd64").merged.differing == ()


def test_another_way_to_the_same_folder_is_the_same_folder(folder: Path) -> None:
    link = folder.parents[1] / "link"
    link.symlink_to(folder.parent)
    text = (folder / ".env").read_text().replace(str(folder), str(link / "docker-amd64"))
    (folder / ".env").write_text(text)
    assert place.check_place(folder) == ""


@pytest.mark.parametrize(
    ("owner", "is_kept"),
    [("first", False), ("nowhere", True), ("", False)],
    ids=["copied", "moved", "unknown"],
)
def test_without_a_record_the_name_tells_the_folder(
    folder: Path, owner: str, *, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An .env of 0.6.0; the engine knows where containers of the name are from."""
    tmp_path, name = folder.parents[1], name_of(folder)
    text = f"USRID=1000\nCOMPOSE_PROJECT_NAME={name}\nCOMPOSE_FILE=compose.yaml\n"
    (folder / ".env").write_text(text)
    other = copy(folder, "second")
    engine(tmp_path, str(tmp_path / owner / "docker-amd64") if owner else "", monkeypatch)
    assert place.check_place(folder) == ""
    assert place.check_place(other)
    assert (name_of(other) == name) == is_kept
    assert place.check_place(other) == ""


def test_two_folders_with_one_name_are_told_apart_by_their_containers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A new project in the place that the first was moved from has the name of the first.
    name = name_of(folder)
    moved = folder.parents[1] / "moved"
    folder.parent.rename(moved)
    place.check_place(moved / "docker-amd64")
    copied = shutil.copytree(moved, folder.parent) / "docker-amd64"
    (copied / ".env").unlink()
    fill(copied)
    assert name_of(copied) == name
    engine(folder.parents[1], str(moved / "docker-amd64"), monkeypatch)
    place.keep_apart(read_project(copied))
    assert name_of(copied) != name
    assert place.check_place(copied) == ""
    place.keep_apart(read_project(moved / "docker-amd64"))
    assert name_of(moved / "docker-amd64") == name


def test_what_was_asked_by_a_name_is_asked_again_by_the_new_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = same_name(folder, monkeypatch)
    project, former = read_project(other), name_of(other)
    found = keep_apart_and_ask(project, lambda: project.settings.get(place.KEY))
    assert found == name_of(other) != former


def test_the_engine_is_asked_both_questions_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(folder.parents[1], "", monkeypatch)
    other, met = folder / "other", folder / "met"
    # The first answer comes when the second question has been asked, or after 20 seconds.
    docker = (
        f"for i in $(seq 200); do test -e {other} && break; sleep 0.1; done; test -e {other} &&"
    )
    (folder.parents[1] / "bin/docker").write_text(f"#!/bin/sh\n{docker} touch {met}\n")
    keep_apart_and_ask(read_project(folder), other.touch)
    assert met.exists()


def test_an_error_of_a_question_is_raised_where_its_answer_is_needed() -> None:
    answer = in_background(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        answer()


def same_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another project to which somebody has given the name of the first, which has containers."""
    other = copy(folder, "second")
    (other / ".env").unlink()
    fill(other)
    for one in (folder, other):
        (one / ".env").write_text(
            (one / ".env").read_text().replace(f"={name_of(one)}\n", "=mine\n")
        )
    bin_folder = folder.parents[1] / "bin"
    bin_folder.mkdir()
    docker = bin_folder / "docker"
    docker.write_text(f"#!/bin/sh\n[ \"$1\" = ps ] || exit 1\nprintf '%s\\n' '{folder}'\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    return other


VERBS = ("build", "lock", "add x", "pull a.example/b", "exec true", "shell", "root", "freeze")


@pytest.mark.parametrize("verb", [*VERBS, "ls -W one", "build -W one"])
def test_no_verb_touches_what_another_folder_has_under_the_name(
    folder: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = same_name(folder, monkeypatch)
    (other.parent / "workspaces/one").mkdir(parents=True)
    (other / "dependencies").mkdir()
    (other / "dependencies/pyproject.toml").touch()
    done = run_program(*verb.split(), folder=other)
    assert f"{folder.parent} has containers named mine" in done.stderr
    assert name_of(other).startswith("demo-")
    assert name_of(folder) == "mine"


HOLDER = """
import sys, time
from pathlib import Path
from host.turn import turn
with turn(Path(sys.argv[1]), "lock"):
    print("mine", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("is_copy", [True, False], ids=["copied", "one name"])
def test_a_name_is_written_in_a_turn_and_loses_no_other_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_copy: bool
) -> None:
    other = copy(folder, "second") if is_copy else same_name(folder, monkeypatch)
    words = (sys.executable, "-B", "-c", HOLDER, str(other))
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "mine\n"
        verb = (sys.executable, "-B", "-m", "host", "stop")
        with subprocess.Popen(verb, cwd=other, stderr=subprocess.PIPE, text=True) as waiting:
            assert waiting.stderr
            assert "Waiting for another command" in waiting.stderr.readline()
            (other / ".env").write_text(f"TZ=Asia/Tokyo\n{(other / '.env').read_text()}")
            holder.kill()
            waiting.communicate()
    assert name_of(other) not in ("mine", name_of(folder))
    assert read_env((other / ".env").read_text())["TZ"] == "Asia/Tokyo"


def test_a_name_of_the_shells_is_left_alone(folder: Path) -> None:
    other = copy(folder, "second")
    before = (other / ".env").read_text()
    env = {**os.environ, "COMPOSE_PROJECT_NAME": "mine"}
    run_program("over", folder=other, env=env)
    assert name_of(other) == read_env(before)["COMPOSE_PROJECT_NAME"]
