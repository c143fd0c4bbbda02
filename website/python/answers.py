"""What the configurator shows: one function for each thing that the page asks.

Each takes and returns values of JSON, so that a worker in a browser can call it. All verdicts are
the matcher's, all choices and refusals those of the questions in copier.yml.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from hooks.compat.table import load
from hooks.matcher import advice, choice, newest_branch, working
from hooks.matcher.overview import overview
from hooks.matcher.remedies import drivers, installs
from hooks.matcher.search import answers_of, describe, gpus_of
from hooks.matcher.stacks import PROJECT_ARCH
from hooks.matcher.this_machine import Place
from hooks.matcher.verdicts import Verdict

from .machines import described, read_file
from .project_command import ALWAYS, HIDDEN, command, folder_of, folder_refused, spelt
from .questions import questionnaire
from .verdict_text import judged, oldest_driver, said, verdict_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hooks.matcher import Advice, Change, Choice, Host, Judgement, Option
    from hooks.matcher.overview import Row

    from .machines import Machine
    from .questions import Answered

# The answers that follow the machine until somebody chooses them, by the field of a choice.
FOLLOW = {
    "torch": "torch_version",
    "cuda": "cuda_version",
    "python": "python_version",
    "ngc_release": "ngc_release",
    "distro": "linux_distro",
}
MOST_TRIED = 12  # choices that work, until one is on offer too
PLACES = {
    "Ubuntu": Place(distribution="ubuntu"),
    "Debian 12": Place(distribution="debian", version="12"),
    "RHEL, Rocky, Alma 9": Place(distribution="rhel", version="9"),
    "Windows, with WSL": Place(wsl=True),
}
FAILS = "This choice fails on that machine"
Json = dict[str, Any]
NO_LINES: Json = {"plain": [], "plain_note": ""}


def answer(state: Mapping[str, Any]) -> Json:
    """Everything that follows at once from what is typed and chosen.

    Args:
        state: gpus and driver as typed; answers, texts by the names of questions (a list has
            commas); folder, that of the project; elsewhere, whether the command runs on another
            machine than that of the GPUs; facts, a host that was dropped, or None.
    """
    machine = _machine(state)
    wanted, left_out, refused = _wanted(state, machine.host)
    folder = folder_of(state)
    no_folder = folder_refused(folder)
    followed, instead = _followed(machine.host, wanted)
    questions, known = _answers({**wanted, **followed})
    made = choice_of(known)
    judgement = _judgement(machine.host, made, known)
    unjudged = _unjudged(machine, state, known)
    refusals = (unjudged, no_folder, *(one.refused for one in questions.values()))
    problems = [why for why in refusals if why]
    if judgement and judgement.verdict is Verdict.FAILS:
        problems.append(f"{FAILS}.")
    told = {
        "refused": machine.refused,
        "field": machine.field,
        "left_out": left_out,
        "could_be": list(machine.could_be),
        "machine": _machine_line(machine.host),
        "named": gpus_of(machine.host) if machine.host else "",
        "followed": sorted(followed),
        "instead": instead,
        "questions": [
            _question(one, wanted, followed.get(name))
            for name, one in questions.items()
            if name not in HIDDEN
        ],
        "folder_refused": no_folder,
        **verdict_of(machine, made, judgement),
        "command": "" if problems else command(questions, folder),
        "problem": problems[0] if problems else "",
        **(NO_LINES if unjudged else _plain(machine.host, made)),
    }
    return {**told, **_no_link(refused)} if refused else told


def _machine(state: Mapping[str, Any]) -> Machine:
    gpus, driver = str(state.get("gpus", "")), str(state.get("driver", ""))
    return described(gpus, driver, state.get("facts"))


def _unjudged(machine: Machine, state: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Why a choice cannot be judged on the machine that is described, "" if it can or needs none.

    Nothing is offered then: what fits a driver or a GPU that nobody understood is not known.
    """
    if machine.refused:
        return machine.refused
    driver = str(state.get("driver", "")).strip()
    if machine.host is None and driver and _uses_gpus(known):
        return f"Name the GPU, too: what driver {driver[:80]} runs depends on it."
    return ""


