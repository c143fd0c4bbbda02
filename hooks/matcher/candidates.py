"""The choices that a project can change to: other images, PyTorch releases, CUDA lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..compat.rows import numbers
from .choices import Choice, cuda_tag, hub_tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..compat.rows import CudaImage, TorchRelease
    from ..compat.table import Table

REPOSITORIES = {
    "train": "nvidia/cuda",
    "devel": "nvidia/cuda",
    "hub": "pytorch/pytorch",
    "ngc": "nvcr.io/nvidia/pytorch",
}


def _python_for(release: TorchRelease, python: str | None) -> str | None:
    """The wanted Python where the release has it, else the nearest it has."""
    if python is None or python in release.python:
        return python
    plain = [version for version in release.python if not version.endswith("t")]
    wanted = numbers(python.rstrip("t"))
    return min(plain, key=lambda version: (abs(numbers(version)[1] - wanted[1]), version))


def image_of(choice: Choice) -> str:
    """The image of a choice that was made by naming one, else ""."""
    return f"{REPOSITORIES[choice.service]}:{choice.tag}" if choice.tag else ""


def _image(choice: Choice, table: Table) -> CudaImage | None:
    """The nvidia/cuda images of a choice's CUDA line, where its service stands on them."""
    release = table.torch.get(choice.torch or "")
    cuda = choice.cuda or (release.pypi_cuda if release else None)
    line = table.lines.get(cuda or "")
    return line.image if line and REPOSITORIES.get(choice.service) == "nvidia/cuda" else None


def _tagged(choice: Choice, table: Table) -> Choice:
    """The same choice with the tag that the rules make, where a tag was named."""
    image, tag = _image(choice, table), None
    if choice.tag and choice.distro and image:
        line = table.lines[choice.cuda or ""]
        tag = cuda_tag(line, choice.flavour, choice.distro, cudnn="cudnn" in choice.tag)
    elif choice.tag and choice.service == "hub" and choice.torch in table.torch and choice.cuda:
        tag = hub_tag(table.torch[choice.torch], choice.cuda, choice.flavour)
    return choice._replace(tag=tag)


def moved(choice: Choice, table: Table) -> Choice:
    """The same choice on a distribution that its CUDA line has an image for, the nearest one.

    That is one of the same family with the nearest version, else the newest Ubuntu.
    """
    image = _image(choice, table)
    if image is None or choice.distro is None or choice.distro in image.distros:
        return _tagged(choice, table)

    def distance(distro: str) -> tuple[bool, bool, float]:
        family, version = _split(distro)
        other_family = family != wanted[0]
        far = -version if other_family else abs(version - wanted[1])
        return other_family, family != "ubuntu", far

    wanted = _split(choice.distro)
    return _tagged(choice._replace(distro=min(image.distros, key=distance)), table)


def _split(distro: str) -> tuple[str, float]:
    """("ubuntu", 24.04) for "ubuntu24.04"."""
    family = distro.rstrip("0123456789.")
    return family, float(distro[len(family) :])


def repairs(choice: Choice, table: Table) -> Iterator[Choice]:
    """What keeps PyTorch and CUDA: the right tag, another distribution, `cca: auto`."""
    kept = [_tagged(choice, table), moved(choice, table)]
    yield from kept
    if choice.cca != "auto":
        yield from (same._replace(cca="auto") for same in kept)


def _lines(choice: Choice, table: Table) -> list[str]:
    """The CUDA lines that a choice can change to: a project keeps to those that are offered."""
    return [name for name, line in table.lines.items() if line.offered or not choice.project]


def candidates(choice: Choice, table: Table) -> Iterator[Choice]:
    """Choices that a project of the same service can change to."""
    if choice.service == "ngc":
        for release in table.ngc:
            yield choice._replace(ngc_release=release, python=None)
    elif choice.service in {"train", "devel"} and choice.torch is None:
        for cuda in _lines(choice, table):
            yield moved(choice._replace(cuda=cuda), table)
    elif choice.package_manager == "conda" and choice.torch is None:
        for cuda in list(table.conda.values())[-1]:
            yield choice._replace(cuda=cuda)
    elif choice.service == "simple" and choice.torch is None and choice.cuda:  # no PyTorch wanted
        yield from (choice._replace(cuda=cuda) for cuda in table.lines)
    else:
        yield from _torch_candidates(choice, table)


def _other_images(choice: Choice, table: Table) -> Iterator[Choice]:
    """The same wheel in an nvidia/cuda image of each CUDA line, where an image was named."""
    wheel = choice.wheel_cuda or choice.cuda
    if choice.tag and choice.distro and choice.torch:
        for cuda in _lines(choice, table):
            other = choice._replace(cuda=cuda, wheel_cuda=wheel if wheel != cuda else None)
            yield moved(other, table)


def _torch_candidates(choice: Choice, table: Table) -> Iterator[Choice]:
    yield from _other_images(choice, table)
    for release in table.torch.values():
        if not release.offered and release.version != choice.torch:
            continue
        lines = release.published
        if choice.pytorch_build == "source" and choice.service in {"train", "devel"}:
            lines = _lines(choice, table)
        elif choice.package_manager == "conda":
            lines = table.conda.get(release.version, [])
        python = _python_for(release, choice.python)
        for cuda in lines:
            other = choice._replace(torch=release.version, python=python)
            if choice.wheel_cuda:  # the image is kept
                yield other._replace(wheel_cuda=cuda if cuda != choice.cuda else None)
            yield moved(other._replace(cuda=cuda, wheel_cuda=None), table)
