"""The packages, which micromamba installs from conda-forge, and uv from PyPI: add, remove, lock."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Iterator, Sequence

from .compose import run_tools, show
from .failures import failed
from .files import make_folder, read_file, write_file
from .images import build_tools, refresh_images
from .imports import name_changed_files, tell_of_notebooks
from .metadata import COPY, changed_metadata, is_lock_current, record_lock
from .passwords import refuse_in_words
from .project import me
from .system_packages import add_options as add_system_options
from .system_packages import add_to_list, needs_named

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from .project import Project

FILES = ("environment*.yml", COPY)  # what the locks are made from
TOOLS_PYTHON = "/usr/bin/python3"  # of the service tools
SPELLED = {"opencv-python-headless": "opencv"}  # conda-forge's names of what PyPI has
PROGRAM = (TOOLS_PYTHON, "/opt/container/conda_env.py")
# The version of a package, {}, in the locks of PyPI's and of conda's.
IN_LOCKS = (
    r"(?im)^{}==([^\s;\\]+)",
    r"(?im)/{}-([^-/\s]+)-[^-/\s]+\.(?:conda|tar\.bz2)",
)
LOCK, STALE = "conda.lock", "conda-lock-stale"  # and the id of the failure of stale ones
# Of workspaces: the lock of what is not for uv, and arguments and secrets of their builds.
WORKSPACE_LOCK = "conda.lock"
WORKSPACE_ARGUMENTS = ("MAMBA_CHANNEL_ALIAS",)
WORKSPACE_SECRETS = (("conda-auth", "CONDA_AUTH_FILE"),)


def conda_env(project: Project, service: str, *words: str, capture: bool = False) -> str:
    """Run the program that knows environment files and locks. Raises StopError."""
    return run_tools(project, service, *PROGRAM, *words, capture=capture)


def in_one_container(project: Project, *commands: Sequence[str]) -> str:
    """Run commands one after the other in one container of tools; the stdout of the last one.

    What the others say goes to stderr. Raises StopError with the status of the one that failed.
    """
    *first, last = (shlex.join(words) for words in commands)
    script = " && ".join([*(f"{line} >&2" for line in first), last])
    return run_tools(project, "tools", "bash", "-c", script, capture=True)


def take_lists(project: Project, adding: Sequence[str] = ()) -> None:
    """Take what existing code lists into dependencies/environment.yml, before its first lock.

    `adding` are packages of `add`.
    """
    dependencies = project.folder / "dependencies"
    own = read_file(dependencies / "environment.yml").decode("utf-8", "replace")
    yours = re.split(r"(?m)^  # Yours:.*\n", own, maxsplit=1)
    listed = len(yours) > 1 and yours[1].strip()
    if project.package or listed or (dependencies / "conda.lock").exists():
        return
    conda_env(project, "tools", "take", "/workspace", json.dumps(project.answers))
    tell_of_notebooks(project, adding)


def plan_import(project: Project, files: Sequence[str]) -> dict[str, Any]:
    """What an import of files would do. Raises StopError."""
    words = ("plan-import", "/workspace", json.dumps(project.answers), *files)
    plan: dict[str, Any] = json.loads(conda_env(project, "tools", *words, capture=True))
    return plan


def reading_metadata(project: Project) -> Sequence[str]:
    """The command that writes what the project itself declares into dependencies/project/."""
    options = (f"--project={json.dumps(project.answers)}", f"--template-sh={me()}")
    return (TOOLS_PYTHON, "-B", "/opt/container/conda_project.py", *options)


def lock_options(parser: argparse.ArgumentParser) -> None:
    """What to do beside bringing the locks up to date."""
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="only say whether they are up to date")
    only.add_argument(
        *("--upgrade",),
        nargs="*",
        metavar="NAME",
        help="take newer versions of these packages, or of all",
    )


def do_lock(project: Project, options: argparse.Namespace) -> None:
    """Bring conda.lock and the pip locks up to date, or check them."""
    build_tools(project)
    if options.check:
        changed = changed_metadata(project)
        if changed:
            said = f"The locks are older than {', '.join(changed)}"
            raise failed("conda-lock-stale", project, said=said)
        conda_env(project, "tools", "check")
        show("The locks match the environment files.")
        return
    name_changed_files(project)
    with needs_named(project):
        lock(project, options.upgrade)


def lock(
    project: Project,
    upgrade: list[str] | None = None,
    *,
    adding: Sequence[str] = (),
    removing: Sequence[str] = (),
) -> None:
    """Solve; `upgrade` lists packages to take newer versions of, an empty list all of them.

    `adding` are words of `conda_env.py add`, which is done before; the lists of the code are taken
    by then. `removing` are words of its `remove`.

    What the pip parts ask for is resolved beside the packages that conda installs: where they ask
    for anything, those are installed first.
    """
    words = [] if upgrade is None else ["--upgrade", *upgrade]
    if not adding:
        take_lists(project)
    first: list[Sequence[str]] = [(*PROGRAM, "remove", *removing)] if removing else []
    solve: Sequence[str] = (*PROGRAM, "lock", *words)
    if adding:
        first = [(*PROGRAM, "add", *adding)]
        specs = adding[adding.index("--") + 1 :]
        solve = ("env", "CONDA_ADDING=" + "\n".join(specs), *solve)
    solving = (reading_metadata(project), solve, (*PROGRAM, "pip-parts"))
    if in_one_container(project, *first, *solving).strip():
        show("Installing the packages of conda.lock, beside which those from PyPI are resolved.")
        refresh_images(project, {"pip-tools": "pip-tools"})
        conda_env(project, "pip-tools", "pip-lock", *words)
    record_lock(project, FILES)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which packages, and where."""
    parser.add_argument("--dev", action="store_true", help="for the dev image only")
    parser.add_argument("--pip", action="store_true", help="from PyPI, into the pip part")
    add_system_options(parser)
    parser.add_argument(
        "name", nargs="+", metavar="NAME", help="a package, with a version if you like: 'numpy<3'"
    )


