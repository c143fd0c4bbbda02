"""Which template this clone trusts: an update runs the code of the repository at that address.

The address is in .env.trusted, beside .env, and git ignores both. The answers file has it too, but
a pull request can change that file; it must not choose whose code runs here. For the same reason a
.env.trusted that git tracks does not count.
"""

from __future__ import annotations

import os
from pathlib import Path

from .ask import capture, read_text
from .files import PRIVATE, write_file
from .versions import address, is_remote

FILE = ".env.trusted"


def full_address(template: str, root: Path) -> str:
    """The one form of an address, as git takes it; a folder by its absolute path.

    `template` is what the answers file of the project in `root` names.
    """
    url = address(template)
    return url if is_remote(url) else os.path.realpath(root / url)


def shown_address(template: str, root: Path) -> str:
    """An address as messages and commands have it: a folder so that it is found from anywhere."""
    return template if is_remote(address(template)) else full_address(template, root)


def trusted_address(docker: Path) -> str:
    """The address that this clone trusts, "" for none."""
    tracked = capture("git", "ls-files", "--error-unmatch", "--", FILE, cwd=docker)
    return "" if tracked.returncode == 0 else read_text(docker / FILE).strip()


def trust(docker: Path, template: str) -> None:
    """Record an address that the user has named. Raises ProbeError if that cannot be written."""
    write_file(docker / FILE, f"{full_address(template, docker.parent)}\n", PRIVATE)
