"""The tables are compared with recorded answers of their sources; nothing is fetched.

The samples have the form of the real answers, cut short, with releases of a far future in them.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import shutil
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hooks.compat import add_release, refresh, upstream
from hooks.compat.add_release import AddError
from hooks.compat.proposals import COMPARISONS, Comparison
from hooks.compat.refresh import main
from hooks.compat.table import NAMES, read_yaml
from hooks.compat.upstream import ADDRESSES, Answer, Upstream, UpstreamError, file_name

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = Path(__file__).parent / "samples" / "refresh"
TODAY = dt.date(2030, 3, 4)
TABLES: dict[str, Any] = {name: read_yaml(name) for name in (*NAMES, "sources")}


def compared(samples: Path, *only: str) -> Comparison:
    """The comparison of tables with recorded answers."""
    comparison = Comparison(copy.deepcopy(TABLES), Upstream(samples), f"{TODAY}")
    for table in only or COMPARISONS:
        comparison.run(table, COMPARISONS[table])
    return comparison


def broken(tmp_path: Path, name: str, body: str | bytes | None) -> Path:
    """The samples, with another answer of one source; None takes it away."""
    folder = tmp_path / "samples"
    shutil.copytree(SAMPLES, folder)
    file = folder / file_name(ADDRESSES[name].url.format("13.9.0"))
    if body is None:
        file.unlink()
    else:
        file.write_bytes(body if isinstance(body, bytes) else body.encode())
    return folder


def asked(comparison: Comparison) -> dict[str, str]:
    return {f"{item.table} {item.row}": item.missing for item in comparison.for_a_person}


# --- what is new --------------------------------------------------------------------------------


DISTROS = next(x["image"]["distros"] for x in TABLES["cuda"]["lines"] if x["line"] == "13.3")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples, with a patch 13.3.9 that has every distribution of its line, and Debian 99."""
    folder = tmp_path_factory.mktemp("samples") / "refresh"
    shutil.copytree(SAMPLES, folder)
    file = folder / file_name(ADDRESSES["hub-cuda"].url)
    tags = json.loads(file.read_text())["tags"]
    tags += [f"13.3.9-cudnn-devel-{distro}" for distro in (*DISTROS, "debian99")]
    file.write_text(json.dumps({"tags": tags}))
    newest = [distro for distro in DISTROS if distro.startswith("ubuntu")][-1]
    manifests = folder / "registry-1.docker.io/v2/nvidia/cuda/manifests"
    target = manifests / f"13.3.9-cudnn-devel-{newest}"
    next(manifests.iterdir()).rename(target)
    return folder


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, samples: Path
) -> tuple[Path, refresh.Refresh]:
    """A repository after `--write`, and what was said."""
    root = tmp_path_factory.mktemp("repository")
    add_release.copy_of(add_release.ROOT, root)
    return root, refresh.refresh(Upstream(samples), TODAY, write=True, root=root)


def row(root: Path, table: str, key: str) -> dict[str, Any]:
    section, name = add_release.TABLES[table]
    rows = read_yaml(table, root / "hooks" / "compat")[section]
    (found,) = [row for row in rows if row[name] == key]
    return dict(found)


