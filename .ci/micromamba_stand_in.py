"""A stand-in for micromamba, for tests where its binary cannot be had.

It solves, checks and links with rattler; its command line, files, exit codes and words are those of
mamba's sources (mamba-org/mamba, commit 03564bf, between 2.8.1 and 2.9). What it does not know it
refuses. It keeps what surprises in micromamba: `--quiet` silences errors too, `--json` puts them
into the JSON's log_history, a channel alias is MAMBA_CHANNEL_ALIAS (not CONDA_...), certificates
are the system's or MAMBA_SSL_VERIFY (not REQUESTS_CA_BUNDLE), python brings pip along, and a
token or password ends up in conda-meta, be it of a URL or of ~/.mamba/auth/authentication.json.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import fnmatch
import hashlib
import http.client
import itertools
import json
import netrc
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

VERSION = "2.9.0"
ALIAS = "https://conda.anaconda.org"
SUBDIRS = ("linux-64", "noarch")
# mamba tries again three times too, with longer pauses (remote_max_retries, remote_backoff_factor).
RETRY_WAITS = (0.2, 0.5, 1.0)  # seconds
RETRY_STATUSES = (413, 429, *range(500, 600))
# Options by command; the value says whether an argument follows.
GENERAL = {"--yes": False, "--quiet": False, "--json": False, "--dry-run": False}
SOLVING = {
    **GENERAL,
    "--download-only": False,
    "--prefix": True,
    "--rc-file": True,
    "--file": True,
    "--channel": True,
    "--override-channels": False,
    "--channel-priority": True,
    "--channel-alias": True,
}
OPTIONS: dict[str, dict[str, bool]] = {
    "create": SOLVING,
    "install": SOLVING,
    "remove": {**GENERAL, "--prefix": True},
    "list": {"--json": False, "--quiet": False, "--prefix": True, "--explicit": False},
    "search": {
        "--json": False,
        "--channel": True,
        "--override-channels": False,
        "--channel-alias": True,
    },
    "env export": {
        "--prefix": True,
        "--explicit": False,
        "--no-md5": False,
        "--no-build": False,
        "--from-history": False,
    },
}
SHORT = {"-y": "--yes", "-q": "--quiet", "-p": "--prefix", "-f": "--file", "-c": "--channel"}
ARCHIVE = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)-(?P<build>[^-]+)\.(?:conda|tar\.bz2)")
CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
PYC = """\
import py_compile, sys
for line in sys.stdin:
    py_compile.compile(line.rstrip("\\n"), quiet=2)
