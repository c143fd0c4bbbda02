"""Which PyTorch and which CUDA a project's files come to: what pip, uv or conda would take.

A range comes to the newest release of the table that fits, that this Python has wheels for, and
that the named index or channel has. What the table does not know is said, never guessed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...compat.table import Table, load
from ..choices import REPOSITORIES, Choice, UnknownTagError, from_image
from ..hosts import BadInputError, Host
from .found import shown
from .resolve_conda import by_conda
from .resolve_pip import by_pip
from .resolved import FAMILY, Here, Pythons, Resolved
from .versions import exact, fits, holds, local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .found import Asked, Project

PYTHONS = tuple(f"3.{minor}" for minor in range(6, 17))
ASSUMED_PYTHON = "3.12"
# They are installed with PyTorch, whichever version that is.
BRING_TORCH = (
    "accelerate", "bitsandbytes", "deepspeed", "fairscale", "flash-attn", "lightning",
    "open-clip-torch", "peft", "pytorch-lightning", "sentence-transformers", "timm",
    "torch-geometric", "torchmetrics", "ultralytics", "vllm", "xformers",
)  # fmt: skip


def _pythons(spec: str, *, conda: bool) -> Pythons:
    """Read the Python that the files ask for.

    Raises:
        BadInputError: it is not a range of versions.
    """
    try:
        return _allowed(spec, conda=conda)
    except BadInputError as error:
        raise BadInputError(f"the Python that the files ask for: {error}") from None


def _allowed(spec: str, *, conda: bool) -> Pythons:
    pinned = exact(re.sub(r"=[^=<>]*$", "", spec) if spec.count("=") > 1 and conda else spec)
    if pinned and re.match(r"[0-9]+\.[0-9]+", pinned) and not spec.strip().startswith("^"):
        single = ".".join(pinned.split(".")[:2])
        return Pythons((single,), single, pinned.rstrip(".*"))
    allowed = [
        python
        for python in PYTHONS
        if any(fits(spec, f"{python}.{patch}", conda=conda) for patch in ("0", "99"))
    ]
    one = allowed[0] if len(allowed) == 1 else None
    usual = ASSUMED_PYTHON if ASSUMED_PYTHON in allowed or not allowed else allowed[-1]
    return Pythons(tuple(allowed), one, one or usual)


def resolve(project: Project, machine: Host | None = None, table: Table | None = None) -> Resolved:
    """What a project's files come to.

    Args:
        project: what they ask for.
        machine: conda's solver looks at its driver; its architecture decides markers.
        table: another table than the one checked in, for tests.

    Raises:
        BadInputError: a version, a marker or an image is malformed.
    """
    pythons = _pythons(project.python, conda=project.kind == "conda")
    applying, notes = _applying(project, pythons, machine.arch if machine else "x86_64")
    here = Here(project, applying, pythons, machine, table or load())
    image = _image(project)
    asked = _deciding(applying, project)
    notes += _others(applying, asked, project)
    ready = image is not None and image.service in {"hub", "ngc"}
    if asked is None:
        found = _without_torch(here, image)
    elif asked.conda:
        found = by_conda(here, asked)
    elif ready and image and not asked.spec:
        found = _of_image(project, image)
        notes.append(f"{asked.line} changes nothing: the image has PyTorch")
    else:
        found = by_pip(here, asked)
        if ready:
            notes.append(f"it replaces the PyTorch of {shown(project.image or '')}")
    if image and not ready and found.choice and found.choice != image:
        found = found._replace(choice=_within(image, found.choice, here))
    names = {one.name for one in applying}
    return found._replace(
        notes=tuple(dict.fromkeys([*notes, *found.notes])),
        beside=tuple(name for name in FAMILY[1:] if name in names),
        packages=tuple((one.name, exact(one.spec)) for one in applying),
    )


def _applying(project: Project, pythons: Pythons, arch: str) -> tuple[list[Asked], list[str]]:
    """The lines whose markers hold, and what to say about the project.

    Raises:
        BadInputError: a marker, or a range of PyTorch, is malformed.
    """
    found: list[Asked] = []
    notes = list(project.notes)
    for one in project.asked:
        try:
            applies, by_python = holds(one.marker, pythons.marker, arch)
            if one.name in FAMILY:
                fits(one.spec, "0.0", conda=one.conda)
        except BadInputError as error:
            raise BadInputError(f"{one.line}: {error}") from None
        if applies:
            found.append(one)
        if by_python and one.name == "torch" and not pythons.one:
            notes.append(f"Python {pythons.marker} is assumed, as the files leave it open")
    return found, notes


def _deciding(here: Sequence[Asked], project: Project) -> Asked | None:
    """The line about PyTorch that counts: the last; of a lock the one for GPUs."""
    lines = [one for one in here if one.name == "torch"]
    if project.kind == "lock":
        lines.sort(key=lambda one: (one.variant or local(one.spec) or "") != "cpu")
    return lines[-1] if lines else None


def _others(here: Sequence[Asked], asked: Asked | None, project: Project) -> list[str]:
    """What to say where a project has several builds of PyTorch, by extras or groups."""
    if asked is None or project.kind not in {"lock", "uv"}:
        return []
    builds = {
        f"{one.spec.removeprefix('==')} {one.variant or ''}".strip()
        for one in here
        if one.name == "torch" and (one.spec, one.variant) != (asked.spec, asked.variant)
    }
    listed = ", ".join(sorted(map(shown, builds)))
    return [f"other builds of PyTorch are there too, for extras: {listed}"] if builds else []


def _is_known(image: str) -> bool:
    """Whether an image is of a repository that the table has."""
    return re.search(rf"(^|/)({'|'.join(REPOSITORIES)})(:|@|$)", image) is not None


def _image(project: Project) -> Choice | None:
    """The image of a Dockerfile as the table knows it; None for another one.

    Raises:
        BadInputError: it is malformed.
    """
    if project.image is None:
        return None
    if not _is_known(project.image):
        return None
    try:
        return from_image(project.image)
    except UnknownTagError:  # such as latest: what is in it is not known
        return None
    except BadInputError as error:
        raise BadInputError(f"{project.image_line}: {error}") from None


def _within(image: Choice, wheel: Choice, here: Here) -> Choice:
    """A PyTorch that is installed into an image of nvidia/cuda."""
    if wheel.accelerator == "cpu":
        return wheel
    release = here.table.torch.get(wheel.torch or "")
    cuda = wheel.cuda or (release.pypi_on(here.arch) if release else None)
    if cuda == "cpu":
        return wheel
    return image._replace(
        service="train",
        torch=wheel.torch,
        python=wheel.python,
        package_manager=wheel.package_manager,
        wheel_cuda=cuda if cuda != image.cuda else None,
    )


def _of_image(project: Project, image: Choice) -> Resolved:
    takes = f"it is built on {shown(project.image or '')}"
    return Resolved(image, str(project.image_line), takes)


def _without_torch(here: Here, image: Choice | None) -> Resolved:
    project = here.project
    if image:
        found = _of_image(project, image)
        if image.service in {"train", "devel"}:
            return found._replace(
                takes=f"{found.takes} and installs no PyTorch, so its CUDA is judged"
            )
        return found
    for one in here.asked:
        if one.name in FAMILY[1:] and one.spec and not one.conda:
            found = by_pip(here, one)
            if found.choice:
                return found
    lines = [one for one in here.asked if one.name in BRING_TORCH]
    pins = [one for one in project.limits if one.name == "torch" and exact(one.spec)]
    if lines and pins:
        return by_pip(here, pins[-1])
    if lines:
        why = f"{lines[0].line} brings PyTorch in a version that the files do not say"
    elif project.image and _is_known(project.image):
        why = f"what is in {shown(project.image)} does not follow from its tag"
    elif project.image:
        why = f"{shown(project.image)} is not in the table, and no PyTorch is installed on it"
    else:
        why = "no PyTorch is asked for, so nothing can be judged"
    where = str(project.image_line) if project.image_line else ""
    return Resolved(None, where, "", unknown=why)
