"""Running other programs, with what they say kept as text."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command without a shell; the caller looks at the exit status.

    Args:
        command: program and arguments.
        options: further arguments of `subprocess.run`, such as cwd, env, input, timeout (seconds).
    """
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)
