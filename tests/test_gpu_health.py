"""The health check of GPUs in containers tells apart what is wrong, and raises no false alarm."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import gpu_health
from gpu_health import CAUSES, Illness, look, look_within
from host import gpu_trouble, gpus, look_gpus
from host.ask import Output
from host.failure_rows import row
from host.failures import explain
from host.gpu_facts import GpuFacts
from host.project import Project, read_project
from tests.conftest import ROOT
from tests.fakes.driver import Driver, make_files
from tests.support.program import PROJECT, put_program


@pytest.fixture(autouse=True)
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The device files of a container with two GPUs, in which no program runs."""
    folder = make_files(tmp_path / "dev")
    (tmp_path / "proc").mkdir()
    monkeypatch.setattr(gpu_health, "DEVICES", folder)
    monkeypatch.setattr(gpu_health, "PROC", tmp_path / "proc")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return folder


def cause(**fails: Any) -> str:
    """The cause that is found with a driver that fails so, "" for none."""
    found = look(Driver(**fails).load)
    return found.cause if found else ""


@pytest.mark.parametrize(
    ("fails", "found"),
    [
        ({}, ""),
        ({"init": 999}, "gpu-access-lost"),  # Failed to initialize NVML: Unknown Error
        ({"gpu": 999}, "gpu-access-lost"),
        ({"count": 0}, "gpu-access-lost"),
        ({"init": 18}, "gpu-driver-changed"),
        ({"init": 9}, "gpu-driver-changed"),
        ({"cuda": 803}, "gpu-driver-changed"),
        ({"cuda": 804}, "gpu-compat-refused"),
        ({"gpu": 15}, "gpu-fell-off"),
        ({"memory": 15}, "gpu-fell-off"),
        ({"memory": 16}, "gpu-fell-off"),
        ({"cuda": 999}, "gpu-access-lost"),
        ({"free": 40}, "gpu-memory-taken"),
        ({"gpu": 4}, ""),  # another container's
        ({"memory": 3}, ""),  # a GPU that does not tell its memory
    ],
)
def test_each_failure_of_the_driver_has_its_cause(fails: dict[str, Any], found: str) -> None:
    assert cause(**fails) == found


def test_a_missing_nvidia_uvm_is_told_from_other_failures_of_cuda(devices: Path) -> None:
    (devices / "nvidia-uvm").unlink()
    assert cause(cuda=999) == "gpu-uvm-missing"
    assert cause() == ""  # CUDA works: the file may have another place


@pytest.mark.parametrize("name", ["nvidiactl", "nvidia1", "nvidia-uvm"])
def test_rules_for_devices_that_systemd_dropped_are_seen(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = os.open

    def refuse(path: str, *args: Any, **more: Any) -> int:
        if path.endswith(f"/{name}"):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), path)
        return real(path, *args, **more)

    monkeypatch.setattr(os, "open", refuse)
    assert cause(cuda=999) == "gpu-access-lost"


def test_memory_that_this_container_uses_is_no_illness(tmp_path: Path) -> None:
    folder = tmp_path / "proc" / "17" / "fd"
    folder.mkdir(parents=True)
    (folder / "5").symlink_to("/dev/nvidia1")
    assert cause(free=40) == ""


def test_a_container_without_gpus_asks_nobody(devices: Path) -> None:
    for file in devices.iterdir():
        file.unlink()
    driver = Driver(init=999)
    assert look(driver.load) is None
    assert driver.loaded == []
    (devices / "dxg").touch()  # WSL
    assert cause(init=999) == "gpu-access-lost"


def test_gpus_that_the_program_hides_from_itself_are_no_illness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert cause(cuda=100) == ""


def test_libraries_that_are_not_there_are_no_illness() -> None:
    assert look(lambda _: None) is None


def test_a_driver_that_hangs_or_crashes_ends_in_time() -> None:
    def die(number: int = signal.SIGKILL) -> None:
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)  # pytest prints where it was
        os.kill(os.getpid(), number)

    start = time.monotonic()
    found = look_within(0.3, lambda: look(Driver(hangs=True).load))
    assert found
    assert found.cause == "gpu-silent"
    assert look_within(10, die) is None  # as where memory is short
    crashed = look_within(10, lambda: die(signal.SIGSEGV))
    assert crashed == Illness("gpu-silent", "the library of the driver crashed (SIGSEGV)")
    assert time.monotonic() - start < 60


