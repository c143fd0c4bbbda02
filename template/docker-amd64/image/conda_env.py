#!/usr/bin/env python3
"""Makes and checks the locks of a conda environment, and edits its files; runs in dependencies/.

conda_env.py lock [--upgrade [NAME...]]      solve the environment files, write conda.lock
conda_env.py check [LOCK...]                 exit status 1 where a lock does not match the files
conda_env.py split FOLDER                    FOLDER/{python,heavy,runtime,dev}.txt, for micromamba
conda_env.py pip-parts                       which pip locks the files ask for; removes others
conda_env.py pip-lock [--upgrade [NAME...]]  pip.lock, pip-dev.lock: what goes with /opt/venv
conda_env.py add [--dev] [--pip] SPEC...     edit an environment file
conda_env.py remove NAME...                  take packages out of the environment files
conda_env.py take FOLDER PROJECT [FILE...]   take in what the code lists; PROJECT is JSON
conda_env.py plan-import FOLDER PROJECT [FILE...]   print as JSON what an import would do

conda.lock is an explicit list that micromamba installs without solving. It has four parts, for the
layers of the images: python (with PyTorch and all that it needs), heavy (large packages and all
that they need), runtime, and dev. A lock of an older version has no heavy part. Its addresses are
of the public channels, wherever packages came from: a mirror is a fact of one machine.

What the project itself requires, in project/pyproject.toml, belongs to the pip parts, but for what
is compiled against PyTorch, which conda brings. What conda has already is not installed twice.

Python 3.10 or newer with PyYAML, micromamba and uv on PATH.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import conda_file
from conda_file import CUDA, DEV, MAIN, Environment
from conda_lock import (
    AGAIN,
    CONDA_LOCK,
    PIP_DEV_LOCK,
    PIP_LOCK,
    PROJECT,
    PROJECT_DEV,
    PUBLIC,
    CondaError,
    Lock,
    Locked,
    channels_of,
    grouped,
    input_of,
    load_lock,
    locked,
    read,
    say,
    specs_of,
    stale,
    text_of,
    upgrades,
    virtual_packages,
)
from conda_pip import pip_lock_verb, pip_names, pip_parts_verb, pip_stale
from conda_solve import AbsentError, ConflictError, UnsolvableError, solve
from intake.names import PYPI_NAMES, REQUIREMENT, name_of, pip_name
from intake.text import FileError, without_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conda_intake import Misfits

# Whose builds for CUDA and for the CPU have one name; conda-forge marks them in the build string.
FRAMEWORKS = {"pytorch": "PyTorch", "jaxlib": "JAX", "tensorflow-base": "TensorFlow"}


# --- what suits the project -----------------------------------------------------------------------


def limits_of(files: dict[str, Environment]) -> dict[str, str]:
    """The versions of conda's packages that suit the project, by conda's names.

    The solver need not install them, but what it installs shall not contradict the project.
    """
    of_pypi: dict[str, list[str]] = {}
    for conda, pypi in PYPI_NAMES.items():
        of_pypi.setdefault(pip_name(pypi), []).append(conda)
    found: dict[str, str] = {}
    for line in (*files[PROJECT].pip, *files[PROJECT_DEV].pip):
        match = REQUIREMENT.fullmatch(line)
        version = "".join((match["rest"] or "").split()) if match else ""
        if not match or not re.match(r"[<>=!~]=?[^=]", version) or ";" in version:
            continue
        # conda reads == with a star as a version of that name.
        version = re.sub(r"==([^,]*)\.\*", r"=\1", version)
        for name in of_pypi.get(pip_name(line), [pip_name(line)]):
            found[name] = f"{found[name]},{version}" if name in found else version
    return found


def broken_limits(lock: Lock, limits: dict[str, str]) -> list[str]:
    """The packages of a lock that do not suit the project."""
    from intake.found import fits  # noqa: PLC0415  not in the dev image, which has no packaging

    return [
        package.name
        for package in lock.packages
        if package.name in limits and not fits(package.version, pip_limit(limits[package.name]))
    ]


def pip_limit(version: str) -> str:
    """Limits of conda's as pip writes them."""
    return re.sub(r"(?<![<>=!~])=(?!=)([^,]*)", r"==\1.*", version)


# --- the verbs ------------------------------------------------------------------------------------


