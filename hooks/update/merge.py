"""Three-way merges of one file, as a person would do them.

A conflict is left where both sides want something else of the same lines, and nowhere else.

Git also calls it a conflict when two changes touch neighbouring lines. In programs that is right.
In lists, tables and prose the user's lines and the template's mostly do, and both are wanted.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from difflib import SequenceMatcher
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container

FOLDER = "docker-amd64"
LABELS = ("before updating", "last update", "after updating")  # of the marks of a conflict
MOST_CONFLICTS = 127  # that `git merge-file` counts in its status; above it are errors
# By the end or the name of a file; what is not here is a program, or nothing that is known.
KINDS = {
    **dict.fromkeys((".gitignore", ".dockerignore", ".gitattributes"), "list"),
    ".txt": "list",
    **dict.fromkeys((".env", ".example"), "env"),
    **dict.fromkeys((".ini", ".cfg"), "ini"),
    **dict.fromkeys((".yml", ".yaml"), "yaml"),
    ".toml": "toml",
    ".md": "prose",
}
# Of which two that have only their name in common are put together.
LISTS = ("list", "names", "env", "ini")


class Merged(NamedTuple):
    """A merged text; `conflicts` says that marks are in it."""

    text: str
    conflicts: bool = False


def kind_of(name: str) -> str:
    """What a file is: names, list, env, ini, yaml, toml, prose or program.

    Names are lists in which the order does not count: the packages of dependencies/.
    """
    path = PurePosixPath(name)
    if path.suffix == ".txt" and path.parts[:2] == (FOLDER, "dependencies"):
        return "names"
    return KINDS.get(path.name) or KINDS.get(path.suffix) or "program"


def merge(name: str, base: str, ours: str, theirs: str) -> Merged:
    """Merge the user's text and the template's, which come from the same base.

    `ours` may have other line ends than the template has anywhere: it keeps them.
    """
    if "\r\n" in ours and "\r\n" not in base + theirs:
        merged = merge(name, base, ours.replace("\r\n", "\n"), theirs)
        return Merged(with_ends_of(ours, merged.text), merged.conflicts)
    by_git = merge_by_git(base, ours, theirs)
    kind = kind_of(name)
    if kind == "names" and by_git.conflicts:
        return Merged(merge_names(base, ours, theirs))
    if kind == "program":
        return by_git
    if not base and kind not in LISTS:  # two files that have only their name in common
        return by_git
    found = by_git
    if by_git.conflicts:
        found = merge_by_lines(base, ours, theirs)
    found = Merged(joined(kind, found.text), found.conflicts)
    if found.conflicts or still_reads(kind, found.text, ours, theirs):
        return found
    # Lines that go together may make a table that has a key twice, or none.
    return by_git if by_git.conflicts else merge_what_reads(kind, base, ours, theirs)


def with_ends_of(ours: str, merged: str) -> str:
    """A merged text, in which the lines of `ours` end as they do there.

    Other lines end so only where all of `ours` do.
    """
    own = lines_of(ours)
    lines = lines_of(merged)
    other = "\n" if re.search(r"(?<!\r)\n", ours) else "\r\n"
    written = [f"{line[:-1]}{other}" if line.endswith("\n") else line for line in lines]
    bare = [line.replace("\r\n", "\n") for line in own]
    for start, at, size in SequenceMatcher(None, bare, lines, autojunk=False).get_matching_blocks():
        written[at : at + size] = own[start : start + size]
    return "".join(written)


def merge_by_git(base: str, ours: str, theirs: str) -> Merged:
    """What git makes of it."""
    with tempfile.TemporaryDirectory(prefix="hearth-merge-") as folder:
        files = [str(Path(folder, name)) for name in ("ours", "base", "theirs")]
        for file, text in zip(files, (ours, base, theirs), strict=True):
            Path(file).write_bytes(encoded(text))
        labels = [word for label in LABELS for word in ("-L", label)]
        command = ["git", "merge-file", "-p", "-q", *labels, *files]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode > MOST_CONFLICTS:  # git cannot merge it, and has written nothing
        return Merged(ours, conflicts=True)
    return Merged(decoded(done.stdout), conflicts=done.returncode != 0)


def encoded(text: str) -> bytes:
    """A text as bytes; those that were no UTF-8 are what they were."""
    return text.encode("utf-8", "surrogateescape")


def decoded(data: bytes) -> str:
    """Bytes as a text, whatever they are."""
    return data.decode("utf-8", "surrogateescape")


# ------------------------------------------------------------------------------------- by lines


class Change(NamedTuple):
    """Lines `start` to `end` of the base become `lines`; an insertion where both are equal."""

    start: int
    end: int
    lines: list[str]

    def meets(self, other: Change) -> bool:
        """Whether both want the same lines of the base to be something else."""
        if self.start == self.end or other.start == other.end:  # an insertion, inside of the other
            return self.start < other.end and other.start < self.end
        return max(self.start, other.start) < min(self.end, other.end)


def changes(base: list[str], new: list[str]) -> list[Change]:
    """What leads from one list of lines to another, in order."""
    codes = SequenceMatcher(None, base, new, autojunk=False).get_opcodes()
    return [Change(i, j, new[k:m]) for kind, i, j, k, m in codes if kind != "equal"]


def applied(base: list[str], start: int, end: int, some: list[Change]) -> list[str]:
    """Lines `start` to `end` of the base with changes inside of them."""
    lines: list[str] = []
    done = start
    for change in some:
        lines += base[done : change.start] + change.lines
        done = change.end
    return lines + base[done:end]


def lines_of(text: str) -> list[str]:
    """The lines of a text, with their ends; only line feeds end one."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def both_changes(base: str, ours: str, theirs: str) -> tuple[list[Change], list[Change]]:
    """What leads from a base to each side; of theirs, what ours has not made as well.

    A last line that does not end is the same as one that does.
    """
    lines = ended(lines_of(base))
    own = changes(lines, ended(lines_of(ours)))
    return own, [x for x in changes(lines, ended(lines_of(theirs))) if x not in own]


