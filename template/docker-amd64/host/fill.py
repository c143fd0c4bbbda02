"""Filling .env: this machine's values, the folders that it names, and a report."""

from __future__ import annotations

import re
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .accelerator import Known, accelerator, compose_files, override_in
from .ask import read_text
from .engine_words import DOCKER, ENGINE_KEY, PODMAN
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
from .env_renewal import former_example
from .files import change_mode, make_folder, write_file
from .place import KEY as NAME_KEY
from .place import check_place, compose_project_name, is_made_by_program
from .probe import probe, system_bundle
from .project import CA_FILE, DATA_KEY, PINS_FILE, is_compose_file, me

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from .accelerator import Suggestion
    from .facts import Facts

ROOT = (
    "You are root: programs in the containers run as root, and their files belong to root. "
    "If you have a user of your own, work as that user."
)
NOTHING = ".env: nothing to add."
OURS = ("dependencies", "host", "image")  # folders of docker-amd64 whose files are run or built
BIND_DIRS = ("LOCAL_DATA_DIR", "LOCAL_OUTPUTS_DIR")  # a missing LOCAL_CODE_DIR is a mistake to show


def env_values(
    facts: Facts,
    folder: Path,
    example: str,
    current: Mapping[str, str] | None = None,
    suggestion: Suggestion | None = None,
) -> dict[str, str]:
    """The values that this machine suggests for keys of `example`, the text of .env.example.

    `folder` is where .env lies, `current` what it says now; `suggestion` is the accelerator's, if
    not the one without a record. What is not known is left out, so that the example's safe default
    (or the user's value) is kept, such as CA_BUNDLE when no variable names one.
    """
    current = current or {}
    defaults = read_defaults(example)
    if suggestion is None:
        suggestion = accelerator(defaults).suggestion(facts, Known(defaults, current, current))
    values = {"TZ": facts.timezone, **suggestion.values}
    inside, outside = facts.container_user, facts.host_user
    if inside:
        values.update(USRID=str(inside.uid), GRPID=str(inside.gid))
        values.update(USR=inside.name, GRP=inside.group)
    values["COMPOSE_PROJECT_NAME"] = compose_project_name(
        defaults.get("COMPOSE_PROJECT_NAME", ""), outside.name if outside else "user", folder
    )
    if "SSH_PORT" in defaults:
        from .ssh_env import ssh_values  # noqa: PLC0415  only some projects have it

        values.update(ssh_values(folder, current))
    if facts.engine.kind != "none":
        values[ENGINE_KEY] = PODMAN if facts.engine.kind == PODMAN else DOCKER
    memory = [size for size in (facts.memory_mib, facts.engine.memory_mib) if size]
    if memory:
        values["SHM_SIZE"] = f"{max(min(memory) // 2048, 1)}gb"
    if facts.ca_bundle:
        values["CA_BUNDLE"] = facts.ca_bundle
    trusts = current.get("CA_BUNDLE", facts.ca_bundle) if "CA_BUNDLE" in defaults else ""
    default = defaults.get("COMPOSE_FILE", "")
    values["COMPOSE_FILE"] = compose_file(
        default, current, folder, trusts=bool(trusts), override=suggestion.override
    )
    return {key: value for key, value in values.items() if key in defaults}


def read_defaults(example: str) -> dict[str, str]:
    """The keys of .env.example, those in comments too, and their values."""
    return {entry.key: entry.value for entry in parse_env(example) if entry.key}


def compose_file(
    default: str, current: Mapping[str, str], folder: Path, *, trusts: bool, override: str | None
) -> str:
    """COMPOSE_FILE: the example's files, then the user's own that exist, in the user's order.

    After the example's files come compose.pins.yaml where it is there, compose.ca.yaml where
    `trusts` wants it too, and the accelerator's file `override`; None leaves that as it is.
    """
    yours, separator = compose_files(current)
    base = default.split(":")
    files = [name for name in yours if name in base or is_compose_file(folder, name)]
    files = [name for name in dict.fromkeys(files) if name not in (PINS_FILE, CA_FILE)]
    files = [*(name for name in base if name not in files), *files]
    wanted = (PINS_FILE, CA_FILE) if trusts else (PINS_FILE,)
    behind = max(files.index(name) for name in base) + 1
    files[behind:behind] = [name for name in wanted if (folder / name).is_file()]
    return separator.join(files if override is None else with_override(files, base, override))


