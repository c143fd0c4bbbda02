"""What the matcher judges a host against: a choice of service, PyTorch, CUDA, Python and image.

`choice()` and `from_image()` read what users write. The `*_reason` functions say why a choice is
impossible on any machine; the questions of the template show the same words.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ..compat.rows import numbers
from ..compat.table import Table, load
from .hosts import BadInputError, Target, parse_cca

if TYPE_CHECKING:
    from ..compat.rows import CudaLine, TorchRelease

SERVICES = ("simple", "train", "devel", "ngc", "hub")
FLAVOURS = ("base", "runtime", "devel")
REPOSITORIES = ("nvidia/cuda", "nvidia/pytorch", "pytorch/pytorch")
NO_LATEST = "nvidia/cuda"  # each of its tags says what is in the image
_N = "[0-9]{1,8}"  # a part of a version; Python refuses to read endless ones
_NGC_RELEASE = re.compile(r"([0-9]{2}\.[0-9]{2})(-py3)?(-igpu)?")
# A registry or a mirror of one may stand in front, with folders of its own; a digest behind.
_IMAGE = re.compile(
    r"(?:[\w.-]+(?::[0-9]+)?/)?(?:[\w.-]+/)*?"
    rf"({'|'.join(REPOSITORIES)})(?::([\w.-]+))?(?:@sha256:[0-9a-f]{{64}})?"
)
_CUDA_TAG = re.compile(
    rf"({_N}\.{_N}(?:\.{_N})?)-(?:cudnn[0-9]?-)?(base|runtime|devel)-([a-z]+{_N}(?:\.{_N})?)"
)
_HUB_TAG = re.compile(rf"({_N}\.{_N}\.{_N})-cuda({_N}\.{_N})-cudnn[0-9]-(runtime|devel)")


class UnknownTagError(BadInputError):
    """A tag that may exist, and does not say what is in the image, such as latest."""


class Choice(NamedTuple):
    """The answers that matter for compatibility. Make one with `choice()` or `from_image()`.

    `compat` says what becomes of the folder of cuda-compat libraries in the base image: "image", an
    image that is used as its maker made it; "keep" or "remove", one that Hearth builds; "auto", one
    that Hearth builds so that it runs. `project` is false for what is used without a project of
    Hearth, whose images are for x86_64. `jit` says whether the runtime image keeps compilers for
    torch.compile; None = not known.
    """

    service: str = "simple"
    accelerator: str = "cuda"
    torch: str | None = None
    cuda: str | None = None
    python: str | None = None
    cca: str = "auto"
    package_manager: str = "pip"
    pytorch_build: str = "wheel"
    distro: str | None = None
    flavour: str = "devel"
    ngc_release: str | None = None
    tag: str | None = None
    wheel_cuda: str | None = None  # of a PyTorch wheel in an image of another CUDA line
    compat: str = "auto"
    project: bool = True
    jit: bool | None = None


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadInputError(f"{value!r} is not a known {what}: choose from {', '.join(allowed)}")
    return value


def cuda_line(text: str) -> str:
    """Read a CUDA line from "12.8", "12.8.1" or a wheel variant such as "cu128".

    Raises:
        BadInputError: it is none of these.
    """
    match = re.fullmatch(rf"cu([0-9]{{2}})([0-9])|({_N}\.{_N})(?:\.{_N})*", text.strip().lower())
    if not match:
        raise BadInputError(f"{text!r} is not a CUDA version: write one such as 12.8 or cu128")
    return match[3] or f"{match[1]}.{match[2]}"


def _torch(text: str, table: Table) -> tuple[str, str | None]:
    """Split "2.15.0+cu132", and take "2.15" for the newest 2.15 release."""
    match = re.fullmatch(rf"({_N}\.{_N}(?:\.{_N})?)(?:\+(cu[0-9]{{3}}|cpu))?", text.strip())
    if not match:
        raise BadInputError(f"{text!r} is not a PyTorch version: write one such as 2.14.1")
    version = match[1]
    line = [known for known in table.torch if known.rpartition(".")[0] == version]
    return (line[-1] if line else version), match[2]


def choice(
    *,
    service: str = "simple",
    accelerator: str = "cuda",
    torch: str | None = None,
    cuda: str | None = None,
    python: str | None = None,
    cca: str = "auto",
    package_manager: str = "pip",
    pytorch_build: str = "wheel",
    distro: str | None = None,
    flavour: str | None = None,
    ngc_release: str | None = None,
    wheel_cuda: str | None = None,
    compat: str = "auto",
    project: bool = True,
    jit: bool | None = None,
) -> Choice:
    """Check a user's answers and make them comparable.

    Answers that the service does not ask for take no part: they are read, then left out.

    Args:
        service: simple, train, devel, ngc or hub.
        accelerator: cuda or cpu.
        torch: PyTorch version, with or without "+cu132"; "2.15" means its newest patch; None or
            "none" for no PyTorch.
        cuda: CUDA line ("13.2") or wheel variant ("cu132"); None = what plain PyPI carries.
        python: Python version; a patch number is ignored.
        cca: "auto", or compute capabilities to compile for.
        package_manager: pip or conda.
        pytorch_build: wheel or source.
        distro: distribution of an nvidia/cuda image as its tags name it, such as ubuntu24.04.
        flavour: of the nvidia/cuda or pytorch/pytorch image: base, runtime or devel.
        ngc_release: release of nvcr.io/nvidia/pytorch, such as 25.10.
        wheel_cuda: CUDA line of the PyTorch wheel in an nvidia/cuda image, where it is another
            one than the image's.
        compat: auto, keep or remove: the base image's folder of cuda-compat libraries.
        project: whether it is for a project of Hearth, and not for a wheel by itself.
        jit: whether the runtime image keeps compilers for torch.compile; None = not known.

    Raises:
        BadInputError: something is malformed; unknown versions are not, they are judged `unknown`.
    """
    version, local = (None, None)
    if torch and torch.strip().lower() != "none":
        version, local = _torch(torch, load())
    if local == "cpu" or (cuda or "").strip().lower() == "cpu":
        accelerator, cuda, local = "cpu", None, None
    if local and cuda and cuda_line(local) != cuda_line(cuda):
        raise BadInputError(f"{torch!r} and CUDA {cuda} contradict each other: give one of the two")
    ngc = _NGC_RELEASE.fullmatch(ngc_release.strip()) if ngc_release else None
    if ngc_release and not ngc:
        raise BadInputError(
            f"{ngc_release!r} is not an NGC release: write year and month, such as 25.10"
        )
    parse_cca(cca)
    named_cuda = cuda or local
    if wheel_cuda and (service not in {"train", "devel"} or version is None):
        raise BadInputError(
            "a CUDA of its own has only a PyTorch wheel in an nvidia/cuda image: give the image and"
            " a PyTorch version"
        )
    own = cuda_line(wheel_cuda) if wheel_cuda else None
    read = Choice(
        service=_one_of("service", service, SERVICES),
        accelerator=_one_of("accelerator", accelerator, ("cuda", "cpu")),
        torch=version,
        cuda=cuda_line(named_cuda) if named_cuda else None,
        python=_python(python) if python else None,
        cca=cca.strip(),
        package_manager=_one_of("package manager", package_manager, ("pip", "conda")),
        pytorch_build=_one_of("PyTorch build", pytorch_build, ("wheel", "source")),
        distro=distro_name(distro) if distro else None,
        flavour=_one_of(
            "image flavour", flavour or ("runtime" if service == "hub" else "devel"), FLAVOURS
        ),
        ngc_release=ngc[1] if ngc else None,
        tag=f"{ngc[1]}-py3-igpu" if ngc and ngc[3] else None,
        wheel_cuda=own if named_cuda is None or own != cuda_line(named_cuda) else None,
        compat=_one_of("way with cuda-compat", compat, ("auto", "keep", "remove")),
        project=project,
        jit=jit,
    )
    return _of_its_service(read)


def _of_its_service(read: Choice) -> Choice:
    """A choice without the answers that its service does not ask for."""
    if read.service == "ngc":  # the image decides
        read = read._replace(torch=None, cuda=None, package_manager="pip")
    else:
        read = read._replace(ngc_release=None)
    if read.service not in {"train", "devel"}:
        read = read._replace(distro=None, pytorch_build="wheel")
    if read.service in {"simple", "ngc"}:
        read = read._replace(flavour="devel")
    if read.service == "hub":  # the image brings its Python
        read = read._replace(package_manager="pip", python=None)
    return read


def distro_name(text: str) -> str:
    """A distribution as image tags name it: ubuntu24.04 for Ubuntu 24.04.

    Raises:
        BadInputError: it has no name or no version.
    """
    name = re.sub(r"[ :-]", "", text.lower())
    if not re.fullmatch(rf"[a-z]+{_N}(\.{_N})?", name):
        raise BadInputError(
            f"{text!r} is not a distribution: write name and version, such as ubuntu24.04"
        )
    return name


def _python(text: str) -> str:
    match = re.fullmatch(rf"({_N}\.{_N})(?:\.{_N})*(t?)", text.strip())
    if not match:
        raise BadInputError(f"{text!r} is not a Python version: write one such as 3.12")
    return match[1] + match[2]


def _named(image: str) -> tuple[str, str]:
    """Repository and tag of an image, however it is named; an NGC release may stand alone.

    Raises:
        BadInputError: another image, or no tag.
    """
    text = image.strip().removeprefix("docker://")
    if _NGC_RELEASE.fullmatch(text):
        return "nvidia/pytorch", text
    match = _IMAGE.fullmatch(text)
    if not match:
        raise BadInputError(
            f"{image!r} is not an image in the table: give nvidia/cuda, pytorch/pytorch or"
            " nvcr.io/nvidia/pytorch, with a tag"
        )
    if match[2] is None:
        why = f"{image!r} has no tag: what is in the image follows from its tag"
        raise BadInputError(why) if match[1] == NO_LATEST else UnknownTagError(why)
    return match[1], match[2]


def from_image(
    image: str,
    service: str | None = None,
    cca: str = "auto",
    *,
    torch: str | None = None,
    wheel_cuda: str | None = None,
    python: str | None = None,
) -> Choice:
    """Read a choice from an image such as nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04.

    Args:
        image: of nvidia/cuda, pytorch/pytorch or nvcr.io/nvidia/pytorch, with its tag; a registry
            in front and a digest behind do not matter. An NGC release alone will do.
        service: train or devel for nvidia/cuda; if not given, train with PyTorch, devel without.
        cca: "auto", or compute capabilities to compile for.
        torch: PyTorch that is installed into an nvidia/cuda image, with or without "+cu128".
        wheel_cuda: CUDA line of its wheel; None = what plain PyPI carries.
        python: Python that is installed into an nvidia/cuda image.

    Raises:
        BadInputError: another image, a tag that is not of the image's form, or a PyTorch for an
            image that brings its own.
    """
    repository, tag = _named(image)
    if repository == "nvidia/cuda":
        parse_cca(cca)
        made = _in_cuda_image(tag, service, torch, wheel_cuda, python)
        return made._replace(tag=tag, cca=cca.strip(), compat="image", project=False)
    if torch or wheel_cuda:
        raise BadInputError(
            f"{image!r} brings its own PyTorch: give the image alone, or choose an nvidia/cuda"
            " image for another PyTorch"
        )
    if repository == "nvidia/pytorch":
        if not _NGC_RELEASE.fullmatch(tag):
            raise _bad_tag(tag, repository, "25.10-py3")
        made = choice(service="ngc", ngc_release=tag, cca=cca, python=python)
        return made._replace(compat="image", project=False)
    parts = _HUB_TAG.fullmatch(tag)
    if not parts:
        raise _bad_tag(tag, repository, "2.9.1-cuda12.8-cudnn9-runtime")
    made = choice(service="hub", torch=parts[1], cuda=parts[2], flavour=parts[3], cca=cca)
    return made._replace(tag=tag, compat="image", project=False)


def _bad_tag(tag: str, repository: str, example: str) -> BadInputError:
    kind = BadInputError if repository == NO_LATEST else UnknownTagError
    return kind(f"{tag!r} is not a tag of {repository}: tags look like {example}")


def _in_cuda_image(
    tag: str,
    service: str | None,
    torch: str | None,
    wheel_cuda: str | None,
    python: str | None,
) -> Choice:
    """An image of nvidia/cuda, with a PyTorch wheel in it where one is named."""
    parts = _CUDA_TAG.fullmatch(tag)
    if not parts:
        raise _bad_tag(tag, "nvidia/cuda", "12.8.1-cudnn-devel-ubuntu24.04")
    version, local = _torch(torch, load()) if torch and torch.lower() != "none" else (None, None)
    if local and wheel_cuda and cuda_line(local) != cuda_line(wheel_cuda):
        raise BadInputError(
            f"{torch!r} and CUDA {wheel_cuda} contradict each other: give one of the two"
        )
    release = load().torch.get(version or "")
    return choice(
        service=service or ("train" if version else "devel"),
        torch=version,
        cuda=parts[1],
        python=python,
        distro=parts[3],
        flavour=parts[2],
        wheel_cuda=wheel_cuda or local or (release.pypi_cuda if release else None),
    )


def spoken(items: list[str]) -> str:
    """Join for a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def wheel_reason(release: TorchRelease, line: str, arch: str = "x86_64") -> str:
    """Why a PyTorch release has no wheel for a CUDA line; empty if it has one."""
    has = release.has_wheel(line, arch)
    if has:
        return ""
    where = "" if arch == "x86_64" else f" for {arch}"
    if has is None:
        return f"it is not known whether PyTorch {release.version} has a CUDA {line} wheel{where}"
    there = [one for one in release.published if release.has_wheel(one, arch)]
    only = f", only {spoken(there)}" if there else ""
    return f"PyTorch {release.version} has no CUDA {line} wheel{where}{only}"


