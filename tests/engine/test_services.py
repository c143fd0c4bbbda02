"""Every service and accelerator: what outside checkers say, and that it builds, starts and runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Generate
from tests.engine.conftest import SMALL_TORCH, MakeProject
from tests.support.engine import need
from tests.support.index import PackageIndex
from tests.support.process import run

# The answers of each service, for base images that are here (stand-ins, where no registry is).
CUDA = {"accelerator": "cuda", "cuda_version": "13.0", "linux_distro": "ubuntu-24.04"}
SERVICES: dict[str, dict[str, Any]] = {
    "simple-cpu": {"service": "simple"},
    "simple-cuda": {"service": "simple", **CUDA, "torch_version": "2.13.0"},
    "train-cpu": {"service": "train", "accelerator": "cpu", "torch_version": "2.13.0"},
    "train-cuda": {"service": "train", **CUDA, "torch_version": "2.13.0"},
    "train-source-cpu": {
        "service": "train",
        "accelerator": "cpu",
        "torch_version": "2.13.0",
        "pytorch_build": "source",
        "blas": "openblas",
    },
    "train-source-cuda": {
        "service": "train",
        **CUDA,
        "torch_version": "2.13.0",
        "pytorch_build": "source",
        "magma": True,
    },
    "devel-cpu": {"service": "devel", "accelerator": "cpu"},
    "devel-cuda": {"service": "devel", **CUDA, "torch_version": "2.13.0"},
    "ngc": {"service": "ngc", "accelerator": "cuda", "ngc_release": "26.08"},
    "hub": {
        "service": "hub",
        "accelerator": "cuda",
        "torch_version": "2.13.0",
        "cuda_version": "13.0",
    },
}
DEFAULTS = {"accelerator": "cpu", "torch_version": "none", "python_version": "3.11"}


def answers(name: str) -> dict[str, Any]:
    """The answers of a service for `generate`; what the service does not ask is left out."""
    given = DEFAULTS | SERVICES[name]
    if given["service"] in ("ngc", "hub"):
        del given["python_version"]
    if given["service"] == "ngc":
        del given["torch_version"]
    return given


@pytest.fixture(scope="module")
def rendered(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with docker-amd64 of each service under its name, with its example as .env."""
    folder = tmp_path_factory.mktemp("services")
    for name in SERVICES:
        docker = generate(folder / name, **answers(name)) / "docker-amd64"
        shutil.copy(docker / ".env.example", docker / ".env")
    return folder


@pytest.mark.parametrize("name", SERVICES)
def test_the_builder_checks_find_nothing(rendered: Path, name: str) -> None:
    checked = run(
        *("docker", "buildx", "build", "--check", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK="),
        ".",
        cwd=rendered / name / "docker-amd64",
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "no warnings found" in checked.stdout + checked.stderr


def test_trivy_finds_nothing_that_is_high(rendered: Path) -> None:
    if not shutil.which("trivy"):
        need("there is no trivy; .ci/engine.sh install brings it")
    found = run(
        *("trivy", "config", "--quiet", "--skip-check-update", "--severity", "HIGH,CRITICAL"),
        *("--format", "json", "."),
        cwd=rendered,
    )
    assert found.returncode == 0, found.stderr
    results = json.loads(found.stdout)["Results"]
    scanned = {result["Target"] for result in results}
    assert {f"{name}/docker-amd64/Dockerfile" for name in SERVICES} <= scanned
    problems = [
        f"{result['Target']} {one['ID']} {one['Message']}"
        for result in results
        for one in result.get("Misconfigurations", [])
    ]
    assert problems == []


# PyTorch compiled, on the CPU too, is in test_source_build.py; devel in test_devel.py; ngc and hub
# in test_base_image.py; simple on the CPU everywhere.
def test_pytorchs_wheel_on_debian_is_built_starts_and_runs(
    project: MakeProject, torch_version: str
) -> None:
    # With the packages of all others, where their layers serve.
    given = answers("train-cpu") | {"torch_version": torch_version, "jit": False}
    new = project("train-cpu", **given | {"linux_distro": "debian-12"})
    new.build()
    assert f"torch    {torch_version}" in new.ok("run", "python", "-m", "train_cpu")
    new.ok("up")
    assert "passed" in new.ok("exec", "pytest", "-q")
    new.ok("down")


@pytest.mark.parametrize(
    ("name", "distro"), [("simple-cuda", "debian-12"), ("train-cuda", "ubuntu-24.04")]
)
def test_a_project_for_cuda_is_built_starts_and_runs(
    project: MakeProject, small_torch: PackageIndex, name: str, distro: str
) -> None:
    given = answers(name) | {"jit": False, "linux_distro": distro}
    new = project(name, light=True, packages=small_torch, **given)
    new.build()
    seen = new.ok("run", "python", "-m", name.replace("-", "_"))
    assert f"torch    {SMALL_TORCH}" in seen
    new.ok("up")
    assert "passed" in new.ok("exec", "pytest", "-q")
    shell = new.ok("exec", "bash", "-lc", "command -v python && echo $PATH").split()
    assert shell[0] == "/opt/venv/bin/python"
    assert ("/usr/local/cuda/bin" in shell[1].split(":")) == (name == "train-cuda")
    new.ok("down")
