"""Stand-ins: wheels without code, for packages that an environment has already.

For each such package, uv finds one version in an index, that which is there. So the resolver
chooses other packages to fit, or says that none does. Standard library only, Python 3.8 or newer;
versions are compared by the `packaging` that pip has.
"""

from __future__ import annotations

import contextlib
import re
import sys
import zipfile
from importlib import import_module
from importlib.metadata import Distribution, distributions
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

VERSION = re.compile(
    r"v?(?P<release>(?:\d+!)?\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?:a|b|c|rc|alpha|beta|pre|preview)[-_.]?\d*)?"
    r"(?:-(?P<implicit>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post>\d*))?"
    r"(?:[-_.]?dev[-_.]?\d*)?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?",
    re.IGNORECASE,
)
# In uv's words: "your project", "all versions of a", "a==1.0", "my-dependencies:dev" depends on ...
ASKING = r"([\w.-]+(?::[\w-]+)?)(?:\[[\w,-]*\])?((?:[<>=!~]=?[\w.+!*,<>=~]*)?)"


class Package(NamedTuple):
    """A distribution of the base image; `stands_as` is the version that the resolver sees."""

    name: str
    version: str
    stands_as: str
    requires: list[str]
    entry_points: str


def normal(name: str) -> str:
    """The one spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def stands_as(version: str) -> str:
    """The version as a requirement is meant: NVIDIA's 2.14.0a0+4fdf77b counts as 2.14.0."""
    match = VERSION.fullmatch(version)
    if match is None:
        digits = re.match(r"\d+(\.\d+)*", version)
        return digits.group() if digits else "0"
    post = match["implicit"] or match["post"]
    parts = re.split(r"[-_.]", (match["local"] or "").lower())
    local = ".".join(str(int(part)) if part.isdigit() else part for part in parts)
    return match["release"] + (f".post{post}" if post else "") + (f"+{local}" if local else "")


def find(folders: list[str]) -> dict[str, Distribution]:
    """The distributions in these folders by their names; of two, the one that is imported."""
    found: dict[str, Distribution] = {}
    for distribution in distributions(path=folders):
        name = distribution.metadata["Name"]
        if name and distribution.version:  # a broken one may lack either
            found.setdefault(normal(name), distribution)
    return found


def write_stand_in(folder: Path, package: Package, base_folders: list[str]) -> None:
    """Write a wheel without code, and the page of an index that names it.

    It is the same, byte by byte, for the same package. Its .pth file makes the folders of the base
    seen where it is installed.
    """
    module = package.name.replace("-", "_")
    info = f"{module}-{package.stands_as}.dist-info"
    about = f"Metadata-Version: 2.1\nName: {package.name}\nVersion: {package.stands_as}\n"
    content = {
        f"base-image-{package.name}.pth": "".join(f"{path}\n" for path in base_folders),
        f"{info}/METADATA": f"{about}Summary: stands for {package.version} of the base image\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if package.entry_points:
        content[f"{info}/entry_points.txt"] = package.entry_points
    content[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    folder.mkdir(parents=True)
    wheel = f"{module}-{package.stands_as}-py3-none-any.whl"
    with zipfile.ZipFile(folder / wheel, "w") as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    link = wheel.replace("+", "%2B")
    (folder / "index.html").write_text(f'<a href="{link}">{wheel}</a>\n', encoding="utf-8")


def import_packaging(venv: Path) -> Any:
    """The module packaging.requirements: its own, or the copy in the pip of base or environment.

    Raises:
        ImportError: none of the three is there.
    """
    sys.path.extend(map(str, venv.glob("lib/python*/site-packages")))
    for name in ("packaging", "pip._vendor.packaging"):
        with contextlib.suppress(ImportError):
            return import_module(f"{name}.requirements")
    raise ImportError("neither packaging nor pip is in the base image or in /opt/venv")


class Unmet(NamedTuple):
    """A requirement line of `who` that `version`, the one that is there, does not meet."""

    who: str
    line: str
    name: str
    version: str


def unmet(who: str, lines: Iterable[str], versions: dict[str, str], packaging: Any) -> list[Unmet]:
    """The requirements without extras that these versions do not meet; who is not there, is met."""
    found = []
    for line in lines:
        try:
            requirement = packaging.Requirement(line)
        except packaging.InvalidRequirement:
            continue
        name = normal(requirement.name)
        asks = f"{name}{requirement.specifier}"
        if name not in versions or (
            requirement.marker and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        if not requirement.specifier.contains(versions[name], prereleases=True):
            found.append(Unmet(who, asks, name, versions[name]))
    return found
