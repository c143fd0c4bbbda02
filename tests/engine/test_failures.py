"""What goes wrong every day, for real: first the engine's words, then one sentence, one command."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine.conftest import MakeProject
from tests.support.project import Project

VERBS = [
    *("build", "up", "exec true", "run true", "root true", "ls", "lock", "add numpy", "freeze"),
    *("pin", "publish registry.example/a/b", "pull registry.example/a/b"),
]
# Where Docker's client looks for its plugins, besides the person's own folder.
PLUGINS = [
    *("/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins"),
    *("/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins"),
]


def advice(result: subprocess.CompletedProcess[str], raw: str = "") -> tuple[str, str]:
    """The sentence and the command that end a failure; what was to be seen before is checked."""
    assert result.returncode != 0
    *before, empty, sentence, command = result.stderr.rstrip().split("\n")
    assert re.search(raw, "\n".join(before)), result.stderr
    assert empty == ""
    assert sentence.endswith((".", ")."))
    assert command.startswith("  Run: "), result.stderr
    return sentence, command.removeprefix("  Run: ")


@contextmanager
def changed(project: Project, path: str, text: str) -> Iterator[None]:
    """Another text in a file of the project, for a while."""
    file = project.folder / path
    before = file.read_text() if file.exists() else None
    project.write(path, text)
    try:
        yield
    finally:
        file.unlink() if before is None else project.write(path, before)


@contextmanager
def override(project: Project, text: str) -> Iterator[None]:
    """A compose.override.yaml that .env names, for a while."""
    env = project.docker / ".env"
    before = env.read_text()
    with changed(project, "docker-amd64/compose.override.yaml", text):
        project.ok("over")
        try:
            yield
        finally:
            project.write("docker-amd64/.env", before)


@pytest.fixture(scope="module")
def without_docker(open_folder: Path) -> str:
    """A PATH with every program of the system but Docker's."""
    folder = open_folder / "bin"
    folder.mkdir()
    for program in (*Path("/usr/bin").iterdir(), *Path("/bin").iterdir()):
        link = folder / program.name
        if not program.name.startswith("docker") and not link.is_symlink():
            link.symlink_to(program)
    return str(folder)


def test_no_docker_on_this_machine(plain_project: Project, without_docker: str) -> None:
    result = plain_project.sh("build", env={"PATH": without_docker})
    sentence, command = advice(result, "docker: command not found")
    assert sentence.startswith("Docker is not installed")
    assert "apt-get install" in command


# With this one, that every verb brings a failure to the remedies; with each of the others, once,
# that they know the engine's words.
@pytest.mark.parametrize("verb", VERBS)
def test_the_daemon_is_not_running(plain_project: Project, open_folder: Path, verb: str) -> None:
    nobody_listens = f"unix://{open_folder}/none.sock"
    result = plain_project.sh(*verb.split(), env={"DOCKER_HOST": nobody_listens})
    sentence, command = advice(result, "(?i)cannot connect to the docker daemon|failed to connect")
    assert sentence == "The Docker daemon is not running."
    assert "systemctl start docker" in command


def test_the_person_may_not_open_the_socket(plain_project: Project, open_folder: Path) -> None:
    closed = open_folder / "closed.sock"
    closed.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(closed))
        closed.chmod(0)
        listener.listen()
        result = plain_project.sh("lock", env={"DOCKER_HOST": f"unix://{closed}"})
    sentence, command = advice(result, "permission denied while trying to connect")
    assert sentence == "Your user may not talk to the Docker daemon."
    assert "usermod -aG docker" in command


@pytest.mark.skipif(os.getuid() != 0, reason="only root can hide Docker's plugins for a while")
# What the client says then depends on the options of the command that it does not know.
@pytest.mark.parametrize("verb", ["up", "down"])
def test_docker_has_no_compose_plugin(plain_project: Project, verb: str) -> None:
    hide = "".join(f"[ ! -d {folder} ] || mount -t tmpfs none {folder}; " for folder in PLUGINS)
    person = plain_project.owner
    result = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-ec", f'{hide} exec "$@"', "sh"),
            *person.prefix(),
            str(plain_project.docker / "template.sh"),
            *verb.split(),
        ],
        env=person.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    sentence, command = advice(result, "unknown (command|flag|shorthand)|is not a docker command")
    assert sentence.startswith("Docker has no Compose plugin")
    assert "docker-compose" in command


def test_the_image_is_not_built(project: MakeProject) -> None:
    new = project("never-built")
    for verb, image in (("up", "dev"), ("exec true", "dev"), ("run true", "runtime")):
        sentence, command = advice(new.sh(*verb.split()))
        name = rf"never-built-\S+:\S+-{image}"
        assert re.fullmatch(rf"The image {name} is not built yet\.", sentence)
        assert command.endswith(f"template.sh build {image}")


def test_the_dev_container_is_not_running(plain_project: Project) -> None:
    plain_project.ok("down")
    sentence, command = advice(plain_project.sh("exec", "true"))
    assert sentence == "The dev container is not running."
    assert command.endswith("template.sh up")


def test_a_port_is_taken(plain_project: Project) -> None:
    plain_project.ok("down")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        text = f"services: {{dev: {{ports: ['127.0.0.1:{port}:80']}}}}\n"
        with override(plain_project, text):
            result = plain_project.sh("up")
            plain_project.ok("down")
    sentence, command = advice(result, "address already in use|port is already allocated")
    assert sentence.startswith("A port of compose.override.yaml is taken")
    assert command.startswith("docker ps")


