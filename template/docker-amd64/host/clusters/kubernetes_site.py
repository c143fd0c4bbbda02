"""What [kubernetes] of site.toml decides: whether it can be, and fits a request."""

from __future__ import annotations

import posixpath
import re
import shlex
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

from ..failures import failed
from ..project import me
from .claims import NAME, wrong_claims
from .site import wrong_value

if TYPE_CHECKING:
    from ..project import Project
    from .job import Request
    from .site import Site

JOB, JOBSET, TRAINJOB = "job", "jobset", "trainjob"
# Where a container has other things than claims.
OWN_PATHS = ("/", "/dev/shm", "/etc", "/home/job", "/run/secrets", "/tmp", "/workspace")  # noqa: S108
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # a name of RFC 1123
RESOURCE = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
ARRAY = re.compile(r"0(-([0-9]{1,5}))?(%([1-9][0-9]{0,4}))?")


def kind_of(site: Site, request: Request) -> str:
    """Which kind of object runs a job: one node needs no more than a Job."""
    return site["kubernetes"]["kind"] if request.nodes > 1 else JOB


def ids(project: Project, site: Site) -> tuple[int, int]:
    """The user and the group of a job. Raises StopError for root, whom clusters refuse."""
    user, group = int(site["user"]["id"]), int(site["user"]["group"])
    if user == 0:
        raise failed("kubernetes-root", project)
    return user, group


def account(site: Site) -> str:
    """The name of the user in containers; the cluster's own may be none for Linux."""
    name = str(site["user"]["name"])
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", name) else "user"


# ------------------------------------------------------------------------------- what is refused


def check_site(project: Project, site: Site) -> None:
    """Raises StopError for values of [kubernetes] that cannot be, or do not fit together."""
    table = site["kubernetes"]
    for key, what in (*wrong_values(table), *wrong_mounts(table["claims"])):
        raise wrong_value(project, site, "kubernetes", key, what)


def wrong_values(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys, and what is wrong with their values; continues a sentence."""
    for key in ("context", "namespace"):
        if not table[key]:
            yield key, f"has no value, and CLUSTER_{key.upper()} in .env has none either"
    if not LABEL.fullmatch(table["namespace"]):
        yield "namespace", f'is "{table["namespace"]}", which no namespace can be called'
    if not RESOURCE.fullmatch(table["gpu"]):
        yield "gpu", f'is "{table["gpu"]}", not a resource such as nvidia.com/gpu'
    for key in ("queue", "priority_class", "secret", "runtime", "service_account"):
        if table[key] and not NAME.fullmatch(table[key]):
            yield key, f'is "{table[key]}", which nothing in Kubernetes can be called'
    for name in table["image_pull_secrets"]:
        if not NAME.fullmatch(name):
            yield "image_pull_secrets", f'has "{name}", which no Secret can be called'
    if table["kind"] == TRAINJOB and table["secret"] and not table["service_account"]:
        # A TrainJob cannot say automountServiceAccountToken, and /var/run is a link to /run.
        why = "the token would be in the read-only folder of the Secret"
        yield "secret", f"needs a service_account that mounts no token if kind is trainjob: {why}"


def wrong_mounts(claims: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """The same for claims: what any scheduler refuses, and what containers cannot have."""
    yield from (("claims", what) for what in wrong_claims(claims))
    paths = set(OWN_PATHS)
    for number, claim in enumerate(claims, 1):
        path = posixpath.normpath(claim.get("path") or f"/{number}")
        if path in paths:
            yield "claims", f"has an entry {number} for {path}, where containers have something"
        paths.add(path)
        if ".." in PurePosixPath(claim.get("sub_path", "")).parts:
            yield "claims", f"has an entry {number} with .. in sub_path"
        if claim.get("read_only", "false") not in ("true", "false"):
            yield "claims", f"has an entry {number} with read_only, which is true or false"


def check_request(project: Project, site: Site, request: Request) -> None:
    """Raises StopError for what Kubernetes, or this kind of object, cannot do."""
    kind = kind_of(site, request)

    def refuse(cause: str, remedy: str) -> None:
        raise failed("kubernetes-request", project, cause=cause, remedy=remedy)

    submit = f"{me()} submit --on kubernetes"
    if request.tasks > 1:
        each = "Kubernetes starts one process on a node; torchrun starts the others"
        program = request.command[request.command[:1] == ("python",) :]
        words = ["torchrun", f"--nproc-per-node={request.tasks}", *program]
        refuse(f"{each}.", f"{submit} {' '.join(map(shlex.quote, words))}")
    if request.array and not ARRAY.fullmatch(request.array):
        count = "Kubernetes counts the jobs of an array from 0, without gaps, such as 0-9%2"
        refuse(f'{count}; "{request.array}" is something else.', f"{submit} --array 0-9%2 hostname")
    if request.array and request.nodes > 1:
        refuse("On Kubernetes, a job of an array has one node.", f"{me()} submit --help")
    if request.requeue and kind == TRAINJOB:
        refuse("A TrainJob does not start again after its time.", f"{me()} submit --help")
    if request.requeue and kind == JOB and request.nodes > 1:
        again = "A Job starts its nodes again one by one, but they belong together"
        kind_needed = "[kubernetes] kind in site.toml has to be jobset"
        refuse(f"{again}: {kind_needed}.", f"{me()} submit --help")


def client_words(site: Site) -> list[str]:
    """The client for the cluster and the namespace of the site, whichever are its current ones."""
    table = site["kubernetes"]
    return ["kubectl", "--context", table["context"], "--namespace", table["namespace"]]
