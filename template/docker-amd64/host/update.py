"""`template.sh update`: bring this project to a newer version of its template, or other answers.

It shows the template's address, which the user has to have named once, and what the versions in
between bring; then it finds Copier and runs `copier update`. Before that it writes a program into
git's own folder that takes everything back; it is plain shell and git, because an update that is
killed may have left half of this folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .ask import capture, read_text, set_git_up
from .checkout import (
    ANSWERS,
    UpdateError,
    commit_command,
    conflicts,
    find_project,
    host_files_changed,
    keep_updated_env,
    listed,
    prepare_undo,
    running,
    undo,
)
from .failures import failed
from .files import write_file
from .plain import plain
from .project import called_from, me
from .trusted import full_address, shown_address, trust, trusted_address
from .versions import (
    CURRENT,
    RELEASE,
    address,
    base_version,
    history,
    is_remote,
    news,
    number,
    same_commit,
    target,
)

if TYPE_CHECKING:
    from .checkout import Checkout
    from .project import Project

COPIER = (9, 17, 2)  # the oldest that renders the template
LOCK = "requirements.txt"  # of the template: Copier, and what its hook imports, each by its hash
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  only the parent of a folder with a random name
ROOM = 256 * 1024**2  # bytes; an update takes a tenth of it


def key_value(word: str) -> str:
    """An answer as --data wants it. Raises ValueError, which argparse reports."""
    if not re.match(r"[a-z_]+=", word):
        raise argparse.ArgumentTypeError(f"{word} is not KEY=VALUE")
    return word


def release_name(word: str) -> str:
    """A version of the template, as its tag is named."""
    if not RELEASE.fullmatch(word):
        raise argparse.ArgumentTypeError(f"{word} is not a version such as 1.2.3")
    return f"v{word.lstrip('v')}"


def update_options(parser: argparse.ArgumentParser) -> None:
    """To which version, with which answers, from where."""
    parser.add_argument("version", nargs="?", type=release_name, help="default: the newest")
    parser.add_argument(
        *("-d", "--data"),
        action="append",
        default=[],
        type=key_value,
        metavar="KEY=VALUE",
        help="change an answer, at the version that the project has",
    )
    parser.add_argument(
        "--from",
        dest="source",
        default="",
        metavar="FOLDER",
        help="a clone of the template, in place of its address",
    )
    parser.add_argument(
        "--template",
        default="",
        metavar="ADDRESS",
        help="trust this address, which the answers file names; an update runs its code",
    )
    parser.add_argument("--check", action="store_true", help="only show what it would bring")
    parser.add_argument("--undo", action="store_true", help="take the last update back")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def need_clean(project: Checkout) -> None:
    """Copier compares the project with its last commit. Raises UpdateError if there is more."""
    pending = running(project)
    if pending > 0:
        raise UpdateError("An update of this project runs already.")
    if pending:
        raise failed("update-interrupted", remedy=project.undo)
    unmerged = conflicts(project.root)
    if unmerged:
        raise UpdateError(
            f"{listed(unmerged)} {'has' if len(unmerged) == 1 else 'have'} conflicts: first solve "
            "them (between <<<<<<< and >>>>>>>), and commit.",
            commit_command(project),
        )
    changes = capture("git", "status", "--porcelain", cwd=project.root).stdout.splitlines()
    if changes:
        names = [line[3:] for line in changes]
        raise UpdateError(
            f"There are changes that are not committed ({listed(names)}): an update could not tell "
            "them from its own.",
            commit_command(project, "Before the update"),
        )


def update_command(project: Checkout, asked: argparse.Namespace, wanted: str) -> list[str]:
    """The call of Copier, all but the words that start it."""
    words = ["update", "--vcs-ref", wanted]
    # What is new is asked where somebody can answer; known answers stay.
    asks = sys.stdin.isatty() and not (asked.yes or asked.data)
    words += ["--skip-answered"] if asks else ["--defaults", "--quiet"]
    if project.answers_file != ANSWERS:
        words += ["--answers-file", project.answers_file]
    for pair in asked.data:
        words += ["--data", pair]
    return words


def surroundings(project: Checkout, repository: Path, scratch: Path) -> dict[str, str]:
    """The environment of Copier.

    It clones the template five times: for its address, git takes the folder that is here already.
    """
    env = dict(os.environ)
    env["PWD"] = env.get("CALLED_FROM", str(project.root))  # where the person's shell is
    env["TMPDIR"] = str(scratch)
    env["COPIER_SETTINGS_PATH"] = str(write_settings(project.template, scratch))
    url = address(project.template)
    if is_remote(url):
        set_git_up({f"url.{repository.resolve().as_uri()}.insteadOf": url}, env)
    return env


def user_settings() -> Path:
    """Where Copier looks for the user's settings."""
    named = os.environ.get("COPIER_SETTINGS_PATH")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        config = Path.home() / "Library" / "Application Support"
    else:
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "copier" / "settings.yml"


