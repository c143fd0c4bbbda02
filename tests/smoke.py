"""Builds a sample of all projects that can be generated: `make smoke`, smoke.md, smoke.json.

The rows of the matrix have every answer, and every pair of answers that can go together. Of each
row a project is generated, its .env filled, its Compose file read, both images built, and what is
in them verified. What is written down: the size of the images, and the seconds of their builds.

A row that cannot be built on this machine is not one that fails; the table names it and the
reason. HEARTH_SMOKE=required makes it a failure: on a machine with a network nothing is left out.
Where the base images are the stand-ins of .ci/engine.sh, packages come from the tests' own index.
PyTorch from source is compiled from the tests' small stand-in, unless --real-sources is given.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime as dt
import functools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.support.conda_channel import CondaChannels, serving_conda, standard_channel
from tests.support.engine import engine_problem, is_stand_in
from tests.support.index import PackageIndex, bridge_address, find_torch_wheel, serving
from tests.support.managed_python import cached_archive
from tests.support.pairs import Choices
from tests.support.process import run
from tests.support.project import Person, Project
from tests.support.questionnaire import Answers, Questionnaire, Row
from tests.support.timing import must, snapshot
from tests.support.torch_source import make_magma, make_torch_sources

# Texts that anybody may type: one of each stands for all.
# The language of the manual changes no image.
GIVEN = {"project_name": ["a-name"], "code_dir": ["my code"], "language": ["en"]}
# What the stand-ins of base images have, or the tests' own index: the more of the matrix can be
# built on a machine without registries.
HERE = {"python_version": "3.11", "torch_version": "2.13.0"}
LIKED: dict[str, Any] = {"cuda_version": "13.0", "linux_distro": "debian-12", **HERE}
CPU = {"accelerator": "cpu", **HERE}
CUDA = {"accelerator": "cuda", "cuda_version": "13.0", "linux_distro": "ubuntu-24.04"}
BARE = {"torch_version": "none", "python_version": "3.11"}
FIRST: list[Answers] = [
    {"service": "simple", "package_manager": "pip", **CPU},
    {"service": "simple", "package_manager": "conda", **CPU},
    {"service": "simple", "package_manager": "pip", "accelerator": "cpu", **BARE},
    {"service": "train", "package_manager": "conda", **CUDA, **BARE},
    {"service": "devel", "package_manager": "pip", **CUDA, **BARE, "cudnn": True},
    {"service": "hub", "torch_version": "2.13.0", "cuda_version": "13.0", "hub_image": "runtime"},
]
# Not shown in the table: the same in each row, or of no weight.
UNSAID = ("project_name", "package_name", "code_dir", "target_gpus", "cca")
PASSED, FAILED, NOT_BUILT = "passed", "failed", "not built"
LONGEST_STEP = 3 * 3600  # seconds
MB = 1000**2


@dataclass
class Result:
    """What became of a row.

    Attributes:
        number: the row's place in the matrix, from 1 on.
        answers: what was answered.
        status: passed, failed or not built.
        says: why it failed or was not built, in a sentence; or what stood in for something.
        seconds: of the builds of runtime and then dev, with all base images there.
        bytes: of the images runtime and dev.
    """

    number: int
    answers: Answers
    status: str = NOT_BUILT
    says: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)


class StepError(Exception):
    """A step of a row failed; the text says which, and what it said last."""


# --- the matrix ----------------------------------------------------------------------------------


def questionnaire(folder: Path) -> Questionnaire:
    """The questions of this repository, for a project in an empty folder."""
    template = folder / "questions"
    for name in ("hooks", "template"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, template / name, ignore=ignored)
    shutil.copy2(ROOT / "copier.yml", template)
    return Questionnaire(template, folder / "asked")


def choices(questions: Questionnaire) -> Choices:
    """All rows that the matrix is a sample of."""
    return Choices(questions, GIVEN)


def matrix(all_rows: Choices) -> list[Row]:
    """The rows of the matrix; the same each time."""
    return all_rows.matrix(FIRST, LIKED)


def described(answers: Answers) -> str:
    """A row in one line."""
    return ", ".join(
        f"{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in answers.items()
        if name not in UNSAID
    )


# --- this machine --------------------------------------------------------------------------------


@dataclass
class Machine:
    """What rows are built with.

    Attributes:
        index: packages for a machine without registries; None where there is a network.
        conda: the same for conda.
        real_sources: compile PyTorch itself, which takes hours.
    """

    index: PackageIndex | None = None
    conda: CondaChannels | None = None
    real_sources: bool = False

    def why_not(self, row: Row) -> str:
        """Why a row cannot be built here, in a sentence; empty where it can."""
        answers, known = row
        images = [known["base_image"], known["build_image"], known["pins"]["uv_image"]]
        if known["conda"]:
            images.append(known["pins"]["micromamba_image"])
        for image in filter(None, images):
            problem = image_problem(image, self.index is not None)
            if problem:
                return problem
        return self.missing_package(answers, known) if self.index else ""

    def missing_package(self, answers: Answers, known: Answers) -> str:
        """What the tests' own index and channel do not have of what a row needs."""
        python = answers.get("python_version", "3.11")
        if python != "3.11":
            return f"there is no Python {python} here, only 3.11"
        if not known["torch"] or known["given"] or known["source"]:
            return ""
        here = self.index.torch_version if self.index else None
        if answers["accelerator"] == "cuda":
            return "there is no CUDA build of PyTorch here"
        if answers["torch_version"] != here:
            has = f"only {here}" if here else "and no other"
            return f"there is no PyTorch {answers['torch_version']} here, {has}"
        return ""

    def prepare(self, project: Project, row: Row, folder: Path) -> None:
        """Point a project to what this machine has, as its owner does in .env and in its files."""
        answers, known = row
        values: dict[str, str] = {}
        if self.index:
            pyproject = project.docker / "dependencies/pyproject.toml"
            if pyproject.exists():
                self.index.replace_pytorch_index(pyproject)
            values |= self.index.env()
            project.use_debians_names()
        if self.conda and known["conda"]:
            values["MAMBA_CHANNEL_ALIAS"] = self.conda.url
        if known["source"] and not self.real_sources:
            version = answers["torch_version"]
            sources, work = folder / "sources", folder / "work"
            sources.mkdir()
            work.mkdir()
            vision = known["compat"]["torch"][version]["torchvision"]
            make_torch_sources(sources, work, version, vision)
            values |= {"LOCAL_SOURCES_DIR": str(sources), "GIT_MIRROR": "/mnt/sources"}
            if answers.get("magma"):
                archive, digest = make_magma(sources)
                values |= {"MAGMA_URL": f"/mnt/sources/{archive.name}", "MAGMA_SHA256": digest}
        project.set_env(**values)


