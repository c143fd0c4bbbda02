"""Results: what publish copies and writes down, and what import-results takes from others."""

from __future__ import annotations

import importlib
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from host import exchange, import_results, pack, record
from host.facts import Facts
from host.project import Project, StopError
from tests.support.program import PACKAGE, PROJECT

WORKFLOWS = PACKAGE.parent / "airflow/workflows"
CONTEXT = {
    "AIRFLOW_CTX_DAG_ID": "train",
    "AIRFLOW_CTX_DAG_RUN_ID": "manual__1",
    "AIRFLOW_CTX_PARAMS": '{"epochs": 3, "file": "/data/downloaded/a.csv"}',
    "AIRFLOW_CTX_ENVIRONMENT": "project",
}


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """results.py, beside the rules that an image of Airflow has there."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "flows").mkdir()
    (folder / "flows/__init__.py").touch()
    shutil.copy(WORKFLOWS / "results.py", folder / "flows")
    shutil.copy(PACKAGE / "exchange.py", folder / "flows")
    sys.path.insert(0, str(folder))
    yield importlib.import_module("flows.results")
    sys.path.remove(str(folder))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with data folders, on a machine without an engine."""
    monkeypatch.setattr(record, "probe", lambda _: Facts())
    monkeypatch.setattr(record, "image_id", lambda _: "")
    monkeypatch.setenv("CALLED_FROM", str(tmp_path))
    root = tmp_path / "work"
    (root / "docker-amd64").mkdir(parents=True)
    (root / "docker-amd64/.env").write_text("COMPOSE_PROJECT_NAME=demo\n")
    (root / "outputs").mkdir()
    for name in exchange.FOLDERS:
        (root / "data" / name).mkdir(parents=True)
    return Project(root / "docker-amd64", PROJECT)


