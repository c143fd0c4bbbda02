"""PyTorch compiled from its sources: fetched, remembered, collected, installed, exported.

PyTorch itself would take hours. What is compiled is the stand-in of tests/support/torch_source.py.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.engine.conftest import MakeProject
from tests.support.build_log import nothing_built, stages_built
from tests.support.engine import is_stand_in, need
from tests.support.image_rights import check
from tests.support.index import PackageIndex, bridge_address
from tests.support.process import run
from tests.support.project import Project
from tests.support.torch_source import (
    SUBMODULE,
    GitServer,
    TorchSources,
    make_magma,
    make_torch_sources,
    serving_git,
)

TORCH, TORCHVISION = "2.15.0", "0.29.2"
WHEELS = [
    f"{name}-cp311-cp311-linux_x86_64.whl"
    for name in (f"torch-{TORCH}", f"torchvision-{TORCHVISION}")
]
ANSWERS: dict[str, Any] = {
    "service": "train",
    "pytorch_build": "source",
    "torch_version": TORCH,
    "blas": "openblas",
    "jit": False,
}
ASK = (
    "import torch, torchvision; print(torch.compute(), torch.__version__, torchvision.__version__)"
)
ANSWER = f"{{}} {TORCH} {TORCHVISION}\n"
SCRIPT = ROOT / "template/docker-amd64/image/torch-build.sh"
CUDA = "nvidia/cuda:13.0.3-cudnn-devel-ubuntu24.04"


@pytest.fixture(scope="module")
def sources(open_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TorchSources:
    """The stand-in's repositories, readable for everybody."""
    folder = open_folder / "torch sources"
    folder.mkdir()
    return make_torch_sources(folder, tmp_path_factory.mktemp("work"), TORCH, TORCHVISION)


@pytest.fixture(scope="module")
def source_project(project: MakeProject, sources: TorchSources) -> Iterator[tuple[Project, str]]:
    """A project for the CPU whose stand-in was compiled from a folder of this machine; the log.

    What it is compiled in is an image of one's own, which ends with another user than root.
    """
    own = "hearth-tests:own-build"
    new = project(
        light=True,
        accelerator="cpu",
        env={
            "LOCAL_SOURCES_DIR": f"'{sources.folder}'",
            "GIT_MIRROR": "/mnt/sources",
            "BUILD_IMAGE": own,
        },
        **ANSWERS,
    )
    default = re.findall(r"(?m)^ARG BUILD_IMAGE=(.*)", (new.docker / "Dockerfile").read_text())
    text = f"FROM {default[0]}\nUSER nobody\n"
    made = run("docker", "build", "--tag", own, "-", input=text)
    assert made.returncode == 0, made.stderr
    yield new, new.build()
    run("docker", "image", "rm", own)


@pytest.fixture
def git_server(sources: TorchSources) -> Iterator[GitServer]:
    """A git server with the same repositories."""
    with serving_git(sources.folder, bridge_address()) as server:
        yield server


def ccache_hits(log: str) -> list[tuple[int, int]]:
    """Hits and calls that could be hits, of each compiled source in its order."""
    found = re.findall(r"Cacheable calls:.*\n.*Hits: +(\d+) */ *(\d+)", log)
    return [(int(hits), int(calls)) for hits, calls in found]


# --- what is built -------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["runtime", "dev"])
def test_the_compiled_stand_in_is_imported_in_both_images(
    source_project: tuple[Project, str], service: str
) -> None:
    new, _ = source_project
    container = ("docker", "run", "--rm", new.image(service), "python", "-c")
    result = run(*container, ASK)
    assert result.stdout == ANSWER.format("42.0"), result.stderr
    built = run(*container, "from torch.version import built; print(built['settings'])").stdout
    assert "'BLAS': 'OpenBLAS'" in built
    assert "'USE_CUDA': '0'" in built
    assert re.search(r"'MAX_JOBS': '[1-9]\d*'", built)
    # Of the caches, its setup.py sees the project's own, and none that projects share.
    caches = run(*container, "from torch.version import built; print(built['caches'])").stdout
    assert caches == "['/var/cache/ccache']\n"


