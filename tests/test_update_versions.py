"""Which version an update goes to, and the sentences where that cannot be known."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from hooks.update.__main__ import exact_engine
from hooks.update.versions import target
from host.checkout import Checkout, UpdateError
from host.versions import unpack
from tests.conftest import InGit
from tests.support.git import git


@pytest.fixture
def template(tmp_path: Path, in_git: InGit) -> Path:
    """A repository with two versions."""
    folder = tmp_path / "the template"
    for part in ("copier.yml", "template/x", "hooks/x", "requirements.txt"):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_text("1")
    for version in ("v1.0.0", "v2.0.0"):
        (folder / "template/x").write_text(version)
        in_git(folder)
        git(folder, "tag", version)
    return folder


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--depth", "1"), "is shallow"),
        (("--no-tags",), "has no tags"),
        (("--no-tags", "--old"), "ends with v0.9.0"),
    ],
)
def test_a_clone_that_lacks_the_version_is_told_the_command_that_gets_it(
    template: Path, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    clone = tmp_path / "a clone"
    words = [word for word in options if word != "--old"]
    git(tmp_path, "clone", "--quiet", *words, f"file://{template}", str(clone))
    if "--old" in options:
        git(clone, "tag", "v0.9.0", "HEAD")
    project = Checkout(tmp_path, tmp_path, "", "", "v1.0.0", tmp_path, "")
    with pytest.raises(UpdateError, match=sentence) as stopped:
        target(project, clone, "", answers=False)
    (command,) = re.findall(r"(?m)^  Run: (.*)$", str(stopped.value))
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)
    assert target(project, clone, "", answers=False) == "v2.0.0"
    other = project._replace(version="v3.0.0")
    with pytest.raises(UpdateError, match="does not know the version") as stopped:
        target(other, clone, "", answers=False, fetched=True)
    assert "Run:" not in str(stopped.value)


def test_why_a_version_cannot_be_unpacked_is_said(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unpack(template, "v1.0.0", tmp_path / "new")
    assert (tmp_path / "new/template/x").read_text() == "v1.0.0"
    with pytest.raises(UpdateError, match=r"v7\.0\.0 cannot be unpacked .*not a valid object name"):
        unpack(template, "v7.0.0", tmp_path / "none")
    (tmp_path / "bin").mkdir()
    tar = tmp_path / "bin/tar"
    tar.write_text("#!/bin/sh\necho 'tar: x: No space left on device' >&2\nexit 2\n")
    tar.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    with pytest.raises(UpdateError, match="No space left on device"):
        unpack(template, "v1.0.0", tmp_path / "full")
    git(template, "rm", "--quiet", "requirements.txt")
    git(template, "commit", "--quiet", "--message", "another")
    assert not unpack(template, "HEAD", tmp_path / "other")


def test_no_attributes_of_the_user_leave_out_files_of_a_version(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "attributes").write_text("* export-ignore\n")
    settings = tmp_path / "settings"
    settings.write_text(f"[core]\n autocrlf = true\n attributesFile = {tmp_path}/attributes\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    (template / "template/x").write_text("a\nb\n")
    git(template, "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "-am", "lines")
    assert unpack(template, "HEAD", tmp_path / "new")
    assert (tmp_path / "new/template/x").read_bytes() == b"a\nb\n"


def test_files_that_an_older_template_sh_has_changed_are_unpacked_again(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / "engine"
    changed.mkdir()
    monkeypatch.chdir(changed)
    monkeypatch.setenv("PYTHONPATH", str(changed))
    request = {"repository": str(template), "scratch": str(tmp_path), "engine": "v1.0.0"}
    assert exact_engine({**request, "exact": True}, changed) == changed
    again = exact_engine(request, changed)
    assert (again / "template/x").read_text() == "v1.0.0"
    assert Path.cwd() == again
    assert os.environ["PYTHONPATH"] == str(again / "template/docker-amd64")
