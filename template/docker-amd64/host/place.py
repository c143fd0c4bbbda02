"""Which folder COMPOSE_PROJECT_NAME belongs to.

The name holds a hash of the path, and .env is copied with its folder: a copy would use the
containers, images and home volume of the folder that it was made from. So the record of .env has
the folder, and every verb compares it (docs/decisions/0006). A copy gets a name of its own. A moved
folder keeps its name: it is the same project, with the same images and home volume.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .engine_words import ask_engine
from .env_file import (
    RECORD,
    ProbeError,
    Said,
    Settings,
    assign,
    read_or_explain,
    read_record,
    setting_line,
    split_record,
    write_env,
    write_record,
)
from .project import me

if TYPE_CHECKING:
    from .project import Project

# ruff: noqa: PLC0415  what only a copied or moved folder needs is imported there

KEY = "COMPOSE_PROJECT_NAME"
LABEL = "com.docker.compose.project"


def compose_project_name(name: str, user: str, folder: Path, taken: str = "") -> str:
    """`<name>-<user>-<6 hex digits of the path>`: valid for Compose, and no two clones share it.

    With `taken`, a name that another folder has already, it is never that one.
    """
    from hashlib import sha256

    def clean(text: str, size: int) -> str:
        return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:size].rstrip("-_")

    path = os.fsencode(folder.resolve())
    user = clean(user, 24) or "user"
    start = f"{clean(name, 63 - 8 - len(user)) or 'project'}-{user}"
    made = f"{start}-{sha256(path).hexdigest()[:6]}"
    if made == taken:
        made = f"{start}-{sha256(path + os.fsencode(taken)).hexdigest()[:6]}"
    return made


def is_made_by_program(name: str, project: str) -> bool:
    """Whether a name is one that this program makes for a project, whatever the folder."""
    start = compose_project_name(project, "user", Path("/")).rpartition("-user-")[0]
    return bool(re.fullmatch(rf"{re.escape(start)}-.+-[0-9a-f]{{6}}", name))


class Origin(NamedTuple):
    """Where the name in .env comes from.

    Attributes:
        folder: the docker-amd64 that had it, "" if that is not known.
        gone: whether that folder does not exist any more.
    """

    folder: str
    gone: bool


def recorded_folder(text: str) -> str:
    """The folder that the record of .env names; "" if it names none."""
    start = text.rfind(RECORD)
    line = text[start + len(RECORD) :].partition("\n")[0] if start >= 0 else ""
    said = read_record(line).get(KEY) if KEY + ":" in line else None
    return said.example if said else ""


def is_same_folder(one: str, other: Path) -> bool:
    """Whether two paths are one folder, which may be mounted twice."""
    try:
        return one == str(other) or Path(one).samefile(other)
    except OSError:
        return False


def folders_of_containers(name: str) -> list[str]:
    """The folders that the labels of a Compose project's containers name."""
    form = f'{{{{.Label "{LABEL}.working_dir"}}}}'
    words = ("ps", "--all", "--filter", f"label={LABEL}={name}", "--format", form)
    return list(dict.fromkeys(filter(None, ask_engine(*words).stdout.splitlines())))


def origin(folder: Path, text: str, name: str) -> Origin | None:
    """Where a name in .env comes from if not from this folder; None where all is well."""
    former = recorded_folder(text)
    if former:
        if is_same_folder(former, folder):
            return None
        return Origin(former, not os.path.lexists(former))
    # An .env of an older version: the name itself tells, if the program has made it.
    known, own = project_name(folder), compose_project_name("p", "u", folder)[-7:]
    if not known or not is_made_by_program(name, known) or name.endswith(own):
        return None
    for former in folders_of_containers(name):
        if is_same_folder(former, folder):
            return None
        return Origin(former, not os.path.lexists(former))
    return Origin("", gone=False)


