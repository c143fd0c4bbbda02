"""After an update: restore the user's files that Copier deleted, and list what is left to do.

Copier deletes a file that the new version lacks, even if the user edited it; replaces a recorded
answer that is no longer a choice by the default; and exits 0 when there are conflicts. Comparing
the project with its last commit finds each of these.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hooks.update.carried import CARRIED
from hooks.update.merge import join_tables, kind_of, merge
from host.checkout import conflicts, listed
from host.files import write_file
from host.project import me

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FOLDER = "docker-amd64"
CONFLICT = "between <<<<<<< and >>>>>>>"
MERGED = "HEARTH_MERGED"  # in the environment: the update has merged all, and can be taken back
PLAIN = (
    "Copier alone has updated: what git ignores was not saved before, and nothing takes the update "
    "back but git. The next time: {me} update"
)


class Moved(NamedTuple):
    """Where the content of a file of older versions is now; `now` is new with it."""

    now: tuple[str, ...]
    sentence: str


# For a user who has edited one of these, the sentence says where that edit belongs.
MOVED = {
    f"{FOLDER}/ci.sh": Moved(
        (f"{FOLDER}/host/ci.py",),
        f"ci.sh is now `template.sh ci`, and its test commands are in {FOLDER}/ci.ini.",
    ),
    f"{FOLDER}/packages.sh": Moved(
        (f"{FOLDER}/host/pip_packages.py", f"{FOLDER}/host/conda_packages.py"),
        "packages.sh is now {now}.",
    ),
    f"{FOLDER}/template.sh": Moved(
        (f"{FOLDER}/host/command.py",),
        f"The verbs of template.sh are now in {FOLDER}/host/: make your change there, and use the "
        f"new template.sh with: git checkout --theirs {FOLDER}/template.sh",
    ),
}


class Project(NamedTuple):
    """An updated project: its folder, its answers file, and the template with its older version.

    `way` precedes a command that runs in the project's folder: "cd ... && " or "".
    """

    root: Path
    answers_file: str
    template: Path
    version_from: str
    way: str = ""

    def git(self, *arguments: str) -> bytes:
        """What a git command prints; nothing if it fails."""
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=self.root, capture_output=True, check=False)
        return b"" if done.returncode else done.stdout

    def names(self, *arguments: str) -> list[str]:
        """The paths that a git command lists with -z, relative to the project, sorted."""
        return sorted({os.fsdecode(name) for name in self.git(*arguments).split(b"\0") if name})

    def committed(self, name: str) -> bytes:
        """A file as it was at the last commit."""
        return self.git("show", f"HEAD:./{name}")


def updated_from() -> str | None:
    """The version before an update; None where Copier runs this after something else.

    It says both in the environment of migrations.
    """
    return os.environ.get("VERSION_FROM", "") if os.environ.get("STAGE") == "after" else None


# ------------------------------------------------------------------------------------- files


def render_old(project: Project, folder: Path) -> None:
    """Generate into `folder` what the old version had made of the recorded answers."""
    import yaml  # noqa: PLC0415  needed only where a file has gone
    from copier import run_copy  # noqa: PLC0415

    recorded: dict[str, Any] = yaml.safe_load(project.committed(project.answers_file))
    run_copy(
        str(project.template),
        folder,
        data={name: value for name, value in recorded.items() if name[0] != "_"},
        answers_file=project.answers_file,
        vcs_ref=project.version_from,
        defaults=True,
        quiet=True,
        overwrite=True,
        skip_tasks=True,
    )


def restore_edited(project: Project) -> list[str]:
    """Restore the files that were removed from the template and that the user had edited.

    Files that packages.py replaces are left to it.
    """
    deleted = project.names("diff", "--name-only", "--relative", "--diff-filter=D", "-z", "HEAD")
    if not deleted:
        return []
    gone = [name for name in deleted if name not in CARRIED]
    if not gone:
        return []
    with tempfile.TemporaryDirectory(prefix="hearth-old-") as folder:
        try:
            render_old(project, Path(folder))
        except Exception:  # noqa: BLE001  whatever Copier says: then nothing is known, and git has them
            back = f"git checkout HEAD -- {shlex.quote(gone[0])}"
            unknown = "These files were removed from the template, and perhaps you had edited them"
            return [f"{unknown}: {listed(gone)}. To restore one: {back}"]
        old = {name: Path(folder) / name for name in gone}
        changed = [
            name
            for name, path in old.items()
            if not path.is_file() or path.read_bytes() != project.committed(name)
        ]
    for name in changed:
        project.git("checkout", "HEAD", "--", name)
    lines = [*kept_lines(changed), *called_lines(project, [x for x in gone if x not in changed])]
    for name in changed:
        lines += moved_lines(project, name)
    return lines


def kept_lines(names: Sequence[str]) -> list[str]:
    """That files which the template has removed are kept."""
    if not names:
        return []
    it = "it, so it is" if len(names) == 1 else "them, so they are"
    return [f"The template has removed {', '.join(names)}. You had changed {it} kept."]


def called_lines(project: Project, gone: Iterable[str]) -> list[str]:
    """That other files name some of those that are gone, and where their content is."""
    lines = []
    for name in gone:
        used = callers(project, name) if name in MOVED else []
        if used:
            lines.append(f"The template has removed {name}, which {listed(used)} still names.")
            lines += moved_lines(project, name)
    return lines


def moved_lines(project: Project, name: str) -> list[str]:
    """Where the content of a file is after this update, if it has moved."""
    moved = MOVED.get(name, Moved((), ""))
    for now in moved.now:
        if (project.root / now).exists() and not project.committed(now):
            return [moved.sentence.format(now=now)]
    return []


def callers(project: Project, name: str) -> list[str]:
    """The project's files that name another one."""
    return project.names("grep", "-lzF", name, "--", ".", f":(exclude){name}")


