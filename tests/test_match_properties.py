"""What holds for every host and choice of the matcher."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hooks.compat import make_choices
from hooks.compat.rows import TorchRelease, numbers
from hooks.compat.table import FOLDER, load
from hooks.matcher import (
    Choice,
    Host,
    choice,
    compat_folder,
    from_image,
    gpu,
    host,
    judge,
    nearest,
    working,
)
from hooks.matcher.choices import arch_reason, nvcc_reason, python_reason, wheel_reason
from hooks.matcher.hosts import CCA_FORM, BadInputError, targets
from hooks.matcher.search import OTHER_SERVICES

TABLE = load()
DRIVERS = [
    *map(str, TABLE.branches),
    *(d for line in TABLE.lines.values() for d in line.toolkit_driver.values() if d),
    "525.60.11", "450.51.06", "566.36", "384.81", "700.1",
]  # fmt: skip

names = st.sampled_from([*TABLE.products, "NVIDIA GeForce RTX 6090"])
hosts = st.builds(
    host, st.sampled_from(DRIVERS), st.lists(names, min_size=1, max_size=3),
    st.sampled_from([None, "x86_64", "aarch64"]),
)  # fmt: skip
wheels = st.builds(
    choice,
    torch=st.sampled_from([None, *TABLE.torch, "2.99.0"]),
    cuda=st.sampled_from([None, *TABLE.lines, *TABLE.never_released, "12.99", "14.0"]),
    python=st.sampled_from([None, "3.8", "3.10", "3.12", "3.15"]),
    service=st.sampled_from(["simple", "train", "devel", "hub"]),
    package_manager=st.sampled_from(["pip", "conda"]),
    pytorch_build=st.sampled_from(["wheel", "source"]),
    cca=st.sampled_from(["auto", "9.0", "7.5+PTX", "10.0f 12.0a"]),
    distro=st.sampled_from([None, "ubuntu22.04", "ubuntu24.04", "debian12", "ubi9"]),
)
ngc = st.builds(choice, service=st.just("ngc"), ngc_release=st.sampled_from([*TABLE.ngc, "27.01"]))
cuda_tags = st.builds(
    "nvidia/cuda:{}-{}{}-{}".format,
    st.sampled_from([*(p for x in TABLE.lines.values() for p in x.patches), "12.7.0", "14.0.0"]),
    st.sampled_from(["", "cudnn-", "cudnn8-", "cudnn9-"]),
    st.sampled_from(["base", "runtime", "devel"]),
    st.sampled_from(["ubuntu20.04", "ubuntu24.04", "ubuntu26.04", "debian12", "rockylinux9"]),
)
hub_tags = st.builds(
    "pytorch/pytorch:{}-cuda{}-cudnn{}-{}".format,
    st.sampled_from([*TABLE.torch, "2.99.0"]),
    st.sampled_from([*TABLE.lines, "12.7"]),
    st.sampled_from("89"),
    st.sampled_from(["runtime", "devel"]),
)
images = st.builds(from_image, st.one_of(cuda_tags, hub_tags))
choices = st.one_of(wheels, ngc, images)


@given(hosts, choices)
@settings(max_examples=400)
def test_every_host_and_choice_gets_a_verdict_with_a_reason(machine: Host, wanted: Choice) -> None:
    judgement = judge(machine, wanted)
    assert judgement.why
    assert (judgement.layer is None) == (judgement.verdict.value == "works")


@given(hosts, choices, st.sampled_from([*TABLE.never_released, "12.99", "14.0"]))
@settings(max_examples=200)
def test_a_cuda_that_was_not_released_works_nowhere(
    machine: Host, wanted: Choice, cuda: str
) -> None:
    if wanted.service == "ngc" or wanted.accelerator == "cpu":
        return  # these take no CUDA
    verdict = judge(machine, wanted._replace(cuda=cuda, tag=None)).verdict
    assert not verdict.works


@given(hosts, choices)
@settings(max_examples=80)
def test_every_nearest_change_is_itself_judged_to_work(machine: Host, wanted: Choice) -> None:
    change = nearest(machine, wanted)
    if change is not None:
        assert judge(change.host, change.choice).verdict.works
        assert change.host.gpus == machine.gpus
        same = change.choice
        assert same.service in {wanted.service, OTHER_SERVICES.get(wanted.service)}
        kept = ["accelerator", "package_manager", "pytorch_build", "compat", "project"]
        kept += ["flavour"] if same.service == wanted.service else ["torch"]
        assert all(getattr(same, field) == getattr(wanted, field) for field in kept)


@given(hosts, choices, st.data())
@settings(max_examples=400)
def test_where_another_choice_works_on_this_driver_a_nearest_change_is_named(
    machine: Host, wanted: Choice, data: st.DataObject
) -> None:
    offered = [release.version for release in make_choices.offered(TABLE)]
    other = wanted._replace(
        tag=None,
        torch=wanted.torch and data.draw(st.sampled_from([*offered, wanted.torch])),
        cuda=data.draw(st.sampled_from([wanted.cuda, *TABLE.lines])),
        distro=wanted.distro and data.draw(st.sampled_from([wanted.distro, "ubuntu22.04"])),
    )
    if other.service == "ngc":
        other = other._replace(ngc_release=data.draw(st.sampled_from(list(TABLE.ngc))))
    works = [judge(machine, other._replace(cca=cca)).verdict.works for cca in (wanted.cca, "auto")]
    if any(works):
        change = nearest(machine, wanted)
        assert change is not None
        assert change.host == machine


@given(hosts, choices)
@settings(max_examples=100)
def test_every_listed_choice_works_and_a_working_host_has_a_list(
    machine: Host, wanted: Choice
) -> None:
    options = working(machine, wanted)
    assert all(judge(machine, option.choice).verdict.works for option in options)
    offered = wanted.torch in TABLE.torch and TABLE.torch[str(wanted.torch)].offered
    if judge(machine, wanted).verdict.works and (offered or wanted.service == "ngc"):
        assert options


def limit(machine: Host) -> int:
    """The last driver branch that drives every GPU of a host."""
    last = [a.last_branch for g in machine.gpus for a in TABLE.architectures if g.cc in a.cc]
    return min(filter(None, last), default=10_000)


@given(hosts, choices, st.sampled_from(DRIVERS))
@settings(max_examples=500)
def test_what_works_keeps_working_on_a_newer_driver(
    machine: Host, wanted: Choice, driver: str
) -> None:
    if numbers(driver) < numbers(str(machine.driver)) or numbers(driver)[0] > limit(machine):
        return
    if judge(machine, wanted).verdict.value == "works":
        newer = host(driver, machine.gpus, machine.arch)
        assert judge(newer, wanted).verdict.value == "works"


@given(hosts, wheels, st.sampled_from(DRIVERS))
@settings(max_examples=300)
def test_a_wheel_that_works_in_any_way_keeps_working_on_a_newer_driver(
    machine: Host, wanted: Choice, driver: str
) -> None:
    # Images are another matter: those of nvidia/cuda start on some older branches only.
    if numbers(driver) < numbers(str(machine.driver)) or numbers(driver)[0] > limit(machine):
        return
    plain = wanted._replace(service="simple")
    if judge(machine, plain).verdict.works:
        newer = host(driver, machine.gpus, machine.arch)
        assert judge(newer, plain).verdict.works


@pytest.mark.parametrize("release", make_choices.offered(TABLE), ids=lambda r: str(r.version))
def test_the_questions_say_what_the_matcher_says_in_the_same_words(release: TorchRelease) -> None:
    best = host(str(max(TABLE.branches)), [gpu("", "9.0")])
    for line in make_choices.offered_lines(TABLE):
        for python in make_choices.offered_pythons(TABLE):
            judgement = judge(best, choice(torch=release.version, cuda=line, python=python))
            said = [
                wheel_reason(release, line),
                python_reason(release, python),
                arch_reason(release, line),
            ]
            reason = next(filter(None, said), "")
            assert bool(reason) != judgement.verdict.works
            assert reason in {"", judgement.why}
            shown = make_choices.cuda_reason(release, line)
            assert shown in {"", *said}
            assert bool(shown or said[1]) == bool(reason)


def test_the_question_about_cca_accepts_and_refuses_what_the_matcher_does() -> None:
    rows = json.loads((FOLDER / "choices.json").read_text(encoding="utf-8"))
    every = {name for x in TABLE.lines.values() for name in [*(x.targets or []), *x.special]}
    for line, row in rows["cuda"].items():
        for name in every:
            reason = nvcc_reason(TABLE.lines[line], targets((name,))[0])
            assert (name in row["targets"].split()) == (not reason)
            said = row["refuses_special" if name[-1] in "af" else "refuses"] % name
            assert reason in {"", said}
    machine = host("580.95.05", ["NVIDIA B200"])
    wanted = choice(torch="2.11.0", cuda="12.8", cca="10.0f")
    assert judge(machine, wanted).why == rows["cuda"]["12.8"]["refuses_special"] % "10.0f"


@pytest.mark.parametrize(
    "text", ["9.0,8.6", "7.5-9.0", "", "sm_90", "8.9 x", "9.0+ptx", "auto 9.0"]
)
def test_the_question_about_cca_refuses_the_form_that_the_matcher_refuses(text: str) -> None:
    rule = json.loads((FOLDER / "choices.json").read_text(encoding="utf-8"))["cca"]
    assert not re.search(rf"\A({rule['pattern']})\Z", text)
    assert all(word in rule["error"] for word in ("comma", "range", "empty"))
    with pytest.raises(BadInputError, match=re.escape(CCA_FORM) if "," not in text else "comma"):
        choice(cca=text)
    assert rule["error"].endswith(CCA_FORM)


def test_defaults_work_on_a_current_data_center_gpu_and_driver() -> None:
    answers = make_choices.defaults(TABLE)
    wanted = choice(
        torch=answers["torch_version"],
        cuda=answers["cuda_version"],
        python=answers["python_version"],
        cca=answers["cca"],
    )
    ngc_image = choice(service="ngc", ngc_release=answers["ngc_release"])
    for name in make_choices.REFERENCE_GPUS:
        assert judge(host(str(TABLE.production[-1]), [name]), wanted).verdict.value == "works"
        assert judge(host("580.95.05", [name]), wanted).verdict.works
        assert judge(host("580.95.05", [name]), ngc_image).verdict.works


def test_the_question_says_of_which_ngc_releases_nobody_knows_the_gpus() -> None:
    rows = json.loads((FOLDER / "choices.json").read_text(encoding="utf-8"))["ngc"]
    newest = host(str(max(TABLE.branches)), list(make_choices.REFERENCE_GPUS))
    for release, row in rows.items():
        verdict = judge(newest, choice(service="ngc", ngc_release=release)).verdict
        assert ("not known for which GPUs" in row["label"]) == (verdict.value == "unknown")


@given(hosts, choices)
@settings(max_examples=300)
def test_an_image_for_hearth_works_at_least_where_the_base_image_does(
    machine: Host, wanted: Choice
) -> None:
    mine = wanted._replace(compat="auto", project=False)
    for folder in ("keep", "remove"):
        if judge(machine, mine._replace(compat=folder)).verdict.works:
            assert judge(machine, mine).verdict.works


@given(hosts, choices)
@settings(max_examples=150)
def test_the_folder_that_is_advised_is_the_one_that_was_judged(
    machine: Host, wanted: Choice
) -> None:
    mine = wanted._replace(compat="auto")
    folder = compat_folder(machine, mine)
    assert judge(machine, mine) == judge(machine, mine._replace(compat=folder))


def test_a_verdict_takes_less_than_fifty_milliseconds() -> None:
    machine = host("550.54.15", ["NVIDIA GeForce RTX 4090"])
    wanted: Any = choice(torch="2.15.0", cuda="cu132", python="3.12")
    judge(machine, wanted)
    start = time.process_time()
    for _ in range(20):
        judge(machine, wanted)
    assert (time.process_time() - start) / 20 < 0.05
