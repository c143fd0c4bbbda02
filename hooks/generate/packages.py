"""After a copy or an update: packages that a project lists elsewhere go where they are read now.

An environment.yml or requirements.txt in the code folder of a new conda project is taken in. Where
package_manager has changed, the user's own lines go from dependencies/pyproject.toml to the
environment files, or back. Copier has deleted the old file by then, if it was committed: git still
has it. Data flows one way, nothing of the user's is lost, and a second run changes nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import conda_file
from conda_file import CUDA, DEV, FORGE, MAIN, NO_DEFAULTS, FileError

if TYPE_CHECKING:
    from collections.abc import Iterable

DEPENDENCIES = Path("docker-amd64/dependencies")
PYPROJECT = "pyproject.toml"
PIP_LOCKS = ("uv.lock", "project/files.json", "project/pyproject.toml")
CONDA_LOCKS = ("conda.lock", "pip.lock", "pip-dev.lock")
# What is carried over where the package manager has changed, and the locks that then go.
CARRIED = frozenset(
    f"{DEPENDENCIES.as_posix()}/{name}"
    for name in (PYPROJECT, MAIN, CUDA, DEV, *PIP_LOCKS, *CONDA_LOCKS)
)
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
    found, table, index = [], "", 0
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
        found.append(Entry(table, entry[1].strip("\"'"), text[start:end].strip(), start))
        index = end + 1
    return found


def strings(value: str) -> list[str]:
    """The strings in a TOML value, comments left out."""
    found = []
    for token in TOKEN.findall(value):
        if token[0] == '"':
            try:
                found.append(str(json.loads(token)))
            except ValueError:
                found.append(token.strip('"'))
        elif token[0] == "'":
            found.append(token.strip("'"))
    return found


class PipFile(NamedTuple):
    """A user's lines of dependencies/pyproject.toml; `more` names what conda's files cannot say."""

    lines: list[str]
    dev: list[str]
    more: list[str]


def with_source(line: str, sources: dict[str, str]) -> str:
    """A requirement with the address that [tool.uv.sources] gives for its name, if that is one."""
    match = conda_file.REQUIREMENT.fullmatch(line)
    where = dict(
        re.findall(r'([\w-]+)\s*=\s*"([^"]*)"', sources.get(conda_file.pip_name(line), ""))
    )
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
        conda_file.pip_name(entry.key): entry.value
        for entry in entries
        if entry.table == "tool.uv.sources"
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
            and not (
                entry.table == "tool.uv.sources" and conda_file.pip_name(entry.key) in addressed
            )
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
    new = {conda_file.pip_name(line): json.dumps(line, ensure_ascii=False) for line in lines}
    # From behind, so that the places before stay right.
    for token in reversed([token for token in TOKEN.finditer(value) if token[0][0] in "\"'"]):
        rest = value[token.end() :]
        if new and not re.match(r"\s*,", rest) and '"' not in rest and "'" not in rest:
            rest = f",{rest}"
        line = new.pop(conda_file.pip_name(strings(token[0])[0]), token[0])
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
    """Put the old files away: what went over as a whole is removed, the rest gets another name."""
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
    return [f"What is left of it is in {DEPENDENCIES}/{', '.join(kept)}."] if kept else []


def shortened(notes: list[str], rest: str) -> list[str]:
    """Not more notes than fit on a screen; `rest` says where the others are."""
    lines = [f"  {note}" for note in notes]
    if len(lines) > MOST_NOTES:
        lines[MOST_NOTES - 1 :] = [f"  ... and {len(lines) - MOST_NOTES + 1} more{rest}."]
    return lines


# --- the three ways -----------------------------------------------------------------------------


def take_environment(project: Path, code_dir: str) -> list[str]:
    """Take in what the code of a new project lists; what there is to say.

    Raises:
        FileError: it is no environment file.
    """
    folder = project / DEPENDENCIES
    files = [f for name in conda_file.EXISTING if (f := project / code_dir / name).is_file()]
    if not files or (folder / "conda.lock").exists():
        return []
    # As the person would name it.
    name = (Path(code_dir) / files[0].name).as_posix()
    notes = conda_file.take_into(folder, files[0], name)
    if notes is None:
        return []
    return [
        f"Took the packages of {name} into {DEPENDENCIES}/{MAIN}.",
        *shortened(notes, f": compare the two files, {name} stays as it is"),
    ]


def conda_spec(line: str) -> str:
    """A plain requirement as conda writes it, "" of one with an extra, a marker or an address."""
    return line.replace(" ", "") if re.fullmatch(r"[\w.-]+\s*([<>=!~][^;@\[]*)?", line) else ""


def pip_to_conda(project: Path) -> list[str]:
    """Carry the lines of dependencies/pyproject.toml into the environment files.

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
        taken = conda_file.from_requirements(lines)
        before = conda_file.load(folder / name) if (folder / name).exists() else ""
        known = {conda_file.name_of(spec) for spec in conda_file.parse(before, name).conda}
        own = [line for line in taken.pip if conda_file.pip_name(line) not in known]
        same = [line for line in taken.pip if conda_file.pip_name(line) in known]
        specs = [spec for line in same if (spec := conda_spec(line))]
        notes += [f"{line}: {name} has it from conda." for line in same if not conda_spec(line)]
        after = conda_file.add_all(
            before, taken._replace(conda=[*taken.conda, *specs], pip=own), name
        )
        if after != before:
            conda_file.save(folder / name, after)
            changed = True
        carried += [*taken.conda, *specs, *own]
        notes += taken.notes
    notes += [f"{what}: environment files cannot say it." for what in old.more]
    kept = clear(project, (PYPROJECT,), PIP_LOCKS, all_taken=not notes)
    way = f"{PYPROJECT} to conda's environment files (PyPI's stay PyPI's, in the pip part)"
    return told(carried, way, notes, kept, PYPROJECT) if changed or kept else []


def conda_to_pip(project: Path) -> list[str]:
    """Carry the lines of the environment files into dependencies/pyproject.toml.

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
        notes.append("without a conda.lock nobody knows which of conda's packages are Python's.")
    kept = clear(project, (MAIN, CUDA, DEV), CONDA_LOCKS, all_taken=not notes)
    way = f"conda's environment files to {PYPROJECT}"
    return told(carried, way, notes, kept, MAIN) if after != before or kept else []


def told(carried: list[str], way: str, notes: list[str], kept: list[str], file: str) -> list[str]:
    """The lines on a switch."""
    if not carried and not notes:
        return []
    names = conda_file.shortened(carried) if carried else "nothing"
    where = kept or [f"The last commit has it all: git show HEAD:./{DEPENDENCIES}/{file}"]
    more = where if notes else kept
    return [f"Carried over from {way}: {names}.", *(f"  {note}" for note in notes), *more]


def carry(project: Path, manager: str, code_dir: str) -> list[str]:
    """Bring a project's packages to its package manager; the lines to show, [] where all is done.

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
            return pip_to_conda(project) or take_environment(project, code_dir or ".")
        return conda_to_pip(project)
    except (FileError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        return [f"Packages were not carried over: {reason}."]
