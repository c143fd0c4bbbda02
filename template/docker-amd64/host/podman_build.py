"""Builds without BuildKit: `podman build` with what Compose would have given BuildKit.

Compose says, as JSON, what each image is built with. Values are handed over by the environment,
since those of proxies may have passwords and others see the words of a command.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Collection, Mapping

from .abilities import OLDEST_PODMAN, Abilities, abilities, dotted
from .compose import call
from .engine_words import ask_engine, compose, engine_command, engine_program
from .failures import failed
from .images import full_name

if TYPE_CHECKING:
    from .project import Project

LABEL = "com.docker.compose"
ARG = "--build-arg"


def need_builder() -> Abilities:
    """What the engine can do. Raises StopError if it is too old to build the project's images."""
    version = ask_engine("version", "--format", "{{.Client.Version}}").stdout.strip()
    found = abilities(engine_program(), version)
    if not found.builds:
        raise failed("podman-too-old", version=version, needed=dotted(OLDEST_PODMAN))
    return found


def without_link(text: str) -> str:
    """A Dockerfile without `--link`, which only spares copies when a layer below has changed."""
    return re.sub(r"(?m)^((?:COPY|ADD)(?: --\S+)*) --link\b", r"\1", text)


COPY = re.compile(r"(?m)^COPY((?: --\S+)*) ((?:[^\n\\]|\\\n)+)$")


def with_files(text: str, context: Path) -> str:
    """A Dockerfile that copies only what is there: a pattern may match nothing elsewhere only.

    What is copied from other stages is there.
    """

    def copy(found: re.Match[str]) -> str:
        options, words = found.group(1), found.group(2).replace("\\\n", " ").split()
        *sources, target = words
        if "--from=" in options or sources[0].startswith("<<"):
            return found.group()
        there = [one for one in sources if not set("[*?") & set(one) or any(context.glob(one))]
        if there == sources:
            return found.group()
        return f"COPY{options} {' '.join(there)} {target}" if there else ""

    return COPY.sub(copy, text)


FILES = re.compile(r"(?m)^FROM scratch AS (\S+)\nCOPY((?: --\S+)*) ((?:[^\n\\]|\\\n)+)$")


def with_named_contents(text: str, context: Path, contexts: Mapping[str, str]) -> str:
    """A Dockerfile in which the names of stages that have only files say what the files are.

    Where such a stage is mounted, Podman looks for the layer by the words of the line alone.
    Without the names, it would use that of files that were there before: an edit that is taken
    back, or a script that is deleted, changed nothing. `contexts` are the folders of
    `--build-context`.
    """
    for name, options, words in FILES.findall(text):
        origin = re.search(r"--from=(\S+)", options)
        if origin and origin.group(1) not in contexts:
            continue
        folder = Path(contexts[origin.group(1)]) if origin else context
        sources = ["*" if one == "." else one for one in words.replace("\\\n", " ").split()[:-1]]
        digest = contents_digest([one for each in sources for one in sorted(folder.glob(each))])
        word = rf"(?m)(^FROM scratch AS |--mount=\S*\bfrom=){re.escape(name)}(?=,|$)"
        text = re.sub(word, rf"\g<0>-{digest}", text)
    return text


def contents_digest(paths: list[Path]) -> str:
    """A few characters that change with names and contents of files, and of those in folders.

    Raises OSError if one cannot be read.
    """
    found = hashlib.sha256()
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else []
        for one in (path, *inside):
            found.update(os.fsencode(f"{one.relative_to(path.parent)}\0"))
            if one.is_symlink():
                found.update(os.fsencode(os.readlink(one)))
            elif one.is_file():
                found.update(f"{one.stat().st_size}\0".encode())
                with one.open("rb") as file:
                    for part in iter(lambda: file.read(1 << 20), b""):
                        found.update(part)
    return found.hexdigest()[:12]


STAGES = re.compile(r"(?m)^(?:FROM (\S+)(?: AS (\S+))?|ARG ((?:[^\n\\]|\\\n)+))$")
ARGUMENT = re.compile(r'(?:[^\s"]|"[^"]*")+')


