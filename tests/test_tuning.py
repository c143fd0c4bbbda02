"""tuning.env and the number of threads: what is set, for whom, and what stays as it was."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import container_tuning as tuning
from tests.conftest import Generate

SOURCE = Path(tuning.__file__)
DOCKER = SOURCE.parents[1]


def cgroups(folder: Path, membership: str, files: dict[str, str]) -> tuple[str, str]:
    """A tree of cgroups and the file that says where a process is in it."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "self").write_text(membership)
    return str(folder / "cgroup"), str(folder / "self")


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        pytest.param("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5, id="v2 in its own namespace"),
        pytest.param("0::/\n", {"cpu.max": "max 100000\n"}, None, id="v2 without a limit"),
        pytest.param("0::/\n", {}, None, id="v2 at the machine's top"),
        pytest.param(
            "0::/pods/one\n",
            {"pods/cpu.max": "200000 100000\n", "pods/one/cpu.max": "400000 100000\n"},
            2.0,
            id="v2 where the group above has less",
        ),
        pytest.param(
            "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            3.0,
            id="v1 in a container",
        ),
        pytest.param(
            "4:cpu:/job\n",
            {"cpu/job/cpu.cfs_quota_us": "50000\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
            0.5,
            id="v1 without a namespace",
        ),
        pytest.param(
            "4:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            None,
            id="v1 without a limit",
        ),
        pytest.param("3:cpuset:/\nnonsense\n\n", {}, None, id="no cpu group"),
        pytest.param("0::/\n", {"cpu.max": "much too much\n"}, None, id="unreadable"),
    ],
)
def test_the_limit_of_a_container_is_read_from_its_cgroup(
    tmp_path: Path, membership: str, files: dict[str, str], limit: float | None
) -> None:
    assert tuning.cpu_limit(*cgroups(tmp_path, membership, files)) == limit


@pytest.mark.parametrize(
    ("limit", "cpus", "workers", "expected"),
    [
        (None, 64, "", None),
        (64.0, 64, "", None),
        (4.0, 64, "", 4),
        (3.9, 64, "", 3),
        (0.5, 64, "", 1),
        (8.0, 64, "4", 2),
        (8.0, 64, "16", 1),
        (8.0, 64, "0", 8),
        (8.0, 64, "many", 8),
    ],
)
def test_threads_are_the_whole_cpus_of_the_limit_shared_by_the_workers(
    limit: float | None, cpus: int, workers: str, expected: int | None
) -> None:
    assert tuning.threads(limit, cpus, workers) == expected


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tuning.env with one setting beside the switch, on a machine with eight CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    path = tmp_path / "tuning.env"
    path.write_text("# a comment\nOMP_THREADS_BY_QUOTA=yes\n# OFF=1\nON='a value' # why\n\n")
    return str(path)


def applied(file: str, limit: float, **environ: str) -> dict[str, str]:
    tuning.apply(environ, file, limit)
    return environ


def test_the_file_and_the_limit_set_what_nobody_has_set(file: str) -> None:
    environ = applied(file, 2.0)
    assert environ["ON"] == "a value"
    assert environ["OMP_NUM_THREADS"] == "2"
    assert "OFF" not in environ


@pytest.mark.parametrize("own", ["5", "", "2,1"])
def test_what_a_person_has_set_stays(file: str, own: str) -> None:
    environ = applied(file, 2.0, ON="mine", OMP_NUM_THREADS=own)
    assert (environ["ON"], environ["OMP_NUM_THREADS"]) == ("mine", own)
    assert "OMP_NUM_THREADS" not in applied(file, 2.0, OMP_THREADS_BY_QUOTA="no")


