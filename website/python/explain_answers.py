"""What the page of website/explain/ asks: the failures that a text shows, as JSON."""

from __future__ import annotations

from typing import Any

from host.failure_rows import table
from host.pasted import explanations, packages


def warm() -> None:
    """Read what later calls need: in a browser there are no files then."""
    packages()
    explanations("(failure: none)")


def explained(text: str) -> dict[str, Any]:
    """The failures that a text shows.

    Args:
        text: a log, or what somebody has copied.

    Returns:
        `known`: how many failures are known; `found`: for each that the text shows its `name`, the
        `line` that shows it, its `cause`, its `commands`, each with `where` it is for ("" for all
        others) and what to `run`, and `unknown`: the words in capitals that somebody replaces.
    """
    found = [
        {
            "name": one.name,
            "line": one.line,
            "cause": one.cause,
            "commands": [{"where": where, "run": run} for where, run in one.commands.items()],
            "unknown": list(one.unknown),
        }
        for one in explanations(text)
    ]
    return {"known": len(table()), "found": found}
