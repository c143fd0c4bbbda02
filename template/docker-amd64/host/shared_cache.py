"""A cache of models for several users: SHARED_CACHE_DIR in .env, a folder of this machine.

An override file mounts it and lets the hubs of Hugging Face and PyTorch use it, so that one
download serves everybody. Only models: HF_HOME also has the token of a user. The container's user
gets the group of the folder where its user here is in it. Nothing in the folder is changed here.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from shlex import quote
from stat import S_ISGID, S_IWGRP
from typing import TYPE_CHECKING

from .compose import keep_or_say, show
from .failures import failed
from .project import CACHE_FILE, same_for

if TYPE_CHECKING:
    from pathlib import Path

    from .project import Project

KEY = "SHARED_CACHE_DIR"
TARGET = "/shared-cache"
VARIABLES = {"HF_HUB_CACHE": f"{TARGET}/huggingface/hub", "TORCH_HOME": f"{TARGET}/torch"}
DEFAULT_RIGHTS = "system.posix_acl_default"  # those of new files in a folder: acl(5)
HEAD = """\
# The cache of models that SHARED_CACHE_DIR in .env names. template.sh writes this before containers
# start.
"""


def groups_here(project: Project) -> set[int]:
    """The groups, on this machine, of the user that containers work for."""
    if os.getuid():
        return {os.getgid(), *os.getgroups()}
    import pwd  # noqa: PLC0415  for root alone, who works for the owner of the project

    try:
        user = pwd.getpwuid(int(project.settings.get("USRID") or 0))
    except KeyError:
        return set()
    return {*os.getgrouplist(user.pw_name, user.pw_gid)}


def added_group(project: Project, folder: Path) -> int | None:
    """The group that the container's user needs to write there; None if it needs, or has, none."""
    group, settings = folder.stat().st_gid, project.settings
    # A rootless engine has no numbers of other groups: its root is the user here.
    rootless = settings.get("USRID") == "0" and os.getuid() != 0
    has_it = rootless or str(group) == settings.get("GRPID")
    return group if group in groups_here(project) and not has_it else None


def gives_group_rights(folder: Path) -> bool:
    """Whether the group of a folder may write to new files in it; True where nobody can know."""
    if not hasattr(os, "getxattr"):
        return True
    try:
        rights = os.getxattr(str(folder), DEFAULT_RIGHTS)
    except OSError as error:
        return error.errno != errno.ENODATA
    # After a version, each entry has whom it is about (4 and 8 are groups), rights and a number.
    entries = struct.iter_unpack("<HHI", rights[4:])
    return any(whom in (4, 8) and may & 2 for whom, may, _ in entries)


def tell_group(folder: Path) -> None:
    """Say what keeps users of a group from adding to each other's models."""
    if not os.access(str(folder), os.W_OK | os.X_OK):
        show(
            f"You cannot write to {folder}, so programs find models there and add none. "
            f"Its group may. Run: ls -ld {quote(str(folder))}"
        )
        return
    mode, for_group = folder.stat().st_mode, S_ISGID | S_IWGRP
    if mode & for_group == for_group and not gives_group_rights(folder):
        sudo = "" if folder.stat().st_uid == os.getuid() else "sudo "
        show(
            f"What you download to {folder}, its group cannot complete or add to. "
            f"Run: {sudo}setfacl -m d:g::rwx,d:o::rx {quote(str(folder))}"
        )


def cache_text(project: Project) -> str:
    """The text of the override file, "" where .env names no cache.

    Raises:
        StopError: the folder does not exist.
    """
    folder = project.settings.path(KEY)
    if not folder:
        return ""
    if not folder.is_dir():
        raise failed("shared-cache-missing", project, path=str(folder))
    tell_group(folder)
    group = added_group(project, folder)
    volume = {"type": "bind", "source": str(folder), "target": TARGET}
    rows = {
        "environment": VARIABLES,
        **({"group_add": [str(group)]} if group is not None else {}),
        "volumes": [{**volume, "bind": {"create_host_path": False}}],
    }
    body = "".join(
        f"  {key}: {json.dumps(row, ensure_ascii=False).replace('$', '$$')}\n"
        for key, row in rows.items()
    )
    return f"{HEAD}x-cache: &cache\n{body}\n{same_for(project.services['code'], 'cache')}"


def share_cache(project: Project) -> None:
    """Bring the override file in line with .env, and let COMPOSE_FILE name it.

    Raises:
        StopError: the folder that .env names does not exist.
    """
    otherwise = "Containers have the cache of models that they had before"
    keep_or_say(project, CACHE_FILE, cache_text(project), otherwise)
