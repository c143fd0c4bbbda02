"""A project has only what its answers need, and what it has works without the rest."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hooks.matcher import from_probe
from host.accelerator import OVERRIDE_FILES
from host.checkout import HOST_FILES
from host.failure_rows import read_rows, table
from tests.conftest import ROOT, Generate, InGit
from tests.fakes.machine import environment
from tests.support.entrypoint import entrypoint

KINDS: dict[str, dict[str, Any]] = {
    "cpu": {"accelerator": "cpu"},
    "cuda": {"accelerator": "cuda"},
    "airflow": {"accelerator": "cpu", "extras": ["airflow"]},
    "airflow-slurm": {"accelerator": "cpu", "extras": ["airflow"], "clusters": ["slurm"]},
    "ci": {"accelerator": "cpu", "extras": ["ci"]},
    "data": {"accelerator": "cpu", "extras": ["data"]},
    "devcontainer": {"accelerator": "cpu", "extras": ["devcontainer"]},
    "kubernetes": {"accelerator": "cpu", "clusters": ["kubernetes"]},
    "runai": {"accelerator": "cpu", "clusters": ["runai"]},
    "skypilot": {"accelerator": "cpu", "clusters": ["skypilot"]},
    "slurm": {"accelerator": "cpu", "clusters": ["slurm"]},
    "ssh": {"accelerator": "cpu", "extras": ["ssh"]},
    "sudo": {"accelerator": "cpu", "extras": ["sudo"]},
    "zsh": {"accelerator": "cpu", "shell": "zsh"},
    "german": {"accelerator": "cpu", "language": "de"},
    "jupyter": {"accelerator": "cpu", "extras": ["jupyter"]},
    "tensorboard": {"accelerator": "cpu", "extras": ["tensorboard"]},
    "conda": {"accelerator": "cpu", "package_manager": "conda"},
    "conda-cuda": {"accelerator": "cuda", "package_manager": "conda"},
    "ngc": {"service": "ngc"},
    "source": {"service": "train", "torch_version": "2.15.0", "pytorch_build": "source"},
}
GPU_FILES = {
    *(
        f"host/{name}.py"
        for name in (
            *("doctor_gpu_facts", "doctor_gpu_files", "doctor_gpus"),
            *("gpu_choice", "gpu_env", "gpu_facts", "gpu_restart", "gpu_start", "gpu_trouble"),
            "gpus",
            *("leases", "load", "look_gpus", "nvidia"),
        )
    ),
    "host/known_failures/cuda.txt",
    "host/known_failures/torch-cuda.txt",
    "image/gpu_health.py",
    "image/gpu_watchdog.py",
    "torch_on_gpus.py",
}
NAMES_CONDA = {
    "host/conda_packages.py": "whose requirements are not in conda.lock",
    "host/clusters/skypilot.py": "names the environment of either",
    "host/command.py": "which verbs there are",
    "host/images.py": "builds with either",
    "host/passwords.py": "looks at the files of either",
    "host/secret_files.py": "looks at the files of either",
    "host/system_packages.py": "reads the locks of either",
    "host/project.py": "the package manager of this project",
    "image/install_project.py": "how a missing package is added",
}
# Reads the files of either package manager.
INTAKE = "image/intake/"
GPU_WORDS = re.compile("nvidia|cuda|gpu", re.IGNORECASE)
# Where a project for the CPU may have such a word, and why.
NAMES_GPUS = {
    "image/project_backend.py": "what a setup.py imports that compiles for GPUs",
    "host/accelerator.py": "asks whether this project has the files for GPUs",
    "host/description.py": "asks whether this project has the facts about GPUs",
    "host/doctor.py": "which checks there are",
    "host/env_file.py": "the keys that a host decides",
    "host/known_failures/torch.txt": "what a build of PyTorch for the CPU says",
    "host/everybody.py": "what containers of other projects have",
    "host/eject.py": "an override file that .env may name",
    "host/command.py": "which verbs there are",
    "host/measure.py": "prepares the run of bench",
    "host/room.py": "counts the GPUs of a container, which may be none",
    "host/project.py": "the accelerator of this project",
    "host/upkeep.py": "says why containers with GPUs are unhealthy",
    "host/work.py": "starts containers with GPUs",
    "bench.py": "asks whether this project has the file for GPUs",
    "verify.py": "the same, and whether PyTorch is a build for the CPU",
}


@pytest.fixture(scope="module")
def kinds(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A project of each kind: its docker-amd64."""
    folder = tmp_path_factory.mktemp("kinds")
    return {
        kind: generate(folder / kind, **answers) / "docker-amd64" for kind, answers in KINDS.items()
    }


