"""The shell in dev: its prompt, its history, the environment of zsh, and sudo where chosen."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pexpect
import pytest

from tests.engine.conftest import MakeProject
from tests.support.process import run
from tests.support.project import Person, Project

PACKAGES = "git sudo tmux zsh zsh-autosuggestions zsh-syntax-highlighting"
BRANCH = "x$(touch${IFS}/tmp/run)%n"  # git allows it
# What a shell itself exports.
OF_THE_SHELL = "OLDPWD|PWD|SHLVL|_"
VARIABLES = f"env -0 | sort -z | tr '\\0' '\\n' | grep -vE '^({OF_THE_SHELL})='"
PROMPT_OF_BASH = 'eval "$PROMPT_COMMAND"; printf %s "${PS1@P}"'


@pytest.fixture(scope="module")
def zsh(project: MakeProject, jane: Person) -> Project:
    """A project with zsh and sudo, whose dev container runs; user and branch have odd names."""
    odd = dataclasses.replace(jane, name="Jane.D %x")
    new = project("in zsh", owner=odd, light=True, extras=["sudo"], shell="zsh")  # noqa: S604
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
        timeout=240,
        cwd=project.docker,
    )
    yield one
    one.close(force=True)


def test_zsh_shows_where_one_is_runs_no_name_of_a_branch_and_keeps_its_history(
    zsh: Project,
) -> None:
    colour = r"(?:\x1b\[[0-9;]*m)*"
    shown = (
        rf"{re.escape(zsh.owner.name)}@in-zsh{colour} \({re.escape(BRANCH)}\):{colour}/workspace"
    )
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
    show = "tmux new -d 'sleep 99' && tmux show -gv history-limit && tmux show -gv default-shell"
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


def test_every_program_in_dev_is_root_by_sudo_but_cannot_change_what_this_machine_runs(
    zsh: Project,
) -> None:
    zsh.set_env(HTTP_PROXY="http://127.0.0.1:9")
    zsh.ok("up")
    shown = "sudo -n id -u && sudo -n sh -c 'echo $HTTP_PROXY'"
    assert zsh.ok("exec", "sh", "-c", shown) == "0\nhttp://127.0.0.1:9\n"
    own = "sudo -n umount docker-amd64; sudo -n touch docker-amd64/template.sh; ls -A docker-amd64"
    said = zsh.sh("exec", "sh", "-c", own)
    assert "Read-only file system" in said.stderr
    assert ".env" not in said.stdout.split()


def test_runtime_has_no_sudo(zsh: Project) -> None:
    zsh.build("runtime", env={"HTTP_PROXY": ""})
    look = "command -v sudo; ls /etc/sudoers.d; grep NoNewPrivs /proc/self/status"
    assert zsh.ok("run", "sh", "-c", look).split() == ["NoNewPrivs:", "1"]
