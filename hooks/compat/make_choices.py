"""Makes `choices.json`, which `copier.yml` reads: what the questions offer, with the reasons.

Copier cannot run the matcher while it asks (that would need trust), so the answers are worked out
beforehand, checked in, and included by `copier.yml`. JSON, because PyYAML would add a tenth of a
second to every copy. A test says when the file is stale.

    python -m hooks.compat.make_choices            write it
    python -m hooks.compat.make_choices --check    say whether it is fresh (exit status 1 if not)

    defaults       answers that work together on a current data-center GPU and driver
    torch.VERSION  newest first; label; torchvision, torchaudio and triton that belong to it;
                   pypi_cuda (the line that plain PyPI carries); default_cuda; default_python;
                   cuda.LINE and python.VERSION: "" = possible, else why not (same keys, same order
                   in every row); code.LINE: what the wheels of the possible lines have code for
    cuda.LINE      newest first; label; index of the wheels ("" = no release has one); min_driver
                   (family minimum, minor-version compatibility); cca (what `auto` means where no
                   GPU is seen); targets (all that its nvcc compiles for); refuses and
                   refuses_special (what to say of another target, %s, without and with a letter);
                   patch and cudnn (newest nvidia/cuda image with cuDNN, and the word for cuDNN in
                   its tags) and distros, as tags name them; the three are empty without an image
    hub.VERSION    the pytorch/pytorch images that were seen: LINE, newest first, then runtime and
                   devel: the tag, "" = not seen
    conda.VERSION  the releases with a conda-forge build, newest first; default_cuda ("" = none of
                   them is known well enough); cuda.LINE, oldest first: "" = possible, else why not
    ngc.RELEASE    newest first; label; cuda, torch, python, ubuntu ("" = not known); cca: what its
                   torch is compiled for, as far as it is known
    cca            pattern (full match) of the answer `cca`, and error
    arm            pattern (found anywhere) of the GPUs whose machines have Arm processors
    cpu            index of the wheels without CUDA
    drivers        last_branches: the last driver branch for each architecture that newer ones left
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

from hooks.compat.made_files import write_or_check
from hooks.compat.rows import numbers
from hooks.compat.table import FOLDER, load
from hooks.matcher.choices import (
    arch_reason,
    choice,
    conda_arch_unknown,
    default_cca,
    hub_tag,
    nvcc_refuses,
    python_reason,
    wheel_reason,
)
from hooks.matcher.hosts import CCA_FORM, host
from hooks.matcher.rules import judge
from hooks.matcher.search import working
from hooks.matcher.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hooks.compat.rows import CudaLine, NgcRelease, TorchRelease
    from hooks.compat.table import Table

CURRENT_LINES = 6  # minor lines of PyTorch, and a year of NGC releases, that are not labelled old
CURRENT_NGC = 12
OLDEST_NGC = "24.01"
INDEX = "https://download.pytorch.org/whl/"
REFERENCE_GPUS = ("NVIDIA H100 80GB HBM3", "NVIDIA H200")
PREFERRED_PYTHON = "3.12"

GENERATED = "by `python -m hooks.compat.make_choices` from the tables beside this file; do not edit"


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


def wheel_code(release: TorchRelease, line: str) -> str:
    """The compute capabilities that a wheel for this template's processor has code for."""
    variant = release.by_cuda(line)
    return " ".join((variant.arch["x86_64"] if variant else None) or ())


def defaults(table: Table) -> dict[str, str]:
    """Answers that work, without compatibility modes, on a current data-center GPU and driver."""
    # Every production branch may be past its end of support.
    known = [branch for branch, cuda in table.branches.items() if cuda]
    branches = table.production or table.recommended or known
    machine = host(str(branches[-1]), list(REFERENCE_GPUS))
    options = working(machine, choice(python=PREFERRED_PYTHON), table)
    best = next(option.choice for option in options if option.judgement.layer is None)
    return {
        "torch_version": str(best.torch),
        "cuda_version": str(best.cuda),
        "python_version": str(best.python),
        "cca": "auto",
        # Of the newest release it is often not known yet for which GPUs it has code.
        "ngc_release": next(r for r in offered_ngc(table)[1:] if runs_are_known(r, table)).release,
    }


