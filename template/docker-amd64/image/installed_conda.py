#!/opt/venv/bin/python -BIS
"""update_env_file for a project with conda: what was installed, into environment.yml.

It reads conda-meta and what pip added; conda_env.py edits environment.yml. The locks follow with
the next build.

Started with -IS, so that no package of yours can break it. Standard library only, Python 3.8 or
newer.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from importlib.metadata import PathDistribution
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

# -I knows no folder of its own: the first is the image's, the other that of this file elsewhere.
sys.path += ["/opt/container", os.path.dirname(os.path.realpath(__file__))]  # noqa: PTH120

from update_env_file import (
    Changes,
    Found,
    Places,
    Stop,
    about_removed,
    copies,
    exit_status,
    left_to_answers,
    name_of,
    portable,
    read,
    template_sh,
    without_password,
)

# In environment.yml these lines are the template's.
OWNED = {"cuda-version", "pip", "python", "pytorch", "pytorch-gpu", "setuptools"}
PUBLIC_CHANNELS = "https://conda.anaconda.org"
DEV_PART = "\n# dev\n"  # of conda.lock


def normal(name: str) -> str:
    """The one spelling of a Python distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def conda_records(venv: Path) -> dict[str, dict[str, Any]]:
    """What conda-meta says of each package, by its name."""
    found = {}
    for path in sorted((venv / "conda-meta").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found[str(record["name"])] = record
    return found


def is_of_lock(spec: str) -> bool:
    """Whether a spec names one build: so the image itself was made, from conda.lock."""
    return bool(re.match(r"[^=<>!~[]+==?[^=<>,|[]+=[^=]", spec) or re.search(r"://|\bbuild=", spec))


def asked_for(venv: Path, records: dict[str, dict[str, Any]]) -> set[str]:
    """The names that somebody typed: of what the records remember, and of the history."""
    specs = {name: str(record.get("requested_spec") or "") for name, record in records.items()}
    names = {name for name, spec in specs.items() if spec and not is_of_lock(spec)}
    for action, listed in re.findall(r"(?m)^# (\w+) specs: *(\[.*\])", history_of(venv)):
        try:
            typed = {str(spec) for spec in ast.literal_eval(listed)}
        except (SyntaxError, TypeError, ValueError):
            continue
        if action in ("remove", "uninstall"):
            names -= {name_of(spec) for spec in typed}
        else:
            names |= {name_of(spec) for spec in typed if not is_of_lock(spec)}
    return names


def history_of(venv: Path) -> str:
    """The log of what was installed; in each step, what it removes precedes what it adds.

    `micromamba update` is recorded as both, and means that the package is wanted.
    """
    steps = re.split(r"(?m)^(?===> )", read(venv / "conda-meta/history"))
    lines = [sorted(step.splitlines(), key=lambda line: " update specs" in line) for step in steps]
    return "\n".join(line for step in lines for line in step)


def conda_locked(text: str) -> dict[str, str]:
    """The version of each package in conda.lock, a list of addresses."""
    found = {}
    for line in text.splitlines():
        file = re.match(r"[^#\s]+/([^/#\s]+?)(?:\.conda|\.tar\.bz2)(?:#|\s|$)", line.strip())
        if file and file[1].count("-") >= 2:  # noqa: PLR2004  (name-version-build)
            name, version, _ = file[1].rsplit("-", 2)
            found[name] = version
    return found


def channel_of(record: dict[str, Any]) -> str:
    """The name of a record's channel, without the address of a mirror and the platform."""
    address = re.sub(r"/(linux-\w+|noarch)/?$", "", str(record.get("channel", "")).rstrip("/"))
    return address.rsplit("/", maxsplit=1)[-1]


def conda_spec(record: dict[str, Any], notes: list[str]) -> str:
    """`name=version`, with the channel in front if it is another one than conda-forge.

    It is "" where no build could have the package; notes say why.
    """
    spec, channel = f"{record['name']}={record['version']}", channel_of(record)
    address = str(record.get("url", ""))
    mirror = os.environ.get("MAMBA_CHANNEL_ALIAS") or PUBLIC_CHANNELS
    if channel in ("", "conda-forge"):
        return spec
    if not address or address.startswith((f"{PUBLIC_CHANNELS}/", f"{mirror.rstrip('/')}/")):
        return f"{channel}::{spec}"
    if address.startswith("file:"):
        notes.append(f"{spec} is left out: it comes from a folder of this container, {address}.")
        return ""
    notes.append(
        f"{spec} comes from the channel {channel}: environment.yml needs its address as a line "
        "under channels, without a password."
    )
    return spec


def found_by_conda(places: Places) -> Found:
    """What micromamba installed and conda.lock has not.

    Wanted is what somebody asked for or nothing else needs, and each locked package whose version
    changed.

    Raises:
        Stop: there is no lock.
    """
    if not (places.dependencies / "conda.lock").exists():
        raise Stop(f"There is no conda.lock to compare with yet. Run outside: {template_sh()} lock")
    locked = conda_locked(read(places.dependencies / "conda.lock"))
    records = conda_records(places.venv)
    asked = asked_for(places.venv, records)
    needed = {
        name_of(str(line)) for record in records.values() for line in record.get("depends") or []
    }
    found = Found([], [])
    for name, record in sorted(records.items()):
        version = str(record["version"])
        by_itself = name not in locked and name not in asked and name in needed
        if locked.get(name) == version or by_itself:
            continue
        if name in OWNED:
            found.notes.append(left_to_answers(name, version))
        else:
            found.add.extend(filter(None, [conda_spec(record, found.notes)]))
    found.notes.extend(about_removed(locked.keys() - records.keys(), "environment.yml"))
    return found


def distributions_in(venv: Path) -> list[PathDistribution]:
    """The Python packages of the environment that have a folder of metadata."""
    folders = sorted(venv.glob("lib/python3*/site-packages/*.dist-info"))
    found = [(PathDistribution(folder), folder) for folder in folders]
    return [one for one, folder in found if (folder / "METADATA").exists() and one.metadata["Name"]]


def owned_by_conda(records: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The versions of the Python packages that conda installed, by the names pip has for them."""
    found = {}
    for record in records.values():
        for file in record.get("files", []):
            info = re.search(r"site-packages/([^/]+?)-([^/-]+)\.dist-info/METADATA$", str(file))
            if info:
                found[normal(info[1])] = info[2]
    return found


def pip_requirement(distribution: PathDistribution) -> str:
    """`name==1.0`, or `name @ address` where it came from an address; "" if it is editable."""
    name = normal(distribution.metadata["Name"])
    direct = json.loads(distribution.read_text("direct_url.json") or "{}")
    if direct.get("dir_info", {}).get("editable"):
        return ""
    address = str(direct.get("url", ""))
    if "vcs_info" in direct:
        address = f"{direct['vcs_info']['vcs']}+{address}@{direct['vcs_info']['commit_id']}"
    if direct.get("subdirectory"):
        address += f"#subdirectory={direct['subdirectory']}"
    return f"{name} @ {address}" if address else f"{name}=={distribution.version}"


def pip_locked(text: str) -> dict[str, str]:
    """The requirement of each package in pip.lock, by its name."""
    line = (
        r"(?m)^([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])? *(==|@) *([^\s;\\#]+(?:#subdirectory=[^\s;\\]+)?)"
    )
    return {
        normal(name): f"{normal(name)}=={value}" if mark == "==" else f"{normal(name)} @ {value}"
        for name, mark, value in re.findall(line, text)
    }


def required_by(distribution: PathDistribution) -> set[str]:
    """The names of what a package needs without its extras."""
    lines = distribution.requires or []
    return {normal(name_of(line)) for line in lines if not re.search(r";.*\bextra\b", line)}


def found_by_pip(places: Places) -> Found:
    """What pip or uv installed into the environment of conda, and pip.lock has not.

    Raises:
        Stop: environment.yml has a pip part and no lock of it.
    """
    folder = places.dependencies
    locked: dict[str, str] = {}
    for part, lock in (("environment.yml", "pip.lock"), ("environment-dev.yml", "pip-dev.lock")):
        if re.search(r"(?m)^ *- +pip:", read(folder / part)) and not (folder / lock).exists():
            raise Stop(f"There is no {lock} to compare with yet. Run outside: {template_sh()} lock")
        locked.update(pip_locked(read(folder / lock)))
    of_conda = owned_by_conda(conda_records(places.venv))
    installed = distributions_in(places.venv)
    needed = {name for one in installed for name in required_by(one)}
    found, names = Found([], []), set()
    for one in installed:
        name, installer = normal(one.metadata["Name"]), one.read_text("INSTALLER") or ""
        names.add(name)
        requirement = pip_requirement(one)
        clean = without_password(requirement)
        if not requirement or of_conda.get(name) == one.version or installer.strip() == "conda":
            continue
        if name in of_conda:
            found.notes.append(
                f"{name} is left out: pip put {one.version} in the place of conda's "
                f"{of_conda[name]}. micromamba install {name}={one.version} can be kept."
            )
        elif clean != locked.get(name) and (name in locked or name not in needed):
            found.add.extend(filter(None, [portable(requirement, found.notes)]))
    gone = locked.keys() - names
    found.notes.extend(about_removed(gone, "environment.yml"))
    return found


def with_conda_env(
    places: Places, specs: list[str], pip: list[str], notes: list[str]
) -> dict[str, str]:
    """The environment files with these packages, made in a folder of their own.

    What is locked for dev only is kept there. What conda_env.py refuses is left out, and notes say
    why.
    """
    lock = places.dependencies
    in_dev = set(conda_locked(read(lock / "conda.lock").partition(DEV_PART)[2]))
    both = [pip_locked(read(lock / name)).keys() for name in ("pip-dev.lock", "pip.lock")]
    pip_in_dev = both[0] - both[1]
    wanted = [(spec, ["--dev"] if name_of(spec) in in_dev else []) for spec in specs]
    wanted += [(line, ["--pip"] + ["--dev"] * (name_of(line) in pip_in_dev)) for line in pip]
    # Like this program, without anything of the environment: PyYAML is beside conda_env.py.
    program = [sys.executable, "-EsSB", str(places.container / "conda_env.py"), "add"]
    names = [path.name for path in places.dependencies.glob("environment*.yml")]
    with copies(places.dependencies, names) as folder:
        for requirement, options in wanted:
            result = subprocess.run(
                [*program, *options, requirement],
                cwd=str(folder),
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            if result.returncode:
                why = (result.stderr.strip().splitlines() or ["conda_env.py failed."])[-1]
                why = re.sub(r"^conda_env: ", "", why)
                notes.append(f"{name_of(requirement)} is left out. {why}")
        return {name: read(folder / name) for name in names}


def package_changes(places: Places) -> Changes:
    """What is to change in the environment files.

    Raises:
        Stop: there is no lock.
    """
    conda, pip = found_by_conda(places), found_by_pip(places)
    notes = conda.notes + pip.notes
    if not conda.add and not pip.add:
        return Changes({}, notes)
    return Changes(with_conda_env(places, conda.add, pip.add, notes), notes)


if __name__ == "__main__":
    sys.exit(exit_status(package_changes))
