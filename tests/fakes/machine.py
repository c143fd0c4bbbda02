"""Machines that are not here: environments in which the fakes of this folder stand for a host."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS = {  # which commands an engine puts on the PATH
    "none": {},
    "podman": {"podman": "docker"},
    "standalone": {"docker": "docker", "docker-compose": "docker-compose"},
    "compose-v1": {"docker": "docker", "docker-compose": "docker-compose"},
}


def environment(
    bin_dir: Path,
    *,
    nvml: str = "no-driver",
    smi: str = "",
    engine: str = "rootful",
    cdi: str = "/nowhere",
) -> dict[str, str]:
    """The environment of a process on a machine with these faked parts; its PATH has nothing else.

    `nvml` names a machine of pynvml.py, `smi` one of bin/nvidia-smi (empty: no such command), and
    `engine` one of bin/docker (none: no such command); `cdi` is the folder of its CDI files.
    `bin_dir` is made and becomes the PATH.
    """
    bin_dir.mkdir(parents=True, exist_ok=True)
    commands = dict(COMMANDS.get(engine, {"docker": "docker"}))
    if smi:
        commands["nvidia-smi"] = "nvidia-smi"
    for name, stub in commands.items():
        (bin_dir / name).symlink_to(HERE / "bin" / stub)
    kept = ("HOME", "USER", "LANG", "COVERAGE_PROCESS_START")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "PATH": str(bin_dir),
        "PYTHONPATH": str(HERE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "FAKE_NVML": nvml,
        "FAKE_SMI": smi,
        "FAKE_ENGINE": engine,
        "FAKE_CDI": cdi,
    }
