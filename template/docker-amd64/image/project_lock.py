#!/usr/bin/env python3
"""Makes dependencies/project/ from what the project itself declares, and locks it with uv.

    project_lock.py read            write dependencies/project/, say what changed
    project_lock.py lock OPTION...  the same, then `uv lock OPTION...`
    project_lock.py add NAME...     add packages to the project or to dependencies/, and lock
    project_lock.py remove NAME...  take packages out of both, and lock

dependencies/project/pyproject.toml is a virtual package of uv: uv.lock has what it requires.
Runs in the container of the service tools, which has the code at /workspace, read-only.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

# Where the image has the libraries; those of a base image may be older.
sys.path.insert(1, "/opt/tools")

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

import project_remove
import project_requirements
import project_unreachable
import uv_builds
from import_files import LOCKS, OVERRIDE, Line, Lock, edited, those_that_can_be_had
from intake import requirement as rules
from intake.family import comes_with_torch
from intake.found import (
    CHANGED,
    CONSTRAINT,
    FIND_LINKS,
    INDEX,
    MAIN,
    TAKEN,
    Entry,
    Place,
    Wanted,
    grouped,
    pinned,
    shortened,
)
from intake.names import MISNAMED
from intake.text import FileError, exit_status, say
from project_backend import copy_small_files
from project_declared import MetadataError, own_name, parse_toml, read_toml, requirement
from project_metadata import BUILDS, kind_of, main_file
from project_requirements import (
    CODE,
    DEPENDENCIES,
    FILE,
    RECORD,
    for_all,
    limits_in,
    tables_in,
)
from uv_project import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from packaging.requirements import Requirement

BASE_PACKAGES = Path("/opt/base/packages.json")
ROOT_LISTS = (
    (CONSTRAINT, "constraint-dependencies"),
    (OVERRIDE, "override-dependencies"),
    (FIND_LINKS, "find-links"),
)
MOST_TRIES = 40  # of uv, to find the versions of another lock that do not fit
STDERR = 2  # uv says nothing that anybody asked for


# --- PyTorch, whose version is an answer ---------------------------------------------------------


class Versions(NamedTuple):
    """The versions of PyTorch's family that the answers or the base image decide, and who does."""

    of: dict[str, str]
    base: bool


class Decided(NamedTuple):
    """What is decided before the project asks for anything."""

    versions: Versions
    wanted: Wanted
    template_sh: str

    def why_not(self, name: str, parsed: Requirement) -> str:
        """Why a package of the family is not had as asked for, "" where it is."""
        has = self.versions.of[name]
        if not parsed.url and parsed.specifier.contains(has, prereleases=True):
            return ""
        if self.versions.base:
            return f"the base image has {has}"
        if name != "torch":
            return f"the one that fits the PyTorch of the answers is {has}"
        said = f"the answer torch_version is {has}"
        offered = self.wanted.offered.get("torch_version", (pinned(str(parsed.specifier)),))
        fits = [one for one in offered if one and parsed.specifier.contains(one, prereleases=True)]
        if parsed.url or not fits:
            return f"{said}, and the template offers none that it asks for."
        return f"{said}. To change it: {self.template_sh} update --data torch_version={fits[0]}"


def decided_versions(answers: str) -> Versions:
    """What is decided: by the base image where that has PyTorch, else by the answers."""
    if BASE_PACKAGES.is_file():
        kept = json.loads(BASE_PACKAGES.read_text(encoding="utf-8"))["packages"]
        family = re.compile(r"torch|torchvision|torchaudio|torch-tensorrt|triton|pytorch-triton")
        return Versions(
            {name: one["stands_as"] for name, one in kept.items() if family.fullmatch(name)},
            base=True,
        )
    return Versions(json.loads(answers), base=False)


def what_is_decided(options: argparse.Namespace) -> Decided:
    """What the answers and the base image decide, for the rules of an import."""
    versions = decided_versions(options.versions)
    # The base image's own are judged by their versions; a Python of it is the one that runs this.
    wanted = replace(
        Wanted.of_project(options.project),
        python=".".join(map(str, sys.version_info[:2])),
        torch=versions.of.get("torch", ""),
        base_has_torch=False,
    )
    return Decided(versions, wanted, options.template_sh)


