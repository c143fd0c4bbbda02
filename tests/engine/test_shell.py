"""The shell in dev: what its prompt shows, what it keeps, and that zsh has bash's environment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pexpect
import pytest

from tests.engine.conftest import MakeProject
from tests.support.process import run
from tests.support.project import Project

PACKAGES = "git tmux zsh zsh-autosuggestions zsh-syntax-highlighting"
BRANCH = "x$(touch${IFS}/tmp/run)%n"  # git allows it
# What a shell itself exports.
OF_THE_SHELL = "OLDPWD|PWD|SHLVL|_"
VARIABLES = f"env -0 | sort -z | tr '\\0' '\\n' | grep -vE '^({OF_THE_SHELL})='"
PROMPT_OF_BASH = 'eval "$PROMPT_COMMAND"; printf %s "${PS1@P}"'


@pytest.fixture(scope="module")
def zsh(project: MakeProject) -> Project:
    """A project with zsh, whose dev container runs and whose code has a branch of an odd name."""
    new = project("in zsh", light=True, shell="zsh")
    new.write("docker-amd64/dependencies/apt-dev.txt", PACKAGES.replace(" ", "\n"))
    new.build("dev")
    new.ok("up")
    new.ok("exec", "git", "init", "--quiet", "--initial-branch", BRANCH)
    return new


@contextmanager
def terminal(project: Project, *words: str) -> Iterator[pexpect.spawn[str]]:
    """`template.sh shell WORDS` on a terminal."""
    person = project.owner
    call = [*person.prefix(), str(project.docker / "template.sh"), "shell", *words]
    one = pexpect.spawn(
        call[0],
        call[1:],
        env=person.environment(),
        encoding="utf-8",
        timeout=20,
        cwd=project.docker,
    )
    yield one
    one.close(force=True)


def test_zsh_shows_where_one_is_runs_no_name_of_a_branch_and_keeps_its_history(
    zsh: Project,
) -> None:
    colour = r"(?:\x1b\[[0-9;]*m)*"
    shown = rf"{zsh.owner.name}@in-zsh{colour} \({re.escape(BRANCH)}\):{colour}/workspace"
    with terminal(zsh) as first:
        # Without a question first, though there is no ~/.zshrc.
        first.expect(shown)
        first.sendline("echo pip-install x[y] $((6 * 7)) # a comment")
        first.expect_exact("pip-install x[y] 42\r\n")
        first.expect(shown)
    assert zsh.sh("exec", "test", "-e", "/tmp/run").returncode == 1
    assert ".zshrc" not in zsh.ok("exec", "ls", "-A", "/home/user").split()
    zsh.ok("down")
    zsh.ok("up")
    zsh.ok("exec", "sh", "-c", "echo \"PROMPT='my own> '\" >~/.zshrc")
    with terminal(zsh, "zsh") as second:
        second.expect_exact("my own> ")
        second.send("echo pip-in")
        second.expect_exact("stall x[y]")  # suggested from before
    assert zsh.ok("exec", "cat", "/home/user/.zshrc") == "PROMPT='my own> '\n"


@pytest.mark.parametrize("options", ["-c", "-lc", "-ic", "-lic"])
def test_zsh_has_the_environment_of_bash(zsh: Project, options: str) -> None:
    by_bash, by_zsh = (zsh.ok("exec", shell, options, VARIABLES) for shell in ("bash", "zsh"))
    assert by_zsh == by_bash
    assert "PATH=/home/user/.project/bin:/opt/venv/bin:" in by_zsh


def test_zsh_is_the_shell_of_ssh_and_tmux_and_tmux_scrolls_far_back(zsh: Project) -> None:
    assert zsh.ok("exec", "sh", "-c", 'getent passwd "$(id -u)"').endswith(":/bin/zsh\n")
    show = "tmux new -d 'sleep 9' && tmux show -gv history-limit && tmux show -gv default-shell"
    assert zsh.ok("exec", "sh", "-c", show) == "100000\n/bin/zsh\n"


def test_bash_shows_the_same_and_whether_there_are_gpus(zsh: Project) -> None:
    name = zsh.owner.name
    shown = zsh.ok("shell", "bash", "-ic", PROMPT_OF_BASH)
    assert shown == f"{name}@in-zsh ({BRANCH}):/workspace$ "
    call = ("docker", "run", "--rm", "--env", "NVIDIA_DRIVER_CAPABILITIES=compute")
    bash = ("--workdir", "/", zsh.image("dev"), "bash", "-ic", PROMPT_OF_BASH)
    assert run(*call, *bash).stdout == f"{name}@in-zsh (no GPU):/$ "
    device = ("--device", "/dev/null:/dev/nvidia3")
    assert run(*call, *device, *bash).stdout == f"{name}@in-zsh (GPU):/$ "
