"""Host files are what they seem to be, and are written in one way."""

from __future__ import annotations

import ast
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from host import files, upkeep
from host.env_file import ProbeError
from host.project import read_project
from tests.conftest import ROOT
from tests.support.program import PACKAGE, put_program, run_program

AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
EXAMPLE = "USRID=1000\nCOMPOSE_PROJECT_NAME=demo\nCOMPOSE_FILE=compose.yaml\n"
USER = 4321
# Where a file is written in another way, and why.
OTHER_WRITERS = {
    "files.py": "the one writer",
    "turn.py": "the lock itself, which is never read",
    "airflow_jobs_folder.py": "a folder of containers: by its descriptor, follows no link",
    "import_results.py": "a new folder of its own: by its descriptor, follows no link",
    "pack.py": "reads, and follows no link",
    "nvidia.py": "a pipe to its child",
    "stderr_watch.py": "its own stderr",
    "code_repository.py": "a copy of git's index, in a folder of its own",
    "leases.py": "files of others, follows no link, and makes its own as tempfile does",
}
OTHER_WRITERS_OF_UPDATES = {
    "__main__.py": "a folder of its own",
    "merge.py": "a folder of its own",
    "perform.py": "folders of its own",
    "rename_answer.py": "Copier runs it alone, in a rendering",
    "renderings.py": "a pipe to its child",
    "snapshot.py": "a folder of its own in .git",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A docker-amd64 that has the program and its example."""
    made = put_program(tmp_path / "project/docker-amd64")
    (made / "dependencies").mkdir()
    (made / ".env.example").write_text(EXAMPLE)
    (made / "compose.yaml").write_text("")
    return made


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    """A link to a device, not to the machine's own where root could replace it."""
    target = path.with_name("a device")
    if os.getuid() == 0:
        os.mknod(target, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    path.symlink_to(target if target.exists() else "/dev/null")


def to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


ODD: dict[str, Callable[[Path], None]] = {
    "a named pipe": pipe,
    "a folder": Path.mkdir,
    "a link to a device": device,
    "a link to nothing": to_nothing,
}


def listing(folder: Path) -> set[tuple[str, int, int]]:
    """Names, kinds and users of all that is there."""
    found = ((path, path.lstat()) for path in folder.rglob("*"))
    return {(str(path), status.st_mode, status.st_uid) for path, status in found}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (".env", ["env"]),
        (".env", ["env", "--set", "TZ=UTC"]),
        (".env", ["over"]),
        ("compose.override.yaml", ["over"]),
        ("dependencies/apt-dev.txt", ["add", "--apt", "--dev", "nano"]),
    ],
    ids=lambda one: one if isinstance(one, str) else " ".join(one),
)
def test_what_is_no_regular_file_is_one_sentence_and_stays(
    folder: Path, kind: str, name: str, words: list[str]
) -> None:
    if name != ".env":
        run_program("env", folder=folder)
    ODD[kind](folder / name)
    before = listing(folder)
    done = run_program(*words, folder=folder)
    assert done.returncode == 1
    assert "(failure: file-not-regular)" in done.stderr, done.stderr
    assert f"it is {kind}" in done.stderr
    assert listing(folder) == before
    command = done.stderr.strip().rpartition("  Run: ")[2]
    subprocess.run(["bash", "-ec", command], check=True)
    run_program("env", folder=folder)
    assert run_program(*words, folder=folder).returncode == 0


def test_a_link_to_a_file_of_the_same_user_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "elsewhere/file", tmp_path / "link"
    real.parent.mkdir()
    real.write_text("old")
    link.symlink_to(real)
    assert files.write_file(link, "new")
    assert (link.is_symlink(), real.read_text()) == (True, "new")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_file_has_its_mode_at_any_umask(tmp_path: Path, umask: int) -> None:
    kept = tmp_path / "kept"
    kept.write_text("old")
    kept.chmod(0o640)
    former = os.umask(umask)
    try:
        files.write_file(tmp_path / "new", "x")
        files.write_file(kept, "x", mode=None)
    finally:
        os.umask(former)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"new": 0o644, "kept": 0o640}


@AS_ROOT
def test_the_file_of_another_user_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("old")
    os.chown(theirs, USER, USER)
    monkeypatch.setattr(files, "user_id", lambda: 1234)
    with pytest.raises(ProbeError, match=f"it belongs to user {USER}"):
        files.write_file(theirs, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]
    assert theirs.read_text() == "old"
    files.write_file(theirs, "old")  # nothing to write
    os.chown(theirs, 0, 0)  # one owner of all files: that of a new one is the same
    assert files.write_file(theirs, "new")


