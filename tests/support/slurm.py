"""A Slurm of two nodes on this machine: its real daemons, from Debian's packages, for one user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import run
from tests.support.project import Person
from tests.support.sockets import free_ports

PROGRAMS = ("apptainer", "munged", "sbatch", "slurmctld", "slurmd", "squashfuse")
NODES = ("n1", "n2")
LONGEST_START = 120  # seconds

# As sites find the processes of a job, where this machine allows it: signals reach those that Slurm
# started, and not each process below them.
FREEZER = Path("/sys/fs/cgroup/freezer")
# A node has what its line says, whatever this machine has; nothing keeps jobs from taking more.
CONFIG = """\
ClusterName=hearth
SlurmctldHost={machine}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
JobRequeue=1
KillWait=5
MessageTimeout=10
ReturnToService=2
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
{nodes}
PartitionName=short Nodes=n1,n2 Default=YES MaxTime=5
PartitionName=long Nodes=n1,n2 MaxTime=60
"""


def slurm_problem() -> str | None:
    """Why root can start no Slurm here, in one sentence; None when root can."""
    missing = [one for one in PROGRAMS if shutil.which(one) is None]
    return f"there is no {', '.join(missing)}: .ci/engine.sh slurm" if missing else None


@dataclass(frozen=True)
class Slurm:
    """Two nodes, n1 and n2, of four processors and 4 GB each, and the partitions short and long.

    Attributes:
        folder: the daemons' configuration, state and logs.
        user: somebody without privileges, whom Slurm, Apptainer and the engine know.
    """

    folder: Path
    user: Person

    def call(self, *command: str | Path, cwd: Path | None = None) -> str:
        """Run a command as the user; its output. A failure shows all said."""
        done = self.user.run(*command, cwd=cwd or self.user.home, timeout=240)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def job(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job: the words of `scontrol show job`."""
        words = self.call("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job: str, *states: str, seconds: float = 480) -> dict[str, str]:
        """Wait until a job is in one of these states; what Slurm knows of it then."""
        end = time.monotonic() + seconds
        while (known := self.job(job))["JobState"] not in states:
            assert time.monotonic() < end, f"{known}\n{self.logs()}"
            time.sleep(0.1)
        return known

    def logs(self) -> str:
        """The ends of the daemons' logs."""
        parts = []
        for file in sorted(self.folder.glob("*.log")):
            lines = file.read_text(errors="replace").splitlines()
            parts += [f"== {file.name}", *lines[-20:]]
        return "\n".join(parts)


@contextmanager
def two_nodes(folder: Path) -> Iterator[Slurm]:
    """Start the daemons, and stop them with all jobs that still run.

    The user is made for them and removed again, with a home as other users of the machine have it:
    in a container, Apptainer replaces /dev, where the folders of tests may be.

    Args:
        folder: a new one, for the daemons; what is beside it is the storage that nodes share.
    """
    name = f"hearth-slurm-{os.getpid()}"
    made = run("useradd", "--create-home", "--shell", "/bin/bash", name)
    assert made.returncode == 0, made.stderr
    daemons: list[subprocess.Popen[bytes]] = []
    config = folder / "slurm.conf"
    try:
        known = pwd.getpwnam(name)
        more = (("SLURM_CONF", str(config)),)
        user = Person(known.pw_uid, known.pw_gid, name, Path(known.pw_dir), more)
        cluster = Slurm(folder, user)
        _start(cluster, daemons)
        yield cluster
    finally:
        _stop(config, daemons)
        run("pkill", "--signal", "KILL", "--euid", name)  # what jobs have left
        run("userdel", "--force", "--remove", name)


def _start(cluster: Slurm, daemons: list[subprocess.Popen[bytes]]) -> None:
    folder = cluster.folder
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "state").mkdir()
    machine = socket.gethostname()
    controller, *ports = free_ports(1 + len(NODES))
    nodes = "\n".join(
        f"NodeName={node} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=4000"
        for node, port in zip(NODES, ports, strict=True)
    )
    values = {"machine": machine, "port": controller, "folder": folder, "nodes": nodes}
    values["proctrack"] = "cgroup" if os.access(FREEZER, os.W_OK) else "pgid"
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(**values))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n")
    # Who can read the key can be anybody on this cluster.
    key = folder / "munge.key"
    key.touch(mode=0o400)
    key.write_bytes(os.urandom(1024))
    files = ("socket", "pid", "log", "seed")
    options = {"key-file": key} | {f"{one}-file": folder / f"munge.{one}" for one in files}
    options["socket"] = options.pop("socket-file")
    munged = ["munged", "--foreground", "--force", "--num-threads=2"]
    munged += [f"--{option}={file}" for option, file in options.items()]
    commands = [munged, ["slurmctld", "-D"], *(_node(cluster, one) for one in NODES)]
    for command in commands:
        with (folder / f"{command[0]}.log").open("ab") as out:
            # They end with the tests, even if these are killed.
            words = ["setpriv", "--pdeathsig=KILL", "--", *command]
            environment = {**os.environ, "SLURM_CONF": str(config)}
            daemons.append(
                subprocess.Popen(
                    words,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env=environment,
                )
            )
        if command is munged:
            _wait_for(options["socket"].exists, cluster)
    # As udev makes it; without udev it is often root's alone, and Apptainer cannot mount an image.
    if Path("/dev/fuse").is_char_device():
        Path("/dev/fuse").chmod(0o666)
    state = ("sinfo", "--noheader", "--Node", "--partition=short", "--format=%t")
    _wait_for(lambda: cluster.user.run(*state, cwd=Path("/")).stdout == "idle\nidle\n", cluster)


