"""The one list of what belongs to PyTorch's family, and of what the answers and Hearth decide.

Names are as PyPI spells them, normalised (PEP 503), unless a comment says conda's.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Names, PyPI's and conda's, whose versions an answer decides.
ANSWERS = {
    "python": "python_version",
    "pytorch": "torch_version",
    "pytorch-gpu": "torch_version",
    "pytorch-cpu": "torch_version",
    "torch": "torch_version",
    "pytorch-cuda": "cuda_version",
    "cudatoolkit": "cuda_version",
    "cuda-version": "cuda_version",
    "cpuonly": "accelerator",
    "pytorch-mutex": "accelerator",
}
# What the template installs itself, so that the entrypoint can install the project. A test compares
# it with environment.yml.jinja and pyproject.toml.jinja.
OWN = {"pip": ">=25.1", "setuptools": ">=77"}
# Published for one release of PyTorch each, so the solver finds the version.
# https://github.com/pytorch/vision#installation, https://github.com/pytorch/audio
WITH_TORCH = {"torchvision", "torchaudio"}


class Follower(NamedTuple):
    """A package whose version depends on PyTorch's.

    Attributes:
        exact: whether its metadata names one version of PyTorch: a pin of it decides PyTorch's.
        compiled: whether it is compiled against the PyTorch that is there.
        conda: its name on conda-forge, "" where that has no build for each PyTorch.
        kept_from: versions from here on name no exact PyTorch; "" for none.
        ended: why no version fits a PyTorch that Hearth offers.
    """

    exact: bool = False
    compiled: bool = False
    conda: str = ""
    kept_from: str = ""
    ended: str = ""


EXACT = Follower(exact=True)
COMPILED = Follower(compiled=True)
FOLLOWERS: dict[str, Follower] = {
    # METADATA on PyPI: Requires-Dist: torch==X
    "torchvision": Follower(exact=True, conda="torchvision"),
    "torchaudio": Follower(exact=True, conda="torchaudio"),
    "torch-tensorrt": EXACT,
    "vllm": EXACT,
    "xformers": Follower(exact=True, conda="xformers"),
    # 0.3 to 0.7.0 name one torch, 0.7.1 and later none (METADATA on PyPI).
    "torchdata": Follower(exact=True, conda="torchdata", kept_from="0.7.1"),
    # 0.18 is the last, and its library loads with PyTorch 2.3 only:
    # https://github.com/pytorch/text#warning-torchtext-development-is-stopped
    "torchtext": Follower(exact=True, ended="its last release, 0.18, is for PyTorch 2.3"),
    # One release of each for one of PyTorch: their READMEs have a table.
    "fbgemm-gpu": EXACT,  # https://docs.pytorch.org/FBGEMM
    "torchrec": EXACT,  # https://github.com/pytorch/torchrec
    "torchcodec": EXACT,  # https://github.com/pytorch/torchcodec#installing-torchcodec
    "intel-extension-for-pytorch": EXACT,  # https://github.com/intel/intel-extension-for-pytorch
    # part of PyTorch since 1.13: https://pytorch.org/functorch
    "functorch": Follower(exact=True, ended="PyTorch has it as torch.func"),
    # setup.py imports torch, or CMake looks for it: built after PyTorch, without build isolation.
    # https://docs.astral.sh/uv/concepts/projects/config/#build-isolation
    "flash-attn": Follower(compiled=True, conda="flash-attn"),
    "torch-scatter": Follower(compiled=True, conda="pytorch_scatter"),
    "torch-sparse": Follower(compiled=True, conda="pytorch_sparse"),
    "torch-cluster": Follower(compiled=True, conda="pytorch_cluster"),
    "torch-spline-conv": Follower(compiled=True, conda="pytorch_spline_conv"),
    "detectron2": Follower(compiled=True, conda="detectron2"),
    "pytorch3d": Follower(compiled=True, conda="pytorch3d"),
    "pyg-lib": COMPILED,
    "apex": COMPILED,  # https://github.com/NVIDIA/apex
    "causal-conv1d": COMPILED,  # https://github.com/Dao-AILab/causal-conv1d
    "mamba-ssm": COMPILED,  # https://github.com/state-spaces/mamba
    "mmcv": COMPILED,  # https://mmcv.readthedocs.io/en/latest/get_started/build.html
    "mmcv-full": COMPILED,
    "natten": COMPILED,  # https://natten.org/install
    "kaolin": COMPILED,
    "minkowskiengine": COMPILED,
    "torchsparse": COMPILED,
    "nvdiffrast": COMPILED,
    "tinycudann": COMPILED,
    "gsplat": COMPILED,
    "diff-gaussian-rasterization": COMPILED,
    "simple-knn": COMPILED,
    "dcnv2": COMPILED,
    "transformer-engine-torch": COMPILED,
    "grouped-gemm": COMPILED,
}
# Repositories that have another name than their package, as in git+https://github.com/OWNER/NAME.
REPOSITORIES = {
    "dao-ailab/flash-attention": "flash-attn",
    "hazyresearch/flash-attention": "flash-attn",
    "rusty1s/pytorch_scatter": "torch-scatter",
    "rusty1s/pytorch_sparse": "torch-sparse",
    "rusty1s/pytorch_cluster": "torch-cluster",
    "rusty1s/pytorch_spline_conv": "torch-spline-conv",
    "state-spaces/mamba": "mamba-ssm",
    "nvlabs/tiny-cuda-nn": "tinycudann",
    "mit-han-lab/torchsparse": "torchsparse",
    "pytorch/vision": "torchvision",
    "pytorch/audio": "torchaudio",
    "pytorch/text": "torchtext",
    "pytorch/data": "torchdata",
    "pytorch/pytorch": "torch",
    "openai/triton": "triton",
    "triton-lang/triton": "triton",
}
# What the METADATA of PyTorch's wheels for Linux requires (2.6.0 to 2.15.0): the CUDA libraries, by
# their names up to CUDA 12 and from 13 on, and Triton. nvidia-ml-py, nvidia-dali-*, nvidia-pyindex
# and the like are none of them, so they are the user's.
CUDA_LIBRARIES = (
    "cublas|cuda-cccl|cuda-cupti|cuda-nvcc|cuda-nvrtc|cuda-runtime|cudnn|cufft|cufile|curand|"
    "cusolver|cusparse|cusparselt|nccl|nvjitlink|nvshmem|nvtx"
)
WHEEL_PARTS = re.compile(
    rf"nvidia-(?:{CUDA_LIBRARIES})(?:-cu\d+)?|cuda-(?:bindings|pathfinder|toolkit)"
)
TRITON = re.compile(r"triton|pytorch-triton(?:-rocm|-xpu)?|triton-windows")
# What PyTorch requires of packages that people pin too, from a release on (METADATA on PyPI).
NEEDS: tuple[tuple[tuple[int, int], dict[str, str]], ...] = (
    ((2, 15), {"typing-extensions": ">=4.13.0", "setuptools": ">=77.0.3"}),
    ((2, 9), {"networkx": ">=2.5.1", "fsspec": ">=0.8.5"}),
    ((2, 7), {"sympy": ">=1.13.3"}),
    ((2, 6), {"sympy": "==1.13.1", "typing-extensions": ">=4.10.0"}),
)


def release(version: str) -> tuple[int, int]:
    """The first two numbers of a version: (2, 15) of 2.15.0."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    return (numbers[0], numbers[1] if len(numbers) > 1 else 0) if numbers else (0, 0)


def of_repository(address: str) -> str:
    """The package of a repository that has another name, "" where it has the same or is unknown."""
    match = re.search(r"github\.com[/:]([^/]+/[^/@#\s]+?)(?:\.git)?/?(?=[@#]|$)", address.lower())
    return REPOSITORIES.get(match[1], "") if match else ""


def torch_needs(name: str, torch: str) -> str:
    """What this PyTorch requires of another package, "" where it does not matter."""
    here = release(torch)
    for since, needs in NEEDS:
        if torch and name in needs and here >= since:
            return needs[name]
    return ""


def comes_with_torch(name: str) -> bool:
    """Whether PyTorch's wheel for CUDA installs it, in the version that fits."""
    return bool(WHEEL_PARTS.fullmatch(name) or TRITON.fullmatch(name))


def base_image_has(name: str) -> bool:
    """Whether a base image with its own PyTorch has it, in a version that nothing may replace."""
    return name in {"torch", *WITH_TORCH} or comes_with_torch(name)
