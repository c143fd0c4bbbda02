"""What the environment files mean, and conda.lock: its parts, and what makes it stale.

conda_env.py has the verbs. This runs in dependencies/, in builds and in the tools container.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import conda_file
from conda_file import CUDA, DEV, MAIN, Environment
from intake.family import FOLLOWERS
from intake.names import name_of, pip_name
from intake.text import FileError, without_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

PLATFORM = "linux-64"
PUBLIC = "https://conda.anaconda.org"
# What the project itself requires, and what those need who work on it.
PROJECT, PROJECT_DEV = "project/pyproject.toml", "project/pyproject.toml (dev)"
CONDA_LOCK, PIP_LOCK, PIP_DEV_LOCK = "conda.lock", "pip.lock", "pip-dev.lock"
PARTS = ("python", "heavy", "runtime", "dev")
LEAST_HEAVY = 2_000_000  # bytes of a package; what is lighter changes more often than it costs
ROOTS = ("python", "pytorch", "pytorch-gpu", "cuda-version")  # with their needs: the part python
# What a CPU of the last ten years can do: the lock of a new machine shall run on an older one.
ARCHSPEC = "x86_64_v3"
LOCK_LINE = re.compile(r"(?:https?|file)://\S+/([^/#]+)\.(?:conda|tar\.bz2)#sha256:([0-9a-f]{64})")
AGAIN = "Run: ./template.sh lock"


class CondaError(Exception):
    """What is wrong, in one sentence."""


class Locked(NamedTuple):
    """A package of conda.lock."""

    name: str
    version: str
    build: str
    line: str

    @classmethod
    def parse(cls, line: str) -> Locked:
        """Read a line; Raises CondaError where it is none."""
        match = LOCK_LINE.fullmatch(line)
        fields = match[1].rsplit("-", 2) if match else []
        if len(fields) != 3 or without_secret(line) != line:  # noqa: PLR2004
            line = without_secret(line)[:100]
            raise CondaError(f"{CONDA_LOCK} has a line that is no package with its SHA-256: {line}")
        name, version, build = fields
        return cls(name, version, build, line)


class Lock(NamedTuple):
    """A conda.lock: what it was made from, and the packages of each part in order."""

    input: str
    virtual: dict[str, str]
    parts: dict[str, list[Locked]]

    @property
    def packages(self) -> list[Locked]:
        """All packages."""
        return [package for part in PARTS for package in self.parts[part]]


def read(folder: Path) -> dict[str, Environment]:
    """The environment files that are there, by their names.

    Raises:
        FileError: there is none, or one cannot be read.
    """
    found = {
        name: conda_file.parse(conda_file.load(folder / name), name)
        for name in (MAIN, CUDA, DEV)
        if name == MAIN or (folder / name).exists()
    }
    project = project_file(folder).get("project", {})
    found[PROJECT] = by_source(project.get("dependencies", []))
    found[PROJECT_DEV] = by_source(project.get("optional-dependencies", {}).get("dev", []))
    for name, environment in found.items():
        for channel in environment.channels:
            if without_secret(channel) != channel:
                raise FileError(
                    f"{name} has a channel with a token or password, which would be in git: "
                    "it goes into the file of CONDA_AUTH_FILE or NETRC_FILE in .env."
                )
    return found


def project_file(folder: Path) -> dict[str, Any]:
    """The copy of what the project itself requires, {} where there is none.

    Raises:
        FileError: it cannot be read.
    """
    path = folder / PROJECT
    if not path.exists():
        return {}
    # Not in the dev image, whose Python may have no reader of TOML.
    from intake.toml_files import values_of  # noqa: PLC0415

    return values_of(conda_file.load(path), f"dependencies/{PROJECT}")


def by_source(lines: Iterable[str]) -> Environment:
    """Requirements of the project by who brings them."""
    conda, pip = [], []
    for line in lines:
        follower = FOLLOWERS.get(pip_name(line))
        if follower and follower.conda:
            conda.append(follower.conda)
        else:
            pip.append(line)
    return Environment(channels=[], owned=[], conda=conda, pip=pip)


def specs_of(files: dict[str, Environment]) -> list[str]:
    """All conda lines."""
    return [spec for file in files.values() for spec in (*file.owned, *file.conda)]


def channels_of(files: dict[str, Environment]) -> list[str]:
    """All channels in the order in which they are asked."""
    return list(dict.fromkeys(name for file in files.values() for name in file.channels))


def digest(*what: Any) -> str:
    """A hash of what goes into a lock."""
    return "sha256:" + hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def input_of(files: dict[str, Environment]) -> str:
    """The hash of what the files mean: neither comments nor the order of packages count."""
    specs = {name: sorted({*file.owned, *file.conda}) for name, file in files.items()}
    return digest(channels_of(files), {name: lines for name, lines in specs.items() if lines})


def virtual_packages() -> dict[str, str]:
    """What the solver is told about the machine: that of the images, not this one."""
    found = {"__archspec": os.environ.get("CONDA_OVERRIDE_ARCHSPEC") or ARCHSPEC}
    cuda = os.environ.get("CONDA_OVERRIDE_CUDA", os.environ.get("CHOSEN_CUDA", ""))
    if cuda:
        found["__cuda"] = cuda
    found["__glibc"] = os.environ.get("CONDA_OVERRIDE_GLIBC") or _glibc()
    return found


def _glibc() -> str:
    """The version of the C library in this image."""
    return (os.confstr("CS_GNU_LIBC_VERSION") or "glibc 2.17").split()[-1]


def load_lock(path: Path) -> Lock | None:
    """Read conda.lock, None where there is none.

    Raises:
        CondaError: it is damaged.
    """
    if not path.exists():
        return None
    text = conda_file.load(path)
    comments = dict(re.findall(r"(?m)^# (input|virtual packages): (.*?)\s*$", text))
    parts: dict[str, list[Locked]] = {part: [] for part in PARTS}
    part = PARTS[0]
    for line in map(str.strip, text.partition("@EXPLICIT")[2].splitlines()):
        title = line.lstrip("# ").partition(" ")[0]
        if line.startswith("#") and title in PARTS:
            part = title
        elif line and not line.startswith("#"):
            parts[part].append(Locked.parse(line))
    if not parts[PARTS[0]]:
        raise CondaError(f"{CONDA_LOCK} has no packages. {AGAIN}")
    pairs = (word.partition("=") for word in comments.get("virtual packages", "").split())
    virtual = {name: version for name, _, version in pairs}
    return Lock(comments.get("input", ""), virtual, parts)


def text_of(lock: Lock) -> str:
    """conda.lock as a file."""
    titles = dict(zip(PARTS, PARTS, strict=True))
    if any(package.name == "pytorch" for package in lock.parts["python"]):
        titles["python"] = "python, and PyTorch with all that it needs"
    virtual = " ".join(f"{name}={version}" for name, version in sorted(lock.virtual.items()))
    lines = [
        "# What ./template.sh lock found for the environment files; micromamba can install it",
        "# as it is, and checks every file.",
        f"# platform: {PLATFORM}",
        f"# input: {lock.input}",
        f"# virtual packages: {virtual}",
        "@EXPLICIT",
    ]
    for part in PARTS:
        lines += [f"# {titles[part]}", *(package.line for package in lock.parts[part])]
    return "".join(f"{line}\n" for line in lines)


def stale(lock: Lock | None, files: dict[str, Environment]) -> str:
    """Why conda.lock does not match the environment files, "" where it does."""
    if lock is None:
        return f"There is no {CONDA_LOCK} yet."
    if lock.input != input_of(files):
        return f"{CONDA_LOCK} does not match the environment files."
    here = virtual_packages()
    cuda, glibc = lock.virtual.get("__cuda", ""), lock.virtual.get("__glibc", "")
    if cuda != here.get("__cuda", ""):
        chosen = here.get("__cuda", "")
        return (
            f"{CONDA_LOCK} was made for {'CUDA ' + cuda if cuda else 'the CPU'}, "
            f"but {'CUDA ' + chosen if chosen else 'the CPU'} is chosen."
        )
    if _numbers(glibc) > _numbers(here["__glibc"]):
        return f"{CONDA_LOCK} was made for glibc {glibc}, but the images have {here['__glibc']}."
    return ""


def _numbers(version: str) -> list[int]:
    """A version as numbers."""
    return [int(number) for number in re.findall(r"\d+", version)]


def public_url(url: str, channels: Iterable[str], alias: str) -> str:
    """The address of a package in the public channel, without secrets, not that of a mirror."""
    bare = without_secret(url)
    prefix = without_secret(alias.rstrip("/"))
    for channel in channels:
        if "://" not in channel and bare.startswith(f"{prefix}/{channel}/"):
            return PUBLIC + bare[len(prefix) :]
    return bare


def needed_by(names: Iterable[str], records: dict[str, dict[str, Any]]) -> dict[str, None]:
    """The packages and all that they need, each after what it needs itself."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    # A stack instead of recursion: what was pushed first of a package is its second visit.
    stack = [(name, False) for name in sorted(names, reverse=True)]
    while stack:
        name, done = stack.pop()
        if done:
            found[name] = None
        elif name in records and name not in seen:
            seen.add(name)
            needs = {name_of(line) for line in records[name].get("depends") or []}
            if name == "python":  # micromamba adds pip, which needs python itself
                needs.discard("pip")
            stack.append((name, True))
            stack += [(need, False) for need in sorted(needs, reverse=True)]
    return found


