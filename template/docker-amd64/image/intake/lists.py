"""How files that list packages are called, and which other ones a requirements file names.

Python 3.8 and its standard library: template.sh reads it on the machine, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

METADATA = {
    "pyproject.toml": (
        r"(?m)^\s*\[\s*(project|dependency-groups|tool\.poetry(\.[\w.-]+)?|tool\.uv\.workspace)\s*\]"
    ),
    "setup.cfg": r"(?m)^\s*install_requires\s*=",
    "setup.py": r"\bsetup\s*\(",
}
PIXI = re.compile(r"(?m)^\s*\[\s*tool\.pixi\.[\w.-]*dependencies\s*\]")  # in pyproject.toml
MANIFESTS = {"pixi.toml": "pixi", "Pipfile": "pipfile"}
REQUIREMENTS = re.compile(
    r"(.*[-_. ])?(requirements?|reqs?)([-_. ].*)?\.txt|requirements.*\.txt", re.IGNORECASE
)
OF_REQUIREMENTS = re.compile(r"(?i)req\w*")  # a folder of them
ENVIRONMENT = re.compile(
    r"(.*[-_.])?(environments?|env|conda)([-_.].*)?\.ya?ml|.*environment.*\.ya?ml|conda[-_]?env.*\.ya?ml",
    re.IGNORECASE,
)
# By these names a file without `dependencies:` is a mistake, by others it is something else.
PLAIN_ENVIRONMENTS = ("environment.yml", "environment.yaml")
WORDS = re.compile(r"[a-z]+|\d+")
OTHER_WORDS = {
    *(
        "doc",
        "docs",
        "documentation",
        "readthedocs",
        "rtd",
        "lint",
        "linting",
        "linters",
        "style",
        "format",
    ),
    *("ci", "build", "publish", "release", "typing", "mypy", "precommit", "notebook", "notebooks"),
    *(
        "examples",
        "example",
        "tutorial",
        "tutorials",
        "demo",
        "lock",
        "frozen",
        "constraints",
        "min",
    ),
}
PLATFORM_WORDS = {
    "win",
    "windows",
    "mac",
    "macos",
    "osx",
    "darwin",
    "m1",
    "arm",
    "arm64",
    "aarch64",
    "mps",
}
COMMENT = re.compile(r"(^|\s+)#.*$")
INCLUDE = re.compile(r"(-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?<=-[rc])(?=\S))(\S.*)")


def is_requirements(folder: str, name: str) -> bool:
    """Whether it is named as a requirements file, or is in a folder of them."""
    in_folder = folder.rpartition("/")[2].lower() in {"requirements", "reqs", "requirement"}
    text = re.sub(r"\.in$", ".txt", name)  # pip-compile makes the .txt from it
    return bool(REQUIREMENTS.fullmatch(text)) or (in_folder and text.endswith(".txt"))


def words_of(path: str) -> set[str]:
    """The words in a file's name, and in that of a folder of requirements around it."""
    return set(WORDS.findall(path.lower())) - {"requirements", "requirement", "environment", "txt"}


def keys_of(text: str) -> set[str]:
    """Which keys of an environment file a text of YAML has at its top."""
    found = re.finditer(r"""(?m)^["']?(dependencies|channels)["']?\s*:""", text)
    return {match[1] for match in found}


def unquoted(text: str) -> str:
    """A text without the quotation marks around all of it."""
    bare = text.strip()
    quoted = re.fullmatch(r"([\"'])(.*)\1", bare)
    return quoted[2].strip() if quoted and quoted[1] not in quoted[2] else bare


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a requirements file with their numbers: joined, without comments.

    As pip does it: a comment ends a continued line, and a `#` in an address is none.
    """
    number, kept = 0, ""
    for count, line in enumerate(text.splitlines(), 1):
        is_comment = COMMENT.match(line) is not None
        number = number or count
        if line.endswith("\\") and not is_comment:
            kept += line.rstrip("\\")
            continue
        joined = kept + (f" {line}" if is_comment else line)
        if bare := COMMENT.sub("", joined).strip():
            yield number, bare
        number, kept = 0, ""
    if bare := COMMENT.sub("", kept).strip():
        yield number, bare
