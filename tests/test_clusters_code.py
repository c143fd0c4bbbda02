"""The code of a job is a commit, and nothing that happens later changes or loses it."""

from __future__ import annotations

import gzip
import io
import multiprocessing
import os
import re
import shlex
import stat
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from host.clusters import checkouts, code, code_repository
from host.clusters.job import Code, Record, Request, Scheduler
from host.clusters.schedulers import scheduler
from host.clusters.site import Site
from host.project import Project, StopError
from tests.support.cluster_job import job_of, site_of
from tests.support.git import git
from tests.support.process import run
from tests.support.program import PROJECT

REQUEST = Request("slurm", "train", ("python", "train.py"))
ODD = "a 'file' with $(touch x) and é.txt"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in git, as on a login node."""
    monkeypatch.delenv("LOCAL_CODE_DIR", raising=False)
    root = tmp_path / "home of $x/work"
    (root / "docker-amd64").mkdir(parents=True)
    (root / "train.py").write_text("print(1)\n")
    (root / ODD).write_text("odd\n")
    (root / ".gitignore").write_text("/outputs/\n.env\n*.egg-info/\n")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    return project_in(root)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """What the nodes see."""
    folder = tmp_path / "scratch of 'me'"
    folder.mkdir()
    return folder


def project_in(root: Path, **env: str) -> Project:
    lines = (f"{key}={value}\n" for key, value in {"COMPOSE_PROJECT_NAME": "demo", **env}.items())
    (root / "docker-amd64/.env").write_text("".join(lines))
    return Project(root / "docker-amd64", PROJECT)


def code_of(
    project: Project,
    storage: Path | str = "",
    *,
    dirty: bool = False,
    folder: str = "",
    shares: bool = True,
    make: bool = True,
    request: Request = REQUEST,
    **tables: dict[str, Any],
) -> Code:
    site = Site(Path("site.toml"), {"storage": {"code": str(storage)}, **tables})
    none = cast("Any", None)

    def shared(*_: Any) -> str:
        return str(storage) if shares else ""

    scheduler = Scheduler("sbatch", none, shared, none, none, none, none, none, none, none)
    return code.code_of_job(
        project, site, request, dirty=dirty, folder=folder, scheduler=scheduler, make=make
    )


def checkout_of(project: Project, storage: Path, *, dirty: bool = False) -> Path:
    found = code_of(project, storage, dirty=dirty).folder
    assert found
    return found


def refused(project: Project, storage: Path | str = "", **options: Any) -> str:
    with pytest.raises(StopError) as caught:
        code_of(project, storage, **options)
    return caught.value.name


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD").strip()


def files(folder: Path) -> dict[str, str]:
    return {
        one.relative_to(folder).as_posix(): one.read_text()
        for one in folder.rglob("*")
        if one.is_file() and one.name != ".git"
    }


def state(project: Project) -> tuple[str, ...]:
    """What a user has in a repository."""
    words = (
        ("status", "--porcelain"),
        ("rev-parse", "HEAD"),
        ("branch",),
        ("stash", "list"),
        ("diff", "--cached"),
    )
    return tuple(git(project.root, *one) for one in words)


# ----------------------------------------------------------------------------------- a commit


def test_a_job_has_the_files_of_the_commit_and_none_that_git_ignores(
    work: Project, storage: Path
) -> None:
    (work.root / "outputs").mkdir()
    (work.root / "outputs/result").write_text("1\n")
    head = git(work.root, "rev-parse", "HEAD").strip()
    found = code_of(work, storage)
    assert found.commit == head
    assert not found.dirty
    assert not found.archive
    assert found.folder == storage / f"demo-{head[:12]}"
    tracked = [".gitignore", ODD, "train.py"]
    assert files(found.folder) == {one: (work.root / one).read_text() for one in tracked}


def test_edits_and_newer_commits_change_no_queued_job(work: Project, storage: Path) -> None:
    first = checkout_of(work, storage)
    (work.root / "train.py").write_text("print(2)\n")
    commit(work.root, "Change")
    second = checkout_of(work, storage)
    assert (first / "train.py").read_text() == "print(1)\n"
    assert (second / "train.py").read_text() == "print(2)\n"


def test_a_second_job_of_a_commit_has_the_same_checkout(work: Project, storage: Path) -> None:
    first = checkout_of(work, storage)
    assert checkout_of(work, storage) == first
    assert len([*storage.iterdir()]) == 1


def test_nothing_that_git_cleans_up_is_a_commit_of_a_job(work: Project, storage: Path) -> None:
    (work.root / "train.py").write_text("print(2)\n")
    lost = commit(work.root, "A commit that no branch has later")
    found = checkout_of(work, storage)
    git(work.root, "reset", "--quiet", "--hard", "HEAD~1")
    moved = storage.with_name("not mounted now")
    storage.rename(moved)
    git(work.root, "reflog", "expire", "--expire=now", "--all")
    git(work.root, "worktree", "prune", "--expire=now")
    git(work.root, "gc", "--quiet", "--prune=now")
    moved.rename(storage)
    assert git(found, "rev-parse", "HEAD").strip() == lost
    assert git(found, "status", "--porcelain") == ""
    checkouts.remove_checkout(found)
    git(work.root, "gc", "--quiet", "--prune=now")
    assert git(work.root, "cat-file", "-t", lost).strip() == "commit"


def test_a_checkout_is_not_edited_unawares(work: Project, storage: Path) -> None:
    found = checkout_of(work, storage)
    writable = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
    assert not (found / "train.py").stat().st_mode & writable
    (found / "demo.egg-info").mkdir()  # what a program leaves beside its code
    assert checkout_of(work, storage) == found


def test_an_edited_checkout_stays_for_its_jobs_and_gets_no_new_one(
    work: Project, storage: Path
) -> None:
    found = checkout_of(work, storage)
    (found / "train.py").chmod(0o644)
    (found / "train.py").write_text("print('edited')\n")
    another = checkout_of(work, storage)
    assert another == found.with_name(f"{found.name}-2")
    assert (another / "train.py").read_text() == "print(1)\n"
    assert (found / "train.py").read_text() == "print('edited')\n"
    assert checkout_of(work, storage) == another


def test_what_a_crash_has_left_half_is_not_used(work: Project, storage: Path) -> None:
    head = git(work.root, "rev-parse", "HEAD").strip()
    half = storage / f"demo-{head[:12]}"
    git(work.root, "worktree", "add", "--quiet", "--detach", str(half))
    assert checkout_of(work, storage) == storage / f"demo-{head[:12]}-2"


def test_a_checkout_that_was_deleted_is_made_again(work: Project, storage: Path) -> None:
    found = checkout_of(work, storage)
    assert run("rm", "-r", str(found)).returncode == 0
    assert checkout_of(work, storage) == found
    assert (found / "train.py").is_file()


def test_a_hook_of_the_repository_does_not_run(work: Project, storage: Path) -> None:
    hook = work.root / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch '{work.root.parent}/ran'\n")
    hook.chmod(0o755)
    checkout_of(work, storage)
    assert not (work.root.parent / "ran").exists()


@pytest.mark.parametrize(
    "settings",
    [
        # A signature is shown, or an object is missing: git would start what is named.
        {"log.showSignature": "true", "gpg.program": "RAN"},
        {"log.showSignature": "true", "gpg.ssh.program": "RAN", "gpg.format": "ssh"},
        {
            "core.repositoryFormatVersion": "1",
            "extensions.partialClone": "evil",
            "remote.evil.promisor": "true",
            "remote.evil.url": "HERE",
            "remote.evil.uploadpack": "'RAN'",
        },
        {"core.fsmonitor": "RAN", "core.sshCommand": "RAN", "diff.external": "RAN"},
    ],
)
def test_settings_of_the_repository_start_nothing(
    work: Project, storage: Path, settings: dict[str, str]
) -> None:
    ran, program = work.root.parent / "ran", work.root.parent / "program"
    program.write_text(f"#!/bin/sh\ntouch '{ran}'\n")
    program.chmod(0o755)
    signed = f"{git(work.root, 'cat-file', 'commit', 'HEAD')}"
    signed = signed.replace(
        "\n\n",
        "\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n",
        1,
    )
    head = run(
        *("git", "-C", str(work.root), "hash-object", "-t", "commit", "-w", "--stdin"), input=signed
    )
    git(work.root, "reset", "--quiet", "--soft", head.stdout.strip())
    missing = git(work.root, "rev-parse", "HEAD:.gitignore").strip()
    for key, value in settings.items():
        git(
            work.root,
            "config",
            key,
            value.replace("RAN", str(program)).replace("HERE", str(work.root)),
        )
    if "extensions.partialClone" in settings:
        (work.root / f".git/objects/{missing[:2]}/{missing[2:]}").unlink()
    for dirty in (False, True):
        with suppress(StopError):
            code_of(work, storage, dirty=dirty)
        (work.root / "train.py").write_text("print(2)\n")
    assert not ran.exists()


def test_a_repository_whose_files_are_said_to_be_elsewhere_is_refused(
    work: Project, storage: Path
) -> None:
    (work.root.parent / ".ssh").mkdir()
    (work.root.parent / ".ssh/id").write_text("secret\n")
    git(work.root, "config", "core.worktree", str(work.root.parent))
    assert refused(work, storage, dirty=True) == "cluster-code-worktree"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make files of another user")
@pytest.mark.parametrize("what", ["folder", "file", "elsewhere", "link"])
def test_a_checkout_that_another_user_has_made_is_not_used(
    work: Project, storage: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    first = checkout_of(work, storage)
    # A git of before 2.35.2 looks at no owner.
    git(work.root, "config", "--file", str(storage.parent / "settings"), "safe.directory", "*")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(storage.parent / "settings"))
    assert checkout_of(work, storage) == first
    if what == "folder":
        os.chown(first, 4321, 4321)
    elif what == "file":
        os.chown(first / ".git", 4321, 4321)
    elif what == "elsewhere":
        git(storage.parent, "clone", "--quiet", "--bare", str(work.root), "theirs")
        git(storage.parent / "theirs", "worktree", "add", "--quiet", "--detach", "../x", "HEAD")
        (storage.parent / "theirs/worktrees/x/locked").touch()
        (first / ".git").write_text(f"gitdir: {storage.parent}/theirs/worktrees/x\n")
    else:
        first.rename(storage / "theirs")
        first.symlink_to(storage / "theirs")
    assert checkout_of(work, storage).name == f"{first.name}-2"


def test_variables_of_git_name_no_other_repository(
    work: Project, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(key, "/nowhere")
    found = code_of(work, storage).folder
    assert found
    assert (found / "train.py").is_file()


# --------------------------------------------------------------------------------- changes


@pytest.mark.parametrize("name", ["train.py", "new.py"])
def test_changes_are_refused(work: Project, storage: Path, name: str) -> None:
    (work.root / name).write_text("print(3)\n")
    assert refused(work, storage) == "cluster-code-changed"
    assert not [*storage.iterdir()]


def test_dirty_snapshots_changes_and_new_files_and_touches_nothing(
    work: Project, storage: Path
) -> None:
    (work.root / "train.py").write_text("print(3)\n")
    (work.root / "staged.py").write_text("print(4)\n")
    git(work.root, "add", "staged.py")
    (work.root / "staged.py").write_text("print(5)\n")
    (work.root / ODD).unlink()
    (work.root / "new $(x)\n.py").write_text("print(6)\n")
    (work.root / "link").symlink_to("train.py")
    (work.root / "docker-amd64/.env").touch()
    before = state(work)
    found = code_of(work, storage, dirty=True)
    assert state(work) == before
    assert found.folder
    assert found.folder.name == f"demo-{found.commit[:12]}-{found.dirty[:12]}"
    assert files(found.folder) == {
        ".gitignore": (work.root / ".gitignore").read_text(),
        "train.py": "print(3)\n",
        "staged.py": "print(5)\n",
        "new $(x)\n.py": "print(6)\n",
        "link": "print(3)\n",
    }
    assert git(work.root, "rev-parse", f"{found.dirty}^").strip() == found.commit
    assert code_of(work, storage, dirty=True) == found
    git(work.root, "stash", "--include-untracked")
    git(work.root, "gc", "--quiet", "--prune=now")
    assert git(work.root, "cat-file", "-t", found.dirty).strip() == "commit"


def test_dirty_without_changes_is_the_commit(work: Project, storage: Path) -> None:
    assert code_of(work, storage, dirty=True) == code_of(work, storage)


def test_a_large_new_file_is_left_out_and_said(
    work: Project, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work.root / "weights.bin").write_bytes(b"0" * (2**20 + 1))
    (work.root / "small.bin").write_bytes(b"0" * 2**20)
    found = checkout_of(work, storage, dirty=True)
    assert (found / "small.bin").is_file()
    assert not (found / "weights.bin").exists()
    assert "weights.bin" in capsys.readouterr().err


def test_conflicts_are_no_code(work: Project, storage: Path) -> None:
    git(work.root, "switch", "--quiet", "--create", "other")
    (work.root / "train.py").write_text("print('a')\n")
    commit(work.root, "a")
    git(work.root, "switch", "--quiet", "-")
    (work.root / "train.py").write_text("print('b')\n")
    commit(work.root, "b")
    assert run("git", "merge", "other", cwd=work.root).returncode
    assert refused(work, storage, dirty=True) == "cluster-code-conflicts"


@pytest.mark.parametrize("dirty", [False, True])
def test_a_dry_run_names_the_checkout_and_writes_nothing(
    work: Project, storage: Path, dirty: bool
) -> None:
    if dirty:
        (work.root / "train.py").write_text("print(3)\n")
    objects = git(work.root, "count-objects")
    planned = code_of(work, storage, dirty=dirty, make=False)
    assert not [*storage.iterdir()]
    assert git(work.root, "count-objects") == objects
    assert git(work.root, "for-each-ref", "refs/hearth") == ""
    assert code_of(work, storage, dirty=dirty) == planned


# ---------------------------------------------------------------------- kinds of repositories


def test_code_in_a_subfolder_is_what_workspace_has(
    work: Project, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = work.root / "part of it/code"
    inner.mkdir(parents=True)
    (inner / "main.py").write_text("1\n")
    commit(work.root, "A part")
    monkeypatch.setenv("LOCAL_CODE_DIR", str(inner))
    found = code_of(project_in(work.root), storage)
    assert found.folder == storage / f"demo-{found.commit[:12]}/part of it/code"
    assert files(found.folder) == {"main.py": "1\n"}
    packed = code_of(project_in(work.root)).archive
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert tar.getnames() == ["main.py"]


def test_code_that_the_repository_ignores_is_not_in_git(
    work: Project, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work.root / "outputs").mkdir()
    monkeypatch.setenv("LOCAL_CODE_DIR", str(work.root / "outputs"))
    assert refused(project_in(work.root), storage) == "cluster-code-not-in-git"


def test_a_worktree_can_be_the_code(
    work: Project, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = work.root.parent / "tree"
    git(work.root, "worktree", "add", "--quiet", "-b", "side", str(tree))
    (tree / "train.py").write_text("print('side')\n")
    head = commit(tree, "Side")
    monkeypatch.setenv("LOCAL_CODE_DIR", str(tree))
    found = code_of(project_in(work.root), storage)
    assert found.commit == head
    assert found.folder
    assert (found.folder / "train.py").read_text() == "print('side')\n"


def test_submodules_come_from_those_that_are_here(
    work: Project, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in (("COUNT", "1"), ("KEY_0", "protocol.file.allow"), ("VALUE_0", "always")):
        monkeypatch.setenv(f"GIT_CONFIG_{key}", value)
    inner, outer = (work.root.parent / name for name in ("inner", "outer"))
    for folder in (inner, outer):
        folder.mkdir()
        (folder / "lib.py").write_text(f"# {folder.name}\n")
        git(folder, "init", "--quiet")
        commit(folder, "Begin")
    git(outer, "submodule", "--quiet", "add", str(inner), "in side")
    commit(outer, "A submodule")
    git(work.root, "submodule", "--quiet", "add", str(outer), "lib")
    commit(work.root, "A submodule with one")
    git(work.root, "submodule", "--quiet", "update", "--init", "--recursive")
    for folder in (inner, outer):  # the address of none is asked
        assert run("rm", "-r", str(folder)).returncode == 0
    found = checkout_of(work, storage)
    assert (found / "lib/lib.py").read_text() == "# outer\n"
    assert (found / "lib/in side/lib.py").read_text() == "# inner\n"
    assert checkout_of(work, storage) == found
    (work.root / "lib/lib.py").write_text("edited\n")
    assert refused(work, storage) == "cluster-code-changed"
    assert refused(work, storage, dirty=True) == "cluster-submodule-changed"
    checkouts.remove_checkout(found)
    assert "prunable" not in git(work.root / "lib", "worktree", "list", "--porcelain")
    assert git(work.root / "lib/in side", "worktree", "list").count("\n") == 1


def test_pointers_of_lfs_are_said(
    work: Project, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work.root / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    (work.root / "model.bin").write_text(pointer)
    commit(work.root, "A large file")
    checkout_of(work, storage)
    assert "model.bin" in capsys.readouterr().err


@pytest.mark.parametrize("has_remote", [True, False])
def test_a_commit_that_no_remote_has_is_said(
    work: Project, storage: Path, capsys: pytest.CaptureFixture[str], has_remote: bool
) -> None:
    remote = work.root.parent / "remote"
    git(work.root, "clone", "--quiet", "--bare", str(work.root), str(remote))
    git(work.root, "remote", "add", "origin", str(remote))
    if has_remote:
        git(work.root, "fetch", "--quiet", "origin")
    checkout_of(work, storage)
    assert ("is on no remote" in capsys.readouterr().err) != has_remote


def test_without_git_or_without_a_commit(tmp_path: Path, storage: Path) -> None:
    root = tmp_path / "plain"
    (root / "docker-amd64").mkdir(parents=True)
    project = project_in(root)
    assert refused(project, storage) == "cluster-code-not-in-git"
    git(root, "init", "--quiet")
    assert refused(project, storage) == "cluster-code-not-in-git"


def test_without_git_its_absence_is_said(
    work: Project, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(storage))
    assert refused(work, storage) == "cluster-git-missing"
    assert code_of(work, storage, folder="/shared/demo").folder == Path("/shared/demo")


def test_an_interactive_job_edits_a_checkout_of_its_own(
    work: Project, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queued = checkout_of(work, storage)
    found = code_of(work, storage, request=Request("slurm", "desk", (), door="shell")).folder
    assert found == queued.with_name(f"{queued.name}-desk")
    (found / "train.py").write_text("print('edited')\n")
    assert (queued / "train.py").read_text() == "print(1)\n"
    site = Site(Path("site.toml"), {"storage": {"code": str(storage)}})
    assert checkouts.unused_checkouts(work, site, []) == [queued]
    commit(found, "Work in the job")
    capsys.readouterr()
    assert checkouts.unused_checkouts(work, site, []) == [queued]
    # It is named, with the command that removes it for good.
    line = capsys.readouterr().err.splitlines()[-1]
    assert run("bash", "-c", line.partition("run: ")[2]).returncode == 0
    assert not found.exists()
    assert queued.exists()


# --------------------------------------------------------------------------------- the storage


def test_a_claim_of_pods_is_written_where_this_machine_has_it(work: Project, storage: Path) -> None:
    claim = {"claim": "lab", "path": "/lab", "here": str(storage.parent)}
    found = code_of(work, f"/lab/{storage.name}", slurm={"claims": [claim]}).folder
    assert found
    assert found.parent == storage


def test_a_storage_that_cannot_be_used(work: Project, tmp_path: Path) -> None:
    assert refused(work, tmp_path / "missing") == "cluster-storage-missing"
    assert refused(work, "some/folder") == "cluster-storage"
    inside = work.root / "checkouts"
    inside.mkdir()
    assert refused(work, inside) == "cluster-storage"
    ignored = work.root / "outputs"
    ignored.mkdir()
    assert checkout_of(work, ignored).parent == ignored


def test_a_storage_that_is_full_is_named_and_not_each_file(
    work: Project,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    true = code_repository.ask
    lines = "".join(f"error: unable to write file {at}\n" for at in range(200))

    def ask(*words: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
        if "worktree" in words:
            return subprocess.CompletedProcess(words, 128, b"", lines.encode())
        return true(*words, **options)

    monkeypatch.setattr(checkouts, "ask", ask)
    with pytest.raises(StopError) as caught:
        code_of(work, storage)
    assert caught.value.name == "cluster-storage"
    assert shlex.split(caught.value.command)[-1] == str(storage)
    assert len(capsys.readouterr().err.splitlines()) < 10


def test_a_storage_that_may_not_be_written(
    work: Project, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert refused(work, storage) == "cluster-storage"


def test_jobs_that_are_submitted_at_once_share_one_checkout(work: Project, storage: Path) -> None:
    start = multiprocessing.get_context("fork").Process
    every = [start(target=checkout_of, args=(work, storage)) for _ in range(4)]
    for one in every:
        one.start()
    for one in every:
        one.join()
    assert [one.exitcode for one in every] == [0] * 4
    assert [*storage.iterdir()] == [checkout_of(work, storage)]


def test_checkouts_that_no_job_uses_can_be_removed(work: Project, storage: Path) -> None:
    old = checkout_of(work, storage)
    (work.root / "train.py").write_text("print(2)\n")
    snapshot = code_of(work, storage, dirty=True)
    head = commit(work.root, "Change")
    used = code_of(work, storage)
    record = Record("slurm", "a", "1", "", (), head, "", "", "", 1, 0, "", work.root)
    site = Site(Path("site.toml"), {"storage": {"code": str(storage)}})
    unused = checkouts.unused_checkouts(work, site, [record])
    assert set(unused) == {old, snapshot.folder}
    for one in unused:
        checkouts.remove_checkout(one)
    assert [*storage.iterdir()] == [used.folder]
    assert git(work.root, "worktree", "list").count("\n") == 2


def test_a_checkout_that_another_worktree_has_jobs_with_is_used(
    work: Project, storage: Path
) -> None:
    found = checkout_of(work, storage)
    tree = work.root.parent / "tree"
    git(work.root, "worktree", "add", "--quiet", "--detach", str(tree))
    (tree / "docker-amd64").mkdir()
    assert checkout_of(project_in(tree), storage) == found
    site = Site(Path("site.toml"), {"storage": {"code": str(storage)}})
    assert checkouts.unused_checkouts(work, site, []) == []
    git(work.root, "worktree", "remove", "--force", str(tree))
    assert checkouts.unused_checkouts(work, site, []) == [found]


# ------------------------------------------------------------------------- without shared storage


def test_a_version_of_git_is_that_of_the_commit(work: Project, storage: Path) -> None:
    root = work.folder.parent
    (root / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools-scm"]\n')
    commit(root, "Take the version of git")
    git(root, "tag", "v1.2")
    assert code_of(work, storage).version == code_of(work).version == "1.2"
    assert code_of(work, folder=str(root)).version == "1.2"
    (root / "new.py").write_text("x = 1\n")
    assert code_of(work, storage, dirty=True).version == "1.2"


def file_of(folder: Path, request: Request, accelerator: str = "cuda") -> str:
    """The file that the scheduler of a job takes first."""
    cluster, claims = request.cluster, [{"claim": "lab", "path": "/mnt"}]
    every: dict[str, dict[str, Any]] = {
        "slurm": {},
        "kubernetes": {"claims": claims, "context": "lab", "namespace": "lab"},
        "runai": {"claims": claims},
        "skypilot": {"accelerator": "H100"},
    }
    site = site_of(cluster, image={"name": "x"}, **{cluster: every[cluster]})
    of = Code(Path("/mnt/code/demo"), "0" * 40, version="1.2.dev3+gabc")
    job = job_of(folder, site, request, code=of, accelerator=accelerator)
    job = job._replace(image=job.image._replace(file=Path("/demo.sif")))
    (text, *_) = scheduler(cluster).files(job).values()
    return text


@pytest.mark.parametrize("cluster", ["slurm", "kubernetes", "runai", "skypilot"])
def test_every_job_has_the_version_of_its_code(tmp_path: Path, cluster: str) -> None:
    text = file_of(tmp_path, Request(cluster, "train", ("true",)))
    assert re.search(r"PROJECT_VERSION\b.*1\.2\.dev3\+gabc", text)


@pytest.mark.parametrize("cluster", ["slurm", "kubernetes", "runai", "skypilot"])
def test_a_job_that_asks_for_gpus_ends_without_them_unless_you_say_otherwise(
    tmp_path: Path, cluster: str
) -> None:
    request = Request(cluster, "train", ("true",), gpus=1)
    required = r"REQUIRE_GPU(=|: |, value: )[\"']?1\b"
    assert re.search(required, file_of(tmp_path / "1", request))
    for at, (one, accelerator) in enumerate(
        (
            (request._replace(gpus=0), "cuda"),
            (request, "cpu"),
            (request._replace(environment={"REQUIRE_GPU": "0"}), "cuda"),
        )
    ):
        assert not re.search(required, file_of(tmp_path / f"without {at}", one, accelerator)), one


@pytest.mark.parametrize("shares", [True, False])
def test_a_job_without_shared_storage_brings_the_commit_with_it(
    work: Project, storage: Path, shares: bool
) -> None:
    found = code_of(work, "" if shares else storage, shares=shares)
    assert found.folder is None
    with tarfile.open(fileobj=io.BytesIO(found.archive)) as tar:
        assert sorted(tar.getnames()) == sorted([".gitignore", ODD, "train.py"])
        committed = git(work.root, "show", "--no-patch", "--format=%ct", "HEAD").strip()
        assert {str(int(one.mtime)) for one in tar} == {committed}  # the same archive each time
    assert found == code_of(work, "" if shares else storage, shares=shares, make=False)
    (work.root / "train.py").write_text("print(7)\n")
    dirty = code_of(work, dirty=True)
    assert b"print(7)" in gzip.decompress(dirty.archive)


def test_a_commit_that_is_too_large_to_bring_is_refused(work: Project) -> None:
    (work.root / "data.bin").write_bytes(os.urandom(code.MOST + 1))
    commit(work.root, "Much")
    assert refused(work) == "cluster-code-large"


def test_a_folder_of_the_nodes_is_used_as_it_is(work: Project) -> None:
    (work.root / "train.py").write_text("print(3)\n")
    assert code_of(work, folder="/on/the nodes") == Code(Path("/on/the nodes"))
    assert refused(work, folder="here") == "usage"
