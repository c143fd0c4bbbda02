"""SkyPilot: a job is a task in YAML, for `sky jobs launch`, or `sky launch` if it is interactive.

https://docs.skypilot.co/en/latest/reference/yaml-spec.html

The image is the environment of the task: SkyPilot starts a shell of its own in it, as the image's
user, which is root in published images. So the task calls the entrypoint. The code is copied from
this machine when the job is submitted.
https://docs.skypilot.co/en/latest/examples/docker-containers.html
"""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

from ..failures import failed
from .clients import output_of, run_in_terminal, shown_call
from .job import JUPYTER, Job, Scheduler
from .job_file import (
    ENTRYPOINT,
    MASTER_PORT,
    NEW_TOKEN,
    NOTEBOOK_PORT,
    TOKEN_FILE,
    about,
    about_time,
    for_entrypoint,
    limited,
    variables,
)
from .site import ENVIRONMENT_NAME, Key, Keys, wrong_value
from .yaml_text import Lines, Note, yaml_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..project import Project, StopError
    from .job import Record, Request
    from .site import Site

MODES = ("MOUNT", "MOUNT_CACHED", "COPY")
KEYS: Keys = {
    "infra": Key("text", ""),  # kubernetes, aws/eu-central-1; "" is the cheapest that is enabled
    "accelerator": Key("text", ""),  # as `sky gpus list` names it: H100
    "spot": Key("flag", False),
    "disk": Key("size", 0),  # of the machine
    "buckets": Key("tables", [], fields=("source", "path", "mode"), expand=True),
    "secrets": Key("list", []),  # variables of your shell, which the task file does not have
    "idle": Key("time", 3600),  # after which an interactive job is deleted
}
FILE = "task.yaml"
ACCELERATOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


# ------------------------------------------------------------------------------ what is refused


def check(project: Project, site: Site, request: Request) -> None:
    """Raises StopError for a request or a table of the site that SkyPilot cannot fulfil."""
    for key, what in wrong_values(site["skypilot"], request):
        raise wrong_value(project, site, "skypilot", key, what)
    for given, option, why in (
        (request.array, "--array", "Submit a job for each index"),
        (request.tasks > 1, "--tasks", "Each node starts one process. Start more by torchrun"),
    ):
        if given:
            known = {"cluster": "SkyPilot", "option": option, "why": why}
            raise failed("cluster-option-missing", project, **known)
    image = site["image"]
    # Published images are root's, who needs no sudo; dev is its user's.
    is_dev = image["dev"] not in ("", image["name"])
    if request.door and is_dev and "sudo" not in project.extras:
        extras = ", ".join([*project.extras, "sudo"])
        raise failed("cluster-skypilot-sudo", project, extras=f"[{extras}]")


def shared_code(project: Project, site: Site, _: Request) -> str:
    """[storage] code, from which SkyPilot copies. Raises StopError if there is none."""
    if not site["storage"]["code"]:
        raise failed("cluster-code-folder", project, cluster="SkyPilot")
    return str(site["storage"]["code"])


def wrong_values(own: Mapping[str, Any], request: Request) -> Iterator[tuple[str, str]]:
    """The keys whose values cannot be, and what is wrong; continues a sentence."""
    if request.gpus and not ACCELERATOR.fullmatch(own["accelerator"]):
        yield "accelerator", "must name the kind of GPU, such as H100; `sky gpus list` shows them"
    for number, one in enumerate(own["buckets"], 1):
        if not re.fullmatch(r"[a-z0-9]+://.+", one.get("source", "")):
            yield "buckets", f"has an entry {number} without a source such as s3://NAME"
        if not one.get("path", "").startswith("/"):
            yield "buckets", f"has an entry {number} without a path from / on"
        if one.get("mode", MODES[0]) not in MODES:
            yield "buckets", f"has an entry {number} whose mode is none of {', '.join(MODES)}"
    for name in own["secrets"]:
        if not ENVIRONMENT_NAME.fullmatch(name):
            yield "secrets", f'has "{name}", which cannot name a variable'


# --------------------------------------------------------------------------------- the job's file