"""


class Failure(Exception):  # noqa: N818 (not every failure is an error of this program)
    """What ends the run: logged as critical, exit status 1."""


class Usage(Exception):  # noqa: N818
    """A command line that is not understood; exit status 109, as CLI11 has it."""


@dataclass
class Console:
    """Where words go: prints to stdout, logs to stderr or into the JSON, nothing when quiet."""

    quiet: bool = False
    json: bool = False
    output: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, str]] = field(default_factory=list)

    def print(self, text: str = "") -> None:
        """Tell the person; nobody is told when quiet or in JSON."""
        if not (self.quiet or self.json):
            print(hide_secrets(text), flush=True)

    def log(self, level: str, text: str) -> None:
        """Log with the level's name, as mamba's pattern has it."""
        text = hide_secrets(text).replace("\n", "\n    ")
        if self.json:
            self.history.append({"level": level, "message": text, "source": "libmamba"})
        elif not self.quiet:
            print(f"{level:<9}libmamba {text}", file=sys.stderr, flush=True)


CONSOLE = Console()


@dataclass
class Command:
    """A parsed command line."""

    name: str
    flags: set[str]
    values: dict[str, list[str]]
    specs: list[str]

    def one(self, option: str) -> str | None:
        """The last value of an option that is given once."""
        return (self.values.get(option) or [None])[-1]


def parse(arguments: list[str]) -> Command:
    """Read the command line.

    Raises:
        Usage: a command or an option is unknown here.
    """
    name = arguments[0] if arguments else ""
    rest = arguments[1:]
    if name == "env":
        name, rest = " ".join(arguments[:2]), arguments[2:]
    if name not in OPTIONS:
        raise Usage(f"The following argument was not expected: {name}")
    known = OPTIONS[name]
    command = Command(name, set(), {}, [])
    words = list(rest)
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if word == "-e" and name == "env export":
            option = "--explicit"
        option = SHORT.get(option, option)
        if not word.startswith("-"):
            command.specs.append(word)
        elif option not in known:
            raise Usage(f"The following argument was not expected: {word}")
        elif not known[option]:
            command.flags.add(option)
        else:
            values = [value] if equals else [words.pop(0)] if words else []
            while option == "--rc-file" and words and not words[0].startswith("-"):
                values.append(words.pop(0))  # it takes all that follow
            if not values:
                raise Usage(f"{option}: 1 required TEXT missing")
            command.values.setdefault(option, []).extend(values)
    return command


# --- addresses ------------------------------------------------------------------------------------


def hide_secrets(text: str) -> str:
    """The text without tokens and passwords in its URLs."""
    text = re.sub(r"/t/[\w-]+", "/t/*****", text)
    return re.sub(r"(://[^/@:\s]+):[^/@\s]+@", r"\1:*****@", text)


def without_credentials(url: str) -> str:
    """The URL without token, user and password."""
    parts = urlsplit(url)
    path = re.sub(r"^/t/[^/]+", "", parts.path)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))


def with_credentials(url: str) -> str:
    """The URL with what authentication.json has for it; the longest address that fits counts.

    Raises:
        Failure: what it has is of a kind that is unknown here.
    """
    parts = urlsplit(url)
    if not parts.scheme.startswith("http") or url != without_credentials(url):
        return url
    try:
        known = json.loads((Path.home() / ".mamba/auth/authentication.json").read_text())
    except (OSError, ValueError):
        return url
    for place in sorted(known, key=len, reverse=True):
        if f"{parts.netloc}{parts.path}/".startswith(f"{place.rstrip('/')}/"):
            if known[place]["type"] != "CondaToken":
                raise Failure(f"the stand-in for micromamba does not know {known[place]['type']}")
            return urlunsplit(parts._replace(path=f"/t/{known[place]['token']}{parts.path}"))
    return url


@dataclass
class Settings:
    """What the environment, rc files and options say, merged."""

    alias: str
    channels: list[str]
    pins: list[str]
    priority: str
    prefix: Path | None
    root: Path
    caches: list[Path]

    @property
    def cache(self) -> Path:
        """The first cache that can be written."""
        for folder in self.caches:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
        raise Failure("Did not find a writable package cache directory!")

    def channel_url(self, name: str) -> str:
        """The address of a channel given by name, path or URL."""
        if "://" in name:
            return with_credentials(name.rstrip("/"))
        if name.startswith(("/", "./", "~")):
            return Path(name).expanduser().resolve().as_uri()
        return with_credentials(f"{self.alias}/{name}".rstrip("/"))

    def channel_id(self, url: str) -> str:
        """The name by which the channel of this address is shown and recorded."""
        bare, alias = without_credentials(url), without_credentials(self.alias)
        return bare.removeprefix(alias).strip("/") if bare.startswith(f"{alias}/") else bare


def read_rc(files: list[str], root: Path, prefix: Path | None) -> dict[str, Any]:
    """The keys of the rc files; those of `--rc-file` alone where they are given.

    Raises:
        Failure: a file is missing or has a key that is unknown here.
    """
    import yaml  # noqa: PLC0415 (most commands do without)

    folders = [root, Path.home(), *([prefix] if prefix else [])]
    found = [Path(file).expanduser() for file in files]
    for file in found:
        if not file.exists():
            CONSOLE.log(
                "error", f"Configuration file specified but does not exist at '{file.name}'"
            )
            raise Failure("Aborting.")
    if not files:
        found = [d / name for d in folders for name in (".condarc", ".mambarc")]
    merged: dict[str, Any] = {}
    for file in found:
        content = (yaml.safe_load(file.read_text()) if file.is_file() else None) or {}
        for key, value in content.items():
            if key not in {"channels", "pinned_packages", "channel_alias", "channel_priority"}:
                raise Failure(f"the stand-in for micromamba does not know '{key}' of {file}")
            merged[key] = value
    return merged


def settings_of(command: Command, from_files: list[str]) -> Settings:
    """Merge what is said where; channels of the command line and of files come first."""
    prefix = command.one("--prefix")
    if prefix is None and command.name != "create":
        prefix = os.environ.get("CONDA_PREFIX")
    root = Path(os.environ.get("MAMBA_ROOT_PREFIX") or Path.home() / ".local/share/mamba")
    target = Path(prefix).absolute() if prefix else None
    rc = read_rc(command.values.get("--rc-file", []), root, target)
    channels = [*command.values.get("--channel", []), *map(os.path.expandvars, from_files)]
    if "--override-channels" in command.flags:
        channels = [*command.values.get("--channel", []), "nodefaults"]
    if "nodefaults" not in channels:
        more = os.environ.get("CONDA_CHANNELS", "").split(",")
        channels += [name for name in more if name] + rc.get("channels", [])
        channels = channels or ["conda-forge"]
    caches = os.environ.get("CONDA_PKGS_DIRS") or str(root / "pkgs")
    alias = command.one("--channel-alias") or os.environ.get("MAMBA_CHANNEL_ALIAS")
    return Settings(
        alias=(alias or rc.get("channel_alias") or ALIAS).rstrip("/"),
        channels=list(dict.fromkeys(name for name in channels if name != "nodefaults")),
        pins=rc.get("pinned_packages", []),
        priority=command.one("--channel-priority") or rc.get("channel_priority", "flexible"),
        prefix=target,
        root=root,
        caches=[Path(folder.strip()) for folder in caches.split(",")],
    )


# --- downloads ------------------------------------------------------------------------------------


def certificates(settings: Settings) -> str:
    """The file of trusted authorities, looked for where micromamba looks.

    Raises:
        Failure: there is none; micromamba wants one even if it then asks for http or file alone.
    """
    named = os.environ.get("MAMBA_CACERT_PATH") or os.environ.get("MAMBA_SSL_VERIFY")
    if named and named not in {"<system>", "true", "1"}:
        found: str | None = named
    else:
        places = [str(settings.root / "ssl/cert.pem"), *CERTIFICATES]
        found = next((place for place in places if Path(place).exists()), None)
    if found is None:
        CONSOLE.log("error", "No CA certificates found on system, aborting")
        raise Failure("No CA certificates found on system, aborting")
    if not Path(found).exists():
        raise Failure("ssl_verify does not contain a valid file path.")
    os.environ["SSL_CERT_FILE"] = found  # for rattler, which downloads nothing, but looks
    return found


def proxies() -> dict[str, str]:
    """Proxies as curl reads them: the one for http by its small name only."""
    names = {
        "http": ("http_proxy", "all_proxy", "ALL_PROXY"),
        "https": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
    }
    found = {scheme: filter(None, map(os.environ.get, n)) for scheme, n in names.items()}
    return {scheme: address for scheme, values in found.items() for address in [*values][:1]}


def login(host: str) -> tuple[str, str] | None:
    """User and password for a host in the file that NETRC names, else in ~/.netrc."""
    file = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        entry = netrc.netrc(str(file)).authenticators(host)
        if entry:
            return entry[0], entry[2] or ""
    return None


def download(settings: Settings, url: str, target: Path) -> None:
    """Fetch a file; it appears under its name only when it is complete.

    Raises:
        Failure: in the words of libcurl and mamba.
    """
    parts = urlsplit(url)
    credentials = login(parts.hostname or "")
    if parts.username:
        credentials = unquote(parts.username), unquote(parts.password or "")
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(  # noqa: S310 (the schemes of channels, file included)
        bare, headers={"User-Agent": f"mamba/{VERSION} stand-in"}
    )
    if credentials:
        token = base64.b64encode(":".join(credentials).encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    context = ssl.create_default_context(cafile=certificates(settings))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies()), urllib.request.HTTPSHandler(context=context)
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    for wait in (*RETRY_WAITS, None):
        try:
            receive(opener, request, target)
        except urllib.error.HTTPError as error:
            if wait is None or error.code not in RETRY_STATUSES:
                words = f"Transfer finalized, status: {error.code} [{url}] 0 bytes"
                raise Failure(words) from error
        except (OSError, http.client.HTTPException) as error:
            if wait is None or parts.scheme == "file":
                raise Failure(curl_words(error, url, parts.hostname or "")) from error
        else:
            return
        time.sleep(wait)


def receive(
    opener: urllib.request.OpenerDirector, request: urllib.request.Request, target: Path
) -> None:
    """Send a request and keep the whole answer, or nothing.

    Raises:
        OSError: no answer, a broken one, or no place for it.
        http.client.HTTPException: a broken answer.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        partial = Path(folder, target.name)
        with opener.open(request, timeout=60) as answer, partial.open("wb") as out:
            shutil.copyfileobj(answer, out)
            missing = int(answer.headers.get("Content-Length") or 0) - out.tell()
        if missing > 0:
            raise http.client.IncompleteRead(b"", missing)
        partial.chmod(0o644)
        partial.rename(target)


