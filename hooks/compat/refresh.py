"""Compares the compatibility tables with their public sources and proposes what is new.

    python -m hooks.compat.refresh                    show the changes of the tables as a diff
    python -m hooks.compat.refresh --write            write them, and what is made from the tables
    python -m hooks.compat.refresh --only cuda,torch  compare these tables
    python -m hooks.compat.refresh --from FOLDER      read recorded answers, fetch nothing
    python -m hooks.compat.refresh --record FOLDER    keep what is fetched
    python -m hooks.compat.refresh --report FILE      write the report, in Markdown, to FILE
    python -m hooks.compat.refresh --age              say how old each table is

The exit status is 0 where nothing is new, 1 where something is proposed or left for a person, and
2 where a source could not be read; the other sources are compared all the same. `--age` exits with
1 where a table is older than 30 days. `hooks/compat/upstream.py` has every address.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from hooks.compat import add_release
from hooks.compat.add_release import AddError
from hooks.compat.proposals import COMPARISONS, Comparison, ForAPerson
from hooks.compat.table import NAMES, read_yaml
from hooks.compat.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = add_release.ROOT
BY_HAND = "No program reads its sources: compare them, and change `read`"
OLD = 30  # days after which a table is called old
RENEWED = 21  # days after which its date alone is worth a change


class Refresh(NamedTuple):
    """The outcome of a comparison."""

    diff: str
    for_a_person: list[ForAPerson]
    problems: list[str]

    @property
    def status(self) -> int:
        """The exit status of the command."""
        if self.problems:
            return 2
        return 1 if self.diff or self.for_a_person else 0


def age(read: str, today: dt.date) -> int:
    """Days since a table was compared with its sources."""
    return (today - dt.date.fromisoformat(read)).days


def _dates(comparison: Comparison, today: dt.date) -> list[dict[str, Any]]:
    """New dates of the tables that were compared in full and change, or are old."""
    changed = {request["table"] for request in comparison.requests}
    requests = []
    for table in comparison.compared:
        read = str(comparison.tables[table].get("read", today))
        if read < f"{today}" and (table in changed or age(read, today) > RENEWED):
            requests.append({"table": table, "read": f"{today}"})
    return requests


def _apply(requests: Sequence[dict[str, Any]], copy: Path, problems: list[str]) -> None:
    """Apply each table's requests; those that cannot be applied are a problem, not the end."""
    for table in COMPARISONS:
        several = [request for request in requests if request["table"] == table]
        if several and _refused(several, copy):
            problems += filter(None, (_refused([request], copy) for request in several))


def _refused(requests: list[dict[str, Any]], copy: Path) -> str:
    """Apply requests of one table; why they cannot be applied, with the files as before."""
    folder = copy / "hooks" / "compat"
    files = [folder / f"{requests[0]['table']}.yml", folder / "sources.yml"]
    before = [file.read_bytes() for file in files]
    try:
        add_release.apply(_without_known(requests, folder), copy)
    except AddError as error:
        for file, content in zip(files, before, strict=True):
            file.write_bytes(content)
        return " ".join(str(error).split())[:300]
    return ""


