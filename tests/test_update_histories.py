r"""Random years of a project: edits, updates and other answers, in any order; no line is lost.

Edits of every kind, also of files that git ignores or was told to overlook; files that the user or
the template renames or removes; settings of git that would hide or change things, of the project
and of the user; updates that are killed at any moment, and taken back.

    HEARTH_SEED=1 HEARTH_HISTORIES=1000 HEARTH_MINUTES=90 \
        make fast ARGS='tests/test_update_histories.py'

No history starts after these minutes, two unless they are given; those that did not are counted as
skipped. The first eight always run.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.env_file import read_env, set_keys
from tests.conftest import ROOT, Generate, InGit
from tests.support.forked import forked_updates
from tests.support.git import git
from tests.support.updates import conflicts, update

# Each answer is changed in one of eight in a row. conftest.py says where the first seed is from.
FIRST = int(os.environ["HEARTH_SEED"])
SEEDS = range(FIRST, FIRST + int(os.environ.get("HEARTH_HISTORIES", "24")))
MINUTES = float(os.environ.get("HEARTH_MINUTES", "2"))
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
# What the last version renames, each with a line more, and what it removes.
RENAMED = {
    f"{DOCKER}/entrypoint.sh": f"{DOCKER}/start.sh",
    f"{DEPENDENCIES}/apt-runtime.txt": f"{DEPENDENCIES}/apt-final.txt",
}
REMOVED = f"{DOCKER}/tuning.env"
LAST = "# The last news."
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
# Of a project.
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
# Of a user, for all that they do; @ is a folder of theirs.
MACHINE = {
    "core.autocrlf": "true",
    "core.attributesFile": "@/attributes",
    "core.excludesFile": "@/ignore",
    "core.fileMode": "false",
    "core.hooksPath": "@/hooks",
    "core.ignoreCase": "true",
    "core.safecrlf": "true",
    "core.splitIndex": "true",
    "core.untrackedCache": "true",
    "commit.gpgSign": "true",
    "diff.external": "false",
    "diff.mnemonicPrefix": "true",
    "diff.orderFile": "@/order",
    "diff.renameLimit": "1",
    "diff.renames": "false",
    "feature.manyFiles": "true",
    "format.pretty": "fuller",
    "gpg.program": "false",
    "init.templateDir": "@/template",
    "log.showSignature": "true",
    "merge.conflictStyle": "zdiff3",
    "merge.renames": "false",
    "safe.bareRepository": "explicit",
    "status.branch": "true",
    "status.showUntrackedFiles": "no",
    "tag.gpgSign": "true",
    "tag.sort": "-version:refname",
    "user.useConfigOnly": "true",
}
# Where a person writes: between blocks, or at any line of a list or a text.
BLOCKS = f"{DOCKER}/Dockerfile", f"{DOCKER}/compose.yaml", f"{DOCKER}/entrypoint.sh"
LISTS = f"{DEPENDENCIES}/apt-dev.txt", f"{DEPENDENCIES}/apt-runtime.txt", "README.md"


@pytest.fixture(scope="module")
def versions(template: Path, releases: dict[str, str]) -> Iterator[list[str]]:
    """The tags to go along: the last releases, the working tree, and two more with news."""
    folder = template / "template"
    docker = folder / DOCKER
    for name, (old, new) in NEWS.items():
        path = docker / name
        assert old in path.read_text(), name
        path.write_text(path.read_text().replace(old, new, 1))
    git(template, "commit", "--quiet", "--all", "--message", "news")
    git(template, "tag", "v999.1.0")
    for old, new in RENAMED.items():
        (folder / f"{old}.jinja").rename(folder / f"{new}.jinja")
        with (folder / f"{new}.jinja").open("a") as file:
            file.write(f"{LAST}\n")
    (folder / f"{REMOVED}.jinja").unlink()
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--message", "other names")
    git(template, "tag", "v999.2.0")
    more = [f"v{version}" for version in list(releases)[-2:]]
    yield [*more, "v999.0.0", "v999.1.0", "v999.2.0"]
    git(template, "tag", "--delete", "v999.1.0", "v999.2.0")
    git(template, "reset", "--quiet", "--hard", "HEAD~2")


def settings_of_a_user(folder: Path, chance: random.Random) -> Path:
    """The global settings of a user, some of which would hide or change things, or stop git."""
    hooks = [folder / "hooks", folder / "template/hooks"]
    for place in hooks:
        place.mkdir(parents=True)
        for name in ("post-checkout", "post-index-change", "pre-commit", "reference-transaction"):
            (place / name).write_text("#!/bin/sh\necho > hook-ran\nexit 1\n")
            (place / name).chmod(0o755)
    (folder / "attributes").write_text("* text eol=crlf -diff merge=union export-ignore\n")
    (folder / "ignore").write_text("*.env\n*.txt\n*.sh\n")
    (folder / "order").write_text("README.md\n")
    file = folder / "gitconfig"
    file.write_text("[safe]\n directory = *\n")
    for key in chance.sample(sorted(MACHINE), 9):
        git(folder, "config", "--file", str(file), key, MACHINE[key].replace("@", str(folder)))
    return file


@pytest.fixture(scope="module")
def end(versions: list[str]) -> float:
    """The time of time.monotonic() at which no other history starts."""
    del versions  # to make them takes time, too
    return time.monotonic() + MINUTES * 60


@pytest.fixture
def seed(request: pytest.FixtureRequest, end: float) -> int:
    """The seed of a history, if there is time for it."""
    given: int = request.param
    if given - FIRST >= len(ANSWERS) and time.monotonic() > end:
        pytest.skip(f"{MINUTES:g} minutes are over (HEARTH_MINUTES)")
    return given


@pytest.fixture(autouse=True)
def _without_traceback(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever an update says, also one that is refused, is for people."""
    yield
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err