def merge_again(project: Project) -> None:
    """Solve conflicts that a person would not call some: Copier knows lines alone."""
    for name in conflicts(project.root):
        path = project.root / name
        if kind_of(name) == "program" or not path.is_file():
            continue
        if len(project.git("ls-files", "--unmerged", "--", name).splitlines()) < 3:  # noqa: PLR2004
            continue  # one side has deleted it
        stages = [project.git("show", f":{stage}:./{name}") for stage in (1, 2, 3)]
        base, ours, theirs = (text.decode("utf-8", "surrogateescape") for text in stages)
        merged = merge(name, base, ours, theirs)
        if not merged.conflicts:
            write_file(path, merged.text, mode=None)
            project.git("reset", "--quiet", "HEAD", "--", name)  # git's notes of the conflict
    lists = project.root / FOLDER / "dependencies" / "pyproject.toml"
    if lists.is_file():
        text = lists.read_bytes().decode("utf-8", "surrogateescape")
        joined = join_tables(text)
        if joined != text:
            write_file(lists, joined, mode=None)


# ----------------------------------------------------------------------------------- answers


def shown(value: object) -> str:
    """An answer as a user types it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return str(value) or "nothing"


def changed_answers(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The answers that have changed, are new, or are no longer asked; a line for each kind."""
    lines = []
    names = [name for name in after if name[0] != "_"]
    changed = [name for name in names if name in before and before[name] != after[name]]
    if changed:
        pairs = (f"{name} was {shown(before[name])}, is {shown(after[name])}" for name in changed)
        lines.append(f"Answers: {'; '.join(pairs)}.")
    new = [name for name in names if name not in before]
    if new:
        lines.append(f"New answers: {', '.join(f'{name}: {shown(after[name])}' for name in new)}.")
    gone = [name for name in before if name[0] != "_" and name not in after]
    if gone:
        pairs = (f"{name} (was {shown(before[name])})" for name in gone)
        lines.append(f"No longer asked: {', '.join(pairs)}.")
    return lines


