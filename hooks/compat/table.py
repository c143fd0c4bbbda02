"""The compatibility table: loads it for the matcher, and packs it.

People edit the YAML files in `hooks/compat/`. The matcher reads `hooks/compat/table.json`, the same
rows without sources and notes: parsing 100 kB of YAML takes a quarter of a second where PyYAML has
no C loader, the JSON file one or two milliseconds, and it needs nothing but the standard library.

    python -m hooks.compat.table            write table.json
    python -m hooks.compat.table --check    say whether it is fresh (exit status 1 if not)
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from .rows import (
    Architecture,
    CondaArch,
    CudaImage,
    CudaLine,
    Cudnn,
    Jit,
    KernelGpus,
    KernelWheels,
    NgcRelease,
    Product,
    Ptxas,
    StartCheck,
    Supplies,
    TorchCompile,
    TorchRelease,
    Triton,
    Variant,
    numbers,
)

FOLDER = Path(__file__).resolve().parent
PACKED = FOLDER / "table.json"
NAMES = ("cuda", "torch", "gpus", "drivers", "ngc", "conda", "toolkit", "jit")
ONLY_FOR_PEOPLE = ("source", "date", "note", "notes", "first_merged", "confidence", "chips")


class Table(NamedTuple):
    """All tables, typed. Mappings keep the order of the YAML files: oldest first.

    `read` maps a table's name to the day (ISO 8601) on which it was last compared with its sources.
    """

    read: dict[str, str]

    families: dict[str, str]
    renamed: dict[str, str]
    never_released: frozenset[str]
    lines: dict[str, CudaLine]
    start_checks: dict[str, StartCheck]
    start_override: str
    torch: dict[str, TorchRelease]
    hub_platforms: list[str] | None  # of pytorch/pytorch images; None: not known
    cudnn: Cudnn
    products: dict[str, Product]
    known_cc: frozenset[str]  # of a product, or a target of some nvcc
    jetson_cc: frozenset[str]  # no binary code is shared with other GPUs
    branches: dict[int, str | None]
    end_of_life: dict[int, str | None]  # month of a branch, such as "2028-06"; None: not known
    production: list[int]
    recommended: list[int]
    architectures: list[Architecture]
    product_drivers: dict[str, str]  # products whose first driver is newer than the architecture's
    ngc: dict[str, NgcRelease]
    conda: dict[str, list[str]]
    conda_complete: frozenset[str]  # releases whose list of builds is whole
    conda_oldest: dict[str, str]  # by release: there is no build of an older CUDA line
    conda_arch: list[CondaArch]  # of a line the oldest first
    supplies: list[Supplies]  # oldest first
    jit: Jit

    def conda_compiled(self, torch: str, line: str, arch: str) -> list[str] | None:
        """What conda-forge's build of a PyTorch release is compiled for; None = not known."""
        rows = (row for row in self.conda_arch if row.line == line)
        fits = [row for row in rows if numbers(row.since or "0") <= numbers(torch)]
        return fits[-1].arch[arch] if fits else None


def _torch(row: dict[str, Any]) -> TorchRelease:
    variants = {
        v["variant"]: Variant(
            name=v["variant"],
            cuda=v["cuda"],
            published=v["status"] in {"published", "reported"},
            reported=v["status"] == "reported",
            cudnn=v["cudnn"],
            arch={"x86_64": v["x86_64"], "aarch64": v["aarch64"]},
        )
        for v in row["variants"]
    }
    rest = {key: value for key, value in row.items() if key not in {"torch", "variants"}}
    return TorchRelease(version=row["torch"], variants=variants, **rest)


def _line(row: dict[str, Any]) -> CudaLine:
    nvcc = row["nvcc"] or {"targets": None, "special": []}
    return CudaLine(
        line=row["line"],
        patches=row["patches"],
        toolkit_driver=row["toolkit_driver"],
        targets=nvcc["targets"],
        special=nvcc["special"],
        image=CudaImage(**row["image"]) if row["image"] else None,
    )


def _start_checks(data: dict[str, Any]) -> dict[str, StartCheck]:
    groups = {name: frozenset(brands) for name, brands in data["brand_groups"].items()}
    return {
        row["line"]: StartCheck(
            complete=row["complete"],
            alternatives=[
                (groups[a["brands"]], frozenset(a["branches"])) for a in row["alternatives"]
            ],
        )
        for row in data["lines"]
    }


def _products(data: dict[str, Any]) -> dict[str, Product]:
    """Rows with one product first, then the groups of products that share all but their name."""
    products = {
        row["name"]: Product(
            row["name"],
            row["cc"],
            row["kind"],
            row.get("host"),
            row.get("aliases", ()),
            row["arch"],
        )
        for row in data["gpus"]
    }
    for group in data["groups"]:
        cc, kind, arch = group["cc"], group["kind"], group["arch"]
        for name in group["names"]:
            products[name] = Product(name, cc, kind, None, (), arch)
    return products


def _architecture(row: dict[str, Any]) -> Architecture:
    last = row["last_branch"]
    return Architecture(
        name=row["arch"],
        cc=row["cc"],
        first_driver=row["first_driver"],
        first_toolkit=row["first_toolkit"],
        last_branch=None if last is None else int(last),
        last_toolkit=row["last_toolkit"],
        modules=row["modules"],
    )


