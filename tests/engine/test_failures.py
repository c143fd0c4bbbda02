"""What goes wrong every day, for real: first the program's words, then one cause, one command."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.engine.conftest import MakeProject
from tests.support.certificates import make_authority
from tests.support.index import bridge_address
from tests.support.process import run
from tests.support.project import Person, Project
from tests.support.serving import listening
from tests.support.sockets import unix_socket

# Where Docker's client looks for its plugins, besides the person's own folder.
PLUGINS = [
    *("/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins"),
    *("/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins"),
]


def ending(result: subprocess.CompletedProcess[str], raw: str = "") -> tuple[str, str, str]:
    """How a failure ends: its sentences, command and id; what was to be seen before is checked."""
    assert result.returncode != 0
    *before, empty, cause, command = result.stderr.rstrip().split("\n")
    assert re.search(raw, "\n".join(before)), result.stderr
    assert empty == ""
    assert command.startswith("  Run: "), result.stderr
    sentence, _, name = cause.partition(" (failure: ")
    assert sentence.endswith("."), result.stderr
    return sentence, command.removeprefix("  Run: "), name.rstrip(")")


def advice(result: subprocess.CompletedProcess[str], raw: str = "") -> tuple[str, str]:
    """The sentences and the command that end a failure."""
    return ending(result, raw)[:2]


def failure(result: subprocess.CompletedProcess[str], raw: str = "") -> str:
    """The id of a failure in host/known_failures/."""
    return ending(result, raw)[2]


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


@contextmanager
def engine_of_one_network(folder: Path) -> Iterator[str]:
    """The address of an engine that has no image, and addresses for one network, which is made.

    It runs in a network namespace of its own: beside the first engine, one without a bridge would
    remove that of the first.
    """
    folder.mkdir()
    host = f"unix://{folder}/docker.sock"
    settings = {
        "hosts": [host],
        "group": "docker",
        "data-root": f"{folder}/data",
        "exec-root": f"{folder}/exec",
        "pidfile": f"{folder}/docker.pid",
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "default-address-pools": [{"base": "10.214.0.0/29", "size": 29}],
    }
    (folder / "daemon.json").write_text(json.dumps(settings))
    command = ("unshare", "--net", "--mount", "dockerd", "--config-file", folder / "daemon.json")
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as engine,
    ):
        try:
            create = ("docker", "--host", host, "network", "create", "first")
            while run(*create).returncode:
                assert engine.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
            yield host
        finally:
            engine.terminate()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start another engine")
def test_the_engine_has_no_addresses_for_another_network(
    plain_project: Project, open_folder: Path
) -> None:
    with engine_of_one_network(open_folder / "small-engine") as host:
        # An image that starts nothing: the network comes first.
        image = ("import", "-", plain_project.image("dev"))
        nothing = bytes(10240).decode()
        assert run("docker", "--host", host, *image, input=nothing).returncode == 0
        result = plain_project.sh("up", env={"DOCKER_HOST": host})
        sentence, command, name = ending(result, "address pools have been fully subnetted")
        assert name == "address-pools"
        assert sentence
        remedy = shlex.split(f"{command} --force")
        assert run(*remedy, env=os.environ | {"DOCKER_HOST": host}).stdout.split()[-1] == "first"
        result = plain_project.sh("up", env={"DOCKER_HOST": host})
        assert "address pools" not in result.stderr
        plain_project.sh("down", env={"DOCKER_HOST": host})


# `run` becomes Compose; whatever else is called is waited for.
@pytest.mark.parametrize("verb", ["build", "run true"])
def test_no_docker_on_this_machine(plain_project: Project, without_docker: str, verb: str) -> None:
    result = plain_project.sh(*verb.split(), env={"PATH": without_docker})
    assert failure(result, "docker: command not found") == "docker-missing"


@pytest.mark.parametrize("verb", ["lock", "run true"])
def test_the_daemon_is_not_running(plain_project: Project, open_folder: Path, verb: str) -> None:
    nobody_listens = {"DOCKER_HOST": f"unix://{open_folder}/none.sock"}
    result = plain_project.sh(*verb.split(), env=nobody_listens)
    sentence, command, name = ending(result, "(?i)cannot connect to the docker|failed to connect")
    assert name == "engine-not-running"
    shown = plain_project.ok("env", "--show", env=nobody_listens)
    assert f"{sentence} (failure: {name})" in shown
    assert command in shown


def test_the_user_may_not_open_the_socket(plain_project: Project, open_folder: Path) -> None:
    closed = open_folder / "closed.sock"
    closed.unlink(missing_ok=True)
    with unix_socket(closed) as listener:
        closed.chmod(0)
        listener.listen()
        result = plain_project.sh("up", env={"DOCKER_HOST": f"unix://{closed}"})
    assert failure(result, "permission denied while trying to connect") == "engine-permission"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can hide Docker's plugins for a while")
@pytest.mark.parametrize("verb", ["down", "run true"])
def test_docker_has_no_compose_plugin(plain_project: Project, verb: str) -> None:
    hide = "".join(f"[ ! -d {folder} ] || mount -t tmpfs none {folder}; " for folder in PLUGINS)
    result = in_a_mount_namespace(plain_project, hide, *verb.split())
    assert failure(result, "unknown (command|flag|shorthand)|is not a docker") == "compose-missing"


def in_a_mount_namespace(
    project: Project, before: str, *words: str
) -> subprocess.CompletedProcess[str]:
    """Run a verb as the owner, where root has mounted something else before."""
    person = project.owner
    script = str(project.docker / "template.sh")
    return subprocess.run(
        [
            *("unshare", "--mount", "sh", "-ec", f'{before} exec "$@"', "sh"),
            *person.prefix(),
            script,
            *words,
        ],
        env=person.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_the_folder_of_the_project_is_read_only(plain_project: Project) -> None:
    folder = shlex.quote(str(plain_project.folder))
    mount = f"mount --bind -o ro {folder} {folder};"
    result = in_a_mount_namespace(plain_project, mount, "env", "--set", "TZ=Europe/Berlin")
    assert failure(result, "Read-only file system") == "project-read-only"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_a_second_user_has_no_access_to_env(plain_project: Project, jane: Person) -> None:
    other = replace(jane, uid=4321, gid=4321, name="mary")
    plain_project.folder.parent.chmod(0o755)
    _, command, name = ending(plain_project.sh("up", user=other), "Permission denied")
    assert name == "env-unreadable"
    assert "git clone" in command


def test_the_image_is_not_built(project: MakeProject) -> None:
    sentence, command, name = ending(project("never-built").sh("run", "true"))
    assert name == "image-not-built"
    assert re.search(r" never-built-\S+:\S+-runtime ", sentence)
    assert command.endswith("template.sh build runtime")


def test_the_dev_container_is_not_running(plain_project: Project) -> None:
    plain_project.ok("down")
    assert failure(plain_project.sh("exec", "true")) == "container-not-running"
    for verb in ("logs", "start"):  # Compose says nothing, or which service it calls dev
        assert failure(plain_project.sh(verb)) == "container-missing"


def test_a_port_is_taken(plain_project: Project) -> None:
    plain_project.ok("down")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        text = f"services: {{dev: {{ports: ['127.0.0.1:{port}:80']}}}}\n"
        with override(plain_project, text):
            up = plain_project.sh("up")
            plain_project.ok("down")
        run = plain_project.sh("run", "-p", f"127.0.0.1:{port}:80", "true")
    for result in (up, run):
        sentence, _, name = ending(result, "address already in use|port is already allocated")
        assert name == "port-taken"
        assert f"Port {port} " in sentence


def test_a_disk_is_full(plain_project: Project) -> None:
    with override(plain_project, "services: {tools: {tmpfs: ['/tmp:size=64k']}}\n"):
        result = plain_project.sh("lock", "--upgrade")
    sentence, _, name = ending(result, "(?i)no space left on device")
    assert name == "disk-full"
    assert sentence.startswith("A container's own file system is full")


def test_the_memory_is_used_up(plain_project: Project) -> None:
    killed = "services: {dev: {entrypoint: [sh, -c, 'kill -KILL $$$$']}}\n"
    with override(plain_project, killed):
        result = plain_project.sh("up")
        plain_project.ok("down")
    assert failure(result) == "memory-used-up"


def test_the_code_folder_is_missing(plain_project: Project) -> None:
    result = plain_project.sh("run", "true", env={"LOCAL_CODE_DIR": "../nowhere"})
    sentence, _, name = ending(result)
    assert name == "code-folder-missing"
    assert str(plain_project.folder / "nowhere") in sentence
    assert not (plain_project.folder / "nowhere").exists()


def test_missing_folders_for_data_and_mounts_are_made_as_the_person(
    plain_project: Project,
) -> None:
    folder = plain_project.folder
    text = "services: {dev: {volumes: ['../my scratch/imagenet:/scratch']}}\n"
    env = {"LOCAL_DATA_DIR": "../other data", "DATA_READ_ONLY": "false"}
    with override(plain_project, text):
        result = plain_project.sh("up", env=env)
        assert result.returncode == 0, result.stderr
        plain_project.ok("exec", "touch", "/scratch/mine", "/data/mine")
        for path in ("my scratch/imagenet/mine", "other data/mine", "my scratch"):
            assert (folder / path).stat().st_uid == plain_project.owner.uid
        plain_project.ok("down")
    for path in ("my scratch/imagenet/mine", "other data/mine"):
        (folder / path).unlink()


def test_a_code_folder_may_be_named_as_compose_allows_it(plain_project: Project) -> None:
    home = plain_project.owner.home
    link = home / "code"
    link.symlink_to(plain_project.folder)
    env = {"LOCAL_CODE_DIR": "~/code"}
    assert plain_project.sh("run", "ls", "pyproject.toml", env=env).returncode == 0
    link.unlink()


@pytest.mark.parametrize("verb", ["build", "run true"])
def test_a_file_of_compose_file_is_missing(plain_project: Project, verb: str) -> None:
    files = {"COMPOSE_FILE": "compose.yaml:compose.gone.yaml"}
    result = plain_project.sh(*verb.split(), env=files)
    assert failure(result, "no such file") == "compose-file-missing"


def test_a_value_of_env_that_its_key_cannot_have(plain_project: Project) -> None:
    before = (plain_project.docker / ".env").read_text()
    plain_project.set_env(SHM_SIZE="lots")
    result = plain_project.sh("run", "true")
    plain_project.write("docker-amd64/.env", before)
    sentence, _, name = ending(result)
    assert name == "env-value"
    assert sentence.startswith("SHM_SIZE in .env")


def test_a_broken_override_file_is_shown_in_composes_own_words(plain_project: Project) -> None:
    with changed(plain_project, "docker-amd64/compose.override.yaml", "services: [\n"):
        for verb in ("up", "run true", "exec true", "build"):
            files = {"COMPOSE_FILE": "compose.yaml:compose.override.yaml"}
            result = plain_project.sh(*verb.split(), env=files)
            assert result.returncode != 0
            assert "compose.override.yaml" in result.stderr


def test_a_package_that_the_distribution_does_not_have(plain_project: Project) -> None:
    name = "docker-amd64/dependencies/apt-build.txt"
    text = (plain_project.folder / name).read_text()
    with changed(plain_project, name, f"{text}no-such-package-quiet-lamp\n"):
        result = plain_project.sh("build")
    assert failure(result, "Unable to locate package no-such") == "apt-package-missing"


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_library_that_the_image_lacks_is_named_with_its_package(
    plain_project: Project, verb: str
) -> None:
    plain_project.ok("up")
    program = "import ctypes; ctypes.CDLL('libGL.so.1')"
    result = plain_project.sh(verb, "python", "-c", program)
    _, command, name = ending(result, "Traceback")
    assert name == "system-library-missing"
    add, _, build = command.partition(" && ")
    script, *words = shlex.split(add)
    assert (plain_project.docker / "template.sh").samefile(plain_project.folder / script)
    assert words == ["add", "--apt", "libgl1"]
    assert build == f"{shlex.quote(script)} build"


@pytest.mark.parametrize(
    ("packages", "name"),
    [
        (["no-such-package-quiet-lamp"], "package-missing"),
        (["six==99"], "no-versions-fit"),
        (["six>>1"], "requirement-invalid"),
    ],
)
def test_packages_that_cannot_be_had_change_no_file(
    plain_project: Project, packages: list[str], name: str
) -> None:
    folder = plain_project.docker / "dependencies"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert failure(plain_project.sh("add", *packages)) == name
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before


def test_a_package_index_that_cannot_be_reached(plain_project: Project) -> None:
    # Another index would build the tools anew.
    result = plain_project.sh("lock", "--upgrade", env={"HTTP_PROXY": "http://127.0.0.1:9"})
    assert failure(result, "Connection refused") == "index-blocked"


def test_a_dependency_file_that_is_invalid(plain_project: Project) -> None:
    path = "docker-amd64/dependencies/pyproject.toml"
    text = (plain_project.folder / path).read_text()
    with changed(plain_project, path, text.replace("dependencies = [", "dependencies = [six,", 1)):
        result = plain_project.sh("lock")
    sentence, _, name = ending(result)
    assert name == "dependency-file-invalid"
    assert re.match(r"Line \d+ of dependencies/pyproject.toml", sentence)


def test_a_base_image_that_cannot_be_reached(plain_project: Project) -> None:
    result = plain_project.sh("build", env={"BASE_IMAGE": "127.0.0.1:9/debian:x"})
    _, command, name = ending(result, "connection refused")
    assert name == "base-image-blocked"
    assert "env --set BASE_IMAGE=" in command


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with TLS whose authority the engine does not know."""
    address = bridge_address()
    _, tls = make_authority(tmp_path_factory.mktemp("authority"), address)
    with listening(BaseHTTPRequestHandler, address, tls) as url:
        yield url.removeprefix("https://")


