"""After rendering: fill .env, judge the choice on this machine, say what comes next."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hooks.probe import Facts, Filled, ProbeError, engine_line, fill, probe, read_env, report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hooks.match import Advice, Choice

FOLDER = Path("docker-amd64")
MOST_LINES = 5  # of the report on .env
MOST_OPTIONS = 8  # that a person is offered where his choice does not work
KEEP = "Keep my choice"


@dataclass(frozen=True)
class Answers:
    """The answers that decide what runs on which GPU, as Copier hands them to the hook."""

    service: str = "simple"
    accelerator: str = "cpu"
    torch: str = "none"
    cuda: str = "none"
    python: str = ""
    cca: str = "auto"
    target_gpus: str = ""

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Answers:
        """Read `--name=value` arguments; what is no answer is somebody else's."""
        pairs = (argument[2:].partition("=") for argument in arguments if argument[:2] == "--")
        given = {name.replace("-", "_"): value for name, _, value in pairs}
        return cls(**{name: given[name] for name in cls.__dataclass_fields__ if name in given})


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


def chosen_gpus(facts: Facts, gpu_ids: str) -> Facts:
    """The facts with only the GPUs that GPU_IDS names; with all of them where it names none."""
    wanted = set(gpu_ids.replace(" ", "").split(","))
    kept = [gpu for gpu in facts.gpus if wanted & {gpu.uuid, *(part.uuid for part in gpu.mig)}]
    return replace(facts, gpus=tuple(kept)) if kept else facts


def judge(facts: Facts, answers: Answers) -> tuple[Choice, Advice] | None:
    """What the matcher says of the answers on these GPUs; None where there is nothing to judge.

    Raises:
        BadInputError: an answer or a GPU's name is nothing that the matcher can read.
    """
    if answers.accelerator != "cuda" or answers.torch == "none":
        return None
    from hooks import match  # noqa: PLC0415  its table costs time, and CPU projects need none

    wanted = match.choice(
        service=answers.service,
        accelerator=answers.accelerator,
        torch=answers.torch,
        cuda=answers.cuda,
        python=answers.python,
        cca=answers.cca,
    )
    targets = [name.strip() for name in answers.target_gpus.split(",") if name.strip()]
    if not targets:
        return wanted, match.advice(match.from_probe(facts.as_dict()), wanted)
    branch = match.newest_branch(match.host(None, targets))
    told = match.advice(match.host(str(branch), targets), wanted)
    return wanted, told._replace(line=f"{told.line}, with a driver of branch {branch}")


def ask_option(told: Advice, wanted: Choice) -> str:
    """Let a person pick among the choices that work here; the command that takes one, or ""."""
    import questionary  # noqa: PLC0415

    from hooks import match  # noqa: PLC0415

    options = {option.label: option for option in told.options[:MOST_OPTIONS]}
    picked = questionary.select(
        f"{told.why} What works on these GPUs?",
        choices=[*options, KEEP],
        default=next(iter(options)),
    ).ask()
    return match.command(wanted, options[picked].choice) if picked in options else ""


def match_lines(facts: Facts, answers: Answers, *, ask: bool) -> list[str]:
    """The verdict on the answers: one line where they work, else why not and what to type."""
    try:
        judged = judge(facts, answers)
    except ValueError as error:
        return [f"Compatibility was not checked: {error}"]
    if judged is None:
        return []
    wanted, told = judged
    if told.verdict.startswith("works") or told.verdict == "unknown":
        return [told.line, *([told.why] if told.verdict != "works" and told.why else [])]
    command = told.command
    if ask and told.options:
        try:
            command = ask_option(told, wanted)
        except (ImportError, EOFError, OSError, KeyboardInterrupt):
            command = told.command
    change = f"To change it, once the project is committed: {command}" if command else ""
    return [told.line, told.why, *([change] if change else [])]


def run(project: Path, arguments: Sequence[str], *, ask: bool) -> list[str]:
    """Do the hook's work in a project's root folder; the lines to show. Raises ProbeError."""
    folder = project / FOLDER
    if not folder.is_dir():
        raise ProbeError(f"There is no folder {FOLDER} in {project}.")
    facts = probe(folder)
    filled = fill(folder, facts=facts, chosen=choose(facts, folder, ask=ask))
    used = chosen_gpus(facts, read_env(filled.merged.text).get("GPU_IDS", ""))
    return [
        *host_lines(facts),
        *env_lines(filled),
        *match_lines(used, Answers.parse(arguments), ask=ask),
        *next_lines(project, os.environ.get("PWD")),
    ]
