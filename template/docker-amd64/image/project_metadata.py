"""What a Python project declares that it needs, wherever it declares it.

[project] is read as it is, [tool.poetry] by poetry-core (project_declared.py). setup.py, setup.cfg
and a [project] whose dependencies are dynamic are left to the project's own build backend
(project_backend.py).
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from intake.pip_files import OF_PYTORCH
from local_projects import projects_below
from project_backend import build_requirements, from_backend, texts_of
from project_declared import (
    FILES,
    Declared,
    MetadataError,
    from_poetry,
    index_of,
    names_in,
    own_name,
    read_toml,
    requirement,
    static,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from packaging.requirements import Requirement

# Lists of [tool.uv] that uv reads at the root of a workspace only.
CONSTRAINTS, FIND_LINKS = "constraint-dependencies", "find-links"
LIMITS = (CONSTRAINTS, "override-dependencies", FIND_LINKS)
# Tables of [tool.uv] on packages without wheels, likewise.
BUILDS, STATED = "extra-build-dependencies", "dependency-metadata"
OF_SETUP, REQUIRES = ("setup.py", "setup.cfg"), "install_requires"
PYPI = re.compile(r"https?://(pypi\.org|pypi\.python\.org)(/|$)")


def kind_of(folder: Path) -> str:
    """Who says what the project in a folder needs: static, poetry, backend, or "" for nobody.

    Raises:
        MetadataError: pyproject.toml cannot be read.
    """
    toml = read_toml(folder / "pyproject.toml")
    project, tool = toml.get("project"), toml.get("tool", {})
    if "poetry" in tool and (
        project is None
        or "dependencies" in project.get("dynamic", ())
        or {"group", "dev-dependencies"} & tool["poetry"].keys()
    ):
        return "poetry"
    if project is not None:
        dynamic = {"dependencies", "optional-dependencies"} & set(project.get("dynamic", ()))
        return "backend" if dynamic else "static"
    setup_cfg = folder / "setup.cfg"
    declares = setup_cfg.is_file() and re.search(
        r"(?m)^\[(metadata|options)\]", setup_cfg.read_text("utf-8", "replace")
    )
    if (folder / "setup.py").is_file() or declares or "flit" in tool:
        return "backend"
    return "static" if members(folder, toml) or "dependency-groups" in toml else ""


def main_file(folder: Path) -> str:
    """The file that says what the project needs, as its author would name it."""
    with contextlib.suppress(MetadataError):
        if kind_of(folder) == "backend":
            listing = [one for one in OF_SETUP if REQUIRES in text_in(folder / one)]
            there = [one for one in (*OF_SETUP, FILES[0]) if (folder / one).is_file()]
            return next(iter([*listing, *there]), FILES[0])
    return FILES[0]


def text_in(file: Path) -> str:
    """The text of a file, "" where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def members(folder: Path, toml: Mapping[str, Any]) -> dict[str, Path]:
    """The members of a uv workspace: normalised name to folder."""
    workspace = toml.get("tool", {}).get("uv", {}).get("workspace", {})
    left_out = {path for one in workspace.get("exclude", ()) for path in folder.glob(one)}
    found = {}
    for pattern in workspace.get("members", ()):
        for path in sorted(set(folder.glob(pattern)) - left_out):
            with contextlib.suppress(MetadataError):
                name = own_name(read_toml(path / "pyproject.toml"))
                if name:
                    found[name] = path
    return found


def path_of(parsed: Requirement, source: object, folder: Path, siblings: Mapping[str, Path]) -> str:
    """The folder or file that a requirement means, "" where it is from an index or an address."""
    name = str(canonicalize_name(parsed.name))
    for entry in source if isinstance(source, list) else [source]:
        if isinstance(entry, dict) and entry.get("workspace"):
            return str(siblings.get(name, folder / name))
        if isinstance(entry, dict) and "path" in entry:
            return str(folder / entry["path"])
    if parsed.url and parsed.url.startswith("file:"):
        return str(folder / re.sub(r"^file:(//(localhost)?)?", "", parsed.url))
    return ""


def named_indexes(sources: Mapping[str, Any]) -> set[str]:
    """The names of the indexes that sources name."""
    entries = [
        entry for one in sources.values() for entry in (one if isinstance(one, list) else [one])
    ]
    return {entry["index"] for entry in entries if isinstance(entry, dict) and "index" in entry}


