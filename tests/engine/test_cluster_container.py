"""A container on a node of a cluster: any user, nothing to write to, tasks that start at once."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import run
from tests.support.project import Project

UID, GID = 12345, 6789
SEVERAL = 8
ENTRYPOINT = "/opt/container/entrypoint.sh"
BARE = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
# Each task writes its line with one call: unbuffered, `print` writes the newline with a second
# one, and lines of tasks side by side run together.
SEEN = """
import json, os, sys, my_project
names = ("HOME", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
sys.stdout.write(json.dumps({name: os.environ.get(name, "") for name in names}) + "\\n")
"""
CHECKPOINT = """
import signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, save)
print("at work", flush=True)
time.sleep(60)
"""
ALL_REDUCE = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
found = torch.full((4,), dist.get_rank() + 1.0)
dist.all_reduce(found)
print(found.tolist(), os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"])
"""


class Node:
    """A node with a folder that each job may write to, as /tmp."""

    def __init__(self, folder: Path, project: Project) -> None:
        """Take an empty folder and a project whose image is built."""
        self.folder, self.project = folder, project
        self.image = project.image("runtime")
        folder.mkdir()
        folder.chmod(0o1777)
        self.home = folder / "job-7"

    def options(self, *more: str, **env: str) -> list[str]:
        """The options of `docker run` for a container of job 7."""
        known = {"CONTAINER_HOME": "/node/job-7", **env}
        mounts = (f"{self.project.folder}:/workspace:ro", f"{self.folder}:/node")
        return [
            *("--rm", "--user", f"{UID}:{GID}", "--tmpfs", "/tmp", *BARE),
            *(f"--volume={mount}" for mount in mounts),
            *(f"--env={name}={value}" for name, value in known.items()),
            *more,
        ]

    def start(self, *command: str, more: tuple[str, ...] = (), **env: str) -> Any:
        """Run a command in a container; its status and what it prints."""
        return run("docker", "run", *self.options(*more, **env), self.image, *command)


@pytest.fixture
def node(open_folder: Path, cluster_project: Project, request: pytest.FixtureRequest) -> Node:
    return Node(
        open_folder / f"node-{request.node.name[:40]}-{time.monotonic_ns()}", cluster_project
    )


def files_in(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def test_the_first_of_several_containers_installs_for_all(node: Node) -> None:
    before = files_in(node.project.folder)
    command = ["docker", "run", *node.options(), node.image, "python", "-c", SEEN]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipes) for _ in range(SEVERAL)]  # type: ignore[call-overload]
    said = [one.communicate() for one in started]
    assert [one.returncode for one in started] == [0] * SEVERAL, said
    assert [json.loads(out)["HOME"] for out, _ in said] == ["/node/job-7"] * SEVERAL
    assert sum("installing the project" in err for _, err in said) == 1
    found = node.home.stat()
    assert (found.st_mode & 0o777, found.st_uid) == (0o700, UID)
    assert files_in(node.project.folder) == before


def test_several_tasks_of_one_container_have_their_ranks_and_statuses(node: Node) -> None:
    tasks = f"""
        for rank in $(seq 0 {SEVERAL - 1}); do
            SLURM_PROCID=$rank SLURM_LOCALID=$rank {ENTRYPOINT} \\
                bash -c 'python -c "$SEEN" && exit "$RANK"' & ids+=($!)
        done
        for id in "${{ids[@]}}"; do wait "$id"; statuses+=("$?"); done
        echo "${{statuses[@]}}"
    """
    step = {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_NUM_TASKS": str(SEVERAL),
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_TASKS_PER_NODE": str(SEVERAL),
        "SLURM_NODEID": "0",
        "SEEN": SEEN,
    }
    done = node.start("-c", tasks, more=("--entrypoint=bash",), **step)
    *lines, statuses = done.stdout.splitlines()
    numbers = [str(number) for number in range(SEVERAL)]
    assert statuses.split() == numbers, done.stderr
    seen = sorted((json.loads(line) for line in lines), key=lambda task: int(task["RANK"]))
    assert [task["RANK"] for task in seen] == [task["LOCAL_RANK"] for task in seen] == numbers
    assert {task["MASTER_ADDR"] + ":" + task["MASTER_PORT"] for task in seen} == {"127.0.0.1:20007"}
    assert done.stderr.count("installing the project") == 1


def test_the_signal_before_the_time_limit_reaches_the_program(node: Node) -> None:
    name = f"hearth-cluster-{os.getpid()}"
    options = [option for option in node.options() if option != "--rm"]
    detached = ("docker", "run", "--detach", "--name", name, *options, node.image)
    assert run(*detached, "python", "-c", CHECKPOINT).returncode == 0
    try:
        end = time.monotonic() + 240
        while "at work" not in run("docker", "logs", name).stdout and time.monotonic() < end:
            time.sleep(0.1)
        run("docker", "stop", "--time", "30", name)
        assert run("docker", "wait", name).stdout == "3\n"
        assert run("docker", "logs", name).stdout == "at work\nsaved\n"
    finally:
        run("docker", "rm", "--force", name)


