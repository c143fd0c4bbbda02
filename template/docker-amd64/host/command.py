"""The command line: the verbs of this project, their help, and the module that each is in.

A verb NAME is the function do_NAME(project, options) of its module, which returns the exit status,
and, where it takes arguments, NAME_options(parser). A verb whose module this project does not have,
because no answer needs it, does not exist. Only the module of the verb that is called is imported.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from .engine_words import lead_compose
from .files import user_id
from .plain import one_line
from .project import SCRIPT, USAGE, StopError, bad_values, called_from, me, read_project
from .turn import turn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from .project import Project

FOLDER = Path(__file__).resolve().parents[1]


class Verb(NamedTuple):
    """A verb: its name, the module of host/ it is in, and its help.

    `needs_env`: .env is filled first where there is none.
    """

    name: str
    module: str
    help: str
    needs_env: bool = True

    @property
    def function(self) -> str:
        """The end of the names of its functions."""
        return self.name.replace("-", "_")

    @property
    def file(self) -> Path:
        """Where its module would be."""
        return FOLDER / "host" / f"{self.module.replace('.', '/')}.py"


GROUPS: tuple[tuple[str, tuple[Verb, ...]], ...] = (
    (
        "The day's work",
        (
            Verb("build", "images", "build both images, or one of them"),
            Verb("up", "work", "start the dev container"),
            Verb("shell", "work", "a shell in it"),
            Verb("exec", "work", "run a command in it"),
            Verb("ssh", "ssh", "a shell or a command in it by ssh, or the entry for editors"),
            Verb("apps", "apps", "list notebooks and other apps in it, start or stop one"),
            Verb("jupyter", "jupyter", "start JupyterLab in it"),
            Verb("tensorboard", "tensorboard", "start TensorBoard in it"),
            Verb("devcontainer", "devcontainer", "make what editors start the dev container from"),
            Verb("editor", "editor", "print what editors ask for to enter the dev container"),
            Verb("run", "work", "run a command in a new container of the runtime image"),
            Verb("logs", "work", "show what the dev container or a job prints"),
            Verb("stop", "work", "stop the dev container, or end a job"),
            Verb("start", "work", "start the stopped one again"),
            Verb("airflow", "airflow", "workflows in the browser: start and stop what they need"),
            Verb("down", "work", "remove the containers and jobs; your home volume is kept"),
        ),
    ),
    (
        "Packages",
        (
            Verb("add", "pip_packages", "add packages to your project and the lock"),
            Verb("add", "conda_packages", "add packages to dependencies/ and the locks"),
            Verb("remove", "removal", "remove packages from what lists them, and from the lock"),
            *(
                Verb("lock", module, "bring the lock up to date, check it, or take newer versions")
                for module in ("pip_packages", "conda_packages")  # a project has one of them
            ),
            Verb("import", "imports", "take what your requirements or environment files list"),
            Verb("freeze", "work", "compare what is installed in dev with the files"),
        ),
    ),
    (
        "Images",
        (
            Verb("verify", "measure", "check PyTorch, CUDA and GPU code inside the images"),
            Verb("bench", "measure", "measure PyTorch inside an image, or compare two results"),
            Verb("wheels", "wheels", "take the wheels of the compiled PyTorch out of the build"),
            Verb("record", "record", "write down what a result is made with"),
            Verb("reproduce", "record", "say what differs here from a record"),
            Verb("pack", "pack", "put a folder of data into an archive that others can use"),
            Verb("import-results", "import_results", "unpack and check what others have packed"),
            Verb("pin", "images", "pin the base images to what their tags mean now"),
            Verb("publish", "registry", "build the user-agnostic image and push it to a registry"),
            Verb("pull", "registry", "take that image from a registry instead of building it"),
        ),
    ),
    (
        "Clusters",
        (
            Verb("submit", "clusters.submit", "give a command to a cluster's scheduler as a job"),
            Verb("jobs", "clusters.jobs", "list the jobs given to schedulers, and their states"),
            Verb("cancel", "clusters.jobs", "end a job of a cluster"),
            Verb("sif", "clusters.sif", "make a SIF file for Apptainer from an image"),
            Verb("sqsh", "clusters.sif", "make a squash file for enroot from an image"),
        ),
    ),
    (
        "This machine",
        (
            Verb("env", "upkeep", "fill .env from this machine, or show it", needs_env=False),
            Verb("gpus", "load", "list the GPUs, their load, and who uses them"),
            Verb("over", "upkeep", "make compose.override.yaml for your mounts and ports"),
        ),
    ),
    (
        "Look and mend",
        (
            Verb(
                "doctor",
                "doctor",
                "find what is wrong, and the command that helps",
                needs_env=False,
            ),
            Verb(
                "explain",
                "explain",
                "say what an error text means, and the command that helps",
                needs_env=False,
            ),
            Verb("ls", "upkeep", "list the containers, jobs, images and volumes of this project"),
            Verb("doors", "doors", "compare what each way into the containers leads to"),
            Verb("config", "upkeep", "print the effective Compose file"),
            Verb("root", "upkeep", "a root shell in the dev container, for emergencies"),
            Verb("clean", "upkeep", "remove the containers and images of this project"),
        ),
    ),
    (
        "The template",
        (
            Verb("update", "update", "merge the template's latest changes", needs_env=False),
            Verb("eject", "eject", "leave the template", needs_env=False),
            Verb("ci", "ci", "the steps of CI, one verb each", needs_env=False),
            Verb("completion", "upkeep", "print shell completion", needs_env=False),
        ),
    ),
)


# They read files of the project, change and write them, so one of them waits for another.
IN_TURN = {"add", "env", "freeze", "import", "lock", "over", "pin", "remove", "update"}
AS_OWNER = ("update",)  # they let other programs write the project's files
# With -W NAME, they are about the containers of a workspace.
OF_WORKSPACE = (
    *("build", "up", "shell", "exec", "run", "logs", "stop", "start", "down"),
    *("ls", "root", "clean", "record", "reproduce"),
)
# With these options they only read. `lock --check` waits: another command of a turn removes the
# container that it works in.
READING = {"env": ("json", "show"), "update": ("check",)}
MIXED = ("airflow",)  # their words may be on both sides of an option


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are one sentence and a command."""

    def error(self, message: str) -> NoReturn:
        """Raise StopError with argparse's message in our words."""
        verb = self.prog[len(me()) + 1 :]
        for pattern, sentence in (
            (r"unrecognized arguments: (.*)", "{verb} does not know {0}."),
            (r"the following arguments are required: (.*)", "{verb} needs {0}."),
            (r"argument ([^:]*): expected .* arguments?", "{verb}: {0} needs a value."),
            (
                r"argument [^:]*: invalid choice: (.*) \(choose from (.*)\)",
                "{verb} knows {1}, not {0}.",
            ),
        ):
            found = re.fullmatch(pattern, message, re.DOTALL)
            if found:
                words = [one.replace("'", "") for one in found.groups()]  # as newer Pythons say it
                message = sentence.format(*words, verb=verb)
                break
        else:
            message = f"{verb}: {message}."
        raise StopError(message, f"{self.prog} --help", name=USAGE)


