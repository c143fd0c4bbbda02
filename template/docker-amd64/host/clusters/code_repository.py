"""The repository of a job's code: its commit, what is not committed, and a snapshot of that."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping, NamedTuple

from ..ask import ELSEWHERE, GIT_SETTINGS
from ..checkout import listed, no_repository
from ..compose import show, show_text
from ..failures import failed
from ..project import code_folder
from ..record import LARGE

if TYPE_CHECKING:
    from ..project import Project

NO_PROGRAM = 127  # the status of a command that is not there, as shells have it
ASK_ALL = ("--untracked-files=normal", "--ignore-submodules=none")
# A snapshot of the same changes is the same commit, whoever makes it and when.
NOBODY = {
    f"GIT_{role}_{word}": value
    for role in ("AUTHOR", "COMMITTER")
    for word, value in (("NAME", "template.sh submit"), ("EMAIL", "submit@localhost"))
}


class Repository(NamedTuple):
    """The repository of the code.

    Attributes:
        top: its folder, or that of one of its worktrees.
        inside: the code folder in it, such as "" or work/code.
        head: the commit.
    """

    top: Path
    inside: str
    head: str


# ---------------------------------------------------------------------------------------------- git


def git_words(*words: str) -> list[str]:
    """The words of a git command that runs no program that the repository names as a hook."""
    # With log.showSignature, show would start gpg.program.
    more = {"submodule.recurse": "false", "log.showSignature": "false"}
    all_of_them = {**GIT_SETTINGS, **more}
    settings = [word for key, one in all_of_them.items() for word in ("-c", f"{key}={one}")]
    return ["git", *settings, *words]


def git_env(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of git, without what names another repository."""
    environ = {key: value for key, value in os.environ.items() if not ELSEWHERE.fullmatch(key)}
    # Where an object is missing, git would fetch it, with programs that the repository names.
    alone = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
    return {**environ, **alone, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(more or {})}