def _without_known(requests: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Requests without the sources that an earlier one has added."""
    known = set(read_yaml("sources", folder))
    result = []
    for request in requests:
        new = {k: v for k, v in (request.get("sources") or {}).items() if k not in known}
        known |= set(new)
        result.append({**request, "sources": new})
    return result


def refresh(
    upstream: Upstream,
    today: dt.date,
    *,
    only: Sequence[str] = (),
    write: bool = False,
    root: Path = ROOT,
) -> Refresh:
    """Compare the tables with their sources.

    Args:
        upstream: the sources.
        today: the date of what is proposed.
        only: names of tables; all if empty.
        write: change the tables, and what is made from them.
        root: the repository.

    Raises:
        AddError: a generator does not run on the new tables; nothing was written.
    """
    folder = root / "hooks" / "compat"
    tables = {name: read_yaml(name, folder) for name in (*NAMES, "sources")}
    comparison = Comparison(tables, upstream, f"{today}")
    for table in COMPARISONS:
        if not only or table in only:
            comparison.run(table, COMPARISONS[table])
    problems = list(comparison.problems)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        add_release.copy_of(root, copy)
        # Dates last: a table with a problem keeps its own.
        _apply([*comparison.requests, *_dates(comparison, today)], copy, problems)
        changed = add_release.changed_files(root, copy)
        text = "".join(add_release.diff(root, copy, file) for file in changed)
        if write and changed:
            add_release.generate(copy)
            for file in add_release.changed_files(root, copy):
                (root / file).write_bytes((copy / file).read_bytes())
    return Refresh(text, comparison.for_a_person, problems)


def report(outcome: Refresh) -> str:
    """What was found, in Markdown, for a pull request."""
    parts = []
    if outcome.diff:
        parts.append(
            "`python -m hooks.compat.refresh` found changes in the public sources of the tables."
            " Each changed row names its source.\n"
        )
    if outcome.for_a_person:
        rows = "".join(f"- {_sentence(item)}\n" for item in outcome.for_a_person)
        parts.append(f"For a person to fill in:\n\n{rows}")
    if outcome.problems:
        rows = "".join(f"- {problem}\n" for problem in outcome.problems)
        parts.append(f"Could not be read:\n\n{rows}")
    return "\n".join(parts) or "Nothing is new.\n"


def _sentence(item: ForAPerson) -> str:
    return f"{item.table} {item.row}: {item.missing} ({item.source})"


def say_age(today: dt.date, root: Path = ROOT) -> int:
    """Print the age of each table; 1 where one is older than OLD days.

    On GitHub's runners an old one becomes a warning of the workflow.
    """
    status = 0
    for name in NAMES:
        read = str(read_yaml(name, root / "hooks" / "compat")["read"])
        days = age(read, today)
        line = f"{name}.yml was compared with its sources on {read}, {days} days ago"
        if days > OLD:
            status = 1
            mark = "::warning::" if os.environ.get("GITHUB_ACTIONS") == "true" else ""
            remedy = "Run: python -m hooks.compat.refresh" if name in COMPARISONS else BY_HAND
            line = f"{mark}{line}. {remedy}"
        print(line)
    return status


def _tables(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in COMPARISONS:
            raise argparse.ArgumentTypeError(f"no table {name}: choose {', '.join(COMPARISONS)}")
    return names


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a date such as 2026-12-05") from None


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return Path(text)


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Run the command; its exit status is in the text of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m hooks.compat.refresh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help="write the changes")
    parser.add_argument("--only", type=_tables, default=[], metavar="TABLES", help="by comma")
    parser.add_argument("--from", type=_folder, dest="recorded", metavar="FOLDER")
    parser.add_argument("--record", type=Path, metavar="FOLDER")
    parser.add_argument("--report", type=Path, metavar="FILE")
    parser.add_argument("--age", action="store_true", help="say how old each table is")
    parser.add_argument("--at", type=_date, default=None, metavar="DATE", help="instead of today")
    options = parser.parse_args(arguments)
    today = options.at or dt.datetime.now(tz=dt.timezone.utc).date()
    if options.age:
        return say_age(today, root)
    upstream = Upstream(options.recorded, options.record)
    try:
        outcome = refresh(upstream, today, only=options.only, write=options.write, root=root)
    except (AddError, OSError, yaml.YAMLError) as error:
        print(f"refresh: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(outcome.diff, end="")
    for item in outcome.for_a_person:
        print(f"for a person: {_sentence(item)}", file=sys.stderr)
    for problem in outcome.problems:
        print(f"refresh: {problem}", file=sys.stderr)
    if options.report is not None:
        options.report.write_text(report(outcome), encoding="utf-8")
    return outcome.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
