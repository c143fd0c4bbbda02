"""After a copy or an update: move packages into the files of the project's package manager.

The packages that the code folder of a new conda project lists are imported, from any file that
`intake` reads. If package_manager has changed, the user's own lines move from
dependencies/pyproject.toml to the environment files, or back. Copier has deleted a committed old
file by then; it is read from git. What does not move is named, with the command that shows the old
file. A second run changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

import conda_file
import conda_intake
from conda_file import CUDA, DEV, MAIN
from hooks.generate import old_files, toml_text
from hooks.generate.toml_text import Line
from hooks.update.beside import unused
from hooks.update.carried import CONDA_LOCKS, OLD, PIP_LOCKS
from intake import conda_specs, found, pip_files, reader, record
from intake.discovery import named
from intake.family import OWN
from intake.found import Intake, Place, Wanted
from intake.names import REQUIREMENT, name_of, pip_name
from intake.pip_files import Reading
from intake.text import FileError, decoded, load, without_secret

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from hooks.generate.old_files import CondaFile

DEPENDENCIES = Path("docker-amd64/dependencies")
PYPROJECT = "pyproject.toml"
OF_PROJECT = "project/pyproject.toml"
MOST_NOTES = 8
TOOLS = ("ipython", "pytest", "ruff")  # what the template lists for dev, whatever the answers
MAIN_LIST, DEV_LIST = ("project", "dependencies"), ("dependency-groups", "dev")
BUILDS = ("tool", "uv", "extra-build-dependencies")
SCRIPTS = ("pre-install.sh", "post-install.sh", "pre-run.sh")
OF_CONDA = re.compile(r"(?m)^[^#\n]*\b(micromamba|mamba|conda)\b")


# --- where the old file is ----------------------------------------------------------------------


def show(project: Path, *words: str) -> bytes | None:
    """What a git command prints, None where it fails."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=project, capture_output=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def committed(project: Path, path: str) -> str | None:
    """A file of docker-amd64/ as the last commit has it, None where it has none."""
    content = show(project, "show", f"HEAD:./{DEPENDENCIES.parent.as_posix()}/{path}")
    return None if content is None else decoded(content)


def stays(project: Path, manager: str) -> bool:
    """Whether the last commit has this package manager too."""
    try:
        described = json.loads(committed(project, "host/project.json") or "{}")
    except ValueError:
        return False
    return isinstance(described, dict) and described.get("package_manager") == manager


def left_over(project: Path, name: str, manager: str) -> str | None:
    """The text of a file that the template does not render any more, None where there is none.

    A copy leaves it behind, an update deletes it; then the last commit has it.

    Raises:
        FileError: it cannot be read.
    """
    path = project / DEPENDENCIES / name
    if path.exists():
        return load(path)
    return None if stays(project, manager) else committed(project, f"{DEPENDENCIES.name}/{name}")


def clear(project: Path, files: Mapping[str, bool], locks: Iterable[str], way: str) -> list[str]:
    """Remove the old files and locks; a file with lines that did not move is renamed.

    Args:
        project: the root of the project.
        files: whether a file has such lines, by its name.
        locks: the names of the locks.
        way: what precedes a command in the project's folder.

    Returns:
        Where the files with such lines are: a line for each.
    """
    folder = project / DEPENDENCIES
    where = []
    for name, has_more in files.items():
        path = folder / name
        if has_more and path.exists():
            where.append(
                f"The old {name} is now {DEPENDENCIES}/{path.replace(unused(path, OLD)).name}."
            )
        elif has_more:
            where += in_commit(project, name, way)
        else:
            path.unlink(missing_ok=True)
    for name in set(locks) - {record.FILE}:  # carry_record
        (folder / name).unlink(missing_ok=True)
    return where


def in_commit(project: Path, name: str, way: str) -> list[str]:
    """The command that shows an old file, also when the update is committed."""
    commit = (show(project, "rev-parse", "--short", "HEAD") or b"HEAD").decode().strip()
    return [f"To see the old {name}: {way}git show {commit}:./{DEPENDENCIES}/{name}"]


def shortened(notes: list[str], rest: str) -> list[str]:
    """At most MOST_NOTES notes; `rest` says where the others are."""
    lines = [f"  {note}" for note in notes]
    if len(lines) > MOST_NOTES:
        lines[MOST_NOTES - 1 :] = [f"  ... and {len(lines) - MOST_NOTES + 1} more{rest}."]
    return lines


# --- what becomes of lines ----------------------------------------------------------------------


