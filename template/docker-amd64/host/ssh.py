"""ssh into the dev container: ssh."""

from __future__ import annotations

import time
from shlex import join
from typing import TYPE_CHECKING, NamedTuple

from .ask import read_text
from .compose import become, container, need_container, published, show
from .engine_words import ask_engine
from .failures import failed
from .files import write_file
from .ports import account_here
from .project import me
from .ssh_keys import Identities, identities, let_in

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from .project import Project

KNOWN_HOSTS = ".ssh_known_hosts"  # in docker-amd64
SERVER_PORT = 2222  # in the container
# A command in the container that fails until the server listens; a connection would be in its log.
LISTENS = f"grep -qs ':{SERVER_PORT:04X} [^ ]* 0A ' /proc/net/tcp /proc/net/tcp6"
LIMIT = 5  # seconds until it does, after all else is ready
CONFIG = """\
Host {names}
    HostName {address}
    Port {port}
    User {user}
    HostKeyAlias {alias}
    {trust}
"""
# In the container: the public key of the server, the name of its user, and who may log in.
ASK = """\
cd "$HOME/.ssh" && cat host/ed25519.pub && id -un &&
    for file in authorized_keys.outside authorized_keys; do cat "$file" 2>/dev/null; echo; done
"""


def ssh_options(parser: argparse.ArgumentParser) -> None:
    """A command, or what an editor wants."""
    parser.add_argument(
        "--config", action="store_true", help="print the entry for ~/.ssh/config, for editors"
    )
    parser.add_argument(
        "command", nargs="...", metavar="CMD", help="a command in the code folder; a shell without"
    )


def server(project: Project, found: str) -> tuple[str, str]:
    """Where the server can be reached on this machine: address and port. Raises StopError."""
    where = published(found, SERVER_PORT)
    if not where:
        raise failed("ssh-not-served", project)
    return where


def wait_for_server(project: Project, found: str) -> None:
    """Wait until the server of a container that is ready listens, or say that it does not."""
    deadline, said = time.monotonic() + LIMIT, ""
    while "[sshd] no ssh" not in said and time.monotonic() < deadline:
        if not ask_engine("exec", found, "sh", "-c", LISTENS).returncode:
            return
        logs = ask_engine("logs", "--since", "10s", found)
        said = logs.stdout + logs.stderr
        time.sleep(0.1)
    for line in said.splitlines():
        if line.startswith("[sshd]"):
            show(line)
    show(f"ssh does not answer. Run: {me()} logs{project.which}")


def ask_server(project: Project, found: str) -> tuple[str, str, str]:
    """The public key of the server, the name of its user, and the lines of the keys let in.

    Raises:
        StopError: there is no server.
    """
    lines = ask_engine("exec", found, "sh", "-c", ASK).stdout.splitlines()
    if len(lines) < 2:  # noqa: PLR2004
        raise failed("ssh-not-served", project)
    return " ".join(lines[0].split()[:2]), lines[1], "\n".join(lines[2:])


def config(project: Project, alias: str, address: str, port: str, user: str) -> str:
    """The entry for ~/.ssh/config, of this computer or of one that comes here by ssh.

    Clones share the project's name, and ssh takes the first entry of a name: `alias` is theirs.
    """
    path = project.folder.resolve() / KNOWN_HOSTS
    from_here = '"' not in str(path)
    jump = account_here()
    here = f'UserKnownHostsFile "{path}"' if from_here else "StrictHostKeyChecking accept-new"
    entry = CONFIG.format(
        names=" ".join(dict.fromkeys((project.name, alias))),
        address=address,
        port=port,
        user=user,
        alias=alias,
        trust="StrictHostKeyChecking accept-new" if jump else here,
    )
    return f"{entry}    ProxyJump {jump}\n" if jump else entry


class Server(NamedTuple):
    """The server of the dev container, its user there, and what ssh of this user has for it."""

    address: str
    port: str
    user: str
    own: Identities


def reach(project: Project) -> Server:
    """The server, whose key is written where clients look for it; it lets this user in.

    Raises:
        StopError: nobody may log in, or no server runs.
    """
    login_keys(project, for_job=False)
    need_container(project)
    found = container(project)
    address, port = server(project, found)
    key, user, keys = ask_server(project, found)
    write_file(project.folder / KNOWN_HOSTS, f"{alias_of(project)} {key}\n")
    own = identities(address)
    let_in(found, own, keys)
    return Server(address, port, user, own)


def login_keys(project: Project, *, for_job: bool = True) -> Path:
    """The file of the public keys that may log in. Raises StopError if no key is in it.

    Args:
        project: the project.
        for_job: whether a job has the server; else it is the dev container, which starts again.
    """
    file = project.settings.path("SSH_KEYS")
    if not file or not read_text(file).strip():
        remedy = f"ls ~/.ssh/*.pub || ssh-keygen -t ed25519; {me()} env --refresh SSH_KEYS"
        raise failed("ssh-no-keys", project, **({"remedy": remedy} if for_job else {}))
    return file


def alias_of(project: Project) -> str:
    """The name under which clients know the server's key."""
    return project.settings.get("COMPOSE_PROJECT_NAME")


def entry(project: Project) -> str:
    """The entry for ~/.ssh/config. Raises StopError."""
    return config(project, alias_of(project), *reach(project)[:3])


def do_ssh(project: Project, options: argparse.Namespace) -> None:
    """Become ssh, which knows the server's key from the engine; or print what an editor wants."""
    if options.config:
        print(entry(project), end="")
        return
    address, port, user, own = reach(project)
    if not own.public and not own.others:
        raise failed("ssh-no-own-key", project)
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    known = ("-o", f"UserKnownHostsFile={KNOWN_HOSTS}", "-o", "StrictHostKeyChecking=yes")
    server = ("-p", port, "-o", f"HostKeyAlias={alias_of(project)}", *known, "-l", user)
    call = ["ssh", *server, "--", address]
    become(project, [*call, *([f"cd /workspace && {join(words)}"] if words else [])])
