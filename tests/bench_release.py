"""An older release and the working tree, side by side: `make bench ARGS='--only release'`.

One project of each, with the same answers, packages and engine, for pip and for conda. They take
turns, and the first changes with each run, so that a machine that gets slower disturbs both alike.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import ROOT
from tests.support.conda_channel import (
    CondaChannels,
    python_module,
    serving_conda,
    standard_channel,
)
from tests.support.index import bridge_address, serving
from tests.support.project import Project
from tests.support.timing import (
    STACK,
    generated,
    must,
    package_index,
    seconds,
    torch_answers,
)

# The last release without what protects shared caches.
RELEASE = "0.5.2"


class Pair(NamedTuple):
    """The same project of an older release and of the working tree.

    Attributes:
        manager: pip or conda.
        old: the project of the release.
        new: the project of the working tree.
        offer: makes a package of this name that both can add.
    """

    manager: str
    old: Project
    new: Project
    offer: Callable[[str], object]


def bench_release(folder: Path, runs: int) -> dict[str, Any]:
    """What a day's work takes with the release and with the working tree, and how many times it."""
    released = checked_out(RELEASE, folder / f"hearth-{RELEASE}")
    found: dict[str, Any] = {}
    for pair_of in (pip_pair, conda_pair):
        with pair_of(folder, released) as pair:
            for one in (pair.old, pair.new):
                # Fills the caches of wheels and of apt, which the measured steps find full.
                one.ok("lock")
                one.ok("build")
            for step in STEPS:
                # Each takes minutes, and the table is printed when all are known.
                print(f"{pair.manager}: measuring {step.name} ...", file=sys.stderr, flush=True)
                found |= compared(pair, step, runs)
    return found


def checked_out(version: str, folder: Path) -> Path:
    """A clone of this repository at a version of RELEASES.

    Raises:
        SystemExit: RELEASES has no such version, or this clone lacks its commit.
    """
    rows = dict(re.findall(r"(?m)^(\d\S*) (\w+)$", (ROOT / "RELEASES").read_text()))
    if version not in rows:
        raise SystemExit(f"RELEASES has no version {version}")
    must("git", "clone", "--quiet", "--no-checkout", ROOT, folder)
    must("git", "checkout", "--quiet", "--detach", rows[version], cwd=folder)
    must("git", "tag", "--force", f"v{version}", rows[version], cwd=folder)
    return folder


@contextmanager
def pip_pair(folder: Path, released: Path) -> Iterator[Pair]:
    """Two projects with PyTorch for the CPU and `STACK`, from an index on this machine."""
    index = package_index(folder)
    answers = torch_answers(index)
    with (
        serving(index, bridge_address()),
        generated(folder / "pip-old", released, answers, index.env()) as old,
        generated(folder / "pip-new", folder / "hearth", answers, index.env()) as new,
    ):
        for one in (old, new):
            index.replace_pytorch_index(one.docker / "dependencies/pyproject.toml")
            one.ok("add", *STACK)
        yield Pair("pip", old, new, index.add)


@contextmanager
def conda_pair(folder: Path, released: Path) -> Iterator[Pair]:
    """Two projects with PyTorch for the CPU, from a channel on this machine."""
    channels = CondaChannels(folder / "channels", standard_channel())
    index = package_index(folder)
    answers = {**torch_answers(index), "package_manager": "conda"}
    with serving_conda(channels, bridge_address()), serving(index, bridge_address()):
        env = {**index.env(), "MAMBA_CHANNEL_ALIAS": channels.url}
        with (
            generated(folder / "conda-old", released, answers, env) as old,
            generated(folder / "conda-new", folder / "hearth", answers, env) as new,
        ):
            yield Pair("conda", old, new, lambda name: channels.publish(python_module(name, "1.0")))


class Step(NamedTuple):
    """What is measured of a project, after something that is not."""

    name: str
    prepare: Callable[[Pair, Project, int], object]
    act: Callable[[Project, int], object]


def compared(pair: Pair, step: Step, runs: int) -> dict[str, list[float]]:
    """The seconds of a step in both projects, and the second's as many times the first's."""
    took: dict[str, list[float]] = {"old": [], "new": []}
    for number in range(runs):
        order = ["old", "new"] if number % 2 == 0 else ["new", "old"]
        for name in order:
            one: Project = getattr(pair, name)
            step.prepare(pair, one, number)
            took[name] += seconds(partial(step.act, one, number), 1)
    what = f"{pair.manager}: {step.name}"
    return {
        f"{what}, {RELEASE} (s)": took["old"],
        f"{what}, now (s)": took["new"],
        f"  as many times, {pair.manager}: {step.name}": [
            statistics.median(took["new"]) / statistics.median(took["old"])
        ],
    }


def forget_environment(_pair: Pair, one: Project, _number: int) -> None:
    """Change the last layer below the stages that install packages; caches stay as they are."""
    file = one.docker / "Dockerfile"
    text = re.sub(r"(?m)^ENV BENCH_RUN=.*\n", "", file.read_text())
    line = f"ENV BENCH_RUN={time.time_ns()}\n"
    text, places = re.subn(r"(?m)^FROM builder AS ", f"{line}\\g<0>", text, count=1)
    if not places:
        raise SystemExit(f"{file} has no stage that starts from builder")
    file.write_text(text)


def package(one: Project, number: int) -> str:
    """The name of the package that is added in a run."""
    return f"light-{one.folder.name}-{number}"


def offer_package(pair: Pair, one: Project, number: int) -> None:
    """Have a package that nobody knows."""
    pair.offer(package(one, number))


def add_package(pair: Pair, one: Project, number: int) -> None:
    """List one more package; those of the step before are listed already."""
    name = f"{package(one, number)}-built"
    pair.offer(name)
    one.ok("add", name)


def nothing(_pair: Pair, _one: Project, _number: int) -> None:
    """Prepare nothing."""


STEPS = (
    Step("environment anew", forget_environment, lambda one, _: one.ok("build", "dev")),
    Step("add", offer_package, lambda one, number: one.ok("add", package(one, number))),
    Step("build of one more package", add_package, lambda one, _: one.ok("build", "dev")),
    Step("build of nothing new", nothing, lambda one, _: one.ok("build")),
    Step("up", lambda _pair, one, _: one.ok("down"), lambda one, _: one.ok("up")),
    Step("run true", nothing, lambda one, _: one.ok("run", "true")),
)
