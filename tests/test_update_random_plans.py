"""Random versions of a template and random edits, as files alone: no line of the user's is lost.

Unlike in tests/test_update_histories.py nothing is rendered, so a thousand take minutes:

    HEARTH_SEED=1 HEARTH_HISTORIES=1000 make fast ARGS='tests/test_update_random_plans.py'
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from hooks.update.changes import Plan, Project, plan_of
from hooks.update.renderings import File
from host.checkout import UpdateError

FIRST = int(os.environ["HEARTH_SEED"])
SEEDS = range(FIRST, FIRST + int(os.environ.get("HEARTH_HISTORIES", "20")))
# Each is merged by its kind.
NAMES = ("run.sh", "list.txt", "docker-amd64/dependencies/apt.txt", "page.md", "x/settings.env")
LISTS = (".txt", ".md", ".env")  # in which what both add at one place is no conflict


def line(name: str, word: str) -> str:
    """A line of a file that nothing else has."""
    return f"{word}=1\n" if name.endswith(".env") else f"{word}\n"


class Template:
    """Versions of a template."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.count = 0
        self.files = {
            name: "".join(line(name, f"{Path(name).stem}_{at}") for at in range(12))
            for name in NAMES
        }

    def rendered(self) -> dict[str, File]:
        return {name: File(text.encode()) for name, text in self.files.items()}

    def change(self) -> None:
        """Make the next version."""
        for name in self.chance.sample(sorted(self.files), 2):
            self.count += 1
            text = self.files.pop(name)
            what = self.chance.choice(("edit", "edit", "rename", "drop", "folder", "swap"))
            if what != "drop":
                lines = text.splitlines(keepends=True)
                if what == "swap":  # nothing of the file is in the folder
                    lines = [line(name, f"other_{self.count}_{at}") for at in range(5)]
                lines.insert(self.chance.randrange(len(lines)), line(name, f"news_{self.count}"))
                path = Path(name)
                other = {
                    "rename": path.with_name(f"n{self.count}{path.suffix}"),
                    "folder": path / f"in{path.suffix}",
                    "swap": path / f"in{path.suffix}",
                }.get(what, path)
                self.files[str(other)] = "".join(lines)
        self.files[f"added{self.count}.txt"] = f"added {self.count}\n" * 3


class User:
    """A project, and what its user did."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.root, self.chance = root, chance
        self.lines: set[str] = set()
        self.edited: set[str] = set()
        self.renamed: dict[str, str] = {}

    def names(self) -> list[str]:
        found = (path for path in self.root.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def edit(self) -> None:
        name = self.chance.choice(self.names())
        path, number = self.root / name, len(self.lines)
        mine = line(name, f"mine_{number}")
        lines = path.read_text().splitlines(keepends=True)
        lines.insert(self.chance.randrange(len(lines) + 1), mine)
        path.write_text("".join(lines))
        self.lines.add(mine.strip())
        if self.chance.random() < 0.3:
            other = path.with_name(f"own{number}{path.suffix}")
            path.rename(other)
            self.renamed[name] = name = other.relative_to(self.root).as_posix()
        self.edited.add(name)

    def everything(self) -> set[str]:
        return {one for name in self.names() for one in (self.root / name).read_text().split()}

    def update(self, base: dict[str, File], theirs: dict[str, File]) -> Plan | None:
        """Do what an update would; None if it is refused."""
        project = Project(self.root, self.names(), lambda name: self.renamed.get(name, ""))
        try:
            plan = plan_of(project, base, theirs, lambda _: False)
        except UpdateError:
            return None
        for name in plan.deletes:
            (self.root / name).unlink()
            for folder in [*(self.root / name).parents][: name.count("/")]:
                if not [*folder.iterdir()]:
                    folder.rmdir()
        for name, file in plan.writes.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(file.data)
        return plan


@pytest.mark.parametrize("seed", SEEDS)
def test_random_versions_and_edits_lose_no_line(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    template, user = Template(chance), User(tmp_path, chance)
    base = template.rendered()
    user.update({}, base)
    for _ in range(3):
        for _ in range(chance.randrange(4)):
            user.edit()
        template.change()
        theirs = template.rendered()
        before = {name: (tmp_path / name).read_bytes() for name in user.names()}
        plan = user.update(base, theirs)
        if plan is None:
            assert before == {name: (tmp_path / name).read_bytes() for name in user.names()}
            return
        assert user.lines <= user.everything()
        user.edited |= {plan.moved[name] for name in user.edited & {*plan.moved}}
        unmerged = {one.name for one in plan.conflicts}
        assert unmerged <= user.edited
        assert not [name for name in unmerged if name.endswith(LISTS)]
        for name, file in theirs.items():  # what nobody touched is the template's
            if name not in user.edited and (tmp_path / name).exists():
                assert (tmp_path / name).read_bytes() == file.data, name
        for name in unmerged:
            text = (tmp_path / name).read_text().splitlines(keepends=True)
            marks = ("<<<<<<<", "=======", ">>>>>>>")
            (tmp_path / name).write_text("".join(x for x in text if not x.startswith(marks)))
        base = theirs
