"""Jobs on Kubernetes, by kubectl: plain Jobs, Kueue by its label, JobSet, Kubeflow Trainer."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

from ..ask import Output, command, gather, read_json
from ..compose import show, show_text
from ..failures import failed
from .claims import is_shared, make_folders
from .job import JUPYTER, SSH, Scheduler
from .job_file import ENTRYPOINT, NOTEBOOK_PORT
from .kubernetes_manifest import MAIN, NODE, TOKEN, files
from .kubernetes_site import (
    JOB,
    JOBSET,
    TRAINJOB,
    account,
    check_request,
    check_site,
    client_words,
    ids,
    kind_of,
)
from .kubernetes_volumes import folders_here, wanted_mounts
from .site import Key, Keys

if TYPE_CHECKING:
    from ..project import Project, StopError
    from .job import Job, Record, Request
    from .site import Site

KEYS: Keys = {
    "context": Key("text", "", env="CLUSTER_CONTEXT"),  # of kubectl; never its current one
    "namespace": Key("text", "", env="CLUSTER_NAMESPACE"),
    # What runs a job of several nodes; one node, or an array, is always a plain Job.
    "kind": Key("text", JOB, choices=(JOB, JOBSET, TRAINJOB)),
    "runtime": Key("text", "torch-distributed"),  # a ClusterTrainingRuntime, for trainjob
    "queue": Key("text", ""),  # a LocalQueue of Kueue
    "priority_class": Key("text", ""),
    "gpu": Key("text", "nvidia.com/gpu"),  # or nvidia.com/mig-1g.10gb
    "shm": Key("size", 0),  # of /dev/shm; 0 is half of the memory
    "grace": Key("time", 120),  # between SIGTERM and SIGKILL, for a checkpoint
    "ttl": Key("time", 7 * 86400),  # how long a finished job is kept; 0 for ever
    "secret": Key("text", ""),  # a Secret with a key for each token; /run/secrets
    "service_account": Key("text", ""),
    "image_pull_secrets": Key("list", []),
    "node_selector": Key("table", {}),
    "tolerations": Key("tables", [], fields=("key", "operator", "value", "effect")),
    # path: in the container; here: on this machine.
    "claims": Key(
        "tables", [], fields=("claim", "path", "here", "sub_path", "read_only"), expand=True
    ),
}

LIMIT = 20.0  # seconds for an answer of the cluster
PAUSE = 3.0  # seconds between two looks at a job
MOST_PODS = 1000  # whose output is followed at once
HAND_OVER = 120.0  # seconds for a file of a megabyte
QUEUES, RUNTIMES = "localqueues.kueue.x-k8s.io", "clustertrainingruntimes.trainer.kubeflow.org"
JOBSETS, TRAINJOBS = "jobsets.jobset.x-k8s.io", "trainjobs.trainer.kubeflow.org"
NODES = "nodes"
OF_ALL = ("namespaces", RUNTIMES, "priorityclasses")  # not of one namespace
# What a client says of a cluster that cannot be asked; whatever else it says is about one question.
SILENT = re.compile(
    "Unable to connect|connection refused|was refused|timed? ?out|deadline exceeded|no such host|"
    "Unauthorized|must be logged in|certificate|getting credentials|ServiceUnavailable",
    re.IGNORECASE,
)


def ask(site: Site, *words: str, limit: float = LIMIT) -> Output:
    """What kubectl says. Never raises."""
    within = f"--request-timeout={limit:.0f}s"
    return command([*client_words(site), within, *words], limit + 5)


def reason(said: Output) -> str:
    """Why kubectl failed, in its own words."""
    if said.timed_out:
        return f"nothing within {LIMIT:.0f} seconds"
    lines = [line for line in said.err.splitlines() if line and not line.startswith("Warning:")]
    start = r"^(error: |Error from server[^:]*: )?(error when creating \"[^\"]*\": )?"
    return re.sub(start, "", lines[-1]).rstrip(".?!") if lines else "nothing"


def kubectl_for(site: Site) -> str:
    """The client for the site, as a word of the shell."""
    return " ".join(shlex.quote(word) for word in client_words(site))


def place_of_jobs(site: Site) -> dict[str, str]:
    """Which cluster and namespace a failure is about."""
    return {key: site["kubernetes"][key] for key in ("context", "namespace")}


def silent(project: Project, site: Site, said: Output) -> StopError:
    """The failure of a cluster that cannot be asked."""
    return failed("kubernetes-silent", project, line=reason(said), **place_of_jobs(site))


# --------------------------------------------------------------------------------------- before it


def wanted_objects(site: Site, request: Request) -> list[tuple[str, str]]:
    """What has to be in the cluster: kinds and names."""
    table, kind = site["kubernetes"], kind_of(site, request)
    found = [
        ("namespaces", table["namespace"]),
        (QUEUES, table["queue"]),
        (RUNTIMES, table["runtime"] if kind == TRAINJOB else ""),
        ("priorityclasses", table["priority_class"]),
        ("serviceaccounts", table["service_account"]),
        ("secrets", table["secret"]),
        *(("secrets", name) for name in table["image_pull_secrets"]),
        *(("persistentvolumeclaims", claim["claim"]) for claim in table["claims"]),
        (JOBSETS, request.name if kind == JOBSET else ""),
        (TRAINJOBS, request.name if kind == TRAINJOB else ""),
        ("jobs.batch", request.name if kind == JOB else ""),
    ]
    return [(kind, name) for kind, name in dict.fromkeys(found) if name]


def check(project: Project, site: Site, request: Request) -> None:
    """Refuse what this site's cluster cannot do.

    Raises:
        StopError: a value of site.toml or of the request; kubectl, if it is here, knows no such
            context; the cluster is silent; something that the job needs is not there.
    """
    check_site(project, site)
    ids(project, site)
    check_request(project, site, request)
    wanted_mounts(project, site, request)
    table = site["kubernetes"]
    if not which("kubectl"):
        return
    if command(["kubectl", "config", "get-contexts", table["context"], "-o", "name"], LIMIT).status:
        raise failed("kubernetes-context", project, **place_of_jobs(site))
    wanted = wanted_objects(site, request)

    def look(kind: str, name: str) -> Output:
        return ask(site, "get", kind, name, "--ignore-not-found", "--output=name")

    sources = {f"{kind} {name}": lambda one=(kind, name): look(*one) for kind, name in wanted}
    answers = gather({**sources, NODES: lambda: gpus_of_nodes(site)}, LIMIT + 10)
    for kind, name in wanted:
        said = answers.get(f"{kind} {name}", Output(None, timed_out=True))
        if said.status != 0 and (said.timed_out or SILENT.search(said.err)):
            raise silent(project, site, said)
        if "doesn't have a resource type" in said.err:
            raise failed("kubernetes-no-kind", project, kind=kind, **place_of_jobs(site))
        # Without the right to look, the cluster says so itself later.
        is_there = bool(said.out.strip()) if said.status == 0 else None
        is_new = kind in (JOBSETS, TRAINJOBS, "jobs.batch")
        if is_new and is_there:
            raise failed("kubernetes-name-taken", project, job=name, **place_of_jobs(site))
        if not is_new and is_there is False:
            raise missing(project, site, kind, name)
    check_gpus(project, site, request, answers.get(NODES, Output(None)))


def gpus_of_nodes(site: Site) -> Output:
    """The GPUs of each node that the job may be on, as numbers; nodes without GPUs say nothing.

    The cluster says it to those who may list its nodes.
    """
    resource = site["kubernetes"]["gpu"].replace(".", r"\.")
    labels = [f"{name}={value}" for name, value in site["kubernetes"]["node_selector"].items()]
    output = f"--output=jsonpath={{.items[*].status.allocatable.{resource}}}"
    return ask(site, "get", "nodes", f"--selector={','.join(labels)}", output)


def check_gpus(project: Project, site: Site, request: Request, said: Output) -> None:
    """Raises StopError for more GPUs than the largest node has, which Kubernetes would queue.

    Where [limits] says how many a node has, that counts: an autoscaler may add larger nodes.
    """
    counts = [int(one) for one in said.out.split() if one.isdigit()]
    if site["limits"]["gpus"] or said.status != 0 or not counts or request.gpus <= max(counts):
        return
    about = {"most": f"{max(counts)}", "asked": f"{request.gpus}", **place_of_jobs(site)}
    resource = site["kubernetes"]["gpu"]
    column = resource.replace(".", r"\.")
    raise failed("kubernetes-gpus", project, resource=resource, column=column, **about)


def shared_code(project: Project, site: Site, request: Request) -> str:
    """[storage] code, "" if it is on no claim that this machine has, too, as that of Slurm may be.

    Raises:
        StopError: it is needed.
    """
    path = str(site["storage"]["code"])
    if path and is_shared(site["kubernetes"]["claims"], path):
        return path
    if kind_of(site, request) == TRAINJOB:
        raise failed("kubernetes-archive", project)
    return ""


def missing(project: Project, site: Site, kind: str, name: str) -> StopError:
    """The failure of something that is not in the cluster."""
    known = {"kind": kind, "thing": name, **place_of_jobs(site)}
    if kind == "secrets" and name == site["kubernetes"]["secret"]:
        # From files, because every user of this machine sees the words of a command.
        folder = project.settings.path("SECRETS_DIR") or Path.home() / ".secrets"
        return failed("kubernetes-no-secret", project, path=str(folder), **known)
    if kind in OF_ALL:
        known["cause"] = f"The cluster has no {name} among its {kind}."
    return failed("kubernetes-missing", project, **known)


# ------------------------------------------------------------------------------------ handing over


def submit(job: Job) -> str:
    """Give the manifests to the cluster, all or none; TYPE/NAME of the job's object.

    Raises:
        StopError: the cluster refuses them; a folder cannot be made.
    """
    make_folders(job.project, folders_here(job.site, job.request))
    made: list[str] = []
    names = [*sorted(name for name in files_of(job) if name != MAIN), MAIN]
    for name in names:  # what the job needs is there before it
        said = create(job, job.folder / name)
        made += said.out.split()  # of a file with two objects, it may have taken one
        if said.status != 0:
            for one in made:
                ask(job.site, "delete", one, "--wait=false", "--ignore-not-found")
            raise refused(job, said)
    number = next(one for one in made if one.partition("/")[0] in IDS)
    belong_to(job.site, number, [one for one in made if one != number])
    return number


IDS = ("job.batch", "jobset.jobset.x-k8s.io", "trainjob.trainer.kubeflow.org")


def files_of(job: Job) -> list[str]:
    """The manifests in the folder of a job."""
    return [file.name for file in job.folder.glob("*.yaml")]


def create(job: Job, file: Path) -> Output:
    """Make what a manifest describes; never change what is there, as `apply` would."""
    words = ("create", "--output=name", f"--filename={file}")
    return ask(job.site, *words, limit=HAND_OVER)


def refused(job: Job, said: Output) -> StopError:
    """The failure of a manifest that the cluster did not take."""
    if said.timed_out or SILENT.search(said.err):
        return silent(job.project, job.site, said)
    known = {"job": job.request.name, "line": reason(said), **place_of_jobs(job.site)}
    if "AlreadyExists" in said.err:
        return failed("kubernetes-name-taken", job.project, **known)
    if len(said.err.splitlines()) > 1:
        show_text(said.err.strip())
    return failed("kubernetes-refused", job.project, **known)


def belong_to(site: Site, owner: str, others: list[str]) -> None:
    """Let what a job brought with it be deleted with the job's object."""
    if not others:
        return
    found = read_json(ask(site, "get", owner, "--output=json").out)
    if not found:
        return
    about = found["metadata"]
    one = {"apiVersion": found["apiVersion"], "kind": found["kind"]}
    patch = {"metadata": {"ownerReferences": [{**one, "name": about["name"], "uid": about["uid"]}]}}
    for other in others:
        said = ask(site, "patch", other, "--type=merge", f"--patch={json.dumps(patch)}")
        if said.status != 0:
            client = kubectl_for(site)
            show(f"{other} is not deleted with the job. Later, run: {client} delete {other}")