def settled(lines: Iterable[str], where: str, decided: Decided) -> tuple[list[str], list[str]]:
    """What becomes of requirements by the rules of an import, and sentences about them.

    What the answers or the base image decide keeps its name: the resolver has the version. A marker
    that does not hold here is left to uv.
    """
    kept, notes, entries = [], [], []
    for line in lines:
        parsed = requirement(line)
        name = str(canonicalize_name(parsed.name)) if parsed else ""
        if parsed and parsed.marker and not rules.holds(parsed.marker, decided.wanted.python):
            kept.append(line)
        elif parsed and name in decided.versions.of and "torch" in decided.versions.of:
            note = decided.why_not(name, parsed)
            if note:
                notes.append(f"{where} asks for {line}; {note}")
                parsed.url, parsed.specifier = None, type(parsed.specifier)()
            kept.append(str(parsed) if note else line)
        else:
            # Its own indexes may have a version with a local part.
            verdict = rules.judge(line, decided.wanted, given=True)
            entries.append(Entry(Place(where, 0), line, verdict, MAIN))
            if verdict.becomes:
                becomes = requirement(verdict.becomes)
                changed = verdict.outcome == CHANGED and becomes
                kept.append(str(becomes) if changed else line)
    return kept, [*notes, *(f"{where}: {note}" for note in grouped(entries))]


# --- reading -------------------------------------------------------------------------------------


def read(code: Path, dependencies: Path, options: argparse.Namespace) -> list[str]:
    """Write dependencies/project/ from the code, say what changed, and return what else to say.

    `lock` follows in the same command, and says it.

    Raises:
        MetadataError: an address has a password, or dependencies/pyproject.toml cannot be read.
    """
    decided = what_is_decided(options)
    versions = decided.versions
    before = shared(dependencies / FILE)
    unreachable = project_unreachable.recorded(dependencies)
    built = builds_of(dependencies / FILE, decided)
    found = project_requirements.read(
        code,
        dependencies,
        lambda lines, where: settled(lines, where, decided),
        add=f"{options.template_sh} add --image",
        python=".".join(map(str, sys.version_info[:3])),
        torch=versions.of.get("torch", ""),
        decided=versions.of if "torch" in versions.of else (),
        counts_more=read_toml(dependencies / "pyproject.toml"),
    )
    if options.verb == "lock" or (
        options.verb == "add" and project_unreachable.has_new(dependencies, unreachable)
    ):
        project_unreachable.leave_out(dependencies, main_file(code))
    else:
        project_unreachable.leave_out_again(dependencies, unreachable)
    share(dependencies, before, shared(dependencies / FILE))
    share_builds(dependencies, built, decided, getattr(options, "adding", ()))
    return found.notes


def shared(file: Path) -> list[Line]:
    """What uv reads of the project's metadata at the root only: indexes, limits of versions."""
    limits = limits_in(file)
    return [
        *(Line(INDEX, url) for url in for_all(file)),
        *(Line(where, line) for where, key in ROOT_LISTS for line in limits.get(key, ())),
    ]


def share(dependencies: Path, before: Sequence[Line], after: Sequence[Line]) -> None:
    """Write the project's indexes for all packages, and its limits, where uv reads them.

    Of a path source it asks the indexes for the packages that name them only, and no limits.

    Raises:
        MetadataError: dependencies/pyproject.toml cannot be read.
    """
    file = dependencies / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    add = [line for line in after if line not in before or line.text not in text]
    remove = [line for line in before if line not in after]
    if not add and not remove:
        return
    try:
        file.write_text(edited(text, add, remove), encoding="utf-8")
    except FileError as error:
        raise MetadataError(str(error)) from error
    for line in add:
        if line.where in (INDEX, FIND_LINKS):
            say(f"All packages are looked for in {line.text} too, as the project says.")
    for where, key in ROOT_LISTS:
        lines = [line.text for line in add if line.where == where]
        if lines and where != FIND_LINKS:
            say(f"{key} of the project decides versions here too: {', '.join(lines)}.")


