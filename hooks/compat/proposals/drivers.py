"""drivers.yml and gpus.yml beside their sources."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hooks.compat.proposals.comparison import OLDEST_DRIVER, checked_mapping, sorted_versions
from hooks.compat.proposals.cuda import add_driver_pair
from hooks.compat.rows import numbers
from hooks.compat.upstream import UpstreamError

if TYPE_CHECKING:
    from hooks.compat.proposals.comparison import Comparison

BRANCH_KINDS = {
    "production branch": "Production",
    "lts branch": "LTS",
    "new feature branch": "New Feature",
}


def _compare_driver_redist(comparison: Comparison) -> None:
    """New branches, with the CUDA of the cuda-compat that their driver carries."""
    page = comparison.upstream.text("driver-redist")
    listed = set(re.findall(r"redistrib_(\d{3}(?:\.\d{1,4}){1,2})\.json", page))
    if not listed:
        raise UpstreamError("driver-redist cannot be read: it lists no redistrib_*.json")
    newest = {driver[:3]: driver for driver in sorted_versions(listed)}
    for branch, driver in newest.items():
        row = comparison.rows("drivers").get(branch)
        if (row is None and int(branch) > comparison.newest_branch) or (row and not row["cuda"]):
            with comparison.source(f"driver-redist-release {driver}"):
                content = comparison.upstream.json("driver-redist-release", driver)
                component = checked_mapping(content, "the answer").get("cuda_compat") or {}
                found = re.match(r"(\d{2})\.(\d{1,2})\.", str(component.get("version")))
                if found:
                    line = f"{found[1]}.{found[2]}"
                    add_driver_pair(
                        comparison, line, driver, f"{line} (cuda-compat)", "driver-redist"
                    )


def _compare_compat(comparison: Comparison) -> None:
    """The CUDA that a branch brings is the one that its user-space libraries have."""
    pattern = r"cuda-compat-(\d{1,2})-(\d{1,2})_(\d{3}(?:\.\d+)+)-"
    page = comparison.upstream.text("cuda-compat")
    found = {(f"{major}.{minor}", driver) for major, minor, driver in re.findall(pattern, page)}
    if not found:
        raise UpstreamError("cuda-compat cannot be read: it lists no package cuda-compat")
    for line, driver in sorted(found, key=lambda pair: (numbers(pair[0]), numbers(pair[1]))):
        if int(driver[:3]) > OLDEST_DRIVER:
            add_driver_pair(comparison, line, driver, f"{line} (cuda-compat)", "cuda-compat")


def _compare_branches(comparison: Comparison) -> None:
    releases = checked_mapping(comparison.upstream.json("driver-releases"), "the answer")
    branches = {name: entry for name, entry in releases.items() if re.fullmatch(r"\d{3}", name)}
    if not branches:
        raise UpstreamError("driver-releases cannot be read: it names no branch")
    for branch in sorted(branches):
        kind = BRANCH_KINDS.get(
            str(checked_mapping(branches[branch], branch).get("type", "")).lower()
        )
        row = comparison.rows("drivers").get(branch)
        if row is None:
            if int(branch) > comparison.newest_branch:
                # Without its CUDA a row would say that the branch brings none.
                missing = f"the CUDA that it brings (it is of the kind {kind})"
                comparison.ask("drivers", branch, missing, "driver-releases")
        elif kind and "kind" not in row and int(branch) > comparison.newest_branch:
            comparison.change("drivers", branch, {"kind": kind}, "driver-releases")
        elif kind and row.get("kind") and not row["kind"].startswith(kind):
            missing = f"its kind: {row['kind']} in the table, {kind} now"
            comparison.ask("drivers", branch, missing, "driver-releases")


def compare_drivers(comparison: Comparison) -> None:
    """drivers.yml with NVIDIA's driver redistributables, cuda-compat packages and releases."""
    with comparison.source("driver-redist"):
        _compare_driver_redist(comparison)
    with comparison.source("cuda-compat"):
        _compare_compat(comparison)
    with comparison.source("driver-releases"):
        _compare_branches(comparison)


def _plain(name: str) -> str:
    """A name without the vendor, and without the chip that tells two of one name apart."""
    return " ".join(
        re.sub(r" \([a-z]{2}\d{3}\)$", "", name.lower().removeprefix("nvidia ")).split()
    )


def _kind(name: str) -> str | None:
    """The kind that a name says; None where it says none."""
    words = set(name.lower().split())
    if "server" in words or not words & {"geforce", "quadro", "rtx"}:
        return None
    if "laptop" in words or "with max-q design" in name.lower() or re.search(r"\d{3}M\b", name):
        return "laptop"
    if "embedded" in words:
        return "embedded"
    return "consumer" if "geforce" in words else "workstation"


