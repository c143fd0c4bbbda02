"""No password gets into git or an image: secret files are ignored, addresses are looked at."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import update_env_file
from host import passwords
from host.project import StopError, read_project
from tests.conftest import ROOT, Generate
from tests.support.git import git
from tests.support.program import PROJECT, put_program, run_program

CANARY = "hunter2"
SECRET = (
    f"https://jane:{CANARY}@team.example/simple",
    f"https://jane:{CANARY}@{CANARY}@team.example/simple",  # the last @ ends it
    f"numpy @ https://{CANARY}@team.example/n-1-py3-none-any.whl",
    f"numpy @ git+https://x:{CANARY}@team.example/n",
    f"ssh://git:{CANARY}@team.example/n",
    f"http://{CANARY}:@team.example/simple",
    f"https://conda.anaconda.org/t/{CANARY}/team",
)
NO_SECRET = (
    "https://team.example/simple",
    "git+ssh://git@team.example/n",
    "numpy @ git+https://git@team.example/n@v1",
    "https://files.example/packages/source/t/tornado/tornado-4.5.tar.gz",
    "https://jane:${TOKEN}@team.example/simple",
    "https://${TOKEN}@team.example/simple",
    "https://jane:****@team.example/simple",
    'authors = [{ email = "jane@team.example" }]',
    '["https://team.example", "jane@team.example"]',
)
# Usual names of secret files, at both places where builds and git would find them.
FILES = (".netrc", "netrc", "_netrc", "authentication.json", "auth.toml", "ca.pem", "tls.key")
PUBLIC = ("ca.crt", "dependencies/pyproject.toml", "dependencies/notes.txt")


@pytest.mark.parametrize("text", SECRET)
def test_a_password_in_an_address_is_seen_and_cut_out(text: str) -> None:
    assert passwords.rule().has_secret(f'url = "{text}"')
    assert CANARY not in passwords.rule().without_secret(text)
    assert "team" in passwords.rule().without_secret(text)


@pytest.mark.parametrize("text", NO_SECRET)
def test_what_is_none_is_left_alone(text: str) -> None:
    assert not passwords.rule().has_secret(text)


@pytest.mark.parametrize("text", [one for one in (*SECRET, *NO_SECRET) if "http" in one])
def test_the_images_without_the_rule_have_the_same(text: str) -> None:
    if "/t/" not in text:  # conda's, whose images have the rule
        assert update_env_file.without_password(text) == passwords.rule().without_secret(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A docker-amd64 of which only the program and dependencies/ exist."""
    made = put_program(tmp_path / "project/docker-amd64")
    (made / "dependencies/project").mkdir(parents=True)
    (made / ".env.example").write_text("USRID=1\nCOMPOSE_PROJECT_NAME=demo\nSHM_SIZE=1gb\n")
    (made / ".env").write_text("USRID=1\nCOMPOSE_PROJECT_NAME=demo\nSHM_SIZE=1gb\n")
    (made / "dependencies/pyproject.toml").write_text("[project]\n")
    return made


@pytest.fixture
def engine(tmp_path: Path) -> dict[str, str]:
    """An environment with an engine that must not be asked for anything but its version."""
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\n[ "$1" = version ] || echo "$@" >>{tmp_path}/asked\nexit 1\n')
    docker.chmod(0o755)
    config = tmp_path / "config"
    config.mkdir()
    return {
        **os.environ,
        "PATH": f"{docker.parent}:{os.environ['PATH']}",
        "DOCKER_CONFIG": str(config),
    }


@pytest.mark.parametrize(
    "words",
    [
        ["build"],
        ["lock"],
        ["lock", "--check"],
        ["add", "numpy"],
        ["import"],
        ["publish", "registry.example/team/demo"],
    ],
    ids=" ".join,
)
def test_every_verb_that_would_keep_a_password_refuses_it(
    folder: Path, engine: dict[str, str], words: list[str]
) -> None:
    text = f'[[tool.uv.index]]\nname = "x"\nurl = "{SECRET[0]}"\n'
    (folder / "dependencies/pyproject.toml").write_text(text)
    done = run_program(*words, folder=folder, env=engine)
    assert done.returncode == 1
    assert "(failure: password-in-file)" in done.stderr
    assert "Line 3 of dependencies/pyproject.toml" in done.stderr
    assert "https://team.example/simple" in done.stderr
    assert "NETRC_FILE" in done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert not (folder.parents[1] / "asked").exists()


