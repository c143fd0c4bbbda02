"""A package index for tests that build images, on an address that containers reach.

    /simple/NAME/   wheels that a test added, else the page of the machine's own index
    /torch/NAME/    stands for the PyTorch index of one wheel variant: this machine's torch wheel
    /files/KEY/...  the files of both; one from outside is fetched once
    /python/...     the stand-in for uv's managed Python, and the list that names it
    /control/...    for tests in other processes: what `SharedIndex` asks for

Every answer is logged with its size, so that a test can say what a build downloaded. No answer has
cache headers: what is not fetched again is the merit of the one who asks.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, urljoin

from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.support import managed_python
from tests.support.engine import has_stand_ins
from tests.support.outside import read_outside
from tests.support.process import run
from tests.support.serving import listening
from tests.support.wheels import make_source, make_wheel, read_metadata

JSON_PAGE = "application/vnd.pypi.simple.v1+json"
# No test needs more from outside in one file: who asks for it is about to fetch CUDA libraries.
LARGEST_FOREIGN_FILE = 64 * 1024**2
METADATA = ".metadata"


@dataclass(frozen=True)
class Answer:
    """One answer of the index: the name that was asked for and the bytes of the body."""

    name: str
    size: int


class Traffic(list[Answer]):
    """The answers given while it was recorded, in their order."""

    @property
    def bytes(self) -> int:
        """Bytes of all bodies together."""
        return sum(answer.size for answer in self)

    @property
    def downloads(self) -> list[str]:
        """Names of the archives of all kinds sent, sorted; twice if sent twice."""
        return sorted(
            a.name for a in self if a.name.endswith((".whl", ".tar.gz", ".zip", ".conda"))
        )

    @property
    def repeated(self) -> list[str]:
        """Names of those that were sent more than once."""
        return sorted(name for name, times in Counter(self.downloads).items() if times > 1)


class PackageIndex:
    """The content of the index and the log of its answers; `serving` puts it on the network."""

    def __init__(
        self,
        folder: Path,
        torch_wheel: Path | None,
        python_archive: Path | None,
        *,
        largest: int = LARGEST_FOREIGN_FILE,
    ) -> None:
        """Take the wheels of tests into `folder`; None leaves the torch page or the Python out.

        No file of the outside with more bytes than `largest` is passed on.
        """
        self.url = ""
        self.torch_wheel = torch_wheel
        self.python_archive = python_archive
        self.log = Traffic()
        self.passed_on: set[str] = set()  # names whose page was the outside's
        self._folder = folder
        self._largest = largest
        self._upstream = upstream_index()
        self._pages: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(dict)
        self._files: dict[str, Path | str] = {}
        if torch_wheel:
            self._publish("torch", torch_wheel)

    @property
    def torch_version(self) -> str | None:
        """The release of the torch wheel, without its local part; None without a wheel."""
        return parse_wheel_filename(self.torch_wheel.name)[1].public if self.torch_wheel else None

    def env(self) -> dict[str, str]:
        """The lines of .env that point a generated project here for all but torch."""
        values = {"UV_DEFAULT_INDEX": f"{self.url}/simple/"}
        if self.python_archive:
            values["UV_PYTHON_DOWNLOADS_JSON_URL"] = f"{self.url}/python/downloads.json"
        return values

    def replace_pytorch_index(self, pyproject: Path) -> None:
        """Write this index into a project's dependencies, as a team in a closed network does."""
        text = pyproject.read_text()
        own = rf'\g<1>url = "{self.url}/torch/"'
        text, found = re.subn(r'(name = "pytorch"\n)url = ".*"', own, text)
        if not found and '"torch==' in text:  # the build that plain PyPI has
            place = f'[[tool.uv.index]]\nname = "pytorch"\nurl = "{self.url}/torch/"\n'
            table = "[tool.uv.sources]\n"
            text = text.replace(
                table, f'{place}explicit = true\n\n{table}torch = {{ index = "pytorch" }}\n'
            )
        pyproject.write_text(text)

    def add(
        self,
        name: str,
        version: str = "1.0",
        requires: Iterable[str] = (),
        files: dict[str, str] | None = None,
    ) -> None:
        """Make a wheel (see `make_wheel`) and offer it, in place of the outside's of this name."""
        self._publish("simple", make_wheel(self._folder, name, version, requires, files))

    def add_source(self, name: str, setup: str) -> None:
        """Offer version 1.0 of a package as a source archive alone; `setup` is its setup.py."""
        archive = make_source(self._folder, name, setup)
        self._offer("simple", canonicalize_name(name), archive, {})

    @contextlib.contextmanager
    def recording(self) -> Iterator[Traffic]:
        """Give what is sent inside the `with` block; complete when the block is left."""
        traffic, start = Traffic(), len(self.log)
        yield traffic
        traffic.extend(self.log[start:])

    def _publish(self, page: str, wheel: Path) -> None:
        name = parse_wheel_filename(wheel.name)[0]
        metadata = read_metadata(wheel)
        about = {
            "requires-python": BytesParser().parsebytes(metadata)["Requires-Python"],
            "core-metadata": {"sha256": hashlib.sha256(metadata).hexdigest()},
        }
        self._offer(page, name, wheel, about)

    def _offer(self, page: str, name: str, archive: Path, about: dict[str, Any]) -> None:
        with archive.open("rb") as content:
            digest = _sha256(content)
        key = digest[:16]
        self._files[key] = archive
        files = self._pages[page].setdefault(name, [])
        files[:] = [file for file in files if file["filename"] != archive.name]
        files.append(
            {
                "filename": archive.name,
                "url": f"/files/{key}/{quote(archive.name)}",
                "hashes": {"sha256": digest},
                "size": archive.stat().st_size,
                **about,
            }
        )

    def page(self, kind: str, name: str) -> bytes | None:
        """The JSON page (PEP 691) of a project; None when there is none."""
        name = canonicalize_name(name)
        files = self._pages[kind].get(name)
        if files is None and kind == "simple":
            files = self._foreign_files(name)
        if files is None:
            return None
        return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": files}).encode()

    def _foreign_files(self, name: str) -> list[dict[str, Any]]:
        address = f"{self._upstream}/{name}/"
        request = urllib.request.Request(address, headers={"Accept": JSON_PAGE})  # noqa: S310
        files: list[dict[str, Any]] = json.loads(read_outside(request))["files"]
        for file in files:
            origin = urljoin(address, file["url"])
            key = hashlib.sha256(origin.encode()).hexdigest()[:16]
            self._files[key] = origin
            file["url"] = f"/files/{key}/{quote(file['filename'])}"
            if file["filename"].endswith(".whl"):
                # As the public index does; a mirror may not, and uv would fetch whole wheels.
                file["core-metadata"] = True
        self.passed_on.add(name)
        return files

    def file(self, key: str, name: str) -> Path:
        """A file that a page has named, or its metadata when `name` ends so.

        Raises:
            KeyError: no page has named such a file.
            PermissionError: a file of the outside is larger than tests may fetch.
        """
        origin = self._files[key]
        file = origin if isinstance(origin, Path) else self._fetch(key, origin)
        if not name.endswith(METADATA):
            return file
        metadata = self._folder / f"{key}{METADATA}"
        metadata.write_bytes(read_metadata(file))
        return metadata

    def _fetch(self, key: str, origin: str) -> Path:
        file = self._folder / key
        if not file.exists():
            content = read_outside(origin, self._largest)
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as partial:
                partial.write(content)
            Path(partial.name).rename(file)
        return file

    def python_file(self, name: str) -> bytes | None:
        """The list of Pythons or the archive itself; None for any other name."""
        if self.python_archive is None:
            return None
        address = f"{self.url}/python/{self.python_archive.name}"
        if name == "downloads.json":
            return json.dumps(managed_python.downloads_json(self.python_archive, address)).encode()
        return self.python_archive.read_bytes() if name == self.python_archive.name else None


