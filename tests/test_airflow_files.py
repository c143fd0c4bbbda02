"""DAGs of folders and of dropped files, and what watchers remember: what needs no Airflow."""

from __future__ import annotations

import errno
import os
import re
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from workflows import events, files, seen, stubs
from workflows.stubs import Places, dag_id, refresh

NOW = 1_800_000_000.0
ODD = [
    "a b.csv",
    "Ünï — ☃.csv",
    "'\"\\ $x`.csv",
    "new\nline.csv",
    "-.csv",
    "x.tar.csv",
]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "dags", tmp_path / "project", tmp_path / "spaces", tmp_path / "data")
    for folder in ("project/dags", "project/loaders", "spaces/faces/dags", "spaces/faces/loaders"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "spaces/plain").mkdir()
    (tmp_path / "data/downloaded").mkdir(parents=True)
    (tmp_path / "project/loaders/csv.py").write_text("")
    return made


def drop(places: Places, name: str, age: float = 60) -> Path:
    path = places.data / "downloaded" / name
    path.write_text("1\n")
    os.utime(path, (NOW - age, NOW - age))
    return path


def stubs_in(places: Places, environment: str = "project") -> dict[str, Path]:
    """The stubs of an environment by the file that each is of."""
    found = {}
    for path in (places.bundle / "files" / environment).glob("*.py"):
        calls: list[Any] = []
        fake = types.ModuleType("workflows.files")
        fake.dag_of = lambda *arguments, calls=calls: calls.append(arguments)  # type: ignore[attr-defined]
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "workflows.files", fake)
            exec(path.read_text(), {})  # noqa: S102  a stub is a program
        assert calls[0][2] == environment
        found[calls[0][0]] = path
    return found


def refusal_of(places: Places, name: str) -> str:
    with pytest.raises(RuntimeError) as raised:
        exec((places.bundle / "files" / name / "refused.py").read_text(), {})  # noqa: S102
    return str(raised.value)


def links_in(places: Places) -> dict[str, Path]:
    return {one.name: one.readlink() for one in places.bundle.iterdir() if one.is_symlink()}


def test_each_folder_of_dags_is_linked_while_it_is_there(places: Places) -> None:
    refresh(places, now=NOW)
    assert links_in(places) == {
        "project": places.project / "dags",
        "faces": places.workspaces / "faces/dags",
    }
    (places.workspaces / "faces/dags").rmdir()
    (places.workspaces / "plain/dags").mkdir()
    refresh(places, now=NOW)
    assert set(links_in(places)) == {"project", "plain"}


@pytest.mark.parametrize("name", ODD)
def test_a_file_of_any_name_has_a_stub_while_it_is_there(places: Places, name: str) -> None:
    file = drop(places, name)
    refresh(places, now=NOW)
    stub = stubs_in(places)[str(file)]
    assert re.fullmatch(r"[A-Za-z0-9._-]+\.py", stub.name)
    file.unlink()
    refresh(places, now=NOW)
    assert stubs_in(places) == {}


def test_a_name_that_is_not_utf_8_is_refused_by_an_import_error_of_its_own(
    places: Places,
) -> None:
    bad, good = drop(places, os.fsdecode(b"M\xe4dchen.csv")), drop(places, "Mädchen.csv")
    (places.workspaces / "faces/loaders/csv.py").write_text("")
    refresh(places, now=NOW)
    for environment in ("project", "faces"):
        refused = places.bundle / f"files/{environment}/{dag_id(environment, bad.name)}.py"
        with pytest.raises(RuntimeError, match="is not UTF-8") as raised:
            exec(refused.read_text("ascii"), {})  # noqa: S102  a stub is a program
        assert ascii(str(bad)) in str(raised.value)
        assert str(raised.value).isascii()
        refused.unlink()
        assert [*stubs_in(places, environment)] == [str(good)]
    bad.unlink()
    refresh(places, now=NOW)
    assert len([*(places.bundle / "files").rglob("*.py")]) == 2


def test_ids_differ_where_names_look_alike() -> None:
    names = [*ODD, "a-b.csv", "ä.csv", "ö.csv"]
    assert len(
        {dag_id(one, name).casefold() for one in ("project", "faces") for name in names}
    ) == (2 * len(names))
    assert len(dag_id("project", f"{'x' * 250}.csv")) <= 100


