"""docs/clusters.md: each site in it can be read, and each option of submit exists."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest

from host.clusters.site import read_site
from host.clusters.submit import submit_options
from host.command import GROUPS
from host.failure_rows import table
from host.project import Project
from tests.conftest import ROOT
from tests.support.program import PROJECT

TEXT = (ROOT / "docs/clusters.md").read_text()
FIRST = {
    "Slurm with Apptainer": "slurm",
    "Slurm with Pyxis": "slurm",
    "CSCS": "slurm",
    "Kubernetes": "kubernetes",
    "Run:ai": "runai",
    "SkyPilot": "skypilot",
}


def section(title: str) -> str:
    found = re.search(rf"(?ms)^#+ {re.escape(title)}\n(.*?)^#", TEXT)
    assert found, title
    return found[1]


@pytest.mark.parametrize(("title", "cluster"), FIRST.items())
def test_the_site_of_a_first_job_has_ten_lines_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str, cluster: str
) -> None:
    for name in ("USER", "HOME"):
        monkeypatch.setenv(name, "/home/jane" if name == "HOME" else "jane")
    blocks = re.findall(r"(?m)^(?:    .*\n)+", section(title))
    lines = re.sub("(?m)^    ", "", next(one for one in blocks if "[image]" in one))
    values = [line for line in lines.splitlines() if "=" in line]
    assert len(values) <= 10
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/site.toml").write_text(lines)
    (tmp_path / ".env").write_text("USRID=1000\nGRPID=1000\nUSR=jane\n")
    data: dict[str, Any] = {**PROJECT, "clusters": [cluster]}
    site = read_site(Project(tmp_path, data))
    assert site["image"]["name"]


def test_each_verb_and_each_failure_exists() -> None:
    verbs = {verb.name for _, group in GROUPS for verb in group}
    assert set(re.findall(r"template\.sh ([a-z][a-z-]*)", TEXT)) <= verbs
    ids = re.findall(r"`((?:cluster|site)-[a-z-]+)`", section("If something fails"))
    assert ids
    assert {*ids} <= {row.name for row in table()}


def test_each_option_exists() -> None:
    parser = ArgumentParser()
    submit_options(parser)
    known = {one for action in parser._actions for one in action.option_strings}
    assert set(re.findall(r"`(--?[a-z][a-z-]*)", section("What submit takes"))) <= known
    called = re.findall(r"(?m)^    template\.sh submit (.*)", TEXT)
    assert len(called) >= 5
    for words in called:
        parser.parse_args(words.partition("  #")[0].split())
