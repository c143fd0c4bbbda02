"""The probe: what it says about machines with and without GPUs and engines, and how fast."""

from __future__ import annotations

import ast
import ctypes
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from host import ask, gpu_env, gpus, nvidia, probe
from host.facts import Engine, Facts, Person
from host.gpu_facts import Gpu, GpuFacts, Mig
from tests.fakes.machine import environment
from tests.support.program import run_program

PACKAGE = Path(ask.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
UUID = "GPU-00000001-1111-2222-3333-444444444444"


def run(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return run_program(*args, env=env)


def facts_of(env: dict[str, str]) -> dict[str, Any]:
    result = run(env, "env", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def gpus_of(facts: dict[str, Any]) -> list[tuple[str, str | None, int | None]]:
    return [(gpu["name"], gpu["compute_capability"], gpu["memory_mib"]) for gpu in facts["gpus"]]


# ------------------------------------------------------------------------------------------- GPUs


@pytest.mark.parametrize(
    ("nvml", "driver", "cuda", "gpus"),
    [
        ("rtx4090", "550.54.15", "12.4", [("NVIDIA GeForce RTX 4090", "8.9", 24564)]),
        ("v100", "535.183.01", "12.2", [("Tesla V100-SXM2-32GB", "7.0", 32768)]),
        (
            "mixed",
            "550.54.15",
            "12.4",
            [("NVIDIA GeForce RTX 4090", "8.9", 24564), ("Tesla V100-SXM2-32GB", "7.0", 32768)],
        ),
        ("h200x8", "580.95.05", "13.0", [("NVIDIA H200", "9.0", 143771)] * 8),
    ],
)
def test_nvml_tells_gpus_and_driver(
    tmp_path: Path, nvml: str, driver: str, cuda: str, gpus: list[tuple[str, str, int]]
) -> None:
    facts = facts_of(environment(tmp_path / "bin", nvml=nvml))
    assert (facts["driver"], facts["cuda"], gpus_of(facts)) == (driver, cuda, gpus)
    assert (facts["gpu_status"], facts["gpu_source"], facts["gpu_note"]) == ("found", "nvml", "")
    assert len({gpu["uuid"] for gpu in facts["gpus"]}) == len(gpus)


@pytest.mark.parametrize(
    ("smi", "driver", "cuda", "gpus"),
    [
        ("rtx4090", "550.54.15", "12.4", [("NVIDIA GeForce RTX 4090", "8.9", 24564)]),
        ("v100-old", "440.33.01", "10.2", [("Tesla V100-SXM2-32GB", None, 32510)]),
        ("driver610", "610.57.04", "13.3", [("NVIDIA H200", "9.0", 143771)]),
        (
            "mixed",
            "550.54.15",
            "12.4",
            [("NVIDIA GeForce RTX 4090", "8.9", 24564), ("Tesla V100-SXM2-32GB", "7.0", 32768)],
        ),
    ],
)
def test_nvidia_smi_tells_the_same_where_nvml_is_missing(
    tmp_path: Path, smi: str, driver: str, cuda: str, gpus: list[tuple[str, str | None, int]]
) -> None:
    facts = facts_of(environment(tmp_path / "bin", smi=smi))
    assert (facts["driver"], facts["cuda"], gpus_of(facts)) == (driver, cuda, gpus)
    assert facts["gpu_source"] == "nvidia-smi"


@pytest.mark.parametrize("source", [{"nvml": "mig"}, {"smi": "mig"}], ids=["nvml", "nvidia-smi"])
def test_a_gpu_in_mig_mode_offers_its_instances(tmp_path: Path, source: dict[str, str]) -> None:
    facts = facts_of(environment(tmp_path / "bin", **source))
    parts = facts["gpus"][0]["mig"]
    assert [part["name"] for part in parts] == [
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
    ]
    assert all(part["uuid"].startswith("MIG-") for part in parts)


@pytest.mark.parametrize("source", ["nvml", "smi"])
def test_a_gpu_in_mig_mode_without_instances_is_no_gpu_to_use(tmp_path: Path, source: str) -> None:
    facts = facts_of(environment(tmp_path / "bin", **{source: "mig-empty"}))
    assert (facts["gpus"][0]["mig_enabled"], facts["gpus"][0]["mig"]) == (True, [])


@pytest.mark.parametrize(
    ("nvml", "brand", "virtual"),
    [("rtx4090", "geforce", False), ("v100", "tesla", False), ("vgpu", "nvidia", True)],
)
def test_the_driver_tells_brand_and_whether_a_gpu_is_shared(
    tmp_path: Path, nvml: str, brand: str, *, virtual: bool
) -> None:
    found = facts_of(environment(tmp_path / "bin", nvml=nvml))["gpus"][0]
    assert (found["brand"], found["virtual"]) == (brand, virtual)


@pytest.mark.parametrize(
    ("engine", "mechanism"),
    [("nvidia", "hook"), ("runtime", "runtime"), ("rootful", ""), ("none", "")],
)
def test_how_containers_get_gpus_is_told_as_the_engine_does_it(
    tmp_path: Path, engine: str, mechanism: str
) -> None:
    facts = facts_of(environment(tmp_path / "bin", nvml="rtx4090", engine=engine))
    assert facts["access"]["mechanism"] == mechanism


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  x\n", "open"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  x\n", "proprietary"),
        ("", ""),
    ],
)
def test_the_flavour_of_the_kernel_modules_is_read(tmp_path: Path, text: str, module: str) -> None:
    file = tmp_path / str(nvidia.KERNEL_DRIVER)[1:]
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert nvidia.kernel_module(tmp_path) == module


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo NVIDIA Container Toolkit CLI version 1.18.1; echo commit: 0", "1.18.1"),
        ("exit 3", ""),
        (None, "none"),
    ],
)
def test_the_toolkit_tells_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, version: str
) -> None:
    if script:
        program = tmp_path / "nvidia-ctk"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia.container_toolkit() == version


