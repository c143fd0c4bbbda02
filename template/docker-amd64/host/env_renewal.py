"""What a newer .env.example changes in .env: its comments, the order of keys, keys that it lacks.

A three-way merge by lines of the example that .env was filled from, .env, and the new example. A
line of .env that is not in the former example is the user's and is kept, and so is a key that the
user has changed. Where the user and the template have changed the same lines, .env stays as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .ask import capture
from .env_file import (
    Entry,
    ProbeError,
    comment_behind,
    example_id,
    insert_missing,
    parse_env,
    recorded_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path


def former_example(folder: Path, current: str, example: str, committed: str = "") -> str:
    """The text of the example that .env was filled from; "" if it is not known, or is this one.

    Args:
        folder: docker-amd64.
        current: the text of .env; its record has the id of that example.
        example: the text of .env.example.
        committed: the example of the last commit, for an .env whose record has no id.
    """
    known = recorded_id(current)
    if known == example_id(example):
        return ""
    text = committed
    if known:
        text = capture("git", "cat-file", "blob", known, cwd=folder).stdout
        if example_id(text) != known:  # containers can write into .git
            return ""
    try:
        parse_env(text)
    except ProbeError:  # it was committed with a conflict
        return ""
    return "" if text == example else text


class Former(NamedTuple):
    """The example that .env was filled from: its lines, and values that .env had in their place."""

    entries: Sequence[Entry]
    given: Sequence[Mapping[str, str]]

    def wrote(self, own: Entry) -> bool:
        """Whether a line of .env with a key is as the program wrote it."""
        former = next((one for one in self.entries if one.key == own.key), Entry(""))
        if not (own.active and former.active):
            return own.text == former.text
        plain = own.text.startswith(f"{own.key}=") and not comment_behind(own.text)
        return plain and own.value in (former.value, *(one.get(own.key) for one in self.given))


def comments(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """The comments above each key, back to the key before it."""
    found: dict[str, list[str]] = {}
    block: list[str] = []
    for entry in entries:
        if entry.key:
            found.setdefault(entry.key, block)
            block = []
        elif entry.text.strip():
            block.append(entry.text)
    return found


def is_tied(own: Entry, mine: Sequence[Entry]) -> bool:
    """Whether a key depends on its place: it is there twice, or one line expands another."""
    active = "\n".join(one.text for one in mine if one.active)
    twice = sum(one.key == own.key for one in mine) > 1
    return twice or "$" in own.text or bool(re.search(rf"\$\{{?{re.escape(own.key)}\b", active))


def removable(mine: Sequence[Entry], former: Former, wanted: Sequence[Entry]) -> list[str]:
    """The keys of .env that the new example lacks and that nobody has changed or described."""
    left = {one.key for one in former.entries if one.key} - {one.key for one in wanted}
    above, above_then = comments(mine), comments(former.entries)
    return [
        own.key
        for own in mine
        if own.key in left
        and former.wrote(own)
        and above[own.key] == above_then[own.key]
        and not is_tied(own, mine)
    ]


def without(entries: Sequence[Entry], keys: Collection[str]) -> list[Entry]:
    """The lines without keys, and without the comment above one if no other key is below it."""
    left: list[Entry] = []
    for entry, below in zip(entries, [*entries[1:], Entry("")]):
        if entry.key not in keys:
            left.append(entry)
        elif not below.key:
            while left and left[-1].text.strip() and not left[-1].key:
                left.pop()
            if left and not left[-1].text.strip():
                left.pop()
    return left


def label(entry: Entry) -> str:
    """What makes a line the same line in another text: its key, whatever the value."""
    return f"{entry.key}=" if entry.key else entry.text.rstrip()


def common(one: Sequence[str], other: Sequence[str]) -> dict[int, int]:
    """Which line of one list is which of the other, in order."""
    from difflib import SequenceMatcher  # noqa: PLC0415  only a newer example needs it

    blocks = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    return {a + at: b + at for a, b, size in blocks for at in range(size)}


def merged_lines(
    mine: Sequence[Entry],
    former: Sequence[Entry],
    wanted: Sequence[Entry],
    fixed: Callable[[Entry], bool],
) -> list[tuple[Entry, bool]]:
    """The lines of the three-way merge, each with whether it is taken from the new example.

    A line with a key that is `fixed` is not moved.
    """
    old, new = [label(one) for one in former], [label(one) for one in wanted]
    to_new = common(old, new)
    kept = {old[at] for at in to_new}
    own = [label(one) for one in mine]
    for at, one in enumerate(mine):
        if one.key and own[at] not in kept and fixed(one):
            own[at] = f"{at} {own[at]}"  # no line of the former example, which the merge may drop
    to_own = common(old, own)
    lines: list[tuple[Entry, bool]] = []
    start, start_own, start_new = 0, 0, 0
    for at in [*sorted(to_own.keys() & to_new.keys()), len(old)]:
        end_own, end_new = to_own.get(at, len(own)), to_new.get(at, len(new))
        if own[start_own:end_own] == old[start:at]:
            lines += [(one, True) for one in wanted[start_new:end_new]]
        else:
            lines += [(one, False) for one in mine[start_own:end_own]]
        lines += [(one, False) for one in mine[end_own : end_own + 1]]
        start, start_own, start_new = at + 1, end_own + 1, end_new + 1
    return lines


def renew(
    mine: Sequence[Entry],
    former: Former,
    wanted: Sequence[Entry],
    filled: Callable[[Entry], Entry],
) -> list[Entry]:
    """The lines of .env with what the new example changes.

    Args:
        mine: the lines of .env, without its record.
        former: the example that it was filled from.
        wanted: the lines of the new example.
        filled: a line of the new example with the value for this machine.
    """
    keys = removable(mine, former, wanted)
    new = {one.key: one for one in wanted if one.key}
    old = [one for one in without(former.entries, keys) if not one.key or one.key in new]
    used = {one.key for one in mine if one.active}

    def fixed(own: Entry) -> bool:
        """Whether a line is not to be moved, because of others or as it is commented out."""
        return is_tied(own, mine) or not (own.active or former.wrote(own))

    def value(own: Entry) -> Entry:
        """A line of .env; one of a key that nobody uses is that of the new example."""
        unused = own.key in new and own.key not in used and former.wrote(own)
        return filled(new[own.key]) if unused else own

    left = without(mine, keys)
    yours = {one.key: value(one) for one in left if one.key}

    def own_or_new(entry: Entry) -> Entry:
        """A line of the new example, or the user's of the same key."""
        own = yours.get(entry.key, entry)
        return own if own is not entry and own.active >= entry.active else filled(entry)

    merged = merged_lines(left, old, wanted, fixed)
    placed = {one.key for one, is_new in merged if one.key and not is_new}
    lines = [
        (own_or_new(one) if one.key else one) if is_new else value(one)
        for one, is_new in merged
        if not (is_new and one.key in placed)
    ]
    insert_missing(lines, wanted, own_or_new)  # such as a key that moved to lines of the user's
    return lines
