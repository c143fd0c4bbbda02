"""The watchdog ends a command that lost its GPUs, and leaves all others as they are."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import gpu_watchdog
from gpu_health import CAUSES
from host import gpu_restart, gpu_trouble
from host.load import Load
from host.project import Project
from tests.support.program import PROJECT

IMAGE = Path(gpu_watchdog.__file__).parent
# The watchdog in quick time, with a check whose exit statuses are the lines of a file, the last one
# for ever.
START = """\
import sys
sys.path.insert(0, {image!r})
import gpu_watchdog
gpu_watchdog.EVERY, gpu_watchdog.AGAIN, gpu_watchdog.GRACE = 0.15, 0.05, {grace}
gpu_watchdog.CHECK = ("/bin/sh", {check!r})
sys.exit(gpu_watchdog.Watchdog(sys.argv[1:]).run())
"""
CHECK = """\
status=$(head -n 1 {file})
[ "$(wc -l <{file})" -le 1 ] || sed -i 1d {file}
exit "$status"
"""


class Watched:
    """A command under the watchdog."""

    def __init__(
        self, folder: Path, command: Sequence[str], checks: str, grace: float = 60
    ) -> None:
        self.file, self.check = folder / "statuses", folder / "check"
        self.file.write_text(checks)
        self.check.write_text(CHECK.format(file=self.file))
        text = START.format(image=str(IMAGE), check=str(self.check), grace=grace)
        self.words = [sys.executable, "-c", text, *command]

    def start(self) -> subprocess.Popen[str]:
        """It runs; what it says is read later."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def run(self) -> subprocess.CompletedProcess[str]:
        """It has ended."""
        return subprocess.run(self.words, capture_output=True, text=True, timeout=120, check=False)


HEALTHY = "0\n"
NO_LOSS = ("gpu-memory-taken", "gpu-compat-refused")
# A signal has come; a second one would follow at once.
COMES = """
end = time.monotonic() + 60
while not got and time.monotonic() < end: time.sleep(0.02)
time.sleep(0.3)
"""
SLEEP = ("sleep", "100")


@pytest.mark.parametrize("cause", [one for one in CAUSES if one not in NO_LOSS])
def test_a_command_that_lost_its_gpus_ends_with_the_number_of_the_cause(
    tmp_path: Path, cause: str
) -> None:
    start = time.monotonic()
    result = Watched(tmp_path, SLEEP, f"0\n{CAUSES[cause]}\n").run()
    assert result.returncode == CAUSES[cause]
    assert "[gpu-watchdog]" in result.stderr
    assert time.monotonic() - start < 50


def test_a_command_can_save_its_work_and_one_that_hangs_is_killed(tmp_path: Path) -> None:
    saves = "trap 'echo saved; exit 0' TERM; while :; do sleep 0.05; done"
    result = Watched(tmp_path, ("sh", "-c", saves), "84\n").run()
    assert (result.returncode, result.stdout) == (84, "saved\n")
    hangs = "trap '' TERM; while :; do sleep 0.05; done"
    assert Watched(tmp_path, ("sh", "-c", hangs), "84\n", grace=0.2).run().returncode == 84


@pytest.mark.parametrize("checks", [HEALTHY, "84\n0\n81\n0\n", "86\n", "1\n"])
def test_nothing_that_passes_or_is_no_loss_ends_a_command(tmp_path: Path, checks: str) -> None:
    result = Watched(tmp_path, ("sh", "-c", "sleep 0.8; echo done; exit 3"), checks).run()
    assert (result.returncode, result.stdout, result.stderr) == (3, "done\n", "")


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -KILL $$"), 137),
        (("no-such-program",), 127),
        (("/etc/hostname",), 126),
    ],
)
def test_the_exit_status_is_that_of_the_command(
    tmp_path: Path, command: tuple[str, ...], status: int
) -> None:
    assert Watched(tmp_path, command, HEALTHY).run().returncode == status


def test_a_command_that_fails_because_of_the_loss_has_its_number(tmp_path: Path) -> None:
    assert Watched(tmp_path, ("sh", "-c", "exit 1"), "84\n").run().returncode == 84
    assert Watched(tmp_path, ("true",), "84\n").run().returncode == 0


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT]
)
def test_signals_reach_the_command_each_once(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import signal, sys, time; got = []; "
        f"signal.signal({number.value}, lambda *_: got.append(1)); "
        f"print('ready', flush=True){COMES}print(len(got)); sys.exit(5)"
    )
    process = Watched(tmp_path, (sys.executable, "-c", code), HEALTHY).start()
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert (out, process.returncode) == ("1\n", 5)


