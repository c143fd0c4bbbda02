"""The manual in other languages: what is translated, what is stale, and what stays as it is."""

from __future__ import annotations

import difflib
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from babel.messages.pofile import read_po

from hooks.generate import make_translations as translations
from hooks.generate.messages import (
    CODE,
    ITEM_OF_LIST,
    PARAGRAPH,
    TARGET,
    Piece,
    faults,
    pieces,
    wrapped,
)
from tests.conftest import ROOT
from tests.support.questionnaire import Questionnaire
from website.build import build_pages
from website.links import Page

LANGUAGES = [*translations.languages()]
SOURCE = translations.MANUAL.pages[0]
MANUAL = "docker-amd64/README.md"
EVERYTHING: dict[str, list[Any]] = {
    "extras": [["ci", "data", "devcontainer", "jupyter", "ssh", "sudo", "tensorboard", "airflow"]],
    "clusters": [["slurm", "kubernetes", "runai", "skypilot"]],
}
# Together, they have each part of the manual.
PROJECTS: dict[str, dict[str, list[Any]]] = {
    "conda": {"project_kind": ["existing"], "package_manager": ["conda"], "service": ["simple"]},
    "devel": {"project_kind": ["new"], "service": ["devel"], "package_manager": ["pip"]},
    "everything": {"service": ["simple"], "accelerator": ["cuda"], **EVERYTHING},
    "gitlab": {"service": ["ngc"], "ci_host": ["gitlab"], **EVERYTHING},
    "source": {"service": ["train"], "package_manager": ["pip"]}
    | {"torch_version": ["2.13.0"], "pytorch_build": ["source"]},
}
PAGE = """\
{% set a = b | string %}
# The {{ name }} page

A paragraph of
two lines{{ ', with an expression of

two lines' if a }}.
{% if a %}
Another one.

    command --flag    # what it does
    command '# no comment' {{ a | lower }}
{% endif %}
- an item
- an item
  of two lines

| a head | `code` |
|---|---|
| `x\\|y` | {{ 'one' if a | length == 1 else 'more' }} of `z` |
| {{ '`only`' if a else '`code`' }} | 12 |
"""


def pairs(page: str) -> list[tuple[str, str]]:
    """The messages of a page with their kinds."""
    return [(piece.kind, piece.message) for piece in pieces(page) if piece.message]


# --- a page --------------------------------------------------------------------------------------


def test_a_page_is_split_into_messages_and_what_stays() -> None:
    assert "".join(piece.text for piece in pieces(PAGE)) == PAGE
    cell = "cell of a table"
    assert pairs(PAGE) == [
        ("heading", "The {{ name }} page"),
        ("paragraph", "A paragraph of two lines{{ ', with an expression of two lines' if a }}."),
        ("paragraph", "Another one."),
        ("comment behind a command", "what it does"),
        ("item of a list", "an item"),
        ("item of a list", "an item of two lines"),
        (cell, "a head"),
        (cell, "{{ 'one' if a | length == 1 else 'more' }} of `z`"),
    ]


def test_all_of_the_english_manual_is_in_its_pieces() -> None:
    page = (ROOT / SOURCE).read_text("utf-8")
    assert "".join(piece.text for piece in pieces(page)) == page
    assert all(not piece.text.startswith("    ") for piece in pieces(page) if piece.message)


def test_a_statement_inside_a_paragraph_is_refused() -> None:
    with pytest.raises(ValueError, match="statement of Jinja"):
        [*pieces("Some {% if a %}words{% endif %} here.\n")]


def test_a_paragraph_is_broken_at_blanks_of_words_only() -> None:
    kept = "`some code`", "{{ 'a text' if one else 'other text' }}", "[a link](README.md)"
    lines = wrapped(" ".join(["word", *kept] * 9), PARAGRAPH).split("\n")
    assert len(lines) > 5
    assert Counter(
        word for line in lines for word in re.findall("|".join(map(re.escape, kept)), line)
    ) == dict.fromkeys(kept, 9)
    assert all(len(line) <= 120 for line in lines)
    # A number with a full stop at the start of a line would begin a list.
    assert "\n" not in wrapped(f"{'x' * 118} 12. more words", PARAGRAPH)
    assert re.fullmatch(r"x+\n  word", wrapped(f"{'x' * 118} word", ITEM_OF_LIST))


