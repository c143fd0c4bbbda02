"""What the program knows of its project: project.json, rendered from the answers."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .env_file import ProbeError, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCRIPT = "./docker-amd64/template.sh"
# Override files that COMPOSE_FILE names where they are used: what `pin` writes, certificates, what
# containers see of docker-amd64, the user's tokens, ports of apps, models that users share, and
# the containers of a workspace.
PINS_FILE = "compose.pins.yaml"
CA_FILE = "compose.ca.yaml"
GUARD_FILE = "compose.guard.yaml"
SECRETS_FILE = "compose.secrets.yaml"
WORKSPACE_FILE = "compose.workspace.yaml"
APPS_FILE = "compose.apps.yaml"
CACHE_FILE = "compose.cache.yaml"
SELINUX_FILE = "compose.selinux.yaml"
# What editors start the dev container from: all Compose files of this host in one.
EDITOR_FILE = "compose.editor.yaml"
# Those that are written, or removed, before containers start.
START_FILES = (APPS_FILE, CACHE_FILE, EDITOR_FILE, GUARD_FILE, SECRETS_FILE, SELINUX_FILE)
DATA_KEY = "DATA_READ_ONLY"  # of .env: true or false
USAGE = "usage"  # the id of a wrong call, which is not shown


def me() -> str:
    """This project's script as the user called it, as a word of the shell."""
    return shlex.quote(os.environ.get("TEMPLATE_SH") or SCRIPT)


def called_from() -> Path:
    """The folder of the user's shell: template.sh has left it for docker-amd64."""
    return Path(os.environ.get("CALLED_FROM") or ".")


class StopError(ProbeError):
    """Why a verb cannot go on: one sentence, the command that helps, and the exit status."""

    def __init__(self, sentence: str, command: str = "", *, name: str = "", status: int = 1):
        """Take the sentence and the command; `name` is the id of a row of the table of failures.

        Only a wrong call has no row: it is USAGE, and the parser of the verb words it.
        """
        shown = f" (failure: {name})" if name and name != USAGE else ""
        super().__init__(f"\n{sentence}{shown}" + (f"\n  Run: {command}" if command else ""))
        self.name, self.sentence, self.command, self.status = name, sentence, command, status


class Distribution(NamedTuple):
    """The Linux of the images.

    Attributes:
        name: such as Ubuntu 24.04.
        maintained_until: its last day of security updates, YYYY-MM-DD.
        newer: the answer that brings a newer one, as --data takes it; "" if none was known.
    """

    name: str
    maintained_until: str
    newer: str = ""


class Project:
    """A generated project.

    Attributes:
        folder: docker-amd64.
        name: of the project and its images.
        service: simple, train, devel, ngc or hub.
        package_manager: pip or conda.
        accelerator: cuda or cpu.
        python: the version of Python, "" where the base image decides.
        torch: the version of PyTorch, "" for none.
        cuda: the version of CUDA, "" for none.
        torch_family: the versions of PyTorch, torchvision and torchaudio that the answers decide.
        base_has_torch: whether the base image brings Python and PyTorch.
        compiles_torch: whether PyTorch is compiled.
        package: the Python package of a new project, "" in existing code.
        answers_file: relative to the project's root.
        shell: the login shell of the user in dev, bash or zsh.
        extras: what else was chosen; with ci, `ci_host` is github or gitlab.
        ci_images: with ci, the images that CI starts: `pipeline` of image.gitlab-ci.yml, and
            `scanner`, which lists the packages of a published image.
        services: of compose.yaml, by what they are: `code` have the code at /workspace and what
            override files bring, `project` the code at /project; others by their answer.
        clusters: the schedulers that get its jobs: slurm, kubernetes, runai, skypilot.
        base_images: the images of the Dockerfile by the build argument that replaces them.
        sources: what is compiled, by the start of its build arguments: repository and tag.
        distribution: None where the base image's own is not known.
        gpus: for GPUs: min_driver of its CUDA, targets, the oldest and the newest compute
            capability that this CUDA compiles for; wheel_code, all that PyTorch's wheel has code
            for, such as 9.0 or 12.0+PTX, empty without one; and last_branches, the last driver
            branch for each older architecture.
        builds: the services of compose.yaml that are built.
        offered: what the template has for the answers on versions, by the names of the questions.
    """

    def __init__(self, folder: Path, data: Mapping[str, Any]):
        """Take docker-amd64 and the content of project.json."""
        self.folder = folder
        self.name: str = data["name"]
        self.service: str = data["service"]
        self.package_manager: str = data["package_manager"]
        self.accelerator: str = data["accelerator"]
        self.python: str = data["python"]
        self.torch: str = data["torch"]
        self.cuda: str = data["cuda"]
        self.torch_family: dict[str, str] = data["torch_family"]
        self.base_has_torch: bool = data["base_has_torch"]
        self.compiles_torch: bool = data["compiles_torch"]
        self.package: str = data["package"]
        self.answers_file: str = data["answers_file"]
        self.shell: str = data["shell"]
        self.extras: tuple[str, ...] = tuple(data["extras"])
        self.ci_host: str = data.get("ci_host", "")
        self.ci_images: dict[str, Any] = data.get("ci_images", {})
        self.services: dict[str, list[str]] = data["services"]
        self.clusters: tuple[str, ...] = tuple(data.get("clusters", ()))
        self.base_images: dict[str, str] = data["base_images"]
        self.sources: dict[str, list[str]] = data.get("sources", {})
        found = data.get("distribution")
        self.distribution: Distribution | None = Distribution(**found) if found else None
        self.gpus: dict[str, Any] = data.get("gpus", {})
        self.builds: tuple[str, ...] = tuple(data["builds"])
        self.offered: dict[str, list[str]] = data["offered"]
        self._settings: Settings | None = None
        self.workspace = ""  # with -W NAME, what a verb is about
        self.is_pinned = False  # by this call of template.sh
        self.registry_answers = True  # as far as this call knows
        self.trusts_lock = False  # in CI the build itself finds out whether a lock is stale

    @property
    def root(self) -> Path:
        """The folder around docker-amd64."""
        return self.folder.parent

    @property
    def which(self) -> str:
        """What a command has to say so that it is about the same containers."""
        return f" -W {shlex.quote(self.workspace)}" if self.workspace else ""

    @property
    def answers(self) -> dict[str, Any]:
        """What decides versions, as image/intake wants it."""
        names = ("package_manager", "python", "torch", "cuda", "accelerator", "base_has_torch")
        return {**{name: getattr(self, name) for name in names}, "offered": self.offered}

    @property
    def settings(self) -> Settings:
        """The values of .env and of the shell, as Compose reads them."""
        if self._settings is None:
            self._settings = Settings(self.folder)
        return self._settings

    def forget_settings(self) -> None:
        """Read .env again at the next use: it was changed."""
        self._settings = None

    def image(self, target: str) -> str:
        """The name of an image of this project, such as demo-jane-1a2b3c:simple-dev."""
        return f"{self.settings.get('COMPOSE_PROJECT_NAME')}:{self.service}-{target}"


