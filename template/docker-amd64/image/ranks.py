"""Says which process of a parallel job this is, in the words of PyTorch.

Each launcher has its own variables for the same numbers. For the eval of entrypoint.sh,

    python -IS ranks.py

prints RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE, which torch.distributed reads; MASTER_ADDR
and MASTER_PORT, where its processes meet; PET_*, the defaults of torchrun's options; and the
network interface between the nodes. What is set already is kept: a scheduler, or you, may know
better.
https://docs.pytorch.org/docs/stable/distributed.html#environment-variable-initialization
https://github.com/pytorch/pytorch/blob/main/torch/distributed/argparse_util.py (PET_*)

Not set, on purpose:
- NCCL_IB_DISABLE, NCCL_IB_HCA, NCCL_NET, NCCL_P2P_DISABLE, NCCL_ALGO, NCCL_PROTO: NCCL finds the
  fastest path itself, and a value that mends one cluster slows down another. What a site needs
  is in its /etc/nccl.conf, or in [environment] of site.toml.
- NCCL_DEBUG: errors are shown without it, and INFO prints hundreds of lines for each process.
- PET_RDZV_BACKEND: torchrun's own, static, needs one port of the first node. With c10d, a node
  announces its host name, which not every network resolves.
- CUDA_VISIBLE_DEVICES: schedulers set it. LOCAL_RANK counts the GPUs of a node, so each task has
  to see all of them: in Slurm by --gpus-per-node or --gres, not by --gpus-per-task.

Standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PORT = 29500  # PyTorch's default
# Jobs that share a node differ by their id. Linux gives ports above these to clients:
# https://www.kernel.org/doc/html/latest/networking/ip-sysctl.html (ip_local_port_range)
FIRST_PORT, PORTS = 20000, 10000
MOST_HOSTS = 3  # to look up; a DNS server that does not answer delays each by seconds
LOOPBACK = ("127.", "::1")
SIOCGIFADDR = 0x8915  # https://man7.org/linux/man-pages/man7/netdevice.7.html


class Launcher(NamedTuple):
    """The variables in which a launcher tells a process its place; "" where it has none.

    Attributes:
        rank: of the process among all.
        size: how many processes there are.
        local_rank: of the process among those of its node; "" where a node has one process.
        local_size: how many processes the node has, or all nodes as 2(x3),1.
        node: index of the node.
        nodes: how many nodes there are.
    """

    rank: str
    size: str
    local_rank: str = ""
    local_size: str = ""
    node: str = ""
    nodes: str = ""


# The first whose rank and size are set counts. MPI is before Slurm: mpirun in a Slurm job starts
# daemons by srun, and its processes have the SLURM_PROCID of their daemon.
LAUNCHERS = (
    # OMPI_COMM_WORLD_NODE_RANK is a rank on the node, not that of the node.
    # https://docs.open-mpi.org/en/v5.0.x/tuning-apps/environment-var.html
    Launcher(
        rank="OMPI_COMM_WORLD_RANK",
        size="OMPI_COMM_WORLD_SIZE",
        local_rank="OMPI_COMM_WORLD_LOCAL_RANK",
        local_size="OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    # Hydra, of MPICH and Intel MPI. PMIx has PMIX_RANK but no size in a variable: Open MPI and
    # srun, which speak it, have their own variables.
    # https://github.com/pmodels/mpich/blob/main/src/pm/hydra/proxy/pmip_cb.c
    Launcher(
        rank="PMI_RANK",
        size="PMI_SIZE",
        local_rank="MPI_LOCALRANKID",
        local_size="MPI_LOCALNRANKS",
    ),
    # Of the step: a batch script has SLURM_PROCID and SLURM_NTASKS too, but is one process.
    # https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES
    Launcher(
        rank="SLURM_PROCID",
        size="SLURM_STEP_NUM_TASKS",
        local_rank="SLURM_LOCALID",
        local_size="SLURM_STEP_TASKS_PER_NODE",
        node="SLURM_NODEID",
        nodes="SLURM_STEP_NUM_NODES",
    ),
    # The others start one process on each node, which may be torchrun.
    # https://docs.skypilot.co/en/stable/running-jobs/distributed-jobs.html
    Launcher(
        rank="SKYPILOT_NODE_RANK",
        size="SKYPILOT_NUM_NODES",
        node="SKYPILOT_NODE_RANK",
        nodes="SKYPILOT_NUM_NODES",
    ),
    # Kubeflow Trainer. Its predecessor, which Run:ai uses, sets RANK and WORLD_SIZE too.
    # https://github.com/kubeflow/trainer/blob/master/pkg/runtime/framework/plugins/torch/torch.go
    # https://github.com/kubeflow/training-operator/blob/release-1.9/pkg/controller.v1/pytorch/envvar.go
    Launcher(rank="PET_NODE_RANK", size="PET_NNODES", node="PET_NODE_RANK", nodes="PET_NNODES"),
    # An Indexed Job, also in a JobSet. The manifest has to say how many nodes there are: an array
    # of jobs has an index too, and its tasks know nothing of each other.
    # https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
    Launcher(
        rank="JOB_COMPLETION_INDEX",
        size="PET_NNODES",
        node="JOB_COMPLETION_INDEX",
        nodes="PET_NNODES",
    ),
)


class Place(NamedTuple):
    """Where a process is in its job; None for what is not known."""

    rank: int
    size: int
    local_rank: int | None
    local_size: int | None
    node: int | None
    nodes: int | None


def number(environ: Mapping[str, str], name: str) -> int | None:
    """The number in a variable; None if it is not set, or not a number, such as 1:4."""
    value = environ.get(name, "")
    return int(value) if re.fullmatch("[0-9]{1,9}", value) else None


def tasks_on(node: int, counts: str) -> int | None:
    """How many tasks a node has. In Slurm's 2(x3),1 three nodes have two, and the next has one."""
    for count, _, times in re.findall(r"(\d+)(\(x(\d+)\))?", counts):
        node -= int(times or 1)
        if node < 0:
            return int(count)
    return None