def test_the_toolkit_is_asked_only_beside_a_driver_and_the_firmware_only_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(gpu_env, "NvmlChild", lambda: None)
    monkeypatch.setattr(gpu_env, "container_toolkit", lambda: asked.append("toolkit"))
    monkeypatch.setattr(gpu_env, "secure_boot", lambda: asked.append("secure boot"))
    for driver, expected in ((True, ["toolkit"]), (False, ["secure boot"])):
        asked.clear()
        monkeypatch.setattr(gpu_env, "has_driver", lambda driver=driver: driver)
        sources = gpu_env.NvidiaGpus().sources()
        sources["toolkit"]()
        sources["secure_boot"]()
        assert asked == expected


def test_a_toolkit_beside_an_engine_of_another_machine_says_nothing() -> None:
    known = {"toolkit": "1.18.1", "module": "open"}
    for local, toolkit in ((True, "1.18.1"), (False, "")):
        found = gpu_env.NvidiaGpus().facts({"engine": Engine(local=local), **known})
        assert (found.toolkit, found.module) == (toolkit, "open")


@pytest.mark.parametrize("signed_only", [True, False, None])
def test_a_driver_that_secure_boot_stops_is_not_loaded_by_modprobe(
    monkeypatch: pytest.MonkeyPatch, *, signed_only: bool | None
) -> None:
    class Child(nvidia.NvmlChild):
        def __init__(self) -> None:
            pass

        def answer(self, limit: float) -> dict[str, Any]:
            return {"error": nvidia.NOT_LOADED if limit else 0}

    monkeypatch.setattr(nvidia, "secure_boot", lambda: signed_only)
    note = nvidia.graphics(Child()).gpu_note
    assert ("Secure Boot" in note, "modprobe" in note) == (bool(signed_only), not signed_only)


def test_a_driver_library_that_prints_spoils_no_json(tmp_path: Path) -> None:
    assert facts_of(environment(tmp_path / "bin", nvml="noisy"))["gpu_status"] == "found"


def test_gpu_ids_are_mig_instances_where_mig_is_on_and_gpus_elsewhere() -> None:
    sliced = Gpu("a", "GPU-a", mig_enabled=True, mig=(Mig("m", "MIG-1"),))
    empty = Gpu("b", "GPU-b", mig_enabled=True)
    facts = GpuFacts(gpus=(sliced, empty, Gpu("c", "GPU-c")))
    assert facts.gpu_ids == ("MIG-1", "GPU-c")
    assert any("nothing can run" in line for line in gpus.gpu_lines(facts))