class Moved(NamedTuple):
    """A line of the new files: what it is there, whether conda's or pip's, and what it was."""

    text: str
    kind: str
    line: Line


class Judged(NamedTuple):
    """What becomes of lines.

    Attributes:
        moved: those that the new files get.
        notes: what changes in them, and what is left out.
        files: the files that have what the notes name.
        compiled: names of packages that are compiled against PyTorch.
    """

    moved: list[Moved]
    notes: list[str]
    files: set[str]
    compiled: set[str]


class Lines:
    """Reads lines of old files; each verdict has a line that it is about."""

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        """Read nothing yet; `folder` is the one that paths are relative to."""
        self.reading = Reading(folder, wanted)
        self.owners: list[Line] = []

    def pip(self, name: str, lines: Iterable[Line]) -> None:
        """Read lines of pip's."""
        for line in lines:
            pip_files.read_line(self.reading, Place(name, line.number), line.text)
            self.owners += [line] * (len(self.reading.entries) - len(self.owners))

    def conda(self, name: str, lines: Iterable[Line], python: Mapping[str, bool]) -> None:
        """Read lines of conda's; `python` has the names of those that are known."""
        for line in lines:
            known = python.get(name_of(line.text.rpartition("::")[2]))
            verdict = conda_specs.judge(line.text, self.reading.wanted, python=known)
            self.reading.add(Place(name, line.number), line.text, verdict)
            self.owners.append(line._replace(of_conda=True))

    def judged(self) -> Judged:
        """What becomes of the lines, each package once."""
        before = self.reading.entries
        entries = reader.once(before, self.reading.wanted)
        notes, files, moved = [], set(), []
        for old, entry, line in zip(before, entries, self.owners, strict=True):
            verdict = entry.verdict
            if verdict.becomes and verdict.kind in {found.PIP, found.CONDA}:
                moved.append(Moved(verdict.becomes, verdict.kind, line))
            elif verdict.becomes:
                notes.append(f"{entry.text}: left out, as it is no package")
                files.add(entry.place.file)
            # What is there anyway is named only if it says more than a name.
            elif old.verdict == found.settled() and not re.fullmatch(r"[\w.-]+", entry.text):
                notes.append(f"{entry.text}: left out, as the answers decide it")
                files.add(entry.place.file)
            if verdict.reason and verdict.outcome != found.TAKEN:
                files.add(entry.place.file)
        taken = Intake(entries)
        notes = [*(note.rstrip(".") for note in taken.notes()), *notes]
        return Judged(moved, notes, files, {pip_name(line) for line in taken.compiled})


def answers_of(project: Path, manager: str = "conda") -> Wanted:
    """The answers that decide versions, as the rendered project.json has them."""
    return Wanted.of_project({**described(project), "package_manager": manager})


def described(project: Path) -> dict[str, object]:
    """The content of the rendered project.json."""
    file = project / "docker-amd64/host/project.json"
    data = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return data if isinstance(data, dict) else {}


# --- imports --------------------------------------------------------------------------------------


def take_lists(project: Path, code_dir: str) -> list[str]:
    """Import the packages that the code of a new project lists; the lines to show.

    Raises:
        FileError: no file can be read, or the environment file cannot be edited.
    """
    folder, root = project / DEPENDENCIES, project / code_dir
    files = [] if (folder / "conda.lock").exists() else conda_intake.lists_of(root)
    done = conda_intake.take(folder, root, files, answers_of(project)) if files else None
    if done is None:
        return []
    if done.broken and not done.files:
        raise FileError(" ".join(done.broken))
    # As the user knows them.
    names = ", ".join((Path(code_dir) / name).as_posix() for name in done.files)
    title = [f"Imported the packages of {names} into {DEPENDENCIES}/{MAIN}."] if names else []
    more = f": compare it with {names}" if names else ""
    return [*title, *shortened([*done.broken, *done.notes], more)]


def carry_record(project: Path, code_dir: str, manager: str) -> None:
    """Write what was imported from which file as an import for this package manager has it.

    So the next import changes only what has changed in the files since the last one.
    """
    path = project / DEPENDENCIES / record.FILE
    before = record.load_record(path.parent)
    if not before.digests:  # nothing was imported: the new package manager may look once more
        path.unlink(missing_ok=True)
        return
    root = project / code_dir
    with contextlib.suppress(FileError):  # then the old record is there, and a build names the file
        files = [named(root, name) for name in before.asked]
        intake = reader.read(root, files, answers_of(project, manager))
        now = record.after(record.Record(), root, intake, files)
        same = [name for name, digest in before.digests.items() if now.digests.get(name) == digest]
        lines = {**before.lines, **{name: now.lines.get(name, {}) for name in same}}
        conda_file.save(path, record.Record(before.asked, before.digests, lines).text())


