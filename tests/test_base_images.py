"""The base images of a project: until when they are maintained, and the file that pins them."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.images import end_of_updates
from host.project import Distribution, Project, read_project
from tests.conftest import ROOT, Generate
from tests.support.git import git
from tests.test_render import effective

DISTROS: dict[str, dict[str, str]] = yaml.safe_load((ROOT / "hooks/pins/pins.yml").read_text())[
    "distros"
]
DIGEST = f"sha256:{'7' * 64}"
# A registry that knows every image, and an engine for which every build succeeds.
DOCKER = f"""#!/bin/sh
case "$1 $2" in
    "image inspect") exit 1 ;;
    pull*) echo "Digest: {DIGEST}" ;;
esac
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for PATH with that docker."""
    folder = tmp_path / "programs"
    folder.mkdir()
    program(folder / "docker", DOCKER)
    return folder


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def template_sh(project: Path, programs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [project / "docker-amd64/template.sh", *arguments],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def with_env(folder: Path, **values: str) -> Path:
    """The project with its example as .env, and a lock, so that `build` only builds."""
    text = (folder / "docker-amd64/.env.example").read_text()
    known = {"USRID": os.getuid(), "GRPID": os.getgid(), **values}
    lines = [f"{key}={value}\n" for key, value in known.items()]
    (folder / "docker-amd64/.env").write_text("".join([text, *lines]))
    (folder / "docker-amd64/dependencies/uv.lock").touch()
    return folder


@pytest.fixture
def project(generate: Generate, tmp_path: Path) -> Path:
    return with_env(generate(tmp_path / "project", torch_version="none"))


def described(folder: Path) -> Project:
    return read_project(folder / "docker-amd64")


@pytest.mark.parametrize("distro", DISTROS)
def test_a_project_knows_until_when_its_distribution_is_maintained(
    distro: str, generate: Generate, tmp_path: Path
) -> None:
    end = DISTROS[distro]["eol"]
    assert dt.date.fromisoformat(end) > dt.date(2026, 1, 1)
    folder = generate(tmp_path / "project", linux_distro=distro, torch_version="none")
    newer = {"ubuntu-22.04": "ubuntu-24.04", "debian-12": "debian-13"}.get(distro)
    known = Distribution(DISTROS[distro]["name"], end, f"linux_distro={newer}" if newer else "")
    assert described(folder).distribution == known
    text = (folder / "docker-amd64/Dockerfile").read_text()
    assert f"{known.name} gets security updates until {end}.\n" in text


def test_an_image_of_nvidia_has_the_end_of_its_ubuntu_and_another_release_helps(
    generate: Generate, tmp_path: Path
) -> None:
    answers: dict[str, Any] = {"service": "ngc", "accelerator": "cuda", "ngc_release": "24.06"}
    known = described(generate(tmp_path / "project", **answers)).distribution
    assert known
    assert known[:2] == ("Ubuntu 22.04", "2027-06-01")
    offered = json.loads((ROOT / "hooks/compat/choices.json").read_text())["defaults"]
    assert known.newer == f"ngc_release={offered['ngc_release']}"
    # An older release on the same Ubuntu gains nothing by it.
    same = described(generate(tmp_path / "same", **(answers | {"ngc_release": "26.07"})))
    assert same.distribution
    assert same.distribution.newer == ""
    # Of which nobody knows what is in it, none is made up.
    unknown = generate(tmp_path / "unknown", **(answers | {"ngc_release": "26.09"}))
    assert described(unknown).distribution is None
    assert "security updates" not in (unknown / "docker-amd64/Dockerfile").read_text()


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (91, ""),
        (90, "only until 2029-05-31"),
        (0, "only until 2029-05-31"),
        (-1, "no longer: they ended on 2029-05-31"),
        (-400, "no longer: they ended on 2029-05-31"),
    ],
)
def test_the_end_is_announced_from_ninety_days_before(days: int, words: str) -> None:
    ubuntu = Distribution("Ubuntu 24.04", "2029-05-31")
    said = end_of_updates(ubuntu, dt.date(2029, 5, 31) - dt.timedelta(days))
    assert said == (f"Ubuntu 24.04 gets security updates {words}" if words else "")


def test_a_build_ends_with_it_unless_the_base_image_is_ones_own(
    project: Path, programs: Path
) -> None:
    file = project / "docker-amd64/host/project.json"
    text = file.read_text()
    file.write_text(re.sub(r'(?<="maintained_until": ").*(?=")', "2020-01-01", text))
    result = template_sh(project, programs, "build")
    assert result.returncode == 0, result.stderr
    script = project / "docker-amd64/template.sh"
    assert f"2020-01-01. Move on with: {script} update\n" in result.stderr
    file.write_text(file.read_text().replace('"newer": ""', '"newer": "linux_distro=debian-13"'))
    result = template_sh(project, programs, "build")
    assert f" Move on with: {script} update --data linux_distro=debian-13\n" in result.stderr
    with_env(project, BASE_IMAGE="lab.example/base:1")
    assert "security updates" not in template_sh(project, programs, "build").stderr


def test_compose_takes_the_pins_for_everything_that_it_builds(
    project: Path, programs: Path
) -> None:
    result = template_sh(project, programs, "pin")
    assert result.returncode == 0, result.stderr
    dockerfile = (project / "docker-amd64/Dockerfile").read_text()
    named = dict(re.findall(r"(?m)^ARG (\w+_IMAGE)=(.+)$", dockerfile))
    assert described(project).base_images == named
    assert result.stdout.splitlines() == [f"{image}@{DIGEST}" for image in named.values()]

    env = (project / "docker-amd64/.env").read_text()
    assert "\nCOMPOSE_FILE=compose.yaml:compose.pins.yaml\n" in env
    config = effective(project / "docker-amd64")
    expected = {key: f"{image}@{DIGEST}" for key, image in named.items()}
    for service in config["services"].values():
        assert service["build"]["args"].items() >= expected.items()
    own = effective(project / "docker-amd64", BASE_IMAGE="lab.example/base:1")
    assert own["services"]["dev"]["build"]["args"]["BASE_IMAGE"] == "lab.example/base:1"


def test_a_second_build_leaves_the_pins_as_they_are(project: Path, programs: Path) -> None:
    assert template_sh(project, programs, "build").returncode == 0
    pins = project / "docker-amd64/compose.pins.yaml"
    before = pins.read_bytes(), pins.stat().st_mtime_ns
    program(programs / "docker", DOCKER.replace("7", "8"))
    assert template_sh(project, programs, "build").returncode == 0
    assert (pins.read_bytes(), pins.stat().st_mtime_ns) == before


@pytest.fixture
def source_project(generate: Generate, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A project that compiles PyTorch, with a mirror of its sources; the commit of each pin."""
    answers: dict[str, Any] = {"service": "train", "pytorch_build": "source"}
    folder = generate(tmp_path / "compiled", accelerator="cpu", **answers)
    commits = {}
    for key, (address, tag) in described(folder).sources.items():
        repository = tmp_path / "the mirror" / address.removeprefix("https://github.com/")
        repository.mkdir(parents=True)
        git(repository, "init", "--quiet")
        git(repository, "commit", "--quiet", "--allow-empty", "--message", key)
        # With words, as PyTorch's are, and without.
        git(repository, "tag", *(["--message", "a release"] if key == "PYTORCH" else []), tag)
        commits[f"{key}_PIN"] = f"{address}@{tag}@{git(repository, 'rev-parse', 'HEAD').strip()}"
    with_env(folder, GIT_MIRROR=str(tmp_path / "the mirror"))
    return folder, commits


