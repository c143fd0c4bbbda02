"""Which PyTorch pip, uv and poetry take for a project."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .found import ADDRESS, ALL, shown
from .resolved import FAMILY, Here, Resolved, built_as, fitting, runs, variant_cuda, wheel
from .versions import PLAIN, exact, holds, local, padded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...compat.rows import TorchRelease
    from ...compat.table import Table
    from .found import Asked, Project


def _own_variant(asked: Asked, project: Project) -> str | None:
    """The variant that a line, its index or the one index names; None = PyPI's."""
    if given := local(asked.spec):
        return given.split(".")[0] if given.startswith("cu") else given
    if asked.variant:
        return asked.variant
    if project.index:
        return project.index
    return project.extra[0] if project.kind == "uv" and project.extra else None


def _refused_variant(variant: str) -> str:
    """Why a variant cannot be judged, "" where it can."""
    if variant.startswith(("rocm", "xpu")):
        return f"it asks for a {variant} build of PyTorch, which NVIDIA GPUs do not run"
    if variant == ALL:
        return "the index that it names has the builds of every CUDA, and any of them may be taken"
    if variant == ADDRESS:
        return "its address does not say which PyTorch it is"
    if variant.startswith("nightly"):
        return f"it asks for PyTorch's {variant} builds, which are not in the table"
    if not re.fullmatch(r"cu[0-9]{3}|cpu", variant):
        return f"it asks for a build of PyTorch that is not in the table ({shown(variant)})"
    return ""


def _has(release: TorchRelease, variant: str | None) -> bool:
    if variant is None or variant == "cpu":
        return True
    found = release.variants.get(variant)
    return found is not None and found.published


def _limits(here: Here) -> list[Asked]:
    """The lines that limit which PyTorch fits: its own, and those of what is built for it."""
    limits = [one for one in here.project.limits if holds(one.marker, here.pythons.marker)[0]]
    of_torch = [one for one in here.asked if one.name == "torch"]
    if here.project.kind == "docker":  # each RUN replaces what an earlier one has installed
        of_torch = of_torch[-1:]
    others = [one for one in here.asked if one.name in FAMILY[1:]]
    return [*of_torch, *others, *(one for one in limits if one.name in FAMILY)]


def _known(limit: Asked, table: Table) -> bool:
    """Whether a line about torchvision or torchaudio is about a version of the table."""
    return any(fitting(release, limit) for release in table.torch.values())


def _clash(limits: Sequence[Asked], table: Table) -> str:
    """Why two pins exclude each other, "" where they do not."""
    pins = [one for one in limits if exact(one.spec) and _known(one, table)]
    torch = [one for one in pins if one.name == "torch"]
    for one in pins:
        for other in torch:
            both = any(
                fitting(release, one) and fitting(release, other)
                for release in table.torch.values()
            )
            if not both and one.name == "torchvision":
                own = next(r.version for r in table.torch.values() if fitting(r, one))
                return (
                    f"{one.line} needs PyTorch {own}, and {other.line} asks for another: they"
                    " cannot be installed together"
                )
            if not both and one.name == "torch":
                return f"{one.line} and {other.line} ask for two versions of PyTorch"
    return ""


