"""Look at this machine, print what is there, and fill the `.env` file beside this script.

    probe.py [show]                               a table for people
    probe.py json                                 the same facts as one JSON document
    probe.py fill [--refresh [KEY...]] [--quiet]  write what this machine needs into .env
    probe.py set KEY=VALUE...                     change keys of .env, quoted as its readers need it

`--project DIR` names the folder that holds `.env.example`; the default is the script's own.
Python 3.8 or later, standard library only. It changes nothing but `.env`, `.env.bak` and missing
data folders, and asks no network. No source of facts can break or delay another: each runs by
itself with a time limit, and what fails is simply not known.

`.env` is the user's file. `fill` adds the keys that `.env.example` has and `.env` lacks, with this
machine's values, and leaves every other line as it is; a value that differs from what this machine
suggests is reported and kept, unless `--refresh` asks for it. The last line of `.env` records the
example of that day: its keys, so that one which leaves it is told from a key of the user's, and the
values that answers decided, so that a value which the user never touched can follow the answers.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

# ruff: noqa: PLC0415  what only some calls need is imported there: the probe has to be quick

GPU_LIMIT = 3.0  # seconds for everything that asks the NVIDIA driver
ENGINE_LIMIT = 4.0  # seconds for each question to the container engine
LOOK_LIMIT = 2.0  # seconds for a look at files and the user database (which may be on a network)

# The keys of .env that this machine decides; all others are the project's or the user's.
FILLED = (
    *("USRID", "GRPID", "USR", "GRP", "COMPOSE_PROJECT_NAME", "COMPOSE_FILE"),
    *("CPU_OR_GPU", "GPU_IDS", "CCA", "SHM_SIZE", "TZ", "CA_BUNDLE"),
)
DERIVED = ("CCA",)  # of these, what follows from an answer: as it is, or what `auto` means here
ALL = ("all",)  # for `refresh`: every key that this machine decides
FOLLOWED = ("CA_BUNDLE", "GPU_IDS")  # COMPOSE_FILE follows the one in .env, CCA the other
PINS_OVERLAY = "compose.pins.yaml"  # what `template.sh pin` writes: named where it is there
CA_OVERLAY = "compose.ca.yaml"  # the one Compose file that this machine adds or removes
BIND_DIRS = ("LOCAL_DATA_DIR", "LOCAL_OUTPUTS_DIR")  # a missing LOCAL_CODE_DIR is a mistake to show


class ProbeError(Exception):
    """Something the user can put right; the message is one sentence that says how."""


# ------------------------------------------------------------------------------------------ facts


@dataclass(frozen=True)
class Person:
    """A user, and the group that new files get."""

    uid: int
    gid: int
    name: str
    group: str


@dataclass(frozen=True)
class Engine:
    """The container engine that this user's `docker` (or `podman`) command reaches.

    `kind` is docker, docker-rootless, docker-desktop, podman or none; `compose` is plugin (`docker
    compose`), standalone (`docker-compose` 2 or later), v1, podman-compose or none. `problem` is
    one sentence, empty when all is well, and `fix` the command or address that helps.
    `disk_free_mib` is known when `root_dir` is a folder of this machine. `memory_mib` is what
    containers can have: under Docker Desktop less than the host has.
    """

    kind: str = "none"
    reachable: bool = False
    version: str = ""
    rootless: bool = False
    compose: str = "none"
    compose_version: str = ""
    root_dir: str = ""
    disk_free_mib: int | None = None
    memory_mib: int | None = None
    problem: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Mig:
    """One MIG instance: a slice of a GPU that is used like a GPU of its own."""

    name: str
    uuid: str
    memory_mib: int | None = None


@dataclass(frozen=True)
class Gpu:
    """One physical NVIDIA GPU; `compute_capability` looks like "8.9"."""

    name: str
    uuid: str
    compute_capability: str | None = None
    memory_mib: int | None = None
    mig_enabled: bool = False
    mig: tuple[Mig, ...] = ()


@dataclass(frozen=True)
class Graphics:
    """What the NVIDIA driver says.

    `gpu_status` is found, none (surely no GPU) or unknown (a driver that gives no answer);
    `driver` looks like "550.54.15", `cuda` is the newest CUDA that it runs, like "12.4";
    `gpu_source` is nvml, nvidia-smi or none; `gpu_note` says in one sentence why there is no GPU.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    gpu_status: str = "none"
    gpu_source: str = "none"
    gpu_note: str = ""


@dataclass(frozen=True)
class Facts(Graphics):
    """Everything the probe found. What is not known has its default; an owner, if not the user."""

    user: Person | None = None
    project_owner: Person | None = None
    data_owner: Person | None = None
    timezone: str = "Etc/UTC"
    memory_mib: int | None = None
    cores: int = 1
    wsl: int = 0  # 1 or 2 inside the Windows Subsystem for Linux
    selinux: bool = False  # enforcing
    ca_bundle: str = ""
    engine: Engine = field(default_factory=Engine)

    def as_dict(self) -> dict[str, Any]:
        """The facts as plain dictionaries, lists, strings and numbers, ready for JSON."""
        return asdict(self)

    @property
    def gpu_ids(self) -> tuple[str, ...]:
        """What a container can be given: a GPU's UUID, or its MIG instances' where MIG is on."""
        ids: list[str] = []
        for gpu in self.gpus:
            ids += [part.uuid for part in gpu.mig] if gpu.mig_enabled else [gpu.uuid]
        return tuple(ids)

    @property
    def compute_capabilities(self) -> tuple[str, ...]:
        """Those of the GPUs, each once, lowest first, such as ("7.0", "8.9")."""
        known = {gpu.compute_capability for gpu in self.gpus if gpu.compute_capability}
        return tuple(sorted(known, key=lambda text: [int(part) for part in text.split(".")]))


def chosen_gpus(facts: Facts, gpu_ids: str) -> Facts:
    """The facts with only the GPUs that GPU_IDS names; with all of them where it names none."""
    wanted = set(gpu_ids.replace(" ", "").split(","))
    kept = [gpu for gpu in facts.gpus if wanted & {gpu.uuid, *(part.uuid for part in gpu.mig)}]
    return replace(facts, gpus=tuple(kept)) if kept else facts


# ------------------------------------------------------------------- asking, with a time limit


@dataclass(frozen=True)
class Output:
    """What a command said; `status` is None if it could not be started or did not end in time."""

    status: int | None
    out: str = ""
    err: str = ""
    timed_out: bool = False


