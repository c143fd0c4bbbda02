"""The measurements of docs/developing.md: `make bench` prints a table and writes bench.json.

Medians of five runs each. The cold build of `engine` runs once, and is cold only in an engine
without a build cache: `docker buildx prune --all` makes it so. Those of `podman` are always cold.
Needs what the engine tests need, Chromium for the configurator, and the commit of an older release
for the comparison with it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench_release import bench_release
from tests.conftest import ROOT
from tests.engine.conftest import lighten
from tests.support import podman
from tests.support.airflow_bench import measure
from tests.support.browser import browsing, chromium
from tests.support.configurator import seconds_of_page, serving_page
from tests.support.engine import engine_problem
from tests.support.index import PackageIndex, bridge_address
from tests.support.project import Project
from tests.support.timing import (
    STACK,
    commit,
    copier,
    must,
    pack,
    person,
    project,
    seconds,
    snapshot,
)
from website.python.bundle import kilobytes

MIB = 1024**2
MOST_STARTS = 3  # of Airflow, which take half a minute each


def plain_template(rendered: Path, folder: Path) -> Path:
    """A template of the same files, already rendered, with one question, no table and no hook."""
    shutil.copytree(rendered, folder / "template")
    (folder / "template" / ".copier-answers.yml").unlink()
    answers = folder / "template" / "{{ _copier_conf.answers_file }}.jinja"
    answers.write_text("{{ _copier_answers | to_nice_yaml }}")
    (folder / "copier.yml").write_text("_subdirectory: template\nname: bench\n")
    commit(folder)
    pack(folder)
    return folder


def processor_seconds(action: Callable[[], object]) -> float:
    """The processor time of the programs that a call runs, which other programs disturb less."""
    before = os.times()
    action()
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def bench_copy(folder: Path, runs: int) -> dict[str, Any]:
    """Copier with questions, tables and hook against Copier with the rendered files alone."""
    hearth = folder / "hearth"
    rendered = folder / "rendered"
    copier("--skip-tasks", "--vcs-ref", "HEAD", hearth, folder=rendered)
    plain = plain_template(rendered, folder / "plain")
    ways: dict[str, Callable[[], None]] = {
        "whole": lambda: copier("--trust", "--vcs-ref", "HEAD", hearth, folder=folder / "a"),
        "no hook": lambda: copier("--skip-tasks", "--vcs-ref", "HEAD", hearth, folder=folder / "a"),
        "alone": lambda: copier("--vcs-ref", "HEAD", plain, folder=folder / "b"),
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):  # in turn, so that a machine that gets slower disturbs all alike
        for name, way in ways.items():
            start = time.perf_counter()
            processor[name].append(processor_seconds(way))
            wall[name].append(time.perf_counter() - start)
    whole, without_hook, alone = (statistics.median(wall[name]) for name in ways)
    adds = statistics.median(processor["whole"]) - statistics.median(processor["alone"])
    return {
        "copy --defaults (s)": wall["whole"],
        "the same files alone (s)": wall["alone"],
        "  the hook adds (s)": [whole - without_hook],
        "  questions, tables and rendering add (s)": [without_hook - alone],
        "  both add, of a processor (s)": [adds],
        "  a copy takes as many times the processor time": [
            one / other for one, other in zip(processor["whole"], processor["alone"], strict=True)
        ],
    }


def entrypoint(template: Path) -> Path:
    """The file of a template, as text or as Jinja, by which it changes."""
    file = template / "template/docker-amd64/entrypoint.sh"
    return file if file.exists() else file.with_name("entrypoint.sh.jinja")


def change(file: Path) -> None:
    """Write a line more into a file."""
    with file.open("a") as opened:
        opened.write("# changed\n")


def rename(file: Path) -> None:
    """Give a file another name, and a line more."""
    change(file)
    file.rename(file.with_name(file.name.replace("entrypoint", "start")))


CHANGES: dict[str, Callable[[Path], None]] = {
    "changes": change,
    "drops": Path.unlink,
    "renames": rename,
}


def bench_update(folder: Path, runs: int) -> dict[str, Any]:
    """`template.sh update` where the template changes, drops or renames a file that was edited.

    Beside it, Copier's own update of the rendered files alone, which bench_copy leaves here.
    """
    script = ("docker-amd64/template.sh", "update", "-y")
    alone = (sys.executable, "-m", "copier", "update", "--quiet", "--defaults")
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ways = {"hearth": script, "plain": alone}
    for name in ways:
        must("git", "tag", "v1.0.0", cwd=folder / name)
        made = folder / f"of-{name}"
        copier("--trust", "--vcs-ref", "v1.0.0", folder / name, folder=made)
        edited = made / "docker-amd64/entrypoint.sh"
        edited.write_text(edited.read_text().replace("\n", "\n# mine\n", 1))
        commit(made)
    found: dict[str, Any] = {}
    for what, act in CHANGES.items():
        for name in ways:
            must("git", "checkout", "--quiet", "--detach", "v1.0.0", cwd=folder / name)
            act(entrypoint(folder / name))
            commit(folder / name)
            must("git", "tag", "--force", "v1.0.1", cwd=folder / name)
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(runs):  # in turn, so that a machine that gets slower disturbs both alike
            for name, command in ways.items():
                shutil.copytree(folder / f"of-{name}", folder / "updated", symlinks=True)
                took[name] += seconds(partial(must, *command, cwd=folder / "updated", env=env), 1)
                shutil.rmtree(folder / "updated")
        found |= {
            f"update, the template {what} a file (s)": took["hearth"],
            f"  the same files alone, when it {what} one (s)": took["plain"],
            f"  as many times, when it {what} one": [
                one / other for one, other in zip(took["hearth"], took["plain"], strict=True)
            ],
        }
    return found


def bench_engine(folder: Path, runs: int) -> dict[str, Any]:
    """What a day's work costs on a real engine."""
    found: dict[str, Any] = {}
    with project(folder) as (made, index):
        made.ok("lock")
        with index.recording() as traffic:
            found["cold build of dev (s)"] = seconds(lambda: made.ok("build", "dev"), 1)
        found["  downloaded (MiB)"] = [traffic.bytes / MIB]
        made.ok("build")
        found["no-op build of both (s)"] = seconds(lambda: made.ok("build"), runs)
        module = next((made.folder / "src").rglob("__main__.py"))
        module.write_text(module.read_text() + "\n# edited\n")
        found["build after an edit of code (s)"] = seconds(lambda: made.ok("build"), runs)
        found |= bench_dependency(made, index, set(traffic.downloads), runs)
        found |= bench_apt(made, runs)
        found |= bench_run(made, runs)
        found |= bench_verbs(made, runs)
        found |= bench_up(made, runs)
        found |= bench_context(made)
    return found


