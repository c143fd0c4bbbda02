"""Makes the files that `copier.yml` reads: what the questions offer, with the matcher's reasons.

Copier cannot run the matcher while it asks (that would need trust), so the answers are worked out
beforehand, checked in, and included by `copier.yml`: `choices.json` for PyTorch, CUDA and Python,
`images.json` for services that stand on NVIDIA's or PyTorch's images. JSON, because PyYAML would
add a tenth of a second to every copy. A test says when they are stale.

    python -m hooks.compat_choices            write both
    python -m hooks.compat_choices --check    say whether they are fresh (exit status 1 if not)

choices.json:

    defaults       answers that work together on a current data-center GPU and driver
    torch.VERSION  newest first; label; torchvision and torchaudio that belong to it; pypi_cuda (the
                   line that plain PyPI carries); default_cuda; default_python; cuda.LINE and
                   python.VERSION: "" = possible, else why not (same keys, same order in every row)
    cuda.LINE      newest first; label; variant and index of the wheels; min_driver (family minimum,
                   minor-version compatibility); native_driver (branch that brings this CUDA
                   itself); cca (what `auto` means where no GPU is seen); targets (all that its
                   nvcc compiles for); refuses and refuses_special (what to say of another target,
                   %s, without and with a letter)
    cca            pattern (full match) of the answer `cca`, and error
    cpu            index of the wheels without CUDA

images.json:

    cuda.LINE      newest first; patch (newest nvidia/cuda with cuDNN); cudnn (the word for it in
                   tags); distros; targets and special (what its nvcc can compile for)
    hub.VERSION    CUDA lines of the pytorch/pytorch runtime images that were seen, newest first
    ngc.RELEASE    newest first; label; cuda, torch, python, ubuntu ("" = not known)
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from hooks.compat_choice import (
    arch_reason,
    choice,
    default_cca,
    nvcc_refuses,
    python_reason,
    wheel_reason,
)
from hooks.compat_host import CCA_FORM, host
from hooks.compat_search import working
from hooks.compat_table import FOLDER, load, numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hooks.compat_table import CudaImage, CudaLine, NgcRelease, Table, TorchRelease

CURRENT_LINES = 6  # minor lines of PyTorch, and a year of NGC releases, that are not labelled old
CURRENT_NGC = 12
OLDEST_NGC = "24.01"
INDEX = "https://download.pytorch.org/whl/"
REFERENCE_GPUS = ("NVIDIA H100 80GB HBM3", "NVIDIA H200")
PREFERRED_PYTHON = "3.12"

GENERATED = "by `python -m hooks.compat_choices` from the tables beside this file; do not edit"


def _text(tables: Mapping[str, object]) -> str:
    """The text of a file: one key a line, so that a new release is a readable change."""
    return json.dumps({"generated": GENERATED, **tables}, ensure_ascii=False, indent=1) + "\n"


def offered(table: Table) -> list[TorchRelease]:
    """The releases that the questions offer, newest first."""
    return [release for release in reversed(table.torch.values()) if release.offered]


def offered_lines(table: Table) -> list[str]:
    """The CUDA lines that an offered release has a wheel for, newest first."""
    lines = {line for release in offered(table) for line in release.published}
    return sorted(lines, key=numbers, reverse=True)


def offered_pythons(table: Table) -> list[str]:
    """The Pythons that an offered release has wheels for, newest first, without free threading."""
    found = {python for release in offered(table) for python in release.python}
    return sorted((p for p in found if not p.endswith("t")), key=numbers, reverse=True)


def cuda_reason(release: TorchRelease, line: str) -> str:
    """Why the wheel of a CUDA line is not offered with a release; empty if it is."""
    return wheel_reason(release, line) or arch_reason(release, line)


def defaults(table: Table) -> dict[str, str]:
    """Answers that work, without compatibility modes, on a current data-center GPU and driver."""
    machine = host(str(table.production[-1]), list(REFERENCE_GPUS))
    options = working(machine, choice(python=PREFERRED_PYTHON), table)
    best = next(option.choice for option in options if option.judgement.layer is None)
    return {
        "torch_version": str(best.torch),
        "cuda_version": str(best.cuda),
        "python_version": str(best.python),
        "cca": "auto",
    }


def _label(version: str, newest: str, *, old: bool) -> str:
    if version == newest:
        return f"{version} (newest)"
    return f"{version} (old)" if old else version


def _torch_row(
    release: TorchRelease, label: str, lines: Iterable[str], pythons: Iterable[str]
) -> dict[str, object]:
    cuda = {line: cuda_reason(release, line) for line in lines}
    python = {version: python_reason(release, version) for version in pythons}
    possible = [version for version, reason in python.items() if not reason]
    return {
        "label": label,
        "torchvision": release.torchvision,
        "torchaudio": release.torchaudio,
        "pypi_cuda": release.pypi_cuda,
        "default_cuda": release.pypi_cuda,
        "default_python": PREFERRED_PYTHON if PREFERRED_PYTHON in possible else possible[0],
        "cuda": cuda,
        "python": python,
    }


def _cuda_row(line: CudaLine, table: Table) -> dict[str, object]:
    minimum = table.families[line.line.split(".", maxsplit=1)[0]]
    brings = [
        branch
        for branch, cuda in table.branches.items()
        if cuda and numbers(cuda) >= numbers(line.line)
    ]
    return {
        "label": f"{line.line} (driver {minimum.split('.', maxsplit=1)[0]} or newer)",
        "variant": f"cu{line.line.replace('.', '')}",
        "index": f"{INDEX}cu{line.line.replace('.', '')}",
        "min_driver": minimum,
        "native_driver": str(brings[0]),
        "cca": default_cca(line.line, table),
        "targets": " ".join([*(line.targets or ()), *line.special]),
        "refuses": nvcc_refuses(line, "%s"),
        "refuses_special": nvcc_refuses(line, "%s", special=True),
    }


def _image_row(line: CudaLine, image: CudaImage) -> dict[str, object]:
    return {
        "patch": image.patch,
        "cudnn": image.cudnn_word,
        "distros": image.distros,
        "targets": line.targets,
        "special": line.special,
    }


def _hub_row(release: TorchRelease) -> list[str]:
    """CUDA lines of the pytorch/pytorch runtime images that were seen."""
    found = {tag.split("-")[0].removeprefix("cuda") for tag in release.hub_tags if "runtime" in tag}
    return sorted(found, key=numbers, reverse=True)


def _ngc_row(release: NgcRelease, label: str) -> dict[str, object]:
    fields = ("torch", "python", "ubuntu")
    return {
        "label": label,
        "cuda": release.line or "",
        **{field: getattr(release, field) or "" for field in fields},
    }


# What the whole answer `cca` must match; whether a target exists, its CUDA line says.
CCA_PATTERN = r"auto|(?:[0-9]{1,2}\.[0-9][af]?(?:\+PTX)?(?:[ ;]+(?=[0-9])|$))+"
# A pattern cannot say which of these it met.
CCA_ERROR = f"no comma, no range, no other text and not empty: {CCA_FORM}"


def choices_text(table: Table) -> str:
    """The text that choices.json must have."""
    releases, lines, pythons = offered(table), offered_lines(table), offered_pythons(table)
    minors = list(dict.fromkeys(release.version.rpartition(".")[0] for release in releases))
    torch = {}
    for release in releases:
        old = release.version.rpartition(".")[0] not in minors[:CURRENT_LINES]
        label = _label(release.version, releases[0].version, old=old)
        torch[release.version] = _torch_row(release, label, lines, pythons)
    return _text(
        {
            "defaults": defaults(table),
            "torch": torch,
            "cuda": {line: _cuda_row(table.lines[line], table) for line in lines},
            "cca": {"pattern": CCA_PATTERN, "error": CCA_ERROR},
            "cpu": {"index": f"{INDEX}cpu"},
        }
    )


def images_text(table: Table) -> str:
    """The text that images.json must have."""
    cuda = {
        line.line: _image_row(line, line.image)
        for line in reversed(table.lines.values())
        if line.image
    }
    hub = {release.version: _hub_row(release) for release in offered(table)}
    known = [r for r in reversed(table.ngc.values()) if r.line and r.release >= OLDEST_NGC]
    ngc = {
        release.release: _ngc_row(
            release, _label(release.release, known[0].release, old=index >= CURRENT_NGC)
        )
        for index, release in enumerate(known)
    }
    rows = {version: row for version, row in hub.items() if row}
    return _text({"cuda": cuda, "hub": rows, "ngc": ngc})


FILES: dict[str, Callable[[Table], str]] = {
    "choices.json": choices_text,
    "images.json": images_text,
}


def main(arguments: list[str]) -> int:
    """Write both files, or with --check compare them with the tables."""
    table = load()
    stale = []
    for name, make in FILES.items():
        wanted = make(table)
        if "--check" not in arguments:
            (FOLDER / name).write_text(wanted, encoding="utf-8")
        elif (FOLDER / name).read_text(encoding="utf-8") != wanted:
            stale.append(name)
    if stale:
        print(f"stale: {', '.join(stale)}; run python -m hooks.compat_choices")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
