"""What the doctor finds in .env: lines, keys and values that Compose or a shell trips over."""

from __future__ import annotations

import re
from functools import partial, wraps
from typing import TYPE_CHECKING, Iterator

from .ask import read_text
from .env_file import ProbeError, Settings, assignments, read_env, read_or_explain
from .failures import explain
from .findings import ERROR, WARNING, Finding
from .mends import fill_env, take_own_name
from .place import KEY as NAME_KEY
from .place import origin
from .project import bad_values

if TYPE_CHECKING:
    from .findings import Check, Subject
    from .project import Project, StopError

OWN_IDS = {"UID": "USRID", "GID": "GRPID"}  # keys that people write, and those that count
# What Compose refuses to do without (`:?` in compose.yaml).
NEEDED = ("USRID", "GRPID", "COMPOSE_PROJECT_NAME")
# Keys that only this machine decides: --fix takes its value where theirs cannot be used.
OF_MACHINE = (*NEEDED, "COMPOSE_FILE", "USR", "GRP")
GROUP_OF_PACKAGES = 50000  # see the Dockerfile
# What bash and Compose read alike (env_file.py has how Compose does it).
ALIKE = re.compile(
    r"""(?:export[ ]+)?[A-Za-z_]\w*=(?:
        '[^'\\]*(?:\\(?!')[^'\\]*)*'
        | "(?:[^"\\`$]|\\[\\"$]|\$[A-Za-z_]\w*|\$\{[^}"'`$\\]*\})*"
        | (?:[^\s;&|<>()`\\'"$]|\$[A-Za-z_]\w*|\$\{[^}\s"'`$\\]*\})*
    )[ ]*(?:(?<=[ ])\#.*)?""",
    re.VERBOSE | re.ASCII,
)
NAMED = re.compile(r"(?<![$\\])\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)


def finding_of(stop: StopError, level: str, evidence: str) -> Finding:
    """What a verb would stop at, as a finding."""
    known = {"cause": stop.sentence}
    if stop.command:
        known["remedy"] = stop.command
    return Finding(stop.name, level, evidence, known)


def needs_env(check: Check) -> Check:
    """A check that has nothing to say where .env is missing or cannot be read: `env_file` says it.

    Each reads the file by itself: a check may mend it for those after it.
    """

    @wraps(check)
    def checked(subject: Subject) -> Iterator[Finding]:
        if not (subject.project.folder / ".env").is_file():
            return
        try:
            Settings(subject.project.folder)
        except ProbeError:
            return
        yield from check(subject)

    return checked


def env_file(subject: Subject) -> Iterator[Finding]:
    """Whether .env is there and Compose can read it."""
    project = subject.project
    try:
        text = read_or_explain(project.folder / ".env")
        Settings(project.folder)
    except ProbeError as error:
        stop = explain(project, str(error))
        if stop is None:
            raise
        yield finding_of(stop, ERROR, str(error))
        return
    if text is None:
        mend = partial(fill_env, subject)
        yield Finding("env-missing", ERROR, f"{project.folder}/.env does not exist", mend=mend)


def lines(project: Project) -> Iterator[tuple[int, str, str, str | None]]:
    """Line number, key, the text and what is expanded of each assignment in .env."""
    text = read_or_explain(project.folder / ".env") or ""
    for start, end, key, _, template in assignments(text):
        if key:
            yield text.count("\n", 0, start) + 1, key, text[start:end], template


@needs_env
def env_keys(subject: Subject) -> Iterator[Finding]:
    """Whether .env has the keys of .env.example."""
    project, settings = subject.project, subject.project.settings
    try:
        example = read_env(read_text(project.folder / ".env.example"))
    except ProbeError:  # a conflict is in it
        return
    missing = [key for key in example if key not in settings.file]
    if missing:
        needed = [key for key in missing if key in NEEDED and key not in settings]
        known = {"keys": ", ".join(missing)}
        evidence = f"{len(missing)} of {len(example)} keys"
        mend = partial(fill_env, subject)
        yield Finding("env-keys-missing", ERROR if needed else WARNING, evidence, known, mend)


@needs_env
def lines_for_other_programs(subject: Subject) -> Iterator[Finding]:
    """Keys that nothing reads, and values that a shell reads differently."""
    for number, key, text, _ in lines(subject.project):
        known = {"key": key, "number": str(number)}
        evidence = f"line {number} of .env"
        if key in OWN_IDS:
            known["instead"] = OWN_IDS[key]
            yield Finding("env-own-ids", WARNING, evidence, known)
        elif not ALIKE.fullmatch(text.rstrip("\r\n")):  # `env` writes the line ends of Unix
            yield Finding("env-reads-otherwise", WARNING, evidence, known)


@needs_env
def variables_in_values(subject: Subject) -> Iterator[Finding]:
    """Values that lose a part, since a variable in them is not set."""
    settings, above = subject.project.settings, set()
    for number, key, _, template in lines(subject.project):
        for bare, braced in NAMED.findall(template or ""):
            name = bare or braced
            if name not in settings.environ and name not in above:
                known = {"key": key, "number": str(number), "variable": name}
                yield Finding("env-variable-unset", WARNING, f"line {number} of .env", known)
        above.add(key)


@needs_env
def env_values(subject: Subject) -> Iterator[Finding]:
    """Values at which Compose or a build stops."""
    project = subject.project
    numbers = {key: number for number, key, _, _ in lines(project)}  # a key's last line counts
    for stop in bad_values(project.settings):
        key = stop.sentence.partition(" ")[0]
        number = numbers.get(key)
        found = finding_of(stop, ERROR, f"line {number} of .env" if number else "the shell")
        if key in OF_MACHINE and key not in project.settings.environ:
            found = found._replace(mend=partial(fill_env, subject, key))
        yield found


@needs_env
def ids(subject: Subject) -> Iterator[Finding]:
    """Ids that mean something else in the images. Users and groups of the base image do no harm."""
    settings = subject.project.settings
    if settings.get("GRPID") == str(GROUP_OF_PACKAGES):
        uid = settings.get("USRID")
        other = uid if uid != str(GROUP_OF_PACKAGES) else str(GROUP_OF_PACKAGES + 1)
        known = {"gid": settings.get("GRPID"), "other": other}
        yield Finding("ids-of-packages", WARNING, f"GRPID={GROUP_OF_PACKAGES}", known)


@needs_env
def place(subject: Subject) -> Iterator[Finding]:
    """Whether the folder is a copy of another project, whose containers it would use."""
    project = subject.project
    name = project.settings.in_file(NAME_KEY)
    folder = project.folder.resolve()
    found = origin(folder, read_text(folder / ".env"), name) if name else None
    if not found or NAME_KEY in project.settings.environ:
        return
    known = {"path": found.folder or "another folder", "name": name}
    evidence, mend = f"{NAME_KEY}={name}", partial(take_own_name, project)
    if found.gone:
        yield Finding("project-moved", WARNING, evidence, known, mend)
    else:
        yield Finding("project-copied", WARNING, evidence, known, mend)


CHECKS: tuple[Check, ...] = (
    env_file,
    env_keys,
    env_values,
    lines_for_other_programs,
    variables_in_values,
    ids,
    place,
)
