"""The steps of CI, a verb each: `template.sh ci VERB`. The workflow calls them, and so can you.

What other verbs can do, they do; here is what only CI needs.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import re
import shlex
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, NamedTuple

from .ask import capture
from .checkout import conflicts, no_repository
from .ci_images import SCANNER, new_pins
from .ci_pipeline import PIPELINE
from .command import call_verb, need_env, verbs_here
from .compose import SilentError, call, show, show_text
from .engine_words import compose
from .failures import explain, failed, registry_of
from .files import make_folder, read_file, write_file
from .images import read_pins
from .passwords import refuse_proxies
from .project import PINS_FILE
from .registry import NAME, tag_of
from .work import before_start, environment_of_run

if TYPE_CHECKING:
    from .project import Project

VARIABLES = """\
From the environment:
  IMAGE             the image in a registry, without a tag; without it, build uses no registry
  WRITE_CACHE       1: build writes its layers to IMAGE:cache-runtime and IMAGE:cache-dev, from
                    which later builds take them
  SBOM_GENERATOR    the image that lists an image's packages, instead of that in
                    compose.pins.yaml
"""
COMMANDS = "ci.ini"
# The project's own file for its host, from which place makes the one in the repository's root.
WORKFLOWS = {
    "github": ".github/workflows/image.yml",
    "gitlab": f"docker-amd64/{PIPELINE}",
}
PLACED = {
    "github": ".github/workflows/image-{}.yml",
    "gitlab": ".gitlab/image-{}.gitlab-ci.yml",
}
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
COMPOSE_NEEDED = (2, 39)  # the first that knows attestations
ENGINE_LIMIT = 30  # seconds that a daemon beside a job may take to start
DAEMON_FILE = "/etc/docker/daemon.json"
UNREADABLE = r'[\x00-\x1f\x7f$"\\]'  # in the path of a folder that a workflow names
NO_TESTS = 5  # pytest's exit status when it finds none


class Step(NamedTuple):
    """A step of CI: its verb, its help, and its function."""

    name: str
    help: str
    function: Callable[[Project, argparse.Namespace], int | None]


# -------------------------------------------------------------------- before anything is built


def markers(project: Project, _: argparse.Namespace) -> None:
    """Fail on what a merge left behind.

    A line of ======= alone is no sign of a conflict: it may be a heading. A file that has to hold
    such lines is named in .gitattributes: tests/data/merge.txt conflict-markers
    """
    root = project.root
    asked = capture("git", "rev-parse", "--git-dir", cwd=root)
    if asked.returncode:
        raise no_repository(asked.stderr) or failed("not-in-git", project)
    found = [f"{name}: not merged" for name in conflicts(root)]
    rejected = ("ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "*.rej")
    names = capture("git", *rejected, cwd=root).stdout.split("\0")
    found += [f"{name}: a change that did not fit" for name in names if name]
    pattern = "^(<<<<<<<|>>>>>>>)( |$)"
    places = (".", ":(exclude,attr:conflict-markers)")
    lines = ("grep", "--untracked", "-nIE", pattern, "--", *places)
    found += capture("git", "-c", "core.quotePath=false", *lines, cwd=root).stdout.splitlines()
    if found:
        show_text("\n".join(found))
        raise failed("conflict-left", project)
    show("No conflict was left behind.")


def keeps_attestations() -> bool:
    """Whether the engine keeps its images in containerd's store."""
    asked = capture("docker", "info", "--format", "{{.DriverStatus}}")
    return "io.containerd.snapshotter" in asked.stdout


def wait_for_engine(project: Project) -> None:
    """Wait for the engine; in CI, a daemon beside the job takes a moment. Raises StopError."""
    deadline = time.monotonic() + (ENGINE_LIMIT if os.environ.get("CI") else 0)
    while True:
        asked = capture("docker", "version")
        if not asked.returncode:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(1)
    show_text(asked.stderr.rstrip())
    raise explain(project, asked.stderr) or failed("engine-silent", project)


def use_containerd_store(project: Project) -> None:
    """Let the Docker of a hosted runner keep its images in containerd's store."""
    show("Docker changes to containerd's store of images.")
    before = capture("sudo", "cat", DAEMON_FILE).stdout
    try:
        settings = json.loads(before or "{}")
        settings.setdefault("features", {})["containerd-snapshotter"] = True
    except (ValueError, AttributeError) as error:
        raise failed("daemon-file-invalid", project, path=DAEMON_FILE, reason=str(error)) from error
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(settings, file)
        file.flush()
        call(project, ["sudo", "cp", file.name, DAEMON_FILE])
    call(project, ["sudo", "systemctl", "restart", "docker"])


