#!/usr/bin/env python3
"""Keeps the packages of a base image that brings PyTorch as they are.

    base_packages.py prepare    once, by the base's own Python: finds them, fills /opt/base
    base_packages.py stale      names what uv.lock has from another base image
    base_packages.py check      after an install: exit status 1 and a sentence for each conflict
    base_packages.py why        reads uv's failure from stdin, says who wanted another version

Kept are torch and its family, numpy, CUDA libraries, everything that came from no index, and what
the base's constraint file for pip names; not kept is what base-override.txt names. Each of them has
a stand-in (stand_ins.py). Where one is installed, as in the environment in which a package is
built, it makes the base's own package seen.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stand_ins import (
    ASKING,
    Package,
    Unmet,
    find,
    import_packaging,
    normal,
    stands_as,
    unmet,
    write_stand_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import Distribution

HOME = Path("/opt/base")
VENV = Path("/opt/venv")
OVERRIDE = "base-override.txt"
# Where NVIDIA's images have the versions that they were tested with; pip is told by PIP_CONSTRAINT.
CONSTRAINT_FILE = "/etc/pip/constraint.txt"
FAMILY = {"numpy", "pytorch-triton", "torch", "torchaudio", "torchvision", "triton"}
PREFIXES = ("cuda-", "nvidia-", "torch-")
# What a torch of PyPI brings along, and so must be free to when torch is.
BROUGHT_BY_TORCH = r"triton|pytorch-triton|nvidia-.*|cuda-.*"
# The environment has its own, to install the project with: an old base has them too old for that.
TOOLS = {"packaging", "pip", "setuptools", "wheel"}

REQUIREMENT = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(.*)")


def without_comment(line: str) -> str:
    """The line of a list of packages, without its comment and the blanks around it."""
    return re.sub(r"(^|\s)#.*", "", line).strip()


def lines_of(path: Path) -> list[str]:
    """The lines of a list of packages, without comments and options; [] where there is no file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = [without_comment(line) for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("-")]


def name_of(line: str) -> str:
    """The name of a requirement's distribution, "" where there is none."""
    match = REQUIREMENT.match(line)
    return normal(match.group(1)) if match else ""


def is_kept(name: str, distribution: Distribution) -> bool:
    """Whether the base's own build of this must stay, whatever the constraint file says."""
    return (
        name in FAMILY
        or name.startswith(PREFIXES)
        or "+" in distribution.version
        # An installer writes this where it was given a file or an address, not a name of an index.
        or distribution.read_text("direct_url.json") is not None
    )


def freed(names: Iterable[str], override: list[str]) -> set[str]:
    """The names that the lines of base-override.txt set free; a line may have `*` in it."""
    pattern = "|".join(re.escape(normal(line)).replace(r"\*", ".*") for line in override)
    if "torch" in map(normal, override):
        pattern += "|" + BROUGHT_BY_TORCH
    return {name for name in names if pattern and re.fullmatch(pattern, name)}


def keep(
    found: dict[str, Distribution], constraints: list[str], override: list[str]
) -> dict[str, Package]:
    """What stays as the base image has it, in the order of the names."""
    constrained = {name_of(line) for line in constraints}
    free = freed(found, override) | TOOLS
    return {
        name: Package(
            name=name,
            version=distribution.version,
            stands_as=stands_as(distribution.version),
            requires=distribution.requires or [],
            entry_points=distribution.read_text("entry_points.txt") or "",
        )
        for name, distribution in sorted(found.items())
        if name not in free and (name in constrained or is_kept(name, distribution))
    }


def write_commands(folder: Path, found: dict[str, Distribution], taken: Iterable[str]) -> None:
    """Write the base's commands (torchrun, jupyter) anew, for the Python of the environment.

    Those of the base start its own Python, which sees no package of the environment.
    """
    for name, distribution in found.items():
        for entry in distribution.entry_points:
            script = folder / entry.name
            match = re.match(r"\s*([\w.]+)\s*:\s*(\w+)(\.[\w.]+)?", entry.value)
            if entry.group != "console_scripts" or not match or name in taken or script.exists():
                continue
            module, first, rest = match.groups(default="")
            script.write_text(
                f"#!{folder}/python\nimport sys\n\nfrom {module} import {first}\n\n"
                f"sys.exit({first}{rest}())\n",
                encoding="utf-8",
            )
            script.chmod(0o775)


