"""What notebooks import, where no file of the code lists packages: the command that adds it."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Iterator

from .project import code_folder, me
from .workspace_lists import rules

if TYPE_CHECKING:
    from .project import Project

DEPTH = 3  # folders below the code folder
MOST_ENTRIES = 2000  # of one folder: more is data
MOST_NOTEBOOKS = 100
MOST_BYTES = 32 << 20  # of a notebook, which has its pictures in it
# What people import, and the package that it is in.
IMPORTED = {
    "bio": "biopython",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "git": "gitpython",
    "mpl_toolkits": "matplotlib",
    "pil": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "yaml": "pyyaml",
}
# What a notebook's own server brings, and what only a hosted notebook has.
OF_SERVERS = {"ipython", "ipykernel", "google", "kaggle_secrets"}
FROM = re.compile(r"\s*from\s+([A-Za-z_]\w*)[\w.]*\s+import\b")
ONE = r"[A-Za-z_][\w.]*(?:\s+as\s+\w+)?"
IMPORT = re.compile(rf"\s*import\s+({ONE}(?:\s*,\s*{ONE})*)\s*(?:[;#].*)?")
PIP = re.compile(r"\s*[%!]\s*(?:python3?\s+-m\s+)?pip3?\s+install\s+(.*)")
REQUIREMENT = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?(?:\[[\w.,-]+\])?(?:[=<>!~]=?.*)?")
WITH_VALUE = re.compile(
    r"-[rcifet]|--(requirement|constraint|index-url|extra-index-url|find-links)"
)


def said_of_notebooks(project: Project, adding: Iterable[str] = ()) -> str:
    """What notebooks import and the command that adds it; "" where a file lists packages.

    What is just being added is left out.
    """
    code = code_folder(project)
    if lists_packages(code):
        return ""
    found = list(itertools.islice(notebooks(code), MOST_NOTEBOOKS))
    each: dict[str, str] = {}
    for line in sorted(line for file in found for line in packages_in(file, code)):
        each[name_in(line)] = line  # the one with a version, which is longer
    if not each:
        return ""
    from .images import packages_of  # noqa: PLC0415  seldom needed, and the hook loads this

    spelled = getattr(packages_of(project), "SPELLED", {})
    known = {*project.torch_family, *map(name_in, adding)}
    names = [
        line
        for name, line in sorted(each.items())
        if name not in known and spelled.get(name) not in known
    ]
    if not names:
        return ""
    words = " ".join(shlex.quote(spelled.get(name, name)) for name in names)
    return (
        "No file of the code folder lists packages. To add what its notebooks import, run: "
        f"{me()} add {words}"
    )


def lists_packages(code: Path) -> bool:
    """Whether a folder has the project's metadata, or a list of packages by its name."""
    known = rules()
    try:
        names = [file.name for file in code.iterdir()]
    except OSError:
        return True
    return any(
        name in known.METADATA
        or name in known.MANIFESTS
        or known.is_requirements("", name)
        or known.ENVIRONMENT.fullmatch(name)
        or (known.OF_REQUIREMENTS.fullmatch(name) and (code / name).is_dir())
        for name in names
    )


def notebooks(code: Path) -> Iterator[Path]:
    """The notebooks of a folder and of those in it, without hidden ones and docker-amd64."""
    folders = [(code, 0)]
    while folders:
        folder, depth = folders.pop(0)
        try:
            entries = sorted(itertools.islice(folder.iterdir(), MOST_ENTRIES))
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            if entry.suffix == ".ipynb" and entry.is_file():
                yield entry
            elif depth < DEPTH and entry.is_dir() and not is_foreign(entry):
                folders.append((entry, depth + 1))


def is_foreign(folder: Path) -> bool:
    """Whether a folder is of the template, or an environment."""
    return folder.name == "node_modules" or any(
        (folder / mark).exists() for mark in ("template.sh", "pyvenv.cfg")
    )


def packages_in(file: Path, code: Path) -> set[str]:
    """The packages that a notebook installs or imports, without the standard library."""
    installed: set[str] = set()
    imported: set[str] = set()
    for line in code_lines(file):
        if match := PIP.match(line):
            installed.update(requirements_in(match.group(1)))
        elif match := FROM.match(line):
            imported.add(match.group(1))
        elif match := IMPORT.fullmatch(line):
            imported.update(re.split(r"[\s.]", one.strip())[0] for one in match[1].split(","))
    names = set(map(name_in, installed))
    places = (file.parent, code, code / "src")
    for module in imported:
        own = any((place / one).exists() for place in places for one in (module, f"{module}.py"))
        if own or is_known(module):
            continue
        package = IMPORTED.get(module.lower(), module)
        if name_in(package) not in names:
            installed.add(package)
    return installed


def name_in(line: str) -> str:
    """The name of a requirement's package as indexes spell it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[=<>!~]", line)[0]).lower()


def code_lines(file: Path) -> list[str]:
    """The lines of the cells with code; none of a notebook that cannot be read."""
    try:
        if file.stat().st_size > MOST_BYTES:
            return []
        cells = json.loads(file.read_text("utf-8"))["cells"]
        sources = [one["source"] for one in cells if one["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    texts = (one if isinstance(one, str) else "".join(map(str, one)) for one in sources)
    return [line for text in texts for line in text.splitlines()]


def requirements_in(words: str) -> Iterator[str]:
    """The requirements in the words after `pip install`: no options, addresses or folders."""
    try:
        found = shlex.split(words, comments=True)
    except ValueError:
        return
    skip = False
    for word in found:
        if word in (";", "&&", "|", "||", ">", "&"):
            return
        if not skip and REQUIREMENT.fullmatch(word):
            yield word
        skip = bool(WITH_VALUE.fullmatch(word))


def is_known(module: str) -> bool:
    """Whether a module is of the standard library, or of a server of notebooks."""
    known = getattr(sys, "stdlib_module_names", None) or old_standard_modules()
    return module in known or module.lower() in OF_SERVERS


def old_standard_modules() -> set[str]:
    """The modules of the standard library, for a Python before 3.10, which has no list of them."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = [*folder.iterdir(), *(folder / "lib-dynload").glob("*.so")]
    return {*sys.builtin_module_names, *(file.name.partition(".")[0] for file in files)}
