"""What a build did, read from the plain progress of BuildKit."""

from __future__ import annotations

import re
from collections.abc import Callable

# "#12 [runtime deps 2/2] RUN ...", or without the target where there is only one.
_STEP = re.compile(r"^#(\d+) \[(?:[\w-]+ )?(?P<name>(?P<stage>[\w-]+) +\d+/\d+\] (?!FROM).*)")
_END = re.compile(r"^#(\d+) (CACHED|DONE|ERROR)")
_CONTEXT = re.compile(r"transferring context: ([\d.]+)(B|kB|MB|GB)")
_BYTES = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3}


def stages_built(log: str) -> set[str]:
    """Stages of which a RUN or COPY was executed, not taken from the cache.

    A log may tell of several builds; each counts its steps from 1. A step that was found in a
    registry's cache is CACHED, and DONE later, when its layer has come. While another build has
    the same step, BuildKit reports it twice, CACHED for this one and DONE for the other, whose
    cache folder may have another name.
    """
    log = re.sub(r"(?<=type=cache,id=)[^,\s]+", "any", log)
    built: set[str] = set()
    for build in re.split(r"^(?=#1 \[)", log, flags=re.MULTILINE):
        steps = {step[1]: step for step in map(_STEP.match, build.splitlines()) if step}
        ends = [end for end in map(_END.match, build.splitlines()) if end and end[1] in steps]
        cached = {steps[end[1]]["name"] for end in ends if end[2] == "CACHED"}
        built |= {steps[end[1]]["stage"] for end in ends if steps[end[1]]["name"] not in cached}
    assert re.search(r"^#1 \[", log, re.MULTILINE), f"no step of a build in:\n{log}"
    return built


def nothing_built(*builds: Callable[[], str]) -> bool:
    """Whether one of these builds, made one after the other, took all from the cache.

    Between two builds the engine may have dropped something, since its cache has a limit and other
    tests fill it. So give several that should build nothing, each for a reason of its own where a
    build would make the next one find all: the later ones are made only if an earlier one built.
    """
    return any(not stages_built(build()) for build in builds)


def context_bytes(log: str) -> float:
    """The size of the largest build context that was sent, in bytes."""
    sizes = [float(number) * _BYTES[unit] for number, unit in _CONTEXT.findall(log)]
    assert sizes, f"no build context in:\n{log}"
    return max(sizes)
