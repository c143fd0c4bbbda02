"""The files of a Slurm job: a script for sbatch, and for some sites and doors a second one.

https://slurm.schedmd.com/sbatch.html says what its options do.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import textwrap
from typing import TYPE_CHECKING

from ..failures import failed
from .amounts import as_clock
from .job import JUPYTER, SSH
from .job_file import ENTRYPOINT, about, for_entrypoint, variables

if TYPE_CHECKING:
    from .job import Job

JOB_FILE, ENTER_FILE, EDF_FILE = "job.sh", "enter.sh", "container.toml"
ARCHIVE_FILE = "code.tar.gz.base64"
APPTAINER, PYXIS, EDF = "apptainer", "pyxis", "edf"
# NVIDIA's own is the first of their images, as in the Dockerfile.
NVIDIA_ENTRYPOINT = "/opt/nvidia/nvidia_entrypoint.sh"
MEGABYTE = 1 << 20
USER_ENTRY = "$CONTAINER_HOME/passwd:/etc/passwd:ro"
EACH_NODE = '--mem=0 --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1'
SHOWN = 200  # characters of a command in the head
WIDTH = 118  # of a line, where a word is not longer
# Where a node has the code that a job brings with it.
UNPACKED = "/tmp/code-$SLURM_JOB_ID"  # noqa: S108  a new folder
PORT = "$((10000 + SLURM_JOB_ID % 20000))"  # below those that the kernel gives to clients
UNFIT = re.compile(r"[,:\"\\\x00-\x1f\x7f]")  # what separates folders in options of containers
NEEDED = ("PATH", "HOME", "USER")  # by what starts containers


def comment(text: str) -> str:
    """A text as comments, without line ends and control characters of its own."""
    clean = "".join(one if one.isprintable() else "?" for one in text)
    lines = textwrap.wrap(clean, WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"# {line}" for line in lines)


def directive(option: str, value: str | int) -> str:
    """A line for sbatch. It knows quotes, and so may have blanks in a value."""
    text = str(value)
    if not re.fullmatch(r"[\w./:=,@%+*&|()\[\]~-]*", text):
        text = f'"{text}"'
    return f"#SBATCH --{option}={text}"


def words(*lines: str) -> str:
    """A command of several lines."""
    return " \\\n    ".join(lines)


def folded(*every: str) -> list[str]:
    """Words in lines that are not longer than others; each is quoted already."""
    lines = [""]
    for word in every:
        if lines[-1] and len(lines[-1]) + len(word) + 7 > WIDTH:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return [line for line in lines if line]


# ------------------------------------------------------------------------------ what a job is given


def container_of(job: Job) -> str:
    """What starts containers at the site."""
    return str(job.site["slurm"]["container"])


def is_parallel(job: Job) -> bool:
    """Whether the job has several processes, which have to find each other."""
    request = job.request
    return request.nodes > 1 or request.tasks > 1 or request.uses_torchrun


def home(job: Job) -> str:
    """The home of the container; a text of bash.

    That of a job is on the node and shared by its tasks there, so that nothing of it is left in a
    home that other jobs use.
    """
    storage = job.site["storage"]["home"] if job.request.door else ""
    return shlex.quote(storage) if storage else "/tmp/job-$SLURM_JOB_ID"  # noqa: S108


def environment(job: Job) -> dict[str, str]:
    """The variables of the container, as texts of bash."""
    request, site = job.request, job.site
    found = {"CONTAINER_HOME": home(job)}
    storage = site["storage"]
    for key in ("data", "outputs"):
        if storage[key]:
            found[f"{key.upper()}_DIR"] = f"/{key}"
    found.update({name: shlex.quote(value) for name, value in for_entrypoint(job).items()})
    if is_parallel(job):
        first = '$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)'
        found["MASTER_ADDR"] = first if request.nodes > 1 else "127.0.0.1"
        found["MASTER_PORT"] = PORT
    if request.uses_torchrun:
        found["PET_NNODES"] = str(request.nodes)
        if request.gpus:
            found["PET_NPROC_PER_NODE"] = str(request.gpus)
    if is_parallel(job) and site["slurm"]["interface"]:
        found["JOB_INTERFACE"] = shlex.quote(site["slurm"]["interface"])
    return {**found, **{name: shlex.quote(value) for name, value in variables(job).items()}}


def mounts(job: Job) -> list[str]:
    """The folders of the container as Apptainer, pyxis and CSCS have them: SOURCE:TARGET[:ro].

    Of the texts, only those of unpacked code and the user's entry have variables in them.

    Raises:
        StopError: the name of a folder has what separates folders; nobody may log in by ssh.
    """
    storage = job.site["storage"]
    # Other jobs of the commit have the same folder.
    read_only = bool(job.code.folder and job.code.commit and not job.request.door)
    found = [f"{job.code.folder or UNPACKED}:/workspace{':ro' * read_only}"]
    for key, end in (("data", "data:ro"), ("outputs", "outputs"), ("secrets", "run/secrets:ro")):
        if storage[key]:
            found.append(f"{storage[key]}:/{end}")
    if job.request.door and storage["home"]:
        found.append(f"{storage['home']}:{storage['home']}")
    sources = [job.code.folder] if job.code.folder else []
    if job.request.door == SSH:
        from ..ssh import login_keys  # noqa: PLC0415  only projects with ssh have it

        keys = login_keys(job.project)
        found.append(f"{keys}:/run/ssh_keys:ro")
        sources.append(keys)
        if container_of(job) == APPTAINER:
            found.append(USER_ENTRY)
    for source in sources:
        if UNFIT.search(str(source)):
            raise failed("slurm-folder", job.project, path=str(source))
    return [*found, *storage["mounts"]]


def quoted(text: str) -> str:
    """A text as a word of bash, in which variables of ours are replaced."""
    return f'"{text}"' if text.startswith((UNPACKED, USER_ENTRY)) else shlex.quote(text)


def entrypoint(job: Job) -> list[str]:
    """The entrypoint of the image, which is called by its name: not every site's tool runs it."""
    return [*([NVIDIA_ENTRYPOINT] if job.project.service == "ngc" else []), ENTRYPOINT]


