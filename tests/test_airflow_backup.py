"""Backups of Airflow's database: the archive is trusted in nothing, and a restore loses nothing."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tarfile
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from host import airflow_backup, airflow_database
from host.airflow_archive import (
    BLOCK,
    DUMP,
    KEY,
    MANIFEST,
    MANIFEST_SIZE,
    ArchiveError,
    Manifest,
    NewerFormatError,
    header,
    open_archive,
    write_archive,
)
from host.airflow_database import LOADED, NAME, Tables
from host.compose import SilentError
from host.failures import failed
from host.files import make_folder
from host.project import Project, StopError
from tests.support.process import run
from tests.support.program import PROJECT, put_program, run_program

FERNET = "Zm9v" * 10 + "Zm8="
OTHER_FERNET = "YmFy" * 10 + "YmE="
ABOUT = Manifest("3.3.2", "2026-11-30T07:00:00Z", "17", "demo-jane", ("aaa", "bbb"))
TABLES = Tables(
    "3.3.2", frozenset(("old", "aaa", "bbb")), frozenset(("aaa", "bbb")), {"old": "3.2"}
)


def make(path: Path, dump: bytes = b"aaa|bbb|runs", about: Manifest = ABOUT) -> Path:
    """An archive that is whole."""
    with path.open("wb") as file:
        write_archive(file, about, FERNET.encode(), [dump])
    return path


# -------------------------------------------------------------------------------- the archive


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 3_000_000])
def test_what_was_written_is_read_and_tar_reads_it_too(tmp_path: Path, size: int) -> None:
    dump = os.urandom(size)
    path = make(tmp_path / "x.tar", dump)
    with open_archive(path) as archive:
        assert (archive.about, archive.key) == (ABOUT, FERNET)
        assert b"".join(archive.dump()) == dump
        assert b"".join(archive.dump()) == dump
    with tarfile.open(path) as found:
        assert found.getnames() == [MANIFEST, KEY, DUMP]
        content = found.extractfile(DUMP)
        assert content
        assert content.read() == dump


def reason(path: Path) -> str:
    """Why an archive cannot be used."""
    with pytest.raises(ArchiveError) as error, open_archive(path):
        pass
    return str(error.value)


def test_no_part_of_an_archive_is_taken_for_the_whole(tmp_path: Path) -> None:
    content = make(tmp_path / "x.tar", b"x" * 1000).read_bytes()
    short = tmp_path / "short.tar"
    for size in range(0, len(content), 61):
        short.write_bytes(content[:size])
        assert reason(short) == "it is truncated"
    short.write_bytes(content[:-1])
    assert reason(short) == "it is truncated"


def test_no_bit_of_what_counts_can_be_changed(tmp_path: Path) -> None:
    content = make(tmp_path / "x.tar", b"x" * 1000).read_bytes()
    changed = tmp_path / "changed.tar"
    dump = content.index(b"x" * 1000)
    for at in (BLOCK + 3, content.index(FERNET.encode()), dump, dump + 999):
        changed.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert re.match("it was (damaged|not made)", reason(changed)), at
    changed.write_bytes(content + b"more")
    assert reason(changed) == "it was not made by airflow backup"


def entry(info: tarfile.TarInfo, content: bytes = b"") -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % BLOCK)


def member(
    name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, to: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, to
    return info


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"PGDMP" + bytes(10_000),
        bytes(10_240),
        entry(member("/etc/passwd", 3), b"abc"),
        entry(member("../manifest.json", 3), b"abc"),
        entry(member(MANIFEST, kind=tarfile.SYMTYPE, to="/etc/passwd")),
        entry(member(MANIFEST, kind=tarfile.LNKTYPE, to="/etc/passwd")),
        entry(member(MANIFEST, kind=tarfile.FIFOTYPE)),
        entry(member(MANIFEST, kind=tarfile.CHRTYPE)),
        entry(member(MANIFEST, kind=tarfile.DIRTYPE)),
        entry(member(MANIFEST, kind=tarfile.GNUTYPE_SPARSE)),
        entry(member(MANIFEST, kind=tarfile.XHDTYPE)),
        entry(member(MANIFEST, 1 << 40)),  # would fill the memory
        entry(member(MANIFEST, MANIFEST_SIZE), b"[" * MANIFEST_SIZE),  # would fill the stack
        entry(member(MANIFEST, MANIFEST_SIZE), b'"\xff'.ljust(MANIFEST_SIZE)),
        entry(member(MANIFEST, 2), b"{}"),
    ],
)
def test_what_is_foreign_is_refused(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(start + bytes(4 * BLOCK) if start else b"")
    assert reason(path) in ("it was not made by airflow backup", "it is truncated")


def test_a_size_that_the_file_does_not_have_is_not_believed(tmp_path: Path) -> None:
    content = make(tmp_path / "x.tar", b"x" * 1000).read_bytes()
    at = content.index(header(DUMP, 1000)[:100])
    text = content[BLOCK : BLOCK + MANIFEST_SIZE].replace(b": 1000", b": 9" + b"0" * 15)
    path = tmp_path / "bomb.tar"
    path.write_bytes(
        content[:BLOCK]
        + text[:MANIFEST_SIZE].rstrip().ljust(MANIFEST_SIZE)
        + content[BLOCK + MANIFEST_SIZE : at]
        + header(DUMP, 9 * 10**15)
        + content[at + BLOCK :]
    )
    start = time.monotonic()
    assert reason(path) == "it is truncated"
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    "change",
    [
        {"format": 0},
        {"format": True},
        {"format": "1"},
        {"airflow": "3\x1b[2J"},
        {"project": 7},
        {"made": "today"},
        {"postgres": "1; x"},
        {"revisions": "aaa"},
        {"revisions": ["a b"]},
        {"files": []},
        {"files": {KEY: {"size": "45", "sha256": "0" * 64}}},
    ],
)
def test_a_manifest_has_what_it_should_have(tmp_path: Path, change: dict[str, Any]) -> None:
    content = make(tmp_path / "x.tar").read_bytes()
    data = json.loads(content[BLOCK : BLOCK + MANIFEST_SIZE])
    text = json.dumps({**data, **change}).encode().ljust(MANIFEST_SIZE)
    path = tmp_path / "y.tar"
    path.write_bytes(content[:BLOCK] + text + content[BLOCK + MANIFEST_SIZE :])
    assert reason(path) == "it was not made by airflow backup"


def test_a_newer_format_is_known_before_anything_else(tmp_path: Path) -> None:
    text = json.dumps({"format": 2, "other": []}).encode().ljust(MANIFEST_SIZE)
    path = tmp_path / "x.tar"
    path.write_bytes(header(MANIFEST, MANIFEST_SIZE) + text + b"what that format has")
    with pytest.raises(NewerFormatError), open_archive(path):
        pass


def test_what_waits_or_is_not_there_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert reason(tmp_path / "pipe") == "it is not a file"
    assert reason(tmp_path) == "it is not a file"
    assert reason(tmp_path / "nothing") == "it does not exist"


# ------------------------------------------------------------------------------------ the flow


class Server:
    """A stand-in for the database: databases by name, whose content is REVISIONS|...|DATA.

    `fails` is the step that fails.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.databases = {NAME: b"aaa|bbb|present"}
        self.fails = ""
        self.calls: list[str] = []

    def step(self, name: str) -> None:
        if self.fails == name:
            raise failed("airflow-database-failed", self.project, program=name, reason="it cannot")

    def revisions(self) -> tuple[str, ...]:
        return tuple(self.databases[NAME].decode().split("|")[:-1])

    def postgres(self) -> str:
        return "17"

    def dump(self) -> Iterator[bytes]:
        yield self.databases[NAME][:5]
        self.step("dump")
        yield self.databases[NAME][5:]

    def load(self, chunks: Iterable[bytes]) -> None:
        self.databases[LOADED] = b"half"
        self.step("load")
        self.databases[LOADED] = b"".join(chunks)

    def drop(self, name: str) -> None:
        self.databases.pop(name, None)

    def exists(self, name: str) -> bool:
        return name in self.databases

    def exchange(self, new: str, old: str) -> None:
        self.step("exchange")
        self.databases[old] = self.databases.pop(NAME)
        self.databases[NAME] = self.databases.pop(new)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("CALLED_FROM", str(tmp_path))
    folder = tmp_path / "work $x/docker-amd64"
    make_folder(folder / ".airflow")
    (folder / ".env").write_text("COMPOSE_PROJECT_NAME=demo\n")
    (folder / ".airflow/fernet-key").write_text(f"{OTHER_FERNET}\n")
    return Project(folder, PROJECT)


