#!/usr/bin/env python3
"""Makes the code of the project importable: entrypoint.sh calls it at the first start.

    install_project.py CODE PREFIX

A Python project is installed in editable mode into PREFIX, with its own build requirements: those
of the environment if they fit, else downloaded ones. For other code, and if the installation fails,
a .pth file in PREFIX names the folders of the modules. It reaches every Python of the container;
PYTHONPATH of the entrypoint would not reach `exec`, and would hide modules of Python.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from pip._vendor.packaging.requirements import InvalidRequirement, Requirement

# python -I, so that no module of the code stands in for one of Python, leaves this folder out.
sys.path.append(str(Path(__file__).parent))
from local_projects import normalised, projects_below

# Backends whose version is that of git, and what hands it to them. The documentation of each:
# https://setuptools-scm.readthedocs.io/en/latest/overrides/, https://backend.pdm-project.org/metadata/,
# https://docs.openstack.org/pbr/latest/user/packagers.html, https://github.com/mtkennerly/poetry-dynamic-versioning,
# https://github.com/ninoseki/uv-dynamic-versioning
OF_GIT = re.compile(
    r"setuptools[_-]scm|hatch-vcs|flit[_-]scm|(poetry|uv)-dynamic-versioning|\bpbr\b|source = .scm."
)
HANDED_IN = (
    *("SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION", "PBR_VERSION"),
    *("POETRY_DYNAMIC_VERSIONING_BYPASS", "UV_DYNAMIC_VERSIONING_BYPASS"),
)
UNKNOWN = "0.0.0"
# What a backend asks for beside its own name when it installs in editable mode.
FOR_EDITABLE = {"hatchling": "editables>=0.3"}
NOT_DOWNLOADED = re.compile(
    r"Could not find a version|No matching distribution|Could not fetch URL"
)
CAUSE = re.compile(r"(?:[A-Za-z_][\w.]*(?:Error|Exception|Unavailable|Exit)\b|ERROR:|error:)")
# Lines of pip that say only that something went wrong.
VAGUE = re.compile(
    r"(?:error|ERROR): (?:subprocess-exited|metadata-generation|Failed to build|Failed building|"
    r"Exception)|.*CalledProcessError"
)
MOST_LINES = 3


def say(text: str) -> None:
    """Print a line of the entrypoint."""
    print(f"[entrypoint] {text}", file=sys.stderr, flush=True)


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file, {} where it cannot be read."""
    name = "tomllib" if sys.version_info >= (3, 11) else "pip._vendor.tomli"
    try:
        content: dict[str, Any] = import_module(name).loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return content


def is_project(code: Path) -> bool:
    """Whether pip can install the code, and its author wants that."""
    toml = read_toml(code / "pyproject.toml")
    tool = toml.get("tool", {})
    if (
        tool.get("poetry", {}).get("package-mode") is False
        or tool.get("uv", {}).get("package") is False
    ):
        return False
    return (code / "setup.py").is_file() or bool(
        {"project", "build-system"} & toml.keys() or "poetry" in tool
    )


def missing_requirements(code: Path) -> list[str]:
    """The project's build requirements that the environment lacks or has in another version."""
    table = read_toml(code / "pyproject.toml").get("build-system", {})
    lines = [*table.get("requires", ["setuptools"])]
    lines += [more for name, more in FOR_EDITABLE.items() if any(name in line for line in lines)]
    missing = []
    for line in lines:
        try:
            asked = Requirement(line)
            if asked.marker and not asked.marker.evaluate():
                continue
            # setuptools has its own bdist_wheel since version 70.1.
            if asked.name != "wheel" and not asked.specifier.contains(
                metadata.version(asked.name), prereleases=True
            ):
                missing.append(line)
        except (InvalidRequirement, metadata.PackageNotFoundError):
            missing.append(line)
    return missing


def handed_in(code: Path) -> dict[str, str]:
    """The version, for a project that takes it from git where no repository can be seen."""
    texts = (code / name for name in ("pyproject.toml", "setup.py", "setup.cfg"))
    text = "".join(path.read_text("utf-8", "replace") for path in texts if path.is_file())
    if not OF_GIT.search(text):
        return {}
    if shutil.which("git"):
        asked = ("git", "-C", str(code), "rev-parse", "HEAD")
        if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return {}
    version = os.environ.get("PROJECT_VERSION") or UNKNOWN
    if version == UNKNOWN:
        say(
            "the version of the project is that of git, which is not in this container: it is "
            f"{UNKNOWN}. PROJECT_VERSION sets another one"
        )
    return {name: os.environ.get(name) or version for name in HANDED_IN}


