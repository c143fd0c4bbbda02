"""Where the user has a file that is not under the template's name any more, as git tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from host.ask import capture

if TYPE_CHECKING:
    from pathlib import Path

# Where a file is in the template, before it is rendered.
PART, JINJA = "template/", ".jinja"
# One row of three: R and how alike they are, the old name, the new one. -l0: however many they are.
RENAMES = (*("--find-renames", "-l0", "--diff-filter=R"), "--name-status", "--relative", "-z")


def renamed_to(root: Path, name: str, answers_file: str) -> str:
    """The path to which the user has renamed a file; "" for none.

    In one commit, in several after each other, or in two of which one has the new name and the
    other no longer the old one: then the last update, at which only the old one was there, is
    compared with today.

    Args:
        root: the project's folder.
        name: the file, relative to it.
        answers_file: what each update changes.
    """
    known = {name}
    while True:
        gone = ("git", "log", "-1", "--no-renames", "--diff-filter=D", "--format=%H", "--", name)
        commit = capture(*gone, cwd=root).stdout.strip()
        if not commit:
            return ""
        new = renames(root, "show", "--format=", commit).get(name, "")
        if not new:
            updated = ("git", "log", "-1", "--format=%H", f"{commit}^", "--", answers_file)
            start = capture(*updated, cwd=root).stdout.strip()
            new = renames(root, "diff", start, "HEAD").get(name, "") if start else ""
        if not new or new in known:
            return ""
        if (root / new).is_file():
            return new
        known.add(new)
        name = new


def renamed_from_older(root: Path, name: str, answers_file: str, template: tuple[Path, str]) -> str:
    """As `renamed_to`, also if the template has renamed the file after the user had.

    Then git has never had it here under its newer name.

    Args:
        root: the project's folder.
        name: the file, relative to it.
        answers_file: what each update changes.
        template: its repository, and the version that the project has.
    """
    found = renamed_to(root, name, answers_file)
    if found or capture("git", "log", "-1", "--format=%H", "--", name, cwd=root).stdout:
        return found
    older = (renamed_to(root, one, answers_file) for one in older_names(*template, name))
    return next(filter(None, older), "")


def older_names(repository: Path, version: str, name: str) -> list[str]:
    """The names that a file had in older versions of the template, the newest first."""
    follow = ("log", "--follow", "-M", "--diff-filter=R", "--name-status", "-z", "--format=")
    for path in (f"{PART}{name}{JINJA}", f"{PART}{name}"):
        said = capture("git", *follow, version, "--", path, cwd=repository).stdout.split("\0")
        older = [*filter(None, (one.strip("\n") for one in said))][1::3]
        if older:
            return [one[len(PART) :].removesuffix(JINJA) for one in older]
    return []


def renames(root: Path, *command: str) -> dict[str, str]:
    """What git takes for renamed below a folder, old name to new."""
    verb, *words = command
    said = capture("git", verb, *RENAMES, *words, "--", ".", cwd=root).stdout.split("\0")
    return dict(zip(said[1::3], said[2::3]))  # noqa: B905  Python 3.8; the last is empty