def _no_link(refused: str) -> Json:
    """What replaces an answer where a link is refused: whoever made it meant something else."""
    return {
        "refused": refused,
        "field": "link",
        "could_be": [],
        "instead": "",
        **said("unknown", "The link is refused", refused),
        "command": "",
        "problem": "",
        **NO_LINES,
    }


def _wanted(
    state: Mapping[str, Any], machine: Host | None
) -> tuple[dict[str, str], list[str], str]:
    """The answers that somebody chose, the names that are left out, and why a link is refused.

    With `elsewhere`, the GPUs are those of another machine.
    """
    chosen = {str(name): str(value) for name, value in (state.get("answers") or {}).items()}
    left_out = [name for name in chosen if name in HIDDEN]
    wanted = {name: value for name, value in chosen.items() if name not in HIDDEN}
    refused = questionnaire().refused(given(wanted))
    if refused:
        fine = {name for name in wanted if not questionnaire().refused(given({name: wanted[name]}))}
        left_out += [name for name in wanted if name not in fine]
        wanted = {name: value for name, value in wanted.items() if name in fine}
    if state.get("elsewhere") and machine is not None:
        names = dict.fromkeys(item.name or item.product for item in machine.gpus)
        wanted["target_gpus"] = ", ".join(names)
    return wanted, left_out, refused


def given(wanted: Mapping[str, str]) -> Json:
    """Texts of a link as answers: of a question with several choices, a list."""
    several = _kinds()
    return {
        name: [part for part in value.split(",") if part]
        if several.get(name) == "several"
        else value
        for name, value in wanted.items()
    }


@functools.cache
def _kinds() -> dict[str, str]:
    found, _ = questionnaire().answer({})
    return {name: one.kind for name, one in found.items()}


def _answers(wanted: Mapping[str, str]) -> tuple[dict[str, Answered], Json]:
    """The questions as Copier has them on a machine with an NVIDIA driver."""
    return _answered(tuple(sorted(wanted.items())))


@functools.lru_cache(maxsize=512)
def _answered(wanted: tuple[tuple[str, str], ...]) -> tuple[dict[str, Answered], Json]:
    return questionnaire().answer(given(dict(wanted)), driver=True)


def choice_of(known: Mapping[str, Any]) -> Choice:
    """The answers as the matcher reads them, as hooks/generate/after_render.py does."""
    return choice(
        service=known["service"],
        accelerator=known["accelerator"],
        torch=known["torch_version"] if known["service"] != "ngc" else None,
        cuda=known["cuda_version"] if known["cuda_version"] != "none" else None,
        python=None if known["service"] == "ngc" else known["python_version"],
        cca=known["cca"],
        distro=known["linux_distro"],
        flavour=known["flavour"],
        ngc_release=known["ngc_release"],
        pytorch_build=known["pytorch_build"],
        package_manager=known["package_manager"],
    )


def _uses_gpus(known: Mapping[str, Any]) -> bool:
    return bool(known["accelerator"] == "cuda")


@functools.lru_cache(maxsize=256)
def _advice(machine: Host | None, made: Choice) -> Advice:
    return advice(machine, made)


@functools.lru_cache(maxsize=256)
def _working(machine: Host, made: Choice) -> tuple[Option, ...]:
    return working(machine, made)


def _judgement(machine: Host | None, made: Choice, known: Mapping[str, Any]) -> Judgement | None:
    """What the matcher says; None where there is no machine, or nothing that runs on a GPU."""
    return judged(machine, made) if machine is not None and _uses_gpus(known) else None


