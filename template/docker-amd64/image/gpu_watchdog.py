"""Runs a command, and ends it when this container has lost its GPUs (GPU_WATCHDOG=1 in .env).

`template.sh run` puts it before the command. Without GPUs it becomes the command.

A training that has lost a GPU often hangs for ever in the driver, or in a collective operation that
waits for the others. The exit status is that of the command, or the number of the cause in
gpu_health.py. Signals are the command's; nothing runs inside of its processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

EVERY = 30.0  # seconds between two checks
AGAIN = 5.0  # seconds to the second check, which has to find a loss too
GRACE = 30.0  # seconds from SIGTERM to SIGKILL, for what can still be saved
KILLED = 10.0  # seconds for the end after SIGKILL; inside of the driver there is none
CHECK = (sys.executable, "-IS", str(Path(__file__).with_name("gpu_health.py")), "--status")
PASSED_ON = {
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2),
    *(signal.SIGALRM, signal.SIGCONT, signal.SIGWINCH),
}
FROM_KERNEL = 128  # si_code SI_KERNEL: the terminal has sent it to all, the command too
LOST = range(81, 86)  # of CAUSES; memory that others have taken is not a loss


def say(text: str) -> None:
    """A line on stderr."""
    print(f"[gpu-watchdog] {text}", file=sys.stderr, flush=True)


class Watchdog:
    """A running command and its checks.

    Attributes:
        pid: of the command.
        status: its exit status as a shell has it; None while it runs.
    """

    def __init__(self, command: list[str]):
        """Start the command. Signals are read one by one, so none is missed."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, signal.SIGCHLD})
        self.status: int | None = None
        self.pid = os.fork()
        if not self.pid:
            become(command, before)

    def wait(self, seconds: float) -> None:
        """Pass signals on until the time is over or the command has ended."""
        until = time.monotonic() + seconds
        while self.status is None:
            left = until - time.monotonic()
            got = signal.sigtimedwait({*PASSED_ON, signal.SIGCHLD}, max(left, 0))
            if got is None and left <= 0:
                return
            if got and got.si_signo in PASSED_ON and got.si_code != FROM_KERNEL:
                self.send(got.si_signo)
            self.reap()

    def reap(self) -> None:
        """Take the exit status of the command, if it has ended."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            self.status = 128 + ended_by if ended_by else os.WEXITSTATUS(status)

    def send(self, number: int) -> None:
        """Send a signal to the command."""
        if self.status is None:
            os.kill(self.pid, number)

    def check(self) -> int:
        """The number of what is wrong with the GPUs, 0 for nothing; signals are passed on."""
        with subprocess.Popen(CHECK, stdin=subprocess.DEVNULL, stdout=sys.stderr) as asked:
            while asked.poll() is None:
                if self.status is None:
                    self.wait(0.1)
                else:
                    time.sleep(0.1)
        return asked.returncode if asked.returncode in LOST else 0

    def end(self) -> None:
        """End the command: first so that it can save its work."""
        for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, KILLED)):
            self.send(number)
            self.wait(seconds)

    def run(self) -> int:
        """Watch to the end; the exit status."""
        lost = 0
        while self.status is None:
            self.wait(AGAIN if lost else EVERY)
            found = self.check() if self.status is None else 0
            if found and lost:
                say(f"the GPUs are lost: ending the command (status {found})")
                self.end()
                return found
            lost = found
        # A program that stops because of the loss ends with a status that tells nothing.
        return (self.check() if self.status else 0) or self.status


def become(command: list[str], mask: set[int]) -> NoReturn:
    """Replace this process by the command."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for one in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
        signal.signal(one, signal.SIG_DFL)
    status = 126
    try:
        os.execvp(command[0], command)  # noqa: S606  no shell is wanted
    except FileNotFoundError:
        say(
            f"the image has no program {command[0]}. List the package that has it in "
            "apt-runtime.txt, then run: ./template.sh build"
        )
        status = 127
    except OSError as error:
        say(f"{command[0]}: {error.strerror}")
    finally:
        os._exit(status)


def has_gpus() -> bool:
    """Whether this container was given GPUs, as gpu_health.py has it."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


if __name__ == "__main__":
    if not has_gpus():
        become(sys.argv[1:], set())
    sys.exit(Watchdog(sys.argv[1:]).run())
