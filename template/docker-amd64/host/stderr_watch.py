"""Explains at its end what Compose says on stderr after this process has become it."""

from __future__ import annotations

import os
import re
import signal
from collections import deque
from typing import TYPE_CHECKING, Callable, Optional

from .compose import TAIL, copy_lines, show_text
from .failures import explain

if TYPE_CHECKING:
    from .project import Project, StopError

Explained = Callable[[str], Optional["StopError"]]
# How the engine's own words begin, to tell them from those of a program in the container.
OF_ENGINE = re.compile(
    r"^(?:failed to create [^:]+: )?Error response from daemon: .*", re.MULTILINE
)


def watch_stderr(explained: Explained) -> None:
    """Hand on what this process will say on stderr, and show at its end what `explained` returns.

    A child does it, since this process is about to become Compose.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(reader)
        os.dup2(writer, 2)
        os.close(writer)
        return
    os.close(writer)
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    lines: deque[bytes] = deque(maxlen=TAIL)
    try:
        with os.fdopen(reader, "rb") as source, os.fdopen(os.dup(2), "wb") as target:
            copy_lines(source, lines, target)
        stop = explained(b"".join(lines).decode("utf-8", "replace"))
        if stop:
            show_text(str(stop))
    finally:
        os._exit(0)


def engine_refuses(project: Project, text: str) -> StopError | None:
    """Why the engine starts nothing; None if it does not say, or no row of the table knows it."""
    return explain(project, "\n".join(OF_ENGINE.findall(text)))
