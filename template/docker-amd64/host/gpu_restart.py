"""`run --restart-on gpu-lost`: starts a command again that the watchdog has ended.

The exit statuses are those of image/gpu_watchdog.py; the table of failures has them too.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Collection

from .compose import TAIL, copy_lines, show, show_text
from .failures import explain
from .gpu_choice import uuids
from .gpu_facts import gpu_facts
from .gpu_trouble import LOST
from .gpus import split_ids
from .load import current_loads
from .probe import probe
from .stderr_watch import engine_refuses

if TYPE_CHECKING:
    from .project import Project

RESTARTS = 3
BACK_LIMIT = 1800.0  # seconds for the GPUs to be back
LOOK_EVERY = 10.0  # seconds
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Run:
    """A run of Compose, which gets the signals of this process.

    Attributes:
        stopped: whether one of them meant the end.
        lines: the last ones that it said on stderr.
    """

    def __init__(self, project: Project, words: list[str]):
        """Start it. A handler is not inherited by programs, as an ignored signal would be."""
        self.stopped = False
        self._early: list[int] = []  # signals that came while it was being started
        self._process: subprocess.Popen[bytes] | None = None
        self._before = {one: signal.signal(one, self._pass_on) for one in PASSED_ON}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, cwd=str(project.folder), stderr=pipe)
        for number in self._early:
            self._pass_on(number, None)
        self.lines: deque[bytes] = deque(maxlen=TAIL)
        into = (self._process.stderr, self.lines, sys.stderr.buffer)
        self._shown = threading.Thread(target=copy_lines, args=into, daemon=True)
        self._shown.start()

    def wait(self) -> int:
        """Its exit status, as a shell has it."""
        try:
            status = self._process.wait() if self._process else 0
            self._shown.join()
        finally:
            for one, handler in self._before.items():
                signal.signal(one, handler)
        return status if status >= 0 else 128 - status

    def _pass_on(self, number: int, _: object) -> None:
        self.stopped = self.stopped or number not in (signal.SIGUSR1, signal.SIGUSR2)
        if not self._process:
            self._early.append(number)
            return
        # The terminal sends Ctrl-C to Compose, too.
        if number != signal.SIGINT or not sys.stdin.isatty():
            self._process.send_signal(number)


def run_again(project: Project, words: list[str], gpus: Collection[str]) -> int:
    """Run Compose, and again where the command has lost its GPUs; the last exit status.

    Args:
        project: the project.
        words: of Compose.
        gpus: the UUIDs that the container gets; none means those of .env.
    """
    wanted = gpus or uuids_of_env(project)
    left = RESTARTS
    while True:
        run = Run(project, words)
        status = run.wait()
        text = b"".join(run.lines).decode("utf-8", "replace")
        stop = explain(project, text, status=status if status in LOST else 0)
        lost = status in LOST and not run.stopped
        if not lost or not left or not are_back(wanted):
            # Compose's own failures are explained as without --restart-on.
            if not (stop and stop.name.startswith("gpu-")):
                stop = engine_refuses(project, text)
            if stop:
                show_text(str(stop))
            return status
        left -= 1
        show(f"Starting the command again: it had lost its GPUs (status {status}, {left} more).")


def uuids_of_env(project: Project) -> tuple[str, ...]:
    """The UUIDs of the GPUs that containers get by .env."""
    facts = gpu_facts(probe(project.folder))
    return uuids(split_ids(project.settings.get("GPU_IDS")), facts) or facts.gpu_ids


def are_back(gpus: Collection[str]) -> bool:
    """Wait until the driver of this machine answers for all of these GPUs; whether it does."""
    until, said = time.monotonic() + BACK_LIMIT, False
    while not set(gpus) <= set(current_loads()):
        if not said:
            show(f"Waiting for the GPUs to be back, for {BACK_LIMIT / 60:.0f} minutes at most.")
            said = True
        if time.monotonic() > until:
            return False
        time.sleep(LOOK_EVERY)
    return True