@functools.cache
def image_problem(image: str, alone: bool) -> str:
    """Why an image cannot be had, in a sentence; empty where it is here, pulled if need be."""
    if run("docker", "image", "inspect", image).returncode == 0:
        return ""
    if alone:
        return f"there is no image {image} here, nor a registry"
    result = run("docker", "pull", "--quiet", image)
    if result.returncode == 0:
        return ""
    said = result.stderr.strip().splitlines() or ["docker pull failed"]
    return f"{image} could not be pulled: {said[-1]}"


@contextlib.contextmanager
def this_machine(folder: Path, *, real_sources: bool) -> Iterator[Machine]:
    """What there is to build with; where base images are stand-ins, packages are served here."""
    if not is_stand_in("debian:bookworm-slim"):
        yield Machine(real_sources=real_sources)
        return
    # To compile with MKL, its static libraries are wanted.
    index = PackageIndex(folder, find_torch_wheel(), cached_archive(), largest=1000 * MB)
    conda = CondaChannels(folder / "channels", standard_channel())
    address = bridge_address()
    with serving(index, address), serving_conda(conda, address):
        yield Machine(index, conda, real_sources)


# --- a row ---------------------------------------------------------------------------------------


def step(project: Project, *arguments: str) -> None:
    """Run a verb of template.sh.

    Raises:
        StepError: it failed.
    """
    try:
        result = project.sh(*arguments, timeout=LONGEST_STEP)
    except subprocess.TimeoutExpired:
        raise StepError(f"{' '.join(arguments)}: not done after {LONGEST_STEP} s") from None
    if result.returncode:
        print(result.stdout, result.stderr, sep="\n", file=sys.stderr)
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["no words"]
        # The sentence stands above the command that helps.
        last = lines[-2] if lines[-1].startswith("  Run: ") and len(lines) > 1 else lines[-1]
        raise StepError(f"{' '.join(arguments)}: {last.strip()}")


def generate(template: Path, folder: Path, answers: Answers, owner: Person) -> Project:
    """A project with these answers, made as by somebody who trusts nothing.

    Raises:
        StepError: Copier refused.
    """
    path = folder / "project"
    path.mkdir()
    if answers["project_kind"] == "existing":
        code = path / answers["code_dir"]
        code.mkdir()
        (code / "main.py").write_text('print("here already")\n')
    data = [
        word
        for name, value in answers.items()
        for text in [str(value).lower() if isinstance(value, bool) else str(value)]
        for word in ("--data", f"{name}={text}")
    ]
    options = ("--quiet", "--defaults", "--skip-tasks", "--vcs-ref", "HEAD")
    result = run(sys.executable, "-m", "copier", "copy", *options, *data, template, path)
    if result.returncode:
        raise StepError(f"copier copy: {result.stderr.strip().splitlines()[-1]}")
    return Project(path, owner)