def test_a_lost_gpu_hides_no_other(tmp_path: Path) -> None:
    facts = facts_of(environment(tmp_path / "bin", nvml="lost"))
    assert [gpu["name"] for gpu in facts["gpus"]] == ["Tesla V100-SXM2-32GB"]


@pytest.mark.parametrize(
    ("source", "status", "says"),
    [
        ({}, "none", "no NVIDIA driver found"),
        ({"nvml": "no-gpu"}, "none", "reports no GPU"),
        ({"nvml": "mismatch"}, "unknown", "reboot"),
        ({"nvml": "not-loaded"}, "unknown", "modprobe nvidia"),
        ({"smi": "mismatch"}, "unknown", "reboot"),
        ({"smi": "no-driver"}, "unknown", "couldn't communicate with the NVIDIA driver"),
    ],
)
def test_a_machine_without_usable_gpu_is_told_why(
    tmp_path: Path, source: dict[str, str], status: str, says: str
) -> None:
    facts = facts_of(environment(tmp_path / "bin", **source))
    assert (facts["gpus"], facts["gpu_status"]) == ([], status)
    assert says in facts["gpu_note"]
    assert "\n" not in facts["gpu_note"]


@pytest.mark.parametrize("source", [{"nvml": "hang"}, {"smi": "hang"}], ids=["nvml", "nvidia-smi"])
def test_a_hanging_driver_costs_three_seconds(tmp_path: Path, source: dict[str, str]) -> None:
    start = time.monotonic()
    facts = facts_of(environment(tmp_path / "bin", **source))
    # Three seconds are waited; the rest is for a slow machine.
    assert time.monotonic() - start < 40
    assert facts["gpu_status"] == "unknown"
    assert "did not answer within 3 s" in facts["gpu_note"]
    assert facts["engine"]["reachable"]


def test_a_crash_inside_the_driver_library_is_survived(tmp_path: Path) -> None:
    facts = facts_of(environment(tmp_path / "bin", nvml="crash", smi="rtx4090"))
    assert facts["gpu_source"] == "nvidia-smi"


class FakeLibrary:
    """libnvidia-ml for ctypes: writes through the pointers it is given, like the C functions."""

    def __init__(self, init_status: int = 0) -> None:
        self.init_status = init_status

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return self.init_status

    def __getattr__(self, name: str) -> Any:
        numbers = {
            "nvmlSystemGetCudaDriverVersion_v2": [12080],
            "nvmlDeviceGetCount_v2": [1],
            "nvmlDeviceGetCudaComputeCapability": [9, 0],
            "nvmlDeviceGetMigMode": [1, 1],
            "nvmlDeviceGetMaxMigDeviceCount": [7],
        }
        texts: dict[str, dict[int | None, bytes]] = {
            "nvmlSystemGetDriverVersion": {None: b"570.86.15"},
            "nvmlDeviceGetName": {16: b"NVIDIA H100", 32: b"NVIDIA H100 MIG 1g.10gb"},
            "nvmlDeviceGetUUID": {16: b"GPU-1", 32: b"MIG-1"},
        }

        def call(*args: Any) -> int:
            if name in numbers:
                for pointer, number in zip(args[-len(numbers[name]) :], numbers[name], strict=True):
                    pointer._obj.value = number
            elif name in texts:
                device = args[0].value if isinstance(args[0], ctypes.c_void_p) else None
                args[-2]._obj.value = texts[name][device]
                assert args[-1] == len(args[-2]._obj)
            elif name == "nvmlDeviceGetHandleByIndex_v2":
                args[-1]._obj.value = 16
            elif name == "nvmlDeviceGetMigDeviceHandleByIndex":
                if args[1] > 0:
                    return 6  # NVML_ERROR_NOT_FOUND
                args[-1]._obj.value = 32
            elif name == "nvmlDeviceGetMemoryInfo":
                args[-1]._obj[0] = 80 << 30
            else:
                raise AttributeError(name)
            return 0

        return call


