"""The request of `submit`: its options, and what every scheduler would refuse.

A refusal of what was typed is one sentence about the option; a value of site.toml that is missing
or in the way names the file.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Callable, Iterable, NoReturn

from ..project import USAGE, StopError, me
from .amounts import as_clock, as_size, duration, size
from .job import JUPYTER, SHELL, SSH, Request
from .site import SITE_FILE, one_line
from .site_values import ENVIRONMENT_NAME, SECRET, TOKEN, clean, near

if TYPE_CHECKING:
    import argparse

    from ..project import Project
    from .site import Site

DOORS = (SHELL, SSH, JUPYTER)
LONGEST_NAME = 40
NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
MOST_STARTS = 100
LARGEST_INDEX = 100_000
# What counts is written without a sign, so that int takes nothing else.
DIGITS = 9
COUNT = re.compile(rf"\d{{1,{DIGITS}}}", re.ASCII)
# As Slurm has it: https://slurm.schedmd.com/sbatch.html#OPT_array
INDICES = r"\d{1,6}(?:-\d{1,6}(?::\d{1,6})?)?"
ARRAY = re.compile(rf"({INDICES}(?:,{INDICES})*)(%\d{{1,6}})?", re.ASCII)
# Where tokens belong, as a part of a sentence; {name} is that of the variable.
HOMES_OF_TOKENS = {
    "slurm": "Write it into a file {name} in the folder that [storage] secrets of SITE names",
    "kubernetes": "Make it the key {name} of the Secret that secret in [kubernetes] of SITE names",
    "runai": "Name it in secrets of [runai] of SITE, from a Secret of Kubernetes",
    "skypilot": "Name the variable of your shell in secrets of [skypilot] of SITE",
}

__all__ = ["as_clock", "duration", "read_request", "request_options", "size"]


def request_options(parser: argparse.ArgumentParser) -> None:
    """What a job needs of a cluster, and its command."""
    for name, value, text in (
        ("--on", "CLUSTER", "the cluster, where the project has several"),
        ("--gpus", "N", "GPUs of each node"),
        ("--nodes", "N", "how many nodes"),
        ("--tasks", "N", "processes that the scheduler starts on each node; torchrun needs 1"),
        ("--cpus", "N", "CPUs of each node"),
        ("--memory", "SIZE", "memory of each node, such as 64G"),
        ("--time", "TIME", "the longest running time: 90m, 2h, 1-12:00:00; a number is minutes"),
        ("--name", "NAME", "name the job; else CLUSTER-1, CLUSTER-2, ..."),
        ("--array", "INDICES", "an array of jobs, such as 0-9 or 0-99%%4"),
        ("--requeue", "N", "start again up to N times after the warning before the time limit"),
        ("--image", "NAME", "another published image than site.toml names"),
    ):
        parser.add_argument(name, metavar=value, help=text)
    parser.add_argument(
        "--interactive",
        nargs="?",
        const=SHELL,
        metavar="|".join(DOORS),
        help="a job to enter, in place of a command",
    )
    parser.add_argument("--verify", action="store_true", help="verify each node before the command")
    parser.add_argument(
        "-e",
        "--env",
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="set a variable; without a value, your shell's",
    )
    parser.add_argument("command", nargs="...", metavar="CMD", help="the command and its arguments")


def usage(sentence: str, command: str = "") -> StopError:
    """A refusal of what was typed."""
    return StopError(one_line(sentence), command or f"{me()} submit --help", name=USAGE)


def read_request(project: Project, site: Site, options: argparse.Namespace) -> Request:
    """What is asked for, with the defaults of the site. Raises StopError.

    `--image` replaces the images of the site.
    """
    cluster = cluster_of(project, options.on)
    door = door_of(project, options.interactive)
    command = command_of(options.command, door, cluster)
    given = site["defaults"]
    request = Request(
        cluster=cluster,
        name=name_of(project, cluster, options.name),
        command=command,
        nodes=count("--nodes", options.nodes, 1, at_least=1),
        gpus=count("--gpus", options.gpus, given["gpus"] if project.accelerator == "cuda" else 0),
        cpus=count("--cpus", options.cpus, given["cpus"], at_least=1),
        memory=amount("--memory", options.memory, given["memory"], size),
        seconds=amount("--time", options.time, given["time"], duration),
        tasks=count("--tasks", options.tasks, 1, at_least=1),
        array=array_of(options.array),
        door=door,
        verify=options.verify,
        requeue=count("--requeue", options.requeue, 0),
        environment=environment_of(options.env, cluster),
    )
    check_limits(site, request)
    check_together(project, request)
    if options.image is not None:
        use_image(site, options.image)
    return request


# ------------------------------------------------------------------------------------- one option


def cluster_of(project: Project, wanted: str | None) -> str:
    """The cluster that is meant. Raises StopError."""
    names = project.clusters
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None:
        words = " or ".join(f"--on {name}" for name in names)
        raise usage(f"The project has several clusters: say {words}.")
    if wanted in names:
        return wanted
    known = ", ".join(names)
    raise usage(f'--on takes {known}, not "{wanted}"{near(wanted, names) or "."}')


def door_of(project: Project, wanted: str | None) -> str:
    """The door of an interactive job, "" for a job with a command. Raises StopError."""
    if wanted is None:
        return ""
    if wanted not in DOORS:
        raise usage(
            f'--interactive takes {", ".join(DOORS)}, not "{wanted}". A job has a command, or it '
            "is interactive."
        )
    if wanted in (SSH, JUPYTER) and wanted not in project.extras:
        extras = ", ".join([*project.extras, wanted])
        raise usage(
            f"--interactive={wanted} needs {wanted} in the dev image, which this project does not "
            "have.",
            f"{me()} update --data 'extras=[{extras}]'",
        )
    return wanted


def command_of(words: list[str], door: str, cluster: str) -> tuple[str, ...]:
    """The command without the -- that may be in front of it. Raises StopError."""
    if words[:1] == ["--"]:
        words = words[1:]
    elif words and words[0].startswith("-"):
        raise usage(
            f"submit does not know {words[0].partition('=')[0]}. A command that starts with - is "
            "written behind --."
        )
    if words and door:
        raise usage("A job has a command, or it is interactive: leave one of them out.")
    if not words and not door:
        raise usage("submit needs a command, such as: submit python train.py.")
    if words and not words[0]:
        raise usage("The command of a job cannot be an empty word.")
    if any(TOKEN.search(word) for word in words):
        refuse_token("The command", cluster)
    return tuple(words)


def home_of_token(cluster: str, name: str) -> str:
    """Where a job's token belongs, as a sentence without its point."""
    return HOMES_OF_TOKENS[cluster].format(name=name).replace("SITE", SITE_FILE)


