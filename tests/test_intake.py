"""What a project lists as packages: every line of every file is taken, changed or left out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

import conda_file
from intake import discovery, family, found, lists, names, requirement
from intake.discovery import discover
from intake.found import CHANGED, LEFT_OUT, TAKEN, Intake, Wanted
from intake.reader import read
from intake.text import decoded
from tests.conftest import ROOT, Generate

OFFERED = {
    "python_version": ("3.14", "3.13", "3.12", "3.11"),
    "torch_version": ("2.15.0", "2.13.0", "2.6.0"),
    "cuda_version": ("13.0", "12.9"),
}
PIP = Wanted("pip", "3.12", "2.15.0", offered=OFFERED)
PIP_CUDA = Wanted("pip", "3.12", "2.15.0", "13.0", "cuda", offered=OFFERED)
PIP_NO_TORCH = Wanted("pip", "3.12", offered=OFFERED)
BASE = Wanted("pip", "", "2.15.0", "13.0", "cuda", base_has_torch=True)
CONDA = Wanted("conda", "3.12", "2.13.0", offered=OFFERED)
CONDA_CUDA = Wanted("conda", "3.12", "2.13.0", "12.9", "cuda", offered=OFFERED)


def take(files: Mapping[str, str | bytes], wanted: Wanted) -> Intake:
    """What is taken of a folder with these files."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for path, content in files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(root, discover(root, ".", wanted.manager), wanted)


def requirements(text: str | bytes, wanted: Wanted = PIP) -> Intake:
    return take({"requirements.txt": text}, wanted)


def environment(text: str, wanted: Wanted = CONDA) -> Intake:
    return take({"environment.yml": text}, wanted)


def notes(taken: Intake) -> str:
    return "\n".join(taken.notes())


def of_one(line: str, wanted: Wanted = PIP) -> tuple[str, str, str]:
    """Outcome, result and reason of a requirements file's only line."""
    (entry,) = requirements(f"{line}\n", wanted).entries
    return entry.verdict.outcome, entry.verdict.becomes, entry.verdict.reason


# --- requirements files, as pip reads them --------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_of_any_encoding_is_read(encoding: str, end: str) -> None:
    text = f"# für die Arbeit{end}numpy==1.26.4{end}einops>=0.6{end}"
    taken = requirements(text.encode(encoding))
    assert taken.lines(found.PIP) == ["numpy==1.26.4", "einops>=0.6"]
    assert [entry.place.line for entry in taken.entries] == [2, 3]


def test_a_coding_comment_is_heeded() -> None:
    assert decoded("# -*- coding: cp1251 -*-\n# ж\n".encode("cp1251")).endswith("ж\n")
    assert decoded(b"# coding: no-such\nx\n") == "# coding: no-such\nx\n"


def test_continued_lines_comments_and_options_are_read_as_pip_reads_them() -> None:
    taken = requirements(
        "packaging \\\n    >=23.0\n"
        "rich==13.0 \\\n    --hash=sha256:01 \\\n    --hash=sha256:02\n"
        "einops==0.8.0 --no-binary einops\n"
        "foo[x, y] >= 1.0 , < 2 # why\n"
        "git+https://github.com/a/b.git#egg=bee # an address has a hash too\n"
        "tqdm \\\n# a comment ends it\n"
        "\n# only a comment \\\nyarl\n"
    )
    assert taken.lines(found.PIP) == [
        *("packaging >=23.0", "rich==13.0", "einops==0.8.0", "foo[x, y] >= 1.0 , < 2"),
        *("bee @ git+https://github.com/a/b.git", "tqdm", "yarl"),
    ]
    assert [entry.place.line for entry in taken.entries] == [1, 3, 6, 7, 8, 9, 13]
    assert "taken without its hashes" in notes(taken)
    assert "taken without --no-binary" in notes(taken)


def test_nested_files_are_read_once_from_where_they_are() -> None:
    taken = take(
        {
            "requirements.txt": "-r requirements/base.txt\n-r requirements/more.txt\n",
            "requirements/base.txt": "-r ../requirements.txt\neinops\n",
            "requirements/more.txt": "--requirement=base.txt\nftfy\n-r no.txt\n-r ../../up.txt\n",
        },
        PIP,
    )
    assert taken.lines(found.PIP) == ["einops", "ftfy"]
    assert "-r no.txt: left out, as there is no such file." in taken.notes()
    assert "-r ../../up.txt: left out, as only files of the project are read." in taken.notes()


def test_a_link_does_not_lead_out_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("hunter2\n")
    code = tmp_path / "code"
    code.mkdir()
    (code / "requirements.txt").write_text("-r link.txt\n")
    (code / "link.txt").symlink_to(tmp_path / "secret.txt")
    taken = read(code, discover(code)[:1], PIP)
    assert "hunter2" not in json.dumps(taken.as_dict())


def test_constraints_limit_what_is_taken_and_what_that_needs() -> None:
    files = {
        "requirements.txt": "-c limits.txt\nnumpy>=1.20\nscipy[all]\n",
        "limits.txt": "numpy<2\nscipy==1.11\npillow<10\ntorch==2.0\n",
    }
    taken = take(files, PIP)
    assert taken.lines(found.PIP) == ["numpy>=1.20,<2", "scipy[all]==1.11"]
    assert taken.lines(found.CONSTRAINT) == ["pillow<10"]
    conda = take(files, CONDA)
    assert conda.lines(found.PIP) == ["numpy>=1.20,<2", "scipy[all]==1.11"]
    assert "pillow<10: left out, as it limits a package" in notes(conda)


