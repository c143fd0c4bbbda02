"""Sockets for programs under test: in a folder, and free ports."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """A Unix socket bound to a path of any length; nobody listens yet, and the file remains.

    The kernel takes 107 bytes, and a test's own folder may be deeper: the socket is bound through
    the number of its opened folder.

    Args:
        path: the socket's file, in a folder that exists.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/fd/{folder}/{path.name}")
            yield bound
    finally:
        os.close(folder)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
