"""Notebooks and other programs with a web page in the dev container: apps."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from .apps_file import LIST, App, read_apps
from .compose import become, call, container, need_container, published, show, show_text
from .engine_words import engine_command
from .failures import failed
from .plain import columns
from .ports import HERE, account_here
from .project import USAGE, StopError, me
from .work import script_name

if TYPE_CHECKING:
    import argparse

    from .project import Project

LIMIT = 60  # seconds until an app answers
PROGRAM = "image/app.py"  # what the container is sent
LOG = "~/.apps/{}/log"  # in the container
TAIL = """\
cd ~/.apps/"$0" 2>/dev/null && [ -e log ] && exec tail "$@" log
echo "There is no log of $0 yet." >&2
exit 1
"""


def apps_options(parser: argparse.ArgumentParser) -> None:
    """What to do with which app."""
    parser.add_argument("-f", "--follow", action="store_true", help="with logs: wait for more")
    parser.add_argument("-n", "--tail", metavar="LINES", help="with logs: only the last lines")
    parser.add_argument("action", nargs="?", choices=("start", "stop", "logs"), help="or list all")
    parser.add_argument("app", nargs="?", metavar="APP", help=f"a section of {LIST}")


def do_apps(project: Project, options: argparse.Namespace) -> None:
    """List the apps, or do something with one."""
    if not options.action:
        print("\n".join(listing(project)))
        return
    if not options.app:
        names = ", ".join(read_apps(project)) or "none yet"
        sentence = f"apps {options.action} needs the name of an app of {LIST}: {names}."
        raise StopError(sentence, f"{me()} apps --help", name=USAGE)
    if options.action == "start":
        start_app(project, options.app)
    elif options.action == "stop":
        stop_app(project, options.app)
    else:
        show_log(project, options.app, options.tail, follow=options.follow)


def find_app(project: Project, name: str) -> App:
    """The app of a name. Raises StopError if there is none."""
    apps = read_apps(project)
    if name in apps:
        return apps[name]
    there = f" It has: {', '.join(apps)}." if apps else ""
    raise failed("app-missing", project, cause=f"{LIST} has no section [{name}].{there}")


def in_container(project: Project, verb: str, known: dict[str, Any]) -> dict[str, Any]:
    """What the program in the container answers. Raises StopError if it cannot be run."""
    words = engine_command("exec", "--interactive", *script_name(), container(project))
    words += ["/opt/venv/bin/python", "-IS", "-", verb, json.dumps(known)]
    program = (project.folder / PROGRAM).read_text("utf-8")
    answer: dict[str, Any] = json.loads(call(project, words, stdin=program, capture=True))
    return answer


def address_of(project: Project, app: App) -> tuple[str, str]:
    """Where this machine has an app: address and port. Raises StopError if the container is older.

    The dev container has to run.
    """
    where = published(container(project), app.port)
    if not where:
        raise failed("app-not-published", project, app=app.name, port=str(app.port))
    return where


def url(where: tuple[str, str], path: str = "/") -> str:
    """The address for a browser."""
    address, port = where
    return f"http://{f'[{address}]' if ':' in address else address}:{port}{path}"


def start_app(project: Project, name: str) -> None:
    """Start an app, unless it runs, and the dev container; print its address when it answers.

    Raises:
        StopError: it cannot be started, or does not answer.
    """
    app = find_app(project, name)
    if container(project):
        need_container(project)  # says whether it is an older one
    else:
        from .command import call_verb  # noqa: PLC0415  it imports more only for a stopped one

        call_verb("up", project=project)
    where = address_of(project, app)
    answer = in_container(project, "start", {**app._asdict(), "limit": LIMIT})
    if answer["state"] != "ready":
        if answer.get("log"):
            show_text("\n".join(answer["log"]))
        raise why_not(project, app, answer)
    show(f"{name} runs. To end it, run: {me()} apps stop {name}")
    account = account_here()
    if account:
        address, port = where
        target = f"[{address}]" if ":" in address else address
        show(f"On the computer that you came from, run: ssh -N -L {port}:{target}:{port} {account}")
        where = (HERE, port)
    print(url(where, app.page.replace("{token}", answer["token"])))


def why_not(project: Project, app: App, answer: dict[str, Any]) -> StopError:
    """The failure of an app that does not answer."""
    known = {"app": app.name, "port": str(app.port), "seconds": str(LIMIT)}
    state = answer["state"]
    if state == "port-taken":
        return failed("app-port-taken", project, who=answer["who"], **known)
    if state == "loopback":
        return failed("app-loopback", project, **known)
    if state == "silent":
        return failed("app-silent", project, **known)
    if answer["status"] == 127:  # noqa: PLR2004  as shells say that there is no such program
        return failed("app-not-installed", project, **known)
    return failed("app-ended", project, status=str(answer["status"]), **known)


def stop_app(project: Project, name: str) -> None:
    """End an app and the programs of its process group. Raises StopError."""
    find_app(project, name)
    need_container(project)
    if in_container(project, "stop", {"name": name})["state"] == "none":
        show(f"{name} does not run.")
    else:
        show(f"Stopped {name}. Its log is kept. Run: {me()} apps logs {name}")


def show_log(project: Project, name: str, lines: str | None, *, follow: bool) -> None:
    """Become what prints the log of the last start. Raises StopError."""
    find_app(project, name)
    need_container(project)
    terminal = ("-it",) if sys.stdin.isatty() and sys.stdout.isatty() else ()
    words = ["-n", lines or "+1", *(["-F"] if follow else [])]
    call_of = engine_command("exec", *terminal, container(project), "sh", "-c", TAIL, name)
    become(project, [*call_of, *words])


def listing(project: Project) -> list[str]:
    """The apps in lines under a heading."""
    apps = read_apps(project)
    if not apps:
        extras = ", ".join([*project.extras, "jupyter"])
        show(f"For notebooks, run: {me()} update --data 'extras=[{extras}]'")
        return [f"docker-amd64/{LIST} names no app."]
    found = container(project)
    runs = in_container(project, "look", {"names": [*apps]}) if found else {}
    rows = [("APP", "STATUS", "ADDRESS", "LOG")]
    for name, app in apps.items():
        where = published(found, app.port) if found else None
        status = "runs" if runs.get(name) else "stopped"
        rows.append((name, status, url(where) if where else "", LOG.format(name)))
    if not found:
        show(f"The dev container does not run. Run: {me()} up")
    elif not all(row[2] for row in rows):
        show(f"An app without an address is newer than the dev container. Run: {me()} up")
    return columns(rows)
