"""Conda's way, built and used, with a stand-in for micromamba and a channel of real packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine.conftest import MakeProject, conda_cache
from tests.support.build_log import stages_built
from tests.support.conda_channel import CondaChannels, python_module
from tests.support.image_rights import check
from tests.support.index import PackageIndex
from tests.support.process import run
from tests.support.project import Project

DEPENDENCIES = "docker-amd64/dependencies"
VERSION = "import importlib.metadata as m; print(m.version('{}'))"
MIB = 1024**2


@pytest.fixture(scope="module")
def small(project: MakeProject, conda_channels: CondaChannels) -> Project:
    """A project without PyTorch, both images built; each test brings packages of its own."""
    env = {"MAMBA_CHANNEL_ALIAS": conda_channels.url}
    new = project("small", light=True, package_manager="conda", env=env)
    new.build()
    return new


def text_of(project: Project, name: str) -> str:
    return (project.folder / DEPENDENCIES / name).read_text()


def locked(project: Project) -> dict[str, str]:
    """Package to version, of conda.lock."""
    return dict(
        re.findall(r"/([^/\s]+)-([^-/\s]+)-[^-/\s]+\.conda#", text_of(project, "conda.lock"))
    )


def failure(project: Project, *arguments: str) -> list[str]:
    """What `template.sh ARGUMENTS` says last when it fails."""
    result = project.sh(*arguments)
    assert result.returncode != 0
    return [line for line in result.stderr.splitlines() if line.strip()]


def with_cache(cache: str, options: str, script: str) -> tuple[tuple[str, ...], str]:
    """The command and the Dockerfile of a build that runs this script once, with this cache."""
    mount = f"--mount=type=cache,id={cache},target=/cache{options}"
    # Not --no-cache, which would make a cache of the same id anew.
    dockerfile = f"FROM debian:bookworm-slim\nRUN {mount} : {uuid.uuid4()}; {script}\n"
    return ("docker", "build", "--progress=plain", "-"), dockerfile


@contextmanager
def a_reader(cache: str) -> Iterator[None]:
    """A build has this cache mounted read-only, as one that installs packages does."""
    command, dockerfile = with_cache(cache, ",readonly", "echo here; sleep 900")
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:  # type: ignore[call-overload]
        other.stdin.write(dockerfile)
        other.stdin.close()
        assert any(re.search(r"^#\d+ [\d.]+ here$", line) for line in other.stderr)
        try:
            yield
        finally:
            other.terminate()
            other.stderr.read()


def others_may_write(cache: str) -> bool:
    """Whether a build that begins now gets this cache to write to."""
    command, dockerfile = with_cache(cache, "", "test -w /cache && echo yes || echo no")
    log = run(*command, input=dockerfile).stderr
    answers = re.findall(r"^#\d+ [\d.]+ (yes|no)$", log, re.MULTILINE)
    assert len(answers) == 1, log
    return answers == ["yes"]


@contextmanager
def read_by_another_build(cache: str) -> Iterator[None]:
    """A build has this cache mounted read-only, and BuildKit gives it to others read-only too.

    A reader that comes while a build of another test writes to the cache takes it from nobody: it
    leaves, and the next one comes.
    """
    end = time.monotonic() + 300
    while time.monotonic() < end:
        with a_reader(cache):
            if not others_may_write(cache):
                yield
                return
    raise AssertionError(f"builds wrote to {cache} for five minutes")


def test_the_first_build_locks_every_package_by_its_public_address_and_hash(
    small: Project, conda_channels: CondaChannels
) -> None:
    lines = [line for line in text_of(small, "conda.lock").splitlines() if "://" in line]
    pattern = r"https://conda\.anaconda\.org/conda-forge/(linux-64|noarch)/\S+#sha256:[0-9a-f]{64}"
    assert len(lines) > 10
    assert all(re.fullmatch(pattern, line) for line in lines)
    assert {"python", "pip", "setuptools", "pytest"} <= locked(small).keys()
    small.ok("lock", "--check")
    # The mirror is a fact of this machine.
    for file in filter(Path.is_file, (small.folder / DEPENDENCIES).rglob("*")):
        assert conda_channels.url not in file.read_text()


def test_every_door_leads_into_the_environment_without_activation(small: Project) -> None:
    small.ok("up")
    where = "/opt/venv/bin/python\n"
    assert small.ok("run", "sh", "-c", "command -v python") == where
    assert small.ok("run", "bash", "-lc", "command -v python") == where
    assert small.ok("exec", "bash", "-c", "command -v python") == where
    assert small.ok("exec", "bash", "-lc", "command -v python") == where
    assert small.ok("exec", "sh", "-c", "echo $CONDA_PREFIX") == "/opt/venv\n"
    assert small.ok("exec", "pytest", "-q").count("passed") == 1


def test_a_command_by_ssh_finds_the_environment_too(small: Project) -> None:
    small.ok("up")
    install = "apt-get update -qq && apt-get install -qqy --no-install-recommends openssh-server"
    small.ok("root", "sh", "-c", f"{install} && mkdir -p /run/sshd && /usr/sbin/sshd -p 2222")
    key = "mkdir -p -m 700 ~/.ssh && ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519"
    small.ok("exec", "sh", "-c", f"{key} && cp ~/.ssh/id_ed25519.pub ~/.ssh/authorized_keys")
    ssh = ("exec", "ssh", "-p", "2222", "-o", "StrictHostKeyChecking=no", "127.0.0.1")
    where = "/opt/venv/bin/python\n"
    assert small.ok(*ssh, "command -v python") == where
    assert small.ok(*ssh, "bash -lc 'command -v python'") == where


def test_runtime_has_no_package_manager_and_is_little_more_than_its_environment(
    small: Project,
) -> None:
    assert small.ok("run", "which", "python") == "/opt/venv/bin/python\n"
    for name in ("micromamba", "conda", "mamba", "uv"):
        assert small.sh("run", "which", name).returncode == 1
    image, base = (
        int(run("docker", "image", "inspect", "--format", "{{.Size}}", name).stdout)
        for name in (small.image("runtime"), "debian:bookworm-slim")
    )
    kib = small.ok("run", "du", "-sk", "--apparent-size", "/opt/venv").split()[0]
    assert image - base - int(kib) * 1024 < 60 * MIB


def test_one_more_package_is_all_that_is_downloaded(
    small: Project, conda_channels: CondaChannels
) -> None:
    small.ok("add", "tinyapp")
    with conda_channels.recording() as traffic:
        log = small.build("runtime")
    names = sorted(name.rpartition("-")[0] for name in traffic.downloads)
    assert names == ["tinyapp-1.0", "tinylib-2.0"]
    assert not {"builder", "deps-heavy"} & stages_built(log)
    assert small.ok("run", "python", "-c", VERSION.format("tinylib")) == "2.0\n"
    assert "  - tinyapp\n" in text_of(small, "environment.yml").partition("# Yours:")[2]


def test_a_build_of_a_colleague_at_the_same_time_does_not_make_this_one_fail(
    small: Project, conda_channels: CondaChannels
) -> None:
    conda_channels.publish(python_module("busy-day", "1.0"))
    with read_by_another_build(conda_cache()):
        small.ok("add", "busy-day")
        log = small.build("runtime")
    assert "Another build is reading the cache of packages" in log
    assert small.ok("run", "python", "-c", VERSION.format("busy-day")) == "1.0\n"


def test_a_build_from_the_lock_solves_nothing_and_takes_no_newer_version(
    small: Project, conda_channels: CondaChannels
) -> None:
    small.ok("add", "newtiny")
    newer = python_module("tinylib", "3.0")
    conda_channels.publish(newer)
    small.ok("clean")
    with conda_channels.recording() as traffic:
        small.build("runtime")
    assert not [name for name in traffic.downloads if "repodata" in name]
    assert small.ok("run", "python", "-c", VERSION.format("tinylib")) == "2.0\n"
    small.ok("lock")
    assert locked(small)["tinylib"] == "2.0"
    small.ok("lock", "--upgrade", "tinylib")
    assert locked(small)["tinylib"] == "3.0"
    small.ok("remove", "tinyapp", "newtiny")
    assert not {"tinyapp", "newtiny", "tinylib"} & locked(small).keys()


def test_what_is_installed_by_hand_in_dev_is_kept_by_freeze(small: Project) -> None:
    small.build("dev")
    small.ok("up")
    small.ok("exec", "conda", "install", "--yes", "hello-conda")
    assert "hello from /opt/venv" in small.ok("exec", "hello-conda")
    assert "hello-conda" in small.ok("exec", "mamba", "list")
    assert "not needed" in small.sh("exec", "conda", "activate", "x").stderr
    before = text_of(small, "environment.yml")
    shown = small.sh("freeze")
    assert "+  - hello-conda=1.0" in shown.stdout + shown.stderr
    assert text_of(small, "environment.yml") == before
    small.ok("freeze", "-y")
    small.build("runtime")
    assert "hello from /opt/venv" in small.ok("run", "hello-conda")


def test_a_package_of_pypi_is_locked_beside_what_conda_installed(
    small: Project, index: PackageIndex
) -> None:
    index.add("steady-stone", "1.0", requires=["tinylib>=2"])
    index.add("tinylib", "9.0")
    small.ok("add", "tinylib")
    small.ok("add", "--pip", "steady-stone")
    assert "tinylib" not in text_of(small, "pip.lock").replace("# ", "")
    assert "steady-stone==1.0" in text_of(small, "pip.lock")
    assert "--hash=sha256:" in text_of(small, "pip.lock")
    small.build("runtime")
    small.ok("lock", "--check")
    assert small.ok("run", "python", "-c", VERSION.format("steady-stone")) == "1.0\n"
    assert small.ok("run", "python", "-c", VERSION.format("tinylib")) != "9.0\n"
    # Its layer has what it brings, with its byte code, and none of Python's or of other packages.
    compiled = (
        "import steady_stone as s; from pathlib import Path; print(Path(s.__cached__).is_file())"
    )
    assert small.ok("run", "python", "-c", compiled) == "True\n"
    form = ("--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}")
    history = run("docker", "history", *form, small.image("runtime")).stdout
    (size,) = re.findall(r"(?m)^(\d+) .*delta/deps ", history)
    assert 0 < int(size) < 200_000


# --- what the project itself requires -------------------------------------------------------------

# Its build backend reads a file, for which `lock` runs it.
METADATA = """\
[project]
name = "flock"
version = "0"
dynamic = ["dependencies"]