def give(folder: Path, owner: Person) -> None:
    """Make somebody the owner of a folder and all that is in it."""
    if os.getuid() != owner.uid:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


def build(row: Row, result: Result, template: Path, machine: Machine, folder: Path) -> None:
    """Build the images of a row and write down what they are; what was made is removed.

    Raises:
        StepError: something did not work.
    """
    answers, known = row
    uid = 1234 if os.getuid() == 0 else os.getuid()
    gid = uid if os.getuid() == 0 else os.getgid()
    (folder / "home").mkdir()
    owner = Person(uid, gid, "smoke", folder / "home")
    project = generate(template, folder, answers, owner)
    give(folder, owner)
    step(project, "env")
    machine.prepare(project, row, folder)
    give(folder, owner)
    step(project, "config", "--quiet")
    try:
        for target in ("runtime", "dev"):
            start = time.monotonic()
            step(project, "build", target)
            result.seconds[target] = round(time.monotonic() - start, 1)
            result.bytes[target] = image_size(project.image(target))
        if known["torch"]:
            step(project, "verify")
        else:
            step(project, "run", "python", "-V")
    finally:
        cleaned = project.sh("clean", "--all")
        if cleaned.returncode:
            print(f"What row {result.number} made is left: {cleaned.stderr}", file=sys.stderr)
        label = f"label=com.docker.compose.project={project.engine_name}"
        run("docker", "image", "prune", "--force", "--filter", label)


def image_size(image: str) -> int:
    """Bytes of an image."""
    return int(must("docker", "image", "inspect", "--format", "{{.Size}}", image))