NEW: list[tuple[str, str, str, dict[str, Any]]] = [
    (
        *("cuda", "13.9", "cuda-redist"),
        {"patches": ["13.9.0"], "toolkit_driver": {"13.9.0": "690.10.01"}, "nvcc": None},
    ),
    ("drivers", "670", "driver-redist", {"cuda": "13.7", "eol": None}),
    ("drivers", "680", "cuda-compat", {"cuda": "13.8", "eol": None}),
    ("drivers", "690", "driver-releases", {"cuda": "13.9", "kind": "New Feature", "eol": None}),
    (
        *("gpus", "NVIDIA GeForce RTX 4095", "supported-gpus"),
        {"cc": "8.9", "arch": "Ada", "kind": "consumer"},
    ),
    ("gpus", "NVIDIA GeForce RTX 4095 Laptop GPU", "supported-gpus", {"kind": "laptop"}),
    (
        *("torch", "2.99.0", "pypi-json"),
        {
            "released": "2030-02",
            "offered": False,
            "torchvision": "0.99.0",
            "torchaudio": None,
            "python": ["3.11", "3.12", "3.13", "3.14", "3.14t", "3.15", "3.15t"],
            "complete": True,
            "pypi": {
                "variant": "cu132",
                "cudnn": "9.26.0.51",
                "triton": "3.9.0",
                "aarch64": "cu132",
            },
            "hub_tags": ["cuda13.2-cudnn9-devel", "cuda13.2-cudnn9-runtime"],
        },
    ),
    (
        *("ngc", "30.01", "ngc-pytorch"),
        {"torch": None, "cuda": None, "python": None, "platforms": ["x86_64", "aarch64"]},
    ),
    (
        *("conda", "2.99.0", "conda-forge"),
        {"cuda": ["13.0", "13.9"], "complete": False, "first_merged": "2030-01"},
    ),
]


@pytest.mark.parametrize(
    ("table", "key", "source", "fields"), NEW, ids=[f"{new[0]}-{new[1]}" for new in NEW]
)
def test_what_is_new_is_proposed_with_its_source_and_nothing_that_the_source_does_not_say(
    written: tuple[Path, refresh.Refresh], table: str, key: str, source: str, fields: dict[str, Any]
) -> None:
    root, said = written
    found = row(root, table, key)
    assert source in found["source"]
    assert found["date"] == f"{TODAY}"
    assert {name: found[name] for name in fields} == fields
    assert key in said.diff
    assert source in read_yaml("sources", root / "hooks" / "compat")


def test_a_wheel_of_a_new_release_has_no_compiled_list_until_somebody_reads_it(
    written: tuple[Path, refresh.Refresh],
) -> None:
    variants = {v["variant"]: v for v in row(written[0], "torch", "2.99.0")["variants"]}
    assert list(variants) == ["cu132", "cu139"]
    assert variants["cu132"]["cudnn"] == "9.26.0.51"
    assert variants["cu139"]["cudnn"] is None
    assert [variants[name]["x86_64"] for name in variants] == [None, None]
    # The index lists every wheel: where it has none for aarch64, there is none.
    assert [variants[name]["aarch64"] for name in variants] == [None, []]


def test_a_release_that_is_not_the_newest_is_described_by_its_own_json(
    written: tuple[Path, refresh.Refresh],
) -> None:
    found = row(written[0], "torch", "2.98.1")
    wanted = {"variant": "cu132", "cudnn": "9.24.0.43", "triton": "3.8.0", "aarch64": "cpu"}
    assert found["pypi"] == wanted
    assert found["torchvision"] is None


def test_a_yanked_release_a_candidate_and_one_without_wheels_are_not_proposed(
    written: tuple[Path, refresh.Refresh],
) -> None:
    for release in ("2.98.0", "2.99.1", "3.0.0"):
        assert f'torch: "{release}"' not in written[1].diff


def test_a_patch_of_a_known_line_changes_its_row_and_keeps_the_rest(
    written: tuple[Path, refresh.Refresh],
) -> None:
    root, said = written
    old = next(line for line in TABLES["cuda"]["lines"] if line["line"] == "13.3")
    new = row(root, "cuda", "13.3")
    assert new["patches"] == [*old["patches"], "13.3.9"]
    assert new["toolkit_driver"] == {**old["toolkit_driver"], "13.3.9": None}
    assert new["image"]["patch"] == "13.3.9"
    assert set(new["image"]["distros"]) == {*DISTROS, "ubuntu24.04", "rockylinux10"}
    assert new["image"]["platforms"] == ["x86_64", "aarch64"]
    assert new["source"] == [*old["source"], "hub-cuda"]
    kept = {name for name in old if name not in {"patches", "toolkit_driver", "image", "source"}}
    assert all(new[name] == old[name] for name in kept - {"date"})
    text = (root / "hooks/compat/cuda.yml").read_text()
    before = (add_release.ROOT / "hooks/compat/cuda.yml").read_text().splitlines()
    assert {line for line in before if "#" in line} <= set(text.splitlines())
    questions = {item.row: item.missing for item in said.for_a_person}
    assert questions["13.3"] == "whether the images of 13.3.9 still have cuDNN 9"


