"""The pictures of the documentation: where they are shown, with which words, and from when."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests import pictures
from tests.conftest import ROOT
from tests.pictures import PICTURES, TABLE, TAKERS
from tests.support.scenes import SCENES
from tests.support.terminal import text_of

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LARGEST = 200_000
# What names another file or another host: `url(#...)` and `href="#..."` stay inside.
OUTSIDE = re.compile(
    r"url\(\s*['\"]?(?!#)|href\s*=\s*['\"](?!#)|@import|src\s*=|<script", re.IGNORECASE
)


def shown() -> set[tuple[str, str, str]]:
    """Page, file and alternative text of each picture that a page shows."""
    found = set()
    for page in PAGES:
        for alt, path in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", page.read_text()):
            file = (page.parent / path).resolve()
            if file.parent == PICTURES:
                found.add((str(page.relative_to(ROOT)), file.name, alt))
    return found


def without_numbers(lines: list[str]) -> set[str]:
    """The lines without blanks and numbers, which new versions and other widths change."""
    joined = ("".join(line.split()) for line in lines)
    return {re.sub(r"\d+(\.\d+)*", "N", line) for line in joined if line}


def test_pages_show_the_pictures_of_the_table_with_their_texts() -> None:
    wanted = {(page, one.file, one.alt) for one in TABLE for page in one.pages}
    assert shown() == wanted
    assert {one.file for one in TABLE} == {file.name for file in PICTURES.iterdir()}
    assert all(one.pages and one.alt for one in TABLE)
    assert {one.scene for one in TABLE} == set(TAKERS)


@pytest.mark.parametrize("file", [one.file for one in TABLE])
def test_a_picture_is_small(file: str) -> None:
    assert (PICTURES / file).stat().st_size <= LARGEST


@pytest.mark.parametrize("file", [one.file for one in TABLE if one.file.endswith(".svg")])
def test_a_picture_asks_nothing_of_another_host(file: str) -> None:
    text = (PICTURES / file).read_text()
    assert not OUTSIDE.findall(text)
    root = ET.fromstring(text)  # noqa: S314 - a file of this repository
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert text.count("http") == text.count("http://www.w3.org/2000/svg") + sum(
        line.count("http") for line in text_of(PICTURES / file)
    )


def test_what_is_outside_is_noticed() -> None:
    for bad in (
        'src: url("https://x/f.woff2")',
        "url(//x)",
        '<image xlink:href="a.png"',
        "@import",
    ):
        assert OUTSIDE.search(bad)
    for good in ("url(#clip)", 'href="#a"'):
        assert not OUTSIDE.search(good)


@pytest.mark.parametrize("names", [[], ["build", "configurator"]], ids=["all", "some"])
def test_a_missing_site_is_named_before_a_scene_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    made: list[Path] = []
    monkeypatch.setattr(pictures, "SITE", tmp_path)
    monkeypatch.setattr(pictures, "TAKERS", dict.fromkeys(TAKERS, made.append))
    with pytest.raises(SystemExit, match="Run: make site"):
        pictures.main(names)
    assert not made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all scenes, which share a project."""
    return tmp_path_factory.mktemp("scenes")


@pytest.mark.parametrize("name", SCENES)
def test_a_picture_shows_what_the_command_says_today(
    name: str, template: Path, folder: Path
) -> None:
    now = SCENES[name](template, folder)
    taken = text_of(PICTURES / f"{name}.svg")
    assert without_numbers(taken) == without_numbers(now.lines()), f"make pictures ARGS={name}"
