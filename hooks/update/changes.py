"""What an update changes in a project: a three-way comparison of all files, before any is touched.

Base is what the old version makes of the old answers, theirs what the new version makes of the new
ones, ours what is in the project now: not what git has of it, so nothing depends on settings of
git, on what it ignores, or on what it was told to overlook.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hooks.update.beside import unused
from hooks.update.merge import decoded, encoded, merge
from hooks.update.renderings import File
from host import ci_pipeline
from host.checkout import UpdateError, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Mapping

SIMILAR = 0.5  # of two texts, from which on one is the other under a new name; git has the same
BESIDE = "new"  # the ending of the template's version, beside a user's file that git does not have
PIPELINE = f"docker-amd64/{ci_pipeline.PIPELINE}"  # in which builds pin images
PINNED = rf"(\S+)@{ci_pipeline.DIGEST}\b"
EXAMPLES = "workspaces/"  # code that belongs to the user from the start


class ChangedError(UpdateError):
    """Files that somebody has saved while the update was at work.

    Attributes:
        names: their paths.
    """

    def __init__(self, names: list[str]):
        """Take the paths."""
        super().__init__(f"{listed(names)} changed while the update was at work.")
        self.names = names


class Conflict(NamedTuple):
    """A file with marks, and what it was made from; None for a side that has no such file."""

    name: str
    base: File | None
    ours: File | None
    theirs: File | None


@dataclass
class Plan:
    """What an update does to a project's files.

    Attributes:
        writes: new contents by path.
        deletes: paths that go.
        conflicts: files in which a person has to choose.
        kept: files that the template has removed and the user had changed.
        moved: files with changes of the user's that go along to a new name, old to new.
        followed: files that the user has renamed and that get the template's changes, old to new.
        beside: files of the user's that git does not have, where the template brings one of that
            name: where its version is, beside them.
        others: all paths that the template has, or had.
    """

    writes: dict[str, File] = field(default_factory=dict)
    deletes: list[str] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    followed: dict[str, str] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)
    others: Collection[str] = ()

    @property
    def touched(self) -> list[str]:
        """All paths that change."""
        return sorted({*self.writes, *self.deletes})


class Project:
    """The files of a project, as they are.

    Args:
        root: its folder.
        tracked: the paths that git has of it, relative to the folder.
        renamed: the path to which the user has renamed a file, "" for none.

    Attributes:
        leaving: unchanged files of folders in whose place the template has a file now.
        seen: what was at the paths that were asked for, when the first one asked.
    """

    def __init__(
        self,
        root: Path,
        tracked: Iterable[str],
        renamed: Callable[[str], str] = lambda _: "",
    ):
        """Take the folder, and what git has of it."""
        self.root, self.tracked, self.renamed = root, {*tracked}, renamed
        self.leaving: set[str] = set()
        self.seen: dict[str, File | None] = {}

    def file(self, name: str) -> File | None:
        """What is at a path, None for nothing. Raises UpdateError for what no update can merge."""
        found = self.read(name)
        self.seen.setdefault(name, found)
        return found

    def check_unchanged(self, names: Iterable[str]) -> None:
        """See that nobody has changed files since the plan was made of them.

        Raises ChangedError, and UpdateError as `file` does.
        """
        changed = [
            name for name in names if name in self.seen and self.read(name) != self.seen[name]
        ]
        if changed:
            raise ChangedError(changed)

    def read(self, name: str) -> File | None:
        """What is at a path now. Raises UpdateError."""
        path = self.root / name
        for one in self.parents(name):
            if not (one.is_symlink() or os.path.lexists(one / ".git")):
                continue
            kind = "a symbolic link" if one.is_symlink() else "a repository of its own"
            raise UpdateError(
                f"{one.relative_to(self.root)} is {kind}, and the template has the file {name}: "
                "an update does not write there. Rename yours first."
            )
        if path.is_symlink():
            return File(os.fsencode(os.readlink(path)), link=True)  # noqa: PTH115  may be no path
        if path.is_dir():
            if self.leaving and self.below(path) <= self.leaving:
                return None
            if any(path.iterdir()):
                raise UpdateError(
                    f"{name} is a folder here, and a file in the template: rename yours first."
                )
            raise UpdateError(f"{name} is an empty folder here, and a file in the template.")
        if not path.is_file():
            if os.path.lexists(path):
                raise UpdateError(f"{name} is no regular file here, and one in the template.")
            return None
        try:
            return File(path.read_bytes(), executable=bool(path.stat().st_mode & 0o100))
        except OSError as error:
            raise UpdateError(
                f"{name} cannot be read ({error.strerror}), so an update cannot merge it."
            ) from error

    def below(self, folder: Path) -> set[str]:
        """The files of a folder and of those in it."""
        files = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
        return {path.relative_to(self.root).as_posix() for path in files}

    def check_folders(self, plan: Plan) -> None:
        """See that no file which stays is where the template has a folder. Raises UpdateError."""
        for name in plan.writes:
            for folder in self.parents(name):
                here = folder.relative_to(self.root).as_posix()
                if folder.exists() and not folder.is_dir() and here not in plan.deletes:
                    raise UpdateError(
                        f"{here} is a file here, and a folder in the template: rename yours first."
                    )

    def parents(self, name: str) -> list[Path]:
        """The folders between the project's and a file, the outermost first."""
        return [self.root / one for one in [*Path(name).parents][-2::-1]]

    def check_case(self, name: str) -> None:
        """See that no file here is another of the template's only by the case of its letters.

        Raises UpdateError.
        """
        path = self.root / name
        if not os.path.lexists(path) or not path.parent.is_dir():
            return
        names = os.listdir(path.parent)  # noqa: PTH208  a list of names
        if path.name in names:
            return
        for here in names:
            if here.lower() == path.name.lower():
                mine = path.with_name(here).relative_to(self.root)
                raise UpdateError(
                    f"On this disk, {mine} and {name} of the template are one file: rename yours "
                    "first."
                )


