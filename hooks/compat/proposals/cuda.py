"""cuda.yml beside its sources: CUDA's releases, and nvidia/cuda on Docker Hub."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hooks.compat.proposals.comparison import (
    OLDEST_DRIVER,
    checked_mapping,
    line_of,
    platforms_of,
    sorted_versions,
    tags_of,
)
from hooks.compat.rows import numbers
from hooks.compat.upstream import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hooks.compat.proposals.comparison import Comparison

DRIVER = r"\d{3}(\.\d+)+"


def add_stub_line(comparison: Comparison, line: str, note: str, source: str) -> bool:
    """Propose a row for a CUDA line that another row names; False where none can be made."""
    if line in comparison.rows("cuda"):
        return True
    majors = {row["major"] for row in comparison.tables["cuda"]["families"]}
    never = {row["line"] for row in comparison.tables["cuda"]["never_released"]}
    if line in never or line.split(".", maxsplit=1)[0] not in majors:
        comparison.ask("cuda", line, "the first driver of its major (families)", source)
        return False
    row: dict[str, Any] = {"line": line, "patches": [], "toolkit_driver": {}}
    row |= {"nvcc": None, "image": None}
    comparison.add("cuda", {**row, "notes": [note] if note else []}, source)
    return True


def add_driver_pair(comparison: Comparison, line: str, driver: str, row: str, source: str) -> bool:
    """Whether a driver's branch brings the line; a branch that is not known yet is proposed."""
    branch = driver.split(".", maxsplit=1)[0]
    known = comparison.rows("drivers").get(branch)
    if known is None and int(branch) > comparison.newest_branch:
        end = {"eol": None} if comparison.has_field("drivers", "eol") else {}
        comparison.add("drivers", {"branch": branch, "cuda": line, **end}, source)
        return True
    if known is not None and known["cuda"] is None and int(branch) > OLDEST_DRIVER:
        comparison.change("drivers", branch, {"cuda": line}, source)
        return True
    if known is None or known["cuda"] != line:
        brings = "no row" if known is None else f"CUDA {known['cuda']}"
        missing = f"which is right: its driver is {driver}, but drivers.yml has {brings} for it"
        comparison.ask("cuda", row, missing, source)
        return False
    return True


def _compare_releases(comparison: Comparison) -> None:
    """New toolkits, and the drivers that toolkits pair with."""
    page = comparison.upstream.text("cuda-redist")
    listed = sorted_versions(set(re.findall(r"redistrib_(\d{1,3}\.\d{1,3}\.\d{1,3})\.json", page)))
    if not listed:
        raise UpstreamError("cuda-redist cannot be read: it lists no redistrib_*.json")
    lines = comparison.rows("cuda")
    oldest = min(numbers(line) for line, row in lines.items() if row["patches"])
    never = {row["line"] for row in comparison.tables["cuda"]["never_released"]}
    for release in listed:
        line = line_of(release)
        row = comparison.rows("cuda").get(line)
        if numbers(line) < oldest or line in never:
            continue
        if row is not None and line in lines and not row["patches"]:
            continue  # known only as the line of something else
        first = row["patches"][0] if row is not None and row["patches"] else "0.0.0"
        if numbers(release) < numbers(first):
            continue  # a preview, older than the first release
        known = row is not None and release in row["patches"]
        if known and row is not None and row["toolkit_driver"].get(release) is not None:
            continue
        with comparison.source(f"cuda-redist-release {release}"):
            _compare_release(comparison, release, known=known)


def _compare_release(comparison: Comparison, release: str, *, known: bool) -> None:
    content = checked_mapping(
        comparison.upstream.json("cuda-redist-release", release), "the answer"
    )
    if content.get("release_label", release) != release:
        raise ValueError(f"it is of {str(content['release_label'])[:20]}")
    driver = content.get("nvidia_driver", {}).get("version")  # from 13.4 on there is none
    if not isinstance(driver, str) or not re.fullmatch(DRIVER, driver):
        driver = None
    line = line_of(release)
    if known and driver is None:
        return
    if not add_stub_line(comparison, line, "", "cuda-redist"):
        return
    if driver is not None and not add_driver_pair(comparison, line, driver, release, "cuda-redist"):
        driver = None
        if known:
            return
    patches = sorted_versions({*comparison.rows("cuda")[line]["patches"], release})
    fields: dict[str, Any] = {"toolkit_driver": {release: driver}}
    if not known:
        fields["patches"] = patches
    comparison.change("cuda", line, fields, "cuda-redist")