def with_arguments(text: str, given: Collection[str]) -> str:
    """A Dockerfile whose stages name the arguments of the stage that they start from.

    Those with neither a value nor a default are left out: of each, Podman makes a layer and a
    warning. Repeated ones are in one line, of which it makes one layer. The lines that they are
    from are parted, else it says that all but the first were not consumed.

    Args:
        text: the Dockerfile.
        given: the names of the arguments that have values.
    """
    first = re.search(r"(?m)^FROM ", text)
    start = first.start() if first else 0
    header = re.findall(r"(?m)^ARG (\w+)=", text[:start])
    bases = {found[0] for found in STAGES.findall(text)}
    known: dict[str, list[str]] = {}
    own: list[str] = []  # of the stage that a line is in
    current = ""

    def stage(found: re.Match[str]) -> str:
        nonlocal own, current
        base, name, arguments = found.groups()
        if arguments:
            words = ARGUMENT.findall(arguments.replace("\\\n", " "))
            words = [one for one in words if "=" in one or one in given or one in header]
            own += words
            lines = words if current in bases else [" ".join(words)] if words else []
            return "\n".join(f"ARG {one}" for one in lines)
        own = list(dict.fromkeys(known.get(base, [])))
        current = name or base
        known[current] = own
        return "\n".join([found.group(), *([f"ARG {' '.join(own)}"] if own else [])])

    return text[:start] + STAGES.sub(stage, text[start:])


def plain(value: Any) -> str:
    """A value as Compose gives it to a build: its `config` doubles dollar signs."""
    return str(value).replace("$$", "$")


def build(
    project: Project,
    *services: str,
    extra_file: str = "",
    env: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> None:
    """Build services of the Compose files, as `images.build_images` does.

    Raises:
        StopError: a build failed.
    """
    words = compose("--profile", "*", "config", "--format", "json")
    config = json.loads(call(project, words, stdin=extra_file or None, env=env, capture=True))
    for service in services:
        build_image(project, config, service, quiet=quiet)


def build_image(project: Project, config: Mapping[str, Any], service: str, *, quiet: bool) -> None:
    """Build the image of one service. Raises StopError."""
    known = config["services"][service]
    given = known["build"]
    context = Path(plain(given["context"]))
    dockerfile = context / given.get("dockerfile", "Dockerfile")
    # Neither .env nor the shell has those without a value.
    values = {k: plain(v) for k, v in (given.get("args") or {}).items() if v is not None}
    for key, name in project.base_images.items():
        if not project.settings.get(key):  # a name of the user's own may be any
            values[key] = full_name(values.get(key, name))
    words = ["--target", given["target"]] if "target" in given else []
    words += ["--tag", known["image"]]
    labels = {f"{LABEL}.project": config["name"], f"{LABEL}.service": service}
    for key, value in {**labels, **(given.get("labels") or {})}.items():
        words += ["--label", f"{key}={plain(value)}"]
    for key in values:
        words += [ARG, key]
    contexts = {k: plain(v) for k, v in (given.get("additional_contexts") or {}).items()}
    for name, folder in contexts.items():
        words += ["--build-context", f"{name}={folder}"]
    for secret in given.get("secrets") or ():
        file = plain(config["secrets"][secret["source"]]["file"])
        words += ["--secret", f"id={secret['source']},src={file}"]
    if quiet:
        words.append("--quiet")
    run_build(project, dockerfile, words, values, folders={"": str(context), **contexts})


def run_build(
    project: Project,
    dockerfile: Path,
    words: list[str],
    args: Mapping[str, str],
    *,
    folders: Mapping[str, str],
) -> None:
    """Build by the engine's own command, from what it can read of a Dockerfile. Raises StopError.

    Podman's own format of images has no SHELL, and scripts would run in another shell.

    Args:
        project: the project.
        dockerfile: of the images.
        words: options of the command.
        args: the values of build arguments, by their names.
        folders: the build context by the name "", and those that have names.
    """
    can, text, context = need_builder(), dockerfile.read_text("utf-8"), Path(folders[""])
    # A workspace has values among the words, too.
    given = [value.partition("=")[0] for option, value in zip(words, words[1:]) if option == ARG]
    with NamedTemporaryFile("w", encoding="utf-8", prefix="Dockerfile-") as file:
        text = text if can.fresh_mounts else with_named_contents(text, context, folders)
        text = text if can.copy_link else without_link(text)
        text = text if can.inherited_arguments else with_arguments(text, given)
        file.write(text if can.empty_patterns else with_files(text, context))
        file.flush()
        start = engine_command("build", "--format", "docker", "--file", file.name)
        call(project, [*start, *words, str(context)], to_stderr=True, env=args)
