"""`template.sh bench`: what PyTorch gets through in an image, for people and for a file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.project import Project

MODELS = {"transformer block", "convolution", "matrix product"}


@pytest.mark.parametrize("service", ["runtime", "dev"])
def test_bench_measures_every_model_and_says_where(
    torch_project: Project, torch_version: str, service: str
) -> None:
    options = () if service == "runtime" else ("dev",)
    measured = torch_project.sh("bench", *options, "--seconds", "0.1", "--dtype", "float32")
    assert measured.returncode == 0, measured.stderr
    document: dict[str, Any] = json.loads(measured.stdout)
    assert {result["model"] for result in document["results"]} == MODELS
    for result in document["results"]:
        assert result["throughput"] > 0
        assert result["unit"] in measured.stderr
    environment = document["environment"]
    assert environment["torch"] == f"{torch_version}+cpu"
    assert environment["service"] == f"simple-{service}"
    assert environment["chosen"]["CHOSEN_TORCH"] == torch_version
    assert environment["tuning"]["OMP_THREADS_BY_QUOTA"] == "yes"


def test_two_results_can_be_compared_from_any_folder(torch_project: Project) -> None:
    result = {"model": "matrix product", "dtype": "float32", "sizes": {"n": 1024}}
    for name, speed, threads in (("a", 2.0, 8), ("b", 3.0, 4)):
        content = {
            "environment": {"threads": threads, "torch": "2.13.0"},
            "results": [{**result, "throughput": speed, "unit": "TFLOP/s"}],
        }
        torch_project.write(f"outputs/{name}.json", json.dumps(content))
    folder = torch_project.folder / "outputs"
    said = torch_project.sh("bench", "--compare", "a.json", "b.json", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert "matrix product     float32              2            3   1.50  TFLOP/s" in said.stdout
    assert "threads: A 8, B 4" in said.stdout
    assert "torch" not in said.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["everything"], "bench knows runtime, dev, not everything."),
        (["runtime", "dev"], "bench does not know dev."),
        (["--seconds"], "bench: --seconds needs a value."),
        (["--seconds", "soon"], "bench: argument --seconds: soon is no number of seconds"),
        (["--device", "cuda"], "bench: there is no device cuda here, only cpu."),
        (["--compare", "none.json", "none.json"], "is no result of bench."),
    ],
)
def test_a_wrong_option_gets_one_sentence(
    torch_project: Project, arguments: list[str], says: str
) -> None:
    result = torch_project.sh("bench", *arguments)
    assert result.returncode
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


def test_without_a_framework_there_is_nothing_to_measure(plain_project: Project) -> None:
    result = plain_project.sh("bench")
    assert result.returncode == 1
    assert 'This project has no verb "bench"' in result.stderr