def check_build(lock: Lock, files: dict[str, Environment]) -> None:
    """Refuse a CPU build of a framework where CUDA was chosen.

    One that the files ask for by its build is what the person wants, but for PyTorch, whose build
    is an answer.

    Raises:
        CondaError: that is what the lock has.
    """
    cuda = virtual_packages().get("__cuda", "")
    if not cuda:
        return
    asked = {name_of(spec) for spec in specs_of(files) if re.search(r"\bcpu", spec)}
    for package in lock.packages:
        title = FRAMEWORKS.get(package.name, "")
        if not title or "cuda" in package.build or package.name in asked - {"pytorch"}:
            continue
        chose = (
            f"conda chose a CPU build of {title} ({'-'.join(package[:3])}) although CUDA {cuda} "
            "was asked for"
        )
        if package.name == "pytorch" and CUDA in files:
            raise CondaError(
                f"{chose}: put pytorch-gpu and cuda-version={cuda} back into {CUDA}, where the "
                "template had them."
            )
        raise CondaError(
            f"{chose}: there may be no build of this version for it. {MAIN} can insist on one for "
            f"CUDA, '{package.name}=*=*cuda*', or ask for this one, '{package.name}=*=*cpu*'."
        )


def lock_verb(folder: Path, arguments: Sequence[str]) -> None:
    """Write conda.lock; versions of the present one stay where they fit and are not freed."""
    upgrade = upgrades(arguments)
    files = read(folder)
    limits = limits_of(files)
    path = folder / CONDA_LOCK
    try:
        old = load_lock(path)
    except CondaError as error:
        say(f"{error} It is made anew.")
        old = None
    unsuitable = broken_limits(old, limits) if old else []
    if old and upgrade is None and not stale(old, files) and not unsuitable:
        check_build(old, files)
        say(f"{CONDA_LOCK} is up to date.")
        return
    free = {*(upgrade or []), *unsuitable}
    if old and upgrade:
        known = {package.name for package in old.packages} | pip_names(folder)
        if unknown := sorted({*upgrade} - known):
            raise CondaError(
                f"The locks have no package {unknown[0]}, so there is nothing to upgrade."
            )
    kept = [] if old is None or upgrade == [] else old.packages
    pins = [f"{name}=={version}={build}" for name, version, build, _ in kept if name not in free]
    suits = [f"{name}{version}" for name, version in limits.items()]
    if old:
        records = solve_or_name(folder, files, pins, suits)
    else:
        files, records = solve_first(folder, suits)
    channels = channels_of(files)
    parts = {
        part: [locked(record, channels) for record in group]
        for part, group in grouped(records, files).items()
    }
    lock = Lock(input_of(files), virtual_packages(), parts)
    check_build(lock, files)
    conda_file.save(path, text_of(lock))
    say(*changes(old.packages if old else [], lock.packages))


def solve_with(
    files: dict[str, Environment], pins: list[str], limits: list[str]
) -> list[dict[str, Any]]:
    """Solve with the versions of the lock and what suits the project; else with less of it.

    What the project asks for and conda cannot have is told when the pip parts are locked.
    """
    try:
        return solve(files, [*pins, *limits])
    except UnsolvableError:
        if not pins and not limits:
            raise
    if pins and limits:
        with contextlib.suppress(UnsolvableError):
            records = solve(files, limits)
            say(f"The versions of {CONDA_LOCK} do not fit any more: everything was solved anew.")
            return records
    records = solve(files, [])
    if pins:
        say(f"The versions of {CONDA_LOCK} do not fit any more: everything was solved anew.")
    return records


def solve_or_name(
    folder: Path, files: dict[str, Environment], pins: list[str], limits: list[str]
) -> list[dict[str, Any]]:
    """Solve, or name the lines that no channel has anything for, with their places.

    Raises:
        CondaError: there is no solution.
    """
    import conda_absent  # noqa: PLC0415  not in the dev image, where this program edits files only

    try:
        return solve_with(files, pins, limits)
    except AbsentError as error:
        absent = conda_absent.look_up(error.specs, channels_of(files))
        sentences = [one.sentence(folder) for one in absent] or [str(error)]
        say(*sentences[1:])
        raise CondaError(sentences[0]) from None
    except ConflictError as error:
        lines = conda_absent.in_conflict(folder, error.problems)
        raise CondaError(f"{error} {lines}".rstrip()) from None


def solve_first(
    folder: Path, limits: list[str]
) -> tuple[dict[str, Environment], list[dict[str, Any]]]:
    """Solve without a lock: what an import took stops itself, not the rest, and is said.

    A line that no channel has is left out; one whose version does not fit loses the version. Once
    there is a lock, nothing is changed: a channel may lack a package for a day.
    """
    import conda_absent  # noqa: PLC0415

    while True:
        files = read(folder)
        try:
            return files, solve_with(files, [], limits)
        except AbsentError as error:
            absent = conda_absent.look_up(error.specs, channels_of(files))
            notes = conda_absent.leave_out(folder, absent)
        except ConflictError as error:
            notes = conda_absent.loosen(folder, error.problems)
        say(*notes)
        if not notes:
            return files, solve_or_name(folder, files, [], limits)


