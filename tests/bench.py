"""The measurements of docs/developing.md: `make bench` prints a table and writes bench.json.

Medians of five runs each. The cold build runs once, and is cold only in an engine without a build
cache: `docker buildx prune --all` makes it so. Needs what the engine tests need. No test looks at a
time: a busy machine is no defect.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.support.engine import engine_problem, is_stand_in
from tests.support.git import copy_working_tree
from tests.support.index import PackageIndex, bridge_address, find_torch_wheel, serving
from tests.support.managed_python import cached_archive
from tests.support.process import run
from tests.support.project import Person, Project

ANSWERS = {
    "project_name": "bench",
    "accelerator": "cpu",
    "python_version": "3.11",
    "linux_distro": "debian-12",
    "jit": "false",
}
MIB = 1024**2


def seconds(action: Callable[[], object], runs: int) -> list[float]:
    """Wall-clock seconds of each of `runs` calls."""
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        found.append(time.perf_counter() - start)
    return found


def must(*command: str | Path, **options: Any) -> str:
    """Run a command and give its stdout.

    Raises:
        SystemExit: it failed; the message is what it said.
    """
    result = run(*command, **options)
    if result.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{result.stdout}\n{result.stderr}")
    return result.stdout


def copier(*arguments: str | Path, folder: Path) -> None:
    """Run Copier as a person does, from nothing to a new project."""
    shutil.rmtree(folder, ignore_errors=True)
    must(sys.executable, "-m", "copier", "copy", "--quiet", "--defaults", *arguments, folder)


def snapshot(folder: Path) -> Path:
    """The working tree as a Git repository, which is what Copier takes for a template."""
    copy_working_tree(ROOT, folder)
    commit(folder)
    return folder


def plain_template(rendered: Path, folder: Path) -> Path:
    """A template of the same files, already rendered, with one question, no table and no hook."""
    shutil.copytree(rendered, folder / "template")
    (folder / "template" / ".copier-answers.yml").unlink()
    answers = folder / "template" / "{{ _copier_conf.answers_file }}.jinja"
    answers.write_text("{{ _copier_answers | to_nice_yaml }}")
    (folder / "copier.yml").write_text("_subdirectory: template\nname: bench\n")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    """Make a folder a Git repository with one commit."""
    identity = ["-c", "user.name=Bench", "-c", "user.email=bench@example.com"]
    must("git", "init", "--quiet", cwd=folder)
    must("git", "add", "--all", cwd=folder)
    must("git", *identity, "commit", "--quiet", "--message", "bench", cwd=folder)


def bench_copy(folder: Path, runs: int) -> dict[str, Any]:
    """Copier with questions, tables and hook against Copier with the rendered files alone."""
    hearth = snapshot(folder / "hearth")
    rendered = folder / "rendered"
    copier("--skip-tasks", "--vcs-ref", "HEAD", hearth, folder=rendered)
    plain = plain_template(rendered, folder / "plain")
    whole = seconds(
        lambda: copier("--trust", "--vcs-ref", "HEAD", hearth, folder=folder / "a"), runs
    )
    without_hook = seconds(
        lambda: copier("--skip-tasks", "--vcs-ref", "HEAD", hearth, folder=folder / "a"), runs
    )
    alone = seconds(lambda: copier("--vcs-ref", "HEAD", plain, folder=folder / "b"), runs)
    return {
        "copy --defaults (s)": whole,
        "the same files alone (s)": alone,
        "  the hook adds (s)": [statistics.median(whole) - statistics.median(without_hook)],
        "  questions, tables and rendering add (s)": [
            statistics.median(without_hook) - statistics.median(alone)
        ],
    }


def bench_update(folder: Path, runs: int) -> dict[str, Any]:
    """`template.sh update` by one changed file; Copier's own update of the rendered files alone."""
    script = ("docker-amd64/template.sh", "update", "-y")
    alone = (sys.executable, "-m", "copier", "update", "--quiet", "--defaults")
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    found = {}
    for name, command in {"hearth": script, "plain": alone}.items():
        template, made = folder / name, folder / f"of-{name}"
        must("git", "tag", "v1.0.0", cwd=template)
        copier("--trust", "--vcs-ref", "v1.0.0", template, folder=made)
        commit(made)
        with (template / "template/docker-amd64/entrypoint.sh").open("a") as file:
            file.write("# changed\n")
        commit(template)
        must("git", "tag", "v1.0.1", cwd=template)
        copies = [folder / f"of-{name}-{number}" for number in range(runs)]
        for each in copies:
            shutil.copytree(made, each, symlinks=True)
        left = iter(copies)
        found[name] = seconds(partial(update, left, command, env), runs)
    return {"template.sh update (s)": found["hearth"], "  the same files alone (s)": found["plain"]}


def update(projects: Iterator[Path], command: tuple[str, ...], env: dict[str, str]) -> None:
    """Update the next of some projects by a command."""
    must(*command, cwd=next(projects), env=env)


@contextmanager
def project(folder: Path) -> Iterator[tuple[Project, PackageIndex]]:
    """A project of somebody without privileges, with an index that counts, on the real engine."""
    uid = 1234 if os.getuid() == 0 else os.getuid()
    home = folder / "home"
    home.mkdir()
    python = cached_archive() if is_stand_in("debian:bookworm-slim") else None
    index = PackageIndex(folder, find_torch_wheel(), python)
    answers = ANSWERS | {"torch_version": index.torch_version or "none"}
    data = [word for key, value in answers.items() for word in ("--data", f"{key}={value}")]
    path = folder / "project"
    with serving(index, bridge_address()):
        copier("--skip-tasks", "--vcs-ref", "HEAD", *data, folder / "hearth", folder=path)
        index.replace_pytorch_index(path / "docker-amd64/dependencies/pyproject.toml")
        for file in [home, path, *path.rglob("*")]:
            os.chown(file, uid, uid)
        made = Project(path, Person(uid, uid, "bench", home))
        made.ok("env")
        made.set_env(**index.env())
        try:
            yield made, index
        finally:
            made.ok("clean", "--all")


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


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "bench.json")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hearth-bench-"))
    folder.chmod(0o755)
    try:
        found = bench_copy(folder, options.runs) | bench_update(folder, options.runs)
        problem = engine_problem()
        if problem:
            print(f"Left out what needs an engine: {problem}.", file=sys.stderr)
        else:
            found |= bench_engine(folder, options.runs)
    finally:
        shutil.rmtree(folder)
    for name, values in found.items():
        spread = f"   {min(values):.2f} to {max(values):.2f}" if len(values) > 1 else ""
        print(f"{name:40} {statistics.median(values):9.2f}{spread}")
    options.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
