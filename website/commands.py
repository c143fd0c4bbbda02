"""Words of commands in docs/ that the programs do not know.

These are verbs and what follows them, options, questions and their choices, keys of .env, and
targets of make. A word in capitals stands for another one.
"""

from __future__ import annotations

import re
import shlex
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

from hooks.generate.make_keys import known_keys  # noqa: E402  see above
from hooks.matcher.command_line import parser_of as match_parser  # noqa: E402
from host.command import GROUPS, parser_of  # noqa: E402
from website.python.questions import TRUE, questionnaire  # noqa: E402

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from website.python.questions import Answered

# A call ends with its line, at a comment, at what the shell takes, or before words in a column.
CALL = r"(?:^|[\s/]){0} (\S.*?)(?=\s*(?:$|&&|\||;|[ \t]#|[ \t]{{2,}}|\.\.\.))"
TEMPLATE = re.compile(CALL.format(r"template\.sh"), re.MULTILINE)
MATCH = re.compile(CALL.format(r"hearth match"), re.MULTILINE)
HEARTH = re.compile(r"(?<![\w/.@-])hearth ([a-z][a-z-]*)")
MAKE = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]*)", re.MULTILINE)
# A word of a shell, with what is quoted in it.
WORD = r"((?:'[^']*'|\"[^\"]*\"|[^\s'\"`])+)"
DATA = re.compile(rf"--data\s+{WORD}")
DATA_OF_MAKE = re.compile(rf"(?<!\w)DATA={WORD}")
CAPITALS = re.compile(r"[A-Z][A-Z_]*")
FALSE = {"no", "false", "off", "n", "f", "0"}
# What the pages write for any key, and for any key with a value.
ANY_KEY = {"KEY", "SETTING"}


class Options(NamedTuple):
    """What a command takes.

    Attributes:
        has_value: its options, and whether each has a value.
        takes_command: whether another command follows.
        first: what its first word can be; () for anything.
    """

    has_value: dict[str, bool]
    takes_command: bool
    first: tuple[str, ...] = ()


def options_of(*parsers: argparse.ArgumentParser) -> Options:
    """The options of all parsers of a name: with pip and with conda, `add` has others."""
    actions = [action for parser in parsers for action in parser._actions]
    values = {word: action.nargs != 0 for action in actions for word in action.option_strings}
    positional = [action for action in actions if not action.option_strings]
    first = tuple(map(str, positional[0].choices or ())) if positional else ()
    return Options(values, any(action.nargs == "..." for action in actions), first)


@cache
def verbs() -> dict[str, Options]:
    """Each verb of template.sh with its options."""
    every = [verb for _, group in GROUPS for verb in group]
    return {
        one.name: options_of(*(parser_of(verb) for verb in every if verb.name == one.name))
        for one in every
    }


@cache
def targets() -> set[str]:
    """The targets of `make help`."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"(?m)^([a-z-]+):.*## ", text))


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
    """A sentence for each option of a call that its command does not have, and for its word."""
    rest = iter(words)
    first = known.first
    for word in rest:
        if word == "--" or (known.takes_command and not word.startswith("-")):
            return  # what follows are words of another command
        name, equals, _ = word.partition("=")
        if first and re.fullmatch(r"[a-z][a-z-]*", word):
            if word not in first:
                yield f"{call} has no {word}, only {', '.join(first)}."
            first = ()
        if not re.fullmatch(r"--?[a-z][a-z-]*", name, re.IGNORECASE) or name in ("-h", "--help"):
            continue
        if name not in known.has_value:
            yield f"{call} has no option {name}; see {call} --help."
        elif known.has_value[name] and not equals:
            next(rest, None)


def unknown_keys(words: list[str]) -> Iterator[str]:
    """A sentence for each key of a call of `env` that no .env has."""
    named = False
    for word in words:
        if word.startswith("-"):
            named = word in ("--set", "--refresh")
            continue
        key = word.strip("'\"").partition("=")[0]
        if named and key not in known_keys() | ANY_KEY:
            yield f"{key} is not a key of .env; docs/keys.md has them."


def unknown_answers(answers: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each name that is no question, and each answer that is none of its choices."""
    if not answers:
        return
    names = questionnaire().names()
    yield from (
        f"{name} is not a question; copier.yml has their names."
        for name in answers
        if name not in names
    )
    known = {name: value for name, value in answers.items() if name in names and is_answer(value)}
    asked, _ = questionnaire().answer(known)
    for name, value in known.items():
        if not is_choice(value, asked[name]):
            choices = [offer.value for offer in asked[name].offers] or ["yes", "no"]
            yield f"{value} is no answer to {name}: {', '.join(choices)}."


def is_answer(value: str) -> bool:
    """Whether a text is an answer, and does not only say where one is."""
    return bool(value) and value not in ("...", "…") and not CAPITALS.fullmatch(value)


def is_choice(value: str, question: Answered) -> bool:
    """Whether an answer is on offer, possible or not. Texts are not looked at."""
    if question.kind == "switch":
        return value.lower() in TRUE | FALSE
    if question.kind == "text":
        return True
    offers = {offer.value for offer in question.offers}
    if question.kind == "choice":
        return value in offers
    listed = yaml.safe_load(value)
    return isinstance(listed, list) and offers.issuperset(map(str, listed))


def answers_in(code: str) -> dict[str, str]:
    """The answers of --data, and of DATA for make, in a piece of code."""
    words = [word for given in DATA.findall(code) for word in shlex.split(given)[:1]]
    for given in DATA_OF_MAKE.findall(code):
        words += shlex.split("".join(shlex.split(given)))
    return {name: value for name, equals, value in (w.partition("=") for w in words) if equals}


def unknown_in(code: str) -> Iterator[str]:
    """A sentence for each word in a piece of code that its command does not know."""
    for call in TEMPLATE.findall(code):
        verb, *words = call.split()
        if verb in verbs():
            yield from unknown_options(f"template.sh {verb}", words, verbs()[verb])
        elif re.fullmatch(r"[a-z-]+", verb) and verb != "help":
            yield f"template.sh has no verb {verb}; see template.sh help."
        if verb == "env":
            yield from unknown_keys(words)
    for call in MATCH.findall(code):
        yield from unknown_options(
            "hearth match", call.split(), options_of(match_parser("hearth match"))
        )
    for word in HEARTH.findall(code):
        if word != "match":
            yield f"hearth has no {word}, only match."
    for target in MAKE.findall(code):
        if target not in targets():
            yield f"make has no target {target}; see make help."
    yield from unknown_answers({n: v for n, v in answers_in(code).items() if n.islower()})


def unknown_words(docs: Path) -> Iterator[str]:
    """A sentence for each word of a command in the pages that the command does not know.

    README.md beside the folder counts, because the first page has its text.
    """
    for page in sorted([*docs.parent.glob("README.md"), *docs.rglob("*.md")]):
        for line, code in code_of(page.read_text(encoding="utf-8")):
            for problem in unknown_in(code):
                yield f"{page.relative_to(docs.parent)}:{line}: {problem}"
