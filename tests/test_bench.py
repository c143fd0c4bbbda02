"""`bench` measures rightly, goes on after a failure, and compares two results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bench
import torch_on_gpus

SCRIPT = Path(bench.__file__)


class Machine:
    """A clock that goes on when work is waited for; an iteration's work takes what `costs` says."""

    def __init__(self, costs: list[float]) -> None:
        self.costs, self.done, self.queued, self.now = costs, 0, 0.0, 0.0

    def step(self) -> None:
        self.queued += self.costs[min(self.done, len(self.costs) - 1)]
        self.done += 1

    def wait(self) -> None:
        self.now += self.queued
        self.queued = 0.0

    def clock(self) -> float:
        return self.now


def test_the_work_is_waited_for_and_the_slow_first_calls_do_not_count() -> None:
    machine = Machine([5.0, 1.0, 0.002])
    found = bench.measure(machine.step, machine.wait, 1.0, machine.clock)
    assert found["median_ms"] == pytest.approx(2.0)
    assert found["spread_percent"] == pytest.approx(0.0, abs=1e-6)
    assert found["batches"] == bench.BATCHES
    assert machine.now < 5 + 1 + 3


def test_short_iterations_are_timed_in_batches_of_a_length_that_a_clock_can_measure() -> None:
    machine = Machine([1e-6])
    found = bench.measure(machine.step, machine.wait, 0.02, machine.clock)
    assert found["median_ms"] == pytest.approx(0.001)
    assert found["iterations"] * 1e-6 == pytest.approx(0.02 / bench.BATCHES, rel=0.1)


def test_a_slow_type_does_not_hold_the_others_up_for_long() -> None:
    machine = Machine([10.0])
    found = bench.measure(machine.step, machine.wait, 2.0, machine.clock)
    assert found["median_ms"] == pytest.approx(10_000)
    assert found["batches"] == bench.LEAST_BATCHES
    assert machine.done <= 2 + bench.LEAST_BATCHES


def test_one_disturbed_batch_changes_the_median_little_and_is_seen() -> None:
    machine = Machine([0.1] * 8 + [9.0] + [0.1])
    found = bench.measure(machine.step, machine.wait, 0.1 * bench.BATCHES, machine.clock)
    assert found["median_ms"] == pytest.approx(100)
    assert found["most_ms"] >= 4000


class OutOfMemoryError(RuntimeError):
    """As torch.cuda.OutOfMemoryError is one."""


def fake(**names: Any) -> Any:
    """A stand-in with the few names that measuring touches besides the models."""
    return SimpleNamespace(
        manual_seed=lambda seed: seed,
        float32="float32",
        cuda=SimpleNamespace(synchronize=lambda: None, empty_cache=lambda: None),
        **names,
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OutOfMemoryError("CUDA out of memory. Tried to\nmore"), "out of memory: CUDA out of "),
        (MemoryError(), "out of memory: MemoryError()"),
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you"), "out of mem"),
        (RuntimeError("CUDA error: no kernel image is available\nx"), "CUDA error: no kernel"),
    ],
)
def test_a_model_that_fails_is_named_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    says: str,
) -> None:
    def fail(*_: Any) -> bench.Model:
        raise error

    def work(*_: Any) -> bench.Model:
        return bench.Model(lambda: sum(range(100)), 10.0, "things/s")

    models = {"convolution": fail, "matrix product": work}
    monkeypatch.setattr(bench, "MODELS", models)
    bad, good = bench.bench(fake(), torch_on_gpus.Gpu(fake()), ["float32"], 0.01)
    assert bad["model"] == "convolution"
    assert bad["error"].startswith(says)
    assert "\n" not in bad["error"]
    assert good["throughput"] == pytest.approx(10_000 / good["median_ms"])
    table = capsys.readouterr().err
    assert f"convolution        float32   {says}" in table
    assert "things/s" in table


def test_every_kind_of_device_has_sizes_for_every_model() -> None:
    for device in (bench.Cpu, torch_on_gpus.Gpu):
        assert device.sizes.keys() == bench.MODELS.keys()


@pytest.mark.parametrize(
    ("capability", "native"), [((7, 5), False), ((8, 0), True), ((12, 0), True)]
)
def test_bfloat16_is_measured_where_a_gpu_has_it(capability: tuple[int, int], native: bool) -> None:
    torch = SimpleNamespace(cuda=SimpleNamespace(get_device_capability=lambda _: capability))
    assert torch_on_gpus.Gpu(torch).has_bfloat16() == native


@pytest.mark.parametrize(
    ("flags", "native"), [("sse avx512f", False), ("avx512_bf16 amx_bf16", True)]
)
def test_bfloat16_is_measured_where_a_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch, flags: str, native: bool
) -> None:
    monkeypatch.setattr(bench, "read", lambda _: f"model name\t: A CPU\nflags\t\t: fpu {flags}\n")
    assert bench.Cpu(None).has_bfloat16() == native


def command(*options: str | Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", SCRIPT, *options],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_pytorch_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: no such file')\n")
    result = command(cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "bench: PyTorch does not import: OSError: libtorch.so: no such file\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dtype", "float32,int8"], "there are float32, bfloat16, float16, not float32,int8"),
        (["--seconds", "-1"], "-1 is no number of seconds"),
        (["--seconds", "nan"], "nan is no number of seconds"),
        (["--compare", "only-one.json"], "expected 2 arguments"),
        (["--yaml"], "unrecognized arguments: --yaml"),
    ],
)
def test_a_wrong_option_gets_one_sentence(tmp_path: Path, options: list[str], says: str) -> None:
    result = command(*options, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def document(folder: Path, name: str, results: list[dict[str, Any]], **about: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps({"environment": about, "results": results}))
    return path


def test_a_comparison_shows_the_ratio_and_what_differs(tmp_path: Path) -> None:
    product = {"model": "matrix product", "dtype": "float32", "sizes": {"n": 8}, "unit": "TFLOP/s"}
    block = {"model": "transformer block", "dtype": "float32", "sizes": {}, "unit": "tokens/s"}
    slow = document(
        tmp_path,
        "a.json",
        [{**product, "throughput": 2.0}, {**block, "error": "out of memory"}],
        torch="2.12.1",
        cpu="one",
    )
    fast = document(
        tmp_path,
        "b.json",
        [{**product, "throughput": 5.0}, {**block, "throughput": 7.0}],
        torch="2.13.0",
        cpu="one",
    )
    result = command("--compare", slow, fast, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["matrix", "product", "float32", "2", "5", "2.50", "TFLOP/s"]
    assert lines[2].split()[:6] == ["transformer", "block", "float32", "-", "7", "-"]
    assert lines[3:] == ['torch: A "2.12.1", B "2.13.0"']


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"environment": {}}'])
def test_what_is_no_result_cannot_be_compared(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    result = command("--compare", "a.json", "a.json", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "is no result of bench." in result.stderr