def programs(docker: Path) -> Iterator[tuple[str, str]]:
    """Name and text of the Python files of docker-amd64, and of the table of failures."""
    for path in sorted([*docker.rglob("*.py"), *docker.glob("host/known_failures/*.txt")]):
        yield str(path.relative_to(docker)), path.read_text()


def lines_with(pattern: re.Pattern[str], docker: Path, besides: Any = ()) -> list[str]:
    """The lines of a project's programs in which something is found."""
    return [
        f"{name}: {line.strip()}"
        for name, text in programs(docker)
        for line in text.splitlines()
        if name not in besides and not name.startswith(INTAKE) and pattern.search(line)
    ]


def test_files_for_gpus_are_in_projects_for_gpus_only(kinds: dict[str, Path]) -> None:
    for kind, docker in kinds.items():
        found = {name for name, _ in programs(docker)} & GPU_FILES
        assert found == (set() if KINDS[kind].get("accelerator") == "cpu" else GPU_FILES), kind


def test_a_project_for_the_cpu_has_no_line_about_gpus(kinds: dict[str, Path]) -> None:
    assert lines_with(GPU_WORDS, kinds["cpu"], NAMES_GPUS) == []
    for name in NAMES_GPUS:
        assert GPU_WORDS.search((kinds["cpu"] / name).read_text()), f"{name} has no such word"


def test_the_entrypoint_has_no_line_about_clusters_where_none_was_chosen() -> None:
    words = r"cluster|scheduler|slurm|ranks|\bCODE_DIR|CONTAINER_HOME|VERIFY_FIRST"
    assert not re.search(words, entrypoint(), re.IGNORECASE)
    assert re.search(words, entrypoint("slurm"), re.IGNORECASE)


def test_a_project_has_no_line_about_the_other_package_manager(kinds: dict[str, Path]) -> None:
    conda = re.compile("conda|mamba", re.IGNORECASE)
    of_uv = re.compile(r"uv\.lock|dependencies/pyproject|installed_pip|project_lock")
    for kind, docker in kinds.items():
        with_conda = KINDS[kind].get("package_manager") == "conda"
        pattern = of_uv if with_conda else conda
        found = lines_with(pattern, docker, NAMES_CONDA)
        assert found == [], kind


def ids_in(text: str) -> set[str]:
    """The failures that a program names itself; it words a wrong call only."""
    ids: set[str] = set()
    for call in (one for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Call)):
        name = ast.unparse(call.func)
        if name in ("failed", "Finding"):
            words = {one.value for one in ast.walk(call.args[0]) if isinstance(one, ast.Constant)}
            assert words or name == "Finding", ast.unparse(call)  # it may hand one on
            ids |= {str(word) for word in words}
        for word in call.keywords if name.endswith("Error") else ():
            assert word.arg != "name" or ast.unparse(word.value) in ("USAGE", "failure.name")
    return ids


def test_a_project_has_the_rows_of_the_failures_that_its_programs_name(
    kinds: dict[str, Path],
) -> None:
    named: set[str] = set()
    for kind, docker in kinds.items():
        rows = {row for file in docker.glob("host/known_failures/*") for row in read_rows(file)}
        ids = {one for path in docker.glob("host/**/*.py") for one in ids_in(path.read_text())}
        assert ids <= {row.name for row in rows}, kind
        named |= ids
    # The update is in the template, and speaks from the same table.
    update = [*(ROOT / "hooks/update").glob("*.py")]
    for path in update:
        named |= ids_in(path.read_text())
    assert {row.name for row in table() if not row.says} <= named
    others = {*ROOT.glob("hooks/**/*.py")} - {*update}
    assert not [path for path in others if ids_in(path.read_text())]


