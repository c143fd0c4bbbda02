"""The tables say what they mean: valid, sorted, sourced, and free of contradictions."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hooks.compat import make_choices
from hooks.compat.add_release import GENERATORS
from hooks.compat.rows import numbers
from hooks.compat.table import FOLDER, NAMES, load, read_yaml
from hooks.matcher.choices import cuda_tag, hub_tag
from tests.support.generated import GENERATED, is_fresh

SCHEMA = read_yaml("schema")
FOR_PEOPLE = ("failures", "questions", "sources")
TABLES: dict[str, Any] = {name: read_yaml(name) for name in (*NAMES, *FOR_PEOPLE)}
TABLE = load()


def rows(value: Any) -> list[dict[str, Any]]:
    """Every mapping in a table that names its source."""
    found = []
    if isinstance(value, dict):
        found += [value] if "source" in value else []
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            found += rows(item)
    return found


@pytest.mark.parametrize("name", TABLES)
def test_a_table_fits_its_schema(name: str) -> None:
    schema = {**SCHEMA["properties"][name], "$defs": SCHEMA["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(TABLES[name])


def test_the_schema_refuses_an_unquoted_version() -> None:
    broken = {"releases": [{"torch": "2.13.0", "cuda": [12.9]}]}
    schema = {**SCHEMA["properties"]["conda"], "$defs": SCHEMA["$defs"]}
    messages = [e.message for e in jsonschema.Draft202012Validator(schema).iter_errors(broken)]
    assert any("12.9 is not of type 'string'" in message for message in messages)


@pytest.mark.parametrize("name", [*NAMES, "questions"])
def test_every_row_names_a_source_that_exists_and_every_table_a_date(name: str) -> None:
    for row in rows(TABLES[name]):
        missing = set(row["source"]) - set(TABLES["sources"])
        assert not missing, f"{name}: {missing} is not in sources.yml"
        assert row["date"]


def test_no_source_is_left_over() -> None:
    used = {source for name in TABLES for row in rows(TABLES[name]) for source in row["source"]}
    assert set(TABLES["sources"]) == used


@pytest.mark.parametrize("name", [*(f"{table}.yml" for table in TABLES), make_choices.FILE.name])
def test_every_version_in_a_table_is_quoted(name: str) -> None:
    tree = yaml.compose((FOLDER / name).read_text(encoding="utf-8"))
    scalars = [n for n in walk(tree) if isinstance(n, yaml.ScalarNode) and n.style is None]
    loose = [n.value for n in scalars if re.fullmatch(r"[\d.]+|\d{4}-\d\d-\d\d", n.value)]
    assert loose == []


def walk(node: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [node, *(n for pair in node.value for part in pair for n in walk(part))]
    if isinstance(node, yaml.SequenceNode):
        return [node, *(n for part in node.value for n in walk(part))]
    return [node] if node else []


SORTED = {
    "CUDA lines": list(TABLE.lines),
    "start checks": list(TABLE.start_checks),
    "PyTorch releases": list(TABLE.torch),
    "driver branches": [str(branch) for branch in TABLE.branches],
    "NGC releases": list(TABLE.ngc),
    "conda-forge releases": list(TABLE.conda),
    **{f"nvcc targets of {x.line}": x.targets or [] for x in TABLE.lines.values()},
    **{f"patches of {x.line}": x.patches for x in TABLE.lines.values()},
    **{f"variants of {x.version}": list(x.variants) for x in TABLE.torch.values()},
    **{f"Pythons of {x.version}": x.python for x in TABLE.torch.values()},
    **{
        f"code of {x.version} {v.name} {arch}": code or []
        for x in TABLE.torch.values()
        for v in x.variants.values()
        for arch, code in v.arch.items()
    },
}


@pytest.mark.parametrize("what", SORTED)
def test_a_list_is_sorted_and_says_nothing_twice(what: str) -> None:
    listed = SORTED[what]
    key = [(numbers(re.sub(r"^cu|\+PTX$|t$", "", item)), item) for item in listed]
    assert key == sorted(key)
    assert len(set(listed)) == len(listed)


def test_an_alias_names_one_gpu() -> None:
    aliases = [alias for product in TABLE.products.values() for alias in product.aliases]
    assert len({*aliases, *TABLE.products}) == len(aliases) + len(TABLE.products)


def test_gpus_are_sorted_by_compute_capability_then_name_and_named_once() -> None:
    rows, groups = TABLES["gpus"]["gpus"], TABLES["gpus"]["groups"]
    keys = [(numbers(row["cc"]), row["name"].lower(), row["name"]) for row in rows]
    assert keys == sorted(keys)
    assert [numbers(group["cc"]) for group in groups] == sorted(
        numbers(group["cc"]) for group in groups
    )
    for group in groups:
        assert group["names"] == sorted(group["names"], key=lambda name: (name.lower(), name))
    named = [row["name"] for row in rows] + [name for group in groups for name in group["names"]]
    assert len(named) == len({name.removeprefix("NVIDIA ") for name in named})
    assert len(named) == len(TABLE.products)


def test_every_wheel_variant_has_its_cuda_line_and_is_named_after_it() -> None:
    for release in TABLE.torch.values():
        for variant in release.variants.values():
            assert variant.cuda in TABLE.lines, f"{release.version} {variant.name}"
            assert variant.name == f"cu{variant.cuda.replace('.', '')}"


def test_every_line_has_a_family_and_every_conda_and_ngc_row_a_line() -> None:
    assert {line.split(".")[0] for line in TABLE.lines} <= set(TABLE.families)
    assert {line for lines in TABLE.conda.values() for line in lines} <= set(TABLE.lines)
    assert {row.line for row in TABLE.conda_arch} <= set(TABLE.lines)
    assert {r.line for r in TABLE.ngc.values() if r.line} <= set(TABLE.lines)
    assert set(TABLE.start_checks) <= set(TABLE.lines)


def test_a_number_that_was_never_released_is_one_that_a_driver_shows() -> None:
    assert not TABLE.never_released & set(TABLE.lines)
    assert set(TABLE.never_released) <= {cuda for cuda in TABLE.branches.values() if cuda}


def test_pypi_carries_a_published_variant() -> None:
    for release in TABLE.torch.values():
        variant = release.variants[str(release.pypi["variant"])]
        assert variant.published
        assert not variant.reported


def test_no_wheel_holds_code_that_its_nvcc_cannot_make() -> None:
    for release in TABLE.torch.values():
        for variant in release.variants.values():
            possible = TABLE.lines[variant.cuda].targets
            for code in variant.arch.values():
                made = {entry.removesuffix("+PTX") for entry in code or []}
                assert possible is None or made <= set(possible), f"{release.version} {variant}"


def test_a_branch_brings_more_cuda_than_an_older_one() -> None:
    brought = [numbers(cuda) for cuda in TABLE.branches.values() if cuda]
    assert all(old < new for old, new in itertools.pairwise(brought))


def test_the_first_driver_of_a_toolkit_belongs_to_a_branch_that_brings_it() -> None:
    for line in TABLE.lines.values():
        for driver in filter(None, line.toolkit_driver.values()):
            brought = TABLE.branches[numbers(driver)[0]]
            assert brought == line.line, f"CUDA {line.line}, driver {driver}"


def test_a_family_starts_at_a_driver_whose_branch_brings_its_first_line() -> None:
    for major, driver in TABLE.families.items():
        assert TABLE.branches[numbers(driver)[0]] == f"{major}.0"


def test_an_architecture_ends_with_the_last_toolkit_that_can_target_it() -> None:
    for old in TABLE.architectures:
        if old.last_toolkit is None:
            continue
        last = TABLE.lines.get(old.last_toolkit)  # CUDA 10 is older than the table
        newer = [x for x in TABLE.lines.values() if numbers(x.line) > numbers(old.last_toolkit)]
        assert last is None or set(old.cc) & set(last.targets or [])
        assert not any(set(old.cc) & set(line.targets or []) for line in newer)
        assert old.last_branch in TABLE.branches


def test_every_gpu_has_one_row_of_its_architecture() -> None:
    listed = [cc for row in TABLE.architectures for cc in row.cc]
    assert len(set(listed)) == len(listed)
    assert {cc for cc in TABLE.known_cc if numbers(cc) >= (3, 0)} <= set(listed)


def test_the_first_driver_of_an_architecture_brings_its_first_toolkit() -> None:
    """A driver older than the first CUDA for a GPU cannot hold code for it."""
    for row in TABLE.architectures:
        if row.first_driver and row.first_toolkit:
            brings = TABLE.branches[numbers(row.first_driver)[0]]
            assert numbers(brings or "0") >= numbers(row.first_toolkit), row


def test_an_architecture_starts_with_the_first_toolkit_that_can_target_it() -> None:
    oldest = next(numbers(line.line) for line in TABLE.lines.values() if line.targets)
    for row in TABLE.architectures:
        if row.first_toolkit in TABLE.lines:
            first = numbers(row.first_toolkit)
            able = [
                numbers(line.line)
                for line in TABLE.lines.values()
                if set(row.cc) & set(line.targets or [])
            ]
            assert min(able) == max(first, oldest)


def test_a_product_needs_a_newer_driver_than_its_architecture() -> None:
    for name, driver in TABLE.product_drivers.items():
        cc = TABLE.products[name].cc
        row = next(one for one in TABLE.architectures if cc in one.cc)
        assert row.first_driver
        assert numbers(driver) > numbers(row.first_driver)


def test_blackwell_needs_the_open_modules_and_what_is_older_than_turing_the_proprietary() -> None:
    for row in TABLE.architectures:
        major = numbers(row.cc[0])[0]
        if row.modules == "open":
            assert major >= 10
        if numbers(row.cc[0]) < (7, 5):
            assert row.modules == "proprietary"


def test_a_branch_past_its_end_of_support_is_not_recommended() -> None:
    assert TABLE.end_of_life[535] == "2026-06"
    assert 535 not in TABLE.recommended
    assert {580, 595, 620} <= set(TABLE.recommended)


def test_every_table_says_when_it_was_read() -> None:
    assert set(TABLE.read) == set(NAMES)
    for name in NAMES:
        assert max(str(row["date"]) for row in rows(TABLES[name])) <= TABLE.read[name], name


def test_no_wheel_for_an_architecture_is_not_the_same_as_not_known() -> None:
    none = TABLE.torch["2.3.1"].variants["cu121"]
    assert none.arch["aarch64"] == []
    assert none.has_wheel("aarch64") is False
    unknown = TABLE.torch["2.11.0"].variants["cu129"]
    assert unknown.arch["aarch64"] is None
    assert unknown.has_wheel("aarch64") is None
    assert unknown.has_wheel("x86_64") is True
    dropped = TABLE.torch["2.15.0"].variants["cu126"]
    assert not dropped.published
    assert dropped.has_wheel("x86_64") is False


def test_only_a_whole_list_says_that_there_is_no_wheel() -> None:
    release = TABLE.torch["2.14.1"]
    assert release.complete
    assert release.has_wheel("12.9", "x86_64") is False
    partial = release._replace(complete=False)
    assert partial.has_wheel("12.9", "x86_64") is None
    assert partial.has_wheel("13.2", "x86_64") is True


def test_a_variant_that_does_not_exist_has_no_code_and_one_that_does_has_some() -> None:
    for row in TABLES["torch"]["releases"]:
        for one in row["variants"]:
            where = f"{row['torch']} {one['variant']}"
            assert (one["status"] == "none") == (one["x86_64"] == []), where
            assert one["status"] != "none" or one["aarch64"] == [], where


def test_what_pypi_carries_for_aarch64_is_a_wheel_that_exists() -> None:
    """CPU-only up to 2.10; from 2.11 on the variant of x86_64."""
    for release in TABLE.torch.values():
        carried = release.pypi["aarch64"]
        assert carried == ("cpu" if numbers(release.version) < (2, 11) else release.pypi["variant"])
        assert carried == "cpu" or release.variants[str(carried)].has_wheel("aarch64")


@pytest.mark.parametrize(
    ("version", "line"),
    [("2.9.0", "12.9"), ("2.9.1", "12.9"), ("2.10.0", "12.9"), ("2.13.0", "12.9")],
)
def test_a_wheel_that_is_on_the_index_is_not_denied(version: str, line: str) -> None:
    assert TABLE.torch[version].has_wheel(line, "x86_64")


def test_conda_forge_lists_that_may_grow_are_not_called_whole() -> None:
    assert "2.11.0" in TABLE.conda_complete
    assert not {"2.12.1", "2.13.0"} & TABLE.conda_complete


def test_image_tags_come_from_the_rules() -> None:
    words = {"8": "cudnn8", "9": "cudnn"}
    for line in TABLE.lines.values():
        if line.image:
            # The word follows cuDNN's major, but for 12.3, the only line that says cudnn9.
            expected = "cudnn9" if line.line == "12.3" else words[line.image.cudnn_major]
            assert line.image.cudnn_word == expected
            assert line.image.patch in line.patches
            assert cuda_tag(line, "devel", "d") == f"{line.image.patch}-{expected}-devel-d"
            assert cuda_tag(line, "base", "d") == f"{line.image.patch}-base-d"


def test_every_hub_tag_seen_is_the_one_the_rule_makes() -> None:
    for release in TABLE.torch.values():
        made = {
            hub_tag(release, variant.cuda, flavour)
            for variant in release.variants.values()
            for flavour in ("runtime", "devel")
        }
        assert {f"{release.version}-{tag}" for tag in release.hub_tags} <= made


def test_no_start_check_names_a_branch_that_brings_its_cuda_anyway() -> None:
    for line, check in TABLE.start_checks.items():
        for _, branches in check.alternatives:
            for branch in branches:
                assert numbers(TABLE.branches[int(branch)] or "0") < numbers(line)


def test_an_offered_release_can_be_chosen_in_full() -> None:
    for release in make_choices.offered(TABLE):
        lines = [x for x in release.published if not make_choices.cuda_reason(release, x)]
        assert release.pypi_cuda in lines


# Offered rows are answers in people's projects: one that went away would change to the default
# at the next update, in silence. So this list only grows.
OFFERED = ["2.6.0", "2.7.1", "2.8.0", "2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.13.0", "2.14.1"]
OFFERED += ["2.15.0"]


def test_nothing_once_offered_is_gone() -> None:
    assert set(OFFERED) <= {release.version for release in make_choices.offered(TABLE)}


@pytest.mark.parametrize("file", GENERATED, ids=lambda file: file.name)
def test_what_is_made_from_other_files_is_fresh(file: Path) -> None:
    assert is_fresh(file), f"run python -m {GENERATED[file][0]}"


def test_what_is_held_to_be_fresh_is_all_that_a_new_release_makes_again() -> None:
    modules = dict.fromkeys(module for module, _ in GENERATED.values())
    assert tuple(name for name in modules if name.startswith("hooks.compat.")) == GENERATORS


def test_what_the_questions_read_survives_jinja_and_stays_small() -> None:
    text = make_choices.FILE.read_text(encoding="utf-8")
    assert not re.search(r"\{[{%#]", text)
    assert len(text) < 30_000


def test_a_reason_can_stand_between_the_quotes_of_a_question() -> None:
    for row in json.loads((FOLDER / "choices.json").read_text())["torch"].values():
        for reason in [*row["cuda"].values(), *row["python"].values()]:
            assert not set(reason) & set('"\\{}')
