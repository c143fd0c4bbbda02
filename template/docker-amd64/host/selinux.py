"""Containers on machines with SELinux, which keeps them from the user's folders.

Podman gives every container a label, and so does Docker where its daemon runs with
--selinux-enabled, as Fedora's does. A mounted folder keeps its own, so that no program in the
container may read it. Relabelling (`:z`) would change the user's data, all of it, for good, and
other programs may lose it; so containers go without a label (docs/decisions/0035).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .abilities import abilities
from .ask import read_text
from .compose import keep_file
from .engine_words import ask_engine, engine_program
from .project import SELINUX_FILE, same_for

if TYPE_CHECKING:
    from .project import Project

ENFORCE = Path("/sys/fs/selinux/enforce")
TEXT = """\
# SELinux is on: without this, containers may not read the folders that they mount.
# template.sh writes this file before containers start.
x-selinux: &selinux
  security_opt: ["label=disable"]

"""


def is_enforcing() -> bool:
    """Whether SELinux is on and forbids."""
    return read_text(ENFORCE).strip() == "1"


def labels_containers() -> bool:
    """Whether the engine gives containers a label of SELinux."""
    if abilities(engine_program()).labels_mounts:
        return True
    return "name=selinux" in ask_engine("info", "--format", "{{json .SecurityOptions}}").stdout


def open_mounts(project: Project) -> None:
    """Let containers read what they mount, where the engine and SELinux would not."""
    wanted = is_enforcing() and labels_containers()
    names = dict.fromkeys(name for names in project.services.values() for name in names)
    text = TEXT + same_for([*names, "tools"], "selinux")
    keep_file(project, SELINUX_FILE, text if wanted else "")
