"""What somebody does with the configurator: answers, and what a machine prints."""

from __future__ import annotations

import random
from typing import Any

from website.python.answers import HIDDEN, given
from website.python.questions import questionnaire

SMI_LIST = """\
GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-b3a2c4d6-0000-0000-0000-000000000000)
GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-b3a2c4d6-0000-0000-0000-000000000001)
  MIG 1g.10gb     Device  0: (UUID: MIG-b3a2c4d6-0000-0000-0000-000000000002)
"""


def asked(told: dict[str, Any]) -> dict[str, Any]:
    """The answers to what Copier asks, of an answer of the page."""
    return {one["name"]: one["value"] for one in told["questions"] if one["asked"]}


def some_answers(randomly: random.Random) -> dict[str, str]:
    """Answers that somebody may choose, of what is on offer and of what is not."""
    found: dict[str, str] = {}
    for _ in range(randomly.randrange(5)):
        questions, _ = questionnaire().answer(given(found))
        name = randomly.choice([one for one in questions if one not in HIDDEN])
        one = questions[name]
        if one.kind == "switch":
            found[name] = randomly.choice(["yes", "no"])
        elif one.kind == "several":
            picked = randomly.sample(one.offers, randomly.randrange(3))
            found[name] = ",".join(offer.value for offer in picked)
        elif one.kind == "choice":
            found[name] = randomly.choice(one.offers).value
        else:
            found[name] = randomly.choice(["auto", "8.6", "H100"])
    return found