def engine(project: Project, _: argparse.Namespace) -> None:
    """Fail where Docker cannot keep layers in a registry, or write what publish writes.

    The store of images has to be containerd's: Docker's old one writes neither a cache to a
    registry nor attestations. BuildKit in a container of its own could do it too, but its images
    would have to be copied into Docker before anything runs in them, gigabytes each time.
    """
    wait_for_engine(project)
    if not keeps_attestations() and os.environ.get("RUNNER_ENVIRONMENT") == "github-hosted":
        use_containerd_store(project)
    if not keeps_attestations():
        raise failed("engine-old-store", project)
    version = capture(*compose("version", "--short")).stdout.strip()
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if not found:
        raise failed("compose-missing", project)
    if (int(found.group(1)), int(found.group(2))) < COMPOSE_NEEDED:
        raise failed("compose-too-old", project, version=version, needed="2.39")
    docker = capture("docker", "version", "--format", "{{.Server.Version}}").stdout.strip()
    show(f"Docker {docker} and Compose {version} can do it.")


# --------------------------------------------------------------------------------- the registry


def image_in_registry(project: Project, step: str) -> str:
    """IMAGE, as registries want it. Raises StopError if it is no image in a registry."""
    name = os.environ.get("IMAGE", "").lower()
    if not NAME.fullmatch(name) or tag_of(name):
        raise failed("image-variable", project, value=name, step=step)
    return name


def login(project: Project, _: argparse.Namespace) -> None:
    """Log in to the registry of IMAGE."""
    image = image_in_registry(project, "login")
    user, password = (os.environ.get(f"REGISTRY_{key}", "") for key in ("USER", "PASSWORD"))
    if not user or not password:
        raise failed("registry-user-missing", project, registry=registry_of(image))
    words = ["docker", "login", "--username", user, "--password-stdin", registry_of(image)]
    call(project, words, stdin=password, to_stderr=True, image_name=image)


def logout(project: Project, _: argparse.Namespace) -> None:
    """Forget the password of the registry."""
    registry = registry_of(image_in_registry(project, "logout"))
    call(project, ["docker", "logout", registry], to_stderr=True)


def registry_file(project: Project, image: str) -> str:
    """The Compose file that adds the cache in the registry to all that is built.

    What is published gets attestations. Each build gets its own cache only: given both, BuildKit
    took layers from one, and built anew what comes after them in the other.
    """
    services = {}
    generator = os.environ.get("SBOM_GENERATOR") or read_pins(project).get(SCANNER)
    for service in project.builds:
        cache = f"{image}:cache-{'runtime' if service in ('runtime', 'publish') else 'dev'}"
        build: dict[str, object] = {"cache_from": [f"type=registry,ref={cache}"]}
        if service in ("runtime", "dev") and os.environ.get("WRITE_CACHE") == "1":
            build["cache_to"] = [f"type=registry,ref={cache},mode=max"]
        if service == "publish":
            # Provenance names all arguments of the build. Who builds is none of them: no user is
            # in this image.
            build["args"] = {"USRID": 1000, "GRPID": 1000, "USRNAME": "user", "GRPNAME": "user"}
            build["provenance"] = "mode=max"
            build["sbom"] = f"generator={generator}" if generator else "true"
        services[service] = {"build": build}
    return json.dumps({"services": services})  # JSON is YAML


@contextmanager
def with_registry(project: Project, step: str) -> Iterator[None]:
    """Let all builds meanwhile take layers from the registry of IMAGE, if that is set."""
    project.trusts_lock = bool(os.environ.get("CI"))
    need_env(project)
    if not os.environ.get("IMAGE"):
        yield
        return
    text = registry_file(project, image_in_registry(project, step))
    before = os.environ.get("COMPOSE_FILE")
    separator = project.settings.get("COMPOSE_PATH_SEPARATOR") or ":"
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        os.environ["COMPOSE_FILE"] = separator.join([*project.settings.files(), file.name])
        try:
            yield
        finally:
            del os.environ["COMPOSE_FILE"]
            if before is not None:
                os.environ["COMPOSE_FILE"] = before


# --------------------------------------------------------------------------------------- images


def lint(project: Project, _: argparse.Namespace) -> None:
    """Check the Compose files and the Dockerfile."""
    call_verb("config", "--quiet", project=project)
    try:
        call(project, compose("build", "--check", "runtime", "dev"), to_stderr=True)
    except SilentError as error:
        raise failed("dockerfile-checks", project) from error
    show("The Compose files and the Dockerfile are good.")


