"""Folders of a job's containers: claims of site.toml, and what each pod has for itself."""

from __future__ import annotations

import posixpath
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Iterator, Mapping, NamedTuple

from .claims import HERE, PATH, on_no_claim, on_this_machine, place
from .job import SSH
from .kubernetes_site import LABEL, TRAINJOB, kind_of
from .yaml_text import Inline, Note

if TYPE_CHECKING:
    from ..project import Project
    from .job import Job, Request
    from .site import Site

HOMES = "/home/job"  # where [storage] home is mounted


class Mount(NamedTuple):
    """A folder of a container.

    Attributes:
        volume: the name of the volume.
        path: in the container.
        sub_path: within the volume, "" for all of it.
        read_only: whether the container only reads it.
    """

    volume: str
    path: str
    sub_path: str = ""
    read_only: bool = False


def volume_of(site: Site, number: int) -> str:
    """The name of the volume of a claim; several entries may be about one claim."""
    names = [claim["claim"] for claim in site["kubernetes"]["claims"]]
    name = f"claim-{names[number]}"
    return name if LABEL.fullmatch(name) else f"claim-{names.index(names[number])}"


def locate(site: Site, path: str, keys: tuple[str, ...] = (HERE, PATH)) -> Mount | None:
    """Where a folder is on the claims; None if it is on none.

    Args:
        site: the site.
        path: as this machine sees it, or the containers.
        keys: of the claims, which say where this machine and the containers have them.
    """
    claims = site["kubernetes"]["claims"]
    found = place(claims, path, keys)
    if not found:
        return None
    claim = claims[found.number]
    under = PurePosixPath(claim.get("sub_path", ""), found.inside)
    sub_path = str(under).strip("/") if under.parts else ""
    return Mount(volume_of(site, found.number), path, sub_path, is_read_only(claim))


def is_read_only(claim: Mapping[str, str]) -> bool:
    """Whether containers only read a claim."""
    return claim.get("read_only") == "true"


def of_storage(site: Site, request: Request) -> Iterator[tuple[str, str, str, bool]]:
    """What [storage] gives containers: key, folder, path in the container, whether read-only."""
    storage = site["storage"]
    yield "data", storage["data"], "/data", True
    yield "outputs", storage["outputs"], "/outputs", False
    if request.door:
        yield "home", storage["home"], HOMES, False
    for entry in storage["mounts"]:
        source, target, *mode = entry.split(":")
        yield "mounts", source, target, mode == ["ro"]


def wanted_mounts(project: Project, site: Site, request: Request) -> list[Mount]:
    """The folders of claims that a job gets, without its code.

    Raises:
        StopError: a folder of [storage] is on no claim.
    """
    mounts = []
    for number, claim in enumerate(site["kubernetes"]["claims"]):
        if claim.get("path"):
            path, sub_path = posixpath.normpath(claim["path"]), claim.get("sub_path", "").strip("/")
            mounts.append(Mount(volume_of(site, number), path, sub_path, is_read_only(claim)))
    for key, source, target, read_only in of_storage(site, request):
        if not source or target in {mount.path for mount in mounts}:
            continue
        found = locate(site, source)
        if not found:
            raise on_no_claim(project, site, "kubernetes", key, source)
        mounts.append(found._replace(path=target, read_only=read_only or found.read_only))
    return mounts


def folders_here(site: Site, request: Request) -> list[str]:
    """Folders that a job writes to and that this machine sees."""
    claims = site["kubernetes"]["claims"]
    # A TrainJob has no container that makes them in the cluster.
    keys = (HERE, PATH) if kind_of(site, request) == TRAINJOB else (HERE,)
    wanted = [
        on_this_machine(claims, source, keys)
        for key, source, _, read_only in of_storage(site, request)
        if source and not read_only and key != "mounts"
    ]
    return [folder for folder in wanted if folder]