def test_what_is_made_from_the_tables_is_written_too_and_the_tables_have_their_day(
    written: tuple[Path, refresh.Refresh],
) -> None:
    root, _ = written
    packed = json.loads((root / "hooks/compat/table.json").read_text())
    assert packed["torch"]["releases"][-1]["torch"] == "2.99.0"
    assert "2.99.0" in (root / "docs/compatibility.md").read_text()
    assert {packed[name]["read"] for name in COMPARISONS} == {f"{TODAY}"}
    choices = json.loads((root / "hooks/compat/choices.json").read_text())
    assert "2.99.0" not in choices["torch"]  # offering it is for a person


def test_every_row_of_the_new_tables_names_a_source_that_exists(
    written: tuple[Path, refresh.Refresh],
) -> None:
    folder = written[0] / "hooks" / "compat"
    used = {
        x
        for name in (*NAMES, "failures", "questions")
        for x in add_release.sources_in(read_yaml(name, folder))
    }
    assert used == set(read_yaml("sources", folder))


def test_a_second_run_proposes_nothing(
    written: tuple[Path, refresh.Refresh], samples: Path
) -> None:
    root, _ = written
    again = refresh.refresh(Upstream(samples), TODAY, write=True, root=root)
    assert again.diff == ""
    assert again.problems == []
    later = refresh.refresh(Upstream(samples), TODAY + dt.timedelta(days=7), root=root)
    assert later.diff == ""


def test_the_date_alone_is_proposed_before_a_table_is_called_old(
    written: tuple[Path, refresh.Refresh],
) -> None:
    root, _ = written
    later = TODAY + dt.timedelta(days=refresh.RENEWED + 1)
    assert refresh.RENEWED + 7 <= refresh.OLD  # the next weekly run is not too late
    found = refresh.refresh(Upstream(SAMPLES), later, only=["ngc"], root=root)
    changed = [line for line in found.diff.splitlines() if line[0] in "+-"]
    assert f'+read: "{later}"' in changed
    assert sum("ngc.yml" in line or "read" in line for line in changed) == len(changed)


@pytest.mark.parametrize(
    ("status", "before", "after"),
    [("reported", ["8.0"], ["8.0"]), ("unknown", None, None), ("none", [], None)],
)
def test_a_wheel_that_the_index_lists_is_published_and_the_list_is_whole(
    status: str, before: list[str] | None, after: list[str] | None
) -> None:
    tables = copy.deepcopy(TABLES)
    row = tables["torch"]["releases"][-1]
    (first, *_), row["complete"] = row["variants"], False
    row["variants"] = [first]
    first |= {"variant": "cu126", "cuda": "12.6", "status": status, "x86_64": before}
    page = f"torch-{row['torch']}%2Bcu126-cp312-cp312-manylinux_2_28_x86_64.whl"
    page += page.replace("cu126", "cu130")
    recorded = Upstream(fetch=lambda *_: Answer(page.encode()), pause=0)
    comparison = Comparison(tables, recorded, "2030-01-01")
    comparison.run("torch", COMPARISONS["torch"])
    fields = comparison.changes["torch", row["torch"]]["fields"]
    assert fields["complete"] is True
    assert list(fields["variants"]) == ["cu126", "cu130"]
    assert {name: first[name] for name in ("status", "x86_64", "aarch64")} == {
        "status": "published",
        "x86_64": after,
        "aarch64": [],
    }