def test_the_answer_comes_through_the_child(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert look_within(10, lambda: look(Driver(gpu=15).load)) == Illness(
        "gpu-fell-off", "GPU 1: GPU is lost"
    )
    monkeypatch.setattr(gpu_health, "look_within", lambda _: Illness("gpu-fell-off", "GPU 1: gone"))
    assert (gpu_health.main([]), gpu_health.main(["--status"])) == (1, CAUSES["gpu-fell-off"])
    assert capfd.readouterr().out.splitlines() == ["gpu-health: gpu-fell-off (GPU 1: gone)"] * 2


# ---------------------------------------------------------------------------- outside of containers


def test_every_cause_has_its_row_and_number_in_the_table() -> None:
    for name, number in CAUSES.items():
        assert row(name).status == str(number)
        assert number not in (75, *range(124, 144))
        stop = explain(None, f"gpu-health: {name} (something)")
        assert stop
        assert stop.name == name
        by_status = explain(None, "", status=number)
        assert by_status
        assert by_status.name == name


def test_only_containers_with_gpus_have_the_check() -> None:
    for text in gpus.override_texts("0", GpuFacts()).values():
        for service in yaml.safe_load(text)["services"].values():
            check = service["healthcheck"]
            assert check["test"][0] == "CMD-SHELL"
            assert int(check["interval"].rstrip("s")) >= 60
            assert int(check["timeout"].rstrip("s")) > gpu_health.LIMIT
    # Those of Airflow's services are about Airflow.
    compose = Path(gpus.__file__).parents[1] / "compose.yaml.jinja"
    assert "gpu_health" not in compose.read_text()


def test_unhealthy_containers_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = {"Log": [{"Output": "x"}, {"Output": "gpu-health: gpu-fell-off (GPU 1: GPU is lost)\n"}]}
    docker = tmp_path / "docker"
    answer = json.dumps(log)
    docker.write_text(f"#!/bin/sh\n[ $1 = ps ] && echo abc || printf %s '{answer}'\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    gpu_trouble.show_trouble(Project(tmp_path, PROJECT))
    assert "(failure: gpu-fell-off)" in capsys.readouterr().err


def test_a_job_that_the_watchdog_has_ended_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docker = tmp_path / "docker"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for status, shown in (("84", True), ("1", False)):
        docker.write_text(f"#!/bin/sh\n[ $1 = ps ] || echo {status}\n")
        docker.chmod(0o755)
        gpu_trouble.show_trouble(Project(tmp_path, PROJECT), job="abc")
        assert ("(failure: gpu-fell-off)" in capsys.readouterr().err) == shown


SMI = "| NVIDIA-SMI 580.95.05   Driver Version: 580.95.05   CUDA Version: 13.0 |"


@pytest.mark.parametrize(
    ("value", "driver", "text", "words"),
    [
        ("keep", "580.95.05", "Error 804: {refused}", "env --set CUDA_COMPAT=remove && "),
        ("", "580.95.05", "Error 804: {refused}", "libcuda.so.*"),  # no folder, but a package
        ("keep", "580.95.05", "{demand}", "env --set CUDA_COMPAT=remove && "),
        ("keep", "550.54.15", "{demand}", "update --data cuda_version=13.0"),
        ("remove", "580.95.05", "{demand}", "update --data cuda_version=13.0"),
    ],
)
def test_error_804_and_the_start_check_lead_to_an_image_for_every_driver_of_its_family(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    value: str,
    driver: str,
    text: str,
    words: str,
) -> None:
    known = {**PROJECT, "service": "train", "gpus": {"min_driver": "580", "targets": []}}
    folder = put_program(tmp_path)
    (folder / "host/project.json").write_text(json.dumps(known))
    for name in (".env", ".env.example"):
        (folder / name).write_text(f"CUDA_COMPAT={value}\n" if value else "")
    said = SMI.replace("580.95.05", driver)
    monkeypatch.setattr(look_gpus, "command", lambda *_: Output(0, said, ""))
    refused = "forward compatibility was attempted on non supported HW"
    demand = "unsatisfied condition: cuda>=13.2, please update your driver to a newer version"
    stop = explain(read_project(folder), text.format(refused=refused, demand=demand))
    assert stop
    assert words in str(stop)


def test_the_page_has_each_cause_with_its_status() -> None:
    text = (ROOT / "docs/gpus.md").read_text("utf-8")
    rows = re.findall(r"(?m)^\| (\d+) \| `([a-z-]+)` \|", text)
    assert {cause: int(status) for status, cause in rows} == CAUSES