def ask(
    folder: Path, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder to its end and keep what it says."""
    try:
        return subprocess.run(
            git_words("-C", str(folder), *words),
            input=stdin,
            capture_output=True,
            env=git_env(env),
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(words, NO_PROGRAM, b"", str(error).encode())


def git(folder: Path, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
    """What git says in a folder. Raises StopError with git's words if it fails."""
    said = ask(folder, *words, stdin=stdin, env=env)
    if said.returncode:
        show_text(os.fsdecode(said.stderr).rstrip())
        raise failed("cluster-git", path=str(folder), command=f"git {words[0]}")
    return os.fsdecode(said.stdout).rstrip("\n")


def names(text: str) -> list[str]:
    """The names that git separates by zero bytes."""
    return [one for one in text.split("\0") if one]


def repository(project: Project) -> Repository:
    """The repository of the project's code. Raises StopError if there is none, or no commit."""
    code = code_folder(project)
    top = ask(code, "rev-parse", "--show-toplevel")
    if top.returncode == NO_PROGRAM:
        raise failed("cluster-git-missing", project)
    if top.returncode:
        known = no_repository(os.fsdecode(top.stderr))
        raise known or failed("cluster-code-not-in-git", project, path=str(code))
    head = ask(code, "rev-parse", "--quiet", "--verify", "HEAD^{commit}")
    if head.returncode:
        raise failed("cluster-code-not-in-git", project, path=str(code))
    real = os.path.realpath(os.fsdecode(top.stdout).rstrip("\n"))
    around = Path(os.path.realpath(str(code)))
    nearest = next((one for one in (around, *around.parents) if (one / ".git").exists()), around)
    if str(nearest) != real:  # a program of a container may have named any folder
        raise failed("cluster-code-worktree", project, path=str(nearest), other=real)
    inside = git(code, "rev-parse", "--show-prefix").rstrip("/")
    is_new = inside and ask(code, "rev-parse", "--verify", f"HEAD:{inside}").returncode
    if is_new and not ask(code, "check-ignore", "--quiet", ".").returncode:
        raise failed("cluster-code-not-in-git", project, path=str(code))
    return Repository(
        Path(os.fsdecode(top.stdout).rstrip("\n")), inside, head.stdout.decode().strip()
    )


# ------------------------------------------------------------------------------------------ changes


class Changes(NamedTuple):
    """What a worktree has beside its commit.

    Attributes:
        files: their names.
        conflicts: those that git calls unmerged.
        in_submodules: the submodules with changes of their own, which no commit here can have.
    """

    files: list[str]
    conflicts: list[str]
    in_submodules: list[str]


def changes(top: Path) -> Changes:
    """What is not committed: https://git-scm.com/docs/git-status#_porcelain_format_version_2."""
    found = Changes([], [], [])
    lines = iter(names(git(top, "status", "--porcelain=v2", "-z", *ASK_ALL)))
    for line in lines:
        kind = line[:1]
        fields = line.split(" ", {"1": 8, "2": 9, "u": 10, "?": 1}.get(kind, 1))
        if kind == "2":
            next(lines, None)  # the name before a renaming
        found.files.append(fields[-1])
        if kind == "u":
            found.conflicts.append(fields[-1])
        elif kind in "12" and fields[2].startswith("S") and {*"MU"} & {*fields[2]}:
            found.in_submodules.append(fields[-1])
    return found


@contextmanager
def own_index(top: Path) -> Iterator[dict[str, str]]:
    """The environment in which git has an index that is a copy of the user's."""
    index = Path(top, git(top, "rev-parse", "--git-path", "index"))
    with tempfile.TemporaryDirectory(prefix="submit-") as folder:
        copy = Path(folder, "index")
        if index.is_file():
            shutil.copyfile(str(index), str(copy))
        yield {"GIT_INDEX_FILE": str(copy)}


def new_files(top: Path) -> list[str]:
    """The files that git neither has nor ignores, but large ones and repositories of others."""
    small = []
    for name in names(git(top, "ls-files", "--others", "--exclude-standard", "-z")):
        status = os.lstat(os.path.join(str(top), name))  # noqa: PTH118  a name may end with a slash
        if stat.S_ISDIR(status.st_mode):
            show(f"The job does not have {name}: it is a repository of its own.")
        elif status.st_size > LARGE:
            size = status.st_size / 2**20
            show(f"The job does not have {name}: it is a new file of {size:.1f} MiB, too large.")
        else:
            small.append(name)
    return small


def snapshot(of: Repository, *, keep: bool) -> str:
    """A commit of the changes on top of HEAD, "" if it would have none.

    The user's index and branch stay as they are.

    It has what git would commit: tracked files as they are, and new files that it does not ignore.

    Args:
        of: the repository.
        keep: whether its objects are written into the repository, not only into a scratch folder.

    Raises:
        StopError: a file cannot be read.
    """
    with own_index(of.top) as env, tempfile.TemporaryDirectory(prefix="submit-") as scratch:
        if not keep:
            objects = Path(of.top, git(of.top, "rev-parse", "--git-path", "objects")).resolve()
            more = os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES")
            env["GIT_OBJECT_DIRECTORY"] = scratch
            quoted = str(objects).replace("\\", "\\\\").replace('"', '\\"')
            env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = ":".join(
                [f'"{quoted}"', *filter(None, [more])]
            )
        git(of.top, "add", "--update", "--", ":/", env=env)
        new = new_files(of.top)
        listing = b"".join(os.fsencode(name) + b"\0" for name in new)
        git(of.top, "update-index", "--add", "-z", "--stdin", stdin=listing, env=env)
        if new:
            show(f"New files that the job has: {listed(new)}.")
        tree = git(of.top, "write-tree", env=env)
        if tree == git(of.top, "rev-parse", f"{of.head}^{{tree}}"):
            return ""
        date = git(of.top, "show", "--no-patch", "--format=%cd", "--date=raw", of.head)
        by = {**env, **NOBODY, "GIT_AUTHOR_DATE": f"@{date}", "GIT_COMMITTER_DATE": f"@{date}"}
        message = "Changes that a job of a cluster was submitted with\n"
        return git(of.top, "commit-tree", tree, "-p", of.head, stdin=message.encode(), env=by)


def commit_of_job(project: Project, of: Repository, *, dirty: bool, keep: bool) -> str:
    """The snapshot of the changes, "" if there are none.

    Raises:
        StopError: there are changes and `dirty` is not set, or they cannot be snapshotted.
    """
    found = changes(of.top)
    if not found.files:
        return ""
    root = str(of.top)
    if found.conflicts:
        raise failed("cluster-code-conflicts", project, path=root, files=listed(found.conflicts))
    if not dirty:
        raise failed("cluster-code-changed", project, path=root, files=listed(found.files))
    if found.in_submodules:
        within = os.path.join(root, found.in_submodules[0])  # noqa: PTH118
        raise failed("cluster-submodule-changed", project, path=within)
    return snapshot(of, keep=keep)


def is_on_remote(top: Path, commit: str) -> bool:
    """Whether a remote has a commit, as far as this clone knows."""
    told = (
        "for-each-ref",
        "--count=1",
        "--format=%(refname)",
        "--contains",
        commit,
        "refs/remotes",
    )
    return bool(ask(top, *told).stdout.strip())
