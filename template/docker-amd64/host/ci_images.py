"""The images that CI starts, by digest: GitLab's for its pipeline, and what lists packages.

No build needs them, so registries are asked for their digests, and nothing is pulled. The digests
of the pipeline's are in the pipeline itself, where GitLab and Renovate read them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .ask import capture, command, read_json, read_text
from .ci_pipeline import DIGEST, PIPELINE
from .compose import show
from .engine_words import PODMAN, ask_engine, engine_program
from .files import write_file
from .images import Pinnable, digest_of
from .project import me

if TYPE_CHECKING:
    from .project import Project

SCANNER = "SCANNER_IMAGE"  # its name in compose.pins.yaml
LIMIT = 10  # seconds that a registry may take to answer


def digest_in_registry(project: Project, name: str, otherwise: str) -> str:
    """NAME@sha256:... as its registry has it now; "" where that is not known, which is said.

    Where this machine reaches no registry, its engine may: then the image is pulled. These images
    are of one registry: behind a firewall, each build waits for the first one only.
    """
    if not project.registry_answers:
        show(f"No registry tells the digest of {name}: {otherwise}.")
        return ""
    if engine_program() != PODMAN:
        # Of {{.Manifest.Digest}}, buildx makes its own report.
        words = ["docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}"]
        found = str(read_json(command([*words, name], LIMIT).out).get("digest"))
        if re.fullmatch(DIGEST, found):
            return f"{name}@{found}"
    found = digest_of(project, name, otherwise)
    made_here = not found and not ask_engine("image", "inspect", name).returncode
    project.registry_answers = bool(found) or made_here
    return found


def scanner(project: Project) -> dict[str, Pinnable]:
    """The image that lists packages, by its name in compose.pins.yaml."""
    return {SCANNER: Pinnable(project.ci_images["scanner"], [], digest_in_registry)}


def pin_pipeline(project: Project, *, refresh: bool) -> list[str]:
    """Pin what image.gitlab-ci.yml names as the template does; the names with their digests.

    Args:
        project: the project.
        refresh: whether those that have a digest get the one that their tag means now.
    """
    path = project.folder / PIPELINE
    before = text = read_text(path)
    pins = []
    for name in project.ci_images.get("pipeline", ()):
        # With its digest, if it has one; a tag of the user's own is another name.
        named = re.compile(rf"(?m)(?<=[ '\"]){re.escape(name)}(@{DIGEST})?(?=['\"\s]|$)")
        there = named.search(text)
        if not there:
            continue
        pin = there.group() if there.group(1) else ""
        if refresh or not pin:
            otherwise = "its pin stays" if pin else "it is not pinned"
            found = digest_in_registry(project, name, otherwise) or pin
            if found != pin:
                show(f"Pinned in {PIPELINE}, which belongs in git: {found}")
                text = named.sub(found, text)
            pin = found
        if pin:
            pins.append(pin)
    if text != before:
        write_file(path, text, mode=None)
        prefix = capture("git", "rev-parse", "--show-prefix", cwd=project.root)
        if prefix.stdout.strip():
            show(f"GitLab reads the one in the repository's root. Run: {me()} ci place")
    return pins


def new_pins(project: Project) -> bool:
    """Whether a digest in image.gitlab-ci.yml is not in git yet."""
    here = read_text(project.folder / PIPELINE)
    committed = capture("git", "cat-file", "blob", f"HEAD:./{PIPELINE}", cwd=project.folder).stdout
    return not {*re.findall(DIGEST, here)} <= {*re.findall(DIGEST, committed)}