def prepare(folders: list[str], home: Path, venv: Path, constraint_files: list[Path]) -> None:
    """Fill `home` from what the folders have, and the environment with the base's commands.

    uv/uv.toml      names the index of stand-ins
    index/DIGEST/   the index; its path changes with the base, so that an old uv.lock is noticed
    constraints.txt for pip: the versions of the base, and what else its constraint file says
    names.txt       what uv shall not install
    packages.json   the same for `check`, `why` and verify.py
    """
    found = find(folders)
    constraints = [line for path in constraint_files for line in lines_of(path)]
    override = lines_of(home / OVERRIDE)
    kept = keep(found, constraints, override)
    # What the file says about packages that the base lacks holds for those that are added.
    further = [
        line
        for line in constraints
        if name_of(line) not in {*kept, *TOOLS, *freed(map(name_of, constraints), override)}
    ]
    state = json.dumps([folders, list(kept.values())])
    index = home / "index" / hashlib.sha256(state.encode()).hexdigest()[:12]
    for package in kept.values():
        write_stand_in(index / package.name, package, folders)
    (home / "uv").mkdir()
    (home / "uv/uv.toml").write_text(
        f'[[index]]\nname = "base-image"\nurl = "file://{index}"\n', encoding="utf-8"
    )
    pins = [f"{package.name}=={package.version}" for package in kept.values()]
    (home / "constraints.txt").write_text("".join(f"{line}\n" for line in [*pins, *further]))
    (home / "names.txt").write_text("".join(f"{name}\n" for name in kept))
    record = {
        "packages": {name: package._asdict() for name, package in kept.items()},
        "versions": {name: distribution.version for name, distribution in sorted(found.items())},
        "freed": sorted(freed(found, override)),
        "constraints": further,
    }
    (home / "packages.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    write_commands(venv / "bin", found, TOOLS)


class Record(NamedTuple):
    """What `prepare` found: what is kept, versions of all, what is free, further constraints."""

    packages: dict[str, Package]
    versions: dict[str, str]
    freed: list[str]
    constraints: list[str]


def load(home: Path) -> Record:
    """Read packages.json."""
    row = json.loads((home / "packages.json").read_text(encoding="utf-8"))
    packages = {name: Package(**package) for name, package in row["packages"].items()}
    return Record(packages, row["versions"], row["freed"], row["constraints"])


def way_out(name: str) -> str:
    """What always helps, as the end of a sentence."""
    return f"or name {name} in dependencies/{OVERRIDE}"


def conflict(problem: Unmet, package: Package) -> str:
    """The sentence about a package that wants another version than the base's."""
    has = f"but the base image has {package.name} {package.version}"
    culprit = re.split(r"[ <>=!~]", problem.who)[0]
    out = way_out(package.name)
    if culprit.startswith("dependencies/"):
        return f"{culprit} asks for {problem.line}, {has}: change that line, {out}."
    choice = f"choose another version of {culprit}, another release of the base image"
    return f"{problem.who} needs {problem.line}, {has}: {choice}, {out}."


def stale(home: Path, lock: Path) -> list[str]:
    """The packages that uv.lock takes from another base image, or from elsewhere than this one.

    uv itself holds a lock to be good as long as pyproject.toml is the same.
    """
    text = lock.read_text(encoding="utf-8") if lock.exists() else ""
    kept = load(home).packages
    index = next((home / "index").glob("*"), home)
    return [
        name
        for name, source in re.findall(r'(?m)^name = "(.+)"\nversion = .*\nsource = (.*)$', text)
        if (name in kept or f'"{home}/index/' in source) and f'"{index}"' not in source
    ]


def overridden(lock: Path) -> set[str]:
    """The names under override-dependencies, by which a project says: take no notice of others."""
    text = lock.read_text(encoding="utf-8") if lock.exists() else ""
    match = re.search(r"(?ms)^overrides = \[(.*?)\]$", text)
    return set(re.findall(r'name = "([^"]+)"', match[1])) if match else set()


def problems(home: Path, venv: Path, lock: Path) -> list[str]:
    """A sentence for everything in the environment that does not go with the base image."""
    kept, base_versions, freed_names, constraints = load(home)
    packaging = import_packaging(venv)
    installed = find([str(path) for path in venv.glob("lib/python*/site-packages")])
    versions = {name: distribution.version for name, distribution in installed.items()}
    free = overridden(lock)
    base = {name: kept[name].stands_as for name in kept if name not in free}
    found = [
        f"{name} {versions[name]} in {venv} hides the base image's {kept[name].version}: "
        f"uninstall it, {way_out(name)}."
        for name in kept
        if name in installed
    ]
    for name, distribution in installed.items():
        who = f"{name} {distribution.version}"
        wants = unmet(who, distribution.requires or [], base, packaging)
        found += [conflict(problem, kept[problem.name]) for problem in wants]
    for package in kept.values():
        # What the base itself does not meet is not the fault of what was installed.
        usual = {problem.line for problem in unmet("", package.requires, base_versions, packaging)}
        found += [
            f"{name} {version} hides the base image's {base_versions[name]}, but {who} of the base "
            f"image needs {line}: "
            + (
                f"name {who} in dependencies/{OVERRIDE} too."
                if name in freed_names
                else f"./template.sh add '{line}'"
            )
            for who, line, name, version in unmet(
                package.name, package.requires, versions, packaging
            )
            if name in base_versions and name not in TOOLS and line not in usual
        ]
    found += [
        f"{problem.name} {problem.version} is installed, but the base image's constraint file says "
        f"{problem.line}: ./template.sh add '{problem.line}', {way_out(problem.name)}."
        for problem in unmet("", constraints, versions, packaging)
    ]
    return found


def why(text: str, home: Path, venv: Path) -> list[str]:
    """A sentence for each package that, in uv's words, wants another version than the base's."""
    kept = load(home).packages
    packaging = import_packaging(venv)
    base = {name: package.stands_as for name, package in kept.items()}
    words = " ".join(text.split())
    found: dict[tuple[str, str], str] = {}
    for name, package in kept.items():
        line = rf"({re.escape(name)}(?:\[[\w,-]*\])?[<>=!~][^\s;]*)"
        for who, version, wanted in re.findall(rf"{ASKING} depends? on {line}", words):
            culprit = who
            if who == "project" or ":" in who:
                culprit = "dependencies/pyproject.toml"
            elif who == "project-requirements":
                culprit = "dependencies/project/pyproject.toml"
            else:
                culprit += version.replace("==", " ")
            for problem in unmet(culprit, [wanted.rstrip(".,")], base, packaging):
                found.setdefault((who, name), conflict(problem, package))
    return list(found.values())


def main(arguments: list[str]) -> int:
    """Do what the text of the module says; the exit status is 1 when `check` finds a conflict."""
    if arguments == ["prepare"]:
        own = {os.path.realpath(sys.path[0]), os.path.realpath(HOME)}
        folders = [path for path in sys.path if os.path.realpath(path) not in own]
        named = os.environ.get("PIP_CONSTRAINT", "").split() or [CONSTRAINT_FILE]
        prepare(
            [path for path in folders if Path(path).is_dir() and find([path])],
            HOME,
            VENV,
            [Path(path) for path in named],
        )
        return 0
    if arguments == ["check"]:
        found = problems(HOME, VENV, Path("uv.lock"))
    elif arguments == ["why"]:
        found = why(sys.stdin.read(), HOME, VENV)
    elif arguments == ["stale"]:
        for name in stale(HOME, Path("uv.lock")):
            print(name)
        return 0
    else:
        print("base_packages.py: say one of prepare, stale, check, why", file=sys.stderr)
        return 2
    for sentence in found:
        print(f"\n{sentence}", file=sys.stderr)
    return 1 if found and arguments == ["check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