def place(environ: Mapping[str, str]) -> Place | None:
    """Where this process is; None for a process that is alone, which must not wait for others."""
    for launcher in LAUNCHERS:
        rank, size = number(environ, launcher.rank), number(environ, launcher.size)
        if rank is None or size is None or rank >= size:
            continue
        if size == 1:
            # Programs that see the RANK of Pyxis read the other names, too.
            is_ranked = environ.get("RANK") == "0" and not environ.get("WORLD_SIZE")
            return Place(0, 1, 0, 1, 0, 1) if is_ranked else None
        node, nodes = number(environ, launcher.node), number(environ, launcher.nodes)
        if not launcher.local_rank:
            return Place(rank, size, 0, 1, node, nodes)
        local_size = tasks_on(node or 0, environ.get(launcher.local_size, ""))
        if nodes is None and local_size:
            nodes = -(-size // local_size)
        if node is None and local_size == 1:
            node = rank
        return Place(rank, size, number(environ, launcher.local_rank), local_size, node, nodes)
    return None


def end(hosts: str, at: int) -> str:
    """The first host (0) or the last one (-1) of Slurm's n[01-16,20],login2."""
    part = re.split(r",(?![^\[]*\])", hosts)[at]
    return re.sub(r"\[([^\]]*)\]", lambda found: re.split("[,-]", found[1])[at], part)


def hosts_of(environ: Mapping[str, str]) -> list[str]:
    """The first node, and other hosts of the job; [] where the scheduler names none."""
    found = environ.get("SKYPILOT_NODE_IPS", "").split()
    names = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST")
    if not found and names:
        # Where srun was called: in a batch job it is the first node, by an address for the others.
        caller = environ.get("SLURM_LAUNCH_NODE_IPADDR", "")
        found = [end(names, 0), end(names, -1), caller]
    return [host for host in dict.fromkeys(found) if host]


def port(environ: Mapping[str, str]) -> int:
    """A port that the processes of a job agree on, and other jobs on the same node do not have."""
    job = number(environ, "SLURM_JOB_ID")
    return PORT if job is None else FIRST_PORT + job % PORTS


def ranks(environ: Mapping[str, str], here: Place) -> dict[str, object]:
    """What torch.distributed reads; nothing where another one has set other ranks.

    Pyxis sets RANK and LOCAL_RANK alone, in images with PYTORCH_VERSION:
    https://github.com/NVIDIA/pyxis/blob/master/pyxis_slurmstepd.c
    """
    found: dict[str, object] = {
        "RANK": here.rank,
        "WORLD_SIZE": here.size,
        "LOCAL_RANK": here.local_rank,
        "LOCAL_WORLD_SIZE": here.local_size,
    }
    there = ((environ.get(name, ""), value) for name, value in found.items())
    same = all(given == str(value) for given, value in there if given and value is not None)
    return found if same and not environ.get("WORLD_SIZE") else {}


def meeting_point(environ: Mapping[str, str], hosts: list[str], nodes: int) -> dict[str, object]:
    """Where the processes meet: an address and a port of the first node."""
    first = hosts[0] if hosts else ""
    return {
        "MASTER_ADDR": environ.get("PET_MASTER_ADDR") or (first if nodes > 1 else "127.0.0.1"),
        "MASTER_PORT": environ.get("PET_MASTER_PORT") or port(environ),
    }


def torchrun(environ: Mapping[str, str], here: Place | None, nodes: int) -> dict[str, object]:
    """The defaults of torchrun's options, which it reads from PET_*."""
    if environ.get("PET_RDZV_ENDPOINT") or environ.get("PET_STANDALONE"):
        return {}
    # One torchrun alone needs a port too: each of several jobs on a node would take 29500.
    found: dict[str, object] = {"PET_MASTER_PORT": environ.get("MASTER_PORT")}
    if here and nodes > 1:
        found["PET_MASTER_ADDR"] = environ.get("MASTER_ADDR")
        found["PET_NNODES"] = nodes
        found["PET_NODE_RANK"] = here.node
    return found


def interfaces(
    environ: Mapping[str, str],
    hosts: list[str],
    find: Callable[[list[str]], str],
    exists: Callable[[str], bool],
) -> dict[str, object]:
    """The network interface between the nodes; see `derive`."""
    if environ.get("GLOO_SOCKET_IFNAME") and environ.get("NCCL_SOCKET_IFNAME"):
        return {}
    asked = re.findall("[^, ]+", environ.get("JOB_INTERFACE", ""))
    chosen = next((name for name in asked if exists(name)), "")
    if asked and not chosen:
        note(f"JOB_INTERFACE is {' '.join(asked)}, but this node has no such network interface")
    master = environ.get("MASTER_ADDR", "")
    chosen = chosen or find([host for host in dict.fromkeys([master, *hosts[1:]]) if host])
    return {
        # gloo takes the address of the node's own name. In Debian's /etc/hosts it is 127.0.1.1,
        # where no other node can reach it, and a container of Apptainer or enroot has that file.
        # https://www.debian.org/doc/manuals/debian-reference/ch05.en.html#_the_hostname_resolution
        # https://docs.pytorch.org/docs/stable/distributed.html#common-environment-variables
        "GLOO_SOCKET_IFNAME": chosen,
        # NCCL takes any that is not lo or docker*, perhaps a bridge of virtual machines. By this
        # interface it meets the other nodes; GPUs then talk over InfiniBand or the like where there
        # is any. = means this very name, not all that begin with it.
        # https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html#nccl-socket-ifname
        "NCCL_SOCKET_IFNAME": f"={chosen}" if chosen else "",
    }


def derive(
    environ: Mapping[str, str], find: Callable[[list[str]], str], exists: Callable[[str], bool]
) -> dict[str, str]:
    """What is to be set beside what is.

    Args:
        environ: the variables of the process.
        find: `interface_to`.
        exists: `has_interface`.
    """
    new: dict[str, str] = {}

    def default(values: dict[str, object]) -> Mapping[str, str]:
        for name, value in values.items():
            if value not in (None, "") and not environ.get(name):
                new[name] = str(value)
        return {**environ, **new}

    here, hosts = place(environ), hosts_of(environ)
    nodes = (here and here.nodes) or number(environ, "PET_NNODES") or 1
    known = environ
    if here:
        default(ranks(environ, here))
        known = default(meeting_point(environ, hosts, nodes))
    default(torchrun(known, here, nodes))
    if nodes > 1:
        default(interfaces(known, hosts, find, exists))
    return new


def note(text: str) -> None:
    """Print a line of the entrypoint."""
    print(f"[entrypoint] {text}", file=sys.stderr, flush=True)


def own_address(host: str) -> str:
    """The address of this node from which it reaches a host, "" if there is no route.

    Connecting a UDP socket sends nothing: it only looks up the route.
    """
    import socket  # noqa: PLC0415  (a job on one node does not need it)

    try:
        kind, type_, protocol, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(kind, type_, protocol) as client:
            client.connect(address)
            return str(client.getsockname()[0])
    except (OSError, UnicodeError):
        return ""


def addresses() -> Iterator[tuple[str, str]]:
    """Each network interface of this node with its address."""
    import fcntl  # noqa: PLC0415
    import socket  # noqa: PLC0415

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            request = name.encode()[:15].ljust(256, b"\0")
            try:
                answer = fcntl.ioctl(asked.fileno(), SIOCGIFADDR, request)
            except OSError:  # it has none
                continue
            yield name, socket.inet_ntoa(answer[20:24])
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as file:  # noqa: PTH123  (costs 5 ms)
            lines = file.readlines()
    except OSError:  # no IPv6 here
        return
    for line in lines:
        packed, *_, name = line.split()
        yield name, socket.inet_ntop(socket.AF_INET6, bytes.fromhex(packed))


def interface_to(hosts: list[str]) -> str:
    """The interface through which this node reaches one of the hosts, the first that tells.

    On the first node, MASTER_ADDR may be the node's own name with a loopback address; then the
    other hosts tell. "" where none does, as with nodes that are all on one machine.
    """
    for host in hosts[:MOST_HOSTS]:
        mine = own_address(host)
        if mine and not mine.startswith(LOOPBACK):
            found = [name for name, address in addresses() if address == mine]
            if found:
                return found[0]
    return ""


def has_interface(name: str) -> bool:
    """Whether this node has a network interface of that name."""
    import socket  # noqa: PLC0415

    return name in (known for _, known in socket.if_nameindex())


def main() -> None:
    """Print what is to be set, for the eval of a shell."""
    for name, value in derive(os.environ, interface_to, has_interface).items():
        quoted = value.replace("'", "'\\''")
        print(f"export {name}='{quoted}'")


if __name__ == "__main__":
    main()
