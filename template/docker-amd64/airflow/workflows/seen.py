"""What watchers have seen, in files of $AIRFLOW_HOME: neither a restart nor a crash loses an event.

Only the standard library.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import stat
from contextlib import suppress
from glob import glob
from hashlib import sha256
from pathlib import Path

from .stubs import is_text

DOWNLOADED = "/data/downloaded"


class Memory:
    """What one watcher has seen: a mark for each thing, which differs after each change.

    A change is told until Airflow has stored the event, then it is seen. If Airflow is killed in
    between, it is told again.
    """

    def __init__(self, folder: Path, watcher: str) -> None:
        """Read the file of a watcher, such as "file *.csv"."""
        self.watcher = watcher
        self.path = folder / f"{sha256(watcher.encode()).hexdigest()[:16]}.json"
        self.told: dict[str, str] = {}
        self.seen: dict[str, str] | None = None
        try:
            self.seen = json.loads(self.path.read_text("utf-8"))["seen"]
        except (OSError, ValueError, KeyError, TypeError):
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def changes(self, marks: dict[str, str]) -> list[str]:
        """The things to tell, of all that are there. What a new watcher finds is no change.

        Raises:
            OSError: the file cannot be written.
        """
        if self.seen is None:
            self.seen = dict(marks)
            self.save()
        elif any(one not in marks for one in self.seen):  # deleted: it is new when it is back
            self.seen = {one: mark for one, mark in self.seen.items() if one in marks}
            self.save()
        seen, told = self.seen, self.told
        return [one for one, mark in marks.items() if mark not in (seen.get(one), told.get(one))]

    def stored(self, things: list[tuple[str, str]], lost: list[tuple[str, str]]) -> None:
        """Airflow has stored the events of things, with their marks, and has lost others.

        Raises:
            OSError: the file cannot be written.
        """
        for one, mark in [*things, *lost]:
            if self.told.get(one) == mark:
                del self.told[one]
        if things:
            self.seen = {**(self.seen or {}), **dict(things)}
            self.save()

    def save(self) -> None:
        """Replace the file at once, also if power fails."""
        new = self.path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump({"watcher": self.watcher, "seen": self.seen}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that finds nothing.

    Raises:
        ValueError: ** is elsewhere than in the last but one part, or the last part is empty.
    """
    *above, name = pattern.split("/")
    elsewhere = [*above[:-1], name] if above[-1:] == ["**"] else [*above, name]
    if not name or any("**" in one for one in elsewhere):
        raise ValueError(f"file_changed: {pattern!r} is not like *.csv, faces/*.png or a/**/*.png.")


def find(pattern: str) -> dict[str, str]:
    """The mark of each file that a pattern finds. ** follows no links to folders.

    Raises:
        OSError: the folder of the pattern cannot be read.
    """
    path = os.path.join(DOWNLOADED, pattern)  # noqa: PTH118  the pattern may be absolute
    # glob finds nothing in a folder that cannot be read, as on a disk that is away: no file of it
    # was deleted.
    with suppress(FileNotFoundError, NotADirectoryError):
        os.listdir(re.split(r"[*?[]", path)[0].rpartition("/")[0] or "/")  # noqa: PTH208
    above, _, name = path.rpartition("/")
    if above.endswith("/**"):
        tops = glob(above.removesuffix("/**"))  # noqa: PTH207
        folders = (one for top in tops for one in os.walk(top))
        paths = [
            f"{root}/{one}" for root, _, files in folders for one in fnmatch.filter(files, name)
        ]
    else:
        paths = glob(path)  # noqa: PTH207
    marks = {}
    for one in paths:
        with suppress(OSError):
            facts = os.stat(one)  # noqa: PTH116
            # Programs that copy write to hidden files. A database stores UTF-8 only.
            if stat.S_ISREG(facts.st_mode) and "/." not in one and is_text(one):
                marks[one] = f"{facts.st_size} {facts.st_mtime_ns}"
    return marks
