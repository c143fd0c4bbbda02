"""The one door into Python for a page: a function by its name, its argument and result as JSON."""

from __future__ import annotations

import json
from importlib import import_module


def call(function: str, argument: str) -> str:
    """Call a function that takes and returns a value of JSON.

    Args:
        function: module and name, as in website.python.answers:answer.
        argument: JSON.

    Returns:
        JSON.
    """
    module, _, name = function.partition(":")
    result = getattr(import_module(module), name)(json.loads(argument))
    return json.dumps(result)
