"""The containers of the day's work: up, shell, exec, run, logs, stop, start, down, freeze."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NoReturn

from .accelerator import OF_THIS_CALL, OVERRIDE_FILES
from .apps_file import publish_apps
from .ask import capture
from .compose import (
    become,
    call,
    check_engine,
    compose_program,
    container,
    image_id,
    keep_apart_and_ask,
    need_container,
    need_image,
    show,
    show_text,
    with_stdin,
)
from .engine_words import ask_engine, compose, engine_command
from .failures import explain, failed, folder_not_made
from .files import make_folder, write_file
from .git import git_version
from .git import override as git_override
from .guard import guard
from .ids import check_ids
from .jobs import find_job, new_name, remove_jobs
from .limits import check_limits
from .place import keep_apart
from .project import (
    CA_FILE,
    DATA_KEY,
    EDITOR_FILE,
    MOUNTED,
    PINS_FILE,
    START_FILES,
    USAGE,
    WORKSPACE_FILE,
    StopError,
    code_folder,
    me,
)
from .secret_files import give_secrets
from .shared_cache import share_cache
from .stderr_watch import engine_refuses, watch_stderr

if TYPE_CHECKING:
    import argparse

    from .leases import Held
    from .project import Project

START_LIMIT = 120  # seconds for the first start, which installs the project
# The Compose files of which it is known what they mount.
KNOWN_FILES = (
    *("compose.yaml", CA_FILE, PINS_FILE, WORKSPACE_FILE),
    *START_FILES,
    *OVERRIDE_FILES.values(),
)
NO_ORPHANS = {"COMPOSE_IGNORE_ORPHANS": "true"}  # to Compose, jobs are orphans
RUN_FILE = "compose.run.yaml"  # for containers of one command
SHELLS = (["bash"], ["zsh"])  # that `shell` can be told by name
FOLDERS = ("LOCAL_CODE_DIR", "LOCAL_DATA_DIR", "LOCAL_OUTPUTS_DIR", "LOCAL_CHANNELS_DIR")


# ------------------------------------------------------------------------------- before a start


def mounted_folders(project: Project) -> dict[str, Path]:
    """The folders of this machine that containers mount, by where they are mounted.

    Raises:
        StopError: COMPOSE_FILE names a file that is not there, or Compose cannot read one.
    """
    settings = project.settings
    files = settings.files()
    if not all((project.folder / name).exists() for name in files):
        check_engine(project)
    if set(files) <= set(KNOWN_FILES):
        paths = ((key, settings.path(key)) for key in FOLDERS)
        found = {key: path for key, path in paths if path}
        if "data" in project.extras and "LOCAL_DATA_DIR" in found:
            from .exchange import FOLDERS as OF_DATA  # noqa: PLC0415  only such projects have it

            found.update({name: found["LOCAL_DATA_DIR"] / name for name in OF_DATA})
        return found
    import json  # noqa: PLC0415

    # A file of the user's own: Compose knows, after a quarter of a second.
    asked = capture(*compose("--profile", "*", "config", "--format", "json"), cwd=project.folder)
    if asked.returncode:
        check_engine(project)
    services = json.loads(asked.stdout)["services"].values()
    binds = [v for s in services for v in s.get("volumes", ()) if v["type"] == "bind"]
    return {
        # `config` prints a dollar sign as two, so that its output can be read again.
        "LOCAL_CODE_DIR" if v["target"] == "/workspace" else v["target"]: Path(
            v["source"].replace("$$", "$")
        )
        for v in binds
    }


def make_place(project: Project, target: str, source: Path) -> None:
    """Make the place of a mount below /data: the engine cannot where that is read-only."""
    data = project.settings.path("LOCAL_DATA_DIR")
    if not data or not target.startswith("/data/") or project.settings.get(DATA_KEY) != "true":
        return
    place = data / target[len("/data/") :]
    with suppress(OSError):  # then the engine says why
        make_folder(place.parent if source.is_file() else place)
        if source.is_file() and not place.exists():
            write_file(place, "")


def refuse_link(project: Project, top: Path, folder: Path, key: str = "") -> None:
    """Raise StopError if a link below `top`, which containers change, leads to a folder.

    `key` is the one of .env that names the folder, if one does.
    """
    top, path = (Path(os.path.normpath(one)) for one in (top, folder))
    below = [path, *path.parents]
    if top not in below:
        return
    link = next((one for one in below[: below.index(top)] if one.is_symlink()), None)
    if link:
        target = os.path.realpath(str(path))
        key = {"/data": "LOCAL_DATA_DIR", "/outputs": "LOCAL_OUTPUTS_DIR"}.get(key, key)
        remedy = f"{me()} env --set {key}={quote(target)} && {me()} up"
        if not MOUNTED.fullmatch(key):
            remedy = f"ls -ld {quote(str(link))}"
        raise failed("folder-linked", project, path=str(link), target=target, remedy=remedy)


def make_folders(project: Project) -> None:
    """Make the folders that containers mount: Docker would make them, and as root.

    Raises:
        StopError: the folder of the code does not exist, or another cannot be made.
    """
    for key, folder in mounted_folders(project).items():
        refuse_link(project, code_folder(project), folder, key)
        make_place(project, key, folder)
        if folder.exists():
            continue
        if key == "LOCAL_CODE_DIR":
            raise failed("code-folder-missing", project, path=str(folder))
        owner = None
        if os.getuid() == 0:  # called by root for somebody else: the folders are theirs
            owner = (int(project.settings.get("USRID")), int(project.settings.get("GRPID")))
        try:
            make_folder(folder, owner)
        except OSError as error:
            raise folder_not_made(project, folder, error) from error
        show(f"Made the folder {folder}")


def environment_of_run(project: Project) -> dict[str, str]:
    """The environment for `compose run`: with RUN_FILE, unless a file of the user's may need more.

    That file may give a service networks, or add services that a command reaches by their names.
    """
    files = project.settings.files()
    environ = {**os.environ, **NO_ORPHANS}
    own = [one for one in files if one not in KNOWN_FILES and not one.startswith(OF_THIS_CALL)]
    if own or not (project.folder / RUN_FILE).is_file():
        return environ
    separator = project.settings.get("COMPOSE_PATH_SEPARATOR") or ":"
    return {**environ, "COMPOSE_FILE": separator.join([*files, RUN_FILE])}


def attach_gpus(project: Project, *, quiet: bool = False) -> None:
    """Let the containers have the GPUs of .env, in a project for GPUs."""
    if project.accelerator == "cuda":
        from .gpu_start import attach_gpus as attach  # noqa: PLC0415  only such projects have it

        attach(project, quiet=quiet)


def write_files(project: Project, *, quiet: bool = False) -> None:
    """Bring the override files in line that COMPOSE_FILE in .env then names, if it has to."""
    attach_gpus(project, quiet=quiet)
    give_secrets(project)
    share_cache(project)


def before_start(project: Project, target: str, *, quiet: bool = False) -> None:
    """What is true of every container before it starts."""
    found = keep_apart_and_ask(project, lambda: image_id(project.image(target)))
    check_ids(project)
    need_image(project, target, found)
    if not project.workspace:  # `workspaces.enter` has, and no docker-amd64 is in its code
        write_files(project, quiet=quiet)
    make_folders(project)
    if not project.workspace:
        guard(project)
    check_limits(project)


# --------------------------------------------------------------------------- the dev container


def gpu_options(parser: argparse.ArgumentParser, *, of_run: bool) -> None:
    """The options for GPUs, in a project for GPUs."""
    with suppress(ModuleNotFoundError):
        from .gpu_start import gpu_options as add  # noqa: PLC0415  only such projects have it

        add(parser, of_run=of_run)


def up_options(parser: argparse.ArgumentParser) -> None:
    """Those for GPUs."""
    gpu_options(parser, of_run=False)


def do_up(project: Project, options: argparse.Namespace) -> None:
    """Start the dev container, and wait until it can be entered."""
    before_start(project, "dev")
    if not project.workspace:
        publish_apps(project)
    if project.accelerator == "cuda":
        from .gpu_choice import start_with_lease  # noqa: PLC0415  only such projects have it

        start_with_lease(project, options, lambda: start_dev(project))
    else:
        start_dev(project)
    wait_until_ready(project)
    show(f"The dev container runs. Run: {me()} shell{project.which}")


def wait_until_ready(project: Project) -> None:
    """Wait until the dev container can be entered, by ssh too. Raises StopError if it cannot.

    The first start installs the project; whoever enters next expects it there.
    """
    deadline = time.monotonic() + START_LIMIT
    ready, of_ssh = "test -e /tmp/.container-ready || exit 1", 0
    if "ssh" in project.extras:
        from .ssh import LISTENS, wait_for_server  # noqa: PLC0415  only such projects have it

        of_ssh = 3
        ready += f"; {LISTENS} || exit {of_ssh}"
    while True:
        name = container(project)
        status = ask_engine("exec", name, "sh", "-c", ready).returncode if name else 1
        if not status:
            return
        if status == of_ssh:
            wait_for_server(project, name)
            return
        if not name or time.monotonic() > deadline:
            said = capture(
                *compose("logs", "--no-log-prefix", "--tail", "20", "dev"), cwd=project.folder
            )
            show_text(said.stdout + said.stderr)
            raise why_not_started(project, said.stdout + said.stderr)
        time.sleep(0.2)


def start_dev(project: Project) -> None:
    """Let Compose start the dev container, or replace it where something has changed."""
    up = ("up", "--detach", "--no-build", "dev")
    override, options = git_override(project), []
    for_editors = "devcontainer" in project.extras and not project.workspace
    if for_editors:
        from .devcontainer import options_of_editor  # noqa: PLC0415  only such projects have it

        options = options_of_editor(project)
    if options or ((project.folder / EDITOR_FILE).is_file() and not project.workspace):
        from .editor import write_editor_file  # noqa: PLC0415  few starts need it

        write_editor_file(project, override)
    if options:
        call(project, compose(*options, *up), env=NO_ORPHANS)
        return
    if for_editors:
        from .devcontainer import with_labels  # noqa: PLC0415  only such projects have it

        override = with_labels(project, override)
    env = {**NO_ORPHANS, **(with_stdin(project) if override else {})}
    call(project, compose(*up), stdin=override or None, env=env)


def why_not_started(project: Project, text: str) -> StopError:
    """The failure of a dev container that ended while it was started, or did not get ready."""
    words = compose("ps", "--all", "--format", "{{.ExitCode}}", "dev")
    status = capture(*words, cwd=project.folder).stdout.strip()
    stop = explain(project, text, status=int(status) if status.isdigit() else 0)
    return stop or failed("container-not-started", project)


def command_options(parser: argparse.ArgumentParser) -> None:
    """A command that is passed on as it is."""
    parser.add_argument("command", nargs="...", metavar="CMD", help="the command and its arguments")


exec_options = command_options


def script_name() -> tuple[str, str]:
    """The option that tells a container how the user called this script, for its messages."""
    return ("--env", f"TEMPLATE_SH={me()}")


def shell_options(parser: argparse.ArgumentParser) -> None:
    """Another shell, and what it may be told."""
    parser.add_argument(
        "command",
        nargs="...",
        metavar="[bash|zsh] ARGUMENT",
        help="for the shell that is named, else for the one that was chosen",
    )


def command_of(options: argparse.Namespace, verb: str) -> list[str]:
    """The command of the user, without the -- that may be in front of it. Raises StopError."""
    words: list[str] = options.command
    if words[:1] == ["--"]:
        words = words[1:]
    elif words and words[0].startswith("-"):
        raise StopError(
            f"{verb} does not know {words[0]}. A command that starts with - is written behind --.",
            f"{me()} {verb} --help",
            name=USAGE,
        )
    if not words:
        raise StopError(
            f"{verb} needs a command, such as: {verb} python -V.",
            f"{me()} {verb} --help",
            name=USAGE,
        )
    return words


def enter(project: Project, *words: str) -> NoReturn:
    """Become a command in the dev container; at its end, say why the engine has refused it."""
    watch_stderr(partial(engine_refuses, project))
    become(project, compose("exec", *words))


def do_exec(project: Project, options: argparse.Namespace) -> None:
    """Become a command in the dev container."""
    words = command_of(options, "exec")
    need_container(project, words[0])
    enter(project, *script_name(), "dev", *words)


def do_shell(project: Project, options: argparse.Namespace) -> None:
    """Become a shell in the dev container."""
    need_container(project)
    words: list[str] = options.command
    shell, words = (words[0], words[1:]) if words[:1] in SHELLS else (project.shell, words)
    there = ("sh", "-c", 'command -v "$0"', shell)
    if shell != "bash" and ask_engine("exec", container(project), *there).returncode:
        choose = "" if shell == project.shell else f"{me()} update --data shell={shell} && "
        remedy = f"{choose}{me()} build dev && {me()} up"
        raise failed("shell-missing", project, shell=shell, remedy=remedy)
    enter(project, "dev", shell, *words)


def need_any_container(project: Project) -> None:
    """Raise StopError without a dev container, running or stopped: Compose says little or nothing.

    Where the engine does not answer, the verb itself says why.
    """
    asked = capture(*compose("ps", "--all", "--quiet", "dev"), cwd=project.folder)
    if not asked.returncode and not asked.stdout.strip():
        raise failed("container-missing", project, remedy=f"{me()} up{project.which}")


def logs_options(parser: argparse.ArgumentParser) -> None:
    """As Compose has them, the usual ones."""
    parser.add_argument("-f", "--follow", action="store_true", help="wait for more")
    parser.add_argument("-n", "--tail", metavar="LINES", help="only the last lines")
    parser.add_argument(
        "-t", "--timestamps", action="store_true", help="with the time of each line"
    )

    parser.add_argument("job", nargs="?", metavar="JOB", help="of run -d, in place of dev")
    with suppress(ModuleNotFoundError):
        from .clusters.jobs import logs_options as add  # noqa: PLC0415  few projects have it

        add(parser)


def do_logs(project: Project, options: argparse.Namespace) -> int:
    """Show what the dev container's entrypoint and command print, or a job."""
    if project.clusters and options.job and not project.workspace:
        from .clusters.jobs import logs_of_job  # noqa: PLC0415  few projects have it

        status = logs_of_job(project, options)
        if status is not None:
            return status
    words = ["--follow"] if options.follow else []
    words += ["--tail", options.tail] if options.tail else []
    words += ["--timestamps"] if options.timestamps else []
    job = ""
    if options.job and options.job != "dev":
        job = find_job(project, options.job).id
        call(project, engine_command("logs", *words, job))
    else:
        need_any_container(project)
        call(project, compose("logs", *words, "dev"))
    if project.accelerator == "cuda":
        from .gpu_trouble import show_trouble  # noqa: PLC0415  only such projects have it

        show_trouble(project, job=job or container(project))
    return 0