@pytest.fixture
def server(project: Project, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A database that runs with all of Airflow; `calls` are the verbs and Compose's words."""
    found = Server(project)

    @contextmanager
    def database(_: Project) -> Iterator[Server]:
        yield found

    def call(_: Project, words: list[str], **__: Any) -> str:
        found.calls.append(words[-1])
        found.step(words[-1])
        return ""

    patches = {
        "database": database,
        "start_database": lambda _: found,
        "tables_of_image": lambda *_: TABLES,
        "volumes": lambda _: {"airflow-database": "demo-airflow-database"},
        "build": lambda _: None,
        "running": lambda *_: "id",
        "verb": lambda _, action: found.calls.append(action),
        "keep_apart": lambda _: None,
        "call": call,
    }
    for name, patch in patches.items():
        monkeypatch.setattr(airflow_backup, name, patch)
    return found


def options(action: str, *words: str, yes: bool = False) -> Namespace:
    return Namespace(action=action, words=[*words], yes=yes)


def backup(project: Project, file: str) -> int:
    return airflow_backup.backup(project, options("backup", file))


def restore(project: Project, file: str, *, yes: bool) -> int:
    return airflow_backup.restore(project, options("restore", file, yes=yes))


def reset(project: Project, *, yes: bool) -> int:
    return airflow_backup.reset(project, options("reset", yes=yes))


def key(project: Project) -> str:
    return (project.folder / ".airflow/fernet-key").read_text().strip()


def kept(project: Project, kind: str = "") -> list[Path]:
    return sorted((project.folder / ".airflow/backups").glob(f"{kind}*"))


def database_of(path: Path) -> tuple[bytes, str, Manifest]:
    with open_archive(path) as archive:
        return b"".join(archive.dump()), archive.key, archive.about


def refusal(project: Project, file: str = "x.tar", *, yes: bool = True) -> StopError:
    with pytest.raises(StopError) as stop:
        restore(project, file, yes=yes)
    return stop.value


def test_a_backup_can_be_read_by_its_user_only_and_replaces_nothing(
    project: Project, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backup(project, "x.tar") == 0
    path = tmp_path / "x.tar"
    assert capsys.readouterr().out == f"{path}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    dump, found, about = database_of(path)
    assert (dump, found) == (b"aaa|bbb|present", OTHER_FERNET)
    assert about._replace(made="") == Manifest("3.3.2", "", "17", "demo", ("aaa", "bbb"))
    before = path.read_bytes()
    server.databases[NAME] = b"aaa|bbb|later"
    with pytest.raises(StopError) as stop:
        backup(project, "x.tar")
    assert stop.value.name == "airflow-archive-exists"
    assert path.read_bytes() == before


def test_a_backup_that_fails_leaves_no_file(
    project: Project, server: Server, tmp_path: Path
) -> None:
    server.fails = "dump"
    with pytest.raises(StopError):
        backup(project, "x.tar")
    with pytest.raises(StopError) as stop:
        backup(project, "nowhere/x.tar")
    assert stop.value.name == "airflow-archive-not-written"
    assert [one.name for one in tmp_path.iterdir()] == ["work $x"]


def test_a_restore_replaces_database_and_key_and_keeps_the_former_ones(
    project: Project, server: Server, tmp_path: Path
) -> None:
    make(tmp_path / "x.tar")
    assert restore(project, "x.tar", yes=True) == 0
    assert server.databases == {NAME: b"aaa|bbb|runs"}
    assert key(project) == FERNET
    assert server.calls == ["down", "up"]
    (saved,) = kept(project)
    assert database_of(saved)[:2] == (b"aaa|bbb|present", OTHER_FERNET)


def test_what_did_not_run_is_not_started(
    project: Project, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_backup, "running", lambda *_: "")
    server.databases[NAME] = b""  # a database without tables is nobody's: nothing is asked
    make(tmp_path / "x.tar", b"old|x", ABOUT._replace(revisions=("old",)))
    assert restore(project, "x.tar", yes=False) == 0
    assert server.calls == ["down"]
    assert server.databases == {NAME: b"old|x"}
    assert not kept(project)


def test_tables_of_an_older_airflow_are_migrated_before_the_start(
    project: Project, server: Server, tmp_path: Path
) -> None:
    make(tmp_path / "x.tar", b"old|x", ABOUT._replace(revisions=("old",)))
    assert restore(project, "x.tar", yes=True) == 0
    assert server.calls == ["down", "airflow-init", "up"]


@pytest.mark.parametrize("step", ["load", "dump", "exchange", "airflow-init"])
def test_a_restore_that_fails_leaves_the_former_database_and_key(
    project: Project, server: Server, tmp_path: Path, step: str
) -> None:
    make(tmp_path / "x.tar", b"old|x", ABOUT._replace(revisions=("old",)))
    server.fails = step
    assert refusal(project).name == "airflow-database-failed"
    assert server.databases == {NAME: b"aaa|bbb|present"}
    assert key(project) == OTHER_FERNET
    assert server.calls[:1] == ([] if step == "load" else ["down"])
    assert server.calls[-1:] == ([] if step == "load" else ["up"])


@pytest.mark.parametrize(
    ("about", "name"),
    [
        (ABOUT._replace(revisions=("aaa", "zzz")), "airflow-archive-newer"),
        (ABOUT._replace(postgres="18"), "airflow-archive-newer"),
        (None, "airflow-archive-unusable"),
    ],
)
def test_an_archive_that_cannot_be_used_is_refused_before_anything_is_done(
    project: Project, server: Server, tmp_path: Path, about: Manifest | None, name: str
) -> None:
    make(tmp_path / "x.tar", about=about or ABOUT)
    if not about:
        (tmp_path / "x.tar").write_bytes((tmp_path / "x.tar").read_bytes()[:-700])
    assert refusal(project).name == name
    assert server.databases == {NAME: b"aaa|bbb|present"}
    assert not server.calls
    assert not kept(project)


@pytest.mark.parametrize("knows", [True, False])
def test_a_restore_is_for_the_airflow_of_the_files_and_not_of_the_last_image(
    project: Project, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    """`build` makes no image of Airflow: after an update, or its undo, the last one is another."""
    other = Tables("3.4.0", frozenset(("zzz",)), frozenset(("zzz",)), {})
    images = [other, TABLES] if knows else [TABLES, other]
    monkeypatch.setattr(airflow_backup, "build", lambda _: images.pop(0))
    monkeypatch.setattr(airflow_backup, "tables_of_image", lambda *_: images[0])
    server.databases[NAME] = b"zzz|present"
    make(tmp_path / "x.tar")
    if knows:
        assert restore(project, "x.tar", yes=True) == 0
        assert server.databases == {NAME: b"aaa|bbb|runs"}
    else:
        assert refusal(project).name == "airflow-archive-newer"
        assert server.databases == {NAME: b"zzz|present"}


def test_a_newer_postgres_gets_a_database_of_its_own(
    project: Project, server: Server, tmp_path: Path
) -> None:
    make(tmp_path / "x.tar", about=ABOUT._replace(postgres="18"))
    command = refusal(project).command
    assert [part.split()[1:3] for part in command.split(" && ")] == [
        ["airflow", "backup"],
        ["update"],
        ["airflow", "reset"],
        ["airflow", "restore"],
    ]
    server.databases[NAME] = b""  # there is nothing to back up
    assert refusal(project).command == command.partition(" && ")[2]


def test_without_a_terminal_and_y_nothing_is_lost(
    project: Project, server: Server, tmp_path: Path
) -> None:
    make(tmp_path / "x.tar")
    assert refusal(project, yes=False).name == "airflow-not-agreed"
    with pytest.raises(StopError) as stop:
        reset(project, yes=False)
    assert stop.value.name == "airflow-not-agreed"
    assert server.databases == {NAME: b"aaa|bbb|present"}
    assert not server.calls


@pytest.mark.usefixtures("server")
def test_the_newest_backups_are_kept_and_the_one_that_is_restored(project: Project) -> None:
    folder = project.folder / ".airflow/backups"
    folder.mkdir()
    oldest = make(folder / "before-restore-20200101-000000-0000.tar")
    upgrade = make(folder / "before-upgrade-20200101-000000-0000.tar")
    for _ in range(5):
        restore(project, str(oldest), yes=True)
    assert len(kept(project, "before-restore")) == 4
    assert {oldest, upgrade} < {*kept(project)}


def test_before_a_migration_there_is_a_backup_and_without_one_none(
    project: Project, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    airflow_backup.before_migration(project)
    server.databases[NAME] = b""  # the first start
    airflow_backup.before_migration(project)
    assert not kept(project)
    server.databases[NAME] = b"bbb|old|x"
    airflow_backup.before_migration(project)
    (saved,) = kept(project, "before-upgrade")
    assert database_of(saved)[2].airflow == "3.2"
    assert f"airflow restore '{saved}'" in capsys.readouterr().err


def test_the_database_of_a_newer_airflow_is_not_touched_and_a_fitting_backup_is_named(
    project: Project, server: Server
) -> None:
    server.databases[NAME] = b"zzz|x"
    with pytest.raises(StopError) as stop:
        airflow_backup.before_migration(project)
    assert stop.value.name == "airflow-database-newer"
    assert "update" in stop.value.command
    folder = project.folder / ".airflow/backups"
    folder.mkdir()
    fitting = make(folder / "before-upgrade-20260101-000000-0000.tar")
    make(folder / "before-upgrade-20260102-000000-0000.tar", about=ABOUT._replace(revisions=("y",)))
    (folder / "before-upgrade-20260103-000000-0000.tar").write_bytes(b"cut")
    with pytest.raises(StopError) as stop:
        airflow_backup.before_migration(project)
    assert f"airflow restore '{fitting}'" in stop.value.command


def test_reset_removes_what_is_airflows_and_keeps_backups(project: Project, server: Server) -> None:
    folder = project.folder / ".airflow"
    (folder / "backups").mkdir()
    saved = make(folder / "backups/before-restore-20260101-000000-0000.tar")
    (folder / "other").mkdir()
    (folder / "some.lock").touch()  # who has it open is alone
    assert reset(project, yes=True) == 0
    assert server.calls == ["down", "demo-airflow-database"]
    assert {*folder.rglob("*")} == {folder / "backups", folder / "some.lock", saved}


# ----------------------------------------------------------------------- the programs inside


def test_a_dump_that_stops_in_the_middle_is_a_failure_with_the_programs_words(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho half\necho 'pg_dump: error: no space' >&2\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = airflow_database.Database(project, "id")
    taken: list[bytes] = []
    with pytest.raises(StopError) as stop:
        taken.extend(found.dump())
    assert taken == [b"half\n"]
    assert stop.value.name == "airflow-database-failed"
    assert "pg_dump has failed: pg_dump: error: no space." in stop.value.sentence
    with pytest.raises(StopError):  # it does not read what it gets
        found.load([b"x" * 1_000_000] * 5)


OTHER_POSTGRES = (
    "DETAIL:  The data directory was initialized by PostgreSQL version 15, which is not "
    "compatible with this version 17.7 (Debian 17.7-3.pgdg12+1)."
)


@pytest.mark.parametrize("runs", [True, False])
def test_what_the_database_has_said_is_shown_before_its_container_is_removed(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    runs: bool,
) -> None:
    there = ["id"]

    def ask_engine(*words: str) -> Any:
        if words[0] == "rm":
            there.clear()
        said = f"PANIC: no space\n{OTHER_POSTGRES}\n" if words[0] == "logs" and there else ""
        return subprocess.CompletedProcess(words, 0, "", said)

    monkeypatch.setattr(airflow_database, "ask_engine", ask_engine)
    monkeypatch.setattr(airflow_database, "running", lambda *_: "id" if runs else "")
    monkeypatch.setattr(airflow_database, "start_database", lambda _: None)
    monkeypatch.setattr(airflow_database, "containers", lambda *_, **__: [*there])
    with pytest.raises(StopError) as stop, airflow_database.database(project):
        raise failed("airflow-database-failed", project, program="pg_dump", reason="it ended")
    assert "pg_dump has failed: it ended." in stop.value.sentence
    assert bool(there) == runs
    assert stop.value.command.endswith("logs database" if runs else "doctor")
    assert ("PANIC: no space" in capsys.readouterr().err) != runs
    there[:] = ["id"]
    with pytest.raises(StopError) as stop, airflow_database.database(project):
        raise SilentError(1)
    assert stop.value.name == ("" if runs else "airflow-postgres-other")


def test_the_tables_that_an_airflow_knows_are_read_from_its_text(tmp_path: Path) -> None:
    airflow = tmp_path / "airflow"
    for name, text in {
        "utils/db.py": '_REVISION_HEADS_MAP: dict[str, str] = {\n    "3.1.0": "cc92b33c6709",\n}\n',
        "migrations/versions/1.py": 'revision = "cc92b33c6709"\ndown_revision = None\n',
        "migrations/versions/2.py": 'revision = "dd"\ndown_revision = "cc92b33c6709"\n',
        "providers/x/migrations/versions/1.py": "revision: str = 'ee'\ndown_revision = None\n",
    }.items():
        (airflow / name).parent.mkdir(parents=True, exist_ok=True)
        (airflow / name).write_text(text)
    about = tmp_path / "apache_airflow_core-3.1.4.dist-info"
    about.mkdir()
    text = "Metadata-Version: 2.1\nName: apache-airflow-core\nVersion: 3.1.4\n"
    (about / "METADATA").write_text(text)
    program = airflow_database.PROGRAM.read_text()
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    said = run(sys.executable, "-c", program, env=env)
    assert json.loads(said.stdout) == {
        "version": "3.1.4",
        "revisions": ["cc92b33c6709", "dd", "ee"],
        "heads": ["dd", "ee"],
        "releases": {"cc92b33c6709": "3.1.0"},
    }


@pytest.mark.parametrize(
    "words", [["restore", "-y", "x.tar"], ["restore", "x.tar", "-y"], ["-y", "restore", "x.tar"]]
)
def test_an_option_may_be_before_and_after_the_archive(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / ".env").write_text("COMPOSE_PROJECT_NAME=demo\n")
    said = run_program("airflow", *words, folder=put_program(tmp_path))
    assert "x.tar cannot be restored" in said.stderr
    assert "(failure: airflow-archive-unusable)" in said.stderr
