"""The images: build, and pin, which keeps the base images what they were."""

from __future__ import annotations

import datetime as dt
import os
import re
from importlib import import_module
from typing import TYPE_CHECKING, Callable, Mapping, NamedTuple

from .abilities import abilities
from .ask import GIT_ALONE, capture, command, read_text
from .compose import call, check_engine, image_id, name_file, show, with_stdin
from .engine_words import PODMAN, ask_engine, compose, engine_command, engine_program, question
from .failures import failed
from .files import write_file
from .guard import guard
from .passwords import refuse_passwords
from .place import keep_apart
from .processor import ARCHITECTURES
from .project import PINS_FILE, USAGE, StopError, me
from .secret_files import refuse_logins
from .turn import turn

if TYPE_CHECKING:
    import argparse
    from types import ModuleType

    from .project import Distribution, Project

PINS_HEAD = """\
# What the Dockerfile names, as it was when it was pinned. Builds use it until ./template.sh pin
# takes what is newer; keep this file in git. What .env names wins.
x-pins: &pins
  build:
    args:"""
CI_HEAD = """
# What ./template.sh ci publish starts.
x-ci:"""
DIGESTS = "{{range .RepoDigests}}{{println .}}{{end}}"
GIT_LIMIT = 30  # seconds that a git server may take to answer
END_IS_NEAR = 90  # days before the last security update of a distribution, from which build says so


# ------------------------------------------------------------------------------------- building


def build_images(
    project: Project,
    *services: str,
    extra_file: str = "",
    env: Mapping[str, str] | None = None,
) -> None:
    """Build services of compose.yaml; `extra_file` is the text of one more Compose file.

    Raises:
        StopError: the build failed.
    """
    if not abilities(engine_program()).compose_builds:
        from .podman_build import build  # noqa: PLC0415  Docker needs none of it

        files = with_stdin(project) if extra_file else {}
        build(project, *services, extra_file=extra_file, env={**files, **(env or {})})
        return
    if not extra_file:
        call(project, compose("build", *services), to_stderr=True, env=env)
        return
    files = {**with_stdin(project), **(env or {})}
    call(project, compose("build", *services), stdin=extra_file, to_stderr=True, env=files)


def refuse_architecture(project: Project) -> None:
    """Raises StopError where the engine runs on another processor than the images are for.

    On a Mac the engine's machine is a virtual one, which is left to the user, as is
    DOCKER_DEFAULT_PLATFORM.
    """
    here = os.uname()
    if here.sysname != "Linux" or here.machine in ARCHITECTURES:
        return
    if "DOCKER_DEFAULT_PLATFORM" in os.environ:
        return
    engine = capture(*question("processor")).stdout.strip()
    if engine and engine not in ARCHITECTURES:
        raise failed("other-architecture", project, architecture=here.machine)


def build_tools(project: Project) -> None:
    """Bring the image up to date in which locks are made."""
    refuse_architecture(project)
    refuse_passwords(project)
    refuse_logins(project)
    keep_apart(project)
    pin_all(project)
    guard(project)
    refresh_images(project, {"tools": "tools"})


def refresh_images(project: Project, services: Mapping[str, str]) -> None:
    """Bring images up to date: if all are there, a build that succeeds says nothing.

    Args:
        project: the project.
        services: of compose.yaml, which are built, with the ends of their images' names.

    Raises:
        StopError: a build failed.
    """
    there = all(image_id(project.image(target)) for target in services.values())
    if not abilities(engine_program()).compose_builds:
        from .podman_build import build  # noqa: PLC0415

        build(project, *services, quiet=there)
        return
    if there:
        quiet = capture(*compose("--progress", "quiet", "build", *services), cwd=project.folder)
        if not quiet.returncode:
            return
    build_images(project, *services)  # shows what goes wrong, which a quiet build does not


def packages_of(project: Project) -> ModuleType:
    """The module of the package manager: plan_import, lock, lock_if_stale."""
    manager = "conda_packages" if project.package_manager == "conda" else "pip_packages"
    return import_module(f".{manager}", __package__)


def before_build(project: Project) -> None:
    """What is true of every build, whatever is built."""
    from .imports import name_changed_files  # noqa: PLC0415  it needs this module

    refuse_architecture(project)
    refuse_passwords(project)
    refuse_logins(project)
    keep_apart(project)
    with turn(project.folder, "build"):
        pin_all(project)
        name_changed_files(project)
        packages_of(project).lock_if_stale(project)


def build_options(parser: argparse.ArgumentParser) -> None:
    """Which images."""
    parser.add_argument(
        "image", nargs="*", metavar="IMAGE", help="runtime or dev; both without a name"
    )


