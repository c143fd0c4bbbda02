"""What a Python project declares that it needs, wherever it declares it.

[project] is read as it is, [tool.poetry] by poetry-core. setup.py, setup.cfg and a [project] whose
dependencies are dynamic are left to the project's own build backend, which is asked for the
metadata (PEP 517) in a copy of the small files: the code itself is mounted read-only.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What may say that a folder is a project.
FILES = ("pyproject.toml", "setup.cfg", "setup.py")
# Lists of [tool.uv] that uv reads at the root of a workspace only.
CONSTRAINTS, FIND_LINKS = "constraint-dependencies", "find-links"
LIMITS = (CONSTRAINTS, "override-dependencies", FIND_LINKS)
# Tables of [tool.uv] on packages without wheels, likewise.
BUILDS, STATED = "extra-build-dependencies", "dependency-metadata"
# Extras and groups of these names are for those who work on the project.
DEV = ("dev", "develop", "development", "test", "tests", "testing")
# The build of a CUDA extension imports torch, at least to name the class of the extension. Metadata
# needs no gigabytes: a small module stands for it.
STOOD_FOR = {"torch", "torchaudio", "torchvision"}
# What a setup.py without build requirements may import, installed when it turns out to.
IMPORTED = {
    "pkg_resources": "setuptools<82",  # https://setuptools.pypa.io/en/latest/history.html#v82-0-0
    "Cython": "cython",
    "cmake": "cmake",
    "numpy": "numpy",
    "packaging": "packaging",
    "pybind11": "pybind11",
    "setuptools": "setuptools",
    "skbuild": "scikit-build",
    "wheel": "wheel",
}
TORCH = """\
import sys, types

class Nothing:
    def __getattr__(self, name): return Nothing()
    def __call__(self, *_, **__): return Nothing()
    def __bool__(self): return False
    def __iter__(self): return iter(())
    def __str__(self): return ""

def __getattr__(name):
    if name.startswith("__"): raise AttributeError(name)
    return Nothing()

__version__ = "VERSION"
version = types.SimpleNamespace(cuda=None, hip=None, __version__=__version__)
"""
EXTENSIONS = """\
from setuptools import Extension
from setuptools.command.build_ext import build_ext

CUDA_HOME = ROCM_HOME = None

class BuildExtension(build_ext):
    @classmethod
    def with_options(cls, **_): return cls

def extension(name, sources=(), **_): return Extension(name, list(sources))

def __getattr__(name):
    if name.startswith("__"): raise AttributeError(name)
    return extension if name.endswith("Extension") else lambda *_, **__: []
"""
# A version that comes from git is not what is asked for, and the copy has no .git.
WITHOUT_GIT = {
    "SETUPTOOLS_SCM_PRETEND_VERSION": "0",
    "PDM_BUILD_SCM_VERSION": "0",
    "PBR_VERSION": "0",
    "POETRY_DYNAMIC_VERSIONING_BYPASS": "0",
    "UV_DYNAMIC_VERSIONING_BYPASS": "0",
}
# Build backends and their plugins in pure Python. The images have them, so that the entrypoint
# can install the project without an index. Others, such as cython or meson-python, compile.
PURE_BACKENDS = {
    *("editables", "flit-core", "flit-scm", "hatch-fancy-pypi-readme", "hatch-vcs", "hatchling"),
    *("pbr", "pdm-backend", "poetry-core", "poetry-dynamic-versioning", "setuptools-scm"),
    *("setuptools-git-versioning", "uv-dynamic-versioning", "versioneer", "versioningit"),
}
# What a backend asks for beside its own name when it installs in editable mode.
FOR_EDITABLE = {"hatchling": "editables>=0.3"}
# Limits of the copy: no file of data, no folder with thousands of them.
LARGEST_FILE, MOST_IN_FOLDER, MOST_FILES = 1_000_000, 1000, 10_000
NOT_COPIED = {"data", "docker-amd64", "node_modules", "outputs", "__pycache__", "venv"}


PYPI = re.compile(r"https?://(pypi\.org|pypi\.python\.org)(/|$)")


class MetadataError(Exception):
    """Why a project does not tell what it needs."""


@dataclass
class Declared:
    """What a project declares.

    Attributes:
        requires: requirements in the form of PEP 508, what the project needs to run.
        dev: what those need who work on it.
        sources: [tool.uv.sources] of these by normalised name.
        indexes: as [[tool.uv.index]]: those that sources name, and those for all packages.
        limits: lists of [tool.uv] that decide versions, by their keys in LIMITS.
        tables: BUILDS and STATED of [tool.uv].
        files: what was read, relative to the root.
        untaken: names of extras and groups that were not taken.
        notes: sentences about what was left out.
        failures: why something could not be read.
    """

    requires: list[str] = field(default_factory=list)
    dev: list[str] = field(default_factory=list)
    sources: dict[str, Any] = field(default_factory=dict)
    indexes: list[dict[str, Any]] = field(default_factory=list)
    limits: dict[str, list[str]] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    untaken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Declared) -> None:
        """Take over what another project declares, but for its development."""
        self.requires += other.requires
        self.sources = {**other.sources, **self.sources}
        self.indexes += [index for index in other.indexes if index not in self.indexes]
        self.files += [name for name in other.files if name not in self.files]
        self.notes += other.notes
        self.failures += other.failures


def parse_toml(text: str) -> dict[str, Any]:
    """The content of a TOML text. Raises ValueError."""
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    content: dict[str, Any] = import_module(name).loads(text)
    return content


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file, {} where there is none.

    Raises:
        MetadataError: it cannot be read.
    """
    try:
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise MetadataError(f"{path.name} cannot be read: {error}") from error


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
            return next((one for one in reversed(FILES) if (folder / one).is_file()), FILES[0])
    return FILES[0]