def curl_words(error: Exception, url: str, host: str) -> str:
    """What libcurl says of such a failure."""
    reason = getattr(error, "reason", error)
    code, short, more = 56, "Failure when receiving data from the peer", str(reason)
    if urlsplit(url).scheme == "file":
        code, short, more = 37, "Could not read a file:// file", f"Couldn't open file {url}"
    elif isinstance(reason, socket.gaierror):
        code, short, more = 6, "Could not resolve hostname", f"Could not resolve host: {host}"
    elif isinstance(reason, ssl.SSLCertVerificationError):
        code, short = 60, "SSL peer certificate or SSH remote key was not OK"
        more = f"SSL certificate problem: {reason.verify_message}"
    elif isinstance(reason, ConnectionError | TimeoutError):
        code, short, more = 7, "Could not connect to server", f"Failed to connect to {host}"
    return f"Download error ({code}) {short} [{url}]\n{more}"


def digest(file: Path, kind: str) -> str:
    """The checksum of a file, in hex."""
    value = hashlib.new(kind, usedforsecurity=False)
    with file.open("rb") as content:
        while block := content.read(1024 * 1024):
            value.update(block)
    return value.hexdigest()


# --- packages -------------------------------------------------------------------------------------


@dataclass
class Wanted:
    """A package to install: its address and what is known of it."""

    url: str
    channel: str  # its id
    sha256: str = ""
    md5: str = ""
    record: Any = None  # a RepoDataRecord
    archive: Path | None = None

    @property
    def file(self) -> str:
        """The name of the archive."""
        return self.url.rpartition("/")[2]

    @property
    def label(self) -> str:
        """NAME-VERSION-BUILD."""
        return re.sub(r"\.(conda|tar\.bz2)$", "", self.file)

    @property
    def name(self) -> str:
        """The package's name."""
        return self.label.rsplit("-", 2)[0]

    @property
    def subdir(self) -> str:
        """The folder of the channel that it comes from."""
        return self.url.rsplit("/", 2)[-2]

    @property
    def spec(self) -> str:
        """The spec that names just this build."""
        name, version, build = self.label.rsplit("-", 2)
        return f"{name}=={version}[build={build}]"


def from_url(line: str, settings: Settings) -> Wanted:
    """A line of an explicit file; a hash that is none is passed over, as by micromamba.

    Raises:
        Failure: the line is no address of a package.
    """
    url, _, mark = line.strip().partition("#")
    match = ARCHIVE.fullmatch(url.rpartition("/")[2])
    if not match or url.count("/") < 2:  # noqa: PLR2004 (SUBDIR/FILE)
        raise Failure(f'Fail to parse PackageInfo URL "{line}"')
    if "://" not in url:
        url = Path(url).absolute().as_uri()
    url = with_credentials(url)
    wanted = Wanted(url, settings.channel_id(url.rsplit("/", 2)[0]))
    value = mark.removeprefix("sha256:")
    if re.fullmatch(r"[0-9a-fA-F]{64}", value):
        wanted.sha256 = value
    elif re.fullmatch(r"[0-9a-fA-F]{32}", mark):
        wanted.md5 = value
    return wanted


def fetch(wanted: Iterable[Wanted], settings: Settings) -> None:
    """Bring the archives into the cache and check them.

    Raises:
        Failure: a download failed or a checksum differs.
    """
    bad = False
    for package in wanted:
        place = re.sub(r"[^\w./-]", "_", without_credentials(package.url)).replace("://", "/")
        places = [folder / place.replace("___", "/") for folder in settings.caches]
        kind, expected = ("sha256", package.sha256) if package.sha256 else ("md5", package.md5)
        cached = (
            path
            for path in places
            if path.exists() and not (expected and digest(path, kind) != expected)
        )
        package.archive = next(cached, None)
        if package.archive:
            continue
        package.archive = settings.cache / place.replace("___", "/")
        try:
            download(settings, package.url, package.archive)
        except Failure as failure:
            status = re.search(r"status: (\d+)", str(failure))
            if status:
                CONSOLE.log(
                    "error",
                    f"Failed to download package from {package.url} (status {status[1]})\n"
                    "If you see this message repeatedly, the state of your installation might be"
                    " corrupted,\nin which case running `mamba clean --all` might fix it.",
                )
            raise
        actual = digest(package.archive, kind) if expected else ""
        if actual != expected:
            bad = True
            CONSOLE.log(
                "error",
                f"File not valid: {kind.upper()} doesn't match expectation"
                f' "{package.archive}"\nExpected: {expected}\nActual: {actual}\n',
            )
            CONSOLE.print(f"{package.file} tarball has incorrect {kind.upper()}")
            package.archive.unlink()
    if bad:
        raise Failure("Found incorrect downloads. Aborting")


def installed_in(prefix: Path) -> dict[str, Any]:
    """The PrefixRecords of an environment by name."""
    import rattler  # noqa: PLC0415

    records = [
        rattler.PrefixRecord.from_path(file)
        for file in sorted((prefix / "conda-meta").glob("*.json"))
    ]
    return {record.name.normalized: record for record in records}


