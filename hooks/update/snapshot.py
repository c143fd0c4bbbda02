"""A snapshot of all that an update will touch, from which it can be taken back, and the writing.

What takes it back, undo.sh, is plain shell and git, in git's own folder: it works whatever is left
of the project.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hooks.update.carried import CARRIED
from host.ask import capture
from host.checkout import BEGUN, HOST_FILES, UpdateError, listed
from host.env_file import COPIES
from host.files import PUBLIC, make_folder, owner_of_new, replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from hooks.update.changes import Conflict, Plan
    from hooks.update.renderings import File
    from host.checkout import Checkout

# Of docker-amd64: git ignores them, and each host has its own.
SAVED = (*HOST_FILES, *(f".env{ending}" for ending in COPIES))
KNOWN, MADE = "known", "made"  # beside what takes an update back
SHA256 = 64  # digits of a commit's name in a repository with these hashes
ROOM = 4 * 1024**2  # bytes that an update leaves free
LOCK_PATIENCE = 3.0  # seconds for another git to end

UNDO = Path(__file__).with_name("undo.sh")


def check_possible(project: Checkout, plan: Plan) -> None:
    """See that all can be written, before anything is. Raises UpdateError."""
    denied = []
    for name in [*plan.touched, "docker-amd64/.env"]:
        folder = (project.root / name).parent
        while not folder.is_dir():  # in place of a file, which goes
            folder = folder.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            denied.append(str(folder.relative_to(project.root)))
    if denied:
        names = [*dict.fromkeys(denied)]
        where = " ".join(shlex.quote(str(project.root / name)) for name in names)
        raise UpdateError(
            f"You cannot write in {listed(names)}: the update would be left half-done.",
            f"sudo chown -R {shlex.quote(f'{os.geteuid()}:{os.getegid()}')} {where}",
        )
    if not os.access(project.git, os.W_OK):
        raise UpdateError(
            f"You cannot write in {project.git}: what takes the update back has no place.",
            f"sudo chown -R {os.geteuid()}:{os.getegid()} {shlex.quote(str(project.git))}",
        )
    sizes = sum(len(file.data) for file in plan.writes.values())
    for folder in (project.root, project.git):
        there = os.statvfs(folder)
        free = there.f_bavail * there.f_frsize
        if free < 3 * sizes + ROOM:
            raise UpdateError(
                f"The disk of {folder} is full ({free // 1024**2} MiB are free): an update needs "
                f"{(3 * sizes + ROOM) // 1024**2 + 1} MiB.",
                "docker system df" if shutil.which("docker") else "df -h .",
            )
    bad = [name for name in plan.touched if "\n" in name]
    if bad:
        raise UpdateError(f"The template has a file with a line break in its name: {bad[0]!r}.")
    wait_for_git(project)


def wait_for_git(project: Checkout) -> None:
    """Wait until no other git writes the index. Raises UpdateError where one does for long."""
    lock = project.git / "index.lock"
    until = time.monotonic() + LOCK_PATIENCE
    while os.path.lexists(lock):
        if time.monotonic() > until:
            raise UpdateError(
                f"Another git command works in this repository: {lock} is there. If none does, "
                "one was killed, and its lock can go.",
                f"rm {shlex.quote(str(lock))}",
            )
        time.sleep(0.1)


def copy_exactly(path: Path, copy: Path) -> None:
    """Copy a file or a link with its mode, times and owner."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, copy, follow_symlinks=False)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        status = path.lstat()
        os.chown(copy, status.st_uid, status.st_gid, follow_symlinks=False)


def known_line(project: Checkout, name: str, content: bytes) -> str:
    """That the update knows a content of a file: git's hash of it, as undo.sh compares."""
    kind = hashlib.sha256 if len(project.head) == SHA256 else hashlib.sha1
    return f"{kind(b'blob %d%c' % (len(content), 0) + content).hexdigest()} ./{name}\n"


def note_known(project: Checkout, contents: Iterable[tuple[str, bytes]]) -> None:
    """Add contents of files that are not a person's work since the update."""
    with (project.state / KNOWN).open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(known_line(project, name, content) for name, content in contents)


def note_made(project: Checkout, overtaken: Collection[str] = ()) -> None:
    """Note what an update has left at each of its paths, but for those with another's work."""
    names = (project.state / "paths").read_text("utf-8", "surrogateescape").splitlines()
    files = [(name, project.root / name) for name in names if name not in overtaken]
    note_known(project, [(name, path.read_bytes()) for name, path in files if path.is_file()])


def leave(project: Checkout, names: Collection[str]) -> None:
    """Take files out of what is taken back: somebody has saved them, and the update has not."""
    for file in (project.state / "paths", project.state / KNOWN):
        lines = file.read_text("utf-8", "surrogateescape").splitlines(keepends=True)
        kept = [
            line for line in lines if re.sub(r"^[0-9a-f]+ \./", "", line.rstrip("\n")) not in names
        ]
        file.write_text("".join(kept), "utf-8", "surrogateescape")


def overtaken(project: Checkout, plan: Plan) -> list[str]:
    """Files that somebody has saved after the update had written them.

    What the update had made of each is kept in the folder `made` of the project's state.
    """
    found = []
    for name, file in plan.writes.items():
        path = project.root / name
        if name in CARRIED or file.link or (path.is_file() and path.read_bytes() == file.data):
            continue
        found.append(name)
        copy = project.state / MADE / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.data)
    return found