AS_WRITTEN = [
    "numpy",
    "numpy==1.26.4",
    "foo[bar]>=1,<2",
    "foo ~= 1.4.2",
    "foo===1.0",
    "foo!=1.*",
    "einops>=0.8 ; python_version < '4'",
    "old-crow==1.0; python_version < '3'",
    "foo (>=1.0)",
    "nvidia-ml-py==12.560",
    "nvidia-dali-cuda120",
    "nvidia-pyindex",
    "nvidia-cudnn-frontend",
    "sympy==1.14",
    "setuptools<90",
    "foo @ https://host/foo-1.0-py3-none-any.whl",
    "foo @ git+https://github.com/a/foo@v1#subdirectory=x",
    "git+https://github.com/a/b.git@main",
    "https://github.com/a/b/archive/main.zip",
]
BECOMES = {
    # what is written otherwise than pip has it
    "numpy>=1.20.*": "numpy>=1.20",
    "opencv-python==4.1.x": "opencv-python",
    "numpy=1.26": "numpy==1.26.*",
    "numpy=1.26.4=py312heeff2f4_0": "numpy==1.26.4",
    "numpy   1.26.4": "numpy==1.26.4",
    "https://repo.anaconda.com/pkgs/main/linux-64/numpy-1.26.4-py312_0.conda": "numpy==1.26.4",
    "foo>=1 bar": "foo",
    "sklearn": "scikit-learn",
    "skimage==0.0": "scikit-image",
    "tensorflow-gpu==2.4": "tensorflow",
    # addresses
    "-e git+https://github.com/a/b.git@v1#egg=bee": "bee @ git+https://github.com/a/b.git@v1",
    "git+https://h/g.git#egg=gee[x]&subdirectory=py": "gee[x] @ git+https://h/g.git#subdirectory=py",
    "git+ssh://git@github.com/a/b.git@v1#egg=bee": "bee @ git+https://github.com/a/b.git@v1",
    "foo @ git+ssh://git@h.x:2222/a/b.git": "foo @ git+https://h.x/a/b.git",
    "git+git@github.com:a/b.git": "git+https://github.com/a/b.git",
    "git+https://me:hunter2@github.com/a/b.git": "git+https://github.com/a/b.git",
    "git+https://${TOKEN}@github.com/a/b.git": "git+https://github.com/a/b.git",
    "https://host/foo-1.0-py3-none-any.whl": "foo @ https://host/foo-1.0-py3-none-any.whl",
    "numpy @ file:///b/work/dist/numpy-1.26.4-cp311-cp311-linux_x86_64.whl": "numpy==1.26.4",
    "git+https://github.com/Dao-AILab/flash-attention.git@5b838a8": (
        "git+https://github.com/Dao-AILab/flash-attention.git@5b838a8"
    ),
    "sklearn==0.0.post4": "scikit-learn",
    "rich=13.0=pypi_0": "rich==13.0",
    "certifi @ file:///croot/certifi_1690232220950/work/certifi": "certifi",
    # what follows PyTorch
    "torchaudio == 0.11.0+cu113": "torchaudio",
    "torchvision>=0.10": "torchvision",
    "xformers==0.0.20": "xformers",
    "torchdata==0.6.1": "torchdata",
    "https://download.pytorch.org/whl/torchvision-0.11.1%2Bcu113-cp39-cp39-linux_x86_64.whl": (
        "torchvision"
    ),
    "https://h/flash_attn-2.5.8+cu122torch2.3cxx11abiFALSE-cp310-cp310-linux_x86_64.whl": (
        "flash-attn"
    ),
    "torch-scatter==2.0.9+pt110cu113": "torch-scatter==2.0.9",
    "sympy==1.12": "sympy",
    "typing_extensions==4.8.0": "typing_extensions",
}
LEFT = {
    "torch==2.1.0": "an answer decides it: torch_version is 2.15.0, and 2.1.0 is not offered",
    "torch==2.13": "an answer decides it (template.sh update --data torch_version=2.13.0)",
    "torch == 1.11.0+cu113": "an answer decides it: torch_version is 2.15.0, and 1.11.0 is not",
    "python==3.8": "an answer decides it: python_version is 3.12, and 3.8 is not offered",
    "python>=3.13": "an answer decides it (template.sh update --data python_version=3.14)",
    "torchtext==0.17": "its last release, 0.18, is for PyTorch 2.3",
    "triton==2.0.0": "only PyTorch for CUDA needs it",
    "nvidia-cublas-cu12==12.1.3.1": "only PyTorch for CUDA needs it",
    "nvidia-cuda-runtime": "only PyTorch for CUDA needs it",
    "cudatoolkit==11.3": "it is a package of conda, and an answer decides it",
    "pip==20.3": "as the entrypoint needs pip>=25.1 to install your project",
    "setuptools==59.5.0": "as the entrypoint needs setuptools>=77 to install your project",
    "setuptools<60": "as the entrypoint needs setuptools>=77 to install your project",
    "pywin32==306": "as it is for another platform",
    "foo ; sys_platform == 'win32'": "as its marker never holds in the images",
    "foo ; platform_machine == 'arm64' and python_version > '3'": "as its marker never holds",
    "https://h/foo-1.0-cp312-cp312-win_amd64.whl": "as it is a wheel for Windows",
    "https://h/foo-1.0-cp312-cp312-macosx_11_0_arm64.whl": "as it is a wheel for macOS",
    "foo @ https://h/foo-1.0-cp39-cp39-manylinux2014_x86_64.whl": "as it is a wheel for cp39, and",
    "-e .": "as it is the project itself",
    ".[train]": "as it is the project itself",
    "submodules/diff-gaussian-rasterization": "as a build does not see the files of the code",
    "openfold @ file:///data/home/me/openfold": "as it is a path of one machine",
    "curl=7.38.0=0": "as it is no Python package: apt has it, add curl to",
    "-e ./libs/mine": "as a build does not see the files of the code folder: PYTHONPATH",
    "-e libs/mine": "as a build does not see the files of the code folder: PYTHONPATH",
    "wheels/mylib-1.0-py3-none-any.whl": "as a build does not see the files of the code folder",
    "./wheels/mylib-1.0-cp312-cp312-win_amd64.whl": "as it is a wheel for Windows",
    "C:\\wheels\\foo-1.0-py3-none-any.whl": "as it is a path of one machine",
    "file:///home/me/foo": "as it is a path of one machine",
    "hg+https://h/foo": "as uv installs from git only",
    "foo @ https://host/${VERSION}/foo.zip": "as its address has an environment variable",
    "dataclasses==0.8": "Python has it itself",
    "pathlib": "Python has it itself",
    "conda-package-handling @ file:///croot/x/work": "conda itself is made of it",
    "ffmpeg=4.3=hf484d3e_0": "as it is no Python package: apt has it, add ffmpeg to",
    "libgcc-ng=11.2.0=h1234567_1": "as wheels bring such libraries along",
    "_libgcc_mutex=0.1=main ; nonsense": "as it cannot be read",
    "https://repo.anaconda.com/pkgs/main/win-64/vc-14-h0_0.conda": "as it is for another platform",
    "%%%": "as it cannot be read: it is no requirement",
    "foo ; nonsense": "as it cannot be read: its marker is none",
    "-r https://host/requirements.txt": "as only files of the project are read",
    "--pre": "as a pre-release is taken only where a line asks for one",
    "--no-deps": "as it is an option of pip",
    "--trusted-host pypi.org": "as certificates are always checked",
    "--index-url https://mirror.x/simple": "as the index is a setting of each machine",
    "--extra-index-url https://download.pytorch.org/whl/cu113": "as the answers decide the index",
    "-f https://data.pyg.org/whl/torch-1.11.0+cu113.html": "as its wheels are for another PyTorch",
    "--find-links ./wheels": "as it is a path of one machine",
    '-r "unclosed': "as there is no such file",
}