def stop_options(parser: argparse.ArgumentParser) -> None:
    """What to stop."""
    parser.add_argument("job", nargs="?", metavar="JOB", help="of run -d, in place of dev")


def do_stop(project: Project, options: argparse.Namespace) -> None:
    """Pause the dev container, or end a job, which then has the time to save its work."""
    keep_apart(project)
    if options.job and options.job != "dev":
        call(project, engine_command("stop", find_job(project, options.job).id), capture=True)
        show(f"Stopped {options.job}. Its output is kept. Run: {me()} logs {quote(options.job)}")
        return
    call(project, compose("stop", "dev"))


def do_start(project: Project, _: argparse.Namespace) -> None:
    """Continue it, and wait until it can be entered."""
    keep_apart(project)
    need_any_container(project)
    if project.accelerator == "cuda":
        from .gpu_choice import lease_again  # noqa: PLC0415  only such projects have it

        lease_again(project, lambda: call(project, compose("start", "dev")))
    else:
        call(project, compose("start", "dev"))
    wait_until_ready(project)


def down_options(parser: argparse.ArgumentParser) -> None:
    """Whether to ask."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask, even if jobs run")


def do_down(project: Project, options: argparse.Namespace) -> int:
    """Remove the containers, those of jobs too."""
    keep_apart(project)
    if not remove_jobs(project, "down", yes=options.yes):
        return 1
    remove_workers(project)
    call(project, compose("--profile", "*", "down"))
    return 0


def remove_workers(project: Project) -> None:
    """Remove Airflow's workers of workspaces, which are in the network of the project."""
    if "airflow" in project.extras and not project.workspace:
        from .airflow_workers import stop_workers  # noqa: PLC0415  only such projects have it

        stop_workers(project)


