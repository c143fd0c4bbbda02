"""Workspaces: folders with code of others, each with its own packages beside the project's.

With `-W NAME`, a verb is about the containers of workspaces/NAME. They are a Compose project of
their own, whose code folder that is, so they have a home and images of their own, too.
"""

from __future__ import annotations

import glob
import json
import os
import re
import time
from hashlib import sha256
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .abilities import abilities
from .ask import read_text
from .compose import call, image_id, run_tools, show
from .engine_words import ask_engine, engine_command, engine_program
from .failures import failed
from .files import make_folder, write_file
from .passwords import refuse_in_lists
from .place import keep_apart
from .project import APPS_FILE, GUARD_FILE, WORKSPACE_FILE, me
from .workspace_lists import (
    LOCK,
    PROJECT,
    REQUIREMENTS,
    Read,
    as_read,
    has_list,
    lists_of,
    names_asked,
    needs_reading,
    put_lists,
    read_before,
    unread_lists,
)

if TYPE_CHECKING:
    from typing import Iterable

    from .project import Project

FOLDER = "workspaces"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
STARTS = ("up", "run")  # the verbs that start containers
LISTED = ("requirements*.txt", "requirements*.lock", PROJECT)  # may have addresses
IN_IMAGE = "/opt/venv/workspace.lock"
SECRETS = (("ca", "CA_BUNDLE"), ("netrc", "NETRC_FILE"))  # of a build, and the keys of .env
# What a build gets of .env, if it is set.
ARGUMENTS = ("APT_MIRROR", "UV_DEFAULT_INDEX", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "USRID")


def find(project: Project, name: str) -> Path:
    """The folder of a workspace. Raises StopError if there is none of that name."""
    every = project.root / FOLDER
    if not NAME.fullmatch(name):
        raise failed("workspace-name", project, workspace=name)
    folder = every / name
    if not folder.is_dir():
        entries = every.iterdir() if every.is_dir() else ()
        names = sorted(one.name for one in entries if one.is_dir() and NAME.fullmatch(one.name))
        there = f"There are: {', '.join(names)}." if names else "There are none yet."
        raise failed(
            "workspace-missing", project, cause=f"There is no folder {FOLDER}/{name}. {there}"
        )
    folder, own = folder.resolve(), project.folder.resolve()
    if own in folder.parents or folder in (own, *own.parents):
        # Its containers could change docker-amd64, which this machine runs.
        raise failed("workspace-around", project, workspace=name)
    return folder


def engine_name(project_name: str, name: str) -> str:
    """What Compose calls the workspace: its names have small letters, and no dots."""
    plain = re.sub("[^a-z0-9_-]", "-", name.lower())
    mark = "" if plain == name else "-" + sha256(name.encode()).hexdigest()[:4]
    return f"{project_name}-{plain}{mark}"


def enter(project: Project, name: str, verb: str) -> Path:
    """Let all that follows be about a workspace; its folder.

    Raises:
        StopError: there is no such workspace, or what its containers get cannot be had.
    """
    folder = find(project, name)
    keep_apart(project)  # its own name begins with the project's, which the shell's then replaces
    if verb in STARTS:
        from .work import write_files  # noqa: PLC0415  most verbs need none

        write_files(project, quiet=verb == "run")
    own_name = project.settings.get("COMPOSE_PROJECT_NAME")
    os.environ.update(code_of(project, folder))
    os.environ["COMPOSE_PROJECT_NAME"] = engine_name(own_name, name)
    if "ssh" in project.extras:
        os.environ["SSH_PORT"] = ""  # the engine chooses one: that of .env is the project's
    project.workspace = name
    project.forget_settings()
    return folder


def code_of(project: Project, folder: Path) -> dict[str, str]:
    """The environment in which Compose mounts a workspace in place of the project's code."""
    settings = project.settings
    separator = settings.get("COMPOSE_PATH_SEPARATOR") or ":"
    # What guards docker-amd64 is about the code folder of the project, which is not mounted; the
    # ports of apps are those of its own dev container.
    files = [one for one in settings.files() if one not in (APPS_FILE, GUARD_FILE)]
    return {
        "LOCAL_CODE_DIR": str(folder),
        "COMPOSE_FILE": separator.join([*files, WORKSPACE_FILE]),
    }


def read_in_container(project: Project, name: str, folder: Path) -> Read:
    """What a workspace requires in files that only a container can read. Raises StopError.

    What the lock has of an earlier reading is taken while the files are the same.
    """
    from .images import build_tools, packages_of  # noqa: PLC0415  it imports this module

    packages = packages_of(project)
    specs_lock = packages.WORKSPACE_LOCK
    if not needs_reading(folder, environments=bool(specs_lock)):
        return Read()
    decides = {**project.answers, **packages.beside_workspaces(project)}
    before = read_before(folder, decides, specs_lock)
    if before:
        return before
    build_tools(project)
    words = [packages.TOOLS_PYTHON, "-B", "/opt/container/workspace_requirements.py"]
    words.append(f"--project={json.dumps(project.answers)}")
    words.append(f"--called={FOLDER}/{name}")
    if has_list(folder):
        words.append("--listed")
    names = names_asked(folder)
    if names:
        words.append(f"--names={','.join(names)}")
    said = run_tools(project, "tools", *words, capture=True, env=code_of(project, folder))
    read = as_read(folder, json.loads(said), decides)
    if read.specs and read.specs != read_text(folder / specs_lock):
        write_file(folder / specs_lock, read.specs)
        tell_lock(name, specs_lock)
    return read