def misfits(folder: Path, texts: Mapping[str, str]) -> Misfits:
    """What cannot be had once the environment files have these texts.

    Nothing if that cannot be known: the lock that follows says what is wrong.
    """
    import conda_absent  # noqa: PLC0415

    files = read(folder) | {name: conda_file.parse(text, name) for name, text in texts.items()}
    try:
        solve(files, [])
    except AbsentError as error:
        absent = conda_absent.look_up(error.specs, channels_of(files))
        return {one.name: one.reason() for one in absent}, set()
    except ConflictError as error:
        return {}, conda_absent.named_in(error.problems)
    except CondaError:
        pass
    return {}, set()


def changes(old: list[Locked], new: list[Locked]) -> list[str]:
    """What is new in a lock, in a few lines."""
    before = {package.name: package for package in old}
    after = {package.name: package for package in new}
    if not before:
        return [f"{CONDA_LOCK}: {len(after)} packages."]
    lines = [
        f"  {name} {before[name].version} -> {after[name].version}"
        for name in after
        if name in before and before[name].version != after[name].version
    ]
    lines += [
        f"  + {name} {package.version}" for name, package in after.items() if name not in before
    ]
    lines += [
        f"  - {name} {package.version}" for name, package in before.items() if name not in after
    ]
    most = 30
    more = [f"  ... and {len(lines) - most} more"] if len(lines) > most else []
    return [f"{CONDA_LOCK}: {len(after)} packages.", *lines[:most], *more]


def check_verb(folder: Path, arguments: Sequence[str]) -> None:
    """Say whether the locks, or those that are named, match the environment files.

    Raises:
        CondaError: one does not.
    """
    known = (CONDA_LOCK, PIP_LOCK, PIP_DEV_LOCK)
    if set(arguments) - {*known}:
        raise CondaError(f"check knows {', '.join(known)}.")
    files = read(folder)
    for name in arguments or known:
        if name == CONDA_LOCK:
            why = stale(load_lock(folder / CONDA_LOCK), files)
        else:
            why = pip_stale(folder, name, files)
        if why:
            raise CondaError(f"{why} {AGAIN}")


def split_verb(folder: Path, arguments: Sequence[str]) -> None:
    """Write each part of conda.lock as a file for micromamba, with this machine's mirror."""
    if len(arguments) != 1:
        raise CondaError("split needs a folder.")
    lock = load_lock(folder / CONDA_LOCK)
    if lock is None:
        raise CondaError(f"There is no {CONDA_LOCK} yet. {AGAIN}")
    check_build(lock, read(folder))
    alias = (os.environ.get("MAMBA_CHANNEL_ALIAS") or PUBLIC).rstrip("/")
    if without_secret(alias) != alias:
        raise CondaError(
            "MAMBA_CHANNEL_ALIAS holds a token or password, which the image would keep."
        )
    target = Path(arguments[0])
    target.mkdir(parents=True, exist_ok=True)
    for part, packages in lock.parts.items():
        lines = [re.sub(f"^{PUBLIC}(?=/)", lambda _: alias, package.line) for package in packages]
        content = "".join(f"{line}\n" for line in ["@EXPLICIT", *lines])
        (target / f"{part}.txt").write_text(content, encoding="utf-8")


def add_verb(folder: Path, arguments: Sequence[str]) -> None:
    """Add packages to an environment file, or replace them there; all of them or none."""
    options = {"--dev", "--pip"} & set(arguments)
    specs = [word for word in arguments if word not in {*options, "--"}]
    if not specs or any(spec.startswith("-") for spec in specs):
        raise CondaError("add knows --dev and --pip, and needs the name of a package.")
    name, pip = (DEV if "--dev" in options else MAIN), "--pip" in options
    path = folder / name
    text = conda_file.load(path)
    for spec in specs:
        text = conda_file.put(text, spec, pip=pip, where=name)
        # It comes from one of the two: the other part's line of that name goes.
        plain = pip_name(spec) if pip else name_of(spec)
        text = conda_file.remove(text, plain, pip=not pip, where=name)
    conda_file.save(path, text)