def test_freeze_knows_that_the_compiled_stand_in_is_the_images_own(
    source_project: tuple[Project, str],
) -> None:
    project, _ = source_project
    project.ok("up")
    nothing = "Nothing is installed in dev that the files do not list.\n"
    assert project.sh("freeze").stderr == nothing


def test_runtime_gains_no_tool_of_the_source_build(source_project: tuple[Project, str]) -> None:
    new, _ = source_project
    tools = "cc gcc g++ c++ cc1plus make ld ccache cmake ninja git curl uv nvcc"
    command = f"for tool in {tools}; do command -v $tool; done; ls -d /opt/*; ls -d /mnt/*"
    result = run("docker", "run", "--rm", new.image("runtime"), "sh", "-c", command)
    assert result.stdout.split() == ["/opt/container", "/opt/python", "/opt/venv"]


def test_the_wheels_image_of_the_stand_in_has_two_wheels_and_wheels_takes_them_out(
    source_project: tuple[Project, str],
) -> None:
    new, _ = source_project
    printed = new.ok("wheels").split()
    folder = new.docker / "wheels"
    assert printed == [str(folder / name) for name in WHEELS]
    assert sorted(path.name for path in folder.iterdir()) == WHEELS
    assert {path.stat().st_uid for path in folder.iterdir()} == {new.owner.uid}
    elsewhere = new.owner.home / "a folder"
    result = new.sh("wheels", "a folder", cwd=new.owner.home)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in elsewhere.iterdir()) == WHEELS
    assert (elsewhere / WHEELS[0]).read_bytes() == (folder / WHEELS[0]).read_bytes()


def test_wheels_says_in_a_project_with_published_wheels_that_nothing_is_compiled(
    project: MakeProject,
) -> None:
    result = project("published").sh("wheels")
    assert result.returncode == 1
    assert 'This project has no verb "wheels"' in result.stderr


# --- what is done again --------------------------------------------------------------------------


def test_after_one_changed_file_of_the_stand_in_ccache_has_all_others(
    source_project: tuple[Project, str], sources: TorchSources
) -> None:
    new, _ = source_project
    assert nothing_built(*[new.build] * 2)
    # Never compiled before: the cache is as old as the engine.
    sum_cpp = f"double sum(double a, double b) {{ return a + b + 1 + 0 * {time.time_ns()}.0; }}\n"
    files = {"csrc/sum.cpp": sum_cpp}
    commit = sources.commit("pytorch/pytorch", files, f"v{TORCH}")
    moved = new.sh("build", "runtime")
    assert moved.returncode == 1
    sentence, command = moved.stderr.strip().splitlines()[-2:]
    assert f"the tag v{TORCH} of https://github.com/pytorch/pytorch was moved: it is" in sentence
    assert command.endswith("template.sh pin, if the new one is right")
    new.ok("pin")
    log = new.build("runtime")
    assert f"pytorch is v{TORCH}, commit {commit}" in log
    (torch_hits, torch_calls), (vision_hits, vision_calls) = ccache_hits(log)
    assert (torch_hits, vision_hits) == (torch_calls - 1, vision_calls)
    assert torch_calls > 3
    assert new.ok("run", "python", "-c", ASK) == ANSWER.format("43.0")


def test_packages_of_the_project_do_not_rebuild_the_stand_in_nor_bring_another_torch(
    source_project: tuple[Project, str], index: PackageIndex
) -> None:
    new, _ = source_project
    before = new.ok("run", "python", "-c", ASK)
    index.add("wants-torch", requires=["torch>=2", "torchvision"])
    new.ok("add", "--image", "wants-torch")
    with (new.docker / "dependencies/apt-build.txt").open("a") as file:
        file.write("file\n")
    built = stages_built(new.build("runtime"))
    assert {"builder", "deps"} <= built
    assert not built & {"torch-build", "torch-wheels"}
    assert new.ok("run", "python", "-c", f"import wants_torch; {ASK}") == before


