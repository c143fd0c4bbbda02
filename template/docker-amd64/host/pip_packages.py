"""The packages, which uv resolves from PyPI: add, lock."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING

from .compose import call, compose, show
from .failures import failed
from .images import build_tools
from .project import me

if TYPE_CHECKING:
    import argparse

    from .project import Project

FILES = ("pyproject.toml", "base-override.txt")
# What follows from the answers, or is part of a base image.
OF_TORCH = r"(torch|triton|nvidia-[a-z0-9-]+)([^a-z0-9_-]|$)"
OF_BASE = r"(torch|torchvision|torchaudio|triton|nvidia-[a-z0-9-]+)([^a-z0-9_-]|$)"

# A requirement as PEP 508 has it, as far as mistakes of typing go.
REQUIREMENT = re.compile(
    r"""\s*[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?\s*(?:\[[^]]*\])?\s*
    (?:@\s*\S+ | \(?\s*(?:(?:~=|===|[=!<>]=|[<>])\s*[\w.*+!-]+\s*,?\s*)*\)?)
    \s*(?:;.*)?""",
    re.VERBOSE,
)


def tools(project: Project, *words: str) -> None:
    """Run uv in a container, in dependencies/, as the user. Raises StopError."""
    call(project, compose("--progress", "quiet", "run", "--rm", "--no-deps", "-T", "tools", *words))


def take_requirements(project: Project) -> None:
    """Take a requirements.txt of existing code into dependencies/pyproject.toml, once."""
    dependencies = project.folder / "dependencies"
    code = project.settings.path("LOCAL_CODE_DIR") or project.root
    file = code / "requirements.txt"
    own = (dependencies / "pyproject.toml").read_text("utf-8", "replace")
    taken = (dependencies / "uv.lock").exists() or not re.search(r"(?m)^dependencies = \[\]$", own)
    if taken or not file.is_file():
        return
    names: list[str] = []
    left: list[str] = []
    for text in file.read_text("utf-8", "replace").splitlines():
        line = re.sub(r"[ \t]#.*", "", text).rstrip("\\").strip()
        if not line or line.startswith(("#", "--hash")):
            continue
        if line.startswith(("-", ".", "/", "file:")):
            why = "an option or a local path: see uv's documentation for pyproject.toml"
            left.append(f"{line} ({why})")
        elif (
            project.torch and not project.base_has_torch and re.match(OF_TORCH, line, re.IGNORECASE)
        ):
            change = f"{me()} update --data torch_version={project.torch}"
            left.append(f"{line} (the PyTorch version is an answer: {change})")
        elif project.base_has_torch and re.match(OF_BASE, line, re.IGNORECASE):
            left.append(f"{line} (the base image has its own)")
        else:
            names.append(line)
    if not names:
        return
    show(f"Taking {len(names)} packages from requirements.txt into dependencies/pyproject.toml.")
    if left:
        show("\n".join(["Left out:", *(f"  {line}" for line in left)]))
    tools(project, "uv", "add", "--no-sync", "--raw", *names)


def invalid_line(text: str) -> tuple[int, str] | None:
    """The first line of a pyproject.toml that uv could not read, and why; None if all is well.

    uv takes 60 lines to say it, the last of which are about something else. A Python before 3.11
    has no reader of TOML: there, uv says it.
    """
    try:
        toml = import_module("tomllib")
    except ImportError:
        return None
    try:
        data = toml.loads(text)
    except ValueError as error:
        reason, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)
        return int(found.group(1)) if found else text.count("\n"), reason
    project = data.get("project", {})
    lists = [
        project.get("dependencies", []),
        *project.get("optional-dependencies", {}).values(),
        *data.get("dependency-groups", {}).values(),
    ]
    for one in (one for names in lists for one in names if isinstance(one, str)):
        if not REQUIREMENT.fullmatch(one):
            line = next((at for at, line in enumerate(text.splitlines(), 1) if one in line), 1)
            return line, f"{one} is not a package with a version"
    return None


def check_file(project: Project) -> None:
    """Raises StopError where uv could not read dependencies/pyproject.toml."""
    file = project.folder / "dependencies" / "pyproject.toml"
    found = invalid_line(file.read_text("utf-8", "replace"))
    if found:
        number, reason = found
        raise failed("dependency-file-invalid", project, number=str(number), reason=reason)


def lock_options(parser: argparse.ArgumentParser) -> None:
    """What to do beside bringing the lock up to date."""
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="only say whether it is up to date")
    only.add_argument(
        "--upgrade",
        nargs="*",
        metavar="NAME",
        help="take newer versions of these packages, or of all",
    )


def do_lock(project: Project, options: argparse.Namespace) -> None:
    """Bring uv.lock up to date, or check it."""
    check_file(project)
    build_tools(project)
    if options.check:
        if not (project.folder / "dependencies" / "uv.lock").exists():
            raise failed("lock-missing", project)
        tools(project, "uv", "lock", "--check")
        return
    lock(project, options.upgrade)


def lock(project: Project, upgrade: object = None) -> None:
    """Resolve; `upgrade` lists packages to take newer versions of, an empty list all of them."""
    words: list[str] = []
    if isinstance(upgrade, list):
        words = [f"--upgrade-package={name}" for name in upgrade] or ["--upgrade"]
    take_requirements(project)
    tools(project, "uv", "lock", *words)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which packages, and where."""
    parser.add_argument("--dev", action="store_true", help="for the dev image only")
    parser.add_argument(
        "name", nargs="+", metavar="NAME", help="a package, with a version if you like: 'numpy<3'"
    )


def do_add(project: Project, options: argparse.Namespace) -> None:
    """Add packages to pyproject.toml and uv.lock."""
    check_file(project)
    build_tools(project)
    take_requirements(project)
    group = ["--group", "dev"] if options.dev else []
    tools(project, "uv", "add", "--no-sync", *group, "--", *options.name)
    show(f"Added to dependencies/pyproject.toml and uv.lock. Run: {me()} build")


def lock_if_stale(project: Project) -> None:
    """Bring the lock up to date before a build, after an edit by hand."""
    folder = project.folder / "dependencies"
    made = folder / "uv.lock"
    files = [folder / name for name in FILES if (folder / name).exists()]
    if made.exists() and all(one.stat().st_mtime <= made.stat().st_mtime for one in files):
        return
    check_file(project)
    show("Bringing dependencies/uv.lock up to date.")
    build_tools(project)
    lock(project)
    made.touch()