def folders_there(project: Project, site: Site, request: Request) -> list[Mount]:
    """The same for those that this machine does not see."""
    seen = {locate(site, path) for path in folders_here(site, request)}
    parts = {(one.volume, one.sub_path) for one in seen if one}
    own = ("/outputs", HOMES)
    return [
        mount
        for mount in wanted_mounts(project, site, request)
        if mount.path in own
        and mount.sub_path
        and not mount.read_only
        and (mount.volume, mount.sub_path) not in parts
    ]


def quantity(size: int) -> str:
    """Bytes as Kubernetes writes them, such as 16Gi."""
    mebibytes = -(-size // 2**20)
    return f"{mebibytes // 1024}Gi" if mebibytes % 1024 == 0 else f"{mebibytes}Mi"


def code_mount(job: Job) -> Mount:
    """Where the code of a job comes from. Raises StopError: on no claim."""
    if job.code.archive:
        return Mount("code", "/workspace")
    path = str(job.code.folder)
    found = locate(job.site, path)
    if not found:
        raise on_no_claim(job.project, job.site, "kubernetes", "code", path)
    # Other jobs may have the same commit. A folder that --code named is yours to change.
    return found._replace(path="/workspace", read_only=bool(job.code.commit) or found.read_only)


def mounts_of(job: Job) -> list[Mount]:
    """All folders of the command's container."""
    mounts = [Mount("tmp", "/tmp"), Mount("shm", "/dev/shm")]  # noqa: S108
    mounts += [code_mount(job), *wanted_mounts(job.project, job.site, job.request)]
    if "/outputs" not in {mount.path for mount in mounts}:
        mounts.append(Mount("outputs", "/outputs"))
    if job.site["kubernetes"]["secret"]:
        mounts.append(Mount("tokens", "/run/secrets", "", read_only=True))
    if job.request.door == SSH:
        mounts.append(Mount("ssh", "/run/ssh_keys", "ssh_keys", read_only=True))
        mounts.append(Mount("ssh", "/etc/passwd", "passwd", read_only=True))
    return mounts


def mount_lines(mounts: list[Mount]) -> list[Inline]:
    """Mounts as a container has them."""
    lines = []
    for mount in mounts:
        line = Inline(name=mount.volume, mountPath=mount.path)
        if mount.sub_path:
            line["subPath"] = mount.sub_path
        if mount.read_only:
            line["readOnly"] = True
        lines.append(line)
    return lines


def volumes(job: Job) -> list[Any]:
    """The volumes of a pod: those that its mounts name."""
    site, request = job.site["kubernetes"], job.request
    shared = Inline(medium="Memory")
    size = site["shm"] or request.memory // 2
    if size:
        shared["sizeLimit"] = quantity(size)
    code = f"{request.name}-code"
    known: dict[str, Any] = {
        "tmp": Inline(name="tmp", emptyDir=Inline()),
        "shm": Note(
            "For DataLoader workers; it is the pod's memory.",
            Inline(name="shm", emptyDir=shared),
        ),
        "code": Inline(name="code", emptyDir=Inline()),
        "outputs": Note(
            "Nothing keeps these outputs: site.toml names no claim for them.",
            Inline(name="outputs", emptyDir=Inline()),
        ),
        "tokens": Note(
            "288 is 0440: only the group may read, which is fsGroup.",
            Inline(name="tokens", secret=Inline(secretName=site["secret"], defaultMode=0o440)),
        ),
        "ssh": Inline(name="ssh", configMap=Inline(name=f"{request.name}-ssh")),
    }
    for number, claim in enumerate(site["claims"]):
        source = Inline(claimName=claim["claim"])
        name = volume_of(job.site, number)
        known[name] = Inline(name=name, persistentVolumeClaim=source)
    used = {mount.volume for mount in mounts_of(job)}
    found = [one for name, one in known.items() if name in used]
    if job.code.archive:
        found.append(Inline(name="archive", configMap=Inline(name=code)))
    return found