def _compare_cuda_images(comparison: Comparison) -> None:
    """The newest nvidia/cuda images with cuDNN of each line."""
    pattern = (
        r"(\d+\.\d+\.\d+)-(cudnn\d?)-(?:runtime|devel)"
        r"-((?:ubuntu|rockylinux|oraclelinux|ubi)\d+(?:\.\d+)?)"
    )
    found: dict[str, dict[str, set[tuple[str, str]]]] = {}
    for tag in tags_of(comparison, "hub-cuda"):
        if parts := re.fullmatch(pattern, tag):
            patch, word, distro = parts.groups()
            found.setdefault(line_of(patch), {}).setdefault(patch, set()).add((word, distro))
    if not found:
        raise UpstreamError("hub-cuda cannot be read: it has no tag with cudnn")
    for line, row in comparison.rows("cuda").items():
        if line in found and row["patches"]:
            patch = sorted_versions(found[line])[-1]
            words = {word for word, _ in found[line][patch]}
            _compare_image(comparison, row, patch, words, {d for _, d in found[line][patch]})


def _compare_image(
    comparison: Comparison, row: dict[str, Any], patch: str, words: set[str], distros: set[str]
) -> None:
    image, line = row["image"], row["line"]
    digits = {word.removeprefix("cudnn") for word in words}
    fields: dict[str, Any] = {}
    if image is None and len(digits) == 1 and "" not in digits:
        fields = {"patch": patch, "cudnn_major": min(digits), "cudnn_word": min(words)}
        fields |= {"complete": True, "distros": _by_distro(distros), "platforms": None}
    elif image is None or words != {image["cudnn_word"]}:
        missing = f"cudnn_major and cudnn_word of its images ({patch}-{min(words)}-...)"
        comparison.ask("cuda", line, missing, "hub-cuda")
        return
    elif numbers(patch) > numbers(image["patch"]):
        fields = _other_patch(comparison, row, patch, distros)
    elif patch == image["patch"] and not distros <= set(image["distros"]):
        new = _by_distro(distros - set(image["distros"]))
        fields = {"distros": [*image["distros"], *new], "complete": True}
    image = {**(image or {}), **fields}
    if image.get("platforms", "") is None and image["patch"] == patch:
        fields |= _image_platforms(comparison, image)
    if fields:
        comparison.change("cuda", line, {"image": fields}, "hub-cuda")
    if "patch" in fields and patch not in row["patches"]:
        patches = {
            "patches": sorted_versions({*row["patches"], patch}),
            "toolkit_driver": {patch: None},
        }
        comparison.change("cuda", line, patches, "hub-cuda")


def _other_patch(
    comparison: Comparison, row: dict[str, Any], patch: str, distros: set[str]
) -> dict[str, Any]:
    """The fields of a newer patch's images; none where older distributions would be lost."""
    image, line = row["image"], row["line"]
    if gone := _by_distro(set(image["distros"]) - distros):
        missing = f"which patch is offered: {patch} has no images for {', '.join(gone)}"
        comparison.ask("cuda", line, missing, "hub-cuda")
        return {}
    if image["cudnn_word"] == "cudnn":
        missing = f"whether the images of {patch} still have cuDNN {image['cudnn_major']}"
        comparison.ask("cuda", line, missing, "hub-cuda")
    fields: dict[str, Any] = {"patch": patch, "distros": _by_distro(distros), "complete": True}
    return {**fields, "platforms": None}


def _by_distro(distros: Iterable[str]) -> list[str]:
    """Distributions in the order of the table: Ubuntu, then the others, each oldest first."""

    def order(distro: str) -> tuple[bool, str, tuple[int, ...]]:
        name = distro.rstrip("0123456789.")
        return name != "ubuntu", name, numbers(distro.removeprefix(name))

    return sorted(distros, key=order)


def _image_platforms(comparison: Comparison, image: dict[str, Any]) -> dict[str, Any]:
    distros = [name for name in image["distros"] if name.startswith("ubuntu")] or image["distros"]
    tag = f"{image['patch']}-{image['cudnn_word']}-devel-{distros[-1]}"
    platforms = None
    with comparison.source(f"hub-cuda-image {tag}"):
        platforms = platforms_of(comparison, "hub-cuda-image", tag)
    return {"platforms": platforms} if platforms else {}


def compare_cuda(comparison: Comparison) -> None:
    """cuda.yml with NVIDIA's redistributables and the tags of nvidia/cuda."""
    with comparison.source("cuda-redist"):
        _compare_releases(comparison)
    with comparison.source("hub-cuda"):
        _compare_cuda_images(comparison)
