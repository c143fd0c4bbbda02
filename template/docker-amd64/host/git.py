"""What git needs in the dev container: the user's name, and a repository that /workspace lacks.

In a worktree or a submodule, .git is a file that names a folder of this machine, and the root of a
repository may be above the code. So the repository is mounted at the same path as outside, where
its files name each other; image/git.sh goes there. `up` hands this to Compose on its standard
input: names and paths are facts of this host, and no file has to keep them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ask import capture, read_text
from .compose import show
from .guard import KEY as GUARD_KEY
from .guard import beside, data_mount
from .guard import mounts as guarded
from .project import is_everything

if TYPE_CHECKING:
    from .project import Project

# Folders of the container into which nothing of the host can be mounted at its own path.
TAKEN = (
    "/workspace",
    "/data",
    "/outputs",
    "/home/user",
    "/opt",
    "/usr",
    "/etc",
    "/var/lib",
)
PERSON = {"NAME": "user.name", "EMAIL": "user.email"}


def ask_git(folder: Path, *words: str) -> str:
    """What git says about a folder, "" if it fails."""
    asked = capture("git", *words, cwd=folder if folder.is_dir() else Path("/"))
    return asked.stdout.strip("\n") if asked.returncode == 0 else ""


def person(code: Path) -> dict[str, str]:
    """The variables that make the user of this machine the author of commits."""
    known: dict[str, str] = {}
    for word, key in PERSON.items():
        value = os.environ.get(f"GIT_AUTHOR_{word}") or ask_git(code, "config", key)
        if value:
            known.update({f"GIT_{role}_{word}": value for role in ("AUTHOR", "COMMITTER")})
    return known


def stores(root: Path) -> list[Path]:
    """Where the repository is that the file .git in a folder names, if it knows that folder.

    A program in a container can write the file, and so name any folder of this machine. It cannot
    write into the repository outside, which names its worktrees and submodules in turn.
    """
    named = Path(os.path.normpath(root / read_text(root / ".git").partition(":")[2].strip()))
    if root in (named, *named.parents):
        return []
    common = named / (read_text(named / "commondir").strip() or ".")
    back = read_text(named / "gitdir").strip()  # of a worktree
    if not back:
        tree = re.search(r"(?m)^\s*worktree = (.+)$", read_text(named / "config"))
        back = f"{tree[1]}/.git" if tree else ""
    knows = bool(back) and os.path.realpath(str(named / back)) == os.path.realpath(
        str(root / ".git")
    )
    return [Path(os.path.normpath(common))] if knows else []


def repository(code: Path) -> list[Path]:
    """The folders to mount at their own paths; none where the code has its repository with it.

    They are found without git, whose configuration containers can write.
    """
    root = next((one for one in (code, *code.parents) if (one / ".git").exists()), None)
    if root is None or not ask_git(code, "rev-parse", "--git-dir"):
        return []
    if (root / ".git").is_dir():
        return [] if root == code else [root]
    found = stores(root)
    return [root, *found] if found else []


def is_taken(path: Path) -> bool:
    """Whether a mount at this path would hide, or be in, a folder of the container."""
    inside = (str(path) == one or str(path).startswith(f"{one}/") for one in TAKEN)
    return any(inside) or len(path.parts) < 3  # noqa: PLR2004  such as /repo, or / itself


def override(project: Project) -> str:
    """The text of a Compose file with what git needs in dev, "" if that is nothing."""
    code = (project.settings.path("LOCAL_CODE_DIR") or project.root).resolve()
    variables, mounts = person(code), repository(code)
    taken = [path for path in mounts if is_taken(path)]
    if taken:
        show(
            f"git does not work in the container: its repository would be mounted at {taken[0]}, "
            "where the container has a folder of its own. Use git outside."
        )
        mounts = []
    if any(is_everything(path, os.environ) for path in mounts):
        show(
            f"git does not work in the container: its repository is {mounts[0]}, "
            "which is everything that is yours. Use git outside."
        )
        mounts = []
    if mounts:
        config = [("safe.directory", str(mounts[0])), ("gc.worktreePruneExpire", "never")]
        variables.update(CODE_OUTSIDE=str(code), GIT_CONFIG_COUNT=str(len(config)))
        for at, (key, value) in enumerate(config):
            variables.update({f"GIT_CONFIG_KEY_{at}": key, f"GIT_CONFIG_VALUE_{at}": value})
    if not variables:
        return ""
    dev: dict[str, Any] = {"environment": variables}
    if mounts:
        dev["volumes"] = [
            {
                "type": "bind",
                "source": str(path),
                "target": str(path),
                "bind": {"create_host_path": False},
            }
            for path in mounts
        ]
        for path in mounts:
            dev["volumes"] += data_mount(project, path, str(path))
        if project.settings.get(GUARD_KEY) != "all":
            for path in mounts:
                dev["volumes"] += guarded(project.folder, path, str(path), *beside(project))
    return json.dumps({"services": {"dev": dev}}, ensure_ascii=False).replace("$", "$$")


# Build backends whose version is that of git.
OF_GIT = re.compile(
    r"setuptools[_-]scm|hatch-vcs|flit[_-]scm|(poetry|uv)-dynamic-versioning|\bpbr\b|source = .scm."
)


def git_version(code: Path, commit: str = "HEAD") -> str:
    """The version of a project that takes it from git, as setuptools_scm has it; "" for others.

    The runtime image has no git, and a repository may begin above the code folder.
    """
    files = [code / name for name in ("pyproject.toml", "setup.py", "setup.cfg")]
    texts = [path.read_text("utf-8", "replace") for path in files if path.is_file()]
    if not any(map(OF_GIT.search, texts)):
        return ""
    tag = ("describe", "--tags", "--long", "--match", "*[0-9]*", commit)
    said = capture("git", "-C", str(code), *tag).stdout.strip()
    match = re.fullmatch(r"\D*(\d+(?:\.\d+)*)((?:a|b|rc)\d+)?.*-(\d+)-g([0-9a-f]+)", said)
    if not match:  # no tag yet
        count = capture("git", "-C", str(code), "rev-list", "--count", commit).stdout.strip()
        return f"0.1.dev{count}" if count.isdigit() else ""
    release, before, distance, short = match.groups()
    if distance == "0":
        return release + (before or "")
    *first, last = release.split(".")
    following = release if before else ".".join([*first, str(int(last) + 1)])
    return f"{following}{before or ''}.dev{distance}+g{short}"
