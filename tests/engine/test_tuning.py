"""tuning.env and the limit of CPUs hold at every door, and what a person sets wins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.support.process import run
from tests.support.project import Project

LIMITED = {"COMPOSE_FILE": "compose.yaml:limit.yaml"}
LIMIT = "services: {runtime: {cpus: 1}, dev: {cpus: 1}}\n"
THREADS = "import os, torch; print(os.environ.get('OMP_NUM_THREADS'), torch.get_num_threads())"
IN_PYTHON = ["python", "-c", THREADS]
IN_LOGIN_SHELL = ["bash", "-lc", f'python -c "{THREADS}"']

more_than_one_cpu = pytest.mark.skipif(
    (os.cpu_count() or 1) < 2, reason="a limit of one CPU limits nothing on this machine"
)


@pytest.fixture(scope="module")
def limited(torch_project: Project) -> Iterator[Project]:
    """The project with a dev container that may use one CPU."""
    torch_project.write("docker-amd64/limit.yaml", LIMIT)
    torch_project.ok("up", env=LIMITED)
    yield torch_project
    torch_project.ok("down")
    (torch_project.docker / "limit.yaml").unlink()


def by_run(project: Project, command: list[str]) -> str:
    return project.ok("run", *command, env=LIMITED)


def by_exec(project: Project, command: list[str]) -> str:
    return project.ok("exec", *command, env=LIMITED)


def by_docker_exec(project: Project, command: list[str]) -> str:
    container = project.compose("ps", "--quiet", "dev").strip()
    return run("docker", "exec", container, *command).stdout


def by_docker_run(project: Project, command: list[str]) -> str:
    return run("docker", "run", "--rm", "--cpus", "1", project.image("runtime"), *command).stdout


def without_entrypoint(project: Project, command: list[str]) -> str:
    program, *arguments = command
    options = ["--rm", "--cpus", "1", "--entrypoint", program]
    return run("docker", "run", *options, project.image("runtime"), *arguments).stdout


def by_cleared_environment(project: Project, command: list[str]) -> str:
    """As sshd starts a command: nothing of the container's environment but PATH."""
    clear = ["env", "-i", "PATH=/opt/venv/bin:/usr/bin:/bin", "HOME=/home/user"]
    return by_docker_exec(project, [*clear, *command])


@more_than_one_cpu
@pytest.mark.parametrize("command", [IN_PYTHON, IN_LOGIN_SHELL], ids=["python", "bash -lc"])
@pytest.mark.parametrize(
    "door",
    [by_run, by_exec, by_docker_exec, by_docker_run, without_entrypoint, by_cleared_environment],
)
def test_a_limit_of_one_cpu_means_one_thread_at_every_door(
    limited: Project, door: Callable[[Project, list[str]], str], command: list[str]
) -> None:
    assert door(limited, command) == "1 1\n"


@more_than_one_cpu
@pytest.mark.parametrize("door", [by_run, by_docker_run])
def test_a_command_that_is_not_python_sees_the_limit_too(
    limited: Project, door: Callable[[Project, list[str]], str]
) -> None:
    assert door(limited, ["sh", "-c", "echo $OMP_NUM_THREADS"]) == "1\n"
    assert by_exec(limited, ["bash", "-lc", "echo $OMP_NUM_THREADS"]) == "1\n"


@more_than_one_cpu
def test_a_persons_own_number_of_threads_wins(limited: Project) -> None:
    assert limited.ok("run", "-e", "OMP_NUM_THREADS=2", *IN_PYTHON, env=LIMITED) == "2 2\n"
    own = ("exec", "-T", "-e", "OMP_NUM_THREADS=2", "dev")
    for command in (IN_PYTHON, IN_LOGIN_SHELL):
        assert limited.compose(*own, *command, env=LIMITED) == "2 2\n"
    off = limited.ok("run", "-e", "OMP_THREADS_BY_QUOTA=no", *IN_PYTHON, env=LIMITED)
    assert off.startswith("None ")


def test_without_a_limit_libraries_count_the_cpus_themselves(torch_project: Project) -> None:
    said = torch_project.ok("run", *IN_PYTHON)
    assert said == run("docker", "run", "--rm", torch_project.image("runtime"), *IN_PYTHON).stdout
    assert said.startswith("None ")


def test_a_setting_that_is_switched_on_holds_at_every_door(torch_project: Project) -> None:
    file = torch_project.docker / "tuning.env"
    before = file.read_text()
    line = "MALLOC_TRIM_THRESHOLD_=1073741824"
    assert f"# {line}\n" in before
    torch_project.write("docker-amd64/tuning.env", before.replace(f"# {line}", line))
    try:
        torch_project.build("runtime")
        image = torch_project.image("runtime")
        bare = ["docker", "run", "--rm", "--entrypoint", "python", image]
        show = "import os; print(os.environ['MALLOC_TRIM_THRESHOLD_'])"
        assert line in torch_project.ok("run", "env").splitlines()
        assert line in run("docker", "run", "--rm", image, "env").stdout.splitlines()
        assert run(*bare, "-c", show).stdout == "1073741824\n"
        own = ("run", "-e", "MALLOC_TRIM_THRESHOLD_=0", "env")
        assert "MALLOC_TRIM_THRESHOLD_=0" in torch_project.ok(*own).splitlines()
    finally:
        torch_project.write("docker-amd64/tuning.env", before)
        torch_project.build("runtime")