def merge_by_lines(base: str, ours: str, theirs: str, refused: Container[Change] = ()) -> Merged:
    """A merge in which changes of neighbouring lines do not conflict.

    What both insert at the same place is kept, theirs first. Whether the last line ends is decided
    as anything else: by the side that has changed it.

    Args:
        base: what both were.
        ours: the user's text.
        theirs: the template's.
        refused: changes of theirs that conflict wherever they are.
    """
    lines = ended(lines_of(base))
    own, other = both_changes(base, ours, theirs)
    merged: list[str] = []
    done = 0
    conflicts = False
    # An insertion goes before what replaces the lines behind it.
    waiting = sorted(other + own, key=lambda x: (x.start, x.end))
    while waiting:
        change = waiting.pop(0)
        group = [change]
        for one in list(waiting):
            if any(one.meets(known) for known in group):
                group.append(one)
                waiting.remove(one)
        if len(group) == 1 and change not in refused:
            merged += lines[done : change.start] + change.lines
            done = max(done, change.end)
            continue
        start, end = min(x.start for x in group), max(x.end for x in group)
        merged += lines[done:start]
        mine = applied(lines, start, end, [x for x in own if x in group])
        their = applied(lines, start, end, [x for x in other if x in group])
        merged += [f"<<<<<<< {LABELS[0]}\n", *ended(mine), "=======\n"]
        merged += [*ended(their), f">>>>>>> {LABELS[2]}\n"]
        done, conflicts = end, True
    merged += lines[done:]
    decides = theirs if ends(ours) == ends(base) else ours
    if merged and not ends(decides) and not merged[-1].startswith(f">>>>>>> {LABELS[2]}"):
        merged[-1] = merged[-1][:-1]
    return Merged("".join(merged), conflicts)


def merge_what_reads(kind: str, base: str, ours: str, theirs: str) -> Merged:
    """A merge of two texts that together are not of their kind, with marks where they disagree."""
    lines = ended(lines_of(base))
    _, other = both_changes(base, ours, theirs)

    def disagrees(change: Change) -> bool:
        only = "".join(applied(lines, 0, len(lines), [change]))
        merged = merge_by_lines(base, ours, only)
        return not merged.conflicts and not reads(kind, joined(kind, merged.text))

    # Where none does it alone, all of them do.
    return merge_by_lines(base, ours, theirs, [*filter(disagrees, other)] or other)


def ends(text: str) -> bool:
    """Whether the last line of a text ends."""
    return not text or text.endswith("\n")


