"""remove: take packages out of what lists them, and out of the lock."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .ask import read_text
from .compose import show
from .files import write_file
from .images import packages_of
from .project import USAGE, StopError, me
from .system_packages import LISTS

if TYPE_CHECKING:
    import argparse
    from pathlib import Path
    from typing import Mapping, Sequence

    from .project import Project


def remove_options(parser: argparse.ArgumentParser) -> None:
    """Which packages, and that they are those of the distribution."""
    parser.add_argument(
        "--apt", action="store_true", help="packages of the distribution, out of apt-*.txt"
    )
    parser.add_argument("name", nargs="+", metavar="NAME", help="a package, without a version")


def do_remove(project: Project, options: argparse.Namespace) -> None:
    """Take packages out of every list of theirs, and lock.

    Raises:
        StopError: a word is no name, or no list has it; then nothing is changed.
        ProbeError: a list cannot be written.
    """
    lists = {project.folder / "dependencies" / name: "" for name in LISTS}
    lists = {file: file.read_text("utf-8") for file in lists if file.is_file()}
    if options.apt:
        files = remove_from_lists(lists, options.name)
    else:
        refuse_others(project, options.name, "\n".join(lists.values()))
        files = packages_of(project).remove(project, options.name)
    show(f"Removed from {files}. Run: {me()} build")


def remove_from_lists(lists: Mapping[Path, str], names: Sequence[str]) -> str:
    """Take names out of the lists of apt, file to text; name the files."""
    new = dict(lists)
    for name in names:
        before = dict(new)
        new = {file: without_word(text, name) for file, text in before.items()}
        if new == before:
            cause = f"dependencies/apt-*.txt do not list {name}."
            raise StopError(cause, f"{me()} remove --help", name=USAGE)
    changed = [file for file, text in new.items() if text != lists[file]]
    for file in changed:
        write_file(file, new[file])
    return ", ".join(f"dependencies/{file.name}" for file in changed)


def without_word(text: str, name: str) -> str:
    """A list of apt without a package; a line without any other goes, and its comment."""
    kept = []
    for line in text.splitlines(keepends=True):
        words, sign, comment = line.partition("#")
        rest = [word for word in words.split() if re.split("[:=/]", word)[0] != name]
        if len(rest) == len(words.split()):
            kept.append(line)
        elif rest:
            kept.append(f"{' '.join(rest)}{'  #' if sign else ''}{comment.rstrip()}\n")
    return "".join(kept)


def refuse_others(project: Project, words: Sequence[str], of_apt: str) -> None:
    """Raises StopError for what is not the name of a Python package alone, or is one of apt's."""
    for word in words:
        name = re.sub(r"[^\w.-].*|^[^\w].*", "", word, flags=re.DOTALL)
        if name != word or not name:
            cause = f'remove wants the name of a package alone, not "{word}".'
            raise StopError(cause, f"{me()} remove {name or '--help'}", name=USAGE)
        if without_word(of_apt, name) != of_apt and not is_locked(project, name):
            cause = f"{name} is a package of the distribution."
            raise StopError(cause, f"{me()} remove --apt {name}", name=USAGE)


def is_locked(project: Project, name: str) -> bool:
    """Whether a lock of the project has a Python package."""
    spelling = r"[-_.]+".join(map(re.escape, re.split(r"[-_.]+", name)))
    locks = [read_text(file) for file in (project.folder / "dependencies").glob("*.lock")]
    patterns = [pattern.format(spelling) for pattern in packages_of(project).IN_LOCKS]
    return any(re.search(pattern, text) for pattern in patterns for text in locks)