def groups() -> Iterator[tuple[str, tuple[Verb, ...]]]:
    """The verbs of this project under their headings."""
    for heading, verbs in GROUPS:
        here = tuple(verb for verb in verbs if verb.file.is_file())
        if here:
            yield heading, here


def verbs_here() -> tuple[Verb, ...]:
    """The verbs of this project."""
    return tuple(verb for _, verbs in groups() for verb in verbs)


def find_verb(name: str, *words: str) -> Verb:
    """The verb of a name. Raises StopError, with what may be meant, if there is none."""
    for verb in verbs_here():
        if verb.name == name:
            return verb
    from .missing_verbs import missing  # noqa: PLC0415  needed for a wrong word only

    known = any(verb.name == name for _, verbs in GROUPS for verb in verbs)
    here = [verb.name for verb in verbs_here()]
    raise missing(FOLDER, (name, *words), here, known=known)


def load(verb: Verb) -> ModuleType:
    """The module of a verb."""
    return import_module(f".{verb.module}", __package__)


def parser_of(verb: Verb) -> Parser:
    """The parser of a verb's arguments."""
    parser = Parser(
        prog=f"{me()} {verb.name}",
        description=f"{verb.help[0].upper()}{verb.help[1:]}.",
        allow_abbrev=False,
    )
    options = getattr(load(verb), f"{verb.function}_options", None)
    if options:
        options(parser)
    if verb.name in OF_WORKSPACE:
        words = "of workspaces/NAME, with its own packages"
        parser.add_argument("-W", "--workspace", metavar="NAME", help=words)
    return parser


