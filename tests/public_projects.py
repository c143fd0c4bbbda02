"""Takes in public projects as they are: `make public`, public.md, public.json.

Each project of public_projects.yml is cloned at its commit. Hearth is copied into it with default
answers. Its packages are locked, its runtime image is built, and its modules are imported there.
What is written down: what became of each line of its lists, and how far the project came.

HEARTH_MIRROR names a folder with clones, OWNER+NAME/repo each, for a machine without GitHub.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT
from tests.engine.conftest import give
from tests.support.engine import engine_problem, is_stand_in
from tests.support.index import PackageIndex, bridge_address, serving
from tests.support.process import run
from tests.support.project import Person, Project
from tests.support.timing import package_index, person, snapshot

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = ROOT / "tests/public_projects.yml"
# No GPU and no PyTorch of ours; the stand-in Python is a 3.11, and base images are Debian's.
ANSWERS = {"accelerator": "cpu", "torch_version": "none", "linux_distro": "debian-12"}
STAND_IN_ANSWERS = {"python_version": "3.11"}
STEPS = ("copied", "locked", "built", "imported")


@dataclass
class Result:
    """How far a project came.

    Attributes:
        name: owner and name at GitHub.
        commit: what was taken in.
        habit: where it has its packages.
        done: the steps of `STEPS` that worked.
        counts: lines of its metadata and of its lists, by what became of them.
        seconds: of the whole.
        says: what the first step that failed said, else empty.
        log: all that Copier and template.sh said.
    """

    name: str
    commit: str
    habit: str
    done: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0
    says: str = ""
    log: str = ""


class StepError(Exception):
    """A step failed; the text is what it said."""


def source_of(name: str, mirror: str) -> str:
    """The address of a project's repository: GitHub's, or its clone in the mirror."""
    if not mirror:
        return f"https://github.com/{name}"
    folder = Path(mirror) / name.replace("/", "+") / "repo"
    return str(folder / ".git" if (folder / ".git").exists() else folder)


def logged(result: Result, what: str, *command: str | Path, **options: Any) -> str:
    """Run a command, keep what it says, and give it. Raises StepError."""
    process = run(*command, **options)
    said = f"{process.stdout}\n{process.stderr}".strip()
    result.log += f"$ {what}\n{said}\n"
    if process.returncode:
        raise StepError(f"{what}: {said[-600:]}")
    return said


def template_sh(result: Result, project: Project, *arguments: str) -> str:
    """Run a verb of template.sh, keep what it says, and give it. Raises StepError."""
    process = project.sh(*arguments, timeout=3000)
    said = f"{process.stdout}\n{process.stderr}".strip()
    result.log += f"$ template.sh {' '.join(arguments)}\n{said}\n"
    if process.returncode:
        raise StepError(f"template.sh {' '.join(arguments)}: {said[-600:]}")
    return said


def taken_in(
    row: Mapping[str, Any], result: Result, template: Path, owner: Person, mirror: str
) -> Project:
    """Clone a project and copy Hearth into it. Raises StepError."""
    folder = owner.home.parent / result.name.rpartition("/")[2]
    clone = ("git", "-c", "advice.detachedHead=false", "clone", "--quiet")
    logged(result, "git clone", *clone, source_of(result.name, mirror), folder)
    logged(result, "git checkout", "git", "checkout", "--quiet", result.commit, cwd=folder)
    answers = ANSWERS | (STAND_IN_ANSWERS if is_stand_in("debian:bookworm-slim") else {})
    answers |= row.get("answers", {})
    data = [word for key, value in answers.items() for word in ("--data", f"{key}={value}")]
    copy = (sys.executable, "-m", "copier", "copy", "--quiet", "--defaults", "--skip-tasks")
    logged(result, "copier copy", *copy, "--vcs-ref", "HEAD", *data, template, folder)
    give(folder, owner)
    return Project(folder, owner)


def declared(project: Project) -> int:
    """How many requirements of the project's own metadata the images have."""
    file = project.docker / "dependencies/project/pyproject.toml"
    if not file.exists():
        return 0
    return len(tomllib.loads(file.read_text())["project"]["dependencies"])


def counted(said: str) -> dict[str, int]:
    """How many lines `import` takes, changes and leaves out."""
    found = re.findall(r"(?m)^(Taken|Changed|Left out) \((\d+)\):$", said)
    return {name.lower(): int(number) for name, number in found}


def attempt(row: Mapping[str, Any], template: Path, index: PackageIndex, mirror: str) -> Result:
    """Take a project in, lock, build and import it; nothing of it is left."""
    result = Result(row["project"], row["commit"], row["habit"])
    folder = Path(tempfile.mkdtemp(prefix="hearth-public-"))
    folder.chmod(0o755)
    start = time.monotonic()
    project = None
    try:
        project = taken_in(row, result, template, person(folder), mirror)
        result.done.append("copied")
        template_sh(result, project, "env")
        project.set_env(**index.env())
        give(project.folder, project.owner)
        template_sh(result, project, "lock")
        result.done.append("locked")
        lists = project.sh("import")  # says what became of each line; it may find none
        result.log += f"$ template.sh import\n{lists.stdout}\n{lists.stderr}\n"
        result.counts = {"metadata": declared(project), **counted(lists.stdout)}
        template_sh(result, project, "build", "runtime")
        result.done.append("built")
        code = "; ".join(f"import {name}" for name in row["imports"])
        template_sh(result, project, "run", "python", "-c", code)
        result.done.append("imported")
    except StepError as error:
        result.says = str(error)
    finally:
        if project and (project.docker / ".env").exists():
            project.sh("clean", "--all")
        shutil.rmtree(folder, ignore_errors=True)
    result.seconds = round(time.monotonic() - start, 1)
    return result


def table(results: list[Result]) -> str:
    """The results as Markdown."""
    lists = ("metadata", "taken", "changed", "left out")
    head = ("project", "commit", "where its packages are", *lists, *STEPS[1:])
    lines = [f"| {' | '.join(head)} |", f"|---|---|---|{'---:|' * len(lists)}---|---|---|"]
    for one in results:
        numbers = [str(one.counts.get(name, "")) for name in lists]
        steps = ["yes" if step in one.done else "no" for step in STEPS[1:]]
        cells = (one.name, f"`{one.commit[:7]}`", one.habit, *numbers, *steps)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Do what the text of the module says."""
    parser = argparse.ArgumentParser(prog="make public")
    parser.add_argument("name", nargs="*", help="a project, such as dfm/emcee; all by default")
    parser.add_argument("--out", type=Path, default=ROOT, metavar="FOLDER")
    options = parser.parse_args(arguments)
    if problem := engine_problem():
        raise SystemExit(problem)
    rows = yaml.safe_load(TABLE.read_text())
    chosen = [row for row in rows if not options.name or row["project"] in options.name]
    mirror = os.environ.get("HEARTH_MIRROR", "")
    results = []
    with tempfile.TemporaryDirectory(prefix="hearth-public-") as temporary:
        template = snapshot(Path(temporary) / "hearth")
        content = Path(temporary) / "index"
        content.mkdir()
        with serving(package_index(content), bridge_address()) as index:
            for row in chosen:
                results.append(attempt(row, template, index, mirror))
                last = results[-1]
                print(last.name, *last.done, f"{last.seconds} s", last.says, flush=True)
                texts = [json.dumps(asdict(one), indent=2) for one in results]
                (options.out / "public.json").write_text("[" + ",\n".join(texts) + "]\n")
                (options.out / "public.md").write_text(table(results))
    return 0 if all(one.done == [*STEPS] for one in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