def link(plan: Plan, settings: Settings) -> list[str]:
    """Carry out a plan whose archives are here; gives history's lines of what was unlinked."""
    import rattler  # noqa: PLC0415

    present = installed_in(plan.prefix)
    names = {package.name for package in plan.link} | set(plan.unlink)
    lines = []
    for name in sorted(names & set(present)):
        label = f"{name}-{present[name].version}-{present[name].build}"
        lines.append(f"-{present[name].channel}/{present[name].subdir}::{label}")
        CONSOLE.print(f"Unlinking {label}")
    records = [record for name, record in present.items() if name not in names]
    for package in plan.link:
        records.append(local_record(package))
        CONSOLE.print(f"Linking {package.label}")
    asyncio.run(
        rattler.install(
            records=records,
            target_prefix=plan.prefix,
            cache_dir=settings.cache / "extracted",
            installed_packages=list(present.values()),
            execute_link_scripts=True,
            show_progress=False,
        )
    )
    # What stands before python in the list is linked when there is none to compile with.
    python = next((i for i, package in enumerate(plan.link) if package.name == "python"), -1)
    compile_sources(plan.prefix, plan.link[python + 1 :])
    for number, package in enumerate(plan.link):
        spec = plan.specs.get(package.name, "")
        complete_record(plan.prefix, package, spec, compiled=number > python)
    return lines


def local_record(package: Wanted) -> Any:
    """The record of a package whose archive is here, so that rattler downloads nothing."""
    import rattler  # noqa: PLC0415

    async def read() -> Any:
        return await rattler.RepoDataRecord.from_package_archive(package.archive)

    if package.archive is None:
        raise Failure(f"{package.file} was not fetched")
    # What the channel says of dependencies counts more than what the archive says.
    inner = package.record or asyncio.run(read())
    return rattler.RepoDataRecord(
        rattler.PackageRecord._from_py_record(inner._record),
        package.file,
        package.archive.as_uri(),
        package.url.rsplit("/", 2)[0],
    )


def python_sources(record: dict[str, Any]) -> list[str]:
    """The files of a noarch Python package that are compiled after linking."""
    if record.get("noarch") != "python":
        return []
    files: list[str] = record["files"]
    return [path for path in files if path.endswith(".py") and "/site-packages/" in path]


def compile_sources(prefix: Path, packages: list[Wanted]) -> None:
    """Compile what is noarch Python, with the Python of the environment if it has one."""
    sources: list[str] = []
    for package in packages:
        record = json.loads((prefix / "conda-meta" / f"{package.label}.json").read_text())
        sources += [f"{prefix / path}\n" for path in python_sources(record)]
    python = prefix / "bin/python"
    if sources and python.exists():
        text = "".join(sources)
        subprocess.run([python, "-Wi", "-u", "-c", PYC], input=text, text=True, check=False)


def complete_record(prefix: Path, package: Wanted, spec: str, *, compiled: bool) -> None:
    """Write what micromamba writes into conda-meta, compiled files included."""
    file = prefix / "conda-meta" / f"{package.label}.json"
    record = json.loads(file.read_text())
    record |= {
        "url": package.url,
        "channel": package.channel,
        "fn": package.file,
        "requested_spec": spec,
        "package_tarball_full_path": str(package.archive),
    }
    if package.archive:
        record.setdefault("sha256", digest(package.archive, "sha256"))
        record["md5"] = record.get("md5") or digest(package.archive, "md5")
        record["sha256"] = record["sha256"] or digest(package.archive, "sha256")
    record.pop("requested_specs", None)
    for path in python_sources(record) if compiled else ():
        folder, _, name = path.rpartition("/")
        tag = re.sub(r".*lib/python(\d)\.(\d+)/.*", r"cpython-\1\2", path)
        made = f"{folder}/__pycache__/{name[:-3]}.{tag}.pyc"
        if (prefix / made).exists():
            record["files"].append(made)
            record["paths_data"]["paths"].append({"_path": made, "path_type": "pyc_file"})
    file.write_text(json.dumps(record, indent=4))


# --- solving --------------------------------------------------------------------------------------


def virtual_packages() -> list[tuple[str, str]]:
    """Names and versions; an empty CONDA_OVERRIDE_CUDA takes __cuda away."""
    found = [("__unix", "0"), ("__linux", os.environ.get("CONDA_OVERRIDE_LINUX") or kernel())]
    glibc = os.environ.get("CONDA_OVERRIDE_GLIBC")
    if glibc is None:
        glibc = os.confstr("CS_GNU_LIBC_VERSION").split()[-1]  # type: ignore[union-attr]
    cuda = os.environ.get("CONDA_OVERRIDE_CUDA")
    if cuda is None:
        cuda = cuda_of_driver()
    found += [(name, number) for name, number in (("__glibc", glibc), ("__cuda", cuda)) if number]
    return [*found, ("__archspec", "1")]


def kernel() -> str:
    """The kernel's version, up to the first character that is none."""
    match = re.match(r"\d+(\.\d+)*", os.uname().release)
    return match[0] if match else "0"


def cuda_of_driver() -> str:
    """The CUDA version in a toolkit's version.json, else what nvidia-smi says; else nothing."""
    file = Path("/usr/local/cuda/version.json")
    if file.exists():
        with contextlib.suppress(ValueError, KeyError):
            return ".".join(json.loads(file.read_text())["cuda"]["version"].split(".")[:2])
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query", "-u", "-x"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    match = re.search(r"<cuda_version>(.*)</cuda_version>", answer.stdout)
    return match[1] if match else ""


class Channels:
    """The repodata of the channels, fetched anew each time."""

    def __init__(self, settings: Settings) -> None:
        """Fetch it.

        Raises:
            Failure: a channel has no noarch, or cannot be reached.
        """
        import rattler  # noqa: PLC0415

        self.repos: list[tuple[str, Any]] = []
        self._settings = settings
        for name in settings.channels:
            url = settings.channel_url(name)
            for subdir in SUBDIRS:
                place = re.sub(r"\W+", "_", without_credentials(url))
                file = settings.cache / "cache" / f"{place}-{subdir}.json"
                try:
                    download(settings, f"{url}/{subdir}/repodata.json", file)
                except Failure as failure:
                    # A channel without packages for this platform is none without noarch.
                    if subdir == "noarch" or "status: 404" not in str(failure):
                        raise
                    continue
                repo = rattler.SparseRepoData(rattler.Channel(f"{url}/"), subdir, file)
                self.repos.append((f"{url}/{subdir}", repo))

    def candidates(self, name: str) -> list[Any]:
        """All records of a name."""
        import rattler  # noqa: PLC0415

        found: list[Any] = []
        for _, repo in self.repos:
            found += repo.load_records(rattler.PackageName(name))
        return found

    def names(self, pattern: str) -> list[str]:
        """The names of packages like a pattern with *."""
        every = {name for _, repo in self.repos for name in repo.package_names()}
        return sorted(fnmatch.filter(every, pattern))

    def wanted(self, record: Any) -> Wanted:
        """What to fetch for a record of the solution."""
        for url, repo in self.repos:
            for other in repo.load_records(record.name):
                if other.url == record.url:
                    address = f"{url}/{record.file_name}"
                    channel = self._settings.channel_id(url.rpartition("/")[0])
                    sha, md5 = (
                        value.hex() if value else "" for value in (record.sha256, record.md5)
                    )
                    return Wanted(address, channel, sha, md5, record)
        raise Failure(f"{record.url} is in none of the channels")