def test_a_list_without_a_wheel_that_is_known_is_not_called_whole(tmp_path: Path) -> None:
    newest = next(row for row in TABLES["torch"]["releases"] if row["torch"] == "2.15.0")
    page = "torch-2.15.0%2Bcu999-cp312-cp312-manylinux_2_28_x86_64.whl"
    comparison = compared(broken(tmp_path, "torch-index", page), "torch")
    if not newest["complete"]:
        assert "whether there are" in asked(comparison)["torch 2.15.0"]
    assert "complete" not in comparison.changes.get(("torch", "2.15.0"), {"fields": {}})["fields"]
    assert "cu999" not in str(comparison.changes)  # no family has CUDA 99.9


# --- what is left for a person ------------------------------------------------------------------


def test_what_no_source_says_is_left_for_a_person_with_what_is_missing() -> None:
    questions = asked(compared(SAMPLES))
    assert "compute capability" in questions["gpus NVIDIA GeForce RTX 9090"]
    assert questions["gpus NVIDIA L99"] == "kind (device id 0x26A0)"
    assert "cudnn_major" in questions["cuda 13.9"]
    assert "690" in questions["drivers Turing (7.5)"]
    assert "the CUDA that it brings" in questions["drivers 695"]
    assert "torchaudio" in questions["torch 2.99.0"]
    # An older chip shares its ids with others, so those beside it prove nothing.
    assert "compute capability" in questions["gpus NVIDIA GeForce RTX 2081"]
    for name in ("GT 430", "RIVA TNT", "wildcard", "GeForce GPU"):
        assert not any(name in question for question in questions)


def test_a_cuda_with_two_digits_behind_the_point_is_not_passed_over(tmp_path: Path) -> None:
    page = (SAMPLES / file_name(ADDRESSES["torch-index"].url)).read_text()
    odd = page.replace("cu139", "cu1310")
    questions = compared(broken(tmp_path, "torch-index", odd), "torch").for_a_person
    assert ("torch", "2.99.0", "the CUDA of cu1310", "torch-index") in questions
    shutil.rmtree(tmp_path / "samples")
    builds = (SAMPLES / file_name(ADDRESSES["conda-forge"].url)).read_text()
    odd = builds.replace("cuda139_", "cuda1310_")
    questions = compared(broken(tmp_path, "conda-forge", odd), "conda").for_a_person
    assert ("conda", "2.99.0", "the CUDA of cuda1310", "conda-forge") in questions


def test_a_triton_that_the_jit_table_lacks_is_left_for_a_person() -> None:
    tables = {**copy.deepcopy(TABLES), "jit": {"triton": [{"triton": "3.8.0"}]}}
    comparison = Comparison(tables, Upstream(SAMPLES), f"{TODAY}")
    comparison.run("torch", COMPARISONS["torch"])
    questions = asked(comparison)
    assert "jit Triton 3.9.0" in questions
    assert "jit Triton 3.8.0" not in questions


def test_names_that_stand_in_a_group_are_known() -> None:
    tables = copy.deepcopy(TABLES)
    group = {"cc": "13.0", "arch": "Next", "kind": "consumer", "chips": ["GX100"]}
    names = ["NVIDIA GeForce RTX 9090", "NVIDIA GeForce RTX 4095 (AD102)"]
    tables["gpus"].setdefault("groups", []).append({**group, "names": names})
    comparison = Comparison(tables, Upstream(SAMPLES), f"{TODAY}")
    comparison.run("gpus", COMPARISONS["gpus"])
    new = {request["row"]["name"] for request in comparison.additions}
    new |= {item.row for item in comparison.for_a_person}
    assert not {"NVIDIA GeForce RTX 9090", "NVIDIA GeForce RTX 4095"} & new
    assert "NVIDIA L99" in new