# --------------------------------------------------------------------------------------- after it


def selector(number: str) -> str:
    """By which the pods of a job are found: the labels that their controllers set."""
    kind, _, name = number.partition("/")
    return f"{'job-name' if kind == IDS[0] else 'jobset.sigs.k8s.io/jobset-name'}={name}"


def state_of(item: dict[str, Any]) -> str:
    """The state of a Job, a JobSet or a TrainJob, in its own words."""
    status = item.get("status") or {}
    conditions = [one for one in status.get("conditions") or () if one.get("status") == "True"]
    for one in conditions:
        if one["type"] == "Failed":
            return f"Failed ({one['reason']})" if one.get("reason") else "Failed"
    for name in ("Complete", "Completed", "Suspended"):
        if any(one["type"] == name for one in conditions):
            return name
    counts = [
        status,
        *(status.get("replicatedJobsStatus") or ()),
        *(status.get("jobsStatus") or ()),
    ]
    if any(one.get("ready") for one in counts):
        return "Running"
    return "Pending"


def pods_of(site: Site, number: str) -> list[dict[str, Any]]:
    """The pods of a job that are still there."""
    said = ask(site, "get", "pods", f"--selector={selector(number)}", "--output=json")
    items: list[dict[str, Any]] = read_json(said.out).get("items") or []
    return items


