"""The files in which code lists its packages: import, and which of them changed since then."""

from __future__ import annotations

import argparse
import difflib
import json
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any, Dict, Iterable

from .compose import show
from .failures import failed
from .files import write_file
from .images import build_tools, packages_of
from .metadata import METADATA, differing, metadata_files
from .notebook_imports import said_of_notebooks
from .plain import say
from .project import called_from, code_folder, me
from .system_packages import needs_named

if TYPE_CHECKING:
    from pathlib import Path

    from .project import Project, StopError

RECORD = "imported.json"  # image/intake/record.py writes it
Plan = Dict[str, Any]  # what image/intake/record.py calls a plan
LISTS = (("taken", "Taken"), ("changed", "Changed"), ("left_out", "Left out"))


def changed_files(project: Project) -> list[str]:
    """The imported files that are not as they were imported, seen from the code folder."""
    try:
        text = (project.folder / "dependencies" / RECORD).read_text("utf-8")
        known = {name: one["sha256"] for name, one in json.loads(text)["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return differing(code_folder(project), known)


def name_changed_files(project: Project) -> None:
    """Say which imported files have changed since, with the command that imports them again."""
    names = changed_files(project)
    if names:
        have = "have changed since they were" if len(names) > 1 else "has changed since it was"
        show(f"{' and '.join(names)} {have} imported. To take the changes, run: {me()} import")


def import_options(parser: argparse.ArgumentParser) -> None:
    """Which files, and whether to ask."""
    parser.add_argument("-y", "--yes", action="store_true", help="write without asking")
    parser.add_argument(
        "file",
        nargs="*",
        metavar="FILE",
        help="a file of the code folder; without one, those found there and those imported before",
    )


def do_import(project: Project, options: argparse.Namespace) -> int:
    """Show what becomes of each line and of the dependency files, ask, write, and lock."""
    names = [path_in_code(project, name) for name in options.file]
    build_tools(project)
    plan = packages_of(project).plan_import(project, names)
    for name, why in plan["broken"].items():
        if name in names or not plan["read"]:
            path = str(code_folder(project) / name)
            raise failed("import-file-unreadable", project, path=path, cause=why)
    if judged(plan):
        print("\n".join(judged(plan)))
    if not plan["read"]:
        raise nothing_found(project)
    changes = difference(project, plan)
    for line in changes:
        print(line)
    sys.stdout.flush()
    if not changes:
        write(project, plan)
        show(f"Nothing to change in {project.folder.name}/dependencies.")
        return 0
    if not options.yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            remedy = f"{me()} import -y {shlex.join(options.file)}".rstrip()
            raise failed("import-not-confirmed", project, remedy=remedy)
        if not agreed(f"Write this into {project.folder.name}/dependencies?"):
            show("Nothing was changed.")
            return 1
    with needs_named(project):
        write_and_lock(project, plan)
    show(f"Imported {' and '.join(plan['read'])}. Run: {me()} build")
    return 0


def nothing_found(project: Project) -> StopError:
    """The failure of an import that finds no list; before it, where packages are nevertheless."""
    known = [name for name, sha256 in metadata_files(project).items() if sha256]
    own = [name for name in METADATA if name in known]
    if own:
        requires = "require" if len(own) > 1 else "requires"
        say(f"Every lock has what {' and '.join(own)} {requires}. That needs no import.")
    elif said := said_of_notebooks(project):
        print(said)
    sys.stdout.flush()
    return failed("nothing-to-import", project)


def path_in_code(project: Project, name: str) -> str:
    """A file that the user names, seen from the code folder. Raises StopError."""
    path = called_from() / name
    if not path.is_file():
        raise failed("import-file-missing", project, path=name)
    code = code_folder(project).resolve()
    try:
        return (path.parent.resolve() / path.name).relative_to(code).as_posix()
    except ValueError:
        raise failed("import-file-outside", project, path=name, code=str(code)) from None


def judged(plan: Plan) -> list[str]:
    """The three lists: each line with its place, and what became of it."""
    lines: list[str] = []
    for key, title in LISTS:
        if plan[key]:
            lines.append(f"{title} ({len(plan[key])}):")
            lines += [f"  {judged_line(entry)}" for entry in plan[key]]
    if plan["apt"]:
        lines.append(
            "The distribution may have what was left out. If programs need it, run: "
            f"{me()} add --apt {' '.join(plan['apt'])}"
        )
    return lines


def judged_line(entry: dict[str, Any]) -> str:
    """A line of a file, what it becomes, and why."""
    place = f"{entry['file']}:{entry['line']}" if entry["line"] else entry["file"]
    text, becomes = entry["text"].strip(), entry["becomes"]
    shown = [place, text] if text != entry["file"] else [place]
    if becomes and becomes != text:
        shown.append(f"-> {becomes}")
    reason = f" ({as_called(entry['reason'])})" if entry["reason"] else ""
    return "  ".join(shown) + reason


def as_called(text: str) -> str:
    """A sentence of a container whose commands name template.sh as the user called it."""
    return re.sub(r"(?<![\w/])(?:\./)?template\.sh\b", lambda _: me(), text)


def difference(project: Project, plan: Plan) -> list[str]:
    """What changes in the files of dependencies/, as diff -u shows it."""
    lines: list[str] = []
    for name, text in plan["files"].items():
        if name != RECORD and not name.endswith(".lock"):
            before = text_of(project.folder / "dependencies" / name) or ""
            path = f"{project.folder.name}/dependencies/{name}"
            one = difflib.unified_diff(
                before.splitlines(), text.splitlines(), f"a/{path}", f"b/{path}", lineterm="", n=2
            )
            lines += one
    return lines


def text_of(file: Path) -> str | None:
    """The text of a file, None where there is none."""
    return file.read_bytes().decode("utf-8", "replace") if file.is_file() else None


def agreed(question: str) -> bool:
    """Whether the user says yes."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def write(project: Project, plan: Plan) -> None:
    """Write the texts of a plan."""
    for name, text in plan["files"].items():
        file = project.folder / "dependencies" / name
        if text_of(file) != text:
            write_file(file, text)


def write_and_lock(project: Project, plan: Plan) -> None:
    """Write the texts of a plan and lock; where that fails, nothing changes."""
    folder = project.folder / "dependencies"
    names = [*plan["files"], *(file.name for file in folder.glob("*.lock"))]
    kept = {name: text_of(folder / name) for name in names}
    try:
        write(project, plan)
        packages_of(project).lock(project)
    except BaseException:
        restore(folder, kept)
        raise


def restore(folder: Path, kept: dict[str, str | None]) -> None:
    """Give files the texts that they had."""
    for name, text in kept.items():
        if text is None and (folder / name).exists():
            (folder / name).unlink()
        elif text is not None:
            write_file(folder / name, text)


def tell_of_notebooks(project: Project, adding: Iterable[str] = ()) -> None:
    """Say before the first lock what notebooks import, where no file of the code lists packages."""
    if said := said_of_notebooks(project, adding):
        show(said)


def said_of_first(plan: Plan) -> str:
    """What to say of an import that nobody asked for."""
    names = ", ".join(plan["read"])
    title = f"Imported the packages of {names} into dependencies/." if names else "Not imported:"
    return "\n".join([title, *(f"  {as_called(line)}" for line in plan["notes"])])