@pytest.mark.parametrize("kind", ["folder", "link", "file"])
def test_a_home_that_somebody_else_made_is_refused(node: Node, kind: str) -> None:
    trap = node.folder / "trap"
    trap.mkdir()
    os.chown(trap, UID, GID)
    if kind == "folder":
        node.home.mkdir(mode=0o777)
    elif kind == "link":
        node.home.symlink_to("trap")
    else:
        node.home.write_text("")
        os.chown(node.home, UID, GID)
    done = node.start("echo", "started")
    assert (done.returncode, done.stdout) == (78, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not files_in(trap)


def test_a_volume_that_is_mounted_as_the_home_may_belong_to_root(node: Node) -> None:
    volume = node.folder / "volume"
    volume.mkdir()
    os.chown(volume, -1, GID)
    volume.chmod(0o2775)
    mount = (f"--volume={volume}:/volume",)
    done = node.start("python", "-c", SEEN, more=mount, CONTAINER_HOME="/volume")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["HOME"] == "/volume"


def test_the_shared_home_of_the_user_stays_as_it_is(node: Node) -> None:
    shared = node.folder / "shared"
    shared.mkdir()
    os.chown(shared, UID, GID)
    caches = "import os, torch; print(os.path.expanduser('~'), torch.hub.get_dir())"
    done = node.start("python", "-c", caches, HOME="/node/shared", TMPDIR="/scratch/not-mounted")
    assert done.stdout.split() == ["/node/job-7", "/node/job-7/.cache/torch/hub"], done.stderr
    assert not files_in(shared)


def test_temporary_files_are_in_a_home_that_is_on_the_node(node: Node) -> None:
    seen = "import tempfile; print(tempfile.gettempdir())"
    home = "/tmp/job-7"
    for given, place in (("/tmp", f"{home}/tmp"), ("/dev/shm", "/dev/shm")):
        done = node.start("python", "-c", seen, CONTAINER_HOME=home, TMPDIR=given)
        assert done.stdout.split() == [place], done.stderr


def test_where_nothing_can_be_written_the_command_starts(node: Node) -> None:
    options = node.options(CONTAINER_HOME="/nowhere/job-7", VERIFY_FIRST="1")
    at = options.index("--tmpfs")
    options[at : at + 2] = []
    command = ("docker", "run", *options, node.image, "python", "-c", SEEN)
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert "--tmpfs /tmp" in done.stderr


def test_verify_runs_once_for_each_start_of_a_job_on_a_node(node: Node) -> None:
    for _ in range(2):
        done = node.start("echo", "started", VERIFY_FIRST="1", SLURM_JOB_ID="7")
        assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr
        lines = [line for line in done.stderr.splitlines() if "verify" in line]
        assert len(lines) == (0 if _ else 1)
    for _ in range(2):
        again = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1", "CHOSEN_TORCH": "2.0.0"}
        done = node.start("echo", "started", more=(), VERIFY_FIRST="1", **again)
        assert (done.returncode, done.stdout) == (78, "")
        # The table is in the output of one task, the sentence in that of each.
        assert ("2.0.0 was asked" in done.stderr) == (not _)
        assert "[entrypoint] verify failed" in done.stderr.splitlines()[-1]


@pytest.fixture
def two_nodes(node: Node) -> Iterator[Callable[[int, str], list[str]]]:
    """The command that runs Python on a node of two, whose own names are loopback addresses."""
    names = [f"hearth-cluster-{os.getpid()}-n{number}" for number in (0, 1)]
    for number, name in enumerate(names):
        hosts = node.folder / f"hosts-{number}"
        hosts.write_text("")
        mount = (f"--volume={hosts}:/etc/hosts:ro", f"--hostname=n{number}", "--entrypoint=sleep")
        options = node.options(*mount, "--detach", "--name", name)
        assert run("docker", "run", *options, node.image, "300").returncode == 0
    shown = (
        "{{.NetworkSettings.IPAddress}}{{range .NetworkSettings.Networks}} {{.IPAddress}}{{end}}"
    )
    addresses = [run("docker", "inspect", "-f", shown, name).stdout.split()[-1] for name in names]
    for number in (0, 1):
        lines = [f"127.0.1.1 n{number}", f"{addresses[1 - number]} n{1 - number}"]
        (node.folder / f"hosts-{number}").write_text(
            "127.0.0.1 localhost\n" + "\n".join(lines) + "\n"
        )

    def command(number: int, code: str) -> list[str]:
        step = {
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "n[0-1]",
            "SLURM_PROCID": number,
            "SLURM_LOCALID": 0,
            "SLURM_NODEID": number,
            "SLURM_STEP_NUM_TASKS": 2,
            "SLURM_STEP_NUM_NODES": 2,
            "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
            "CONTAINER_HOME": f"/node/job-7-n{number}",
        }
        env = [f"--env={name}={value}" for name, value in step.items()]
        return ["docker", "exec", *env, names[number], ENTRYPOINT, "python", "-c", code]

    yield command
    run("docker", "rm", "--force", *names)


def test_processes_on_two_debian_nodes_compute_one_sum(
    two_nodes: Callable[[int, str], list[str]],
) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen(two_nodes(number, ALL_REDUCE), **pipes)  # type: ignore[call-overload]
        for number in (0, 1)
    ]
    said = [one.communicate(timeout=480) for one in started]
    expected = "[3.0, 3.0, 3.0, 3.0] eth0 =eth0\n"
    assert [out for out, _ in said] == [expected] * 2, said
