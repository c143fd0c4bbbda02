"""GPUs when containers start: the override file that hands them over, and why there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .accelerator import OF_THIS_CALL, OVERRIDE_FILES
from .compose import show
from .failures import explain, failed
from .project import USAGE, StopError, me
from .stderr_watch import engine_refuses

if TYPE_CHECKING:
    import argparse

    from .project import Project

GPU_FILES = tuple(OVERRIDE_FILES.values())


def gpu_options(parser: argparse.ArgumentParser, *, of_run: bool) -> None:
    """Which GPUs, and how long to wait for them; of `run` also what to do when they are lost."""
    group = parser.add_argument_group("GPUs")
    group.add_argument(
        "--gpus",
        metavar="GPUS",
        help="idle:2 for two that nobody uses, or numbers, UUIDs, all, none; nobody else gets them",
    )
    group.add_argument("--wait", metavar="TIME", help="wait for them, such as 30m or 2h")
    if of_run:
        group.add_argument(
            "--restart-on",
            choices=("gpu-lost",),
            help="start the command again if it has lost its GPUs, when they are back",
        )


def watchdog_words(project: Project, options: argparse.Namespace) -> list[str]:
    """What to put before a command of `run`, so that it is ended when it has lost its GPUs.

    Raises:
        StopError: it is to be started again, but nothing would wait for its end.
    """
    if options.restart_on and options.detach:
        sentence = "--restart-on waits for the end of the command, and -d does not."
        raise StopError(sentence, f"{me()} run --help", name=USAGE)
    wanted = options.restart_on or project.settings.get("GPU_WATCHDOG") == "1"
    return ["python", "-IS", "/opt/container/gpu_watchdog.py"] if wanted else []


def attach_gpus(project: Project, *, quiet: bool = False) -> None:
    """Bring the override file for GPUs in line with GPU_IDS and CPU_OR_GPU in .env.

    Where the containers get no GPU they start on the CPU, after one line. With `quiet` that line is
    left to the container, which says it too: to ask this machine costs a quarter of a second.

    Raises:
        StopError: REQUIRE_GPU=1 and no GPU, or COMPOSE_FILE names two override files for GPUs.
    """
    settings = project.settings
    named = [name for name in GPU_FILES if name in settings.files()]
    required = settings.get("REQUIRE_GPU") == "1"
    if len(named) > 1:
        raise failed("gpu-files-both", project, files=" and ".join(named))
    if gpus_are_settled(project, named, ask_nothing=quiet and not required):
        return
    from .fill import attach  # noqa: PLC0415  what looks at the machine takes a while to import

    lines, cause = attach(project.folder)
    project.forget_settings()
    for line in lines:
        show(line)
    if not cause:
        return
    why, remedy = cause
    if required:
        raise failed("gpu-required", project, reason=why, remedy=remedy)
    if not named and not quiet:
        change = f" To change that: {remedy}" if remedy else ""
        show(f"No GPU for the containers, they run on the CPU: {why}.{change}")


def gpus_are_settled(project: Project, named: list[str], *, ask_nothing: bool) -> bool:
    """Whether the override file that COMPOSE_FILE names is right, without a look at the machine.

    With `ask_nothing`, a project whose .env says cpu is right without one, too.
    """
    wanted = project.settings.in_file("CPU_OR_GPU") == "gpu"
    if not named:
        return ask_nothing and not wanted
    given = f'    GPUS_GIVEN: "{project.settings.get("GPU_IDS")}"'
    try:
        lines = (project.folder / named[0]).read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    return wanted and given in lines


def start_refused(project: Project, text: str) -> StopError | None:
    """Why Compose started nothing: for the GPUs it was asked for, or what the engine says of it."""
    files = project.settings.files()
    if any(one in GPU_FILES or one.startswith(OF_THIS_CALL) for one in files):
        stop = explain(project, text)
        if stop and stop.name.startswith("gpu-"):
            return stop
    return engine_refuses(project, text)