def write_settings(template: str, scratch: Path) -> Path:
    """Copier's settings for one update: the user's, but trust in this address alone.

    Copier itself then compares the address that it reads from the answers file, with all that YAML
    allows in there, such as a second `_src_path`. With --trust it would run what that names.
    """
    text = read_text(user_settings())
    if text.lstrip().startswith("{"):  # a mapping in braces has no place for one more line
        text = ""
    file = scratch / "copier-settings.yml"
    # Of two keys, the last counts: https://pyyaml.org/wiki/PyYAMLDocumentation
    text = f"{text.rstrip()}\ntrust: {json.dumps([template])}\n".lstrip()
    write_file(file, text)
    return file


def memory() -> Path | None:
    """Where temporary files are in memory, if it has room: an update is faster there by a third.

    None, which means the usual folder, where a person has named one.
    """
    if "TMPDIR" in os.environ or not os.access(SHARED_MEMORY, os.W_OK):
        return None
    there = os.statvfs(SHARED_MEMORY)
    return SHARED_MEMORY if there.f_bavail * there.f_frsize >= ROOM else None


# ------------------------------------------------------------------------------ Copier itself


def copier_command(lock: str) -> list[str]:
    """The words that start a Copier that is new enough, or that of a lock. Raises StopError."""
    installed = shutil.which("copier")
    if installed and copier_version(installed) >= COPIER:
        return [installed]
    if not lock:
        raise failed("copier-not-locked", file=LOCK)
    if shutil.which("uv"):
        return [str(own_copier(lock, "uv"))]
    for name in ("python3", *(f"python3.{minor}" for minor in range(20, 9, -1)), "python"):
        able = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"
        if shutil.which(name) and not capture(name, "-c", able).returncode:
            return [str(own_copier(lock, name))]
    old = f" ({installed} is older than {'.'.join(map(str, COPIER))})" if installed else ""
    raise UpdateError(
        f"An update needs Copier{old}, and neither uv nor a Python 3.10 with venv is here to get "
        "it.",
        # Debian's Python refuses to install into itself.
        "sudo apt-get install python3-venv"
        if shutil.which("apt-get")
        else f"{shlex.quote(sys.executable)} -m pip install --user uv",
    )


def locked(project: Checkout, repository: Path, wanted: str) -> str:
    """The lock of the version that an update goes to, "" if it has none."""
    version = project.version if wanted == CURRENT else wanted
    return capture("git", "show", f"{version}:{LOCK}", cwd=repository).stdout


def copier_version(program: str) -> tuple[int, ...]:
    """The version of an installed Copier; empty if it does not say."""
    # To start it takes half a second; its environment says the same in a file's name.
    packages = Path(program).resolve().parents[1].glob("lib/python3*/site-packages/copier-*.*-info")
    names = [package.name for package in packages]
    said = names[0] if len(names) == 1 else capture(program, "--version").stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


