"""Slurm: a request becomes a script for sbatch, and Slurm's clients say what became of it."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ..ask import capture, command
from ..compose import show, show_text
from ..failures import explain, failed
from ..ports import account_here
from ..project import USAGE, StopError, me
from .amounts import as_clock, duration
from .job import JUPYTER, SSH, Record, Scheduler
from .site import SITE_FILE, Key, editing, wrong_value
from .slurm_file import (
    APPTAINER,
    EDF,
    EDF_FILE,
    ENTER_FILE,
    JOB_FILE,
    PYXIS,
    UNFIT,
    entrypoint,
    files,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..project import Project
    from .job import Job, Request
    from .site import Keys, Site

KEYS: Keys = {
    # What starts containers: apptainer, pyxis (enroot), or edf (CSCS, a file of its own).
    "container": Key("text", APPTAINER, choices=(APPTAINER, PYXIS, EDF)),
    "partition": Key("text", "", env="CLUSTER_PARTITION"),
    "account": Key("text", "", env="CLUSTER_ACCOUNT"),
    "qos": Key("text", ""),
    "reservation": Key("text", ""),
    "constraint": Key("text", ""),
    "gpus": Key("text", "gpus-per-node", choices=("gpus-per-node", "gres")),  # how to ask for them
    "gpu_type": Key("text", ""),  # such as a100, as the site's Gres has it
    "setup": Key("list", []),  # lines of bash before the container, such as module load apptainer
    "options": Key("list", []),  # of sbatch, such as --exclusive
    "interface": Key("text", ""),  # of the network between nodes, such as ib0
    "warning": Key("time", 120),  # before the time limit
    "mpi": Key("text", ""),  # srun --mpi=: pmix, pmi2 or none
    "annotations": Key("table", {}),  # of CSCS' file, such as com.hooks.cxi.enabled
}
PATIENCE = 10.0  # seconds that a client has to answer
POLL = 1.0  # seconds between two looks at the output
LOOKS = 5  # at the output, for each question about the state
# What the options of sbatch and srun may have. Their own quotes would not hold other characters.
PLAIN = re.compile(r"[\w.,:=@+*&|()\[\]!%/-]*", re.ASCII)
OPTION = re.compile(r"--?[A-Za-z][\w-]*([= ][^\n\"'\\$`]*)?", re.ASCII)
ANNOTATION = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*", re.ASCII)
# Variables of bash, the loader, Slurm and what starts containers, and those of the job file.
OF_SCRIPT = re.compile(
    r"PATH|HOME|CONTAINER_HOME|USER|IFS|ENV|E?UID|PPID|PWD|SHELL\w*|BASH\w*|LD_\w+|GCONV_PATH|status|warned|"
    r"(SLURM|SBATCH|SRUN|APPTAINER|APPTAINERENV|SINGULARITY|SINGULARITYENV|PYXIS|ENROOT|EDF)_\w+",
    re.ASCII,
)
NO_OUTPUT = re.compile(r"[\"\\\x00-\x1f\x7f]")  # in the name of the file of what a job prints
GPU_COUNT = re.compile(r"(?:^|,)gpu(?::[^:,()]+)?:(\d+)")
EXIT = re.compile(r"(\d+)(?::(\d+))?")


# ------------------------------------------------------------------------------ before submission


def kind_of_image(site: Site) -> str:
    """What the site's containers are started from: sif, sqsh or registry."""
    if site["slurm"]["container"] == APPTAINER:
        return "sif"
    return "sqsh" if site["image"]["files"] else "registry"