def uv_sources(toml: Mapping[str, Any]) -> dict[str, Any]:
    """[tool.uv.sources] of a pyproject.toml by normalised name."""
    sources = toml.get("tool", {}).get("uv", {}).get("sources", {})
    return {str(canonicalize_name(name)): one for name, one in sources.items()}


class Reader:
    """Reads what the code in a folder needs, and the folders in it that it depends on."""

    def __init__(self, root: Path, torch: str = "", python: str = "", names: Iterable[str] = ()):
        """Take the folder of the code, and what decides what is read.

        Args:
            root: the folder.
            torch: the version of the module that stands for torch.
            python: that of the images, such as 3.12; "" for the one that runs this.
            names: extras and groups of the code itself that are wanted.
        """
        self.root = root.resolve()
        self.torch = torch
        self.python = python
        self.names = (*names,)
        self._below: dict[str, Path] | None = None

    def below(self) -> dict[str, Path]:
        """The projects in the folders of the code, by their names; looked for once."""
        if self._below is None:
            self._below = projects_below(self.root, lambda file: self.toml_of(file.parent))
        return self._below

    def read(self) -> Declared:
        """What the code needs."""
        found = self.declared(self.root)
        toml = self.toml_of(self.root)
        if "project" not in toml:  # a uv workspace may have none at its root
            for path in members(self.root, toml).values():
                found.add(self.declared(path, above=(self.root,)))
        uv = toml.get("tool", {}).get("uv", {})
        found.limits = {
            key: [line for line in uv[key] if isinstance(line, str)] for key in LIMITS if key in uv
        }
        take_pages(found, toml)
        take_builds(found, uv, self.torch)
        known = names_in(found.requires)
        found.requires += [
            line for line in build_requirements(toml) if not names_in([line]) <= known
        ]
        return found

    def toml_of(self, folder: Path) -> dict[str, Any]:
        """The pyproject.toml of a folder, {} where it cannot be read."""
        try:
            return read_toml(folder / "pyproject.toml")
        except MetadataError:
            return {}

    def declared(
        self, folder: Path, extras: Iterable[str] = (), above: tuple[Path, ...] = ()
    ) -> Declared:
        """What a project needs; `above` are the projects that led here."""
        here = folder.relative_to(self.root)
        try:
            kind = kind_of(folder)
            found = self.own(kind, folder, extras)
        except MetadataError as error:
            kind, found = "backend", Declared(failures=[str(error)])
        found.files += [(here / name).as_posix() for name in FILES]
        if kind == "backend":
            take_indexes_of_lists(found, folder, self.torch)
            found.files += [path.relative_to(self.root).as_posix() for path in texts_of(folder)]
        sources: dict[str, Any] = {}
        siblings: dict[str, Path] = {}
        for parent in (*above, folder):  # what a workspace says counts for its members
            toml = self.toml_of(parent)
            sources.update(uv_sources(toml))
            siblings.update(members(parent, toml))
        for lines in (found.requires, found.dev):
            lines[:] = self.without_paths(found, lines, (sources, siblings), (*above, folder))
        for name in sorted(names_in([*found.requires, *found.dev]) & sources.keys()):
            found.sources.setdefault(name, sources[name])
        take_indexes(found, self.toml_of(folder))
        return found

    def own(self, kind: str, folder: Path, extras: Iterable[str]) -> Declared:
        """What the metadata of one folder says.

        Raises:
            MetadataError: it cannot be read.
        """
        toml = read_toml(folder / "pyproject.toml")
        names = self.names if folder == self.root else ()
        extras = (*extras, *names)
        if kind == "poetry":
            return from_poetry(folder, names)
        if kind != "backend":
            return static(toml, extras, names)
        found = from_backend(self.root, folder, extras, torch=self.torch, python=self.python)
        groups = static({**toml, "project": {}}, (), names)
        found.requires += groups.requires
        found.offered |= groups.offered
        found.dev += groups.dev
        found.untaken += groups.untaken
        return found

    def without_paths(
        self,
        found: Declared,
        lines: Iterable[str],
        places: tuple[Mapping[str, Any], Mapping[str, Path]],
        above: tuple[Path, ...],
    ) -> list[str]:
        """The requirements, where a folder beside the project is replaced by what that needs."""
        sources, siblings = places
        kept: list[str] = []
        for line in lines:
            parsed = requirement(line)
            if parsed is None:
                found.notes.append(f"{line}: left out, it is not a requirement.")
                continue
            source = sources.get(str(canonicalize_name(parsed.name)))
            text = path_of(parsed, source, above[-1], siblings)
            if not text and source is None and not parsed.url:
                text = str(self.below().get(str(canonicalize_name(parsed.name)), ""))
            if not text:
                kept.append(line)
                continue
            path = Path(text).resolve()
            shown = os.path.relpath(path, self.root)
            if not path.is_dir() or not path.is_relative_to(self.root):
                found.notes.append(f"{parsed.name}: left out, builds do not have {shown}.")
            elif path not in above:
                more = self.declared(path, parsed.extras, above)
                kept += more.requires
                more.requires = []
                found.add(more)
                found.notes.append(
                    f"{parsed.name}: the images get what {shown} requires, and Python finds its "
                    "modules there."
                )
        return kept