def solve(
    specs: list[str], settings: Settings, channels: Channels, installed: dict[str, Any]
) -> list[Any]:
    """The records of a solution, dependencies first.

    Raises:
        Failure: there is none; the console has the explanation.
    """
    import rattler  # noqa: PLC0415
    from rattler.exceptions import InvalidMatchSpecError, SolverError  # noqa: PLC0415

    virtual = [
        rattler.GenericVirtualPackage(
            rattler.PackageName(name), rattler.Version(number), rattler.BuildString("0")
        )
        for name, number in virtual_packages()
    ]
    try:
        matches = [rattler.MatchSpec(spec) for spec in specs]
        pins = [rattler.MatchSpec(pin) for pin in settings.pins]
    except InvalidMatchSpecError as error:
        raise Failure(f"Error parsing MatchSpec: {error}") from error
    requested = {match.name.normalized for match in matches if match.name}
    if "python" in requested and "pip" not in requested:
        matches.append(rattler.MatchSpec("pip"))
    strict = settings.priority.lower() != "disabled"
    priority = rattler.ChannelPriority
    try:
        records = asyncio.run(
            rattler.solve_with_sparse_repodata(
                matches,
                [repo for _, repo in channels.repos],
                locked_packages=list(installed.values()),
                virtual_packages=virtual,
                channel_priority=priority.Strict if strict else priority.Disabled,
                constraints=pins,
                add_pip_as_python_dependency=True,
            )
        )
    except SolverError as error:
        words = explain(str(error))
        CONSOLE.log("error", f"Could not solve for environment specs\n{words}")
        CONSOLE.output["solver_problems"] = problems(words, matches, channels)
        CONSOLE.output["success"] = False
        raise Failure("Could not solve for environment specs") from error
    return dependencies_first(records)


def dependencies_first(records: list[Any]) -> list[Any]:
    """The records in the order in which they can be linked."""
    import rattler  # noqa: PLC0415

    names = [r.name.normalized for r in rattler.PackageRecord.sort_topologically(records)]
    return sorted(records, key=lambda record: names.index(record.name.normalized))


def explain(text: str) -> str:
    """The solver's explanation in the words of mamba's, from which rattler's descends."""
    text = text.partition("because of: ")[2].strip()
    missing = re.fullmatch(r"No candidates were found for (\S+) (.*)\.", text)
    if missing:
        version = "=* *" if missing[2] == "*" else missing[2]
        words = "does not exist (perhaps a typo or a missing channel)."
        return f"The following package could not be installed\n└─ {missing[1]} {version} {words}"
    if not text.startswith("The following packages are incompatible"):
        lines = text.splitlines()
        tail = "".join(f"\n   {line}" for line in lines[1:])
        text = f"The following package could not be installed\n└─ {lines[0]}{tail}"
    for old, new in (
        (
            r"\b(__\w+) (\S+), for which no candidates were found",
            r"\1 \2, which is missing on the system",
        ),
        (
            r", for which no candidates were found",
            ", which does not exist (perhaps a missing channel)",
        ),
        (
            r"(?m)^(.{0,3}[├└]─ .*) can be installed with any of the following options:$",
            r"\1 is installable with the potential options",
        ),
        (
            r"(?m)^(.{0,3}[├└]─ .*) cannot be installed because there are no viable options:$",
            r"\1 is not installable because there are no viable options",
        ),
        (
            r", which can be installed with any of the following options:",
            " with the potential options",
        ),
        (
            r", which cannot be installed because there are no viable options:",
            " but there are no viable options",
        ),
        (
            r"conflicts with the versions reported above",
            "conflicts with any installable versions previously reported",
        ),
    ):
        text = re.sub(old, new, text)
    return text


def problems(words: str, matches: list[Any], channels: Channels) -> list[str]:
    """The solver's problems one by one, as libsolv puts them into the JSON."""
    found = []
    for match in matches:
        name = match.name.normalized
        if not any(match.matches(record) for record in channels.candidates(name)):
            found.append(f"nothing provides requested {str(match).removesuffix(' *')}")
    lines = [re.sub(r"^[│├└─ ]+", "", line) for line in words.splitlines()]
    for before, line in itertools.pairwise(lines):
        needed = re.match(r"(\S+ [^\s,]+),? which (?:is missing|does not exist)", line)
        if needed:
            parent = before.partition(" would require")[0].replace(" ", "-")
            found.append(f"nothing provides {needed[1].removesuffix(' *')} needed by {parent}")
            continue
        inner = re.match(r"(\S+ \S+(?: \S+)?) but there are no viable options", line)
        if inner and " would require" in before:
            parent = before.partition(" would require")[0].replace(" ", "-")
            found.append(
                f"package {parent} requires {inner[1]}, but none of the providers can be installed"
            )
    return list(dict.fromkeys(found)) or ["The environment can't be solved"]


# --- commands -------------------------------------------------------------------------------------


@dataclass
class Request:
    """What `create` and `install` are asked for."""

    specs: list[str]
    channels: list[str]
    explicit: bool = False


def read_files(command: Command) -> Request:
    """The specs of the command line and of all files.

    Raises:
        Failure: a file is missing or holds what is unknown here.
    """
    request = Request(list(command.specs), [])
    files = command.values.get("--file", [])
    if len({file.endswith((".yml", ".yaml")) for file in files}) > 1:
        raise Failure(
            "found multiple spec file types, all spec files must be of same format"
            " (yaml, txt, explicit spec, etc.)"
        )
    for file in files:
        if file.endswith((".yml", ".yaml")):
            read_environment(file, request, dry="--dry-run" in command.flags)
            continue
        try:
            lines = [line.strip() for line in Path(file).read_text().splitlines()]
        except OSError as error:
            raise Failure(f"failed to open {file}: {error.strerror}") from error
        if not lines:
            raise Failure(f"Got an empty file: {file}")
        starts = [number for number, line in enumerate(lines) if line.startswith("@EXPLICIT")]
        if starts:
            rest = lines[starts[0] + 1 :]
            request.specs = [line for line in rest if line and not line.startswith("#")]
            request.explicit = True
            break
        request.specs += lines
    return request


