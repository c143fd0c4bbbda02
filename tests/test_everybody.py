"""On a shared machine: whose containers have which GPUs, and whose images fill the disk."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

from host import engine_words, everybody
from host.project import Project
from tests.support.program import PROJECT


def container(name: str, folder: Path | None = None, **host: Any) -> dict[str, Any]:
    labels = {"com.docker.compose.project": name} if folder else {}
    more = {"com.docker.compose.project.working_dir": str(folder)} if folder else {}
    state = {"Running": True, "StartedAt": "2026-11-28T09:30:12.123Z"}
    known = {"Labels": {**labels, **more}}
    return {"Name": f"/{name}-dev-1", "Config": known, "State": state, "HostConfig": host}


def request(**what: Any) -> dict[str, Any]:
    return {"Count": 0, "DeviceIDs": None, "Capabilities": None, **what}


@pytest.mark.parametrize(
    ("requests", "shown"),
    [
        ([], ""),
        ([request(Driver="cdi", DeviceIDs=["nvidia.com/gpu=0", "nvidia.com/gpu=1:2"])], "0,1:2"),
        ([request(Driver="nvidia", DeviceIDs=["GPU-4711"], Capabilities=[["gpu"]])], "GPU-4711"),
        ([request(Driver="", Count=-1, Capabilities=[["gpu"]])], "all"),
        ([request(Driver="nvidia", Count=2, Capabilities=[["gpu", "utility"]])], "2"),
        ([request(Driver="other", Count=1, Capabilities=[["tpu"]])], ""),
    ],
)
def test_gpus_are_named_as_they_were_asked_for(requests: list[dict[str, Any]], shown: str) -> None:
    assert everybody.gpus({"DeviceRequests": requests}) == shown


@pytest.mark.parametrize(
    ("host", "environment", "shown"),
    [
        ({"Runtime": "nvidia"}, ["A=b", "NVIDIA_VISIBLE_DEVICES=0,GPU-4711"], "0,GPU-4711"),
        ({"Runtime": "nvidia"}, ["NVIDIA_VISIBLE_DEVICES=all"], "all"),
        ({"Runtime": "nvidia"}, ["NVIDIA_VISIBLE_DEVICES=void"], ""),
        ({"Runtime": "nvidia"}, [], ""),
        ({"Runtime": "runc"}, ["NVIDIA_VISIBLE_DEVICES=all"], ""),  # an image of CUDA, no GPU
        ({"Devices": ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia1", "/dev/fuse"]}, [], "0,1"),
        ({"Devices": ["nvidia.com/gpu=all"]}, [], "all"),
    ],
)
def test_gpus_that_were_not_asked_for_by_a_request_are_seen(
    host: dict[str, Any], environment: list[str], shown: str
) -> None:
    devices = [{"PathOnHost": one} for one in host.get("Devices", ())]
    assert everybody.gpus({**host, "Devices": devices}, environment) == shown


def test_an_engine_that_does_not_tell_what_projects_store_is_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def podman(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(words, 125 if words[0] == "system" else 0, "", "")

    monkeypatch.setattr(everybody, "ask_engine", podman)
    monkeypatch.setattr(engine_words, "FOLDER", tmp_path)
    (tmp_path / ".env").write_text("CONTAINER_ENGINE=podman\n")
    assert "podman system df -v" in everybody.listing(Project(tmp_path, PROJECT))


def test_everybody_is_listed_with_gpus_limits_and_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [
        container(
            "ours",
            tmp_path,
            DeviceRequests=[request(DeviceIDs=["nvidia.com/gpu=0"])],
            NanoCpus=1_500_000_000,
            Memory=64 * 1024**3,
        ),
        container("theirs", tmp_path / "gone", DeviceRequests=None),
        container("by-hand"),
    ]
    every[2]["State"]["Running"] = False
    images = [
        {"Repository": "ours", "UniqueSize": "1GB", "SharedSize": "4.5GB"},
        {"Repository": "ours", "UniqueSize": "500MB", "SharedSize": "4.5GB"},
        {"Repository": "<none>", "UniqueSize": "250MB", "SharedSize": "0B"},
    ]
    volumes = [{"Size": "2GB", "Labels": "a=b,com.docker.compose.project=theirs,c=d"}]
    used = {"Images": images, "Volumes": volumes, "BuildCache": [{"Size": "1.5GB"}]}
    answers = {"ps": "1 2 3", "inspect": json.dumps(every), "system": json.dumps(used)}

    def capture(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(words, 0, answers[words[0]], "")

    monkeypatch.setattr(everybody, "ask_engine", capture)
    me = pwd.getpwuid(os.getuid()).pw_name
    lines = [line.split("  ") for line in everybody.listing(Project(tmp_path, PROJECT)).split("\n")]
    cells = [[cell.strip() for cell in line if cell] for line in lines]
    assert cells == [
        ["CONTAINER", "USER", "GPUS", "LIMIT", "SINCE"],
        ["ours-dev-1", me, "0", "1.5 CPUs, 64gb", "2026-11-28 09:30"],
        ["theirs-dev-1", "2026-11-28 09:30"],
        [],
        ["DISK", "USER", "IMAGES", "VOLUMES"],
        ["ours", me, "6.0 GB"],
        ["theirs", "2.0 GB"],
        ["(others)", "0.2 GB"],
        ["Build cache: 1.5 GB."],
    ]
