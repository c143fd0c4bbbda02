"""What the doctor finds in a project's folder and .env, and what --fix mends of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from host import doctor_files, doctor_folders, doctor_network
from host import fill as fill_module
from host.checkout import find_project
from host.doctor import OF_FILES, checks, mend, words_of
from host.doctor_facts import Details
from host.facts import Engine, Facts, Person
from host.fill import fill
from host.findings import ERROR, Results, Subject, examine
from host.gpu_facts import Access, Gpu, GpuFacts
from host.project import read_project
from tests.conftest import Generate, InGit
from tests.support.certificates import make_authority
from tests.support.git import git
from tests.support.serving import listening

ME = Person(os.getuid(), os.getgid(), "jane", "lab")
OTHER = 4242  # the id of a user whom nobody here is
KINDS: dict[str, dict[str, Any]] = {
    "cpu": {"accelerator": "cpu", "torch_version": "none"},
    "cuda": {"accelerator": "cuda", "extras": ["data", "jupyter", "ssh"]},
    "conda": {"package_manager": "conda"},
    "existing": {"project_kind": "existing", "accelerator": "cpu"},
}


def facts(**engine: Any) -> Facts:
    """A machine of mine whose engine, unless told otherwise, is stopped."""
    return Facts(user=ME, engine=Engine(kind="docker", **engine), timezone="Etc/UTC")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a public key, as one who logs in by ssh has it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / ".ssh").mkdir()
    (folder / ".ssh/id_ed25519.pub").write_text("ssh-ed25519 AAAA me@here\n")
    monkeypatch.setenv("HOME", str(folder))
    return folder


class Patient:
    """A generated project, and what the doctor says of it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.docker = folder, folder / "docker-amd64"

    def look(self, known: Facts | None = None) -> Results:
        """All that the doctor finds in its files."""
        project = read_project(self.docker)
        subject = Subject(project, known or facts(), Details())
        names = [one for one in checks(replayed=False) if one.__module__.split(".")[-1] in OF_FILES]
        return examine(subject, tuple(names), limit=60)

    def ill(self, known: Facts | None = None) -> dict[str, str]:
        """The ids of the findings, and what each is about."""
        results = self.look(known)
        assert not results.unchecked
        return {one.name: " ".join([one.evidence, *one.known.values()]) for one in results.findings}

    def write(self, **values: str) -> None:
        """Add lines to .env."""
        with (self.docker / ".env").open("a") as file:
            file.writelines(f"{key}={value}\n" for key, value in values.items())

    def mend(self, known: Facts | None = None) -> list[str]:
        """What --fix says."""
        return list(mend(self.look(known)).values())