def files(job: Job) -> dict[str, str]:
    """The task. Raises StopError if the code is not a folder."""
    request, own = job.request, job.site["skypilot"]
    if job.code.folder is None:
        raise failed("cluster-code-folder", job.project, cluster="SkyPilot")
    start = {
        "name": request.name,
        "resources": resources(job),
        "num_nodes": request.nodes if request.nodes > 1 else None,
        "workdir": Note("Copied to ~/sky_workdir when the job is submitted.", str(job.code.folder)),
        "file_mounts": {one["path"]: bucket(one) for one in own["buckets"]} or None,
        "envs": environment(job) or None,
    }
    about_outputs = []
    if not has_bucket(job.site, job.site["storage"]["outputs"]):
        about_outputs = ["# Nothing keeps its outputs: site.toml names no bucket for them."]
    text = "\n".join([*head(job), *about_outputs, "", yaml_text(start)])
    if own["secrets"]:
        text += "# Their values are of the shell that submits: --secret NAME.\nsecrets:\n"
        text += "".join(f"  {name}: null\n" for name in own["secrets"])
    return {FILE: text + yaml_text({"run": Lines(script(job))})}


def head(job: Job) -> list[str]:
    """What the file is, and the command that takes it."""
    return [
        f"# The job {job.request.name} of {job.project.name} for SkyPilot:",
        f"#   {shlex.join(launch(job, FILE))}",
        *(f"# {line}" for line in about(job)),
    ]


def launch(job: Job, file: str) -> list[str]:
    """The command that submits a task file."""
    words = ["sky", "jobs", "launch"]
    if job.request.door:
        words = ["sky", "launch", "--cluster", job.request.name]
    secrets = [word for name in job.site["skypilot"]["secrets"] for word in ("--secret", name)]
    return [*words, "--yes", "--detach-run", *secrets, file]


