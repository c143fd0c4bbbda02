"""torch.yml beside its sources: PyPI, PyTorch's wheel index, and Docker Hub."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from hooks.compat.proposals.comparison import (
    ARCHITECTURES,
    checked_mapping,
    checked_strings,
    sorted_versions,
    tags_of,
)
from hooks.compat.proposals.cuda import add_stub_line
from hooks.compat.rows import numbers
from hooks.compat.upstream import UpstreamError

if TYPE_CHECKING:
    from hooks.compat.proposals.comparison import Comparison


class Wheels(NamedTuple):
    """Linux wheels of a release on PyPI, by host architecture: their Pythons; and the month."""

    pythons: dict[str, set[str]]
    month: str | None


def _wheel_line(variant: str) -> str:
    digits = variant.removeprefix("cu")
    return f"{digits[:-1]}.{digits[-1]}"


def _platform(tag: str) -> str | None:
    found = re.search(r"linux.*_(x86_64|aarch64)$", tag)
    return found.group(1) if found else None


def _index(comparison: Comparison) -> dict[str, dict[str, set[str]]]:
    """What PyTorch's index has: release -> variant -> host architectures."""
    pattern = (
        r"torch-(\d+\.\d+\.\d+)(?:\+|%2B)(cu\d{2,5})-cp\d+-[a-z0-9]+-([A-Za-z0-9_.]{1,100})\.whl"
    )
    oldest = min(map(numbers, comparison.rows("torch")))
    found: dict[str, dict[str, set[str]]] = {}
    for release, variant, tag in re.findall(pattern, comparison.upstream.text("torch-index")):
        platform = _platform(tag)
        if not re.fullmatch(r"cu\d{3}", variant):  # cu92, and cu1310 one day
            if numbers(release) >= oldest:
                comparison.ask("torch", release, f"the CUDA of {variant}", "torch-index")
        elif platform:
            found.setdefault(release, {}).setdefault(variant, set()).add(platform)
    if not found:
        raise UpstreamError("torch-index cannot be read: it lists no wheel of torch with CUDA")
    return found


def _pypi(comparison: Comparison) -> tuple[dict[str, Wheels], dict[str, Any]]:
    """Releases with wheels for Linux, and PyPI's description of the newest."""
    content = checked_mapping(comparison.upstream.json("pypi-json"), "the answer")
    found = {}
    for release, files in checked_mapping(content.get("releases"), "releases").items():
        if not re.fullmatch(r"\d+\.\d+\.\d+", release):
            continue
        pythons: dict[str, set[str]] = {}
        months = set()
        for file in files:
            name = file.get("filename")
            parts = re.fullmatch(
                r"torch-[\d.]+(?:-\d+)?-cp3(\d+)-cp3\d+(m?t?)-([\w.]+)\.whl", str(name)
            )
            platform = _platform(parts[3]) if parts else None
            if not parts or not platform or file.get("yanked"):
                continue
            free_threaded = parts[2].removeprefix("m")
            pythons.setdefault(platform, set()).add(f"3.{parts[1]}{free_threaded}")
            if re.match(r"\d{4}-\d\d-", str(file.get("upload_time"))):
                months.add(file["upload_time"][:7])
        if "x86_64" in pythons:
            found[release] = Wheels(pythons, min(months, default=None))
    if not found:
        raise UpstreamError("pypi-json cannot be read: it has no release with Linux wheels")
    return found, checked_mapping(content.get("info"), "info")


def _pins(requires: list[str], wheels: Wheels) -> dict[str, str | None]:
    """What PyPI's wheel pins: variant, cudnn, triton; and what plain PyPI carries on aarch64."""
    pins: dict[str, str | None] = dict.fromkeys(("variant", "cudnn", "triton", "aarch64"))
    for text in requires:
        name, _, marker = text.partition(";")
        if re.search(r"\bextra\s*==", marker):
            continue
        name = re.sub(r"[\s()]", "", name)
        if found := re.match(r"(?:cuda-toolkit(?:\[.*\])?|nvidia-cuda-runtime(?:-cu\d+)?)==(\d+)\.(\d)(?!\d)", name):  # fmt: skip  # noqa: E501
            pins["variant"] = f"cu{found[1]}{found[2]}"
            if "aarch64" in wheels.pythons:
                only = re.search(r"platform_machine\s*==\s*[\"']x86_64", marker)
                pins["aarch64"] = "cpu" if only else pins["variant"]
        elif found := re.match(r"nvidia-cudnn(?:-cu\d+)?==([\d.]+)$", name):
            pins["cudnn"] = found[1]
        elif found := re.match(r"triton(?:==|~=)([\d.]+)$", name):
            pins["triton"] = found[1]
    return pins


