"""Random years of a project: edits, updates and other answers, in any order; no line is lost.

Edits of every kind, also of files that git ignores or was told to overlook; settings of git that
would hide or change things; updates that are killed at any moment, and taken back.

    HEARTH_SEED=1 HEARTH_HISTORIES=1000 make fast ARGS='tests/test_update_histories.py'
"""

from __future__ import annotations

import os
import random
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.env_file import read_env, set_keys
from tests.conftest import ROOT, Generate, InGit
from tests.support.git import git
from tests.support.updates import conflicts, update

# Each answer is changed in one of eight in a row. conftest.py says where the first seed is from.
FIRST = int(os.environ["HEARTH_SEED"])
SEEDS = range(FIRST, FIRST + int(os.environ.get("HEARTH_HISTORIES", "8")))
DOCKER = "docker-amd64"
DEPENDENCIES = f"{DOCKER}/dependencies"
NEWS = {
    "Dockerfile.jinja": ("\nFROM base AS publish\n", "\n# News.\nFROM base AS publish\n"),
    "compose.yaml.jinja": ("  stop_grace_period: 60s", "  stop_grace_period: 90s"),
    "dependencies/apt-dev.txt.jinja": ("htop\n", "htop\nnews\n"),
    "README.md.jinja": ("\n\n", "\n\nNews.\n\n"),
    ".env.example.jinja": ("# Shared memory", "# News.\nNEW_KEY=7\n\n# Shared memory"),
    "dependencies/pyproject.toml.jinja": (
        '    "ruff",\n',
        '    "ruff",\n    "news",\n',
    ),
}
ANSWERS: dict[str, tuple[Any, ...]] = {
    "project_name": ("one-name", "another-name"),
    "service": ("simple", "train", "devel", "ngc", "hub"),
    "accelerator": ("cuda", "cpu"),
    "torch_version": ("2.13.0", "2.8.0", "none"),
    "python_version": ("3.11", "3.12"),
    "linux_distro": ("debian-12", "ubuntu-24.04"),
    "package_manager": ("conda", "pip"),
    "jit": (True, False),
}
# Where a person writes: between blocks, or at any line of a list or a text.
SETTINGS = {
    "apply.whitespace": "error",
    "core.excludesFile": "/dev/null",
    "status.showUntrackedFiles": "no",
    "diff.noprefix": "true",
    "diff.external": "false",
    "merge.conflictStyle": "diff3",
    "core.fileMode": "false",
    "core.quotePath": "false",
    "core.autocrlf": "input",
    "color.ui": "always",
    "core.abbrev": "5",
}
BLOCKS = f"{DOCKER}/Dockerfile", f"{DOCKER}/compose.yaml", f"{DOCKER}/entrypoint.sh"
LISTS = f"{DEPENDENCIES}/apt-dev.txt", f"{DEPENDENCIES}/apt-runtime.txt", "README.md"


@pytest.fixture(scope="module")
def versions(template: Path, releases: dict[str, str]) -> Iterator[list[str]]:
    """The tags to go along: the last releases, the working tree, and one more with news."""
    docker = template / "template" / DOCKER
    for name, (old, new) in NEWS.items():
        path = docker / name
        assert old in path.read_text(), name
        path.write_text(path.read_text().replace(old, new, 1))
    git(template, "commit", "--quiet", "--all", "--message", "news")
    git(template, "tag", "v999.1.0")
    yield [*(f"v{version}" for version in list(releases)[-2:]), "v999.0.0", "v999.1.0"]
    git(template, "tag", "--delete", "v999.1.0")
    git(template, "reset", "--quiet", "--hard", "HEAD~1")


