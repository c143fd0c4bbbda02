"""Where the template of this project is, and its history."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from .ask import capture
from .checkout import UpdateError, no_repository
from .project import me

if TYPE_CHECKING:
    from .checkout import Checkout

PARTS = ("copier.yml", "template", "hooks", "requirements.txt")  # of the template, all that it runs
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
    # A template of the user's for repositories could bring attributes, which change files.
    clone = ("git", "clone", "--quiet", "--bare", "--template=", "--", url, "template")
    done = capture(*clone, cwd=scratch)
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


def unpack(repository: Path, version: str, folder: Path) -> bool:
    """Put what a version needs to be rendered, without its history, into a new folder.

    Returns whether the version has it. Raises UpdateError with the reason of git or tar.
    """
    failed = f"The files of the template's {version} cannot be unpacked"
    # Attributes of a user or of the machine could leave files out, or write others.
    settings = ("-c", f"core.attributesFile={os.devnull}", "-c", "core.autocrlf=false")
    command = ("git", *settings, "archive", "--format=tar", version, "--", *PARTS)
    env = {**os.environ, "LC_ALL": "C", "GIT_ATTR_NOSYSTEM": "1"}
    made = subprocess.run(command, cwd=str(repository), capture_output=True, env=env, check=False)
    if made.returncode:
        if b"did not match any files" in made.stderr:
            return False
        raise UpdateError(f"{failed} ({first_line(made.stderr)}).")
    folder.mkdir()
    if shutil.which("tar"):
        extract = ("tar", "-xof", "-", "-C", str(folder))
        done = subprocess.run(extract, input=made.stdout, capture_output=True, check=False)
        if done.returncode:
            raise UpdateError(f"{failed} ({first_line(done.stderr)}).")
        return True
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        if hasattr(tarfile, "tar_filter"):
            archive.extractall(str(folder), filter="tar")
        else:
            archive.extractall(str(folder))  # noqa: S202  of git, whose paths are inside of it
    return True


def first_line(said: bytes) -> str:
    """The first line of what a program says of its failure."""
    return (said.decode("utf-8", "replace").strip() or "without a reason").splitlines()[0]


def number(version: str) -> tuple[int, ...]:
    """The numbers of a released version, to compare them; empty for anything else."""
    found = RELEASE.fullmatch(version)
    return tuple(map(int, found.groups())) if found else ()


def releases(repository: Path) -> list[str]:
    """The tags of released versions, oldest first; pre-releases are none."""
    return sorted(filter(number, capture("git", "tag", cwd=repository).stdout.split()), key=number)