def bench_dependency(
    made: Project, index: PackageIndex, known: set[str], runs: int
) -> dict[str, Any]:
    """One more pure Python package: time, bytes, and files of `known` that were sent again."""
    names = [f"bench-package-{number}" for number in range(runs)]
    for name in names:
        index.add(name)
    times: list[float] = []
    megabytes: list[float] = []
    again = 0
    for name in names:
        made.ok("add", name)
        with index.recording() as traffic:
            times += seconds(lambda: made.ok("build", "dev"), 1)
        megabytes.append(traffic.bytes / MIB)
        again += len(known & set(traffic.downloads))
    return {
        "dev with one more dependency (s)": times,
        "  downloaded for it (MiB)": megabytes,
        "  downloaded twice (files)": [again],
    }


def bench_apt(made: Project, runs: int) -> dict[str, Any]:
    """One more package of the distribution in dev."""
    apt = made.docker / "dependencies/apt-dev.txt"
    logs: list[str] = []
    times: list[float] = []
    for package in ("tree", "file", "jq", "bc", "rsync")[:runs]:
        apt.write_text(f"{apt.read_text()}{package}\n")
        times += seconds(lambda: logs.append(made.sh("build", "dev").stderr), 1)
    rebuilt = sum(len(re.findall(r"Installed \d+ packages? in", log)) for log in logs)
    return {
        "dev with one more apt package (s)": times,
        "  environments rebuilt for it": [rebuilt],
    }


