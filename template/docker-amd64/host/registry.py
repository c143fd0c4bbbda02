"""Images for others: publish, pull."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from .ask import capture, read_json
from .checkout import recorded
from .compose import call, check_engine, image_id, show
from .engine_words import ask_engine, engine_command
from .failures import failed
from .images import before_build, build_images, warn_of_end
from .passwords import refuse_proxies
from .place import keep_apart
from .project import me

if TYPE_CHECKING:
    import argparse

    from .project import Project

CLUSTERS = Path(__file__).with_name("clusters")  # which only projects with a scheduler have
# The user of the dev image for others. Interactive jobs run under the ids of whoever submits them.
DEFAULT_USER = {"USRID": "1000", "GRPID": "1000", "USRNAME": "user", "GRPNAME": "user"}
EXAMPLE = "such as registry.example/team/project"
DIGEST = re.compile("sha256:[0-9a-f]{64}")
NAME = re.compile(
    r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?"
)


def publish_options(parser: argparse.ArgumentParser) -> None:
    """The image in a registry, and which one."""
    parser.add_argument("name", metavar="NAME[:TAG]", help=EXAMPLE)
    if CLUSTERS.is_dir():
        words = "the dev image, for interactive jobs of clusters"
        parser.add_argument("--dev", action="store_true", help=words)


def pull_options(parser: argparse.ArgumentParser) -> None:
    """The image in a registry, or none."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME[:TAG]",
        help=f"{EXAMPLE}; without one, say which images of this machine the project could use",
    )


def check_name(project: Project, verb: str, name: str) -> None:
    """Raises StopError unless a name is that of an image in a registry, with or without a tag."""
    if not NAME.fullmatch(name):
        raise failed("image-name", project, image=name, verb=verb)


def tag_of(name: str) -> str:
    """The tag of an image's name, "" if it has none."""
    return name.rpartition("/")[2].partition(":")[2]


def label(image: str, name: str) -> str:
    """What a label of an image says."""
    template = '{{with .Config.Labels}}{{index . "' + name + '"}}{{end}}'
    return ask_engine("image", "inspect", "--format", template, image).stdout.strip()


def published_as(project: Project, image: str) -> str:
    """The published image that one of this machine is built on, NAME@sha256:...; "" without one.

    `publish` pushes all layers but those of the user, and `pull` adds the user to them.
    """
    title = f"label=org.opencontainers.image.title={project.name}"
    every = ask_engine("image", "ls", "--quiet", "--no-trunc", "--filter", title).stdout.split()
    form = '{"names":{{json .RepoDigests}},"layers":{{json .RootFS.Layers}}}'
    said = ask_engine("image", "inspect", "--format", form, image, *dict.fromkeys(every)).stdout
    own, *others = [read_json(line) for line in said.splitlines()] or [{}]
    layers, found = own.get("layers") or [], []
    for one in others:
        below = one.get("layers") or []
        if below and layers[: len(below)] == below:
            found += [(len(below), name) for name in filter(is_pinned, one.get("names") or [])]
    return max(found, default=(0, ""))[1]


def is_pinned(name: object) -> bool:
    """Whether a name is that of an image in a registry, with its digest and no tag."""
    path, _, digest = name.partition("@") if isinstance(name, str) else ("", "", "")
    return bool(NAME.fullmatch(path) and not tag_of(path) and DIGEST.fullmatch(digest))


def commit_of(project: Project) -> str:
    """The commit of the project if all of it is committed; else "", and why is said."""
    status = capture("git", "status", "--porcelain", cwd=project.folder)
    head = capture("git", "rev-parse", "--quiet", "--verify", "HEAD", cwd=project.folder)
    if status.returncode:
        why = f"git knows none here: {(status.stderr.splitlines() or [''])[0]}"
    elif status.stdout:
        why = "there are changes that are not committed."
    elif head.returncode:
        why = "there is none yet."
    else:
        return head.stdout.strip()
    show(f"No label says which commit this is, for {why}")
    return ""


def origin(folder: Path) -> str:
    """Where git has a folder from, if that is an address for others; without a password."""
    url = capture("git", "config", "--get", "remote.origin.url", cwd=folder).stdout.strip()
    if re.match(r"(https?|ssh|git)://", url):
        return re.sub(r"://[^/]*@", "://", url)
    return url if re.match(r"[^/.][^/]*@[^/]*:", url) else ""


def answers_digest(project: Project) -> str:
    """sha256:... of the answers file, "" without one."""
    try:
        answers = (project.root / project.answers_file).read_bytes()
    except OSError:
        return ""
    return f"sha256:{hashlib.sha256(answers).hexdigest()}"


