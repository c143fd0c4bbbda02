"""Images that this machine has already: which of them could be a base image of the project.

On a shared server, somebody has often pulled gigabytes that fit, from a mirror or as a larger
variant. `pull` without a name offers them.
"""

from __future__ import annotations

import re
from shlex import quote
from typing import TYPE_CHECKING, Any, Iterator, NamedTuple

from .ask import read_json
from .compose import check_engine
from .engine_words import ask_engine
from .images import short_name
from .plain import one_line, say
from .project import me

if TYPE_CHECKING:
    from .project import Project

TITLE, BASE = "org.opencontainers.image.title", "org.opencontainers.image.base.name"
OF_HEARTH = "io.hearth.answers.digest"  # what `publish` writes: such an image is complete
# Version, cuDNN or none, variant and distribution: each variant has all of those before it.
TAG = re.compile(r"(?P<version>\d+\.\d+)[.\d]*-(?P<dnn>cudnn\d*-)?(?P<variant>\w+)-(?P<distro>.+)")
VARIANTS = ("base", "runtime", "devel")


class Image(NamedTuple):
    """An image of this machine.

    Attributes:
        names: with their tags.
        user: that of its programs, "" for root.
        labels: what it says of itself.
        size: in bytes.
    """

    names: list[str]
    user: str
    labels: dict[str, str]
    size: int


def images_here() -> list[Image]:
    """The images of this machine that have a name."""
    ids = ask_engine("image", "ls", "--quiet", "--filter", "dangling=false").stdout.split()
    if not ids:
        return []
    said = ask_engine("image", "inspect", *dict.fromkeys(ids)).stdout
    return [image_in(one) for one in read_json(f'{{"images": {said}}}').get("images", [])]


def image_in(told: dict[str, Any]) -> Image:
    """An image as the engine describes it."""
    config = told.get("Config") or {}
    labels = {str(key): str(value) for key, value in (config.get("Labels") or {}).items()}
    names = [str(one) for one in told.get("RepoTags") or []]
    return Image(names, str(config.get("User") or ""), labels, int(told.get("Size") or 0))


def split(name: str) -> tuple[str, str]:
    """Repository and tag of an image's name, without a digest."""
    name = name.partition("@")[0]
    path, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return short_name(f"{path}{slash}{last}"), tag or "latest"


def fits_tag(tag: str, wanted: str) -> bool:
    """Whether an image of a tag has what one of another tag has, in the same versions.

    A last number of the version may differ: it has fixes only.
    """
    one, other = TAG.fullmatch(tag), TAG.fullmatch(wanted)
    if tag == wanted or not one or not other:
        return tag == wanted
    if not {one["variant"], other["variant"]} <= set(VARIANTS):
        return False
    larger = VARIANTS.index(one["variant"]) >= VARIANTS.index(other["variant"])
    same = (one["version"], one["distro"]) == (other["version"], other["distro"])
    return same and larger and bool(one["dnn"] or not other["dnn"])


def stands_for(name: str, wanted: str) -> bool:
    """Whether a name is that of a fitting image of the same repository, perhaps on a mirror."""
    (repository, tag), (other, other_tag) = split(name), split(wanted)
    same = repository == other or repository.endswith(f"/{other}")
    return same and fits_tag(tag, other_tag)


def candidates(images: list[Image], wanted: str) -> Iterator[tuple[str, str, Image]]:
    """What could be used in place of an image: name, why, and the image."""
    for image in images:
        if image.user or OF_HEARTH in image.labels or wanted in image.names:
            continue
        built_on = stands_for(image.labels.get(BASE, ""), wanted)
        for name in image.names:
            if stands_for(name, wanted):
                same = split(name)[1] == split(wanted)[1]
                yield name, "the same tag" if same else "the same versions, or more of them", image
            elif built_on:
                yield name, f"built on {one_line(image.labels[BASE])}", image


def published(images: list[Image], project: Project) -> Iterator[str]:
    """The names of images of this project that `publish` has made."""
    for image in images:
        if image.labels.get(TITLE) == project.name and OF_HEARTH in image.labels and not image.user:
            yield from image.names


def gigabytes(size: int) -> str:
    """A size in bytes for people."""
    return f"{size / 1e9:.1f} GB"


def offer(project: Project) -> None:
    """Print which images of this machine the project could use, with the commands."""
    check_engine(project)
    images, offered = images_here(), False
    for name in published(images, project):
        offered = True
        print(f"{name}: published from this project.\n  Run: {me()} pull {quote(name)}")
    for key, wanted in project.base_images.items():
        now = project.settings.get(key) or wanted
        if any(split(now) == split(name) for image in images for name in image.names):
            say(f"{key}: {now} is on this machine.")
        for name, why, image in candidates(images, wanted):
            if name != now:
                offered = True
                say(f"{key}: {name} ({gigabytes(image.size)}) could be used: {why}.")
                say(f"  Run: {me()} env --set {quote(f'{key}={name}')}")
    if not offered:
        print("No other image of this machine fits this project.")
