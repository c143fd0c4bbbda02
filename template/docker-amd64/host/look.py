"""What this machine adds to a failure: which disk is full, who holds a port, where a line is.

A look returns what more is known, with `cause` or `remedy` in place of those of its row; None if it
is another failure.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Mapping, NamedTuple, Optional

from .ask import command, read_text
from .engine_words import engine_command, question
from .env_file import ProbeError, parse_env, read_env
from .project import APPS_FILE, me

if TYPE_CHECKING:
    from .project import Project

LIMIT = 4.0  # seconds for a question to the engine
SMALL = 256 << 20  # bytes of free space under which a disk is full
Seen = Optional[Dict[str, str]]


class Case(NamedTuple):
    """A failure that was recognised: where, what was said, and what is known so far."""

    project: Project
    text: str
    known: Mapping[str, str]


def edit(file: str, line: int = 0) -> str:
    """The command that opens a file in the user's editor, at a line."""
    return f'"${{EDITOR:-vi}}" {f"+{line} " if line else ""}{shlex.quote(file)}'


# ------------------------------------------------------------------------------- this machine


# What chooses another port for a key of .env.
OF_KEYS = {"SSH_PORT": "{me} env --refresh SSH_PORT && {me} up", "AIRFLOW_PORT": "{me} airflow up"}


def port(case: Case) -> Seen:
    """Which port it is, and which container or process has it."""
    found = re.search(
        r"(?:host port for|listen tcp\d?|Bind for) (?:\[[^]]*\]|[\d.]+):(\d+)", case.text
    )
    if not found:
        return {}
    number = found.group(1)
    asked = engine_command("ps", "--filter", f"publish={number}", "--format", "{{.Names}}")
    held = command(asked, LIMIT).out.split()
    who = f"the container {held[0]}" if held else process_on(int(number))
    cause = f"Port {number} of this machine is taken by {who or 'a process of another user'}."
    for key, remedy in OF_KEYS.items():
        if number == case.project.settings.get(key):
            return {"cause": f"{cause} It is {key} in .env.", "remedy": remedy.format(me=me())}
    if f'"published": "{number}"' in read_text(case.project.folder / APPS_FILE):
        cause += " It was free when it was chosen for an app; up chooses another one."
        return {"cause": cause, "remedy": f"{me()} up"}
    if not who:
        mac = sys.platform == "darwin"
        ask = f"lsof -nP -iTCP:{number} -sTCP:LISTEN" if mac else f"ss -ltnp 'sport = :{number}'"
        return {"cause": cause, "remedy": f"sudo {ask}"}
    override = case.project.folder / "compose.override.yaml"
    lines = read_text(override).splitlines()
    at = next((at for at, line in enumerate(lines, 1) if f"{number}:" in line), 0)
    if not at:
        return {"cause": f"{cause} Choose another one.", "remedy": f"{me()} config"}
    cause += " Choose another one in compose.override.yaml."
    return {"cause": cause, "remedy": edit(f"{case.known['folder']}/{override.name}", at)}


def process_on(number: int) -> str:
    """The process that listens on a port, "" if none is seen: those of others only root sees."""
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        for line in read_text(Path("/proc/net", table)).splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == number:
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        if open_files(process) & inodes:
            return f"{read_text(process / 'comm').strip()} (process {process.name})"
    return ""


def open_files(process: Path) -> set[str]:
    """What a process has open, by its folder in /proc; nothing of another user's."""
    found: set[str] = set()
    with suppress(OSError):  # it is another user's, or has ended
        for one in (process / "fd").iterdir():
            with suppress(OSError):  # closed since
                found.add(os.readlink(str(one)))
    return found


def disk(case: Case) -> Seen:
    """Which disk is full: the project's, the engine's, or one of a container."""
    asked = command(question("folder"), LIMIT)
    folders = {
        "the project's folder": case.project.folder,
        "the engine": Path(asked.out.strip() or "/"),
    }
    free = {name: free_space(folder) for name, folder in folders.items()}
    full = [name for name, size in free.items() if size < SMALL]
    if "the engine" in full:
        where = str(folders["the engine"])
        return {"cause": f"The disk of the engine is full: {where}."}
    if full:
        where = str(case.project.root)
        remedy = f"du -xhd1 {shlex.quote(where)} | sort -h"
        return {"cause": f"The disk of the project's folder is full: {where}.", "remedy": remedy}
    cause = (
        "A container's own file system is full, such as /dev/shm (SHM_SIZE in .env) or /tmp; the "
        "disks of this machine are not."
    )
    return {"cause": cause, "remedy": f"{me()} exec df -h"}


