"""WSL, macOS, Docker Desktop and rootless Docker, of which only descriptions are here."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from host import engine, failures, gpus, probe
from host.ask import Output
from host.facts import Engine, Facts, Person
from host.failure_rows import row
from host.failures import engine_address, engine_kind, kind_of_address, remedy_for
from host.fill import env_values
from host.gpu_facts import Gpu, GpuFacts

ADA = Person(1000, 1000, "ada", "ada")
MAC = Person(501, 20, "ada", "staff")
TWO = (Gpu("RTX 4090", "GPU-a", index=0), Gpu("RTX 4090", "GPU-b", index=1))
# As nvidia-ctk 1.17 writes it in WSL: https://github.com/NVIDIA/nvidia-container-toolkit/issues/972
STORE = "/usr/lib/wsl/drivers/nv_dispsig.inf_amd64_195ec6a4e5afbb7e"
WSL_SPEC = f"""\
cdiVersion: 0.5.0
containerEdits:
  mounts:
  - containerPath: {STORE}/libcuda.so.1.1
    hostPath: {STORE}/libcuda.so.1.1
  - containerPath: {STORE}/libnvidia-ml.so.1
    hostPath: {STORE}/libnvidia-ml.so.1
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/dxg
  name: all
kind: nvidia.com/gpu
"""


def put(root: Path, path: str, text: str) -> None:
    """Write a file of a machine."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's settings of a user who has none yet."""
    for key in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker"