def arch_reason(release: TorchRelease, line: str, arch: str = "x86_64") -> str:
    """Why it cannot be said which GPUs a wheel runs on; empty if its compiled list is known."""
    variant = release.by_cuda(line)
    if variant and variant.arch[arch]:
        return ""
    return (
        f"it is not known which GPUs the CUDA {line} wheel of PyTorch {release.version} for {arch}"
        " has code for"
    )


def conda_arch_unknown(line: str) -> str:
    """What to say of conda-forge's builds of a CUDA line whose compiled list is not known."""
    return f"it is not known which GPUs conda-forge's CUDA {line} builds have code for"


def python_reason(release: TorchRelease, python: str) -> str:
    """Why a PyTorch release cannot be installed with a Python version; empty if it can."""
    if python in release.python:
        return ""
    if python in release.python_experimental:
        return f"PyTorch {release.version} has only experimental wheels for Python {python}"
    plain = [version for version in release.python if not version.endswith("t")]
    return (
        f"PyTorch {release.version} has no wheels for Python {python}, only for"
        f" {plain[0]} to {plain[-1]}"
    )


def nvcc_refuses(line: CudaLine, what: str, *, special: bool = False) -> str:
    """The sentence that a CUDA line's compiler cannot compile for `what`.

    Args:
        line: whose compiler's targets are known.
        what: a target or a GPU.
        special: whether `what` is a target of one architecture (a) or family (f).
    """
    possible = line.special if special else line.targets or []
    return (
        f"nvcc of CUDA {line.line} cannot compile for {what}; it can for"
        f" {' '.join(possible) or 'no such target'}"
    )