def do_build(project: Project, options: argparse.Namespace) -> None:
    """Build images, with an up-to-date lock."""
    if options.workspace is not None:
        from .workspaces import build_workspace  # noqa: PLC0415  most builds are of none

        build_workspace(project, options.workspace)
        return
    images: list[str] = options.image or ["runtime", "dev"]
    for image in images:
        if image not in ("runtime", "dev"):
            raise StopError(
                f'There is no image "{image}"; there are runtime and dev.',
                f"{me()} build dev",
                name=USAGE,
            )
    before_build(project)
    build_images(project, *images)
    warn_of_end(project)
    after = "run CMD" if images == ["runtime"] else "up"
    show(f"Built: {' '.join(images)}. Run: {me()} {after}")


def warn_of_end(project: Project) -> None:
    """Say when the distribution of the images gets no more security updates."""
    if project.distribution and not project.settings.get("BASE_IMAGE"):
        end = end_of_updates(project.distribution, dt.datetime.now().astimezone().date())
        if end:
            newer = project.distribution.newer
            change = f"{me()} update" + (f" --data {newer}" if newer else "")
            show(f"{end}. Move on with: {change}")


def end_of_updates(distribution: Distribution, today: dt.date) -> str:
    """What to say of a distribution whose last security update is near or past; else ""."""
    end = dt.date.fromisoformat(distribution.maintained_until)
    left = (end - today).days
    if left > END_IS_NEAR:
        return ""
    when = f"only until {end}" if left >= 0 else f"no longer: they ended on {end}"
    return f"{distribution.name} gets security updates {when}"


# -------------------------------------------------------------- images by digest, sources by commit


def read_pins(project: Project) -> dict[str, str]:
    """The pins of compose.pins.yaml, which this program writes, by build argument."""
    text = read_text(project.folder / PINS_FILE)
    return dict(re.findall(r"(?m)^ *([A-Z0-9_]+): \$\{\1:-(.*)\}$", text))


def write_pins(project: Project, pins: Mapping[str, str]) -> None:
    """Write the pins for everything that is built; without any there is no file."""
    file = project.folder / PINS_FILE
    if not pins:
        if file.exists():
            file.unlink()
        return
    lines = {key: f"{key}: ${{{key}:-{pin}}}" for key, pin in pins.items()}
    of_ci = [f"  {lines.pop(key)}" for key in ci_pins(project) if key in lines]
    services = [f"  {name}: *pins" for name in project.builds]
    text = "\n".join([PINS_HEAD, *(f"      {line}" for line in lines.values() or ["{}"])])
    text += "\n".join(["", "", "services:", *services, ""])
    if of_ci:
        text += "\n".join([CI_HEAD, *of_ci, ""])
    write_file(file, text)


class Pinnable(NamedTuple):
    """What the Dockerfile names: an image, or a tag of a repository.

    Attributes:
        name: IMAGE:TAG, or REPOSITORY@TAG.
        keys: of .env, by each of which the user takes something else.
        find: gives the name with its digest or commit.
    """

    name: str
    keys: list[str]
    find: Callable[[Project, str, str], str]


def full_name(image: str) -> str:
    """The name of an image with the registry that Docker means where it has none."""
    first, _, rest = image.partition("/")
    if rest and (re.search("[.:]", first) or first == "localhost"):
        return image
    return f"docker.io/{image}" if rest else f"docker.io/library/{image}"


def short_name(repository: str) -> str:
    """The name of a repository without what is left out for Docker Hub."""
    for prefix in ("docker.io/", "library/"):
        repository = repository[len(prefix) :] if repository.startswith(prefix) else repository
    return repository


def digest_in(digests: str, repository: str) -> str:
    """The digest of a repository in lines of NAME@DIGEST, "" if it is in none."""
    pairs = (line.partition("@") for line in digests.splitlines())
    return next((digest for name, _, digest in pairs if short_name(name) == repository), "")


def pulled_digest(project: Project, name: str, repository: str) -> str:
    """The digest of an image as its registry has it now, after a pull; "" without an answer."""
    podman = engine_program() == PODMAN
    pull = engine_command("pull", *(["--retry", "0", full_name(name)] if podman else [name]))
    try:
        said = call(project, pull, capture=True)
    except StopError:
        return ""
    if podman:  # which says only the image's id
        said = ask_engine("image", "inspect", "--format", DIGESTS, said.strip()).stdout
        return digest_in(said, repository)
    found = re.search(r"(?m)^Digest: (\S+)$", said)
    return found.group(1) if found else ""