@pytest.mark.parametrize("line", AS_WRITTEN)
def test_a_line_that_pip_and_pytorch_can_do_with_is_taken_as_it_is(line: str) -> None:
    outcome, becomes, reason = of_one(line)
    assert (outcome, becomes, reason) == (TAKEN, line, "")


@pytest.mark.parametrize("line", ["torch", "torch>=2.0", "pip", "setuptools", "python>=3.8"])
def test_what_the_answers_fulfil_is_taken_without_a_word(line: str) -> None:
    taken = requirements(f"{line}\neinops\n")
    assert taken.lines(found.PIP)[-1] == "einops"
    assert taken.notes() == []


@pytest.mark.parametrize("wanted", [PIP, CONDA], ids=["pip", "conda"])
@pytest.mark.parametrize(
    "line",
    [
        "numpy=1.0git+https://me:hunter2@host.x/b",
        "numpy=1.0=https://me:hunter2@host.x/b",
        "numpy 1.0 https://me:hunter2@host.x/b",
    ],
)
def test_an_address_in_a_line_of_conda_takes_no_password_along(line: str, wanted: Wanted) -> None:
    assert "hunter2" not in json.dumps(requirements(line, wanted).as_dict())


@pytest.mark.parametrize(("line", "becomes"), BECOMES.items())
def test_a_line_is_taken_otherwise_than_it_is_written(line: str, becomes: str) -> None:
    outcome, result, reason = of_one(line)
    assert result == becomes
    assert outcome == (CHANGED if reason else TAKEN)
    assert "hunter2" not in str(requirements(line).as_dict())


@pytest.mark.parametrize(("line", "why"), LEFT.items())
def test_a_line_is_left_out_with_its_reason(line: str, why: str) -> None:
    outcome, becomes, reason = of_one(line)
    assert (outcome, becomes) == (LEFT_OUT, "")
    assert reason.startswith(f"left out, {why}")


@pytest.mark.parametrize("line", ["git+https://[x]/a", "https://[x]/a.whl", "a @ https://h]/b[c"])
def test_brackets_in_the_place_of_a_host_stop_nothing(line: str) -> None:
    assert "rich" in requirements(f"{line}\nrich\n").lines(found.PIP)


def test_what_means_nothing_is_named_with_its_line() -> None:
    taken = requirements("einops\n\n%%%\n")
    assert taken.notes() == [
        "%%% (requirements.txt:3): left out, as it cannot be read: it is no requirement."
    ]
    assert taken.lines(found.PIP) == ["einops"]


def test_further_indexes_are_facts_and_without_passwords() -> None:
    taken = requirements(
        "foo==1.0+mine\n--extra-index-url https://me:hunter2@host.x/simple\n"
        "-f https://links.x/page.html\n--index-url https://pypi.org/simple\n"
    )
    assert taken.lines(found.INDEX) == ["https://host.x/simple"]
    assert taken.lines(found.FIND_LINKS) == ["https://links.x/page.html"]
    assert taken.lines(found.PIP) == ["foo==1.0+mine"]  # one of them may have it
    assert "NETRC_FILE" in notes(taken)
    assert "hunter2" not in json.dumps(taken.as_dict())


def test_what_is_compiled_against_pytorch_is_named() -> None:
    lines = "torch-scatter\nflash-attn==2.5.8\neinops\ngit+https://github.com/f/detectron2.git\n"
    taken = requirements(lines)
    assert taken.compiled == [
        *("torch-scatter", "flash-attn==2.5.8", "git+https://github.com/f/detectron2.git"),
    ]
    assert list(taken.as_dict()["extra_build_dependencies"]) == [
        *("torch-scatter", "flash-attn", "detectron2"),
    ]
    conda = requirements(lines, CONDA)
    assert conda.lines(found.CONDA) == ["pytorch_scatter", "flash-attn", "detectron2"]
    assert conda.lines(found.PIP) == ["einops"]