def as_host(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Let this machine be another one, in the words of the remedies."""
    for module in (failures, engine):
        monkeypatch.setattr(module, "hosts", lambda: iter(words))
    monkeypatch.setattr(sys, "platform", "darwin" if "mac" in words else "linux")


# --------------------------------------------------------------------------- which engine it is


@pytest.mark.parametrize(
    ("address", "platform", "kind"),
    [
        ("unix:///run/user/1000/docker.sock", "linux", "docker-rootless"),
        ("unix:///home/ada/.docker/run/docker.sock", "linux", "docker-rootless"),
        ("unix:///Users/ada/.docker/run/docker.sock", "darwin", "docker-desktop"),
        ("unix:///home/ada/.docker/desktop/docker.sock", "linux", "docker-desktop"),
        ("unix:///mnt/wsl/docker-desktop/shared-sockets/a.sock", "linux", "docker-desktop"),
        ("desktop-linux", "linux", "docker-desktop"),
        ("unix:///run/user/1000/podman/podman.sock", "linux", "podman"),
        ("unix:///run/docker.sock", "linux", ""),
        ("ssh://ada@server", "linux", ""),
        ("cannot mount /home/ada/docker-desktop/data", "linux", ""),
    ],
)
def test_an_address_tells_the_kind_of_engine(
    monkeypatch: pytest.MonkeyPatch, address: str, platform: str, kind: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert kind_of_address(address) == kind


def test_the_address_is_that_of_the_environment_then_of_the_context(
    context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "docker.sock"
    (tmp_path / "podman.sock").touch()
    socket.symlink_to("podman.sock")  # as podman-docker makes it
    assert engine_address(socket) == f"unix://{tmp_path}/podman.sock"
    folder = f"contexts/meta/{sha256(b'mine').hexdigest()}"
    host = "unix:///run/user/1000/docker.sock"
    put(context, "config.json", json.dumps({"currentContext": "mine"}))
    assert engine_address(socket) == "mine"
    put(context, f"{folder}/meta.json", json.dumps({"Endpoints": {"docker": {"Host": host}}}))
    assert engine_address(socket) == host
    assert engine_kind("") == "docker-rootless"
    monkeypatch.setenv("DOCKER_CONTEXT", "desktop-linux")
    assert engine_kind("") == "docker-desktop"
    monkeypatch.setenv("DOCKER_HOST", "ssh://ada@server")
    assert engine_address(socket) == "ssh://ada@server"


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(
    ("words", "dockerd", "kind", "start"),
    [
        (("mac",), None, "docker-desktop", "open -a Docker"),
        (("wsl", "ubuntu"), None, "docker-desktop", "powershell.exe"),
        (("wsl", "no-systemd", "ubuntu"), "/usr/bin/dockerd", "docker", "sudo service docker"),
        (("wsl", "ubuntu"), "/usr/bin/dockerd", "docker", "sudo systemctl start docker"),
        (("debian",), None, "docker", "sudo systemctl start docker"),
    ],
)
def test_without_an_address_the_machine_tells_the_engine_that_is_started(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], dockerd: str, kind: str, start: str
) -> None:
    as_host(monkeypatch, *words)
    monkeypatch.setattr(failures, "engine_address", lambda: "unix:///var/run/docker.sock")
    monkeypatch.setattr("shutil.which", lambda _: dockerd)
    assert engine_kind("") == kind
    assert remedy_for(row("engine-not-running"), kind).startswith(start)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"proc/sys/kernel/osrelease": "6.6.87.2-microsoft-standard-WSL2"}, ["wsl", "no-systemd"]),
        ({"run/systemd/system/x": "", "etc/os-release": 'ID="rocky"\n'}, ["rocky"]),
        (
            {"run/systemd/system/x": "", "etc/os-release": 'VERSION_ID="12"\nID=debian\n'},
            ["debian-12", "debian"],
        ),
        (
            {
                "run/systemd/system/x": "",
                "etc/os-release": 'ID="rocky"\nVERSION_ID="9.4"\nID_LIKE="rhel centos fedora"\n',
            },
            ["rocky-9", "rocky", "rhel-9", "rhel", "centos", "fedora"],
        ),
        (
            {"run/systemd/system/x": "", "var/lib/dpkg/info/docker-ce.list": ""},
            ["docker-ce"],
        ),
    ],
)
def test_a_machine_is_recognised_by_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], words: list[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for path, text in files.items():
        put(tmp_path, path, text)
    assert [*failures.hosts(tmp_path)] == words


# ------------------------------------------------------------------------------------------ ids


def info(version: str, name: str = "docker-desktop") -> Output:
    """What `docker info` answers under Docker Desktop."""
    known = {"ServerVersion": version, "Name": name, "OperatingSystem": "Docker Desktop"}
    return Output(0, json.dumps({**known, "MemTotal": 8 << 30}))


@pytest.mark.parametrize(
    ("words", "version", "user", "inside"),
    [
        (("ubuntu",), "27.2.0", ADA, 0),  # Desktop 4.34
        (("ubuntu",), "28.5.1", ADA, 1000),
        (("wsl", "ubuntu"), "27.2.0", ADA, 1000),
        (("mac",), "27.2.0", MAC, 501),
    ],
)
def test_desktop_shows_files_as_root_s_on_linux_before_4_35(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], version: str, user: Person, inside: int
) -> None:
    as_host(monkeypatch, *words)
    facts = Facts(user=user, engine=engine.read_docker(info(version)))
    assert facts.engine.kind == "docker-desktop"
    assert facts.container_user
    assert facts.container_user.uid == inside


# ------------------------------------------------------------------------------ macOS: no /proc


def test_macos_tells_memory_and_time_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "bin/sysctl", '#!/bin/sh\n[ "$*" = "-n hw.memsize" ] && echo 34359738368\n')
    (tmp_path / "bin/sysctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin")
    assert probe.memory_mib(tmp_path) == 32768
    put(tmp_path, "etc/other", "")
    zone = tmp_path / "var/db/timezone/zoneinfo/Europe/Berlin"
    put(tmp_path, "var/db/timezone/zoneinfo/Europe/Berlin", "TZif")
    (tmp_path / "etc/localtime").symlink_to(zone)
    assert probe.time_zone({}, tmp_path) == "Europe/Berlin"
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    assert probe.cores(tmp_path) >= 1
    assert probe.wsl(tmp_path) == 0


def test_shared_memory_is_half_of_the_virtual_machine_s(tmp_path: Path) -> None:
    facts = Facts(user=MAC, memory_mib=32768, engine=Engine(memory_mib=7837))
    example = (
        "USRID=1000\nGRPID=1000\nSHM_SIZE=1gb\nCOMPOSE_PROJECT_NAME=x\nCOMPOSE_FILE=compose.yaml\n"
    )
    values = env_values(facts, tmp_path, example)
    assert (values["USRID"], values["GRPID"], values["SHM_SIZE"]) == ("501", "20", "3gb")


# ------------------------------------------------------------------------------- GPUs in WSL


def in_wsl(tmp_path: Path, version: int, **fields: Any) -> GpuFacts:
    """WSL with two GPUs and Docker Engine, which looks for CDI files in a folder."""
    put(tmp_path, "cdi/nvidia.yaml", WSL_SPEC)
    known = Engine(kind="docker", reachable=True, version="28.5.2", cdi_dirs=(f"{tmp_path}/cdi",))
    known = replace(known, cdi_devices=("nvidia.com/gpu=all",), **fields)
    return GpuFacts(gpus=TWO, driver="560.94", gpu_status="found", wsl=version, engine=known)


def test_the_cdi_file_of_wsl_has_all_gpus_in_one_and_is_of_no_driver(tmp_path: Path) -> None:
    facts = in_wsl(tmp_path, 2)
    found = gpus.access(facts.engine, facts)
    assert (found.kinds, found.cdi_names, found.note) == (("cdi",), ("all",), "")
    bare_metal = replace(facts, wsl=0)
    assert gpus.access(bare_metal.engine, bare_metal).kinds == ()


def test_in_wsl_a_container_asks_for_all_gpus(tmp_path: Path) -> None:
    facts = in_wsl(tmp_path, 2)
    facts = replace(facts, access=gpus.access(facts.engine, facts))
    texts = gpus.override_texts("GPU-b", facts)
    cdi = yaml.safe_load(texts["compose.cdi.yaml"])["services"]["dev"]
    assert cdi["devices"] == ["nvidia.com/gpu=all"]
    runtime = yaml.safe_load(texts["compose.nvidia.yaml"])["services"]["dev"]
    (request,) = runtime["deploy"]["resources"]["reservations"]["devices"]
    assert request["count"] == "all"
    assert cdi["environment"]["GPUS_GIVEN"] == "GPU-b"


@pytest.mark.parametrize(("version", "kinds"), [(2, ("nvidia",)), (1, ()), (0, ())])
def test_docker_desktop_has_gpus_in_wsl_2_only(
    tmp_path: Path, version: int, kinds: tuple[str, ...]
) -> None:
    facts = in_wsl(tmp_path, version, kind="docker-desktop", cdi_dirs=(), local=False)
    assert gpus.access(facts.engine, facts).kinds == kinds


# ------------------------------------------------------------------------- GPUs of rootless Docker


def rootless(monkeypatch: pytest.MonkeyPatch, *folders: str, **fields: Any) -> GpuFacts:
    """Rootless Docker, which looks for CDI files in these folders, on a machine with two GPUs."""
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-ctk")
    monkeypatch.setattr(gpus, "remedy_for", lambda _row, kind: remedy_for(_row, kind, ("ubuntu",)))
    known = Engine(kind="docker-rootless", reachable=True, rootless=True, version="28.5.2")
    known = replace(known, cdi_dirs=folders, cdi_devices=(), **fields)
    return GpuFacts(gpus=TWO, driver="550.54.15", gpu_status="found", engine=known)


@pytest.mark.parametrize(
    ("folders", "fix"),
    [
        (
            ("/etc/cdi", "/var/run/cdi"),
            "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
        ),
        (
            ("/etc/cdi", "{home}/.config/cdi"),
            "nvidia-ctk cdi generate --output={home}/.config/cdi/nvidia.yaml",
        ),
        (
            (),
            row("gpu-runtime-missing").run["docker-rootless"].rpartition(" && ")[0],
        ),
    ],
)
def test_rootless_docker_is_given_gpus_where_it_looks_for_them(
    monkeypatch: pytest.MonkeyPatch, folders: tuple[str, ...], fix: str
) -> None:
    home = str(Path.home())
    facts = rootless(monkeypatch, *(one.format(home=home) for one in folders))
    found = gpus.access(facts.engine, facts)
    assert found.fix == f"{fix.replace('{home}', home)} && systemctl --user restart docker"


@pytest.mark.parametrize("here", [("debian",), ("fedora",), ("no-systemd", "fedora")], ids=" ".join)
@pytest.mark.parametrize("kind", ["docker", "docker-rootless", "podman"])
def test_without_nvidias_toolkit_it_is_installed_as_this_host_does(
    monkeypatch: pytest.MonkeyPatch, kind: str, here: tuple[str, ...]
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(gpus, "remedy_for", lambda _row, kind: remedy_for(_row, kind, here))
    engine = Engine(kind=kind, reachable=True, rootless=kind != "docker")
    facts = GpuFacts(gpus=TWO, driver="550.54.15", gpu_status="found", engine=engine)
    assert gpus.access(engine, facts).fix == remedy_for(row("gpu-toolkit-missing"), kind, here)
    own = replace(engine, cdi_dirs=(f"{Path.home()}/.config/cdi",))
    if kind == "docker-rootless":
        command = gpus.access(own, replace(facts, engine=own)).fix
        installer = "dnf" if "fedora" in here else "apt-get"
        assert command.startswith(
            f"sudo {installer} install nvidia-container-toolkit && nvidia-ctk"
        )


def test_a_cdi_file_that_is_newer_than_rootless_docker_wants_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = WSL_SPEC.replace("libcuda.so.1.1", "libcuda.so.550.54.15")
    put(tmp_path, "nvidia.yaml", spec)
    facts = rootless(monkeypatch, str(tmp_path))
    found = gpus.access(facts.engine, facts)
    assert found.kinds == ()
    assert found.fix == "systemctl --user restart docker"
