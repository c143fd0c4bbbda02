"""Calls of the container engine: what it says is shown as it is, and a failure is explained."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO, TYPE_CHECKING, Callable, Iterator, Mapping, NoReturn, TypeVar

from .ask import capture, in_background, read_text
from .engine_words import ask_engine, compose, compose_plugin, engine_command
from .env_file import set_keys
from .failures import explain, failed
from .files import write_file
from .ids import check_ids
from .place import KEY, keep_apart
from .plain import one_line
from .programs import LOCKS_DIFFER_STATUS, look_inside, refuse_program
from .project import StopError, me
from .turn import in_turn, turn

if TYPE_CHECKING:
    from pathlib import Path

    from .project import Project

T = TypeVar("T")

CHUNK = 65536  # bytes of a pipe that are read at once
TAIL = 400  # lines of what a command said that may tell why it failed


def with_stdin(project: Project) -> dict[str, str]:
    """The environment with which Compose reads one more file, from its standard input."""
    separator = project.settings.get("COMPOSE_PATH_SEPARATOR") or ":"
    return {"COMPOSE_FILE": separator.join([*project.settings.files(), "-"])}


def name_file(project: Project, name: str) -> None:
    """Let COMPOSE_FILE in .env name a file that this program makes exactly where it exists.

    So plain Compose reads it too.
    """
    if "COMPOSE_FILE" in os.environ:
        return
    files = project.settings.files()
    if (name in files) == (project.folder / name).is_file():
        return
    if name in files:
        files.remove(name)
    else:
        at = files.index("compose.yaml") + 1 if "compose.yaml" in files else len(files)
        files.insert(at, name)
    separator = project.settings.get("COMPOSE_PATH_SEPARATOR") or ":"
    set_keys(project.folder, [f"COMPOSE_FILE={separator.join(files)}"])
    project.forget_settings()


def keep_file(project: Project, name: str, text: str) -> None:
    """Bring an override file that this program makes in line with its text; without, remove it.

    Raises:
        OSError, ProbeError: the file, or COMPOSE_FILE in .env, cannot be written.
    """
    file = project.folder / name
    if text == read_text(file) and (name in project.settings.files()) == bool(text):
        return
    with turn(project.folder, "up"):
        if text:
            write_file(file, text)
        else:
            with suppress(FileNotFoundError):
                file.unlink()
        name_file(project, name)


def keep_or_say(project: Project, name: str, text: str, otherwise: str) -> bool:
    """The same, where a start goes on without it: say `otherwise` and why, and return False."""
    from .env_file import ProbeError  # noqa: PLC0415  few calls need it

    try:
        keep_file(project, name, text)
    except (OSError, ProbeError) as error:  # such as a folder that is read-only for this user
        show(f"{otherwise}: {' '.join(str(error).split())}")
        return False
    return True


def show(text: str) -> None:
    """Print a line for the user; stdout is left to what a verb was asked for.

    What others wrote in it, such as a name with a line end, cannot look like further lines.
    """
    show_text(one_line(text))


def show_text(text: str) -> None:
    """Print a text of several lines for the user, whose parts cannot look like other lines."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def copy_lines(source: IO[bytes], lines: deque[bytes], target: IO[bytes] | None) -> None:
    """Copy what comes from a pipe to a stream as it comes, and keep its last lines.

    A progress bar has no end of line, and is not to wait for one.
    """
    for chunk in iter(lambda: os.read(source.fileno(), CHUNK), b""):
        if target:
            target.write(chunk)
            target.flush()
        for line in chunk.splitlines(keepends=True):
            if lines and not lines[-1].endswith((b"\n", b"\r")):
                lines[-1] += line
            else:
                lines.append(line)