@pytest.mark.parametrize("text", SECRET)
def test_a_package_with_a_password_in_its_address_is_not_added(
    folder: Path, engine: dict[str, str], text: str
) -> None:
    done = run_program("add", text, folder=folder, env=engine)
    assert "(failure: password-in-file)" in done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert not (folder.parents[1] / "asked").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uv.lock", f'source = {{ registry = "{SECRET[0]}" }}'),
        ("project/pyproject.toml", f'dependencies = ["{SECRET[2]}"]'),
        ("imported.json", json.dumps({"lines": [SECRET[3]]})),
        ("environment.yml", f"channels:\n  - {SECRET[6]}"),
        ("conda.lock", f"https://conda.example/prefix/t/{CANARY}/team/noarch/n-1-0.conda"),
        ("pip.lock", f"--index-url {SECRET[0]}"),
        ("base-override.txt", SECRET[2]),
    ],
)
def test_a_password_is_found_in_every_file_that_git_and_images_have(
    folder: Path, name: str, text: str
) -> None:
    project = read_project(folder)
    passwords.refuse_passwords(project)
    (folder / "dependencies" / name).write_text(f"{text}\n")
    with pytest.raises(StopError) as stopped:
        passwords.refuse_passwords(project)
    assert stopped.value.name == "password-in-file"
    assert f"dependencies/{name}" in str(stopped.value)
    assert CANARY not in str(stopped.value)


def test_a_token_of_conda_has_a_file_of_its_own(folder: Path) -> None:
    data = {**PROJECT, "package_manager": "conda"}
    (folder / "host/project.json").write_text(json.dumps(data))
    (folder / "dependencies/environment.yml").write_text(f"channels: ['{SECRET[6]}']\n")
    with pytest.raises(StopError) as stopped:
        passwords.refuse_passwords(read_project(folder))
    assert "CONDA_AUTH_FILE" in stopped.value.sentence
    assert "--set CONDA_AUTH_FILE=" in stopped.value.command


@pytest.mark.parametrize("where", ["env", "docker"])
def test_publish_refuses_a_proxy_with_a_password(
    folder: Path, engine: dict[str, str], where: str
) -> None:
    proxy = f"http://jane:{CANARY}@proxy.example:3128"
    if where == "env":
        engine["HTTPS_PROXY"] = proxy
    else:
        text = json.dumps({"proxies": {"default": {"httpsProxy": proxy, "noProxy": "x"}}})
        Path(engine["DOCKER_CONFIG"], "config.json").write_text(text)
    done = run_program("publish", "registry.example/team/demo", folder=folder, env=engine)
    assert "(failure: password-in-image)" in done.stderr
    assert CANARY not in done.stderr
    command = {"env": "export HTTPS_PROXY=http://proxy.example:3128", "docker": "config.json"}
    assert command[where] in done.stderr


def test_secret_files_are_in_neither_git_nor_a_build(generate: Generate, tmp_path: Path) -> None:
    project = generate(tmp_path / "project", torch_version="none", accelerator="cpu")
    docker = project / "docker-amd64"
    secret = [place / name for place in (docker, docker / "dependencies") for name in FILES]
    beside = (".env", ".env.local", ".netrc", "ca.pem", "a.key")
    secret += [folder / name for folder in (project, project / "src") for name in beside]
    for file in (*secret, *(docker / name for name in PUBLIC), project / ".env.example"):
        file.write_text("x\n")
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    index = {project / name for name in git(project, "ls-files").splitlines()}
    assert not {*secret} & index
    assert {*(docker / name for name in PUBLIC), project / ".env.example"} <= index
    git(project, "add", "--force", "docker-amd64/ca.pem")  # as .gitignore says
    assert "docker-amd64/ca.pem" in git(project, "ls-files")


def test_a_build_leaves_out_what_git_ignores_as_a_secret() -> None:
    folder = ROOT / "template/docker-amd64"
    ignored = (folder / ".gitignore.jinja").read_text().partition("# Secrets by")[2].splitlines()
    names = [line for line in ignored[1:] if line and not line.startswith("#")]
    context = (folder / ".dockerignore.jinja").read_text().partition("# Not even")[2].splitlines()
    assert [f"**/{name}" for name in names] == [line for line in context if line.startswith("**/")]
    assert {"netrc", "*.pem", "authentication.json"} <= {*names}
    assert not [line for line in context if line.startswith("!")]  # the last pattern wins


def test_the_dev_image_gets_dependency_files_by_their_names(
    generate: Generate, tmp_path: Path
) -> None:
    for manager in ("pip", "conda"):
        folder = generate(tmp_path / manager, package_manager=manager, accelerator="cpu")
        text = (folder / "docker-amd64/Dockerfile").read_text()
        assert " dependencies /" not in text
        assert " dependencies/ /" not in text
