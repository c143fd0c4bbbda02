"""What this machine adds to a failure about a package of conda; see look.py."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from .look import edit
from .look_workspace import Pin, words
from .project import me

if TYPE_CHECKING:
    from .look import Case, Seen

# A sentence of image/conda_absent.py: the package, where a file asks for it, and the nearest name.
ABSENT = re.compile(
    r"There is no package (\S+) in the channels \([^)\n]*\)"
    r"(?:: (environment[\w-]*\.yml), line (\d+))?(?:; the nearest name is (\S+))?\."
)

# image/workspace_specs.py says it.
OTHER_VERSION = re.compile(r"It needs ([\w.-]+)(\S*), but the project has ([\w.-]+) (\S+), and")


def package(case: Case) -> Seen:
    """All packages that no channel has, and the command that mends the file that lists them."""
    found = list(dict.fromkeys(ABSENT.findall(case.text)))
    this = next((one for one in found if one[0] == case.known["package"]), None)
    if this is None:
        return {}
    name, file, line, near = this
    if near:
        remedy = edit(f"{case.known['folder']}/dependencies/{file}", int(line)) if file else ""
        cause = f"No channel has {name}: the nearest name is {near}."
        return {"cause": cause, "remedy": remedy or f"{me()} add {shlex.quote(near)}"}
    names = sorted(one[0] for one in found if one[1] == file and not one[3])
    options = ["--pip", *(["--dev"] if file.endswith("-dev.yml") else [])]
    said: dict[str, str] = {"remedy": f"{me()} add {shlex.join([*options, *names])}"}
    if len(names) > 1:
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        said["cause"] = f"No channel has {listed}: the names are misspelt, or only PyPI has them."
    return said


def workspace(case: Case) -> Seen:
    """The line of a workspace and the lock of the project that do not go together."""
    found = OTHER_VERSION.search(case.text)
    if not found:
        return {}
    name, asked, _, version = found.groups()
    return words(case, Pin(name, asked, version, "conda.lock"))
