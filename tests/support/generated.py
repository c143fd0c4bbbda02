"""The files of the repository that are made from others, and what they have to be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from hooks.compat import make_choices, make_docs, table
from hooks.generate import (
    failure_tables,
    make_computed,
    make_keys,
    make_manual,
    make_questions,
    make_translations,
)

# A file, the module that makes it (python -m MODULE writes it), and the text that it must have.
GENERATED: dict[Path, tuple[str, Callable[[], str]]] = {
    table.PACKED: ("hooks.compat.table", table.packed_text),
    make_choices.FILE: (
        "hooks.compat.make_choices",
        lambda: make_choices.choices_text(table.load()),
    ),
    make_computed.FILE: ("hooks.generate.make_computed", make_computed.text),
    failure_tables.DOCS: ("hooks.generate.failure_tables", failure_tables.docs),
    **{page: (make_keys.MODULE, partial(make_keys.text_of, page)) for page in make_keys.pages()},
    make_questions.DOCS: (make_questions.MODULE, make_questions.text),
    make_docs.FILE: ("hooks.compat.make_docs", lambda: make_docs.text(table.load())),
    **{
        file: ("hooks.generate.make_manual", partial(make_manual.text_of, file))
        for file in (make_manual.MANUAL, make_manual.DOCS)
    },
    **{
        make_translations.page_of(page, language): (
            make_translations.MODULE,
            partial(make_translations.text, book, page, language),
        )
        for language in make_translations.languages()
        for book in make_translations.BOOKS
        for page in book.pages
    },
}


def is_fresh(file: Path) -> bool:
    """Whether a file of `GENERATED` is what its module makes now."""
    _, text = GENERATED[file]
    return file.exists() and file.read_text(encoding="utf-8") == text()
