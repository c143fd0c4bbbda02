"""Tokens for the programs in containers: files in /run/secrets that no image, log or list shows.

.env names a folder with one file for each (SECRETS_DIR), or single files. An override file makes
them secrets of Compose. Where a file is named like a variable, every Python in the container and
the container's command have that variable too (image/container_tuning.py).
"""

from __future__ import annotations

import json
import os
import re
from hashlib import sha256
from pathlib import Path
from shlex import quote
from stat import S_IROTH, S_IXOTH
from typing import TYPE_CHECKING

from .compose import keep_or_say, show
from .failures import failed
from .guard import visible
from .project import SECRETS_FILE, code_folder, me, same_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .project import Project

FOLDER = "SECRETS_DIR"
FILES = ("HF_TOKEN_FILE", "WANDB_API_KEY_FILE")
NETRC_KEY, NETRC = "NETRC_FILE", "netrc"
LOGINS = (NETRC_KEY, "CONDA_AUTH_FILE")  # for builds; dev has the first, too
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
TAKEN = ("ca", NETRC)  # secrets of compose.yaml, as that of the package manager
HEAD = """\
# The secrets that .env names: SECRETS_DIR and others. template.sh writes this before containers
# start. The label changes when a file is replaced: then Compose replaces the container, too.
"""
SERVICES = "services:\n"
# Where people install packages by hand: uv and pip read the file that NETRC names. compose.yaml has
# this secret.
DEV_NETRC = """\
    secrets: {names}
    environment: {{ NETRC: /run/secrets/netrc }}
"""


def secret_files(project: Project) -> dict[str, tuple[str, Path]]:
    """The secrets that .env names, by their names in /run/secrets: the key, and the file here.

    Raises:
        StopError: a file is not there, cannot be read, is where containers or git find it, or
            cannot have its name there.
    """
    found: dict[str, tuple[str, Path]] = {}
    folder = project.settings.path(FOLDER)
    if folder and folder.resolve() in (Path.home().resolve(), *project.root.resolve().parents):
        remedy = f"mkdir -p -m 700 ~/.secrets && {me()} env --set {FOLDER}=~/.secrets"
        why = "it has other files than secrets"
        raise failed("secrets-folder", project, path=str(folder), reason=why, remedy=remedy)
    if folder:
        try:
            inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            raise failed(
                "secrets-folder", project, path=str(folder), reason=str(error.strerror)
            ) from error
        found = {path.name: (FOLDER, path) for path in inside if not path.is_dir()}
    for key in FILES:
        file = project.settings.path(key)
        if file:
            found[key[: -len("_FILE")]] = key, file
    for name, (key, path) in found.items():
        check(project, name, key, path)
    return found


def check(project: Project, name: str, key: str, path: Path) -> None:
    """Raises StopError where a file cannot be a secret."""
    taken = (*TAKEN, f"{project.package_manager}-auth")
    if not NAME.fullmatch(name) or name in taken:
        fitting = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        if not NAME.fullmatch(fitting) or fitting in taken:
            fitting = f"secret-{fitting}"
        raise failed("secret-name", project, path=str(path), fitting=str(path.with_name(fitting)))
    if not path.is_file() or not os.access(str(path), os.R_OK):
        known = {"key": key, "path": str(path), "remedy": mend_of(path) if key == FOLDER else ""}
        raise failed("secret-missing", project, **known)
    real = path.resolve()
    refuse_mounted(project, key, real if key != FOLDER else path.parent.resolve(), name)
    refuse_mounted(project, key, real, name, f"mv {quote(str(real))} {quote(str(path))}")


def mend_of(path: Path) -> str:
    """The command for a file of a folder that cannot be read, "" where editing .env helps more."""
    if path.is_symlink() and not path.exists():
        return f"rm {quote(str(path))}"  # a link to a file that is not there
    owner = path.stat().st_uid if path.is_file() else -1
    return f"chmod u+r {quote(str(path))}" if owner == os.getuid() else ""


def is_open(path: Path) -> bool:
    """Whether everybody on this machine can read a file."""
    real = path.resolve()
    return bool(real.stat().st_mode & S_IROTH and real.parent.stat().st_mode & S_IXOTH)


def warn_of_open(paths: Iterable[Path]) -> None:
    """Say which files of secrets everybody can read."""
    for real in (path.resolve() for path in paths if is_open(path)):
        show(f"Everybody on this machine can read {real}. Run: chmod go= {quote(str(real))}")


def refuse_mounted(project: Project, key: str, path: Path, name: str, remedy: str = "") -> None:
    """Raises StopError if a file or folder of secrets lies where containers or git find it."""
    shared = map(project.settings.path, ("LOCAL_DATA_DIR", "LOCAL_OUTPUTS_DIR"))
    for folder in filter(None, (code_folder(project), project.root, *shared)):
        if folder.resolve() in (path, *path.parents):
            known = {"key": key, "path": str(path), "mounted": str(folder), "remedy": remedy}
            known["secret"] = "secrets" if key == FOLDER else name
            raise failed("secret-in-project", project, **known)


def refuse_logins(project: Project) -> None:
    """Raises StopError if a file of logins, for builds, lies where containers or git find it.

    In docker-amd64, by a usual name of secrets, neither does (`guard.visible`, .gitignore).
    """
    for key in LOGINS:
        path = project.settings.path(key)
        if not path:
            continue
        real, own = path.resolve(), project.folder.resolve()
        if real.parent != own or real.name in visible(own):
            refuse_mounted(project, key, real, key[: -len("_FILE")])


def netrc_of(project: Project) -> Path | None:
    """The file with passwords of indexes, if it can be had: builds say what is wrong with it."""
    path = project.settings.path(NETRC_KEY)
    return path.resolve() if path and path.is_file() and os.access(str(path), os.R_OK) else None


def secrets_text(project: Project) -> str:
    """The text of the override file, "" where .env names no secret. Raises StopError."""
    found = {name: path.resolve() for name, (_, path) in secret_files(project).items()}
    netrc = netrc_of(project)
    if not found and not netrc:
        return ""
    status = {name: path.stat() for name, path in found.items()}
    if netrc:
        status[NETRC] = netrc.stat()
    marks = [(name, one.st_ino, one.st_mtime_ns) for name, one in status.items()]
    label = sha256(repr(marks).encode()).hexdigest()[:12]
    head = f"{HEAD}x-secrets: &secrets\n  labels: {{ secrets: {json.dumps(label)} }}\n"
    services = ""
    if found:
        head += f"  secrets: {json.dumps(list(found))}\n"
        services = same_for([one for one in project.services["code"] if one != "dev"], "secrets")
    dev = "  dev:\n    <<: *secrets\n"
    if netrc:
        dev += DEV_NETRC.format(names=json.dumps([*found, NETRC]))
    rows = "".join(
        f"  {name}: {{ file: {json.dumps(str(path), ensure_ascii=False).replace('$', '$$')} }}\n"
        for name, path in found.items()
    )
    listed = f"\nsecrets:\n{rows}" if rows else ""
    return f"{head}\n{services or SERVICES}{dev}{listed}"


def give_secrets(project: Project) -> None:
    """Bring the override file in line with .env, and let COMPOSE_FILE name it.

    Raises:
        StopError: a secret that .env names cannot be given.
    """
    refuse_logins(project)
    warn_of_open(path for _, path in secret_files(project).values())
    otherwise = "Containers have the secrets that they had before"
    keep_or_say(project, SECRETS_FILE, secrets_text(project), otherwise)
