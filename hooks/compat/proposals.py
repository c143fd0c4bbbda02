"""Compares the compatibility tables with their sources, and proposes rows and changes.

Nothing is made up: a field that a source does not give is null, and where the table needs a value
that no source gives, the row is left for a person, with what is missing. Nothing is removed.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from hooks.compat.add_release import TABLES, sources_in
from hooks.compat.table import numbers
from hooks.compat.upstream import ADDRESSES, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hooks.compat.upstream import Upstream

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}  # as registries name them
BRANCH_KINDS = {
    "production branch": "Production",
    "lts branch": "LTS",
    "new feature branch": "New Feature",
}
GIVE_UP = 3  # images of a registry that cannot be read
OLDEST_DRIVER = 470  # branch; what newer ones do not drive is Kepler or older
DRIVER = r"\d{3}(\.\d+)+"
UNREADABLE = (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError)  # fmt: skip  # noqa: E501


class ForAPerson(NamedTuple):
    """What a source shows and a program cannot enter."""

    table: str
    row: str
    missing: str
    source: str


class Comparison:
    """The tables, what is found to be new, and what could not be read."""

    def __init__(self, tables: dict[str, Any], upstream: Upstream, today: str) -> None:
        """Start with nothing found.

        Args:
            tables: the parsed YAML tables and `sources`, by name; new rows are entered, so that
                later comparisons see them.
            upstream: the sources.
            today: the date of new rows.
        """
        self.tables, self.upstream, self.today = tables, upstream, today
        self.additions: list[dict[str, Any]] = []
        self.changes: dict[tuple[str, str], dict[str, Any]] = {}
        self.for_a_person: list[ForAPerson] = []
        self.problems: list[str] = []
        self.compared: set[str] = set()
        self.unread: dict[str, int] = {}
        self.newest_branch = max(map(int, self.rows("drivers")))
        self._table = ""

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What `add_release.apply` takes."""
        requests = [*self.additions, *self.changes.values()]
        copies = []
        for request in requests:
            if "row" in request:
                last = {name: request["row"].pop(name) for name in ("source", "date")}
                request["row"].update(last)
            rows = {
                name: {"what": f"{ADDRESSES[name].what}, {ADDRESSES[name].url}", "date": self.today}
                for name in sources_in(request)
                if name in ADDRESSES and name not in self.tables["sources"]
            }
            copies.append({**request, "sources": rows})
        return copies

    def run(self, table: str) -> None:
        """Compare a table with all its sources."""
        self._table = table
        self.compared.add(table)
        COMPARISONS[table](self)

    @contextmanager
    def source(self, name: str) -> Iterator[None]:
        """Whatever goes wrong inside is one sentence, and only this source is left out."""
        try:
            yield
        except UpstreamError as error:
            self._problem(str(error))
        except UNREADABLE as error:
            text = " ".join(str(error).split())[:100]
            kind = type(error).__name__
            self._problem(f"{name} cannot be read: its form is not the known one ({kind}: {text})")

    def _problem(self, sentence: str) -> None:
        self.problems.append(sentence)
        self.compared.discard(self._table)

    def rows(self, table: str) -> dict[str, dict[str, Any]]:
        """The rows of a table by what they are known by, oldest first."""
        section, key = TABLES[table]
        return {row[key]: row for row in self.tables[table][section]}

    def add(self, table: str, row: dict[str, Any], source: str) -> None:
        """Propose a row; fields that the table's rows do not have are left out."""
        section, _ = TABLES[table]
        row = {**row, "source": [source], "date": self.today}
        self.tables[table][section].append(row)
        self.additions.append({"table": table, "row": row})

    def change(self, table: str, key: str, fields: dict[str, Any], source: str) -> None:
        """Propose other values of fields; a mapping changes only what it names."""
        row = self.rows(table)[key]
        _merge(row, fields)
        for request in self.additions:
            if request["row"] is row:
                row["source"] = list(dict.fromkeys([*row["source"], source]))
                return
        new = {"table": table, "change": key, "fields": {}, "source": [], "date": self.today}
        request = self.changes.setdefault((table, key), new)
        _merge(request["fields"], fields)
        request["source"] = list(dict.fromkeys([*request["source"], source]))

    def ask(self, table: str, row: str, missing: str, source: str) -> None:
        """Leave a row for a person."""
        found = ForAPerson(table, row, missing, source)
        if found not in self.for_a_person:
            self.for_a_person.append(found)

    def has_field(self, table: str, field: str) -> bool:
        """Whether rows of a table have a field."""
        section, _ = TABLES[table]
        return any(field in row for row in self.tables[table][section])


