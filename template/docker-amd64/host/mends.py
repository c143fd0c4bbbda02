"""What `doctor --fix` does: only what is safe to undo. A value that a user has chosen is kept.

Each function returns one sentence about what it did, and does nothing when it is called again.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from .turn import turn

if TYPE_CHECKING:
    from pathlib import Path

    from .findings import Subject
    from .project import Project

VERB = "doctor --fix"


def fill_env(subject: Subject, *keys: str) -> str:
    """Add the missing keys to .env, take this machine's value of `keys`, write override files.

    Raises ProbeError.
    """
    from .fill import fill  # noqa: PLC0415  only a mend needs it

    with turn(subject.project.folder, VERB):
        merged = fill(subject.project.folder, keys, subject.facts).merged
    subject.project.forget_settings()
    done = [f"added {', '.join(merged.added)}"] if merged.added else []
    done += [f"took this machine's {', '.join(merged.refreshed)}"] if merged.refreshed else []
    return f".env and its override files are up to date: {' and '.join(done) or 'no key changed'}."


def take_own_name(project: Project) -> str:
    """Give a copied or moved folder the name of its own containers. Raises ProbeError."""
    from .place import check_place  # noqa: PLC0415

    with turn(project.folder, VERB):
        said = check_place(project.folder)
    project.forget_settings()
    # Another mend may have written it already.
    name = project.settings.get("COMPOSE_PROJECT_NAME")
    return said.partition(" Run: ")[0] or f"COMPOSE_PROJECT_NAME is {name} now."


def make_missing(project: Project, path: Path) -> str:
    """Make a folder that containers mount, as the user's and kept out of git. Raises ProbeError."""
    from .failures import folder_not_made  # noqa: PLC0415
    from .files import make_folder  # noqa: PLC0415
    from .fill import make_folders  # noqa: PLC0415

    make_folders(project.settings, None)
    try:
        make_folder(path)
    except OSError as error:
        raise folder_not_made(project, path, error) from error
    return f"Made the folder {path}."


def close_to_others(project: Project) -> str:
    """Take from everybody else the right to change docker-amd64."""
    from .fill import close_to_others as close  # noqa: PLC0415

    close(project.folder)
    return f"Nobody but you and your group can change files in {project.folder}."


def hide(path: Path) -> str:
    """Let only its owner read a file. Raises OSError."""
    path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    return f"Only you can read {path}."
