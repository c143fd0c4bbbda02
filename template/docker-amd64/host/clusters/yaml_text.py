"""YAML for people: block style with comments, in which every text is read back as it is.

A comment is at the end of its line where both are short, and above it otherwise.

A text is left plain where no reader of YAML 1.1 or 1.2 takes it for anything else, and is in double
quotes otherwise: https://yaml.org/spec/1.2.2/#733-plain-style
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple

WIDTH = 114  # of what is written in one line if it fits
# Texts that may stand without quotes: words, paths, names of images, and quantities such as 16Gi.
PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+-]*(:[A-Za-z0-9_./@+-]+)*|[1-9][0-9]*(Mi|Gi)")
WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # of YAML 1.1, in any case
# Between double quotes: what ends a line or cannot be seen, and what YAML does not allow.
UNSAFE = re.compile(
    '[\x00-\x1f\\\\"\x7f-\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000'
    "\ufe00-\ufe0f\ufeff\ufff0-\uffff\U000e0000-\U000e01ef]"
)
ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}


class Note(NamedTuple):
    """A value with its comment.

    Attributes:
        comment: its lines, without #.
        value: of a key or of an item of a list; None leaves out the key.
    """

    comment: str
    value: Any


class Inline(Dict[str, Any]):
    """A mapping of scalars, lists, such mappings: between brackets, long ones in several lines."""


class Row(List[Any]):
    """A list of such mappings, in one line where that is short."""


class Lines(str):
    """A text of several lines, written as a block where a block can hold it."""

    __slots__ = ()


def yaml_text(value: Mapping[str, Any]) -> str:
    """A document of mappings, lists, texts, numbers, flags and notes.

    A key whose value is None is left out, and a mapping in a list needs another one.

    Raises:
        ValueError: a text is not Unicode.
    """
    return "\n".join(_mapping(value)) + "\n"


def quoted(text: str, *, inline: bool = False) -> str:
    """A text as YAML; `inline`: between brackets. Raises ValueError if it is not Unicode."""
    if PLAIN.fullmatch(text) and text.lower() not in WORDS and not (inline and ":" in text):
        return text
    text.encode("utf-8")  # half of a pair of surrogates is not a character
    return f'"{UNSAFE.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    """A character between double quotes."""
    code = ord(found[0])
    short = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004
    return ESCAPES.get(found[0]) or (short if code < 0x10000 else f"\\U{code:08x}")  # noqa: PLR2004


def _scalar(value: Any, *, inline: bool = False) -> str:
    """A text, a number or a flag."""
    if isinstance(value, str):
        return quoted(value, inline=inline)
    return json.dumps(value)


def _uncommented(value: Any) -> tuple[str, Any]:
    """The comment of a value, and the value without it."""
    return value if isinstance(value, Note) else ("", value)


def _comment(text: str) -> list[str]:
    """The lines of a comment."""
    shown = (re.sub(r"[^ -~\xa1-\ud7ff]", "?", line) for line in text.splitlines())
    return [f"# {line}".rstrip() for line in shown]


def _in_one_line(value: Any) -> str:
    """A value between brackets, or a scalar; "" for what has to have several lines."""
    if isinstance(value, (list, tuple)):
        # Several mappings are mostly read better below each other.
        is_short = len(value) == 1 or isinstance(value, Row)
        parts = [_in_one_line(one) for one in value if is_short or not isinstance(one, Mapping)]
        return f"[{', '.join(parts)}]" if all(parts) and len(parts) == len(value) else ""
    if isinstance(value, Inline) or value == {}:
        pairs = [(_scalar(key, inline=True), _in_one_line(one)) for key, one in value.items()]
        joined = ", ".join(f"{key}: {one}" for key, one in pairs)
        return (f"{{ {joined} }}" if pairs else "{}") if all(one for _, one in pairs) else ""
    return "" if isinstance(value, (Mapping, Note, Lines)) else _scalar(value, inline=True)


def _mapping(value: Mapping[str, Any]) -> list[str]:
    """The lines of a mapping."""
    lines: list[str] = []
    for key, one in value.items():
        comment, real = _uncommented(one)
        if real is not None:
            lines += _explained(comment, _entry(quoted(key), real))
    return lines


def _explained(comment: str, lines: list[str]) -> list[str]:
    """A value with its comment, which is beside it where both are one short line."""
    found = _comment(comment)
    if len(found) == len(lines) == 1 and len(lines[0]) + len(found[0]) < WIDTH:
        return [f"{lines[0]}  {found[0]}"]
    return [*found, *lines]


def _wrapped(key: str, value: Inline) -> list[str]:
    """A mapping between brackets in several lines; [] where that cannot be."""
    parts = [_in_one_line(Inline({name: one}))[2:-2] for name, one in value.items()]
    lines = [f"{key}: {{ "]
    for number, part in enumerate(parts, 1):
        text = f"{part}, " if number < len(parts) else f"{part} }}"
        if len(lines[-1]) + len(text) > WIDTH:
            lines.append("  ")
        lines[-1] += text
    fit = all(parts) and max(map(len, lines)) <= WIDTH
    return [line.rstrip() for line in lines] if fit else []


def _entry(key: str, value: Any) -> list[str]:
    """The lines of a key with its value."""
    if isinstance(value, (Mapping, list, tuple)):
        short = _in_one_line(value)
        if short and len(key) + len(short) < WIDTH:
            return [f"{key}: {short}"]
        if short and isinstance(value, Inline) and _wrapped(key, value):
            return _wrapped(key, value)
        if isinstance(value, Mapping):
            return [f"{key}:", *(f"  {line}" for line in _mapping(value))]
        return [f"{key}:", *(f"  {line}" for one in value for line in _item(one))]
    start = _start_of_block(value) if isinstance(value, Lines) else ""
    if start:
        lines = value.rstrip("\n").split("\n")
        return [f"{key}: {start}", *(f"  {line}".rstrip() for line in lines)]
    return [f"{key}: {_scalar(value)}"]


def _item(value: Any) -> list[str]:
    """The lines of an item of a list."""
    comment, value = _uncommented(value)
    short = _in_one_line(value)
    if not isinstance(value, (Mapping, list, tuple)):
        lines = [f"- {_scalar(value)}"]
    elif short and len(short) < WIDTH:
        lines = [f"- {short}"]
    elif isinstance(value, Mapping):
        lines = _mapping(value)
        above = next(at for at, line in enumerate(lines) if not line.startswith("#"))
        first, *rest = lines[above:]
        lines = [*lines[:above], f"- {first}", *(f"  {line}" for line in rest)]
    else:
        lines = ["-", *(f"  {line}" for one in value for line in _item(one))]
    return _explained(comment, lines)


def _start_of_block(text: str) -> str:
    """How the block starts that holds exactly this text; "" if none can."""
    body = text[:-1] if text.endswith("\n") else text
    plain = UNSAFE.sub("", body.replace("\n", "").replace('"', "").replace("\\", ""))
    whole = len(plain) + len(re.findall(r'[\n"\\]', body)) == len(body) and plain.isprintable()
    if not body or not whole or re.search(r" (\n|\Z)|\n\Z|\A[ \n]", body):
        return ""
    return "|" if text.endswith("\n") else "|-"
