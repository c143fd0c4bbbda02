"""NVIDIA_REQUIRE_*: the condition that an image sets on the host before a container of it starts.

The grammar is that of libnvidia-container's src/cli/dsl.c: a blank is "or", a comma is "and"; names
are cuda, driver, arch and brand; signs are = != < <= > >=. Each GPU that the container sees is
asked; a container of the CDI mode is never asked (nvidia-container-toolkit issue 1470).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..compat.table import load
from .hosts import driver_cuda

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .hosts import Gpu, Host

_RULE = re.compile(r"([^<>=!]+)([<>=!]+)(.+)")
_SIGNS = ("=", "!=", "<", "<=", ">", ">=")
# What Go's strconv.ParseBool takes for true.
_TRUE = {"1", "t", "T", "TRUE", "true", "True"}


class InvalidRuleError(ValueError):
    """A condition that libnvidia-container does not understand: the container does not start."""


def conditions(environment: Mapping[str, str]) -> list[str]:
    """The conditions of an image's environment, as the toolkit collects them.

    An old image that has CUDA_VERSION only asks for a driver of that CUDA. NVIDIA_DISABLE_REQUIRE
    switches all off.
    """
    if environment.get("NVIDIA_DISABLE_REQUIRE") in _TRUE:
        return []
    found = [
        value
        for name, value in environment.items()
        if name.startswith("NVIDIA_REQUIRE_") and not name.startswith("NVIDIA_REQUIRE_JETPACK")
    ]
    version = re.match(r"v?([0-9]{1,8}\.[0-9]{1,8})", environment.get("CUDA_VERSION", ""))
    if version and not environment.get("NVIDIA_REQUIRE_CUDA"):
        found.append(f"cuda>={version[1]}")
    return found


def _compared(have: str, sign: str, want: str) -> bool:
    """Compare two versions; what one of them does not say is 0.

    Raises:
        InvalidRuleError: one is not of digits and dots.
    """
    if not re.fullmatch(r"[0-9.]+", want) or not re.fullmatch(r"[0-9.]+", have):
        raise InvalidRuleError(want)
    left, right = ([int(part) for part in text.split(".") if part] for text in (have, want))
    length = max(len(left), len(right))
    left += [0] * (length - len(left))
    right += [0] * (length - len(right))
    return {
        "=": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[sign]


def _driver(machine: Host, sign: str, want: str) -> bool | None:
    """Compare the host's driver; of a branch alone, what all its releases answer is known."""
    driver = machine.driver or ""
    if "." in driver:
        return _compared(driver, sign, want)
    answers = {_compared(one, sign, want) for one in (f"{driver}.0", f"{driver}.999.99")}
    return answers.pop() if len(answers) == 1 else None


def _rule(rule: str, machine: Host, gpu: Gpu) -> bool | None:
    """Whether a GPU of a host fulfils one comparison; None = not known.

    Raises:
        InvalidRuleError: libnvidia-container does not understand it.
    """
    match = _RULE.fullmatch(rule)
    if match is None or match[2] not in _SIGNS:
        raise InvalidRuleError(rule)
    name, sign, want = match[1].lower(), match[2], match[3]
    if name == "brand":
        if sign not in {"=", "!="}:
            raise InvalidRuleError(rule)
        if not gpu.brands:
            return None
        answers = {(brand == want.lower()) == (sign == "=") for brand in gpu.brands}
        return answers.pop() if len(answers) == 1 else None
    if name == "arch":
        return _compared(gpu.cc, sign, want) if gpu.cc else None
    if name not in {"cuda", "driver"}:
        raise InvalidRuleError(rule)
    if machine.driver is None:
        return None
    if name == "driver":
        return _driver(machine, sign, want)
    cuda = ".".join(map(str, driver_cuda(load(), machine)))
    return _compared(cuda, sign, want)


def evaluate(condition: str, machine: Host, gpu: Gpu) -> bool | None:
    """Whether a GPU of a host fulfils a condition; None = not known.

    Args:
        condition: the value of a NVIDIA_REQUIRE_* variable.
        machine: its driver is compared, and the CUDA that it brings.
        gpu: its brand and compute capability are compared.

    Raises:
        InvalidRuleError: libnvidia-container does not understand it.
    """
    # NVML reports one brand; which of the possible ones it is, need not matter.
    each = [gpu._replace(brands=frozenset({brand})) for brand in gpu.brands] or [gpu]
    answers = {_evaluate(condition, machine, one) for one in each}
    return answers.pop() if len(answers) == 1 else None


def _evaluate(condition: str, machine: Host, gpu: Gpu) -> bool | None:
    alternatives = [part for part in condition.split(" ") if part]
    unknown = False
    for alternative in alternatives:
        result: bool | None = True
        for rule in filter(None, alternative.split(",")):
            one = _rule(rule, machine, gpu)
            if one is False:
                result = False
                break
            result = None if one is None else result
        if result:
            return True
        unknown = unknown or result is None
    return None if unknown else not alternatives
