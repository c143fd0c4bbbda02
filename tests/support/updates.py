"""Projects that are updated: a template that a test may change, its next version, and edits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from copier import run_update

from tests.support.git import git

NEWER_TAG = "v1000.0.0"


def replace(path: Path, old: str, new: str) -> None:
    """Edit one place of a file, which has to be there."""
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} in {path}"
    path.write_text(text.replace(old, new))


def update(project: Path, version: str | None = None, /, **answers: Any) -> None:
    """What `copier update --trust --defaults --data ...` does, in the project's folder."""
    run_update(
        project,
        data=answers,
        vcs_ref=version,
        defaults=True,
        overwrite=True,
        quiet=True,
        unsafe=True,
    )


def conflicts(project: Path) -> str:
    """Files that a person has to merge; Copier itself says success when there are some."""
    return git(project, "ls-files", "--unmerged")


def release(template: Path, tag: str = NEWER_TAG) -> None:
    """Make the changes in a template its next version."""
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--message", "news")
    git(template, "tag", tag)
