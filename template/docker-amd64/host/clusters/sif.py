"""Files of images for clusters: sif for Apptainer, sqsh for enroot.

A file is made in a folder of its own beside its place, and renamed when it is whole.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Iterator

from ..ask import capture
from ..compose import call, has, show
from ..engine_words import PODMAN, engine_command, engine_program
from ..failures import failed
from ..files import write_file
from ..registry_client import Registry, is_this_machine
from .image import (
    DEV,
    RUNTIME,
    SIF,
    SQSH,
    about_text,
    description_of,
    file_name,
    files_folder,
    is_whole,
    source,
)
from .site import read_site

if TYPE_CHECKING:
    import argparse

    from ..project import Project
    from .image import Source

APPTAINER = ("apptainer", "singularity")  # SingularityCE takes the same words
# What a file takes while it is made, in sizes of its image: the archive, or the layers unpacked,
# and the file; layers of a registry are compressed.
TIMES_LOCAL, TIMES_REMOTE = 2.5, 4.0


def sif_options(parser: argparse.ArgumentParser) -> None:
    """Which image."""
    words = "runtime, or dev for interactive jobs"
    parser.add_argument(
        "image", nargs="?", choices=(RUNTIME, DEV), default=RUNTIME, metavar="IMAGE", help=words
    )
    parser.add_argument("--force", action="store_true", help="make it anew if it is there")


sqsh_options = sif_options


def program(project: Project, kind: str) -> str:
    """The program that makes files of a kind. Raises StopError if it is not installed."""
    names = APPTAINER if kind == SIF else ("enroot",)
    for name in names:
        if has(name):
            return name
    raise failed("cluster-apptainer-missing" if kind == SIF else "cluster-enroot-missing", project)


@contextmanager
def work_folder(project: Project, file: Path) -> Iterator[Path]:
    """A folder beside a file, which is removed in the end.

    Raises:
        StopError: it cannot be made.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{file.name}.", dir=str(file.parent)))
    except OSError as error:
        known = {"key": "[image] files", "path": str(file.parent)}
        reason = error.strerror or str(error)
        raise failed("cluster-storage", project, **known, reason=reason) from error
    try:
        yield folder
    finally:
        # Apptainer unpacks folders that their owner may not write either.
        for one, _, _ in os.walk(str(folder)):
            with suppress(OSError):
                os.chmod(one, 0o700)  # noqa: PTH101
        shutil.rmtree(str(folder), ignore_errors=True)


def check_room(project: Project, folder: Path, needed: float) -> None:
    """Raises StopError where a folder has less room than the bytes that are needed."""
    free = shutil.disk_usage(str(folder)).free
    if free < needed:
        sizes = {"free": f"{free / 2**30:.1f}", "needed": f"{needed / 2**30:.1f}"}
        raise failed("cluster-files-full", project, path=str(folder), **sizes)


def cache_folder(name: str, work: Path) -> Path:
    """Where layers stay for the next file: beside the files, in a folder of this user alone.

    What others can write into a cache may be in an image later. Where they have made that folder,
    or may write into it, the layers go with the work.
    """
    kept = work.parent / f".{name}-cache-{os.getuid()}"
    with suppress(FileExistsError):
        kept.mkdir(mode=0o700)
    status = kept.lstat()
    is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    return kept if is_own and not status.st_mode & 0o022 else work / "cache"


def apptainer_env(name: str, work: Path, *, of_registry: bool) -> dict[str, str]:
    """Where Apptainer unpacks and keeps layers, unless you have said it.

    By default that is /tmp and the home, of which login nodes have little:
    https://apptainer.org/docs/user/latest/build_env.html
    """
    start = name.upper()
    is_kept = of_registry and f"{start}_CACHEDIR" not in os.environ
    cache = cache_folder(name, work) if is_kept else work / "cache"
    places = {f"{start}_TMPDIR": str(work), f"{start}_CACHEDIR": str(cache)}
    return {key: value for key, value in places.items() if key not in os.environ}