def take(
    project: Checkout,
    names: Iterable[str],
    scratch: Path,
    conflicts: Sequence[str] = (),
    known: Iterable[tuple[str, bytes]] = (),
) -> None:
    """Copy what is at some paths, and write the program that takes an update back.

    Args:
        project: the project.
        names: the paths.
        scratch: the update's temporary folder, which it leaves behind if it is killed.
        conflicts: the files in which a person will have to choose.
        known: contents of files that are not a person's work since.

    Raises:
        OSError: there is no place for it.
    """
    state = project.state
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True, mode=0o700)  # .env may hold secrets
    for name in SAVED:
        if (project.docker / name).is_file():
            shutil.copy2(project.docker / name, state / name)
    paths = sorted({*names})
    (state / "paths").write_text("".join(f"{name}\n" for name in paths), "utf-8", "surrogateescape")
    for name in paths:
        path = project.root / name
        if path.is_symlink() or path.is_file():
            copy_exactly(project.root / name, state / "before" / name)
    note_known(project, known)
    values = {
        "ROOT": shlex.quote(str(project.root)),
        "DOCKER": shlex.quote(str(project.docker)),
        "STATE": shlex.quote(str(state)),
        "SCRATCH": shlex.quote(str(scratch)),
        "HEAD": shlex.quote(project.head),
        "FILES": " ".join(SAVED),
        "LOCK": shlex.quote(shlex.quote(str(project.git / "index.lock"))),
    }
    # In one step: a folder may have such a mark in its name.
    text = re.sub("@([A-Z]+)@", lambda mark: values[mark[1]], UNDO.read_text("utf-8"))
    begun = {"head": project.head, "conflicts": [*conflicts]}
    (state / BEGUN).write_text(json.dumps(begun), "utf-8")
    (state / "undo").write_text(text, "utf-8", "surrogateescape")
    (state / "running").write_text(str(os.getpid()))


def write(root: Path, name: str, file: File) -> None:
    """Write a file of the project in one step; its mode but for execution stays.

    Raises:
        ProbeError: it cannot be written, or belongs to another user.
        OSError: a folder cannot be made.
    """
    path = root / name
    make_folder(path.parent)
    if file.link:
        temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
        temporary.symlink_to(os.fsdecode(file.data))
        owner = owner_of_new(path, None)
        if owner:
            os.chown(temporary, *owner, follow_symlinks=False)
        temporary.replace(path)
        return
    # A link is replaced, not followed: a program in a container can make one.
    status = path.lstat() if path.exists() and not path.is_symlink() else None
    mode = stat.S_IMODE(status.st_mode) if status else PUBLIC
    execution = (mode & 0o444) >> 2 if file.executable else 0
    owner = owner_of_new(path, status)
    replace_file(path, file.data, mode & ~0o111 | execution, owner, status)


def apply(
    project: Checkout, plan: Plan, check: Callable[[Iterable[str]], None] = lambda _: None
) -> None:
    """Do what was planned. Raises ProbeError and OSError.

    Args:
        project: the project.
        plan: what to do.
        check: raises UpdateError if files are not what the plan was made of; an editor may be open.
    """
    for name in plan.deletes:
        check([name])
        (project.root / name).unlink()
        with suppress(OSError):  # a folder that has something else stays
            for folder in list((project.root / name).parents)[: name.count("/")]:
                folder.rmdir()
    for name, file in plan.writes.items():
        check([name])
        write(project.root, name, file)
    if plan.conflicts:
        record_conflicts(project, plan.conflicts)


# ------------------------------------------------------------------------------ conflicts in git


def store(root: Path, file: File) -> str:
    """Give git a content; its name there."""
    command = ["git", "hash-object", "-w", "--stdin", "--no-filters"]
    done = subprocess.run(command, cwd=root, input=file.data, capture_output=True, check=True)
    return done.stdout.decode().strip()


def record_conflicts(project: Checkout, conflicts: Sequence[Conflict]) -> None:
    """Let `git status` show which files a person has to merge, as after a merge of its own.

    The index is replaced in one step, under git's own lock, which has a known inode: what an update
    that is killed leaves of it can be told from the lock of another git.
    """
    prefix = capture("git", "rev-parse", "--show-prefix", cwd=project.root).stdout.rstrip("\n")
    rows = []
    for one in conflicts:
        stages = []
        for stage, file in enumerate((one.base, one.ours, one.theirs), 1):
            if file:
                mode = "120000" if file.link else "100755" if file.executable else "100644"
                stages.append(f"{mode} {store(project.root, file)} {stage}")
        nothing = "0" * len(stages[0].split()[1])
        rows += [f"{row}\t{prefix}{one.name}" for row in (f"0 {nothing}", *stages)]
    index, new = project.git / "index", project.state / "index-new"
    shutil.copyfile(index, new)
    subprocess.run(
        ["git", "update-index", "-z", "--index-info"],
        cwd=project.root,
        env={**os.environ, "GIT_INDEX_FILE": str(new)},
        input=os.fsencode("".join(f"{row}\0" for row in rows)),
        capture_output=True,
        check=True,
    )
    new.chmod(stat.S_IMODE(index.stat().st_mode))
    (project.state / "index-inode").write_text(str(new.stat().st_ino))
    lock = project.git / "index.lock"
    wait_for_git(project)
    os.link(new, lock)
    lock.replace(index)
    new.unlink()
