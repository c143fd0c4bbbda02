"""After a copy or an update: move packages into the files of the project's package manager.

The packages that the code folder of a new conda project lists are imported, from any file that
`intake` reads. If package_manager has changed, the user's own lines move from
dependencies/pyproject.toml to the environment files, or back. Copier has deleted a committed old
file by then; it is read from git. No line of the user's is lost, and a second run changes nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import conda_file
import conda_intake
from conda_file import CUDA, DEV, FORGE, MAIN, NO_DEFAULTS
from hooks.update.carried import CONDA_LOCKS, PIP_LOCKS
from intake import found, pip_files
from intake.found import Intake, Wanted
from intake.names import REQUIREMENT, name_of, pip_name
from intake.text import FileError

if TYPE_CHECKING:
    from collections.abc import Iterable

DEPENDENCIES = Path("docker-amd64/dependencies")
PYPROJECT = "pyproject.toml"
MOST_NOTES = 8
TOOLS = ("ipython", "pytest", "ruff")  # what the template lists for dev
# What the template writes into pyproject.toml; anything else is the user's.
TEMPLATES_OWN = {
    "project": {"name", "requires-python", "version", "dependencies"},
    "dependency-groups": {"dev", "container", "project", "project-dev", "torch"},
    "tool.uv": {"package", "default-groups", "environments", "exclude-dependencies"},
    "tool.uv.index": {"name", "url", "explicit"},
    "tool.uv.sources": {"project-requirements", "torch", "torchaudio", "torchvision"},
}


class Entry(NamedTuple):
    """A `key = value` of a TOML file and where its value is."""

    table: str
    key: str
    value: str
    start: int


# A string, a comment, or a bracket: what decides where a value ends.
TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}]|\n',
    re.DOTALL,
)


def toml_entries(text: str) -> list[Entry]:
    """The entries of a TOML file, as far as uv and people write it: Python 3.10 has no tomllib."""
    entries, table, index = [], "", 0
    while index < len(text):
        line = text[index:].partition("\n")[0]
        header = re.match(r"\s*\[\[?\s*([^\[\]#]+?)\s*\]\]?", line)
        entry = re.match(r"\s*([\w.-]+|\"[^\"]*\"|'[^']*')\s*=\s*", line)
        if not entry:
            table = header[1] if header else table
            index += len(line) + 1
            continue
        start = end = index + entry.end()
        depth = 0
        for token in TOKEN.finditer(text, start):
            end = token.start()
            depth += (token[0] in "[{") - (token[0] in "]}")
            if token[0] == "\n" and depth <= 0:
                break
        else:
            end = len(text)
        entries.append(Entry(table, entry[1].strip("\"'"), text[start:end].strip(), start))
        index = end + 1
    return entries


def strings(value: str) -> list[str]:
    """The strings in a TOML value, comments left out."""
    listed = []
    for token in TOKEN.findall(value):
        if token[0] == '"':
            try:
                listed.append(str(json.loads(token)))
            except ValueError:
                listed.append(token.strip('"'))
        elif token[0] == "'":
            listed.append(token.strip("'"))
    return listed


class PipFile(NamedTuple):
    """A user's lines of dependencies/pyproject.toml; `more` names what conda's files cannot say."""

    lines: list[str]
    dev: list[str]
    more: list[str]


def with_source(line: str, sources: dict[str, str]) -> str:
    """A requirement with the address that [tool.uv.sources] gives for its name, if that is one."""
    match = REQUIREMENT.fullmatch(line)
    where = dict(re.findall(r'([\w-]+)\s*=\s*"([^"]*)"', sources.get(pip_name(line), "")))
    if not match or not ("git" in where or "url" in where):
        return line
    version = where.get("rev") or where.get("tag") or where.get("branch")
    address = (
        f"git+{where['git']}{'@' + version if version else ''}" if "git" in where else where["url"]
    )
    if "subdirectory" in where:
        address += f"#subdirectory={where['subdirectory']}"
    _, marked, marker = (match["rest"] or "").partition(";")
    return f"{match['name']}{match['extras'] or ''} @ {address}" + (f" ;{marker}" if marked else "")


def read_pyproject(text: str) -> PipFile:
    """The user's own lines of dependencies/pyproject.toml."""
    entries = toml_entries(text)
    sources = {
        pip_name(entry.key): entry.value for entry in entries if entry.table == "tool.uv.sources"
    }
    lists = {
        (entry.table, entry.key): [with_source(line, sources) for line in strings(entry.value)]
        for entry in entries
        if entry.value.startswith("[") and "include-group" not in entry.value
    }
    addressed = {name for name, value in sources.items() if re.search(r"\b(git|url)\s*=", value)}
    more = [
        f"[{entry.table}] {entry.key}"
        for entry in entries
        if (
            entry.key not in TEMPLATES_OWN.get(entry.table, set())
            and not (entry.table == "tool.uv.sources" and pip_name(entry.key) in addressed)
        )
        or (entry.table == "tool.uv.index" and entry.key == "name" and "pytorch" not in entry.value)
    ]
    return PipFile(
        lines=lists.get(("project", "dependencies"), []),
        dev=[line for line in lists.get(("dependency-groups", "dev"), []) if line not in TOOLS],
        more=more,
    )


