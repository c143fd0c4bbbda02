"""Where the user has a file that is not under the template's name any more, as git tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from host.ask import capture

if TYPE_CHECKING:
    from pathlib import Path

# One row of three: R and how alike they are, the old name, the new one.
RENAMES = ("--find-renames", "--diff-filter=R", "--name-status", "--relative", "-z", "--format=")


def renamed_to(root: Path, name: str) -> str:
    """The path to which the user has renamed a file, in one commit or several; "" for none."""
    known = {name}
    while True:
        gone = ("git", "log", "-1", "--no-renames", "--diff-filter=D", "--format=%H", "--", name)
        commit = capture(*gone, cwd=root).stdout.strip()
        if not commit:
            return ""
        said = capture("git", "show", *RENAMES, commit, "--", ".", cwd=root).stdout.split("\0")
        rows = dict(zip(said[1::3], said[2::3]))  # noqa: B905  Python 3.8; the last is empty
        name = rows.get(name, "")
        if not name or name in known:
            return ""
        if (root / name).is_file():
            return name
        known.add(name)