def tell_lock(name: str, lock: str) -> None:
    """Say that a lock of a workspace is new."""
    show(f"Wrote {FOLDER}/{name}/{lock}: the versions of its packages, with hashes.")


def build_workspace(project: Project, name: str, *, quiet: bool = False) -> None:
    """Build the image of a workspace on the dev image of the project, and keep its lock.

    With `quiet`, a build of images that are there says nothing unless it fails.

    Raises:
        StopError: there is no such workspace, or a build failed.
    """
    from .images import (  # noqa: PLC0415  it imports this module
        before_build,
        build_images,
        refresh_images,
    )

    folder = find(project, name)
    lists = [*lists_of(folder), *unread_lists(folder)]
    refuse_in_lists(project, folder, (*LISTED, *map(glob.escape, lists)))
    before_build(project)
    if quiet:
        refresh_images(project, {"dev": "dev"})
    else:
        build_images(project, "dev")
    environment = project.image("dev")
    read = read_in_container(project, name, folder)
    folder = enter(project, name, "build")
    quiet_build = quiet and bool(image_id(project.image("dev")))
    run_build(project, folder, environment, read, quiet=quiet_build)
    if keep_lock(project, folder):
        # From the lock, the same packages make another image. The next build would replace this one
        # by it, and its containers, although nothing has changed.
        unlocked = image_id(project.image("dev"))
        run_build(project, folder, environment, read, quiet=True)
        ask_engine("image", "rm", unlocked)
    tell_unread(folder, name, read.taken)
    if not quiet:
        show(f"Built: the workspace {name}. Run: {me()} up -W {quote(name)}")


def run_build(project: Project, folder: Path, environment: str, read: Read, *, quiet: bool) -> None:
    """Build the image of a workspace on another image. Raises StopError.

    Args:
        project: the project, which is about the workspace now.
        folder: the workspace.
        environment: the name of the image below.
        read: what was read in a container.
        quiet: say nothing unless it fails.
    """
    from .images import packages_of  # noqa: PLC0415  it imports this module

    packages = packages_of(project)
    keys = (*ARGUMENTS, *packages.WORKSPACE_ARGUMENTS)
    arguments = {key: project.settings.get(key) for key in keys if key in project.settings}
    docker = abilities(engine_program()).compose_builds
    dockerfile = project.folder / "workspace.Dockerfile"
    with TemporaryDirectory(prefix="workspace-") as scratch:
        lists = Path(scratch) / "lists"
        make_folder(lists)
        if put_lists(folder, lists, read):
            arguments["LOCKED"] = f"not yet at {time.time()}"
        contexts = {"lists": lists, "image": project.folder / "image"}
        contexts.update(packages.workspace_contexts(project, Path(scratch), read.specs))
        words = build_words(project, environment, arguments, docker=docker)
        for name, place in contexts.items():
            words += ["--build-context", f"{name}={place}"]
        if docker:
            start = engine_command("build", *(["--quiet"] if quiet else []))
            words += ["--file", str(dockerfile), str(folder)]
            call(project, [*start, *words], to_stderr=not quiet, capture=quiet, env=arguments)
        else:
            from .podman_build import run_build as podman_build  # noqa: PLC0415

            folders = {name: str(place) for name, place in {"": folder, **contexts}.items()}
            podman_build(project, dockerfile, words, arguments, folders=folders)


def build_words(
    project: Project, environment: str, arguments: Iterable[str], *, docker: bool
) -> list[str]:
    """What a build of a workspace is told: names, arguments and secrets."""
    words = []
    for tag in ("dev", "runtime"):  # `run` uses the same image
        words += ["--tag", project.image(tag)]
    workspace = f"{project.name}/{project.workspace}"
    for value in (f"ENVIRONMENT={environment}", f"WORKSPACE={workspace}", *arguments):
        words += ["--build-arg", value]
    from .images import packages_of  # noqa: PLC0415  it imports this module

    for secret, key in (*SECRETS, *packages_of(project).WORKSPACE_SECRETS):
        path = project.settings.path(key)
        if path:
            source = str(path).replace('"', '""')
            words += [
                "--secret",
                f'id={secret},"src={source}"' if docker else f"id={secret},src={path}",
            ]
    return words


def tell_unread(folder: Path, name: str, taken: Iterable[str] = ()) -> None:
    """Name the lists of a workspace whose packages are not there.

    Args:
        folder: the workspace.
        name: its name.
        taken: lists that were read in a container.
    """
    unread = [one for one in unread_lists(folder) if one not in taken]
    if unread:
        show(
            f"Not read in {FOLDER}/{name}: {', '.join(unread)}. A build takes {REQUIREMENTS}, what "
            f"that names by -r or -c, and what {PROJECT}, setup.cfg and setup.py require. If none "
            "of them names a package, it takes the main list of another kind."
        )


def keep_lock(project: Project, folder: Path) -> bool:
    """Write the lock of an image into its workspace, if it is new; whether it was.

    An image without packages has none.
    """
    words = ("run", "--rm", "--network=none", "--entrypoint=cat", project.image("dev"))
    lock = ask_engine(*words, IN_IMAGE)
    if lock.returncode or lock.stdout == read_text(folder / LOCK):
        return False
    write_file(folder / LOCK, lock.stdout)
    tell_lock(project.workspace, LOCK)
    return True