# A machine of its own, as far as jobs can tell: its name, names of all nodes, and its own /tmp.
NODE = """\
hostname "$1"
mount --bind "$2/hosts" /etc/hosts
mkdir -p "$2/$1/tmp"
chmod 1777 "$2/$1/tmp"
case $3 in /tmp/*) mkdir -p "$2/$1$3" && mount --bind "$3" "$2/$1$3" ;; esac
mount --rbind "$2/$1/tmp" /tmp
exec slurmd -D -N "$1"
"""


def _node(cluster: Slurm, name: str) -> list[str]:
    """The command that becomes a node."""
    names = "127.0.0.1 localhost n1 n2\n::1 ip6-localhost\n"
    (cluster.folder / "hosts").write_text(f"127.0.0.1 {socket.gethostname()}\n{names}")
    words = [name, str(cluster.folder), str(cluster.folder.parent)]
    return ["unshare", "--mount", "--uts", "--", "sh", "-euc", NODE, name, *words]


def _stop(config: Path, daemons: list[subprocess.Popen[bytes]]) -> None:
    """End the daemons and what they have started: all that has this configuration."""
    for daemon in reversed(daemons):
        daemon.terminate()
    end = time.monotonic() + 30
    while any(daemon.poll() is None for daemon in daemons) and time.monotonic() < end:
        time.sleep(0.05)
    for daemon in daemons:
        daemon.kill()
        daemon.wait()
    wanted = f"SLURM_CONF={config}".encode()
    for environment in Path("/proc").glob("[1-9]*/environ"):
        with suppress(OSError):  # it has ended, or not even root may read it
            if wanted in environment.read_bytes().split(b"\0"):
                os.kill(int(environment.parent.name), signal.SIGKILL)
    for node in NODES:
        with suppress(OSError):  # another cluster of tests may run
            (FREEZER / f"slurm_{node}").rmdir()


def _wait_for(condition: Callable[[], bool], cluster: Slurm) -> None:
    end = time.monotonic() + LONGEST_START
    while not condition():
        assert time.monotonic() < end, f"Slurm did not start:\n{cluster.logs()}"
        time.sleep(0.1)