def runs_are_known(release: NgcRelease, table: Table) -> bool:
    """Whether it is known if an NGC release runs on a current data-center GPU and driver."""
    machine = host(str(max(table.branches)), list(REFERENCE_GPUS))
    wanted = choice(service="ngc", ngc_release=release.release)
    return judge(machine, wanted, table).verdict is not Verdict.UNKNOWN


def _ngc_label(release: NgcRelease, newest: str, table: Table, *, old: bool) -> str:
    label = _label(release.release, newest, old=old)
    return label if runs_are_known(release, table) else f"{label}, not known for which GPUs"


def _label(version: str, newest: str, *, old: bool) -> str:
    if version == newest:
        return f"{version} (newest)"
    return f"{version} (old)" if old else version


def all_lines(table: Table) -> list[str]:
    """The CUDA lines that can be chosen: with a wheel, an nvidia/cuda image or an NGC release."""
    images = {line.line for line in table.lines.values() if line.offered}
    ngc = {str(release.line) for release in offered_ngc(table)}
    return sorted({*offered_lines(table), *images, *ngc}, key=numbers, reverse=True)


def offered_ngc(table: Table) -> list[NgcRelease]:
    """The NGC releases that the questions offer, newest first."""
    return [r for r in reversed(table.ngc.values()) if r.line and r.release >= OLDEST_NGC]


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
        "triton": release.pypi["triton"],
        "pypi_cuda": release.pypi_cuda,
        "default_cuda": release.pypi_cuda,
        "default_python": PREFERRED_PYTHON if PREFERRED_PYTHON in possible else possible[0],
        "cuda": cuda,
        "code": {line: wheel_code(release, line) for line, reason in cuda.items() if not reason},
        "python": python,
    }


def _cuda_row(line: CudaLine, table: Table) -> dict[str, object]:
    minimum = table.families[line.line.split(".", maxsplit=1)[0]]
    has_wheel = line.line in offered_lines(table)
    image = line.image
    return {
        "label": f"{line.line} (driver {minimum.split('.', maxsplit=1)[0]} or newer)",
        "index": f"{INDEX}cu{line.line.replace('.', '')}" if has_wheel else "",
        "min_driver": minimum,
        "cca": default_cca(line.line, table),
        "targets": " ".join([*(line.targets or ()), *line.special]),
        "refuses": nvcc_refuses(line, "%s"),
        "refuses_special": nvcc_refuses(line, "%s", special=True),
        "patch": image.patch if image else "",
        "cudnn": image.cudnn_word if image else "",
        "distros": image.distros if image else [],
    }


def _hub_row(release: TorchRelease) -> dict[str, dict[str, str]]:
    """The tags of the pytorch/pytorch images that were seen, by CUDA line and flavour."""
    row = {}
    for line in reversed(release.published):
        tags = {flavour: hub_tag(release, line, flavour) for flavour in ("runtime", "devel")}
        seen = {f"{release.version}-{tag}" for tag in release.hub_tags}
        row[line] = {flavour: tag if tag in seen else "" for flavour, tag in tags.items()}
    return {line: tags for line, tags in row.items() if any(tags.values())}


def _conda_row(release: TorchRelease, table: Table) -> dict[str, object]:
    """conda-forge's builds; the oldest possible line is the default: most drivers run it."""
    cuda = {
        line: "" if compiled else conda_arch_unknown(line)
        for line in table.conda[release.version]
        for compiled in [table.conda_compiled(release.version, line, "x86_64")]
    }
    return {"default_cuda": next((line for line in cuda if not cuda[line]), ""), "cuda": cuda}


