#!/usr/bin/env python3
"""Makes and checks the locks of a conda environment, and edits its files; runs in dependencies/.

conda_env.py lock [--upgrade [NAME...]]      solve the environment files, write conda.lock
conda_env.py check [LOCK...]                 exit status 1 where a lock does not match the files
conda_env.py split FOLDER                    FOLDER/{python,heavy,runtime,dev}.txt, for micromamba
conda_env.py pip-parts                       which pip locks the files ask for; removes others
conda_env.py pip-lock [--upgrade [NAME...]]  pip.lock, pip-dev.lock: what goes with /opt/venv
conda_env.py add [--dev] [--pip] SPEC...     edit an environment file
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
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

import conda_file

# In an image the three lie in one folder.
import stand_ins
from conda_file import CUDA, DEV, MAIN, Environment
from intake.family import FOLLOWERS
from intake.names import PYPI_NAMES, REQUIREMENT, is_python, name_of, pip_name
from intake.text import FileError, without_secret
from uv_project import NAME, project_tables, uv_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from conda_intake import Misfits

VENV = Path("/opt/venv")
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
# Whose builds for CUDA and for the CPU have one name; conda-forge marks them in the build string.
FRAMEWORKS = {"pytorch": "PyTorch", "jaxlib": "JAX", "tensorflow-base": "TensorFlow"}
AGAIN = "Run: ./template.sh lock"


class CondaError(Exception):
    """What is wrong, in one sentence."""


class UnsolvableError(CondaError):
    """No packages fit what is asked for."""


class AbsentError(UnsolvableError):
    """No channel has what some lines ask for; `specs` are those lines as micromamba writes them."""

    def __init__(self, sentence: str, specs: Sequence[str]) -> None:
        """Keep the lines."""
        super().__init__(sentence)
        self.specs = specs


class ConflictError(UnsolvableError):
    """Packages do not go together; `problems` are the solver's sentences."""

    def __init__(self, sentence: str, problems: Sequence[str]) -> None:
        """Keep the sentences."""
        super().__init__(sentence)
        self.problems = problems


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


# --- the environment files and what they mean -----------------------------------------------------


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


# --- conda.lock -----------------------------------------------------------------------------------


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


# --- micromamba -----------------------------------------------------------------------------------