def test_each_environment_with_the_loader_has_a_stub_of_its_own(places: Places) -> None:
    drop(places, "a.csv")
    (places.workspaces / "faces/loaders/csv.py").write_text("")
    (places.workspaces / "faces/loaders/_part.py").write_text("")
    drop(places, "a._part")
    refresh(places, now=NOW)
    assert len(stubs_in(places)) == len(stubs_in(places, "faces")) == 1
    (places.project / "loaders/csv.py").unlink()
    refresh(places, now=NOW)
    assert not (places.bundle / "files/project").exists()
    assert len(stubs_in(places, "faces")) == 1


def test_a_file_that_is_being_written_waits_and_one_that_was_renamed_does_not(
    places: Places,
) -> None:
    writing = drop(places, "a.csv", age=1)
    hidden = drop(places, ".b.csv.Xy12", age=1)
    drop(places, ".hidden.csv")
    refresh(places, now=NOW)
    assert stubs_in(places) == {}
    os.utime(hidden, (NOW - 10, NOW - 10))
    hidden.rename(hidden.with_name("b.csv"))
    refresh(places, now=NOW)
    assert {Path(one).name for one in stubs_in(places)} == {"b.csv"}
    refresh(places, now=NOW + 5)
    assert {Path(one).name for one in stubs_in(places)} == {"a.csv", "b.csv"}
    before = {one: path.read_text() for one, path in stubs_in(places).items()}
    writing.write_text("more\n")
    os.utime(writing, (NOW + 6, NOW + 6))
    refresh(places, now=NOW + 7)  # its DAG is still there, as it was
    assert {one: path.read_text() for one, path in stubs_in(places).items()} == before
    refresh(places, now=NOW + 12)
    assert stubs_in(places)[str(writing)].read_text() != before[str(writing)]


def test_a_file_of_the_future_is_complete(places: Places) -> None:
    drop(places, "a.csv", age=-1e6)
    refresh(places, now=NOW)
    assert len(stubs_in(places)) == 1


def away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a folder be one of a disk that does not answer."""
    real = os.listdir

    def listdir(path: Any) -> list[str]:
        if Path(path) == folder:
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)


def test_a_disk_that_is_away_deletes_no_dag(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drop(places, "a.csv")
    refresh(places, now=NOW)
    away(places.data / "downloaded", monkeypatch)
    (places.environments()["plain"] / "dags").mkdir()
    refresh(places, now=NOW)
    assert [*stubs_in(places)] == [str(path)]
    assert "plain" in links_in(places)
    monkeypatch.undo()
    path.unlink()
    refresh(places, now=NOW)
    assert not stubs_in(places)


def test_a_disk_that_is_away_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "DOWNLOADED", str(tmp_path))
    (tmp_path / "a").mkdir()
    away(tmp_path / "a", monkeypatch)
    for pattern in ("a/*.csv", "a/**/*.csv", "a/x.csv"):
        with pytest.raises(OSError, match="Input/output"):
            seen.find(pattern)


def test_links_are_followed_within_the_data_only(places: Places) -> None:
    file, folder = drop(places, "a.csv"), places.data / "downloaded"
    (folder / "in.csv").symlink_to(file)
    (folder / "out.csv").symlink_to("/etc/passwd")
    (folder / "gone.csv").symlink_to("nothing")
    (folder / "self.csv").symlink_to("self.csv")
    (folder / "folder.csv").mkdir()
    refresh(places, now=NOW)
    assert {Path(one).name for one in stubs_in(places)} == {"a.csv", "in.csv"}


def test_only_what_changes_is_written_and_only_files_with_a_loader_are_looked_at(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(places, "a.csv")
    for number in range(2000):
        (places.data / f"downloaded/{number}.png").touch()
    refresh(places, now=NOW)
    (stub,) = stubs_in(places).values()
    os.utime(stub, (1, 1))
    looked: list[Path] = []
    real = Path.stat

    def look(self: Path, **how: bool) -> os.stat_result:
        looked.append(self)
        return real(self, **how)

    monkeypatch.setattr(Path, "stat", look)
    refresh(places, now=NOW)
    assert len(looked) < 50
    assert real(stub).st_mtime == 1
    (places.project / "loaders/csv.py").write_text("# another one\n")
    refresh(places, now=NOW)
    assert real(stub).st_mtime > 1


def test_more_files_than_dags_can_be_are_said(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stubs, "MOST_FILES", 2)
    for name in "cab":
        drop(places, f"{name}.csv")
    refresh(places, now=NOW)
    assert "More than 2 files" in refusal_of(places, "project")
    (places.bundle / "files/project/refused.py").unlink()
    assert {Path(one).name for one in stubs_in(places)} == {"a.csv", "b.csv"}


@pytest.mark.parametrize("name", ["project", "files"])
def test_a_workspace_of_a_reserved_name_is_refused(places: Places, name: str) -> None:
    (places.workspaces / name / "dags").mkdir(parents=True)
    (places.workspaces / name / "loaders").mkdir(parents=True)
    (places.workspaces / name / "loaders/csv.py").write_text("")
    drop(places, "a.csv")
    refresh(places, now=NOW)
    assert f"the name {name}." in refusal_of(places, name)
    assert set(links_in(places)) == {"project", "faces"}
    assert (places.bundle / "files").is_dir()


@pytest.mark.parametrize("what", ["loop", "other", "bundle", "name", "many", "search"])
def test_a_folder_that_would_stop_the_search_stops_no_other(
    places: Places, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    dags = places.workspaces / "faces/dags"
    target = {"loop": dags.parent, "other": places.project / "dags", "bundle": places.bundle}
    if what in target:
        (dags / "link").symlink_to(target[what])
    elif what == "name":
        (dags / os.fsdecode(b"\xff.py")).touch()
    elif what == "many":
        monkeypatch.setattr(stubs, "MOST_ENTRIES", 3)
        for number in range(4):
            (dags / str(number)).touch()

    def search(folder: Path) -> None:
        if what == "search" and folder == dags:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, ".airflowignore")

    refresh(places, search, NOW)
    assert set(links_in(places)) == {"project"}
    assert str(dags) in refusal_of(places, "faces")


def test_what_others_put_in_the_folder_is_removed(places: Places) -> None:
    refresh(places, now=NOW)
    (places.bundle / "project").unlink()
    (places.bundle / "project/old").mkdir(parents=True)
    (places.bundle / "other").symlink_to("/etc")
    (places.bundle / "stray.py").touch()
    refresh(places, now=NOW)
    assert set(links_in(places)) == {"project", "faces"}
    assert not (places.bundle / "stray.py").exists()


def test_several_containers_can_refresh_at_once(places: Places) -> None:
    for number in range(30):
        drop(places, f"{number}.csv")
    with ThreadPoolExecutor(8) as pool:
        for one in [pool.submit(refresh, places, None, NOW) for _ in range(40)]:
            one.result()
    assert len(stubs_in(places)) == 30
    assert not list(places.bundle.rglob("*.new"))


class Dag:
    """Airflow's DAG, as far as this needs it."""

    def __init__(self) -> None:
        self.dag_id, self.dag_display_name, self.tags = "any", "any", set[str]()