def freeze_options(parser: argparse.ArgumentParser) -> None:
    """Whether to ask."""
    parser.add_argument("-y", "--yes", action="store_true", help="write without asking")


def do_freeze(project: Project, options: argparse.Namespace) -> int:
    """Let update_env_file in the dev container compare and write; it asks on a terminal."""
    from .images import packages_of  # noqa: PLC0415  the other verbs here need neither
    from .metadata import lock_digests, record_lock  # noqa: PLC0415

    need_container(project)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    words = compose("exec", *([] if terminal else ["-T"]), *script_name(), "dev")
    words += ["update_env_file", *(["-y"] if options.yes else [])]
    files = packages_of(project).FILES
    before = lock_digests(project, files)
    status = subprocess.run(words, cwd=str(project.folder), check=False).returncode
    if status in (126, 127):
        raise failed("dev-image-old", project)
    after = lock_digests(project, files)
    if not status and any(after[one] != before.get(one) for one in after if one.endswith(".lock")):
        record_lock(project, files)
    return status


# ------------------------------------------------------------------------- a container of its own


def run_options(parser: argparse.ArgumentParser) -> None:
    """Those of `docker run` that a command needs most."""
    parser.add_argument(
        "-d", "--detach", action="store_true", help="as a job: do not wait for its end"
    )
    for short, long, value, text in (
        ("-e", "--env", "KEY=VALUE", "set an environment variable"),
        ("-v", "--volume", "HERE:THERE", "mount a folder"),
        ("-w", "--workdir", "FOLDER", "run it there"),
        ("-p", "--publish", "PORTS", "publish a port"),
        ("", "--name", "NAME", "name the job"),
    ):
        flags = [short, long] if short else [long]
        parser.add_argument(*flags, metavar=value, action="append", default=[], help=text)
    parser.add_argument(
        "--record", action="store_true", help="write down what it is made with, in outputs/records/"
    )
    gpu_options(parser, of_run=True)
    command_options(parser)