def exit_statuses(site: Site, number: str) -> list[int]:
    """What the containers of a job ended with, where the pods are still there."""
    statuses = (
        one
        for pod in pods_of(site, number)
        for one in (pod.get("status") or {}).get("containerStatuses") or ()
    )
    ended = [(one.get("state") or {}).get("terminated") for one in statuses if one["name"] == NODE]
    return [int(one.get("exitCode", 0)) for one in ended if one]


def waits_for(pods: list[dict[str, Any]]) -> str:
    """Why the first of some pods has not started, "" if one has."""
    found = "a node, or a queue"
    for pod in pods[::-1]:
        status = pod.get("status") or {}
        if status.get("phase") != "Pending":
            return ""
        for one in status.get("conditions") or ():
            if one.get("type") == "PodScheduled" and one.get("status") == "False":
                found = one.get("message") or found
        for name in ("initContainerStatuses", "containerStatuses"):
            for one in status.get(name) or ():
                waiting = (one.get("state") or {}).get("waiting") or {}
                if waiting.get("reason") not in (None, "PodInitializing"):
                    found = ": ".join(filter(None, (waiting["reason"], waiting.get("message"))))
    return found


def pause() -> None:
    """Wait between two looks at a job."""
    time.sleep(PAUSE)


def wait_for_start(project: Project, site: Site, record: Record) -> None:
    """Wait until a pod of a job has started, or the job has ended, and say why.

    Raises:
        StopError: the cluster is silent.
    """
    known = ""
    while True:
        why = waits_for(pods_of(site, record.id))
        state = states(project, site, (record,)).get(record.name, "") if why else ""
        if not why or state not in ("Pending", "Suspended"):
            return
        if why != known:
            show(f"{record.name} is {state.lower()}, and waits for: {why}")
        known = why
        pause()


