"""What helps against a failure: cause and command for this engine and this machine.

Every verb, the hook and `env --show` speak from the table of failures (failure_rows.py). What a
program said is shown first, always; a text that no row knows is the last word. The table is read
when something has failed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from .ask import read_json, read_text
from .engine_words import PODMAN, engine_program
from .env_file import ProbeError
from .failure_rows import fill_in, matches, row
from .plain import one_line, quoted
from .project import StopError, called_from, me

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .failure_rows import Failure, Known
    from .project import Project

# --------------------------------------------------------------------------- what helps, and where


def hosts(root: Path = Path("/")) -> Iterator[str]:
    """What this machine is, in the words of the remedies; remote first: where its engine is."""
    if engine_address().startswith(("tcp://", "ssh://")):
        yield "remote"
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
    release = re.search(r'(?m)^VERSION_ID="?(\d+)', system)
    for key in ("ID", "ID_LIKE"):  # such as rhel, and what that is like: fedora
        found = re.search(rf"(?m)^{key}=(.*)$", system)
        names = re.findall("[a-z]+", found.group(1)) if found else []
        names += ["rhel"] if names == ["ol"] else []  # Oracle Linux says that it is like Fedora
        for name in names:
            if release and (key == "ID" or name == "rhel"):  # such as debian-12; Rocky 9 is rhel-9
                yield f"{name}-{release.group(1)}"
            yield name


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
    return best_of(failure.run, kind, here or [*hosts()])


def best_of(run: Mapping[str, str], kind: str, here: Sequence[str]) -> str:
    """Of the commands of a row, by engines and hosts, that for this engine and this host."""
    pairs = [f"{one} {other}" for one in here for other in here]
    words = [*(f"{kind} {one}" for one in (*pairs, *here)), kind, *pairs, *here, ""]
    return next(run[word] for word in words if word in run)


def everywhere(project: Project | None) -> Known:
    """What is known of every failure."""
    folder = Path(me()).parent
    if project and not (called_from() / folder / "host" / "project.json").is_file():
        folder = project.folder  # template.sh was called by a link
    known = {"me": me(), "folder": str(folder)}
    if project:
        known.update(root=str(project.root), project=project.name)
    return known


def speak(
    failure: Failure, known: Mapping[str, str], kind: str, here: Sequence[str] = ()
) -> StopError:
    """A failure in words; `cause` and `remedy` are known where they are better than its row's."""
    words = {k: v if k in ("advice", "me") else quoted(v) for k, v in known.items()}
    remedy = known.get("remedy") or fill_in(remedy_for(failure, kind, here), words)
    told = {key: one_line(value) for key, value in known.items()}
    cause = known.get("cause") or fill_in(failure.cause, told)
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