# Both have the Python of the project, and a venv with pip.
NEIGHBOUR_BASE = """\
FROM debian:bookworm-slim
COPY --from={uv} /uv /usr/local/bin/uv
ENV UV_PYTHON_INSTALL_DIR=/opt/python UV_DEFAULT_INDEX={index} PIP_INDEX_URL={index} \\
    PIP_TRUSTED_HOST={host} PATH=/opt/venv/bin:$PATH
RUN UV_PYTHON_DOWNLOADS_JSON_URL={python} uv venv --seed --python 3.11 /opt/venv
"""
APT = """\
COPY apt.txt /tmp/apt.txt
RUN rm -f /etc/apt/apt.conf.d/docker-clean
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \\
    --mount=type=cache,target=/var/lib/apt,sharing=locked \\
    apt-get update && xargs apt-get install -y --no-install-recommends </tmp/apt.txt
"""
NEIGHBOURS = {
    # https://docs.astral.sh/uv/guides/integration/docker/#non-editable-installs
    "uv's example": """\
FROM bench-base AS builder
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PYTHON=/opt/venv/bin/python
WORKDIR /app
RUN --mount=type=cache,target=/root/.cache/uv \\
    --mount=type=bind,source=uv.lock,target=uv.lock \\
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \\
    uv sync --locked --no-install-project --no-editable
COPY . /app
RUN --mount=type=cache,target=/root/.cache/uv uv sync --locked --no-editable
FROM bench-base
{apt}COPY --from=builder /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH
""",
    # https://github.com/CLAIRE-Labo/python-ml-research-template
    "EPFL's template": """\
FROM bench-base AS runtime-apt-pkgs
{apt}FROM runtime-apt-pkgs AS runtime-deps
RUN pip freeze >/opt/before.txt
COPY requirements.txt /opt/requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip,sharing=private pip install -r /opt/requirements.txt
RUN pip freeze >/opt/after.txt
FROM runtime-deps AS runtime-generic
RUN pip freeze >/opt/final.txt
""",
}


class Neighbour:
    """Another project's Dockerfile, rebuilt from its structure, with the packages of `STACK`."""

    def __init__(self, name: str, folder: Path, made: Project, index: PackageIndex) -> None:
        """Write its files; nothing is built yet."""
        self.folder, self.image = folder, f"bench-{folder.name}"
        folder.mkdir()
        self._env = os.environ | {"UV_DEFAULT_INDEX": index.env()["UV_DEFAULT_INDEX"]}
        self._packages = list(STACK)
        (folder / "Dockerfile").write_text(NEIGHBOURS[name].format(apt=APT))
        (folder / ".dockerignore").write_text("apt.txt.old\n")
        shutil.copy(made.docker / "dependencies/apt-runtime.txt", folder / "apt.txt")
        self.add_apt("ca-certificates")
        self.add()

    def add(self, *names: str) -> None:
        """Lock some more packages."""
        self._packages += names
        lines = "".join(f'    "{name}",\n' for name in self._packages)
        (self.folder / "pyproject.toml").write_text(
            '[project]\nname = "bench"\nversion = "0"\nrequires-python = "==3.11.*"\n'
            f"dependencies = [\n{lines}]\n[tool.uv]\npackage = false\n"
        )
        uv = (sys.executable, "-m", "uv")
        must(*uv, "lock", cwd=self.folder, env=self._env)
        export = ("export", "--no-hashes", "--no-header", "--output-file", "requirements.txt")
        must(*uv, *export, cwd=self.folder, env=self._env)

    def add_apt(self, name: str) -> None:
        """List one more package of the distribution."""
        file = self.folder / "apt.txt"
        lines = [*re.findall(r"(?m)^[a-z][\w.+-]*", file.read_text()), name]
        file.write_text("".join(f"{line}\n" for line in lines))

    def build(self) -> None:
        """Build its image."""
        must("docker", "build", "--tag", self.image, ".", cwd=self.folder)