WRONG: dict[str, tuple[str, str, str]] = {
    "code lost": ("Run `up`, then `shell`.", "Erst `up`.", "code is lost or changed: `shell`"),
    "code changed": ("Run `up -W`.", "`up -w` ausführen.", "code is lost or changed"),
    "code in an expression": (
        "{{ 'see `a`' if x }} it",
        "{{ 'siehe `b`' if x }} es",
        "code is lost or changed: `a`, `b`",
    ),
    "expression lost": ("The {{ name }}.", "Der Name.", "an expression of Jinja is lost"),
    "condition changed": (
        "It{{ ' is' if x == 'one' }}.",
        "Es{{ ' ist' if x == 'eins' }}.",
        "an expression of Jinja is lost or changed",
    ),
    "expression unreadable": ("The {{ name }}.", "Der {{ name }.", "Jinja cannot read it"),
    "statement": ("A word.", "Ein {% if x %}Wort{% endif %}.", "a statement of Jinja"),
    "link": ("See [it](README.md).", "Siehe [es](README.de.md).", "a link is lost or changed"),
    "address": ("At https://a.example/x.", "Bei https://b.example/x.", "an address is lost"),
    "bold": ("**A** word", "Ein Wort", "bold words are lost"),
    "number": ("4 GiB and 60 GB", "4 GiB und 6 GB", "a number is lost: 60"),
    "line end": ("A word.", "Ein\nWort.", "a line end"),
    "list": ("In 2026.", "2026. Das Jahr.", "something else than words"),
    "bar": ("one or other", "eins | anderes", "a bar would end the cell"),
}


@pytest.mark.parametrize(("english", "translation", "reason"), WRONG.values(), ids=WRONG)
def test_a_translation_that_loses_something_is_refused(
    english: str, translation: str, reason: str
) -> None:
    kind = "cell of a table" if "bar" in reason else "paragraph"
    assert reason in "; ".join(faults(english, translation, kind))


def test_words_may_change_their_order_and_so_may_what_expressions_print() -> None:
    english = "{{ 'two `a`' if x == 'two' else 'no' }} {{ name }} with `b` and 12 words"
    translation = "12 Wörter und `b`: {{ name }} {{ 'zwei `a`' if x == 'two' else 'kein' }}"
    assert [*faults(english, translation, "paragraph")] == []


# --- the catalogues ------------------------------------------------------------------------------


def test_all_catalogues_and_pages_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert translations.main(["--check"]) == 0, capsys.readouterr().out


