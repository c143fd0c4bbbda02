"""Writes what is installed in this container into the dependency files of the project.

    update_env_file        shows the difference as a diff, asks, and writes it
    update_env_file -y     does not ask

It compares the environment in /opt/venv with the lock in /opt/dependencies, where Compose mounts
the project's docker-amd64/dependencies, and the packages of the distribution with those that the
image was built with. Nothing is asked where there is no terminal, and nothing written without -y.
The project itself is left out, like everything installed from a folder: no build can have that.

Exit status: 0 also if nothing was to be written, 1 after a failure, 2 for a wrong option. Standard
library only, Python 3.8 or newer. The program that the image has under this name knows the package
manager of the project, and calls `exit_status`.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FOLDER = "docker-amd64/dependencies"
APT_LISTS = ("apt-dev.txt", "apt-build.txt", "apt-runtime.txt")
# Wheels that the build compiled itself: the image has them by the Dockerfile, not by a lock.
OF_THE_BUILD = "file:///mnt/wheels/"


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


class Changes(NamedTuple):
    """The files as they should be, by their names, and notes for the user.

    `summaries` has a line for each file whose diff is not worth reading.
    """

    files: dict[str, str]
    notes: list[str]
    summaries: Mapping[str, str] = {}


def say(text: str) -> None:
    """Print a line to stderr; stdout has the diff and nothing else."""
    print(text, file=sys.stderr, flush=True)


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
    """The requirement with the address as it may stand in a file that others read.

    The rule is that of intake/text.py, which this image may not have.
    """
    return re.sub(r"(https?://)(?!git@)[^/\s\"<>]+@", r"\1", requirement)


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
    python = name == "python"
    value = ".".join(version.split(".")[:2]) if python else version.partition("+")[0]
    data = f"{'python' if python else 'torch'}_version={value}"
    how = f"{template_sh()} update --data {data}"
    return f"{name} {version} is left out: an answer decides it ({how})."


def about_removed(names: Iterable[str], file: str) -> list[str]:
    """The note about packages that the lock has and the container has not."""
    listed = ", ".join(sorted(names))
    if not listed:
        return []
    return [f"Not installed any more: {listed}. To remove one for good, delete its line in {file}."]


@contextlib.contextmanager
def copies(source: Path, names: Iterable[str]) -> Iterator[Path]:
    """A folder of the moment with copies of these files, as far as they are there."""
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            if (source / name).exists():
                Path(temporary, name).parent.mkdir(exist_ok=True)
                shutil.copyfile(str(source / name), str(Path(temporary, name)))
        yield Path(temporary)


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
    """A list with more lines at its end; the others are not changed."""
    end = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith("\n"):
        text += end
    return text + "".join(f"{name}{end}" for name in names)


# --- showing and writing -------------------------------------------------------------------------


def template_sh() -> str:
    """The name by which the user called template.sh, when that started this program."""
    return os.environ.get("TEMPLATE_SH") or "./template.sh"


def all_changes(places: Places, package_changes: Callable[[Places], Changes]) -> Changes:
    """What is to change in the dependency files: packages of Python, and of the distribution.

    Raises:
        Stop: there is nothing to compare with, or one of the programs asked fails.
    """
    if not places.dependencies.is_dir():
        raise Stop(f"{places.dependencies} is not there: this is not the dev container.")
    apt = apt_added(places)
    files, notes, summaries = package_changes(places)
    if apt.add:
        files["apt-dev.txt"] = with_lines(read(places.dependencies / "apt-dev.txt"), apt.add)
    before = {name: read(places.dependencies / name) for name in files}
    changed = {name: text for name, text in files.items() if text != before[name]}
    return Changes(changed, notes + apt.notes, summaries)


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


def show_changes(places: Places, changes: Changes) -> None:
    """Print the difference of each file."""
    for name, text in changes.files.items():
        if name in changes.summaries:
            say(changes.summaries[name])
            continue
        before = read(places.dependencies / name)
        sys.stdout.buffer.write(diff_of(name, before, text).encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()


def confirmed() -> bool:
    """Whether the user agrees; without a terminal nobody is asked."""
    if not sys.stdin.isatty():
        say("Nothing is written without -y.")
        return False
    print("Write this? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() in ("y", "Y", "yes")


def write_files(folder: Path, files: dict[str, str]) -> None:
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


def main(arguments: list[str], places: Places, package_changes: Callable[[Places], Changes]) -> int:
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
    changes = all_changes(places, package_changes)
    for note in changes.notes:
        say(note)
    if not changes.files:
        say("Nothing is installed in dev that the files do not list.")
        return 0
    show_changes(places, changes)
    if not os.access(str(places.dependencies), os.W_OK):
        say(
            f"The project's {FOLDER} cannot be written from here. Keep the diff with "
            "update_env_file >my.diff, then in the project's folder: patch -p1 <my.diff"
        )
        return 0
    if not arguments and not confirmed():
        return 0
    write_files(places.dependencies, changes.files)
    where = "Run" if "TEMPLATE_SH" in os.environ else "Run outside"
    say(f"Written. {where}: {template_sh()} build")
    return 0


def exit_status(package_changes: Callable[[Places], Changes]) -> int:
    """Run the program for the package manager that `package_changes` knows."""
    try:
        return main(sys.argv[1:], Places(), package_changes)
    except Stop as stop:
        say(str(stop))
        return 1
    except KeyboardInterrupt:
        say("\nNothing is written.")
        return 130
