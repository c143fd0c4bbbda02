"""Conda's way in the hands of people who have code, a closed network, and ids of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.engine.conftest import MakeProject
from tests.support.canary import found_in
from tests.support.certificates import make_authority
from tests.support.conda_channel import (
    CondaChannels,
    CondaPackage,
    python_module,
    serving_conda,
    standard_channel,
)
from tests.support.index import PackageIndex, bridge_address
from tests.support.process import run
from tests.support.project import Project

TOKEN = "tk-correct-horse-battery"
READ_ONLY = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
# What was exported on a Mac, and edited by hand since.
THEIRS = {
    "environment.yaml": (
        "name: old\nchannels:\n  - secretlab\n  - defaults\ndependencies:\n"
        "  - python=3.10.4=h12debd9_0\n  - libcxx=16.0=h1\n  - tinylib=1.1=py310h1_0\n"
        "  - hidden-gem\n  - pip:\n      - -r requirements.txt\nprefix: /Users/jane/miniconda3\n"
    ),
    "requirements.txt": "early-finch==1.0\n-e .\n",
    "train.py": "import early_finch, hidden_gem, tinylib\nprint('trained', tinylib.__version__)\n",
}


class Closed(NamedTuple):
    """A channel that wants a token, behind a proxy that inspects TLS."""

    channels: CondaChannels
    authority: Path


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    folder, address = tmp_path_factory.mktemp("closed"), bridge_address()
    authority, tls = make_authority(folder, address)
    channels = CondaChannels(folder / "channels", standard_channel())
    channels.publish(python_module("hidden-gem", "1.0"), "secretlab")
    channels.require_token("secretlab", TOKEN)
    program = {"libexec/own-folder/run": "#!/bin/sh\necho it runs\n"}
    channels.publish(CondaPackage("own-folder", "1.0", files=program))
    with serving_conda(channels, address, tls=tls):
        yield Closed(channels, authority)


@pytest.fixture(scope="module")
def paper(project: MakeProject, closed: Closed, index: PackageIndex) -> Project:
    """The project of a researcher; nothing of it is built yet."""
    index.add("early-finch")
    env = {"MAMBA_CHANNEL_ALIAS": closed.channels.url}
    new = project("paper", package_manager="conda", existing=THEIRS, env=env)
    # Another address of the channel is another environment: with short lists it is soon built.
    new.write("docker-amd64/dependencies/apt-build.txt", "ca-certificates\n")
    new.write("docker-amd64/dependencies/apt-dev.txt", "git\n")
    return new


def last(project: Project, *arguments: str) -> str:
    """The last lines of what `template.sh ARGUMENTS` says when it fails."""
    result = project.sh(*arguments)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    return "\n".join(result.stderr.rstrip().splitlines()[-2:])


def test_code_with_an_environment_of_its_own_is_built_behind_a_proxy_from_a_channel_with_a_token(
    paper: Project, closed: Closed
) -> None:
    first = paper.sh("lock")
    assert first.returncode != 0
    assert "CA_BUNDLE" in first.stderr.splitlines()[-1]
    paper.write("docker-amd64/ca.pem", closed.authority.read_text())
    paper.set_env(CA_BUNDLE="./ca.pem")
    sentence = last(paper, "lock")
    assert "secretlab" in sentence
    assert "CONDA_AUTH_FILE" in sentence
    for note in (
        "Imported the packages of environment.yaml, requirements.txt into dependencies/",
        "defaults: left out of the channels",
        "python=3.10.4=h12debd9_0: left out, an answer decides it",
        "libcxx=16.0=h1: left out, as it is for another platform",
        "tinylib=1.1=py310h1_0: taken without its build",
        "-e .: left out",
        "prefix: left out",
    ):
        assert note in first.stderr
    host = closed.channels.url.partition("://")[2]
    login = {f"{host}/secretlab": {"type": "CondaToken", "token": TOKEN}}
    paper.write("docker-amd64/authentication.json", json.dumps(login))
    paper.set_env(CONDA_AUTH_FILE="./authentication.json")
    log = paper.build("runtime")
    assert paper.ok("run", "python", "train.py") == "trained 1.1\n"
    assert {name: (paper.folder / name).read_text() for name in THEIRS} == THEIRS

    assert TOKEN not in log
    assert "hidden-gem" in (paper.docker / "dependencies/conda.lock").read_text()


@pytest.mark.parametrize(
    "options", [["--user", "4321:0", *READ_ONLY], ["--user", "955:955"], READ_ONLY]
)
def test_the_environment_works_for_any_id_and_without_writing(
    paper: Project, options: list[str]
) -> None:
    mount = ("--volume", f"{paper.folder}:/workspace:ro")
    command = ("sh", "-c", "python train.py && python -m pip check")
    done = run("docker", "run", "--rm", *mount, *options, paper.image("runtime"), *command)
    assert done.stdout == "trained 1.1\nNo broken requirements found.\n", done.stderr


def test_in_dev_a_package_may_have_a_folder_of_its_own(paper: Project) -> None:
    paper.set_env(COMPOSE_FILE="compose.yaml:compose.ca.yaml")
    paper.build("dev")
    paper.ok("up")
    paper.ok("exec", "conda", "install", "--yes", "own-folder")
    assert paper.ok("exec", "sh", "/opt/venv/libexec/own-folder/run") == "it runs\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("\t- tinylib\n", "environment.yml is no YAML in line {}: a tab is there"),
        ("  - tinylib: 1.0\n", "environment.yml, line {}: a name is expected there."),
    ],
)
def test_a_broken_environment_file_ends_a_build_with_its_line(
    paper: Project, line: str, said: str
) -> None:
    name = "docker-amd64/dependencies/environment.yml"
    before = (paper.folder / name).read_text()
    marker = "  # Yours:\n"
    paper.write(name, before.replace(marker, marker + line))
    number = before.partition(marker)[0].count("\n") + 2
    assert said.format(number) in last(paper, "build", "runtime")
    paper.write(name, before)


def test_no_image_and_no_commit_has_the_token_or_the_certificate(
    paper: Project, closed: Closed
) -> None:
    paper.compose("build", "publish")
    secrets = (TOKEN, closed.authority.read_text().splitlines()[1])
    assert found_in(paper, ("runtime", "dev", "publish", "tools"), *secrets) == []
