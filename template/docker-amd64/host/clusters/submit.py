"""submit: a command becomes the scheduler's own file, which is shown and handed over.

With --dry-run, stdout is what would be handed over, and nothing else. Else it is the name
of the job, as with `run -d`. All that is said is on stderr.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..compose import end_by_signal, show, show_text
from ..env_file import ProbeError
from ..failures import failed
from ..files import give_away, write_file
from ..project import StopError, me
from .compute_nodes import check_nodes
from .job import Job, Record
from .jobs import FILE, jobs_folder, need_client, which, write_record
from .request import next_name
from .schedulers import scheduler
from .site import read_site

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..project import Project
    from .job import Request, Scheduler
    from .site import Site

SHOWN = 8000  # characters of a file beside the first one; an archive of code is longer
ATTEMPTS = 20  # at a name that nobody else has
TAKEN = "kubernetes-name-taken"
ENDING = tuple(getattr(signal, one) for one in ("SIGTERM", "SIGHUP") if hasattr(signal, one))


def submit_options(parser: argparse.ArgumentParser) -> None:
    """The request, and how it is handed over."""
    from .request import request_options  # noqa: PLC0415  only this verb has a request

    for name, text in (
        ("--dry-run", "only print the file that would be handed over"),
        ("--dirty", "with a snapshot of what is not committed"),
        ("--force", "even if no described node can run the image"),
    ):
        parser.add_argument(name, action="store_true", help=text)
    text = "a folder of the nodes in place of a commit"
    parser.add_argument("--code", metavar="FOLDER", default="", help=text)
    request_options(parser)


def do_submit(project: Project, options: argparse.Namespace) -> int:
    """Write the scheduler's file of a job, show it, and hand it over. Raises StopError."""
    from .code import code_of_job  # noqa: PLC0415  the options need neither
    from .image import image_of_job  # noqa: PLC0415
    from .request import read_request  # noqa: PLC0415

    site = read_site(project)
    request = read_request(project, site, options)
    to = scheduler(request.cluster)
    if not options.dry_run:
        need_client(project, request.cluster, as_dry_run())
    request = checked(project, site, request, keep_name=bool(options.name))
    if not options.code:
        to.shared_code(project, site, request)  # before a registry is asked
    check_nodes(project, request, force=options.force)
    image = image_of_job(project, site, request, to)
    code_options = {"dirty": options.dirty, "folder": options.code, "scheduler": to}
    if options.dry_run:
        code = code_of_job(project, site, request, **code_options, make=False)
        folder = jobs_folder(project, request.cluster) / request.name
        print_files(to.files(Job(project, site, request, image, code, folder)), folder)
        return 0
    with handling(end_by_signal, *ENDING):  # so that what was made is removed
        folder, request = new_folder(project, request, keep_name=bool(options.name))
        try:
            code = code_of_job(project, site, request, **code_options)
            job = Job(project, site, request, image, code, folder)
            write_files(to, job)
            record, status = hand_over(to, job)
        except BaseException:  # Ctrl-C and the end of a session too
            with undisturbed():
                shutil.rmtree(str(folder), ignore_errors=True)
            raise
    if (folder / FILE).is_file():
        say_what_next(to, job, record)
    return status


def as_dry_run() -> str:
    """The command of the user with --dry-run; "" where it is not known."""
    verb, *words = sys.argv[1:] or [""]
    return shlex.join([*shlex.split(me()), verb, "--dry-run", *words]) if verb == "submit" else ""


# ------------------------------------------------------------------------------------ what is shown


def print_files(files: dict[str, str], folder: Path) -> None:
    """Print the file that would be handed over, byte for byte; the others are only shown.

    Manifests are printed as one, as `kubectl create -f -` takes them, unless a person reads them.
    """
    (first, text), *others = files.items()
    if first.endswith(".yaml") and not sys.stdout.isatty():
        text, others = "---\n".join([*(more for _, more in others), text]), []
    for name, more in others:
        show_file(folder / name, more)
    if sys.stdout.isatty():
        print(text, end="")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()


def show_file(path: Path, text: str) -> None:
    """Show a file, but not a long one that no person would read."""
    if len(text) > SHOWN:
        show(f"# {path}: {len(text)} bytes, not shown")
    else:
        show_text(f"# {path}\n{text}")


def say_what_next(to: Scheduler, job: Job, record: Record) -> None:
    """Say what was handed over, and how to look after it."""
    code = f"commit {record.commit[:12]}" if record.commit else f"the code of {job.code.folder}"
    code += " with what is not committed" if record.dirty else ""
    place = f"{record.id} of {record.cluster}"
    show(f"Submitted {record.name} as {place}: {code}, image {record.image}.")
    print(record.name)
    name = which(job.project, record)
    lines = to.enter(job, record.id) if record.door else ()
    if lines:
        show_text(
            "\n".join(["When jobs says that it runs, enter it:", *(f"  {one}" for one in lines)])
        )
    else:
        show(f"  Run: {me()} logs --follow {name}")


