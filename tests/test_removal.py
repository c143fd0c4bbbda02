"""A package goes out of every list of its kind, or nothing is changed and the reason is said."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from host import pip_packages, removal
from host.project import Project, StopError, me
from tests.support.program import PROJECT

RUNTIME = "# Yours:\nlibgl1 # for cv2\ntzdata  file  # clocks\n"
LOCK = '[[package]]\nname = "file-magic"\nversion = "1"\n'

Remove = Callable[..., list[str]]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "docker-amd64"
    (folder / "dependencies").mkdir(parents=True)
    (folder / ".env").write_text("")
    (folder / "dependencies/apt-runtime.txt").write_text(RUNTIME)
    (folder / "dependencies/apt-dev.txt").write_text("tree=2.1\nlibgl1:amd64\n# the end")
    (folder / "dependencies/uv.lock").write_text(LOCK)
    return Project(folder, PROJECT)


@pytest.fixture
def remove(project: Project, monkeypatch: pytest.MonkeyPatch) -> Remove:
    """`remove` with these words; what the package manager was asked to remove."""
    asked: list[str] = []

    def of_python(_: Project, names: list[str]) -> str:
        asked.extend(names)
        return "pyproject.toml"

    monkeypatch.setattr(pip_packages, "remove", of_python)

    def call(*names: str, apt: bool = False) -> list[str]:
        removal.do_remove(project, argparse.Namespace(name=[*names], apt=apt))
        return asked

    return call


def text_of(project: Project, name: str) -> str:
    return (project.folder / "dependencies" / name).read_text()


def test_a_package_of_apt_goes_out_of_each_list_with_the_comment_that_is_its_own(
    project: Project, remove: Remove, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remove("libgl1", "file", apt=True) == []
    assert text_of(project, "apt-runtime.txt") == "# Yours:\ntzdata  # clocks\n"
    assert text_of(project, "apt-dev.txt") == "tree=2.1\n# the end"
    said = capsys.readouterr().err
    assert "Removed from dependencies/apt-runtime.txt, dependencies/apt-dev.txt. Run: " in said
    remove("tree", apt=True)
    assert text_of(project, "apt-dev.txt") == "# the end"


def test_nothing_is_changed_where_one_name_is_in_no_list(project: Project, remove: Remove) -> None:
    with pytest.raises(StopError, match=r"apt-\*\.txt do not list libgl2"):
        remove("tzdata", "libgl2", apt=True)
    assert text_of(project, "apt-runtime.txt") == RUNTIME


@pytest.mark.parametrize(
    ("word", "cause", "command"),
    [
        ("numpy<3", 'the name of a package alone, not "numpy<3"', "remove numpy"),
        ("numpy[all]", 'alone, not "numpy[all]"', "remove numpy"),
        ("-e.", 'alone, not "-e."', "remove --help"),
        ("$(rm x)", "alone, not", "remove --help"),
        ("", "alone, not", "remove --help"),
        ("libgl1", "libgl1 is a package of the distribution", "remove --apt libgl1"),
    ],
)
def test_a_word_that_is_no_name_is_refused_with_the_command_that_is_meant(
    remove: Remove, word: str, cause: str, command: str
) -> None:
    with pytest.raises(StopError) as stopped:
        remove("scipy", word)
    assert cause in str(stopped.value)
    assert stopped.value.command == f"{me()} {command}"


def test_a_package_of_both_kinds_is_the_one_of_python(project: Project, remove: Remove) -> None:
    (project.folder / "dependencies/apt-dev.txt").write_text("file-magic\n")
    assert remove("file-magic", "not_yet-locked") == ["file-magic", "not_yet-locked"]
