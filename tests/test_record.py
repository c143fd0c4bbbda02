"""A record says what a result was made with, and brings it back."""

from __future__ import annotations

import json
import subprocess
from argparse import Namespace
from pathlib import Path

import pytest

from host import record
from host.facts import Engine
from host.gpu_facts import Gpu, GpuFacts
from host.project import Project, StopError
from host.workspaces import enter
from tests.support.git import git
from tests.support.program import PROJECT

GPU = Gpu(name="RTX 4090", uuid="GPU-4711", compute_capability="8.9")
FACTS = GpuFacts(
    gpus=(GPU, GPU),
    driver="550.54",
    cuda="12.4",
    architecture="x86_64",
    engine=Engine(kind="docker", version="28.5.2"),
)
IMAGES = {"runtime": "sha256:1111", "dev": "sha256:2222"}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in git, on a machine that does not change."""
    monkeypatch.setattr(record, "probe", lambda _: FACTS)
    monkeypatch.setattr(record, "image_id", lambda name: IMAGES[name.rpartition("-")[2]])
    monkeypatch.setenv("CALLED_FROM", str(tmp_path))
    root = tmp_path / "work $x"
    locks = root / "docker-amd64/dependencies"
    locks.mkdir(parents=True)
    (locks / "uv.lock").write_text("version = 1\n")
    (root / ".copier-answers.yml").write_text("_commit: v0.7.0\n")
    (root / ".gitignore").write_text("/outputs/\n.env\n")
    (root / "code.py").write_bytes("a = 'é'\r\n".encode("latin-1"))
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    return project_in(root)


def project_in(root: Path) -> Project:
    """A project in a folder, whose .env says nothing."""
    (root / "docker-amd64/.env").write_text("COMPOSE_PROJECT_NAME=demo\n")
    return Project(root / "docker-amd64", PROJECT)


def clone(project: Project) -> Project:
    """The same on another machine, as git has it."""
    root = project.root.parent / "clone"
    git(project.root, "clone", "--quiet", str(project.root), str(root))
    return project_in(root)


def recorded(project: Project, capsys: pytest.CaptureFixture[str]) -> Path:
    record.do_record(project, Namespace(file=None))
    file = Path(capsys.readouterr().out.rstrip("\n"))
    assert file.is_relative_to(project.root / "outputs/records")
    return file


def differing(project: Project, file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    status = record.do_reproduce(project, Namespace(file=str(file)))
    said = capsys.readouterr().out
    assert status == (not said.startswith("Nothing differs from"))
    return said


def test_a_clone_of_the_same_commit_differs_in_nothing(
    work: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    file = recorded(work, capsys)
    other = clone(work)
    assert "Nothing differs" in differing(other, file, capsys)
    assert "Nothing differs" in differing(other, file.parent, capsys)  # as a shell completes it
    found = json.loads(file.read_text())
    assert found["template"]["version"] == "v0.7.0"
    assert found["locks"].keys() == {"uv.lock"}
    assert found["images"] == IMAGES
    assert found["machine"] == {
        "architecture": "x86_64",
        "GPUs": "RTX 4090 (8.9), RTX 4090 (8.9)",
        "driver": "550.54",
        "CUDA of the driver": "12.4",
        "engine": "docker 28.5.2",
    }


def test_what_was_not_committed_comes_back_by_the_printed_command(
    work: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (work.root / "code.py").write_bytes("a = 'è'\r\nb = 2\r\n".encode("latin-1"))
    (work.root / "new ü.bin").write_bytes(bytes(range(256)))
    (work.root / "large.bin").write_bytes(bytes(record.LARGE + 1))
    (work.root / "outputs").mkdir()
    (work.root / "outputs/result").write_text("is ignored")
    file = recorded(work, capsys)
    assert "large.bin, 1048577 bytes" in file.with_name(record.PATCH).read_text("latin-1")

    other = clone(work)
    said = differing(other, file, capsys)
    assert said.startswith("code, changes: ")
    (command,) = (line[7:] for line in said.splitlines() if line.startswith("  Run: "))
    subprocess.run(["bash", "-c", command], check=True)
    for name in ("code.py", "new ü.bin"):
        assert (other.root / name).read_bytes() == (work.root / name).read_bytes()
    (other.root / "large.bin").write_bytes(bytes(record.LARGE + 1))
    assert "Nothing differs" in differing(other, file, capsys)


def test_another_commit_and_other_packages_are_named(
    work: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = recorded(work, capsys)
    (work.folder / "dependencies/uv.lock").write_text("version = 2\n")
    git(work.root, "commit", "--quiet", "--all", "--message", "Take newer ones")
    monkeypatch.setitem(IMAGES, "runtime", "sha256:3333")
    said = differing(work, file, capsys)
    assert [line.split(":")[0] for line in said.splitlines() if not line.startswith(" ")] == [
        *("code, commit", "locks, uv.lock", "images, runtime"),
    ]
    checkout = said.splitlines()[1].partition("Run: ")[2]
    subprocess.run(["bash", "-c", checkout], check=True, capture_output=True)
    assert "locks" not in differing(work, file, capsys)


def test_a_run_is_recorded_with_its_command_and_without_values_of_variables(
    work: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = record.record_run(work, ["python", "train.py", "--lr=1"], ["WANDB_API_KEY"], "job-1")
    (file,) = (work.root / "outputs/records").glob("*-job-1/environment.json")
    assert inside == f"/outputs/records/{file.parent.name}"
    found = json.loads(file.read_text())
    assert (found["command"], found["environment"]) == (
        ["python", "train.py", "--lr=1"],
        ["WANDB_API_KEY"],
    )
    assert str(file) in capsys.readouterr().err


def test_a_run_has_the_result_of_verify_and_another_one_is_named(
    work: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [{"name": "torch", "status": "ok", "says": "2.15.0"}]
    checks += [{"name": "shared memory", "status": "ok", "says": "8 GiB"}]
    calls = []

    def in_image(*words: object) -> Namespace:
        calls.append(words[1:])
        return Namespace(stdout=json.dumps({"checks": checks}))

    (work.folder / "verify.py").touch()
    monkeypatch.setattr("host.measure.in_image", in_image)
    monkeypatch.setattr("host.measure.attach_gpus", lambda *_, **__: None)
    monkeypatch.setattr("host.measure.make_folders", lambda _: None)
    for job in ("job-1", "job-2"):  # the second takes what the first has found
        record.record_run(work, ["true"], [], job)
    assert calls == [("runtime", "verify.py", "--json")]
    files = sorted((work.root / "outputs/records").glob("*/environment.json"))
    found = [json.loads(file.read_text())["checks"] for file in files]
    assert found == [{"torch": "ok: 2.15.0", "shared memory": "ok: 8 GiB"}] * 2
    capsys.readouterr()

    checks[0] = {"name": "torch", "status": "fails", "says": "it finds no GPU"}
    checks[1]["says"] = "4 GiB"
    said = differing(work, files[0], capsys).splitlines()
    assert said[0] == "verify, torch: ok: 2.15.0 then, fails: it finds no GPU here."
    assert said[1].startswith("  Run: ")
    assert len(said) == 2
    # Another image is looked at anew.
    monkeypatch.setitem(IMAGES, "runtime", "sha256:3333")
    record.record_run(work, ["true"], [], "job-3")
    assert "verify finds a fault: torch." in capsys.readouterr().err


def test_a_run_of_a_workspace_is_compared_with_that_workspace(
    work: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "LOCAL_CODE_DIR"):
        monkeypatch.setenv(key, "")  # what `enter` sets is taken back after the test
        monkeypatch.delenv(key)
    monkeypatch.setattr(
        record, "image_id", lambda name: f"{name} built" if "demo-jane" in name else "of project"
    )
    folder = work.root / "workspaces/jane"
    folder.mkdir(parents=True)
    (folder / "requirements.lock").write_text("einops==1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Of Jane")
    enter(work, "jane", "record")
    file = recorded(work, capsys)
    found = json.loads(file.read_text())
    assert found["workspace"] == "jane"
    assert found["locks"].keys() == {"uv.lock", "requirements.lock"}
    for key in ("COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "LOCAL_CODE_DIR"):
        monkeypatch.delenv(key)
    assert "Nothing differs" in differing(Project(work.folder, PROJECT), file, capsys)
    (folder / "requirements.lock").write_text("einops==2\n")
    for key in ("COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "LOCAL_CODE_DIR"):
        monkeypatch.delenv(key)
    git(folder, "commit", "--quiet", "--all", "--message", "Newer")
    said = differing(Project(work.folder, PROJECT), file, capsys)
    assert f"checkout {found['code']['commit']}" in said
    assert str(folder.resolve()) in said


def test_code_without_git_is_recorded_as_that(
    work: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work.root / ".git").rename(tmp_path / "gone")
    file = recorded(work, capsys)
    assert json.loads(file.read_text())["code"] == {"commit": "none", "changes": "none"}
    assert "Nothing differs" in differing(work, file, capsys)


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"record": 99}'])
def test_what_is_no_record_is_refused(work: Project, tmp_path: Path, text: str) -> None:
    (tmp_path / "some.json").write_text(text)
    for name in ("some.json", "missing.json"):
        with pytest.raises(StopError) as caught:
            record.do_reproduce(work, Namespace(file=name))
        assert caught.value.name == "record-missing"


def test_a_record_of_somebody_else_runs_nothing(
    work: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = recorded(work, capsys)
    found = json.loads(file.read_text())
    found["code"] = {"commit": "; touch owned", "changes": ["x"]}
    found["machine"] = "none"
    file.write_text(json.dumps(found))
    said = differing(work, file, capsys)
    command = said.splitlines()[1].partition("Run: ")[2]
    assert subprocess.run(["bash", "-c", command], cwd=tmp_path, check=False).returncode
    assert not list(tmp_path.rglob("owned"))


def test_what_a_container_writes_into_git_s_settings_is_not_run(work: Project) -> None:
    git(work.root, "config", "diff.own.textconv", "touch ran #")
    (work.root / ".gitattributes").write_text("*.py diff=own\n")
    (work.root / "code.py").write_text("b = 1\n")
    assert b"+b = 1" in record.changes(work)
    assert not (work.root / "ran").exists()


def test_no_record_is_written_through_a_link_of_a_container(work: Project, tmp_path: Path) -> None:
    (work.root / "outputs").mkdir()
    (work.root / "outputs/records").symlink_to(tmp_path)
    with pytest.raises(StopError) as stopped:
        record.new_file(work)
    assert stopped.value.name == "folder-linked"
