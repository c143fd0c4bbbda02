"""Makes the lists of keys in docs/ from .env.example.jinja, rendered for several answers.

python -m hooks.generate.make_keys            write them
python -m hooks.generate.make_keys --check    say whether they are fresh (exit status 1 if not)

docs/keys.md has all keys. Another page names, in the line before a list, the first key below each
comment that it shows.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import Environment, meta

from hooks.compat.made_files import write_or_check

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "template" / "docker-amd64"
if str(DOCKER) not in sys.path:
    sys.path.insert(0, str(DOCKER))
    sys.dont_write_bytecode = True  # nothing is written beside what projects get

from host.env_file import FILLED  # noqa: E402  see above

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MODULE = "hooks.generate.make_keys"
EXAMPLE = DOCKER / ".env.example.jinja"
DOCS = ROOT / "docs" / "keys.md"
# What is between these lines is made here; without names it is the list of all keys.
MADE = re.compile(
    rf"(?s)(<!-- Made by `python -m {re.escape(MODULE)}`(?:: ([A-Z0-9_, ]+))?\. -->\n)"
    r".*?(<!-- End of what it makes\. -->)"
)
KEY = re.compile(r"(?m)^(# )?([A-Z][A-Z0-9_]*)=(.*)$")
HEAD = "| key | value | in a project |\n|---|---|---|"
# The answers beside these with which a project has other keys, and their name on the page.
USUAL = {"service": "simple", "accelerator": "cpu"}
SOURCE = {"service": "train", "accelerator": "cuda", "pytorch_build": "source", "magma": True}
ANSWERS: dict[str, Mapping[str, object]] = {
    "": {},
    "`accelerator: cuda`": {"accelerator": "cuda"},
    "`package_manager: conda`": {"package_manager": "conda"},
    "a base image that has CUDA": {"service": "train", "accelerator": "cuda"},
    "`service: ngc` or `hub`": {"service": "ngc", "accelerator": "cuda"},
    "`pytorch_build: source`": {**SOURCE, "magma": False},
    "`magma: yes`": SOURCE,
    "`extras: ssh`": {"extras": ["ssh"]},
    "`extras: airflow`": {"extras": ["airflow"]},
    "`clusters`": {"clusters": ["skypilot"]},
    "`clusters: slurm`": {"clusters": ["slurm"]},
    "`clusters: kubernetes`": {"clusters": ["kubernetes"]},
    "`clusters: runai`": {"clusters": ["runai"]},
}


class Row(NamedTuple):
    """A key as one project has it.

    Attributes:
        key: its name.
        value: what the file gives it.
        active: whether it is set, and not only shown behind a #.
        block: the first key below the comment that is about it.
        comment: that comment.
    """

    key: str
    value: str
    active: bool
    block: str
    comment: str


@cache
def known_keys() -> set[str]:
    """The keys that .env.example can have."""
    return {key for _, key, _ in KEY.findall(EXAMPLE.read_text(encoding="utf-8"))}


def rows_of(text: str) -> Iterator[Row]:
    """The keys of an .env.example, in their order."""
    comment: list[str] = []
    block = ""
    for line in text.splitlines():
        found = KEY.fullmatch(line)
        if found:
            off, key, value = found.groups()
            block = block or key
            yield Row(key, value, not off, block, " ".join(comment))
            continue
        if block or not line:
            block, comment = "", []
        if line:
            comment.append(line.removeprefix("# "))


def values_read() -> set[str]:
    """The answers and computed values that .env.example.jinja reads."""
    syntax = Environment(autoescape=False).parse(EXAMPLE.read_text(encoding="utf-8"))  # noqa: S701
    return meta.find_undeclared_variables(syntax)


@cache
def examples() -> dict[str, list[Row]]:
    """The keys of a project by each of the answers."""
    # Only here: who wants the names alone needs no questions.
    from website.python.questions import Questionnaire  # noqa: PLC0415

    questions = Questionnaire(computed=values_read())
    made = {}
    for name, answers in ANSWERS.items():
        _, known = questions.answer({**USUAL, **answers})
        made[name] = [*rows_of(questions.render(EXAMPLE, known))]
    return made


def value_of(row: Row) -> str:
    """What a key has before somebody changes it."""
    if row.key in FILLED:
        return "that of this machine"
    value = f"`{row.value}`" if row.value else ""
    if row.active:
        return value or "empty"
    return f"off, such as {value}" if value else "off"


def condition(key: str, made: Mapping[str, list[Row]]) -> str:
    """The answers with which a project has a key, "" if every project has it."""
    having = [name for name, rows in made.items() if key in {row.key for row in rows}]
    if having[0]:
        return f"with {having[0]}"
    lacking = [name for name in made if name not in having]
    return f"not with {', '.join(lacking)}" if lacking else ""


def key_list(names: str, made: dict[str, list[Row]]) -> str:
    """Keys of projects: the comment of some, and a table of them.

    Args:
        names: the first key below each comment, with commas; "" for all.
        made: the keys by answers, of `examples`.

    Raises:
        KeyError: a name is not the first key below a comment.
    """
    first = {row.key: row for rows in reversed(made.values()) for row in rows}
    # In the order of the template, which has those of all answers.
    order = [key for _, key, _ in KEY.findall(EXAMPLE.read_text(encoding="utf-8"))]
    blocks: dict[str, list[Row]] = {}
    for key in order:
        blocks.setdefault(first[key].block, []).append(first[key])
    lines: list[str] = []
    for block, rows in [(one, blocks[one]) for one in names.split(", ") if one] or blocks.items():
        lines += ["", first[block].comment.replace("<", "&lt;"), "", HEAD]
        lines += [f"| `{one.key}` | {value_of(one)} | {condition(one.key, made)} |" for one in rows]
    return "\n".join(lines)


def pages() -> list[Path]:
    """The pages with lists of keys."""
    return [
        page for page in sorted(DOCS.parent.glob("*.md")) if MADE.search(page.read_text("utf-8"))
    ]


def text_of(page: Path) -> str:
    """The text that a page must have."""
    made = examples()

    def list_of(found: re.Match[str]) -> str:
        return f"{found[1]}{key_list(found[2] or '', made)}\n\n{found[3]}"

    return MADE.sub(list_of, page.read_text(encoding="utf-8"))


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check compare them with the template."""
    return write_or_check(MODULE, {page: text_of(page) for page in pages()}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