def states(project: Project, site: Site, records: tuple[Record, ...]) -> dict[str, str]:
    """The states of jobs that the cluster still knows. Raises StopError: it is silent."""
    check_site(project, site)
    wanted = {record.id: record.name for record in records}
    if not wanted:
        return {}
    said = ask(site, "get", *wanted, "--ignore-not-found", "--output=json")
    if said.status != 0:
        raise silent(project, site, said)
    answer = read_json(said.out)  # of one object, or a list of several
    items = answer.get("items", [answer] if answer.get("kind") else [])
    found: dict[str, str] = {}
    for item in items:
        kind, name = item["kind"].lower(), item["metadata"]["name"]
        for number, job in wanted.items():
            if number.split(".")[0] == kind and number.partition("/")[2] == name:
                found[job] = state_of(item)
                if found[job].startswith("Failed"):
                    bad = [one for one in exit_statuses(site, number) if one]
                    found[job] += f", exit status {bad[0]}" if bad else ""
    return found


def logs(project: Project, site: Site, record: Record, follow: bool) -> int:
    """Show what the pods of a job print; of several, each line with the pod's name.

    Returns:
        kubectl's exit status.

    Raises:
        StopError: the site is not complete, or the cluster is silent.
    """
    check_site(project, site)
    if follow:
        wait_for_start(project, site, record)
    words = ["logs", f"--selector={selector(record.id)}", f"--container={NODE}", "--tail=-1"]
    words += ["--follow", f"--max-log-requests={MOST_PODS}"] if follow else []
    words += ["--prefix"] if record.nodes > 1 or len(pods_of(site, record.id)) > 1 else []
    return subprocess.call([*client_words(site), *words])


def cancel(project: Project, site: Site, record: Record) -> None:
    """End a job: its pods get SIGTERM and the grace period, then its object is deleted.

    Raises:
        StopError: the cluster does not do it.
    """
    check_site(project, site)
    words = ("--cascade=foreground", "--wait=false", "--ignore-not-found")
    said = ask(site, "delete", record.id, *words)
    if said.status != 0:
        if said.timed_out or SILENT.search(said.err):
            raise silent(project, site, said)
        raise failed("kubernetes-refused", project, line=reason(said), **place_of_jobs(site))


def enter(job: Job, number: str) -> tuple[str, ...]:
    """The lines that lead into an interactive job, once its pod runs."""
    client, pod = kubectl_for(job.site), shlex.quote(number.replace("job.batch/", "job/"))
    choose = f"--selector={selector(number)}"
    wait = f"{client} wait pod {choose} --for=condition=Ready --timeout=1h"
    if job.request.door == SSH:
        alias = f"HostKeyAlias={job.project.name}-{job.request.name}"
        words = ["-p", "2222", "-o", "StrictHostKeyChecking=accept-new", "-o", alias]
        here = ["ssh", *words, f"{account(job.site)}@127.0.0.1"]
        return wait, f"{client} port-forward {pod} 2222:2222", " ".join(map(shlex.quote, here))
    if job.request.door == JUPYTER:
        token = shlex.quote(f'echo "http://127.0.0.1:{NOTEBOOK_PORT}/lab?token=$(cat "{TOKEN}")"')
        page = f"{client} exec {pod} -c {NODE} -- sh -c {token}"
        return wait, page, f"{client} port-forward {pod} {NOTEBOOK_PORT}:{NOTEBOOK_PORT}"
    # The entrypoint gives the shell the same environment as a command.
    return (
        wait,
        f"{client} exec -it {pod} -c {NODE} -- {ENTRYPOINT} {job.project.shell}",
    )


SCHEDULER = Scheduler(
    client="kubectl",
    kind_of_image=lambda _: "registry",
    shared_code=shared_code,
    check=check,
    files=files,
    submit=submit,
    states=states,
    logs=logs,
    cancel=cancel,
    enter=enter,
)
