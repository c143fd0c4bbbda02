"""ssh into the dev container: who may log in, on which port, and what an editor is told."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from argparse import Namespace
from pathlib import Path

import pytest
import yaml

from host import compose, ssh, ssh_keys, work
from host.ask import Output
from host.look import Case, port
from host.ports import COUNT, FIRST, free_port
from host.project import Project, StopError, me
from host.ssh_env import public_keys, ssh_values
from tests.conftest import Generate
from tests.support.program import PROJECT

SSHD = Path(ssh.__file__).parents[1] / "image/sshd.sh"

KEY = "ssh-ed25519 AAAAC3Nza"
LAPTOP, OWN = "ssh-ed25519 AAAAlaptop", "ssh-ed25519 AAAAown"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose container serves ssh on port 20022."""
    folder = tmp_path / "my work" / "docker-amd64"
    folder.mkdir(parents=True)
    (tmp_path / "keys").write_text(f"{KEY}\n")
    env = f"COMPOSE_PROJECT_NAME=demo-jane-1\nSSH_KEYS='{tmp_path}/keys'\nSSH_PORT=20022\n"
    (folder / ".env").write_text(env)
    monkeypatch.setattr(ssh, "need_container", lambda _: None)
    monkeypatch.setattr(ssh, "container", lambda _: "4711")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    mine = ssh_keys.Identities([LAPTOP], [], others=False)
    monkeypatch.setattr(ssh, "identities", lambda _: mine)
    answers(monkeypatch, port="127.0.0.1:20022\n", exec=f"{KEY} demo\njane_\n{LAPTOP} jane\n")
    return Project(folder, PROJECT)


def answers(monkeypatch: pytest.MonkeyPatch, **said: str) -> None:
    """What the engine says to each of its commands."""

    def capture(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(words, 0, said[words[0]], "")

    for module in (ssh, ssh_keys):
        monkeypatch.setattr(module, "ask_engine", capture)
    monkeypatch.setattr(compose, "ask_engine", capture)


def connect(project: Project, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """The words of the ssh that `template.sh ssh` becomes."""
    became: list[str] = []
    monkeypatch.setattr(ssh, "become", lambda _, call: became.extend(call))
    ssh.do_ssh(project, Namespace(config=False, command=list(words)))
    return became


def test_a_port_is_the_folders_own_until_somebody_else_has_it(tmp_path: Path) -> None:
    first = free_port(tmp_path)
    assert FIRST <= int(first) < FIRST + COUNT
    assert free_port(tmp_path) == first
    assert ssh_values(tmp_path, {"SSH_PORT": "4"})["SSH_PORT"] == "4"
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(first)))
        assert free_port(tmp_path) not in ("", first)


def test_who_may_log_in_are_those_who_may_log_in_here_else_the_user(tmp_path: Path) -> None:
    folder = tmp_path / ".ssh"
    folder.mkdir()
    assert public_keys(tmp_path) == ""
    (folder / "authorized_keys").write_text("")
    (folder / "id_rsa.pub").write_text("ssh-rsa A")
    assert public_keys(tmp_path) == "~/.ssh/id_rsa.pub"
    (folder / "authorized_keys").write_text("ssh-rsa B")
    assert public_keys(tmp_path) == "~/.ssh/authorized_keys"


def test_ssh_goes_to_the_code_and_knows_the_server_from_the_engine(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = connect(project, monkeypatch, "--", "echo", "a b")
    assert words[-3:] == ["--", "127.0.0.1", "cd /workspace && echo 'a b'"]
    assert {"20022", "jane_", "HostKeyAlias=demo-jane-1", "StrictHostKeyChecking=yes"} <= {*words}
    assert (project.folder / ssh.KNOWN_HOSTS).read_text() == f"demo-jane-1 {KEY}\n"
    assert connect(project, monkeypatch)[-1] == "127.0.0.1"


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("0.0.0.0:20022\n[::]:20022\n", "127.0.0.1"),
        ("[::1]:20022\n", "::1"),
        ("10.0.0.7:20022\n", "10.0.0.7"),
    ],
)
def test_the_address_is_one_that_a_client_can_have(
    project: Project, monkeypatch: pytest.MonkeyPatch, said: str, address: str
) -> None:
    answers(monkeypatch, port=said)
    assert ssh.server(project, "4711") == (address, "20022")


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs a client of ssh")
def test_the_entry_for_editors_is_one_that_ssh_reads(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read(host: str = "demo") -> dict[str, str]:
        ssh.do_ssh(project, Namespace(config=True, command=[]))
        (tmp_path / "config").write_text(capsys.readouterr().out)
        call = ("ssh", "-F", str(tmp_path / "config"), "-G", host)
        done = subprocess.run(call, capture_output=True, text=True, check=True)
        return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)

    here = read()
    assert (here["hostname"], here["port"], here["user"]) == ("127.0.0.1", "20022", "jane_")
    assert here["userknownhostsfile"] == str(project.folder / ssh.KNOWN_HOSTS)
    assert "proxyjump" not in here
    # Another clone has the same project's name, and its entry may be the first of it.
    assert read("demo-jane-1")["port"] == "20022"
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 50000 10.0.0.9 22")
    monkeypatch.setenv("USER", "jane")
    there = read()
    assert there["proxyjump"] in ("jane@10.0.0.9", "jane@[10.0.0.9]")
    assert there["stricthostkeychecking"] == "accept-new"


