"""Look at this machine, print what is there, and fill the `.env` file beside this package.

    python -m host [show]                               a table for people
    python -m host json                                 the same facts as one JSON document
    python -m host fill [--refresh [KEY...]] [--quiet]  write what this machine needs into .env
    python -m host set KEY=VALUE...                     change keys of .env, quoted for its readers
    python -m host attach                               bring the GPU overlays in line with .env
    python -m host why                                  why containers get no GPU, and what helps
    python -m host gpus                                 the GPUs, their load, and whose programs run
    python -m host update ...                           to a newer template: see update.py
    python -m host eject [-y]                           leave the template

`--project DIR` names the folder that holds `.env.example`; the default is the one around this
package. It changes nothing but `.env`, `.env.bak`, missing data folders, and the overlays for GPUs.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .env_file import ALL, ProbeError, read_env, read_settings, set_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

# ruff: noqa: PLC0415  what only some calls need is imported there: the probe has to be quick

USAGE = (
    "usage: python -m host [show | json | fill [--refresh [KEY...]] [--quiet] | set KEY=VALUE... | "
    "attach | why | gpus | update | eject] [--project DIR]"
)


@dataclass
class Arguments:
    """What the command line asks for."""

    verb: str = "show"
    folder: Path = Path(__file__).parents[1]
    refresh: tuple[str, ...] = ()
    quiet: bool = False
    settings: tuple[str, ...] = ()


def read_arguments(args: Sequence[str]) -> Arguments:
    """Read the command line. Raises ProbeError."""
    words, asked = list(args), Arguments()
    if words and not words[0].startswith("-"):
        asked.verb = words.pop(0)
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            asked.verb = "help"
        elif word == "--project" and words:
            asked.folder = Path(words.pop(0))
        elif word == "--quiet" and asked.verb == "fill":
            asked.quiet = True
        elif word == "--refresh" and asked.verb == "fill":
            while words and not words[0].startswith("-"):
                asked.refresh += (words.pop(0),)
            asked.refresh = asked.refresh or ALL
        elif asked.verb == "set" and not word.startswith("-"):
            asked.settings += (word,)
        else:
            raise ProbeError(f"Not understood: {word}. {USAGE}")
    return asked


def perform(asked: Arguments) -> str:
    """Do what is asked and return what to print. Raises ProbeError."""
    if asked.verb == "help":
        return USAGE
    if asked.verb == "set" and asked.settings:
        set_keys(asked.folder, asked.settings)
        return ""
    if asked.verb == "fill":
        from .fill import fill, report

        lines = report(fill(asked.folder, asked.refresh))
        return "" if asked.quiet else "\n".join(lines)
    if asked.verb == "attach":
        from .fill import attach

        lines, cause = attach(asked.folder)
        print(*lines, sep="\n", end="\n" if lines else "", file=sys.stderr)
        return "\n".join(cause or ())
    return shown(asked)


def shown(asked: Arguments) -> str:
    """What a verb that only looks has to print. Raises ProbeError."""
    if asked.verb not in ("json", "show", "why", "gpus"):
        raise ProbeError(f"Not understood: {asked.verb}. {USAGE}")
    from .probe import probe

    facts = probe(asked.folder)
    if asked.verb == "json":
        import json

        return json.dumps(facts.as_dict(), indent=2)
    if asked.verb == "why":
        from .gpu_env import without_gpus

        settings = read_env(read_settings(asked.folder / ".env") or "")
        return "\n".join(without_gpus(facts, settings) or ())
    if asked.verb == "gpus":
        from .load import listing

        return listing(asked.folder, facts)
    from .show import table

    return table(facts)


def of_the_template(verb: str, words: Sequence[str]) -> int:
    """Do what has to do with the template; the exit status. Raises ProbeError."""
    folder = Path(__file__).resolve().parents[1]
    if verb == "eject":
        from .eject import eject

        return eject(folder, words)
    from .update import update

    return update(folder, words)


def main(args: Sequence[str]) -> int:
    """The command line: prints an answer, or one sentence to stderr; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):  # a path in another encoding is no reason to stop
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        if args[:1] in (["update"], ["eject"]):
            return of_the_template(args[0], args[1:])
        text = perform(read_arguments(args))
    except ProbeError as error:
        print(error, file=sys.stderr)
        return 1
    if text:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