# --- pip to conda ---------------------------------------------------------------------------------


def pip_to_conda(project: Path, code_dir: str, way: str) -> list[str]:
    """Move the lines of dependencies/pyproject.toml into the environment files.

    Args:
        project: the root of the project.
        code_dir: the folder of the code, seen from there.
        way: what precedes a command in the project's folder.

    Raises:
        FileError: a file cannot be read or edited.
    """
    text = left_over(project, PYPROJECT, "conda")
    if text is None:
        return []
    folder = project / DEPENDENCIES
    copy = folder / OF_PROJECT
    old = old_files.read_pyproject(text, load(copy) if copy.is_file() else "")
    owned = {name_of(spec) for spec in conda_file.parse(conda_file.load(folder / MAIN)).owned}
    notes, added, after = list(old.notes), list[str](), {}
    for name, lines in ((MAIN, old.main), (DEV, old.dev)):
        before = conda_file.load(folder / name) if (folder / name).exists() else ""
        new = before
        if name == DEV and old.has_dev:
            new = without_tools(before, {pip_name(line.text) for line in lines})
        known = {name_of(spec) for spec in conda_file.parse(before, name).conda}
        reading = Lines(folder, answers_of(project))
        reading.pip(PYPROJECT, [line for line in lines if not is_listed(line, known)])
        judged = reading.judged()
        moved, more = by_conda(judged.moved, known | owned, name)
        new, here, refused = with_moved(new, name, moved)
        notes += [*judged.notes, *more, *refused]
        if new != before:
            after[name], added = new, [*added, *here]
    for name, new in after.items():
        conda_file.save(folder / name, new)
    carry_record(project, code_dir, "conda")
    where = clear(project, {PYPROJECT: bool(notes)}, PIP_LOCKS, way)
    title = f"{PYPROJECT} to conda's environment files (packages of PyPI in the pip part)"
    return switch_lines(added, title, notes, where)


def is_listed(line: Line, names: Collection[str]) -> bool:
    """Whether a line says no more than what a list of the template has."""
    return line.text in names and not line.behind and not line.above


def without_tools(text: str, wanted: Collection[str]) -> str:
    """environment-dev.yml without the template's tools that the user had removed."""
    for tool in TOOLS:
        if tool not in wanted:
            text = conda_file.remove(text, tool, where=DEV)
    return text


def conda_spec(line: str) -> str:
    """A plain requirement as conda writes it, "" of one with an extra, a marker or an address."""
    if not re.fullmatch(r"[\w.-]+\s*([<>=!~][^;@\[]*)?", line):
        return ""
    # With a star, conda reads == as a version of that name.
    return re.sub(r"={2,3}([^=,]*)\.\*", r"=\1", line.replace(" ", "")).replace("===", "==")


def by_conda(
    moved: Iterable[Moved], known: Collection[str], name: str
) -> tuple[list[Moved], list[str]]:
    """The lines, those for conda that conda has anyway; notes on those that conda cannot write."""
    lines, notes = [], []
    for one in moved:
        if one.kind == found.CONDA or pip_name(one.text) not in known:
            lines.append(one)
        elif spec := conda_spec(one.text):
            lines.append(one._replace(text=spec, kind=found.CONDA))
        else:
            notes.append(f"{one.text}: {name} has it already, from conda")
    return lines, notes


def with_moved(text: str, name: str, moved: Iterable[Moved]) -> tuple[str, list[str], list[str]]:
    """An environment file with further lines; what was added, and notes on what could not be."""
    added, notes = [], []
    for one in moved:
        text, why = with_line(text, name, one)
        if why:
            notes.append(f"{without_secret(one.text)}: {why}")
        else:
            added.append(one.text)
    return text, added, notes


def with_line(text: str, name: str, moved: Moved) -> tuple[str, str]:
    """An environment file with one more line, or the same and why it cannot have that."""
    try:
        text = conda_file.put(text, moved.text, pip=moved.kind == found.PIP, where=name)
    except FileError as error:
        return text, str(error).rstrip(".")
    return with_comments(text, moved), ""


