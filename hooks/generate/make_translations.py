"""Makes the translations of a project's manual and of the first pages of docs/.

python -m hooks.generate.make_translations             write them
python -m hooks.generate.make_translations --update    first bring the catalogues up to date
python -m hooks.generate.make_translations --check     are all fresh? (exit status 1 if not)

A catalogue of translations/ has the English messages as keys. `--update` adds new ones empty, marks
those whose English has changed as fuzzy, and drops those that are gone. Where a translation is
empty or fuzzy, a page has the English.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml
from babel.messages.catalog import Catalog
from babel.messages.catalog import Message as Entry
from babel.messages.pofile import read_po, write_po

from hooks.generate.make_computed import questions
from hooks.generate.messages import (
    ITEM_OF_LIST,
    PARAGRAPH,
    TARGET,
    faults,
    pieces,
    wrapped,
)

ROOT = Path(__file__).resolve().parents[2]
MODULE = "hooks.generate.make_translations"
# In a catalogue, a link to the English page, which another page has at another place.
ENGLISH = "ENGLISH"
NOTICE = (
    f"Translated by machine from [the English page]({ENGLISH}), which holds in case of doubt. "
    "A native speaker who works with containers should check this translation. What is in English "
    "here is newer than the translation."
)
CHECK = "To be checked by a native speaker who works with containers."
# Their lines are broken at no blank: a reader would see one between two characters.
WITHOUT_BLANKS = ("ja", "zh")


class Book(NamedTuple):
    """Pages with one catalogue for each language."""

    name: str
    pages: tuple[str, ...]
    """The English ones, as paths of the repository."""
    start: str
    """Where a page links to its translations, from this line to `end`; those have NOTICE there."""
    end: str
    comment: str
    """Around the first line of what is made."""


MANUAL = Book(
    "manual",
    ("template/docker-amd64/README.md.jinja",),
    "{# A translation has its own notice in place of this link. #}\n",
    "{# End of the link. #}\n",
    "{{# {} #}}",
)
PAGES = Book(
    "pages",
    ("docs/start.md", "docs/choose.md", "docs/match.md"),
    f"<!-- Made by `python -m {MODULE}`. -->\n",
    "<!-- End of what it makes. -->\n\n",
    "<!-- {} -->",
)
BOOKS = (MANUAL, PAGES)


@cache
def languages() -> dict[str, str]:
    """The languages of copier.yml, each with the name that its speakers use."""
    found: dict[str, str] = yaml.safe_load(questions()["languages"]["default"])
    return found


def catalogue_of(book: Book, language: str) -> Path:
    """The file with the translations into a language."""
    return ROOT / "translations" / f"{book.name}.{language}.po"


def page_of(page: str, language: str) -> Path:
    """The file that is made from an English page, beside it or in a folder beside it."""
    english = ROOT / page
    if page.endswith(".jinja"):
        return english.with_name(english.name.replace(".", f".{language}.", 1))
    return english.parent / language / english.name


def parts(book: Book, english: str) -> tuple[str, str]:
    """What an English page has before its links, and what it has after them.

    Raises:
        ValueError: the marks are not in it, once each and in their order.
    """
    before, rest = english.split(book.start)
    _, after = rest.split(book.end)
    return before, after


def messages(book: Book) -> dict[str, list[str]]:
    """The messages of a book in their order, each with the kinds of places where it stands."""
    found = {NOTICE: ["notice at the start"]}
    for page in book.pages:
        for piece in pieces("".join(parts(book, (ROOT / page).read_text("utf-8")))):
            if piece.message:
                kinds = found.setdefault(piece.message, [])
                kinds += [piece.kind] if piece.kind not in kinds else []
    return found


def entries(catalogue: Catalog) -> Iterator[tuple[str, Entry]]:
    """The English messages of a catalogue with what is known of them."""
    for entry in catalogue:
        if entry.id:
            yield str(entry.id), entry


def read(book: Book, language: str) -> Catalog:
    """The catalogue of a language, an empty one if there is none."""
    file = catalogue_of(book, language)
    if not file.exists():
        return Catalog(
            language,
            header_comment=f"# {languages()[language]}: made by machine. {CHECK}",
            project="Hearth",
            version=book.name,
            msgid_bugs_address="the issues of the repository",
            last_translator="a machine",
            language_team="none",
            fuzzy=False,
        )
    with file.open("rb") as stream:
        return read_po(stream, locale=language)


def usable(catalogue: Catalog) -> dict[str, str]:
    """The translations that say what the English says now."""
    return {
        english: str(entry.string)
        for english, entry in entries(catalogue)
        if entry.string and not entry.fuzzy
    }


def problems(book: Book, language: str) -> Iterator[str]:
    """What is wrong with the translations of a language, a sentence each."""
    kinds = messages(book)
    for message, translation in usable(read(book, language)).items():
        for kind in kinds.get(message, []):
            for found in faults(message, translation, kind):
                yield f"{catalogue_of(book, language).name}, {message[:60]!r}: {found}"


def linked(text: str, page: str, language: str) -> str:
    """A text of a translation with links from where it is; none of the manual leads to a file."""
    if page not in PAGES.pages:
        return text
    folder = page_of(page, language).parent

    def from_here(found: re.Match[str]) -> str:
        target = found[1]
        path, _, place = target.partition("#")
        english = (ROOT / page).parent / path if path else ROOT / page
        beside = str(english.relative_to(ROOT)) in PAGES.pages if english.exists() else False
        # Headings of a translation have other names: their places are those of the English page.
        if "://" in target or (beside and not place):
            return found[0]
        return f"]({os.path.relpath(english, folder)}{'#' if place else ''}{place})"

    return TARGET.sub(from_here, text)


def text(book: Book, page: str, language: str) -> str:
    """What a page in a language is; what has no translation in the catalogue is in English."""
    catalogue = read(book, language)
    known = usable(catalogue)

    def in_language(part: str) -> Iterator[str]:
        for text_, message, kind in pieces(part):
            translation = known.get(message, "")
            if kind in (PARAGRAPH, ITEM_OF_LIST) and language not in WITHOUT_BLANKS:
                translation = wrapped(translation, kind)
            yield linked(translation or text_, page, language)

    before, after = parts(book, (ROOT / page).read_text("utf-8"))
    made, file = page_of(page, language), catalogue_of(book, language).relative_to(ROOT)
    source = f"{Path(page).name} and {file}: edit those."
    head = book.comment.format(f"Made by `python -m {MODULE}` from {source}")
    english = os.path.relpath((ROOT / page).with_suffix(""), made.parent).removesuffix(".md")
    words = known.get(NOTICE, NOTICE).replace(f"]({ENGLISH})", f"]({english}.md)")
    date = catalogue.revision_date
    day = f"{date:%Y-%m-%d}" if isinstance(date, dt.datetime) else ""
    notice = f"> {words} ({day})\n\n"
    return "".join([head, "\n", *in_language(before), notice, *in_language(after)])


def english_text(page: str) -> str:
    """What an English page of docs/ is: with links to its translations."""
    before, after = parts(PAGES, (ROOT / page).read_text("utf-8"))
    links = ", ".join(
        f"[{name}]({language}/{Path(page).name})" for language, name in languages().items()
    )
    return f"{before}{PAGES.start}\n{links}\n\n{PAGES.end}{after}"


def updated(book: Book, catalogue: Catalog) -> bool:
    """Bring a catalogue in line with the English pages; whether that changed anything."""
    wanted = messages(book)
    if [*wanted] == [message for message, _ in entries(catalogue)]:
        return False
    page = Catalog(creation_date=catalogue.creation_date)
    for message, kinds in wanted.items():
        page.add(message, auto_comments=kinds)
    catalogue.update(page)
    catalogue.obsolete.clear()
    catalogue.revision_date = dt.datetime.now(dt.timezone.utc)
    return True


def write(book: Book, language: str, catalogue: Catalog) -> None:
    """Write a catalogue."""
    file = catalogue_of(book, language)
    file.parent.mkdir(exist_ok=True)
    with file.open("wb") as stream:
        write_po(stream, catalogue, width=100, include_previous=True)


def made(book: Book, language: str) -> dict[Path, str]:
    """The pages of a book in a language, and what they have to be."""
    return {page_of(page, language): text(book, page, language) for page in book.pages}


def is_fresh(texts: dict[Path, str]) -> bool:
    """Whether files are what they have to be."""
    return all(file.exists() and file.read_text("utf-8") == text for file, text in texts.items())


def write_pages(texts: dict[Path, str]) -> None:
    """Write what is not there yet."""
    for file, text in texts.items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    status, check = 0, "--check" in arguments
    stale = f"; stale: run python -m {MODULE} --update"
    english = {ROOT / page: english_text(page) for page in PAGES.pages}
    if not check:
        write_pages(english)
    elif not is_fresh(english):
        status = 1
        print(f"links to the translations{stale}")
    for book, language in [(book, language) for book in BOOKS for language in languages()]:
        catalogue = read(book, language)
        old = updated(book, catalogue)
        if old and "--update" in arguments:
            write(book, language, catalogue)
        wrong = [*problems(book, language)]
        count = len(messages(book))
        known = len(usable(catalogue).keys() & messages(book).keys())
        is_old = check and (old or not is_fresh(made(book, language)))
        state = f"{book.name} {language}: {known} of {count} messages are translated"
        print("\n".join([*wrong, f"{state}{stale if is_old else ''}"]))
        status |= bool(wrong) or is_old
        if not check and not wrong:
            write_pages(made(book, language))
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