def _companion(comparison: Comparison, package: str, release: str) -> str | None:
    """The torchvision or torchaudio that pins a release of torch; None where none does."""
    version = None
    with comparison.source(f"pypi-{package}"):
        info = checked_mapping(comparison.upstream.json(f"pypi-{package}"), "the answer").get(
            "info"
        )
        info = checked_mapping(info, "info")
        requires = checked_strings(info.get("requires_dist"), "requires_dist")
        if any(re.sub(r"[\s()]", "", text) == f"torch=={release}" for text in requires):
            version = str(info.get("version"))
    return version if version and re.fullmatch(r"\d+(\.\d+)+", version) else None


def _variant(name: str, platforms: set[str], source: str, today: str) -> dict[str, Any]:
    """A wheel variant whose compiled list is not known; [] where there is no such wheel."""
    row: dict[str, Any] = {"variant": name, "cuda": _wheel_line(name), "status": "published"}
    row["cudnn"] = None
    row |= {arch: None if arch in platforms else [] for arch in ARCHITECTURES.values()}
    return {**row, "source": [source], "date": today}


def _add_torch(
    comparison: Comparison,
    release: str,
    wheels: Wheels,
    requires: list[str],
    variants: dict[str, set[str]],
) -> None:
    pins = _pins(requires, wheels)
    own = pins["variant"]
    missing = [name for name in ("variant", "cudnn", "triton") if pins[name] is None]
    if own is None or missing:
        text = f"what its wheel on PyPI pins: {', '.join(missing)}"
        comparison.ask("torch", release, text, "pypi-json")
        return
    complete = bool(variants)
    if own not in variants:
        platforms = {"x86_64"} | ({"aarch64"} if pins["aarch64"] == own else set())
        variants = {**variants, own: platforms}
    rows = []
    for name in sorted(variants):
        line, note = _wheel_line(name), f"Known only as the line of the {name} wheels."
        if add_stub_line(comparison, line, note, "torch-index" if complete else "pypi-json"):
            source = "torch-index" if complete else "pypi-json"
            rows.append(_variant(name, variants[name], source, comparison.today))
            if name == own:
                rows[-1]["cudnn"] = pins["cudnn"]
    if own not in {row["variant"] for row in rows}:
        return
    pypi = {name: pins[name] for name in ("variant", "cudnn", "triton")}
    row: dict[str, Any] = {
        "torch": release,
        "released": wheels.month,
        "offered": False,
        "torchvision": _companion(comparison, "torchvision", release),
        "torchaudio": _companion(comparison, "torchaudio", release),
        "python": sorted_versions(wheels.pythons["x86_64"]),
        "python_experimental": [],
    }
    if comparison.has_field("torch", "complete"):
        row["complete"] = complete
        pypi["aarch64"] = pins["aarch64"]
    row |= {"pypi": pypi, "variants": rows, "hub_tags": []}
    comparison.add("torch", row, "pypi-json")
    tritons = comparison.tables.get("jit", {}).get("triton")
    if tritons is not None and pins["triton"] not in {item.get("triton") for item in tritons}:
        comparison.ask("jit", f"Triton {pins['triton']}", "the targets of its ptxas", "pypi-json")
    unknown = ", ".join(name for name in ("torchvision", "torchaudio") if row[name] is None)
    text = f"{unknown and unknown + ', '}compiled targets of its wheels, and whether it is offered"
    comparison.ask("torch", release, text, "pypi-json")