# --- [project] and [tool.poetry] -----------------------------------------------------------------


def own_name(toml: Mapping[str, Any]) -> str:
    """The normalised name of the project, "" where it has none."""
    return str(canonicalize_name(str(toml.get("project", {}).get("name", ""))))


def requirement(line: str) -> Requirement | None:
    """A parsed requirement, None where it is none."""
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def group_lines(groups: Mapping[str, Any], name: str, above: tuple[str, ...] = ()) -> list[str]:
    """The requirements of a dependency group with those that it includes (PEP 735)."""
    by_name = {str(canonicalize_name(one)): lines for one, lines in groups.items()}
    name = str(canonicalize_name(name))
    found: list[str] = []
    for entry in by_name.get(name, ()) if name not in above else ():
        if isinstance(entry, str):
            found.append(entry)
        elif isinstance(entry, dict) and "include-group" in entry:
            found += group_lines(groups, str(entry["include-group"]), (*above, name))
    return found


def with_extras(
    lines: Iterable[str], name: str, optional: Mapping[str, list[str]], above: tuple[str, ...] = ()
) -> list[str]:
    """The lines, where the project's own extras (`all = ["x[a,b]"]`) are replaced by theirs."""
    found: list[str] = []
    for line in lines:
        parsed = requirement(line)
        if parsed and str(canonicalize_name(parsed.name)) == name:
            for extra in sorted(parsed.extras - set(above)):
                more = optional.get(extra, [])
                found += with_extras(more, name, optional, (*above, extra))
        else:
            found.append(line)
    return found


def static(toml: Mapping[str, Any], extras: Iterable[str] = ()) -> Declared:
    """What [project] and the groups beside it say."""
    project, uv = toml.get("project", {}), toml.get("tool", {}).get("uv", {})
    optional = project.get("optional-dependencies", {})
    groups = dict(toml.get("dependency-groups", {}))
    # From before PEP 735.
    for name, lines in toml.get("tool", {}).get("pdm", {}).get("dev-dependencies", {}).items():
        groups.setdefault(name, lines)
    name = own_name(toml)
    wanted = [line for extra in extras for line in optional.get(extra, [])]
    dev = [line for one in groups if one in DEV for line in group_lines(groups, one)]
    dev += uv.get("dev-dependencies", [])
    dev += [line for extra in optional if extra in DEV for line in optional[extra]]
    others = [one for one in (*groups, *optional) if one not in DEV and one not in extras]
    return Declared(
        requires=with_extras([*project.get("dependencies", []), *wanted], name, optional),
        dev=with_extras(dev, name, optional),
        untaken=sorted(set(others)),
    )


def from_poetry(folder: Path) -> Declared:
    """What [tool.poetry] says.

    Raises:
        MetadataError: poetry-core cannot read it.
    """
    factory = import_module("poetry.core.factory").Factory()
    # It says that the folder of a path dependency is not there, and what is deprecated.
    logging.disable(logging.CRITICAL)
    try:
        poetry = factory.create_poetry(folder, with_groups=True)
    except Exception as error:
        raise MetadataError(f"Poetry cannot read pyproject.toml: {error}") from error
    finally:
        logging.disable(logging.NOTSET)
    found = Declared()
    named = {source["name"]: source for source in poetry.local_config.get("source", [])}
    for group in poetry.package.dependency_group_names(include_optional=True):
        if group != "main" and group not in DEV:
            found.untaken.append(group)
            continue
        for one in poetry.package.dependency_group(group).dependencies:
            if one.is_optional():
                continue
            line = str(Requirement(one.to_pep_508(with_extras=False)))
            (found.requires if group == "main" else found.dev).append(line)
            source = named.get(one.source_name or "")
            if source and source.get("url"):
                found.sources[str(canonicalize_name(one.name))] = {"index": source["name"]}
    found.untaken += sorted(poetry.package.extras)
    for source in named.values():
        if source.get("url"):  # PyPI has none
            explicit = source.get("priority") == "explicit"
            found.indexes.append(index_of(source["url"], source["name"], explicit=explicit))
    return found


