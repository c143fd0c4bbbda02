"""A job as manifests: a Job, a JobSet or a TrainJob, and what brings its code to the nodes.

What the keys mean: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1,
https://jobset.sigs.k8s.io/docs/reference/jobset.v1alpha2 and
https://trainer.kubeflow.org/en/latest (runtimePatches since 2.2).
"""

from __future__ import annotations

import base64
import shlex
from typing import TYPE_CHECKING, Any

from ..failures import failed
from .job import JUPYTER, SSH
from .job_file import NOTEBOOK_PORT, for_entrypoint, literal, variables
from .kubernetes_site import (
    ARRAY,
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
from .kubernetes_volumes import (
    HOMES,
    Mount,
    folders_there,
    mount_lines,
    mounts_of,
    quantity,
    volumes,
    wanted_mounts,
)
from .yaml_text import Inline, Lines, Note, Row, yaml_text

if TYPE_CHECKING:
    from ..project import Project
    from .job import Job, Request

MAIN, CODE = "job.yaml", "code.yaml"  # files
SSH_FILE = "ssh.yaml"
HOME = "/tmp/home"  # noqa: S108  of a pod, whose /tmp is nobody else's
UNFIT = 78  # the exit status of the entrypoint if verify fails
NODE = "node"  # the name of the pods' container, and of the replicated job of a JobSet
DEADLINE = "Then SIGTERM, and SIGKILL after the grace period: the time asked for is both."
# tar refuses names that lead out of the folder. Python's filter against them is not in every image:
# https://docs.python.org/3/library/tarfile.html#extraction-filters
UNPACK = ("tar", "-xzf", "/code/code.tar.gz", "-C", "/workspace")
WAIT = "trap 'exit 0' TERM; sleep infinity & wait"
TOKEN = "$CONTAINER_HOME/.jupyter-token"  # noqa: S105  the name of a file


# --------------------------------------------------------------------------------------- the parts


def words_of(request: Request, project: Project) -> list[str]:
    """What the entrypoint of the image starts."""
    if request.door == SSH:
        return ["/opt/container/sshd.sh"]
    if request.door == JUPYTER:
        # Jupyter takes the file as it is: a line end would be a part of the token.
        make = (
            f"umask 077; python -c 'import secrets; print(end=secrets.token_hex(24))' >\"{TOKEN}\""
        )
        own = f'SHELL=/bin/{project.shell} JUPYTER_TOKEN_FILE="{TOKEN}"'
        start = f"exec env {own} jupyter lab --no-browser --ip=127.0.0.1 --port={NOTEBOOK_PORT}"
        start += " --ServerApp.port_retries=0 --ServerApp.root_dir=/workspace"
        return ["bash", "-c", f"{make}; {start}"]
    return ["bash", "-c", WAIT] if request.door else list(request.command)


def home_of(job: Job) -> str:
    """The home of the command's container."""
    return HOMES if job.request.door and job.site["storage"]["home"] else HOME


def environment(job: Job) -> list[Inline]:
    """The variables of the command's container."""
    request, site = job.request, job.site
    values = {
        "CONTAINER_HOME": home_of(job),
        "DATA_DIR": "/data" if "/data" in {one.path for one in mounts_of(job)} else "",
        "OUTPUTS_DIR": "/outputs",
        "TZ": job.project.settings.get("TZ"),
        **for_entrypoint(job),
    }
    if job.project.accelerator == "cuda" and not request.gpus:
        # Base images ask for all GPUs of a node by this variable, and some clusters heed it.
        values["NVIDIA_VISIBLE_DEVICES"] = "void"
    kind = kind_of(site, request)
    if kind != TRAINJOB and (request.nodes > 1 or request.uses_torchrun):
        # torchrun reads these as its options: https://docs.pytorch.org/docs/stable/elastic/run.html
        values["PET_NNODES"] = str(request.nodes)
        if request.uses_torchrun and request.gpus > 1:
            values["PET_NPROC_PER_NODE"] = str(request.gpus)
    if kind != TRAINJOB and request.nodes > 1:
        first = f"{request.name}-{NODE}-0-0" if kind == JOBSET else f"{request.name}-0"
        values["MASTER_ADDR"] = f"{first}.{request.name}"  # the image knows the port
    values = {name: value for name, value in values.items() if value != ""}
    # An empty one of the user's takes the value of the image away.
    values.update(variables(job))
    return [Inline(name=name, value=literal(str(value))) for name, value in values.items()]


def limits(job: Job) -> Inline:
    """CPUs, memory and GPUs of a node."""
    request = job.request
    values: dict[str, Any] = {"cpu": request.cpus} if request.cpus else {}
    if request.memory:
        values["memory"] = quantity(request.memory)
    if request.gpus:
        values[job.site["kubernetes"]["gpu"]] = request.gpus
    return Inline(values)


def security(job: Job) -> Note:
    """What a pod says of its user.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    user, group = ids(job.project, job.site)
    value = Inline(
        runAsNonRoot=True,
        runAsUser=user,
        runAsGroup=group,
        fsGroup=group,
        fsGroupChangePolicy="OnRootMismatch",
        seccompProfile=Inline(type="RuntimeDefault"),
    )
    return Note(
        "Restricted Pod Security. OnRootMismatch: no start sets the group of each file of a claim.",
        value,
    )


LOCKED = Inline(
    allowPrivilegeEscalation=False,
    readOnlyRootFilesystem=True,
    capabilities=Inline(drop=["ALL"]),
)


def preparation(job: Job) -> list[dict[str, Any]] | None:
    """The container that runs before the command's: for its folders, and for its code."""
    folders = folders_there(job.project, job.site, job.request)
    whole = {one.volume: Mount(one.volume, f"/mnt/{one.volume}") for one in folders}
    mounts, steps, reasons = [*whole.values()], [], []
    if folders:
        paths = [f"/mnt/{one.volume}/{one.sub_path}" for one in folders]
        steps.append(shlex.join(["mkdir", "-p", *paths]))
        reasons.append("Makes folders as this user, not as root.")
    if job.code.archive:
        mounts += [Mount("archive", "/code", read_only=True), Mount("code", "/workspace")]
        steps.append(shlex.join(UNPACK))
        reasons.append(f"Unpacks the commit, which {CODE} brings.")
    if not steps:
        return None
    # Namespaces with a quota want limits of each container.
    small = Inline({key: one for key, one in limits(job).items() if "/" not in key})
    made = {
        "name": "prepare",
        "image": job.image.pinned,
        "command": Note(" ".join(reasons), ["sh", "-c", literal(" && ".join(steps))]),
        "resources": Inline(limits=small) if small else None,
        "securityContext": LOCKED,
        "volumeMounts": mount_lines(mounts),
    }
    return [made]


def placement(job: Job) -> dict[str, Any]:
    """Where pods may run, and what they need of the namespace."""
    site = job.site["kubernetes"]
    secrets = [Inline(name=name) for name in site["image_pull_secrets"]]
    return {
        "serviceAccountName": site["service_account"] or None,
        "priorityClassName": site["priority_class"] or None,
        "nodeSelector": Inline(site["node_selector"]) if site["node_selector"] else None,
        "tolerations": [Inline(one) for one in site["tolerations"]] or None,
        "imagePullSecrets": Row(secrets) if secrets else None,
    }


def pod(job: Job) -> dict[str, Any]:
    """The template of the pods of a Job or a JobSet."""
    request, site = job.request, job.site["kubernetes"]
    deadline = time_to_run(request.seconds, site["grace"])
    return {
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": Note(DEADLINE, deadline or None),
            "terminationGracePeriodSeconds": Note("To write a checkpoint.", site["grace"]),
            "automountServiceAccountToken": Note(
                "The command needs no access to the cluster's API.", False
            ),
            "enableServiceLinks": Note(
                "No variables named after Services, which programs may take for settings.",
                False,
            ),
            "subdomain": request.name if is_indexed(job) and not request.array else None,
            **placement(job),
            "securityContext": security(job),
            "initContainers": preparation(job),
            "containers": [container(job)],
            "volumes": volumes(job),
        },
    }


