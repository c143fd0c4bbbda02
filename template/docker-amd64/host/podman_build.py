"""Builds without BuildKit: `podman build` with what Compose would have given BuildKit.

Compose says, as JSON, what each image is built with. Values are handed over by the environment,
since those of proxies may have passwords and others see the words of a command.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Mapping

from .abilities import OLDEST_PODMAN, Abilities, abilities, dotted
from .compose import call
from .engine_words import ask_engine, compose, engine_command, engine_program
from .failures import failed
from .images import full_name

if TYPE_CHECKING:
    from .project import Project

LABEL = "com.docker.compose"


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


STAGES = re.compile(r"(?m)^(?:FROM (\S+)(?: AS (\S+))?|ARG ((?:[^\n\\]|\\\n)+))$")


def with_arguments(text: str) -> str:
    """A Dockerfile whose stages name the arguments of the stage that they start from."""
    known: dict[str, list[str]] = {}
    own: list[str] = []  # of the stage that a line is in; before the first one, nobody's

    def stage(found: re.Match[str]) -> str:
        nonlocal own
        base, name, arguments = found.groups()
        if arguments:
            own += arguments.replace("\\\n", " ").split()
            return found.group()
        own = list(dict.fromkeys(known.get(base, [])))
        known[name or base] = own
        return "\n".join([found.group(), *(f"ARG {one}" for one in own)])

    return STAGES.sub(stage, text)


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
        words += ["--build-arg", key]
    for name, folder in (given.get("additional_contexts") or {}).items():
        words += ["--build-context", f"{name}={plain(folder)}"]
    for secret in given.get("secrets") or ():
        file = plain(config["secrets"][secret["source"]]["file"])
        words += ["--secret", f"id={secret['source']},src={file}"]
    if quiet:
        words.append("--quiet")
    run_build(project, dockerfile, context, words, values)


def run_build(
    project: Project,
    dockerfile: Path,
    context: Path,
    words: list[str],
    args: Mapping[str, str],
) -> None:
    """Build by the engine's own command, from what it can read of a Dockerfile. Raises StopError.

    Podman's own format of images has no SHELL, and scripts would run in another shell.
    """
    can, text = need_builder(), dockerfile.read_text("utf-8")
    with NamedTemporaryFile("w", encoding="utf-8", prefix="Dockerfile-") as file:
        text = text if can.copy_link else without_link(text)
        text = text if can.inherited_arguments else with_arguments(text)
        file.write(text if can.empty_patterns else with_files(text, context))
        file.flush()
        start = engine_command("build", "--format", "docker", "--file", file.name)
        call(project, [*start, *words, str(context)], to_stderr=True, env=args)
