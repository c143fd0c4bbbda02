"""Existing projects: which PyTorch and CUDA their files come to, and whether that works."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from hooks.compat.table import load
from hooks.matcher import host
from hooks.matcher.command import main
from hooks.matcher.files import requirements, text
from hooks.matcher.files.parse import parse
from hooks.matcher.files.resolve import resolve
from hooks.matcher.files.resolved import Resolved
from hooks.matcher.files.versions import fits, holds
from hooks.matcher.hosts import BadInputError
from hooks.matcher.packages import replaced
from intake import lists
from intake import text as in_projects

if TYPE_CHECKING:
    from hooks.matcher import Host

V100 = ["--driver", "535.54.03", "--gpu", "Tesla V100-SXM2-16GB"]
RTX5090 = ["--driver", "570.86.10", "--gpu", "NVIDIA GeForce RTX 5090"]
CU = "https://download.pytorch.org/whl/"


def resolved(name: str, text: str, /, machine: Host | None = None, **files: str) -> Resolved:
    """What a file with others beside it comes to; a `__` in their names stands for a dot."""
    beside = {key.replace("__", "."): value for key, value in files.items()}

    def open_file(wanted: str) -> str:
        if wanted not in beside:
            raise BadInputError(f"{wanted} cannot be read: there is no such file")
        return beside[wanted]

    return resolve(parse(name, text, open_file), machine)


def stack(found: Resolved) -> tuple[str | None, str | None]:
    assert found.choice is not None, found.unknown or found.impossible
    return found.choice.torch, found.choice.cuda


# --- requirements.txt -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "torch", "cuda"),
    [
        ("torch==2.5.1", "2.5.1", None),
        ("torch==2.2", "2.2.0", None),
        ("torch==2.5.1+cu121", "2.5.1", "12.1"),
        ("torch (>=2.0,<2.3)", "2.2.2", None),
        ("torch~=2.4.0", "2.4.1", None),
        ("Torch[opt] >= 2.1, != 2.5.1, < 2.6.0rc1  # a comment", "2.5.0", None),
        ("torch \\\n    >=2.4,\\\n    <2.5", "2.4.1", None),
        ("torch==2.5.1 --hash=sha256:00", "2.5.1", None),
        (f"torch @ {CU}cu121/torch-2.5.1%2Bcu121-cp311-cp311-linux_x86_64.whl", "2.5.1", "12.1"),
        (f"-i {CU}cu118\ntorch", "2.7.1", "11.8"),
        (f"--index-url={CU}cu118\ntorch==2.5.1", "2.5.1", "11.8"),
        (f"--extra-index-url {CU}cu121\ntorch==2.5.1", "2.5.1", "12.1"),
        (f"--extra-index-url {CU}cu121\ntorch==2.7.0", "2.7.0", None),
        (
            "torch==1.0; sys_platform == 'win32'\ntorch==2.4.0; sys_platform != 'win32'",
            "2.4.0",
            None,
        ),
        ("torch>=2.0\ntorchvision==0.20.1", "2.5.1", None),
        ("torchvision==0.20.1", "2.5.1", None),
        ("numpy\n./local\n-e .\ngit+https://github.com/a/b\ntorch=2.1.0", "2.1.0", None),
    ],
)
def test_a_line_comes_to_the_torch_and_cuda_that_pip_would_take(
    text: str, torch: str, cuda: str | None
) -> None:
    assert stack(resolved("requirements.txt", text)) == (torch, cuda)


@pytest.mark.parametrize(
    ("name", "text", "torch", "cuda"),
    [
        (
            "requirements.txt",
            (
                f"--extra-index-url {CU}cu113\n"
                "--find-links https://data.pyg.org/whl/torch-1.11.0+cu113.html\n"
                "torch == 1.11.0+cu113\ntorchaudio == 0.11.0+cu113\ntorch-scatter\neinops\n"
            ),
            "1.11.0",
            "11.3",
        ),
        (
            "conda.yaml",
            (
                "channels: [pytorch, xformers, conda-forge]\ndependencies:\n  - python=3.9\n"
                "  - pytorch::pytorch=2.0.0\n  - omegaconf\n"
            ),
            "2.0.0",
            "11.8",
        ),
        ("requirements.txt", "torch==2.2\ntorchtext==0.17\ntorchaudio==2.2\n", "2.2.0", None),
        (
            "setup.cfg",
            (
                "[options]\npy_modules=x\ninstall_requires=\n    einops>=0.7\n"
                '    torch>=1.10,<2.1; platform_system != "Windows"\n'
            ),
            "2.0.1",
            None,
        ),
    ],
)
def test_files_as_real_projects_write_them_are_understood(
    name: str, text: str, torch: str, cuda: str | None
) -> None:
    assert stack(resolved(name, text)) == (torch, cuda)


def test_included_files_and_constraints_decide_too() -> None:
    found = resolved(
        "requirements.txt",
        "-r deps/base.txt\n-c limits.txt\n",
        None,
        **{
            "deps/base__txt": "-r more.txt",
            "deps/more__txt": "torch>=2",
            "limits__txt": "torch<2.4",
        },
    )
    assert stack(found) == ("2.3.1", None)
    assert found.where == "deps/more.txt, line 1 (`torch>=2`)"


def test_a_range_is_said_to_come_to_the_newest_that_fits() -> None:
    assert "the newest in the table that fits" in resolved("requirements.txt", "torch>=2").takes


def test_two_pins_that_exclude_each_other_are_found_before_pip_finds_them() -> None:
    found = resolved("requirements.txt", "torch==2.5.1\ntorchvision==0.19.0")
    assert "needs PyTorch 2.4.0" in found.impossible


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("numpy", "no PyTorch is asked for"),
        ("timm>=1", "brings PyTorch in a version that the files do not say"),
        ("torch>=99", "fits >=99"),
        ("torch==2.9.0.dev20250801+cu128", "releases only"),
        (f"-i {CU}nightly/cu128\ntorch", "nightly/cu128"),
        (f"-i {CU}\ntorch", "the builds of every CUDA"),
        ("torch @ file:///home/conda/feedstock_root/torch", "does not say which PyTorch"),
        ("torch==2.5.1+rocm6.2", "which NVIDIA GPUs do not run"),
    ],
)
def test_what_the_table_cannot_judge_is_unknown_with_its_reason(text: str, reason: str) -> None:
    found = resolved("requirements.txt", text)
    assert found.choice is None
    assert reason in found.unknown


def test_a_build_that_no_index_of_the_file_has_is_named_with_the_index_to_add() -> None:
    line = "torch==2.5.1+cu121"
    bare = resolved("requirements.txt", line)
    assert bare.notes == (f"PyPI has no +cu121: pip needs --extra-index-url {CU}cu121",)
    for index in (f"--extra-index-url {CU}cu121", f"-f {CU}torch_stable.html", f"-i {CU}"):
        assert resolved("requirements.txt", f"{index}\n{line}").notes == ()


def test_a_constraint_decides_for_a_package_that_brings_torch() -> None:
    found = resolved("requirements.txt", "timm\n-c limits.txt", limits__txt="torch==2.4.0")
    assert stack(found) == ("2.4.0", None)


def test_the_list_that_conda_exports_is_read_by_its_builds() -> None:
    text = "# platform: linux-64\npython=3.10.13=h0_0\npytorch=2.1.0=py3.10_cuda12.1_cudnn8.9.2_0\n"
    assert stack(resolved("requirements.txt", text)) == ("2.1.0", "12.1")
    forge = "pytorch=2.6.0=cuda126_generic_py312_h1_200\n"
    found = resolved("requirements.txt", forge)
    assert stack(found) == ("2.6.0", "12.6")
    assert found.choice is not None
    assert found.choice.package_manager == "conda"


# --- conda ----------------------------------------------------------------------------------------


def test_the_pytorch_channel_comes_to_the_cuda_that_its_pin_names() -> None:
    found = resolved(
        "environment.yml",
        "channels:\n- pytorch\n- nvidia\ndependencies:\n- python=3.11  # old\n- pytorch>=2.2\n"
        "- pytorch-cuda=12.1\n- pip:\n  - einops\nprefix: /home/me/x\n",
    )
    assert stack(found) == ("2.5.1", "12.1")
    assert found.choice is not None
    assert found.choice.python == "3.11"


@pytest.mark.parametrize(
    ("line", "torch", "cuda"),
    [
        ("pytorch=2.*=*cuda*", "2.13.0", "13.0"),
        ("pytorch=2.5", "2.5.1", "12.6"),
        ("pytorch=2.5.1=cuda118_py312_0", "2.5.1", "11.8"),
        ("conda-forge::pytorch-gpu==2.12.0", "2.12.0", "13.0"),
        ("pytorch[version='>=2.6,<2.8',build=cuda129*]", "2.7.1", "12.9"),
    ],
)
def test_a_build_of_conda_forge_is_found_by_version_and_build(
    line: str, torch: str, cuda: str
) -> None:
    text = f'channels: [conda-forge]\ndependencies: [python=3.12, "{line}"]\n'
    assert stack(resolved("environment.yaml", text)) == (torch, cuda)


def test_conda_passes_over_builds_that_this_driver_does_not_run() -> None:
    text = "channels: [conda-forge]\ndependencies: [pytorch]\n"
    machine = host("535.54.03", ["NVIDIA A100-SXM4-40GB"])
    assert stack(resolved("environment.yml", text, machine)) == ("2.13.0", "12.9")


def test_a_cpu_build_of_conda_is_judged_as_one() -> None:
    text = "channels: [pytorch]\ndependencies:\n  - pytorch=2.4.1\n  - cpuonly\n"
    found = resolved("environment.yml", text)
    assert found.choice is not None
    assert found.choice.accelerator == "cpu"


def test_the_pip_section_counts_with_its_own_index() -> None:
    text = (
        "channels: [defaults]\ndependencies:\n  - python=3.10\n  - pip:\n"
        f"    - --extra-index-url {CU}cu118\n    - torch==2.4.1\n"
    )
    assert stack(resolved("environment.yml", text)) == ("2.4.1", "11.8")


def test_builds_of_a_channel_without_a_table_are_unknown() -> None:
    found = resolved("environment.yml", "dependencies:\n- pytorch=2.3\n")
    assert "channel defaults" in found.unknown


# --- pyproject.toml and locks ---------------------------------------------------------------------

PYPROJECT = f"""
[project]
name = "x"
requires-python = ">=3.10,<3.13"
dependencies = ["torch>=2.6", "numpy"]
[tool.uv.sources]
torch = [
  {{ index = "cpu", marker = "sys_platform == 'darwin'" }},
  {{ index = "cu126", marker = "sys_platform == 'linux'" }},
]
[[tool.uv.index]]
name = "cpu"
url = "{CU}cpu"
explicit = true
[[tool.uv.index]]
name = "cu126"
url = "{CU}cu126"
explicit = true
"""
POETRY = f"""
[tool.poetry.dependencies]
python = "^3.11"
torch = {{version = "2.0.1+cu118", source = "t"}}
[[tool.poetry.source]]
name = "t"
url = "{CU}cu118"
"""
UV_LOCK = f"""
version = 1
requires-python = ">=3.11"