def _compare_pypi(comparison: Comparison, index: dict[str, dict[str, set[str]]]) -> None:
    releases, info = _pypi(comparison)
    rows = comparison.rows("torch")
    oldest = min(map(numbers, rows))
    for release in sorted_versions(releases):
        if release in rows:
            row = rows[release]
            known = {*row["python"], *row["python_experimental"]}
            if more := releases[release].pythons["x86_64"] - known:
                fields = {"python": sorted_versions({*row["python"], *more})}
                comparison.change("torch", release, fields, "pypi-json")
        elif numbers(release) > oldest:
            with comparison.source(f"pypi-torch-release {release}"):
                described = info
                if info.get("version") != release:
                    content = comparison.upstream.json("pypi-torch-release", release)
                    described = checked_mapping(
                        checked_mapping(content, "the answer").get("info"), "info"
                    )
                requires = checked_strings(described.get("requires_dist"), "requires_dist")
                variants = index.get(release, {})
                _add_torch(comparison, release, releases[release], requires, variants)


def _listed(known: dict[str, Any], platforms: set[str], today: str) -> dict[str, Any]:
    """What the index says of a variant that the table does not call published."""
    fields: dict[str, Any] = {"status": "published"}
    for arch in ARCHITECTURES.values():
        if arch not in platforms:
            fields[arch] = []
        elif not known[arch]:
            fields[arch] = None
    return {**fields, "source": [*known["source"], "torch-index"], "date": today}


def _compare_release_variants(
    comparison: Comparison, row: dict[str, Any], listed: dict[str, set[str]]
) -> None:
    known = {variant["variant"]: variant for variant in row["variants"]}
    fields: dict[str, Any] = {}
    for name, platforms in sorted(listed.items()):
        if name in known:
            if known[name]["status"] != "published":
                fields[name] = _listed(known[name], platforms, comparison.today)
        else:
            note = f"Known only as the line of the {name} wheels."
            if add_stub_line(comparison, _wheel_line(name), note, "torch-index"):
                fields[name] = _variant(name, platforms, "torch-index", comparison.today)
    changed: dict[str, Any] = {"variants": fields} if fields else {}
    if not row.get("complete", True):
        gone = [x for x in known if known[x]["status"] == "published" and x not in listed]
        if gone:
            missing = f"whether there are {', '.join(gone)} wheels: the index lists none"
            comparison.ask("torch", row["torch"], missing, "torch-index")
        else:
            changed["complete"] = True
    if changed:
        comparison.change("torch", row["torch"], changed, "torch-index")


def _compare_variants(comparison: Comparison, index: dict[str, dict[str, set[str]]]) -> None:
    """Variants of known releases that the index lists."""
    for release, row in comparison.rows("torch").items():
        if release in index:
            _compare_release_variants(comparison, row, index[release])


def _compare_hub(comparison: Comparison) -> None:
    """The tags of pytorch/pytorch, for releases and variants that the table has."""
    tags = tags_of(comparison, "hub-pytorch")
    pattern = r"(\d+\.\d+\.\d+)-(cuda(\d+\.\d+)-cudnn(\d)-(?:runtime|devel))"
    found: dict[str, set[str]] = {}
    for tag in tags:
        parts = re.fullmatch(pattern, tag)
        row = comparison.rows("torch").get(parts[1]) if parts else None
        if parts and row and parts[3] in {variant["cuda"] for variant in row["variants"]}:
            if parts[4] == ("9" if numbers(parts[1]) >= (2, 4) else "8"):
                found.setdefault(parts[1], set()).add(parts[2])
            else:
                missing = f"the rule for tags of pytorch/pytorch: {tag}"
                comparison.ask("torch", parts[1], missing, "hub-pytorch")
    for release, rest in found.items():
        old = comparison.rows("torch")[release]["hub_tags"]
        if not rest <= set(old):
            fields = {"hub_tags": sorted({*old, *rest})}
            comparison.change("torch", release, fields, "hub-pytorch")


def compare_torch(comparison: Comparison) -> None:
    """torch.yml with PyPI, PyTorch's index and the tags of pytorch/pytorch."""
    index: dict[str, dict[str, set[str]]] = {}
    with comparison.source("torch-index"):
        index = _index(comparison)
    with comparison.source("pypi-json"):
        _compare_pypi(comparison, index)
    _compare_variants(comparison, index)
    with comparison.source("hub-pytorch"):
        _compare_hub(comparison)
