"""What a program finds that an editor starts in its dev container, for `doors`.

It is started as `devcontainer exec` does it, which VS Code has in common: with the variables of a
shell of the user, and with what devcontainer.json and features add.
https://containers.dev/implementors/spec/#remote-container-lifecycle
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any, Dict, Mapping

from .ask import read_text
from .compose import container
from .devcontainer import CONFIG, labels_of
from .engine_words import ask_engine, engine_command
from .project import EDITOR_FILE

if TYPE_CHECKING:
    from .project import Project

Settings = Dict[str, Any]  # of devcontainer.json
Variables = Dict[str, str]

LIMIT = 100  # seconds for the program
PROBE_LIMIT = 10  # seconds for the shell; editors go on without it
MARK = "4f1b7f4e-doors"
PROBES = {"loginInteractiveShell": "-lic", "loginShell": "-lc", "interactiveShell": "-ic"}
STRING = r'("(?:\\.|[^"\\])*")'
COMMENT = re.compile(STRING + r"|//[^\n]*|/\*.*?\*/", re.DOTALL)
LAST_COMMA = re.compile(STRING + r"|,(?=\s*[}\]])", re.DOTALL)
# In the container: becomes a program with more variables, which no list of processes shows.
BECOME = """\
import json, os, sys
words, more = json.load(sys.stdin)
for name, value in more.items():
    os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
os.execvp(words[0], words)
"""
NOT_FOUND = f"no running container has the labels of {CONFIG}"
NOT_NAMED = f"{CONFIG} does not name {EDITOR_FILE}: editors start another container"
ANOTHER = "editors enter another container than exec: "


def enter_as_editor(project: Project, words: list[str]) -> tuple[str, str]:
    """Run a program in the container as an editor does.

    Returns:
        its stdout, and its stderr or why it cannot be run.
    """
    try:
        settings = read_settings(read_text(project.root / CONFIG))
    except ValueError as error:
        return "", f"{CONFIG} is not JSON: {error}"
    if EDITOR_FILE not in str(settings.get("dockerComposeFile")):
        return "", NOT_NAMED
    filters = [f"--filter=label={name}={value}" for name, value in labels_of(project).items()]
    found = ask_engine("ps", "--quiet", "--no-trunc", *filters).stdout.split()
    if not found:
        return "", NOT_FOUND
    if container(project) not in found:
        return "", f"{ANOTHER}{found[0][:12]}"
    return run_in(project, found[0], settings, words)


def run_in(project: Project, found: str, settings: Settings, words: list[str]) -> tuple[str, str]:
    """Run a program in a container: its stdout, and its stderr or why it cannot be run."""
    config = json.loads(ask_engine("inspect", "--format", "{{json .Config}}", found).stdout)
    own = dict(line.split("=", 1) for line in config["Env"] if "=" in line)
    settings = merged([*of_image(config["Labels"]), settings])
    user = settings.get("remoteUser") or settings.get("containerUser") or config["User"]
    by_user = ("exec", "--interactive", "--user", user or "root")
    folder = str(settings.get("workspaceFolder") or "/")
    more: dict[str, str | None] = {**of_shell([*by_user, found], settings, own)}
    for name, value in settings["remoteEnv"].items():
        more[name] = value if value is None else filled(str(value), project, folder, own)
    folder = filled(folder, project, folder, own)
    into = (*by_user, "--workdir", folder, found, "/opt/venv/bin/python", "-IS", "-c", BECOME)
    try:
        done = asked(into, LIMIT, json.dumps([words, more]))
    except subprocess.TimeoutExpired:
        return "", f"no answer within {LIMIT} s"
    return done.stdout, done.stderr


def asked(words: tuple[str, ...], limit: float, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command of the engine that reads a text. Raises subprocess.TimeoutExpired."""
    return subprocess.run(
        engine_command(*words),
        input=text,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=limit,
        check=False,
    )


def read_settings(text: str) -> Settings:
    """What devcontainer.json says: JSON with comments and a comma too many. Raises ValueError."""
    for pattern in (COMMENT, LAST_COMMA):
        text = pattern.sub(lambda match: match[1] or " ", text)
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("no object")  # noqa: TRY004  it is not JSON as it has to be
    return found


def of_image(labels: Mapping[str, str] | None) -> list[Settings]:
    """The settings that features of editors and base images have left with a container."""
    try:
        found = json.loads((labels or {}).get("devcontainer.metadata", "[]"))
    except ValueError:
        return []
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)]


def merged(several: list[Settings]) -> Settings:
    """Settings of which the later ones win; remoteEnv has the variables of all."""
    found: Settings = {}
    for one in several:
        found.update({key: value for key, value in one.items() if value})
    every = [one.get("remoteEnv") or {} for one in several]
    found["remoteEnv"] = {name: value for one in every for name, value in one.items()}
    return found


def filled(text: str, project: Project, folder: str, own: Variables) -> str:
    """A value of devcontainer.json with what it names in ${...}.

    Args:
        text: the value.
        project: the project.
        folder: that of the code in the container.
        own: the variables of the container.
    """
    local = str(project.root)
    folders = {"localWorkspaceFolder": local, "containerWorkspaceFolder": folder}
    names = {f"{key}Basename": os.path.basename(path) for key, path in folders.items()}  # noqa: PTH119
    sources = {"localEnv": os.environ, "env": os.environ, "containerEnv": own}

    def value(match: re.Match[str]) -> str:
        kind, name, other = [*match[1].split(":", 2), "", ""][:3]
        if kind in sources and name:
            return sources[kind].get(name, other.partition(":")[0])
        return {**folders, **names}.get(kind, match[0])

    return re.sub(r"\$\{(.*?)\}", value, text)


def of_shell(into: list[str], settings: Settings, own: Variables) -> Variables:
    """The variables that a shell of the user has, by the words that enter the container."""
    option = PROBES.get(settings.get("userEnvProbe") or "loginInteractiveShell")
    if not option:
        return {}
    of_user = ask_engine(*into, "sh", "-c", 'getent passwd "$(id -u)"').stdout.strip()
    shell = own.get("SHELL") or of_user.rpartition(":")[2] or "/bin/sh"
    line = f"echo -n {MARK}; cat /proc/self/environ; echo -n {MARK}"
    try:
        said = asked((*into, shell, option, line), PROBE_LIMIT).stdout
    except subprocess.TimeoutExpired:
        return {}
    parts = said.split(MARK)
    found = dict(one.split("=", 1) for one in "".join(parts[1:2]).split("\0") if "=" in one)
    found.pop("PWD", None)
    if found.get("PATH") and own.get("PATH"):
        is_root = into[3].partition(":")[0] in {"0", "root"}
        found["PATH"] = joined_paths(found["PATH"], own["PATH"], is_root=is_root)
    return found


def joined_paths(of_shell: str, of_container: str, *, is_root: bool) -> str:
    """The PATH of a shell with the container's folders that it lacks, each before its next one."""
    folders, at = of_shell.split(":"), 0
    for one in of_container.split(":"):
        if one in folders:
            at = folders.index(one) + 1
        elif is_root or not re.search(r"/sbin(/|$)", one):
            folders.insert(at, one)
            at += 1
    return ":".join(folders)
