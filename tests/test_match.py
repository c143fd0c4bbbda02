"""The matcher's verdicts: real hosts and choices, each with the layer that decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hooks.compat.table import load
from hooks.matcher import (
    BadInputError,
    Layer,
    Verdict,
    advice,
    cca_of,
    choice,
    compat_folder,
    from_image,
    from_probe,
    gpu,
    host,
    judge,
    nearest,
    working,
)
from hooks.matcher.packages import package_notes
from hooks.matcher.stacks import resolve
from hooks.matcher.verdicts import ASKS

V100, T4, K80 = "Tesla V100-SXM2-32GB", "Tesla T4", "Tesla K80"
H100, H200 = "NVIDIA H100 80GB HBM3", "NVIDIA H200"
RTX4090, RTX5090 = "NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 5090"
GTX1080 = "NVIDIA GeForce GTX 1080"

CASES: list[dict[str, Any]] = [
    case
    for name in ("match_cases.yml", "match_reports.yml", "match_held_out.yml")
    for case in yaml.safe_load((Path(__file__).parent / name).read_text(encoding="utf-8"))
]


def wheel(torch: str, cuda: str | None = None) -> dict[str, Any]:
    return {"torch": torch, "cuda": cuda}


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.get("says") or case["report"]))
def test_the_verdict_and_the_deciding_layer_are_right(case: dict[str, Any]) -> None:
    wanted = case["choice"]
    chosen = (from_image if "image" in wanted else choice)(**wanted)
    named = case["gpu"] if isinstance(case["gpu"], list) else [case["gpu"]]
    items = [gpu("", one) if one.replace(".", "").isdigit() else gpu(one) for one in named]
    judgement = judge(host(case["driver"], items)._replace(**case.get("host", {})), chosen)
    found = (judgement.verdict.value, judgement.layer and judgement.layer.value)
    answer = case.get("answer", case)
    assert found == (answer["verdict"], answer["layer"]), judgement.why
    assert judgement.why
    assert "\n" not in judgement.why
    if "jit" in case:
        told = [note for note in judgement.notes if note.layer is Layer.JIT]
        assert [note.verdict.value for note in told] == ([case["jit"]] if case["jit"] else [])


@pytest.mark.parametrize(
    "case", [case for case in CASES if "packages" in case], ids=lambda case: str(case["report"])
)
def test_what_is_told_of_packages_with_kernels_of_their_own(case: dict[str, Any]) -> None:
    chosen, item = choice(**case["choice"]), gpu(case["gpu"])
    stack = resolve(chosen, load(), "x86_64")
    told = package_notes(
        item, case["packages"], stack, load(), choice=chosen, machine=host(case["driver"], [item])
    )
    expected = case.get("answer", case)["note"]
    assert [note.layer.value for note in told] == ([expected] if expected else [])


def test_an_answer_that_a_report_contradicts_is_counted() -> None:
    reports = [case for case in CASES if "report" in case]
    differs = [case for case in reports if "answer" in case]
    for case in differs:
        assert any(value != case[name] for name, value in case["answer"].items())
    assert len(differs) / len(reports) < 0.03


def test_the_words_are_those_of_the_documentation() -> None:
    assert {v.value for v in Verdict} == {
        "works", "works_minor_compat", "works_forward_compat", "unknown", "fails",
    }  # fmt: skip
    assert {layer.value for layer in Layer} == {
        "platform", "driver", "image start check", "kernel image", "nvcc target", "Python",
        "image tag", "solver", "GPU no longer driven", "JIT compiler",
    }  # fmt: skip


def test_the_documentation_has_every_layer_in_the_order_in_which_it_is_asked() -> None:
    assert list(ASKS) == list(Layer)


def test_a_host_with_several_gpus_is_judged_by_each_and_names_the_one_that_fails() -> None:
    machine = host("580.95.05", [RTX4090, "NVIDIA GeForce GTX 1080 Ti"])
    judgement = judge(machine, choice(torch="2.14.1", cuda="13.0"))
    assert judgement.layer is Layer.KERNEL_IMAGE
    assert "GTX 1080 Ti" in judgement.gpu
    assert judge(machine, choice(torch="2.14.1", cuda="12.6")).verdict is Verdict.WORKS


def test_a_cudnn_that_does_not_support_the_gpu_is_told() -> None:
    machine = host("470.256.02", [K80])
    newer, older = (
        judge(machine, choice(torch=torch, cuda="11.8")) for torch in ("2.7.1", "2.3.1")
    )
    assert newer.verdict is older.verdict is Verdict.WORKS_MINOR_COMPAT
    assert any("cuDNN 9" in note.why for note in newer.notes)
    assert not any("cuDNN" in note.why for note in older.notes)


def test_what_the_host_reports_wins_over_its_name() -> None:
    assert gpu("NVIDIA GeForce RTX 6090", "13.0").cc == "13.0"
    assert gpu("", "10.1").cc == "11.0", "Jetson Thor was called 10.1 before CUDA 13"


BAD: list[tuple[str, Any]] = [
    ("not a driver version", lambda: host("\u0665\u0665\u0660.\u0665\u0664", [H100])),
    ("not a compute capability", lambda: gpu("", "\u0668.\u0669")),
    ("not a GPU's name", lambda: gpu("H100\x07")),
    ("not a JSON object", lambda: from_probe([])),
    ("not a list of objects", lambda: from_probe({"gpus": "abc"})),
    ("not a list of objects", lambda: from_probe({"gpus": ["H100"]})),
    ("must be a text", lambda: from_probe({"gpus": [{"name": ["H100"]}]})),
    ("must be a text", lambda: from_probe({"gpus": [{"name": "H100"}], "driver": True})),
    ("not a CUDA version", lambda: choice(cuda="\u0661\u0662.\u0668")),
    ("not a Python version", lambda: choice(python="\u0663.\u0661\u0662")),
    ("not a driver version", lambda: host("latest", [H100])),
    ("not a driver version", lambda: host("12.4", [H100])),
    ("empty", lambda: host("580.95.05", [])),
    ("no GPU given", lambda: host("580.95.05", [" "])),
    ("not a known architecture", lambda: host("580.95.05", [H100], "sparc")),
    ("not a compute capability", lambda: gpu("", "nine")),
    ("not a brand", lambda: gpu("", "8.9", "radeon")),
    ("comma", lambda: choice(cca="9.0,8.6")),
    ("7.5-9.0", lambda: choice(cca="7.5-9.0")),
    ("hopper", lambda: choice(cca="hopper")),
    ("empty", lambda: choice(cca=" ")),
    ("13.7", lambda: choice(cca="13.7")),
    ("not a PyTorch version", lambda: choice(torch="two")),
    ("not a CUDA version", lambda: choice(torch="2.14.1", cuda="cu")),
    ("contradict", lambda: choice(torch="2.14.1+cu130", cuda="cu126")),
    ("not a Python version", lambda: choice(python="3")),
    ("not a known service", lambda: choice(service="prod")),
    ("not a distribution", lambda: choice(service="devel", distro="ubuntu")),
    ("not an NGC release", lambda: choice(service="ngc", ngc_release="latest")),
    ("not an image", lambda: from_image("ubuntu:24.04")),
    ("not a tag", lambda: from_image("nvidia/cuda:latest")),
]


@pytest.mark.parametrize(("says", "make"), BAD)
def test_bad_input_gets_one_sentence_that_says_what_to_write(says: str, make: Any) -> None:
    with pytest.raises(BadInputError) as caught:
        make()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("driver", "name", "wanted", "says"),
    [
        ("550.54.15", RTX4090, "nvidia/cuda:12.4.1-cudnn8-devel-ubuntu22.04",
         "choose the image nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04"),
        ("580.95.05", RTX4090, "nvidia/cuda:12.8.2-cudnn-devel-ubuntu24.04",
         "choose the image nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04"),
        ("580.95.05", RTX4090, "nvidia/cuda:12.8.1-cudnn-base-ubuntu24.04",
         "choose the image nvidia/cuda:12.8.1-base-ubuntu24.04"),
        ("580.95.05", RTX4090, "nvidia/cuda:12.6.3-cudnn-devel-ubuntu26.04",
         "choose the image nvidia/cuda:12.6.3-cudnn-devel-ubuntu24.04"),
        ("580.95.05", RTX4090, "nvidia/cuda:12.8.1-cudnn-devel-debian12",
         "choose the image nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04"),
        ("580.95.05", RTX4090, "nvidia/cuda:12.7.0-devel-ubuntu24.04",
         "choose the image nvidia/cuda:12.8.1-devel-ubuntu24.04"),
        ("580.95.05", V100, "nvidia/cuda:13.0.3-cudnn-devel-ubuntu24.04",
         "choose the image nvidia/cuda:12.9.2-cudnn-devel-ubuntu24.04"),
        ("580.95.05", RTX4090, "pytorch/pytorch:2.3.1-cuda12.1-cudnn9-runtime",
         "choose the image pytorch/pytorch:2.3.1-cuda12.1-cudnn8-runtime"),
        ("580.95.05", H200,
         {"service": "train", "pytorch_build": "source", "torch": "2.14.1", "cuda": "13.0",
          "cca": "10.0"},
         "choose PyTorch 2.14.1, CUDA 13.0 with cca auto"),
        ("580.95.05", V100,
         {"service": "train", "pytorch_build": "source", "torch": "2.14.1", "cuda": "13.0",
          "cca": "9.0"},
         "choose PyTorch 2.14.1, CUDA 12.9 with cca auto"),
        ("470.199.02", "NVIDIA GeForce RTX 3090",
         {"service": "train", "torch": "2.11.0", "cuda": "12.8", "distro": "ubuntu24.04"},
         "choose PyTorch 2.7.1, CUDA 11.8 on ubuntu22.04"),
        ("470.199.02", "NVIDIA GeForce RTX 3090",
         {"service": "train", "cuda": "12.8", "distro": "ubuntu24.04"},
         "choose CUDA 11.8 on ubuntu22.04"),
    ],
)  # fmt: skip
def test_the_nearest_change_keeps_cuda_and_the_driver_where_it_can(
    driver: str, name: str, wanted: Any, says: str
) -> None:
    chosen = from_image(wanted) if isinstance(wanted, str) else choice(**wanted)
    change = nearest(host(driver, [name]), chosen)
    assert change is not None
    assert (change.text, change.host.driver) == (says, driver)


def test_a_changed_distribution_and_cca_are_answers_of_the_questions() -> None:
    wanted = choice(service="devel", cuda="12.6", distro="ubuntu26.04", cca="10.0")
    change = nearest(host("580.95.05", [RTX4090]), wanted)
    assert change is not None
    assert change.command.endswith("--data cca=auto --data linux_distro=ubuntu-24.04")


def test_a_wheel_that_one_source_names_is_not_suggested_before_the_others() -> None:
    release = load().torch["2.11.0"]
    one_source = release.variants["cu129"]._replace(reported=True)
    release = release._replace(variants={**release.variants, "cu129": one_source})
    table = load()._replace(torch={"2.11.0": release})
    change = nearest(host("575.57.08", [RTX5090]), choice(torch="2.14.1"), table)
    assert change is not None
    assert (change.choice.torch, change.choice.cuda) == ("2.11.0", "12.8")


@pytest.mark.parametrize(
    ("driver", "name", "settings", "torch", "cuda"),
    [
        (  # PyTorch stays where another CUDA is enough
            "580.95.05", V100, wheel("2.9.1", "cu130"), "2.9.1", "12.9"),
        ("570.124.06", RTX5090, wheel("2.14.1", "cu126"), "2.13.0", "12.9"),
        ("550.54.15", RTX4090, wheel("2.15.0"), "2.14.1", "12.6"),
        ("470.199.02", K80, wheel("2.14.1", "cu126"), "2.7.1", "11.8"),
        ("595.58.03", H100, wheel("2.16.0"), "2.15.0", "13.2"),
    ],
)  # fmt: skip
def test_the_nearest_change_keeps_gpu_and_driver_then_pytorch_then_cuda(
    driver: str, name: str, settings: dict[str, Any], torch: str, cuda: str
) -> None:
    change = nearest(host(driver, [name]), choice(**settings))
    assert change is not None
    assert change.host.driver == driver
    assert (change.choice.torch, change.choice.cuda) == (torch, cuda)


def test_a_python_without_wheels_moves_to_the_nearest_one() -> None:
    change = nearest(host("595.58.03", [H100]), choice(torch="2.15.0", python="3.10"))
    assert change is not None
    assert (change.choice.torch, change.choice.python) == ("2.15.0", "3.11")
    assert "--data python_version=3.11" in change.command


@pytest.mark.parametrize(
    ("driver", "name", "settings", "branch"),
    [
        ("590.48.01", GTX1080, wheel("2.14.1", "cu126"), "580"),
        ("495.29.05", K80, wheel("2.7.1", "cu118"), "470"),
        ("450.51.06", "NVIDIA GeForce RTX 2080 Ti", wheel("2.7.1", "cu118"), "450"),
        ("550.54.15", RTX5090, wheel("2.14.1"), "580"),
    ],
)
def test_where_nothing_works_another_driver_is_named(
    driver: str, name: str, settings: dict[str, Any], branch: str
) -> None:
    change = nearest(host(driver, [name]), choice(**settings))
    assert change is not None
    assert change.host.driver == branch
    assert change.text.startswith(f"install a driver of branch {branch}")


def test_a_data_center_gpu_gets_the_service_that_brings_its_own_libcuda_before_a_driver() -> None:
    wanted = choice(torch="2.15.0", cuda="13.2", python="3.12")
    change = nearest(host("535.183.01", ["NVIDIA A100-SXM4-80GB"]), wanted)
    assert change is not None
    assert change.text == "choose PyTorch 2.15.0, CUDA 13.2, Python 3.12 in the service train"
    assert change.command == "./docker-amd64/template.sh update --data service=train"
    consumer = nearest(host("535.183.01", [RTX4090]), wanted)
    assert consumer is not None
    assert (consumer.choice.service, consumer.choice.torch) == ("simple", "2.14.1")


def test_the_newest_that_works_and_a_driver_are_offered_beside_the_nearest() -> None:
    told = advice(host("550.54.15", [RTX4090]), choice(torch="2.11.0"))
    assert told.nearest is not None
    assert told.newest is not None
    assert told.driver is not None
    assert (told.nearest.choice.torch, told.nearest.choice.cuda) == ("2.11.0", "12.9")
    assert (told.newest.choice.torch, told.newest.choice.cuda) == ("2.14.1", "12.6")
    assert told.newest.command.endswith("--data torch_version=2.14.1 --data cuda_version=12.6")
    assert told.driver.host.driver == "580"
    assert "The newest that works: PyTorch 2.14.1, CUDA 12.6." in told.why
    assert "With a driver of branch 580 it works as it is." in told.why


def test_no_hint_leads_into_error_804() -> None:
    told = advice(host("550.54.15", [RTX4090]), from_image("nvidia/cuda:12.8.1-devel-ubuntu24.04"))
    assert told.layer == "image start check"
    assert "NVIDIA_DISABLE_REQUIRE" not in told.why


@pytest.mark.parametrize(
    ("driver", "name", "wanted", "folder"),
    [
        ("535.183.01", RTX4090, {"service": "train", "torch": "2.6.0", "cuda": "12.4"}, "remove"),
        ("580.95.05", RTX4090, {"service": "train", "torch": "2.6.0", "cuda": "12.4"}, "remove"),
        ("550.54.15", "NVIDIA RTX A6000", {"service": "devel", "cuda": "12.8"}, "remove"),
        ("550.54.15", H100, {"service": "train", "torch": "2.14.1", "cuda": "13.0"}, "keep"),
        ("550.54.15", H100, {"service": "devel", "cuda": "12.8"}, "keep"),
        ("580.95.05", H100, {"service": "devel", "cuda": "12.8"}, "remove"),
        ("555.42.06", H100, {"service": "devel", "cuda": "12.8"}, "remove"),
        ("550.54.15", RTX4090, {"service": "ngc", "ngc_release": "25.10"}, "keep"),
        (None, H100, {"service": "devel", "cuda": "12.8"}, "remove"),
    ],
)
def test_the_folder_of_cuda_compat_goes_where_it_does_harm(
    driver: str | None, name: str, wanted: dict[str, Any], folder: str
) -> None:
    assert compat_folder(host(driver, [name]), choice(**wanted)) == folder
    unknown = "keep" if wanted["service"] == "ngc" else "remove"
    assert compat_folder(None, choice(**wanted)) == unknown


def test_answers_that_a_service_does_not_ask_for_take_no_part() -> None:
    asked = choice(service="simple", torch="2.14.1")
    assert (
        choice(service="simple", torch="2.14.1", ngc_release="24.05", distro="ubuntu22.04") == asked
    )
    image = choice(service="ngc", ngc_release="25.10")
    assert choice(service="ngc", ngc_release="25.10", torch="2.3.0", cuda="12.1") == image


def test_nothing_is_known_of_the_code_of_an_ngc_release_with_one_neighbour() -> None:
    table = load()
    last = list(table.ngc)[-1]
    alone = table.ngc[last]._replace(arch={}, min_cc=None)
    cut = table._replace(ngc={**table.ngc, last: alone})
    judgement = judge(host("615.71.09", [H100]), choice(service="ngc", ngc_release=last), cut)
    assert judgement.verdict is Verdict.UNKNOWN


def test_an_image_tag_with_two_numbers_was_deleted_and_the_right_one_is_named() -> None:
    machine = host("515.86.01", ["NVIDIA GeForce RTX 3080"])
    for tag, right in (
        ("11.1-cudnn8-devel-ubuntu20.04", "11.1.1-cudnn8-devel-ubuntu20.04"),
        ("12.4-base-ubuntu22.04", "12.4.1-base-ubuntu22.04"),
    ):
        judgement = judge(machine, from_image(f"nvidia/cuda:{tag}"))
        assert (judgement.verdict, judgement.layer) == (Verdict.FAILS, Layer.IMAGE_TAG)
        assert right in judgement.why
    near = nearest(machine, from_image("nvidia/cuda:11.1-cudnn8-devel-ubuntu20.04"))
    assert near
    assert near.choice.tag == "11.1.1-cudnn8-devel-ubuntu20.04"
    assert judge(machine, near.choice).verdict is Verdict.WORKS


def test_a_project_is_not_made_of_an_image_that_is_only_judged() -> None:
    machine, table = host("460.32.03", [T4]), load()
    project = choice(service="devel", cuda="12.8", distro="ubuntu22.04")
    works = {option.choice.cuda for option in working(machine, project)}
    assert works
    assert all(table.lines[line or ""].offered for line in works)
    image = from_image("nvidia/cuda:12.8.1-devel-ubuntu20.04")
    assert "11.2" in {option.choice.cuda for option in working(machine, image)}


def test_an_ngc_image_is_made_for_what_its_neighbours_are_made_for() -> None:
    for release, known in (("25.04", True), ("23.02", False)):
        judgement = judge(
            host("580.95.05", ["NVIDIA GB200"]),
            choice(service="ngc", ngc_release=release, project=False),
        )
        assert (judgement.layer is not Layer.PLATFORM) is known


def test_where_no_driver_helps_nothing_is_promised() -> None:
    assert nearest(host("470.57.02", ["GeForce GTX 770"]), choice(torch="2.14.1")) is None
    mixed = host("580.95.05", [RTX5090, GTX1080])
    assert nearest(mixed, choice(torch="2.14.1")) is None


def test_the_list_for_a_host_is_best_first() -> None:
    options = working(host("580.95.05", [H100]), choice(python="3.12"))
    labels = [option.label for option in options]
    assert labels[0] == "PyTorch 2.15.0, CUDA 13.2, Python 3.12 (works_minor_compat)"
    assert labels[1] == "PyTorch 2.14.1, CUDA 13.0, Python 3.12 (works)"


def test_a_driver_that_brings_the_cuda_goes_before_one_that_needs_compatibility() -> None:
    options = working(host("580.95.05", [H100]), choice(torch="2.14.1", cuda="13.2"))
    lines = [option.choice.cuda for option in options if option.choice.torch == "2.14.1"]
    assert lines == ["13.0", "12.6", "13.2"]


def test_advice_gives_the_command_that_changes_the_answers() -> None:
    told = advice(host("580.95.05", [V100, V100]), choice(torch="2.14.1", cuda="13.0"))
    assert told.line == (
        "PyTorch 2.14.1, CUDA 13.0 on 2 x Tesla V100-SXM2-32GB (7.0): fails (kernel image)"
    )
    assert told.command == "./docker-amd64/template.sh update --data cuda_version=12.6"
    assert told.options[0].choice.cuda == "12.6"


def test_advice_on_a_good_match_is_one_line_and_its_reason() -> None:
    told = advice(host("595.58.03", [H200]), choice(torch="2.15.0", cuda="13.2"))
    assert (told.verdict, told.layer, told.command, told.options) == ("works", None, "", ())
    assert "driver 595.58.03 runs CUDA 13.2 itself" in told.why


def test_advice_without_a_gpu_says_so_and_cpu_needs_none() -> None:
    assert "no NVIDIA GPU was found" in advice(None, choice(torch="2.15.0")).line
    told = advice(None, choice(torch="2.15.0", accelerator="cpu"))
    assert told.verdict == "works"
    assert "CPU is what was asked" in told.why
    assert advice(None, choice(torch="2.15.0", python="3.10")).layer == "Python"


def test_the_facts_of_the_probe_are_understood() -> None:
    facts = {
        "driver": "550.54.15",
        "cuda": "12.4",
        "gpus": [
            {"name": RTX4090, "compute_capability": "8.9", "uuid": "GPU-1", "memory_mib": 24564},
            {"name": V100, "compute_capability": None, "uuid": "GPU-2", "memory_mib": 32768},
        ],
    }
    machine = from_probe(facts)
    assert machine is not None
    assert [item.cc for item in machine.gpus] == ["8.9", "7.0"]
    assert cca_of(machine) == "7.0 8.9"
    assert from_probe({"driver": None, "gpus": []}) is None


def test_versions_that_a_program_wrote_as_numbers_are_understood() -> None:
    gpus = [{"name": "", "compute_capability": 8.9}, {"name": "", "compute_capability": 9}]
    machine = from_probe({"driver": 550, "cuda": 12.4, "gpus": gpus})
    assert machine is not None
    assert (machine.driver, machine.cuda, cca_of(machine)) == ("550", "12.4", "8.9 9.0")
