"""What an engine can do, where engines differ: the rest of the program asks this, not for names.

All of it was tried with Docker Engine 26 and 28, and with Podman 4.3, 5.4 and 5.8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PODMAN = "podman"
OLDEST_PODMAN = (5, 4)  # 4.3 never ends the build of a Dockerfile with locked caches
WITH_LINK = (5, 8)


@dataclass(frozen=True)
class Abilities:
    """What an engine can do.

    Attributes:
        builds: whether it is known to build the project's Dockerfile.
        compose_builds: whether Compose builds with it; else it is `build` of its own command.
        copy_link: whether its builds read `COPY --link`.
        inherited_arguments: whether a stage has the arguments of the one that it starts from.
        empty_patterns: whether a pattern of COPY may match nothing.
        fresh_mounts: whether a line that mounts a stage runs again when the stage has other files.
        short_names: whether an image's name without a registry means that of Docker Hub.
        cdi_devices: whether Compose may ask for hardware by `devices`; else by the driver cdi.
        fills_tmpfs: whether a tmpfs gets what it covers, unless an option of its own forbids it.
        labels_mounts: whether it always keeps containers from mounted folders on machines with
            SELinux; another one says in its security options if it does.
    """

    builds: bool = True
    compose_builds: bool = True
    copy_link: bool = True
    inherited_arguments: bool = True
    empty_patterns: bool = True
    fresh_mounts: bool = True
    short_names: bool = True
    cdi_devices: bool = True
    fills_tmpfs: bool = False
    labels_mounts: bool = False


def numbers(version: str) -> tuple[int, ...]:
    """A version for comparing: "0.6.0" is (0, 6, 0); () for one that is not known."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def dotted(version: tuple[int, ...]) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))


def abilities(kind: str, version: str = "") -> Abilities:
    """What an engine of a kind and a version can do; without a version, what every one can."""
    if kind != PODMAN:
        return Abilities()
    return Abilities(
        builds=not version or numbers(version) >= OLDEST_PODMAN,
        compose_builds=False,  # it wants BuildKit, which it would pull
        copy_link=numbers(version) >= WITH_LINK,
        inherited_arguments=False,
        empty_patterns=False,
        fresh_mounts=False,
        short_names=False,
        cdi_devices=False,  # Podman 5.4 takes them for files; 5.8 knows both
        fills_tmpfs=True,
        labels_mounts=True,
    )
