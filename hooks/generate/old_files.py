"""What a user has in the dependency files of a package manager that the project had before.

Everything in a file is one of three: the template's, a line that moves, or a note on what does
not. What is the template's is known by its values, and comments by the template's own files.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from conda_file import FORGE, MARKER, NO_DEFAULTS
from hooks.generate import toml_text
from hooks.generate.toml_text import Line, table_at
from hooks.matcher.files.toml_values import Document
from intake import conda_files
from intake.names import REQUIREMENT, pip_name
from intake.text import without_secret
from intake.yaml_nodes import compose, keys_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TEMPLATE = Path(__file__).parents[2] / "template/docker-amd64/dependencies"
NO_PLACE = "not possible in an environment file"
MOST_LETTERS = 160  # of a value that is shown
# Groups of pyproject.toml that the template owns, and what it writes into them.
OWN_GROUPS = ("container", "project", "project-dev", "torch")
OWN_LINES = re.compile(
    r"packaging>=24\.2|pip>=25\.1|setuptools>=77|project-requirements(\[dev\])?|filelock|fsspec|jinja2|"
    r"networkx|numpy|pillow|setuptools|sympy(==1\.13\.1|>=1\.13\.3)|typing-extensions|(torch|triton)==[\w.]+"
)
OWN_SETTINGS: Mapping[tuple[str, ...], tuple[object, ...]] = {
    ("tool", "uv", "package"): (False,),
    ("tool", "uv", "default-groups"): ([],),
    ("tool", "uv", "environments"): (["sys_platform == 'linux' and platform_machine == 'x86_64'"],),
    ("tool", "uv", "exclude-dependencies"): (["torch", "torchaudio", "torchvision"],),
}
SOURCES = ("tool", "uv", "sources")
LISTS = {
    ("project", "dependencies"),
    *(("dependency-groups", group) for group in ("dev", *OWN_GROUPS)),
}
OWN_PYTHON = re.compile(r"==\d+\.\d+\.\*|>=3\.10")
OWN_SPECS = re.compile(
    r"python=\d+\.\d+\.\*|pytorch(-gpu)?=[\w.]+|cuda-version=[\d.]+|pip>=25\.1|setuptools>=77"
)
OWN_SOURCES: Mapping[str, object] = {
    "project-requirements": {"path": "project"},
    **{name: {"index": "pytorch"} for name in ("torch", "torchaudio", "torchvision")},
}
# What a requirement can say of [tool.uv.sources].
IN_ADDRESS = {"git", "rev", "tag", "branch", "subdirectory", "url"}
ITEM = re.compile(r"\s*-\s+")
BEHIND = re.compile(r"[\s,\]}]*(#.*)")


class PipFile(NamedTuple):
    """What is the user's in dependencies/pyproject.toml.

    Attributes:
        main: requirements for all images.
        dev: requirements for dev only, the template's tools too.
        has_dev: whether there is a list for dev.
        notes: what does not move, and why.
    """

    main: list[Line]
    dev: list[Line]
    has_dev: bool
    notes: list[str]


class CondaFile(NamedTuple):
    """What is the user's in an environment file.

    Attributes:
        specs: conda's lines, in environment-dev.yml the template's tools too.
        pip: lines of pip parts.
        channels: all but the template's.
        has_list: whether there is a list of packages.
        notes: what does not move, and why.
    """

    specs: list[Line]
    pip: list[Line]
    channels: list[str]
    has_list: bool
    notes: list[str]


# --- comments ------------------------------------------------------------------------------------


@cache
def comments_of_template(name: str) -> re.Pattern[str]:
    """The comments that the template writes into a file of dependencies/."""
    source = TEMPLATE / f"{name}.jinja"
    text = source.read_text("utf-8") if source.is_file() else ""
    found = re.findall(r"(?m)(?:^|[ \t])(#[^\n]*)", text)
    known = [".*".join(map(re.escape, re.split(r"\{\{.*?\}\}", one))) for one in found]
    return re.compile("|".join(known) or r"(?!)")


def comment_notes(comments: Iterable[str], moved: Iterable[Line], name: str) -> list[str]:
    """A note for each comment that is neither the template's nor on a line that moves."""
    with_lines = {one for line in moved for one in (line.behind, *line.above)}
    known = comments_of_template(name)
    return [
        f"{one}: a comment on no line that is moved"
        for one in comments
        if one not in with_lines and one.strip("# \t") and not known.fullmatch(one)
    ]