def container(job: Job) -> dict[str, Any]:
    """The container of the command."""
    words = words_of(job.request, job.project)
    return {
        "name": NODE,
        "image": job.image.pinned,
        "args": Note(
            "For the image's entrypoint, which becomes this command.",
            [literal(one) for one in words],
        ),
        "resources": Note(
            "The requests are the same.",
            Inline(limits=limits(job)) if limits(job) else None,
        ),
        "env": environment(job),
        "securityContext": LOCKED,
        "volumeMounts": mount_lines(mounts_of(job)),
    }


def time_to_run(seconds: int, grace: int) -> int:
    """When SIGTERM comes: the grace period is a part of the time, unless that is too short."""
    return seconds - grace if seconds > 2 * grace else seconds


def labels(job: Job) -> Inline:
    """By which the objects of a job are found; those of its pods are set by their controllers."""
    prefix = "app.kubernetes.io"
    return Inline({f"{prefix}/name": job.project.name, f"{prefix}/instance": job.request.name})


def is_indexed(job: Job) -> bool:
    """Whether a plain Job has several pods with numbers."""
    several = job.request.nodes > 1 or bool(job.request.array)
    return several and kind_of(job.site, job.request) == JOB


# ----------------------------------------------------------------------------------- the documents


def head(job: Job, version: str, kind: str) -> dict[str, Any]:
    """What each object begins with."""
    request, site = job.request, job.site["kubernetes"]
    queue = {"kueue.x-k8s.io/queue-name": site["queue"]} if site["queue"] else {}
    notes: dict[str, Any] = {
        "code-commit": job.code.commit,
        "code-changes": job.code.dirty,
        "image-answers": job.image.answers,
    }
    notes = {key: value for key, value in notes.items() if value}
    if job.image.answers:
        notes["image-answers"] = Note("What it was built from.", job.image.answers)
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {
            "name": request.name,
            "namespace": site["namespace"],
            "labels": Inline({**labels(job), **queue}),
            "annotations": notes or None,
        },
    }


