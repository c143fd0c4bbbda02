"""Whether every way into a container leads to the same user, environment and files: doors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Any, Dict

from .apps import in_container
from .compose import image_id, need_container
from .engine_words import ask_engine
from .plain import columns
from .project import StopError

if TYPE_CHECKING:
    import argparse

    from .project import Project

Room = Dict[str, Any]  # what room.py prints

PROGRAM = Path(__file__).with_name("room.py")
# Variables that belong to a way in, not to what is behind it.
OWN = {
    *("HOSTNAME", "LS_COLORS", "MAIL", "OLDPWD", "PS1", "PWD", "SHELL", "SHLVL", "TEMPLATE_SH"),
    *("PROJECT_VERSION", "SSH_AUTH_SOCK", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "TERM", "_"),
}
LIMIT = 100  # seconds for one way in: a notebook may wait for its kernel three times


def doors_options(parser: argparse.ArgumentParser) -> None:
    """How to print."""
    parser.add_argument("--json", action="store_true", help="all that was found, as JSON")


def ways(project: Project) -> dict[str, list[str]]:
    """The ways into this project's containers: name to the words for template.sh."""
    probe = ["python", "-c", PROGRAM.read_text("utf-8")]
    found = {"exec": ["exec", *probe]}
    for shell in dict.fromkeys((project.shell, "bash")):
        found[shell] = ["exec", shell, "-ic", join(probe)]
        found[f"{shell} -l"] = ["exec", shell, "-lc", join(probe)]
    if image_id(project.image("runtime")):
        found["run"] = ["run", *probe]
    if "ssh" in project.extras and project.settings.path("SSH_KEYS"):
        found["ssh"] = ["ssh", *probe]
    if "jupyter" in project.extras:
        from .notebook import words_for_kernel  # noqa: PLC0415  only such projects have it

        words = words_for_kernel(project, probe[-1])
        if words:
            found["notebook"] = words
    return found


def enter(project: Project, words: list[str]) -> tuple[Room | None, str]:
    """What room.py finds behind a verb of template.sh with its arguments, or None and why."""
    try:
        done = subprocess.run(
            [sys.executable, "-B", "-m", "host", *words],
            cwd=str(project.folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {LIMIT} s"
    room = read_room(done.stdout.splitlines())
    if room:
        return room, ""
    return None, reason(done.stderr) or f"exit status {done.returncode}"


def reason(said: str) -> str:
    """The line of stderr that says why a command failed: the first, or the last of a traceback."""
    lines = [line for line in said.splitlines() if line.strip()]
    of_python = any(line.startswith("Traceback ") for line in lines)
    return lines[-1 if of_python else 0] if lines else ""


def enter_as_app(project: Project) -> tuple[Room | None, str]:
    """What room.py finds where it is started as an app of apps.ini is, or None and why."""
    command = join(["python", "-c", PROGRAM.read_text("utf-8")])
    # It listens nowhere: it has ended before anything could answer, and its log has what it said.
    app = {"name": "doors", "command": command, "port": 1, "health": "", "token": ""}
    try:
        answer = in_container(project, "start", {**app, "limit": LIMIT})
    except StopError as error:
        return None, error.sentence
    room = read_room(answer.get("log", []))
    return room, "" if room else f"exit status {answer.get('status')}"


def enter_by_editor(project: Project) -> tuple[Room | None, str]:
    """What room.py finds where an editor starts it in its dev container, or None and why."""
    from .editor_door import enter_as_editor  # noqa: PLC0415  only such projects have it

    said, why = enter_as_editor(project, ["python", "-c", PROGRAM.read_text("utf-8")])
    room = read_room(said.splitlines())
    return room, "" if room else reason(why) or "it prints nothing"


def read_room(lines: list[str]) -> Room | None:
    """The last line that is a room, None if there is none."""
    for line in reversed(lines):
        try:
            room = json.loads(line)
        except ValueError:
            continue
        if isinstance(room, dict):
            return room
    return None


def of_one_image(project: Project) -> set[str]:
    """The variables that the images themselves set differently, such as those for compilers."""
    lines = []
    for image in map(project.image, ("dev", "runtime")):
        asked = ask_engine("image", "inspect", "--format", "{{json .Config.Env}}", image)
        lines.append(set(json.loads(asked.stdout) if not asked.returncode else []))
    return {line.partition("=")[0] for line in lines[0] ^ lines[1]} - {"PATH"}


def ignored_variables(project: Project, rooms: dict[str, Room]) -> set[str]:
    """The variables that may differ between these ways in."""
    ignored = set(OWN)
    if "run" in rooms:
        ignored |= of_one_image(project) | {"NETRC"}  # for packages that are installed by hand
    if "notebook" in rooms:
        from .notebook import OWN as OF_NOTEBOOK  # noqa: PLC0415  only such projects have it

        ignored |= OF_NOTEBOOK
    return ignored


def facts(room: Room, ignored: set[str] = OWN) -> dict[str, str]:
    """What is compared of a room: its facts, and its variables as $NAME."""
    found = {key: str(value) for key, value in room.items() if key != "environment"}
    environment: dict[str, str] = room["environment"]
    found.update({f"${key}": environment[key] for key in environment.keys() - ignored})
    return found


def differences(rooms: dict[str, Room], ignored: set[str]) -> list[tuple[str, str, str]]:
    """Fact, way in and value, for each fact that is not the same everywhere."""
    seen = {way: facts(room, ignored) for way, room in rooms.items()}
    names = sorted({name for found in seen.values() for name in found})
    return [
        (name, way, found.get(name, "(not set)"))
        for name in names
        if len({one.get(name) for one in seen.values()}) > 1
        for way, found in seen.items()
    ]


def do_doors(project: Project, options: argparse.Namespace) -> int:
    """Enter the containers in every way and compare; 1 if anything differs. Raises StopError."""
    need_container(project)
    answers = {way: enter(project, words) for way, words in ways(project).items()}
    answers["app"] = enter_as_app(project)
    if "devcontainer" in project.extras:
        answers["dev container"] = enter_by_editor(project)
    rooms = {way: room for way, (room, _) in answers.items() if room}
    shut = {way: why for way, (room, why) in answers.items() if not room}
    found = differences(rooms, ignored_variables(project, rooms))
    if options.json:
        print(json.dumps({"rooms": rooms, "closed": shut, "differences": found}))
        return 1 if found or shut else 0
    for room in [*rooms.values()][:1]:
        shown = [(key, value) for key, value in facts(room).items() if not key.startswith("$")]
        print(*columns([*shown, ("PATH", room["environment"].get("PATH", ""))]), sep="\n")
    for way, why in shut.items():
        print(f"\n{way} does not work: {why}")
    if found:
        print("", *columns([("differs", "by", "value"), *found]), sep="\n")
    elif rooms:
        print(f"\nThe same by {', '.join(rooms)}.")
    return 1 if found or shut else 0
