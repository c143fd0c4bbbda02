"""A limit that this machine cannot keep is named before a container starts without it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from host import limits
from host.limits import check_limits, size
from host.project import Project, StopError
from tests.support.program import PROJECT

GIB = 1024**3
MACHINE = {
    "NCPU": 8,
    "MemTotal": 32 * GIB,
    "CgroupDriver": "systemd",
    "CpuCfsQuota": True,
    "MemoryLimit": True,
}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """A function: what is said of keys of .env on a machine."""

    def tell(machine: dict[str, Any] | None = None, **keys: str) -> str:
        text = json.dumps({**MACHINE, **machine}) if machine is not None else ""
        done = subprocess.CompletedProcess((), 0, text, "")
        monkeypatch.setattr(limits, "ask_engine", lambda *_: done)
        (tmp_path / ".env").write_text("".join(f"{key}={value}\n" for key, value in keys.items()))
        check_limits(Project(tmp_path, PROJECT))
        return capsys.readouterr().err

    return tell


def test_sizes_are_those_of_compose() -> None:
    assert [size(text) for text in ("", "0", "10", "1.5G", "16 gb", "512mib", ".5k")] == [
        *(0, 0, 10, 1.5 * GIB, 16 * GIB, 512 * 1024**2, 512),
    ]


def test_limits_that_the_machine_keeps_are_not_spoken_of(told: Any) -> None:
    assert told({}, CPUS="8", MEMORY="32gb") == ""
    assert told({"CgroupDriver": "none"}, CPUS="", MEMORY="") == ""
    assert told(None, CPUS="400") == ""  # no engine: the start says so


def test_an_engine_that_ignores_limits_is_named_with_them(told: Any) -> None:
    assert told({"CgroupDriver": "none"}, CPUS="2", MEMORY="4gb").startswith("CPUS and MEMORY of")
    assert told({"MemoryLimit": False}, CPUS="2", MEMORY="4gb").startswith("MEMORY of")


def test_more_than_the_machine_has_is_named(told: Any) -> None:
    assert told({}, MEMORY="500gb") == "MEMORY of .env limits nothing: this machine has 32gb.\n"
    with pytest.raises(StopError) as caught:
        told({}, CPUS="8.5")
    assert caught.value.command.endswith("env --set CPUS=8")


def test_a_size_without_its_unit_is_named(told: Any) -> None:
    with pytest.raises(StopError) as caught:
        told({}, MEMORY="64")
    assert caught.value.name == "memory-too-small"


def test_a_limit_of_processes_counts_where_it_is_not_that_of_every_project(
    told: Any, tmp_path: Path
) -> None:
    (tmp_path / ".env.example").write_text("PIDS_LIMIT=16384\n")
    without = {"CgroupDriver": "none"}
    assert told(without, PIDS_LIMIT="16384") == ""
    assert told(without, PIDS_LIMIT="-1") == ""
    assert told(without, PIDS_LIMIT="100").startswith("PIDS_LIMIT of .env does not apply")
    assert told({"PidsLimit": True}, PIDS_LIMIT="100") == ""
