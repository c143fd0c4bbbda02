"""Which PyTorch conda takes for a project, from conda-forge or from the pytorch channel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...compat.rows import numbers
from ..choices import choice
from ..hosts import driver_cuda
from .found import shown
from .resolved import Here, Resolved, built_as, fitting, runs, wheel
from .versions import exact, fits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .found import Asked, Project

# The pytorch channel has no build after this one: https://github.com/pytorch/pytorch/issues/138506
LAST_ON_CHANNEL = "2.5.1"


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


def by_conda(here: Here, asked: Asked) -> Resolved:
    """The PyTorch that conda takes.

    Args:
        here: the project on its host, whose driver conda's solver looks at.
        asked: the line that decides.
    """
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
        and runs(release, here.pythons)
        and (cuda in {None, "cpu"} or cuda in release.published)
    ]
    if not good:
        oldest = next(iter(table.torch))
        return _no_build(asked, cuda, "PyTorch of the pytorch channel", oldest, LAST_ON_CHANNEL)
    release = good[-1]
    line = cuda or release.published[-1]
    variant = "cpu" if cuda == "cpu" else f"cu{line.replace('.', '')}"
    said = built_as(release, variant, here.arch)
    return Resolved(
        wheel(release.version, variant, here.pythons),
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


def _builds(here: Here, asked: Asked, cuda: str | None) -> list[tuple[str, str]]:
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
        if release and not all(fitting(release, one) for one in vision):
            continue
        for line in lines:
            driven = brings is None or numbers(line)[0] <= brings
            if driven if free else line == cuda or line.startswith(f"{cuda}."):
                found.append((version, line))
    return found


def _conda_forge(here: Here, asked: Asked, cuda: str | None) -> Resolved:
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