def answer_lines(project: Project) -> list[str]:
    """What an update made of the answers."""
    now = (project.root / project.answers_file).read_bytes()
    committed = project.committed(project.answers_file)
    plain = [line for line in now.splitlines() if not line.startswith(b"_")]
    if plain == [line for line in committed.splitlines() if not line.startswith(b"_")]:
        return []
    import yaml  # noqa: PLC0415  to load it costs time, and most updates change no answer

    return changed_answers(yaml.safe_load(committed) or {}, yaml.safe_load(now) or {})


# ------------------------------------------------------------------------------------ images


def in_images(docker: Path, names: Sequence[str]) -> list[str]:
    """Which of these files of docker-amd64 enter the images, by the list in .dockerignore."""
    allowed = ["Dockerfile", ".dockerignore"]
    ignore = docker / ".dockerignore"
    if ignore.is_file():
        lines = ignore.read_text("utf-8", "replace").splitlines()
        allowed += [line[1:].strip("/ ") for line in lines if line.startswith("!")]
    return [name for name in names if any(f"{name}/".startswith(f"{top}/") for top in allowed)]


def builds(compose: bytes) -> object:
    """What a compose.yaml says of building: the `build` of each service."""
    import yaml  # noqa: PLC0415  needed only where the file has changed

    services = (yaml.safe_load(compose) or {}).get("services") or {}
    return {name: service.get("build") for name, service in services.items()}


def rebuild_lines(project: Project) -> tuple[bool, list[str]]:
    """Whether images have to be rebuilt, and a line that says why."""
    docker = project.root / FOLDER
    changed = project.names("diff", "--name-only", "--relative", "-z", "HEAD", "--", FOLDER)
    changed += project.names("ls-files", "--others", "--exclude-standard", "-z", "--", FOLDER)
    names = [name.partition("/")[2] for name in changed]
    why = in_images(docker, names)
    compose = "compose.yaml"
    if compose in names and (docker / compose).is_file():
        try:
            same = builds(project.committed(f"{FOLDER}/{compose}")) == builds(
                (docker / compose).read_bytes()
            )
        except Exception:  # noqa: BLE001  with a conflict it is not YAML
            same = False
        why += [] if same else [compose]
    if why:
        return True, [f"The images have to be rebuilt: {listed(why)} changed."]
    if compose in names:
        return False, [f"No image has to be rebuilt; {me()} up applies the new compose.yaml."]
    return False, ["No image has to be rebuilt."]


# --------------------------------------------------------------------------------------- all


def next_lines(project: Project, *, rebuild: bool) -> list[str]:
    """The next steps: resolve conflicts, commit, build."""
    open_files = conflicts(project.root)
    build = ""
    if rebuild:  # after `way`, the shell is in the project's folder
        build = f". Then: {f'./{FOLDER}/template.sh' if project.way else me()} build"
    if open_files:
        have = "1 file has" if len(open_files) == 1 else f"{len(open_files)} files have"
        # Files that are new with the update are part of it.
        commit = f"{project.way}git add --all && git commit -m 'Update Hearth'"
        return [
            f"{have} lines that both you and the template changed: {listed(open_files)}.",
            f"Next: edit the text {CONFLICT}. Then: {commit}{build}",
        ]
    if not project.git("status", "--porcelain", "--", "."):
        return []
    return [f"Next: {project.way}git add --all && git commit -m 'Update Hearth'{build}"]


def restore_and_merge(project: Project) -> list[str]:
    """Restore edited files and merge again, before anything reads them; the lines to show.

    Copier alone has updated: `template.sh update` leaves nothing to restore or to merge.
    """
    if os.environ.get(MERGED):
        return []
    kept = restore_edited(project)
    merge_again(project)
    for name in conflicts(project.root):
        kept += moved_lines(project, name)
    # An older template.sh has written what takes its updates back, and exports this.
    return kept if "CALLED_FROM" in os.environ else [*kept, PLAIN.format(me=me())]


def lines(project: Project) -> list[str]:
    """What the update has changed, and what is left to do."""
    rebuild, why = rebuild_lines(project)
    return [*answer_lines(project), *why, *next_lines(project, rebuild=rebuild)]
