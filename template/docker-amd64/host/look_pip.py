"""What this machine adds to a failure about a package; see look.py."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from .ask import capture, read_text
from .look import edit, line_of
from .metadata import metadata_files
from .notebook_imports import IMPORTED
from .project import code_folder, me

if TYPE_CHECKING:
    from .look import Case, Seen
    from .project import Project

DEPENDENCIES, LOCK = "dependencies/pyproject.toml", "dependencies/uv.lock"
CONFLICT = re.compile(r"(?m)^(?:<{7} |>{7} )")
# Requirements of the user's that uv names: the package project-requirements has those of the
# project's own metadata, "your project" those of dependencies/.
LINES = re.compile(
    r"\b(your project|project-requirements)(?:\[dev\])?(?:==[^\s,]+)? depends on "
    r"([^\s,]+)(?: and ([^\s,]+))?"
)


def dependency_file(case: Case) -> Seen:
    """The file and its line that cannot be read, and why."""
    number, seen = case.known.get("number", ""), {"file": DEPENDENCIES}
    if number:
        found = re.search(
            r"TOML parse error at line[^\n]*\n(?:.*\|[^\n]*\n)+\s*([^\n]+)", case.text
        )
        reason = found.group(1).strip() if found else "its TOML is invalid"
        return {**seen, "reason": reason}
    given = re.search(r'GIVEN VALUE:\s*"([^\n]*)"', case.text)
    line = line_of(case.project, DEPENDENCIES, given.group(1)) if given else 0
    what = given.group(1) if given else "an entry"
    return {**seen, "number": str(line), "reason": f"{what} is not a package with a version"}


def lock_file(case: Case) -> Seen:
    """The command that takes uv.lock from git, where git has one that can be read."""
    file, root = case.project.folder / LOCK, case.project.root
    shown = shlex.quote(f"{case.known['folder']}/{LOCK}")
    cause = "dependencies/uv.lock has the marks of a merge conflict."
    if capture("git", "ls-files", "--unmerged", "--", str(file), cwd=root).stdout.strip():
        # What the other side has locked, the next lock resolves again.
        return {"cause": cause, "remedy": f"git checkout --ours -- {shown} && {me()} lock"}
    kept = capture("git", "cat-file", "blob", f"HEAD:./{file.relative_to(root)}", cwd=root).stdout
    seen = {"cause": cause} if CONFLICT.search(read_text(file)) else {}
    if kept and kept != read_text(file) and not CONFLICT.search(kept):
        return {**seen, "remedy": f"git checkout HEAD -- {shown} && {me()} lock"}
    return seen


def requirement(case: Case) -> Seen:
    """The line of the file with a requirement, if it is not only on the command line."""
    line = line_of(case.project, DEPENDENCIES, case.known["requirement"])
    file = f"{case.known['folder']}/{DEPENDENCIES}"
    found = (file, line) if line else line_of_metadata(case.project, case.known["requirement"])
    return {"remedy": edit(*found)} if found else {}


def line_of_metadata(project: Project, package: str) -> tuple[str, int] | None:
    """The file and the line of the project's own metadata that name a package."""
    spelling = r"[-_.]+".join(map(re.escape, re.split(r"[-_.]+", package)))
    name = re.compile(rf"(?i)(?<![\w.-]){spelling}(?![\w.-]*\w)")
    for file in (code_folder(project) / one for one in metadata_files(project)):
        for number, line in enumerate(read_text(file).splitlines(), 1):
            if name.search(line) and not line.lstrip().startswith(("#", "name")):
                return str(file), number
    return None


def no_versions(case: Case) -> Seen:
    """The user's lines that do not fit together, as uv names them; the first of them is opened."""
    found: dict[tuple[str, int], str] = {}
    nowhere = ""
    for whose, first, second in LINES.findall(" ".join(case.text.split())):
        for one in filter(None, (first, second)):
            place = place_of(case.project, one, own=whose.startswith("project-requirements"))
            if place:
                found.setdefault(place, one)
            elif f"there is no version of {one}" in " ".join(case.text.split()):
                nowhere = one
    if nowhere:  # no file has it: add has been told it
        name = re.split(r"[=<>!~]", nowhere)[0]
        cause = f"The package index has no version of {name} that fits {nowhere}."
        return {"cause": cause, "remedy": f"{me()} add {name}"}
    if not found:
        return {}
    lines = [f"{one} ({shown(case.project, *place)})" for place, one in found.items()]
    if len(lines) == 1:
        cause = f"No versions fit {lines[0]}; the lines above say why."
    else:
        listed = f"{', '.join(lines[:-1])} and {lines[-1]}"
        cause = f"No versions fit these lines together: {listed}. Change or delete one of them."
    return {"cause": cause, "remedy": edit(*next(iter(found)))}


def place_of(project: Project, line: str, *, own: bool) -> tuple[str, int] | None:
    """The file and line of a requirement: in the project's own metadata, or in dependencies/."""
    name = re.split(r"[^\w.-]", line)[0]
    if own:
        return line_of_metadata(project, name)
    file = project.folder / DEPENDENCIES
    spelling = r"[-_.]+".join(map(re.escape, re.split(r"[-_.]+", name)))
    entry = re.compile(rf"""(?i)["']{spelling}(?![\w.-]*\w)""")
    numbered = enumerate(read_text(file).splitlines(), 1)
    at = [number for number, text in numbered if entry.search(text)]
    return (str(file), at[0]) if at else None


def shown(project: Project, file: str, line: int) -> str:
    """A place as people read it: seen from the project's root where it is in there."""
    root = f"{project.root}/"
    return f"{file[len(root) :] if file.startswith(root) else file}:{line}"


def package(case: Case) -> Seen:
    """The package that is meant, or the line of the file that names it."""
    name = case.known["package"]
    meant = IMPORTED.get(name.lower())
    if meant:
        cause = f"The package index has no {name}: what is imported as {name} is in {meant}."
        return {"cause": cause, "remedy": f"{me()} add {meant}"}
    return requirement(case._replace(known={**case.known, "requirement": name}))
