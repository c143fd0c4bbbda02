"""`template.sh update`: bring this project to a newer version of its template, or other answers.

It shows the template's address, which the user has to have named once, fetches the template, and
runs the update that is in there: the newest, however old this project is. A call and what it is
handed, request.json, are a contract that later versions of the template keep.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .ask import capture, stay_here
from .checkout import (
    UpdateError,
    commit_command,
    conflicts,
    find_project,
    go_on,
    is_interrupted,
    listed,
    take_lock,
    undo,
)
from .compose import tidy_end
from .failures import failed
from .files import write_file
from .plain import plain, say
from .project import called_from, me
from .trusted import full_address, shown_address, trust, trusted_address
from .versions import RELEASE, history, releases, unpack

if TYPE_CHECKING:
    from .checkout import Checkout
    from .project import Project

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  only the parent of a folder with a random name
ROOM = 256 * 1024**2  # bytes; an update takes a tenth of it
# What git has in its folder while it waits for a person.
UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}
ENGINE = "hooks/update"  # in the template: the rest of an update


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
    parser.add_argument(
        "--continue", dest="goes_on", action="store_true", help="go on when conflicts are solved"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def need_clean(project: Checkout) -> None:
    """An update starts from what is committed. Raises UpdateError if there is more."""
    if is_interrupted(project):
        raise failed("update-interrupted", remedy=project.undo)
    unmerged = conflicts(project.root)
    if unmerged:
        raise UpdateError(
            f"{listed(unmerged)} {'has' if len(unmerged) == 1 else 'have'} conflicts: first solve "
            "them (between <<<<<<< and >>>>>>>), and commit.",
            commit_command(project),
        )
    begun = [word for file, word in UNFINISHED.items() if (project.git / file).exists()]
    if begun:
        raise UpdateError(
            f"A {begun[0]} of git is not finished here: the update would become part of it, or be "
            "lost with it.",
            f"git -C {shlex.quote(str(project.root))} status",
        )
    # Whatever the user's settings show or hide.
    asked = ("--porcelain", "-z", "--untracked-files=normal", "--ignore-submodules=dirty")
    done = capture("git", "status", *asked, "--", ".", cwd=project.root)
    if done.returncode:  # such as a filter of Git LFS that is not on this machine
        raise UpdateError(
            "git cannot compare the files with the last commit "
            f"({(done.stderr.strip() or 'it says nothing').splitlines()[-1]}).",
            f"git -C {shlex.quote(str(project.root))} status",
        )
    changes = done.stdout.split("\0")
    if changes[:-1]:
        names = [line[3:] for line in changes[:-1]]
        raise UpdateError(
            f"There are changes that are not committed ({listed(names)}): an update could not tell "
            "them from its own.",
            commit_command(project, "Before the update"),
        )


def need_own_state(project: Checkout) -> None:
    """See that this user can take updates back here. Raises UpdateError with who alone can."""
    folder = project.state.parent
    # Path.is_dir raises an error in a folder that is closed.
    there = [one for one in (folder, project.state) if os.path.isdir(one)]  # noqa: PTH112
    closed = [one for one in there if not os.access(str(one), os.R_OK | os.W_OK | os.X_OK)]
    if closed:
        user = closed[0].stat().st_uid
        raise UpdateError(
            f"The last update here is of another user ({user}), who alone can take it back. Once "
            "it is committed, its folder can be yours.",
            f"sudo chown -R {os.geteuid()}:{os.getegid()} {shlex.quote(str(folder))}",
        )


def memory() -> Path | None:
    """Where temporary files are in memory, if it has room: an update is faster there by a third.

    None, which means the usual folder, where a person has named one.
    """
    if "TMPDIR" in os.environ or not os.access(SHARED_MEMORY, os.W_OK):
        return None
    there = os.statvfs(SHARED_MEMORY)
    return SHARED_MEMORY if there.f_bavail * there.f_frsize >= ROOM else None


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
    stay_here(os.environ)
    project = find_project(described)
    if not asked.check:
        need_own_state(project)
    lock = None if asked.check else take_lock(project)
    if asked.undo:
        return undo(project)
    if asked.goes_on:
        return go_on(project)
    if asked.source:
        asked.source = str(called_from() / asked.source)
    if not asked.check:
        need_clean(project)
    with tidy_end():
        scratch = Path(tempfile.mkdtemp(prefix="hearth-update-", dir=memory()))
        try:
            if not settle_trust(described, project, asked):
                print("Nothing was changed.")
                return 1
            return hand_over(project, asked, scratch, lock)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


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
    say(f"Template: {asked.source or shown}. This project has {project.version}.")
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


def newest_version(project: Checkout, repository: Path) -> str:
    """The newest version, or what came after it if the project has that."""
    newest = next(iter(releases(repository)[::-1]), "HEAD")
    older = ("git", "merge-base", "--is-ancestor", project.version or "HEAD", newest)
    if capture(*older, cwd=repository).returncode == 1:
        newest = "HEAD"
    return newest


def hand_over(project: Checkout, asked: argparse.Namespace, scratch: Path, lock: int | None) -> int:
    """Let the newest version do the rest; the exit status. Raises StopError."""
    repository = history(project, asked.source, scratch)
    newest, engine = newest_version(project, repository), scratch / "engine"
    if not unpack(repository, newest, engine) or not (engine / ENGINE).is_dir():
        raise UpdateError(
            f"The template's {newest} has no update in {ENGINE}: it is older than this project, "
            "or it is another repository."
        )
    request = scratch / "request.json"
    told = {
        "format": 1,
        "project": {name: str(value) for name, value in project._asdict().items()},
        "state": str(project.state),
        "repository": str(repository.resolve()),
        "engine": newest,
        "scratch": str(scratch),
        "exact": True,
        "version": asked.version or "",
        "data": asked.data,
        "check": asked.check,
        "yes": asked.yes,
        "goes_on": False,  # of format 1; template.sh of older versions hands it over
    }
    write_file(request, json.dumps(told))
    env = {**os.environ, "PYTHONPATH": str(engine / "template/docker-amd64")}
    # Where the person's shell is.
    env["PWD"] = env.get("CALLED_FROM", str(project.root))
    # A shell sets PWD anew; this is none.
    command = [sys.executable, "-B", "-m", "hooks.update", str(request)]
    descriptors = () if lock is None else (lock,)
    # It starts in its own folder, so that Python finds it before a folder hooks of the project.
    with subprocess.Popen(command, cwd=str(engine), env=env, pass_fds=descriptors) as update:
        # Ctrl-C is for the update, which takes back what it has done.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return update.wait()
        except SystemExit:  # SIGTERM: a child that went on would write without the turn
            update.send_signal(signal.SIGINT)
            update.wait()
            raise
        finally:
            signal.signal(signal.SIGINT, before)
