"""Ports of this machine: free ones, and how another computer reaches them."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Container

if TYPE_CHECKING:
    from pathlib import Path

HERE = "127.0.0.1"
FIRST, COUNT = 20000, 12000  # below the ports that the kernel gives to programs


def is_free(port: int, address: str = HERE) -> bool:
    """Whether nobody listens on a port of this machine now."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as one:
        # As engines do: a connection that has just ended keeps nobody from listening.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((address.strip("[]"), port))
        except OSError as error:  # of a wrong address, the engine tells
            return error.errno != errno.EADDRINUSE
    return True


def free_port(
    folder: Path, purpose: str = "", address: str = HERE, taken: Container[int] = ()
) -> str:
    """A free port, the same for a folder and purpose as long as nobody else takes it.

    Args:
        folder: that of the project.
        purpose: what it is for, where a project needs several.
        address: of this machine, where the port will be.
        taken: ports that are not free either.
    """
    key = str(folder.resolve()).encode("utf-8", "surrogateescape") + purpose.encode()
    start = int(sha256(key).hexdigest(), 16)
    ports = (FIRST + (start + step) % COUNT for step in range(COUNT))
    return str(next((one for one in ports if one not in taken and is_free(one, address)), ""))


def account_here() -> str:
    """This machine as the computer names it from which the user came by ssh: user@address.

    It is "" if they did not come by ssh.
    """
    connection = os.environ.get("SSH_CONNECTION", "").split()
    if not connection:
        return ""
    account = os.environ.get("USER")
    if not account:
        from getpass import getuser  # noqa: PLC0415  seldom needed

        with suppress(ImportError, KeyError, OSError):  # a user without a name
            account = getuser()
    host = f"[{connection[2]}]" if ":" in connection[2] else connection[2]
    return f"{account}@{host}" if account else host
