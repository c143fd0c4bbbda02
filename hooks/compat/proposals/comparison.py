"""The tables beside their sources: what is new, what is left for a person, what is unread."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from hooks.compat.add_release import TABLES, sources_in
from hooks.compat.rows import numbers
from hooks.compat.upstream import ADDRESSES, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hooks.compat.upstream import Upstream

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}  # as registries name them
GIVE_UP = 3  # images of a registry that cannot be read
OLDEST_DRIVER = 470  # branch; what newer ones do not drive is Kepler or older
UNREADABLE = (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError)  # fmt: skip  # noqa: E501


class ForAPerson(NamedTuple):
    """What a source shows and a program cannot enter."""

    table: str
    row: str
    missing: str
    source: str


class Comparison:
    """The tables, what is found to be new, and what could not be read."""

    def __init__(self, tables: dict[str, Any], upstream: Upstream, today: str) -> None:
        """Start with nothing found.

        Args:
            tables: the parsed YAML tables and `sources`, by name; new rows are entered, so that
                later comparisons see them.
            upstream: the sources.
            today: the date of new rows.
        """
        self.tables, self.upstream, self.today = tables, upstream, today
        self.additions: list[dict[str, Any]] = []
        self.changes: dict[tuple[str, str], dict[str, Any]] = {}
        self.for_a_person: list[ForAPerson] = []
        self.problems: list[str] = []
        self.compared: set[str] = set()
        self.unread: dict[str, int] = {}
        self.newest_branch = max(map(int, self.rows("drivers")))
        self._table = ""

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What `add_release.apply` takes."""
        requests = [*self.additions, *self.changes.values()]
        copies = []
        for request in requests:
            if "row" in request:
                last = {name: request["row"].pop(name) for name in ("source", "date")}
                request["row"].update(last)
            rows = {
                name: {"what": f"{ADDRESSES[name].what}, {ADDRESSES[name].url}", "date": self.today}
                for name in sources_in(request)
                if name in ADDRESSES and name not in self.tables["sources"]
            }
            copies.append({**request, "sources": rows})
        return copies

    def run(self, table: str, compare: Callable[[Comparison], None]) -> None:
        """Compare a table with all its sources, by one of COMPARISONS."""
        self._table = table
        self.compared.add(table)
        compare(self)

    @contextmanager
    def source(self, name: str) -> Iterator[None]:
        """Whatever goes wrong inside is one sentence, and only this source is left out."""
        try:
            yield
        except UpstreamError as error:
            self._problem(str(error))
        except UNREADABLE as error:
            text = " ".join(str(error).split())[:100]
            kind = type(error).__name__
            self._problem(f"{name} cannot be read: its form is not the known one ({kind}: {text})")

    def _problem(self, sentence: str) -> None:
        self.problems.append(sentence)
        self.compared.discard(self._table)

    def rows(self, table: str) -> dict[str, dict[str, Any]]:
        """The rows of a table by what they are known by, oldest first."""
        section, key = TABLES[table]
        return {row[key]: row for row in self.tables[table][section]}

    def add(self, table: str, row: dict[str, Any], source: str) -> None:
        """Propose a row; fields that the table's rows do not have are left out."""
        section, _ = TABLES[table]
        row = {**row, "source": [source], "date": self.today}
        self.tables[table][section].append(row)
        self.additions.append({"table": table, "row": row})

    def change(self, table: str, key: str, fields: dict[str, Any], source: str) -> None:
        """Propose other values of fields; a mapping changes only what it names."""
        row = self.rows(table)[key]
        _merge(row, fields)
        for request in self.additions:
            if request["row"] is row:
                row["source"] = list(dict.fromkeys([*row["source"], source]))
                return
        new = {"table": table, "change": key, "fields": {}, "source": [], "date": self.today}
        request = self.changes.setdefault((table, key), new)
        _merge(request["fields"], fields)
        request["source"] = list(dict.fromkeys([*request["source"], source]))

    def ask(self, table: str, row: str, missing: str, source: str) -> None:
        """Leave a row for a person."""
        found = ForAPerson(table, row, missing, source)
        if found not in self.for_a_person:
            self.for_a_person.append(found)

    def has_field(self, table: str, field: str) -> bool:
        """Whether rows of a table have a field."""
        section, _ = TABLES[table]
        return any(field in row for row in self.tables[table][section])


def _merge(old: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        current = old.get(key)
        if isinstance(value, dict) and isinstance(current, dict):
            _merge(current, value)
        elif isinstance(value, dict) and isinstance(current, list):
            _merge_named(current, value)
        else:
            old[key] = value


def _merge_named(rows: list[dict[str, Any]], new: dict[str, dict[str, Any]]) -> None:
    for name, fields in new.items():
        found = [row for row in rows if next(iter(row.values())) == name]
        if found:
            _merge(found[0], fields)
        else:
            rows.append(fields)


def checked_mapping(value: Any, what: str) -> dict[str, Any]:
    """A value that must be a mapping; ValueError if it is not."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no mapping")  # noqa: TRY004
    return value


def checked_strings(value: Any, what: str) -> list[str]:
    """The texts of a value that must be a list; ValueError if it is not."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is no list")  # noqa: TRY004
    return [item for item in value if isinstance(item, str)]


def sorted_versions(versions: Iterable[str]) -> list[str]:
    """Versions, oldest first; a t at the end (free-threaded) comes after the same without."""
    return sorted(versions, key=lambda version: (numbers(version.rstrip("t")), version))


def line_of(version: str) -> str:
    """The line of a release: "13.2" for "13.2.1"."""
    return ".".join(version.split(".")[:2])


def tags_of(comparison: Comparison, name: str) -> list[str]:
    """The tags of a registry's repository."""
    return checked_strings(
        checked_mapping(comparison.upstream.json(name), "the answer").get("tags"), "tags"
    )


def platforms_of(comparison: Comparison, name: str, tag: str) -> list[str] | None:
    """The host architectures of an image; None where its index does not say.

    After some that cannot be read, a registry that limits requests is asked no more.
    """
    if comparison.unread.get(name, 0) >= GIVE_UP:
        return None
    comparison.unread[name] = comparison.unread.get(name, 0) + 1
    index = checked_mapping(comparison.upstream.json(name, tag), "the answer")
    comparison.unread[name] -= 1
    found = set()
    for image in index.get("manifests") or []:
        platform = image.get("platform") or {}
        if platform.get("os") == "linux" and platform.get("architecture") in ARCHITECTURES:
            found.add(ARCHITECTURES[platform["architecture"]])
    return [name for name in ARCHITECTURES.values() if name in found] or None
