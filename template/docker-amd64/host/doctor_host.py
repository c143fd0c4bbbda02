"""What the doctor finds in facts about a machine and its container engine."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from .abilities import OLDEST_PODMAN, PODMAN, abilities, dotted, numbers
from .compose import image_id
from .failure_rows import table
from .findings import ERROR, WARNING, Finding
from .images import end_of_updates
from .limits import size
from .processor import can_emulate, other_processor
from .project import me

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .findings import Check, Subject
    from .project import Project

# What projects need. The README and the manual say the same of engine and Compose.
LEAST_ENGINE = {"docker": (23, 0), "docker-rootless": (23, 0), "docker-desktop": (23, 0)}
LEAST_COMPOSE = (2, 24)
# From this version on, Compose builds by Buildx: https://github.com/docker/compose/pull/13295
BUILDS_BY_BUILDX, LEAST_BUILDX = (2, 40), (0, 17)
OF_DOCKER = ("plugin", "standalone")  # the Compose of Docker, which has such a version
FEW_IDS = 65536  # ids that an image may use; the distributions give each user as many
FEW_NETWORKS = 3  # left in the address pools: containers of three projects
OFF = 300  # seconds; with more, certificates and lists of packages seem to be of the future
GIB = 1024  # in MiB
UNIFIED = "systemd.unified_cgroup_hierarchy=1"  # to the kernel: control groups of version 2
FULL_GIB = 1  # of free space, with which nothing can be built


# ---------------------------------------------------------------------- the engine and its parts


def container_engine(subject: Subject) -> Iterator[Finding]:
    """Whether an engine and Compose answer."""
    engine, details = subject.facts.engine, subject.details
    if not (engine.problem or engine.failure):
        return
    known = {}
    if engine.problem and not subject.replayed:  # a file must not choose the command
        known = {"cause": engine.problem, "remedy": engine.fix}
    elsewhere = details.context not in ("", "default") and engine.kind != "docker-rootless"
    if engine.failure == "engine-not-running" and elsewhere and details.default_socket:
        seen = f"context {details.context}; /var/run/docker.sock exists"
        yield Finding("engine-context", ERROR, seen, {"context": details.context})
        return
    seen = f"engine {engine.kind} {engine.version}".strip()
    if engine.failure in {one.name for one in table()}:  # a newer version may know more
        yield Finding(engine.failure, ERROR, seen, known)
    else:
        yield Finding("engine-error", ERROR, seen, known)


def podman_socket(subject: Subject) -> Iterator[Finding]:
    """Whether Podman, which needs no socket itself, has one for Compose."""
    engine = subject.facts.engine
    if engine.kind == PODMAN and engine.reachable and subject.details.podman_socket is False:
        known = {"cause": "Podman's socket is off, by which Docker Compose starts containers."}
        if not engine.rootless:
            known["remedy"] = "sudo systemctl enable --now podman.socket"
        yield Finding("engine-not-running", ERROR, "no podman.sock", known)


def engine_version(subject: Subject) -> Iterator[Finding]:
    """Whether the engine is new enough."""
    engine = subject.facts.engine
    least = LEAST_ENGINE.get(engine.kind)
    if least and engine.version and numbers(engine.version) < least:
        known = {"version": engine.version, "needed": dotted(least)}
        yield Finding("engine-too-old", ERROR, f"engine {engine.version}", known)
    old_podman = engine.kind == PODMAN and not abilities(PODMAN, engine.version).builds
    if old_podman and engine.failure != "podman-too-old":  # which `container_engine` finds
        known = {"version": engine.version, "needed": dotted(OLDEST_PODMAN)}
        yield Finding("podman-too-old", ERROR, f"Podman {engine.version}", known)


def compose_version(subject: Subject) -> Iterator[Finding]:
    """Whether Compose is new enough."""
    engine = subject.facts.engine
    found = numbers(engine.compose_version)
    if engine.compose in OF_DOCKER and found and found < LEAST_COMPOSE:
        known = {"version": engine.compose_version, "needed": dotted(LEAST_COMPOSE)}
        yield Finding("compose-old", ERROR, f"Compose {engine.compose_version}", known)


def buildx(subject: Subject) -> Iterator[Finding]:
    """Whether Compose has the Buildx that it builds by."""
    engine, version = subject.facts.engine, subject.details.buildx
    if engine.kind == "podman" or not version:
        return
    if engine.compose not in OF_DOCKER or numbers(engine.compose_version) < BUILDS_BY_BUILDX:
        return  # it brings its own
    seen = f"Compose {engine.compose_version}, Buildx {version}"
    if version == "none":
        yield Finding("buildx-missing", ERROR, seen)
    elif numbers(version) < LEAST_BUILDX:
        known = {"version": version, "needed": dotted(LEAST_BUILDX)}
        yield Finding("buildx-old", ERROR, seen, known)


def packaging(subject: Subject) -> Iterator[Finding]:
    """Whether the engine is one that sees the whole machine."""
    root = subject.facts.engine.root_dir
    if "/snap/" in root:
        yield Finding("engine-snap", WARNING, f"the engine's folder is {root}")


def storage(subject: Subject) -> Iterator[Finding]:
    """Whether layers share what they have in common."""
    if subject.details.storage == "vfs":
        yield Finding("engine-storage", WARNING, "storage driver vfs")


def kernel_option(hosts: Collection[str]) -> str:
    """The command that starts the kernel with control groups of version 2.

    https://rootlesscontaine.rs/getting-started/common/cgroup2 has what belongs into the file.
    """
    edit = 'sudo "${EDITOR:-vi}" /etc/default/grub'
    if "fedora" in hosts:
        return f"sudo grubby --update-kernel=ALL --args={UNIFIED} && sudo reboot"
    if "suse" in hosts:
        return f"{edit} && sudo grub2-mkconfig -o /boot/grub2/grub.cfg"
    if "debian" in hosts:
        return f"{edit} && sudo update-grub"
    return f"{edit} && sudo grub-mkconfig -o /boot/grub/grub.cfg"


def rootless(subject: Subject) -> Iterator[Finding]:
    """Whether an engine without root can limit containers, and has ids for their users."""
    engine, details = subject.facts.engine, subject.details
    if not engine.rootless:
        return
    if engine.reachable and details.cgroup_driver == "none":
        version = details.cgroup_version or "unknown"
        known = {}
        if version == "1":
            known["remedy"] = kernel_option(details.hosts)
        yield Finding("rootless-limits", WARNING, f"control groups of version {version}", known)
    starts = engine.kind == "docker-rootless" and engine.reachable  # not without such ids
    ids = details.subordinate_ids
    if ids is not None and ids < FEW_IDS and not starts:
        seen = f"{ids} ids in /etc/subuid, {FEW_IDS} are usual"
        yield Finding("subuid-missing", ERROR, seen)


def address_pools(subject: Subject) -> Iterator[Finding]:
    """Whether the engine has addresses for more networks."""
    used, possible = subject.details.networks, subject.details.pool_size
    if used is not None and possible is not None and possible - used < FEW_NETWORKS:
        seen = f"{used} of about {possible} networks are used"
        cause = "Docker has addresses for few more networks; each running dev container has one."
        yield Finding("address-pools", WARNING, seen, {"cause": cause})


# ------------------------------------------------------------------------------------ the machine


def architecture(subject: Subject) -> Iterator[Finding]:
    """Whether the engine's processor is one that the images are for."""
    here, engine = architecture_of(subject), subject.facts.engine
    if here and can_emulate(engine, subject.details.system):
        yield Finding("architecture-emulated", WARNING, here, {"architecture": here})
    elif here:
        yield Finding("other-architecture", ERROR, here, {"architecture": here})