def grouped(
    records: list[dict[str, Any]], files: dict[str, Environment]
) -> dict[str, list[dict[str, Any]]]:
    """The records of a solution by parts: no package is in two."""
    by_name = {record["name"]: record for record in records}
    asked = {
        name: [name_of(spec) for spec in (*file.owned, *file.conda)] for name, file in files.items()
    }
    product = [name for file in (MAIN, CUDA, PROJECT) for name in asked.get(file, [])]
    torch = needed_by([name for name in product if name in ROOTS], by_name)
    runtime = needed_by([*product, "pip"], by_name)
    large = [name for name in runtime if by_name[name].get("size", 0) >= LEAST_HEAVY]
    # With all that they need, so that scripts that they run after their installation work.
    heavy = [name for name in needed_by(large, by_name) if name in runtime and name not in torch]
    everything = needed_by(by_name, by_name)
    return {
        "python": [by_name[name] for name in torch],
        "heavy": [by_name[name] for name in heavy],
        "runtime": [by_name[name] for name in runtime if name not in {*torch, *heavy}],
        "dev": [by_name[name] for name in everything if name not in {*torch, *runtime}],
    }


def locked(record: dict[str, Any], channels: Iterable[str]) -> Locked:
    """A record of the solution as a package of the lock.

    Raises:
        CondaError: its channel says no SHA-256 of it.
    """
    alias = os.environ.get("MAMBA_CHANNEL_ALIAS") or PUBLIC
    url = public_url(record["url"], channels, alias)
    if not record.get("sha256"):
        raise CondaError(
            f"The channel says no SHA-256 of {record['name']}, so it cannot be locked: {url}"
        )
    return Locked.parse(f"{url}#sha256:{record['sha256']}")


def say(*lines: str) -> None:
    """Tell the person something; stdout is for programs."""
    for line in lines:
        print(line, file=sys.stderr)


def upgrades(arguments: Sequence[str]) -> list[str] | None:
    """The names after --upgrade, [] for all; None without it."""
    if not arguments:
        return None
    if arguments[0] != "--upgrade" or any(name.startswith("-") for name in arguments[1:]):
        raise CondaError("lock and pip-lock know --upgrade [NAME...], and nothing else.")
    return list(arguments[1:])
