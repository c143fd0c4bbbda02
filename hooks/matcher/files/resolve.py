"""Which PyTorch and which CUDA a project's files come to: what pip, uv or conda would take.

A range comes to the newest release of the table that fits, that this Python has wheels for, and
that the named index or channel has. What the table does not know is said, never guessed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ...compat.table import Table, load, numbers
from ..choices import REPOSITORIES, Choice, UnknownTagError, choice, from_image
from ..hosts import BadInputError, Host, driver_cuda
from .found import ADDRESS, ALL, shown
from .versions import PLAIN, exact, fits, holds, local, padded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...compat.table import TorchRelease
    from .found import Asked, Project

PYTHONS = tuple(f"3.{minor}" for minor in range(6, 17))
FAMILY = ("torch", "torchvision", "torchaudio")
ASSUMED_PYTHON = "3.12"
# The pytorch channel has no build after this one: https://github.com/pytorch/pytorch/issues/138506
LAST_ON_CHANNEL = "2.5.1"
# They are installed with PyTorch, whichever version that is.
BRING_TORCH = (
    "accelerate", "bitsandbytes", "deepspeed", "fairscale", "flash-attn", "lightning",
    "open-clip-torch", "peft", "pytorch-lightning", "sentence-transformers", "timm",
    "torch-geometric", "torchmetrics", "ultralytics", "vllm", "xformers",
)  # fmt: skip


class Resolved(NamedTuple):
    """What a project comes to.

    Attributes:
        choice: what to judge, in the image that it is built on; None where nothing can be.
        where: the line that decides.
        takes: a sentence that says what is taken, and why.
        impossible: why nothing can be installed, "" where something can.
        unknown: why it cannot be judged, "" where it can.
        notes: further sentences.
        asked: the requirement that decides.
        beside: torchvision and torchaudio, where they are asked for.
        packages: every package by its name, with its version where it is pinned.
    """

    choice: Choice | None
    where: str
    takes: str
    impossible: str = ""
    unknown: str = ""
    notes: tuple[str, ...] = ()
    asked: Asked | None = None
    beside: tuple[str, ...] = ()
    packages: tuple[tuple[str, str | None], ...] = ()


class _Pythons(NamedTuple):
    """The Pythons that a project allows; `one` is set where it is a single one."""

    allowed: tuple[str, ...]
    one: str | None
    marker: str


class _Here(NamedTuple):
    """What decides on a host: the project, the lines whose markers hold, its Pythons."""

    project: Project
    asked: Sequence[Asked]
    pythons: _Pythons
    machine: Host | None
    table: Table

    @property
    def arch(self) -> str:
        """Of the machine."""
        return self.machine.arch if self.machine else "x86_64"

    @property
    def taker(self) -> str:
        """Who resolves the files."""
        return {"uv": "uv", "poetry": "poetry"}.get(self.project.kind, "pip")


def _pythons(spec: str, *, conda: bool) -> _Pythons:
    """Read the Python that the files ask for.

    Raises:
        BadInputError: it is not a range of versions.
    """
    try:
        return _allowed(spec, conda=conda)
    except BadInputError as error:
        raise BadInputError(f"the Python that the files ask for: {error}") from None


def _allowed(spec: str, *, conda: bool) -> _Pythons:
    pinned = exact(re.sub(r"=[^=<>]*$", "", spec) if spec.count("=") > 1 and conda else spec)
    if pinned and re.match(r"[0-9]+\.[0-9]+", pinned) and not spec.strip().startswith("^"):
        single = ".".join(pinned.split(".")[:2])
        return _Pythons((single,), single, pinned.rstrip(".*"))
    allowed = [
        python
        for python in PYTHONS
        if any(fits(spec, f"{python}.{patch}", conda=conda) for patch in ("0", "99"))
    ]
    one = allowed[0] if len(allowed) == 1 else None
    usual = ASSUMED_PYTHON if ASSUMED_PYTHON in allowed or not allowed else allowed[-1]
    return _Pythons(tuple(allowed), one, one or usual)


def _runs(release: TorchRelease, pythons: _Pythons) -> bool:
    return any(python in release.python for python in pythons.allowed)


def variant_cuda(variant: str) -> str:
    """The CUDA line of a variant: "12.1" for cu121."""
    return f"{variant[2:-1]}.{variant[-1]}"


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
    here = _Here(project, applying, pythons, machine, table or load())
    image = _image(project)
    asked = _deciding(applying, project)
    notes += _others(applying, asked, project)
    ready = image is not None and image.service in {"hub", "ngc"}
    if asked is None:
        found = _without_torch(here, image)
    elif asked.conda:
        found = _conda(here, asked)
    elif ready and image and not asked.spec:
        found = _of_image(project, image)
        notes.append(f"{asked.line} changes nothing: the image has PyTorch")
    else:
        found = _pip(here, asked)
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


def _applying(project: Project, pythons: _Pythons, arch: str) -> tuple[list[Asked], list[str]]:
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


# --- images ---------------------------------------------------------------------------------------


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


def _within(image: Choice, wheel: Choice, here: _Here) -> Choice:
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


def _without_torch(here: _Here, image: Choice | None) -> Resolved:
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
            found = _pip(here, one)
            if found.choice:
                return found
    lines = [one for one in here.asked if one.name in BRING_TORCH]
    pins = [one for one in project.limits if one.name == "torch" and exact(one.spec)]
    if lines and pins:
        return _pip(here, pins[-1])
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


# --- pip, uv, poetry ------------------------------------------------------------------------------


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


def _limits(here: _Here) -> list[Asked]:
    """The lines that limit which PyTorch fits: its own, and those of what is built for it."""
    limits = [one for one in here.project.limits if holds(one.marker, here.pythons.marker)[0]]
    of_torch = [one for one in here.asked if one.name == "torch"]
    if here.project.kind == "docker":  # each RUN replaces what an earlier one has installed
        of_torch = of_torch[-1:]
    others = [one for one in here.asked if one.name in FAMILY[1:]]
    return [*of_torch, *others, *(one for one in limits if one.name in FAMILY)]


def _fitting(release: TorchRelease, limit: Asked) -> bool:
    """Whether a release of PyTorch fits a line about it, torchvision or torchaudio."""
    version = {"torchvision": release.torchvision, "torchaudio": release.torchaudio}.get(
        limit.name, release.version
    )
    if version is None or (limit.name == "torchaudio" and not exact(limit.spec)):
        return True
    return fits(limit.spec, version, conda=limit.conda)


def _known(limit: Asked, table: Table) -> bool:
    """Whether a line about torchvision or torchaudio is about a version of the table."""
    return any(_fitting(release, limit) for release in table.torch.values())


def _clash(limits: Sequence[Asked], table: Table) -> str:
    """Why two pins exclude each other, "" where they do not."""
    pins = [one for one in limits if exact(one.spec) and _known(one, table)]
    torch = [one for one in pins if one.name == "torch"]
    for one in pins:
        for other in torch:
            both = any(
                _fitting(release, one) and _fitting(release, other)
                for release in table.torch.values()
            )
            if not both and one.name == "torchvision":
                own = next(r.version for r in table.torch.values() if _fitting(r, one))
                return (
                    f"{one.line} needs PyTorch {own}, and {other.line} asks for another: they"
                    " cannot be installed together"
                )
            if not both and one.name == "torch":
                return f"{one.line} and {other.line} ask for two versions of PyTorch"
    return ""


def _pip(here: _Here, asked: Asked) -> Resolved:
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
    good = [r for r in table.torch.values() if all(_fitting(r, one) for one in usable)]
    takeable = [r for r in good if _runs(r, here.pythons) and _has(r, variant)]
    if not takeable:
        return _none_fits(here, asked, variant, has_fitting=bool(good))
    release = takeable[-1]
    what = "the newest in the table that fits" if asked.name == "torch" else "which it belongs to"
    limiting = [one for one in usable if one is not asked and one.spec and one.name != "torch"]
    notes = [f"{one.line} limits it too" for one in limiting]
    if not _runs(good[-1], here.pythons):
        notes.append(f"newer ones have no wheels for Python {shown(project.python)}")
    if not _has(good[-1], variant):
        notes.append(_no_newer(good, release, variant or "", here.arch))
    variant = variant or _extra(project, release)
    built = _built(release, variant, here.arch)
    return Resolved(
        _choice(release.version, variant, here.pythons),
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


def _none_fits(here: _Here, asked: Asked, variant: str | None, *, has_fitting: bool) -> Resolved:
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


def _pinned(here: _Here, asked: Asked, pinned: str, variant: str | None) -> Resolved:
    bare = pinned.partition("+")[0]
    where = str(asked.line)
    if not PLAIN.fullmatch(bare):
        why = f"PyTorch {shown(pinned)} is not in the table, which has releases only"
        return Resolved(None, where, "", unknown=why, asked=asked)
    version = ".".join(map(str, padded(bare, 3)[:3]))
    release = here.table.torch.get(version)
    if release and variant is None:
        variant = _extra(here.project, release)
    said = _built(release, variant, here.arch) if release else ""
    notes = _no_index(here, asked)
    verb = "the lock has" if here.project.kind == "lock" else f"{here.taker} takes"
    return Resolved(
        _choice(version, variant, here.pythons),
        where,
        f"{verb} PyTorch {version} {said}".rstrip(),
        notes=notes,
        asked=asked,
    )


def _no_index(here: _Here, asked: Asked) -> tuple[str, ...]:
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


def _built(release: TorchRelease, variant: str | None, arch: str) -> str:
    """How a sentence names a build of a release."""
    if variant == "cpu":
        return "for the CPU"
    if variant is None:
        cuda = release.pypi_on(arch)
        if cuda == "cpu":
            return f"from PyPI, which has it for {arch} without CUDA"
        return f"from PyPI (CUDA {cuda})" if cuda else "from PyPI"
    return f"with CUDA {variant_cuda(variant)}"


def _choice(version: str, variant: str | None, pythons: _Pythons) -> Choice:
    return choice(
        accelerator="cpu" if variant == "cpu" else "cuda",
        torch=version,
        cuda=variant if variant and variant != "cpu" else None,
        python=pythons.one,
        project=False,
    )


# --- conda ----------------------------------------------------------------------------------------


def _channel(project: Project, asked: Asked) -> str:
    """The channel that PyTorch comes from: by the name of its build, else the first that has it.

    The pytorch channel calls its builds py3.11_cuda12.1_cudnn8.9.2_0, conda-forge cuda126_py312_0.
    """
    if re.match(r"py3\.[0-9]+_(cuda|cpu)", asked.build):
        return "pytorch"
    if re.match(r"cuda[0-9]{3}|cpu_(generic|mkl)", asked.build):
        return "conda-forge"
    have = {"pytorch": "pytorch", "conda-forge": "conda-forge"}
    own = {"defaults": "defaults", "anaconda": "defaults", "main": "defaults"}
    if asked.channel:
        return (have | own).get(asked.channel.rsplit("/", 1)[-1], asked.channel)
    for channel in project.channels:
        name = channel.rstrip("/").rsplit("/", 1)[-1].partition("::")[0]
        if name in have | own:
            return (have | own)[name]
    return "defaults"


def _conda_cuda(here: Sequence[Asked], asked: Asked) -> str | None:
    """The CUDA that the file asks for: "12.4", a major such as "12", "cpu", or None."""
    for one in here:
        if one.name == "cpuonly":
            return "cpu"
    if "cpu" in asked.build:
        return "cpu"
    if build := re.search(r"cuda([0-9]+)\.?([0-9])?", asked.build):
        whole = build[1] + (build[2] or "")
        return f"{whole[:2]}.{whole[2:]}" if len(whole) > 2 else whole[:2]  # noqa: PLR2004
    for name in ("pytorch-cuda", "cuda-version", "cudatoolkit", "cuda-toolkit", "cuda"):
        for one in here:
            pinned = exact(one.spec) if one.name == name and one.conda else None
            number = re.match(r"[0-9]+(?:\.[0-9]+)?", pinned or "")
            if number:
                return number[0]
    return None


def _conda(here: _Here, asked: Asked) -> Resolved:
    where, channel, table = str(asked.line), _channel(here.project, asked), here.table
    cuda = _conda_cuda(here.asked, asked)
    if channel == "conda-forge":
        return _conda_forge(here, asked, cuda)
    if channel != "pytorch":
        why = f"the builds of PyTorch on the channel {shown(channel)} are not in the table"
        return Resolved(None, where, "", unknown=why, asked=asked)
    good = [
        release
        for release in table.torch.values()
        if numbers(release.version) <= numbers(LAST_ON_CHANNEL)
        and fits(asked.spec, release.version, conda=True)
        and _runs(release, here.pythons)
        and (cuda in {None, "cpu"} or cuda in release.published)
    ]
    if not good:
        oldest = next(iter(table.torch))
        return _no_build(asked, cuda, "PyTorch of the pytorch channel", oldest, LAST_ON_CHANNEL)
    release = good[-1]
    line = cuda or release.published[-1]
    variant = "cpu" if cuda == "cpu" else f"cu{line.replace('.', '')}"
    said = _built(release, variant, here.arch)
    return Resolved(
        _choice(release.version, variant, here.pythons),
        where,
        f"conda takes PyTorch {release.version} {said} from the pytorch channel",
        notes=("a build of the pytorch channel is judged as the wheel of the same CUDA",),
        asked=asked,
    )


def _no_build(asked: Asked, cuda: str | None, what: str, oldest: str, newest: str) -> Resolved:
    with_cuda = f" with CUDA {cuda}" if cuda else ""
    spec = shown(asked.spec) or "any version"
    why = f"no {what} in the table ({oldest} to {newest}) fits {spec}{with_cuda}"
    return Resolved(None, str(asked.line), "", unknown=why, asked=asked)


def _builds(here: _Here, asked: Asked, cuda: str | None) -> list[tuple[str, str]]:
    """conda-forge's builds that fit: PyTorch and CUDA.

    They ask for a driver of their CUDA's major (`__cuda`), so that the solver passes over others.
    """
    vision = [one for one in here.asked if one.name == "torchvision" and exact(one.spec)]
    machine, free = here.machine, cuda in {None, "cpu"}
    brings = driver_cuda(here.table, machine)[0] if machine and machine.driver else None
    found = []
    for version, lines in here.table.conda.items():
        release = here.table.torch.get(version)
        if not fits(asked.spec, version, conda=True):
            continue
        if release and not all(_fitting(release, one) for one in vision):
            continue
        for line in lines:
            driven = brings is None or numbers(line)[0] <= brings
            if driven if free else line == cuda or line.startswith(f"{cuda}."):
                found.append((version, line))
    return found


def _conda_forge(here: _Here, asked: Asked, cuda: str | None) -> Resolved:
    found = _builds(here, asked, cuda)
    if not found:
        oldest, newest = next(iter(here.table.conda)), list(here.table.conda)[-1]
        return _no_build(asked, cuda, "build of conda-forge", oldest, newest)
    version, line = max(found, key=lambda pair: (numbers(pair[0]), numbers(pair[1])))
    is_cpu = cuda == "cpu"
    made = choice(
        accelerator="cpu" if is_cpu else "cuda",
        torch=version,
        cuda=None if is_cpu else line,
        python=here.pythons.one,
        package_manager="conda",
        project=False,
    )
    built = "for the CPU" if is_cpu else f"with CUDA {line}"
    newest = "" if exact(asked.spec) else ", the newest build in the table that fits"
    takes = f"conda takes PyTorch {version} {built} from conda-forge{newest}"
    return Resolved(made, str(asked.line), takes, asked=asked)
