"""Says that a file of the project asks for another Python than the answer.

The question follows .python-version and environment files as far as the template has what they ask
for. It has no trust, and Copier hands it YAML only, so TOML is read here.
"""

from __future__ import annotations

import configparser
import json
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from intake import discovery, reader
from intake.found import Wanted
from intake.names import SPEC, name_of, pip_version, without_build

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATCHES = 40  # of one minor version, more than any has


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; {} if it cannot be read: Python 3.10 has no tomllib."""
    try:
        content: dict[str, Any] = import_module("tomllib").loads(path.read_text("utf-8-sig"))
    except (ImportError, OSError, ValueError):
        return {}
    return content


def poetry_specifier(text: str) -> str:
    """A constraint of Poetry as pip writes it: ^3.10 is >=3.10,<4."""
    parts = []
    for part in text.split(","):
        version = part.strip().lstrip("^~=v ")
        if part.strip().startswith("^"):
            parts += [f">={version}", f"<{int(version.split('.')[0]) + 1}"]
        elif part.strip()[:1] == "~" and part.strip()[1:2] != "=":
            parts.append(f"=={'.'.join(version.split('.')[:2])}.*")
        elif part.strip()[:1].isdigit():
            parts.append(f"=={version}{'' if version.count('.') > 1 or '*' in version else '.*'}")
        elif part.strip() != "*":
            parts.append(part.strip())
    return ",".join(parts)


def wanted(code: Path, manager: str) -> Iterator[tuple[str, str]]:
    """The files of a code folder that say which Python it needs, and what they say."""
    toml = read_toml(code / "pyproject.toml")
    project = toml.get("project", {}).get("requires-python")
    poetry = toml.get("tool", {}).get("poetry", {}).get("dependencies", {}).get("python")
    if isinstance(project, str):
        yield "pyproject.toml", project
    elif isinstance(poetry, str):
        yield "pyproject.toml", poetry_specifier(poetry)
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read(code / "setup.cfg", encoding="utf-8")
        if config.has_option("options", "python_requires"):
            yield "setup.cfg", config.get("options", "python_requires")
    except (configparser.Error, UnicodeDecodeError):
        pass
    pipfile = read_toml(code / "Pipfile").get("requires", {}).get("python_version")
    if isinstance(pipfile, str):
        yield "Pipfile", f"=={pipfile}.*"
    yield from of_version_file(code / ".python-version")
    if manager == "pip":  # of what conda imports, each line is judged
        yield from of_environment(code)


def of_version_file(file: Path) -> Iterator[tuple[str, str]]:
    """What .python-version says, in its first line."""
    text = file.read_text("utf-8", "replace") if file.is_file() else ""
    if found := re.match(r"(?:\s*#.*\n)*\s*(?:cpython-|python-)?(3\.\d+)", text):
        yield file.name, f"=={found[1]}.*"


def of_environment(code: Path) -> Iterator[tuple[str, str]]:
    """What the environment file or the manifest of pixi says that conda would take."""
    files = discovery.discover(code, ".", "conda")
    first = next((file for file in files if file.kind in {"environment", "pixi"}), None)
    for entry in reader.read(code, [first], Wanted("conda")).entries if first else ():
        match = SPEC.fullmatch(without_build(entry.text))
        if match and name_of(entry.text) == "python" and (version := pip_version(match[3] or "")):
            yield entry.place.file, version


def fits(minor: str, specifier: SpecifierSet) -> bool:
    """Whether some release of a minor version is allowed."""
    return any(specifier.contains(f"{minor}.{patch}") for patch in range(PATCHES))


def lines(
    project: Path, code_dir: str, python: str, command: str, manager: str = "pip"
) -> list[str]:
    """One line if a file asks for another Python than `python`.

    Args:
        project: the root folder of the project.
        code_dir: the folder of the code, seen from there.
        python: the answer; "" if the base image decides.
        command: that changes an answer, such as `./docker-amd64/template.sh update --data`.
        manager: pip or conda.
    """
    for name, text in wanted(project / code_dir, manager) if python else ():
        try:
            specifier = SpecifierSet(text)
        except InvalidSpecifier:
            continue
        if fits(python, specifier):
            continue
        file = project / "docker-amd64/host/project.json"
        offered = json.loads(file.read_text("utf-8")).get("offered", {}).get("python_version", [])
        said = f"{name} asks for Python {text}, and python_version is {python}."
        better = next((version for version in offered if fits(version, specifier)), "")
        if better:
            return [f"{said} {command} python_version={better}"]
        return [f"{said} The template has no such Python for this PyTorch."]
    return []
