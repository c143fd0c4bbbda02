"""Pages in another language, docs/LANGUAGE/: what is around the text is in their language, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bs4 import BeautifulSoup

from hooks.generate.make_translations import languages
from website.theme_words import translated

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

# After Sphinx has read the head of a page.
LATE = 900


def language_of(page: str) -> str:
    """The language of a page by its folder; "" if it is English."""
    folder = page.rpartition("/")[0]
    return folder if folder in languages() else ""


def leave_out_of_tree(app: Sphinx, _: nodes.document) -> None:
    """Let a translation be in no list of pages: its English page leads to it."""
    if language_of(app.env.docname):
        app.env.metadata[app.env.docname]["orphan"] = True


def name_language(
    _: Sphinx, page: str, __: str, context: dict[str, Any], ___: nodes.document | None
) -> None:
    """Put the language of a page into its HTML."""
    context["language"] = language_of(page) or context["language"]


def translate_tree(
    app: Sphinx, page: str, _: str, context: dict[str, Any], __: nodes.document | None
) -> None:
    """Let the list of pages beside a translation lead to the pages of its language."""
    language = language_of(page)
    if not language:
        return
    path_to = context["pathto"]
    translated = {
        path_to(name.rpartition("/")[2]): name
        for name in app.env.titles
        if language_of(name) == language
    }
    tree = BeautifulSoup(context["furo_navigation_tree"], "html.parser")
    for link in tree.find_all("a"):
        name = translated.get(str(link["href"]))
        if not name:
            link["lang"] = "en"
            continue
        link["href"], link.string = path_to(name), app.env.titles[name].astext()
        if name == page and link.parent:
            classes = [str(one) for one in link.parent.get_attribute_list("class") if one]
            link.parent["class"] = " ".join([*classes, "current-page"])
    context["furo_navigation_tree"] = str(tree)


def translate_words(app: Sphinx, error: Exception | None) -> None:
    """Write the words of the theme in the language of each translated page."""
    if error:
        return
    for name in app.env.found_docs:
        if language := language_of(name):
            file = app.outdir / f"{name}.html"
            file.write_text(translated(file.read_text("utf-8"), language), "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls of an extension."""
    app.connect("doctree-read", leave_out_of_tree, priority=LATE)
    app.connect("html-page-context", name_language)
    app.connect("html-page-context", translate_tree, priority=LATE)
    app.connect("build-finished", translate_words)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
