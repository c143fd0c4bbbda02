"""What the build backend of a project says that it needs (PEP 517).

It is asked in a copy of the small files: the code itself is mounted read-only. A setup.py that
cannot be run is read as a text.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from importlib import import_module
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from project_declared import DEV, FILES, Declared, MetadataError, normalised, requirement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
# A version that comes from git is not what is asked for, and the copy has no .git. Templates of
# uv-dynamic-versioning ask for its second and third number.
WITHOUT_GIT = {
    "SETUPTOOLS_SCM_PRETEND_VERSION": "0.0.0",
    "PDM_BUILD_SCM_VERSION": "0.0.0",
    "PBR_VERSION": "0.0.0",
    "POETRY_DYNAMIC_VERSIONING_BYPASS": "0.0.0",
    "UV_DYNAMIC_VERSIONING_BYPASS": "0.0.0",
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
    found, others, extras = Declared(), set(), normalised(extras)
    here = {"python_version": python, "python_full_version": f"{python}.0"} if python else {}
    for line in lines:
        parsed = requirement(line)
        if parsed is None:
            continue
        names = re.findall(r"\bextra == [\"']([^\"']+)[\"']", str(parsed.marker or ""))
        found.offered |= normalised(names)
        if not names:
            found.requires.append(line)
        elif parsed.marker and parsed.marker.evaluate({**here, "extra": names[0]}):
            # It holds for this Python and this system, which the image has too.
            parsed.marker = None
            if normalised(names[:1]) & extras:
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