def plan_of(
    project: Project,
    base: Mapping[str, File],
    theirs: Mapping[str, File],
    keep: Callable[[str], bool],
    carried: Collection[str] = (),
) -> Plan:
    """What has to be done for a project to follow from one rendering to another.

    Args:
        project: the user's files.
        base: what the old version had made.
        theirs: what the new version makes.
        keep: whether a file of the user's stays as it is, where there is one.
        carried: lists whose lines go elsewhere when the template removes them: what reads them
            reads the last commit.

    Raises:
        UpdateError: something of the user's is in the way.
    """
    plan = Plan()
    if has_examples(base) and has_examples(theirs):
        base, theirs = without_examples(base), without_examples(theirs)
    plan.others = {*base, *theirs}
    project.leaving = find_leaving(project, base, theirs)
    renames = find_renames(project, base, theirs, carried)
    for old, new in renames.items():
        plan.deletes.append(old)
        plan.moved[old] = new
        settle(plan, project, Conflict(new, base[old], project.file(old), theirs[new]))
    origins = find_deleted(project, base, theirs, {*carried, *renames})
    for name in sorted({*base, *theirs} - {*renames, *renames.values()}):
        origin = origins.get(name, name)
        was, now = base.get(origin), theirs.get(name)
        if was == now:
            continue
        project.check_case(name)
        ours = project.file(name)
        if now is None:
            goes = name in carried and name in project.tracked
            drop(plan, Conflict(name, was, ours, now), goes=goes)
        elif origin != name and ours is not None and follow(plan, project, origin, (was, now)):
            continue  # a file of the user's own has the name that the template's gets
        elif keep(name) or ours is None:
            # What the user has deleted stays deleted, but for what is made if it is missing.
            if ours is None and (was is None or keep(name)):
                plan.writes[name] = now
            elif ours is None:
                follow(plan, project, origin, (was, now))
        else:
            settle(plan, project, Conflict(name, was, ours, now))
    project.check_folders(plan)
    return plan


def find_leaving(
    project: Project, base: Mapping[str, File], theirs: Mapping[str, File]
) -> set[str]:
    """Files that nobody has changed, in folders in whose place the template has a file now."""
    found = set()
    for name, was in base.items():
        if any(folder.as_posix() in theirs for folder in Path(name).parents):
            ours = project.file(name)
            if ours and same(ours, was):
                found.add(name)
    return found


def has_examples(files: Mapping[str, File]) -> bool:
    """Whether a rendering has an example for the user to change."""
    return any(name.startswith(EXAMPLES) for name in files)


def without_examples(files: Mapping[str, File]) -> dict[str, File]:
    """A rendering without its examples: whoever has one already gets no other version of it."""
    return {name: file for name, file in files.items() if not name.startswith(EXAMPLES)}


def without_digests(found: Conflict) -> File | None:
    """The user's file; a pipeline without digests of images that the template no longer names.

    Builds pin what the template names in that file, and will pin what it names then.
    """
    name, was, ours, now = found
    if name != PIPELINE or ours is None or ours.link:
        return ours
    before, after = (decoded(file.data).split() if file else [] for file in (was, now))

    def bare(image: re.Match[str]) -> str:
        known = image.group(1) in before and image.group(1) not in after
        return image.group(1) if known else image.group()

    return ours._replace(data=encoded(re.sub(PINNED, bare, decoded(ours.data))))


