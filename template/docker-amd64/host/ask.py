"""Asking commands and files: what fails is not known, and with a time limit delays nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence
    from pathlib import Path

T = TypeVar("T")

# What a repository may not make git run: programs of containers can write into .git. Its filters
# run, because files that nobody changed would look changed without them.
GIT_SETTINGS = {"core.fsmonitor": "false", "core.hooksPath": os.devnull}
# Git where it asks a server. Settings of the project's repository could name a program for that,
# such as core.sshCommand with an insteadOf: so it finds no repository.
GIT_ALONE = ("git", "--git-dir", os.devnull)
# Variables that name another repository than that of the folder: `git rev-parse --local-env-vars`.
# Git sets them for its hooks and for `rebase --exec`. Others read paths as patterns, or exclude
# each other.
ELSEWHERE = re.compile(
    "GIT_(DIR|(IMPLICIT_)?WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|COMMON_DIR|(INTERNAL_SUPER_)?PREFIX"
    "|NAMESPACE|GRAFT_FILE|SHALLOW_FILE|(LITERAL|GLOB|NOGLOB|ICASE)_PATHSPECS)"
)
# For an update, beside: a bare clone is a repository, and what git says is read by a program.
UPDATE_SETTINGS = {
    **GIT_SETTINGS,  # template.sh of an older version has not set them
    "safe.bareRepository": "all",
    "log.showSignature": "false",
    "color.ui": "false",
}
# What the hook starts before all else, since no other answer takes as long. `docker info` knows no
# shorter form before version 23.
DOCKER_INFO = ("docker", "info", "--format", "{{json .}}")
LOOK_LIMIT = 2.0  # seconds for a look at files and the user database (which may be on a network)


@dataclass(frozen=True)
class Output:
    """What a command said; `status` is None if it could not be started or did not end in time."""

    status: int | None
    out: str = ""
    err: str = ""
    timed_out: bool = False


_started: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}


def start_command(args: Sequence[str]) -> None:
    """Start a command for which `command` is called later, with the same words. Never raises."""
    process = _process(args)
    if isinstance(process, subprocess.Popen):
        _started[tuple(args)] = process


def _process(args: Sequence[str]) -> subprocess.Popen[bytes] | Output:
    """A command that runs, or why it does not."""
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            args,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            env=dict(os.environ, LC_ALL="C"),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Output(None, err=str(error))


def command(args: Sequence[str], limit: float) -> Output:
    """Run a command for at most `limit` seconds. Never raises.

    It does not wait for a killed process either: one that hangs inside a driver cannot be killed.
    """
    process = _started.pop(tuple(args), None) or _process(args)
    if isinstance(process, Output):
        return process
    try:
        out, err = process.communicate(timeout=max(limit, 0.05))
    except subprocess.TimeoutExpired:
        kill_group(process.pid)
        return Output(None, timed_out=True)
    return Output(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def capture(
    *words: str, cwd: Path | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and keep what it says in English; 127 if there is no such program.

    It reads `text` and has no terminal, so git asks for no password.
    """
    try:
        return subprocess.run(
            words,
            cwd=str(cwd) if cwd else None,
            input=text,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(
            words, 127, "", f"{words[0]}: command not found ({error})"
        )


def set_git_up(settings: Mapping[str, str], environ: MutableMapping[str, str]) -> None:
    """Give every git that has this environment more settings, which win over those of files."""
    count = int(environ.get("GIT_CONFIG_COUNT") or 0)
    for at, (key, value) in enumerate(settings.items(), count):
        environ.update({f"GIT_CONFIG_KEY_{at}": key, f"GIT_CONFIG_VALUE_{at}": value})
    environ["GIT_CONFIG_COUNT"] = str(count + len(settings))


def stay_here(environ: MutableMapping[str, str]) -> None:
    """Let each git of an update work in the repository of its folder, whatever a user has set."""
    for key in filter(ELSEWHERE.fullmatch, [*environ]):
        del environ[key]
    set_git_up(UPDATE_SETTINGS, environ)


def kill_group(pid: int) -> None:
    """Kill a process and those it started, if it is still there."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (OSError, AttributeError):  # it is gone already, or this is Windows
        return


def in_background(question: Callable[[], T]) -> Callable[[], T]:
    """Ask at once, in another thread; what it returns waits for the answer, or raises its error."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(question())
        except BaseException as error:  # noqa: BLE001  it is raised where the answer is needed
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()

    def wait() -> T:
        thread.join()
        for error in errors:
            raise error
        return answers[0]

    return wait


def gather(sources: Mapping[str, Callable[[], Any]], limit: float) -> dict[str, Any]:
    """Call all sources at once; return the answers that came within `limit` seconds."""
    return start_gather(sources, limit)()


def start_gather(
    sources: Mapping[str, Callable[[], Any]], limit: float
) -> Callable[[], dict[str, Any]]:
    """Call all sources at once; what it returns waits for the answers, `limit` seconds from now."""
    answers: dict[str, Any] = {}

    def answer(name: str, source: Callable[[], Any]) -> None:
        try:
            answers[name] = source()
        except Exception:  # noqa: BLE001 a fact that cannot be had is unknown, whatever the reason
            return

    threads = [threading.Thread(target=answer, args=item, daemon=True) for item in sources.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + limit

    def wait() -> dict[str, Any]:
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return dict(answers)

    return wait


def read_text(path: Path) -> str:
    """The text of a file, or an empty string if it cannot be read. A named pipe would hang."""
    try:
        return "" if path.is_fifo() else path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def read_json(text: str) -> dict[str, Any]:
    """The JSON object that a text holds, or an empty one."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