def check(project: Project, site: Site, request: Request) -> None:
    """Raises StopError for what this Slurm cannot do; what it does not say is accepted."""
    check_values(project, site)
    check_names(project, site, request)
    check_folders(project, site)
    name = site["slurm"]["partition"]
    known = partitions()
    if not known:
        return
    if name and not set(name.split(",")) <= set(known):
        missing = ", ".join(one for one in name.split(",") if one not in known)
        cause = f"This Slurm has no partition {missing}. It has: {', '.join(sorted(known))}."
        remedy = editing(project, site.line("slurm", "partition"))
        if "CLUSTER_PARTITION" in project.settings.environ:  # it counts before the others
            remedy = "unset CLUSTER_PARTITION"
        elif project.settings.get("CLUSTER_PARTITION"):
            remedy = f"{me()} env --set CLUSTER_PARTITION="
        raise failed("slurm-partition", project, cause=cause, remedy=remedy)
    chosen = [known[one] for one in name.split(",")] if name else default_of(known)
    check_limits(project, request, chosen)
    check_account(project, site)
    tell_of_missing(site)


def check_values(project: Project, site: Site) -> None:
    """Raises StopError for a value that sbatch would read as something else."""
    table = site["slurm"]
    for key in ("partition", "account", "qos", "reservation", "constraint", "gpu_type", "mpi"):
        if not PLAIN.fullmatch(table[key]):
            what = f'is "{table[key]}", which Slurm cannot have as a name'
            raise wrong_value(project, site, "slurm", key, what)
    for one in table["options"]:
        if not OPTION.fullmatch(one):
            what = f'has "{one}", but an option is like --exclusive'
            raise wrong_value(project, site, "slurm", "options", what)
    for name in table["annotations"]:
        if not ANNOTATION.fullmatch(name):
            what = f'has "{name}", but an annotation is like com.hooks.NAME'
            raise wrong_value(project, site, "slurm", "annotations", what)


def check_names(project: Project, site: Site, request: Request) -> None:
    """Raises StopError for a variable that means something to the script itself."""
    for name in (*site["environment"], *request.environment):
        if OF_SCRIPT.fullmatch(name):
            what = "would change the script of the job itself. Set it for the program: "
            what += f"env {name}=VALUE COMMAND"
            if name in request.environment:
                raise StopError(f"{name} {what}.", f"{me()} submit --help", name=USAGE)
            raise wrong_value(project, site, "environment", name, what)


def check_folders(project: Project, site: Site) -> None:
    """Raises StopError for a folder whose name an option cannot have."""
    storage = site["storage"]
    for key in ("code", "data", "outputs", "home", "secrets"):
        if UNFIT.search(storage[key]):
            what = 'has a , : " or \\ in it, which no mount can have'
            raise wrong_value(project, site, "storage", key, what)
    for one in storage["mounts"]:
        if any(UNFIT.search(part) for part in one.split(":")):
            what = f'has "{one}", but no mount can have a , " or \\ in it'
            raise wrong_value(project, site, "storage", "mounts", what)
    if NO_OUTPUT.search(str(project.folder)):
        raise failed("slurm-folder", project, path=str(project.folder))


def tell_of_missing(site: Site) -> None:
    """Name the folders that this machine does not have: nodes mostly have the same ones."""
    storage = site["storage"]
    found = [(key, storage[key]) for key in ("data", "secrets")]
    found += [("mounts", one.partition(":")[0]) for one in storage["mounts"]]
    for key, path in found:
        if path and not Path(path).exists():
            show(f"This machine has no {path}, which is {key} of [storage] in {SITE_FILE}.")
            show("  Nodes that do not have it either start no job.")


def partitions() -> dict[str, dict[str, str]]:
    """The partitions by their names, as scontrol has them; nothing if it does not say."""
    said = command(["scontrol", "--oneliner", "show", "partition"], PATIENCE)
    if said.status:
        return {}
    every = (dict(re.findall(r"(\w+)=(\S*)", line)) for line in said.out.splitlines())
    return {one["PartitionName"]: one for one in every if "PartitionName" in one}


def default_of(known: dict[str, dict[str, str]]) -> list[dict[str, str]]:
    """The partition that jobs get which name none."""
    return [one for one in known.values() if one.get("Default") == "YES"]