def builds_of(file: Path, decided: Decided) -> dict[str, Any]:
    """What a pyproject.toml in dependencies/project/ says of builds, and what follows from it."""
    tables = tables_in(file)
    try:
        names = uv_builds.compiled_names(read_toml(file), decided.wanted)
    except MetadataError:
        names = set()
    builds = {**{name: ["torch"] for name in names}, **tables.get(BUILDS, {})}
    return {**tables, BUILDS: builds}


def share_builds(
    dependencies: Path, before: dict[str, Any], decided: Decided, adding: Sequence[str]
) -> None:
    """Write what builds need, where uv reads it: with PyTorch in the version of the images.

    With a base image that has its own PyTorch, builds have that already.

    Raises:
        MetadataError: dependencies/pyproject.toml cannot be read.
    """
    file = dependencies / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    after = builds_of(dependencies / FILE, decided)
    names = uv_builds.compiled_names(read_toml(file), decided.wanted)
    names |= uv_builds.named_compiled(adding, decided.wanted)
    after[BUILDS] = {**{name: ["torch"] for name in names}, **after[BUILDS]}
    if decided.versions.base:
        before, after = before | {BUILDS: {}}, after | {BUILDS: {}}
    try:
        new = uv_builds.with_builds(text, before, after, decided.versions.of)
    except FileError as error:
        raise MetadataError(str(error)) from error
    if new != text:
        file.write_text(new, encoding="utf-8")


# --- uv ------------------------------------------------------------------------------------------


def uv(folder: Path, *words: str) -> None:
    """Run uv in a folder. Raises SystemExit with its status."""
    done = subprocess.run(["uv", *words], cwd=folder, check=False, stdout=STDERR)
    if done.returncode:
        raise SystemExit(done.returncode)


def lock_again(folder: Path) -> None:
    """Lock for bounds that the lock keeps already, with what uv has read a moment ago."""
    words = ["uv", "lock", "--quiet", "--offline"]
    if subprocess.run(words, cwd=folder, check=False, capture_output=True).returncode:
        uv(folder, "lock")


def locked(file: Path) -> dict[str, str]:
    """Name to version of what a lock in TOML has from an index."""
    try:
        packages = parse_toml(file.read_text(encoding="utf-8")).get("package", [])
    except (OSError, ValueError):
        return {}
    found: dict[str, set[str]] = {}
    for one in packages:
        source = one.get("source", {})
        if (
            "version" in one
            and not {"virtual", "editable", "directory", "git", "url"} & source.keys()
        ):
            found.setdefault(str(canonicalize_name(one["name"])), set()).add(one["version"])
    return {name: versions.pop() for name, versions in found.items() if len(versions) == 1}


# --- add -----------------------------------------------------------------------------------------


def why_not_written(code: Path) -> str:
    """Why `add` cannot write into the project's metadata: "" where it can, "none" without any."""
    toml = read_toml(code / "pyproject.toml")
    if "project" in toml and "dependencies" not in toml["project"].get("dynamic", ()):
        return ""
    kind = kind_of(code)
    if kind == "poetry":
        return "Poetry keeps the packages of this project: write it into [tool.poetry.dependencies]"
    if kind == "backend":
        return f"{main_file(code)} says what this project requires: write it there"
    return "none"


def as_published(line: str) -> str:
    """A requirement under the name that PyPI has for it; what was changed is said."""
    name = re.match(r"[\w.-]*", line)[0]  # type: ignore[index]  # it matches always
    other = MISNAMED.get(canonicalize_name(name), "")
    if not other:
        return line
    say(f"{name}: taken as {other}, which is its name on PyPI.")
    return other + line[len(name) :]


