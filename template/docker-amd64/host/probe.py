"""All facts of this machine, together and one by one.

No source of facts can break or delay another: each runs by itself with a time limit, and what fails
is simply not known. It changes nothing and asks no network.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .accelerator import accelerator
from .ask import LOOK_LIMIT, command, read_text, start_gather
from .engine import ENGINE_LIMIT, engine
from .engine_words import ENGINE_KEY
from .env_file import ProbeError, Settings, unwritable
from .facts import Engine, Facts, Person, engine_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# ruff: noqa: PLC0415  what only some calls need is imported there: the probe has to be quick


def probe(folder: Path | None = None, *, any_engine: bool = False) -> Facts:
    """Look at this machine, for the project whose .env is in `folder` (default: around this one).

    Never raises; a fact that could not be had has the default that `Facts` gives it. With
    `any_engine`, the engine is the one that answers, not the one that .env names.
    """
    return start_probe(folder, any_engine=any_engine)()


def start_probe(folder: Path | None = None, *, any_engine: bool = False) -> Callable[[], Facts]:
    """Begin to look at this machine; what it returns waits for the facts. See `probe`."""
    folder = (folder or Path(__file__).parents[1]).resolve()
    environ = dict(os.environ)

    def folder_owner() -> Person | None:
        # A root that just made the folder inside somebody's project is not that project's owner.
        owners = [owner(path, environ) for path in (folder.parent, folder)]
        return next((one for one in owners if one and one.uid != 0), owners[0])

    def data_owner() -> Person | None:
        data = Settings(folder, environ).path("LOCAL_DATA_DIR")
        return owner(data, environ) if data else None

    hardware = accelerator()
    sources: dict[str, Callable[[], Any]] = {
        **hardware.sources(),  # first: it may fork, and threads do not survive that
        "engine": lambda: engine("" if any_engine else engine_named(folder, environ)),
        "user": lambda: caller(environ),
        "project_owner": folder_owner,
        "data_owner": data_owner,
        "timezone": lambda: time_zone(environ),
        "memory_mib": memory_mib,
        "cores": cores,
        "architecture": lambda: os.uname().machine,
        "wsl": wsl,
        "selinux": lambda: read_text(Path("/sys/fs/selinux/enforce")).strip() == "1",
        "ca_bundle": lambda: ca_bundle(environ),
    }
    wait = start_gather(sources, ENGINE_LIMIT + LOOK_LIMIT)

    def facts() -> Facts:
        answers = wait()
        for key in ("project_owner", "data_owner"):
            if answers.get(key) and answers.get("user") and answers[key].uid == answers["user"].uid:
                answers[key] = None
        answers.setdefault(
            "engine", Engine(problem="the engine's answer is odd", fix="docker info")
        )
        return hardware.facts(answers)

    return facts


def engine_named(folder: Path, environ: Mapping[str, str]) -> str:
    """The engine that the shell or .env names; "" if none, or if .env cannot be read."""
    try:
        return Settings(folder, environ).get(ENGINE_KEY)
    except ProbeError:
        return ""


def table(facts: Facts) -> str:
    """All facts as a table of two columns."""

    def shown(user: Person | None) -> str:
        return f"{user.uid}:{user.gid} ({user.name}:{user.group})" if user else ""

    def gibibytes(size: int | None) -> str:
        return f"{size / 1024:.1f} GiB" if size is not None else "unknown"

    found, free = facts.engine, facts.engine.disk_free_mib
    rows = [
        ("user", shown(facts.user)),
        ("project owner", shown(facts.project_owner)),
        ("data owner", shown(facts.data_owner)),
        ("engine", engine_line(found)),
        ("run", found.fix),
        ("free disk", f"{gibibytes(free)} in {found.root_dir}" if free is not None else ""),
        ("memory", gibibytes(facts.memory_mib)),
        ("cores", str(facts.cores)),
        ("architecture", facts.architecture),
        ("time zone", facts.timezone),
        ("WSL", str(facts.wsl) if facts.wsl else ""),
        ("SELinux", "enforcing" if facts.selinux else ""),
        ("certificates", facts.ca_bundle),
        *accelerator().rows(facts),
    ]
    return "\n".join(f"{name:14} {value}" for name, value in rows if value)


def person(uid: int, gid: int, fallback: str = "user") -> Person:
    """The names of two ids in the user database; `fallback` is for a user it does not know."""
    try:
        import pwd

        name = pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        name = fallback
    try:
        import grp

        group = grp.getgrgid(gid).gr_name
    except (ImportError, KeyError):
        group = name
    return Person(uid, gid, clean_name(name), clean_name(group))


def clean_name(name: str) -> str:
    """A user or group name; what would break /etc/passwd or a line of .env in it becomes `_`."""
    name = "".join("_" if c in ":/" or not c.isprintable() else c for c in name)
    if unwritable({"name": name}):
        name = re.sub(r"[^\w.@-]", "_", name)
    return name or "user"


def caller(environ: Mapping[str, str]) -> Person | None:
    """The user that runs this, or None on a system without user ids."""
    if not hasattr(os, "getuid"):
        return None
    return person(os.getuid(), os.getgid(), environ.get("USER") or environ.get("LOGNAME") or "user")


def owner(path: Path, environ: Mapping[str, str]) -> Person | None:
    """Who owns a file or folder, or None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    sudo = environ.get("SUDO_USER") if environ.get("SUDO_UID") == str(status.st_uid) else None
    return person(status.st_uid, status.st_gid, sudo or "user")


