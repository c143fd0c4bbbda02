"""Git for tests."""

from __future__ import annotations

import shutil
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


def copy_working_tree(root: Path, folder: Path, without: tuple[str, ...] = ()) -> None:
    """Copy what a repository has, committed or not, but for paths that start with `without`."""
    names = git(root, "ls-files", "-co", "--exclude-standard", "-z").rstrip("\0").split("\0")
    for name in names:
        if (root / name).is_file() and not name.startswith(without):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
