"""What tasks of Airflow may ask for: requests for jobs, which nobody trusts.

workflows/cluster_requests.py has their form.
"""

from __future__ import annotations

import re
from argparse import Namespace
from typing import Any, Callable

from .ask import read_json
from .clusters.request import LONGEST_NAME, NAME
from .project import USAGE, StopError, me

CONTROL = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f]")  # all but tabs and line ends
KEY = re.compile(r"airflow-[a-z0-9-]{1,20}-[0-9a-f]{10}", re.ASCII)
MOST_WORDS = 1000  # of a command, and variables


def is_text(most: int) -> Callable[[Any], bool]:
    """A check: a text that a file can have, and a terminal can show: `submit` shows the job."""

    def check(value: Any) -> bool:
        if type(value) is not str or len(value) > most or CONTROL.search(value):
            return False
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a character
            return False
        return True

    return check


def is_count(value: Any) -> bool:
    """Whether a value is a number of something."""
    return type(value) is int and 0 <= value < 10**9


def is_flag(value: Any) -> bool:
    """Whether a value is true or false."""
    return type(value) is bool


def is_command(value: Any) -> bool:
    """Whether a value is the words of a command, of which the first one is no option."""
    word = is_text(1 << 16)
    return (
        type(value) is list
        and 0 < len(value) <= MOST_WORDS
        and all(map(word, value))
        and not value[0].startswith("-")
    )


def is_environment(value: Any) -> bool:
    """Whether a value is variables; `submit` looks at their names."""
    name, text = is_text(200), is_text(1 << 16)
    return (
        type(value) is dict
        and len(value) <= MOST_WORDS
        and all(name(key) and "=" not in key and text(one) for key, one in value.items())
    )


# The fields of a request, with what each must be; `submit` then reads them as it reads its options.
FIELDS: dict[str, Callable[[Any], bool]] = {
    "task": is_text(2000),
    "command": is_command,
    "on": is_text(20),
    "memory": is_text(20),
    "time": is_text(20),
    "environment": is_environment,
    **dict.fromkeys(("gpus", "cpus", "nodes", "tasks", "requeue"), is_count),
    **dict.fromkeys(("verify", "dirty"), is_flag),
}


def refusal(sentence: str) -> StopError:
    """The failure of a request that no task of Hearth has written."""
    return StopError(sentence, f"{me()} submit --help", name=USAGE)


def checked(data: bytes) -> dict[str, Any]:
    """The fields of a request. Raises StopError for anything that is not one."""
    try:
        request = read_json(data.decode())
    except UnicodeDecodeError:
        request = {}
    for name, value in request.items():
        if name not in FIELDS:
            raise refusal(f"A request has the field {name[:40]!r}, which submit does not know.")
        if not FIELDS[name](value):
            raise refusal(f"The field {name} of a request has a value that it cannot have.")
    if "command" not in request:
        raise refusal("A request is not a JSON object with a command.")
    return request


def options_of(request: dict[str, Any], key: str, cluster: str) -> Namespace:
    """The options of `submit` that a request asks for; those that name a folder or image, never."""
    texts = {name: request.get(name) for name in ("memory", "time")}
    counts = ("gpus", "cpus", "nodes", "tasks", "requeue")
    numbers = {name: str(request[name]) if name in request else None for name in counts}
    return Namespace(
        **texts,
        **numbers,
        on=cluster,
        name=key,
        command=request["command"],
        env=[f"{name}={value}" for name, value in request.get("environment", {}).items()],
        verify=request.get("verify", False),
        dirty=request.get("dirty", False),
        array=None,
        image=None,
        interactive=None,
        code="",
        force=False,
        dry_run=False,
    )


def is_key(name: str) -> bool:
    """Whether a request has a name that its job can have; jobs of people have others."""
    return bool(KEY.fullmatch(name) and NAME.fullmatch(name)) and len(name) <= LONGEST_NAME
