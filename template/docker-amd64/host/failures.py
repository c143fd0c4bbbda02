"""What helps against a failure: recognises it in what a program said, and words cause and command.

The table of failures is in known_failures/, where all.txt says what a row is. Every verb, the hook,
`env --show` and the tables in the documentation speak from it. What a program said is shown first,
always; a text that no row knows is the last word. It is read when something has failed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, Mapping

from .ask import read_json, read_text
from .engine_words import PODMAN, engine_program
from .env_file import ProbeError
from .project import StopError, called_from, me

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .project import Project

FOLDER = Path(__file__).parent / "known_failures"
EDIT = '"${EDITOR:-vi}" {folder}/'  # a file of docker-amd64 in the user's editor


class Failure:
    """A row of the table; known_failures/all.txt says what its fields are.

    Attributes:
        name: the id.
        only: the kind of project that can meet it, "all" for all: the name of the row's file.
        says: what programs say.
        cause: sentences.
        run: commands by engine and host, "" for all others.
        look: the function that looks at this machine, as module.function; "" for none.
        when: "" if it can be known always.
        status: an exit status that means it.
        before: the row that is asked after this one.
    """

    def __init__(self, name: str, only: str):
        """Start a row, which has nothing yet."""
        self.name, self.only = name, only
        self.says: list[str] = []
        self.run: dict[str, str] = {}
        self.cause = self.look = self.when = self.status = self.before = ""


def read_rows(file: Path) -> list[Failure]:
    """The rows of a file."""
    rows: list[Failure] = []
    for line in file.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if not line.startswith(" "):
            rows.append(Failure(line, file.stem))
            continue
        field, _, value = (part.strip() for part in line.strip().partition("  "))
        word, _, kind = field.partition(" ")
        if word == "says":
            rows[-1].says.append(value)
        elif word == "cause":
            rows[-1].cause = f"{rows[-1].cause} {value}".strip()
        elif word in ("run", "edit"):
            command = value if word == "run" else EDIT + value
            before = rows[-1].run.get(kind)
            rows[-1].run[kind] = f"{before} && {command}" if before else command
        else:
            setattr(rows[-1], word, value)
    return rows


@lru_cache(maxsize=None)
def table() -> tuple[Failure, ...]:
    """The rows that this project can meet, in the order in which they are asked."""
    files = sorted(FOLDER.glob("*.txt"), key=lambda file: (file.stem != "all", file.name))
    rows: list[Failure] = []
    for row in (row for file in files for row in read_rows(file)):
        names = [one.name for one in rows]
        rows.insert(names.index(row.before) if row.before in names else len(rows), row)
    return tuple(rows)


# ------------------------------------------------------------------------------- recognising one

Known = Dict[str, str]
CLOSING = "`')]\""
# Words that may have blanks in them.
WORDS = {"{said}": ".+", "{advice}": ".+", "{path}": "[^\n`'\"]+"}


def pattern(text: str) -> str:
    """The regular expression of a text of the table."""
    parts = re.split(r"(\.\.\.|\{\w+\})", text)
    made = ""
    for at, part in enumerate(parts):
        if at % 2 == 0:
            made += re.escape(part)
        elif part == "...":
            made += ".*?"
        else:
            until = parts[at + 1][:1]
            word = f"[^\n{re.escape(until)}]+" if until and until in CLOSING else r"[^\s`'\",]+"
            made += f"(?P<{part[1:-1]}>{WORDS.get(part, word)})"
    return made


def words_of(failure: Failure, text: str) -> Known | None:
    """What a text says of a failure; None if it is not about it. What is said last counts."""
    known: Known = {}
    for one in failure.says:
        every = list(re.finditer(pattern(one), text, re.IGNORECASE))
        if every:
            found = every[-1]
            line = text[text.rfind("\n", 0, found.start()) + 1 :].partition("\n")[0]
            known.setdefault("line", re.sub(r"^#\d+ [\d.]+ |^[\d.]+ ", "", line).strip())
            for name, value in found.groupdict().items():
                known.setdefault(name, value.strip())
    return known or None


def matches(
    text: str, *, registry: bool = False, status: int = 0
) -> Iterator[tuple[Failure, Known]]:
    """The rows that a text or an exit status may be about, the likeliest first."""
    for failure in table():
        known = words_of(failure, text) if registry or not failure.when else None
        if known is None and status and str(status) == failure.status:
            known = {"line": ""}
        if known is not None:
            yield failure, known


def row(name: str) -> Failure:
    """The row of an id."""
    return next(failure for failure in table() if failure.name == name)


# --------------------------------------------------------------------------- what helps, and where


def hosts(root: Path = Path("/")) -> Iterator[str]:
    """What this machine is, in the words of the remedies."""
    if sys.platform == "darwin":
        yield "mac"
        return
    if "microsoft" in read_text(root / "proc/sys/kernel/osrelease").lower():
        yield "wsl"
    if not (root / "run/systemd/system").is_dir():
        yield "no-systemd"
    if (root / "var/lib/dpkg/info/docker-ce.list").exists():
        yield "docker-ce"
    system = read_text(root / "etc/os-release")
    for key in ("ID", "ID_LIKE"):  # such as rhel, and what that is like: fedora
        found = re.search(rf"(?m)^{key}=(.*)$", system)
        yield from re.findall("[a-z]+", found.group(1)) if found else ()


def engine_address(socket: Path = Path("/var/run/docker.sock")) -> str:
    """Where Docker's client looks for its engine: the address in the environment or its context.

    Without both it is `socket`, which Docker Desktop and Podman replace by a link to their own.
    """
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    if os.environ.get("DOCKER_HOST"):
        return os.environ["DOCKER_HOST"]
    settings = read_json(read_text(folder / "config.json"))
    name = os.environ.get("DOCKER_CONTEXT") or str(settings.get("currentContext") or "default")
    if name == "default":
        return f"unix://{os.path.realpath(str(socket))}"
    from hashlib import sha256  # noqa: PLC0415  few users have a context

    about = folder / "contexts" / "meta" / sha256(name.encode()).hexdigest() / "meta.json"
    endpoint = (read_json(read_text(about)).get("Endpoints") or {}).get("docker") or {}
    return str(endpoint.get("Host") or name)


def kind_of_address(where: str) -> str:
    """The kind of engine that an address, or a text with one, belongs to; "" if that is unknown."""
    if "podman" in where.lower():
        return "podman"
    if re.search(r"/\.docker/desktop/|^desktop-|/wsl/docker-desktop/", where):
        return "docker-desktop"
    if "/.docker/run/" in where:  # on Linux, rootless Docker without XDG_RUNTIME_DIR
        return "docker-desktop" if sys.platform == "darwin" else "docker-rootless"
    if re.search(r"/run/user/|^rootless", where):
        return "docker-rootless"
    return ""


def engine_kind(text: str) -> str:
    """The kind of engine: Podman if .env says so, else by the socket of the text or the client."""
    with suppress(ProbeError):  # an .env that cannot be read is another failure
        if engine_program() == PODMAN:
            return PODMAN
    found = kind_of_address(text) or kind_of_address(engine_address())
    if found:
        return found
    here = [*hosts()]
    own = shutil.which("dockerd")
    # Neither macOS nor, without a daemon of its own, a distribution in WSL can be the engine.
    return "docker-desktop" if "mac" in here or ("wsl" in here and not own) else "docker"


def remedy_for(failure: Failure, kind: str, here: Sequence[str] = ()) -> str:
    """The command for a kind of engine on a machine that is `here`, in the words of `hosts`."""
    here = here or [*hosts()]
    words = [*(f"{kind} {host}" for host in here), kind, *here, ""]
    return next(failure.run[word] for word in words if word in failure.run)


def everywhere(project: Project | None) -> Known:
    """What is known of every failure."""
    folder = Path(me()).parent
    if project and not (called_from() / folder / "host" / "project.json").is_file():
        folder = project.folder  # template.sh was called by a link
    known = {"me": me(), "folder": str(folder)}
    if project:
        known.update(root=str(project.root), project=project.name)
    return known


def fill_in(text: str, known: Mapping[str, str]) -> str:
    """A text of the table with what is known in it; a word that is not known in capitals."""
    return re.sub(r"(?<!\$)\{(\w+)\}", lambda word: known.get(word[1], word[1].upper()), text)


def speak(
    failure: Failure, known: Mapping[str, str], kind: str, here: Sequence[str] = ()
) -> StopError:
    """A failure in words; `cause` and `remedy` are known where they are better than its row's."""
    quoted = {k: v if k in ("advice", "me") else shlex.quote(v) for k, v in known.items()}
    remedy = known.get("remedy") or fill_in(remedy_for(failure, kind, here), quoted)
    cause = known.get("cause") or fill_in(failure.cause, known)
    cause = cause if cause.endswith((".", "?")) else f"{cause}."
    return StopError(cause, remedy.strip(), name=failure.name)


