"""The answers of `hearth match` as JSON; keys are stable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .candidates import image_of
from .remedies import installs
from .search import newest_change

if TYPE_CHECKING:
    from .overview import Row
    from .search import Advice, Change, Option
    from .verdicts import Judgement


def advice_json(told: Advice, lines: list[str], note: str) -> dict[str, Any]:
    """The machine-readable answer; keys are stable."""
    judgement = told.judgement
    return {
        "verdict": told.verdict,
        "layer": told.layer,
        "why": judgement.why if judgement else told.line,
        "gpu": judgement.gpu if judgement else "",
        "findings": _finding_json(judgement) if judgement else [],
        "nearest": _change_json(told.nearest),
        "newest": _change_json(newest_change(told)),
        "driver": _change_json(told.driver),
        "remedies": lines,
        "notes": list(told.notes),
        "note": note,
    }


def _change_json(change: Change | None) -> dict[str, Any] | None:
    if change is None:
        return None
    return {
        "text": change.text,
        "verdict": change.judgement.verdict.value,
        "driver": change.host.driver,
        "service": change.choice.service,
        "torch": change.choice.torch,
        "cuda": change.choice.cuda,
        "wheel_cuda": change.choice.wheel_cuda,
        "python": change.choice.python,
        "ngc_release": change.choice.ngc_release,
        "cca": change.choice.cca,
        "distro": change.choice.distro,
        "image": image_of(change.choice) or None,
        "command": change.command,
    }


def _finding_json(judgement: Judgement) -> list[dict[str, str]]:
    return [
        {"gpu": f.gpu, "layer": f.layer.value, "verdict": f.verdict.value, "why": f.why}
        for f in (*judgement.findings, *judgement.notes)
    ]


def option_json(option: Option) -> dict[str, Any]:
    """One choice of a list."""
    fields = ("service", "torch", "cuda", "python", "ngc_release")
    return {
        **{field: getattr(option.choice, field) for field in fields},
        "verdict": option.judgement.verdict.value,
    }


def row_json(row: Row) -> dict[str, Any]:
    """One service of the table."""
    found = row.choice
    fields = ("torch", "cuda", "python", "ngc_release")
    return {
        "name": row.name,
        "service": "simple" if row.name == "conda" else row.name,
        "package_manager": "conda" if row.name == "conda" else "pip",
        **{field: getattr(found, field) if found else None for field in fields},
        "verdict": row.judgement.verdict.value,
        "layer": row.judgement.layer.value if row.judgement.layer else None,
        "why": row.judgement.why,
        "remedies": [str(remedy) for remedy in installs(found)] if found else [],
    }
