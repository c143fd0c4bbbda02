"""Whose libcuda an image of Hearth has: that of its base image only where nothing runs without."""

from __future__ import annotations

import pytest

from hooks.matcher import choice, compat_folder, host

OLD = "550.54.15"  # older than CUDA 13, new enough for all of CUDA 12


@pytest.mark.parametrize(
    ("driver", "gpus", "cuda", "expected"),
    [
        (OLD, ["NVIDIA GeForce RTX 4090"], "12.8", "remove"),  # error 804 with it
        (OLD, ["NVIDIA H100 PCIe"], "12.8", "remove"),
        (OLD, ["NVIDIA H100 PCIe"], "13.0", "keep"),  # runs by nothing else
        (OLD, ["NVIDIA H100 PCIe", "NVIDIA GeForce RTX 4090"], "13.0", "remove"),
        (OLD, ["NVIDIA GeForce RTX 4090"], "13.0", "remove"),
        ("580.95.05", ["NVIDIA H100 PCIe"], "13.2", "remove"),
    ],
)
def test_the_libcuda_of_the_base_image_is_kept_where_a_data_center_gpu_needs_it(
    driver: str, gpus: list[str], cuda: str, expected: str
) -> None:
    wanted = choice(service="train", torch="2.13.0", cuda=cuda)
    assert compat_folder(host(driver, gpus), wanted) == expected


def test_without_a_machine_nvidias_pytorch_image_keeps_its_libcuda_and_others_do_not() -> None:
    assert compat_folder(None, choice(service="devel", cuda="13.0")) == "remove"
    assert compat_folder(None, choice(service="ngc", ngc_release="26.08")) == "keep"