def _merge(old: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        current = old.get(key)
        if isinstance(value, dict) and isinstance(current, dict):
            _merge(current, value)
        elif isinstance(value, dict) and isinstance(current, list):
            _merge_named(current, value)
        else:
            old[key] = value


def _merge_named(rows: list[dict[str, Any]], new: dict[str, dict[str, Any]]) -> None:
    for name, fields in new.items():
        found = [row for row in rows if next(iter(row.values())) == name]
        if found:
            _merge(found[0], fields)
        else:
            rows.append(fields)


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no mapping")  # noqa: TRY004
    return value


def _strings(value: Any, what: str) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(f"{what} is no list")  # noqa: TRY004
    return [item for item in value if isinstance(item, str)]


def _sorted(versions: Iterable[str]) -> list[str]:
    """Versions, oldest first; a t at the end (free-threaded) comes after the same without."""
    return sorted(versions, key=lambda version: (numbers(version.rstrip("t")), version))


def _line(version: str) -> str:
    return ".".join(version.split(".")[:2])


# --- CUDA ---------------------------------------------------------------------------------------


def _stub_line(comparison: Comparison, line: str, note: str, source: str) -> bool:
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


def _pair(comparison: Comparison, line: str, driver: str, row: str, source: str) -> bool:
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
    listed = _sorted(set(re.findall(r"redistrib_(\d{1,3}\.\d{1,3}\.\d{1,3})\.json", page)))
    if not listed:
        raise UpstreamError("cuda-redist cannot be read: it lists no redistrib_*.json")
    lines = comparison.rows("cuda")
    oldest = min(numbers(line) for line, row in lines.items() if row["patches"])
    never = {row["line"] for row in comparison.tables["cuda"]["never_released"]}
    for release in listed:
        line = _line(release)
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
    content = _mapping(comparison.upstream.json("cuda-redist-release", release), "the answer")
    if content.get("release_label", release) != release:
        raise ValueError(f"it is of {str(content['release_label'])[:20]}")
    driver = content.get("nvidia_driver", {}).get("version")  # from 13.4 on there is none
    if not isinstance(driver, str) or not re.fullmatch(DRIVER, driver):
        driver = None
    line = _line(release)
    if known and driver is None:
        return
    if not _stub_line(comparison, line, "", "cuda-redist"):
        return
    if driver is not None and not _pair(comparison, line, driver, release, "cuda-redist"):
        driver = None
        if known:
            return
    patches = _sorted({*comparison.rows("cuda")[line]["patches"], release})
    fields: dict[str, Any] = {"toolkit_driver": {release: driver}}
    if not known:
        fields["patches"] = patches
    comparison.change("cuda", line, fields, "cuda-redist")


def _tags(comparison: Comparison, name: str) -> list[str]:
    return _strings(_mapping(comparison.upstream.json(name), "the answer").get("tags"), "tags")


def _platforms(comparison: Comparison, name: str, tag: str) -> list[str] | None:
    """The host architectures of an image; None where its index does not say.

    After some that cannot be read, a registry that limits requests is asked no more.
    """
    if comparison.unread.get(name, 0) >= GIVE_UP:
        return None
    comparison.unread[name] = comparison.unread.get(name, 0) + 1
    index = _mapping(comparison.upstream.json(name, tag), "the answer")
    comparison.unread[name] -= 1
    found = set()
    for image in index.get("manifests") or []:
        platform = image.get("platform") or {}
        if platform.get("os") == "linux" and platform.get("architecture") in ARCHITECTURES:
            found.add(ARCHITECTURES[platform["architecture"]])
    return [name for name in ARCHITECTURES.values() if name in found] or None


def _compare_cuda_images(comparison: Comparison) -> None:
    """The newest nvidia/cuda images with cuDNN of each line."""
    pattern = (
        r"(\d+\.\d+\.\d+)-(cudnn\d?)-(?:runtime|devel)"
        r"-((?:ubuntu|rockylinux|oraclelinux|ubi)\d+(?:\.\d+)?)"
    )
    found: dict[str, dict[str, set[tuple[str, str]]]] = {}
    for tag in _tags(comparison, "hub-cuda"):
        if parts := re.fullmatch(pattern, tag):
            patch, word, distro = parts.groups()
            found.setdefault(_line(patch), {}).setdefault(patch, set()).add((word, distro))
    if not found:
        raise UpstreamError("hub-cuda cannot be read: it has no tag with cudnn")
    for line, row in comparison.rows("cuda").items():
        if line in found and row["patches"]:
            patch = _sorted(found[line])[-1]
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
        patches = {"patches": _sorted({*row["patches"], patch}), "toolkit_driver": {patch: None}}
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
        platforms = _platforms(comparison, "hub-cuda-image", tag)
    return {"platforms": platforms} if platforms else {}


def compare_cuda(comparison: Comparison) -> None:
    """cuda.yml with NVIDIA's redistributables and the tags of nvidia/cuda."""
    with comparison.source("cuda-redist"):
        _compare_releases(comparison)
    with comparison.source("hub-cuda"):
        _compare_cuda_images(comparison)


# --- drivers and GPUs ---------------------------------------------------------------------------


def _compare_driver_redist(comparison: Comparison) -> None:
    """New branches, with the CUDA of the cuda-compat that their driver carries."""
    page = comparison.upstream.text("driver-redist")
    listed = set(re.findall(r"redistrib_(\d{3}(?:\.\d{1,4}){1,2})\.json", page))
    if not listed:
        raise UpstreamError("driver-redist cannot be read: it lists no redistrib_*.json")
    newest = {driver[:3]: driver for driver in _sorted(listed)}
    for branch, driver in newest.items():
        row = comparison.rows("drivers").get(branch)
        if (row is None and int(branch) > comparison.newest_branch) or (row and not row["cuda"]):
            with comparison.source(f"driver-redist-release {driver}"):
                content = comparison.upstream.json("driver-redist-release", driver)
                component = _mapping(content, "the answer").get("cuda_compat") or {}
                found = re.match(r"(\d{2})\.(\d{1,2})\.", str(component.get("version")))
                if found:
                    line = f"{found[1]}.{found[2]}"
                    _pair(comparison, line, driver, f"{line} (cuda-compat)", "driver-redist")


def _compare_compat(comparison: Comparison) -> None:
    """The CUDA that a branch brings is the one that its user-space libraries have."""
    pattern = r"cuda-compat-(\d{1,2})-(\d{1,2})_(\d{3}(?:\.\d+)+)-"
    page = comparison.upstream.text("cuda-compat")
    found = {(f"{major}.{minor}", driver) for major, minor, driver in re.findall(pattern, page)}
    if not found:
        raise UpstreamError("cuda-compat cannot be read: it lists no package cuda-compat")
    for line, driver in sorted(found, key=lambda pair: (numbers(pair[0]), numbers(pair[1]))):
        if int(driver[:3]) > OLDEST_DRIVER:
            _pair(comparison, line, driver, f"{line} (cuda-compat)", "cuda-compat")


def _compare_branches(comparison: Comparison) -> None:
    releases = _mapping(comparison.upstream.json("driver-releases"), "the answer")
    branches = {name: entry for name, entry in releases.items() if re.fullmatch(r"\d{3}", name)}
    if not branches:
        raise UpstreamError("driver-releases cannot be read: it names no branch")
    for branch in sorted(branches):
        kind = BRANCH_KINDS.get(str(_mapping(branches[branch], branch).get("type", "")).lower())
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
    content = _mapping(comparison.upstream.json("supported-gpus"), "the answer")
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


# --- PyTorch ------------------------------------------------------------------------------------


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
    content = _mapping(comparison.upstream.json("pypi-json"), "the answer")
    found = {}
    for release, files in _mapping(content.get("releases"), "releases").items():
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
    return found, _mapping(content.get("info"), "info")


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
        info = _mapping(comparison.upstream.json(f"pypi-{package}"), "the answer").get("info")
        info = _mapping(info, "info")
        requires = _strings(info.get("requires_dist"), "requires_dist")
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
        if _stub_line(comparison, line, note, "torch-index" if complete else "pypi-json"):
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
        "python": _sorted(wheels.pythons["x86_64"]),
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
    for release in _sorted(releases):
        if release in rows:
            row = rows[release]
            known = {*row["python"], *row["python_experimental"]}
            if more := releases[release].pythons["x86_64"] - known:
                fields = {"python": _sorted({*row["python"], *more})}
                comparison.change("torch", release, fields, "pypi-json")
        elif numbers(release) > oldest:
            with comparison.source(f"pypi-torch-release {release}"):
                described = info
                if info.get("version") != release:
                    content = comparison.upstream.json("pypi-torch-release", release)
                    described = _mapping(_mapping(content, "the answer").get("info"), "info")
                requires = _strings(described.get("requires_dist"), "requires_dist")
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
            if _stub_line(comparison, _wheel_line(name), note, "torch-index"):
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
    tags = _tags(comparison, "hub-pytorch")
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


# --- NGC and conda-forge ------------------------------------------------------------------------


def _compare_ngc(comparison: Comparison) -> None:
    tags = _tags(comparison, "ngc-pytorch")
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
                platforms = _platforms(comparison, "ngc-pytorch-image", f"{release}-py3")
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
    content = _mapping(comparison.upstream.json("conda-forge"), "the answer")
    found: dict[str, dict[str, list[float]]] = {}
    for section in ("packages", "packages.conda"):
        for record in _mapping(content.get(section) or {}, section).values():
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
    for version in _sorted(found):
        if numbers(version) >= min(map(numbers, comparison.rows("conda"))):
            _compare_conda_release(comparison, version, found[version])


def _compare_conda_release(
    comparison: Comparison, version: str, lines: dict[str, list[float]]
) -> None:
    note = "Known only as the line of conda-forge builds."
    lines = {
        line: times
        for line, times in lines.items()
        if _stub_line(comparison, line, note, "conda-forge")
    }
    row = comparison.rows("conda").get(version)
    if row is not None:
        if more := _sorted(set(lines) - set(row["cuda"])):
            comparison.change("conda", version, {"cuda": [*row["cuda"], *more]}, "conda-forge")
        return
    times = [time for several in lines.values() for time in several]
    if not times:
        comparison.ask("conda", version, "the month of its first build", "conda-forge")
        return
    new: dict[str, Any] = {"torch": version, "cuda": _sorted(lines)}
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


# In this order: later ones see the rows that earlier ones propose.
COMPARISONS: dict[str, Callable[[Comparison], None]] = {
    "cuda": compare_cuda,
    "drivers": compare_drivers,
    "gpus": compare_gpus,
    "torch": compare_torch,
    "ngc": compare_ngc,
    "conda": compare_conda,
}