def install(code: Path, prefix: Path, version: dict[str, str], *options: str) -> tuple[bool, str]:
    """Install the code in editable mode; whether that worked, and the output of pip."""
    # setuptools writes *.egg-info beside the code unless told otherwise; the code folder may be
    # read-only.
    settings = prefix / "setup.cfg"
    (prefix / "egg-info").mkdir(exist_ok=True)
    settings.write_text(
        f"[egg_info]\negg_base = {prefix}/egg-info\n[build]\nbuild_base = {prefix}/build\n"
    )
    environment = {**os.environ, **version, "DIST_EXTRA_CONFIG": str(settings)}
    if environment.get("UV_DEFAULT_INDEX"):
        environment["PIP_INDEX_URL"] = environment["UV_DEFAULT_INDEX"]
    command = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps")
    limits = ("--retries", "1", "--timeout", "15")
    target = ("--prefix", str(prefix), "--editable", str(code))
    # Not in the code folder, whose modules may have the names of pip's.
    done = subprocess.run(
        [*command, *limits, *options, *target],
        cwd=str(prefix),
        env=environment,
        check=False,
        encoding="utf-8",
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode == 0, done.stdout


def cause(output: str) -> list[str]:
    """The lines of pip's output that say why, at most a few."""
    lines = [re.sub(r"^[^\w\[]+", "", line).rstrip() for line in output.splitlines()]
    found: list[str] = []
    for number, line in enumerate(lines):
        if CAUSE.match(line) and not VAGUE.match(line):
            after = lines[number + 1 : number + MOST_LINES]
            ends = [
                at for at, one in enumerate(after) if not one or one[0] == "[" or CAUSE.match(one)
            ]
            found = [line, *after[: ends[0] if ends else None]]
    return found or [line for line in lines if line][-MOST_LINES:]


def module_folders(code: Path) -> list[Path]:
    """Where the modules of the code are: in src/ too, unless that is a package itself."""
    source = code / "src"
    modules = [*source.glob("*.py"), *source.glob("*/*.py")]
    return [source, code] if modules and not (source / "__init__.py").exists() else [code]


def local_sources(code: Path, required: set[str]) -> list[Path]:
    """The folders in the code that have packages of the project.

    Args:
        code: the folder of the code.
        required: the normalised names of what the installed project requires.
    """
    tool = read_toml(code / "pyproject.toml").get("tool", {})
    uv, poetry = tool.get("uv", {}), tool.get("poetry", {}).get("dependencies", {})
    named = [one for one in (*uv.get("sources", {}).values(), *poetry.values()) if one]
    entries = [one for entry in named for one in (entry if isinstance(entry, list) else [entry])]
    paths = [code / one["path"] for one in entries if isinstance(one, dict) and "path" in one]
    for pattern in uv.get("workspace", {}).get("members", ()):
        paths += sorted(code.glob(pattern))
    below = projects_below(code, read_toml)
    paths += [below[name] for name in sorted(required & below.keys())]
    return [path for path in dict.fromkeys(paths) if path.is_dir() and path != code]


def required_names(folder: Path) -> set[str]:
    """The normalised names of what the packages in a folder require."""
    found = set()
    for one in metadata.distributions(path=[str(folder)]):
        for line in one.requires or ():
            with contextlib.suppress(InvalidRequirement):
                found.add(normalised(Requirement(line).name))
    return found


def name_folders(code: Path, prefix: Path, *, own: bool = True) -> None:
    """Let Python find the modules where they are: those of the code, unless it is installed."""
    folder = prefix / "lib/python{}.{}/site-packages".format(*sys.version_info[:2])
    folder.mkdir(parents=True, exist_ok=True)
    projects = [*([code] if own else []), *local_sources(code, required_names(folder))]
    lines = [f"{path}\n" for project in projects for path in module_folders(project)]
    if lines:
        (folder / "code-folder.pth").write_text("".join(lines), encoding="utf-8")


def main(code: Path, prefix: Path) -> int:
    """Make the code importable; 1 if a project could not be installed."""
    # pip does not uninstall the older version from a prefix, so that both would be found.
    for name in ("bin", "lib"):
        shutil.rmtree(str(prefix / name), ignore_errors=True)
    if not is_project(code):
        toml = read_toml(code / "pyproject.toml")
        # Of code without metadata, the entrypoint says it at each start.
        if {"project", "build-system"} & toml.keys() or "poetry" in toml.get("tool", {}):
            folders = " and ".join(map(str, module_folders(code)))
            say(f"not installed: Python finds its modules in {folders}")
        name_folders(code, prefix)
        return 0
    say("installing the project in editable mode")
    missing = missing_requirements(code)
    version = handed_in(code)
    isolation = [] if missing else ["--no-build-isolation"]
    worked, output = install(code, prefix, version, *isolation)
    absent = bool(missing) and not worked and bool(NOT_DOWNLOADED.search(output))
    if absent:  # those of the environment may do
        worked, more = install(code, prefix, version, "--no-build-isolation")
        output += more if worked else ""
    log = prefix / "install.log"
    log.write_text(output, encoding="utf-8")
    if worked:
        name_folders(code, prefix, own=False)
        return 0
    for line in cause(output):
        print(f"    {line}", file=sys.stderr)
    if absent:
        names = " ".join(map(shlex.quote, missing))
        add = "add --image" if os.environ.get("VIRTUAL_ENV") else "add"
        say(f"its build requirements cannot be downloaded here. Run: ./template.sh {add} {names}")
    name_folders(code, prefix)
    folders = " and ".join(map(str, module_folders(code)))
    say(
        "the project could not be installed: it has no commands and no version, but Python finds "
        f"its modules in {folders}. pip's output: {log}"
    )
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
    except OSError as error:  # a full disk
        say(f"the project could not be installed: {error}")
        sys.exit(1)
