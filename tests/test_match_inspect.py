"""A local image: whether it starts on a host, what it needs of the driver, and for which GPUs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hooks.matcher import gpu, host
from hooks.matcher.command import main
from hooks.matcher.inspect_image import facts_of, judge_image
from hooks.matcher.requirement_rule import InvalidRuleError, conditions, evaluate

RTX4090 = gpu("NVIDIA GeForce RTX 4090")
A100 = gpu("NVIDIA A100-SXM4-40GB")
# As the images of CUDA 12.8 have it, shortened.
REQUIRE = (
    "cuda>=12.8 brand=unknown,driver>=470,driver<471 brand=tesla,driver>=550,driver<551"
    " brand=nvidia,driver>=550,driver<551"
)
CUDA_ENV = {
    "CUDA_VERSION": "12.8.1",
    "NVIDIA_REQUIRE_CUDA": REQUIRE,
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
}
CUDA_TAG = "nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04"


def document(tag: str, arch: str = "amd64", **environment: str) -> list[dict[str, Any]]:
    """What `docker image inspect` prints about an image."""
    pairs = [f"{name}={value}" for name, value in environment.items()]
    config = {"Env": ["PATH=/usr/bin", *pairs], "Labels": {"maintainer": "NVIDIA CORPORATION"}}
    row = {"Id": "sha256:0", "RepoTags": [tag], "Architecture": arch, "Os": "linux"}
    return [{**row, "Config": config}]


@pytest.mark.parametrize(
    ("condition", "driver", "expected"),
    [
        ("cuda>=12.8", "570.86.10", True),
        ("cuda>=12.8", "550.54.15", False),
        ("cuda>=12.8 driver>=550,driver<551", "550.54.15", True),
        ("cuda>=12.8 driver>=560,driver<561", "550.54.15", False),
        ("driver>=550.54.15", "550.54.14", False),
        ("brand=GeForce,driver>=550", "550.54.15", None),
        ("brand=tesla,driver>=550", "550.54.15", False),
        ("brand!=tesla", "550.54.15", True),
        ("arch>=9.0 arch=8.9", "550.54.15", True),
        ("cuda=12.4.0", "550.54.15", True),
        ("driver<550.60", "550", None),
        ("", "550.54.15", True),
        ("  cuda>=12.0,,driver>1 ", "550.54.15", True),
    ],
)
def test_a_condition_is_evaluated_as_libnvidia_container_does(
    condition: str, driver: str, *, expected: bool | None
) -> None:
    assert evaluate(condition, host(driver, [RTX4090]), RTX4090) is expected


@pytest.mark.parametrize("condition", ["cuda", "cuda>=", "cuda==12", "os=linux", "brand>=tesla"])
def test_a_condition_that_the_toolkit_refuses_is_no_pass(condition: str) -> None:
    with pytest.raises(InvalidRuleError):
        evaluate(condition, host("550.54.15", [RTX4090]), RTX4090)


def test_conditions_come_from_every_variable_that_the_toolkit_reads() -> None:
    assert conditions({"CUDA_VERSION": "10.1.243"}) == ["cuda>=10.1"]
    both = {"NVIDIA_REQUIRE_CUDA": "cuda>=12", "NVIDIA_REQUIRE_DRIVER": "driver>=525"}
    assert conditions(both) == ["cuda>=12", "driver>=525"]
    assert conditions({**both, "NVIDIA_DISABLE_REQUIRE": "true"}) == []
    assert conditions({"NVIDIA_REQUIRE_JETPACK": "csv-mounts=all"}) == []


def test_an_image_that_refuses_this_driver_is_told_before_it_is_started() -> None:
    told = judge_image(facts_of(document(CUDA_TAG, **CUDA_ENV)), host("550.54.15", [RTX4090]))
    assert (told.starts, told.verdict.value) == (False, "fails")
    assert told.layer is not None
    assert told.layer.value == "image start check"
    assert "unsatisfied condition: cuda>=12.8" in told.why


def test_an_exception_for_the_brand_and_branch_lets_it_start() -> None:
    told = judge_image(facts_of(document(CUDA_TAG, **CUDA_ENV)), host("550.54.15", [A100]))
    assert told.starts is True
    assert told.verdict.works


def test_an_image_for_another_architecture_does_not_start() -> None:
    image = facts_of(document(CUDA_TAG, "arm64", **CUDA_ENV))
    told = judge_image(image, host("580.95.05", [RTX4090]))
    assert told.starts is False
    assert "exec format error" in told.why


def test_an_image_without_compute_gets_no_libcuda() -> None:
    environment = {**CUDA_ENV, "NVIDIA_DRIVER_CAPABILITIES": "graphics,utility"}
    told = judge_image(facts_of(document("x:1", **environment)), host("580.95.05", [RTX4090]))
    assert "libcuda is not mounted" in told.why


def test_an_ngc_image_of_any_name_is_known_by_its_release() -> None:
    environment = {
        "CUDA_VERSION": "13.0.2.006",
        "NVIDIA_PRODUCT_NAME": "PyTorch",
        "NVIDIA_PYTORCH_VERSION": "25.10",
        "NVIDIA_REQUIRE_CUDA": "cuda>=9.0",
        "TORCH_CUDA_ARCH_LIST": "7.5 8.0 8.6 9.0 10.0 12.0+PTX",
    }
    image = facts_of(document("mine:1", **environment))
    told = judge_image(image, host("580.95.05", ["Tesla V100-SXM2-16GB"]))
    assert (told.starts, told.verdict.value) == (True, "fails")
    assert "NGC 25.10" in told.why
    assert judge_image(image, host("580.95.05", [RTX4090])).verdict.value == "works"


def test_a_pytorch_image_is_judged_by_the_code_in_its_wheel() -> None:
    tag = "pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime"
    image = facts_of(document(tag, PYTORCH_VERSION="2.5.1", NVIDIA_VISIBLE_DEVICES="all"))
    told = judge_image(image, host("570.86.10", ["NVIDIA GeForce RTX 5090"]))
    assert told.starts is True
    assert told.layer is not None
    assert told.layer.value == "kernel image"


def test_an_image_of_a_project_without_cuda_compat_runs_on_an_older_driver() -> None:
    environment = {"CUDA_VERSION": "12.8.1", "NVIDIA_REQUIRE_CUDA": "cuda>=12.0"}
    image = facts_of(document("mine:1", **environment))
    machine = host("550.54.15", [RTX4090])
    kept = judge_image(image, machine)
    assert (kept.starts, kept.verdict.value) == (True, "fails")
    assert "error 804" in kept.why
    removed = image._replace(labels={"org.opencontainers.image.base.name": CUDA_TAG})
    assert judge_image(removed, machine).verdict.value == "works_minor_compat"


def test_a_host_with_cdi_starts_what_the_condition_would_refuse() -> None:
    image = facts_of(document(CUDA_TAG, **CUDA_ENV))
    told = judge_image(image, host("550.54.15", [RTX4090])._replace(access="cdi"))
    assert told.starts is True
    assert any("CDI" in note for note in told.notes)


def test_what_an_own_image_was_compiled_for_is_compared_with_the_gpu() -> None:
    environment = {**CUDA_ENV, "TORCH_CUDA_ARCH_LIST": "8.0;9.0"}
    image = facts_of(document("mine:1", **environment))
    told = judge_image(image, host("580.95.05", ["NVIDIA GeForce RTX 5090"]))
    assert told.verdict.value == "unknown"
    assert "compiled for 8.0 and 9.0" in told.why


@pytest.mark.parametrize(
    ("driver", "access", "listed", "verdict"),
    [
        ("570.86.10", "cdi", "9.0 10.0+PTX", "unknown"),  # brings CUDA 12.8
        ("570.86.10", "cdi", "9.0 12.0", "works_minor_compat"),
        ("575.57.08", "cdi", "9.0 10.0+PTX", "works"),
        ("580.95.05", "", "9.0+PTX", "works"),
    ],
)
def test_ptx_alone_is_code_only_for_a_driver_that_compiles_it(
    driver: str, access: str, listed: str, verdict: str
) -> None:
    environment = {"CUDA_VERSION": "12.9.1", "TORCH_CUDA_ARCH_LIST": listed}
    image = facts_of(document("mine:1", **environment))
    image = image._replace(
        environment={**image.environment, "NVIDIA_REQUIRE_CUDA": "cuda>=12.0"},
        labels={"org.opencontainers.image.base.name": "mine:0"},
    )
    told = judge_image(image, host(driver, ["NVIDIA GeForce RTX 5090"], access=access))
    assert told.verdict.value == verdict, told.why
    assert ("only PTX" in told.why) == (verdict == "unknown")


def test_a_saved_inspection_is_read_without_an_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "inspect.json"
    file.write_text(json.dumps(document(CUDA_TAG, **CUDA_ENV)), encoding="utf-8")
    on = ["--driver", "550.54.15", "--gpu", "NVIDIA GeForce RTX 4090"]
    assert main([*on, "--inspect", str(file)]) == 1
    out = capsys.readouterr().out
    assert f"{CUDA_TAG} (x86_64): CUDA_VERSION=12.8.1" in out
    assert "It does not start on this host: fails (image start check)" in out
    assert main([*on, "--inspect", str(file), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["starts"], told["layer"]) == (False, "image start check")


def test_an_image_that_needs_a_newer_driver_names_its_packages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "image.json"
    file.write_text(json.dumps(document(CUDA_TAG, **CUDA_ENV)))
    words = ["RTX", "4090", "--driver", "535", "--inspect", str(file), "--json"]
    assert main(words) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["remedies"][0] == "# with a driver of branch 580 it works:"
    assert len(told["remedies"]) > 1


def test_a_gpu_may_follow_inspect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "hooks.matcher.inspect_image._asked_engine", lambda name: document(name, **CUDA_ENV)
    )
    words = ["--image", CUDA_TAG, "--inspect", "4090", "--driver", "580"]
    assert main(words) == 0
    assert CUDA_TAG in capsys.readouterr().out


def test_the_engine_is_asked_about_a_local_image(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def engine(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        if command[0] == "docker":
            raise FileNotFoundError
        return subprocess.CompletedProcess(command, 0, json.dumps(document("a:1", **CUDA_ENV)), "")

    monkeypatch.setattr("hooks.matcher.inspect_image.subprocess.run", engine)
    on = ["--driver", "580.95.05", "--gpu", "NVIDIA GeForce RTX 4090"]
    assert main([*on, "--image", "a:1", "--inspect"]) == 0
    assert asked[-1] == ["podman", "image", "inspect", "a:1"]
    assert "It starts on this host: works" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("Error: No such image: a:1", "docker pull a:1"),
        ("Cannot connect to the Docker daemon", "Cannot connect to the Docker daemon"),
    ],
)
def test_no_image_or_no_engine_is_one_sentence_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stderr: str, said: str
) -> None:
    def engine(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if command[0] == "podman":
            raise FileNotFoundError
        return subprocess.CompletedProcess(command, 1, "", stderr)

    monkeypatch.setattr("hooks.matcher.inspect_image.subprocess.run", engine)
    on = ["--driver", "580.95.05", "--gpu", "NVIDIA GeForce RTX 4090"]
    assert main([*on, "--image", "a:1", "--inspect"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"[1]",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'[{"Id": "sha256:1", "Config": {"Env": null, "Labels": null}}]',
        b'[{"Id": 5, "RepoTags": 3, "Config": {"Env": {"a": 1}, "Labels": [1]}}]',
        json.dumps(document("debian:trixie")).encode(),
    ],
)
def test_a_file_that_is_no_gpu_image_is_one_sentence_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "x.json").write_bytes(content)
    on = ["--driver", "580.95.05", "--gpu", "NVIDIA GeForce RTX 4090"]
    for file in (tmp_path / "x.json", tmp_path, tmp_path / "none.json"):
        assert main([*on, "--inspect", str(file)]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