def user_name(folder: Path) -> str:
    """The user whom a name is for, as the probe has it: for root the owner of the project."""
    from .probe import caller, owner

    user = caller(os.environ)
    if user and user.uid == 0:
        user = owner(folder.parent, os.environ) or user
    return user.name if user else "user"


def write_name(folder: Path, text: str, name: str) -> None:
    """Write the name into .env, and this folder into its record. Raises ProbeError."""
    path = folder / ".env"
    entries, record = split_record(text)
    if [one.value for one in entries if one.active and one.key == KEY][-1:] != [name]:
        assign(entries, setting_line(KEY, name))
    while entries and not entries[-1].text.strip():
        entries.pop()
    record[KEY] = Said(str(folder), str(folder))
    lines = [*(one.text for one in entries), "", write_record(record), ""]
    write_env(path, "\n".join(lines))


def project_name(folder: Path) -> str:
    """The project's name in project.json; "" where there is none."""
    from .project import read_project

    return read_project(folder).name if (folder / "host" / "project.json").is_file() else ""


def own_name(folder: Path, taken: str) -> str:
    """The name that a folder gets in place of one that another folder has."""
    return compose_project_name(project_name(folder), user_name(folder), folder, taken)


def check_place(folder: Path) -> str:
    """Give a copied project a name of its own; a sentence if something changed, else "".

    A name of the shell's is left alone. Raises ProbeError if .env cannot be read or written.
    """
    folder = folder.resolve()
    if KEY in os.environ or stranger(folder) is None:
        return ""
    from .turn import turn

    with turn(folder, "env"):
        return settle_name(folder)


def stranger(folder: Path) -> tuple[str, str, Origin] | None:
    """The text of .env, its name, and where that is from; None where all is well."""
    text = read_or_explain(folder / ".env")
    name = Settings(folder).in_file(KEY) if text is not None else ""
    found = origin(folder, text, name) if text is not None and name else None
    return (text or "", name, found) if found else None


def settle_name(folder: Path) -> str:
    """Write the name that a copied or moved folder has; what to say, "" if somebody else has."""
    known = stranger(folder)
    if known is None:
        return ""
    text, name, found = known
    if found.gone:
        write_name(folder, text, name)
        return (
            f"This project was moved from {Path(found.folder).parent}. It keeps its images and its "
            f"home volume, named {name}; up makes its containers again. Run: {me()} up"
        )
    new = own_name(folder, name)
    write_name(folder, text, new)
    return copied(found.folder, new)


def copied(former: str, name: str) -> str:
    """What to say of a copy that got a name of its own."""
    what = f"a copy of {Path(former).parent}" if former else "a copy of another folder"
    return (
        f"This project is {what}: its containers, images and home volume get names of their own, "
        f"{name}. Run: {me()} build"
    )


def keep_apart(project: Project) -> None:
    """Give the project another name where another folder has containers of the same one.

    This finds what .env cannot tell: a name written by hand into two folders, or a new project in
    the place that another one was moved from. Raises ProbeError.
    """
    name = project.settings.get(KEY)
    if not name or KEY in os.environ:
        return
    for other in folders_of_containers(name):
        if is_same_folder(other, project.folder) or not has_name(Path(other), name):
            continue
        from .compose import show
        from .turn import turn

        with turn(project.folder, "env"):
            text, new = (
                read_or_explain(project.folder / ".env") or "",
                own_name(project.folder, name),
            )
            project.forget_settings()
            if project.settings.get(KEY) != name:  # another verb has done it meanwhile
                return
            write_name(project.folder, text, new)
        project.forget_settings()
        show(
            f"{Path(other).parent} has containers named {name}: those of this project get a name "
            f"of their own, {new}. Run: {me()} build"
        )
        return


def has_name(folder: Path, name: str) -> bool:
    """Whether the .env of another folder has a name; one that cannot be read may have it."""
    if not (folder / ".env").exists():
        return False
    try:
        return Settings(folder, {}).in_file(KEY) == name
    except ProbeError:
        return True
