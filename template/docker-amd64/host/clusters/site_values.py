"""What a value of site.toml is: its kinds, and the variables in its texts.

What cannot be used raises ValueError, whose words continue a sentence that begins with the key.
"""

from __future__ import annotations

import os
import posixpath
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..files import user_id
from ..plain import UNSEEN
from .amounts import duration, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..project import Project

LONGEST_TEXT = 1000
LARGEST_NUMBER = 2**31
VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})?", re.ASCII)
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# Tokens by the forms that their makers give them, so that they can be found where they leaked.
TOKEN = re.compile(
    r"\bhf_[A-Za-z0-9]{30,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bsk-[\w-]{32,}|\bxox[abprs]-[\w-]{20,}|-----BEGIN [A-Z ]*PRIVATE KEY"
)
# Names of variables whose values are nobody's but their owner's.
SECRET = re.compile(
    r"(^|.*_)(TOKEN|API_?KEY|KEY|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)S?|.*PASSWORD",
    re.IGNORECASE,
)
# Where a job's container has something already: at the place itself, and also below it.
PLACES = ("/", "/data", "/outputs", "/dev", "/opt")
TREES = ("/workspace", "/run/secrets", "/opt/container", "/opt/venv", "/proc", "/sys")


class Key(NamedTuple):
    """A key of a table.

    Attributes:
        kind: text, path, size (bytes), time (seconds), number, flag, list (of texts), mounts (of
            SOURCE:TARGET or SOURCE:TARGET:ro), table (of texts) or tables (a list of tables).
        default: its value if the file does not have it.
        env: the key of .env that goes before it, "" for none.
        choices: the values that it may have, () for any.
        fields: of a table, or of each of several, the keys that it may have, () for any.
        expand: whether variables are replaced in its texts, as they are in paths.
    """

    kind: str
    default: Any
    env: str = ""
    choices: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    expand: bool = False


class Person(NamedTuple):
    """Who submits, as the cluster knows them, and the variables that paths may name."""

    name: str
    id: int
    group: int
    login: str
    environ: Mapping[str, str]
    is_other: bool  # than the user of this machine


def known_user() -> str:
    """Who the user database says calls, "" if it does not know."""
    import pwd  # noqa: PLC0415  where the environment does not say it

    with suppress(KeyError):
        return pwd.getpwuid(user_id()).pw_name
    return ""


def person(project: Project) -> Person:
    """The user of the jobs: CLUSTER_* of .env, else who they are on this machine."""
    settings, environ = project.settings, project.settings.environ
    here = environ.get("USER") or environ.get("LOGNAME") or known_user() or settings.get("USR")
    name = settings.get("CLUSTER_USR") or here
    # With a rootless engine, .env has 0: whoever calls is root in containers there only.
    user, group = (
        int(settings.get(f"CLUSTER_{key}") or settings.get(key) or 0) or own
        for key, own in (("USRID", user_id()), ("GRPID", os.getgid()))
    )
    login, variables = settings.get("CLUSTER_LOGIN"), {**environ, "USER": name}
    return Person(name, user, group, login, variables, name != here)


def expanded(text: str, who: Person) -> str:
    """A text with ~ and variables replaced.

    Raises:
        ValueError: one has no value, or the home on another machine is meant; continues a
            sentence that has begun with the key.
    """
    home = re.match(r"~(/|$)", text)
    if (home or re.search(r"\$(HOME\b|\{HOME\})", text)) and who.is_other:
        raise ValueError(
            "names the home of this machine, and on the cluster you are another user "
            "(CLUSTER_USR). Write the path, with $USER in it"
        )
    if text.startswith("~") and not home:
        raise ValueError("has ~ before a name. Write ~/FOLDER, or the whole path")

    def value(match: re.Match[str]) -> str:
        escaped, bare, braced = match.groups()
        if escaped:
            return "$"
        name = bare or braced
        if not name:
            raise ValueError("has a $ without a name behind it. Write $$ for a dollar sign")
        found = who.environ.get(name, "")
        if not found:
            raise ValueError(f"names ${name}, which has no value here. Set it, or write the path")
        return found

    text = VARIABLE.sub(value, f"${{HOME}}{text[1:]}" if home else text)
    return clean(text)


