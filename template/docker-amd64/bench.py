#!/usr/bin/env python3
"""Measures PyTorch inside the container, so that two images can be compared on one machine.

    python bench.py [--seconds S] [--dtype TYPE[,TYPE]] [--device DEVICE] [--service NAME]
    python bench.py --compare A.json B.json

It prints a table to stderr and one JSON document to stdout: throughput of each model, its
sizes, and the environment. The sizes depend on the kind of device only, so two results of one
machine are comparable. --compare reads two results; it needs no PyTorch.
Exit status: 0 if every model was measured, 1 if one could not be, 2 for a wrong option.
Python 3.8 or newer, PyTorch 2.0 or newer, and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

SEED = 0
BATCHES = 9  # timed batches; their median counts
LEAST_BATCHES = 3  # where one iteration alone takes longer than a batch should
WARM_UP = 0.25  # part of the time that is not measured: clocks rise, cuDNN chooses, caches fill
BUSY = 10.0  # percent of spread beyond which a median says little
TYPES = ("float32", "bfloat16", "float16")


class Model(NamedTuple):
    """What is measured.

    Attributes:
        step: one iteration.
        amount: what one iteration does, in `unit` seconds.
        unit: such as tokens/s.
    """

    step: Callable[[], object]
    amount: float
    unit: str


def transformer_block(torch: Any, like: dict[str, Any], sizes: dict[str, int]) -> Model:
    """Attention and a feed-forward layer, forward and backward."""
    nn, width, heads = torch.nn, sizes["width"], sizes["heads"]

    class Block(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.before_attention, self.before_layers = nn.LayerNorm(width), nn.LayerNorm(width)
            self.queries_keys_values, self.out = (
                nn.Linear(width, 3 * width),
                nn.Linear(width, width),
            )
            self.layers = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x: Any) -> Any:
            batch, tokens, _ = x.shape
            mixed = self.queries_keys_values(self.before_attention(x))
            parts = mixed.view(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            seen = nn.functional.scaled_dot_product_attention(*parts.unbind(0), is_causal=True)
            x = x + self.out(seen.transpose(1, 2).reshape(batch, tokens, width))
            return x + self.layers(self.before_layers(x))

    shape = (sizes["batch"], sizes["tokens"], width)
    return Model(training(torch, Block(), shape, like), shape[0] * shape[1], "tokens/s")


def convolution(torch: Any, like: dict[str, Any], sizes: dict[str, int]) -> Model:
    """Layers of 3x3 convolutions with batch normalization, forward and backward."""
    nn, channels = torch.nn, sizes["channels"]
    layers: list[Any] = []
    for _ in range(sizes["layers"]):
        layers += [
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
    shape = (sizes["batch"], channels, sizes["pixels"], sizes["pixels"])
    return Model(training(torch, nn.Sequential(*layers), shape, like), shape[0], "images/s")


def training(
    torch: Any, model: Any, shape: tuple[int, ...], like: dict[str, Any]
) -> Callable[[], None]:
    """A step of training without the optimizer: forward and backward."""
    model = model.to(**like)
    given = torch.randn(*shape).to(**like).requires_grad_()

    def step() -> None:
        model.zero_grad(set_to_none=True)
        given.grad = None
        model(given).float().square().mean().backward()

    return step


def matrix_product(torch: Any, like: dict[str, Any], sizes: dict[str, int]) -> Model:
    """A product of two square matrices."""
    n = sizes["n"]
    left, right = torch.randn(n, n).to(**like), torch.randn(n, n).to(**like)
    return Model(lambda: left @ right, 2.0 * n**3 / 1e12, "TFLOP/s")


MODELS: dict[str, Callable[[Any, dict[str, Any], dict[str, int]], Model]] = {
    "transformer block": transformer_block,
    "convolution": convolution,
    "matrix product": matrix_product,
}


def measure(
    step: Callable[[], object],
    wait: Callable[[], object],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Time an iteration: the median of several batches after a warm-up.

    Args:
        step: one iteration, which may return before its work is done.
        wait: returns when the work is done.
        seconds: for all batches together, warm-up not counted.
        clock: seconds.

    Returns:
        milliseconds of an iteration (median, least, most), the spread of the middle half of the
        batches in percent of the median, and how many batches and iterations there were.
    """

    def batch(iterations: int) -> float:
        wait()
        start = clock()
        for _ in range(iterations):
            step()
        wait()
        return clock() - start

    iterations = 1
    batch(iterations)  # the first call compiles and allocates
    warm_until = clock() + WARM_UP * seconds
    took = batch(iterations)
    while clock() < warm_until:
        if took < 0.5 * seconds / BATCHES:
            iterations *= 2
        took = batch(iterations)
    iterations = max(1, round(iterations * seconds / BATCHES / max(took, 1e-9)))
    times: list[float] = []
    patience = clock() + 3 * seconds
    while len(times) < BATCHES and (len(times) < LEAST_BATCHES or clock() < patience):
        times.append(1000 * batch(iterations) / iterations)
    times.sort()
    median = statistics.median(times)
    middle = times[-1 - len(times) // 4] - times[len(times) // 4]
    return {
        "median_ms": median,
        "least_ms": times[0],
        "most_ms": times[-1],
        "spread_percent": 100 * middle / median if median else 0.0,
        "batches": len(times),
        "iterations": iterations,
    }


class Cpu:
    """The processor, as it is measured; `torch_on_gpus.Gpu` has the same for a GPU.

    Variables that match `tuning` change how fast PyTorch is; those that are set are reported.
    """

    name = "cpu"
    sizes = {  # noqa: RUF012
        "transformer block": {"batch": 2, "tokens": 128, "width": 256, "heads": 8},
        "convolution": {"batch": 2, "pixels": 56, "channels": 64, "layers": 4},
        "matrix product": {"n": 1024},
    }
    tuning = (
        "(TUNED_)?OMP_|KMP_|GOMP_|MKL_|OPENBLAS_|MALLOC_|LD_PRELOAD$|PYTORCH_|TORCH_|TORCHINDUCTOR_"
    )

    def __init__(self, torch: Any) -> None:
        """Measure with this PyTorch."""
        self.torch = torch

    def wait(self) -> None:
        """Return when the work is done: at once, since a step returns only then."""

    def free_memory(self) -> None:
        """Give back what PyTorch keeps for later: nothing."""

    def has_bfloat16(self) -> bool:
        """Whether the processor computes in it and does not only imitate it."""
        return bool({"avx512_bf16", "amx_bf16"} & set(cpu_info("flags").split()))

    def facts(self) -> dict[str, Any]:
        """What may explain why two results differ, besides `environment`."""
        return {}

    def title(self) -> str:
        """What is measured, for the head of the table."""
        return f"{cpu_info('model name') or None}, {self.torch.get_num_threads()} threads"


def devices(torch: Any) -> dict[str, Any]:
    """The devices that PyTorch can use here, by its names for them, the fastest first."""
    found: list[Any] = [Cpu(torch)]
    with contextlib.suppress(ImportError):  # a project for the CPU has no such file
        found = import_module("torch_on_gpus").gpus(torch) + found
    return {device.name: device for device in found}


def bench(torch: Any, device: Any, dtypes: list[str], seconds: float) -> list[dict[str, Any]]:
    """Measure every model in every type; what fails has an `error` of one sentence in its place."""
    results = []
    for dtype in dtypes:
        for name, make in MODELS.items():
            sizes = device.sizes[name]
            result: dict[str, Any] = {"model": name, "dtype": dtype, "sizes": sizes}
            try:
                torch.manual_seed(SEED)
                like = {"device": device.name, "dtype": getattr(torch, dtype)}
                model = make(torch, like, sizes)
                measured = measure(model.step, device.wait, seconds)
                throughput = 1000 * model.amount / measured["median_ms"]
                result.update(throughput=throughput, unit=model.unit, **measured)
            except Exception as error:  # noqa: BLE001  (PyTorch reports through RuntimeError and its kin)
                result["error"] = sentence(error)
            model = None  # type: ignore[assignment]
            device.free_memory()
            print(row(result), file=sys.stderr, flush=True)
            results.append(result)
    return results


def sentence(error: BaseException) -> str:
    """The first line of what an error says; for a lack of memory, that it is one."""
    message = (str(error).strip() or repr(error)).splitlines()[0]
    if isinstance(error, MemoryError) or re.search(r"out of memory|can't allocate memory", message):
        return f"out of memory: {message}"
    return message


def row(result: dict[str, Any]) -> str:
    """A line of the table."""
    head = f"{result['model']:18} {result['dtype']:9}"
    if "error" in result:
        return f"{head} {result['error']}"
    speed = result["throughput"]
    shown = f"{speed:12,.4g}" if speed < 1 else f"{speed:12,.1f}"
    return (
        f"{head} {shown} {result['unit']:9} {result['median_ms']:9.3f} ms"
        f"  spread {result['spread_percent']:.1f} %"
    )


def read(path: str) -> str:
    """The text of a file, or "" where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def cpu_info(key: str) -> str:
    """A value of the first CPU in /proc/cpuinfo, or ""."""
    match = re.search(rf"(?m)^{key}\s*: (.*)$", read("/proc/cpuinfo"))
    return match.group(1).strip() if match else ""


def attempt(ask: Callable[[], Any]) -> Any:
    """What a question to PyTorch gives, or None: not every release and device knows each."""
    try:
        return ask()
    except Exception:  # noqa: BLE001
        return None


def cpu_limit() -> float | None:
    """How many CPUs' time the container may use, or None where nothing limits it."""
    try:
        return float(import_module("container_tuning").cpu_limit())
    except (ImportError, TypeError):  # outside of the image, or without a limit
        return None


def environment(
    torch: Any, device: Any, environ: dict[str, str], service: str = ""
) -> dict[str, Any]:
    """All that may explain why two results differ; None where it is not known."""
    system = re.search(r'(?m)^PRETTY_NAME="?([^"\n]*)', read("/etc/os-release"))
    tuning = re.compile("|".join(one.tuning for one in devices(torch).values()))
    return {
        "service": service or None,
        "system": system.group(1) if system else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "device": device.name,
        "cpu": cpu_info("model name") or None,
        "cpus": attempt(lambda: len(os.sched_getaffinity(0))) or os.cpu_count(),
        "cpu_limit": cpu_limit(),
        "threads": torch.get_num_threads(),
        "interop_threads": attempt(torch.get_num_interop_threads),
        "float32_matmul_precision": attempt(torch.get_float32_matmul_precision),
        **device.facts(),
        "chosen": {key: value for key, value in environ.items() if key.startswith("CHOSEN_")},
        "tuning": {key: environ[key] for key in sorted(environ) if tuning.match(key)},
    }


def compare(paths: list[str]) -> int:
    """Print two results side by side, and what differs in their environments."""
    try:
        documents = [json.loads(Path(path).read_text(encoding="utf-8")) for path in paths]
        pairs = [(document["environment"], document["results"]) for document in documents]
    except (OSError, ValueError, KeyError, TypeError):
        print(f"bench: {' or '.join(paths)} is no result of bench.", file=sys.stderr)
        return 2
    (first, before), (second, after) = pairs
    print(f"{'':28} {'A':>12} {'B':>12}    B/A")
    others = {(result["model"], result["dtype"], str(result["sizes"])): result for result in after}
    for result in before:
        other = others.get((result["model"], result["dtype"], str(result["sizes"])), {})
        values = [result.get("throughput"), other.get("throughput")]
        shown = [f"{value:12,.4g}" if value else f"{'-':>12}" for value in values]
        ratio = f"{values[1] / values[0]:6.2f}" if all(values) else f"{'-':>6}"
        head = f"{result['model']:18} {result['dtype']:9}"
        print(f"{head} {' '.join(shown)} {ratio}  {result.get('unit', '')}".rstrip())
    for key in first:
        if first[key] != second.get(key):
            print(f"{key}: A {json.dumps(first[key])}, B {json.dumps(second.get(key))}")
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options; a wrong one ends the program with status 2 and one sentence."""

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> Any:
            self.exit(2, f"bench: {message}\n")

    def types(text: str) -> list[str]:
        found = text.split(",")
        if not set(found) <= set(TYPES):
            raise argparse.ArgumentTypeError(f"there are {', '.join(TYPES)}, not {text}")
        return found

    def duration(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = 0.0
        if not 0 < found < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
        return found

    parser = Parser(prog="bench", allow_abbrev=False, description="Measure PyTorch.")
    parser.add_argument("--seconds", type=duration, default=2.0, help="for each model and type")
    parser.add_argument("--dtype", type=types, help="such as float32,bfloat16")
    parser.add_argument("--device", help="by default the fastest that is there")
    parser.add_argument("--service", default="", help="a name for the image in the result")
    parser.add_argument("--compare", nargs=2, metavar=("A.json", "B.json"))
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Measure, print; the exit status is in the text of the module."""
    options = parse(arguments)
    if options.compare:
        return compare(options.compare)
    try:
        import torch  # noqa: PLC0415  (its absence gets a sentence)
    except Exception as error:  # noqa: BLE001  (a broken library raises OSError, or anything)
        print(f"bench: PyTorch does not import: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    found = devices(torch)
    name = options.device or next(iter(found))
    if name not in found:
        print(f"bench: there is no device {name} here, only {', '.join(found)}.", file=sys.stderr)
        return 1
    device = found[name]
    native = ["float32", "bfloat16"] if device.has_bfloat16() else ["float32"]
    about = environment(torch, device, dict(os.environ), options.service)
    print(f"PyTorch {about['torch']} on {device.title()}", file=sys.stderr, flush=True)
    results = bench(torch, device, options.dtype or native, options.seconds)
    if max(result.get("spread_percent", 0.0) for result in results) > BUSY:
        print("The spread is large: something else computes on this machine.", file=sys.stderr)
    print(json.dumps({"environment": about, "seed": SEED, "results": results}, indent=2))
    return 1 if any("error" in result for result in results) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
