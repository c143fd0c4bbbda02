"""GPUs in containers, on an engine with a CDI file and a stand-in hook, and on one with neither."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.conftest import MakeProject, known_person
from tests.engine.test_daily_work import wait_for
from tests.engine.test_doctor import doctor
from tests.engine.test_failures import advice, changed
from tests.support.editor import editor_problem, inside, opened
from tests.support.engine import GPU_HOST, gpu_host_problem, need
from tests.support.project import Person, Project

SMI = Path(__file__).parents[1] / "fakes/bin/nvidia-smi"
FIRST = "GPU-00000001-1111-2222-3333-444444444444"
SECOND = "GPU-00000002-1111-2222-3333-444444444444"
NO_GPU = r"\[entrypoint\] no GPU in this container"
DEVICES = ("sh", "-c", "ls /dev/nvidia[0-9]* 2>/dev/null || true")


@pytest.fixture(scope="module")
def hans(open_folder: Path) -> Person:
    """Somebody whose machine has two GPUs, driver 550.54.15, and an engine that knows them."""
    need(gpu_host_problem())
    programs = open_folder / "gpu-host"
    programs.mkdir()
    (programs / "nvidia-smi").symlink_to(SMI)
    path = f"{programs}:{os.environ['PATH']}"
    more = (("DOCKER_HOST", GPU_HOST), ("PATH", path), ("FAKE_SMI", "mixed"))
    return known_person(open_folder / "gpu-home", 3, *more)


@pytest.fixture(scope="module")
def with_gpus(project: MakeProject, hans: Person) -> Project:
    """A project for GPUs on the machine that has two, built into containerd's image store."""
    new = project("with-gpus", owner=hans, light=True, accelerator="cuda", extras=["devcontainer"])
    new.build()
    return new


@pytest.fixture(scope="module")
def without_gpus(project: MakeProject) -> Project:
    """A project for GPUs on a machine that has none, built into Docker's own image store."""
    new = project("without-gpus", light=True, accelerator="cuda")
    new.build()
    return new


@contextmanager
def settings(project: Project, **values: str) -> Iterator[None]:
    """Other values in .env, for a while; they reach the overlay as they do for a person."""
    file = project.docker / ".env"
    before = file.read_text()
    project.set_env(**values)
    try:
        yield
    finally:
        project.write("docker-amd64/.env", before)
        project.ok("env")


def files(project: Project) -> str:
    """COMPOSE_FILE, but for certificates of this machine and what every project has."""
    (line,) = re.findall(r"(?m)^COMPOSE_FILE=(.*)$", (project.docker / ".env").read_text())
    return re.sub(r":compose\.(ca|guard)\.yaml", "", str(line))


def overlay(way: str) -> str:
    return f"compose.yaml:compose.{way}.yaml"


def up(project: Project, gpus: str, **env: str) -> str:
    """Start the dev container without template.sh, see that it has these GPUs; give its log."""
    project.compose("up", "--detach", "--force-recreate", "dev", env=env)
    assert project.compose("exec", "-T", "dev", *DEVICES) == gpus
    return project.compose("logs", "dev")


# ----------------------------------------------------------------------------- a machine with GPUs


def test_the_machine_chooses_cdi_and_all_its_gpus(with_gpus: Project) -> None:
    env = (with_gpus.docker / ".env").read_text()
    assert files(with_gpus) == overlay("cdi")
    assert f"\nCPU_OR_GPU=gpu\nGPU_IDS={FIRST},{SECOND}\nREQUIRE_GPU=0\n" in env
    assert with_gpus.sh("gpus").stdout.count("\n*") == 3  # two GPUs, and what the mark means


def test_the_doctor_finds_only_what_the_stand_in_lacks(with_gpus: Project) -> None:
    assert doctor(with_gpus).keys() == {"gpu-uvm-missing"}  # it has no kernel module