def add(code: Path, dependencies: Path, options: argparse.Namespace) -> None:
    """Write packages into [project] of the project's own pyproject.toml, and lock them.

    Prints a JSON: `written` is the new text, which the host writes, since the code is mounted
    read-only; null where dependencies/pyproject.toml has them: with --image, and where the project
    has no metadata of its own.
    """
    options.name = [as_published(line) for line in options.name]
    reason = "none" if options.image else why_not_written(code)
    if reason == "none":
        options.adding = options.name
        read(code, dependencies, options)  # uv locks after this, and says it
        group = ["--group", "dev"] if options.dev else []
        uv(dependencies, "add", "--no-sync", *group, "--", *options.name)
        print(json.dumps({"written": None}))
        return
    if reason:
        names = " ".join(map(shlex.quote, options.name))
        say(
            f"{reason}. Nothing is changed.\n"
            f"  For the images only, run: {options.template_sh} add --image {names}"
        )
        raise SystemExit(1)
    with copies(code, dependencies) as (copy, own, edited):
        group = ["--dev"] if options.dev else []
        words = ["add", "--quiet", "--frozen", *group, "--"]
        uv(edited, *words, *options.name)
        for after_lock in (False, True):
            shutil.copyfile(edited / "pyproject.toml", copy / "pyproject.toml")
            notes = read(copy, own, options)
            if after_lock:
                lock_again(own)
                break
            uv(own, "lock")
            versions = locked(own / "uv.lock")
            bounds = [
                f"{line}>={version}"
                for line in options.name
                if re.fullmatch(r"[\w.-]+(\[[\w,. -]+\])?", line)
                and (
                    version := lower_bound(versions.get(canonicalize_name(line.split("[")[0]), ""))
                )
            ]
            if not bounds:
                break
            uv(edited, *words, *bounds)
        for note in notes:
            say(note)
        keep(own, dependencies)
        print(json.dumps({"written": (edited / "pyproject.toml").read_text(encoding="utf-8")}))