def test_without_pytorch_its_family_is_anybodys() -> None:
    lines = ["torch==2.1.0", "torchvision==0.16", "triton==2.1", "nvidia-cublas-cu12==12.1"]
    assert requirements("\n".join(lines), PIP_NO_TORCH).lines(found.PIP) == lines


def test_a_base_image_keeps_its_pytorch() -> None:
    taken = requirements(
        "torch==2.1\ntorchvision\ntriton\nnvidia-nvtx\npython==3.8\neinops\n", BASE
    )
    assert taken.lines(found.PIP) == ["einops"]
    assert notes(taken).endswith("left out, the base image has its own.")


def test_one_package_is_listed_once() -> None:
    taken = requirements(
        "numpy>=1.20\nnumpy<2\nNumPy>=1.20\nscipy==1.11\nscipy==1.12\n"
        "foo<2 ; python_version < '3.9'\nfoo>=2 ; python_version >= '3.9'\n"
    )
    assert taken.lines(found.PIP) == [
        *("numpy>=1.20,<2", "scipy==1.11", "foo>=2 ; python_version >= '3.9'"),
    ]
    assert "scipy==1.12: left out, as requirements.txt:4 asks for scipy==1.11." in taken.notes()
    assert "foo<2 ; python_version < '3.9': left out, as another line" in notes(taken)


# --- conda's environment files --------------------------------------------------------------------


def test_a_choice_of_a_version_or_library_never_goes_unsaid() -> None:
    taken = environment(
        "dependencies:\n  - _openmp_mutex=5.1=1_gnu\n  - pip\n  - pip=24.0=py38_0\n"
        "  - pip>=25.1\n  - setuptools=59\n  - setuptools<90\n  - blas=1.0=mkl\n  - blas\n"
    )
    assert taken.lines(found.CONDA) == ["setuptools<90", "libblas=*=*mkl"]
    assert taken.notes() == [
        "pip=24.0=py38_0: left out, as the entrypoint needs pip>=25.1 to install your project.",
        "setuptools=59: left out, as the entrypoint needs setuptools>=77 to install your project.",
        "blas=1.0=mkl: taken as libblas=*=*mkl, as conda-forge names it.",
        "blas: left out, conda-forge's packages choose their libblas.",
    ]


EXPORT = """\
name: old
channels: [pytorch, bioconda, xformers, defaults, nvidia/label/cuda-11.8.0]
dependencies:
  - _libgcc_mutex=0.1=main
  - python=3.11.4=h12debd9_0
  - vc=14.2=h21ff451_1
  - numpy=1.26.4=py310heeff2f4_0
  - pytorch=2.0.1=py3.10_cuda11.8_cudnn8.7.0_0
  - pytorch-cuda=11.8=h7e8668a_5
  - cudatoolkit-dev=11.6
  - cudnn=8.2.1=cuda11.3_0
  - nvidia::cuda-nvcc=11.8
  - cuda-nvcc
  - torchvision=0.15.2=py310_cu118
  - libblas=*=*mkl
  - bioconda::samtools
  - a: b
  - pip:
    - -e .
    - rich==13.0
    - git+https://github.com/a/b.git@main
    - torch==2.0.1+cu118
    - nvidia-cublas-cu11==11.1
prefix: C:\\conda
variables: {A: 1}
"""


def test_an_export_of_another_platform_is_taken_in_and_what_changed_is_named() -> None:
    taken = environment(EXPORT, CONDA_CUDA)
    assert taken.lines(found.CONDA) == [
        *("numpy=1.26.4", "cuda-nvcc", "torchvision", "libblas=*=*mkl", "bioconda::samtools"),
    ]
    assert taken.lines(found.PIP) == ["rich==13.0", "git+https://github.com/a/b.git@main"]
    assert taken.lines(found.CHANNEL) == ["bioconda"]
    for said in (
        "defaults: left out of the channels, its owner charges for it.",
        "nvidia/label/cuda-11.8.0: left out of the channels, conda-forge has CUDA.",
        (
            "python=3.11.4=h12debd9_0: left out, an answer decides it "
            "(template.sh update --data python_version=3.11)"
        ),
        "vc=14.2=h21ff451_1: left out, as it is for another platform.",
        "numpy=1.26.4=py310heeff2f4_0: taken without its build",
        "cudatoolkit-dev=11.6: left out, its releases end with CUDA 11",
        "cudnn=8.2.1=cuda11.3_0: left out, PyTorch needs the one that fits its CUDA",
        "nvidia::cuda-nvcc=11.8: left out, as it is of another CUDA than 12.9",
        "torchvision=0.15.2=py310_cu118: taken without its version",
        "a (environment.yml:17): left out, as it cannot be read",
        "torch==2.0.1+cu118: left out, an answer decides it",
        "-e .: left out",
        "nvidia-cublas-cu11==11.1: left out, conda's PyTorch brings its own.",
        "prefix: left out, it is a folder of one machine.",
        "variables: left out, export them in dependencies/pre-run.sh",
    ):
        assert said in notes(taken)


def test_a_value_that_the_template_does_not_have_is_not_advised() -> None:
    taken = environment(
        "dependencies: [python=3.7.13, pytorch=1.12.1, cudatoolkit=11.6]\n", CONDA_CUDA
    )
    assert "--data" not in notes(taken)
    assert "python_version is 3.12, and 3.7.13 is not offered" in notes(taken)
    unknown = environment("dependencies: [python=3.7.13]\n", Wanted("conda"))
    assert "--data python_version=3.7)" in notes(unknown)