def code_folder(project: Project) -> Path:
    """The folder that containers have at /workspace."""
    return project.settings.path("LOCAL_CODE_DIR") or project.root


def code_services(folder: Path) -> list[str]:
    """The services with the code at /workspace, which override files of a docker-amd64 are about.

    It has no project.json where a test made it, or before the first copy has ended.
    """
    try:
        text = (folder / "host" / "project.json").read_text("utf-8")
        found: list[str] = json.loads(text)["services"]["code"]
    except (OSError, ValueError, KeyError):
        return ["runtime", "dev"]
    return found


def same_for(services: Iterable[str], anchor: str) -> str:
    """The end of an override file: the same YAML for each of these services."""
    return "services:\n" + "".join(f"  {name}: *{anchor}\n" for name in services)


def read_project(folder: Path) -> Project:
    """The project of docker-amd64.

    Raises:
        ProbeError: project.json is missing or has conflicts.
    """
    file = folder / "host" / "project.json"
    try:
        return Project(folder, json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, KeyError) as error:
        raise StopError(
            f"{file} cannot be read ({error or type(error).__name__}): it is rendered by the "
            "template, and git has it.",
            f"git checkout HEAD -- {file}",
        ) from error


# What a value must be, as a pattern and in words: with another one Compose or a build stops, and
# what they say does not name the key. docker/go-units reads sizes, compose-go names of projects.
MOUNTED = re.compile("(LOCAL_[A-Z]+|SHARED_CACHE)_DIR")  # keys of folders that containers get
NUMBER = "a number from 0 to 2147483647"
ADDRESS = r"(\d{1,3}(\.\d{1,3}){3}|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\w+)?\]?)?"
WORD = r"\w(?:[\w.,:+/-]{0,98}\w)?"  # a name that no program takes for an option
SIZE = r"(?i:(\d+\.?\d*|\.\d+) ?(b|[kmgtp](i?b)?)?)?"
OF_CLUSTERS = "CLUSTER_"  # the start of the keys of .env that only `submit` reads
RULES = {
    "USRID": (r"\d{1,10}", NUMBER),
    "GRPID": (r"\d{1,10}", NUMBER),
    "COMPOSE_PROJECT_NAME": (
        r"[a-z0-9][a-z0-9_-]*",
        "small letters, digits, - and _, a letter or digit first",
    ),
    "CONTAINER_ENGINE": ("(docker|podman)?", "docker or podman"),
    "SHM_SIZE": (SIZE, "a size such as 16gb"),
    DATA_KEY: ("(true|false)?", "true or false"),
    "PIDS_LIMIT": (r"-1|\d{0,9}", "a number of processes, or -1 for no limit"),
    "CPUS": (r"(\d+\.?\d*|\.\d+)?", "a number of CPUs such as 4 or 1.5"),
    "MEMORY": (SIZE, "a size such as 64gb"),
    "SSH_PORT": (r"\d{0,5}", "a number of a port"),
    "SSH_ADDRESS": (ADDRESS, "an IP address of this machine such as 127.0.0.1"),
    "AIRFLOW_PORT": (r"\d{0,5}", "a number of a port"),
    "APPS_ADDRESS": (ADDRESS, "an IP address of this machine such as 127.0.0.1"),
    "TZ": (r"\S*", "the name of a time zone such as Europe/Berlin"),
    "GPU_IDS": (r"[\w:./=,\s-]*", "the ids of GPUs, separated by commas"),
    "CPU_OR_GPU": ("cpu|gpu", "cpu or gpu"),
    "REQUIRE_GPU": ("[01]?", "0 or 1"),
    "CUDA_COMPAT": ("keep|remove", "keep or remove"),
    "GPU_WATCHDOG": ("[01]?", "0 or 1"),
    # Of clusters: they become words of command lines and of job files.
    "CLUSTER_USR": (f"({WORD}@)?({WORD})?", "your user name on the cluster"),
    "CLUSTER_USRID": (r"\d{0,9}", "the number of your user on the cluster"),
    "CLUSTER_GRPID": (r"\d{0,9}", "the number of your group on the cluster"),
    "CLUSTER_LOGIN": (f"({WORD}@)?({WORD})?", "USER@HOST of a login node"),
    "CLUSTER_ACCOUNT": (f"({WORD})?", "the name of an account of Slurm"),
    "CLUSTER_PARTITION": (f"({WORD})?", "the name of a partition of Slurm, or several with commas"),
    "CLUSTER_CONTEXT": (f"({WORD}@)?({WORD})?", "the name of a context of kubectl"),
    "CLUSTER_NAMESPACE": (
        "([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?",
        "a namespace of Kubernetes: small letters, digits and -",
    ),
    "CLUSTER_PROJECT": (f"({WORD})?", "the name of a project of Run:ai"),
}