def _chips(comparison: Comparison) -> list[tuple[int, str, int | None]]:
    """Device id, name and last driver branch of each GPU that NVIDIA's list has, by id."""
    content = checked_mapping(comparison.upstream.json("supported-gpus"), "the answer")
    found = []
    for chip in content.get("chips") or []:
        device, name = chip.get("devid"), chip.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"0x[0-9A-Fa-f]{4}", str(device)):
            continue
        branch = re.fullmatch(r"(\d{1,3})(\.\d+)*\.xx", str(chip.get("legacybranch")))
        # "NVIDIA GeForce GPU" stands for boards without a name of their own.
        if (
            re.fullmatch(r"[A-Za-z][A-Za-z0-9 ./+()_-]{1,79}", name)
            and _plain(name) != "geforce gpu"
        ):
            found.append((int(device, 16), name.strip(), int(branch[1]) if branch else None))
    if not found:
        raise UpstreamError("supported-gpus cannot be read: it names no GPU")
    return sorted(found)


def _beside(device: int, known: dict[int, dict[str, Any]]) -> tuple[dict[str, Any], str] | None:
    """The GPU whose compute capability a device id shares, and why.

    NVIDIA numbers the devices of a chip together. So the nearest known ids below and above, of the
    same 256, must have one compute capability.
    """
    block = [other for other in known if other >> 8 == device >> 8]
    below = max((other for other in block if other <= device), default=None)
    above = min((other for other in block if other >= device), default=None)
    if below is None or above is None or known[below]["cc"] != known[above]["cc"]:
        return None
    return known[below], f"0x{below:04X} and 0x{above:04X}"


def _known_names(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """The row of each name; without a compute capability where two chips share the name."""
    rows: dict[str, dict[str, Any]] = {}
    table = comparison.tables["gpus"]
    for row in (*table["gpus"], *table.get("groups", ())):
        for name in (*row.get("names", ()), *row.get("aliases", ()), row.get("name")):
            if name is not None:
                other = rows.setdefault(_plain(name), row)
                if other["cc"] != row["cc"]:
                    rows[_plain(name)] = {**row, "cc": ""}
    return rows


def _compare_names(comparison: Comparison) -> None:
    rows = _known_names(comparison)
    chips = _chips(comparison)
    known: dict[int, dict[str, Any]] = {}
    mixed = set()
    for device, name, _ in chips:
        row = rows.get(_plain(name))
        if row and (not row["cc"] or known.setdefault(device, row)["cc"] != row["cc"]):
            mixed.add(device)
    known = {device: row for device, row in known.items() if device not in mixed}
    for device, name, branch in chips:
        if branch is not None and branch <= OLDEST_DRIVER:
            continue  # Kepler and older
        row = rows.get(_plain(name))
        if row is not None:
            _compare_end(comparison, row, branch)
            continue
        # Older chips share ids: a Tesla K80 (3.7) is among GPUs of 3.5.
        beside, kind = None if branch else _beside(device, known), _kind(name)
        if beside is None or kind is None:
            missing = [] if beside else ["compute capability and architecture"]
            missing += [] if kind else ["kind"]
            text = f"{' and '.join(missing)} (device id 0x{device:04X})"
            comparison.ask("gpus", name, text, "supported-gpus")
            rows[_plain(name)] = {"name": name, "cc": ""}
            continue
        like, ids = beside
        note = f"compute capability of the device ids beside 0x{device:04X}: {ids}"
        row = {"name": name, "cc": like["cc"], "arch": like["arch"], "kind": kind, "note": note}
        comparison.add("gpus", row, "supported-gpus")
        rows[_plain(name)] = row


def _compare_end(comparison: Comparison, gpu: dict[str, Any], branch: int | None) -> None:
    """A GPU that newer drivers left behind, although its architecture has no last branch yet."""
    for row in comparison.tables["drivers"]["architectures"]:
        if branch is not None and gpu["cc"] in row["cc"] and row.get("last_branch") is None:
            missing = f"last_branch: the driver's list says {branch} for {gpu['name']}"
            comparison.ask("drivers", f"{row['arch']} ({gpu['cc']})", missing, "supported-gpus")


def compare_gpus(comparison: Comparison) -> None:
    """gpus.yml with the list of GPUs that NVIDIA's driver carries."""
    with comparison.source("supported-gpus"):
        _compare_names(comparison)