def test_a_token_is_neither_taken_nor_shown() -> None:
    text = (
        "channels:\n  - https://conda.anaconda.org/t/ab-12cd/mine\n  - https://me:hunter2@host.x/ch\n"
        "dependencies:\n  - pip:\n    - git+https://tok123@github.com/a/b.git\n"
        "    - --index-url https://me:hunter2@host/simple\n"
    )
    taken = environment(text)
    assert taken.lines(found.CHANNEL) == ["https://conda.anaconda.org/mine", "https://host.x/ch"]
    assert taken.lines(found.PIP) == ["git+https://github.com/a/b.git"]
    assert "CONDA_AUTH_FILE" in notes(taken)
    assert "NETRC_FILE" in notes(taken)
    for secret in ("ab-12cd", "hunter2", "tok123"):
        assert secret not in json.dumps(taken.as_dict())


def test_many_lines_of_a_kind_are_one_note() -> None:
    lines = "".join(f"  - lib{number}=1.0=h{number}_0\n" for number in range(300))
    taken = environment(f"dependencies:\n{lines}")
    assert len(taken.lines(found.CONDA)) == 300
    assert len(taken.notes()) == 2
    assert "and 294 more" in taken.notes()[0]
    assert "keep the lines of what you import" in taken.notes()[1]


def test_a_pip_part_that_names_a_requirements_file_has_what_that_lists() -> None:
    taken = take(
        {
            "environment.yml": "dependencies:\n  - pip:\n    - -r requirements.txt\n    - einops\n",
            "requirements.txt": "rich\n-e .\n",
        },
        CONDA,
    )
    assert taken.lines(found.PIP) == ["rich", "einops"]
    assert [str(entry.place) for entry in taken.entries] == [
        *("environment.yml:3", "requirements.txt:1", "requirements.txt:2", "environment.yml:4"),
    ]


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "name: x\n", "just text\n", "- a\n", "a: [\n", "\t"]
)
def test_a_file_that_is_no_environment_stops_itself_and_not_the_rest(text: str) -> None:
    taken = take({"environment.yml": text, "requirements.txt": "rich\n"}, CONDA)
    assert "\n" not in taken.broken["environment.yml"]
    assert taken.lines(found.PIP) == ["rich"]


def test_what_a_broken_file_names_is_still_read() -> None:
    files = {
        "environment.yml": "dependencies:\n  - pip:\n    - -r requirements.txt\nchannels: x\n",
        "requirements.txt": "rich\n",
    }
    broken = take({**files, "environment.yml": files["environment.yml"] + "  - ]\n"}, CONDA)
    assert (set(broken.broken), broken.lines(found.PIP)) == ({"environment.yml"}, ["rich"])
    late = take(files, CONDA)  # found out when its pip part is read already, or before
    assert (set(late.broken), late.lines(found.PIP)) == ({"environment.yml"}, ["rich"])


def test_an_item_without_a_name_stops_itself() -> None:
    taken = environment("dependencies:\n  -\n  - numpy\n  - pip:\n    -\n    - rich\n")
    assert (taken.lines(found.CONDA), taken.lines(found.PIP)) == (["numpy"], ["rich"])
    assert [e.place.line for e in taken.with_outcome(LEFT_OUT)] == [2, 5]


def test_a_project_with_pip_takes_an_environment_by_pypis_names() -> None:
    taken = environment(
        "channels: [conda-forge, bioconda]\ndependencies:\n  - python=3.12\n  - pytorch>=2\n"
        "  - opencv=4.9\n  - numpy=1.26.4=py312h0_0\n  - scikit-learn>=1.0\n  - ffmpeg\n"
        "  - libgcc-ng\n  - gcc_linux-64\n  - cudatoolkit=11.3\n  - cudnn\n  - librosa\n  - pip:\n"
        "    - einops\n",
        PIP,
    )
    assert taken.lines(found.PIP) == [
        *(
            "opencv-python-headless==4.9.*",
            "numpy==1.26.4",
            "scikit-learn>=1.0",
            "librosa",
            "einops",
        ),
    ]
    assert taken.apt == ["ffmpeg"]
    assert "bioconda: left out, as pip has no channels." in taken.notes()


# --- pixi and Pipfile -----------------------------------------------------------------------------

PIXI = """\
[workspace]
name = "x"
channels = ["conda-forge", "bioconda"]
platforms = ["linux-64", "win-64"]

[dependencies]
python = "3.12.*"
einops = "*"
scipy = { version = ">=1.10,<2", channel = "bioconda" }
mine = { path = "../mine" }

[pypi-dependencies]
evo = "*"
rich = { version = ">=13", extras = ["jupyter"] }
own = { path = ".", editable = true }
tool = { git = "https://github.com/a/tool.git", rev = "v1" }

[target.win-64.dependencies]
vs2019_win-64 = "*"

[target.linux-64.dependencies]
numpy = "1.26"

[feature.test.dependencies]
mypy = "*"

[feature.cuda.dependencies]
cupy = "*"

[pypi-options]
extra-index-urls = ["https://download.pytorch.org/whl/cu121"]

[tasks]
start = "python main.py"
"""


def test_a_manifest_of_pixi_is_read() -> None:
    taken = take({"pixi.toml": PIXI}, CONDA)
    assert taken.lines(found.CONDA) == ["einops", "bioconda::scipy>=1.10,<2", "numpy=1.26"]
    assert taken.lines(found.CONDA, found.DEV) == ["mypy"]
    assert taken.lines(found.PIP) == [
        *("evo", "rich[jupyter]>=13", "tool @ git+https://github.com/a/tool.git@v1"),
    ]
    places = {entry.text.split("=")[0]: entry.place.line for entry in taken.entries}
    assert (places["einops"], places["evo"], places["numpy"]) == (8, 13, 22)
    for said in (
        "mine: left out, as it is a path or a repository",
        "https://download.pytorch.org/whl/cu121: left out, as the answers decide the index",
        "vs2019_win-64 = *: left out, as it is for another platform",
        "cupy = *: left out, as the feature cuda is not in pixi's default environment",
        "-e .: left out, as it is the project itself",
    ):
        assert said in notes(taken)


