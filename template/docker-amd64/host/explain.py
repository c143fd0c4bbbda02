"""What a failure in a log, or in a text from a terminal, means and which command helps: explain.

The text may come from another machine. So only the text is looked at; of this machine, the
kind of engine and the system choose between the commands of the table.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, BinaryIO

from .failures import best_of, engine_kind, everywhere, hosts
from .pasted import MOST, Explanation, explanations
from .plain import one_line, wrapped
from .project import USAGE, StopError, called_from, me

if TYPE_CHECKING:
    import argparse

    from .project import Project

LINE = 300  # characters that are shown of a line
CHUNK = 1 << 16
# The first bytes of texts as Windows' shells write them.
MARKS = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def explain_options(parser: argparse.ArgumentParser) -> None:
    """Where the text is."""
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="a log; else the text is read from standard input"
    )


def do_explain(project: Project, options: argparse.Namespace) -> int:
    """Print cause and command of each failure that a text shows; 1 if it shows none.

    Raises:
        StopError: there is no text, it cannot be read, or no failure fits it.
    """
    text = read_text_of(options.file)
    root = str(project.root)
    known = {**everywhere(project), "better": root.replace("%", "-")}
    found = explanations(text, known)
    if not found:
        raise StopError(
            "No failure that this project knows fits this text. "
            "The doctor looks for causes on this machine and in the project.",
            f"{me()} doctor",
        )
    here, kind = [*hosts()], engine_kind(text)
    commands = [best_of(one.commands, kind, here) for one in found]
    print("\n\n".join(map(as_text, found, commands)))
    if any(word in run for one, run in zip(found, commands) for word in one.unknown):
        print("\nReplace words in capitals: the text does not say what they are.")
    return 0


def as_text(one: Explanation, command: str) -> str:
    """An explanation for people."""
    line = one.line if len(one.line) <= LINE else f"{one.line[:LINE]}..."
    lines = [one.name, *wrapped(one.cause)]
    lines += wrapped(f"Seen: {line}") if line and line != one.cause else []
    return "\n".join([*lines, f"  Run: {command}"])


# ------------------------------------------------------------------------------ reading the text


def read_text_of(name: str | None) -> str:
    """The end of the text in a file, or on standard input.

    Raises:
        StopError: it is missing, empty or no text.
    """
    if name is None or name == "-":
        if sys.stdin.isatty():
            print("Paste the text, then press Enter and Ctrl-D.", file=sys.stderr)
        return as_words(*last_of(sys.stdin.buffer), "what was handed in")
    path = called_from() / name
    if path.is_dir():
        raise refused(f"{name} is a folder, not a text.")
    try:
        with path.open("rb") as file:
            return as_words(*last_of(file), name)
    except FileNotFoundError:
        raise refused(f"There is no file {name}.") from None
    except OSError as error:
        raise refused(f"{name} cannot be read: {error.strerror or error}.") from error


def refused(sentence: str) -> StopError:
    """A text that cannot be explained."""
    return StopError(sentence, f"{me()} explain --help", name=USAGE)


def last_of(file: BinaryIO) -> tuple[bytes, bytes, bool]:
    """The first bytes of a file or a pipe, its last megabyte, and whether there is more."""
    start = file.read(CHUNK)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        size = os.fstat(file.fileno()).st_size
        if size > MOST:
            file.seek(size - MOST)
            return start, file.read(MOST), True
        return start, start + file.read(), False
    chunk, end, cut = start, start, False
    while len(chunk) == CHUNK:  # else it has ended; a terminal would wait for another Ctrl-D
        chunk = file.read(CHUNK)
        end += chunk
        if len(end) > 2 * MOST:
            end, cut = end[-MOST:], True
    return start, end[-MOST:], cut or len(end) > MOST


def as_words(start: bytes, end: bytes, cut: bool, name: str) -> str:
    """The text of the last bytes of a file.

    Raises:
        StopError: it is empty or no text.
    """
    coding = next((coding for mark, coding in MARKS if start.startswith(mark)), "")
    if not coding and b"\0" in start + end:
        raise refused(f"There is no text in {name}: it is binary.")
    text = end.decode(coding or "utf-8", "replace")
    if not text.strip("\ufeff \t\r\n"):
        raise refused(f"There is no text in {name}.")
    if cut:
        print(one_line(f"Only the last megabyte of {name} is read."), file=sys.stderr)
    return text
