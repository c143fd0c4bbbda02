"""The program of a project, host/, without the rest of the project around it."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import host

PACKAGE = Path(host.__file__).parent
AIRFLOW = (
    *("airflow-database", "airflow-init", "airflow-api-server", "airflow-scheduler"),
    *("airflow-dag-processor", "airflow-triggerer", "airflow-worker"),
)
# What project.json says of a project that has every verb.
PROJECT = {
    "name": "demo",
    "service": "simple",
    "package_manager": "pip",
    "accelerator": "cuda",
    "torch": "2.13.0",
    "torch_family": {"torch": "2.13.0", "torchvision": "0.28.0", "torchaudio": "2.11.0"},
    "base_has_torch": False,
    "python": "3.12",
    "cuda": "",
    "offered": {},
    "compiles_torch": False,
    "package": "demo",
    "answers_file": ".copier-answers.yml",
    "shell": "bash",
    "extras": [],
    "services": {
        "code": ["runtime", "dev", "airflow-worker"],
        "project": list(AIRFLOW[1:]),
        "airflow": list(AIRFLOW),
    },
    "clusters": ["slurm", "kubernetes", "runai", "skypilot"],
    "base_images": {"BASE_IMAGE": "ubuntu:24.04"},
    "builds": ["runtime", "dev", "publish", "tools"],
}


def put_program(folder: Path) -> Path:
    """Put host/ into a folder, which then is one like docker-amd64."""
    ignored = shutil.ignore_patterns("__pycache__", "*.jinja")
    shutil.copytree(PACKAGE, folder / "host", ignore=ignored, dirs_exist_ok=True)
    (folder / "host" / "project.json").write_text(json.dumps(PROJECT))
    read_there = ("image/intake/lists.py", "image/intake/text.py", "image/system_packages.json")
    for name in read_there:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE.parent / name, folder / name)
    return folder


@functools.lru_cache(maxsize=1)
def _empty() -> tempfile.TemporaryDirectory[str]:
    """A folder with the program and nothing else, for as long as the tests run."""
    kept = tempfile.TemporaryDirectory(prefix="hearth-program-")
    put_program(Path(kept.name))
    return kept


def run_program(
    *words: str, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a verb of the program, in a folder that has it or in one that has nothing else."""
    return subprocess.run(
        [sys.executable, "-B", "-m", "host", *words],
        cwd=folder or _empty().name,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
