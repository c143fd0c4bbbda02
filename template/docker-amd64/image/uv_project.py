"""The text of a pyproject.toml that lists requirements for uv, with their sources and indexes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAME = "project-requirements"


def toml_value(value: object) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {toml_value(one)}' for key, one in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)


def toml_list(key: str, lines: Iterable[str]) -> str:
    """A list of strings, one a line."""
    inside = "".join(f"    {toml_value(line)},\n" for line in lines)
    return f"{key} = [\n{inside}]\n" if inside else f"{key} = []\n"


def project_tables(requires: Iterable[str], dev: Iterable[str] | None = None) -> str:
    """[project] with these requirements, and `dev` as its only extra."""
    text = f'[project]\nname = "{NAME}"\nversion = "0"\n'
    text += toml_list("dependencies", requires)
    if dev is not None:
        text += "\n[project.optional-dependencies]\n" + toml_list("dev", dev)
    return text


def uv_tables(
    sources: Mapping[str, object],
    indexes: Sequence[Mapping[str, object]],
    others: Mapping[str, Any] | None = None,
) -> str:
    """[tool.uv] with where the requirements come from, and further keys of it."""
    lists = "".join(
        toml_list(key, value)
        if isinstance(value, list) and all(isinstance(one, str) for one in value)
        else f"{key} = {toml_value(value)}\n"
        for key, value in (others or {}).items()
        if value
    )
    parts = [f"[tool.uv]\npackage = false\n{lists}"]
    for index in indexes:
        pairs = "".join(f"{key} = {toml_value(value)}\n" for key, value in index.items())
        parts.append(f"[[tool.uv.index]]\n{pairs}")
    if sources:
        pairs = "".join(f"{key} = {toml_value(one)}\n" for key, one in sorted(sources.items()))
        parts.append(f"[tool.uv.sources]\n{pairs}")
    return "\n".join(parts)