def add_to_list(text: str, table: str, key: str, lines: Iterable[str]) -> str:
    """A TOML text with further strings in one of its lists; a line for the same name is replaced.

    Raises:
        FileError: there is no such list.
    """
    entry = next((e for e in toml_entries(text) if (e.table, e.key) == (table, key)), None)
    if entry is None or not entry.value.startswith("["):
        raise FileError(f"{PYPROJECT} has no list {key} in [{table}].")
    value, end = entry.value, entry.start + len(entry.value)
    new = {pip_name(line): json.dumps(line, ensure_ascii=False) for line in lines}
    # From behind, so that the places before stay right.
    for token in reversed([token for token in TOKEN.finditer(value) if token[0][0] in "\"'"]):
        rest = value[token.end() :]
        if new and not re.match(r"\s*,", rest) and '"' not in rest and "'" not in rest:
            rest = f",{rest}"
        line = new.pop(pip_name(strings(token[0])[0]), token[0])
        value = value[: token.start()] + line + rest
    if new:
        added = "".join(f"    {line},\n" for line in new.values())
        value = f"{value[:-1].rstrip()}\n{added}]"
    return text[: entry.start] + value + text[end:]


# --- where the old file is ----------------------------------------------------------------------


def committed(project: Path, name: str) -> str | None:
    """A file of dependencies/ as the last commit has it, None where it has none."""
    command = ["git", "show", f"HEAD:./{DEPENDENCIES.as_posix()}/{name}"]
    try:
        done = subprocess.run(command, cwd=project, capture_output=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def left_over(project: Path, name: str, now: str) -> str | None:
    """The text of a file that the template does not render any more, None where there was none.

    A copy leaves it behind, an update deletes it; then the last commit has it, if that commit does
    not have yet what is read `now`.
    """
    path = project / DEPENDENCIES / name
    if path.exists():
        return conda_file.load(path)
    text = committed(project, name)
    return text if text is not None and committed(project, now) is None else None


def clear(
    project: Path, files: Iterable[str], locks: Iterable[str], *, all_taken: bool
) -> list[str]:
    """Remove the old files; one with lines that could not be moved is renamed."""
    folder = project / DEPENDENCIES
    kept = []
    for name in files:
        path = folder / name
        if path.exists() and all_taken:
            path.unlink()
        elif path.exists():
            path.replace(folder / f"{name}.old")
            kept.append(f"{name}.old")
    for name in locks:
        (folder / name).unlink(missing_ok=True)
    return [f"Lines that were not moved are in {DEPENDENCIES}/{', '.join(kept)}."] if kept else []


def shortened(notes: list[str], rest: str) -> list[str]:
    """At most MOST_NOTES notes; `rest` says where the others are."""
    lines = [f"  {note}" for note in notes]
    if len(lines) > MOST_NOTES:
        lines[MOST_NOTES - 1 :] = [f"  ... and {len(lines) - MOST_NOTES + 1} more{rest}."]
    return lines


# --- imports and switches ------------------------------------------------------------------------


def answers_of(project: Path) -> Wanted:
    """The answers that decide versions, as the rendered project.json has them."""
    file = project / "docker-amd64/host/project.json"
    data = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return Wanted.of_project({**data, "package_manager": "conda"})


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


def conda_spec(line: str) -> str:
    """A plain requirement as conda writes it, "" of one with an extra, a marker or an address."""
    return line.replace(" ", "") if re.fullmatch(r"[\w.-]+\s*([<>=!~][^;@\[]*)?", line) else ""


def pip_to_conda(project: Path) -> list[str]:
    """Move the lines of dependencies/pyproject.toml into the environment files.

    Raises:
        FileError: a file cannot be read or edited.
    """
    text = left_over(project, PYPROJECT, MAIN)
    if text is None:
        return []
    folder = project / DEPENDENCIES
    old = read_pyproject(text)
    notes: list[str] = []
    carried: list[str] = []
    changed = False
    for name, lines in ((MAIN, old.lines), (DEV, old.dev)):
        if not lines:
            continue
        taken = Intake(pip_files.read_lines(lines, project, answers_of(project), PYPROJECT))
        pip = taken.lines(found.PIP)
        before = conda_file.load(folder / name) if (folder / name).exists() else ""
        known = {name_of(spec) for spec in conda_file.parse(before, name).conda}
        own = [line for line in pip if pip_name(line) not in known]
        same = [line for line in pip if pip_name(line) in known]
        specs = [spec for line in same if (spec := conda_spec(line))]
        notes += [
            f"{line}: {name} has it already, from conda." for line in same if not conda_spec(line)
        ]
        conda = [*taken.lines(found.CONDA), *specs]
        after = conda_file.add_all(before, conda=conda, pip=own, where=name)
        if after != before:
            conda_file.save(folder / name, after)
            changed = True
        carried += [*conda, *own]
        notes += taken.notes()
    notes += [f"{what}: not possible in an environment file." for what in old.more]
    kept = clear(project, (PYPROJECT,), PIP_LOCKS, all_taken=not notes)
    way = f"{PYPROJECT} to conda's environment files (packages of PyPI in the pip part)"
    return switch_lines(carried, way, notes, kept, PYPROJECT) if changed or kept else []


def conda_to_pip(project: Path) -> list[str]:
    """Move the lines of the environment files into dependencies/pyproject.toml.

    Raises:
        FileError: a file cannot be read or edited.
    """
    main = left_over(project, MAIN, PYPROJECT)
    if main is None:
        return []
    dev = left_over(project, DEV, PYPROJECT)
    lock = left_over(project, "conda.lock", PYPROJECT) or ""
    path = project / DEPENDENCIES / PYPROJECT
    before = after = conda_file.load(path)
    python = conda_file.python_packages(lock)
    carried, notes = [], []
    for text, name, table, key in (
        (main, MAIN, "project", "dependencies"),
        (dev or "", DEV, "dependency-groups", "dev"),
    ):
        old = conda_file.parse(text, name)
        user = old._replace(conda=[spec for spec in old.conda if name == MAIN or spec not in TOOLS])
        # What the template lists for dev is Python's, whatever the lock says.
        lines, more = conda_file.to_requirements(user, python | set(TOOLS))
        after = add_to_list(after, table, key, lines)
        carried += lines
        further = [channel for channel in old.channels if channel not in {FORGE, NO_DEFAULTS}]
        notes += [*more, *(f"channel {channel}: pip has no channels." for channel in further)]
    if after != before:
        conda_file.save(path, after)
    if notes and not lock:
        notes.append("without conda.lock it is not known which conda packages are for Python.")
    kept = clear(project, (MAIN, CUDA, DEV), CONDA_LOCKS, all_taken=not notes)
    way = f"conda's environment files to {PYPROJECT}"
    return switch_lines(carried, way, notes, kept, MAIN) if after != before or kept else []


def switch_lines(
    carried: list[str], way: str, notes: list[str], kept: list[str], file: str
) -> list[str]:
    """The lines to show after packages were moved."""
    if not carried and not notes:
        return []
    names = found.shortened(carried) if carried else "nothing"
    where = kept or [f"The old file is in the last commit: git show HEAD:./{DEPENDENCIES}/{file}"]
    more = where if notes else kept
    return [f"Moved from {way}: {names}.", *(f"  {note}" for note in notes), *more]


def carry(project: Path, manager: str, code_dir: str) -> list[str]:
    """Move a project's packages to its package manager; the lines to show, [] if nothing changed.

    Args:
        project: the root of a generated project.
        manager: pip or conda.
        code_dir: the folder of the code, seen from there.
    """
    now = MAIN if manager == "conda" else PYPROJECT
    if not (project / DEPENDENCIES / now).exists():
        return []
    try:
        if manager == "conda":
            return pip_to_conda(project) or take_lists(project, code_dir or ".")
        return conda_to_pip(project)
    except (FileError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        return [f"Packages were not moved: {reason}."]
