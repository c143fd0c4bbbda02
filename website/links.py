"""What is wrong with links and pictures of a built site, whichever program wrote its pages."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a page loads; a link, `a`, only leads somewhere.
LOADED = ("audio", "embed", "iframe", "img", "link", "script", "source", "video")
NOT_LOADED = {"canonical", "next", "prev", "search", "index", "author"}  # of <link rel=...>


class Page(HTMLParser):
    """What a page names: its own places, where its links lead, what it loads."""

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.silent: list[str] = []  # pictures without an alternative text
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element names."""
        values = {name: value or "" for name, value in attrs}
        self.places |= {values[name] for name in ("id", "name") if name in values}
        target = values.get("href", values.get("src"))
        if target is not None and tag == "a":
            self.links.append(target)
        elif target is not None and tag in LOADED:
            kinds = set(values.get("rel", "").split())
            (self.links if kinds & NOT_LOADED else self.loaded).append(target)
        if tag == "img" and not values.get("alt"):
            self.silent.append(target or "a picture")


def problems(out: Path, left_out: str = "") -> Iterator[str]:
    """A sentence for each dead link, each file of another host, each picture without a text.

    Of a folder that was left out of the site, it is not known which files it would have.
    """
    files = sorted(out.rglob("*.html"))
    pages = {file.resolve(): Page(file.read_text(encoding="utf-8")) for file in files}
    for file, page in pages.items():
        name = file.relative_to(out.resolve()).as_posix()
        for target in dict.fromkeys([*page.links, *page.loaded]):
            if not (left_out and f"{left_out}/" in target):
                yield from (f"{name}: {one}" for one in _wrong(file, target, pages, out.resolve()))
        for target in page.loaded:
            if urlsplit(target).netloc:
                yield f"{name}: {target} is loaded from another host; put it into the site."
        for target in page.silent:
            yield f"{name}: {target} has no alternative text; say in `alt` what it shows."


def _wrong(file: Path, target: str, pages: dict[Path, Page], out: Path) -> Iterator[str]:
    """Why a link of the site to the site is dead; nothing if it is not, or leads elsewhere."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return
    found = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if not found.is_relative_to(out):
        yield f"the link {target} leads out of the site; name a page of it."
    elif not found.is_file():
        yield f"the link {target} leads to no file; a link to a folder needs its index.html."
    elif parts.fragment and found in pages and unquote(parts.fragment) not in pages[found].places:
        yield f"the link {target} leads to no place of that page; use the name of a heading."
