"""apps.ini: the apps of the dev container, and the ports of this machine that `up` gives them.

The ports are in an override file, so that plain Compose publishes them too. A port is kept as long
as it is the container's own.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Mapping, NamedTuple

from .compose import container, containers, keep_or_say
from .engine_words import ask_engine
from .failures import failed
from .ports import COUNT, FIRST, HERE, free_port, is_free
from .project import APPS_FILE

if TYPE_CHECKING:
    from .project import Project

LIST = "apps.ini"
ADDRESS = "APPS_ADDRESS"  # of .env
HEAD = """\
# The ports of the apps of apps.ini. template.sh writes this before the dev container starts.
services:
  dev:
    ports:
"""


class App(NamedTuple):
    """A section of apps.ini, which says what its keys are."""

    name: str
    command: str
    port: int
    health: str = ""
    page: str = "/"
    token: str = ""


# What a value must be, as a pattern and in words.
PATH = r"(/[^\s\x00-\x1f\x7f]*)?", "a path such as /health"
RULES = {
    "command": (r"(?s).+", "a command"),
    "port": (
        r"0*([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])",
        "a number from 1 to 65535",
    ),
    "health": PATH,
    "page": PATH,
    "token": (r"((?!(PATH|HOME)$)[A-Za-z_]\w*)?", "the name of a variable of its own"),
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def read_apps(project: Project) -> dict[str, App]:
    """The apps by their names; none without a file. Raises StopError where it cannot be read."""
    file = project.folder / LIST
    if not file.is_file():
        return {}
    import configparser  # noqa: PLC0415  only some projects have the file

    config = configparser.RawConfigParser()
    try:
        config.read_string(file.read_text("utf-8-sig"), source=LIST)
        sections = {name: dict(config.items(name)) for name in config.sections()}
        return apps_of(sections, ports_of_dev(project))
    except (OSError, ValueError, configparser.Error) as error:
        why = " ".join(str(error).split())
        raise failed("apps-file", project, reason=why) from error


def ports_of_dev(project: Project) -> dict[int, str]:
    """Who else has a port in the dev container."""
    if "ssh" not in project.extras:
        return {}
    from .ssh import SERVER_PORT  # noqa: PLC0415  only such projects have it

    return {SERVER_PORT: "the ssh server"}


def apps_of(sections: Mapping[str, Mapping[str, str]], others: Mapping[int, str]) -> dict[str, App]:
    """The apps of all sections; `others` has who else has a port of the container.

    Raises:
        ValueError: a section is not one of an app, or has the port of another.
    """
    apps = {name: app_of(name, values) for name, values in sections.items()}
    known = dict(others)
    for name, one in apps.items():
        if one.port in known:
            raise ValueError(f"[{name}] has the port {one.port}, as has {known[one.port]}")
        known[one.port] = f"[{name}]"
    return apps


def app_of(name: str, values: Mapping[str, str]) -> App:
    """The app of a section. Raises ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError(f'"{name}" cannot be a name: use letters, digits and _ . -')
    for key in values:
        if key not in RULES:
            raise ValueError(f"[{name}] has {key}, but an app has {', '.join(RULES)}")
    for key, (pattern, words) in RULES.items():
        value = values.get(key, "")
        if not re.fullmatch(pattern, value, re.ASCII) and (value or key in ("command", "port")):
            raise ValueError(f'[{name}] has {key} "{value}", but it must be {words}')
    return App(
        name,
        " ".join(values["command"].splitlines()),
        int(values["port"]),
        values.get("health", ""),
        values.get("page") or "/",
        values.get("token", ""),
    )


# ------------------------------------------------------------------------------------ the ports


def own_ports(project: Project) -> dict[int, int]:
    """The ports of this machine that the dev container has, also a stopped one, by those in it."""
    found = containers(project, "dev", "oneoff=False", running=False)[:1]
    form = "{{json .HostConfig.PortBindings}}"
    said = ask_engine("inspect", "--format", form, *found).stdout if found else ""
    given = json.loads(said) if said.strip() else None
    return {
        int(port.partition("/")[0]): int(one["HostPort"])
        for port, bindings in (given or {}).items()
        for one in bindings or ()
        if one["HostPort"].isdigit() and FIRST <= int(one["HostPort"]) < FIRST + COUNT
    }


def engine_ports() -> set[int]:
    """The ports of this machine that running containers have; some engines do not listen there."""
    said = ask_engine("ps", "--format", "{{.Ports}}").stdout
    found = re.findall(r":(\d+)(?:-(\d+))?->", said)
    return {port for a, b in found for port in range(int(a), int(b or a) + 1)}


def choose_ports(project: Project, apps: Mapping[str, App], address: str) -> dict[str, str]:
    """A port of this machine for each app."""
    own, of_engine, runs = own_ports(project), engine_ports(), bool(container(project))
    taken = of_engine | {*own.values()}
    ssh = project.settings.get("SSH_PORT")
    taken |= {int(ssh)} if ssh.isdigit() else set()
    ports: dict[str, str] = {}
    for name, app in apps.items():
        had = own.get(app.port, 0)
        if had and (runs or (had not in of_engine and is_free(had, address))):
            ports[name] = str(had)
            continue
        port = free_port(project.folder, f"app {name}", address, taken)
        if port:
            ports[name] = port
            taken.add(int(port))
    return ports


def ports_text(project: Project) -> str:
    """The text of the override file, "" without an app. Raises StopError."""
    apps = read_apps(project)
    if not apps:
        return ""
    address = project.settings.get(ADDRESS) or HERE
    rows = ""
    for name, port in choose_ports(project, apps, address).items():
        row = {"host_ip": address.strip("[]"), "published": port, "target": apps[name].port}
        rows += f"      - {json.dumps(row)} # {name}\n"
    return f"{HEAD}{rows}" if rows else ""


def publish_apps(project: Project) -> None:
    """Bring the override file in line with apps.ini, and let COMPOSE_FILE name it.

    Raises:
        StopError: apps.ini cannot be read.
    """
    otherwise = "Apps have the ports that they had before"
    keep_or_say(project, APPS_FILE, ports_text(project), otherwise)
