"""What the parts of `make bench` share: times, templates, and projects on the real engine."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.support.engine import is_stand_in
from tests.support.git import copy_working_tree
from tests.support.index import PackageIndex, bridge_address, find_torch_wheel, serving
from tests.support.managed_python import cached_archive
from tests.support.process import run
from tests.support.project import Person, Project

ANSWERS = {
    "project_name": "bench",
    "accelerator": "cpu",
    "python_version": "3.11",
    "linux_distro": "debian-12",
}
# What many projects have beside PyTorch.
STACK = ("scipy", "pandas", "scikit-learn", "matplotlib")


def seconds(action: Callable[[], object], runs: int) -> list[float]:
    """Wall-clock seconds of each of `runs` calls."""
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        found.append(time.perf_counter() - start)
    return found


def must(*command: str | Path, **options: Any) -> str:
    """Run a command and give its stdout.

    Raises:
        SystemExit: it failed; the message is what it said.
    """
    result = run(*command, **options)
    if result.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{result.stdout}\n{result.stderr}")
    return result.stdout


def copier(*arguments: str | Path, folder: Path) -> None:
    """Run Copier as a person does, from nothing to a new project."""
    shutil.rmtree(folder, ignore_errors=True)
    must(sys.executable, "-m", "copier", "copy", "--quiet", "--defaults", *arguments, folder)


def snapshot(folder: Path) -> Path:
    """The working tree as a Git repository, which is what Copier takes for a template."""
    copy_working_tree(ROOT, folder)
    commit(folder)
    pack(folder)
    return folder


def commit(folder: Path) -> None:
    """Make a folder a Git repository with one commit."""
    identity = ["-c", "user.name=Bench", "-c", "user.email=bench@example.com"]
    must("git", "init", "--quiet", cwd=folder)
    must("git", "add", "--all", cwd=folder)
    must("git", *identity, "commit", "--quiet", "--message", "bench", cwd=folder)


def pack(folder: Path) -> None:
    """Store a repository as a clone of it does: Copier clones it for each copy."""
    must("git", "repack", "-a", "-d", "--quiet", cwd=folder)


def person(folder: Path) -> Person:
    """Somebody without privileges, whose home is in a folder."""
    uid = 1234 if os.getuid() == 0 else os.getuid()
    home = folder / "home"
    home.mkdir(exist_ok=True)
    os.chown(home, uid, uid)
    return Person(uid, uid, "bench", home)


def package_index(folder: Path) -> PackageIndex:
    """An index that counts, with this machine's PyTorch; nothing serves it yet."""
    python = cached_archive() if is_stand_in("debian:bookworm-slim") else None
    return PackageIndex(folder, find_torch_wheel(), python)


def torch_answers(index: PackageIndex, *, torch: bool = True) -> dict[str, str]:
    """The answers for the PyTorch of an index, or for none."""
    if torch and index.torch_version:
        return {"torch_version": index.torch_version, "jit": "false"}
    return {"torch_version": "none"}


@contextmanager
def generated(
    path: Path,
    template: Path,
    answers: Mapping[str, str],
    env: Mapping[str, str],
    owner: Person | None = None,
) -> Iterator[Project]:
    """A project on the real engine, which forgets its images and volumes at the end.

    Args:
        path: where it is made; the home of its owner is beside it.
        template: the checked-out version of the template, a Git repository.
        answers: those beside `ANSWERS`.
        env: lines of .env.
        owner: whose it is, and whose engine is used; `person` by default.
    """
    owner = owner or person(path.parent)
    given = (ANSWERS | dict(answers)).items()
    data = [word for key, value in given for word in ("--data", f"{key}={value}")]
    copier("--skip-tasks", "--vcs-ref", "HEAD", *data, template, folder=path)
    for file in [path, *path.rglob("*")]:
        os.chown(file, owner.uid, owner.gid)
    made = Project(path, owner)
    made.ok("env")
    made.set_env(**env)
    try:
        yield made
    finally:
        made.ok("clean", "--all")


@contextmanager
def project(
    folder: Path,
    *,
    torch: bool = True,
    extras: str = "[]",
    name: str = "",
    owner: Person | None = None,
) -> Iterator[tuple[Project, PackageIndex]]:
    """A project of somebody without privileges, with an index that counts, on the real engine."""
    index = package_index(folder)
    answers = torch_answers(index, torch=torch) | {"extras": extras}
    path = folder / (name or ("project" if torch else "without-torch"))
    with (
        serving(index, bridge_address()),
        generated(path, folder / "hearth", answers, index.env(), owner) as made,
    ):
        index.replace_pytorch_index(path / "docker-amd64/dependencies/pyproject.toml")
        yield made, index
