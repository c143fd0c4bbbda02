"""The base images of a project: until when they are maintained, and the file that pins them."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import date, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, Generate
from tests.test_render import effective

DISTROS: dict[str, dict[str, str]] = yaml.safe_load((ROOT / "hooks/pins/pins.yml").read_text())[
    "distros"
]
DIGEST = f"sha256:{'7' * 64}"
# A registry that knows every image, and an engine for which every build succeeds.
DOCKER = f"""#!/bin/sh
case "$1 $2" in
    "image inspect") exit 1 ;;
    pull*) echo "Digest: {DIGEST}" ;;
esac
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for PATH with that docker; the test may put a `date` into it."""
    folder = tmp_path / "programs"
    folder.mkdir()
    program(folder / "docker", DOCKER)
    return folder


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def template_sh(project: Path, programs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [project / "docker-amd64/template.sh", *arguments],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def with_env(folder: Path, **values: str) -> Path:
    """The project with its example as .env, and a lock, so that `build` only builds."""
    text = (folder / "docker-amd64/.env.example").read_text()
    lines = [f"{key}={value}\n" for key, value in values.items()]
    (folder / "docker-amd64/.env").write_text("".join([text, *lines]))
    (folder / "docker-amd64/dependencies/uv.lock").touch()
    return folder


@pytest.fixture
def distro() -> str:
    """The distribution of `project`; a test that looks at it names several."""
    return next(iter(DISTROS))


@pytest.fixture
def project(distro: str, generate: Generate, tmp_path: Path) -> Path:
    answers: dict[str, Any] = {"linux_distro": distro, "torch_version": "none"}
    return with_env(generate(tmp_path / "project", **answers))


@pytest.mark.parametrize("distro", DISTROS)
def test_the_dockerfile_says_until_when_its_distribution_is_maintained(
    distro: str, project: Path
) -> None:
    end = DISTROS[distro]["eol"]
    assert date.fromisoformat(end) > date(2026, 1, 1)
    text = (project / "docker-amd64/Dockerfile").read_text()
    assert f"# {DISTROS[distro]['name']} gets security updates until {end}.\n" in text


def test_an_image_of_nvidia_has_the_end_of_its_ubuntu_and_another_release_is_the_way_on(
    generate: Generate, programs: Path, tmp_path: Path
) -> None:
    answers: dict[str, Any] = {"service": "ngc", "accelerator": "cuda", "ngc_release": "24.06"}
    folder = with_env(generate(tmp_path / "project", **answers))
    program(programs / "date", "#!/bin/sh\necho 2027-07-01\n")
    said = template_sh(folder, programs, "build").stderr
    assert "Ubuntu 22.04 gets no security updates since 2027-06-01." in said
    assert "update --data ngc_release=..." in said
    # Of which nobody knows what is in it, none is made up.
    unknown = generate(tmp_path / "unknown", **(answers | {"ngc_release": "26.08"}))
    assert "security updates" not in (unknown / "docker-amd64/Dockerfile").read_text()


# Each distribution and each distance once.
ANNOUNCEMENTS = [
    (2000, None),
    (91, None),
    (90, "gets security updates only until {}"),
    (60, "gets security updates only until {}"),
    (0, "gets security updates only until {}"),
    (-1, "gets no security updates since {}"),
    (-400, "gets no security updates since {}"),
]


@pytest.mark.parametrize(
    ("distro", "days", "words"),
    [
        (name, *announcement)
        for name, announcement in zip(cycle(DISTROS), ANNOUNCEMENTS, strict=False)
    ],
)
def test_a_build_announces_the_end_from_ninety_days_before(
    distro: str, project: Path, programs: Path, days: int, words: str | None
) -> None:
    end = date.fromisoformat(DISTROS[distro]["eol"])
    program(programs / "date", f"#!/bin/sh\necho {end - timedelta(days)}\n")
    result = template_sh(project, programs, "build")
    assert result.returncode == 0, result.stderr
    found = re.findall(r"(?m)^.*security updates.*$", result.stderr)
    if words is None:
        assert found == []
    else:
        expected = f"{DISTROS[distro]['name']} {words.format(end)}. Move on with: "
        script = project / "docker-amd64/template.sh"
        assert found == [f"{expected}{script} update --data linux_distro=..."]


def test_a_base_image_of_ones_own_has_an_end_that_nobody_here_knows(
    generate: Generate, programs: Path, tmp_path: Path
) -> None:
    folder = with_env(generate(tmp_path / "own"), BASE_IMAGE="lab.example/base:1")
    program(programs / "date", "#!/bin/sh\necho 2039-01-01\n")
    result = template_sh(folder, programs, "build")
    assert result.returncode == 0, result.stderr
    assert "security updates" not in result.stderr


def test_compose_takes_the_pins_for_everything_that_it_builds(
    project: Path, programs: Path
) -> None:
    result = template_sh(project, programs, "pin")
    assert result.returncode == 0, result.stderr
    dockerfile = (project / "docker-amd64/Dockerfile").read_text()
    named = dict(re.findall(r"(?m)^ARG (\w+_IMAGE)=(.+)$", dockerfile))
    assert result.stdout.splitlines() == [f"{image}@{DIGEST}" for image in named.values()]

    env = (project / "docker-amd64/.env").read_text()
    assert "\nCOMPOSE_FILE=compose.yaml:compose.pins.yaml\n" in env
    config = effective(project / "docker-amd64")
    expected = {key: f"{image}@{DIGEST}" for key, image in named.items()}
    for service in config["services"].values():
        assert service["build"]["args"].items() >= expected.items()
    own = effective(project / "docker-amd64", BASE_IMAGE="lab.example/base:1")
    assert own["services"]["dev"]["build"]["args"]["BASE_IMAGE"] == "lab.example/base:1"


def test_a_second_build_leaves_the_pins_as_they_are(project: Path, programs: Path) -> None:
    assert template_sh(project, programs, "build").returncode == 0
    pins = project / "docker-amd64/compose.pins.yaml"
    before = pins.read_bytes(), pins.stat().st_mtime_ns
    program(programs / "docker", DOCKER.replace("7", "8"))
    assert template_sh(project, programs, "build").returncode == 0
    assert (pins.read_bytes(), pins.stat().st_mtime_ns) == before


def test_a_password_in_the_address_of_a_source_gets_into_no_image(
    generate: Generate, programs: Path, tmp_path: Path
) -> None:
    answers: dict[str, Any] = {"service": "train", "pytorch_build": "source", "magma": True}
    folder = generate(tmp_path / "own", accelerator="cuda", **answers)
    example = (folder / "docker-amd64/.env.example").read_text()
    keys = {
        key
        for key in effective_arguments(folder)
        if key.endswith(("_INDEX", "_MIRROR", "_URL", "_REPO"))
    }
    assert {"APT_MIRROR", "UV_DEFAULT_INDEX", "PYTORCH_REPO", "MAGMA_URL"} <= keys
    for key in keys:
        (folder / "docker-amd64/.env").write_text(f"{example}{key}=https://jane:pw@x.example/\n")
        for verb in (["build"], ["wheels"], ["publish", "registry.example/team/own"]):
            result = template_sh(folder, programs, *verb)
            assert result.returncode == 1
            assert f"{key} in .env holds a password" in result.stderr
    # A name by which everybody may read is no secret.
    with_env(folder, PYTORCH_REPO="ssh://git@example.com/pytorch.git")
    assert template_sh(folder, programs, "wheels").stderr.count("holds a password") == 0


def effective_arguments(folder: Path) -> list[str]:
    """The keys of .env that a project's builds are handed."""
    compose = yaml.safe_load((folder / "docker-amd64/compose.yaml").read_text())
    return list(compose["x-build"]["args"])
