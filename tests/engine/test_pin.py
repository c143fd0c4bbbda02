"""What a project is built on stays what it was, although tags move: git keeps the digests."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from host.ci_images import digest_in_registry
from host.project import read_project
from tests.engine.conftest import MakeProject
from tests.engine.test_failures import advice, changed
from tests.support.build_log import nothing_built
from tests.support.process import run
from tests.support.project import Project
from tests.support.registry import Registry

DEBIAN = "debian:bookworm-slim"
MARK = "/etc/this-tag-moved"


@pytest.fixture(scope="module")
def moved_image() -> Iterator[str]:
    """What the tag means one day later: the same Debian with one more file."""
    name = "hearth-tests-moved:1"
    dockerfile = f"FROM {DEBIAN}\nRUN touch {MARK}\n"
    result = run("docker", "build", "--quiet", "--tag", name, "-", input=dockerfile)
    assert result.returncode == 0, result.stderr
    yield name
    run("docker", "image", "rm", name)


def name_base(project: Project, image: str) -> None:
    """As a template does whose table has this image: the Dockerfile names it, and project.json."""
    for path, line in {
        "docker-amd64/Dockerfile": r"(?<=^ARG BASE_IMAGE=).*$",
        "docker-amd64/host/project.json": r'(?<="BASE_IMAGE": ").*(?=")',
    }.items():
        text = (project.folder / path).read_text()
        project.write(path, re.sub(line, image, text, flags=re.MULTILINE))


@pytest.fixture
def base(registry: Registry) -> Iterator[str]:
    """A base image that the registry has under its first digest, and this machine not."""
    registry.push(DEBIAN, "debian", "12")
    yield f"{registry.address}/debian:12"
    registry.forget()


@pytest.fixture(scope="module")
def new(project: MakeProject) -> Project:
    made = project("on-a-pin")
    for name in ("apt-build", "apt-runtime"):  # the base image is what is tested
        made.write(f"docker-amd64/dependencies/{name}.txt", "")
    made.ok("lock")
    return made


@pytest.fixture
def pinless(new: Project, base: str) -> Project:
    """A project on that base image, as nobody has pinned it yet."""
    (new.docker / "compose.pins.yaml").unlink(missing_ok=True)
    new.set_env(COMPOSE_FILE="compose.yaml")
    name_base(new, base)
    return new


def pins(project: Project) -> list[str]:
    text = (project.docker / "compose.pins.yaml").read_text()
    return re.findall(r"^ +[A-Z_]+: \$\{[A-Z_]+:-(.+)\}$", text, re.MULTILINE)


def base_of(project: Project) -> set[str | None]:
    """The BASE_IMAGE that plain Compose hands to each of its builds; None is the Dockerfile's."""
    return {one["build"]["args"].get("BASE_IMAGE") for one in project.config()["services"].values()}


def has_moved(project: Project) -> bool:
    image = project.image("runtime")
    command = ("docker", "run", "--rm", "--entrypoint", "test", image, "-e", MARK)
    return run(*command).returncode == 0


def test_the_first_build_records_the_digest_and_later_ones_keep_to_it_although_the_tag_moves(
    pinless: Project, base: str, registry: Registry, moved_image: str
) -> None:
    first = registry.digest("debian", "12")
    log = pinless.build("runtime")
    assert f"Pinned in compose.pins.yaml, which belongs in git: {base}@{first}\n" in log
    assert pins(pinless) == [f"{base}@{first}"]
    assert base_of(pinless) == {f"{base}@{first}"}
    tracked = ("git", "check-ignore", "compose.pins.yaml")
    assert pinless.owner.run("git", "init", "--quiet", cwd=pinless.folder).returncode == 0
    assert pinless.owner.run(*tracked, cwd=pinless.docker).returncode == 1

    assert registry.push(moved_image, "debian", "12") != first
    assert nothing_built(*[lambda: pinless.build("runtime")] * 2)
    assert pins(pinless) == [f"{base}@{first}"]
    pinless.compose("build", "runtime")
    assert not has_moved(pinless)

    second = registry.digest("debian", "12")
    assert pinless.ok("pin") == f"{base}@{second}\n"
    pinless.build("runtime")
    assert has_moved(pinless)
    label = '{{index .Config.Labels "org.opencontainers.image.base.name"}}'
    inspect = ("docker", "image", "inspect", "--format", label, pinless.image("runtime"))
    assert run(*inspect).stdout == f"{base}@{second}\n"