def uv_indexes(toml: Mapping[str, Any]) -> list[dict[str, Any]]:
    """[[tool.uv.index]] of a pyproject.toml."""
    found: list[dict[str, Any]] = toml.get("tool", {}).get("uv", {}).get("index", [])
    return found


def declared_indexes(toml: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The indexes that uv, in both of its forms, and PDM ask.

    Their default index is one of them: UV_DEFAULT_INDEX of .env is that of the machine.
    """
    tool = toml.get("tool", {})
    uv = tool.get("uv", {})
    found = [
        index_of(one["url"], one.get("name", ""), explicit=bool(one.get("explicit")))
        for one in (*uv_indexes(toml), *tool.get("pdm", {}).get("source", ()))
        if one.get("url") and one.get("type") != "find_links"
    ]
    urls = [*uv.get("extra-index-url", ()), uv.get("index-url", "")]
    found += [index_of(url) for url in urls if url]
    return [one for one in found if not PYPI.match(one["url"]) or "name" in one]


def take_indexes(found: Declared, toml: Mapping[str, Any]) -> None:
    """Take the indexes that sources name, and those for all packages."""
    for index in declared_indexes(toml):
        if index not in found.indexes:
            found.indexes.append(index)


def take_indexes_of_lists(found: Declared, folder: Path, torch: str) -> None:
    """Take the further indexes of the lists that a build backend has read.

    setup.py can say which packages it needs, and not where they are. The answers decide the index
    of PyTorch.
    """
    required = names_in(found.requires)
    for file in texts_of(folder):
        text = file.read_text("utf-8", "replace")
        if not names_in(text.splitlines()) & required:
            continue
        for address in re.findall(r"(?m)^\s*--extra-index-url[\s=]+(\S+)", text):
            index = index_of(address)
            known = PYPI.match(address) or (torch and OF_PYTORCH.match(address))
            if not known and index not in found.indexes:
                found.indexes.append(index)


def take_pages(found: Declared, toml: Mapping[str, Any]) -> None:
    """Take the pages of links to packages that uv and PDM look at, without folders."""
    of_pdm = toml.get("tool", {}).get("pdm", {}).get("source", ())
    pages = [*found.limits.get(FIND_LINKS, ())]
    pages += [str(one.get("url", "")) for one in of_pdm if one.get("type") == "find_links"]
    folders = [page for page in pages if not re.match(r"https?://", page)]
    if folders:
        found.notes.append(f"find-links {', '.join(folders)}: left out, builds do not have it.")
    kept = [page for page in pages if page not in folders]
    found.limits.pop(FIND_LINKS, None)
    if kept:
        found.limits[FIND_LINKS] = kept


def take_builds(found: Declared, uv: Mapping[str, Any], torch: str) -> None:
    """Take what [tool.uv] says of packages that are built."""
    builds = {str(canonicalize_name(name)): one for name, one in uv.get(BUILDS, {}).items()}
    # uv locks where nothing is installed. What people turn the isolation off for is PyTorch.
    for name in uv.get("no-build-isolation-package", ()) if torch else ():
        if str(canonicalize_name(name)) not in builds:
            builds[str(canonicalize_name(name))] = ["torch"]
            found.notes.append(f"{name}: built with torch, in place of no-build-isolation-package.")
    stated = uv.get(STATED, [])
    found.tables = {key: one for key, one in ((BUILDS, builds), (STATED, stated)) if one}