def enroot_image(job: Job) -> str:
    """The image as enroot has it: a squash file, or REGISTRY#NAME:DIGEST.

    A digest as a tag is known to every version of enroot, NAME@DIGEST to 4.0 and later.
    """
    if job.image.file:
        return str(job.image.file)
    name, _, digest = job.image.pinned.partition("@")
    registry, _, path = name.partition("/")
    if not path or not re.search(r"[.:]|^localhost$", registry):
        return f"{name if path else f'library/{name}'}:{digest}"
    return f"{registry}#{path}:{digest}"


# ------------------------------------------------------------------------------------ the job file


def files(job: Job) -> dict[str, str]:
    """The files of a job by their names; sbatch takes the first one. Raises StopError."""
    found = {JOB_FILE: job_file(job)}
    if job.request.door and container_of(job) == APPTAINER:
        found[ENTER_FILE] = enter_file(job)
    if container_of(job) == EDF:
        found[EDF_FILE] = edf_file(job)
    if not job.code.folder:
        found[ARCHIVE_FILE] = base64.encodebytes(job.code.archive).decode("ascii")
    return found


def job_file(job: Job) -> str:
    """The script for sbatch."""
    first = [*modules(job), "set -euo pipefail"]
    parts = [head(job), *options(job), "", *first, *setup(job), *tasks(job)]
    return "\n".join([*parts, ""])


def head(job: Job) -> str:
    """What the job is, for a reader who has only this file."""
    request, image = job.request, job.image
    what = shlex.join(request.command) if request.command else f"interactive ({request.door})"
    what = what if len(what) <= SHOWN else f"{what[:SHOWN]}…"
    by = image.digest if image.file else image.pinned
    lines = (f"{request.name} of {job.project.name}: {what}", f"Image: {by}", *about(job))
    lines += (f"To run it again: sbatch {JOB_FILE}",)
    return "\n".join(["#!/bin/bash", *map(comment, lines)])


