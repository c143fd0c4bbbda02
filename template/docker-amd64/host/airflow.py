"""Workflows in the browser: Airflow's containers are started, looked at and stopped.

An action is a row of the table ACTIONS. Only `down` and `reset` end what `up` has started: the
engine starts a service again that has died, also after a restart of the machine.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Callable

from .airflow_backup import backup, before_migration, restore
from .airflow_backup import reset as remove
from .airflow_results import PAGE, PROJECT, rerun, tell_worker, worker_of
from .airflow_secrets import FOLDER as SECRETS
from .airflow_secrets import PASSWORDS, make_secrets, user_and_password
from .airflow_workers import HEALTHY, health_of, start_workers, stop_workers, workers
from .apps_file import engine_ports
from .ask import capture, read_json
from .compose import call, check_engine, container_of, image_id, published, show, show_text
from .engine_words import compose, engine_command
from .env_file import set_keys
from .failures import explain, failed
from .files import make_folder
from .images import before_build, refresh_images
from .plain import columns, say
from .ports import HERE, account_here, free_port, is_free
from .project import USAGE, StopError, called_from, me
from .turn import turn
from .work import NO_ORPHANS, before_start
from .workspaces import FOLDER

if TYPE_CHECKING:
    import argparse

    from .project import Project

PROFILE = ("--profile", "airflow")
SUBMITTER = "submitter"
INIT = "airflow-init"
PORT_KEY, USUAL_PORT, INSIDE = "AIRFLOW_PORT", "8080", 8080
LAST_PORT = 65535
START_LIMIT = 300  # seconds for each that others wait for; a slow disk makes the tables in a minute
ANSWER_LIMIT = 10  # seconds for an answer of the page
PAGE_OF_ERRORS, MOST_ERRORS = 100, 300  # Airflow gives no more at a time; nobody reads more
TAIL = "20"  # lines that are shown of a service that has failed
LOGIN = ("username", "password")  # the fields that the page's login takes


def airflow_options(parser: argparse.ArgumentParser) -> None:
    """What to do."""
    every = "|".join(one for one in ACTIONS if one != SUBMITTER)  # what all projects have
    text = f"what to do: {', '.join(ACTIONS)}"
    parser.add_argument("action", choices=[*ACTIONS], metavar=every, help=text)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="logs: a service, or a workspace; rerun: a manifest; backup, restore: the archive",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="with logs: wait for more")
    parser.add_argument("-n", "--tail", metavar="LINES", help="with logs: only the last lines")
    parser.add_argument("-y", "--yes", action="store_true", help="restore, reset: do not ask")


def do_airflow(project: Project, options: argparse.Namespace) -> int:
    """Do an action; its exit status. Raises StopError."""
    return ACTIONS[options.action](project, options)


def no_words(options: argparse.Namespace) -> None:
    """Raise StopError if an action was given words that it does not take."""
    if options.words:
        sentence = f"airflow {options.action} does not know {' '.join(options.words)}."
        raise StopError(sentence, f"{me()} airflow --help", name=USAGE)


# ----------------------------------------------------------------------------------------- up


def up(project: Project, options: argparse.Namespace) -> int:
    """Start what is not running, and print the address of the page when all of it is healthy.

    Raises:
        StopError: an image cannot be built, or a service does not start.
    """
    no_words(options)
    build(project)
    with turn(project.folder, "airflow up"):
        make_secrets(project)
        choose_port(project)
    make_folder(project.root / FOLDER)
    if SUBMITTER in ACTIONS:
        from .airflow_jobs_folder import make_jobs_folder  # noqa: PLC0415

        make_jobs_folder(project)  # two containers have it
    before_start(project, "airflow", quiet=True)
    try:
        start_services(project)
    except StopError as error:
        if error.name != "port-taken":
            raise
        choose_port(project)  # somebody took it meanwhile
        start_services(project)
    tell_worker(container_of(project, PAGE), PROJECT, worker_of(project, PROJECT))
    start_workers(project)  # while services that nothing waits for are still starting
    wait_for_services(project)
    tell_address(project)
    return 0


def build(project: Project) -> None:
    """Bring the images in line with their sources: nothing is built if nothing has changed."""
    before_build(project)
    refresh_images(project, {"runtime": "runtime", "airflow-database": "database"})
    refresh_images(project, {INIT: "airflow"})  # on the runtime image


def start_services(project: Project) -> None:
    """Let Compose start the services in their order, until the page answers. Raises StopError."""
    services = [*project.services["airflow"]]
    found = container_of(project, PAGE)
    words = []
    if found and image_of(found) == image_id(project.image("airflow")):
        # The tables are those of this image: there is nothing to migrate.
        services.remove(INIT)
        words.append("--no-deps")
    else:
        if found:
            tell_worker(found, PROJECT, None)  # the worker of this image is replaced
        before_migration(project)
    compose_up(project, *words, *services)


def wait_for_services(project: Project) -> None:
    """Wait until all services are healthy. Raises StopError."""
    services = [one for one in project.services["airflow"] if one != INIT]
    compose_up(project, "--no-deps", "--wait", *services)


def compose_up(project: Project, *words: str) -> None:
    """Call `docker compose up` for services of Airflow. Raises StopError."""
    # The limit is also that of services that others wait for.
    limit = ("--wait-timeout", str(START_LIMIT))
    words = ("up", "--detach", "--no-build", *limit, *words)
    try:
        call(project, compose(*PROFILE, *words), env=NO_ORPHANS)
    except StopError as error:
        if error.name:
            raise
        raise why_not_started(project) or error from error


def image_of(found: str) -> str:
    """The id of the image that a container was made from."""
    words = engine_command("inspect", "--format", "{{.Image}}", found)
    return capture(*words).stdout.strip()


def why_not_started(project: Project) -> StopError | None:
    """The failure of the first service that does not work; its last lines are shown."""
    for name, row in states(project).items():
        state, health, status = (row.get(key) for key in ("State", "Health", "ExitCode"))
        if state == "running" and health in ("healthy", ""):
            continue
        if name == INIT and state == "exited" and not status:
            continue
        words = compose(*PROFILE, "logs", "--no-log-prefix", "--tail", TAIL, name)
        said = capture(*words, cwd=project.folder)
        text = said.stdout + said.stderr
        show_text(text.rstrip())
        return explain(project, text) or failed("airflow-unhealthy", project, service=name)
    return None


# --------------------------------------------------------------------------------------- port


def choose_port(project: Project) -> None:
    """Give AIRFLOW_PORT in .env a port that nobody else has. Raises ProbeError."""
    if PORT_KEY in project.settings.environ:  # for this call the user has decided
        return
    wanted = project.settings.get(PORT_KEY)
    found = container_of(project, PAGE)
    own = published(found, INSIDE) if found else None
    if own and wanted in ("", own[1]):
        port = own[1]
    else:
        taken = engine_ports()
        tried = wanted or USUAL_PORT
        fits = int(tried) <= LAST_PORT and int(tried) not in taken and is_free(int(tried))
        port = tried if fits else free_port(project.folder, "airflow", taken=taken)
        if not fits and port:
            show(f"Port {tried} is not free on this machine: Airflow's page gets port {port}.")
    if port and port != wanted:
        set_keys(project.folder, [f"{PORT_KEY}={port}"])
        project.forget_settings()


def tell_address(project: Project) -> None:
    """Print where the page is, how to log in, and how another computer reaches it."""
    user, _ = user_and_password(project)
    port = project.settings.get(PORT_KEY)
    file = quote(password_file(project))
    show(f"Airflow runs. Log in as {user}; for the password, run: cat {file}")
    account = account_here()
    if account:
        show(f"On the computer that you came from, run: ssh -N -L {port}:{HERE}:{port} {account}")
    say(f"http://{HERE}:{port}/")


def password_file(project: Project) -> str:
    """The file with the password: relative to where the user stands, if it is below."""
    file = project.folder / PASSWORDS
    try:
        return str(file.relative_to(called_from()))
    except ValueError:
        return str(file)


# ----------------------------------------------------------------------------- down, status, logs


def down(project: Project, options: argparse.Namespace) -> int:
    """Remove the containers. The database and all that Airflow knows stay in volumes."""
    no_words(options)
    stop_workers(project)
    call(project, compose(*PROFILE, "down", *project.services["airflow"]))
    return 0


def states(project: Project) -> dict[str, dict[str, Any]]:
    """What Compose knows of the containers of Airflow's services, in the order of their start."""
    words = compose(*PROFILE, "ps", "--all", "--format", "json")
    asked = capture(*words, cwd=project.folder)
    if asked.returncode:
        check_engine(project)
    # A line for each container; older versions of Compose print one list.
    rows = json.loads(asked.stdout) if asked.stdout.startswith("[") else None
    if rows is None:
        rows = [read_json(line) for line in asked.stdout.splitlines()]
    found = {row.get("Service"): row for row in rows}
    return {name: found[name] for name in project.services["airflow"] if name in found}


