"""The wheels of a PyTorch that this project compiles: wheels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .compose import call
from .engine_words import engine_command
from .failures import folder_not_made
from .files import give_away, make_folder
from .images import build_images, pin_all
from .passwords import refuse_passwords
from .place import keep_apart
from .project import called_from

if TYPE_CHECKING:
    import argparse

    from .project import Project


def wheels_options(parser: argparse.ArgumentParser) -> None:
    """Where they are wanted."""
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="default: docker-amd64/wheels")


def do_wheels(project: Project, options: argparse.Namespace) -> None:
    """Build the image that holds nothing else, and copy them out of a container never started."""
    folder = project.folder / "wheels"
    if options.folder:
        folder = Path(called_from(), options.folder).absolute()
    refuse_passwords(project)
    keep_apart(project)
    pin_all(project)
    build_images(project, "wheels")
    new = folder / ".new"
    try:
        shutil.rmtree(new, ignore_errors=True)
        make_folder(folder)
        new.mkdir()
    except OSError as error:
        raise folder_not_made(project, folder, error) from error
    made = call(
        project, engine_command("create", project.image("wheels"), "none"), capture=True
    ).strip()
    try:
        call(project, engine_command("cp", "--quiet", f"{made}:/.", str(new)))
        give_away(new)
        for wheel in sorted(new.glob("*.whl")):
            print(wheel.replace(folder / wheel.name))
    finally:
        call(project, engine_command("rm", made), capture=True)
        shutil.rmtree(new, ignore_errors=True)
