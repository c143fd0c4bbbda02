"""What the matcher says of torch.compile, and of packages with CUDA kernels of their own."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hooks.compat.rows import numbers
from hooks.compat.table import load
from hooks.generate import after_render
from hooks.matcher import (
    Layer,
    Verdict,
    advice,
    choice,
    from_image,
    gpu,
    host,
    jit_notes,
    judge,
    judge_choice,
    package_notes,
)
from hooks.matcher.jit import accepts, triton_of
from hooks.matcher.stacks import Stack, resolve
from hooks.matcher.verdicts import Finding
from host.gpu_facts import Gpu, GpuFacts

TABLE = load()
P100, V100, T4, H100 = (
    "Tesla P100-PCIE-16GB",
    "Tesla V100-SXM2-32GB",
    "Tesla T4",
    "NVIDIA H100 PCIe",
)
RTX4090, RTX5090, B300 = "NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 5090", "NVIDIA B300 SXM6 AC"
GB10, GH200, THOR = "NVIDIA GB10", "NVIDIA GH200 480GB", "NVIDIA Thor"


def notes(name: str, driver: str = "595", **wanted: Any) -> list[str]:
    """What the matcher notes on a host with one GPU, beside a verdict that is not `fails`."""
    judgement = judge(host(driver, [name]), choice(**wanted))
    assert judgement.verdict is not Verdict.FAILS, judgement.why
    assert all(note.layer is Layer.JIT for note in judgement.notes)
    return [note.why for note in judgement.notes]


def test_a_gpu_that_torch_compile_refuses_is_named_though_pytorch_works() -> None:
    machine, wanted = host("580", [P100, P100]), choice(torch="2.7.1", cuda="12.6")
    judgement = judge(machine, wanted)
    assert judgement.verdict is Verdict.WORKS
    assert judgement.layer is None
    [note] = judgement.notes
    assert note.verdict is Verdict.FAILS
    assert note.gpu == f"{P100} (6.0)"
    assert "needs 7.0 or newer" in note.why
    assert advice(machine, wanted).notes == (f"{note.why}.",)
    assert notes(V100, "580", torch="2.14.1", cuda="12.6") == []


def test_the_hook_says_it_in_a_line_after_the_verdict() -> None:
    facts = GpuFacts(driver="580.95.05", gpus=(Gpu(P100, "GPU-a"),))
    answers = after_render.Answers(accelerator="cuda", torch="2.7.1", cuda="12.6", python="3.12")
    line, note = after_render.match_lines(facts, answers, ask=False)
    assert line.endswith(": works")
    assert note.startswith(f"torch.compile refuses {P100} (6.0)")


def test_ngc_and_conda_refuse_an_old_gpu_too_and_nothing_is_said_of_their_own_ptxas() -> None:
    assert "refuses" in notes(P100, "580", service="ngc", ngc_release="24.06")[0]
    image = from_image("nvcr.io/nvidia/pytorch:25.10-py3")
    assert judge(host("595", [GB10]), image).notes == ()


@pytest.mark.parametrize(
    ("name", "torch", "target", "newer", "variable"),
    [
        (B300, "2.7.1", "sm_103a", "2.10.0", ""),  # no other ptxas helps
        (B300, "2.9.1", "sm_103a", "2.10.0", "TRITON_PTXAS_PATH"),
        (GB10, "2.9.1", "sm_121a", "2.10.0", "TRITON_PTXAS_PATH"),
        (THOR, "2.11.0", "sm_110a", "2.12.0", "TRITON_PTXAS_BLACKWELL_PATH"),
    ],
)
def test_a_gpu_that_the_ptxas_of_triton_does_not_know_is_told_what_does(
    name: str, torch: str, target: str, newer: str, variable: str
) -> None:
    stack, arch = Stack("PyTorch", cuda="13.0"), gpu(name).host or "x86_64"
    [note] = jit_notes(gpu(name), stack, choice(torch=torch), TABLE, arch)
    assert (note.verdict, note.layer) == (Verdict.FAILS, Layer.JIT)
    assert f"no target {target}; choose PyTorch {newer} or newer" in note.why
    assert re.findall(r"set (\w+) to", note.why) == ([variable] if variable else [])
    assert jit_notes(gpu(name), stack, choice(torch=newer), TABLE, arch) == []


def test_a_ptxas_that_this_triton_refuses_is_not_proposed() -> None:
    stack = Stack("PyTorch", cuda="12.8")
    wanted = choice(torch="2.8.0")
    [note] = jit_notes(gpu(B300), stack, wanted, TABLE)
    assert note.why.endswith("a ptxas of CUDA 12.9"), "Triton 3.4 knows no CUDA 13"
    [note] = jit_notes(gpu(THOR), stack, wanted, TABLE, "x86_64")
    assert "TRITON" not in note.why, "no CUDA 12 compiles for sm_110a"


def test_matrix_products_that_triton_3_3_lost_for_turing_and_volta_are_said() -> None:
    for name in (T4, V100):
        [note] = notes(name, "580", torch="2.7.1", cuda="12.6")
        assert "tl.dot" in note
        assert "PyTorch 2.8.0" in note
        for torch in ("2.6.0", "2.8.0"):
            assert notes(name, "580", torch=torch, cuda="12.6") == []


def test_a_gpu_of_its_time_hears_nothing() -> None:
    for name, torch in ((RTX4090, "2.6.0"), (RTX5090, "2.7.1"), (H100, "2.15.0"), (T4, "2.14.1")):
        cuda = "12.8" if torch == "2.7.1" else None
        assert notes(name, torch=torch, cuda=cuda, python="3.12") == []


def test_triton_without_a_wheel_for_the_machine_is_not_known_to_work() -> None:
    wanted = choice(torch="2.5.1", cuda="12.4")
    [note] = jit_notes(gpu(GH200), Stack("PyTorch", cuda="12.4"), wanted, TABLE, "aarch64")
    assert note.verdict is Verdict.UNKNOWN
    assert "no Triton 3.1.0 for aarch64" in note.why


@pytest.mark.parametrize(
    ("torch", "old", "new"),
    [("2.9.1", "3.13", "3.14"), ("2.2.0", "3.11", "3.12"), ("2.5.1", "3.12", "3.13")],
)
def test_a_python_that_torch_compile_refuses_is_said_on_gpu_and_cpu(
    torch: str, old: str, new: str
) -> None:
    for accelerator in ("cuda", "cpu"):
        stack = Stack("PyTorch", cuda="12.1" if accelerator == "cuda" else None)
        wanted = choice(torch=torch, accelerator=accelerator)
        machine = gpu(RTX4090) if accelerator == "cuda" else None
        assert jit_notes(machine, stack, wanted._replace(python=old), TABLE) == []
        [note] = jit_notes(machine, stack, wanted._replace(python=new), TABLE)
        assert f"refuses Python {new}: {old} is the newest" in note.why
    assert "3.14" in TABLE.torch["2.9.1"].python, "pip installs it, and says nothing"


def test_a_python_without_gil_is_refused_by_the_releases_that_do() -> None:
    stack = Stack("PyTorch", cuda="12.6")
    wanted = choice(torch="2.7.1", python="3.13t")
    [note] = jit_notes(gpu(RTX4090), stack, wanted, TABLE)
    assert "no GIL" in note.why
    assert jit_notes(gpu(RTX4090), stack, wanted._replace(torch="2.8.0"), TABLE) == []


def test_a_runtime_image_without_a_compiler_is_said_for_gpu_and_cpu_and_only_where_known() -> None:
    wanted: dict[str, Any] = {"torch": "2.14.1", "python": "3.12"}
    assert "no C compiler" in notes(RTX4090, **wanted, jit=False)[0]
    assert notes(RTX4090, **wanted, jit=True) == notes(RTX4090, **wanted) == []
    assert notes(RTX4090, service="devel", cuda="12.8", jit=False) == []
    alone = judge_choice(choice(**wanted, accelerator="cpu", jit=False))
    assert alone is not None
    assert "no C++ compiler" in alone.notes[0].why
    assert alone.verdict is Verdict.WORKS


def test_what_fails_anyway_and_what_has_no_pytorch_get_no_note() -> None:
    assert judge(host("580", [P100]), choice(torch="2.14.1", cuda="13.0")).notes == ()
    assert (
        judge(host("595", [GB10]), choice(service="devel", cuda="13.0", project=False)).notes == ()
    )
    assert notes(RTX4090, torch="2.99.0") == []


def packages(name: str, torch: str, cuda: str, python: str = "3.12", **named: str) -> list[Finding]:
    wanted = choice(torch=torch, cuda=cuda, python=python)
    versions = {key.replace("_", "-"): version or None for key, version in named.items()}
    return package_notes(
        gpu(name), versions, resolve(wanted, TABLE, "x86_64"), TABLE, choice=wanted
    )


@pytest.mark.parametrize("version", ["2.8.3", "2.7.4.post1", "2.99.0", ""])
def test_flash_attn_refuses_a_gpu_before_ampere_in_whatever_version(version: str) -> None:
    [found] = packages(T4, "2.8.0", "12.8", flash_attn=version)
    assert (found.verdict, found.layer) == (Verdict.FAILS, Layer.KERNEL_IMAGE)
    assert "8.0 or newer" in found.why
    assert packages(RTX4090, "2.6.0", "12.6", flash_attn=version) == []


def test_flash_attn_without_a_wheel_for_this_pytorch_or_python_is_compiled() -> None:
    assert packages(H100, "2.8.0", "12.8", flash_attn="2.8.3") == []
    [found] = packages(H100, "2.9.1", "12.8", flash_attn="2.8.3")
    assert (found.verdict, found.layer) == (Verdict.UNKNOWN, Layer.SOLVER)
    assert "no wheel for PyTorch 2.9.1" in found.why
    assert "nvcc" in found.why
    [found] = packages(H100, "2.5.1", "11.8", flash_attn="2.8.3")
    assert "CUDA 11.8" in found.why


@pytest.mark.parametrize("version", ["2.8.3.post1", "2.8.3.post2", ""])
def test_a_flash_attn_without_a_known_wheel_for_this_pytorch_is_compiled(version: str) -> None:
    assert packages(H100, "2.8.0", "12.8", flash_attn=version) == []
    [found] = packages(H100, "2.9.1", "12.8", flash_attn=version)
    assert (found.verdict, found.layer) == (Verdict.UNKNOWN, Layer.SOLVER)
    assert "pip compiles it" in found.why
    assert packages(H100, "2.9.1", "12.8", flash_attn="2.5.8") == []  # older than the table


def test_a_flash_attn_older_than_a_gpu_has_no_code_for_it() -> None:
    [found] = packages(RTX5090, "2.6.0", "12.6", flash_attn="2.7.4.post1")
    assert (found.verdict, found.layer) == (Verdict.FAILS, Layer.KERNEL_IMAGE)
    assert packages(RTX5090, "2.8.0", "12.8", flash_attn="2.8.3") == []


def test_a_flash_attn_for_hopper_is_not_known_to_run_elsewhere() -> None:
    assert packages(H100, "2.8.0", "12.8", flash_attn_3="") == []
    [found] = packages(RTX4090, "2.8.0", "12.8", flash_attn_3="")
    assert found.verdict is Verdict.UNKNOWN


def test_xformers_requires_its_own_pytorch_and_has_no_code_for_old_gpus() -> None:
    [found] = packages(RTX4090, "2.9.1", "12.8", xformers="0.0.32.post2")
    assert (found.verdict, found.layer) == (Verdict.FAILS, Layer.SOLVER)
    assert "requires PyTorch 2.8.0, not PyTorch 2.9.1" in found.why
    assert packages(RTX4090, "2.8.0", "12.8", xformers="0.0.32.post2") == []
    [found] = packages(V100, "2.7.1", "12.6", xformers="")
    assert (found.verdict, found.layer) == (Verdict.FAILS, Layer.KERNEL_IMAGE)
    assert "7.5, 8.0+PTX and 9.0a" in found.why


def test_a_wheel_with_only_ptx_for_a_gpu_needs_a_driver_that_compiles_it() -> None:
    wanted = choice(torch="2.9.0", cuda="12.8")
    stack = resolve(wanted, TABLE, "x86_64")

    def found(driver: str) -> list[Finding]:
        machine = host(driver, [RTX5090])
        packages = {"xformers": "0.0.33.post1"}  # 8.0+PTX is the newest of its list
        return package_notes(
            machine.gpus[0], packages, stack, TABLE, choice=wanted, machine=machine
        )

    assert found("570.86.10") == []
    stack = stack._replace(cuda="12.9")
    [note] = found("570.86.10")
    assert (note.verdict, note.layer) == (Verdict.UNKNOWN, Layer.KERNEL_IMAGE)
    assert "xformers 0.0.33.post1 has only PTX" in note.why


def test_xformers_that_takes_the_kernels_of_another_gpu_is_told() -> None:
    for version, torch in (("0.0.30", "2.7.0"), ("0.0.32.post2", "2.8.0")):
        [found] = packages(RTX5090, torch, "12.8", xformers=version)
        assert (found.verdict, found.layer) == (Verdict.FAILS, Layer.KERNEL_IMAGE)
        assert "half precision" in found.why
        assert packages(RTX4090, torch, "12.8", xformers=version) == []
    assert packages(RTX5090, "2.9.1", "12.8", xformers="0.0.33.post2") == []


def test_a_package_that_no_table_knows_is_passed_over() -> None:
    assert packages(T4, "2.8.0", "12.8", numpy="2.0", xformers="9.9.9", Flash__Attn="2.8.3")
    assert packages(RTX4090, "2.8.0", "12.8", numpy="2.0", xformers="9.9.9") == []


def test_each_pytorch_has_its_triton_and_what_torch_compile_accepts() -> None:
    for version, release in TABLE.torch.items():
        if release.pypi["triton"] is None:  # before torch.compile
            continue
        assert triton_of(version, TABLE), version
        assert accepts(version, TABLE), version


def test_the_rows_on_torch_compile_follow_each_other_and_each_ptxas_is_of_a_known_line() -> None:
    rows = [bound for row in TABLE.jit.torch_compile for bound in (row.first, row.last)]
    assert [numbers(bound) for bound in rows] == sorted(numbers(bound) for bound in rows)
    for triton in TABLE.jit.triton.values():
        assert {tool.line for tool in triton.ptxas} <= set(TABLE.lines), triton.version
        assert triton.ptxas[0].start is None
