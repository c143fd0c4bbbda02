"""The packages, which uv resolves from PyPI: add, remove, lock."""

from __future__ import annotations

import json
import re
import shlex
from importlib import import_module
from typing import TYPE_CHECKING, Any, Sequence

from .ask import read_text
from .compose import run_tools, show, show_text
from .env_file import ProbeError
from .failures import failed
from .files import read_file, write_file
from .images import build_tools
from .imports import RECORD, name_changed_files, said_of_first, tell_of_notebooks, write
from .look import edit
from .look_pip import DEPENDENCIES
from .metadata import COPY, changed_metadata, is_lock_current, record_lock
from .passwords import refuse_in_words
from .project import code_folder, me
from .system_packages import add_options as add_system_options
from .system_packages import add_to_list, needs_named

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from .project import Project, StopError

FILES = ("pyproject.toml", "base-override.txt", COPY)
TOOLS_PYTHON = "/opt/venv/bin/python"  # of the service tools
IN_LOCKS = (r'(?im)^name = "{}"\nversion = "([^"]+)"',)  # the version of a package, {}
LOCK, STALE = "uv.lock", "lock-stale"  # and the id of the failure of one that does not match
# What only another package manager has in workspaces: a lock, arguments and secrets of builds.
WORKSPACE_LOCK = ""
WORKSPACE_ARGUMENTS: tuple[str, ...] = ()
WORKSPACE_SECRETS: tuple[tuple[str, str], ...] = ()
# A requirement as PEP 508 has it, as far as mistakes of typing go.
REQUIREMENT = re.compile(
    r"""\s*[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?\s*(?:\[[^]]*\])?\s*
    (?:@\s*\S+ | \(?\s*(?:(?:~=|===|[=!<>]=|[<>])\s*[\w.*+!-]+\s*,?\s*)*\)?)
    \s*(?:;.*)?""",
    re.VERBOSE,
)


def tools(project: Project, *words: str, capture: bool = False) -> str:
    """Run uv in a container, in dependencies/, as the user. Raises StopError."""
    return run_tools(project, "tools", *words, capture=capture)


def requirements(project: Project, *words: str, capture: bool = False) -> str:
    """Run image/project_lock.py likewise. Raises StopError."""
    program = (TOOLS_PYTHON, "-B", "/opt/container/project_lock.py")
    options = [f"--versions={json.dumps(project.torch_family)}", f"--template-sh={me()}"]
    options.append(f"--project={json.dumps(project.answers)}")
    return tools(project, *program, *options, *words, capture=capture)


def plan_import(project: Project, files: Sequence[str], *options: str) -> dict[str, Any]:
    """What an import of files would do. Raises StopError."""
    program = (TOOLS_PYTHON, "-B", "/opt/container/import_files.py", *options)
    requirements(project, "read")
    answers = f"--project={json.dumps(project.answers)}"
    plan: dict[str, Any] = json.loads(tools(project, *program, answers, "--", *files, capture=True))
    return plan


def import_once(project: Project, adding: Sequence[str] = ()) -> None:
    """Import what existing code lists, before its first lock; `adding` are packages of `add`."""
    folder = project.folder / "dependencies"
    if project.package or (folder / "uv.lock").exists() or (folder / RECORD).exists():
        return
    plan = plan_import(project, (), "--first")
    if plan["read"] or plan.get("broken"):
        write(project, plan)  # a file that cannot be read is named again once it is mended
        show_text(said_of_first(plan))
    elif plan.get("found"):
        lists = "lists" if len(plan["found"]) == 1 else "list"
        names = " and ".join(plan["found"])
        show(f"{names} {lists} packages that are not imported. To see them, run: {me()} import")
    elif plan.get("notes"):
        show_text(said_of_first(plan))  # files that nobody can choose from but the user
    else:
        tell_of_notebooks(project, adding)


def invalid_line(text: str) -> tuple[int, str] | None:
    """The first line of a pyproject.toml that uv could not read, and why; None if all is well.

    uv takes 60 lines to say it, the last of which are about something else. A Python before 3.11
    has no reader of TOML: there, uv says it.
    """
    try:
        toml = import_module("tomllib")
    except ImportError:
        return None
    try:
        data = toml.loads(text)
    except ValueError as error:
        reason, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)
        return int(found.group(1)) if found else text.count("\n"), reason
    project = data.get("project", {})
    lists = [
        project.get("dependencies", []),
        *project.get("optional-dependencies", {}).values(),
        *data.get("dependency-groups", {}).values(),
    ]
    for one in (one for names in lists for one in names if isinstance(one, str)):
        if not REQUIREMENT.fullmatch(one):
            line = next((at for at, line in enumerate(text.splitlines(), 1) if one in line), 1)
            return line, f"{one} is not a package with a version"
    return None


def check_file(project: Project) -> None:
    """Raises StopError where uv could not read dependencies/pyproject.toml.

    That of a new project's code likewise: what it requires would be left out, or stay as it was.
    """
    file = project.folder / "dependencies" / "pyproject.toml"
    found = invalid_line(read_file(file).decode("utf-8", "replace"))
    if found:
        raise invalid(project, *found)
    if project.package:
        check_own_file(project)


