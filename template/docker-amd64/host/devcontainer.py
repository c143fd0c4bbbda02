"""The dev container of editors: devcontainer.

Dev Containers, as VS Code and others have them, read .env for its values but not its COMPOSE_FILE.
They start the container themselves, with a file of their own beside the one that is made here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from .apps_file import publish_apps
from .ask import read_text
from .compose import check_engine, image_id, show, show_text
from .editor import write_editor_file
from .engine_words import ask_engine
from .failures import failed
from .git import override as git_override
from .images import before_build, build_images
from .place import KEY as NAME_KEY
from .place import LABEL, keep_apart
from .project import EDITOR_FILE, StopError
from .work import before_start

if TYPE_CHECKING:
    import argparse

    from .project import Project

CONFIG = ".devcontainer/devcontainer.json"


def do_devcontainer(project: Project, _: argparse.Namespace) -> None:
    """Make the file that devcontainer.json names, and the image if there is none."""
    keep_apart(project)
    check_name(project)
    prepare_image(project)
    before_start(project, "dev")
    publish_apps(project)
    write_editor_file(project, git_override(project))


def check_name(project: Project) -> None:
    """Raises StopError where editors would give the container the name of another project.

    They take it from .env of the folder that they open, by this pattern.
    """
    path = project.root / ".env"
    found = re.search(rf"(?m)^{NAME_KEY}=(.+)$", read_text(path))
    if found and found[1].strip() != project.settings.get(NAME_KEY):
        path_word = quote(str(path))
        raise failed("devcontainer-other-name", project, path=path_word, other=found[1].strip())


def prepare_image(project: Project) -> None:
    """Build the image if there is none, and bring the lock up to date for an editor's build.

    Raises:
        StopError: there is no image, and it cannot be built.
    """
    built = image_id(project.image("dev"))
    if not built:
        check_engine(project)
    try:
        before_build(project)
    except StopError as error:
        if not built:
            raise
        show_text(str(error))
        return
    if not built:
        build_images(project, "dev")


def labels_of(project: Project) -> dict[str, str]:
    """The labels by which editors find the container."""
    paths = {"local_folder": project.root, "config_file": project.root / CONFIG}
    return {f"devcontainer.{name}": str(path) for name, path in paths.items()}


def with_labels(project: Project, override: str) -> str:
    """An override file in JSON, or "", with the labels by which editors find the container."""
    known: dict[str, Any] = json.loads(override) if override else {"services": {"dev": {}}}
    known["services"]["dev"]["labels"] = {
        name: value.replace("$", "$$") for name, value in labels_of(project).items()
    }
    return json.dumps(known, ensure_ascii=False)


def options_of_editor(project: Project) -> list[str]:
    """The options of Compose for the container that an editor has made; none if there is none.

    With these, `up` leaves it as it is where nothing has changed, and an open editor stays.
    """
    start = LABEL.rpartition(".")[0]
    labels = (f"{LABEL}={project.settings.get(NAME_KEY)}", f"{start}.service=dev")
    filters = [f"--filter=label={one}" for one in (*labels, f"{start}.oneoff=False")]
    form = f'{{{{.Label "{LABEL}.config_files"}}}}'
    said = ask_engine("ps", "--all", *filters, "--format", form).stdout.strip()
    ours = str(project.folder / EDITOR_FILE)
    if not said.startswith(f"{ours},"):
        return []
    theirs = re.split(",(?=/)", said[len(ours) + 1 :])
    if not all(Path(one).is_file() for one in theirs):
        show("The container of your editor is replaced: reload its window.")
        return []
    return [word for file in (ours, *theirs) for word in ("--file", file)]
