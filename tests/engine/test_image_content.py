"""What is in the images, and above all what is not."""

from __future__ import annotations

import shlex

import pytest

from tests.support.process import run
from tests.support.project import Project

# The base's own are subtracted: what a distribution ships is not the template's to judge.
SETUID = "find / -xdev ( -perm -4000 -o -perm -2000 ) -type f"
WORLD_WRITABLE = "find / -xdev -perm -0002 ! -type l ! -path /proc/* ! -path /sys/* ! -path /dev/*"


def inside(image: str, command: str) -> list[str]:
    """Lines that a command prints as root in a container without the entrypoint."""
    program, *arguments = shlex.split(command)
    options = ["--rm", "--user", "0", "--entrypoint", program]
    result = run("docker", "run", *options, image, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("service", "known"),
    [
        ("runtime", set()),
        # Of openssh-client and tmux in apt-dev.txt; compose.yaml's no-new-privileges disarms them.
        (
            "dev",
            {
                "/usr/bin/ssh-agent",
                "/usr/lib/openssh/ssh-keysign",
                "/usr/lib/x86_64-linux-gnu/utempter/utempter",
            },
        ),
    ],
)
def test_no_file_that_the_base_does_not_have_gives_its_rights_away(
    torch_project: Project, service: str, known: set[str]
) -> None:
    ours, base = (
        set(inside(image, SETUID))
        for image in (torch_project.image(service), "debian:bookworm-slim")
    )
    assert ours - base == known


@pytest.mark.parametrize("service", ["runtime", "dev"])
def test_everybody_may_write_only_where_every_linux_lets_them(
    torch_project: Project, service: str
) -> None:
    found = inside(torch_project.image(service), WORLD_WRITABLE)
    assert set(found) <= {"/tmp", "/var/tmp", "/run/lock"}
    sticky = inside(torch_project.image(service), "find /tmp /var/tmp -maxdepth 0 -perm 1777")
    assert sticky == ["/tmp", "/var/tmp"]


@pytest.mark.parametrize("tool", ["gcc", "cc", "g++", "make", "ld", "uv", "git", "curl"])
def test_runtime_without_jit_has_no_tools_of_the_build(plain_project: Project, tool: str) -> None:
    command = ["docker", "run", "--rm", plain_project.image("runtime"), "sh", "-c"]
    assert run(*command, f"command -v {tool}").stdout == ""
    assert run(*command, "command -v python").stdout == "/opt/venv/bin/python\n"


@pytest.mark.parametrize("service", ["runtime", "dev"])
def test_a_person_cannot_change_the_image_but_in_dev_the_environment(
    torch_project: Project, service: str
) -> None:
    container = ("docker", "run", "--rm", torch_project.image(service))
    search = ("find", "/opt", "/usr", "/etc", "-writable", "!", "-type", "l")
    writable = run(*container, *search).stdout.splitlines()
    if service == "runtime":
        assert writable == []
    else:
        assert writable
        assert all(path.startswith("/opt/venv") for path in writable)
    # As a cluster runs it: any UID, with group 0.
    anybody = ("docker", "run", "--rm", "--user", "4321:0", torch_project.image(service))
    assert run(*anybody, *search).stdout == ""


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
