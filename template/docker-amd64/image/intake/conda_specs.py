"""One line of conda's: what becomes of it in a project with conda, or in one with pip."""

from __future__ import annotations

import re
from dataclasses import replace

from . import family, requirement
from .found import (
    CHANGED,
    CHANNEL,
    CONDA,
    LEFT_OUT,
    TAKEN,
    Verdict,
    Wanted,
    decided_by_answer,
    left_out,
    pinned,
    settled,
    unreadable,
)
from .names import (
    APT,
    BOOKKEEPING,
    COMPILERS,
    CONDA_ITSELF,
    LIBRARIES,
    OTHER_LANGUAGES,
    OTHER_PLATFORM,
    PYPI_NAMES,
    SPEC,
    is_python,
    name_of,
    pip_version,
    without_build,
)
from .text import without_secret

FORGE, NO_DEFAULTS = "conda-forge", "nodefaults"
# Channels that an environment of conda-forge does without, and why.
_CHARGES = "its owner charges for it"
_OLD_TORCH = "its packages are for the PyTorch of the channel pytorch"
NO_CHANNELS = {
    "defaults": _CHARGES,
    "main": _CHARGES,
    "r": _CHARGES,
    "anaconda": _CHARGES,
    "free": _CHARGES,
    "msys2": "it is for Windows",
    # https://github.com/pytorch/pytorch/issues/138506
    "pytorch": "PyTorch is no longer published there, conda-forge has it",
    "pytorch-nightly": "PyTorch is no longer published there, conda-forge has it",
    "pytorch-lts": "PyTorch is no longer published there, conda-forge has it",
    "pytorch-test": "PyTorch is no longer published there, conda-forge has it",
    "nvidia": "conda-forge has CUDA",
    "xformers": _OLD_TORCH,
    "pyg": _OLD_TORCH,
    "pytorch3d": _OLD_TORCH,
    "dglteam": _OLD_TORCH,
}
CHANNEL_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)*|(?:https?|file)://[^\s\"'#]+")
# CUDA's packages that have CUDA's versions, and its libraries, which have versions of their own.
CUDA = re.compile(r"cuda|cuda-.*|cudatoolkit-dev|cupti")
CUDA_LIBRARIES = re.compile(
    r"cudnn|nccl|cutensor|lib(cublas|cudnn|cufft|cufile|curand|cusolver|cusparse|cusparselt|npp|"
    r"nvfatbin|nvjitlink|nvjpeg|nvptxcompiler)(-dev|-static)?|nsight-.*"
)


def channel_verdict(given: str, wanted: Wanted) -> Verdict:
    """A channel, by its name where it has one."""
    url = r"https?://(?:conda\.anaconda\.org|repo\.anaconda\.com/pkgs)/(?!t/)"
    channel = re.sub(url, "", given.rstrip("/"))
    bare = without_secret(channel)
    owner = channel.partition("/label/")[0]
    if channel == NO_DEFAULTS:
        return settled()
    if channel in NO_CHANNELS or owner in NO_CHANNELS:
        why = NO_CHANNELS.get(channel) or NO_CHANNELS[owner]
        return Verdict(LEFT_OUT, f"left out of the channels, {why}")
    if not CHANNEL_NAME.fullmatch(bare):
        return Verdict(LEFT_OUT, "left out of the channels, as it is neither a name nor an address")
    if wanted.manager == "pip":
        return settled() if bare == FORGE else left_out("as pip has no channels")
    if bare != channel:
        secret, key = (
            ("token", "CONDA_AUTH_FILE") if "/t/" in channel else ("password", "NETRC_FILE")
        )
        reason = f"taken without its {secret}, which goes into the file of {key} in .env"
        return Verdict(CHANGED, reason, bare, CHANNEL)
    return Verdict(TAKEN, "", bare, CHANNEL)