def test_run_and_up_give_the_gpus_that_cdi_describes(with_gpus: Project) -> None:
    result = with_gpus.sh("run", "nvidia-smi")
    assert (result.stdout, result.returncode) == ("GPU 0\nGPU 1\n", 0)
    assert "[entrypoint] no GPU" not in result.stderr
    with_gpus.ok("up")
    assert with_gpus.ok("exec", "nvidia-smi") == "GPU 0\nGPU 1\n"
    seen = dict(line.split("=", 1) for line in with_gpus.ok("run", "env").splitlines())
    assert seen["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert seen["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert seen["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_every_door_has_the_same_gpus(with_gpus: Project) -> None:
    with_gpus.ok("up")
    found = json.loads(with_gpus.sh("doors", "--json").stdout)
    assert (found["closed"], found["differences"]) == ({}, [])
    gpus = {way: room["GPUs"] for way, room in found["rooms"].items()}
    assert gpus == dict.fromkeys(("exec", "bash", "bash -l", "run", "dev container", "app"), "2")


def test_plain_docker_compose_gives_the_same(with_gpus: Project) -> None:
    log = up(with_gpus, "/dev/nvidia0\n/dev/nvidia1\n")
    assert "GPU" not in log


def test_a_container_that_an_editor_starts_has_the_same(with_gpus: Project) -> None:
    need(editor_problem())
    with_gpus.ok("down")
    opened(with_gpus)
    assert inside(with_gpus, "nvidia-smi") == "GPU 0\nGPU 1\n"
    assert with_gpus.ok("exec", "nvidia-smi") == "GPU 0\nGPU 1\n"


@pytest.mark.parametrize("way", ["cdi", "nvidia"])
@pytest.mark.parametrize(
    ("gpu_ids", "gpus"),
    [
        (SECOND, "/dev/nvidia1\n"),
        ("1", "/dev/nvidia1\n"),
        ("0,1", "/dev/nvidia0\n/dev/nvidia1\n"),
        ("", "/dev/nvidia0\n/dev/nvidia1\n"),
    ],
)
def test_gpu_ids_select_gpus_by_both_ways(
    with_gpus: Project, way: str, gpu_ids: str, gpus: str
) -> None:
    with settings(with_gpus, COMPOSE_FILE=overlay(way), GPU_IDS=gpu_ids):
        assert with_gpus.ok("run", *DEVICES) == gpus
        assert files(with_gpus) == overlay(way)
        assert "GPU_IDS" not in up(with_gpus, gpus)


def test_nvidias_runtime_gets_the_ids_and_nothing_else(with_gpus: Project) -> None:
    with settings(with_gpus, COMPOSE_FILE=overlay("nvidia"), GPU_IDS=SECOND):
        seen = with_gpus.ok("run", "env").splitlines()
    assert [line for line in seen if line.startswith("NVIDIA_V")] == [
        f"NVIDIA_VISIBLE_DEVICES={SECOND}"
    ]


def test_gpus_of_the_shell_count_for_one_command(with_gpus: Project) -> None:
    assert with_gpus.ok("run", *DEVICES, env={"GPU_IDS": "0"}) == "/dev/nvidia0\n"
    assert with_gpus.ok("run", *DEVICES) == "/dev/nvidia0\n/dev/nvidia1\n"


def test_who_edits_gpu_ids_and_calls_compose_is_told_that_it_was_not_applied(
    with_gpus: Project,
) -> None:
    with settings(with_gpus, GPU_IDS="1"):
        log = up(with_gpus, "/dev/nvidia0\n/dev/nvidia1\n")
        assert f'GPU_IDS is "1" now, but this container got "{FIRST},{SECOND}"' in log
        with_gpus.ok("env")
        assert "GPU_IDS" not in up(with_gpus, "/dev/nvidia1\n")


def test_cpu_in_env_leaves_the_gpus_alone_by_every_door(with_gpus: Project) -> None:
    with settings(with_gpus, CPU_OR_GPU="cpu"):
        result = with_gpus.sh("run", *DEVICES)
        assert (result.stdout, result.returncode) == ("", 0)
        assert files(with_gpus) == "compose.yaml"
        up(with_gpus, "")
    assert files(with_gpus) == overlay("cdi")


def test_two_overlays_at_once_are_refused(with_gpus: Project) -> None:
    with settings(with_gpus, COMPOSE_FILE=overlay("cdi") + ":compose.nvidia.yaml"):
        sentence, command = advice(with_gpus.sh("run", "true"))
        assert "it may only be one of them" in sentence
        with_gpus.ok(*command.split()[1:])
        assert files(with_gpus) == overlay("cdi")


def test_a_cdi_file_for_another_driver_is_not_used(with_gpus: Project, hans: Person) -> None:
    updated = replace(hans, more=(*hans.more, ("FAKE_SMI", "mig")))
    with settings(with_gpus):
        said = with_gpus.sh("env", user=updated)
        assert said.returncode == 0
        assert files(with_gpus) == overlay("nvidia")
        assert "was made for driver 550.54.15, and 570.86.15 runs" in (
            with_gpus.sh("env", "--show", user=updated).stdout
        )


def test_both_images_are_built_and_start_in_containerds_store(with_gpus: Project) -> None:
    person = with_gpus.owner
    driver = person.run(
        "docker", "info", "--format", "{{json .DriverStatus}}", cwd=with_gpus.docker
    )
    assert "io.containerd.snapshotter" in driver.stdout
    with_gpus.ok("up")
    assert with_gpus.ok("exec", "python", "-V") == with_gpus.ok("run", "python", "-V")


# ------------------------------------------------------------------------------------------- leases


def test_gpus_are_leased_for_as_long_as_their_containers_run(
    with_gpus: Project, hans: Person, open_folder: Path
) -> None:
    folder, idle = open_folder / "leases", open_folder / "idle"
    folder.mkdir(mode=0o755)
    os.chown(folder, hans.uid, hans.gid)
    idle.touch(0o644)  # the load of the stand-in nvidia-smi: none
    env = {"GPU_LEASE_DIR": str(folder), "FAKE_BUSY": str(idle)}
    first, second = "/dev/nvidia0\n", "/dev/nvidia1\n"

    def gpus_of(*words: str) -> str:
        return with_gpus.ok(*words, *DEVICES, env=env)

    with_gpus.ok("down")
    with_gpus.ok("run", "-d", "--name", "long", "--gpus", "idle:1", "sleep", "600", env=env)
    assert gpus_of("run", "--gpus", "idle:1") == second  # and gives it back
    with_gpus.ok("up", "--gpus", "idle:1", env=env)
    assert gpus_of("exec") == second
    with_gpus.ok("up", env=env)  # keeps it
    assert gpus_of("exec") == second
    with_gpus.ok("stop", env=env)
    assert gpus_of("run", "--gpus", "idle:1") == second
    with_gpus.ok("start", env=env)
    refused = with_gpus.sh("run", "--gpus", "idle:1", "true", env=env)
    assert "(failure: gpu-none-idle)" in refused.stderr
    assert with_gpus.sh("gpus", env=env).stdout.count(": leased by ") == 2
    assert len(list(folder.iterdir())) == 2  # the container is the same, and has one lease
    for file in folder.iterdir():
        file.unlink()  # as if the processes that wait had been killed
    refused = with_gpus.sh("run", "--gpus", "0", "true", env=env)
    assert "(failure: gpu-leased)" in refused.stderr
    with_gpus.ok("stop", "long", env=env)
    assert gpus_of("run", "--gpus", "idle:1") == first
    with_gpus.ok("down", "--yes", env=env)
    assert gpus_of("run", "--gpus", "idle:2", "--wait", "1m") == first + second
    assert gpus_of("run", "--gpus", "none") == ""


# ------------------------------------------------------------------------------------------- health

DEVICE_RULES = Path("/sys/fs/cgroup/devices/docker")  # of containers, where the tests see them


@pytest.mark.skipif(
    os.getuid() != 0 or not DEVICE_RULES.is_dir(), reason="device rules can be changed by root only"
)
def test_a_container_that_lost_its_gpus_is_unhealthy_and_ls_says_why(with_gpus: Project) -> None:
    quick = "services:\n  dev:\n    healthcheck: {interval: 1s, retries: 1}\n"
    name = "compose.override.yaml"
    with (
        changed(with_gpus, f"docker-amd64/{name}", quick),
        settings(with_gpus, COMPOSE_FILE=f"{overlay('cdi')}:{name}"),
    ):
        with_gpus.ok("up")
        wait_for(lambda: "(healthy)" in with_gpus.ok("ls"))
        found = with_gpus.compose("ps", "--quiet", "--no-trunc", "dev").strip()
        # What systemd does to containers that it manages when it is reloaded.
        for rule in (DEVICE_RULES / found / "devices.list").read_text().splitlines():
            if rule.startswith("c 195:"):
                (DEVICE_RULES / found / "devices.deny").write_text(rule)
        wait_for(lambda: "(unhealthy)" in with_gpus.ok("ls"))
        for verb in ("ls", "logs"):
            said = with_gpus.sh(verb).stderr
            assert "(failure: gpu-access-lost)" in said
        command = said.rpartition("Run: ")[2]
        assert with_gpus.owner.run("sh", "-c", command, cwd=with_gpus.folder).returncode == 0
        wait_for(lambda: "(healthy)" in with_gpus.ok("ls"))
    with_gpus.ok("down")


# -------------------------------------------------------------------------- a machine without GPUs


def test_without_a_gpu_everything_starts_on_the_cpu_after_one_clear_line(
    without_gpus: Project,
) -> None:
    assert files(without_gpus) == "compose.yaml"
    result = without_gpus.sh("up")
    assert result.returncode == 0
    lines = [line for line in result.stderr.splitlines() if "GPU" in line]
    assert len(lines) == 1
    assert "they run on the CPU: no NVIDIA driver found" in lines[0]
    without_gpus.ok("run", "true")
    result = without_gpus.sh("run", "echo", "done")
    assert result.stdout == "done\n"
    assert len(result.stderr.splitlines()) == 1
    assert re.match(NO_GPU, result.stderr)
    assert re.search(NO_GPU, up(without_gpus, ""))


def test_require_gpu_stops_with_the_cause(without_gpus: Project) -> None:
    with settings(without_gpus, REQUIRE_GPU="1"):
        for verb in ("up", "run true"):
            sentence, _ = advice(without_gpus.sh(*verb.split()))
            assert sentence.startswith("No GPU for the containers, and REQUIRE_GPU=1: no NVIDIA")


def test_require_gpu_stops_plain_compose_too(without_gpus: Project) -> None:
    with settings(without_gpus, REQUIRE_GPU="1"):
        result = without_gpus.owner.run(
            *("docker", "compose", "run", "--rm", "runtime", "true"), cwd=without_gpus.docker
        )
    assert result.returncode == 1
    assert "no GPU in this container, and REQUIRE_GPU=1" in result.stderr.rstrip().splitlines()[-1]


def test_a_container_that_gets_no_gpu_though_env_gives_some_is_explained(
    with_gpus: Project,
) -> None:
    nothing = "services:\n  dev:\n    devices: !reset []\n"
    with (
        changed(with_gpus, "docker-amd64/compose.override.yaml", nothing),
        settings(
            with_gpus,
            REQUIRE_GPU="1",
            COMPOSE_FILE=overlay("cdi") + ":compose.override.yaml",
        ),
    ):
        sentence, command = advice(with_gpus.sh("up"), "no GPU in this container")
    assert sentence == "No GPU for the containers, and REQUIRE_GPU=1: the container sees none."
    assert command.endswith("template.sh gpus")


# -------------------------------------------------------- the engine's four messages, all real ones


@pytest.mark.parametrize("verb", ["up", "run true"])
@pytest.mark.parametrize(
    ("way", "raw"),
    [("nvidia", "could not select device driver"), ("cdi", "unresolvable CDI devices")],
)
def test_an_overlay_from_elsewhere_on_a_machine_without_gpus(
    without_gpus: Project, way: str, raw: str, verb: str
) -> None:
    with settings(without_gpus, COMPOSE_FILE=overlay(way)):
        sentence, command = advice(without_gpus.sh(*verb.split()), raw)
        assert "no NVIDIA driver found" in sentence
        assert without_gpus.sh(*command.split()[1:]).returncode == 0
        assert files(without_gpus) == "compose.yaml"


def test_a_gpu_that_is_not_there(with_gpus: Project) -> None:
    with settings(with_gpus, GPU_IDS="7"):
        result = with_gpus.sh("up")
        assert "GPU_IDS names 7, which this machine does not have" in result.stderr
        sentence, command = advice(result, "unresolvable CDI devices nvidia.com/gpu=7")
        assert "GPU_IDS in .env names a GPU" in sentence
        with_gpus.ok(*command.split()[1:])
        with_gpus.ok("up")


def test_a_runtime_that_the_engine_does_not_know(without_gpus: Project) -> None:
    text = "services:\n  dev:\n    runtime: nvidia\n"
    with (
        changed(without_gpus, "docker-amd64/compose.override.yaml", text),
        settings(without_gpus, COMPOSE_FILE="compose.yaml:compose.override.yaml"),
    ):
        sentence, _ = advice(without_gpus.sh("up"), "unknown or invalid runtime name: nvidia")
    assert "no NVIDIA driver found" in sentence


def test_an_image_that_wants_a_newer_driver_said_by_a_stand_in_of_the_hook(
    with_gpus: Project,
) -> None:
    text = "services:\n  dev:\n    environment:\n      NVIDIA_REQUIRE_CUDA: cuda>=13.2\n"
    with (
        changed(with_gpus, "docker-amd64/compose.override.yaml", text),
        settings(with_gpus, COMPOSE_FILE=overlay("nvidia") + ":compose.override.yaml"),
    ):
        sentence, command = advice(with_gpus.sh("up"), r"unsatisfied condition: cuda>=13\.2")
    assert "The NVIDIA driver is too old" in sentence
    assert command.endswith("update --data cuda_version=12.4")