def read_environment(file: str, request: Request, *, dry: bool) -> None:
    """Add what an environment.yml says; only a dry run passes over its pip part."""
    import yaml  # noqa: PLC0415

    if not Path(file).exists():
        CONSOLE.log("error", f"YAML spec file '{Path(file).absolute()}' not found")
        raise Failure("File not found. Aborting.")
    try:
        content = yaml.safe_load(Path(file).read_text()) or {}
    except yaml.YAMLError as error:
        CONSOLE.log("error", f"YAML error in spec file '{Path(file).absolute()}'")
        raise Failure(str(error)) from error
    specs = [line for line in content.get("dependencies") or [] if isinstance(line, str)]
    parts = [line for line in content.get("dependencies") or [] if isinstance(line, dict)]
    if any("pip" in part for part in parts):
        if not dry:
            raise Failure("the stand-in for micromamba runs no pip")
        if "pip" not in specs:
            specs.append("pip")
    request.specs += specs
    request.channels += content.get("channels") or []


def confirm(command: Command, question: str, fallback: str) -> bool:
    """Ask the person, unless nobody is to be asked."""
    if command.flags & {"--yes", "--json", "--quiet"}:
        return True
    print(f"{question}: {'[Y/n]' if fallback == 'y' else '[y/N]'} ", end="", flush=True)
    answer = sys.stdin.readline().strip().lower() or fallback
    if answer in {"y", "yes"}:
        return True
    CONSOLE.print("Aborted.")
    return False


def check_prefix(settings: Settings) -> Path:
    """The environment that exists, for all commands but create.

    Raises:
        Failure: there is none.
    """
    prefix = settings.prefix
    if prefix is None:
        CONSOLE.log("error", "No target prefix specified")
        raise Failure("Aborting.")
    if not prefix.exists():
        CONSOLE.log("error", f"No prefix found at: {prefix}")
        words = 'Environment must first be created with "micromamba create -n {env_name} ..."'
        CONSOLE.log("error", words)
        raise Failure("Aborting.")
    if not (prefix / "conda-meta").exists():
        CONSOLE.log("error", f"Expected environment not found at prefix: {prefix}")
        raise Failure("Aborting.")
    return prefix


def prepare_prefix(command: Command, settings: Settings) -> Path:
    """The place of a new environment, emptied if there is one and the person agrees.

    Raises:
        Failure: something else is there.
    """
    prefix = settings.prefix
    if prefix is None:
        CONSOLE.log("error", "No target prefix specified")
        raise Failure("Aborting.")
    if "--dry-run" in command.flags or not prefix.exists():
        return prefix
    message = ""
    if prefix == settings.root:
        message = "Overwriting root prefix is not permitted - aborting."
    elif not prefix.is_dir():
        message = "Target prefix already exists and is not a folder - aborting."
    elif not any(prefix.iterdir()):
        CONSOLE.log("warning", "Using existing empty folder as target prefix")
    elif (prefix / "conda-meta").exists():
        if not confirm(command, f"Found conda-prefix at '{prefix}'. Overwrite?", "n"):
            raise Failure("Aborting.")
        shutil.rmtree(prefix)
    else:
        message = "Non-conda folder exists at prefix - aborting."
    if message:
        CONSOLE.log("error", message)
        raise Failure(message)
    return prefix


def register(prefix: Path) -> None:
    """Note the environment where conda's tools look for all of a person's."""
    (prefix / "conda-meta").mkdir(parents=True, exist_ok=True)
    (prefix / "conda-meta/history").touch()
    listing = Path.home() / ".conda/environments.txt"
    with contextlib.suppress(OSError):
        listing.parent.mkdir(parents=True, exist_ok=True)
        known = listing.read_text().splitlines() if listing.exists() else []
        if str(prefix) not in known:
            with listing.open("a") as out:
                out.write(f"{prefix}\n")


def add_history(prefix: Path, lines: list[str], updated: list[str], removed: list[str]) -> None:
    """Append an entry to conda-meta/history."""
    now = dt.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    text = f"==> {now} <==\n# cmd: {' '.join(sys.argv)}\n# conda version: 3.8.0\n"
    text += "".join(f"{line}\n" for line in lines)
    for action, specs in (("update", updated), ("remove", removed)):
        if specs:
            quoted = ", ".join('"' + spec.replace('"', '\\"') + '"' for spec in specs)
            text += f"# {action} specs: [{quoted}]\n"
    with (prefix / "conda-meta/history").open("a") as out:
        out.write(text)


def requested_by_history(prefix: Path) -> dict[str, str]:
    """What somebody asked for so far and did not take back: name to spec."""
    found: dict[str, str] = {}
    file = prefix / "conda-meta/history"
    for line in file.read_text().splitlines() if file.exists() else []:
        match = re.match(r"# (update|remove) specs: (\[.*\])$", line)
        for spec in json.loads(match[2]) if match else []:
            name = re.split(r"[\s=<>!~\[]", spec.rpartition("::")[2])[0]
            if match and match[1] == "update":
                found[name] = spec
            else:
                found.pop(name, None)
    return found


def describe(package: Wanted) -> dict[str, Any]:
    """A package in the JSON of a transaction."""
    record = package.record
    name, version, build = package.label.rsplit("-", 2)
    shown: dict[str, Any] = {
        "name": name,
        "version": version,
        "channel": package.channel,
        "url": package.url,
        "subdir": package.subdir,
        "fn": package.file,
        "size": record.size if record else 0,
        "timestamp": int(record.timestamp.timestamp() * 1000) if record and record.timestamp else 0,
        "build": build,
        "build_string": build,
        "build_number": record.build_number if record else 0,
        "license": (record.license or "") if record else "",
        "track_features": "",
        "depends": list(record.depends) if record else [],
        "constrains": list(record.constrains) if record else [],
    }
    if record and record.noarch.python:
        shown["noarch"] = "python"
    elif record and record.noarch.generic:
        shown["noarch"] = "generic"
    return shown | {k: v for k, v in (("md5", package.md5), ("sha256", package.sha256)) if v}