def resources(job: Job) -> dict[str, Any]:
    """What each node has."""
    request, own = job.request, job.site["skypilot"]
    gibibyte = 2**30
    return {
        "infra": own["infra"] or None,
        "image_id": Note(
            "By digest: a tag may be another image by the time that a node starts.",
            f"docker:{job.image.pinned}",
        ),
        "accelerators": f"{own['accelerator']}:{request.gpus}" if request.gpus else None,
        # + is at least: clouds have fixed sizes.
        "cpus": f"{request.cpus}+" if request.cpus else None,
        "memory": f"{-(-request.memory // gibibyte)}+" if request.memory else None,
        "disk_size": -(-own["disk"] // gibibyte) or None,
        "use_spot": own["spot"] or None,
        "job_recovery": recovery(request),
        "autostop": idle(job),
    }


def recovery(request: Request) -> Note | None:
    """How often the job starts again."""
    if not request.requeue:
        return None
    reason = "How often it starts again after it has failed, or its time was up."
    return Note(reason, {"max_restarts_on_errors": request.requeue})


def idle(job: Job) -> Note | None:
    """When an interactive job ends."""
    if not job.request.door:
        return None
    minutes = max(1, job.site["skypilot"]["idle"] // 60)
    reason = "Deleted when nothing runs on it and nobody is logged in, so that it costs nothing."
    return Note(reason, {"idle_minutes": minutes, "down": True, "wait_for": "jobs_and_ssh"})


def bucket(one: dict[str, str]) -> dict[str, str]:
    """A bucket of a cloud as a folder."""
    return {"source": one["source"], "mode": one.get("mode", MODES[0])}


def environment(job: Job) -> dict[str, str]:
    """The variables of the command."""
    site = job.site
    made = {
        name: site["storage"][key]
        for key, name in (("data", "DATA_DIR"), ("outputs", "OUTPUTS_DIR"))
        if has_bucket(site, site["storage"][key])
    }
    return {**made, **for_entrypoint(job), **variables(job)}


def has_bucket(site: Site, path: str) -> bool:
    """Whether a folder is in a bucket: no other folder of the site is on these machines."""
    roots = [one["path"].rstrip("/") for one in site["skypilot"]["buckets"]]
    return any(f"{path}/".startswith(f"{root}/") for root in roots)


def script(job: Job) -> str:
    """What each node runs, in the folder of the code."""
    request, conda = job.request, job.project.package_manager == "conda"
    lines = [
        "# SkyPilot's shell has put its own Python in front of the image's.",
        ". /etc/profile.d/project.sh",
        f"export {'CONDA_PREFIX' if conda else 'VIRTUAL_ENV'}=/opt/venv CODE_DIR=$PWD",
    ]
    if request.uses_torchrun or request.nodes > 1:
        processes = str(request.gpus or 1)
        lines += [
            "# The first node is where the processes meet. torchrun reads PET_* as its options.",
            'MASTER_ADDR=$(head -n 1 <<<"$SKYPILOT_NODE_IPS")',
            f"export MASTER_ADDR MASTER_PORT={MASTER_PORT}",
            f"export PET_NNODES=$SKYPILOT_NUM_NODES PET_NPROC_PER_NODE={processes}",
        ]
    if request.door == JUPYTER:
        lines.append(NEW_TOKEN)
        words = [*("jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1")]
        words += [f"--port={NOTEBOOK_PORT}"]
    elif request.door:
        return "\n".join([*lines, f"exec {ENTRYPOINT} true", ""])
    else:
        words = [*request.command]
    if request.seconds:
        lines += about_time("SkyPilot")
    words = limited(words, request.seconds)
    return "\n".join([*lines, f"exec {ENTRYPOINT} {shlex.join(words)}", ""])


# ------------------------------------------------------------------------------------ its client


def refused(project: Project, reason: str) -> StopError:
    """The failure of a call of the client."""
    return failed("cluster-skypilot-failed", project, reason=reason)


def submit(job: Job) -> str:
    """Hand the task over; the number of the managed job, or the name of the cluster.

    Raises:
        StopError: SkyPilot refuses it.
    """
    shown_call(job.project, refused, launch(job, str(job.folder / FILE)))
    if job.request.door:
        return job.request.name
    numbers = [
        row["job_id"]
        for row in listed(job.project, "jobs", "queue")
        if row.get("job_name") == job.request.name and isinstance(row.get("job_id"), int)
    ]
    if not numbers:
        raise refused(job.project, "Its list of jobs does not have the new one.")
    return str(max(numbers))


def listed(project: Project, *words: str) -> list[dict[str, Any]]:
    """The rows of a list of SkyPilot's. Raises StopError."""
    said = output_of(project, refused, ["sky", *words, "--output", "json"])
    start = said.find("[")
    try:
        rows = json.JSONDecoder().raw_decode(said[start:])[0] if start >= 0 else []
    except ValueError:
        rows = []
    return [row for row in rows if isinstance(row, dict)]


def states(project: Project, _: Site, records: tuple[Record, ...]) -> dict[str, str]:
    """The states of jobs by their names. Raises StopError."""
    found: dict[str, str] = {}
    if any(not record.door for record in records):
        rows = listed(project, "jobs", "queue", "--all")
        by_number = {str(row.get("job_id")): str(row.get("status")) for row in rows}
        found = {
            record.name: by_number[record.id]
            for record in records
            if not record.door and record.id in by_number
        }
    if any(record.door for record in records):
        clusters = {row.get("name"): str(row.get("status")) for row in listed(project, "status")}
        found.update(
            {one.name: clusters[one.id] for one in records if one.door and one.id in clusters}
        )
    return found


def logs(_: Project, __: Site, record: Record, follow: bool) -> int:
    """Show what a job has printed."""
    words = ["logs"] if record.door else ["jobs", "logs"]
    return run_in_terminal("sky", *words, "--follow" if follow else "--no-follow", record.id)


def cancel(project: Project, _: Site, record: Record) -> None:
    """End a job, or delete the cluster of an interactive one. Raises StopError."""
    words = ["down"] if record.door else ["jobs", "cancel"]
    shown_call(project, refused, ["sky", *words, "--yes", record.id])


def enter(job: Job, number: str) -> tuple[str, ...]:
    """The lines that lead into an interactive job."""
    if job.request.door == JUPYTER:
        return (
            f"ssh {number} cat {TOKEN_FILE}",
            f"ssh -L {NOTEBOOK_PORT}:localhost:{NOTEBOOK_PORT} {number}  # then http://localhost:{NOTEBOOK_PORT}/lab",
        )
    # SkyPilot has written it into ~/.ssh/config, for editors too.
    return (f"ssh {number}",)


SCHEDULER = Scheduler(
    client="sky",
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