def test_ctrl_c_on_a_terminal_reaches_the_command_once(tmp_path: Path) -> None:
    code = (
        "import signal, time; got = []; signal.signal(2, lambda *_: got.append(1)); "
        f"print('ready', flush=True){COMES}print('got', len(got), flush=True)"
    )
    words = Watched(tmp_path, (sys.executable, "-c", code), HEALTHY).words
    pid, terminal = pty.fork()
    if not pid:
        os.execv(words[0], words)  # noqa: S606
    # Whole lines: a read of a terminal may end anywhere, also inside of one.
    with os.fdopen(terminal, "r+b", buffering=0) as said:
        assert said.readline().rstrip() == b"ready"
        said.write(b"\x03")
        assert said.readline().rstrip().removeprefix(b"^C") == b"got 1"  # the terminal's echo
        os.waitpid(pid, 0)


def test_signals_and_pipes_are_for_the_command_what_they_are_without_it(tmp_path: Path) -> None:
    code = "grep -E '^Sig(Blk|Ign)' /proc/self/status"
    plain = subprocess.run(["sh", "-c", code], capture_output=True, text=True, check=True)
    assert Watched(tmp_path, ("sh", "-c", code), HEALTHY).run().stdout == plain.stdout


def test_without_gpus_it_becomes_the_command() -> None:
    if gpu_watchdog.has_gpus():
        pytest.skip("this machine has GPUs")
    words = [sys.executable, "-IS", str(IMAGE / "gpu_watchdog.py"), "sh", "-c", "echo $$ $PPID"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate()[0].split() == [str(process.pid), str(os.getpid())]


# ------------------------------------------------------------------------------- run --restart-on


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project on a machine whose only GPU answers."""
    monkeypatch.setattr(gpu_restart, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(gpu_restart, "current_loads", lambda: {"GPU-1": Load(0, 1, 0, 0)})
    return Project(tmp_path, PROJECT)


def compose(folder: Path, *statuses: int) -> list[str]:
    """A command in place of Compose, which ends with these statuses, one after the other."""
    (folder / "left").write_text("".join(f"{one}\n" for one in statuses))
    text = "read -r status <left; sed -i 1d left; echo run >>runs; exit $status"
    return ["sh", "-c", text]


@pytest.mark.parametrize(
    ("statuses", "last", "runs"),
    [
        ((0,), 0, 1),
        ((1,), 1, 1),
        ((137,), 137, 1),
        ((86,), 86, 1),  # others have taken the memory: that is no loss
        ((84, 0), 0, 2),
        ((81, 83, 5), 5, 3),
        ((84, 84, 84, 84, 0), 84, 4),
    ],
)
def test_only_a_command_that_lost_its_gpus_is_started_again_and_not_for_ever(
    project: Project, statuses: tuple[int, ...], last: int, runs: int
) -> None:
    words = compose(project.folder, *statuses)
    assert gpu_restart.run_again(project, words, ["GPU-1"]) == last
    assert (project.folder / "runs").read_text().count("run") == runs


def test_a_gpu_that_does_not_come_back_ends_the_wait(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_restart, "BACK_LIMIT", 0.1)
    words = compose(project.folder, 84, 0)
    assert gpu_restart.run_again(project, words, ["GPU-2"]) == 84
    assert (project.folder / "runs").read_text().count("run") == 1


def test_a_command_that_was_told_to_end_is_not_started_again(project: Project) -> None:
    text = "trap 'exit 84' TERM; echo run >>runs; kill -TERM $PPID; while :; do sleep 0.05; done"
    assert gpu_restart.run_again(project, ["sh", "-c", text], ["GPU-1"]) == 84
    assert (project.folder / "runs").read_text() == "run\n"


def test_the_numbers_of_a_loss_are_the_same_everywhere() -> None:
    lost = [number for name, number in CAUSES.items() if name not in NO_LOSS]
    assert [*gpu_watchdog.LOST] == [*gpu_trouble.LOST] == lost