class SharedIndex(PackageIndex):
    """An index that another process serves, at an address that all test processes share.

    The address is a part of what a build is made from: with one address, what one process has
    built is in the engine's cache for the others. So is what is added: take new names. And the log
    has the others' traffic too.
    """

    def __init__(self, url: str) -> None:
        """Take the address of an index that is served."""
        self.url = url
        about = self._ask("about")
        self.torch_wheel, self.python_archive = (
            Path(about[key]) if about[key] else None for key in ("torch_wheel", "python_archive")
        )

    def _ask(self, what: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        address = f"{self.url}/control/{what}"
        with urllib.request.urlopen(address, data) as answer:  # noqa: S310 (this machine's)
            return json.load(answer)

    def add(
        self,
        name: str,
        version: str = "1.0",
        requires: Iterable[str] = (),
        files: dict[str, str] | None = None,
    ) -> None:
        """Offer a wheel to all test processes.

        Raises:
            ValueError: some of them may have the package of this name from outside.
        """
        try:
            self._ask("add", [name, version, list(requires), files])
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.CONFLICT:
                raise
            raise ValueError(f"{name} was passed on from outside: take another name") from error

    @contextlib.contextmanager
    def recording(self) -> Iterator[Traffic]:
        """Give what is sent to any process inside the `with` block."""
        traffic, start = Traffic(), len(self._ask("log"))
        yield traffic
        traffic.extend(Answer(*row) for row in self._ask("log")[start:])


@contextlib.contextmanager
def serving(
    index: PackageIndex,
    address: str,
    *,
    tls: ssl.SSLContext | None = None,
    login: tuple[str, str] | None = None,
) -> Iterator[PackageIndex]:
    """Serve the index on a free port of this address, each request in a thread of its own.

    Args:
        index: what to serve; its `url` is set.
        address: an IPv4 address of this machine.
        tls: serve https with this certificate, not http.
        login: answer only who gives this user name and password.
    """

    class Handler(_Handler):
        content = index
        authorization = (
            "Basic " + base64.b64encode(":".join(login).encode()).decode() if login else None
        )

    with listening(Handler, address, tls) as index.url:
        yield index


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    content: PackageIndex
    authorization: str | None = None

    def do_GET(self) -> None:
        if self.authorization and self.headers["Authorization"] != self.authorization:
            self._send_head(HTTPStatus.UNAUTHORIZED, 0)
            return
        parts = [unquote(part) for part in self.path.strip("/").split("/")]
        try:
            match parts:
                case ["simple" | "torch" as kind, name]:
                    self._send_bytes(name, self.content.page(kind, name), JSON_PAGE)
                case ["control", what]:
                    self._send_control(self._told(what))
                case ["python", name]:
                    self._send_bytes(name, self.content.python_file(name))
                case ["files", key, name]:
                    file = self.content.file(key, name)
                    size = file.stat().st_size
                    self._send_head(HTTPStatus.OK, size)
                    with file.open("rb") as content:
                        shutil.copyfileobj(content, self.wfile)
                    self.content.log.append(Answer(name, size))
                case _:
                    self._send_bytes(self.path, None)
        except urllib.error.HTTPError as error:
            self._send_head(error.code, 0)
        except KeyError:
            self._send_head(HTTPStatus.NOT_FOUND, 0)
        except PermissionError as error:
            self.send_error(HTTPStatus.FORBIDDEN, str(error))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/control/add" and canonicalize_name(body[0]) in self.content.passed_on:
            self._send_head(HTTPStatus.CONFLICT, 0)
        elif self.path == "/control/add":
            self.content.add(*body)
            self._send_control(None)
        else:
            self._send_head(HTTPStatus.NOT_FOUND, 0)

    def _told(self, what: str) -> Any:
        if what == "log":
            return [[answer.name, answer.size] for answer in self.content.log]
        paths = {key: getattr(self.content, key) for key in ("torch_wheel", "python_archive")}
        return {key: str(path or "") for key, path in paths.items()}

    def _send_control(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self._send_head(HTTPStatus.OK, len(body), "application/json")
        self.wfile.write(body)

    def _send_bytes(
        self, name: str, body: bytes | None, kind: str = "application/octet-stream"
    ) -> None:
        if body is None:
            self._send_head(HTTPStatus.NOT_FOUND, 0)
            return
        self._send_head(HTTPStatus.OK, len(body), kind)
        self.wfile.write(body)
        self.content.log.append(Answer(name, len(body)))

    def _send_head(self, status: int, size: int, kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: a test prints what it needs of the log."""


def bridge_address() -> str:
    """The address of this machine on Docker's default bridge, as containers and builds see it.

    Raises:
        RuntimeError: the engine has no such bridge on this machine (Docker Desktop, rootless).
    """
    template = "{{(index .IPAM.Config 0).Gateway}}"
    result = run("docker", "network", "inspect", "bridge", "--format", template)
    if result.returncode:
        raise RuntimeError(f"no default bridge to serve packages on: {result.stderr.strip()}")
    return result.stdout.strip()


def upstream_index() -> str:
    """The index this machine takes packages from: pip's setting, else the default of uv."""
    pip = run(sys.executable, "-m", "pip", "config", "get", "global.index-url")
    url = os.environ.get("PIP_INDEX_URL") or pip.stdout.strip()
    if not url:
        # With nothing to resolve, all it prints is `--index-url ADDRESS`.
        uv = run(
            *(sys.executable, "-m", "uv", "pip", "compile"),
            *("--quiet", "--emit-index-url", "--no-header", "-"),
            input="",
        )
        url = uv.stdout.split()[1]
    return url.rstrip("/")


def standard_index(folder: Path) -> PackageIndex:
    """An index with its files in a folder; it has a Python where base images are stand-ins."""
    python = managed_python.cached_archive() if has_stand_ins() else None
    return PackageIndex(folder, find_torch_wheel(), python)


def find_torch_wheel() -> Path | None:
    """The CPU build of torch for CPython 3.11 in the folder that PIP_FIND_LINKS names, if any."""
    folder = os.environ.get("PIP_FIND_LINKS")
    found = sorted(Path(folder).glob("torch-*+cpu-cp311-*_x86_64.whl")) if folder else []
    return found[-1] if found else None


def _sha256(content: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := content.read(1024 * 1024):
        digest.update(block)
    return digest.hexdigest()
