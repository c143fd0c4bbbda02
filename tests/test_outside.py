"""What tests read from the package index of this machine: one broken connection fails no test."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

import pytest

from tests.support import outside
from tests.support.serving import listening


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """A server that fails twice before it answers, and what it was asked for."""
    monkeypatch.setattr(outside, "WAITS", (0.0, 0.0, 0.0))
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            if self.path == "/gone":
                self.send_error(HTTPStatus.NOT_FOUND)
            elif len(paths) == 1:
                self.close_connection = True  # without an answer
            elif len(paths) == 2:
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            else:
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"here")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with listening(Handler, "127.0.0.1") as url:
        yield url, paths


def test_a_connection_that_breaks_and_a_busy_server_are_tried_again(
    asked: tuple[str, list[str]],
) -> None:
    url, paths = asked
    assert outside.read_outside(f"{url}/file") == b"here"
    assert paths == ["/file"] * 3


def test_what_is_not_there_or_too_large_is_asked_for_once(asked: tuple[str, list[str]]) -> None:
    url, paths = asked
    with pytest.raises(urllib.error.HTTPError):
        outside.read_outside(f"{url}/gone")
    assert paths == ["/gone"]
    paths += ["/other"] * 2
    with pytest.raises(PermissionError):
        outside.read_outside(f"{url}/file", 3)
    assert paths.count("/file") == 1
