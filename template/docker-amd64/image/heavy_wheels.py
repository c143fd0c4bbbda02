"""Prints the lines of a requirements file for a layer of their own: heavy wheels and their needs.

    uv export ... | heavy_wheels.py uv.lock [LIST...]

uv.lock tells the size and the index of each wheel. Names in a LIST are left out: packages that
another layer has. The result keeps every byte when a light package is added.
"""

import re
import sys
from pathlib import Path

LEAST = 2_000_000  # bytes of a wheel; what is lighter changes more often than it costs


def heavy(lock: str) -> dict[str, str]:
    """Name to index of the packages of a uv.lock that belong to the layer of heavy wheels.

    These are the ones with a heavy wheel, what the template itself requires (pip, setuptools), and
    all that those require, if it has wheels. So the last layer has only what your project adds.
    """
    indexes: dict[str, str] = {}
    requires: dict[str, set[str]] = {}
    chosen: set[str] = set()
    for package in lock.split("[[package]]\n")[1:]:
        name = re.search(r'(?m)^name = "(.+)"$', package)
        index = re.search(r'(?m)^source = \{ registry = "(.+)" \}$', package)
        chosen.update(names_of(re.findall(r"(?m)^container = \[\n((?:    .*\n)*)", package)))
        sizes = [int(size) for size in re.findall(r"(?m)\.whl\".*\bsize = (\d+)", package)]
        if not name or not index or not sizes:
            continue
        indexes[name[1]] = index[1]
        requires[name[1]] = names_of(
            re.findall(r"(?m)^dependencies = \[\n((?:    .*\n)*)", package)
        )
        if max(sizes) >= LEAST:
            chosen.add(name[1])
    found: dict[str, str] = {}
    while chosen:
        one = chosen.pop()
        if one in indexes and one not in found:
            found[one] = indexes[one]
            chosen |= requires[one]
    return found


def names_of(tables: list[str]) -> set[str]:
    """The names in some lists of dependencies of a uv.lock."""
    return {name for table in tables for name in re.findall(r'\{ name = "([^"]+)"', table)}


def selected(requirements: str, lock: str, left_out: set[str]) -> str:
    """The heavy ones of some requirements with their hashes, and the indexes that have them."""
    indexes = heavy(lock)
    lines = {}
    for line in re.findall(r"(?m)^[a-z0-9](?:.*\\\n)*.*\n", requirements):
        name = re.split(r"[=\[ ;@]", line, maxsplit=1)[0]
        if name in indexes and name not in left_out:
            lines[line] = indexes[name]
    return "".join([*(f"--extra-index-url {url}\n" for url in sorted({*lines.values()})), *lines])


if __name__ == "__main__":
    others = "\n".join(Path(name).read_text() for name in sys.argv[2:])
    names = set(re.findall(r"(?m)^[a-z0-9][a-z0-9-]*", others))
    print(selected(sys.stdin.read(), Path(sys.argv[1]).read_text(), names), end="")