def bench_neighbours(folder: Path, runs: int) -> dict[str, Any]:
    """One more package, pip's or apt's, and no change, beside two neighbours on the same base.

    PyTorch is left out, to the advantage of the others.
    """
    found: dict[str, Any] = {}
    with project(folder, torch=False) as (made, index):
        made.ok("add", *STACK)
        made.ok("build", "runtime")
        made.ok("build")
        bases = must("docker", "compose", "config", "--images", "runtime", cwd=made.docker)
        runtime = bases.split()[0]
        own = Bench(
            "Hearth",
            runtime,
            lambda: made.ok("build", "runtime"),
            lambda name: made.ok("add", name),
            partial(list_apt, made, "apt-runtime.txt"),
        )
        found |= bench_one(own, index, runs)
        for number in range(runs):
            list_apt(made, "apt-dev.txt", APT_PACKAGES[-1 - number])
            key = "Hearth: dev with one more apt package (s)"
            found.setdefault(key, []).extend(seconds(lambda: made.ok("build", "dev"), 1))
        made.set_env(USRID="1300")
        found["Hearth: runtime with other ids (s)"] = seconds(
            lambda: made.ok("build", "runtime"), 1
        )
        base = NEIGHBOUR_BASE.format(
            uv=re.findall(r"(?m)^ARG UV_IMAGE=(\S+)", (made.docker / "Dockerfile").read_text())[0],
            index=index.env()["UV_DEFAULT_INDEX"],
            host=bridge_address(),
            python=index.env().get("UV_PYTHON_DOWNLOADS_JSON_URL", ""),
        )
        must("docker", "build", "--tag", "bench-base", "-", input=base)
        for number, name in enumerate(NEIGHBOURS):
            other = Neighbour(name, folder / f"neighbour-{number}", made, index)
            other.build()
            one = Bench(name, other.image, other.build, other.add, other.add_apt)
            found |= bench_one(one, index, runs)
            must("docker", "image", "rm", "--force", other.image)
        must("docker", "image", "rm", "--force", "bench-base")
    return found


APT_PACKAGES = ("tree", "file", "jq", "bc", "rsync", "less", "nano", "unzip", "zip", "dos2unix")


def list_apt(made: Project, name: str, package: str) -> None:
    """List one more package of the distribution."""
    file = made.docker / "dependencies" / name
    file.write_text(f"{file.read_text()}{package}\n")


class Bench(NamedTuple):
    """One of the projects that are compared: its image, and what changes it."""

    name: str
    image: str
    build: Callable[[], object]
    add: Callable[[str], object]
    add_apt: Callable[[str], object]


def bench_one(one: Bench, index: PackageIndex, runs: int) -> dict[str, Any]:
    """The changes of a day, in one of the projects."""
    name = one.name
    found: dict[str, Any] = {f"{name}: no-op build (s)": seconds(one.build, runs)}
    kind = re.sub(r"\W", "", name).lower()
    times, moved = [], []
    for number in range(runs):
        package = f"light-{kind}-{number}"
        index.add(package)
        one.add(package)
        before = layers(one.image)
        times += seconds(one.build, 1)
        after = layers(one.image)
        moved.append(sum(size for key, size in after.items() if key not in before) / 1000)
    found[f"{name}: one more light package (s)"] = times
    found[f"{name}:   new layers (kB)"] = moved
    times = []
    for package in APT_PACKAGES[:runs]:
        one.add_apt(package)
        times += seconds(one.build, 1)
    found[f"{name}: one more apt package (s)"] = times
    found[f"{name}: image (MiB)"] = [sum(layers(one.image).values()) / MIB]
    return found


METADATA = re.compile(
    r"(/bin/\S+ -\S+ )?#?\(?(nop\) *)?"
    r"(ENV|ARG|LABEL|CMD|ENTRYPOINT|USER|SHELL|EXPOSE|VOLUME|STOPSIGNAL|HEALTHCHECK)\b"
)


def layers(image: str) -> dict[str, int]:
    """Digest and bytes of the layers of an image that this machine built.

    Raises:
        SystemExit: the engine's history has another number of layers.
    """
    inspect = ("docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", image)
    digests: list[str] = json.loads(must(*inspect))
    form = "{{.Size}}\t{{.CreatedBy}}"
    history = ("docker", "history", "--no-trunc", "--human=false", "--format", form, image)
    rows = [row.split("\t", 1) for row in must(*history).splitlines()]
    sizes = [int(size) for size, text in rows if not METADATA.match(text)][::-1]
    if len(sizes) != len(digests):
        raise SystemExit(f"{image} has {len(digests)} layers, and {len(sizes)} in its history")
    return dict(zip(digests, sizes, strict=True))


def bench_verbs(made: Project, runs: int) -> dict[str, Any]:
    """What the program of a project takes by itself."""
    compose = ("docker", "compose", "--profile", "*", "config", "--quiet")
    bare = seconds(lambda: must(*compose, cwd=made.docker), runs)
    through = seconds(lambda: made.ok("config", "--quiet"), runs)
    return {
        "template.sh help (s)": seconds(lambda: made.ok("help"), runs),
        "  a verb adds to docker compose (s)": [
            statistics.median(through) - statistics.median(bare)
        ],
    }


