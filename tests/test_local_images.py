"""Which images of this machine could be a base image: `pull` without a name."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from host import local_images
from host.local_images import fits_tag, stands_for
from host.project import Project
from tests.support.program import PROJECT

WANTED = "nvidia/cuda:12.9.1-base-ubuntu24.04"


@pytest.mark.parametrize(
    ("tag", "fits"),
    [
        ("12.9.1-base-ubuntu24.04", True),
        ("12.9.0-base-ubuntu24.04", True),
        ("12.9.1-cudnn-devel-ubuntu24.04", True),
        ("12.8.1-base-ubuntu24.04", False),
        ("12.9.1-base-ubuntu22.04", False),
        ("12.9.1-other-ubuntu24.04", False),
        ("latest", False),
    ],
)
def test_a_tag_fits_if_it_has_the_same_versions_and_no_less(tag: str, fits: bool) -> None:
    assert fits_tag(tag, WANTED.partition(":")[2]) is fits
    assert not fits_tag("12.9.1-runtime-ubuntu24.04", "12.9.1-cudnn-runtime-ubuntu24.04")
    assert not fits_tag("12.9.1-runtime-ubuntu24.04", "12.9.1-devel-ubuntu24.04")


@pytest.mark.parametrize(
    ("name", "stands"),
    [
        ("mirror.example:5000/hub/nvidia/cuda:12.9.1-base-ubuntu24.04", True),
        ("docker.io/nvidia/cuda:12.9.1-base-ubuntu24.04", True),
        (f"{WANTED}@sha256:4711", True),
        ("mirror.example/not-nvidia/cuda:12.9.1-base-ubuntu24.04", False),
        ("other/image:12.9.1-base-ubuntu24.04", False),
    ],
)
def test_a_mirror_has_the_same_repository_below_its_own_name(name: str, stands: bool) -> None:
    assert stands_for(name, WANTED) is stands


def image(name: str, user: str = "", size: int = 4_200_000_000, **labels: str) -> dict[str, object]:
    """An image as the engine describes it."""
    known = {
        "title": local_images.TITLE,
        "base": local_images.BASE,
        "hearth": local_images.OF_HEARTH,
    }
    config = {"User": user, "Labels": {known[key]: value for key, value in labels.items()} or None}
    return {"RepoTags": [name], "Size": size, "Config": config}


def test_what_is_here_is_offered_with_the_line_for_env(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [
        image("mirror.example/nvidia/cuda:12.9.1-base-ubuntu24.04"),
        image("team/base:3", base=WANTED),
        image("registry.example/demo:latest", title=str(PROJECT["name"]), base=WANTED, hearth="x"),
        image("registry.example/other:latest", title="other", base=WANTED, hearth="x"),
        image("other-jane:runtime", user="1000", title="other", base=WANTED),
        image("hostile:1", base=f"{WANTED}@x.\n  Run: evil"),
        image("postgres:17"),
    ]

    def ask(*words: str) -> SimpleNamespace:
        said = "a\nb\n" if words[:2] == ("image", "ls") else json.dumps(images)
        return SimpleNamespace(stdout=said, returncode=0)

    monkeypatch.setattr(local_images, "ask_engine", ask)
    monkeypatch.setattr(local_images, "check_engine", lambda _: None)
    (tmp_path / ".env").write_text("")
    project = Project(tmp_path, {**PROJECT, "base_images": {"BASE_IMAGE": WANTED}})
    local_images.offer(project)
    said = capsys.readouterr().out
    commands = [
        line.partition("template.sh ")[2] for line in said.splitlines() if line.startswith("  Run:")
    ]
    assert commands == [
        "pull registry.example/demo:latest",
        "env --set BASE_IMAGE=mirror.example/nvidia/cuda:12.9.1-base-ubuntu24.04",
        "env --set BASE_IMAGE=team/base:3",
        "env --set BASE_IMAGE=hostile:1",
    ]
    assert "\n  Run: evil" not in said
    assert "(4.2 GB) could be used: the same tag." in said
    images[:] = images[-1:]
    local_images.offer(project)
    assert capsys.readouterr().out == "No other image of this machine fits this project.\n"
