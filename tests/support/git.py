"""Git for tests."""

from __future__ import annotations

from pathlib import Path

from tests.support.process import run


def git(folder: Path, *arguments: str) -> str:
    """Run Git in a folder and give what it prints; a failure is an exception with its words.

    Raises:
        RuntimeError: Git failed.
    """
    result = run("git", *arguments, cwd=folder)
    if result.returncode:
        raise RuntimeError(f"git {' '.join(arguments)}: {result.stderr}")
    return result.stdout