def suspended(job: Job) -> Note:
    """Kueue's part: it starts what is made suspended."""
    queue = job.site["kubernetes"]["queue"]
    return Note(f"Kueue starts it when {queue} has room.", True if queue else None)


def lifetime(job: Job) -> Note:
    """How long a finished object is kept."""
    seconds = job.site["kubernetes"]["ttl"]
    time = f"{seconds / 86400:g} days" if seconds % 86400 == 0 else f"{seconds / 3600:.3g} hours"
    return Note(f"The job and its output are deleted {time} after its end.", seconds or None)


def plain_job(job: Job) -> dict[str, Any]:
    """A Job: one pod, an array of independent pods, or several that find each other."""
    request = job.request
    found = ARRAY.fullmatch(request.array)
    count = int(found[2] or 0) + 1 if found else request.nodes
    at_once = min(int(found[4] or count), count) if found else count
    again = "A command that fails is not started again."
    if request.requeue:
        again = "The command starts again after the end of its time; any other failure counts, too."
    spec: dict[str, Any] = {
        "suspend": suspended(job),
        "ttlSecondsAfterFinished": lifetime(job),
    }
    if is_indexed(job):
        spec["completionMode"] = Note(
            "JOB_COMPLETION_INDEX is the number of a pod, from 0.", "Indexed"
        )
        spec.update(completions=count, parallelism=at_once)
    if request.array:
        spec["backoffLimitPerIndex"] = Note(f"{again} The other pods go on.", request.requeue)
    else:
        spec["backoffLimit"] = Note(again, request.requeue)
    if request.verify and request.requeue:
        codes = Inline(containerName=NODE, operator="In", values=[UNFIT])
        action = "FailIndex" if request.array else "FailJob"
        spec["podFailurePolicy"] = Note(
            f"{UNFIT} means that the node does not fit the image, and no repetition helps.",
            Inline(rules=[Inline(action=action, onExitCodes=codes)]),
        )
    spec["template"] = pod(job)
    return {**head(job, "batch/v1", "Job"), "spec": spec}


def service(job: Job) -> dict[str, Any]:
    """What gives a Job's pods names.

    https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication
    """
    name = job.request.name
    namespace = job.site["kubernetes"]["namespace"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": Inline(name=name, namespace=namespace),
        "spec": {
            "clusterIP": Note(
                "Headless: it only gives each pod a name, NAME-0.NAME and so on.", "None"
            ),
            "publishNotReadyAddresses": Note("Pods look for the first one as they start.", True),
            "selector": Inline({"batch.kubernetes.io/job-name": name}),
        },
    }


def job_set(job: Job) -> dict[str, Any]:
    """A JobSet: nodes that start, and start again, together.

    What JobSet does by itself is not in it: each pod has a name and an index, and there is one Job.
    https://github.com/kubernetes-sigs/jobset/blob/main/pkg/webhooks/jobset_webhook.go (Default)
    """
    request = job.request
    template = {
        "completions": request.nodes,
        "parallelism": request.nodes,
        "backoffLimit": Note("One node that fails ends all of them.", 0),
        "template": pod(job),
    }
    return {
        **head(job, "jobset.x-k8s.io/v1alpha2", "JobSet"),
        "spec": {
            "suspend": suspended(job),
            "ttlSecondsAfterFinished": lifetime(job),
            "failurePolicy": Note(
                "All nodes start again together, after the end of their time or a failure.",
                Inline(maxRestarts=request.requeue) if request.requeue else None,
            ),
            # A coordinator would be named in a label, which holds 63 characters.
            "replicatedJobs": [{"name": NODE, "template": {"spec": template}}],
        },
    }


