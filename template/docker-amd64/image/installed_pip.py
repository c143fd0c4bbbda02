#!/opt/venv/bin/python -BIS
"""update_env_file for a project with pip: what uv installed, into pyproject.toml and uv.lock.

uv names what is installed and locked; `uv add` edits both files.

Started with -IS, so that no package of yours can break it. Standard library only, Python 3.8 or
newer.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# -I knows no folder of its own: the first is the image's, the other that of this file elsewhere.
sys.path += ["/opt/container", os.path.dirname(os.path.realpath(__file__))]  # noqa: PTH120

from update_env_file import (
    Changes,
    Found,
    Places,
    Stop,
    about_removed,
    copies,
    exit_status,
    left_to_answers,
    name_of,
    portable,
    read,
    say,
    template_sh,
    without_password,
)


def uv_environment() -> dict[str, str]:
    """The environment for uv, without what `uv add` would write into pyproject.toml.

    Indexes are facts of this machine. Of UV_INDEX the build knows nothing; the default one is
    handed over under its older name, which uv does not write down.
    """
    environment = {k: v for k, v in os.environ.items() if k not in ("UV_DEFAULT_INDEX", "UV_INDEX")}
    if os.environ.get("UV_DEFAULT_INDEX"):
        environment["UV_INDEX_URL"] = os.environ["UV_DEFAULT_INDEX"]
    # The image names an environment of the user's own projects there.
    if os.environ.get("VIRTUAL_ENV"):
        environment["UV_PROJECT_ENVIRONMENT"] = os.environ["VIRTUAL_ENV"]
    return environment


def uv(folder: Path, *arguments: str) -> str:
    """What uv prints on stdout.

    Raises:
        Stop: uv is not there, or fails; its message is shown.
    """
    try:
        result = subprocess.run(
            ["uv", *arguments],
            cwd=str(folder),
            env=uv_environment(),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    except FileNotFoundError:
        raise Stop("There is no uv here: this is not the dev container.") from None
    if result.returncode:
        say(result.stderr.rstrip())
        raise Stop(f"uv {' '.join(arguments[:2])} failed; nothing is written.")
    return result.stdout


def lines_without_markers(text: str) -> list[str]:
    """The requirements that `uv export` prints, without `; sys_platform == ...`."""
    return [line.split(" ;")[0].strip() for line in text.splitlines() if line.strip()]


def found_by_uv(places: Places) -> Found:
    """What is installed in the environment and not in uv.lock.

    A dependency of another package is left to the resolver, unless its version changed.

    Raises:
        Stop: there is no lock, or uv fails.
    """
    folder = places.dependencies
    if not (folder / "uv.lock").exists():
        raise Stop(f"There is no uv.lock to compare with yet. Run outside: {template_sh()} lock")
    options = ("--all-groups", "--no-hashes", "--no-annotate", "--no-header", "--no-emit-project")
    locked = lines_without_markers(uv(folder, "export", "--quiet", "--frozen", *options))
    versions = {name_of(line) for line in locked}
    python = ("--python", str(places.venv / "bin/python"))
    roots = uv(folder, "pip", "tree", "--depth", "0", *python).splitlines()
    wanted = versions | {name_of(line) for line in roots}
    found, installed = Found([], []), set()
    for line in uv(folder, "pip", "freeze", "--exclude-editable", *python).splitlines():
        name = name_of(line)
        installed.add(name)
        if without_password(line) in locked or name not in wanted:
            continue
        requirement = portable(line, found.notes)
        if name == "torch" and requirement and os.environ.get("CHOSEN_TORCH"):
            found.notes.append(left_to_answers(name, line[len(name) :].lstrip("= @")))
        elif requirement:
            found.add.append(requirement)
    gone = named_in_lock(places) - installed - set(read(places.base / "names.txt").split())
    found.notes.extend(about_removed(gone, "pyproject.toml"))
    return found


def named_in_lock(places: Places) -> set[str]:
    """The packages that pyproject.toml itself names, as far as they are for this platform."""
    folder = places.dependencies
    tree = uv(folder, "tree", "--frozen", "--all-groups", "--depth", "1").splitlines()
    names = {name_of(line[4:]) for line in tree[1:] if line[:1] in "├└"}
    return names - {"project-requirements"}


def with_uv_add(places: Places, wanted: list[str]) -> dict[str, str]:
    """pyproject.toml and uv.lock with these packages, made in a folder of their own.

    Raises:
        Stop: uv cannot add them; its message is shown.
    """
    names = ("pyproject.toml", "uv.lock")
    # What the project itself requires is a package of uv.lock, and its version is in no index.
    with copies(places.dependencies, (*names, "project/pyproject.toml")) as folder:
        try:
            uv(folder, "add", "--quiet", "--no-sync", "--raw", "--", *wanted)
        except Stop:
            arguments = " ".join(f"'{line}'" for line in wanted)
            raise Stop(
                f"uv cannot add {arguments}; nothing is written. Where only a password is missing, "
                f"this has that of NETRC_FILE: {template_sh()} add {arguments}"
            ) from None
        return {name: read(folder / name) for name in names}


def about_lock(before: str, after: str) -> str:
    """What changes in uv.lock, in a line: the diff of that file is long and says no more."""
    pattern = r'(?m)^name = "(.+)"\nversion = "(.+)"$'
    old, new = set(re.findall(pattern, before)), set(re.findall(pattern, after))
    parts = [
        f"{word} {', '.join(' '.join(pair) for pair in sorted(pairs))}"
        for word, pairs in (("gets", new - old), ("loses", old - new))
        if pairs
    ]
    return f"uv.lock {' and '.join(parts) or 'changes with it'}."


def package_changes(places: Places) -> Changes:
    """What is to change in pyproject.toml and uv.lock.

    Raises:
        Stop: there is no lock, or uv fails.
    """
    found = found_by_uv(places)
    if not found.add:
        return Changes({}, found.notes)
    files = with_uv_add(places, found.add)
    summary = about_lock(read(places.dependencies / "uv.lock"), files["uv.lock"])
    return Changes(files, found.notes, {"uv.lock": summary})


if __name__ == "__main__":
    sys.exit(exit_status(package_changes))