def clean(text: Any) -> str:
    """A text that is safe in every job file. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("must be a text in quotes")  # noqa: TRY004  a wrong value too
    if UNSEEN.search(text) or re.search(r"[\t\n]", text):
        raise ValueError("has a tab, a line end or a character that cannot be seen")
    if TOKEN.search(text):
        raise ValueError(
            "has a token in it, and job files can be read by others. Write it into a file in the "
            "folder that [storage] secrets of site.toml names; jobs have it in /run/secrets"
        )
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"has more than {LONGEST_TEXT} characters")
    return text


def as_path(text: Any, who: Person) -> str:
    """An absolute path; "" stays so. Raises ValueError."""
    path = expanded(clean(text), who)
    if not path:
        return ""
    if not path.startswith("/"):
        raise ValueError("must be a path from / on, as the nodes of the cluster have it")
    if re.search("[:,]", path):
        raise ValueError("has : or , in its path, which separate mounts")
    return "/" + posixpath.normpath(path).lstrip("/")


def as_mount(text: Any, who: Person) -> str:
    """SOURCE:TARGET, or SOURCE:TARGET:ro. Raises ValueError."""
    parts = clean(text).split(":")
    if not 2 <= len(parts) <= 3 or parts[2:] not in ([], ["ro"], ["rw"]):  # noqa: PLR2004
        raise ValueError("needs SOURCE:TARGET or SOURCE:TARGET:ro")
    source, target = as_path(parts[0], who), as_path(parts[1], who)
    if not source or not target:
        raise ValueError("needs SOURCE:TARGET, two paths from / on")
    if target in PLACES or f"{target}/".startswith(tuple(f"{one}/" for one in TREES)):
        raise ValueError(f"has the target {target}, where containers have something already")
    return ":".join([source, target, *(["ro"] if parts[2:] == ["ro"] else [])])


def as_number(value: Any) -> int:
    """A whole number from 0 on. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < LARGEST_NUMBER:
        raise ValueError(f"must be a whole number from 0 to {LARGEST_NUMBER - 1}, without quotes")
    return value


def as_amount(value: Any, read: Callable[[str], int]) -> int:
    """A size or a time. Raises ValueError."""
    if value in ("", 0) and not isinstance(value, bool):
        return 0
    try:
        # A number alone would be bytes to some, and gigabytes or minutes to others.
        return read(clean(value) if not isinstance(value, int) else "")
    except ValueError as error:
        shown = str(value).lower() if isinstance(value, bool) else value
        raise ValueError(f"is {shown!r}: {error}, in quotes") from error


def as_flag(value: Any) -> bool:
    """True or false. Raises ValueError."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false, without quotes")  # noqa: TRY004
    return value


def as_list(value: Any, one: Callable[[Any], Any]) -> list[Any]:
    """A list of values. Raises ValueError, which tells a wrong one by its place."""
    if not isinstance(value, list):
        raise ValueError("must be a list in brackets")  # noqa: TRY004
    made = []
    for at, item in enumerate(value, 1):
        try:
            made.append(one(item))
        except ValueError as error:  # noqa: PERF203
            raise ValueError(f"has a value {at} that {error}") from error
    return made


def as_table(value: Any, key: Key, text: Callable[[Any], str]) -> dict[str, str]:
    """A table of texts; numbers and switches become what the file has. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("must be a table: { NAME = VALUE }")  # noqa: TRY004
    made = {}
    for name, item in value.items():
        if key.fields and name not in key.fields:
            raise ValueError(
                f"has {name}, but can have {', '.join(key.fields)}{near(name, key.fields)}"
            )
        said = str(item).lower() if isinstance(item, bool) else item
        try:
            made[clean(name)] = text(str(said) if isinstance(said, int) else said)
        except ValueError as error:
            raise ValueError(f"has a {name} that {error}") from error
    return made


def as_kind(key: Key, value: Any, who: Person) -> Any:
    """A value of the file as its kind. Raises ValueError, which continues a sentence."""

    def text(item: Any) -> str:
        return expanded(clean(item), who) if key.expand else clean(item)

    kinds: dict[str, Callable[[Any], Any]] = {
        "text": text,
        "path": lambda item: as_path(item, who),
        "size": lambda item: as_amount(item, size),
        "time": lambda item: as_amount(item, duration),
        "number": as_number,
        "flag": as_flag,
        "list": lambda item: as_list(item, text),
        "mounts": lambda item: as_list(item, lambda one: as_mount(one, who)),
        "table": lambda item: as_table(item, key, text),
        "tables": lambda item: as_list(item, lambda one: as_table(one, key, text)),
    }
    made = kinds[key.kind](value)
    if key.choices and made not in key.choices:
        words = ", ".join(f'"{one}"' for one in key.choices)
        raise ValueError(f'is "{made}", but can be {words}{near(str(made), key.choices)}')
    return made


def near(name: str, names: Iterable[str]) -> str:
    """A question whether the nearest of some names is meant; "" if none is near."""
    from difflib import get_close_matches  # noqa: PLC0415  needed for a typing error only

    found = get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f". Did you mean {found[0]}?" if found else ""


def variable(name: str, value: Any, who: Person) -> str:
    """The value of a variable for jobs. Raises ValueError."""
    if not ENVIRONMENT_NAME.fullmatch(name):
        raise ValueError("is not a name for a variable: use letters, digits and _")
    if SECRET.fullmatch(name) or (isinstance(value, str) and TOKEN.search(value)):
        raise ValueError(
            "would be in git and in every job file. Slurm takes tokens from the folder that "
            "[storage] secrets names, Kubernetes from the Secret that [kubernetes] secret names, "
            "and others from the secrets of their tables"
        )
    return expanded(clean(value), who)
