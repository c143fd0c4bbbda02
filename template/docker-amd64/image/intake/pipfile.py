"""A Pipfile, and packages as tables of TOML name them.

https://pipenv.pypa.io/en/latest/pipfile.html
"""

from __future__ import annotations

from typing import Any

from .found import DEV, INDEX, MAIN, Place, left_out, unreadable
from .pip_files import Reading, index_verdict, read_line
from .text import load
from .toml_files import key_lines, line_of, table_of, texts_in, values_of

SECTIONS = {"packages": MAIN, "dev-packages": DEV}
NO_PACKAGES = {"source", "requires", "scripts", "pipenv"}
# Keys of a package that are markers by another name.
MARKERS = (
    *(
        "sys_platform",
        "os_name",
        "platform_machine",
        "platform_system",
        "platform_python_implementation",
    ),
    *("python_version", "python_full_version", "implementation_name"),
)

# What a package is described by; a table without any of these is something else.
KEYS = {
    *("version", "extras", "git", "file", "url", "path", "editable_path", "index", "markers"),
    *MARKERS,
}


def read_file(reading: Reading, name: str) -> None:
    """Read a Pipfile.

    Raises:
        FileError: it cannot be read.
    """
    text = load(reading.root / name, name)
    values, lines = values_of(text, name), key_lines(text)
    group = reading.group
    read_sources(reading, name, values, lines)
    requires = table_of(values, "requires")
    for key in ("python_version", "python_full_version"):
        if key in requires:
            place = Place(name, line_of(lines, "requires", key))
            read_line(reading, place, f"python=={requires[key]}")
    for section, packages in values.items():
        if section in NO_PACKAGES or not isinstance(packages, dict):
            continue
        reading.group = DEV if SECTIONS.get(section) == DEV else group
        for key, value in packages.items():
            place = Place(name, line_of(lines, section, key))
            line = requirement_of(key, value)
            if section not in SECTIONS:
                why = f"as [{section}] is neither [packages] nor [dev-packages]"
                reading.add(place, line or key, left_out(why))
            elif line:
                read_line(reading, place, line)
            else:
                reading.add(place, key, unreadable("it names no version and no address"))
    reading.group = group


def read_sources(
    reading: Reading, name: str, values: dict[str, Any], lines: dict[tuple[str, str], int]
) -> None:
    """Note the indexes: the first is the default."""
    sources = values.get("source", [])
    for count, source in enumerate(sources if isinstance(sources, list) else []):
        for address in texts_in(table_of(source).get("url", [])):
            verdict = index_verdict(address, reading.wanted, INDEX, extra=count > 0)
            reading.add(Place(name, line_of(lines, "source", "url")), address, verdict)


def requirement_of(name: str, value: Any) -> str:
    """A package of a table as a requirements file writes it; "" where nothing can be made of it."""
    if isinstance(value, str):
        return f"{name}{version_of(value)}"
    if not isinstance(value, dict) or not value.keys() & KEYS:
        return ""
    for key in ("path", "editable_path"):
        if isinstance(value.get(key), str):
            return f"-e {value[key]}"
    extras = ",".join(texts_in(value.get("extras", [])))
    start = f"{name}[{extras}]" if extras else name
    address = address_of(value)
    line = f"{start} @ {address}" if address else f"{start}{version_of(value.get('version', '*'))}"
    markers = [str(value["markers"])] if value.get("markers") else []
    markers += [f"{key} {value[key]}" for key in MARKERS if isinstance(value.get(key), str)]
    line = f"{line} ; {' and '.join(markers)}" if markers else line
    if value.get("editable"):
        line = f"-e {line}"
    return f"{line} --index={value['index']}" if value.get("index") else line


def version_of(value: Any) -> str:
    """A version clause: * is any, and a bare version is this one."""
    text = str(value).strip()
    if text in {"*", ""}:
        return ""
    return text if text.startswith(("=", "<", ">", "!", "~")) else f"=={text}"


def address_of(value: dict[str, Any]) -> str:
    """The address of a package, "" without one."""
    if isinstance(value.get("git"), str):
        git = value["git"].removeprefix("git+")
        version = next((value[key] for key in ("ref", "rev", "tag", "branch") if key in value), "")
        folder = value.get("subdirectory", "")
        return f"git+{git}{f'@{version}' if version else ''}" + (
            f"#subdirectory={folder}" if folder else ""
        )
    found = texts_in([value.get("file"), value.get("url")])
    return found[0] if found else ""