def lock(project: Project, _: argparse.Namespace) -> None:
    """Fail where the lock is missing or stale, or the images are not pinned in git."""
    with with_registry(project, "lock"):
        call_verb("lock", "--check", project=project)
    changed = capture("git", "status", "--porcelain", "--", PINS_FILE, cwd=project.folder)
    if changed.stdout:
        raise failed("pins-not-committed", project, file=PINS_FILE)
    if new_pins(project):
        raise failed("pins-not-committed", project, file=PIPELINE)


def build(project: Project, _: argparse.Namespace) -> None:
    """Build both images, one after the other.

    Of two builds at once, BuildKit overlooks more of what the registry has:
    https://github.com/moby/buildkit/issues/4674
    """
    with with_registry(project, "build"):
        for service in ("runtime", "dev"):
            call_verb("build", service, project=project)


def in_image(project: Project, target: str, *words: str) -> int:
    """Run a command in a container of its own, which is removed; the exit status."""
    need_env(project)
    before_start(project, target, quiet=True)
    command = compose("--progress", "quiet", "run", "--rm", "--no-deps", "-T", target, *words)
    return subprocess.run(
        command,
        cwd=str(project.folder),
        env=environment_of_run(project),
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode


STYLE = """\
if grep -qs "^\\[tool\\.ruff" pyproject.toml || [ -f ruff.toml ] || [ -f .ruff.toml ]; then
    ruff check --extend-exclude docker-amd64 .
else
    echo "The project has no settings of ruff: its code is not checked."
fi
"""


def style(project: Project, _: argparse.Namespace) -> int:
    """Check the code with ruff in dev, where the project has settings for it."""
    return in_image(project, "dev", "bash", "-c", STYLE)


def command_for(project: Project, target: str) -> list[str]:
    """The command that ci.ini names for an image. Raises StopError."""
    config = configparser.RawConfigParser()
    try:
        config.read_string((project.folder / COMMANDS).read_text("utf-8"))
        return shlex.split(config.get("test", target))
    except (OSError, ValueError, configparser.Error) as error:
        why = " ".join(str(error).split())
        raise failed("ci-commands", project, image=target, reason=why) from error


def test(project: Project, _: argparse.Namespace) -> int:
    """Run the project's tests in dev, then see that runtime works; the exit status."""
    for target in ("dev", "runtime"):
        words = command_for(project, target)
        if not words:
            show(f"docker-amd64/{COMMANDS} names no command for {target}.")
            continue
        status = in_image(project, target, *words)
        if status == NO_TESTS and words[0] == "pytest":
            show("pytest found no tests.")
        elif status:
            return status
    if any(verb.name == "verify" for verb in verbs_here()):
        return call_verb("verify", project=project)
    return 0


def publish(project: Project, options: argparse.Namespace) -> None:
    """Build the image for others with SBOM and provenance, and push it as IMAGE:TAG."""
    tag: str = options.tag
    if not TAG.fullmatch(tag):
        raise failed("image-tag", project, tag=tag)
    image = image_in_registry(project, "publish")
    generator = os.environ.get("SBOM_GENERATOR") or "x"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9./:@_-]*", generator):
        raise failed("generator-name", project, value=generator)
    changed = capture("git", "status", "--porcelain", cwd=project.folder)
    if changed.returncode:
        raise no_repository(changed.stderr) or failed("not-in-git", project)
    if changed.stdout:
        show_text(changed.stdout.rstrip("\n"))
        raise failed("not-committed", project)
    need_env(project)
    refuse_proxies(project)
    name = f"{image}:{tag}"
    with with_registry(project, "publish"):
        call_verb("publish", name, project=project)
    for kind in ("SBOM", "Provenance"):
        inspect = ("docker", "buildx", "imagetools", "inspect", "--format")
        asked = capture(*inspect, f"{{{{json .{kind}}}}}", name)
        if asked.stdout.strip() in ("", "null", "{}"):
            show_text(asked.stderr.rstrip())
            raise failed("attestation-missing", project, kind=kind, image=name)
    show(
        "With SBOM and provenance: docker buildx imagetools inspect --format '{{json .SBOM}}' "
        f"{name}"
    )


# ------------------------------------------------------------------- part of a larger repository


def include_it(project: Project, top: Path, name: str) -> None:
    """Let GitLab's one file, which may be the user's, include ours. Raises StopError."""
    first = top / ".gitlab-ci.yml"
    if not first.exists():
        write_file(first, f"include:\n  - local: {name}\n")
        show("Made .gitlab-ci.yml, which includes it.")
    elif name not in first.read_text("utf-8", "replace"):
        raise failed("pipeline-not-included", project, file=name, path=str(first))


