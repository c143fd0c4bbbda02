"""What only the doctor asks of a machine, so that up and env stay quick.

`template.sh env --json` writes it too: with it, the doctor can judge the machine elsewhere.
"""

from __future__ import annotations

import calendar
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from .ask import DOCKER_INFO, LOOK_LIMIT, command, gather, read_json, read_text
from .engine_words import DOCKER, PODMAN, has_podman_socket
from .failures import hosts

if TYPE_CHECKING:
    from .facts import Facts

DETAILS_LIMIT = 3.0  # seconds for all of it
PREDEFINED = 31  # networks in the address pools that Docker has by default
SOCKET = Path("/var/run/docker.sock")


@dataclass(frozen=True)
class Details:
    """What only the doctor asks of a machine. What is not known is None or empty.

    Attributes:
        hosts: words of the remedies for it: mac, wsl, no-systemd, docker-ce, its distribution's id.
        system: the name of its kernel, such as Linux or Darwin.
        context: what the docker command is about, such as default or desktop-linux.
        default_socket: whether an engine of the whole machine has a socket.
        podman_socket: whether Podman answers Compose by a socket.
        client: the version of the docker command.
        buildx: the version of Buildx, "none" without it.
        engine_architecture: of the machine that the engine runs on.
        default_platform: DOCKER_DEFAULT_PLATFORM, by which an engine emulates another processor.
        storage: the engine's storage driver.
        cgroup_driver: systemd, cgroupfs or none.
        cgroup_version: 1 or 2.
        networks: how many networks with addresses of the pools there are.
        pool_size: how many there can be.
        subordinate_ids: how many user ids the user's containers can have.
        clock_behind: seconds by which this clock is older than the newest of the project's files.
        engine_clock_off: seconds by which the engine's clock differs from this one.
    """

    hosts: tuple[str, ...] = ()
    system: str = ""
    context: str = ""
    default_socket: bool | None = None
    podman_socket: bool | None = None
    client: str = ""
    buildx: str = ""
    engine_architecture: str = ""
    default_platform: str = ""
    storage: str = ""
    cgroup_driver: str = ""
    cgroup_version: str = ""
    networks: int | None = None
    pool_size: int | None = None
    subordinate_ids: int | None = None
    clock_behind: int | None = None
    engine_clock_off: int | None = None


def details(facts: Facts, folder: Path) -> Details:
    """Ask this machine, for the project in `folder`. Never raises; silence is not known."""
    sources: dict[str, Callable[[], dict[str, Any]]] = {
        "machine": of_machine,
        "ids": lambda: {"subordinate_ids": subordinate_ids(facts)},
        "clock": lambda: {"clock_behind": clock_behind(folder)},
    }
    if facts.engine.kind == "podman":
        program = PODMAN if shutil.which(PODMAN) else DOCKER  # it may have Docker's name
        if facts.engine.reachable:
            sources["engine"] = lambda: of_podman(program)
    elif shutil.which(DOCKER) and facts.engine.failure != "engine-silent":
        # Without an answer of the engine, the client still says what it knows of itself.
        sources["engine"] = lambda: of_docker(time.time())
        if facts.engine.reachable:
            sources["networks"] = lambda: {"networks": networks()}
    answers = gather(sources, DETAILS_LIMIT)
    return Details(**{key: value for one in answers.values() for key, value in one.items()})


def of_machine() -> dict[str, Any]:
    """What kind of machine it is."""
    return {
        "hosts": tuple(hosts()),
        "system": os.uname().sysname,
        "default_socket": SOCKET.is_socket(),
        "default_platform": os.environ.get("DOCKER_DEFAULT_PLATFORM", ""),
    }


def of_docker(now: float) -> dict[str, Any]:
    """What `docker info` says that a start does not need."""
    info = read_json(command(DOCKER_INFO, LOOK_LIMIT).out)
    client = info.get("ClientInfo") or {}
    plugins = client.get("Plugins")
    found = {one.get("Name"): one for one in plugins or [] if not one.get("Err")}
    said: dict[str, Any] = {
        "client": str(client.get("Version") or ""),
        "context": str(client.get("Context") or ""),
    }
    if plugins is not None:
        said["buildx"] = str(found.get("buildx", {}).get("Version") or "none").lstrip("v")
    if info.get("ServerVersion"):
        pools = info.get("DefaultAddressPools")
        said.update(
            engine_architecture=str(info.get("Architecture") or ""),
            storage=str(info.get("Driver") or ""),
            cgroup_driver=str(info.get("CgroupDriver") or ""),
            cgroup_version=str(info.get("CgroupVersion") or ""),
            pool_size=pool_size(pools) if pools else PREDEFINED,
            engine_clock_off=clock_off(str(info.get("SystemTime") or ""), now),
        )
    return said


def of_podman(program: str) -> dict[str, Any]:
    """The same, of `podman info`."""
    info = read_json(command([program, "info", "--format", "json"], LOOK_LIMIT).out)
    host, store = info.get("host") or {}, info.get("store") or {}
    version = str(host.get("cgroupVersion") or "").lstrip("v")
    controllers = host.get("cgroupControllers")
    return {
        "podman_socket": has_podman_socket(),
        "engine_architecture": str(host.get("arch") or ""),
        "storage": str(store.get("graphDriverName") or ""),
        # Without a controller it can limit nothing, whatever manages its groups.
        "cgroup_driver": "none" if controllers == [] else str(host.get("cgroupManager") or ""),
        "cgroup_version": version,
    }


def networks() -> int | None:
    """How many networks of the engine have addresses of its pools."""
    asked = command([DOCKER, "network", "ls", "--quiet", "--filter=driver=bridge"], LOOK_LIMIT)
    return len(asked.out.split()) if asked.status == 0 else None


def pool_size(pools: list[dict[str, Any]]) -> int:
    """How many networks fit into address pools, such as {"Base": "10.0.0.0/8", "Size": 24}."""
    sizes = [(str(one.get("Base")).rpartition("/")[2], one.get("Size")) for one in pools]
    return sum(2 ** max(int(size or 0) - int(base), 0) for base, size in sizes if base.isdigit())


def clock_off(said: str, now: float) -> int | None:
    """The seconds between a time as Docker writes it, in UTC, and `now`; None if it is not one."""
    found = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", said)
    if not found or not said.endswith("Z"):
        return None
    return round(calendar.timegm(time.strptime(found.group(), "%Y-%m-%dT%H:%M:%S")) - now)


def clock_behind(folder: Path) -> int:
    """The seconds by which the clock is behind what was written last into docker-amd64."""
    newest = max(path.stat().st_mtime for path in folder.iterdir())
    return max(round(newest - time.time()), 0)


def subordinate_ids(facts: Facts) -> int | None:
    """The ids of /etc/subuid that belong to the user; None where another service may know them."""
    user = facts.user
    if os.uname().sysname != "Linux":  # the engine is in a virtual machine with its own users
        return None
    if user is None or re.search(r"(?m)^subid:.*\S", read_text(Path("/etc/nsswitch.conf"))):
        return None
    lines = [line.split(":") for line in read_text(Path("/etc/subuid")).splitlines()]
    own = [line for line in lines if len(line) == 3 and line[0] in (user.name, str(user.uid))]  # noqa: PLR2004
    return sum(int(count) for _, _, count in own if count.isdigit())