def test_an_image_that_lacks_older_distributions_is_not_taken_by_itself(tmp_path: Path) -> None:
    tags = {"tags": ["13.3.9-cudnn-devel-ubuntu26.04"]}
    comparison = compared(broken(tmp_path, "hub-cuda", json.dumps(tags)), "cuda")
    assert ("cuda", "13.3") not in comparison.changes
    assert f"no images for {DISTROS[0]}" in asked(comparison)["cuda 13.3"]


def test_a_driver_that_contradicts_its_branch_is_not_entered(tmp_path: Path) -> None:
    release = {"release_label": "13.9.0", "nvidia_driver": {"version": "580.99.01"}}
    comparison = compared(broken(tmp_path, "cuda-redist-release", json.dumps(release)), "cuda")
    (new,) = [x["row"] for x in comparison.additions if x["table"] == "cuda"]
    assert new["toolkit_driver"] == {"13.9.0": None}
    assert "580.99.01" in asked(comparison)["cuda 13.9.0"]


def test_a_major_that_is_not_known_is_not_entered(tmp_path: Path) -> None:
    page = "redistrib_14.0.0.json"
    folder = broken(tmp_path, "cuda-redist", page)
    file = folder / file_name(ADDRESSES["cuda-redist-release"].url.format("14.0.0"))
    file.write_text('{"release_label": "14.0.0"}')
    comparison = compared(folder, "cuda")
    assert not comparison.additions
    assert "families" in asked(comparison)["cuda 14.0"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "workstation"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", None),
        ("GeForce GTX 1070 with Max-Q Design", "laptop"),
        ("NVIDIA GeForce 940M", "laptop"),
        ("NVIDIA H300", None),
    ],
)
def test_the_kind_of_a_gpu_is_what_its_name_says(name: str, kind: str | None) -> None:
    chips = [
        {"devid": "0x2684", "name": "NVIDIA GeForce RTX 4090"},
        {"devid": "0x2690", "name": f"{name} 99"},
        {"devid": "0x26B1", "name": "NVIDIA RTX 6000 Ada Generation"},
    ]
    recorded = Comparison(copy.deepcopy(TABLES), Upstream(fetch=answers(chips=chips)), "2030-01-01")
    recorded.run("gpus", COMPARISONS["gpus"])
    kinds = [request["row"]["kind"] for request in recorded.additions]
    assert kinds == ([] if kind is None else [kind])


def answers(**content: Any) -> Callable[[str, dict[str, str], int], Answer]:
    """A fetch that answers every address with this."""
    return lambda *_: Answer(json.dumps(content).encode())


# --- broken answers -----------------------------------------------------------------------------

DEEP = "[" * 100_000
BROKEN: list[tuple[str, str, str | bytes | None]] = [
    ("cuda", "cuda-redist", "<html>Access denied</html>"),
    ("cuda", "cuda-redist-release", "<html>Access denied</html>"),
    ("cuda", "cuda-redist-release", '{"release_label": "1.0.0"}'),
    ("cuda", "cuda-redist-release", '{"nvidia_driver": 3}'),
    ("cuda", "hub-cuda", '{"errors": [{"code": "UNAUTHORIZED"}]}'),
    ("cuda", "hub-cuda", '{"tags": {"a": 1}}'),
    ("drivers", "driver-redist", ""),
    ("drivers", "cuda-compat", "<html>cuda-nvcc-13-4_13.4.92-1_amd64.deb</html>"),
    ("drivers", "driver-releases", "[]"),
    ("drivers", "driver-releases", '{"999": "x"}'),
    ("drivers", "driver-releases", None),
    ("gpus", "supported-gpus", '{"chips": [3]}'),
    ("gpus", "supported-gpus", '{"chips": "many"}'),
    ("gpus", "supported-gpus", b"\xff\xfe\x00"),
    ("torch", "pypi-json", "<!DOCTYPE html><p>Client Challenge</p>"),
    ("torch", "pypi-json", '{"releases": {"2.99.0": null}, "info": {}}'),
    ("torch", "pypi-json", DEEP),
    ("torch", "torch-index", "{}"),
    ("torch", "hub-pytorch", "null"),
    ("ngc", "ngc-pytorch", '{"tags": null}'),
    ("ngc", "ngc-pytorch", ""),
    ("conda", "conda-forge", '{"packages": []'),
    ("conda", "conda-forge", '{"packages": {"x": 3}}'),
    (
        *("conda", "conda-forge"),
        (
            '{"packages": {"x": {"name": "pytorch", "version": "2.99.0", "build": "cuda130_x",'
            ' "timestamp": 1e300}}}'
        ),
    ),
]