def test_the_first_build_pins_the_sources_of_pytorch_to_their_commits(
    source_project: tuple[Path, dict[str, str]], programs: Path
) -> None:
    project, commits = source_project
    dockerfile = (project / "docker-amd64/Dockerfile").read_text()
    for key, (repository, tag) in described(project).sources.items():
        assert f"{key}_REPO={repository}" in dockerfile  # what has another name has no pin
        assert f"{key}_REF={tag}" in dockerfile
    assert [*commits] == ["PYTORCH_PIN", "TORCHVISION_PIN"]
    result = template_sh(project, programs, "build")
    assert result.returncode == 0, result.stderr
    for pin in commits.values():
        assert f"Pinned in compose.pins.yaml, which belongs in git: {pin}\n" in result.stderr
    for name in ("runtime", "dev", "wheels"):
        arguments = effective(project / "docker-amd64")["services"][name]["build"]["args"]
        assert arguments.items() >= commits.items()


def test_no_program_that_a_container_has_named_to_git_runs_where_a_server_is_asked(
    source_project: tuple[Path, dict[str, str]], programs: Path, tmp_path: Path
) -> None:
    project, commits = source_project
    git(project, "init", "--quiet")
    git(project, "config", "core.sshCommand", f"touch '{tmp_path}/ran'; false")
    git(project, "config", "url.ssh://x/.insteadOf", "https://github.com/pytorch/")
    result = template_sh(project, programs, "pin")
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "ran").exists()
    assert set(result.stdout.splitlines()) >= set(commits.values())


def test_sources_of_ones_own_and_of_a_silent_server_are_not_pinned(
    source_project: tuple[Path, dict[str, str]], programs: Path
) -> None:
    project, commits = source_project
    with_env(project, GIT_MIRROR="/nowhere", TORCHVISION_REF="main")
    result = template_sh(project, programs, "pin")
    assert result.returncode == 0, result.stderr
    repository, tag, _ = commits["PYTORCH_PIN"].split("@")
    silent = f"No server tells the commit of {tag} of {repository}: it is not pinned.\n"
    assert silent in result.stderr
    assert "TORCHVISION_REF is set in .env: it is not pinned.\n" in result.stderr
    assert "_PIN" not in (project / "docker-amd64/compose.pins.yaml").read_text()


def test_a_password_in_the_address_of_a_source_gets_into_no_image(
    generate: Generate, programs: Path, tmp_path: Path
) -> None:
    answers: dict[str, Any] = {"service": "train", "pytorch_build": "source", "magma": True}
    folder = generate(tmp_path / "own", accelerator="cuda", **answers)
    example = (folder / "docker-amd64/.env.example").read_text()
    keys = {
        key
        for key in effective_arguments(folder)
        if key.endswith(("_INDEX", "_MIRROR", "_URL", "_REPO"))
    }
    assert {"APT_MIRROR", "UV_DEFAULT_INDEX", "PYTORCH_REPO", "MAGMA_URL"} <= keys
    for key in keys:
        (folder / "docker-amd64/.env").write_text(f"{example}{key}=https://jane:pw@x.example/\n")
        for verb in (["build"], ["wheels"], ["publish", "registry.example/team/own"]):
            result = template_sh(folder, programs, *verb)
            assert result.returncode == 1
            assert f"{key} in .env has a password" in result.stderr
    # A name by which everybody may read is no secret.
    with_env(folder, PYTORCH_REPO="ssh://git@example.com/pytorch.git")
    assert template_sh(folder, programs, "wheels").stderr.count("has a password") == 0


def effective_arguments(folder: Path) -> list[str]:
    """The keys of .env that a project's builds are handed."""
    compose = yaml.safe_load((folder / "docker-amd64/compose.yaml").read_text())
    return list(compose["x-build"]["args"])
