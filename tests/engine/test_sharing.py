"""One engine for many: clones do not touch each other, and plain Compose does the same."""

from __future__ import annotations

import json
from typing import Any

from tests.engine.conftest import MakeProject
from tests.support.process import run
from tests.support.project import Project


def names(project: Project) -> set[str]:
    """Names of the project's containers, images, volumes and networks on the engine."""
    compose = project.config()
    label = f"label=com.docker.compose.project={compose['name']}"
    return {
        *run("docker", "ps", "-a", "-f", label, "--format", "{{.Names}}").stdout.split(),
        *run("docker", "volume", "ls", "-f", label, "--format", "{{.Name}}").stdout.split(),
        *run("docker", "network", "ls", "-f", label, "--format", "{{.Name}}").stdout.split(),
        *(service["image"] for service in compose["services"].values()),
    }


def test_two_clones_of_one_project_have_nothing_in_common_on_the_engine(
    plain_project: Project, project: MakeProject
) -> None:
    clone = project("a plain project")
    clone.build()
    for each in (plain_project, clone):
        each.ok("up")
        each.ok("exec", "sh", "-c", "echo mine >~/note")
    assert len(names(clone)) == len(names(plain_project)) == 7
    assert not names(clone) & names(plain_project)

    clone.ok("clean", "--all")
    services = ("runtime", "dev", "publish", "tools")
    assert not names(clone) - {clone.image(service) for service in services}
    assert run("docker", "image", "inspect", clone.image("dev")).returncode == 1
    assert plain_project.ok("exec", "cat", "/home/user/note") == "mine\n"
    plain_project.ok("run", "true")


def test_two_people_with_one_clone_each_have_a_home_of_their_own(plain_project: Project) -> None:
    config = plain_project.config()
    env = {"USRID": "4321", "USR": "someone", "COMPOSE_PROJECT_NAME": "a-plain-project-someone"}
    other = json.loads(plain_project.compose("config", "--format", "json", env=env))
    assert other["volumes"]["home"]["name"] != config["volumes"]["home"]["name"]
    assert other["services"]["dev"]["image"] != config["services"]["dev"]["image"]


def essence(project: Project) -> dict[str, Any]:
    """What a container is made of, without what is new, or in another order, at each start."""
    container = project.compose("ps", "--quiet", "dev").strip()
    (found,) = json.loads(run("docker", "inspect", container).stdout)
    del found["Config"]["Hostname"]
    found["Config"]["Env"].sort()
    found["Mounts"].sort(key=lambda mount: mount["Destination"])
    found["HostConfig"]["Binds"].sort()
    found["HostConfig"]["Mounts"].sort(key=lambda mount: mount["Target"])
    return {key: found[key] for key in ("Name", "Image", "Config", "HostConfig", "Mounts")}


def test_plain_docker_compose_up_starts_the_very_same_container(plain_project: Project) -> None:
    plain_project.ok("down")
    plain_project.ok("up")
    by_template = essence(plain_project)
    plain_project.ok("down")
    plain_project.compose("up", "--detach")
    assert essence(plain_project) == by_template