# --- the build backend ---------------------------------------------------------------------------


def copy_small_files(source: Path, target: Path) -> None:
    """Copy what a build backend may read: sources and texts, no data."""
    left = MOST_FILES
    for folder, folders, files in os.walk(source):
        there = target / Path(folder).relative_to(source)
        there.mkdir(parents=True, exist_ok=True)
        folders[:] = [
            name
            for name in sorted(folders)
            if name[0] != "."
            and name not in NOT_COPIED
            and not Path(folder, name, "pyvenv.cfg").exists()
        ]
        for name in sorted(files)[:MOST_IN_FOLDER]:
            file = Path(folder, name)
            with contextlib.suppress(OSError):
                if left and file.is_file() and file.stat().st_size <= LARGEST_FILE:
                    shutil.copyfile(str(file), str(there / name))
                    left -= 1


def write_torch(folder: Path, version: str) -> None:
    """Write the module that stands for torch while a setup.py is run."""
    for name, text in (
        ("torch/__init__.py", TORCH.replace("VERSION", version or "0")),
        ("torch/utils/__init__.py", ""),
        ("torch/utils/cpp_extension.py", EXTENSIONS),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def without_torch(lines: Iterable[str]) -> list[str]:
    """The build requirements, but for those that a module stands for."""
    parsed = ((line, requirement(line)) for line in lines)
    return [
        line for line, one in parsed if not (one and str(canonicalize_name(one.name)) in STOOD_FOR)
    ]


def built_metadata(code: Path, torch: str) -> list[str]:
    """The lines Requires-Dist that the build backend of the code in a folder writes.

    Raises:
        MetadataError: it fails; with its last line.
    """
    build, environments = import_module("build"), import_module("build.env")
    failures = (build.BuildException, build.BuildBackendException)
    said: list[str] = []
    temporary = tempfile.TemporaryDirectory()
    stub, out = Path(temporary.name, "stub"), Path(temporary.name, "out")
    out.mkdir()
    write_torch(stub, torch)

    def runner(
        cmd: list[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None
    ) -> None:
        environment = {**os.environ, **WITHOUT_GIT, **(extra_environ or {})}
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [environment.get("PYTHONPATH"), str(stub)])
        )
        done = subprocess.run(
            cmd, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        said[:] = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        done.check_returncode()

    # What a backend warns about is for the authors of the project.
    with temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with environments.DefaultIsolatedEnv(installer="uv") as env:
                builder = build.ProjectBuilder(
                    str(code), python_executable=env.python_executable, runner=runner
                )
                env.install(without_torch(builder.build_system_requires))
                more = set(IMPORTED)
                while True:
                    try:
                        env.install(without_torch(builder.get_requires_for_build("wheel")))
                        folder = builder.prepare("wheel", str(out))
                        break
                    except failures:
                        name = re.search(r"No module named '(\w+)", said[-1] if said else "")
                        if not name or name[1] not in more:
                            raise
                        more.discard(name[1])
                        env.install([IMPORTED[name[1]]])
        except (subprocess.CalledProcessError, RuntimeError, OSError) as error:
            output = getattr(error, "stderr", None) or getattr(error, "stdout", None) or b""
            text = output.decode("utf-8", "replace") if isinstance(output, bytes) else output
            lines = [*said, *text.splitlines()] or [str(error)]
            raise MetadataError(lines[-1].strip()) from error
        except failures as error:
            raise MetadataError(said[-1].strip() if said else str(error)) from error
        if folder is None:
            raise MetadataError("its build backend tells no metadata without compiling")
        return PathDistribution(Path(folder)).requires or []


def split_extras(lines: Iterable[str], extras: Iterable[str], python: str = "") -> Declared:
    """Requires-Dist as a wheel has it, cut into what is always needed and what extras bring.

    Args:
        lines: requirements with markers on extras.
        extras: those that are wanted.
        python: that of the images, "" for the one that runs this.
    """
    found, others = Declared(), set()
    here = {"python_version": python, "python_full_version": f"{python}.0"} if python else {}
    for line in lines:
        parsed = requirement(line)
        if parsed is None:
            continue
        names = re.findall(r"\bextra == [\"']([^\"']+)[\"']", str(parsed.marker or ""))
        if not names:
            found.requires.append(line)
        elif parsed.marker and parsed.marker.evaluate({**here, "extra": names[0]}):
            # It holds for this Python and this system, which the image has too.
            parsed.marker = None
            if names[0] in extras:
                found.requires.append(str(parsed))
            elif names[0] in DEV:
                found.dev.append(str(parsed))
            else:
                others.add(names[0])
    found.untaken = sorted(others)
    return found


def written_in_setup(folder: Path) -> Declared | None:
    """What setup.py and setup.cfg say as a text, without running them; None where they do not."""
    found: Declared | None = None
    with contextlib.suppress(OSError, configparser.Error):
        config = configparser.ConfigParser(interpolation=None)
        config.read_string((folder / "setup.cfg").read_text("utf-8", "replace"))
        text = config.get("options", "install_requires", fallback="")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines and not lines[0].startswith("file:"):
            found = Declared(requires=lines)  # of setup.cfg
    try:
        tree = ast.parse((folder / "setup.py").read_text("utf-8", "replace"))
    except (OSError, SyntaxError, ValueError):
        return found
    names: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            with contextlib.suppress(ValueError):
                names[node.targets[0].id] = ast.literal_eval(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"setup", "setuptools.setup"}:
            for keyword in node.keywords:
                own = listed(keyword.value, names) if keyword.arg == "install_requires" else None
                found = Declared(requires=own) if own is not None else found
    return found


def listed(value: ast.expr, names: Mapping[str, Any]) -> list[str] | None:
    """A list that is written in a source, also under a name; None for anything else."""
    try:
        lines = names.get(value.id) if isinstance(value, ast.Name) else ast.literal_eval(value)
    except ValueError:
        return None
    return [str(line) for line in lines] if isinstance(lines, (list, tuple)) else None


def from_backend(
    root: Path, folder: Path, extras: Iterable[str], *, torch: str, python: str
) -> Declared:
    """What the build backend of a project says, else what can be read without it.

    Args:
        root: the folder of all code.
        folder: the one of the project.
        extras: those that are wanted.
        torch: the version of the module that stands for PyTorch.
        python: that of the images, "" for the one that runs this.

    Raises:
        MetadataError: neither says anything.
    """
    name = next(one for one in reversed(FILES) if (folder / one).is_file())
    shown = (folder / name).relative_to(root).as_posix()
    with tempfile.TemporaryDirectory() as temporary:
        # Under its own name: some backends look for a package of the name of the folder.
        copy = Path(temporary, folder.resolve().name or "project")
        copy_small_files(folder, copy)
        try:
            lines = built_metadata(copy, torch)
        except MetadataError as error:
            found = written_in_setup(folder)
            if found is None:
                raise MetadataError(f"{shown} does not tell what it needs: {error}") from error
            found.notes.append(
                f"{shown} could not be run ({error}): its install_requires was read as a text."
            )
            return found
        own = (line.replace(str(copy), str(folder)) for line in lines)
        return split_extras(own, extras, python)


def texts_of(folder: Path) -> list[Path]:
    """The files from which a build backend may take requirements."""
    return [*sorted(folder.glob("*.txt")), *sorted(folder.glob("requirements/*.txt"))]


def build_requirements(toml: Mapping[str, Any]) -> list[str]:
    """The build requirements that the images can have: pure Python, and no address."""
    lines = toml.get("build-system", {}).get("requires", [])
    found: list[str] = []
    for line in lines if isinstance(lines, list) else []:
        parsed = requirement(line) if isinstance(line, str) else None
        name = str(canonicalize_name(parsed.name)) if parsed and not parsed.url else ""
        if name in PURE_BACKENDS:
            found += [line, *([FOR_EDITABLE[name]] if name in FOR_EDITABLE else [])]
    return found


# --- all of it -----------------------------------------------------------------------------------


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


def names_in(lines: Iterable[str]) -> set[str]:
    """The normalised names of requirements."""
    return {str(canonicalize_name(one.name)) for one in map(requirement, lines) if one}


class Reader:
    """Reads what the code in a folder needs, and the folders in it that it depends on."""

    def __init__(self, root: Path, torch: str = "", python: str = ""):
        """Take the folder of the code, the version of the module that stands for torch, and Python.

        Python is that of the images, such as 3.12; "" for the one that runs this.
        """
        self.root = root.resolve()
        self.torch = torch
        self.python = python

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
        if kind == "poetry":
            return from_poetry(folder)
        if kind != "backend":
            return static(toml, extras)
        found = from_backend(self.root, folder, extras, torch=self.torch, python=self.python)
        groups = static({**toml, "project": {}})
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


def index_of(url: str, name: str = "", *, explicit: bool = False) -> dict[str, Any]:
    """An index as uv has it; one with an environment variable as its password has none."""
    address = re.sub(r"//[^/@]*\$\{[^/@]*@", "//", url)
    named = {"name": name} if name else {}
    return {**named, "url": address, **({"explicit": True} if explicit else {})}


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
