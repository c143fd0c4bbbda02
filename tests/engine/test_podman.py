"""Rootless Podman: the verbs of a project, whose files belong to the caller, and GPUs by CDI."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.images import full_name
from host.podman_build import with_files, with_named_contents
from tests.engine.conftest import SMALL_TORCH, MakeProject
from tests.engine.test_daily_work import wait_for
from tests.engine.test_doctor import doctor
from tests.support import podman
from tests.support.index import PackageIndex
from tests.support.project import Person, Project

BASE = "debian:trixie-slim"  # one of the tests' engine


@pytest.fixture(scope="module")
def user(open_folder: Path, jane: Person) -> Iterator[podman.Podman]:
    """Somebody whose machine has Podman, Docker Compose and two GPUs, and no Docker."""
    machine = podman.start(open_folder, jane)
    try:
        yield machine
    finally:
        podman.stop(machine)


@pytest.fixture(scope="module")
def built(project: MakeProject, user: podman.Podman, small_torch: PackageIndex) -> Project:
    """A project for GPUs on NVIDIA's image, both images built by Podman; its torch is for a CPU."""
    new = project(
        "on-podman",
        owner=user,
        light=True,
        packages=small_torch,
        torch_version=SMALL_TORCH,
        service="train",
        accelerator="cuda",
        cuda_version="13.0",
        linux_distro="ubuntu-24.04",
    )
    described = json.loads((new.docker / "host/project.json").read_text())
    podman.load(user, *described["base_images"].values())
    new.build()
    return new


def mine(project: Project, path: str) -> bool:
    """Whether a file of the project's folder belongs to the caller."""
    status = (project.folder / path).stat()
    return (status.st_uid, status.st_gid) == (project.owner.uid, project.owner.gid)


def test_the_machine_chooses_podman_and_id_0(built: Project) -> None:
    env = (built.docker / ".env").read_text().splitlines()
    assert {"CONTAINER_ENGINE=podman", "USRID=0", "GRPID=0"} <= set(env)
    assert "Podman 5" in built.ok("env", "--show")
    assert mine(built, "docker-amd64/dependencies/uv.lock")


def test_run_gives_the_gpus_of_cdi_and_leaves_files_of_the_caller(built: Project) -> None:
    removed = "ls -d /usr/local/cuda*/compat 2>&-"  # of the base image, by a stage that .env names
    script = f"id -u; touch /workspace/by-run /outputs/by-run; {removed}; nvidia-smi"
    said = built.sh("run", "sh", "-c", script)
    assert (said.stdout, said.returncode) == ("0\nGPU 0\nGPU 1\n", 0), said.stderr
    assert mine(built, "by-run")
    assert mine(built, "outputs/by-run")
    assert built.sh("run", "sh", "-c", "exit 7").returncode == 7
    assert built.sh("run", "touch", "/workspace/docker-amd64/host/x").returncode != 0


def test_the_dev_container_lives_as_with_docker(built: Project) -> None:
    built.ok("up")
    assert built.ok("exec", "nvidia-smi") == "GPU 0\nGPU 1\n"
    built.ok("exec", "touch", "/workspace/by-exec")
    assert mine(built, "by-exec")
    assert built.sh("shell", stdin="python -V\n").returncode == 0
    assert built.ok("root", "id", "-u") == "0\n"
    built.ok("logs")
    listed = built.ok("ls")
    assert all(one in listed for one in ("train-dev", "train-runtime", f"{built.engine_name}-home"))
    built.ok("stop")
    assert built.sh("exec", "true").returncode != 0
    built.ok("start")
    assert built.ok("exec", "python", "-c", "import sys; print(sys.prefix)") == "/opt/venv\n"


def test_verify_says_what_is_and_what_is_not_as_it_was_asked(built: Project) -> None:
    said = built.sh("verify", "--json")
    assert said.returncode == 1
    report = json.loads(said.stdout)
    assert report.keys() == {"runtime", "dev"}
    for image in report.values():
        checks = {check["name"]: check["status"] for check in image["checks"]}
        assert checks["PyTorch version"] == "ok"
        assert checks["CUDA build"] == "fails"


