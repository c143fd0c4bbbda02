"""Files of images: whole or not there, named after a digest, made by the programs of clusters.

Apptainer, enroot and the engine are stand-ins that write down how they are called: Apptainer is
real in tests/engine, enroot's words are compared with its documentation.
"""

from __future__ import annotations

import json
import os
import re
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from host.clusters import image, sif
from host.clusters.image import Source
from host.clusters.job import Image
from host.clusters.site import Site
from host.project import Project, StopError
from tests.support.program import PROJECT

DOCUMENTED = yaml.safe_load((Path(__file__).parent / "support/pyxis_options.yml").read_text())
DIGEST = f"sha256:{'1f' * 32}"
HERE = Source(Image("", DIGEST, "sha256:abc"), "demo:simple-runtime", 1000)
NAME = "registry.example:5000/team/demo:v1"
THERE = Source(Image(NAME, DIGEST), "", 1000)
PINNED = f"registry.example:5000/team/demo@{DIGEST}"
# Writes down its words, and makes the file that they name; $FAILS makes it fail halfway.
STAND_IN = """#!/bin/sh
if [ "$2" = --help ]; then
    [ "${0##*/}" != apptainer ] || echo "--mksquashfs-args string"
    exit
fi
printf '%s\\n' "${0##*/}" "$@" >>"$CALLS"
env | grep -E '^(APPTAINER|SINGULARITY|ENROOT)_' | sort >>"$CALLS"
for word in "$@"; do
    case $word in image.sif | */image.tar | */image.sqsh) echo whole >"$word" ;; esac
done
[ -z "$FAILS" ]
"""


class Machine(NamedTuple):
    """A project on a machine whose site has a folder for files."""

    project: Project
    files: Path
    programs: Path
    patch: pytest.MonkeyPatch

    def install(self, *names: str) -> None:
        """Put stand-ins of programs on PATH."""
        for name in names:
            (self.programs / name).write_text(STAND_IN)
            (self.programs / name).chmod(0o755)

    def make(self, source: Source, verb: str, *, force: bool = False) -> list[str]:
        """Call a verb; give the words of the programs that it has called."""
        calls = self.programs.with_name("calls")
        calls.write_text("")
        self.patch.setenv("CALLS", str(calls))
        self.patch.setattr(sif, "source", lambda *_: source)
        getattr(sif, f"do_{verb}")(self.project, Namespace(image="runtime", force=force))
        return calls.read_text().splitlines()

    def refused(self, source: Source, verb: str) -> str:
        """Call a verb; give the failure."""
        with pytest.raises(StopError) as caught:
            self.make(source, verb, force=True)
        return caught.value.name

    def left(self) -> list[str]:
        """What is in the folder of the files."""
        names = sorted(one.name for one in self.files.iterdir())
        return [one for one in names if not one.endswith(f"-cache-{os.getuid()}")]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    files, programs, folder = (tmp_path / one for one in ("images: of 'us'", "bin", "work/docker"))
    for one in (files, programs, folder):
        one.mkdir(parents=True)
    site = Site(Path("site.toml"), {"image": {"name": "", "dev": "", "files": str(files)}})
    monkeypatch.setattr(sif, "read_site", lambda _: site)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME=demo\n")
    return Machine(Project(folder, PROJECT), files, programs, monkeypatch)


