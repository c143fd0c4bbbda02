"""Volume claims of [kubernetes] and [runai]: where pods have a folder, and where this machine does.

An entry of site.toml is a table: claim is the name of a PersistentVolumeClaim, path is where pods
have it, and here is where this machine has the same folder.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Iterable, Iterator, Mapping, NamedTuple, Sequence

from ..failures import folder_not_made
from .site import wrong_value

if TYPE_CHECKING:
    from ..project import Project, StopError
    from .site import Site

    Claims = Sequence[Mapping[str, str]]

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
HERE, PATH = "here", "path"  # the keys of an entry that name folders


class Place(NamedTuple):
    """Where a folder is on the claims.

    Attributes:
        number: index of the entry.
        inside: path of the folder below the root of the entry, "" for the root.
    """

    number: int
    inside: str


def place(claims: Claims, path: str, keys: tuple[str, ...] = (HERE, PATH)) -> Place | None:
    """Where a folder is on the claims; None if it is on none.

    Args:
        claims: the entries.
        path: as this machine has it, or as pods have it.
        keys: which of the two it may be, in this order.
    """
    folder = PurePosixPath(path)
    for key in keys:
        roots = [(PurePosixPath(one[key]), at) for at, one in enumerate(claims) if one.get(key)]
        # Of two claims, one mounted below the other, the inner one has the folder.
        for root, number in sorted(roots, key=lambda one: -len(one[0].parts)):
            if root == folder or root in folder.parents:
                return Place(number, "/".join(folder.relative_to(root).parts))
    return None


def on_this_machine(claims: Claims, path: str, keys: tuple[str, ...] = (HERE, PATH)) -> str:
    """A folder on a claim as this machine has it; "" if it does not have the claim.

    The table is the team's: another machine may have the claim that this one does not have.
    """
    found = place(claims, path, keys)
    root = claims[found.number].get(HERE) if found else ""
    return str(PurePosixPath(root, found.inside)) if found and root and Path(root).is_dir() else ""


def is_shared(claims: Claims, path: str) -> bool:
    """Whether a folder is on a claim, and this machine has it."""
    is_here = bool(on_this_machine(claims, path)) or Path(path).is_dir()
    return is_here and place(claims, path) is not None


def wrong_claims(claims: Claims) -> Iterator[str]:
    """What is wrong with the entries, for any scheduler; each continues a sentence."""
    for number, claim in enumerate(claims, 1):
        if not NAME.fullmatch(claim.get("claim", "")):
            yield f"has an entry {number} without the name of a claim: claim = NAME"
        if not claim.get(PATH) and not claim.get(HERE):
            yield f"has an entry {number} with neither path nor here"
        for key in (PATH, HERE):
            if not re.fullmatch("(/[^:]*)?", claim.get(key, "")):
                yield f'has an entry {number} with {key} "{claim[key]}", not a full path'


def on_no_claim(project: Project, site: Site, table: str, key: str, path: str) -> StopError:
    """The failure of a folder that is on no claim.

    Args:
        project: the project.
        site: the site.
        table: kubernetes or runai.
        key: of [storage], which names the folder.
        path: the folder.
    """
    what = f"has no entry for {path}, which is {key} of the job. "
    what += "Give an entry its path, or here, where this machine has it"
    return wrong_value(project, site, table, "claims", what)


def make_folders(project: Project, folders: Iterable[str]) -> None:
    """Make the folders that a job writes to, as the user's alone. Raises StopError.

    Kubernetes would make a missing one as root's, where the job may not write.
    """
    folder = Path()
    try:
        for folder in map(Path, folders):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise folder_not_made(project, folder, error) from error
