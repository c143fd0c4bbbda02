"""The pip parts of a conda environment: pip.lock and pip-dev.lock, which uv makes.

They are resolved beside the packages of conda.lock, which are installed in /opt/venv then.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import conda_file

# In an image they lie in one folder.
import stand_ins
from conda_file import DEV, MAIN, Environment
from conda_lock import (
    AGAIN,
    CONDA_LOCK,
    PIP_DEV_LOCK,
    PIP_LOCK,
    PROJECT,
    PROJECT_DEV,
    CondaError,
    Lock,
    digest,
    load_lock,
    project_file,
    read,
    say,
    upgrades,
)
from conda_solve import execute
from intake.names import PYPI_NAMES, is_python, pip_name
from intake.text import FileError, without_secret
from uv_project import NAME, addresses, project_tables, unreachable, uv_tables

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

VENV = Path("/opt/venv")
LEFT_OUT = "# left out, since its address cannot be had:"  # in a pip lock, before a name


def pip_lines(files: dict[str, Environment], name: str) -> list[str]:
    """The pip part that a pip lock is made of.

    Raises:
        FileError: a line is none that can be locked: an option, a path, a password, PyTorch.
    """
    file = MAIN if name == PIP_LOCK else DEV
    lines = files[file].pip if file in files else []
    of_project = files[PROJECT if name == PIP_LOCK else PROJECT_DEV].pip
    try:
        for line in lines:
            conda_file.check_spec(line, pip=True)
    except FileError as error:
        raise FileError(f"{file}, pip part: {error}") from None
    return [*lines, *of_project]


def pip_names(folder: Path) -> set[str]:
    """What the pip locks have."""
    paths = [folder / name for name in (PIP_LOCK, PIP_DEV_LOCK)]
    return {
        pip_name(line.rstrip(" \\"))
        for path in paths
        if path.exists()
        for line in requirements(conda_file.load(path))
    }


def requirements(text: str) -> list[str]:
    """The requirements of a pip lock, one a line, with their hashes; its indexes are none."""
    joined = re.sub(r"\\\r?\n\s*", "", re.sub(r"(?m)^\s*#.*\n?", "", text))
    lines = map(str.strip, joined.splitlines())
    return [line for line in lines if line and not line.startswith("--")]


def pip_input(folder: Path, name: str, files: dict[str, Environment]) -> str:
    """The hash of what goes into a pip lock."""
    names = (PIP_LOCK,) if name == PIP_LOCK else (PIP_LOCK, PIP_DEV_LOCK)
    lines = [sorted(pip_lines(files, each)) for each in names]
    places = project_file(folder).get("tool", {}).get("uv", {})
    from_where = [places[key] for key in ("sources", "index") if places.get(key)]
    return digest(lines, conda_file.load(folder / CONDA_LOCK), *from_where)


def pip_stale(folder: Path, name: str, files: dict[str, Environment]) -> str:
    """Why a pip lock does not match the files, "" where it does or is not needed."""
    path = folder / name
    if not pip_lines(files, name):
        return ""
    if not path.exists():
        return f"There is no {name} yet."
    made_of = re.search(r"(?m)^# input: (\S+)", conda_file.load(path))
    if not made_of or made_of[1] != pip_input(folder, name, files):
        return (
            f"{name} does not match the pip part of the environment files, what the project "
            f"requires, and {CONDA_LOCK}."
        )
    return ""


def present(lock: Lock) -> tuple[dict[str, str], dict[str, str]]:
    """The distributions that conda gives the runtime image, and those of the dev image.

    Those of the part dev need not be installed: their names in conda.lock say what they will be.
    """
    found = stand_ins.find([str(path) for path in VENV.glob("lib/python*/site-packages")])
    dev = {
        pip_name(PYPI_NAMES.get(package.name, package.name)): package.version
        for package in lock.parts["dev"]
        if is_python(package.build)
    }
    here = {
        name: distribution.version
        for name, distribution in sorted(found.items())
        # What uv has installed is of a pip lock.
        if (distribution.read_text("INSTALLER") or "").strip() != "uv"
    }
    runtime = {name: version for name, version in here.items() if name not in dev}
    return runtime, {**dev, **here}


def wanted_pip_locks(folder: Path, files: dict[str, Environment]) -> list[str]:
    """The pip locks that the files ask for; one that they do not ask for is removed."""
    wanted = [name for name in (PIP_LOCK, PIP_DEV_LOCK) if pip_lines(files, name)]
    for name in {PIP_LOCK, PIP_DEV_LOCK} - {*wanted}:
        (folder / name).unlink(missing_ok=True)
    return wanted


def pip_parts_verb(folder: Path, arguments: Sequence[str]) -> None:
    """Print the names of the pip locks that the files ask for, and remove the others."""
    if arguments:
        raise CondaError("pip-parts takes nothing.")
    print(*wanted_pip_locks(folder, read(folder)), sep="\n")


def pip_lock_verb(folder: Path, arguments: Sequence[str]) -> None:
    """Write pip.lock and pip-dev.lock, or remove them where there is no pip part."""
    upgrade = upgrades(arguments)
    files = read(folder)
    wanted = wanted_pip_locks(folder, files)
    if not wanted:
        return
    lock = load_lock(folder / CONDA_LOCK)
    if lock is None:
        raise CondaError(f"There is no {CONDA_LOCK} yet. {AGAIN}")
    runtime, dev = present(lock)
    if not runtime:
        raise CondaError(f"{VENV} has no packages of conda, so nothing can be made to fit them.")
    for name in wanted:
        keeps = upgrade is None and not has_left_out(folder / name)
        if keeps and not pip_stale(folder, name, files):
            say(f"{name} is up to date.")
        elif name == PIP_LOCK:
            write_pip_lock(folder, name, files, versions=runtime, upgrade=upgrade)
        else:
            versions, given = pinned(folder / PIP_LOCK)
            versions = {**dev, **versions}
            write_pip_lock(folder, name, files, versions=versions, upgrade=upgrade, given=given)


def has_left_out(path: Path) -> bool:
    """Whether a pip lock lacks what could not be had when it was made."""
    return path.exists() and LEFT_OUT in conda_file.load(path)


def pinned(path: Path) -> tuple[dict[str, str], list[str]]:
    """The versions of a pip lock, and the lines of what has an address instead."""
    lines = requirements(conda_file.load(path)) if path.exists() else []
    bare = [line.partition(" --hash")[0].strip() for line in lines]
    found = [match for line in bare if (match := re.match(r"([\w.-]+)==([^\s;]+)", line))]
    return {match[1]: match[2] for match in found}, [line for line in bare if " @ " in line]


def write_pip_lock(
    folder: Path,
    name: str,
    files: dict[str, Environment],
    *,
    versions: dict[str, str],
    upgrade: list[str] | None,
    given: Sequence[str] = (),
) -> None:
    """Let uv choose what goes with the distributions that are there, and write it down.

    Args:
        folder: dependencies/.
        name: the lock to write.
        files: the environment files.
        versions: the distributions that are there: each has one version to choose from.
        upgrade: names that may move, [] for all, None for as few as need be.
        given: requirements that are installed already, by their addresses.

    Raises:
        CondaError: somebody wants another version than conda's, or no versions fit.
    """
    lines = pip_lines(files, name)
    kept = {
        each: stand_ins.Package(each, version, stand_ins.stands_as(version), [], "")
        for each, version in versions.items()
    }
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for package in kept.values():
            stand_ins.write_stand_in(work / "index" / package.name, package, [])
        of_project = files[PROJECT if name == PIP_LOCK else PROJECT_DEV].pip
        own = [line for line in lines if line not in of_project]
        asked = [*own, *extras_of(lines), *given]
        (work / "pip.txt").write_text("".join(f"{line}\n" for line in asked), encoding="utf-8")
        out = work / name
        if (folder / name).exists():  # its versions are preferred
            out.write_bytes((folder / name).read_bytes())
        command = ["uv", "pip", "compile", "pip.txt", "pyproject.toml", "--quiet"]
        command += ["--python", f"{VENV}/bin/python"]
        command += ["--index", f"file://{work}/index", "--output-file", name]
        command += ["--generate-hashes", "--no-header", "--no-annotate"]
        for each in sorted({*kept, *map(pip_name, given)}):
            command += ["--no-emit-package", each]
        if upgrade is not None:
            command += [f"--upgrade-package={each}" for each in upgrade] or ["--upgrade"]
        had = {pip_name(line) for line in pinned(folder / name)[1]}
        done, indexes, missing = compiled(command, work, folder, of_project, kept.keys(), had=had)
        if done.returncode:
            say(without_secret(done.stderr.strip().replace(f"file://{work}/index", "conda")))
            why = "No versions of PyPI's packages fit the pip part"
            if of_project:
                why += " and what the project requires"
            raise CondaError(clash(done.stderr, kept, of_project) or f"{why}.")
        text = conda_file.load(out)
    check_hashes(name, text)
    about = (
        f"# The packages of PyPI that go with {CONDA_LOCK}, as ./template.sh lock found them.\n"
        f"# input: {pip_input(folder, name, files)}\n"
        + "".join(f"{LEFT_OUT} {each}\n" for each in missing)
        + "".join(f"--extra-index-url {url}\n" for url in indexes)
    )
    conda_file.save(folder / name, about + text)
    say(f"{name}: {len(requirements(text))} packages.")


def compiled(
    command: list[str],
    work: Path,
    folder: Path,
    lines: list[str],
    kept: AbstractSet[str],
    *,
    had: AbstractSet[str],
) -> tuple[subprocess.CompletedProcess[str], list[str], list[str]]:
    """Let uv lock what the project requires, without what it has from addresses that are gone.

    Says what is left out. A package that the lock has from an address stays: a network that fails
    robs no lock; `had` are such packages. The other arguments are uv's command, and those of
    `write_project`.

    Returns:
        What uv said, the addresses of the indexes, and the names of what is left out.
    """
    indexes: list[str] = []

    def lock(names: AbstractSet[str] = frozenset()) -> subprocess.CompletedProcess[str]:
        some = [line for line in lines if pip_name(line) not in names]
        indexes[:] = write_project(work, folder, some, kept)
        return execute(command, dict(os.environ), work)

    def said(names: AbstractSet[str]) -> str:
        done = lock(names)
        return done.stderr if done.returncode else ""

    done = lock()
    sources = project_file(folder).get("tool", {}).get("uv", {}).get("sources", {})
    found = {name: url for name, url in addresses(lines, sources).items() if name not in had}
    if not done.returncode or not found:
        return done, indexes, []
    missing = unreachable(found.keys(), said)
    if not missing:  # there is another reason, which uv tells where nothing is gone
        alone = lock(found.keys())
        return (alone if alone.returncode else done), indexes, []
    for name, why in missing.items():
        where = without_secret(found[name])
        say(f"{name} is left out, as {where} cannot be had: {why}. The next lock tries it again.")
    return lock(missing.keys()), indexes, [*missing]


def write_project(work: Path, folder: Path, lines: list[str], kept: Iterable[str]) -> list[str]:
    """Write what the project requires as uv reads it, with where that comes from.

    Args:
        work: the folder of the file.
        folder: dependencies/.
        lines: the requirements.
        kept: what conda has, which comes from nowhere else.

    Returns:
        The addresses of the indexes.
    """
    uv = project_file(folder).get("tool", {}).get("uv", {})
    sources = {
        name: one
        for name, one in uv.get("sources", {}).items()
        if name not in {*kept} and name in {pip_name(line) for line in lines}
    }
    indexes = uv.get("index", [])
    text = f"{project_tables(lines)}\n{uv_tables(sources, indexes)}"
    (work / "pyproject.toml").write_text(text, encoding="utf-8")
    return list(dict.fromkeys(index["url"] for index in indexes))


def extras_of(lines: Iterable[str]) -> list[str]:
    """What the extras of packages that conda has ask for: a stand-in knows no extras."""
    packaging = stand_ins.import_packaging(VENV)
    found = stand_ins.find([str(path) for path in VENV.glob("lib/python*/site-packages")])
    asked = []
    for line in lines:
        try:
            wanted = packaging.Requirement(line)
        except packaging.InvalidRequirement:
            continue
        distribution = found.get(stand_ins.normal(wanted.name))
        for need in (distribution.requires or []) if distribution else []:
            requirement = packaging.Requirement(need)
            marker = requirement.marker
            if marker and not marker.evaluate({"extra": ""}):
                requirement.marker = None
                asked += [str(requirement) for e in wanted.extras if marker.evaluate({"extra": e})][
                    :1
                ]
    return asked


def check_hashes(name: str, text: str) -> None:
    """Refuse a lock in which something is neither hashed nor a commit.

    Raises:
        CondaError: names it.
    """
    for line in requirements(text):
        pinned = re.search(r" @ git\+\S+@[0-9a-f]{40}", line)
        if "--hash=sha256:" not in line and not pinned:
            what = without_secret(line.partition(" --hash")[0])
            raise CondaError(
                f"{name} would have no hash of {what}; name a release of it, or a commit of git."
            )
        if without_secret(line) != line:
            raise CondaError(f"{name} would hold the password of {without_secret(line)[:100]}.")


def clash(words: str, kept: dict[str, stand_ins.Package], of_project: Iterable[str]) -> str:
    """The sentence on who wants another version than conda's, "" where nobody does."""
    project = {pip_name(line) for line in of_project}
    packaging = stand_ins.import_packaging(VENV)
    words = " ".join(words.split())
    for name, package in kept.items():
        wanted = rf"({re.escape(name)}(?:\[[\w,-]*\])?[<>=!~][^\s;]*)"
        asks = re.findall(rf"{stand_ins.ASKING} depends? on {wanted}", words)
        asks += [("", "", line) for line in re.findall(rf"you require {wanted}", words)]
        for asking_one, version, line in asks:
            who = "" if asking_one == NAME else asking_one
            there = {name: package.stands_as}
            for problem in stand_ins.unmet(who, [line.rstrip(".,")], there, packaging):
                asking = f"{who}{version.replace('==', ' ')} needs"
                if not who:
                    asking = f"{'The project' if name in project else 'A pip part'} asks for"
                other = f"another version of {who}" if who else "another line"
                return (
                    f"{asking} {problem.line}, but conda has {name} {package.version}: choose "
                    f"{other}, or ask conda for it: ./template.sh add '{problem.line}'"
                )
    return ""
