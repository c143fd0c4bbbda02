"""Makes computed.jinja from copier.yml: which questions decide each computed value.

python -m hooks.generate.make_computed            write hooks/generate/computed.jinja
python -m hooks.generate.make_computed --check    say whether it is fresh (exit status 1 if not)

Copier takes a computed value (`when: false`) from --data too, records it nowhere, and renders it
unchecked into Dockerfile and compose.yaml. So each has a validator that refuses it: Copier calls a
validator of theirs for --data alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, meta

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("computed.jinja")
HEAD = """\
{# Made by python -m hooks.generate.make_computed: what decides each computed value. #}
{%- macro computed(name) -%}
{%- set deciding = {
"""
TAIL = """\
}[name] -%}
This value is computed{% if deciding %} from other answers. Give those: {{ deciding }}.
{%- else %}, and no answer changes it.
{%- endif %}
{%- endmacro -%}
"""


def questions() -> dict[str, dict[str, Any]]:
    """The questions and computed values of copier.yml, in their order."""
    rows: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))
    return {name: row for name, row in rows.items() if not name.startswith("_")}


def computed(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of the values that are never asked."""
    return [name for name, row in rows.items() if row.get("when") is False]


def validator(name: str) -> str:
    """The validator of a computed value in copier.yml."""
    return (
        "{% from 'hooks/generate/computed.jinja' import computed %}{{ computed('" + name + "') }}"
    )


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


def text() -> str:
    """What computed.jinja has to be."""
    rows = questions()
    lines = [f"  '{name}': '{', '.join(deciding(name, rows))}',\n" for name in computed(rows)]
    return f"{HEAD}{''.join(lines)}{TAIL}"


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    if arguments == ["--check"]:
        return int(FILE.read_text("utf-8") != text())
    FILE.write_text(text(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