def test_what_is_missing_is_named(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, port="")
    with pytest.raises(StopError) as caught:
        connect(project, monkeypatch)
    assert caught.value.name == "ssh-not-served"
    (tmp_path / "keys").unlink()
    with pytest.raises(StopError) as caught:
        connect(project, monkeypatch)
    assert caught.value.name == "ssh-no-keys"


@pytest.mark.parametrize(
    ("there", "files", "agent", "added"),
    [
        (f"{LAPTOP} a\n", [OWN], [], [OWN]),
        (f"{LAPTOP} a\n", [], [OWN], [OWN]),
        (f"{LAPTOP} a\n", [OWN], [LAPTOP], []),  # forwarded by the laptop
        (f'from="10.0.0.1" {OWN} me\n', [OWN], [], []),
        (f"# {OWN}\n", [OWN], [KEY], [OWN]),
        ("", [], [], []),
    ],
)
def test_who_has_the_engine_is_let_in(
    monkeypatch: pytest.MonkeyPatch,
    there: str,
    files: list[str],
    agent: list[str],
    added: list[str],
) -> None:
    asked: list[str] = []

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        asked.extend(words)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(ssh_keys, "ask_engine", ask)
    ssh_keys.let_in("4711", ssh_keys.Identities(files, agent, others=False), there)
    assert asked[6:] == added


def test_a_key_is_added_on_a_line_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / ".ssh/authorized_keys"
    file.parent.mkdir()
    for before in ("", f"{LAPTOP} jane", f"{LAPTOP} jane\n"):
        file.write_text(before)
        words = ("sh", "-c", ssh_keys.APPEND, "sh", OWN, "$(touch no)")
        subprocess.run(words, cwd=tmp_path, env={"HOME": str(tmp_path)}, check=True)
        lines = [*before.splitlines(), OWN, "$(touch no)"]
        assert file.read_text() == "".join(f"{line}\n" for line in lines)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("name", ["id_ed25519", "own key"])
def test_what_ssh_offers_is_known_by_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    said = {"ssh": f"user jane\nidentityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/{name}\n"}
    said["ssh-add"] = f"{LAPTOP} jane\nssh-ed25519-cert-v01@openssh.com AAAAcert\nnone\n"

    def capture(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(words, 0, said[words[0]], "")

    monkeypatch.setattr(ssh_keys, "capture", capture)
    monkeypatch.setattr(ssh_keys, "command", lambda words, _: Output(0, said[words[0]]))
    monkeypatch.setattr(ssh_keys, "home_of_user", lambda: tmp_path)
    assert ssh_keys.identities("127.0.0.1") == ([], [LAPTOP], False)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / name).write_text("private")
    assert ssh_keys.identities("127.0.0.1") == ([], [LAPTOP], True)
    (tmp_path / ".ssh" / f"{name}.pub").write_text(f"{OWN} jane@here\n")
    assert ssh_keys.identities("127.0.0.1") == ([OWN], [LAPTOP], False)
    said["ssh"] += "identityagent /run/mine\n"
    assert ssh_keys.identities("127.0.0.1").others