def missing_files(settings: Mapping[str, str], folder: Path, kept: Collection[str]) -> list[str]:
    """The names in COMPOSE_FILE of files that do not exist, but those of `kept`."""
    return [
        name
        for name in compose_files(settings)[0]
        if name not in kept and not is_compose_file(folder, name)
    ]


def without_files(
    settings: Mapping[str, str], missing: Collection[str], defaults: Mapping[str, str]
) -> dict[str, str]:
    """The settings, with a COMPOSE_FILE that does not name the missing files."""
    if not missing:
        return dict(settings)
    names, separator = compose_files(settings)
    left = [name for name in names if name not in missing]
    left = left or defaults.get("COMPOSE_FILE", "").split(":")
    return {**settings, "COMPOSE_FILE": separator.join(left)}


def with_override(files: Sequence[str], base: Sequence[str], override: str) -> list[str]:
    """Compose files with one override file of the accelerator, or none, after the template's."""
    others = [name for name in files if not override_in([name])]
    before = (*base, PINS_FILE, CA_FILE)
    at = max((others.index(one) + 1 for one in before if one in others), default=0)
    return [*others[:at], *([override] if override else []), *others[at:]]


def followed_values(
    suggestion: Suggestion, before: Mapping[str, str], missing: Collection[str]
) -> dict[str, str]:
    """The keys that change in .env without a refresh.

    Of COMPOSE_FILE only the override file; and the `missing` files are not in that of `before`.
    """
    followed = dict(suggestion.followed)
    files, separator = compose_files(before)
    override = suggestion.override
    if missing:
        followed["COMPOSE_FILE"] = before["COMPOSE_FILE"]
    if "COMPOSE_FILE" in before and override is not None and override_in(files) != override:
        followed["COMPOSE_FILE"] = separator.join(with_override(files, ["compose.yaml"], override))
    return followed


def new_file_owner(facts: Facts) -> tuple[int, int] | None:
    """The ids of the user whom a root at work for somebody else gives new files, else None."""
    user = facts.host_user
    root = facts.user is not None and facts.user.uid == 0
    return (user.uid, user.gid) if root and user else None


def is_root_for_itself(facts: Facts) -> bool:
    """Whether root works for nobody else, so that containers run as root of this machine."""
    host_user = facts.host_user
    is_root = host_user is not None and host_user.uid == 0
    return is_root and not facts.engine.rootless and facts.engine.kind != "docker-desktop"


def keep_out_of_git(folder: Path, owner: tuple[int, int] | None) -> None:
    """Let a new folder of the project ignore itself: data and results are too large for git."""
    with suppress(ProbeError):
        write_file(folder / ".gitignore", "*\n", owner=owner)


@dataclass(frozen=True)
class Filled:
    """What `fill` did; `notes` are sentences about what it could not do.

    `accelerator` has one about what the containers compute on; `missing` are the files that were
    taken out of COMPOSE_FILE; `copy` is the copy of the former .env, if that was another one.
    """

    created: bool
    merged: Merge
    facts: Facts
    folders: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    accelerator: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    copy: Path | None = None


def read_example(folder: Path) -> str:
    """The text of .env.example. Raises ProbeError if there is none, or one with conflicts."""
    example = read_or_explain(folder / ".env.example")
    if example is None:
        raise ProbeError(f"There is no .env.example in {folder}: name the folder with --project.")
    if re.search(r"(?m)^(<{7}|>{7}) ", example):  # its lines would be lines of .env
        raise ProbeError(
            ".env.example has conflicts: solve them first (between <<<<<<< and >>>>>>>)."
        )
    return example


