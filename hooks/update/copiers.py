"""The Copier that renders an update: one that is installed, or one in an environment of its own.

It runs in the Python that template.sh has found, which may be 3.8.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path

from host.ask import capture
from host.checkout import UpdateError
from host.failures import failed
from host.files import make_folder, write_file

OLDEST = (9, 18, 0)  # that renders the template: in one row of _exclude it takes several patterns
TOO_NEW = (10,)  # nothing is known of it yet
LOCK = "requirements.txt"  # of the template: Copier, and what its hook imports, each by its hash


def copier_python(lock: str) -> str:
    """The Python of a Copier that fits, or that of a lock. Raises StopError."""
    installed = shutil.which("copier")
    if installed and OLDEST <= copier_version(installed) < TOO_NEW:
        python = python_of(installed)
        if python:
            return python
    if not lock:
        raise failed("copier-not-locked", file=LOCK)
    if shutil.which("uv"):
        return str(own_copier(lock, "uv"))
    for name in ("python3", *(f"python3.{minor}" for minor in range(20, 9, -1)), "python"):
        able = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"
        if shutil.which(name) and not capture(name, "-c", able).returncode:
            return str(own_copier(lock, name))
    old = f" ({installed} is older than {'.'.join(map(str, OLDEST))})" if installed else ""
    raise UpdateError(
        f"An update needs Copier{old}, and neither uv nor a Python 3.10 with venv is here to get "
        "it.",
        # Debian's Python refuses to install into itself.
        "sudo apt-get install python3-venv"
        if shutil.which("apt-get")
        else f"{shlex.quote(sys.executable)} -m pip install --user uv",
    )


def python_of(program: str) -> str:
    """The Python that an installed Copier runs in, "" if that is not known."""
    folder = Path(program).resolve().parent
    for name in ("python", "python3"):
        if list(packages_of(program)) and os.access(folder / name, os.X_OK):
            return str(folder / name)
    return ""


def packages_of(program: str) -> list[Path]:
    """What an installed program's environment says of Copier: the folder with its version."""
    return [*Path(program).resolve().parents[1].glob("lib/python3*/site-packages/copier-*.*-info")]


def copier_version(program: str) -> tuple[int, ...]:
    """The version of an installed Copier; empty if it does not say."""
    # To start it takes half a second; its environment says the same in a file's name.
    names = [package.name for package in packages_of(program)]
    said = names[0] if len(names) == 1 else capture(program, "--version").stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


def own_copier(lock: str, tool: str) -> Path:
    """The Python of an environment with Copier, which the first update that needs it makes.

    It is under ~/.cache.

    Args:
        lock: the requirements with their hashes; each lock has its environment.
        tool: uv, or a Python with venv.

    Raises:
        UpdateError: it cannot be installed, or a file is not the one that the lock names.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute()
    name = f"copier-{hashlib.sha256(lock.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
    folder = cache / "hearth" / name
    program, requirements, whole = folder / "bin/python", folder / LOCK, folder / "whole"
    if whole.is_file():
        return program
    print(f"Installing Copier into {folder} ...", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder.parent)
    # uv reads uv.toml and pyproject.toml of the folder around it. Those of the project can name a
    # cache, a Python or an index, and a program in a container can write them.
    apart = partial(capture, cwd=folder.parent)
    # A source that is built would bring packages that no lock names.
    exactly = ("--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(requirements))
    if tool == "uv":
        made = apart("uv", "venv", "--quiet", "--python", ">=3.10", str(folder))
        install = ("uv", "pip", "install", "--python", str(program), *exactly)
    else:
        made = apart(tool, "-m", "venv", str(folder))
        install = (str(program), "-m", "pip", "install", "--disable-pip-version-check", *exactly)
    if not made.returncode:
        write_file(requirements, lock)
        made = apart(*install)
    if made.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        words = (made.stderr.strip() or made.stdout.strip() or "no reason given").splitlines()
        raise UpdateError(
            f"Copier could not be installed ({words[-1].strip()}).",
            "uv tool install copier" if tool == "uv" else f"{tool} -m pip download copier",
        )
    write_file(whole, "")
    return program