def drop(plan: Plan, found: Conflict, *, goes: bool) -> None:
    """Decide on a file that the new version lacks; `goes`: also what the user had changed."""
    ours = without_digests(found)
    if ours is None:
        return
    if goes or found.base is None or same(ours, found.base):
        plan.deletes.append(found.name)
    else:
        plan.kept.append(found.name)


def follow(
    plan: Plan, project: Project, origin: str, versions: tuple[File | None, File | None]
) -> bool:
    """Decide on a file that the user has under another name than the template, if they have.

    Args:
        plan: what an update does.
        project: the user's files.
        origin: its name in the older version of the template.
        versions: what the older version and the newer one make of it.
    """
    there = project.renamed(origin)
    if there not in project.tracked or there in plan.others:
        return False
    was, now = versions
    found = Conflict(there, was, project.file(there), now)
    settle(plan, project, found)
    if there in plan.writes or found in plan.conflicts:
        plan.followed[origin] = there
    return True


def same(one: File, other: File) -> bool:
    """Whether two files are the same but for their line ends."""
    return one == other or (
        one.link == other.link
        and one.executable == other.executable
        and one.data.replace(b"\r\n", b"\n") == other.data
    )


def settle(plan: Plan, project: Project, found: Conflict) -> None:
    """Decide on a file that the new version has, and the user under this or an older name."""
    name, was, _, now = found
    ours = without_digests(found)
    if now is None or ours is None:
        return
    if was == ours:
        plan.writes[name] = now
        return
    moved = name in plan.moved.values()
    known = moved or name in project.tracked
    if was is None and not known and not same(ours, now):
        leave(plan, project, name, now)
        return
    some = [file for file in (was, ours, now) if file]
    if any(file.link or is_binary(file.data) for file in some):
        text, conflict = ours.data, not same(ours, now)
    else:
        merged = merge(name, *(decoded(file.data) if file else "" for file in (was, ours, now)))
        text, conflict = encoded(merged.text), merged.conflicts
    if conflict and not known:  # marks would be in a file of which git has no other version
        leave(plan, project, name, now)
        return
    theirs = was is None or ours.executable == was.executable
    new = File(text, now.executable if theirs else ours.executable, ours.link)
    if new != ours or moved:
        plan.writes[name] = new
    if conflict:
        plan.conflicts.append(found)


def leave(plan: Plan, project: Project, name: str, now: File) -> None:
    """Leave a file of the user's, and put the template's beside it."""
    new = unused(project.root / name, BESIDE).relative_to(project.root).as_posix()
    plan.beside[name] = new
    plan.writes[new] = now


def is_binary(content: bytes) -> bool:
    """Whether this is no text, as git sees it."""
    return b"\0" in content[:8000]


def find_renames(
    project: Project,
    base: Mapping[str, File],
    theirs: Mapping[str, File],
    carried: Container[str],
) -> dict[str, str]:
    """Files that the template has renamed and the user had changed, old name to new.

    Where nobody has changed the old one, to rename it is to delete it and write another.
    """
    new = [name for name in theirs if name not in base and project.file(name) is None]
    found: dict[str, str] = {}
    for name in base:
        if name in theirs or name in carried or not new:
            continue
        ours = project.file(name)
        if ours is None or same(ours, base[name]):
            continue
        near = {other: likeness(base[name].data, theirs[other].data) for other in new}
        best = max(near, key=lambda other: near[other])
        if near[best] >= SIMILAR:
            found[name] = best
            new.remove(best)
    return found


def find_deleted(
    project: Project, base: Mapping[str, File], theirs: Mapping[str, File], others: Container[str]
) -> dict[str, str]:
    """Files that the template has renamed and the user had deleted or renamed, new name to old.

    `others` are files of the older version that are something else's origin.
    """
    gone = [name for name in base if name not in theirs and name not in others]
    deleted = {name for name in gone if project.file(name) is None}
    found = {}
    for name in theirs if deleted else ():
        if name in base:
            continue
        near = {old: likeness(base[old].data, theirs[name].data) for old in gone}
        best = max(near, key=lambda old: near[old])
        if best in deleted and near[best] >= SIMILAR:
            found[name] = best
    return found


def likeness(one: bytes, other: bytes) -> float:
    """How much two texts have in common, by their lines: 0 nothing, 1 all."""
    if not one:  # which is like any other that is empty
        return 0
    matcher = SequenceMatcher(None, one.splitlines(), other.splitlines(), autojunk=False)
    if matcher.real_quick_ratio() < SIMILAR or matcher.quick_ratio() < SIMILAR:
        return 0
    return matcher.ratio()
