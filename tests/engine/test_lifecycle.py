"""A project over years: an old one comes to this version and runs; one that has left runs too."""

from __future__ import annotations

import shutil

import pytest

from tests.conftest import InGit
from tests.engine.conftest import MakeProject, give
from tests.support.updates import conflicts, update


@pytest.mark.parametrize("version", ["0.1.0"])
def test_a_project_of_an_older_version_is_built_and_started_after_its_update(
    releases: dict[str, str], project: MakeProject, in_git: InGit, version: str
) -> None:
    assert version in releases
    new = project("old-times", version=f"v{version}", project_kind="new")
    # What a person has edited, and soon installed.
    lists = {"apt-build.txt": "", "apt-dev.txt": "git\n"}
    for name, text in lists.items():
        new.write(f"docker-amd64/dependencies/{name}", text)
    new.build("dev")
    new.ok("up")
    new.ok("exec", "sh", "-c", "echo kept >~/notes")
    lock = (new.docker / "dependencies/uv.lock").read_text()
    in_git(new.folder)
    update(new.folder)
    assert conflicts(new.folder) == ""
    give(new.folder, new.owner)
    assert (new.docker / "dependencies/uv.lock").read_text() == lock
    for name, text in lists.items():
        assert (new.docker / "dependencies" / name).read_text() == text
    new.build("dev")
    new.ok("up")
    assert new.ok("exec", "sh", "-c", "cat ~/notes; python -m old_times | head -n 1").startswith(
        "kept\n"
    )


def test_a_project_that_left_the_template_needs_plain_compose_only(project: MakeProject) -> None:
    new = project("on-its-own", project_kind="new")
    new.build("dev")
    new.ok("eject", "-y")
    (new.docker / "template.sh").unlink()
    shutil.rmtree(new.docker / "host")
    new.compose("build", "dev")
    new.compose("up", "--detach", "dev")
    started = "until [ -e /tmp/.container-ready ]; do sleep 0.2; done"
    said = new.compose("exec", "-T", "dev", "sh", "-c", f"{started}; python -m on_its_own")
    assert "/workspace" in said