def call(
    project: Project,
    words: list[str],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    to_stderr: bool = False,
    capture: bool = False,
    image_name: str = "",
    folder: Path | None = None,
) -> str:
    """Run a command in docker-amd64, show what it says, and explain its failure.

    Args:
        project: the project.
        words: the command.
        stdin: text for its standard input.
        env: further environment variables.
        to_stderr: show its stdout on stderr: a failing build step says why on one of them, and
            that it failed on the other.
        capture: return its stdout instead of showing it.
        image_name: the image that a registry is asked for.
        folder: where to run it instead.

    Raises:
        StopError: the command failed; with its exit status.
    """
    sys.stdout.flush()
    lines: deque[bytes] = deque(maxlen=TAIL)
    output: deque[bytes] = deque()
    try:
        process = subprocess.Popen(
            words,
            cwd=str(folder or project.folder),
            env={**os.environ, **(env or {})},
            stdin=None if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE if capture or to_stderr else None,
            stderr=subprocess.STDOUT if to_stderr else subprocess.PIPE,
        )
    except FileNotFoundError:
        raise no_program(project, words[0]) from None
    if stdin is not None and process.stdin:
        try:
            process.stdin.write(stdin.encode())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has failed already, and says why
    spoken = process.stdout if to_stderr else process.stderr
    shown = threading.Thread(
        target=copy_lines, args=(spoken, lines, sys.stderr.buffer), daemon=True
    )
    shown.start()
    with tidy_end():
        try:
            if capture and process.stdout:
                copy_lines(process.stdout, output, None)
            status = process.wait()
        except KeyboardInterrupt:
            process.wait()  # it got the signal too, and removes what it has made
            raise
        except SystemExit:
            process.terminate()
            process.wait()
            raise
    shown.join()
    if status:
        text = b"".join(lines).decode("utf-8", "replace")
        status = status if status > 0 else 128 - status
        raise explain(project, text, image_name=image_name, status=status) or SilentError(
            status, of_machine=True
        )
    return b"".join(output).decode("utf-8", "replace")


def end_by_signal(number: int, _: object) -> NoReturn:
    """End this process as the signal would, but let it remove what it has made."""
    raise SystemExit(128 + number)


@contextmanager
def tidy_end() -> Iterator[None]:
    """Let a SIGTERM end this process as Ctrl-C does: it removes what it has made."""
    before = signal.signal(signal.SIGTERM, end_by_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class SilentError(StopError):
    """A failure that was shown in the engine's own words, for which no better ones are known."""

    def __init__(self, status: int, *, of_machine: bool = False):
        """Take the exit status; `of_machine`: the doctor may know more."""
        super().__init__("", f"{me()} doctor" if of_machine else "")
        self.status = status

    def __str__(self) -> str:
        """Nothing more than the next step, if there is one."""
        return f"  Run: {self.command}" if self.command else ""


def no_program(project: Project, name: str) -> StopError:
    """What to say where there is no docker command."""
    show(f"{name}: command not found")
    return explain(project, f"{name}: command not found") or StopError(
        f"There is no command {name}."
    )


def check_engine(project: Project) -> None:
    """Ask the engine and Compose what is wrong, after a failure that was not shown.

    Raises:
        StopError: the engine does not answer, or Compose cannot read the files.
    """
    for words in (engine_command("version"), compose("config", "--quiet")):
        asked = capture(*words, cwd=project.folder)
        if asked.returncode:
            show_text(asked.stderr.rstrip())
            raise explain(project, asked.stderr) or SilentError(1, of_machine=True)


def image_id(name: str) -> str:
    """The id of an image of this machine, "" if there is none."""
    asked = ask_engine("image", "inspect", "--format", "{{.Id}}", name)
    return asked.stdout.strip()


def keep_apart_and_ask(project: Project, ask: Callable[[], T]) -> T:
    """What the engine says of names of the project, asked beside whether they are its own.

    They change where `keep_apart` gives the project another name, and then it is asked again.
    """
    name, asked = project.settings.get(KEY), in_background(ask)
    keep_apart(project)
    answer = asked()
    return answer if project.settings.get(KEY) == name else ask()


def need_image(project: Project, target: str, found: str = "") -> None:
    """Raises StopError unless an image of the project is built; `found` is its id, if known."""
    name = project.image(target)
    if found or image_id(name):
        return
    check_engine(project)
    words = project.which or f" {target}"
    raise failed(
        "image-not-built", project, image=name, target=target, remedy=f"{me()} build{words}"
    )


def container(project: Project) -> str:
    """The id of the running dev container, "" if it does not run."""
    return container_of(project, "dev")


def container_of(project: Project, service: str) -> str:
    """The id of the running container of a service, "" if there is none."""
    return "".join(containers(project, service, "oneoff=False")[:1])


def containers(project: Project, service: str, label: str, *, running: bool = True) -> list[str]:
    """The ids of the containers of a service that have one more label of Compose."""
    name = project.settings.get("COMPOSE_PROJECT_NAME")
    labels = (f"project={name}", f"service={service}", label)
    filters = [f"--filter=label=com.docker.compose.{one}" for one in labels]
    filters += ["--filter=status=running"] if running else ["--all"]
    return ask_engine("ps", "--quiet", "--no-trunc", *filters).stdout.split()


def published(found: str, port: int) -> tuple[str, str] | None:
    """Where a port of a container can be reached on this machine: address and port."""
    said = ask_engine("port", found, str(port)).stdout
    match = re.search(r"^(.*):(\d+)$", said, re.MULTILINE)
    if not match:
        return None
    address = match[1].strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address), match[2]  # noqa: S104


