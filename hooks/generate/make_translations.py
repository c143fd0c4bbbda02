"""Makes the translations of a project's manual from the English one and translations/*.po.

python -m hooks.generate.make_translations             write README.LANGUAGE.md.jinja
python -m hooks.generate.make_translations --update    first bring the catalogues up to date
python -m hooks.generate.make_translations --check     are all fresh? (exit status 1 if not)

A catalogue has the English messages as keys. `--update` adds new ones empty, marks those whose
English has changed as fuzzy, and drops those that are gone. Where a translation is empty or fuzzy,
the page has the English.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml
from babel.messages.catalog import Catalog
from babel.messages.catalog import Message as Entry
from babel.messages.pofile import read_po, write_po

from hooks.generate.make_computed import questions
from hooks.generate.messages import faults, pieces, wrapped

ROOT = Path(__file__).resolve().parents[2]
ENGLISH = ROOT / "template" / "docker-amd64" / "README.md.jinja"
CATALOGUES = ROOT / "translations"
MODULE = "hooks.generate.make_translations"
# The English page links to its translation between these lines; there the translation has NOTICE.
LINK = "{# A translation has its own notice in place of this link. #}\n", "{# End of the link. #}\n"
NOTICE = (
    "Translated by machine from the English manual, [README.md](README.md), which holds in case of "
    "doubt. A native speaker who works with containers should check this translation. What is in "
    "English here is newer than the translation."
)
CHECK = "To be checked by a native speaker who works with containers."
# Their lines are broken at no blank: a reader would see one between two characters.
WITHOUT_BLANKS = ("ja", "zh")


@cache
def languages() -> dict[str, str]:
    """The languages of copier.yml, each with the name that its speakers use."""
    found: dict[str, str] = yaml.safe_load(questions()["languages"]["default"])
    return found


def catalogue_of(language: str) -> Path:
    """The file with the translations into a language."""
    return CATALOGUES / f"manual.{language}.po"


def page_of(language: str) -> Path:
    """The file that is made."""
    return ENGLISH.with_name(f"README.{language}.md.jinja")


def parts(english: str) -> tuple[str, str]:
    """What the English page has before its link, and what it has after it.

    Raises:
        ValueError: the marks are not in it, once each and in their order.
    """
    before, rest = english.split(LINK[0])
    _, after = rest.split(LINK[1])
    return before, after


def messages(english: str) -> dict[str, list[str]]:
    """The messages of a page in their order, each with the kinds of places where it stands."""
    found = {NOTICE: ["notice at the start"]}
    for piece in pieces("".join(parts(english))):
        if piece.message:
            kinds = found.setdefault(piece.message, [])
            kinds += [piece.kind] if piece.kind not in kinds else []
    return found


def entries(catalogue: Catalog) -> Iterator[tuple[str, Entry]]:
    """The English messages of a catalogue with what is known of them."""
    for entry in catalogue:
        if entry.id:
            yield str(entry.id), entry


def read(language: str) -> Catalog:
    """The catalogue of a language, an empty one if there is none."""
    file = catalogue_of(language)
    if not file.exists():
        return Catalog(
            language,
            header_comment=f"# {languages()[language]}: made by machine. {CHECK}",
            project="Hearth",
            version="manual",
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


def problems(language: str, english: str) -> Iterator[str]:
    """What is wrong with the translations of a language, a sentence each."""
    kinds = messages(english)
    for message, translation in usable(read(language)).items():
        for kind in kinds.get(message, []):
            for found in faults(message, translation, kind):
                yield f"{catalogue_of(language).name}, {message[:60]!r}: {found}"


def translated(english: str, language: str, catalogue: Catalog) -> str:
    """The page in a language; what has no translation in the catalogue is in English."""
    known = usable(catalogue)

    def in_language(page: str) -> Iterator[str]:
        for text, message, kind in pieces(page):
            translation = known.get(message, text)
            flowing = message in known and kind in ("paragraph", "item of a list")
            yield (
                wrapped(translation) if flowing and language not in WITHOUT_BLANKS else translation
            )

    before, after = parts(english)
    file = catalogue_of(language).relative_to(ROOT)
    head = f"{{# Made by `python -m {MODULE}` from README.md.jinja and {file}: edit those. #}}\n"
    date = catalogue.revision_date
    day = f"{date:%Y-%m-%d}" if isinstance(date, dt.datetime) else ""
    notice = f"> {known.get(NOTICE, NOTICE)} ({day})\n\n"
    return "".join([head, *in_language(before), notice, *in_language(after)])


def text(language: str) -> str:
    """What the page of a language has to be."""
    return translated(ENGLISH.read_text("utf-8"), language, read(language))


def updated(catalogue: Catalog, english: str) -> bool:
    """Bring a catalogue in line with the English page; whether that changed anything."""
    wanted = messages(english)
    if [*wanted] == [message for message, _ in entries(catalogue)]:
        return False
    page = Catalog(creation_date=catalogue.creation_date)
    for message, kinds in wanted.items():
        page.add(message, auto_comments=kinds)
    catalogue.update(page)
    catalogue.obsolete.clear()
    catalogue.revision_date = dt.datetime.now(dt.timezone.utc)
    return True


def write(language: str, catalogue: Catalog) -> None:
    """Write a catalogue."""
    CATALOGUES.mkdir(exist_ok=True)
    with catalogue_of(language).open("wb") as stream:
        write_po(stream, catalogue, width=100, include_previous=True)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    english = ENGLISH.read_text("utf-8")
    stale = False
    for language in languages():
        catalogue, page = read(language), page_of(language)
        old = updated(catalogue, english)
        if old and "--update" in arguments:
            write(language, catalogue)
        wrong = [*problems(language, english)]
        known, count = usable(catalogue).keys() & messages(english).keys(), len(messages(english))
        state = f"{language}: {len(known)} of {count} messages are translated"
        fresh = not wrong and page.exists() and page.read_text("utf-8") == text(language)
        if "--check" in arguments:
            stale |= old or not fresh
            command = f"; stale: run python -m {MODULE} --update" if old or not fresh else ""
            print("\n".join([*wrong, f"{state}{command}"]))
        else:
            stale |= bool(wrong)
            print("\n".join([*wrong, state]))
            if not wrong:
                page.write_text(text(language), "utf-8")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