def check_own_file(project: Project) -> None:
    """Raises StopError where uv could not read the pyproject.toml of the code."""
    file = code_folder(project) / "pyproject.toml"
    found = invalid_line(read_text(file).lstrip("\ufeff"))
    if found:
        raise invalid(project, *found, file)


def invalid(project: Project, line: int, reason: str, own: Path | None = None) -> StopError:
    """The failure of a line in the code's `own` pyproject.toml, else in that of dependencies/."""
    file = own.name if own else DEPENDENCIES
    known = {"number": str(line), "reason": reason, "file": file}
    if own:
        known["remedy"] = edit(str(own), line)
    return failed("dependency-file-invalid", project, **known)


def lock_options(parser: argparse.ArgumentParser) -> None:
    """What to do beside bringing the lock up to date."""
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="only say whether it is up to date")
    only.add_argument(
        "--upgrade",
        nargs="*",
        metavar="NAME",
        help="take newer versions of these packages, or of all",
    )


def do_lock(project: Project, options: argparse.Namespace) -> None:
    """Bring uv.lock up to date, or check it."""
    check_file(project)
    build_tools(project)
    if options.check:
        if not (project.folder / "dependencies" / "uv.lock").exists():
            raise failed("lock-missing", project)
        changed = changed_metadata(project)
        if changed:
            raise failed(
                "lock-stale",
                project,
                cause=f"dependencies/uv.lock is older than {', '.join(changed)}.",
            )
        tools(project, "uv", "lock", "--check")
        return
    name_changed_files(project)
    with needs_named(project):
        lock(project, options.upgrade)


def lock(project: Project, upgrade: object = None) -> None:
    """Resolve; `upgrade` lists packages to take newer versions of, an empty list all of them."""
    words: list[str] = []
    if isinstance(upgrade, list):
        words = [f"--upgrade-package={name}" for name in upgrade] or ["--upgrade"]
    import_once(project)
    requirements(project, "lock", "--", *words)
    record_lock(project, FILES)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which packages, and where."""
    parser.add_argument("--dev", action="store_true", help="for the dev image only")
    parser.add_argument(
        "--image",
        action="store_true",
        help="into dependencies/, not into the project's own pyproject.toml",
    )
    add_system_options(parser)
    parser.add_argument(
        "name", nargs="+", metavar="NAME", help="a package, with a version if you like: 'numpy<3'"
    )


def do_add(project: Project, options: argparse.Namespace) -> None:
    """Add packages to the project's own pyproject.toml, else to dependencies/, and to uv.lock."""
    if add_to_list(project, options):
        return
    refuse_in_words(project, options.name)
    check_file(project)
    if not options.image:
        check_own_file(project)
    build_tools(project)
    with needs_named(project):
        import_once(project, options.name)
        given = [f"--{name}" for name in ("dev", "image") if getattr(options, name)]
        files = edit_files(
            *(project, "add", [*given, "--", *options.name]),
            otherwise=f"{me()} add --image {shlex.join(options.name)}",
        )
        record_lock(project, FILES)
        show(f"Added to {files}. Run: {me()} build")


def remove(project: Project, names: Sequence[str]) -> str:
    """Take packages out of the files that list them, and out of uv.lock; name the files."""
    check_file(project)
    check_own_file(project)
    build_tools(project)
    own = code_folder(project) / "pyproject.toml"
    otherwise = shlex.join(["ls", "-l", str(own)])
    files = edit_files(project, "remove", ["--", *names], otherwise=otherwise)
    record_lock(project, FILES)
    return files


def edit_files(project: Project, verb: str, words: Sequence[str], *, otherwise: str) -> str:
    """Add or remove packages where the project lists them, or dependencies/; name the files.

    One container reads the project, edits and locks. It has the code read-only, so it tells the new
    text of that file; `otherwise` is the command for where that cannot be written.
    """
    own = project.folder / "dependencies" / "pyproject.toml"
    before = read_file(own)
    try:
        text = requirements(project, verb, *words, capture=True)
    except BaseException:
        write_file(own, before)
        raise
    said = json.loads(text)
    if said["written"] is None:
        return "dependencies/pyproject.toml and uv.lock"
    file = code_folder(project) / "pyproject.toml"
    try:
        write_file(file, said["written"], mode=None)
    except ProbeError as error:
        raise failed("project-read-only", project, cause=str(error), remedy=otherwise) from error
    both = ", dependencies/pyproject.toml" if said.get("images") else ""
    return f"pyproject.toml{both} and dependencies/uv.lock"


def beside_workspaces(_: Project) -> dict[str, str]:
    """What a reading of a workspace depends on beside the answers."""
    return {}


def workspace_contexts(_: Project, __: Path, ___: str) -> dict[str, Path]:
    """The contexts of a build of a workspace that only another package manager needs."""
    return {}


def lock_if_stale(project: Project) -> None:
    """Bring the lock up to date before a build, after an edit by hand."""
    made = project.folder / "dependencies" / "uv.lock"
    changed = changed_metadata(project)
    if is_lock_current(project, made.name, FILES) and not changed:
        return
    check_file(project)
    why = f", after changes in {', '.join(changed)}" if made.exists() and changed else ""
    show(f"Bringing dependencies/uv.lock up to date{why}.")
    build_tools(project)
    with needs_named(project):
        lock(project)
