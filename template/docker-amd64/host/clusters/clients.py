"""Calls of the clients of schedulers."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING

from ..ask import capture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..project import Project, StopError

    Failure = Callable[[Project, str], StopError]

KEPT = 20  # lines, of which the last one is the reason


def shown_call(project: Project, failure: Failure, words: Sequence[str]) -> list[str]:
    """Let a client do something and show on stderr what it says; its last lines.

    Raises:
        StopError: what `failure` makes of the client's last line.
    """
    lines: deque[str] = deque(maxlen=KEPT)
    with subprocess.Popen(
        words,
        cwd=str(project.folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            print(line, end="", file=sys.stderr, flush=True)
            lines.append(line)
    if process.returncode:
        raise failure(project, last_sentence(lines))
    return list(lines)


def output_of(project: Project, failure: Failure, words: Sequence[str]) -> str:
    """What a client says on stdout. Raises StopError, as `shown_call` does."""
    said = capture(*words)
    if said.returncode:
        raise failure(project, last_sentence((said.stderr or said.stdout).splitlines()))
    return said.stdout


def last_sentence(lines: Sequence[str]) -> str:
    """The last line that says something, as a sentence."""
    said = [line.strip() for line in lines if line.strip()]
    last = said[-1] if said else "It says nothing"
    return last if last.endswith(".") else f"{last}."


def run_in_terminal(*words: str) -> int:
    """Run a client in the terminal of the user; its exit status."""
    return subprocess.run(words, check=False).returncode