def failed(name: str, project: Project | None = None, **known: str) -> StopError:
    """The failure of an id, which a verb has found by itself."""
    return speak(row(name), {**everywhere(project), **known}, engine_kind(""))


def folder_not_made(project: Project, folder: Path, error: Exception) -> StopError:
    """The failure of a folder that cannot be made."""
    parent = next(one for one in folder.parents if one.exists())
    reason = getattr(error, "strerror", None) or str(error)
    known = {"path": str(folder), "reason": reason, "parent": str(parent)}
    return failed("folder-not-made", project, **known)


def explain(
    project: Project | None, text: str, *, image_name: str = "", status: int = 0
) -> StopError | None:
    """What a failure means here: its cause and one command; None if no row knows the text."""
    for failure, said in matches(text, registry=bool(image_name), status=status):
        known = {**everywhere(project), **said, **words_of_image(image_name)}
        if failure.look and project:
            from .look import Case  # noqa: PLC0415  some failures only need it

            module, _, name = failure.look.partition(".")
            look = getattr(import_module(f".{module}", __package__), name)
            seen = look(Case(project, text, known))
            if seen is None:
                continue
            known.update(seen)
        return speak(failure, known, engine_kind(text))
    return None


def words_of_image(name: str) -> Known:
    """What the name of an image in a registry is made of; nothing without a name."""
    if not name:
        return {}
    registry, _, path = name.partition("/")
    if not path or not re.search(r"[.:]|^localhost$", registry):
        registry, path = "docker.io", name
    host, _, port = registry.partition(":")
    return {
        "image": name,
        "registry": registry,
        "path": path,
        "host": host,
        "port": port or "5000",
    }


def registry_of(image_name: str) -> str:
    """The registry that the name of an image means."""
    return words_of_image(image_name).get("registry", "docker.io")