def test_pixi_in_pyproject_is_read_from_there() -> None:
    text = "".join(
        line.replace("[", "[tool.pixi.", 1) if line.startswith("[") else line
        for line in PIXI.splitlines(keepends=True)
    )
    taken = take({"pyproject.toml": text}, PIP)
    assert "einops" in taken.lines(found.PIP)
    assert "numpy==1.26.*" in taken.lines(found.PIP)
    assert {str(e.place) for e in taken.entries} >= {"pyproject.toml:8", "pyproject.toml:22"}


def test_a_pipfile_is_read() -> None:
    taken = take(
        {
            "Pipfile": '[[source]]\nurl = "https://pypi.org/simple"\nverify_ssl = true\n'
            '[[source]]\nurl = "https://host.x/simple"\nname = "x"\n'
            '[packages]\nrequests = "*"\ntorch = "==2.1"\n'
            'flask = {version = ">=2", extras = ["async"], markers = "python_version > \'3\'"}\n'
            'win = {version = "*", sys_platform = "== \'win32\'"}\n'
            'lib = {git = "https://github.com/a/lib", ref = "main"}\n'
            'here = {path = ".", editable = true}\n'
            '[dev-packages]\nmypy = "1.0"\n[docs]\nsphinx = "*"\n'
            '[requires]\npython_version = "3.8"\n',
        },
        PIP,
    )
    assert taken.lines(found.PIP) == [
        *("requests", "flask[async]>=2 ; python_version > '3'"),
        "lib @ git+https://github.com/a/lib@main",
    ]
    assert taken.lines(found.PIP, found.DEV) == ["mypy==1.0"]
    assert taken.lines(found.INDEX) == ["https://host.x/simple"]
    for said in (
        "torch==2.1: left out",
        "python==3.8: left out",
        "[docs] is neither",
        "never holds",
    ):
        assert said in notes(taken)


@pytest.mark.parametrize("name", ["pixi.toml", "Pipfile"])
@pytest.mark.parametrize("text", ["a = [", "\x00", "[[[", "packages = 1\ndependencies = 2\n", ""])
def test_a_broken_file_of_toml_is_one_sentence(name: str, text: str) -> None:
    taken = take({name: text}, CONDA)
    assert all("\n" not in why for why in taken.broken.values())
    assert taken.lines(found.CONDA) == []


# --- which files ----------------------------------------------------------------------------------


def files_of(tmp_path: Path, names: str, manager: str = "pip") -> dict[str, str]:
    """The files that are found, with what is done with them."""
    for name in names.split():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("dependencies: [x]\n" if name.endswith(("yml", "yaml")) else "")
    return {
        file.path: (file.group if file.taken else "named")
        for file in discover(tmp_path, ".", manager)
    }


@pytest.mark.parametrize(
    ("names", "manager", "taken"),
    [
        ("requirements.txt", "pip", "requirements.txt"),
        ("requirements/pt2.txt", "pip", "requirements/pt2.txt"),
        ("requirements/pt2.txt requirements/pt13.txt", "pip", ""),
        ("requirements/base.txt requirements/gpu.txt", "pip", "requirements/base.txt"),
        ("requirements_gpu.txt", "pip", "requirements_gpu.txt"),
        ("requirements.txt requirements-gpu.txt", "pip", "requirements.txt"),
        ("requirements.txt requirements-docs.txt", "pip", "requirements.txt"),
        ("environment.yml requirements.txt", "pip", "requirements.txt"),
        ("environment.yml requirements.txt", "conda", "environment.yml requirements.txt"),
        ("environment.yml", "pip", "environment.yml"),
        ("env.yml", "conda", "env.yml"),
        ("requirements.in", "pip", "requirements.in"),
        ("requirements.in requirements.txt", "pip", "requirements.txt"),
        ("conda.yaml", "conda", "conda.yaml"),
        ("my_env.yml", "conda", "my_env.yml"),
        ("environment_gpu.yml environment-mac.yml", "conda", "environment_gpu.yml"),
        ("pixi.toml environment.yml", "conda", "environment.yml"),
        ("pixi.toml", "pip", "pixi.toml"),
        ("Pipfile", "conda", "Pipfile"),
        ("sub/requirements.txt", "pip", ""),
        ("uv.lock poetry.lock conda-lock.yml", "pip", ""),
    ],
)
def test_the_main_file_is_taken_and_all_are_named(
    tmp_path: Path, names: str, manager: str, taken: str
) -> None:
    files = files_of(tmp_path, names, manager)
    assert set(files) == set(names.split())
    assert {name for name, what in files.items() if what == found.MAIN} == set(taken.split())


@pytest.mark.parametrize(
    "name",
    [
        *("requirements-dev.txt", "dev-requirements.txt", "requirements_test.txt", "dev-env.yml"),
        *("requirements/dev.txt", "requirements/testing.txt", "environment-dev.yml"),
    ],
)
def test_lists_for_development_are_of_the_group_dev(tmp_path: Path, name: str) -> None:
    assert files_of(tmp_path, name, "conda")[name] == found.DEV


def test_data_environments_and_programs_of_others_are_not_looked_into(tmp_path: Path) -> None:
    (tmp_path / "my").mkdir()
    (tmp_path / "my/pyvenv.cfg").touch()
    names = (
        "data/requirements.txt .tox/requirements.txt node_modules/requirements.txt "
        "workspaces/jane/requirements.txt "
        "my/requirements.txt docker-amd64/dependencies/environment.yml a/b/c/d/requirements.txt "
        "conf/env.yaml"
    )
    assert files_of(tmp_path, names).keys() <= {"conf/env.yaml"}
    (tmp_path / "conf/env.yaml").write_text("lr: 1\n")
    assert discover(tmp_path) == []


