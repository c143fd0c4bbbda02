#!/usr/bin/env python3
"""Makes dependencies/project/ from what the project itself declares, and locks it.

    project_requirements.py read            write dependencies/project/, say what changed
    project_requirements.py lock OPTION...  the same, then `uv lock OPTION...`
    project_requirements.py add NAME...     add packages to the project's pyproject.toml, and lock

dependencies/project/pyproject.toml is a virtual package of uv: uv.lock has what it requires, and
no build needs the code. files.json beside it has the digests of what it was made from.
Runs in the container of the service tools, which has the code at /workspace, read-only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

# Where the image has the libraries; those of a base image may be older.
sys.path.insert(1, "/opt/tools")

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from intake.family import FOLLOWERS, comes_with_torch
from project_metadata import (
    LOCKS,
    Declared,
    MetadataError,
    Reader,
    copy_small_files,
    kind_of,
    main_file,
    named_indexes,
    names_in,
    own_name,
    parse_toml,
    read_toml,
    requirement,
    uv_sources,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CODE, DEPENDENCIES = Path("/workspace"), Path("/opt/dependencies")
BASE_PACKAGES = Path("/opt/base/packages.json")
FILE, RECORD = "project/pyproject.toml", "project/files.json"
HEAD = """\
# What the project itself requires (pyproject.toml, setup.cfg, setup.py), so that uv.lock has it and
# no build needs the code. ./template.sh lock, add and build write this file: edit those, not this.
[project]
name = "project-requirements"
version = "0"
"""
STDERR = 2  # uv says nothing that anybody asked for
MOST_CHANGES = 8  # in one line


def say(text: str) -> None:
    """Print for the user."""
    print(text, file=sys.stderr, flush=True)


# --- PyTorch, whose version is an answer ---------------------------------------------------------


class Versions(NamedTuple):
    """The versions of PyTorch's family that the answers or the base image decide, and who does."""

    of: dict[str, str]
    base: bool


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


def follow_torch(
    lines: Iterable[str], versions: Versions, where: str, template_sh: str
) -> tuple[list[str], list[str]]:
    """The requirements without versions that the answers decide otherwise; sentences about them."""
    kept, notes = [], []
    for line in lines:
        parsed = requirement(line)
        name = str(canonicalize_name(parsed.name)) if parsed else ""
        if not parsed or "torch" not in versions.of:
            kept.append(line)
        elif name in FOLLOWERS and FOLLOWERS[name].ended:
            notes.append(f"{where} asks for {line}: left out, {FOLLOWERS[name].ended}.")
        elif name in versions.of:
            has = versions.of[name]
            fits = not parsed.url and parsed.specifier.contains(has, prereleases=True)
            if fits:
                kept.append(line)
                continue
            who = f"the base image has {has}"
            if not versions.base:
                who = f"the answer torch_version is {versions.of['torch']}"
                who += f". To change it: {template_sh} update --data torch_version=..."
                if name != "torch":
                    who = f"the one that fits the PyTorch of the answers is {has}"
            notes.append(f"{where} asks for {line}; {who}")
            parsed.url = None
            parsed.specifier = type(parsed.specifier)()
            kept.append(str(parsed))
        elif comes_with_torch(name):
            notes.append(
                f"{where} asks for {line}: left out, PyTorch brings the one that it needs."
            )
        else:
            kept.append(line)
    return kept, notes


# --- the file ------------------------------------------------------------------------------------


def toml_value(value: object) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {toml_value(one)}' for key, one in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)


def toml_list(key: str, lines: Iterable[str]) -> str:
    """A list of strings, one a line."""
    inside = "".join(f"    {toml_value(line)},\n" for line in lines)
    return f"{key} = [\n{inside}]\n" if inside else f"{key} = []\n"


def text_of(found: Declared) -> str:
    """The content of dependencies/project/pyproject.toml."""
    parts = [
        HEAD + toml_list("dependencies", unique(found.requires)),
        "[project.optional-dependencies]\n" + toml_list("dev", unique(found.dev)),
        "[tool.uv]\npackage = false\n",
    ]
    for index in found.indexes:
        pairs = "".join(f"{key} = {toml_value(value)}\n" for key, value in index.items())
        parts.append(f"[[tool.uv.index]]\n{pairs}")
    if found.sources:
        pairs = "".join(
            f"{key} = {toml_value(one)}\n" for key, one in sorted(found.sources.items())
        )
        parts.append(f"[tool.uv.sources]\n{pairs}")
    return "\n".join(parts)