def test_a_certificate_that_the_engine_does_not_trust(
    plain_project: Project, untrusted: str
) -> None:
    result = plain_project.sh("build", env={"BASE_IMAGE": f"{untrusted}/debian:x"})
    assert failure(result, "x509: certificate signed by unknown") == "daemon-certificate"
    result = plain_project.sh("publish", f"{untrusted}/team/plain")
    _, command, name = ending(result, "x509: certificate signed by unknown")
    assert name == "registry-certificate"
    assert f"/etc/docker/certs.d/{untrusted}/ca.crt" in command


def test_an_index_of_pytorch_that_cannot_be_reached(torch_project: Project) -> None:
    path = "docker-amd64/dependencies/pyproject.toml"
    text = (torch_project.folder / path).read_text()
    elsewhere = re.sub(
        r'(name = "pytorch"\n)url = ".*"', r'\1url = "http://127.0.0.1:9/whl/cpu"', text
    )
    with changed(torch_project, path, elsewhere):
        result = torch_project.sh("lock")
    sentence, _, name = ending(result, "Failed to fetch")
    assert name == "pytorch-index-blocked"
    assert "http://127.0.0.1:9" in sentence


@pytest.mark.parametrize(
    ("words", "env", "said", "name"),
    [
        ("-p 192.0.2.1:8080:80 true", {}, "cannot assign requested address", "address-of-another"),
        ("true", {"MEMORY": "1m"}, "", "memory-too-small"),
    ],
)
def test_a_container_that_cannot_be_started(
    plain_project: Project, words: str, env: dict[str, str], said: str, name: str
) -> None:
    assert failure(plain_project.sh("run", *words.split(), env=env), said) == name