class History:
    """A project, and what its person did to it.

    Attributes:
        apart: whether its updates start programs of their own, which takes four times as long.
    """

    def __init__(self, project: Path, chance: random.Random, settings: Path | None) -> None:
        self.project = project
        self.chance = chance
        self.settings = settings
        self.lines: dict[str, list[str]] = {}
        self.packages: list[str] = []
        self.env: dict[str, str] = {}
        self.deleted: list[str] = []
        self.renamed: dict[str, str] = {}
        self.count = 0
        self.apart = False

    @contextmanager
    def machine(self) -> Iterator[None]:
        """Let git have the user's settings."""
        with pytest.MonkeyPatch.context() as patch:
            if self.settings:
                patch.setenv("GIT_CONFIG_GLOBAL", str(self.settings))
            yield

    def update(self, version: str, **answers: Any) -> None:
        """Update the project. Raises ValueError: it was refused."""
        with self.machine(), nullcontext() if self.apart else forked_updates():
            update(self.project, version, **answers)

    def at(self, name: str) -> str:
        """Where a file of the template is now: the user or the template may have renamed it."""
        new = RENAMED.get(name, name)
        found = self.renamed.get(name, name if new in self.lines else new)
        return found if (self.project / found).exists() else name

    def edit(self) -> None:
        """Do one thing that a person does between two updates."""
        self.count += 1
        kinds = ("line", "line", "line", "package", "env", "file", "delete")
        rare = ("ignored", "overlooked", "mode", "ends", "setting", "attribute", "rename", "taken")
        kind = self.chance.choice((*kinds, *rare))
        getattr(self, f"edit_{kind}")()

    def edit_line(self) -> None:
        name = self.chance.choice([*BLOCKS, *LISTS])
        path = self.project / self.at(name)
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

    def edit_taken(self) -> None:
        """A file of the user's own has the name that the template will give to one of its."""
        name = f"{DOCKER}/start.sh"
        if name not in self.lines and not (self.project / name).exists():
            (self.project / name).write_text(f"# mine {self.count}\n")
            self.lines[name] = [f"# mine {self.count}"]

    def edit_rename(self) -> None:
        """A file of the template gets another name, in one commit or in two."""
        old = self.chance.choice((BLOCKS[2], REMOVED, "tests/test_project.py"))
        new = str(Path(old).with_name(f"own-{Path(old).name}"))
        source, target = self.project / old, self.project / new
        if old in self.renamed or not source.exists():
            return
        text, mode = source.read_bytes(), source.stat().st_mode
        steps: list[Callable[[], object]] = [source.unlink, lambda: target.write_bytes(text)]
        for step in self.chance.choice((steps, steps[::-1])):
            step()
            if self.chance.random() < 0.5:
                git(self.project, "add", "--all")
                git(self.project, "commit", "--quiet", "--message", "a half of a rename")
        target.chmod(mode)
        self.renamed[old] = new

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
        path = self.project / self.at(BLOCKS[2])
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
        assert unmerged <= {*self.lines, *map(self.at, self.lines)}
        assert not [name for name in unmerged if name.startswith(DEPENDENCIES)]
        for name in unmerged:
            path = self.project / name
            path.write_text(re.sub(r"(?m)^(<{7}|={7}|>{7})( .*)?\n", "", path.read_text()))

    def check(self) -> None:
        """Everything that the person did is still there."""
        for name, mine in self.lines.items():
            text = (self.project / self.at(name)).read_text().splitlines()
            assert set(mine) <= set(text), name
        lists = [
            (self.project / DEPENDENCIES / name).read_text()
            for name in ("pyproject.toml", "environment.yml")
            if (self.project / DEPENDENCIES / name).exists()
        ]
        assert not [name for name in self.packages if not re.search(rf"{name}\b", "".join(lists))]
        env = read_env((self.project / DOCKER / ".env").read_text())
        assert self.env.items() <= env.items()
        gone = [*self.deleted, *self.renamed]
        assert not [name for name in gone if (self.project / name).exists()]
        assert not [*self.project.rglob("hook-ran")]

    def check_like(self, fresh: Path) -> None:
        """What the person did not touch is as in a fresh copy, and nothing else is left."""
        touched = {*self.lines, *self.deleted, *self.renamed, ".copier-answers.yml"}
        touched |= {*map(self.at, touched), *(RENAMED.get(name, name) for name in touched)}
        # A tool for the dev image moves with another package manager, whoever has added it; that
        # is recorded.
        lists = ("pyproject.toml", "environment.yml", "environment-dev.yml", "imported.json")
        touched |= {f"{DEPENDENCIES}/{name}" for name in lists}
        names = {*git(fresh, "ls-files").splitlines()}
        left = {*git(self.project, "ls-files").splitlines()} - names - touched
        assert not [name for name in left if not name.endswith(".old")]
        for name in names - touched:
            assert (self.project / name).read_text() == (fresh / name).read_text(), name

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
        with (
            self.machine(),
            subprocess.Popen(
                [sys.executable, "-c", code, str(self.project), version],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            ) as process,
        ):
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
            with self.machine():
                command = ["sh", str(program)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def next_versions(chance: random.Random, versions: list[str], seed: int) -> list[str]:
    """Through which versions a project goes."""
    return [versions[at] for at in sorted(chance.sample(range(len(versions)), 2 + seed % 2))]


@pytest.mark.parametrize("seed", SEEDS, indirect=True)
def test_a_random_history_loses_nothing_and_ends_like_a_fresh_copy(
    versions: list[str], generate: Generate, tmp_path: Path, in_git: InGit, seed: int
) -> None:
    chance = random.Random(seed)
    path = next_versions(chance, versions, seed)
    first: dict[str, Any] = {"project_kind": "new", "project_name": "project"}
    project = generate(tmp_path / "project", hook=True, version=path[0], **first)
    in_git(project)
    settings = settings_of_a_user(tmp_path / "user", chance) if chance.random() < 0.5 else None
    history = History(project, chance, settings)
    history.apart = seed % 8 == 0
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
            history.update(stop, **answers)
        except ValueError:  # answers that do not go together are refused, before anything is done
            assert history.everything() == before
            history.update(stop)
            answers = {}
        if chance.random() < 0.3:
            history.take_back()
            assert history.everything() == before
            history.update(stop, **answers)
        history.keep_both()
        history.check()
        in_git(project)
    kept = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert kept["_commit"] == path[-1]
    answers = {name: value for name, value in kept.items() if name[0] != "_"}
    fresh = generate(tmp_path / "fresh/project", version=kept["_commit"], **answers)
    in_git(fresh)
    history.check_like(fresh)
    if path[-1] == "v999.2.0" and BLOCKS[2] in history.renamed:
        assert LAST in (project / history.renamed[BLOCKS[2]]).read_text()
    if seed % 8 == 0:
        history.update(kept["_commit"])
        assert git(project, "status", "--porcelain") == ""