def remove_verb(folder: Path, arguments: Sequence[str]) -> None:
    """Take the user's lines of packages out of the environment files; all of them or none.

    Raises:
        CondaError: no file lists one of them.
    """
    names = [word for word in arguments if word != "--"]
    if not names or any(name.startswith("-") for name in names):
        raise CondaError("remove needs the name of a package.")
    texts = {name: conda_file.load(folder / name) for name in (MAIN, DEV)}
    new, absent = dict(texts), []
    for package in names:
        before = dict(new)
        for name, text in before.items():
            rest = conda_file.remove(text, package, where=name)
            new[name] = conda_file.remove(rest, package, pip=True, where=name)
        if new == before:
            absent.append(package)
    if absent:
        sentences = [why_not_removed(folder, name) for name in absent]
        say(*sentences[:-1])
        raise CondaError(sentences[-1])
    for name, text in new.items():
        if text != texts[name]:
            conda_file.save(folder / name, text)


def why_not_removed(folder: Path, package: str) -> str:
    """Why a package that no line of the user names cannot be removed, with what helps."""
    files = read(folder)
    name = name_of(package)
    if name in {name_of(spec) for file in files.values() for spec in file.owned}:
        said = f"{package} is in the lines of the environment files that are the template's"
        return f"{said}: ./template.sh update changes them after your answers."
    of_project = (line for one in (PROJECT, PROJECT_DEV) for line in files[one].pip)
    if pip_name(package) in {pip_name(line) for line in of_project}:
        return f"The project's own metadata requires {package}: delete it there. {AGAIN}"
    lock = load_lock(folder / CONDA_LOCK)
    if lock and name in {one.name for one in lock.packages} | pip_names(folder):
        return f"No file lists {package}: it is in the lock because other packages need it."
    listed = {name_of(spec) for spec in specs_of(files)}
    listed |= {pip_name(line) for one in (MAIN, DEV) if one in files for line in files[one].pip}
    near = get_close_matches(name, sorted(listed), n=1)
    return f"No environment file lists {package}." + (f" Did you mean {near[0]}?" if near else "")


def take_verb(folder: Path, arguments: Sequence[str]) -> None:
    """Take in what the code lists, unless environment.yml has packages of its own.

    The files are those that are named, relative to the folder of the code, or those found there.

    Raises:
        CondaError: no file could be read.
    """
    # Not in the dev image, where this program edits files only.
    import conda_intake  # noqa: PLC0415
    from intake.discovery import named  # noqa: PLC0415
    from intake.found import Wanted  # noqa: PLC0415

    if len(arguments) < 2:  # noqa: PLR2004
        raise CondaError("take needs the folder of the code, and what project.json says.")
    root, wanted = Path(arguments[0]), Wanted.of_project(json.loads(arguments[1]))
    files = [named(root, name) for name in arguments[2:]] or conda_intake.lists_of(root)
    done = conda_intake.take(folder, root, files, wanted)
    if done is None:
        say(f"{MAIN} lists packages of yours already; nothing was taken in.")
    elif done.broken and not done.files:
        raise CondaError(" ".join(done.broken))
    else:
        title = f"Imported the packages of {', '.join(done.files)} into dependencies/{MAIN}."
        lines = [*done.broken, *done.notes]
        say(*([title] if done.files else []), *(f"  {line}" for line in lines))


def plan_import_verb(folder: Path, arguments: Sequence[str]) -> None:
    """Print as JSON what an import of files would do.

    Raises:
        CondaError: the folder of the code or the answers are missing.
    """
    import conda_intake  # noqa: PLC0415  not in the dev image, where this program edits files only
    from intake.found import Wanted  # noqa: PLC0415

    if len(arguments) < 2:  # noqa: PLR2004
        raise CondaError("plan-import needs the folder of the code, and what project.json says.")
    wanted = Wanted.of_project(json.loads(arguments[1]))
    plan = conda_intake.plan(
        *(folder, Path(arguments[0]), arguments[2:], wanted),
        misfits=lambda texts: misfits(folder, texts),
    )
    print(json.dumps(plan))


VERBS: dict[str, Callable[[Path, Sequence[str]], None]] = {
    "lock": lock_verb,
    "check": check_verb,
    "split": split_verb,
    "pip-parts": pip_parts_verb,
    "pip-lock": pip_lock_verb,
    "add": add_verb,
    "remove": remove_verb,
    "take": take_verb,
    "plan-import": plan_import_verb,
}


def main(arguments: Sequence[str]) -> int:
    """Do what the text of the module says; the exit status is 1 where that was not possible."""
    verb = VERBS.get(arguments[0]) if arguments else None
    if verb is None:
        print(f"conda_env: say one of {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    try:
        verb(Path.cwd(), arguments[1:])
    except (CondaError, FileError, OSError, ImportError) as error:
        print(f"conda_env: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
