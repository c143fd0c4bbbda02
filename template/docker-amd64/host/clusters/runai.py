"""Run:ai: a job is a shell script with one call of its command line, of version 2 or the older one.

https://docs.nvidia.com/run-ai/self-hosted/reference/cli/runai (v2)
https://github.com/run-ai/docs/tree/master/docs/Researcher/cli-reference (v1: runai submit)

Its pods see claims only, each as a whole: so the code, data and outputs of a job are folders in
them, which CODE_DIR, DATA_DIR and OUTPUTS_DIR name.
"""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ..failures import failed
from .claims import is_shared, make_folders, on_no_claim, on_this_machine, place, wrong_claims
from .clients import output_of, run_in_terminal, shown_call
from .job import JUPYTER, SSH, Job, Scheduler
from .job_file import (
    ENTRYPOINT,
    NEW_TOKEN,
    NOTEBOOK_PORT,
    TOKEN_FILE,
    about,
    about_time,
    for_entrypoint,
    limited,
    literal,
    variables,
)
from .site import ENVIRONMENT_NAME, Key, Keys, wrong_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..project import Project, StopError
    from .job import Record, Request
    from .site import Site

V1, V2 = "v1", "v2"
PRIORITIES = ("very-low", "low", "medium-low", "medium", "medium-high", "high", "very-high")
KEYS: Keys = {
    "cli": Key("text", V2, choices=(V2, V1)),  # the version of the command line
    "project": Key("text", "", env="CLUSTER_PROJECT"),
    "node_pools": Key("list", []),  # the first that has room is taken
    "claims": Key("tables", [], fields=("claim", "path", "here"), expand=True),
    "secrets": Key("table", {}),  # VARIABLE = "SECRET/KEY", a Secret of Kubernetes
    "large_shm": Key("flag", True),
    "priority": Key("text", "", choices=("", *PRIORITIES)),  # v2
    "preemptible": Key("flag", False),  # of interactive jobs: beyond the quota, until reclaimed
    "credential": Key("text", ""),  # v2: your credential for the registry
}
# The names of the options in both versions.
NAMES = {
    V1: {"gpus": "--gpu", "cpus": "--cpu", "memory": "--memory"},
    V2: {
        "gpus": "--gpu-devices-request",
        "cpus": "--cpu-core-request",
        "memory": "--cpu-memory-request",
    },
}
FILE = "job.sh"
PLAIN = re.compile(r"[A-Za-z0-9_./:=,@%+-]+")  # a word that no shell changes
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")  # in Kubernetes
JUPYTER_SCRIPT = f"""\
{NEW_TOKEN}
exec jupyter lab --no-browser --allow-root --ip=127.0.0.1 --port={NOTEBOOK_PORT} \\
    --ServerApp.root_dir="$PWD"
"""
TEMPORARY = "/tmp/job-"  # noqa: S108  /tmp of a pod is its own
ABOUT_HOME = "A home in the pod, so that jobs do not meet in a shared one."
ABOUT_KEPT_HOME = "The home of interactive jobs: servers of editors and caches are kept in it."
NO_SSH = (
    "The user ID of a pod has no name, and ssh servers let in users by name. "
    "Use --interactive, or --interactive=jupyter"
)


# ------------------------------------------------------------------------------ what is refused


def check(project: Project, site: Site, request: Request) -> None:
    """Raises StopError for a request or a table of the site that Run:ai cannot fulfil."""
    if not NAME.fullmatch(site["runai"]["project"]):
        raise failed("cluster-runai-project", project)
    for key, what in wrong_values(site["runai"]):
        raise wrong_value(project, site, "runai", key, what)
    for given, name, why in (
        (request.array, "--array", "Submit a job for each index"),
        (request.tasks > 1, "--tasks", "It starts one process in each pod. Start more by torchrun"),
        (request.door == SSH, "--interactive=ssh", NO_SSH),
    ):
        if given:
            known = {"cluster": "Run:ai", "option": name, "why": why}
            raise failed("cluster-option-missing", project, **known)


