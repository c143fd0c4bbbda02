"""Versions, ranges and markers of dependency files, as far as a list of releases needs them.

A range of pip (PEP 440), poetry or conda is a text that `fits` compares with a release. Markers
(PEP 508) are evaluated for Linux and a Python.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..hosts import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_BEFORE = re.compile(r"([0-9]+(?:\.[0-9]+)*)[._-]?(?:a|b|c|rc|alpha|beta|pre|dev)\.?[0-9.devrc]*")
_CLAUSE = re.compile(r"\s*(===|==|~=|!=|<=|>=|<|>|=|\^|~)?\s*([^\s,|<>=!~^]+)\s*")
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'[^']*'|\"[^\"]*\")|(?P<sign>===|==|~=|!=|<=|>=|<|>|\(|\))"
    r"|(?P<word>not\s+in\b|[A-Za-z_][\w.]*))"
)
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
LINUX = {
    "os_name": "posix",
    "sys_platform": "linux",
    "sys.platform": "linux",
    "platform_system": "Linux",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "extra": "",
}


def padded(version: str, length: int = 4) -> tuple[int, ...]:
    """The numbers of a plain version, filled up with zeros: 2.2 and 2.2.0 are one version."""
    parts = tuple(int(part) for part in version.split("."))
    return parts + (0,) * (length - len(parts))


def _starts(version: str, prefix: str) -> bool:
    return padded(version)[: prefix.count(".") + 1] == padded(prefix, 0)


def _upper(sign: str, version: str) -> tuple[int, ...]:
    """Where `~=`, `~` and `^` end: the first version that is out."""
    parts = list(padded(version, 0))
    if sign == "^":
        at = next((index for index, part in enumerate(parts) if part), len(parts) - 1)
    else:
        at = min(1, len(parts) - 1) if sign == "~" else max(len(parts) - 2, 0)
    return padded(".".join(map(str, [*parts[:at], parts[at] + 1])))


def _clause(sign: str, wanted: str, version: str, *, conda: bool) -> bool:
    """Whether a release fits one clause.

    Raises:
        BadInputError: the clause is not understood.
    """
    bare = wanted.partition("+")[0]
    star = bare.endswith("*")
    bare = bare.removesuffix("*").rstrip(".")
    if not bare:
        return True
    if not PLAIN.fullmatch(bare):
        if sign in {"", "=", "==", "===", "!="}:
            return sign == "!="  # a nightly or a candidate: no release is it
        match = _BEFORE.fullmatch(bare)
        if match is None:
            raise BadInputError(f"{wanted!r} is not a version")
        # A candidate is older than its release.
        bare, sign = match[1], {">": ">=", "<=": "<"}.get(sign, sign)
    have, want = padded(version), padded(bare)
    if sign in {"", "=", "==", "===", "!="}:
        fuzzy = star or (conda and sign == "=")
        same = _starts(version, bare) if fuzzy else have == want
        return same != (sign == "!=")
    if sign in {"~=", "~", "^"}:
        return want <= have < _upper(sign, bare)
    return {"<": have < want, "<=": have <= want, ">": have > want, ">=": have >= want}[sign]


def fits(spec: str, version: str, *, conda: bool = False) -> bool:
    """Whether a plain version such as "2.5.1" is in a range such as ">=2.1,<2.6".

    Args:
        spec: clauses with commas, alternatives with |; "" is any version.
        version: numbers and dots.
        conda: read "=2.5" as any 2.5, as conda does.

    Raises:
        BadInputError: the range is not understood.
    """
    for alternative in spec.replace("||", "|").split("|"):
        clauses = [text for text in re.split(r",|(?<=[\w*])\s+(?=[<>=!~^])", alternative) if text]
        found = [_CLAUSE.fullmatch(text) for text in clauses if text.strip(" *")]
        if not all(found):
            raise BadInputError(f"{spec.strip()!r} is not a range of versions")
        if all(_clause(m[1] or "", m[2], version, conda=conda) for m in found if m):
            return True
    return False


def exact(spec: str) -> str | None:
    """The one version that a range names, with what follows a +, None where it is a range."""
    match = re.fullmatch(r"\s*(?:===?|=)?\s*([0-9][\w.+!-]*)\s*", spec)
    return match[1] if match else None


def local(spec: str) -> str | None:
    """The local part that a pin asks for: "cu121" of "==2.5.1+cu121"."""
    match = re.search(r"\+([A-Za-z0-9.]+)", spec)
    return match[1].lower() if match else None


class _Marker:
    """Evaluates one marker by recursive descent; an unknown name compares as true."""

    def __init__(self, text: str, values: Mapping[str, str]) -> None:
        self.tokens = self._tokens(text)
        self.values, self.at, self.used = values, 0, set[str]()

    @staticmethod
    def _tokens(text: str) -> list[str]:
        found, at = [], 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise BadInputError(f"{text!r} is not a marker")
            found.append(" ".join(match[0].split()))
            at = match.end()
        return found

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else ""

    def either(self, depth: int = 0) -> bool:
        result = self.both(depth)
        while self.peek() == "or":
            self.take()
            result = self.both(depth) or result
        return result

    def both(self, depth: int) -> bool:
        result = self.one(depth)
        while self.peek() == "and":
            self.take()
            result = self.one(depth) and result
        return result

    def one(self, depth: int) -> bool:
        if self.peek() == "(" and depth < 50:  # noqa: PLR2004  (brackets deeper than any file's)
            self.take()
            result = self.either(depth + 1)
            if self.take() != ")":
                raise BadInputError(f"{' '.join(self.tokens)!r} is not a marker")
            return result
        return self.compared(self.take(), self.take(), self.take())

    def compared(self, left: str, sign: str, right: str) -> bool:
        if not right or sign in {"(", ")", "and", "or"}:
            raise BadInputError(f"{' '.join(self.tokens)!r} is not a marker")
        if left[0] in "'\"":
            left, right, sign = right, left, _FLIPPED.get(sign, sign)
            if sign in {"in", "not in"}:
                return (right.strip("'\"") in self.values.get(left, "")) == (sign == "in")
        self.used.add(left)
        have, want = self.values.get(left), right.strip("'\"")
        if have is None:
            return True
        if sign in {"in", "not in"}:
            return (have in want) == (sign == "in")
        if left.startswith("python"):
            return fits(f"{sign}{want}", have)
        return {"==": have == want, "===": have == want, "!=": have != want}.get(sign, True)


def holds(marker: str, python: str, arch: str = "x86_64") -> tuple[bool, bool]:
    """Whether a marker holds on Linux, and whether that depends on Python.

    Args:
        marker: such as `platform_system == "Linux" and python_version >= "3.9"`; "" always holds.
        python: such as 3.12.
        arch: x86_64 or aarch64.

    Raises:
        BadInputError: it is not a marker.
    """
    if not marker.strip():
        return True, False
    values = {
        **LINUX,
        "python_version": python,
        "python_full_version": f"{python}.99" if python.count(".") == 1 else python,
        "platform_machine": arch,
    }
    reader = _Marker(marker, values)
    result = reader.either()
    if reader.at < len(reader.tokens):
        raise BadInputError(f"{marker!r} is not a marker")
    return result, any(name.startswith("python") for name in reader.used)