def _followed(machine: Host | None, wanted: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Answers for what nobody chose where Copier's own would fail on this machine, and why.

    They are those of the newest choice that works, keeps what was chosen, and is on offer.
    """
    _, known = _answers(wanted)
    if machine is None or not _uses_gpus(known):
        return {}, ""
    if machine.driver is None:  # the newest that drives the GPUs, as the hook takes for target_gpus
        machine = machine._replace(driver=str(newest_branch(machine)))
    made = choice_of(known)
    judgement = judged(machine, made)
    if judgement.verdict.works:
        return {}, ""
    tried = 0
    for option in _working(machine, made):
        answers = answers_of(option.choice)
        new = {
            name: answers[name]
            for name in FOLLOW.values()
            if name in answers and answers[name] != known[name]
        }
        if new.keys() & wanted.keys():
            continue
        tried += 1
        questions, after = _answers({**wanted, **new})
        asked = all(questions[name].asked and not questions[name].refused for name in new)
        if asked and judged(machine, choice_of(after)).verdict.works:
            return new, f"{describe(made)}, Copier's default, would fail here: {judgement.why}."
        if tried == MOST_TRIED:
            break
    return {}, ""


def _machine_line(machine: Host | None) -> str:
    if machine is None:
        return ""
    arch = "" if machine.arch == "x86_64" else f", {machine.arch}"
    driver = f"driver {machine.driver}" if machine.driver else "a driver that is not named"
    return f"{gpus_of(machine)}, {driver}{arch}"


def _question(one: Answered, wanted: Mapping[str, str], followed: str | None) -> Json:
    return {
        "name": one.name,
        "help": one.help,
        "kind": one.kind,
        "asked": one.asked,
        "value": one.value,
        "proposed": one.usual if followed is None else followed,
        "given": one.name in wanted,
        "offers": [offer._asdict() for offer in one.offers],
        "refused": one.refused,
    }


def _changes(machine: Host, made: Choice) -> list[Json]:
    """The nearest that works, the newest, and a newer driver, as the command has them.

    Where the driver is not named, and none helps, they are those for the newest.
    """
    verdict = judged(machine, made).verdict
    if verdict.works or (machine.driver is None and verdict is not Verdict.FAILS):
        return []
    if machine.driver is None:
        machine = machine._replace(driver=str(newest_branch(machine)))
    told = _advice(machine, made)
    found = {
        "Nearest that works": told.nearest,
        "Newest that works": told.newest if told.newest != told.nearest else None,
        "With another driver": told.driver,
    }
    return [_change(title, machine, made, change) for title, change in found.items() if change]


def _change(title: str, machine: Host, made: Choice, change: Change) -> Json:
    before, after = answers_of(made), answers_of(change.choice)
    new = {name: value for name, value in after.items() if before.get(name) != value}
    driver = change.host.driver if change.host.driver != machine.driver else None
    return {
        "title": title,
        "text": change.text,
        "answers": new,
        "driver": driver or "",
        "drivers": driver_lines(change.host, driver) if driver else [],
    }


def driver_lines(machine: Host, driver: str) -> list[Json]:
    """How each system installs a driver branch."""
    branch = int(driver.partition(".")[0])
    return [
        {"place": name, "lines": [*drivers(machine, branch, place)]}
        for name, place in PLACES.items()
    ]


def _plain(machine: Host | None, made: Choice) -> Json:
    """The lines for those who want no template, where they work by themselves."""
    alone = made._replace(project=False, compat="image")
    lines = [*installs(alone)]
    note = ""
    if machine is not None and made.accelerator == "cuda" and lines:
        judgement = judged(machine, alone)
        if judgement.verdict is Verdict.FAILS:
            lines, note = [], f"By itself this fails: {judgement.why}."
    return {"plain": lines, "plain_note": note}


def more(state: Mapping[str, Any]) -> Json:
    """What takes longer than the verdict.

    That is the changes that work, what fails of each choice on offer, the newest that works of
    each service, and where to find what helps if the choice fails, "" if something else is wrong.

    Args:
        state: as `answer` takes it.
    """
    nothing: Json = {"changes": [], "marks": {}, "services": [], "problem": ""}
    told = answer(state)
    machine = _machine(state).host
    if machine is None or told["field"] == "link":
        return nothing
    wanted, _, _ = _wanted(state, machine)
    values = {one["name"]: str(one["value"]) for one in told["questions"]}
    followed = {name: values[name] for name in told["followed"]}
    questions, known = _answers({**wanted, **followed})
    if not _uses_gpus(known):
        return nothing
    made = choice_of(known)
    found: Json = {**nothing, "changes": _changes(machine, made)}
    if machine.driver is not None:
        found["marks"] = _marks(machine, made, questions, keep_cuda="cuda_version" in wanted)
        found["services"] = services(machine)
    if told["problem"] == f"{FAILS}.":
        found["problem"] = f"{FAILS}: {_way_out(found, told['plain'])}."
    return found


def _way_out(found: Json, plain: list[str]) -> str:
    """What to take in place of a choice that fails, and where the page has it."""
    if found["changes"]:
        return "take a change that works, above"
    if any(row["answers"] for row in found["services"]):
        return "take another service, of the table below"
    if plain or any(row["plain"] for row in found["services"]):
        return "take the lines without the template, below"
    return "neither another choice nor another driver helps"


def _marks(
    machine: Host, made: Choice, questions: Mapping[str, Answered], *, keep_cuda: bool
) -> dict[str, dict[str, str]]:
    """By question and value, why a choice on offer fails on the machine.

    A release counts as failing if it does so with every CUDA that it can be chosen with.
    """
    found = {}
    for field, name in FOLLOW.items():
        if not questions[name].asked or (field == "distro" and made.service == "simple"):
            continue
        offers = [offer.value for offer in questions[name].offers if not offer.reason]
        whys = {
            value: _why_not(machine, made, field, value, keep_cuda=keep_cuda)
            for value in offers
            if value != "none"
        }
        found[name] = {value: why for value, why in whys.items() if why}
    return found


def _why_not(machine: Host, made: Choice, field: str, value: str, *, keep_cuda: bool) -> str:
    """Why one other answer fails on a machine, "" if it does not, or if all others do so too."""
    value = value.replace("-", "") if field == "distro" else value
    changed: dict[str, Any] = {field: value}
    others = [made._replace(**changed)]
    if field == "torch" and not keep_cuda:
        others = [others[0]._replace(cuda=line) for line in _lines(made, value)]
    judgements = [judged(machine, other) for other in others]
    if not judgements or any(one.verdict is not Verdict.FAILS for one in judgements):
        return ""
    why = judgements[0].why
    of_all = field in {"python", "distro"} and why == judged(machine, made).why
    return "" if of_all else f"{why}."


def _lines(made: Choice, torch: str) -> list[str]:
    """The CUDA lines that a release can be chosen with, newest first."""
    table = load()
    release = table.torch.get(torch)
    if made.package_manager == "conda":
        return [*reversed(table.conda.get(torch, []))]
    return [*reversed(release.published)] if release else []


def services(machine: Host) -> list[Json]:
    """The newest that works of each service, as `hearth match` without a choice says it."""
    return [_row(row, project=machine.arch == PROJECT_ARCH) for row in _overview(machine)]


@functools.lru_cache(maxsize=64)
def _overview(machine: Host) -> tuple[Row, ...]:
    like = choice(service="simple")
    if machine.arch != PROJECT_ARCH:  # no project, but wheels and images by themselves
        like = like._replace(project=False, compat="image")
    return overview(machine, like)


def _row(row: Row, *, project: bool) -> Json:
    return {
        "name": row.name,
        "lines": [*row.lines],
        "verdict": row.judgement.verdict.value,
        "why": f"{row.judgement.why}.",
        "answers": _answers_for(row.choice) if row.choice and project else {},
        "plain": [*installs(row.choice)] if row.choice and not project else [],
    }


def _answers_for(made: Choice) -> dict[str, str]:
    """Answers that come to a choice, whatever was chosen before: all that a verdict rests on."""
    # What a choice lacks is said, too: no PyTorch, and its wheel.
    wanted = {"torch_version": "none", **answers_of(made), "package_manager": made.package_manager}
    wanted["pytorch_build"] = made.pytorch_build
    questions, _ = _answers(wanted)
    rested_on = (*ALWAYS, "pytorch_build", "hub_image", "cca", *wanted.keys() & {"linux_distro"})
    return {name: spelt(questions[name].value) for name in rested_on if questions[name].asked}


def opened(text: str) -> Json:
    """What a dropped file or a pasted text is; see `machines.read_file`."""
    return read_file(text)


def facts() -> Json:
    """What the page shows before Python runs: names to choose from, and the first answer."""
    table = load()
    return {
        "gpus": [product.name for product in table.products.values()],
        "drivers": [str(branch) for branch in reversed(table.branches)],
        "tables": str(max(table.read.values())),
        "first": answer({}),
    }


def warm() -> None:
    """Load and compile all that later calls need: a page has no files to read it from."""
    for answers in ({}, {"service": "train"}, {"service": "ngc"}, {"service": "hub"}):
        state = {"gpus": "RTX 5090", "driver": "570", "answers": answers}
        answer(state)
        more(state)
    opened("{}")
    for cache in (_answered, judged, _advice, _working, _overview, oldest_driver):
        cache.cache_clear()
