"""Commands that help are those of the machine: its distribution has the program and the package."""

from __future__ import annotations

import re

import pytest

from host.failure_rows import table
from host.failures import remedy_for

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
    "macOS": ("mac",),
}
# What a machine does not have: programs, and packages that are not there or too old for a project.
# Debian 12 has Docker 20.10, Compose 1.29 and no Buildx; Debian 13 Buildx 0.13; RHEL has Podman.
ABSENT = {
    "debian": r"\b(dnf|brew|grubby|update-ca-trust)\b",
    "ubuntu": r"get\.docker\.com|install [^&]*docker-compose\b(?!-)",
    "debian-12": r"install [^&]*docker(\.io|-compose|-buildx)\b(?!-plugin)",
    "debian-13": r"install [^&]*docker-(compose-v2|buildx)\b(?!-plugin)",
    "fedora": r"\b(apt-get|brew|update-grub|update-ca-certificates|get\.docker\.com)\b",
    "rhel": r"moby-engine|docker-(compose|buildx)\b(?!-plugin)",
    "mac": r"\b(apt-get|dnf|snap|systemctl|sudo service|timedatectl|hwclock|usermod|update-\S+)\b",
}
# What an engine in a virtual machine, as macOS has it, cannot say; and macOS has no NVIDIA driver.
OF_LINUX = {"engine-permission", "engine-old-store", "engine-snap", "rootless-limits"}
OF_LINUX |= {"subuid-missing"}


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