def test_the_driver_library_itself_is_read_where_pynvml_is_not_installed() -> None:
    nvml = nvidia.Nvml(FakeLibrary())
    nvml.nvmlInit()
    found = nvidia.read_nvml(nvml)
    part = Mig("NVIDIA H100 MIG 1g.10gb", "MIG-1", 81920)
    gpu = Gpu("NVIDIA H100", "GPU-1", "9.0", 81920, mig_enabled=True, mig=(part,), index=0)
    assert (found.gpus, found.driver, found.cuda) == ((gpu,), "570.86.15", "12.8")


def test_an_error_of_the_driver_library_keeps_its_number() -> None:
    with pytest.raises(nvidia.NvmlError) as error:
        nvidia.Nvml(FakeLibrary(init_status=nvidia.MISMATCH)).nvmlInit()
    assert error.value.value == nvidia.MISMATCH


def test_the_kernel_tells_its_driver_when_the_library_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = tmp_path / "version"
    version.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"
        "GCC version:  gcc version 13.3.0\n"
    )
    monkeypatch.setattr(nvidia, "KERNEL_DRIVER", version)
    for name, value in environment(tmp_path / "bin", smi="mismatch").items():
        monkeypatch.setenv(name, value)
    found = nvidia.graphics(None)
    assert (found.driver, found.gpu_status) == ("570.86.15", "unknown")
    assert "(570.86.15)" in found.gpu_note


# ---------------------------------------------------------------------------------------- engines


@pytest.mark.parametrize(
    ("name", "found", "problem", "fix"),
    [
        ("rootful", ("docker", "plugin"), "", ""),
        ("rootless", ("docker-rootless", "plugin"), "", ""),
        ("desktop", ("docker-desktop", "plugin"), "", ""),
        ("none", ("none", "none"), "Docker is not installed", "docker"),
        ("daemon-down", ("docker", "plugin"), "engine is not running", "start"),
        ("rootless-down", ("docker-rootless", "plugin"), "engine is not running", "--user start"),
        ("no-permission", ("docker", "plugin"), "may not talk", "usermod -aG docker"),
        # Debian 12 has no package with Compose 2.
        ("no-compose", ("docker", "none"), "no Compose plugin", "compose|get.docker.com"),
        ("compose-v1", ("docker", "v1"), "docker-compose 1", "compose|get.docker.com"),
        ("standalone", ("docker", "standalone"), "", ""),
        ("nonsense", ("docker", "none"), "failed", "docker info"),
        ("odd", ("none", "none"), "odd", "docker info"),
    ],
)
def test_an_engine_is_named_and_its_trouble_explained(
    tmp_path: Path, name: str, found: tuple[str, str], problem: str, fix: str
) -> None:
    engine = facts_of(environment(tmp_path / "bin", engine=name))["engine"]
    assert (engine["kind"], engine["compose"]) == found
    assert problem in engine["problem"]
    assert re.search(fix, engine["fix"])
    assert bool(engine["problem"]) == bool(engine["fix"]) == bool(problem)


def test_versions_and_room_of_a_working_engine_are_known(tmp_path: Path) -> None:
    engine = facts_of(environment(tmp_path / "bin"))["engine"]
    assert (engine["version"], engine["compose_version"]) == ("28.5.2", "2.40.3")
    assert engine["memory_mib"] == 64306
    assert engine["disk_free_mib"] > 0


@pytest.mark.parametrize("engine", ["desktop", "podman"])
def test_the_disk_of_an_engine_on_another_machine_is_not_ours(tmp_path: Path, engine: str) -> None:
    found = facts_of(environment(tmp_path / "bin", engine=engine))["engine"]
    assert (found["root_dir"], found["disk_free_mib"]) == ("/", None)


def test_a_hanging_engine_delays_little_and_hides_no_gpu(tmp_path: Path) -> None:
    start = time.monotonic()
    facts = facts_of(environment(tmp_path / "bin", engine="hang", nvml="rtx4090"))
    assert time.monotonic() - start < 40
    assert "gives no answer" in facts["engine"]["problem"]
    assert facts["gpu_status"] == "found"