@pytest.fixture(autouse=True)
def _without_traceback(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever an update says, also one that is refused, is for people."""
    yield
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err


class History:
    """A project, and what its person did to it."""

    def __init__(self, project: Path, chance: random.Random) -> None:
        self.project = project
        self.chance = chance
        self.lines: dict[str, list[str]] = {}
        self.packages: list[str] = []
        self.env: dict[str, str] = {}
        self.deleted: list[str] = []
        self.count = 0

    def edit(self) -> None:
        """Do one thing that a person does between two updates."""
        self.count += 1
        kinds = ("line", "line", "line", "package", "env", "file", "delete")
        rare = ("ignored", "overlooked", "mode", "ends", "setting", "attribute")
        kind = self.chance.choice((*kinds, *rare))
        getattr(self, f"edit_{kind}")()

    def edit_line(self) -> None:
        name = self.chance.choice([*BLOCKS, *LISTS])
        path = self.project / name
        old = path.read_text().splitlines(keepends=True)
        places = [i for i, line in enumerate(old) if line == "\n" or name in LISTS]
        mine = f"mine-{self.count}" if name in LISTS else f"# mine {self.count}"
        old.insert(self.chance.choice(places) + 1, f"{mine}\n")
        path.write_text("".join(old))
        self.lines.setdefault(name, []).append(mine)

    def edit_package(self) -> None:
        path = self.project / DEPENDENCIES / "pyproject.toml"
        if path.exists():
            name = f"mine-{self.count}"
            text = re.sub(
                r"(?m)^dependencies = \[", f'dependencies = ["{name}", ', path.read_text()
            )
            path.write_text(text.replace(", ]", "]"))
            self.packages.append(name)

    def edit_env(self) -> None:
        key, value = f"MINE_{self.count}", f"it's $(mine) {self.count}"
        set_keys(self.project / DOCKER, [f"{key}={value}", "TZ=Europe/Paris"])
        self.env |= {key: value, "TZ": "Europe/Paris"}

    def edit_file(self) -> None:
        name = f"{DOCKER}/mine-{self.count}.sh"
        (self.project / name).write_text(f"# mine {self.count}\n")
        self.lines[name] = [f"# mine {self.count}"]

    def edit_delete(self) -> None:
        for name in ("tests/test_project.py", f"{DOCKER}/compose.ca.yaml"):
            if (self.project / name).exists() and name not in self.lines:
                (self.project / name).unlink()
                self.deleted.append(name)
                return

    def edit_ignored(self) -> None:
        """Lists of packages leave git, but not the disk."""
        ignore = self.project / ".gitignore"
        text = ignore.read_text() if ignore.exists() else ""
        ignore.write_text(f"{text}# mine {self.count}\n{DEPENDENCIES}/*.txt\n")
        self.lines.setdefault(".gitignore", []).append(f"# mine {self.count}")
        git(self.project, "rm", "--quiet", "--cached", "--ignore-unmatch", f"{DEPENDENCIES}/*.txt")
        self.edit_line()

    def edit_overlooked(self) -> None:
        """Git does not look at a file any more, which is changed then."""
        how = self.chance.choice(("--skip-worktree", "--assume-unchanged"))
        name = self.chance.choice(LISTS[:2])
        if git(self.project, "ls-files", "--", name):
            git(self.project, "update-index", how, name)
        with (self.project / name).open("a") as file:
            file.write(f"mine-{self.count}\n")
        self.lines.setdefault(name, []).append(f"mine-{self.count}")

    def edit_mode(self) -> None:
        path = self.project / BLOCKS[2]
        path.chmod(path.stat().st_mode ^ 0o010)

    def edit_ends(self) -> None:
        """A file gets the line ends of Windows."""
        path = self.project / "README.md"
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))

    def edit_setting(self) -> None:
        """A setting of git that makes it say or do something else."""
        key = self.chance.choice(sorted(SETTINGS))
        git(self.project, "config", key, SETTINGS[key])

    def edit_attribute(self) -> None:
        with (self.project / ".git/info/attributes").open("a") as file:
            file.write(self.chance.choice(("* -diff\n", "* merge=union\n", "*.txt binary\n")))

    def keep_both(self) -> None:
        """Solve conflicts as somebody in a hurry does; only what he changed may have any."""
        unmerged = {line.split("\t")[1] for line in conflicts(self.project).splitlines()}
        assert unmerged <= {*self.lines}
        assert not [name for name in unmerged if name.startswith(DEPENDENCIES)]
        for name in unmerged:
            path = self.project / name
            path.write_text(re.sub(r"(?m)^(<{7}|={7}|>{7})( .*)?\n", "", path.read_text()))

    def check(self) -> None:
        """Everything that the person did is still there."""
        for name, mine in self.lines.items():
            text = (self.project / name).read_text().splitlines()
            assert set(mine) <= set(text), name
        lists = [
            (self.project / DEPENDENCIES / name).read_text()
            for name in ("pyproject.toml", "environment.yml")
            if (self.project / DEPENDENCIES / name).exists()
        ]
        assert not [name for name in self.packages if not re.search(rf"{name}\b", "".join(lists))]
        env = read_env((self.project / DOCKER / ".env").read_text())
        assert self.env.items() <= env.items()
        assert not [name for name in self.deleted if (self.project / name).exists()]

    def everything(self) -> dict[str, tuple[int, bytes]]:
        """All files but git's own, with their modes."""
        return {
            str(path.relative_to(self.project)): (
                stat.S_IMODE(path.stat().st_mode),
                path.read_bytes(),
            )
            for path in self.project.rglob("*")
            if path.is_file()
            and ".git" not in path.relative_to(self.project).parts
            and not path.name.endswith((".undone", ".turn"))
        }

    def be_killed(self, version: str) -> None:
        """An update is killed at any moment; what it had said brings all back."""
        before = self.everything()
        code = (
            "import sys; from pathlib import Path; from tests.support.updates import update; "
            "update(Path(sys.argv[1]), sys.argv[2])"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(self.project), version],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            time.sleep(self.chance.uniform(0.5, 2.5))
            os.killpg(process.pid, signal.SIGKILL)
        self.take_back()
        assert self.everything() == before

    def take_back(self) -> None:
        """What an update had done to the project is undone, if it had begun."""
        head = git(self.project, "rev-parse", "HEAD").strip()
        for program in (self.project / ".git/hearth-update").glob("*/undo"):
            if head not in program.read_text():  # of an update that was committed
                continue
            done = subprocess.run(["sh", str(program)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def next_versions(chance: random.Random, versions: list[str], seed: int) -> list[str]:
    """Through which versions a project goes."""
    return [versions[at] for at in sorted(chance.sample(range(len(versions)), 2 + seed % 2))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_history_loses_nothing_and_ends_like_a_fresh_copy(
    versions: list[str], generate: Generate, tmp_path: Path, in_git: InGit, seed: int
) -> None:
    chance = random.Random(seed)
    path = next_versions(chance, versions, seed)
    first: dict[str, Any] = {"project_kind": "new", "project_name": "project"}
    project = generate(tmp_path / "project", hook=True, version=path[0], **first)
    in_git(project)
    history = History(project, chance)
    for stop in path[1:]:
        for _ in range(chance.randrange(1, 6)):
            history.edit()
            if chance.random() < 0.5:
                in_git(project)
        in_git(project)
        changed = chance.sample(sorted(ANSWERS), chance.randrange(3))
        if stop == path[-1]:
            changed.append(sorted(ANSWERS)[seed % len(ANSWERS)])
        answers = {name: chance.choice(ANSWERS[name]) for name in changed}
        before = history.everything()
        if chance.random() < 0.4:
            history.be_killed(stop)
        try:
            update(project, stop, **answers)
        except ValueError:  # answers that do not go together are refused, before anything is done
            assert history.everything() == before
            update(project, stop)
            answers = {}
        if chance.random() < 0.3:
            history.take_back()
            assert history.everything() == before
            update(project, stop, **answers)
        history.keep_both()
        history.check()
        in_git(project)
    kept = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert kept["_commit"] == path[-1]
    answers = {name: value for name, value in kept.items() if name[0] != "_"}
    fresh = generate(tmp_path / "fresh/project", version=kept["_commit"], **answers)
    touched = {*history.lines, *history.deleted, ".copier-answers.yml"}
    touched |= {f"{DEPENDENCIES}/{name}" for name in ("pyproject.toml", "environment.yml")}
    in_git(fresh)
    for name in set(git(fresh, "ls-files").splitlines()) - touched:
        assert (project / name).read_text() == (fresh / name).read_text(), name
    if seed % 8 == 0:
        update(project, kept["_commit"])
        assert git(project, "status", "--porcelain") == ""