def given_options(options: argparse.Namespace) -> list[str]:
    """The options that Compose has too."""
    given: list[str] = []
    for name in ("env", "volume", "workdir", "publish"):
        for value in getattr(options, name):
            given += [f"--{name}", value]
    return given


def lease_gpus(project: Project, options: argparse.Namespace, what: str) -> Held | None:
    """The lease of the GPUs that --gpus asks for; None without, and in other projects."""
    if project.accelerator != "cuda" or not (options.gpus or options.wait):
        return None
    from .gpu_choice import choose_gpus  # noqa: PLC0415  only such projects have it

    return choose_gpus(project, options, what)


def watchdog_words(project: Project, options: argparse.Namespace) -> list[str]:
    """What to put before a command so that its GPUs are watched; nothing in other projects."""
    if project.accelerator != "cuda":
        return []
    from .gpu_start import watchdog_words as words  # noqa: PLC0415  only such projects have it

    return words(project, options)


def run_here(
    project: Project, options: argparse.Namespace, words: list[str], lease: Held | None
) -> int:
    """Become Compose, or run it again and again for --restart-on; then its exit status."""
    os.environ.update(environment_of_run(project))
    if project.accelerator == "cuda" and options.restart_on:
        from .gpu_restart import run_again  # noqa: PLC0415  only such projects have it

        return run_again(project, words, lease.gpus if lease else ())
    refused = engine_refuses
    if project.accelerator == "cuda":
        from .gpu_start import start_refused as refused  # noqa: PLC0415  only such projects have it
    watch_stderr(partial(refused, project))
    if lease:
        lease.hand_on()
    return become(project, words)


