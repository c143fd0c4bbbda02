"""What a result was made with, written down; and what differs here: record, reproduce.

A record is one JSON document of sections, in each of which a key has one text: so two of them can
be compared without knowing what they say. It names no person and no secret: of `run -e` it has the
keys, and of changes to the code what git would record.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Dict

from .accelerator import accelerator
from .ask import capture, read_json, read_text
from .compose import image_id, show
from .failures import failed, folder_not_made
from .files import make_folder, write_file
from .images import packages_of
from .metadata import digest, lock_digests
from .plain import say
from .probe import probe
from .project import called_from, code_folder, me
from .work import refuse_link
from .workspace_lists import LOCK
from .workspaces import FOLDER, enter

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from .project import Project

VERSION = 1  # of the document
NAME = "environment.json"
PATCH = "changes.patch"  # beside it: what git diff says, so that `git apply` brings it back
LARGE = 1024**2  # bytes of a new file that is only named in it
MOST_RECORDS = 50  # that are looked at for a result of verify
Sections = Dict[str, Dict[str, str]]


# -------------------------------------------------------------------------------------- what is


def repository(project: Project) -> str:
    """The root of the repository that has the code, "" where there is none."""
    asked = ("git", "-C", str(code_folder(project)), "rev-parse", "--show-toplevel")
    return capture(*asked).stdout.rstrip("\n")


def git(project: Project, *words: str) -> bytes:
    """What git says in the repository of the code, nothing where there is none."""
    top = repository(project)
    if not top:
        return b""
    # As bytes, because a patch keeps the line ends of the files.
    words = ("git", "-C", top, *words)
    nothing = subprocess.DEVNULL
    return subprocess.run(
        words, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing, check=False
    ).stdout


def changes(project: Project) -> bytes:
    """What the repository has beside its commit, as a patch; new files too, but no large ones."""
    as_patch = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--binary")
    patch = git(project, *as_patch, "HEAD")
    listed = git(project, "ls-files", "--others", "--exclude-standard", "-z")
    top = Path(repository(project))
    for name in filter(None, os.fsdecode(listed).split("\0")):
        size = (top / name).lstat().st_size
        if size > LARGE:
            patch += os.fsencode(f"# A new file that is not in here: {name}, {size} bytes\n")
        else:
            patch += git(project, *as_patch, "--no-index", "--", "/dev/null", name)
    return patch


def sections(project: Project, patch: bytes) -> Sections:
    """All that a result depends on, and that can be known without computing anything."""
    facts = probe(project.folder)
    answers = project.root / project.answers_file
    template = [line for line in read_text(answers).splitlines() if line.startswith("_commit:")]
    images = {target: image_id(project.image(target)) for target in ("runtime", "dev")}
    locks = lock_digests(project, ())
    if project.workspace and (code_folder(project) / LOCK).is_file():
        locks[LOCK] = digest(code_folder(project) / LOCK)
    specs = packages_of(project).WORKSPACE_LOCK
    if project.workspace and specs and (code_folder(project) / specs).is_file():
        locks[f"{FOLDER}/{project.workspace}/{specs}"] = digest(code_folder(project) / specs)
    return {
        "code": {
            "commit": git(project, "rev-parse", "HEAD").decode().strip() or "none",
            "changes": sha256(patch).hexdigest()[:16] if patch else "none",
        },
        "template": {
            "version": "".join(template).partition(":")[2].strip() or "none",
            "answers": digest(answers) if answers.is_file() else "none",
        },
        "locks": {name: value for name, value in locks.items() if name.endswith(".lock")},
        "images": {target: one for target, one in images.items() if one},
        "machine": {
            "architecture": facts.architecture,
            **accelerator().record(facts),
            "engine": f"{facts.engine.kind} {facts.engine.version}".strip(),
        },
    }


def verified(project: Project, known: dict[str, Any] | None = None) -> dict[str, str]:
    """What verify finds in the runtime image; nothing in a project without PyTorch.

    Args:
        project: the project.
        known: a record that is being written: what an earlier one has of the same images on the
            same machine is taken. None to look in any case.
    """
    if not (project.folder / "verify.py").is_file() or not image_id(project.image("runtime")):
        return {}
    before = verified_before(project, known) if known else {}
    if before:
        return before
    from .measure import checks_of  # noqa: PLC0415  such a project has it

    if known:
        show("Running verify for the record, once for these images on this machine.")
    return checks_of(project, prepared=bool(known))  # a run has its mounts already


def verified_before(project: Project, known: dict[str, Any]) -> dict[str, str]:
    """What the newest record of the same images on the same machine has of verify."""
    folders = sorted(records(project).glob(f"*/{NAME}"), reverse=True)[:MOST_RECORDS]
    for found in (read_json(read_text(file)) for file in folders):
        checks = found.get("checks")
        same = all(found.get(where) == known[where] for where in ("images", "machine"))
        if same and isinstance(checks, dict) and checks:
            return {str(name): str(says) for name, says in checks.items()}
    return {}


def status(says: str) -> str:
    """Whether a check of verify is ok, without its sentence, which may have a number of bytes."""
    return says.partition(":")[0]


def document(project: Project, patch: bytes) -> dict[str, Any]:
    """A record of what is here now, beside the changes of the code."""
    return {
        "record": VERSION,
        "project": project.name,
        "workspace": project.workspace,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **sections(project, patch),
    }


def write(project: Project, file: Path, *, fresh: bool = False, **more: Any) -> None:
    """Write a record, and the changes of the code beside it.

    Args:
        project: the project.
        file: the record.
        fresh: let verify look even if it has checked these images on this machine.
        more: further keys.

    Raises:
        StopError: its folder cannot be made.
        ProbeError: a file cannot be written.
    """
    patch = changes(project)
    found = document(project, patch)
    checks = verified(project, None if fresh else found)
    found.update(more, **({"checks": checks} if checks else {}))
    try:
        make_folder(file.parent)
    except OSError as error:
        raise folder_not_made(project, file.parent, error) from error
    if patch:
        write_file(file.with_name(PATCH), patch)
    write_file(file, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    without = ", without a commit (git finds none)" if found["code"]["commit"] == "none" else ""
    show(f"Recorded{without}: {file}")
    failing = [name for name, says in checks.items() if status(says) == "fails"]
    if failing:
        show(f"verify finds a fault: {', '.join(failing)}. To see it, run: {me()} verify")


def outputs_of(project: Project) -> Path:
    """The folder of the outputs on this machine."""
    return project.settings.path("LOCAL_OUTPUTS_DIR") or project.root / "outputs"


def records(project: Project) -> Path:
    """The folder with a folder for each record."""
    return outputs_of(project) / "records"


def new_file(project: Project, job: str = "") -> Path:
    """Where the next record is written: in a folder of its own in the outputs."""
    outputs = outputs_of(project)
    refuse_link(project, code_folder(project), outputs, "LOCAL_OUTPUTS_DIR")
    refuse_link(project, outputs, records(project))
    name = f"{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime())}-{job or os.getpid()}"
    return records(project) / name / NAME


def record_run(project: Project, words: list[str], keys: list[str], job: str) -> str:
    """Record what a run is made with; its folder, as the container has it."""
    file = new_file(project, job)
    write(project, file, command=words, environment=keys)
    return f"/outputs/records/{file.parent.name}"


# ----------------------------------------------------------------------------------------- verbs


def record_options(parser: argparse.ArgumentParser) -> None:
    """Where to write it."""
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="by default a new one in outputs/records/"
    )


def do_record(project: Project, options: argparse.Namespace) -> None:
    """Write a record, with what verify finds; print its name."""
    file = called_from() / options.file if options.file else new_file(project)
    write(project, file, fresh=True)
    print(file)


def reproduce_options(parser: argparse.ArgumentParser) -> None:
    """Which record."""
    parser.add_argument("file", metavar="FILE", help="a record")


def remedy(project: Project, where: str, key: str, value: str, file: Path) -> str:
    """The command that brings one difference nearer, "" for none."""
    top = quote(repository(project))
    patch = file.with_name(PATCH)
    if (where, key) == ("code", "commit") and value != "none":
        return f"git -C {top} checkout {quote(value)}"
    if (where, key) == ("code", "changes") and value != "none" and patch.is_file():
        return f"git -C {top} apply {quote(str(patch.resolve()))}"
    return f"{me()} build{project.which}" if where == "images" else ""


def file_of(path: Path) -> Path:
    """The file of a record, which may be named by its folder."""
    return path / NAME if path.is_dir() else path


def read_record(file: Path) -> dict[str, Any]:
    """A record. Raises StopError if there is none of that name."""
    found = read_json(read_text(file))
    if found.get("record") != VERSION:
        raise failed("record-missing", path=str(file))
    return found


def other_checks(project: Project, found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The checks of verify with another outcome than in a record: name, then, here."""
    known = found.get("checks")
    if not isinstance(known, dict) or not known:
        return
    here = verified(project)
    for name in here and dict.fromkeys([*known, *here]):
        then, now = str(known.get(name, "none")), here.get(name, "none")
        if status(then) != status(now):
            yield name, then, now


