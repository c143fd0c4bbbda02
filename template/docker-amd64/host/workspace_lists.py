"""The lists of packages in a workspace: which of them a build reads, and which it does not.

How lists are called and name each other is known to image/intake/lists.py. What has to be run or
translated to know its packages, image/workspace_requirements.py reads.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import runpy
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from .ask import read_text
from .files import make_folder, write_file
from .passwords import rule as texts

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = Path(__file__).resolve().parents[1] / "image" / "intake" / "lists.py"
REQUIREMENTS, PROJECT, LOCK = "requirements.txt", "pyproject.toml", "requirements.lock"
ENVIRONMENTS = (".yml", ".yaml", ".toml")  # how lists end that may have more than PyPI's packages
GROUPS = "groups.txt"  # names of extras and groups of the metadata, one a line
NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
# The code itself in a requirements file, with its extras.
ITSELF = re.compile(r"(?:(?:-e|--editable)[\s=]*)?\./?\[([\w.,\s-]+)\]")
# [project] in pyproject.toml, and what says that its dependencies are only known to a build.
TABLE = re.compile(r"(?m)^\[project\]")
DYNAMIC = re.compile(r"""(?m)^dynamic\s*=\s*\[[^\]]*["']dependencies["']""")
OF_SETUP = ("setup.py", "setup.cfg")
# At least one requirement in [project].
ASKS = re.compile(r"""(?m)^dependencies\s*=\s*\[[^\]]*["']""")
# Begins the pyproject.toml that workspace_requirements.py has made, and a line of its copy in the
# lock, which image/workspace-packages.sh writes.
MADE, COPIED = "# read ", "#| "


@lru_cache(maxsize=None)
def rules() -> Any:
    """The module that knows lists by their names."""
    return SimpleNamespace(**runpy.run_path(str(RULES)))


def read_list(folder: Path, name: str) -> bytes | None:
    """The content of a list of a workspace; None for what is not a file in it, or is too long.

    A link of a container may lead to a file that it cannot read itself.
    """
    top = folder.resolve()
    file = Path(posixpath.join(str(top), name)).resolve()
    if top not in file.parents or not file.is_file():
        return None
    return file.read_bytes() if file.stat().st_size <= texts().MOST_BYTES else None


def included(name: str, content: bytes) -> Iterator[str]:
    """The files that a requirements file names, seen from the workspace."""
    for _, line in rules().logical_lines(texts().decoded(content)):
        found = rules().INCLUDE.fullmatch(line)
        if found:
            target = rules().unquoted(found[2])
            yield posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def lists_of(folder: Path) -> dict[str, bytes]:
    """The lists that a build of the workspace in a folder reads, by their paths in it."""
    found: dict[str, bytes] = {}
    waiting = [REQUIREMENTS]
    while waiting:
        name = waiting.pop()
        content = None if name in found or name.startswith("/") else read_list(folder, name)
        if content is not None:
            found[name] = content
            waiting += included(name, content)
    project = read_list(folder, PROJECT) or b""
    text = texts().decoded(project)
    if TABLE.search(text) and not DYNAMIC.search(text):
        found[PROJECT] = project
    return found


class Read(NamedTuple):
    """What was read for a build in a container.

    Attributes:
        text: a pyproject.toml.
        taken: the files that it is of.
        specs: the lock of packages that are not for uv.
    """

    text: str = ""
    taken: tuple[str, ...] = ()
    specs: str = ""


def has_list(folder: Path) -> bool:
    """Whether a build finds packages in a workspace without help."""
    lists = lists_of(folder)
    return REQUIREMENTS in lists or bool(ASKS.search(texts().decoded(lists.get(PROJECT, b""))))


def names_asked(folder: Path) -> list[str]:
    """The extras and groups of its metadata that a workspace asks for, by GROUPS or `-e .[x]`."""
    if not any((folder / name).is_file() for name in (PROJECT, *OF_SETUP)):
        return []
    known = rules().logical_lines
    found = [line for _, line in known(texts().decoded(read_list(folder, GROUPS) or b""))]
    for name, content in lists_of(folder).items():
        if name != PROJECT:
            lines = (ITSELF.fullmatch(line) for _, line in known(texts().decoded(content)))
            found += [one for match in lines if match for one in match[1].split(",")]
    return sorted({one.strip() for one in found if NAME.fullmatch(one.strip())})


def needs_reading(folder: Path, *, environments: bool = False) -> bool:
    """Whether packages of a workspace are listed where only a container can read them.

    Lists of other kinds count where nothing else lists packages; with `environments`, those that
    may have more than PyPI's packages always count.
    """
    unread = unread_lists(folder)
    if names_asked(folder):
        return True
    if environments and any(name.endswith(ENVIRONMENTS) for name in unread):
        return True
    return any(name in unread for name in (PROJECT, *OF_SETUP)) or (
        bool(unread) and not has_list(folder)
    )


def as_read(folder: Path, plan: dict[str, Any], answers: dict[str, Any]) -> Read:
    """What workspace_requirements.py said, with what it was made from in its first line."""
    made = {"files": plan["files"], "taken": plan["taken"], **beside(folder, answers)}
    specs = plan.get("specs", "")
    if specs:
        made["specs"] = hashlib.sha256(specs.encode()).hexdigest()
    text = f"{MADE}{json.dumps(made)}\n{plan['text']}" if plan["text"] else ""
    return Read(text, tuple(plan["taken"]), specs)


def beside(folder: Path, answers: dict[str, Any]) -> dict[str, Any]:
    """What else decides what is read: which lists are there, and the answers on versions."""
    digest = hashlib.sha256(json.dumps(answers, sort_keys=True).encode()).hexdigest()
    names = names_asked(folder)
    return {
        "unread": unread_lists(folder),
        "answers": digest[:12],
        **({"names": names} if names else {}),
    }


def read_before(folder: Path, answers: dict[str, Any], specs_lock: str = "") -> Read | None:
    """What the locks of a workspace have of an earlier reading; None if it may be different now.

    Args:
        folder: the workspace.
        answers: of the project, and what else decides.
        specs_lock: the name of the lock of what is not for uv, "" where there is none.
    """
    lines = texts().decoded(read_list(folder, LOCK) or b"").splitlines()
    copied = [line[len(COPIED) :] for line in lines if line.startswith(COPIED.rstrip())]
    if not copied or not copied[0].startswith(MADE):
        return None
    try:
        made = json.loads(copied[0][len(MADE) :])
        known, taken = dict(made["files"]), tuple(made["taken"])
    except (ValueError, KeyError, TypeError):
        return None
    same = all(known[name] == file_digest(folder / name) for name in known)
    now = beside(folder, answers)
    if not known or not same or any(made.get(key) != now.get(key) for key in (*now, "names")):
        return None
    specs = (read_list(folder, specs_lock) or b"") if "specs" in made else b""
    if hashlib.sha256(specs).hexdigest() != made.get("specs", hashlib.sha256().hexdigest()):
        return None
    return Read("\n".join([*copied, ""]), taken, texts().decoded(specs))


def file_digest(file: Path) -> str:
    """The SHA-256 of a file, "" where there is none."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


def put_lists(folder: Path, target: Path, read: Read | None = None) -> bool:
    """Copy the lists and the lock of the workspace in a folder; whether it needs a lock first.

    What was read in a container takes the place of its pyproject.toml, and of the lists that it
    has.
    """
    lists, lock = lists_of(folder), read_list(folder, LOCK)
    if read and read.text:
        lists = {name: text for name, text in lists.items() if name not in read.taken}
        lists[PROJECT] = read.text.encode()
    for name, content in [*lists.items(), *([(LOCK, lock)] if lock is not None else [])]:
        make_folder((target / name).parent)
        write_file(target / name, content)
    return bool(lists) and lock is None


def unread_lists(folder: Path) -> list[str]:
    """The paths of the lists that a build of the workspace in a folder does not read."""
    read = lists_of(folder)
    return [
        name for name in named_files(folder) if name not in read and is_list(folder, name, read)
    ]


def named_files(folder: Path) -> Iterator[str]:
    """The files at the top of a workspace, and those in its folders of requirements."""
    for entry in sorted(folder.iterdir()):
        if entry.is_file():
            yield entry.name
        elif entry.is_dir() and rules().OF_REQUIREMENTS.fullmatch(entry.name):
            yield from (f"{entry.name}/{one.name}" for one in sorted(entry.iterdir()))


def is_list(folder: Path, path: str, read: dict[str, bytes]) -> bool:
    """Whether a file lists packages that programs need, which those that are read may not name."""
    known, (above, _, name) = rules(), path.rpartition("/")
    text = (
        read_text(folder / path) if name.endswith((".toml", ".py", ".cfg", ".yml", ".yaml")) else ""
    )
    if known.is_requirements(above, name):
        for_others = known.words_of(name) & (known.OTHER_WORDS | known.PLATFORM_WORDS)
        made = (folder / f"{path[:-3]}.txt").is_file() if name.endswith(".in") else False
        return not (for_others or made)
    if above:
        return False
    if name in OF_SETUP:
        declares = re.search(known.METADATA[name], text) and "install_requires" in text
        return bool(declares) and PROJECT not in read
    if name == PROJECT:
        return bool(re.search(known.METADATA[name], text) or known.PIXI.search(text))
    if known.ENVIRONMENT.fullmatch(name):
        return name.lower() in known.PLAIN_ENVIRONMENTS or "dependencies" in known.keys_of(text)
    return name in known.MANIFESTS