def without_template(line: Line, name: str) -> Line:
    """A line without comments of the template's above it."""
    known = comments_of_template(name)
    return line._replace(above=tuple(one for one in line.above if not known.fullmatch(one)))


# --- pyproject.toml ------------------------------------------------------------------------------


def read_pyproject(text: str, of_project: str = "", name: str = "pyproject.toml") -> PipFile:
    """What is the user's in dependencies/pyproject.toml.

    Args:
        text: the file.
        of_project: the copy of what the project itself requires; `lock` has written some of that
            into the file, which conda reads from the project too.
        name: what messages call the file.

    Raises:
        FileError: it is no TOML.
    """
    document = toml_text.read(text, name)
    groups = table_at(document.values, "dependency-groups")
    main = lines_of(text, document, ("project", "dependencies"))
    dev = lines_of(text, document, ("dependency-groups", "dev"))
    for group in OWN_GROUPS:
        lines = lines_of(text, document, ("dependency-groups", group))
        own = [line for line in lines if not OWN_LINES.fullmatch("".join(line.text.split()))]
        (dev if group == "project-dev" else main).extend(own)
    notes = []
    included = set(included_groups(groups, "dev"))
    for group in sorted(included):
        dev += lines_of(text, document, ("dependency-groups", group))
    main_groups = {one for group in OWN_GROUPS for one in included_groups(groups, group)}
    for group in sorted(main_groups - {"dev", *OWN_GROUPS, *included}):
        main += lines_of(text, document, ("dependency-groups", group))
        included.add(group)
    sources = table_at(document.values, *SOURCES)
    main, dev, more = with_sources(main, dev, sources)
    notes += more
    notes += list(settings_notes(document, included, of_project))
    main, dev = ([without_template(line, name) for line in lines] for lines in (main, dev))
    notes += comment_notes((one.text for one in document.comments), [*main, *dev], name)
    return PipFile(main, dev, isinstance(groups.get("dev"), list), notes)


def lines_of(text: str, document: Document, path: tuple[str, ...]) -> list[Line]:
    """The lines of a list, without blanks around them."""
    lines = toml_text.lines_at(text, document, path)
    return [line._replace(text=line.text.strip()) for line in lines if line.text.strip()]


def included_groups(groups: Mapping[str, Any], group: str) -> list[str]:
    """The groups that a group includes, by way of others too."""
    found: list[str] = []
    wanted = [group]
    while wanted:
        listed = groups.get(wanted.pop())
        for item in listed if isinstance(listed, list) else ():
            name = item.get("include-group") if isinstance(item, dict) else None
            if isinstance(name, str) and name in groups and name not in (*found, group):
                found.append(name)
                wanted.append(name)
    return [name for name in found if name not in OWN_GROUPS]


def with_sources(
    main: list[Line], dev: list[Line], sources: Mapping[str, Any]
) -> tuple[list[Line], list[Line], list[str]]:
    """The lines with the addresses of [tool.uv.sources], and notes on the sources that stay."""
    of = {pip_name(name): source for name, source in sources.items()}
    listed = {pip_name(line.text) for line in (*main, *dev)}
    notes = [
        f"[tool.uv.sources] {name} = {shown(source)}: {NO_PLACE}"
        for name, source in sources.items()
        if OWN_SOURCES.get(name) != source and not (pip_name(name) in listed and is_address(source))
    ]
    found: tuple[list[Line], list[Line]] = ([], [])
    for lines, moved in zip((main, dev), found, strict=True):
        for line in lines:
            source = of.get(pip_name(line.text))
            if is_local(source):
                notes.append(f"{line.text}: left out, as it is a file or folder of this project")
                continue
            text = with_address(line.text, source) if source else line.text
            if text != line.text and re.search(r"[<>=!~]", line.text.partition(";")[0]):
                notes.append(f"{line.text}: taken at its address, without its version")
            moved.append(line._replace(text=text))
    return *found, notes


