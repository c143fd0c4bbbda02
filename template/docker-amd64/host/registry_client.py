"""Asks a registry what the name of an image means now, without an engine: a login node has none.

It speaks the part of https://github.com/opencontainers/distribution-spec/blob/main/spec.md that
reads manifests, and takes the login that Docker, Podman or Apptainer keeps for this user. Without
TLS it speaks to this machine only, such as to the near end of a tunnel.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from .ask import read_json, read_text
from .failures import failed, words_of_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .failure_rows import Known
    from .project import Project

LIMIT = 15.0  # seconds that a registry may be silent
LONGEST = 60.0  # seconds for the body of an answer
MOST = 4 * 1024**2  # bytes of a manifest or a configuration; the specification's limit for clients
PLATFORM = {"os": "linux", "architecture": "amd64"}
DOCKER, OCI = "application/vnd.docker.distribution", "application/vnd.oci.image"
INDEXES = (f"{OCI}.index.v1+json", f"{DOCKER}.manifest.list.v2+json")
MANIFESTS = (f"{OCI}.manifest.v1+json", f"{DOCKER}.manifest.v2+json")
DIGEST = re.compile("sha256:[0-9a-f]{64}")
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
HUB = "registry-1.docker.io"  # where the images of docker.io are
HUB_LOGIN = "https://index.docker.io/v1/"  # under which docker login keeps the one for it
OF_TOKEN = "<token>"  # noqa: S105  the name of the user where the secret is an identity token
UNAUTHORIZED, FORBIDDEN, MISSING, TOO_MANY = 401, 403, 404, 429


class Published(NamedTuple):
    """An image in a registry.

    Attributes:
        digest: sha256:... of the index or manifest that its name means.
        labels: of the image for linux/amd64.
        size: bytes of its compressed layers.
    """

    digest: str
    labels: dict[str, str]
    size: int


class Login(NamedTuple):
    """A login of this user: name and password, or an identity token."""

    name: str
    secret: str

    @property
    def basic(self) -> str:
        """The header of a request with it."""
        words = base64.b64encode(f"{self.name}:{self.secret}".encode()).decode()
        return f"Basic {words}"


def is_this_machine(registry: str) -> bool:
    """Whether the address of a registry, with or without a port, is this machine's own."""
    return urllib.parse.urlsplit(f"//{registry}").hostname in THIS_MACHINE


def is_allowed(address: urllib.parse.SplitResult, registry: str | None) -> bool:
    """Whether a registry on a host may send to an address: by TLS, or from this machine to it."""
    here = address.hostname in THIS_MACHINE and registry in THIS_MACHINE
    return address.scheme == "https" or (address.scheme == "http" and here)


# ------------------------------------------------------------------------------------- the login