def placed_text(project: Project, folder: str, text: str) -> str:
    """The project's workflow for the root of the repository: where the project is, and its name."""
    quoted = folder.replace("'", "''")
    for pattern, end in (
        (r"(?m)^( *PROJECT: )\.$", f"'{quoted}'"),
        (r"(?m)^( *IMAGE: .*)$", f"/{project.name}"),
        (r"(?m)^(name: .*)$", f" {project.name}"),
    ):
        text = re.sub(pattern, rf"\g<1>{end}", text)  # no backslash is in any of them
    return text


def place(project: Project, _: argparse.Namespace) -> None:
    """Put the workflow where the host looks for it, in a larger repository."""
    own = WORKFLOWS[project.ci_host]
    asked = capture("git", "rev-parse", "--show-prefix", "--show-toplevel", cwd=project.root)
    if asked.returncode:
        raise no_repository(asked.stderr) or failed("not-in-git", project)
    prefix, top_name = asked.stdout.rstrip("\n").split("\n", 1)
    folder, top = prefix.rstrip("/"), Path(top_name)
    if re.search(UNREADABLE, folder):
        new = re.sub(UNREADABLE, "_", folder)
        raise failed("folder-name", project, path=folder, top=top_name, new=new)
    if not folder:
        if project.ci_host == "gitlab":
            include_it(project, top, own)
        else:
            show(f"GitHub finds {own} where it is.")
        return
    slug = re.sub(rb"[^a-z0-9]", b"-", os.fsencode(folder).lower()).decode()
    target = top / PLACED[project.ci_host].format(slug)
    name = target.relative_to(top).as_posix()
    # ... and then by whom, which another version may say in other words.
    first = f"# Made from {folder}/{own} by "
    if target.exists() and not target.read_text("utf-8", "replace").startswith(first):
        raise failed("workflow-not-ours", project, top=top_name, file=name)
    try:
        text = (project.root / own).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise failed("workflow-missing", project, file=own) from error
    placed = f"{first}template.sh ci place: change that one, and place it again.\n"
    placed += placed_text(project, folder, text)
    make_folder(target.parent)
    write_file(target, placed)
    show(f"Made {name}.")
    settings = f".{project.ci_host}/renovate.json"
    if (project.root / settings).is_file() and not (top / settings).exists():
        write_file(top / settings, read_file(project.root / settings))
        show(f"Made {settings}.")
    if project.ci_host == "gitlab":
        include_it(project, top, name)


# -------------------------------------------------------------------------------- the command line


STEPS = (
    Step(
        "markers",
        "fail on what a merge left behind: conflict markers, unmerged files, *.rej",
        markers,
    ),
    Step(
        "engine",
        "fail where Docker cannot keep layers in a registry, or write what publish writes",
        engine,
    ),
    Step(
        "login", "log in to the registry of IMAGE, as REGISTRY_USER with REGISTRY_PASSWORD", login
    ),
    Step("lint", "check the Compose files and the Dockerfile", lint),
    Step(
        "lock",
        "fail where the lock is missing or stale, or the images are not pinned in git",
        lock,
    ),
    Step("build", "build both images, with the layers that the registry has", build),
    Step("style", "check the code with ruff, where the project has settings for it", style),
    Step("test", "run the project's tests in dev, then see that runtime works", test),
    Step(
        "publish",
        "build the image for others with SBOM and provenance, and push it as IMAGE:TAG",
        publish,
    ),
    Step("logout", "forget the password of the registry", logout),
    Step(
        "place",
        "put the workflow where the host looks for it, when this project is part of a larger "
        "repository",
        place,
    ),
)


def ci_options(parser: argparse.ArgumentParser) -> None:
    """A step, or nothing for the help."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = VARIABLES
    parser.set_defaults(function=lambda *_: parser.print_help())
    steps = parser.add_subparsers(metavar="VERB", title="verbs")
    for step in STEPS:
        sub = steps.add_parser(
            step.name,
            help=step.help,
            description=f"{step.help[0].upper()}{step.help[1:]}.",
            allow_abbrev=False,
        )
        sub.set_defaults(function=step.function)
        if step.name == "publish":
            sub.add_argument("tag", metavar="TAG", help="such as v1.0.0")


def do_ci(project: Project, options: argparse.Namespace) -> int:
    """Do a step; the exit status."""
    return int(options.function(project, options) or 0)
