"""`pack` gives others a folder that depends on nothing else, with checksums, or says why not."""

from __future__ import annotations

import json
import os
import shlex
import tarfile
from argparse import Namespace
from pathlib import Path

import pytest

from host import pack, record
from host.facts import Facts
from host.project import Project, StopError
from tests.support.process import run
from tests.support.program import PROJECT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with one folder for others, on a machine without an engine."""
    monkeypatch.setattr(record, "probe", lambda _: Facts())
    monkeypatch.setattr(record, "image_id", lambda _: "")
    monkeypatch.setenv("CALLED_FROM", str(tmp_path))
    root = tmp_path / "work $x"
    (root / "docker-amd64").mkdir(parents=True)
    (root / "outputs").mkdir()
    (root / "docker-amd64/.env").write_text("COMPOSE_PROJECT_NAME=demo\n")
    folder = root / "data/uploadable/set é 1"
    (folder / "images").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "list.csv").write_text("file,label\nimages/1.png,cat\n")
    (folder / "images/1.png").write_bytes(b"\x89PNG\0/data/downloaded")
    (folder / "train.csv").symlink_to("list.csv")
    return Project(root / "docker-amd64", PROJECT)


def folder_of(project: Project) -> Path:
    return project.root / "data/uploadable/set é 1"


def packed(project: Project, file: str | None = None, *, check: bool = False) -> int:
    return pack.do_pack(project, Namespace(name="set é 1", file=file, check=check))


def test_whoever_unpacks_the_archive_can_check_it_and_knows_what_it_was_made_with(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert packed(project) == 0
    archive = Path(capsys.readouterr().out.rstrip("\n"))
    assert archive == project.root / "outputs/set é 1.tar"
    there = tmp_path / "there"
    there.mkdir()
    assert run("tar", "-xf", archive, cwd=there).returncode == 0
    checked = run("sha256sum", "--strict", "-c", "SHA256SUMS", cwd=there / "set é 1")
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count(": OK") == 3
    assert (there / "set é 1/empty").is_dir()
    assert (there / "set é 1/train.csv").read_text() == "file,label\nimages/1.png,cat\n"
    assert json.loads((there / "set é 1/environment.json").read_text())["project"] == "demo"
    with tarfile.open(archive) as found:
        assert {(one.uid, one.uname) for one in found} == {(0, "")}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("images/1.png\n/data/downloaded/1.png,cat\n", "/data/downloaded/1.png"),
        ('{"root": "{root}/data"}', "{root}/data"),
        ("cp /outputs .", "/outputs"),
    ],
)
def test_a_path_of_this_machine_is_named_with_its_line(
    project: Project, capsys: pytest.CaptureFixture[str], text: str, path: str
) -> None:
    root = str(project.root)
    (folder_of(project) / "meta.json").write_text(f"# 1\n{text.replace('{root}', root)}")
    assert packed(project) == 1
    said = capsys.readouterr().err
    assert f"has a path of this machine: {path.replace('{root}', root)}\n" in said
    assert list((project.root / "outputs").iterdir()) == []


@pytest.mark.parametrize("text", ["https://x.example/data/1", "a/data/b", "/database", "./data/1"])
def test_what_only_looks_like_one_is_let_through(project: Project, text: str) -> None:
    (folder_of(project) / "meta.txt").write_text(text)
    assert packed(project, check=True) == 0


def test_links_that_lead_out_and_what_is_no_file_are_refused(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(project)
    (folder / "absolute").symlink_to("/etc/passwd")
    (folder / "images/out").symlink_to("../../x")
    (folder / "dangling").symlink_to("nothing")
    (folder / "images/folder").symlink_to("../..")
    os.mkfifo(folder / "pipe")
    (folder / "SHA256SUMS").write_text("mine")
    (folder / "a\nb").write_text("")
    assert packed(project) == 1
    refused = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    for name in ("absolute", "images/out", "dangling", "images/folder", "pipe", "SHA256SUMS"):
        assert name in refused
    assert (folder / "SHA256SUMS").read_text() == "mine"


def test_names_that_are_one_on_some_machines_are_refused(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder_of(project) / "List.csv").touch()
    assert packed(project, check=True) == 1
    assert "list.csv: List.csv is the same name on some machines" in capsys.readouterr().err


def test_an_archive_is_never_replaced_and_a_failed_one_leaves_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert packed(project, "mine.tar") == 0
    with pytest.raises(StopError, match="exists already") as stopped:
        packed(project, "mine.tar")
    assert "set é 1" in shlex.split(stopped.value.command)
    monkeypatch.setattr(pack.HashingReader, "read", lambda *_: b"")  # a file that became shorter
    with pytest.raises(StopError, match="cannot be written"):
        packed(project, "other.tar")
    assert sorted(one.name for one in project.root.parent.iterdir()) == ["mine.tar", "work $x"]


@pytest.mark.parametrize("name", ["nothing", "..", "", "set é 1/images"])
def test_a_folder_that_is_not_there_is_answered_with_those_that_are(
    project: Project, name: str
) -> None:
    with pytest.raises(StopError, match="It has set é 1"):
        pack.do_pack(project, Namespace(name=name, file=None, check=False))


def test_no_link_of_a_container_leads_to_files_of_this_machine(
    project: Project, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("4711")
    keys = project.root / "data/uploadable/keys"
    keys.symlink_to(secret)
    (project.root / "outputs/.set é 1.tar.part").symlink_to(secret / "key")
    assert packed(project) == 0
    with pytest.raises(StopError) as stopped:
        pack.do_pack(project, Namespace(name="keys", file=None, check=False))
    assert stopped.value.name == "folder-linked"
    (project.root / "outputs").rename(project.root / "moved")
    (project.root / "outputs").symlink_to(secret)
    with pytest.raises(StopError) as stopped:
        packed(project)
    assert stopped.value.name == "folder-linked"
    assert {one.name: one.read_text() for one in secret.iterdir()} == {"key": "4711"}