def wrong_values(own: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The keys whose values cannot be, and what is wrong; continues a sentence."""
    for what in (*wrong_claims(own["claims"]), *wrong_paths(own["claims"])):
        yield "claims", what
    for name, value in own["secrets"].items():
        secret, _, key = value.partition("/")
        if not all(map(NAME.fullmatch, (secret, key))) or not ENVIRONMENT_NAME.fullmatch(name):
            yield "secrets", f'has {name}, whose value must be "SECRET/KEY"'
    for pool in own["node_pools"]:
        if not NAME.fullmatch(pool):
            yield "node_pools", f'has "{pool}", which is not a name'
    if own["credential"] and not NAME.fullmatch(own["credential"]):
        yield "credential", "is not a name"
    for key in ("priority", "credential"):
        if own[key] and own["cli"] == V1:
            yield key, 'needs cli = "v2": version 1 does not have the option'


def wrong_paths(claims: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What is wrong with the paths of claims, which are parts of an option with commas."""
    for number, claim in enumerate(claims, 1):
        path = claim.get("path", "")
        if path in ("", "/") or "," in path:
            yield f"has an entry {number} without a path that pods can have, such as /scratch"


# --------------------------------------------------------------------------------- the job's file


def files(job: Job) -> dict[str, str]:
    """The script that submits the job. Raises StopError for a folder that no claim has."""
    request, cli = job.request, job.site["runai"]["cli"]
    words, script = container_command(request)
    lines = [*head(job), "set -euo pipefail", "", "arguments=("]
    lines += [f"    {line}" for line in arguments(job)]
    lines += [")"]
    if script:
        lines += encoded(script)
        words = ["bash", "-c", "source <(base64 -d <<<$JOB_COMMAND)"]
    submit_words = {
        V1: ["runai", "submit-dist", "pytorch"] if request.nodes > 1 else ["runai", "submit"],
        V2: ["runai", *kind(bool(request.door), request.nodes), "submit"],
    }[cli]
    name = [request.name] if cli == V2 else ["--name", request.name]
    call_words = shlex.join([*submit_words, *name])
    lines += [
        "",
        *reason_of_time(request),
        f'{call_words} "${{arguments[@]}}" -- {shlex.join(words)}',
    ]
    return {FILE: "\n".join([*lines, ""])}


def head(job: Job) -> list[str]:
    """What the file is."""
    return [
        "#!/bin/bash",
        f"# The job {job.request.name} of {job.project.name}, for Run:ai.",
        f"# Hand it over where you are logged in, by: bash {FILE}",
        *(f"# {line}" for line in about(job)),
    ]


def kind(interactive: bool, nodes: int) -> list[str]:
    """The words of version 2 for a kind of workload."""
    if interactive:
        return ["workspace"]
    return ["training", "pytorch" if nodes > 1 else "standard"]


def reason_of_time(request: Request) -> list[str]:
    """What to say of the time limit."""
    if not request.seconds:
        return []
    if request.door:
        return ["# Run:ai has no time limit: the job ends by itself."]
    return about_time("Run:ai")


def arguments(job: Job) -> Iterator[str]:
    """The options of the call, each unusual one with its reason before it."""
    request, own, user = job.request, job.site["runai"], job.site["user"]
    cli = own["cli"]
    names = NAMES[cli]
    yield option("--project", own["project"])
    yield "# By digest: a tag may be another image by the time that the job starts."
    yield option("--image", job.image.pinned)
    if own["credential"]:
        yield "# Your credential for the registry, as Run:ai keeps it."
        yield option("--image-pull-my-credentials", f"type=dockerRegistry,name={own['credential']}")
    yield from resources(request, names, cli)
    if own["node_pools"]:
        pools = [",".join(own["node_pools"])] if cli == V1 else own["node_pools"]
        yield " ".join(option("--node-pools", pool) for pool in pools)
    if own["large_shm"]:
        yield "# Without it, /dev/shm has 64 MB, too little for the workers of a DataLoader."
        yield "--large-shm"
    yield "# Yours, so that you own the files that the job writes."
    yield f"{option('--run-as-uid', str(user['id']))} {option('--run-as-gid', str(user['group']))}"
    for one in own["claims"]:
        claim, path = one["claim"], one["path"]
        yield (
            option("--pvc", f"{claim}:{path}")
            if cli == V1
            else option("--existing-pvc", f"claimname={claim},path={path}")
        )
    yield "# A claim is mounted as a whole, so the code and the outputs are folders in it."
    yield option("--working-dir", code_folder(job))
    for name, value in environment(job).items():
        if name == "CONTAINER_HOME":
            yield f"# {ABOUT_HOME if value.startswith(TEMPORARY) else ABOUT_KEPT_HOME}"
        yield option("-e", f"{name}={literal(value)}")
    if own["secrets"]:
        yield "# The values are in Secrets of Kubernetes, and not in this file."
    for name, value in own["secrets"].items():
        secret, _, key = value.partition("/")
        yield (
            option("-e", f"{name}=SECRET:{secret},{key}")
            if cli == V1
            else option("--env-secret", f"{name}={secret},key={key}")
        )
    yield from lifecycle(request, own)


def resources(request: Request, names: Mapping[str, str], cli: str) -> Iterator[str]:
    """What each pod gets."""
    if request.nodes > 1:
        yield "# Beside the first pod, which Run:ai calls the master."
        yield option("--workers", str(request.nodes - 1))
    if request.gpus:
        yield option(names["gpus"], str(request.gpus))
        if request.nodes > 1 and cli == V2:
            yield option("--master-gpu-devices-request", str(request.gpus))
    if request.cpus:
        yield option(names["cpus"], str(request.cpus))
    if request.memory:
        mebibytes = -(-request.memory // 2**20)
        size = f"{mebibytes}Mi" if mebibytes % 1024 else f"{mebibytes // 1024}Gi"
        yield option(names["memory"], size)


def lifecycle(request: Request, own: Mapping[str, Any]) -> Iterator[str]:
    """How the job is scheduled, and started again."""
    v1 = own["cli"] == V1
    if own["priority"]:
        yield option("--priority", own["priority"])
    if request.door:
        if v1:
            yield "--interactive"
        if own["preemptible"]:
            yield "# It may have GPUs beyond the quota, and ends when their owner wants them."
            yield "--preemptible" if v1 else option("--preemptibility", "preemptible")
        return
    if request.requeue:
        yield "# How often it starts again after it has failed, or its time was up."
    else:
        yield "# A command that fails is not repeated; the default is six times."
    yield option("--backoff-limit", str(request.requeue))


def environment(job: Job) -> dict[str, str]:
    """The variables of the container."""
    site, request = job.site, job.request
    set_here = {"CODE_DIR": code_folder(job)}
    for key, name in (("data", "DATA_DIR"), ("outputs", "OUTPUTS_DIR")):
        if site["storage"][key]:
            set_here[name] = in_pods(job.project, site, key, site["storage"][key])
    home = site["storage"]["home"] if request.door else ""
    set_here["CONTAINER_HOME"] = TEMPORARY + request.name
    if home:
        set_here["CONTAINER_HOME"] = in_pods(job.project, site, "home", home)
    if request.uses_torchrun:
        set_here["PET_NPROC_PER_NODE"] = str(request.gpus or 1)
    return {**set_here, **for_entrypoint(job), **variables(job)}


def code_folder(job: Job) -> str:
    """Where pods have the code. Raises StopError."""
    if job.code.folder is None:
        raise failed("cluster-code-folder", job.project, cluster="Run:ai")
    return in_pods(job.project, job.site, "code", str(job.code.folder))


def shared_code(project: Project, site: Site, _: Request) -> str:
    """[storage] code. Raises StopError if there is none, or if it is on no claim."""
    path = str(site["storage"]["code"])
    if path:
        in_pods(project, site, "code", path)
    # Where a claim is not mounted, a folder of its name would be one of this machine alone.
    if not path or not is_shared(site["runai"]["claims"], path):
        raise failed("cluster-code-folder", project, cluster="Run:ai")
    return path


def in_pods(project: Project, site: Site, key: str, path: str) -> str:
    """The path in pods of a folder, which is written as pods or as this machine have it.

    Raises:
        StopError: no claim has it.
    """
    claims = site["runai"]["claims"]
    found = place(claims, path)
    if found:
        return str(PurePosixPath(claims[found.number]["path"], found.inside))
    raise on_no_claim(project, site, "runai", key, path)


def container_command(request: Request) -> tuple[list[str], str]:
    """The words that the entrypoint starts, or a script, "" if the words reach it as they are."""
    seconds = str(request.seconds or "infinity")
    if request.door == JUPYTER:
        limit = f"timeout {seconds} " if request.seconds else ""
        return [], JUPYTER_SCRIPT.replace("exec ", f"exec {limit}")
    if request.door:
        return ["sleep", seconds], ""
    words = limited(request.command, request.seconds)
    if all(PLAIN.fullmatch(word) for word in words):
        return words, ""
    return [], f"exec {shlex.join(words)}\n"


def encoded(script: str) -> list[str]:
    """The lines that hand a script over in a variable."""
    end = "END"
    while f"\n{end}\n" in f"\n{script}":
        end += "_"
    return [
        "# Run:ai makes one text of the words behind --, and loses its quotes. Base64 has none.",
        f"command=$(base64 <<'{end}' | tr -d '\\n'",
        *script[:-1].split("\n"),  # a bare return or the like ends no line of bash
        end,
        ")",
        'arguments+=(-e "JOB_COMMAND=$command")',
    ]


def option(name: str, value: str) -> str:
    """An option with its value, quoted; a comma too, which looks like one between items."""
    quoted = shlex.quote(value)
    return f"{name} '{value}'" if quoted == value and "," in value else f"{name} {quoted}"


# ------------------------------------------------------------------------------------ its client


def refused(project: Project, reason: str) -> StopError:
    """The failure of a call of the client."""
    return failed("cluster-runai-failed", project, reason=reason)


def submit(job: Job) -> str:
    """Run the script. Run:ai knows a job by its name.

    Raises:
        StopError: Run:ai refuses the job; a folder that it writes to cannot be made.
    """
    make_folders(job.project, folders_here(job))
    shown_call(job.project, refused, ["bash", str(job.folder / FILE)])
    return job.request.name


def folders_here(job: Job) -> list[str]:
    """Folders that the job writes to and that this machine sees."""
    storage, claims = job.site["storage"], job.site["runai"]["claims"]
    wanted = [storage["outputs"], *([storage["home"]] if job.request.door else [])]
    return [here for here in (on_this_machine(claims, one) for one in wanted) if here]


def states(project: Project, site: Site, records: tuple[Record, ...]) -> dict[str, str]:
    """The states of jobs by their names. Raises StopError."""
    wanted = {record.name for record in records}
    own = site["runai"]
    words = ["list", "jobs"] if own["cli"] == V1 else ["workload", "list", "--json"]
    said = output_of(project, refused, ["runai", *words, "-p", own["project"]])
    found = rows(said) if own["cli"] == V1 else phases(said)
    return {name: state for name, state in found if name in wanted}


def rows(table: str) -> Iterator[tuple[str, str]]:
    """Names and states in the table of version 1, whose first columns they are."""
    for line in table.splitlines():
        words = line.split()
        if len(words) > 1 and words[1] != "STATUS":
            yield words[0], words[1]


def phases(text: str) -> Iterator[tuple[str, str]]:
    """Names and states in the JSON of version 2, which may have text around it."""
    import json  # noqa: PLC0415  only the states need it

    starts = [at for at in (text.find("["), text.find("{")) if at >= 0]
    if not starts:
        return
    try:
        value, _ = json.JSONDecoder().raw_decode(text[min(starts) :])
    except ValueError:
        return
    yield from named(value)


def named(value: Any) -> Iterator[tuple[str, str]]:
    """The workloads in a value of JSON, wherever they are in it."""
    if isinstance(value, list):
        for one in value:
            yield from named(one)
    elif isinstance(value, dict):
        name = value.get("name")
        state = value.get("phase") or value.get("status")
        if isinstance(name, str) and isinstance(state, str):
            yield name, state
        else:
            yield from named(list(value.values()))


def logs(_: Project, site: Site, record: Record, follow: bool) -> int:
    """Show what a job has printed; of several pods, what the first one has."""
    own = site["runai"]
    words = ["logs"] if own["cli"] == V1 else [*kind(bool(record.door), record.nodes), "logs"]
    options = ["--follow"] if follow else []
    return run_in_terminal("runai", *words, record.id, "-p", own["project"], *options)


def cancel(project: Project, site: Site, record: Record) -> None:
    """End a job. Raises StopError."""
    own = site["runai"]
    words = ["delete", "job"] if own["cli"] == V1 else ["workload", "delete", "-y"]
    shown_call(project, refused, ["runai", *words, "-p", own["project"], record.id])


def enter(job: Job, number: str) -> tuple[str, ...]:
    """The lines that lead into an interactive job."""
    own = job.site["runai"]
    ports = f"{NOTEBOOK_PORT}:{NOTEBOOK_PORT}"
    where = f"{number} -p {own['project']}"
    if own["cli"] == V1:
        execute = f"runai exec {where}"
        # Version 1 forwards no ports to a job that runs.
        forward = f"kubectl port-forward -n runai-{own['project']} pod/{number}-0-0 {ports}"
        terminal = "-it"
    else:
        execute = f"runai workspace exec {where}"
        forward = f"runai workspace port-forward {where} --port {ports}"
        terminal = "--tty --stdin"
    if job.request.door == JUPYTER:
        return (
            f"{execute} -- cat {TOKEN_FILE}",
            f"{forward}  # then http://localhost:{NOTEBOOK_PORT}/lab, with that token",
        )
    # The entrypoint gives the shell the environment of the job.
    return (f"{execute} {terminal} -- {ENTRYPOINT} bash",)


SCHEDULER = Scheduler(
    client="runai",
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