def refuse_token(where: str, cluster: str) -> NoReturn:
    """Raise StopError for a token in what everybody can read."""
    home = home_of_token(cluster, "of a name that your program knows")
    raise usage(f"{where} has a token in it, and job files can be read by others. {home}.")


def name_of(project: Project, cluster: str, wanted: str | None) -> str:
    """The name of a new job: the wanted one, or the next of slurm-1, slurm-2, ...

    Jobs of `run -d` are job-1, job-2, ..., and `logs` knows both kinds by their names.

    Raises:
        StopError: no job can have the wanted name.
    """
    if wanted is None:
        folder = project.folder / "deploy" / cluster / "jobs"
        try:
            numbers = re.compile(rf"{cluster}-([1-9]\d{{0,8}})", re.ASCII)
            found = [numbers.fullmatch(entry.name) for entry in os.scandir(str(folder))]
        except OSError:  # no job yet
            found = []
        return f"{cluster}-{max((int(match.group(1)) for match in found if match), default=0) + 1}"
    if not NAME.fullmatch(wanted) or len(wanted) > LONGEST_NAME:
        raise usage(
            f'A job cannot have the name "{wanted[:LONGEST_NAME]}": use small letters, digits and '
            f"-, a letter first and no - at the end, {LONGEST_NAME} characters at most."
        )
    return wanted


def next_name(name: str) -> str:
    """The name after one that `name_of` has chosen, such as slurm-10 after slurm-9."""
    start, _, number = name.rpartition("-")
    return f"{start}-{int(number) + 1}"


def count(option: str, text: str | None, default: int, *, at_least: int = 0) -> int:
    """A number of something. Raises StopError."""
    if text is None:
        return default
    if not COUNT.fullmatch(text) or int(text) < at_least:
        most, shown = "9" * DIGITS, text[:LONGEST_NAME]
        raise usage(f'{option} takes a whole number from {at_least} to {most}, not "{shown}".')
    return int(text)


