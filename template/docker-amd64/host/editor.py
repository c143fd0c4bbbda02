"""What to enter in an editor, by each way into the dev container: editor."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from .compose import call, container, need_container, with_stdin
from .engine_words import ask_engine, compose
from .files import PRIVATE, write_file
from .git import override as git_override
from .project import EDITOR_FILE, StopError

if TYPE_CHECKING:
    import argparse

    from .project import Project

PYTHON = "/opt/venv/bin/python"
EXTENSIONS = re.compile(r"(?m)^x-.*\n(?: .*\n)*")  # anchors, already resolved
HEAD = """\
# What editors start the dev container from: the files that COMPOSE_FILE of .env names, in one.
# template.sh writes this file. Git and containers do not see it.
"""
OPEN = """\
VS Code, Cursor: a dev container
    command          Dev Containers: Reopen in Container

JetBrains Gateway: Dev Containers
    file             {file}
"""
ATTACH = """\
VS Code, Cursor: attach, with the extension Dev Containers
    command          Dev Containers: Attach to Running Container
    container        {name}
    folder           /workspace
    or, in a shell   code --folder-uri {address}
    interpreter      {python}
"""
COMPOSE = """\
PyCharm: Python Interpreter, On Docker Compose
    configuration    {file}
    service          dev
    interpreter      {python}
"""
SSH = """\
VS Code, Cursor: Remote - SSH; PyCharm, JetBrains Gateway: SSH
    host             {name}, with the entry below in ~/.ssh/config
    folder           /workspace
    interpreter      {python}

{entry}"""


def write_editor_file(project: Project, override: str) -> None:
    """Write what Compose makes of all files of this host, and of the text of one more.

    Raises:
        StopError: Compose cannot read them.
    """
    env = with_stdin(project) if override else {}
    text = call(project, compose("config"), stdin=override or None, env=env, capture=True)
    write_file(project.folder / EDITOR_FILE, HEAD + EXTENSIONS.sub("", text), PRIVATE)


def attach_address(name: str) -> str:
    """The address by which VS Code and Cursor open /workspace in a running container."""
    known = json.dumps({"containerName": f"/{name}"}, separators=(",", ":"))
    return f"vscode-remote://attached-container+{known.encode().hex()}/workspace"


def way_by_ssh(project: Project) -> str:
    """What editors ask for to come by ssh, with the entry for ~/.ssh/config or why there is none.

    The host is the name that only this clone has.
    """
    from .ssh import alias_of, entry  # noqa: PLC0415  only some projects have it

    try:
        found = entry(project)
    except StopError as error:
        found = f"{error}\n".lstrip()
    return SSH.format(name=alias_of(project), python=PYTHON, entry=found)


def do_editor(project: Project, _: argparse.Namespace) -> None:
    """Print what each editor asks for."""
    need_container(project)
    write_editor_file(project, git_override(project))
    words = ("inspect", "--format", "{{.Name}}", container(project))
    name = ask_engine(*words).stdout.strip().lstrip("/")
    file, settings = project.folder / EDITOR_FILE, project.root / ".devcontainer/devcontainer.json"
    ways = [OPEN.format(file=settings)] if "devcontainer" in project.extras else []
    ways += [ATTACH.format(name=name, address=attach_address(name), python=PYTHON)]
    ways += [COMPOSE.format(file=file, python=PYTHON)]
    if "ssh" in project.extras:
        ways += [way_by_ssh(project)]
    print("\n".join(ways), end="")