# -------------------------------------------------------------------------------- the job's folder


def checked(project: Project, site: Site, request: Request, *, keep_name: bool) -> Request:
    """The request, if its scheduler can fulfil it, with a name that the scheduler does not know.

    The jobs of a namespace are those of a team: others may have the name that comes next here.

    Raises:
        StopError: it cannot be fulfilled.
    """
    taken = name_taken(project, site, request)
    for _ in range(0 if keep_name else ATTEMPTS):
        if not taken:
            break
        request = request._replace(name=next_name(request.name))
        taken = name_taken(project, site, request)
    if taken:
        raise taken
    return request


def name_taken(project: Project, site: Site, request: Request) -> StopError | None:
    """The refusal of a request whose scheduler knows its name; other refusals are raised."""
    try:
        scheduler(request.cluster).check(project, site, request)
    except StopError as error:
        if error.name != TAKEN:
            raise
        return error
    return None


def new_folder(project: Project, request: Request, *, keep_name: bool) -> tuple[Path, Request]:
    """Make the folder of a job; the folder, and the request with a name that nobody else has.

    A folder is made in one step, so of two that want a name at the same time one gets it. The other
    one takes the next name, or is refused if its user chose the name. Raises StopError.
    """
    parent = jobs_folder(project, request.cluster)
    if not parent.is_dir():  # somebody has deleted it, for git has it with a .gitignore
        parent.mkdir(parents=True, exist_ok=True)
        give_away(parent)
    for _ in range(ATTEMPTS):
        if is_made(parent / request.name):
            return parent / request.name, request
        if keep_name:
            break
        request = request._replace(name=next_name(request.name))
    known = {"job": request.name, "path": str(parent / request.name), "cluster": request.cluster}
    raise failed("cluster-job-exists", project, **known)


def is_made(folder: Path) -> bool:
    """Make a folder; False if something of that name is there already. Raises OSError.

    It is for its user alone: values of -e and what the job prints are in it, and homes of clusters
    are often open to all.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def write_files(to: Scheduler, job: Job) -> None:
    """Write the files of a job, and show them. Raises ProbeError.

    Git ignores them also when the project is for no cluster any more, and has no jobs/.gitignore.
    """
    write_file(job.folder / ".gitignore", "*\n")
    (first, text), *others = to.files(job).items()
    for name, more in [*others, (first, text)]:
        write_file(job.folder / name, more)
        show_file(job.folder / name, more)
    give_away(job.folder)


# ------------------------------------------------------------------------------------ the hand-over


@contextmanager
def handling(handler: Callable[[int, Any], None], *signals: int) -> Iterator[None]:
    """Handle signals, but those that are ignored, as nohup wants it."""
    here = [one for one in signals if signal.getsignal(one) != signal.SIG_IGN]
    before = {one: signal.signal(one, handler) for one in here}
    try:
        yield
    finally:
        for one, was in before.items():
            signal.signal(one, was)


@contextmanager
def undisturbed() -> Iterator[list[int]]:
    """Keep the first signal that ends a process for later, and return it; the second one counts."""
    kept: list[int] = []

    def keep(number: int, frame: Any) -> None:
        if kept:
            end_by_signal(number, frame)
        kept.append(number)

    with handling(keep, signal.SIGINT, *ENDING):
        yield kept


def hand_over(to: Scheduler, job: Job) -> tuple[Record, int]:
    """Hand a job over and write job.json; the job, and the exit status.

    A client that was asked is heard out: what is in a queue is known here, too.

    Raises:
        StopError: the client failed.
        SystemExit: it was interrupted.
    """
    project, name = job.project, job.request.name
    with undisturbed() as kept:
        try:
            record = record_of(job, to.submit(job))
        except StopError:
            if not kept:
                raise
            show(f"{to.client} was interrupted. If it was done already, its queue has {name}.")
            raise SystemExit(128 + kept[0]) from None
        try:
            write_record(record)
            give_away(job.folder)
        except (OSError, ProbeError) as error:
            reason = str(error).strip()
            known = {"job": name, "number": record.id, "cluster": record.cluster}
            show_text(str(failed("cluster-job-not-recorded", project, **known, reason=reason)))
            return record, 1
    if kept:
        end = f"{me()} cancel {which(project, record)}"
        show(f"The job was handed over before you interrupted. To end it, run: {end}")
        return record, 128 + kept[0]
    return record, 0


def record_of(job: Job, number: str) -> Record:
    """A job that has an id, as job.json has it."""
    request, image, code = job.request, job.image, job.code
    return Record(
        cluster=request.cluster,
        name=request.name,
        id=number,
        submitted=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=request.command,
        commit=code.commit,
        dirty=code.dirty,
        image=str(image.file) if image.file else image.pinned,
        answers=image.answers,
        nodes=request.nodes,
        gpus=request.gpus,
        door=request.door,
        folder=job.folder,
    )
