"""Is there a container engine, and what has to be done without it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.process import run

# The second engine of .ci/engine.sh, which stands for a host with GPUs.
ENGINE_DIR = Path(os.environ.get("HEARTH_ENGINE_DIR", "/run/hearth-engine"))
GPU_HOST = f"unix://{ENGINE_DIR}/gpu-host/docker.sock"
# The rootless engine of the same script: the home of its user, with all that the engine has.
ROOTLESS_HOME = Path(f"/var/lib/hearth-rootless-{ENGINE_DIR.name}")
STAND_IN_LABEL = "hearth.stand-in"
# While .ci/run makes the base images: the file that gets the exit status of `engine.sh images`.
IMAGES_STATUS = os.environ.get("HEARTH_ENGINE_IMAGES", "")
LONGEST_WAIT = 3600  # seconds


def need(problem: str | None) -> None:
    """Skip the test because of this problem; fail it where HEARTH_ENGINE=required; None is none."""
    if problem is None:
        return
    if os.environ.get("HEARTH_ENGINE") == "required":
        pytest.fail(f"HEARTH_ENGINE=required, but {problem}", pytrace=False)
    pytest.skip(problem)


@functools.cache
def engine_problem() -> str | None:
    """Why no image can be built here, in one sentence; None when one can."""
    for command in ("docker version", "docker buildx version", "docker compose version"):
        try:
            result = run(*command.split(), timeout=120)
        except FileNotFoundError:
            return "there is no docker command"
        except subprocess.TimeoutExpired:
            return f"`{command}` gave no answer within 120 s"
        if result.returncode:
            return f"`{command}` failed: {result.stderr.strip() or result.stdout.strip()}"
    return None


@functools.cache
def images_problem() -> str | None:
    """Why there are no base images, in one sentence; waits while .ci/run is making them."""
    if not IMAGES_STATUS:
        return None
    file, end = Path(IMAGES_STATUS), time.monotonic() + LONGEST_WAIT
    while not file.exists():
        if time.monotonic() > end:
            return f"`.ci/engine.sh images` did not end within {LONGEST_WAIT} s"
        time.sleep(0.5)
    status = file.read_text().strip()
    return None if status == "0" else f"`.ci/engine.sh images` ended with exit status {status}"


@functools.cache
def gpu_host_problem() -> str | None:
    """Why there is no engine that hands GPUs to containers, in one sentence; None if there is."""
    result = run("docker", "--host", GPU_HOST, "info", "--format", "{{json .DiscoveredDevices}}")
    if result.returncode == 0 and "nvidia.com/gpu=" in result.stdout:
        return None
    return f"no engine with GPUs, or stand-ins of them, answers on {GPU_HOST}: .ci/engine.sh start"


@functools.cache
def rootless_problem() -> str | None:
    """Why there is no rootless engine that tests can use, in one sentence; None if there is."""
    if os.getuid() != 0:
        return "only root can work as the user of the rootless engine"
    file = ROOTLESS_HOME / "socket"
    if not file.is_file():
        return f"there is no rootless engine ({file}): .ci/engine.sh rootless, .ci/engine.sh start"
    result = run("docker", "--host", file.read_text().strip(), "version")
    return None if result.returncode == 0 else f"the rootless engine fails: {result.stderr.strip()}"


def has_stand_ins() -> bool:
    """Whether base images are stand-ins here, or are becoming some: nothing is waited for."""
    return bool(IMAGES_STATUS) or is_stand_in("debian:bookworm-slim")


def is_stand_in(image: str) -> bool:
    """Whether an image of this name was made by .ci/engine.sh, because no registry is reachable."""
    result = run("docker", "image", "inspect", "--format", "{{json .Config.Labels}}", image)
    return result.returncode == 0 and STAND_IN_LABEL in (json.loads(result.stdout) or {})