def time_zone(environ: Mapping[str, str], root: Path = Path("/")) -> str:
    """The IANA name of the time zone: TZ, /etc/timezone, the /etc/localtime link, else Etc/UTC."""
    link = root / "etc/localtime"
    target = str(link.resolve()) if link.is_symlink() else ""
    for text in (environ.get("TZ", ""), read_text(root / "etc/timezone"), target):
        name = re.sub(r"^:?(.*zoneinfo/)?((posix|right)/)?", "", text.strip())
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", name):
            return name
    return "Etc/UTC"


def control_groups(controller: str, root: Path) -> list[Path]:
    """The folders of this process's control group and its parents, of version 1 and 2."""
    folders: list[Path] = []
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if not names or controller in names.split(","):
            base = root / "sys/fs/cgroup" / (controller if names else "")
            here = Path(path)
            folders += [base / str(group).lstrip("/") for group in (here, *here.parents)]
    return folders


def memory_mib(root: Path = Path("/")) -> int | None:
    """Memory this process may use, in MiB: all, or less where a control group says so."""
    found = re.search(r"^MemTotal:\s*(\d+) kB", read_text(root / "proc/meminfo"), re.MULTILINE)
    if not found:
        said = command(["sysctl", "-n", "hw.memsize"], LOOK_LIMIT).out.strip()  # macOS has no /proc
        return int(said) >> 20 if said.isdigit() else None
    sizes = [int(found.group(1)) << 10]
    for folder in control_groups("memory", root):
        limits = [read_text(folder / name) for name in ("memory.max", "memory.limit_in_bytes")]
        sizes += [int(limit) for limit in limits if limit.strip().isdigit()]
    return min(sizes) >> 20


def cores(root: Path = Path("/")) -> int:
    """Processor cores this process may use: its affinity, or less where a control group says so."""
    affinity = getattr(os, "sched_getaffinity", None)
    counts = [len(affinity(0)) if affinity else os.cpu_count() or 1]
    for folder in control_groups("cpu", root):
        v1 = [read_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        quota = (read_text(folder / "cpu.max") or " ".join(v1)).split()
        if len(quota) == 2 and all(number.isdigit() for number in quota):  # noqa: PLR2004
            counts.append(int(quota[0]) // max(int(quota[1]), 1))
    return max(min(counts), 1)


def wsl(root: Path = Path("/")) -> int:
    """1 or 2 inside the Windows Subsystem for Linux of that version, 0 elsewhere."""
    release = read_text(root / "proc/sys/kernel/osrelease")
    if "microsoft" not in release.lower():
        return 0
    return 2 if "microsoft-standard" in release or "WSL2" in release else 1


CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
SYSTEM_BUNDLES = (  # of Debian, Fedora, SUSE and Alpine
    *("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"),
    *("/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"),
)


def first_bundle(paths: Iterable[str]) -> str:
    """The first of these files that has a certificate, or an empty string."""
    for path in map(Path, filter(None, paths)):
        if path.is_file() and "-----BEGIN CERTIFICATE-----" in read_text(path):
            return str(path.absolute())
    return ""


def ca_bundle(environ: Mapping[str, str]) -> str:
    """The certificate file that the environment names for other programs, or an empty string.

    A machine behind a proxy that inspects TLS has such a variable; its images need the same file.
    """
    return first_bundle(environ.get(key, "") for key in CA_VARIABLES)


def system_bundle() -> str:
    """The file of the certificates that this machine trusts, or an empty string.

    It is in .env only when asked for: most machines need none.
    """
    return first_bundle(SYSTEM_BUNDLES)