def train_job(job: Job) -> dict[str, Any]:
    """A TrainJob: a runtime of the cluster's admin, with this image, command and pod."""
    request, site = job.request, job.site["kubernetes"]
    one = container(job)
    deadline = time_to_run(request.seconds, site["grace"])
    where = placement(job)
    where.pop("priorityClassName")
    patch = {
        **where,
        "terminationGracePeriodSeconds": Note("To write a checkpoint.", site["grace"]),
        "securityContext": security(job),
        "containers": [
            {
                "name": NODE,
                "securityContext": one["securityContext"],
                "volumeMounts": one["volumeMounts"],
            }
        ],
        "volumes": volumes(job),
    }
    pods = {"template": {"spec": patch}}
    replicated = [{"name": NODE, "template": {"spec": pods}}]
    return {
        **head(job, "trainer.kubeflow.org/v1alpha1", "TrainJob"),
        "spec": {
            "suspend": suspended(job),
            "activeDeadlineSeconds": Note(DEADLINE, deadline or None),
            "runtimeRef": Note(
                "It gives torchrun its addresses and ranks.", Inline(name=site["runtime"])
            ),
            "trainer": {
                "numNodes": request.nodes,
                "numProcPerNode": max(request.gpus, 1) if request.uses_torchrun else 1,
                "image": one["image"],
                "args": one["args"],
                "resourcesPerNode": one["resources"],
                "env": one["env"],
            },
            "runtimePatches": [
                {
                    "manager": Note(
                        "Whose changes of the runtime these are.", "template.sh/submit"
                    ),
                    "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": replicated}}},
                }
            ],
        },
    }


def config_map(job: Job, name: str, content: dict[str, Any]) -> str:
    """A ConfigMap that a job brings with it."""
    metadata = {
        "name": f"{job.request.name}-{name}",
        "namespace": job.site["kubernetes"]["namespace"],
        "labels": labels(job),
    }
    start = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True}
    return yaml_text({**start, **content})


def ssh_data(job: Job) -> dict[str, Any]:
    """What the ssh server of an interactive job needs. Raises StopError: nobody may log in."""
    from ..ask import read_text  # noqa: PLC0415  few jobs have a server
    from ..ssh import login_keys  # noqa: PLC0415  only projects with ssh have it

    keys = read_text(login_keys(job.project))
    user, group = ids(job.project, job.site)
    entry = f"{account(job.site)}:*:{user}:{group}::{home_of(job)}:/bin/{job.project.shell}"
    return {
        "ssh_keys": Note("Who may log in.", Lines(keys)),
        "passwd": Note(
            "sshd takes name, home and shell of the user from /etc/passwd.",
            Lines(f"{entry}\nroot:*:0:0::/root:/bin/false\n"),
        ),
    }


def files(job: Job) -> dict[str, str]:
    """The manifests of a job; the first is the job itself.

    Raises:
        StopError: the site or the request cannot be; a folder is on no claim.
    """
    check_site(job.project, job.site)
    check_request(job.project, job.site, job.request)
    wanted_mounts(job.project, job.site, job.request)
    kind = kind_of(job.site, job.request)
    if kind == TRAINJOB and job.code.archive:
        raise failed("kubernetes-archive", job.project)
    document = {JOB: plain_job, JOBSET: job_set, TRAINJOB: train_job}[kind](job)
    texts = [yaml_text(document)]
    if is_indexed(job) and not job.request.array:
        texts.append(yaml_text(service(job)))
    more: dict[str, str] = {}
    if job.code.archive:
        content = base64.b64encode(job.code.archive).decode("ascii")
        more[CODE] = config_map(job, "code", {"binaryData": {"code.tar.gz": content}})
    if job.request.door == SSH:
        more[SSH_FILE] = config_map(job, "ssh", {"data": ssh_data(job)})
    names = " ".join(f"-f {name}" for name in (*more, MAIN))
    client = " ".join(shlex.quote(word) for word in client_words(job.site))
    about = f"# The job {job.request.name} of {job.project.name}."
    intro = f"{about} Without template.sh, in this folder:\n# {client} create {names}\n"
    return {MAIN: intro + "---\n".join(texts), **more}