def test_a_pinned_project_builds_without_a_registry(pinless: Project, registry: Registry) -> None:
    pinless.build("runtime")
    with registry.stopped():
        assert nothing_built(*[lambda: pinless.build("runtime")] * 2)


def test_a_colleague_builds_on_the_same_with_the_env_file_of_another_day(
    pinless: Project, base: str, registry: Registry
) -> None:
    pinless.build("runtime")
    pinless.set_env(COMPOSE_FILE="compose.yaml")
    assert base_of(pinless) == {None}
    pinless.build("runtime")
    assert base_of(pinless) == {f"{base}@{registry.digest('debian', '12')}"}


def test_another_image_in_the_dockerfile_drops_the_pin_and_gets_its_own(
    pinless: Project, base: str, registry: Registry, moved_image: str
) -> None:
    pinless.build("runtime")
    other = f"{registry.address}/debian:13"
    digest = registry.push(moved_image, "debian", "13")
    name_base(pinless, other)
    log = pinless.build("runtime")
    assert f"The project names {other} now: the pin of {base} is dropped.\n" in log
    assert pins(pinless) == [f"{other}@{digest}"]
    assert has_moved(pinless)

    name_base(pinless, DEBIAN)
    log = pinless.build("runtime")
    assert f"the pin of {other} is dropped" in log
    assert f"{DEBIAN} was made on this machine and has no digest: it is not pinned.\n" in log
    assert not (pinless.docker / "compose.pins.yaml").exists()
    assert base_of(pinless) == {None}


def test_without_the_registry_an_image_is_pinned_as_it_was_pulled(
    pinless: Project, base: str, registry: Registry
) -> None:
    digest = registry.digest("debian", "12")
    assert run("docker", "pull", "--quiet", base).returncode == 0
    with registry.stopped():
        log = pinless.build("runtime")
    assert f"The registry does not answer: {base} is pinned as it is on this machine.\n" in log
    assert pins(pinless) == [f"{base}@{digest}"]


def test_a_pin_that_cannot_be_renewed_stays(pinless: Project, registry: Registry) -> None:
    pinless.build("runtime")
    before = pins(pinless)
    registry.forget()
    with registry.stopped():
        result = pinless.sh("pin")
    assert re.search("No registry tells the digest of .*: its pin stays", result.stderr)
    assert pins(pinless) == before


def test_a_pin_that_the_registry_no_longer_has_is_explained(
    pinless: Project, base: str, registry: Registry
) -> None:
    pinless.build("runtime")
    path = pinless.docker / "compose.pins.yaml"
    gone = f"{base}@sha256:{'0' * 64}"
    text = path.read_text().replace(f"{base}@{registry.digest('debian', '12')}", gone)
    with changed(pinless, "docker-amd64/compose.pins.yaml", text):
        sentence, command = advice(pinless.sh("build", "runtime"), "not found")
    assert sentence == "The registry no longer has what compose.pins.yaml names."
    assert command.endswith("template.sh pin")


def test_an_image_that_env_names_goes_before_the_pin(pinless: Project) -> None:
    pinless.build("runtime")
    before = pins(pinless)
    env = (pinless.docker / ".env").read_text()
    with changed(pinless, "docker-amd64/.env", env):
        pinless.set_env(BASE_IMAGE=DEBIAN)
        assert base_of(pinless) == {DEBIAN}
        pinless.build("runtime")
        assert pins(pinless) == before
        result = pinless.sh("pin")
    assert "BASE_IMAGE is set in .env: it is not pinned." in result.stderr


def test_an_image_of_ci_gets_its_digest_from_the_registry_and_is_not_pulled(
    new: Project, base: str, registry: Registry
) -> None:
    here = read_project(new.docker)
    found = digest_in_registry(here, base, "it is not pinned")
    assert found == f"{base}@{registry.digest('debian', '12')}"
    assert run("docker", "image", "inspect", base).returncode
    with registry.stopped():
        assert digest_in_registry(here, base, "it is not pinned") == ""