@pytest.mark.parametrize(("table", "name", "body"), BROKEN)
def test_a_broken_answer_is_one_sentence_that_names_its_source(
    tmp_path: Path, table: str, name: str, body: str | bytes | None
) -> None:
    comparison = compared(broken(tmp_path, name, body), table)
    (problem,) = comparison.problems
    assert name in problem
    assert "\n" not in problem
    assert len(problem) < 250
    assert table not in comparison.compared


def test_the_other_sources_are_still_compared_and_the_status_says_that_one_was_not(
    tmp_path: Path,
) -> None:
    outcome = refresh.refresh(Upstream(broken(tmp_path, "ngc-pytorch", "<html>")), TODAY)
    assert outcome.status == 2
    assert outcome.problems == ["ngc-pytorch cannot be read: a web page in place of JSON"]
    assert '+  - torch: "2.99.0"' in outcome.diff
    assert "ngc.yml" not in outcome.diff  # its date too


def test_a_row_that_does_not_fit_its_table_is_left_out_and_the_others_are_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(comparison: Comparison) -> None:
        comparison.add("ngc", {"release": "next"}, "ngc-pytorch")
        new = {**TABLES["ngc"]["releases"][-1], "release": "30.02"}
        comparison.add("ngc", new, "ngc-pytorch")

    monkeypatch.setitem(COMPARISONS, "ngc", odd)
    outcome = refresh.refresh(Upstream(tmp_path), TODAY, only=["ngc"])
    assert outcome.status == 2
    assert outcome.problems == ["ngc.yml sorts its rows by number: next is none"]
    assert "30.02" in outcome.diff
    assert "next" not in outcome.diff


# --- fetching -----------------------------------------------------------------------------------


def test_only_https_addresses_of_the_known_hosts_are_ever_opened() -> None:
    for url in (
        "http://pypi.org/pypi/torch/json",
        "https://pypi.org.evil.example/pypi/torch/json",
        "file:///etc/passwd",
        "https://user@evil.example/",
    ):
        with pytest.raises(UpstreamError, match="not an https address"):
            upstream.open_address(url, {}, 100)
    redirects = upstream._Redirects()
    with pytest.raises(UpstreamError):
        redirects.redirect_request(None, None, 302, "", {}, "http://pypi.org/")


def test_every_address_is_https_on_a_public_host_and_has_a_file_of_its_own() -> None:
    files = {file_name(address.url) for address in ADDRESSES.values()}
    assert len(files) == len(ADDRESSES)
    assert all(address.url.startswith("https://") for address in ADDRESSES.values())
    assert "None" not in map(str, upstream.HOSTS)
    assert file_name("https://pypi.org/../../x/./y") == "pypi.org/x/y"


class Fetch:
    """Answers in turn: a body, or an error to raise."""

    def __init__(self, *turns: bytes | Exception | Answer) -> None:
        self.turns, self.asked = list(turns), []  # type: ignore[var-annotated]

    def __call__(self, url: str, headers: dict[str, str], limit: int) -> Answer:
        self.asked.append((url, headers, limit))
        turn = self.turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return turn if isinstance(turn, Answer) else Answer(turn)