def is_address(source: object) -> bool:
    """Whether a requirement can say all that a source does."""
    return isinstance(source, dict) and (
        source.keys() <= IN_ADDRESS
        and len({"git", "url"} & source.keys()) == 1
        and all(isinstance(value, str) for value in source.values())
    )


def is_local(source: object) -> bool:
    """Whether a package is in a folder, so that one of an index would be another."""
    found = source if isinstance(source, list) else [source]
    return any(isinstance(one, dict) and {"path", "workspace"} & one.keys() for one in found)


def with_address(line: str, source: Any) -> str:
    """A requirement with the address of its source, if it has none and the source is one."""
    match = REQUIREMENT.fullmatch(line)
    if match is None or (match["rest"] or "").startswith("@") or not is_address(source):
        return line
    version = source.get("rev") or source.get("tag") or source.get("branch")
    address = source.get("url") or f"git+{source['git']}{'@' + version if version else ''}"
    if "subdirectory" in source:
        address += f"#subdirectory={source['subdirectory']}"
    _, marked, marker = (match["rest"] or "").partition(";")
    return f"{match['name']}{match['extras'] or ''} @ {address}" + (f" ;{marker}" if marked else "")


def settings_notes(document: Document, included: set[str], of_project: str) -> Iterator[str]:
    """What pyproject.toml has beside lines: a note for each setting that is not the template's."""
    for path, value in settings(document.values):
        *tables, key = path
        where = f"[{'.'.join(tables)}] {key}" if tables else key
        if path == ("tool", "uv", "index"):
            yield from index_notes(value, of_project)
        elif path == ("project", "requires-python"):
            if not OWN_PYTHON.fullmatch(str(value)):
                yield f"{where} = {shown(value)}: an answer decides it"
        elif path[0] == "dependency-groups" and key in included:
            yield f"{where}: its packages are moved, but an environment file has no groups"
        elif path in LISTS:
            if not isinstance(value, list):
                yield f"{where} = {shown(value)}: it is no list"
        elif not (path[:3] == SOURCES or is_of_template(path, value, of_project)):
            yield f"{where} = {shown(value)}: {NO_PLACE}"


def is_of_template(path: tuple[str, ...], value: object, of_project: str) -> bool:
    """Whether a setting is the template's, or one that `lock` has taken over from the project."""
    if value == {} or path in (("project", "name"), ("project", "version")):
        return True
    lines = value if isinstance(value, list) else ()
    of_lock = all(isinstance(one, str) and json.dumps(one) in of_project for one in lines)
    return value in OWN_SETTINGS.get(path, ()) or (bool(lines) and of_lock)