def overview() -> str:
    """The manual in short: a line for each verb."""
    lines = [f"Usage: {me()} VERB, and {me()} VERB --help for what it takes."]
    for heading, verbs in groups():
        lines += ["", heading, *(f"  {verb.name:11}  {verb.help}" for verb in verbs)]
    return "\n".join(lines)


def do_help(words: Sequence[str]) -> int:
    """Print the overview, the names of the verbs, or the help of one verb.

    Raises:
        StopError: there is no such verb, or there are several.
    """
    if list(words) == ["--names"]:
        print("\n".join(verb.name for verb in verbs_here()))
    elif len(words) > 1:
        raise StopError(f"help explains one verb, not {len(words)}.", f"{me()} help")
    elif words:
        parser_of(find_verb(words[0])).print_help()
    else:
        print(overview())
    return 0


def need_env(project: Project) -> None:
    """Fill .env where there is none; in a copied folder, take a name that the first one has not.

    Raises:
        ProbeError: .env cannot be read or written.
        StopError: a value in it would stop Compose or a build.
    """
    if not (FOLDER / ".env").is_file():
        with turn(FOLDER, "env"):
            fill_once(project)
    else:
        from .place import check_place  # noqa: PLC0415  it imports more only for a copied folder

        place = check_place(FOLDER)
        if place:
            print(place, file=sys.stderr)
            project.forget_settings()
    for stop in bad_values(project.settings):
        raise stop


def fill_once(project: Project) -> None:
    """Fill .env, unless another verb has meanwhile. Raises ProbeError."""
    from .fill import fill, report  # noqa: PLC0415  only the first verb needs it

    if not (FOLDER / ".env").is_file():
        print("There is no .env yet: filling it from this machine.", file=sys.stderr)
        # Stdout is left to what the verb was asked for.
        print("\n".join(report(fill(FOLDER))), file=sys.stderr)
    project.forget_settings()


def start(words: Sequence[str]) -> int:
    """Do what the command line says; the exit status.

    Raises:
        ProbeError: something the user can put right.
    """
    name = words[0] if words else "help"
    if name in ("help", "-h", "--help"):
        return do_help(words[1:])
    return call_verb(name, *words[1:])


def first_look(name: str) -> Project:
    """The project, for a verb that somebody has called.

    Raises:
        StopError: docker-amd64 is another project's, by a link, or the verb would leave files of
            root's.
    """
    project = read_project(FOLDER)
    called = called_from() / (os.environ.get("TEMPLATE_SH") or SCRIPT)
    here, answers = called.parent, project.answers_file
    beside = here.absolute().parent
    if here.is_symlink() and (beside / answers).is_file() and not beside.samefile(project.root):
        from .failures import failed  # noqa: PLC0415  it is read when something has failed

        raise failed("folder-is-link", project, path=str(here), target=str(FOLDER))
    owner = project.root.stat()
    if name in AS_OWNER and user_id() == 0 != owner.st_uid:
        from .failures import failed  # noqa: PLC0415

        raise failed("root-at-work", project, verb=name, user=f"#{owner.st_uid}")
    temporary = os.environ.get("TMPDIR")
    if temporary and not has_room(temporary):
        print(
            one_line(f"TMPDIR names {temporary}, which cannot be written: unused."), file=sys.stderr
        )
        del os.environ["TMPDIR"]
    return project


def has_room(folder: str) -> bool:
    """Whether a file can be made in a folder."""
    if not hasattr(os, "statvfs"):  # Windows
        return Path(folder).is_dir()
    return os.access(folder, os.W_OK | os.X_OK) and os.statvfs(folder).f_bavail > 0


def call_verb(name: str, *words: str, project: Project | None = None) -> int:
    """Do a verb; the exit status. A verb can do another one by this, and hands in its project.

    Raises:
        ProbeError: something the user can put right.
    """
    verb = find_verb(name, *words)
    parser = parser_of(verb)
    options = (parser.parse_intermixed_args if name in MIXED else parser.parse_args)(words)
    project = project or first_look(name)
    if verb.needs_env:
        need_env(project)
        lead_compose()
    if getattr(options, "workspace", None) is not None and name != "build":
        from .workspaces import enter  # noqa: PLC0415  most calls need none

        enter(project, options.workspace, name)
    reads = any(getattr(options, one) for one in READING.get(name, ()))
    writes = name in IN_TURN and not reads
    with turn(FOLDER, name) if writes else nullcontext():
        status = getattr(load(verb), f"do_{verb.function}")(project, options)
    return int(status or 0)