def options(job: Job) -> list[str]:
    """The options of sbatch, each uncommon one with its reason."""
    request, site = job.request, job.site["slurm"]
    lines = [directive("job-name", request.name)]
    names = ("partition", "account", "qos", "reservation", "constraint")
    lines += [directive(key, site[key]) for key in names if site[key]]
    lines.append(f"#SBATCH --nodes={request.nodes} --ntasks-per-node={request.tasks}")
    if request.gpus:
        kind = f"{site['gpu_type']}:" if site["gpu_type"] else ""
        value = f"{kind}{request.gpus}"
        as_gres = site["gpus"] == "gres"
        lines.append(
            directive("gres", f"gpu:{value}") if as_gres else directive(site["gpus"], value)
        )
    size = [f"--cpus-per-task={cpus_of_task(job)}"] if request.cpus else []
    size += [f"--mem={-(-request.memory // MEGABYTE)}M"] if request.memory else []
    if size:
        lines.append(f"#SBATCH {' '.join(size)}")
    if request.seconds:
        lines.append(directive("time", as_clock(request.seconds)))
    if request.array:
        lines.append(directive("array", request.array))
    lines += [f"#SBATCH {one}" for one in site["options"]]
    lines.append(directive("output", output(job)))
    seconds = site["warning"]
    if request.seconds:  # else a short job would be warned when it starts
        seconds = min(seconds, request.seconds // 2)
    if request.requeue:
        lines.append(
            f"# {seconds} s before the time limit, this script gets USR1: see the trap below."
        )
        lines.append(f"#SBATCH --signal=B:USR1@{seconds} --requeue --open-mode=append")
    else:
        if not request.door:
            lines.append(f"# {seconds} s before the time limit, the program gets SIGTERM.")
            lines.append(directive("signal", f"TERM@{seconds}"))
        lines.append("# A node that fails does not start the job again from its beginning.")
        lines.append("#SBATCH --no-requeue")
    return lines


def output(job: Job) -> str:
    """The file of what the job prints: %j is its id, %A and %a are those of an array."""
    folder = str(job.folder).replace("%", "%%")
    return f"{folder}/{'%A_%a' if job.request.array else '%j'}.out"


def cpus_of_task(job: Job) -> int:
    """The CPUs of a task."""
    return max(job.request.cpus // job.request.tasks, 1)


def setup(job: Job) -> list[str]:
    """What comes before the container: modules, variables, folders, and what cleans up."""
    request, site = job.request, job.site
    lines = exports(job)
    if site["storage"]["outputs"]:
        lines.append(f"mkdir -p {shlex.quote(site['storage']['outputs'])}")
    if request.door and site["storage"]["home"]:
        lines.append(f"(umask 077; mkdir -p {home(job)})")
    if temporary(job):
        lines += cleaning(job)
    if not job.code.folder:
        # What a start before it has left goes; a folder of another user cannot, and ends the job.
        unpack = 'rm -rf -- "$2" && mkdir -m 0700 "$2" && base64 -d "$1" | tar -xz -C "$2"'
        archive = shlex.quote(f"{job.folder}/{ARCHIVE_FILE}")
        srun_once = f"srun {EACH_NODE} bash -c '{unpack}' unpack"
        lines += ["# The code, on each node.", words(srun_once, f'{archive} "{UNPACKED}"')]
    return lines


def cleaning(job: Job) -> list[str]:
    """The lines that remove what the job leaves on its nodes when it ends.

    After a cancel, Slurm starts nothing more on the other nodes.
    """
    rm = " ".join(["rm -rf --", *(f'"{one}"' for one in temporary(job))])
    if job.request.nodes > 1:
        rm = f"\n    srun --overlap {EACH_NODE} \\\n        {rm} || {rm}\n"
    else:
        rm = f" {rm} || true; "
    reason = (
        "# The job's own folders are removed. When the job is cancelled, its program ends first."
    )
    return [reason, f"clean() {{{rm}}}", "trap clean EXIT; trap : TERM"]


def modules(job: Job) -> list[str]:
    """The lines of the site that come first. CSCS' tools look for the variable SCRATCH."""
    lines: list[str] = list(job.site["slurm"]["setup"])
    if not lines and container_of(job) != EDF:
        return []
    return [". /etc/profile # modules, and variables of the site", *lines]


def exports(job: Job) -> list[str]:
    """The lines that give the job its variables."""
    found = environment(job)
    torchrun = ", torchrun (PET_...)" * job.request.uses_torchrun
    lines = [f"# For the image's entrypoint{torchrun} and the command."]
    if job.request.nodes > 1:
        lines = [f"{lines[0]} Processes meet at the first node."]
        lines.append(f"MASTER_ADDR={found['MASTER_ADDR']}")
        found["MASTER_ADDR"] = "$MASTER_ADDR"
    return [*lines, words(*folded("export", *(f"{name}={text}" for name, text in found.items())))]


def temporary(job: Job) -> list[str]:
    """What the job leaves on its nodes. Pyxis and CSCS give each container a /tmp of its own."""
    is_kept = job.request.door and job.site["storage"]["home"]
    home_here = container_of(job) == APPTAINER and not is_kept
    return ["$CONTAINER_HOME"] * home_here + [UNPACKED] * (not job.code.folder)


def tasks(job: Job) -> list[str]:
    """What runs the tasks, and what comes after them."""
    request = job.request
    lines = call_of_srun(job)
    if not request.requeue:
        return lines
    again = "$warned && $status != 0 && ${SLURM_RESTART_COUNT:-0} -lt"
    return [
        "# The program gets the warning as SIGTERM: the rest of the time is for a checkpoint.",
        "warned=''; trap 'warned=yes; scancel --signal=TERM \"$SLURM_JOB_ID\"' USR1",
        *lines[:-1],
        f"{lines[-1]} &",
        "while kill -0 $! 2>/dev/null; do wait $! || true; done # a trap ends a wait",
        "status=0; wait $! || status=$? # which bash remembers",
        f"# Not finished in time: again, {request.requeue} times at most.",
        f"if [[ {again} {request.requeue} ]]; then",
        *(["    clean # now, because this ends the script"] if temporary(job) else []),
        '    scontrol requeue "$SLURM_JOB_ID"',
        "fi",
        "exit $status",
    ]


def srun(job: Job) -> list[str]:
    """The call of srun with its options, in lines."""
    request, mpi = job.request, job.site["slurm"]["mpi"]
    names = [*NEEDED, *(["SCRATCH"] if container_of(job) == EDF else []), *environment(job)]
    found = [f"--export={','.join(names)}"]
    if request.nodes * request.tasks > 1:
        found.append("--kill-on-bad-exit=1")
    if request.cpus:
        found.append(f"--cpus-per-task={cpus_of_task(job)}")
    if mpi:
        found.append(f"--mpi={mpi}")
    return folded("srun", *found)


# The token is in a file of the user, and is not printed: Jupyter prints only those that it makes.
# It takes the file as it is: a line end would be a part of the token.
# Others who are on the node can reach the port, but have no token. If one of them takes the port
# first, the browser shows them the token: so each job has its own, and this one has no server.
JUPYTER_SCRIPT = """\
umask 077
export JUPYTER_TOKEN_FILE=$HOME/.jupyter-token-$SLURM_JOB_ID
python -c "import secrets; print(end=secrets.token_hex(24))" >"$JUPYTER_TOKEN_FILE"
exec jupyter lab --no-browser --ip=127.0.0.1 --port=$((10000 + SLURM_JOB_ID % 20000)) \\
    --ServerApp.port_retries=0 --ServerApp.root_dir=/workspace"""


def command(job: Job) -> list[str]:
    """The command of the container: that of the request, or what keeps a door open."""
    if job.request.door == JUPYTER:
        return ["bash", "-c", JUPYTER_SCRIPT]
    return list(job.request.command) or ["sleep", "infinity"]


def call_of_srun(job: Job) -> list[str]:
    """The call of srun, which starts the container for the tasks, with its reasons."""
    request, kind = job.request, container_of(job)
    reasons = "--export: no other variable of this shell gets in, such as PYTHONPATH."
    if request.nodes * request.tasks > 1:
        reasons += " --kill-on-bad-exit: no task waits for one that failed."
    ends = [*entrypoint(job), *map(shlex.quote, command(job))]
    lines = [comment(reasons)]
    if kind == PYXIS:
        between = pyxis(job)
        lines.append(PYXIS_REASON)
    elif kind == EDF:
        between = [f"--environment={shlex.quote(f'{job.folder}/{EDF_FILE}')}"]
    elif request.door:
        between = [f"bash {shlex.quote(f'{job.folder}/{ENTER_FILE}')}"]
        ends = [*map(shlex.quote, command(job))]
    else:
        between = apptainer(job)
        lines.append(APPTAINER_REASON)
    return [*lines, words(*srun(job), *between, *folded(*ends))]


# ------------------------------------------------------------------------------------- containers

APPTAINER_REASON = """\
# --no-mount: the node's home stays outside. --no-eval: no text is run as a shell's.
# /tmp and /dev are the node's: its tasks share a home and memory, and have InfiniBand."""
# SingularityCE takes the same words.
APPTAINER_HERE = '"$(command -v apptainer || echo singularity)"'
USER_LINES = (
    "# sshd takes home and shell from /etc/passwd, and the node's shell is not in every image.",
    '(umask 077; mkdir -p "$CONTAINER_HOME")',
    "[[ -O $CONTAINER_HOME && ! -L $CONTAINER_HOME ]] ||",
    '    { echo "$CONTAINER_HOME is not yours" >&2; exit 1; }',
    "printf '%s:x:%s:%s::%s:/bin/bash\\n' \\",
    '    "$USER" "$(id -u)" "$(id -g)" "$CONTAINER_HOME" >"$CONTAINER_HOME/passwd"',
)
PYXIS_REASON = """\
# The tasks of a node share a container with a /tmp of its own. Each calls the entrypoint below."""


def apptainer(job: Job) -> list[str]:
    """Apptainer with its options: https://apptainer.org/docs/user/main/cli/apptainer_exec.html."""
    found = [APPTAINER_HERE, "--quiet exec", "--no-eval", "--no-mount home,cwd"]
    if job.request.gpus:
        found.append("--nv")
    found.append("--pwd /workspace")
    binds = [f"--bind {quoted(one)}" for one in mounts(job)]
    return [*folded(*found), *folded(*binds), shlex.quote(str(job.image.file))]


def pyxis(job: Job) -> list[str]:
    """The options that pyxis adds to srun: https://github.com/NVIDIA/pyxis/wiki/Usage."""
    given = variables(job)
    found = [
        f"--container-image={shlex.quote(enroot_image(job))}",
        *("--container-readonly", "--no-container-mount-home", "--no-container-remap-root"),
        *("--no-container-entrypoint", "--container-workdir=/workspace"),
    ]
    if given:  # else a variable of the image goes before one of the job
        found.append(f"--container-env={','.join(given)}")
    found.append(f"--container-mounts={','.join(map(quoted, mounts(job)))}")
    return folded(*found)


def edf_file(job: Job) -> str:
    """The environment of CSCS: https://docs.cscs.ch/software/container-engine/edf."""
    lines = [
        comment(f"The container of {job.request.name}; {JOB_FILE} names this file."),
        f"image = {toml(enroot_image(job))}",
        'workdir = "/workspace"',
        "writable = false",
        comment(f"{JOB_FILE} calls it, so that all that it says is in the output."),
        "entrypoint = false",
        "mounts = [",
        *(f"    {toml(one)}," for one in mounts(job)),
        "]",
    ]
    annotations = job.site["slurm"]["annotations"]
    if annotations:
        lines += ["", "[annotations]"]
        lines += [f"{name} = {toml(value)}" for name, value in annotations.items()]
    given = variables(job)
    if given:  # those that only the job file exports are behind those of the image
        lines += ["", "[env]", *(f"{name} = {toml(value)}" for name, value in given.items())]
    return "\n".join([*lines, ""])


def toml(text: str) -> str:
    """A text of the environment file, in which $ starts a variable."""
    doubled = text.replace("$", "$$").replace("-$$SLURM_JOB_ID:", "-${SLURM_JOB_ID}:")
    return json.dumps(doubled, ensure_ascii=False).replace("\x7f", "\\u007f")


def enter_file(job: Job) -> str:
    """The script that starts a command in the container of an interactive job, on its node."""
    name = shlex.quote(f"{job.folder}/{ENTER_FILE}")
    lines = [
        "#!/bin/bash",
        comment(
            f"A command in the container of {job.request.name}, on the node of the job, such as:"
        ),
        f"# srun --jobid=ID --overlap --pty bash {name} bash",  # in one line, to be pasted
        *modules(job),
        "set -euo pipefail",
        *exports(job),
        *(USER_LINES if job.request.door == SSH else ()),
        APPTAINER_REASON,
        f"exec {words(*apptainer(job), *folded(*entrypoint(job), chr(34) + '$@' + chr(34)))}",
    ]
    return "\n".join([*lines, ""])
