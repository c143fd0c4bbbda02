"""Adds a row to a compatibility table, and shows what changes in everything made from the tables.

    python -m hooks.compat.add_release new.yml            show the diff
    python -m hooks.compat.add_release new.yml --write    write it

`new.yml` names the table and gives the row; what it leaves out is taken from the row `like`:

    table: torch                 # torch, cuda, drivers, gpus, ngc or conda
    like: "2.15.0"
    row:
      torch: "2.15.1"
      torchvision: "0.29.3"
      source: [pypi-2.15.1]
      date: "2026-12-05"
    sources:                     # new entries of sources.yml, if the row needs them
      pypi-2.15.1: {what: "arch flags and METADATA of the wheel on PyPI", date: "2026-12-05"}

The row goes to its sorted place, comments stay. It must fit `hooks/compat/schema.yml`; a row that
is there already is refused, because rows are only added or labelled. Nothing is read from the
network: what a release contains is for a person to find out, and to name the source of, or for
`python -m hooks.compat.refresh`, which changes fields of rows too:

    table: cuda
    change: "13.2"               # the row that has this key
    fields: {toolkit_driver: {"13.2.2": "595.71.05"}}
    source: [cuda-redist]        # added to the row's sources
    date: "2026-12-05"
"""

from __future__ import annotations

import difflib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from hooks.compat.rows import numbers
from hooks.compat.table import read_yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
GENERATORS = ("hooks.compat.table", "hooks.compat.make_choices", "hooks.compat.make_docs")
WIDTH = 110


class Rows(NamedTuple):
    """Where the rows of a table are, and the field by which they are known and sorted."""

    section: str
    key: str


TABLES = {
    "torch": Rows("releases", "torch"),
    "cuda": Rows("lines", "line"),
    "drivers": Rows("branches", "branch"),
    "gpus": Rows("gpus", "name"),
    "ngc": Rows("releases", "release"),
    "conda": Rows("releases", "torch"),
}


class AddError(ValueError):
    """The new row cannot be added; its text is one sentence."""


def order(table: str, row: dict[str, Any]) -> tuple[Any, ...]:
    """The sort key of a row."""
    if table == "gpus":
        return (numbers(row["cc"]), row["name"].lower(), row["name"])
    return numbers(row[TABLES[table].key])


