"""What the site decides: deploy/site.toml, with your own values from .env.

Each table of the file has the keys that KEYS and the scheduler's module (KEYS too) name; another
table or key is refused with the nearest one. In paths and in values of [environment], ~ and $NAME
are replaced from the environment at submission; $USER is CLUSTER_USR of .env, if it is set.
"""

from __future__ import annotations

import re
import shlex
from copy import deepcopy
from importlib import import_module
from typing import TYPE_CHECKING, Any, Dict, Mapping

from ..failures import everywhere, failed
from ..files import read_file
from ..look import edit
from ..project import OF_CLUSTERS, RULES, is_bad, me
from .amounts import as_clock, as_size
from .site_values import ENVIRONMENT_NAME, Key, Person, as_kind, near, person, variable
from .toml_reader import Document, TomlError, read_toml

if TYPE_CHECKING:
    from pathlib import Path

    from ..project import Project, StopError

# What the modules of schedulers use of this one.
__all__ = [
    "ENVIRONMENT_NAME",
    "KEYS",
    "SITE_FILE",
    "Key",
    "Keys",
    "Site",
    "read_site",
    "wrong_value",
]

SITE_FILE = "deploy/site.toml"
LARGEST_FILE = 1 << 18  # bytes
SCHEDULERS = ("slurm", "kubernetes", "runai", "skypilot")
CONFLICT = re.compile(r"(?m)^(<{7}|={7}$|>{7})")
Keys = Dict[str, Key]
KEYS: dict[str, Keys] = {
    "image": {
        "name": Key("text", ""),  # as publish takes it: registry.example/team/demo[:TAG]
        "dev": Key("text", ""),  # the dev image for interactive jobs: publish --dev
        "files": Key("path", ""),  # the folder of SIF and squash files, seen by the nodes
    },
    "limits": {
        "nodes": Key("number", 0),
        "gpus": Key("number", 0),  # of a node
        "cpus": Key("number", 0),  # of a node
        "memory": Key("size", 0),  # of a node
        "time": Key("time", 0),
    },
    "defaults": {
        "gpus": Key("number", 0),
        "cpus": Key("number", 0),
        "memory": Key("size", 0),
        "time": Key("time", 0),
    },
    "storage": {
        "code": Key("path", ""),  # where the commits of jobs are checked out
        "data": Key("path", ""),  # /data of jobs, read-only
        "outputs": Key("path", ""),  # /outputs of jobs
        "home": Key("path", ""),  # the home of interactive jobs: servers of editors, caches
        "secrets": Key("path", ""),  # a folder with a file for each token; /run/secrets
        "mounts": Key("mounts", []),
    },
    "environment": {},  # variables for each job; any key
}


class Site:
    """The values of site.toml, with the defaults; `site["slurm"]["partition"]`.

    The table `user` is of .env alone: name, id, group and login (user@host of a login node, or "").
    """

    def __init__(
        self,
        file: Path,
        tables: dict[str, dict[str, Any]],
        lines: Mapping[tuple[str, ...], int] | None = None,
    ):
        """Take the file, its complete tables, and the lines of what the file has."""
        self.file = file
        self.tables = tables
        self.lines = dict(lines or {})

    def __getitem__(self, table: str) -> dict[str, Any]:
        """A table."""
        return self.tables[table]

    def line(self, table: str, key: str = "") -> int:
        """The line of a table or a key, 0 if the file does not have it."""
        return self.lines.get((table, key) if key else (table,), 0)


def editing(project: Project, line: int) -> str:
    """The command that opens a line of the file."""
    return edit(f"{everywhere(project)['folder']}/{SITE_FILE}", line)


def refused(project: Project, line: int, sentence: str) -> StopError:
    """The failure of a value: a sentence about it, and the command that opens its line."""
    remedy = editing(project, line)
    return failed("site-value", project, cause=one_line(sentence), remedy=remedy)


def unreadable(project: Project, line: int, sentence: str) -> StopError:
    """The failure of a file that cannot be read at a line, 0 for all of it."""
    remedy = editing(project, line)
    return failed("site-file", project, cause=one_line(sentence), remedy=remedy)


def one_line(text: str) -> str:
    """A sentence in one line, also if it quotes a value with a line end."""
    return re.sub(r"[\t\n\r]", lambda one: ascii(one[0])[1:-1], text)


def wrong_value(project: Project, site: Site, table: str, key: str, what: str) -> StopError:
    """The failure of a value; `what` continues the sentence "KEY of [TABLE] in FILE"."""
    sentence = sentence_of(f"{key} of [{table}] in {SITE_FILE}", what)
    return refused(project, site.line(table, key), sentence)


# --------------------------------------------------------------------------------- the whole file


def keys_of(name: str) -> Keys:
    """The keys of a scheduler's table."""
    found: Keys = import_module(f".{name}", __package__).KEYS
    return found


def read_site(project: Project) -> Site:
    """The site's decisions. Raises StopError: the file cannot be read, or a value is wrong."""
    file = project.folder / SITE_FILE
    document = read_document(project, file)
    known = {**KEYS, **{name: keys_of(name) for name in project.clusters}}
    check_own(project)
    who = person(project)
    refuse_unknown(project, document, known)
    tables: dict[str, dict[str, Any]] = {
        "user": {"name": who.name, "id": who.id, "group": who.group, "login": who.login}
    }
    for table, keys in known.items():
        tables[table] = {
            name: value_of(project, who, document, (table, name), key) for name, key in keys.items()
        }
    site = Site(file, tables, document.lines)
    site.tables["environment"] = environment_of(project, site, document, who)
    check_name(project, site)
    check_defaults(project, site)
    return site


