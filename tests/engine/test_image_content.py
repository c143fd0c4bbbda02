"""What is in the images, and above all what is not."""

from __future__ import annotations

import pytest

from tests.support.image_rights import SETUID_OF_DEV, check
from tests.support.process import run
from tests.support.project import Project


@pytest.mark.parametrize("service", ["runtime", "dev"])
def test_an_image_gives_nothing_away_but_in_dev_the_environment_to_its_user(
    torch_project: Project, service: str
) -> None:
    known = SETUID_OF_DEV if service == "dev" else frozenset()
    check(torch_project.image(service), "debian:bookworm-slim", known)


@pytest.mark.parametrize("tool", ["gcc", "cc", "g++", "make", "ld", "uv", "git", "curl"])
def test_runtime_without_jit_has_no_tools_of_the_build(plain_project: Project, tool: str) -> None:
    command = ["docker", "run", "--rm", plain_project.image("runtime"), "sh", "-c"]
    assert run(*command, f"command -v {tool}").stdout == ""
    assert run(*command, "command -v python").stdout == "/opt/venv/bin/python\n"


@pytest.mark.parametrize("service", ["runtime", "dev", "tools"])
def test_any_uid_with_group_0_writes_to_nothing_that_is_installed(
    torch_project: Project, service: str
) -> None:
    # As a cluster runs it.
    anybody = ("docker", "run", "--rm", "--user", "4321:0", torch_project.image(service))
    assert (
        run(*anybody, "find", "/opt", "/usr", "/etc", "-writable", "!", "-type", "l").stdout == ""
    )


def test_apt_works_for_root_in_dev(torch_project: Project) -> None:
    torch_project.ok("up")
    result = torch_project.sh("root", "apt-get", "update", "-qq")
    assert result.returncode == 0, result.stderr
    assert "W:" not in result.stderr


def test_the_builders_own_checks_have_nothing_to_say(torch_project: Project) -> None:
    strict = ("--check", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=error=true", ".")
    result = run("docker", "build", *strict, cwd=torch_project.docker)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("service", ["runtime", "dev"])
def test_the_image_says_what_it_is_and_runs_as_its_person(
    torch_project: Project, service: str
) -> None:
    config = torch_project.config()["services"][service]
    image = config["image"]
    template = "{{index .Config.Labels `%s`}}"
    title = template % "org.opencontainers.image.title"
    base = template % "org.opencontainers.image.base.name"
    inspect = ["docker", "image", "inspect", "--format", f"{title} {base} {{{{.Config.User}}}}"]
    expected = f"my-project debian:bookworm-slim {torch_project.owner.uid}\n"
    assert run(*inspect, image).stdout == expected
