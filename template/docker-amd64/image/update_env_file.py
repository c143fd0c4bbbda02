#!/opt/venv/bin/python -IS
"""Writes what is installed in this container into the dependency files of the project.

    update_env_file        shows the difference as a diff, asks, and writes it
    update_env_file -y     does not ask

It compares the environment in /opt/venv with the lock in /opt/dependencies, where Compose mounts
the project's docker-amd64/dependencies, and the packages of the distribution with those that the
image was built with. Nothing is asked where there is no terminal, and nothing written without -y.

pip way:    uv names what is installed and locked; `uv add` edits pyproject.toml and uv.lock.
conda way:  read are conda-meta and what pip added; conda_env.py edits environment.yml. The lock
            follows with the next build.

The project itself is left out, like everything installed from a folder: no build can have that.
Exit status: 0 also if nothing was to be written, 1 after a failure, 2 for a wrong option. Standard
library only, Python 3.8 or newer; started with -IS, so that no package of yours can break it.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER = "docker-amd64/dependencies"
APT_LISTS = ("apt-dev.txt", "apt-build.txt", "apt-runtime.txt")
# Wheels that the build compiled itself: the image has them by the Dockerfile, not by a lock.
OF_THE_BUILD = "file:///mnt/wheels/"
# In environment.yml these lines are the template's.
OWNED = {"cuda-version", "pip", "python", "pytorch", "pytorch-gpu", "setuptools"}
PUBLIC_CHANNELS = "https://conda.anaconda.org"
DEV_PART = "\n# dev\n"  # of conda.lock


class Stop(Exception):  # noqa: N818  (it is no error of the program)
    """The one sentence with which the program ends."""


class Places(NamedTuple):
    """Where things are; tests have them elsewhere."""

    dependencies: Path = Path("/opt/dependencies")
    venv: Path = Path("/opt/venv")
    container: Path = Path("/opt/container")
    base: Path = Path("/opt/base")


class Found(NamedTuple):
    """What is installed and not in the files: requirements to add, and what cannot be added."""

    add: list[str]
    notes: list[str]


def say(text: str) -> None:
    """Print a line for people; stdout has the diff and nothing else."""
    print(text, file=sys.stderr, flush=True)


def normal(name: str) -> str:
    """The one spelling of a Python distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """The name in `name==1`, `name=1`, `name @ https://...`, `channel::name[version=1]`."""
    return re.split(r"[][\s=@<>!~;(]", requirement.rpartition("::")[2].strip(), maxsplit=1)[0]


def read(path: Path) -> str:
    """The text of a file with its line ends as they are; "" where there is no file."""
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""


# --- what can be written -------------------------------------------------------------------------


def without_password(requirement: str) -> str:
    """The requirement with the address as it may stand in a file that others read."""
    return re.sub(r"(https?://)[^/@\s]+@", r"\1", requirement)


def portable(requirement: str, notes: list[str]) -> str:
    """The requirement as it can be written, or "" where no build could have it; notes say why."""
    name, _, address = requirement.partition(" @ ")
    if address.startswith(OF_THE_BUILD):
        return ""
    if re.match(r"(\w+\+)?file:", address):
        notes.append(f"{name} is left out: it comes from a folder of this container, {address}.")
        return ""
    clean = without_password(requirement)
    if clean != requirement:
        notes.append(
            f"{name} is written without the password in its address: that belongs into the file "
            "that NETRC_FILE in .env names."
        )
    return clean


def left_to_answers(name: str, version: str) -> str:
    """The note about a package whose version the template's answers decide."""
    return f"{name} {version} is left out: an answer decides it (template.sh update --data ...)."


# --- the pip way ---------------------------------------------------------------------------------


