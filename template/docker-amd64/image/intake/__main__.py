"""The command line of the reader: prints JSON, changes nothing.

python -m intake discover ROOT [--code-dir DIR] [--project JSON]
python -m intake read ROOT [FILE...] [--code-dir DIR] [--project JSON]

JSON has the keys of a project's host/project.json: package_manager, python, torch, cuda,
accelerator, base_has_torch, offered. Without FILE, `read` reads what `discover` takes.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .discovery import discover, named
from .found import Wanted
from .reader import read

if TYPE_CHECKING:
    from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog="intake", description="what a project lists as packages")
    parser.add_argument("work", choices=["discover", "read"])
    parser.add_argument("root", type=Path)
    parser.add_argument("files", nargs="*", metavar="FILE", help="relative to ROOT")
    parser.add_argument("--code-dir", default=".")
    parser.add_argument("--project", type=json.loads, default={}, metavar="JSON")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    wanted = Wanted.of_project(options.project)
    found = discover(options.root, options.code_dir, wanted.manager)
    if options.work == "discover":
        answer: object = [asdict(file) for file in found]
    else:
        files = [named(options.root, file) for file in options.files] or found
        answer = read(options.root, files, wanted).as_dict()
    json.dump(answer, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
