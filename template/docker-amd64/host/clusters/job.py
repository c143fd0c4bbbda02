"""What a job is: the request of the command line, and all that a scheduler's file needs of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from ..project import Project
    from .site import Site

NO_LIMIT = 0  # of a number in a request or a site: nothing is said
SHELL, SSH, JUPYTER = "shell", "ssh", "jupyter"  # doors into an interactive job


class Request(NamedTuple):
    """What is asked for, already checked for what any scheduler refuses.

    Attributes:
        cluster: slurm, kubernetes, runai or skypilot.
        name: of the job: small letters, digits and -, a letter first, 40 at most; a name that no
            job of this cluster in this clone has.
        command: its words; nothing in an interactive job.
        nodes: how many.
        gpus: for each node.
        cpus: for each node; NO_LIMIT leaves it to the site.
        memory: for each node, in bytes; NO_LIMIT leaves it to the site.
        seconds: of running time; NO_LIMIT leaves it to the site.
        tasks: processes for each node that the scheduler starts; with torchrun 1, because torchrun
            starts its own.
        array: the indices of an array of jobs, such as 0-9%2; "" for one job.
        door: SHELL, SSH or JUPYTER of an interactive job; "" for a command.
        verify: whether verify runs on each node before the command.
        requeue: how often a job may start again after the warning before its time limit.
        environment: variables for the command, beside those of the site.
    """

    cluster: str
    name: str
    command: tuple[str, ...]
    nodes: int = 1
    gpus: int = 0
    cpus: int = NO_LIMIT
    memory: int = NO_LIMIT
    seconds: int = NO_LIMIT
    tasks: int = 1
    array: str = ""
    door: str = ""
    verify: bool = False
    requeue: int = 0
    environment: dict[str, str] = {}  # noqa: RUF012  nobody changes it

    @property
    def uses_torchrun(self) -> bool:
        """Whether the command is torchrun, which starts the processes of a node itself."""
        return self.command[:1] == ("torchrun",)


class Image(NamedTuple):
    """The image of a job.

    Attributes:
        name: in a registry, without a digest, such as registry.example/team/demo:latest; "" if it
            is only a file.
        digest: sha256:... of its manifest in the registry, or of the local image that the file was
            made from.
        answers: the digest of the answers that it was built from, "" if its label is missing.
        file: the SIF or squash file, as compute nodes see it; None for an image of a registry.
    """

    name: str
    digest: str
    answers: str = ""
    file: Path | None = None

    @property
    def pinned(self) -> str:
        """Its name with the digest, for clients that take NAME@sha256:..."""
        path, _, last = self.name.rpartition("/")
        return f"{path}/{last.partition(':')[0]}@{self.digest}"


class Code(NamedTuple):
    """The code of a job.

    Attributes:
        folder: the checkout, as this machine and the compute nodes see it; None if the job brings
            the code with it (an archive).
        commit: its hash, "" if the code is a folder as it is.
        dirty: the hash of a commit on top of it, which has the changes that were snapshotted; ""
            for none.
        archive: a compressed tar file of the commit, for jobs without a shared folder.
        version: of a project that takes its version from git, "" for others; no container has git's
            data. Jobs have it as PROJECT_VERSION.
    """

    folder: Path | None
    commit: str = ""
    dirty: str = ""
    archive: bytes = b""
    version: str = ""


class Job(NamedTuple):
    """All that a scheduler's file says.

    Attributes:
        project: the project.
        site: what site.toml and .env decide.
        request: what is asked for.
        image: the image.
        code: the code.
        folder: deploy/CLUSTER/jobs/NAME of docker-amd64, where its files are written.
    """

    project: Project
    site: Site
    request: Request
    image: Image
    code: Code
    folder: Path


class Record(NamedTuple):
    """A job that was handed over, as job.json in its folder has it.

    Attributes:
        cluster: as in the request.
        name: as in the request.
        id: the scheduler's own.
        submitted: the time in UTC, such as 2026-11-29T12:00:00Z.
        command: its words.
        commit: of the code, "" for a folder as it is.
        dirty: as in Code.
        image: name and digest, or the file.
        answers: as in Image.
        nodes: how many.
        gpus: for each node.
        door: as in the request.
        folder: of the job, not in the file.
    """

    cluster: str
    name: str
    id: str
    submitted: str
    command: tuple[str, ...]
    commit: str
    dirty: str
    image: str
    answers: str
    nodes: int
    gpus: int
    door: str
    folder: Path


class Scheduler(NamedTuple):
    """What the module of a scheduler can do; SCHEDULER in it.

    Attributes:
        client: the program that is called, such as sbatch.
        kind_of_image: sif, sqsh or registry, by the site.
        shared_code: [storage] code if it is a folder of this machine that the job's nodes have,
            too; "" if the job brings an archive. Raises StopError if it can do neither.
        check: raises StopError for a request that this site cannot fulfil; asks the client where
            it can say, such as about a partition, and accepts what cannot be asked.
        files: the job's files by their names; the first one is handed over. Pure: it asks nothing.
        submit: hands the first file over; the scheduler's id. Raises StopError.
        states: the scheduler's words for the states of jobs, by their names; a job that it no
            longer knows is missing.
        logs: shows what a job has printed; follows it if the flag is set; the exit status.
        cancel: ends a job. Raises StopError.
        enter: the lines that lead into an interactive job, each a command to paste.
    """

    client: str
    kind_of_image: Callable[[Site], str]
    shared_code: Callable[[Project, Site, Request], str]
    check: Callable[[Project, Site, Request], None]
    files: Callable[[Job], dict[str, str]]
    submit: Callable[[Job], str]
    states: Callable[[Project, Site, tuple[Record, ...]], dict[str, str]]
    logs: Callable[[Project, Site, Record, bool], int]
    cancel: Callable[[Project, Site, Record], None]
    enter: Callable[[Job, str], tuple[str, ...]]