def status(project: Project, options: argparse.Namespace) -> int:
    """List the services and the workers of workspaces; 0 if all of them work."""
    no_words(options)
    found = states(project)
    if not found:
        show(f"Airflow does not run. Run: {me()} airflow up")
        return 1
    rows, bad = [("SERVICE", "STATUS")], False
    for name in project.services["airflow"]:
        row = found.get(name, {})
        rows.append((name, row.get("Status") or "not there"))
        works = row.get("State") == "running" and row.get("Health") in ("healthy", "")
        # It has ended, and its container may have been pruned since.
        bad |= not works and not (name == INIT and not row.get("ExitCode"))
    for number, name in workers(project):
        health = health_of(number)
        rows.append((f"airflow-worker of {FOLDER}/{name}", health))
        bad |= HEALTHY not in health
    print("\n".join(columns(rows)))
    errors, total = import_errors(project)
    for one in errors:
        say(f"Import error: {one.get('filename')}: {last_line(one.get('stack_trace') or '')}")
    if total > len(errors):
        say(f"And {total - len(errors)} more import errors, which the page lists.")
    return int(bad)


def last_line(text: str) -> str:
    """The last line of a traceback."""
    return (text.strip().splitlines() or [""])[-1]


def import_errors(project: Project) -> tuple[list[dict[str, Any]], int]:
    """What Airflow says of files with DAGs that it cannot read, and of how many there are.

    Nothing if it does not answer, which is said.
    """
    errors: list[dict[str, Any]] = []
    total = 1
    try:
        token = ask_page(project, "/auth/token", sent=dict(zip(LOGIN, user_and_password(project))))
        while len(errors) < min(total, MOST_ERRORS):
            path = f"/api/v2/importErrors?limit={PAGE_OF_ERRORS}&offset={len(errors)}"
            found = ask_page(project, path, token=token["access_token"])
            errors += found["import_errors"]
            total = found["total_entries"] if found["import_errors"] else len(errors)
    except (OSError, ValueError, KeyError):
        show("Airflow's page does not answer, so files that it cannot read are not listed.")
        total = len(errors)
    return errors, total


