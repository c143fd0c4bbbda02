"""Service devel: the example in CUDA and C++ builds, is tested, and is compiled for CCA."""

from __future__ import annotations

import re

import pytest

from tests.engine.conftest import MakeProject
from tests.support.build_log import stages_built
from tests.support.image_rights import SETUID_OF_DEV, check
from tests.support.project import Project

CCA = "8.6 9.0a 12.0+PTX"


@pytest.fixture(scope="module")
def cuda(project: MakeProject) -> Project:
    """A running devel project for GPUs that are not here."""
    new = project(
        service="devel",
        accelerator="cuda",
        cuda_version="13.0",
        linux_distro="ubuntu-24.04",
        cca=CCA,
    )
    new.build()
    new.ok("up")
    return new


@pytest.mark.parametrize("service", ["runtime", "dev"])
def test_neither_image_gives_anything_away(cuda: Project, service: str) -> None:
    known = SETUID_OF_DEV if service == "dev" else set()
    check(cuda.image(service), "nvidia/cuda:13.0.3-cudnn-devel-ubuntu24.04", known)


def hits(project: Project) -> int:
    """How many compilations ccache has answered from its memory."""
    statistics = project.ok("exec", "ccache", "--print-stats")
    return sum(map(int, re.findall(r"(?m)^(?:direct|preprocessed)_cache_hit\s+(\d+)$", statistics)))


def test_the_example_is_built_by_the_real_nvcc_and_tested(cuda: Project) -> None:
    said = cuda.ok("exec", "pytest", "-q", "-rs", "tests")
    # What needs a GPU says so; everything else passes: the library is built, loads and answers.
    assert "2 passed, 1 skipped" in said, said
    assert "no GPU here: " in said


def test_its_machine_code_is_that_of_cca(cuda: Project) -> None:
    cuda.ok("exec", "bash", "-c", "cmake -S csrc -B build && cmake --build build")
    listed = cuda.ok("exec", "cuobjdump", "--list-elf", "--list-ptx", "build/libsaxpy.so")
    assert set(re.findall(r"\.(sm_\w+)\.cubin", listed)) == {"sm_86", "sm_90a", "sm_120"}
    assert set(re.findall(r"\.(sm_\w+)\.ptx", listed)) == {"sm_120"}


def test_what_was_compiled_is_remembered_when_the_container_is_gone(cuda: Project) -> None:
    build = "cmake -S csrc -B build && cmake --build build"
    cuda.ok("exec", "bash", "-c", f"rm -rf build && {build}")
    cuda.ok("down")
    cuda.ok("up")
    before = hits(cuda)
    cuda.ok("exec", "bash", "-c", f"rm -rf build && {build}")
    assert hits(cuda) > before


def test_a_login_shell_finds_the_compiler_of_the_base_image(cuda: Project) -> None:
    assert "release 13.0" in cuda.ok("exec", "bash", "-lc", "nvcc --version")
    assert cuda.ok("exec", "bash", "-lc", "command -v python").strip() == "/opt/venv/bin/python"


def test_without_a_gpu_the_example_is_plain_cpp_and_all_of_it_is_tested(
    project: MakeProject,
) -> None:
    new = project("cpp", service="devel", accelerator="cpu")
    new.build()
    new.ok("up")
    said = new.ok("exec", "pytest", "-q", "tests")
    assert "3 passed" in said, said
    assert "python" in new.ok("run", "python", "-m", "cpp")


# What a loader with NVIDIA's toolkit would find, and what the image demands at its start.
LIBCUDA = (
    "ls /usr/local/cuda*/compat 2>&-; ldconfig -p | grep -c libcuda.so; echo $NVIDIA_REQUIRE_CUDA"
)


def of_libcuda(project: Project) -> list[str]:
    """The files of the folder cuda-compat, libcuda in the loader's cache, and the start check."""
    run = ("run", "bash", "--norc", "-c", LIBCUDA)
    return project.ok(*run).strip().splitlines()


def test_the_libcuda_of_the_base_image_is_removed_or_kept_and_no_package_installed_anew(
    cuda: Project,
) -> None:
    assert of_libcuda(cuda) == ["0", "cuda>=13.0"]
    try:
        cuda.set_env(CUDA_COMPAT="keep")
        log = cuda.build("runtime")
        *kept, cached, demands = of_libcuda(cuda)
    finally:
        cuda.set_env(CUDA_COMPAT="remove")
    assert "libcuda.so.580.95.05" in kept
    assert cached == "0"
    assert demands.startswith("cuda>=13.0 brand=")
    assert {"base"} <= stages_built(log) <= {"base", "publish", "runtime"}
