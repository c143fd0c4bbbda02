"""Words of commands in docs/ that the programs do not know: verbs, options, questions."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "template" / "docker-amd64"
if str(DOCKER) not in sys.path:
    sys.path.insert(0, str(DOCKER))
    sys.dont_write_bytecode = True  # nothing is written beside what projects get

from hooks.matcher.command import _parser as match_parser  # noqa: E402  see above
from host.command import GROUPS, parser_of  # noqa: E402

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

# A call ends with its line, at a comment, at what the shell takes, or before words in a column.
CALL = r"(?:^|[\s/]){0} (\S.*?)(?=\s*(?:$|&&|\||;|[ \t]#|[ \t]{{2,}}|\.\.\.))"
TEMPLATE = re.compile(CALL.format(r"template\.sh"), re.MULTILINE)
MATCH = re.compile(CALL.format(r"hearth match"), re.MULTILINE)
DATA = re.compile(r"--data\s+['\"]?([a-z_]+)=")


class Options(NamedTuple):
    """What a command takes: its options, whether each has a value, and whether commands follow."""

    has_value: dict[str, bool]
    takes_command: bool


def options_of(*parsers: argparse.ArgumentParser) -> Options:
    """The options of all parsers of a name: with pip and with conda, `add` has others."""
    actions = [action for parser in parsers for action in parser._actions]
    values = {word: action.nargs != 0 for action in actions for word in action.option_strings}
    return Options(values, any(action.nargs == "..." for action in actions))


@cache
def verbs() -> dict[str, Options]:
    """Each verb of template.sh with its options."""
    every = [verb for _, group in GROUPS for verb in group]
    return {
        one.name: options_of(*(parser_of(verb) for verb in every if verb.name == one.name))
        for one in every
    }


@cache
def questions() -> set[str]:
    """The names that --data knows."""
    settings = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
    return {name for name in settings if not name.startswith("_")}


def code_of(text: str) -> Iterator[tuple[int, str]]:
    """Each piece of code of a page, with the line in which it begins."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        line = token.map[0] + 1 if token.map else 0
        if token.type in ("code_block", "fence"):
            yield from enumerate(token.content.splitlines(), line + (token.type == "fence"))
        for child in token.children or ():
            if child.type == "code_inline":
                yield line, child.content


def unknown_options(call: str, words: list[str], known: Options) -> Iterator[str]:
    """A sentence for each option of a call that its command does not have."""
    rest = iter(words)
    for word in rest:
        if word == "--" or (known.takes_command and not word.startswith("-")):
            return  # what follows are words of another command
        name, equals, _ = word.partition("=")
        if not re.fullmatch(r"--?[a-z][a-z-]*", name, re.IGNORECASE) or name in ("-h", "--help"):
            continue
        if name not in known.has_value:
            yield f"{call} has no option {name}; see {call} --help."
        elif known.has_value[name] and not equals:
            next(rest, None)


def unknown_in(code: str) -> Iterator[str]:
    """A sentence for each verb, option or question in a piece of code that does not exist."""
    for call in TEMPLATE.findall(code):
        verb, *words = call.split()
        if verb in verbs():
            yield from unknown_options(f"template.sh {verb}", words, verbs()[verb])
        elif re.fullmatch(r"[a-z-]+", verb) and verb != "help":
            yield f"template.sh has no verb {verb}; see template.sh help."
    for call in MATCH.findall(code):
        yield from unknown_options(
            "hearth match", call.split(), options_of(match_parser("hearth match"))
        )
    for name in DATA.findall(code):
        if name not in questions():
            yield f"{name} is not a question; copier.yml has their names."


def unknown_words(docs: Path) -> Iterator[str]:
    """A sentence for each word of a command in the pages that the command does not know.

    README.md beside the folder counts, because the first page has its text.
    """
    for page in sorted([*docs.parent.glob("README.md"), *docs.rglob("*.md")]):
        for line, code in code_of(page.read_text(encoding="utf-8")):
            for problem in unknown_in(code):
                yield f"{page.relative_to(docs.parent)}:{line}: {problem}"
