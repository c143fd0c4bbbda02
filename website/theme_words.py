"""Words around a translated page in its language: theme_words.yml has them by the English ones.

Sphinx has one language for all pages of a build, and Furo no translations.
"""

from __future__ import annotations

import html
import re
from functools import cache
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("theme_words.yml")
ARTICLE = re.compile(r"(<article\b.*</article>)", re.DOTALL)
# A tag, and the text up to the next one.
TEXT = re.compile(r"(<[^<>]*>)(\s*)([^<>\s][^<>]*?)(\s*)(?=<)")
LABEL = re.compile(r'\b(aria-label|placeholder|title)="([^"]*)"')


@cache
def words(language: str) -> dict[str, str]:
    """What a language has for English words, both as HTML writes them."""
    table: dict[str, dict[str, str]] = yaml.safe_load(FILE.read_text("utf-8"))
    return {
        html.escape(english): html.escape(one[language])
        for english, one in table.items()
        if language in one
    }


def translated(page: str, language: str) -> str:
    """A page of HTML whose words outside its article are those of a language.

    What is marked as English remains so.
    """
    known = words(language)

    def text(found: re.Match[str]) -> str:
        tag, before, english, after = found.groups()
        if 'lang="en"' in tag:
            return found[0]
        return tag + before + known.get(" ".join(english.split()), english) + after

    def label(found: re.Match[str]) -> str:
        return f'{found[1]}="{known.get(found[2], found[2])}"'

    parts = ARTICLE.split(page)
    for place in range(0, len(parts), 2):  # between them are articles
        parts[place] = LABEL.sub(label, TEXT.sub(text, parts[place]))
    return "".join(parts)