def compression(name: str) -> list[str]:
    """Less of it, where the program can be told: a tenth larger, and made in a sixth of the time.

    All kernels read gzip; https://apptainer.org/docs/user/latest/cli/apptainer_build.html
    """
    option = "--mksquashfs-args"
    if option not in capture(name, "build", "--help").stdout:
        return []
    return [option, "-comp gzip -Xcompression-level 1"]


def make_sif(project: Project, name: str, found: Source, work: Path) -> Path:
    """Make a SIF in a folder: from the engine's image if it has it, else from the registry.

    Raises:
        StopError: it could not be made.
    """
    made, words, asked = "image.sif", [name, "build", *compression(name)], ""
    env = apptainer_env(name, work, of_registry=not found.here)
    if found.here:
        form = ["--format", "docker-archive"] if engine_program() == PODMAN else []
        archive = str(work / "image.tar")
        call(project, engine_command("save", *form, "--output", archive, found.here))
        words += ["--disable-cache", made, "docker-archive:image.tar"]
    else:
        asked = found.image.name
        registry = Registry(project, asked).registry
        words += ["--no-https"] if is_this_machine(registry) else []
        words += [made, f"docker://{found.image.pinned}"]
    # In the folder itself, because a colon in its path would end the name of the archive.
    call(project, words, env=env, to_stderr=True, image_name=asked, folder=work)
    return work / made


def make_sqsh(project: Project, name: str, found: Source, work: Path) -> Path:
    """Make a squash file in a folder, likewise.

    Enroot separates the registry with #. It takes the digest where a tag would be, which is how all
    its versions since 3 read it; before 4 it knows no @:
    https://github.com/NVIDIA/enroot/blob/master/doc/cmd/import.md

    Raises:
        StopError: it could not be made.
    """
    made, asked, env = work / "image.sqsh", "", {}
    if found.here and "@" not in found.here:
        where = f"{'podman' if engine_program() == PODMAN else 'dockerd'}://{found.here}"
    else:
        asked = found.image.name
        of = Registry(project, asked)
        where = f"docker://{of.host}#{of.path}:{found.image.digest}"
        if is_this_machine(of.registry):
            env["ENROOT_ALLOW_HTTP"] = "yes"
    words = [name, "import", "--output", str(made), where]
    call(project, words, env=env, to_stderr=True, image_name=asked, folder=work)
    return made


def make_file(project: Project, options: argparse.Namespace, kind: str) -> None:
    """Make the file of an image, unless it is there; print its name.

    Raises:
        StopError: it cannot be made.
    """
    site = read_site(project)
    folder = files_folder(project, site)
    name = program(project, kind)
    found = source(project, site, options.image)
    file = folder / file_name(project, options.image, found.image.digest, kind)
    if is_whole(file) and not options.force:
        show(f"It is there already. To make it anew, add --force. It is from {found.image.digest}.")
        print(file)
        return
    times = TIMES_LOCAL if found.here and "@" not in found.here else TIMES_REMOTE
    check_room(project, folder, found.size * times)
    with work_folder(project, file) as work:
        made = (make_sif if kind == SIF else make_sqsh)(project, name, found, work)
        if not made.is_file():
            raise failed("cluster-file-not-made", project, path=str(file), program=name)
        made.chmod(0o755 if kind == SIF else 0o644)
        # Renamed too: in a folder of several users, a link may be in its place.
        text = work / "about.json"
        write_file(text, about_text(found.image, made.stat().st_size))
        text.replace(description_of(file))
        made.replace(file)
    show(f"Made from {found.image.name or found.here}, {found.image.digest}.")
    print(file)


def do_sif(project: Project, options: argparse.Namespace) -> None:
    """Make a SIF file."""
    make_file(project, options, SIF)


def do_sqsh(project: Project, options: argparse.Namespace) -> None:
    """Make a squash file."""
    make_file(project, options, SQSH)