def _flow(value: object) -> str:
    """A value as YAML on one line: quotes around every string, and around keys that are numbers."""
    if isinstance(value, dict):
        return "{" + ", ".join(_pair(key, item) for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[a-z]\w*", key) else json.dumps(key)


def _pair(key: str, value: object) -> str:
    """A key and its value; names of sources, which hold letters, go without quotes."""
    if key == "source" and isinstance(value, list):
        return f"source: [{', '.join(value)}]"
    return f"{_key(key)}: {_flow(value)}"


def _written(value: object, indent: int) -> str:
    """A value as YAML: on one line where it fits, quotes around every string."""
    line = _flow(value)
    pad = " " * indent
    if isinstance(value, list) and len(line) > WIDTH and value and isinstance(value[0], dict):
        return "".join(f"\n{pad}  - {_flow(item)}" for item in value)
    return line


def render(row: dict[str, Any]) -> str:
    """A row as a block of YAML, one field a line."""
    lines = [
        f"{'  - ' if index == 0 else '    '}{field}:{space}{text}"
        for index, (field, value) in enumerate(row.items())
        for text in [_written(value, 4)]
        for space in ["" if text.startswith("\n") else " "]
    ]
    return "\n".join(lines) + "\n"


def _root(text: str) -> yaml.MappingNode:
    root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert isinstance(root, yaml.MappingNode)  # noqa: S101  (the schema says so)
    return root


def _section(text: str, name: str) -> yaml.SequenceNode:
    section = next(value for key, value in _root(text).value if key.value == name)
    assert isinstance(section, yaml.SequenceNode)  # noqa: S101
    return section


def insert(text: str, table: str, row: dict[str, Any]) -> str:
    """Put a row at its sorted place in the text of a table; every other line stays as it is.

    Raises:
        AddError: the row is there already, or what it is known by cannot be sorted.
    """
    rows = TABLES[table]
    try:
        place = order(table, row)
    except ValueError as error:
        raise AddError(f"{table}.yml sorts its rows by number: {row[rows.key]} is none") from error
    nodes = _section(text, rows.section).value
    tables = yaml.safe_load(text)
    present = tables[rows.section]
    known = {old[rows.key] for old in present}
    known.update(name for group in tables.get("groups", ()) for name in group["names"])
    if row[rows.key] in known:
        raise AddError(f"{table}.yml has {row[rows.key]} already: rows are only added or labelled")
    lines = text.splitlines(keepends=True)
    at = len(lines)
    last = nodes[-1].end_mark
    if last.line < len(lines) and last.column == 0:
        at = last.line
    later = [
        node.start_mark.line
        for node, old in zip(nodes, present, strict=True)
        if order(table, old) > place
    ]
    if later:
        at = later[0]
    else:
        while at > 0 and (not lines[at - 1].strip() or lines[at - 1].startswith("#")):
            at -= 1
    return "".join([*lines[:at], render(row), *lines[at:]])


class _Edits:
    """Replacements in a text, at the places where its YAML nodes are."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._edits: list[tuple[int, int, str]] = []

    def _at(self, mark: yaml.Mark) -> int:
        return self._starts[mark.line] + mark.column

    def set(self, node: yaml.Node, value: object) -> None:
        """Give a node a value; a mapping, or a list of named mappings, keeps what is not named."""
        if isinstance(value, dict) and isinstance(node, yaml.MappingNode):
            for key, item in value.items():
                found = [child for name, child in node.value if name.value == key]
                if found and key == "source":
                    self._replace(found[0], _pair(key, item).partition(" ")[2])
                elif found:
                    self.set(found[0], item)
                else:
                    self._add_key(node, key, item)
        elif isinstance(value, dict) and isinstance(node, yaml.SequenceNode):
            for name, item in value.items():
                found = [child for child in node.value if child.value[0][1].value == name]
                if found:
                    self.set(found[0], item)
                else:
                    self._add_item(node, name, item)
        else:
            self._replace(node, _flow(value))

    def _replace(self, node: yaml.Node, text: str) -> None:
        self._edits.append((self._at(node.start_mark), self._at(node.end_mark), text))

    def _add_key(self, node: yaml.MappingNode, key: str, value: object) -> None:
        """A new key: before `source`, which ends each row, else at the end of a flow mapping."""
        pair = _pair(key, value)
        source = [name for name, _ in node.value if name.value == "source"]
        if source:
            at, column = self._at(source[0].start_mark), source[0].start_mark.column
            text = f"{pair}, " if node.flow_style else f"{pair}\n{' ' * column}"
        else:
            at = self._at(node.end_mark) - 1
            text = f", {pair}" if node.value else pair
        self._edits.append((at, at, text))

    def _add_item(self, node: yaml.SequenceNode, name: str, item: dict[str, Any]) -> None:
        """A new mapping of a block list, before the first whose name is later."""
        later = [child for child in node.value if child.value[0][1].value > name]
        if later:
            column = later[0].start_mark.column
            at, text = self._at(later[0].start_mark), f"{_flow(item)}\n{' ' * (column - 2)}- "
        else:
            column = node.value[-1].start_mark.column
            at = self._at(node.value[-1].end_mark)
            text = f"\n{' ' * (column - 2)}- {_flow(item)}"
        self._edits.append((at, at, text))

    def text(self) -> str:
        text = self._text
        for start, end, new in sorted(self._edits, key=lambda edit: edit[0], reverse=True):
            text = text[:start] + new + text[end:]
        return text


def change(text: str, table: str, requests: Sequence[dict[str, Any]]) -> str:
    """Change fields of rows in the text of a table; every other character stays as it is.

    Args:
        text: of the table's file.
        table: its name.
        requests: each with `change`, `fields`, `source` and `date`.

    Raises:
        AddError: a row is not there.
    """
    key = TABLES[table].key
    edits = _Edits(text)
    nodes = {
        child.value: node
        for node in _section(text, TABLES[table].section).value
        for name, child in node.value
        if name.value == key
    }
    for row, several in _by_row(requests).items():
        if row not in nodes:
            raise AddError(f"{table}.yml has no row {row} to change")
        source = [child for name, child in nodes[row].value if name.value == "source"]
        names = [item.value for node in source for item in node.value]
        for request in several:
            edits.set(nodes[row], request["fields"])
            names += [name for name in request["source"] if name not in names]
        edits.set(nodes[row], {"source": names, "date": several[-1]["date"]})
    return edits.text()


def _by_row(requests: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for request in requests:
        rows.setdefault(request["change"], []).append(request)
    return rows


def date_read(text: str, date: str) -> str:
    """The text of a table with another date at its key `read`, if it has one."""
    edits = _Edits(text)
    for key, value in _root(text).value:
        if key.value == "read":
            edits.set(value, date)
    return edits.text()


def _complete(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The whole row: what is given, and the rest from the row `like`, in that row's order."""
    table, row = request["table"], request["row"]
    like = request.get("like")
    rows = TABLES[table]
    if rows.key not in row:
        raise AddError(f"the row has no {rows.key}, which is what it is known by")
    if like is None:
        return dict(row)
    found = [old for old in read_yaml(table, folder)[rows.section] if old[rows.key] == like]
    if not found:
        raise AddError(f"{table}.yml has no row {like} to be like")
    return {**found[0], **row}


def read_request(path: Path) -> dict[str, Any]:
    """Read the small input.

    Raises:
        AddError: it is not of the form that the text of this module shows.
    """
    try:
        request = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise AddError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(request, dict) or not isinstance(request.get("row"), dict):
        raise AddError(
            f"{path} needs `table` and `row`: see python -m hooks.compat.add_release --help"
        )
    if request.get("table") not in TABLES:
        raise AddError(f"there is no table {request.get('table')}: choose {', '.join(TABLES)}")
    return request


def _validate(folder: Path, name: str) -> None:
    import jsonschema  # noqa: PLC0415  (of the development requirements)

    schema = read_yaml("schema", folder)
    wanted = {**schema["properties"][name], "$defs": schema["$defs"]}
    for error in jsonschema.Draft202012Validator(wanted).iter_errors(read_yaml(name, folder)):
        raise AddError(f"{name}.yml would not fit its schema: {error.message} ({error.json_path})")


def _add_sources(added: dict[str, Any], folder: Path) -> None:
    """Add rows to sources.yml.

    Raises:
        AddError: one is there already.
    """
    sources = folder / "sources.yml"
    known = read_yaml("sources", folder)
    for name, source in added.items():
        if name in known:
            raise AddError(f"sources.yml has {name} already")
        line = f"{name}: {_flow(source)}\n"
        head, *rest = sources.read_text(encoding="utf-8").split("\n\n", 1)
        body = sorted([*rest[0].splitlines(keepends=True), line])
        sources.write_text(head + "\n\n" + "".join(body), encoding="utf-8")


def sources_in(value: Any) -> list[str]:
    """The sources that a row names, and those of the rows in it."""
    if isinstance(value, list):
        return [name for item in value for name in sources_in(item)]
    if not isinstance(value, dict):
        return []
    own = value.get("source") or []
    return [*own, *(name for item in value.values() for name in sources_in(item))]


def _edit(table: str, requests: Sequence[dict[str, Any]], folder: Path) -> None:
    """Carry out the requests of one table in its file.

    Raises:
        AddError: one cannot be carried out, or the table would not fit its schema.
    """
    file = folder / f"{table}.yml"
    text = file.read_text(encoding="utf-8")
    used: set[str] = set()
    changes = [request for request in requests if "change" in request]
    if changes:
        text = change(text, table, changes)
        used = {name for request in changes for name in sources_in(request)}
    for request in requests:
        if "row" in request:
            row = _complete(request, folder)
            text = insert(text, table, row)
            used |= set(sources_in(row))
        elif "read" in request:
            text = date_read(text, request["read"])
    file.write_text(text, encoding="utf-8")
    _validate(folder, table)
    _validate(folder, "sources")
    missing = used - set(read_yaml("sources", folder))
    if missing:
        raise AddError(f"sources.yml has no {', '.join(sorted(missing))}: add it under `sources`")


def generate(root: Path) -> None:
    """Make again what is made from the tables.

    Raises:
        AddError: a generator failed.
    """
    for module in GENERATORS:
        done = subprocess.run(
            [sys.executable, "-B", "-m", module],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AddError(f"{module} failed: {done.stderr.strip().splitlines()[-1]}")


def apply(requests: Sequence[dict[str, Any]], root: Path) -> None:
    """Carry out requests in the tables of `root`; made files stay as they are.

    Raises:
        AddError: one cannot be carried out; the tables are then changed in part.
    """
    folder = root / "hooks" / "compat"
    for request in requests:
        _add_sources(request.get("sources") or {}, folder)
    for table in dict.fromkeys(request["table"] for request in requests):
        _edit(table, [request for request in requests if request["table"] == table], folder)


def copy_of(root: Path, copy: Path) -> None:
    """Copy what the tables and their generators need."""
    shutil.copytree(root / "hooks", copy / "hooks", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "docs").mkdir()
    shutil.copy(root / "docs" / "compatibility.md", copy / "docs")


def changed_files(old: Path, new: Path) -> list[Path]:
    """Files of the tables and the documentation that differ, relative to the repository."""
    tables = [file for file in (new / "hooks/compat").iterdir() if file.suffix in (".json", ".yml")]
    files = [*sorted(tables), new / "docs" / "compatibility.md"]
    names = [file.relative_to(new) for file in files]
    return [name for name in names if (old / name).read_bytes() != (new / name).read_bytes()]


def diff(old: Path, new: Path, name: Path) -> str:
    """The unified diff of a file between two copies of the repository."""
    before, after = (
        (root / name).read_text(encoding="utf-8").splitlines(keepends=True) for root in (old, new)
    )
    # difflib.unified_diff takes repeated lines for noise, and shows unchanged ones as changed.
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    parts = [f"--- a/{name}\n", f"+++ b/{name}\n"]
    for group in matcher.get_grouped_opcodes():
        (_, start, _, at, _), (_, _, end, _, to) = group[0], group[-1]
        parts.append(f"@@ -{start + 1},{end - start} +{at + 1},{to - at} @@\n")
        for what, left, right, low, high in group:
            if what == "equal":
                parts += [f" {line}" for line in before[left:right]]
                continue
            parts += [f"-{line}" for line in before[left:right]]
            parts += [f"+{line}" for line in after[low:high]]
    return "".join(parts)


def add(request: dict[str, Any], *, write: bool, root: Path = ROOT) -> str:
    """Add a row and return the diff of every file that changes.

    Args:
        request: what `read_request` returns.
        write: change the files; else only say what would change.
        root: the repository.

    Raises:
        AddError: the row cannot be added; nothing was changed.
    """
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        copy_of(root, copy)
        apply([request], copy)
        generate(copy)
        changed = changed_files(root, copy)
        text = "".join(diff(root, copy, file) for file in changed)
        if write:
            for file in changed:
                shutil.copyfile(copy / file, root / file)
    return text


def main(arguments: list[str]) -> int:
    """Run the command: 0 done, 1 the row cannot be added, 2 wrong usage."""
    files = [argument for argument in arguments if argument != "--write"]
    if len(files) != 1 or files[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(add(read_request(Path(files[0])), write="--write" in arguments), end="")
    except AddError as error:
        print(f"add_release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
