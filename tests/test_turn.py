"""Two commands of one project at once lose nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from host import turn
from host.env_file import ProbeError
from tests.conftest import ROOT, Generate

KEYS = (
    *("SHM_SIZE=3gb", "TZ=Asia/Tokyo", "APT_MIRROR=http://a", "NO_PROXY=b", "HTTP_PROXY=http://c"),
    *("MEMORY=9gb", "CPUS=3", "PIDS_LIMIT=5000"),
)
# Holds the turn as a verb does that takes long, and says when it has it.
LONG = """
import sys, time
from collections.abc import Callable
from pathlib import Path
from host.turn import turn
with turn(Path(sys.argv[1]), "lock"):
    print("mine", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def project(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("turns") / "project"
    return generate(folder, hook=True, accelerator="cpu", torch_version="none", project_kind="new")


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def set_key(project: Path, setting: str) -> subprocess.Popen[str]:
    return start(project, "./docker-amd64/template.sh", "env", "--set", setting)


def long_verb(project: Path) -> subprocess.Popen[str]:
    folder = project / "docker-amd64"
    process = start(ROOT / "template/docker-amd64", sys.executable, "-Bc", LONG, str(folder))
    assert process.stdout
    assert process.stdout.readline() == "mine\n"
    return process


def test_each_of_several_writers_of_env_keeps_what_the_others_wrote(project: Path) -> None:
    writers = [set_key(project, setting) for setting in KEYS]
    for writer in writers:
        said = writer.communicate(timeout=240)[1]
        assert writer.returncode == 0, said
    text = (project / "docker-amd64/.env").read_text()
    assert [setting for setting in KEYS if f"\n{setting}\n" not in text] == []
    assert not (project / "docker-amd64/.env.turn").exists()


def test_writers_that_are_killed_take_nothing_with_them(project: Path) -> None:
    keys = [setting.replace("=", "=1", 1) for setting in ("MEMORY=gb", "CPUS=2", "PIDS_LIMIT=000")]
    keys += ["SHM_SIZE=6gb", "TZ=Asia/Seoul", "NO_PROXY=c", "HTTP_PROXY=http://d", "USR=jane"]
    writers = [set_key(project, setting) for setting in keys]
    for victim in writers[::2]:
        time.sleep(0.15)
        victim.kill()
    ends = [writer.wait(timeout=240) for writer in writers]
    for writer in writers:
        writer.communicate()
    lines = (project / "docker-amd64/.env").read_text().splitlines()
    accepted = [setting for setting, end in zip(keys, ends, strict=True) if end == 0]
    assert [setting for setting in accepted if setting not in lines] == []
    assert {*keys[1::2]} <= {*accepted}
    for key in (setting.partition("=")[0] for setting in keys):
        assert sum(line.startswith(f"{key}=") for line in lines) <= 1


def test_a_check_of_the_lock_waits_too_for_who_would_remove_its_container(project: Path) -> None:
    with long_verb(project) as holder:
        checking = start(project, "./docker-amd64/template.sh", "lock", "--check")
        assert checking.stderr
        said = checking.stderr.readline()
        checking.kill()
        checking.communicate()
        holder.kill()
    assert said.startswith("Waiting for another command of this project: lock")


def test_who_waits_is_told_for_whom_and_goes_on_when_that_one_was_killed(project: Path) -> None:
    holder = long_verb(project)
    waiting = set_key(project, "SHM_SIZE=4gb")
    assert waiting.stderr
    said = waiting.stderr.readline()
    assert said == f"Waiting for another command of this project: lock, process {holder.pid}.\n"
    holder.kill()
    assert waiting.wait(timeout=240) == 0
    assert "\nSHM_SIZE=4gb\n" in (project / "docker-amd64/.env").read_text()
    holder.communicate()
    waiting.communicate()


def test_who_may_not_write_the_file_of_a_turn_waits_too(project: Path) -> None:
    holder, folder = long_verb(project), project / "docker-amd64"
    (folder / ".env.turn").chmod(0o444)  # as another user of a shared folder finds it
    without = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()
    program = (sys.executable, "-Bc", LONG, str(folder))
    second = start(ROOT / "template/docker-amd64", *without, *program)
    try:
        assert second.stderr
        assert second.stdout
        assert second.stderr.readline().startswith("Waiting for another command of this project")
        holder.kill()
        assert second.stdout.readline() == "mine\n"
    finally:
        for process in (holder, second):
            process.kill()
            process.communicate()


def test_a_verb_that_only_reads_waits_for_nobody(project: Path) -> None:
    with long_verb(project) as holder:
        try:
            looking = start(project, "./docker-amd64/template.sh", "env", "--json")
            assert looking.communicate(timeout=240)[1] == ""
        finally:
            holder.send_signal(signal.SIGKILL)


def link(file: Path) -> None:
    file.symlink_to("/nowhere")


def second_name(file: Path) -> None:
    file.write_text("")
    os.link(file, file.with_name("other"))


@pytest.mark.parametrize("make", [link, second_name, os.mkfifo, Path.mkdir])
def test_without_a_file_for_turns_nothing_is_done_that_could_be_lost(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / turn.FILE)
    before = os.lstat(tmp_path / turn.FILE)
    with pytest.raises(ProbeError, match=f"Cannot use .*{turn.FILE}: "), turn.turn(tmp_path, "env"):
        pytest.fail("it went on")
    assert os.lstat(tmp_path / turn.FILE) == before


def test_a_full_disk_hides_only_who_has_the_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with turn.turn(tmp_path, "env"):
        assert turn.in_turn()
    assert not [*tmp_path.iterdir()]


def test_a_file_that_another_machine_has_removed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = iter([errno.ESTALE, None])

    def wait(_: int) -> None:
        if number := next(waits):
            (tmp_path / turn.FILE).unlink()
            raise OSError(number, "Stale file handle")

    monkeypatch.setattr(turn, "wait", wait)
    with turn.turn(tmp_path, "env"):
        assert (tmp_path / turn.FILE).read_text().startswith("env, process ")


def test_a_lock_server_that_dies_while_a_command_waits_lets_it_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_: int, how: int) -> None:
        if how & fcntl.LOCK_NB:
            raise BlockingIOError
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(turn, "PATIENCE", 0)
    with pytest.raises(OSError, match=turn.FILE), turn.turn(tmp_path, "env"):
        pytest.fail("it went on")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    def flock(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(turn, "_said", set())
    done = []
    for verb in ("env", "add"):
        with turn.turn(tmp_path, verb):
            done.append(turn.in_turn())
    assert done == [True, True]
    assert capsys.readouterr().err.count("has no locks") == 1


def test_a_lock_that_fails_otherwise_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=turn.FILE), turn.turn(tmp_path, "env"):
        pytest.fail("it went on")