def unique(lines: Iterable[str]) -> list[str]:
    """The lines once each, sorted by name: the order of the project's files says nothing."""
    return sorted(set(lines), key=lambda line: (re.split(r"[^\w.-]", line.lower())[0], line))


def take_sources(found: Declared, dependencies: Path) -> None:
    """Take the sources that dependencies/pyproject.toml has for the same packages: they count more.

    PyTorch's family has its index there, and a team may have written a mirror.
    """
    uv = read_toml(dependencies / "pyproject.toml").get("tool", {}).get("uv", {})
    own = {str(canonicalize_name(name)): one for name, one in uv.get("sources", {}).items()}
    names = names_in([*found.requires, *found.dev])
    found.sources.update({name: own[name] for name in names & own.keys()})
    found.sources = {name: one for name, one in found.sources.items() if name in names}
    indexes = {index.get("name"): index for index in (*found.indexes, *uv.get("index", ()))}
    found.indexes = [
        indexes[name] for name in sorted(named_indexes(found.sources) & indexes.keys())
    ]


def digests(code: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each file by its name; "" for one that is not there."""
    return {
        name: hashlib.sha256(file.read_bytes()).hexdigest()
        if (file := code / name).is_file()
        else ""
        for name in sorted(names)
    }


def changes(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """What an edit of the project's own files means: `einops>=0.8 (new)`."""
    old, new = (
        {re.split(r"[^\w.-]", one)[0].lower(): one for one in unique(x)} for x in (before, after)
    )
    return [
        *(f"{new[name]} (new)" for name in new if name not in old),
        *(
            f"{new[name]} (was {old[name]})"
            for name in new
            if name in old and new[name] != old[name]
        ),
        *(f"{old[name]} (removed)" for name in old if name not in new),
    ]


def read(code: Path, dependencies: Path, options: argparse.Namespace) -> Declared:
    """Write dependencies/project/ from the code, and say what changed."""
    versions = decided_versions(options.versions)
    found = Reader(code, versions.of.get("torch", "")).read()
    where = main_file(code)
    found.requires, notes = follow_torch(found.requires, versions, where, options.template_sh)
    found.dev, more = follow_torch(found.dev, versions, where, options.template_sh)
    if "torch" in versions.of:  # its source is an answer too
        for name in versions.of:
            found.sources.pop(name, None)
    take_sources(found, dependencies)
    file = dependencies / FILE
    old = project_table(file)
    if found.failures:
        for sentence in found.failures:
            say(sentence)
        say(
            f"What it required before is kept. What is missing in dependencies/{FILE}: "
            f"{options.template_sh} add --image NAME"
        )
        keep_old(found, old, file)
    file.parent.mkdir(exist_ok=True)
    text = text_of(found)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")
    record = digests(code, found.files) if not found.failures else {}
    write_record(dependencies / RECORD, record)
    new = project_table(file)
    difference = changes(old.requires, new.requires) + [
        f"dev: {one}" for one in changes(old.dev, new.dev)
    ]
    if difference:
        rest = len(difference) - MOST_CHANGES
        more_than = f" and {rest} more" if rest > 0 else ""
        say(f"Read from {where}: {', '.join(difference[:MOST_CHANGES])}{more_than}.")
    for note in dict.fromkeys([*notes, *more, *found.notes]):
        say(note)
    if found.untaken:
        say(
            f"Groups and extras of {where} that are not installed: "
            f"{', '.join(dict.fromkeys(found.untaken))}."
        )
    wanted = project_python(code)
    if wanted and not wanted.contains(".".join(map(str, sys.version_info[:3])), prereleases=True):
        say(f"{where} wants Python {wanted}; the images have {sys.version.split()[0]}.")
    return found


def keep_old(found: Declared, old: Declared, file: Path) -> None:
    """Add what an earlier run has read and this one could not read."""
    for new, before in ((found.requires, old.requires), (found.dev, old.dev)):
        names = names_in(new)
        new += [line for line in before if not names_in([line]) <= names]
    try:
        toml = read_toml(file)
    except MetadataError:
        return
    found.sources = {**uv_sources(toml), **found.sources}
    indexes = toml.get("tool", {}).get("uv", {}).get("index", ())
    known = {index.get("name") for index in found.indexes}
    found.indexes += [index for index in indexes if index.get("name") not in known]


def project_python(code: Path) -> Any:
    """The Pythons that [project] allows, None where it does not say."""
    try:
        line = read_toml(code / "pyproject.toml").get("project", {}).get("requires-python", "")
        return Requirement(f"python{line}").specifier if line else None
    except (MetadataError, InvalidRequirement):
        return None


def write_record(file: Path, record: dict[str, str]) -> None:
    """Write files.json, which the host compares with the files."""
    text = json.dumps({"sha256": record}, indent=2, ensure_ascii=False) + "\n"
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")


def project_table(file: Path) -> Declared:
    """The lists of a pyproject.toml that this program wrote; empty ones where it cannot be read."""
    try:
        project = read_toml(file).get("project", {})
    except MetadataError:
        return Declared()
    return Declared(
        requires=project.get("dependencies", []),
        dev=project.get("optional-dependencies", {}).get("dev", []),
    )


# --- uv ------------------------------------------------------------------------------------------


def uv(folder: Path, *words: str) -> None:
    """Run uv in a folder. Raises SystemExit with its status."""
    done = subprocess.run(["uv", *words], cwd=folder, check=False, stdout=STDERR)
    if done.returncode:
        raise SystemExit(done.returncode)


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
        name = next(
            one for one in ("setup.py", "setup.cfg", "pyproject.toml") if (code / one).is_file()
        )
        return f"{name} says what this project requires: write it there"
    return "none"


def add(code: Path, dependencies: Path, options: argparse.Namespace) -> None:
    """Write packages into [project] of the project's own pyproject.toml, and lock them.

    Prints a JSON: `written` is the new text, which the host writes, since the code is mounted
    read-only; null where the project has no metadata of its own.
    """
    reason = why_not_written(code)
    if reason == "none":
        print(json.dumps({"written": None}))
        return
    if reason:
        names = " ".join(map(shlex.quote, options.name))
        say(
            f"{reason}. Nothing is changed.\n"
            f"  For the images only, run: {options.template_sh} add --image {names}"
        )
        raise SystemExit(1)
    with tempfile.TemporaryDirectory() as temporary:
        copy, own = Path(temporary, "code"), Path(temporary, "dependencies")
        copy_small_files(code, copy)
        shutil.copytree(dependencies, own)
        # Not all files of the code are here: uv shall edit the file and look at nothing else.
        edited = Path(temporary, "edited")
        edited.mkdir()
        shutil.copyfile(code / "pyproject.toml", edited / "pyproject.toml")
        group = ["--dev"] if options.dev else []
        words = ["add", "--quiet", "--frozen", *group, "--"]
        uv(edited, *words, *options.name)
        for after_lock in (False, True):
            shutil.copyfile(edited / "pyproject.toml", copy / "pyproject.toml")
            read(copy, own, options)
            uv(own, "lock")
            if after_lock:
                break
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
        for name in (FILE, RECORD, "uv.lock"):
            (dependencies / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(own / name, dependencies / name)
        print(json.dumps({"written": (edited / "pyproject.toml").read_text(encoding="utf-8")}))


def lock(code: Path, dependencies: Path, options: argparse.Namespace) -> None:
    """Write dependencies/project/ and bring uv.lock up to date."""
    read(code, dependencies, options)
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
    left_out = {*decided, "project-requirements", own_name(read_toml(code / "pyproject.toml"))}
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
        own = Path(temporary, "dependencies")
        shutil.copytree(dependencies, own)
        file = own / "pyproject.toml"
        text = file.read_text(encoding="utf-8")
        line = f"constraint-dependencies = {toml_value(pins)}\n"
        file.write_text(re.sub(r"(?m)^\[tool\.uv\]\n", rf"\g<0>{line}", text, count=1), "utf-8")
        done = subprocess.run(["uv", "lock"], cwd=own, check=False, capture_output=True, text=True)
        if done.returncode:
            say(f"{said}, whose versions do not fit these images: they are resolved anew.")
            return
        shutil.copyfile(own / "uv.lock", dependencies / "uv.lock")
    say(f"{said}; it begins with the versions of that.")


def main(arguments: Sequence[str]) -> int:
    """Do what the text of the module says."""
    parser = argparse.ArgumentParser(prog="project_requirements.py")
    parser.add_argument("--versions", default="{}", help="JSON: those of PyTorch's family")
    parser.add_argument("--template-sh", default="./docker-amd64/template.sh")
    parser.add_argument("--code", type=Path, default=CODE)
    parser.add_argument("--dependencies", type=Path, default=DEPENDENCIES)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("read")
    locking = verbs.add_parser("lock")
    locking.add_argument("option", nargs="*")
    adding = verbs.add_parser("add")
    adding.add_argument("--dev", action="store_true")
    adding.add_argument("name", nargs="+")
    options = parser.parse_args(arguments)
    try:
        {"read": read, "lock": lock, "add": add}[options.verb](
            options.code, options.dependencies, options
        )
    except MetadataError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