def test_a_full_disk_leaves_no_override_file_that_the_next_over_takes_for_yours(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    run_program("env", folder=folder)
    project, file = read_project(folder), folder / "compose.override.yaml"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ProbeError, match="No space left on device"):
            upkeep.do_over(project, None)  # type: ignore[arg-type]
    assert not file.exists()
    upkeep.do_over(project, None)  # type: ignore[arg-type]
    assert file.read_text() == upkeep.OVERRIDE


def test_a_tmpdir_that_cannot_be_used_is_not_used(folder: Path, tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path / "nowhere")}
    done = run_program("env", folder=folder, env=env)
    assert done.returncode == 0
    assert f"TMPDIR names {tmp_path}/nowhere" in done.stderr


def test_a_link_in_place_of_docker_amd64_is_refused_until_it_is_a_copy(
    folder: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    folder = Path(shutil.move(folder, shared / "docker-amd64"))
    link = tmp_path / "project/docker-amd64"
    link.symlink_to(folder)
    (link.parent / ".copier-answers.yml").touch()
    env = {**os.environ, "TEMPLATE_SH": "./docker-amd64/template.sh"}
    env["CALLED_FROM"] = str(link.parent)
    done = run_program("env", folder=link, env=env)
    assert "(failure: folder-is-link)" in done.stderr
    assert not (shared / "data").exists()
    command = done.stderr.strip().rpartition("  Run: ")[2]
    subprocess.run(["bash", "-ec", command], check=True)
    assert run_program("env", folder=link, env=env).returncode == 0
    # A link from elsewhere is another name of the same project.
    other = tmp_path / "other"
    other.symlink_to(link)
    env["TEMPLATE_SH"] = str(other / "template.sh")
    assert run_program("env", folder=link, env=env).returncode == 0


def test_an_open_umask_leaves_no_program_that_others_can_change(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777)
    assert "umask 022" in run_program("env", folder=folder).stdout
    assert not [path for path in folder.rglob("*") if path.lstat().st_mode & stat.S_IWOTH]
    assert folder.stat().st_mode & 0o777 == 0o775
    assert "umask" not in run_program("env", folder=folder).stdout


@AS_ROOT
def test_root_at_work_for_a_user_leaves_nothing_of_roots(folder: Path, tmp_path: Path) -> None:
    digest = f"sha256:{'7' * 64}"
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    said = f'case "$1 $2" in "image inspect") exit 1 ;; pull*) echo "Digest: {digest}" ;; esac'
    docker.write_text(f"#!/bin/sh\n{said}\n")
    docker.chmod(0o755)
    env = {**os.environ, "PATH": f"{docker.parent}:{os.environ['PATH']}"}
    for path in (folder.parent, folder, *folder.rglob("*")):
        os.chown(path, USER, USER)
    for words in (
        ["env"],
        ["env", "--set", "LOCAL_DATA_DIR=../data"],
        ["env", "--refresh", "TZ"],
        ["over"],
        ["pin"],
        ["add", "--apt", "nano"],
    ):
        done = run_program(*words, folder=folder, env=env)
        assert done.returncode == 0, done.stderr
    of_root = [str(path) for path in folder.parent.rglob("*") if path.lstat().st_uid == 0]
    assert of_root == []
    assert (folder / "compose.pins.yaml").exists()
    # What an older version has left is given back.
    for name in ("compose.override.yaml", ".env"):
        os.chown(folder / name, 0, 0)
    run_program("env", "--set", "TZ=UTC", folder=folder, env=env)
    files.write_file(folder / "compose.override.yaml", upkeep.OVERRIDE)
    files.make_folder(folder.parent / ".github/workflows")
    files.make_folder(folder / "wheels/.new")
    (folder / "wheels/.new/a.whl").touch()
    files.give_away(folder / "wheels/.new")
    assert [path for path in folder.parent.rglob("*") if path.lstat().st_uid == 0] == []
    refused = run_program("update", folder=folder, env=env)
    assert "(failure: root-at-work)" in refused.stderr
    assert f"sudo -u '#{USER}' ./docker-amd64/template.sh update" in refused.stderr


def test_no_link_is_followed_where_a_container_can_make_one(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("kept")
    lists = folder / "dependencies"
    (lists / "project").mkdir(parents=True)
    for link in (lists / "locked.json", lists / "project/pyproject.toml"):
        link.symlink_to(mine)
        with pytest.raises(ProbeError, match="a program in a container can make links"):
            files.write_file(link, "new")
    assert mine.read_text() == "kept"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder outside, with a file, that is nobody else's business."""
    made = tmp_path / "victim"
    made.mkdir(mode=0o700)
    (made / "key").write_text("secret\n")
    (made / "key").chmod(0o600)
    return made


def swap(path: Path, target: Path) -> None:
    """What a program in a container does at the worst moment: a link in place of a file."""
    path.rename(path.with_name("aside"))
    path.symlink_to(target)


def test_a_link_that_appears_while_a_file_is_written_changes_no_mode_outside(
    folder: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(_: int) -> None:
        (temporary,) = (folder / "dependencies").glob("uv.lock.*.tmp")
        swap(temporary, victim / "key")

    monkeypatch.setattr(os, "fsync", sync)
    files.write_file(folder / "dependencies/uv.lock", "text")
    assert stat.S_IMODE((victim / "key").stat().st_mode) == 0o600
    assert (victim / "key").read_text() == "secret\n"


def test_a_link_that_appears_in_place_of_a_file_with_the_right_text_changes_no_mode_outside(
    folder: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "dependencies/uv.lock"
    path.write_text("text")
    path.chmod(0o600)

    def done(*_: object) -> bool:
        swap(path, victim / "key")
        return True

    monkeypatch.setattr(files, "is_done", done)
    with pytest.raises(ProbeError):
        files.write_file(path, "text")
    assert stat.S_IMODE((victim / "key").stat().st_mode) == 0o600


def test_a_pipe_that_appears_after_the_look_keeps_nobody_waiting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "dependencies/uv.lock"
    path.write_text("text")
    look = files.status_of

    def status_of(path: Path) -> os.stat_result | None:
        found = look(path)
        path.unlink()
        pipe(path)
        return found

    monkeypatch.setattr(files, "status_of", status_of)
    with pytest.raises(ProbeError, match="it is a named pipe"):
        files.read_file(path)
    path.unlink()
    path.write_text("text")
    with pytest.raises(ProbeError, match="it is a named pipe"):
        files.write_file(path, "text")


@AS_ROOT
def test_a_link_that_appears_where_root_makes_a_folder_gives_nothing_away(
    folder: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(folder, USER, USER)
    make = Path.mkdir

    def mkdir(path: Path, *rest: Any) -> None:
        make(path, *rest)
        swap(path, victim)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(OSError, match="outputs"):
        files.make_folder(folder / "outputs")
    assert victim.stat().st_uid == 0


@AS_ROOT
def test_a_link_that_appears_while_root_gives_a_folder_away_leads_nowhere(
    folder: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(folder, USER, USER)
    (folder / "results/run").mkdir(parents=True)
    (folder / "results/run/key").write_text("")
    change = os.chown

    def chown(path: str, *rest: int, **how: Any) -> None:
        change(path, *rest, **how)
        if Path(path).name == "run":
            swap(folder / "results/run", victim)

    monkeypatch.setattr(os, "chown", chown)
    files.give_away(folder / "results")
    assert {victim.stat().st_uid, (victim / "key").stat().st_uid} == {0}
    assert (folder / "results").stat().st_uid == USER


def writes(tree: ast.AST) -> Iterator[int]:
    """The lines on which a program writes a file."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        of, _, name = ast.unparse(node.func).rpartition(".")
        modes = {one.value for one in node.args if isinstance(one, ast.Constant)}
        opened = name in ("open", "fdopen") and (of == "os" or modes & {"w", "wb", "a", "x"})
        copied = of == "shutil" and name.startswith(("copy", "move"))
        if opened or copied or name in ("write_text", "write_bytes", "touch"):
            yield node.lineno


def writers(folder: Path) -> dict[str, list[int]]:
    """The programs of a folder that write files, with the lines."""
    found = (
        (path.name, list(writes(ast.parse(path.read_text())))) for path in folder.rglob("*.py")
    )
    return {name: lines for name, lines in found if lines}


@pytest.mark.parametrize(
    ("folder", "others"),
    [(PACKAGE, OTHER_WRITERS), (ROOT / "hooks/update", OTHER_WRITERS_OF_UPDATES)],
    ids=["host", "update"],
)
def test_no_other_function_writes_a_file(folder: Path, others: dict[str, str]) -> None:
    found = writers(folder)
    assert {name: at for name, at in found.items() if name not in others} == {}
    assert {*others} == {*found}