def do_run(project: Project, options: argparse.Namespace) -> int:
    """Become Compose, which runs the command: signals and the exit status are the command's.

    With --detach the container is kept, for its output.
    """
    words = command_of(options, "run")
    watched = [*watchdog_words(project, options), *words]
    before_start(project, "runtime", quiet=True)
    given, job = [*script_name()], ""
    if options.detach or options.name:
        job = new_name(project, (options.name or [""])[-1])
        name = f"{project.settings.get('COMPOSE_PROJECT_NAME')}-{job}"
        given += ["--name", name]
    lease = lease_gpus(project, options, job or "run")
    if options.record:
        from .record import record_run  # noqa: PLC0415  only such a run needs it

        keys = [one.partition("=")[0] for one in options.env]
        given += ["--env", f"RECORD_DIR={record_run(project, words, keys, job)}"]
    version = git_version(project.settings.path("LOCAL_CODE_DIR") or project.folder.parent)
    given += ["--env", f"PROJECT_VERSION={version}"] if version else []
    given += given_options(options)
    for value in options.volume:
        here, _, there = value.partition(":")
        make_place(project, there.partition(":")[0], project.folder / Path(here).expanduser())
    run = ("--progress", "quiet", "run", "--no-deps")
    if options.detach:
        start = compose(*run, "--detach", *given, "runtime", *watched)
        call(project, start, env=environment_of_run(project), capture=True)
        if lease:
            lease.end_with(name)
        print(job)
        show(f"The job {job} runs. Run: {me()} logs --follow {job}")
        return 0
    start = [*compose_program(project), *run, "--rm", *given, "runtime", *watched]
    return run_here(project, options, start, lease)
