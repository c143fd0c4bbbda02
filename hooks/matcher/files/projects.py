"""pyproject.toml, uv.lock, poetry.lock, pdm.lock, pylock.toml, Pipfile and setup.cfg."""

from __future__ import annotations

import configparser
import posixpath
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ..hosts import BadInputError
from . import requirements, toml_values
from .found import Asked, Line, index_name, pip_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .found import Open, Project


def _toml(text: str, name: str) -> dict[str, Any]:
    """The tables of a file. Raises BadInputError."""
    return toml_values.read(text, name).values


def _table(values: Any, *path: str) -> dict[str, Any]:
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else {}


def _tables(values: Any) -> list[dict[str, Any]]:
    """The tables of a value that is a list of them, or one."""
    rows = values if isinstance(values, list) else [values]
    return [row for row in rows if isinstance(row, dict)]


def _texts(values: Any) -> list[str]:
    return [text for text in values if isinstance(text, str)] if isinstance(values, list) else []


def _number(text: str, part: str) -> int:
    """The line that a text is in, 0 where it is not found as it is."""
    at = text.find(part)
    return text.count("\n", 0, at) + 1 if at >= 0 else 0


def _line(text: str, name: str, part: str) -> Line:
    return Line(name, _number(text, part), part)


# --- pyproject.toml -------------------------------------------------------------------------------


def read_pyproject(project: Project, text: str, name: str, open_file: Open) -> None:
    """Add what a pyproject.toml asks for: of [project] or of Poetry, with uv's sources.

    Where setuptools has the list in other files, those are read.

    Raises:
        BadInputError: it is no TOML, or lists nothing.
    """
    values = _toml(text, name)
    own, poetry = _table(values, "project"), _table(values, "tool", "poetry")
    if isinstance(own.get("requires-python"), str):
        project.python = own["requires-python"]
    project.kind = "uv"
    lists: list[tuple[str, list[str]]] = [("", _texts(own.get("dependencies")))]
    lists += [(key, _texts(one)) for key, one in _table(own, "optional-dependencies").items()]
    lists += [(key, _texts(one)) for key, one in _table(values, "dependency-groups").items()]
    _take_first_with_torch(project, lists, text, name)
    if not project.named("torch") and poetry:
        _read_poetry(project, poetry, text, name)
    _uv_sources(project, _table(values, "tool", "uv"))
    backend = _table(values, "tool", "uv", "pip").get("torch-backend")
    if isinstance(backend, str) and backend != "auto":
        project.index = backend
    if not own and not poetry:
        try:
            setup = open_file(posixpath.join(posixpath.dirname(name), "setup.cfg"))
        except BadInputError:
            reason = "it has neither [project] nor [tool.poetry]"
            raise BadInputError(f"{name} lists no packages: {reason}") from None
        read_setup_cfg(project, setup, posixpath.join(posixpath.dirname(name), "setup.cfg"))
    if "dependencies" in _texts(own.get("dynamic")):
        _dynamic(project, values, name, open_file)


def _dynamic(project: Project, values: dict[str, Any], name: str, open_file: Open) -> None:
    """Read the files that setuptools takes the dependencies from."""
    listed = _table(values, "tool", "setuptools", "dynamic", "dependencies").get("file", [])
    files = [listed] if isinstance(listed, str) else _texts(listed)
    for file in files:
        inner = posixpath.normpath(posixpath.join(posixpath.dirname(name), file))
        requirements.read(project, open_file(inner), inner, open_file)
    if not files:
        project.notes.append(f"{name} has its dependencies elsewhere: give that file")


def _take_first_with_torch(
    project: Project, lists: list[tuple[str, list[str]]], text: str, name: str
) -> None:
    """Take the plain dependencies, and of the extras and groups the first that has PyTorch."""
    for group, lines in lists:
        read = [requirements.requirement(_line(text, name, line)) for line in lines]
        found = [one for one in read if one]
        has_torch = any(one.name == "torch" for one in found)
        if not group:
            project.asked += found
        elif has_torch and not project.named("torch"):
            project.asked += found
            project.notes.append(f"PyTorch is in the group {group} of {name}")


def _poetry_spec(value: Any) -> tuple[str, str, str]:
    """Range, marker and source of a dependency of Poetry; "2.1" is that version."""
    if isinstance(value, str):
        return value.strip(), "", ""
    row = value if isinstance(value, dict) else {}
    spec = row.get("version", "")
    url = row.get("url", "")
    if isinstance(url, str) and (wheel := re.search(r"/torch-([^-/]+)-", unquote(url))):
        return f"=={wheel[1]}", str(row.get("markers", "")), url
    return str(spec).strip(), str(row.get("markers", "")), str(row.get("source", ""))


def _read_poetry(project: Project, poetry: dict[str, Any], text: str, name: str) -> None:
    project.kind = "poetry"
    rows = _tables(poetry.get("source", []))
    urls = {str(row.get("name")): str(row.get("url", "")) for row in rows}
    groups = _table(poetry, "group")
    lists = [_table(poetry, "dependencies")]
    lists += [_table(groups, group, "dependencies") for group in groups]
    for listed in lists:
        for key, values in listed.items():
            for value in values if isinstance(values, list) else [values]:
                spec, marker, source = _poetry_spec(value)
                if key == "python":
                    project.python = project.python or spec
                    continue
                at = re.search(rf"(?m)^\s*[\"']?{re.escape(key)}[\"']?\s*=.*$", text)
                line = Line(
                    name,
                    text.count("\n", 0, at.start()) + 1 if at else 0,
                    at[0].strip() if at else key,
                )
                variant = index_name(urls.get(source, source))
                project.asked.append(
                    Asked(pip_name(key), spec.strip("* "), line, marker, variant=variant)
                )


