"""The template's versions and what they bring, from its git history."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from .ask import capture
from .checkout import UpdateError, listed, no_repository
from .project import me

if TYPE_CHECKING:
    from .checkout import Checkout

CURRENT = ":current:"  # Copier's name for the version that a project has
RELEASE = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
# As Copier expands them.
SHORT_URLS = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}


def address(template: str) -> str:
    """The template's address for git, as Copier reads `_src_path`."""
    for short, full in SHORT_URLS.items():
        if template.startswith(short):
            path = template[len(short) :].lstrip("/")
            return full + (path if path.endswith(".git") else f"{path}.git")
    if template.startswith("git+"):
        return template[4:]
    if template.startswith(tuple(SHORT_URLS.values())) and not template.endswith(".git"):
        return f"{template}.git"
    return str(Path(template).expanduser()) if template.startswith("~") else template


def is_remote(url: str) -> bool:
    """Whether an address needs a network, as opposed to a folder of this machine."""
    return bool(re.match(r"[a-z+]+://|[\w.-]+@[\w.-]+:", url))


def history(project: Checkout, source: str, scratch: Path) -> Path:
    """A git folder with the template's versions.

    Args:
        project: the project.
        source: a folder that stands in for the template's address, "" for none.
        scratch: where a clone goes if the template is at an address.

    Raises:
        StopError: it cannot be reached, is not a repository, or belongs to another user.
    """
    url = address(project.template)
    missing = (
        f"{url} is no repository of the template here. The project was made from it: where it is "
        f"now belongs into {project.answers_file}, as _src_path."
    )
    if source and not is_remote(url):
        need_repository(project.root / url, f"{missing} --from stands in for an address only.")
        need_repository(Path(source), f"{source} is no repository of the template here.")
        if os.path.realpath(str(project.root / url)) != os.path.realpath(source):
            # Copier reads the template there, whatever stands in for it.
            raise UpdateError(
                f"The project was made from the folder {url}, and an update runs the code in that "
                "folder. --from stands in for an address only.",
                f"{me()} update",
            )
    url = source or url
    if not is_remote(url):
        there = project.root / url  # where Copier runs, so a relative path starts there
        need_repository(
            there, f"{url} is no repository of the template here." if source else missing
        )
        return there
    done = capture("git", "clone", "--quiet", "--bare", "--", url, "template", cwd=scratch)
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["git says nothing"]
        raise UpdateError(
            f"The template cannot be reached at {url} ({words[-1]}). A clone of it on this "
            "machine serves without a network.",
            f"{me()} update --from FOLDER",
        )
    return scratch / "template"


def need_repository(folder: Path, missing: str) -> None:
    """See that git has its history in a folder. Raises StopError: `missing` where there is none."""
    asked = capture("git", "-C", str(folder), "rev-parse", "--git-dir")
    if asked.returncode:
        raise no_repository(asked.stderr) or UpdateError(missing)


def number(version: str) -> tuple[int, ...]:
    """The numbers of a released version, to compare them; empty for anything else."""
    found = RELEASE.fullmatch(version)
    return tuple(map(int, found.groups())) if found else ()


def releases(repository: Path) -> list[str]:
    """The tags of released versions, oldest first; pre-releases are none."""
    return sorted(filter(number, capture("git", "tag", cwd=repository).stdout.split()), key=number)


def target(project: Checkout, repository: Path, version: str, *, answers: bool) -> str:
    """The version to go to.

    Args:
        project: the project.
        repository: the template's history.
        version: what the person asks for, "" for the newest.
        answers: whether answers change, which alone is no reason to move to another version.

    Raises:
        UpdateError: there is no such version, or none to start from.
    """
    known = capture("git", "cat-file", "-e", project.version + "^0", cwd=repository)
    tags = releases(repository)
    if number(project.version) and known.returncode and not tags:
        raise UpdateError(
            f"The template's clone has no tags, so nobody knows what {project.version} was.",
            f"git -C {shlex.quote(str(repository))} fetch --tags",
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