# ------------------------------------------------------------------------------------ the machine


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.parametrize(
    ("variable", "file", "link", "zone"),
    [
        ("Asia/Tokyo", "Europe/Berlin", "Europe/Paris", "Asia/Tokyo"),
        (":America/New_York", "", "", "America/New_York"),
        ("/usr/share/zoneinfo/posix/Asia/Tokyo", "", "", "Asia/Tokyo"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "Europe/Berlin", "", "Europe/Berlin"),
        ("", "Europe/Berlin\n", "Europe/Paris", "Europe/Berlin"),
        ("", "", "America/Argentina/Salta", "America/Argentina/Salta"),
        ("$(touch x)", "", "", "Etc/UTC"),
        ("", "", "", "Etc/UTC"),
    ],
)
def test_the_time_zone_is_found_where_systems_keep_it(
    tmp_path: Path, variable: str, file: str, link: str, zone: str
) -> None:
    (tmp_path / "etc").mkdir()
    if file:
        put(tmp_path, "etc/timezone", file)
    if link:
        (tmp_path / "etc/localtime").symlink_to(f"/usr/share/zoneinfo/{link}")
    assert probe.time_zone({"TZ": variable}, tmp_path) == zone


@pytest.mark.parametrize(
    ("files", "mib"),
    [
        ({}, 64 * 1024),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "8589934592\n"}, 8192),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 64 * 1024),
        (
            {
                "proc/self/cgroup": "4:memory:/job\n0::/\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "4294967296\n",
            },
            4096,
        ),
    ],
    ids=["no limit", "version 2, parent", "version 2, max", "version 1"],
)
def test_memory_is_what_the_control_group_leaves(
    tmp_path: Path, files: dict[str, str], mib: int
) -> None:
    put(tmp_path, "proc/meminfo", f"MemTotal:       {64 << 20} kB\nMemFree: 1 kB\n")
    for path, text in files.items():
        put(tmp_path, path, text)
    assert probe.memory_mib(tmp_path) == mib


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, 8),
        (
            {
                "proc/self/cgroup": "2:cpu,cpuacct:/a\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
    ],
)
def test_cores_are_what_the_control_group_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for path, text in files.items():
        put(tmp_path, path, text)
    assert probe.cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("5.15.153.1-microsoft-standard-WSL2", 2),
        ("4.19.104-microsoft-standard", 2),
        ("4.4.0-19041-Microsoft", 1),
        ("6.12.0-1-amd64", 0),
    ],
)
def test_wsl_is_recognised_by_its_kernel(tmp_path: Path, release: str, version: int) -> None:
    put(tmp_path, "proc/sys/kernel/osrelease", release + "\n")
    assert probe.wsl(tmp_path) == version


def test_a_certificate_file_of_the_environment_is_found(tmp_path: Path) -> None:
    put(tmp_path, "ca.pem", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n")
    put(tmp_path, "empty.pem", "")
    good, empty = str(tmp_path / "ca.pem"), str(tmp_path / "empty.pem")
    missing = str(tmp_path / "missing.pem")
    assert probe.ca_bundle({"CURL_CA_BUNDLE": good, "SSL_CERT_FILE": missing}) == good
    assert probe.ca_bundle({"SSL_CERT_FILE": empty, "REQUESTS_CA_BUNDLE": str(tmp_path)}) == ""
    assert probe.ca_bundle({}) == ""


# ----------------------------------------------------------------------------------------- people

ADA = Person(1000, 1000, "ada", "ada")
ROOT = Person(0, 0, "root", "root")
LAB = Person(1234, 5678, "bob", "lab")


@pytest.mark.parametrize(
    ("user", "project_owner", "kind", "inside"),
    [
        (ADA, None, "docker", ADA),
        (ADA, LAB, "docker", ADA),
        (ADA, None, "podman", ADA),
        (ADA, None, "docker-desktop", ADA),
        (ADA, None, "docker-rootless", ROOT),
        (ROOT, LAB, "docker", LAB),
        (ROOT, None, "docker", ROOT),
        (None, None, "docker-desktop", None),
    ],
)
def test_files_of_the_container_belong_to_the_person_at_work(
    user: Person | None,
    project_owner: Person | None,
    kind: str,
    inside: Person | None,
) -> None:
    engine = Engine(kind=kind)
    facts = Facts(user=user, project_owner=project_owner, engine=engine)
    assert facts.container_user == inside


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("ada", "ada"),
        ("Ada.Lovelace", "Ada.Lovelace"),
        ("DOMAIN\\ada", "DOMAIN\\ada"),
        ("ada@lab.example", "ada@lab.example"),
        ("Ada Lovelace", "Ada Lovelace"),
        ("a:b/c\nd\te\x00", "a_b_c_d_e_"),
        ("o'`x", "o__x"),
        ("caf\udce9", "caf_"),
        ("", "user"),
    ],
)
def test_a_name_is_kept_unless_it_breaks_passwd_or_env(name: str, cleaned: str) -> None:
    assert probe.clean_name(name) == cleaned