def ngc_cca(release: NgcRelease, table: Table) -> str:
    """Compute capabilities that the torch of an NGC release has code for, such as "8.0 9.0+PTX".

    Those that were read, without Jetson's, which no x86_64 has; else those of its CUDA line. Both
    from the oldest on that NVIDIA's notes support: of this release, or, where nothing was read, of
    the last one before it that says so.
    """
    notes = [r.min_cc for r in table.ngc.values() if r.min_cc and r.release <= release.release]
    read = release.arch.get("x86_64")
    oldest = release.min_cc if read else notes[-1] if notes else None
    known = {
        cc: cc.removesuffix("+PTX") for cc in read or default_cca(release.line or "", table).split()
    }
    return " ".join(
        cc
        for cc, bare in known.items()
        if bare not in table.jetson_cc and float(bare) >= float(oldest or 0)
    )


def _ngc_row(release: NgcRelease, label: str, table: Table) -> dict[str, object]:
    fields = ("torch", "python", "ubuntu")
    return {
        "label": label,
        "cca": ngc_cca(release, table),
        "cuda": release.line or "",
        **{field: getattr(release, field) or "" for field in fields},
    }


# What the whole answer `cca` must match; whether a target exists, its CUDA line says.
CCA_PATTERN = r"auto|(?:[0-9]{1,2}\.[0-9][af]?(?:\+PTX)?(?:[ ;]+(?=[0-9])|$))+"
# A pattern cannot say which of these it met.
CCA_ERROR = f"no comma, no range, no other text and not empty: {CCA_FORM}"


def arm_pattern(table: Table) -> str:
    """The pattern of names of GPUs that are on the board of an Arm processor.

    A number, or the name of a family of modules, is enough; other names are so only in full, since
    a DGX has GPUs of many kinds.
    """
    found = set()
    for product in table.products.values():
        for name in (product.name, *product.aliases) if product.host == "aarch64" else ():
            words = name.removeprefix("NVIDIA ").split()
            enough = product.kind == "jetson" or any(one.isdigit() for one in words[0])
            found.add(r"[\s_-]+".join(map(re.escape, words[:1] if enough else words)))
    return rf"(?i)(?:^|[\s_-])(?:{'|'.join(sorted(found))})(?![A-Za-z0-9])"


def choices_text(table: Table) -> str:
    """The text that choices.json must have."""
    releases, lines, pythons = offered(table), offered_lines(table), offered_pythons(table)
    minors = list(dict.fromkeys(release.version.rpartition(".")[0] for release in releases))
    torch = {}
    for release in releases:
        old = release.version.rpartition(".")[0] not in minors[:CURRENT_LINES]
        label = _label(release.version, releases[0].version, old=old)
        torch[release.version] = _torch_row(release, label, lines, pythons)
    hub = {release.version: _hub_row(release) for release in releases}
    conda = {
        release.version: _conda_row(release, table)
        for release in releases
        if release.version in table.conda
    }
    known = offered_ngc(table)
    ngc = {
        release.release: _ngc_row(
            release,
            _ngc_label(release, known[0].release, table, old=index >= CURRENT_NGC),
            table,
        )
        for index, release in enumerate(known)
    }
    return _text(
        {
            "defaults": defaults(table),
            "torch": torch,
            "cuda": {line: _cuda_row(table.lines[line], table) for line in all_lines(table)},
            "hub": {version: row for version, row in hub.items() if row},
            "conda": conda,
            "ngc": ngc,
            "cca": {"pattern": CCA_PATTERN, "error": CCA_ERROR},
            "arm": arm_pattern(table),
            "cpu": {"index": f"{INDEX}cpu"},
            "drivers": {
                "last_branches": {
                    one.name: str(one.last_branch) for one in table.architectures if one.last_branch
                }
            },
        }
    )


FILE = FOLDER / "choices.json"


def main(arguments: list[str]) -> int:
    """Write the file, or with --check compare it with the tables."""
    return write_or_check("hooks.compat.make_choices", {FILE: choices_text(load())}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