@contextmanager
def base_image(project: Project, *lines: str) -> Iterator[str]:
    """A base image made of a few lines, for a while."""
    image = "hearth-tests:own-base"
    text = "".join(f"{line}\n" for line in ("FROM debian:bookworm-slim", *lines))
    command = ("docker", "build", "--tag", image, "-")
    built = project.owner.run(*command, cwd=project.folder, stdin=text)
    assert built.returncode == 0, built.stderr
    try:
        yield image
    finally:
        project.owner.run("docker", "image", "rm", image, cwd=project.folder)


def test_a_base_image_that_has_a_folder_where_ours_goes(plain_project: Project) -> None:
    theirs = "RUN mkdir -p /opt/venv && touch /opt/venv/theirs"
    with base_image(plain_project, theirs) as image:
        result = plain_project.sh("build", env={"BASE_IMAGE": image})
    assert failure(result, "already exists") == "base-image-has-our-folder"


def test_a_base_image_with_a_user_of_its_own(plain_project: Project) -> None:
    with base_image(plain_project, "USER nobody") as image:
        result = plain_project.sh("build", env={"BASE_IMAGE": image})
    _, command, name = ending(result, "has the user nobody")
    assert name == "base-image-user"
    assert image in command


def test_a_base_image_that_moves_pythons_home_is_built_and_runs(plain_project: Project) -> None:
    with base_image(plain_project, "ENV PYTHONHOME=/nowhere") as image:
        env = {"BASE_IMAGE": image}
        assert plain_project.sh("build", "runtime", env=env).returncode == 0
        assert plain_project.sh("run", "python", "-c", "import json", env=env).returncode == 0


@pytest.mark.parametrize("command", ["config", "up", "build"])
def test_without_env_plain_docker_compose_names_the_command_to_run(
    plain_project: Project, command: str
) -> None:
    env = plain_project.docker / ".env"
    aside = env.rename(env.with_name(".env.aside"))
    try:
        result = plain_project.owner.run("docker", "compose", command, cwd=plain_project.docker)
    finally:
        aside.rename(env)
    assert result.returncode != 0
    assert result.stderr.rstrip().endswith("there is no .env yet. Run ./template.sh env")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["fly"], 'There is no verb "fly".'),
        (["run"], "run needs a command"),
        (["run", "-e"], "needs a value."),
        (["run", "--gpus", "all", "true"], "run does not know --gpus"),
        (["exec"], "exec needs a command"),
        (["add"], "add needs NAME"),
        (["lock", "--force"], "lock does not know --force"),
        (["build", "publish"], 'There is no image "publish"'),
        (["down", "-v"], "down does not know -v"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(
    plain_project: Project, arguments: list[str], part: str
) -> None:
    assert part in advice(plain_project.sh(*arguments))[0]
