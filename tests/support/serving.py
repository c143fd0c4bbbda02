"""A small HTTP server for tests, on a free port of an address that containers reach."""

from __future__ import annotations

import contextlib
import functools
import ssl
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Server(ThreadingHTTPServer):
    # Of http.server's five, some wait seconds for a new try when several builds ask at once.
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust the certificate, or hangs up, has its good right."""
        if not isinstance(sys.exc_info()[1], (ssl.SSLError, ConnectionError)):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def listening(
    handler: type[BaseHTTPRequestHandler], address: str, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Answer with this handler, each request in a thread of its own; give the server's URL.

    Args:
        handler: what answers.
        address: an IPv4 address of this machine.
        tls: serve https with this certificate, not http.
    """
    with _Server((address, 0), handler) as server:
        if tls:
            # The handshake is left to the thread of the connection.
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"{'https' if tls else 'http'}://{address}:{server.server_port}"
        finally:
            server.shutdown()


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of each file."""


@contextlib.contextmanager
def serving_folder(folder: Path) -> Iterator[str]:
    """Answer with the files of a folder, to this machine alone; give the server's URL."""
    handler = functools.partial(_Files, directory=str(folder))
    with listening(handler, "127.0.0.1") as url:  # type: ignore[arg-type]
        yield url
