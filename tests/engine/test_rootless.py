"""The day's work on a rootless Docker, and GPUs that are not there by a CDI file."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.conftest import SMALL_TORCH, MakeProject
from tests.engine.test_daily_work import wait_for
from tests.engine.test_doctor import doctor
from tests.engine.test_failures import ending
from tests.support.engine import ROOTLESS_HOME, images_problem, need, rootless_problem
from tests.support.index import PackageIndex
from tests.support.project import Person, Project

SMI = Path(__file__).parents[1] / "fakes/bin/nvidia-smi"
PINS = Path(__file__).parents[2] / "hooks/pins/pins.yml"
PORT = "services:\n  dev:\n    ports: ['127.0.0.1:0:8000']\n"


@pytest.fixture(scope="module")
def ruth() -> Person:
    """The user of a rootless engine, which has the base image; two GPUs are on the machine."""
    need(rootless_problem())
    need(images_problem())
    host = (ROOTLESS_HOME / "socket").read_text().strip()
    pins = yaml.safe_load(PINS.read_text())
    save = ["docker", "save", "debian:bookworm-slim", pins["uv_image"]]
    with subprocess.Popen(save, stdout=subprocess.PIPE) as saved:
        load = ["docker", "--host", host, "load", "--quiet"]
        subprocess.run(load, stdin=saved.stdout, stdout=subprocess.DEVNULL, check=True)
    user = pwd.getpwuid(ROOTLESS_HOME.stat().st_uid)
    programs = ROOTLESS_HOME / "programs"
    programs.mkdir(exist_ok=True)
    if not (programs / "nvidia-smi").exists():
        (programs / "nvidia-smi").write_bytes(SMI.read_bytes())
        (programs / "nvidia-smi").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    more = (("DOCKER_HOST", host), ("PATH", path), ("FAKE_SMI", "mixed"))
    return Person(user.pw_uid, user.pw_gid, user.pw_name, ROOTLESS_HOME, more)


@pytest.fixture(scope="module")
def rootless(project: MakeProject, ruth: Person, small_torch: PackageIndex) -> Project:
    """A project that was built by a rootless engine, and whose dev container runs."""
    asked: dict[str, Any] = {"torch_version": SMALL_TORCH, "extras": ["ssh"]}
    new = project("rootless", owner=ruth, light=True, packages=small_torch, **asked)
    new.write("docker-amd64/dependencies/apt-dev.txt", "git\nopenssh-server\n")
    person_keys(new)
    new.build()
    new.write("docker-amd64/compose.override.yaml", PORT)
    new.ok("over")
    new.ok("up")
    return new


def person_keys(new: Project) -> None:
    """Give the project's owner a key for ssh, and let the dev container know it."""
    folder = new.owner.home / ".ssh"
    if not folder.exists():
        make = "umask 077 && mkdir .ssh && ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519"
        assert new.owner.run("sh", "-c", make, cwd=new.owner.home).returncode == 0
    new.ok("env", "--refresh", "SSH_KEYS")


def owner(path: Path) -> tuple[int, int]:
    """The ids of a file's user and group on this machine."""
    return path.stat().st_uid, path.stat().st_gid


def has_limits(project: Project) -> bool:
    """Whether the engine has control groups, by which it limits containers."""
    words = ("docker", "info", "--format", "{{.CgroupDriver}}")
    return project.owner.run(*words, cwd=project.docker).stdout.strip() != "none"


def test_the_doctor_finds_nothing_but_the_limits(rootless: Project) -> None:
    found = doctor(rootless, may_be_late="dev container")  # it asks this engine five times
    assert found.keys() == (set() if has_limits(rootless) else {"rootless-limits"})


