"""The projects in the folders of the code, which its requirements may mean by their names.

Research code often has a second package in a folder, which its readers install by hand.
The tools and the images run this, so it reads files as texts and needs nothing but Python.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Toml = Callable[[Path], dict[str, Any]]

DEPTH = 3  # folders below the code folder
MOST_FOLDERS = 2000
FILES = {"pyproject.toml", "setup.cfg", "setup.py"}
# Folders with data, with the code of somebody else, and with projects that only try something out.
SKIPPED = re.compile(
    r"\..*|_.*|(?:.*[_-])?tests?|examples?|docs?|data(?:sets)?|outputs?|docker-amd64|node_modules|"
    r"site-packages|build|dist|venv|workspaces|third[_-]?party|externals?|vendor|submodules"
)


def normalised(name: str) -> str:
    """A name of a package, as indexes have it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def projects_below(code: Path, read_toml: Toml) -> dict[str, Path]:
    """The projects in the folders of the code, by their normalised names.

    A name that two folders have is neither's.

    Args:
        code: the folder of the code.
        read_toml: gives the content of a TOML file, {} where it cannot be read.
    """
    found: dict[str, list[Path]] = {}
    for folder in folders_below(code):
        name = normalised(own_name(folder, read_toml(folder / "pyproject.toml")))
        if name:
            found.setdefault(name, []).append(folder)
    return {name: folders[0] for name, folders in found.items() if len(folders) == 1}


def folders_below(code: Path) -> Iterator[Path]:
    """The folders that have a file of a project."""
    left = MOST_FOLDERS
    for folder, folders, files in os.walk(code):
        here = Path(folder)
        depth = len(here.relative_to(code).parts)
        left -= 1
        folders[:] = sorted(name for name in folders if not SKIPPED.fullmatch(name.lower()))
        if depth == DEPTH or left <= 0:
            folders.clear()
        # pyvenv.cfg is at the root of a virtual environment.
        if "pyvenv.cfg" in files:
            folders.clear()
        elif depth and FILES & set(files):
            yield here


def own_name(folder: Path, toml: dict[str, Any]) -> str:
    """The name of the project in a folder, "" where only a program knows it."""
    for table in (toml.get("project", {}), toml.get("tool", {}).get("poetry", {})):
        if isinstance(table, dict) and isinstance(table.get("name"), str):
            return str(table["name"])
    with contextlib.suppress(OSError, configparser.Error):
        config = configparser.ConfigParser(interpolation=None)
        config.read_string((folder / "setup.cfg").read_text("utf-8", "replace"))
        if name := config.get("metadata", "name", fallback=""):
            return name
    try:
        tree = ast.parse((folder / "setup.py").read_text("utf-8", "replace"))
    except (OSError, SyntaxError, ValueError):
        return ""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    for call in calls:
        for keyword in (
            call.keywords
            if (getattr(call.func, "id", "") or getattr(call.func, "attr", "")) == "setup"
            else ()
        ):
            value = keyword.value
            if keyword.arg == "name" and isinstance(value, ast.Constant):
                return str(value.value)
    return ""
