"""The container engine: which one answers, how well, and what mends it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .abilities import OLDEST_PODMAN, abilities, dotted, numbers
from .ask import DOCKER_INFO, LOOK_LIMIT, Output, command, read_json
from .engine_words import DOCKER, PODMAN, compose_plugin, is_version_1, standalone_version
from .facts import Engine
from .failures import engine_kind, explain, hosts

if TYPE_CHECKING:
    from collections.abc import Mapping

ENGINE_LIMIT = 4.0  # seconds for each question to the container engine


def engine(chosen: str = "") -> Engine:
    """The engine of this machine, and what is wrong with it.

    Args:
        chosen: docker or podman, as .env has it; "" for the one that answers, Docker before Podman.
    """
    if chosen == PODMAN:
        found = ask_podman()
    elif chosen == DOCKER or shutil.which(DOCKER):
        found = ask_docker()
        if not (chosen or found.reachable) and shutil.which(PODMAN):
            other = ask_podman()
            found = other if other.reachable else found
    else:
        found = ask_podman() if shutil.which(PODMAN) else ask_docker()
    if found.kind == PODMAN and found.reachable:
        found = with_compose(found)
        if not abilities(PODMAN, found.version).builds:
            found = failing(found, f"Podman {found.version} is older than {dotted(OLDEST_PODMAN)}")
    if found.compose == "none":
        found = standalone_compose(found)
    if found.reachable and found.compose in ("none", "v1") and not found.problem:
        if found.kind == PODMAN:
            return failing(found, "Podman without Docker Compose")
        what = "is version 1" if found.compose == "v1" else "is missing"
        found = failing(found, f"Docker Compose {what}")
    return found


def ask_docker() -> Engine:
    """The engine behind the command `docker`, which may be Podman."""
    if not shutil.which(DOCKER):
        return failing(Engine(), f"{DOCKER}: command not found")
    return read_docker(command(DOCKER_INFO, ENGINE_LIMIT))


def ask_podman() -> Engine:
    """Podman."""
    if not shutil.which(PODMAN):
        return failing(Engine(), f"{PODMAN}: command not found")
    said = command([PODMAN, "info", "--format", "json"], ENGINE_LIMIT)
    return read_podman(read_json(said.out)) if said.status == 0 else broken(PODMAN, said)


def with_compose(found: Engine) -> Engine:
    """Podman with the Compose that can use its socket, wherever Docker's command would find it."""
    plugin = compose_plugin()
    said = command([plugin, "version", "--short"], LOOK_LIMIT).out.strip() if plugin else ""
    return replace(found, compose="plugin", compose_version=said.lstrip("v")) if said else found


def is_here(machine: str) -> bool:
    """Whether an engine runs on this machine, not in a virtual one (Docker Desktop) or afar."""
    return machine == (os.uname().nodename if hasattr(os, "uname") else "")


def free_disk(folder: str, machine: str) -> int | None:
    """Free space in an engine's folder, in MiB; None if the engine's machine is not this one."""
    if not folder or not is_here(machine):
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
    devices = info.get("DiscoveredDevices")  # from 28.2 on, and left out where there is none
    both = info["ServerVersion"], (info.get("ClientInfo") or {}).get("Version")
    if devices is None and all(numbers(str(one)) >= (28, 2) for one in both):
        devices = []
    return replace(
        compose,
        kind="docker-desktop" if desktop else "docker-rootless" if rootless else "docker",
        reachable=True,
        version=str(info["ServerVersion"]),
        rootless=rootless,
        maps_ids=desktop and maps_ids(info),
        root_dir=folder,
        disk_free_mib=free_disk(folder, str(info.get("Name"))),
        memory_mib=int(info.get("MemTotal") or 0) >> 20 or None,
        local=is_here(str(info.get("Name"))),
        architecture=str(info.get("Architecture") or ""),
        runtimes=tuple(info.get("Runtimes") or ()),
        default_runtime=str(info.get("DefaultRuntime") or ""),
        cdi_dirs=tuple(info.get("CDISpecDirs") or ()),
        cdi_devices=None if devices is None else tuple(str(one.get("ID")) for one in devices),
        warnings=tuple(info.get("Warnings") or ()),
    )


def maps_ids(info: Mapping[str, Any]) -> bool:
    """Whether Docker Desktop shows the user's folders as those of id 0: on Linux, before 4.35.

    Its engine tells the version, and that of 4.35 is 27.3:
    https://docs.docker.com/desktop/troubleshoot-and-support/faqs/linuxfaqs
    """
    on_linux = not {"mac", "wsl"} & {*hosts()}
    return on_linux and numbers(str(info["ServerVersion"])) < (27, 3)


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
        local=is_here(str(host.get("hostname"))),
        architecture=str(host.get("arch") or ""),
    )


def broken(name: str, said: Output) -> Engine:
    """The engine that gives no answer, with why and the one command that helps."""
    text = f"no answer within {ENGINE_LIMIT:g} s" if said.timed_out else said.err.strip()
    kind = engine_kind(text) if name == "docker" else name
    found = failing(Engine(kind=kind, rootless=kind == "docker-rootless"), text)
    if found.problem:
        return found
    first = (text.splitlines() or ["no answer"])[0][:200]
    return replace(found, problem=f"`{name} info` failed: {first.rstrip('.')}.", fix=f"{name} info")


def failing(found: Engine, text: str) -> Engine:
    """An engine with the words of the table of failures on a text, if a row knows it."""
    stop = explain(None, text)
    if stop is None:
        return found
    return replace(found, problem=stop.sentence, fix=stop.command, failure=stop.name)


def standalone_compose(found: Engine) -> Engine:
    """Look for Compose as a command of its own."""
    version = standalone_version()
    if not version:
        return found
    kind = "v1" if is_version_1(version) else "standalone"
    return replace(found, compose=kind, compose_version=version)