def need_container(project: Project, program: str = "", *, root: bool = False) -> None:
    """Say it if the dev container is an older one.

    Args:
        project: the project.
        program: what will be executed in it; "" for something that it has.
        root: whether root of the container will execute it.

    Raises:
        StopError: it does not run, or cannot execute the program.
    """
    found = keep_apart_and_ask(project, lambda: container(project))
    if found:
        warn_of_age(project, found, partial(refuse_program, project, found, program, root=root))
        return
    need_image(project, "dev")
    check_engine(project)
    raise failed("container-not-running", project, remedy=f"{me()} up{project.which}")


def newer_than(project: Project, found: str, look: Callable[[], int] | None = None) -> str:
    """What was made after a running container was started: image, lock, or "" for neither.

    `look` gives what `look_inside` says, and may raise. All three questions are asked at once.
    """
    asked = in_background(lambda: ask_engine("inspect", "--format", "{{.Image}}", found))
    known = in_background(lambda: image_id(project.image("dev")))
    status = look() if look else look_inside(found)
    used, built = asked().stdout.strip(), known()
    if built and used and built != used:
        return "image"
    return "lock" if status == LOCKS_DIFFER_STATUS else ""


def warn_of_age(project: Project, found: str, look: Callable[[], int]) -> None:
    """Say in one line that the running container lacks what was built or locked after its start.

    `look` gives what `look_inside` says, and may raise.
    """
    newer, up = newer_than(project, found, look), f"{me()} up{project.which}"
    if newer == "image":
        show(f"The dev container is older than its image. To replace it, run: {up}")
    elif newer == "lock":
        show(
            "The dev container is older than the lock. To replace it, run: "
            f"{me()} build{project.which or ' dev'} && {up}"
        )


def become(project: Project, words: list[str]) -> NoReturn:
    """Replace this process by a command, which gets its signals and terminal.

    Raises:
        StopError: there is no such program.
    """
    sys.stdout.flush()
    os.chdir(str(project.folder))
    try:
        os.execvp(words[0], words)  # noqa: S606  no shell is wanted
    except FileNotFoundError:
        raise no_program(project, words[0]) from None


def compose_program(project: Project) -> list[str]:
    """Compose without the docker command in front of it.

    On SIGTERM `docker compose run` would leave its container alone and running.
    """
    plugin = compose_plugin()
    if plugin:
        return [plugin]
    check_engine(project)
    return compose()


def run_tools(
    project: Project,
    service: str,
    *words: str,
    capture: bool = False,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command as the user in a container for the packages, which ends with this process.

    Args:
        project: the project.
        service: of compose.yaml.
        words: the command.
        capture: return its stdout instead of showing it.
        env: further environment variables of Compose.

    Raises:
        StopError: the command failed; with its exit status. Or it could not write.
    """
    check_ids(project)
    if in_turn():
        remove_leftovers(project, service)
    name = f"{project.settings.get('COMPOSE_PROJECT_NAME')}-{service}-{os.getpid()}"
    options = ("--rm", "--no-deps", "-T", "--name", name, "--env", f"TEMPLATE_SH={me()}")
    start = ("--progress", "quiet", "run", *options, service)
    try:
        return call(project, compose(*start, *words), capture=capture, env=env)
    except SilentError as error:  # of the program in the container
        raise SilentError(error.status) from None
    except (KeyboardInterrupt, SystemExit):
        remove_container(name)  # Compose leaves it running on SIGTERM
        raise


def remove_leftovers(project: Project, service: str) -> None:
    """Remove the containers of commands that were killed, before they write once more.

    In a turn nobody else has one: what an older container writes, no command has accepted.
    """
    for left in containers(project, service, "oneoff=True"):
        remove_container(left)


def remove_container(name: str) -> None:
    """Remove a container of this machine, if there is one of that name."""
    ask_engine("rm", "--force", name)


def has(program: str) -> bool:
    """Whether a program is on PATH."""
    return shutil.which(program) is not None
