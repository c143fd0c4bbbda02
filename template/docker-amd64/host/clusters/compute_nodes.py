"""Whether the nodes of a cluster can run the image, by their descriptions in deploy/hosts.

A description is what `template.sh env --json` writes on a node. The doctor judges it, but for what
is about the container engine: compute nodes have none, or it is not the one that runs the job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..compose import show
from ..description import hardware_module, read_description
from ..doctor import words_of
from ..doctor_host import architecture
from ..failures import failed
from ..findings import ERROR, Subject, examine

if TYPE_CHECKING:
    from pathlib import Path

    from ..description import Description
    from ..doctor_gpu_facts import PciGpu
    from ..findings import Check
    from ..project import Project, StopError
    from .job import Request

FOLDER = "deploy/hosts"  # of docker-amd64


class Node(NamedTuple):
    """A described node.

    Attributes:
        file: its description.
        gpus: how many GPUs it has.
        problem: why it cannot run the image; None if nothing is known against it.
    """

    file: Path
    gpus: int
    problem: StopError | None


def checks(*, gpus: bool) -> tuple[Check, ...]:
    """The doctor's checks that hold without an engine.

    Not `gpus_that_answer`: in a job, a node shows its own GPUs only.
    """
    if not gpus or not hardware_module():
        return (architecture,)
    from .. import doctor_gpus as of  # noqa: PLC0415  only projects for GPUs have it

    return (
        architecture,
        of.driver_in_the_kernel,
        of.driver_and_library,
        of.driver_for_the_choice,
        of.code_for_the_gpus,
        of.memory_of_cuda,
        of.fabric,
        of.partitions,
    )


def gpu_count(found: Description) -> int:
    """How many GPUs a node has: those of its PCI bus too, of which a job may see a part."""
    if not hardware_module():
        return 0
    from ..doctor_gpus import GUEST_DRIVERS  # noqa: PLC0415  only projects for GPUs have it

    own: tuple[str, ...] = getattr(found.facts, "gpu_ids", ())
    on_bus: tuple[PciGpu, ...] = getattr(found.hardware, "pci", None) or ()
    return max(len(own), sum(one.driver not in GUEST_DRIVERS for one in on_bus))


def nodes(project: Project, *, gpus: bool) -> list[Node]:
    """The described nodes. Raises StopError, which names the file: one is not a description."""
    return [judged(project, file, gpus=gpus) for file in sorted(files(project))]


def files(project: Project) -> list[Path]:
    """The descriptions."""
    return [one for one in (project.folder / FOLDER).glob("*.json") if not one.is_dir()]


def judged(project: Project, file: Path, *, gpus: bool) -> Node:
    """A node, by its description. Raises StopError."""
    found = read_description(project, file)
    subject = Subject(project, *found, replayed=True)
    findings = examine(subject, checks(gpus=gpus)).findings
    errors = [words_of(subject, one) for one in findings if one.level == ERROR]
    return Node(file, gpu_count(found), errors[0] if errors else None)


def check_nodes(project: Project, request: Request, *, force: bool) -> None:
    """Raises StopError if no described node with as many GPUs can run the image.

    Without descriptions, nothing is known; `force` says it, and goes on.
    """
    every = nodes(project, gpus=request.gpus > 0)
    able = [one for one in every if one.gpus >= request.gpus or not hardware_module()]
    if every and not able:
        most = max(every, key=lambda one: one.gpus)
        show(
            f"No node of {FOLDER} has {request.gpus} GPUs ({most.file.name} has {most.gpus}): "
            "none was compared with the image."
        )
    if not able or any(one.problem is None for one in able):
        return
    stop = unfit(project, request, able[0])
    if not force:
        raise stop
    show(f"{stop.sentence} It is submitted all the same (--force).")


def unfit(project: Project, request: Request, node: Node) -> StopError:
    """The failure of nodes that cannot run the image: what the doctor says of one of them."""
    with_gpus = f" with {request.gpus} GPUs" if request.gpus else ""
    says, remedy = (node.problem.sentence, node.problem.command) if node.problem else ("", "")
    file = f"{FOLDER}/{node.file.name}"
    cause = f"No described node{with_gpus} can run the image. {file}: {says} "
    cause += "If the node has changed, describe it again, or submit with --force."
    return failed("cluster-node-unfit", project, cause=cause, remedy=remedy)