@dataclass
class Plan:
    """A transaction: what to link, in this order, what to unlink, and the specs that were given."""

    prefix: Path
    link: list[Wanted]
    unlink: list[str]  # names that none of `link` replaces
    specs: dict[str, str]  # by name


def change(command: Command, settings: Settings, plan: Plan) -> int:
    """Show the transaction, and carry it out unless it is a dry run or not wanted."""
    dry = "--dry-run" in command.flags
    CONSOLE.output |= {"success": True, "dry_run": dry, "prefix": str(plan.prefix)}
    if plan.link or plan.unlink:
        added = [describe(package) for package in plan.link]
        lists = {"FETCH": added, "LINK": added, "UNLINK": [{"name": n} for n in plan.unlink]}
        actions = {key: value for key, value in lists.items() if value}
        CONSOLE.output["actions"] = {**actions, "PREFIX": str(plan.prefix)}
    else:
        CONSOLE.output["message"] = "All requested packages already installed"
    show(command, plan)
    if dry:
        CONSOLE.print("Dry run. Not executing the transaction.")
        return 0
    if plan.link or plan.unlink:
        CONSOLE.log(
            "warning",
            "Security Warning: This transaction includes executing package scripts"
            " (pre/post-link/unlink) if present. These scripts can contain arbitrary code."
            " Please ensure you trust the package sources.",
        )
        if not confirm(command, "Confirm changes", "y"):
            return 0
    if command.name == "create":
        register(plan.prefix)
    CONSOLE.print("\nTransaction starting")
    fetch(plan.link, settings)
    if "--download-only" in command.flags:
        CONSOLE.print(
            "Download only - packages download and extraction is done. Skipping the linking phase."
        )
        return 0
    lines = link(plan, settings)
    CONSOLE.print("\nTransaction finished\n")
    lines += [f"+{w.url.rpartition('/')[0]}::{w.label}" for w in plan.link]
    removing = command.name == "remove"
    asked = [*plan.specs.values()]
    add_history(plan.prefix, lines, [] if removing else asked, asked if removing else [])
    if command.name == "create" and os.environ.get("CONDA_PREFIX") != str(plan.prefix):
        CONSOLE.print(
            f"\nTo activate this environment, use:\n\n    micromamba activate {plan.prefix}\n\n"
            "Or to execute a single command in this environment, use:\n\n"
            f"    micromamba run -p {plan.prefix} mycommand\n"
        )
    return 0


def show(command: Command, plan: Plan) -> None:
    """The transaction as a table."""
    CONSOLE.print(f"Transaction\n\n  Prefix: {plan.prefix}\n")
    removing = command.name == "remove"
    if not plan.link and not plan.unlink:
        if removing:
            names = "".join(f"  - {spec}\n" for spec in plan.specs.values())
            CONSOLE.print(f"  Failure: packages to remove not found in the environment:\n\n{names}")
        else:
            CONSOLE.print("  All requested packages already installed\n")
        return
    specs = "".join(f"   - {spec}\n" for spec in plan.specs.values())
    CONSOLE.print(f"  {'Removing' if removing else 'Updating'} specs:\n\n{specs}")
    for package in plan.link:
        name, version, build = package.label.rsplit("-", 2)
        CONSOLE.print(f"  + {name}  {version}  {build}  {package.channel}")
    for name in plan.unlink:
        CONSOLE.print(f"  - {name}")
    counts = f"  Install: {len(plan.link)} packages\n  Remove: {len(plan.unlink)} packages\n"
    CONSOLE.print(f"\n  Summary:\n\n{counts}")


def create_or_install(command: Command) -> int:
    """`create` and `install`, from specs, environment files or explicit files."""
    request = read_files(command)
    settings = settings_of(command, request.channels)
    creating = command.name == "create"
    prefix = prepare_prefix(command, settings) if creating else check_prefix(settings)
    if not request.specs:
        if creating and "--dry-run" not in command.flags:
            register(prefix)
            CONSOLE.print(f"Empty environment created at prefix: {prefix}")
        elif not creating:
            CONSOLE.print("Nothing to do.")
        CONSOLE.output["success"] = True
        return 0
    installed = {} if creating else installed_in(prefix)
    if request.explicit:
        wanted = [from_url(line, settings) for line in request.specs]
        twice = sorted({w.name for w in wanted} & set(installed))
        if twice:
            # micromamba links over them and leaves two records behind.
            raise Failure(f"the stand-in for micromamba refuses to link twice: {', '.join(twice)}")
        return change(command, settings, Plan(prefix, wanted, [], {w.name: w.spec for w in wanted}))
    channels = Channels(settings)
    named = {spec_name(spec): spec for spec in request.specs}
    specs = list(request.specs)
    if "python" in installed and "python" not in named:
        settings.pins.append(
            "python " + ".".join(str(installed["python"].version).split(".")[:2]) + ".*"
        )
    specs += [name for name in installed if name not in named]
    if "python" in named and "pip" not in named:
        named["pip"] = "pip"
    records = solve(specs, settings, channels, installed)
    new = [record for record in records if not is_present(record, installed)]
    kept = {record.name.normalized for record in records}
    gone = sorted(set(installed) - kept)
    wanted = [channels.wanted(record) for record in new]
    return change(command, settings, Plan(prefix, wanted, gone, named))


def is_present(record: Any, installed: dict[str, Any]) -> bool:
    """Whether just this build is installed."""
    other = installed.get(record.name.normalized)
    return other is not None and (str(other.version), str(other.build)) == (
        str(record.version),
        str(record.build),
    )


def spec_name(spec: str) -> str:
    """The package that a spec is about."""
    return re.split(r"[\s=<>!~\[]", spec.strip().rpartition("::")[2])[0].lower()


def remove(command: Command) -> int:
    """`remove`: these packages, those that need them, and dependencies that nobody needs then."""
    settings = settings_of(command, [])
    prefix = check_prefix(settings)
    if not command.specs:
        CONSOLE.print("Nothing to do.")
        return 0
    installed = installed_in(prefix)
    needs = {
        name: {spec_name(dependency) for dependency in record.depends}
        for name, record in installed.items()
    }
    gone = {spec_name(spec) for spec in command.specs} & set(installed)
    history = set(requested_by_history(prefix))
    grew = bool(gone)
    while grew:
        grew = False
        left = set(installed) - gone
        needed = set().union(*(needs[name] for name in left)) if left else set()
        freed = set().union(*(needs[name] for name in gone)) & left
        more = {name for name in left if needs[name] & gone} | (freed - needed - history)
        grew, gone = bool(more), gone | more
    specs = {spec_name(spec): spec for spec in command.specs}
    return change(command, settings, Plan(prefix, [], sorted(gone), specs))