def test_the_disk_is_full(plain_project: Project) -> None:
    with override(plain_project, "services: {tools: {tmpfs: ['/tmp:size=64k']}}\n"):
        result = plain_project.sh("lock", "--upgrade")
    sentence, command = advice(result, "(?i)no space left on device")
    assert sentence == "The disk is full."
    assert command.startswith("docker system df")


def test_the_code_folder_is_missing(plain_project: Project) -> None:
    result = plain_project.sh("up", env={"LOCAL_CODE_DIR": "../nowhere"})
    sentence, _ = advice(result)
    nowhere = plain_project.folder / "nowhere"
    assert sentence == f"LOCAL_CODE_DIR in .env names {nowhere}, which is no folder."
    assert not (plain_project.folder / "nowhere").exists()


def test_missing_folders_for_data_and_mounts_are_made_as_the_person(
    plain_project: Project,
) -> None:
    folder = plain_project.folder
    text = "services: {dev: {volumes: ['../my scratch/imagenet:/scratch']}}\n"
    with override(plain_project, text):
        result = plain_project.sh("up", env={"LOCAL_DATA_DIR": "../other data"})
        assert result.returncode == 0, result.stderr
        plain_project.ok("exec", "touch", "/scratch/mine", "/data/mine")
        for path in ("my scratch/imagenet/mine", "other data/mine", "my scratch"):
            assert (folder / path).stat().st_uid == plain_project.owner.uid
        plain_project.ok("down")
    for path in ("my scratch/imagenet/mine", "other data/mine"):
        (folder / path).unlink()


def test_a_project_that_moved_makes_its_folders_where_it_is_now(plain_project: Project) -> None:
    plain_project.ok("run", "true")
    remembered = plain_project.docker / ".env.folders"
    old = str(plain_project.folder)
    plain_project.write("docker-amd64/.env.folders", remembered.read_text().replace(old, "/gone"))
    assert plain_project.sh("run", "true").stderr == ""
    assert not Path("/gone").exists()


def test_a_code_folder_may_be_named_as_compose_allows_it(plain_project: Project) -> None:
    home = plain_project.owner.home
    link = home / "code"
    link.symlink_to(plain_project.folder)
    env = {"LOCAL_CODE_DIR": "~/code"}
    assert plain_project.sh("run", "ls", "pyproject.toml", env=env).returncode == 0
    link.unlink()


def test_a_file_of_compose_file_is_missing(plain_project: Project) -> None:
    files = {"COMPOSE_FILE": "compose.yaml:compose.gone.yaml"}
    sentence, command = advice(plain_project.sh("up", env=files), "no such file")
    assert sentence == "COMPOSE_FILE in .env names a file that is not here."
    assert command.endswith("template.sh env --refresh COMPOSE_FILE")


def test_a_broken_override_file_is_shown_in_composes_own_words(plain_project: Project) -> None:
    with changed(plain_project, "docker-amd64/compose.override.yaml", "services: [\n"):
        files = {"COMPOSE_FILE": "compose.yaml:compose.override.yaml"}
        result = plain_project.sh("up", env=files)
    assert result.returncode != 0
    assert "compose.override.yaml" in result.stderr


@pytest.mark.parametrize("stage", ["build", "runtime", "dev"])
def test_a_package_that_the_distribution_does_not_have(plain_project: Project, stage: str) -> None:
    name = f"docker-amd64/dependencies/apt-{stage}.txt"
    text = (plain_project.folder / name).read_text()
    with changed(plain_project, name, f"{text}no-such-package-quiet-lamp\n"):
        result = plain_project.sh("build")
    sentence, command = advice(result, "Unable to locate package no-such-package-quiet-lamp")
    assert f"apt-{stage}.txt" in result.stderr
    assert "apt-*.txt" in sentence
    assert "template.sh build" in command


def test_a_python_package_that_does_not_exist_changes_no_file(plain_project: Project) -> None:
    folder = plain_project.docker / "dependencies"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    sentence, command = advice(
        plain_project.sh("add", "no-such-package-quiet-lamp"),
        "no-such-package-quiet-lamp was not found in the package registry",
    )
    assert "a package does not exist" in sentence
    assert "template.sh lock" in command
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_without_env_plain_docker_compose_names_the_command_to_run(plain_project: Project) -> None:
    env = plain_project.docker / ".env"
    aside = env.rename(env.with_name(".env.aside"))
    try:
        result = plain_project.owner.run("docker", "compose", "up", cwd=plain_project.docker)
    finally:
        aside.rename(env)
    assert result.returncode != 0
    assert result.stderr.rstrip().endswith("there is no .env yet. Run ./template.sh env")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fly"], 'There is no verb "fly".'),
        (["run"], "run needs a command"),
        (["run", "-e"], "run: -e needs a value."),
        (["run", "--gpus", "all", "true"], "run does not know --gpus"),
        (["exec"], "exec needs a command"),
        (["add"], "add needs the name of a package"),
        (["lock", "--force"], "lock knows --check and --upgrade"),
        (["build", "publish"], 'There is no image "publish"'),
        (["clean", "-f"], "clean knows --all"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(
    plain_project: Project, arguments: list[str], sentence: str
) -> None:
    assert advice(plain_project.sh(*arguments))[0].startswith(sentence)