def amount(option: str, text: str | None, default: int, read: Callable[[str], int]) -> int:
    """A size or a time. Raises StopError."""
    if text is None:
        return default
    try:
        return read(text)
    except ValueError as error:
        raise usage(f'{option} cannot be "{text}": {error}.') from error


def array_of(text: str | None) -> str:
    """The indices of an array, "" for none. Raises StopError."""
    if text is None:
        return ""
    found = ARRAY.fullmatch(text)
    if not found or not all(map(is_range, found.group(1).split(","))) or found.group(2) == "%0":
        raise usage(
            f'--array cannot be "{text}": write indices up to {LARGEST_INDEX}, such as 0-9, 1,3,7 '
            "or 0-99%4, of which 4 run at a time."
        )
    return text


def is_range(text: str) -> bool:
    """Whether an index, or a first and a last one with a step, can be counted."""
    first, _, rest = text.partition("-")
    last, _, step = rest.partition(":")
    return int(first) <= int(last or first) <= LARGEST_INDEX and int(step or 1) > 0


def environment_of(words: Iterable[str], cluster: str) -> dict[str, str]:
    """The variables of -e. Raises StopError."""
    made: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not ENVIRONMENT_NAME.fullmatch(name):
            raise usage(f'-e takes NAME=VALUE or NAME, not "{word}".')
        if SECRET.fullmatch(name):
            raise usage(
                f"{name} would be in the job's file, which others can read. "
                f"{home_of_token(cluster, name)}."
            )
        if not sign and name not in os.environ:
            raise usage(f"-e {name} takes the value of your shell, which has none.")
        value = value if sign else os.environ[name]
        if TOKEN.search(value):
            refuse_token(f"The value of -e {name}", cluster)
        try:
            made[name] = clean(value)
        except ValueError as error:
            raise usage(f"The value of -e {name} {error}.") from error
    return made


# -------------------------------------------------------------------------------- all of them


def check_limits(site: Site, request: Request) -> None:
    """Raise StopError for more than the site has."""
    for key, asked, of_node, shown in (
        ("nodes", request.nodes, "", str),
        ("gpus", request.gpus, " of a node", str),
        ("cpus", request.cpus, " of a node", str),
        ("memory", request.memory, " of a node", as_size),
        ("time", request.seconds, "", as_clock),
    ):
        limit = site["limits"][key]
        if limit and asked > limit:
            raise usage(
                f"--{key} {shown(asked)} is more than the {shown(limit)}{of_node} that [limits] in "
                f"{SITE_FILE} allows.",
            )


def check_together(project: Project, request: Request) -> None:
    """Raise StopError for options that do not go together, or that this project cannot do."""
    if request.gpus and project.accelerator != "cuda":
        raise usage(
            "--gpus is for projects with accelerator=cuda, and the images of this one are for the "
            "CPU.",
            f"{me()} update --data accelerator=cuda",
        )
    if request.verify and not (project.folder / "verify.py").is_file():
        raise usage("--verify looks at PyTorch, which this project does not have.")
    if request.requeue > MOST_STARTS:
        raise usage(f"--requeue takes a number up to {MOST_STARTS}.")
    if request.uses_torchrun and request.tasks > 1:
        raise usage(
            "torchrun starts the processes of a node itself: leave --tasks out, and give torchrun "
            "--nproc-per-node."
        )
    if request.requeue and not request.seconds:
        raise usage("--requeue needs --time: a job starts again when its time is nearly up.")
    if request.door and (request.nodes > 1 or request.tasks > 1 or request.array):
        raise usage("An interactive job has one node: leave --nodes, --tasks and --array out.")
    if request.door and request.requeue:
        raise usage("An interactive job does not start again: leave --requeue out.")
    if request.array and request.nodes > 1:
        raise usage("Each job of an array has one node: leave --nodes or --array out.")


def use_image(site: Site, name: str) -> None:
    """Take another image than the site's. Raises StopError."""
    from ..registry import NAME as IMAGE_NAME  # noqa: PLC0415  it needs the engine's modules

    if not IMAGE_NAME.fullmatch(name.partition("@sha256:")[0]):
        raise usage(f'--image cannot be "{name}": write it as registry.example/team/project:TAG.')
    site["image"].update(name=name, dev=name)
