"""What the images hold and how fast it is: verify, bench."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from .ask import read_json
from .compose import SilentError, check_engine, image_id, need_image
from .engine_words import compose
from .failures import failed
from .project import USAGE, StopError, called_from, me
from .work import attach_gpus, environment_of_run, make_folders

if TYPE_CHECKING:
    import argparse

    from .project import Project

KILLED = 137  # the exit status of what the kernel killed for want of memory


def in_image(
    project: Project, target: str, script: str, *words: str
) -> subprocess.CompletedProcess[str]:
    """Run a program of an image in a container that does not start the project; keep its stdout."""
    run = ("--progress", "quiet", "run", "--rm", "--no-deps", "-T", "--entrypoint", "python")
    sys.stderr.flush()
    return subprocess.run(
        compose(*run, target, f"/opt/container/{script}", *words),
        cwd=str(project.folder),
        env=environment_of_run(project),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def checks_of(project: Project, *, prepared: bool) -> dict[str, str]:
    """What verify finds in the runtime image: its checks, with outcome and sentence.

    With `prepared`, a container can be started already.
    """
    if not prepared:
        attach_gpus(project, quiet=True)
        make_folders(project)
    checks = read_json(in_image(project, "runtime", "verify.py", "--json").stdout).get("checks", [])
    return {one["name"]: f"{one['status']}: {one['says']}" for one in checks}


def verify_options(parser: argparse.ArgumentParser) -> None:
    """Which images, and how to print."""
    parser.add_argument(
        "image",
        nargs="*",
        metavar="IMAGE",
        help="runtime or dev; those that are built without a name",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--doors", action="store_true", help="do what the verb doors does")


def do_verify(project: Project, options: argparse.Namespace) -> int:
    """Check in the images what was asked for; 1 if something is not so."""
    if options.doors:
        from .doors import do_doors  # noqa: PLC0415  it is about containers, not images

        return do_doors(project, options)
    for target in options.image:
        if target not in ("runtime", "dev"):
            raise StopError(
                f"verify knows runtime and dev, not {target}.",
                f"{me()} verify --help",
                name=USAGE,
            )
    built = [one for one in ("runtime", "dev") if image_id(project.image(one))]
    reports, status = {}, 0
    for target in options.image or built or ["dev"]:
        need_image(project, target)
        attach_gpus(project, quiet=True)
        make_folders(project)
        done = in_image(project, target, "verify.py", *(["--json"] if options.json else []))
        status = status or done.returncode
        if not done.stdout:
            check_engine(project)
            raise SilentError(1)
        if options.json:
            reports[target] = json.loads(done.stdout)
        else:
            print(target, *(f"  {line}" for line in done.stdout.splitlines()), sep="\n")
    if options.json:
        print(json.dumps(reports))
    return 1 if status else 0


def bench_options(parser: argparse.ArgumentParser) -> None:
    """Those of bench.py."""
    parser.add_argument(
        "image", nargs="?", metavar="IMAGE", choices=("runtime", "dev"), help="runtime or dev"
    )
    parser.add_argument("--seconds", metavar="S", help="how long each measurement takes")
    parser.add_argument("--dtype", metavar="TYPE", help="such as float16")
    parser.add_argument("--device", metavar="DEVICE", help="cpu or cuda")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two results side by side")


def do_bench(project: Project, options: argparse.Namespace) -> int:
    """Measure in an image: a table for a terminal, JSON for a file."""
    if options.compare:
        words = [sys.executable, str(project.folder / "bench.py"), "--compare", *options.compare]
        return subprocess.run(words, cwd=str(called_from()), check=False).returncode
    target = options.image
    if not target:
        target = "runtime" if image_id(project.image("runtime")) else "dev"
    need_image(project, target)
    attach_gpus(project)
    make_folders(project)
    given: list[str] = []
    for name in ("seconds", "dtype", "device"):
        value = getattr(options, name)
        given += [f"--{name}", value] if value else []
    done = in_image(project, target, "bench.py", "--service", f"{project.service}-{target}", *given)
    print(done.stdout, end="")
    if done.returncode == KILLED:
        raise failed("memory-used-up", project)
    if not done.stdout:
        check_engine(project)
    return done.returncode