[[package]]
name = "torch"
version = "2.7.1"
source = {{ registry = "{CU}cpu" }}
resolution-markers = ["sys_platform == 'darwin'"]

[[package]]
name = "torch"
version = "2.7.1+cu128"
source = {{ registry = "{CU}cu128" }}
resolution-markers = ["platform_machine == 'x86_64' and sys_platform == 'linux'"]
"""
POETRY_LOCK = f"""
[[package]]
name = "torch"
version = "2.0.1+cu118"

[package.dependencies]
filelock = "*"

[package.source]
type = "legacy"
url = "{CU}cu118"

[metadata]
lock-version = "2.0"
python-versions = "^3.11"
"""


@pytest.mark.parametrize(
    ("name", "text", "torch", "cuda"),
    [
        ("pyproject.toml", PYPROJECT, "2.14.1", "12.6"),
        ("pyproject.toml", POETRY, "2.0.1", "11.8"),
        ("uv.lock", UV_LOCK, "2.7.1", "12.8"),
        ("poetry.lock", POETRY_LOCK, "2.0.1", "11.8"),
        (
            "Pipfile",
            '[packages]\ntorch = "==2.5.1"\n[requires]\npython_version = "3.11"',
            "2.5.1",
            None,
        ),
        ("setup.cfg", "[options]\ninstall_requires =\n  einops\n  torch>=2,<2.5\n", "2.4.1", None),
    ],
)
def test_each_kind_of_project_file_comes_to_what_its_tool_would_install(
    name: str, text: str, torch: str, cuda: str | None
) -> None:
    assert stack(resolved(name, text)) == (torch, cuda)


def test_a_lock_with_a_build_for_each_extra_says_which_one_is_judged() -> None:
    builds = "".join(
        f'[[package]]\nname = "torch"\nversion = "2.6.0{end}"\n'
        f'source = {{ registry = "{CU}{index}" }}\n'
        for end, index in (("+cpu", "cpu"), ("+cu124", "cu124"))
    )
    found = resolved("uv.lock", f"version = 1\n{builds}")
    assert stack(found) == ("2.6.0", "12.4")
    assert found.notes == ("other builds of PyTorch are there too, for extras: 2.6.0+cpu cpu",)


def test_a_pyproject_without_a_list_leads_to_the_file_that_has_it() -> None:
    build = '[build-system]\nrequires = ["setuptools"]\n'
    cfg = "[options]\ninstall_requires =\n  torch==2.4.0\n"
    assert stack(resolved("pyproject.toml", build, setup__cfg=cfg)) == ("2.4.0", None)
    dynamic = (
        '[project]\nname = "x"\ndynamic = ["dependencies"]\n'
        '[tool.setuptools.dynamic]\ndependencies = {file = ["r.txt"]}\n'
    )
    assert stack(resolved("pyproject.toml", dynamic, r__txt="torch==2.4.0")) == ("2.4.0", None)


def test_an_older_python_gets_the_newest_torch_that_has_wheels_for_it() -> None:
    found = resolved(
        "pyproject.toml", '[project]\nrequires-python = "==3.8.*"\ndependencies = ["torch"]'
    )
    assert stack(found) == ("2.4.1", None)


# --- Dockerfiles ----------------------------------------------------------------------------------


def test_the_last_stage_counts_with_the_defaults_of_its_arguments() -> None:
    found = resolved(
        "Dockerfile",
        "# escape=\\\nARG CUDA=12.4.1\nARG TAG=${CUDA}-cudnn-devel-ubuntu22.04\n"
        "FROM pytorch/pytorch:2.1.0-cuda12.1-cudnn8-devel AS old\n"
        "FROM --platform=linux/amd64 nvidia/cuda:${TAG} AS base\nRUN apt-get update \\\n"
        "    # a comment in between\n    && true\nFROM base\n",
    )
    assert found.choice is not None
    assert (found.choice.service, found.choice.cuda, found.choice.torch) == ("devel", "12.4", None)
    assert found.where.startswith("Dockerfile, line 5 ")


def test_a_pip_line_of_a_run_decides_in_the_image_that_it_is_in() -> None:
    found = resolved(
        "Dockerfile",
        "FROM nvidia/cuda:12.4.1-cudnn-runtime-ubuntu22.04\nARG TORCH=2.4.0\n"
        'RUN apt-get update && pip3 install --no-cache-dir "torch==${TORCH}" -r /app/r.txt \\\n'
        f"    --index-url {CU}cu118; echo done\n",
        r__txt="einops",
    )
    assert stack(found) == ("2.4.0", "12.4")
    assert found.choice is not None
    assert (found.choice.wheel_cuda, found.choice.flavour) == ("11.8", "runtime")


def test_the_requirements_that_a_dockerfile_installs_are_read() -> None:
    text = "FROM python:3.9-slim\nCOPY r.txt /tmp/\nRUN pip install -r /tmp/r.txt\n"
    found = resolved("Dockerfile", text, r__txt="torch")
    assert stack(found) == ("2.8.0", None)
    found = resolved("docker/Dockerfile", text, r__txt="torch==2.4.0")
    assert stack(found) == ("2.4.0", None)
    locked = resolved("Dockerfile", "FROM python:3.11\nRUN uv sync --locked", uv__lock=UV_LOCK)
    assert stack(locked) == ("2.7.1", "12.8")


def test_the_indexes_of_a_command_and_of_its_environment_hold_where_they_stand() -> None:
    found = resolved(
        "Dockerfile",
        f"FROM python:3.11\nRUN pip install torch==2.5.1 --index-url {CU}cu121\n"
        f"RUN pip install xformers --index-url {CU}cu118\n",
    )
    assert stack(found) == ("2.5.1", "12.1")
    by_environment = (
        f"FROM python:3.11\nENV PIP_INDEX_URL={CU}cu118\nRUN pip install torch==2.5.1\n"
    )
    assert stack(resolved("Dockerfile", by_environment)) == ("2.5.1", "11.8")


def test_installing_the_project_itself_takes_what_its_pyproject_asks_for() -> None:
    text = f"FROM python:3.11\nCOPY . .\nRUN pip install --extra-index-url {CU}cpu '.[serve]'\n"
    toml = '[project]\nname = "x"\ndependencies = ["torch==2.5.1"]\n'
    found = resolved("Dockerfile", text, pyproject__toml=toml)
    assert found.choice is not None
    assert (found.choice.torch, found.choice.accelerator) == ("2.5.1", "cpu")


def test_a_torch_that_is_copied_from_another_stage_is_found() -> None:
    found = resolved(
        "Dockerfile",
        "FROM python:3.11 AS build\nRUN <<EOF\npip install torch==2.5.1\nEOF\n"
        "FROM nvidia/cuda:12.4.1-runtime-ubuntu22.04\nCOPY --from=build /venv /venv\n",
    )
    assert stack(found) == ("2.5.1", "12.4")
    assert any("stage build" in note for note in found.notes)


def test_an_image_with_its_own_torch_is_judged_unless_a_line_replaces_it() -> None:
    image = "FROM pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime\n"
    kept = resolved("Dockerfile", f"{image}RUN pip install torch transformers\n")
    assert kept.choice is not None
    assert (kept.choice.service, kept.choice.torch) == ("hub", "2.5.1")
    other = resolved("Dockerfile", f"{image}RUN pip install torch==2.8.0\n")
    assert stack(other) == ("2.8.0", None)


def test_an_image_that_no_table_has_is_unknown() -> None:
    found = resolved("Dockerfile", "FROM vllm/vllm-openai:v0.6\n")
    assert "vllm/vllm-openai:v0.6 is not in the table" in found.unknown


# --- the command ----------------------------------------------------------------------------------


def test_the_line_the_verdict_and_what_to_write_are_one_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("torch==2.6.0\ntorchvision\n", encoding="utf-16")
    assert main([*RTX5090, "--requirements", str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("requirements.txt, line 1 (`torch==2.6.0`): pip takes PyTorch 2.6.0")
    assert "fails (kernel image)" in lines[1]
    assert f"--extra-index-url {CU}cu128 and torch==" in lines[-1]
    assert " torchvision==" in lines[-1]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "setup.cfg",
            "[options]\ninstall_requires =\n    torch==2.6.0\n",
            "then run: pip install torch==",
        ),
        ("Pipfile", '[packages]\ntorch = "==2.6.0"\n', "Run: pipenv install torch=="),
    ],
)
def test_what_to_write_is_what_the_file_can_hold(
    name: str, text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    assert main([*RTX5090, "--requirements", str(file)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert says in last
    assert "--extra-index-url" not in last


@pytest.mark.parametrize("words", [["--torch", "2.9.1"], ["--cpu"], ["--python", "3.12"]])
def test_a_choice_beside_a_file_is_refused_and_not_ignored(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "requirements.txt").write_text("torch\n")
    assert main([*RTX5090, "--requirements", str(tmp_path / "requirements.txt"), *words]) == 2
    assert f"leave out {words[0]}" in capsys.readouterr().err


def test_json_names_the_file_the_line_and_the_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "uv.lock"
    file.write_text(UV_LOCK, encoding="utf-8")
    assert main([*V100, "--requirements", str(file), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["layer"], told["torch"]) == ("fails", "kernel image", "2.7.1")
    assert told["remedies"][0].startswith("Run: uv add torch==")


def test_a_package_with_kernels_of_its_own_is_judged_beside_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("torch==2.5.1\nflash_attn==2.7.4.post1\n", encoding="utf-8")
    assert main([*V100, "--requirements", str(file)]) == 0
    assert "flash-attn 2 refuses Tesla V100-SXM2-16GB (7.0)" in capsys.readouterr().out


def test_an_image_that_does_not_start_outweighs_a_wheel_that_would_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(
        "FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04\nRUN pip install torch==2.8.0\n",
        encoding="utf-8",
    )
    assert main([*RTX5090, "--requirements", str(file)]) == 1
    out = capsys.readouterr().out
    assert "CUDA 13.0" in out
    assert "FROM nvidia/cuda:12." in out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.txt", b""),
        ("blank.txt", b" \n\t\n"),
        ("binary.txt", b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 9),
        ("long.txt", b"a" * 10_000_000),
        ("typo.txt", b"torch=>2.0"),
        ("sentence.txt", b"please install torch"),
        ("marker.txt", b"torch; python_version >>> 3"),
        ("itself.txt", b"-r itself.txt"),
        ("missing.txt", b"-r nowhere.txt"),
        ("tab.yml", b"dependencies:\n\t- torch\n"),
        ("anchor.yml", b"dependencies: &all\n  - torch\n"),
        ("alias.yml", b"dependencies:\n  - *all\n"),
        ("nested.yml", b"dependencies: [[[[torch]]]]\n"),
        ("template.yml", b"dependencies:\n  - pytorch={{ version }}\n"),
        ("compose.yml", b"services:\n  a:\n    image: x\n"),
        ("range.yml", b"dependencies:\n  - pytorch=>2.0\n"),
        ("broken.toml", b"[project"),
        ("other.toml", b"[tool.black]\nline-length = 100\n"),
        ("broken.lock", b"not a lock"),
        ("setup.cfg", b"no section"),
        ("setup.py", b"from setuptools import setup"),
        ("pixi.toml", b"[workspace]"),
        ("Dockerfile", b"RUN true"),
        ("Dockerfile.arg", b"FROM $BASE"),
        ("Dockerfile.tag", b"FROM nvidia/cuda:latest"),
    ],
)
def test_a_file_that_is_not_understood_is_one_sentence_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main([*V100, "--requirements", str(tmp_path / name)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert name in said.err


def test_a_folder_a_fifo_and_a_missing_file_are_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "fifo")
    for file in (tmp_path, tmp_path / "fifo", tmp_path / "none", Path("/dev/zero")):
        assert main([*V100, "--requirements", str(file)]) == 2
        assert "cannot be read" in capsys.readouterr().err


def test_files_that_include_each_other_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("-r b.txt", encoding="utf-8")
    (tmp_path / "b.txt").write_text("-r a.txt", encoding="utf-8")
    assert main([*V100, "--requirements", str(tmp_path / "a.txt")]) == 2
    assert "a.txt -> b.txt -> a.txt" in capsys.readouterr().err


def test_a_password_in_an_address_is_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "requirements.txt"
    line = "torch @ https://me:secret@example.org/torch-2.5.1+cu121-cp311-cp311-linux_x86_64.whl"
    file.write_text(line, encoding="utf-8")
    main([*V100, "--requirements", str(file)])
    assert "secret" not in capsys.readouterr().out


# --- versions and markers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "version", "inside"),
    [
        ("", "2.0.0", True),
        ("==2.5.*", "2.5.1", True),
        ("^2.1", "2.9.0", True),
        ("^2.1", "3.0.0", False),
        ("~2.1", "2.2.0", False),
        (">=2.9.0.dev1", "2.9.0", True),
        ("<2.9.0rc1", "2.9.0", False),
        (">=2.1 <2.3", "2.2.0", True),
        ("2.1|2.2.*", "2.2.1", True),
    ],
)
def test_ranges_of_pip_poetry_and_conda_are_understood(
    spec: str, version: str, *, inside: bool
) -> None:
    assert fits(spec, version) == inside


def test_a_range_holds_the_releases_that_pip_would_take() -> None:
    written = ("2", "2.1", "2.5.1", "2.10", "2.9.0rc1", "2.1.0.dev20", "3")
    clauses = [
        f"{sign}{version}" for sign in ("<", "<=", ">", ">=", "==", "!=") for version in written
    ]
    clauses += ["~=2.1", "~=2.5.0", "==2.*", "==2.1.*", "!=2.10.*"]
    for one in clauses:
        for spec in (one, f"{one},>=2.1", f"!=2.5.1, {one}"):
            wanted = SpecifierSet(spec)
            for version in load().torch:
                assert fits(spec, version) == wanted.contains(version, prereleases=True), spec


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ("platform_system == 'Linux' and (python_version < '3.9' or extra == '')", True),
        ("'linux' in sys_platform", True),
        ("python_version not in '3.11 3.12'", False),
        ("'3.13' > python_version", True),
        ("platform_machine == 'aarch64'", False),
        ("extra == 'gpu'", False),
    ],
)
def test_markers_hold_as_on_a_linux_host(marker: str, *, expected: bool) -> None:
    assert holds(marker, "3.12")[0] == expected


@pytest.mark.parametrize(
    "content",
    [
        "torch==2.5.1  # é\n".encode(),
        "torch==2.5.1  # é\n".encode("latin-1"),
        "\ufefftorch==2.5.1\n".encode(),
        "torch==2.5.1\r\n".encode("utf-16"),
        "torch==2.5.1\r\n".encode("utf-16-le"),
        "torch==2.5.1\r\n".encode("utf-32"),
        "# coding: cp1252\ntorch  # \u20ac\n".encode("cp1252"),
    ],
)
def test_a_file_is_read_as_a_project_reads_it(content: bytes) -> None:
    """The command is installed without projects, so each has a reader of its own."""
    assert text.decoded(content, "requirements.txt") == in_projects.decoded(content)


@settings(max_examples=200)
@given(st.text(alphabet="ab =-r/#\\ \t\r\n\v\u2028"))
def test_the_lines_of_a_file_are_those_that_a_project_reads(content: str) -> None:
    """Neither can import the other, as with the text of a file."""
    assert [*requirements.logical_lines(content)] == [*lists.logical_lines(content)]


def test_a_pinned_xformers_is_changed_with_pytorch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on = ["5090", "--driver", "580"]
    file = tmp_path / "requirements.txt"
    file.write_text("torch==2.3.1\nxformers==0.0.27\n")
    assert main([*on, "--requirements", str(file)]) == 1
    out = capsys.readouterr().out
    assert "xformers==0.0.27 requires PyTorch 2.3.1" in out
    assert out.splitlines()[-1].endswith("torch==2.7.1+cu128 xformers==0.0.31.post1")
    file.write_text("torch==2.3.1\nxformers\n")
    assert main([*on, "--requirements", str(file)]) == 1
    assert "xformers==" not in capsys.readouterr().out


def test_a_package_without_a_version_for_the_new_pytorch_has_to_change_all_the_same() -> None:
    (one,) = replaced({"xformers": "0.0.27", "numpy": "1"}, "2.7.1", "11.8")
    assert (one.version, one.requires, one.new) == ("0.0.27", "2.3.1", None)
    assert replaced({"xformers": "0.0.27", "flash-attn": "2.6.3"}, "2.3.1", "12.1") == []


@pytest.mark.parametrize(
    "image", ["pytorch/pytorch:latest", "pytorch/pytorch", "nvcr.io/nvidia/pytorch:latest"]
)
def test_an_image_whose_tag_says_nothing_is_not_known(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\n")
    words = ["5090", "--driver", "580", "--requirements", str(tmp_path / "Dockerfile")]
    assert main(words) == 3
    assert "does not follow from its tag" in capsys.readouterr().out


def test_an_empty_file_is_refused_alone_and_taken_where_another_includes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "requirements.txt").write_text("\n")
    (tmp_path / "Dockerfile").write_text(
        "FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime\nRUN pip install -r requirements.txt\n"
    )
    on = ["5090", "--driver", "580", "--requirements"]
    assert main([*on, str(tmp_path / "Dockerfile")]) == 0
    assert main([*on, str(tmp_path / "requirements.txt")]) == 2
    assert "requirements.txt is empty" in capsys.readouterr().err


def test_a_folder_is_named_and_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["5090", "--driver", "580", "--requirements", "."]) == 2
    assert ". cannot be read: it is a folder; name a file in it" in capsys.readouterr().err
