"""Merge lists of packages in an update, if git reports conflicts only for neighbouring lines.

Git calls it a conflict when two changes touch neighbouring lines. In dependencies/ the user's
lines and the template's mostly do, and both are wanted: a list of packages has no order.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import NamedTuple


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


def merge_lines(base: str, ours: str, theirs: str) -> str | None:
    """A three-way merge by lines in which changes of neighbouring lines do not conflict.

    What both insert at the same place is kept, theirs first. None where both change the same lines
    in different ways.
    """
    lines = base.splitlines(keepends=True)
    own = changes(lines, ours.splitlines(keepends=True))
    other = [x for x in changes(lines, theirs.splitlines(keepends=True)) if x not in own]
    if any(mine.meets(their) for mine in own for their in other):
        return None
    merged, done = [], 0
    # An insertion goes before what replaces the lines behind it.
    for change in sorted(other + own, key=lambda x: (x.start, x.end)):
        merged += lines[done : change.start] + change.lines
        done = change.end
    return "".join(merged + lines[done:])


def join_tables(text: str, header: str) -> str:
    """A TOML text in which what follows each repetition of a table's header is in the first table.

    Two sides that both add a table add it twice, which TOML does not allow.
    """
    first, *others = re.split(rf"(?m)^{re.escape(header)}[ \t]*\n", text)
    if len(others) < 2:  # noqa: PLR2004
        return text
    tables = [re.split(r"(?m)^(?=\[)", other, maxsplit=1) for other in others]
    bodies = [body.strip("\n") for body, *_ in tables]
    rest = "".join(f"\n{more.strip(chr(10))}\n" for _, *after in tables for more in after)
    return "\n".join([f"{first}{header}", *filter(None, bodies), rest])


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