def architecture_of(subject: Subject) -> str:
    """The processor that the images are not for, "" if there is none."""
    facts, details = subject.facts, subject.details
    machine = details.engine_architecture or facts.architecture  # as older descriptions have it
    return other_processor(facts.engine, machine, details.default_platform)


def windows(subject: Subject) -> Iterator[Finding]:
    """Whether Linux in Windows has a kernel of its own."""
    if subject.facts.wsl == 1:
        yield Finding("wsl-one", ERROR, "WSL 1")


def clock(subject: Subject) -> Iterator[Finding]:
    """Whether the clocks are right enough for certificates."""
    behind, off = subject.details.clock_behind or 0, subject.details.engine_clock_off or 0
    if behind > OFF:
        seen = f"this machine's clock is {behind} s behind the project's files"
        yield Finding("clock-wrong", WARNING, seen)
    elif abs(off) > OFF:
        seen = f"the engine's clock differs by {off} s from this machine's"
        yield Finding("clock-wrong", WARNING, seen)


def shared_memory(subject: Subject) -> Iterator[Finding]:
    """Whether containers can have the shared memory that .env asks for."""
    if subject.replayed:
        return  # .env is for this machine
    memory = subject.facts.engine.memory_mib or subject.facts.memory_mib
    text = subject.project.settings.get("SHM_SIZE")
    if not memory or not text or not re.fullmatch(r"[\d.]+ ?\w*", text):
        return
    asked = size(text) / 1024**2
    if asked > memory:
        seen = f"SHM_SIZE={text}, and containers have {memory / GIB:.0f} GiB of memory"
        yield Finding("shm-too-large", WARNING, seen)