def digest_of(project: Project, name: str, otherwise: str) -> str:
    """NAME@sha256:... as its registry has it now; "" where that is not known, which is said.

    The image is pulled, as the build would do it. `otherwise` is what is true then.
    """
    repository = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
    repository = short_name(repository)
    here = ask_engine("image", "inspect", "--format", DIGESTS, name)
    known = "" if here.returncode else digest_in(here.stdout, repository)
    if not here.returncode:
        if not known:
            show(f"{name} was made on this machine and has no digest: {otherwise}.")
            return ""
    elif ask_engine("version").returncode:
        return ""  # the build will say it
    found = pulled_digest(project, name, repository)
    # Podman and containerd's store of images have a digest for what was made on this machine, too.
    status = "{{.DriverStatus}}"
    if engine_program() == PODMAN or (
        "io.containerd.snapshotter" in ask_engine("info", "--format", status).stdout
    ):
        known = ""
    if not found and not known:
        show(f"No registry tells the digest of {name}: {otherwise}.")
        return ""
    if not found:
        show(f"The registry does not answer: {name} is pinned as it is on this machine.")
    return f"{name}@{found or known}"


def commit_of_tag(project: Project, name: str, otherwise: str) -> str:
    """REPOSITORY@TAG@COMMIT as its server has it now; "" where that is not known, which is said."""
    repository, _, tag = name.rpartition("@")
    words = [*GIT_ALONE]
    mirror = project.settings.get("GIT_MIRROR")
    if mirror:
        # Builds have that folder there.
        here = project.settings.path("LOCAL_SOURCES_DIR") or project.folder / "sources"
        mirror = re.sub("^/mnt/sources(?=/|$)", lambda _: str(here), mirror).rstrip("/")
        words += ["-c", f"url.{mirror}/.insteadOf=https://github.com/"]
    # A mirror in a folder may belong to another user, as it may for the build.
    words += ["ls-remote", "--upload-pack=git -c safe.directory='*' upload-pack"]
    said = command([*words, repository, f"refs/tags/{tag}*"], GIT_LIMIT).out
    commits = {ref: commit for commit, ref in re.findall(r"(?m)^(\w+)\t(.*)$", said)}
    # A tag with words is an object of its own, which names its commit.
    commit = commits.get(f"refs/tags/{tag}^{{}}") or commits.get(f"refs/tags/{tag}", "")
    if not re.fullmatch("[0-9a-f]{40,64}", commit):
        show(f"No server tells the commit of {tag} of {repository}: {otherwise}.")
        return ""
    return f"{name}@{commit}"


def ci_pins(project: Project) -> dict[str, Pinnable]:
    """What is pinned for CI and is no argument of a build."""
    if not project.ci_images:
        return {}
    from .ci_images import scanner  # noqa: PLC0415  only projects with CI have it

    return scanner(project)


def pin_all(project: Project, *, refresh: bool = False) -> list[str]:
    """Pin what the Dockerfile and CI name and nobody has pinned yet, before anything is built.

    What is returned are the pins that are not in compose.pins.yaml.
    """
    if project.is_pinned:
        return []
    project.is_pinned = True
    named = {
        key: Pinnable(name, [key], digest_of)
        for key, name in project.base_images.items()
        if "@" not in name  # the Dockerfile itself has the digest
    }
    for key, (repository, tag) in project.sources.items():
        keys = [f"{key}_REPO", f"{key}_REF"]
        named[f"{key}_PIN"] = Pinnable(f"{repository}@{tag}", keys, commit_of_tag)
    named.update(ci_pins(project))
    pins, wanted = read_pins(project), {}
    for key, (name, keys, find) in named.items():
        pin, own = pins.get(key, ""), [one for one in keys if project.settings.get(one)]
        if pin and pin.rpartition("@")[0] != name:
            show(f"The project names {name} now: the pin of {pin.rpartition('@')[0]} is dropped.")
            pin = ""
        if own and refresh:
            show(f"{own[0]} is set in .env: it is not pinned.")
        if not own and (refresh or not pin):
            otherwise = "its pin stays" if pin else "it is not pinned"
            found = find(project, name, otherwise) or pin
            if found != pin:
                show(f"Pinned in {PINS_FILE}, which belongs in git: {found}")
            pin = found
        if pin:
            wanted[key] = pin
    write_pins(project, wanted)
    name_file(project, PINS_FILE)
    if not project.ci_images:
        return []
    from .ci_images import pin_pipeline  # noqa: PLC0415  only projects with CI have it

    return pin_pipeline(project, refresh=refresh)


def do_pin(project: Project, _: argparse.Namespace) -> None:
    """Pin all images, and each source that is compiled, to what its tag means now."""
    check_engine(project)
    of_pipeline = pin_all(project, refresh=True)
    for pin in [*read_pins(project).values(), *of_pipeline]:
        print(pin)