def bench_up(made: Project, runs: int) -> dict[str, Any]:
    """The dev container, which runs already, and what the doctor says of it and of the machine."""
    made.ok("up")
    bare_words = ("up", "--detach", "--no-build", "dev")
    bare = seconds(lambda: made.compose(*bare_words), runs)
    through = seconds(lambda: made.ok("up"), runs)
    found: dict[str, Any] = {
        "up of a running dev container (s)": through,
        "  it adds to docker compose up (s)": [
            statistics.median(through) - statistics.median(bare)
        ],
        "doctor (s)": seconds(lambda: made.sh("doctor"), runs),
    }
    made.ok("down")
    return found


def bench_run(made: Project, runs: int) -> dict[str, Any]:
    """A command in a new container, and the image it runs in."""
    made.ok("build", "runtime")
    images = must("docker", "compose", "--profile", "*", "config", "--images", cwd=made.docker)
    image = next(name for name in images.split() if name.endswith("-runtime"))
    made.ok("run", "true")
    through = seconds(lambda: made.ok("run", "true"), runs)
    bare = seconds(lambda: must("docker", "run", "--rm", "--entrypoint", "true", image), runs)
    return {
        "run true (s)": through,
        "docker run --entrypoint true (s)": bare,
        "  template.sh and entrypoint add (s)": [
            statistics.median(through) - statistics.median(bare)
        ],
        **image_size(image),
    }


def bench_extras(folder: Path, runs: int) -> dict[str, Any]:
    """What extras add to a start of the dev container, and the entrypoint to a bare start."""
    found: dict[str, Any] = {}
    every = "[data,devcontainer,jupyter,ssh,sudo,tensorboard]"
    for name, extras in (("without", "[]"), ("with all", every)):
        with project(folder, torch=False, extras=extras, name=f"{name} extras") as (made, _):
            made.ok("build", "dev")
            made.ok("up")
            times = []
            for _run in range(runs):
                made.ok("down")
                times += seconds(lambda: made.ok("up"), 1)
            found[f"up {name} extras (s)"] = times
            start = ("docker", "run", "--rm", "--env", "HOME=/tmp")
            through = seconds(partial(must, *start, made.image("dev"), "true"), runs)
            bare = seconds(partial(must, *start, "--entrypoint", "true", made.image("dev")), runs)
            found[f"  entrypoint of dev {name} adds (s)"] = [
                statistics.median(through) - statistics.median(bare)
            ]
    without, with_all = (
        statistics.median(found[f"up {one} extras (s)"]) for one in ("without", "with all")
    )
    found["  all extras add to up (s)"] = [with_all - without]
    return found


def forget(made: Project) -> None:
    """Make the next build cold: no layer and no cache of a former one has its names.

    Stages that start from nothing stay as they are: with a variable and no file, Podman would run
    what mounts them again for the second image, and so build nearly all of it twice.
    """
    mark = f"bench{time.time_ns()}"
    file = made.docker / "Dockerfile"
    text = re.sub(r"(--mount=type=cache,id=)(?:bench\d+-)?", rf"\1{mark}-", file.read_text())
    text = re.sub(r"(?m)^ENV BENCH=.*\n", "", text)
    file.write_text(re.sub(r"(?m)^(FROM (?!scratch ).*)$", rf"\1\nENV BENCH={mark}", text))


def bench_podman(folder: Path, runs: int) -> dict[str, Any]:
    """A cold build of one project by Docker and by rootless Podman, with their stores on one disk.

    Podman is that of tests/engine/test_podman.py. It gets base images before it builds.
    """
    machine = podman.start(folder, person(folder), in_memory=False)
    took: dict[str, list[float]] = {"Docker": [], "Podman": []}
    try:
        with (
            project(folder, torch=False, name="on-docker") as (docker, _),
            project(folder, torch=False, name="on-podman", owner=machine) as (other, _),
        ):
            described = json.loads((other.docker / "host/project.json").read_text())
            podman.load(machine, *described["base_images"].values())
            projects = {"Docker": docker, "Podman": other}
            for made in projects.values():
                made.ok("lock")
            for _run in range(min(runs, 3)):  # in turn, since other programs disturb both alike
                for name, made in projects.items():
                    forget(made)
                    took[name] += seconds(partial(made.ok, "build"), 1)
    finally:
        podman.stop(machine)
    return {
        **{f"cold build by {name} (s)": times for name, times in took.items()},
        "  Podman takes as many times as long": [
            statistics.median(took["Podman"]) / statistics.median(took["Docker"])
        ],
    }


