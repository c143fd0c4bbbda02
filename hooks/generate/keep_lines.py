"""Which lines in .gitignore keep files that git ignores.

The lines are tried out in a copy of all the .gitignore files, because one line is seldom enough: a
file in an ignored folder stays ignored until the folder is not, and then another rule may match.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hooks.generate.ignored import FOLDER, Rule, rules
from host.ask import capture
from host.checkout import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

IGNORE = ".gitignore"
ROUNDS = 8  # as many as folders can be in one another, and a few more
FEW = 2  # files that are named one by one


def parents(names: Iterable[str]) -> list[str]:
    """The folders of files, the upper ones first."""
    found = {str(folder) for name in names for folder in PurePosixPath(name).parents}
    return sorted(found - {"."}, key=lambda folder: (folder.count("/"), folder))


def topmost(found: Mapping[str, Rule]) -> dict[str, Rule]:
    """What rules match by itself, not because of the folder that it is in."""
    return {
        name: rule
        for name, rule in found.items()
        if not any(str(folder) in found for folder in PurePosixPath(name).parents)
    }


def escaped(path: str) -> str:
    """A path as a pattern that matches only it."""
    return re.sub(r"([\\*?\[])", r"\\\1", path)


def negations(names: Sequence[str], rule: Rule, base: str) -> Iterator[str]:
    """Lines that take back one rule for these files, and folders with a slash at their end.

    `base` is the folder of the .gitignore that they are for: "", or such as `docker-amd64/host/`.
    """
    inside = [name for name in names if name > f"{FOLDER}/" and name.startswith(f"{FOLDER}/")]
    inside = inside if len(inside) > FEW else []
    yield from (f"!/{escaped(name[len(base) :])}" for name in names if name not in inside)
    below = "" if base else f"{FOLDER}/"
    if inside and "/" not in rule.pattern.rstrip("/"):
        yield f"!/{below}**/{rule.pattern}"
    elif inside:
        folders = dict.fromkeys(PurePosixPath(name).parent.as_posix() for name in inside)
        yield from (f"!/{f'{folder}/'[len(base) :]}*" for folder in folders)


class Copy:
    """The .gitignore files of a project, and of the folders around it, in a folder of their own.

    `folders` are those of the project that may have one.
    """

    def __init__(self, git: list[str], project: Path, scratch: Path, folders: list[str]) -> None:
        """Copy them into `scratch`."""

        def ask(*words: str) -> str:
            return capture(*git, *words, cwd=project).stdout.strip("\n")

        root = Path(ask("rev-parse", "--show-toplevel") or project)
        within = project.resolve().relative_to(root.resolve())
        self.project = scratch / "tree" / within
        self.project.mkdir(parents=True)
        for number in range(len(within.parts) + 1):
            self._take(root, Path(*within.parts[:number]), scratch / "tree")
        for folder in folders:
            (self.project / folder).mkdir(parents=True, exist_ok=True)
            self._take(project, Path(folder), self.project)
        self.git = ["git", f"--git-dir={scratch / 'git'}", f"--work-tree={scratch / 'tree'}"]
        for name in ("objects", "refs", "info"):
            (scratch / "git" / name).mkdir(parents=True)
        (scratch / "git/HEAD").write_text("ref: refs/heads/main\n")
        exclude = project / ask("rev-parse", "--git-path", "info/exclude")
        if exclude.is_file():
            shutil.copyfile(exclude, scratch / "git/info/exclude")
        everywhere = ask("config", "--path", "core.excludesFile")
        self.git += ["-c", f"core.excludesFile={everywhere}"] if everywhere else []
        self.within = f"{within.as_posix()}/" if within.parts else ""

    @staticmethod
    def _take(root: Path, folder: Path, to: Path) -> None:
        file = root / folder / IGNORE
        if file.is_file() and not file.is_symlink():  # git follows no link
            shutil.copyfile(file, to / folder / IGNORE)

    def rules(self, names: Iterable[str]) -> dict[str, Rule]:
        """What is ignored here, with its rule."""
        return rules(self.git, self.project, names)

    def append(self, base: str, line: str) -> None:
        """Add a line to the .gitignore of a folder of the project."""
        with (self.project / base / IGNORE).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")

    def base(self, rule: Rule) -> str:
        """The folder of the project whose .gitignore takes a rule back: a lower one wins."""
        place = PurePosixPath(rule.source)
        if place.is_absolute() or place.name != IGNORE or not rule.source.startswith(self.within):
            return ""
        return rule.source[len(self.within) : -len(IGNORE)]


def keep(git: list[str], project: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """The lines to add, folder of the .gitignore to lines; {} if none help. Raises OSError."""
    folders = parents(names)
    added: dict[str, list[str]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="hearth-ignore-") as scratch:
        copy = Copy(git, project, Path(scratch), folders)
        for _ in range(ROUNDS):
            found = topmost(copy.rules([*folders, *names]))
            if not found:
                return added
            by_rule: dict[Rule, list[str]] = defaultdict(list)
            for name, rule in found.items():
                by_rule[rule].append(f"{name}/" if name in folders else name)
            for rule, matched in by_rule.items():
                base = copy.base(rule)
                for line in negations(matched, rule, base):
                    if line not in added[base]:
                        added[base].append(line)
                        copy.append(base, line)
    return {}


def lines(git: list[str], project: Path, found: Mapping[str, Rule], shown: str) -> list[str]:
    """What to show of files that git ignores; see `ignored.lines`. Raises OSError."""
    rule = found.get(f"../{project.name}")
    if rule:
        why = f"The repository around this folder ignores it ({rule.pattern} in {rule.source})"
        return [f"{why}. To give it its own: git -C {shlex.quote(shown)} init"]
    folders = parents(found)
    first = topmost(rules(git, project, [*folders, *found]))
    rule = next(iter(first.values()))
    names = [f"{name}/" if name in folders else name for name in first]
    count = "" if len(found) == len(first) else f" ({len(found)} files)"
    why = f"(rule {rule.pattern} of {rule.source}), which a clone of the project needs."
    lost = f"git ignores {listed(names)}{count} {why}"
    commands = [
        f"printf '%s\\n' '' {' '.join(shlex.quote(line) for line in some)} >> "
        + shlex.quote(str(PurePosixPath(shown, base, IGNORE)))
        for base, some in keep(git, project, [*found]).items()
    ]
    return [f"{lost} To keep them: {' && '.join(commands)}" if commands else lost]