def publish_file(project: Project, name: str, revision: str, *, dev: bool = False) -> str:
    """The Compose file that gives the service publish, or dev, its name and labels."""
    try:
        answers = (project.root / project.answers_file).read_text("utf-8", "replace")
    except OSError:
        answers = ""
    labels = {
        "io.hearth.template.version": recorded(answers, "_commit") or "unknown",
        "io.hearth.answers.digest": answers_digest(project),
        "org.opencontainers.image.revision": revision,
        "org.opencontainers.image.source": origin(project.folder),
    }
    service = "dev" if dev else "publish"
    lines = ["services:", f"  {service}:", f"    image: {name}", "    build:"]
    if dev:
        lines += ["      args:", *(f"        {key}: '{one}'" for key, one in DEFAULT_USER.items())]
    lines.append("      labels:")
    for key, value in labels.items():
        quoted = value.replace("'", "''").replace("$", "$$")
        lines += [f"        {key}: '{quoted}'"] if value else []
    return "\n".join([*lines, ""])


def names_of(name: str, revision: str, *, dev: bool) -> list[str]:
    """The names that an image is pushed under: that with a tag alone, else two tags.

    Those of dev differ, so that both images can have one name.
    """
    if tag_of(name):
        return [name]
    latest, start = ("dev", "dev-") if dev else ("latest", "")
    return [f"{name}:{latest}"] + ([f"{name}:{start}{revision[:12]}"] if revision else [])


def do_publish(project: Project, options: argparse.Namespace) -> None:
    """Build the user-agnostic image, or dev with a user of no name, with labels, and push it."""
    name: str = options.name
    dev: bool = getattr(options, "dev", False)
    check_name(project, "publish", name)
    refuse_proxies(project)
    before_build(project)
    revision = commit_of(project)
    names = names_of(name, revision, dev=dev)
    # Compose labels an image with the project's name, which has the user's in it.
    bare = {"COMPOSE_PROJECT_NAME": project.name}
    extra_file = publish_file(project, names[0], revision, dev=dev)
    build_images(project, "dev" if dev else "publish", extra_file=extra_file, env=bare)
    for one in names:
        if one != names[0]:
            call(project, engine_command("tag", names[0], one))
        call(project, engine_command("push", one), image_name=one)
    warn_of_end(project)
    then = f"In another clone, run: {me()} pull {names[0]}"
    if dev:
        then = f'For interactive jobs, name it under [image] of site.toml: dev = "{names[0]}"'
    show(f"Published {' '.join(names)}. {then}")


def pull_file(project: Project, name: str) -> str:
    """The Compose file in which the stage publish is the pulled image.

    So only the user's small layer is built. BuildKit looks at base images even where they are not
    used: it is given one that is here.
    """
    lines = ["services:", "  runtime:", "    build:"]
    lines += [f"      additional_contexts: {{publish: 'docker-image://{name}'}}", "      args:"]
    return "\n".join([*lines, *(f"        {key}: '{name}'" for key in project.base_images), ""])


def do_pull(project: Project, options: argparse.Namespace) -> None:
    """Pull an image that was published from this project, and add this user to it.

    Without a name, offer what this machine has.
    """
    if not options.name:
        from .local_images import offer  # noqa: PLC0415  with a name it is not needed

        offer(project)
        return
    name: str = options.name
    check_name(project, "pull", name)
    keep_apart(project)
    check_engine(project)  # before gigabytes are pulled for nothing
    call(project, engine_command("pull", name), image_name=name)
    title = label(name, "org.opencontainers.image.title")
    if title != project.name:
        raise failed("image-of-another-project", project, image=name, label=title or "nothing")
    user = ask_engine("image", "inspect", "--format", "{{.Config.User}}", name)
    if user.stdout.strip():
        raise failed("image-has-user", project, image=name)
    runtime, dev = project.image("runtime"), project.image("dev")
    stands_in = image_id(dev) in ("", image_id(runtime))
    build_images(project, "runtime", extra_file=pull_file(project, name))
    if label(name, "io.hearth.answers.digest") != answers_digest(project):
        show("It was made from other answers than those of this clone.")
    if stands_in:
        call(project, engine_command("tag", runtime, dev))
        show(
            "There is no dev image yet: up and shell use this one. Compilers, editors, test tools "
            f"and uv come with: {me()} build dev"
        )
    commit = label(name, "org.opencontainers.image.revision")[:12]
    show(
        f"Pulled {name}{f' (commit {commit})' if commit else ''}. Run: {me()} run CMD, or {me()} up"
    )
