"""What holds for every host and choice of the matcher."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hooks import compat_choices
from hooks.compat_choice import arch_reason, python_reason, wheel_reason
from hooks.compat_table import TorchRelease, load, numbers
from hooks.match import Choice, Host, choice, gpu, host, judge, nearest, working

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
    torch=st.sampled_from([*TABLE.torch, "2.99.0"]),
    cuda=st.sampled_from([None, *TABLE.lines, "14.0"]),
    python=st.sampled_from([None, "3.8", "3.10", "3.12", "3.15"]),
    service=st.sampled_from(["simple", "train", "devel", "hub"]),
    package_manager=st.sampled_from(["pip", "conda"]),
    pytorch_build=st.sampled_from(["wheel", "source"]),
    cca=st.sampled_from(["auto", "9.0", "7.5+PTX", "10.0f 12.0a"]),
)
images = st.builds(
    choice, service=st.just("ngc"), ngc_release=st.sampled_from([*TABLE.ngc, "27.01"])
)
choices = st.one_of(wheels, images)


@given(hosts, choices)
@settings(max_examples=400, deadline=None)
def test_every_host_and_choice_gets_a_verdict_with_a_reason(machine: Host, wanted: Choice) -> None:
    judgement = judge(machine, wanted)
    assert judgement.why
    assert (judgement.layer is None) == (judgement.verdict.value == "works")


@given(hosts, choices)
@settings(max_examples=150, deadline=None)
def test_every_nearest_change_is_itself_judged_to_work(machine: Host, wanted: Choice) -> None:
    change = nearest(machine, wanted)
    if change is not None:
        assert judge(change.host, change.choice).verdict.works
        assert change.host.gpus == machine.gpus


@given(hosts, choices)
@settings(max_examples=100, deadline=None)
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
    return min(last, default=10_000)


@given(hosts, choices, st.sampled_from(DRIVERS))
@settings(max_examples=500, deadline=None)
def test_what_works_keeps_working_on_a_newer_driver(
    machine: Host, wanted: Choice, driver: str
) -> None:
    if numbers(driver) < numbers(str(machine.driver)) or numbers(driver)[0] > limit(machine):
        return
    if judge(machine, wanted).verdict.value == "works":
        newer = host(driver, machine.gpus, machine.arch)
        assert judge(newer, wanted).verdict.value == "works"


@given(hosts, wheels, st.sampled_from(DRIVERS))
@settings(max_examples=300, deadline=None)
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


@given(st.sampled_from(list(TABLE.products)), st.sampled_from(["", " MIG 1g.10gb"]))
@settings(deadline=None)
def test_every_product_is_found_by_its_own_name(name: str, suffix: str) -> None:
    assert gpu(name + suffix).cc == TABLE.renamed.get(
        TABLE.products[name].cc, TABLE.products[name].cc
    )
    assert gpu(name.lower()).cc == gpu(name).cc


@pytest.mark.parametrize("release", compat_choices.offered(TABLE), ids=lambda r: str(r.version))
def test_the_questions_say_what_the_matcher_says_in_the_same_words(release: TorchRelease) -> None:
    best = host(str(max(TABLE.branches)), [gpu("", "9.0")])
    for line in compat_choices.offered_lines(TABLE):
        for python in compat_choices.offered_pythons(TABLE):
            judgement = judge(best, choice(torch=release.version, cuda=line, python=python))
            said = [
                wheel_reason(release, line),
                python_reason(release, python),
                arch_reason(release, line),
            ]
            reason = next(filter(None, said), "")
            assert bool(reason) != judgement.verdict.works
            assert reason in {"", judgement.why}
            shown = compat_choices.cuda_reason(release, line)
            assert shown in {"", *said}
            assert bool(shown or said[1]) == bool(reason)


def test_defaults_work_on_a_current_data_center_gpu_and_driver() -> None:
    answers = compat_choices.defaults(TABLE)
    wanted = choice(
        torch=answers["torch_version"],
        cuda=answers["cuda_version"],
        python=answers["python_version"],
        cca=answers["cca"],
    )
    for name in compat_choices.REFERENCE_GPUS:
        assert judge(host(str(TABLE.production[-1]), [name]), wanted).verdict.value == "works"
        assert judge(host("580.95.05", [name]), wanted).verdict.works


def test_a_verdict_takes_less_than_fifty_milliseconds() -> None:
    machine = host("550.54.15", ["NVIDIA GeForce RTX 4090"])
    wanted: Any = choice(torch="2.15.0", cuda="cu132", python="3.12")
    judge(machine, wanted)
    start = time.process_time()
    for _ in range(20):
        judge(machine, wanted)
    assert (time.process_time() - start) / 20 < 0.05
