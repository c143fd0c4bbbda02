"""Two commands of one project at once lose nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Generate

KEYS = ("SHM_SIZE=3gb", "TZ=Asia/Tokyo", "APT_MIRROR=http://a", "NO_PROXY=b", "HTTP_PROXY=http://c")
# Holds the turn as a verb does that takes long, and says when it has it.
LONG = """
import sys, time
from pathlib import Path
from host.turn import turn
with turn(Path(sys.argv[1]), "lock"):
    print("mine", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def project(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("turns") / "project"
    return generate(folder, hook=True, accelerator="cpu", torch_version="none", project_kind="new")


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def set_key(project: Path, setting: str) -> subprocess.Popen[str]:
    return start(project, "./docker-amd64/template.sh", "env", "--set", setting)


def long_verb(project: Path) -> subprocess.Popen[str]:
    folder = project / "docker-amd64"
    process = start(ROOT / "template/docker-amd64", sys.executable, "-Bc", LONG, str(folder))
    assert process.stdout
    assert process.stdout.readline() == "mine\n"
    return process


def test_each_of_several_writers_of_env_keeps_what_the_others_wrote(project: Path) -> None:
    writers = [set_key(project, setting) for setting in KEYS]
    for writer in writers:
        said = writer.communicate(timeout=60)[1]
        assert writer.returncode == 0, said
    text = (project / "docker-amd64/.env").read_text()
    assert [setting for setting in KEYS if f"\n{setting}\n" not in text] == []
    assert not (project / "docker-amd64/.env.turn").exists()


def test_who_waits_is_told_for_whom_and_goes_on_when_that_one_was_killed(project: Path) -> None:
    holder = long_verb(project)
    waiting = set_key(project, "SHM_SIZE=4gb")
    assert waiting.stderr
    said = waiting.stderr.readline()
    assert said == f"Waiting for another command of this project: lock, process {holder.pid}.\n"
    holder.kill()
    assert waiting.wait(timeout=60) == 0
    assert "\nSHM_SIZE=4gb\n" in (project / "docker-amd64/.env").read_text()
    holder.communicate()
    waiting.communicate()


def test_a_verb_that_only_reads_waits_for_nobody(project: Path) -> None:
    with long_verb(project) as holder:
        try:
            looking = start(project, "./docker-amd64/template.sh", "env", "--json")
            assert looking.communicate(timeout=30)[1] == ""
        finally:
            holder.send_signal(signal.SIGKILL)