def test_a_user_without_passwd_entry_still_has_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 3999999999)
    monkeypatch.setattr(os, "getgid", lambda: 3999999998)
    assert probe.caller({"LOGNAME": "ada"}) == Person(3999999999, 3999999998, "ada", "ada")
    assert probe.caller({}) == Person(3999999999, 3999999998, "user", "user")


def test_an_owner_that_is_somebody_else_is_told(tmp_path: Path) -> None:
    assert probe.owner(tmp_path / "nothing", {}) is None
    mine = probe.owner(tmp_path, {})
    assert mine is not None
    assert mine.uid == os.getuid()
    shown = probe.table(Facts(user=ADA, project_owner=LAB, data_owner=LAB))
    assert "project owner  1234:5678 (bob:lab)" in shown
    assert "data owner     1234:5678 (bob:lab)" in shown


# -------------------------------------------------------------------------------------- the whole


def test_one_failing_or_hanging_source_costs_only_itself() -> None:
    start = time.monotonic()
    found = ask.gather(
        {"bad": lambda: 1 // 0, "slow": lambda: time.sleep(60), "good": lambda: "yes"}, 1.0
    )
    assert found == {"good": "yes"}
    assert time.monotonic() - start < 45


def test_a_command_that_hangs_or_does_not_exist_raises_nothing(tmp_path: Path) -> None:
    start = time.monotonic()
    assert ask.command([sys.executable, "-c", "import time; time.sleep(60)"], 0.3).timed_out
    assert time.monotonic() - start < 45
    assert ask.command([str(tmp_path / "nothing")], 1).status is None


def test_the_facts_that_the_matcher_reads_are_in_the_json(tmp_path: Path) -> None:
    facts = facts_of(environment(tmp_path / "bin", nvml="rtx4090"))
    assert (facts["driver"], facts["cuda"]) == ("550.54.15", "12.4")
    gpu = {
        "name": "NVIDIA GeForce RTX 4090",
        "uuid": UUID,
        "compute_capability": "8.9",
        "memory_mib": 24564,
    }
    assert facts["gpus"][0].items() >= gpu.items()


def test_the_table_shows_what_a_person_asks_for(tmp_path: Path) -> None:
    text = run(
        environment(tmp_path / "bin", nvml="mig", engine="no-permission"), "env", "--show"
    ).stdout
    for part in ("may not talk", "usermod", "570.86.15 (CUDA 12.8)", "MIG 1g.10gb", "time zone"):
        assert part in text


def test_unknown_facts_still_make_a_table() -> None:
    assert "memory         unknown" in probe.table(Facts())
    unknown = Gpu("NVIDIA GB10", "GPU-x", None, None)
    assert "unknown" in probe.table(replace(GpuFacts(), gpus=(unknown,)))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_source_is_python_3_8_and_needs_no_package(source: Path) -> None:
    tree = ast.parse(source.read_text("utf-8"), feature_version=(3, 8))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and node.level == 0
            else []
        )
    }
    assert names <= sys.stdlib_module_names


@pytest.mark.engine
def test_a_real_engine_is_seen_as_its_own_client_sees_it() -> None:
    engine = facts_of(dict(os.environ))["engine"]
    for key, command in (
        ("version", ["docker", "version", "--format", "{{.Server.Version}}"]),
        ("compose_version", ["docker", "compose", "version", "--short"]),
    ):
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        assert engine[key] == said.stdout.strip().lstrip("v")
    assert (engine["reachable"], engine["problem"], engine["compose"]) == (True, "", "plugin")
    assert engine["disk_free_mib"] > 0
