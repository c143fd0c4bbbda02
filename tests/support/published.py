"""A stand-in for a registry: what clients ask of the distribution specification, in a thread."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.serving import listening

USER, PASSWORD, TOKEN = "jane", "quiet:lamp", "a-token"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
OCI = "application/vnd.oci.image"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class StandIn:
    """A registry.

    Attributes:
        address: such as 127.0.0.1:5000.
        asks: what it wants before it answers: "", basic or bearer.
        status: the status of every answer about images, 0 for the right one.
        elsewhere: the address to which blobs are redirected, "" for none.
        realm: where it says that tokens are; None for itself.
        content: what it has, by the ends of paths.
        seen: the requests that it got: method, path, Authorization.
    """

    address: str = ""
    asks: str = ""
    status: int = 0
    elsewhere: str = ""
    realm: str | None = None
    content: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    def put(self, kind: str, document: dict[str, Any], *names: str) -> dict[str, Any]:
        """Store a document under its digest, and names; give its descriptor."""
        body = json.dumps(document).encode()
        for name in (digest_of(body), *names):
            self.content[name] = (kind, body)
        return {"mediaType": kind, "digest": digest_of(body), "size": len(body)}

    def push(self, tag: str, labels: dict[str, str], *, index: str = "") -> str:
        """Store an image; with `index`, behind one for this architecture. Give its digest."""
        about = {"architecture": "amd64", "os": "linux", "config": {"Labels": labels}}
        config = self.put(f"{OCI}.config.v1+json", about)
        layer = {"mediaType": f"{OCI}.layer.v1.tar+gzip", "digest": "sha256:0", "size": 1000}
        manifest = {"schemaVersion": 2, "config": config, "layers": [layer, layer]}
        kind = f"{OCI}.manifest.v1+json"
        found = self.put(kind, {**manifest, "mediaType": kind}, tag)
        if index:
            unknown = {"platform": {"architecture": "unknown", "os": "unknown"}}
            real = {**found, "platform": {"architecture": index, "os": "linux"}}
            kind = f"{OCI}.index.v1+json"
            found = self.put(kind, {"mediaType": kind, "manifests": [unknown, real]}, tag)
        return str(found["digest"])


class Handler(BaseHTTPRequestHandler):
    """Answers for a registry."""

    registry: StandIn

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """A client that has an identity token."""
        self.do_GET(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def do_GET(self, data: str = "") -> None:
        """Answer any question."""
        login = self.headers.get("Authorization", "")
        self.registry.seen.append((self.command, f"{self.path} {data}".strip(), login))
        if self.path.startswith("/token"):
            known = login == BASIC or "refresh_token=an-identity" in data
            body = json.dumps({"token": TOKEN}).encode()
            self.answer(*((200, body) if known else (401, b"")))
        elif self.registry.status:
            self.answer(self.registry.status)
        elif login == {"": login, "basic": BASIC, "bearer": f"Bearer {TOKEN}"}[self.registry.asks]:
            self.serve(self.path.rpartition("/")[2])
        elif self.registry.asks == "basic":
            self.answer(401, WWW_Authenticate='Basic realm="the registry"')
        else:
            realm = self.registry.realm
            realm = f"http://{self.registry.address}/token" if realm is None else realm
            realm = f'Bearer realm="{realm}",service="the registry"'
            self.answer(401, WWW_Authenticate=f'{realm},scope="repository:team/demo:pull"')

    def serve(self, name: str) -> None:
        """Send what the registry has under a name."""
        kind, body = self.registry.content.get(name, ("", b""))
        digest = name if name.startswith("sha256:") else digest_of(body)
        if "/blobs/" in self.path and self.registry.elsewhere:
            self.answer(307, Location=f"http://{self.registry.elsewhere}{self.path}")
        elif not kind or ("/manifests/" in self.path and kind not in self.headers["Accept"]):
            self.answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        else:
            self.answer(200, body, Content_Type=kind, Docker_Content_Digest=digest)


@contextlib.contextmanager
def stand_in(address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[StandIn]:
    """A registry that answers."""
    registry = StandIn()
    handler = type("HandlerOfOne", (Handler,), {"registry": registry})
    with listening(handler, address, tls) as url:
        registry.address = url.partition("://")[2]
        yield registry