def with_comments(text: str, moved: Moved) -> str:
    """An environment file with the comments of a line that was added to it."""
    line = moved.line
    if not (line.behind or line.above):
        return text
    rows = text.split("\n")
    for at, row in enumerate(rows):
        indent, dash, item = row.partition("- ")
        if dash and not indent.strip() and is_item(item, moved.text):
            above = [f"{indent}{one}" for one in line.above]
            if rows[max(0, at - len(above)) : at] == above:
                above = []
            rows[at : at + 1] = [*above, f"{row}{f'  {line.behind}' if line.behind else ''}"]
            return "\n".join(rows)
    return text


def is_item(written: str, text: str) -> bool:
    """Whether an item of YAML is written so, without a comment."""
    try:
        return " #" not in written and bool(yaml.safe_load(f"- {written}") == [text])
    except yaml.YAMLError:
        return False


def cuda_to_main(project: Path, way: str) -> list[str]:
    """Move what the user has added to environment-cuda.yml, which these answers leave out.

    Args:
        project: the root of the project.
        way: what precedes a command in the project's folder.

    Raises:
        FileError: a file cannot be read or edited.
    """
    folder = project / DEPENDENCIES
    if (folder / CUDA).exists() or not stays(project, "conda"):
        return []
    text = committed(project, f"{DEPENDENCIES.name}/{CUDA}")
    if text is None:
        return []
    old = old_files.read_environment(text, CUDA)
    reading = Lines(folder, answers_of(project))
    reading.conda(CUDA, old.specs, {})
    reading.pip(CUDA, old.pip)
    judged = reading.judged()
    before = conda_file.load(folder / MAIN)
    after = conda_file.add_all(before, channels=old.channels)
    after, added, refused = with_moved(after, MAIN, judged.moved)
    if after != before:
        conda_file.save(folder / MAIN, after)
    notes = [*old.notes, *judged.notes, *refused]
    where = in_commit(project, CUDA, way) if notes else []
    return switch_lines(added if after != before else [], f"{CUDA} to {MAIN}", notes, where)


# --- conda to pip ---------------------------------------------------------------------------------


def conda_to_pip(project: Path, code_dir: str, way: str) -> list[str]:
    """Move the lines of the environment files into dependencies/pyproject.toml.

    Args:
        project: the root of the project.
        code_dir: the folder of the code, seen from there.
        way: what precedes a command in the project's folder.

    Raises:
        FileError: pyproject.toml cannot be read or edited.
    """
    old, broken = old_environments(project)
    if not old and not broken:
        return []
    path = project / DEPENDENCIES / PYPROJECT
    before = after = conda_file.load(path)
    listed = toml_text.lines_at(before, toml_text.read(before, PYPROJECT), DEV_LIST)
    tools = {pip_name(line.text) for line in listed}
    python = conda_file.packages_in(left_over(project, "conda.lock", "pip") or "")
    python.update(dict.fromkeys((*tools, *OWN), True))
    added: list[str] = []
    compiled: set[str] = set()
    notes = [note for name in old for note in file_notes(old[name])]
    noted = {*broken, *(name for name in old if file_notes(old[name]))}
    for names, place in (((MAIN, CUDA), MAIN_LIST), ((DEV,), DEV_LIST)):
        reading = Lines(project / DEPENDENCIES, answers_of(project, "pip"))
        without: set[str] = set()
        for name in (name for name in names if name in old):
            specs = old[name].specs
            if name == DEV and old[name].has_list:
                without = set(TOOLS) - {pip_name(line.text) for line in (*specs, *old[name].pip)}
                specs = [line for line in specs if not is_listed(line, tools)]
            reading.conda(name, specs, python)
            reading.pip(name, old[name].pip)
        judged = reading.judged()
        lines = [moved.line._replace(text=with_name(moved.text)) for moved in judged.moved]
        after = toml_text.edit_list(after, place, lines, without, PYPROJECT)
        added += [line.text for line in lines]
        notes += [*judged.notes, *guess_notes(judged.moved, python)]
        noted |= judged.files
        compiled |= judged.compiled
    after = with_builds(after, compiled)
    if after != before:
        conda_file.save(path, after)
    carry_record(project, code_dir, "pip")
    where = clear(project, {name: name in noted for name in (*old, *broken)}, CONDA_LOCKS, way)
    title = f"conda's environment files to {PYPROJECT}"
    return switch_lines(added if after != before else [], title, [*broken.values(), *notes], where)


def old_environments(project: Path) -> tuple[dict[str, CondaFile], dict[str, str]]:
    """The old environment files by their names, and why one cannot be read."""
    old, broken = {}, {}
    for name in (MAIN, CUDA, DEV):
        file = old_environment(project, name)
        if isinstance(file, str):
            broken[name] = file
        elif file is not None:
            old[name] = file
    return old, broken


