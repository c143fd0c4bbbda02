"""The code of a job: a commit, in a folder that no later edit changes.

It is a worktree of the code's repository on the storage that the site names. Git keeps its commit
as long as the worktree is there (locked, so that `git worktree prune` leaves it alone), and
refs/hearth/jobs/ keeps it after that. A checkout is never changed or replaced, because a job may
wait for it. It has no file that git ignores: data and outputs belong to /data and /outputs. In the
container git does not work in it: its .git is a file that names a folder of this machine. An
interactive job has a checkout of its own, which may be edited.
"""

from __future__ import annotations

import gzip
import os
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Iterator, Mapping, NamedTuple

from ..ask import GIT_SETTINGS, read_text
from ..checkout import listed, no_repository
from ..compose import show
from ..failures import failed
from ..files import write_file
from ..git import git_version
from ..project import USAGE, StopError, code_folder, me
from ..record import LARGE
from ..turn import turn
from .claims import on_this_machine
from .job import Code

if TYPE_CHECKING:
    from ..project import Project
    from .job import Record, Request, Scheduler
    from .site import Site

# Bytes of an archive. A ConfigMap has at most 1 MiB:
# https://kubernetes.io/docs/concepts/configuration/configmap/
MOST = 900_000
REFS = "refs/hearth/jobs/"
REASON = "jobs of a cluster use it"
USERS = "hearth-users"  # a file of git's folder of a checkout
NO_PROGRAM = 127  # the status of a command that is not there, as shells have it
SHORT = 12  # hexadecimal digits of a commit in the name of a folder
SHOWN = 5  # lines of what git says when it cannot check a commit out
FULL = re.compile("unable to (write|create) file|No space left on device|[Qq]uota exceeded")
POINTER = "version https://git-lfs.github.com/spec/v1"
ASK_ALL = ("--untracked-files=normal", "--ignore-submodules=none")
# Variables that name another repository than that of the folder: `git rev-parse --local-env-vars`.
ELSEWHERE = re.compile(
    "GIT_(DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|COMMON_DIR|PREFIX|NAMESPACE)"
)
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


# ------------------------------------------------------------------------------------------- git


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
        show(os.fsdecode(said.stderr).rstrip())
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


# --------------------------------------------------------------------------------------- changes


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


# ------------------------------------------------------------------------------------- checkouts


def as_here(site: Site, cluster: str, path: str) -> str:
    """A folder that pods have by a claim, as this machine has it, if the site says where."""
    claims = site.tables.get(cluster, {}).get("claims", ())
    return path if Path(path).is_dir() else on_this_machine(claims, path) or path


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
        show("\n".join(lines[-SHOWN:]))  # it may name each file
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


# --------------------------------------------------------------------------------------- archive


def archive(project: Project, of: Repository, commit: str) -> bytes:
    """A compressed tar file of the code folder of a commit.

    Raises:
        StopError: it is larger than what a job may bring with it, or git fails.
    """
    if submodules(of.top, commit):
        show("The job does not have the submodules: it brings an archive of the commit with it.")
    packed = BytesIO()
    # Of a commit, files have its time; of a tree, such as COMMIT:FOLDER, that of the call:
    # https://git-scm.com/docs/git-archive#_description
    words = git_words("-C", str(of.top / of.inside), "archive", "--format=tar", commit)
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=git_env()) as process:
        # Without a time of its own, so that the same commit is the same archive.
        with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file:
            while process.stdout and packed.tell() <= MOST:
                block = process.stdout.read(2**20)
                if not block:
                    break
                file.write(block)
        if packed.tell() > MOST:
            process.kill()
            raise failed("cluster-code-large", project, path=str(of.top), most=f"{MOST // 1000} kB")
    if process.returncode:
        raise failed("cluster-git", path=str(of.top), command="git archive")
    return packed.getvalue()


# ------------------------------------------------------------------------------------ of the job


def code_of_job(
    project: Project,
    site: Site,
    request: Request,
    *,
    dirty: bool,
    folder: str,
    scheduler: Scheduler,
    make: bool = True,
) -> Code:
    """The code of a job.

    Args:
        project: the project.
        site: what site.toml and .env decide.
        request: what is asked for.
        dirty: snapshot changes that are not committed, instead of refusing them.
        folder: a folder of the nodes that is used as it is, "" for a commit.
        scheduler: that gets the job.
        make: whether the checkout is made; without, nothing is written, and it is only named.

    Raises:
        StopError: there are changes, or the commit cannot be had where the job runs.
    """
    if folder:
        if not folder.startswith("/"):
            sentence = f'--code needs a full path, not "{folder}": nodes have no current folder.'
            raise StopError(sentence, f"{me()} submit --help", name=USAGE)
        return Code(Path(folder), version=git_version(Path(folder)))
    of = repository(project)
    named = scheduler.shared_code(project, site, request)
    if not named and site["storage"]["code"]:
        show("[storage] code is on no claim of the job: it brings an archive of its commit along.")
    here = as_here(site, request.cluster, named)
    place = storage(project, of, Path(here)) if here else None
    changed = commit_of_job(project, of, dirty=dirty, keep=make or not place)
    commit = changed or of.head
    version = git_version(code_folder(project), of.head)
    if not is_on_remote(of.top, of.head) and git(of.top, "remote"):
        show(f"Commit {of.head[:SHORT]} is on no remote yet: only this clone has it.")
    if make:
        git(of.top, "update-ref", f"{REFS}{request.cluster}/{commit}", commit)
    if not place:
        return Code(None, of.head, changed, archive(project, of, commit), version)
    checkout = place / first_name(project, request, (of.head, changed))
    if make:
        checkout = checkout_of(project, of, checkout, commit, own=bool(request.door))
    place = checkout / of.inside if of.inside else checkout
    return Code(place, of.head, changed, version=version)
