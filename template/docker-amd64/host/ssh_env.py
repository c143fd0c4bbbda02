"""What this machine suggests for ssh into the dev container: a port, and who may log in."""

from __future__ import annotations

import socket
from hashlib import sha256
from pathlib import Path
from typing import Mapping

KEYS = ("SSH_PORT", "SSH_KEYS")  # of .env
# On a server, authorized_keys has the keys of the computers from which its user comes.
NAMES = ("authorized_keys", "id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")
FIRST, COUNT = 20000, 12000  # below the ports that the kernel gives to programs


def is_free(port: int) -> bool:
    """Whether a port of 127.0.0.1 is free now."""
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(folder: Path) -> str:
    """A free port, the same for a folder as long as nobody else takes it."""
    start = int(sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest(), 16)
    ports = (FIRST + (start + step) % COUNT for step in range(COUNT))
    return str(next(filter(is_free, ports), ""))


def public_keys(home: Path) -> str:
    """The file of public keys of a user, "" if there is none."""
    files = (home / ".ssh" / name for name in NAMES)
    found = next((one for one in files if one.is_file() and one.stat().st_size), None)
    return f"~/.ssh/{found.name}" if found else ""


def ssh_values(folder: Path, current: Mapping[str, str]) -> dict[str, str]:
    """The values for .env; a port that is there stays, because our own server may have it now."""
    values = {"SSH_PORT": current.get("SSH_PORT") or free_port(folder)}
    keys = public_keys(Path.home())
    return {**values, **({"SSH_KEYS": keys} if keys else {})}