def uv_environment() -> dict[str, str]:
    """The environment for uv, without what `uv add` would write into pyproject.toml.

    Indexes are facts of this machine. Of UV_INDEX the build knows nothing; the default one is
    handed over under its older name, which uv does not write down.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ("UV_DEFAULT_INDEX", "UV_INDEX")}
    if os.environ.get("UV_DEFAULT_INDEX"):
        environment["UV_INDEX_URL"] = os.environ["UV_DEFAULT_INDEX"]
    return environment


def uv(folder: Path, *arguments: str) -> str:
    """What uv prints on stdout.

    Raises:
        Stop: uv is not there, or fails; it has said why.
    """
    try:
        result = subprocess.run(
            ["uv", *arguments],
            cwd=str(folder),
            env=uv_environment(),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    except FileNotFoundError:
        raise Stop("There is no uv here: this is not the dev container.") from None
    if result.returncode:
        say(result.stderr.rstrip())
        raise Stop(f"uv {' '.join(arguments[:2])} failed; nothing is written.")
    return result.stdout


def lines_without_markers(text: str) -> list[str]:
    """The requirements that `uv export` prints, without `; sys_platform == ...`."""
    return [line.split(" ;")[0].strip() for line in text.splitlines() if line.strip()]


def found_by_uv(places: Places) -> Found:
    """What is installed in the environment and not in uv.lock.

    A package that another one brought along comes by itself; one whose version changed is wanted.

    Raises:
        Stop: there is no lock, or uv fails.
    """
    folder = places.dependencies
    if not (folder / "uv.lock").exists():
        raise Stop(f"There is no uv.lock to compare with yet. Run outside: {template_sh()} lock")
    options = ("--all-groups", "--no-hashes", "--no-annotate", "--no-header", "--no-emit-project")
    locked = lines_without_markers(uv(folder, "export", "--quiet", "--frozen", *options))
    versions = {name_of(line) for line in locked}
    python = ("--python", str(places.venv / "bin/python"))
    roots = uv(folder, "pip", "tree", "--depth", "0", *python).splitlines()
    wanted = versions | {name_of(line) for line in roots}
    found, installed = Found([], []), set()
    for line in uv(folder, "pip", "freeze", "--exclude-editable", *python).splitlines():
        name = name_of(line)
        installed.add(name)
        if without_password(line) in locked or name not in wanted:
            continue
        requirement = portable(line, found.notes)
        if name == "torch" and requirement and os.environ.get("CHOSEN_TORCH"):
            found.notes.append(left_to_answers(name, line[len(name) :].lstrip("= @")))
        elif requirement:
            found.add.append(requirement)
    gone = named_in_lock(places) - installed - set(read(places.base / "names.txt").split())
    found.notes.extend(about_removed(gone, "pyproject.toml"))
    return found


def named_in_lock(places: Places) -> set[str]:
    """The packages that pyproject.toml itself names, as far as they are for this platform."""
    folder = places.dependencies
    tree = uv(folder, "tree", "--frozen", "--all-groups", "--depth", "1").splitlines()
    return {name_of(line[4:]) for line in tree[1:] if line[:1] in "├└"}


def about_removed(names: Iterable[str], file: str) -> list[str]:
    """The note about packages that the lock has and the container has not."""
    listed = ", ".join(sorted(names))
    if not listed:
        return []
    return [f"Not installed any more: {listed}. To remove one for good, delete its line in {file}."]


def with_uv_add(places: Places, wanted: list[str]) -> dict[str, str]:
    """pyproject.toml and uv.lock with these packages, made in a folder of their own.

    Raises:
        Stop: uv cannot add them; it has said why.
    """
    names = ("pyproject.toml", "uv.lock")
    with copies(places.dependencies, names) as folder:
        try:
            uv(folder, "add", "--quiet", "--no-sync", "--raw", "--", *wanted)
        except Stop:
            arguments = " ".join(f"'{line}'" for line in wanted)
            raise Stop(
                f"uv cannot add {arguments}; nothing is written. Where only a password is missing, "
                f"this has that of NETRC_FILE: {template_sh()} add {arguments}"
            ) from None
        return {name: read(folder / name) for name in names}


@contextlib.contextmanager
def copies(source: Path, names: Iterable[str]) -> Iterator[Path]:
    """A folder of the moment with copies of these files, as far as they are there."""
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            if (source / name).exists():
                shutil.copyfile(str(source / name), str(Path(temporary, name)))
        yield Path(temporary)


# --- the conda way -------------------------------------------------------------------------------


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
    """The log of what was installed; in each step, what it removes stands before what it adds.

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

    What is locked for dev only stays there. What conda_env.py refuses is left out, and notes say
    why.
    """
    lock = places.dependencies
    in_dev = set(conda_locked(read(lock / "conda.lock").partition(DEV_PART)[2]))
    both = [pip_locked(read(lock / name)).keys() for name in ("pip-dev.lock", "pip.lock")]
    pip_in_dev = both[0] - both[1]
    wanted = [(spec, ["--dev"] if name_of(spec) in in_dev else []) for spec in specs]
    wanted += [(line, ["--pip"] + ["--dev"] * (name_of(line) in pip_in_dev)) for line in pip]
    # Like this program, without anything of the environment: PyYAML lies beside conda_env.py.
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


# --- packages of the distribution ----------------------------------------------------------------


def names_in(text: str) -> set[str]:
    """The packages that a list names; `#` starts a comment."""
    return {name for line in text.splitlines() for name in line.split("#", maxsplit=1)[0].split()}


def apt_added(places: Places) -> Found:
    """The packages of the distribution that somebody installed since the image was built."""
    own = places.container / "apt-manual.txt"
    if not own.exists() or not shutil.which("apt-mark"):
        return Found([], ["The image has no list of its apt packages: those are not compared."])
    result = subprocess.run(
        ["apt-mark", "showmanual"], stdout=subprocess.PIPE, encoding="utf-8", check=False
    )
    if result.returncode:
        return Found([], ["apt-mark failed: the packages of the distribution are not compared."])
    listed = {name for file in APT_LISTS for name in names_in(read(places.dependencies / file))}
    return Found(sorted(set(result.stdout.split()) - names_in(read(own)) - listed), [])


def with_lines(text: str, names: list[str]) -> str:
    """A list with more lines at its end; all that was in it stays as it is."""
    end = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith("\n"):
        text += end
    return text + "".join(f"{name}{end}" for name in names)


# --- showing and writing -------------------------------------------------------------------------


def template_sh() -> str:
    """The name by which the person called template.sh, when that started this program."""
    return os.environ.get("TEMPLATE_SH") or "./template.sh"


def all_found(places: Places) -> tuple[dict[str, str], list[str]]:
    """The files as they should be, by their names, and notes for the person.

    Raises:
        Stop: there is nothing to compare with, or one of the programs asked fails.
    """
    if not places.dependencies.is_dir():
        raise Stop(f"{places.dependencies} is not there: this is not the dev container.")
    files: dict[str, str] = {}
    apt = apt_added(places)
    if (places.venv / "conda-meta").is_dir():
        conda, pip = found_by_conda(places), found_by_pip(places)
        notes = conda.notes + pip.notes
        if conda.add or pip.add:
            files = with_conda_env(places, conda.add, pip.add, notes)
    else:
        pip = found_by_uv(places)
        notes = pip.notes
        if pip.add:
            files = with_uv_add(places, pip.add)
    if apt.add:
        files["apt-dev.txt"] = with_lines(read(places.dependencies / "apt-dev.txt"), apt.add)
    before = {name: read(places.dependencies / name) for name in files}
    return {name: text for name, text in files.items() if text != before[name]}, notes + apt.notes


def diff_of(name: str, before: str, after: str) -> str:
    """A unified diff that `git apply` and `patch -p1` take in the folder of the project."""
    found = difflib.unified_diff(
        re.findall(r"[^\n]*\n|[^\n]+$", before),
        re.findall(r"[^\n]*\n|[^\n]+$", after),
        f"a/{FOLDER}/{name}",
        f"b/{FOLDER}/{name}",
    )
    marked = (
        line if line[-1:] == "\n" else f"{line}\n\\ No newline at end of file\n" for line in found
    )
    return "".join(marked)


def about_lock(before: str, after: str) -> str:
    """What changes in uv.lock, in a line: the diff of that file is long and says no more."""
    pattern = r'(?m)^name = "(.+)"\nversion = "(.+)"$'
    old, new = set(re.findall(pattern, before)), set(re.findall(pattern, after))
    parts = [
        f"{word} {', '.join(' '.join(pair) for pair in sorted(pairs))}"
        for word, pairs in (("gets", new - old), ("loses", old - new))
        if pairs
    ]
    return f"uv.lock {' and '.join(parts) or 'changes with it'}."


def show(places: Places, files: dict[str, str]) -> None:
    """Print the difference of each file."""
    for name, text in files.items():
        before = read(places.dependencies / name)
        if name == "uv.lock":
            say(about_lock(before, text))
            continue
        sys.stdout.buffer.write(diff_of(name, before, text).encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()


def agreed() -> bool:
    """The person's answer; without a terminal there is nobody to ask."""
    if not sys.stdin.isatty():
        say("Nothing is written without -y.")
        return False
    print("Write this? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() in ("y", "Y", "yes")


def write(folder: Path, files: dict[str, str]) -> None:
    """Write each file whole or not at all, with the mode that it has.

    Raises:
        Stop: the folder cannot be written to.
    """
    for name, text in files.items():
        path = (folder / name).resolve()
        partial = path.with_name(f".{path.name}.new")
        try:
            partial.write_bytes(text.encode("utf-8", "surrogateescape"))
            if path.exists():
                shutil.copymode(str(path), str(partial))
            os.replace(str(partial), str(path))  # noqa: PTH105
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise Stop(f"{path} cannot be written: {error.strerror}.") from None


def main(arguments: list[str], places: Places) -> int:
    """Run the program with these arguments; gives the exit status.

    Raises:
        Stop: it cannot go on, for the reason it carries.
    """
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if arguments not in ([], ["-y"]):
        say(f'update_env_file knows -y, not "{" ".join(arguments)}".')
        return 2
    files, notes = all_found(places)
    for note in notes:
        say(note)
    if not files:
        say("Nothing is installed in dev that the files do not list.")
        return 0
    show(places, files)
    if not os.access(str(places.dependencies), os.W_OK):
        say(
            f"The project's {FOLDER} cannot be written from here. Keep the diff with "
            "update_env_file >my.diff, then in the project's folder: patch -p1 <my.diff"
        )
        return 0
    if not arguments and not agreed():
        return 0
    write(places.dependencies, files)
    where = "Run" if "TEMPLATE_SH" in os.environ else "Run outside"
    say(f"Written. {where}: {template_sh()} build")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], Places()))
    except Stop as stop:
        say(str(stop))
        sys.exit(1)
    except KeyboardInterrupt:
        say("\nNothing is written.")
        sys.exit(130)