@pytest.fixture
def data(project: Project, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder, as a task of that project has it."""
    folder = project.root / "data"
    monkeypatch.setattr(module, "DATA", folder)
    monkeypatch.setattr(module, "CODE", project.root)
    for name, value in CONTEXT.items():
        monkeypatch.setenv(name, value)
    digest = exchange.code_digest(project.root)
    worker = {"commit": "c0ffee", "changed": "false", "files": digest, "image": "sha256:1"}
    worker |= {"published": f"registry.example/team/demo@sha256:{'a' * 64}"}
    worker |= {"source": "https://example.org/x.git", "packages": "1a2b"}
    (project.root / "workers.json").write_text(json.dumps({"project": worker}))
    monkeypatch.setattr(module, "WORKERS", project.root / "workers.json")
    (folder / "downloaded/a.csv").write_text("1,2\n")
    (folder / "generated/model/deep").mkdir(parents=True)
    (folder / "generated/model/deep/weights.bin").write_bytes(b"\0w")
    (folder / "generated/plot.svg").write_text("<svg/>")
    return folder


def manifest_of(folder: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / exchange.MANIFEST).read_text())
    return found


def test_published_files_have_a_manifest_of_what_they_were_made_with(
    module: ModuleType, data: Path
) -> None:
    there = module.publish("my model 1", ["model", data / "generated/plot.svg"], inputs="a.csv")
    assert there == str(data / "uploadable/my model 1")
    found = manifest_of(there)
    assert found["outputs"] == [
        {"path": "deep/weights.bin", "sha256": sha256(b"\0w").hexdigest(), "size": 2},
        {"path": "plot.svg", "sha256": sha256(b"<svg/>").hexdigest(), "size": 6},
    ]
    assert found["inputs"] == [{"path": "a.csv", "sha256": sha256(b"1,2\n").hexdigest(), "size": 4}]
    assert found["dag"] == "train"
    assert found["run"] == "manual__1"
    assert found["image"] == "sha256:1"
    assert found["published"] == f"registry.example/team/demo@sha256:{'a' * 64}"
    assert found["packages"] == "1a2b"
    assert found["parameters"] == {"epochs": 3, "file": "/data/downloaded/a.csv"}
    code = exchange.code_digest(data.parent)
    assert found["code"] == {
        "commit": "c0ffee",
        "source": "https://example.org/x.git",
        "changed": False,
        "files": code,
    }
    assert exchange.read_manifest(json.dumps(found)) == found
    assert [one.name for one in (data / "uploadable").iterdir()] == ["my model 1"]


def test_code_that_was_edited_after_the_worker_started_is_changed(
    module: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data.parent / "data/generated/script.py").write_text("not code")
    assert manifest_of(module.publish("m", "model"))["code"]["changed"] is False
    (data.parent / "train.py").write_text("lr = 1")
    assert manifest_of(module.publish("m", "model"))["code"]["changed"] is True
    monkeypatch.setenv("AIRFLOW_CTX_ENVIRONMENT", "new")  # a workspace before the next `up`
    found = manifest_of(module.publish("m", "model"))
    assert (found["code"]["commit"], found["image"]) == ("none", "unknown")


def test_a_dag_replaces_its_own_results_and_no_others(
    module: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.publish("m", "model")
    module.publish("m", "plot.svg")
    place = data / "uploadable/m"
    assert sorted(one.name for one in place.iterdir()) == ["plot.svg", "results.json"]
    (data / "uploadable/mine").mkdir()
    with pytest.raises(module.NotPublishedError, match="no DAG has published"):
        module.publish("mine", "model")
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "other")
    with pytest.raises(module.NotPublishedError, match="DAG train has published"):
        module.publish("m", "model")
    assert sorted(one.name for one in place.iterdir()) == ["plot.svg", "results.json"]


def test_results_are_replaced_where_names_cannot_be_exchanged(
    module: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXCHANGE", 1 << 20)  # a flag that no kernel has
    module.publish("m", "model")
    module.publish("m", "plot.svg")
    place = data / "uploadable/m"
    assert sorted(one.name for one in place.iterdir()) == ["plot.svg", "results.json"]
    assert [one.name for one in (data / "uploadable").iterdir()] == ["m"]


def test_a_failed_publish_changes_nothing(
    module: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.publish("m", "model")
    (data / "uploadable/.m.killed.tmp").mkdir()  # of one that was killed
    monkeypatch.setenv("AIRFLOW_CTX_PARAMS", "cut of")
    with pytest.raises(ValueError, match="Expecting value"):
        module.publish("m", "plot.svg")
    assert [one.name for one in (data / "uploadable").iterdir()] == ["m"]
    assert (data / "uploadable/m/deep/weights.bin").exists()


@pytest.mark.usefixtures("data")
def test_long_parameters_are_read_from_their_file(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "parameters.json"
    file.write_text(json.dumps({"names": ["é" * 300_000]}), "utf-8")
    monkeypatch.delenv("AIRFLOW_CTX_PARAMS")
    monkeypatch.setenv("AIRFLOW_CTX_PARAMS_FILE", str(file))
    assert manifest_of(module.publish("m", "model"))["parameters"] == json.loads(file.read_text())


def test_a_repeated_run_leaves_what_was_published(
    module: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.publish("m", "model")
    monkeypatch.setenv("AIRFLOW_CTX_DAG_RUN_ID", "rerun__2026-1")
    assert module.publish("m", "plot.svg") == str(data / "generated/reruns/rerun__2026-1/m")
    assert (data / "uploadable/m/deep/weights.bin").exists()
    monkeypatch.setenv("AIRFLOW_CTX_DAG_RUN_ID", "rerun__../../x")
    assert module.publish("m", "model") == str(data / "uploadable/m")


def link_out(data: Path) -> None:
    (data / "secret").touch()
    (data / "generated/model/link").symlink_to(data / "secret")


@pytest.mark.parametrize(
    ("change", "files", "says"),
    [
        (link_out, ["model"], "is not in"),
        (lambda _: None, ["../downloaded/a.csv"], "is not in"),
        (lambda _: None, ["missing"], "is not a file"),
        (lambda _: None, [], "no file"),
        (lambda data: (data / "generated/Plot.svg").touch(), ["plot.svg", "Plot.svg"], "this name"),
        (lambda data: (data / "generated/model/SHA256SUMS").touch(), ["model"], "this name"),
        (
            lambda data: (data / "generated/list.txt").write_text("x\n/workspaces/a/b\n"),
            ["list.txt"],
            "list.txt: line 2 has a path of this machine: /workspaces/a/b",
        ),
        (lambda data: (data / "generated/a\nb").touch(), ["a\nb"], "control character"),
    ],
)
def test_what_others_cannot_use_is_not_published(
    module: ModuleType, data: Path, change: Callable[[Path], None], files: list[str], says: str
) -> None:
    change(data)
    with pytest.raises(module.NotPublishedError, match=says):
        module.publish("m", files)
    assert not list((data / "uploadable").iterdir())


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a.", "a\n", "x" * 101])
def test_a_name_is_the_name_of_one_folder(module: ModuleType, name: str) -> None:
    with pytest.raises(module.NotPublishedError, match="cannot be the name"):
        module.publish(name, "model")


# ---------------------------------------------------------------------------- between projects


def packed(project: Project, name: str = "m") -> Path:
    assert pack.do_pack(project, Namespace(name=name, file=None, check=False)) == 0
    return project.root / f"outputs/{name}.tar"


def imported(project: Project, file: Path, name: str | None = None) -> None:
    import_results.do_import_results(project, Namespace(file=str(file), name=name))


def downloaded(project: Project) -> list[str]:
    return sorted(one.name for one in (project.root / "data/downloaded").iterdir())


def test_others_import_what_was_published_and_packed(
    module: ModuleType, project: Project, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module.publish("m", ["model", "plot.svg"], inputs="a.csv")
    archive = packed(project)
    imported(project, archive)
    there = data / "downloaded/m"
    assert (there / "deep/weights.bin").read_bytes() == b"\0w"
    assert manifest_of(there) == manifest_of(data / "uploadable/m")
    assert "/data/downloaded/m" in capsys.readouterr().err
    (there / "mine").touch()
    imported(project, archive)
    assert "already" in capsys.readouterr().err
    imported(project, archive, "other name")
    assert downloaded(project) == ["a.csv", "m", "other name"]


def test_a_folder_whose_name_containers_cannot_have_needs_another_one(
    project: Project, data: Path
) -> None:
    folder = data / "uploadable/faces (v1)"
    folder.mkdir()
    (folder / "line\u2028end.txt").write_text("1")
    os.link(folder / "line\u2028end.txt", folder / "twice.txt")
    archive = packed(project, "faces (v1)")
    with pytest.raises(StopError, match="letters and digits, in NAME") as stopped:
        imported(project, archive)
    assert shlex.split(stopped.value.command)[-1] == str(archive)
    imported(project, archive, "faces")
    assert (data / "downloaded/faces/twice.txt").read_text() == "1"
    (data / "downloaded/faces/SHA256SUMS").unlink()
    with pytest.raises(StopError) as stopped:
        imported(project, archive, "faces")
    assert shlex.split(stopped.value.command)[-1] == "faces-2"


def test_an_archive_of_nothing_but_headers_is_refused(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "x.tar"
    file.write_bytes(entry("m/a", tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT) * 5000)
    with pytest.raises(StopError, match="not an archive"):
        imported(project, file)


def test_a_folder_may_have_empty_ones_and_inputs_any_name(
    module: ModuleType, project: Project, data: Path
) -> None:
    (data / "generated/model/empty").mkdir()
    (data / "downloaded/others").mkdir()
    for name in ("environment.json", "A.csv", "a.csv"):
        (data / "downloaded/others" / name).write_text(name)
    module.publish("m", "model", inputs="others")
    found = manifest_of(data / "uploadable/m")["inputs"]
    assert [one["path"] for one in found] == [
        "others/A.csv",
        "others/a.csv",
        "others/environment.json",
    ]
    packed(project)


def test_an_import_never_replaces_other_files(
    module: ModuleType, project: Project, data: Path
) -> None:
    module.publish("m", "model")
    archive = packed(project)
    (data / "downloaded/m").mkdir()
    with pytest.raises(StopError) as stopped:
        imported(project, archive)
    assert stopped.value.name == "results-exist"
    assert downloaded(project) == ["a.csv", "m"]
    assert not list((data / "downloaded/m").iterdir())


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("change", ["edit", "delete", "add", "break"])
def test_pack_refuses_results_that_are_not_what_was_published(
    module: ModuleType, project: Project, change: str
) -> None:
    place = Path(module.publish("m", ["model", "plot.svg"]))
    if change == "edit":
        (place / "plot.svg").write_text("<svg></svg>")
    elif change == "delete":
        (place / "plot.svg").unlink()
    elif change == "add":
        (place / "more").touch()
    else:
        (place / "results.json").write_text('{"results": 1}')
    assert pack.do_pack(project, Namespace(name="m", file=None, check=True)) == 1


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def archive_of(
    path: Path, *entries: tuple[tarfile.TarInfo, bytes], sums: str | None = None
) -> Path:
    """An archive as pack writes it, of these entries."""
    if sums is None:
        sums = "".join(
            f"{sha256(content).hexdigest()}  {info.name.partition('/')[2]}\n"
            for info, content in entries
        )
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in (*entries, (entry("m/SHA256SUMS"), sums.encode())):
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_a_link_that_appears_during_an_import_leads_nowhere(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    archive = archive_of(tmp_path / "a.tar", (entry("m/deep/a"), b"1"), (entry("m/deep/b"), b"2"))
    read = tarfile.TarFile.extractfile

    def extractfile(self: tarfile.TarFile, info: tarfile.TarInfo) -> Any:
        if info.name == "m/deep/b":
            (made,) = (project.root / "data/downloaded").glob(".import-*")
            (made / "deep").rename(made / "aside")
            (made / "deep").symlink_to(victim)
        return read(self, info)

    monkeypatch.setattr(tarfile.TarFile, "extractfile", extractfile)
    with pytest.raises(StopError):
        imported(project, archive)
    assert not [*victim.iterdir()]


GOOD = (entry("m/a"), b"1")
NOT_ITS = sha256(b"2").hexdigest()


@pytest.mark.parametrize(
    ("entries", "sums", "says"),
    [
        ([(entry("m/../../x"), b"")], None, "leads out"),
        ([(entry("/m/x"), b"")], None, "leads out"),
        ([(entry("m//x"), b"")], None, "leads out"),
        ([(entry("../m"), b"")], None, "leads out"),
        ([(entry("m/a\nb"), b"")], None, "control character"),
        ([(entry("m/a\\b"), b"")], None, "control character"),
        ([(entry("m/" + "d/" * 2000 + "x"), b"")], None, "too many folders"),
        ([(entry("m/" + "d" * 300), b"")], None, "File name too long"),
        ([(entry("m/l", tarfile.SYMTYPE, "/etc"), b"")], None, "is a link"),
        ([(entry("m/l", tarfile.LNKTYPE, "m/a"), b"")], None, "is a link"),
        ([(entry("m/p", tarfile.FIFOTYPE), b"")], None, "neither"),
        ([(entry("m/p", tarfile.CHRTYPE), b"")], None, "neither"),
        ([GOOD, GOOD], None, "twice"),
        ([GOOD, (entry("m/A"), b"1")], None, "same name"),
        ([(entry("m/a/b"), b"1"), (entry("m/A/c"), b"1")], None, "same name"),
        ([GOOD, (entry("m/a/b"), b"1")], None, "file and a folder"),
        ([GOOD, (entry("n/b"), b"1")], None, "several folders"),
        ([(entry("m"), b"1")], None, "outside of a folder"),
        ([GOOD], "", "does not list a"),
        ([GOOD], f"{NOT_ITS}  a\n", "was changed"),
        ([GOOD], f"{sha256(b'1').hexdigest()}  a\n{NOT_ITS}  b\n", "is missing"),
        ([GOOD], "a\n", "not a checksum"),
        ([(entry("m/results.json"), b"[]")], None, "results.json cannot be used"),
        ([(entry("m/results.json"), b'{"results": 2}')], None, "only 1 is known"),
        ([(entry("m/SHA256SUMS/x"), b"1")], None, "file and a folder"),
    ],
)
def test_a_hostile_archive_is_refused_and_changes_nothing(
    project: Project,
    tmp_path: Path,
    entries: list[tuple[tarfile.TarInfo, bytes]],
    sums: str | None,
    says: str,
) -> None:
    archive = archive_of(tmp_path / "x.tar", *entries, sums=sums)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StopError, match=says) as stopped:
        imported(project, archive)
    assert stopped.value.name == "archive-refused"
    assert "\n" not in stopped.value.sentence
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["shorter", "compressed", "text", "folder", "missing", "sparse"])
def test_what_is_no_archive_of_pack_is_refused(project: Project, tmp_path: Path, kind: str) -> None:
    path = archive_of(tmp_path / "x.tar", GOOD, (entry("m/big"), b"0" * 20_000))
    if kind == "shorter":
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "compressed":
        with tarfile.open(path, "w:gz") as archive:
            archive.addfile(entry("m/a"))
    elif kind == "sparse":
        info = entry("m/a")
        info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 50)}
        archive_of(path, (info, b""))
    else:
        path.unlink()
    if kind == "text":
        path.write_text("text")
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(StopError) as stopped:
        imported(project, path)
    assert stopped.value.name == "archive-refused"
    assert downloaded(project) == []


def manifest_with(**changes: object) -> str:
    found = {
        "results": 1,
        "name": "m",
        "dag": "d",
        "image": "i",
        "code": {"commit": "c", "changed": False, "files": "f"},
        "parameters": {},
        "inputs": [],
        "outputs": [],
    }
    return json.dumps({**found, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": [{"path": "../../etc/passwd", "sha256": "0" * 64}]},
        {"outputs": [{"path": "/a", "sha256": "0" * 64}]},
        {"outputs": [{"path": "a", "sha256": "x"}]},
        {"outputs": [{"path": "a"}]},
        {"outputs": None},
        {"dag": "a\x1b[2J"},
        {"dag": 1},
        {"dag": "\ud800"},
        {"name": ""},
        {"code": []},
        {"parameters": []},
        {"results": 2},
    ],
)
def test_a_manifest_that_was_made_up_is_not_used(changes: dict[str, object]) -> None:
    exchange.read_manifest(manifest_with())
    with pytest.raises(ValueError, match=r"."):
        exchange.read_manifest(manifest_with(**changes))


def test_pack_and_publish_know_the_same_names() -> None:
    assert {*pack.OURS, exchange.MANIFEST} == set(exchange.RESERVED)


UNPACKING = """
import sys, time
from argparse import Namespace
from pathlib import Path
from host import import_results
def unpack(archive, folder):
    (folder / "half").touch()
    print("unpacks", flush=True)
    time.sleep(60)
import_results.unpack = unpack
with open(sys.argv[1], "rb") as file:
    import_results.import_file(None, file, Path(sys.argv[2]), Namespace(name="", file=""))
"""


def test_an_import_that_is_told_to_end_leaves_no_folder(tmp_path: Path) -> None:
    archive, parent = tmp_path / "a.tar", tmp_path / "downloaded"
    parent.mkdir()
    tarfile.open(archive, "w").close()
    words = [sys.executable, "-B", "-c", UNPACKING, str(archive), str(parent)]
    with subprocess.Popen(words, cwd=PACKAGE.parent, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "unpacks\n"
        assert [*parent.iterdir()]
        process.terminate()
        assert process.wait(timeout=240) == 128 + signal.SIGTERM
    assert [*parent.iterdir()] == []


@pytest.mark.parametrize(
    ("theirs", "wanted"),
    [
        ({}, "ours ours"),
        ({"workflows.py": "mine = 'theirs'"}, "theirs ours"),
        ({"workflows/__init__.py": "mine = 'theirs'"}, "theirs ours"),
        ({"workflows/mine.py": ""}, "theirs ours"),
        (
            {"workflows/__init__.py": "mine = 'theirs'", "workflows/results.py": "publish = 0"},
            "theirs theirs",
        ),
    ],
)
def test_a_package_of_the_user_hides_no_results(
    tmp_path: Path, theirs: dict[str, str], wanted: str
) -> None:
    ours = tmp_path / "ours/workflows"
    ours.mkdir(parents=True)
    for file in (*WORKFLOWS.glob("*.py"), PACKAGE / "exchange.py"):
        shutil.copy(file, ours)
    code = tmp_path / "code"
    code.mkdir()
    for name, text in theirs.items():
        (code / name).parent.mkdir(exist_ok=True)
        (code / name).write_text(text)
    program = f"""
import runpy; runpy.run_path({str(ours / "importable.py")!r})
import workflows
from workflows.results import publish
own = hasattr(workflows, "mine") or any({str(code)!r} in one for one in workflows.__path__)
print("theirs" if own else "ours", "ours" if callable(publish) else "theirs")
"""
    if theirs.keys() == {"workflows/mine.py"}:
        program = program.replace("import workflows\n", "import workflows, workflows.mine\n")
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout.split() == wanted.split(), said.stderr