def old_environment(project: Path, name: str) -> CondaFile | str | None:
    """An old environment file, or why it cannot be read; None where there is none."""
    try:
        text = left_over(project, name, "pip")
        title = str(described(project).get("name", ""))
        return None if text is None else old_files.read_environment(text, name, title)
    except FileError as error:
        return str(error).rstrip(".")


def file_notes(old: CondaFile) -> list[str]:
    """What an environment file has that pip's files have no place for."""
    return [*old.notes, *(f"channel {name}: pip has no channels" for name in old.channels)]


def with_name(line: str) -> str:
    """A requirement with a name; an address alone tells it, and uv wants it written."""
    name = "" if REQUIREMENT.fullmatch(line) else pip_name(line)
    return f"{name} @ {line}" if name else line


def guess_notes(moved: Iterable[Moved], python: Mapping[str, bool]) -> list[str]:
    """A note on conda's packages that are only taken for Python packages."""
    texts = [one.line.text for one in moved if one.line.of_conda]
    names = [text for text in texts if name_of(text.rpartition("::")[2]) not in python]
    why = "taken from PyPI by name, as no conda.lock says what is a Python package"
    return [f"{', '.join(names)}: {why}"] if names else []


def with_builds(text: str, compiled: Collection[str]) -> str:
    """pyproject.toml where packages that are compiled against PyTorch are built with it."""
    has = toml_text.table_at(toml_text.read(text, PYPROJECT).values, *BUILDS)
    new = sorted(set(compiled) - {pip_name(name) for name in has})
    if not new or has:
        return text
    rows = "".join(f'{name} = ["torch"]\n' for name in new)
    return f"{text.rstrip()}\n\n[{'.'.join(BUILDS)}]\n{rows}"


def script_notes(project: Path) -> list[str]:
    """The user's scripts that call conda, which images with pip do not have."""
    folder = project / DEPENDENCIES
    calls = [
        name
        for name in SCRIPTS
        if (folder / name).is_file() and OF_CONDA.search(load(folder / name))
    ]
    return [
        f"{DEPENDENCIES}/{name} calls conda, which images with pip do not have." for name in calls
    ]


# --- all ------------------------------------------------------------------------------------------


def switch_lines(
    added: list[str], title: str, notes: Iterable[str], where: Iterable[str]
) -> list[str]:
    """The lines to show after packages were moved, [] if nothing has changed."""
    notes = list(dict.fromkeys(notes))
    if not added and not notes:
        return []
    names = found.shortened(added) if added else "nothing"
    return [f"Moved from {title}: {names}.", *(f"  {note}." for note in notes), *where]


def carry(project: Path, manager: str, code_dir: str, way: str = "") -> list[str]:
    """Move a project's packages to its package manager; the lines to show, [] if nothing changed.

    Args:
        project: the root of a generated project.
        manager: pip or conda.
        code_dir: the folder of the code, seen from there.
        way: what precedes a command in the project's folder: "cd ... && " or "".
    """
    old = (PYPROJECT,) if manager == "conda" else (MAIN, CUDA, DEV)
    code_dir = code_dir or "."
    try:
        if not (project / DEPENDENCIES / (MAIN if manager == "conda" else PYPROJECT)).exists():
            return lines_on_missing(project, manager, old, way)
        if manager == "pip":
            lines = conda_to_pip(project, code_dir, way)
            return [*lines, *script_notes(project)] if lines else []
        return (
            pip_to_conda(project, code_dir, way)
            or cuda_to_main(project, way)
            or take_lists(project, code_dir)
        )
    except (FileError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        return [
            f"Packages were not moved: {reason}.",
            *old_places(project, manager, old, way),
        ]


def lines_on_missing(project: Path, manager: str, old: Iterable[str], way: str) -> list[str]:
    """The lines to show if the file that packages would move to is not there."""
    where = old_places(project, manager, old, way)
    name = MAIN if manager == "conda" else PYPROJECT
    return [f"Packages were not moved: there is no {DEPENDENCIES}/{name}.", *where] if where else []


def old_places(project: Path, manager: str, old: Iterable[str], way: str) -> list[str]:
    """The commands that show old files which only the last commit has."""
    if stays(project, manager):
        return []
    return [
        line
        for name in old
        if not (project / DEPENDENCIES / name).exists()
        and committed(project, f"{DEPENDENCIES.name}/{name}") is not None
        for line in in_commit(project, name, way)
    ]