def _kinds(drivers: dict[str, Any], *kinds: str) -> list[int]:
    """Driver branches of one of `kinds` that NVIDIA still supported when the table was read."""
    month = drivers["read"][:7]
    return [
        int(row["branch"])
        for row in drivers["branches"]
        if row.get("kind") in kinds and (row["eol"] is None or row["eol"] >= month)
    ]


def _jit(data: dict[str, Any]) -> Jit:
    return Jit(
        torch_compile=[TorchCompile(**row) for row in data["torch_compile"]],
        triton={
            row["triton"]: Triton(
                version=row["triton"],
                platforms=row["platforms"],
                accelerated=row["accelerated"],
                float16_products=row["float16_products"],
                ptxas=[
                    Ptxas(tool["from"], tool["version"], tool["variable"], tool["newest"])
                    for tool in row["ptxas"]
                ],
            )
            for row in data["triton"]
        },
        documented=data["triton_documented"]["min_cc"],
        gpus=[KernelGpus(**row) for row in data["gpus"]],
        wheels=[KernelWheels(**row) for row in data["wheels"]],
    )


def build(data: dict[str, Any]) -> Table:
    """Type the packed tables.

    Args:
        data: what `pack` returns, or table.json.
    """
    cuda, drivers = data["cuda"], data["drivers"]
    lines = {row["line"]: _line(row) for row in cuda["lines"]}
    return Table(
        read={name: tables["read"] for name, tables in data.items()},
        families={row["major"]: row["min_driver"] for row in cuda["families"]},
        renamed={row["old"]: row["new"] for row in cuda["renamed"]},
        never_released=frozenset(row["line"] for row in cuda["never_released"]),
        lines=lines,
        start_checks=_start_checks(cuda["start_check"]),
        start_override=cuda["start_check"]["override"],
        torch={row["torch"]: _torch(row) for row in data["torch"]["releases"]},
        hub_platforms=data["torch"]["hub"]["platforms"],
        cudnn=Cudnn(**data["torch"]["cudnn"]),
        products=_products(data["gpus"]),
        known_cc=frozenset(row["cc"] for row in data["gpus"]["gpus"]).union(
            *(line.targets or () for line in lines.values())
        ),
        jetson_cc=frozenset(row["cc"] for row in data["gpus"]["gpus"] if row["kind"] == "jetson"),
        branches={int(row["branch"]): row["cuda"] for row in drivers["branches"]},
        end_of_life={int(row["branch"]): row["eol"] for row in drivers["branches"]},
        production=_kinds(drivers, "Production"),
        recommended=_kinds(drivers, "LTS", "Production"),
        architectures=[_architecture(row) for row in drivers["architectures"]],
        product_drivers={row["name"]: row["first_driver"] for row in drivers["products"]},
        ngc={
            row["release"]: NgcRelease(
                **{key: row[key] for key in NgcRelease._fields if key in row}
            )
            for row in data["ngc"]["releases"]
        },
        conda={row["torch"]: row["cuda"] for row in data["conda"]["releases"]},
        conda_complete=frozenset(
            row["torch"] for row in data["conda"]["releases"] if row["complete"]
        ),
        conda_oldest={
            row["torch"]: row["oldest"] for row in data["conda"]["releases"] if "oldest" in row
        },
        conda_arch=[
            CondaArch(
                row["line"], row["since"], {name: row[name] for name in ("x86_64", "aarch64")}
            )
            for row in data["conda"]["arch"]
        ],
        supplies=[Supplies(**row) for row in data["toolkit"]["supplies"]],
        jit=_jit(data["jit"]),
    )


@lru_cache(maxsize=1)
def load() -> Table:
    """Read table.json; the same object on every call."""
    return build(json.loads(PACKED.read_text(encoding="utf-8")))


def read_yaml(name: str, folder: Path = FOLDER) -> Any:
    """Parse one of the YAML tables, with PyYAML's C loader where there is one."""
    import yaml  # noqa: PLC0415  (only people who edit the tables need it)

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((folder / f"{name}.yml").read_text(encoding="utf-8"), Loader=loader)  # noqa: S506


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _strip(v) for k, v in value.items() if k not in ONLY_FOR_PEOPLE}
    return [_strip(item) for item in value] if isinstance(value, list) else value


def pack(folder: Path = FOLDER) -> dict[str, Any]:
    """Read the YAML tables and leave out what only people read."""
    return {name: _strip(read_yaml(name, folder)) for name in NAMES}


def packed_text(folder: Path = FOLDER) -> str:
    """The text that table.json must have: one row a line, so that a diff shows the rows."""
    parts = []
    for name, tables in pack(folder).items():
        keys = []
        for key, rows in tables.items():
            if isinstance(rows, list):
                body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
                keys.append(f"{json.dumps(key)}:[\n{body}]")
            else:
                keys.append(f"{json.dumps(key)}:{json.dumps(rows, separators=(',', ':'))}")
        parts.append(f"{json.dumps(name)}:{{\n" + ",\n".join(keys) + "}")
    return "{" + ",\n".join(parts) + "}\n"


def main(arguments: list[str]) -> int:
    """Write table.json, or with --check compare it with the YAML tables."""
    from .made_files import write_or_check  # noqa: PLC0415  (who loads the table writes no file)

    return write_or_check("hooks.compat.table", {PACKED: packed_text()}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
