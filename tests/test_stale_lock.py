"""Whether a lock is stale is decided by the content of the files, not by their times."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from host import conda_packages, metadata, pip_packages
from host.project import Project, read_project
from tests.support.program import put_program

KINDS = {
    "pip": (pip_packages, "uv.lock", "pyproject.toml"),
    "conda": (conda_packages, "conda.lock", "environment.yml"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[ModuleType, str, str]:
    """The module of a package manager, its lock, and what that is made from."""
    return KINDS[request.param]


@pytest.fixture
def project(tmp_path: Path, kind: tuple[ModuleType, str, str]) -> Project:
    """A project that was locked a moment ago."""
    folder = put_program(tmp_path / "project/docker-amd64")
    (folder / "dependencies").mkdir()
    for name in kind[1:]:
        (folder / "dependencies" / name).write_text("# first\n")
    project = read_project(folder)
    metadata.record_lock(project, kind[0].FILES)
    return project


@pytest.fixture
def locks(
    project: Project, kind: tuple[ModuleType, str, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], bool]:
    """Do before a build what a build does; whether it locked."""
    module, made = kind[0], []
    monkeypatch.setattr(module, "build_tools", lambda _: None)
    monkeypatch.setattr(module, "lock", lambda _: made.append("lock"))
    monkeypatch.setattr(module, "changed_metadata", lambda _: [])
    if module is pip_packages:
        monkeypatch.setattr(module, "check_file", lambda _: None)

    def locked() -> bool:
        made.clear()
        module.lock_if_stale(project)
        return bool(made)

    return locked


@pytest.mark.parametrize("newer", [True, False], ids=["newer lock", "older lock"])
def test_the_content_of_the_files_tells(
    project: Project, kind: tuple[ModuleType, str, str], locks: Callable[[], bool], *, newer: bool
) -> None:
    lock, source = (project.folder / "dependencies" / name for name in kind[1:])

    def age() -> None:
        os.utime(lock, (1, 1_900_000_000 if newer else 1_000_000_000))
        os.utime(source, (1, 1_500_000_000))

    age()
    assert not locks()
    for file in (source, lock):  # an edit by hand, and a lock of another commit
        before = file.read_text()
        file.write_text("# second\n")
        age()
        assert locks()
        file.write_text(before)
        age()
        assert not locks()
    source.write_bytes(b"# first\r\n")  # git on Windows
    assert not locks()


def test_a_conflict_in_the_record_is_no_record_of_this_lock(
    project: Project, locks: Callable[[], bool]
) -> None:
    record = project.folder / "dependencies" / metadata.RECORD
    record.write_text(f"<<<<<<< HEAD\n{record.read_text()}")
    assert locks()


def test_without_a_record_the_times_tell(
    project: Project, kind: tuple[ModuleType, str, str], locks: Callable[[], bool]
) -> None:
    (project.folder / "dependencies" / metadata.RECORD).unlink()
    lock, source = (project.folder / "dependencies" / name for name in kind[1:])
    os.utime(source, (1, 1_500_000_000))
    assert not locks()
    os.utime(lock, (1, 1_000_000_000))
    assert locks()


def test_in_ci_the_build_finds_out(project: Project, locks: Callable[[], bool]) -> None:
    (project.folder / "dependencies" / metadata.RECORD).write_text("{}")
    project.trusts_lock = True
    assert not locks()