def test_wheels_of_somebody_else_take_the_place_of_compiling(
    source_project: tuple[Project, str], project: MakeProject
) -> None:
    new, _ = source_project
    new.ok("wheels")
    other = project(
        "other", light=True, accelerator="cpu", env={"GIT_MIRROR": "/nowhere"}, **ANSWERS
    )
    new.owner.run("cp", "-r", new.docker / "wheels", other.docker / "wheels", cwd=other.docker)
    contexts = "{build: {additional_contexts: {torch-wheels: ./wheels}}}"
    other.write(
        "docker-amd64/compose.override.yaml",
        f"services:\n  runtime: {contexts}\n  dev: {contexts}\n  tools: {contexts}\n",
    )
    other.ok("over")
    assert "torch-build" not in stages_built(other.build("runtime"))
    assert other.ok("run", "python", "-c", ASK) == new.ok("run", "python", "-c", ASK)


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_lost_connection_costs_only_what_was_in_flight(
    source_project: tuple[Project, str], sources: TorchSources, git_server: GitServer
) -> None:
    new, _ = source_project
    files = {"tiny.cpp": '#include "tiny.h"\ndouble tiny() { return 50; }\n'}
    submodule = sources.commit(SUBMODULE, files, "v2")
    sources.point_submodule_to(submodule, f"v{TORCH}")
    new.ok("pin")
    git_server.drops = {"pytorch/pytorch": 1, SUBMODULE: 2}
    log = new.build("runtime", env={"GIT_MIRROR": git_server.url})
    assert log.count("pytorch did not come through: again in") >= 2
    # Each was asked for until it came through, and what had come through was not asked for again.
    torch, tiny = (git_server.packs.count(name) for name in ("pytorch/pytorch", SUBMODULE))
    assert (torch, tiny) == (2, 3)
    assert new.ok("run", "python", "-c", "import torch; print(torch.compute())") in (
        "62.0\n",
        "63.0\n",
    )


def test_a_damaged_cache_of_sources_is_thrown_away(
    source_project: tuple[Project, str], sources: TorchSources, tmp_path: Path
) -> None:
    new, _ = source_project
    # The engine may have dropped the cache meanwhile: so one that is damaged is made, if need be.
    (tmp_path / "Dockerfile").write_text(
        f"FROM {new.image('dev')}\nUSER 0\n"
        "RUN --mount=type=cache,id=torch-sources,target=/mnt/cache,sharing=locked "
        "mkdir -p /mnt/cache/pytorch && cd /mnt/cache/pytorch && git init --quiet . && cd .git && "
        f"mkdir -p objects/ab && touch shallow.lock objects/ab/{'c' * 38} && "
        "find . -path '*/objects/*' -type f -exec sh -c 'echo broken >$0' {} ';'\n"
    )
    assert run("docker", "build", "--no-cache", ".", cwd=tmp_path).returncode == 0
    commit = sources.commit("pytorch/pytorch", {"README": "one more state\n"}, f"v{TORCH}")
    new.ok("pin")
    log = new.build("runtime")
    assert "damaged" in log
    assert f"commit {commit}" in log


@pytest.mark.parametrize(
    ("env", "sentence", "command"),
    [
        ({"PYTORCH_REF": "v9.9.9"}, "has no tag, branch or commit v9.9.9", "git ls-remote --tags"),
        (
            {"TORCHVISION_REPO": "/mnt/sources/gone"},
            "is not a repository",
            "git ls-remote /mnt/sources/gone",
        ),
        ({"MAX_JOBS": "many"}, 'MAX_JOBS in .env must be a number from 1 on, not "many"', ""),
    ],
)
def test_a_wrong_source_is_one_sentence_and_one_command(
    source_project: tuple[Project, str], env: dict[str, str], sentence: str, command: str
) -> None:
    new, _ = source_project
    result = new.sh("build", "runtime", env=env)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-2:]
    assert sentence in "\n".join(last)
    assert command in last[-1]


