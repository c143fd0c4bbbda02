"""Every door leads into the same room, that of ssh with a real client; and its data folders."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import MakeProject
from tests.support.process import run
from tests.support.project import Person, Project


@pytest.fixture(scope="module")
def person(open_folder: Path, jane: Person) -> Iterator[Person]:
    """Somebody whom the user database knows, as ssh wants it, with a key in an agent."""
    home = open_folder / "ssh-home"
    (home / ".ssh").mkdir(parents=True)
    user = pwd.getpwuid(1 if os.getuid() == 0 else jane.uid)
    socket = str(home / "agent")
    here = (("SSH_AUTH_SOCK", socket),)
    one = Person(user.pw_uid, user.pw_gid, user.pw_name, home, here)
    for path in (home, home / ".ssh"):
        os.chown(path, one.uid, one.gid)
    key = "ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519"
    agent = 'eval "$(ssh-agent -a agent)" && ssh-add -q .ssh/id_ed25519'
    start = f"{key} && {agent} && echo $SSH_AGENT_PID"
    done = one.run("sh", "-c", start, cwd=home)
    assert done.returncode == 0, done.stderr
    yield one
    os.kill(int(done.stdout.split()[-1]), signal.SIGTERM)


@pytest.fixture(scope="module")
def served(project: MakeProject, person: Person) -> Project:
    """A project with ssh, whose dev container runs, and a token for it."""
    new = project("by ssh", owner=person, light=True, extras=["data", "ssh"])
    new.write("docker-amd64/dependencies/apt-dev.txt", "git\nopenssh-server\nprocps\n")
    keep = "mkdir -m 700 tokens && echo 4711 >tokens/API_KEY && chmod 600 tokens/API_KEY"
    assert person.run("sh", "-c", keep, cwd=person.home).returncode == 0
    new.set_env(SECRETS_DIR="~/tokens", CPUS="1")
    new.build()
    new.ok("up")
    return new


def test_every_door_leads_into_the_same_room(served: Project) -> None:
    found = json.loads(served.sh("doors", "--json").stdout)
    assert (found["closed"], found["differences"]) == ({}, [])
    assert found["rooms"].keys() == {"exec", "bash", "bash -l", "run", "ssh", "app"}
    room = found["rooms"]["ssh"]
    assert (room["user"], room["folder"]) == (served.owner.name, "/workspace")
    assert (room["python"], room["SIGTERM"]) == ("/opt/venv/bin/python", "ends it")
    assert room["owner of a new file"] == f"{served.owner.uid}:{served.owner.gid}"
    # The variable has what the file has, which is not shown.
    assert room["environment"]["API_KEY"] == "</run/secrets/API_KEY>"
    assert "4711" not in served.ok("exec", "cat", "/home/user/.ssh/sshd_config")


def test_a_door_that_leads_elsewhere_is_found(served: Project) -> None:
    served.ok("exec", "sh", "-c", "echo 'umask 077; export PATH=/opt/mine:$PATH' >~/.bashrc")
    differs = served.sh("doors")
    served.ok("exec", "rm", "/home/user/.bashrc")
    assert differs.returncode == 1
    assert re.search(r"(?m)^umask +bash +0077$", differs.stdout)
    assert re.search(r"(?m)^\$PATH +bash +/opt/mine:", differs.stdout)


def test_editors_and_file_transfer_work_by_the_printed_entry(
    served: Project,
) -> None:
    entry = served.ok("ssh", "--config")
    assert served.ok("editor").endswith(f"\n\n{entry}")
    served.write("entry", entry)
    host = entry.split()[1]
    config = str(served.folder / "entry")
    done = served.owner.run("ssh", "-F", config, host, "echo $DATA_DIR", cwd=served.folder)
    assert done.stdout == "/data\n", done.stderr
    put = "put entry /workspace/copy\nget /opt/container/entrypoint.sh fetched\n"
    done = served.owner.run(
        "sftp", "-q", "-b", "-", "-F", config, host, cwd=served.folder, stdin=put
    )
    assert done.returncode == 0, done.stderr
    copy = served.folder / "copy"
    assert (copy.read_text(), copy.stat().st_uid) == (entry, served.owner.uid)
    assert (served.folder / "fetched").read_text().startswith("#!/bin/bash")


def test_ports_and_the_agent_are_forwarded(served: Project) -> None:
    served.write("entry", served.ok("ssh", "--config"))
    host = (served.folder / "entry").read_text().split()[1]
    # Of the container, where nothing but the way through ssh leads to its own address.
    banner = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('way'); print(s.recv(8))"
    # The way is there until it is told to end, however long the machine takes.
    forward = "-o ExitOnForwardFailure=yes -M -S control -L ./way:127.0.0.1:2222"
    start = f"ssh -F entry -f -N {forward} {host} >/dev/null 2>&1"
    end = f"ssh -F entry -S control -O exit {host} 2>/dev/null"
    done = served.owner.run(
        *("sh", "-c", f'{start} && python3 -c "{banner}"; {end}'), cwd=served.folder
    )
    assert done.stdout == "b'SSH-2.0-'\n", done.stderr
    with_agent = served.owner.run("ssh", "-A", "-F", "entry", host, "ssh-add -l", cwd=served.folder)
    assert with_agent.stdout.endswith("(ED25519)\n"), with_agent.stderr
    without = served.owner.run("ssh", "-a", "-F", "entry", host, "ssh-add -l", cwd=served.folder)
    assert without.returncode, without.stdout


def test_start_and_up_return_when_ssh_answers(served: Project) -> None:
    for verbs in (("stop", "start"), ("down", "up")):
        for verb in verbs:
            served.ok(verb)
        assert served.ok("ssh", "echo", "here") == "here\n"


def test_only_keys_are_let_in_and_only_on_this_machine(served: Project, tmp_path: Path) -> None:
    port = re.findall(r"Port (\d+)", served.ok("ssh", "--config"))[0]
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other")
    known = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
    call = ("ssh", *known, "-i", str(tmp_path / "other"), "-o", "IdentitiesOnly=yes", "-p", port)
    refused = run(*call, "jane@127.0.0.1", "true")
    assert "Permission denied (publickey)." in refused.stderr
    container = served.compose("ps", "--quiet", "dev").strip()
    assert run("docker", "port", container).stdout == f"2222/tcp -> 127.0.0.1:{port}\n"
    keys = ("run", "--rm", "--entrypoint", "sh", served.image("dev"), "-c", "ls /etc/ssh/*key*")
    assert "No such file" in run("docker", *keys).stderr


def test_an_own_key_that_is_not_listed_is_let_in_once(served: Project) -> None:
    key = 'ssh-keygen -q -t ed25519 -N \'\' -f "$HOME/own" && ssh-add -q "$HOME/own"'
    script = f"{key} && for at in 1 2; do ./docker-amd64/template.sh ssh echo in; done"
    done = served.owner.run("ssh-agent", "sh", "-c", script, cwd=served.folder)
    assert done.stdout == "in\nin\n", done.stderr
    file = "/home/user/.ssh/authorized_keys"
    assert len(served.ok("exec", "cat", file).splitlines()) == 1
    served.ok("exec", "rm", file)


def test_the_server_is_the_same_after_a_new_container_and_owned_by_the_user(
    served: Project,
) -> None:
    before = (served.docker / ".ssh_known_hosts").read_text()
    served.ok("down")
    served.ok("up")
    assert (
        served.ok("ssh", "sh", "-c", "ps -o uid= -C sshd | sort -u") == f"{served.owner.uid:>5}\n"
    )
    assert (served.docker / ".ssh_known_hosts").read_text() == before


def test_programs_cannot_change_what_was_downloaded_but_fill_the_folders_that_are_theirs(
    served: Project,
) -> None:
    data = served.folder / "data"
    served.write("data/downloaded/images.txt", "1.png\n")
    for door in ("exec", "run"):
        refused = served.sh(door, "sh", "-c", "echo x >>/data/downloaded/images.txt")
        assert "Read-only file system" in refused.stderr
        words = f"mkdir -p /data/uploadable/{door} && cp /data/downloaded/* /data/uploadable/{door}"
        served.ok(door, "sh", "-c", f"{words} && echo >/data/generated/{door}")
    archive = Path(served.ok("pack", "run").rstrip("\n"))
    assert archive == served.folder / "outputs/run.tar"
    assert (data / "generated/run").stat().st_uid == archive.stat().st_uid == served.owner.uid
    path = f"{data}/downloaded:/data/downloaded"
    served.ok("run", "-v", path, "touch", "/data/downloaded/by-a-download")
