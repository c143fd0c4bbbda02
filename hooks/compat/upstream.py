"""Reads the public sources that the compatibility tables are compared with.

Every address is in ADDRESSES and nowhere else, and no other host is ever asked. An answer is
limited in size and time; what cannot be read is an `UpstreamError` of one sentence, so that the
other sources are still compared. With a folder of recorded answers nothing is fetched.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1024 * 1024


class Address(NamedTuple):
    """Where a source is; `{}` stands for a version or the like."""

    url: str
    what: str
    limit: int = 16 * MIB  # bytes of an answer


# The name of an address is also the name of its row in sources.yml.
ADDRESSES = {
    "cuda-redist": Address(
        "https://developer.download.nvidia.com/compute/cuda/redist/",
        "NVIDIA's CUDA redistributables: the list of redistrib_*.json",
    ),
    "cuda-redist-release": Address(
        "https://developer.download.nvidia.com/compute/cuda/redist/redistrib_{}.json",
        "NVIDIA's CUDA redistributables of a release, with the driver that it pairs with",
    ),
    "driver-redist": Address(
        "https://developer.download.nvidia.com/compute/nvidia-driver/redist/",
        "NVIDIA's driver redistributables: the list of redistrib_*.json",
    ),
    "driver-redist-release": Address(
        "https://developer.download.nvidia.com/compute/nvidia-driver/redist/redistrib_{}.json",
        "NVIDIA's driver redistributables of a release, with its cuda-compat",
    ),
    # The packages are named after the CUDA that they bring and the driver that they are of.
    "cuda-compat": Address(
        "https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/x86_64/",
        "NVIDIA's repository for Ubuntu 24.04: cuda-compat packages",
    ),
    # https://docs.nvidia.com/datacenter/tesla/drivers/supported-drivers-and-cuda-toolkit-versions.html
    # offers this file to programs.
    "driver-releases": Address(
        "https://docs.nvidia.com/datacenter/tesla/drivers/releases.json",
        "NVIDIA's data-center driver releases (releases.json)",
    ),
    # The same file is in each driver: NVIDIA-Linux-*.run --extract-only, supported-gpus/.
    "supported-gpus": Address(
        "https://raw.githubusercontent.com/NVIDIA/nvidia-driver-assistant/main/supported-gpus/supported-gpus.json",
        "supported-gpus.json of NVIDIA's driver, as its driver assistant carries it",
    ),
    "pypi-json": Address("https://pypi.org/pypi/torch/json", "PyPI's JSON of torch"),
    "pypi-torch-release": Address(
        "https://pypi.org/pypi/torch/{}/json", "PyPI's JSON of a release of torch"
    ),
    "pypi-torchvision": Address("https://pypi.org/pypi/torchvision/json", "PyPI's JSON"),
    "pypi-torchaudio": Address("https://pypi.org/pypi/torchaudio/json", "PyPI's JSON"),
    "torch-index": Address(
        "https://download.pytorch.org/whl/torch/", "PyTorch's wheel index, all variants", 64 * MIB
    ),
    "hub-cuda": Address(
        "https://registry-1.docker.io/v2/nvidia/cuda/tags/list", "tags of nvidia/cuda on Docker Hub"
    ),
    "hub-pytorch": Address(
        "https://registry-1.docker.io/v2/pytorch/pytorch/tags/list",
        "tags of pytorch/pytorch on Docker Hub",
    ),
    "ngc-pytorch": Address(
        "https://nvcr.io/v2/nvidia/pytorch/tags/list", "tags of nvcr.io/nvidia/pytorch"
    ),
    "hub-cuda-image": Address(
        "https://registry-1.docker.io/v2/nvidia/cuda/manifests/{}", "index of an nvidia/cuda image"
    ),
    "ngc-pytorch-image": Address(
        "https://nvcr.io/v2/nvidia/pytorch/manifests/{}", "index of an image of NGC's PyTorch"
    ),
    "conda-forge": Address(
        "https://conda.anaconda.org/conda-forge/linux-64/current_repodata.json",
        "repodata of conda-forge (linux-64, newest releases)",
        256 * MIB,
    ),
}
# Where a registry gives the token that reading a public repository needs.
TOKENS = {
    "registry-1.docker.io": "https://auth.docker.io/token?service=registry.docker.io&scope=repository:{}:pull",
    "nvcr.io": "https://nvcr.io/proxy_auth?scope=repository:{}:pull",
}
HOSTS = frozenset(
    urlsplit(url).hostname for url in (*(a.url for a in ADDRESSES.values()), *TOKENS.values())
)

TRIES = 3
SILENCE = 30.0  # seconds without a byte
PATIENCE = 300.0  # seconds for one answer
PASSING = frozenset({408, 429, 500, 502, 503, 504})  # HTTP statuses that are worth another try
PAGES = 50  # of a list of tags
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


class UpstreamError(Exception):
    """A source cannot be read; its text is one sentence that names it."""


class Answer(NamedTuple):
    """The body of an answer, and the address of its next page if it has one."""

    body: bytes
    following: str = ""


def _allowed(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.hostname not in HOSTS:
        raise UpstreamError(
            f"{url.split('?', maxsplit=1)[0][:200]} is not an https address that is read"
        )
    return url


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to a host that is in ADDRESSES."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:  # fmt: skip  # noqa: E501, PLR0917
        return super().redirect_request(req, fp, code, msg, headers, _allowed(newurl))


def _next_page(link: str, url: str) -> str:
    """The address in a header such as `</v2/a/tags/list?last=x>; rel="next"`."""
    found = re.search(r'<([^<>]*)>\s*;\s*rel="?next"?', link)
    return urljoin(url, found.group(1)) if found else ""


def open_address(url: str, headers: dict[str, str], limit: int) -> Answer:
    """Fetch an address once, over https with the certificate checked.

    Args:
        url: an address on one of HOSTS.
        headers: what to send.
        limit: bytes of the answer at most.

    Raises:
        UpstreamError: the answer is too large or takes too long.
        OSError: no answer; urllib's HTTPError is one.
    """
    request = urllib.request.Request(_allowed(url), headers=headers)  # noqa: S310
    end = time.monotonic() + PATIENCE
    with urllib.request.build_opener(_Redirects).open(request, timeout=SILENCE) as response:
        parts, size = [], 0
        while part := response.read(MIB):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise UpstreamError(f"the answer is larger than {limit:,} bytes")
            if time.monotonic() > end:
                raise UpstreamError(f"the answer takes longer than {PATIENCE:.0f} seconds")
        return Answer(b"".join(parts), _next_page(response.headers.get("Link", ""), url))


def file_name(url: str) -> str:
    """Where a recorded answer is in its folder: the host, then the path."""
    parts = urlsplit(url)
    path = re.sub(r"[^A-Za-z0-9._/-]", "_", parts.path)
    path = "/".join(part for part in path.split("/") if part.strip("."))
    return f"{parts.hostname}/{path}" + ("/index.html" if parts.path.endswith("/") else "")


class Upstream:
    """The sources, fetched or from a folder of recorded answers."""

    def __init__(
        self,
        recorded: Path | None = None,
        record: Path | None = None,
        fetch: Callable[[str, dict[str, str], int], Answer] = open_address,
        pause: float = 2.0,
    ) -> None:
        """Say where answers come from.

        Args:
            recorded: read answers from this folder and fetch nothing.
            record: write each answer that is fetched to this folder.
            fetch: what fetches an address.
            pause: seconds before the second try; twice as many before the third.
        """
        self._recorded, self._record, self._fetch, self._pause = recorded, record, fetch, pause
        self._tokens: dict[str, str] = {}

    def json(self, name: str, version: str = "") -> Any:
        """The JSON of a source.

        Raises:
            UpstreamError: it cannot be read, or is no JSON.
        """
        return _parsed(name, version, self.read(name, version))

    def text(self, name: str, version: str = "") -> str:
        """The text of a source; bytes that are no UTF-8 are replaced."""
        return self.read(name, version).decode("utf-8", "replace")

    def read(self, name: str, version: str = "") -> bytes:
        """The bytes of a source, with all pages of a list of tags as one.

        Raises:
            UpstreamError: it cannot be read.
        """
        address = ADDRESSES[name]
        url = address.url.replace("{}", quote(version, safe="."))
        if self._recorded is not None:
            try:
                body = (self._recorded / file_name(url)).read_bytes()
            except OSError as error:
                raise UpstreamError(f"{_called(name, version)} is not recorded") from error
            if len(body) > address.limit:
                raise UpstreamError(f"{_called(name, version)}: larger than the limit")
            return body
        answer = self._try(name, version, url)
        body = answer.body
        if answer.following:
            body = self._all_pages(name, answer)
        if self._record is not None:
            file = self._record / file_name(url)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)
        return body

    def _all_pages(self, name: str, answer: Answer) -> bytes:
        whole = _parsed(name, "", answer.body)
        if not isinstance(whole, dict) or not isinstance(whole.get("tags"), list):
            return answer.body
        for _ in range(PAGES):
            if not answer.following:
                return json.dumps(whole).encode()
            answer = self._try(name, "", answer.following)
            page = _parsed(name, "", answer.body)
            tags = page.get("tags") if isinstance(page, dict) else None
            whole["tags"] += tags if isinstance(tags, list) else []
        raise UpstreamError(f"{_called(name, '')} has more than {PAGES} pages")

    def _try(self, name: str, version: str, url: str) -> Answer:
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(self._pause * attempt)
            try:
                return self._fetch(_allowed(url), self._headers(url), ADDRESSES[name].limit)
            except UpstreamError as error:
                raise UpstreamError(f"{_called(name, version)} cannot be read: {error}") from error
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code}"
                if error.code not in PASSING:
                    break
            except (OSError, HTTPException, ValueError) as error:
                reason = " ".join(str(getattr(error, "reason", error)).split())[:200]
        raise UpstreamError(f"{_called(name, version)} cannot be read: {reason}")

    def _headers(self, url: str) -> dict[str, str]:
        headers = {"User-Agent": "hearth-refresh", "Accept": "*/*"}
        host, path = urlsplit(url).hostname or "", urlsplit(url).path
        if host in TOKENS and path.startswith("/v2/"):
            repository = "/".join(path.split("/")[2:4])
            if repository not in self._tokens:
                answer = self._fetch(TOKENS[host].format(repository), dict(headers), MIB)
                token = json.loads(answer.body)
                token = token.get("token") if isinstance(token, dict) else None
                if not isinstance(token, str) or not re.fullmatch(r"[\w.~+/=-]+", token):
                    raise UpstreamError(f"{host} gives no token")
                self._tokens[repository] = token
            headers["Authorization"] = f"Bearer {self._tokens[repository]}"
            headers["Accept"] = INDEX_TYPES if "/manifests/" in path else "application/json"
        return headers


def _called(name: str, version: str) -> str:
    return f"{name} {version}".strip()


def _parsed(name: str, version: str, body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        page = re.match(rb"\s*<", body)
        kind = "a web page" if page else "something"
        raise UpstreamError(
            f"{_called(name, version)} cannot be read: {kind} in place of JSON"
        ) from error
