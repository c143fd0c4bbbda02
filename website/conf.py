"""What Sphinx reads; `make site` runs it (website/build.py)."""

from __future__ import annotations

from website.references import add_references

project = "Hearth"
author = "Hearth's maintainers"
html_title = "Hearth"
language = "en"

extensions = ["myst_parser", "website.languages"]
# As on GitHub, each heading is a place that links can lead to.
myst_heading_anchors = 4
nitpicky = True
# Blocks of code have commands, messages and trees of files, most of them in one.
highlight_language = "none"

html_theme = "furo"
html_static_path = ["static"]
templates_path = ["templates"]
html_favicon = "static/hearth.svg"  # else browsers ask for a file that is not there
html_css_files = ["hearth.css"]
html_js_files = ["search_in_files.js"]
html_show_sphinx = False
html_show_copyright = False
html_use_index = False
html_copy_source = False
html_theme_options = {
    "source_repository": "https://github.com/org/hearth",
    "source_branch": "main",
    "source_directory": "docs/",
}

setup = add_references
