"""GPUs are known by every name that a driver, a tool or a user gives them, and never guessed."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hooks.compat.table import load
from hooks.matcher import gpu, names
from hooks.matcher.names import Found, find

PRODUCTS = load().products
DRIVERS: dict[str, list[str]] = yaml.safe_load(
    (Path(__file__).parent / "gpu_names.yml").read_text(encoding="utf-8")
)
# One name for a GK104 (up to driver 470) and a GM107.
TWO_CHIPS = {"NVIDIA GeForce GTX 860M"}


@pytest.mark.parametrize("cc", DRIVERS)
def test_every_name_of_a_drivers_own_device_list_is_known(cc: str) -> None:
    wrong = {name: found for name in DRIVERS[cc] if (found := gpu(name).cc) != cc}
    assert set(wrong) <= TWO_CHIPS
    for name in wrong:
        assert cc in [PRODUCTS[product].cc for product in find(name).could_be]


SPELLINGS = [
    # as programs write them
    ("NVIDIA GeForce RTX 4090", "8.9"),
    ("nvidia geforce rtx 4090", "8.9"),
    ("GeForce RTX 4090", "8.9"),
    ("NVIDIA GeForce(R) RTX 4090", "8.9"),
    ("RTX 4090", "8.9"),
    ("Tesla T4", "7.5"),
    ("NVIDIA Tesla T4", "7.5"),
    ("T4", "7.5"),
    ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", "9.0"),
    ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "8.0"),
    ("Tesla V100-DGXS-32GB", "7.0"),
    ("NVIDIA GeForce RTX 3080 12GB", "8.6"),
    ("GeForce GTX 1060", "6.1"),
    ("NVIDIA GeForce RTX 2050", "8.6"),
    ("NVIDIA GeForce RTX 3050 A Laptop GPU", "8.9"),
    ("Quadro K2200", "5.0"),
    ("NVIDIA RTX 6000 Ada Generation", "8.9"),
    ("Quadro RTX 6000", "7.5"),
    ("NVIDIA-A100-SXM4-80GB", "8.0"),
    ("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "8.0"),
    ("NVIDIA_H100_80GB_HBM3", "9.0"),
    ("NVIDIA-GeForce-RTX-5090", "12.0"),
    ("GPU 0: NVIDIA L4 (UUID: GPU-3ee60d3c-0000-0000-0000-4b2e18b4b4a1)", "8.9"),
    ("NVIDIA Corporation AD102 [GeForce RTX 4090] (rev a1)", "8.9"),
    ("NVIDIA GeForce 830A", "5.0"),
    ("NVIDIA CMP 30HX", "7.5"),
    ("NVIDIA CMP 170HX", "8.0"),
    ("NVIDIA L40G", "8.9"),
    ("Tesla M10", "5.0"),
    ("Tesla PG503-216", "7.0"),
    ("NVIDIA RTX PRO 4500 Blackwell Server Edition", "12.0"),
    # virtual GPUs
    ("GRID A100-10C", "8.0"),
    ("GRID A100-1-5C", "8.0"),
    ("GRID A100-1-5CME", "8.0"),
    ("NVIDIA A100DX-80C", "8.0"),
    ("NVIDIA A16-2Q", "8.6"),
    ("NVIDIA A40-8Q", "8.6"),
    ("GRID M10-2Q", "5.0"),
    ("GRID P100X-8Q", "6.0"),
    ("GRID T4-2B", "7.5"),
    ("GRID T4-2B4", "7.5"),
    ("GRID V100D-32C", "7.0"),
    ("GRID V100DX-32C", "7.0"),
    ("H100XM-80C", "9.0"),
    ("NVIDIA H200X-1-18C", "9.0"),
    ("NVIDIA L40S-48C", "8.9"),
    ("GRID RTX6000-8Q", "7.5"),
    ("GRID RTX8000P-4Q", "7.5"),
    ("NVIDIA RTX6000-Ada-24Q", "8.9"),
    ("NVIDIA RTXA6000-48Q", "8.6"),
    ("NVIDIA RTX Pro 6000 Blackwell DC-96Q", "12.0"),
    ("GRID M60-0B", "5.2"),
    ("NVIDIA H100XS-64C", "9.0"),
    ("H20X-141C", "9.0"),
    ("A800DX-80C", "8.0"),
    ("RTX6000P-24C", "7.5"),
    ("NVIDIA RTX5880-Ada-48Q", "8.9"),
    ("NVIDIA RTX Pro 6000 Blackwell DC-1-12Q", "12.0"),
    # Kubernetes' labels of GPUs that pods share, and boards as NVIDIA's vGPU guide calls them
    ("Tesla-T4-SHARED", "7.5"),
    ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb-SHARED", "8.0"),
    ("NVIDIA A800 PCIe 80GB liquid-cooled", "8.0"),
    ("NVIDIA A100 HGX 80GB", "8.0"),
    ("Quadro RTX 8000 passive", "7.5"),
    # boards with a CPU
    ("NVIDIA GH200 480GB", "9.0"),
    ("GH200 Grace Hopper Superchip", "9.0"),
    ("gb200 nvl72", "10.0"),
    ("gb300", "10.3"),
    ("NVIDIA DGX Spark", "12.1"),
    ("Orin", "8.7"),
    ("Orin (nvgpu)", "8.7"),
    ("Tegra Orin", "8.7"),
    ("NVIDIA Tegra X1", "5.3"),
    ("NVIDIA Tegra X2", "6.2"),
    ("Xavier", "7.2"),
    ("NVIDIA Thor", "11.0"),
    ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "8.7"),
    ("jetson orin nano", "8.7"),
    ("Jetson Orin Nano Super", "8.7"),
    ("jetson nano", "5.3"),
    # as people type them
    ("5090", "12.0"),
    ("5090 d", "12.0"),
    ("4090d", "8.9"),
    ("4060 laptop", "8.9"),
    ("4060ti", "8.9"),
    ("4070tisuper", "8.9"),
    ("3090 ti", "8.6"),
    ("rtx3080 10gb", "8.6"),
    ("rtx 3050", "8.6"),
    ("2060 super", "7.5"),
    ("1080ti", "6.1"),
    ("gtx-1070-ti", "6.1"),
    ("mx 150", "6.1"),
    ("960m", "5.0"),
    ("titan v", "7.0"),
    ("titan xp", "6.1"),
    ("gtx titan x", "5.2"),
    ("a100", "8.0"),
    ("a100 80", "8.0"),
    ("a100-80gb", "8.0"),
    ("dgx a100", "8.0"),
    ("tesla a100", "8.0"),
    ("h100 pcie", "9.0"),
    ("h100 sxm5 80 gb", "9.0"),
    ("h200 141gb", "9.0"),
    ("b300", "10.3"),
    ("gh200", "9.0"),
    ("dgx spark", "12.1"),
    ("rtx pro 6000", "12.0"),
    ("rtx pro 6000 server", "12.0"),
    ("rtx 6000 blackwell", "12.0"),
    ("6000 ada", "8.9"),
    ("rtx 4000 ada", "8.9"),
    ("A6000", "8.6"),
    ("quadro a6000", "8.6"),
    ("A2000", "8.6"),
    ("RTX 3080 12GB", "8.6"),
    ("t1000", "7.5"),
    ("p4", "6.1"),
    ("v100 32gb sxm2", "7.0"),
    ("k40", "3.5"),
    ("DGX-1 V100", "7.0"),
    ("8x H100", "9.0"),
    ("2x 4090", "8.9"),
    ("RTX 4090 Founders Edition", "8.9"),
    ("GeForce RTX 3060 Lite Hash Rate", "8.6"),
]


@pytest.mark.parametrize(("name", "cc"), SPELLINGS)
def test_a_gpu_is_found_by_any_spelling_of_its_name(name: str, cc: str) -> None:
    assert gpu(name).cc == cc
    assert gpu(name).could_be == ()


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("h100 pcie", "NVIDIA H100 PCIe"),
        ("4060ti", "NVIDIA GeForce RTX 4060 Ti"),
        ("1050", "NVIDIA GeForce GTX 1050"),
        ("a100-40gb sxm4", "NVIDIA A100-SXM4-40GB"),
        ("2080 super max-q", "NVIDIA GeForce RTX 2080 Super with Max-Q Design"),
    ],
)
def test_of_products_that_a_name_fits_the_nearest_is_taken(name: str, product: str) -> None:
    assert find(name).product == PRODUCTS[product]


@pytest.mark.parametrize(
    "name",
    [
        "RTX 5090 Ti",
        "NVIDIA GeForce RTX 5090 Ti",
        "5090 super",
        "NVIDIA GeForce RTX 4090 Mobile",
        "NVIDIA GeForce RTX 6090",
        "RTX PRO 7000",
        "rtx 1080",
        "gtx 2060",
        "geforce a100",
        "a6000 ada",
        "Tesla P4000",
        "Tesla T40",
        "H300",
        "Jetson Rubin Nano",
        "DGX-2",
        "V100D",
        "H1000-8C",
        "NVIDIA X100-8Q",
        "GeForce GT 730",
        "NVIDIA",
        "Tesla",
        "rtx",
        "laptop",
        "ada",
        "v2",
        "100",
        "80gb",
        "-",
    ],
)
def test_a_name_that_no_list_has_stays_unknown(name: str) -> None:
    assert find(name) == Found()
    assert gpu(name).cc is None


@pytest.mark.parametrize(
    ("name", "ccs"),
    [
        ("RTX 6000", ["7.5", "8.9", "12.0"]),
        ("rtx 4000", ["7.5", "8.9", "12.0"]),
        ("3050", ["8.6", "8.9"]),
        ("3050 laptop", ["8.6", "8.9"]),
        ("titan x", ["5.2", "6.1"]),
        ("titan", ["3.5", "5.2", "6.1", "7.0", "7.5"]),
        ("nano", ["5.3", "8.7"]),
        ("GTX 860M", ["3.0", "5.0"]),
        ("GT 730M", ["3.0", "3.5"]),
    ],
)
def test_a_name_that_fits_products_that_differ_says_which(name: str, ccs: list[str]) -> None:
    item = gpu(name)
    assert item.cc is None
    assert [PRODUCTS[product].cc for product in item.could_be] == ccs
    for product in item.could_be:
        assert gpu(product).cc == PRODUCTS[product].cc, "an answer is not a question again"


def test_a_compute_capability_settles_an_ambiguous_name() -> None:
    item = gpu("GTX 860M", "5.0")
    assert (item.cc, item.could_be) == ("5.0", ())


@given(st.sampled_from(list(PRODUCTS)), st.data())
def test_case_separators_mig_and_the_vendor_change_nothing(name: str, data: st.DataObject) -> None:
    product = PRODUCTS[name]
    spelled = re.sub(
        "[ -]+", lambda _: data.draw(st.sampled_from([" ", "-", "_", "  ", " - "])), name
    )
    spelled = data.draw(st.sampled_from([spelled, spelled.lower(), spelled.upper()]))
    bare = re.sub(r"^nvidia[ _-]+", "", spelled, flags=re.IGNORECASE)
    spelled = data.draw(st.sampled_from(["", "NVIDIA ", "nvidia-", " "])) + bare
    spelled += data.draw(st.sampled_from(["", " MIG 1g.10gb", "-MIG-1g.10gb", " "]))
    for written in (name, spelled):
        found = find(written).product
        assert found is not None
        assert (found.cc, found.kind, found.host) == (product.cc, product.kind, product.host)


@given(st.sampled_from(list(PRODUCTS)), st.sampled_from(["Mobile", "XL", "II", "Plus"]))
def test_a_word_that_no_product_has_makes_another_product(name: str, word: str) -> None:
    if PRODUCTS[name].kind != "jetson":
        assert find(f"{name} {word}") == Found()


@given(st.text(max_size=40))
def test_any_text_is_read_without_an_error(text: str) -> None:
    found = find(text)
    assert not (found.product and found.could_be)


def test_200_mixed_names_take_no_time() -> None:
    every = [*PRODUCTS, *(name for name, _ in SPELLINGS), "RTX 5090 Ti"]
    mixed = [
        f"{name} no {at}" if at % 3 else name for at, name in enumerate(every[:: len(every) // 200])
    ]
    assert len(mixed) >= 200
    for cached in (gpu, find, names._index):
        cached.cache_clear()
    start = time.process_time()  # other tests run beside this one
    for name in mixed:
        gpu(name)
    assert time.process_time() - start < 0.3


@pytest.mark.parametrize(
    ("name", "brands"),
    [
        ("Tesla V100-SXM2-16GB", {"tesla"}),
        ("NVIDIA A100-SXM4-80GB", {"tesla", "nvidia"}),
        ("RTX 4090", {"geforce", "geforcertx"}),
        ("4060 laptop", {"geforce", "geforcertx"}),
        ("NVIDIA GeForce MX150", {"geforce", "geforcertx"}),
        ("NVIDIA RTX A6000", {"nvidiartx", "nvidia"}),
        ("a2000 laptop", {"nvidiartx", "nvidia"}),
        ("NVIDIA TITAN RTX", {"titan", "titanrtx"}),
        ("Quadro P3200 with Max-Q Design", {"quadro"}),
        ("Quadro RTX 3000 with Max-Q Design", {"quadrortx"}),
        ("NVS 810", {"nvs"}),
        ("GRID K520", {"grid"}),
        ("GRID V100D-32C", {"grid", "nvidia", "vapps", "vcs", "vpc", "vws"}),
        ("NVIDIA L40G", {"tesla", "nvidia"}),
        ("NVIDIA CMP 170HX", set()),
        ("Matrox D-Series D1450", set()),
        ("RTX 5090 Ti", set()),
    ],
)
def test_a_gpu_has_no_brand_that_it_cannot_report(name: str, brands: set[str]) -> None:
    assert gpu(name).brands == brands
