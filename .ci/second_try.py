"""Runs tests that failed a second time, where that tells chance from a fault: `.ci/run`.

Tests of the engine download, wait for daemons and share the machine with other tests. One that
fails by chance is a defect of that test, and its first output stays in the log; but it says nothing
about the template, so it stops no change. Nothing else is tried again: neither linters, nor tests
without the engine, nor more than a few files, since then the engine is broken.

Exit status: 0, all passed now; 1, they did not, or this can tell nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".pytest_cache/v"
FAILED, ENDED = CACHE / "cache/lastfailed", CACHE / "hearth/ended"
ENGINE = "tests/engine/"
FILES = 3  # at most
TESTS_FAILED = 1  # pytest's exit status: all tests have run, and some of them failed


def written(file: Path) -> Any:
    """What pytest has written into a file of its cache, or None."""
    return json.loads(file.read_text()) if file.is_file() else None


def files_to_try(ended: int | None, failed: Iterable[str]) -> list[str]:
    """Files whose failed tests run again; none if that would tell nothing.

    Args:
        ended: exit status of pytest; None if it did not come to its end, or did not start.
        failed: names of the failed tests, FILE::TEST.
    """
    files = sorted({test.partition("::")[0] for test in failed})
    if ended != TESTS_FAILED or len(files) > FILES:
        return []
    return files if all(file.startswith(ENGINE) for file in files) else []


def main() -> int:
    """Run them, say which they were, and give the exit status."""
    tests = sorted(written(FAILED) or ())
    files = files_to_try(written(ENDED), tests)
    if not files:
        return 1
    print("Failed, and run again alone:", *tests, sep="\n  ", flush=True)
    command = (sys.executable, "-m", "pytest", "--last-failed", "--last-failed-no-failures=none")
    for file in files:
        if subprocess.run((*command, file), cwd=ROOT, check=False).returncode:
            return 1
    print("Passed at the second try, so these tests can fail by chance:", *tests, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