def check_own(project: Project) -> None:
    """Raise StopError for a value of .env or the shell that would be more than a name."""
    settings = project.settings
    for key in RULES:
        if key.startswith(OF_CLUSTERS) and is_bad(key, settings.get(key)):
            where, remedy = ".env", f"{me()} env --set {key}="
            if key in settings.environ:
                where, remedy = "the shell", f"unset {key}"
            cause = f'{key} in {where} is "{settings.get(key)}", but must be {RULES[key][1]}.'
            raise failed("site-value", project, cause=one_line(cause), remedy=remedy)


def value_of(
    project: Project, who: Person, document: Document, place: tuple[str, str], key: Key
) -> Any:
    """The value of a table's key: that of .env, of the file, or its default. Raises StopError."""
    table, name = place
    by_env = project.settings.get(key.env) if key.env else ""
    value = by_env or document.values.get(table, {}).get(name)
    if value is None:
        return deepcopy(key.default)
    try:
        return as_kind(key, value, who)
    except ValueError as error:
        where = f"{key.env} of .env" if by_env else f"{name} of [{table}] in {SITE_FILE}"
        line = document.lines.get(place) or document.lines.get((table,), 0)
        raise refused(project, line, sentence_of(where, str(error))) from error


def sentence_of(where: str, error: str) -> str:
    """A sentence about a value that is wrong, of what `as_kind` says."""
    sentence = f"{where} {error}"
    return sentence if sentence.endswith(("?", ".")) else f"{sentence}."


def read_document(project: Project, file: Path) -> Document:
    """What the file says. Raises StopError."""
    try:
        content = read_file(file)
    except OSError as error:
        reason = f"{SITE_FILE} cannot be read: {error.strerror}. The template has made it."
        remedy = f"git checkout HEAD -- {shlex.quote(str(file))}"
        raise failed("site-file", project, cause=reason, remedy=remedy) from error
    if len(content) > LARGEST_FILE:
        raise unreadable(project, 0, f"{SITE_FILE} has more than {LARGEST_FILE >> 10} kB.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise unreadable(project, line, f"Line {line} of {SITE_FILE} is not UTF-8.") from error
    text = text.replace("\r\n", "\n")
    conflict = CONFLICT.search(text)
    if conflict:
        line = text.count("\n", 0, conflict.start()) + 1
        reason = f"Line {line} of {SITE_FILE} has a conflict of an update, which is not solved."
        raise unreadable(project, line, reason)
    try:
        return read_toml(text)
    except TomlError as error:
        reason = f"Line {error.line} of {SITE_FILE} {error.why}"
        raise unreadable(project, error.line, reason) from error


def refuse_unknown(project: Project, document: Document, known: Mapping[str, Keys]) -> None:
    """Raise StopError for a table or a key that nothing reads."""
    for table, values in document.values.items():
        line = document.lines.get((table,), 0)
        if not isinstance(values, dict):
            line = line or document.lines.get((table,), 1)
            tables = ", ".join(f"[{one}]" for one in known)
            reason = f"{table} in {SITE_FILE} is not in a table. There are {tables}."
            raise refused(project, line, reason)
        if table not in known:
            if table in SCHEDULERS:
                wanted = ", ".join([*project.clusters, table])
                raise failed(
                    "site-value",
                    project,
                    cause=f"[{table}] in {SITE_FILE} is of a cluster that this project is not for.",
                    remedy=f"{me()} update --data 'clusters=[{wanted}]'",
                )
            reason = f"There is no table [{table}] in {SITE_FILE}{near(table, known)}"
            raise refused(project, line, sentence_of("", reason).strip())
        for name in values:
            if table != "environment" and name not in known[table]:
                at = next(
                    (n for path, n in document.lines.items() if path[:2] == (table, name)), line
                )
                reason = f"[{table}] in {SITE_FILE} has no key {name}{near(name, known[table])}"
                raise refused(project, at, sentence_of("", reason).strip())


def environment_of(project: Project, site: Site, document: Document, who: Person) -> dict[str, str]:
    """The variables of each job. Raises StopError."""
    made: dict[str, str] = {}
    name = ""
    try:
        for name, value in document.values.get("environment", {}).items():
            made[name] = variable(name, str(value) if type(value) is int else value, who)
    except ValueError as error:
        raise wrong_value(project, site, "environment", name, str(error)) from error
    return made


def check_name(project: Project, site: Site) -> None:
    """Raise StopError for an image that cannot be in a registry."""
    from ..registry import NAME  # noqa: PLC0415  it needs the engine's modules

    for key in ("name", "dev"):
        value = site["image"][key]
        if value and not NAME.fullmatch(value):
            what = f'is "{value}", but must be such as registry.example/team/project:latest'
            raise wrong_value(project, site, "image", key, what)


def check_defaults(project: Project, site: Site) -> None:
    """Raise StopError for a default beyond its limit."""
    for key, value in site["defaults"].items():
        limit = site["limits"][key]
        if limit and value > limit:
            shown = {"time": as_clock, "memory": as_size}.get(key, str)
            what = f"is {shown(value)}, which is more than {shown(limit)} of [limits]"
            raise wrong_value(project, site, "defaults", key, what)
