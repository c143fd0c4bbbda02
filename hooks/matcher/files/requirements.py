"""Requirements files as pip reads them: continued lines, options, included files.

https://pip.pypa.io/en/stable/reference/requirements-file-format/
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ..hosts import BadInputError
from . import conda_specs
from .found import ADDRESS, ALL, Asked, Line, index_name, pip_name, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .found import Open, Project

_COMMENT = re.compile(r"(^|\s+)#.*$")
_INCLUDE = re.compile(r"(-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?<=-[rc])(?=\S))(\S.*)")
_ADDRESS = re.compile(
    r"(-i|--index-url|--pypi-url|--extra-index-url|-f|--find-links)"
    r"(?:\s*=\s*|\s+|(?<=-[if])(?=\S))(\S+)"
)
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*"
    r"(?P<spec>\(?[^;@]*?\)?)\s*(?:@\s*(?P<url>[^\s;]+)\s*)?(?:;\s*(?P<marker>.*))?"
)
_WHEEL = re.compile(r"(?P<name>[A-Za-z0-9_.]+)-(?P<version>[0-9][^-/]*)-[^/]*\.whl")
_RANGE = re.compile(r"(?:\s*(?:===|==|~=|!=|<=|>=|<|>)\s*[^\s,<>=!~]+\s*,?)*")
# `conda list --export` and hands that know conda: name=1.0, name=1.0=build
_CONDA_LINE = re.compile(r"([A-Za-z0-9_][\w.-]*)=([\w.*]+)(?:=[^\s=]+)?")


MOST_CHARACTERS = 4_000  # of a requirement without its hashes
# A line of `conda list --export`, whose third part is the build.
_CONDA_BUILD = re.compile(r"[A-Za-z0-9_][\w.-]*=[\w.*!]+=[^=\s]+")


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines with their numbers: joined, without comments, as pip does it.

    Projects have the same in image/intake/lists.py, which an installed command cannot import.
    """
    number, kept = 0, ""
    for count, line in enumerate(text.splitlines(), 1):
        is_comment = _COMMENT.match(line) is not None
        number = number or count
        if line.endswith("\\") and not is_comment:
            kept += line.rstrip("\\")
            continue
        if bare := _COMMENT.sub("", kept + (f" {line}" if is_comment else line)).strip():
            yield number, bare
        number, kept = 0, ""
    if bare := _COMMENT.sub("", kept).strip():
        yield number, bare


def read(project: Project, text: str, name: str, open_file: Open) -> None:
    """Add what a requirements file and those that it includes ask for.

    Raises:
        BadInputError: a file cannot be read, includes itself, or has a line that is none of pip's.
    """
    _read(project, text, (name,), open_file, limit=False)


def _read(
    project: Project, text: str, path: tuple[str, ...], open_file: Open, *, limit: bool
) -> None:
    for number, line in logical_lines(text):
        add(project, Line(path[-1], number, line), open_file, path=path, limit=limit)


def add(
    project: Project,
    line: Line,
    open_file: Open,
    *,
    path: tuple[str, ...] = (),
    limit: bool = False,
) -> None:
    """Add what one line asks for.

    Raises:
        BadInputError: see `read`.
    """
    text = line.text
    if include := _INCLUDE.fullmatch(text):
        is_limit = limit or include[1] in {"-c", "--constraint"}
        _include(project, line, include[2].strip("'\" "), open_file, path, limit=is_limit)
    elif address := _ADDRESS.match(text):
        _index(project, address[1], address[2].strip("'\""))
    elif _CONDA_BUILD.fullmatch(text):
        conda_specs.add(project, line)
    elif not text.startswith("-"):
        found = requirement(line)
        if found:
            (project.limits if limit else project.asked).append(found)
    elif editable := re.match(r"(?:-e|--editable)[\s=]+(\S+)", text):
        project.notes.append(f"{shown(editable[1])} is not read: {line.file}, line {line.number}")


def _include(
    project: Project,
    line: Line,
    target: str,
    open_file: Open,
    path: tuple[str, ...],
    *,
    limit: bool,
) -> None:
    if "://" in target:
        project.notes.append(f"{shown(target)} is not read, as it is not on this machine")
        return
    name = posixpath.normpath(
        posixpath.join(posixpath.dirname(line.file), target.replace("\\", "/"))
    )
    if name in path:
        raise BadInputError(f"{name} includes itself: {' -> '.join([*path, name])}")
    if len(path) > 20:  # noqa: PLR2004  (no project nests as deep)
        raise BadInputError(f"{path[0]} includes files in more than 20 levels")
    try:
        text = open_file(name)
    except BadInputError as error:
        raise BadInputError(f"{line}: {error}") from None
    _read(project, text, (*(path or (line.file,)), name), open_file, limit=limit)


def _index(project: Project, option: str, url: str) -> None:
    found = index_name(url)
    if option in {"-f", "--find-links"} and "pytorch.org" in url and found in {None, ALL}:
        project.links = True
        return
    if option in {"-i", "--index-url", "--pypi-url"}:
        project.index = found
    elif found and found not in project.extra:
        project.extra.append(found)


def _unquoted(text: str) -> str:
    """A text without quotes that are around the whole of it."""
    return text[1:-1] if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0] else text


def requirement(line: Line) -> Asked | None:
    """One requirement; None where it is a path or an address of something else than a wheel.

    Raises:
        BadInputError: it is no requirement.
    """
    bare = _unquoted(re.split(r"\s(?=--?[a-zA-Z])", line.text)[0].strip())
    if len(bare) > MOST_CHARACTERS:
        raise BadInputError(f"{line} is too long for a requirement")
    if wheel := _WHEEL.search(unquote(bare).split("#")[0].split(" ;")[0]):
        return _of_wheel(line, wheel, bare)
    if re.match(r"[\w+]+://|git\+|\.{0,2}[\\/]|file:|[A-Za-z]:\\", bare) or "${" in bare:
        return None
    if conda := _CONDA_LINE.fullmatch(bare):
        return Asked(pip_name(conda[1]), f"=={conda[2]}", line)
    match = _REQUIREMENT.fullmatch(bare)
    if match is None or not _RANGE.fullmatch(match["spec"].strip("() ")):
        if "/" in bare or bare in {".", ".."} or bare.endswith((".whl", ".zip", ".gz")):
            return None
        raise BadInputError(f"{line} is not a requirement of pip")
    return Asked(
        pip_name(match["name"]),
        match["spec"].strip("() "),
        line,
        (match["marker"] or "").strip(),
        variant=ADDRESS if match["url"] else None,
    )


def _of_wheel(line: Line, wheel: re.Match[str], bare: str) -> Asked:
    """A requirement by the name of its wheel, which says version and variant."""
    _, _, marker = bare.partition(" ;")
    variant = index_name(bare)
    return Asked(
        pip_name(wheel["name"]), f"=={wheel['version']}", line, marker.strip(), variant=variant
    )