def judge(item: str, wanted: Wanted, *, python: bool | None = None) -> Verdict:
    """What becomes of a line of conda's.

    Args:
        item: such as `channel::name>=1.0` or `name=1.0=build`.
        wanted: the answers; its manager decides whether the line becomes conda's or pip's.
        python: whether it is a package of Python's; None where nobody knows.
    """
    channel, _, bare = item.strip().rpartition("::")
    name = name_of(bare)
    if from_pypi := re.fullmatch(r"([\w.-]+)=+([^=\s]+)=(?:pypi_0|<pip>)", bare):
        return requirement.judge(f"{from_pypi[1]}=={from_pypi[2]}", wanted)
    # No name, version or build has an address in it, and an address may have a password.
    if not name or not item.isprintable() or "#" in item or "@" in item or "://" in bare:
        return unreadable("it names no conda package")
    rules = (of_conda, decided, of_cuda, own)
    for rule in rules:
        if verdict := rule(name, bare, wanted):
            return verdict
    if wanted.manager == "conda":
        return for_conda(name, channel, bare)
    verdict = for_pip(name, bare, wanted, python)
    elsewhere = channel and channel != FORGE and channel.partition("/label/")[0] not in NO_CHANNELS
    if elsewhere and verdict.outcome == TAKEN and verdict.becomes:
        return replace(verdict, outcome=CHANGED, reason="taken from PyPI, not from its channel")
    return verdict


def version_of(bare: str) -> str:
    """The version that a spec asks for, as pip writes it; "" for any, or if pip cannot say it."""
    match = SPEC.fullmatch(without_build(bare))
    return (pip_version(match[3] or "") or "") if match else ""


def of_conda(name: str, bare: str, wanted: Wanted) -> Verdict | None:
    """What is for another platform, or conda's own."""
    del bare, wanted
    if OTHER_PLATFORM.fullmatch(name):
        return left_out("as it is for another platform")
    if name in BOOKKEEPING:
        return settled()
    if CONDA_ITSELF.fullmatch(name) and name != "mamba":
        return left_out("conda itself is made of it")
    return None


def decided(name: str, bare: str, wanted: Wanted) -> Verdict | None:
    """Python, PyTorch and CUDA, which answers decide."""
    question = family.ANSWERS.get(name)
    if question is None:
        return None
    if question in {"torch_version", "python_version"} and wanted.base_has_torch:
        return left_out("the base image has its own")
    if question == "torch_version" and wanted.manager == "pip":
        version = version_of(bare)
        return requirement.judge(f"torch{version}", wanted)
    if question == "accelerator" and wanted.accelerator == "cpu":
        return settled()
    if question == "cuda_version" and not wanted.cuda and wanted.python:
        return left_out("this project is for the CPU")
    return decided_by_answer(question, version_of(bare), wanted)


def of_cuda(name: str, bare: str, wanted: Wanted) -> Verdict | None:
    """CUDA's own packages, of another CUDA than the answer's."""
    if not CUDA.fullmatch(name) and not CUDA_LIBRARIES.fullmatch(name):
        return None
    if wanted.manager == "pip" or wanted.base_has_torch:
        return left_out("PyTorch's wheel or the base image has CUDA")
    if wanted.python and wanted.accelerator == "cpu":
        return left_out("this project is for the CPU")
    if name == "cudatoolkit-dev":
        return left_out("its releases end with CUDA 11; conda-forge's cuda-nvcc has the compiler")
    version = pinned(version_of(bare))
    return pinned_cuda(name, version, wanted) if version else None


def pinned_cuda(name: str, version: str, wanted: Wanted) -> Verdict | None:
    """A version of a package of CUDA's."""
    if CUDA.fullmatch(name):
        here = wanted.cuda or version
        same = family.release(version) == family.release(here)
        return None if same else left_out(f"as it is of another CUDA than {here}")
    if wanted.torch:
        return left_out("PyTorch needs the one that fits its CUDA")
    return Verdict(CHANGED, "taken without its version, which follows CUDA's", name, CONDA)


