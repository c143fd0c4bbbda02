"""Which version of the template an update goes to, and what the versions in between bring.

It runs in the Python that template.sh has found, which may be 3.8.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from host.ask import capture
from host.checkout import UpdateError, listed
from host.versions import number, releases

if TYPE_CHECKING:
    from pathlib import Path

    from host.checkout import Checkout

CURRENT = ":current:"  # the version that a project has


def target(
    project: Checkout, repository: Path, version: str, *, answers: bool, fetched: bool = False
) -> str:
    """The version to go to.

    Args:
        project: the project.
        repository: the template's history.
        version: what the person asks for, "" for the newest.
        answers: whether answers change, which alone is no reason to move to another version.
        fetched: whether the history is all that the template's address has.

    Raises:
        UpdateError: there is no such version, or none to start from.
    """
    known = capture("git", "cat-file", "-e", project.version + "^0", cwd=repository)
    tags = releases(repository)
    if project.version and known.returncode and not fetched:
        git = f"git -C {shlex.quote(str(repository))}"
        shallow = capture("git", "rev-parse", "--is-shallow-repository", cwd=repository)
        if shallow.stdout.strip() == "true":
            raise UpdateError(
                f"The template's clone is shallow, so nobody knows what {project.version} was.",
                f"{git} fetch --unshallow --tags",
            )
        if number(project.version):
            has = f"ends with {tags[-1]}" if tags else "has no tags"
            raise UpdateError(
                f"The template's clone {has}, so nobody knows what {project.version} was.",
                f"{git} fetch --tags",
            )
    if not project.version or known.returncode:
        raise UpdateError(
            f"The template does not know the version that this project was made from "
            f"({project.version or 'none is recorded'}): it was generated from changes that nobody "
            f"committed, or --from names another repository."
        )
    if version:
        wanted = next((tag for tag in tags if number(tag) == number(version)), "")
        if not wanted:
            raise UpdateError(
                f"The template has no version {version}; there are {listed(tags[::-1], 5)}."
            )
    else:
        wanted = CURRENT if answers else tags[-1] if tags else "HEAD"
    now = base_version(repository, project.version)
    if number(wanted) and number(wanted) < now:
        raise UpdateError(
            f"The project has {project.version}, which is newer than {wanted}: an update cannot go "
            "back to it, but git can."
        )
    return wanted


def base_version(repository: Path, version: str) -> tuple[int, ...]:
    """The numbers of the release that a version is, or was made after."""
    found = capture(
        "git", "describe", "--tags", "--abbrev=0", "--match", "v*.*.*", version, cwd=repository
    )
    return number(version) or number(found.stdout.strip())


def same_commit(repository: Path, one: str, other: str) -> bool:
    """Whether two names of versions mean the same commit."""
    found = capture("git", "rev-parse", f"{one}^0", f"{other}^0", cwd=repository)
    return not found.returncode and len(set(found.stdout.split())) == 1


def news(repository: Path, old: str, new: str) -> str:
    """The sections of the changelog that version `new` has more than version `old`, newest first.

    By their numbers; where `new` is no release, by what the changelog of `old` has.
    """
    since = base_version(repository, old)
    known = changelog(repository, old)
    chosen = []
    for heading, text in changelog(repository, new).items():
        if since < number(heading) <= number(new) if number(new) else text != known.get(heading):
            chosen.append(text)
    return "\n\n".join(chosen)


def changelog(repository: Path, version: str) -> dict[str, str]:
    """The sections of a version's changelog by the version that each is about."""
    text = capture("git", "show", f"{version}:CHANGELOG.md", cwd=repository).stdout
    sections = re.split(r"(?m)^(?=## |\[[\w.]+\]: )", text)
    found = ((re.match(r"## \[?(v?[\w.]+)", section), section) for section in sections)
    return {heading[1]: section.rstrip() for heading, section in found if heading}