def nvcc_reason(line: CudaLine, target: Target) -> str:
    """Why the compiler of a CUDA line cannot compile for a target; empty if it can."""
    if line.targets is None:
        return f"it is not known what the compiler of CUDA {line.line} can target"
    name = str(target._replace(ptx=False))
    if name in (line.special if target.suffix else line.targets):
        return ""
    return nvcc_refuses(line, name, special=bool(target.suffix))


def cuda_tag(line: CudaLine, flavour: str, distro: str, *, cudnn: bool = True) -> str:
    """The nvidia/cuda tag of a line's newest patch with cuDNN.

    Raises:
        ValueError: no image of the line is known.
    """
    if line.image is None:
        raise ValueError(f"no nvidia/cuda image of CUDA {line.line} is known")
    word = f"{line.image.cudnn_word}-" if cudnn and flavour != "base" else ""
    return f"{line.image.patch}-{word}{flavour}-{distro}"


def hub_tag(release: TorchRelease, line: str, flavour: str) -> str:
    """The pytorch/pytorch tag of a release and CUDA line: cudnn8 up to 2.3, cudnn9 from 2.4 on."""
    cudnn = "9" if numbers(release.version) >= (2, 4) else "8"
    return f"{release.version}-cuda{line}-cudnn{cudnn}-{flavour}"


def default_cca(line: str, table: Table | None = None) -> str:
    """What `cca: auto` means where no GPU is seen: the list of the line's newest PyTorch wheel.

    A line without a wheel takes the list of the nearest older line of its major, else of the
    nearest newer one.
    """
    table = table or load()
    lists: dict[str, list[str]] = {}
    for release in table.torch.values():
        for variant in release.variants.values():
            known = variant.arch["x86_64"]
            if known:
                lists[variant.cuda] = known
    major = numbers(line)[0]
    same = sorted((cuda for cuda in lists if numbers(cuda)[0] == major), key=numbers)
    older = [cuda for cuda in same if numbers(cuda) <= numbers(line)]
    return " ".join(lists[(older or same[::-1])[-1]])
