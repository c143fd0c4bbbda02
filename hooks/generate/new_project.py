"""`make new`: a project from this clone, by Copier without its list of files.

DIR, REF and DATA come from the environment, where blanks and quotes in them are safe. DATA has
answers, quoted as for a shell: `service=train target_gpus='RTX 4090, H100'`. An answer that is
refused is one sentence on stderr.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import warnings
from difflib import get_close_matches
from pathlib import Path

from copier._main import (
    Worker,
)  # run_copy does not tell which questions there are; Copier is locked
from copier.errors import InteractiveSessionError, UserMessageError
from plumbum import ProcessExecutionError
from yaml import YAMLError

ROOT = Path(__file__).resolve().parents[2]


def read_data(text: str) -> dict[str, str]:
    """The answers in DATA.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        raise ValueError("DATA has a quote that is not closed.") from None
    answers = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"\w+", name):
            raise ValueError(
                f"DATA has {word!r}, which is not NAME=VALUE: write DATA='service=train jit=no', "
                "with quotes around a value that has blanks."
            )
        answers[name] = value
    return answers


def check_names(names: list[str], questions: list[str]) -> None:
    """Copier ignores answers to what it does not ask. Raises ValueError."""
    for name in names:
        if name not in questions:
            near = get_close_matches(name, questions, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(questions)}."
            raise ValueError(f"DATA answers {name}, which is not a question: {hint}")


def generate(folder: str, ref: str | None, answers: dict[str, str], *, ask: bool) -> None:
    """Let Copier work. Raises what it raises, and ValueError for an answer that is refused."""
    with Worker(
        src_path=str(ROOT),
        dst_path=Path(folder),
        data=answers,
        vcs_ref=ref,
        defaults=not ask,
        quiet=True,
        unsafe=True,
    ) as worker:
        rows = worker.template.questions_data
        if "data" not in rows:  # versions up to 0.9.0 do not refuse unknown names themselves
            asked = [name for name, row in rows.items() if row.get("when") is not False]
            check_names([*answers], asked)
        print(f"Generating {folder} from Hearth {worker.template.version} ...", file=sys.stderr)
        worker.run_copy()


def reason(error: Exception, folder: str) -> str:
    """One sentence on what Copier raises. Raises the error itself if none is expected."""
    if isinstance(error, InteractiveSessionError):
        there = f"{folder} has files that would be written over"
        said = f"{there}: name another folder, or run it in a terminal, which asks for each."
    elif isinstance(error, UserMessageError):
        said = error.message
    elif isinstance(error, ProcessExecutionError):
        said = f"Git failed: {' '.join(error.stderr.split())}"
    elif isinstance(error, TypeError) and "YAML list" in str(error):  # of versions up to 0.9.0
        said = f"{error}. Write a list in DATA in brackets: DATA='extras=[ci]'."
    elif isinstance(error, YAMLError):
        there = f"A file that answers follow is not YAML: {' '.join(str(error).split())}"
        said = f"{there}. Mend it, or give the answer: DATA='python_version=3.12'."
    elif isinstance(error, OSError):
        said = f"{folder} cannot be written: {error.strerror}: {error.filename}"
    elif isinstance(error, ValueError):
        said = str(error)
    else:
        raise error
    return said


def main() -> int:
    """The command line; returns the exit status."""
    warnings.showwarning = lambda message, *_, **__: print(message, file=sys.stderr)
    folder, ref = os.environ["DIR"], os.environ.get("REF") or None
    ask = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        generate(folder, ref, read_data(os.environ.get("DATA", "")), ask=ask)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    except Exception as error:  # noqa: BLE001  what is not expected is raised again
        print(reason(error, folder), file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
