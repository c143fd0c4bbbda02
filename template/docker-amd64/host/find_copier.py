"""A Copier that is new enough: one that is installed, or what gets one."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from .ask import capture
from .checkout import UpdateError

COPIER = (9, 17, 2)  # the oldest that renders the template
NEEDED = f"copier>={'.'.join(map(str, COPIER))}"
WITH = "nvidia-ml-py"  # the probe asks the driver through it


def copier_command() -> list[str]:
    """The words that start a Copier that is new enough; some fetch it first. Raises UpdateError."""
    installed = shutil.which("copier")
    if installed and copier_version(installed) >= COPIER:
        return [installed]
    if shutil.which("uv"):
        return ["uv", "tool", "run", "--quiet", "--with", WITH, "--from", NEEDED, "copier"]
    if shutil.which("pipx"):
        return ["pipx", "run", "--spec", NEEDED, "copier"]
    for name in ("python3", *(f"python3.{minor}" for minor in range(20, 9, -1)), "python"):
        able = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"
        if shutil.which(name) and not capture(name, "-c", able).returncode:
            return [str(own_copier(name))]
    old = f" ({installed} is older than {'.'.join(map(str, COPIER))})" if installed else ""
    raise UpdateError(
        f"An update needs Copier{old}, and neither uv nor pipx nor a Python 3.10 with venv is here "
        "to get it.",
        # Debian's Python refuses to install into itself.
        "sudo apt-get install python3-venv"
        if shutil.which("apt-get")
        else f"{shlex.quote(sys.executable)} -m pip install --user uv",
    )


def copier_version(program: str) -> tuple[int, ...]:
    """The version of an installed Copier; empty if it does not say."""
    # To start it takes half a second; its environment says the same in a file's name.
    packages = Path(program).resolve().parents[1].glob("lib/python3*/site-packages/copier-*.*-info")
    names = [package.name for package in packages]
    said = names[0] if len(names) == 1 else capture(program, "--version").stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


def own_copier(python: str) -> Path:
    """Copier in an environment of its own under ~/.cache, made by the first update that needs it.

    Raises UpdateError: it cannot be installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "hearth" / "copier"
    program = folder / "bin" / "copier"
    if program.is_file() and copier_version(str(program)) >= COPIER:
        return program
    print(f"Installing Copier into {folder} ...", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    made = capture(python, "-m", "venv", str(folder))
    if not made.returncode:
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--upgrade")
        made = capture(*pip, NEEDED, WITH)
    if made.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        words = (made.stderr.strip() or made.stdout.strip() or "no reason given").splitlines()
        raise UpdateError(
            f"Copier could not be installed ({words[-1]}).", f"{python} -m pip download copier"
        )
    return program