@pytest.mark.parametrize(
    ("limits", "jobs"),
    [("", None), ("--cpus 1", "1"), ("--memory 5g", "1"), ("--env MAX_JOBS=7", "7")],
)
def test_as_many_compilers_run_as_cores_and_memory_allow(limits: str, jobs: str | None) -> None:
    container = ("docker", "run", "--rm", "--volume", f"{SCRIPT}:/torch-build.sh:ro")
    image = ("debian:bookworm-slim", "bash", "/torch-build.sh", "jobs")
    printed = run(*container, *shlex.split(limits), *image).stdout.strip()
    cores = int(run("docker", "run", "--rm", "debian:bookworm-slim", "nproc").stdout)
    assert printed == jobs if jobs else 1 <= int(printed) <= cores


@pytest.mark.parametrize("service", ["runtime", "dev"])
def test_neither_image_gives_anything_away(
    source_project: tuple[Project, str], service: str
) -> None:
    new, _ = source_project
    check(new.image(service), "debian:bookworm-slim")


# --- with CUDA -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cuda_project(
    project: MakeProject, sources: TorchSources, own_index: PackageIndex
) -> tuple[Project, str]:
    """A project on stand-ins for NVIDIA's images, not yet built, and the checksum of its MAGMA."""
    if not is_stand_in(CUDA):
        need(f"{CUDA} is no stand-in, and tests pull no gigabytes")
    own_index.add("triton", "3.9.0")
    archive, digest = make_magma(sources.folder)
    new = project(
        "with-cuda",
        packages=own_index,
        light=True,
        accelerator="cuda",
        cuda_version="13.0",
        linux_distro="ubuntu-24.04",
        cca="8.6 9.0a 9.0+PTX",
        magma=True,
        env={
            "LOCAL_SOURCES_DIR": f"'{sources.folder}'",
            "GIT_MIRROR": "/mnt/sources",
            "MAGMA_URL": f"/mnt/sources/{archive.name}",
            "MAGMA_SHA256": digest,
        },
        **ANSWERS,
    )
    new.use_debians_names()
    return new, digest


def test_an_archive_with_another_checksum_is_not_compiled(
    cuda_project: tuple[Project, str],
) -> None:
    new, digest = cuda_project
    new.set_env(MAGMA_SHA256="0" * 64)
    result = new.sh("build", "runtime")
    new.set_env(MAGMA_SHA256=digest)
    assert result.returncode == 1
    sentence, command = result.stderr.strip().splitlines()[-2:]
    assert "magma.tar.gz is not the archive that was asked for: its SHA-256 is not 00" in sentence
    assert "sha256sum" in command


def test_the_stand_in_is_compiled_for_cuda_and_the_capabilities_of_cca(
    cuda_project: tuple[Project, str],
) -> None:
    new, _ = cuda_project
    log = new.build()
    assert "magma is /mnt/sources/magma.tar.gz" in log
    assert "pytorch for compute capabilities 8.6;9.0a;9.0+PTX" in log
    code = "import torch; print(torch.version.cuda, torch.version.built['settings'])"
    for service in ("runtime", "dev"):
        container = ("docker", "run", "--rm", new.image(service), "python", "-c")
        cuda, _, settings = run(*container, code).stdout.partition(" ")
        assert cuda == "13.0"
        assert "'TORCH_CUDA_ARCH_LIST': '8.6;9.0a;9.0+PTX'" in settings
        assert "'USE_CUDNN': '1'" in settings


def test_a_capability_that_nvcc_does_not_know_stops_the_build_before_it_compiles(
    cuda_project: tuple[Project, str],
) -> None:
    result = cuda_project[0].sh("build", "runtime", env={"CCA": "7.0 8.6"})
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-2:]
    assert "nvcc of this CUDA cannot compile for 7.0 of CCA in .env" in last[0]
    assert "env --refresh CCA" in last[1]