def check_limits(project: Project, request: Request, chosen: list[dict[str, str]]) -> None:
    """Raises StopError if each of the partitions allows less time, fewer nodes, or has no GPU.

    Slurm itself would keep such a job in the queue for ever.
    """
    refusals = [refusal(project, request, one) for one in chosen]
    if refusals and all(refusals):
        raise refusals[0] or AssertionError


def refusal(project: Project, request: Request, partition: dict[str, str]) -> StopError | None:
    """Why a partition cannot have the job; None if nothing is known against it."""
    name = partition["PartitionName"]
    longest = seconds_of(partition.get("MaxTime", ""))
    if request.seconds and longest and request.seconds > longest:
        cause = f"The partition {name} ends jobs after {as_clock(longest)}, and this one asks for "
        return failed("slurm-time", project, cause=f"{cause}{as_clock(request.seconds)}.")
    counts = [partition.get(key, "") for key in ("MaxNodes", "TotalNodes")]
    nodes = min((int(one) for one in counts if one.isdigit()), default=request.nodes)
    if request.nodes > nodes:
        cause = f"A job in the partition {name} may have {nodes} nodes at most, and this one asks "
        return failed("slurm-nodes", project, cause=f"{cause}for {request.nodes}.")
    known = nodes_of(name) if request.gpus or request.cpus else []
    if not known:
        return None
    gpus, cpus = (max(one[at] for one in known) for at in (0, 1))
    if request.gpus > gpus:
        has = f"has {gpus} GPUs for each node at most" if gpus else "has no GPUs"
        cause = f"The partition {name} {has}, and this job asks for {request.gpus}."
        return failed("slurm-no-gpus", project, cause=cause)
    if request.cpus > cpus:
        cause = f"A node of the partition {name} has {cpus} CPUs at most, and this job asks for "
        return failed("slurm-nodes-unfit", project, cause=f"{cause}{request.cpus}.")
    return None


def nodes_of(partition: str) -> list[tuple[int, int]]:
    """The GPUs and CPUs of each kind of node of a partition; nothing if it is not known."""
    call = ["sinfo", "--noheader", "--exact", f"--partition={partition}", "--format=%c %G"]
    said = command(call, PATIENCE)
    # 64 gpu:a100:4(S:0-1),gpu:h100:4 or 64 (null)
    every = [] if said.status else re.findall(r"(?m)^(\d+) +(\S+)", said.out)
    return [(sum(map(int, GPU_COUNT.findall(gres))), int(cpus)) for cpus, gres in every]


def seconds_of(limit: str) -> int:
    """The seconds of a time limit as Slurm has it; 0 for none."""
    try:
        return duration(limit)
    except ValueError:  # UNLIMITED, NONE
        return 0


def check_account(project: Project, site: Site) -> None:
    """Raises StopError for an account that the user does not have, if sacctmgr can say."""
    account = site["slurm"]["account"]
    if not account:
        return
    call = ["sacctmgr", "--noheader", "--parsable2", "show", "associations", "format=Account"]
    said = command([*call, f"user={site['user']['name']}"], PATIENCE)
    accounts = set(said.out.split())
    if not said.status and accounts and account.lower() not in accounts:
        names = ", ".join(sorted(accounts))
        cause = f"You have no account {account} here. You have: {names}."
        raise failed("slurm-account", project, cause=cause)


# ------------------------------------------------------------------------------------- the job


def submit(job: Job) -> str:
    """Hand the script over. Raises StopError."""
    said = capture("sbatch", "--parsable", str(job.folder / JOB_FILE))
    if said.stderr:
        show_text(said.stderr.rstrip())
    number = said.stdout.strip().partition(";")[0]  # ID;CLUSTER, where there are several
    if said.returncode or not number.isdigit():
        raise failure_of(job.project, said.stderr, "sbatch")
    return number


