"""Builds the site: `make site`, or python -m website.build [OUT].

Each problem of a page is named with its place, and the exit status is 1 if there is one.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.cmd.build import build_main

from website.commands import unknown_words
from website.links import problems

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
OUT = HERE / "out"
# Pages beside those of docs/, as they are.
PLAIN = ("configurator", "explain")
# The Python that runs in them.
PYTHON = "python"
# What each build writes first, and only a build: such a folder may be replaced.
MARK = ".buildinfo"


def build_pages(docs: Path, out: Path) -> bool:
    """Make pages of a folder with Markdown; True if Sphinx found nothing wrong.

    It starts anew each time: what is read again only after an edit warns only then.
    """
    with TemporaryDirectory(prefix="hearth-site-") as cache:
        words = ["-n", "-W", "--keep-going", "-q", "-E", "-a", "-b", "html"]
        words += ["-A", "programs=1"] if docs == DOCS else []  # see templates/
        words += ["-c", str(HERE), "-d", cache, str(docs), str(out)]
        gc.disable()  # a third of the time; the trees of pages are in use to the end
        try:
            return build_main(words) == 0
        finally:
            gc.enable()


def add_plain(out: Path) -> None:
    """Add the pages that Sphinx does not make."""
    for name in PLAIN:
        if (HERE / name).is_dir():
            shutil.copytree(HERE / name, out / name)


def add_python(out: Path) -> list[str]:
    """Add the Python that runs in these pages; what prevented that."""
    if not find_spec("website.python"):
        return []
    bundle = import_module("website.python.bundle")
    try:
        bundle.make_bundle(out / PYTHON)
    except bundle.BundleError as error:
        return [str(error)]
    return []


def make_room(out: Path) -> None:
    """Remove an older site.

    Raises:
        FileExistsError: the folder holds something else.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise FileExistsError(f"{out} has files that are not of a site: name another folder.")
    shutil.rmtree(out, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Build the site, and say what is wrong with it."""
    parser = argparse.ArgumentParser(prog="python -m website.build", allow_abbrev=False)
    parser.add_argument("out", nargs="?", type=Path, default=OUT, help="website/out by default")
    parser.add_argument("--docs", type=Path, default=DOCS, help="a folder with an index.md")
    words = "leave out what the pages of programs run in the browser"
    parser.add_argument("--without-python", action="store_true", help=words)
    options = parser.parse_args(arguments)
    try:
        make_room(options.out)
    except FileExistsError as error:
        print(error, file=sys.stderr)
        return 1
    fine = build_pages(options.docs, options.out)
    found: list[str] = []
    if options.docs == DOCS:
        add_plain(options.out)
        found += [] if options.without_python else add_python(options.out)
    left_out = PYTHON if options.without_python else ""
    found += [*problems(options.out, left_out), *unknown_words(options.docs)]
    print("\n".join(found), end="\n" if found else "", file=sys.stderr)
    if not fine or found:
        print(
            "The site has the problems above: mend these pages, then build again.", file=sys.stderr
        )
        return 1
    print(f"The site is in {options.out}: open {options.out / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
