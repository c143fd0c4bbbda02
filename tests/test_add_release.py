"""A new release is added from a small input, and what it changes is shown first."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from hooks.compat import add_release
from hooks.compat.add_release import AddError, add, insert, main, read_request

NEW = {
    "table": "torch",
    "like": "2.15.0",
    "row": {
        "torch": "2.15.1",
        "torchvision": "0.29.3",
        "source": ["pypi-2.15.1"],
        "date": "2026-12-05",
    },
    "sources": {"pypi-2.15.1": {"what": "the wheel on PyPI", "date": "2026-12-05"}},
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = add_release.ROOT
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "hooks", tmp_path / "hooks", ignore=ignore)
    (tmp_path / "docs").mkdir()
    shutil.copy(root / "docs" / "compatibility.md", tmp_path / "docs")
    return tmp_path


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_the_diff_shows_every_file_that_a_release_changes_and_writes_none(repository: Path) -> None:
    before = contents(repository)
    shown = add(NEW, write=False, root=repository)
    assert contents(repository) == before
    for name in ("torch.yml", "sources.yml", "table.json", "choices.json", "compatibility.md"):
        assert f"/{name}\n" in shown
    assert '+  - torch: "2.15.1"\n' in shown
    assert '+   "label": "2.15.1 (newest)",\n' in shown
    removed = [line for line in shown.splitlines() if line.startswith("-") and line[1:2] != "-"]
    assert not [line for line in removed if "torch:" in line]


def test_a_written_release_is_the_newest_and_can_be_chosen(repository: Path) -> None:
    add(NEW, write=True, root=repository)
    choices = yaml.safe_load((repository / "hooks/compat/choices.json").read_text())
    assert next(iter(choices["torch"])) == "2.15.1"
    assert choices["torch"]["2.15.1"]["torchvision"] == "0.29.3"
    assert choices["torch"]["2.15.0"]["label"] == "2.15.0"
    with pytest.raises(AddError, match=r"has 2\.15\.1 already"):
        add({**NEW, "sources": {}}, write=True, root=repository)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"row": {**NEW["row"], "torch": "2.15"}}, "would not fit its schema"),  # type: ignore[dict-item]
        ({"row": {**NEW["row"], "python": [3.12]}}, "3.12 is not of type 'string'"),  # type: ignore[dict-item]
        ({"row": {**NEW["row"], "source": ["rumour"]}}, "no rumour"),  # type: ignore[dict-item]
        ({"like": "1.0.0"}, "no row 1.0.0 to be like"),
        ({"row": {"date": "2026-12-05"}}, "the row has no torch"),
        ({"sources": {"banners": {"what": "x", "date": "2026-12-05"}}}, "has banners already"),
    ],
)
def test_a_row_that_cannot_be_added_gets_one_sentence_and_changes_nothing(
    repository: Path, change: dict[str, Any], says: str
) -> None:
    before = contents(repository)
    with pytest.raises(AddError) as caught:
        add({**NEW, **change}, write=True, root=repository)
    assert says in str(caught.value)
    assert contents(repository) == before


def test_a_gpu_that_a_group_names_is_not_added_again() -> None:
    text = (add_release.ROOT / "hooks" / "compat" / "gpus.yml").read_text(encoding="utf-8")
    with pytest.raises(AddError, match="has NVIDIA L40G already"):
        insert(text, "gpus", {"name": "NVIDIA L40G", "cc": "8.9"})


ROWS: list[tuple[str, dict[str, Any], str]] = [
    ("drivers", {"branch": "585", "cuda": "13.0"}, '  - branch: "585"\n'),
    ("drivers", {"branch": "630", "cuda": "13.6"}, '  - branch: "630"\n'),
    ("gpus", {"name": "NVIDIA A5", "cc": "8.6"}, '  - name: "NVIDIA A5"\n'),
    ("ngc", {"release": "26.10"}, '  - release: "26.10"\n'),
    ("cuda", {"line": "13.6"}, '  - line: "13.6"\n'),
    ("conda", {"torch": "2.12.2"}, '  - torch: "2.12.2"\n'),
]


@pytest.mark.parametrize(("table", "row", "line"), ROWS)
def test_a_row_goes_to_its_sorted_place_and_every_other_line_stays(
    table: str, row: dict[str, Any], line: str
) -> None:
    text = (add_release.ROOT / "hooks" / "compat" / f"{table}.yml").read_text(encoding="utf-8")
    new = insert(text, table, row)
    assert line in new
    rows = yaml.safe_load(new)[add_release.TABLES[table].section]
    keys = [add_release.order(table, item) for item in rows]
    assert keys == sorted(keys)
    left = new.replace(add_release.render(row), "")
    assert left == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("table: [", "cannot be read"),
        ("row: {}", "there is no table None"),
        ("table: torch", "needs `table` and `row`"),
        ("table: tensorflow\nrow: {}", "there is no table tensorflow"),
    ],
)
def test_a_malformed_input_gets_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "new.yml"
    file.write_text(text)
    with pytest.raises(AddError, match=says):
        read_request(file)


def test_the_command_shows_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "python -m hooks.compat.add_release new.yml" in capsys.readouterr().err
    assert main(["/nonexistent.yml"]) == 1
    assert capsys.readouterr().err.startswith("add_release: /nonexistent.yml cannot be read")
