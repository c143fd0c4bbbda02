"""What this machine suggests for ssh into the dev container: a port, and who may log in."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

from .ports import free_port

KEYS = ("SSH_PORT", "SSH_KEYS")  # of .env
# On a server, authorized_keys has the keys of the computers from which its user comes.
NAMES = ("authorized_keys", "id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")


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