@pytest.fixture
def loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = types.ModuleType("airflow.sdk")
    module.DAG = Dag  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow.sdk", module)
    return tmp_path / "csv.py"


def test_the_dag_of_a_file_has_its_id_its_name_and_its_tags(loader: Path) -> None:
    loader.write_text(
        "from airflow.sdk import DAG\ndef workflow(path):\n    dag = DAG()\n    dag.tags = {path}\n"
        "    return dag\n"
    )
    dag = files.dag_of("/data/ü b.csv", str(loader), "project")
    assert dag.dag_id == dag_id("project", "ü b.csv")
    assert dag.dag_display_name == "ü b.csv"
    assert dag.tags == {"/data/ü b.csv", "project", "csv"}
    assert files.dag_of("/data/ü b.csv", str(loader), "faces").dag_display_name == "ü b.csv (faces)"
    assert files.dag_of("/data/a\nb.csv", str(loader), "project").dag_display_name == "a?b.csv"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "def workflow(path):\n    raise ValueError('no\\nheader')",
            "a b.csv: ValueError: no header",
        ),
        ("def workflow(path):\n    return path", "returned str for a b.csv"),
        ("other = 1", "has no function workflow(path)"),
        ("def workflow(:", "cannot be imported: SyntaxError"),
        ("import no_such_module", "cannot be imported: ModuleNotFoundError"),
        ("import os\nos.no_such_name", "cannot be imported: AttributeError"),
    ],
)
def test_a_loader_that_makes_no_dag_is_said_in_one_line(
    loader: Path, text: str, words: str
) -> None:
    loader.write_text(text)
    with pytest.raises(files.LoaderError) as raised:
        files.dag_of("/data/a b.csv", str(loader), "project")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_a_new_watcher_finds_is_no_change_and_later_changes_are(tmp_path: Path) -> None:
    memory = seen.Memory(tmp_path / "events", "files *.csv")
    assert memory.changes({"a": "1"}) == []
    assert memory.changes({"a": "1", "b": "1"}) == ["b"]
    assert memory.changes({"a": "2", "b": "1"}) == ["a", "b"]