@pytest.fixture(scope="module")
def generated(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with what a check may look at."""
    folder = tmp_path_factory.mktemp("generated") / "project"
    generate(folder, **KINDS["cuda"])
    return folder


@pytest.fixture
def patient(generated: Path, tmp_path: Path) -> Patient:
    """A project in good health."""
    folder = tmp_path / "project"
    shutil.copytree(generated, folder, symlinks=True)
    fill(folder / "docker-amd64", facts=facts())
    return Patient(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wrong_with_a_new_project(
    kind: str, generate: Generate, tmp_path: Path, in_git: InGit
) -> None:
    folder = tmp_path / "a $new project"
    if kind == "existing":
        folder.mkdir()
        (folder / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["six"]\n')
        in_git(folder)
        (folder / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    generate(folder, **KINDS[kind])
    if kind != "existing":
        in_git(folder)
    fill(folder / "docker-amd64", facts=facts())
    (folder / "notes.py").write_text("x = 1  # not committed\n")
    assert Patient(folder).ill() == {}


def test_a_missing_env_is_the_one_finding_and_mended(patient: Patient) -> None:
    (patient.docker / ".env").unlink()
    assert patient.ill().keys() == {"env-missing"}
    assert patient.mend()
    assert patient.ill() == {}


@pytest.mark.parametrize("line", ["not a setting", "MINE='open", 'MINE="a" b', "MINE=${"])
def test_a_line_that_compose_refuses_is_opened_by_the_command(line: str, patient: Patient) -> None:
    with (patient.docker / ".env").open("a") as file:
        file.write(f"{line}\n")
    number = len((patient.docker / ".env").read_text().splitlines())
    results = patient.look()
    assert not results.unchecked
    (found,) = results.findings
    assert (found.name, found.level) == ("env-line", ERROR)
    assert f" +{number} " in found.known["remedy"]


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_an_env_that_is_no_file_is_named(kind: str, patient: Patient) -> None:
    env = patient.docker / ".env"
    env.unlink()
    {"folder": env.mkdir, "link": lambda: env.symlink_to("/dev/null")}.get(
        kind, lambda: os.mkfifo(env)
    )()
    assert patient.ill().keys() == {"file-not-regular"}


LINES = {
    "env-own-ids": "UID=1000",
    "env-reads-otherwise": "PASSWORD=one two;three",
    "env-variable-unset": "PASSWORD=ab$cd",
    "env-value": "SHM_SIZE=much",
    "compose-file-missing": "COMPOSE_FILE=compose.yaml:compose.gone.yaml",
    "ids-of-packages": "GRPID=50000",
    "certificates-missing": "CA_BUNDLE=/nowhere/ca.crt",
    "secret-missing": "WANDB_API_KEY_FILE=/nowhere/key",
    "code-folder-missing": "LOCAL_CODE_DIR=/nowhere/code",
    "mount-missing": "LOCAL_DATA_DIR=/nowhere/data",
    "folder-too-wide": "LOCAL_OUTPUTS_DIR=/",
}


def test_what_a_shell_reads_as_compose_does_is_no_finding(patient: Patient) -> None:
    values = {
        "A": "'one $two; three'",
        "B": '"in ${HOME}/x $HOME"  # a comment',
        "C": "~/data,/srv:ro@1%+-=#2",
        "D": "${HOME}/x",
        "E": "$HOME  # a comment",
        "F": r'"a \$dollar, a \"quote\", a \\ backslash"',
        "G": "",
    }
    patient.write(**values)
    assert patient.ill() == {}
    env = patient.docker / ".env"
    read = read_project(patient.docker).settings
    shell = subprocess.run(
        ["bash", "-c", '. "$0"; printf "%s\\n" "$A" "$B" "$D" "$E" "$F"', str(env)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert shell == [read.get(key) for key in "ABDEF"]
    env.write_bytes(env.read_bytes().replace(b"\n", b"\r\n"))
    assert patient.ill() == {}


@pytest.mark.parametrize(
    "line",
    ["A = b", "A: b", "A=it's", "A=a b", "A=`id`", "A=$(id)", "A=a\\b", "A='it\\'s'", 'A="$$"'],
)
def test_what_a_shell_reads_otherwise_is_found(line: str, patient: Patient) -> None:
    with (patient.docker / ".env").open("a") as file:
        file.write(f"{line}\n")
    assert patient.ill().keys() == {"env-reads-otherwise"}


@pytest.mark.parametrize("name", LINES)
def test_a_line_of_env_that_will_bite_is_found(name: str, patient: Patient) -> None:
    patient.write(**dict([LINES[name].split("=", 1)]))
    found = patient.ill()
    assert name in found, found
    if name in ("env-value", "compose-file-missing"):
        number = len((patient.docker / ".env").read_text().splitlines())
        assert f"line {number} of" in found[name]


def test_fix_mends_what_the_machine_decides_and_keeps_what_the_user_wrote(patient: Patient) -> None:
    folder = patient.root.parent / "data that is not there"
    patient.write(
        COMPOSE_FILE="compose.gone.yaml", LOCAL_DATA_DIR=f"'{folder}'", SHM_SIZE="much", MINE="1"
    )
    patient.mend()
    left = patient.ill()
    assert left.keys() == {"env-value"}
    assert "SHM_SIZE" in left["env-value"]
    assert folder.stat().st_uid == os.getuid()
    text = (patient.docker / ".env").read_text()
    assert "\nSHM_SIZE=much\n" in text
    assert "\nMINE=1\n" in text
    assert patient.mend() == []


def test_missing_keys_are_added(patient: Patient) -> None:
    env = patient.docker / ".env"
    env.write_text(re.sub(r"(?m)^(SHM_SIZE|USRID)=.*\n", "", env.read_text()))
    results = patient.look()
    assert [one.level for one in results.findings if one.name == "env-keys-missing"] == [ERROR]
    patient.mend()
    assert patient.ill() == {}


def test_a_copy_gets_a_name_of_its_own(patient: Patient, tmp_path: Path) -> None:
    copy = Patient(tmp_path / "copy")
    shutil.copytree(patient.root, copy.root, symlinks=True)
    name = read_project(copy.docker).settings.get("COMPOSE_PROJECT_NAME")
    copy.write(COMPOSE_FILE="compose.gone.yaml")  # whose mend takes the new name, too
    assert {"project-copied", "compose-file-missing"} <= copy.ill().keys()
    assert all(copy.mend())
    assert copy.ill() == {}
    assert read_project(copy.docker).settings.get("COMPOSE_PROJECT_NAME") != name


def test_files_that_others_can_change_or_read_are_closed(patient: Patient) -> None:
    token = patient.root.parent / "token"
    token.write_text("4711")
    token.chmod(0o644)
    patient.root.parent.chmod(0o755)
    config = patient.root.parent / "config"
    config.touch(0o644)
    patient.write(MY_CONFIG_FILE=str(config))
    assert patient.ill() == {}
    patient.write(HF_TOKEN_FILE=str(token))
    (patient.docker / "template.sh").chmod(0o777)
    assert {"secret-open", "folder-open"} <= patient.ill().keys()
    patient.mend()
    assert patient.ill() == {}
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert not (patient.docker / "template.sh").stat().st_mode & stat.S_IWOTH


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_folders_that_the_container_s_user_cannot_use_are_found(patient: Patient) -> None:
    patient.write(
        USRID=str(OTHER), GRPID=str(OTHER), LOCAL_CODE_DIR="../code", CONTAINERS_SEE="all"
    )
    data, code, outputs = (patient.root / name for name in ("data", "code", "outputs"))
    for folder in (data, code, outputs):
        folder.mkdir(exist_ok=True)
        os.chown(folder, OTHER, OTHER)
    assert patient.ill() == {}
    os.chown(data, 0, 0)  # which is read-only for containers
    assert patient.ill() == {}
    os.chown(outputs, 0, 0)
    assert str(outputs) in patient.ill()["folder-of-root"]
    paste(remedy(patient, "folder-of-root").removeprefix("sudo "))  # the caller is root
    assert patient.ill() == {}
    os.chown(outputs, 0, 0)
    rootless = facts(reachable=True, rootless=True, compose="plugin")
    assert "folder-of-root" not in patient.ill(rootless)
    os.chown(outputs, OTHER + 1, OTHER)
    assert f"ls -ldn {outputs}" in remedy(patient, "folder-not-usable")
    os.chown(outputs, OTHER, OTHER)
    outputs.chmod(0o500)
    paste(remedy(patient, "folder-not-usable"))
    assert patient.ill() == {}


def remedy(patient: Patient, name: str) -> str:
    """The command of a finding."""
    found = next(one for one in patient.look().findings if one.name == name)
    project = read_project(patient.docker)
    return words_of(Subject(project, facts(), Details()), found).command


def paste(command: str) -> None:
    """Run a printed command as its reader does."""
    subprocess.run(["bash", "-c", command], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_files_that_root_has_left_are_given_back_by_the_command(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in (patient.docker, *patient.docker.rglob("*")):
        os.chown(one, OTHER, OTHER)
    (patient.docker / ".env.bak").touch()
    assert ".env.bak" in patient.ill()["file-of-root"]
    monkeypatch.setenv("USER", str(OTHER))
    paste(remedy(patient, "file-of-root").replace("sudo ", "", 1))
    assert "file-of-root" not in patient.ill()


def test_a_disk_without_room_and_a_folder_without_leave_are_found(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_files, "ROOM", 1 << 62)
    assert str(patient.root) in patient.ill()["disk-low"]
    paste(remedy(patient, "disk-low"))
    monkeypatch.undo()
    monkeypatch.setattr(os, "access", lambda *_: False)  # to root, all is open
    assert "project-read-only" in patient.ill()


def test_a_password_that_images_would_keep_is_found_and_not_shown(patient: Patient) -> None:
    patient.write(APT_MIRROR="https://me:s3cret@mirror.example")
    found = patient.ill()
    assert "password-in-image" in found
    assert "s3cret" not in str(found)


def test_a_moved_project_keeps_its_name(patient: Patient) -> None:
    name = read_project(patient.docker).settings.get("COMPOSE_PROJECT_NAME")
    moved = Patient(patient.root.rename(patient.root.with_name("moved")))
    assert str(patient.root) in moved.ill()["project-moved"]
    moved.mend()
    assert moved.ill() == {}
    assert read_project(moved.docker).settings.get("COMPOSE_PROJECT_NAME") == name


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("", ""),
        (
            "container-older",
            "inspect*Image*) echo sha256:1; exit;; image*Id*) echo sha256:2; exit;;",
        ),
        ("container-lock-older", "exec*cmp*) exit 9;;"),
        ("home-of-another", "exec*find*) printf '1000\\n0 /home/user/.vscode-server\\n'; exit;;"),
        ("image-of-other-ids", "image*User*) echo 4321; exit;;"),
    ],
)
def test_what_is_old_or_foreign_in_the_container_is_found(
    name: str,
    answers: str,
    patient: Patient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = f'case "$*" in ps*service=dev*) echo 4711; exit;; {answers} exec*) exit 0;; esac'
    engine_says(tmp_path / "bin", monkeypatch, script)
    known = facts(reachable=True, compose="plugin", compose_version="2.40.3")
    assert patient.ill(known).keys() == ({name} if name else set())


def test_slow_and_network_disks_are_told_apart(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(doctor_folders, "MOUNTS", mounts)
    mounts.write_text(f"server:/home {patient.root} nfs4 rw 0 0\n")
    patient.root.chmod(0o700)
    assert "folder-refused-to-engine" in patient.ill()
    assert "folder-refused-to-engine" not in patient.ill(facts(rootless=True))
    mounts.write_text(f"C: {patient.root} 9p rw 0 0\n")
    assert "folder-slow" not in patient.ill()
    in_wsl = Facts(user=ME, engine=Engine(kind="docker"), wsl=2)
    assert "folder-slow" in patient.ill(in_wsl)


def test_a_folder_that_a_service_synchronises_is_named(patient: Patient, tmp_path: Path) -> None:
    synced = Patient(tmp_path / "OneDrive - Lab" / "project")
    shutil.copytree(patient.root, synced.root, symlinks=True)
    assert "OneDrive - Lab" in synced.ill()["folder-synced"]


def test_a_taken_port_is_named_with_who_has_it(patient: Patient) -> None:
    server = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as taken:
        assert taken.stdout
        said = re.search(r"port (\d+)", taken.stdout.readline())
        assert said
        patient.write(SSH_PORT=said[1])
        found = patient.ill()["port-taken"]
        taken.kill()
    assert f"process {taken.pid}" in found
    assert "port-taken" not in patient.ill()


def test_what_a_merge_or_an_update_left_is_found(patient: Patient, in_git: InGit) -> None:
    in_git(patient.root)
    (patient.docker / "compose.yaml.rej").touch()
    with (patient.docker / "verify.py").open("a") as file:
        file.write("<<<<<<< before\n=======\n>>>>>>> after\n")
    assert re.search(r"compose.yaml.rej.*verify.py", patient.ill()["conflict-left"])


def test_a_lock_that_is_older_than_its_files_is_found(patient: Patient) -> None:
    lock = patient.docker / "dependencies/uv.lock"
    lock.write_text("version = 1\n")
    assert "lock-stale" in patient.ill()


def test_a_lock_of_conda_that_is_older_than_its_files_is_found(
    generate: Generate, tmp_path: Path
) -> None:
    patient = Patient(generate(tmp_path / "project", **KINDS["conda"]))
    fill(patient.docker, facts=facts())
    dependencies = patient.docker / "dependencies"
    (dependencies / "conda.lock").write_text("{}\n")
    assert "conda-lock-stale" in patient.ill()


def test_the_certificates_of_this_machine_are_missed(patient: Patient) -> None:
    known = Facts(user=ME, engine=Engine(kind="docker"), ca_bundle="/etc/ssl/proxy.crt")
    assert "/etc/ssl/proxy.crt" in patient.ill(known)["build-certificate"]


def test_a_template_that_has_moved_on_is_said_if_it_is_trusted(
    project: Path, own_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = Patient(project)
    assert "template-newer" not in patient.ill()
    git(own_template, "tag", "v1000.0.0")
    assert "v1000.0.0" in patient.ill()["template-newer"]
    # Nothing that a container has written into .git/config runs.
    git(project, "config", "core.sshCommand", f"touch {tmp_path}/ran; false")
    git(project, "config", "url.ssh://x/.insteadOf", str(own_template.parent))
    monkeypatch.chdir(patient.docker)
    assert "template-newer" in patient.ill()
    assert not (tmp_path / "ran").exists()
    (patient.docker / ".env.trusted").unlink()
    assert "template-newer" not in patient.ill()


def test_a_link_of_a_container_and_an_interrupted_update_are_found(project: Path) -> None:
    patient = Patient(project)
    outputs = project / "outputs"
    shutil.rmtree(outputs, ignore_errors=True)
    outputs.symlink_to(project.parent)
    state = find_project(read_project(patient.docker)).state
    state.mkdir(parents=True)
    gone = subprocess.Popen(["true"])
    gone.wait()
    (state / "running").write_text(str(gone.pid))
    found = patient.ill()
    assert {"folder-linked", "update-interrupted"} <= found.keys()
    assert str(state / "undo") in found["update-interrupted"]


def engine_says(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a `docker` on the PATH that answers by a script of sh, and else fails."""
    folder.mkdir()
    docker = folder / "docker"
    docker.write_text(f"#!/bin/sh\n{script}\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_mounts_and_ports_of_an_override_file_are_looked_at(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (patient.docker / "compose.override.yaml").write_text("services: {}\n")
    patient.write(COMPOSE_FILE="compose.yaml:compose.override.yaml")
    scratch = tmp_path / "scratch"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        mount = {"type": "bind", "source": str(scratch), "target": "/scratch"}
        there = {"published": str(number), "host_ip": "127.0.0.1"}
        config = json.dumps({"services": {"dev": {"volumes": [mount], "ports": [there]}}})
        engine_says(tmp_path / "bin", monkeypatch, f"[ $1 = compose ] && echo '{config}' && exit")
        found = patient.ill()
    assert str(scratch) in found["mount-missing"]
    assert str(number) in found["port-taken"]
    patient.mend()
    assert scratch.is_dir()
    assert patient.ill() == {}


def test_a_port_of_the_own_container_is_not_taken(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        patient.write(SSH_PORT=str(taken.getsockname()[1]))
        name = read_project(patient.docker).settings.get("COMPOSE_PROJECT_NAME")
        own = f'case "$*" in ps*project={name}*) echo 4711; exit;; esac'
        engine_says(tmp_path / "bin", monkeypatch, own)
        assert patient.ill() == {}


@pytest.mark.parametrize(
    ("said", "finds"),
    [
        ("Get https://registry.example/v2/team/cuda/manifests/12: no basic auth credentials", True),
        ("unauthorized: authentication required", True),
        ("dial tcp: lookup registry.example: no such host", False),
        ("no such manifest: registry.example/team/cuda:12", False),
    ],
)
def test_a_login_is_missed_where_the_registry_wants_one(
    said: str, finds: bool, patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_says(tmp_path / "bin", monkeypatch, f'[ $1 = manifest ] && echo "{said}" >&2')
    patient.write(BASE_IMAGE="registry.example/team/cuda:12")
    known = facts(reachable=True, compose="plugin", compose_version="2.40.3")
    assert ("registry-login" in patient.ill(known)) == finds
    if finds:
        found = next(one for one in patient.look(known).findings if one.name == "registry-login")
        assert found.known["remedy"] == "docker login registry.example"


def test_a_proxy_that_inspects_tls_is_found_by_what_an_administrator_has_added(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(key, raising=False)
    for name in ("proxy", "other"):
        (tmp_path / name).mkdir()
    authority, context = make_authority(tmp_path / "proxy", "127.0.0.1")
    other, _ = make_authority(tmp_path / "other", "127.0.0.1")
    added = tmp_path / "added"
    added.mkdir()
    monkeypatch.setattr(doctor_network, "ADDED", (str(added),))
    with listening(BaseHTTPRequestHandler, "127.0.0.1", context) as url:
        patient.write(UV_DEFAULT_INDEX=f"{url}/simple")
        assert patient.ill() == {}
        shutil.copy(other, added / "of-another-server.crt")
        assert patient.ill() == {}
        shutil.copy(authority, added / "of-the-proxy.crt")
        found = next(one for one in patient.look().findings)
        assert (found.name, found.level) == ("build-certificate", ERROR)
        monkeypatch.setattr(fill_module, "system_bundle", lambda: str(authority))
        patient.mend()
        assert patient.ill() == {}
    assert read_project(patient.docker).settings.get("CA_BUNDLE") == str(authority)
    assert "compose.ca.yaml" in read_project(patient.docker).settings.files()


@pytest.mark.parametrize("proxy", ["", "http://127.0.0.1:{port}"])
def test_a_server_that_does_not_answer_delays_nothing(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, _ = make_authority(tmp_path, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", proxy.format(port=port))
        monkeypatch.setattr(doctor_network, "PATIENCE", 0.2)
        start = time.monotonic()
        assert not doctor_network.is_inspected("127.0.0.1", port, [authority])
        assert time.monotonic() - start < 60


LOCK = """\
[[package]]
name = "iniconfig"
source = {{ registry = "{index}" }}
wheels = [ {{ url = "{file}", hash = "sha256:0" }} ]
"""


def test_a_lock_that_was_made_with_another_index_is_mended_by_the_command(patient: Patient) -> None:
    index = "https://index.example/simple"
    lock = patient.docker / "dependencies/uv.lock"

    def made_with(file: str) -> bool:
        lock.write_text(LOCK.format(index=f"{index}/", file=file))
        return "lock-of-another-index" in patient.ill()

    # An index without its files is uv's default, which needs no key.
    assert not made_with("https://files.example/iniconfig.whl")
    assert made_with("https://index.example/files/iniconfig.whl")
    patient.write(UV_DEFAULT_INDEX="https://mirror.example/simple")
    assert made_with("https://files.example/iniconfig.whl")
    found = next(one for one in patient.look().findings if one.name == "lock-of-another-index")
    patient.write(**dict([found.known["setting"].split("=", 1)]))
    assert "lock-of-another-index" not in patient.ill()


def with_gpus(*uuids: str) -> GpuFacts:
    """A machine whose engine gives these GPUs to containers by CDI or NVIDIA's runtime."""
    engine = Engine(kind="docker", reachable=True, compose="plugin", compose_version="2.40.3")
    return GpuFacts(
        user=ME,
        engine=engine,
        timezone="Etc/UTC",
        gpus=tuple(Gpu("A", uuid, "9.0", index=at) for at, uuid in enumerate(uuids)),
        gpu_status="found",
        access=Access(kinds=("cdi", "nvidia"), cdi_names=(*uuids, "all")),
    )


def test_override_files_for_gpus_follow_the_machine(patient: Patient) -> None:
    one, two = with_gpus("GPU-1"), with_gpus("GPU-2")
    fill(patient.docker, ["all"], one)
    assert patient.ill(one) == {}
    patient.write(GPU_IDS="GPU-2")
    assert "compose.cdi.yaml" in patient.ill(two)["gpu-files-older"]
    patient.mend(two)
    assert patient.ill(two) == {}
    assert "GPU-2" in (patient.docker / "compose.cdi.yaml").read_text()

    patient.write(COMPOSE_FILE="compose.yaml:compose.cdi.yaml:compose.nvidia.yaml")
    assert "gpu-files-both" in patient.ill(two)
    patient.mend(two)
    assert patient.ill(two) == {}
    files = read_project(patient.docker).settings.files()
    assert "compose.cdi.yaml" in files
    assert "compose.nvidia.yaml" not in files


def test_ssh_without_a_key_is_said_before_somebody_tries_to_log_in(
    patient: Patient, home: Path
) -> None:
    keys = home / ".ssh/id_ed25519.pub"
    for value in ("", str(keys)):
        keys.write_text("\n")
        patient.write(SSH_KEYS=value)
        found = patient.ill()
        assert f"names {value or 'nothing'}" in found["ssh-no-keys"]
    keys.write_text("ssh-ed25519 AAAA me@here\n")
    assert patient.ill() == {}
