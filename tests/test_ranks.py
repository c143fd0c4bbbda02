"""A process of a parallel job learns its place from whatever started it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

import ranks

SLURM = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_JOB_NODELIST": "n[07-08,11]",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "2",
    "SLURM_NTASKS": "5",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
}
# A step of one task on each of two nodes, as torchrun is started.
TORCHRUN = {
    **SLURM,
    "SLURM_PROCID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "MASTER_ADDR": "n07",
    "MASTER_PORT": "21234",
    "PET_NNODES": "2",
    "PET_NPROC_PER_NODE": "4",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "OMPI_COMM_WORLD_NODE_RANK": "1",
}
HYDRA = {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "3", "MPI_LOCALNRANKS": "4"}
INDEXED = {"JOB_COMPLETION_INDEX": "1", "MASTER_ADDR": "train-0.train", "MASTER_PORT": "29500"}
TRAINER = {
    "JOB_COMPLETION_INDEX": "1",
    "PET_NNODES": "2",
    "PET_NPROC_PER_NODE": "8",
    "PET_NODE_RANK": "1",
    "PET_MASTER_ADDR": "train-node-0-0.train",
    "PET_MASTER_PORT": "29400",
}
# What the PyTorchJob of Kubeflow and Run:ai sets.
OPERATOR = {
    **TRAINER,
    "RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "train-master-0",
    "MASTER_PORT": "23456",
}
SKYPILOT = {
    "SKYPILOT_NODE_RANK": "1",
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
}
FACE = {"GLOO_SOCKET_IFNAME": "eth7", "NCCL_SOCKET_IFNAME": "=eth7"}


def derived(environ: dict[str, str]) -> dict[str, str]:
    """What is set beside it, on a node whose eth7 leads to all others."""
    return ranks.derive(environ, lambda hosts: "eth7" if hosts else "", lambda name: name == "ib0")


def of_torch(rank: int, size: int, local_rank: int, local_size: int) -> dict[str, str]:
    numbers = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local_rank}
    return {name: str(value) for name, value in {**numbers, "LOCAL_WORLD_SIZE": local_size}.items()}


def meet(address: str, port: int, prefix: str = "") -> dict[str, str]:
    return {f"{prefix}MASTER_ADDR": address, f"{prefix}MASTER_PORT": str(port)}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param(
            SLURM,
            {
                **of_torch(4, 5, 0, 1),
                **meet("n07", 24567),
                **meet("n07", 24567, "PET_"),
                "PET_NNODES": "3",
                "PET_NODE_RANK": "2",
                **FACE,
            },
            id="srun starts five tasks on three nodes",
        ),
        pytest.param(
            TORCHRUN,
            {**of_torch(1, 2, 0, 1), **meet("n07", 21234, "PET_"), "PET_NODE_RANK": "1", **FACE},
            id="srun starts a torchrun on each node",
        ),
        pytest.param(
            {**SLURM, "SLURM_JOB_NODELIST": "n07", "SLURM_STEP_NUM_NODES": "1"},
            {**of_torch(4, 5, 0, 1), **meet("127.0.0.1", 24567), "PET_MASTER_PORT": "24567"},
            id="srun starts several tasks on one node",
        ),
        pytest.param(
            {name: value for name, value in SLURM.items() if "STEP" not in name},
            {},
            id="the script of a batch job is one process",
        ),
        pytest.param(
            {**SLURM, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
            {},
            id="one task waits for no others",
        ),
        pytest.param(
            {**SLURM, **OPEN_MPI, "MASTER_ADDR": "n07"},
            {
                **of_torch(5, 8, 1, 4),
                "MASTER_PORT": "24567",
                **meet("n07", 24567, "PET_"),
                "PET_NNODES": "2",
                **FACE,
            },
            id="mpirun in a job of Slurm",
        ),
        pytest.param(
            HYDRA,
            {**of_torch(3, 4, 3, 4), **meet("127.0.0.1", 29500), "PET_MASTER_PORT": "29500"},
            id="mpiexec of MPICH on one node",
        ),
        pytest.param(
            {**INDEXED, "PET_NNODES": "2"},
            {
                **of_torch(1, 2, 0, 1),
                **meet("train-0.train", 29500, "PET_"),
                "PET_NODE_RANK": "1",
                **FACE,
            },
            id="an Indexed Job or a JobSet",
        ),
        pytest.param(
            {"JOB_COMPLETION_INDEX": "1"}, {}, id="an array of jobs that know nothing of each other"
        ),
        pytest.param(
            TRAINER,
            {**of_torch(1, 2, 0, 1), **meet("train-node-0-0.train", 29400), **FACE},
            id="Kubeflow Trainer",
        ),
        pytest.param(OPERATOR, FACE, id="a PyTorchJob keeps what it has set"),
        pytest.param(
            {"PET_NNODES": "1:4", "PET_RDZV_ENDPOINT": "etcd:2379", "MASTER_PORT": "1"},
            {},
            id="an elastic job of torchrun",
        ),
        pytest.param(
            SKYPILOT,
            {
                **of_torch(1, 2, 0, 1),
                **meet("10.0.0.1", 29500),
                **meet("10.0.0.1", 29500, "PET_"),
                "PET_NNODES": "2",
                "PET_NODE_RANK": "1",
                **FACE,
            },
            id="SkyPilot",
        ),
        pytest.param(
            {"SLURM_JOB_ID": "7", "MASTER_PORT": "20007", "PET_NNODES": "1"},
            {"PET_MASTER_PORT": "20007"},
            id="one torchrun has the port of its job",
        ),
        pytest.param({"SLURM_PROCID": "x", "SLURM_STEP_NUM_TASKS": "-2"}, {}, id="no numbers"),
        pytest.param({}, {}, id="no scheduler"),
    ],
)
def test_the_variables_of_launchers_become_those_of_pytorch(
    environ: dict[str, str], expected: dict[str, str]
) -> None:
    assert derived(environ) == expected


@pytest.mark.parametrize("name", sorted({*derived(SLURM)} - {"RANK", "WORLD_SIZE"}))
def test_what_is_set_already_is_kept(name: str) -> None:
    assert name not in derived({**SLURM, name: "mine"})


def test_ranks_are_derived_together_or_not_at_all() -> None:
    names = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"}
    assert not names & derived({**SLURM, "WORLD_SIZE": "64"}).keys()


def test_what_pyxis_leaves_out_is_added_to_the_ranks_that_it_sets() -> None:
    """As its set_pytorch_env() does, for images with PYTORCH_VERSION."""
    pyxis = {"RANK": SLURM["SLURM_PROCID"], "LOCAL_RANK": SLURM["SLURM_LOCALID"]}
    whole = derived(SLURM)
    assert derived({**SLURM, **pyxis}) == {
        name: value for name, value in whole.items() if name not in pyxis
    }
    assert not {"WORLD_SIZE", "LOCAL_WORLD_SIZE"} & derived({**SLURM, **pyxis, "RANK": "0"}).keys()
    alone = {**SLURM, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}
    found = derived({**alone, "RANK": "0", "LOCAL_RANK": "0"})
    assert (found["WORLD_SIZE"], found["LOCAL_WORLD_SIZE"]) == ("1", "1")
    assert (found["MASTER_ADDR"], "PET_NNODES" in found) == ("127.0.0.1", False)


@pytest.mark.parametrize(
    ("nodes", "first", "last"),
    [
        ("n1", "n1", "n1"),
        ("n[01-16,20]", "n01", "n20"),
        ("a[3,5],b[1-2]", "a3", "b2"),
        ("r[1-2]n[10-11],login.example", "r1n10", "login.example"),
    ],
)
def test_the_ends_of_a_list_of_nodes(nodes: str, first: str, last: str) -> None:
    assert (ranks.end(nodes, 0), ranks.end(nodes, -1)) == (first, last)


def test_the_first_node_asks_for_the_way_to_another_one() -> None:
    asked: list[list[str]] = []

    def find(hosts: list[str]) -> str:
        asked.append(hosts)
        return ""

    environ = {**TORCHRUN, "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7"}
    assert (
        not {"GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"} & ranks.derive(environ, find, bool).keys()
    )
    assert asked == [["n07", "n11", "10.0.0.7"]]


def test_the_sites_interface_is_taken_where_the_node_has_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = derived({**TORCHRUN, "JOB_INTERFACE": "bond0,ib0"})
    assert (found["GLOO_SOCKET_IFNAME"], found["NCCL_SOCKET_IFNAME"]) == ("ib0", "=ib0")
    assert not capsys.readouterr().err
    assert derived({**TORCHRUN, "JOB_INTERFACE": "bond0"})["GLOO_SOCKET_IFNAME"] == "eth7"
    assert "bond0" in capsys.readouterr().err


def test_the_interface_is_the_one_with_the_address_towards_the_host() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        try:
            client.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no route to the outside")
        own = client.getsockname()[0]
    name = ranks.interface_to(["no such host", "127.0.0.1", own])
    assert (name, own) in list(ranks.addresses())
    assert ranks.has_interface(name)
    assert ranks.interface_to(["127.0.1.1", "localhost"]) == ""


def test_a_shell_takes_the_lines_as_they_are() -> None:
    strange = 'a\'b $(touch x) "c"; é\nd'
    command = [sys.executable, "-IS", ranks.__file__]
    environ = {**os.environ, **TRAINER, "PET_MASTER_ADDR": strange}
    lines = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    script = f'{lines}\nprintf %s "$MASTER_ADDR"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == strange
