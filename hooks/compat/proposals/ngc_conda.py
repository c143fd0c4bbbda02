"""ngc.yml and conda.yml beside their sources."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from hooks.compat.proposals.comparison import (
    checked_mapping,
    platforms_of,
    sorted_versions,
    tags_of,
)
from hooks.compat.proposals.cuda import add_stub_line
from hooks.compat.rows import numbers
from hooks.compat.upstream import UpstreamError

if TYPE_CHECKING:
    from hooks.compat.proposals.comparison import Comparison


def _compare_ngc(comparison: Comparison) -> None:
    tags = tags_of(comparison, "ngc-pytorch")
    releases = sorted({tag[:5] for tag in tags if re.fullmatch(r"\d\d\.(0[1-9]|1[0-2])-py3", tag)})
    if not releases:
        raise UpstreamError("ngc-pytorch cannot be read: it has no tag such as 26.09-py3")
    rows = comparison.rows("ngc")
    has_platforms = comparison.has_field("ngc", "platforms")
    for release in releases:
        if release < min(rows):
            continue
        platforms = None
        if has_platforms and (release not in rows or rows[release].get("platforms") is None):
            with comparison.source(f"ngc-pytorch-image {release}-py3"):
                platforms = platforms_of(comparison, "ngc-pytorch-image", f"{release}-py3")
        if release not in rows:
            row: dict[str, Any] = {"release": release, "torch": None, "cuda": None, "python": None}
            row |= {"ubuntu": None, "paired_driver": None}
            if has_platforms:
                row["platforms"] = platforms
            comparison.add("ngc", {**row, "arch": {}, "confidence": "low"}, "ngc-pytorch")
            missing = "PyTorch, CUDA, Python, Ubuntu and driver of the image"
            comparison.ask("ngc", release, missing, "ngc-pytorch")
        elif platforms:
            comparison.change("ngc", release, {"platforms": platforms}, "ngc-pytorch")


def compare_ngc(comparison: Comparison) -> None:
    """ngc.yml with the tags of nvcr.io/nvidia/pytorch."""
    with comparison.source("ngc-pytorch"):
        _compare_ngc(comparison)


def _compare_conda(comparison: Comparison) -> None:
    content = checked_mapping(comparison.upstream.json("conda-forge"), "the answer")
    found: dict[str, dict[str, list[float]]] = {}
    for section in ("packages", "packages.conda"):
        for record in checked_mapping(content.get(section) or {}, section).values():
            if record.get("name") != "pytorch":
                continue
            build = re.match(r"cuda(\d\d)(\d)_", str(record.get("build")))
            version = str(record.get("version"))
            if odd := re.match(r"cuda\d{4,5}(?=_)", str(record.get("build"))):
                comparison.ask("conda", version[:20], f"the CUDA of {odd[0]}", "conda-forge")
            if build and re.fullmatch(r"\d+\.\d+\.\d+", version):
                times = found.setdefault(version, {}).setdefault(f"{build[1]}.{build[2]}", [])
                time = record.get("timestamp")
                times += [float(time)] if isinstance(time, (int, float)) else []
    if not found:
        raise UpstreamError("conda-forge cannot be read: it has no build of pytorch with CUDA")
    for version in sorted_versions(found):
        if numbers(version) >= min(map(numbers, comparison.rows("conda"))):
            _compare_conda_release(comparison, version, found[version])


def _compare_conda_release(
    comparison: Comparison, version: str, lines: dict[str, list[float]]
) -> None:
    note = "Known only as the line of conda-forge builds."
    lines = {
        line: times
        for line, times in lines.items()
        if add_stub_line(comparison, line, note, "conda-forge")
    }
    row = comparison.rows("conda").get(version)
    if row is not None:
        if more := sorted_versions(set(lines) - set(row["cuda"])):
            comparison.change("conda", version, {"cuda": [*row["cuda"], *more]}, "conda-forge")
        return
    times = [time for several in lines.values() for time in several]
    if not times:
        comparison.ask("conda", version, "the month of its first build", "conda-forge")
        return
    new: dict[str, Any] = {"torch": version, "cuda": sorted_versions(lines)}
    if comparison.has_field("conda", "complete"):
        new["complete"] = False  # this list has the newest builds only
    comparison.add("conda", {**new, "first_merged": _month(min(times))}, "conda-forge")


def _month(milliseconds: float) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, tz=timezone.utc)
    return f"{moment:%Y-%m}"


def compare_conda(comparison: Comparison) -> None:
    """conda.yml with conda-forge's repodata."""
    with comparison.source("conda-forge"):
        _compare_conda(comparison)
