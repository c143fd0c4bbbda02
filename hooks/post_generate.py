"""The hook: fill the new project's .env from this machine, and say what comes next.

Copier runs it once after a copy and once after an update, in the project's root folder, as

    python -B <template>/hooks/post_generate.py --ask|--no-ask

It always exits 0: a hook that fails would make Copier delete a new project, or leave an updated one
half-done. Whatever goes wrong is one sentence on stderr, and `template.sh env` does the same work.
It writes nothing into the template's folder.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

sys.dont_write_bytecode = True  # the template's folder may be a cache that Copier shares
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hooks.probe import (  # noqa: E402
    Facts,
    Filled,
    ProbeError,
    engine_line,
    fill,
    probe,
    read_env,
    report,
)

FOLDER = Path("docker-amd64")
MOST_LINES = 5  # of the report on .env


def gpu_choices(facts: Facts) -> dict[str, str]:
    """What a container can be given, UUID to a label: each GPU, or its MIG instances."""
    choices: dict[str, str] = {}
    for index, gpu in enumerate(facts.gpus):
        devices = gpu.mig if gpu.mig_enabled else (gpu,)
        for device in devices:
            size = f", {device.memory_mib / 1024:.0f} GiB" if device.memory_mib else ""
            choices[device.uuid] = f"{index}: {device.name}{size} ({device.uuid[:12]})"
    return choices


def ask_gpus(choices: Mapping[str, str]) -> str | None:
    """Let a person tick GPUs; return GPU_IDS for .env, or None if the question was refused."""
    import questionary  # noqa: PLC0415  part of Copier; not there when somebody runs this by hand

    ticked = questionary.checkbox(
        "GPUs to use",
        choices=[questionary.Choice(label, uuid, checked=True) for uuid, label in choices.items()],
        validate=lambda answer: bool(answer) or "Tick at least one GPU.",
    ).ask()
    return ",".join(ticked) if ticked else None


def choose(facts: Facts, folder: Path, *, ask: bool) -> dict[str, str]:
    """The values of .env that a person picks: the GPUs, where there is a choice not yet made."""
    choices = gpu_choices(facts)
    asked_before = folder / ".env"
    known = read_env(asked_before.read_text("utf-8", "replace")) if asked_before.is_file() else {}
    if not ask or len(choices) < 2 or "GPU_IDS" in known:  # noqa: PLR2004
        return {}
    try:
        ticked = ask_gpus(choices)
    except (ImportError, EOFError, OSError, KeyboardInterrupt):
        ticked = None
    return {"GPU_IDS": ticked} if ticked else {}


def host_lines(facts: Facts) -> list[str]:
    """This machine in one or two lines, and how to mend its engine if it needs that."""
    names = [gpu.name for gpu in facts.gpus]
    found = ", ".join(
        name if names.count(name) == 1 else f"{names.count(name)} x {name}"
        for name in dict.fromkeys(names)
    )
    driver = f", driver {facts.driver} (CUDA {facts.cuda or 'unknown'})" if facts.driver else ""
    lines = [f"Engine: {engine_line(facts.engine)}"]
    lines += [f"  to mend it: {facts.engine.fix}"] if facts.engine.fix else []
    return [*lines, f"GPU: {found}{driver}" if found else f"GPU: none ({facts.gpu_note})"]


def next_lines(project: Path, shell_folder: str | None) -> list[str]:
    """The commands to type next, from the folder where the person's shell is."""
    build = f"./{FOLDER}/template.sh build dev"
    if not shell_folder or Path(shell_folder).resolve() == project:
        return [f"Next: {build}"]
    way = os.path.relpath(project, Path(shell_folder).resolve())
    return [f"Next: cd {shlex.quote(way)} && {build}"]


def env_lines(filled: Filled) -> list[str]:
    """What happened to .env, not more than fits on a screen with the rest."""
    lines = report(filled)
    if len(lines) > MOST_LINES:
        more = len(lines) - MOST_LINES + 1
        lines[MOST_LINES - 1 :] = [f"... and {more} more: ./{FOLDER}/template.sh env tells all."]
    return lines


def run(project: Path, *, ask: bool) -> list[str]:
    """Do the hook's work in a project's root folder; the lines to show. Raises ProbeError."""
    folder = project / FOLDER
    if not folder.is_dir():
        raise ProbeError(f"There is no folder {FOLDER} in {project}.")
    facts = probe(folder)
    filled = fill(folder, facts=facts, chosen=choose(facts, folder, ask=ask))
    return [*host_lines(facts), *env_lines(filled), *next_lines(project, os.environ.get("PWD"))]


def main(args: Sequence[str]) -> int:
    """The command line; returns 0 whatever happens."""
    ask = "--ask" in args and sys.stdin.isatty() and sys.stdout.isatty()
    try:
        print("\n".join(run(Path.cwd(), ask=ask)))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  a hook never fails a copy
        reason = str(error) or type(error).__name__
        retry = f"Try again with ./{FOLDER}/template.sh env"
        print(f"The .env file was not filled: {reason.rstrip('.')}. {retry}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
