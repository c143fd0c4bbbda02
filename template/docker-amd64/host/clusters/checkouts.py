"""Checkouts of commits on the storage of a site, which no later edit changes.

A checkout is a worktree of the code's repository. Git keeps its commit as long as the worktree is
there (locked, so that `git worktree prune` leaves it alone), and refs/hearth/jobs/ keeps it after
that. A checkout is never changed or replaced, because a job may wait for it. It has no file that
git ignores: data and outputs belong to /data and /outputs. In the container git does not work in
it: its .git is a file that names a folder of this machine. An interactive job has a checkout of its
own, which may be edited.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Iterable

from ..ask import read_text
from ..checkout import listed
from ..compose import show, show_text
from ..failures import failed
from ..files import write_file
from ..turn import turn
from .code_repository import ASK_ALL, Repository, ask, git, names, repository

if TYPE_CHECKING:
    from ..project import Project
    from .job import Record, Request
    from .site import Site

REASON = "jobs of a cluster use it"
USERS = "hearth-users"  # a file of git's folder of a checkout
SHORT = 12  # hexadecimal digits of a commit in the name of a folder
SHOWN = 5  # lines of what git says when it cannot check a commit out
FULL = re.compile("unable to (write|create) file|No space left on device|[Qq]uota exceeded")
POINTER = "version https://git-lfs.github.com/spec/v1"


def storage(project: Project, of: Repository, folder: Path) -> Path:
    """The folder of the checkouts. Raises StopError unless files can be made in it."""
    known = {"key": "[storage] code", "path": str(folder)}
    if not folder.is_absolute():
        raise failed("cluster-storage", project, **known, reason="it is not a full path")
    if not folder.is_dir():
        raise failed("cluster-storage-missing", project, **known)
    real = Path(os.path.realpath(str(folder)))
    inside = Path(os.path.realpath(str(of.top))) in (real, *real.parents)
    if inside and ask(of.top, "check-ignore", "--quiet", "--", str(real)).returncode:
        raise failed(
            "cluster-storage",
            project,
            **known,
            reason="the repository is around it, and does not ignore it",
        )
    if not os.access(str(folder), os.W_OK | os.X_OK):
        raise failed("cluster-storage", project, **known, reason="you may not write there")
    return folder


def administration(checkout: Path) -> Path | None:
    """Git's own folder of a worktree, None if it has none any more."""
    if not (checkout / ".git").is_file():  # git would look in the folders around it
        return None
    said = ask(checkout, "rev-parse", "--absolute-git-dir")
    return None if said.returncode else Path(os.fsdecode(said.stdout).rstrip("\n"))


def is_ours(top: Path, checkout: Path) -> bool:
    """Whether a checkout is a worktree of a repository, and of this user.

    Others may write into a folder that is shared, and know the names. Git is not asked in what they
    have made, because it starts what the settings of a repository name.
    """
    file = checkout / ".git"
    with suppress(OSError), tempfile.TemporaryFile(dir=str(checkout.parent)) as new:
        user = os.fstat(new.fileno()).st_uid  # some file systems give all files to one user
        kinds = [(one.lstat().st_uid, stat.S_IFMT(one.lstat().st_mode)) for one in (checkout, file)]
        if kinds != [(user, stat.S_IFDIR), (user, stat.S_IFREG)]:
            return False
        own = Path(read_text(file).partition("gitdir: ")[2].rstrip("\n"))
        common = Path(top, git(top, "rev-parse", "--git-common-dir"))
        return os.path.realpath(str(own.parent)) == os.path.realpath(str(common / "worktrees"))
    return False


def is_whole(top: Path, checkout: Path, commit: str) -> bool:
    """Whether a checkout of a repository is finished, and has nothing but what the commit has."""
    own = administration(checkout) if is_ours(top, checkout) else None
    if own is None or not (own / "locked").is_file():
        return False
    head = ask(checkout, "rev-parse", "HEAD").stdout.decode().strip()
    status = ask(checkout, "status", "--porcelain", *ASK_ALL)
    return head == commit and status.returncode == 0 and not status.stdout


def submodules(top: Path, commit: str) -> dict[str, str]:
    """The commits of the submodules of a commit by their paths."""
    found = {}
    for line in names(git(top, "ls-tree", "-r", "-z", "--full-tree", commit)):
        about, _, path = line.partition("\t")
        if about.startswith("160000 "):
            found[path] = about.split(" ")[2]
    return found


def add_checkout(top: Path, commit: str, folder: Path) -> None:
    """Check a commit out, its submodules too, as worktrees of the repositories that are here.

    It is locked when it is whole. Raises StopError.
    """
    # Twice: a folder that was deleted may be registered still, and locked.
    twice = ("--force", "--force")
    said = ask(top, "worktree", "add", *twice, "--detach", "--", str(folder), commit)
    if said.returncode:
        lines = os.fsdecode(said.stderr).splitlines()
        show_text("\n".join(lines[-SHOWN:]))  # it may name each file
        if FULL.search("\n".join(lines)):
            path = str(folder.parent)
            raise failed(
                "cluster-storage",
                key="[storage] code",
                path=path,
                reason="git could not write all files there, so it may be full",
                remedy=f"df -h {shlex.quote(path)}",
            )
        raise failed("cluster-git", path=str(top), command="git worktree")
    for path, wanted in submodules(top, commit).items():
        here = top / path
        if not (here / ".git").exists():
            show(f"The job's {path} is empty: this submodule is not checked out here either.")
        elif ask(here, "cat-file", "-e", f"{wanted}^{{commit}}").returncode:
            raise failed("cluster-submodule-missing", path=str(top), submodule=path)
        else:
            add_checkout(here, wanted, folder / path)
    git(top, "worktree", "lock", "--reason", REASON, "--", str(folder))


