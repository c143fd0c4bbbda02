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
network: what a release contains is for a person to find out, and to name the source of.
"""

from __future__ import annotations

import difflib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hooks.compat.table import numbers, read_yaml

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


def _written(value: object, indent: int) -> str:
    """A value as YAML: on one line where it fits, quotes around every string."""
    line = json.dumps(value, ensure_ascii=False)
    pad = " " * indent
    if isinstance(value, list) and len(line) > WIDTH and value and isinstance(value[0], dict):
        return "".join(f"\n{pad}  - {json.dumps(item, ensure_ascii=False)}" for item in value)
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


def _section(text: str, name: str) -> yaml.SequenceNode:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101  (the schema says so)
    section = next(value for key, value in root.value if key.value == name)
    assert isinstance(section, yaml.SequenceNode)  # noqa: S101
    return section


def insert(text: str, table: str, row: dict[str, Any]) -> str:
    """Put a row at its sorted place in the text of a table; every other line stays as it is.

    Raises:
        AddError: the row is there already.
    """
    rows = TABLES[table]
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
        if order(table, old) > order(table, row)
    ]
    if later:
        at = later[0]
    else:
        while at > 0 and (not lines[at - 1].strip() or lines[at - 1].startswith("#")):
            at -= 1
    return "".join([*lines[:at], render(row), *lines[at:]])


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


def _apply(request: dict[str, Any], root: Path) -> None:
    """Change the tables in a copy of the repository, and make again what is made from them."""
    folder, table = root / "hooks" / "compat", request["table"]
    file = folder / f"{table}.yml"
    row = _complete(request, folder)
    file.write_text(insert(file.read_text(encoding="utf-8"), table, row), encoding="utf-8")
    sources = folder / "sources.yml"
    known = read_yaml("sources", folder)
    added = request.get("sources") or {}
    for name, source in added.items():
        if name in known:
            raise AddError(f"sources.yml has {name} already")
        line = f"{name}: {json.dumps(source, ensure_ascii=False)}\n"
        head, *rest = sources.read_text(encoding="utf-8").split("\n\n", 1)
        body = sorted([*rest[0].splitlines(keepends=True), line])
        sources.write_text(head + "\n\n" + "".join(body), encoding="utf-8")
    _validate(folder, table)
    _validate(folder, "sources")
    missing = set(row["source"]) - set(known) - set(added)
    if missing:
        raise AddError(f"sources.yml has no {', '.join(sorted(missing))}: add it under `sources`")
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


def _changed(old: Path, new: Path) -> list[Path]:
    """Files of the tables and the documentation that differ, relative to the repository."""
    tables = [file for file in (new / "hooks/compat").iterdir() if file.suffix in (".json", ".yml")]
    files = [*sorted(tables), new / "docs" / "compatibility.md"]
    names = [file.relative_to(new) for file in files]
    return [name for name in names if (old / name).read_bytes() != (new / name).read_bytes()]


def _diff(old: Path, new: Path, name: Path) -> str:
    before, after = ((root / name).read_text(encoding="utf-8") for root in (old, new))
    return "".join(
        difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            f"a/{name}",
            f"b/{name}",
        )
    )


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
        shutil.copytree(
            root / "hooks", copy / "hooks", ignore=shutil.ignore_patterns("__pycache__")
        )
        (copy / "docs").mkdir()
        shutil.copy(root / "docs" / "compatibility.md", copy / "docs")
        _apply(request, copy)
        changed = _changed(root, copy)
        text = "".join(_diff(root, copy, file) for file in changed)
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