def do_reproduce(project: Project, options: argparse.Namespace) -> int:
    """Say what differs here from a record; 1 if anything does.

    Without -W, it is about the workspace that the record names.

    Raises:
        StopError: there is no such record, or no such workspace.
    """
    file = file_of(called_from() / options.file)
    found = read_record(file)
    if found.get("project") != project.name:
        show(f"This is the record of another project, {found.get('project')}.")
    workspace = str(found.get("workspace", ""))
    if workspace and not project.workspace:
        enter(project, workspace, "reproduce")
    if workspace != project.workspace:
        show(f"This is a record of {f'{FOLDER}/{workspace}' if workspace else 'no workspace'}.")
    differing = 0
    for where, here in sections(project, changes(project)).items():
        there = found.get(where)
        known = there if isinstance(there, dict) else {}
        for key in dict.fromkeys([*known, *here]):
            then, now = str(known.get(key, "none")), here.get(key, "none")
            if then != now:
                differing += 1
                command = remedy(project, where, key, then, file)
                say(f"{where}, {key}: {then} then, {now} here.")
                if command:
                    say(f"  Run: {command}")
    for name, then, now in other_checks(project, found):
        differing += 1
        print(f"verify, {name}: {then} then, {now} here.\n  Run: {me()} verify")
    if not differing:
        say(f"Nothing differs from {file}.")
    return 1 if differing else 0
