"""What a build did, read from the plain progress of BuildKit."""

from __future__ import annotations

import re

# "#12 [runtime deps 2/2] RUN ...", or without the target where there is only one.
_STEP = re.compile(r"^#(\d+) \[(?:[\w-]+ )?([\w-]+) +\d+/\d+\] (\w+)")
_END = re.compile(r"^#(\d+) (CACHED|DONE|ERROR)")
_CONTEXT = re.compile(r"transferring context: ([\d.]+)(B|kB|MB|GB)")
_BYTES = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3}


def stages_built(log: str) -> set[str]:
    """Stages of which a RUN or COPY was executed, not taken from the cache.

    A log may tell of several builds; each counts its steps from 1. A step that was found in a
    registry's cache is CACHED, and DONE later, when its layer has come.
    """
    steps: dict[str, tuple[str, str]] = {}
    cached: set[str] = set()
    built: set[str] = set()
    for line in log.splitlines():
        if line.startswith("#1 ["):
            cached.clear()
        if step := _STEP.match(line):
            steps[step[1]] = step[2], step[3]
        elif (end := _END.match(line)) and end[1] in steps:
            stage, instruction = steps[end[1]]
            if end[2] == "CACHED":
                cached.add(end[1])
            elif instruction != "FROM" and end[1] not in cached:
                built.add(stage)
    assert steps, f"no step of a build in:\n{log}"
    return built


def context_bytes(log: str) -> float:
    """The size of the largest build context that was sent, in bytes."""
    sizes = [float(number) * _BYTES[unit] for number, unit in _CONTEXT.findall(log)]
    assert sizes, f"no build context in:\n{log}"
    return max(sizes)
