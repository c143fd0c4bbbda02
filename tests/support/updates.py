"""Projects that are updated: a template that a test may change, its next version, and edits."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from copier import run_update

from host.checkout import find_project
from host.update import hand_over
from host.versions import releases
from tests.support.git import git

NEWER_TAG = "v1000.0.0"


def replace(path: Path, old: str, new: str) -> None:
    """Edit one place of a file, which has to be there."""
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} in {path}"
    path.write_text(text.replace(old, new))


def update_by_copier(project: Path, version: str | None = None, /, **answers: Any) -> None:
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


def update(project: Path, version: str | None = None, /, **answers: Any) -> None:
    """What `template.sh update --yes --data ...` of this version does, for a project of any.

    Raises:
        ValueError: it was refused, and nothing was changed.
    """
    described = SimpleNamespace(
        folder=project / "docker-amd64", root=project, answers_file=".copier-answers.yml"
    )
    checkout = find_project(described)  # type: ignore[arg-type]
    newest = releases(project / checkout.template)[-1]
    asked = argparse.Namespace(
        source="",
        version=version or newest,
        check=False,
        yes=True,
        goes_on=False,
        data=[f"{key}={said(value)}" for key, value in answers.items()],
    )
    scratch = Path(tempfile.mkdtemp(prefix="hearth-update-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        patch.setenv("CALLED_FROM", str(project))
        try:
            status = hand_over(checkout, asked, scratch, None)
        finally:
            shutil.rmtree(scratch)
    if status and not conflicts(project):
        raise ValueError(status)


def said(value: Any) -> str:
    """An answer as --data takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def conflicts(project: Path) -> str:
    """Files that a person has to merge; Copier itself says success when there are some."""
    return git(project, "ls-files", "--unmerged")


def release(template: Path, tag: str = NEWER_TAG) -> None:
    """Make the changes in a template its next version."""
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--message", "news")
    git(template, "tag", tag)