def pip_packages(prefix: Path) -> dict[str, str]:
    """Names and versions of what no conda package brought into site-packages."""
    found = {}
    for folder in prefix.glob("lib/python3.*/site-packages/*.dist-info"):
        installer = folder / "INSTALLER"
        if installer.exists() and installer.read_text().strip() != "conda":
            name, _, version = folder.name.removesuffix(".dist-info").partition("-")
            found[name.lower().replace("_", "-")] = version
    return dict(sorted(found.items()))


def read_records(prefix: Path) -> list[dict[str, Any]]:
    """What conda-meta says, by name."""
    files = (prefix / "conda-meta").glob("*.json")
    records = [json.loads(file.read_text()) for file in files]
    return sorted(records, key=lambda record: str(record["name"]))


def list_packages(command: Command) -> int:
    """`list`, as a table, as JSON, or as addresses."""
    settings = settings_of(command, [])
    prefix = check_prefix(settings)
    pattern = re.compile(command.specs[0] if command.specs else "")
    records = [record for record in read_records(prefix) if pattern.search(record["name"])]
    if "--json" in command.flags:
        CONSOLE.output["packages"] = [
            {
                "channel": settings.channel_id(record["channel"]),
                "url": record["url"],
                "md5": record["md5"],
                "sha256": record["sha256"],
                "build_number": record["build_number"],
                "build_string": record["build"],
                "dist_name": f"{record['name']}-{record['version']}-{record['build']}",
                "name": record["name"],
                "platform": record["subdir"],
                "version": record["version"],
            }
            for record in records
        ]
        return 0
    if "--explicit" in command.flags:
        print("".join(f"{record['url']}\n" for record in records), end="")
        return 0
    rows = [
        [r["name"], r["version"], r["build"], settings.channel_id(r["channel"])] for r in records
    ]
    rows += [
        [name, version, "pypi_0", "pypi"]
        for name, version in pip_packages(prefix).items()
        if pattern.search(name)
    ]
    print(f'List of packages in environment: "{prefix}"\n')
    table(["Name", "Version", "Build", "Channel"], sorted(rows))
    return 0


def table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table the way mamba does."""
    sizes = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    width = sum(sizes) + 2 * len(sizes) + 2
    for number, row in enumerate([header, *rows]):
        print("".join(f"  {cell:<{size}}" for cell, size in zip(row, sizes, strict=True)))
        if number == 0:
            print("─" * width)


def search(command: Command) -> int:
    """`search`: all builds of a name, in which * stands for any letters."""
    settings = settings_of(command, [])
    channels = Channels(settings)
    found = [
        record
        for spec in command.specs
        for name in ([spec_name(spec)] if "*" not in spec else channels.names(spec))
        for record in channels.candidates(name)
    ]
    if CONSOLE.json:
        packages = [
            {"name": record.name.normalized, "version": str(record.version)} for record in found
        ]
        query = {"query": " ".join(command.specs), "type": "search"}
        result = {"msg": "", "pkgs": packages, "status": "OK"}
        CONSOLE.output |= {"query": query, "result": result}
        return 0
    rows = [
        [record.name.normalized, str(record.version), str(record.build), record.subdir]
        for record in found
    ]
    if not rows:
        print(f'No entries matching "{" ".join(command.specs)}" found')
        return 0
    table(["Name", "Version", "Build", "Subdir"], sorted(rows, reverse=True))
    return 0


def export(command: Command) -> int:
    """`env export`, as an environment file or as an explicit one."""
    settings = settings_of(command, [])
    prefix = check_prefix(settings)
    if "--explicit" in command.flags:
        records = dependencies_first([*installed_in(prefix).values()])
        print(
            "# This file may be used to create an environment using:\n"
            "# $ conda create --name <env> --file <this file>\n# platform: linux-64\n@EXPLICIT"
        )
        for record in records:
            mark = "" if "--no-md5" in command.flags else f"#{record.md5.hex()}"
            print(without_credentials(record.url) + mark)
        return 0
    history = requested_by_history(prefix)
    channels: set[str] = set()
    lines = []
    for record in read_records(prefix):
        if "--from-history" in command.flags:
            if record["name"] not in history:
                continue
            lines.append(f"  - {history[record['name']]}")
        else:
            build = "" if "--no-build" in command.flags else f"={record['build']}"
            lines.append(f"  - {record['name']}={record['version']}{build}")
        channels.add(settings.channel_id(record["channel"]))
    pip = pip_packages(prefix)
    if pip:
        lines.append("  - pip:")
        lines += [f"    - {name}=={version}" for name, version in pip.items()]
    print(f"name: {prefix}\nchannels:")
    print("".join(f"  - {channel}\n" for channel in sorted(channels)), end="")
    print("dependencies:\n" + "".join(f"{line}\n" for line in lines))
    print(f'prefix: "{prefix}"')
    return 0


COMMANDS = {
    "create": create_or_install,
    "install": create_or_install,
    "remove": remove,
    "list": list_packages,
    "search": search,
    "env export": export,
}


def main(arguments: list[str]) -> int:
    """Run one command and give the exit status."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")  # whatever the locale
    if arguments == ["--version"]:
        print(VERSION)
        return 0
    CONSOLE.json, CONSOLE.quiet = "--json" in arguments, bool({"--quiet", "-q"} & {*arguments})
    status = 1
    try:
        command = parse(arguments)
        status = COMMANDS[command.name](command)
    except Usage as error:
        if CONSOLE.json:
            CONSOLE.log("warning", f"{error}\nRun with --help for more information.")
        else:
            print(f"{error}\nRun with --help for more information.", file=sys.stderr)
        status = 109
    except Failure as error:
        CONSOLE.log("critical", str(error))
    if CONSOLE.json:
        output = CONSOLE.output | {"log_history": CONSOLE.history}
        print(json.dumps(output, indent=4, sort_keys=True, ensure_ascii=False))
    return status


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # The threads of rattler may crash a Python that takes itself apart.
    os._exit(status)