def own_copier(lock: str, tool: str) -> Path:
    """Copier in an environment of its own under ~/.cache, made by the first update that needs it.

    Args:
        lock: the requirements with their hashes; each lock has its environment.
        tool: uv, or a Python with venv.

    Raises:
        UpdateError: it cannot be installed, or a file is not the one that the lock names.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"copier-{hashlib.sha256(lock.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
    folder = cache / "hearth" / name
    program, requirements, whole = folder / "bin/copier", folder / LOCK, folder / "whole"
    if whole.is_file():
        return program
    print(f"Installing Copier into {folder} ...", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    python = str(folder / "bin" / "python")
    # A source that is built would bring packages that no lock names.
    exactly = ("--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(requirements))
    if tool == "uv":
        made = capture("uv", "venv", "--quiet", "--python", ">=3.10", str(folder))
        install = ("uv", "pip", "install", "--python", python, *exactly)
    else:
        made = capture(tool, "-m", "venv", str(folder))
        install = (python, "-m", "pip", "install", "--disable-pip-version-check", *exactly)
    if not made.returncode:
        write_file(requirements, lock)
        made = capture(*install)
    if made.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        words = (made.stderr.strip() or made.stdout.strip() or "no reason given").splitlines()
        raise UpdateError(
            f"Copier could not be installed ({words[-1].strip()}).",
            "uv tool install copier" if tool == "uv" else f"{tool} -m pip download copier",
        )
    write_file(whole, "")
    return program


# -------------------------------------------------------------------------------- the verb


def yes(question: str, *, default: bool) -> bool:
    """What a person at the terminal answers."""
    try:
        # Python writes the question without sys.stdout.
        answer = input(f"{plain(question)} [{'Y/n' if default else 'y/N'}] ").strip().lower()
    except (EOFError, KeyboardInterrupt):
        return False
    return answer in ("y", "yes") or (default and not answer)


def do_update(described: Project, asked: argparse.Namespace) -> int:
    """Do what the command line asks for; the exit status. Raises UpdateError."""
    project = find_project(described)
    if asked.undo:
        return undo(project)
    if asked.source:
        asked.source = str(called_from() / asked.source)
    if not asked.check:
        need_clean(project)
    scratch = Path(tempfile.mkdtemp(prefix="hearth-update-", dir=memory()))
    try:
        return proceed(described, project, asked, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # a Copier that was killed may still fill it


def same_words(asked: argparse.Namespace) -> str:
    """The options of this call, as words of the shell."""
    words = [asked.version] if asked.version else []
    for pair in asked.data:
        words += ["--data", pair]
    words += ["--check"] if asked.check else []
    words += ["-y"] if asked.yes else []
    return "".join(f" {shlex.quote(word)}" for word in words)


def settle_trust(described: Project, project: Checkout, asked: argparse.Namespace) -> bool:
    """Show the template's address; whether the user has named it, now or in an earlier update.

    Nothing is asked of the repository before: git runs what the settings of a folder name.
    Raises StopError where nobody can be asked.
    """
    shown = shown_address(project.template, project.root)
    print(f"Template: {asked.source or shown}. This project has {project.version}.")
    if asked.source:  # a folder that the user has named stands in for the address
        return True
    now, before = full_address(project.template, project.root), trusted_address(project.docker)
    known = {"address": shown, "before": before, "answers": project.answers_file}
    known["remedy"] = f"{me()} update --template {shlex.quote(shown)}{same_words(asked)}"
    if asked.template and full_address(asked.template, called_from()) != now:
        raise failed("template-not-named", described, named=asked.template, **known)
    if now == before:
        return True
    if not asked.template:
        stop = failed("template-changed" if before else "template-new", described, **known)
        if asked.yes or not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise stop
        if not yes(f"{stop.sentence} Trust it?", default=False):
            return False
    if not asked.check:
        trust(project.docker, project.template)
    return True


def proceed(described: Project, project: Checkout, asked: argparse.Namespace, scratch: Path) -> int:
    """Update the project, with a folder for what nobody needs later; the exit status.

    Raises StopError.
    """
    if not settle_trust(described, project, asked):
        print("Nothing was changed.")
        return 1
    repository = history(project, asked.source, scratch)
    wanted = target(project, repository, asked.version, answers=bool(asked.data))
    now = base_version(repository, project.version)
    newest = (bool(now) and number(wanted) == now) or same_commit(
        repository, wanted, project.version
    )
    told = "" if wanted == CURRENT else news(repository, project.version, wanted)
    if newest and not asked.data:
        print(f"The project has the newest version already: {project.version}.")
        return 0
    if told:
        print(f"{told}\n")
    if wanted != CURRENT:
        print(f"From {project.version} to {wanted}.")
    if asked.check:
        return 0
    copier = copier_command(locked(project, repository, wanted))
    can_ask = sys.stdin.isatty() and sys.stdout.isatty()
    if can_ask and not asked.yes and not yes("Update the project?", default=True):
        print("Nothing was changed.")
        return 1
    command = [*copier, *update_command(project, asked, wanted)]
    return perform(project, command, surroundings(project, repository, scratch), scratch)


def start(project: Checkout, command: list[str], env: dict[str, str]) -> int:
    """Run Copier to its end, which Ctrl-C brings about; its exit status."""
    # It is known to be running before it does anything, whatever happens to this process. A shell
    # changes PWD to where it starts, so that is told to Copier once more.
    record = ["sh", "-c", 'echo " $$" >>"$0" && exec env "$@"', str(project.state / "running")]
    command = [*record, f"PWD={env['PWD']}", *command]
    with subprocess.Popen(command, cwd=project.root, env=env) as copier:
        try:
            return copier.wait()
        except KeyboardInterrupt:  # it got the same, and removes its temporary folders
            try:
                copier.wait(5)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                copier.kill()
            return 130


def perform(project: Checkout, command: list[str], env: dict[str, str], scratch: Path) -> int:
    """Run Copier; take back what it left if it fails; the exit status."""
    prepare_undo(project, scratch)
    print(f"To take the update back, also if it is interrupted:\n  {project.undo}", flush=True)
    status = start(project, command, env)
    (project.state / "running").unlink()
    if status:
        print("\nCopier did not finish; its own words are above.", file=sys.stderr)
        undo(project)
        return status
    keep_updated_env(project)
    if not capture("git", "status", "--porcelain", "--", ".", cwd=project.root).stdout:
        if host_files_changed(project):
            print("No file has changed but those of this machine, such as .env.")
        else:
            shutil.rmtree(project.state, ignore_errors=True)
            print("No file has changed.")
    return 1 if conflicts(project.root) else 0