def is_everything(path: Path, environ: Mapping[str, str]) -> bool:
    """Whether a folder is the whole disk or the whole home, or contains the home."""
    home = os.path.realpath(environ.get("HOME") or "/")
    return Path(os.path.realpath(str(path))) in (Path(home), *Path(home).parents, Path("/"))


def too_wide(settings: Settings) -> list[StopError]:
    """What to say of a key that names more to be mounted than a container may have."""
    from .failures import failed  # noqa: PLC0415  it needs this module

    own = Path(os.path.realpath(str(settings.folder)))
    found = []
    for key in filter(MOUNTED.fullmatch, settings.file):
        path = settings.path(key)
        if not path:
            continue
        if is_everything(path, settings.environ):
            found.append(failed("folder-too-wide", key=key, path=str(path)))
        elif key != "LOCAL_CODE_DIR" and Path(os.path.realpath(str(path))) in (own, *own.parents):
            # Of the code folder, `guard` covers docker-amd64.
            found.append(failed("folder-around", key=key, path=str(path)))
    return found


def is_bad(key: str, value: str) -> bool:
    """Whether a value of .env is one at which Compose or a build stops."""
    pattern, words = RULES.get(key, ("(?s).*", ""))
    fits = re.fullmatch(pattern, value, re.ASCII)
    return not (fits and (words != NUMBER or int(value) < 2**31))


def is_compose_file(folder: Path, name: str) -> bool:
    """Whether a name in COMPOSE_FILE is that of a file; one of another machine is not looked at."""
    return name == "-" or "://" in name or bool(name and (folder / name).is_file())


def bad_values(settings: Settings) -> list[StopError]:
    """What to say of each value at which Compose or a build stops."""
    from .failures import failed  # noqa: PLC0415  it needs this module

    bad: list[StopError] = []
    for key, (_, words) in RULES.items():
        value = settings.get(key)
        # A shell on a cluster may have such names for something else: `submit` looks at those.
        named = settings.file if key.startswith(OF_CLUSTERS) else settings
        if key in named and is_bad(key, value):
            where, remedy = ".env", f"{me()} env --refresh {key}"
            if key in settings.environ:
                where, remedy = "the shell", f"unset {key}"
            elif key.startswith(OF_CLUSTERS):  # this machine does not know them
                remedy = f"{me()} env --set {key}="
            sentence = f'{key} in {where} is "{value}", but must be {words}.'
            bad.append(failed("env-value", cause=sentence, remedy=remedy))
    bad += too_wide(settings)
    if "COMPOSE_FILE" in settings.file and "COMPOSE_FILE" not in settings.environ:
        for name in settings.names():
            if not is_compose_file(settings.folder, name):
                lacks = f"names {name}, which does not exist" if name else "contains an empty name"
                remedy = f"{me()} env --refresh COMPOSE_FILE"
                sentence = f"COMPOSE_FILE in .env {lacks}."
                bad.append(failed("compose-file-missing", cause=sentence, remedy=remedy))
    return bad
