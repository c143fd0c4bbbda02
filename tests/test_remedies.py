"""Commands that help are those of the machine: its distribution has the program and the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from host.failure_rows import table
from host.failures import hosts, remedy_for

ENGINES = ("docker", "docker-rootless", "docker-desktop", "podman")
MACHINES = {
    "Debian 12": ("debian-12", "debian"),
    "Debian 13": ("debian-13", "debian"),
    "Debian 12 with Docker's packages": ("docker-ce", "debian-12", "debian"),
    "Ubuntu 22.04": ("ubuntu-22", "ubuntu", "debian"),
    "Ubuntu 24.04": ("ubuntu-24", "ubuntu", "debian"),
    "Ubuntu in WSL": ("wsl", "no-systemd", "ubuntu-24", "ubuntu", "debian"),
    "Fedora": ("fedora-42", "fedora"),
    "Fedora in WSL": ("wsl", "no-systemd", "fedora-42", "fedora"),
    "RHEL 9": ("rhel-9", "rhel", "fedora"),
    "Rocky 10": ("rocky-10", "rocky", "rhel-10", "rhel", "centos", "fedora"),
    "Amazon Linux": ("amzn-2023", "amzn", "fedora"),
    "Oracle Linux 9": ("ol-9", "ol", "rhel-9", "rhel", "fedora"),
    "Arch": ("arch",),
    "Manjaro": ("manjaro", "arch"),
    "openSUSE Leap": ("opensuse-16", "opensuse", "leap-16", "leap", "suse", "opensuse"),
    "SLES": ("sles-15", "sles", "suse"),
    "Alpine": ("no-systemd", "alpine-3", "alpine"),
    "NixOS": ("nixos-26", "nixos"),
    "macOS": ("mac",),
}
MANAGERS = r"\b(apt-get|dnf|zypper|pacman|apk|brew|snap|dpkg|rpm)\b"
# What a machine does not have: programs, and packages that are not there or too old for a project.
# Debian 12 has Docker 20.10, Compose 1.29 and no Buildx; Debian 13 Buildx 0.13; RHEL has Podman.
ABSENT = {
    "debian": r"\b(dnf|brew|grubby|update-ca-trust)\b",
    "ubuntu": r"get\.docker\.com|install [^&]*docker-compose\b(?!-)",
    "debian-12": r"install [^&]*docker(\.io|-compose|-buildx)\b(?!-plugin)",
    "debian-13": r"install [^&]*docker-(compose-v2|buildx)\b(?!-plugin)",
    "fedora": r"\b(apt-get|brew|update-grub|update-ca-certificates|get\.docker\.com)\b",
    "rhel": r"moby-engine|docker-(compose|buildx)\b(?!-plugin)",
    "amzn": r"moby-engine|install akmod|install [^&]*docker-(compose|buildx)\b",
    "ol": r"moby-engine|docker-(compose|buildx)\b(?!-plugin)",
    "arch": r"\b(apt-get|dnf|zypper|apk|brew|grubby|update-(grub|ca-certificates))\b",
    "opensuse": r"\b(apt-get|dnf|pacman|apk|brew|grubby|update-(grub|ca-trust))\b",
    "sles": r"\b(apt-get|dnf|pacman|apk|brew|grubby|update-(grub|ca-trust))|install docker\b",
    "alpine": r"\b(apt-get|dnf|pacman|zypper|brew|grubby|update-(grub|ca-trust))\b",
    "nixos": MANAGERS.replace("|snap", ""),
    "mac": r"\b(apt-get|dnf|snap|systemctl|sudo service|timedatectl|hwclock|usermod|update-\S+)\b",
}
# What an engine in a virtual machine, as macOS has it, cannot say; and macOS has no NVIDIA driver.
OF_LINUX = {"engine-permission", "engine-old-store", "engine-snap", "rootless-limits"}
OF_LINUX |= {"subuid-missing"}

# What is run as it is downloaded: nobody has checked it.
UNCHECKED = re.compile(r"curl[^&|]*\| *(sudo )?(ba)?sh\b|curl [^&]*&& chmod|releases/latest")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", ENGINES)
def test_no_command_needs_what_the_machine_does_not_have(machine: str, kind: str) -> None:
    here = MACHINES[machine]
    if machine == "macOS" and kind in ("docker", "docker-rootless"):
        return  # there are Docker Desktop and Podman
    absent = "|".join(ABSENT[word] for word in here if word in ABSENT)
    commands = {
        one.name: re.sub("podman machine ssh [^&]*", "", remedy_for(one, kind, here))
        for one in table()
        if machine != "macOS" or (one.only != "cuda" and one.name not in OF_LINUX)
    }
    assert {name: run for name, run in commands.items() if re.search(absent, run)} == {}


def test_what_is_downloaded_is_checked_before_it_is_used() -> None:
    for one in table():
        for run in one.run.values():
            assert not UNCHECKED.search(run), one.name
            if "curl" in run and " -o " in run:
                assert run.index(" -o ") < run.index("sha256sum -c")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("ID=arch", ["arch"]),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="16.0"', ["opensuse", "suse"]),
        ('ID="ol"\nVERSION_ID="9.4"\nID_LIKE="fedora"', ["rhel-9", "rhel", "fedora"]),
        ('ID="amzn"\nVERSION_ID="2023"\nID_LIKE="fedora"', ["amzn", "fedora"]),
        ("ID=alpine\nVERSION_ID=3.23.0", ["alpine"]),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"', ["ubuntu", "debian"]),
    ],
)
def test_a_machine_is_known_by_the_names_in_os_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, words: list[str]
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(f"{lines}\n")
    here = [*hosts(tmp_path)]
    assert [word for word in dict.fromkeys(here) if word in words] == words