def disk(subject: Subject) -> Iterator[Finding]:
    """Whether the engine's disk has room for the images of this choice."""
    free, root = subject.facts.engine.disk_free_mib, subject.facts.engine.root_dir
    if free is None:
        return
    need = room_needed(subject.project)
    seen = f"{free / GIB:.1f} GiB free in {root}, about {need} are needed"
    if free < FULL_GIB * GIB:
        yield Finding("disk-full", ERROR, seen, {"cause": "The disk of the engine is full."})
    elif free < need * GIB and (subject.replayed or not is_built(subject.project)):
        yield Finding("disk-small", WARNING, seen, {"needed": str(need)})


def is_built(project: Project) -> bool:
    """Whether the dev image is there, so that a build adds little."""
    return bool(project.settings.get("COMPOSE_PROJECT_NAME") and image_id(project.image("dev")))


def room_needed(project: Project) -> int:
    """GiB that the images and the build cache of a project take, roughly."""
    if project.compiles_torch:
        return 60
    base = project.base_images["BASE_IMAGE"]
    for word, gib in (("nvcr.io/", 30), ("pytorch/", 15), ("-devel", 15), ("-runtime", 8)):
        if word in base:
            return gib + (10 if project.torch and not project.base_has_torch else 0)
    if not project.torch:
        return 2
    return 4 if project.accelerator == "cpu" else 10


def base_image(subject: Subject) -> Iterator[Finding]:
    """Whether the distribution of the images still gets security updates."""
    project = subject.project
    if not project.distribution or subject.replayed or project.settings.get("BASE_IMAGE"):
        return
    end = end_of_updates(project.distribution, dt.datetime.now().astimezone().date())
    if end:
        newer = project.distribution.newer
        remedy = f"{me()} update" + (f" --data {newer}" if newer else "")
        seen = f"maintained until {project.distribution.maintained_until}"
        yield Finding("base-image-end", WARNING, seen, {"cause": end, "remedy": remedy})


CHECKS: tuple[Check, ...] = (
    container_engine,
    podman_socket,
    engine_version,
    compose_version,
    buildx,
    packaging,
    storage,
    rootless,
    address_pools,
    architecture,
    windows,
    clock,
    shared_memory,
    disk,
    base_image,
)