def http_error(code: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("https://pypi.org/", code, "no", {}, None)  # type: ignore[arg-type]


def test_a_passing_failure_is_tried_again_and_a_final_one_is_not() -> None:
    fetch = Fetch(http_error(503), TimeoutError("slow"), b"{}")
    assert Upstream(fetch=fetch, pause=0).json("pypi-json") == {}
    fetch = Fetch(http_error(404), b"{}")
    with pytest.raises(UpstreamError, match=r"pypi-json cannot be read: HTTP 404"):
        Upstream(fetch=fetch, pause=0).json("pypi-json")
    assert len(fetch.asked) == 1
    fetch = Fetch(*[urllib.error.URLError("no such host\n")] * 3)
    with pytest.raises(UpstreamError, match=r"cannot be read: no such host$"):
        Upstream(fetch=fetch, pause=0).json("pypi-json")


class Endless:
    """A response that never ends."""

    headers: dict[str, str] = {}  # noqa: RUF012

    def __enter__(self) -> Endless:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read(self, size: int) -> bytes:
        return b" " * size


def test_a_gigantic_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    opener = type("Opener", (), {"open": lambda *_, **__: Endless()})()
    monkeypatch.setattr(upstream.urllib.request, "build_opener", lambda *_: opener)  # type: ignore[attr-defined]
    url = ADDRESSES["pypi-json"].url
    with pytest.raises(UpstreamError, match="larger than 2,097,152 bytes"):
        upstream.open_address(url, {}, 2 * upstream.MIB)
    monkeypatch.setattr(upstream, "PATIENCE", -1.0)
    with pytest.raises(UpstreamError, match="longer than"):
        upstream.open_address(url, {}, 2 * upstream.MIB)


def test_a_registry_gets_its_token_and_the_pages_of_its_tags_are_joined(tmp_path: Path) -> None:
    following = "https://nvcr.io/v2/nvidia/pytorch/tags/list?last=a"
    fetch = Fetch(b'{"token": "t.o-k"}', Answer(b'{"tags": ["a"]}', following), b'{"tags": ["b"]}')
    assert Upstream(record=tmp_path, fetch=fetch).json("ngc-pytorch") == {"tags": ["a", "b"]}
    assert [url for url, _, _ in fetch.asked] == [
        "https://nvcr.io/proxy_auth?scope=repository:nvidia/pytorch:pull",
        ADDRESSES["ngc-pytorch"].url,
        following,
    ]
    assert fetch.asked[2][1]["Authorization"] == "Bearer t.o-k"
    assert Upstream(tmp_path).json("ngc-pytorch") == {"tags": ["a", "b"]}
    assert "t.o-k" not in "".join(file.read_text() for file in tmp_path.rglob("list"))


def test_a_next_page_on_another_host_is_refused() -> None:
    link = upstream._next_page('<https://evil.example/x>; rel="next"', "https://nvcr.io/v2/")
    fetch = Fetch(b'{"token": "t"}', Answer(b'{"tags": []}', link))
    with pytest.raises(UpstreamError, match="evil"):
        Upstream(fetch=fetch).json("ngc-pytorch")
    page = upstream._next_page('</v2/x/tags/list?last=b>; rel="next"', "https://nvcr.io/v2/a")
    assert page == "https://nvcr.io/v2/x/tags/list?last=b"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"token": "a\\r\\nX: y"}'])
def test_a_token_that_is_none_is_not_sent(body: bytes) -> None:
    with pytest.raises(UpstreamError, match="ngc-pytorch"):
        Upstream(fetch=Fetch(*[body] * 3), pause=0).json("ngc-pytorch")


# --- the command --------------------------------------------------------------------------------


def test_the_command_shows_a_diff_writes_a_report_and_says_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--from", f"{SAMPLES}", "--only", "ngc, conda", "--at", f"{TODAY}"]
    assert main([*arguments, "--report", f"{tmp_path / 'report.md'}"]) == 1
    said = capsys.readouterr()
    assert '+  - release: "30.01"' in said.out
    assert "torch.yml" not in said.out
    assert "for a person: ngc 30.01: PyTorch, CUDA" in said.err
    assert "For a person to fill in:\n\n- ngc 30.01" in (tmp_path / "report.md").read_text()


