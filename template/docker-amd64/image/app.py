"""Starts, stops and finds programs of apps.ini in the dev container.

template.sh sends this file to Python there, so that it works in a container of any age:

    python -IS - start '{"name": "jupyter", "command": "...", "port": 8888, ...}'

The answer is one line of JSON. The log and the token of an app are in ~/.apps/NAME, which outlives
the container; its process is named in /tmp, which does not. Standard library only, and an exec has
the right environment already: -S leaves out what Python would add to it.
"""

import fcntl
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

LINES = 20  # of the log of an app that did not start
PATIENCE = 20  # seconds that an app has to end


def read(path: str) -> str:
    """The text of a file, "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


# ----------------------------------------------------------------------------------- processes


def start_time(pid: int) -> str:
    """When a process was started, in the kernel's ticks; "" if there is none, or it has ended.

    Another process of the same number has another one: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if fields and fields[0] not in "ZX" else ""


@contextmanager
def state_file(name: str) -> "Iterator[IO[str]]":
    """The file that names the process of an app; nobody else has it meanwhile."""
    descriptor = os.open(f"/tmp/.app-{name}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)  # noqa: S108
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def running(text: str) -> int:
    """The process that a state file names, 0 if it has ended."""
    pid, _, started = text.partition(" ")
    # In /tmp, a program may have written something else.
    known = pid.isascii() and pid.isdigit() and started
    return int(pid) if known and start_time(int(pid)) == started else 0


def has_members(group: int) -> bool:
    """Whether a process group has a process."""
    with suppress(ChildProcessError):  # who was started just now is ours, and has no other parent
        os.waitpid(group, os.WNOHANG)
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def listener(port: int) -> str:
    """Who listens on a port, as far as this user sees it."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        for line in read(f"/proc/net/{table}").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        with suppress(OSError):
            folder = f"/proc/{pid}/fd"
            if sockets & {os.readlink(f"{folder}/{one}") for one in os.listdir(folder)}:  # noqa: PTH115, PTH208
                return f"{read(f'/proc/{pid}/comm').strip()} (process {pid})"
    return "another process"


# ------------------------------------------------------------------------------------- answers


def own_address() -> str:
    """The address of this container, at which the engine reaches it."""
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"


def answers(address: str, port: int, path: str) -> bool:
    """Whether an app is ready: its path answers, or without one a connection is taken."""
    try:
        if not path:
            socket.create_connection((address, port), 2).close()
            return True
        connection = http.client.HTTPConnection(address, port, timeout=5)
        connection.request("GET", path, headers={"Host": f"127.0.0.1:{port}"})
        ready = connection.getresponse().status < 400  # noqa: PLR2004
        connection.close()
    except (OSError, http.client.HTTPException):
        return False
    return ready


# --------------------------------------------------------------------------------------- verbs


def token_file(folder: str) -> str:
    """The file of an app's token, which is made once and only its user may read."""
    path = f"{folder}/token"
    if not read(path).strip():
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(24))
    return path


def launch(app: "dict[str, Any]", folder: str, path: str) -> "subprocess.Popen[bytes]":
    """Start an app in a session of its own, with a new log; the last one becomes log.1."""
    log = f"{folder}/log"
    with suppress(FileNotFoundError):
        os.replace(log, f"{log}.1")  # noqa: PTH105
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
        return subprocess.Popen(
            ["bash", "-c", app["command"]],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, app["token"]: path} if path else None,
            start_new_session=True,
        )


def start(app: "dict[str, Any]") -> "dict[str, Any]":
    """Start an app unless it runs, and wait until it answers."""
    folder = os.path.join(os.path.expanduser("~"), ".apps", app["name"])  # noqa: PTH111, PTH118
    os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
    path = token_file(folder) if app["token"] else ""
    port, address, process = app["port"], own_address(), None
    with state_file(app["name"]) as state:
        pid = running(state.read())
        if not pid:
            if any(answers(one, port, "") for one in {address, "127.0.0.1"}):
                return {"state": "port-taken", "who": listener(port)}
            process = launch(app, folder, path)
            pid = process.pid
            state.seek(0)
            state.truncate()
            state.write(f"{pid} {start_time(pid)}")
    deadline = time.monotonic() + app["limit"]
    found = "silent"
    while time.monotonic() < deadline:
        if answers(address, port, app["health"]):
            return {"state": "ready", "token": read(path) if path else ""}
        if process and process.poll() is not None:
            found = "ended"
            break
        if answers("127.0.0.1", port, "") and not answers(address, port, ""):
            stop(app)
            found = "loopback"
            break
        time.sleep(0.2)
    return {
        "state": found,
        "status": process.returncode if process else None,
        "log": read(f"{folder}/log").splitlines()[-LINES:],
    }


def stop(app: "dict[str, Any]") -> "dict[str, Any]":
    """End an app and its process group: first they are asked to."""
    with state_file(app["name"]) as state:
        pid = running(state.read())
        if not pid:
            return {"state": "none"}
        for number, seconds in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 5)):
            with suppress(ProcessLookupError):
                os.killpg(pid, number)
            deadline = time.monotonic() + seconds
            while has_members(pid) and time.monotonic() < deadline:
                time.sleep(0.1)
        return {"state": "stopped"}


def look(asked: "dict[str, Any]") -> "dict[str, Any]":
    """Which apps run."""
    return {name: bool(running(read(f"/tmp/.app-{name}"))) for name in asked["names"]}  # noqa: S108


if __name__ == "__main__":
    verb = {"start": start, "stop": stop, "look": look}[sys.argv[1]]
    print(json.dumps(verb(json.loads(sys.argv[2]))))
