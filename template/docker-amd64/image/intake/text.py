"""Files as text, and addresses without passwords."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The order of pip's own reader: UTF-32 begins like UTF-16.
# https://github.com/pypa/pip/blob/main/src/pip/_internal/req/req_file.py
BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
# The name and password of an address end at the last @ before its path. A token of conda is a part
# of the path; PyPI's old layout has folders named by a letter: source/t/tornado.
LOGIN = r"(\w+://)([^/\s\"<>]+)@"
OF_CONDA = r"(?<!/source)/t/[^/\s\"]+"
SECRET = re.compile(f"{LOGIN}|{OF_CONDA}")
# Stands for a secret that the file does not have: ${NAME}, $NAME, <name>, ****.
STAND_IN = re.compile(r"\$\{?\w+\}?|<\w+>|\*+|")
MOST_BYTES = 2_000_000  # no list of packages is longer


class FileError(Exception):
    """Why a file cannot be read or edited: one sentence."""


def say(text: str) -> None:
    """Print for the user: stdout is for programs.

    Commands name template.sh as the user called it, if that is known.
    """
    text = text.replace("./template.sh", os.environ.get("TEMPLATE_SH") or "./template.sh")
    print(text, file=sys.stderr, flush=True)


def exit_status(action: Callable[[], object], failure: type[Exception]) -> int:
    """What a program ends with: 0, or 1 after a failure of this kind, which is printed."""
    try:
        action()
    except failure as error:
        say(str(error))
        return 1
    return 0


def without_secret(url: str) -> str:
    """A URL without a token or password; `git` is the name by which everybody may read."""
    return SECRET.sub(
        lambda match: (
            match[0] if re.fullmatch(r"\w*ssh://\w+@|https?://git@", match[0]) else match[1] or ""
        ),
        url,
    )


def has_secret(text: str, *, tokens: bool = True) -> bool:
    """Whether a text has an address with a password or token, which is not only stood for.

    `tokens`: also those of conda anywhere in a path, not only where it begins.
    """
    if re.search(OF_CONDA if tokens else r"://[^/\s]+/t/[^/\s]", text):
        return True
    for match in re.finditer(r"://([^/\s\"<>]+)@", text):  # from a literal on: locks are long
        name, _, password = match[1].partition(":")
        scheme = re.search(r"\w*\Z", text[max(0, match.start() - 20) : match.start()])
        address = f"{scheme[0] if scheme else ''}{match[0]}"
        if without_secret(address) != address and not STAND_IN.fullmatch(password or name):
            return True
    return False


def decoded(content: bytes) -> str:
    """A file's text by its byte order mark, its coding comment or as UTF-8, as pip reads it.

    What is none of these is read as Latin-1, in which every byte is a character: an old accent in a
    comment must not stop the packages beside it.
    """
    for mark, encoding in BOMS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    # PowerShell's UTF-16 without a mark: every other byte is 0. It would pass for UTF-8.
    if content[1::2].count(0) > len(content) // 4:
        return content.decode("utf-16-le", "replace")
    named = [match for line in content.split(b"\n")[:2] if (match := CODING.match(line))]
    for encoding in [*(match[1].decode("ascii") for match in named), "utf-8"]:
        with contextlib.suppress(LookupError, UnicodeDecodeError):
            return content.decode(encoding)
    return content.decode("latin-1")


def load(path: Path, name: str = "") -> str:
    """The text of a file; `name` is what messages call it.

    Raises:
        FileError: it cannot be read, or is too long for a list.
    """
    name = name or path.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"{name} cannot be read: {error.strerror}.") from None
    if len(content) > MOST_BYTES:
        raise FileError(f"{name} is too long for a list of packages.")
    return decoded(content)