[dependency-groups]
dev = ["hearth-sheepdog"]

[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[tool.setuptools]
py-modules = []
dynamic.dependencies = {{ file = ["needs.txt"] }}

[[tool.uv.index]]
url = "{index}"
"""


def test_what_the_project_requires_is_locked_and_never_over_a_package_of_conda(
    small: Project, index: PackageIndex, own_index: PackageIndex
) -> None:
    index.add("hearth-meadow", "1.0", requires=["tinylib"])
    index.add("hearth-sheepdog")
    own_index.add("hearth-team")  # no other index has it
    index.add("tinylib", "9.0")
    small.ok("add", "tinyapp")
    small.write(
        "needs.txt", "hearth-meadow>=1\ntinylib<3\nhearth-team\nnever; python_version < '3'\n"
    )
    url = own_index.env()["UV_DEFAULT_INDEX"]
    small.write("pyproject.toml", METADATA.format(index=url))
    result = small.sh("lock", "--check")
    assert "The locks are older than pyproject.toml" in result.stderr
    said = small.build("runtime")
    assert "up to date, after changes in pyproject.toml" in said
    assert (
        "hearth-meadow>=1 (new), hearth-team (new), tinylib<3 (new), dev: hearth-sheepdog (new)"
        in said
    )
    # conda's solver knows what suits the project.
    assert locked(small)["tinylib"].startswith("2.")
    code = "import hearth_meadow, hearth_team, tinylib; print(tinylib.__version__)"
    assert small.ok("run", "python", "-c", code).startswith("2.")
    from_pypi = re.findall(r"(?m)^[a-z-]+(?===)", text_of(small, "pip.lock"))
    assert {"hearth-meadow", "hearth-team"} <= set(from_pypi)
    assert "tinylib" not in from_pypi
    assert "hearth-sheepdog" in text_of(small, "pip-dev.lock")
    small.ok("lock", "--check")
    assert "Bringing" not in small.build("runtime")

    # One more package of PyPI solves nothing of conda's.
    before = text_of(small, "conda.lock")
    small.write("needs.txt", "hearth-meadow\ntinylib<3\n")
    log = small.build("runtime")
    assert text_of(small, "conda.lock") == before
    assert "deps-conda" not in stages_built(log)
    small.write("pyproject.toml", "")
    small.write("needs.txt", "")


# --- what cannot be had --------------------------------------------------------------------------


def test_a_package_that_does_not_exist_is_named_and_the_files_stay(small: Project) -> None:
    before = text_of(small, "environment.yml"), text_of(small, "conda.lock")
    words = failure(small, "add", "tinylip")
    assert "tinylip" in words[-1] or "tinylip" in words[-2]
    assert "; the nearest name is tinylib" in "\n".join(words)
    assert (text_of(small, "environment.yml"), text_of(small, "conda.lock")) == before


def test_two_packages_that_do_not_go_together_are_named(small: Project) -> None:
    words = "\n".join(failure(small, "add", "oldtiny", "newtiny")[-4:])
    assert "tinylib" in words
    assert "Traceback" not in words


def test_a_channel_that_does_not_answer_ends_in_one_sentence(small: Project) -> None:
    words = small.sh("lock", "--upgrade", env={"MAMBA_CHANNEL_ALIAS": "http://127.0.0.1:9/conda"})
    assert words.returncode != 0
    assert "Traceback" not in words.stderr
    assert "127.0.0.1:9" in "\n".join(words.stderr.splitlines()[-4:])


@pytest.mark.parametrize("service", ["runtime", "dev"])
def test_neither_image_gives_anything_away(small: Project, service: str) -> None:
    check(small.image(service), "debian:bookworm-slim")


# --- PyTorch -------------------------------------------------------------------------------------


def test_packages_that_are_installed_anew_leave_the_layers_of_the_image_as_they_are(
    small: Project,
) -> None:
    small.build("runtime")  # what the tests before have left
    # As after an update of the template; the image, and what was pushed of it, stays.
    with (small.docker / "image/bytecode.py").open("a") as file:
        file.write(f"# version {time.time_ns()} of the template\n")
    built = stages_built(small.build("runtime"))
    assert {"builder", "deps-heavy", "deps-conda"} <= built
    assert not {"base", "publish", "runtime"} & built


@pytest.fixture(scope="module")
def torch_cpu(project: MakeProject, conda_channels: CondaChannels) -> Project:
    """A project with PyTorch for the CPU, the real one, as conda packages."""
    env = {"MAMBA_CHANNEL_ALIAS": conda_channels.url}
    new = project(
        "torch-cpu",
        light=True,
        package_manager="conda",
        torch_version="2.13.0",
        jit=False,
        env=env,
    )
    new.build()
    return new


def test_both_images_have_the_pytorch_that_was_asked_for(torch_cpu: Project) -> None:
    torch_cpu.ok("verify")
    said = torch_cpu.ok("run", "python", "-c", "import torch; print(torch.ones(8, 8).sum().item())")
    assert said == "64.0\n"


def test_one_more_package_leaves_the_layer_of_pytorch_as_it_is(torch_cpu: Project) -> None:
    torch_cpu.ok("add", "tinylib=1.0")
    log = torch_cpu.build("runtime")
    assert not {"deps-torch", "deps-heavy"} & stages_built(log)
    assert "deps-conda" in stages_built(log)


def test_a_file_that_is_not_the_locked_one_is_not_installed(
    torch_cpu: Project, conda_channels: CondaChannels
) -> None:
    conda_channels.publish(python_module("brittle", "1.0"))
    torch_cpu.ok("add", "brittle")
    conda_channels.damage("brittle-1.0")
    words = "\n".join(failure(torch_cpu, "build", "runtime")[-4:])
    assert "brittle" in words
    lines = text_of(torch_cpu, "environment.yml").replace("  - brittle\n", "")
    torch_cpu.write(f"{DEPENDENCIES}/environment.yml", lines)
    torch_cpu.build("runtime")


def test_a_cuda_choice_gets_the_cuda_build_and_a_cpu_build_is_refused(
    project: MakeProject, conda_channels: CondaChannels
) -> None:
    new = project(
        "torch-cuda",
        light=True,
        package_manager="conda",
        accelerator="cuda",
        torch_version="2.13.0",
        cuda_version="12.9",
        jit=False,
        env={"MAMBA_CHANNEL_ALIAS": conda_channels.url},
    )
    new.build("runtime")
    assert re.search(r"/pytorch-2\.13\.0-cuda129_", text_of(new, "conda.lock"))
    assert "__cuda=12.9" in text_of(new, "conda.lock")
    # Somebody takes away what insists on CUDA, and asks for the small build.
    new.write(f"{DEPENDENCIES}/environment-cuda.yml", "channels: [conda-forge]\ndependencies: []\n")
    new.write(
        f"{DEPENDENCIES}/environment.yml", text_of(new, "environment.yml") + "  - pytorch-cpu\n"
    )
    words = failure(new, "build", "runtime")
    assert "CPU build of PyTorch" in "\n".join(words[-3:])
    assert "CUDA 12.9" in "\n".join(words[-3:])


# --- other sources -------------------------------------------------------------------------------


def test_channels_in_a_folder_need_no_network(
    project: MakeProject, conda_channels: CondaChannels, open_folder: Path
) -> None:
    folder = open_folder / "channels"
    shutil.copytree(conda_channels.folder, folder, copy_function=os.link)
    new = project("offline", light=True, package_manager="conda")
    new.set_env(MAMBA_CHANNEL_ALIAS="file:///mnt/channels", LOCAL_CHANNELS_DIR=str(folder))
    new.build("runtime")
    assert new.ok("run", "python", "-V").startswith("Python 3.11")
    assert "/mnt/channels" not in text_of(new, "conda.lock")


def test_a_channel_with_a_password_is_read_and_the_password_is_nowhere(
    project: MakeProject, conda_channels: CondaChannels
) -> None:
    conda_channels.publish(python_module("hidden-gem", "1.0"), channel="private")
    conda_channels.require_login("private", "jane", "correct-horse")
    new = project(
        "private",
        light=True,
        package_manager="conda",
        env={"MAMBA_CHANNEL_ALIAS": conda_channels.url},
    )
    text = text_of(new, "environment.yml").replace(
        "  - nodefaults\n", "  - private\n  - nodefaults\n"
    )
    new.write(f"{DEPENDENCIES}/environment.yml", f"{text}  - hidden-gem\n")
    host = conda_channels.url.split("/")[2].split(":")[0]
    secret = new.write("../netrc", f"machine {host} login jane password correct-horse\n")
    new.set_env(NETRC_FILE=str(secret.resolve()))
    new.build("runtime")
    assert new.ok("run", "python", "-c", VERSION.format("hidden-gem")) == "1.0\n"
    assert (
        "correct-horse" not in run("docker", "history", "--no-trunc", new.image("runtime")).stdout
    )
    found = new.sh("run", "grep", "-r", "correct-horse", "/opt", "/home")
    assert "correct-horse" not in found.stdout
    assert "correct-horse" not in text_of(new, "conda.lock")


def test_post_install_sh_works_in_the_environment_of_conda(
    small: Project, index: PackageIndex
) -> None:
    index.add("by-hook-with-conda")
    script = "uv pip install by-hook-with-conda\necho $CONDA_PREFIX >/opt/venv/prefix\n"
    file = small.write(f"{DEPENDENCIES}/post-install.sh", script)
    try:
        small.build("runtime")
        code = "import by_hook_with_conda; print(open('/opt/venv/prefix').read())"
        assert small.ok("run", "python", "-c", code).strip() == "/opt/venv"
    finally:
        file.unlink()


def test_a_workspace_adds_packages_of_both_to_the_environment_of_conda(
    small: Project, index: PackageIndex, conda_channels: CondaChannels
) -> None:
    index.add("of-workspace")
    conda_channels.publish(python_module("lake-needs", "1.0"))
    conda_channels.publish(python_module("lake", "1.0", ("python >=3.9", "lake-needs", "pytest")))
    jane = small.folder / "workspaces/jane"
    environment = "channels: [conda-forge]\ndependencies: [python=3.11, lake]\n"
    small.write("workspaces/jane/environment.yml", environment)
    small.write("workspaces/jane/requirements.txt", "of-workspace\n")
    for path in (jane.parent, jane, *jane.iterdir()):
        os.chown(path, small.owner.uid, small.owner.gid)
    before = text_of(small, "conda.lock")
    small.ok("build", "-W", "jane")
    try:
        code = f"import lake, lake_needs; {VERSION.format('of-workspace')}"
        assert small.ok("run", "-W", "jane", "python", "-c", code) == "1.0\n"
        assert small.sh("run", "python", "-c", "import lake").returncode == 1
        lock = (jane / "requirements.lock").read_text()
        assert re.findall("(?m)^[a-z].*==", lock) == ["of-workspace=="]
        text = (jane / "conda.lock").read_text()
        found = re.findall(r"(?m)^https://conda.anaconda.org/\S+/(\S+)-1.0-\S+#sha256:", text)
        assert found == ["lake-needs", "lake"]
        # From the lock, nothing is solved, and newer versions are not taken.
        conda_channels.publish(python_module("lake-needs", "2.0"))
        with conda_channels.recording() as traffic:
            small.ok("build", "-W", "jane")
        assert traffic.downloads == []
        # What the project has, it keeps.
        conda_channels.publish(python_module("dry-lake", "1.0", ("python >=3.9", "pluggy <1")))
        for spec, said in (
            ("pluggy=1.0", "but the project has pluggy"),
            ("dry-lake", "The project has pluggy"),
        ):
            small.write("workspaces/jane/environment.yml", f"dependencies: [lake, {spec}]\n")
            refused = small.sh("build", "-W", "jane").stderr
            assert said in refused, refused[-3000:]
            assert "(failure: workspace-specs)" in refused
        assert text_of(small, "conda.lock") == before
    finally:
        small.ok("clean", "--all", "-y", "-W", "jane")