def images_here() -> set[str]:
    """The names of the images that the engine has."""
    return {*must("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()}


def attempt(number: int, row: Row, template: Path, machine: Machine, *, prune: bool) -> Result:
    """Build a row if this machine can, and leave the engine as it was.

    Args:
        number: the row's place in the matrix.
        row: answers and computed values.
        template: a repository with the template.
        machine: what to build with.
        prune: remove the base images that were pulled, and all of the engine's build cache.
    """
    result = Result(number, row[0])
    before = images_here()
    folder = Path(tempfile.mkdtemp(prefix="hearth-smoke-"))
    folder.chmod(0o755)
    try:
        result.says = machine.why_not(row)
        if result.says:
            if os.environ.get("HEARTH_SMOKE") == "required":
                result.status = FAILED
            return result
        build(row, result, template, machine, folder)
        result.status = PASSED
        if row[1]["source"] and not machine.real_sources:
            result.says = "compiled from a small stand-in of PyTorch's sources"
    except (StepError, SystemExit, subprocess.TimeoutExpired) as error:  # of this row alone
        result.status, result.says = FAILED, str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if prune:
            pulled = sorted(images_here() - before)
            if pulled:
                run("docker", "image", "rm", "--force", *pulled)
            run("docker", "buildx", "prune", "--all", "--force")
            image_problem.cache_clear()
    return result


# --- the table -----------------------------------------------------------------------------------


def about() -> dict[str, Any]:
    """What a reader has to know of the machine to make sense of the numbers."""
    return {
        "commit": run("git", "describe", "--always", "--dirty", cwd=ROOT).stdout.strip(),
        "date": dt.datetime.now(tz=dt.timezone.utc).strftime("%Y-%m-%d"),
        "engine": must("docker", "version", "--format", "{{.Server.Version}}").strip(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "stand-ins": is_stand_in("debian:bookworm-slim"),
    }


def cell(values: Mapping[str, float], target: str, scale: float) -> str:
    """A number of the table; empty where there is none."""
    return f"{values[target] / scale:,.0f}" if target in values else ""


def table(facts: Mapping[str, Any], results: Iterable[Result], size: int) -> str:
    """The results as Markdown.

    Args:
        facts: what `about` gives.
        results: of all rows that this run is about.
        size: how many rows the matrix has.
    """
    by_status = collections.defaultdict(list)
    for result in sorted(results, key=lambda one: one.number):
        by_status[result.status].append(result)
    passed, failed, left = (by_status[status] for status in (PASSED, FAILED, NOT_BUILT))
    where = f"Commit {facts['commit']}, {facts['date']}, Docker {facts['engine']}"
    counts = f"{len(passed)} passed, {len(failed)} failed, {len(left)} could not be built here"
    lines = ["# Smoke build", "", f"{where}, {facts['machine']}."]
    lines.append(f"Of the {size} rows of the matrix, {counts}.")
    if facts["stand-ins"]:
        lines.append(
            "Base images are small stand-ins: sizes and times are no measure of real ones."
        )
    if failed:
        lines += ["", "## Failed", "", "| row | why | answers |", "|---:|---|---|"]
        lines += [f"| {x.number} | {plain(x.says)} | {described(x.answers)} |" for x in failed]
    if passed:
        head = "| row | runtime MB | dev MB | build runtime s | then dev s | answers | remark |"
        lines += ["", "## Built and verified", "", head, "|---:|---:|---:|---:|---:|---|---|"]
        for x in passed:
            cells = [
                *(cell(x.bytes, target, MB) for target in ("runtime", "dev")),
                *(cell(x.seconds, target, 1) for target in ("runtime", "dev")),
            ]
            lines.append(
                f"| {x.number} | {' | '.join(cells)} | {described(x.answers)} | {x.says} |"
            )
    if left:
        lines += ["", "## Not built here", "", "| why | rows |", "|---|---|"]
        reasons = collections.defaultdict(list)
        for x in left:
            reasons[x.says].append(str(x.number))
        lines += [f"| {plain(why)} | {', '.join(rows)} |" for why, rows in reasons.items()]
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """A text that can stand in a cell."""
    return text.replace("|", "\\|")


def write(folder: Path, facts: Mapping[str, Any], results: list[Result], size: int) -> None:
    """Write smoke.md and smoke.json into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [asdict(result) for result in results]
    content = {"about": facts, "size": size, "rows": rows}
    (folder / "smoke.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "smoke.md").write_text(table(facts, results, size))


def join(folder: Path) -> tuple[dict[str, Any], list[Result], int]:
    """What several machines have written, each a part of the matrix; what none has is a failure.

    Raises:
        SystemExit: there is nothing.
    """
    parts = [json.loads(file.read_text()) for file in sorted(folder.rglob("smoke.json"))]
    if not parts:
        raise SystemExit(f"There is no smoke.json in {folder}: run make smoke first.")
    results = [Result(**row) for part in parts for row in part["rows"]]
    size = parts[0]["size"]
    missing = {*range(1, size + 1)} - {result.number for result in results}
    lost = "it is in no part: the machine that had it came to an early end"
    results += [Result(number, {}, FAILED, lost) for number in sorted(missing)]
    return parts[0]["about"], results, size


# --- the command line ----------------------------------------------------------------------------


def shard(text: str) -> tuple[int, int]:
    """The argument of --shard: 2/16 is the second of sixteen parts."""
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text} is no part such as 2/16")
    return int(number), int(parts)


def row_numbers(text: str) -> list[int]:
    """The argument of --rows."""
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text} is no list of rows such as 3,17")
    return [int(part) for part in text.split(",")]


def build_all(options: argparse.Namespace, folder: Path) -> tuple[list[Result], int]:
    """Build the rows that were asked for; the results are written after each."""
    rows = dict(enumerate(matrix(choices(questionnaire(folder))), 1))
    if options.list:
        for number, (answers, _) in rows.items():
            print(f"{number}: {described(answers)}")
        return [], len(rows)
    wanted = options.rows or [*rows][options.shard[0] - 1 :: options.shard[1]]
    unknown = [number for number in wanted if number not in rows]
    if unknown:
        raise SystemExit(f"There is no row {unknown[0]}: the matrix has {len(rows)}.")
    problem = engine_problem()
    if problem:
        raise SystemExit(f"make smoke needs a container engine, but {problem}.")
    template = snapshot(folder / "hearth")
    facts = about()
    results: list[Result] = []
    with this_machine(folder, real_sources=options.real_sources) as machine:
        for number in wanted:
            result = attempt(number, rows[number], template, machine, prune=options.prune)
            results.append(result)
            print(f"{number}: {result.status}: {described(result.answers)}. {result.says}")
            sys.stdout.flush()
            write(options.output, facts, results, len(rows))
    return results, len(rows)


def main() -> int:
    """The command line; the exit status is 1 if a row failed."""
    parser = argparse.ArgumentParser(
        prog="make smoke", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--rows", type=row_numbers, help="only these rows, such as 3,17")
    what.add_argument("--shard", type=shard, default=(1, 1), help="a part, such as 2/16")
    what.add_argument("--list", action="store_true", help="print the matrix and build nothing")
    what.add_argument("--join", type=Path, help="make one table of those in this folder")
    parser.add_argument("--output", type=Path, default=ROOT, help="where the table is written")
    parser.add_argument(
        "--prune", action="store_true", help="empty the engine's build cache after each row"
    )
    parser.add_argument("--real-sources", action="store_true", help="compile PyTorch itself")
    options = parser.parse_args()
    if options.join:
        facts, results, size = join(options.join)
        write(options.output, facts, results, size)
    else:
        folder = Path(tempfile.mkdtemp(prefix="hearth-smoke-"))
        folder.chmod(0o755)
        try:
            results, _ = build_all(options, folder)
        except KeyboardInterrupt:
            print("Stopped. The table has what was built.", file=sys.stderr)
            return 130
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return int(any(result.status == FAILED for result in results))


if __name__ == "__main__":
    # Whatever stops it, the row that is being built is cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