def test_workers_of_a_parallel_job_share_what_their_parent_would_have_used(file: str) -> None:
    parent = applied(file, 4.0)
    assert parent["OMP_NUM_THREADS"] == "4"
    assert applied(file, 4.0, **parent)["OMP_NUM_THREADS"] == "4"
    assert applied(file, 4.0, **parent, LOCAL_WORLD_SIZE="2")["OMP_NUM_THREADS"] == "2"
    # A launcher's own choice, or a person's, is one.
    own = {**parent, "OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "2"}
    assert applied(file, 4.0, **own)["OMP_NUM_THREADS"] == "1"


def test_without_file_and_limit_nothing_changes(tmp_path: Path) -> None:
    environ = {"PATH": "/bin"}
    tuning.apply(environ, str(tmp_path / "none"))
    assert environ == {"PATH": "/bin"}


def test_a_secret_becomes_a_variable_that_nobody_has_set(tmp_path: Path) -> None:
    for name, text in {
        "HF_TOKEN": "hf_é $x\n",
        "MINE": "theirs",
        "TWO_LINES": "a\nb\n",
        "EMPTY": "",
        "WITH_NUL": "a\0b",
        "ca": "certificates",
        "kaggle.json": "{}",
        "A-B": "no variable",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "FOLDER").mkdir()
    os.mkfifo(tmp_path / "PIPE")  # which would be waited for
    (tmp_path / "LARGE").write_text("x" * 65537)
    environ = {"MINE": "mine"}
    tuning.apply(environ, str(tmp_path / "none"), folder=str(tmp_path))
    assert environ == {
        "MINE": "mine",
        "HF_TOKEN": "hf_é $x",
        "TWO_LINES": "a\nb",
        # kaggle looks for its file only there.
        "KAGGLE_CONFIG_DIR": str(tmp_path),
    }


def test_a_shell_gets_the_very_values_and_runs_none_of_them(tmp_path: Path) -> None:
    value = "it's $HOME `touch no` $(touch no) a=b"
    (tmp_path / "tuning.env").write_text(f"STRANGE={value}\nPATH=/taken\n")
    script = SOURCE.read_text().replace("/opt/container/tuning.env", str(tmp_path / "tuning.env"))
    (tmp_path / "container_tuning.py").write_text(script)
    line = f'eval "$({sys.executable} -IS container_tuning.py)"; printf %s "$STRANGE|$PATH"'
    result = subprocess.run(
        ["sh", "-c", line],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == f"{value}|{os.environ['PATH']}"
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("bench.py", "torch_on_gpus.py", "verify.py", "image/container_tuning.py"),
        *("image/installed_conda.py", "image/installed_pip.py", "image/update_env_file.py"),
    ],
)
def test_a_program_of_the_image_runs_on_python_3_8_without_packages(name: str) -> None:
    text = (DOCKER / name).read_text("utf-8")
    own = [DOCKER / "torch_on_gpus.py", DOCKER / "image/update_env_file.py"]
    tree = ast.parse(text, feature_version=(3, 8))
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (node.module or "").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert imported <= {*sys.stdlib_module_names, "torch", *(path.stem for path in own)}


def test_what_every_python_runs_imports_nothing_and_has_annotations_that_3_8_can_read() -> None:
    tree = ast.parse(SOURCE.read_text("utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    # collections.abc is for the type checker only.
    assert {ast.unparse(node).split()[1] for node in imports} == {"os", "collections.abc"}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            given = [node.returns, *(argument.annotation for argument in node.args.args)]
            assert all(isinstance(each, (ast.Name, ast.Constant)) for each in given), node.name


COMMON = {"OMP_THREADS_BY_QUOTA", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "LD_PRELOAD"}
CUDA = {"CUDA_DEVICE_ORDER", "CUDA_MODULE_LOADING"}
TF32 = "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"


@pytest.mark.parametrize(
    ("accelerator", "torch", "keys"),
    [
        ("cpu", "2.13.0", COMMON),
        ("cpu", "none", COMMON),
        ("cuda", "none", COMMON | CUDA),
        ("cuda", "2.13.0", COMMON | CUDA | {TF32, "PYTORCH_ALLOC_CONF"}),
        ("cuda", "2.9.1", COMMON | CUDA | {TF32, "PYTORCH_CUDA_ALLOC_CONF"}),
    ],
)
def test_a_project_sees_the_settings_that_concern_it_each_with_its_reason(
    generate: Generate, tmp_path: Path, accelerator: str, torch: str, keys: set[str]
) -> None:
    project = generate(tmp_path / "p", accelerator=accelerator, torch_version=torch)
    path = project / "docker-amd64/tuning.env"
    text = path.read_text()
    assert set(re.findall(r"(?m)^(?:# )?([A-Z][A-Z0-9_]+)=", text)) == keys
    on = {"OMP_THREADS_BY_QUOTA"} | ({"CUDA_DEVICE_ORDER"} if accelerator == "cuda" else set())
    assert tuning.settings(str(path)).keys() == on
    for part in text.split("\n\n")[1:]:
        state = "On" if re.search(r"(?m)^[A-Z]", part) else "Off"
        assert part.startswith(f"# {state}"), part


@pytest.mark.parametrize(
    ("accelerator", "torch", "programs"),
    [
        ("cpu", "none", set()),
        ("cuda", "none", set()),
        ("cpu", "2.13.0", {"bench.py", "verify.py"}),
        ("cuda", "2.13.0", {"bench.py", "torch_on_gpus.py", "verify.py"}),
    ],
)
def test_the_programs_of_an_image_are_there_and_enter_its_build(
    generate: Generate, tmp_path: Path, accelerator: str, torch: str, programs: set[str]
) -> None:
    folder = generate(tmp_path / "p", accelerator=accelerator, torch_version=torch)
    docker = folder / "docker-amd64"
    assert {path.name for path in docker.glob("*.py")} == programs
    listed = (docker / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in listed if line.endswith(".py")} == programs
    assert "!tuning.env" in listed
    copied = re.findall(
        r"(?m)^COPY .*tuning\.env (.*)dependencies/pre-run", (docker / "Dockerfile").read_text()
    )
    copied = [{name for name in names.split() if "/" not in name} for names in copied]
    assert copied == [programs, programs]