@contextmanager
def copies(code: Path, dependencies: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Copies to try a change in: the small files of the code, dependencies/, and pyproject.toml.

    Not all files of the code are there: uv shall edit the last, alone in its folder, and look at
    nothing else.
    """
    with tempfile.TemporaryDirectory() as temporary:
        copy, own, edited = (Path(temporary, name) for name in ("code", "dependencies", "edited"))
        copy_small_files(code, copy)
        shutil.copytree(dependencies, own)
        edited.mkdir()
        if (code / "pyproject.toml").is_file():
            shutil.copyfile(code / "pyproject.toml", edited / "pyproject.toml")
        yield copy, own, edited


def keep(own: Path, dependencies: Path) -> None:
    """Copy back what a change has made of dependencies/; a project need not have the first two."""
    for name in (FILE, RECORD, "pyproject.toml", "uv.lock"):
        if (own / name).exists():
            (dependencies / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(own / name, dependencies / name)


def remove(code: Path, dependencies: Path, options: argparse.Namespace) -> None:
    """Take packages out of the project's own pyproject.toml and dependencies/, and lock.

    All of them or none. Prints a JSON as `add` does: `written` is null where the project's own file
    stays as it is, and `images` says whether dependencies/pyproject.toml does not.
    """
    names = [str(canonicalize_name(name)) for name in options.name]
    ours = project_remove.removals(read_toml(code / "pyproject.toml"), names)
    theirs = project_remove.removals(
        read_toml(dependencies / "pyproject.toml"), names, project_remove.OF_TEMPLATE
    )
    listed = {name for found in (ours, theirs) for some in found.values() for name in some}
    absent = [name for name in dict.fromkeys(names) if name not in listed]
    for name in absent:
        say(project_remove.why_not(code, dependencies, name, options.template_sh))
    if absent:
        raise SystemExit(1)
    with copies(code, dependencies) as (copy, own, edited):
        for folder, found in ((edited, ours), (own, theirs)):
            for how, some in found.items():
                uv(folder, "remove", "--quiet", "--frozen", *how, "--", *some)
        if ours:
            shutil.copyfile(edited / "pyproject.toml", copy / "pyproject.toml")
        for note in read(copy, own, options):
            say(note)
        uv(own, "lock")
        keep(own, dependencies)
        text = (edited / "pyproject.toml").read_text(encoding="utf-8") if ours else None
    for name in sorted(listed):
        users = project_remove.needed_by(dependencies / "uv.lock", name)
        if users:
            say(f"{name} stays in the lock, which has it for {', '.join(users)}.")
    print(json.dumps({"written": text, "images": bool(theirs)}))


def lock(code: Path, dependencies: Path, options: argparse.Namespace) -> None:
    """Write dependencies/project/ and bring uv.lock up to date."""
    for note in read(code, dependencies, options):
        say(note)
    prefer(code, dependencies, options)
    uv(dependencies, "lock", *options.option)


def lower_bound(version: str) -> str:
    """A version as the end of `>=`: without its local part; "" for none."""
    try:
        return Version(version).public
    except InvalidVersion:
        return ""


# --- the versions of another lock ----------------------------------------------------------------


def prefer(code: Path, dependencies: Path, options: argparse.Namespace) -> None:
    """Make the first uv.lock with the versions of a lock that the project has, where they fit."""
    name = next((one for one in LOCKS if (code / one).is_file()), "")
    if not name or (dependencies / "uv.lock").exists():
        return
    decided = decided_versions(options.versions).of if options.versions else {}
    left_out = {*decided, NAME, own_name(read_toml(code / "pyproject.toml"))}
    pins = [
        f"{one}=={version}"
        for one, version in sorted(locked(code / name).items())
        if one not in left_out and not comes_with_torch(one) and "+" not in version
    ]
    said = f"The lock of the images is dependencies/uv.lock, not {name}"
    if not pins:
        say(f"{said}, which has no versions that can be taken over.")
        return
    with tempfile.TemporaryDirectory() as temporary:
        copy = Lock(dependencies, Path(temporary))
        kept = pins_that_fit(
            copy, (dependencies / "pyproject.toml").read_text("utf-8"), pins, options
        )
        if not kept:
            say(f"{said}, whose versions do not fit these images: they are resolved anew.")
            return
        shutil.copyfile(copy.folder / "uv.lock", dependencies / "uv.lock")
    others = [pin for pin in pins if pin not in kept]
    but = f", but for those that do not fit these images: {shortened(others)}" if others else ""
    say(f"{said}; it begins with the versions of that{but}.")


def pins_that_fit(
    copy: Lock, text: str, pins: Sequence[str], options: argparse.Namespace
) -> list[str]:
    """The pins that the images can be locked with together; the copy has their lock then.

    Those that the rules of an import know are left out first: most are found without a try.
    """
    tries = 0

    def fails(lines: Sequence[Line]) -> str:
        nonlocal tries
        tries += 1
        return "it was not tried" if tries > MOST_TRIES else copy.fails(edited(text, lines, []))

    lines = [Line(CONSTRAINT, pin) for pin in pins]
    if not fails(lines):
        return list(pins)
    if fails([]):  # whatever the pins are: the lock that follows says why
        return []
    wanted = what_is_decided(options).wanted
    known = [line for line in lines if rules.judge(line.text, wanted).outcome == TAKEN]
    kept, _ = those_that_can_be_had(known, fails)
    tries = 0
    return [] if fails(kept) else [line.text for line in kept]


def main(arguments: Sequence[str]) -> int:
    """Do what the text of the module says."""
    parser = argparse.ArgumentParser(prog="project_lock.py")
    parser.add_argument("--versions", default="{}", help="JSON: those of PyTorch's family")
    parser.add_argument("--project", type=json.loads, default={}, help="JSON: the answers")
    parser.add_argument("--template-sh", default="./docker-amd64/template.sh")
    parser.add_argument("--code", type=Path, default=CODE)
    parser.add_argument("--dependencies", type=Path, default=DEPENDENCIES)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("read")
    locking = verbs.add_parser("lock")
    locking.add_argument("option", nargs="*")
    adding = verbs.add_parser("add")
    adding.add_argument("--dev", action="store_true")
    adding.add_argument("--image", action="store_true", help="not into the project's own file")
    adding.add_argument("name", nargs="+")
    removing = verbs.add_parser("remove")
    removing.add_argument("name", nargs="+")
    options = parser.parse_args(arguments)
    verb = {"read": read, "lock": lock, "add": add, "remove": remove}[options.verb]
    return exit_status(lambda: verb(options.code, options.dependencies, options), MetadataError)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
