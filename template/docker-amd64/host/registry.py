"""Images for others: publish, pull."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from .ask import capture
from .checkout import recorded
from .compose import call, check_engine, image_id, show
from .engine_words import ask_engine, engine_command
from .failures import failed
from .images import before_build, build_images, warn_of_end
from .passwords import refuse_proxies
from .project import me

if TYPE_CHECKING:
    import argparse

    from .project import Project

NAME = re.compile(
    r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?"
)


def publish_options(parser: argparse.ArgumentParser) -> None:
    """The image in a registry."""
    parser.add_argument("name", metavar="NAME[:TAG]", help="such as registry.example/team/project")


pull_options = publish_options


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


def origin(project: Project) -> str:
    """Where git has the project from, if that is an address for others; without a password."""
    url = capture("git", "config", "--get", "remote.origin.url", cwd=project.folder).stdout.strip()
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


def publish_file(project: Project, name: str, revision: str) -> str:
    """The Compose file that gives the service publish its name and labels."""
    try:
        answers = (project.root / project.answers_file).read_text("utf-8", "replace")
    except OSError:
        answers = ""
    labels = {
        "io.hearth.template.version": recorded(answers, "_commit") or "unknown",
        "io.hearth.answers.digest": answers_digest(project),
        "org.opencontainers.image.revision": revision,
        "org.opencontainers.image.source": origin(project),
    }
    lines = ["services:", "  publish:", f"    image: {name}", "    build:", "      labels:"]
    for key, value in labels.items():
        quoted = value.replace("'", "''").replace("$", "$$")
        lines += [f"        {key}: '{quoted}'"] if value else []
    return "\n".join([*lines, ""])


def do_publish(project: Project, options: argparse.Namespace) -> None:
    """Build the user-agnostic image with labels, and push it."""
    name: str = options.name
    check_name(project, "publish", name)
    refuse_proxies(project)
    before_build(project)
    revision = commit_of(project)
    names: list[str] = [name]
    if not tag_of(name):
        names = [f"{name}:latest"] + ([f"{name}:{revision[:12]}"] if revision else [])
    # Compose labels an image with the project's name, which has the user's in it.
    bare = {"COMPOSE_PROJECT_NAME": project.name}
    build_images(project, "publish", extra_file=publish_file(project, names[0], revision), env=bare)
    for one in names:
        if one != names[0]:
            call(project, engine_command("tag", names[0], one))
        call(project, engine_command("push", one), image_name=one)
    warn_of_end(project)
    show(f"Published {' '.join(names)}. In another clone, run: {me()} pull {names[0]}")


def pull_file(project: Project, name: str) -> str:
    """The Compose file in which the stage publish is the pulled image.

    So only the user's small layer is built. BuildKit looks at base images even where they are not
    used: it is given one that is here.
    """
    lines = ["services:", "  runtime:", "    build:"]
    lines += [f"      additional_contexts: {{publish: 'docker-image://{name}'}}", "      args:"]
    return "\n".join([*lines, *(f"        {key}: '{name}'" for key in project.base_images), ""])


def do_pull(project: Project, options: argparse.Namespace) -> None:
    """Pull an image that was published from this project, and add this user to it."""
    name: str = options.name
    check_name(project, "pull", name)
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