def test_a_sif_is_made_of_the_image_here(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.install("docker", "apptainer")
    words = machine.make(HERE, "sif")
    file = machine.files / "demo-1f1f1f1f1f1f.sif"
    assert capsys.readouterr().out == f"{file}\n"
    assert file.read_text() == "whole\n"
    assert image.of_file(file) == HERE.image._replace(file=file)
    assert machine.left() == [file.name, f"{file.name}.json"]
    *saved, archive, name = words[: words.index("apptainer")]
    assert (saved, name) == (["docker", "save", "--output"], "demo:simple-runtime")
    folder = archive.rpartition("/")[0]
    assert Path(folder).parent == machine.files
    assert words[words.index("apptainer") + 1 :] == [
        *("build", "--mksquashfs-args", "-comp gzip -Xcompression-level 1"),
        *("--disable-cache", "image.sif", "docker-archive:image.tar"),
        f"APPTAINER_CACHEDIR={folder}/cache",
        f"APPTAINER_TMPDIR={folder}",
    ]
    assert not machine.make(HERE, "sif")
    assert machine.make(HERE, "sif", force=True)


def test_a_sif_is_made_of_the_digest_in_the_registry(machine: Machine) -> None:
    machine.install("singularity")
    machine.patch.setenv("SINGULARITY_TMPDIR", "/my/own")
    words = machine.make(THERE, "sif")
    assert words[:4] == ["singularity", "build", "image.sif", f"docker://{PINNED}"]
    assert "SINGULARITY_TMPDIR=/my/own" in words
    tunnel = THERE._replace(image=Image("localhost:5000/team/demo", DIGEST))
    assert "--no-https" in machine.make(tunnel, "sif", force=True)


def test_a_folder_that_others_may_write_changes_neither_image_nor_files(machine: Machine) -> None:
    machine.install("apptainer")
    machine.files.chmod(0o777)
    kept = machine.files / f".apptainer-cache-{os.getuid()}"
    own = f"APPTAINER_CACHEDIR={kept}"
    assert own in machine.make(THERE, "sif")
    assert kept.stat().st_mode & 0o777 == 0o700
    kept.chmod(0o777)
    assert own not in machine.make(THERE, "sif", force=True)
    kept.rmdir()
    kept.symlink_to(machine.programs)
    assert own not in machine.make(THERE, "sif", force=True)

    mine, link = machine.programs / "mine", machine.files / "demo-1f1f1f1f1f1f.sif.json"
    mine.write_text("mine\n")
    link.unlink()
    link.symlink_to(mine)
    machine.make(THERE, "sif", force=True)
    assert mine.read_text() == "mine\n"
    assert not link.is_symlink()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (HERE, ["dockerd://demo:simple-runtime"]),
        (THERE, [f"docker://registry.example:5000#team/demo:{DIGEST}"]),
        (THERE._replace(here=PINNED), [f"docker://registry.example:5000#team/demo:{DIGEST}"]),
        (
            THERE._replace(image=Image("team/demo", DIGEST)),
            [f"docker://registry-1.docker.io#team/demo:{DIGEST}"],
        ),
        (
            THERE._replace(image=Image("127.0.0.1:5000/team/demo", DIGEST)),
            [f"docker://127.0.0.1:5000#team/demo:{DIGEST}", "ENROOT_ALLOW_HTTP=yes"],
        ),
    ],
)
def test_a_squash_file_is_made_by_enroot(
    machine: Machine, source: Source, words: list[str]
) -> None:
    machine.install("enroot")
    called = machine.make(source, "sqsh")
    assert called[:3] == ["enroot", "import", "--output"]
    assert called[4:] == words
    assert "--output" in DOCUMENTED["import"]["valued"]
    assert re.fullmatch(DOCUMENTED["values"]["URI"], words[0])
    assert machine.left() == ["demo-1f1f1f1f1f1f.sqsh", "demo-1f1f1f1f1f1f.sqsh.json"]


def test_a_failure_leaves_the_file_that_was_there(machine: Machine) -> None:
    machine.install("apptainer")
    machine.patch.setenv("FAILS", "1")
    machine.refused(THERE, "sif")
    assert machine.left() == []
    file = machine.files / "demo-1f1f1f1f1f1f.sif"
    file.write_text("before\n")
    machine.refused(THERE, "sif")
    assert machine.left() == [file.name]
    assert file.read_text() == "before\n"


def test_a_program_that_is_missing(machine: Machine) -> None:
    machine.patch.setattr(sif, "has", lambda _: False)
    assert machine.refused(HERE, "sif") == "cluster-apptainer-missing"
    assert machine.refused(HERE, "sqsh") == "cluster-enroot-missing"


def test_a_disk_without_room_is_known_before(machine: Machine) -> None:
    machine.install("apptainer")
    assert machine.refused(HERE._replace(size=2**60), "sif") == "cluster-files-full"


def test_what_a_file_was_made_of_is_beside_it(machine: Machine) -> None:
    file = machine.files / "demo-1f1f1f1f1f1f.sif"
    file.touch()
    assert image.of_file(file) is None
    for text in ("", "[]", json.dumps({"digest": "latest"})):
        image.description_of(file).write_text(text)
        assert image.of_file(file) is None
