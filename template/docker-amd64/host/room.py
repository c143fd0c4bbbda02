"""Prints what a program finds where it is started, as one line of JSON. For `template.sh doors`.

It runs in containers, by the text of this file: `python -c TEXT`.
"""

from __future__ import annotations

import grp
import importlib.metadata
import json
import os
import pwd
import shutil
import signal
import sys
import tempfile
from pathlib import Path

SECRETS = Path("/run/secrets")
SHORTEST = 6  # characters of a secret that is looked for in a longer value


def version_of(package: str) -> str:
    """The version of a package without importing it, "" if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def owner_of_new_file() -> str:
    """User and group of a file made in the working directory, or why none can be made."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=".door-", dir=".")
    except OSError as error:
        return error.strerror or "none can be made"
    found = os.fstat(descriptor)
    os.close(descriptor)
    Path(name).unlink()
    return f"{found.st_uid}:{found.st_gid}"


def user() -> str:
    """The name of the user of this process, or its number."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def groups() -> str:
    """The groups of this process but the one that may change /opt/venv, which only dev has."""
    of_dev = {group.gr_gid for group in grp.getgrall() if group.gr_name == "venv"}
    return " ".join(map(str, sorted({*os.getgroups(), os.getgid()} - of_dev)))


def content(file: Path) -> str:
    """What a variable has of a secret's file, "" for a folder or a file of somebody else."""
    try:
        return "\n".join(file.read_text("utf-8", "replace").splitlines())
    except OSError:
        return ""


def shown(environment: dict[str, str], folder: Path = SECRETS) -> dict[str, str]:
    """Variables with the name of a secret in place of its value: logs and terminals show them."""
    found = {content(file): f"<{file}>" for file in folder.glob("*")}
    hidden = dict(environment)
    for secret in sorted(filter(None, found), key=len, reverse=True):
        for name, value in hidden.items():
            if value == secret or len(secret) >= SHORTEST:
                hidden[name] = value.replace(secret, found[secret])
    return hidden


def room() -> dict[str, object]:
    """What is compared: facts by their names, and the environment."""
    mask = os.umask(0)
    shared = os.statvfs("/dev/shm")  # noqa: S108  the folder of shared memory
    action = signal.getsignal(signal.SIGTERM)
    blocked = signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return {
        "user": user(),
        "ids": f"{os.getuid()}:{os.getgid()}",
        "groups": groups(),
        "umask": f"{mask:04o}",
        "folder": str(Path.cwd()),
        "python": shutil.which("python") or "",
        "prefix": sys.prefix,
        "torch": version_of("torch"),
        "GPUs": str(len([*Path("/dev").glob("nvidia[0-9]*")])),
        "shared memory": f"{shared.f_frsize * shared.f_blocks >> 20} MiB",
        "owner of a new file": owner_of_new_file(),
        "SIGTERM": "ends it" if action == signal.SIG_DFL and not blocked else "is ignored",
        "environment": shown(dict(os.environ)),
    }


if __name__ == "__main__":
    print(json.dumps(room()))