def command(args: Sequence[str], limit: float) -> Output:
    """Run a command for at most `limit` seconds. Never raises.

    It does not wait for a killed process either: one that hangs inside a driver cannot be killed.
    """
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            args,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            env=dict(os.environ, LC_ALL="C"),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Output(None, err=str(error))
    try:
        out, err = process.communicate(timeout=max(limit, 0.05))
    except subprocess.TimeoutExpired:
        kill_group(process.pid)
        return Output(None, timed_out=True)
    return Output(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def kill_group(pid: int) -> None:
    """Kill a process and those it started, if it is still there."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (OSError, AttributeError):  # it is gone already, or this is Windows
        return


def gather(sources: Mapping[str, Callable[[], Any]], limit: float) -> dict[str, Any]:
    """Call all sources at once; return the answers that came within `limit` seconds."""
    answers: dict[str, Any] = {}

    def ask(name: str, source: Callable[[], Any]) -> None:
        try:
            answers[name] = source()
        except Exception:  # noqa: BLE001 a fact that cannot be had is unknown, whatever the reason
            return

    threads = [threading.Thread(target=ask, args=item, daemon=True) for item in sources.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + limit
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))
    return dict(answers)


def read_text(path: Path) -> str:
    """The text of a file, or an empty string if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def read_json(text: str) -> dict[str, Any]:
    """The JSON object that a text holds, or an empty one."""
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


# ----------------------------------------------------------------------------------------- people


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


def identity(facts: Facts) -> Person | None:
    """The user inside the container whose new files belong, on the host, to the person at work.

    Under rootless Docker id 0 inside is the user outside. A root at work for somebody else
    (`sudo`, a root shell) must leave no files of root behind, so there it is the owner of the
    project folder.
    """
    if facts.engine.kind == "docker-rootless":
        return Person(0, 0, "root", "root")
    return worker(facts)


def worker(facts: Facts) -> Person | None:
    """The person at work on the host: the caller, or for root the owner of the project folder."""
    root = facts.user is not None and facts.user.uid == 0
    return (facts.project_owner if root else None) or facts.user


# ------------------------------------------------------------------------------------ the machine


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
        return None
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


def ca_bundle(environ: Mapping[str, str]) -> str:
    """The certificate file that the environment names for other programs, or an empty string.

    A machine behind a proxy that inspects TLS has such a variable; its images need the same file.
    """
    for key in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = Path(environ.get(key) or os.devnull)
        if path.is_file() and "-----BEGIN CERTIFICATE-----" in read_text(path):
            return str(path.absolute())
    return ""


# --------------------------------------------------------------------------- the container engine

# `docker info` knows no shorter way before version 23. Spelt so that Jinja, which copies this file
# into projects, finds nothing of its own in it.
GO_JSON = "{" * 2 + "json ." + "}" * 2
INSTALL_DOCKER = "see https://docs.docker.com/engine/install/"
INSTALL_COMPOSE = "see https://docs.docker.com/compose/install/linux/"


def engine() -> Engine:
    """The engine of this user's `docker` command; without that command, Podman's."""
    if shutil.which("docker"):
        found = read_docker(command(["docker", "info", "--format", GO_JSON], ENGINE_LIMIT))
    elif shutil.which("podman"):
        said = command(["podman", "info", "--format", "json"], ENGINE_LIMIT)
        found = read_podman(read_json(said.out)) if said.status == 0 else broken("podman", said)
    else:
        return Engine(problem="there is no docker command", fix=INSTALL_DOCKER)
    if found.compose == "none":
        found = standalone_compose(found)
    if found.reachable and found.compose in ("none", "v1"):
        what = "is version 1, which is too old" if found.compose == "v1" else "is missing"
        problem = f"Docker Compose {what}; version 2 or later is needed"
        found = replace(found, problem=problem, fix=INSTALL_COMPOSE)
    return found


def free_disk(folder: str, machine: str) -> int | None:
    """Free space in an engine's folder, in MiB; None if the engine's machine is not this one."""
    here = os.uname().nodename if hasattr(os, "uname") else ""
    if not folder or machine != here:  # Docker Desktop's virtual machine, or a remote engine
        return None
    try:
        return shutil.disk_usage(folder).free >> 20
    except OSError:
        return None


def read_docker(said: Output) -> Engine:
    """Read the answer of `docker info`, which may come from Podman under Docker's name."""
    info = read_json(said.out)
    if "host" in info:
        return read_podman(info)
    plugins = (info.get("ClientInfo") or {}).get("Plugins") or []
    versions = [
        p.get("Version", "") for p in plugins if p.get("Name") == "compose" and not p.get("Err")
    ]
    compose = (
        Engine(compose="plugin", compose_version=versions[0].lstrip("v")) if versions else Engine()
    )
    if said.status != 0 or not info.get("ServerVersion"):
        errors = "\n".join([said.err, *(info.get("ServerErrors") or [])])
        found = broken("docker", replace(said, err=errors))
        return replace(found, compose=compose.compose, compose_version=compose.compose_version)
    rootless = any("name=rootless" in option for option in info.get("SecurityOptions") or [])
    desktop = "Docker Desktop" in str(info.get("OperatingSystem"))
    folder = str(info.get("DockerRootDir") or "")
    return replace(
        compose,
        kind="docker-desktop" if desktop else "docker-rootless" if rootless else "docker",
        reachable=True,
        version=str(info["ServerVersion"]),
        rootless=rootless,
        root_dir=folder,
        disk_free_mib=free_disk(folder, str(info.get("Name"))),
        memory_mib=int(info.get("MemTotal") or 0) >> 20 or None,
    )


def read_podman(info: Mapping[str, Any]) -> Engine:
    """Read the answer of `podman info`."""
    host = info.get("host") or {}
    folder = str((info.get("store") or {}).get("graphRoot") or "")
    return Engine(
        kind="podman",
        reachable=True,
        version=str((info.get("version") or {}).get("Version") or ""),
        rootless=bool((host.get("security") or {}).get("rootless")),
        root_dir=folder,
        disk_free_mib=free_disk(folder, str(host.get("hostname"))),
        memory_mib=int(host.get("memTotal") or 0) >> 20 or None,
    )


def broken(name: str, said: Output) -> Engine:
    """Why an engine gives no answer, and the one command that helps."""
    text, kind = said.err.strip(), name
    systemd = Path("/run/systemd/system").is_dir()
    start = "sudo systemctl start docker" if systemd else "sudo service docker start"
    if "/.docker/desktop/" in text or "/.docker/run/" in text:  # the sockets of Desktop
        kind = "docker-desktop"
        mac = sys.platform == "darwin"
        start = "open -a Docker" if mac else "systemctl --user start docker-desktop"
    elif "/run/user/" in text:
        kind, start = "docker-rootless", "systemctl --user start docker"
    if said.timed_out:
        problem, fix = f"the engine did not answer within {ENGINE_LIMIT:g} s", f"{name} info"
    elif "permission denied" in text and "socket" in text:
        problem = "you have no permission on the engine's socket"
        fix = 'sudo usermod -aG docker "$USER"   (then log in again)'
    elif "annot connect to the Docker daemon" in text or "daemon running" in text:
        problem, fix = "the Docker daemon is not running", start
    else:
        first = (text.splitlines() or ["no answer"])[0][:200]
        problem, fix = f"`{name} info` failed: {first}", f"{name} info"
    return Engine(kind=kind, rootless=kind == "docker-rootless", problem=problem, fix=fix)


def standalone_compose(found: Engine) -> Engine:
    """Look for Compose as a command of its own; for Podman that may be podman-compose."""
    names = ["docker-compose"] + (["podman-compose"] if found.kind == "podman" else [])
    for name in filter(shutil.which, names):
        version = re.search(r"\d+\.\d+[^\s,]*", command([name, "version"], LOOK_LIMIT).out)
        if version:
            kind = "v1" if version.group().startswith("1.") else "standalone"
            kind = kind if name == "docker-compose" else name
            return replace(found, compose=kind, compose_version=version.group())
    return found


# ------------------------------------------------------------------------------------------- GPUs

KERNEL_DRIVER = Path("/proc/driver/nvidia/version")
WSL_LIBRARIES = Path("/usr/lib/wsl/lib")
NO_PERMISSION, NOT_LOADED, NO_LIBRARY, MISMATCH = 4, 9, 12, 18  # nvmlReturn_t in nvml.h


class NvmlError(Exception):
    """A call to NVML that failed; `value` is its nvmlReturn_t, as in the exceptions of pynvml."""

    def __init__(self, value: int) -> None:
        """`value` is what a function of NVML returned."""
        super().__init__(f"NVML error {value}")
        self.value = value


class Nvml:
    """The functions of NVML that are needed, under pynvml's names, from the driver's C library."""

    FUNCTIONS = {  # noqa: RUF012  name in pynvml: name in nvml.h, what it gives back
        "nvmlInit": ("nvmlInit_v2", "nothing"),
        "nvmlSystemGetDriverVersion": ("nvmlSystemGetDriverVersion", "text"),
        "nvmlSystemGetCudaDriverVersion": ("nvmlSystemGetCudaDriverVersion_v2", "number"),
        "nvmlDeviceGetCount": ("nvmlDeviceGetCount_v2", "number"),
        "nvmlDeviceGetHandleByIndex": ("nvmlDeviceGetHandleByIndex_v2", "handle"),
        "nvmlDeviceGetName": ("nvmlDeviceGetName", "text"),
        "nvmlDeviceGetUUID": ("nvmlDeviceGetUUID", "text"),
        "nvmlDeviceGetCudaComputeCapability": ("nvmlDeviceGetCudaComputeCapability", "pair"),
        "nvmlDeviceGetMemoryInfo": ("nvmlDeviceGetMemoryInfo", "memory"),
        "nvmlDeviceGetMigMode": ("nvmlDeviceGetMigMode", "pair"),
        "nvmlDeviceGetMaxMigDeviceCount": ("nvmlDeviceGetMaxMigDeviceCount", "number"),
        "nvmlDeviceGetMigDeviceHandleByIndex": ("nvmlDeviceGetMigDeviceHandleByIndex", "handle"),
    }

    def __init__(self, library: Any) -> None:
        """`library` is libnvidia-ml, loaded with ctypes."""
        self._library = library

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The function of that name; it raises NvmlError."""
        import ctypes as c
        from types import SimpleNamespace

        symbol, kind = self.FUNCTIONS[name]
        function = getattr(self._library, symbol)

        def call(*args: Any) -> Any:
            results: dict[str, list[Any]] = {
                "nothing": [],
                "text": [c.create_string_buffer(96)],
                "number": [c.c_uint()],
                "pair": [c.c_uint(), c.c_uint()],
                "handle": [c.c_void_p()],
                "memory": [(c.c_ulonglong * 3)()],  # nvmlMemory_t: total, free, used
            }
            out = results[kind]
            status = function(*args, *map(c.byref, out), *([96] if kind == "text" else []))
            if status != 0:
                raise NvmlError(status)
            if kind == "memory":
                return SimpleNamespace(total=out[0][0])
            values = out if kind == "handle" else [one.value for one in out]
            return values[0] if len(values) == 1 else values

        return call


def open_nvml() -> Any:
    """NVML, started: the module pynvml where it is installed, else the driver's own library.

    Raises NvmlError, or pynvml's own exception, both with an attribute `value`.
    """
    try:
        from importlib import import_module

        pynvml = import_module("pynvml")
        pynvml.nvmlInit()
    except ImportError:
        pass
    except Exception as error:
        if getattr(error, "value", None) != NO_LIBRARY:
            raise
    else:
        return pynvml
    import ctypes

    for name in ("libnvidia-ml.so.1", str(WSL_LIBRARIES / "libnvidia-ml.so.1")):
        try:
            nvml = Nvml(ctypes.CDLL(name))
        except OSError:
            continue
        nvml.nvmlInit()
        return nvml
    raise NvmlError(NO_LIBRARY)


def read_nvml(nvml: Any) -> Graphics:
    """What NVML (pynvml or `Nvml`) says; what a GPU does not support stays unknown."""

    def maybe(name: str, *args: Any) -> Any:
        try:
            answer = getattr(nvml, name)(*args)
        except Exception:  # noqa: BLE001 pynvml has an exception class for each error code
            return None
        return answer.decode(errors="replace") if isinstance(answer, bytes) else answer

    def read(device: Any) -> dict[str, Any]:
        memory = maybe("nvmlDeviceGetMemoryInfo", device)
        return {
            "name": maybe("nvmlDeviceGetName", device) or "unknown",
            "uuid": maybe("nvmlDeviceGetUUID", device) or "",
            "memory_mib": memory.total >> 20 if memory else None,
        }

    gpus: list[Gpu] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        device = maybe("nvmlDeviceGetHandleByIndex", index)
        if device is None:  # a GPU that fell off the bus must not hide the others
            continue
        capability = maybe("nvmlDeviceGetCudaComputeCapability", device)
        mig_enabled = bool((maybe("nvmlDeviceGetMigMode", device) or [0])[0])
        slots = range(maybe("nvmlDeviceGetMaxMigDeviceCount", device) or 0 if mig_enabled else 0)
        parts = [maybe("nvmlDeviceGetMigDeviceHandleByIndex", device, slot) for slot in slots]
        gpu = Gpu(
            **read(device),
            compute_capability="{}.{}".format(*capability) if capability else None,
            mig_enabled=mig_enabled,
            mig=tuple(Mig(**read(part)) for part in parts if part is not None),
        )
        gpus.append(gpu)
    cuda = maybe("nvmlSystemGetCudaDriverVersion")  # 12040 is CUDA 12.4
    return Graphics(
        gpus=tuple(gpus),
        driver=maybe("nvmlSystemGetDriverVersion"),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
        gpu_status="found" if gpus else "none",
        gpu_source="nvml",
        gpu_note="" if gpus else "the NVIDIA driver reports no GPU",
    )


class NvmlChild:
    """NVML, asked in a forked process: a hang or a crash in the driver's library stays there.

    A fork, because a new interpreter would cost more than all the rest of the probe.
    """

    def __init__(self) -> None:
        """Start the child. Raises AttributeError or OSError where there is no fork."""
        self._pipe, write = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(write)
            return
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):  # who reads our output must not have to wait for this child
                os.dup2(null, stream)
            try:
                answer = asdict(read_nvml(open_nvml()))
            except Exception as error:  # noqa: BLE001
                answer = {"error": getattr(error, "value", str(error))}
            with os.fdopen(write, "w") as pipe:
                json.dump(answer, pipe)
        finally:
            os._exit(0)

    def answer(self, limit: float) -> dict[str, Any]:
        """The fields of Graphics, or `error`, or nothing after a crash.

        Raises TimeoutError after `limit` seconds.
        """
        import select

        deadline, data = time.monotonic() + limit, b""
        try:
            while True:
                left = max(deadline - time.monotonic(), 0)
                if not select.select([self._pipe], [], [], left)[0]:
                    kill_group(self._pid)
                    raise TimeoutError
                chunk = os.read(self._pipe, 65536)
                if not chunk:
                    os.waitpid(self._pid, 0)
                    return read_json(data.decode())
                data += chunk
        finally:
            os.close(self._pipe)


def graphics(child: NvmlChild | None, limit: float = GPU_LIMIT) -> Graphics:
    """The GPUs, from NVML or else `nvidia-smi`, within `limit` seconds in all."""
    deadline = time.monotonic() + limit
    kernel = re.search(r"NVRM version:.*?\s(\d+\.[\d.]+)", read_text(KERNEL_DRIVER))
    driver = kernel.group(1) if kernel else None

    def unknown(note: str) -> Graphics:
        return Graphics(driver=driver, gpu_status="unknown", gpu_note=note)

    differ = (
        f"the NVIDIA driver in the kernel{f' ({driver})' if driver else ''} and its library "
        "differ, as after an update: reboot this machine"
    )
    notes = {
        MISMATCH: differ,
        NO_PERMISSION: "you have no permission on the devices /dev/nvidia*",
        NOT_LOADED: "the NVIDIA driver is installed but not loaded: try `sudo modprobe nvidia`",
    }
    try:
        answer = child.answer(limit) if child else {}
        if "gpus" in answer:
            gpus = [
                Gpu(**dict(gpu, mig=tuple(Mig(**m) for m in gpu["mig"]))) for gpu in answer["gpus"]
            ]
            return Graphics(**dict(answer, gpus=tuple(gpus)))
        if answer.get("error") in notes:
            return unknown(notes[answer["error"]])
        found = nvidia_smi(deadline)
    except TimeoutError:
        late = f"the NVIDIA driver did not answer within {limit:g} s"
        return unknown(f"{late}: look at `sudo dmesg`, then reboot")
    return unknown(differ) if "library version mismatch" in found.gpu_note else found


def nvidia_smi(deadline: float) -> Graphics:
    """What the command `nvidia-smi` says; its own error text is the note. Raises TimeoutError."""
    program = shutil.which("nvidia-smi") or shutil.which(str(WSL_LIBRARIES / "nvidia-smi"))
    if not program:
        note = "no NVIDIA driver found (neither libnvidia-ml.so.1 nor nvidia-smi)"
        return Graphics(gpu_note=note)
    fields = ["uuid", "name", "memory.total", "driver_version", "mig.mode.current", "compute_cap"]

    def ask(*args: str) -> Output:
        return command([program, *args], deadline - time.monotonic())

    def query() -> Output:
        return ask(f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")

    said = gather({"rows": query, "banner": ask, "list": lambda: ask("-L")}, limit=GPU_LIMIT)
    late = Output(None, timed_out=True)
    rows, banner, listing = (said.get(name, late) for name in ("rows", "banner", "list"))
    if "not a valid field" in rows.out + rows.err:
        fields = fields[:4]  # drivers before 510 know no compute_cap, before 450 no MIG
        rows = query()
    if rows.timed_out or banner.timed_out:
        raise TimeoutError
    if rows.status != 0:
        first = (f"{rows.out}\n{rows.err}".strip().splitlines() or ["no answer"])[0]
        return Graphics(gpu_status="unknown", gpu_note=f"nvidia-smi failed: {first.strip()[:200]}")
    gpus: list[Gpu] = []
    driver = None
    for line in rows.out.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(fields) or not cells[0].startswith("GPU-"):
            continue
        uuid, name, memory, driver, mig, capability = (*cells, "", "")[:6]
        block = re.search(rf"UUID: {re.escape(uuid)}\)((?:\n[ \t]+MIG .*)*)", listing.out)
        parts = re.findall(r"(MIG \S+).*?UUID: (MIG-[^)]+)", block.group(1) if block else "")
        gpu = Gpu(
            name=name,
            uuid=uuid,
            compute_capability=capability if re.fullmatch(r"\d+\.\d+", capability) else None,
            memory_mib=int(memory) if memory.isdigit() else None,
            mig_enabled=bool(parts) or mig == "Enabled",
            mig=tuple(Mig(f"{name} {part}", part_uuid) for part, part_uuid in parts),
        )
        gpus.append(gpu)
    # From driver 610 on the banner says "CUDA UMD Version".
    cuda = re.search(r"CUDA (?:UMD )?Version:\s*(\d+\.\d+)", banner.out)
    return Graphics(
        gpus=tuple(gpus),
        driver=driver,
        cuda=cuda.group(1) if cuda else None,
        gpu_status="found" if gpus else "none",
        gpu_source="nvidia-smi",
        gpu_note="" if gpus else "nvidia-smi reports no GPU",
    )


# ------------------------------------------------------------------------------ all facts together


def probe(folder: Path | None = None) -> Facts:
    """Look at this machine, for the project whose .env is in `folder` (default: beside this file).

    Never raises; a fact that could not be had has the default that `Facts` gives it.
    """
    folder = (folder or Path(__file__).parent).resolve()
    environ = dict(os.environ)
    try:
        child: NvmlChild | None = NvmlChild()  # before any thread: those do not survive a fork
    except (AttributeError, OSError):  # Windows has no fork; its driver comes with nvidia-smi
        child = None

    def project_owner() -> Person | None:
        # A root that just made the folder inside somebody's project is not that project's owner.
        owners = [owner(path, environ) for path in (folder.parent, folder)]
        return next((one for one in owners if one and one.uid != 0), owners[0])

    def data_owner() -> Person | None:
        data = bind_path(folder, read_env(read_text(folder / ".env")), "LOCAL_DATA_DIR")
        return owner(data, environ) if data else None

    sources: dict[str, Callable[[], Any]] = {
        "engine": engine,
        "graphics": lambda: graphics(child),
        "user": lambda: caller(environ),
        "project_owner": project_owner,
        "data_owner": data_owner,
        "timezone": lambda: time_zone(environ),
        "memory_mib": memory_mib,
        "cores": cores,
        "wsl": wsl,
        "selinux": lambda: read_text(Path("/sys/fs/selinux/enforce")).strip() == "1",
        "ca_bundle": lambda: ca_bundle(environ),
    }
    found = gather(sources, ENGINE_LIMIT + LOOK_LIMIT)
    for key in ("project_owner", "data_owner"):
        if found.get(key) and found.get("user") and found[key].uid == found["user"].uid:
            found[key] = None
    found.setdefault("engine", Engine(problem="the engine's answer is odd", fix="docker info"))
    failed = Graphics(gpu_status="unknown", gpu_note="the driver's answer is odd")
    return Facts(**{**vars(found.pop("graphics", failed)), **found})


# ------------------------------------------------------------- the .env file: reading and writing


def quote(value: str) -> str:
    """Write a value so that Compose and bash (`. ./.env`) both read exactly this string.

    Raises ValueError for what cannot be written so: line ends, NUL, and a back-tick together with a
    single quote or a final backslash.
    """
    if re.search(r"[\n\r\0]", value):
        raise ValueError(f"a value in .env must be one line of text, {value!r} is not")
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=-]*", value):
        return value
    # Single quotes make everything literal for both, but to Compose \' is no end of the string.
    if "'" not in value and not re.search(r"(?<!\\)(\\\\)*\\$", value):
        return f"'{value}'"
    if "`" in value:  # in double quotes bash would run it, and Compose shows the escape
        raise ValueError(f"no way of quoting makes Compose and bash read {value!r} alike in .env")
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'


def unwritable(values: Mapping[str, str]) -> dict[str, str]:
    """The keys whose values `quote` refuses, with the reason."""

    def reason(value: str) -> str:
        try:
            quote(value)
        except ValueError as error:
            return str(error)
        return ""

    return {key: reason(value) for key, value in values.items() if reason(value)}


@dataclass
class Entry:
    """A line of an .env file; with a key if it is an assignment, active or commented out."""

    text: str
    key: str = ""
    value: str = ""
    active: bool = False


ACTIVE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=[ \t]*(.*)", re.DOTALL)
COMMENTED = re.compile(r"#\s?([A-Z_][A-Z0-9_]*)=(.*)", re.DOTALL)
QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)


def decode(raw: str) -> str:
    """The string that the right-hand side of an assignment stands for, variables not expanded."""
    quoted = QUOTED.match(raw)
    if quoted and raw[0] == "'":
        return quoted.group(1)
    if quoted:
        return re.sub(r'\\(["\\$])', r"\1", quoted.group(2))
    return re.sub(r"(^|\s)#.*", "", raw).strip()


def parse_env(text: str) -> list[Entry]:
    """The lines of an .env file, with LF line ends; a quoted value may make one of several."""
    lines = text.lstrip("\ufeff").replace("\r\n", "\n").split("\n")
    if not lines[-1]:
        lines.pop()
    entries: list[Entry] = []
    while lines:
        line = lines.pop(0)
        active, commented = ACTIVE.fullmatch(line), COMMENTED.fullmatch(line)
        if active:
            if active.group(2)[:1] in ("'", '"') and not QUOTED.match(active.group(2)):
                whole = ACTIVE.fullmatch("\n".join([line, *lines]))
                quoted = QUOTED.match(whole.group(2)) if whole else None
                for _ in range(quoted.group().count("\n") if quoted else 0):
                    line += "\n" + lines.pop(0)
                active = ACTIVE.fullmatch(line) or active
            entries.append(Entry(line, active.group(1), decode(active.group(2)), active=True))
        elif commented:
            entries.append(Entry(line, commented.group(1), decode(commented.group(2))))
        else:
            entries.append(Entry(line))
    return entries


def unclosed(text: str) -> str:
    """The first line that opens a quote which no line of the file closes, or an empty string.

    Whatever is put below it becomes a part of its value, for Compose and bash as well.
    """
    for entry in parse_env(text):
        active = ACTIVE.fullmatch(entry.text) if entry.active else None
        if active and active.group(2)[:1] in ("'", '"') and not QUOTED.match(active.group(2)):
            return entry.text
    return ""


def read_env(text: str) -> dict[str, str]:
    """The keys and values of an .env file, variables not expanded; a key's last line counts."""
    return {entry.key: entry.value for entry in parse_env(text) if entry.active}


# ------------------------------------------------------------------------- the .env file: merging

RECORD = "# The keys of .env.example when this file was last filled (leave this line): "
GONE = "# No longer in .env.example, nothing reads it: delete it when you like."


@dataclass(frozen=True)
class Said:
    """What the answers said about a key when .env was last filled.

    `example` is the value in the example, `given` what .env was given for it: "8.9" for "auto".
    """

    example: str
    given: str


@dataclass(frozen=True)
class Difference:
    """A key whose value in .env is not what this machine, or an answer, suggests."""

    key: str
    yours: str
    suggested: str
    by_answers: bool = False


@dataclass(frozen=True)
class Merge:
    """A merged .env file and what is worth telling about it."""

    text: str
    added: tuple[str, ...] = ()
    refreshed: tuple[str, ...] = ()
    taken: tuple[Difference, ...] = ()
    differing: tuple[Difference, ...] = ()
    gone: tuple[str, ...] = ()


def read_record(text: str) -> dict[str, Said | None]:
    """The keys behind RECORD, each with what was said of it; None where that was not recorded.

    A word is KEY, KEY:EXAMPLE or KEY:EXAMPLE:GIVEN, percent-encoded: no blank, quote or line end
    of a value can spoil this line, or the lines above it. There is no `=` in it, so that a person's
    `sed s/KEY=.*/KEY=mine/` does not change it.
    """
    from urllib.parse import unquote

    record: dict[str, Said | None] = {}
    for word in text.split():
        key, *values = (unquote(part, errors="surrogateescape") for part in word.split(":"))
        record[key] = Said(values[0], values[-1]) if values else None
    return record


def write_record(record: Mapping[str, Said | None]) -> str:
    """The last line of .env."""
    from urllib.parse import quote as encode

    words: list[str] = []
    for key, said in record.items():
        values = [] if said is None else [said.example, said.given]
        values = list(dict.fromkeys(values))
        coded = (encode(value, safe="/.,+@~", errors="surrogateescape") for value in values)
        words.append(":".join([key, *coded]))
    return RECORD + " ".join(words)


def split_record(text: str) -> tuple[list[Entry], dict[str, Said | None]]:
    """The lines of an .env file without its record, and what the record says."""
    entries, record = parse_env(text), {}
    for entry in entries:
        if entry.text.startswith(RECORD):
            record.update(read_record(entry.text[len(RECORD) :]))
    return [entry for entry in entries if not entry.text.startswith(RECORD)], record


def setting_line(key: str, value: str) -> Entry:
    """The line that sets a key. Raises ValueError (`quote`)."""
    return Entry(f"{key}={quote(value)}", key, value, active=True)


def answer_lines(example: Sequence[Entry]) -> dict[str, Entry]:
    """The example's lines that answers decide, by key."""
    return {
        entry.key: entry
        for entry in example
        if entry.active and (entry.key not in FILLED or entry.key in DERIVED)
    }


def offered(
    answers: Mapping[str, Entry],
    said: Mapping[str, Said],
    answered: Mapping[str, str],
    values: Mapping[str, str],
) -> dict[str, Entry]:
    """The line that each key should have: the machine's, else what the answers mean or say."""
    again = {  # what was made of the same answer before, by a hook that is not here now
        key: said[key].given
        for key in DERIVED
        if key in answers and said[key].example == answers[key].value
    }
    meant = {key: value for key, value in {**again, **answered}.items() if key in answers}
    for key in unwritable(meant):  # somebody edited the record
        del meant[key]
    lines = {key: setting_line(key, value) for key, value in {**meant, **values}.items()}
    return {**answers, **lines}


def fate(one: Difference, before: Said | None, *, named: bool, machine: bool) -> str:
    """What becomes of a value that is not the one offered: refreshed, taken, differing or kept.

    `named`: `--refresh` asks for the key; `machine`: this machine decides it.
    """
    if named:
        return "refreshed"
    if one.by_answers and before and one.yours in (before.example, before.given):
        return "taken"
    return "differing" if one.by_answers or machine else "kept"


def merge(
    example: str,
    current: str | None,
    values: Mapping[str, str],
    refresh: Collection[str] = (),
    answered: Mapping[str, str] | None = None,
) -> Merge:
    """Merge the text of .env.example into the user's .env.

    Without a current text the result is the example with this machine's `values`. Else every line
    of the user stays; what the example has and the user lacks is put in, with its comments, after
    the key that it follows in the example. Keys in `refresh` (ALL: every one of `values`) get the
    machine's value, or the example's where no machine decides. A key that the example has only as a
    comment is optional and is written only if `refresh` names it.

    What answers decide follows them when they change, unless the user had changed it. `answered` is
    what they mean where that is not what the example says: what follows from names of GPUs.

    Merging a result again changes nothing. Raises ValueError where a value cannot be written.
    """
    wanted = parse_env(example)
    known = dict.fromkeys(entry.key for entry in wanted if entry.key)
    answers, answered = answer_lines(wanted), answered or {}
    if tuple(refresh) == ALL:
        refresh = {entry.key for entry in wanted if entry.active and entry.key in values}
    mine, former = split_record(current or "")
    # Without a record the answers are taken to be what they were: no change is made up.
    said = {key: former.get(key) or Said(one.value, one.value) for key, one in answers.items()}
    offers = offered(answers, said, answered, values)

    def filled(entry: Entry) -> Entry:
        return offers.get(entry.key, entry) if entry.active else entry

    if current is None:
        mine = [filled(entry) for entry in wanted]
        added = [entry.key for entry in mine if entry.active]
    else:
        added = insert_missing(mine, wanted, filled)
    fates: dict[str, list[Difference]] = {"refreshed": [], "taken": [], "differing": [], "kept": []}
    settings = {own.key: own.value for own in mine if own.active}
    for key in filter(offers.__contains__, known):
        offer, before = offers[key].value, said.get(key)
        if key not in settings and key not in refresh:
            continue  # optional, and not in use
        if settings.get(key) != offer:
            news = before is not None and (
                before.example != answers[key].value
                or before.given != answered.get(key, before.given)
            )
            one = Difference(key, settings.get(key, ""), offer, by_answers=news)
            what = fate(one, before, named=key in refresh, machine=key in values)
            fates[what].append(one)
            if what in ("differing", "kept"):
                continue  # with the record as it is: it tells what the user did not want
            assign(mine, offers[key])
        if before:
            said[key] = Said(answers[key].value, offer)
    gone = mark_gone(mine, [key for key in former if key not in known], known)
    while mine and not mine[-1].text.strip():
        mine.pop()
    record = write_record({key: said.get(key) for key in known})
    return Merge(
        text="\n".join([*(own.text for own in mine), "", record, ""]),
        added=tuple(added),
        refreshed=tuple(one.key for one in fates["refreshed"]),
        taken=tuple(fates["taken"]),
        differing=tuple(fates["differing"]),
        gone=tuple(gone),
    )


def insert_missing(
    mine: list[Entry], wanted: Sequence[Entry], filled: Callable[[Entry], Entry]
) -> list[str]:
    """Put the example's keys that `mine` lacks where they belong; return the active ones."""
    comments = {own.text.strip() for own in mine if not own.key and own.text.strip()}
    added: list[str] = []
    head: list[Entry] = []  # the comments above the next key
    at = 0  # behind the last key that both have
    for entry in wanted:
        if not entry.key:
            head.append(entry)
            continue
        places = [i for i, own in enumerate(mine) if own.key == entry.key]
        at = places[-1] + 1 if places else at
        if not any(mine[i].active or not entry.active for i in places):
            new = [line for line in head if not places and line.text.strip() not in comments]
            if new and not new[0].text.strip() and (at == 0 or not mine[at - 1].text.strip()):
                del new[0]
            mine[at:at] = [*new, filled(entry)]
            at += len(new) + 1
            added += [entry.key] if entry.active else []
        head = []
    return added


def assign(mine: list[Entry], line: Entry) -> None:
    """Put a line where its key is last set, else where it is commented out, else at the end."""
    places = [at for at, own in enumerate(mine) if own.key == line.key]
    active = [at for at in places if mine[at].active]
    words = [mine[active[-1]].text.split()[0], line.text.split()[0]] if active else []
    if words and words[0] == "export" != words[1]:
        line = replace(line, text=f"export {line.text}")
    if places:
        mine[(active or places)[-1]] = line
    else:
        mine.append(line)


def mark_gone(mine: list[Entry], left: Collection[str], known: Collection[str]) -> list[str]:
    """Put the comment GONE above the keys that left the example, and return those keys.

    Take it away again from a key that came back.
    """
    gone = [key for key in left if any(own.active and own.key == key for own in mine)]
    for at in reversed(range(len(mine))):
        marked = at > 0 and mine[at - 1].text == GONE
        if mine[at].active and mine[at].key in gone and not marked:
            mine.insert(at, Entry(GONE))
        elif mine[at].active and mine[at].key in known and marked:
            del mine[at - 1]
    return gone


# ---------------------------------------------------------- the .env file: values of this machine


def env_values(
    facts: Facts, folder: Path, example: str, current: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The values that this machine suggests for keys of `example`, the text of .env.example.

    `folder` is where .env lies, `current` what it says now: CCA is that of the GPUs in its GPU_IDS.
    What is not known is left out, so that the example's safe default (or the user's value) stands:
    the GPU keys when the driver gives no answer, CA_BUNDLE when no variable names one.
    """
    current = current or {}
    defaults = {entry.key: entry.value for entry in parse_env(example) if entry.key}
    values = {"TZ": facts.timezone}
    inside, outside = identity(facts), worker(facts)
    if inside:
        values.update(USRID=str(inside.uid), GRPID=str(inside.gid))
        values.update(USR=inside.name, GRP=inside.group)
    values["COMPOSE_PROJECT_NAME"] = compose_project_name(
        defaults.get("COMPOSE_PROJECT_NAME", ""), outside.name if outside else "user", folder
    )
    memory = [size for size in (facts.memory_mib, facts.engine.memory_mib) if size]
    if memory:
        values["SHM_SIZE"] = f"{max(min(memory) // 2048, 1)}gb"
    if facts.gpu_status != "unknown":
        values["GPU_IDS"] = ",".join(facts.gpu_ids)
        values["CPU_OR_GPU"] = "gpu" if facts.gpus else "cpu"
    # "auto", and behind it what that means where no GPU is seen
    auto, _, without_gpu = defaults.get("CCA", "").partition(" ")
    if auto == "auto":
        used = chosen_gpus(facts, current.get("GPU_IDS", ""))
        values["CCA"] = " ".join(used.compute_capabilities) or without_gpu
    if facts.ca_bundle:
        values["CA_BUNDLE"] = facts.ca_bundle
    trusts = current.get("CA_BUNDLE", facts.ca_bundle) if "CA_BUNDLE" in defaults else ""
    values["COMPOSE_FILE"] = compose_file(
        defaults.get("COMPOSE_FILE", ""), current, folder, overlay=bool(trusts)
    )
    return {key: value for key, value in values.items() if key in defaults}


def compose_file(default: str, current: Mapping[str, str], folder: Path, *, overlay: bool) -> str:
    """COMPOSE_FILE: the example's files, then the user's own that exist, in the user's order.

    Behind the example's files: compose.pins.yaml where it is there, and compose.ca.yaml where
    `overlay` wants it too.
    """
    separator = current.get("COMPOSE_PATH_SEPARATOR") or ":"
    base = default.split(":")
    yours = current.get("COMPOSE_FILE", "").split(separator)
    files = [name for name in yours if name in base or (name and (folder / name).is_file())]
    files = [name for name in dict.fromkeys(files) if name not in (PINS_OVERLAY, CA_OVERLAY)]
    files = [*(name for name in base if name not in files), *files]
    wanted = (PINS_OVERLAY, CA_OVERLAY) if overlay else (PINS_OVERLAY,)
    behind = max(files.index(name) for name in base) + 1
    files[behind:behind] = [name for name in wanted if (folder / name).is_file()]
    return separator.join(files)


def compose_project_name(name: str, user: str, folder: Path) -> str:
    """`<name>-<user>-<6 hex digits of the path>`: valid for Compose, and no two clones share it."""
    from hashlib import sha256

    def clean(text: str, size: int) -> str:
        return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:size].rstrip("-_")

    path = sha256(os.fsencode(folder.resolve())).hexdigest()[:6]
    user = clean(user, 24) or "user"
    return f"{clean(name, 63 - 8 - len(user)) or 'project'}-{user}-{path}"


# ------------------------------------------------------------------------- the .env file: on disk


def write_env(path: Path, text: str, who: tuple[int, int] | None = None) -> bool:
    """Replace a file in one step, for its owner's eyes only; keep the former one as `.bak`.

    `who` is the user and group id it is given by a caller who is root. Returns False if the file
    had this text already. Raises OSError.
    """
    path = path.resolve()  # an .env that is a link stays one
    data = text.encode("utf-8", "surrogateescape")
    if path.exists():
        former = path.read_bytes()
        if former == data:
            path.chmod(0o600)
            return False
        replace_file(path.with_name(path.name + ".bak"), former, who)
    replace_file(path, data, who)
    return True


def replace_file(path: Path, data: bytes, who: tuple[int, int] | None) -> None:
    """Write a file of mode 600 beside `path`, then rename it: no moment without a whole file."""
    temporary = path.with_name(f"{path.name}.{os.urandom(4).hex()}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        temporary.chmod(0o600)  # whatever the umask took away
        if who:
            os.chown(temporary, *who)
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def bind_path(folder: Path, settings: Mapping[str, str], key: str) -> Path | None:
    """The folder that Compose will mount for `key`, or None if it is unset or cannot be told.

    As in Compose: the shell's variable goes before .env, `~/` is the home folder, and a relative
    path starts at `folder`.
    """
    value = os.path.expandvars(os.environ.get(key, settings.get(key, "")))
    if value == "~" or value.startswith("~/"):
        value = str(Path.home()) + value[1:]
    if not value or "$" in value or value.startswith("~"):
        return None
    return Path(os.path.normpath(folder / value))


def make_folder(path: Path, who: tuple[int, int] | None) -> tuple[list[Path], str]:
    """Create a folder and its missing parents for `who`; return them, or why that failed."""
    try:
        missing = [one for one in (path, *path.parents) if not one.exists()][::-1]
        for one in missing:
            one.mkdir()
            if who:
                os.chown(one, *who)
    except OSError as error:
        return [], f"Cannot create {path}: {error.strerror}."
    return missing, ""


def keep_out_of_git(folder: Path, who: tuple[int, int] | None) -> None:
    """Let a new folder of the project ignore itself: data and results are too large for git."""
    try:
        file = folder / ".gitignore"
        file.write_text("*\n")
        if who:
            os.chown(file, *who)
    except OSError:
        return


@dataclass(frozen=True)
class Filled:
    """What `fill` did; `notes` are sentences about what it could not do."""

    created: bool
    merged: Merge
    facts: Facts
    folders: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def fill(
    folder: Path,
    refresh: Collection[str] = (),
    facts: Facts | None = None,
    chosen: Mapping[str, str] | None = None,
    answered: Mapping[str, str] | None = None,
) -> Filled:
    """Merge .env.example into .env with this machine's values; make the data folders it names.

    `chosen` goes before what the probe suggests: it is what a person picked. `answered` is what the
    answers mean (`merge`); where the example leaves a key to the machine, the machine decides.
    `refresh` names keys of FILLED, or of the example. Raises ProbeError.
    """
    folder = folder.absolute()
    path = folder / ".env"
    example, current = read_or_explain(folder / ".env.example"), read_settings(path)
    if example is None:
        raise ProbeError(f"There is no .env.example in {folder}: name the folder with --project.")
    answers = answer_lines(parse_env(example))
    check_keys(refresh, [*FILLED, *answers])
    facts = facts or probe(folder)
    settings = {**read_env(current or ""), **(chosen or {})}
    for key in FOLLOWED:  # what is refreshed will be this machine's, and others follow that
        if key in refresh or tuple(refresh) == ALL:
            settings.pop(key, None)
    values = {**env_values(facts, folder, example, settings), **(chosen or {})}
    notes = [
        f"{key}: nothing found on this machine."
        for key in refresh
        if key not in (*values, *answers, *ALL)
    ]
    for key, reason in unwritable(values).items():
        notes.append(f"{key} was left out: {reason}.")
        del values[key]
    used = chosen_gpus(facts, settings.get("GPU_IDS", ""))
    if "CCA" in values and "CCA" not in settings and not used.compute_capabilities:
        notes.append(
            f"CCA: no GPU to ask; it is what the chosen CUDA compiles for, {values['CCA']}."
        )
    answered = {key: value for key, value in (answered or {}).items() if key not in values}
    merged = merge(example, current, values, refresh, answered)
    person_at_work = worker(facts)
    root = facts.user is not None and facts.user.uid == 0
    who = (person_at_work.uid, person_at_work.gid) if root and person_at_work else None
    try:
        write_env(path, merged.text, who)
    except OSError as error:
        raise ProbeError(f"Cannot write {path}: {error.strerror}.") from error
    folders: list[Path] = []
    settings = read_env(merged.text)
    for bind in filter(None, (bind_path(folder, settings, key) for key in BIND_DIRS)):
        made, problem = make_folder(bind, who)
        folders += made[-1:]
        if made and folder.parent in bind.parents:
            keep_out_of_git(bind, who)
        notes += [problem] if problem else []
    return Filled(current is None, merged, facts, tuple(folders), tuple(notes))


def check_keys(refresh: Collection[str], decided: Sequence[str]) -> None:
    """Raises ProbeError if `refresh` names a key that is not one of `decided`."""
    for key in [] if tuple(refresh) == ALL else refresh:
        if key not in decided:
            names = ", ".join(dict.fromkeys(decided))
            raise ProbeError(f"Neither machine nor answers decide {key!r}; they do decide {names}.")


def set_keys(folder: Path, settings: Sequence[str]) -> None:
    """Change keys of .env, each given as KEY=VALUE. Raises ProbeError."""
    path = folder.absolute() / ".env"
    current = read_settings(path)
    if current is None:
        raise ProbeError(f"There is no {path} yet. Run ./template.sh env")
    mine = parse_env(current)
    try:
        for setting in settings:
            key, _, value = setting.partition("=")
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) or "=" not in setting:
                raise ProbeError(f"Write KEY=VALUE, not {setting!r}.")
            assign(mine, setting_line(key, value))
        status = path.stat()
        root = getattr(os, "geteuid", lambda: 1)() == 0  # and it may be somebody else's file
        who = (status.st_uid, status.st_gid) if root else None
        write_env(path, "\n".join([*(own.text for own in mine), ""]), who)
    except ValueError as error:
        raise ProbeError(f"{str(error).capitalize()}.") from error
    except OSError as error:
        raise ProbeError(f"Cannot write {path}: {error.strerror}.") from error


def read_settings(path: Path) -> str | None:
    """The text of .env, or None if there is none. Raises ProbeError if nothing can be put in it."""
    text = read_or_explain(path)
    line = unclosed(text or "")
    if line:
        raise ProbeError(f"In {path} a quote is not closed: {line}")
    return text


def read_or_explain(path: Path) -> str | None:
    """The text of a file, or None if there is none. Raises ProbeError if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProbeError(f"Cannot read {path}: {error.strerror}.") from error


# ------------------------------------------------------------------------------------- for people


def report(filled: Filled) -> list[str]:
    """What `fill` did, in a few lines."""
    merged = filled.merged
    lines: list[str] = []
    if filled.created:
        lines.append(f".env: created for this machine, {len(merged.added)} keys.")
    elif merged.added:
        lines.append(f".env: added {', '.join(merged.added)}.")
    elif not (merged.refreshed or merged.taken or merged.gone):
        lines.append(".env: nothing to add.")
    if merged.refreshed:
        lines.append(f".env: refreshed {', '.join(merged.refreshed)}; the former is .env.bak.")
    lines += [
        f"{one.key}: {one.yours or 'nothing'} became {one.suggested or 'nothing'}, "
        "as the answers now say."
        for one in merged.taken
    ]
    lines += [
        f"{one.key}: .env says {one.yours or 'nothing'}, "
        f"{'the answers now say' if one.by_answers else 'this host suggests'} "
        f"{one.suggested or 'nothing'}; kept. To take it: ./template.sh env --refresh {one.key}"
        for one in merged.differing
    ]
    if merged.gone:
        lines.append(f".env: {', '.join(merged.gone)} left .env.example; kept under a comment.")
    lines += [f"Created {folder}." for folder in filled.folders]
    return [*lines, *filled.notes]


def engine_line(found: Engine) -> str:
    """The engine in one line."""
    names = {
        "docker": "Docker Engine",
        "docker-rootless": "rootless Docker",
        "docker-desktop": "Docker Desktop",
        "podman": "Podman",
    }
    compose = "podman-compose" if found.compose == "podman-compose" else "Compose"
    parts = [f"{names.get(found.kind, 'none')} {found.version}".strip()]
    parts += [f"{compose} {found.compose_version}"] if found.compose != "none" else []
    parts += [found.problem] if found.problem else []
    return ", ".join(parts)


def gpu_lines(facts: Facts) -> list[str]:
    """A line for each GPU and MIG instance, or one that says why there is none."""
    lines: list[str] = []
    for gpu in facts.gpus:
        details = [f"compute capability {gpu.compute_capability or 'unknown'}"]
        details += [f"{gpu.memory_mib / 1024:.0f} GiB"] if gpu.memory_mib else []
        lines.append(f"{gpu.name} ({', '.join([*details, gpu.uuid])})")
        lines += [f"  {part.name} ({part.uuid})" for part in gpu.mig]
        if gpu.mig_enabled and not gpu.mig:
            lines.append("  MIG is on but has no instance: nothing can run on this GPU")
    return lines or [f"none: {facts.gpu_note}" if facts.gpu_note else "none"]


def table(facts: Facts) -> str:
    """All facts as a table of two columns."""

    def shown(who: Person | None) -> str:
        return f"{who.uid}:{who.gid} ({who.name}:{who.group})" if who else ""

    def gibibytes(size: int | None) -> str:
        return f"{size / 1024:.1f} GiB" if size is not None else "unknown"

    found, free = facts.engine, facts.engine.disk_free_mib
    rows = [
        ("user", shown(facts.user)),
        ("project owner", shown(facts.project_owner)),
        ("data owner", shown(facts.data_owner)),
        ("engine", engine_line(found)),
        ("to mend it", found.fix),
        ("free disk", f"{gibibytes(free)} in {found.root_dir}" if free is not None else ""),
        ("memory", gibibytes(facts.memory_mib)),
        ("cores", str(facts.cores)),
        ("time zone", facts.timezone),
        ("WSL", str(facts.wsl) if facts.wsl else ""),
        ("SELinux", "enforcing" if facts.selinux else ""),
        ("certificates", facts.ca_bundle),
        ("driver", f"{facts.driver} (CUDA {facts.cuda or 'unknown'})" if facts.driver else ""),
        *(("GPU", line) for line in gpu_lines(facts)),
    ]
    return "\n".join(f"{name:14} {value}" for name, value in rows if value)


USAGE = (
    "usage: probe.py [show | json | fill [--refresh [KEY...]] [--quiet] | set KEY=VALUE...] "
    "[--project DIR]"
)


@dataclass
class Arguments:
    """What the command line asks for."""

    verb: str = "show"
    folder: Path = Path(__file__).parent
    refresh: tuple[str, ...] = ()
    quiet: bool = False
    settings: tuple[str, ...] = ()


def read_arguments(args: Sequence[str]) -> Arguments:
    """Read the command line. Raises ProbeError."""
    words, asked = list(args), Arguments()
    if words and not words[0].startswith("-"):
        asked.verb = words.pop(0)
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            asked.verb = "help"
        elif word == "--project" and words:
            asked.folder = Path(words.pop(0))
        elif word == "--quiet" and asked.verb == "fill":
            asked.quiet = True
        elif word == "--refresh" and asked.verb == "fill":
            while words and not words[0].startswith("-"):
                asked.refresh += (words.pop(0),)
            asked.refresh = asked.refresh or ALL
        elif asked.verb == "set" and not word.startswith("-"):
            asked.settings += (word,)
        else:
            raise ProbeError(f"Not understood: {word}. {USAGE}")
    return asked


def perform(asked: Arguments) -> str:
    """Do what is asked and return what to print. Raises ProbeError."""
    if asked.verb == "fill":
        lines = report(fill(asked.folder, asked.refresh))
        return "" if asked.quiet else "\n".join(lines)
    if asked.verb == "set" and asked.settings:
        set_keys(asked.folder, asked.settings)
        return ""
    if asked.verb == "json":
        return json.dumps(probe(asked.folder).as_dict(), indent=2)
    if asked.verb == "show":
        return table(probe(asked.folder))
    if asked.verb == "help":
        return USAGE
    raise ProbeError(f"Not understood: {asked.verb}. {USAGE}")


def main(args: Sequence[str]) -> int:
    """The command line: prints an answer, or one sentence to stderr; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):  # a path in another encoding is no reason to stop
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        text = perform(read_arguments(args))
    except ProbeError as error:
        print(error, file=sys.stderr)
        return 1
    if text:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