def fill(
    folder: Path,
    refresh: Collection[str] = (),
    facts: Facts | None = None,
    chosen: Mapping[str, str] | None = None,
    answered: Mapping[str, str] | None = None,
    *,
    committed: str = "",
) -> Filled:
    """Merge .env.example into .env with this machine's values; make the data folders it names.

    `chosen` goes before what the probe suggests: it is what the user picked. `answered` is what the
    answers mean (`merge`); where the example leaves a key to the machine, the machine decides.
    `refresh` names keys of FILLED, or of the example. `committed` is the example of the last commit
    where an update has just replaced it (`former_example`). Raises ProbeError.
    """
    folder = folder.absolute()
    path = folder / ".env"
    place = check_place(folder)
    example, current = read_example(folder), read_settings(path)
    answers = answer_lines(parse_env(example))
    check_keys(refresh, [*FILLED, *answers])
    any_engine = ENGINE_KEY in refresh or tuple(refresh) == ALL
    facts = with_system_bundle(facts or probe(folder, any_engine=any_engine), refresh)
    defaults, before = read_defaults(example), read_env(current or "")
    computing = accelerator(defaults)
    written, files = before.get("COMPOSE_FILE", ""), Settings(folder).in_file("COMPOSE_FILE")
    if files:
        before["COMPOSE_FILE"] = files  # as Compose reads it
    kept = (*defaults.get("COMPOSE_FILE", "").split(":"), *computing.files)
    missing = missing_files(before, folder, kept)
    before = without_files(before, missing, defaults)
    settings = {**before, **(chosen or {})}
    for key in ("CA_BUNDLE", "SSH_PORT", *computing.chosen_keys):  # other values depend on these
        if key in refresh or tuple(refresh) == ALL:
            settings.pop(key, None)
    recorded = split_record(current or "")[1].items()
    decided = {key: record.given for key, record in recorded if record}
    again = FILLED if tuple(refresh) == ALL else refresh
    suggestion = computing.suggestion(facts, Known(defaults, settings, before, decided, again))
    values = {**env_values(facts, folder, example, settings, suggestion), **(chosen or {})}
    if current is not None and DATA_KEY in defaults and DATA_KEY not in (*before, *refresh):
        values[DATA_KEY] = "false"  # programs of an older project may write to data
    if tuple(refresh) != ALL:
        name, project = before.get(NAME_KEY, ""), defaults.get(NAME_KEY, "")
        if NAME_KEY not in refresh and is_made_by_program(name, project):
            values[NAME_KEY] = name  # that of a moved folder is kept
        followed = followed_values(suggestion, before, missing)
        followed = {key: value for key, value in followed.items() if key not in refresh}
        values.update(followed)
        refresh = [*refresh, *followed]
    if files and values.get("COMPOSE_FILE") == files:
        values["COMPOSE_FILE"] = written  # with its variables
    notes = [*([place] if place else []), *close_to_others(folder)]
    notes += [ROOT] if current is None and is_root_for_itself(facts) else []
    notes += [
        f"{key}: nothing found on this machine."
        for key in refresh
        if key not in (*values, *answers, *ALL)
    ]
    notes += [*leave_out(values), *suggestion.notes]
    answered = {key: value for key, value in (answered or {}).items() if key not in values}
    former = former_example(folder, current or "", example, committed)
    merged = merge(
        example,
        current,
        values,
        refresh,
        answered,
        decided={**suggestion.decided, NAME_KEY: str(folder.resolve())},
        former=former,
        former_values=former_values(facts, folder, former, before),
    )
    owner = new_file_owner(facts)
    copy = write_env(path, merged.text, owner)
    settings = read_env(merged.text)
    notes += computing.write_overrides(folder, settings, facts, owner)
    changed = current is None or "COMPOSE_FILE" in refresh
    folders, problems = make_folders(Settings(folder), owner)
    return Filled(
        created=current is None,
        merged=merged,
        facts=facts,
        folders=tuple(folders),
        notes=(*notes, *problems),
        accelerator=tuple(computing.notes(facts, settings, changed=changed)),
        missing=tuple(missing),
        copy=copy,
    )


def leave_out(values: dict[str, str]) -> list[str]:
    """Remove the values that .env cannot hold; a sentence on each."""
    reasons = unwritable(values)
    for key in reasons:
        del values[key]
    return [f"{key} was left out: {reason}." for key, reason in reasons.items()]


def former_values(
    facts: Facts, folder: Path, former: str, current: Mapping[str, str]
) -> dict[str, str]:
    """What this machine suggests for the keys of a former example, as far as that is known."""
    if not former:
        return {}
    try:
        return env_values(facts, folder, former, current)
    except ModuleNotFoundError:  # of answers that the project has no longer, such as ssh_env.py
        return {}


def with_system_bundle(facts: Facts, refresh: Collection[str]) -> Facts:
    """The facts, with the certificates that this machine trusts where CA_BUNDLE is asked for."""
    if "CA_BUNDLE" not in refresh or facts.ca_bundle:
        return facts
    return replace(facts, ca_bundle=system_bundle())