def ended(lines: list[str]) -> list[str]:
    """Lines each of which ends; the last of a file may not."""
    return [line if line.endswith("\n") else f"{line}\n" for line in lines]


# ---------------------------------------------------------------------------------------- lists


def merge_names(base: str, ours: str, theirs: str) -> str:
    """A merge of lists with one name a line: theirs, with what the user added and removed.

    Comments are the template's, unless the user keeps none of them.
    """
    before, mine = base.splitlines(), ours.splitlines()
    removed = {line for line in before if line and line not in mine}
    bare = any(map(is_comment, before)) and not any(map(is_comment, mine))
    kept = [
        line
        for line in theirs.splitlines()
        if (not bare if is_comment(line) else line not in removed and (line or not bare))
    ]
    added = [line for line in mine if line and line not in before and line not in kept]
    return "".join(f"{line}\n" for line in [*kept, *added])


def is_comment(line: str) -> bool:
    """Whether a line of a list is one."""
    return line.startswith("#")


# --------------------------------------------------------------------------------------- tables


def joined(kind: str, text: str) -> str:
    """A merged text of a kind, in which no table is there twice."""
    return join_tables(text) if kind in ("toml", "ini") else text


def join_tables(text: str) -> str:
    """A text in which what follows each repetition of a table's header is in the first table.

    Two sides that both add a table add it twice, which neither TOML nor INI allows. A text
    with the marks of a conflict is left as it is: a table may be on both of its sides.
    """
    if f"<<<<<<< {LABELS[0]}\n" in text:
        return text
    parts = re.split(r"(?m)^(\[[^\[\]\n]+\])[ \t]*\n", text)
    headers, bodies = parts[1::2], parts[2::2]
    if len(set(headers)) == len(headers):
        return text
    tables: dict[str, list[str]] = {}
    for header, body in zip(headers, bodies, strict=True):
        tables.setdefault(header, []).append(body)
    made = parts[0]
    for header, some in tables.items():
        if len(some) == 1:
            made += f"{header}\n{some[0]}"
            continue
        # Where the next table begins, a blank line stays.
        rows = "\n".join(filter(None, (one.strip("\n") for one in some)))
        made += f"{header}\n{rows}\n" + ("\n" if header != [*tables][-1] else "")
    return made


def still_reads(kind: str, text: str, *sides: str) -> bool:
    """Whether a text is one of its kind, if both sides are; no key stands twice."""
    if kind not in READERS:
        return True
    return reads(kind, text) or not all(reads(kind, side) for side in sides)


def reads(kind: str, text: str) -> bool:
    """Whether a text is of its kind, without a repeated key."""
    return READERS[kind](text)


def reads_env(text: str) -> bool:
    """Whether no variable of an env file is set twice."""
    names = re.findall(r"(?m)^[ \t]*(?:export[ \t]+)?(\w+)=", text)
    return len({*names}) == len(names)


def reads_ini(text: str) -> bool:
    """Whether a text has sections, of which none has a key twice."""
    import configparser  # noqa: PLC0415  seldom needed

    try:
        configparser.RawConfigParser(allow_no_value=True).read_string(text)
    except configparser.Error:
        return False
    return True


def reads_yaml(text: str) -> bool:
    """Whether a text is YAML without a repeated key."""
    import yaml  # noqa: PLC0415  seldom needed

    def repeated(node: Any) -> bool:
        if isinstance(node, yaml.MappingNode):
            keys = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
            twice = any(count > 1 for key, count in keys.items() if key != "<<")
            return twice or any(repeated(value) for _, value in node.value)
        return isinstance(node, yaml.SequenceNode) and any(map(repeated, node.value))

    try:
        return not any(map(repeated, yaml.compose_all(text, yaml.SafeLoader)))
    except (yaml.YAMLError, RecursionError, ValueError):
        return False


def reads_toml(text: str) -> bool:
    """Whether a text is TOML; without a reader of it, whether no table is repeated."""
    try:
        tomllib = import_module("tomllib")  # Python 3.11
    except ImportError:
        heads = re.findall(r"(?m)^\[[^\[\]\n]+\]", text)
        return len(set(heads)) == len(heads)
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True


READERS = {"yaml": reads_yaml, "toml": reads_toml, "ini": reads_ini, "env": reads_env}