def protect(checkout: Path) -> None:
    """Take the right to write from the files of a checkout, so that nobody edits one unawares.

    Its folders keep theirs, for what a program writes beside its code.
    """
    for folder, _, files in os.walk(str(checkout)):
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118  there may be many
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                os.chmod(path, stat.S_IMODE(mode) & ~0o222)  # noqa: PTH101
    ask(checkout, "update-index", "-q", "--refresh")


def warn_of_pointers(checkout: Path) -> None:
    """Say which files are pointers of Git LFS, whose content is not here."""
    if ask(checkout, "grep", "-q", "filter=lfs", "HEAD", "--", "*.gitattributes").returncode:
        return
    found = names(os.fsdecode(ask(checkout, "grep", "-l", "-z", "-F", "-e", POINTER).stdout))
    found = [one for one in found if (checkout / one).stat().st_size < 1024]  # noqa: PLR2004
    if found:
        show(
            f"The job has pointers of Git LFS instead of these files: {listed(found)}. "
            f"Their content comes with: git -C {shlex.quote(str(checkout))} lfs pull"
        )


def first_name(project: Project, request: Request, commits: tuple[str, str]) -> str:
    """The name of the checkout of a commit and its snapshot, "" for none."""
    own = [request.name] if request.door else []
    return "-".join([project.name, *(one[:SHORT] for one in commits if one), *own])


def users(checkout: Path) -> list[str]:
    """The folders docker-amd64 from which jobs with a checkout were submitted.

    A repository may have several, in its worktrees, and each knows its own jobs only.
    """
    own = administration(checkout)
    return read_text(own / USERS).splitlines() if own else []


def add_user(checkout: Path, project: Project) -> None:
    """Note that a job of a project has a checkout. Raises ProbeError if it cannot be noted."""
    own, known = administration(checkout), users(checkout)
    # Programs of containers may make a link there, to a file that is not git's.
    if own and str(project.folder) not in known and not (own / USERS).is_symlink():
        write_file(own / USERS, "\n".join([*known, str(project.folder), ""]))


def checkout_of(project: Project, of: Repository, first: Path, commit: str, *, own: bool) -> Path:
    """The checkout of a commit: the one that is there, or a new one.

    Args:
        project: the project.
        of: the repository.
        first: its folder, if that is free or fits.
        commit: what is checked out.
        own: whether it is for one job alone, which may edit it.

    Raises:
        StopError: it cannot be made.
    """
    folder, start = first.parent, first.name
    with turn(folder, "submit"):
        for name in (start, *(f"{start}-{number}" for number in range(2, 100))):
            checkout = folder / name
            if os.path.lexists(str(checkout)):
                if own:
                    continue
                if is_whole(of.top, checkout, commit):
                    add_user(checkout, project)
                    return checkout
                show(f"{checkout} is not what was checked out: it is left as it is, and not used.")
                continue
            show(f"Checking {commit[:SHORT]} out: {checkout}")
            try:
                add_checkout(of.top, commit, checkout)
                add_user(checkout, project)
            except BaseException:
                if checkout.is_dir():
                    remove_checkout(checkout)
                raise
            if not own:
                protect(checkout)
            warn_of_pointers(checkout)
            return checkout
    known = {"key": "[storage] code", "path": str(folder)}
    raise failed("cluster-storage", None, **known, reason=f"it has 99 folders {start}")


def unused_checkouts(project: Project, site: Site, records: Iterable[Record]) -> list[Path]:
    """The checkouts of this repository on the site's storage that no job of `records` uses.

    One with edits, or with a commit that nothing else has, is somebody's work: it is not among
    them, and named. Nor is one that jobs of another folder of the repository have.
    """
    folder = os.path.realpath(str(site["storage"]["code"] or "/nowhere"))
    used = {one.dirty or one.commit for one in records}
    of, found, path = repository(project), [], ""
    for line in git(of.top, "worktree", "list", "--porcelain").splitlines():
        key, _, value = line.partition(" ")
        if key == "worktree":
            path = value
        elif key == "HEAD" and value not in used:
            place = Path(os.path.realpath(path))
            ours = str(place.parent) == folder and place.name.startswith(f"{project.name}-")
            kept = ("for-each-ref", "--count=1", "--contains", value)
            others = [Path(one) for one in users(place) if ours and one != str(project.folder)]
            if not ours or any(one.is_dir() for one in others):
                continue
            if is_whole(of.top, place, value) and ask(of.top, *kept).stdout:
                found.append(place)
            elif place.is_dir():
                words = ("-C", str(of.top), "worktree", "remove", "--force", "--force", str(place))
                remove = " ".join(map(shlex.quote, ("git", *words)))
                show(f"Kept, because it has edits or commits of its own: {place}")
                show(f"  To remove it for good, run: {remove}")
    return found


def remove_checkout(checkout: Path) -> None:
    """Remove a checkout and git's record of it; refs/hearth/jobs/ keeps the commit.

    Raises:
        OSError: a file cannot be removed.
    """
    listing = names(os.fsdecode(ask(checkout, "ls-files", "--stage", "-z").stdout))
    for line in listing:
        path = checkout / line.partition("\t")[2]
        if line.startswith("160000 ") and (path / ".git").is_file():
            remove_checkout(path)
    own = administration(checkout)
    shutil.rmtree(str(checkout))
    if own and own.parent.name == "worktrees":
        if (own / "locked").is_file():
            (own / "locked").unlink()
        ask(own, f"--git-dir={own.parent.parent}", "worktree", "prune")
