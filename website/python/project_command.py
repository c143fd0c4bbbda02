"""The command that makes a project: of its answers, and of the folder that somebody names."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from .questions import questionnaire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .questions import Answered

TEMPLATE = "gh:org/hearth"
FOLDER = "myproj"  # where none is named
# What Copier derives from the folder; nothing about code is asked on the page.
OF_CODE = ("project_name", "project_kind", "package_name", "code_dir")
# Questions that the page does not show, and answers that no link gives: the field for GPUs and
# "another machine" stand for the last.
HIDDEN = (*OF_CODE, "target_gpus")
# What a verdict rests on is always in the command: Copier's own defaults follow the machine that
# it runs on, the files of the folder and the newest version of the template.
ALWAYS = (
    *("service", "accelerator", "package_manager", "ngc_release", "torch_version"),
    *("cuda_version", "python_version"),
)


def folder_of(state: Mapping[str, Any]) -> str:
    """The folder that a state of the page names, without blanks around it."""
    return str(state.get("folder") or "").strip() or FOLDER


def folder_refused(folder: str) -> str:
    """Why no project can be made in a folder: one sentence, "" if one can."""
    if not folder.isprintable():
        return "The folder's name has a character that cannot be seen: type the name again."
    if folder.startswith("-"):
        return f"Copier takes {folder[:80]} for an option: write ./{folder[:80]} instead."
    return questionnaire().folder_refused(folder)


def command(questions: Mapping[str, Answered], folder: str) -> str:
    """The line that makes the project: what is judged, and what differs from Copier's default."""
    words = ["uvx --with nvidia-ml-py copier copy --trust"]
    for name, one in questions.items():
        if name in OF_CODE or not one.asked:
            continue
        if name in ALWAYS or one.value != one.usual:
            words.append(f"--data {shlex.quote(f'{name}={spelt(one.value)}')}")
    words.append(f"{TEMPLATE} {_quoted(folder)}")
    return " \\\n    ".join(words)


def spelt(value: Any) -> str:
    """An answer as --data has it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"[{', '.join(value)}]" if isinstance(value, list) else str(value)


def _quoted(folder: str) -> str:
    """A path for a shell. In quotes, ~ would be a folder of that name."""
    home, slash, rest = folder.partition("/")
    if home != "~":
        return shlex.quote(folder)
    return f"~{slash}{shlex.quote(rest) if rest else ''}"