def solve(files: dict[str, Environment], pins: Iterable[str]) -> list[dict[str, Any]]:
    """Let micromamba choose packages for all files together; gives its records of them.

    Raises:
        UnsolvableError: a package does not exist, or two do not go together.
        CondaError: a channel cannot be read, or there is no micromamba.
    """
    content = {"channels": channels_of(files), "dependencies": specs_of(files)}
    virtual = virtual_packages()
    environment = {
        **os.environ,
        "CONDA_OVERRIDE_ARCHSPEC": virtual["__archspec"],
        "CONDA_OVERRIDE_CUDA": virtual.get("__cuda", ""),
        "CONDA_OVERRIDE_GLIBC": virtual["__glibc"],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = ["micromamba", "create", "--dry-run", "--json", "--yes"]
        command += ["--prefix", str(folder / "prefix"), "--channel-priority", "strict"]
        if kept := list(pins):
            rc = folder / "pins.yml"
            rc.write_text(yaml.safe_dump({"pinned_packages": kept}), encoding="utf-8")
            command += ["--rc-file", str(rc)]
        file = folder / MAIN
        file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        done = execute([*command, "--file", str(file)], environment)
    try:
        answer = json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError:
        answer = {}
    records = answer.get("actions", {}).get("LINK", [])
    if done.returncode or not answer.get("success") or not records:
        raise explained(answer, done.stderr, channels_of(files))
    return list(records)


def execute(
    command: list[str], environment: dict[str, str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program and keep what it says.

    Raises:
        CondaError: it is not there.
    """
    try:
        return subprocess.run(
            command,
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise CondaError(f"{command[0]} cannot be started: {error.strerror}.") from None


def explained(answer: dict[str, Any], stderr: str, channels: list[str]) -> CondaError:
    """What micromamba's failure means, as one sentence."""
    problems = [" ".join(str(problem).split()) for problem in answer.get("solver_problems", [])]
    log = [str(row.get("message", "")) for row in answer.get("log_history", [])]
    words = without_secret("\n".join([*problems, *log, stderr]))
    words = re.sub(r"\x1b\[[0-9;]*m", "", words)
    asked = ", ".join(name for name in channels if name != conda_file.NO_DEFAULTS)
    absent = re.search(
        r"nothing provides (?:requested )?(.+?)(?: needed by (\S+))?\s*$", words, re.MULTILINE
    )
    unknown = re.search(r"[─-]\s*(.+?) does not exist \(perhaps", words)
    if absent and absent[1].startswith("__"):
        has = " ".join("=".join(pair) for pair in virtual_packages().items())
        return UnsolvableError(f"{absent[2]} needs {absent[1]}, but the images have {has}.")
    if absent and absent[2]:
        return ConflictError(
            f"{absent[2]} needs {absent[1]}, which is not in the channels ({asked}).", problems
        )
    if missing := absent or unknown:
        requested = re.findall(r"(?m)nothing provides requested (.+?)\s*$", words)
        return AbsentError(
            f"There is no package {missing[1].strip()} in the channels ({asked}).",
            requested or [missing[1].strip()],
        )
    if not problems and (channel := unreachable(words)):
        return CondaError(channel)
    said = (
        "; ".join(dict.fromkeys(problems)) or " ".join(words.split()) or "micromamba said nothing"
    )
    if len(said) > 400:  # noqa: PLR2004
        said = said[:400].rsplit(" ", 1)[0] + " ..."
    if problems or "Could not solve" in words:
        return ConflictError(
            f"No packages fit the environment files: {said.rstrip('.')}.", problems
        )
    return CondaError(f"micromamba failed: {said.rstrip('.')}.")


NO_CHANNEL = re.compile(
    r"Could not (?:resolve|connect)|Couldn't|Download error|Failed to|[Tt]imed? ?out|"
    r"[Cc]ertificate|(?:status|code)\D{0,30}[45]\d\d|(?:load|retrieve) repodata"
)


def unreachable(words: str) -> str:
    """The sentence on a channel that cannot be read, "" where it is something else."""
    line = next((line for line in words.splitlines() if NO_CHANNEL.search(line)), "")
    if not line:
        return ""
    url = re.search(r"(?:https?|file)://[^\s\]\"']+", words)
    where = f"The channel of {url[0]}" if url else "A channel"
    keys = "CONDA_AUTH_FILE (tokens) or NETRC_FILE (passwords)"
    if re.search(r"\b40[13]\b", words):
        return f"{where} cannot be read without a login: name a file of it as {keys} in .env."
    # Some servers say so to everybody without a login.
    if re.search(r"(?:status|code)\D{0,30}404\b", words):
        return (
            f"{where} cannot be read: it is not there, or needs a login, whose file .env names as "
            f"{keys}."
        )
    return f"{where} cannot be read: {' '.join(line.split())[:200].rstrip('.')}."


# --- the verbs ------------------------------------------------------------------------------------


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


# --- the pip parts --------------------------------------------------------------------------------


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
        if upgrade is None and not pip_stale(folder, name, files):
            say(f"{name} is up to date.")
        elif name == PIP_LOCK:
            write_pip_lock(folder, name, files, versions=runtime, upgrade=upgrade)
        else:
            versions, given = pinned(folder / PIP_LOCK)
            versions = {**dev, **versions}
            write_pip_lock(folder, name, files, versions=versions, upgrade=upgrade, given=given)


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
        indexes = write_project(work, folder, of_project, kept.keys())
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
        done = execute(command, dict(os.environ), work)
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
        + "".join(f"--extra-index-url {url}\n" for url in indexes)
    )
    conda_file.save(folder / name, about + text)
    say(f"{name}: {len(requirements(text))} packages.")


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


VERBS: dict[str, Callable[[Path, Sequence[str]], None]] = {
    "lock": lock_verb,
    "check": check_verb,
    "split": split_verb,
    "pip-parts": pip_parts_verb,
    "pip-lock": pip_lock_verb,
    "add": add_verb,
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
