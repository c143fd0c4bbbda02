"""Hosts: what the probe and older descriptions say of a machine reaches the rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hooks.matcher import BadInputError, Host, from_probe, host
from tests.conftest import ROOT

HOSTS = ROOT / "tests/fakes/hosts"
ADA = {"name": "NVIDIA GeForce RTX 4090", "compute_capability": "8.9"}
L4 = {"name": "NVIDIA L4", "compute_capability": "8.9"}


def probed(**facts: Any) -> Host:
    """The host of facts about one GPU."""
    found = from_probe({"driver": "580.95.05", "gpus": [ADA], **facts})
    assert found
    return found


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"access": {"mechanism": "hook"}}, {"access": "hook"}),
        ({"access": {"kinds": ["cdi", "nvidia"], "mechanism": "cdi"}}, {"access": "cdi"}),
        ({"access": {"kinds": ["cdi"]}}, {"access": "cdi"}),
        ({"access": {"kinds": ["nvidia"]}}, {"access": ""}),
        ({"access": {"mechanism": "of-the-future"}}, {"access": ""}),
        ({"toolkit": "1.18.1"}, {"toolkit": "1.18.1"}),
        ({"hardware": {"toolkit": "none"}}, {"toolkit": "none"}),
        ({"module": "open", "hardware": {"module": "proprietary"}}, {"module": "open"}),
        ({"hardware": {"module": "proprietary"}}, {"module": "proprietary"}),
        # A driver that runs was not stopped.
        ({"secure_boot": True, "hardware": {"secure_boot": True}}, {"secure_boot": False}),
        ({"driver": None, "secure_boot": True}, {"secure_boot": True}),
        ({"driver": None, "hardware": {"secure_boot": True}}, {"secure_boot": True}),
        ({"driver": None, "secure_boot": None}, {"secure_boot": None}),
        ({"wsl": 2}, {"driver_type": "wsl"}),
        ({"gpus": [{**L4, "virtual": True}]}, {"driver_type": "vgpu"}),
        ({"gpus": [{**L4, "name": "NVIDIA L4-8Q"}]}, {"driver_type": "vgpu"}),
        ({"gpus": [L4, L4]}, {"driver_type": "datacenter"}),
        ({"gpus": [L4, ADA]}, {"driver_type": ""}),
        ({"gpus": [ADA]}, {"driver_type": "geforce"}),
        ({"architecture": "x86_64"}, {"arch": "x86_64"}),
        ({"architecture": "aarch64"}, {"arch": "aarch64"}),
        ({"architecture": "aarch64", "engine": {"architecture": "amd64"}}, {"arch": "x86_64"}),
        ({"details": {"engine_architecture": "arm64"}}, {"arch": "aarch64"}),
        ({"gpus": [{"name": "NVIDIA GB10"}]}, {"arch": "aarch64"}),
    ],
)
def test_the_rules_get_what_was_probed_and_older_descriptions_count(
    facts: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = probed(**facts)
    assert {key: getattr(found, key) for key in expected} == expected


def test_what_a_description_does_not_say_is_not_known() -> None:
    found = probed()
    assert (found.access, found.toolkit, found.module) == ("", "", "")
    nulls = dict.fromkeys(("access", "toolkit", "module", "hardware", "engine", "details"))
    assert probed(**nulls) == found


def test_the_brand_that_the_driver_reports_is_not_guessed_from_the_name() -> None:
    found = probed(gpus=[{**L4, "brand": "tesla"}, {**ADA, "brand": ""}, {**L4, "brand": "new"}])
    assert [gpu.brands for gpu in found.gpus] == [
        {"tesla"},
        {"geforce", "geforcertx"},
        {"tesla", "nvidia"},
    ]


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"access": []}, "access is not an object"),
        ({"access": {"kinds": "cdi"}}, "kinds"),
        ({"access": {"mechanism": 5}}, "mechanism"),
        ({"toolkit": ["1.18.1"]}, "toolkit"),
        ({"toolkit": "new"}, "NVIDIA Container Toolkit"),
        ({"module": True}, "module"),
        ({"hardware": "open"}, "hardware is not an object"),
        ({"secure_boot": "on"}, "secure_boot"),
        ({"wsl": "2"}, "wsl"),
        ({"wsl": True}, "wsl"),
        ({"gpus": [{**L4, "virtual": "yes"}]}, "virtual"),
        ({"architecture": 64}, "architecture"),
        ({"architecture": "sparc"}, "sparc"),
    ],
)
def test_nonsense_in_a_description_is_one_sentence(facts: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInputError, match=says) as refused:
        probed(**facts)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("access", "usb"), ("toolkit", "x"), ("module", "closed"), ("driver_type", "quadro")],
)
def test_a_word_that_a_person_mistypes_is_refused(key: str, value: str) -> None:
    words: dict[str, Any] = {key: value}
    with pytest.raises(BadInputError, match=value):
        host("580.95.05", ["NVIDIA L4"], **words)


@pytest.mark.parametrize("file", sorted(HOSTS.rglob("*.json")), ids=lambda file: file.stem)
def test_every_described_machine_is_a_host_of_its_architecture(file: Any) -> None:
    facts = json.loads(file.read_text())
    found = from_probe(facts)
    assert (found is None) == (not facts.get("gpus"))
    if found:
        assert found.arch == facts["architecture"]
        assert found.toolkit == facts["hardware"]["toolkit"]
        assert (found.driver_type == "wsl") == bool(facts["wsl"])