def test_files_of_containers_belong_to_the_user_who_is_root_in_them(rootless: Project) -> None:
    person = rootless.owner
    assert rootless.ok("exec", "id", "-u") == "0\n"
    for verb, name in (("exec", "by-exec"), ("run", "by-run")):
        rootless.ok(verb, "touch", f"/workspace/{name}", f"/outputs/{name}")
        assert owner(rootless.folder / name) == (person.uid, person.gid)
    rootless.ok("add", "idna")
    assert owner(rootless.docker / "dependencies/uv.lock") == (person.uid, person.gid)


def test_the_verbs_of_the_day_work(rootless: Project) -> None:
    assert rootless.sh("shell", "bash", "-c", "exit 7").returncode == 7
    assert rootless.ok("root", "id", "-u") == "0\n"
    assert rootless.ok("ssh", "printenv", "DATA_DIR") == "/data\n"
    assert "rootless" in rootless.ok("ls")
    rootless.ok("logs", "--tail", "1")
    rootless.ok("lock", "--check")


def answers(url: str) -> bool:
    """Whether a server in a container answers: the engine itself takes each connection."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def test_a_port_is_open_on_this_machine(rootless: Project) -> None:
    address, port = rootless.compose("port", "dev", "8000").strip().split(":")
    serve = ("exec", "--detach", "dev", "python", "-m", "http.server", "8000")
    rootless.compose(*serve)
    assert address == "127.0.0.1"
    wait_for(lambda: answers(f"http://{address}:{port}"))


def test_an_id_that_cannot_write_is_refused_before_a_container_starts(rootless: Project) -> None:
    before = rootless.owner.run("docker", "ps", "--all", "--quiet", cwd=rootless.docker).stdout
    env = {"USRID": "1500", "GRPID": "1500"}
    for verb in ("up", "run true", "lock"):
        _, command, name = ending(rootless.sh(*verb.split(), env=env))
        assert name == "ids-wrong"
        assert command.startswith("unset USRID GRPID && ")
    after = rootless.owner.run("docker", "ps", "--all", "--quiet", cwd=rootless.docker).stdout
    assert after == before
    kept = (rootless.docker / ".env").read_text()
    rootless.set_env(USRID="1500", GRPID="1500")
    _, command, _ = ending(rootless.sh("up"))
    refresh = command.split(" && ")[0].split()[1:]
    rootless.ok(*refresh)
    assert "\nUSRID=0\nGRPID=0\n" in (rootless.docker / ".env").read_text()
    rootless.write("docker-amd64/.env", kept)


def test_limits_that_the_engine_cannot_keep_are_named(rootless: Project) -> None:
    said = rootless.sh("run", "true", env={"CPUS": "1"}).stderr
    assert ("does not apply" in said) != has_limits(rootless)


def test_verify_reads_both_images(rootless: Project) -> None:
    report = json.loads(rootless.ok("verify", "--json"))
    assert {name: image["ok"] for name, image in report.items()} == {"runtime": True, "dev": True}


def test_gpus_come_by_the_cdi_file_that_the_engine_knows(
    project: MakeProject, ruth: Person
) -> None:
    new = project("rootless-gpus", owner=ruth, light=True, accelerator="cuda")
    assert "compose.cdi.yaml" in (new.docker / ".env").read_text()
    new.build("runtime")
    assert new.ok("run", "nvidia-smi") == "GPU 0\nGPU 1\n"
    assert new.ok("run", "nvidia-smi", env={"GPU_IDS": "1"}) == "GPU 1\n"


def test_the_dev_container_is_stopped_and_started_and_nothing_is_left(rootless: Project) -> None:
    rootless.ok("stop")
    assert ending(rootless.sh("exec", "true"))[2] == "container-not-running"
    rootless.ok("start")
    assert rootless.ok("exec", "id", "-u") == "0\n"
    rootless.ok("down")
    rootless.ok("clean", "--all", "-y")
    name = rootless.engine_name
    for words in (("ps", "--all"), ("volume", "ls"), ("image", "ls")):
        listed = rootless.owner.run("docker", *words, cwd=rootless.folder)
        assert listed.returncode == 0
        assert name not in listed.stdout.replace(f"{name}-gpus", "")