def ask_page(
    project: Project, path: str, *, token: str = "", sent: dict[str, str] | None = None
) -> dict[str, Any]:
    """What the REST API answers. Raises OSError or ValueError."""
    found = container_of(project, PAGE)
    where = published(found, INSIDE) if found else None
    if not where:
        raise OSError("it does not run")
    headers = {"Content-Type": "application/json"}
    headers.update({"Authorization": f"Bearer {token}"} if token else {})
    body = json.dumps(sent).encode() if sent else None
    request = urllib.request.Request(f"http://{HERE}:{where[1]}{path}", body, headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=ANSWER_LIMIT) as answer:
        said: dict[str, Any] = json.load(answer)
    return said


def logs(project: Project, options: argparse.Namespace) -> int:
    """Show what the services print, or some of them, or workers of workspaces. Raises StopError."""
    services, there = project.services["airflow"], states(project)
    if not there:
        raise failed("airflow-not-running", project)
    words = ["--follow"] if options.follow else []
    words += ["--tail", options.tail] if options.tail else []
    of_workspaces = {name: number for number, name in workers(project)}
    names, numbers = [], []
    for one in options.words:
        service = one if one.startswith("airflow-") else f"airflow-{one}"
        if service in services:
            names.append(service)
        elif one in of_workspaces:
            numbers.append(of_workspaces[one])
        else:
            has = ", ".join([*services, *of_workspaces])
            sentence = f"Airflow has no service or workspace {one}. It has: {has}."
            raise StopError(sentence, f"{me()} airflow status", name=USAGE)
    if names or not numbers:
        call(project, compose(*PROFILE, "logs", *words, *(names or there)))
    for number in numbers:
        call(project, engine_command("logs", *words, number))
    return 0


def reset(project: Project, options: argparse.Namespace) -> int:
    """`reset`, while nobody submits jobs: it removes the requests. Raises StopError."""
    if SUBMITTER not in ACTIONS or not (project.folder / SECRETS).is_dir():
        return remove(project, options)
    from .airflow_jobs_folder import alone  # noqa: PLC0415

    with alone(project):
        return remove(project, options)


def submitter(project: Project, options: argparse.Namespace) -> int:
    """Give what DAGs ask for to clusters, until Ctrl-C; only projects with clusters have this."""
    from .airflow_submit import serve  # noqa: PLC0415

    no_words(options)
    return serve(project)


Action = Callable[["Project", "argparse.Namespace"], int]
ACTIONS: dict[str, Action] = {
    "up": up,
    "down": down,
    "status": status,
    "logs": logs,
    "rerun": rerun,
    "backup": backup,
    "restore": restore,
    "reset": reset,
}
if Path(__file__).with_name("airflow_submit.py").is_file():
    ACTIONS[SUBMITTER] = submitter
