"""What the entrypoint does where a job got no GPU."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.entrypoint import entrypoint

# The functions that look, on a machine whose devices and libraries the test names.
START = """\
set -eu
say() { printf '%s\\n' "$*" >&2; }
compgen() { [[ $DEVICES == yes ]]; }
python() { [[ $LIBRARY == yes ]]; }
"""
FUNCTIONS = r"(?ms)^(check_gpu\w*\(\) \{\n.*?^\}\n)"
OF_JOB = {"CONTAINER_HOME": "/tmp/job-7"}
OF_SKYPILOT = {"SKYPILOT_NODE_RANK": "0"}


def check(devices: str = "yes", library: str = "yes", **environ: str) -> tuple[int, str]:
    """The exit status, and what is said."""
    functions = "".join(re.findall(FUNCTIONS, entrypoint("slurm")))
    known = {"DEVICES": devices, "LIBRARY": library, "NVIDIA_DRIVER_CAPABILITIES": "all"}
    done = subprocess.run(
        ["/bin/bash", "-c", f"{START}{functions}check_gpu"],
        env={"PATH": "/usr/bin:/bin", **known, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("scheduler", [OF_JOB, OF_SKYPILOT], ids=["home", "skypilot"])
def test_a_job_that_has_asked_for_gpus_ends_with_the_status_of_an_unfit_node(
    scheduler: dict[str, str],
) -> None:
    assert check(REQUIRE_GPU="1", **scheduler) == (0, "")
    for missing, words in (
        ({"devices": "no"}, "the job has asked for GPUs, and this container on node"),
        ({"library": "no"}, "has GPUs without libcuda.so.1"),
    ):
        status, said = check(**missing, REQUIRE_GPU="1", **scheduler)
        assert status == 78
        assert words in said
        assert "template.sh gpus" not in said  # it is about a machine, and not about a node


def test_a_job_that_has_asked_for_none_computes_on_the_cpu() -> None:
    status, said = check("no", "no", **OF_JOB)
    assert (status, "--gpus of submit asks for GPUs" in said) == (0, True)
    assert check("no", "no", NVIDIA_DRIVER_CAPABILITIES="", REQUIRE_GPU="1", **OF_JOB) == (0, "")


def test_a_container_of_one_machine_is_told_where_to_look() -> None:
    status, said = check("no", REQUIRE_GPU="1")
    assert (status, "template.sh gpus" in said) == (1, True)
    assert check(library="no", REQUIRE_GPU="1") == (0, "")