def do_add(project: Project, options: argparse.Namespace) -> None:
    """Add packages to the files and the locks; where no versions fit, nothing changes."""
    if add_to_list(project, options):
        return
    refuse_in_words(project, options.name)
    build_tools(project)
    take_lists(project, options.name)
    given = [f"--{name}" for name in ("dev", "pip") if getattr(options, name)]
    with all_or_nothing(project), needs_named(project):
        lock(project, adding=[*given, "--", *options.name])
    show(f"Added to dependencies/ and its locks. Run: {me()} build")


def remove(project: Project, names: Sequence[str]) -> str:
    """Take packages out of the environment files that list them, and out of the locks."""
    build_tools(project)
    with all_or_nothing(project):
        lock(project, removing=["--", *names])
    return "dependencies/ and its locks"


@contextmanager
def all_or_nothing(project: Project) -> Iterator[None]:
    """Give the files and the locks back as they were, where a change of them fails."""
    dependencies = project.folder / "dependencies"
    files = (*dependencies.glob("environment*.yml"), *dependencies.glob("*.lock"))
    kept = {file: read_file(file) for file in files}
    try:
        yield
    except BaseException:
        for file, content in kept.items():
            write_file(file, content)
        raise


def beside_workspaces(project: Project) -> dict[str, str]:
    """What a reading of a workspace depends on beside the answers: the locks of the project."""
    dependencies = project.folder / "dependencies"
    locks = sorted(dependencies.glob("*.lock"))
    return {"locks": sha256(b"".join(map(read_file, locks))).hexdigest()[:12]}


def workspace_contexts(project: Project, scratch: Path, specs: str) -> dict[str, Path]:
    """Contexts of a build of a workspace by name: what of conda's it gets, channels in a folder.

    Args:
        project: the project.
        scratch: a folder that is removed after the build.
        specs: the conda.lock of the workspace, "" for none.
    """
    folder = scratch / "specs"
    make_folder(folder)
    if specs:
        write_file(folder / WORKSPACE_LOCK, specs)
    channels = project.settings.path("LOCAL_CHANNELS_DIR") or project.folder / "channels"
    return {"specs": folder, "channels": channels}


def lock_if_stale(project: Project) -> None:
    """Bring the locks up to date before a build, after an edit by hand."""
    made = project.folder / "dependencies" / "conda.lock"
    changed = changed_metadata(project)
    if is_lock_current(project, made.name, FILES) and not changed:
        return
    why = f", after changes in {', '.join(changed)}" if made.exists() and changed else ""
    show(f"Bringing the locks in dependencies/ up to date{why}.")
    build_tools(project)
    with needs_named(project):
        lock(project)
