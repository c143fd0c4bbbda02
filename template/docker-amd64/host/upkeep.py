"""This machine and what the project has on it: env, over, ls, config, root, clean, completion."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .ask import read_text
from .compose import become, call, need_container, show
from .engine_words import compose, engine_command
from .env_file import ALL, parse_env, set_keys
from .files import status_of, write_file
from .jobs import jobs, remove_jobs, table
from .place import keep_apart
from .project import RULES, USAGE, StopError, is_bad, me
from .work import remove_workers

if TYPE_CHECKING:
    import argparse
    from typing import Iterable

    from .project import Project

OVERRIDE = """\
# What only you, on this machine, add to compose.yaml; git does not see it.
# Lists are added to, values are replaced.
services:
  dev:
    # ports: ["127.0.0.1:8888:8888"]
    # volumes: ["/scratch/imagenet:/data/imagenet:ro"]
    environment:
      EDITOR: nano
"""
# It works from anywhere below a project.
FUNCTION = """\
# template VERB: the template.sh of the project around this folder.
template() {
    local folder=$PWD
    while [ -n "$folder" ] && [ ! -x "$folder/docker-amd64/template.sh" ]; do
        folder=${folder%/*}
    done
    if [ -z "$folder" ]; then
        echo "No project with docker-amd64/template.sh is around this folder." >&2
        return 1
    fi
    "$folder/docker-amd64/template.sh" "$@"
}
"""
BASH = """\
_template() {
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "$(template help --names 2>/dev/null)" -- "${COMP_WORDS[1]}"))
    else
        COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
    fi
}
complete -F _template template template.sh
"""
ZSH = """\
_template() {
    if [ "$CURRENT" -eq 2 ]; then
        compadd -- ${(f)"$(template help --names 2>/dev/null)"}
    else
        _files
    fi
}
compdef _template template template.sh
"""


def env_options(parser: argparse.ArgumentParser) -> None:
    """What to do instead of filling."""
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "--show", action="store_true", help="only print what is found on this machine"
    )
    only.add_argument(
        "--json", action="store_true", help="the same and more as one JSON document, for doctor"
    )
    only.add_argument(
        "--refresh",
        nargs="*",
        metavar="KEY",
        help="take this machine's values for these keys, or for all",
    )
    only.add_argument(
        "--set", nargs="+", metavar="KEY=VALUE", help="change keys, quoted as Compose needs it"
    )
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="with --json: without names of users and machines, UUIDs and paths",
    )


def do_env(project: Project, options: argparse.Namespace) -> None:
    """Fill .env from this machine, or show what is there."""
    from .fill import fill, report  # noqa: PLC0415  the probe takes time
    from .probe import probe, table  # noqa: PLC0415

    if options.json:
        import json  # noqa: PLC0415

        from .description import this_machine, written  # noqa: PLC0415

        found = written(this_machine(project), anonymous=options.anonymous)
        print(json.dumps(found, indent=2))
    elif options.show:
        print(table(probe(project.folder)))
    elif options.set:
        if not status_of(project.folder / ".env"):
            raise StopError("There is no .env yet.", f"{me()} env")
        for setting in options.set:
            key, _, value = setting.partition("=")
            if is_bad(key, value):
                raise StopError(
                    f'{key} in .env cannot be "{value}": it must be {RULES[key][1]}.',
                    f"{me()} env --help",
                    name=USAGE,
                )
        set_keys(project.folder, options.set)
        tell_misspelt(project, [setting.partition("=")[0] for setting in options.set])
    else:
        keys = () if options.refresh is None else tuple(options.refresh) or ALL
        print("\n".join(report(fill(project.folder, keys))))


def tell_misspelt(project: Project, keys: Iterable[str]) -> None:
    """Name the key of .env.example that may be meant by one that no file of the project reads."""
    from difflib import get_close_matches  # noqa: PLC0415  only this call needs it

    named = {entry.key for entry in parse_env(read_text(project.folder / ".env.example"))} - {""}
    files = map(read_text, project.folder.glob("*.y*ml"))
    known = named | {*RULES, *re.findall(r"\w+", "".join(files))}
    for key in keys:
        near = [] if key in known else get_close_matches(key, named, n=1, cutoff=0.8)
        if near:
            show(f"Nothing reads {key} in .env. Did you mean {near[0]}?")


def do_over(project: Project, _: argparse.Namespace) -> None:
    """Make compose.override.yaml, and let COMPOSE_FILE name it."""
    name = "compose.override.yaml"
    file = project.folder / name
    if not status_of(file):
        write_file(file, OVERRIDE)
        show(f"Made docker-amd64/{name}.")
    files = project.settings.files()
    if name not in files:
        separator = project.settings.get("COMPOSE_PATH_SEPARATOR") or ":"
        set_keys(project.folder, [f"COMPOSE_FILE={separator.join([*files, name])}"])
    show(f"Edit it, then run: {me()} up")


def ls_options(parser: argparse.ArgumentParser) -> None:
    """Of whom."""
    parser.add_argument(
        "--all", action="store_true", help="everybody's containers, and what each project stores"
    )


def do_ls(project: Project, options: argparse.Namespace) -> None:
    """List what the engine has of this project, or of all."""
    if options.all:
        from .everybody import listing  # noqa: PLC0415  only this listing needs it

        print(listing(project))
        return
    name = project.settings.get("COMPOSE_PROJECT_NAME")
    call(project, compose("ps", "--all"))
    every = jobs(project)
    if every:
        print("\n".join(table(every)))
    if project.clusters:
        from .clusters.jobs import summary  # noqa: PLC0415  few projects have it

        print(summary(project), end="")
    call(project, engine_command("image", "ls", "--filter", f"reference={name}"))
    label = f"label=com.docker.compose.project={name}"
    call(project, engine_command("volume", "ls", "--filter", label))
    if project.accelerator == "cuda":
        from .gpu_trouble import show_trouble  # noqa: PLC0415  only such projects have it

        show_trouble(project)


def config_options(parser: argparse.ArgumentParser) -> None:
    """As Compose has them."""
    parser.add_argument("-q", "--quiet", action="store_true", help="only check it")
    parser.add_argument("--format", choices=("yaml", "json"), default="yaml", help="of the output")


def do_config(project: Project, options: argparse.Namespace) -> None:
    """Print the effective Compose file."""
    words = ["--quiet"] if options.quiet else []
    call(project, compose("--profile", "*", "config", "--format", options.format, *words))


def root_options(parser: argparse.ArgumentParser) -> None:
    """A command, or nothing for a shell."""
    parser.add_argument("command", nargs="...", metavar="CMD", help="a command; a shell without")


def do_root(project: Project, options: argparse.Namespace) -> None:
    """Become a command of root in the dev container."""
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    need_container(project, *words[:1], root=True)
    become(project, compose("exec", "--user", "0", "dev", *(words or ["bash"])))


def clean_options(parser: argparse.ArgumentParser) -> None:
    """How much."""
    parser.add_argument("--all", action="store_true", help="also the home volume: caches, history")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask, even if jobs run")


def do_clean(project: Project, options: argparse.Namespace) -> int:
    """Remove the containers and images of this project."""
    keep_apart(project)
    if not remove_jobs(project, "clean", yes=options.yes):
        return 1
    remove_workers(project)
    words = ["--volumes"] if options.all else []
    call(project, compose("--profile", "*", "down", "--remove-orphans", "--rmi", "all", *words))
    return 0


def completion_options(parser: argparse.ArgumentParser) -> None:
    """For which shell."""
    parser.add_argument("shell", choices=("bash", "zsh"))
    parser.epilog = f'For bash: eval "$({me()} completion bash)"'


def do_completion(_: Project, options: argparse.Namespace) -> None:
    """Print the function `template`, and what completes its verbs."""
    print(FUNCTION + (BASH if options.shell == "bash" else ZSH), end="")