def failure_of(project: Project, text: str, client: str) -> StopError:
    """The failure of a client."""
    line = next(iter(text.strip().splitlines()[::-1]), "")
    known = {"client": client, "line": line or "it says nothing"}
    found = explain(project, text)
    # A row that is of something else, such as of a build, only looks alike.
    is_ours = found and found.name.startswith("slurm-")
    return found if found and is_ours else failed("slurm-client", project, **known)


def states(project: Project, _: Site, every: tuple[Record, ...]) -> dict[str, str]:
    """Slurm's words by the names of jobs. Raises StopError if it does not answer."""
    found: dict[str, Counter[str]] = {}
    for record in every:
        found[record.id] = Counter()
    ids = ",".join(found)
    form = "--Format=ArrayJobID:|,State:|,exit_code:|,Reason:|"
    said = command(
        ["squeue", "--noheader", "--array", "--states=all", f"--jobs={ids}", form], PATIENCE
    )
    if said.status and "Invalid job id" not in said.err:
        raise failure_of(project, said.err or "squeue did not answer", "squeue")
    for line in said.out.splitlines():
        number, state, status, reason = (one.strip() for one in line.split("|")[:4])
        if number in found:
            found[number][in_words(state, status, reason)] += 1
    gone = [number for number, words in found.items() if not words]
    for number, word in accounted(gone):
        if number in found:
            found[number][word] += 1
    return {one.name: joined(found[one.id]) for one in every if found[one.id]}


def accounted(gone: list[str]) -> Iterator[tuple[str, str]]:
    """Ids and states of jobs that have left the queue, where the site accounts for jobs."""
    if not gone:
        return
    call = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State,ExitCode"]
    said = command([*call, f"--jobs={','.join(gone)}"], PATIENCE)
    for line in said.out.splitlines():
        number, state, status = [*line.split("|"), "", ""][:3]
        yield re.split(r"[_+]", number)[0], in_words(state.partition(" ")[0], status, "")


def in_words(state: str, status: str, reason: str) -> str:
    """A state, with what explains it."""
    if state == "PENDING" and reason not in ("", "None"):
        return f"{state} ({reason})"
    found = EXIT.fullmatch(status)
    if state == "FAILED" and found:
        # As wait() has it, or as two numbers: the status, and the signal that ended it.
        code, number = (int(one) for one in found.groups(default="-1"))
        code, number = (code >> 8, code & 127) if number < 0 else (code, number)
        return f"{state} (signal {number})" if number else f"{state} (status {code})"
    return state


def joined(words: Counter[str]) -> str:
    """The states of an array: those that have not ended first."""
    order = sorted(words, key=lambda one: (not one.startswith(("RUNNING", "PENDING")), one))
    if sum(words.values()) == 1:
        return order[0]
    return ", ".join(f"{one} {words[one]}" for one in order)


def outputs(record: Record) -> list[Path]:
    """The files of what a job has printed, those of an array by their indices."""
    found = [one for one in record.folder.glob("*.out") if re.match(rf"{record.id}[_.]", one.name)]
    return sorted(found, key=lambda one: [int(number) for number in re.findall(r"\d+", one.name)])


def is_going_on(project: Project, site: Site, record: Record) -> bool:
    """Whether a job may still print something."""
    from .jobs import has_ended  # noqa: PLC0415  it needs this module

    state = states(project, site, (record,)).get(record.name, "")
    return bool(state) and not has_ended(state)


def logs(project: Project, site: Site, record: Record, follow: bool) -> int:
    """Print what a job has printed; with `follow`, until it ends."""
    read: dict[Path, int] = {}
    print_new(record, read)
    if not read:
        state = states(project, site, (record,)).get(record.name, "it is no longer in the queue")
        show(f"{record.name} has printed nothing yet: {state}.")
    look = 0
    while follow:
        if look % LOOKS == 0 and not is_going_on(project, site, record):
            print_new(record, read)  # what was written since the last look
            return 0
        time.sleep(POLL)
        look += 1
        print_new(record, read)
    return 0