def own(name: str, bare: str, wanted: Wanted) -> Verdict | None:
    """Pip and setuptools, which the template lists itself; matrices' library."""
    version = version_of(bare)
    if name in family.OWN:
        if not version or version.replace(" ", "") == family.OWN[name]:
            return settled()
        if requirement.clashes(version, family.OWN[name]):
            return left_out(
                f"as the entrypoint needs {name}{family.OWN[name]} to install your project"
            )
    needs = family.torch_needs(name, wanted.torch)
    if needs and requirement.forbids(version, needs) and wanted.manager == "conda":
        reason = f"taken without its version, as PyTorch needs {name}{needs}"
        return Verdict(CHANGED, reason, name, CONDA)
    return blas(bare) if name == "blas" and wanted.manager == "conda" else None


def blas(bare: str) -> Verdict:
    """A choice of the library for matrices: `defaults` has it as blas, conda-forge as libblas."""
    library = re.search(r"mkl|openblas|blis|netlib|accelerate", bare)
    if library is None:
        return left_out("conda-forge's packages choose their libblas")
    line = f"libblas=*=*{library[0]}"
    return Verdict(CHANGED, f"taken as {line}, as conda-forge names it", line, CONDA)


def for_conda(name: str, channel: str, bare: str) -> Verdict:
    """A package of conda's that stays conda's."""
    spec = without_build(bare)
    reason = "taken without its build, which belongs to one platform" if spec != bare else ""
    follower = family.FOLLOWERS.get(PYPI_NAMES.get(name, name), family.Follower())
    if follower.exact and spec != name:
        spec, reason = name, "taken without its version, which follows PyTorch's"
    owner = channel.partition("/label/")[0]
    if name.startswith("dgl-cuda"):  # of the channel dglteam
        spec, reason = "dgl", "taken as dgl, which is its name on conda-forge"
    elif channel in NO_CHANNELS or owner in NO_CHANNELS:
        reason = reason.replace("taken", "taken from conda-forge", 1) or "taken from conda-forge"
    elif channel and channel != FORGE:
        spec = f"{without_secret(channel)}::{spec}"
    return Verdict(CHANGED if reason else TAKEN, reason, " ".join(spec.split()), CONDA)


def no_python(name: str, build: str) -> Verdict | None:
    """The verdict on what is none of Python's by its name or build; None where neither tells."""
    apt = APT.get(name, "")
    if apt:
        where = f"as it is no Python package: apt has it, add {apt} to dependencies/apt-runtime.txt"
        return left_out(where, (apt,))
    if COMPILERS.fullmatch(name):
        return left_out("as builds and the dev image have compilers")
    if OTHER_LANGUAGES.fullmatch(name):
        return left_out("as it is no Python package: dependencies/apt-runtime.txt may have it")
    if LIBRARIES.fullmatch(name) or (build and not is_python(build)):
        return left_out("as wheels bring such libraries along, or apt has them")
    return None


def for_pip(name: str, bare: str, wanted: Wanted, python: bool | None) -> Verdict:
    """A package of conda's, from PyPI where it is Python's."""
    build = re.fullmatch(r"[^=\s]+(?:==?|\s+)[^=\s]+(?:=|\s+)([\w.+-]+)", bare)
    if not python:
        if why := no_python(name, build[1] if build else ""):
            return why
        if python is False:
            return left_out("as it is no Python package: dependencies/apt-runtime.txt may have it")
    known = PYPI_NAMES.get(name, name)
    match = SPEC.fullmatch(without_build(bare))
    version = pip_version(match[3] or "") if match else None
    exact = re.sub(r"^==([\w.!]+)\.\*$", r"==\1", version) if version and build else version
    verdict = requirement.judge(f"{known}{exact or ''}", wanted)
    if version is None and verdict.outcome == TAKEN:
        reason = "taken without its version, which pip cannot say"
        return replace(verdict, outcome=CHANGED, reason=reason)
    return verdict
