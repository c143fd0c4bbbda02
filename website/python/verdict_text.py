"""The verdict of the matcher in the words of the page."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from hooks.compat.table import load
from hooks.matcher import judge, newest_branch
from hooks.matcher.search import describe, gpus_of
from hooks.matcher.verdicts import Verdict

if TYPE_CHECKING:
    from hooks.matcher import Choice, Host, Judgement

    from .machines import Machine

WORDS = {
    Verdict.WORKS: "It works",
    Verdict.WORKS_MINOR_COMPAT: "It works, by minor-version compatibility",
    Verdict.WORKS_FORWARD_COMPAT: "It works, by the newer CUDA libraries in the image",
    Verdict.UNKNOWN: "Not known",
    Verdict.FAILS: "It fails",
}
Json = dict[str, Any]


@functools.lru_cache(maxsize=4096)
def judged(machine: Host, made: Choice) -> Judgement:
    """What the matcher says; the page asks it the same several times."""
    return judge(machine, made)


def verdict_of(machine: Machine, made: Choice, judgement: Judgement | None) -> Json:
    """The verdict with the layer that decides, and the sentences beside it."""
    if machine.refused:
        return said("unknown", WORDS[Verdict.UNKNOWN], machine.refused)
    if judgement is None and made.accelerator == "cuda" and machine.host is None:
        return said("none", "Name your GPU", "Whether it works depends on the GPU and its driver.")
    if judgement is None or machine.host is None:
        return said("works", WORDS[Verdict.WORKS], f"{describe(made)} needs no GPU and no driver.")
    told = said(judgement.verdict.value, WORDS[judgement.verdict], f"{judgement.why}.")
    oldest = "" if machine.host.driver else oldest_driver(machine.host, made)
    if oldest:
        told["word"] = f"It works with driver {oldest}{_or_newer(machine.host)}"
        told["why"] = (
            f"{describe(made)} needs driver {oldest}{_or_newer(machine.host)} on"
            f" {gpus_of(machine.host)}. Run nvidia-smi, and write its driver version above."
        )
    return {
        **told,
        "layer": judgement.layer.value if judgement.layer else "",
        "gpu": judgement.gpu,
        "notes": [f"{note.why}." for note in judgement.notes],
        "what": describe(made),
    }


def _or_newer(machine: Host) -> str:
    """Up to which driver: newer branches have left old GPUs behind."""
    last = newest_branch(machine)
    return " or newer" if last == max(load().branches) else f" to {last}"


def said(verdict: str, word: str, why: str) -> Json:
    """A verdict without a layer, of a word and a sentence."""
    return {
        "verdict": verdict,
        "word": word,
        "why": why,
        "layer": "",
        "gpu": "",
        "notes": [],
        "what": "",
    }


@functools.lru_cache(maxsize=64)
def oldest_driver(machine: Host, made: Choice) -> str:
    """The oldest driver branch with which a choice works, "" for none."""
    last = newest_branch(machine)
    for branch in load().branches:
        if branch <= last and judged(machine._replace(driver=str(branch)), made).verdict.works:
            return str(branch)
    return ""
