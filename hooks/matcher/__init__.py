"""The matcher: which CUDA, PyTorch, Python, image and driver work with which GPU.

    from hooks.matcher import choice, host, judge, nearest, working

    machine = host("550.54.15", ["NVIDIA GeForce RTX 4090"])
    wanted = choice(torch="2.15.0", cuda="cu132", python="3.12")
    judge(machine, wanted)      # Judgement: verdict, layer, why, gpu, findings
    nearest(machine, wanted)    # Change that works, or None
    working(machine, wanted)    # every Option that works, best first
    advice(machine, wanted)     # the same for people: line, why, command, options

No network, no GPU, standard library only. The same as a command: `python -m hooks.match --help`.
"""

from __future__ import annotations

from .candidates import image_of
from .choices import Choice, choice, default_cca, from_image
from .hosts import BadInputError, Gpu, Host, cca_of, from_probe, gpu, host, parse_cca
from .jit import jit_notes
from .packages import package_notes
from .rules import compat_folder, judge, judge_choice
from .search import (
    Advice,
    Change,
    Option,
    advice,
    command,
    describe,
    nearest,
    newest_branch,
    working,
)
from .verdicts import Judgement, Layer, Verdict

__all__ = [
    "Advice",
    "BadInputError",
    "Change",
    "Choice",
    "Gpu",
    "Host",
    "Judgement",
    "Layer",
    "Option",
    "Verdict",
    "advice",
    "cca_of",
    "choice",
    "command",
    "compat_folder",
    "default_cca",
    "describe",
    "from_image",
    "from_probe",
    "gpu",
    "host",
    "image_of",
    "jit_notes",
    "judge",
    "judge_choice",
    "nearest",
    "newest_branch",
    "package_notes",
    "parse_cca",
    "working",
]
