"""The image of a job: a digest that the registry knows, or a file that was made of one.

A file NAME.sif or NAME.sqsh has a NAME.sif.json beside it, which says what it was made of.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..ask import read_json, read_text
from ..compose import image_id, show
from ..engine_words import ask_engine
from ..failures import failed, words_of_image
from ..files import user_id
from ..project import StopError, me
from ..registry import answers_digest, check_name, label
from ..registry_client import DIGEST, published
from .job import SHELL, Image

if TYPE_CHECKING:
    from ..project import Project
    from .job import Request, Scheduler
    from .site import Site

REGISTRY, SIF, SQSH = "registry", "sif", "sqsh"  # kinds of images
RUNTIME, DEV = "runtime", "dev"
NAMES = {RUNTIME: "name", DEV: "dev"}  # the keys of site.toml's table image
TITLE, ANSWERS = "org.opencontainers.image.title", "io.hearth.answers.digest"
SHORT = 12  # hexadecimal digits of a digest in the name of a file


class Source(NamedTuple):
    """What a file can be made of.

    Attributes:
        image: the name in the registry, "" if it is only here, and the digest.
        here: what the engine of this machine calls it, "" if it is not here.
        size: bytes; of an image of a registry, of its compressed layers.
    """

    image: Image
    here: str
    size: int


def name_in_registry(project: Project, site: Site, target: str) -> str:
    """The name of an image in the site's registry, "" if site.toml names none.

    Raises:
        StopError: it is not one that publish takes.
    """
    name = str(site["image"][NAMES[target]] or "")
    if name:
        check_name(project, "publish", name)
    return name


def in_registry(project: Project, name: str, target: str) -> Source:
    """What a name in a registry means now, and what the engine here calls it if it has it.

    Raises:
        StopError: the registry does not answer, or has no such image.
    """
    try:
        found = published(project, name)
    except StopError as error:
        if error.name != "registry-image-missing" or target != DEV:
            raise
        known = {**words_of_image(name), "remedy": f"{me()} publish --dev {name}"}
        raise failed("registry-image-missing", project, **known) from None
    image = Image(name, found.digest, found.labels.get(ANSWERS, ""))
    title = found.labels.get(TITLE, project.name)
    if title != project.name:
        show(f"{name} is an image of another project: its label says {title}.")
    return Source(image, image.pinned if image_id(image.pinned) else "", found.size)


def in_engine(project: Project, target: str) -> Source | None:
    """The image that is built on this machine; None if there is none, or no engine."""
    name = project.image(target)
    digest = image_id(name)
    digest = f"sha256:{digest}" if re.fullmatch("[0-9a-f]{64}", digest) else digest  # Podman's
    if not DIGEST.fullmatch(digest):
        return None
    asked = ask_engine("image", "inspect", "--format", "{{.Size}}", name).stdout.strip()
    image = Image("", digest, label(name, ANSWERS))
    return Source(image, name, int(asked) if asked.isdigit() else 0)


def source(project: Project, site: Site, target: str) -> Source:
    """What a file for the site is made of: the registry's image if it names one, else the local.

    Raises:
        StopError: there is neither.
    """
    name = name_in_registry(project, site, target)
    found = in_registry(project, name, target) if name else in_engine(project, target)
    if not found:
        raise failed("cluster-image-nowhere", project, target=target, key=NAMES[target])
    return found


# ---------------------------------------------------------------------------------------- files


def files_folder(project: Project, site: Site) -> Path:
    """The folder of the files. Raises StopError unless site.toml names one that is there."""
    named = str(site["image"]["files"] or "")
    if not named or not Path(named).is_absolute():
        raise failed("cluster-files-unnamed", project)
    if not Path(named).is_dir():
        raise failed("cluster-storage-missing", project, key="[image] files", path=named)
    return Path(named)


def start_of_name(project: Project, target: str) -> str:
    """How the names of files begin, before the digest."""
    return f"{project.name}-{DEV}-" if target == DEV else f"{project.name}-"


def file_name(project: Project, target: str, digest: str, kind: str) -> str:
    """The name of a file, such as demo-0123456789ab.sif."""
    return f"{start_of_name(project, target)}{digest.partition(':')[2][:SHORT]}.{kind}"


def description_of(file: Path) -> Path:
    """The file that says what an image's file was made of."""
    return file.with_name(f"{file.name}.json")


def about_text(image: Image, size: int) -> str:
    """The text of that file; the size is that of the image's file in bytes."""
    known = {"image": image.name, "digest": image.digest, "answers": image.answers, "size": size}
    return json.dumps(known, indent=1) + "\n"