def _uv_sources(project: Project, uv: dict[str, Any]) -> None:
    """The index of each package that [tool.uv.sources] names, and those for all."""
    rows = _tables(uv.get("index", []))
    urls = {str(row.get("name")): str(row.get("url", "")) for row in rows}
    for row in rows:
        found = index_name(str(row.get("url", "")))
        if row.get("default"):
            project.index = found
        elif found and not row.get("explicit"):
            project.extra.append(found)
    for url in _texts(uv.get("extra-index-url")):
        project.extra += filter(None, [index_name(url)])
    if isinstance(uv.get("index-url"), str):
        project.index = index_name(uv["index-url"])
    own = {pip_name(key): value for key, value in _table(uv, "sources").items()}
    asked: list[Asked] = []
    for one in project.asked:
        sources = _tables(own[one.name]) if one.name in own else []
        if not sources:
            asked.append(one)
        for source in sources:
            address = str(source.get("url") or urls.get(str(source.get("index")), ""))
            wheel = re.search(r"/torch-([^-/]+)-", unquote(address))
            both = [text for text in (one.marker, str(source.get("marker", ""))) if text]
            asked.append(
                one._replace(
                    spec=f"=={wheel[1]}" if wheel else one.spec,
                    variant=index_name(address) or one.variant,
                    marker=" and ".join(f"({text})" for text in both),
                )
            )
    project.asked = asked


# --- locks ----------------------------------------------------------------------------------------


def _packages(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key in ("package", "packages"):
        yield from _tables(values.get(key, []))


def _markers(row: dict[str, Any]) -> str:
    """When a package of a lock is taken; several markers are alternatives."""
    found = _texts(row.get("resolution-markers"))
    if not found:
        one = row.get("marker") or row.get("markers") or ""
        found = [one] if isinstance(one, str) and one else []
    return " or ".join(f"({text})" for text in found)


def _address(row: dict[str, Any]) -> str:
    source = row.get("source")
    if isinstance(source, dict):
        return str(source.get("registry") or source.get("url") or "")
    return str(row.get("index", ""))


def read_lock(project: Project, text: str, name: str) -> None:
    """Add what a lock in TOML has: of uv, Poetry, PDM, or a pylock.toml.

    Raises:
        BadInputError: it is no such lock.
    """
    if "[[package" not in text:
        raise BadInputError(f"{name} is not a lock: it has no packages")
    # Only these blocks are needed: a long lock is read in a tenth of the time.
    head, body = re.split(r"(?m)^(?=\[\[package)", text, maxsplit=1)
    body, *tail = re.split(r"(?m)^(?=\[metadata\])", body)
    values = _toml(head + "".join([*_blocks(body), *tail[:1]]), name)
    project.kind = "lock"
    wanted = values.get("requires-python") or _table(values, "metadata").get("python-versions")
    if isinstance(wanted, str):
        project.python = wanted
    for row in _packages(values):
        if not isinstance(row.get("name"), str) or not isinstance(row.get("version"), str):
            continue
        version = row["version"]
        pair = f'name = "{row["name"]}"\nversion = "{version}"'
        number = _number(text, pair)
        line = Line(name, number, f'name = "{row["name"]}", version = "{version}"')
        project.asked.append(
            Asked(
                pip_name(row["name"]),
                f"=={version}",
                line,
                _markers(row),
                variant=index_name(_address(row)),
            )
        )


def _blocks(text: str) -> list[str]:
    """The blocks of a lock about PyTorch and what is built for it."""
    parts = re.split(r"(?m)^(?=\[\[packages?\]\])", text)[1:]
    name = re.compile(r"(?m)^name = [\"'](torch[\w.-]*|xformers|flash[-_]attn|vllm)[\"']")
    return [part for part in parts if name.search(part)]


# --- others ---------------------------------------------------------------------------------------


def read_pipfile(project: Project, text: str, name: str) -> None:
    """Add what a Pipfile asks for.

    Raises:
        BadInputError: it is no TOML.
    """
    values = _toml(text, name)
    project.kind = "pip"
    urls = {
        str(row.get("name")): str(row.get("url", "")) for row in _tables(values.get("source", []))
    }
    version = _table(values, "requires").get("python_version")
    project.python = str(version) if version else ""
    for key, value in _table(values, "packages").items():
        row = value if isinstance(value, dict) else {"version": value}
        spec = str(row.get("version", "")).strip("* ")
        variant = index_name(urls.get(str(row.get("index")), str(row.get("file", ""))))
        project.asked.append(
            Asked(
                pip_name(key),
                spec,
                _line(text, name, key),
                str(row.get("markers", "")),
                variant=variant,
            )
        )


def read_setup_cfg(project: Project, text: str, name: str) -> None:
    """Add what the section [options] of a setup.cfg asks for.

    Raises:
        BadInputError: it is no such file.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise BadInputError(f"{name} is not a setup.cfg: {str(error).splitlines()[0]}") from None
    project.python = parser.get("options", "python_requires", fallback="")
    for part in parser.get("options", "install_requires", fallback="").splitlines():
        bare = re.sub(r"(^|\s)#.*", "", part).strip()
        found = requirements.requirement(_line(text, name, bare)) if bare else None
        if found:
            project.asked.append(found)
