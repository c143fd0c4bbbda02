"""Looks for a secret in all that a project makes: layers, settings and histories of images, git."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable

from tests.support.git import git
from tests.support.process import run
from tests.support.project import Project

# In every image, to see that layers are not compressed in what is looked through.
CONTROL = "opt/container/entrypoint.sh"


def found_in(project: Project, services: Iterable[str], *secrets: str) -> list[str]:
    """The places that have one of the secrets: images of these services, and what git would take.

    An image is looked through as `docker save` writes it: every file of every layer, also of one
    that a later layer removes, and its settings with labels and history.

    Raises:
        AssertionError: the images could not be looked through.
    """
    images = [project.image(service) for service in services]
    words = [word for text in (CONTROL, *secrets) for word in ("-e", text)]
    script = 'images=$1; shift; docker save $images | LC_ALL=C grep -aoF "$@" | sort -u'
    seen = run("bash", "-c", script, "bash", " ".join(images), *words)
    lines = seen.stdout.splitlines()
    assert CONTROL in lines, seen.stderr
    places = [f"an image has {line}" for line in lines if line != CONTROL]
    with tempfile.TemporaryDirectory() as folder:
        paths = (f"--git-dir={folder}/git", f"--work-tree={project.folder}")
        git(project.folder, *paths, "init", "--quiet")
        git(project.folder, *paths, "add", "--all")
        for secret in secrets:
            asked = ("grep", "--cached", "--text", "-lF", "-e", secret)
            names = run("git", *paths, *asked, cwd=project.folder).stdout.splitlines()
            places += [f"git has {secret} in {name}" for name in names]
    return places
