"""Says which files of the template git ignores by rules that are not the template's.

A colleague's clone would lack them. Git is asked once; what it takes to keep the files is worked
out (keep_lines.py) only where there are some.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from host.ask import GIT_SETTINGS, capture
from host.checkout import recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER = "docker-amd64"
# The template has only these beside existing code; commands write more files that git should have.
PLACES = (f"{FOLDER}/", ".devcontainer/", ".github/", ".gitlab/")
PIPELINE = ".gitlab-ci.yml"
WRITTEN = {
    "pip": ("compose.pins.yaml", "dependencies/uv.lock"),
    "conda": ("compose.pins.yaml", "dependencies/conda.lock", "dependencies/pip.lock"),
}


class Rule(NamedTuple):
    """A line of a file such as .gitignore; `source` is as git names it, seen from the root."""

    source: str
    pattern: str


def template_files(project: Path, template: Path, answers_file: str) -> list[str]:
    """The files of a project that git should have, relative to its root; not the user's own."""
    answers = (project / answers_file).read_text("utf-8", "replace")
    new = recorded(answers, "project_kind") == "new"
    package = recorded(answers, "package_name")
    found = []
    for folder, _, files in os.walk(template):  # faster than pathlib, for each copy
        for file in files:
            name = f"{folder}/{file}"[len(f"{template}/") :]
            name = name.removesuffix(".jinja")
            name = name.replace("{{ package_name }}", package)
            names = {name.replace("{{ ci_folder }}", host) for host in (".github", ".gitlab")}
            found += [one for one in names if new or one.startswith(PLACES)]
    manager = recorded(answers, "package_manager")
    later = [f"{FOLDER}/{name}" for name in WRITTEN.get(manager, ())]
    root = str(project)
    there = [name for name in sorted([PIPELINE, *found]) if os.path.isfile(f"{root}/{name}")]  # noqa: PTH113
    return [answers_file, *there, *later]


@contextmanager
def repository(project: Path) -> Iterator[list[str]]:
    """The command that asks git about a folder, for what no repository has yet too."""
    settings = [word for pair in GIT_SETTINGS.items() for word in ("-c", "=".join(pair))]
    if any((folder / ".git").exists() for folder in (project, *project.parents)):
        yield ["git", *settings]
        return
    # To import tempfile would take longer than all of this.
    empty = Path(os.environ.get("TMPDIR") or "/tmp", f"hearth-git-{os.urandom(8).hex()}")  # noqa: S108
    empty.mkdir(mode=0o700)
    try:
        for name in ("objects", "refs"):
            (empty / name).mkdir()
        (empty / "HEAD").write_text("ref: refs/heads/main\n")
        yield ["git", *settings, f"--git-dir={empty}", f"--work-tree={project}"]
    finally:
        shutil.rmtree(empty, ignore_errors=True)


def rules(git: list[str], folder: Path, names: Iterable[str]) -> dict[str, Rule]:
    """The files and folders that git ignores, each with its rule; none that it has already.

    Of `docker-amd64/` with a slash git says that `docker-amd64/*` ignores it.
    """
    told = capture(
        *(*git, "check-ignore", "--verbose", "-z", "--stdin"), cwd=folder, text="\0".join(names)
    )
    fields = told.stdout.split("\0")[:-1]
    rows = zip(fields[::4], fields[2::4], fields[3::4], strict=False)
    return {
        name: Rule(source, pattern) for source, pattern, name in rows if not pattern.startswith("!")
    }


def lines(project: Path, template: Path, answers_file: str, shown: str) -> list[str]:
    """One line if git ignores files of the template, with the command that keeps them.

    Args:
        project: its root folder.
        template: the folder of the template's files.
        answers_file: the name of the answers file.
        shown: the project's folder, as the user's shell finds it.

    Raises:
        OSError: a file or folder cannot be read or written.
    """
    names = template_files(project, template, answers_file)
    with repository(project) as git:
        inside = not (project / ".git").exists() and "--work-tree" not in git[-1]
        found = rules(git, project, [*([f"../{project.name}"] if inside else []), *names])
        if not found:
            return []
        from hooks.generate import keep_lines  # noqa: PLC0415  seldom needed

        return keep_lines.lines(git, project, found, shown)
