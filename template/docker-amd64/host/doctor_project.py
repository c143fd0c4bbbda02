"""What the doctor finds in the project: its lock, its template, its containers, its secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Iterator

from .ask import GIT_ALONE, capture, command
from .checkout import conflicts, find_project, is_interrupted, is_running, listed
from .compose import container, newer_than
from .doctor_env import finding_of, needs_env
from .engine_words import ask_engine
from .findings import ERROR, WARNING, Finding
from .images import packages_of
from .metadata import changed_metadata, is_lock_current
from .passwords import refuse_passwords
from .project import StopError
from .secret_files import secret_files
from .trusted import full_address, trusted_address
from .versions import RELEASE, address, is_remote, number

if TYPE_CHECKING:
    from .checkout import Checkout
    from .findings import Check, Subject
    from .project import Project

LIMIT = 2.0  # seconds for the template's server
MOST = 3  # names in an evidence
# Without a terminal or a window that asks for a password.
QUIET = ("env", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "SSH_ASKPASS=true")
# A container's names in its home that do not belong to its user, with the ids of their owners.
FOREIGN = 'find /home/user -maxdepth 2 ! -user "$(id -u)" -printf "%U %p\\n" 2>/dev/null'


@needs_env
def lock(subject: Subject) -> Iterator[Finding]:
    """Whether the lock was made from what the files say now."""
    project = subject.project
    packages = packages_of(project)
    made = project.folder / "dependencies" / packages.LOCK
    if not made.exists():  # the first build makes it
        return
    changed = changed_metadata(project)
    if changed or not is_lock_current(project, made.name, packages.FILES):
        older = ", ".join(changed) or "the files in dependencies/"
        cause = (
            f"dependencies/{made.name} is older than {older}; the next build brings it up to date"
        )
        yield Finding(packages.STALE, WARNING, f"changed: {older}", {"cause": cause})


# ------------------------------------------------------------------------ git and the template


def checkout(project: Project) -> Checkout | None:
    """The project in git; None where an update could not start from it."""
    try:
        return find_project(project)
    except StopError:
        return None


def left_by_merges(subject: Subject) -> Iterator[Finding]:
    """Whether a merge or an update has left something to do."""
    project = subject.project
    found = checkout(project)
    if not found:
        return
    if is_interrupted(found) and not is_running(found):
        known = {"remedy": found.undo}
        yield Finding("update-interrupted", ERROR, f"{found.state}/running", known)
    left = [*dict.fromkeys([*conflicts(project.root), *rejected(project), *marked(project)])]
    if left:
        yield Finding("conflict-left", ERROR, listed(left, MOST))


def rejected(project: Project) -> list[str]:
    """The files with changes that did not fit, where the template has files."""
    root = project.root
    folders = (project.folder, root / ".devcontainer", root / ".github")
    found = [*root.glob("*.rej"), *(one for folder in folders for one in folder.rglob("*.rej"))]
    return [str(one.relative_to(root)) for one in found]


def marked(project: Project) -> list[str]:
    """The files of docker-amd64 with lines of a conflict in them; see `ci markers`."""
    lines = ("grep", "--untracked", "-zlIE", "^(<<<<<<<|>>>>>>>)( |$)", "--")
    places = (project.folder.name, project.answers_file, ":(exclude,attr:conflict-markers)")
    asked = capture("git", *lines, *places, cwd=project.root)
    return [name for name in asked.stdout.split("\0") if name]


def template_version(subject: Subject) -> Iterator[Finding]:
    """Whether the template has a newer version, if its server or folder answers at once."""
    found = checkout(subject.project)
    now = RELEASE.match(found.version) if found else None  # also of v1.2.3-4-gabcdef0
    if not found or not now:
        return
    # Git runs what the settings of a folder name, so only a trusted one is asked.
    if trusted_address(found.docker) != full_address(found.template, found.root):
        return
    where = address(found.template)
    where = where if is_remote(where) else str(found.root / where)
    said = command([*QUIET, *GIT_ALONE, "ls-remote", "--tags", "--refs", "--", where], LIMIT)
    tags = [line.rpartition("/")[2] for line in said.out.splitlines()]
    newest = max(filter(number, tags), key=number, default="")
    if newest and number(newest) > number(now[0]):
        known = {"newest": newest, "version": found.version}
        yield Finding("template-newer", WARNING, f"tag {newest} of {where}", known)


# ------------------------------------------------------------------------ containers and images


@needs_env
def dev_container(subject: Subject) -> Iterator[Finding]:
    """Whether the running dev container is the current one, and its home the user's."""
    project = subject.project
    found = container(project) if subject.facts.engine.reachable else ""
    if not found:
        return
    newer = newer_than(project, found)
    if newer == "image":
        yield Finding("container-older", WARNING, f"container {found[:12]}")
    elif newer:
        yield Finding("container-lock-older", WARNING, f"container {found[:12]}")
    said = ask_engine("exec", found, "sh", "-c", f"id -u; {FOREIGN}").stdout.splitlines()
    foreign = [line.partition(" ") for line in said[1:]]
    if foreign:
        owner, _, path = foreign[0]
        ids = ":".join(map(project.settings.get, ("USRID", "GRPID")))
        evidence = f"{len(foreign)} in the home; {path} belongs to {owner}, the user is {said[0]}"
        known = {"path": path, "owner": owner, "ids": ids}
        yield Finding("home-of-another", WARNING, evidence, known)


@needs_env
def ids_of_images(subject: Subject) -> Iterator[Finding]:
    """Whether images were built for the ids that .env has now."""
    project = subject.project
    wanted = project.settings.get("USRID")
    if not subject.facts.engine.reachable:
        return
    for target in ("runtime", "dev"):
        name = project.image(target)
        asked = ask_engine("image", "inspect", "--format", "{{.Config.User}}", name)
        built = asked.stdout.strip().partition(":")[0]
        if built.isdigit() and wanted.isdigit() and built != wanted:
            known = {"image": name, "built": built, "uid": wanted, "target": target}
            yield Finding("image-of-other-ids", ERROR, f"user {built} in the image", known)


# ------------------------------------------------------------------------------------- secrets


@needs_env
def secrets(subject: Subject) -> Iterator[Finding]:
    """Whether containers can have the secrets that .env names."""
    yield from refusal(secret_files, subject.project)


@needs_env
def passwords(subject: Subject) -> Iterator[Finding]:
    """Whether an image would keep a password."""
    yield from refusal(refuse_passwords, subject.project)


def refusal(verb: Callable[[Project], object], project: Project) -> Iterator[Finding]:
    """Why a verb would stop at the project, if it would."""
    try:
        verb(project)
    except StopError as stop:
        yield finding_of(stop, ERROR, "named in .env or dependencies/")


CHECKS: tuple[Check, ...] = (
    lock,
    left_by_merges,
    template_version,
    dev_container,
    ids_of_images,
    secrets,
    passwords,
)