def bench_airflow(folder: Path, runs: int) -> dict[str, Any]:
    """What Airflow costs, with the example; its page, its DAGs and its memory."""
    with project(folder, torch=False, extras="[airflow]", name="with-airflow") as (made, _):
        lighten(made.docker / "dependencies")
        return measure(made, min(runs, MOST_STARTS))


def bench_context(made: Project) -> dict[str, Any]:
    """What goes to the engine when a project holds 5 GB of data."""
    with (made.folder / "data/large.bin").open("wb") as large:
        large.truncate(5 * 1024 * MIB)
    script = made.docker / "entrypoint.sh"
    script.write_text(script.read_text() + "# edited\n")
    sizes = re.findall(r"transferring context: ([\d.]+)([kM]?B)", made.sh("build").stderr)
    scale = {"B": 1 / 1000, "kB": 1.0, "MB": 1000.0}
    return {
        "build context with 5 GB of data (kB)": [
            max(float(size) * scale[unit] for size, unit in sizes)
        ]
    }


def image_size(image: str) -> dict[str, list[float]]:
    """What the runtime image has beyond the base image, its Python and its packages."""
    rows = must(
        "docker",
        "history",
        "--no-trunc",
        "--human=false",
        "--format",
        "{{.Size}}\t{{.CreatedBy}}",
        image,
    )
    layers = [(int(size), text) for size, text in (row.split("\t", 1) for row in rows.splitlines())]
    environment = sum(size for size, text in layers if "/opt/venv" in text or "/opt/python" in text)
    base = int(must("docker", "image", "inspect", "--format", "{{.Size}}", "debian:bookworm-slim"))
    whole = sum(size for size, _ in layers)
    return {
        "runtime image (MiB)": [whole / MIB],
        "  beyond base and environment (MiB)": [(whole - base - environment) / MIB],
    }


def bench_configurator(folder: Path, runs: int) -> dict[str, Any]:
    """The configurator from a server on this machine, each time in a browser that is new to it."""
    took: dict[str, list[float]] = {}
    site = folder / "site"
    with serving_page(site) as url:
        for _ in range(runs):
            with browsing(1280, 900) as page:
                for name, times in seconds_of_page(page, url).items():
                    took.setdefault(name, []).extend(times)
    loads = kilobytes(site / "python")
    return {
        "configurator: first answer (s)": took["page"],
        "  ... of a link (s)": took["link"],
        "  a change (s)": took["change"],
        "  loaded, from a server (MB)": [loads["web"] / 1000],
        "  loaded, from a file (MB)": [loads["file"] / 1000],
    }


PARTS = {
    "copy": bench_copy,
    "update": bench_update,
    "configurator": bench_configurator,
    "engine": bench_engine,
    "extras": bench_extras,
    "airflow": bench_airflow,
    "neighbours": bench_neighbours,
    "podman": bench_podman,
    "release": bench_release,
}
CHROMIUM = {"configurator"}
ENGINE = {"airflow", "engine", "extras", "neighbours", "podman", "release"}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "bench.json")
    parser.add_argument(
        "--only", choices=PARTS, nargs="+", default=[*PARTS], metavar="PART", help=", ".join(PARTS)
    )
    options = parser.parse_args()
    wanted = {*options.only, *(["copy"] if "update" in options.only else [])}
    if not chromium() and CHROMIUM & wanted:
        print("Left out what needs Chromium.", file=sys.stderr)
        wanted -= CHROMIUM
    problem = engine_problem()
    if problem and ENGINE & wanted:
        print(f"Left out what needs an engine: {problem}.", file=sys.stderr)
        wanted -= ENGINE
    parts = [part for name, part in PARTS.items() if name in wanted]
    folder = Path(tempfile.mkdtemp(prefix="hearth-bench-"))
    folder.chmod(0o755)
    found: dict[str, list[float]] = {}
    try:
        snapshot(folder / "hearth")
        for part in parts:  # each is printed when it is known, since the next one takes minutes
            rows = part(folder, options.runs)
            found |= rows
            for name, values in rows.items():
                spread = f"   {min(values):.2f} to {max(values):.2f}" if len(values) > 1 else ""
                print(f"{name:48} {statistics.median(values):9.2f}{spread}", flush=True)
            options.output.write_text(json.dumps(found, indent=2) + "\n")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