def test_a_change_is_told_until_it_is_stored_also_after_a_crash(tmp_path: Path) -> None:
    def start() -> seen.Memory:
        return seen.Memory(tmp_path, "files *.csv")

    memory = start()
    memory.changes({})
    assert memory.changes({"a": "1"}) == ["a"]
    memory.told["a"] = "1"
    assert memory.changes({"a": "1"}) == []  # it is on its way
    assert start().changes({"a": "1"}) == ["a"]  # killed before Airflow stored it
    memory.stored([], [("a", "1")])
    assert memory.changes({"a": "1"}) == ["a"]  # Airflow has lost it
    memory.told["a"] = "1"
    memory.stored([("a", "1")], [])
    assert memory.changes({"a": "1"}) == []
    assert start().changes({"a": "1"}) == []
    assert start().changes({"a": "2"}) == ["a"]
    assert seen.Memory(tmp_path, "files *.tab").changes({"a": "2"}) == []


def test_a_change_during_the_event_of_another_is_told_too(tmp_path: Path) -> None:
    memory = seen.Memory(tmp_path, "x")
    memory.changes({})
    memory.told["a"] = "1"
    assert memory.changes({"a": "2"}) == ["a"]
    memory.told["a"] = "2"
    memory.stored([("a", "1")], [])
    assert memory.changes({"a": "2"}) == []
    memory.stored([("a", "2")], [])
    assert seen.Memory(tmp_path, "x").changes({"a": "2"}) == []


def test_a_deleted_file_is_new_when_it_is_back(tmp_path: Path) -> None:
    memory = seen.Memory(tmp_path, "x")
    memory.changes({"a": "1"})
    assert memory.changes({}) == []
    assert memory.changes({"a": "1"}) == ["a"]


def test_a_damaged_memory_is_a_new_one(tmp_path: Path) -> None:
    memory = seen.Memory(tmp_path, "x")
    memory.changes({"a": "1"})
    memory.path.write_text('{"seen": ')
    assert seen.Memory(tmp_path, "x").changes({"a": "2"}) == []


def test_a_pattern_finds_files_that_a_database_can_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "DOWNLOADED", str(tmp_path))
    (tmp_path / "a/b/.c").mkdir(parents=True)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "a/loop").symlink_to(tmp_path)
    wanted = ["x.csv", "a/x y.csv", "a/b/ü.csv"]
    for name in (*wanted, ".x.csv", "a/b/.c/x.csv", "a/x.png", os.fsdecode(b"\xff.csv")):
        (tmp_path / name).touch()

    def found(pattern: str) -> set[str]:
        return {os.path.relpath(one, tmp_path) for one in seen.find(pattern)}

    assert found("*.csv") == {"x.csv"}
    assert found("a/*.csv") == {"a/x y.csv"}
    assert found("**/*.csv") == set(wanted)
    assert found("*/**/*.csv") == {"a/x y.csv", "a/b/ü.csv"}
    assert found(str(tmp_path / "x.csv")) == {"x.csv"}
    assert found("none/*.csv") == set()


@pytest.mark.parametrize("pattern", ["", "a/", "**", "a/**", "**/a/*.csv", "a**/*.csv", "**.csv"])
def test_a_pattern_that_finds_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="file_changed"):
        seen.check_pattern(pattern)


def test_payloads_are_in_the_order_of_their_events() -> None:
    told = {
        asset: [SimpleNamespace(timestamp=f"2026-01-0{day}", extra=extra) for day, extra in each]
        for asset, each in {
            "a": [(3, {"payload": {"n": 3}}), (1, {"payload": {"n": 1}})],
            "b": [(2, {"payload": {"n": 2}}), (4, {})],
        }.items()
    }
    assert [one["n"] for one in events.payloads(told)] == [1, 2, 3]


def test_dags_that_end_have_addresses_of_their_own() -> None:
    pairs = [(one, state) for one in ("a", "a b", "a/b", "ü", "a%2Fb") for state in events.STATES]
    assert len({events.finished(*one) for one in pairs}) == len(pairs)
    assert all(events.finished(*one).isascii() for one in pairs)
    with pytest.raises(ValueError, match="none of success, failed"):
        events.dag_finished("a", "running")


def test_airflow_takes_every_stub_for_a_file_with_dags() -> None:
    # What it reads has both words: airflow/utils/file.py, might_contain_dag_via_default_heuristic.
    made = stubs.text_of(Path("/data/a.csv"), Path("/loaders/csv.py"), "project", "1")
    for text in (made, stubs.refusal("There are too many files.")):
        assert all(word in text.lower() for word in ("airflow", "dag"))