def by_pip(here: Here, asked: Asked) -> Resolved:
    """The PyTorch that pip, uv or poetry takes.

    Args:
        here: the project on its host.
        asked: the line that decides; of torchvision or torchaudio, the PyTorch that it belongs to.
    """
    project, table, where = here.project, here.table, str(asked.line)
    variant = _own_variant(asked, project)
    if variant and (why := _refused_variant(variant)):
        return Resolved(None, where, "", unknown=why, asked=asked)
    limits = _limits(here)
    if project.kind != "lock" and (why := _clash(limits, table)):
        return Resolved(None, where, "", impossible=why, asked=asked)
    pinned = exact(asked.spec) if asked.name == "torch" else None
    if pinned and not pinned.endswith("*"):
        return _pinned(here, asked, pinned, variant)
    usable = [one for one in limits if one.name == "torch" or _known(one, table)]
    good = [r for r in table.torch.values() if all(fitting(r, one) for one in usable)]
    takeable = [r for r in good if runs(r, here.pythons) and _has(r, variant)]
    if not takeable:
        return _none_fits(here, asked, variant, has_fitting=bool(good))
    release = takeable[-1]
    what = "the newest in the table that fits" if asked.name == "torch" else "which it belongs to"
    limiting = [one for one in usable if one is not asked and one.spec and one.name != "torch"]
    notes = [f"{one.line} limits it too" for one in limiting]
    if not runs(good[-1], here.pythons):
        notes.append(f"newer ones have no wheels for Python {shown(project.python)}")
    if not _has(good[-1], variant):
        notes.append(_no_newer(good, release, variant or "", here.arch))
    variant = variant or _extra(project, release)
    built = built_as(release, variant, here.arch)
    return Resolved(
        wheel(release.version, variant, here.pythons),
        where,
        f"{here.taker} takes PyTorch {release.version} {built}, {what}",
        notes=tuple(notes),
        asked=asked,
    )


def _no_newer(good: Sequence[TorchRelease], taken: TorchRelease, variant: str, arch: str) -> str:
    """What to say of newer releases, for which the table has no wheel of a variant."""
    newer = good[good.index(taken) + 1 :]
    if any(release.has_wheel(variant_cuda(variant), arch) is None for release in newer):
        return f"it is not known whether newer ones have a {variant} wheel"
    return f"newer ones have no {variant} wheel"


def _none_fits(here: Here, asked: Asked, variant: str | None, *, has_fitting: bool) -> Resolved:
    spec = shown(asked.spec) or "any version"
    python = here.project.python
    for_python = f" for Python {shown(python)}" if has_fitting and python else ""
    on = f" with a {variant} wheel" if has_fitting and variant else ""
    oldest = next(iter(here.table.torch))
    why = f"no PyTorch in the table ({oldest} and newer) fits {spec}{for_python}{on}"
    return Resolved(None, str(asked.line), "", unknown=why, asked=asked)


def _extra(project: Project, release: TorchRelease) -> str | None:
    """The variant of a further index that pip prefers: 2.5.1+cu121 is above PyPI's 2.5.1."""
    good = [one for one in project.extra if not _refused_variant(one) and _has(release, one)]
    return max(good, default=None)


def _pinned(here: Here, asked: Asked, pinned: str, variant: str | None) -> Resolved:
    bare = pinned.partition("+")[0]
    where = str(asked.line)
    if not PLAIN.fullmatch(bare):
        why = f"PyTorch {shown(pinned)} is not in the table, which has releases only"
        return Resolved(None, where, "", unknown=why, asked=asked)
    version = ".".join(map(str, padded(bare, 3)[:3]))
    release = here.table.torch.get(version)
    if release and variant is None:
        variant = _extra(here.project, release)
    said = built_as(release, variant, here.arch) if release else ""
    notes = _no_index(here, asked)
    verb = "the lock has" if here.project.kind == "lock" else f"{here.taker} takes"
    return Resolved(
        wheel(version, variant, here.pythons),
        where,
        f"{verb} PyTorch {version} {said}".rstrip(),
        notes=notes,
        asked=asked,
    )


def _no_index(here: Here, asked: Asked) -> tuple[str, ...]:
    """What to say where a file pins a build that none of its indexes has."""
    project, wanted = here.project, local(asked.spec)
    given = {project.index, *project.extra, asked.variant}
    if (
        wanted is None
        or project.kind not in {"pip", "docker"}
        or project.links
        or given & {wanted, ALL}
        or "://" in asked.line.text
    ):
        return ()
    url = f"https://download.pytorch.org/whl/{wanted}"
    return (f"PyPI has no +{wanted}: pip needs --extra-index-url {url}",)
