"""Jobs that were handed to schedulers: what is known of them here, their states, logs and ends.

A job NAME of a cluster is the folder deploy/CLUSTER/jobs/NAME of docker-amd64, with the files that
were handed over and job.json. A folder without job.json is that of a job that is being submitted.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..ask import read_json, read_text
from ..checkout import listed
from ..compose import show
from ..engine_words import engine_program
from ..failures import failed
from ..files import write_file
from ..jobs import NOTHING_CHANGED
from ..jobs import jobs as local_jobs
from ..plain import columns
from ..project import USAGE, StopError, me
from ..turn import turn
from .job import Record
from .request import NAME
from .schedulers import scheduler
from .site import read_site

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from ..project import Project

FILE = "job.json"
DEV = "dev"  # the container, for `logs`
HERE = "here"  # in place of a cluster: this machine, with its jobs of `run -d`
ENDED, UNKNOWN = "ended", "unknown"  # its scheduler does not know it any more; does not answer
# How the words begin that schedulers have for jobs in which nothing happens any more.
FINAL = (
    *("boot_fail", "cancelled", "canceled", "complete", "deadline", "deleted", ENDED, "error"),
    *("fail", "node_fail", "out_of_me", "revoked", "stopped", "succeeded", "timeout"),
)
HEAD = ("JOB", "ON", "ID", "STATE", "NODESxGPUS", "SUBMITTED", "COMMAND")
ID = re.compile(r"[A-Za-z0-9][\w./:-]*", re.ASCII)  # of a scheduler; no option of its client
WIDTH = 60  # characters of a command in the table


# ------------------------------------------------------------------------------ what is known here


def jobs_folder(project: Project, cluster: str) -> Path:
    """Where the jobs of a cluster have their folders."""
    return project.folder / "deploy" / cluster / "jobs"


def write_record(record: Record) -> None:
    """Write job.json into the folder of a job, in one step. Raises ProbeError."""
    write_file(record.folder / FILE, json.dumps(as_data(record), indent=1) + "\n")


def as_data(record: Record) -> dict[str, Any]:
    """A job as JSON has it."""
    data = record._asdict()
    del data["folder"]
    return data


def read_record(folder: Path) -> Record | None:
    """The job of a folder; None if it has no job.json, or one that cannot be read."""
    data = read_json(read_text(folder / FILE))
    kinds = {"command": list, "nodes": int, "gpus": int}
    found: dict[str, Any] = {name: data.get(name) for name in Record._fields if name != "folder"}
    if not all(isinstance(value, kinds.get(name, str)) for name, value in found.items()):
        return None
    # They become words of clients, and --clean removes the folder.
    if not ID.fullmatch(found["id"]) or not NAME.fullmatch(folder.name) or folder.is_symlink():
        return None
    found.update(command=tuple(map(str, found["command"])), folder=folder)
    # A folder that somebody has renamed is a job of that name.
    return Record(**{**found, "cluster": folder.parents[1].name, "name": folder.name})


def records(project: Project, cluster: str = "") -> tuple[Record, ...]:
    """The jobs of a cluster, or of all clusters, the oldest first."""
    found = [
        read_record(folder)
        for name in ([cluster] if cluster else project.clusters)
        for folder in jobs_folder(project, name).glob("*/")
    ]
    return tuple(sorted(filter(None, found), key=lambda one: (one.submitted, one.name)))


def find_record(project: Project, verb: str, name: str, cluster: str) -> Record | None:
    """The job of a name; None if there is none. Raises StopError if two clusters have one."""
    check_cluster(project, cluster)
    found = [one for one in records(project, cluster) if one.name == name]
    if len(found) > 1:
        raise twice(project, verb, name, [one.cluster for one in found])
    return found[0] if found else None


def twice(project: Project, verb: str, name: str, clusters: list[str]) -> StopError:
    """The failure of a name that several jobs have."""
    known = {"job": name, "clusters": " and ".join(clusters), "cluster": clusters[0], "verb": verb}
    return failed("cluster-job-twice", project, **known)


def need_record(project: Project, verb: str, name: str, cluster: str) -> Record:
    """The job of a name. Raises StopError."""
    found = find_record(project, verb, name, cluster)
    if not found:
        names = listed([one.name for one in records(project, cluster)][::-1], 5)
        cause = f"No job {name} was submitted. "
        cause += f"There are: {names}." if names else "There are none."
        raise failed("cluster-job-missing", project, cause=cause)
    return found


def which(project: Project, record: Record) -> str:
    """What tells a job from the others in a command: its name, with its cluster where needed."""
    same = [one for one in records(project) if one.name == record.name]
    on = f" --on {record.cluster}" if len(same) > 1 else ""
    return f"{shlex.quote(record.name)}{on}"


# ------------------------------------------------------------------------------------- the clients


def on_option(parser: argparse._ActionsContainer, text: str) -> None:
    """The option that chooses a cluster."""
    parser.add_argument("--on", metavar="CLUSTER", default="", help=text)


def check_cluster(project: Project, name: str) -> None:
    """Raises StopError for a cluster that the project does not have; "" stands for any."""
    if name and name not in project.clusters:
        known = ", ".join(project.clusters)
        raise StopError(
            f"This project has no cluster {name}. Its answers name: {known}.",
            f"{me()} jobs",
            name=USAGE,
        )


def need_client(project: Project, cluster: str, remedy: str = "") -> None:
    """Raises StopError where the client of a scheduler is not on this machine."""
    client = scheduler(cluster).client
    if not shutil.which(client):
        known = {"remedy": remedy} if remedy else {}
        raise failed("cluster-client-missing", project, client=client, cluster=cluster, **known)


def states(project: Project, every: tuple[Record, ...]) -> tuple[dict[Path, str], list[str]]:
    """The states of jobs by their folders, and the clusters that do not answer, which are named."""
    found: dict[Path, str] = {}
    silent: list[str] = []
    for cluster in dict.fromkeys(one.cluster for one in every):
        of_cluster = tuple(one for one in every if one.cluster == cluster)
        try:
            need_client(project, cluster)
            said = scheduler(cluster).states(project, read_site(project), of_cluster)
        except StopError as error:
            silent.append(cluster)
            show(f"{cluster} does not say what its jobs do. {' '.join(str(error).split())}")
            found.update({one.folder: UNKNOWN for one in of_cluster})
        else:
            found.update({one.folder: said.get(one.name, ENDED) for one in of_cluster})
    return found, silent


def has_ended(state: str) -> bool:
    """Whether nothing happens any more in a job, or in any job of an array, of such a state."""
    words = state.lower()
    return words.startswith(FINAL) and "running" not in words and "pending" not in words


# ------------------------------------------------------------------------------------------- verbs


def jobs_options(parser: argparse.ArgumentParser) -> None:
    """In which form, and of which cluster."""
    on_option(parser, "only those of this cluster")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    text = "remove the files and output of jobs that have ended, and checkouts that none needs"
    parser.add_argument("--clean", action="store_true", help=text)
    parser.add_argument("-y", "--yes", action="store_true", help="with --clean: do not ask")


def do_jobs(project: Project, options: argparse.Namespace) -> int:
    """List the submitted jobs, or clean up; 1 if a scheduler did not say their states."""
    check_cluster(project, options.on)
    every = records(project, options.on)
    for path in damaged(project, options.on):
        show(f"{path} cannot be read: this job is not listed.")
    found, silent = states(project, every)
    if options.clean:
        clean(project, [one for one in every if has_ended(found[one.folder])], yes=options.yes)
    elif options.json:
        rows = [
            {**as_data(one), "state": found[one.folder], "folder": str(one.folder)} for one in every
        ]
        print(json.dumps(rows, indent=1))
    elif every:
        print("\n".join(table(every, found)))
    else:
        show(f"No job was submitted from here. Run: {me()} submit --help")
    return 1 if silent else 0


def damaged(project: Project, cluster: str) -> list[Path]:
    """The files job.json that are there and cannot be read."""
    clusters = [cluster] if cluster else project.clusters
    files = [one for name in clusters for one in jobs_folder(project, name).glob(f"*/{FILE}")]
    return [one for one in sorted(files) if read_record(one.parent) is None]


def spare_checkouts(project: Project, ended: list[Path]) -> list[Path]:
    """The checkouts that no job needs, when those of some folders have ended.

    While one may be needed by a job of which that is not known, there are none, and it is said.
    """
    from .checkouts import unused_checkouts  # noqa: PLC0415  only --clean needs it

    every = [one for name in project.clusters for one in jobs_folder(project, name).glob("*/")]
    others = {one: read_record(one) for one in every if one not in ended}
    # Of a job that is being submitted, or is damaged, it is not known which checkout it has.
    unknown = [path for path, one in others.items() if not one]
    if unknown:
        show(
            f"No checkout is removed: {listed([str(one) for one in unknown])} may need one, "
            "because its submission is not finished. If no submit runs, remove that folder."
        )
        return []
    with suppress(StopError):  # the code is in no repository
        known = [one for one in others.values() if one]
        return unused_checkouts(project, read_site(project), known)
    return []


def clean(project: Project, ended: list[Record], *, yes: bool) -> None:
    """Remove jobs that have ended, and the checkouts that no other job has, after a question.

    Raises:
        StopError: there is no terminal to ask on, and `yes` is not set.
    """
    from .checkouts import remove_checkout  # noqa: PLC0415  only --clean needs it

    spare = spare_checkouts(project, [job.folder for job in ended])
    if not ended and not spare:
        show("No job has ended, and no checkout is left over.")
        return
    show("These jobs have ended, or no job needs these checkouts:")
    for path in [*(one.folder for one in ended), *spare]:
        show(f"  {path}")
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        sentence = "jobs --clean asks before it removes these, and there is no terminal to ask on."
        raise StopError(sentence, f"{me()} jobs --clean --yes", name=USAGE)
    from ..update import yes as ask  # noqa: PLC0415  only this question needs it

    if not yes and not ask("Remove them?", default=False):
        show(NOTHING_CHANGED)
        return
    for record in ended:
        shutil.rmtree(str(record.folder))
    if not spare:
        return
    with turn(spare[0].parent, "jobs"):  # submit waits for it
        still = spare_checkouts(project, [])  # a job was perhaps submitted before the answer
        for path in [one for one in spare if one in still]:
            remove_checkout(path)


def table(every: tuple[Record, ...], found: dict[Path, str]) -> list[str]:
    """The jobs in lines under a heading."""
    rows = [
        (
            *(one.name, one.cluster, one.id, found[one.folder]),
            *(f"{one.nodes}x{one.gpus}", one.submitted, command(one)),
        )
        for one in every
    ]
    return columns([HEAD, *rows])


def command(record: Record) -> str:
    """The command of a job in one line, cut where it is long."""
    text = " ".join(" ".join(map(shlex.quote, record.command)).split())
    text = text or f"(interactive: {record.door})"
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."


def summary(project: Project) -> str:
    """The submitted jobs in one line, the newest first, as `ls` has it; "" without any."""
    names = [one.name for one in records(project)][::-1]
    return f"Submitted to clusters: {listed(names, 5)}. Run: {me()} jobs\n" if names else ""


def logs_options(parser: argparse.ArgumentParser) -> None:
    """What `logs` takes for submitted jobs."""
    text = f"the cluster of JOB, or {HERE}, if both have a job of this name"
    on_option(parser.add_argument_group("Clusters"), text)


def is_local(project: Project, name: str) -> bool:
    """Whether the engine has a job of a name, of `run -d`; it is asked only if there is one."""
    if not shutil.which(engine_program()):
        return False
    with suppress(StopError):  # it does not run
        return any(one.name == name for one in local_jobs(project))
    return False


def logs_of_job(project: Project, options: argparse.Namespace) -> int | None:
    """Show what a submitted job has printed, by its scheduler's client; the exit status.

    None if no job of this name was submitted, so that it may be one of `run -d`. Raises StopError.
    """
    if options.on == HERE:
        return None
    if options.on:
        record: Record | None = need_record(project, "logs", options.job, options.on)
    else:
        record = find_record(project, "logs", options.job, "")
    if not record:
        if options.job == DEV or not records(project) or is_local(project, options.job):
            return None
        record = need_record(project, "logs", options.job, "")
    if not options.on and is_local(project, record.name):
        raise twice(project, "logs", record.name, [record.cluster, HERE])
    if options.tail or options.timestamps:
        raise StopError(
            "logs of a submitted job knows neither --tail nor --timestamps.",
            f"{me()} logs {which(project, record)}",
            name=USAGE,
        )
    need_client(project, record.cluster)
    return scheduler(record.cluster).logs(project, read_site(project), record, options.follow)


def cancel_options(parser: argparse.ArgumentParser) -> None:
    """Which job."""
    parser.add_argument("job", metavar="JOB", help="as jobs lists it")
    on_option(parser, "its cluster, if two have a job of this name")


def do_cancel(project: Project, options: argparse.Namespace) -> None:
    """End a job, by its scheduler's client."""
    record = need_record(project, "cancel", options.job, options.on)
    need_client(project, record.cluster)
    site, here = read_site(project), scheduler(record.cluster)
    state = here.states(project, site, (record,)).get(record.name, ENDED)
    if has_ended(state):
        show(f"The job {record.name} has ended already: {state}.")
        return
    here.cancel(project, site, record)
    show(f"Cancelled {record.name} ({record.id} of {record.cluster}).")
