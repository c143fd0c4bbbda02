"""The code of a job: a commit, in a checkout that no later edit changes or in an archive."""

from __future__ import annotations

import gzip
import subprocess
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ..compose import show
from ..failures import failed
from ..git import git_version
from ..project import USAGE, StopError, code_folder, me
from .checkouts import SHORT, checkout_of, first_name, storage, submodules
from .claims import on_this_machine
from .code_repository import (
    Repository,
    commit_of_job,
    git,
    git_env,
    git_words,
    is_on_remote,
    repository,
)
from .job import Code

if TYPE_CHECKING:
    from ..project import Project
    from .job import Request, Scheduler
    from .site import Site

# Bytes of an archive. A ConfigMap has at most 1 MiB:
# https://kubernetes.io/docs/concepts/configuration/configmap/
MOST = 900_000
REFS = "refs/hearth/jobs/"


# ------------------------------------------------------------------------------------------ archive


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


# --------------------------------------------------------------------------------------- of the job


def as_here(site: Site, cluster: str, path: str) -> str:
    """A folder that pods have by a claim, as this machine has it, if the site says where."""
    claims = site.tables.get(cluster, {}).get("claims", ())
    return path if Path(path).is_dir() else on_this_machine(claims, path) or path


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