def login_files() -> list[Path]:
    """Where logins are kept: by Docker, by Podman, by Apptainer."""
    environ, home = os.environ, Path.home()
    files = [Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"]
    files += [Path(environ[key]) for key in ("REGISTRY_AUTH_FILE",) if environ.get(key)]
    if environ.get("XDG_RUNTIME_DIR"):
        files.append(Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return [*files, config / "containers" / "auth.json", home / ".apptainer" / "docker-config.json"]


def from_helper(name: str, address: str) -> Login | None:
    """The login that a credential helper of Docker's has; None without one.

    It reads an address and prints JSON: https://github.com/docker/docker-credential-helpers
    """
    if not re.fullmatch(r"[\w.-]+", name):
        return None
    try:
        said = subprocess.run(
            [f"docker-credential-{name}", "get"],
            input=address.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    known = read_json(said.stdout.decode("utf-8", "replace"))
    return Login(str(known.get("Username")), str(known["Secret"])) if "Secret" in known else None


def table(known: object) -> Mapping[str, Any]:
    """A value of a file, which may be anything, as a table."""
    return known if isinstance(known, dict) else {}


def from_file(file: Path, address: str) -> Login | None:
    """The login that a file has for an address; None without one."""
    known = read_json(read_text(file))
    helper = table(known.get("credHelpers")).get(address) or known.get("credsStore")
    found = from_helper(str(helper), address) if helper else None
    entry = table(table(known.get("auths")).get(address))
    if found or not entry:
        return found
    if entry.get("identitytoken"):
        return Login(OF_TOKEN, str(entry["identitytoken"]))
    try:
        name, colon, secret = base64.b64decode(str(entry.get("auth"))).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return Login(name, secret.strip("\0")) if colon else None


def login_for(registry: str) -> Login | None:
    """The login of this user for a registry; None without one."""
    of_hub = registry in ("docker.io", HUB)
    addresses = (HUB_LOGIN, "docker.io") if of_hub else (registry, f"https://{registry}")
    every = (from_file(file, one) for file in login_files() for one in addresses)
    return next((found for found in every if found), None)


# -------------------------------------------------------------------------------------- requests


class Redirects(urllib.request.HTTPRedirectHandler):
    """Registries send elsewhere for blobs: no login goes there, and nothing without TLS."""

    def redirect_request(  # noqa: PLR0917  as the class above has it
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The next request. Raises URLError for an address without TLS."""
        before, after = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if not is_allowed(after, before.hostname):
            raise urllib.error.URLError(f"it sends to {after.hostname} without TLS")
        # Without headers that were added as unredirected, of which the login is one.
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        login = req.unredirected_hdrs.get("Authorization")
        if request and login and (before.scheme, before.netloc) == (after.scheme, after.netloc):
            request.add_unredirected_header("Authorization", login)
        return request


def opener(project: Project, registry: str) -> urllib.request.OpenerDirector:
    """What sends requests: with the proxies and the certificates of .env."""
    settings, here = project.settings, urllib.request.getproxies()
    proxies = {
        scheme: settings.get(f"{scheme.upper()}_PROXY") or here.get(scheme, "")
        for scheme in ("http", "https")
    }
    without = {"no": settings.get("NO_PROXY") or here.get("no", "")}
    bypass = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
    if is_this_machine(registry) or bypass(registry, without):
        proxies = {}
    trusted = ssl.create_default_context()
    bundle = settings.path("CA_BUNDLE")
    if bundle and bundle.is_file():
        trusted.load_verify_locations(cafile=str(bundle))
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({k: v for k, v in proxies.items() if v}),
        urllib.request.HTTPSHandler(context=trusted),
        Redirects(),
    )


def read(answer: Any) -> bytes:
    """The body of an answer, and a byte more of one that is too large.

    Raises:
        TimeoutError: it comes so slowly that it has no end.
    """
    body, until = b"", time.monotonic() + LONGEST
    while len(body) <= MOST:
        block = answer.read1(MOST + 1 - len(body))
        if not block:
            break
        body += block
        if time.monotonic() > until:
            raise TimeoutError(f"its answer takes more than {LONGEST:.0f} seconds")
    return body


class Registry:
    """The registry of one image."""

    def __init__(self, project: Project, name: str):
        """Take a project, and the name of an image as publish takes it."""
        self.project, self.name = project, name
        self.known: Known = words_of_image(name)
        self.registry, path = self.known["registry"], self.known["path"]
        before, _, last = path.rpartition("/")
        last, _, tag = last.partition(":")
        self.path, self.tag = f"{before}/{last}" if before else last, tag or "latest"
        self.host = self.registry
        if self.registry == "docker.io":
            self.host = HUB
            self.path = self.path if "/" in self.path else f"library/{self.path}"
        scheme = "http" if is_this_machine(self.registry) else "https"
        self.address = f"{scheme}://{self.host}/v2/{self.path}"
        self.opener = opener(project, self.host)
        self.authorization = ""

    def send(self, request: urllib.request.Request) -> tuple[bytes, Mapping[str, str]]:
        """The body and the headers of an answer.

        Raises:
            HTTPError: the registry refuses.
            StopError: there is no answer.
        """
        try:
            with self.opener.open(request, timeout=LIMIT) as answer:
                return read(answer), answer.headers
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError as error:
            self.refuse_silence(error.reason)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.refuse_silence(error)

    def refuse_silence(self, reason: object) -> NoReturn:
        """Raise StopError: the registry was not reached, for a reason."""
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        text = re.sub(r"\s+", " ", text).rstrip(".")
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise failed("cluster-registry-certificate", self.project, **self.known)
        if isinstance(reason, ssl.SSLError) and re.search("WRONG_VERSION|HTTP_REQUEST", text):
            raise failed("registry-without-tls", self.project, **self.known)
        address = f"{self.address.partition('/v2/')[0]}/v2/"
        known = {**self.known, "address": address, "reason": text}
        raise failed("cluster-registry-silent", self.project, **known)

    def refuse(self, error: urllib.error.HTTPError) -> NoReturn:
        """Raise StopError: the registry has answered with an error."""
        known = dict(self.known)
        if error.code in (UNAUTHORIZED, FORBIDDEN):
            engines = shutil.which("docker") or shutil.which("podman")
            if shutil.which("apptainer") and not engines:
                words = 'apptainer registry login --username "$USER" docker://'
                known["remedy"] = words + self.registry
            raise failed("registry-login", self.project, **known)
        if error.code == MISSING:
            raise failed("registry-image-missing", self.project, **known)
        if error.code == TOO_MANY:
            raise failed("registry-limit", self.project, **known)
        self.refuse_silence(f"it says {error.code} {error.reason}")

    def get(self, what: str, *accept: str) -> tuple[bytes, Mapping[str, str]]:
        """What the registry has under a path. Raises StopError."""
        for again in (False, True):
            request = urllib.request.Request(f"{self.address}/{what}")  # noqa: S310
            for one in (", ".join(accept),) if accept else ():
                request.add_header("Accept", one)
            if self.authorization:
                request.add_unredirected_header("Authorization", self.authorization)
            try:
                return self.send(request)
            except urllib.error.HTTPError as error:
                asks = error.headers.get_all("WWW-Authenticate") or []
                if error.code != UNAUTHORIZED or again or not self.log_in(asks):
                    self.refuse(error)
        raise AssertionError  # the second time returns or raises

    def log_in(self, challenges: list[str]) -> bool:
        """Get what a registry asks for before it answers; False if that cannot be had.

        https://distribution.github.io/distribution/spec/auth/token
        """
        login = login_for(self.registry)
        for challenge in challenges:
            kind, _, rest = challenge.partition(" ")
            if kind.lower() == "bearer":
                words = dict(re.findall(r'(\w+)="([^"]*)"', rest))
                self.authorization = self.token(words, login)
                return bool(self.authorization)
            if kind.lower() == "basic" and login and login.name != OF_TOKEN:
                self.authorization = login.basic
                return True
        return False

    def token(self, words: Mapping[str, str], login: Login | None) -> str:
        """The header that a server of tokens gives for a challenge, "" if there is none."""
        try:
            realm = urllib.parse.urlsplit(words.get("realm", ""))
        except ValueError as error:  # such as http://[
            self.refuse_silence(error)
        if not is_allowed(realm, urllib.parse.urlsplit(self.address).hostname):
            self.refuse_silence(f"it asks for a login at {realm.hostname or 'an address'}, no TLS")
        asked = {
            "service": words.get("service", ""),
            "scope": words.get("scope") or f"repository:{self.path}:pull",
        }
        address, data = words["realm"], None
        if login and login.name == OF_TOKEN:
            more = {"grant_type": "refresh_token", "client_id": "template.sh"}
            data = urllib.parse.urlencode({**asked, **more, "refresh_token": login.secret}).encode()
        else:
            address += f"{'&' if realm.query else '?'}{urllib.parse.urlencode(asked)}"
        request = urllib.request.Request(address, data=data)  # noqa: S310  its scheme is checked
        if login and data is None:
            request.add_unredirected_header("Authorization", login.basic)
        try:
            body, _ = self.send(request)
        except urllib.error.HTTPError as error:
            self.refuse(error)
        answer = read_json(body.decode("utf-8", "replace"))
        token = str(answer.get("token") or answer.get("access_token") or "")
        return f"Bearer {token}" if re.fullmatch(r"[\x21-\x7e]+", token) else ""

    def document(self, what: str, digest: str, *accept: str) -> tuple[dict[str, Any], str]:
        """A JSON document and its digest.

        Raises:
            StopError: it cannot be had, or is not what the digest says.
        """
        body, headers = self.get(what, *accept)
        found = f"sha256:{hashlib.sha256(body).hexdigest()}"
        wanted = digest or headers.get("Docker-Content-Digest") or found
        if len(body) > MOST or (DIGEST.fullmatch(wanted) and wanted != found):
            self.refuse_silence("its answer is not what the digest says")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            self.refuse_silence("its answer is no manifest")
        return document, found

    def published(self) -> Published:
        """What the name means now. Raises StopError."""
        manifest, digest = self.document(f"manifests/{self.tag}", "", *INDEXES, *MANIFESTS)
        if isinstance(manifest.get("manifests"), list):
            entries = [table(one) for one in manifest["manifests"]]
            fits = [
                one for one in entries if PLATFORM.items() <= table(one.get("platform")).items()
            ]
            one = str(fits[0].get("digest")) if fits else ""
            if not DIGEST.fullmatch(one):
                raise failed("cluster-image-platform", self.project, **self.known)
            manifest, _ = self.document(f"manifests/{one}", one, *MANIFESTS)
        config = str(table(manifest.get("config")).get("digest"))
        labels: Mapping[str, Any] = {}
        if DIGEST.fullmatch(config):
            about, _ = self.document(f"blobs/{config}", config)
            labels = table(table(about.get("config")).get("Labels"))
        layers = manifest.get("layers")
        sizes = [table(one).get("size") for one in layers] if isinstance(layers, list) else []
        size = sum(one for one in sizes if isinstance(one, int))
        return Published(digest, {key: str(value) for key, value in labels.items()}, size)


def published(project: Project, name: str) -> Published:
    """What the name of an image, as publish takes it, means in its registry now.

    Raises:
        StopError: the registry does not answer or refuses, or has no such image for linux/amd64.
    """
    return Registry(project, name).published()