def test_nothing_new_is_said_by_the_status(
    written: tuple[Path, refresh.Refresh], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--from", f"{SAMPLES}", "--only", "conda,ngc", "--at", f"{TODAY}"]
    assert main(arguments, written[0]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "torch,tensorflow"], "no table tensorflow"),
        (["--from", "/no/such/folder"], "no folder /no/such/folder"),
        (["--age", "--at", "12.5"], "12.5 is not a date"),
    ],
)
def test_wrong_usage_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


def test_a_table_that_was_not_compared_for_a_month_is_called_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    folder = tmp_path / "hooks" / "compat"
    folder.mkdir(parents=True)
    for name in NAMES:
        read = "2030-01-31" if name in {"ngc", NAMES[-1]} else "2030-02-02"
        (folder / f"{name}.yml").write_text(f'read: "{read}"\n')
    assert main(["--age", "--at", "2030-03-01"], tmp_path) == 0
    capsys.readouterr()
    assert main(["--age", "--at", "2030-03-03"], tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    (old,) = [line for line in lines if "Run:" in line]
    (by_hand,) = [line for line in lines if "No program reads its sources" in line]
    assert by_hand.startswith(f"{NAMES[-1]}.yml")
    assert old.startswith("ngc.yml was compared with its sources on 2030-01-31, 31 days ago")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    main(["--age", "--at", "2030-03-03"], tmp_path)
    assert f"::warning::{old}" in capsys.readouterr().out


def test_a_row_that_is_not_there_cannot_be_changed() -> None:
    text = (add_release.ROOT / "hooks/compat/conda.yml").read_text()
    request = {"change": "9.9.9", "fields": {}, "source": ["feedstock"], "date": "2030-01-01"}
    with pytest.raises(AddError, match=r"no row 9\.9\.9"):
        add_release.change(text, "conda", [request])


def test_a_change_reaches_fields_at_every_depth_and_leaves_the_rest() -> None:
    text = """\
releases:
  - torch: "1.0.0"  # one
    pypi: {variant: "cu100", cudnn: "7"}
    variants:
      - {variant: "cu092", cuda: "9.2", x86_64: null,
         source: [a], date: "2020-01-01"}
      - {variant: "cu100", cuda: "10.0", source: [a], date: "2020-01-01"}
    hub_tags: []
    source: [a]
    date: "2020-01-01"
  # the last
  - {torch: "1.1.0", source: [a], date: "2020-01-01"}
"""
    new = {name: {"variant": name} for name in ("cu101", "cu095")}
    fields = {
        "pypi": {"aarch64": None, "cudnn": "8"},
        "variants": {"cu092": {"x86_64": ["5.0"]}, **new},
        "complete": True,
    }
    common = {"source": ["b", "a"], "date": "2030-01-01"}
    requests = [
        {"change": "1.0.0", "fields": fields, **common},
        {"change": "1.1.0", "fields": {"complete": False}, **common},
    ]
    changed = add_release.change(text, "torch", requests)
    first, second = yaml.safe_load(changed)["releases"]
    assert first["pypi"] == {"variant": "cu100", "cudnn": "8", "aarch64": None}
    assert [v["variant"] for v in first["variants"]] == ["cu092", "cu095", "cu100", "cu101"]
    assert first["variants"][0]["x86_64"] == ["5.0"]
    assert first["complete"] is True
    assert first["source"] == ["a", "b"]
    assert second == {
        "torch": "1.1.0",
        "complete": False,
        "source": ["a", "b"],
        "date": "2030-01-01",
    }
    assert "# one\n" in changed
    assert "\n  # the last\n" in changed
