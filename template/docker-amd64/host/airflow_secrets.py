"""The passwords and keys of Airflow: files of the user alone, which its containers read as secrets.

They are made once, before the database, and never changed: the database is of no use with others.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import stat
from typing import TYPE_CHECKING, Callable

from .ask import read_json, read_text
from .failures import failed
from .files import PRIVATE, make_folder, user_id, write_file

if TYPE_CHECKING:
    from pathlib import Path

    from .project import Project

FOLDER = ".airflow"  # of docker-amd64
PASSWORDS = f"{FOLDER}/passwords.json"  # what Airflow's login asks for: names and passwords
LENGTH = 32  # bytes of a key


def fernet_key() -> str:
    """A key for the values that Airflow encrypts in its database: 32 bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(os.urandom(LENGTH)).decode()


MADE = {
    "database-password": lambda: secrets.token_urlsafe(LENGTH),
    "fernet-key": fernet_key,
    "jwt-secret": lambda: secrets.token_urlsafe(2 * LENGTH),
    "api-secret": lambda: secrets.token_urlsafe(LENGTH),
}


def make_secrets(project: Project) -> None:
    """Make the files that are missing, and keep others than the user from all of them.

    Raises:
        StopError: something else is where they belong.
    """
    folder = project.folder / FOLDER
    check(project, folder, stat.S_ISDIR)
    try:
        make_folder(folder)
        folder.chmod(0o700)
    except OSError as error:
        raise unusable(project, folder, str(error.strerror)) from error
    for name, make in MADE.items():
        keep(project, folder / name, make)
    user = project.settings.get("USR") or "user"
    first = json.dumps({user: secrets.token_urlsafe(LENGTH // 2)})
    keep(project, project.folder / PASSWORDS, lambda: f"{first}\n")


def keep(project: Project, file: Path, make: Callable[[], str]) -> None:
    """Make a secret, unless there is one. Raises StopError."""
    check(project, file, stat.S_ISREG)
    write_file(file, read_text(file) or make(), PRIVATE)


def check(project: Project, path: Path, is_kind: Callable[[int], bool]) -> None:
    """Raise StopError if something is at a path that nobody but the user can have made there."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise unusable(project, path, str(error.strerror)) from error
    if not is_kind(status.st_mode):
        raise unusable(project, path, "it is a link, or another kind of file")
    if status.st_uid not in (user_id(), project.root.stat().st_uid):
        raise unusable(project, path, "it belongs to another user")


def unusable(project: Project, path: Path, reason: str) -> Exception:
    """The failure of a file or folder of secrets."""
    return failed("airflow-secrets", project, path=str(path), reason=reason)


def user_and_password(project: Project) -> tuple[str, str]:
    """The first user of Airflow's page; two empty texts if there is none."""
    known = read_json(read_text(project.folder / PASSWORDS))
    return next(iter(known.items()), ("", ""))
