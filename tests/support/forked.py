"""Updates in copies of the test's process, which need not start Python and compile everything anew.

What runs is the same: the files of the version that the update has unpacked, in a process of its
own, with the arguments and the environment that `template.sh update` gives it.
"""

from __future__ import annotations

import importlib.machinery
import marshal
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn

import pytest

import host.update

ROOT = Path(__file__).parents[2]
# What Jinja and Python have compiled, by all that it depends on.
COMPILED: dict[Any, Any] = {}
UPDATE = ["-B", "-m", "hooks.update"]
PERFORM = ["-B", "-m", "hooks.update.perform"]
HOOK = "hooks/post_generate.py"

_run = subprocess.run
_source_to_code = importlib.machinery.SourceFileLoader.source_to_code


def source_to_code(self: Any, data: Any, path: Any, **more: Any) -> CodeType:
    """Compile a module, or find it: each update unpacks the same ones elsewhere."""
    key = ("module", bytes(data)) if isinstance(data, bytes) and not more else None
    if key is None:
        return _source_to_code(self, data, path, **more)
    if key not in COMPILED:
        COMPILED[key] = _source_to_code(self, data, path)
    found: CodeType = COMPILED[key]
    return found


def forget_modules() -> None:
    """Forget the modules of this repository, which the engine of an update has too."""
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None) or ""
        if name.partition(".")[0] in ("hooks", "host", "tests") or (
            file and is_of_the_repository(file)
        ):
            del sys.modules[name]
    sys.path[:] = [one for one in sys.path if not is_of_the_repository(one)]
    sys.path_importer_cache.clear()


def is_of_the_repository(path: str) -> bool:
    """Whether a path is in this repository, but not in its environment."""
    place = Path(path or ".").absolute()
    return place.is_relative_to(ROOT) and not place.is_relative_to(ROOT / ".venv")


class Forked:
    """A command of an update in a copy of this process, as subprocess.Popen has it.

    Attributes:
        returncode: its exit status, once it has ended.
    """

    def __init__(self, command: Sequence[Any], cwd: Any, env: dict[str, str], **_: Any) -> None:
        """Start it."""
        self.returncode: int | None = None
        descriptor, name = tempfile.mkstemp(prefix="hearth-compiled-")
        os.close(descriptor)
        self.file = Path(name)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            work([*map(str, command)], cwd, env, self.file)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def wait(self) -> int:
        """Wait for it, and keep what it has compiled; its exit status."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            content = self.file.read_bytes()
            self.file.unlink()
            if content:
                COMPILED.update(marshal.loads(content))  # noqa: S302  of this very program
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


def work(command: list[str], cwd: Any, env: dict[str, str], file: Path) -> NoReturn:
    """Be the program of a command; what it compiles goes into a file."""
    known, status = {*COMPILED}, 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        importlib.machinery.SourceFileLoader.source_to_code = source_to_code  # type: ignore[method-assign]
        subprocess.run = run  # type: ignore[assignment]
        os.execv = become  # type: ignore[assignment]
        status = status_of(command)
        new = {key: code for key, code in COMPILED.items() if key not in known}
        file.write_bytes(marshal.dumps(new))
    except BaseException:  # noqa: BLE001  such as one that marshal refuses
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def status_of(command: list[str]) -> int:
    """Run one of the three programs of an update here; its exit status."""
    forget_modules()
    _, *words = command
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    try:
        if words[:3] in (UPDATE, PERFORM):
            sys.argv = words[2:]
            sys.path.insert(0, os.getcwd())  # noqa: PTH109
            runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def become(_: str, command: Sequence[str]) -> NoReturn:
    """As os.execv, for the second program of an update."""
    raise SystemExit(status_of([*command]))


def run(command: Any, *arguments: Any, **options: Any) -> Any:
    """As subprocess.run; the hook runs in a copy of this process."""
    words = [*map(str, command)] if isinstance(command, (list, tuple)) else []
    if len(words) < 3 or words[1] != "-B" or not words[2].endswith(HOOK):
        return _run(command, *arguments, **options)
    status = Forked([words[0], *words[2:]], options["cwd"], options["env"]).wait()
    return subprocess.CompletedProcess(command, status)


@contextmanager
def forked_updates() -> Iterator[None]:
    """Let updates run in copies of this process."""

    class Processes:
        """The module subprocess, as host.update sees it."""

        Popen = Forked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host.update, "subprocess", Processes)
        yield
