"""What uv reads and says: a pyproject.toml with requirements, and why it could not lock them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from intake.names import REQUIREMENT, pip_name
from intake.text import without_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

NAME = "project-requirements"
ADDRESSES = ("git", "url")  # kinds of sources that may be gone
CONFLICT = "Because"  # how uv begins, where versions do not fit together
MOST_LETTERS = 300  # of a reason


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


def addresses(lines: Iterable[str], sources: Mapping[str, Any]) -> dict[str, str]:
    """The packages that come from addresses: name to address.

    Args:
        lines: requirements.
        sources: [tool.uv.sources], by normalised names.
    """
    found = {}
    for line in lines:
        name, parsed = pip_name(line), REQUIREMENT.fullmatch(line.strip())
        entries = sources.get(name, [])
        for entry in entries if isinstance(entries, list) else [entries]:
            for key in ADDRESSES:
                if key in entry:
                    found[name] = str(entry[key])
        rest = (parsed["rest"] or "") if parsed else ""
        if rest.startswith("@"):
            found[name] = rest[1:].split()[0]  # a marker may follow
    return found


def reason_in(said: str) -> str:
    """Why uv could not lock, in one clause: what no version fits, or the first and last cause."""
    if because := re.search(r"(?s)\bBecause (.*)", said):
        text = " ".join(because[1].partition(", we can conclude that")[0].split())
        # Who asks for it is the line itself, which is shown.
        text = re.sub(
            r"^(there is no version of (\S+)) and your project.* depends on \2$", r"\1", text
        )
    else:
        error = re.split(r"(?m)^\s*hint:", said.partition("error: ")[2])[0]
        lines = [line.strip() for line in error.splitlines()]
        lines = [line for line in lines if line and not line.startswith("---")]
        causes = [re.sub(r"^(cause|Caused by|fatal): ", "", line) for line in lines]
        text = ": ".join(dict.fromkeys([*causes[:1], *causes[-1:]]))
    text = without_secret(" ".join(text.split())).rstrip(".")
    return f"{text[:MOST_LETTERS]}..." if len(text) > MOST_LETTERS else text


def unreachable(names: AbstractSet[str], said: Callable[[AbstractSet[str]], str]) -> dict[str, str]:
    """The packages from addresses that cannot be had, with the reasons.

    One that contradicts other packages is not among them.

    Args:
        names: the packages from addresses.
        said: what uv says where it cannot lock without some of them, "" where it can.
    """
    if not names or not said(set()) or said(names):
        return {}  # all can be had, or there is another reason
    tried = {name: said(names - {name}) for name in sorted(names)}
    return {
        name: reason_in(why) or "uv cannot lock it"
        for name, why in tried.items()
        if why and CONFLICT not in why
    }
