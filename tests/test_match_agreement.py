"""The hook and the command are two ways to ask the same question."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hooks.compat.table import load
from hooks.generate.after_render import Answers, judge
from hooks.matcher.choices import SERVICES
from hooks.matcher.command import main
from hooks.matcher.verdicts import EXIT, Verdict
from host.gpu_facts import Access, Gpu, GpuFacts

TABLE = load()
FAST = [Phase.explicit, Phase.reuse, Phase.generate]  # to shrink one of so many takes minutes
# The option of the command for an answer.
OPTIONS = {
    "service": "--service",
    "torch": "--torch",
    "cuda": "--cuda",
    "python": "--python",
    "distro": "--distro",
    "flavour": "--flavour",
    "ngc_release": "--ngc",
    "pytorch_build": "--build",
    "cca": "--cca",
    "package_manager": "--package-manager",
}
# The answers that a service asks for, beside those that all have.
ASKED = {
    "simple": {"torch", "cuda", "python", "package_manager"},
    "train": set(OPTIONS) - {"service", "ngc_release"},
    "devel": set(OPTIONS) - {"service", "ngc_release"},
    "ngc": {"ngc_release"},
    "hub": {"torch", "cuda", "flavour"},
}

gpus = st.builds(
    Gpu,
    name=st.sampled_from([*TABLE.products, "NVIDIA GeForce RTX 6090"]),
    uuid=st.just("GPU-0"),
    compute_capability=st.sampled_from([None, "7.0", "9.0", "12.0"]),
    virtual=st.booleans(),
)
machines = st.builds(
    GpuFacts,
    gpus=st.lists(gpus, min_size=1, max_size=2).map(tuple),
    driver=st.sampled_from([*map(str, TABLE.branches), "550.54.15", "470.256.02"]),
    access=st.builds(Access, mechanism=st.sampled_from(["", "cdi", "hook", "runtime"])),
    toolkit=st.sampled_from(["", "none", "1.17.8", "1.19.0"]),
    module=st.sampled_from(["", "open", "proprietary"]),
)
torches = st.sampled_from([*TABLE.torch][-6:])
projects = st.builds(
    Answers,
    service=st.sampled_from(SERVICES),
    accelerator=st.just("cuda"),
    torch=torches,
    cuda=st.sampled_from([*TABLE.lines]),
    python=st.sampled_from(["3.10", "3.12", "3.14"]),
    distro=st.sampled_from(["ubuntu-22.04", "ubuntu-24.04", "debian-12", "ubi-9"]),
    flavour=st.sampled_from(["base", "runtime", "devel"]),
    ngc_release=st.sampled_from([*TABLE.ngc]),
    pytorch_build=st.sampled_from(["wheel", "source"]),
    cca=st.sampled_from(["auto", "9.0", "7.5+PTX"]),
    package_manager=st.sampled_from(["pip", "conda"]),
)


@pytest.fixture(scope="module")
def probe() -> Iterator[Path]:
    """A file for the description of a host."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "host.json"


def by_the_hook(facts: GpuFacts, answers: Answers) -> tuple[Any, ...]:
    judged = judge(facts, answers)
    assert judged is not None
    _, told = judged
    change = told.nearest
    return told.verdict, told.layer, told.cause, change and change.text, told.command or None


def by_the_command(facts: GpuFacts, answers: Answers, probe: Path) -> tuple[Any, ...]:
    probe.write_text(json.dumps(facts.as_dict()))
    words = [word for name in OPTIONS for word in (OPTIONS[name], getattr(answers, name))]
    if answers.service == "ngc":  # there, --python asks whether the image brings it
        del words[(at := words.index("--python")) : at + 2]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = main([*words, "--probe", str(probe), "--json"])
    told = json.loads(out.getvalue())
    assert status == EXIT.get(Verdict(told["verdict"]), 0)
    change = told["nearest"] or {}
    return (
        told["verdict"],
        told["layer"],
        f"{told['why']}.",
        change.get("text"),
        (change.get("command") or None),
    )


@given(machines, projects)
@settings(max_examples=30, phases=FAST)
def test_the_hook_and_the_command_say_the_same_of_answers(
    probe: Path, facts: GpuFacts, answers: Answers
) -> None:
    assert by_the_hook(facts, answers) == by_the_command(facts, answers, probe)


@given(machines, projects, projects)
@settings(max_examples=15, phases=FAST)
def test_answers_that_the_service_does_not_ask_for_change_nothing(
    probe: Path, facts: GpuFacts, answers: Answers, others: Answers
) -> None:
    unasked = set(OPTIONS) - ASKED[answers.service] - {"service", "cca"}
    other = replace(answers, **{name: getattr(others, name) for name in unasked})
    assert by_the_hook(facts, answers) == by_the_hook(facts, other)
    assert by_the_command(facts, answers, probe) == by_the_command(facts, other, probe)
