"""Prints the lines of a requirements file whose wheels are heavy, for a layer of their own.

    uv export ... | heavy_wheels.py uv.lock [LIST...]

uv.lock tells the size and the index of each wheel. Names in a LIST are left out: packages that
another layer has. The result keeps every byte when a light package is added.
"""

import re
import sys
from pathlib import Path

LEAST = 2_000_000  # bytes of a wheel; what is lighter changes more often than it costs


def heavy(lock: str) -> dict[str, str]:
    """Name to index of each package in a uv.lock that has a heavy wheel."""
    found = {}
    for package in lock.split("[[package]]\n")[1:]:
        name = re.search(r'(?m)^name = "(.+)"$', package)
        index = re.search(r'(?m)^source = \{ registry = "(.+)" \}$', package)
        sizes = map(int, re.findall(r"(?m)\.whl\".*\bsize = (\d+)", package))
        if name and index and max(sizes, default=0) >= LEAST:
            found[name[1]] = index[1]
    return found


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
