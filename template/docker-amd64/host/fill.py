"""Filling .env: this machine's values, the folders that it names, and a report."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .env_file import (
    ALL,
    FILLED,
    Merge,
    ProbeError,
    Settings,
    answer_lines,
    merge,
    parse_env,
    read_env,
    read_or_explain,
    read_settings,
    split_record,
    unwritable,
    write_env,
)
from .facts import Facts, chosen_gpus
from .gpu_env import (
    CA_OVERLAY,
    PINS_OVERLAY,
    decide_gpus,
    followed_gpus,
    gpu_notes,
    gpu_or_cpu,
    split_files,
    with_overlay,
    without_gpus,
    write_overlays,
)
from .machine import identity, system_bundle, worker
from .probe import probe

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from .gpu_env import Gpus

# ruff: noqa: PLC0415  what only some calls need is imported there: the probe has to be quick

FOLLOWED = ("CA_BUNDLE", "GPU_IDS")  # COMPOSE_FILE follows the one in .env, CCA the other
REMEMBERED = ("CPU_OR_GPU", "COMPOSE_FILE")  # see gpu_env.Gpus
NOTHING = ".env: nothing to add."
BIND_DIRS = ("LOCAL_DATA_DIR", "LOCAL_OUTPUTS_DIR")  # a missing LOCAL_CODE_DIR is a mistake to show


def env_values(
    facts: Facts,
    folder: Path,
    example: str,
    current: Mapping[str, str] | None = None,
    way: str | None = None,
) -> dict[str, str]:
    """The values that this machine suggests for keys of `example`, the text of .env.example.

    `folder` is where .env lies, `current` what it says now: CCA is that of the GPUs in its GPU_IDS.
    `way` is how the containers get GPUs, if not as `decide_gpus` says without a record.
    What is not known is left out, so that the example's safe default (or the user's value) stands:
    the GPU keys when driver or engine give no answer, CA_BUNDLE when no variable names one.
    """
    current = current or {}
    defaults = {entry.key: entry.value for entry in parse_env(example) if entry.key}
    values = {"TZ": facts.timezone}
    inside, outside = identity(facts), worker(facts)
    if inside:
        values.update(USRID=str(inside.uid), GRPID=str(inside.gid))
        values.update(USR=inside.name, GRP=inside.group)
    values["COMPOSE_PROJECT_NAME"] = compose_project_name(
        defaults.get("COMPOSE_PROJECT_NAME", ""), outside.name if outside else "user", folder
    )
    memory = [size for size in (facts.memory_mib, facts.engine.memory_mib) if size]
    if memory:
        values["SHM_SIZE"] = f"{max(min(memory) // 2048, 1)}gb"
    if facts.gpu_status != "unknown":
        values["GPU_IDS"] = ",".join(facts.gpu_ids)
    if gpu_or_cpu(facts):
        values["CPU_OR_GPU"] = gpu_or_cpu(facts)
    # "auto", and behind it what that means where no GPU is seen
    auto, _, without_gpu = defaults.get("CCA", "").partition(" ")
    if auto == "auto":
        used = chosen_gpus(facts, current.get("GPU_IDS", ""))
        values["CCA"] = " ".join(used.compute_capabilities) or without_gpu
    if facts.ca_bundle:
        values["CA_BUNDLE"] = facts.ca_bundle
    trusts = current.get("CA_BUNDLE", facts.ca_bundle) if "CA_BUNDLE" in defaults else ""
    if way is None and "CPU_OR_GPU" in defaults:
        way = decide_gpus(facts, current, {}).way
    values["COMPOSE_FILE"] = compose_file(
        defaults.get("COMPOSE_FILE", ""), current, folder, trusts=bool(trusts), way=way
    )
    return {key: value for key, value in values.items() if key in defaults}


def compose_file(
    default: str, current: Mapping[str, str], folder: Path, *, trusts: bool, way: str | None
) -> str:
    """COMPOSE_FILE: the example's files, then the user's own that exist, in the user's order.

    Behind the example's files go compose.pins.yaml where it is there, compose.ca.yaml where
    `trusts` wants it too, and the overlay for GPUs by `way`; None is a project that has none.
    """
    yours, separator = split_files(current)
    base = default.split(":")
    files = [name for name in yours if name in base or (folder / name).is_file()]
    files = [name for name in dict.fromkeys(files) if name not in (PINS_OVERLAY, CA_OVERLAY)]
    files = [*(name for name in base if name not in files), *files]
    wanted = (PINS_OVERLAY, CA_OVERLAY) if trusts else (PINS_OVERLAY,)
    behind = max(files.index(name) for name in base) + 1
    files[behind:behind] = [name for name in wanted if (folder / name).is_file()]
    return separator.join(files if way is None else with_overlay(files, base, way))


def compose_project_name(name: str, user: str, folder: Path) -> str:
    """`<name>-<user>-<6 hex digits of the path>`: valid for Compose, and no two clones share it."""
    from hashlib import sha256

    def clean(text: str, size: int) -> str:
        return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:size].rstrip("-_")

    path = sha256(os.fsencode(folder.resolve())).hexdigest()[:6]
    user = clean(user, 24) or "user"
    return f"{clean(name, 63 - 8 - len(user)) or 'project'}-{user}-{path}"


def outside_root(facts: Facts) -> tuple[int, int] | None:
    """Whom a root at work for somebody else has to give new files; None where that is not so."""
    person_at_work = worker(facts)
    root = facts.user is not None and facts.user.uid == 0
    return (person_at_work.uid, person_at_work.gid) if root and person_at_work else None


def make_folder(path: Path, who: tuple[int, int] | None) -> tuple[list[Path], str]:
    """Create a folder and its missing parents for `who`; return them, or why that failed."""
    try:
        missing = [one for one in (path, *path.parents) if not one.exists()][::-1]
        for one in missing:
            one.mkdir()
            if who:
                os.chown(one, *who)
    except OSError as error:
        return [], f"Cannot create {path}: {error.strerror}."
    return missing, ""


def keep_out_of_git(folder: Path, who: tuple[int, int] | None) -> None:
    """Let a new folder of the project ignore itself: data and results are too large for git."""
    try:
        file = folder / ".gitignore"
        file.write_text("*\n")
        if who:
            os.chown(file, *who)
    except OSError:
        return


@dataclass(frozen=True)
class Filled:
    """What `fill` did; `notes` are sentences about what it could not do, `gpus` one about GPUs."""

    created: bool
    merged: Merge
    facts: Facts
    folders: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()


def fill(
    folder: Path,
    refresh: Collection[str] = (),
    facts: Facts | None = None,
    chosen: Mapping[str, str] | None = None,
    answered: Mapping[str, str] | None = None,
) -> Filled:
    """Merge .env.example into .env with this machine's values; make the data folders it names.

    `chosen` goes before what the probe suggests: it is what a person picked. `answered` is what the
    answers mean (`merge`); where the example leaves a key to the machine, the machine decides.
    `refresh` names keys of FILLED, or of the example. Raises ProbeError.
    """
    folder = folder.absolute()
    path = folder / ".env"
    example, current = read_or_explain(folder / ".env.example"), read_settings(path)
    if example is None:
        raise ProbeError(f"There is no .env.example in {folder}: name the folder with --project.")
    if re.search(r"(?m)^(<{7}|>{7}) ", example):  # its lines would be lines of .env
        raise ProbeError(
            ".env.example has conflicts: solve them first (between <<<<<<< and >>>>>>>)."
        )
    answers = answer_lines(parse_env(example))
    check_keys(refresh, [*FILLED, *answers])
    facts = with_system_bundle(facts or probe(folder), refresh)
    settings = {**read_env(current or ""), **(chosen or {})}
    for key in FOLLOWED:  # what is refreshed will be this machine's, and others follow that
        if key in refresh or tuple(refresh) == ALL:
            settings.pop(key, None)
    gpus = gpus_of_env(facts, example, current or "", refresh)
    way = gpus.way if gpus else None
    values = {**env_values(facts, folder, example, settings, way), **(chosen or {})}
    if gpus and tuple(refresh) != ALL:
        followed = followed_gpus(gpus, read_env(current or ""))
        values.update(followed)
        refresh = [*refresh, *followed]
    notes = [
        f"{key}: nothing found on this machine."
        for key in refresh
        if key not in (*values, *answers, *ALL)
    ]
    for key, reason in unwritable(values).items():
        notes.append(f"{key} was left out: {reason}.")
        del values[key]
    used = chosen_gpus(facts, settings.get("GPU_IDS", ""))
    if "CCA" in values and "CCA" not in settings and not used.compute_capabilities:
        notes.append(
            f"CCA: no GPU to ask; it is all that this project compiles for, {values['CCA']}."
        )
    answered = {key: value for key, value in (answered or {}).items() if key not in values}
    decided = gpus.wrote if gpus else {}
    merged = merge(example, current, values, refresh, answered, decided=decided)
    who = outside_root(facts)
    try:
        write_env(path, merged.text, who)
    except OSError as error:
        raise ProbeError(f"Cannot write {path}: {error.strerror}.") from error
    settings = read_env(merged.text)
    told: list[str] = []
    if gpus:
        notes += write_overlays(folder, settings, facts, who)
        told = gpu_notes(facts, settings, news=current is None or "COMPOSE_FILE" in refresh)
    folders, problems = make_folders(Settings(folder), who)
    all_notes = (*notes, *problems)
    return Filled(current is None, merged, facts, tuple(folders), all_notes, tuple(told))


def with_system_bundle(facts: Facts, refresh: Collection[str]) -> Facts:
    """The facts, with the certificates that this machine trusts where CA_BUNDLE is asked for."""
    if "CA_BUNDLE" not in refresh or facts.ca_bundle:
        return facts
    return replace(facts, ca_bundle=system_bundle())


def make_folders(settings: Settings, who: tuple[int, int] | None) -> tuple[list[Path], list[str]]:
    """Make the missing data folders that .env names; return them, and what could not be done."""
    folders: list[Path] = []
    problems: list[str] = []
    for bind in filter(None, map(settings.path, BIND_DIRS)):
        made, problem = make_folder(bind, who)
        folders += made[-1:]
        if made and settings.folder.parent in bind.parents:
            keep_out_of_git(bind, who)
        problems += [problem] if problem else []
    return folders, problems


def gpus_of_env(facts: Facts, example: str, current: str, refresh: Collection[str]) -> Gpus | None:
    """What .env, whose text is `current`, shall say about GPUs; None in a project without them."""
    if "CPU_OR_GPU" not in read_env(example):
        return None
    record = split_record(current)[1].items()
    wrote = {key: said.given for key, said in record if said and key in REMEMBERED}
    named = FILLED if tuple(refresh) == ALL else refresh
    return decide_gpus(facts, read_env(current), wrote, named)


def check_keys(refresh: Collection[str], decided: Sequence[str]) -> None:
    """Raises ProbeError if `refresh` names a key that is not one of `decided`."""
    for key in [] if tuple(refresh) == ALL else refresh:
        if key not in decided:
            names = ", ".join(dict.fromkeys(decided))
            raise ProbeError(f"Neither machine nor answers decide {key!r}; they do decide {names}.")


def attach(folder: Path) -> tuple[list[str], tuple[str, str] | None]:
    """Bring COMPOSE_FILE and the overlays in line with .env before containers start.

    Returns what changed or is wrong, and `without_gpus`. Raises ProbeError.
    """
    filled = fill(folder)
    cause = without_gpus(filled.facts, read_env(filled.merged.text))
    known = replace(filled.merged, differing=()), () if cause else filled.gpus
    lines = report(replace(filled, merged=known[0], gpus=known[1]))
    return [line for line in lines if line != NOTHING], cause


def report(filled: Filled) -> list[str]:
    """What `fill` did, in a few lines."""
    merged = filled.merged
    lines: list[str] = []
    if filled.created:
        lines.append(f".env: created for this machine, {len(merged.added)} keys.")
    elif merged.added:
        lines.append(f".env: added {', '.join(merged.added)}.")
    elif not (merged.refreshed or merged.taken or merged.gone):
        lines.append(NOTHING)
    if merged.refreshed:
        lines.append(f".env: refreshed {', '.join(merged.refreshed)}; the former is .env.bak.")
    lines += [
        f"{one.key}: {one.yours or 'nothing'} became {one.suggested or 'nothing'}, "
        "as the answers now say."
        for one in merged.taken
    ]
    lines += [
        f"{one.key}: .env says {one.yours or 'nothing'}, "
        f"{'the answers now say' if one.by_answers else 'this host suggests'} "
        f"{one.suggested or 'nothing'}; kept. To take it: ./template.sh env --refresh {one.key}"
        for one in merged.differing
    ]
    if merged.gone:
        lines.append(f".env: {', '.join(merged.gone)} left .env.example; kept under a comment.")
    lines += [f"Created {folder}." for folder in filled.folders]
    return [*lines, *filled.notes, *filled.gpus]
