"""Pages in another language, docs/LANGUAGE/: they say so to browsers and screen readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hooks.generate.make_translations import languages

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


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls of an extension."""
    app.connect("doctree-read", leave_out_of_tree, priority=LATE)
    app.connect("html-page-context", name_language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