def settings(values: Mapping[str, Any], *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The keys of a document with their values; tables are gone through, to three levels."""
    for key, value in values.items():
        if isinstance(value, dict) and value and len(path) < 3:  # noqa: PLR2004
            yield from settings(value, *path, key)
        else:
            yield (*path, key), value


def index_notes(indexes: object, of_project: str) -> Iterator[str]:
    """A note for each index that is neither the template's nor the project's own."""
    for index in indexes if isinstance(indexes, list) else [indexes]:
        one = index if isinstance(index, dict) else {"url": index}
        url = str(one.get("url", ""))
        if one.get("name") == "pytorch" and "://download.pytorch.org/" in url:
            continue
        if not (url and url in of_project):
            yield f"[[tool.uv.index]] {shown(index)}: {NO_PLACE}"


def shown(value: object) -> str:
    """A value as TOML has it, on one line, without passwords, and not too long."""
    if isinstance(value, dict):
        text = f"{{ {', '.join(f'{key} = {shown(one)}' for key, one in value.items())} }}"
    elif isinstance(value, list):
        text = f"[{', '.join(map(shown, value))}]"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = json.dumps(value, ensure_ascii=False)
    text = without_secret(text)
    return f"{text[:MOST_LETTERS]}..." if len(text) > MOST_LETTERS else text


# --- environment files ---------------------------------------------------------------------------


def read_environment(text: str, name: str, project: str = "") -> CondaFile:
    """What is the user's in an environment file.

    Args:
        text: the file.
        name: what messages call the file.
        project: the name that the template gives to the environment.

    Raises:
        FileError: it is no YAML, or no mapping.
    """
    root = compose(text, name)
    pip: list[Line] = []
    specs: list[Line] = []
    channels: list[str] = []
    notes: list[str] = []
    has_list = False
    for key, value in root.value if root else ():
        title = str(getattr(key, "value", ""))
        if title == "dependencies":
            has_list = True
            marker = MARKER.search(text, key.end_mark.index)
            until = marker.start() if marker else len(text)
            for node in items(value):
                owned = node.start_mark.index < until
                read_item(text, node, owned=owned, found=(specs, pip, notes))
        elif title == "channels":
            channels += channels_of(items(value))
        elif title == "name":
            if project and getattr(value, "value", "") != project:
                notes.append(f"name: {source_of(text, value)}: pip's files have no name")
        else:
            why = conda_files.other_key(title, keys_of(value)).reason
            notes.append(f"{title}: {why or 'left out, as pip has no such part'}")
    specs = [without_template(line, name) for line in specs]
    pip = [without_template(line, name) for line in pip]
    notes += comment_notes(comments_in(text), [*specs, *pip], name)
    return CondaFile(specs, pip, channels, has_list, notes)


def items(value: yaml.Node) -> list[yaml.Node]:
    """The items of a list; a value that is none is one item, nothing is none."""
    if isinstance(value, yaml.SequenceNode):
        return list(value.value)
    empty = isinstance(value, yaml.ScalarNode) and value.value in ("", "~", "null")
    return [] if empty else [value]


def read_item(
    text: str, node: yaml.Node, *, owned: bool, found: tuple[list[Line], list[Line], list[str]]
) -> None:
    """Note what an item of `dependencies:` is: a spec, or a pip part.

    Args:
        text: the file.
        node: the item.
        owned: whether it is where the template has its lines.
        found: the specs, the lines of pip parts and the notes.
    """
    specs, pip, notes = found
    if isinstance(node, yaml.ScalarNode):
        line = line_at(text, node)
        if line.text and not (owned and OWN_SPECS.fullmatch(line.text.replace(" ", ""))):
            specs.append(line)
        return
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    for key, value in pairs:
        if getattr(key, "value", None) != "pip":
            notes.append(f"{source_of(text, key)}: {source_of(text, value)}: no packages of conda")
            continue
        for one in items(value):
            if isinstance(one, yaml.ScalarNode):
                pip += [line_at(text, one)] if one.value.strip() else []
            else:
                notes.append(f"{source_of(text, one)}: no requirement")
    if not pairs:
        notes.append(f"{source_of(text, node)}: no package")


def line_at(text: str, node: yaml.ScalarNode) -> Line:
    """A scalar as a line with its comments."""
    rows = text.split("\n")
    number = node.start_mark.line
    begin = text.rfind("\n", 0, node.start_mark.index) + 1
    above: list[str] = []
    if ITEM.fullmatch(text[begin : node.start_mark.index]):
        while number - len(above) > 0:
            row = rows[number - len(above) - 1].strip()
            if not row.startswith("#") or MARKER.match(row):
                break
            above.insert(0, row)
    end = text.find("\n", node.end_mark.index)
    behind = BEHIND.fullmatch(text[node.end_mark.index : end if end >= 0 else len(text)].rstrip())
    line = " ".join(node.value.split())
    return Line(line, number + 1, behind[1] if behind else "", tuple(above))


def source_of(text: str, node: yaml.Node) -> str:
    """How a node is written, on one line."""
    source = " ".join(text[node.start_mark.index : node.end_mark.index].split())
    source = without_secret(source)
    return f"{source[:MOST_LETTERS]}..." if len(source) > MOST_LETTERS else source


def channels_of(nodes: Iterable[yaml.Node]) -> list[str]:
    """The channels, without the template's and without passwords."""
    names = [" ".join(str(getattr(node, "value", "")).split()) for node in nodes]
    return [without_secret(name) for name in names if name not in {FORGE, NO_DEFAULTS, ""}]


def comments_in(text: str) -> list[str]:
    """The comments of a YAML file."""
    return [match.rstrip() for match in re.findall(r"(?m)(?:^|[ \t])(#.*)$", text)]