def test_every_language_of_the_question_has_its_files_and_its_notice() -> None:
    files = {file.name for file in (ROOT / "translations").iterdir()}
    books = translations.BOOKS
    catalogues = {f"{book.name}.{language}.po" for book in books for language in LANGUAGES}
    assert files == catalogues | {"glossary.yml"}
    found = {*ROOT.glob("template/docker-amd64/README.*.md.jinja"), *ROOT.glob("docs/??/*")}
    made = [translations.made(book, language) for book in books for language in LANGUAGES]
    assert found == {file for files in made for file in files}
    for book in books:
        for language in LANGUAGES:
            notice = translations.usable(translations.read(book, language))[translations.NOTICE]
            words = re.escape(notice).replace(r"\(ENGLISH\)", r"\([\w./]+\.md\)")
            for file in translations.made(book, language):
                lines = file.read_text("utf-8").split("\n\n")
                assert re.fullmatch(rf"> {words} \(\d{{4}}-\d\d-\d\d\)", lines[1])


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The English manual of a copy of what the translations are made of; German is the only one."""
    shutil.copytree(ROOT / "translations", tmp_path / "translations")
    for name in [*sum((book.pages for book in translations.BOOKS), ())]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(translations, "ROOT", tmp_path)
    monkeypatch.setattr(translations, "languages", lambda: {"de": "Deutsch"})
    assert translations.main([]) == 0
    return tmp_path / SOURCE


def replaced(file: Path, old: str, new: str) -> None:
    """Replace a text that is in a file once."""
    text = file.read_text("utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), "utf-8")


@pytest.mark.parametrize(
    ("old", "new", "fuzzy"),
    [
        ("Needs Docker Engine 23 or later", "Needs Docker Engine 24 or later", True),
        ("With everything committed:", "Xyzzy.", False),
    ],
)
def test_what_changes_in_english_is_known_and_in_english_alone(
    copied: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, fuzzy: bool
) -> None:
    page = translations.page_of(SOURCE, "de")
    before = page.read_text("utf-8")
    (message,) = (one for one in translations.messages(translations.MANUAL) if old in one)
    replaced(copied, old, new)
    assert translations.main(["--check"]) == 1
    assert f"stale: run python -m {translations.MODULE} --update" in capsys.readouterr().out
    # The page is right before the catalogue is, too.
    assert translations.main([]) == 0
    written = page.read_text("utf-8")
    assert translations.main(["--update"]) == 0
    assert page.read_text("utf-8").splitlines()[6:] == written.splitlines()[6:]
    assert translations.main(["--check"]) == 0

    was, now = before.splitlines(), written.splitlines()
    changes = [
        one
        for one in difflib.SequenceMatcher(None, was, now, autojunk=False).get_opcodes()
        if one[0] != "equal"
    ]
    ((_, _, _, start, end),) = changes
    assert "\n".join(now[start:end]) in copied.read_text("utf-8")
    assert new in now[start]

    catalogue = translations.read(translations.MANUAL, "de")
    assert message not in dict(translations.entries(catalogue))
    entry = catalogue[message.replace(old, new)]
    assert entry is not None
    assert (entry.fuzzy, bool(entry.string)) == (fuzzy, fuzzy)
    assert not catalogue.obsolete


def test_a_wrong_translation_is_named_and_nothing_is_written(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del copied
    page = translations.page_of(SOURCE, "de")
    before = page.read_bytes()
    catalogue = translations.read(translations.MANUAL, "de")
    entry = catalogue["With everything committed:"]
    assert entry is not None
    entry.string = "Wenn `alles` committet ist:"
    translations.write(translations.MANUAL, "de", catalogue)
    assert translations.main([]) == 1
    assert (
        "manual.de.po, 'With everything committed:': code is lost or changed: `alles`"
        in capsys.readouterr().out
    )
    assert translations.main(["--check"]) == 1
    assert page.read_bytes() == before


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_term_has_the_word_of_the_glossary(language: str) -> None:
    glossary = yaml.safe_load((ROOT / "translations/glossary.yml").read_text("utf-8"))
    quoted = re.compile(r"`+[^`]*`+|\]\([^)]*\)|by machine")
    wrong, used = [], set()
    for book in translations.BOOKS:
        with translations.catalogue_of(book, language).open("rb") as stream:
            entries = [one for one in read_po(stream) if one.id and one.string and not one.fuzzy]
        for english, other in ((str(one.id), str(one.string)) for one in entries):
            for term, words in glossary.items():
                if not re.search(rf"(?<![-\w'/]){term}s?(?![-\w'.])", quoted.sub(" ", english)):
                    continue
                used.add(term)
                if not any(word in other.lower() for word in words[language]):
                    wrong.append((term, other))
    assert not wrong
    assert used == {*glossary}


def test_links_lead_from_the_folder_of_a_translation() -> None:
    links = {
        "choose.md": "choose.md",
        "work.md": "../work.md",
        "work.md#data": "../work.md#data",
        "choose.md#the-questions": "../choose.md#the-questions",
        "#into-git": "../start.md#into-git",
        "../README.md": "../../README.md",
        "https://a.example/x.md": "https://a.example/x.md",
    }
    for english, other in links.items():
        assert translations.linked(f"[x]({english})", "docs/start.md", "de") == f"[x]({other})"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_has_the_commands_and_the_parts_of_the_english_one(language: str) -> None:
    for file, text in translations.made(translations.PAGES, language).items():
        name = f"docs/{file.name}"
        before, after = translations.parts(translations.PAGES, (ROOT / name).read_text("utf-8"))
        english, other = (outline(page) for page in (before + after, text))
        del (
            other["links"][f"../{file.name}"],
            other["code"]["`python -m hooks.generate.make_translations`"],
        )
        for page in (english, other):
            page["links"] = Counter({Path(link).name: n for link, n in page["links"].items()})
            page["paragraphs"] -= page is other
        assert english == other


def test_on_the_site_a_page_has_its_language_and_needs_no_list(tmp_path: Path) -> None:
    docs, out = tmp_path / "docs", tmp_path / "out"
    (docs / "ko").mkdir(parents=True)
    (docs / "index.md").write_text("# Pages\n\n[ko](ko/start.md)\n")
    (docs / "ko/start.md").write_text("<!-- Made. -->\n# 시작\n\n[en](../index.md)\n")
    assert build_pages(docs, out)
    for name, language in (("index", "en"), ("ko/start", "ko")):
        assert f' lang="{language}"' in (out / f"{name}.html").read_text("utf-8")
    assert "../index.html" in Page((out / "ko/start.html").read_text("utf-8")).links


# --- a project -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def questionnaire(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Questionnaire:
    """The questions of the working tree, for a project in an empty folder."""
    folder = tmp_path_factory.mktemp("translations")
    shutil.copytree(template, folder / "hearth", ignore=shutil.ignore_patterns(".git"))
    return Questionnaire(folder / "hearth", folder / "project")


def manuals(questionnaire: Questionnaire, **given: list[Any]) -> dict[str, str]:
    """The manuals of a project, by their names."""
    _, known = next(questionnaire.combinations(given))
    files = questionnaire.render(known).items()
    return {path: text for path, text in files if path.startswith("docker-amd64/README")}


def outline(page: str) -> dict[str, Any]:
    """What is the same in every language."""
    lines = page.splitlines()
    commands = [line.rpartition("  # ")[0] or line for line in lines if line[:4] == "    "]
    return {
        "headings": [line.split()[0] for line in lines if line.startswith("#")],
        "commands": [line.rstrip() for line in commands],
        "cells": [len(re.split(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")],
        "code": Counter(re.sub(r"\s+", " ", found.group()) for found in CODE.finditer(page)),
        "links": Counter(found[1] for found in TARGET.finditer(page)),
        "paragraphs": page.count("\n\n"),
    }


@pytest.mark.parametrize("kind", PROJECTS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_commands_and_the_parts_of_the_english_manual(
    questionnaire: Questionnaire, language: str, kind: str
) -> None:
    found = manuals(questionnaire, language=[language], **PROJECTS[kind])
    translation = found.pop(f"docker-amd64/README.{language}.md")
    assert [*found] == [MANUAL]
    assert not re.search(r"\{[{%#]|[%#}]\}", translation)
    link, notice = f"README.{language}.md", "README.md"
    english, other = outline(found[MANUAL]), outline(translation)
    assert english["links"].pop(link) == other["links"].pop(notice) == 1
    assert english == other


def test_a_project_without_another_language_has_the_english_manual_alone(
    questionnaire: Questionnaire,
) -> None:
    found = manuals(questionnaire, language=["en"])
    assert [*found] == [MANUAL]
    assert "README." not in found[MANUAL]


def test_the_projects_here_have_every_part_of_the_manual(questionnaire: Questionnaire) -> None:
    shown = "".join(manuals(questionnaire, **given)[MANUAL] for given in PROJECTS.values())
    lines = {piece.text for piece in parts_without_expressions()}
    missing = [line for line in lines if line not in shown]
    assert missing == []


def parts_without_expressions() -> list[Piece]:
    """The messages of the English manual that are the same wherever they are."""
    english = (ROOT / SOURCE).read_text("utf-8")
    page = "".join(translations.parts(translations.MANUAL, english))
    return [piece for piece in pieces(page) if piece.message and "{{" not in piece.message]