def test_the_doctor_finds_what_is_known_of_this_machine_and_nothing_else(built: Project) -> None:
    # The project is of CUDA 13.0, the driver of 12.4, and one GPU is a V100; and this machine is a
    # container, which has no control groups of its own.
    assert doctor(built).keys() == {"gpu-driver-too-old", "gpu-too-old", "rootless-limits"}


def test_a_job_runs_and_is_listed(built: Project) -> None:
    job = built.ok("run", "--detach", "--name", "job", "sh", "-c", "echo works; sleep 600").strip()
    wait_for(lambda: "works" in built.ok("logs", job))
    assert job in built.ok("ls")
    built.ok("stop", job)


def test_packages_are_added_and_locked(built: Project) -> None:
    built.ok("add", "idna")
    assert "idna" in (built.docker / "dependencies/uv.lock").read_text()
    assert mine(built, "docker-amd64/dependencies/uv.lock")
    built.ok("lock", "--check")


HOOK = """\
FROM scratch AS hook
COPY hoo[k].sh /
FROM {base}
RUN --mount=type=bind,from=hook,target=/mnt/hook ls /mnt/hook
"""


def test_the_layer_of_a_deleted_or_former_script_is_not_used(
    built: Project, open_folder: Path
) -> None:
    folder, owner = open_folder / "podman-hook", built.owner
    folder.mkdir()
    script, file = folder / "hook.sh", folder / "Dockerfile"
    base = json.loads((built.docker / "host/project.json").read_text())["base_images"]["BASE_IMAGE"]

    def build(content: str) -> str:
        script.write_text(content)
        if not content:
            script.unlink()
        text = with_named_contents(HOOK.format(base=full_name(base)), folder, {})
        file.write_text(with_files(text, folder))
        built_ = owner.run("podman", "build", "--quiet", "--format", "docker", ".", cwd=folder)
        assert built_.returncode == 0, built_.stderr
        return built_.stdout

    images = [build(content) for content in ("one", "two", "one", "")]
    assert images[0] == images[2]
    assert len(set(images)) == 3


MOUNTS = """\
FROM {base}
RUN --mount=type=bind,source=image/one.sh,target=/mnt/one.sh cat /mnt/one.sh >/file
RUN --mount=type=bind,source=image,target=/mnt/image cat /mnt/image/one.sh >/folder
"""


def test_what_mounts_a_changed_file_of_the_context_runs_again(
    user: podman.Podman, open_folder: Path
) -> None:
    # Else, after an update of docker-amd64/image/, images would have what its former scripts made.
    folder = open_folder / "podman-mounts"
    script = folder / "image/one.sh"
    script.parent.mkdir(parents=True)
    podman.load(user, BASE)
    (folder / "Dockerfile").write_text(MOUNTS.format(base=full_name(BASE)))
    build = ("podman", "build", "--format", "docker", "--tag", "mounts", ".")
    for content in ("one", "two", "one"):
        script.write_text(content)
        os.chown(script, user.uid, user.gid)  # Podman mounts no file that only others may write
        os.utime(script, (0, 0))  # of the same size and time, too
        built_ = user.run(*build, cwd=folder)
        assert built_.returncode == 0, built_.stderr
        read = ("podman", "run", "--rm", "--network", "none", "mounts", "cat", "/file", "/folder")
        assert user.run(*read, cwd=folder).stdout == content * 2
    again = user.run(*build, cwd=folder)
    assert again.stdout.count("Using cache") == 2  # what did not change is not run
    user.run("podman", "rmi", "--force", "mounts", cwd=folder)


def test_down_and_clean_leave_nothing(built: Project) -> None:
    built.ok("down", "-y")
    built.ok("clean", "--all", "-y")
    names = ("podman", "ps", "--all", "--quiet"), ("podman", "volume", "ls", "--quiet")
    for words in names:
        assert built.owner.run(*words, cwd=built.folder).stdout == ""
    images = built.owner.run("podman", "images", cwd=built.folder).stdout
    assert f"{built.engine_name}" not in images