def is_whole(file: Path) -> bool:
    """Whether a file is there with all its bytes: somebody may have copied a part of it."""
    size = read_json(read_text(description_of(file))).get("size")
    return file.is_file() and size in (None, file.stat().st_size)


def of_file(file: Path) -> Image | None:
    """The image that a file was made of; None if that is not known."""
    known = read_json(read_text(description_of(file)))
    name, digest, answers = (str(known.get(key, "")) for key in ("image", "digest", "answers"))
    if not DIGEST.fullmatch(digest) or not is_whole(file):
        return None
    return Image(name, digest, answers, file)


def newest_file(project: Project, site: Site, target: str, kind: str) -> Image | None:
    """The file that was made last of an image of this target; None if there is none."""
    start = re.escape(start_of_name(project, target))
    name = re.compile(rf"{start}[0-9a-f]{{{SHORT}}}\.{kind}")
    folder = files_folder(project, site)
    files = [one for one in folder.iterdir() if name.fullmatch(one.name)]
    made = [image for image in map(of_file, files) if image and image.file]
    return max(made, key=lambda one: one.file.stat().st_mtime if one.file else 0, default=None)


def file_of_job(project: Project, site: Site, target: str, kind: str) -> Image:
    """The file of a job, made of what the registry or the engine has now.

    Where neither can be asked, such as on a login node without an engine or in a closed network,
    it is the newest one.

    Raises:
        StopError: there is none; the command that makes it.
    """
    folder = files_folder(project, site)
    command = f"{me()} {kind}{' dev' if target == DEV else ''}"
    try:
        image = source(project, site, target).image
    except StopError as error:
        if error.name not in ("cluster-image-nowhere", "cluster-registry-silent"):
            raise
        newest = newest_file(project, site, target, kind)
        wanted = name_in_registry(project, site, target)
        if newest is None or (wanted and newest.name != wanted):
            raise
        show(f"{error.sentence} The job has the newest file, {newest.file}.")
        return newest
    file = folder / file_name(project, target, image.digest, kind)
    if not is_whole(file):
        known = {"cause": f"{file} is not whole."} if file.is_file() else {}
        raise failed("cluster-image-file", project, path=str(file), remedy=command, **known)
    return image._replace(file=file, answers=image.answers or (of_file(file) or image).answers)


# ----------------------------------------------------------------------------------- of the job


def name_of(user: int) -> str:
    """The name of a user, or the number where the user database knows none."""
    import pwd  # noqa: PLC0415  where a file is another user's

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def target_of_job(project: Project, site: Site, request: Request, kind: str) -> str:
    """Which image a job gets: interactive ones have dev, if there is one.

    Raises:
        StopError: there is none, and the door needs it.
    """
    if not request.door:
        return RUNTIME
    if site["image"]["dev"]:
        return DEV
    if kind != REGISTRY:
        built = in_engine(project, DEV)
        folder = files_folder(project, site)
        if built and (folder / file_name(project, DEV, built.image.digest, kind)).is_file():
            return DEV
        if newest_file(project, site, DEV, kind):
            return DEV
    if request.door != SHELL:
        known = {}
        if kind != REGISTRY:
            cause = f"An interactive job with {request.door} has the dev image, of which there is "
            known = {"cause": f"{cause}no file.", "remedy": f"{me()} {kind} dev"}
        raise failed("cluster-image-dev", project, door=request.door, **known)
    why = "site.toml names no dev image" if kind == REGISTRY else f"{me()} {kind} dev was not run"
    show(f"The job has the runtime image: {why}.")
    return RUNTIME


def image_of_job(project: Project, site: Site, request: Request, scheduler: Scheduler) -> Image:
    """The image of a job by its digest.

    Raises:
        StopError: it is not published, or its file is not made, with the command that does it; or
            the registry does not answer.
    """
    kind = scheduler.kind_of_image(site)
    target = target_of_job(project, site, request, kind)
    if kind == REGISTRY:
        name = name_in_registry(project, site, target)
        if not name:
            raise failed("cluster-image-unnamed", project, key=NAMES[target])
        image = in_registry(project, name, target).image
    else:
        image = file_of_job(project, site, target, kind)
    owner = image.file.stat().st_uid if image.file else 0
    if owner not in (0, user_id()):  # a job gives it your files, also in a folder open to all
        show(f"{image.file} was made by another user, {name_of(owner)}.")
    if image.answers and image.answers != answers_digest(project):
        show(f"{image.name or image.file} was made from other answers than those of this clone.")
    return image
