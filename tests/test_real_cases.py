"""The faults that real projects met, each with the tests that show it mended: real_cases.yml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, Generate
from tests.test_render import effective

TABLE = yaml.safe_load((ROOT / "tests/real_cases.yml").read_text())
NUMBER_OF_FAULTS = 29


def is_there(test: str) -> bool:
    """Whether the tests have what the table names."""
    file, _, name = test.partition("::")
    path = ROOT / file
    if not path.is_file():
        return False
    if file.startswith("tests/cases/"):
        return not name
    text = path.read_text()
    heads = rf"^=== {name}$" if path.suffix == ".txt" else rf"^def {name}\("
    return "\ndef test_" in text if name == "*" else bool(re.search(heads, text, re.MULTILINE))


def test_each_fault_of_a_real_project_has_its_test() -> None:
    assert len(TABLE) == NUMBER_OF_FAULTS
    for name, row in TABLE.items():
        assert row.keys() == {"then", "now", "tests"}, name
        assert [test for test in row["tests"] if not is_there(test)] == [], name
        assert row["tests"], name


@pytest.mark.parametrize("name", ["dollar$x", "x:y", "it's größer"])
def test_a_folder_with_any_name_is_mounted_as_it_is(
    generate: Generate, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "train.py").touch()
    generate(folder, hook=True, accelerator="cpu", torch_version="none", project_kind="existing")
    services = effective(folder / "docker-amd64")["services"].values()
    mounts = [one for service in services for one in service.get("volumes", ())]
    sources = {one["source"] for one in mounts if one["target"] == "/workspace"}
    # Compose writes a dollar sign twice.
    assert {source.replace("$$", "$") for source in sources} == {str(folder)}
