"""What schedulers share: calls of their clients, and what their files say of a job."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING

from ..ask import capture
from ..failures import failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..project import Project
    from .job import Job

KEPT = 20  # lines, of which the last one is the reason
DIGEST = re.compile("sha256:[0-9a-f]{64}")


def about(job: Job) -> list[str]:
    """What the code and the image of a job are, as comments of a shell script or of YAML.

    The answers are what a label of the image says, which anybody may have written.
    """
    code = f"commit {job.code.commit}" if job.code.commit else "the folder as it is"
    code += " with changes that are not committed" if job.code.dirty else ""
    lines = [f"# Code: {code}."]
    if DIGEST.fullmatch(job.image.answers):
        lines += [f"# Image: made from the answers {job.image.answers}."]
    return lines


def tell(project: Project, failure: str, words: Sequence[str]) -> list[str]:
    """Let a client do something and show on stderr what it says; its last lines.

    Raises:
        StopError: of the id `failure`, with the client's last line as its reason.
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
        raise failed(failure, project, reason=reason(lines))
    return list(lines)


def ask(project: Project, failure: str, words: Sequence[str]) -> str:
    """What a client says on stdout. Raises StopError, as `tell` does."""
    said = capture(*words)
    if said.returncode:
        raise failed(failure, project, reason=reason((said.stderr or said.stdout).splitlines()))
    return said.stdout


def reason(lines: Sequence[str]) -> str:
    """The last line that says something, as a sentence."""
    said = [line.strip() for line in lines if line.strip()]
    last = said[-1] if said else "It says nothing"
    return last if last.endswith(".") else f"{last}."


def run(*words: str) -> int:
    """Run a client in the terminal of the user; its exit status."""
    return subprocess.run(words, check=False).returncode