def test_a_project_has_no_program_for_images_that_nothing_names(kinds: dict[str, Path]) -> None:
    for kind, folder in kinds.items():
        files = {file for file in (folder / "image").iterdir() if file.is_file()}
        users = {*files, *folder.glob("*Dockerfile"), *folder.glob("host/**/*.py")}
        texts = {file: file.read_text() for file in users}
        for file in files:
            name = re.compile(rf"\b{re.escape(file.name)}|\b(import|from) {file.stem}\b")
            named = any(name.search(text) for one, text in texts.items() if one != file)
            assert named, f"{kind}: {file.name}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_module_of_host_imports(kinds: dict[str, Path], kind: str) -> None:
    paths = [path.relative_to(kinds[kind]) for path in kinds[kind].glob("host/**/*.py")]
    names = [".".join(path.with_suffix("").parts) for path in paths]
    program = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    result = subprocess.run(
        [sys.executable, "-B", "-c", program, *names],
        cwd=kinds[kind],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert not list(kinds[kind].rglob("__pycache__"))


def host(docker: Path, env: dict[str, str], *arguments: str) -> str:
    """What `python -m host ARGUMENTS` prints."""
    command = [sys.executable, "-B", "-m", "host", *arguments]
    result = subprocess.run(
        command, cwd=docker, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_hook_and_a_project_for_the_cpu_write_the_same_env(
    generate: Generate, tmp_path: Path
) -> None:
    env = environment(tmp_path / "bin", nvml="mixed", engine="nvidia")
    docker = generate(tmp_path / "project", accelerator="cpu") / "docker-amd64"
    command = [
        sys.executable,
        str(ROOT / "hooks/post_generate.py"),
        "--no-ask",
        "--accelerator=cpu",
    ]
    shown = subprocess.run(
        command, cwd=docker.parent, env=env, capture_output=True, text=True, check=True
    ).stdout
    assert "GPU: NVIDIA GeForce RTX 4090" in shown  # the template has the files for GPUs
    by_hook = (docker / ".env").read_text()
    assert not GPU_WORDS.search(by_hook)
    (docker / ".env").unlink()
    host(docker, env, "env")
    assert (docker / ".env").read_text() == by_hook
    assert not any((docker / name).exists() for name in OVERRIDE_FILES.values())


def test_the_facts_of_a_project_for_the_cpu_have_no_gpus_and_the_matcher_reads_them(
    kinds: dict[str, Path], tmp_path: Path
) -> None:
    env = environment(tmp_path / "bin", nvml="mixed", engine="nvidia")
    facts = json.loads(host(kinds["cpu"], env, "env", "--json"))
    assert not {"gpus", "driver", "cuda", "access"} & facts.keys()
    assert from_probe(facts) is None
    more = json.loads(host(kinds["cuda"], env, "env", "--json"))
    assert facts.keys() < more.keys()
    assert len(more["gpus"]) == 2


def test_an_update_can_be_taken_back_whatever_the_accelerator_becomes() -> None:
    assert (".env", *OVERRIDE_FILES.values()) == HOST_FILES
    ignored = (ROOT / "template/docker-amd64/.gitignore.jinja").read_text().splitlines()
    assert {*HOST_FILES} <= {*ignored}


def test_an_update_deletes_the_files_that_went_unless_they_were_edited(
    template: Path,
    generate: Generate,
    releases: dict[str, str],
    in_git: InGit,
    tmp_path: Path,
) -> None:
    del releases  # it makes the tags
    folder = generate(tmp_path / "project", version="v0.5.2", accelerator="cpu")
    edited = folder / "docker-amd64/host/gpus.py"
    edited.write_text(edited.read_text() + "# mine\n")
    in_git(folder)
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "copier",
            "update",
            "--trust",
            "--defaults",
            "--vcs-ref",
            "v999.0.0",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    docker = folder / "docker-amd64"
    assert {name for name, _ in programs(docker)} & GPU_FILES == {"host/gpus.py"}
    assert "The template has removed docker-amd64/host/gpus.py" in result.stdout + result.stderr
    assert not (docker / "image/update_env_file.py.rej").exists()
    # The kept file is without those that it imports; the program does not need it.
    assert host(docker, dict(os.environ), "env", "--json")
    del template