def test_who_has_no_key_is_told_so_but_editors_get_their_entry(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    none = ssh_keys.Identities([], [], others=False)
    monkeypatch.setattr(ssh, "identities", lambda _: none)
    with pytest.raises(StopError) as caught:
        connect(project, monkeypatch)
    assert caught.value.name == "ssh-no-own-key"
    ssh.do_ssh(project, Namespace(config=True, command=[]))
    assert capsys.readouterr().out.startswith("Host demo ")
    monkeypatch.setattr(ssh, "identities", lambda _: none._replace(others=True))
    assert connect(project, monkeypatch)[0] == "ssh"


def test_a_taken_port_of_ssh_gets_another_one(project: Project) -> None:
    text = "Bind for 127.0.0.1:20022 failed: port is already allocated"
    seen = port(Case(project, text, {"folder": "docker-amd64"}))
    assert seen is not None
    assert "SSH_PORT in .env" in seen["cause"]
    assert "env --refresh SSH_PORT" in seen["remedy"]


@pytest.mark.parametrize(
    ("programs", "home", "named"),
    [
        ((), "home", "dependencies/apt-dev.txt has to list openssh-client and openssh-server"),
        (("ssh-keygen",), "file/home", "file/home/.ssh"),
        (("ssh-keygen",), "home", "there is no host key"),
    ],
)
def test_a_container_without_a_server_says_why_and_goes_on(
    tmp_path: Path, programs: tuple[str, ...], home: str, named: str
) -> None:
    for name in ("mkdir", "id", "cat"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    for name in (*programs, "sleep"):
        (tmp_path / "bin" / name).write_text(
            f"#!/bin/bash\n[[ {name} == sleep ]] && echo went on\n"
        )
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "file").touch()
    server = tmp_path / "bin" / programs[0] if programs else tmp_path / "missing"
    text = SSHD.read_text().replace("/usr/sbin/sshd", str(server))
    env = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path / home)}
    for words, status, out in (((), 0, "went on\n"), (("-i",), 1, "")):
        done = subprocess.run(
            ["/bin/bash", "-c", text, "sshd.sh", *words],
            env=env,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert (done.returncode, done.stdout) == (status, out)
        assert f"[sshd] no ssh: {'user' if 'file' in home else ''}" in done.stderr
        assert named in done.stderr


def test_another_file_of_keys_is_another_container_for_compose(
    generate: Generate, tmp_path: Path
) -> None:
    folder = generate(tmp_path / "demo", extras=["ssh"])
    compose_file = yaml.safe_load((folder / "docker-amd64/compose.yaml").read_text())
    dev = compose_file["services"]["dev"]
    (file,) = (compose_file["configs"][one["source"]]["file"] for one in dev["configs"])
    (variable,) = re.findall(r"\$\{(\w+)", file)
    assert any(f"${{{variable}" in value for value in dev["labels"].values())


# ---------------------------------------------------------------- up waits for the server


def listens(number: int) -> bool:
    """What up asks in a container, of another port of this machine."""
    command = ssh.LISTENS.replace(f"{ssh.SERVER_PORT:04X}", f"{number:04X}")
    return subprocess.run(["sh", "-c", command], check=False).returncode == 0


def test_a_server_is_there_once_it_listens() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        assert not listens(server.getsockname()[1])
        server.listen()
        assert listens(server.getsockname()[1])


@pytest.mark.parametrize("why", ["", "[sshd] no ssh: no key\n"])
def test_up_waits_for_ssh_and_says_why_there_is_none(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    why: str,
) -> None:
    statuses = [1] * 9 if why else [1, 0]

    def engine(*words: str) -> subprocess.CompletedProcess[str]:
        if words[0] == "exec":
            return subprocess.CompletedProcess(words, statuses.pop(0), "", "")
        return subprocess.CompletedProcess(words, 0, "", f"[entrypoint] x\n{why}")

    monkeypatch.setattr(ssh, "ask_engine", engine)
    ssh.wait_for_server(project, "4711")
    end = f"{why}ssh does not answer. Run: {me()} logs\n" if why else ""
    assert capsys.readouterr().err == end


@pytest.mark.parametrize(("statuses", "waits"), [([1, 3], True), ([1, 0], False)])
def test_up_asks_for_ssh_once_all_else_is_ready(
    project: Project, monkeypatch: pytest.MonkeyPatch, statuses: list[int], waits: bool
) -> None:
    asked: list[str] = []
    waited: list[str] = []
    left = [*statuses]

    def engine(*words: str) -> subprocess.CompletedProcess[str]:
        asked.append(words[-1])
        return subprocess.CompletedProcess(words, left.pop(0), "", "")

    monkeypatch.setattr(work, "container", lambda _: "4711")
    monkeypatch.setattr(work, "ask_engine", engine)
    monkeypatch.setattr(ssh, "wait_for_server", lambda _, name: waited.append(name))
    work.wait_until_ready(Project(project.folder, {**PROJECT, "extras": ["ssh"]}))
    assert waited == (["4711"] if waits else [])
    assert all(ssh.LISTENS in one for one in asked)
    left = [0]
    work.wait_until_ready(Project(project.folder, {**PROJECT, "extras": []}))
    assert ssh.LISTENS not in asked[-1]
