"""Makes computed.jinja from copier.yml: what data.jinja has to know of the questions.

python -m hooks.generate.make_computed            write hooks/generate/computed.jinja
python -m hooks.generate.make_computed --check    say whether it is fresh (exit status 1 if not)

Copier takes a computed value (`when: false`) from --data too, records it nowhere, and renders it
unchecked into Dockerfile and compose.yaml. The same happens to an answer that was not asked for.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, meta

from hooks.compat.made_files import write_or_check

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("computed.jinja")
HEAD = "{# Made by python -m hooks.generate.make_computed, for data.jinja. #}\n"
# The condition of a question that does not hold; every value is known when all have been asked.
CONDITION = """\
{%- macro missing_condition(name) -%}
{%- set conditions = {
__ROWS__}[name] -%}
{%- for text, holds in conditions.items() if not holds -%}
{{ text if loop.first }}
{%- endfor -%}
{%- endmacro -%}
"""


def questions() -> dict[str, dict[str, Any]]:
    """The questions and computed values of copier.yml, in their order."""
    rows: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))
    return {name: row for name, row in rows.items() if not name.startswith("_")}


def computed(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of the values that are never asked."""
    return [name for name, row in rows.items() if row.get("when") is False]


def deciding(name: str, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The questions that a computed value looks at, itself or by other computed values."""
    filters = "jinja2_ansible_filters.AnsibleCoreFiltersExtension"  # as Copier has them
    parse = Environment(autoescape=True, extensions=[filters]).parse  # nothing is rendered

    def walk(value: str) -> Iterator[str]:
        for other in meta.find_undeclared_variables(parse(str(rows[value]["default"]))):
            if other in rows and rows[other].get("when") is False:
                yield from walk(other)
            else:
                yield other

    found = set(walk(name))
    return [question for question in rows if question in found]


def conditions(when: str) -> list[str]:
    """The parts of a question's `when` that must all hold."""
    found, depth = [""], 0
    for word in re.split(r"([()]| and )", when.strip("{} ")):
        depth += {"(": 1, ")": -1}.get(word, 0)
        if word == " and " and not depth:
            found.append("")
        else:
            found[-1] += word
    return found


def bare(condition: str) -> str:
    """A condition without the brackets around it."""
    return condition[1:-1] if condition[0] == "(" and condition[-1] == ")" else condition


def mapping(name: str, pairs: Mapping[str, str]) -> str:
    """A statement that gives a name to a mapping of texts."""
    return f"{{%- set {name} = {{\n{''.join(row(*pair) for pair in pairs.items())}}} -%}}\n"


def row(key: str, value: str) -> str:
    """A line of a mapping of texts."""
    return f"  '{key}': '{value}',\n"


def text() -> str:
    """What computed.jinja has to be."""
    rows = questions()
    never = computed(rows)
    asked = {name: row for name, row in rows.items() if name not in never}
    switches = [name for name, row in asked.items() if row["type"] == "bool"]
    lists = {
        name: ", ".join([*row["choices"].values()][:2])
        for name, row in asked.items()
        if row.get("multiselect")
    }
    whens = {name: conditions(row["when"]) for name, row in asked.items() if "when" in row}
    needs = "".join(
        f"  '{name}': {{{', '.join(f'{json.dumps(bare(part))}: {part}' for part in parts)}}},\n"
        for name, parts in whens.items()
    )
    return "".join(
        [
            HEAD,
            mapping("computed", {name: ", ".join(deciding(name, rows)) for name in never}),
            f"{{%- set questions = {[*asked]} -%}}\n",
            f"{{%- set switches = {switches} -%}}\n",
            mapping("lists", lists),
            CONDITION.replace("__ROWS__", needs),
        ]
    )


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    return write_or_check("hooks.generate.make_computed", {FILE: text()}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
