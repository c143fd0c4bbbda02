"""The stand-in for micromamba in its image, and the standard channel in an environment."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.conftest import ROOT
from tests.support.conda_channel import CondaChannels
from tests.support.process import run

IMAGE = yaml.safe_load((ROOT / "hooks/pins/pins.yml").read_text())["micromamba_image"]
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
CREATE = """\
set -e
micromamba create --yes --prefix /opt/venv python=3.11 pyyaml pytorch-gpu hello-conda tinylib
cd /
PATH=/opt/venv/bin:$PATH
hello-conda
tinylib
torchrun --help >/dev/null 2>&1 || true
python - <<PY
import ctypes, site, sqlite3, ssl, sys, sysconfig
import numpy, torch, yaml
print(sys.prefix, site.getsitepackages(), sysconfig.get_path("purelib"))
print(torch.__version__, torch.version.cuda, numpy.ones(2).sum(), yaml.__with_libyaml__)
PY
pip --version
micromamba list --prefix /opt/venv torch
"""


def test_an_environment_of_the_standard_channel_runs_where_there_is_no_python(
    conda_channels: CondaChannels, tmp_path: Path
) -> None:
    with conda_channels.recording() as traffic:
        result = run(
            *("docker", "run", "--rm", "--volume", f"{AUTHORITIES}:{AUTHORITIES}:ro"),
            *("--env", f"MAMBA_CHANNEL_ALIAS={conda_channels.url}"),
            *("--env", "CONDA_OVERRIDE_CUDA=12.9", "--env", "LC_ALL=C"),
            *("--entrypoint", "/bin/sh", IMAGE, "-c", CREATE),
            cwd=tmp_path,
        )
    assert result.returncode == 0, result.stdout + result.stderr
    site = "/opt/venv/lib/python3.11/site-packages"
    for line in (
        "hello from /opt/venv",
        "tinylib ",  # another test may have published a newer one
        f"/opt/venv ['{site}'] {site}",
        "2.13.0 12.9 2.0 True",
        f"from {site}/pip (python 3.11)",
    ):
        assert line in result.stdout
    assert "pytorch-2.13.0-cuda129_generic_py311_200.conda" in traffic.downloads
    assert not traffic.repeated