def test_an_environment_of_any_name_is_found_by_its_channels(tmp_path: Path) -> None:
    for name in ("ldm.yml", "env/SE3nv.yml", "conf/model.yml", "mkdocs.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("dependencies: [x]\n")
    assert discover(tmp_path, ".", "conda") == []
    for file in tmp_path.rglob("*.yml"):
        file.write_text("channels: [conda-forge]\ndependencies: [x]\n")
    (tmp_path / "mkdocs.yml").write_text("docs_dir: x\n")
    files = {file.path: file.taken for file in discover(tmp_path, ".", "conda")}
    assert files == {"ldm.yml": True, "env/SE3nv.yml": False}


def test_metadata_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    (tmp_path / "setup.py").write_text("from setuptools import setup\nsetup()\n")
    (tmp_path / "setup.cfg").write_text("[flake8]\n")
    files = discover(tmp_path)
    assert [(f.path, f.kind, f.taken) for f in files] == [
        *(("pyproject.toml", "metadata", False), ("setup.py", "metadata", False)),
    ]


@pytest.mark.parametrize(
    ("root", "named"),
    [
        ("", ["a/pyproject.toml", "b/c/setup.py"]),
        ("[tool.ruff]\n", ["a/pyproject.toml", "b/c/setup.py"]),
        ('[project]\nname = "x"\n', []),
        ('[tool.uv.workspace]\nmembers = ["*"]\n', []),
    ],
)
def test_projects_below_are_named_where_the_code_folder_is_none(
    tmp_path: Path, root: str, named: list[str]
) -> None:
    for name in ("a/pyproject.toml", "a/setup.py", "b/c/setup.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("setup()\n" if name[-1] == "y" else "[project]\n")
    (tmp_path / "pyproject.toml").write_text(root)
    assert [file.path for file in discover(tmp_path) if file.reason] == named


def test_what_conda_and_pip_agree_on_is_taken_once() -> None:
    taken = take(
        {
            "environment.yml": "dependencies: [numpy=1.26.4, scipy=1.11, rich]\n",
            "requirements.txt": "numpy==1.26.4\nscipy==1.12\nrich\n",
        },
        CONDA,
    )
    assert taken.lines(found.PIP) == []
    assert taken.notes() == ["scipy==1.12: left out, as environment.yml:1 asks for scipy=1.11."]


def test_the_code_may_be_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/requirements.txt").touch()
    (tmp_path / "requirements.txt").touch()
    (file,) = discover(tmp_path, "code")
    assert (file.path, file.taken) == ("code/requirements.txt", True)


def test_a_file_that_another_one_includes_is_not_named_as_left_out() -> None:
    taken = take({"requirements.txt": "-r more/x.txt\n", "more/x.txt": "einops\n"}, PIP)
    assert taken.notes() == []


def test_a_lock_of_another_program_is_named_with_what_is_done_instead() -> None:
    taken = take(
        {"environment.yml": "dependencies: [numpy]\n", "conda-lock.yml": "version: 1\n"}, CONDA
    )
    (note,) = taken.notes()
    assert note.startswith("conda-lock.yml: not read: Hearth makes a lock of its own from the env")


# --- nothing is lost ------------------------------------------------------------------------------

WORD = st.sampled_from(
    [
        *(
            "numpy",
            "torch",
            "torchvision",
            "sklearn",
            "pip",
            "foo",
            "triton",
            "flash-attn",
            "==1.0",
        ),
        *(
            ">=2",
            "=1.0",
            "=py_0",
            " ",
            "[x]",
            ";",
            "python_version<'3'",
            "@",
            "file:///a/b.whl",
            "-e",
        ),
        *(
            "git+https://a:hunter2@h/b",
            "--hash=x",
            "-r",
            "a.txt",
            "#",
            "\\",
            "'",
            "é",
            "\x0c",
            "..",
            "/",
        ),
        *(
            "https://h/x-1-py3-none-any.whl",
            "$",
            "{A}",
            ",",
            "*",
            "::",
            "-f",
            "-c",
            "\t",
            "==1.0+cu1",
        ),
    ]
)
LINE = st.one_of(
    st.lists(WORD, max_size=6).map("".join), st.text(max_size=30), st.lists(WORD).map(" ".join)
)
WANTED = st.sampled_from([PIP, PIP_CUDA, PIP_NO_TORCH, BASE, CONDA, CONDA_CUDA, Wanted("conda")])


def check(taken: Intake, wanted: Wanted) -> None:
    """What holds of every intake."""
    assert "hunter2" not in json.dumps(taken.as_dict())
    for entry in taken.entries:
        verdict = entry.verdict
        assert verdict.outcome in {TAKEN, CHANGED, LEFT_OUT}
        assert verdict.reason or verdict.outcome == TAKEN
        assert not verdict.becomes or verdict.outcome != LEFT_OUT
        assert entry.text.isprintable()
        if verdict.kind == found.PIP and not re.match(r"\S+://", verdict.becomes):
            Requirement(verdict.becomes)
    if wanted.manager == "conda":  # all of it can be written
        conda, pip, channels = map(taken.lines, (found.CONDA, found.PIP, found.CHANNEL))
        start = "channels:\n  - conda-forge\ndependencies:\n"
        text = conda_file.add_all(start, conda=conda, pip=pip, channels=channels)
        assert set(conda_file.parse(text).pip) <= set(pip)
    assert all("\n" not in note for note in taken.notes())


@given(st.lists(LINE, max_size=5), WANTED)
def test_every_line_of_a_requirements_file_has_one_fate(lines: list[str], wanted: Wanted) -> None:
    text = "\n".join(lines)
    taken = requirements(text.encode("utf-8", "replace"), wanted)
    check(taken, wanted)
    if not taken.broken:
        meant = [n for n, _ in lists.logical_lines(decoded(text.encode("utf-8", "replace")))]
        assert sorted(entry.place.line for entry in taken.entries) == meant


SPECS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(
                    "numpy",
                    "numpy=1.2=py_0",
                    "cudnn=8.2",
                    "pip=20",
                    "python=3.7",
                    "pytorch=2",
                    "a::b=1",
                ),
                *(
                    "- x",
                    "ffmpeg",
                    "torchvision=0.1",
                    "mkl",
                    "blas=1=mkl",
                    "x #y",
                    "foo>=1,<2",
                    "vc=1",
                ),
            ]
        ),
        st.text(min_size=1, max_size=12),
    ),
    max_size=6,
)