def close_to_others(folder: Path) -> list[str]:
    """Take from everybody else the right to change docker-amd64, which an open umask has given.

    The user runs what is there. Returns a sentence if something was mended. That of a group is its
    own will.
    """
    mended = 0
    places = [folder, *folder.glob("*"), *(f for n in OURS for f in (folder / n).rglob("*"))]
    for path in places:
        with suppress(OSError):  # it is another user's
            mode = path.lstat().st_mode
            if mode & stat.S_IWOTH and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                change_mode(path, stat.S_IMODE(mode) & ~stat.S_IWOTH)
                mended += path.lstat().st_mode != mode  # some file systems have no modes
    if not mended:
        return []
    return [
        f"Everybody could change files in {folder} ({mended}): only you can now. Run: umask 022"
    ]


def make_folders(settings: Settings, owner: tuple[int, int] | None) -> tuple[list[Path], list[str]]:
    """Make the missing data folders that .env names; return them, and what could not be done."""
    folders: list[Path] = []
    problems: list[str] = []
    root = settings.folder.parent
    ignored = read_text(root / ".gitignore").splitlines()  # a new project's names both folders
    for bind in filter(None, map(settings.path, BIND_DIRS)):
        made: list[Path] = []
        try:
            made = make_folder(bind, owner)
        except OSError as error:
            problems.append(f"Cannot create {bind}: {error.strerror}.")
        folders += made[-1:]
        if made and root in bind.parents and f"/{bind.relative_to(root)}/" not in ignored:
            keep_out_of_git(bind, owner)
    return folders, problems


def check_keys(refresh: Collection[str], decided: Sequence[str]) -> None:
    """Raises ProbeError if `refresh` names a key that is not one of `decided`."""
    for key in [] if tuple(refresh) == ALL else refresh:
        if key not in decided:
            names = ", ".join(dict.fromkeys(decided))
            raise ProbeError(f"Neither machine nor answers decide {key!r}; they do decide {names}.")


def attach(folder: Path) -> tuple[list[str], tuple[str, str] | None]:
    """Bring COMPOSE_FILE and the override files in line with .env before containers start.

    Returns what changed or is wrong; and why containers cannot use the accelerator, with what
    helps. Raises ProbeError.
    """
    filled = fill(folder)
    cause = accelerator().missing(filled.facts, read_env(filled.merged.text))
    known = replace(filled.merged, differing=()), () if cause else filled.accelerator
    lines = report(replace(filled, merged=known[0], accelerator=known[1]))
    return [line for line in lines if line != NOTHING], cause


def report(filled: Filled) -> list[str]:
    """What `fill` did, in a few lines."""
    merged = filled.merged
    lines: list[str] = []
    if filled.created:
        lines.append(f".env: created for this machine, {len(merged.added)} keys.")
    elif merged.added:
        lines.append(f".env: added {', '.join(merged.added)}.")
    elif not (merged.refreshed or merged.taken or merged.gone or merged.removed):
        lines.append(NOTHING)
    refreshed = [key for key in merged.refreshed if not (key == "COMPOSE_FILE" and filled.missing)]
    if refreshed:
        former = f"; the former is {filled.copy.name}" if filled.copy else ""
        lines.append(f".env: refreshed {', '.join(refreshed)}{former}.")
    if filled.missing:
        lines.append(f"COMPOSE_FILE: removed {', '.join(filled.missing)}: no such file.")
    lines += [
        f"{one.key}: {one.yours or 'nothing'} became {one.suggested or 'nothing'}, "
        "as the answers now say."
        for one in merged.taken
    ]
    lines += [
        f"{one.key}: .env says {one.yours or 'nothing'}, "
        f"{'the answers now say' if one.by_answers else 'this host suggests'} "
        f"{one.suggested or 'nothing'}; kept. To take it: {me()} env --refresh {one.key}"
        for one in merged.differing
    ]
    if DATA_KEY in merged.added and not filled.created:
        lines.append(
            "Containers may write to your data, as before. "
            f"To protect it, run: {me()} env --set {DATA_KEY}=true && {me()} up"
        )
    if merged.removed:
        lines.append(f".env: removed {', '.join(merged.removed)}, which nothing reads any more.")
    if merged.gone:
        lines.append(f".env: {', '.join(merged.gone)} left .env.example; kept under a comment.")
    lines += [f"Created {folder}." for folder in filled.folders]
    return [*lines, *filled.notes, *filled.accelerator]