def free_space(folder: Path) -> int:
    """Free bytes where a folder is; none where it is not seen, since the engine is elsewhere."""
    try:
        return shutil.disk_usage(str(folder)).free
    except OSError:
        return 0


def percent(case: Case) -> Seen:
    """The same path without the sign that Compose takes for the start of an escape."""
    root = str(case.project.root)
    return {"better": root.replace("%", "-")}


def closed_folders(case: Case) -> Seen:
    """What opens the folders of a path to others; another row if the path does not exist."""
    path = Path(case.known["path"])
    try:
        path.stat()
    except OSError:
        return None
    closed = [one for one in (*reversed(path.parents), path) if not one.stat().st_mode & 0o001]
    if not closed:
        return {}
    return {"remedy": f"chmod o+x {' '.join(shlex.quote(str(one)) for one in closed)}"}


# ------------------------------------------------------------------------- networks and images


def certificates(case: Case) -> Seen:
    """Where a file of certificates is on this machine, and where was looked for one."""
    from .probe import CA_VARIABLES, SYSTEM_BUNDLES, ca_bundle, system_bundle  # noqa: PLC0415

    named = case.project.settings.get("CA_BUNDLE")
    own = case.project.folder / "ca.pem"
    folder = case.known["folder"]
    # With CA_BUNDLE set, the second adds compose.ca.yaml, by which programs trust it, too.
    name_it = f"{me()} env --set CA_BUNDLE={own.name} && {me()} env --refresh COMPOSE_FILE"
    if named:
        cause = (
            f"CA_BUNDLE in .env names {named}, in which the proxy's certificate is missing. "
            "Get it as proxy.pem from those who run the proxy."
        )
        bundle, file = case.project.settings.path("CA_BUNDLE"), shlex.quote(f"{folder}/{own.name}")
        if bundle == own:
            return {"cause": cause, "remedy": f"cat proxy.pem >>{file}"}
        add = f"cat {shlex.quote(str(bundle))} proxy.pem >{file}"
        return {"cause": cause, "remedy": f"{add} && {name_it}"}
    found = ca_bundle(os.environ) or system_bundle()
    why = "A proxy inspects TLS, and the build does not trust its certificate."
    if found:
        return {"cause": f"{why} This machine trusts those of {found}: the build can, too."}
    places = ", ".join((*CA_VARIABLES, *SYSTEM_BUNDLES))
    cause = (
        f"{why} No file of certificates was found in {places}. Get a PEM file with the proxy's and "
        f"all others to trust from those who run the proxy, as {folder}/{own.name}."
    )
    return {"cause": cause, "remedy": name_it}


def base_image(case: Case) -> Seen:
    """The key of .env that replaces the image, and the base image that is built on."""
    from .images import full_name  # noqa: PLC0415  most failures need no more

    seen = {
        "base": case.project.settings.get("BASE_IMAGE") or case.project.base_images["BASE_IMAGE"]
    }
    short = case.known.get("image", "").partition("@")[0]
    for key, default in case.project.base_images.items():
        if short and full_name(case.project.settings.get(key) or default).endswith(short):
            return {**seen, "key": key}
    return {**seen, "key": "BASE_IMAGE"}


# ------------------------------------------------------------------------------------- .env


def line_of(project: Project, name: str, word: str) -> int:
    """The first line with a word in a file of docker-amd64, 0 if there is none."""
    lines = read_text(project.folder / name).splitlines()
    return next((at for at, line in enumerate(lines, 1) if word in line), 0)


def env_value(case: Case) -> Seen:
    """The line of .env with the value and its key, if it is there and not in the shell."""
    value = case.known["value"]
    try:
        entries = parse_env(read_text(case.project.folder / ".env"))
    except ProbeError:
        return {}
    line = 1
    for entry in entries:
        if entry.active and value in (entry.value, case.project.settings.in_file(entry.key)):
            break
        line += entry.text.count("\n") + 1
    else:
        cause = f'A key of .env has the value "{value}" in this shell, which it cannot have.'
        return {"cause": cause, "remedy": f"env | grep -F -- ={shlex.quote(value)}"}
    cause = f'{entry.key} in line {line} of .env cannot have the value "{value}".'
    if entry.key in read_env(read_text(case.project.folder / ".env.example")):
        return {"cause": cause, "remedy": f"{me()} env --refresh {entry.key}"}
    return {"cause": cause, "remedy": edit(f"{case.known['folder']}/.env", line)}