@given(SPECS, SPECS, WANTED)
def test_every_item_of_an_environment_has_one_fate(
    conda: list[str], pip: list[str], wanted: Wanted
) -> None:
    text = yaml.safe_dump({"channels": ["c"], "dependencies": [*conda, {"pip": pip}]})
    taken = environment(text, wanted)
    check(taken, wanted)
    if not taken.broken:
        assert len(taken.entries) == 1 + len(conda) + len(pip)


@given(
    st.binary(max_size=60),
    st.sampled_from(["requirements.txt", "environment.yml", "pixi.toml", "Pipfile"]),
)
def test_no_file_makes_the_reader_fail(content: bytes, name: str) -> None:
    check(take({name: content}, CONDA), CONDA)


# --- the tables, and the program ------------------------------------------------------------------


def test_what_the_template_installs_itself_is_what_the_reader_thinks() -> None:
    folder = ROOT / "template/docker-amd64/dependencies"
    for file in ("environment.yml.jinja", "pyproject.toml.jinja"):
        text = (folder / file).read_text()
        for name, version in family.OWN.items():
            assert f"{name}{version}" in text, file


def test_the_tables_name_packages_as_they_are_looked_up() -> None:
    assert all(names.normal(name) == name for name in family.FOLLOWERS)
    assert {name for name, one in family.FOLLOWERS.items() if one.exact} >= family.WITH_TORCH
    for name in ("nvidia-ml-py", "nvidia-dali-cuda120", "nvidia-pyindex", "nvidia-cudnn-frontend"):
        assert not family.comes_with_torch(name)
    for name in (
        "nvidia-cublas-cu12",
        "nvidia-cufft",
        "nvidia-nccl-cu13",
        "cuda-bindings",
        "triton",
    ):
        assert family.comes_with_torch(name)


@pytest.mark.parametrize(
    ("version", "own", "clash"),
    [
        *(("==20.3", ">=25.1", True), ("<25", ">=25.1", True), ("<25.1", ">=25.1", True)),
        *(("==25.*", ">=25.1", False), ("~=25.0", ">=25.1", False), ("<26", ">=25.1", False)),
        *(("==25.1", ">=25.1", False), ("<=25.0", ">=25.1", True), (">=20", ">=25.1", False)),
        *(("==25", ">=25.1", True), ("!=25.2", ">=25.1", False), ("nonsense", ">=25.1", False)),
    ],
)
def test_a_pin_clashes_where_no_version_fits_both(version: str, own: str, clash: bool) -> None:
    assert requirement.clashes(version, own) is clash


def test_a_project_knows_what_the_template_offers(generate: Generate, tmp_path: Path) -> None:
    kinds: tuple[dict[str, Any], ...] = (
        {"accelerator": "cpu", "torch_version": "none"},
        {"accelerator": "cuda", "package_manager": "conda"},
        {"service": "ngc"},
    )
    for count, answers in enumerate(kinds):
        folder = generate(tmp_path / str(count), **answers)
        data = json.loads((folder / "docker-amd64/host/project.json").read_text())
        wanted = Wanted.of_project(data)
        for question, value in wanted.answers.items():
            if value and question in wanted.offered and not wanted.base_has_torch:
                assert value in wanted.offered[question]
        assert ("python_version" in wanted.offered) == (not wanted.base_has_torch)
        assert (folder / "docker-amd64/image/intake").exists()


def program(*arguments: str | Path) -> Any:
    """What `python -m intake` prints."""
    folder = Path(str(discovery.__file__)).parents[1]
    done = subprocess.run(
        [sys.executable, "-B", "-m", "intake", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_program_prints_what_is_found_and_read(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("einops\ntorch==2.1\n")
    (tmp_path / "other.txt").write_text("rich\n")
    (file,) = program("discover", tmp_path)
    assert (file["path"], file["taken"]) == ("requirements.txt", True)
    answers = json.dumps({"torch": "2.15.0", "offered": {"torch_version": ["2.15.0"]}})
    all_of_it = program("read", tmp_path, "--project", answers)
    assert all_of_it["requirements"] == {"main": ["einops"], "dev": []}
    assert [entry["line"] for entry in all_of_it["left_out"]] == [2]
    assert program("read", tmp_path, "other.txt")["requirements"]["main"] == ["rich"]


def test_names_and_tables_need_no_packaging() -> None:
    """conda_file.py runs in the dev image, where only PyYAML is beside it."""
    folder = Path(str(discovery.__file__)).parents[1]
    code = "import sys; sys.modules['packaging'] = None; import conda_file, stand_ins, conda_env"
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=folder, check=False)
    assert done.returncode == 0


def test_a_reason_is_a_clause_that_many_lines_can_share() -> None:
    taken = requirements("\n".join(f"foo{n} ; sys_platform == 'win32'" for n in range(9)))
    assert len(taken.notes()) == 1
    assert re.search(
        r"foo8 ; .*: left out, as its marker never holds in the images\.$", notes(taken)
    )