def print_new(record: Record, read: dict[Path, int]) -> None:
    """Print what was added to the output; `read` has how much of each file was printed."""
    every = outputs(record)
    for file in every:
        with file.open("rb") as source:
            source.seek(read.get(file, 0))
            data = source.read()
        if data and len(every) > 1:
            sys.stdout.write(f"==> {file.name} <==\n")
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        read[file] = read.get(file, 0) + len(data)


def cancel(project: Project, _: Site, record: Record) -> None:
    """End a job. Raises StopError."""
    said = capture("scancel", record.id)
    if said.returncode:
        raise failure_of(project, said.stderr, "scancel")


# ------------------------------------------------------------------------------- interactive jobs


def enter(job: Job, number: str) -> tuple[str, ...]:
    """The lines that lead into an interactive job.

    Those of ssh and of a shell need no port that is open on the node, which others may be on.
    """
    door, login = job.request.door, job.site["user"]["login"]
    if door == SSH:
        return (ssh_line(job, number, login or account_here()),)
    if door != JUPYTER:
        return (at(login, "-t", [*inside(job, number, "--pty"), "bash"]),)
    port = str(10000 + int(number) % 20000)
    said = f'echo "http://127.0.0.1:{port}/lab?token=$(cat ~/.jupyter-token-{number})"'
    address = at(login, "", [*inside(job, number), "bash", "-c", said])
    login = login or account_here()
    node = at(login, "", ["squeue", "--noheader", f"--jobs={number}", "--format=%N"])
    jump = f"-J {shlex.quote(login)} " if login else ""
    return (f'ssh -N {jump}-L {port}:127.0.0.1:{port} "$({node})"', address)


def at(login: str, option: str, words: Iterable[str]) -> str:
    """A command for a login node; for this machine without one."""
    line = shlex.join(words)
    return (
        " ".join(filter(None, ["ssh", option, shlex.quote(login), shlex.quote(line)]))
        if login
        else line
    )


def ssh_line(job: Job, number: str, login: str) -> str:
    """The call of ssh to a server that each connection starts in the container, as a step.

    Its key is new in each job, unless its home is kept.
    """
    step = [*inside(job, number, "--unbuffered"), "/opt/container/sshd.sh", "-i"]  # not by lines
    alias = f"{job.project.name}-{'slurm' if job.site['storage']['home'] else number}"
    known = f"-o HostKeyAlias={alias} -o StrictHostKeyChecking=accept-new"
    user = shlex.quote(job.site["user"]["name"])
    proxy = at(login, "", step).replace("%", "%%")  # ssh has its own words after a %
    return f"ssh -o ProxyCommand={shlex.quote(proxy)} {known} {user}@{alias}"


def inside(job: Job, number: str, *more: str) -> Iterator[str]:
    """The start of a command in the container of an interactive job, on its node."""
    yield from ("srun", "--quiet", f"--jobid={number}", "--overlap")
    kind = job.site["slurm"]["container"]
    if kind == APPTAINER:
        yield from ("--export=PATH,HOME,USER,TERM", *more, "bash", f"{job.folder}/{ENTER_FILE}")
        return
    home = job.site["storage"]["home"] or f"/tmp/job-{number}"  # noqa: S108  as in the job file
    yield from (f"--export=PATH,HOME,USER,TERM,SCRATCH,CONTAINER_HOME={home}", *more)
    if kind == PYXIS:
        # Pyxis names a container after its step. The first one has unpacked the code, if any.
        yield f"--container-name={number}.{0 if job.code.folder else 1}"
    else:
        yield f"--environment={job.folder}/{EDF_FILE}"
    yield from entrypoint(job)


SCHEDULER = Scheduler(
    client="sbatch",
    kind_of_image=kind_of_image,
    shared_code=lambda _, site, __: str(site["storage"]["code"]),
    check=check,
    files=files,
    submit=submit,
    states=states,
    logs=logs,
    cancel=cancel,
    enter=enter,
)
