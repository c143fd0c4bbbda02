"""Makes the tables of verbs in the manuals from the command line of projects, host/command.py.

python -m hooks.generate.make_manual            write them
python -m hooks.generate.make_manual --check    say whether they are fresh (exit status 1 if not)
"""

from __future__ import annotations

import argparse
import sys
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from hooks.compat.made_files import write_or_check

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "template" / "docker-amd64"
if str(DOCKER) not in sys.path:
    sys.path.insert(0, str(DOCKER))
    sys.dont_write_bytecode = True  # nothing is written beside what projects get

from host.command import GROUPS, Verb, parser_of  # noqa: E402  see above

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE = "hooks.generate.make_manual"
MANUAL = DOCKER / "README.md.jinja"  # every project's
DOCS = ROOT / "docs" / "work.md"  # of all projects
# What is between these lines is made here; the first pair is not in a rendered manual.
MARKS = {
    MANUAL: (f"{{# Made by `python -m {MODULE}`. #}}", "{# End of what it makes. #}"),
    DOCS: (f"<!-- Made by `python -m {MODULE}`. -->", "<!-- End of what it makes. -->"),
}
HEAD = "| verb | does |\n|---|---|"
# Which projects have a module that others do not have, in the words of docs/work.md.
NEEDS = {
    "airflow": "with `extras: airflow`",
    "ci": "with `extras: ci`",
    "clusters": "with `clusters`",
    "clusters.sif": "with `clusters: slurm`",
    "conda_packages": "conda",
    "import_results": "with `extras: data` or `airflow`",
    "jupyter": "with `extras: jupyter`",
    "devcontainer": "with `extras: devcontainer`",
    "load": "with `accelerator: cuda`",
    "measure": "with PyTorch",
    "pack": "with `extras: data` or `airflow`",
    "pip_packages": "pip",
    "ssh": "with `extras: ssh`",
    "tensorboard": "with `extras: tensorboard`",
    "wheels": "with `pytorch_build: source`",
}
# The options of a group of this name, and the module that only projects with them have.
GROUP_NEEDS = {"GPUs": "load", "Clusters": "clusters"}


def file_of(module: str) -> str:
    """The file of a module, or the folder of a package, as `left_out` in copier.yml names it."""
    path = f"/docker-amd64/host/{module.replace('.', '/')}"
    return path if (ROOT / "template" / path[1:]).is_dir() else f"{path}.py"


@lru_cache(maxsize=1)
def left_out() -> set[str]:
    """The words of `left_out` in copier.yml: which file goes with which answer."""
    settings = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
    return set(settings["left_out"]["default"].split())


def conditional(module: str) -> list[str]:
    """The module, and the package around it, as far as only some projects have them."""
    around = module.rpartition(".")[0]
    return [one for one in (module, around) if one and file_of(one) in left_out()]


def if_there(module: str) -> str:
    """The condition of a template for what only projects with a module have; "" for all."""
    # A folder's name is the start of those of its files, of which others are left out.
    words = "'{0}' not in left_out", "'{0}' not in left_out.split()"
    names = map(file_of, conditional(module))
    return " and ".join(words[not one.endswith(".py")].format(one) for one in names)


def help_of(action: argparse.Action) -> str:
    """What an option does. argparse replaces words after a %, and so has %% for one."""
    return (action.help or "").replace("%%", "%")


def values_of(action: argparse.Action) -> str:
    """What an argument takes, such as `[NAME...]`; "" for a flag."""
    name = action.metavar or "|".join(map(str, action.choices or [])) or action.dest.upper()
    if isinstance(name, tuple):
        return " ".join(name)
    shapes = {"?": f"[{name}]", "*": f"[{name}...]", "+": f"{name}...", "...": f"{name}..."}
    return "" if action.nargs == 0 else shapes.get(str(action.nargs), name)


def arguments_of(verb: Verb) -> tuple[list[argparse.Action], list[argparse.Action]]:
    """The positional arguments of a verb, and its options."""
    actions = [one for one in parser_of(verb)._actions if one.dest != "help"]
    positional = [one for one in actions if not one.option_strings]
    return positional, [one for one in actions if one.option_strings]


def module_of(action: argparse.Action) -> str:
    """The module that a project has to have for an option; "" if every project has the option."""
    group = getattr(action, "container", None)
    return GROUP_NEEDS.get(getattr(group, "title", None) or "", "")


def option_of(action: argparse.Action) -> str:
    """An option with what it takes, by its short name if it has one."""
    return f"{action.option_strings[0]} {values_of(action)}".rstrip()


def row(*cells: str) -> str:
    """A row of a table."""
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def manual_row(verb: Verb) -> str:
    """The row of a verb in a project's manual: how it is called, and what it does."""
    positional, options = arguments_of(verb)
    words = [verb.name]
    for module, of_module in groupby(options, module_of):
        more = [f"[{option_of(one)}]" for one in of_module]
        if module:
            text = " ".join(more)
            words[-1] += f"{{{{ ' {text}' if {if_there(module)} }}}}"
        else:
            words += more
    return row(f"`{' '.join([*words, *map(values_of, positional)])}`", verb.help)


def needs(action: argparse.Action) -> str:
    """Which projects have an option, in brackets; "" if all."""
    module = module_of(action)
    return f" ({NEEDS[module]})" if module else ""


def docs_row(verb: Verb) -> str:
    """The row of a verb in docs/work.md, with its options and the projects that have it."""
    positional, options = arguments_of(verb)
    call = " ".join([verb.name, *map(values_of, positional)])
    where = "".join(f" ({NEEDS[module]})" for module in conditional(verb.module)[:1])
    texts = [f"`{option_of(one)}`: {help_of(one)}{needs(one)}" for one in options]
    return row(f"`{call}`", ". ".join([verb.help + where, *(["; ".join(texts)] if texts else [])]))


def manual_lines() -> Iterator[str]:
    """The table of a project's manual: a row only where the project has the verb's module."""
    yield HEAD
    for heading, verbs in GROUPS:
        # A heading is missing with the package that has all of its verbs.
        packages = {one.module.rpartition(".")[0] for one in verbs}
        package = packages.pop() if len(packages) == 1 else ""
        rows = [(if_there(package), f"| **{heading}** | |")]
        rows += [(if_there(one.module), manual_row(one)) for one in verbs]
        for condition, same in groupby(rows, itemgetter(0)):
            lines = [line for _, line in same]
            yield from (f"{{% if {condition} %}}", *lines, "{% endif %}") if condition else lines


def docs_lines() -> Iterator[str]:
    """The table of docs/work.md: every verb that a project can have."""
    yield HEAD
    for heading, verbs in GROUPS:
        yield f"| **{heading}** | |"
        yield from map(docs_row, verbs)


LINES = {MANUAL: manual_lines, DOCS: docs_lines}


def text_of(file: Path) -> str:
    """The text that a manual must have.

    Raises:
        ValueError: the marks are not in it, once each and in their order.
    """
    start, end = MARKS[file]
    before, rest = file.read_text(encoding="utf-8").split(f"{start}\n")
    _, after = rest.split(f"{end}\n")
    # Markdown reads a comment right before a table as a part of it.
    blank = "\n" if file == DOCS else ""
    return f"{before}{start}\n{blank}{chr(10).join(LINES[file]())}\n{blank}{end}\n{after}"


def main(arguments: list[str]) -> int:
    """Write the tables, or with --check compare them with the command line."""
    return write_or_check(MODULE, {file: text_of(file) for file in LINES}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
